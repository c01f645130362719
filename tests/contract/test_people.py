"""People are read back whole: every page, nothing that has expired, nothing taken for absent that AWS keeps back."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from importer.aws.patience import TRIES
from importer.aws.people import StoredPeople
from importer.model import Unavailable, Value
from importer.users import Record, Span, StoredEvent, newest_first, person
from tests.support.people import T, Tables, tables

NOW = T + 10_000_000


class Clock:
    def __init__(self) -> None:
        self.slept = 0.0

    def now_ms(self) -> int:
        return NOW

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


@pytest.fixture
def made() -> Iterator[Tables]:
    with tables() as made:
        yield made


def people(made: Tables, in_flight: int = 1, most_links: int = 1_000) -> StoredPeople:
    return StoredPeople(made.client, made.events, made.users, Clock(), in_flight, most_links)


# -- records ---------------------------------------------------------------------------------------------------------


def test_a_record_is_read_as_it_was_written(made: Tables) -> None:
    source = made.file("a.json")
    value: Value = {"a": [1, True, None, "x", {"b": Decimal("0.1")}]}
    live = made.say("u", "prop#a", value, T + 1, source, address=12)
    gone = made.say("u", "prop#b", None, None, source, deleted=True)
    until = made.say("u", "segment#s", "bag", T, source, expires_ms=NOW + 500)
    assert people(made).records(["u"]) == {
        "u": [
            Record("u", "prop#a", live["rank"]["S"], value, False, T + 1, None, source.execution_id, 12),
            Record("u", "prop#b", gone["rank"]["S"], None, True, None, None, source.execution_id, 0),
            Record("u", "segment#s", until["rank"]["S"], "bag", False, T, NOW + 1000, source.execution_id, 0),
        ]
    }


def test_what_is_no_record_of_ours_is_passed_over(made: Tables) -> None:
    """Marks the importer keeps for itself, and items of strangers."""
    made.client.put_item(
        TableName=made.users,
        Item={"user_id": {"S": "u"}, "record": {"S": "mark"}, "uploaded_ms": {"N": "5"}},
    )
    made.client.put_item(
        TableName=made.users,
        Item={"user_id": {"S": "u"}, "record": {"S": "prop#x"}, "rank": {"S": "high"}, "value": {"S": "stranger"}},
    )
    assert people(made).records(["u"]) == {"u": []}


@pytest.mark.parametrize("in_flight", [1, 4])
def test_all_pages_of_all_identifiers_are_read(made: Tables, in_flight: int) -> None:
    """A page ends with a megabyte."""
    source = made.file()
    for user in ("a", "b"):
        for number in range(7):
            made.say(user, f"prop#{number}", "x" * 350_000, source=source)
    found = people(made, in_flight).records(["a", "nobody", "b"])
    names = [f"prop#{number}" for number in range(7)]
    assert {user: [record.record for record in some] for user, some in found.items()} == {
        "a": names,
        "nobody": [],
        "b": names,
    }


def test_a_crowd_of_links_does_not_hide_what_stands_behind_them(made: Tables) -> None:
    source = made.file()
    made.say("a", "consent#1", True, source=source)
    for number in range(12):
        made.say("a", f"link#{number:02}", "x" * 350_000, source=source)
    made.say("a", "prop#city", "Rome", source=source)
    made.say("a", "segment#s", None, source=source)
    found = [record.record for record in people(made, most_links=4).records(["a"])["a"]]
    links = [name for name in found if name.startswith("link#")]
    assert 4 < len(links) < 12
    assert [name for name in found if name not in links] == ["consent#1", "prop#city", "segment#s"]


def test_a_person_is_found_over_links(made: Tables) -> None:
    made.link("a", "b")
    made.link("b", "c")
    made.say("c", "prop#city", "Oslo", T + 2)
    made.say("a", "prop#city", "Rome", T + 1)
    found = person("a", people(made, 4).records, NOW)
    assert (found.identifiers, found.properties) == (("a", "b", "c"), {"city": "Oslo"})


# -- events ----------------------------------------------------------------------------------------------------------


def keys(made: Tables, span: Span, *users: str, page: int = 2) -> list[str]:
    merged = newest_first(people(made).events(users or ("u",), span, page))
    return [stored.event.event_key for stored in merged]


def test_an_event_is_read_as_it_was_written(made: Tables) -> None:
    source = made.file()
    event = made.happen("u", T, "buy", {"price": Decimal("9.99"), "n": 3}, source)
    event.format = source.format
    [[stored]] = map(list, people(made).events(["u"], Span(), 5))
    assert stored == StoredEvent(event, "default", source.execution_id)


def test_events_come_newest_first_over_all_identifiers_and_pages(made: Tables) -> None:
    source = made.file()
    events = [made.happen(f"u{number % 3}", T + number, source=source) for number in range(60)]
    expected = [event.event_key for event in reversed(events)]
    assert keys(made, Span(), "u0", "u1", "u2", "nobody") == expected
    for since, until in ((T + 5, T + 50), (T, T + 1), (T + 59, T + 60), (T + 60, T + 99), (T + 9, T + 9), (T + 9, T)):
        inside = [event.event_key for event in reversed(events) if since <= event.event_time_ts < until]
        assert keys(made, Span(since, until), "u0", "u1", "u2") == inside


def test_going_on_before_an_event_leaves_none_out_and_repeats_none(made: Tables) -> None:
    source = made.file()
    for number in range(20):
        made.happen("u", T + number // 4, source=made.file(known=False) if number % 2 else source)
    everything = keys(made, Span())
    read: list[str] = []
    while found := keys(made, Span(before_key=read[-1] if read else ""))[:3]:
        read += found
    assert read == everything


def test_only_the_pages_asked_for_are_read(made: Tables) -> None:
    source = made.file()
    for number in range(30):
        made.happen("u", T + number, source=source)
    calls: list[int] = []
    query = made.client.query
    made.client.query = lambda **asked: calls.append(asked["Limit"]) or query(**asked)
    [stream] = people(made).events(["u"], Span(), 5)
    assert calls == [5]
    for _ in range(6):
        next(stream)
    assert calls == [5, 20]


def test_events_whose_time_to_live_has_ended_are_absent(made: Tables) -> None:
    made.happen("u", T, "over", expires_ms=NOW)
    made.happen("u", T + 1, "not yet", expires_ms=NOW + 1_000)
    [stream] = people(made).events(["u"], Span(), 5)
    assert [stored.event.event_name for stored in stream] == ["not yet"]


# -- members ---------------------------------------------------------------------------------------------------------


def test_members_are_those_whose_membership_holds(made: Tables) -> None:
    made.say("stays", "segment#vip", {"score": 1}, T + 5)
    made.say("runs", "segment#vip", None, expires_ms=NOW + 1_000)
    made.say("over", "segment#vip", None, expires_ms=NOW)
    made.say("left", "segment#vip", None)
    made.say("left", "segment#vip", None, T + 1, deleted=True)
    made.say("other", "segment#vips", None)
    found = [(one.user_id, one.value, one.time_ms, one.expires_ms) for one in people(made).members("vip")]
    assert found == [("runs", None, T, NOW + 1_000), ("stays", {"score": 1}, T + 5, None)]


def test_all_pages_of_members_are_read(made: Tables) -> None:
    source = made.file()
    for number in range(7):
        made.say(f"u{number}", "segment#vip", "x" * 350_000, source=source)
    assert [one.user_id for one in people(made).members("vip")] == [f"u{number}" for number in range(7)]


def test_a_stack_without_the_index_says_what_to_do() -> None:
    with tables(indexed=False) as made, pytest.raises(Unavailable, match=r"no index by_segment.*: deploy this version"):
        next(people(made).members("vip"))


# -- trouble ---------------------------------------------------------------------------------------------------------


class Troubled:
    """Answers with nothing, after its troubles are used up."""

    def __init__(self, *troubles: Exception) -> None:
        self.troubles = list(troubles)
        self.calls = 0

    def query(self, **asked: Any) -> Any:
        self.calls += 1
        if self.troubles:
            raise self.troubles.pop(0)
        return {"Items": []}


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "Query")


def read_all(client: Troubled, what: str) -> list[Any]:
    stored = StoredPeople(client, "events", "users", Clock(), 1)  # type: ignore[arg-type]
    if what == "records":
        return list(stored.records(["u"])["u"])
    return list(stored.members("s")) if what == "members" else list(stored.events(["u"], Span(), 5)[0])


READS = {"records": "users", "events": "events", "members": "users/index/by_segment"}


@pytest.mark.parametrize("what", READS)
@pytest.mark.parametrize(
    "trouble",
    [
        refused("ProvisionedThroughputExceededException"),
        refused("ThrottlingException"),
        ConnectionClosedError(endpoint_url="https://dynamodb"),
    ],
)
def test_a_throttled_or_lost_call_is_made_again_for_a_while(what: str, trouble: Exception) -> None:
    assert read_all(Troubled(*[trouble] * 3), what) == []
    with pytest.raises(Unavailable, match=f"the table {READS[what]} cannot be read"):
        read_all(Troubled(*[trouble] * (TRIES + 1)), what)


@pytest.mark.parametrize("what", READS)
def test_a_denied_call_names_its_permission_at_once(what: str) -> None:
    client = Troubled(refused("AccessDeniedException"))
    with pytest.raises(Unavailable, match=rf"the table {READS[what]} .*allow dynamodb:Query on it"):
        read_all(client, what)
    assert client.calls == 1
