"""Speed changes nothing: the fast decoder's tokens are those of the naive loop, one by one.

The naive side runs every prefix whole by transformers itself, for every token, with no cache and no
draft. The model is tiny, but has learnt to write short functions: they run, and their traces guide
it. It computes in float64, so that the order of sums cannot decide between two tokens.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import closing
from itertools import accumulate, zip_longest
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from attrs import evolve
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoTokenizer

from egcfg.decoding.feedback import Feedback
from egcfg.decoding.loop import decode
from egcfg.decoding.sampling import Sampler
from egcfg.decoding.settings import DecodingSettings, GuidanceUnit
from egcfg.interfaces.backend import Answer, Continuation, Logprobs, SampleRequest, ScoreRequest
from egcfg.interfaces.problem import AssertTest, Problem
from egcfg.interfaces.prompt import ChatPrompt, Prompt, TextPrompt
from egcfg.interfaces.solution import Generation, LineStep
from egcfg.plugins.component import OpenComponent
from egcfg.plugins.hookspecs import Kind
from egcfg.plugins.registry import create
from egcfg.sandbox.service import Sandbox
from egcfg.testing.reference import reference_decode
from egcfg.usage.model import Model
from egcfg_backends_hf.backend import HFBackend
from egcfg_backends_hf.engine import causal_model
from egcfg_backends_hf.engine.causal_model import ROUNDING
from egcfg_backends_hf.engine.sampling import SamplingState
from egcfg_backends_hf.loading.gguf import quiet_transformers
from egcfg_backends_hf.loading.load import load_model
from egcfg_backends_hf.options import HFOptions

from ..running_once import RunningOnce

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Forward = Callable[[Sequence[int]], NDArray[np.float64]]
GAMMAS = (0.5, 1.0, 3.0)
STEPS = 250  # of training
NAMES = ("first", "second", "result", "number", "count")
LINES = 5  # of a function, and one that returns
TOKENS = 40
SETTINGS: dict[str, dict[str, Any]] = {
    "as published": {},
    "one line ahead": {"horizon": 1},
    "candidates anew": {"reuse_candidates": False},
    "hot candidates": {"temperature": 0.6, "candidates": 5},
    "a signal per token": {"unit": GuidanceUnit.TOKEN, "candidates": 1},
    "a signal per two lines": {"signal_interval": 2, "horizon": 4, "candidates": 6},
    # Short: once the text has left all of its candidates, nothing is drafted any more.
    "one signal": {
        "unit": GuidanceUnit.PREFIX,
        "horizon": 6,
        "candidates": 12,
        "temperature": 0.2,
        "max_tokens": 20,
    },
    "guided tokens drawn": {"guided_temperature": 0.3, "candidates": 4},
}

# Processors round differently, so each trains another model, and its answers are others.
SIGNALS = {"a signal per two lines": 4, "one signal": 3}


def function(chance: random.Random) -> str:
    """Return a short function that runs, in the words of the tiny tokenizer."""
    known, lines = "x", []
    for _ in range(LINES):
        name = chance.choice(NAMES)
        lines.append(f"    {name} = {known} {chance.choice('+-*')} {chance.randint(1, 3)}\n")
        known = name
    return "".join([*lines, f"    return {known}\n"])


def signal_text(chance: random.Random) -> str:
    """Return what a signal looks like, of a program that stops at any line."""
    lines = function(chance).splitlines(keepends=True)[: chance.randint(1, LINES + 1)]
    runs = "".join(f"Run {n}\nx={x}\nresult {chance.randint(1, 9)}\n" for n, x in ((1, 1), (2, 5)))
    calls = "Run 1: f(1)\nRun 2: f(5)\n"
    return f"{calls}\nCandidate 1:\n```python\ndef f(x):\n{''.join(lines)}```\n{runs}"


def problem(number: int) -> tuple[Problem, Prompt]:
    asked = Problem(
        task_id=f"t/{number}",
        description=f"Return a number ({number}).",
        entry_point="f",
        visible_tests=[AssertTest("assert f(1) == 2"), AssertTest("assert f(5) == 4")],
    )
    prompt = Prompt(
        before=f"{asked.description}\n",
        after="Answer:\n",
        signal_header="What happened:\n",
        response_prefix="```python\ndef f(x):\n",
    )
    return asked, prompt


@pytest.fixture(scope="module")
def writer(tiny_llama: Path, made_once: Callable[..., Path]) -> Path:
    """Return the folder of the tiny model after it has learnt to write functions."""
    return made_once("writer", lambda folder: train(tiny_llama, folder))


def train(tiny_llama: Path, folder: Path) -> None:
    """Teach the tiny model to write functions, and save it in a folder."""
    chance = random.Random(3)
    with quiet_transformers():
        tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
        model = AutoModelForCausalLM.from_pretrained(tiny_llama, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=6e-3)
    for step in range(STEPS):
        _, prompt = problem(step)
        pairs = []
        for number in range(8):
            shown = (
                prompt.conditional(signal_text(chance)) if number % 2 else prompt.unconditional()
            )
            # Apart, as in decoding: a token that spans both would never come there.
            asked, answer = (
                tokenizer(t)["input_ids"] for t in (shown.text, function(chance) + "```")
            )
            pairs.append((asked, [*answer, tokenizer.eos_token_id]))
        optimizer.zero_grad()
        for alike in pairs[::2], pairs[1::2]:  # as long as each other, or most would be padding
            longest = max(len(asked) + len(answer) for asked, answer in alike)
            ids, labels = [], []
            for asked, answer in alike:
                rest = longest - len(asked) - len(answer)
                ids.append([*asked, *answer, *[tokenizer.pad_token_id] * rest])
                labels.append([*[-100] * len(asked), *answer, *[-100] * rest])
            loss = model(torch.tensor(ids), labels=torch.tensor(labels)).loss
            (loss / 2.0).backward()
        optimizer.step()
    with quiet_transformers():
        model.double().eval().save_pretrained(folder)
        tokenizer.save_pretrained(folder)


class NaiveBackend(HFBackend):
    """Runs each prefix whole by transformers itself, but none twice."""

    def __init__(self, options: HFOptions, logprobs_after: Forward) -> None:
        super().__init__(options)
        self.logprobs_after = logprobs_after
        self.known: dict[tuple[int, ...], Logprobs] = {}

    def after(self, ids: tuple[int, ...]) -> Logprobs:
        if ids not in self.known:
            self.known[ids] = Logprobs(self.logprobs_after(ids))
        return self.known[ids]

    async def score(self, requests: Sequence[ScoreRequest]) -> Answer[list[list[Logprobs]]]:
        assert not any(request.draft for request in requests)
        return Answer([[self.after(request.ids)] for request in requests])

    async def sample(self, requests: Sequence[SampleRequest]) -> Answer[list[list[Continuation]]]:
        return Answer([[self.continuation(r, n) for n in range(r.count)] for r in requests])

    def continuation(self, request: SampleRequest, number: int) -> Continuation:
        decode = self._open_model.text.decode
        state = SamplingState(request, number, request.params.max_tokens, self.end_ids, decode)
        while not state.done:
            state.extend((), state.chosen([self.after(state.sequence)]))
        return state.continuation()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with closing(Sandbox()) as service:
        yield service


Parts = Callable[[HFBackend, int], tuple[Model, Feedback, OpenComponent]]


@pytest.fixture(scope="module")
def parts(sandbox: Sandbox) -> Parts:
    """Return what makes the parts of a decoding from a backend."""
    tracer = OpenComponent(Kind.TRACER, RunningOnce(), "the tracer")

    def make(backend: HFBackend, number: int) -> tuple[Model, Feedback, OpenComponent]:
        model = Model(OpenComponent(Kind.BACKEND, backend, "the backend"), f"t/{number}")
        rule = OpenComponent(Kind.GUIDANCE, create(Kind.GUIDANCE, "cfg"), "the rule")
        return model, Feedback(tracer, sandbox, model), rule

    return make


Opened = TypeVar("Opened", bound=HFBackend)


def opened(backend: Opened, run: Run) -> Iterator[Opened]:
    run(backend.open())
    yield backend
    run(backend.close())


@pytest.fixture(scope="module")
def fast(writer: Path, run: Run) -> Iterator[HFBackend]:
    yield from opened(HFBackend(HFOptions(model=str(writer), device="cpu")), run)


@pytest.fixture(scope="module")
def on_device(writer: Path, run: Run) -> Iterator[HFBackend]:
    """A backend that takes the host's memory for another device's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(causal_model, "HOST", ())
        backend = HFBackend(HFOptions(model=str(writer), device="cpu"))
        run(backend.open())
    yield backend
    run(backend.close())


