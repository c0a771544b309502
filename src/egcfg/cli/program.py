"""The ``egcfg`` program: dispatch, and how errors become one line and an exit status."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import click

from egcfg.cli.commands import CommandGroup
from egcfg.cli.status import (
    ENDED_EARLY,
    FAILED,
    INTERRUPTED,
    TERMINATED,
    WRONG_USAGE,
    Interrupted,
)
from egcfg.cli.terminal import printable
from egcfg.errors import BudgetError, EgcfgError, UsageError, limit_reached

__all__ = ["egcfg", "invoke", "main"]


@click.group(cls=CommandGroup, context_settings={"max_content_width": 100})
@click.version_option(package_name="egcfg", prog_name="egcfg", message="%(prog)s %(version)s")
def egcfg() -> None:
    """Language models that write Python line by line while watching it run."""
    from egcfg.cli.logs import start_logging

    start_logging()


def main() -> NoReturn:
    """Run the program with the arguments of this process, and exit."""
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, _terminate)
    sys.exit(invoke(sys.argv[1:]))


def invoke(arguments: Sequence[str]) -> int:
    """Run one command; print errors in one line; return the exit status."""
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
    except BudgetError as error:
        return _fail(error, str(error), ENDED_EARLY)
    except EgcfgError as error:
        return _fail(error, str(error), FAILED)
    except Interrupted as error:
        return _fail(error, str(error), INTERRUPTED)
    except (click.Abort, KeyboardInterrupt) as error:  # the former is a RuntimeError
        return _fail(error, "interrupted", INTERRUPTED)
    except (OSError, RuntimeError) as error:
        reached = limit_reached(error)
        if reached is None:
            raise
        return _fail(error, reached, FAILED)
    return outcome if isinstance(outcome, int) else 0


def _fail(error: BaseException, message: str, status: int) -> int:
    from egcfg.cli.logs import is_debugging

    if is_debugging():
        import traceback

        traceback.print_exception(error)
    click.echo(f"egcfg: {printable(' '.join(message.split()))}", err=True)
    return status


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    # An exception, so that the sandbox and the claims are given back on the way out.
    sys.exit(TERMINATED)
