"""What is written for a unit stands together or not at all."""

import attrs
import pytest

from egcfg.errors import RunError
from egcfg.records.entries import UnitEntry
from egcfg.records.recorder import Recorder
from egcfg.runs.config_string import SignalConfig
from egcfg.runs.grid import Grid
from egcfg.runs.places import Places

CONFIG = "ns2t0.75d2_ln"


def test_where_a_result_is_refused_its_record_goes_too(folder, make_problem, make_result):
    grid = Grid(
        problems=[make_problem("1")], configs=[SignalConfig.parse(CONFIG)], gammas=[0.0, 1.0]
    )
    places = Places.of(grid, folder, {CONFIG: {"seed": 1}}, stop_when_solved=False)
    first, second = places.all
    (folder.path / CONFIG).mkdir(parents=True)  # as a claim does
    for place in (first, second):
        name = places.record(place, Recorder(UnitEntry(task_id="1")))
        assert (folder.path / CONFIG / name).is_file()
        if place is second:
            places.provenances[CONFIG]["seed"] = 2
            with pytest.raises(RunError, match="seed: 1 there, 2 now"):
                places.write(place, attrs.evolve(make_result(), record=name))
        else:
            places.write(place, attrs.evolve(make_result(), record=name))
    kept = sorted(file.name for file in (folder.path / CONFIG).glob("task_id*"))
    assert kept == ["task_id=1_gamma=0.0.json", "task_id=1_gamma=0.0.record.jsonl.gz"]


def test_no_unit_of_an_unsolved_task_is_read_again(folder, make_problem, make_result, monkeypatch):
    gammas = [float(number) for number in range(9)]
    grid = Grid(problems=[make_problem("1")], configs=[SignalConfig.parse(CONFIG)], gammas=gammas)
    places = Places.of(grid, folder, {CONFIG: {"seed": 1}}, stop_when_solved=True)
    read = []
    monkeypatch.setattr(type(folder), "read", lambda _, *unit: read.append(unit))
    for place in places.all:
        assert places.solved(place) is None
    assert len(read) == len(gammas)
    places.task_claimed("1")  # its last owner may have solved it, and been killed
    for place in places.all:
        assert places.solved(place) is None
    assert len(read) == 2 * len(gammas)
    monkeypatch.undo()
    folder.path.mkdir(parents=True)
    places.write(places.all[3], make_result())
    assert places.solved(places.all[4]) == make_result()
