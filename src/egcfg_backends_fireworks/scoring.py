"""Next-token distributions of several sequences, in as few requests as the server allows.

Both branches and all drafts of a line go out as one request where the server takes several prompts
at once: it answers them in one round trip, and a limit on requests sees one. Elsewhere as many
requests go out at the same time. A prompt cache loses nothing by it: a request of both branches
bears the key of the first, which is also the key under which candidates are sampled, so the
growing text is found again; the other branch has a new signal, and so a new text, at every line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from egcfg.interfaces.backend import LogprobQuery, ScoreQuery, TokenLogprobs, TokenSequence
from egcfg_backends_fireworks.connection import Connection
from egcfg_backends_fireworks.distributions import check_rows
from egcfg_backends_fireworks.drafts import draft_distributions, draft_rows
from egcfg_backends_fireworks.lookahead import Lookahead
from egcfg_backends_fireworks.probe import STEERING_BIAS
from egcfg_backends_fireworks.prompts import Guess
from egcfg_backends_fireworks.requests import Prompt
from egcfg_backends_fireworks.responses import Choice, Completion, MalformedResponseError
from egcfg_backends_fireworks.together import together

__all__ = ["Scoring"]


@frozen
class _Ask:
    """A prompt to be scored: a sequence's ids, and the draft behind them."""

    role: str
    ids: tuple[int, ...]
    draft: tuple[int, ...] = ()

    @property
    def prompt(self) -> tuple[int, ...]:
        """The tokens to send."""
        return self.ids + self.draft

    def covers(self, other: _Ask) -> bool:
        """Whether the answer to this one answers the other one, too."""
        return self.ids == other.ids and self.draft[: len(other.draft)] == other.draft


