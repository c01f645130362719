"""The harness catches what it is built to catch: a toy importer, honest, and the same with one bug at a time.

The toy reads with the oracle, so only its order of effects and its handling of AWS are on trial.
"""

from __future__ import annotations

import functools
import hashlib
import json
import uuid
from unittest import mock
from urllib.parse import unquote_plus

import boto3
import pytest
from boto3.dynamodb.types import TypeSerializer
from botocore.config import Config
from botocore.exceptions import ClientError, HTTPClientError, IncompleteReadError

from tests.faults import importing
from tests.faults.importing import installed
from tests.faults.workloads import WORKLOADS, stage_of
from tests.support import faults, oracle, scenarios
from tests.support.books import assert_books_balance, assert_nothing_lost, essence
from tests.support.clock import LambdaContext
from tests.support.cloud import VISIBILITY_SECONDS, Cloud
from tests.support.faults import Fault, Killed, Nth, attempt, plan
from tests.support.interleave import interleaved

KEY = "imports/a file+1.json"
ROW = '{"user_id":"u%d","event_name":"login","event_time_ts":%d,"amount":1.10,"{u}city":"Paris %d"}\n'
GOOD = "".join(ROW % (number % 3, 1_425_920_218_354 + number, number) for number in range(30)).encode()
BYTES = GOOD + b'\n{"user_id":"u1"}\nnot json at all\n{"user_id":"u1","event_name":"x","event_time_ts":7}'
NEWER = b'{"user_id":"new","event_name":"newer upload","event_time_ts":1425920218354}\n'


class ToyImporter:
    """What an importer does, in 60 lines: read, write events and users, bad rows, receipt, move."""

    def __init__(self, cloud: Cloud, bug: str | None = None) -> None:
        config = Config(retries={"total_max_attempts": 3, "mode": "standard"})
        self.cloud, self.bug = cloud, bug
        self.s3, self.tables = (boto3.client(name, config=config) for name in ("s3", "dynamodb"))

    def deliver(self, notification: dict) -> None:
        described = notification["Records"][0]["s3"]["object"]
        key, version_id, etag = unquote_plus(described["key"]), described["versionId"], described["eTag"]
        at = {"Bucket": self.cloud.bucket, "Key": key}
        execution_id = hashlib.sha256(f"{key} {version_id}".encode()).hexdigest()[:12]
        try:
            got = self.s3.get_object(**at, VersionId=version_id)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchVersion", "404"):
                return  # Moved by an earlier delivery.
            raise
        body = got["Body"].read()
        read = oracle.read("a.json", body)
        path = f"2026/11/20/{execution_id}.json"
        self.write_all("events", [self.event_item(event, read, execution_id) for event in read.events.values()])
        latest = {change[:2]: change for change in sorted(read.user_changes, key=lambda change: change[2])}
        self.write_all("users", [{"user_id": u, "record": r, "value": v} for u, r, _, v in latest.values()])
        errors = f"errors/{path}" if self.bug != "random names" else f"errors/2026/11/20/{uuid.uuid4()}.json"
        source = {"bucket": at["Bucket"], "key": key, "version_id": version_id, "etag": etag, "bytes": len(body)}
        self.put(errors, b"".join(bad_row.written for bad_row in read.bad_rows))
        self.put(f"{errors}.reasons.ndjson", b"".join(self.reason(bad_row, source) for bad_row in read.bad_rows))
        numbers = {name: getattr(read, name) for name in ("lines", "blank", "rows", "good", "bad")}
        receipt = {
            "schema": "receipt/1", "status": "SUCCEEDED", "complete": True, "error": None, "format": "cooladata",
            **numbers, "execution_id": execution_id, "events": read.good, "reasons": [{"code": "?", "count": read.bad}],
            "source": source | {"sha256": hashlib.sha256(body).hexdigest()},
            "errors_uri": self.uri(errors), "reasons_uri": self.uri(f"{errors}.reasons.ndjson"),
            "completed_uri": self.uri(f"completed_imports/{path}"),
        }  # fmt: skip
        self.put(f"receipts/{path}", json.dumps(receipt).encode())
        if self.bug == "delete before copy":
            self.s3.delete_object(**at, VersionId=version_id)
            self.put(f"completed_imports/{path}", body, ContentType=got["ContentType"], Metadata=got["Metadata"])
        else:
            source_version = {"Bucket": at["Bucket"], "Key": key, "VersionId": version_id}
            self.s3.copy_object(
                Bucket=at["Bucket"], Key=f"completed_imports/{path}", CopySource=source_version, CopySourceIfMatch=etag
            )
        execution = {"pk": f"EXEC#{execution_id}", "sk": "EXEC", "status": "SUCCEEDED"}
        self.tables.put_item(TableName="imports", Item=self.wire_form(execution))
        if self.bug == "head then delete":
            if self.s3.head_object(**at)["ETag"].strip('"') == etag:
                newest = self.s3.list_object_versions(Bucket=at["Bucket"], Prefix=key)["Versions"][0]["VersionId"]
                self.s3.delete_object(**at, VersionId=newest)
        elif self.bug != "delete before copy":
            self.s3.delete_object(**at, VersionId=version_id)

    def write_all(self, table: str, items: list[dict]) -> None:
        requests = [{"PutRequest": {"Item": self.wire_form(item)}} for item in items]
        while requests:
            left = self.tables.batch_write_item(RequestItems={table: requests[:25]})["UnprocessedItems"]
            requests = ([] if self.bug == "ignored unprocessed" else left.get(table, [])) + requests[25:]
            if left:
                self.cloud.clock.sleep(0.1)

    def put(self, key: str, body: bytes, **more: object) -> None:
        self.s3.put_object(Bucket=self.cloud.bucket, Key=key, Body=body, **more)

    def event_item(self, event: oracle.Event, read: oracle.Expected, execution_id: str) -> dict:
        address = min(read.addresses[event.user_id, event.event_key])
        named = {"format": "cooladata", "execution_id": execution_id, "address": address}
        return {name: getattr(event, name) for name in event.__dataclass_fields__} | named

    def reason(self, bad_row: oracle.BadRow, source: dict) -> bytes:
        place = {"line": bad_row.line, "offset": bad_row.offset, "length": len(bad_row.row)}
        document = {"schema": "bad_row/1", "reason": sorted(bad_row.reasons)[0], "source": source, **place}
        return json.dumps(document).encode() + b"\n"

    def uri(self, key: str) -> str:
        return f"s3://{self.cloud.bucket}/{key}"

    def wire_form(self, item: dict) -> dict:
        return {name: TypeSerializer().serialize(value) for name, value in item.items()}


