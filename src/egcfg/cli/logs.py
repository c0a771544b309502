"""How much the program says on standard error besides its results."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import click

from egcfg.cli.terminal import printable, printable_line

__all__ = ["is_debugging", "is_quiet", "log_options", "start_logging"]

F = TypeVar("F", bound=Callable[..., Any])


class _StandardError(logging.Handler):
    """Writes harmless lines to whatever standard error is at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "" if record.levelno == logging.INFO else f"{record.levelname.lower()}: "
        line = printable_line(level + record.getMessage())
        if record.exc_info and is_debugging():
            line += "\n" + printable(logging.Formatter().formatException(record.exc_info))
        click.echo(line, err=True)

    def filter(self, record: logging.LogRecord) -> bool:
        # A library's chatter may hold request headers, and so a key.
        return record.name.startswith("egcfg") or record.levelno >= logging.WARNING


def start_logging() -> None:
    """Say on standard error what takes long and what is odd; the flags of `log_options` decide."""
    root = logging.getLogger()
    for handler in root.handlers:
        if isinstance(handler, _StandardError):
            break
    else:
        root.addHandler(_StandardError())
    root.setLevel(logging.INFO)


def is_debugging() -> bool:
    """Whether tracebacks are wanted: ``--debug`` or ``EGCFG_DEBUG=1``."""
    return os.environ.get("EGCFG_DEBUG") == "1" or logging.getLogger().level == logging.DEBUG


def is_quiet() -> bool:
    """Whether only results and errors are wanted: ``--quiet``."""
    return logging.getLogger().level > logging.WARNING


def log_options(function: F) -> F:
    """Add ``--quiet`` and ``--debug`` to a command."""
    for flags, level, text in reversed(
        [
            (("-q", "--quiet"), logging.ERROR, "Only results and errors."),
            (("--debug",), logging.DEBUG, "Also what libraries log; an error's traceback."),
        ]
    ):
        function = click.option(
            *flags,
            is_flag=True,
            expose_value=False,
            callback=partial(_set_level, level),
            help=text,
        )(function)
    return function


def _set_level(level: int, _context: click.Context, _option: click.Parameter, on: bool) -> None:
    if on:
        logging.getLogger().setLevel(level)
