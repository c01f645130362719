"""What clients and sinks tell the meter is what AWS was asked: each try of a request, each item that was written."""

from collections.abc import Iterator

import pytest

from importer.aws import clients
from importer.aws.metering import metered
from importer.aws.tables import ImportsTable
from importer.costs import Meter
from importer.model import Event, Provenance, Unavailable, Usage, UserChange
from importer.sinks.dynamodb import DynamoDBSink
from importer.sinks.firehose import FirehoseSink
from tests.support.cloud import Cloud
from tests.support.faults import Fault, plan

T = 1_425_920_218_354
SOURCE = Provenance("cooladata", "default", "e1", "imports/a.json", T)
EVENTS = [Event(f"{number:032x}", "login", T, f"u{number}", {"n": number}, number) for number in range(60)]
MARKS = 2  # a write looks twice whether anybody was erased


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud(stream=True) as made:
        yield made


def tables(cloud: Cloud, meter: Meter, source: Provenance = SOURCE) -> DynamoDBSink:
    client = metered(clients.sinks(), meter, sinks=True)
    return DynamoDBSink(client, "events", "users", source, cloud.clock, 1, lambda _: None, meter=meter)


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
    assert meter.taken(0) == Usage(event_write_units=60, table_requests=len(delivery.calls), read_units=MARKS)


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
    client = metered(clients.stream(), meter)
    sink = FirehoseSink(client, cloud.delivery_stream, SOURCE, cloud.clock, 1, False, meter)
    with plan(cloud, Fault("unprocessed", "PutRecordBatch")) as delivery:
        sink.write(EVENTS, [])
    (record,) = cloud.objects(bucket=cloud.stream_bucket).values()
    steps = -(-len(record) // 5_120)
    assert steps > 1
    assert meter.taken(0) == Usage(
        stream_records=1, stream_billed_bytes=steps * 5_120, stream_requests=len(delivery.calls)
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
