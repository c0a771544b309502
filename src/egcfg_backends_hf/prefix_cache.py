"""Key/value caches of token prefixes: cut back, forked for sampling, shared where prefixes agree.

Keys and values are never written in place (each step of the model concatenates into new tensors),
so caches may share them: cutting and forking make views, not copies.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import define, field
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from egcfg.backend import TokenLogprobs

__all__ = ["PrefixState", "common_length", "copy_cache", "select_rows", "supports_cutting"]


@define(eq=False)
class PrefixState:
    """What is known about a token prefix.

    Attributes:
        ids: the tokens whose keys and values `cache` holds.
        cache: of one row and ``len(ids)`` positions.
        scores: distributions after ``ids[:first]``, ``ids[:first + 1]``, ...: those of the last
            question, so that it is not computed again by the next one.
        first: see `scores`.
    """

    ids: tuple[int, ...] = ()
    cache: DynamicCache = field(factory=DynamicCache)
    scores: list[TokenLogprobs] = field(factory=list)
    first: int = 0

    def scores_after(self, ids: Sequence[int], start: int) -> list[TokenLogprobs]:
        """Return the known distributions after ``ids[:start]``, ``ids[:start + 1]``, ... .

        The list ends where the first unknown one would come; it is empty if that is ``start``.
        """
        offset = start - self.first
        if offset < 0:
            return []
        shared = common_length(self.ids, ids)
        return self.scores[offset : max(offset, shared - self.first + 1)]


def common_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Return the length of the longest common prefix of two equally typed sequences."""
    low, high = 0, min(len(first), len(second))
    while low < high:  # comparing slices runs in C, unlike a loop over the tokens
        middle = (low + high + 1) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def supports_cutting(cache: DynamicCache) -> bool:
    """Whether cutting the cache back to a prefix leaves exactly that prefix's cache.

    True of full attention only: sliding windows have dropped what a shorter prefix needs, and
    recurrent states cannot be rolled back.
    """
    return all(type(layer) is DynamicLayer for layer in cache.layers)


def copy_cache(cache: DynamicCache, length: int, rows: int = 1) -> DynamicCache:
    """Return a cache of the first `length` positions, the same in each of `rows` rows.

    Args:
        cache: of one row; stays as it is.
        length: at most the positions that it holds.
        rows: of the result.
    """
    copied = DynamicCache()
    if length == 0:
        return copied
    for keys, values, _ in cache:
        view = DynamicLayer()
        view.lazy_initialization(keys, values)
        # (1, heads, positions, head size) -> (rows, heads, length, head size), a view
        view.keys = keys[:, :, :length].expand(rows, -1, -1, -1)
        view.values = values[:, :, :length].expand(rows, -1, -1, -1)
        copied.layers.append(view)
    return copied


def select_rows(cache: DynamicCache, rows: Sequence[int]) -> None:
    """Keep only `rows` of the cache, in that order."""
    keys, _, _ = next(iter(cache))
    cache.batch_select_indices(torch.tensor(rows, device=keys.device))
