"""DynamoDB on a bad day: throttled, half done, silent, refusing, or not the table it should be. Time is virtual."""

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from importer.aws import clients
from importer.aws.transport import Transport
from importer.bad_rows import Reason
from importer.formats.reading import Reading
from importer.model import Event, Fenced, Provenance, Throttled, Unavailable, UserChange
from importer.sinks import items
from importer.sinks.calls import BOUND_MS
from importer.sinks.dynamodb import DynamoDBSink
from tests.support.clock import CALL_MS
from tests.support.cloud import Cloud
from tests.support.faults import Fault, plan
from tests.support.wire import Call

SOURCE = Provenance("cooladata", "default", "e1", "imports/a.json", 1_700_000_000_000)
T = 1_425_920_218_354
ENDLESS = 1_000_000
# The bound is looked at before a pause; the round of calls after the last one comes on top.
WITHIN_MS = BOUND_MS + 4 * CALL_MS


@pytest.fixture(params=[True, False], ids=["quick", "botocore"])
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    with Cloud(quick=request.param) as made:
        yield made


def sink_of(
    cloud: Cloud,
    in_flight: int = 1,
    events_table: str = "events",
    users_table: str = "users",
    source: Provenance = SOURCE,
) -> DynamoDBSink:
    client = clients.sinks()
    return DynamoDBSink(
        client,
        events_table,
        users_table,
        source,
        cloud.clock,
        in_flight,
        lambda _: None,
        transport=Transport.of(client, in_flight),
    )


def event(number: int, **properties: Any) -> Event:
    return Event(f"{number:032x}", "login", T, f"u{number % 5}", properties, number)


EVENTS = [event(number, n=number) for number in range(60)]


def written(cloud: Cloud) -> list[int]:
    """Numbers of the events that are there."""
    return sorted(int(item["event_id"], 16) for item in cloud.items(cloud.events_table))


def calls_of(cloud: Cloud, *faults: Fault, in_flight: int = 1, changes: list[UserChange] | None = None) -> list[str]:
    """Write EVENTS under these faults; the writes that were asked for, in order.

    Before them, and after, it is asked whether anybody was erased: call 1, and the last.
    """
    with plan(cloud, *faults) as delivery:
        assert sink_of(cloud, in_flight).write(EVENTS, changes or []) == {}
    assert written(cloud) == list(range(60))
    operations = [call.operation for call in delivery.calls]
    assert (operations[0], operations[-1]) == ("GetItem", "GetItem")
    return [operation for operation in operations if operation != "GetItem"]


def test_25_items_go_in_one_call(cloud: Cloud):
    """60 events are three calls (F1)."""
    assert calls_of(cloud) == ["BatchWriteItem"] * 3


def test_calls_in_flight_together_write_the_same(cloud: Cloud):
    """Eight at a time, as deployed."""
    assert sorted(calls_of(cloud, in_flight=8)) == ["BatchWriteItem"] * 3


def test_unprocessed_items_are_sent_again(cloud: Cloud):
    """They come with a success: ignored, they are lost rows (F1)."""
    assert len(calls_of(cloud, Fault("unprocessed", 2, times=6))) > 3


@pytest.mark.parametrize("kind", ["throttled", "error_500", "error_503", "connection_lost", "reply_lost"])
@pytest.mark.parametrize("at", [2, 3, 4])
def test_call_that_failed_is_made_again(cloud: Cloud, kind: str, at: int):
    """Each event is there once, whether the failed call had been done or not."""
    assert calls_of(cloud, Fault(kind, at)) == ["BatchWriteItem"] * 4


@pytest.mark.parametrize(
    "code", ["ThrottlingException", "RequestLimitExceeded", "ProvisionedThroughputExceededException"]
)
def test_every_word_for_too_fast_is_understood(cloud: Cloud, code: str):
    """F5: all of them are weather."""
    assert len(calls_of(cloud, Fault("throttled", 2, times=5, detail={"code": code}))) == 8
    assert cloud.clock.slept_seconds > 0


def elapsed_ms(cloud: Cloud, sink: DynamoDBSink, events: list[Event], changes: list[UserChange]) -> int:
    began = cloud.clock.now_ms()
    with pytest.raises(Throttled):
        sink.write(events, changes)
    return cloud.clock.now_ms() - began


def test_throttled_for_good_says_so_within_the_bound(cloud: Cloud):
    """The lease outlives one write; the same batch may be tried again at once."""
    with plan(cloud, Fault("throttled", 1, times=ENDLESS)):
        assert elapsed_ms(cloud, sink_of(cloud), EVENTS, []) <= WITHIN_MS
    assert sink_of(cloud).write(EVENTS, []) == {}
    assert written(cloud) == list(range(60))


