"""What clients and sinks tell the meter is what AWS was asked: each try of a request, each item that was written."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from importer.aws import clients
from importer.aws.clock import SystemClock
from importer.aws.metering import metered, metered_transport
from importer.aws.tables import ImportsTable
from importer.aws.transport import Transport
from importer.costs import Meter, item_bytes, units_of
from importer.model import Event, Provenance, Unavailable, Usage, UserChange
from importer.sinks.dynamodb import DynamoDBSink
from importer.sinks.firehose import FirehoseSink
from importer.sinks.items import event_item
from importer.sinks.quick import Reply
from tests.support.cloud import Cloud
from tests.support.faults import Fault, plan
from tests.support.scripted_tables import ScriptedTables

T = 1_425_920_218_354
SOURCE = Provenance("cooladata", "default", "e1", "imports/a.json", T)
EVENTS = [Event(f"{number:032x}", "login", T, f"u{number}", {"n": number}, number) for number in range(60)]
MARKS = 2  # a write looks twice whether anybody was erased


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud(stream=True) as made:
        yield made


def tables(cloud: Cloud, meter: Meter, source: Provenance = SOURCE) -> DynamoDBSink:
    client = metered(clients.sinks(), meter, "events")
    return DynamoDBSink(client, "events", "users", source, cloud.clock, 1, lambda _: None)


def change(record: str, value: str = "x", time_ms: int = T, deleted: bool = False) -> UserChange:
    return UserChange("u", record, value, time_ms, 0, 0, deleted=deleted)


def test_an_event_is_written_for_a_unit_and_25_for_a_request(cloud: Cloud):
    """Small ones; those over 1 KB are more units."""
    meter = Meter()
    large = Event("f" * 32, "login", T, "u", {"text": "x" * 2_500}, 99)
    tables(cloud, meter).write([*EVENTS, large], [])
    assert meter.taken(0) == Usage(event_write_units=63, table_requests=3 + MARKS, read_units=MARKS)


def test_what_is_put_off_is_billed_when_it_is_written(cloud: Cloud):
    """Every second item of each call is left unprocessed; the request is made again, the unit is paid once (F1)."""
    meter = Meter()
    with plan(cloud, Fault("unprocessed", "BatchWriteItem", times=4)) as delivery:
        tables(cloud, meter).write(EVENTS, [])
    spent = meter.taken(0)
    assert (spent.event_write_units, spent.table_requests) == (60, len(delivery.calls))
    assert len(delivery.calls) > 3 + MARKS


def test_a_throttled_request_is_one_and_writes_nothing(cloud: Cloud):
    meter = Meter()
    with plan(cloud, Fault("throttled", "BatchWriteItem", times=2)) as delivery:
        tables(cloud, meter).write(EVENTS, [])
    assert meter.taken(0) == Usage(
        event_write_units=60, table_requests=len(delivery.calls), read_units=MARKS, throttled_requests=2
    )


def test_a_request_whose_reply_was_lost_is_counted_and_its_units_are_not(cloud: Cloud):
    """They may have been billed: so a bill is "at least"."""
    meter = Meter()
    with plan(cloud, Fault("reply_lost", "BatchWriteItem")) as delivery:
        tables(cloud, meter).write(EVENTS[:25], [])
    assert meter.taken(0) == Usage(event_write_units=25, table_requests=len(delivery.calls), read_units=MARKS)


def test_a_change_that_is_outranked_costs_what_it_would_have_cost(cloud: Cloud):
    """N9; but nothing is written into the index of memberships for it."""
    meter = Meter()
    sink = tables(cloud, meter)
    sink.write([], [change("segment#s", time_ms=T + 1)])
    assert meter.taken(0).user_write_units == 2  # the record and its entry
    sink.write([], [change("segment#s", time_ms=T)])
    assert meter.taken(0).user_write_units == 1


def test_a_ranked_event_is_a_request_of_its_own(cloud: Cloud):
    """K15: batches have no conditions."""
    meter = Meter()
    source = Provenance("cooladata", "default", "e1", "imports/a.json", T, ranked=True)
    tables(cloud, meter, source).write(EVENTS[:3], [])
    assert meter.taken(0) == Usage(event_write_units=3, table_requests=3 + MARKS, read_units=MARKS)


def test_a_link_and_an_erasure_are_counted_by_what_dynamodb_says(cloud: Cloud):
    """They are updates, of which nobody here knows the size; the emulator says a unit each."""
    meter = Meter()
    tables(cloud, meter).write([], [change("link#other")])
    spent = meter.taken(0)
    assert (spent.event_write_units, spent.user_write_units) == (0, 2)  # the link, and who first said it
    tables(cloud, meter).write([], [change("erased")])
    assert meter.taken(0).user_write_units == 2  # the mark, and the record that says so


def test_the_stream_takes_records_and_each_is_billed_when_taken(cloud: Cloud):
    """Packed: 60 events are one record of a few steps of 5 KB. A record that was not taken is paid when it is."""
    meter = Meter()
    client = metered(clients.stream(), meter, "events")
    sink = FirehoseSink(client, cloud.delivery_stream, SOURCE, cloud.clock, 1, False)
    with plan(cloud, Fault("unprocessed", "PutRecordBatch")) as delivery:
        sink.write(EVENTS, [])
    (record,) = cloud.objects(bucket=cloud.stream_bucket).values()
    steps = -(-len(record) // 5_120)
    assert steps > 1
    assert meter.taken(0) == Usage(
        stream_records=1,
        stream_billed_bytes=steps * 5_120,
        stream_requests=len(delivery.calls),
        throttled_requests=1,
    )


def test_requests_to_s3_are_counted_by_what_they_cost(cloud: Cloud):
    """PUT and LIST; GET and HEAD; a DELETE is free; and a refused one was a request too."""
    meter = Meter()
    s3 = metered(clients.s3(), meter)
    s3.put_object(Bucket=cloud.bucket, Key="work/a", Body=b"x")
    s3.list_objects_v2(Bucket=cloud.bucket)
    s3.get_object(Bucket=cloud.bucket, Key="work/a")["Body"].read()
    with pytest.raises(s3.exceptions.ClientError):
        s3.head_object(Bucket=cloud.bucket, Key="work/b")
    s3.delete_object(Bucket=cloud.bucket, Key="work/a")
    assert meter.taken(0) == Usage(s3_writes=2, s3_reads=2)


def test_each_try_of_a_request_is_one(cloud: Cloud):
    """botocore's retries are on nobody's list but AWS's."""
    meter = Meter()
    s3 = metered(clients.s3(), meter)
    with plan(cloud, Fault("error_500", "HeadBucket", times=2)) as delivery:
        s3.head_bucket(Bucket=cloud.bucket)
    assert meter.taken(0) == Usage(s3_reads=len(delivery.calls)) == Usage(s3_reads=3)


