"""What every backend without log-probabilities must keep."""

from __future__ import annotations

from typing import Any, ClassVar
from unittest import SkipTest

from egcfg.interfaces.backend import Completion, SamplingParams
from egcfg.interfaces.prompt import ChatMessage, ChatPrompt, TextPrompt
from egcfg.interfaces.usage import Usage
from egcfg.testing.suite import BackendSuite, require

__all__ = ["TextBackendSuite"]


class TextBackendSuite(BackendSuite):
    """Checks of an open backend that answers in text."""

    repeats: ClassVar[bool] = True
    """Whether temperature 0 gives the same answer again; a server may not keep that promise."""

    def complete(self, prompt: TextPrompt | ChatPrompt | None = None, **params: Any) -> Completion:
        """Return the answer to a prompt, of a kind that the backend takes."""
        if prompt is None:
            text = "Write a Python function that doubles a number."
            chat = ChatPrompt((ChatMessage("user", text),))
            prompt = chat if self.capabilities.chat else TextPrompt((text,))
        asked = SamplingParams(**{"temperature": 0.0, "max_tokens": 64, **params})
        return self.run(self.model.complete(prompt, asked))

    def test_it_says_what_it_is(self) -> None:
        """Name and capabilities are there once it is open."""
        require(self.opened.read("model_name", str), "model_name is empty: name the model")
        capabilities = self.capabilities
        require(
            not capabilities.logprobs,
            "capabilities.logprobs is True: say logprobs=False, or derive from LogprobBackend",
        )
        require(
            capabilities.text or capabilities.chat,
            "it takes neither text nor chats: say text=True or chat=True",
        )

    def test_it_answers_every_kind_of_prompt_that_it_names(self) -> None:
        """Text where `Capabilities.text` is true, chats where `Capabilities.chat` is."""
        if self.capabilities.text:
            self.complete(TextPrompt(("def double(x):\n",)))
        if self.capabilities.chat:
            self.complete(ChatPrompt((ChatMessage("user", "Say hello."),), "Hello"))

    def test_an_answer_has_text(self) -> None:
        """The answer is text, without the prompt's prefix."""
        found = self.complete()
        require(
            isinstance(found.text, str) and isinstance(found.finished, bool),
            f"complete gave {found!r}: return Completion(text=..., finished=...)",
        )
        require(found.text, "the answer is empty")

    def test_without_temperature_the_answer_is_the_same(self) -> None:
        """Temperature 0 is greedy."""
        if not self.repeats:
            raise SkipTest("its repeats is False")
        require(
            self.complete().text == self.complete().text,
            "temperature 0 gives two answers: hand SamplingParams.temperature on, or set "
            "repeats = False",
        )

    def test_each_answer_says_what_it_cost(self) -> None:
        """Tokens are counted, and seconds are left to egcfg."""
        self.model.usage.clear()
        self.complete()
        spent = sum(self.model.usage.values(), Usage())
        require(
            spent.output_tokens > 0 and spent.forward_passes + spent.requests > 0,
            "an answer costs no output_tokens, or neither passes nor requests: return "
            "Answer(completion, Usage(...))",
        )
