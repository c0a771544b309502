"""An HTTP server in this process that answers requests as it is told."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from attrs import define, field, frozen

__all__ = ["Answer", "LoopbackServer"]

DRIP_S = 0.02
STALL_S = 10.0
PATH = "/v1/completions"


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # many tasks may connect in one moment


@frozen
class Answer:
    """What a server does with one request.

    Attributes:
        body: of the response.
        status: the HTTP status.
        headers: beside the usual ones.
        fault: ``"reset"`` promises more than it sends; ``"drip"`` sends a byte at a time;
            ``"stall"`` sends nothing for ten seconds; ``"drop"`` not even a status, ever.
    """

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(factory=dict)
    fault: str = ""


@define
class LoopbackServer:
    """Listens on a free port of this machine; a context manager.

    Attributes:
        answer: from a completion request's JSON to an answer.
        others: from another path and its JSON to an answer; None: there is no other.
        latency_s: seconds that every answer takes on its way.
        faults: taken one by one before `answer` is asked.
        keys: the authorization header of each request.
        paths: how often each path was asked for.
        received: bytes of the requests' bodies.
        sent: bytes of the answers' bodies.
        address: where it listens, without the API's version.
    """

    answer: Callable[[dict[str, Any]], Answer]
    others: Callable[[str, dict[str, Any]], Answer] | None = None
    latency_s: float = field(default=0.0, kw_only=True)
    faults: list[Answer] = field(factory=list)
    keys: list[str] = field(factory=list)
    paths: Counter[str] = field(factory=Counter)
    received: int = 0
    sent: int = 0
    address: str = ""
    _ended: threading.Event = field(factory=threading.Event, init=False, repr=False)
    _server: ThreadingHTTPServer | None = field(default=None, init=False, repr=False)
    _thread: threading.Thread | None = field(default=None, init=False, repr=False)

    def __enter__(self) -> Self:
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                loopback._handle(self)

            do_GET = do_POST  # noqa: N815 - the base class's name

            def log_message(self, *_: object) -> None:
                pass

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._server is not None
        assert self._thread is not None
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        self.paths[handler.path] += 1
        self.keys.append(handler.headers.get("Authorization", ""))
        length = int(handler.headers.get("Content-Length") or 0)
        body = handler.rfile.read(length)
        self.received += len(body)
        if len(body) < length:
            handler.close_connection = True  # the client has gone
            return
        request = json.loads(body) if body else {}
        if handler.path != PATH and self.others is None:
            self._send(handler, Answer(b'{"error": {"message": "no such route"}}', 404))
        elif self.faults:
            self._send(handler, self.faults.pop(0))
        elif handler.path == PATH:
            self._send(handler, self.answer(request))
        elif self.others is not None:
            self._send(handler, self.others(handler.path, request))

    def _send(self, handler: BaseHTTPRequestHandler, answer: Answer) -> None:
        if answer.fault == "drop":
            handler.close_connection = True
            return
        self._ended.wait(self.latency_s + (STALL_S if answer.fault == "stall" else 0.0))
        self.sent += len(answer.body)
        promised = len(answer.body) + (100 if answer.fault == "reset" else 0)
        headers = {"Content-Type": "application/json", **answer.headers}
        headers |= {"Content-Length": str(promised), "Connection": "close"}
        try:
            handler.send_response(answer.status)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.end_headers()
            if answer.fault == "drip":
                for byte in answer.body:
                    handler.wfile.write(bytes([byte]))
                    handler.wfile.flush()
                    if self._ended.wait(DRIP_S):
                        break
            else:
                handler.wfile.write(answer.body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client cut it off, as it should
        handler.close_connection = True
