"""The first fault suite: kill or break the import at every AWS call, deliver again, and count the books.

The oracle (tests/support/oracle.py) works the expected store out a second time, without a line of the importer.
Samples print their seed; FAULT_SEED repeats one, FAULT_ONLY names scenarios. `make test-full` runs them all.
"""

import gzip
import json
import random
import threading
from collections.abc import Callable
from unittest import mock

import pytest

from importer.aws.tables import ImportsTable
from importer.executions import importing
from importer.executions.settling import SegmentsMissing
from importer.model import RULES_VERSION, Execution, Status, Unavailable
from tests.faults.importing import VENDOR_ROWS, WORKLOADS, Importer, installed, row, survives
from tests.support.books import assert_books_balance, assert_nothing_lost
from tests.support.cloud import Cloud
from tests.support.faults import Fault, attempt, every, pairs
from tests.support.interleave import interleaved
from tests.support.scenarios import calls_of, explore, report, sample, seed
from tests.support.wire import Call

EVERYTHING = 10**9
NEWER = row(99) + b"\n" + b"not json\n"


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_clean_delivery_balances_and_a_second_one_changes_nothing(workload: str) -> None:
    """Every good row once in the store, every bad row once in errors/, the file in completed_imports/ (A1)."""
    key, body = WORKLOADS[workload]
    with installed() as importer:
        notification = importer.cloud.drop(key, body, Metadata={"sender": "nightly"}, Tagging="team=web")
        survives(importer, notification, {key: body})
        assert_books_balance(importer.cloud, {key: body}, tidy=True)
        assert importer.telemetry.closings == [(key, "SUCCEEDED")]


@pytest.mark.parametrize("gzip", [False, True])
@pytest.mark.parametrize("sinks", [("dynamodb", "firehose"), ("firehose",)])
def test_every_sink_gets_all_of_a_file(sinks: tuple[str, ...], gzip: bool) -> None:
    """Both, or the stream alone; at least once there, with the same id however often (G2, G4)."""
    key, body = WORKLOADS["medium"]
    with installed(sinks=sinks, stream_gzip=gzip) as importer:
        survives(importer, importer.cloud.drop(key, body), {key: body})
        assert_books_balance(importer.cloud, {key: body}, tidy=True)


def test_an_execution_keeps_the_sinks_it_began_with() -> None:
    """The stack is deployed anew in the middle of a file: the stream gets all of it all the same."""
    key, body = WORKLOADS["medium"]
    with installed(sinks=("dynamodb", "firehose")) as importer:
        notification = importer.cloud.drop(key, body)
        assert attempt(importer.cloud, lambda: importer.deliver(notification), Fault("kill_after", 20)).killed
        importer.cloud.clock.sleep(60)
        importer.with_sinks(("dynamodb",)).deliver(notification)
        assert_books_balance(importer.cloud, {key: body})


def _single_faults(workload: str, at_most: int, sinks: tuple[str, ...] = ("dynamodb",)) -> str:
    key, body = WORKLOADS[workload]
    with installed(sinks=sinks) as importer:
        notification = importer.cloud.drop(key, body, Metadata={"sender": "nightly"})
        calls = calls_of(importer.cloud, lambda: importer.deliver(notification))
        failures = explore(
            sample(every(calls), at_most), lambda fault: survives(importer, notification, {key: body}, fault)
        )
        return report(failures)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_one_fault_at_any_call_leaves_balanced_books(workload: str) -> None:
    """A sample of: every kind of fault at every AWS call of the import, then Lambda's retries and a late duplicate."""
    failures = _single_faults(workload, 30)
    assert not failures, failures


def test_one_fault_at_any_call_with_both_sinks_leaves_balanced_books() -> None:
    """The same with a stream behind the tables: a row is in both or in errors/."""
    failures = _single_faults("medium", 30, ("dynamodb", "firehose"))
    assert not failures, failures


@pytest.mark.slow
@pytest.mark.parametrize("sinks", [("dynamodb", "firehose"), ("firehose",)])
def test_every_fault_at_every_call_with_a_stream_leaves_balanced_books(sinks: tuple[str, ...]) -> None:
    """All of them, once each."""
    failures = _single_faults("medium", EVERYTHING, sinks)
    assert not failures, failures


@pytest.mark.slow
@pytest.mark.parametrize("workload", WORKLOADS)
def test_every_fault_at_every_call_leaves_balanced_books(workload: str) -> None:
    """All of them, once each."""
    failures = _single_faults(workload, EVERYTHING)
    assert not failures, failures


