"""The signal that guides: the branches that have read it, and how they are mixed."""

from __future__ import annotations

import math

from array_api_compat import array_namespace

from egcfg.decoding.branch import Branch
from egcfg.decoding.policies import guided_among_plausible
from egcfg.decoding.settings import Policies
from egcfg.interfaces.backend import Logprobs
from egcfg.interfaces.guidance import Guided
from egcfg.interfaces.prompt import Prompt
from egcfg.interfaces.solution import Signal, Stage
from egcfg.plugins.component import OpenComponent
from egcfg.usage.model import Model

__all__ = ["ActiveSignal"]


class ActiveSignal:
    """What guides a response until the next signal is made.

    Args:
        model: encodes prompts.
        rule: the guidance rule.
        prompt: has the slot for the signal.
        gamma: strength of guidance.
        policies: whether its sign follows what the signal shows.

    Attributes:
        signal: what guides; None before the first.
        created_at_step: the step that it was made for.
        is_read: whether its branches were scored since it changed.
    """

    def __init__(
        self, model: Model, rule: OpenComponent, prompt: Prompt, gamma: float, policies: Policies
    ) -> None:
        self.signal: Signal | None = None
        self.created_at_step = 0
        self.is_read = True
        self._model = model
        self._rule = rule
        self._prompt = prompt
        self._strength = gamma
        self._signed = policies.signed
        self._shown = Branch()
        self._against = Branch()

    @property
    def branches(self) -> tuple[Branch, ...]:
        """The prompt with the signal, then with what it leads away from; as far as there are such.

        None where nothing is shown.
        """
        return tuple(branch for branch in (self._shown, self._against) if branch.ids)

    async def show(self, signal: Signal, response: tuple[int, ...]) -> bool:
        """Fill the slot with a signal, before the tokens of a response.

        Returns:
            Whether a branch became another one.

        Raises:
            BackendError: the model did not answer.
        """
        self.signal = signal
        against = signal.against.text if signal.against is not None else ""
        changed = False
        for branch, text in ((self._shown, signal.text), (self._against, against)):
            ids: tuple[int, ...] = ()
            if text:
                prompt = self._prompt.conditional(text)
                ids = await self._model.encode(prompt, Stage.SIGNAL) + response
            if branch.ids != ids:
                branch.reset(ids)
                changed = True
        if changed:
            self.is_read = False
            for branch in self.branches:
                branch.forget_exact()
        return changed

    def clear(self) -> None:
        """Guide no more, until another signal is shown."""
        self.signal = None
        self._shown.reset(())
        self._against.reset(())

    def advance(self, token: int) -> None:
        """Append a token of the response."""
        for branch in self.branches:
            branch.advance(token)

    @property
    def gamma(self) -> float:
        """The strength of guidance; below 0 leads away from what the signal shows."""
        if not self._signed:
            return self._strength
        return -abs(self._strength) if self._leads_away else abs(self._strength)

    @property
    def _leads_away(self) -> bool:
        return self.signal is not None and self.signal.away

    def mix(self, unconditional: Logprobs, *conditional: Logprobs) -> Guided:
        """Return the guided distribution.

        Args:
            unconditional: the distribution without a signal.
            conditional: those of `branches`.

        Raises:
            PluginError: the rule answers wrongly.
        """
        task_id = self._model.task_id
        shown, *against = conditional
        if self._leads_away or against:
            return guided_among_plausible(unconditional, shown, self.gamma, *against)
        guided = self._rule.ask("mix", unconditional, shown, self.gamma, task=task_id)
        if not isinstance(guided, Guided):
            raise self._rule.broken(f"mix gave {type(guided).__name__}, not Guided", task_id)
        values = guided.distribution.values
        if math.isnan(top := float(array_namespace(values).max(values))):
            raise self._rule.broken(f"mix gave {top} as a log-probability", task_id)
        return guided

    @property
    def amplification(self) -> float:
        """By how much mixing amplifies an error of each log-probability, at most."""
        if len(self.branches) > 1:
            return 1.0 + 2.0 * abs(self.gamma)
        return abs(1.0 - self.gamma) + abs(self.gamma)
