"""Files of several parts, and files handed on: what holds whatever goes wrong is in the fault table; here, one by one,
how the work is shared out and who finds what was lost.
"""

import json
from typing import Any

import pytest

from importer.executions.holding import LEASE_MS
from tests.faults.files import FILES, VENDOR_ROWS, many_rows, small_file
from tests.faults.importing import Importer, installed
from tests.faults.workloads import stage_of
from tests.support.books import assert_books_balance, check_every_end, essence
from tests.support.clock import CALL_MS
from tests.support.faults import Fault
from tests.support.scenarios import in_copy
from tests.support.wire import Call

KEY, ROWS = "imports/rows.json", many_rows(55)


def imported(key: str, body: bytes, **setup: Any) -> dict[str, Any]:
    """What an import leaves behind, but for times and cuts."""

    def run() -> dict[str, Any]:
        with installed(watched=True, **setup) as importer:
            importer.notify(importer.cloud.drop(key, body))
            importer.run_until_quiet()
            assert_books_balance(importer.cloud, {key: body}, tidy=True)
            return essence(importer.cloud)

    return in_copy(run)


@pytest.mark.sampled(each="setup line_end")
@pytest.mark.parametrize(
    "setup",
    [
        {"part_bytes": 1024},
        {"part_bytes": 2048},
        {"part_bytes": 4096},
        {"part_bytes": 2048, "small_pieces": True},
        {"write_ms": 3_000, "import_seconds": 12, "hop_seconds": 12},
        {"part_bytes": 2048, "write_ms": 3_000, "import_seconds": 12, "hop_seconds": 12},
    ],
    ids=str,
)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_what_an_import_leaves_does_not_depend_on_how_the_work_was_shared_out(
    setup: dict[str, Any], line_end: bytes
) -> None:
    """Store, errors, reasons with the lines of the whole file, archive and receipt are the same, byte for byte."""
    body = many_rows(55, line_end)
    assert imported(KEY, body, **setup) == imported(KEY, body)


def test_every_hand_over_is_a_hop_and_every_claim_and_progress_holds_the_part_for_a_whole_lease() -> None:
    """So that whoever meets the lease can tell a dead worker from a slow one, and hops can be bounded."""
    with stage_of("three continuations") as stage:
        importer, cloud = stage.importer, stage.importer.cloud
        leases_ms: list[int] = []

        def look(call: Call, _: Any) -> None:
            if call.operation == "UpdateItem" and ":until" in call.document.get("ExpressionAttributeValues", {}):
                until_ms = int(call.document["ExpressionAttributeValues"][":until"]["N"])
                leases_ms.append(until_ms - cloud.clock.now_ms())

        cloud.wire.watchers.append(look)
        stage.tell()
        importer.run_until_quiet()
        (part,) = [item for item in cloud.items(cloud.imports_table) if item["sk"].startswith("PART#")]
        handed_on = [ended for ended in importer.ended if ended.delivery.name == "part"]
        assert (part["hops"], part["waits"]) == (len(handed_on), 0)
        assert {LEASE_MS - lease_ms <= CALL_MS for lease_ms in leases_ms} == {True}


def test_a_large_file_is_one_message_a_part_and_each_part_is_done_once() -> None:
    """The notification's invocation only shares out; each part is one invocation; the last one settles."""
    with stage_of("four parts") as stage:
        importer = stage.importer
        stage.tell()
        importer.run_until_quiet()
        assert [ended.delivery.name for ended in importer.ended] == ["import", "part", "part", "part", "part"]
        assert importer.watcher is not None
        (execution,) = importer.executions()
        assert [json.loads(message) for message in importer.watcher.seen_messages] == [
            {"schema": "task/1", "execution_id": execution["id"], "start": start} for start in (0, 2048, 4096, 6144)
        ]


@pytest.mark.parametrize("workload", ["three continuations", "three continuations, gzip", "three continuations, CSV"])
def test_a_file_that_takes_longer_than_an_invocation_is_handed_on_in_time(workload: str) -> None:
    """Nobody is killed, nobody needs the sweep, and each of at least four invocations gets on."""
    with stage_of(workload) as stage:
        importer = stage.importer
        stage.tell()
        importer.run_until_quiet()
        assert len(importer.ended) >= 4
        assert not [ended for ended in importer.ended if ended.killed or ended.error]
        assert importer.helped_by() == []
        assert_books_balance(importer.cloud, stage.sources, tidy=True)


def ended_after_minutes(importer: Importer, key: str) -> float:
    """Virtual time from the upload to the receipt."""
    receipts = map(json.loads, importer.cloud.objects("receipts/").values())
    (timing,) = (receipt["timing"] for receipt in receipts if receipt["source"]["key"] == key)
    return float(timing["ended_ms"] - BEGAN_MS) / 60_000


