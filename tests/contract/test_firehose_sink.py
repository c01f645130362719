"""Firehose on a bad day: throttled, half taken, silent, denied, or not there; and both sinks. Time is virtual."""

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest
from botocore.exceptions import ClientError

from importer.aws import clients
from importer.aws.transport import Transport
from importer.bad_rows import Reason
from importer.formats.reading import Reading
from importer.model import Event, Provenance, Throttled, Unavailable, UserChange
from importer.sinks import records
from importer.sinks.calls import BOUND_MS
from importer.sinks.dynamodb import DynamoDBSink
from importer.sinks.firehose import FirehoseSink
from importer.sinks.in_turn import InTurn
from tests.support.clock import CALL_MS
from tests.support.cloud import Cloud
from tests.support.faults import Attempt, Fault, plan

SOURCE = Provenance("cooladata", "default", "e1", "imports/a.json", 1_700_000_000_000)
T = 1_425_920_218_354
ENDLESS = 1_000_000
# The bound is looked at before a pause; the round of calls after the last one comes on top.
WITHIN_MS = BOUND_MS + 4 * CALL_MS


@pytest.fixture(params=[True, False], ids=["quick", "botocore"])
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    with Cloud(stream=True, quick=request.param) as made:
        yield made


def sink_of(cloud: Cloud, in_flight: int = 1, *, gzip: bool = False, stream: str = "") -> FirehoseSink:
    client = clients.stream()
    transport = Transport.of(client, in_flight)
    return FirehoseSink(client, stream or cloud.delivery_stream, SOURCE, cloud.clock, in_flight, gzip, transport)


def both_of(cloud: Cloud) -> InTurn:
    client, names = clients.sinks(), (cloud.events_table, cloud.users_table)
    transport = Transport.of(client, 1)
    tables = DynamoDBSink(client, *names, SOURCE, cloud.clock, 1, lambda _: None, transport=transport)
    return InTurn([tables, sink_of(cloud)])


def event(number: int, **properties: Any) -> Event:
    return Event(f"{number:032x}", "login", T, f"u{number % 5}", properties, number)


SMALL = [event(number, n=number) for number in range(60)]
LARGE = [event(number, n=number, text="x" * 400_000) for number in range(12)]  # two a record, six records, two calls


def delivered(cloud: Cloud) -> list[bytes]:
    """The lines in the stream's bucket."""
    return b"".join(cloud.objects(bucket=cloud.stream_bucket).values()).splitlines(keepends=True)


def numbers(cloud: Cloud) -> list[int]:
    """Numbers of the delivered events, repetitions and all, in order."""
    return sorted(int(json.loads(line)["event_id"], 16) for line in delivered(cloud))


def taken(attempt: Attempt) -> list[str]:
    """The calls that were made, with the number of their records."""
    return [call.label.removeprefix("firehose PutRecordBatch ") for call in attempt.calls]


def test_many_events_are_one_record(cloud: Cloud):
    """Firehose bills each record rounded up to 5 KB: 60 events are one record in one call."""
    with plan(cloud) as delivery:
        sink_of(cloud).write(SMALL, [])
    assert (taken(delivery), numbers(cloud)) == (["x1"], list(range(60)))


def test_a_batch_too_large_for_a_call_is_several(cloud: Cloud):
    """Three full records a call: within 4 MiB before base64 and after, or the strict stub would refuse."""
    with plan(cloud) as delivery:
        sink_of(cloud).write(LARGE, [])
    assert (taken(delivery), numbers(cloud)) == (["x3", "x3"], list(range(12)))


def test_calls_in_flight_together_deliver_the_same(cloud: Cloud):
    """Eight at a time, as deployed, more calls than that; each line whole."""
    many = [event(number, text="x" * 400_000) for number in range(6 * 10)]
    sink_of(cloud, 8).write(many, [])
    assert numbers(cloud) == list(range(60))


@pytest.mark.parametrize("gzip", [False, True])
def test_the_same_batch_makes_the_same_records(cloud: Cloud, gzip: bool):
    """No time and no chance in them."""
    changes = [UserChange("u", "prop#a", "é", T, 1, 0)]
    sent: list[list[bytes]] = []
    for _ in range(2):
        with plan(cloud) as delivery:
            sink_of(cloud, gzip=gzip).write(LARGE, changes)
        sent.append([call.body for call in delivery.calls])
        cloud.clock.sleep(3_600)
    assert sent[0] == sent[1]


