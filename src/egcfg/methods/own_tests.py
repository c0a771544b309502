"""Asserts that the model makes itself for a task whose visible tests are few, or not to be used."""

from __future__ import annotations

from egcfg.interfaces.method import Bench
from egcfg.interfaces.problem import AssertTest
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt
from egcfg.methods.reading import made_asserts
from egcfg.prompts.wording import task_text

__all__ = ["own_asserts"]


async def own_asserts(
    bench: Bench, count: int, *, lists: int = 1, temperature: float = 0.0
) -> list[AssertTest]:
    """Return asserts that the model makes for the task, each once.

    Answers without one are counted; for a whole program, which has no function to call, the model
    is not asked.

    Args:
        bench: where the model is asked.
        count: how many of each answer count, the first ones.
        lists: answers to ask for.
        temperature: they are drawn at.
    """
    task, function = bench.task, bench.task.entry_point
    if function is None:
        bench.note("no_function_to_call")
        return []
    asked = (
        f"{task_text(task)}\n\nDo not solve this. Write {count} asserts that a "
        f"right `{function}` passes and that the task does not state: one per line, each with "
        f"one call and the value that it must give, in the form `assert {function}(...) == "
        "...`."
    )
    replies = await bench.ask(
        ChatPrompt((ChatMessage("user", asked),)),
        stage="tests",
        n=lists,
        temperature=temperature,
    )
    found: dict[AssertTest, None] = {}
    for reply in replies:
        made = made_asserts(reply.text, function, cut=not reply.finished)
        if not made:
            bench.note("unreadable_tests")
        found |= dict.fromkeys(made[:count])
    return list(found)
