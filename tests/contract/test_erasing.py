"""Erasure: whatever was uploaded before is gone, in whichever order it is read, and whoever is killed on the way."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import pytest

from importer import users
from importer.aws import clients
from importer.aws.transport import Transport
from importer.model import ERASED_ROW, Event, Provenance, UserChange
from importer.sinks import erasing
from importer.sinks.dynamodb import DynamoDBSink
from importer.sinks.users import FIRST
from tests.support import strict
from tests.support.cloud import Cloud
from tests.support.faults import Fault, plan
from tests.support.scenarios import sample

T = 1_700_000_000_000


@dataclass(frozen=True)
class Upload:
    """What one file says. Rows are addressed from 0 on; a link's two changes are one row."""

    number: int
    events: tuple[str, ...] = ()  # users
    properties: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    unlinks: tuple[tuple[str, str], ...] = ()
    cuts: tuple[str, ...] = ()
    erased: tuple[str, ...] = ()
    scope: str = users.PERSON

    @property
    def source(self) -> Provenance:
        return Provenance("mediarithmics", "i", f"e{self.number}", f"imports/{self.number}", T + self.number)

    def rows(self) -> tuple[list[Event], list[UserChange]]:
        events = [Event(f"{self.number:08x}{n:024x}", "e", T, user, {}, n) for n, user in enumerate(self.events)]
        changes: list[UserChange] = []
        at = len(events)
        for user in self.properties:
            changes.append(UserChange(user, "prop#a", self.number, None, at, 0))
            at += 1
        for pairs, deleted in ((self.links, False), (self.unlinks, True)):
            for one, other in pairs:
                changes += [
                    UserChange(one, users.LINK + other, None if deleted else True, None, at, 0, deleted),
                    UserChange(other, users.LINK + one, None if deleted else True, None, at, 1, deleted),
                ]
                at += 1
        for user in self.cuts:
            changes.append(UserChange(user, users.LINK, None, None, at, 0, deleted=True))
            at += 1
        for user in self.erased:
            changes.append(UserChange(user, users.ERASED, {users.SCOPE: self.scope}, None, at, 0))
            at += 1
        return events, changes


@dataclass
class Installation:
    """Two tables, and who uploaded what."""

    cloud: Cloud
    uploads: list[Upload] = field(default_factory=list)

    def sink(self, upload: Upload) -> DynamoDBSink:
        def uploaded_ms(execution_id: str) -> int | None:
            return T + int(execution_id[1:])

        tables = self.cloud.events_table, self.cloud.users_table
        client = clients.sinks()
        transport = Transport.of(client, 1)
        return DynamoDBSink(client, *tables, upload.source, self.cloud.clock, 1, uploaded_ms, transport=transport)

    def read(self, upload: Upload) -> dict[int, Any]:
        """Write all rows of an upload, each kind as often as its worker likes."""
        return dict(self.sink(upload).write(*upload.rows()))

    def stored(self) -> dict[str, Any]:
        """What both tables hold, but for the mark."""
        records = {
            (item["user_id"], item["record"]): (
                item["rank"],
                item.get("deleted", False),
                item.get("value"),
                sorted(item.get(erasing.LINKED, ())),
                item.get(FIRST),
            )
            for item in self.cloud.items(self.cloud.users_table)
            if item["record"] != erasing.MARK["record"]["S"]
        }
        return {"events": {(i["user_id"], i["event_key"]) for i in self.cloud.items(self.cloud.events_table)}} | {
            f"{user}/{record}": value for (user, record), value in records.items()
        }

    def clear(self) -> None:
        client = self.cloud.client("dynamodb")
        with self.cloud.unseen():
            for table, sort_key in ((self.cloud.events_table, "event_key"), (self.cloud.users_table, "record")):
                for item in self.cloud.items(table):
                    key = {name: {"S": item[name]} for name in ("user_id", sort_key)}
                    client.delete_item(TableName=table, Key=key)


@pytest.fixture(params=[True, pytest.param(False, marks=pytest.mark.slow)], ids=["quick", "botocore"])
def installation(request: pytest.FixtureRequest) -> Iterator[Installation]:
    with Cloud(quick=request.param) as cloud:
        yield Installation(cloud)


def people(installation: Installation) -> set[str]:
    """Who has anything but the record that says they were erased."""
    stored = installation.stored()
    named = {name.partition("/")[0] for name in stored if name != "events" and not name.endswith(f"/{users.ERASED}")}
    return named | {user for user, _ in stored["events"]}


def in_each_order(installation: Installation, uploads: Iterable[Upload]) -> list[dict[str, Any]]:
    """What the tables hold after each order of reading (or four of them), each file read twice."""
    found = []
    for order in sample(list(permutations(uploads)), 4, whole=24):
        installation.clear()
        for upload in (*order, *order):
            installation.read(upload)
        found.append(installation.stored())
    return found


