"""What a person sees: findings, outcomes, bad rows with the place marked, progress.

Rows are strangers' text: everything of theirs is escaped and printed as plain text, never as markup (J8). On a terminal
there are colours and bars; anywhere else plain lines without control characters, made for 100 columns.
"""

import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Final

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from cli import importing
from cli.importing import Outcome
from importer.bad_rows import BadRow, row_text, shown
from importer.costs import dollars
from importer.diagnosis import diagnosis as whole_file
from importer.executions.mending import Outstanding
from importer.fetches import Fetch
from importer.forecast import Forecast
from importer.known import Where
from importer.model import TO_THE_END, Event, Execution, Phase, Status, Undone, Value
from importer.preview import Findings, Property, place_of
from importer.prices import AS_OF, REGION
from importer.words import SERVICES, in_dollars, in_time, remedy_of
from importer.words import in_bytes as in_bytes
from importer.words import many as many
from importer.words import remedy as remedy
from importer.words import said as said
from importer.words import shown_whole as shown_whole
from importer.words import to_json as to_json
from importer.words import utc as utc

PLAIN_COLUMNS: Final = 100
SHOWN_NAMES: Final = 12
LABEL_COLUMNS: Final = 11
_STATUS_STYLE: Final = {
    Status.SUCCEEDED: "green",
    Status.FAILED: "red",
    Status.CANCELED: "yellow",
    Status.RUNNING: "cyan",
    Status.PENDING: "cyan",
}


def console(stderr: bool = False) -> Console:
    """Where a person reads: stdout for results, stderr for progress."""
    stream = sys.stderr if stderr else sys.stdout
    # Without a terminal rich would take 80 columns; COLUMNS, where set, is somebody's wish.
    width = None if stream.isatty() or os.environ.get("COLUMNS") else PLAIN_COLUMNS
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


# ---- Building blocks -----------------------------------------------------------------------------------------------


def label(out: Console, name: str, *values: str | Text) -> None:
    """`  name      value`, wrapped below itself."""
    grid = Table.grid(padding=(0, 0))
    grid.add_column(width=LABEL_COLUMNS, no_wrap=True, style="dim")
    grid.add_column(overflow="fold")
    text = Text()
    for value in values:
        text.append_text(value if isinstance(value, Text) else Text(value))
    grid.add_row(name, text)
    out.print(Padding(grid, (0, 0, 0, 2), expand=False))


def address(out: Console, name: str, uri: str | None) -> None:
    """A label with an address, which is never broken over lines: it is there to be copied."""
    if uri:
        out.print(Text(f"  {name:<{LABEL_COLUMNS}}", style="dim").append(uri, style="not dim"), soft_wrap=True)


def heading(out: Console, text: str) -> None:
    out.print()
    out.print(Text(text, style="bold"))


def paragraph(out: Console, text: str, style: str = "", indent: int = 2) -> None:
    out.print(Padding(Text(text, style=style), (0, 0, 0, indent), expand=False))


def table(*columns: str, numbers: Sequence[str] = ()) -> Table:
    """A table; `numbers` stand to the right."""
    made = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="dim", padding=(0, 1))
    for column in columns:
        made.add_column(
            column,
            justify="right" if column in numbers else "left",
            no_wrap=column in numbers,
            overflow="fold",
        )
    return made


def put_table(out: Console, made: Table) -> None:
    out.print(Padding(made, (0, 0, 0, 2), expand=False))


def put_lines(out: Console, head: Sequence[str], rows: Iterable[Sequence[str | Text]], numbers: Sequence[str]) -> None:
    """A table whose cells are never cut nor wrapped, one line a row: its ids and names are there to be copied.

    On a terminal that is too narrow the last cell, if it is no number, stands on a line of its own, below the others.
    """
    titles = [Text(title, style="dim") for title in head]
    cells = [titles, *([cell if isinstance(cell, Text) else Text(cell) for cell in row] for row in rows)]
    widths = [max(cell.cell_len for cell in column) for column in zip(*cells, strict=True)]
    folded = out.is_terminal and head[-1] not in numbers and 2 * len(head) + sum(widths) > out.width
    for row in cells:
        line = Text()
        for title, width, cell in zip(head, widths, row, strict=True):
            below = folded and cell is row[-1]
            space = " " * (width - cell.cell_len)
            line.append("\n      " if below else "  ").append(space if title in numbers else "").append_text(cell)
            line.append("" if below or title in numbers else space)
        line.rstrip()
        out.print(line, soft_wrap=True)


