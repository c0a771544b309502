"""Tracers whose options cannot be read, or that cannot be made from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from attrs import field, frozen

from egcfg import Tracer
from egcfg.errors import CapabilityError

if TYPE_CHECKING:
    from pathlib import Path


class Silent(Tracer):
    """Traces and renders nothing."""

    def __init__(self, options):
        """Keep the options."""
        self.options = options

    def trace(self, requests, sandbox):
        """Trace nothing."""
        return []

    def render(self, trace, max_chars):
        """Return nothing."""
        return ""


class UnresolvedTracer(Silent):
    """Its options name a type that only a type checker sees."""

    @frozen
    class Options:
        """One path."""

        folder: Path | None = None


class UnconvertibleTracer(Silent):
    """Its options hold what no text can be converted to."""

    @frozen
    class Options:
        """One function."""

        function: Callable[[str], str] = field(default=str)


class ArgumentlessTracer(Silent):
    """Does not take its options."""

    @frozen
    class Options:
        """None."""

    def __init__(self):
        """Take nothing."""


class RefusingTracer(Silent):
    """Refuses to work, as egcfg's own components do."""

    @frozen
    class Options:
        """None."""

    def __init__(self, options):
        """Refuse."""
        raise CapabilityError("not on this machine; use another one")
