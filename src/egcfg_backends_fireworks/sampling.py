"""Samples continuations, in as few requests as possible; they are cut here at lines and stops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from attrs import define, field, frozen

from egcfg.interfaces.backend import Completion as TextCompletion
from egcfg.interfaces.backend import Continuation, SampleRequest, SamplingParams
from egcfg.interfaces.prompt import ChatPrompt, TextPrompt
from egcfg_backends_fireworks.bounded import BoundedDict
from egcfg_backends_fireworks.distributions import check_rows
from egcfg_backends_fireworks.faults import RejectedRequestError
from egcfg_backends_fireworks.gather import gather
from egcfg_backends_fireworks.responses import Choice
from egcfg_backends_fireworks.scored_prefixes import prefix_key
from egcfg_backends_fireworks.server import Server
from egcfg_backends_fireworks.wire import Chat

__all__ = ["Sampling"]

ALTERNATIVES = 20
"""Per sampled token at most: the answer holds hundreds of tokens, few of which are asked about."""
MOST_CHOICES = 128
"""Continuations in one request at most, as the services document it."""
TOKENS_PER_LINE = 24
"""Tokens asked for at first per line wanted: more than most lines of code take. What is missing
takes another request; what a server generates after the cut is kept for when it is wanted."""
REMEMBERED = 1024
"""Prefixes after which unused tokens are kept: the candidates of a line, of dozens of tasks."""

Manner: TypeAlias = tuple[float, float]
"""Temperature and top-p: what the continuations of one request have in common."""


@frozen
class _Sampled:
    """Tokens that a server sampled.

    Attributes:
        tokens: their ids; None where a row does not stand for one token.
        ended: whether the model ended the text after them.
    """

    tokens: tuple[int | None, ...]
    ended: bool


@define(eq=False)
class _SamplingState:
    """A continuation that is being sampled."""

    request: SampleRequest
    seed: int
    ids: tuple[int, ...] = ()
    text: str = ""
    done: bool = False
    finished: bool = False
    unused: _Sampled | None = None

    @property
    def prefix(self) -> tuple[int, ...]:
        """What it is to be continued from."""
        return self.request.ids + self.ids

    @property
    def wanted(self) -> int:
        """Tokens to ask for."""
        params = self.request.params
        left = params.max_tokens - len(self.ids)
        if params.max_lines is None:
            return left
        return min(left, TOKENS_PER_LINE * max(1, params.max_lines - self.text.count("\n")))

    @property
    def manner(self) -> Manner:
        """How it is sampled."""
        return self.request.params.temperature, self.request.params.top_p

    @property
    def complete(self) -> bool:
        """Whether it has come to one of its limits."""
        params = self.request.params
        return (
            len(self.ids) >= params.max_tokens
            or (params.max_lines is not None and self.text.count("\n") >= params.max_lines)
            or any(stop in self.text for stop in params.stop)
        )


@define(kw_only=True)
class Sampling:
    """Asks for continuations.

    What a server sampled after the end of a continuation is kept, and given to the next request
    for one continuation that goes on from there in the same manner. A request for several asks for
    new ones.

    Attributes:
        server: who is asked.
    """

    server: Server
    _most_choices: int = field(default=MOST_CHOICES, init=False, repr=False)
    _unused: BoundedDict[tuple[bytes, Manner], list[_Sampled]] = field(
        factory=lambda: BoundedDict(REMEMBERED), init=False, repr=False
    )

    async def sample(self, requests: Sequence[SampleRequest]) -> list[list[Continuation]]:
        """Return the continuations of each request.

        What goes on from the same prefix is asked for as several choices, what goes on from
        different ones as several prompts: each in one request, if the server can do that.

        Raises:
            UsageError, BackendError: as `EndpointClient.complete`.
        """
        states = [
            [_SamplingState(request, request.params.seed + i) for i in range(request.count)]
            for request in requests
        ]
        for some in states:
            if len(some) == 1:
                self._continue_unused(some[0])
        pending = [state for some in states for state in some if not state.done]
        while pending:
            for manner in dict.fromkeys(state.manner for state in pending):
                await self._continue([state for state in pending if state.manner == manner])
            pending = [state for state in pending if not state.done]
        self._keep_unused([state for some in states for state in some])
        return [
            [Continuation(ids=s.ids, text=s.text, finished=s.finished) for s in some]
            for some in states
        ]

    async def complete(
        self, prompt: TextPrompt | ChatPrompt, params: SamplingParams
    ) -> TextCompletion:
        """Return the answer to a whole prompt, of a server without log-probabilities.

        Raises:
            UsageError, BackendError: as `EndpointClient.complete`.
        """
        server = self.server
        sent = await server.prompts.wire(await server.prompts.encode(prompt))
        prefix = sent.prefix if isinstance(sent, Chat) else ""
        if isinstance(sent, Chat):
            # What is not known to be continued is left to the answer, which begins anew.
            sent = Chat(sent.messages)
        body = server.profile.form.body(
            sent,
            max_tokens=params.max_tokens,
            temperature=params.temperature,
            top_p=params.top_p,
            seed=params.seed,
        )
        choice = (await server.client.complete(body)).choices[0]
        text = choice.text
        if prefix in text:  # after whatever the answer says first
            text = text[text.index(prefix) + len(prefix) :]
        return TextCompletion(text=text, finished=choice.finish == "stop")

    def _continue_unused(self, state: _SamplingState) -> None:
        """Take a continuation further by what was sampled after its prefix before."""
        if unused := self._unused.get(_key(state)):
            self._extend(state, unused.pop(0))

    def _keep_unused(self, states: Sequence[_SamplingState]) -> None:
        """Keep what was sampled beyond the ends of continuations, rather than what was before."""
        kept: dict[tuple[bytes, Manner], list[_Sampled]] = {}
        for state in states:
            if state.unused is not None:
                kept.setdefault(_key(state), []).append(state.unused)
        self._unused.update(kept)

    async def _continue(self, states: Sequence[_SamplingState]) -> None:
        """Take each continuation further by one answer."""
        starts: dict[tuple[int, ...], list[_SamplingState]] = {}
        for state in states:
            starts.setdefault(state.prefix, []).append(state)
        single = [some[0] for some in starts.values() if len(some) == 1]
        # One after the other: llama.cpp's server mixes up its caches when several prompts with
        # several choices each are evaluated together.
        for some in starts.values():
            if len(some) > 1:
                await self._choices(some)
        if single:
            await self._prompts(single)

    async def _choices(self, states: Sequence[_SamplingState]) -> None:
        """Ask for several choices of one prompt."""
        if not self.server.profile.multiple or len(states) > self._most_choices:
            await gather(self._prompts([state]) for state in states)
            return
        try:
            await self._ask(states, [states[0].prefix], n=len(states))
        except RejectedRequestError:
            # More than this server's `n` may be: one request each, now and from now on.
            self._most_choices = min(self._most_choices, len(states) - 1)
            await self._choices(states)

    async def _prompts(self, states: Sequence[_SamplingState]) -> None:
        """Ask for one choice of each prompt."""
        if len(states) > 1 and not self.server.profile.batches:
            await gather(self._prompts([state]) for state in states)
        else:
            await self._ask(states, [state.prefix for state in states])

    async def _ask(
        self, states: Sequence[_SamplingState], prefixes: Sequence[tuple[int, ...]], n: int = 1
    ) -> None:
        profile, (temperature, top_p) = self.server.profile, states[0].manner

        def check(_: int, choice: Choice) -> None:
            if profile.named:
                check_rows(choice, min(ALTERNATIVES, profile.form.top_k))

        choices = await self.server.ask(
            prefixes,
            check,
            together=True,
            n=n,
            max_tokens=max(state.wanted for state in states),
            temperature=temperature,
            top_p=top_p,
            top_k=ALTERNATIVES,
            seed=states[0].seed + len(states[0].ids),
        )
        for state, choice in zip(states, choices, strict=True):
            self._extend(state, self._sampled(state, choice))

    def _sampled(self, state: _SamplingState, choice: Choice) -> _Sampled:
        """Return the tokens of a choice, and remember the distributions that it tells."""
        server, ended = self.server, choice.finish == "stop"
        if not server.profile.named:  # rows tell what was likeliest, not what was sampled
            return _Sampled(server.reader.vocabulary.intern_text(choice.text), ended)
        server.reader.note_end(choice)
        if server.profile.raw:
            # Elsewhere rows show what temperature and top-p made of the distributions.
            along = server.reader.along(choice.rows, ALTERNATIVES)
            server.scored.remember(state.prefix, *along)
        return _Sampled(tuple(map(server.reader.token, choice.rows)), ended)

    def _extend(self, state: _SamplingState, sampled: _Sampled) -> None:
        """Take the sampled tokens up to a limit; a continuation that cannot go on is done."""
        reader, before = self.server.reader, len(state.ids)
        for number, token in enumerate(sampled.tokens, 1):
            if token is None or token in reader.end_ids:
                # Tokens whose ids are not known cannot be sent back: a continuation ends before.
                state.done, state.finished = True, token is not None
                return
            state.ids += (token,)
            state.text = reader.vocabulary.decode(state.ids)
            if state.complete:
                state.done = True
                if number < len(sampled.tokens):
                    state.unused = _Sampled(sampled.tokens[number:], sampled.ended)
                return
        state.finished = sampled.ended
        # Without progress (a character that one request cannot complete) asking again is in vain.
        state.done = state.finished or len(state.ids) == before


def _key(state: _SamplingState) -> tuple[bytes, Manner]:
    return prefix_key(state.prefix), state.manner
