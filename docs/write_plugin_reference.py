"""Writes docs/plugin_reference.md: what plugins implement and are handed, with exact signatures.

A test checks that it is current.

usage: python docs/write_plugin_reference.py
"""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import egcfg

REFERENCE = Path(__file__).parent / "plugin_reference.md"
SECTIONS = {
    "Hooks and registration": ["plugins.hookspecs"],
    "Backends": ["interfaces.backend", "interfaces.usage"],
    "Tracers": ["interfaces.tracer"],
    "The sandbox": ["sandbox.types", "sandbox.service"],
    "Problems and data sets": ["interfaces.problem", "interfaces.dataset"],
    "Prompts": ["interfaces.prompt"],
    "Scorers": ["interfaces.scorer"],
    "Guidance rules": ["interfaces.guidance", "guidance.mixture"],
    "Methods": ["interfaces.method", "decoding.settings"],
    "Helpers": [
        "decoding.sampling",
        "plugins.cache",
        "threads.loop_thread",
        "threads.worker_thread",
    ],
    "Steps and solutions": ["interfaces.solution"],
    "Errors": ["errors"],
    "Suites": [
        "testing.suite",
        "testing.backend_suite",
        "testing.text_suite",
        "testing.tracer_suite",
        "testing.prompt_suite",
        "testing.scorer_suite",
        "testing.dataset_suite",
        "testing.guidance_suite",
        "testing.method_suite",
        "testing.scripted",
        "testing.answering",
        "testing.pytest_plugin",
    ],
}
"""The modules of each section; what their ``__all__`` names is told."""

OTHERS = {"egcfg.sandbox.types": "egcfg.sandbox", "egcfg.sandbox.service": "egcfg.sandbox"}
"""Where names are imported from that are defined elsewhere."""


def reference() -> str:
    """Return the text of docs/plugin_reference.md."""
    parts = [
        "# Plugin reference",
        "<!-- Written by docs/write_plugin_reference.py; do not edit. -->",
        "What a plugin implements, and every type that it is handed or hands back, as declared. "
        "[plugins.md](../plugins.md)\nexplains them with examples, and says what is stable.",
    ]
    for heading, modules in SECTIONS.items():
        parts.append(f"## {heading}")
        for name in modules:
            parts += _told(f"egcfg.{name}")
    return "\n\n".join(parts) + "\n"


def _told(module_name: str) -> list[str]:
    """Return what is told of a module: each public class and function of it, in its order."""
    module = importlib.import_module(module_name)
    source = inspect.getsource(module)
    told = []
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name in module.__all__:
            told.append(f"### {node.name}")
            told.append(f"`from {_place(module_name, node.name)} import {node.name}`")
            told.append("```pyi\n" + "\n".join(_stub(node, source.splitlines())) + "\n```")
    return told


def _place(module: str, name: str) -> str:
    if name in egcfg.__all__:
        return "egcfg"
    testing: Any = importlib.import_module("egcfg.testing")
    if module.startswith("egcfg.testing.") and name in testing.__all__:
        return "egcfg.testing"
    return OTHERS.get(module, module)


def _stub(node: ast.stmt, lines: Sequence[str]) -> list[str]:
    """Return the lines of a declaration, without code: signatures, fields, docstrings."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return list(lines[node.lineno - 1 : node.end_lineno])
    documented = ast.get_docstring(node) is not None
    end = node.body[0].end_lineno if documented else node.body[0].lineno - 1
    kept = list(lines[_first_line(node) - 1 : end])
    if isinstance(node, ast.ClassDef):
        for each in filter(_is_public, node.body[documented:]):
            if not lines[_first_line(each) - 2]:
                kept.append("")
            kept += _stub(each, lines)
    elif not documented:
        kept.append(f"{'':{node.body[0].col_offset}}...")
    return kept


def _first_line(node: ast.stmt) -> int:
    return min([node.lineno, *(each.lineno for each in getattr(node, "decorator_list", ()))])


def _is_public(node: ast.stmt) -> bool:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return not name.startswith("_") or name == "__init__"
        case ast.AnnAssign(target=ast.Name(id=name)):
            return not name.startswith("_")
        case ast.Assign(targets=[ast.Name(id=name)]):
            return not name.startswith("_")
        case ast.Expr(value=ast.Constant(value=str())):
            return True
        case _:
            return False


if __name__ == "__main__":
    REFERENCE.write_text(reference(), encoding="utf-8")
