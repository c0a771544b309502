"""What a server can do, as a probe found it: as data, in words, and kept for a day.

A probe asks one or two dozen questions, which `egcfg solve` should not ask each time. What it found
is kept in the user's cache, by address, model and options, as long as the server lists the same
models. ``egcfg doctor --fresh`` probes anew.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
from attrs import frozen

from egcfg.plugins.cache import cache_folder
from egcfg_backends_fireworks.options import Route
from egcfg_backends_fireworks.responses import Spelling
from egcfg_backends_fireworks.server_routes import TOKENIZE
from egcfg_backends_fireworks.wire import RequestForm

__all__ = ["KeptProfiles", "ServerProfile"]

LIFETIME_S = 24 * 3600.0
FORMAT = 2
"""Of the files; raised where a field changes its meaning."""


@frozen(kw_only=True)
class ServerProfile:
    """The outcome of a probe.

    Attributes:
        form: the form of requests that it takes, and how many alternatives it gives per token.
        served: the model whose answers it says these are; None: it does not say.
        spelling: how it spells tokens.
        named: whether a row is named after its own token, rather than after the likeliest one.
        token_ids: whether it names tokens by the model's ids, alternatives included.
        token_id_strings: whether it names them as ``token_id:N``, and tells their texts only on a
            route of its own (``/detokenize``).
        prompt_ids: whether it takes token ids as a prompt, to the same effect as their text.
        mixed_prompts: whether it takes a text with ids after it, to the same effect.
        routes: its further routes (`egcfg_backends_fireworks.server_routes`).
        multiple: whether one request brings several continuations (``n``).
        raw: whether log-probabilities are the model's own, whatever temperature and top-p.
        batches: whether one request may hold several prompts, each answered as if it were alone.
        logit_bias_id: a token that ``logit_bias`` can force while the log-probabilities stay as
            they are; None: the server cannot do that.
        token_logprobs: whether it tells the values of tokens that are named
            (``logprob_token_ids``).
        echo_last: whether it can echo just the end of a prompt, rightly.
        batched_echo: whether it echoes rightly for several prompts in one request.
        template: whether a chat can be sent: rendered, or on the chat route.
        context_length: tokens of prompt and answer together; None: it does not say.
        end_id: the model's end-of-sequence token; None: it does not say.
        reasons: whether its template leaves a reasoning block open for the answer.
        lacks: why something is not used, in words.
    """

    form: RequestForm
    served: str | None = None
    spelling: Spelling = Spelling.TEXT
    named: bool = True
    token_ids: bool = False
    token_id_strings: bool = False
    prompt_ids: bool = False
    mixed_prompts: bool = False
    routes: tuple[str, ...] = ()
    multiple: bool = False
    raw: bool = True
    batches: bool = False
    logit_bias_id: int | None = None
    token_logprobs: bool = False
    echo_last: bool = False
    batched_echo: bool = False
    template: bool = False
    context_length: int | None = None
    end_id: int | None = None
    reasons: bool = False
    lacks: tuple[str, ...] = ()

    @property
    def chats(self) -> bool:
        """Whether it is asked on the chat route."""
        return self.form.route is Route.CHAT

    @property
    def logprobs(self) -> bool:
        """Whether it tells log-probabilities."""
        return self.form.top_k > 0

    @property
    def ids_throughout(self) -> bool:
        """Whether generated tokens go back as ids: the server names them, and takes them."""
        return self.token_ids and self.prompt_ids

    @property
    def tokenizes(self) -> bool:
        """Whether it has a route that turns text into token ids."""
        return TOKENIZE in self.routes

    @property
    def scores_drafts(self) -> bool:
        """Whether drafts are sent: as the end of a prompt, which the server echoes.

        Only where prompts are token ids: text that is tokenized again might not have the draft's
        tokens. An echo of whole prompts is of no use: servers evaluate them anew for it.
        """
        return self.ids_throughout and self.echo_last

    @property
    def exact_logprobs(self) -> bool:
        """Whether it tells the log-probability of any token that is asked about."""
        return self.token_logprobs or self.scores_drafts or self.logit_bias_id is not None

    def requests_per_line(self, *, local_tokenizer: bool) -> str:
        """Return what a guided line of code takes, in words."""
        reads = self.ids_throughout and not (local_tokenizer or self.mixed_prompts)
        if self.scores_drafts and self.multiple and self.batched_echo:
            return f"about {3 if reads else 2} requests a line"
        candidates = "1 request" if self.multiple else "a request per candidate"
        tokens = 1 if self.batches and self.ids_throughout else 2
        return (
            f"{candidates} and about {3 if reads else 2} more a line, {tokens} per token that "
            "guidance changes"
        )

    def in_words(self, *, local_tokenizer: bool) -> Iterator[tuple[str, str]]:
        """Yield what was found out, each by its name and in words."""
        yield "route", f"{self.form.route} (--route names another)"
        if self.served:
            yield "answers as", self.served
        for lack in self.lacks:
            yield "lacks", lack
        if not self.logprobs:
            yield "log-probabilities", "no, so only methods that need text alone"
            return
        yield "log-probabilities", f"yes, {self.form.top_k} alternatives per token"
        if not self.raw:
            yield "their values", "changed by temperature and top-p: asked for at temperature 1"
        spelt = "" if self.spelling is Spelling.TEXT else f", spelt as in {self.spelling}"
        yield "tokens", f"named by {'id' if self.token_ids else 'text'}{spelt}"
        yield "prompts", self._prompts_in_words(local_tokenizer=local_tokenizer)
        if self.form.prefill:
            yield "an answer's beginning", f"is continued ({self.form.prefill})"
        yield "several continuations", "in one request" if self.multiple else "a request each"
        yield "several prompts", "in one request" if self.batches else "a request each"
        token_by_token = "no, so a line is scored token by token where guidance changes it"
        drafts = "yes, of the draft: a line is scored in one request"
        yield "echo", drafts if self.scores_drafts else token_by_token
        yield "exact values", self._exact_in_words()
        yield "chat template", "yes" if self.template else "no: --tokenizer NAME brings one"
        yield "context", f"{self.context_length} tokens" if self.context_length else "not told"
        yield "requests per line", self.requests_per_line(local_tokenizer=local_tokenizer)

    def summary(self, *, local_tokenizer: bool) -> str:
        """Return in one line what is lacking and what that costs."""
        if not self.logprobs:
            text_only = "without log-probabilities only methods run that need text alone"
            return f"{self.form.route} route: {'; '.join((*self.lacks, text_only))}"
        lacking = {
            "no echo of drafts": not self.scores_drafts,
            "one continuation per request": not self.multiple,
            "no token ids": not self.ids_throughout,
        }
        lacks = "; ".join((*self.lacks, *(lack for lack, lacks in lacking.items() if lacks)))
        lines = self.requests_per_line(local_tokenizer=local_tokenizer)
        return f"{self.form.route} route: {lacks or 'lacks nothing'}; takes {lines}"

    def _prompts_in_words(self, *, local_tokenizer: bool) -> str:
        if self.chats:
            return "chats, in the server's own template"
        if not self.ids_throughout:
            return "text"
        if self.mixed_prompts:
            return "text with token ids after it"
        if local_tokenizer:
            return "token ids, from the local tokenizer"
        return "token ids, from the server, a request each (--tokenizer NAME saves it)"

    def _exact_in_words(self) -> str:
        if self.token_logprobs:
            return "of all tokens asked for, in one request (logprob_token_ids)"
        if self.scores_drafts:
            return "by an echo"
        return "a request each (logit_bias)" if self.exact_logprobs else "no"


@frozen
class _Kept:
    """What is in a file: a profile, when it was found, and of a server with which models."""

    time: float
    fingerprint: str
    profile: ServerProfile


@frozen
class KeptProfiles:
    """Profiles in the user's cache, one file each.

    Attributes:
        name: what tells a server and how it is asked from others.
    """

    name: tuple[object, ...]

    @property
    def folder(self) -> Path:
        """Where all of them are kept."""
        return cache_folder() / "endpoints"

    @property
    def path(self) -> Path:
        """Where this one is kept."""
        key = hashlib.sha256(repr((FORMAT, *self.name)).encode()).hexdigest()[:24]
        return self.folder / f"{key}.json"

    def load(self, fingerprint: str) -> ServerProfile | None:
        """Return the profile if there is one that is not too old, of the same server."""
        try:
            kept = msgspec.json.decode(self.path.read_bytes(), type=_Kept)
        except (OSError, msgspec.MsgspecError):
            return None  # whatever is wrong with it, it can be found out again
        fresh = 0 <= time.time() - kept.time < LIFETIME_S
        return kept.profile if fresh and kept.fingerprint == fingerprint else None

    def save(self, profile: ServerProfile, fingerprint: str) -> None:
        """Keep a profile; a cache that cannot be written is none."""
        kept = msgspec.json.encode(_Kept(time.time(), fingerprint, profile))
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fresh = self.path.with_suffix(f".{os.getpid()}")
            fresh.write_bytes(kept)
            fresh.replace(self.path)
