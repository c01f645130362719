"""What is kept of an import, and for how long: the records by their time to live, the objects by rules of the bucket.

DynamoDB's and S3's own part, the deleting, is done by hand here; docs/retention.md is the whole list.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from importer.aws.fetches import FetchesTable
from importer.aws.stored import StoredTables
from importer.fetches import FetchReason, Refused
from importer.ledger import Books, CannotRecount, Kept, Verdict, verify
from importer.ledger.row_places import Asked
from importer.ledger.why import why_row
from importer.model import Status, Unavailable
from tests.faults.files import FILES
from tests.faults.importing import Importer, deadly, installed
from tests.support.books import assert_books_balance
from tests.support.cloud import Cloud
from tests.support.faults import Fault, attempt, plan
from tests.support.fetching import Fetching, Source, rows, small_pieces
from tests.support.scenarios import calls_of

KEY, BODY = FILES["medium"]
DAYS = 30
DAY_MS = 86_400_000


def records(importer: Importer) -> dict[str, dict[str, Any]]:
    """What the imports table holds, but for import definitions, by kind."""
    items = importer.cloud.items(importer.cloud.imports_table)
    return {f"{item['pk'].partition('#')[0]} {item['sk']}": item for item in items if item["sk"] != "IMPORT"}


def forgotten(importer: Importer) -> dict[str, int | None]:
    return {kind: item.get("expires_at") for kind, item in records(importer).items()}


def ended_s(importer: Importer) -> int:
    (execution,) = importer.executions()
    return int(execution["end_date"]) // 1000


# ---- Records -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part_bytes", [1 << 28, 1024])
def test_all_that_is_kept_of_an_import_that_succeeded_is_forgotten_together(part_bytes: int):
    """So many days after its end: the execution, its parts, the notes of its settling, and its name of the day."""
    with installed(part_bytes=part_bytes, execution_days=DAYS, small_pieces=True) as importer:
        importer.notify(importer.cloud.drop(KEY, BODY))
        importer.run_until_quiet()
        then = ended_s(importer) + DAYS * 86_400
        told = forgotten(importer)
        assert set(told.values()) == {then}
        assert {"EXEC EXEC", "EXEC NOTES", "STEM STEM", "EXEC PART#00000000000000000000"} <= set(told)
        assert len(told) > 6 or part_bytes > len(BODY)


def test_nothing_is_forgotten_unless_it_is_asked_for():
    """The parameter's default."""
    with installed() as importer:
        importer.deliver(importer.cloud.drop(KEY, BODY))
        assert set(forgotten(importer).values()) == {None}


def test_an_execution_whose_source_still_lies_in_imports_is_kept():
    """FAILED and CANCELED: without the record the sweep would take the file for one that nobody has imported."""
    with installed(execution_days=DAYS) as importer:
        failed = importer.cloud.drop("imports/utf16.json", "{}".encode("utf-16"))
        importer.deliver(failed)
        cancelled = importer.cloud.drop(KEY, BODY)
        attempt(importer.cloud, lambda: importer.deliver(cancelled), Fault("kill_after", "BatchWriteItem"))
        for item in importer.executions():
            if item["status"] == "RUNNING":
                importer.by_hand("cancel", item["id"])
        assert sorted(item["status"] for item in importer.executions()) == ["CANCELED", "FAILED"]
        items = importer.cloud.items(importer.cloud.imports_table)
        assert [item for item in items if "expires_at" in item] == []
        importer.run_until_quiet()
        assert sorted(item["status"] for item in importer.executions()) == ["CANCELED", "FAILED"]


def test_a_redriven_execution_is_not_forgotten_while_it_is_at_work_and_then_by_its_own_end():
    """Also if somebody has set a time on the failed one by hand."""
    with installed(execution_days=DAYS) as importer:
        with deadly(b'"n":25'):
            importer.notify(importer.cloud.drop(KEY, BODY))
            importer.run_until_quiet()
        (failed,) = importer.executions()
        assert (failed["status"], failed.get("expires_at")) == ("FAILED", None)
        importer.cloud.put_item(importer.cloud.imports_table, failed | {"expires_at": 1})
        importer.by_hand("redrive", failed["id"])
        (again,) = importer.executions()
        assert ("expires_at" in again, again["status"] in ("PENDING", "RUNNING", "SUCCEEDED")) == (
            again["status"] == "SUCCEEDED",
            True,
        )
        importer.run_until_quiet()
        assert set(forgotten(importer).values()) == {ended_s(importer) + DAYS * 86_400}


