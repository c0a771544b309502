"""Serves a folder's page on this machine: the details of a unit are read when they are asked for.

Only loopback is listened on, and only by names of it: a page elsewhere that lets its own name lead
here gets nothing (DNS rebinding). No path of a request is ever one of a file: units have numbers.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from egcfg.reports.page.overview import Overview
from egcfg.reports.page.render import page, policy, unit_page

__all__ = ["PageServer"]

LOOPBACK = "127.0.0.1"
UNIT = re.compile(r"/unit/([0-9]{1,9})")


class PageServer(ThreadingHTTPServer):
    """A server of one folder's page.

    Args:
        overview: the folder, read.
        port: where to listen; 0: any port that is free.
    """

    daemon_threads = True

    def __init__(self, overview: Overview, port: int = 0) -> None:
        self.overview = overview
        self.page = page(overview, live=True).encode("utf-8", "replace")
        super().__init__((LOOPBACK, port), _Handler)

    @property
    def address(self) -> str:
        """The page's address."""
        return f"http://{LOOPBACK}:{self.server_port}/"

    @property
    def hosts(self) -> frozenset[str]:
        """The names by which it may be asked."""
        return frozenset(f"{name}:{self.server_port}" for name in (LOOPBACK, "localhost"))


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    server_version = "egcfg"
    sys_version = ""
    timeout = 30  # seconds that a connection may be silent

    def do_GET(self) -> None:
        """Answer with the page, or a unit's details."""
        content = self._content()
        if isinstance(content, HTTPStatus):
            self.send_error(content)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815 - the library's name

    def end_headers(self) -> None:
        """Add what keeps other pages out, also of errors."""
        self.send_header("Content-Security-Policy", policy(live=True) + "; frame-ancestors 'none'")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("Referrer-Policy", "no-referrer")
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def _content(self) -> bytes | HTTPStatus:
        if self.headers.get_all("Host", []) not in [[host] for host in self.server.hosts]:
            return HTTPStatus.MISDIRECTED_REQUEST
        if self.path == "/":
            return self.server.page
        match = UNIT.fullmatch(self.path)
        units = self.server.overview.units
        if match is None or int(match[1]) >= len(units):
            return HTTPStatus.NOT_FOUND
        return unit_page(units[int(match[1])]).encode("utf-8", "replace")

    def log_message(self, *_: Any) -> None:
        """Say nothing: the terminal is for whoever started it."""