@pytest.fixture
def cloud():
    with Cloud() as cloud:
        yield cloud


@pytest.fixture
def note(cloud):
    return cloud.drop(KEY, BYTES, ContentType="application/x-ndjson", Metadata={"sent-by": "a customer"})


def survives(cloud: Cloud, toy: ToyImporter, note: dict, *broken: Fault) -> None:
    """One delivery with faults, then one without: nothing is lost between them, and the books balance after."""
    attempt(cloud, lambda: toy.deliver(note), *broken)
    assert_nothing_lost(cloud, {KEY: BYTES})
    toy.deliver(note)
    assert_books_balance(cloud, {KEY: BYTES})


def all_faults(cloud: Cloud, toy: ToyImporter, note: dict) -> list[Fault]:
    return faults.every(scenarios.calls_of(cloud, lambda: toy.deliver(note)))


# --- the honest importer survives ----------------------------------------------------------------------------------


def test_honest_importer_survives_every_single_fault(cloud, note):
    """The harness accuses nobody who is innocent."""
    toy = ToyImporter(cloud)
    every = all_faults(cloud, toy, note)
    some = scenarios.sample(every, 30, whole=len(every))
    failures = scenarios.explore(some, functools.partial(survives, cloud, toy, note))
    assert not failures, scenarios.report(failures)
    assert len(every) > 100


def test_honest_importer_survives_two_faults_at_once(cloud, note):
    """Single faults are not enough; pairs are sampled."""
    toy = ToyImporter(cloud)
    chosen = scenarios.sample(faults.pairs(all_faults(cloud, toy, note)), 15, whole=60)
    failures = scenarios.explore(chosen, lambda pair: survives(cloud, toy, note, *pair))
    assert not failures, scenarios.report(failures)