def test_a_crash_at_any_call_of_the_end_forgets_nothing_too_early_and_in_the_end_all():
    """Who closes it may die before the rest is marked: the delivery comes again, and does it."""
    with installed(execution_days=DAYS) as importer:
        calls = calls_of(importer.cloud, lambda: importer.deliver(importer.cloud.drop(KEY, BODY)))
    last = [call.index for call in calls][-8:]
    for at in last:
        with installed(execution_days=DAYS) as importer:
            notification = importer.cloud.drop(KEY, BODY)
            importer.deliver_as_lambda_does(notification, Fault("kill_after", at))
            assert set(forgotten(importer).values()) == {ended_s(importer) + DAYS * 86_400}, at
            assert_books_balance(importer.cloud, {KEY: BODY})


def test_a_late_notification_of_a_forgotten_import_imports_nothing():
    """H: at least once has no end. The source is gone from imports/, so there is nothing to import."""
    with installed(execution_days=DAYS) as importer:
        notification = importer.cloud.drop(KEY, BODY)
        importer.deliver(notification)
        stored = importer.cloud.items(importer.cloud.events_table)
        _expire(importer.cloud)
        importer.deliver(notification)
        importer.run_until_quiet()
        assert importer.executions() == []
        assert importer.cloud.items(importer.cloud.events_table) == stored


def test_the_same_rows_after_their_import_was_forgotten_change_nothing():
    """An event's key is made of the row, not of the record of its import."""
    with installed(execution_days=DAYS) as importer:
        importer.deliver(importer.cloud.drop(KEY, BODY))
        keys = {(e["user_id"], e["event_key"]) for e in importer.cloud.items(importer.cloud.events_table)}
        _expire(importer.cloud)
        importer.cloud.clock.sleep((DAYS + 1) * 86_400)
        importer.deliver(importer.cloud.drop(KEY, BODY))
        now = importer.cloud.items(importer.cloud.events_table)
        assert ({(e["user_id"], e["event_key"]) for e in now}, len(now)) == (keys, len(keys))


def test_marking_takes_no_call_where_nothing_is_to_be_forgotten():
    """A default must cost nothing; otherwise it is a query, and a write for each record beside the execution's."""
    journals = []
    for days in (0, DAYS):
        with installed(execution_days=days) as importer, plan(importer.cloud) as calls:
            importer.deliver(importer.cloud.drop(KEY, BODY))
            journals.append(Counter(call.operation for call in calls.calls))
    assert journals[1] - journals[0] == {"Query": 1, "UpdateItem": 2}
    assert journals[0] - journals[1] == {}


def _expire(cloud: Cloud) -> None:
    """What DynamoDB does within days of `expires_at`."""
    with cloud.unseen():
        for item in cloud.items(cloud.imports_table):
            if "expires_at" in item:
                key = {"pk": {"S": item["pk"]}, "sk": {"S": item["sk"]}}
                cloud.client("dynamodb").delete_item(TableName=cloud.imports_table, Key=key)


# ---- Fetches -------------------------------------------------------------------------------------------------------


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud() as one, small_pieces():
        yield one


@pytest.mark.parametrize("ends", [Status.SUCCEEDED, Status.FAILED])
def test_a_fetch_is_forgotten_when_it_has_ended_however(cloud: Cloud, ends: Status):
    """Its file is an import of its own by then."""
    made = Fetching(cloud, Source(cloud, rows(1)), kept_days=DAYS)
    if ends is Status.FAILED:
        made.source.opened = _refusing  # type: ignore[method-assign]
    made.asked()
    assert "expires_at" not in item_of(cloud)
    fetch = made.turns()
    assert (fetch.status, made.now()) == (ends, fetch)
    assert fetch.end_ms is not None
    assert item_of(cloud)["expires_at"] == fetch.end_ms // 1000 + DAYS * 86_400
    assert isinstance(made.records, FetchesTable)


def _refusing(*_: object) -> Any:
    raise Refused(FetchReason.SOURCE_REFUSED, "files.test says 404")


def item_of(cloud: Cloud) -> dict[str, Any]:
    (item,) = cloud.items(cloud.imports_table)
    return item


# ---- Verify, when the bucket has let go ------------------------------------------------------------------------------


def recount(importer: Importer, kept: Kept, later_days: int) -> Verdict:
    cloud = importer.cloud
    with cloud.unseen():
        place = importer.workplaces(lambda: 900_000)
        tables = cloud.events_table, cloud.users_table, cloud.imports_table
        stored = StoredTables(cloud.client("dynamodb"), *tables, cloud.clock, 1)
        now_ms = cloud.clock.now_ms() + later_days * DAY_MS
        (item,) = importer.executions()
        execution = place.records.execution(item["id"])
        assert execution is not None
        return verify(Books(place.objects, place.records, stored, now_ms, kept), execution)


def gone(importer: Importer, prefix: str) -> None:
    with importer.cloud.unseen():
        for key in importer.cloud.objects(prefix):
            importer.cloud.client("s3").delete_object(Bucket=importer.cloud.bucket, Key=key)


