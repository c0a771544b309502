"""The page on loopback: what it answers, and what it does not."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from egcfg.reports.aggregate import no_prices
from egcfg.reports.page.overview import Overview, overview
from egcfg.reports.page.render import unit_page
from egcfg.reports.page.serving import PageServer

Ask = Callable[..., tuple[int, str, http.client.HTTPMessage]]


@contextmanager
def served(shown: Overview) -> Iterator[PageServer]:
    with PageServer(shown) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def server(three_tasks: Overview) -> Iterator[PageServer]:
    with served(three_tasks) as server:
        yield server


def asking(server: PageServer) -> Ask:
    def asked(
        path: str, *, host: str | None = None, method: str = "GET"
    ) -> tuple[int, str, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
        headers = {"Host": host or f"127.0.0.1:{server.server_port}"}
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text, answer.headers

    return asked


@pytest.fixture
def ask(server: PageServer) -> Ask:
    return asking(server)


def test_the_page_and_each_unit_are_served(server: PageServer, ask: Ask) -> None:
    status, text, headers = ask("/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert 'data-live="yes"' in text
    assert 'type="text/plain"' not in text
    for unit in server.overview.units:
        assert ask(f"/unit/{unit.number}")[:2] == (200, unit_page(unit))


def test_details_are_read_when_they_are_asked_for(make_folder: Callable[..., Path]) -> None:
    with served(overview(make_folder(1), no_prices)) as server:
        unit = server.overview.units[0]
        unit.path.write_bytes(b"")
        assert "its result is empty" in asking(server)(f"/unit/{unit.number}")[1]


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "localhost.:{port}"]
)
def test_other_names_of_this_machine_get_nothing(server: PageServer, ask: Ask, host: str) -> None:
    status, text, _ = ask("/", host=host.format(port=server.server_port))
    assert status == 421
    assert "mbpp" not in text
    assert ask("/", host=f"localhost:{server.server_port}")[0] == 200


def test_a_request_without_or_with_two_hosts_gets_nothing(server: PageServer) -> None:
    good = f"Host: 127.0.0.1:{server.server_port}\r\n"
    for headers in ("", good + good):
        with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as client:
            client.sendall(f"GET / HTTP/1.1\r\n{headers}Connection: close\r\n\r\n".encode())
            answer = b""
            while part := client.recv(65536):
                answer += part
        assert b" 421 " in answer.split(b"\r\n")[0]


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/unit/../../../etc/passwd",
        "/unit/%2e%2e%2fetc",
        "/unit/-1",
        "/unit/9999",
        "/unit/99999999999999999999",
        "/unit/1/",
        "/unit/",
        "//etc/passwd",
        "/index.html",
        "/?x",
    ],
)
def test_no_path_leads_to_a_file(ask: Ask, path: str) -> None:
    assert ask(path)[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(ask: Ask, method: str) -> None:
    assert ask("/", method=method)[0] == 501


def test_a_head_has_no_body(ask: Ask) -> None:
    status, text, headers = ask("/", method="HEAD")
    assert (status, text) == (200, "")
    assert int(headers["Content-Length"]) > 1000


def test_other_pages_are_kept_out(ask: Ask) -> None:
    for path in ("/", "/unit/0", "/nothing"):
        headers = ask(path)[2]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Access-Control-Allow-Origin" not in headers


def test_only_loopback_is_listened_on(server: PageServer) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"
