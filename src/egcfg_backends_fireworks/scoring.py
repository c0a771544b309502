"""Next-token distributions after several prefixes, in as few requests as the server allows.

Both branches and all drafts of a line go out as one request where the server takes several prompts
at once: it answers them in one round trip, and a limit on requests sees one. Elsewhere as many
requests go out at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from attrs import frozen

from egcfg.interfaces.backend import LogprobRequest, Logprobs, ScoreRequest
from egcfg_backends_fireworks.distributions import check_rows, draft_rows
from egcfg_backends_fireworks.gather import gather
from egcfg_backends_fireworks.probe import FORCING_BIAS
from egcfg_backends_fireworks.responses import Choice, MalformedResponseError
from egcfg_backends_fireworks.server import Server

__all__ = ["Scoring"]

Check: TypeAlias = Callable[[int, Choice], None]


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

    async def score(self, requests: Sequence[ScoreRequest]) -> list[list[Logprobs]]:
        """Return the distributions of each request: those that are known, and all others at once.

        Raises:
            UsageError, BackendError: as `EndpointClient.complete`.
        """
        while True:
            known = [self.server.scored.after(r.ids, r.draft) for r in requests]
            told = [distributions for distributions in known if distributions is not None]
            if len(told) == len(known):
                return told
            pending = _without_covered(
                [
                    self._with_draft(request, requests)
                    for request, distributions in zip(requests, known, strict=True)
                    if distributions is None
                ]
            )
            drafted = [request for request in pending if request.draft]
            bare = [request.ids for request in pending if not request.draft]
            await gather([self._score_drafted(drafted), self._score_undrafted(bare)])

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
        if self.server.profile.scores_drafts:
            choices = await self._echoed(singles)
            found = [self._first_value(c, s.draft) for c, s in zip(choices, singles, strict=True)]
        else:
            found = await gather(self._forced(each.ids, each.draft[0]) for each in singles)
        values = iter(found)
        return [[next(values) for _ in request.tokens] for request in requests]

    # --- what to ask ---------------------------------------------------------------------------

    def _with_draft(self, request: ScoreRequest, call: Sequence[ScoreRequest]) -> ScoreRequest:
        """Give a request the tokens as a draft that are known to follow another one of its call.

        Branches go the same way for a while: what the server generated after one of them is likely
        to be wanted after the others, too.
        """
        if not self.server.profile.scores_drafts or any(other.draft for other in call):
            return request
        likely = max((self.server.scored.tokens_after(other.ids) for other in call), key=len)
        most = self.generated - 1
        if self.server.context_length is not None:
            most = min(most, self.server.context_length - len(request.ids) - 1)
        return ScoreRequest(request.ids, likely[: max(0, most)])

    async def _score_drafted(self, requests: Sequence[ScoreRequest]) -> None:
        choices = await self._echoed(requests)
        for request, choice in zip(requests, choices, strict=True):
            distributions = self.server.reader.of_draft(choice, request.draft)
            self.server.scored.remember(request.ids, distributions, request.draft)

    async def _echoed(self, requests: Sequence[ScoreRequest]) -> list[Choice]:
        """Return the server's echoes of the requests' drafts."""
        if not requests:
            return []

        def check(number: int, choice: Choice) -> None:
            self._first_value(choice, requests[number].draft)

        return await self.server.ask(
            [request.ids + request.draft for request in requests],
            check,
            together=self.server.profile.batched_echo,
            temperature=self._temperature,
            echo=max(len(request.draft) for request in requests),
        )

    async def _score_undrafted(self, prefixes: Sequence[tuple[int, ...]]) -> None:
        choices = await self._next(prefixes, self._check_generated, max_tokens=self.generated)
        for prefix, choice in zip(prefixes, choices, strict=True):
            await self._remember_next(prefix, choice)

    async def _next(
        self, prefixes: Sequence[tuple[int, ...]], check: Check, **fields: Any
    ) -> list[Choice]:
        """Return what the server says after each prefix."""
        if not prefixes:
            return []
        together = self.server.profile.batches
        return await self.server.ask(
            prefixes, check, together=together, temperature=self._temperature, **fields
        )

    async def _with_logit_bias(self, prefix: tuple[int, ...], token: int) -> Choice:
        """Force `token` after a prefix, which leaves the distribution as it is.

        The choice has no rows where that token is no whole character.
        """

        def check(_: int, choice: Choice) -> None:
            check_rows(choice, self.server.reader.top_k)
            if choice.rows and choice.rows[0].token.id != token:
                raise MalformedResponseError("another token than was forced")

        [choice] = await self._next([prefix], check, logit_bias={token: FORCING_BIAS})
        return choice

    @property
    def _temperature(self) -> float:
        # Where the temperature changes what is reported, 1 is the one that leaves it alone.
        return 0.0 if self.server.profile.raw else 1.0

    # --- what it means ---------------------------------------------------------------------------

    def _check_generated(self, _: int, choice: Choice) -> None:
        check_rows(choice, self.server.reader.top_k)
        ended = choice.finish == "stop" and not choice.text
        if not (choice.rows or self.server.profile.logit_bias_id is not None or ended):
            raise MalformedResponseError("an answer without log-probabilities")

    async def _remember_next(self, prefix: tuple[int, ...], choice: Choice) -> None:
        """Remember the distributions after a prefix and after what was generated."""
        reader, forcible = self.server.reader, self.server.profile.logit_bias_id
        if choice.rows and self.generated > 1 and reader.token(choice.rows[0]) is None:
            # Tokens that are one character together share a row: whose distribution is it?
            [choice] = await self._next([prefix], self._check_generated)
        if not choice.rows and forcible is not None:
            # No row: the token was no whole character, or an end that the server does not show.
            # What is wanted is the distribution, so let the server take another token from it.
            choice = await self._with_logit_bias(prefix, forcible)
        reader.note_end(choice)
        distributions, tokens = reader.along(choice.rows)
        if not distributions:
            first = choice.rows[:1]
            distributions = [reader.distribution(first[0]) if first else reader.hidden_end()]
        self.server.scored.remember(prefix, distributions, tokens)

    async def _told(self, request: LogprobRequest) -> list[float]:
        """Return the log-probabilities of tokens by naming them."""
        values: dict[int | None, float] = {}

        def check(_: int, choice: Choice) -> None:
            for row in choice.rows[:1]:
                values.update((piece.id, value) for piece, value in row.alternatives)
            if missing := set(request.tokens) - values.keys():
                raise MalformedResponseError(f"no value of {len(missing)} tokens that were named")

        await self._next([request.ids], check, token_logprobs=request.tokens)
        return [values[token] for token in request.tokens]

    async def _forced(self, prefix: tuple[int, ...], token: int) -> float:
        """Return the log-probability of a single token by forcing it."""
        choice = await self._with_logit_bias(prefix, token)
        if choice.rows and choice.rows[0].logprob is not None:
            return choice.rows[0].logprob
        # Part of a character cannot be shown. No value is known then, only what it cannot exceed.
        [[distribution]] = await self.score([ScoreRequest(prefix)])
        return distribution.tail_bound

    def _first_value(self, choice: Choice, draft: Sequence[int]) -> float:
        """Return the log-probability of the first token of an echoed draft."""
        logprob = draft_rows(choice, draft, self.server.reader.top_k)[0].logprob
        if logprob is None:
            raise MalformedResponseError("an echoed token without its log-probability")
        return logprob


def _without_covered(requests: Sequence[ScoreRequest]) -> list[ScoreRequest]:
    """Return the requests whose answers hold all that is wanted, each once."""
    kept: list[ScoreRequest] = []
    for request in sorted(requests, key=lambda request: -len(request.draft)):
        if not any(
            request.ids == other.ids and other.draft[: len(request.draft)] == request.draft
            for other in kept
        ):
            kept.append(request)
    return sorted(kept, key=requests.index)
