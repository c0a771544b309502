"""Length-prefixed messages over a stream socket or pipe."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

__all__ = [
    "HEADER",
    "MAX_FRAME",
    "FrameError",
    "Reader",
    "pack_json",
    "receive",
    "receive_with_descriptors",
    "send",
]

HEADER = struct.Struct(">Q")
MAX_FRAME = 64 << 20
PIECE = 1 << 16


class FrameError(Exception):
    """The other end closed the stream within a message, or announced one that is too long."""


def pack_json(message: dict[str, Any]) -> bytes:
    """Return a message as one frame of JSON (ASCII only, so lone surrogates travel too)."""
    body = json.dumps(message).encode("ascii")
    return HEADER.pack(len(body)) + body


def send(stream: socket.socket, body: bytes) -> None:
    """Send one frame."""
    stream.sendall(HEADER.pack(len(body)) + body)


def receive(stream: socket.socket, limit: int = MAX_FRAME) -> bytes | None:
    """Return the next frame, or None where the stream ends between two.

    Raises:
        FrameError: the stream ends within a frame, or the frame is longer than `limit`.
    """
    header = _exactly(stream, HEADER.size)
    return _body(stream, header, limit) if header else None


def _body(stream: socket.socket, header: bytes, limit: int) -> bytes:
    if len(header) < HEADER.size:
        raise FrameError("the stream ends within a header")
    (length,) = HEADER.unpack(header)
    if length > limit:
        raise FrameError(f"a frame of {length} bytes is longer than {limit}")
    body = _exactly(stream, length)
    if len(body) < length:
        raise FrameError("the stream ends within a frame")
    return body


class Reader:
    """Receives frames of a conversation: a short one takes a single read."""

    def __init__(self, stream: socket.socket) -> None:
        self._stream = stream
        self._rest = b""

    def receive(self, limit: int = MAX_FRAME) -> bytes | None:
        """Return the next frame, or None where the stream ends between two.

        Raises:
            FrameError: as `receive`.
        """
        data = self._rest or self._stream.recv(PIECE)
        self._rest = b""
        if not data:
            return None
        while len(data) < HEADER.size:
            piece = self._stream.recv(PIECE)
            if not piece:
                raise FrameError("the stream ends within a header")
            data += piece
        (length,) = HEADER.unpack_from(data)
        if length > limit:
            raise FrameError(f"a frame of {length} bytes is longer than {limit}")
        end = HEADER.size + length
        if len(data) < end:
            data += _exactly(self._stream, end - len(data))
            if len(data) < end:
                raise FrameError("the stream ends within a frame")
        self._rest = data[end:]
        return data[HEADER.size : end]


def receive_with_descriptors(stream: socket.socket, count: int) -> tuple[bytes | None, list[int]]:
    """Return the next frame, None where the stream ends, and the descriptors that came with it.

    Raises:
        FrameError: as `receive`.
    """
    # They come with the first byte of a message, and reading its header reads no further.
    header, descriptors, _, _ = socket.recv_fds(stream, HEADER.size, count)
    if not header:
        return None, descriptors
    header += _exactly(stream, HEADER.size - len(header))
    return _body(stream, header, MAX_FRAME), descriptors


def _exactly(stream: socket.socket, count: int) -> bytes:
    pieces = []
    while count:
        piece = stream.recv(min(count, 1 << 20))
        if not piece:
            break
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)