def members(row: Mapping[str, Value], most: int) -> Text:
    """A few properties, as many as find room in `most` cells."""
    text = Text(no_wrap=True, overflow="ellipsis")
    for index, (name, value) in enumerate(row.items()):
        piece = Text(f"{shown(name)}=", style="dim").append(said(value, 24), style="not dim")
        left = len(row) - index - 1
        room = most - text.cell_len - (len(f" +{left} more") if left else 0)
        if index and piece.cell_len + 2 > room:
            text.append(f" +{left + 1} more", style="dim")
            break
        text.append("  " if index else "").append_text(piece)
    return text


# ---- A bad row -----------------------------------------------------------------------------------------------------


def bad_row(out: Console, row: BadRow, indent: int = 2) -> None:
    """Where, what, the row itself with the place marked, and how to mend it."""
    pad = " " * indent
    head = Text(pad).append(f"line {_line(row.line)}", style="bold").append(f", byte {row.offset:,}", style="dim")
    head.append("  ").append(row.reason, style="yellow")
    if row.field:
        head.append("  field ", style="dim").append(shown(row.field), style="bold")
    out.print(head, soft_wrap=True)
    paragraph(out, row.message, indent=indent + 2)
    text, at, cells = excerpt(row, max(30, out.width - indent - 3))
    out.print(Text(f"{pad}  ").append(text, style="dim"), no_wrap=True, overflow="ignore", crop=False)
    if cells:
        out.print(Text(f"{pad}  {' ' * at}").append("^" * cells, style="bold red"), no_wrap=True, crop=False)
    if row.hint:
        grid = Table.grid()
        grid.add_column(width=5, no_wrap=True, style="bold green")
        grid.add_column(overflow="fold")
        grid.add_row("fix:", Text(shown_whole(row.hint)))
        out.print(Padding(grid, (0, 0, 0, indent + 2), expand=False))


