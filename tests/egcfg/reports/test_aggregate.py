import pytest
from hypothesis import given
from hypothesis import strategies as st

from egcfg.interfaces.usage import Usage
from egcfg.reports.aggregate import (
    Cost,
    TestCounts,
    aggregate,
    natural_order,
    relative_success_rate,
)
from egcfg.reports.rows import ResultRow
from egcfg.runs.store import FileState


def rows(records):
    return [ResultRow.of(record) for record in records]


@pytest.mark.parametrize(
    ("base", "accuracy", "rsr"), [(50.8, 84.8, 69.11), (84.2, 98.4, 89.87), (84.2, 74.23, -63.10)]
)
def test_the_relative_success_rate_gives_the_published_numbers(base, accuracy, rsr):
    assert round(relative_success_rate(accuracy, base), 2) == rsr


@given(st.floats(0, 99.9))
def test_nothing_gained_is_0_and_everything_is_100(base):
    assert relative_success_rate(base, base) == 0
    assert relative_success_rate(100, base) == pytest.approx(100)


def test_a_perfect_baseline_leaves_nothing_to_solve():
    assert relative_success_rate(100, 100) is None


def test_single_runs_union_and_cost_are_kept_apart(make_record):
    # Each gamma solves another half: the union is everything, no single run is.
    records = [make_record(str(task), gamma, (task + gamma) % 2 == 0)
               for task in range(4) for gamma in (0.0, 1.0)]  # fmt: skip
    (report,) = aggregate(rows(records))
    assert [row.accuracy for row in report.rows] == [50, 50]
    assert (report.union.solved, report.union.share) == (4, 100)
    assert [row.rsr for row in report.rows] == [None, 0]
    assert report.union_rsr == 100
    assert report.rows[0].cost == Cost(
        input_tokens=4000,
        output_tokens=400,
        cached_tokens=0,
        requests=0,
        seconds=10.0,
        forward_passes=120,
        forward_tokens=1600,
    )
    assert report.union.cost == report.rows[0].cost + report.rows[1].cost


def test_a_row_that_was_tried_on_a_part_of_the_tasks_has_counts_and_no_accuracy(make_record):
    records = [make_record(str(task), 0.0, task >= 2) for task in range(4)]
    records += [make_record(str(task), 1.0, task == 0) for task in range(3)]
    (report,) = aggregate(rows(records))
    base, row = report.rows
    assert (row.done, row.tasks, row.solved) == (3, 4, 1)
    assert (row.accuracy, row.rsr) == (None, None)
    assert (base.accuracy, base.rsr) == (50, None)
    assert (report.union.solved, report.union.share, report.union_rsr) == (3, 75, 50)


def test_a_row_that_skipped_solved_tasks_has_no_accuracy_but_counts_in_the_union(make_record):
    records = [make_record("1", 0.0, passed=False), make_record("2", 0.0)]
    records += [make_record("1", 1.0), make_record("2", 1.0, cached=True)]
    (report,) = aggregate(rows(records))
    row = report.rows[1]
    assert (row.done, row.solved, row.skipped) == (1, 1, {"2"})
    assert (row.accuracy, row.rsr) == (None, None)
    assert report.union.solved == 2
    assert row.cost.output_tokens == 100


def test_a_task_known_only_as_solved_elsewhere_counts_in_the_union(make_record):
    (report,) = aggregate(rows([make_record(cached=True, stats=False)]))
    assert (report.union.solved, report.rows[0].done) == (1, 0)


def test_the_baseline_of_a_configuration_is_its_prompts(make_record):
    records = [
        make_record(gamma=0.0, passed=False, config="ns2t0.7d2_ln"),
        make_record(gamma=1.0, config="ns3t0.75d6_tok"),
        make_record(gamma=1.0, config="ns2t0.7d2_lci_ln"),
        make_record(gamma=1.0, config="anything else"),
    ]
    rsr = {row.config: row.rsr for row in aggregate(rows(records))[0].rows}
    assert rsr == {
        "anything else": None,
        "ns2t0.7d2_lci_ln": None,
        "ns2t0.7d2_ln": None,
        "ns3t0.75d6_tok": 100,
    }


def test_the_union_is_compared_with_the_best_baseline(make_record):
    records = [make_record(str(task), 0.0, task == 0) for task in range(4)]
    records += [
        make_record(str(task), 0.0, task < 2, config="ns2t0.7d2_lci_ln") for task in range(4)
    ]
    records += [make_record(str(task), 1.0, task == 3) for task in range(4)]
    (report,) = aggregate(rows(records))
    assert report.union.solved == 3
    assert report.union_rsr == 50


def test_empty_and_broken_files_are_no_verdicts(make_record):
    records = [
        make_record("1"),
        make_record("2", state=FileState.EMPTY),
        make_record("3", state=FileState.BROKEN),
    ]
    (report,) = aggregate(rows(records))
    row = report.rows[0]
    assert (row.done, row.tasks, row.unreadable, row.accuracy) == (1, 3, 2, None)
    assert list(report.broken.values()) == ["not JSON"]


def test_requests_of_endpoints_are_summed(make_record):
    records = [make_record(str(task), usage=Usage(requests=3)) for task in range(2)]
    assert aggregate(rows(records))[0].union.cost.requests == 6


def test_data_sets_and_models_are_reported_apart(make_record):
    records = [make_record(model=model) for model in ("b", "a")]
    assert [report.model for report in aggregate(rows(records))] == ["a", "b"]
    assert aggregate([]) == []


def test_tasks_and_configurations_are_in_the_order_of_their_numbers():
    names = ["HumanEval/10", "11", "HumanEval/9", "9", "x"]
    assert sorted(names, key=natural_order) == ["9", "11", "HumanEval/9", "HumanEval/10", "x"]


@given(st.lists(st.text(max_size=4)))
def test_any_names_can_be_ordered(names):
    assert len(sorted(names, key=natural_order)) == len(names)


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ([], "tests seen: not written down"),
        ([(None, None, None)], "tests seen: not written down"),
        ([(None, 3, None), (None, 1, None)], "tests seen: not written down, 1-3 scored"),
        (
            [(3, 3, 3)],
            "tests per task: 3 seen, 3 scored, of which 3 seen",
        ),
        (
            [(1, 3, 1), (2, 1, 0), (None, 3, None)],
            "tests per task: 1-2 seen, 1-3 scored, of which 0-1 seen; 1 results do not say",
        ),
    ],
)
def test_what_was_seen_stands_beside_what_was_scored(tasks, said):
    assert TestCounts.of(tasks).words() == said
