"""The options that every endpoint backend has."""

from __future__ import annotations

from attrs import field, frozen, validators

__all__ = ["EndpointOptions"]


@frozen(kw_only=True)
class EndpointOptions:
    """How an endpoint is asked. API keys are no options: they come from the environment only.

    Attributes:
        model: the model's name as the endpoint knows it; always required.
        base_url: where the endpoint is; None: the service's own address.
        top_k: alternatives asked for per token; a server may give fewer.
        timeout_s: deadline of one question, all attempts and waits together.
        attempt_timeout_s: after this long an attempt is cut off and made again.
        max_attempts: attempts per question.
        backoff_s: wait before the second attempt; doubled each time, with jitter.
        max_backoff_s: the longest such wait.
        max_retry_after_s: the longest wait that a server may ask for.
        max_concurrency: requests in flight at once.
        context_length: tokens of prompt and answer together, where the server does not say.
        tokenizer: folder or hub id of the model's tokenizer, for its chat template and exact
            token counts; needs egcfg[hf]. None: the server is asked.
    """

    model: str | None = None
    base_url: str | None = None
    top_k: int = field(default=20, validator=validators.ge(1))
    timeout_s: float = field(default=300.0, validator=validators.gt(0))
    attempt_timeout_s: float = field(default=60.0, validator=validators.gt(0))
    max_attempts: int = field(default=7, validator=validators.ge(1))
    backoff_s: float = field(default=2.0, validator=validators.ge(0))
    max_backoff_s: float = field(default=30.0, validator=validators.ge(0))
    max_retry_after_s: float = field(default=60.0, validator=validators.ge(0))
    max_concurrency: int = field(default=8, validator=validators.ge(1))
    context_length: int | None = None
    tokenizer: str | None = None