def test_user_changes_go_first_and_none_is_folded_away(cloud: Cloud):
    """A stream is told everything: what holds at last is what has the highest rank."""
    changes = [UserChange("u", "prop#a", value, T, 1, value) for value in range(3)]
    sink_of(cloud).write(SMALL[:1], changes)
    lines = [json.loads(line) for line in delivered(cloud)]
    assert [line.get("value", line.get("event_id")) for line in lines] == [0, 1, 2, SMALL[0].event_id]


def test_equal_rows_of_a_batch_go_out_once(cloud: Cloud):
    """They are one event, as in the table; the last address is noted."""
    sink_of(cloud).write([event(1), replace(event(1), address=77), event(2)], [])
    assert [(json.loads(line)["event_id"][-1], json.loads(line)["address"]) for line in delivered(cloud)] == [
        ("1", 77),
        ("2", 2),
    ]


# ---- Gzip ----------------------------------------------------------------------------------------------------------


def test_a_gzipped_record_is_a_file_of_its_own(cloud: Cloud):
    """Joined by Firehose they are a gzip file of several members: whole lines after opening."""
    sink_of(cloud, gzip=True).write(LARGE, [])
    (first, *_) = cloud.objects(bucket=cloud.stream_bucket).values()
    assert first[:8] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00"  # no name, no time
    opened = gzip.decompress(b"".join(cloud.objects(bucket=cloud.stream_bucket).values()))
    plain = FirehoseLines()
    FirehoseSink(plain, "s", SOURCE, cloud.clock, 1, gzip=False).write(LARGE, [])
    assert opened == b"".join(plain.records)


def test_gzip_makes_small_calls_of_large_batches(cloud: Cloud):
    """What the stream's quota counts is what is sent."""
    with plan(cloud) as delivery:
        sink_of(cloud, gzip=True).write(LARGE, [])
    assert taken(delivery) == ["x6"]
    assert len(delivery.calls[0].body) < 40_000


class FirehoseLines:
    """Takes every record."""

    def __init__(self) -> None:
        self.records: list[bytes] = []

    def put_record_batch(self, *, DeliveryStreamName: str, Records: Any) -> dict[str, Any]:
        self.records += [record["Data"] for record in Records]
        return {"FailedPutCount": 0}


def test_what_gzip_cannot_make_smaller_fits_all_the_same():
    """At worst it stores the lines as they are, with a header for each block: still within 1,000 KiB."""
    stored = zlib.compressobj(0, zlib.DEFLATED, 31)
    assert len(stored.compress(b"x" * records.LINES_BYTES) + stored.flush()) <= records.RECORD_BYTES


# ---- A bad day -----------------------------------------------------------------------------------------------------


def test_only_the_records_that_were_not_taken_are_sent_again(cloud: Cloud):
    """A success may hold failures (G1): here the first and every second one after it, be it the only one."""
    with plan(cloud, Fault("unprocessed", 1, times=3)) as delivery:
        sink_of(cloud).write(LARGE, [])
    # What was taken of three records, of the two left, and of the one left: one, one, none. Then it goes through.
    assert taken(delivery) == ["x1", "x1", "x1", "x1", "x3"]
    assert numbers(cloud) == list(range(12))


def test_a_failure_that_names_no_record_has_all_sent_again(cloud: Cloud):
    """Counted, but not said which: twice is allowed, lost is not."""

    class Vague(FirehoseLines):
        def put_record_batch(self, *, DeliveryStreamName: str, Records: Any) -> dict[str, Any]:
            super().put_record_batch(DeliveryStreamName=DeliveryStreamName, Records=Records)
            if len(self.records) == 1:
                return {"FailedPutCount": 1, "RequestResponses": [{"RecordId": "1"}]}
            return {"FailedPutCount": 0, "RequestResponses": [{"RecordId": "1"}]}

    client = Vague()
    FirehoseSink(client, "s", SOURCE, cloud.clock, 1, gzip=False).write(SMALL, [])
    assert len(client.records) == 2
    assert client.records[0] == client.records[1]


@pytest.mark.parametrize("kind", ["throttled", "error_500", "error_503", "connection_lost"])
@pytest.mark.parametrize("at", [1, 2])
def test_a_call_that_failed_is_made_again(cloud: Cloud, kind: str, at: int):
    """Each record once: the failed call had no effect."""
    with plan(cloud, Fault(kind, at)) as delivery:
        sink_of(cloud).write(LARGE, [])
    assert (len(delivery.calls), numbers(cloud)) == (3, list(range(12)))


def test_a_lost_reply_delivers_twice_and_loses_nothing(cloud: Cloud):
    """G2: the same lines, byte for byte, so the ids are the same too."""
    with plan(cloud, reply_lost=1):
        sink_of(cloud).write(LARGE, [UserChange("u", "prop#a", 1, T, 1, 0)])
    counted = Counter(delivered(cloud))
    assert sorted(counted.values()) == [1] * 6 + [2] * 7
    assert len(counted) == 13


