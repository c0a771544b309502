"""Files that a test makes for the program, or the program for a test.

Each process has a scratch folder of its own, under the same path. What changes in one is told with
the next message and done in the other: the file that a test wrote is there when the program opens
it, and the other way round.
"""

from __future__ import annotations

import os
import stat
from typing import Any, Final

from .bounds import DecodeError, EncodeError

__all__ = ["Files"]

FILES: Final = 200
BYTES: Final = 4 << 20
_FOLDER: Final = True

Changes = tuple[tuple[str, Any], ...]


class Files:
    """The regular files and folders of a scratch folder, as far as both sides know them.

    Args:
        folder: the scratch folder.
        apart: a file in it that is this side's alone.
    """

    def __init__(self, folder: str, apart: str = "") -> None:
        self.folder = folder
        self._apart = apart
        self._known: dict[str, tuple[int, ...]] = {}
        self._empty_at = -1  # the folder's own time when it was seen to be empty

    def changes(self) -> Changes:
        """Return what is new, changed or gone: paths with bytes, True for a folder, or None.

        Raises:
            EncodeError: there are too many, or they are too large.
        """
        # Most tests make no files: one look at the folder's time tells.
        if not self._known and self._folder_time() == self._empty_at:
            return ()
        found = self._scan()
        if found == self._known:
            return ()
        if len(found) > FILES:
            raise EncodeError(f"more than {FILES} files")
        changed: list[tuple[str, Any]] = []
        room = BYTES
        for path, mark in found.items():
            if self._known.get(path) == mark:
                continue
            content: Any = _FOLDER
            if len(mark) > 1:
                room -= mark[1]
                if room < 0:
                    raise EncodeError(f"files of more than {BYTES} bytes")
                try:
                    with open(os.path.join(self.folder, path), "rb") as file:
                        content = file.read(mark[1])
                except OSError:
                    continue
            changed.append((path, content))
        gone = sorted(self._known.keys() - found.keys(), reverse=True)
        self._known = found
        return (*changed, *((path, None) for path in gone))

    def apply(self, changes: Any) -> None:
        """Do here what changed there.

        Raises:
            DecodeError: they are no changes within the folder, or cannot be done here.
        """
        for change in changes:
            match change:
                case (str(path), bytes() | True | None as content) if _is_within(path):
                    try:
                        self._put(os.path.join(self.folder, path), content)
                    except (OSError, ValueError) as error:
                        raise DecodeError(f"a file cannot be carried over: {error}") from error
                case _:
                    raise DecodeError("a file expected")
        if changes:
            self._known = self._scan()

    def _put(self, path: str, content: bytes | bool | None) -> None:
        if content is None:
            (os.rmdir if os.path.isdir(path) else os.unlink)(path)
        elif content is _FOLDER:
            os.makedirs(path, exist_ok=True)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            with open(os.open(path, flags, 0o600), "wb") as file:
                file.write(content)  # type: ignore[arg-type]

    def _folder_time(self) -> int:
        return os.stat(self.folder).st_mtime_ns if self.folder else 0

    def _scan(self) -> dict[str, tuple[int, ...]]:
        """Return the mark of each path: of a file its time and size, of a folder nothing."""
        found: dict[str, tuple[int, ...]] = {}
        began = self._folder_time()
        folders = [""]
        while folders and len(found) <= FILES:
            folder = folders.pop()
            try:
                entries = list(os.scandir(os.path.join(self.folder, folder)))
            except OSError:
                continue
            for entry in entries:
                path = os.path.join(folder, entry.name)
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    found[path] = ()
                    folders.append(path)
                elif stat.S_ISREG(status.st_mode) and path != self._apart:
                    found[path] = (status.st_mtime_ns, status.st_size)
        self._empty_at = -1 if found else began
        return found


def _is_within(path: str) -> bool:
    return (
        not path.startswith("/") and path == os.path.normpath(path) and path.split("/")[0] != ".."
    )
