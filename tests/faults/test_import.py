"""Imports of one file, and what goes wrong in ways that stand in no table: one test each.

What goes wrong at any AWS call, in any order, stands in the fault table: tests/faults/kinds.py and test_table.py.
"""

import gzip
import json
import threading
from collections.abc import Callable
from unittest import mock

import pytest

from importer.aws.tables import ImportsTable
from importer.executions import importing
from importer.executions.joining import SegmentsMissing
from importer.model import RULES_VERSION, Execution, Unavailable
from tests.faults.files import FILES, VENDOR_ROWS, row
from tests.faults.importing import Importer, installed, nothing_late_matters, survives
from tests.faults.workloads import NEWER, WORKLOADS, stage_of
from tests.support.books import assert_books_balance
from tests.support.cloud import Cloud
from tests.support.faults import Fault, attempt, every
from tests.support.interleave import interleaved
from tests.support.scenarios import calls_of, explore, report, sample
from tests.support.wire import Call


@pytest.mark.sampled(10)
@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_clean_run_balances_and_whatever_comes_late_changes_nothing(workload: str) -> None:
    """Every good row once in the store, every bad row once in errors/, the file in completed_imports/ (A1)."""
    with stage_of(workload) as stage:
        importer = stage.importer
        stage.tell()
        importer.run_until_quiet()
        assert_books_balance(importer.cloud, stage.sources, tidy=True)
        nothing_late_matters(importer)
        assert_books_balance(importer.cloud, stage.sources, tidy=True)
        assert importer.telemetry.closings == [(stage.workload.key, "SUCCEEDED")]


@pytest.mark.parametrize("gzip", [False, True])
@pytest.mark.parametrize("sinks", [("dynamodb", "firehose"), ("firehose",)])
def test_every_sink_gets_all_of_a_file(sinks: tuple[str, ...], gzip: bool) -> None:
    """Both, or the stream alone; at least once there, with the same id however often (G2, G4)."""
    key, body = FILES["medium"]
    with installed(sinks=sinks, stream_gzip=gzip) as importer:
        survives(importer, importer.cloud.drop(key, body), {key: body})
        assert_books_balance(importer.cloud, {key: body}, tidy=True)


def test_an_execution_keeps_the_sinks_it_began_with() -> None:
    """The stack is deployed anew in the middle of a file: the stream gets all of it all the same."""
    key, body = FILES["medium"]
    with installed(sinks=("dynamodb", "firehose")) as importer:
        notification = importer.cloud.drop(key, body)
        assert attempt(importer.cloud, lambda: importer.deliver(notification), Fault("kill_after", 20)).killed
        importer.cloud.clock.sleep(60)
        importer.with_sinks(("dynamodb",)).deliver(notification)
        assert_books_balance(importer.cloud, {key: body})


def test_an_older_version_of_the_function_leaves_a_newer_ones_execution_alone() -> None:
    """While a deployment is under way both may be delivered to: the older one says so and goes."""
    key, body = FILES["medium"]
    with installed() as importer:
        notification = importer.cloud.drop(key, body)
        with mock.patch.object(importing, "RULES_VERSION", RULES_VERSION + 1):
            attempt(importer.cloud, lambda: importer.deliver(notification), Fault("kill_after", "BatchWriteItem"))
        importer.cloud.clock.sleep(60)
        with pytest.raises(Unavailable, match="newer version"):
            importer.deliver(notification)
        with mock.patch.object(importing, "RULES_VERSION", RULES_VERSION + 1):
            importer.deliver(notification)
        assert_books_balance(importer.cloud, {key: body})


def test_old_and_new_function_at_once_never_leave_an_execution_that_nobody_works_on() -> None:
    """A deployment in the middle of an import: whoever is refused says so, and Lambda delivers again."""
    key, body = FILES["medium"]
    with installed() as importer:
        notification = importer.cloud.drop(key, body)

        def newer() -> list[Execution]:
            rules.version = RULES_VERSION + 1
            return importer.deliver(notification)

        def older() -> list[Execution]:  # a retry meets the function that has been deployed meanwhile
            rules.version = getattr(rules, "version", RULES_VERSION - 1) + 1
            return importer.deliver(notification)

        rules = threading.local()

        class Rules(int):  # what a thread's function was deployed with
            def __lt__(self, other: int) -> bool:
                return rules.version < other

            def __gt__(self, other: int) -> bool:
                return rules.version > other

        def restart(self: ImportsTable, execution: Execution, _: int) -> Execution:
            return honest(self, execution, rules.version)

        honest = ImportsTable.restart

        def play(number: int) -> None:
            with (
                mock.patch.object(importing, "RULES_VERSION", Rules()),
                mock.patch.object(ImportsTable, "restart", restart),
            ):
                interleaved(importer.cloud, {"old": older, "new": newer}, seed=number, tries=2)
            assert_books_balance(importer.cloud, {key: body})

        failures = explore(sample(range(12), 4, whole=12), play)
        assert not failures, report(failures)


