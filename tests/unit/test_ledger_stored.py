"""The tables read back: nothing DynamoDB leaves out or refuses for a while is taken for absent."""

from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from importer.aws.stored import CALL_KEYS, TRIES, StoredTables
from importer.model import Unavailable


class Clock:
    def __init__(self) -> None:
        self.slept = 0.0

    def now_ms(self) -> int:
        return 0

    def sleep(self, seconds: float) -> None:
        self.slept += seconds


class DynamoDB:
    """Holds every key asked for; gives at most `at_most` items a call, after the troubles are used up."""

    def __init__(self, at_most: int = 10**6, troubles: tuple[Exception, ...] = ()) -> None:
        self.at_most = at_most
        self.troubles = list(troubles)
        self.calls: list[int] = []

    def batch_get_item(self, RequestItems: Any) -> Any:
        [(table, asked)] = RequestItems.items()
        assert asked["ConsistentRead"] is True
        self.calls.append(len(asked["Keys"]))
        if self.troubles:
            raise self.troubles.pop(0)
        given, left = asked["Keys"][: self.at_most], asked["Keys"][self.at_most :]
        return {"Responses": {table: given}, "UnprocessedKeys": {table: {"Keys": left}} if left else {}}


def tables(client: DynamoDB, clock: Clock, in_flight: int = 1) -> StoredTables:
    return StoredTables(client, "events", "users", "imports", clock, in_flight)  # type: ignore[arg-type]


def refused(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": code}}, "BatchGetItem")


KEYS = [("user", f"{number:013d}#id") for number in range(250)]


@pytest.mark.parametrize("in_flight", [1, 4])
def test_a_call_asks_for_as_many_keys_as_dynamodb_allows(in_flight: int) -> None:
    client = DynamoDB()
    found = tables(client, Clock(), in_flight).events(KEYS)
    assert set(found) == set(KEYS)
    assert sorted(client.calls) == [50, CALL_KEYS, CALL_KEYS]


def test_what_is_left_unprocessed_is_asked_for_again() -> None:
    """In growing pauses; and only that."""
    client, clock = DynamoDB(at_most=40), Clock()
    assert set(tables(client, clock).users(KEYS[:100])) == set(KEYS[:100])
    assert client.calls == [100, 60, 20]
    assert clock.slept > 0


def test_what_is_always_left_unprocessed_is_unavailable_and_not_absent() -> None:
    with pytest.raises(Unavailable, match="3 keys left unprocessed"):
        tables(DynamoDB(at_most=0), Clock()).events(KEYS[:3])


@pytest.mark.parametrize(
    "trouble",
    [
        refused("ProvisionedThroughputExceededException"),
        refused("ThrottlingException"),
        ConnectionClosedError(endpoint_url="https://dynamodb"),
    ],
)
def test_a_throttled_or_lost_call_is_made_again_for_a_while(trouble: Exception) -> None:
    client = DynamoDB(troubles=(trouble,) * 3)
    assert set(tables(client, Clock()).events(KEYS[:5])) == set(KEYS[:5])
    with pytest.raises(Unavailable, match="the table events cannot be read"):
        tables(DynamoDB(troubles=(trouble,) * (TRIES + 1)), Clock()).events(KEYS[:5])


def test_a_denied_call_names_its_permission_at_once() -> None:
    client = DynamoDB(troubles=(refused("AccessDeniedException"),))
    with pytest.raises(Unavailable, match="allow dynamodb:BatchGetItem on it"):
        tables(client, Clock()).events(KEYS[:5])
    assert client.calls == [5]
