"""Events and user changes → a Firehose delivery stream, at least once.

Firehose knows no keys, so a call whose reply was lost delivers its records twice (G2): a consumer drops what it has
seen by `event_id` and `change_id`, which are the same every time. Within one write an event goes out once, however
many equal rows there were. No row is ever refused here: what Firehose could not take, `records.limit` refused before.
"""

import zlib
from binascii import b2a_base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final, Protocol

import orjson

from importer.model import Clock, Event, Provenance, UserChange
from importer.sinks import NotStored, unhurried
from importer.sinks.calls import Calls, Left
from importer.sinks.quick import OK, Quick, Reply, Transport
from importer.sinks.records import EventLines, calls_of, change_line, packed

# Measured: zlib's level 1 takes 2.1 µs an event, level 6 4.9 µs for little more.
_GZIP_LEVEL: Final = 1
_ALL_TAKEN: Final = b'"FailedPutCount":0'  # in Firehose's reply; inside a text its quotes would have backslashes
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
        transport: the quick way of the same client.
        meanwhile: see `Calls`.
    """

    def __init__(
        self,
        client: FirehoseClient,
        stream: str,
        source: Provenance,
        clock: Clock,
        in_flight: int,
        gzip: bool,
        transport: Transport | None = None,
        meanwhile: Callable[[], None] = unhurried,
    ) -> None:
        self._client = client
        self._stream = stream
        self._source = source
        self._in_flight = in_flight
        self._gzip = gzip
        self._event_line = EventLines(source)
        name = f"the delivery stream {stream}"
        self._calls: Calls[list[bytes]] = Calls(clock, in_flight, name, "firehose", meanwhile=meanwhile)
        self._quick: Quick[list[bytes]] | None = None
        if transport is not None:
            operation = transport.operation("put_record_batch", DeliveryStreamName=stream, Records=[{"Data": b"x"}])
            self._quick = Quick(operation, self._text, _all_taken, _left_by_reply)
        self._text_begin = b'{"DeliveryStreamName":%b,"Records":[' % orjson.dumps(stream)

    def write(
        self, events: list[Event], user_changes: list[UserChange], breathe: Callable[[], None] = lambda: None
    ) -> NotStored:
        """See `Sink.write`. Writing the same again delivers it again; nothing is ever refused."""
        calls = calls_of(self._records(events, user_changes))
        while some := list(islice(calls, self._in_flight)):
            self._calls.run(some, self._put, breathe, self._quick)
        return {}

    def _records(self, events: list[Event], user_changes: list[UserChange]) -> Iterator[bytes]:
        if len({event.event_id for event in events}) < len(events):  # as in the events table: the last address
            events = list({(event.user_id, event.event_key): event for event in events}.values())
        records = packed(
            chain(
                (change_line(change, self._source) for change in user_changes),
                map(self._event_line, events),
            )
        )
        return (zlib.compress(record, _GZIP_LEVEL, _GZIP_FORMAT) for record in records) if self._gzip else records

    def _put(self, call: list[bytes]) -> Left[list[bytes]]:
        answer = self._client.put_record_batch(
            DeliveryStreamName=self._stream, Records=[{"Data": record} for record in call]
        )
        return _left_by(call, answer)

    def _text(self, call: list[bytes]) -> bytes:
        """The body of such a request, made when it is sent, and not kept."""
        pieces = [self._text_begin]
        for record in call:
            pieces += (b'{"Data":"', b2a_base64(record, newline=False), b'"},')
        pieces[-1] = b'"}]}'
        return b"".join(pieces)


def _all_taken(reply: Reply) -> bool:
    at = reply.body.find(_ALL_TAKEN)
    return reply.status == OK and at >= 0 and reply.body[at + len(_ALL_TAKEN) :][:1] in (b",", b"}")


def _left_by_reply(call: list[bytes], reply: Reply) -> Left[list[bytes]] | None:
    answer = reply.document
    is_whole = type(answer.get("FailedPutCount")) is int and isinstance(answer.get("RequestResponses"), list)
    return _left_by(call, answer) if is_whole and len(answer["RequestResponses"]) == len(call) else None


def _left_by(call: list[bytes], answer: Mapping[str, Any]) -> Left[list[bytes]]:
    """What a success left to do."""
    if not answer["FailedPutCount"]:
        return Left()
    # Answers come in the order of the records; only those with an error were not taken (G1).
    left = [record for record, said in zip(call, answer["RequestResponses"], strict=True) if said.get("ErrorCode")]
    return Left([left or call], put_off=True)