def excerpt(row: BadRow, columns: int) -> tuple[str, int, int]:
    """(the part of the row around its place in at most `columns` cells, first marked cell, marked cells).

    No marked cells: the row as a whole is meant.
    """
    raw = row_text(row.raw)
    place = place_of(row)
    start, stop = (place.start, place.stop) if place else (0, 0)
    around = columns * 4  # bytes: a character has at most four
    left = _printable(_whole_characters(raw[max(0, start - around) : start], start > around))
    marked = _printable(raw[start : min(stop, start + around)])
    right = _printable(raw[max(start, stop) : stop + around])
    marked = _cut(marked, max(columns // 2, columns - 60))
    if place is not None and stop <= start:  # something is missing just here: the mark takes what follows, or the end
        marked, right = (right[:1], right[1:]) if right else (" ", "")
    room = columns - cell_len(marked)
    left_room = max(room // 2, room - cell_len(right)) if place else 0
    left = _cut_left(left, left_room, start > around)
    right = _cut(right, room - cell_len(left))
    return f"{left}{marked}{right}".rstrip(), cell_len(left), cell_len(marked) if place else 0


def _whole_characters(raw: bytes, cut: bool) -> bytes:
    """Without the rest of a character at the begin, where the text before was cut away."""
    begin = 0
    while cut and begin < min(3, len(raw)) and 0x80 <= raw[begin] < 0xC0:
        begin += 1
    return raw[begin:]


def _printable(raw: bytes) -> str:
    return shown_whole(raw.decode("utf-8", "backslashreplace"))


def _cut(text: str, cells: int) -> str:
    if cell_len(text) <= cells:
        return text
    while text and cell_len(text) > cells - 1:
        text = text[: -max(1, (cell_len(text) - cells) // 2)]
    return f"{text}…" if cells > 0 else ""


def _cut_left(text: str, cells: int, more: bool) -> str:
    if cell_len(text) <= cells and not more:
        return text
    while text and cell_len(text) > cells - 1:
        text = text[max(1, (cell_len(text) - cells) // 2) :]
    return f"…{text}" if cells > 0 else ""


def reasons(out: Console, folded: Iterable[Mapping[str, Any]]) -> None:
    """Folded reasons, one a line, each with how to mend it: by the first sample that has a hint, or the first."""
    made = table("rows", "reason", "field", "first line", "fix", numbers=("rows", "first line"))
    for group in folded:
        fix, line = remedy_of(group)
        if line != group["first_line"]:
            fix += f" (line {_line(line)})"
        made.add_row(
            f"{group['count']:,}",
            Text(group["code"], style="yellow"),
            Text(shown(group["field"])),
            _line(group["first_line"]),
            Text(fix),
        )
    put_table(out, made)


def _line(number: int | None) -> str:
    """Behind a part that was not read to its end nobody knows the number."""
    return "–" if number is None else f"{number:,}"


# ---- A preview -----------------------------------------------------------------------------------------------------


def findings(out: Console, name: str, size: int, found: Findings, limit_bytes: int | None) -> None:
    """The page of `importer preview`."""
    tally = found.tally
    out.print(Text(shown(name), style="bold").append(f"  {in_bytes(size)}", style="dim"))
    if found.evidence:
        label(out, "dialect", found.format, Text(f"  because of {', '.join(found.evidence)}", style="dim"))
        if set(found.marked) - {found.format}:
            marked = ", ".join(f"{many(count, 'row')} of {name}" for name, count in found.marked.items())
            label(out, "mixed", Text(f"the first rows are {marked}: each is read by its own dialect", style="yellow"))
    elif tally.rows:
        label(out, "dialect", found.format, Text("  by default: nothing in the first rows speaks for any", style="dim"))
    if found.compression:
        label(out, "compressed", found.compression)
    if found.whole:
        label(out, "read", f"all of it: {in_bytes(found.read_to)}")
    elif found.problem is None and limit_bytes is not None:
        label(
            out,
            "read",
            Text(f"only the first {in_bytes(found.read_to)}", style="yellow"),
            "; --all reads the whole file",
        )
    _counted(out, tally.counts())
    if found.event_names:
        ranked = sorted(found.event_names.items(), key=lambda pair: -pair[1])
        text = " · ".join(f"{shown(event)} {count:,}" for event, count in ranked[:SHOWN_NAMES])
        more = f" · and {len(ranked) - SHOWN_NAMES:,} other names" if len(ranked) > SHOWN_NAMES else ""
        label(out, "events", text + more)
    if found.user_records:
        told = ", ".join(many(count, kind) for kind, count in found.user_records.items())
        label(out, "users", told)
    if found.earliest_ms is not None:
        label(out, "time", f"{utc(found.earliest_ms)} to {utc(found.latest_ms)}")
    for code, noted in sorted(tally.notes.items()):
        label(out, "note", f"{code}: {many(noted.count, 'row')}, the first is line {noted.first_line:,}")
    if found.first_events:
        heading(out, "First good rows, as they would be stored")
        event_table(out, [(f"{line:,}", event) for line, event in found.first_events], "line")
    for title, known in (
        ("Properties", found.properties),
        ("Properties of the user", found.user_properties),
        ("Properties of the session", found.session_properties),
    ):
        if known:
            _property_table(out, title, known)
    compared(out, found)
    if found.names_left_out:
        paragraph(out, f"and {found.names_left_out:,} more values and events under names that are not listed", "yellow")
    diagnosis(out, whole_file(tally.rows, found.reasons.folded()))
    if tally.bad:
        heading(out, f"Refused: {many(tally.bad, 'row')}")
        for index, row in enumerate(found.bad_rows):
            if index:
                out.print()
            bad_row(out, row)
        if tally.bad > len(found.bad_rows):
            out.print()
            paragraph(out, f"All {tally.bad:,} of them by reason (--bad-rows N shows more in full):", indent=0)
            reasons(out, found.reasons.folded())
    if found.cost is not None:
        forecast(out, found.cost)


def compared(out: Console, found: Findings) -> None:
    """Which names and types the store does not know, where somebody looked."""
    known = found.known
    if known is None:
        return
    heading(out, "Beside the store")
    if not known.events.items and not known.user_records.items:
        paragraph(out, "It is empty: there was nothing to compare names with.")
        return
    for title, looked in (("events", known.events), ("users", known.user_records)):
        if looked.items:
            how = "all it holds" if looked.whole else "a sample: it may miss what is rare"
            label(out, title, f"{looked.items:,} looked at, {how}")
    names = [name for name in found.event_names if found.is_new(Where.EVENTS, name)]
    for where, properties in found.names():
        names += [name for name in properties if found.is_new(where, name)]
        for name, one in properties.items():
            stored = found.stored_types(where, name)
            if stored:
                here = f"{' and '.join(one.types)} here, {' and '.join(stored)} in the store"
                label(out, "clash", Text(f"{shown(name)}: {here}", style="yellow"))
    more = f" and {len(names) - SHOWN_NAMES:,} more" if len(names) > SHOWN_NAMES else ""
    label(out, "new names", (", ".join(map(shown, names[:SHOWN_NAMES])) or "none") + more)


def forecast(out: Console, found: Forecast) -> None:
    """What an import would cost, in a preview."""
    usd = in_dollars(float(sum(dollars(found.usage).values())))
    heading(out, f"Importing it would cost about {usd}, and take about {in_time(found.seconds)}")
    _bill(out, found.document())
    if found.stream_bytes:
        single, packed, gzip = (in_bytes(count) for count in found.stream_bytes.values())
        label(out, "stream", f"{packed} billed; {gzip} with StreamGzip; one event a record would be {single}")
    share = "" if found.share == 1 else f", from the {float(found.share):.0%} of the file that was read"
    paragraph(
        out,
        f"An estimate{share}: nothing tried again, list prices of {REGION} as of {AS_OF}; the time with a new table, "
        "quicker with one that has grown.",
    )


def cost(out: Console, said: Mapping[str, Any]) -> None:
    """What an import has cost; nothing by a receipt of before it was counted."""
    if said:
        label(out, "cost", f"at least {in_dollars(said['usd'])}, at list prices of {said['prices']['region']}")
        _bill(out, said)


def _bill(out: Console, said: Mapping[str, Any]) -> None:
    by_service = sorted(said["usd_by_service"].items(), key=lambda pair: -pair[1])
    parts = [f"{SERVICES[service]} {in_dollars(usd)} ({usd / said['usd']:.1%})" for service, usd in by_service]
    label(out, "of which", " · ".join(parts))
    units = said["units"]
    written = [f"{units[name]:,} for {what}" for name, what in _WRITE_UNITS.items() if units.get(name)]
    if written:
        label(out, "units", f"written: {' · '.join(written)}")


_WRITE_UNITS: Final = {
    "event_write_units": "events",
    "user_write_units": "user records",
    "ledger_write_units": "the ledger",
}


def event_table(out: Console, rows: Sequence[tuple[str, Event]], first: str) -> None:
    """Events, one a line: properties take what room the other columns leave."""
    made = table(first, "time", "user", "event", "properties", numbers=(first,))
    cells = [
        (number, utc(event.event_time_ts), _short(event.user_id), _short(event.event_name)) for number, event in rows
    ]
    taken = [max(map(cell_len, column)) for column in zip((first, "time", "user", "event"), *cells, strict=True)]
    room = out.width - 2 - sum(taken) - 3 * len(taken)
    for (_, event), texts in zip(rows, cells, strict=True):
        made.add_row(*(Text(text, no_wrap=True) for text in texts), members(event.properties, max(room, 20)))
    put_table(out, made)


def _short(text: str) -> str:
    return _cut(shown(text), 28)


def _property_table(out: Console, title: str, known: Mapping[str, Property]) -> None:
    heading(out, title)
    made = table("name", "rows", "type", "first value", numbers=("rows",))
    clashes = False
    for name, one in known.items():
        types = Text()
        for index, (kind, seen) in enumerate(one.types.items()):
            if index:
                types.append(", ")
            types.append(kind)
            if one.clashes:
                clashes = True
                types.append(f" {seen.count:,} (line {seen.first_line:,})", style="yellow")
        made.add_row(Text(shown(name)), f"{one.count:,}", types, Text(said(one.example)))
    put_table(out, made)
    if clashes:
        paragraph(
            out, "Several types under one name are stored as sent; a table of columns could not hold them.", "yellow"
        )


# ---- An outcome ----------------------------------------------------------------------------------------------------


def outcome(out: Console, result: Outcome, bad_rows: bool = True) -> None:
    """What became of one dropped file."""
    title = Text(shown(str(result.path.name)), style="bold")
    if result.execution is None:
        said = {0: "  waiting", 3: "  not imported"}.get(result.exit_code, "  unknown")
        out.print(title.append(said, style="bold red" if result.exit_code else "bold"))
        paragraph(out, shown_whole(result.trouble))
        return
    execution = result.execution
    title.append(f"  {execution.status.value}", style=f"bold {_STATUS_STYLE[execution.status]}")
    out.print(title)
    if execution.error is not None:
        label(out, "refused", Text(execution.error.code, style="yellow"))
        paragraph(out, shown_whole(execution.error.message))
    if result.receipt is not None:
        sums(out, result.receipt)
        addresses(out, execution, result.receipt)
        diagnosis(out, result.receipt.get("diagnosis"))
        if result.bad_rows and bad_rows:
            out.print()
            for row in result.bad_rows:
                bad_row(out, row)
            if result.receipt["bad"] > len(result.bad_rows):
                paragraph(out, f"All {many(result.receipt['bad'], 'refused row')} by reason:")
                reasons(out, result.receipt["reasons"])


def sums(out: Console, receipt: Mapping[str, Any]) -> None:
    """The books of a receipt, and whether they balance."""
    _counted(out, receipt)
    changes = receipt["user_changes"]
    label(
        out,
        "written",
        many(receipt["events"], "event") + (f", {many(changes, 'change')} of user records" if changes else ""),
    )
    for note in receipt["notes"]:
        label(out, "note", f"{note['code']}: {many(note['count'], 'row')}, the first is line {note['first_line']:,}")
    cost(out, receipt.get("cost") or {})
    if not balanced(receipt):
        label(out, "books", Text("these sums do not balance: please report this with the receipt", style="bold red"))
    if not receipt["complete"]:
        read = "not all of the file was read" if receipt.get("unread") else "read to its end, and not moved"
        label(out, "books", Text(read, style="yellow"))


FATES: Final = {
    "good": "green",
    "bad": "red",
    "expired": "yellow",  # not there in receipts before there were rows that could expire
    "erased": "yellow",
    "withheld": "yellow",
}


def _counted(out: Console, counts: Mapping[str, Any]) -> None:
    """Lines and rows, each as the sum it is; good and bad always, other fates where there are any."""
    label(out, "lines", f"{counts['lines']:,} = {many(counts['rows'], 'row')} + {counts['blank']:,} blank")
    terms: list[str | Text] = []
    for fate, style in FATES.items():
        count = counts.get(fate, 0)
        if count or fate in ("good", "bad"):
            terms += [" + " if terms else "", Text(f"{count:,} {fate}", style=style if count else "")]
    label(out, "rows", f"{counts['rows']:,} = ", *terms)


def balanced(receipt: Mapping[str, Any]) -> bool:
    rows = sum(receipt.get(fate, 0) for fate in FATES)
    return bool(receipt["lines"] == receipt["rows"] + receipt["blank"] and receipt["rows"] == rows)


def diagnosis(out: Console, found: Mapping[str, Any] | None) -> None:
    """What most rows fail by, said once, with what mends all of them."""
    if found:
        out.print()
        paragraph(out, f"{shown_whole(found['message'][:1].upper() + found['message'][1:])}", "bold yellow", indent=0)
        paragraph(out, f"Remedy for all of them: {shown_whole(found['remedy'])}", indent=0)


def addresses(out: Console, execution: Execution, receipt: Mapping[str, Any]) -> None:
    """Where the four objects of an execution are."""
    if receipt["completed_uri"]:
        address(out, "moved to" if execution.replayed is None else "read from", receipt["completed_uri"])
    else:
        address(out, "still at", execution.source.uri)
    address(out, "bad rows", receipt["errors_uri"])
    address(out, "reasons", receipt["reasons_uri"])
    if execution.outcome is not None:
        address(out, "receipt", f"s3://{execution.source.bucket}/{execution.outcome.destination.receipt}")


# ---- Executions ----------------------------------------------------------------------------------------------------


def execution_list(out: Console, found: Sequence[Execution]) -> None:
    """One a line, with the whole id and the whole name."""
    rows: list[list[str | Text]] = []
    for execution in found:
        counted = execution.outcome.sums if execution.outcome else None
        rows.append(
            [
                execution.id,
                utc(execution.created_ms)[:16].replace("T", " "),
                Text(_standing(execution), style=_STATUS_STYLE[execution.status]),
                f"{counted.good:,}" if counted else "",
                Text(f"{counted.bad:,}" if counted else "", style="red" if counted and counted.bad else ""),
                dropped_name(execution),
            ]
        )
    put_lines(out, ("execution", "created (UTC)", "status", "good", "bad", "file"), rows, ("good", "bad"))


def outstanding_list(out: Console, found: Sequence[tuple[Execution, Outstanding]]) -> None:
    """One a line, with the whole id and the whole name; then how many rows that is."""
    rows: list[list[str | Text]] = [
        [
            execution.id,
            utc(execution.created_ms)[:16].replace("T", " "),
            Text(f"{left.rows:,}", style="red"),
            f"{left.bad:,}",
            dropped_name(execution),
        ]
        for execution, left in found
    ]
    put_lines(out, ("execution", "created (UTC)", "outstanding", "bad", "file"), rows, ("outstanding", "bad"))
    total = sum(left.rows for _, left in found)
    paragraph(out, f"{many(total, 'bad row')} outstanding in {many(len(found), 'import')}.")


def outstanding(
    out: Console, execution: Execution, left: Outstanding, perhaps: Sequence[Execution], options: str
) -> None:
    """Of an execution's page: which of its bad rows nobody has mended, and who was to.

    Args:
        perhaps: those that do not say whose rows they have, and may have these.
    """
    if execution.mends:
        address(out, "mends", execution.mends)
    if not left.bad:
        return
    heading(out, f"Outstanding: {left.rows:,} of {many(left.bad, 'bad row')}")
    for child in left.mended:
        status = child.status.value if child.status else "unknown"
        nothing = f"{'undone' if child.status is Status.SUCCEEDED else status}: nothing"
        said = f"took over {many(child.taken, 'row')}, {child.bad:,} bad again" if child.counts else nothing
        address(out, "mended by", f"{child.execution_id}  {said}")
    if left.rows:
        out.print(Text(f"  `importer fix {execution.id}{options}` shows what can be done about them."), soft_wrap=True)
    known = {child.execution_id for child in left.mended}
    for other in [other for other in perhaps if other.id not in known and other.status is Status.SUCCEEDED][
        :SHOWN_NAMES
    ]:
        rows = other.outcome.sums.rows if other.outcome is not None else 0
        paragraph(out, f"{many(rows, 'row')} came under this name at {utc(other.created_ms)}. Were they these, mended?")
        command = f"`importer fix {execution.id} --mended-by {other.id}{options}` says so."
        out.print(Text(f"  {command}"), soft_wrap=True)


def fetch_list(out: Console, found: Sequence[Fetch]) -> None:
    """One a line, with the whole id and the whole URI."""
    rows: list[list[str | Text]] = [
        [
            fetch.id,
            utc(fetch.created_ms)[:16].replace("T", " "),
            Text(fetch.error_code or fetch.status.value, style=_STATUS_STYLE[fetch.status]),
            in_bytes(fetch.next_offset),
            shown_whole(fetch.uri),
        ]
        for fetch in found
    ]
    put_lines(out, ("fetch", "asked for (UTC)", "status", "came", "from"), rows, ("came",))


def fetch_page(out: Console, fetch: Fetch, bucket: str, options: str) -> None:
    """One import by URI: how far it is, or why it failed."""
    out.print(Text(f"Fetch {fetch.id}", style="bold"))
    label(out, "status", Text(fetch.status.value, style=f"bold {_STATUS_STYLE[fetch.status]}"))
    if fetch.error_code:
        label(out, "refused", Text(fetch.error_code, style="yellow"))
        paragraph(out, shown_whole(fetch.error_message))
    label(out, "from", shown_whole(fetch.uri))
    of = "" if fetch.total_bytes is None else f" of {in_bytes(fetch.total_bytes)}"
    again = f", begun again {many(fetch.restarts, 'time')}: it had changed" if fetch.restarts else ""
    label(out, "came", f"{in_bytes(fetch.next_offset)}{of}{again}")
    label(out, "asked for", utc(fetch.created_ms))
    if fetch.end_ms is not None:
        label(out, "ended", utc(fetch.end_ms))
    if fetch.status is Status.SUCCEEDED:
        address(out, "to", f"s3://{bucket}/{fetch.key}")
        paragraph(out, f"`importer executions {fetch.execution_id}{options}` shows what became of its rows.")


def dropped_name(execution: Execution) -> str:
    """The whole name its file was dropped by, below imports/."""
    return shown_whole(execution.upload.key.removeprefix("imports/")) + (" (replay)" if execution.replayed else "")


def _standing(execution: Execution) -> str:
    if execution.undone is not None:
        return f"{execution.status.value} ({'undone' if execution.undone.done else 'being undone'})"
    closed = execution.phase is Phase.CLOSED or execution.status in (Status.PENDING, Status.RUNNING)
    return execution.status.value if closed else f"{execution.status.value} ({execution.phase.value.lower()})"


def execution_page(out: Console, execution: Execution, receipt: Mapping[str, Any] | None, rows: list[BadRow]) -> None:
    """One execution: how it stands, its sums, where everything is."""
    out.print(Text(f"Execution {execution.id}", style="bold"))
    label(out, "status", Text(_standing(execution), style=f"bold {_STATUS_STYLE[execution.status]}"))
    address(out, "source", execution.source.uri)
    if execution.source.version_id:
        address(out, "version", execution.source.version_id)
    if execution.replayed is not None:
        label(out, "replay of", f"{execution.replayed.parent}; the source stays where it is")
    label(out, "size", in_bytes(execution.source.size_bytes))
    label(out, "import", f"{execution.document_import_id}, dialect {execution.format}")
    label(out, "created", utc(execution.created_ms))
    if execution.start_date is not None:
        label(out, "started", utc(execution.start_date))
    if execution.outcome is not None:
        took = execution.outcome.end_date - (execution.start_date or execution.created_ms)
        label(out, "ended", f"{utc(execution.outcome.end_date)}, after {took / 1000:,.1f} s")
    label(out, "parts", f"{len(execution.parts_done)} of {execution.part_count} done")
    if execution.attempt > 1:
        label(out, "attempt", str(execution.attempt))
    if execution.undone is not None:
        _undone(out, execution.undone)
    if execution.error is not None:
        label(out, "refused", Text(execution.error.code, style="yellow"))
        paragraph(out, shown_whole(execution.error.message))
    if receipt is None:
        if execution.phase is not Phase.CLOSED:
            paragraph(out, "It has not ended: there is no receipt yet.")
        return
    heading(out, "Receipt")
    sums(out, receipt)
    addresses(out, execution, receipt)
    diagnosis(out, receipt.get("diagnosis"))
    if receipt["reasons"]:
        heading(out, "Refused rows by reason")
        reasons(out, receipt["reasons"])
        if rows:
            heading(out, f"The first of {receipt['bad']:,}" if receipt["bad"] > len(rows) else "Each of them")
            for row in rows:
                bad_row(out, row)


def _undone(out: Console, undone: Undone) -> None:
    items = f"{many(undone.removed, 'item')} removed, {undone.put_back:,} put back"
    label(out, "undone", f"{utc(undone.done_ms or undone.at_ms)} by {shown_whole(undone.by)}: {items}")
    if not undone.done:
        paragraph(out, "It is not done: `importer undo` goes on where it stopped.")


# ---- Progress ------------------------------------------------------------------------------------------------------


class Bars:
    """Progress of several files on stderr: bars on a terminal, elsewhere a line for each step, with `quiet` nothing."""

    def __init__(self, quiet: bool = False) -> None:
        self._console = console(stderr=True)
        self._live = self._console.is_terminal and not quiet
        self._quiet = quiet
        self._said: dict[str, str] = {}
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.fields[name]}", markup=False),
            BarColumn(bar_width=28),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
            disable=not self._live,
        )

    def __enter__(self) -> "Bars":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def file(self, path: Path) -> "Bar":
        name = shown(path.name)
        return Bar(self, self._progress, self._progress.add_task("waiting", total=None, name=f"{name:<24}"), name)

    def say(self, name: str, step: str) -> None:
        """A line for a step not told before; only where there are no bars."""
        if not self._live and not self._quiet and self._said.get(name) != step:
            self._said[name] = step
            self._console.print(Text(f"{name}: {step}"), soft_wrap=True)


class Counting:
    """Progress of what has no known end, on stderr: on a terminal a number that grows, elsewhere a line now and then.

    What is soon done says nothing; with `quiet` nothing ever does.
    """

    SECONDS: ClassVar = 5.0  # between two lines

    def __init__(self, what: str, quiet: bool = False) -> None:
        self._console = console(stderr=True)
        self._live = self._console.is_terminal
        self._quiet = quiet
        self._what = what
        self._told = time.monotonic()
        self._progress = Progress(
            SpinnerColumn(finished_text=" "),
            TextColumn("{task.description}", markup=False),
            console=self._console,
            transient=True,
            disable=not self._live or quiet,
        )
        self._task = self._progress.add_task("", total=None)

    def __enter__(self) -> "Counting":
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def at(self, count: int) -> None:
        """So many were read."""
        self.tell(f"{count:,}" if self._live else f"{count:,} so far")

    def tell(self, text: str) -> None:
        """What is done now."""
        if self._quiet:
            return
        if self._live:
            self._progress.update(self._task, description=f"{self._what}: {text}")
        elif time.monotonic() - self._told >= self.SECONDS:
            self._told = time.monotonic()
            self._console.print(Text(f"{self._what}: {text}"), soft_wrap=True)


class Bar:
    """The progress of one file: first its upload, then its import."""

    def __init__(self, bars: Bars, progress: Progress, task: TaskID, name: str) -> None:
        self._bars = bars
        self._progress = progress
        self._task = task
        self._name = name
        self._sent = 0

    def sent(self, count: int, total: int) -> None:
        """`count` more bytes were uploaded."""
        self._sent += count
        self._progress.update(
            self._task, completed=self._sent, total=max(total, 1), description=f"uploaded {in_bytes(self._sent)}"
        )

    def uploaded(self, uri: str) -> None:
        self._bars.say(self._name, f"uploaded {in_bytes(self._sent)} to {uri}")

    def reading(self, count: int, total: int) -> None:
        """`count` bytes of a file of `total` were looked at."""
        self._progress.update(
            self._task, completed=count, total=max(total, 1), description=f"{in_bytes(count)} of {in_bytes(total)}"
        )

    def fetched(self, count: int, total: int | None) -> None:
        """`count` bytes of a URI's file have come; None where its server does not say how many there are."""
        of = "" if total is None else f" of {in_bytes(total)}"
        known = None if total is None else max(total, 1)
        self._progress.update(
            self._task, completed=count if known else 0, total=known, description=f"fetched {in_bytes(count)}{of}"
        )

    def moved(self, now: importing.Progress, uploaded: importing.Uploaded) -> None:
        size = uploaded.source.size_bytes
        counted = f"{now.tally.good:,} good, {now.tally.bad:,} bad" if now.tally.rows else ""
        if now.status is None:
            self._progress.update(self._task, completed=0, total=None, description="waiting for the function to start")
        elif now.phase is Phase.IMPORTING:
            # How long a compressed file is, nobody knows before its end: the bar only moves to and fro.
            known = now.read_to is not None and now.read_to < TO_THE_END and not uploaded.compressed
            self._progress.update(
                self._task,
                completed=min(now.read_to or 0, size) if known else 0,
                total=max(size, 1) if known else None,
                description=f"importing  {counted}",
            )
            self._bars.say(self._name, "importing")
        elif now.phase is Phase.CLOSED:
            self._progress.update(
                self._task, completed=max(size, 1), total=max(size, 1), description=f"{now.status.value}  {counted}"
            )
            self._bars.say(self._name, now.status.value)
        else:
            self._progress.update(
                self._task, completed=max(size, 1), total=max(size, 1), description=f"finishing  {counted}"
            )
