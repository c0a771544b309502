import io

import attrs
import pytest
from rich.console import Console

from egcfg.interfaces.usage import Usage
from egcfg.reports.aggregate import aggregate
from egcfg.reports.rows import ResultRow
from egcfg.reports.table import report_view, run_view, task_table
from egcfg.runs.results import TestVerdict
from egcfg.usage.prices import Prices


def rows(records):
    return [ResultRow.of(record) for record in records]


@pytest.fixture
def render():
    def render(renderable, width=80):
        out = io.StringIO()
        Console(file=out, width=width, color_system=None).print(renderable)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"

    return render


@pytest.fixture
def golden(request):
    def golden(name):
        return (request.path.with_name("golden") / name).read_text(encoding="utf-8")

    return golden


def test_the_table_of_a_folder(mixed, render, golden):
    (report,) = aggregate(rows(mixed))
    assert render(report_view(report), width=100) == golden("monitor.txt")


def test_names_of_configurations_stay_whole_where_columns_are_many(mixed, render):
    (report,) = aggregate(rows(mixed))

    narrow, wide = render(report_view(report), width=80), render(report_view(report), width=100)

    for config in {record.config for record in mixed}:
        lines = [line for line in narrow.splitlines() if line.split()[:1] == [config]]
        assert len(lines) == sum(row.config == config for row in report.rows)
    assert {"skipped", "unreadable", "solved"} <= set(narrow.split())
    assert "too narrow for: passes" in narrow
    assert "too narrow" not in wide


def test_the_final_table_of_a_run(make_record, render, golden):
    records = [
        make_record(task, gamma, passed=gamma == 1 and task != "12")
        for task in ("HumanEval/0", "11", "12")
        for gamma in (0.0, 1.0)
    ]
    assert render(run_view(rows(records))) == golden("run.txt")


def test_what_the_sandbox_failed_on_is_counted_and_shown(make_record, render):
    verdict = TestVerdict(passed=False, error="why", status="sandbox_error")
    failed = make_record("1", passed=False)
    failed = attrs.evolve(failed, result=attrs.evolve(failed.result, tests={"a": verdict}))
    shown = render(run_view(rows([failed, make_record("2")])), width=100)
    (task,) = [line for line in shown.splitlines() if line.startswith("1 ")]
    assert task.split()[:4] == ["1", "1", "sandbox", "error"]
    (row,) = aggregate(rows([failed, make_record("2")]))[0].rows
    assert (row.done, row.solved, row.sandbox_errors) == (2, 1, 1)
    assert "the sandbox failed on some programs, which count as not passed" in shown


def test_an_endpoints_table_shows_requests(make_record, render):
    (report,) = aggregate(rows([make_record(usage=Usage(requests=12345))]))
    shown = render(report_view(report))
    assert "requests" in shown
    assert "passes" not in shown
    assert "12.3k" in shown
    assert "cost" not in shown


def test_known_prices_show_the_cost_of_cached_and_other_tokens(make_record, render):
    usage = Usage(requests=3, cached_tokens=400)
    records = [make_record("1", usage=usage), make_record("1", model="org_other", usage=usage)]
    prices = {"org_tiny": Prices(input=100, cached_input=10, output=1000)}
    (other, priced) = aggregate(rows(records), prices.get)
    # 600 fresh and 400 cached tokens in, 100 out.
    assert priced.union.cost.price == pytest.approx(0.06 + 0.004 + 0.1)
    assert other.union.cost.price is None
    header, _, row = render(report_view(priced), width=120).splitlines()[1:4]
    assert header.split()[-8:] == [
        "tok",
        "in",
        "cached",
        "tok",
        "out",
        "requests",
        "seconds",
        "cost",
    ]
    assert row.split()[-6:] == ["1000", "400", "100", "3", "2.5", "0.164"]
    assert "at a cost of 0.164: an oracle" in render(report_view(priced), width=300)
    assert "cost" not in render(report_view(other))
    tasks = render(task_table(rows(records), prices.get)).splitlines()
    assert [line.split()[-1] for line in tasks if line.startswith("1 ")] == ["0.164", "-"]


def test_names_with_brackets_are_shown_as_they_are(make_record, render):
    record = attrs.evolve(make_record("[red]1[/]"), config="[x]", model="[bold]m")
    shown = render(run_view(rows([record])))
    assert "[red]1[/]" in shown
    assert "[x]" in shown
    assert "[bold]m" in shown


@pytest.mark.parametrize(
    ("tokens", "shown"),
    [
        (0, "0"),
        (9999, "9999"),
        (10_000, "10k"),
        (999_499, "999k"),
        (999_500, "1M"),
        (1_234_567, "1.23M"),
        (98_765_432_100, "98.8G"),
    ],
)
def test_counts_stay_short(make_record, render, tokens, shown):
    record = make_record()
    stats = attrs.evolve(record.result.stats, output_tokens=tokens)
    record = attrs.evolve(record, result=attrs.evolve(record.result, stats=stats))
    (report,) = aggregate(rows([record]))
    row = next(line for line in render(report_view(report)).splitlines() if "ns2t" in line)
    assert row.split()[6] == shown


def test_a_table_of_nothing_is_a_header(render):
    assert "passed" in render(task_table([]))


def test_more_units_than_one_can_read_are_told_by_their_numbers_only(make_record, render):
    few = [make_record(str(task)) for task in range(50)]
    assert "tokens" in render(run_view(rows(few))).splitlines()[0]
    shown = render(run_view(rows([*few, make_record("50")])), width=200)
    assert shown.startswith("51 units are too many for a table of each; the same command with --ta")
    assert "task  " not in shown
    assert "51/51" in shown


def test_shared_time_is_shown_on_the_clock_only(make_record, render):
    def at(record, start, end, concurrency=4):
        times = {
            f"{name}_time": f"2026-01-01T00:00:{second:02}+00:00"
            for name, second in (("start", start), ("end", end))
        }
        stats = attrs.evolve(record.result.stats, concurrency=concurrency, **times)
        return attrs.evolve(record, result=attrs.evolve(record.result, stats=stats))

    # At work from second 0 to 20 and from 30 to 40.
    spans = [(0, 10), (5, 20), (6, 8), (30, 40)]
    records = [at(make_record(str(n)), *span) for n, span in enumerate(spans)]
    shown = render(run_view(rows(records)), width=200)
    assert "seconds" not in shown
    assert "in 30.0 s on the clock (8 units a minute)" in shown
    assert "up to 4 units shared their time" in shown
    many = [at(make_record(str(number)), 0, 2) for number in range(51)]
    assert "in 2.0 s on the clock (1530 units a minute)" in render(run_view(rows(many)), width=200)
    (report,) = aggregate(rows([at(record, 0, 10, 1) for record in records]))
    assert (report.wall_seconds, report.union.cost.seconds) == (10, 10)
    assert "in 10.0 s:" in render(report_view(report), width=200)
    (unknown,) = aggregate(rows([*records, make_record("9")]))
    assert unknown.wall_seconds is None


def test_near_ties_are_told_where_there_are_any(make_record, render):
    def counting(task, near_ties):
        record = make_record(task)
        stats = attrs.evolve(record.result.stats, near_ties=near_ties)
        return attrs.evolve(record, result=attrs.evolve(record.result, stats=stats))

    assert "near-tie" not in render(run_view(rows([counting("1", 0)])))
    assert "1 near-tie: " in render(run_view(rows([counting("1", 1), counting("2", 0)])))
    assert "3 near-ties: " in render(run_view(rows([counting("1", 1), counting("2", 2)])))
