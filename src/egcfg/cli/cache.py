"""``egcfg cache``: what was converted and kept, and how to be rid of it."""

from __future__ import annotations

import click

from egcfg.cli.logs import log_options
from egcfg.cli.terminal import printable_line

__all__ = ["cache_command"]

SHOWN = 12
"""Characters of an entry's name that are shown; as few as tell it from the others may be given."""


@click.command("cache")
@click.argument("entries", nargs=-1, metavar="[ENTRY]...")
@click.option("--clear", is_flag=True, help="delete each ENTRY; without any, all of them")
@log_options
def cache_command(entries: tuple[str, ...], clear: bool) -> None:
    """List models that were converted and kept, newest first; with --clear, delete them.

    A .gguf file is converted the first time that it is used, which takes seconds to minutes. What
    is deleted is made again when it is needed.
    """
    from egcfg.errors import UsageError
    from egcfg.plugins.cache import CACHE_VARIABLE, cache_folder, cached, remove_leftovers

    found = cached()
    for name in entries:
        matches = [entry for entry in found if entry.folder.name.startswith(name)]
        if len(matches) != 1:
            raise UsageError(
                f"{len(matches) or 'no'} entries of the cache begin with {name!r}; "
                "`egcfg cache` lists them"
            )
    chosen = [e for e in found if not entries or e.folder.name.startswith(entries)]
    for entry in chosen:
        if clear:
            entry.remove()
        name, day = entry.folder.name[:SHOWN], entry.made.date()
        origin = entry.origin or "(an earlier version's)"
        click.echo(printable_line(f"{name}  {entry.size / 2**20:>7,.0f} MiB  {day}  {origin}"))
    if clear and not entries:
        remove_leftovers()
    total = sum(entry.size for entry in chosen) / 2**20
    click.echo(
        f"{'deleted' if clear else 'in all'}: {total:,.0f} MiB in {cache_folder()} "
        f"({CACHE_VARIABLE} names another folder)",
        err=True,
    )
