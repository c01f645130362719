"""Expected files: a series that did not come at its usual rhythm, or came thin, is told of.

The executions are the history; each is read once, in the order of their creation, and what its file adds to its series
is written before the place up to which they were read moves on. A sweep that is killed, or meets another, reads some
again: each series knows up to which creation it has been told (I2). Executions are read when they are LAG_MS old, so
that the index has them; how many rows came is known of those that have ended by then, and of others how many bytes.

A file has come when it was dropped, whatever became of it: what was refused, or waits to be read, is told otherwise.
So what is late is looked for under `imports/` before it is said to be missing.

The work is bounded by time; where it was not enough, as in the first sweeps of a stack that is older than this, the
next goes on, and nothing is said to be missing until all was read.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Final, Protocol

from importer.aws.series import Broken
from importer.definitions import Definition
from importer.executions.ports import Workplace
from importer.executions.starting import definition_now
from importer.model import Execution, Fenced, Misconfigured, Phase, S3Object, Status, Unavailable
from importer.notification import IMPORTS_PREFIX, is_import
from importer.rhythm import Looked, State, Unusual, outlook, state_of
from importer.series import Arrival, Series, series_of, with_arrival

LAG_MS: Final = 10 * 60_000
HISTORY_MS: Final = 130 * 86_400_000  # read at first: five of what comes by the month
RESERVE_MS: Final = 30_000  # of a sweep's time
NAMED: Final = 100  # series that are looked for and told by name; the others are counted
_LISTED: Final = 10_000  # files looked through for one that waits
_NEVER_MS: Final = 9_999_999_999_999
_TRIES: Final = 3
_PACKED: Final = (".gz", ".zst")


class Books(Protocol):
    """Executions in their order, and what is remembered of series. Every method raises Unavailable."""

    def created(self, after_ms: int, before_ms: int) -> Iterator[list[Execution | Unavailable]]:
        """Executions created after one time and before another, some at a time, in order. A hint: may lag.

        Those of one millisecond are given together. In the place of one that cannot be read is why.
        """

    def read_through(self) -> int | None:
        """Up to which creation they were read; None before the first time."""

    def set_read_through(self, through_ms: int) -> None: ...

    def series(self, name: str) -> Series | None:
        """Raises Broken: somebody has changed it."""

    def write_series(self, series: Series, attention_ms: int | None) -> Series:
        """Write what is remembered, if nobody has since it was read; as it is then.

        Args:
            attention_ms: when it stops to be on time; None: it has no rhythm, and is not listed.
        Raises:
            Fenced: somebody has.
        """

    def listed_series(self, until_ms: int | None = None) -> Iterator[Series | Unavailable]:
        """Those with a rhythm; only those that stop to be on time until then. A hint: may lag.

        In the place of one that cannot be read is why.
        """


class Telemetry(Protocol):
    def looked(self, looked: Looked) -> None: ...

    def sweep_failed(self, what: str, trouble: Exception) -> None:
        """One execution or series could not be looked at; the sweep goes on with the next."""


def look_for_expected(place: Workplace, books: Books, telemetry: Telemetry) -> Looked:
    """Take into account what has come, and tell what has not.

    Raises:
        Unavailable: the imports table cannot be read or written.
    """
    complete = _read_on(place, books, telemetry)
    found: dict[State, list[Unusual]] = {State.LATE: [], State.THIN: []}
    counts = dict.fromkeys(found, 0)
    if complete:
        # As of the time up to which all was read: what came since may only not have been seen.
        as_of_ms = place.clock.now_ms() - LAG_MS
        for one in unusual(books, as_of_ms, lambda broken: telemetry.sweep_failed("a series", broken)):
            if place.remaining_ms() < RESERVE_MS:
                complete = False
                break
            if one.state is State.ENDED:
                _retire(books, one.name)
                continue
            named = found[one.state]
            if one.state is State.LATE and len(named) < NAMED and _waits(place, one):
                continue
            counts[one.state] += 1
            if len(named) < NAMED:
                named.append(one)
    late, thin = State.LATE, State.THIN
    looked = Looked(counts[late], counts[thin], tuple(found[late]), tuple(found[thin]), complete)
    telemetry.looked(looked)
    return looked


def unusual(
    books: Books, now_ms: int, broken: Callable[[Unavailable], None] = lambda _broken: None
) -> Iterator[Unusual]:
    """Series that are not on time now, or have ended: what is late, when it last came, its usual rhythm, since when it
    was due. For whoever explains an alarm, too.

    Args:
        broken: told of a series that cannot be read.
    """
    for series in books.listed_series(now_ms):
        if isinstance(series, Unavailable):
            broken(series)
            continue
        expected = outlook(series.deliveries)
        if expected is None or series.muted:
            continue
        state = state_of(expected, now_ms)
        if state is not State.ON_TIME:
            yield Unusual(series.name, state, series.deliveries[-1].last_ms, expected)


def attention_ms(series: Series) -> int | None:
    """When it is to be looked at; None if it has no rhythm."""
    expected = outlook(series.deliveries)
    if expected is None:
        return None
    return _NEVER_MS if series.muted else expected.attention_ms


# ---- What has come ---------------------------------------------------------------------------------------------------


def _read_on(place: Workplace, books: Books, telemetry: Telemetry) -> bool:
    """Whether all that is old enough has been read."""
    now_ms = place.clock.now_ms()
    through_ms = books.read_through()
    if through_ms is None:
        through_ms = now_ms - HISTORY_MS
    for some in books.created(through_ms, now_ms - LAG_MS):
        by_series: dict[str, list[Execution]] = {}
        for execution in some:
            if isinstance(execution, Unavailable):
                telemetry.sweep_failed("an execution", execution)
                continue
            through_ms = max(through_ms, execution.created_ms)
            try:
                name = series_name(execution, place.own_bucket)
            except Misconfigured as broken:
                telemetry.sweep_failed(execution.id, broken)
                continue
            if name:
                by_series.setdefault(name, []).append(execution)
        for name, executions in by_series.items():
            _add(books, name, executions, telemetry)
            if place.remaining_ms() < RESERVE_MS:
                return False
        books.set_read_through(through_ms)
    books.set_read_through(max(through_ms, now_ms - LAG_MS - 1))
    return True


def series_name(execution: Execution, own_bucket: str) -> str:
    """The series a file belongs to; "" if it has none, as what a person sends again has, replayed or mended.

    Raises:
        Misconfigured: its definition is of another version.
    """
    if execution.mends or execution.replayed is not None:
        return ""  # rows that have come before, from us and not from who sends
    definition = Definition.of(execution.definition)
    return _named(execution.source.bucket, execution.source.key, definition, own_bucket)


def _named(bucket: str, key: str, definition: Definition, own_bucket: str) -> str:
    pattern = definition.pattern if definition.has_in_series(key) else ""
    name = series_of(key, definition.id, pattern)
    return name if bucket == own_bucket or not name else f"s3://{bucket}/{name}"


def _add(books: Books, name: str, executions: list[Execution], telemetry: Telemetry) -> None:
    for _ in range(_TRIES):
        try:
            series = books.series(name) or Series(name)
        except Broken as broken:
            telemetry.sweep_failed(name, broken)
            return
        new = [execution for execution in executions if execution.created_ms > series.through_ms]
        if not new:
            return
        deliveries = series.deliveries
        for execution in new:
            deliveries = with_arrival(deliveries, _arrival(execution))
        through_ms = max(execution.created_ms for execution in new)
        after = replace(series, deliveries=deliveries, through_ms=through_ms)
        try:
            books.write_series(after, attention_ms(after))
        except Fenced:  # another sweep, or a person who mutes it: what is there now may have had these
            continue
        return
    raise Unavailable(f"series {name} changes while it is written: the next sweep goes on")


def _arrival(execution: Execution) -> Arrival:
    source = execution.source
    packed = source.key.lower().endswith(_PACKED)
    if execution.status in (Status.FAILED, Status.CANCELED):
        return Arrival(source.last_modified_ms, None, None)
    outcome = execution.outcome if execution.phase is Phase.CLOSED else None
    rows = None if outcome is None else outcome.sums.rows
    return Arrival(source.last_modified_ms, source.size_bytes, rows, packed)


# ---- What has not ----------------------------------------------------------------------------------------------------


def _retire(books: Books, name: str) -> None:
    """Nobody has to look at it again until something comes."""
    series = books.series(name)
    if series is None:
        return
    with suppress(Fenced):  # something has come meanwhile
        books.write_series(series, _NEVER_MS)


def _waits(place: Workplace, late: Unusual) -> bool:
    """Whether a newer file of the series lies in `imports/`, still to be read, as those of a recurring import may.

    Only the stack's own bucket is looked through.
    """
    if not place.own_bucket or late.name.startswith("s3://"):
        return False
    folder = late.name.partition("*")[0].rpartition("/")[0]
    prefix = f"{IMPORTS_PREFIX}{folder}/" if folder else IMPORTS_PREFIX
    definitions: dict[str, Definition | None] = {}  # each is read once

    def name_of(file: S3Object) -> str:
        if not is_import(file.key):
            return ""
        first = file.key.removeprefix(IMPORTS_PREFIX).partition("/")[0]
        if first not in definitions:
            try:
                definitions[first] = definition_now(place, file.key)
            except Misconfigured:  # whoever takes the file up is told so
                definitions[first] = None
        definition = definitions[first]
        return "" if definition is None else _named(file.bucket, file.key, definition, place.own_bucket)

    listed = islice(place.objects.versions(place.own_bucket, prefix), _LISTED)
    return any(file.last_modified_ms > late.last_ms and name_of(file) == late.name for file in listed)