@pytest.fixture(scope="module")
def plain_writer(writer: Path) -> Any:
    with quiet_transformers():
        return AutoModelForCausalLM.from_pretrained(writer, dtype=torch.float64).eval()


@pytest.fixture(scope="module")
def naive(writer: Path, plain_writer: Any, run: Run) -> Iterator[NaiveBackend]:
    @torch.inference_mode()
    def logprobs_after(ids: Sequence[int]) -> NDArray[np.float64]:
        logits = plain_writer(torch.tensor([list(ids)]), use_cache=False).logits[0, -1]
        return torch.log_softmax(logits, dim=-1).numpy()

    yield from opened(NaiveBackend(HFOptions(model=str(writer), device="cpu"), logprobs_after), run)


Reference = Callable[[str, int], Coroutine[Any, Any, tuple[int, ...]]]


@pytest.fixture(scope="module")
def reference(naive: NaiveBackend, parts: Parts) -> Reference:
    """Return what gives the naive loop's tokens for one of the settings, at one of the gammas."""
    known: dict[tuple[str, int], tuple[int, ...]] = {}

    async def ids(name: str, number: int) -> tuple[int, ...]:
        if (name, number) not in known:
            settings = settings_of(number, GAMMAS[number], SETTINGS[name])
            found = await reference_decode(*parts(naive, number), *problem(number), settings)
            known[name, number] = found
        return known[name, number]

    return ids


