"""What routes work with: the workplace of `executions`, and what only doors need of the imports table and of S3."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from importer.definitions import Definition, StoredDefinition
from importer.executions.ports import Workplace
from importer.model import Execution, KeptRequest, Status, Value
from importer.notification import Dropped

Mark = tuple[int, str]  # where a list of executions goes on: behind the one made then (ms since 1970), with this id

if TYPE_CHECKING:
    from importer.doors.undoing import UndoPlace
    from importer.doors.uri_imports import UriDoor


class Books(Protocol):
    """The imports table, as requests need it beside `executions.ports.Records`. Raises Unavailable."""

    def stored_definition(self, import_id: str) -> StoredDefinition | None: ...

    def definitions(self) -> Iterator[StoredDefinition]:
        """Newest first; may lag."""

    def create_definition(self, definition: Definition, now_ms: int) -> bool:
        """Keep a new definition. False: there is one of that id."""

    def change_definition(self, import_id: str, before: Value, after: Definition, now_ms: int) -> bool:
        """Put `after` in the place of `before`, which was read. False: somebody has changed or deleted it since."""

    def delete_definition(self, import_id: str, before: Value) -> bool:
        """Whether it is gone. False: somebody has changed it since it was read as `before`."""

    def listed(
        self, import_id: str, statuses: Collection[Status], after_ms: int, before_ms: int, enough: int
    ) -> tuple[list[Execution], bool]:
        """Executions under an import that were created in [after_ms, before_ms), newest first; may lag by a second.

        Args:
            statuses: of these; empty for any.
            enough: at least so many are looked for, and a bounded number of others looked at on the way.
        Returns:
            Them, and whether there are no more.
        """

    def listed_since(
        self,
        wanted: Callable[[Execution], bool],
        statuses: Collection[Status],
        after_ms: int,
        behind: Mark | None,
        most: int,
    ) -> tuple[list[Execution], Mark | None]:
        """Executions of any import that were created at `after_ms` or later, newest first; may lag by a second.

        Args:
            wanted: which of them; a bounded number of others is looked at on the way.
            statuses: of these; empty for any.
            behind: where an earlier call ended.
        Returns:
            At most so many, perhaps none, and where the next call goes on; None where there are no more.
        """

    def stem_owner(self, day: str, name: str) -> str | None:
        """Id of the execution that has claimed a name for its results of a day."""

    def begin_request(self, key: str, request: KeptRequest, now_ms: int, forget_s: int) -> KeptRequest:
        """What is kept under the key now: `request`; or what an earlier try has left there, taken over by the owner of
        `request` if the time of the earlier one is up.

        Args:
            forget_s: when it may be forgotten, in seconds since 1970.
        """

    def end_request(self, key: str, request: KeptRequest) -> None:
        """Keep what has become of it, if it still is this owner's."""

    def drop_request(self, key: str, request: KeptRequest) -> None:
        """Forget a try that has changed nothing, if it still is this owner's."""


class Bodies(Protocol):
    """The bucket, as requests need it beside `executions.ports.Objects`. Raises Unavailable."""

    def upload(self, bucket: str, key: str, body: bytes, content_type: str) -> Dropped | None:
        """Put a new object, durable on return. What it then is called; None if other bytes lie there."""

    def link(self, bucket: str, key: str, file_name: str, seconds: int) -> str:
        """A presigned URL to read an object, which is a secret."""


class SignedForm(Protocol):
    """What to post where: `aws.posting.Form`."""

    @property
    def url(self) -> str: ...

    @property
    def fields(self) -> dict[str, str]: ...


class Forms(Protocol):
    """Signs forms that post a file to the bucket: `aws.posting.Forms`. Raises Unavailable."""

    def url(self, bucket: str) -> str:
        """Where its forms are posted to."""

    def form(
        self,
        bucket: str,
        key: str,
        content_type: str,
        most_bytes: int,
        seconds: int,
        metadata: Mapping[str, str] | None = None,
    ) -> SignedForm: ...


@dataclass(frozen=True, slots=True)
class Doorway:
    """Everything a route works with, for one invocation.

    Attributes:
        bucket: the stack's.
        datamart_id, organisation_id, datafarm_key: what the stack calls itself to clients of mediarithmics.
        has_stream: whether events can go to a Firehose stream.
        kept_token: text of the token with this id (`doors.tokens.granted`).
        upload_bytes: of a file posted by a signed form, at most.
        uris: where fetches are asked for; None where the installation has no queue of them.
        undoing: makes what undoings work with, which few requests need; None where nothing is undone over HTTP.
    """

    work: Workplace
    books: Books
    bodies: Bodies
    bucket: str
    datamart_id: str
    organisation_id: str
    datafarm_key: str
    has_stream: bool
    kept_token: Callable[[str], str | None]
    forms: Forms
    upload_bytes: int
    uris: "UriDoor | None" = None
    undoing: "Callable[[], UndoPlace] | None" = None
