"""The sweep: what waits is measured, what was lost is taken up, whatever went wrong before."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from importer.executions import files_waiting, sweep_unfinished, sweeping, waiting
from importer.executions.ports import Found, Waiting, Workplace
from importer.model import Execution, Phase, S3Object, Status, Unavailable
from tests.faults.importing import VENDOR_ROWS, WORKLOADS, Importer, deadly, installed
from tests.support.books import assert_books_balance
from tests.support.clock import LambdaContext
from tests.support.faults import Fault, attempt, plan

MINUTE_MS = 60_000
REFUSED = b'{\n  "user_id": "u"\n}\n'  # JSON over several lines


def swept(importer: Importer, seconds: float = 120) -> Waiting:
    return files_waiting(workplace(importer, seconds), importer.cloud.bucket)


def workplace(importer: Importer, seconds: float) -> Workplace:
    context = LambdaContext(importer.cloud.clock, seconds)
    place: Workplace = importer.workplaces(context.get_remaining_time_in_millis)
    return place


def minutes_pass(importer: Importer, minutes: float) -> None:
    importer.cloud.clock.advance(minutes * MINUTE_MS)


def seen(found: Waiting) -> tuple[int, str | None, int, bool]:
    """Files, key of the oldest, its age in whole minutes, complete."""
    return found.files, found.oldest and found.oldest.key, found.oldest_seconds // 60, found.complete


NOTHING = (0, None, 0, True)
MEDIUM = WORKLOADS["medium"]


@pytest.fixture(params=[True, False], ids=["versioned", "unversioned"])
def importer(request: pytest.FixtureRequest) -> Iterator[Importer]:
    with installed(versioned=request.param) as one:
        yield one


# ---- What waits ----------------------------------------------------------------------------------------------------


def test_in_an_empty_bucket_nothing_waits(importer: Importer):
    """Zero is a measurement too: without it the alarm could not tell quiet from a sweep that does not run."""
    assert seen(swept(importer)) == NOTHING


def test_the_oldest_file_nobody_told_us_of_is_found_with_its_age(importer: Importer):
    """A3, A4: a notification that never came, or was dropped on the way, leaves no record, only the file."""
    for name in ("b", "a", "c"):
        importer.cloud.drop(f"imports/{name}.json", VENDOR_ROWS)
        minutes_pass(importer, 10)
    assert seen(swept(importer)) == (3, "imports/b.json", 30, True)


def test_a_file_just_dropped_does_not_wait_yet(importer: Importer):
    """A notification may take a minute or longer."""
    importer.cloud.drop("imports/a.json", VENDOR_ROWS)
    minutes_pass(importer, 4)
    assert seen(swept(importer)) == NOTHING
    minutes_pass(importer, 1.1)
    assert seen(swept(importer)) == (1, "imports/a.json", 5, True)


def test_an_imported_file_does_not_wait(importer: Importer):
    """It is no longer in imports/; what it left behind there is no file."""
    importer.deliver(importer.cloud.drop("imports/a.json", VENDOR_ROWS))
    minutes_pass(importer, 60)
    assert seen(swept(importer)) == NOTHING


def test_a_refused_file_waits_for_a_person_and_is_not_counted(importer: Importer):
    """It was told by another alarm, once; this one must not ring for ever because of it."""
    importer.deliver(importer.cloud.drop("imports/refused.json", REFUSED))
    minutes_pass(importer, 10)
    importer.cloud.drop("imports/waits.json", VENDOR_ROWS)
    minutes_pass(importer, 10)
    assert seen(swept(importer)) == (1, "imports/waits.json", 10, True)


@pytest.mark.parametrize("last_call", ["PutItem imports EXEC", "BatchWriteItem", "CopyObject", "DeleteObject imports/"])
def test_an_import_that_died_waits(importer: Importer, last_call: str):
    """Whatever it had done by then: as long as the file is in imports/ somebody has to come back for it."""
    notification = importer.cloud.drop("imports/a.json", VENDOR_ROWS)
    died = attempt(importer.cloud, lambda: importer.deliver(notification), Fault("kill_before", last_call))
    assert died.killed
    minutes_pass(importer, 70)
    assert seen(swept(importer)) == (1, "imports/a.json", 70, True)


def test_folder_markers_and_other_prefixes_do_not_wait(importer: Importer):
    """They are no files to import (A9); errors and receipts are ours."""
    for key in ("imports/", "imports/folder/", "imports/old_$folder$", "errors/a.json", "importsx/a.json"):
        importer.cloud.drop(key, b"")
    minutes_pass(importer, 60)
    assert seen(swept(importer)) == NOTHING


def test_a_file_somebody_deleted_does_not_wait(importer: Importer):
    """With versions its bytes are still there, below a delete marker: who deletes a file does not wait for it."""
    importer.cloud.drop("imports/a.json", VENDOR_ROWS)
    minutes_pass(importer, 1)
    importer.cloud.remove("imports/a.json")
    importer.cloud.drop("imports/b.json", VENDOR_ROWS)
    minutes_pass(importer, 60)
    assert seen(swept(importer)) == (1, "imports/b.json", 60, True)


def test_a_version_overwritten_before_its_import_waits_too():
    """Both uploads are to be imported, so the older one counts by its own age."""
    with installed() as importer:
        importer.cloud.drop("imports/a.json", VENDOR_ROWS)
        minutes_pass(importer, 20)
        importer.cloud.drop("imports/a.json", VENDOR_ROWS * 2)
        minutes_pass(importer, 20)
        assert seen(swept(importer)) == (2, "imports/a.json", 40, True)


def test_with_versioning_suspended_the_version_null_is_a_file_like_any_other():
    """Refused or waiting, it is known by ETag and time (A10)."""
    with installed() as importer:
        with importer.cloud.unseen():
            importer.cloud.client("s3").put_bucket_versioning(
                Bucket=importer.cloud.bucket, VersioningConfiguration={"Status": "Suspended"}
            )
        importer.deliver(importer.cloud.drop("imports/refused.json", REFUSED))
        importer.cloud.drop("imports/waits.json", VENDOR_ROWS)
        minutes_pass(importer, 10)
        assert seen(swept(importer)) == (1, "imports/waits.json", 10, True)


# ---- Many files ----------------------------------------------------------------------------------------------------


def in_pages_of(importer: Importer, count: int) -> Any:
    """S3's listing with shorter pages than the thousand it has."""
    client = workplace(importer, 1).objects._s3
    client.meta.events.register(
        "provide-client-params.s3.ListObjectVersions", lambda params, **_: {**params, "MaxKeys": count}
    )
    return client


