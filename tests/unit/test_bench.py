"""The benchmark's own pure pieces: what is measured with, and what is made of it."""

import base64
import hashlib
import json
from fractions import Fraction
from pathlib import Path

import pytest

from importer.batches import Rules, batches
from importer.definitions import DEFAULT
from importer.formats import DEFAULT as FORMAT
from importer.lines import lines
from importer.parts import WHOLE
from importer.sinks import SINKS
from tests.bench.contenders import CONTENDERS, SCENARIOS, Trial
from tests.bench.generate import BLOCK_ROWS, FIRST_MS, WAYS, Expected, made, rows, spoilt
from tests.bench.results import RATIOS, Run, Step, bar, median, ratios, steps, table

ROWS = 2_000


def run(cpu_seconds: float = 1.0, wall_seconds: float = 1.0, **more: float) -> Run:
    plain = dict(rows=1_000, events=1_000, source_bytes=90_000_000, peak_rss_bytes=8e7, start_cpu_seconds=0.1, calls=40)
    return Run(cpu_seconds=cpu_seconds, wall_seconds=wall_seconds, **(plain | more))  # type: ignore[arg-type]


def test_a_file_is_what_is_said_of_it(tmp_path: Path) -> None:
    """Rows, good and bad ones, bytes and hash; and it is the same every time."""
    file, expected = made(tmp_path, ROWS)
    body = file.read_bytes()
    assert (len(body.splitlines()), expected.good, expected.bad_rows) == (ROWS, 1_980, 20)
    assert (len(body), base64.b64encode(hashlib.sha256(body).digest()).decode()) == (
        expected.size_bytes,
        expected.sha256,
    )
    assert body == b"".join(row for row, _ in rows(ROWS, 7))
    assert made(tmp_path, ROWS) == (file, expected)


def test_rows_have_14_properties_and_about_360_bytes() -> None:
    """As promised on the page."""
    good = [row for row, way in rows(ROWS, 7) if not way]
    assert {len(json.loads(row)) for row in good} == {14}
    assert 350 < sum(map(len, good)) / len(good) < 380


def test_the_importer_finds_what_was_spoilt() -> None:
    """Each way of spoiling has the reason that `REASONS` names, counted one by one."""
    made_rows = list(rows(BLOCK_ROWS // 20, 3))
    ways = [way for _, way in made_rows if way]
    expected = Expected(len(made_rows), 0, {way: ways.count(way) for way in WAYS}, 0, "")
    rules = Rules(FORMAT, DEFAULT, now_ms=FIRST_MS + 10**9, limits=(SINKS["dynamodb"],))
    found: dict[str, int] = {}
    for batch in batches(lines([b"".join(row for row, _ in made_rows)], WHOLE), rules):
        for bad in batch.bad_rows:
            found[bad.reason] = found.get(bad.reason, 0) + 1
    assert (found, set(ways)) == (expected.reasons(), set(WAYS))


def test_a_way_that_does_not_exist() -> None:
    """A misspelt name spoils nothing in silence."""
    with pytest.raises(ValueError, match="sideways"):
        spoilt(b"{}", "sideways")


def test_rows_of_users_say_two_properties_of_the_user() -> None:
    """Instead of two of the event."""
    row = json.loads(next(rows(1, 7, users=True))[0])
    assert ([name for name in row if name.startswith("{u}")], len(row)) == (["{u}country", "{u}plan"], 14)


@pytest.mark.parametrize(
    ("share", "of", "given"),
    [
        (Fraction(1), 1_000_000, 1_000_000),
        (Fraction(7, 10), 1_000_000, 700_000),
        (Fraction(1, 50), 1_000_000, 20_000),
        (Fraction(7, 10), 250_000, 100_000),
        (Fraction(1, 50), 1_000, 1_000),
    ],
)
def test_share_of_the_rows(share: Fraction, of: int, given: int) -> None:
    """Whole blocks, where there is more than one; never next to nothing."""
    assert Trial("ours", share).rows(of) == given


def test_a_lost_and_an_invented_row_are_told() -> None:
    """By what came over the wire, and by what the client says."""
    expected = Expected(100, 99, {"cut_short": 1}, 0, "")
    typical = CONTENDERS["typical"]
    counted = {"items": 99, "BatchWriteItem": 4}
    assert typical.wrong(expected, {"good": 99, "bad": 1}, counted) == []
    assert typical.wrong(expected, {"good": 98, "bad": 2}, counted) == ["good: 98, not 99", "bad: 2, not 1"]
    assert typical.wrong(expected, {"good": 99, "bad": 1}, {"items": 100, "BatchWriteItem": 5}) == [
        "items: 100, not 99",
        "BatchWriteItem: 5, not 4",
    ]


def test_ours_is_asked_for_the_reason_of_each_bad_row_too() -> None:
    """And for having taken the file away."""
    expected = Expected(100, 99, {"cut_short": 1}, 0, "")
    said = {"good": 99, "bad": 1, "receipt": {"reasons": [{"code": "not_utf8", "count": 1}]}}
    assert CONTENDERS["ours"].wrong(expected, said, {"items": 99}) == [
        "source_delete: 0, not 1",
        "bad: not_json: 0, not 1",
    ]


def test_medians_are_of_each_figure_on_its_own() -> None:
    """A round that was disturbed does not count, whichever it was."""
    middle = median([run(1.0, 9.0), run(2.0, 1.0), run(9.0, 2.0)])
    assert (middle.cpu_seconds, middle.wall_seconds, middle.cpu_us) == (2.0, 2.0, 2_000)


def test_ratios_of_what_was_measured() -> None:
    """Only those whose runs are there."""
    medians = {
        ("dynamodb", "typical"): run(1.3),
        ("dynamodb", "ours"): run(0.1),
        ("firehose_latency", "ours_firehose"): run(0.1, 1.25),
    }
    assert ratios(medians) == {
        "dynamodb_cpu_vs_batch_writer": 13.0,
        "firehose_link_share": 0.8,
        "dynamodb_peak_rss_mb": 80.0,
    }
    assert [(told["name"], told["measured"], told["verdict"]) for told in bar(ratios(medians)) if told["measured"]] == [
        ("dynamodb_cpu_vs_batch_writer", "13.0 ×", "met"),
        ("firehose_link_share", "80%", "not met"),
        ("dynamodb_peak_rss_mb", "80.0 MB", "met"),
    ]


def test_what_was_promised_and_not_measured_is_told() -> None:
    """A run that leaves something out does not look like one that met everything."""
    assert {(told["name"], told["verdict"]) for told in bar({})} == {
        (ratio.name, "not measured") for ratio in RATIOS if ratio.at_least is not None
    }


def test_every_ratio_names_trials_there_are() -> None:
    """A ratio of a trial that is never run would be left out in silence."""
    there = {(name, trial.key) for name, scenario in SCENARIOS.items() for trial in scenario.trials}
    assert [ratio.name for ratio in RATIOS if not set(ratio.needs) <= there] == []


def test_steps_add_up() -> None:
    """What each adds is the difference to what stands before it."""
    assert steps({"read": 0.5, "lines": 0.75}, {"read": "read it", "lines": "split it"}) == [
        Step("read", "read it", 0.5, 0.5),
        Step("lines", "split it", 0.25, 0.75),
    ]


def test_table() -> None:
    """Markdown."""
    assert table(["a", "b"], [["1", "2"]]) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]