def test_interleaved_deliveries_of_the_honest_importer_balance(cloud, note):
    """Two deliveries of one notification, a kill in one of them, Lambda's retries."""
    toy = ToyImporter(cloud)

    def play(seed: int) -> None:
        killed = {"first": [Fault("kill_after", seed % 12 + 1)]}
        both = {name: lambda: toy.deliver(note) for name in ("first", "second")}
        interleaved(cloud, both, seed, killed, tries=3)
        assert_nothing_lost(cloud, {KEY: BYTES})
        toy.deliver(note)
        assert_books_balance(cloud, {KEY: BYTES})

    failures = scenarios.explore(scenarios.sample(range(30), 10, whole=30), play)
    assert not failures, scenarios.report(failures)


# --- each seeded bug is caught --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bug", "by"),
    [
        ("ignored unprocessed", {"unprocessed"}),
        ("delete before copy", {"kill_before", "kill_after", "connection_lost", "reply_lost"}),
        ("random names", {"kill_before", "kill_after"}),
    ],
)
def test_seeded_bug_passes_a_clean_run_and_is_caught_by_single_faults(cloud, note, bug, by):
    """A bug that no ordinary test sees is found by going through the calls one by one."""
    toy = ToyImporter(cloud, bug)
    every = all_faults(cloud, toy, note)
    clean = scenarios.explore([()], lambda _: survives(cloud, toy, note))
    assert clean == []
    every = [fault for fault in every if fault.kind in by]
    failures = scenarios.explore(every, functools.partial(survives, cloud, toy, note), stop_after=1)
    assert failures, f"{bug} was not caught by {len(every)} scenarios"


@pytest.mark.parametrize(("bug", "caught"), [(None, False), ("head then delete", True)])
def test_newer_upload_between_two_calls_is_not_touched(cloud, note, bug, caught):
    """HEAD, then DELETE, and a new upload in between: the new one must stay (I4)."""
    toy = ToyImporter(cloud, bug)

    def play(index: int) -> None:
        with plan(cloud, before={index: lambda cloud: cloud.drop(KEY, NEWER)}):
            toy.deliver(note)
        assert_books_balance(cloud, {KEY: BYTES}, untouched={KEY: NEWER})

    calls = scenarios.calls_of(cloud, lambda: toy.deliver(note))
    failures = scenarios.explore(range(1, len(calls) + 1), play, stop_after=1)
    assert bool(failures) is caught, scenarios.report(failures)


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "tamper",
    [
        lambda cloud: cloud.client("dynamodb").delete_item(TableName="events", Key=_key_of_first(cloud)),
        lambda cloud: cloud.put_item("events", {"user_id": "u", "event_key": "one too many"}),
        lambda cloud: cloud.put_item("events", {**cloud.items("events")[0], "event_name": "altered"}),
        lambda cloud: cloud.put_item("users", {**cloud.items("users")[0], "value": "Rome"}),
        lambda cloud: cloud.put_item("imports", {"pk": "EXEC#other", "sk": "EXEC", "status": "RUNNING"}),
        lambda cloud: cloud.drop(_first(cloud, "errors/"), b"other bytes\n"),
        lambda cloud: cloud.remove(_first(cloud, "errors/")),
        lambda cloud: cloud.drop(_first(cloud, "completed_imports/"), BYTES),  # Its metadata are lost.
        lambda cloud: cloud.drop(KEY, BYTES),
        lambda cloud: cloud.drop("work/left/over", b""),
        lambda cloud: cloud.drop("receipts/2026/11/20/two.json", cloud.objects()[_first(cloud, "receipts/")]),
    ],
)
def test_books_notice_whatever_is_changed_afterwards(cloud, note, tamper):
    """Each promise is really looked at."""
    ToyImporter(cloud).deliver(note)
    assert_books_balance(cloud, {KEY: BYTES}, tidy=True)
    with cloud.unseen():
        tamper(cloud)
    with pytest.raises(AssertionError):
        assert_books_balance(cloud, {KEY: BYTES}, tidy=True)


def _first(cloud: Cloud, prefix: str) -> str:
    return next(iter(cloud.objects(prefix)))


def _key_of_first(cloud: Cloud) -> dict:
    item = cloud.items("events")[0]
    return {name: {"S": item[name]} for name in ("user_id", "event_key")}


# --- the tools do what they say --------------------------------------------------------------------------------------


