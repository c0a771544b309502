"""llama.cpp's own server, in a process of its own; needs the package ``xllamacpp``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["llama_server"]

CONTEXT = 2048
"""Tokens of each sequence."""


@contextmanager
def llama_server(model: Path, *, parallel: int = 4, threads: int = 1) -> Iterator[str]:
    """Serve a GGUF file; give the server's address, without the API's version.

    Args:
        model: the file.
        parallel: sequences that it works on at once.
        threads: that it computes with. They spin while they wait for each other: on a machine that
            is shared, more than one starves.

    Raises:
        RuntimeError: it ended at once; the message has the last that it said.
    """
    # The address has a pipe of its own: in the log it may come between the words of another thread.
    reader, writer = os.pipe()
    command = [sys.executable, __file__, str(model), str(parallel), str(threads), str(writer)]
    with tempfile.TemporaryFile("a+b") as log, open(reader, encoding="utf-8") as told:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=[writer],
        )
        os.close(writer)
        try:
            address = told.readline().strip()
            if not address:
                process.wait()
                log.seek(0)
                said = log.read().decode(errors="replace")
                raise RuntimeError(f"the llama.cpp server ended at once: {said[-2000:]}")
            yield address
        finally:
            process.kill()
            process.wait()


def _serve(model: str, parallel: int, threads: int, told: int) -> None:
    """Serve until this process is killed; write the address to the descriptor `told`."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = CONTEXT * parallel
    params.n_parallel = parallel
    params.port = 0
    params.warmup = False
    params.cpuparams.n_threads = threads
    server = xllamacpp.Server(params)
    with open(told, "w", encoding="utf-8") as pipe:
        pipe.write(f"{server.listening_address}\n")
    signal.pause()


if __name__ == "__main__":
    _serve(sys.argv[1], *map(int, sys.argv[2:]))
