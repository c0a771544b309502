from pathlib import Path

import attrs
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from egcfg.decoding.settings import DecodingSettings, GuidanceUnit
from egcfg.errors import RunError
from egcfg.runs.folder import scan
from egcfg.runs.results import Result
from egcfg.runs.store import (
    FileState,
    ResultsFolder,
    file_name,
    parse_unit_name,
    unit_name,
)

CONFIG = "ns2t0.75d2_ln"


def test_results_lie_where_published_folders_have_them(folder, make_result, tmp_path):
    path = folder.write(CONFIG, "395", 1.0, make_result()).path
    base = tmp_path / "results" / "mbpp" / "org_tiny"
    assert path == base / CONFIG / "task_id=395_gamma=1.0.json"
    assert (base / "solved_tasks" / "395.json").is_file()


@given(
    st.text(min_size=1, max_size=20),
    st.floats(0, allow_nan=False, allow_infinity=False, max_value=1e12),
)
@example("HumanEval/0", 1.0)
@example("../../etc/passwd", 0.0)
@example("a_gamma=2.0.json", 0.5)
@example("..", 3.0)
@example("\ud800", 3.0)
@example("a%2Fb", 1.0)
def test_task_ids_of_any_kind_make_file_names_that_read_back(task_id, gamma):
    try:
        name = f"{unit_name(task_id, gamma)}.json"
    except RunError:
        assert len(task_id.encode("utf-8", "surrogatepass")) > 60
        return
    assert "/" not in name
    assert not file_name(task_id).startswith(".")
    assert parse_unit_name(name) == (task_id, gamma)


def test_a_task_id_too_long_for_a_file_name_is_refused(folder):
    with pytest.raises(RunError, match="too long"):
        folder.result_path(CONFIG, "x" * 300, 1.0)


@pytest.mark.parametrize("name", ["", "..", "a/../../b", "/"])
def test_names_of_models_and_data_sets_never_leave_the_results_folder(tmp_path, name):
    for path in (ResultsFolder(tmp_path, name, "m").path, ResultsFolder(tmp_path, "d", name).path):
        assert path.resolve().parent.parent == tmp_path.resolve()


@pytest.mark.parametrize("spelling", ["1", "1.0"])
def test_both_spellings_of_a_gamma_are_found(folder, make_result, spelling):
    written = folder.write(CONFIG, "395", 1.0, make_result()).path
    written.rename(written.with_name(f"task_id=395_gamma={spelling}.json"))
    record = folder.read(CONFIG, "395", 1.0)
    assert record is not None
    assert record.state is FileState.DONE
    assert folder.read(CONFIG, "395", 1.5) is None
    assert folder.read(CONFIG, "39", 1.0) is None


def test_of_two_files_of_one_unit_the_better_one_counts(folder, make_result):
    written = folder.write(CONFIG, "395", 1.0, make_result()).path
    written.rename(written.with_name("task_id=395_gamma=1.json"))
    written.write_bytes(b"")
    record = folder.read(CONFIG, "395", 1.0)
    assert record is not None
    assert record.state is FileState.DONE
    assert [r.state for r in scan(folder.results_dir)] == [FileState.DONE]


@pytest.mark.parametrize(
    ("data", "state"),
    [(b"", FileState.EMPTY), (b" \n", FileState.EMPTY), (b'{"code": "de', FileState.BROKEN)],
)
def test_empty_and_broken_files_are_told_apart_from_results(folder, data, state):
    path = folder.result_path(CONFIG, "395", 1.0)
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    record = folder.read(CONFIG, "395", 1.0)
    assert record is not None
    assert (record.state, record.result) == (state, None)
    assert (record.problem is not None) == (state is FileState.BROKEN)


def test_any_part_of_a_results_folder_can_be_scanned(folder, make_result, monkeypatch):
    for config in (CONFIG, "custom"):
        for gamma in (0.0, 1.0):
            folder.write(config, "HumanEval/0", gamma, make_result(passed=gamma > 0))
    folder.fix_provenance(CONFIG, {"seed": 0})
    other = ResultsFolder(folder.results_dir, "humaneval", "org/tiny")
    other.write(CONFIG, "1", 1.0, make_result())
    assert len(scan(folder.results_dir)) == 5
    assert len(scan(folder.results_dir / "mbpp")) == 4
    assert len(scan(folder.path)) == 4
    monkeypatch.chdir(folder.path / CONFIG)
    records = scan(Path())
    assert {(r.dataset, r.model, r.config, r.task_id) for r in records} == {
        ("mbpp", "org_tiny", CONFIG, "HumanEval/0")
    }
    assert [r.gamma for r in records] == [0.0, 1.0]


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(RunError, match="no result files"):
        scan(tmp_path)
    with pytest.raises(RunError, match="no folder"):
        scan(tmp_path / "nowhere")


