"""Serves a GGUF file by llama.cpp's own server until it is killed; prints the address."""

from __future__ import annotations

import signal
import sys

import xllamacpp


def main(model: str) -> None:
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.n_ctx = 8192
    params.n_parallel = 4
    params.port = 0
    params.warmup = False
    # Threads that wait for each other spin: more than one starves on a machine that is shared.
    params.cpuparams.n_threads = 1
    server = xllamacpp.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    signal.pause()


if __name__ == "__main__":
    main(sys.argv[1])
