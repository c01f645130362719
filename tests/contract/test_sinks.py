"""What every destination promises, tried on each of them. A new sink is one more class in `SINKS_UNDER_TEST`."""

import itertools
import json
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, Protocol

import pytest

from importer.aws import clients
from importer.aws.transport import Transport
from importer.model import Event, Provenance, UserChange
from importer.sinks import Sink
from importer.sinks.dynamodb import DynamoDBSink
from importer.sinks.firehose import FirehoseSink
from importer.sinks.in_turn import InTurn
from importer.sinks.memory import MemorySink
from tests.support.cloud import Cloud

SOURCE = Provenance("cooladata", "default", "e1", "imports/a.json", 1_700_000_000_000)
T = 1_425_920_218_354


class Kept(Protocol):
    """A destination under test: opens sinks on one store, and tells what the store holds."""

    def open(self) -> Sink: ...

    def events(self) -> dict[tuple[str, str], Any]: ...

    def user_records(self) -> dict[tuple[str, str], Any]: ...


class InMemory:
    def __init__(self, _: Cloud) -> None:
        self._sink = MemorySink()

    def open(self) -> Sink:
        return self._sink

    def events(self) -> dict[tuple[str, str], Any]:
        return {key: (event.event_name, event.properties) for key, event in self._sink.events.items()}

    def user_records(self) -> dict[tuple[str, str], Any]:
        return {key: change.value for key, change in self._sink.user_changes.items()}


class InDynamoDB:
    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def open(self) -> Sink:
        client, names = clients.sinks(), (self._cloud.events_table, self._cloud.users_table)
        transport = Transport.of(client, 3)
        return DynamoDBSink(client, *names, SOURCE, self._cloud.clock, 1, lambda _: None, transport=transport)

    def events(self) -> dict[tuple[str, str], Any]:
        found = self._cloud.items(self._cloud.events_table)
        return {(i["user_id"], i["event_key"]): (i["event_name"], i["properties"]) for i in found}

    def user_records(self) -> dict[tuple[str, str], Any]:
        return {(i["user_id"], i["record"]): i["value"] for i in self._cloud.items(self._cloud.users_table)}


class InFirehose:
    """A stream holds what was delivered, some of it twice: what a consumer sees who drops ids it has seen."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def open(self) -> Sink:
        client, stream = clients.stream(), self._cloud.delivery_stream
        return FirehoseSink(client, stream, SOURCE, self._cloud.clock, 1, False, Transport.of(client, 3))

    def _lines(self) -> list[dict[str, Any]]:
        delivered = b"".join(self._cloud.objects(bucket=self._cloud.stream_bucket).values())
        assert delivered == b"" or delivered.endswith(b"\n")
        return [json.loads(line, parse_float=Decimal) for line in delivered.split(b"\n")[:-1]]

    def events(self) -> dict[tuple[str, str], Any]:
        by_id = {line["event_id"]: line for line in self._lines() if "kind" not in line}
        return {
            (line["user_id"], f"{line['event_time_ts']:013d}#{line['event_id']}"): (
                line["event_name"],
                line["properties"],
            )
            for line in by_id.values()
        }

    def user_records(self) -> dict[tuple[str, str], Any]:
        by_id = {line["change_id"]: line for line in self._lines() if line.get("kind") == "user_change"}
        in_order = sorted(by_id.values(), key=lambda line: line["rank"])
        return {(line["user_id"], line["record"]): line["value"] for line in in_order}


class InBoth:
    """Both hold the same, or it is told."""

    def __init__(self, cloud: Cloud) -> None:
        self._each = (InDynamoDB(cloud), InFirehose(cloud))

    def open(self) -> Sink:
        return InTurn([kept.open() for kept in self._each])

    def events(self) -> dict[tuple[str, str], Any]:
        table, stream = (kept.events() for kept in self._each)
        assert table == stream
        return table

    def user_records(self) -> dict[tuple[str, str], Any]:
        table, stream = (kept.user_records() for kept in self._each)
        assert table == stream
        return table


SINKS_UNDER_TEST = {"memory": InMemory, "dynamodb": InDynamoDB, "firehose": InFirehose, "both": InBoth}
BY_BOTOCORE_ALONE = {f"{name}, botocore alone": kept for name, kept in SINKS_UNDER_TEST.items() if name != "memory"}


@pytest.fixture(params=[*SINKS_UNDER_TEST, *BY_BOTOCORE_ALONE])
def kept(request: pytest.FixtureRequest) -> Iterator[Kept]:
    with Cloud(stream=True, quick=request.param not in BY_BOTOCORE_ALONE) as cloud:
        yield (SINKS_UNDER_TEST | BY_BOTOCORE_ALONE)[request.param](cloud)


def event(number: int, address: int | None = None, **properties: Any) -> Event:
    return Event(
        f"{number:032x}", "login", T + number % 7, f"u{number % 5}", properties, number if address is None else address
    )


def change(time_ms: int, address: int, index: int = 0, user: str = "u", name: str = "city") -> UserChange:
    return UserChange(user, f"prop#{name}", f"{time_ms}/{address}/{index}", time_ms, address, index)


EVENTS = [event(number, amount=number, name=f"n{number}", flag=True) for number in range(60)]
BY_KEY = {(each.user_id, each.event_key): ("login", each.properties) for each in EVENTS}


def test_what_was_written_is_there(kept: Kept):
    """More than one call's worth, each event once by its key."""
    assert kept.open().write(EVENTS, []) == {}
    assert kept.events() == BY_KEY


