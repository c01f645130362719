"""What routes work with: the workplace of `executions`, and what only doors need of the imports table and of S3."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from importer.definitions import Definition, StoredDefinition
from importer.executions.ports import Workplace
from importer.model import Execution, Value
from importer.notification import Dropped


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept of a request that came with an Idempotency-Key.

    Attributes:
        fingerprint: of the request; another one under the same key is another request.
        name: chosen at random at its first try, so that a later one makes the same thing and no second one.
        begun_ms: when its first try began.
        busy_until_ms: until then its last try may still be at it.
        status, body: what was answered, the body as JSON; 0 and "" while that is not known.
    """

    fingerprint: str
    name: str
    begun_ms: int
    busy_until_ms: int
    status: int = 0
    body: str = ""


class Books(Protocol):
    """The imports table, as requests need it beside `executions.ports.Records`. Raises Unavailable."""

    def stored_definition(self, import_id: str) -> StoredDefinition | None: ...

    def definitions(self) -> Iterator[StoredDefinition]:
        """Newest first; may lag."""

    def create_definition(self, definition: Definition, now_ms: int) -> bool: ...

    def change_definition(self, import_id: str, before: Value, after: Definition, now_ms: int) -> bool: ...

    def delete_definition(self, import_id: str, before: Value) -> bool: ...

    def newest(self, before_ms: int | None, after_ms: int | None, at_most: int) -> Iterator[Execution]:
        """Executions of any import, newest first; may lag.

        Args:
            before_ms, after_ms: created in [after_ms, before_ms).
            at_most: so many are looked at.
        """

    def stem_owner(self, day: str, stem: str) -> str | None:
        """Id of the execution that claimed a day's name for its results."""

    def begin_request(self, key: str, request: Kept, now_ms: int, forget_s: int) -> Kept:
        """What is kept under the key now: this, or what an earlier try left there, which is taken over if its time is
        up. Where the answer has `busy_until_ms` of `request`, it is the caller's to go on.

        Args:
            forget_s: when it may be forgotten, in seconds since 1970.
        """

    def end_request(self, key: str, request: Kept) -> None:
        """Keep the answer, if the request still is this try's."""

    def drop_request(self, key: str, request: Kept) -> None:
        """Forget a try that changed nothing, if it still is this one's."""


class Bodies(Protocol):
    """The bucket, as requests need it beside `executions.ports.Objects`. Raises Unavailable."""

    def upload(self, bucket: str, key: str, body: bytes, content_type: str) -> Dropped | None:
        """Put a new object, durable on return. What it then is called; None if other bytes lie there."""

    def link(self, bucket: str, key: str, file_name: str, seconds: int) -> str:
        """A presigned URL to read an object, which is a secret."""


@dataclass(frozen=True, slots=True)
class Doorway:
    """Everything a route works with, for one invocation.

    Attributes:
        bucket: the stack's.
        datamart_id, organisation_id: what the stack calls itself to clients of mediarithmics.
        kept_token: text of the token with this id (`doors.tokens.granted`).
    """

    work: Workplace
    books: Books
    bodies: Bodies
    bucket: str
    datamart_id: str
    organisation_id: str
    datafarm_key: str
    kept_token: Callable[[str], str | None]