def settings_of(number: int, gamma: float, changes: dict[str, Any]) -> DecodingSettings:
    base = {"candidates": 2, "temperature": 0.3, "signal_tokens": 200, "seed": number}
    base["max_tokens"] = TOKENS
    return DecodingSettings(gamma=gamma, **(base | changes))


async def fast_decode(
    backend: HFBackend, parts: Parts, number: int, settings: DecodingSettings
) -> tuple[list[LineStep], Generation]:
    asked, prompt = problem(number)
    *steps, last = [s async for s in decode(*parts(backend, number), asked, prompt, settings)]
    assert isinstance(last, Generation)
    return steps, last  # type: ignore[return-value]


Decoded = Callable[[str, int], Coroutine[Any, Any, tuple[list[LineStep], Generation]]]


@pytest.fixture(scope="module")
def fast_decoded(fast: HFBackend, parts: Parts) -> Decoded:
    """Return what gives the fast decoder's lines and text, likewise."""
    known: dict[tuple[str, int], tuple[list[LineStep], Generation]] = {}

    async def found(name: str, number: int) -> tuple[list[LineStep], Generation]:
        if (name, number) not in known:
            settings = settings_of(number, GAMMAS[number], SETTINGS[name])
            known[name, number] = await fast_decode(fast, parts, number, settings)
        return known[name, number]

    return found


@pytest.mark.parametrize("name", SETTINGS)
def test_drafts_and_token_trees_give_the_naive_loops_tokens(
    fast_decoded: Decoded, reference: Reference, run: Run, name: str
) -> None:
    async def check() -> Counter[str]:
        seen: Counter[str] = Counter()
        for number in range(len(GAMMAS)):
            steps, found = await fast_decoded(name, number)
            assert found.ids == await reference(name, number), GAMMAS[number]
            ran = {entry.program for s in steps if s.signal for entry in s.signal.entries}
            seen.update(
                tokens=len(found.ids),
                drafted=found.tokens_drafted,
                changed=found.tokens_changed,
                signals=found.signals - found.signals_empty,
                programs=len(ran),
            )
        return seen

    seen = run(check())
    # Nothing would be proven by decodings that nothing guides, or that draft nothing.
    assert seen["signals"] >= SIGNALS.get(name, 6), seen
    assert seen["programs"] >= 6, seen
    assert seen["changed"] >= 1, seen
    assert seen["drafted"] >= 0.3 * seen["tokens"], seen


def test_distributions_that_stay_on_a_device_give_the_same_tokens(
    fast_decoded: Decoded, on_device: HFBackend, parts: Parts, run: Run
) -> None:
    async def check() -> None:
        for row, (name, changes) in enumerate(SETTINGS.items()):
            number = row % len(GAMMAS)
            settings = settings_of(number, GAMMAS[number], changes)
            _, expected = await fast_decoded(name, number)
            _, found = await fast_decode(on_device, parts, number, settings)
            assert found.ids == expected.ids, name

    run(check())


def test_at_gamma_1_the_text_is_what_generate_writes_after_the_conditional_prompt(
    fast: HFBackend, plain_writer: Any, parts: Parts, run: Run
) -> None:
    changed = 0
    for number in range(4):
        settings = settings_of(number, 1.0, SETTINGS["one signal"] | {"max_tokens": TOKENS})
        steps, found = run(fast_decode(fast, parts, number, settings))
        [shown] = {step.signal.text for step in steps if step.signal}
        _, prompt = problem(number)
        ids = run(fast.encode(prompt.conditional(shown))).value
        generated = plain_writer.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.int64),
            max_new_tokens=len(found.ids),
            do_sample=False,
        )
        assert tuple(generated[0, len(ids) :].tolist()) == found.ids
        changed += found.tokens_changed
    assert changed > 0