def test_all_pages_of_a_listing_are_read_and_a_delete_marker_covers_the_next_page_too():
    """Seven entries in pages of two: the marker of `b` comes a page before its two versions."""
    with installed() as importer:
        importer.cloud.drop("imports/a.json", VENDOR_ROWS)
        for body in (VENDOR_ROWS, VENDOR_ROWS * 2):
            importer.cloud.drop("imports/b.json", body)
            minutes_pass(importer, 1)
        importer.cloud.remove("imports/b.json")
        for name in "cde":
            importer.cloud.drop(f"imports/{name}.json", VENDOR_ROWS)
        minutes_pass(importer, 10)
        in_pages_of(importer, 2)
        with plan(importer.cloud) as delivery:
            assert seen(swept(importer)) == (4, "imports/a.json", 12, True)
        assert delivery.journal.count("s3 ListObjectVersions imports/") == 4


def test_more_refused_files_than_are_looked_up_count_as_waiting():
    """The bound may make the alarm ring that need not; it never keeps it from ringing."""
    with installed() as importer, mock.patch.object(waiting, "LOOK_UPS", 3):
        for number in range(5):
            importer.deliver(importer.cloud.drop(f"imports/{number}.json", REFUSED))
            minutes_pass(importer, 10)
        with plan(importer.cloud) as delivery:
            assert seen(swept(importer)) == (2, "imports/3.json", 20, False)
        assert sum("GetItem" in line for line in delivery.journal) == 3


def test_when_time_is_up_the_sweep_says_what_it_has_found_and_that_it_is_not_all():
    """A listing too long for one invocation still gives an alarm something to go by."""
    with installed() as importer:
        for number in range(5):
            importer.cloud.drop(f"imports/{number}.json", VENDOR_ROWS)
            minutes_pass(importer, 10)
        assert seen(swept(importer, seconds=waiting.RESERVE_MS / 1000)) == (1, "imports/0.json", 50, False)


