"""`importer user` and `importer segment`: what is known of a person, and who is in a segment."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Final

import click
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from cli import show
from cli.connection import Connection, connected, explained
from cli.verbs import DONE, Differs, json_option, stack_option
from importer import fields
from importer.aws.clock import SystemClock
from importer.aws.people import StoredPeople
from importer.bad_rows import Reject
from importer.bad_rows import shown as shown_text
from importer.definitions import LATEST_TIME_MS
from importer.model import Row, Value
from importer.sinks.items import RECORD_BYTES, USER_ID_BYTES
from importer.users import (
    DEVICE,
    MOST_IDENTIFIERS,
    SCOPE,
    SEGMENT,
    Origins,
    Person,
    Record,
    Span,
    StoredEvent,
    newest_first,
    person,
)

SHOWN: Final = 20  # events, and members
DEEPEST: Final = 12  # levels of properties that are shown below one another; what is inside them stands in one line
VALUE_COLUMNS: Final = 40
FIRST_PAGES: Final = 1_000  # events read at first, of all identifiers together
_KEY: Final = re.compile(r"\d{13}#[^#]+", re.ASCII)


class Moment(click.ParamType[int]):
    """A time as rows may have it: ISO 8601, UTC without a zone, or milliseconds."""

    name = "time"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return fields.time_ms(value, "", (0, LATEST_TIME_MS))
        except Reject as reject:
            self.fail(". ".join(filter(None, (f"{value}: {reject.message}", reject.hint))), param, ctx)


class EventKey(click.ParamType[str]):
    """The sort key of an event, as an earlier page ended with it."""

    name = "event_key"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not _KEY.fullmatch(value):
            self.fail(f"{value}: expected the time of an event as 13 digits, # and its id", param, ctx)
        return value


@dataclass(frozen=True)
class _Found:
    """What is shown of somebody."""

    connection: Connection
    user_id: str
    alone: bool
    span: Span
    person: Person
    events: list[StoredEvent]
    has_more: bool

    @cached_property
    def files(self) -> "_Files":
        return _Files(self.connection)


class _Files:
    """Names of imported files by the ids of their executions; each is looked up once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._keys: dict[str, str] = {}

    def key(self, execution_id: str) -> str:
        """Key of the file; "" if its execution is not known any more."""
        if execution_id not in self._keys:
            with explained(self._connection.name):
                execution = self._connection.imports.execution(execution_id) if execution_id else None
            self._keys[execution_id] = "" if execution is None else execution.source.key
        return self._keys[execution_id]

    def told(self, execution_id: str) -> str:
        """The file's name, or else the execution."""
        return _file(self.key(execution_id) or execution_id)


# ---- user ----------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("user_id", metavar="ID")
@click.option("--limit", default=SHOWN, show_default=True, type=click.IntRange(0), help="Events to show.")
@click.option("--since", "since_ms", metavar="TIME", type=Moment(), help="Only events of this time or later.")
@click.option("--until", "until_ms", metavar="TIME", type=Moment(), help="Only events before this time.")
@click.option("--before", metavar="EVENT_KEY", type=EventKey(), help="Go on behind this event, to older ones.")
@click.option("--no-links", "alone", is_flag=True, help="Only this identifier, not those linked with it.")
@click.option("--origins", is_flag=True, help="Also say which file set each property, at which byte.")
@stack_option
@json_option
@click.pass_context
def user(
    ctx: click.Context,
    user_id: str,
    limit: int,
    since_ms: int | None,
    until_ms: int | None,
    before: str | None,
    alone: bool,
    origins: bool,
    stack_name: str | None,
    as_json: bool,
) -> None:
    """Show what is known of a person: identifiers, properties, segments, consents, and the last events.

    ID is any identifier of the person, as it was sent. All that are linked with it are read together. TIME is as in
    2026-11-21 or 2026-11-21T08:00:00Z, or milliseconds. Exit code 1: nothing is known of ID.

    \b
    Examples:
      importer user ada@example.com
      importer user u-1 --limit 100 --since 2026-11-01
      importer user u-1 --no-links --origins
      importer user u-1 --json --stack s3-event-importer | jq .properties
    """
    _check(user_id, "ID")
    connection = connected(stack_name)
    span = Span(since_ms or 0, LATEST_TIME_MS + 1 if until_ms is None else until_ms, before or "")
    found = _found(connection, user_id, span, limit, alone, as_json)
    if not found.person.is_known and not found.events:
        when = " in that time" if span != Span() else ""
        raise Differs(f"nothing is known of {user_id}{when} in {connection.name}: ids must be given as they were sent")
    if as_json:
        click.echo(show.to_json(_document(found, limit, origins)))
    else:
        _page(show.console(), found, limit, origins)
    ctx.exit(DONE)


