"""What notices go by: EventBridge and SNS; and the imports table's stream, which says when one is due."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from botocore.exceptions import ClientError

from importer.aws.tables import execution_in
from importer.model import Execution, Misconfigured, Phase, Unavailable
from importer.sinks.calls import LOST, said
from importer.sinks.items import Item

if TYPE_CHECKING:
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

LETTER_SCHEMA: Final = "notice_due/1"


# ---- Where they go to --------------------------------------------------------------------------------------------


class EventBridgeClient(Protocol):
    """What is needed of botocore's client."""

    def put_events(self, *, Entries: Sequence[Mapping[str, object]]) -> Mapping[str, Any]: ...


class Bus:
    """An event bus.

    Args:
        client: makes the client when something is put.
    """

    def __init__(self, client: Callable[[], EventBridgeClient], name: str) -> None:
        self._client = cache(client)
        self._name = name

    def put(self, source: str, detail_type: str, detail: str, time_ms: int) -> None:
        """One event; EventBridge has it when this returns.

        Raises:
            Unavailable: it may have it all the same.
        """
        entry = {
            "Source": source,
            "DetailType": detail_type,
            "Detail": detail,
            "Time": time_ms / 1000,
            "EventBusName": self._name,
        }
        try:
            answer = self._client().put_events(Entries=[entry])
        except ClientError as error:
            _denied(error, f"the event bus {self._name}", "events:PutEvents")
        except LOST as error:
            raise Unavailable(f"the event bus {self._name}: {error}") from error
        if answer.get("FailedEntryCount"):  # a success may hold refusals
            code = next((str(one["ErrorCode"]) for one in answer.get("Entries", ()) if one.get("ErrorCode")), "")
            raise Unavailable(f"the event bus {self._name} did not take an event: {code}")


class Topic:
    """A topic of SNS.

    Args:
        client: makes the client when something is published.
    """

    def __init__(self, client: "Callable[[], SNSClient]", arn: str) -> None:
        self._client = cache(client)
        self._arn = arn

    def publish(self, subject: str, text: str, attributes: Mapping[str, str]) -> None:
        """One message; SNS has it when this returns.

        Args:
            attributes: what a subscription's filter policy may look at.
        Raises:
            Unavailable: it may have it all the same.
        """
        told = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        try:
            self._client().publish(TopicArn=self._arn, Subject=subject, Message=text, MessageAttributes=told)  # type: ignore[arg-type]
        except ClientError as error:
            _denied(error, f"the topic {self._arn}", "sns:Publish")
        except LOST as error:
            raise Unavailable(f"the topic {self._arn}: {error}") from error


def _denied(error: ClientError, what: str, permission: str) -> NoReturn:
    # SNS says AuthorizationError where others say AccessDenied.
    code = str(error.response.get("Error", {}).get("Code", ""))
    remedy = f"; allow {permission} on it" if "AccessDenied" in code or "Authorization" in code else ""
    raise Unavailable(f"{what}: {said(error)}{remedy}") from error


# ---- When one is due ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Closing:
    """An execution has been closed.

    Attributes:
        image: its item, as it was at that moment.
        closed_ms: when; 0 where it was so long ago that nobody hopes any more.
    """

    image: Item
    closed_ms: int

    @property
    def execution_id(self) -> str:
        return str(self.image.get("pk", {}).get("S", "")).removeprefix("EXEC#")

    def execution(self) -> Execution:
        """As it was closed.

        Raises:
            Unavailable: somebody has changed the item by hand.
        """
        return execution_in(self.image)


def closings(event: object) -> Iterator[Closing]:
    """What a function is invoked with: records of the imports table's stream, or a dead letter of `Letters`.

    Other changes of the table are passed over: the mapping's filter keeps most of them away, and only saves money.

    Raises:
        Misconfigured: it is neither.
    """
    match event:
        case {"Records": list(records)}:
            for record in records:
                yield from _closing(record)
        case {"schema": "notice_due/1", "closed": dict(image)}:
            yield Closing(image, 0)
        case _:
            raise Misconfigured(f"the event is neither records of the imports table's stream nor a {LETTER_SCHEMA}")


def _closing(record: object) -> Iterator[Closing]:
    match record:
        case {
            "eventName": "MODIFY",
            "dynamodb": {
                "Keys": {"sk": {"S": "EXEC"}},
                "OldImage": {"phase": {"S": before}},
                "NewImage": {"phase": {"S": Phase.CLOSED.value}} as image,
            } as change,
        } if before != Phase.CLOSED.value:
            yield Closing(image, int(change.get("ApproximateCreationDateTime", 0) * 1000))
        case {"eventName": str(), "dynamodb": dict()}:
            return
        case _:
            raise Misconfigured("a record is none of a table's stream")


def _without_users(image: Item) -> Item:
    """An execution's item without the users that turned up most: others read letters, and no notice tells them."""
    found = {name: value for name, value in image.items() if name != "result"}
    try:
        state = json.loads(image["state"]["S"])
        state["outcome"]["sums"]["top_users"] = {}
    except (KeyError, TypeError, ValueError):  # somebody has changed it: it is kept as it is, or nobody could look
        return found
    return {**found, "state": {"S": json.dumps(state)}}


class Letters:
    """The dead-letter queue, for notices that cannot be sent.

    Args:
        client: makes the client when something is kept.
    """

    def __init__(self, client: "Callable[[], SQSClient]", queue_url: str) -> None:
        self._client = cache(client)
        self._url = queue_url

    def keep(self, closing: Closing, why: str) -> None:
        """Durable when it returns.

        Args:
            why: words that quote nobody.
        Raises:
            Unavailable.
        """
        # In ASCII, whatever the names: SQS refuses some characters (H5).
        body = json.dumps(
            {
                "schema": LETTER_SCHEMA,
                "execution_id": closing.execution_id,
                "why": why,
                "closed": _without_users(closing.image),
            }
        )
        try:
            self._client().send_message(QueueUrl=self._url, MessageBody=body)
        except ClientError as error:
            _denied(error, "the dead-letter queue", "sqs:SendMessage")
        except LOST as error:
            raise Unavailable(f"the dead-letter queue: {error}") from error
