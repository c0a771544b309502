import csv
import io
import json

from egcfg.reports.aggregate import aggregate
from egcfg.reports.export import as_csv, as_dict, as_json, report_lines, rows_as_dicts
from egcfg.reports.rows import ResultRow


def rows(records):
    return [ResultRow.of(record) for record in records]


def test_json_holds_every_number_by_name(make_record):
    records = [make_record("1", 0.0, passed=False), make_record("1", 1.0)]
    (report,) = json.loads(as_json([as_dict(each) for each in aggregate(rows(records))]))
    cost = {
        "input_tokens": 1000,
        "output_tokens": 100,
        "seconds": 2.5,
        "forward_passes": 30,
        "forward_tokens": 400,
        "requests": 0,
        "cached_tokens": 0,
        "concurrency": 1,
        "price": None,
        "unknown_costs": 0,
    }
    counts = {
        "done": 1,
        "tasks": 1,
        "skipped": 0,
        "unreadable": 0,
        "sandbox_errors": 0,
        "unfinished": 0,
        "near_ties": 0,
    }
    base = {"config": "ns2t0.75d2_ln", "gamma": 0.0, "method": "egcfg"}
    base |= {"solved": 0, "accuracy": 0.0, "rsr": None}
    assert report["rows"][0] == {**base, **counts, **cost}
    assert report["rows"][1]["rsr"] == 100
    union = {"solved": 1, "accuracy": 100.0, "rsr": 100.0, "output_tokens": 200, "seconds": 5.0}
    assert union.items() <= report["union"].items()
    assert "tests" in report["union"]["oracle"]


def test_csv_has_one_line_per_row_and_one_per_union(mixed):
    (report,) = aggregate(rows(mixed))
    lines = list(csv.DictReader(io.StringIO(as_csv(report_lines(report)))))
    assert len(lines) == len(report.rows) + 1
    assert [line["config"] for line in lines][-1] == "union"
    assert lines[-1]["gamma"] == ""
    for line, row in zip(lines, as_dict(report)["rows"], strict=False):
        assert {key: str("" if value is None else value) for key, value in row.items()} == {
            key: line[key] for key in row
        }


def test_no_results_are_an_empty_csv():
    assert as_csv([]) == ""
    assert json.loads(as_json([])) == []


def test_units_are_one_mapping_each(make_record):
    (line,) = rows_as_dicts(rows([make_record("HumanEval/3", -0.1)]))
    known = {"task_id": "HumanEval/3", "gamma": -0.1, "state": "done", "output_tokens": 100}
    assert known.items() <= line.items()
    assert line["started"] is None
    assert rows_as_dicts([]) == []
