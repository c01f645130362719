"""The importer as the fault tests run it: one delivery at a time, on a fake cloud, with a small grid.

A grid of 1 KiB makes ten batches of a file that fits on a page; progress is written after every batch, so that each
order of effects a large file can meet is met by a small one.
"""

import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

from importer import assembly, batches, csv_rows, lines, parts
from importer.aws.settings import Settings
from importer.executions import import_dropped, plain_text
from importer.model import Execution
from importer.notification import Dropped, dropped_objects
from tests.support import oracle
from tests.support.books import assert_books_balance
from tests.support.clock import LambdaContext
from tests.support.cloud import Cloud
from tests.support.faults import Attempt, Fault, attempt

SMALL_GRID_BYTES = 1024
SMALL_LINE_BYTES = 2048
SMALL_HEAD_BYTES = 128  # looked at before reading: what lies further on is read by range
IMPORT_SECONDS = 900  # the function's time-out in template.yaml


class QuietTelemetry:
    """Keeps what operators would see."""

    def __init__(self) -> None:
        self.closings: list[tuple[str, str]] = []

    def delivered(self, dropped: Dropped, execution: Execution) -> None: ...

    def waited(self, execution: Execution, renewed: bool) -> None: ...

    def closed(self, execution: Execution) -> None:
        self.closings.append((execution.source.key, execution.status.value))


@dataclass
class Importer:
    """One installation of the importer over a fake cloud; each `deliver` is one invocation of its function."""

    cloud: Cloud
    telemetry: QuietTelemetry
    workplaces: Callable[..., Any]

    def with_sinks(self, sinks: tuple[str, ...]) -> "Importer":
        """The same installation, deployed anew with other sinks."""
        return _importer(self.cloud, 1, sinks, False)

    def deliver(self, notification: dict[str, Any]) -> list[Execution]:
        """What the Lambda function does with a notification."""
        context = LambdaContext(self.cloud.clock, IMPORT_SECONDS)
        place = self.workplaces(context.get_remaining_time_in_millis)
        return [execution for dropped in dropped_objects(notification) for execution in import_dropped(place, dropped)]

    def deliver_as_lambda_does(self, notification: dict[str, Any], *faults: Fault) -> list[Attempt]:
        """A delivery with faults; if it dies or raises, again after one and after two minutes (H1)."""
        tries = [attempt(self.cloud, lambda: self.deliver(notification), *faults)]
        for minutes in (1, 2):
            if not (tries[-1].killed or tries[-1].error):
                break
            self.cloud.clock.sleep(60 * minutes)
            tries.append(attempt(self.cloud, lambda: self.deliver(notification)))
        last = tries[-1]
        if last.error is not None:
            raise last.error
        return tries


@contextmanager
def installed(
    versioned: bool = True,
    in_flight: int = 1,
    sinks: tuple[str, ...] = ("dynamodb",),
    stream_gzip: bool = False,
    progress_every_ms: int = 0,
) -> Iterator[Importer]:
    """A fresh cloud with the importer installed, and an import definition `tables` for files of CSV."""
    with (
        Cloud(versioned=versioned, stream="firehose" in sinks, tables_are_written="dynamodb" in sinks) as cloud,
        mock.patch.object(parts, "GRID_BYTES", SMALL_GRID_BYTES),
        mock.patch.object(batches, "GRID_BYTES", SMALL_GRID_BYTES),
        mock.patch.object(lines, "MAX_LINE_BYTES", SMALL_LINE_BYTES),
        mock.patch.object(csv_rows, "MAX_LINE_BYTES", SMALL_LINE_BYTES),
        mock.patch.object(oracle, "LONGEST_LINE", SMALL_LINE_BYTES),
        mock.patch.object(plain_text, "HEAD_BYTES", SMALL_HEAD_BYTES),
    ):
        cloud.put_item(
            cloud.imports_table,
            {"pk": "IMPORT#tables", "sk": "IMPORT", "definition": {"id": "tables", "mime_type": "TEXT_CSV"}},
        )
        yield _importer(cloud, in_flight, sinks, stream_gzip, progress_every_ms)


def _importer(
    cloud: Cloud, in_flight: int, sinks: tuple[str, ...], stream_gzip: bool, progress_every_ms: int = 0
) -> Importer:
    settings = Settings(
        cloud.bucket,
        cloud.events_table,
        cloud.users_table,
        cloud.imports_table,
        sinks=sinks,
        delivery_stream=cloud.delivery_stream,
        stream_gzip=stream_gzip,
    )
    telemetry = QuietTelemetry()
    return Importer(cloud, telemetry, assembly.maker(settings, telemetry, cloud.clock, in_flight, progress_every_ms))


