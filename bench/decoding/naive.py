"""What guided decoding costs without egcfg's cache: a bare transformers model, and a naive backend.

`NaiveBackend` answers as egcfg's backend does and does, or only notes, the work that the reference
loop would do for it: a pass over the whole prefix for every distribution, nothing kept; for
candidates a prefill of the whole prefix and a batch that steps through the same tokens with a
key/value cache, as ``generate`` would (which is kinder than the method's published code: that
prefills once per candidate). What was only noted can be timed later, some calls for all
(`estimated_seconds`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from attrs import frozen
from peers import open_bare
from transformers import DynamicCache

from egcfg.interfaces.backend import Answer, Continuation, Logprobs, SampleRequest, ScoreRequest
from egcfg.plugins.component import OpenComponent
from egcfg_backends_hf.options import HFOptions

__all__ = ["BareModel", "CallSeconds", "NaiveBackend", "NaiveCall", "estimated_seconds"]


@frozen
class NaiveCall:
    """What the naive loop asks of the model at once.

    Attributes:
        ids: the prefix.
        rows: the tokens that run after it, side by side; None: one distribution is asked for, with
            no cache.
    """

    ids: tuple[int, ...]
    rows: tuple[tuple[int, ...], ...] | None = None

    @property
    def steps(self) -> int:
        """Passes of a single token per row."""
        return max(map(len, self.rows or ()), default=0)

    @property
    def tokens(self) -> int:
        """All tokens that run."""
        return len(self.ids) + sum(map(len, self.rows or ()))


@frozen
class CallSeconds:
    """What a call took.

    Attributes:
        prefill: the pass over its prefix.
        steps: the passes after it.
    """

    prefill: float
    steps: float


class BareModel:
    """The model as transformers runs it.

    Attributes:
        model: the transformers model.
        passes: forward passes so far.
        tokens: tokens run through them.
    """

    def __init__(self, options: HFOptions) -> None:
        self.model: Any = open_bare(options)
        self.passes = self.tokens = 0
        self._seconds = 0.0

    def run(self, call: NaiveCall) -> tuple[Logprobs, CallSeconds]:
        """Run a call; return the distribution after its prefix, and what the passes took."""
        cache = None if call.rows is None else DynamicCache(config=self.model.config)
        self._seconds = 0.0
        logits = self._pass([list(call.ids)], cache)
        prefill, self._seconds = self._seconds, 0.0
        if cache is not None:
            self._step(cache, [list(row) for row in call.rows or () if row])
        precise = logits[0, -1] if logits.dtype == torch.float64 else logits[0, -1].float()
        distribution = Logprobs(torch.log_softmax(precise, dim=-1).cpu().numpy())
        return distribution, CallSeconds(prefill, self._seconds)

    def _step(self, cache: DynamicCache, live: list[list[int]]) -> None:
        """Run the tokens of rows side by side, each row to its end."""
        if live:
            cache.batch_repeat_interleave(len(live))
        step = 0
        while live:
            self._pass([[row[step]] for row in live], cache)
            step += 1
            going = [index for index, row in enumerate(live) if len(row) > step]
            if 0 < len(going) < len(live):
                cache.batch_select_indices(torch.tensor(going, device=self.model.device))
            live = [live[index] for index in going]

    @torch.inference_mode()
    def _pass(self, rows: list[list[int]], cache: DynamicCache | None) -> torch.Tensor:
        started = time.perf_counter()
        ids = torch.tensor(rows, device=self.model.device)
        logits: torch.Tensor = self.model(
            input_ids=ids, past_key_values=cache, use_cache=cache is not None, logits_to_keep=1
        ).logits
        if logits.is_cuda:
            torch.cuda.synchronize()
        self._seconds += time.perf_counter() - started
        self.passes += 1
        self.tokens += ids.numel()
        return logits


class NaiveBackend:
    """Answers as another backend; does, or only notes, the naive work.

    Args:
        answers: gives candidates, and the distributions behind which no work is done.
        bare: does the work, and gives the distributions; None: it is only noted.

    Attributes:
        calls: the naive loop's calls so far.
        seconds: what each of them took, where `bare` did it.
        published_tokens: tokens that the method's published code would run: there the unconditional
            branch has a cache, the conditional one has none.
        answering_seconds: time in which `answers` answered.
    """

    def __init__(self, answers: OpenComponent, bare: BareModel | None) -> None:
        self._answers = answers
        self._bare = bare
        self._last: tuple[int, ...] = ()
        self._prompt: tuple[int, ...] = ()
        self._prefilled = False
        self.calls: list[NaiveCall] = []
        self.seconds: list[CallSeconds] = []
        self.published_tokens = 0
        self.answering_seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._answers.instance, name)

    @property
    def tokens(self) -> int:
        """Tokens that the naive loop runs."""
        return sum(call.tokens for call in self.calls)

    @property
    def working_seconds(self) -> float:
        """What `bare`'s passes took."""
        return sum(each.prefill + each.steps for each in self.seconds)

    @property
    def passes(self) -> int:
        """Forward passes of the naive loop."""
        return sum(1 + call.steps for call in self.calls)

    def begin(self, prompt: tuple[int, ...]) -> None:
        """Take the ids of the unconditional prompt of the problem that comes next."""
        self._prompt, self._last, self._prefilled = prompt, (), False

    async def score(self, requests: Sequence[ScoreRequest]) -> Answer[list[list[Logprobs]]]:
        """Answer single distributions, as the reference loop asks for them."""
        found = []
        for request in requests:
            ids = request.ids
            assert not request.draft, "the reference loop drafts nothing"
            # Without a signal both branches are the same; the unconditional one comes first.
            unconditional = ids[: len(self._prompt)] == self._prompt and ids != self._last
            self.published_tokens += 1 if unconditional and self._prefilled else len(ids)
            self._prefilled, self._last = True, ids
            distribution = await self._run(NaiveCall(ids))
            if distribution is None:
                found += await self._answer("score", [request])
            else:
                found.append([distribution])
        return Answer(found)

    async def sample(self, requests: Sequence[SampleRequest]) -> Answer[list[list[Continuation]]]:
        """Answer with the other backend's continuations."""
        found = await self._answer("sample", requests)
        for request, continuations in zip(requests, found, strict=True):
            # The last token that is sampled is not run; an end token is sampled, but not told.
            rows = tuple(c.ids if c.finished else c.ids[:-1] for c in continuations)
            await self._run(NaiveCall(request.ids, rows))
            self.published_tokens += self.calls[-1].tokens
        return Answer(found)

    async def _answer(self, method: str, requests: Sequence[Any]) -> list[Any]:
        started = time.perf_counter()
        answer = await self._answers.call(method, requests)
        self.answering_seconds += time.perf_counter() - started
        return list(answer.value)

    async def _run(self, call: NaiveCall) -> Logprobs | None:
        """Note a call, and do its work if that is wanted."""
        self.calls.append(call)
        if self._bare is None:
            return None
        distribution, seconds = await asyncio.to_thread(self._bare.run, call)
        self.seconds.append(seconds)
        return distribution


