"""`importer why`: where a row went, or which row an item came from, told to a person."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.text import Text

from cli import lookup, show
from cli.connection import Connection, connected, explained
from cli.recount import books
from cli.replaying import Choice, Day
from cli.verbs import DIFFERS, DONE, Differs, json_option, stack_option, version_option
from importer.bad_rows import ObjectProblem, row_text
from importer.definitions import DEFAULT
from importer.ledger import Books
from importer.ledger.ports import Key
from importer.ledger.row_places import Asked, FoundRow
from importer.ledger.why import Stored, Verdict, Why, WhyItem, row_bytes, rows_giving, why_item, why_row
from importer.model import Execution, LongLine, Value
from importer.words import utc

SHOWN_BYTES: Final = 4_000  # of a row; --raw writes all
MOST_SHOWN: Final = 20
MOST_FOUND: Final = 10
_ROW: Final = re.compile(r"(?P<name>.+)(?:#L(?P<line>\d{1,18})|@(?P<offset>\d{1,18}))", re.DOTALL)
_FILE: Final = re.compile(
    r"(?:s3://|imports/|completed_imports/|errors/|receipts/).+|[0-9a-f]{32}|.+\.(?:json|ndjson|jsonl|csv)(?:\.(?:gz|zst))?",
    re.IGNORECASE | re.DOTALL,
)
_EVENT_KEY: Final = re.compile(r"\d{13}#.+", re.DOTALL)
_RECORD: Final = re.compile(r"(?:prop|segment|consent|link)#.*|erased", re.DOTALL)
_STYLE: Final = {Verdict.STORED: "bold green", Verdict.BAD: "bold yellow"}


# ---- What is asked ---------------------------------------------------------------------------------------------------


def row_asked(text: str) -> tuple[str, Asked] | None:
    """(name of a file or execution, line or byte) in `KEY#L123` or `KEY@4567`; None if it is neither."""
    found = _ROW.fullmatch(text)
    if found is None:
        return None
    if found["line"] is not None:
        return found["name"], Asked(line=int(found["line"]))
    return found["name"], Asked(offset=int(found["offset"]))


def items_asked(text: str) -> tuple[str, list[Key]] | None:
    """(table, keys that may be meant) in `USER/EVENT_KEY` or `USER/RECORD`; a user's id may hold slashes, and what
    looks like a key. None if it is neither."""
    for table, key in (("events", _EVENT_KEY), ("users", _RECORD)):
        keys = [
            (text[:at], text[at + 1 :])
            for at in range(len(text) - 1, 0, -1)
            if text[at] == "/" and key.fullmatch(text[at + 1 :])
        ]
        if keys:
            return table, keys
    return None


@click.command("why")
@click.argument("what", metavar="KEY#L123|KEY@BYTE|USER/EVENT_KEY")
@click.option("--raw", is_flag=True, help="Write the row's bytes to stdout as they are, and nothing else.")
@click.option("--search", is_flag=True, help="Of an item: read the files again for rows that give it.")
@click.option("--from", "from_ms", metavar="DAY", type=Day(), help="With --search: files dropped on this day or later.")
@click.option("--to", "to_ms", metavar="DAY", type=Day(), help="With --search: files dropped on this day or before.")
@click.option("--prefix", metavar="PATH", help="With --search: files below this path of imports/.")
@version_option
@stack_option
@json_option
@click.pass_context
def why(
    ctx: click.Context,
    what: str,
    raw: bool,
    search: bool,
    from_ms: int | None,
    to_ms: int | None,
    prefix: str | None,
    version_id: str | None,
    stack_name: str | None,
    as_json: bool,
) -> None:
    """Say where a row went, by which rule, in which execution; or which row an item came from.

    KEY is where the file was dropped, any object its import wrote, or an execution's id; L123 is a line of the file
    that was dropped, counted from 1, and @4567 a byte of it, counted from 0 (of what it unpacks to, where it is
    compressed). USER/EVENT_KEY is an item of the events table, USER/RECORD one of the users table (prop#city).

    \b
    Examples:
      importer why imports/logins.json#L3
      importer why completed_imports/2026/11/21/logins.json@4711
      importer why 8c2f…#L120 --raw > row.json
      importer why 'ada@example.com/1350274990000#0a1b…'
      importer why 'ada@example.com/prop#city' --search --from 2026-11-01
    """
    row, items = row_asked(what), items_asked(what)
    is_file = row is not None and (items is None or _FILE.fullmatch(row[0]) is not None)
    if (row is None and items is None) or (row is not None and row[1].line == 0):
        raise click.UsageError(
            "name a row as KEY#L123 (lines count from 1) or KEY@4567, or an item as USER/EVENT_KEY or USER/RECORD"
        )
    if not search and (from_ms is not None or to_ms is not None or prefix is not None):
        raise click.UsageError("--from, --to and --prefix narrow --search: give that too")
    if search and is_file:
        raise click.UsageError("--search is for an item: a row is where it is")
    connection = connected(stack_name)
    ledger = books(connection)
    if is_file and row is not None:
        name, asked = row
        execution = lookup.execution_of(connection, name, version_id)
        with show.Bars(as_json or raw) as bars, explained(connection.name):
            found = why_row(ledger, execution, asked, _moved(bars, execution))
        _tell_row(ctx, connection, ledger, found, raw, as_json)
    if items is None:
        raise AssertionError(what)
    if version_id is not None:
        raise click.UsageError("--version-id is for a row of a file")
    table, keys = items
    with show.Counting("bytes read", as_json or raw) as counting, explained(connection.name):
        item = why_item(ledger, table, keys, counting.at)
    choice = Choice((), from_ms, to_ms, prefix, None)
    searched = list(_searched(connection, ledger, choice, table, keys, as_json or raw)) if search else []
    _tell_item(ctx, connection, ledger, item, searched if search else None, raw, as_json)


def _moved(bars: show.Bars, execution: Execution) -> Callable[[int], None]:
    bar, size = bars.file(Path(execution.upload.key)), execution.source.size_bytes
    return lambda offset: bar.reading(offset, max(size, offset))


def _searched(
    connection: Connection, ledger: Books, choice: Choice, table: str, keys: list[Key], quiet: bool
) -> Iterator[tuple[Execution, int, int] | tuple[Execution, str]]:
    """(execution, line, byte) of rows that give one of the items, or (execution, why it was not searched)."""
    found = 0
    with show.Counting("bytes read", quiet) as counting, explained(connection.name):
        for execution in choice.chosen(connection):
            try:
                for line, offset in rows_giving(ledger, execution, table, keys, counting.at):
                    yield execution, line, offset
                    found += 1
                    if found >= MOST_FOUND:
                        return
            except ObjectProblem as problem:
                yield execution, problem.message


# ---- Told ------------------------------------------------------------------------------------------------------------


def _tell_row(ctx: click.Context, connection: Connection, ledger: Books, found: Why, raw: bool, as_json: bool) -> None:
    """Ends the command."""
    if raw:
        _write_raw(connection, ledger, found, found.says)
    elif as_json:
        click.echo(show.to_json(found.document()))
    else:
        _row_page(show.console(), connection, found)
    ctx.exit(DIFFERS if found.verdict in (Verdict.NO_ROW, Verdict.UNKNOWN) else DONE)


def _write_raw(connection: Connection, ledger: Books, found: Why | None, says: list[str]) -> None:
    """Raises Differs: there is no row to be written."""
    if found is None or found.row is None:
        raise Differs((found.says if found is not None else says or ["There is no such row."])[0])
    out = sys.stdout.buffer
    with explained(connection.name):
        for piece in row_bytes(ledger, found):
            out.write(piece)
    out.flush()


def _tell_item(
    ctx: click.Context,
    connection: Connection,
    ledger: Books,
    item: WhyItem,
    searched: list[Any] | None,
    raw: bool,
    as_json: bool,
) -> None:
    """Ends the command."""
    hits = [hit for hit in searched or [] if len(hit) == 3]
    if raw:
        _write_raw(connection, ledger, item.row, item.says)
    elif as_json:
        document = item.document()
        if searched is not None:
            document["searched"] = [_hit_document(hit) for hit in searched]
        click.echo(show.to_json(document))
    else:
        _item_page(show.console(), connection, item, searched)
    ctx.exit(DONE if item.item is not None or hits else DIFFERS)


def _hit_document(hit: Any) -> dict[str, Value]:
    execution = hit[0]
    place: dict[str, Value] = {"line": hit[1], "offset": hit[2]} if len(hit) == 3 else {"trouble": hit[1]}
    return {"execution_id": execution.id, "file": execution.upload.key, **place}


def _row_page(out: Console, connection: Connection, found: Why) -> None:
    execution, row = found.execution, found.row
    head = Text(show.shown_whole(execution.upload.key), style="bold")
    if row is not None and row.line:
        head.append(f"  line {row.line:,}" + (f" to {row.line + row.lines - 1:,}" if row.lines > 1 else ""))
    else:
        head.append(f"  {found.asked.said()}")
    out.print(head)
    for number, text in enumerate(found.says):
        style = _STYLE.get(found.verdict, "bold") if not number else ""
        show.paragraph(out, show.shown_whole(text), style)
    if row is not None:
        _bytes(out, found, row)
    _execution(out, found)
    if found.bad is not None:
        _reason(out, found)
    if found.items:
        show.heading(out, "Items")
        for item in found.items[:MOST_SHOWN]:
            _stored(out, item)
        more = len(found.items) - MOST_SHOWN
        if more > 0:
            show.paragraph(out, f"{more:,} more were looked up: --json has them.")
        if found.more_items:
            show.paragraph(out, f"{found.more_items:,} more were not looked up.")
    if found.verdict is Verdict.NEVER_READ and execution.status.value == "FAILED":
        show.paragraph(out, f"`importer redrive {execution.id}{connection.command}` goes on, once its cause is mended.")


def _bytes(out: Console, found: Why, row: FoundRow) -> None:
    packed = ", of what it unpacks to" if found.compressed else ""
    if isinstance(row.raw, LongLine):
        length, text = row.raw.length, row.raw.head
    else:
        text = row_text(row.raw)
        length = len(text)
    show.label(out, "at", f"byte {row.offset:,}{packed}, {show.many(length, 'byte')}")
    if found.source is not None:
        show.address(out, "in", found.source.uri)
    shown = show.shown_whole(text[:SHOWN_BYTES].decode("utf-8", "backslashreplace"))
    out.print(Text(f"    {shown}"), soft_wrap=True)
    if length > min(len(text), SHOWN_BYTES):
        left = length - min(len(text), SHOWN_BYTES)
        show.paragraph(out, f"… and {show.many(left, 'byte')} more: --raw writes all of them.", "dim", indent=4)


def _execution(out: Console, found: Why) -> None:
    execution = found.execution
    show.label(out, "execution", f"{execution.id}, {execution.status.value}, created {utc(execution.created_ms)}")
    if execution.replayed is not None:
        show.label(out, "replay of", execution.replayed.parent)
    evidence = f": {', '.join(found.recognised)}" if found.recognised else ""
    show.label(out, "dialect", show.shown_whole(f"{execution.format}{evidence}"))
    settings = found.document()["execution"]
    assert isinstance(settings, dict)
    changed = _settings(settings["settings"])
    show.label(out, "settings", f"{execution.document_import_id}{f': {changed}' if changed else ', all default'}")


def _settings(settings: Any) -> str:
    default = DEFAULT.as_stored()
    told = [
        f"{name} {show.said(value)}"
        for name, value in settings.items()
        if name not in ("id", "name") and value != default[name]
    ]
    return ", ".join(told)


def _reason(out: Console, found: Why) -> None:
    bad = found.bad
    assert bad is not None
    show.heading(out, f"Refused: {bad.reason}")
    for name in ("field", "expected", "found"):
        if value := getattr(bad, name):
            show.label(out, name, show.shown_whole(value))
    if bad.hint:
        show.label(out, "remedy", show.shown_whole(bad.hint))
    if found.rule is not None:
        show.label(out, "rule", found.rule.said())
    if found.errors is not None:
        bucket = found.execution.source.bucket
        show.address(out, "lies in", f"s3://{bucket}/{found.errors.key}")
        show.label(out, "", f"line {found.errors.line:,} there, byte {found.errors.offset:,}")


def _stored(out: Console, item: Stored) -> None:
    out.print(
        Text(f"  {item.table:<7}", style="dim").append(show.shown_whole(item.key), style="not dim"), soft_wrap=True
    )
    show.paragraph(out, show.shown_whole(item.says), "" if item.there else "yellow", indent=9)


def _item_page(out: Console, connection: Connection, item: WhyItem, searched: list[Any] | None) -> None:
    out.print(Text(show.shown_whole("/".join(item.key)), style="bold").append(f"  {item.table} table", style="dim"))
    for text in item.says:
        show.paragraph(out, show.shown_whole(text))
    if item.item is not None:
        show.heading(out, "Item")
        for name, value in item.item.items():
            if name not in ("user_id", "event_key", "record"):
                show.paragraph(out, f"{show.shown_whole(name)}: {show.said(value, 400)}", indent=4)
    if item.row is not None:
        show.heading(out, "The row")
        _row_page(out, connection, item.row)
    if searched is None:
        if item.item is None:
            say = (
                "--search reads the archived files again for rows that give it; --from, --to and --prefix narrow that."
            )
            show.paragraph(out, say)
        return
    show.heading(out, "Rows that give it")
    for hit in searched:
        execution = hit[0]
        place = f"line {hit[1]:,}, byte {hit[2]:,}" if len(hit) == 3 else f"not searched: {hit[1]}"
        text = f"  {show.shown_whole(execution.upload.key)}  {place}  {execution.id}"
        out.print(Text(text), soft_wrap=True)
    if not any(len(hit) == 3 for hit in searched):
        show.paragraph(out, "None, in the archived files that were searched.")