def survives(importer: Importer, notification: dict[str, Any], sources: dict[str, Any], *faults: Fault) -> None:
    """Whatever went wrong in the first delivery, its retries and one late duplicate leave balanced books."""
    importer.deliver_as_lambda_does(notification, *faults)
    assert_books_balance(importer.cloud, sources)
    importer.cloud.clock.sleep(3600)
    importer.deliver(notification)
    assert_books_balance(importer.cloud, sources)


# -- workloads -------------------------------------------------------------------------------------------------------


def row(number: int, **more: object) -> bytes:
    """A good row, different from every other number's."""
    extra = "".join(f',"{name}":{_json(value)}' for name, value in more.items())
    return b'{"user_id":"user-%d","event_time_ts":"2012-10-15 04:%02d:%02d","event_name":"login","ip":"","n":%d%s}' % (
        number % 5,
        number // 60 % 60,
        number % 60,
        number,
        extra.encode(),
    )


def _json(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


VENDOR_ROWS = (
    b'{"user_id": "PU4U","age":21, "event_time_ts":"2012-10-15 04:06:30", "event_name":"login","ip":""}\n'
    b'{"user_id": "PU4U","age":21, "event_timestamp":"2012-10-15 04:06:35", "event_name":"refresh","ip":""}\n'
    b'{"user_id": "PU4U","age":21, "event_time_ts":"2012-10-15 04:06:40", "event_name":"additem","ip":""}\n'
    b'{"user_id": "PU4U","age":21, "event_time_ts":"2012-10-15 04:06:45", "event_name":"payment","qty":"1"}\n'
)
_BAD = (
    b'{"user_id":"u"',
    b'{"user_id":7,"event_name":"a","event_time_ts":1425920218354}',
    b"[1]",
    b'{"a":\xff}',
    b"NaN",
)


def _medium(line_end: bytes) -> bytes:
    """30 rows in about eight cells: good, bad, blank, repeated, with user properties; the last has no line end."""
    lines = []
    for number in range(30):
        if number % 7 == 3:
            lines.append(_BAD[number // 7 % len(_BAD)])
        elif number % 11 == 5:
            lines.append(b"")
        elif number % 5 == 0:
            lines.append(row(number, **{"{u}city": f"city-{number}", "filler": "x" * 150}))
        else:
            lines.append(row(number - 1 if number % 13 == 12 else number, filler="y" * 120))
    return line_end.join(lines)


def _long(line_end: bytes) -> bytes:
    """Two lines over the limit among others, one of them the last and without a line end."""
    long = row(7, filler="z" * 5000)
    return line_end.join([row(1), long, row(2), b"not json", row(3, filler="y" * 900), long[:-1], row(4), long])


def _table(line_end: bytes) -> bytes:
    """A CSV: fields with line breaks, rows of another width, a mark never closed, a blank line, a line too long."""
    rows = [b"user_id,event_name,event_time_ts,n,note,{u}city"]
    for number in range(24):
        note = [b"", b"plain", b'"two\nlines ""quoted"""', b'"never closed', b'in"side', b"x" * 120][number % 6]
        time = b"2012-10-15 04:06:%02d" % number if number != 13 else b"yesterday"
        city = b"city-%d" % number if number % 4 == 0 else b""
        more = b",one too many" if number == 10 else b""
        rows.append(b"user-%d,login,%s,%d,%s,%s%s" % (number % 5, time, number, note, city, more))
        if number == 7:
            rows += [b"", b"u,login,2012-10-15 04:06:30,1," + b"w" * 3000 + b","]
    return line_end.join(rows) + line_end


WORKLOADS: dict[str, tuple[str, bytes]] = {
    "vendor's sample": ("imports/logins.json", VENDOR_ROWS),
    "medium": ("imports/medium.ndjson", _medium(b"\n")),
    "CRLF": ("imports/sub folder/crlf.json", _medium(b"\r\n")),
    "gzip of two members": (
        "imports/two.json.gz",
        gzip.compress(_medium(b"\n")[:2000], mtime=0) + gzip.compress(_medium(b"\n")[2000:], mtime=0),
    ),
    "empty": ("imports/empty.json", b""),
    "long lines": ("imports/long.json", _long(b"\n")),
    "long lines, gzip": ("imports/long_crlf.json.gz", gzip.compress(_long(b"\r\n"), mtime=0)),
    "CSV": ("imports/tables/people.csv", _table(b"\n")),
    "CSV, gzip": ("imports/tables/people.csv.gz", gzip.compress(_table(b"\r\n"), mtime=0)),
    "all bad": ("imports/bad.json", b"\n".join(_BAD * 30)),
}