def test_the_ledger_counts_what_dynamodb_says_it_consumed(cloud: Cloud):
    """A read, a write; and a write its condition refuses costs one at least."""
    meter = Meter()
    ledger = ImportsTable(metered(clients.records(), meter), cloud.imports_table)
    assert ledger.claim_stem("2026-11-26", "a", "e1")
    assert not ledger.claim_stem("2026-11-26", "a", "e2")
    assert ledger.execution("e1") is None
    spent = meter.taken(0)
    assert (spent.ledger_write_units, spent.read_units, spent.table_requests) == (2, 1, 3)


def test_a_ledger_that_cannot_be_reached_is_asked_all_the_same(cloud: Cloud):
    """Each try is a request; there is no unit nobody answered for."""
    meter = Meter()
    ledger = ImportsTable(metered(clients.records(), meter), cloud.imports_table)
    with (
        plan(cloud, Fault("connection_lost", "GetItem", times=1_000)) as delivery,
        pytest.raises(Unavailable),
    ):
        ledger.execution("e1")
    assert meter.taken(0) == Usage(table_requests=len(delivery.calls))


# ---- The quick way -------------------------------------------------------------------------------------------------


class QuickWay:
    """A transport that answers writes as it is told, then with success; nothing is written."""

    in_flight = 4

    def __init__(self, *replies: Reply | None) -> None:
        self.bodies: list[bytes] = []
        self._replies = list(replies)

    def operation(self, method: str, **sample: Any) -> "QuickOperation":
        name = "".join(word.title() for word in method.split("_"))
        return QuickOperation(name, self)

    def answer(self, body: bytes, name: str) -> Reply | None:
        if name == "GetItem":
            return Reply(200, b"{}")  # nobody was erased
        self.bodies.append(body)
        if self._replies:
            return self._replies.pop(0)
        good = {"BatchWriteItem": b'{"UnprocessedItems":{}}', "PutRecordBatch": b'{"FailedPutCount":0}'}
        return Reply(200, good.get(name, b"{}"))


