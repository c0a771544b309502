"""What guided decoding costs without egcfg's cache: a bare transformers model, and a naive backend.

`NaiveBackend` answers as egcfg's backend does and, behind each answer, does the work that the
reference loop would do for it: a pass over the whole prefix for every distribution, nothing kept;
for candidates a prefill of the whole prefix and a batch that steps through the same tokens with a
key/value cache, as ``generate`` would (which is kinder than the method's published code: that
prefills once per candidate).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from egcfg.interfaces.backend import Answer, Continuation, Logprobs, SampleRequest, ScoreRequest
from egcfg.plugins.component import OpenComponent
from egcfg_backends_hf.loading.load import load_model
from egcfg_backends_hf.options import HFOptions

__all__ = ["BareModel", "NaiveBackend"]


class BareModel:
    """The model as transformers runs it.

    Attributes:
        model: the transformers model.
        passes: forward passes so far.
        tokens: tokens run through them.
        seconds: time in them.
    """

    def __init__(self, options: HFOptions) -> None:
        self.model: Any = load_model(options).model
        self.passes = self.tokens = 0
        self.seconds = 0.0

    def whole(self, ids: Sequence[int]) -> Logprobs:
        """Run a whole prefix, nothing kept."""
        logits = self._run([list(ids)], None)
        precise = logits[0, -1] if logits.dtype == torch.float64 else logits[0, -1].float()
        return Logprobs(torch.log_softmax(precise, dim=-1).cpu().numpy())

    def replay(self, prefix: Sequence[int], rows: Sequence[Sequence[int]]) -> None:
        """Run a prefix once, then the tokens of `rows` side by side, each row to its end."""
        cache = DynamicCache(config=self.model.config)
        self._run([list(prefix)], cache)
        live = [list(row) for row in rows if row]
        if live:
            cache.batch_repeat_interleave(len(live))
        step = 0
        while live:
            self._run([[row[step]] for row in live], cache)
            step += 1
            going = [index for index, row in enumerate(live) if len(row) > step]
            if 0 < len(going) < len(live):
                cache.batch_select_indices(torch.tensor(going, device=self.model.device))
            live = [live[index] for index in going]

    @torch.inference_mode()
    def _run(self, rows: list[list[int]], cache: DynamicCache | None) -> torch.Tensor:
        started = time.perf_counter()
        ids = torch.tensor(rows, device=self.model.device)
        logits: torch.Tensor = self.model(
            input_ids=ids, past_key_values=cache, use_cache=cache is not None, logits_to_keep=1
        ).logits
        if logits.is_cuda:
            torch.cuda.synchronize()
        self.seconds += time.perf_counter() - started
        self.passes += 1
        self.tokens += ids.numel()
        return logits


class NaiveBackend:
    """Answers as another backend; does, or only counts, the naive work.

    Args:
        answers: gives candidates, and the distributions behind which no work is done.
        bare: does the work; None: it is only counted, from the calls.
        every: of how many calls one is worked; with 1 its distributions are the answers.

    Attributes:
        passes: forward passes of the naive loop, counted from the calls.
        tokens: tokens run through them.
        published_tokens: the same for the method's published code: there the unconditional branch
            has a cache, the conditional one has none.
        worked_tokens: those of `tokens` that `bare` really ran.
        answering_seconds: time in which `answers` answered.
    """

    def __init__(self, answers: OpenComponent, bare: BareModel | None, every: int = 1) -> None:
        self._answers = answers
        self._bare = bare
        self._every = every
        self._calls = {"score": 0, "sample": 0}
        self._last: tuple[int, ...] = ()
        self._prompt: tuple[int, ...] = ()
        self._prefilled = False
        self.passes = self.tokens = self.published_tokens = self.worked_tokens = 0
        self.answering_seconds = 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._answers.instance, name)

    def begin(self, prompt: tuple[int, ...]) -> None:
        """Take the ids of the unconditional prompt of the problem that comes next."""
        self._prompt, self._last, self._prefilled = prompt, (), False

    async def score(self, requests: Sequence[ScoreRequest]) -> Answer[list[list[Logprobs]]]:
        """Answer single distributions, as the reference loop asks for them."""
        found = []
        for request in requests:
            ids = request.ids
            assert not request.draft, "the reference loop drafts nothing"
            self._count(len(ids), 1)
            # Without a signal both branches are the same; the unconditional one comes first.
            unconditional = ids[: len(self._prompt)] == self._prompt and ids != self._last
            self.published_tokens += 1 if unconditional and self._prefilled else len(ids)
            self._prefilled, self._last = True, ids
            if self._is_worked("score", len(ids)) and self._bare is not None:
                distribution = await asyncio.to_thread(self._bare.whole, ids)
                if self._every == 1:
                    found.append([distribution])
                    continue
            found += await self._answer("score", [request])
        return Answer(found)

    async def sample(self, requests: Sequence[SampleRequest]) -> Answer[list[list[Continuation]]]:
        """Answer with the other backend's continuations."""
        found = await self._answer("sample", requests)
        for request, continuations in zip(requests, found, strict=True):
            # The last token that is sampled is not run; an end token is sampled, but not told.
            rows = [c.ids if c.finished else c.ids[:-1] for c in continuations]
            tokens = len(request.ids) + sum(map(len, rows))
            self._count(tokens, 1 + max(map(len, rows), default=0))
            self.published_tokens += tokens
            if self._is_worked("sample", tokens) and self._bare is not None:
                await asyncio.to_thread(self._bare.replay, request.ids, rows)
        return Answer(found)

    async def _answer(self, method: str, requests: Sequence[Any]) -> list[Any]:
        started = time.perf_counter()
        answer = await self._answers.call(method, requests)
        self.answering_seconds += time.perf_counter() - started
        return list(answer.value)

    def _count(self, tokens: int, passes: int) -> None:
        self.tokens += tokens
        self.passes += passes

    def _is_worked(self, kind: str, tokens: int) -> bool:
        self._calls[kind] += 1
        worked = self._bare is not None and (self._calls[kind] - 1) % self._every == 0
        self.worked_tokens += tokens * worked
        return worked
