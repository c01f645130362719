"""A look at the names a store holds: bounded, spread over its tables, and honest about whether it saw all."""

from collections.abc import Iterator

import pytest

from importer.aws import sampling
from importer.aws.sampling import StoreSample
from importer.known import Known, Looked, Where
from importer.model import Unavailable
from tests.support.cloud import Cloud
from tests.support.faults import Fault, plan


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud() as cloud:
        yield cloud


def sample(cloud: Cloud) -> StoreSample:
    return StoreSample(cloud.client("dynamodb"), cloud.events_table, cloud.users_table, cloud.clock)


def happen(cloud: Cloud, number: int, name: str = "login", **more: object) -> None:
    item = {"user_id": f"u{number}", "event_key": f"{number:013d}#e", "event_name": name}
    cloud.put_item(cloud.events_table, {**item, "properties": {}, **more})


def say(cloud: Cloud, record: str, **more: object) -> None:
    cloud.put_item(cloud.users_table, {"user_id": "u", "record": record, **more})


def test_an_empty_store_is_known_as_a_whole(cloud: Cloud):
    """Nothing is in it, and that is all."""
    assert sample(cloud).known() == Known()


def test_names_come_with_the_types_of_their_values(cloud: Cloud):
    """Of events, sessions and users; a removed property of a user, a link and a segment are none."""
    happen(cloud, 1, properties={"page": "/", "price": 1, "on": True, "tags": ["a"], "more": {"a": 1}, "none": None})
    happen(cloud, 2, "purchase", properties={"page": 7}, session_properties={"device": "x"})
    say(cloud, "prop#city", value="Paris")
    say(cloud, "prop#gone", deleted=True)
    say(cloud, "segment#s", value="x")
    assert sample(cloud).known() == Known(
        Looked(2),
        Looked(3),
        {"login", "purchase"},
        {
            Where.PROPERTIES: {
                "page": {"string", "number"},
                "price": {"number"},
                "on": {"boolean"},
                "tags": {"array"},
                "more": {"object"},
                "none": {"null"},
            },
            Where.SESSION_PROPERTIES: {"device": {"string"}},
            Where.USER_PROPERTIES: {"city": {"string"}},
        },
    )


def test_a_look_is_bounded_and_says_that_there_is_more(cloud: Cloud, monkeypatch: pytest.MonkeyPatch):
    """However large a table is: so many short reads of it, one for each segment."""
    monkeypatch.setattr(sampling, "ITEMS", 2)
    for number in range(120):
        happen(cloud, number, f"event {number}")
    with plan(cloud) as delivery:
        known = sample(cloud).known()
    assert len([call for call in delivery.calls if call.operation == "Scan"]) == 2 * sampling.SEGMENTS
    assert not known.events.whole
    assert known.events.items == len(known.event_names) <= 2 * sampling.SEGMENTS
    assert known.user_records == Looked(0, whole=True)


def test_a_denied_look_names_its_permission(cloud: Cloud):
    """Whoever may read previews but not the store."""
    with plan(cloud, Fault("denied", "Scan", always=True)), pytest.raises(Unavailable, match="allow dynamodb:Scan"):
        sample(cloud).known()


def test_a_busy_table_is_asked_again(cloud: Cloud):
    """Imports write to it meanwhile."""
    happen(cloud, 1)
    with plan(cloud, Fault("throttled", "Scan", times=2)):
        assert sample(cloud).known().event_names == {"login"}
