"""What every guidance rule must keep, on random distributions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Final
from unittest import SkipTest

import numpy as np
from numpy.typing import NDArray

from egcfg.interfaces.backend import Logprobs
from egcfg.interfaces.guidance import Guided
from egcfg.plugins.hookspecs import Kind
from egcfg.testing.suite import Suite, require

__all__ = ["GuidanceSuite"]

VOCABULARY: Final = 10
CASES: Final = 300
Pair = tuple[Logprobs, Logprobs]


class GuidanceSuite(Suite):
    """Checks of a guidance rule."""

    kind = Kind.GUIDANCE

    takes_cut: ClassVar[bool] = True
    """Whether it takes distributions that are cut to their likeliest tokens."""

    def mix(self, pair: Pair, gamma: float) -> Guided:
        """Mix a pair of distributions."""
        guided = self.opened.ask("mix", *pair, gamma)
        require(
            isinstance(guided, Guided),
            f"mix gave {type(guided).__name__}: return an egcfg.Guided",
        )
        assert isinstance(guided, Guided)
        return guided

    def test_gamma_0_is_the_unconditional_distribution(self) -> None:
        """At gamma 0 the signal has no say."""
        for pair, _, _ in _cases():
            guided = self.mix(pair, 0.0)
            same = np.allclose(_array(guided.distribution), _array(pair[0]), atol=1e-9)
            require(
                same and guided.certain,
                "at gamma 0 mix gives something else than `unconditional`: return it as it is",
            )

    def test_a_guided_distribution_adds_up_to_1(self) -> None:
        """Probabilities are normalised after mixing, below gamma 0 and above 1 as well."""
        for pair, gamma, _ in _cases(low=-1, high=3):
            guided = self.mix(pair, gamma)
            mass = float(np.exp(_array(guided.distribution)).sum())
            require(
                abs(mass - 1) < 1e-6 and guided.certain,
                f"at gamma {gamma:.2f} the probabilities add up to {mass:.6g}: subtract the "
                "logarithm of their sum",
            )

    def test_up_to_gamma_1_a_token_that_both_branches_prefer_stays(self) -> None:
        """Guidance changes nothing where there is nothing to decide."""
        for pair, gamma, _ in _cases():
            if pair[0].argmax() == pair[1].argmax():
                guided = self.mix(pair, gamma).distribution
                require(
                    _array(guided).max() - guided.logprob(pair[0].argmax()) < 1e-9,
                    f"at gamma {gamma:.2f} the token that both branches prefer loses: see to the "
                    "sign of the difference that is added",
                )

    def test_no_token_is_chosen_that_neither_branch_holds_possible(self) -> None:
        """A log-probability of minus infinity stays so, and makes no NaN."""
        for (one, other), gamma, random in _cases(high=3):
            out = random.choice(VOCABULARY, int(random.integers(VOCABULARY)), replace=False)
            values = [_array(each).copy() for each in (one, other)]
            for each in values:
                each[out] = -np.inf
            guided = self.mix((_normalised(values[0]), _normalised(values[1])), gamma).distribution
            chosen = guided.argmax()
            require(
                chosen not in out and not np.isnan(_array(guided)[chosen]),
                "a token is chosen that both branches rule out: keep -inf apart, since "
                "-inf - -inf is NaN",
            )

    def test_the_same_question_has_the_same_answer(self) -> None:
        """A rule holds no state: it is also called along tokens that are never chosen."""
        cases = [(pair, gamma) for pair, gamma, _ in _cases(high=3)][:20]
        first = [_array(self.mix(*case).distribution) for case in cases]
        second = [_array(self.mix(*case).distribution) for case in reversed(cases)]
        require(
            all(map(np.array_equal, first, reversed(second))),
            "the answer changes with what was asked before: keep no state in the rule",
        )

    def test_whole_lists_decide_as_dense_distributions_do(self) -> None:
        """A list of every token is as good as a dense distribution."""
        for pair, gamma, _ in self._cut_cases():
            dense = self.mix(pair, gamma).distribution
            lists = self.mix((_cut(pair[0], VOCABULARY), _cut(pair[1], VOCABULARY)), gamma)
            # Rounding may put the probability of a whole list beside 1, and so leave a doubt.
            if lists.certain:
                chosen = lists.distribution.argmax()
                require(
                    _array(dense).max() - dense.logprob(chosen) < 1e-6,
                    "lists of all tokens lead to another token than dense distributions: match "
                    "the values by Logprobs.ids",
                )

    def test_a_choice_called_certain_is_the_dense_choice(self) -> None:
        """``certain`` is false where a value that a list lacks could change the choice."""
        for pair, gamma, random in self._cut_cases():
            dense = self.mix(pair, gamma).distribution
            lists = _cut(pair[0], _length(random)), _cut(pair[1], _length(random))
            guided = self.mix(lists, gamma)
            listed = np.union1d(_ids(lists[0]), _ids(lists[1]))
            if not 0 <= gamma <= 1 and dense.argmax() not in listed:
                continue  # outside of [0, 1], tokens in neither list are left out of account
            if guided.certain:
                chosen = guided.distribution.argmax()
                require(
                    _array(dense).max() - dense.logprob(chosen) < 1e-5,
                    f"at gamma {gamma:.2f} a cut list leads to another token, which is called "
                    "certain: say certain=False where Logprobs.tail_bound could change the choice",
                )

    def test_exact_values_of_the_unresolved_tokens_come_to_an_end(self) -> None:
        """Asking the model for ``unresolved`` tokens settles the choice."""
        for pair, gamma, random in self._cut_cases():
            lists = [_cut(each, _length(random)) for each in pair]
            for _ in range(2 * VOCABULARY + 1):
                guided = self.mix((lists[0], lists[1]), gamma)
                if not guided.unresolved:
                    break
                before = [known.values.size for known in lists]
                for number, exact in enumerate(pair):
                    missing = [t for t in guided.unresolved if not lists[number].lists(t)]
                    values = _array(exact)[missing].tolist()
                    lists[number] = lists[number].with_values(missing, values)
                require(
                    [known.values.size for known in lists] != before,
                    "unresolved names tokens that both lists hold: name those that one lacks",
                )
            require(not guided.unresolved, "tokens stay unresolved when every value is known")

    def test_tensors_are_mixed_as_arrays_are(self) -> None:
        """Dense values may be arrays of any library; they are computed with in their own."""
        try:
            import torch
        except ModuleNotFoundError:
            raise SkipTest("torch is not installed") from None
        for pair, gamma, _ in list(_cases(low=-1, high=3))[:50]:
            one, other = (Logprobs(torch.from_numpy(_array(each))) for each in pair)
            mixed = self.mix((one, other), gamma).distribution.values
            require(
                isinstance(mixed, torch.Tensor),
                f"tensors are mixed into {type(mixed).__name__}: take the functions of "
                "array_api_compat.array_namespace(values)",
            )
            expected = _array(self.mix(pair, gamma).distribution)
            require(
                np.allclose(mixed.numpy(), expected, rtol=0, atol=1e-9),
                "tensors are mixed into other numbers than arrays",
            )

    def _cut_cases(self) -> Iterator[tuple[Pair, float, np.random.Generator]]:
        if not self.takes_cut:
            raise SkipTest("its takes_cut is False")
        return _cases(low=-1, high=3)


def _cases(
    low: float = 0.0, high: float = 1.0
) -> Iterator[tuple[Pair, float, np.random.Generator]]:
    """Yield pairs of distributions, flat ones and steep ones, a gamma, and more randomness."""
    for seed in range(CASES):
        random = np.random.default_rng(seed)
        scales = random.choice([0.01, 1.0, 12.0], 2)
        one, other = (_normalised(random.uniform(-s, s, VOCABULARY)) for s in scales)
        if seed % 10 == 0:
            other = one  # the signal changes nothing
        yield (one, other), float(random.uniform(low, high)), random


def _normalised(logits: NDArray[np.float64]) -> Logprobs:
    return Logprobs(logits - np.log(np.exp(logits - logits.max()).sum()) - logits.max())


def _cut(dense: Logprobs, k: int) -> Logprobs:
    top = np.argsort(-_array(dense), kind="stable")[:k]
    return Logprobs(_array(dense)[top], top)


def _length(random: np.random.Generator) -> int:
    return int(random.integers(1, VOCABULARY + 1))


def _ids(cut: Logprobs) -> NDArray[np.integer]:
    assert cut.ids is not None
    return cut.ids


def _array(distribution: Logprobs) -> NDArray[np.float64]:
    values: NDArray[np.float64] = np.asarray(distribution.values)
    return values
