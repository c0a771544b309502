"""The options that every endpoint backend has."""

from __future__ import annotations

import enum

from attrs import field, frozen, validators

__all__ = ["EndpointOptions", "Route"]


class Route(enum.StrEnum):
    """Which route of a server is asked.

    * ``AUTO``: whichever a probe finds to tell more.
    * ``COMPLETIONS``: ``/completions``, with prompts of text or token ids.
    * ``CHAT``: ``/chat/completions``, with messages, the last of which the server continues.
    """

    AUTO = "auto"
    COMPLETIONS = "completions"
    CHAT = "chat"


TEXT_IS_THE_SAME = {"changes_text": False}
"""Marks an option that may differ between two parts of one run."""


@frozen(kw_only=True)
class EndpointOptions:
    """How an endpoint is asked. API keys are no options: they come from the environment only.

    Attributes:
        model: the model's name as the endpoint knows it; always required. Fireworks wants the full
            one, such as ``accounts/fireworks/models/deepseek-v3-0324``.
        base_url: where the endpoint is, the API's version included, as in
            ``http://127.0.0.1:8080/v1``; Fireworks' own may leave it out.
        route: which of its routes is asked.
        top_k: alternatives asked for per token; a server may give fewer. None: as many as it
            gives, up to 200.
        timeout_s: deadline of one request, all attempts and waits together.
        attempt_timeout_s: after this long an attempt is cut off and made again.
        max_attempts: attempts per request.
        backoff_s: wait before the second attempt; doubled each time, with jitter.
        max_backoff_s: the longest such wait.
        max_retry_after_s: the longest wait that a server may ask for.
        max_concurrency: requests of this process in flight at once; fewer while the service is
            overloaded.
        context_length: tokens of prompt and answer together, where the server does not say.
        speculated_tokens: tokens that a server is let generate at once where there is no draft, so
            that they take one request; 1: none but the one that is needed.
        tokenizer: folder or hub id of the model's tokenizer, for its chat template, exact token
            counts, and prompts in which special tokens that a problem or a program spells out stay
            text; needs egcfg[fireworks] or egcfg[openai]. None: the server is asked, and of
            servers only llama.cpp's can do the last.
        fresh: whether to probe the server even if it was probed not long ago.
    """

    model: str | None = None
    base_url: str | None = None
    route: Route = field(default=Route.AUTO, converter=Route)
    top_k: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    timeout_s: float = field(default=300.0, validator=validators.gt(0), metadata=TEXT_IS_THE_SAME)
    attempt_timeout_s: float = field(
        default=60.0, validator=validators.gt(0), metadata=TEXT_IS_THE_SAME
    )
    max_attempts: int = field(default=7, validator=validators.ge(1), metadata=TEXT_IS_THE_SAME)
    backoff_s: float = field(default=2.0, validator=validators.ge(0), metadata=TEXT_IS_THE_SAME)
    max_backoff_s: float = field(
        default=30.0, validator=validators.ge(0), metadata=TEXT_IS_THE_SAME
    )
    max_retry_after_s: float = field(
        default=60.0, validator=validators.ge(0), metadata=TEXT_IS_THE_SAME
    )
    max_concurrency: int = field(default=16, validator=validators.ge(1), metadata=TEXT_IS_THE_SAME)
    context_length: int | None = None
    speculated_tokens: int = field(default=8, validator=validators.ge(1))
    tokenizer: str | None = None
    fresh: bool = field(default=False, metadata=TEXT_IS_THE_SAME)

    @property
    def model_name(self) -> str | None:
        """The model's name in results."""
        return self.model
