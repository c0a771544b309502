"""Several questions at once, and none left running when one of them fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TypeVar

__all__ = ["together"]

T = TypeVar("T")


async def together(questions: Sequence[Awaitable[T]]) -> list[T]:
    """Return all answers in order; if one question fails, the others are cancelled."""
    tasks = [asyncio.ensure_future(question) for question in questions]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