def test_with_versioning_suspended_two_uploads_of_a_name_are_two_files() -> None:
    """Both are version "null" there: ETag and LastModified tell them apart, and a delete is conditional (A10, N1)."""
    key = "imports/logins.json"
    with installed() as importer:
        with importer.cloud.unseen():
            importer.cloud.client("s3").put_bucket_versioning(
                Bucket=importer.cloud.bucket, VersioningConfiguration={"Status": "Suspended"}
            )
        for body in (VENDOR_ROWS, NEWER):
            notification = importer.cloud.drop(key, body)
            notification["Records"][0]["s3"]["object"]["versionId"] = "null"
            importer.deliver(notification)
            importer.cloud.clock.sleep(86_400)
        assert sorted(importer.cloud.objects("completed_imports/").values()) == sorted([VENDOR_ROWS, NEWER])
        assert not importer.cloud.objects("imports/")


def test_without_versioning_an_overwritten_import_is_still_brought_to_its_end() -> None:
    """Killed before the move, then overwritten: the old execution ends FAILED, the new file is imported."""
    key, body = FILES["medium"]
    with installed(versioned=False) as importer:
        first = importer.cloud.drop(key, body)
        attempt(importer.cloud, lambda: importer.deliver(first), Fault("kill_before", "CopyObject"))
        second = importer.cloud.drop(key, NEWER)
        importer.cloud.clock.sleep(60)
        for notification in (first, second):
            importer.deliver(notification)
        ends = {(item["status"], item["phase"]) for item in importer.cloud.items("imports") if item["sk"] == "EXEC"}
        assert ends == {("FAILED", "CLOSED"), ("SUCCEEDED", "CLOSED")}
        assert NEWER in importer.cloud.objects("completed_imports/").values()


def test_the_same_name_twice_a_day_overwrites_nothing() -> None:
    """Four objects of each import stand under a stem of their own (I7)."""
    key = "imports/logins.json"
    with installed() as importer:
        for body in (VENDOR_ROWS, NEWER):
            importer.deliver(importer.cloud.drop(key, body))
        assert_books_balance(importer.cloud, {key: [VENDOR_ROWS, NEWER]})
        completed = sorted(importer.cloud.objects("completed_imports/"))
        assert len(completed) == 2
        assert completed[1].endswith("/logins.json")
        assert completed[0].removesuffix(".json").endswith(str(_ids(importer)[1]))


def _ids(importer: Importer) -> list[str]:
    """Execution ids, oldest first."""
    found = [item for item in importer.cloud.items("imports") if item["sk"] == "EXEC"]
    return [item["id"] for item in sorted(found, key=lambda item: item["creation_date"])]


class _Dies(Exception):
    """A worker ends between its delete and its close."""


@pytest.mark.sampled(each="versioned call")
@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize(("call", "time"), [("s3 CopyObject", 1), ("s3 HeadObject imports/", 2), ("s3 GetObject", 3)])
def test_a_file_another_worker_has_moved_meanwhile_never_ends_failed(versioned: bool, call: str, time: int) -> None:
    """Two settle at once: what the slower one finds gone was moved, and the copy proves it."""
    key, body = FILES["long lines"]
    with installed(versioned=versioned) as importer:
        notification = importer.cloud.drop(key, body)
        seen = [0]

        def at(made: Call) -> bool:
            seen[0] += call in made.label
            return call in made.label and seen[0] == time

        def other(cloud: Cloud) -> None:
            with cloud.unseen(), mock.patch.object(ImportsTable, "close", side_effect=_Dies), pytest.raises(_Dies):
                importer.deliver(notification)

        attempt(importer.cloud, lambda: importer.deliver(notification), Fault("before", at, detail={"do": other}))
        importer.cloud.clock.sleep(3600)
        importer.deliver(notification)
        assert_books_balance(importer.cloud, {key: body})


def test_what_was_read_before_a_damage_counts_at_any_pace_of_progress() -> None:
    """A truncated file read within seconds: the receipt tells of the rows that are stored."""
    text = b"".join(row(number) + b"\n" for number in range(400)) + b"not json\n"
    stored = gzip.compress(text, mtime=0) + gzip.compress(row(1), mtime=0)[:-4]
    with installed(progress_every_ms=5_000) as importer:
        (execution,) = importer.deliver(importer.cloud.drop("imports/cut.json.gz", stored))
        assert execution.outcome is not None
        (receipt,) = map(json.loads, importer.cloud.objects("receipts/").values())
        stored_events = len(importer.cloud.items("events"))
        told = receipt["status"], receipt["complete"], receipt["good"], receipt["bad"], receipt["unread"][0]["from"]
        # The last batch has no end before the damage, so it is not read.
        assert told == ("FAILED", False, stored_events, 0, execution.outcome.read_to[0])
        assert stored_events > 380


