"""Finds the form of requests that a server takes: what is refused is tried otherwise."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from attrs import define, evolve, field

from egcfg.errors import BackendError, ContextOverflowError
from egcfg_backends_fireworks.client import EndpointClient
from egcfg_backends_fireworks.distributions import accounts_for_text, check_rows
from egcfg_backends_fireworks.faults import RejectedRequestError
from egcfg_backends_fireworks.options import EndpointOptions, Route
from egcfg_backends_fireworks.responses import Choice, Completion, Spelling, respelt
from egcfg_backends_fireworks.wire import RequestForm, Service, WirePrompt

__all__ = ["TRIES", "FormFinder"]

USUAL = 20
"""Alternatives that many servers give at most, however many are asked for."""
ENOUGH = 5
"""Fewer may be those of a server that took a number for a truth: another form may bring more."""
BREAKS = 6
"""After so many requests that broke the server, it is no server of this kind."""
TRIES = 3
"""How often a server is asked for what it does not seem to have."""
SAMPLED: dict[str, Any] = {"temperature": 0.8, "top_p": 0.95, "seed": 7}
"""How candidates are sampled: what is refused then is of no use."""


@define
class FormFinder:
    """Asks one route of a server.

    Attributes:
        client: asks the server.
        service: what may be tried.
        options: which model, and how many alternatives are wanted.
        form: of the requests that it takes, as far as it is known.
        temperature: at which it shows the model's own distributions.
        served: the model whose answers it says these are.
    """

    client: EndpointClient
    service: Service
    options: EndpointOptions
    form: RequestForm = field(init=False)
    temperature: float = field(default=0.0, init=False)
    served: str | None = field(default=None, init=False)

    async def find_form(self, route: Route, prompt: WirePrompt) -> Choice | None:
        """Find the form of requests that the route takes, and return a greedy continuation.

        Returns:
            None where it tells no log-probabilities.
        """
        service, chats = self.service, route is Route.CHAT
        form = RequestForm(
            model=self.options.model or "",
            route=route,
            top_k=0,
            fields=dict(service.always),
            cache_key=service.cache_key,
        )
        greedy = await self._find_top_k(form, prompt)
        if greedy is None:
            return None
        optional = service.chat if chats else service.optional
        bare = self.form
        everything = {name: values[0] for name, values in optional.items()}
        self.form = evolve(bare, fields=bare.fields | everything)
        if not await self._accepted(prompt):
            fields = bare.fields
            for name, values in optional.items():
                for value in values:
                    self.form = evolve(bare, fields=fields | {name: value})
                    if await self._accepted(prompt):
                        fields = self.form.fields
                        break
            self.form = evolve(bare, fields=fields)
        return await self.continuation(prompt)

    async def _find_top_k(self, form: RequestForm, prompt: WirePrompt) -> Choice | None:
        wanted, known = self.options.top_k, self.service.top_ks
        ladder = known if wanted is None else [wanted, *(k for k in known if k < wanted)]
        booleans = [True] if form.route is Route.CHAT else [False, True]
        if form.route is Route.COMPLETIONS and self.service.boolean is not None:
            booleans = [self.service.boolean]
        failure: BackendError | None = None
        answered, broken = None, 0
        few: tuple[RequestForm, Choice] | None = None
        for top_k in ladder:
            for boolean in tuple(booleans):
                self.form = evolve(form, top_k=top_k, boolean=boolean)
                try:
                    greedy = await self.continuation(prompt)
                except ContextOverflowError:
                    raise
                except BackendError as error:
                    failure = failure or error
                    broken += not isinstance(error, RejectedRequestError)
                    if broken > BREAKS:
                        raise failure from None
                    continue
                if greedy is not None:
                    breadth = max(len(row.alternatives) for row in greedy.rows)
                    self.form = evolve(self.form, top_k=min(breadth, top_k))
                    if breadth >= min(top_k, ENOUGH):
                        return greedy
                    if few is None or self.form.top_k > few[0].top_k:
                        few = self.form, greedy
                    continue
                answered = self.form
                booleans.remove(boolean)
        if few is not None:
            self.form, greedy = few
            return greedy
        if answered is None:
            assert failure is not None  # the loops run at least once
            raise failure
        self.form = evolve(answered, top_k=0)
        return None

    async def _accepted(self, prompt: WirePrompt) -> bool:
        """Whether the form is taken as scores are asked for, and as candidates are sampled."""
        for manner in ({}, SAMPLED):
            request = self.form.body(prompt, max_tokens=2, **manner)
            if not await self.confirmed(lambda: self._answers(request)):  # noqa: B023
                return False
        return True

    async def _answers(self, request: dict[str, Any]) -> bool:
        await self.client.complete(request, trial=True)
        return True

    async def continuation(
        self, prompt: WirePrompt, *, max_tokens: int = 2, temperature: float | None = None
    ) -> Choice | None:
        """Return a continuation by whose rows all else is measured; None where there are none."""
        request = self.form.body(
            prompt,
            max_tokens=max_tokens,
            temperature=self.temperature if temperature is None else temperature,
            seed=7,
        )
        best: Choice | None = None
        for _ in range(TRIES):
            completion = await self.client.complete(request, self._learn_spelling, trial=True)
            choice = completion.choices[0]
            self.served = self.served or completion.model
            if choice.rows and (best is None or _breadth(choice) > _breadth(best)):
                best = choice
            if best is not None and _breadth(best) >= min(self.form.top_k, USUAL):
                break
        return best if best is not None and _breadth(best) else None

    def _learn_spelling(self, completion: Completion) -> None:
        """See that rows account for the text, in whichever way the server spells its tokens."""
        choice = completion.choices[0]
        if not choice.rows or not choice.rows[0].alternatives:
            return
        if accounts_for_text(choice):
            check_rows(choice, 0)
            return
        for spelling in Spelling:
            for named in (True, False):
                if accounts_for_text(respelt(choice, spelling, named=named)):
                    self.client.spelling, self.client.named = spelling, named
                    return
        check_rows(choice, 0)

    async def confirmed(self, check: Callable[[], Awaitable[bool]]) -> bool:
        """Return whether one of a few answers is yes; a refusal is a no."""
        for _ in range(TRIES):
            try:
                if await check():
                    return True
            except BackendError:
                return False  # some servers break over what they do not know
        return False

    def body(self, *prompts: WirePrompt, **fields: Any) -> dict[str, Any]:
        """Return the body of a request for the model's own distributions."""
        return self.form.body(*prompts, temperature=self.temperature, **fields)

    async def answer(self, request: dict[str, Any]) -> Completion:
        """Ask a few times for rows: their absence may be a fault, or what the server is like."""
        for _ in range(TRIES - 1):
            completion = await self.client.complete(request, trial=True)
            if all(choice.rows and choice.rows[0].alternatives for choice in completion.choices):
                return completion
        return await self.client.complete(request, trial=True)


def _breadth(choice: Choice) -> int:
    return len(choice.rows[0].alternatives)
