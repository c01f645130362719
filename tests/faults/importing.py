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

from importer import assembly, batches, parts
from importer.aws.settings import Settings
from importer.executions import import_dropped
from importer.model import Execution
from importer.notification import Dropped, dropped_objects
from tests.support.books import assert_books_balance
from tests.support.clock import LambdaContext
from tests.support.cloud import Cloud
from tests.support.faults import Attempt, Fault, attempt

SMALL_GRID_BYTES = 1024
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
def installed(versioned: bool = True, in_flight: int = 1) -> Iterator[Importer]:
    """A fresh cloud with the importer installed."""
    with (
        Cloud(versioned=versioned) as cloud,
        mock.patch.object(parts, "GRID_BYTES", SMALL_GRID_BYTES),
        mock.patch.object(batches, "GRID_BYTES", SMALL_GRID_BYTES),
    ):
        settings = Settings(
            cloud.bucket, cloud.events_table, cloud.users_table, cloud.imports_table, sinks=("dynamodb",)
        )
        telemetry = QuietTelemetry()
        yield Importer(cloud, telemetry, assembly.maker(settings, telemetry, cloud.clock, in_flight, 0))


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


WORKLOADS: dict[str, tuple[str, bytes]] = {
    "vendor's sample": ("imports/logins.json", VENDOR_ROWS),
    "medium": ("imports/medium.ndjson", _medium(b"\n")),
    "CRLF": ("imports/sub folder/crlf.json", _medium(b"\r\n")),
    "gzip of two members": (
        "imports/two.json.gz",
        gzip.compress(_medium(b"\n")[:2000], mtime=0) + gzip.compress(_medium(b"\n")[2000:], mtime=0),
    ),
    "empty": ("imports/empty.json", b""),
    "all bad": ("imports/bad.json", b"\n".join(_BAD * 30)),
}