def test_nothing_is_left_of_an_erased_person_but_that_they_were_erased(installation: Installation):
    """Events, properties and links; others keep theirs."""
    installation.read(Upload(1, events=("a", "b", "c"), properties=("a", "c"), links=(("a", "b"),)))
    installation.read(Upload(2, erased=("a",)))
    assert people(installation) == {"c"}
    assert {name for name in installation.stored() if name.endswith("erased")} == {"a/erased", "b/erased"}


def test_rows_uploaded_before_and_read_after_are_dropped_and_counted(installation: Installation):
    """By address; whoever they say nothing of is stored."""
    installation.read(Upload(2, erased=("a",)))
    assert installation.read(Upload(1, events=("a", "b"), properties=("a", "b"))) == {0: ERASED_ROW, 2: ERASED_ROW}
    assert people(installation) == {"b"}


def test_rows_uploaded_after_are_a_new_beginning(installation: Installation):
    """In either order."""
    later, erasure = Upload(3, events=("a",), properties=("a",)), Upload(2, erased=("a",))
    one, other = in_each_order(installation, [erasure, later])
    assert one == other
    assert people(installation) == {"a"}


def test_a_device_is_erased_alone(installation: Installation):
    """D30: not the person it belongs to."""
    installation.read(Upload(1, events=("vec:1", "b"), links=(("vec:1", "b"),)))
    installation.read(Upload(2, erased=("vec:1",), scope=users.DEVICE))
    assert people(installation) == {"b"}


def test_links_that_were_cut_before_do_not_lead_on(installation: Installation):
    """An identifier that was taken from a person, and may be another's by now, is not erased with them."""
    installation.read(Upload(1, events=("a", "x", "b"), links=(("a", "x"), ("a", "b"))))
    installation.read(Upload(2, cuts=("x",), unlinks=(("a", "b"),)))
    installation.read(Upload(3, erased=("a",)))
    assert {"x", "b"} <= people(installation)
    assert not [key for key in installation.stored()["events"] if key[0] == "a"]


SCENES = {
    "a chain": [Upload(1, ("a", "b", "c"), links=(("a", "b"), ("b", "c"))), Upload(2, erased=("a",))],
    "a chain in two files": [
        Upload(1, ("a",), links=(("a", "b"),)),
        Upload(2, ("c",), ("c",), links=(("b", "c"),)),
        Upload(3, erased=("a",)),
    ],
    "a chain, and a later link": [
        Upload(1, ("a", "b"), links=(("a", "b"),)),
        Upload(2, erased=("a",)),
        Upload(3, ("b", "c"), links=(("b", "c"),)),
    ],
    "a cycle": [Upload(1, links=(("a", "b"), ("b", "c"), ("c", "a"))), Upload(2, ("c",), erased=("b",))],
    "two erasures": [
        Upload(1, ("a", "b"), links=(("a", "b"),)),
        Upload(2, erased=("b",)),
        Upload(3, ("a", "b"), ("a",)),
        Upload(4, erased=("a",)),
    ],
    "a link that is said again": [
        Upload(1, ("b",), links=(("a", "b"),)),
        Upload(2, erased=("a",)),
        Upload(3, links=(("a", "b"),)),
        Upload(4, ("b",)),
    ],
    "two persons of one file": [Upload(1, ("a", "b", "c")), Upload(2, erased=("a", "b"))],
}


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES.keys())
def test_every_order_of_reading_leaves_the_same(installation: Installation, scene: list[Upload]):
    """As if each file had been read when it was uploaded."""
    first, *others = in_each_order(installation, scene)
    assert others == [first] * len(others)


def history(dice: random.Random) -> list[Upload]:
    """Some uploads about few identifiers. Nobody is cut off: that, an erasure read first cannot foresee."""

    def some(most: int) -> tuple[str, ...]:
        return tuple(dice.choices("abcde", k=dice.randint(0, most)))

    def pairs() -> tuple[tuple[str, str], ...]:
        return tuple((one, other) for one, other in zip(some(2), some(2), strict=False) if one != other)

    return [
        Upload(n, some(2), some(2), pairs(), erased=some(1) if dice.random() < 0.5 else ())
        for n in range(1, dice.randint(3, 6))
    ]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 60))])
