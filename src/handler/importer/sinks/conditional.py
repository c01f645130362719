"""Conditional writes, one call each: of all that say who outranks whom, none can be batched.

Each is safe to repeat: of an equal rank it is the same row's, so it is written over. A lost reply needs no read back,
and what older rules made of the row does not stay. What is refused for its condition is done: what is there is to stay.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import orjson
from botocore.exceptions import ClientError

from importer.bad_rows import Reject
from importer.sinks.calls import Calls, Left, suppress_refusal
from importer.sinks.items import Item, refusal
from importer.sinks.quick import Quick, Transport, is_put_or_outranked

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Job = TypeVar("Job")
Request = dict[str, Any]  # as the client takes it by name, which is also as it is sent
ANY_ITEM: Item = {"user_id": {"S": "u"}, "record": {"S": "r"}, "rank": {"S": "0"}}  # for samples


def put_if_highest(table: str, item: Item) -> Request:
    """PutItem of an item unless one of a higher rank is there."""
    return {
        "TableName": table,
        "Item": item,
        "ConditionExpression": "attribute_not_exists(#rank) OR #rank <= :rank",
        "ExpressionAttributeNames": {"#rank": "rank"},
        "ExpressionAttributeValues": {":rank": item["rank"]},
    }


class ConditionalWrites(Generic[Job]):
    """Makes one operation's writes.

    Args:
        sample: such a request, for the transport.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        method: Literal["put_item", "update_item"],
        request: Callable[[Job], Request],
        sample: Request,
        calls: Calls[Job],
        transport: Transport | None,
    ) -> None:
        self._write: Callable[..., object] = getattr(client, method)
        self._request = request
        self._calls = calls
        self._quick: Quick[Job] | None = None
        if transport is not None:
            operation = transport.operation(method, **sample)
            self._quick = Quick(operation, self._text, is_put_or_outranked, lambda job, reply: None)

    def run(self, jobs: Sequence[Job], breathe: Callable[[], None]) -> list[tuple[Job, Reject]]:
        """Make them; returns those DynamoDB calls invalid, with its words. Raises as `Calls.run`."""
        refused: list[tuple[Job, Reject]] = []

        def write(job: Job) -> Left[Job]:
            try:
                with suppress_refusal():
                    self._write(**self._request(job))
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") != "ValidationException":
                    raise
                refused.append((job, refusal(error)))
            return Left()

        self._calls.run(jobs, write, breathe, self._quick)
        return refused

    def _text(self, job: Job) -> bytes:
        return orjson.dumps(self._request(job))
