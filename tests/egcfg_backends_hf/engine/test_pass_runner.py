"""What tasks in flight have in common: passes, the worker, memory; never their text."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from egcfg.decoding.settings import DecodingSettings
from egcfg.errors import BackendError
from egcfg.interfaces.backend import (
    Answer,
    Continuation,
    SampleRequest,
    SamplingParams,
    ScoreRequest,
)
from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.engine import backoff, evaluator, pass_runner
from egcfg_backends_hf.engine.causal_model import CausalModel
from egcfg_backends_hf.options import HFOptions

from ..numbered_signals import SETTINGS, fast_decode

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, Any]], Any]
Naive = Callable[[Sequence[int]], NDArray[np.float64]]
Ids = tuple[int, ...]
Pass = list[list[int]]
"""The tokens of each lane in a pass."""


class Passes:
    """Watches the passes of all models, and lets a test hold one, or have it fail."""

    def __init__(self) -> None:
        self.ran: list[Pass] = []
        self.held = threading.Event()
        self.going_on = threading.Event()
        self.going_on.set()
        self.fail: Callable[[Pass], Exception | None] = lambda _: None

    def sizes(self) -> list[list[int]]:
        return [[len(tokens) for tokens in of_lanes] for of_lanes in self.ran]

    def tokens(self) -> int:
        return sum(sum(sizes) for sizes in self.sizes())

    async def hold(self, task: Callable[[], Awaitable[T]]) -> T:
        """Do `task` on the loop while a pass runs."""
        await wait_for(self.held.is_set)
        try:
            return await task()
        finally:
            self.going_on.set()


async def wait_for(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Passes]:
    watched, run_tree = Passes(), CausalModel.run_tree

    def watching(self: CausalModel, parts: Sequence[Any], *more: Any) -> Any:
        ran = [[node.token for node in nodes] for _, nodes in parts]
        watched.held.set()
        assert watched.going_on.wait(60)
        if failure := watched.fail(ran):
            raise failure
        watched.ran.append(ran)
        return run_tree(self, parts, *more)

    monkeypatch.setattr(CausalModel, "run_tree", watching)
    # The machine may be busy: every task that is answered comes back before the next pass.
    monkeypatch.setattr(pass_runner, "PATIENCE", 1000)
    yield watched
    watched.going_on.set()


def greedy(tokens: int) -> SamplingParams:
    return SamplingParams(temperature=0.0, max_tokens=tokens)


async def sample(backend: HFBackend, ids: Ids, tokens: int) -> Continuation:
    [[found]] = (await backend.sample([SampleRequest(ids, 1, greedy(tokens))])).value
    return found


async def together(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    return await asyncio.gather(*coroutines)


PROMPTS: list[Ids] = [(10 + number, *range(30 + number, 50 + number)) for number in range(6)]
LONG: Ids = tuple(np.random.default_rng(0).integers(10, 380, 1000).tolist())
"""No three tokens of it come twice at its end, so that nothing is speculated."""


# --- passes ---------------------------------------------------------------------------------------


def test_tasks_in_flight_share_their_passes(backend: HFBackend, passes: Passes, run: Run) -> None:
    async def alone() -> list[Continuation]:
        return [await asyncio.create_task(sample(backend, ids, 8)) for ids in PROMPTS]

    apart = run(alone())
    assert all(len(found.ids) == 8 for found in apart)
    taken, tokens = len(passes.ran), passes.tokens()
    passes.ran.clear()
    run(backend.close())
    run(backend.open())
    passes.ran.clear()
    assert run(together([sample(backend, ids, 8) for ids in PROMPTS])) == apart
    assert passes.sizes()[0] == [21] * 6
    assert [token for [token, *_] in passes.ran[0]] == [ids[0] for ids in PROMPTS]
    # Speculated tokens apart, each takes a pass for each of its tokens.
    assert len(passes.ran) == 8
    assert taken > 40
    assert passes.tokens() >= tokens


def test_a_dozen_guided_tasks_take_exactly_so_many_passes(
    backend: HFBackend, passes: Passes, run: Run
) -> None:
    settings = DecodingSettings(gamma=1.0, max_tokens=6)

    async def alone() -> None:
        for number in range(12):
            await asyncio.create_task(fast_decode(backend, number, settings))

    run(alone())
    taken = len(passes.ran)
    run(backend.close())  # else they would begin with their own answers
    run(backend.open())
    passes.ran.clear()
    run(together([fast_decode(backend, number, settings) for number in range(12)]))
    assert (taken, len(passes.ran)) == (153, 16)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 3.0])
def test_ids_are_the_same_alone_and_with_others_in_flight(
    backend: HFBackend, run: Run, gamma: float
) -> None:
    async def decode_all(most: int) -> list[Ids]:
        free = asyncio.Semaphore(most)

        async def one(number: int) -> Ids:
            settings = DecodingSettings(
                gamma=gamma, seed=number, max_tokens=8, **SETTINGS[number % len(SETTINGS)]
            )
            async with free:
                decoding = fast_decode(backend, number, settings)
                return (await asyncio.create_task(decoding)).ids

        return await together([one(number) for number in range(12)])

    expected = run(decode_all(1))
    assert run(decode_all(4)) == expected
    assert run(decode_all(16)) == expected


def test_rows_are_in_the_order_of_task_and_position_whoever_came_first(
    backend: HFBackend, passes: Passes, run: Run
) -> None:
    async def check() -> None:
        turns = [asyncio.Event() for _ in range(3)]

        async def one(number: int) -> None:
            await backend.score([ScoreRequest((10 + number,))])
            await turns[number].wait()
            await backend.score([ScoreRequest((10 + number, 20 + number), (30 + number,))])

        tasks = [asyncio.create_task(one(number)) for number in range(3)]
        await wait_for(lambda: len(passes.ran) == 1)
        for turn in reversed(turns):
            turn.set()
            await asyncio.sleep(0)
        await asyncio.wait(tasks)

    run(check())
    assert passes.ran == [[[10], [11], [12]], [[20, 30], [21, 31], [22, 32]]]


def test_a_pass_does_not_wait_for_a_task_that_is_busy_elsewhere(
    backend: HFBackend, run: Run
) -> None:
    async def check() -> None:
        executed = asyncio.Event()

        async def busy() -> None:
            await backend.score([ScoreRequest((10,))])
            await executed.wait()

        task = asyncio.create_task(busy())
        await sample(backend, PROMPTS[0], 5)
        assert not task.done()
        executed.set()
        await task

    run(check())


def test_a_long_prompt_runs_in_pieces_beside_the_tokens_of_others(
    backend: HFBackend, naive_logprobs: Naive, passes: Passes, run: Run
) -> None:
    async def check() -> None:
        async def read() -> Answer[Any]:
            await wait_for(lambda: len(passes.ran) > 1)
            return await backend.score([ScoreRequest(LONG)])

        _, answer = await asyncio.gather(sample(backend, PROMPTS[0], 12), read())
        [[found]] = answer.value
        np.testing.assert_allclose(found.values, naive_logprobs(LONG), rtol=0, atol=1e-9)
        assert (answer.usage.forward_passes, answer.usage.forward_tokens) == (4, 1000)

    run(check())
    pieces = [sizes for sizes in passes.sizes() if len(sizes) == 2]
    assert [piece for _, piece in pieces] == [evaluator.PIECE] * 3 + [1000 - 3 * evaluator.PIECE]
    assert all(1 <= beside <= 5 for beside, _ in pieces)


def test_a_few_shot_prompt_is_computed_once(
    backend: HFBackend, naive_logprobs: Naive, passes: Passes, run: Run
) -> None:
    few_shot = LONG[:400]
    prompts = [(*few_shot, 320 + number, 340 + number) for number in range(5)]

    async def score(ids: Ids) -> Answer[Any]:
        return await backend.score([ScoreRequest(ids)])

    answers = run(together([score(ids) for ids in prompts]))
    assert passes.tokens() == 400 + 2 * 5
    assert passes.sizes() == [[256], [146], [2] * 4]  # the first alone reads in pieces
    for ids, answer in zip(prompts, answers, strict=True):
        np.testing.assert_allclose(
            answer.value[0][0].values, naive_logprobs(ids), rtol=0, atol=1e-9
        )
    assert [answer.usage.cached_tokens for answer in answers] == [0] + [400] * 4
    run(score((*few_shot, 330)))  # they are done, what they read is not lost
    assert passes.tokens() == 400 + 2 * 5 + 1


# --- cancellation and failure ---------------------------------------------------------------------


def test_a_call_cancelled_in_mid_pass_leaves_nothing_stuck(
    backend: HFBackend, naive_logprobs: Naive, passes: Passes, run: Run
) -> None:
    async def check() -> None:
        passes.going_on.clear()
        tasks = [asyncio.create_task(sample(backend, ids, 200)) for ids in PROMPTS[:3]]

        async def cancel() -> None:
            for task in tasks[:2]:
                task.cancel()
            await asyncio.wait(tasks[:2])
            assert all(task.cancelled() for task in tasks[:2])

        await passes.hold(cancel)
        assert len((await tasks[2]).ids) == 200
        # The others' tasks are done: their lanes are idle, and nobody waits for them.
        assert [len(sizes) for sizes in passes.sizes()[:2]] == [3, 1]
        lanes = backend._open_model.lanes
        assert lanes.live == []
        [[found]] = (await backend.score([ScoreRequest(PROMPTS[0], ())])).value
        np.testing.assert_allclose(found.values, naive_logprobs(PROMPTS[0]), rtol=0, atol=1e-9)

    run(check())


def test_a_task_goes_on_with_its_lane_after_a_call_that_was_cancelled(
    backend: HFBackend, naive_logprobs: Naive, passes: Passes, run: Run
) -> None:
    ids = (*PROMPTS[0], 70)

    async def check() -> None:
        passes.going_on.clear()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await sample(backend, PROMPTS[0], 200)
        passes.going_on.set()
        for _ in range(2):
            [found] = (await backend.score([ScoreRequest(ids, (71,))])).value
            for end, scores in enumerate(found):
                expected = naive_logprobs((*ids, 71)[: len(ids) + end])
                np.testing.assert_allclose(scores.values, expected, rtol=0, atol=1e-9)

    run(check())


def test_a_loop_that_ends_in_mid_pass_ends_quietly(
    tiny_llama: Path, passes: Passes, caplog: pytest.LogCaptureFixture
) -> None:
    backend = HFBackend(HFOptions(model=str(tiny_llama), device="cpu"))

    async def leave() -> None:
        await backend.open()
        passes.going_on.clear()
        task = asyncio.create_task(sample(backend, PROMPTS[0], 200))
        await wait_for(passes.held.is_set)
        task.cancel()

    asyncio.run(leave())
    passes.going_on.set()
    asyncio.run(backend.close())
    gc.collect()
    assert not caplog.records


def test_closing_ends_the_calls_that_wait(backend: HFBackend, passes: Passes, run: Run) -> None:
    async def check() -> None:
        passes.going_on.clear()
        task = asyncio.create_task(sample(backend, PROMPTS[0], 200))
        await wait_for(passes.held.is_set)
        closing = asyncio.create_task(backend.close())
        await asyncio.sleep(0)
        passes.going_on.set()
        await closing
        await asyncio.wait([task], timeout=60)
        assert task.cancelled()

    run(check())
    assert len(passes.ran) == 1


def test_a_failure_of_one_call_is_its_own(
    backend: HFBackend, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(sample(backend, PROMPTS[1], 8))
    codec = type(backend._open_model.text)
    decode = codec.decode
    first = run(sample(backend, PROMPTS[0], 3)).ids
    assert expected.ids[:3] != first

    def broken(self: Any, ids: Sequence[int]) -> str:
        if tuple(ids) == first:
            raise ValueError("broken")
        return decode(self, ids)

    monkeypatch.setattr(codec, "decode", broken)

    async def check() -> None:
        failed, found = await asyncio.gather(
            *(sample(backend, ids, 8) for ids in PROMPTS[:2]), return_exceptions=True
        )
        assert isinstance(failed, ValueError)
        assert found == expected

    run(check())


def test_a_pass_that_fails_fails_whoever_was_in_it_and_nobody_else(
    backend: HFBackend, passes: Passes, run: Run
) -> None:
    def fail(ran: Pass) -> Exception | None:
        return ValueError("broken") if any(70 in tokens for tokens in ran) else None

    passes.fail = fail

    async def check() -> None:
        found = await asyncio.gather(
            *(sample(backend, (*ids, 70), 4) for ids in PROMPTS[:3]), return_exceptions=True
        )
        assert [str(error) for error in found] == ["broken"] * 3
        assert len((await sample(backend, PROMPTS[3], 4)).ids) == 4

    run(check())


# --- memory ---------------------------------------------------------------------------------------


def test_where_memory_runs_out_for_good_the_newest_task_fails_and_the_others_go_on(
    backend: HFBackend, passes: Passes, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    expected = run(together([sample(backend, ids, 8) for ids in PROMPTS[:2]]))
    run(backend.close())
    run(backend.open())
    asked: set[int] = set()

    def fail(ran: Pass) -> Exception | None:
        """No memory once three tasks have something in it."""
        asked.update(tokens[0] for tokens in ran if tokens[0] in {ids[0] for ids in PROMPTS})
        return torch.OutOfMemoryError("CUDA out of memory") if len(asked) > 2 else None

    passes.fail = fail

    async def last() -> Continuation | BaseException:
        try:
            return await sample(backend, PROMPTS[2], 8)
        except BackendError as error:
            asked.discard(PROMPTS[2][0])
            return error

    async def check() -> None:
        *found, failed = await together([*(sample(backend, ids, 8) for ids in PROMPTS[:2]), last()])
        assert isinstance(failed, BackendError)
        assert "out of memory" in str(failed)
        assert found == expected

    with caplog.at_level(logging.WARNING):
        run(check())
    assert "at a time for now" in caplog.text
    # Whoever comes now waits until there is room.
    passes.fail = lambda _: None
    passes.ran.clear()
    run(together([sample(backend, ids, 8) for ids in PROMPTS[:3]]))
    assert {len(sizes) for sizes in passes.sizes()} == {1}


@pytest.mark.parametrize("for_good", [False, True])
def test_memory_that_came_back_is_taken_again_and_tried_ever_more_rarely(
    backend: HFBackend, passes: Passes, run: Run, monkeypatch: pytest.MonkeyPatch, for_good: bool
) -> None:
    monkeypatch.setattr(backoff, "PASSES", 8)
    failed: list[int] = []

    def fail(ran: Pass) -> Exception | None:
        """No memory for two tasks in a pass, or two tokens: for good, or for the first tasks."""
        if sum(map(len, ran)) == 1 or (failed and not for_good and len(passes.ran) > 40):
            return None
        failed.append(len(passes.ran))
        return torch.OutOfMemoryError("CUDA out of memory")

    passes.fail = fail

    async def rounds() -> list[list[Continuation]]:
        return [
            await together([sample(backend, (*ids, number), 8) for ids in PROMPTS[:3]])
            for number in range(60, 66)
        ]

    found = run(rounds())
    together_at_once = [len(sizes) for sizes in passes.sizes()]
    if for_good:
        assert set(together_at_once) == {1}
        waits = [after - before for before, after in pairwise(failed) if after > before]
        assert waits == sorted(waits)
        assert len(waits) < 8
    else:
        assert max(failed) <= 40
        assert max(together_at_once) == 3
    passes.fail = lambda _: None
    run(backend.close())
    run(backend.open())
    assert run(rounds()) == found


def test_tasks_wait_for_memory_and_all_of_them_finish(
    open_folder: Callable[..., HFBackend], tiny_llama: Path, passes: Passes, run: Run
) -> None:
    small, large = open_folder(tiny_llama), open_folder(tiny_llama)
    expected = run(together([sample(large, ids, 8) for ids in PROMPTS]))
    passes.ran.clear()
    token_bytes = small._open_model.model.token_bytes
    small = open_folder(tiny_llama, cache_bytes=token_bytes * 150)
    assert run(together([sample(small, ids, 8) for ids in PROMPTS])) == expected
    together_at_most = [len(sizes) for sizes in passes.sizes()]
    assert max(together_at_most) == 3  # of which each may come to two branches of 21 tokens
    run(asyncio.sleep(0))
    assert small._open_model.lanes.live == []


def test_idle_lanes_go_where_memory_is_short(
    open_folder: Callable[..., HFBackend], tiny_llama: Path, run: Run
) -> None:
    large = open_folder(tiny_llama)
    token_bytes = large._open_model.model.token_bytes
    assert token_bytes > 0
    small = open_folder(tiny_llama, cache_bytes=1050 * token_bytes)

    async def held(backend: HFBackend) -> tuple[int, int]:
        asked = (sample(backend, ids, 8) for ids in 2 * PROMPTS)
        await asyncio.gather(*map(asyncio.create_task, asked))
        await sample(backend, LONG, 8)
        lanes = backend._open_model.lanes
        lanes.tidy()
        return len([lane for lane in lanes.all if lane.idle]), lanes.bytes // token_bytes

    assert run(held(large)) == (3, 3 * 28 + 1007)
    assert run(held(small)) == (1, 28 + 1007)
