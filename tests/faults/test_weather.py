"""Normal bad weather: one user has all the rows of a file, the table is new. Limits are DynamoDB's, time is virtual.

What a table lets through cannot be forced: no test here asks how long it took. Calls that were refused are counted.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any
from unittest import mock

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError

from importer import assembly, batches, parts
from importer.aws import clients
from importer.executions.holding import LEASE_MS, THROTTLED_DELAY_S
from importer.executions.importing import TRIES
from importer.model import Event, Provenance, Throttled, UserChange
from importer.sinks.calls import BOUND_MS
from importer.sinks.dynamodb import DynamoDBSink
from importer.sinks.pace import Rate, Window
from tests.faults.importing import Importer, installed
from tests.support.books import assert_books_balance
from tests.support.cloud import Cloud
from tests.support.faults import Fault
from tests.support.weather import DOUBLES_AFTER_MS, THROTTLED, Weather, write_units
from tests.support.wire import Call

SOURCE = Provenance("cooladata", "default", "e1", "imports/a.json", 1_700_000_000_000)
T = 1_425_920_218_354


@contextmanager
def fast_cloud() -> Iterator[Cloud]:
    """A call takes 1 ms, as if eight were in flight, 8 ms each."""
    random.seed(1)  # pauses are jittered
    with Cloud(write_ms=1) as made:
        yield made


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with fast_cloud() as made:
        yield made


def events(count: int, users: int, size_bytes: int = 0, first: int = 0) -> list[Event]:
    properties: dict[str, Any] = {"text": "x" * size_bytes} if size_bytes else {}
    return [Event(f"{n:032x}", "login", T, f"user-{n % users}", properties, n) for n in range(first, first + count)]


def never_shrinking() -> Any:
    return mock.patch.object(Window, "shrink", return_value=None)


# ---- The weather itself --------------------------------------------------------------------------------------------


def taken_of(cloud: Cloud, weather: Weather, many: list[Event]) -> list[int]:
    """Offer each 25 events once, without a pause; how many of them were taken."""
    taken: list[int] = []
    sink = DynamoDBSink(clients.sinks(), "events", "users", SOURCE, cloud.clock, 1, lambda _: None)

    def no_second_try() -> None:
        raise Throttled

    with mock.patch.object(cloud.clock, "sleep", return_value=None):
        for first in range(0, len(many), 25):
            before = weather.written
            with suppress(Throttled):
                sink.write(many[first : first + 25], [], no_second_try)
            taken.append(weather.written - before)
    assert len(cloud.items("events")) == weather.written
    return taken


def test_a_partition_takes_its_burst_and_then_what_comes_in(cloud: Cloud):
    """Some of a call is put off, in a success; then nearly all of it, one write a millisecond being left."""
    with Weather(cloud) as weather:
        taken = taken_of(cloud, weather, events(1_500, users=1))
    assert (taken[:40], set(taken[45:])) == ([25] * 40, {1})
    assert weather.refused == sum(count < 25 for count in taken)
    assert weather.put_off == 1_500 - weather.written == 1_500 - sum(taken)


def test_a_new_table_has_one_limit_for_all_its_users(cloud: Cloud):
    """Twice as much after half an hour."""
    with Weather(cloud, table_units=400) as weather:
        first = sum(taken_of(cloud, weather, events(1_000, users=100)))
        cloud.clock.advance(DOUBLES_AFTER_MS)
        later = sum(taken_of(cloud, weather, events(1_500, users=100, first=1_000)))
    assert (400 <= first < 450, 800 <= later < 900) == (True, True), (first, later)


def test_a_call_of_which_nothing_is_taken_is_an_error(cloud: Cloud):
    """F1: in DynamoDB's word for it."""
    put = {"PutRequest": {"Item": {"user_id": {"S": "u"}, "event_key": {"S": "k"}}}}
    with Weather(cloud, partition_units=1) as weather:
        clients.sinks().batch_write_item(RequestItems={"events": [put]})
        with pytest.raises(ClientError, match=THROTTLED):
            clients.sinks().batch_write_item(RequestItems={"events": [put]})
    assert (weather.calls, weather.written, weather.refused, weather.put_off) == (2, 1, 1, 1)


@pytest.mark.parametrize(("size_bytes", "units"), [(0, 1), (1_000, 2), (3_200, 4), (390_000, 382)])
def test_an_item_costs_a_unit_for_each_kb_begun(cloud: Cloud, size_bytes: int, units: int):
    """Names, ids and key included."""
    seen: list[int] = []

    def look(call: Call, execute: Callable[[], Any]) -> Any:
        for request in call.document.get("RequestItems", {}).get("events", ()):
            seen.append(write_units(request["PutRequest"]["Item"]))
        return execute()

    cloud.wire.ambient.around.append(look)
    sink = DynamoDBSink(clients.sinks(), "events", "users", SOURCE, cloud.clock, 1, lambda _: None)
    sink.write(events(1, 1, size_bytes), [])
    assert seen == [units]