def _found(connection: Connection, user_id: str, span: Span, limit: int, alone: bool, quiet: bool) -> _Found:
    if len(user_id.encode()) > USER_ID_BYTES:
        return _Found(connection, user_id, alone, span, person(user_id, lambda ids: {}, 0, 1), [], False)
    people = _people(connection)
    with explained(connection.name), show.Counting("identifiers read", quiet) as counting:
        count = 0

        def records_of(user_ids: Sequence[str]) -> Mapping[str, list[Record]]:
            nonlocal count
            count += len(user_ids)
            counting.at(count)
            return people.records(user_ids)

        somebody = person(user_id, records_of, SystemClock().now_ms(), 1 if alone else MOST_IDENTIFIERS)
        # One more than is shown says whether there are more; even of none it is asked whether there are any.
        page = min(limit + 1, max(2, FIRST_PAGES // len(somebody.identifiers)))
        events = list(islice(newest_first(people.events(somebody.identifiers, span, page)), limit + 1))
    return _Found(connection, user_id, alone, span, somebody, events, len(events) > limit)


def _document(found: _Found, limit: int, origins: bool) -> dict[str, object]:
    """For `--json`."""
    somebody = found.person
    shown = found.events[:limit]
    said: dict[str, object] = {
        "user_id": found.user_id,
        "identifiers": somebody.identifiers,
        "more_identifiers": somebody.is_cut,
        "links": [{"identifiers": [link.one, link.other], **_origin(link.record)} for link in somebody.links],
        "erased": [{"value": record.value, **_origin(record)} for record in somebody.erasures.values()],
        "properties": somebody.properties,
        "segments": [_membership(name, record) for name, record in somebody.segments.items()],
        "consents": somebody.consents,
        "events": [_event(found.files, stored) for stored in shown],
        "next_before": shown[-1].event.event_key if shown and found.has_more else None,
    }
    if origins:
        said["property_origins"] = _origins(somebody.property_origins)
        said["consent_origins"] = _origins(somebody.consent_origins)
    return said


def _origins(origins: Origins) -> list[dict[str, object]]:
    return [{"path": path, **_origin(record)} for path, record in sorted(origins.items())]


def _origin(record: Record) -> dict[str, Value]:
    return {
        "user_id": record.user_id,
        "time_ms": record.time_ms,
        "execution_id": record.execution_id,
        "file": record.key,
        "address": record.address,
    }


def _membership(segment_id: str, record: Record) -> dict[str, Value]:
    return {"segment": segment_id, "expires_ms": record.expires_ms, "value": record.value, **_origin(record)}


def _event(files: _Files, stored: StoredEvent) -> dict[str, Value]:
    event = stored.event
    said: dict[str, Value] = {
        "event_key": event.event_key,
        "event_id": event.event_id,
        "event_name": event.event_name,
        "event_time_ts": event.event_time_ts,
        "user_id": event.user_id,
        "properties": event.properties,
        "format": event.format,
        "import_id": stored.import_id,
        "execution_id": stored.execution_id,
        "address": event.address,
        "file": files.key(stored.execution_id) or None,
    }
    optional: Row = {
        "session_properties": event.session_properties,
        "identifiers": event.identifiers,
        "expires_ms": event.expires_ms,
    }
    return said | {name: value for name, value in optional.items() if value is not None}


# ---- segment -------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("segment_id", metavar="ID")
@click.option("--limit", default=SHOWN, show_default=True, type=click.IntRange(0), help="Members to show.")
@click.option("--all", "show_all", is_flag=True, help="Show every member.")
@stack_option
@json_option
@click.pass_context
def segment(
    ctx: click.Context, segment_id: str, limit: int, show_all: bool, stack_name: str | None, as_json: bool
) -> None:
    """Show who is in a segment, until when, and how many that are.

    All members are counted, also those not shown: that reads the segment's whole index. Members are identifiers as they
    were sent: of linked ones each counts, and what a record of another identifier says is not looked at.

    \b
    Examples:
      importer segment 4711
      importer segment vip --limit 100 --stack s3-event-importer
      importer segment vip --all --json | jq -r '.members[].user_id'
    """
    _check(segment_id, "ID")
    connection = connected(stack_name)
    shown: list[Record] = []
    count = 0
    with explained(connection.name), show.Counting("members read", as_json) as counting:
        for count, member in enumerate(_members(connection, segment_id), 1):
            if show_all or count <= limit:
                shown.append(member)
            counting.at(count)
    if as_json:
        members = [
            {"user_id": one.user_id, "time_ms": one.time_ms, "expires_ms": one.expires_ms, "value": one.value}
            for one in shown
        ]
        click.echo(show.to_json({"segment": segment_id, "count": count, "members": members}))
    else:
        _segment_page(show.console(), connection, segment_id, shown, count)
    ctx.exit(DONE)


def _members(connection: Connection, segment_id: str) -> Iterator[Record]:
    if len(f"{SEGMENT}{segment_id}".encode()) > RECORD_BYTES:
        return iter(())
    return _people(connection).members(segment_id)


def _segment_page(out: Console, connection: Connection, segment_id: str, shown: list[Record], count: int) -> None:
    name = show.shown_whole(segment_id)
    if not count:
        show.paragraph(out, f"Nobody is in segment {name} in {connection.name}, or there is none.", indent=0)
        return
    out.print(Text(f"Segment {name}", style="bold").append(f"  {show.many(count, 'identifier')}", style="dim"))
    rows = [
        [
            show.shown_whole(one.user_id),
            show.utc(one.time_ms),
            _until(one),
            "" if one.value is None else _value(one.value),
        ]
        for one in shown
    ]
    if rows:
        has_values = any(row[3] for row in rows)
        head = ("user", "since", "expires", "value")[: 4 if has_values else 3]
        show.put_lines(out, head, [row[: len(head)] for row in rows], ())
    if count > len(shown):
        show.paragraph(out, f"{count - len(shown):,} more: --limit N or --all shows them.")


# ---- For people ----------------------------------------------------------------------------------------------------


def _page(out: Console, found: _Found, limit: int, origins: bool) -> None:
    somebody = found.person
    out.print(Text(show.shown_whole(found.user_id), style="bold"), soft_wrap=True)
    for user_id, record in somebody.erasures.items():
        whom = "" if len(somebody.identifiers) == 1 else f" {show.shown_whole(user_id)},"
        alone = isinstance(record.value, dict) and record.value.get(SCOPE) == DEVICE
        scope = " this identifier alone," if alone else ""
        told = f"{show.utc(record.time_ms)},{scope}{whom} by {_place(record)}"
        show.label(out, "erased", Text(told, style="yellow"))
    if somebody.erasures:
        is_empty = not (somebody.properties or somebody.segments or somebody.consents or found.events)
        came = "nothing has come since" if is_empty else "what follows came later"
        show.paragraph(out, f"All that was uploaded before is gone; {came}.")
    if not found.alone:
        _identifiers(out, somebody)
    if somebody.properties:
        show.heading(out, "Properties")
        _values(out, somebody.properties, somebody.property_origins, origins)
    if somebody.segments:
        show.heading(out, f"Segments ({len(somebody.segments):,})")
        rows = [
            [show.shown_whole(name), show.utc(one.time_ms), _until(one), "" if one.value is None else _value(one.value)]
            for name, one in somebody.segments.items()
        ]
        show.put_lines(out, ("segment", "since", "expires", "value"), rows, ())
    if somebody.consents:
        show.heading(out, "Consents")
        _values(out, somebody.consents, somebody.consent_origins, origins)
    _events(out, found, found.events[:limit])


def _identifiers(out: Console, somebody: Person) -> None:
    if len(somebody.identifiers) > 1:
        show.heading(out, f"Identifiers ({len(somebody.identifiers):,}, linked: one person)")
        place = {user_id: at for at, user_id in enumerate(somebody.identifiers)}
        nearest: dict[str, tuple[str, Record]] = {}  # identifier → the nearest it is linked with, and by which record
        for link in sorted(somebody.links, key=lambda link: min(place[link.one], place[link.other])):
            near, far = sorted((link.one, link.other), key=lambda user_id: place[user_id])
            nearest.setdefault(far, (near, link.record))
        rows = [[show.shown_whole(somebody.identifiers[0]), "", ""]]
        for user_id in somebody.identifiers[1:]:
            near, record = nearest[user_id]
            rows.append([show.shown_whole(user_id), show.shown_whole(near), show.utc(record.time_ms)])
        show.put_lines(out, ("identifier", "linked with", "since"), rows, ())
    if somebody.is_cut:
        text = f"The search ended after {MOST_IDENTIFIERS:,} identifiers: there may be more."
        show.paragraph(out, text, "yellow")


def _values(out: Console, values: Row, origins: Origins, with_files: bool) -> None:
    """Values below one another, members indented; since when each holds and, asked for, the file it is from."""
    rows: list[list[str]] = []
    todo: list[tuple[tuple[str, ...], Value, Record | None]] = [((), values, None)]
    while todo:
        path, value, record = todo.pop()
        record = origins.get(path, record)
        opened = isinstance(value, dict) and bool(value) and len(path) < DEEPEST
        if path:
            name = "  " * (len(path) - 1) + show.shown_whole(path[-1])
            told = not opened and record is not None
            rows.append(
                [
                    name,
                    "" if opened else _value(value),
                    show.utc(record.time_ms) if told and record else "",
                    _place(record) if told and record else "",
                ]
            )
        if opened and isinstance(value, dict):
            todo += [((*path, name), value[name], record) for name in sorted(value, reverse=True)]
    head = ("name", "value", "since", "from")[: 4 if with_files else 3]
    show.put_lines(out, head, [row[: len(head)] for row in rows], ())


def _place(record: Record) -> str:
    return f"{_file(record.key)}, byte {record.address:,}"


def _file(key: str) -> str:
    """A file's name below imports/."""
    return show.shown_whole(key.removeprefix("imports/"))


def _value(value: Value) -> str:
    return show.said(value, VALUE_COLUMNS)


def _until(record: Record) -> str:
    return "never" if record.expires_ms is None else show.utc(record.expires_ms)


def _events(out: Console, found: _Found, shown: list[StoredEvent]) -> None:
    if not shown:
        if not found.events:
            out.print()
            show.paragraph(out, f"No events{'' if found.span == Span() else ' in that time'}.", indent=0)
        return
    show.heading(out, f"Last events ({len(shown):,}{' of more' if found.has_more else ''})")
    several = len(found.person.identifiers) > 1
    head = ["time", "event"] + ["identifier"] * several + ["from", "properties"]
    rows: list[list[str | Text]] = [
        [
            show.utc(stored.event.event_time_ts),
            shown_text(stored.event.event_name),
            *([show.shown_whole(stored.event.user_id)] if several else []),
            found.files.told(stored.execution_id),
        ]
        for stored in shown
    ]
    taken = sum(max(cell_len(str(cell)) for cell in column) + 2 for column in zip(head[:-1], *rows, strict=True))
    for row, stored in zip(rows, shown, strict=True):
        row.append(show.members(stored.event.properties, max(out.width - taken - 2, VALUE_COLUMNS)))
    show.put_lines(out, head, rows, ())
    if found.has_more:
        command = f"importer user {shlex.quote(found.user_id)}{_again(found, len(shown))}{found.connection.command}"
        command += f" --before '{shown[-1].event.event_key}'"
        out.print(Text(f"  older ones: {show.shown_whole(command)}", style="dim"), soft_wrap=True)


def _again(found: _Found, limit: int) -> str:
    """The options that chose these events."""
    since = f" --since {found.span.since_ms}" if found.span.since_ms else ""
    return f"{' --no-links' if found.alone else ''}{since}{f' --limit {limit}' if limit != SHOWN else ''}"


def _check(name: str, metavar: str) -> None:
    """Of what no item can be called, DynamoDB would only say that the call is invalid."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise click.UsageError(f"{metavar} is not UTF-8") from None
    if not name:
        raise click.UsageError(f"{metavar} is empty")


def _people(connection: Connection) -> StoredPeople:
    stack = connection.stack
    return StoredPeople(connection.dynamodb, stack.events_table, stack.users_table, SystemClock())
