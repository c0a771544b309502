"""One prompt branch: its token ids, the distributions known after it, and its exact values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from attrs import define, field

from egcfg.interfaces.backend import LogprobRequest, Logprobs, ScoreRequest
from egcfg.interfaces.guidance import Guided
from egcfg.interfaces.solution import Stage
from egcfg.usage.model import Model

__all__ = ["Branch", "resolve", "score_greedy_line"]

Draft: TypeAlias = tuple[int, ...]

RESOLVED_TOKENS = 8
"""Tokens whose exact values are asked for together at most: further guesses are often wrong."""


@define
class Branch:
    """The unconditional or the conditional prompt with the response so far.

    Attributes:
        ids: the prompt's tokens and the response's.
    """

    ids: tuple[int, ...] = ()
    _scored: dict[Draft, Logprobs] = field(factory=dict, repr=False)
    _resolved: dict[Draft, Logprobs] = field(factory=dict, repr=False)

    @property
    def next(self) -> Logprobs | None:
        """The distribution of the next token, if it is known."""
        return self.after(())

    def after(self, draft: Draft) -> Logprobs | None:
        """The distribution after `ids` and `draft`, if it is known."""
        return self._scored.get(draft)

    def resolved(self, draft: Draft) -> Logprobs | None:
        """The same with the exact values that were asked for."""
        return self._resolved.get(draft, self._scored.get(draft))

    def knows(self, draft: Draft) -> bool:
        """Whether the distributions after each prefix of `draft` are known, the whole included."""
        return all(draft[:end] in self._scored for end in range(len(draft) + 1))

    def learn(self, draft: Draft, distributions: Sequence[Logprobs]) -> None:
        """Keep the distributions after ``draft[:0]``, ``draft[:1]``, ... ``draft``."""
        for end, distribution in enumerate(distributions):
            self.learn_after(draft[:end], distribution)

    def learn_after(self, draft: Draft, distribution: Logprobs) -> None:
        """Keep the distribution after `draft`."""
        self._scored.setdefault(draft, distribution)

    def learn_exact(self, draft: Draft, tokens: Sequence[int], values: Sequence[float]) -> None:
        """Add exact values to the distribution after `draft`, which is known."""
        known = self.resolved(draft)
        assert known is not None  # a value is asked for where its list is known
        self._resolved[draft] = known.with_values(tokens, values)

    def advance(self, token: int) -> None:
        """Append a token; what is known after other tokens is dropped."""
        self.ids += (token,)
        self._scored = {d[1:]: known for d, known in self._scored.items() if d[:1] == (token,)}
        self._resolved = {d[1:]: known for d, known in self._resolved.items() if d[:1] == (token,)}

    def reset(self, ids: tuple[int, ...]) -> None:
        """Become a branch with other tokens, after which nothing is known."""
        self.ids = ids
        self._scored.clear()
        self._resolved.clear()

    def forget_exact(self) -> None:
        """Drop the exact values: the other branch, which they were asked for, is another one.

        A value that the new lists do not call for would change which tokens are weighed, and so
        might change the text.
        """
        self._resolved.clear()


async def resolve(
    model: Model,
    branches: Sequence[Branch],
    mix: Callable[..., Guided],
    choose: Callable[[Logprobs, int], int],
) -> tuple[Logprobs, Guided]:
    """Ask for the values that top-k lists lack, until the next guided choice is certain.

    On an endpoint a question takes a request, however much is asked. So the unresolved tokens of
    all positions that come next are asked for together, along the tokens that guidance seems to
    choose, as far as all branches are known. New values may raise other tokens: then there is
    another round. No value is asked for twice, so it ends.

    Args:
        model: one that has `Capabilities.exact_logprobs`.
        branches: the unconditional one, and those with a signal; each knows the next token.
        mix: the guidance rule, with its gamma: takes a distribution of each branch.
        choose: takes a token from a guided distribution, given the number of tokens from here.

    Returns:
        The next token's unconditional distribution and the guided one.

    Raises:
        BackendError: the model did not answer.
    """
    await _score_line(model, branches, mix, choose)
    while True:
        missing = list(_missing(branches, mix, choose))
        # What later positions lack is asked for along with this one's, and may never be needed.
        if not missing or missing[0][1]:
            break
        values = await model.logprobs(
            [LogprobRequest(branch.ids + draft, tokens) for branch, draft, tokens in missing],
            Stage.GUIDED,
        )
        for (branch, draft, tokens), found in zip(missing, values, strict=True):
            branch.learn_exact(draft, tokens, found)
    resolved = [branch.resolved(()) for branch in branches]
    assert resolved[0] is not None  # the caller has seen to it, and that no other is missing
    return resolved[0], mix(*resolved)


async def score_greedy_line(
    model: Model, branch: Branch, remaining: int, goes_on: Callable[[Logprobs], bool]
) -> bool:
    """Score a branch's own greedy line, token by token, as long as each distribution `goes_on`.

    What is scored stays known, so that whoever needs it later need not ask again.

    Args:
        model: answers.
        branch: whose likeliest tokens to follow.
        remaining: tokens that the line may have.
        goes_on: whether to go on after a distribution.

    Returns:
        Whether all of the line was scored.

    Raises:
        ContextOverflowError: the line does not fit the model's context.
        BackendError: the model did not answer.
    """
    draft: Draft = ()
    while len(draft) < remaining:
        if branch.after(draft) is None:
            [[found]] = await model.score([ScoreRequest(branch.ids + draft)], Stage.PREFIX)
            branch.learn_after(draft, found)
        known = branch.after(draft)
        assert known is not None  # asked for just now at the latest
        if not goes_on(known):
            return False
        token = known.argmax()
        if token in model.end_ids or "\n" in await model.decode((token,), Stage.PREFIX):
            return True
        draft = (*draft, token)
    return True


async def _score_line(
    model: Model,
    branches: Sequence[Branch],
    mix: Callable[..., Guided],
    choose: Callable[[Logprobs, int], int],
) -> None:
    """Score the tokens that guidance seems to choose, up to the end of their line.

    A backend that knows more than it was asked answers for free; after the first answer that costs
    something, what is unresolved so far is asked for.
    """
    draft: Draft = ()
    while len(draft) < RESOLVED_TOKENS:
        unknown = [branch for branch in branches if branch.after(draft) is None]
        spent = model.usage.get(Stage.GUIDED)
        if unknown:
            requests = [ScoreRequest(branch.ids + draft) for branch in unknown]
            for branch, [found] in zip(
                unknown, await model.score(requests, Stage.GUIDED), strict=True
            ):
                branch.learn_after(draft, found)
            if model.usage.get(Stage.GUIDED) != spent:
                return
        resolved = [branch.resolved(draft) for branch in branches]
        token = choose(mix(*resolved).distribution, len(draft))
        if token in model.end_ids or "\n" in await model.decode((token,), Stage.GUIDED):
            return
        draft = (*draft, token)


def _missing(
    branches: Sequence[Branch],
    mix: Callable[..., Guided],
    choose: Callable[[Logprobs, int], int],
) -> Iterator[tuple[Branch, Draft, tuple[int, ...]]]:
    """Follow the guided choices, as they look by now, and yield the tokens that lists lack."""
    draft: Draft = ()
    while True:
        found = [branch.resolved(draft) for branch in branches]
        distributions = [distribution for distribution in found if distribution is not None]
        if len(distributions) < len(branches):
            return
        guided = mix(*distributions)
        for branch, known in zip(branches, distributions, strict=True):
            if tokens := tuple(t for t in guided.unresolved if not known.lists(t)):
                yield branch, draft, tokens
        draft = (*draft, choose(guided.distribution, len(draft)))
