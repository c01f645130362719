"""Two workers, or a worker and a person, at one moment: histories that are in no row of the fault table."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any
from unittest import mock

import orjson
import pytest

from importer.aws.stored import StoredTables
from importer.bad_rows import FileReason, ObjectProblem
from importer.executions import ending, importing, settling
from importer.formats import cooladata
from importer.ledger import Books, verify
from importer.model import RULES_VERSION
from tests.faults.files import many_rows, row
from tests.faults.importing import WORKLOADS, Importer, deadly, installed
from tests.support.books import assert_books_balance, check_every_end
from tests.support.faults import Fault, attempt
from tests.support.wire import Call

KEY, BODY = WORKLOADS["medium"]
DAY_S = 86_400


def the_execution(importer: Importer) -> dict[str, Any]:
    (item,) = importer.executions()
    return item


def task_of(importer: Importer, start: int = 0) -> str:
    return orjson.dumps({"schema": "task/1", "execution_id": the_execution(importer)["id"], "start": start}).decode()


def moves(word: str):
    """A conditional write of the execution in which a word stands."""

    def at(call: Call) -> bool:
        return call.operation == "UpdateItem" and call.label.endswith("EXEC") and word.encode() in call.body

    return at


def findings(importer: Importer) -> list[Any]:
    cloud = importer.cloud
    place = importer.workplaces(lambda: 900_000)
    with cloud.unseen():
        tables = cloud.events_table, cloud.users_table, cloud.imports_table
        books = Books(place.objects, place.records, StoredTables(cloud.client("dynamodb"), *tables, cloud.clock, 1))
        execution = books.records.execution(the_execution(importer)["id"])
        return list(verify(books, execution, True).findings)


@contextmanager
def deployed():
    """Inside, `deploy()` makes all further invocations those of a function with newer rules."""
    with mock.patch.object(importing, "RULES_VERSION", RULES_VERSION):

        def deploy() -> None:
            importing.RULES_VERSION += 1

        yield deploy


@pytest.mark.parametrize("part_bytes", [1 << 28, 2048])
def test_a_settler_whose_outcome_is_refused_takes_no_part_from_whoever_began_again(part_bytes: int):
    """Old rules have read all, and are about to say so; new ones begin again (and are in the middle of it)."""
    with installed(watched=True, part_bytes=part_bytes) as importer, deployed() as deploy:
        notification = importer.cloud.drop(KEY, BODY)

        def newer(_: Any) -> None:
            deploy()
            importer.work_on(task_of(importer), Fault("kill_after", "BatchWriteItem"))

        importer.notify(notification)
        importer.run_until_quiet(Fault("before", moves("FINALISING"), detail={"do": newer}))
        assert_books_balance(importer.cloud, {KEY: BODY})


def test_a_claim_under_newer_rules_is_one_try():
    """Nine workers died of a bug; the next version mends it."""
    with installed(watched=True) as importer, deployed() as deploy:
        notification = importer.cloud.drop(KEY, BODY)
        with deadly(b'"n":1'):
            for _ in range(importing.TRIES - 1):
                attempt(importer.cloud, lambda: importer.deliver(notification))
                importer.cloud.clock.sleep(60)
        deploy()
        importer.notify(notification)
        importer.run_until_quiet()
        assert the_execution(importer)["error"] is None
        assert_books_balance(importer.cloud, {KEY: BODY})


def test_a_cancel_that_meets_a_worker_who_just_begins_cancels_all_the_same():
    """PENDING → RUNNING between its look and its write."""
    with installed(watched=True, part_bytes=2048) as importer:
        importer.deliver(importer.cloud.drop(KEY, BODY))
        begin = {"do": lambda _: importer.work_on(task_of(importer), Fault("kill_after", "BatchWriteItem"))}
        ended = importer.invoke(
            "cancel",
            900,
            lambda place: ending.cancel(place, the_execution(importer)["id"]),
            Fault("before", moves("CANCELED"), detail=begin),
        )
        assert ended.error is None
        assert (ended.result.status, ended.result.phase) == ("CANCELED", "CLOSED")


def test_a_failure_found_while_another_worker_begins_is_kept():
    """A refused name; PENDING → RUNNING between a worker's look and its write that says FAILED."""
    with installed(watched=True, part_bytes=2048) as importer:
        importer.deliver(importer.cloud.drop(KEY, BODY))

        def refuses(*_: Any) -> None:
            if importer.cloud.wire.delivery.name == "bad":
                raise ObjectProblem(FileReason.GAVE_UP, "x")

        begin = {"do": lambda _: importer.work_on(task_of(importer, 2048), Fault("kill_after", "BatchWriteItem"))}
        with mock.patch.object(importing, "judge_name", refuses):
            ended = importer.invoke(
                "bad",
                900,
                lambda place: importing.work_on(place, importing.Task(the_execution(importer)["id"], 0)),
                Fault("before", moves("gave_up"), detail=begin),
            )
        assert ended.error is None
        assert (ended.result.status, ended.result.phase) == ("FAILED", "CLOSED")


