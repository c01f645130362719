"""Events and user changes → a Firehose delivery stream, at least once.

Firehose knows no keys, so a call whose reply was lost delivers its records twice (G2): a consumer drops what it has
seen by `event_id` and `change_id`, which are the same every time. Within one write an event goes out once, however
many equal rows there were. No row is ever refused here: what Firehose could not take, `records.limit` refused before.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final, Protocol

from importer.costs import Meter
from importer.model import Clock, Event, Provenance, UserChange
from importer.sinks import NotStored
from importer.sinks.calls import Calls, Left
from importer.sinks.records import calls_of, change_line, event_line, packed

# Measured: zlib's level 1 takes 2.1 µs an event, level 6 4.9 µs for little more.
_GZIP_LEVEL: Final = 1
_GZIP_FORMAT: Final = 16 + zlib.MAX_WBITS  # zlib's own header has neither time nor name: same lines, same bytes


class FirehoseClient(Protocol):
    """What this sink needs of boto3's client."""

    def put_record_batch(
        self, *, DeliveryStreamName: str, Records: Sequence[Mapping[str, bytes]]
    ) -> Mapping[str, Any]: ...


class FirehoseSink:
    """Writes one execution's events and user changes.

    Args:
        client: makes one attempt a call (`total_max_attempts` 1): trying again is this sink's work.
        in_flight: calls at the same time, at most; as many are in memory.
        gzip: compress each record; records stay whole gzip members, so delivered objects are gzip files.
        meter: told what is spent.
    """

    def __init__(
        self,
        client: FirehoseClient,
        stream: str,
        source: Provenance,
        clock: Clock,
        in_flight: int,
        gzip: bool,
        meter: Meter | None = None,
    ) -> None:
        self._meter = meter or Meter()
        self._client = client
        self._stream = stream
        self._source = source
        self._in_flight = in_flight
        self._gzip = gzip
        self._calls: Calls[list[bytes]] = Calls(clock, in_flight, f"the delivery stream {stream}", "firehose")

    def write(
        self, events: list[Event], user_changes: list[UserChange], breathe: Callable[[], None] = lambda: None
    ) -> NotStored:
        """See `Sink.write`. Writing the same again delivers it again; nothing is ever refused."""
        calls = calls_of(self._records(events, user_changes))
        while some := list(islice(calls, self._in_flight)):
            self._calls.run(some, self._put, breathe)
        return {}

    def _records(self, events: list[Event], user_changes: list[UserChange]) -> Iterator[bytes]:
        once = {(event.user_id, event.event_key): event for event in events}  # as in the events table: the last address
        records = packed(
            chain(
                (change_line(change, self._source) for change in user_changes),
                (event_line(event, self._source) for event in once.values()),
            )
        )
        return (zlib.compress(record, _GZIP_LEVEL, _GZIP_FORMAT) for record in records) if self._gzip else records

    def _put(self, call: list[bytes]) -> Left[list[bytes]]:
        answer = self._client.put_record_batch(
            DeliveryStreamName=self._stream, Records=[{"Data": record} for record in call]
        )
        if not answer["FailedPutCount"]:
            self._meter.streamed(call)
            return Left()
        # Answers come in the order of the records; only those with an error were not taken (G1).
        left = [record for record, said in zip(call, answer["RequestResponses"], strict=True) if said.get("ErrorCode")]
        self._meter.streamed(record for record in call if record not in left)
        return Left([left or call], put_off=True)