def test_the_first_solution_of_a_task_is_kept_whatever_comes_later(folder, make_result):
    assert folder.solved("395") is None
    folder.write(CONFIG, "395", 0.0, make_result(passed=False))
    assert folder.solved("395") is None
    first = make_result()
    folder.write(CONFIG, "395", 1.0, first)
    folder.write(CONFIG, "395", 3.0, attrs.evolve(first, code="later"))
    assert folder.solved("395") == first


def test_a_broken_solved_entry_counts_as_none_and_is_made_anew(folder, make_result, caplog):
    path = folder.path / "solved_tasks" / "395.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"{")
    assert folder.solved("395") is None
    assert "ignoring" in caplog.text
    folder.write(CONFIG, "395", 1.0, make_result())
    assert folder.solved("395") == make_result()


def test_the_provenance_is_fixed_by_the_first_result(folder, make_result):
    settings = {
        "decoding": attrs.asdict(DecodingSettings(unit=GuidanceUnit.TOKEN)),
        "tracer": {"name": "full", "options": {"paths": ("a", "b")}},
    }
    folder.write_with_provenance(CONFIG, "1", 0.0, make_result(), settings)
    folder.write_with_provenance(CONFIG, "1", 1.0, make_result(), settings)
    changed = {
        "decoding": {**settings["decoding"], "seed": 1},
        "tracer": {"name": "minimal", "options": {"paths": ("a", "b")}},
        "dtype": "float32",
    }
    with pytest.raises(RunError) as caught:
        folder.fix_provenance(CONFIG, changed)
    message = str(caught.value)
    assert "decoding.seed: 0 there, 1 now" in message
    assert 'tracer.name: "full" there, "minimal" now' in message
    assert 'dtype: not set there, "float32" now' in message
    assert "paths" not in message
    assert message.endswith("run with those settings, or choose another --results-dir")
    folder.fix_provenance("ns3t0.7d2_ln", changed)


def test_an_unreadable_provenance_is_a_run_error(folder, make_result):
    folder.write_with_provenance(CONFIG, "1", 0.0, make_result(), {})
    (folder.path / CONFIG / ".provenance.json").write_bytes(b"{")
    with pytest.raises(RunError, match=r"cannot read .*\.provenance\.json"):
        folder.fix_provenance(CONFIG, {})


@pytest.mark.parametrize("content", [b'{"seed": 1}', b"{"])
def test_a_provenance_without_a_result_is_replaced(folder, content):
    path = folder.path / CONFIG / ".provenance.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    # What a crashed tool reserved is no result.
    folder.result_path(CONFIG, "1", 0.0).write_bytes(b"")
    folder.fix_provenance(CONFIG, {"seed": 2})
    assert orjson.loads(path.read_bytes()) == {"seed": 2}
    assert sorted(file.name for file in path.parent.iterdir()) == [
        ".provenance.json",
        "task_id=1_gamma=0.0.json",
    ]


def test_a_folder_of_another_tool_gets_the_provenance_of_who_adds_to_it(folder, make_result):
    assert not folder.has_results(CONFIG)
    folder.write(CONFIG, "1", 0.0, make_result())
    assert folder.has_results(CONFIG)
    folder.fix_provenance(CONFIG, {"seed": 1})
    with pytest.raises(RunError, match="seed: 1 there, 2 now"):
        folder.write_with_provenance(CONFIG, "2", 0.0, make_result(), {"seed": 2})
    assert folder.read(CONFIG, "2", 0.0) is None


def test_who_came_first_and_wrote_later_gives_way(folder, make_result, monkeypatch):
    """Another process finds no result between this one's provenance and its result."""
    write = ResultsFolder.write

    def write_late(self, *args, **options):
        monkeypatch.setattr(ResultsFolder, "write", write)
        folder.write_with_provenance(CONFIG, "2", 0.0, make_result(), {"seed": 2})
        return write(self, *args, **options)

    monkeypatch.setattr(ResultsFolder, "write", write_late)
    with pytest.raises(RunError, match="seed: 2 there, 1 now"):
        folder.write_with_provenance(CONFIG, "1", 0.0, make_result(), {"seed": 1})
    assert folder.read(CONFIG, "1", 0.0) is None
    assert folder.read(CONFIG, "2", 0.0) is not None


def test_who_takes_the_provenance_of_a_result_away_puts_it_back(folder, make_result, monkeypatch):
    """The first result is written between another process's look for results and its renaming."""
    folder.fix_provenance(CONFIG, {"seed": 1})
    rename = Path.rename

    def rename_late(self, target):
        monkeypatch.setattr(Path, "rename", rename)
        folder.write_with_provenance(CONFIG, "1", 0.0, make_result(), {"seed": 1})
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", rename_late)
    with pytest.raises(RunError, match="seed: 1 there, 2 now"):
        folder.fix_provenance(CONFIG, {"seed": 2})
    folder.fix_provenance(CONFIG, {"seed": 1})


def test_results_of_other_tools_survive_being_written_again(folder):
    result = Result(passed=True, extra={"trial": 3})
    folder.write(CONFIG, "1", 1.0, result)
    record = folder.read(CONFIG, "1", 1.0)
    assert record is not None
    assert record.result == result
