"""Settles guided choices that top-k lists leave open, by asking for the values that they lack.

On an endpoint a question takes a request, however much is asked. So the doubts of all tokens that
come next are settled together: those on the way along which the guided choices seem to lead, as far
as both branches are known ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from attrs import define, field

from egcfg.decoding.branch import Lookahead
from egcfg.guidance.cfg import GuidanceRule, Guided
from egcfg.interfaces.backend import LogprobBackend, LogprobQuery, TokenLogprobs, TokenSequence

__all__ = ["Branch", "Doubts"]

Run: TypeAlias = tuple[int, ...]
Branch: TypeAlias = tuple[TokenSequence, Lookahead]
"""A sequence, and what is known ahead of it."""


@define
class Doubts:
    """What exact values were fetched ahead of both branches; they are kept out of the lists.

    For what one signal raised is none of the next one's business: a value that its lists do not
    call for would change which tokens are weighed, and so might change the text.

    Attributes:
        backend: one that has `egcfg.interfaces.backend.Capabilities.exact_logprobs`.
        rule: mixes the branches.
        gamma: the strength of guidance.
    """

    backend: LogprobBackend
    rule: GuidanceRule
    gamma: float
    _settled: dict[Run, list[TokenLogprobs]] = field(factory=dict, init=False, repr=False)

    def settle(
        self, branches: Sequence[Branch], choose: Callable[[TokenLogprobs, int], int]
    ) -> tuple[TokenLogprobs, Guided]:
        """Return the next token's unconditional distribution and the guided one, without doubts.

        New values may bring up other tokens: then there is another round. No value is asked for
        twice, so there is an end to it.

        Args:
            branches: the unconditional and the conditional one; both know the next token.
            choose: takes a token from a guided distribution, so many tokens from here.

        Raises:
            BackendError: the model did not answer.
        """
        # Doubts about what comes later wait for company, and may never come up.
        while (asked := list(self._questions(branches, choose))) and asked[0][0] == ():
            answers = self.backend.logprobs([query for _, _, query in asked])
            for (run, number, query), values in zip(asked, answers, strict=True):
                known = self._settled[run]
                known[number] = known[number].with_values(query.tokens, values)
        plain, conditional = self._settled[()]
        return plain, self.rule(plain, conditional, self.gamma)

    def advance(self, token: int) -> None:
        """Move one token on; what lay on other ways is forgotten."""
        self._settled = {run[1:]: d for run, d in self._settled.items() if run[:1] == (token,)}

    def forget(self) -> None:
        """Forget everything: one branch is another one."""
        self._settled.clear()

    def _questions(
        self, branches: Sequence[Branch], choose: Callable[[TokenLogprobs, int], int]
    ) -> Iterator[tuple[Run, int, LogprobQuery]]:
        """Follow the guided choices, as they look by now, and say what they lack."""
        run: Run = ()
        while True:
            if run not in self._settled:
                listed = [d for _, ahead in branches if (d := ahead.behind(run)) is not None]
                if len(listed) < len(branches):
                    return
                self._settled[run] = listed
            plain, conditional = known = self._settled[run]
            guided = self.rule(plain, conditional, self.gamma)
            for number, (sequence, _) in enumerate(branches):
                if tokens := tuple(t for t in guided.doubts if not known[number].lists(t)):
                    there = self.backend.start((*sequence.ids, *run), sequence.role)
                    yield run, number, LogprobQuery(there, tokens)
            run = (*run, choose(guided.distribution, len(run)))