def elapsed_ms(cloud: Cloud, fault: Fault, raised: type[Exception]) -> int:
    began = cloud.clock.now_ms()
    with plan(cloud, fault), pytest.raises(Unavailable) as caught:
        sink_of(cloud).write(LARGE, [])
    assert caught.type is raised
    return cloud.clock.now_ms() - began


@pytest.mark.parametrize("code", ["ServiceUnavailableException", "LimitExceededException", "ThrottlingException"])
def test_throttled_for_good_says_so_within_the_bound(cloud: Cloud, code: str):
    """G3: the stream's quota. The same batch may be tried again at once, and then goes through."""
    assert elapsed_ms(cloud, Fault("throttled", 1, times=ENDLESS, detail={"code": code}), Throttled) <= WITHIN_MS
    sink_of(cloud).write(LARGE, [])
    assert numbers(cloud) == list(range(12))


@pytest.mark.parametrize("kind", ["connection_lost", "error_500"])
def test_aws_away_for_good_is_not_called_throttling(cloud: Cloud, kind: str):
    """This is for the next delivery."""
    assert elapsed_ms(cloud, Fault(kind, 1, times=ENDLESS), Unavailable) <= WITHIN_MS


def test_a_call_taken_record_by_record_gets_somewhere(cloud: Cloud):
    """Two records in three come back for a minute: slow is not stuck, and what was taken is not sent again."""

    class Stingy(FirehoseLines):
        def put_record_batch(self, *, DeliveryStreamName: str, Records: Any) -> dict[str, Any]:
            cloud.clock.advance(9_000)
            self.records.append(Records[0]["Data"])
            said = [{"RecordId": "1"}] + [{"ErrorCode": "ServiceUnavailableException"}] * (len(Records) - 1)
            return {"FailedPutCount": len(Records) - 1, "RequestResponses": said}

    client = Stingy()
    FirehoseSink(client, "s", SOURCE, cloud.clock, 1, gzip=False).write(LARGE, [])
    assert len(client.records) == len(set(client.records)) == 6


def test_a_stream_at_its_quota_gets_fewer_calls_at_once(cloud: Cloud):
    """G3: half as many after each round of which something came back, for all that is written after it."""
    many = [event(number, text="x" * 400_000) for number in range(6 * 8)]
    sink = sink_of(cloud, 8)
    with plan(cloud, Fault("throttled", 1, times=1)):
        sink.write(many, [])
    assert numbers(cloud) == list(range(48))
    assert sink._calls._window.in_flight == 4


def test_a_slow_stream_is_written_to_the_end_and_breath_is_taken_on_the_way(cloud: Cloud):
    """The caller can renew the lease between calls."""
    breaths: list[int] = []
    with plan(cloud, Fault("slow", 1, times=ENDLESS, detail={"seconds": 5})):
        sink_of(cloud).write(
            [event(n, text="x" * 400_000) for n in range(60)], [], lambda: breaths.append(cloud.clock.now_ms())
        )
    assert numbers(cloud) == list(range(60))
    assert len(breaths) > 3
    assert max(later - earlier for earlier, later in pairwise(breaths)) < BOUND_MS


# ---- What a person must mend ---------------------------------------------------------------------------------------


def test_a_missing_permission_is_named_with_the_stream(cloud: Cloud):
    """At once, when botocore has heard it too; no row is at fault (I9)."""
    with plan(cloud, Fault("denied", 1, times=ENDLESS)) as delivery, pytest.raises(Unavailable) as raised:
        sink_of(cloud).write(SMALL, [])
    said = str(raised.value)
    assert "the delivery stream events cannot be written" in said
    assert said.endswith("; allow firehose:PutRecordBatch on it")
    assert len(delivery.calls) <= 2


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ("BatchWriteItem", ("the events table events cannot be written", "; allow dynamodb:BatchWriteItem on it")),
        ("PutItem", ("the users table users cannot be written", "; allow dynamodb:PutItem on it")),
    ],
)
def test_a_missing_permission_on_a_table_is_named_too(cloud: Cloud, operation: str, words: tuple[str, str]):
    """The same sentence for every destination."""
    with plan(cloud, Fault("denied", operation, always=True)), pytest.raises(Unavailable) as raised:
        both_of(cloud).write(SMALL, [UserChange("u", "prop#a", 1, T, 1, 0)])
    assert words[0] in str(raised.value)
    assert str(raised.value).endswith(words[1])
    assert delivered(cloud) == []


