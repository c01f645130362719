"""What is counted of a file that has ended."""

import json
from dataclasses import replace
from typing import Any

import pytest
from aws_lambda_powertools import Logger, Metrics

from importer.bad_rows import Reason
from importer.definitions import DEFAULT
from importer.model import (
    Destination,
    Execution,
    Outcome,
    Phase,
    S3Object,
    Status,
    Tally,
    Upload,
    Usage,
)
from importer.telemetry import NAMESPACE, PowertoolsTelemetry

DROPPED_MS, BEGAN_MS, READ_MS, NOW_MS = 1_000_000, 1_030_000, 1_090_000, 1_100_000
SOURCE = S3Object("b", "imports/a.json", "v", "e", 4_096, DROPPED_MS)
OUTCOME = Outcome(
    Destination("c", "e", "r", "p"), READ_MS, Tally(lines=9, good=4, bad=5), {0: 9}, "s", Usage(throttled_requests=3)
)
ENDED = Execution(
    "x", SOURCE, Status.SUCCEEDED, Phase.CLOSED, BEGAN_MS, DEFAULT.as_stored(), "cooladata", 1, outcome=OUTCOME
)


def told(execution: Execution, refused: dict[str, int], capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    """The lines of metrics, that of all of them last."""
    metrics = Metrics(namespace=NAMESPACE, service="stack")
    metrics.clear_metrics()
    PowertoolsTelemetry(Logger(service="closing-metrics"), metrics).closed(execution, NOW_MS, refused)
    metrics.flush_metrics()
    return [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]


def test_a_files_end_is_told_from_its_drop_with_its_bytes(capsys: pytest.CaptureFixture[str]):
    """Whatever it waited for; what began later is told beside it."""
    (line,) = told(ENDED, {}, capsys)
    names = ("DropToEndMilliseconds", "ImportMilliseconds", "ImportedBytes", "ThrottledRequests", "RowsBad")
    assert [line[name] for name in names] == [[100_000.0], [60_000.0], [4_096.0], [3.0], [5.0]]


def test_of_a_refused_file_no_bytes_are_told(capsys: pytest.CaptureFixture[str]):
    """Nothing of it is said to be imported; it has ended all the same."""
    (line,) = told(replace(ENDED, status=Status.FAILED), {}, capsys)
    assert (line["DropToEndMilliseconds"], "ImportedBytes" in line) == ([100_000.0], False)


def test_a_replay_was_dropped_whenever(capsys: pytest.CaptureFixture[str]):
    """What was archived last year has not been on its way since."""
    replayed = replace(ENDED, replayed=Upload("p", "p", "imports/a.json", DROPPED_MS - 10**9, BEGAN_MS))
    (line,) = told(replayed, {}, capsys)
    assert "DropToEndMilliseconds" not in line


def test_every_reason_is_a_line_with_two_dimensions(capsys: pytest.CaptureFixture[str]):
    """So there are as many of these metrics as there are reasons, at most."""
    *lines, _ = told(ENDED, {reason.value: number for number, reason in enumerate(Reason, 1)}, capsys)
    assert {line["reason"]: line["RowsBadByReason"] for line in lines} == {
        reason.value: [float(number)] for number, reason in enumerate(Reason, 1)
    }
    assert {tuple(sorted(line["_aws"]["CloudWatchMetrics"][0]["Dimensions"][0])) for line in lines} == {
        ("reason", "service")
    }
    assert {line["service"] for line in lines} == {"stack"}