@pytest.mark.parametrize("at_most", [50, pytest.param(1500, marks=pytest.mark.slow)])
def test_a_fault_in_a_delivery_and_another_in_its_retry_leave_balanced_books(at_most: int) -> None:
    """Killed while importing, killed again while settling, and so on: two faults in two tries, then clean ones."""
    key, body = WORKLOADS["medium"]
    with installed() as importer:
        notification = importer.cloud.drop(key, body)
        calls = calls_of(importer.cloud, lambda: importer.deliver(notification))

        def play(faults: tuple[Fault, Fault]) -> None:
            importer.deliver_as_lambda_does(notification, *faults)
            survives(importer, notification, {key: body}, faults[1])

        kinds = ("kill_before", "kill_after", "reply_lost", "throttled", "unprocessed")
        failures = explore(sample(pairs(every(calls, kinds)), at_most), play)
        assert not failures, report(failures)


@pytest.mark.parametrize("count", [30, pytest.param(2000, marks=pytest.mark.slow)])
def test_deliveries_at_once_with_a_fault_among_them_leave_balanced_books(count: int) -> None:
    """Two or three deliveries of one notification, interleaved at every call by a seed, one of them broken (M, I1).

    All have the same request id, as a redelivery has (N4): owners are told apart by what each made up.
    """
    key, body = WORKLOADS["medium"]
    with installed() as importer:
        notification = importer.cloud.drop(key, body)
        calls = calls_of(importer.cloud, lambda: importer.deliver(notification))
        kinds = ("kill_before", "kill_after", "reply_lost", "connection_lost", "throttled", "unprocessed", "slow")
        faults = every(calls, kinds)
        first = seed()
        print(f"FAULT_SEED={first}")

        def play(number: int) -> None:
            choose = random.Random(number)
            names = ["a", "b", "c"][: choose.choice((2, 2, 3))]
            broken = {"a": [choose.choice(faults)]} if choose.random() < 0.8 else {}
            interleaved(
                importer.cloud,
                {name: lambda: importer.deliver(notification) for name in names},
                seed=number,
                faults=broken,
                tries=3,
            )
            assert_books_balance(importer.cloud, {key: body})

        failures = explore(sample(range(first, first + count), EVERYTHING), play)
        assert not failures, report(failures)


@pytest.mark.parametrize("at_most", [25, pytest.param(EVERYTHING, marks=pytest.mark.slow)])
def test_a_newer_upload_at_any_call_is_imported_too_and_never_touched_by_the_older_ones_import(at_most: int) -> None:
    """An overwrite between any two calls: both versions are imported, whichever notice comes first (C5, I4, A2)."""
    key = "imports/logins.json"
    with installed() as importer:
        notification = importer.cloud.drop(key, VENDOR_ROWS)
        calls = calls_of(importer.cloud, lambda: importer.deliver(notification))

        def play(scenario: tuple[int, bool]) -> None:
            at, newer_first = scenario
            newer: list[dict] = []  # type: ignore[type-arg]
            overwrite = Fault("before", at, detail={"do": lambda cloud: newer.append(cloud.drop(key, NEWER))})
            importer.deliver_as_lambda_does(notification, overwrite)
            assert_nothing_lost(importer.cloud, {key: [VENDOR_ROWS, NEWER]})
            for late in [*newer, notification] if newer_first else [notification, *newer]:
                importer.deliver_as_lambda_does(late)
            assert_books_balance(importer.cloud, {key: [VENDOR_ROWS, NEWER]})

        failures = explore(sample([(call.index, first) for call in calls for first in (True, False)], at_most), play)
        assert not failures, report(failures)


@pytest.mark.parametrize("at_most", [25, pytest.param(EVERYTHING, marks=pytest.mark.slow)])
def test_without_versioning_a_newer_upload_at_any_call_survives(at_most: int) -> None:
    """A foreign bucket: the older bytes may be gone before they were read, but the newer ones are never lost."""
    key = "imports/logins.json"
    with installed(versioned=False) as importer:
        notification = importer.cloud.drop(key, VENDOR_ROWS)
        calls = calls_of(importer.cloud, lambda: importer.deliver(notification))

        def play(at: int) -> None:
            newer: list[dict] = []  # type: ignore[type-arg]
            overwrite = Fault("before", at, detail={"do": lambda cloud: newer.append(cloud.drop(key, NEWER))})
            importer.deliver_as_lambda_does(notification, overwrite)
            assert_nothing_lost(importer.cloud, {key: NEWER})
            for late in newer:
                importer.deliver_as_lambda_does(late)
            assert key not in importer.cloud.objects()
            assert NEWER in importer.cloud.objects("completed_imports/").values()

        failures = explore(sample([call.index for call in calls], at_most), play)
        assert not failures, report(failures)


