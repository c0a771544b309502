"""Which files a program may read: the interpreter's, the system's libraries, the packages' own.

Folders of installed packages are cut out of the interpreter's: they hold whatever was installed,
also benchmarks with their solutions and tests.
"""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterable, Sequence

__all__ = ["Readable"]

# Shared libraries that extension modules of the standard library load, and time zones.
SYSTEM_PATHS = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/localtime",
)
PACKAGE_FOLDERS = ("site-packages", "dist-packages")


class Readable:
    """The files that programs may read.

    Attributes:
        paths: folders with all that is beneath, but for `hidden`, and files.
        hidden: folders of installed packages beneath `paths`, by every name that they have there.
        packages: the folders and files of packages that may be read all the same.

    Args:
        packages: their folders and files.
    """

    def __init__(self, packages: Sequence[str]) -> None:
        wanted = {f"{sys.base_prefix}/{name}" for name in ("lib", "lib64")} | {*SYSTEM_PATHS}
        wanted.add(sys.executable)
        wanted.update(os.path.realpath(path) for path in sys.path if os.path.isdir(path))
        self.paths = _outermost(path for path in wanted if os.path.exists(path))
        self._real = _outermost(map(os.path.realpath, self.paths))
        found = (
            os.path.realpath(folder)
            for path in self._real
            for inside in ("", "python*/", "lib*/python*/")
            for name in PACKAGE_FOLDERS
            for folder in glob.glob(f"{glob.escape(path)}/{inside}{name}")
        )
        self._hidden = _outermost(folder for folder in found if _within(folder, self._real))
        self.hidden = [
            path + folder.removeprefix(os.path.realpath(path))
            for path in self.paths
            for folder in self._hidden
            if not os.path.islink(path) and _within(folder, [os.path.realpath(path)])
        ]
        self.packages = list(packages)

    @property
    def roots(self) -> list[str]:
        """Few folders and files that all of it is beneath, with other things maybe."""
        return [*self.paths, *{os.path.dirname(path) for path in self.packages}]

    def piecewise(self) -> tuple[list[str], list[str]]:
        """Return the same without exceptions, for rules that cannot have any.

        Returns:
            Paths that may be read with all that is beneath; and folders that may be listed, with
            all that is beneath, since something in them may not be read.
        """
        whole: list[str] = []
        listed: list[str] = []
        waiting = list(self._real)
        while waiting:
            path = waiting.pop()
            if _within(path, self._hidden) or not os.path.exists(path):
                continue
            if any(_within(folder, [path]) for folder in self._hidden):
                listed.append(path)
                waiting += [os.path.realpath(entry.path) for entry in os.scandir(path)]
            else:
                whole.append(path)
        return [*whole, *self.packages], listed


def _within(path: str, folders: Iterable[str]) -> bool:
    return any(f"{path}/".startswith(f"{folder}/") for folder in folders)


def _outermost(paths: Iterable[str]) -> list[str]:
    """Return the paths that are not beneath another one of them."""
    unique = set(paths)
    return sorted(
        path
        for path in unique
        if not any(path.startswith(f"{other}/") for other in unique if other != path)
    )
