"""Imports of packages: of those that were chosen, and of no others beside them in their folder.

The folder itself never is on the path, so nothing is found in it by chance; what may be read of it
is for `readable` to say.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ModuleSpec,
)
from importlib.util import spec_from_file_location
from typing import Any

__all__ = ["PackageFinder"]

SUFFIXES = (*EXTENSION_SUFFIXES, *SOURCE_SUFFIXES, *BYTECODE_SUFFIXES)


class PackageFinder:
    """Finds the top modules of packages; their submodules are found as everywhere.

    Args:
        packages: what `egcfg.sandbox.packages.Package` holds, each as a dict.
    """

    def __init__(self, packages: Sequence[dict[str, Any]]) -> None:
        self._packages = packages
        tops = [(module, package) for package in packages for module in package["modules"]]
        self._folders = {module: package["folder"] for module, package in tops}
        self._labels = {module: f"{p['name']}=={p['version']}" for module, p in tops}
        self._found: list[str] = []

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """Return where a module is, as the import system asks every finder; `target` is unused."""
        del target
        folder = self._folders.get(name)
        if folder is None or path is not None:
            return None
        self._found.append(name)
        place = os.path.join(folder, name)
        for stem, inside in ((os.path.join(place, "__init__"), [place]), (place, None)):
            for suffix in SUFFIXES:
                if os.path.isfile(stem + suffix):
                    return spec_from_file_location(
                        name, stem + suffix, submodule_search_locations=inside
                    )
        spec = ModuleSpec(name, None, is_package=True)  # one without code of its own
        spec.submodule_search_locations = [place]
        return spec

    def find_distributions(self, context: Any = None) -> Iterator[Any]:
        """Yield what `importlib.metadata` asks every finder for."""
        from importlib.metadata import PathDistribution
        from pathlib import Path

        wanted = getattr(context, "name", None)
        for package in self._packages:
            if wanted is None or _plain(wanted) == _plain(package["name"]):
                yield PathDistribution(Path(package["metadata"]))

    def imported(self) -> list[str]:
        """Return the packages that are imported in this process, as ``name==version``."""
        # Only what was looked for is looked at: most programs import none of them.
        labels = (self._labels[name] for name in self._found if name in sys.modules)
        return sorted(set(labels))


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