def test_a_stream_that_is_not_there_is_named(cloud: Cloud):
    """Deleted, or another account's."""
    with pytest.raises(Unavailable, match=r"the delivery stream gone cannot be written: .*deploy the stack again"):
        sink_of(cloud, stream="gone").write(SMALL, [])


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("InvalidKMSResourceException", "its KMS key is disabled"),
        ("InvalidArgumentException", "cannot be written"),
        ("ResourceNotFoundException", "it is not there"),
    ],
)
def test_a_refusal_that_trying_again_does_not_change_is_told_at_once(cloud: Cloud, code: str, words: str):
    """A key that was disabled; a call of ours that is wrong: never a bad row, and no second call (G3)."""

    class Refusing(FirehoseLines):
        def put_record_batch(self, *, DeliveryStreamName: str, Records: Any) -> dict[str, Any]:
            super().put_record_batch(DeliveryStreamName=DeliveryStreamName, Records=Records)
            answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 400}}
            raise ClientError(answer, "PutRecordBatch")

    client = Refusing()
    with pytest.raises(Unavailable, match=words) as raised:
        FirehoseSink(client, "s", SOURCE, cloud.clock, 1, gzip=False).write(SMALL, [])
    assert (raised.type, len(client.records)) == (Unavailable, 1)


# ---- Limits --------------------------------------------------------------------------------------------------------


def test_what_the_pure_limit_just_lets_through_is_taken(cloud: Cloud):
    """A row of nearly 1,000 KiB, alone in its record."""
    room = records.LINES_BYTES - (14 << 10) - 200
    large = event(1, text="x" * room)
    records.limit(room, Reading([large], []))
    sink_of(cloud).write([event(0), large, event(2)], [])
    assert numbers(cloud) == [0, 1, 2]


def test_calls_of_many_small_records_are_taken(cloud: Cloud):
    """500 a call, says the strict stub too."""
    for call in records.calls_of([b"x\n"] * 1_200):
        clients.stream().put_record_batch(
            DeliveryStreamName=cloud.delivery_stream, Records=[{"Data": record} for record in call]
        )
    assert len(delivered(cloud)) == 1_200


def test_numbers_of_every_size_arrive_with_every_digit(cloud: Cloud):
    """Through boto's base64 and back (E2, E3)."""
    values = {"a": 2**64, "b": Decimal("0.1000000000000000055511151231257827"), "c": Decimal("1e-400"), "d": -0.0}
    sink_of(cloud).write([event(1, **values)], [])
    (line,) = delivered(cloud)
    read = json.loads(line, parse_float=Decimal, parse_int=Decimal)["properties"]
    assert read == {name: Decimal(value) for name, value in values.items()}


# ---- Both ----------------------------------------------------------------------------------------------------------

UNSTORABLE = Decimal("1" * 39)  # stands for what nobody foresaw: the pure limit would have refused it


def test_a_row_the_table_refuses_goes_nowhere(cloud: Cloud):
    """G4: refused once, by the one that can; neither its event nor its user changes are on the stream."""
    events = [event(1, n=UNSTORABLE), event(2), event(3)]
    changes = [UserChange("u", "prop#a", UNSTORABLE, T, 2, 0), UserChange("u", "prop#b", 1, T, 3, 0)]
    refused = both_of(cloud).write(events, changes)
    assert {address: reject.reason for address, reject in refused.items()} == {
        1: Reason.REFUSED_BY_SINK,
        2: Reason.REFUSED_BY_SINK,
    }
    lines = [json.loads(line) for line in delivered(cloud)]
    assert [line.get("kind", line.get("event_name")) for line in lines] == ["user_change", "login"]
    assert {line["address"] for line in lines} == {3}
    assert [int(item["event_id"], 16) for item in cloud.items(cloud.events_table)] == [3]


def test_the_table_comes_first(cloud: Cloud):
    """While the table is throttled the stream gets nothing, so nothing twice."""
    with plan(cloud, Fault("throttled", 1, times=ENDLESS)), pytest.raises(Throttled):
        both_of(cloud).write(SMALL, [])
    assert delivered(cloud) == []


def test_a_crash_between_the_two_loses_nothing(cloud: Cloud):
    """The batch is written again: the table does not notice, the stream gets it."""
    with plan(cloud, kill_before=6) as delivery:  # three writes between two looks whether anybody was erased
        both_of(cloud).write(SMALL, [])
    assert (delivery.killed, delivered(cloud), len(cloud.items(cloud.events_table))) == (True, [], 60)
    both_of(cloud).write(SMALL, [])
    assert (numbers(cloud), len(cloud.items(cloud.events_table))) == (list(range(60)), 60)
