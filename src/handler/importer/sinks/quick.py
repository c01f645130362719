"""Calls made the quick way: many in flight by one thread, their bodies made by us, their replies read by us.

Rule: what is done, put off or throttled is read here. Any other reply, and none at all, is not judged: that call is
made again by the botocore client, whose word counts. So every call made this way must be safe to repeat.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Protocol, TypeVar

import orjson

if TYPE_CHECKING:
    from importer.sinks.calls import Left

Job = TypeVar("Job")
OK: Final = 200


class Reply(NamedTuple):
    """A whole reply, as it was sent: its length is right, and its checksum."""

    status: int
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """What it says; {} where it is no object of JSON."""
        try:
            document = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return document if isinstance(document, dict) else {}

    @property
    def error_code(self) -> str:
        """AWS's word for what went wrong; "" for a success."""
        return "" if self.status == OK else str(self.document.get("__type", "")).rpartition("#")[2]


class Operation(Protocol):
    """One operation of a service, by its name there."""

    @property
    def name(self) -> str: ...

    def exchange(self, bodies: Iterable[bytes], in_flight: int, is_done: Callable[[Reply], bool]) -> list[Reply | None]:
        """Send calls with these bodies, each taken when it is sent; returns when none is under way any more.

        Nothing more is sent once a reply is missing or `is_done` says no, or when a few seconds have passed.

        Returns:
            One reply for each call that was made, in order; None where there was none: it may have been done. Empty
            where this way is closed for now, and the client alone is to be used.
        """
        ...


class Transport(Protocol):
    """The quick way to a service.

    Attributes:
        in_flight: calls at the same time, at most.
    """

    @property
    def in_flight(self) -> int: ...

    def operation(self, method: str, **sample: Any) -> Operation:
        """An operation by its name as a method of the client, with what such a call may look like."""
        ...


@dataclass(frozen=True, slots=True)
class Quick(Generic[Job]):
    """How jobs become calls of an operation, and what replies to them mean.

    Attributes:
        body: of the call for a job.
        is_done: whether a reply says that nothing is left to do.
        left: what a success that is not done left of a job; None if it cannot be told.
    """

    operation: Operation
    body: Callable[[Job], bytes]
    is_done: Callable[[Reply], bool]
    left: "Callable[[Job, Reply], Left[Job] | None]"


def is_put_or_outranked(reply: Reply) -> bool:
    """Of a conditional write: it was made, or is not to be made."""
    return reply.status == OK or reply.error_code == "ConditionalCheckFailedException"