def test_killed_delivery_touches_aws_no_more(cloud, note):
    """Not even from a `finally`, not from a thread, not by sleeping; the next delivery lives."""
    s3, afterwards = boto3.client("s3"), []

    def deliver():
        try:
            s3.put_object(Bucket=cloud.bucket, Key="one", Body=b"")
        finally:
            for act in (lambda: s3.put_object(Bucket=cloud.bucket, Key="two", Body=b""), lambda: cloud.clock.sleep(1)):
                try:
                    act()
                except Killed:
                    afterwards.append("killed")

    with plan(cloud, kill_after=1) as ended:
        deliver()
    assert (ended.killed, afterwards, list(cloud.objects())) == (True, ["killed", "killed"], [KEY, "one"])
    s3.put_object(Bucket=cloud.bucket, Key="two", Body=b"")
    assert list(cloud.objects()) == [KEY, "one", "two"]


def test_sdk_retries_are_calls_of_their_own_and_cost_no_real_time(cloud):
    """A reply is lost, the SDK asks again: a line each in the journal, and the back-off is virtual."""
    s3 = boto3.client("s3")
    with plan(cloud, reply_lost=1, throttled=2) as ended:
        s3.put_object(Bucket=cloud.bucket, Key="a", Body=b"x")
    assert ended.journal == ["s3 PutObject a"] * 3
    assert ended.fired == ["reply_lost at 1: s3 PutObject a", "throttled at 2: s3 PutObject a"]
    assert cloud.clock.slept_seconds > 0
    assert len(cloud.versions("a")) == 2


@pytest.mark.parametrize("kind", ["body_cut", "body_reset", "body_stalled"])
def test_broken_body_reaches_the_reader_as_an_error(cloud, note, kind):
    """Half of the bytes come, then botocore says so; in pieces the half can be had."""
    s3 = boto3.client("s3")
    with plan(cloud, **{kind: "GetObject"}):
        body = s3.get_object(Bucket=cloud.bucket, Key=KEY)["Body"]
    pieces = []
    with pytest.raises((HTTPClientError, IncompleteReadError)):
        pieces.extend(iter(lambda: body.read(100), b""))
    assert BYTES.startswith(b"".join(pieces))
    assert len(b"".join(pieces)) == len(BYTES) // 2
    with plan(cloud, **{kind: "GetObject"}), pytest.raises((HTTPClientError, IncompleteReadError)):
        s3.get_object(Bucket=cloud.bucket, Key=KEY)["Body"].read()


def test_ignored_range_answers_with_the_whole_object(cloud, note):
    """200 instead of 206 (N11)."""
    s3 = boto3.client("s3")
    with plan(cloud, range_ignored=1):
        got = s3.get_object(Bucket=cloud.bucket, Key=KEY, Range="bytes=10-19")
    assert (got["ResponseMetadata"]["HTTPStatusCode"], got["Body"].read()) == (200, BYTES)


def test_unprocessed_items_are_really_not_written(cloud):
    """Half of the batch is there, the other half is in the answer."""
    items = [{"user_id": {"S": "u"}, "event_key": {"S": str(number)}} for number in range(5)]
    tables = boto3.client("dynamodb")
    with plan(cloud, unprocessed=1):
        answer = tables.batch_write_item(RequestItems={"events": [{"PutRequest": {"Item": item}} for item in items]})
    assert [item["event_key"] for item in cloud.items("events")] == ["0", "2", "4"]
    left = [request["PutRequest"]["Item"]["event_key"]["S"] for request in answer["UnprocessedItems"]["events"]]
    assert left == ["1", "3"]


def test_records_not_taken_by_the_stream_are_named_in_request_order():
    """FailedPutCount says how many, the answers which."""
    with Cloud(stream=True) as cloud:
        with plan(cloud, unprocessed=1):
            answer = boto3.client("firehose").put_record_batch(
                DeliveryStreamName=cloud.delivery_stream, Records=[{"Data": b"%d\n" % n} for n in range(4)]
            )
        assert answer["FailedPutCount"] == 2
        assert ["ErrorCode" in each for each in answer["RequestResponses"]] == [True, False, True, False]
        assert b"".join(cloud.objects(bucket=cloud.stream_bucket).values()) == b"1\n3\n"