@pytest.fixture
def importer() -> Iterator[Importer]:
    with installed() as one:
        one.deliver(one.cloud.drop(KEY, BODY))
        yield one


def test_an_archive_that_has_expired_is_told_as_such(importer: Importer):
    """Nothing is wrong: nothing can be recounted."""
    gone(importer, "completed_imports/")
    with pytest.raises(CannotRecount, match=r"has expired: .* for 30 days \(ArchiveRetentionDays\).* receipts/"):
        recount(importer, Kept(archive_days=30), 30)
    for kept, later in ((Kept(archive_days=30), 29), (Kept(errors_days=30), 40), (Kept(), 10_000)):
        assert not recount(importer, kept, later).balanced, "somebody has taken it away"


def test_errors_and_receipt_that_have_expired_are_not_missing(importer: Importer):
    """The rest balances; what could not be looked at is said."""
    gone(importer, "errors/")
    gone(importer, "receipts/")
    verdict = recount(importer, Kept(errors_days=30, receipt_days=60), 60)
    said = " ".join(verdict.unchecked)
    assert verdict.balanced
    assert (said.count("(ErrorsRetentionDays), and it has expired"), said.count("(ReceiptRetentionDays)")) == (2, 1)
    assert not recount(importer, Kept(errors_days=30, receipt_days=60), 59).balanced
    assert not recount(importer, Kept(errors_days=61, receipt_days=60), 60).balanced


def test_what_only_the_expired_reasons_knew_is_not_guessed(importer: Importer):
    """Rows that a destination refused would be missing from the store otherwise."""
    gone(importer, "errors/")
    (item,) = importer.executions()
    place = importer.workplaces(lambda: 900_000)
    execution = place.records.execution(item["id"])
    assert execution is not None
    assert execution.outcome is not None
    sums = execution.outcome.sums
    refused = replace(execution.outcome, sums=replace(sums, bad=sums.bad + 1, good=sums.good - 1))
    tables = importer.cloud.events_table, importer.cloud.users_table, importer.cloud.imports_table
    stored = StoredTables(importer.cloud.client("dynamodb"), *tables, importer.cloud.clock, 1)
    now_ms = importer.cloud.clock.now_ms() + 40 * DAY_MS
    books = Books(place.objects, place.records, stored, now_ms, Kept(errors_days=30))
    with pytest.raises(CannotRecount, match="only the reasons said which"):
        verify(books, replace(execution, outcome=refused))


def test_unavailable_is_no_expiry(importer: Importer):
    """An archive that cannot be asked for may be there."""

    def asked() -> None:
        recount(importer, Kept(archive_days=30), 30)

    importer.cloud.unseen = lambda: plan(importer.cloud, Fault("denied", "HeadObject", always=True))  # type: ignore[method-assign, assignment, return-value]
    with pytest.raises(Unavailable):
        asked()


def test_items_whose_writer_was_forgotten_are_no_difference(importer: Importer):
    """The same rows came again, and that import's record has expired before this one's."""
    importer.deliver(importer.cloud.drop("imports/again.json", BODY))
    first, again = sorted(importer.executions(), key=lambda item: int(item["creation_date"]))
    assert (first["parameters"]["file_uri"].endswith(KEY), again["id"] != first["id"]) == (True, True)
    with importer.cloud.unseen():
        key = {"pk": {"S": again["pk"]}, "sk": {"S": "EXEC"}}
        importer.cloud.client("dynamodb").delete_item(TableName=importer.cloud.imports_table, Key=key)
    assert not recount(importer, Kept(), 0).balanced
    verdict = recount(importer, Kept(execution_days=30), 0)
    assert (verdict.balanced, "whose last writer is not known any more" in " ".join(verdict.unchecked)) == (True, True)


def test_why_says_what_has_expired(importer: Importer):
    """By what the stack's parameters say, and only then."""
    gone(importer, "completed_imports/")
    gone(importer, "errors/")
    with importer.cloud.unseen():
        place = importer.workplaces(lambda: 900_000)
        (item,) = importer.executions()
        execution = place.records.execution(item["id"])
        assert execution is not None
        now_ms = importer.cloud.clock.now_ms() + 60 * DAY_MS
        said = [
            why_row(Books(place.objects, place.records, None, now_ms, kept), execution, Asked(line=1)).says  # type: ignore[arg-type]
            for kept in (Kept(archive_days=30, errors_days=40), Kept(archive_days=61))
        ]
    assert ["has expired: it was imported on" in one[0] for one in said] == [True, False]
    assert ["(ArchiveRetentionDays)" in one[0] for one in said] == [True, False]
    assert ["errors/ is kept for 40 days (ErrorsRetentionDays), and it has expired" in one[-1] for one in said] == [
        True,
        False,
    ]
