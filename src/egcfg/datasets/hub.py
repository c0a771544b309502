"""Data sets of the Hugging Face hub, through the package ``datasets``; their code is never run."""

from __future__ import annotations

import os
import socket
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from attrs import field, frozen, validators

from egcfg.datasets.records import Record
from egcfg.datasets.shapes.table import problems_from_records
from egcfg.errors import DataError, MissingExtraError
from egcfg.interfaces.dataset import Dataset
from egcfg.interfaces.problem import Problem

__all__ = ["HubDataset", "hub_records"]

CONNECT_TIMEOUT_S = 2.0


class HubDataset(Dataset):
    """A data set of the hub whose records have a known shape; see `egcfg.datasets.shapes.table`."""

    @frozen(kw_only=True)
    class Options:
        """Options of the data set.

        Attributes:
            name: its id, such as ``"evalplus/mbppplus"``.
            config: which of its configurations, where it has several.
            split: which split.
            strict: whether one record that cannot be used refuses the data set.
            visible: how many tests are visible, while all score; None: as the data set says.
        """

        name: str
        config: str | None = None
        split: str = "test"
        strict: bool = False
        visible: int | None = field(default=None, validator=validators.optional(validators.ge(0)))

    def __init__(self, options: Options) -> None:
        self.options = options

    def problems(self) -> list[Problem]:
        """Return the problems in the split's order."""
        options = self.options
        records = hub_records(options.name, options.config, options.split)
        return problems_from_records(records, strict=options.strict, visible=options.visible)


def hub_records(name: str, config: str | None = None, split: str | None = None) -> list[Record]:
    """Return the records of a data set of the hub, or of its local cache.

    Args:
        name: its id.
        config: which of its configurations; None: the only one.
        split: which split; None: all, one after the other.

    Raises:
        DataError: the hub cannot be reached, or there is no such data set.
        MissingExtraError: the package ``datasets`` is not installed.
    """
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"to load {name} from the hub, run: pip install 'egcfg[datasets]'; "
            "or give a file: --data FILE.jsonl"
        ) from error
    try:
        loaded: Any = _load(datasets, *filter(None, (name, config)))
        splits: Mapping[str, Iterable[dict[str, Any]]] = loaded
        if split is not None and split not in splits:
            known = ", ".join(splits)
            raise DataError(f"{name} has no split {split!r}; choose -o dataset.split from {known}")
        chosen = splits.values() if split is None else [splits[split]]
        rows = [row for part in chosen for row in part]
    except DataError:
        raise
    except Exception as error:
        # The hub's client raises what its layers raise: HTTP, file, cache and format errors.
        raise DataError(
            f"cannot load {name} from the hub ({type(error).__name__}: {error}); "
            "check the connection, or give a file: --data FILE.jsonl"
        ) from error
    return [Record(name, number, row) for number, row in enumerate(rows, start=1)]


def _load(datasets: Any, *which: str) -> Any:
    """Load a data set; where no connection is made, from the cache or not at all.

    The hub's client by itself would try each file again for half a minute.
    """
    lost = _out_of_reach()
    if lost is None:
        return datasets.load_dataset(*which)
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        return datasets.load_dataset(*which)
    except Exception as error:
        raise lost from error
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


def _out_of_reach() -> OSError | None:
    """Return why no connection to the hub is made; None: it is, or a proxy's matter."""
    if urllib.request.getproxies():
        return None
    hub = urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    port = hub.port or (80 if hub.scheme == "http" else 443)
    try:
        socket.create_connection((hub.hostname or "", port), timeout=CONNECT_TIMEOUT_S).close()
    except OSError as error:
        return error
    return None