@pytest.mark.parametrize(
    ("kind", "s3_code", "table_code"),
    [
        ("error_500", "InternalError", "InternalServerError"),
        ("error_503", "ServiceUnavailable", "ServiceUnavailable"),
        ("throttled", "SlowDown", "ProvisionedThroughputExceededException"),
        ("denied", "AccessDenied", "AccessDeniedException"),
    ],
)
def test_lasting_outage_ends_in_the_services_own_error(cloud, kind, s3_code, table_code):
    """The SDK gives up and the importer sees the code AWS uses."""
    with plan(cloud, **{kind: (1, 99)}), pytest.raises(ClientError) as caught:
        boto3.client("s3").put_object(Bucket=cloud.bucket, Key="a", Body=b"")
    assert caught.value.response["Error"]["Code"] == s3_code
    with plan(cloud, **{kind: (1, 99)}), pytest.raises(ClientError) as caught:
        boto3.client("dynamodb").put_item(TableName="events", Item={"user_id": {"S": "u"}, "event_key": {"S": "k"}})
    assert caught.value.response["Error"]["Code"] == table_code


def test_lambda_time_out_kills_at_the_deadline(cloud):
    """A call that begins after the time is up never leaves."""
    s3, context = boto3.client("s3"), LambdaContext(cloud.clock, seconds=10)
    with plan(cloud, seconds=10, slow=1) as ended:
        s3.put_object(Bucket=cloud.bucket, Key="first", Body=b"")
        assert context.get_remaining_time_in_millis() == 0
        s3.put_object(Bucket=cloud.bucket, Key="second", Body=b"")
    assert ended.killed
    assert list(cloud.objects()) == ["first"]


def test_history_is_replayed_from_its_seed(cloud):
    """Same seed, same order; and seeds differ."""
    s3 = boto3.client("s3")

    def deliver(name: str) -> None:
        for number in range(5):
            s3.put_object(Bucket=cloud.bucket, Key=f"{name}/{number}", Body=b"")
            cloud.clock.sleep(0.004)

    def history(seed: int) -> tuple[str, ...]:
        both = {name: functools.partial(deliver, name) for name in ("a", "b", "c")}
        return scenarios.in_copy(lambda: tuple(interleaved(cloud, both, seed).journal))

    histories = [history(seed) for seed in range(8)]
    assert histories == [history(seed) for seed in range(8)]
    assert len(set(histories)) == 8
    assert all(len(each) == 15 for each in histories)


def test_killed_delivery_comes_again_after_a_minute_of_virtual_time(cloud, note):
    """Lambda's retries of an asynchronous event, among other deliveries."""
    started = cloud.clock.now_ms()
    history = interleaved(
        cloud, {"only": lambda: ToyImporter(cloud).deliver(note)}, 1, {"only": [Fault("kill_before", 3)]}, tries=3
    )
    assert [ended.killed for ended in history.attempts["only"]] == [True, False]
    assert 60_000 < cloud.clock.now_ms() - started < 70_000
    assert_books_balance(cloud, {KEY: BYTES})


def test_threads_of_a_delivery_die_with_it(cloud):
    """A pool inside the importer belongs to the delivery that made it."""
    from concurrent.futures import ThreadPoolExecutor

    s3 = boto3.client("s3")
    with plan(cloud, kill_before=2) as ended, ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda key: s3.put_object(Bucket=cloud.bucket, Key=key, Body=b""), ["a", "b", "c"]))
    assert ended.killed
    assert len(cloud.objects()) == 1


def test_transport_without_botocore_passes_the_same_faults(cloud):
    """`Wire.send` is the door for a transport of our own."""
    headers = {"X-Amz-Target": "DynamoDB_20120810.PutItem", "Content-Type": "application/x-amz-json-1.0"}
    headers["Authorization"] = "AWS4-HMAC-SHA256 Credential=a/20261120/us-east-1/dynamodb/aws4_request"
    body = json.dumps({"TableName": "events", "Item": {"user_id": {"S": "u"}, "event_key": {"S": "k"}}}).encode()
    send = functools.partial(cloud.wire.send, "POST", "https://dynamodb.us-east-1.amazonaws.com/", headers, body)
    with plan(cloud, throttled=1) as ended:
        assert [send()[0], send()[0]] == [400, 200]
    assert ended.journal == ["dynamodb PutItem events u k"] * 2
    assert len(cloud.items("events")) == 1


