import os
import signal
import socket
import subprocess
import sys
import threading
import time

import orjson
import pytest

from egcfg.errors import RunError
from egcfg.runs.claims import Claim, Claims, Owner

HOLD = """
import sys, time
from pathlib import Path
from egcfg.runs.claims import Claims
claims = Claims()
claim = claims.acquire(Path(sys.argv[1]))
print("held" if claim else "refused", flush=True)
time.sleep(600)
"""


@pytest.fixture
def stem(tmp_path):
    return tmp_path / ".claims" / "task_id=395_gamma=1.0"


@pytest.fixture
def claims():
    with Claims() as claims:
        yield claims


@pytest.fixture
def holder(stem):
    """A real process that holds the claim."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(stem)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def foreign(stem, number=0, *, age=0.0, content=None):
    """Put a claim of another machine there, last touched `age` seconds ago."""
    claim = Claim(stem, number)
    stem.parent.mkdir(parents=True, exist_ok=True)
    owner = {"machine": "elsewhere", "host": "node7", "pid": os.getpid(), "born": 1}
    claim.path.write_bytes(orjson.dumps(owner) if content is None else content)
    then = time.time() - age
    os.utime(claim.path, (then, then))
    return claim


def files(stem):
    return sorted(path.name for path in stem.parent.iterdir() if not path.name.startswith("."))


def test_a_unit_is_claimed_once(claims, stem):
    claim = claims.acquire(stem)
    assert claim is not None
    assert claims.acquire(stem) is None
    with Claims() as others:
        assert others.acquire(stem) is None
        assert others.acquire(stem.with_name("another")) is not None


def test_a_unit_is_free_unless_a_live_process_has_it(claims, stem, tmp_path):
    assert claims.free(stem)
    assert not list(tmp_path.iterdir()), "looking leaves nothing behind"
    claim = claims.acquire(stem)
    with Claims() as others:
        assert not others.free(stem)
        claims.release(claim, done=False)
        assert others.free(stem)


def test_a_claim_never_looks_like_a_result_file(claims, stem):
    claims.acquire(stem)
    assert files(stem) == ["task_id=395_gamma=1.0.0"]
    assert not list(stem.parent.glob("*.json"))


def test_a_claim_given_back_can_be_taken_by_others_at_once(claims, stem):
    claim = claims.acquire(stem)
    claims.release(claim, done=False)
    with Claims() as others:
        assert others.acquire(stem) == Claim(stem, 1)
        assert claims.acquire(stem) is None


def test_claims_of_a_done_unit_are_removed(claims, stem):
    claims.release(claims.acquire(stem), done=False)
    claims.release(claims.acquire(stem), done=True)
    assert files(stem) == []


def test_leaving_the_context_gives_everything_back(stem):
    with Claims() as claims:
        claims.acquire(stem)
    before = threading.active_count()
    with Claims() as others:
        assert others.acquire(stem) is not None
    assert threading.active_count() == before


def test_a_killed_process_loses_its_claim_at_once(claims, stem, holder):
    assert claims.acquire(stem) is None
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert claims.acquire(stem) == Claim(stem, 1)


def test_a_killed_process_that_nobody_reaped_loses_its_claim_too(claims, stem, holder):
    os.kill(holder.pid, signal.SIGKILL)
    os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
    assert claims.acquire(stem) is not None


def test_a_process_that_got_the_dead_ones_number_does_not_inherit_its_claim(claims, stem):
    me = Owner.current()
    reused = {"machine": me.machine, "host": me.host, "pid": me.pid, "born": (me.born or 0) - 1}
    foreign(stem, content=orjson.dumps(reused))
    assert claims.acquire(stem) is not None


def test_a_process_of_another_user_counts_as_alive(monkeypatch):
    def denied(*_):
        raise PermissionError

    monkeypatch.setattr(os, "kill", denied)
    assert not Owner.current().gone()


@pytest.mark.parametrize(("age", "taken"), [(0, False), (100, False), (130, True)])
def test_a_claim_of_another_machine_lasts_as_long_as_its_lease(claims, stem, age, taken):
    foreign(stem, age=age)
    assert (claims.acquire(stem) is not None) == taken


@pytest.mark.parametrize("content", [b"", b"garbage", b"[]", b'{"machine": 1}'])
@pytest.mark.parametrize(("age", "taken"), [(0, False), (130, True)])
def test_a_claim_that_a_crash_left_half_written_ends_with_its_lease(
    claims, stem, content, age, taken
):
    foreign(stem, age=age, content=content)
    assert (claims.acquire(stem) is not None) == taken


def test_the_heartbeat_keeps_a_claim_alive(stem):
    with Claims(lease=0.3) as claims:
        claim = claims.acquire(stem)
        assert claim is not None
        os.utime(claim.path, (0, 0))
        deadline = time.monotonic() + 30
        while claim.path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert time.time() - claim.path.stat().st_mtime < 3600


def test_a_lost_results_folder_does_not_end_the_heartbeat(stem):
    with Claims(lease=0.06) as claims:
        claim = claims.acquire(stem)
        assert claim is not None
        claim.path.unlink()
        time.sleep(0.1)
        again = claims.acquire(stem.with_name("another"))
        assert again is not None
        os.utime(again.path, (0, 0))
        deadline = time.monotonic() + 30
        while again.path.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert again.path.stat().st_mtime > 0


@pytest.mark.parametrize("dead", ["released", "expired"])
def test_of_many_that_find_a_dead_claim_exactly_one_takes_it_over(tmp_path, dead):
    for turn in range(30):
        stem = tmp_path / str(turn) / "unit"
        foreign(
            stem,
            content=b"{}" if dead == "released" else None,
            age=0 if dead == "released" else 999,
        )
        taken = []
        start = threading.Barrier(6)

        def contend(stem=stem, taken=taken, start=start):
            claims = Claims()
            start.wait()
            claim = claims.acquire(stem)
            if claim is not None:
                taken.append(claim)
            claims._stop.set()

        threads = [threading.Thread(target=contend) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert taken == [Claim(stem, 1)]


def test_a_late_taker_over_cannot_displace_the_one_that_was_first(claims, stem, monkeypatch):
    foreign(stem, age=999)
    with Claims() as others:
        judged = Claims._dead

        def overtaken(self, claim):
            # Between a process's verdict on the dead claim and its own attempt, another acts.
            dead = judged(self, claim)
            monkeypatch.setattr(Claims, "_dead", judged)
            assert others.acquire(stem) == Claim(stem, 1)
            return dead

        monkeypatch.setattr(Claims, "_dead", overtaken)
        assert claims.acquire(stem) is None
        assert others.acquire(stem) is None


def test_an_owner_that_lost_its_claim_cannot_take_it_from_the_new_one(stem):
    with Claims() as slow, Claims() as new:
        old = slow.acquire(stem)
        assert old is not None
        os.utime(old.path, (0, 0))
        # Same process, so only the lease tells: both owners are alive.
        assert new.acquire(stem) == Claim(stem, 1)
        slow.release(old, done=False)
        assert slow.acquire(stem) is None


def test_many_processes_race_for_the_claim_of_a_killed_one(stem, holder):
    holder.kill()
    holder.wait()
    racers = [
        subprocess.Popen([sys.executable, "-c", HOLD, str(stem)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    answers = [racer.stdout.readline().strip() for racer in racers if racer.stdout]
    for racer in racers:
        racer.kill()
        racer.communicate()
    assert sorted(answers) == ["held", "refused", "refused", "refused"]


def test_machines_are_told_apart_even_where_containers_share_a_name():
    me = Owner.current()
    assert socket.gethostname() == me.host
    assert me.machine != me.host
    assert not Owner("another kernel", me.host, 2**22 + 1, 1).gone()
    assert Owner(me.machine, "whatever", 2**22 + 1, 1).gone()


def test_a_folder_that_cannot_be_written_is_a_run_error(tmp_path, claims):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(RunError, match="cannot write"):
        claims.acquire(tmp_path / "file" / "unit")


def test_a_claim_that_cannot_be_given_back_hides_no_other_error(stem, caplog):
    def interrupted():
        with Claims() as claims:
            claim = claims.acquire(stem)
            assert claim is not None
            claim.path.unlink()
            stem.parent.rmdir()
            stem.parent.write_bytes(b"in the way")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "could not give back task_id=395_gamma=1.0" in caplog.text
