"""Cancel, redrive and hand-over: what a person decides, and what an invocation leaves to the next."""

from typing import Any
from unittest import mock

import orjson
import pytest

from importer import assembly
from importer.aws.dispatch import task_of
from importer.executions import ending, importing, settling
from importer.model import Unavailable
from tests.faults.importing import WORKLOADS, Importer, deadly, installed
from tests.support.books import assert_books_balance
from tests.support.faults import Fault, attempt, plan
from tests.support.scenarios import calls_of, explore, report, sample

KEY, BODY = WORKLOADS["medium"]
EVERYTHING = 10**9


def the_execution(importer: Importer) -> dict[str, Any]:
    (item,) = importer.executions()
    return item


def receipt_of(importer: Importer) -> dict[str, Any]:
    (body,) = importer.cloud.objects("receipts/").values()
    receipt: dict[str, Any] = orjson.loads(body)
    return receipt


# ---- Cancel --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part_bytes", [1 << 28, 1024])
def test_a_cancelled_execution_keeps_what_it_wrote_says_so_and_leaves_the_source(part_bytes: int):
    """CANCELED is final; the receipt says which bytes were never read."""
    with installed(part_bytes=part_bytes) as importer:
        notification = importer.cloud.drop(KEY, BODY)
        attempt(importer.cloud, lambda: importer.deliver(notification), Fault("kill_after", "BatchWriteItem"))
        importer.by_hand("cancel", the_execution(importer)["id"])
        item, receipt = the_execution(importer), receipt_of(importer)
        assert (item["status"], item["phase"], "unfinished" in item) == ("CANCELED", "CLOSED", False)
        assert (receipt["status"], receipt["complete"], receipt["completed_uri"]) == ("CANCELED", False, None)
        parts = -(-len(BODY) // part_bytes)
        assert receipt["unread"] == [{"part": n * part_bytes, "from": n * part_bytes} for n in range(parts)]
        assert importer.cloud.objects("imports/") == {KEY: BODY}
        assert importer.cloud.objects("work/") == {}
        importer.deliver(notification)
        importer.run_until_quiet()
        assert (the_execution(importer)["status"], importer.cloud.objects("imports/")) == ("CANCELED", {KEY: BODY})


@pytest.mark.parametrize("at_most", [8, pytest.param(EVERYTHING, marks=pytest.mark.slow)])
def test_cancelled_at_any_call_nobody_writes_on(at_most: int):
    """The state first, then every part's ownership: the worker's next progress is refused, and it stops (N10)."""
    with installed(part_bytes=2048, watched=True) as importer:
        importer.notify(importer.cloud.drop(KEY, BODY))

        def whole() -> None:
            importer.run_until_quiet()

        calls = calls_of(importer.cloud, whole)

        def play(at: int) -> None:
            stopped: list[dict[str, Any]] = []

            def cancel(_: Any) -> None:
                for item in importer.executions():
                    place = importer.workplaces(lambda: 900_000)
                    ending.cancel(place, item["id"])
                    stopped.append(the_execution(importer))

            importer.run_until_quiet(Fault("before", at, detail={"do": cancel}))
            if stopped and stopped[0]["status"] == "CANCELED":
                now = the_execution(importer)
                assert now == stopped[0]
                assert importer.cloud.objects("imports/") == {KEY: BODY}
            else:
                assert_books_balance(importer.cloud, {KEY: BODY})

        failures = explore(sample([call.index for call in calls], at_most), play)
        assert not failures, report(failures)


def test_what_has_ended_cannot_be_cancelled():
    """It is given back as it is; so is one all of whose rows are read."""
    with installed() as importer:
        importer.deliver(importer.cloud.drop(KEY, BODY))
        before = the_execution(importer)
        importer.by_hand("cancel", before["id"])
        assert the_execution(importer) == before
        with pytest.raises(Unavailable, match="there is no execution nothing"):
            ending.cancel(importer.workplaces(lambda: 900_000), "nothing")


def test_a_cancelled_execution_ends_though_the_bytes_of_a_long_line_are_gone():
    """Its errors file has what can be had; nobody tries for ever."""
    key, body = WORKLOADS["long lines"]
    with installed(write_ms=3_000, import_seconds=12) as importer:
        importer.deliver(importer.cloud.drop(key, body))
        (part,) = [item for item in importer.cloud.items(importer.cloud.imports_table) if item["sk"] > "PART#"]
        assert 0 < part["next_offset"] < len(body)
        with importer.cloud.unseen():
            version = importer.cloud.dropped[0].version_id
            importer.cloud.client("s3").delete_object(Bucket=importer.cloud.bucket, Key=key, VersionId=version)
        importer.by_hand("cancel", the_execution(importer)["id"])
        assert (the_execution(importer)["status"], the_execution(importer)["phase"]) == ("CANCELED", "CLOSED")
        assert receipt_of(importer)["bad"] == part["tally"]["bad"] > 0


# ---- Redrive -------------------------------------------------------------------------------------------------------


def given_up(importer: Importer, body: bytes) -> dict[str, Any]:
    """The execution of a file one of whose rows kills whoever writes it."""
    with deadly(b'"n":25'):
        importer.notify(importer.cloud.drop(KEY, body))
        importer.run_until_quiet()
    item = the_execution(importer)
    assert (item["status"], item["error"]["code"]) == ("FAILED", "gave_up")
    return item


@pytest.mark.parametrize("part_bytes", [1 << 28, 1024])
def test_a_failed_execution_goes_on_where_it_stands_once_its_cause_is_mended(part_bytes: int):
    """The next attempt; what was read is not read again, and its bad rows are not lost."""
    with installed(part_bytes=part_bytes) as importer:
        failed = given_up(importer, BODY)
        read_before = receipt_of(importer)["lines"]
        assert read_before > 0
        with plan(importer.cloud) as calls:
            importer.by_hand("redrive", failed["id"])
            importer.run_until_quiet()
        assert_books_balance(importer.cloud, {KEY: BODY}, tidy=True)
        assert (the_execution(importer)["status"], the_execution(importer)["retry_count"]) == ("SUCCEEDED", 1)
        assert sum("BatchWriteItem" in line for line in calls.journal) < 8  # of eight cells


def test_a_failed_execution_whose_bad_rows_may_be_gone_begins_again():
    """The bucket's rule removes work/ after 14 days; ids are a function of the bytes, so writing again is harmless."""
    with installed(part_bytes=1024) as importer:
        failed = given_up(importer, BODY)
        importer.cloud.clock.sleep(14 * 86_400)
        importer.workplaces(lambda: 900_000).objects.delete(
            importer.cloud.bucket, list(importer.cloud.objects("work/"))
        )
        importer.by_hand("redrive", failed["id"])
        importer.run_until_quiet()
        assert_books_balance(importer.cloud, {KEY: BODY}, tidy=True)


@pytest.mark.parametrize("at_most", [6, pytest.param(EVERYTHING, marks=pytest.mark.slow)])
def test_a_redrive_killed_at_any_call_is_done_again_or_found(at_most: int):
    """Said twice it changes nothing; said once and killed, the sweep finds it."""
    with installed(part_bytes=2048) as importer:
        failed = given_up(importer, BODY)
        redrive = lambda: ending.redrive(importer.workplaces(lambda: 900_000), failed["id"])  # noqa: E731
        calls = calls_of(importer.cloud, redrive)

        def play(fault: Fault) -> None:
            attempt(importer.cloud, redrive, fault)
            importer.run_until_quiet()
            if the_execution(importer)["status"] == "FAILED":
                redrive()
                redrive()
                importer.run_until_quiet()
            assert_books_balance(importer.cloud, {KEY: BODY}, tidy=True)

        scenarios = [Fault(kind, call.index) for call in calls for kind in ("kill_before", "kill_after", "reply_lost")]
        failures = explore(sample(scenarios, at_most), play)
        assert not failures, report(failures)


@pytest.mark.parametrize("then", ["SUCCEEDED", "CANCELED"])
def test_only_a_failed_execution_is_redriven(then: str):
    """SUCCEEDED and CANCELED are final."""
    with installed() as importer:
        notification = importer.cloud.drop(KEY, BODY)
        if then == "CANCELED":
            attempt(importer.cloud, lambda: importer.deliver(notification), Fault("kill_after", "BatchWriteItem"))
            importer.by_hand("cancel", the_execution(importer)["id"])
        else:
            importer.deliver(notification)
        before = the_execution(importer)
        importer.by_hand("redrive", before["id"])
        assert (the_execution(importer), importer.cloud.next_message_ms()) == (before, None)


def test_the_errors_of_a_later_attempt_are_not_those_of_the_first():
    """Made in pieces, too: what the first attempt noted of its upload is none of the second's."""
    key = "imports/a.ndjson"
    body = b"".join(b"not json %d\n" % n if n != 150 else b'{"n":25}\n' for n in range(300))
    with installed(small_pieces=True) as importer:
        with deadly(b'"n":25'):
            importer.notify(importer.cloud.drop(key, body))
            importer.run_until_quiet()
        first = len(importer.cloud.objects("errors/")["errors/2026/11/20/a.ndjson"])
        importer.by_hand("redrive", the_execution(importer)["id"])
        importer.run_until_quiet()
        assert_books_balance(importer.cloud, {key: body}, tidy=True)
        assert 700 < first < len(importer.cloud.objects("errors/")["errors/2026/11/20/a.ndjson"])


@pytest.mark.parametrize("paused_before", ["PutObject errors/", "reasons.ndjson", "PutObject receipts/"])
def test_a_slow_worker_of_a_failed_attempt_writes_over_nothing_of_the_next(paused_before: str):
    """It stops before a paper; meanwhile another closes the execution, a person redrives it, and it succeeds."""
    with installed() as importer:
        failed = given_up(importer, BODY)
        place = importer.workplaces(lambda: 900_000)
        importer.by_hand("redrive", failed["id"])
        with mock.patch.object(importing, "TRIES", 0):  # the next attempt gives up at once; its closer is slow
            meanwhile = Fault("before", paused_before, detail={"do": lambda _: close_redrive_and_succeed()})

            def close_redrive_and_succeed() -> None:
                with mock.patch.object(importing, "TRIES", 10):
                    settling.close_failed(place, place.records.execution(failed["id"]))
                    ending.redrive(place, failed["id"])
                    importer.run_until_quiet()

            task = f'{{"schema":"task/1","execution_id":"{failed["id"]}","start":0}}'
            ended = importer.work_on(task, meanwhile)
        assert ended.error is None
        assert_books_balance(importer.cloud, {KEY: BODY}, tidy=True)


def test_an_execution_whose_sink_is_no_longer_set_up_waits_for_it():
    """A deployment without the stream never makes a file FAILED: the try is given back each time."""
    with installed(sinks=("dynamodb", "firehose")) as importer:
        notification = importer.cloud.drop(KEY, BODY)
        attempt(importer.cloud, lambda: importer.deliver(notification), Fault("kill_after", 20))
        without = importer.with_sinks(("dynamodb",))
        honest = assembly.FirehoseSink
        with mock.patch.object(assembly, "FirehoseSink", side_effect=Unavailable("the stream is not set up")):
            for _ in range(2 * importing.TRIES):
                importer.cloud.clock.sleep(60)
                with pytest.raises(Unavailable, match="not set up"):
                    without.deliver(notification)
        assert assembly.FirehoseSink is honest
        importer.deliver(notification)
        assert_books_balance(importer.cloud, {KEY: BODY})


# ---- Handing on ----------------------------------------------------------------------------------------------------


def test_when_time_is_up_the_rest_is_sent_before_the_lease_is_given_back():
    """In this order a crash leaves a task too many, and never work that nobody has (H2, H4)."""
    with installed(write_ms=2_000, import_seconds=9) as importer:
        notification = importer.cloud.drop(KEY, BODY)
        with plan(importer.cloud) as calls:
            importer.deliver(notification)
        end = [line for line in calls.journal if "PART#" in line or "SendMessage" in line][-3:]
        assert ["UpdateItem" in end[0], "SendMessageBatch" in end[1], "UpdateItem" in end[2]] == [True, True, True]
        importer.run_until_quiet()
        assert_books_balance(importer.cloud, {KEY: BODY}, tidy=True)


def test_a_task_is_three_fields_of_ascii():
    """SQS refuses some characters and large bodies (H5); and it says nothing that could be out of date."""
    with installed(part_bytes=1024) as importer:
        importer.deliver(importer.cloud.drop("imports/\u202e\x01 ünï.json", BODY))
        received = importer.cloud.receive()
        assert received is not None
        body = received[1]
        assert (body.isascii(), sorted(orjson.loads(body))) == (True, ["execution_id", "schema", "start"])
        assert task_of(body).execution_id == the_execution(importer)["id"]


def test_whoever_cuts_a_file_does_not_wait_for_its_parts():
    """A parent that waits for children starves them where concurrency is short (H7)."""
    with installed(part_bytes=1024) as importer:
        importer.deliver(importer.cloud.drop(KEY, BODY))
        assert (the_execution(importer)["status"], importer.cloud.next_message_ms() is not None) == ("PENDING", True)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("seed", range(5))
def test_the_last_parts_end_at_once_and_one_of_them_settles(seed: int):
    """A set of parts, not a counter (I2); the sweep overlaps with all of it, and with itself (I11, F10)."""
    with installed(part_bytes=1024, watched=True) as importer:
        importer.notify(importer.cloud.drop(KEY, BODY))
        importer.run_until_quiet(seed=seed, workers=3)
        assert_books_balance(importer.cloud, {KEY: BODY}, tidy=True)
        assert importer.telemetry.closings == [(KEY, "SUCCEEDED")]