def test_same_faults_from_the_same_beginning_give_the_same_end(cloud, note):
    """What a retry repeats is a function of bytes: the ends agree on everything but times and costs."""
    toy = ToyImporter(cloud)

    def end(index: int) -> dict:
        attempt(cloud, lambda: toy.deliver(note), Fault("kill_after", index))
        toy.deliver(note)
        return essence(cloud)

    assert scenarios.in_copy(lambda: end(2)) == scenarios.in_copy(lambda: end(6))


# --- the queue, and runs of many invocations --------------------------------------------------------------------------


def test_a_message_is_hidden_while_somebody_has_it_and_after_five_receives_it_is_a_dead_letter(cloud):
    """As the part queue of template.yaml: 30 minutes, five times (H3)."""
    cloud.send("task", delay_s=60)
    assert cloud.receive() is None
    for _ in range(5):
        cloud.clock.advance(cloud.next_message_ms() - cloud.clock.now_ms())
        assert cloud.receive()[1] == "task"
        assert cloud.receive() is None
        assert cloud.next_message_ms() - cloud.clock.now_ms() == VISIBILITY_SECONDS * 1000 + 1
    cloud.clock.advance(VISIBILITY_SECONDS * 1000 + 1)
    assert cloud.receive() is None
    assert (cloud.messages(), cloud.messages(cloud.dead_letter_queue_url)) == ([], ["task"])


def test_a_deleted_message_does_not_come_again(cloud):
    """Its invocation ended well."""
    cloud.send("task")
    cloud.clock.advance(1)
    handle, _ = cloud.receive()
    cloud.delete_message(handle)
    assert (cloud.messages(), cloud.next_message_ms()) == ([], None)


def test_messages_not_taken_are_named_and_really_not_sent(cloud):
    """`Failed` in a success; also of a batch of one."""
    sqs = boto3.client("sqs")
    entries = [{"Id": str(number), "MessageBody": f"m{number}"} for number in range(3)]
    with plan(cloud, unprocessed=1):
        answer = sqs.send_message_batch(QueueUrl=cloud.part_queue_url, Entries=entries)
    assert [entry["Id"] for entry in answer["Failed"]] == ["0", "2"]
    assert cloud.messages() == ["m1"]
    with plan(cloud, unprocessed=1):
        answer = sqs.send_message_batch(QueueUrl=cloud.part_queue_url, Entries=entries[:1])
    assert (len(answer["Failed"]), cloud.messages()) == (1, ["m1"])


def test_a_call_is_met_by_its_number_among_the_calls_of_all_deliveries(cloud):
    """What `Nth` of a run means."""
    s3 = boto3.client("s3")
    armed, fired = [], []
    armed += faults.around_of([Fault("throttled", Nth(cloud.wire.serial + 3))], fired)
    for name in ("a", "b"):
        with plan(cloud, around=armed):
            s3.put_object(Bucket=cloud.bucket, Key=f"{name}/1", Body=b"")
            s3.put_object(Bucket=cloud.bucket, Key=f"{name}/2", Body=b"")
    assert fired == ["throttled at 1: s3 PutObject b/1"]


def test_a_lasting_fault_strikes_every_delivery_until_it_is_over(cloud):
    """An outage of a minute: then all is well again."""
    s3, fired = boto3.client("s3", config=Config(retries={"total_max_attempts": 1})), []
    armed = faults.around_of([Fault("error_503", "PutObject", lasts_s=60)], fired)

    def put() -> bool:
        with plan(cloud, around=armed):
            try:
                s3.put_object(Bucket=cloud.bucket, Key="a", Body=b"")
            except ClientError:
                return False
        return True

    done = [put()]
    cloud.clock.advance(59_000)
    done.append(put())
    cloud.clock.advance(1_000)
    done.append(put())
    assert done == [False, False, True]


def test_time_that_is_up_is_told_and_time_that_is_used_up_kills(cloud):
    """`deadline_now` leaves a minute to end in; `timed_out` leaves nothing (H2)."""
    s3, put = boto3.client("s3"), {"Bucket": cloud.bucket, "Body": b""}
    context = LambdaContext(cloud.clock, seconds=900)
    with plan(cloud, seconds=900, context=context, deadline_now=1) as told:
        s3.put_object(Key="a", **put)
        assert context.get_remaining_time_in_millis() == 0
        s3.put_object(Key="b", **put)
    with plan(cloud, seconds=900, timed_out=1) as used_up:
        s3.put_object(Key="c", **put)
        s3.put_object(Key="d", **put)
    assert (told.killed, used_up.killed, list(cloud.objects())) == (False, True, ["a", "b", "c"])