def test_a_failed_execution_whose_long_rows_cannot_be_had_any_more_is_closed_all_the_same() -> None:
    """Archived in the middle: FAILED with receipt and errors, an empty line where the long row stood (C7)."""
    key, body = FILES["long lines"]
    body = body + b"\n" + row(5) + b"\n"
    with installed() as importer:
        cloud = importer.cloud
        notification = cloud.drop(key, body)

        attempt(cloud, lambda: importer.deliver(notification), Fault("kill_after", _progress_number(3)))
        cloud.clock.sleep(60)
        cloud._object(key)._storage_class = "GLACIER"  # type: ignore[union-attr]  # as a lifecycle rule does
        (execution,) = importer.deliver(notification)
        assert execution.error is not None
        assert (execution.error.code, execution.phase.value) == ("object_archived", "CLOSED")
        (receipt,) = map(json.loads, cloud.objects("receipts/").values())
        assert receipt["bad"] == cloud.objects("errors/")[receipt["errors_uri"].split("/", 3)[3]].count(b"\n") > 0


def _progress_number(wanted: int) -> Callable[[Call], bool]:
    """The so-manieth move of a part's position."""
    seen = [0]

    def progress(call: Call) -> bool:
        is_progress = call.operation == "UpdateItem" and "next_offset = :after" in call.document["UpdateExpression"]
        seen[0] += is_progress
        return is_progress and seen[0] == wanted

    return progress


def test_a_header_that_is_gone_is_never_papered_over() -> None:
    """An errors file without it could not be dropped again: the settlement stops instead."""
    key, body = FILES["CSV"]
    with installed() as importer:
        notification = importer.cloud.drop(key, body)
        attempt(importer.cloud, lambda: importer.deliver(notification), Fault("kill_before", "CopyObject"))
        (header,) = [name for name in importer.cloud.objects("work/") if name.endswith("/header")]
        importer.cloud.remove(header)
        importer.cloud.clock.sleep(60)
        with pytest.raises(SegmentsMissing, match="the header"):
            importer.deliver(notification)


def test_a_throttled_stream_does_not_have_the_tables_written_again() -> None:
    """They would be paid for again every 15 seconds (G4)."""
    key, body = "imports/one.json", VENDOR_ROWS
    with installed(sinks=("dynamodb", "firehose")) as importer:
        notification = importer.cloud.drop(key, body)
        throttled = Fault("throttled", "PutRecordBatch", times=40)
        (ended, *_) = importer.deliver_as_lambda_does(notification, throttled)
        writes = [call.operation for call in ended.calls if call.operation in ("BatchWriteItem", "PutItem")]
        streamed = [call for call in ended.calls if call.operation == "PutRecordBatch"]
        assert (writes.count("BatchWriteItem"), len(streamed)) == (1, 41)
        assert_books_balance(importer.cloud, {key: body})


def test_long_rows_are_copied_although_the_file_is_moved_already() -> None:
    """Killed between the delete and the end: the papers are written again, from the copy (E8)."""
    key, body = FILES["long lines"]
    with installed() as importer:
        notification = importer.cloud.drop(key, body)
        assert attempt(
            importer.cloud, lambda: importer.deliver(notification), Fault("kill_after", "DeleteObject")
        ).killed
        importer.cloud.clock.sleep(60)
        importer.deliver(notification)
        assert_books_balance(importer.cloud, {key: body})


def test_long_rows_of_a_file_that_breaks_off_are_copied_too() -> None:
    """FAILED, and what was read before is in errors/, byte for byte."""
    key, body = FILES["long lines, gzip"]
    text = gzip.decompress(body)
    stored = gzip.compress(text, mtime=0) + gzip.compress(row(1), mtime=0)[:-4]
    with installed() as importer:
        (execution,) = importer.deliver(importer.cloud.drop(key, stored))
        assert execution.error is not None
        assert execution.outcome is not None
        errors = importer.cloud.objects()[execution.outcome.destination.errors]
        long = b'{"user_id":"user-2"' + text.partition(b'{"user_id":"user-2"')[2].partition(b"\n")[0] + b"\n"
        assert (execution.error.code, errors.count(long), execution.outcome.sums.bad) == ("truncated", 1, 3)