def test_writing_again_changes_nothing(kept: Kept):
    """By the same worker, by another one, in other portions: retries are harmless."""
    changes = [change(T + number, number, name=f"p{number % 3}") for number in range(9)]
    kept.open().write(EVENTS, changes)
    before = kept.events(), kept.user_records()
    sink = kept.open()
    for _ in range(2):
        sink.write(EVENTS[10:40], changes[3:5])
        sink.write(EVENTS, changes)
    assert (kept.events(), kept.user_records()) == before


def test_equal_events_in_one_batch_are_one(kept: Kept):
    """A key at most once a call, else the whole call is refused (F2)."""
    repeated = [
        *EVENTS,
        *[event(number, 1_000 + number, amount=number, name=f"n{number}", flag=True) for number in range(60)],
    ]
    assert kept.open().write(repeated, []) == {}
    assert kept.events() == BY_KEY


@pytest.mark.parametrize("seed", range(3))
def test_order_and_portions_do_not_matter(kept: Kept, seed: int):
    """Whatever part is read first, and however a part was cut."""
    dice = random.Random(seed)
    shuffled = dice.sample(EVENTS, len(EVENTS))
    changes = [change(T + number % 4, number, name=f"p{number % 3}") for number in range(12)]
    dice.shuffle(changes)
    sink = kept.open()
    while shuffled or changes:
        count = dice.randint(1, 30)
        sink.write(shuffled[:count], changes[:3])
        del shuffled[:count], changes[:3]
    assert kept.events() == BY_KEY
    assert kept.user_records() == {
        ("u", f"prop#p{n}"): f"{T + 3}/{7 if n == 1 else 3 if n == 0 else 11}/0" for n in range(3)
    }


def test_user_record_has_the_value_of_the_highest_rank(kept: Kept):
    """Time first, then place in the file, then place in the row: one after another, in any order."""
    orders = list(itertools.permutations([(T, 5, 0), (T, 10, 0), (T - 1, 99, 0), (T, 10, 1)]))
    for number, order in enumerate(orders):
        for place in order:
            kept.open().write([], [change(*place, user=f"u{number}")])
    assert kept.user_records() == {(f"u{number}", "prop#city"): f"{T}/10/1" for number in range(len(orders))}


def test_changes_of_one_batch_are_folded_by_rank(kept: Kept):
    """The same rule inside one write."""
    orders = list(itertools.permutations([(T, 9), (T, 10), (T - 1, 99)]))
    for number, order in enumerate(orders):
        kept.open().write([], [change(*place, user=f"u{number}") for place in order])
    assert kept.user_records() == {(f"u{number}", "prop#city"): f"{T}/10/0" for number in range(len(orders))}


def test_records_of_different_users_and_names_are_apart(kept: Kept):
    """One record is a user and a name."""
    changes = [change(T, 1), change(T, 2, user="v"), change(T, 3, name="town")]
    kept.open().write([], changes)
    assert kept.user_records() == {
        ("u", "prop#city"): f"{T}/1/0",
        ("v", "prop#city"): f"{T}/2/0",
        ("u", "prop#town"): f"{T}/3/0",
    }


def test_nothing_to_write_is_nothing_done(kept: Kept):
    """A batch of blank lines and bad rows."""
    assert kept.open().write([], []) == {}
    assert (kept.events(), kept.user_records()) == ({}, {})


def test_values_come_back_numerically_equal(kept: Kept):
    """Text, numbers of every size, truth, nesting."""
    value = {
        "text": "é\u2028\0",
        "small": Decimal("1e-130"),
        "long": Decimal("12345678901234567890123456789012345678"),
        "whole": 2**64 - 1,
        "truth": False,
        "nested": {"list": [1, "a", None]},
    }
    kept.open().write([event(1, **value)], [UserChange("u", "prop#a", value["long"], T, 1, 0)])
    assert [properties for _, properties in kept.events().values()] == [value]
    assert kept.user_records() == {("u", "prop#a"): value["long"]}
