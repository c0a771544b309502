"""The form is documented as it is, and what is written reads back."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from attrs import fields
from hypothesis import given
from hypothesis import strategies as st

from egcfg.interfaces.solution import Alternative, TokenChoice
from egcfg.records.entries import FORMAT, KINDS, ShownProgram, StepEntry, from_json, to_json

DOCS = (Path(__file__).parents[3] / "docs" / "records.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_field_of_every_kind_is_documented(kind: str) -> None:
    [line] = [line for line in DOCS.split("\n") if line.startswith(f"| `{kind}` |")]
    told = set(re.findall(r"`(\w+)`", line.partition("|")[2].partition("|")[2]))
    parts = {"role", "content", "finished"} if kind in ("prompt", "call") else set()
    parts |= {each.name for each in fields(ShownProgram)} if kind == "signal" else set()
    names = {each.name for each in fields(KINDS[kind])}
    assert names <= told
    assert told - names <= parts | {"text"}


def test_the_fields_of_a_token_are_documented() -> None:
    for each in (*fields(TokenChoice), *fields(Alternative)):
        assert f"`{each.name}`" in DOCS


def test_the_documented_form_is_the_one_that_is_written() -> None:
    assert f"`{FORMAT}`" in DOCS


logprobs = st.floats(-50, 0) | st.just(-math.inf)
choices = st.builds(
    TokenChoice,
    id=st.integers(0, 1 << 20),
    text=st.text(max_size=4),
    unconditional_id=st.integers(0, 1 << 20),
    unconditional_text=st.text(max_size=4),
    logprob_unconditional=logprobs,
    logprob_guided=logprobs,
    logprob_conditional=st.none() | st.floats(-50, 0),
    drafted=st.booleans(),
    likeliest_unconditional=st.lists(
        st.builds(Alternative, text=st.text(max_size=4), logprob=logprobs), max_size=2
    ).map(tuple),
)


@given(tokens=st.lists(choices, max_size=3), text=st.text(max_size=9))
def test_a_step_reads_back_up_to_the_digits_that_are_kept(tokens: Any, text: str) -> None:
    entry = StepEntry(decoding=0, index=3, in_code=True, text=text, tokens=tuple(tokens))
    read = from_json(orjson.loads(orjson.dumps(to_json(entry))))
    assert isinstance(read, StepEntry)
    assert (read.text, read.index, len(read.tokens)) == (text, 3, len(tokens))
    for one, other in zip(read.tokens, tokens, strict=True):
        assert (one.id, one.text, one.drafted) == (other.id, other.text, other.drafted)
        for name in ("logprob_unconditional", "logprob_guided", "logprob_conditional"):
            assert getattr(one, name) == pytest.approx(getattr(other, name), abs=5e-5)
        assert [a.text for a in one.likeliest_unconditional] == [
            a.text for a in other.likeliest_unconditional
        ]
