from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg_backends_hf.engine import token_tree
from egcfg_backends_hf.engine.token_tree import NO_SLOT, Node, TokenTree, visibility

sequences = st.lists(
    st.lists(st.integers(0, 3), min_size=1, max_size=8).map(tuple), min_size=1, max_size=6
)


def grown(paths: list[tuple[int, ...]]) -> TokenTree:
    tree = TokenTree()
    for ids in paths:
        tree.take_slots(tree.path(ids))
    return tree


def nodes_of(tree: TokenTree) -> list[Node]:
    found, pending = [], [tree.root]
    while pending:
        node = pending.pop()
        pending.extend(node.children.values())
        found.extend(node.children.values())
    return found


def ids_of(node: Node) -> tuple[int, ...]:
    return () if node.parent is None else (*ids_of(node.parent), node.token)


@given(sequences)
def test_each_distinct_prefix_has_one_node_and_one_slot(paths: list[tuple[int, ...]]) -> None:
    tree = grown(paths)
    prefixes = {ids[:end] for ids in paths for end in range(1, len(ids) + 1)}
    nodes = nodes_of(tree)
    assert {ids_of(node) for node in nodes} == prefixes
    assert sorted(node.slot for node in nodes) == list(range(len(prefixes)))
    assert tree.used == len(prefixes)
    assert all(node.position == len(ids_of(node)) - 1 for node in nodes)


@given(sequences, sequences, sequences)
def test_what_is_kept_is_kept_and_all_other_slots_are_free(
    paths: list[tuple[int, ...]], kept: list[tuple[int, ...]], later: list[tuple[int, ...]]
) -> None:
    tree = grown(paths)
    before = {ids_of(node): node.slot for node in nodes_of(tree)}
    tree.evict(kept)
    after = {ids_of(node): node.slot for node in nodes_of(tree)}
    wanted = {ids[:end] for ids in kept for end in range(1, len(ids) + 1)}
    assert after == {ids: slot for ids, slot in before.items() if ids in wanted}
    assert tree.used == max(after.values(), default=-1) + 1
    for ids in later:
        tree.take_slots(tree.path(ids))
    slots = [node.slot for node in nodes_of(tree)]
    assert len(set(slots)) == len(slots)
    assert max(slots) + 1 == tree.used
    # The lowest free slots go first, so that nothing is larger than it must be.
    assert tree.used <= max(len(slots), max(after.values(), default=-1) + 1)


@given(sequences, st.integers(0, 8))
def test_a_token_sees_its_own_prefix_and_nothing_else(
    paths: list[tuple[int, ...]], split: int
) -> None:
    tree = TokenTree()
    for ids in paths:
        tree.take_slots(tree.path(ids[:split]))
    known = {id(node) for node in nodes_of(tree)}
    new = sorted(
        {node for ids in paths for node in tree.path(ids) if id(node) not in known},
        key=lambda node: node.position,
    )
    tree.take_slots(new)
    slots = {ids_of(node): node.slot for node in nodes_of(tree)}
    for node, row in zip(new, visibility(new, tree.used, {}), strict=True):
        ids = ids_of(node)
        seen = {slots[ids[:end]] for end in range(1, len(ids) + 1)}
        assert set(row.nonzero()[0].tolist()) == seen


@given(sequences, sequences)
def test_finding_makes_no_nodes(paths: list[tuple[int, ...]], asked: list[tuple[int, ...]]) -> None:
    tree = grown(paths)
    before = {ids_of(node) for node in nodes_of(tree)}
    for ids in asked:
        found = [ids_of(node) for node in tree.find(ids)]
        known = [ids[:end] for end in range(1, len(ids) + 1) if ids[:end] in before]
        assert found == known
    assert {ids_of(node) for node in nodes_of(tree)} == before


def test_dropping_a_node_and_its_descendants_frees_each_slot_once() -> None:
    tree = grown([(1, 2, 3), (1, 4)])
    path = tree.path((1, 2, 3))
    tree.drop(path[1:])
    assert {ids_of(node) for node in nodes_of(tree)} == {(1,), (1, 4)}
    assert [node.slot for node in path[1:]] == [NO_SLOT, NO_SLOT]
    tree.take_slots(tree.path((9, 9)))
    assert sorted(node.slot for node in nodes_of(tree)) == [0, 1, 2, 3]


@given(sequences, st.integers(1, 6))
def test_long_prefixes_stand_on_nodes_of_their_own(
    paths: list[tuple[int, ...]], longest: int
) -> None:
    tree = TokenTree(longest)
    for ids in paths:
        path = tree.path(ids)
        assert [node.token for node in path] == list(ids)
        assert [node.position for node in path] == list(range(len(ids)))
        assert tree.find(ids) == path
        for node in path:
            above = node
            while above.parent is not None:
                above = above.parent
            assert (above is tree.long_root) == tree.is_long(node) == (node.position >= longest)
    tree.evict([paths[0]])
    assert tree.find(paths[0]) == tree.path(paths[0])
    tree.evict([])
    assert not tree.root.children
    assert not tree.long_root.children


@given(sequences, st.integers(0, 8))
def test_what_earlier_nodes_see_gives_what_later_ones_do(
    paths: list[tuple[int, ...]], split: int
) -> None:
    tree = TokenTree()
    for ids in paths:
        before = [node for node in tree.path(ids[:split]) if node.slot == NO_SLOT]
        tree.take_slots(before)
        seen = dict(zip(before, visibility(before, tree.used, {}), strict=True))
        after = [node for node in tree.path(ids) if node.slot == NO_SLOT]
        tree.take_slots(after)
        walked = visibility(after, tree.used, {})
        assert (visibility(after, tree.used, seen) == walked).all()


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 1), min_size=1, max_size=12).map(tuple), st.booleans()),
        max_size=20,
    )
)
def test_paths_that_are_remembered_are_those_that_are_walked(
    asked: list[tuple[tuple[int, ...], bool]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_tree, "STRIDE", 2)
        patch.setattr(token_tree, "PATHS", 3)
        tree = TokenTree()
        for ids, forgets in asked:
            tree.take_slots(path := tree.path(ids))
            assert [node.token for node in path] == list(ids)
            node = tree.root
            for each in path:  # linked from the root on
                node = node.children[each.token]
                assert node is each
            assert tree.find(ids) == path
            if forgets:
                tree.evict([ids[:3]])


@given(sequences)
def test_positions_are_those_of_the_tokens_in_the_slots(paths: list[tuple[int, ...]]) -> None:
    tree = grown(paths)
    tree.evict(paths[:1])
    for ids in paths:
        tree.take_slots(tree.path(ids))
    for node in nodes_of(tree):
        assert tree.positions[node.slot] == node.position
