"""Imports by URI over a fake cloud, from a source that a test writes: its versions, and where it breaks off."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from unittest import mock

from importer.aws import clients
from importer.aws.fetches import FetchesTable, FetchQueue, Landing
from importer.aws.objects import S3Objects
from importer.definitions import DEFAULT, Definition
from importer.doors.fetching import FetchPlace, fetch_on
from importer.doors.requested import Asked, fetch_of
from importer.fetches import Cut, Fetch, Refused
from tests.support.clock import LambdaContext
from tests.support.cloud import Cloud

MIB = 1 << 20
ROW = b'{"user_id":"u","event_name":"e","event_time_ts":1425920218354,"n":"%07d"}\n'
URI = "https://files.test/exports/monday.json?sig=secret"
KEY = "imports/monday.json"


def rows(count: int, word: bytes = b"e") -> bytes:
    return b"".join(ROW % number for number in range(count)).replace(b'"e"', b'"' + word + b'"')


@dataclass
class Source:
    """What answers at a URI.

    Attributes:
        body, validator: as they are now; "" names no version.
        cuts: of each opening in turn, after how many bytes it breaks off; None does not. Later ones come whole.
        whole: ranges are not known: it always begins at the begin.
        sized: it says how many bytes there are.
        meanwhile: run before the chunk at this offset of an opening.
        trouble: raised in turn instead of an answer.
    """

    cloud: Cloud
    body: bytes
    validator: str = '"v1"'
    cuts: list[int | None] = field(default_factory=list)
    whole: bool = False
    sized: bool = True
    chunk_ms: int = 0
    trouble: list[Cut | Refused] = field(default_factory=list)
    opened_at: list[int] = field(default_factory=list)

    def opened(self, fetch: Fetch, offset: int, validator: str, time_ms: int) -> "Opened":
        if self.trouble:
            raise self.trouble.pop(0)
        begin = offset if offset and validator == self.validator and not self.whole else 0
        self.opened_at.append(begin)
        cut = self.cuts.pop(0) if self.cuts else None
        return Opened(begin, len(self.body) if self.sized else None, self.validator, self.body, cut, self)


@dataclass
class Opened:
    """See `fetches.Body`."""

    offset: int
    total_bytes: int | None
    validator: str
    body: bytes
    cut: int | None
    source: Source

    def chunks(self) -> Iterator[bytes]:
        end = len(self.body) if self.cut is None else self.offset + self.cut
        for at in range(self.offset, end, MIB):
            self.source.cloud.clock.advance(self.source.chunk_ms)
            yield self.body[at : min(at + MIB, end)]
        if self.cut is not None:
            raise Cut("files.test: the connection ended")

    def close(self) -> None: ...


@dataclass
class Telling:
    """See `doors.fetching.FetchTelemetry`."""

    said: list[str] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)

    def fetched(self, fetch: Fetch) -> None:
        self.said.append(f"{fetch.status.value} {fetch.error_code}".strip())

    def fetch_handed_on(self, fetch: Fetch, why: str) -> None:
        self.said.append(f"handed on at {fetch.next_offset}" + (f": {why}" if why else ""))

    def sweep_failed(self, what: str, trouble: Exception) -> None:
        self.troubles.append(f"{what}: {trouble}")


class Fetching:
    """One installation that fetches."""

    def __init__(
        self, cloud: Cloud, source: Source, most_bytes: int = 1 << 30, most_ms: int = 86_400_000, kept_days: int = 0
    ) -> None:
        self.cloud = cloud
        self.source = source
        self.telling = Telling()
        self.most_bytes = most_bytes
        self.most_ms = most_ms
        self.records = FetchesTable(clients.records(), cloud.imports_table, kept_days)
        self.queue = FetchQueue(clients.queues, cloud.part_queue_url)

    def place(self, seconds: float = 300) -> FetchPlace:
        client = clients.s3()
        return FetchPlace(
            records=self.records,
            landing=Landing(client, S3Objects(client, self.cloud.clock), self.cloud.bucket),
            opened=self.source.opened,
            queue=self.queue,
            clock=self.cloud.clock,
            telemetry=self.telling,
            remaining_ms=LambdaContext(self.cloud.clock, seconds).get_remaining_time_in_millis,
            most_bytes=self.most_bytes,
            most_ms=self.most_ms,
        )

    def asked(self, uri: str = URI, definition: Definition = DEFAULT, fetch_id: str = "f") -> Fetch:
        asked = Asked(uri, "" if definition is DEFAULT else definition.id)
        with self.cloud.unseen():
            return self.records.create_fetch(
                fetch_of(asked, definition, self.cloud.bucket, fetch_id, self.cloud.clock.now_ms())
            )

    def now(self, fetch_id: str = "f") -> Fetch:
        with self.cloud.unseen():
            found = self.records.fetch(fetch_id)
        assert found is not None
        return found

    def turn(self, seconds: float = 300, fetch_id: str = "f") -> Fetch:
        return fetch_on(self.place(seconds), fetch_id)

    def turns(self, seconds: float = 300, most: int = 30) -> Fetch:
        """Every message of the queue is delivered, as soon as it may be, until none is left."""
        fetch = self.turn(seconds)
        for _ in range(most):
            if (at_ms := self.cloud.next_message_ms()) is None:
                return fetch
            self.cloud.clock.advance(max(0, at_ms - self.cloud.clock.now_ms()))
            received = self.cloud.receive()
            if received is None:
                continue
            fetch = self.turn(seconds, json.loads(received[1])["fetch_id"])
            self.cloud.delete_message(received[0])
        raise AssertionError(f"still messages after {most} turns: {self.telling.said}")

    def landed(self) -> list[bytes | None]:
        """Every version that has appeared in imports/, oldest first."""
        return [body for _, body in self.cloud.versions(KEY)]


def small_pieces():  # type: ignore[no-untyped-def]
    """Pieces of 5 MiB, the least that S3 takes, so that a test's file has several."""
    return mock.patch("importer.fetches.PIECE_BYTES", 5 * MIB)


__all__ = ["KEY", "MIB", "URI", "Fetching", "Source", "replace", "rows", "small_pieces"]
