"""From a prompt to what is sent: token ids where the server names and takes them, else text.

Which ids a server reads a text as, it may tell on a route of its own, or only beside an answer. A
new signal makes a new prompt at every line, and asking for its ids first would take one more
request a line. So a new prompt may be sent as text once, in the request that scores its drafts; the
answer counts if the server read the text as the ids that would have been sent.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from attrs import define, evolve, field, frozen

from egcfg.errors import BackendError, CapabilityError, ContextOverflowError
from egcfg.interfaces.prompt import (
    ChatMessage,
    ChatPrompt,
    Template,
    TextPrompt,
    literal_stretches,
)
from egcfg_backends_fireworks.bounded import BoundedDict
from egcfg_backends_fireworks.local_tokenizer import LocalTokenizer
from egcfg_backends_fireworks.probe import ServerProfile
from egcfg_backends_fireworks.responses import Piece
from egcfg_backends_fireworks.server_routes import ServerRoutes
from egcfg_backends_fireworks.vocabulary import Vocabulary
from egcfg_backends_fireworks.wire import WirePrompt

__all__ = ["PromptEncoder", "TextForm"]

REMEMBERED = 512
"""Texts whose tokens are kept: a few prompts per problem, and the pieces counted for a budget."""
REMEMBERED_ANSWERS = 64
"""Answers kept that text does not bring back: one or two for each problem at work."""
REMEMBERED_CHATS = 64
"""Chats kept by what comes before their last message's content: one for each prompt builder."""
SPELT_OUT = re.compile(
    r"<[|\uff5c][^\s|\uff5c<>]+[|\uff5c]>|</?s>|<(?:bos|eos|pad|unk|(?:start|end)_of_turn)>|\[/?INST\]"
)
"""How special tokens look, where nobody tells which ones the model has."""


@frozen
class TextForm:
    """A prefix as text, which the server may read as the tokens that are meant, or otherwise.

    Attributes:
        prompt: the text of its prompt.
        whole: the text of all of it.
        answer: the tokens that are meant after the prompt's.
    """

    prompt: str
    whole: str
    answer: tuple[int, ...]