@define(kw_only=True)
class Scoring:
    """Asks for distributions, and for single log-probabilities.

    Attributes:
        server: who is asked.
        echoes: whether drafts are sent (`egcfg_backends_fireworks.drafts.scores_drafts`).
        tokens_ahead: tokens that the server goes on by itself where there is no draft; 1: none
            but the one that is asked about.
    """

    server: Connection
    echoes: bool
    tokens_ahead: int
    _ahead: Lookahead = field(factory=Lookahead, init=False, repr=False)

    @property
    def goes_ahead(self) -> bool:
        """Whether a question without a draft brings along what the model would go on with."""
        return self.tokens_ahead > 1

    @property
    def tells_single_tokens(self) -> bool:
        """Whether `logprobs` works."""
        return self.echoes or self.server.profile.steering_id is not None

    async def score(self, queries: Sequence[ScoreQuery]) -> list[list[TokenLogprobs]]:
        """Return the distributions of each query; all queries are asked at once.

        Raises:
            UsageError, BackendError: as `EndpointClient.complete`.
        """
        asks = [_Ask(q.sequence.role, tuple(q.sequence.ids), tuple(q.draft)) for q in queries]
        answers: list[tuple[_Ask, list[TokenLogprobs]]] = []
        unknown: list[_Ask] = []
        for ask in asks:
            known = self._ahead.along(ask.ids, ask.draft)
            if known is not None:
                answers.append((ask, known))
            else:
                unknown.append(ask)
        open_asks = _without_covered(unknown)
        drafted = [ask for ask in open_asks if ask.draft]
        undrafted = [ask for ask in open_asks if not ask.draft]
        for some in await together([self._drafted(drafted), self._undrafted(undrafted)]):
            answers += some
        return [
            next(found[: len(ask.draft) + 1] for other, found in answers if other.covers(ask))
            for ask in asks
        ]

    async def ahead(self, sequence: TokenSequence) -> tuple[tuple[int, ...], list[TokenLogprobs]]:
        """Return the way that is known behind a sequence, and the distributions along it."""
        ids = tuple(sequence.ids)
        way = self._ahead.way(ids)
        return way, self._ahead.along(ids, way) or []

    async def logprobs(self, queries: Sequence[LogprobQuery]) -> list[list[float]]:
        """Return the exact log-probabilities of each query's tokens.

        Raises:
            UsageError, BackendError: as `EndpointClient.complete`.
        """
        asks = [
            _Ask(query.sequence.role, tuple(query.sequence.ids), (token,))
            for query in queries
            for token in query.tokens
        ]
        if self.echoes:
            choices = await self._choices(asks, 1)
            values = iter([self._echoed(c, a.draft) for c, a in zip(choices, asks, strict=True)])
        else:
            values = iter(await together([self._forced(ask) for ask in asks]))
        return [[next(values) for _ in query.tokens] for query in queries]

    # --- what to ask ---------------------------------------------------------------------------

    async def _drafted(self, asks: Sequence[_Ask]) -> list[tuple[_Ask, list[TokenLogprobs]]]:
        answers = []
        for ask, choice in zip(asks, await self._draft_choices(asks), strict=True):
            found = draft_distributions(
                self.server.reader, choice, ask.draft, self.server.profile.end_id
            )
            self._ahead.remember(ask.ids, found, ask.draft)
            answers.append((ask, found))
        return answers

    async def _draft_choices(self, asks: Sequence[_Ask]) -> list[Choice]:
        """Return the server's answer to each draft, in one request even behind new prompts."""
        wire = self.server.wire
        guesses = {ask: guess for ask in asks if (guess := wire.guess(ask.ids, ask.draft))}
        if all(wire.known(guess.prompt) for guess in guesses.values()):
            guesses = {}
        certain = [ask for ask in asks if ask not in guesses]
        found: dict[_Ask, Choice] = {}
        for some in await together([self._guessed(guesses), self._sent(certain)]):
            found |= some
        found |= await self._sent([ask for ask in asks if ask not in found])
        return [found[ask] for ask in asks]

    async def _sent(self, asks: Sequence[_Ask]) -> dict[_Ask, Choice]:
        return dict(zip(asks, await self._choices(asks, 1), strict=True))

    async def _guessed(self, guesses: Mapping[_Ask, Guess]) -> dict[_Ask, Choice]:
        """Send prompts as text: new ones alone, for their ids, and all with the drafts behind them.

        Returns:
            The answers to what was read as the tokens that were meant.
        """
        if not guesses:
            return {}
        wire = self.server.wire
        named = {guess.prompt: wire.known(guess.prompt) for guess in guesses.values()}
        texts = [text for text, ids in named.items() if ids is None]
        prompts = [*texts, *(guess.whole for guess in guesses.values())]
        request = self._worded(prompts, list(guesses), names_prompt=True)
        right: dict[_Ask, Choice] = {}

        def check(completion: Completion) -> None:
            read = [choice.prompt_ids for choice in completion.choices]
            if len(read) != len(texts) + len(guesses) or not all(read):
                raise MalformedResponseError("an answer without the ids of its prompt")
            named.update(zip(texts, read, strict=False))
            right.clear()
            for (ask, guess), choice in zip(
                guesses.items(), completion.choices[len(texts) :], strict=True
            ):
                if choice.prompt_ids == (named[guess.prompt] or ()) + guess.answer:
                    self._echoed(choice, ask.draft)
                    right[ask] = choice

        choices = (await self.server.client.complete(request, check)).choices
        for text, choice in zip(texts, choices, strict=False):
            wire.learn_ids(text, choice.prompt_ids or ())
        for ask, choice in zip(guesses, choices[len(texts) :], strict=True):
            if ask not in right:
                wire.learn_odd(ask.ids, choice.prompt_ids or ())
        return right

    async def _undrafted(self, asks: Sequence[_Ask]) -> list[tuple[_Ask, list[TokenLogprobs]]]:
        answers = []
        for ask, choice in zip(asks, await self._choices(asks, self.tokens_ahead), strict=True):
            found, way = await self._along(ask, choice)
            self._ahead.remember(ask.ids, found, way)
            answers.append((ask, found[:1]))
        return answers

    async def _choices(self, asks: Sequence[_Ask], tokens: int) -> list[Choice]:
        """Return the server's answer to each prompt of ids: all of them with drafts, or none."""
        if not asks:
            return []
        batches = self.server.profile.batched_echo if asks[0].draft else self.server.profile.batches
        if len(asks) > 1 and batches:
            return await self._request(asks, tokens)
        singles = await together([self._request([ask], tokens) for ask in asks])
        return [choice for [choice] in singles]

    async def _request(self, asks: Sequence[_Ask], tokens: int) -> list[Choice]:
        prompts = [await self.server.wire.wire(ask.prompt) for ask in asks]
        request = self._worded(prompts, asks, max_tokens=tokens)
        echo = asks[0].draft

        def check(completion: Completion) -> None:
            if len(completion.choices) != len(asks):
                raise MalformedResponseError(
                    f"{len(completion.choices)} answers to {len(asks)} prompts"
                )
            for ask, prompt, choice in zip(asks, prompts, completion.choices, strict=True):
                if not isinstance(prompt, str) and choice.prompt_ids not in (None, prompt):
                    raise MalformedResponseError("an answer to another prompt")
                if echo:
                    self._echoed(choice, ask.draft)
                else:
                    self._check_plain(choice)

        choices = (await self.server.client.complete(request, check)).choices
        # What was sent needs no spelling: whoever sent it knows it.
        return list(choices) if echo else await self.server.speller.spelt(choices)

    def _worded(
        self, prompts: Sequence[Prompt], asks: Sequence[_Ask], **fields: Any
    ) -> dict[str, Any]:
        """Return the body of a request about the ends of some prompts."""
        longest = max(len(ask.draft) for ask in asks)
        return self.server.requests.completion(
            *prompts,
            temperature=self._plain_temperature,
            echo=(longest if self.server.profile.echo_last else 0) if longest else None,
            cache_key=self.server.cache_key(asks[0].role),
            **fields,
        )

    # --- what it means ---------------------------------------------------------------------------

    def _check_plain(self, choice: Choice) -> None:
        check_rows(choice, self.server.reader.top_k)
        ended = choice.finish == "stop" and not choice.text
        if not (choice.rows or self.server.profile.steering_id is not None or ended):
            raise MalformedResponseError("an answer without log-probabilities")

    async def _along(self, ask: _Ask, choice: Choice) -> tuple[list[TokenLogprobs], list[int]]:
        """Return the distributions on the way that the server went, and its tokens."""
        reader = self.server.reader
        if choice.rows and self.tokens_ahead > 1 and reader.drawn(choice.rows[0]) is None:
            # Tokens that are one character together share a row: whose distribution is it?
            [choice] = await self._request([ask], 1)
        if not choice.rows and self.server.profile.steering_id is not None:
            # No row: the token was no whole character, or an end that the server does not show.
            # What is asked is the distribution, so let the server draw another token from it.
            choice = await self._steered(ask, self.server.profile.steering_id)
        if not choice.rows:
            return [reader.hidden_end(self.server.profile.end_id)], []
        reader.note_end(choice)
        distributions = [reader.distribution(choice.rows[0])]
        way: list[int] = []
        for row, following in zip(choice.rows, choice.rows[1:], strict=False):
            token, after = reader.drawn(row), reader.drawn(following)
            if token is None or after is None or token in reader.end_ids:
                break
            way.append(token)
            distributions.append(reader.distribution(following))
        return distributions, way

    async def _steered(self, ask: _Ask, token: int) -> Choice:
        """Let the server draw `token` behind `ask.ids`, which leaves the distribution as it is.

        The choice has no rows where that token is no whole character.
        """
        request = self.server.requests.completion(
            await self.server.wire.wire(ask.ids),
            temperature=self._plain_temperature,
            bias={token: STEERING_BIAS},
            cache_key=self.server.cache_key(ask.role),
        )

        def check(completion: Completion) -> None:
            choice = completion.choices[0]
            check_rows(choice, self.server.reader.top_k)
            if choice.rows and choice.rows[0].token.id != token:
                raise MalformedResponseError("another token than was forced")

        return (await self.server.client.complete(request, check)).choices[0]

    async def _forced(self, ask: _Ask) -> float:
        """Return the log-probability of a token by letting the server draw it."""
        [token] = ask.draft
        choice = await self._steered(ask, token)
        if choice.rows and choice.rows[0].logprob is not None:
            return choice.rows[0].logprob
        # Part of a character cannot be shown. No value is known then, only what it cannot exceed.
        sequence = TokenSequence(ask.ids, ask.role)
        [[distribution]] = await self.score([ScoreQuery(sequence)])
        return distribution.tail_bound

    def _echoed(self, choice: Choice, draft: Sequence[int]) -> float:
        """Return the log-probability of the first token of an echoed draft."""
        logprob = draft_rows(choice, draft, self.server.reader.top_k)[0].logprob
        if logprob is None:
            raise MalformedResponseError("an echoed token without its log-probability")
        return logprob

    @property
    def _plain_temperature(self) -> float:
        # Where the temperature changes what is reported, 1 is the one that leaves it alone.
        return 0.0 if self.server.profile.raw else 1.0


def _without_covered(asks: Sequence[_Ask]) -> list[_Ask]:
    """Return the asks whose answers hold all that is asked, each once."""
    kept: list[_Ask] = []
    for ask in sorted(asks, key=lambda ask: -len(ask.draft)):
        if not any(other.covers(ask) for other in kept):
            kept.append(ask)
    return sorted(kept, key=asks.index)
