"""What a method and a prompt need of a model, seen before it is asked."""

from __future__ import annotations

from egcfg.errors import CapabilityError
from egcfg.interfaces.backend import Backend, LogprobBackend
from egcfg.interfaces.method import Need
from egcfg.interfaces.prompt import Prompt
from egcfg.plugins.component import OpenComponent

__all__ = ["check_before_opening", "check_opened", "check_prompt"]


def check_before_opening(backend: OpenComponent, method: OpenComponent, guided: bool) -> None:
    """See, before it is opened, that a backend tells what a method needs.

    Args:
        backend: the model.
        method: the method.
        guided: whether it is asked to decode with guidance.

    Raises:
        CapabilityError: it cannot.
    """
    needed = guided or Need.LOGPROBS in method.read("needs", frozenset)
    if needed and not isinstance(backend.instance, LogprobBackend):
        raise CapabilityError(_lacks_logprobs(backend.title, method, guided))


def check_opened(backend: Backend, method: OpenComponent, guided: bool) -> None:
    """See that an open model can do what a method needs; otherwise as `check_before_opening`."""
    capabilities, needs = backend.capabilities, method.read("needs", frozenset)
    if (guided or Need.LOGPROBS in needs) and not capabilities.logprobs:
        raise CapabilityError(_lacks_logprobs(backend.model_name, method, guided))
    if Need.CHAT in needs and not capabilities.chat:
        raise CapabilityError(
            f"{backend.model_name} has no chat template, which {method.title} needs; "
            "choose another --method, or another --model"
        )


def check_prompt(backend: Backend, prompt: Prompt) -> None:
    """See that an open model takes such a prompt.

    Raises:
        CapabilityError: it does not.
    """
    capabilities = backend.capabilities
    if prompt.chat and not capabilities.chat:
        raise CapabilityError(
            f"{backend.model_name} has no chat template; choose another prompt: "
            "--prompt long_code or --prompt completion"
        )
    if not prompt.chat and not capabilities.text:
        raise CapabilityError(
            f"{backend.model_name} takes chats only; choose another prompt: --prompt chat"
        )


def _lacks_logprobs(who: str, method: OpenComponent, guided: bool) -> str:
    if guided:
        return (
            f"{who} tells no log-probabilities, which guidance needs; "
            "use --gamma 0 or a --method that needs text alone, or choose another --backend"
        )
    return (
        f"{who} tells no log-probabilities, which {method.title} needs; "
        "use a --method that needs text alone, or choose another --backend"
    )