def test_two_who_close_a_canceled_execution_leave_a_receipt_that_agrees_with_it():
    """The second has written its receipt over the first's, and dies; the first closes."""
    with installed() as importer:
        notification = importer.cloud.drop(KEY, BODY)
        attempt(importer.cloud, lambda: importer.deliver(notification), Fault("kill_after", "PutObject work/"))

        def another(cloud: Any) -> None:
            cloud.clock.sleep(60)
            importer.work_on(task_of(importer), Fault("kill_before", moves("closer")))

        ended = importer.invoke(
            "cancel",
            900,
            lambda place: ending.cancel(place, the_execution(importer)["id"]),
            Fault("before", moves("closer"), detail={"do": another}),
        )
        assert ended.error is None
        importer.run_until_quiet()
        assert (the_execution(importer)["status"], the_execution(importer)["phase"]) == ("CANCELED", "CLOSED")
        assert findings(importer) == []


def test_a_slow_closer_of_an_old_execution_does_not_take_its_errors_out_of_the_receipt():
    """13 days old; another closes it and clears its segments away, before the slow one lists them."""
    with installed(progress_every_ms=0) as importer:
        notification = importer.cloud.drop(KEY, BODY)
        attempt(importer.cloud, lambda: importer.deliver(notification), Fault("kill_after", "PutObject work/", times=1))
        attempt(importer.cloud, lambda: None)
        importer.cloud.clock.sleep(60)
        attempt(
            importer.cloud, lambda: importer.deliver(notification), Fault("kill_after", lambda call: _second_put(call))
        )
        importer.cloud.clock.sleep(13 * DAY_S + 3600)
        stalled: list[Any] = []

        class Stalls(Exception): ...

        def stalls(*arguments: Any) -> Any:
            stalled.append(arguments)
            raise Stalls

        honest = settling._closed
        with mock.patch.object(settling, "_closed", stalls):
            importer.by_hand("cancel", the_execution(importer)["id"])
        ((_, execution, outcome, reasons),) = stalled
        assert outcome.sums.bad

        def close(_: Any) -> None:
            place = importer.workplaces(lambda: 900_000)
            honest(place, execution, outcome, reasons)

        ended = importer.work_on(task_of(importer), Fault("before", "ListObjects", detail={"do": close}))
        assert ended.fired
        assert ended.error is None
        assert findings(importer) == []


def _second_put(call: Call, seen: dict[int, int] = {}) -> bool:  # noqa: B006
    if "PutObject work/" in call.label:
        seen[id(call.cloud)] = seen.get(id(call.cloud), 0) + 1
    return "PutObject work/" in call.label and seen[id(call.cloud)] == 4


@pytest.mark.parametrize("together", [False, True])
def test_two_redrives_of_which_one_thinks_the_segments_too_old(together: bool):
    """Their clocks differ by ten minutes, about 13 days after the drop; the first is killed, or slower."""
    body = many_rows(55)
    key = "imports/parts.json"
    with installed(part_bytes=2048, watched=False) as importer:
        with deadly(b'"n":25'):
            importer.notify(importer.cloud.drop(key, body))
            importer.run_until_quiet()
        failed = the_execution(importer)
        assert (failed["status"], bool(failed.get("parts_done"))) == ("FAILED", True)
        until_ms = int(failed["creation_date"]) + settling.SEGMENTS_KEPT_MS + 300_000
        importer.cloud.clock.sleep((until_ms - importer.cloud.clock.now_ms()) / 1000)
        redrive = lambda place: ending.redrive(place, failed["id"])  # noqa: E731

        def other(_: Any) -> None:
            importer.invoke("redrive", 900, redrive, Fault("clock_behind", 1))

        fault = Fault("before", moves("PENDING"), detail={"do": other}) if together else None
        if fault is None:
            importer.invoke("redrive", 900, redrive, Fault("kill_before", moves("PENDING")))
            other(None)
        else:
            importer.invoke("redrive", 900, redrive, fault)
        importer.run_until_quiet()
        assert_books_balance(importer.cloud, {key: body})


