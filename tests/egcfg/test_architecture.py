"""How the house is built: its rooms, who may enter which, and no circle among them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "src"
CORE = SOURCES / "egcfg"
PACKAGES = ("egcfg_backends_hf", "egcfg_backends_fireworks", "egcfg_tracers")


def name_of(file: Path) -> str:
    parts = file.relative_to(SOURCES).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): file for file in sorted(SOURCES.rglob("*.py"))}
CORE_MODULES = {name: file for name, file in MODULES.items() if name.partition(".")[0] == "egcfg"}


def imports(file: Path, *, when_loaded: bool = False) -> set[str]:
    """Return the modules that a file imports by absolute name; names of modules in full.

    Args:
        file: a Python file.
        when_loaded: only what is imported as the module itself is: not in functions, and not for
            type checkers.
    """
    found: set[str] = set()
    for node in _statements(ast.parse(file.read_text()), when_loaded):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=str(module), names=names, level=0):
                for alias in names:
                    full = f"{module}.{alias.name}"
                    found.add(full if full in MODULES else module)
            case ast.ImportFrom(module=module, names=names, level=level):
                package = name_of(file) if file.name == "__init__.py" else name_of(file.parent)
                home = ".".join(package.split(".")[: 1 - level or None])
                home = f"{home}.{module}" if module else home
                for alias in names:
                    full = f"{home}.{alias.name}"
                    found.add(full if full in MODULES else home)
            case _:
                pass
    return found


def _statements(tree: ast.AST, when_loaded: bool) -> Iterator[ast.AST]:
    if not when_loaded:
        yield from ast.walk(tree)
        return
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                continue
            case ast.If(test=test) if "TYPE_CHECKING" in ast.unparse(test):
                for other in node.orelse:
                    yield other
                    yield from _statements(other, when_loaded)
            case _:
                yield node
                yield from _statements(node, when_loaded)


def within(module: str, rooms: tuple[str, ...]) -> bool:
    return any(f"{module}.".startswith(f"{room}.") for room in rooms)


def _packages(module: str) -> Iterator[str]:
    while module := module.rpartition(".")[0]:
        yield module


# --- rooms --------------------------------------------------------------------------------------


def test_the_root_holds_at_most_six_modules() -> None:
    modules = sorted(file.name for file in CORE.glob("*.py"))
    assert len(modules) <= 6, modules


@pytest.mark.parametrize("room", sorted(p.parent for p in CORE.rglob("__init__.py")), ids=name_of)
def test_a_room_is_described_in_one_sentence(room: Path) -> None:
    described = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
    sentence = " ".join(described.split("\n\n")[0].split())
    assert 10 < len(sentence) <= 100
    assert sentence.endswith(".")
    assert ". " not in sentence


def test_every_folder_with_modules_is_a_room() -> None:
    folders = {file.parent for file in SOURCES.rglob("*.py")}
    assert all((folder / "__init__.py").exists() for folder in folders)


def test_no_module_is_longer_than_500_lines() -> None:
    """A module is one concept, which one can still read."""
    lengths = {name: len(file.read_text().splitlines()) for name, file in MODULES.items()}
    assert len(lengths) > 200  # they were found
    assert {name: lines for name, lines in lengths.items() if lines > 500} == {}


def test_every_module_says_what_it_is() -> None:
    for name, file in MODULES.items():
        assert ast.get_docstring(ast.parse(file.read_text())), name


# --- who imports whom ---------------------------------------------------------------------------


def test_no_circle_among_the_modules() -> None:
    """Each module could be loaded first: whatever it loads never loads it again."""
    graph: dict[str, set[str]] = {}
    for name, file in MODULES.items():
        loaded = imports(file, when_loaded=True)
        # The packages of what is loaded are loaded before it; one's own are being loaded already.
        begun = {name, *_packages(name)}
        packages = {package for module in loaded for package in _packages(module)} - begun
        graph[name] = (loaded | packages) & MODULES.keys()
    assert sum(map(len, graph.values())) > 400  # they were found
    while leaves := {name for name, loaded in graph.items() if not loaded}:
        graph = {n: loaded - leaves for n, loaded in graph.items() if n not in leaves}
    # What only leads to a circle is none.
    while tops := graph.keys() - set().union(*graph.values()):
        graph = {n: loaded for n, loaded in graph.items() if n not in tops}
    assert graph == {}


def test_the_core_imports_no_plugin_package() -> None:
    for name, file in CORE_MODULES.items():
        others = {imported.partition(".")[0] for imported in imports(file)}
        assert not {other for other in others if other.startswith("egcfg_")}, name


def test_what_plugin_authors_import_stands_on_nothing_else() -> None:
    """Beside themselves, the interfaces need the errors, and what a trace and a step hold."""
    needed = ("egcfg.interfaces", "egcfg.errors", "egcfg.sandbox.types", "egcfg.decoding.settings")
    for name, file in CORE_MODULES.items():
        if within(name, ("egcfg.interfaces",)):
            for imported in imports(file, when_loaded=True):
                if within(imported, ("egcfg",)):
                    assert within(imported, needed), (name, imported)


@pytest.mark.parametrize("room", ["decoding", "guidance", "interfaces"])
def test_the_method_knows_no_event_loop(room: str) -> None:
    """It awaits its seams alone: so a test can drive it step by step, without a loop."""
    modules = {n: f for n, f in CORE_MODULES.items() if within(n, (f"egcfg.{room}",))}
    assert modules
    for name, file in modules.items():
        forbidden = ("asyncio", "threading", "concurrent", "selectors", "anyio", "trio")
        assert not any(within(imported, forbidden) for imported in imports(file)), name


PUBLIC = (
    "egcfg.errors",
    "egcfg.interfaces",
    "egcfg.plugins.cache",
    "egcfg.plugins.hookspecs",
    "egcfg.decoding.sampling",
    "egcfg.guidance.mixture",
    "egcfg.sandbox",
    "egcfg.testing",
    "egcfg.threads",
)


def plugin_files() -> list[Path]:
    folders = [SOURCES / package for package in PACKAGES]
    folders += [ROOT / "examples", ROOT / "tests" / "plugins"]
    return [file for folder in folders for file in sorted(folder.rglob("*.py"))]


@pytest.mark.parametrize("file", plugin_files(), ids=lambda f: str(f.relative_to(ROOT)))
def test_plugins_import_only_what_is_public(file: Path) -> None:
    own = file.relative_to(SOURCES).parts[0] if file.is_relative_to(SOURCES) else ""
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Import(names=names):
                modules, names_taken = [alias.name for alias in names], []
            case ast.ImportFrom(module=str(module), names=names, level=0):
                modules, names_taken = [module], [alias.name for alias in names]
            case _:
                continue
        for module in modules:
            package = module.partition(".")[0]
            if package == "egcfg":
                assert module == "egcfg" or within(module, PUBLIC), module
                assert not any(part.startswith("_") for part in module.split(".")), module
                assert not any(name.startswith("_") for name in names_taken), names_taken
            elif package in PACKAGES:
                assert package == own, module
