"""Which installed packages programs and tests may import, and which files these consist of.

A package comes with the packages that it needs, without extras. Of a folder of installed packages
only its own modules, its bundled libraries and its metadata are told: whatever else is installed
there, such as a benchmark with its solutions, is none of a program's business.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Iterator
from functools import cache
from importlib import metadata

from attrs import frozen
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from egcfg.errors import UsageError

__all__ = ["DEFAULT_PACKAGES", "Package", "find_packages", "package_names"]

DEFAULT_PACKAGES = ("numpy", "pandas", "scipy", "sympy", "networkx", "sortedcontainers")
"""The packages that programs may import unless told otherwise, as far as they are installed."""

# How folders end that hold metadata, or the shared libraries that a wheel for Linux brings along.
NO_MODULES = (".dist-info", ".egg-info", ".libs")


@frozen(kw_only=True)
class Package:
    """An installed package.

    Attributes:
        name: as its distribution is called.
        version: of the distribution.
        folder: what its modules are in, as are other packages'.
        modules: names of its top modules.
        paths: its folders and files.
        metadata: the folder of its metadata, which is one of them.
    """

    name: str
    version: str
    folder: str
    modules: tuple[str, ...]
    paths: tuple[str, ...]
    metadata: str

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"


def find_packages(names: Collection[str] | None = None) -> tuple[Package, ...]:
    """Return packages with all that they need, as they are installed here.

    Args:
        names: of distributions; None: `DEFAULT_PACKAGES`, those that are installed.

    Raises:
        UsageError: one is not installed, or has no files of its own that a program could import.
    """
    return _find(None if names is None else tuple(names))


@cache
def _find(names: tuple[str, ...] | None) -> tuple[Package, ...]:
    found: dict[str, Package] = {}
    waiting = list(DEFAULT_PACKAGES if names is None else names)
    while waiting:
        name = waiting.pop(0)
        wanted = name in (names or ())
        key = canonicalize_name(name)
        if key in found:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            if wanted:
                raise UsageError(
                    f"the package {name!r} for the sandbox is not installed{_hint(name)}"
                ) from None
            continue
        package = _package(distribution)
        if package.modules:
            found[key] = package
        elif wanted:
            raise UsageError(
                f"the package {name!r} for the sandbox has no modules of its own among the "
                "installed packages; install it plainly, not as an editable project"
            )
        waiting += _needed(distribution)
    return tuple(found.values())


def _hint(name: str) -> str:
    """Return what to do about a distribution that is not there: it may be a module's name."""
    owners = metadata.packages_distributions().get(name.replace("-", "_"), [])
    return f"; {name} is a module of {owners[0]}" if owners else f"; run: pip install {name}"


def _needed(distribution: metadata.Distribution) -> list[str]:
    requirements = map(Requirement, distribution.requires or ())
    return [r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": ""})]


def _package(distribution: metadata.Distribution) -> Package:
    folder = os.path.realpath(str(distribution.locate_file("")))
    files = _own_files(distribution)
    inits = {parts[:-1] for parts in files if parts[-1].startswith("__init__.")}
    # Whole folders where they are a package, a library's or the metadata's; else each file.
    whole = {
        parts[:1]
        if parts[:1] in inits or parts[0].endswith(NO_MODULES)
        else next((parts[:n] for n in range(2, len(parts)) if parts[:n] in inits), parts)
        for parts in files
    }
    paths = [os.path.join(folder, *parts) for parts in whole]
    about = str(getattr(distribution, "_path", ""))  # nothing public tells it
    return Package(
        name=distribution.name,
        version=distribution.version,
        folder=folder,
        modules=tuple(sorted({parts[0].partition(".")[0] for parts in whole if _imports(parts)})),
        paths=tuple(sorted(path for path in paths if os.path.exists(path))),
        metadata=os.path.join(folder, os.path.basename(about)),
    )


def _imports(parts: tuple[str, ...]) -> bool:
    """Return whether a folder is a package, or a file a module or in a package."""
    return parts[0].isidentifier() or (len(parts) == 1 and parts[0].endswith((".py", ".so")))


def _own_files(distribution: metadata.Distribution) -> list[tuple[str, ...]]:
    """Return the files of a distribution in the folder that it is installed in, as parts of paths.

    Where it keeps no record of them, as packages of Linux systems do not, its top folders.
    """
    record = distribution.read_text("RECORD")
    if record is not None:
        split = (tuple(row[0].split("/")) for row in csv.reader(record.splitlines()) if row)
        return [p for p in split if p[0] not in ("", "__pycache__") and ".." not in p]
    return list(_top_files(distribution))


def _top_files(distribution: metadata.Distribution) -> Iterator[tuple[str, ...]]:
    text = distribution.read_text("top_level.txt")
    names = text.split() if text is not None else [distribution.metadata["Name"].replace("-", "_")]
    for name in names:
        path = str(distribution.locate_file(name))
        if os.path.isdir(path):
            yield name, "__init__.py"
        elif os.path.exists(f"{path}.py"):
            yield (f"{name}.py",)
    about = getattr(distribution, "_path", None)
    if about is not None:
        yield about.name, "PKG-INFO"


def package_names(text: str) -> tuple[str, ...]:
    """Return the names in ``numpy,scipy``; none for ``none``.

    Raises:
        ValueError: one is empty, or ``none`` is among others.
    """
    names = tuple(name.strip() for name in text.split(","))
    if names == ("none",):
        return ()
    if "" in names or "none" in names:
        raise ValueError(f"must be none, or names of packages such as numpy,scipy, not {text!r}")
    return names