class QuickOperation:
    def __init__(self, name: str, way: QuickWay) -> None:
        self.name = name
        self._way = way

    def exchange(self, bodies: Iterable[bytes], in_flight: int, is_done: Callable[[Reply], bool]) -> list[Reply | None]:
        replies: list[Reply | None] = []
        for body in bodies:
            replies.append(self._way.answer(body, self.name))
            if replies[-1] is None or not is_done(replies[-1]):
                break
        return replies


def said(status: int, **document: Any) -> Reply:
    return Reply(status, json.dumps(document).encode())


def quickly(cloud: Cloud, way: QuickWay, events: list[Event], changes: list[UserChange], ranked: bool = False) -> Usage:
    """What a write by the quick way is told to have taken; without the looks whether anybody was erased."""
    meter = Meter()
    source = Provenance("cooladata", "default", "e1", "imports/a.json", T, ranked=ranked)
    client = metered(clients.sinks(), meter, "events")
    transport = metered_transport(way, meter, "events")
    DynamoDBSink(client, "events", "users", source, cloud.clock, 1, lambda _: None, None, transport).write(
        events, changes
    )
    spent = meter.taken(0).counts()
    spent["table_requests"] -= MARKS
    assert spent.pop("read_units") == MARKS
    return Usage(**spent)


def sized(count: int, *sizes: int) -> list[Event]:
    """Events with texts of these sizes in turn; each with one that looks like the request."""
    look = '"},{"PutRequest":{"Item":'
    return [Event(f"{n:032x}", "e", T, f"v{n}", {"t": "x" * sizes[n % len(sizes)], "q": look}, n) for n in range(count)]


@pytest.mark.parametrize("size", [1, 400, 560, 570, 580, 590, 600, 700, 3_000])
def test_events_sent_the_quick_way_are_weighed_by_their_texts(cloud: Cloud, size: int):
    """To the unit, whatever their size, where they are alike, and where some are small."""
    events = sized(60, size) + EVENTS
    units = sum(units_of(item_bytes(event_item(event, SOURCE))) for event in events)
    assert quickly(cloud, QuickWay(), events, []) == Usage(event_write_units=units, table_requests=5)


def test_large_events_of_many_sizes_are_weighed_about_right(cloud: Cloud):
    """One of a call is weighed, since that takes as long as to make it; the others go by their length."""
    events = sized(500, 900, 5_000, 1_200, 2_500, 700, 9_000, 3_300)
    units = sum(units_of(item_bytes(event_item(event, SOURCE))) for event in events)
    spent = quickly(cloud, QuickWay(), events, [])
    assert abs(spent.event_write_units - units) < units / 10
    assert spent.table_requests == 20


