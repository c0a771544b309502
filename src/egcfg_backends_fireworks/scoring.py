"""Next-token distributions after several prefixes, in as few requests as the server allows.

Both branches and all drafts of a line go out as one request where the server takes several prompts
at once: it answers them in one round trip, and a limit on requests sees one. Elsewhere as many
requests go out at the same time. A prompt cache loses nothing by it: prompts that begin alike bear
the same cache key, whatever they are for.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any

from attrs import frozen

from egcfg.interfaces.backend import LogprobRequest, Logprobs, ScoreRequest
from egcfg_backends_fireworks.distributions import check_rows, draft_rows
from egcfg_backends_fireworks.gather import gather
from egcfg_backends_fireworks.probe import FORCING_BIAS
from egcfg_backends_fireworks.responses import Choice, Completion, MalformedResponseError
from egcfg_backends_fireworks.server import Server
from egcfg_backends_fireworks.wire import WirePrompt

__all__ = ["Scoring"]


@frozen(kw_only=True)
class Scoring:
    """Asks for distributions, and for single log-probabilities.

    Attributes:
        server: who is asked.
        generated: tokens that the server is let generate where there is no draft; 1: none but the
            one whose distribution is wanted.
    """

    server: Server
    generated: int

    @property
    def exact_logprobs(self) -> bool:
        """Whether `logprobs` works."""
        profile = self.server.profile
        return (
            profile.token_logprobs or self.server.scores_drafts or profile.logit_bias_id is not None
        )

    async def score(self, requests: Sequence[ScoreRequest]) -> list[list[Logprobs]]:
        """Return the distributions of each request: those that are known, and all others at once.

        Raises:
            UsageError, BackendError: as `EndpointClient.complete`.
        """
        known = [self.server.scored.after(request.ids, request.draft) for request in requests]
        pending = _without_covered(
            [
                self._with_draft(request, requests)
                for request, distributions in zip(requests, known, strict=True)
                if distributions is None
            ]
        )
        if not pending:
            return [distributions for distributions in known if distributions is not None]
        drafted = [request for request in pending if request.draft]
        undrafted = [request for request in pending if not request.draft]
        scoring = [self._score_drafted(drafted), self._score_undrafted(undrafted)]
        answers = list(zip(drafted + undrafted, chain(*await gather(scoring)), strict=True))
        return [
            distributions
            or next(
                found[: len(request.draft) + 1]
                for other, found in answers
                if _covers(other, request)
            )
            for request, distributions in zip(requests, known, strict=True)
        ]

    async def logprobs(self, requests: Sequence[LogprobRequest]) -> list[list[float]]:
        """Return the exact log-probabilities of each request's tokens.

        Raises:
            UsageError, BackendError: as `EndpointClient.complete`.
        """
        if self.server.profile.token_logprobs:
            return await gather(self._told(request) for request in requests)
        singles = [
            ScoreRequest(request.ids, (token,)) for request in requests for token in request.tokens
        ]
        if self.server.scores_drafts:
            choices = await self._complete(singles)
            values = iter([self._echoed(c, s.draft) for c, s in zip(choices, singles, strict=True)])
        else:
            values = iter(await gather(self._forced(single) for single in singles))
        return [[next(values) for _ in request.tokens] for request in requests]

    # --- what to ask ---------------------------------------------------------------------------

    def _with_draft(self, request: ScoreRequest, call: Sequence[ScoreRequest]) -> ScoreRequest:
        """Give a request the tokens as a draft that are known to follow another one of its call.

        Branches go the same way for a while: what the server generated after one of them is likely
        to be wanted after the others, too.
        """
        if not self.server.scores_drafts or any(other.draft for other in call):
            return request
        likely = max((self.server.scored.tokens_after(other.ids) for other in call), key=len)
        most = self.generated - 1
        if self.server.context_length is not None:
            most = min(most, self.server.context_length - len(request.ids) - 1)
        return ScoreRequest(request.ids, likely[: max(0, most)])

    async def _score_drafted(self, requests: Sequence[ScoreRequest]) -> list[list[Logprobs]]:
        answers = []
        for request, choice in zip(requests, await self._complete(requests), strict=True):
            distributions = self.server.reader.of_draft(choice, request.draft)
            self.server.scored.remember(request.ids, distributions, request.draft)
            answers.append(distributions)
        return answers

    async def _score_undrafted(self, requests: Sequence[ScoreRequest]) -> list[list[Logprobs]]:
        choices = await self._complete(requests, self.generated)
        return [
            await self._first_of(request, choice)
            for request, choice in zip(requests, choices, strict=True)
        ]

    async def _complete(self, requests: Sequence[ScoreRequest], tokens: int = 1) -> list[Choice]:
        """Return the server's answer to each prompt of ids: all of them with drafts, or none."""
        if not requests:
            return []
        profile = self.server.profile
        batches = profile.batched_echo if requests[0].draft else profile.batches
        if len(requests) > 1 and not batches:
            singles = await gather(self._complete([request], tokens) for request in requests)
            return [choice for [choice] in singles]
        prompts = [await self.server.prompts.wire(r.ids + r.draft) for r in requests]
        drafted = bool(requests[0].draft)

        def check(completion: Completion) -> None:
            if len(completion.choices) != len(requests):
                raise MalformedResponseError(
                    f"{len(completion.choices)} answers to {len(requests)} prompts"
                )
            for request, prompt, choice in zip(requests, prompts, completion.choices, strict=True):
                told = prompt if isinstance(prompt, tuple) and self._all_ids(prompt) else None
                if told and choice.prompt_ids not in (None, told):
                    raise MalformedResponseError("an answer to another prompt")
                if drafted:
                    self._echoed(choice, request.draft)
                else:
                    self._check_generated(choice)

        body = self._body(prompts, requests, max_tokens=tokens)
        choices = (await self.server.client.complete(body, check)).choices
        # What was sent is known to whoever sent it.
        return list(choices) if drafted else await self.server.detokenizer.with_texts(choices)

    def _body(
        self,
        prompts: Sequence[WirePrompt],
        requests: Sequence[ScoreRequest],
        *,
        drafted: bool = True,
        **fields: Any,
    ) -> dict[str, Any]:
        """Return the body of a request about the ends of some prompts, drafts being echoed."""
        longest = max(len(request.draft) for request in requests) if drafted else 0
        return self.server.profile.form.body(
            *prompts,
            temperature=self._temperature,
            echo=(longest if self.server.profile.echo_last else 0) if longest else None,
            cache_key=self.server.cache_key(requests[0].ids),
            **fields,
        )

    # --- what it means ---------------------------------------------------------------------------

    def _check_generated(self, choice: Choice) -> None:
        check_rows(choice, self.server.reader.top_k)
        ended = choice.finish == "stop" and not choice.text
        if not (choice.rows or self.server.profile.logit_bias_id is not None or ended):
            raise MalformedResponseError("an answer without log-probabilities")

    async def _first_of(self, request: ScoreRequest, choice: Choice) -> list[Logprobs]:
        """Return the distribution after a prefix; remember those after what was generated."""
        reader = self.server.reader
        if choice.rows and self.generated > 1 and reader.token(choice.rows[0]) is None:
            # Tokens that are one character together share a row: whose distribution is it?
            [choice] = await self._complete([request])
        if not choice.rows and self.server.profile.logit_bias_id is not None:
            # No row: the token was no whole character, or an end that the server does not show.
            # What is wanted is the distribution, so let the server take another token from it.
            choice = await self._with_logit_bias(request, self.server.profile.logit_bias_id)
        reader.note_end(choice)
        distributions, tokens = reader.along(choice.rows)
        if not distributions:
            first = choice.rows[:1]
            distributions = [reader.distribution(first[0]) if first else reader.hidden_end()]
        self.server.scored.remember(request.ids, distributions, tokens)
        return distributions[:1]

    async def _with_logit_bias(self, request: ScoreRequest, token: int) -> Choice:
        """Force `token` after a prefix, which leaves the distribution as it is.

        The choice has no rows where that token is no whole character.
        """

        def check(completion: Completion) -> None:
            choice = completion.choices[0]
            check_rows(choice, self.server.reader.top_k)
            if choice.rows and choice.rows[0].token.id != token:
                raise MalformedResponseError("another token than was forced")

        prompt = await self.server.prompts.wire(request.ids)
        body = self._body([prompt], [request], logit_bias={token: FORCING_BIAS}, drafted=False)
        return (await self.server.client.complete(body, check)).choices[0]

    async def _told(self, request: LogprobRequest) -> list[float]:
        """Return the log-probabilities of tokens by naming them."""
        values: dict[int | None, float] = {}

        def check(completion: Completion) -> None:
            for row in completion.choices[0].rows[:1]:
                values.update((piece.id, value) for piece, value in row.alternatives)
            if missing := set(request.tokens) - values.keys():
                raise MalformedResponseError(f"no value of {len(missing)} tokens that were named")

        prompt = await self.server.prompts.wire(request.ids)
        body = self._body([prompt], [ScoreRequest(request.ids)], token_logprobs=request.tokens)
        await self.server.client.complete(body, check)
        return [values[token] for token in request.tokens]

    async def _forced(self, request: ScoreRequest) -> float:
        """Return the log-probability of a single token by forcing it."""
        [token] = request.draft
        choice = await self._with_logit_bias(request, token)
        if choice.rows and choice.rows[0].logprob is not None:
            return choice.rows[0].logprob
        # Part of a character cannot be shown. No value is known then, only what it cannot exceed.
        [[distribution]] = await self.score([ScoreRequest(request.ids)])
        return distribution.tail_bound

    def _echoed(self, choice: Choice, draft: Sequence[int]) -> float:
        """Return the log-probability of the first token of an echoed draft."""
        logprob = draft_rows(choice, draft, self.server.reader.top_k)[0].logprob
        if logprob is None:
            raise MalformedResponseError("an echoed token without its log-probability")
        return logprob

    @staticmethod
    def _all_ids(prompt: Sequence[str | int]) -> bool:
        return all(isinstance(part, int) for part in prompt)

    @property
    def _temperature(self) -> float:
        # Where the temperature changes what is reported, 1 is the one that leaves it alone.
        return 0.0 if self.server.profile.raw else 1.0


def _covers(request: ScoreRequest, other: ScoreRequest) -> bool:
    """Whether the answer to `request` answers `other`, too."""
    return request.ids == other.ids and request.draft[: len(other.draft)] == other.draft


def _without_covered(requests: Sequence[ScoreRequest]) -> list[ScoreRequest]:
    """Return the requests whose answers hold all that is wanted, each once."""
    kept: list[ScoreRequest] = []
    for request in sorted(requests, key=lambda request: -len(request.draft)):
        if not any(_covers(other, request) for other in kept):
            kept.append(request)
    return sorted(kept, key=requests.index)
