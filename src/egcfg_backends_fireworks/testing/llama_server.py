"""llama.cpp's own server, in a process of its own; needs the package ``xllamacpp``."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import time
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
    command = [sys.executable, __file__, str(model), str(parallel), str(threads)]
    with tempfile.TemporaryFile("a+b") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            while True:
                ended = process.poll() is not None
                log.seek(0)
                said = log.read().decode(errors="replace")
                for line in said.splitlines(keepends=True):
                    if line.startswith("http://") and line.endswith("\n"):
                        yield line.strip()
                        return
                if ended:
                    raise RuntimeError(f"the llama.cpp server ended at once: {said[-2000:]}")
                time.sleep(0.05)
        finally:
            process.kill()
            process.wait()


def _serve(model: str, parallel: int, threads: int) -> None:
    """Serve until this process is killed; print the address."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = CONTEXT * parallel
    params.n_parallel = parallel
    params.port = 0
    params.warmup = False
    params.cpuparams.n_threads = threads
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    signal.pause()


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