def test_a_long_row_whose_file_was_taken_away_leaves_an_empty_line() -> None:
    """FAILED `object_gone`: errors/ and reasons still go row by row together."""
    key, body = FILES["long lines"]
    with installed(versioned=False) as importer:
        cloud = importer.cloud
        notification = cloud.drop(key, body)
        attempt(cloud, lambda: importer.deliver(notification), Fault("kill_before", "CopyObject"))
        cloud.remove(key)
        cloud.clock.sleep(60)
        (execution,) = importer.deliver(notification)
        assert execution.error is not None
        assert execution.outcome is not None
        errors = cloud.objects()[execution.outcome.destination.errors].split(b"\n")
        reasons = cloud.objects()[execution.outcome.destination.reasons].splitlines()
        assert execution.error.code == "object_gone"
        assert [json.loads(reason)["reason"] for reason in reasons] == [
            "line_too_long",
            "not_json",
            "line_too_long",
            "line_too_long",
        ]
        assert errors == [b"", b"not json", b"", b"", b""]


BROKEN_FILES = {
    "wrong_kind": ("imports/notes.txt", VENDOR_ROWS),
    "truncated": ("imports/cut.json.gz", FILES["gzip of two members"][1][:-40]),
    "wrong_encoding": ("imports/utf16.json", VENDOR_ROWS.decode().encode("utf-16")),
    "not_line_delimited": ("imports/pretty.json", b'{\n  "user_id": "u"\n}\n'),
}


@pytest.mark.parametrize("code", BROKEN_FILES)
def test_a_refused_file_stays_where_it_is_with_a_receipt_whatever_went_wrong(code: str) -> None:
    """FAILED: the source in imports/, `complete: false`, rows = good + bad as far as it was read."""
    key, body = BROKEN_FILES[code]
    with installed() as importer:
        notification = importer.cloud.drop(key, body)
        calls = calls_of(importer.cloud, lambda: importer.deliver(notification))

        def play(fault: Fault) -> None:
            importer.deliver_as_lambda_does(notification, fault)
            importer.deliver(notification)
            _assert_refused(importer, key, body, code)

        failures = explore(sample(every(calls), 4, whole=15), play)
        assert not failures, report(failures)


def test_a_mended_file_dropped_over_a_refused_one_leaves_imports_empty() -> None:
    """The refused version does not come back into sight; its bytes stay below a delete marker. At any fault."""
    key, refused = BROKEN_FILES["wrong_encoding"]
    with installed() as importer:
        importer.deliver(importer.cloud.drop(key, refused))
        importer.cloud.clock.sleep(2)
        mended = importer.cloud.drop(key, VENDOR_ROWS)
        calls = calls_of(importer.cloud, lambda: importer.deliver(mended))

        def play(fault: Fault) -> None:
            importer.deliver_as_lambda_does(mended, fault)
            assert not importer.cloud.objects("imports/")
            assert [body for _, body in importer.cloud.versions(key) if body is not None] == [refused]
            assert list(importer.cloud.objects("completed_imports/").values()) == [VENDOR_ROWS]

        failures = explore(sample(every(calls), 4, whole=15), play)
        assert not failures, report(failures)


def test_a_newer_refused_upload_stays_in_sight() -> None:
    """Only what is older is hidden: a later upload, refused meanwhile, is still there to be seen and mended."""
    key, refused = BROKEN_FILES["wrong_encoding"]
    with installed() as importer:
        first = importer.cloud.drop(key, VENDOR_ROWS)
        importer.cloud.clock.sleep(2)
        importer.deliver(importer.cloud.drop(key, refused))
        importer.deliver(first)
        assert importer.cloud.objects("imports/") == {key: refused}


def _assert_refused(importer: Importer, key: str, body: bytes, code: str) -> None:
    objects = importer.cloud.objects()
    (receipt,) = (json.loads(text) for name, text in objects.items() if name.startswith("receipts/"))
    errors = [
        text for name, text in objects.items() if name.startswith("errors/") and not name.endswith(".reasons.ndjson")
    ]
    (execution,) = (item for item in importer.cloud.items("imports") if item["sk"] == "EXEC")
    assert objects[key] == body
    assert not importer.cloud.objects("completed_imports/")
    assert (execution["status"], execution["phase"], execution["error"]["code"]) == ("FAILED", "CLOSED", code)
    assert (receipt["status"], receipt["complete"], receipt["error"]["code"]) == ("FAILED", False, code)
    assert receipt["lines"] == receipt["rows"] + receipt["blank"]
    assert receipt["rows"] == receipt["good"] + receipt["bad"]
    assert sum(text.count(b"\n") for text in errors) == receipt["bad"]
    assert "unfinished" not in execution