@pytest.mark.parametrize("at_most", [40, pytest.param(EVERYTHING, marks=pytest.mark.slow)])
def test_without_versioning_one_fault_at_any_call_leaves_balanced_books(at_most: int) -> None:
    """The same promise where ETag and LastModified stand for the version (A10, N1, N2)."""
    key, body = WORKLOADS["medium"]
    with installed(versioned=False) as importer:
        notification = importer.cloud.drop(key, body)
        calls = calls_of(importer.cloud, lambda: importer.deliver(notification))
        faults = sample(every(calls), at_most)
        failures = explore(faults, lambda fault: survives(importer, notification, {key: body}, fault))
        assert not failures, report(failures)


@pytest.mark.parametrize("at_most", [30, pytest.param(EVERYTHING, marks=pytest.mark.slow)])
def test_a_newer_version_of_the_function_starts_an_unfinished_execution_over(at_most: int) -> None:
    """Killed at any call, then delivered to a function with newer rules: what older rules made of it does not count."""
    key, body = WORKLOADS["medium"]
    with installed() as importer:
        notification = importer.cloud.drop(key, body)
        calls = calls_of(importer.cloud, lambda: importer.deliver(notification))

        def play(fault: Fault) -> None:
            attempt(importer.cloud, lambda: importer.deliver(notification), fault)
            importer.cloud.clock.sleep(60)
            with mock.patch.object(importing, "RULES_VERSION", RULES_VERSION + 1):
                importer.deliver_as_lambda_does(notification)
            assert_books_balance(importer.cloud, {key: body})

        failures = explore(sample(every(calls, ("kill_before", "kill_after")), at_most), play)
        assert not failures, report(failures)


def test_an_older_version_of_the_function_leaves_a_newer_ones_execution_alone() -> None:
    """While a deployment is under way both may be delivered to: the older one says so and goes."""
    key, body = WORKLOADS["medium"]
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
    key, body = WORKLOADS["medium"]
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

        failures = explore(range(30), play)
        assert not failures, report(failures)


def test_with_versioning_suspended_two_uploads_of_a_name_are_two_files() -> None:
    """Both are version "null" there: ETag and LastModified tell them apart, and a delete is conditional (A10)."""
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
    key, body = WORKLOADS["medium"]
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


@pytest.mark.parametrize("versioned", [True, False])
@pytest.mark.parametrize(("call", "time"), [("s3 CopyObject", 1), ("s3 HeadObject imports/", 2), ("s3 GetObject", 3)])
def test_a_file_another_worker_has_moved_meanwhile_never_ends_failed(versioned: bool, call: str, time: int) -> None:
    """Two settle at once: what the slower one finds gone was moved, and the copy proves it."""
    key, body = WORKLOADS["long lines"]
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
    key, body = WORKLOADS["long lines"]
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
    key, body = WORKLOADS["CSV"]
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
    key, body = WORKLOADS["long lines"]
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
    key, body = WORKLOADS["long lines, gzip"]
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
    key, body = WORKLOADS["long lines"]
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
    "truncated": ("imports/cut.json.gz", WORKLOADS["gzip of two members"][1][:-40]),
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

        failures = explore(sample(every(calls), 40), play)
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

        failures = explore(sample(every(calls), 40), play)
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


@pytest.mark.parametrize("at_most", [25, pytest.param(EVERYTHING, marks=pytest.mark.slow)])
def test_a_deleted_version_ends_failed_with_what_was_read_so_far(at_most: int) -> None:
    """Somebody removes the very version before any call: FAILED, SUCCEEDED, or (before the first) nothing."""
    key, body = WORKLOADS["medium"]
    with installed() as importer:
        notification = importer.cloud.drop(key, body)
        calls = calls_of(importer.cloud, lambda: importer.deliver(notification))
        version = notification["Records"][0]["s3"]["object"]["versionId"]

        def play(at: int) -> None:
            def remove(cloud: object) -> None:
                importer.cloud.client("s3").delete_object(Bucket=importer.cloud.bucket, Key=key, VersionId=version)

            importer.deliver_as_lambda_does(notification, Fault("before", at, detail={"do": remove}))
            statuses = [item["status"] for item in importer.cloud.items("imports") if item["sk"] == "EXEC"]
            if statuses == [Status.SUCCEEDED]:
                assert body in importer.cloud.objects("completed_imports/").values()
            else:
                assert statuses in ([], [Status.FAILED])
                assert not importer.cloud.objects("completed_imports/")

        failures = explore(sample([call.index for call in calls], at_most), play)
        assert not failures, report(failures)