def test_the_imports_table_is_in_the_sun(cloud: Cloud):
    """Its writes are few; only what customers' rows write to is limited."""
    with Weather(cloud, partition_units=0) as weather:
        for number in range(50):
            cloud.client("dynamodb").put_item(TableName="imports", Item={"pk": {"S": "a"}, "sk": {"S": str(number)}})
    assert (len(cloud.items("imports")), weather.calls) == (50, 0)


# ---- The sink in it ------------------------------------------------------------------------------------------------


def refused_and_made(users: int, partition_units: int, table_units: int, in_flight: int) -> tuple[int, int]:
    """Write two batches of 900 events; how many calls were refused, and how many made."""
    many = events(1_800, users)
    with fast_cloud() as cloud, Weather(cloud, partition_units, table_units) as weather:
        sink = DynamoDBSink(clients.sinks(), "events", "users", SOURCE, cloud.clock, in_flight, lambda _: None)
        for first in range(0, 1_800, 900):
            assert sink.write(many[first : first + 900], []) == {}
        assert len(cloud.items("events")) == 1_800
    return weather.refused, weather.calls


@pytest.mark.sampled(2)
@pytest.mark.parametrize(
    ("users", "partition_units", "table_units", "in_flight"),
    [(1, 1_000, 4_000, 8), (1, 500, 4_000, 8), (1, 500, 4_000, 1), (900, 1_000, 500, 8)],
    ids=["a hot user", "others write to it too", "one call at a time", "a new table others write to too"],
)
def test_few_calls_are_refused(users: int, partition_units: int, table_units: int, in_flight: int):
    """At most three in five of those made, and at most half as many as where nothing is learned.

    A share of a limit stands for other workers at the same one. With one call in flight it is the pauses that grow.
    """
    refused, made = refused_and_made(users, partition_units, table_units, in_flight)
    with never_shrinking():
        rude, _ = refused_and_made(users, partition_units, table_units, in_flight)
    print(f"{refused} of {made} refused; {rude} where nothing is learned")
    assert refused <= made * 0.6, (refused, made)
    assert refused * 2 <= rude, (refused, rude)


def test_user_records_of_one_user_are_written_to_the_end(cloud: Cloud):
    """Conditional writes, one by one, on one partition: none is lost, and the events' window is left alone."""
    changes = [UserChange("u", f"prop#{n}", n, T, n, 0) for n in range(500)]
    sink = DynamoDBSink(clients.sinks(), "events", "users", SOURCE, cloud.clock, 8, lambda _: None)
    with Weather(cloud, partition_units=100) as weather:
        assert sink.write([], changes) == {}
    assert len(cloud.items("users")) == 500
    assert weather.refused < weather.calls / 2, (weather.refused, weather.calls)
    assert sink._calls._window.in_flight == 8


def test_a_rate_keeps_the_weather_away(cloud: Cloud):
    """An operator who knows of the hot user sets less than its partition takes: nothing is refused."""
    sink = DynamoDBSink(
        clients.sinks(), "events", "users", SOURCE, cloud.clock, 8, lambda _: None, Rate(cloud.clock, 500)
    )
    changes = [UserChange("user-0", f"prop#{n}", n, T, n, 0) for n in range(400)]
    breaths = [cloud.clock.now_ms()]
    with Weather(cloud) as weather:
        sink.write(events(2_900, users=1), changes, lambda: breaths.append(cloud.clock.now_ms()))
    assert (len(cloud.items("events")), len(cloud.items("users")), weather.refused) == (2_900, 400, 0)
    assert (breaths[-1] - breaths[0]) / 1000 >= (2_900 + 400 - 500) / 500
    assert max(later - earlier for earlier, later in pairwise(breaths)) <= BOUND_MS


# ---- A whole import in it ------------------------------------------------------------------------------------------


def rows(count: int, users: int) -> bytes:
    return b"".join(
        b'{"user_id":"user-%d","event_time_ts":"2012-10-15 04:06:30","event_name":"login","n":%d}\n' % (n % users, n)
        if n % 997
        else b"not a row %d\n" % n
        for n in range(count)
    )


@contextmanager
def in_a_cell_of(kib: int) -> Iterator[None]:
    """A grid as coarse as the deployed one, or nearly: only batches of many calls have something in flight."""
    with (
        mock.patch.object(parts, "GRID_BYTES", kib << 10),
        mock.patch.object(batches, "GRID_BYTES", kib << 10),
    ):
        yield


