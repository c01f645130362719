"""What importing a file would cost (pure): the batches a preview reads, written nowhere but on a bill.

Rule: items and records are made by the very functions the sinks use, batch by batch, so units of what was read are
those an import pays when nothing has to be tried again. What was not read is taken to be like what was. Requests of a
file as such were counted once; the time of the functions is a stated rate times the rows. Not forecast: an old item
that is larger than the new one, the second reading of a file that is stored as a whole, and erasures.
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from math import ceil
from typing import Final, cast

from importer.batches import Batch
from importer.costs import bill, index_units, last_steps, stream_billed_bytes, write_units
from importer.model import USAGE, Event, Provenance, Usage, UserChange, Value, rank
from importer.parts import part_bytes_of
from importer.sinks.items import event_item, record_item
from importer.sinks.records import EventLines, calls_of, change_line, packed

MEMORY_MB: Final = 1_024  # MemorySize in template.yaml
# A worker mostly waits for what it writes to, and its time is billed all the same. Quota: a new on-demand table takes
# 4,000 write units a second, a stream 5 MiB (some 500 bytes a line) in the largest regions. A table that is warm, or a
# quota that was raised, makes less of it; several workers at one limit, more.
ROW_US: Final = 250
CHANGE_US: Final = 250
STREAM_US: Final = 100
CALL_ITEMS: Final = 25
# Measured: docs/cold-start.md, half a second of CPU on a core, of which 1,024 MB get 0.58; and some forty requests.
FILE_S: Final = 2
GZIP_BYTES: Final = 8 << 20  # of lines are compressed, to see what that changes
_GZIP_FORMAT: Final = 16 + zlib.MAX_WBITS

# Measured: requests of a small file up to its outcome, in tests/faults; ledger units as real items have them, counted
# from the code: an execution is some 3 KB, and as much again in the index by_time, written four times.
FILE: Final = Usage(ledger_write_units=30, read_units=20, s3_reads=8, lambda_requests=1, table_requests=18)
PART: Final = Usage(ledger_write_units=8, read_units=6, s3_reads=2, sqs_requests=3, lambda_requests=1, table_requests=8)


@dataclass(frozen=True, slots=True)
class Forecast:
    """What importing a file would take.

    Attributes:
        share: of the file that was read, 0 to 1.
        stream_bytes: what Firehose would bill, by how records are made: one_event_a_record, packed, packed_gzip.
            Empty where there is no stream.
        seconds: from the drop to the end, written at the pace of one new table. Several workers do not make that
            quicker; a table that has grown does.
    """

    usage: Usage
    share: Fraction
    stream_bytes: dict[str, int]
    seconds: int = 0

    def document(self) -> dict[str, Value]:
        """`cost` of `preview/1`."""
        return {
            **bill(self.usage),
            "share_read": float(self.share),
            "assumes": {"memory_mb": MEMORY_MB, "us_a_row": ROW_US, "us_a_user_change": CHANGE_US},
            "stream_billed_bytes": cast("Value", dict(self.stream_bytes)),
            "seconds": self.seconds,
        }


class Forecaster:
    """Adds up what batches would cost.

    Args:
        sinks: names of the destinations.
        source: of the rows; what of it nobody knows yet takes as much room as it will.
        size_bytes: of the file, as stored.
        part_bytes: what large files are cut by.
        writes_per_second: items one worker may write; 0 is no limit.
    """

    def __init__(
        self,
        sinks: tuple[str, ...],
        source: Provenance,
        size_bytes: int,
        part_bytes: int,
        writes_per_second: float = 0,
    ) -> None:
        self._sinks = sinks
        self._source = source
        self._event_line = EventLines(source)
        self.size_bytes = size_bytes
        self._part_bytes = part_bytes
        self._rows = Usage()
        self._bad = 0
        self._us = 0
        self._items = 0  # of both tables
        self._writes_per_second = writes_per_second
        self._single_bytes = self._lines_bytes = self._gzip_bytes = self._gzip_of_bytes = 0

    def reads(self, format_name: str, whole: bool) -> None:
        """The file's dialect, which each item names; and whether it is one part, however large."""
        self._source = replace(self._source, format=format_name)
        if whole:
            self._part_bytes = self.size_bytes

    def add(self, batch: Batch) -> None:
        """What writing a batch takes, with its progress and its segment of bad rows."""
        events = {(event.user_id, event.event_key): event for event in batch.events}  # within one write an event is one
        changes = _folded(batch.user_changes, self._source)
        self._bad += len(batch.bad_rows)
        usage = Usage(s3_writes=bool(batch.bad_rows))
        if "dynamodb" in self._sinks:
            usage = usage.plus(self._in_tables(list(events.values()), changes))
            self._us += len(events) * ROW_US + len(changes) * CHANGE_US
            self._items += len(events) + len(changes)
        if "firehose" in self._sinks:
            usage = usage.plus(self._on_stream(list(events.values()), batch.user_changes))
            self._us += (len(events) + len(batch.user_changes)) * STREAM_US
        self._rows = self._rows.plus(usage)

    def forecast(self, share: Fraction | int) -> Forecast:
        """For the whole file, of which `share` was added."""
        rows = self._rows.plus(Usage(lambda_mb_ms=self._us * MEMORY_MB // 1_000))
        whole = Usage(**{name: ceil(getattr(rows, name) / share) for name in USAGE}) if share else rows
        part_bytes = part_bytes_of(self.size_bytes, self._part_bytes)
        parts = -(-self.size_bytes // part_bytes) if part_bytes else 1
        usage = whole.plus(FILE).plus(last_steps(bool(self._bad), self.size_bytes))
        if parts > 1:
            usage = usage.plus(Usage(**{name: getattr(PART, name) * parts for name in USAGE}))
        return Forecast(usage, Fraction(share), self._stream_bytes(Fraction(share)), self._seconds(share, parts))

    def _seconds(self, share: Fraction | int, workers: int) -> int:
        """WritesPerSecond is each worker's share of what all may write; how many are at it, their number of parts says
        at most."""
        seconds = Fraction(self._us, 1_000_000)
        if self._writes_per_second:
            seconds = max(seconds, Fraction(self._items) / Fraction(self._writes_per_second * workers))
        return FILE_S + ceil(seconds / share if share else seconds)

    def _in_tables(self, events: list[Event], changes: list[UserChange]) -> Usage:
        if not events and not changes:
            return Usage()
        records = [record_item(change, rank(change, self._source), self._source) for change in changes]
        return Usage(
            event_write_units=sum(write_units(event_item(event, self._source)) for event in events),
            user_write_units=sum(write_units(record) + index_units(record) for record in records),
            read_units=2,  # the mark of erasures, before and after
            table_requests=-(-len(events) // CALL_ITEMS) + len(records) + 2,
        )

    def _on_stream(self, events: list[Event], changes: list[UserChange]) -> Usage:
        def lines() -> Iterator[bytes]:
            made = chain(
                (change_line(change, self._source) for change in changes),
                map(self._event_line, events),
            )
            for line in made:
                self._single_bytes += stream_billed_bytes(len(line))
                yield line

        records = list(packed(lines()))
        for record in records:
            self._lines_bytes += len(record)
            if self._gzip_of_bytes < GZIP_BYTES:
                self._gzip_of_bytes += len(record)
                self._gzip_bytes += stream_billed_bytes(len(zlib.compress(record, 1, _GZIP_FORMAT)))
        return Usage(
            stream_records=len(records),
            stream_billed_bytes=sum(stream_billed_bytes(len(record)) for record in records),
            stream_requests=sum(1 for _ in calls_of(records)),
        )

    def _stream_bytes(self, share: Fraction) -> dict[str, int]:
        if not self._lines_bytes or not share:
            return {}
        compressed = Fraction(self._gzip_bytes * self._lines_bytes, self._gzip_of_bytes)
        return {
            "one_event_a_record": ceil(self._single_bytes / share),
            "packed": ceil(self._rows.stream_billed_bytes / share),
            "packed_gzip": ceil(compressed / share),
        }


def _folded(changes: list[UserChange], source: Provenance) -> list[UserChange]:
    """Those a write makes: of each record the one that wins."""
    folded: dict[tuple[str, str], UserChange] = {}
    for change in changes:
        key = (change.user_id, change.record)
        before = folded.get(key)
        if before is None or rank(before, source) < rank(change, source):
            folded[key] = change
    return list(folded.values())