def estimated_seconds(
    calls: Sequence[NaiveCall], timed: Callable[[NaiveCall], CallSeconds], count: int
) -> float:
    """Return what all calls take together, by a stratified sample of them.

    Distributions and continuations cost differently, and both cost more the longer the prefix. So
    the calls of each kind are cut into `count` strata by the length of their prefixes (which spread
    over the whole response: a prefix grows with it), and of each stratum the middle call is timed.
    The prefills of a stratum are taken to cost the same per token; the steps after all prefills the
    same per pass, in which one row more costs little.

    Args:
        calls: all of them.
        timed: runs one.
        count: calls to time of each kind; with at least as many as there are, the sum is exact.
    """
    prefills = in_steps = 0.0
    timed_steps = 0
    for sampled in (False, True):
        of_kind = [call for call in calls if (call.rows is not None) == sampled]
        of_kind.sort(key=lambda call: len(call.ids))
        strata = min(count, len(of_kind))
        for number in range(strata):
            start, stop = (len(of_kind) * n // strata for n in (number, number + 1))
            middle = of_kind[(start + stop) // 2]
            seconds = timed(middle)
            tokens = sum(len(call.ids) for call in of_kind[start:stop])
            prefills += seconds.prefill * tokens / len(middle.ids)
            in_steps += seconds.steps
            timed_steps += middle.steps
    return prefills + in_steps * sum(call.steps for call in calls) / max(1, timed_steps)