def test_what_the_quick_way_leaves_unprocessed_is_not_written_yet(cloud: Cloud):
    """It is, by the next call."""
    item = event_item(EVENTS[3], SOURCE)
    way = QuickWay(said(200, UnprocessedItems={"events": [{"PutRequest": {"Item": item}}]}))
    used = Usage(event_write_units=25, table_requests=2, throttled_requests=1)
    assert quickly(cloud, way, EVENTS[:25], []) == used
    assert len(way.bodies) == 2


def test_a_throttled_or_lost_call_of_the_quick_way_takes_nothing(cloud: Cloud):
    """Of the lost one nobody knows: it is made again, by the client."""
    throttled = said(400, __type="x#ProvisionedThroughputExceededException")
    used = Usage(event_write_units=25, table_requests=2, throttled_requests=1)
    assert quickly(cloud, QuickWay(throttled), EVENTS[:25], []) == used
    assert quickly(cloud, QuickWay(None), EVENTS[:25], []) == Usage(event_write_units=25, table_requests=2)


def test_conditional_writes_of_the_quick_way_cost_the_same_when_refused(cloud: Cloud):
    """But for the index; a large one more; a ranked event is the other table's."""
    outranked = said(400, __type="x#ConditionalCheckFailedException")
    member, large = change("segment#s"), change("prop#text", "x" * 2_000)
    assert quickly(cloud, QuickWay(), [], [member, large]) == Usage(user_write_units=2 + 3, table_requests=2)
    assert quickly(cloud, QuickWay(outranked), [], [member]) == Usage(user_write_units=1, table_requests=1)
    assert quickly(cloud, QuickWay(), EVENTS[:3], [], ranked=True) == Usage(event_write_units=3, table_requests=3)


def test_a_link_sent_the_quick_way_is_a_unit_and_one_for_who_first_said_it(cloud: Cloud):
    assert quickly(cloud, QuickWay(), [], [change("link#other")]) == Usage(user_write_units=2, table_requests=2)
    long = UserChange("u" * 800, "link#" + "v" * 800, True, T, 0, 0)
    assert quickly(cloud, QuickWay(), [], [long]) == Usage(user_write_units=2 + 2, table_requests=2)


def test_records_sent_the_quick_way_are_weighed_by_their_bytes(cloud: Cloud):
    """Their base64 is a third longer; those that were not taken are paid when they are."""
    meter = Meter()
    first = said(200, FailedPutCount=1, RequestResponses=[{"RecordId": "1"}, {"ErrorCode": "ServiceUnavailable"}])
    way = QuickWay(first)
    transport = metered_transport(way, meter, "events")
    client = metered(clients.stream(), meter, "events")
    sink = FirehoseSink(client, "s", SOURCE, cloud.clock, 1, False, transport)
    large = [Event(f"{n:032x}", "e", T, f"v{n}", {"t": "x" * 700_000}, n) for n in range(2)]
    sink.write(large, [])
    records = [json.loads(body)["Records"] for body in way.bodies]
    assert [len(some) for some in records] == [2, 1]
    steps = -(-(len(records[1][0]["Data"]) // 4 * 3) // 5_120)
    assert meter.taken(0) == Usage(
        stream_records=2, stream_billed_bytes=2 * steps * 5_120, stream_requests=2, throttled_requests=1
    )


def test_without_a_quick_way_there_is_none_to_count():
    assert metered_transport(None, Meter(), "events") is None


def test_a_metered_client_still_has_its_quick_way():
    """On real sockets: nobody who only counts is taken for somebody who might answer; the sample is no request."""
    meter = Meter()
    with ScriptedTables() as server:
        client = metered(server.client(), meter, "events")
        transport = metered_transport(Transport.of(client, 4), meter, "events")
        sink = DynamoDBSink(client, "events", "users", SOURCE, SystemClock(), 1, lambda _: None, None, transport)
        sink._write_events(EVENTS, lambda: None)
        asked = [one.headers.get("amz-sdk-request") for one in server.asked]
        assert (len(server.stored), asked) == (60, [None] * 3), "the client made calls"
    assert meter.taken(0) == Usage(event_write_units=60, table_requests=3)
