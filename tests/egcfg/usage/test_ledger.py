import json
import logging
import subprocess
import sys

import pytest

from egcfg.interfaces.usage import Usage
from egcfg.usage.ledger import FolderLedger

ONE = Usage(requests=1, input_tokens=10, cached_tokens=3, output_tokens=2, seconds=0.5)


@pytest.fixture
def spent(tmp_path):
    return tmp_path / "model" / ".spent"


def test_each_process_reads_what_the_others_spent_and_nothing_twice(spent):
    mine, other, third = FolderLedger(spent), FolderLedger(spent), FolderLedger(spent)
    assert mine.others() == Usage()
    assert not spent.exists()
    for _ in range(3):
        other.note(ONE, at_once=True)
    third.note(ONE + ONE, at_once=True)
    mine.note(ONE, at_once=True)
    assert mine.others() == ONE + ONE + ONE
    assert third.others() == ONE + ONE
    other.note(ONE + ONE, at_once=True)
    assert mine.others() == ONE + ONE + ONE + ONE
    assert len(list(spent.iterdir())) == 3


def test_what_is_not_urgent_is_kept_a_moment_later(spent, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("egcfg.usage.ledger.time.monotonic", lambda: now[0])
    mine, reader = FolderLedger(spent), FolderLedger(spent)
    mine.note(ONE, at_once=False)
    now[0] += 0.5
    mine.note(ONE + ONE, at_once=False)
    assert reader.others() == ONE
    now[0] += 1.0
    mine.note(ONE + ONE, at_once=False)
    assert reader.others() == ONE + ONE


def test_a_killed_process_has_spent_what_it_noted(spent):
    code = (
        "import os, sys; from pathlib import Path; from egcfg.interfaces.backend import Usage; "
        "from egcfg.usage.ledger import FolderLedger; "
        "FolderLedger(Path(sys.argv[1])).note(Usage(requests=9), at_once=True); "
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, spent], check=False)
    assert FolderLedger(spent).others() == Usage(requests=9)


def test_a_record_that_is_none_is_ignored_once(spent, caplog):
    spent.mkdir(parents=True)
    for name, text in (("a", "{"), ("b", "[]"), ("c", ""), ("d", '{"requests": "4"}')):
        (spent / f"{name}.json").write_text(text)
    (spent / "e.json").write_text(json.dumps({"requests": 4, "later_field": 1}))
    (spent / "note.txt").write_text("mine")
    ledger = FolderLedger(spent)
    with caplog.at_level(logging.WARNING):
        assert ledger.others() == ledger.others() == Usage(requests=4)
    named = sorted(str(record.args[0]).rpartition("/")[2] for record in caplog.records)
    assert named == ["a.json", "b.json", "c.json", "d.json"]


def test_a_folder_that_cannot_be_read_is_told(spent):
    spent.mkdir(parents=True)
    spent.chmod(0)
    code = """
import os, sys
from pathlib import Path
from egcfg.errors import RunError
from egcfg.usage.ledger import FolderLedger
try:
    if os.geteuid() == 0:
        os.setuid(65534)
except OSError:
    sys.exit("no other user")
try:
    FolderLedger(Path(sys.argv[1])).others()
except RunError as error:
    print(error)
"""
    command = [sys.executable, "-c", code, str(spent)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.stderr == "no other user\n":
        pytest.skip("root may read everything")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "check its rights" in ran.stdout
