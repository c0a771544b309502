"""What the README shows is what comes out, and what pages tell to make can be made."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from statistics import mean

import pytest

from egcfg.cli.program import invoke
from egcfg.comparison.arms import Axis
from egcfg.comparison.sources import read_arms

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")


@pytest.mark.model
@pytest.mark.usefixtures("own_logging")
def test_the_first_command_prints_what_is_printed_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = re.findall(r"^```\n\$ egcfg (solve .*?)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    [(command, said)] = shown
    monkeypatch.chdir(tmp_path)
    status = invoke(shlex.split(command))  # here, where torch is loaded
    printed = capsys.readouterr()
    assert (status, printed.out) == (0, said), printed.err


def test_what_is_said_of_the_race_is_what_was_measured() -> None:
    said = re.search(
        r"solves (\d+) tasks for ([\d,]+) tokens each \(up to forty: (\d+) for ([\d,]+)\), guided "
        r"decoding (\d+) for ([\d,]+),\s+greedy decoding (\d+) for ([\d,]+)\.",
        README,
    )
    assert said is not None
    numbers = [int(number.replace(",", "")) for number in said.groups()]
    arms = {arm.label: arm for arm in read_arms([str(ROOT / "docs" / "effect")])}
    measured: list[int] = []
    for name in ("best_of_n", "best_of_40", "egcfg", "greedy"):
        tasks = arms[name].outcomes.values()
        assert len(tasks) == 200
        tokens = [Axis.TOKENS.cost(task.counts) or 0 for task in tasks]
        measured += [int(sum(task.solved for task in tasks)), round(mean(tokens))]
    assert numbers == measured


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_what_is_to_be_made_can_be_made(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    text = (ROOT / page).read_text("utf-8")
    targets = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, re.MULTILINE))
    assert targets
    assert {t for t in targets if not re.search(rf"^{t}:", makefile, re.MULTILINE)} == set()
