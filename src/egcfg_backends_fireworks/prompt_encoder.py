"""From a prompt to what is sent: a chat, token ids where the server names and takes them, or text.

Which ids a text is read as, a local tokenizer tells or the server, once for each prompt. A server
that takes a text with ids after it need not be asked: its prompts go out as text, and the tokens
that were generated after them as ids.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence

from attrs import define, evolve, field

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
from egcfg_backends_fireworks.profile import ServerProfile
from egcfg_backends_fireworks.responses import Piece
from egcfg_backends_fireworks.server_routes import ServerRoutes
from egcfg_backends_fireworks.vocabulary import Vocabulary
from egcfg_backends_fireworks.wire import Chat, WirePrompt

__all__ = ["PromptEncoder"]

REMEMBERED = 512
"""Texts whose tokens are kept: a few prompts per problem."""
REMEMBERED_CHATS = 64
"""Chats kept by what comes before their last message's content: one for each prompt builder."""
SPELT_OUT = re.compile(
    r"<[|\uff5c][^\s|\uff5c<>]+[|\uff5c]>|</?s>|<(?:bos|eos|pad|unk|(?:start|end)_of_turn)>|\[/?INST\]"
)
"""How special tokens look, where nobody tells which ones the model has."""


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
    """

    model: str
    vocabulary: Vocabulary
    profile: ServerProfile
    routes: ServerRoutes
    read_ids: Callable[[str], Awaitable[Sequence[int]]]
    tokenizer: LocalTokenizer | None = None
    _known: BoundedDict[str, tuple[int, ...]] = field(
        factory=lambda: BoundedDict(REMEMBERED), init=False, repr=False
    )
    _literal: BoundedDict[str, tuple[tuple[int, int], ...]] = field(
        factory=lambda: BoundedDict(REMEMBERED), init=False, repr=False
    )
    _frames: BoundedDict[tuple[ChatMessage, ...], tuple[str, str]] = field(
        factory=lambda: BoundedDict(REMEMBERED_CHATS), init=False, repr=False
    )

    @property
    def reasons(self) -> bool:
        """Whether the chat template leaves a reasoning block open for the answer."""
        return (self.tokenizer or self.profile).reasons

    async def encode(self, prompt: TextPrompt | ChatPrompt) -> tuple[int, ...]:
        """Return the ids of a prompt: the model's own, or those of interned pieces.

        Raises:
            CapabilityError: the route takes no text; or there is no template for a chat, or one
                that changes what a message says in which special tokens are spelt out.
            BackendError: the template refuses the messages, or the server did not answer.
        """
        if self.profile.chats:
            if isinstance(prompt, TextPrompt):
                raise CapabilityError(
                    f"{self.model} is asked on the chat route, which takes no text; choose "
                    "--prompt chat or --route completions"
                )
            return self.vocabulary.encode_chat(prompt)
        text = await self.text(prompt)
        mixes = self.profile.mixed_prompts and self.tokenizer is None
        if not text or not self.profile.ids_throughout or (mixes and not self._literal.get(text)):
            return self.vocabulary.encode_prompt(text)
        try:
            return await self._ids(text)
        except ContextOverflowError:
            # It is for whoever asks about the prompt to learn that it is too long.
            return self.vocabulary.encode_prompt(text)

    def count(self, text: str) -> int:
        """Return how many tokens a text has: an estimate where only a request would tell."""
        if self.tokenizer is not None:
            return len(self.tokenizer.encode(text))
        return len(self.vocabulary.encode_prompt(text))

    async def wire(self, ids: Sequence[int]) -> WirePrompt:
        """Return what to send for a prefix.

        Raises:
            BackendError: an id is neither of a prompt nor of an answer.
        """
        prompt, answer = self.vocabulary.split_prompt(ids)
        if isinstance(prompt, ChatPrompt):
            prefix = prompt.assistant_prefix + self.vocabulary.decode(answer)
            return Chat(prompt.messages, prefix)
        if not self.profile.ids_throughout:
            return prompt + self.vocabulary.decode(answer)
        if not prompt:
            return answer
        if self.profile.mixed_prompts:
            return (prompt, *answer) if answer else prompt
        return (*await self._ids(prompt), *answer)

    async def text(self, prompt: TextPrompt | ChatPrompt) -> str:
        """Return a prompt as text; a chat in the local tokenizer's template or the server's.

        Where literal text in it spells out special tokens, that is remembered for its ids.
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
        if not self.profile.template:
            raise CapabilityError(
                f"the endpoint has no chat template for {self.model}; choose --prompt "
                "deepseek_instruct or --prompt long_code, or name the model's tokenizer: "
                "--tokenizer HUB_ID_OR_FOLDER, or try --route chat"
            )
        return await self._rendered(prompt.messages)

    async def _ids(self, text: str) -> tuple[int, ...]:
        """Return the model's own ids of a text."""
        if (known := self._known.get(text)) is not None:
            return known
        literal = self._literal.get(text, ())
        if self.tokenizer is not None:
            ids: Sequence[int] = self.tokenizer.encode(text, literal)
        elif not self.profile.tokenizes:
            ids = await self.read_ids(text)
        else:
            pieces: list[Piece] = []
            start = 0
            for begin, end in (*literal, (len(text), len(text))):
                pieces += await self._pieces(text, start, begin, literal=False)
                pieces += await self._pieces(text, begin, end, literal=True)
                start = end
            for piece in pieces:
                self.vocabulary.intern(piece)
            ids = [piece.id for piece in pieces if piece.id is not None]
        self._known[text] = tuple(ids)
        return self._known[text]

    async def _pieces(self, text: str, start: int, end: int, *, literal: bool) -> list[Piece]:
        if start == end:
            return []
        pieces = await self.routes.tokenize_pieces(
            text[start:end], first=start == 0, literal=literal
        )
        if not pieces:
            raise BackendError("the endpoint refuses to tokenize text; check the server")
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
        assert text is not None  # the profile says that there is a template
        if trimmed and text.count(last.content) == 1:
            start, _, end = text.partition(last.content)
            self._frames[chat] = (start, end)
        return text