def test_any_number_of_files_is_surveyed_in_constant_memory():
    """Only the oldest are kept, oldest first, whatever the order of the listing."""
    alive = 0
    most_alive = 0

    class Listed(S3Object):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def listing(count: int) -> Iterator[S3Object]:
        nonlocal alive, most_alive
        for number in range(count):
            alive += 1
            most_alive = max(most_alive, alive)
            yield Listed("b", f"imports/{number}", None, "e", 1, number * 7919 % count)

    count, oldest = waiting.survey(listing(20_000), waiting.GRACE_MS + 9_999, 3)
    assert (count, [file.last_modified_ms for file in oldest]) == (10_000, [0, 1, 2])
    assert most_alive < 10


# ---- The decision, without a cloud ---------------------------------------------------------------------------------

EXECUTION = Execution(
    "id", S3Object("b", "imports/a", "v", "e", 1, 0), Status.PENDING, Phase.IMPORTING, 0, {}, "cooladata", 1
)


@pytest.mark.parametrize(
    ("status", "phase", "found"),
    [
        (Status.PENDING, Phase.IMPORTING, Found.UNFINISHED),
        (Status.RUNNING, Phase.IMPORTING, Found.UNFINISHED),
        (Status.RUNNING, Phase.FINALISING, Found.UNFINISHED),
        (Status.SUCCEEDED, Phase.CLOSED, Found.TO_MOVE),
        (Status.FAILED, Phase.CLOSING, Found.UNFINISHED),
        (Status.FAILED, Phase.CLOSED, None),
        (Status.CANCELED, Phase.CLOSING, Found.UNFINISHED),
        (Status.CANCELED, Phase.CLOSED, None),
    ],
)
def test_only_a_closed_refusal_or_cancellation_waits_for_a_person(status: Status, phase: Phase, found: Found | None):
    """SUCCEEDED with the source still there: the move is due."""
    assert waiting.found_of(replace(EXECUTION, status=status, phase=phase)) is found


def test_a_file_without_an_execution_waits():
    """Nobody has told us of it."""
    assert waiting.found_of(None) is Found.UNKNOWN