BEGAN_MS = 1_795_176_000_000


def test_a_file_nobody_told_of_is_found_and_imported_within_the_hour() -> None:
    """A3, A4: the sweep lists imports/ every 15 minutes."""
    with installed(watched=True, part_bytes=2048) as importer:
        importer.cloud.drop(KEY, ROWS)
        importer.run_until_quiet()
        assert_books_balance(importer.cloud, {KEY: ROWS})
        assert importer.telemetry.found_files == [(KEY, "unknown")]
        assert ended_after_minutes(importer, KEY) < 60


def test_messages_the_queue_has_lost_are_sent_again_within_the_half_hour() -> None:
    """SQS loses none; a queue purged by hand does."""
    with installed(watched=True, part_bytes=2048) as importer:
        importer.notify(importer.cloud.drop(KEY, ROWS))
        importer.run_until_quiet(Fault("after", "SendMessage", detail={"do": lambda c: c._messages().clear()}))
        assert_books_balance(importer.cloud, {KEY: ROWS})
        assert importer.helped_by() == ["sweep unfinished"]
        assert ended_after_minutes(importer, KEY) < 30


def test_a_message_that_is_no_task_ends_among_the_dead_letters_and_hinders_nobody() -> None:
    """Five receives, each half an hour after the other."""
    with installed(watched=True, part_bytes=2048) as importer:
        strange = ["not JSON", '{"schema": "task/2"}', '{"schema": "task/1", "execution_id": "none", "start": 0}']
        for message in strange:
            importer.cloud.send(message)
        importer.notify(importer.cloud.drop(KEY, ROWS))
        importer.run_until_quiet(seed=1)
        assert sorted(importer.cloud.messages(importer.cloud.dead_letter_queue_url)) == sorted(strange)
        assert importer.cloud.messages() == []
        assert_books_balance(importer.cloud, {KEY: ROWS})
        assert ended_after_minutes(importer, KEY) < 1


@pytest.mark.sampled(each="kind part_bytes")
@pytest.mark.parametrize("kind", ["kill_before", "kill_after", "timed_out", "bug"])
@pytest.mark.parametrize("part_bytes", [2048, 1 << 20])
def test_a_file_that_kills_its_workers_is_given_up_and_the_others_do_not_wait_for_it(
    kind: str, part_bytes: int
) -> None:
    """FAILED `gave_up` after ten claims that moved nothing; with a receipt of what was read; the file stays (I8)."""
    with installed(watched=True, part_bytes=part_bytes) as importer:
        cloud = importer.cloud
        others = dict(map(small_file, range(3)))
        poisoned = Fault(
            kind, lambda call: call.operation == "BatchWriteItem" and b'"user-1"' in call.body, always=True
        )
        importer.notify(cloud.drop(KEY, ROWS))
        for number, (key, body) in enumerate(others.items()):
            importer.notify(cloud.drop(key, body.replace(b"user-1", b"other-1")), 600 * number)
        importer.run_until_quiet(poisoned)
        assert check_every_end(cloud) == {"FAILED": 1, "SUCCEEDED": 3}
        (failed,) = (item for item in importer.executions() if item["status"] == "FAILED")
        assert failed["error"]["code"] == "gave_up"
        assert cloud.objects("imports/") == {KEY: ROWS}
        late = [ended_after_minutes(importer, key) - 10 * number for number, key in enumerate(others)]
        assert max(late) < 16  # no more than one invocation's time


def test_a_worker_is_told_nothing_by_a_message_but_where_to_look() -> None:
    """One of last week, of an execution that has ended: nothing is read, nothing written."""
    with installed(watched=True) as importer:
        importer.notify(importer.cloud.drop("imports/logins.json", VENDOR_ROWS))
        importer.run_until_quiet()
        (execution,) = importer.executions()
        before = essence(importer.cloud), importer.cloud.items("imports")
        importer.cloud.clock.sleep(7 * 86_400)
        ended = importer.work_on(json.dumps({"schema": "task/1", "execution_id": execution["id"], "start": 0}))
        assert ended.error is None
        assert (essence(importer.cloud), importer.cloud.items("imports")) == before


def test_compressed_files_and_tables_are_never_cut() -> None:
    """Neither has places to begin at (D6, E11); both can be handed on."""
    for name in ("CSV", "gzip of two members", "zstd"):
        key, body = FILES[name]
        with installed(watched=True, part_bytes=1024) as importer:
            importer.notify(importer.cloud.drop(key, body))
            importer.run_until_quiet()
            assert_books_balance(importer.cloud, {key: body})
            assert [execution["num_tasks"] for execution in importer.executions()] == [1], name