@define
class PromptEncoder:
    """Gives prompts their ids, and prefixes the form in which they are sent.

    Attributes:
        model: the model's name, for messages.
        vocabulary: the backend's.
        profile: what the server can do.
        routes: the server's further routes.
        read_ids: asks the server which ids it reads a text as, by a short completion.
        tokenizer: a local tokenizer; None: the server is asked.
        defers: whether prompts are given their ids no sooner than these are needed. Until then the
            length of a prompt is an estimate.
    """

    model: str
    vocabulary: Vocabulary
    profile: ServerProfile
    routes: ServerRoutes
    read_ids: Callable[[str], Awaitable[Sequence[int]]]
    tokenizer: LocalTokenizer | None = None
    defers: bool = False
    _known: BoundedDict[str, tuple[int, ...]] = field(
        factory=lambda: BoundedDict(REMEMBERED), init=False, repr=False
    )
    _literal: BoundedDict[str, tuple[tuple[int, int], ...]] = field(
        factory=lambda: BoundedDict(REMEMBERED), init=False, repr=False
    )
    _read_otherwise: deque[tuple[int, ...]] = field(
        factory=lambda: deque(maxlen=REMEMBERED_ANSWERS), init=False, repr=False
    )
    _frames: BoundedDict[tuple[ChatMessage, ...], tuple[str, str]] = field(
        factory=lambda: BoundedDict(REMEMBERED_CHATS), init=False, repr=False
    )

    @property
    def reasons(self) -> bool:
        """Whether the chat template leaves a reasoning block open for the answer."""
        return (self.tokenizer or self.profile).reasons

    async def text(self, prompt: TextPrompt | ChatPrompt) -> str:
        """Return a prompt as text; a chat in the local tokenizer's template or the server's.

        Where literal text in it spells out special tokens, that is remembered for its ids.

        Raises:
            CapabilityError: there is no template for a chat, or one that changes what a message
                says in which special tokens are spelt out.
            BackendError: the template refuses the messages.
        """
        parts = prompt.parts if isinstance(prompt, TextPrompt) else await self._chat_parts(prompt)
        text = "".join(parts)
        special = SPELT_OUT if self.tokenizer is None else self.tokenizer.special
        stretches = tuple(literal_stretches(parts, special))
        if stretches != self._literal.get(text, ()):
            self._literal[text] = stretches
            self._known.pop(text, None)  # of the same text, meant otherwise
        return text

    async def _chat_parts(self, prompt: ChatPrompt) -> list[str]:
        """Return a chat as the template words it: messages as literal text, all else not."""
        rendered = await self._template_text(prompt)
        parts: list[str] = []
        position = 0
        for message in prompt.messages:
            content = message.content.strip()  # which templates may do
            found = rendered.find(content, position)
            if found < 0:
                if SPELT_OUT.search(content):
                    raise CapabilityError(
                        f"the chat template for {self.model} changes what a message says, and this "
                        "one spells out special tokens, which must stay text; choose another "
                        "prompt: --prompt long_code"
                    )
                continue
            parts += [Template(rendered[position:found]), content]
            position = found + len(content)
        return [*parts, Template(rendered[position:]), *prompt.after(rendered)]

    async def _template_text(self, prompt: ChatPrompt) -> str:
        if self.tokenizer is not None:
            return self.tokenizer.render_chat(prompt.messages)
        if not self.profile.chat_template:
            raise CapabilityError(
                f"the endpoint has no chat template for {self.model}; choose --prompt "
                "deepseek_instruct or --prompt long_code, or name the model's tokenizer: "
                "--tokenizer HUB_ID_OR_FOLDER"
            )
        return await self._rendered(prompt.messages)

    async def encode(self, text: str) -> tuple[int, ...]:
        """Return the ids of a prompt's text: the model's own, or those of interned pieces."""
        if not text or self.defers or not self.profile.ids_throughout:
            return self.vocabulary.encode_prompt(text)
        try:
            return await self._ids(text)
        except ContextOverflowError:
            # It is for whoever asks about the prompt to learn that it is too long.
            return self.vocabulary.encode_prompt(text)

    async def count(self, text: str) -> int:
        """Return how many tokens a text has: an estimate where only a request would tell."""
        if self.tokenizer is not None or self.profile.tokenizes:
            return len(await self.encode(text))
        return len(self.vocabulary.encode_prompt(text))

    async def wire(self, ids: Sequence[int]) -> WirePrompt:
        """Return what to send for a prefix.

        Raises:
            BackendError: an id is neither of a prompt nor of an answer.
        """
        text, answer = self.vocabulary.split_prompt(ids)
        if not self.profile.ids_throughout:
            return text + self.vocabulary.decode(answer)
        return (await self._ids(text) if text else ()) + answer

    def text_form(self, ids: Sequence[int], draft: Sequence[int]) -> TextForm | None:
        """Return a prefix and its draft as text.

        None where there is no need for it, or where text is known not to bring back the tokens of
        the answer after the prompt.
        """
        text, answer = self.vocabulary.split_prompt(ids)
        if not self.defers or not text or self._literal.get(text):
            return None
        if any(answer[: len(other)] == other for other in self._read_otherwise):
            return None
        meant = (*answer, *draft)
        try:
            return TextForm(text, text + self.vocabulary.decode_bytes(meant).decode(), meant)
        except (UnicodeDecodeError, BackendError):  # it ends amid a character, or has no text
            return None

    def known(self, text: str) -> tuple[int, ...] | None:
        """Return the ids of a prompt's text, if they are known by now."""
        return self._known.get(text)

    def learn(self, text: str, ids: Sequence[int]) -> tuple[int, ...]:
        """Note, and return, which ids the server reads a prompt's text as."""
        self._known[text] = tuple(ids)
        return self._known[text]

    def note_read_otherwise(self, ids: Sequence[int], read: Sequence[int]) -> None:
        """Note if the answer at the end of a prefix is not what the server read its text as."""
        text, answer = self.vocabulary.split_prompt(ids)
        after = tuple(read[len(self._known.get(text, ())) :])
        for length in range(1, len(answer) + 1):
            if answer[:length] != after[:length]:
                self._read_otherwise.append(answer[:length])
                return

    async def _ids(self, text: str) -> tuple[int, ...]:
        """Return the model's own ids of a text."""
        if (known := self._known.get(text)) is not None:
            return known
        literal = self._literal.get(text, ())
        if self.tokenizer is not None:
            return self.learn(text, self.tokenizer.encode(text, literal))
        if not self.profile.tokenizes:
            return self.learn(text, await self.read_ids(text))
        pieces: list[Piece] = []
        start = 0
        for begin, end in (*literal, (len(text), len(text))):
            pieces += await self._pieces(text, start, begin, literal=False)
            pieces += await self._pieces(text, begin, end, literal=True)
            start = end
        for piece in pieces:
            self.vocabulary.intern(piece)
        return self.learn(text, [piece.id for piece in pieces if piece.id is not None])

    async def _pieces(self, text: str, start: int, end: int, *, literal: bool) -> list[Piece]:
        if start == end:
            return []
        pieces = await self.routes.tokenize_pieces(
            text[start:end], first=start == 0, literal=literal
        )
        if not pieces:
            raise BackendError("the endpoint stopped tokenizing text; check the server")
        return pieces

    async def _rendered(self, messages: tuple[ChatMessage, ...]) -> str:
        """Return a chat in the server's template.

        What the template puts around the last message is remembered, so that a chat which differs
        in that message alone, as by a new signal, takes no request. Templates may trim a message:
        one that begins or ends in white space is left to the server.
        """
        *before, last = messages
        chat = (*before, evolve(last, content=""))
        trimmed = last.content == last.content.strip()
        if trimmed and (frame := self._frames.get(chat)) is not None:
            return last.content.join(frame)
        text = await self.routes.render_chat(messages)
        if text is None:
            raise BackendError(
                f"the endpoint's chat template for {self.model} did not take the messages; "
                "choose another prompt: --prompt long_code"
            )
        if trimmed and text.count(last.content) == 1:
            start, _, end = text.partition(last.content)
            self._frames[chat] = (start, end)
        return text
