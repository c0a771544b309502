"""Asks the model hub once, quickly, whether a model is there, before anything is loaded from it."""

from __future__ import annotations

import logging

from huggingface_hub import model_info, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

from egcfg.errors import UsageError
from egcfg_backends_hf.causes import one_line

__all__ = ["must_use_local_copy"]

logger = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds; loading itself would retry an unreachable hub for most of a minute."""


def must_use_local_copy(model: str, revision: str | None) -> bool:
    """Return whether the hub cannot be reached, so that only what was downloaded earlier is used.

    Raises:
        UsageError: the hub has no such model or revision, or it cannot be reached and no earlier
            download is there.
    """
    try:
        model_info(model, revision=revision, timeout=TIMEOUT)
    except (HFValidationError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        which = model if revision is None else f"{model} at revision {revision}"
        raise UsageError(
            f"the hub has no model {which} that can be read from here; check the spelling, set "
            "HF_TOKEN if it is private or gated, or pass a local folder or .gguf file"
        ) from error
    except Exception as error:  # the transport keeps its own kinds private
        if not isinstance(try_to_load_from_cache(model, "config.json", revision=revision), str):
            raise UsageError(
                f"no local model {model}, and the hub cannot be reached ({one_line(error)}); "
                "check the name and the network, or pass a local folder or .gguf file"
            ) from error
        logger.warning("the hub cannot be reached; using the copy of %s downloaded earlier", model)
        return True
    return False
