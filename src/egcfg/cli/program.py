"""The ``egcfg`` program: dispatch, and how errors become one line and an exit status."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import click

from egcfg.cli.commands import CommandGroup
from egcfg.cli.logs import is_debugging, start_logging
from egcfg.cli.status import BROKEN_PIPE, FAILED, INTERRUPTED, TERMINATED, WRONG_USAGE, Interrupted
from egcfg.cli.terminal import printable
from egcfg.errors import EgcfgError, UsageError

__all__ = ["egcfg", "invoke", "main"]


@click.group(cls=CommandGroup, no_args_is_help=False)
def egcfg() -> None:
    """Language models that write Python line by line while watching it run."""


def main() -> NoReturn:
    """Run the program with the arguments of this process, and exit."""
    signal.signal(signal.SIGTERM, _terminate)
    status = invoke(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        status = _reader_gone()
    sys.exit(status)


def invoke(arguments: Sequence[str]) -> int:
    """Run one command; print errors in one line; return the exit status."""
    start_logging()
    try:
        outcome = egcfg.main(args=list(arguments), prog_name="egcfg", standalone_mode=False)
    except click.exceptions.Exit as leave:
        return leave.exit_code
    except click.ClickException as error:
        context = error.ctx if isinstance(error, click.UsageError) else None
        path = context.command_path if context else "egcfg"
        return _fail(error, f"{error.format_message()} (see {path} --help)", WRONG_USAGE)
    except UsageError as error:
        return _fail(error, str(error), WRONG_USAGE)
    except EgcfgError as error:
        return _fail(error, str(error), FAILED)
    except Interrupted as error:
        return _fail(error, str(error), INTERRUPTED)
    except (click.Abort, KeyboardInterrupt) as error:
        return _fail(error, "interrupted", INTERRUPTED)
    except BrokenPipeError:
        return _reader_gone()
    return outcome if isinstance(outcome, int) else 0


def _fail(error: BaseException, message: str, status: int) -> int:
    if is_debugging():
        traceback.print_exception(error)
    click.echo(f"egcfg: {printable(' '.join(message.split()))}", err=True)
    return status


def _reader_gone() -> int:
    # Whatever is still buffered has no reader either; the interpreter must not try again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return BROKEN_PIPE


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    # An exception, so that the sandbox and the claims are given back on the way out.
    sys.exit(TERMINATED)
