"""Reads pages as a browser does, as far as tests need it."""

from __future__ import annotations

import base64
import gzip
from html.parser import HTMLParser

VOID = {"meta", "img", "input", "br", "link", "hr", "path", "use", "rect"}


class Page(HTMLParser):
    """A page, parsed.

    Attributes:
        tags: every element: its name, its attributes.
        text: all text outside of scripts and styles.
        scripts: text of each script that a browser would run.
        packed: text of each script of data, by its id.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.packed: dict[str, str] = {}
        self._texts: list[str] = []
        self._inside: list[str] = []
        self.feed(text)
        self.close()
        assert self._inside == []

    @property
    def text(self) -> str:
        return " ".join(" ".join(self._texts).split())

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]

    def details(self, number: int) -> str:
        return gzip.decompress(base64.b64decode(self.packed[f"d{number}"])).decode()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._inside.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        while self._inside and self._inside.pop() != tag:
            pass  # list items and table cells may end by themselves

    def handle_data(self, data: str) -> None:
        if "script" in self._inside:
            kind = self.named("script")[-1]
            if kind.get("type") == "text/plain":
                name = kind["id"]
                assert name is not None
                self.packed[name] = self.packed.get(name, "") + data
            else:
                self.scripts.append(data)
        elif "style" not in self._inside:
            self._texts.append(data)