def test_what_older_rules_refuse_does_not_end_what_newer_ones_import():
    """An old worker has refused the file; before it says so, a newer function has begun again, which takes it."""
    with installed(watched=True) as importer, deployed() as deploy:
        notification = importer.cloud.drop(KEY, BODY)

        def refuses(*_: Any) -> None:
            if importing.RULES_VERSION == RULES_VERSION:
                refused.append(True)
                raise ObjectProblem(FileReason.WRONG_KIND, "old rules do not know it")

        refused: list[bool] = []

        def newer(_: Any) -> None:
            with mock.patch.object(importing, "RULES_VERSION", RULES_VERSION + 1):
                importer.work_on(task_of(importer), Fault("kill_after", "BatchWriteItem"))

        def looks(call: Call) -> bool:
            return bool(refused) and call.operation == "GetItem" and call.label.endswith("EXEC")

        with mock.patch.object(importing, "judge_name", refuses):
            ended = importer.notified(notification, Fault("before", looks, detail={"do": newer}))
            assert refused
            assert ended.error is None
            deploy()
            importer.run_until_quiet()
        assert the_execution(importer)["error"] is None
        assert_books_balance(importer.cloud, {KEY: BODY})


def test_what_was_put_aside_by_one_attempt_is_none_of_the_next():
    """A late write of the first attempt's closer, between the second's own and its being read."""
    key = "imports/parts.json"
    body = b"".join((b"bad %d\n" % n if n % 6 == 3 else row(n) + b"\n") for n in range(70))
    aside: dict[str, bytes] = {}
    with installed(part_bytes=2048, small_pieces=True, watched=True) as importer:
        cloud = importer.cloud

        def keeps(call: Call, _: Any) -> None:
            if call.operation == "PutObject" and "/joining/" in (call.key or "") and "errors-" in (call.key or ""):
                found = cloud.objects()[call.key]
                aside.setdefault(call.key, found)

        cloud.wire.watchers.append(keeps)
        with deadly(b'"n":11'):
            importer.notify(cloud.drop(key, body))
            importer.run_until_quiet()
        cloud.wire.watchers.remove(keeps)
        assert the_execution(importer)["status"] == "FAILED"
        assert aside
        late: list[str] = []

        def again(call: Call) -> bool:
            return call.operation == "PutObject" and call.key in aside

        def arrives(_: Any) -> None:
            (found,) = [k for k in cloud.objects("work/") if k in aside and k == newest[-1]]
            late.append(found)
            cloud.client("s3").put_object(Bucket=cloud.bucket, Key=found, Body=aside[found])

        newest: list[str] = []
        cloud.wire.watchers.append(
            lambda call, _: newest.append(call.key or "") if call.operation == "PutObject" else None
        )

        def noted(call: Call) -> bool:
            return bool(late) and call.operation == "PutItem" and "NOTES" in call.label

        importer.by_hand("redrive", the_execution(importer)["id"])
        importer.run_until_quiet(Fault("after", again, detail={"do": arrives}), Fault("kill_after", noted))
        assert check_every_end(cloud) == {"SUCCEEDED": 1}
        assert_books_balance(cloud, {key: body})


def test_what_older_rules_made_of_a_user_is_written_over_by_newer_ones():
    """Same row, same rank: but what older rules made of it does not count."""
    key, body = "imports/users.json", row(1, **{"{u}city": "c"})
    with installed() as importer, deployed() as deploy:
        notification = importer.cloud.drop(key, body)
        honest = cooladata.UserChange

        def change(user: str, record: str, value: Any, *more: Any) -> Any:
            return honest(user, record, f"{value} by rules {importing.RULES_VERSION}", *more)

        with mock.patch.object(cooladata, "UserChange", change):
            attempt(importer.cloud, lambda: importer.deliver(notification), Fault("kill_before", "UpdateItem", times=1))
            importer.cloud.clock.sleep(60)
            attempt(importer.cloud, lambda: importer.deliver(notification), Fault("kill_after", "BatchWriteItem"))
            importer.cloud.clock.sleep(60)
            deploy()
            importer.notify(notification)
            importer.run_until_quiet()
        (item,) = importer.cloud.items(importer.cloud.users_table)
        assert item["value"] == f"c by rules {RULES_VERSION + 1}"