def test_random_histories_read_in_any_order_leave_the_same(installation: Installation, seed: int):
    """Links, events, properties and erasures; files come once more at the end, as late deliveries do."""
    dice = random.Random(seed)
    uploads = history(dice)
    found = []
    for _ in range(4):
        installation.clear()
        order = dice.sample(uploads, len(uploads))
        for upload in (*order, *dice.sample(order, len(order) // 2)):
            installation.read(upload)
        found.append(installation.stored())
    assert found[1:] == found[:1] * 3


WRITER = Upload(1, events=("a", "b", "c"), properties=("b",), links=(("b", "c"),))
ERASER = Upload(2, erased=("b",))


def expected(installation: Installation) -> dict[str, Any]:
    installation.read(WRITER)
    installation.read(ERASER)
    after = installation.stored()
    installation.clear()
    return after


@pytest.mark.sampled(each="outer kind")
@pytest.mark.parametrize("outer", ["the writer", "the eraser"])
@pytest.mark.parametrize("kind", ["before", "after"])
def test_whoever_comes_in_between_leaves_the_same(installation: Installation, outer: str, kind: str):
    """Between any two calls of one of them the other does all its work."""
    one, other = (WRITER, ERASER) if outer == "the writer" else (ERASER, WRITER)
    after = expected(installation)
    with plan(installation.cloud) as clean:
        installation.read(one)
    assert len(clean.calls) > 5
    for at in sample(range(1, len(clean.calls) + 1), 8, whole=100):
        installation.clear()
        with plan(installation.cloud, Fault(kind, at, detail={"do": lambda _: installation.read(other)})):
            installation.read(one)
        assert installation.stored() == after, f"{kind} call {at}: {clean.calls[at - 1].label}"


@pytest.mark.sampled(each="killed how")
@pytest.mark.parametrize("killed", [WRITER, ERASER], ids=["the writer", "the eraser"])
@pytest.mark.parametrize("how", ["kill_before", "kill_after"])
def test_whoever_is_killed_and_goes_on_leaves_the_same(installation: Installation, killed: Upload, how: str):
    """At every call; the other has done its work before, or does it in between."""
    after = expected(installation)
    other = ERASER if killed is WRITER else WRITER
    for order in ("before", "between"):
        installation.clear()
        if order == "before":
            installation.read(other)
        with plan(installation.cloud) as clean:
            installation.read(killed)
        for at in sample(range(1, len(clean.calls) + 1), 6, whole=100):
            installation.clear()
            if order == "before":
                installation.read(other)
            with plan(installation.cloud, **{how: at}) as delivery:
                installation.read(killed)
            assert delivery.killed
            if order == "between":
                installation.read(other)
            installation.read(killed)
            assert installation.stored() == after, f"{order}, {how} {at}: {clean.calls[at - 1].label}"


def test_more_than_a_page_is_erased_to_the_end(installation: Installation, monkeypatch: pytest.MonkeyPatch):
    """In pages, so that a breath can be taken between two."""
    monkeypatch.setattr(erasing, "PAGE", 3)
    installation.read(Upload(1, events=("a",) * 10, properties=("a",)))
    breaths: list[int] = []
    eraser = Upload(2, erased=("a",))
    installation.sink(eraser).write(*eraser.rows(), lambda: breaths.append(1))
    assert (people(installation), len(breaths) > 4) == (set(), True)


def test_where_nobody_was_erased_it_costs_two_small_reads(installation: Installation):
    """Before the first batch and after each."""
    sink = installation.sink(WRITER)
    with plan(installation.cloud) as delivery:
        sink.write(*WRITER.rows())
        sink.write(*Upload(1, events=("x",)).rows())
    reads = [call.operation for call in delivery.calls if call.operation in ("GetItem", "BatchGetItem", "Query")]
    assert reads == ["GetItem"] * 3


def hub(number: int, many: int, length: int = 0) -> Upload:
    """Somebody with many identifiers."""
    return Upload(number, links=tuple(("a", f"{other:04d}{'x' * length}") for other in range(many)))


def test_an_erasure_gets_on_although_calls_are_throttled_again_and_again(installation: Installation):
    """No single call in which a person's many identifiers must all be found, nor all links be deleted."""
    installation.read(hub(1, 40))
    with plan(installation.cloud, *(Fault("throttled", at) for at in range(20, 2_000, 20))):
        installation.read(Upload(2, erased=("a",)))
    assert people(installation) == set()


def test_a_breath_is_taken_between_the_identifiers_of_a_person(installation: Installation):
    """A lease is 45 seconds, a person may have ten thousand of them."""
    installation.read(hub(1, 40))
    breaths: list[int] = []
    eraser = Upload(2, erased=("a",))
    installation.sink(eraser).write(*eraser.rows(), lambda: breaths.append(1))
    assert len(breaths) > 40


def test_more_identifiers_than_an_item_can_remember_are_erased_all_the_same(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
):
    """400 KB (here 40), and an identifier may be 1,019 bytes long."""
    monkeypatch.setattr(strict, "ITEM_BYTES", 40_000)
    installation.read(hub(1, 45, 1_000))
    installation.read(Upload(2, erased=("a",)))
    assert people(installation) == set()