def test_user_records_throttled_for_good_say_so_within_the_bound(cloud: Cloud):
    """Conditional writes, the same rule."""
    with plan(cloud, Fault("throttled", "PutItem", times=ENDLESS)):
        took_ms = elapsed_ms(cloud, sink_of(cloud), [], [UserChange("u", "prop#a", 1, T, 1, 0)])
    assert took_ms <= WITHIN_MS


def test_a_slow_table_is_written_to_the_end_and_breath_is_taken_on_the_way(cloud: Cloud):
    """Slow is not stuck: as long as calls are done the write goes on, and its caller can renew the lease in between."""
    many = [event(number) for number in range(25 * 60)]
    breaths: list[int] = []
    with plan(cloud, Fault("slow", 1, times=ENDLESS, detail={"seconds": 1})):
        sink_of(cloud).write(many, [], lambda: breaths.append(cloud.clock.now_ms()))
    assert written(cloud) == list(range(25 * 60))
    assert max(later - earlier for earlier, later in pairwise(breaths)) < BOUND_MS


def test_what_a_breath_raises_ends_the_write(cloud: Cloud):
    """A worker that finds itself fenced stops there."""

    def fenced() -> None:
        raise Fenced

    with pytest.raises(Fenced):
        sink_of(cloud).write([event(number) for number in range(25 * 60)], [], fenced)
    assert len(written(cloud)) < 25 * 60


@pytest.mark.parametrize("kind", ["connection_lost", "error_500"])
def test_aws_away_for_good_is_not_called_throttling(cloud: Cloud, kind: str):
    """Throttled would be tried again at once; this is for the next delivery."""
    began = cloud.clock.now_ms()
    with plan(cloud, Fault(kind, 1, times=ENDLESS)), pytest.raises(Unavailable) as raised:
        sink_of(cloud).write(EVENTS, [])
    assert (type(raised.value), cloud.clock.now_ms() - began <= WITHIN_MS) == (Unavailable, True)


def test_denied_is_unavailable_at_once(cloud: Cloud):
    """A policy is not mended by trying again, and no row is at fault (I9)."""
    with plan(cloud, Fault("denied", 1, times=ENDLESS)) as delivery, pytest.raises(Unavailable):
        sink_of(cloud).write(EVENTS, [])
    assert len(delivery.calls) <= 3


UNSTORABLE = Decimal("1" * 39)  # what the pure limit would have refused: here it stands for what nobody foresaw


@pytest.mark.parametrize("culprits", [{0}, {59}, {7, 8}, {0, 24, 25, 49, 50}, set(range(60))], ids=str)
def test_item_that_spoils_its_call_is_found_alone(cloud: Cloud, culprits: set[int]):
    """Halving finds the culprits (F3); every other event is written."""
    events = [event(number, n=UNSTORABLE if number in culprits else number) for number in range(60)]
    refused = sink_of(cloud).write(events, [])
    assert {address: reject.reason for address, reject in refused.items()} == dict.fromkeys(
        culprits, Reason.REFUSED_BY_SINK
    )
    assert written(cloud) == sorted(set(range(60)) - culprits)


def test_both_of_two_equal_rows_are_refused(cloud: Cloud):
    """They are one event: none of them may count as good."""
    twice = [event(1, n=UNSTORABLE), replace(event(1, n=UNSTORABLE), address=77), event(2)]
    assert set(sink_of(cloud).write(twice, [])) == {1, 77}
    assert written(cloud) == [2]


def test_a_row_whose_user_change_is_refused_has_no_event_stored(cloud: Cloud):
    """User changes go first: mended and dropped again, the row's event would otherwise be there twice."""
    changes = [UserChange("u", "prop#a", UNSTORABLE, T, 1, 0), UserChange("u", "prop#b", 2, T, 2, 0)]
    refused = sink_of(cloud).write([event(1), event(2)], changes)
    assert (set(refused), written(cloud), [item["record"] for item in cloud.items("users")]) == ({1}, [2], ["prop#b"])


def test_a_refused_change_makes_way_for_the_next_ranked_one(cloud: Cloud):
    """Two rows set one property; the later is refused, so the earlier is what the user has."""
    changes = [UserChange("u", "prop#a", "kept", T, 1, 0), UserChange("u", "prop#a", UNSTORABLE, T + 1, 2, 0)]
    refused = sink_of(cloud).write([], changes)
    assert (set(refused), [item["value"] for item in cloud.items("users")]) == ({2}, ["kept"])


def test_an_item_refused_for_a_reason_no_row_can_have_is_our_own_fault(cloud: Cloud):
    """A bug of ours must be loud, never a bad row."""
    broken = event(1)
    broken.address = "nowhere"  # type: ignore[assignment]
    with pytest.raises(Unavailable):
        sink_of(cloud).write([broken], [])