def test_a_worker_with_a_wrong_clock_is_alone_with_it():
    """Its own leases are wrong; nobody else's time is."""
    with installed() as importer:
        clock = importer.workplaces(lambda: 1000).clock
        with plan(importer.cloud, clock_ahead="HeadBucket"):
            importer.cloud.client("s3")
            boto3.client("s3").head_bucket(Bucket=importer.cloud.bucket)
            assert clock.now_ms() - importer.cloud.clock.now_ms() == 3 * 3600 * 1000
        assert clock.now_ms() == importer.cloud.clock.now_ms()


def test_a_run_that_nobody_brings_to_an_end_says_what_is_left():
    """Forbidden for ever: the bound is passed, and the execution named."""
    with stage_of("tiny") as stage, mock.patch.object(importing, "LONGEST_RUN_S", 1800):
        stage.tell()
        with pytest.raises(AssertionError, match=r"not quiet .*logins\.json RUNNING IMPORTING"):
            stage.importer.run_until_quiet(Fault("denied", "BatchWriteItem", always=True))


# --- the watcher ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("says", "sort_key", "update", "value"),
    [
        ("fell", "PART", "SET tally.good = :v, tally.#lines = :v, tally.bad = :v, tally.blank = :v", 0),
        ("went back", "PART", "SET next_offset = :v", 0),
        ("the tally says", "PART", "SET tally.good = tally.good + :v, tally.#lines = tally.#lines + :v", 1),
        ("no longer done", "PART", "SET done = :v", False),
        ("claimed 12 times", "PART", "SET tries = :v", 12),
        ("borders changed", "PART", "SET stop = :v", 7),
        ("a write after SUCCEEDED", "EXEC", "SET #status = :v", "RUNNING"),
        ("in the index otherwise", "EXEC", "SET unfinished = :v", "yes"),
        ("a stem was taken", "STEM", "SET execution_id = :v", "another"),
    ],
)
def test_the_watcher_sees_what_must_not_happen(says, sort_key, update, value):
    """Each rule is really looked at, at the write that breaks it."""
    with stage_of("tiny") as stage:
        importer = stage.importer
        stage.tell()
        importer.run_until_quiet()
        (item,) = (item for item in importer.cloud.items("imports") if item["sk"].startswith(sort_key))
        used = {name: real for name, real in (("#lines", "lines"), ("#status", "status")) if name in update}
        boto3.resource("dynamodb").Table("imports").update_item(
            Key={"pk": item["pk"], "sk": item["sk"]},
            UpdateExpression=update,
            ExpressionAttributeValues={":v": value},
            **({"ExpressionAttributeNames": used} if used else {}),
        )
        with pytest.raises(AssertionError, match=says):
            importer.watcher.assert_nothing_wrong()


@pytest.mark.parametrize("prefix", ["completed_imports/", "errors/", "receipts/"])
def test_the_watcher_sees_what_must_not_be_deleted(prefix):
    """Archive, errors and receipts are the customer's."""
    with stage_of("all bad") as stage:
        stage.tell()
        stage.importer.run_until_quiet()
        key = _first(stage.importer.cloud, prefix)
        boto3.client("s3").delete_object(Bucket=stage.importer.cloud.bucket, Key=key)
        with pytest.raises(AssertionError, match="was deleted"):
            stage.importer.watcher.assert_nothing_wrong()


def test_the_watcher_sees_a_source_deleted_too_early():
    """Before anything of it is durable."""
    with stage_of("tiny") as stage:
        upload = stage.upload
        boto3.client("s3").delete_object(
            Bucket=stage.importer.cloud.bucket, Key=upload.key, VersionId=upload.version_id
        )
        with pytest.raises(AssertionError, match="deleted without an execution"):
            stage.importer.watcher.assert_nothing_wrong()


def test_every_workload_is_read_by_the_oracle_as_it_is_meant():
    """All kinds of rows are in them; a workload the oracle could not read would prove nothing."""
    read = [oracle.read(workload.key, workload.body) for workload in WORKLOADS.values()]
    assert all(expected.lines == expected.blank + expected.good + expected.bad for expected in read)
    assert [name for name, expected in zip(WORKLOADS, read, strict=True) if not expected.rows] == ["empty"]