class Seen:
    """What one part's workers told the imports table and the queue."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self.saved_ms: list[int] = []
        self.delays_s: list[int] = []
        cloud.wire.watchers.append(self)

    def __call__(self, call: Call, _: AWSResponse) -> None:
        if "PART#" in call.label and call.operation == "UpdateItem":
            self.saved_ms.append(self._cloud.clock.now_ms())
        if call.service == "sqs" and call.operation.startswith("SendMessage"):
            sent = call.document.get("Entries", [call.document])
            self.delays_s += [message.get("DelaySeconds", 0) for message in sent]


def statuses(importer: Importer) -> list[str]:
    return [item["status"] for item in importer.executions()]


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    ("users", "partition_units", "in_flight"), [(1, 1_000, 8), (1, 100, 8), (1, 100, 1), (1_000, 1_000, 8)]
)
def test_a_file_is_imported_through_bad_weather(users: int, partition_units: int, in_flight: int):
    """In one invocation: the books balance, no lease came near its end, and most calls were not in vain.

    A hundred a second is what a worker gets of a hot user whom nine others write to as well.
    """
    random.seed(1)
    body = rows(3_000, users)
    with installed(in_flight=in_flight, progress_every_ms=5_000, write_ms=1) as importer, in_a_cell_of(128):
        seen = Seen(importer.cloud)
        importer.notify(importer.cloud.drop("imports/hot.json", body))
        with Weather(importer.cloud, partition_units, 1_000) as weather:
            importer.run_until_quiet()
        assert_books_balance(importer.cloud, {"imports/hot.json": body}, tidy=True)
        assert [(ended.killed, ended.error) for ended in importer.ended if ended.delivery.name != "notify"] == [
            (False, None)
        ]
    assert weather.refused <= weather.calls * 0.6, (weather.refused, weather.calls)
    assert max(later - earlier for earlier, later in pairwise(seen.saved_ms)) < LEASE_MS / 2


@pytest.mark.sampled(1)
@pytest.mark.parametrize("part_kib", [1 << 20, 64])
def test_bad_weather_and_short_invocations(part_kib: int):
    """Forty seconds each, for a user who takes fifty rows a second: handed on again and again, and nobody is killed.

    As one part, and as parts that meet on the same partition.
    """
    random.seed(1)
    body = rows(3_000, users=1)
    with (
        installed(part_bytes=part_kib << 10, import_seconds=40, hop_seconds=40, write_ms=1) as importer,
        in_a_cell_of(32),
    ):
        seen = Seen(importer.cloud)
        importer.notify(importer.cloud.drop("imports/hot.json", body))
        with Weather(importer.cloud, partition_units=50):
            importer.run_until_quiet()
        assert_books_balance(importer.cloud, {"imports/hot.json": body}, tidy=True)
        assert [ended for ended in importer.ended if ended.killed or ended.error] == []
        assert (statuses(importer), len(seen.delays_s) >= 2) == (["SUCCEEDED"], True)


def test_a_storm_is_waited_out():
    """Nothing at all is taken for 20 minutes: tried again with a delay, and more often than a part may crash."""
    random.seed(1)
    body = rows(40, users=1)
    with installed(import_seconds=40, hop_seconds=40) as importer:
        clock = importer.cloud.clock
        over_ms = clock.now_ms() + 20 * 60_000

        def storm(call: Call) -> bool:
            return call.operation == "BatchWriteItem" and clock.now_ms() < over_ms

        seen = Seen(importer.cloud)
        importer.notify(importer.cloud.drop("imports/hot.json", body))
        importer.run_until_quiet(Fault("throttled", storm, always=True))
        assert_books_balance(importer.cloud, {"imports/hot.json": body}, tidy=True)
        assert [ended for ended in importer.ended if ended.killed or ended.error] == []
        assert (statuses(importer), clock.now_ms() > over_ms) == (["SUCCEEDED"], True)
    least_s, most_s = THROTTLED_DELAY_S
    assert sum(least_s <= delay_s <= most_s for delay_s in seen.delays_s) > TRIES / 2


def test_a_paced_import_loses_no_lease():
    """An operator's hundred a second: minutes for a file, in breaths."""
    body = rows(3_000, users=1_000)
    with (
        mock.patch.object(assembly, "Rate", lambda clock, _: Rate(clock, 100)),
        installed(in_flight=8, progress_every_ms=5_000) as importer,
        in_a_cell_of(512),
    ):
        seen = Seen(importer.cloud)
        importer.notify(importer.cloud.drop("imports/a.json", body))
        with Weather(importer.cloud, 200, 200) as weather:
            importer.run_until_quiet()
        assert_books_balance(importer.cloud, {"imports/a.json": body}, tidy=True)
        assert [(ended.killed, ended.error) for ended in importer.ended if ended.delivery.name != "notify"] == [
            (False, None)
        ]
    assert weather.refused == 0
    assert max(later - earlier for earlier, later in pairwise(seen.saved_ms)) < LEASE_MS / 2