@pytest.mark.model
def test_at_gamma_1_the_embedded_model_writes_what_generate_does_after_the_conditional_prompt(
    parts: Parts, run: Run
) -> None:
    asked, prompt = problem(0)
    asked = evolve(asked, description="Write a function f(x) that says x in words.")
    start = "```python\ndef f(x):\n    words = {"  # it has much to say there, and all of it is code
    prompt = evolve(prompt, before=f"{asked.description}\n", response_prefix=start)
    one_signal = {"unit": GuidanceUnit.PREFIX, "temperature": 1.0, "seed": 1}
    options = HFOptions(device="cpu", weights="plain")

    async def check() -> tuple[Generation, tuple[int, ...]]:
        backend = HFBackend(options)
        await backend.open()
        settings = settings_of(0, 1.0, one_signal)
        decoding = decode(*parts(backend, 0), asked, prompt, settings)
        *steps, last = [step async for step in decoding]
        assert isinstance(last, Generation)
        [shown] = {step.signal and step.signal.text for step in steps if isinstance(step, LineStep)}
        assert shown  # which guides every line
        ids = (await backend.encode(prompt.conditional(shown))).value
        await backend.close()
        return last, ids

    found, ids = run(check())
    generated = load_model(options).model.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.int64),
        max_new_tokens=len(found.ids),
        do_sample=False,
    )
    assert tuple(generated[0, len(ids) :].tolist()) == found.ids
    # Both choices matter there: the signal's, and which tokens come from drafts.
    assert len(found.ids) > 30
    assert found.tokens_changed > 0
    assert found.tokens_drafted > 0


def test_in_float32_texts_part_only_where_rounding_explains_both_tokens(
    writer: Path,
    open_folder: Callable[..., HFBackend],
    naive: NaiveBackend,
    reference: Reference,
    parts: Parts,
    run: Run,
) -> None:
    backend = open_folder(writer, dtype="float32")

    async def check() -> Counter[str]:
        seen: Counter[str] = Counter()
        for row, (name, changes) in enumerate(SETTINGS.items()):
            number = row % len(GAMMAS)
            settings = settings_of(number, GAMMAS[number], changes)
            steps, drafted = await fast_decode(backend, parts, number, settings)
            undrafted = evolve(settings, drafts=False)
            _, alone = await fast_decode(backend, parts, number, undrafted)
            for other in (alone.ids, await reference(name, number)):
                await assert_only_rounding_parts(naive, number, settings, steps, drafted.ids, other)
            seen.update(tokens=len(drafted.ids), near_ties=drafted.near_ties)
        return seen

    seen = run(check())
    assert seen["near_ties"] <= 0.02 * seen["tokens"]


async def assert_only_rounding_parts(
    naive: NaiveBackend,
    number: int,
    settings: DecodingSettings,
    steps: Sequence[LineStep],
    ids: tuple[int, ...],
    other: tuple[int, ...],
) -> None:
    """Assert that two texts are equal, or first differ where the naive side has all but a tie.

    Args:
        naive: tells how near the two tokens are, in float64.
        number: of the problem.
        settings: how the texts were decoded.
        steps: the lines of the first text, for the signal at the difference.
        ids: the first text.
        other: the second one.
    """
    pairs = list(zip_longest(ids, other))
    place = next((n for n, (one, two) in enumerate(pairs) if one != two), None)
    if place is None:
        return
    ends = accumulate(len(step.tokens) for step in steps)
    step = next((s for s, end in zip(steps, ends, strict=True) if place < end), steps[-1])
    _, prompt = problem(number)

    async def after(shown: TextPrompt | ChatPrompt) -> Logprobs:
        return naive.after((await naive.encode(shown)).value + ids[:place])

    exact = await after(prompt.unconditional())
    if step.signal is not None and step.signal.text:
        conditional = await after(prompt.conditional(step.signal.text))
        exact = create(Kind.GUIDANCE, "cfg").mix(exact, conditional, settings.gamma).distribution
    rounding = ROUNDING[torch.float32] * (abs(1.0 - settings.gamma) + abs(settings.gamma))
    if settings.guided_temperature > 0.0:
        sampler = Sampler(settings.guided_temperature, settings.seed, f"t/{number}")
        assert sampler.is_near_tie(exact, place, rounding), (settings, place)
        return
    for token in pairs[place]:
        # The shorter text may be the beginning of the longer: then a token that ends it was chosen.
        choices = naive.end_ids if token is None else [token]
        found = max(exact.logprob(choice) for choice in choices)
        assert found >= exact.logprob(exact.argmax()) - 2.0 * rounding, (settings, place)
