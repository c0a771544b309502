"""``egcfg lm-eval``: the command line of lm-evaluation-harness, with egcfg as the model."""

from __future__ import annotations

import sys

import click

from egcfg.cli.logs import log_options
from egcfg.errors import MissingExtraError

__all__ = ["lm_eval_command"]

COMMANDS = ("run", "ls", "validate")
"""The harness's own commands."""


@click.command(
    "lm-eval",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", metavar="[OPTIONS OF LM-EVAL]", nargs=-1, type=click.UNPROCESSED)
@log_options
def lm_eval_command(arguments: tuple[str, ...]) -> None:
    """Run lm-evaluation-harness with egcfg as the model.

    Every option is the harness's own: --tasks, --limit, --include_path, --output_path with
    --log_samples, and --confirm_run_unsafe_code, which its tasks of programs ask for, since it runs
    them unprotected. --model_args takes egcfg's settings and options of its components:

    \b
    egcfg lm-eval --tasks humaneval --limit 5 --confirm_run_unsafe_code \\
        --model_args gamma=1.0,candidates=3,decoder_tests=docstring,backend.weights=int8

    `egcfg lm-eval run --help` shows the harness's options, `egcfg run --help` the settings. A log
    line at the start and "egcfg" in the results' configuration say which tests the decoder
    executes. Needs pip install 'egcfg[lm-eval]'.
    """
    try:
        from lm_eval.__main__ import cli_evaluate

        import egcfg.harnesses.lm_eval  # noqa: F401 - registers the model
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the package {error.name!r} is not installed; run: pip install 'egcfg[lm-eval]'"
        ) from error
    command, *rest = (
        arguments if arguments[:1] and arguments[0] in COMMANDS else ("run", *arguments)
    )
    # The harness would name a GPU where nobody names a device.
    model = ["--model", "egcfg", "--device", "auto"] if command == "run" else []
    sys.argv = ["lm-eval", command, *model, *rest]
    cli_evaluate()