def test_a_long_import_that_gets_on_does_not_wait_and_one_that_stands_does():
    """Hours are no trouble by themselves; an hour at one place is."""
    with installed(part_bytes=1024) as importer:
        importer.deliver(importer.cloud.drop(*MEDIUM))
        ages = []
        for _ in range(5):
            minutes_pass(importer, 30)
            importer.sweep("unfinished")
            ages.append(swept(importer).oldest_seconds // 60)
            received = importer.cloud.receive()
            assert received is not None
            importer.work_on(received[1])
            importer.cloud.delete_message(received[0])
        minutes_pass(importer, 70)
        importer.sweep("unfinished")
        minutes_pass(importer, 70)
        importer.sweep("unfinished")
        assert (ages, swept(importer).oldest_seconds // 60) == ([0] * 5, 70)


# ---- What it takes up ----------------------------------------------------------------------------------------------


@pytest.mark.sampled(each="versioned part_bytes")
@pytest.mark.parametrize("part_bytes", [1 << 28, 1024])
@pytest.mark.parametrize("versioned", [True, False])
def test_a_file_nobody_told_of_is_imported(versioned: bool, part_bytes: int):
    """A3, A4: only the sweep runs, and the books balance within the hour."""
    key, body = MEDIUM
    with installed(versioned=versioned, part_bytes=part_bytes) as importer:
        importer.cloud.drop(key, body)
        began_ms = importer.cloud.clock.now_ms()
        importer.run_until_quiet()
        assert importer.telemetry.found_files == [(key, "unknown")]
        assert_books_balance(importer.cloud, {key: body}, tidy=True)
        assert importer.cloud.clock.now_ms() - began_ms < 60 * MINUTE_MS


def test_a_version_overwritten_before_its_notification_came_is_imported_too():
    """Both uploads are found, the older one below the newer (A2)."""
    key = "imports/a.json"
    bodies = [VENDOR_ROWS, VENDOR_ROWS + b"not json\n"]
    with installed() as importer:
        for body in bodies:
            importer.cloud.drop(key, body)
            minutes_pass(importer, 1)
        importer.run_until_quiet()
        assert_books_balance(importer.cloud, {key: bodies})


def test_a_refused_file_is_not_taken_up_again():
    """It is a person's affair."""
    with installed() as importer:
        importer.deliver(importer.cloud.drop("imports/refused.json", REFUSED))
        for _ in range(3):
            minutes_pass(importer, 60)
            importer.sweep("waiting")
            importer.sweep("unfinished")
        assert importer.telemetry.found_files == []
        assert importer.cloud.next_message_ms() is None


def test_a_half_done_move_is_finished():
    """SUCCEEDED is written, the source is there again: a late upload of nothing new, or a lost delete."""
    key, body = MEDIUM
    with installed(versioned=False) as importer:
        uploaded_ms = importer.cloud.clock.now_ms()
        importer.deliver(importer.cloud.drop(key, body))
        with mock.patch.object(importer.cloud.clock, "_now_ms", uploaded_ms):
            importer.cloud.drop(key, body)  # the same bytes in the same second: the same object, for us (N2)
        importer.run_until_quiet()
        assert (importer.telemetry.found_files, importer.cloud.objects("imports/")) == ([(key, "to_move")], {})


@pytest.mark.parametrize("last_call", ["BatchWriteItem", "PutObject errors/", "CopyObject", "DeleteObject imports/"])
def test_an_import_whose_worker_died_and_whose_messages_are_gone_goes_on(last_call: str):
    """The notification was tried three times and is a dead letter; nothing but the table knows of the work."""
    key, body = MEDIUM
    with installed(part_bytes=1024) as importer:
        notification = importer.cloud.drop(key, body)
        importer.deliver(notification)
        bodies = []
        while (received := importer.cloud.receive()) is not None:
            importer.cloud.delete_message(received[0])
            bodies.append(received[1])
        for message in bodies:
            attempt(importer.cloud, lambda message=message: importer.work_on(message, Fault("kill_before", last_call)))
        importer.run_until_quiet()
        assert_books_balance(importer.cloud, {key: body})


def test_work_that_somebody_holds_is_left_alone_and_a_dead_ones_is_sent_on_at_once():
    """A live lease is a worker at work; one that has run out has nobody behind it."""
    key, body = MEDIUM
    with installed() as importer:
        notification = importer.cloud.drop(key, body)
        assert attempt(importer.cloud, lambda: importer.deliver(notification), Fault("kill_after", 20)).killed
        importer.sweep("unfinished")
        assert importer.cloud.next_message_ms() is None
        minutes_pass(importer, 1)
        importer.sweep("unfinished")
        assert importer.cloud.next_message_ms() is not None


def test_an_unfinished_execution_of_which_nothing_changes_is_sent_on_after_a_while_then_ever_more_seldom():
    """Ten minutes, twenty, forty: messages that only wait in a long queue are not multiplied."""
    with installed(part_bytes=1024) as importer:
        importer.deliver(importer.cloud.drop(*MEDIUM))
        while (received := importer.cloud.receive()) is not None:  # every message of it is lost
            importer.cloud.delete_message(received[0])
        sent_at: list[int] = []
        for minute in range(0, 180, 5):
            importer.sweep("unfinished")
            messages = 0
            while (received := importer.cloud.receive()) is not None:
                importer.cloud.delete_message(received[0])
                messages += 1
            if messages:
                sent_at.append(minute)
            minutes_pass(importer, 5)
        assert sent_at == [10, 30, 70, 150]


def test_one_execution_in_trouble_does_not_keep_the_others_waiting():
    """I8: what is denied for one is told, and the next one's turn comes."""
    with installed(part_bytes=1024) as importer:
        for name in "abc":
            notification = importer.cloud.drop(f"imports/{name}.ndjson", MEDIUM[1])
            importer.deliver(notification)
        while (received := importer.cloud.receive()) is not None:
            importer.cloud.delete_message(received[0])
        importer.sweep("unfinished")
        minutes_pass(importer, 11)
        with mock.patch.object(sweeping, "send_on", side_effect=[Unavailable("denied"), None, None]) as sent:
            importer.sweep("unfinished")
        assert (sent.call_count, len(importer.telemetry.troubles)) == (3, 1)


@pytest.mark.parametrize("definition", [{"mime_type": "TEXT/CSV"}, "no map"])
def test_a_file_under_a_wrong_definition_does_not_keep_the_others_waiting(definition: Any):
    """It is the oldest, and told of at every sweep; the one behind it is imported (I8)."""
    with installed() as importer:
        importer.cloud.put_item(
            importer.cloud.imports_table, {"pk": "IMPORT#broken", "sk": "IMPORT", "definition": definition}
        )
        importer.cloud.drop("imports/broken/a.csv", VENDOR_ROWS)
        minutes_pass(importer, 1)
        importer.cloud.drop(*MEDIUM)
        minutes_pass(importer, 30)
        assert importer.sweep("waiting").error is None
        assert importer.telemetry.found_files == [(MEDIUM[0], "unknown")]
        assert ["import definition 'broken'" in trouble for trouble in importer.telemetry.troubles] == [True]


def test_a_bug_met_at_one_execution_is_raised_when_all_have_had_their_turn():
    """A malformed item, say: the sweep that met it fails, and has done its work."""
    with installed(part_bytes=1024) as importer:
        for name in "ab":
            importer.deliver(importer.cloud.drop(f"imports/{name}.ndjson", MEDIUM[1]))
        while (received := importer.cloud.receive()) is not None:
            importer.cloud.delete_message(received[0])
        importer.sweep("unfinished")
        minutes_pass(importer, 11)
        with mock.patch.object(sweeping, "send_on", side_effect=[KeyError("a row"), None]) as sent:
            assert isinstance(importer.sweep("unfinished").error, KeyError)
        assert sent.call_count == 2


def test_where_there_are_more_than_a_sweep_has_time_for_each_has_its_turn():
    """Looked at in another order each time; of six each sweep gets through two or three."""
    with installed(part_bytes=1024) as importer:
        for name in "abcdef":
            importer.deliver(importer.cloud.drop(f"imports/{name}.ndjson", MEDIUM[1]))
        for _ in range(12):
            minutes_pass(importer, 5)
            place = workplace(importer, sweeping.RESERVE_MS / 1000 + 0.06)
            found = sweep_unfinished(place)
            assert (found.unfinished <= 3, found.complete) == (True, False)
        assert [place.records.watched(item["id"]) is None for item in importer.executions()] == [False] * 6


def test_a_part_that_kills_its_workers_ends_failed_and_others_are_imported():
    """Ten claims without a word, then FAILED `gave_up`; the file beside it never notices (I8)."""
    poison, good = ("imports/poison.ndjson", MEDIUM[1] + b"\n"), ("imports/good.ndjson", VENDOR_ROWS)
    with installed() as importer, deadly(b"not json at all"):
        importer.notify(importer.cloud.drop(poison[0], poison[1] + b"not json at all\n"))
        importer.notify(importer.cloud.drop(*good))
        importer.run_until_quiet()
        ended = {
            item["parameters"]["input_file_name"]: (item["status"], (item["error"] or {}).get("code"))
            for item in importer.executions()
        }
        assert ended == {"poison.ndjson": ("FAILED", "gave_up"), "good.ndjson": ("SUCCEEDED", None)}


# ---- When it cannot look -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "permission"), [("ListObjectVersions", "s3:ListBucketVersions"), ("GetItem", "dynamodb:GetItem")]
)
def test_a_sweep_that_is_denied_raises_and_names_the_permission(importer: Importer, call: str, permission: str):
    """No metric is written then, and the alarm rings for missing data."""
    importer.cloud.drop("imports/a.json", VENDOR_ROWS)
    minutes_pass(importer, 60)
    denied = attempt(importer.cloud, lambda: swept(importer), Fault("denied", call))
    assert isinstance(denied.error, Unavailable)
    assert permission in str(denied.error)


@pytest.mark.sampled(each="kind call")
@pytest.mark.parametrize("kind", ["connection_lost", "reply_lost", "error_500", "error_503", "throttled"])
@pytest.mark.parametrize("call", ["ListObjectVersions", "GetItem"])
def test_a_passing_fault_changes_nothing_in_what_is_found(importer: Importer, call: str, kind: str):
    """The SDK tries again."""
    importer.cloud.drop("imports/a.json", VENDOR_ROWS)
    minutes_pass(importer, 60)
    found: Callable[[], Waiting] = lambda: swept(importer)  # noqa: E731
    assert seen(attempt(importer.cloud, found, Fault(kind, call)).result) == (1, "imports/a.json", 60, True)