def test_user_record_dynamodb_refuses_makes_its_row_bad(cloud: Cloud):
    """With DynamoDB's words; the other records are written."""
    changes = [UserChange("u", "prop#a", UNSTORABLE, T, 1, 0), UserChange("u", "prop#b", 2, T, 2, 0)]
    refused = sink_of(cloud).write([], changes)
    assert {address: reject.reason for address, reject in refused.items()} == {1: Reason.REFUSED_BY_SINK}
    assert [item["record"] for item in cloud.items("users")] == ["prop#b"]


@pytest.mark.parametrize(
    "tables",
    [
        ("imports", "users"),
        ("users", "events"),
        ("no-such-table", "users"),
        ("events", "imports"),
        ("events", "no-such-table"),
    ],
)
def test_wrong_table_is_our_fault_and_not_a_million_bad_rows(cloud: Cloud, tables: tuple[str, str]):
    """Keys that do not match the schema, or no table at all: loud, and nothing refused."""
    with pytest.raises(Unavailable):
        sink_of(cloud, 1, *tables).write(EVENTS, [UserChange("u", "prop#a", 1, T, 1, 0)])


@pytest.mark.parametrize("kind", ["reply_lost", "connection_lost", "throttled", "error_500"])
def test_lost_reply_to_a_conditional_write_needs_no_read(cloud: Cloud, kind: str):
    """The repeated write writes the same once more (F8)."""
    with plan(cloud, Fault(kind, "PutItem")) as delivery:
        assert sink_of(cloud).write([], [UserChange("u", "prop#a", 1, T, 1, 0)]) == {}
    assert [item["value"] for item in cloud.items("users")] == [1]
    assert [call.operation for call in delivery.calls] == ["GetItem", "PutItem", "PutItem", "GetItem"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_mended_file_dropped_again_outranks_its_first_version(cloud: Cloud, order: tuple[int, int]):
    """Same row's time, later upload: it wins in whichever order the two are imported."""
    sources = [SOURCE, replace(SOURCE, execution_id="e0", uploaded_ms=SOURCE.uploaded_ms + 1)]
    for index in order:
        sink_of(cloud, source=sources[index]).write([], [UserChange("u", "prop#a", f"version {index}", T, 1, 0)])
    assert [item["value"] for item in cloud.items("users")] == ["version 1"]


def test_one_conditional_write_a_record(cloud: Cloud):
    """They do not batch and cost a write unit each (N9): changes are folded first."""
    changes = [UserChange("u", f"prop#{number % 2}", number, T + number, number, 0) for number in range(50)]
    with plan(cloud) as delivery:
        sink_of(cloud).write([], changes)
    assert [call.operation for call in delivery.calls] == ["GetItem", "PutItem", "PutItem", "GetItem"]


AT_THE_LIMIT: dict[str, Event] = {
    "38 digits": event(1, n=Decimal("9" * 38)),
    "smallest": event(1, n=Decimal("-1e-130")),
    "largest": event(1, n=Decimal("9.9999999999999999999999999999999999999e125")),
    "float": event(1, n=1.7976931348623157e125, m=-0.0, o=5e-130),
    "32 levels": event(1, n={"a": [{"b": {}}]}),
    "longest user": replace(event(1), user_id="é" * 1_024),
    "longest name": event(1, **{"n" * 65_535: 1}),
    "empty texts": event(1, n={"": "", "a": [""]}),
    "395,000 bytes": event(1, n="x" * 395_000),
    "nothing": event(1),
}


@pytest.mark.parametrize("edge", AT_THE_LIMIT.values(), ids=AT_THE_LIMIT.keys())
def test_what_the_pure_limit_lets_through_is_accepted(cloud: Cloud, edge: Event):
    """So that `refused_by_sink` stays what nobody foresaw."""
    items.limit(400_000, Reading([edge], []))
    assert sink_of(cloud).write([edge], []) == {}
    assert written(cloud) == [1]


def test_a_batch_of_large_items_fits_a_call(cloud: Cloud):
    """25 items of 40 KB: as much as one grid cell can hold, and far from 16 MB on the wire."""
    large = [event(number, n="\x7f" * 40_000) for number in range(25)]
    assert sink_of(cloud).write(large, []) == {}


def test_journal_shows_what_was_asked(cloud: Cloud):
    """User changes go first; before and after it is asked whether anybody was erased."""
    seen: list[str] = []

    def note(call: Call) -> bool:
        seen.append(call.operation)
        return False

    with plan(cloud, Fault("slow", note)):
        sink_of(cloud).write(EVENTS[:2], [UserChange("u", "prop#a", 1, T, 1, 0)])
    assert seen == ["GetItem", "PutItem", "BatchWriteItem", "GetItem"]
