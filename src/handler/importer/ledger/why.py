"""Why: where one row went, by which rule, in which execution; or from which row an item came. Reads only.

The row is judged once more, alone, under everything its execution pinned: a row's fate depends on nothing beside it.
What that cannot say is read from what the import left behind: how far it was read, what a destination refused, what
the tables hold of it now and who wrote that last.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, cast

import orjson

from importer.bad_rows import BadRow, FileReason, ObjectProblem, Reason, row_text
from importer.batches import Batch, batches
from importer.definitions import TEXT_CSV
from importer.executions.pinned import definition_of, provenance_of, rules_of
from importer.executions.plain_text import HEAD_STORED_BYTES, PlainText
from importer.formats import FORMATS, judge_columns
from importer.layouts import layout_of
from importer.ledger.erasures import Papers, set_aside
from importer.ledger.ports import Books, Key
from importer.ledger.row_places import (
    Asked,
    Beyond,
    ErrorPlace,
    FoundRow,
    Header,
    Reasons,
    Rows,
    place_in_errors,
)
from importer.ledger.rulebook import Rule, rule_of
from importer.ledger.stores import said as attribute_said
from importer.ledger.traces import is_blank
from importer.lines import HEAD_BYTES, reading_start
from importer.model import (
    RULES_VERSION,
    TO_THE_END,
    Execution,
    LongLine,
    Part,
    Phase,
    S3Object,
    Status,
    UserChange,
    Value,
    rank,
    uploaded_ms_of,
)
from importer.notification import Dropped
from importer.parts import parts_of
from importer.recognition import recognised_stored
from importer.sinks.items import Item
from importer.users import ERASED
from importer.words import many, utc

MOST_ITEMS: Final = 100  # of one row, looked up and told; a row may have a hundred thousand


class Verdict(StrEnum):
    """What became of a row."""

    STORED = "stored"
    BAD = "bad"
    BLANK = "blank"
    EXPIRED = "expired"
    ERASED = "erased"
    WITHHELD = "withheld"
    UNDONE = "undone"
    NEVER_READ = "never_read"
    NOT_YET_READ = "not_yet_read"
    HEADER = "header"
    NO_ROW = "no_row"  # there is no such line or byte
    UNKNOWN = "unknown"  # the object is gone, and nothing else says


@dataclass(frozen=True, slots=True)
class Stored:
    """An item a row gives, and how the table stands to it.

    Attributes:
        table: "events" or "users".
        there: whether it is in the table now.
        written_by: the execution and address the item names; None where there is no item.
        says: that in a sentence.
    """

    table: str
    key: str
    there: bool
    written_by: tuple[str, int | None] | None
    says: str
    item: dict[str, Value] | None = None

    def document(self) -> dict[str, Value]:
        by = self.written_by
        return {
            "table": self.table,
            "key": self.key,
            "there": self.there,
            "written_by": None if by is None else {"execution_id": by[0], "address": by[1]},
            "says": self.says,
            "item": self.item,
        }


@dataclass(slots=True)
class Why:
    """What is known of one row.

    Attributes:
        source: the object its bytes are from; None if that is gone.
        recognised: what spoke for the dialect.
        says: sentences, the verdict first.
        items: at most MOST_ITEMS; `more_items` further ones were not looked up.
        bad: what refused it, and the rule behind that; `errors` is where it lies.
    """

    execution: Execution
    asked: Asked
    verdict: Verdict = Verdict.UNKNOWN
    source: S3Object | None = None
    row: FoundRow | None = None
    compressed: bool = False
    recognised: tuple[str, ...] = ()
    says: list[str] = field(default_factory=list)
    items: list[Stored] = field(default_factory=list)
    more_items: int = 0
    bad: BadRow | None = None
    rule: Rule | None = None
    errors: ErrorPlace | None = None
    reasons_key: str = ""
    gives: frozenset[Key] = frozenset()  # keys of all events and records of the row

    def document(self) -> dict[str, Value]:
        """`why/1`."""
        execution, row = self.execution, self.row
        settings = definition_of(execution).as_stored()
        return {
            "schema": "why/1",
            "verdict": self.verdict.value,
            "says": list(self.says),
            "row": None if row is None else _row_document(row),
            "source": None
            if self.source is None
            else {
                "uri": self.source.uri,
                "version_id": self.source.version_id,
                "bytes": self.source.size_bytes,
                "compressed": self.compressed,
            },
            "execution": {
                "id": execution.id,
                "status": execution.status.value,
                "phase": execution.phase.value,
                "parent": execution.replayed.parent if execution.replayed else None,
                "file_uri": f"s3://{execution.source.bucket}/{execution.upload.key}",
                "format": execution.format,
                "recognised": list(self.recognised),
                "settings": settings,
                "sinks": list(execution.sinks),
                "created_ms": execution.created_ms,
                "rules_version": execution.rules_version,
            },
            "items": [item.document() for item in self.items],
            "more_items": self.more_items,
            "refused": None if self.bad is None else self._refused_document(self.bad),
        }

    def _refused_document(self, bad: BadRow) -> dict[str, Value]:
        errors = self.errors
        return {
            **bad.said(),
            "rule": self.rule.as_json() if self.rule else None,
            "errors": None
            if errors is None
            else {"key": errors.key, "line": errors.line, "offset": errors.offset, "length": errors.length},
            "reasons_key": self.reasons_key or None,
        }


def _row_document(row: FoundRow) -> dict[str, Value]:
    long = isinstance(row.raw, LongLine)
    text = row.raw.head if isinstance(row.raw, LongLine) else row_text(row.raw)
    return {
        "line": row.line,
        "lines": row.lines,
        "offset": row.offset,
        "length": row.raw.length if isinstance(row.raw, LongLine) else len(text),
        "text": text.decode("utf-8", "backslashreplace"),
        "is_utf8": _is_utf8(text),
        "cut": long,
    }


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


# ---- A row -----------------------------------------------------------------------------------------------------------


def why_row(
    books: Books, execution: Execution, asked: Asked, moved: Callable[[int], None] = lambda offset: None
) -> Why:
    """Where the row went that holds a line or a byte of an execution's file.

    Args:
        moved: hears the plain bytes that were looked at.
    Raises:
        Unavailable.
    """
    why = Why(execution, asked)
    try:
        source = source_of(books, execution)
        reasons = Reasons.of(books.objects, execution)
        if source is None:
            _told_by_papers(books, why, reasons, moved)
        else:
            _told_by_source(books, why, source, reasons, moved)
    except ObjectProblem as problem:
        why.verdict = Verdict.UNKNOWN
        why.says.append(f"The file cannot be read up to {asked.said()}: {problem.message}.")
    return why


def source_of(books: Books, execution: Execution) -> S3Object | None:
    """The object an execution's rows can be read from now; None if it is gone."""
    source = execution.source
    outcome = execution.outcome
    archived = execution.status is Status.SUCCEEDED and outcome is not None
    found = None
    if not archived or execution.phase is not Phase.CLOSED:
        found = books.objects.head(Dropped(source.bucket, source.key, source.version_id, source.etag))
        if found is not None and found.etag == source.etag:
            return source
    if outcome is None:
        return None
    if not archived and (aside := set_aside(books.objects, execution)) is not None:
        return aside
    return books.objects.head(Dropped(source.bucket, outcome.destination.completed, None, ""))


def row_bytes(books: Books, why: Why) -> Iterator[bytes]:
    """The row as it is in the file, with its line end."""
    assert why.row is not None
    raw = why.row.raw
    if isinstance(raw, bytes):
        yield raw
    elif why.source is not None:
        yield from PlainText(books.objects, why.source, straight=False).read(why.row.offset, why.row.offset + raw.size)


def _told_by_source(
    books: Books, why: Why, source: S3Object, reasons: Reasons | None, moved: Callable[[int], None]
) -> None:
    execution = why.execution
    parts = books.records.parts(execution.id)
    rows = Rows(books.objects, execution, source, parts, reasons, moved)
    why.source, why.compressed = source, rows.is_compressed
    head = b"".join(books.objects.read(source, 0, min(HEAD_STORED_BYTES, source.size_bytes)))
    recognised = recognised_stored([head], definition_of(execution))
    if recognised.format == execution.format:  # what spoke for it may be blank since somebody was forgotten
        why.recognised = recognised.evidence
    try:
        found = rows.row(why.asked)
    except Header:
        why.verdict = Verdict.HEADER
        why.says.append("It is the CSV's header, which names the columns: it is no row.")
        return
    if isinstance(found, Beyond):
        why.verdict = Verdict.NO_ROW
        has = many(found.lines, "line") if found.lines is not None else ""
        has += f"{' and ' if has else ''}{many(found.bytes, 'byte')}" if found.bytes is not None else ""
        why.says.append(f"There is no {why.asked.said()}: the file has {has}.")
        return
    why.row = found
    if found.lines > 1:
        last = found.line + found.lines - 1
        why.says.append(f"The row stands on several lines, {found.line:,} to {last:,}: it has line breaks in quotes.")
    _judge(books, why, rows, reasons, moved)
    if execution.rules_version != RULES_VERSION:
        why.says.append(
            f"It was imported under rules {execution.rules_version} and is judged here by rules {RULES_VERSION}: where "
            "they differ, errors/ and the tables are right."
        )


def _judge(books: Books, why: Why, rows: Rows, reasons: Reasons | None, moved: Callable[[int], None]) -> None:
    execution, row = why.execution, why.row
    assert row is not None
    said = reasons.at(row.offset) if reasons is not None else None
    if said is None and _unread(books, why, row.offset):
        return
    erased = _blanked(books, why)
    if erased:
        why.verdict = Verdict.ERASED
        why.says.insert(0, erased)
        return
    batch = _judged(why, rows, row)
    if said is not None:
        _refused(books, why, BadRow.told(said, b""), rows.layout.header, moved)
        why.reasons_key = reasons.key if reasons is not None else ""
        if batch is not None and not batch.bad_rows and said["reason"] != Reason.REFUSED_BY_SINK.value:
            why.says.append("By its bytes as they are now, it would be good.")
        return
    if batch is None:
        return
    if batch.bad_rows:
        _refused(books, why, batch.bad_rows[0], rows.layout.header, moved)
        why.says.append("The reasons file does not have it: `importer verify` recounts what else there is.")
    elif batch.tally.blank:
        why.verdict = Verdict.BLANK
        why.says.insert(0, "It is blank: counted, and nothing else.")
    elif batch.tally.expired:
        why.verdict = Verdict.EXPIRED
        why.says.insert(0, "It had expired before its import began, by its own time to live: nothing of it was stored.")
    elif _is_withheld(books, execution, row.offset):
        why.verdict = Verdict.WITHHELD
        why.says.insert(0, "It is good, and was not stored: its import takes a file as a whole or not at all (atomic).")
    else:
        _stored(books, why, batch, rows)


def _judged(why: Why, rows: Rows, row: FoundRow) -> Batch | None:
    """The row, alone, under its execution's rules; None if its file was refused before rows were read."""
    execution = why.execution
    if execution.format not in FORMATS:
        why.verdict = Verdict.NEVER_READ
        why.says.insert(0, "Its rows are of no known dialect, so none was read.")
        return None
    try:
        if rows.layout.columns:
            judge_columns(execution.format, rows.layout.columns, definition_of(execution))
        # As a line behind others: a header is counted with the first line of a part.
        return next(batches([(row.offset, row.raw)], rules_of(execution), rows.layout, max(row.line - 1, 1)))
    except ObjectProblem as problem:
        why.verdict = Verdict.NEVER_READ
        why.says.insert(0, f"The file was refused before its rows were read: {problem.message}.")
        return None


def _unread(books: Books, why: Why, offset: int) -> bool:
    """Whether the import has not got so far; then the verdict says why."""
    execution = why.execution
    if execution.status is Status.SUCCEEDED:
        return False
    part = _part_of(execution, offset)
    if execution.outcome is not None:
        read_to = execution.outcome.read_to.get(part.start, part.start)
    else:
        states = {state.start: state for state in books.records.parts(execution.id)}
        read_to = states[part.start].next_offset if part.start in states else part.start
    if offset < read_to:
        return False
    ended = execution.status in (Status.FAILED, Status.CANCELED)
    why.verdict = Verdict.NEVER_READ if ended else Verdict.NOT_YET_READ
    stop = "the end" if part.stop == TO_THE_END else f"byte {part.stop:,}"
    until = f"Its part, from byte {part.start:,} to {stop}, was read up to byte {read_to:,}"
    if ended:
        code = f" ({execution.error.code})" if execution.error else ""
        why.says.insert(0, f"It was never read: its import ended {execution.status.value}{code}. {until}.")
        if execution.error is not None:
            why.says.append(execution.error.message)
    else:
        why.says.insert(0, f"It has not been read yet: its import is {execution.status.value}. {until} so far.")
    return True


def _part_of(execution: Execution, offset: int) -> Part:
    parts = parts_of(execution.part_count, execution.part_bytes)
    return next(part for part in reversed(parts) if part.start <= offset)


def _is_withheld(books: Books, execution: Execution, offset: int) -> bool:
    if execution.status is Status.SUCCEEDED:
        return False
    if execution.is_checking:
        return True
    start = _part_of(execution, offset).start
    return any(state.start == start and state.tally.withheld for state in books.records.parts(execution.id))


def _refused(books: Books, why: Why, bad: BadRow, header: bytes, moved: Callable[[int], None]) -> None:
    execution = why.execution
    why.verdict, why.bad = Verdict.BAD, bad
    why.rule = rule_of(execution.format, bad.reason)
    header_bytes = len(header) + (bool(header) and not header.endswith(b"\n"))
    why.errors = place_in_errors(books.objects, execution, bad.offset, header_bytes, moved)
    why.says.insert(0, f"It was refused, {bad.reason}: {bad.message}.")
    if execution.phase is not Phase.CLOSED:
        why.says.append("Its import has not ended: errors/ will have it when it has.")
    elif why.errors is None:
        to = execution.outcome.destination if execution.outcome is not None else None
        is_there = to is not None and books.objects.exists(execution.source.bucket, to.errors)
        expired = "" if is_there else books.errors_expired(execution)
        why.says.append(f"errors/ does not have it any more: {expired or 'the file was removed, or changed'}.")


def _blanked(books: Books, why: Why) -> str:
    """What erasure papers say of a row that is blank in its file, or of a line of one; "" if they say nothing."""
    execution, row = why.execution, why.row
    if row is None:
        return ""
    papers = Papers(books.objects, execution.source.bucket, execution.upload.execution_id)
    blanked = "Its bytes were blanked when a person was forgotten"
    if isinstance(row.raw, LongLine):  # no paper has it: it is refused as before
        return f"{blanked}. It was bad before, line_too_long." if papers and is_blank(row.raw.head) else ""
    if not is_blank(row.raw):
        return ""
    for told in papers.rows():
        if told.offset == row.offset:
            return f"{blanked}. It was {told.fate} before."
        if told.offset < row.offset < told.stop:
            return f"{blanked}. It is of a row from byte {told.offset:,} on, which was {told.fate} before."
        if told.offset > row.offset:
            break
    return ""


# ---- What the tables hold --------------------------------------------------------------------------------------------


def _stored(books: Books, why: Why, batch: Batch, rows: Rows) -> None:
    execution = why.execution
    source = provenance_of(execution)
    why.verdict = Verdict.STORED
    events = {(event.user_id, event.event_key): event for event in batch.events}
    changes: dict[Key, UserChange] = {}
    for change in batch.user_changes:
        key = (change.user_id, change.record)
        if key not in changes or rank(changes[key], source) < rank(change, source):
            changes[key] = change
    why.gives = frozenset((*events, *changes))
    told = f"It is good: {many(len(batch.events), 'event')}, {many(len(batch.user_changes), 'user change')}"
    if "dynamodb" not in execution.sinks:
        why.says.insert(0, f"{told}, sent to the stream alone: there is nothing to read back.")
        why.items = [Stored("events", "/".join(key), False, None, "sent to the stream") for key in events]
        del why.items[MOST_ITEMS:]
        return
    event_keys, change_keys = list(events)[:MOST_ITEMS], list(changes)[:MOST_ITEMS]
    why.more_items = len(events) + len(changes) - len(event_keys) - len(change_keys)
    found = books.stored.events(event_keys) if event_keys else {}
    records = books.stored.users(change_keys) if change_keys else {}
    persons = dict.fromkeys(user_id for user_id, _ in (*event_keys, *change_keys))
    asked = [(user_id, ERASED) for user_id in persons if (user_id, ERASED) not in changes]
    erased = {
        user_id
        for (user_id, _), item in (books.stored.users(asked) if asked else {}).items()
        if _uploaded_ms(item) > source.uploaded_ms
    }
    for key in event_keys:
        expires_ms = events[key].expires_ms
        item = found.get(key)
        if item is None:
            says = _missing(key[0] in erased, expires_ms, books.now_ms)
        else:
            says = _by_whom(books, why, item, rows)
        why.items.append(_item("events", key, item, says))
    for key in change_keys:
        item = records.get(key)
        mine = rank(changes[key], source)
        if item is None:
            says = _missing(key[0] in erased, changes[key].expires_ms, books.now_ms)
        elif (theirs := _text(item, "rank")) == mine:
            says = "this row's value"
        elif theirs > mine:
            says = f"a newer value has won: {_by_whom(books, why, item, rows)}, {_ranked(theirs)}"
        else:
            says = "an older value stands there, which cannot be: run `importer verify`"
        why.items.append(_item("users", key, item, says))
    if erased and not any(item.there for item in why.items):
        why.verdict = Verdict.ERASED
        why.says.insert(0, f"{told}. Its person was erased by an upload that came later: nothing of it is kept.")
        return
    if execution.undone is not None and not any((item.written_by or ("",))[0] == execution.id for item in why.items):
        why.verdict = Verdict.UNDONE
        why.says.insert(0, f"{told}. Its import was undone: what stands there now is what others have written.")
        return
    there = sum(item.there for item in why.items)
    also = "" if "firehose" not in execution.sinks else ", and on the stream"
    why.says.insert(
        0,
        f"{told}. Of {many(len(why.items), 'item')} looked up {there:,} {'is' if there == 1 else 'are'} in "
        f"the tables now{also}.",
    )


def _missing(is_erased: bool, expires_ms: int | None, now_ms: int) -> str:
    if is_erased:
        return "not there: the person was erased later"
    if expires_ms is not None and expires_ms <= now_ms:
        return f"not there: it expired at {utc(expires_ms)}"
    return "not there: somebody has removed it, or the import was undone; `importer verify` says more"


def _by_whom(books: Books, why: Why, item: Item, rows: Rows) -> str:
    execution, row = why.execution, why.row
    writer_id, address = _text(item, "execution_id"), _address(item)
    if writer_id == execution.id:
        if row is not None and address == row.offset:
            return "written by this row"
        line = None if address is None else rows.line_of(address)
        place = f"line {line:,}" if line else f"byte {address:,}" if address is not None else "another row"
        return f"the same event stands in {place} of this file, which wrote it last"
    writer = books.records.execution(writer_id)
    if writer is None:
        return f"written last by execution {writer_id}, which is not known any more, from byte {address}"
    replay = ", a replay of this file" if writer.upload.execution_id == execution.upload.execution_id else ""
    return f"written last by execution {writer_id} ({writer.upload.key}{replay}), from byte {address}"


def _ranked(rank_text: str) -> str:
    return f"as of {utc(int(rank_text.partition('#')[0]))}" if rank_text[:13].isdigit() else "of unknown age"


def _item(table: str, key: Key, item: Item | None, says: str) -> Stored:
    if item is None:
        return Stored(table, "/".join(key), False, None, says)
    return Stored(table, "/".join(key), True, (_text(item, "execution_id"), _address(item)), says, _plain(item))


def _plain(item: Item) -> dict[str, Value]:
    return cast("dict[str, Value]", orjson.loads(attribute_said({"M": item})))


def _text(item: Item, name: str) -> str:
    return str(item.get(name, {}).get("S", ""))


def _address(item: Item) -> int | None:
    text = str(item.get("address", {}).get("N", ""))
    return int(text) if text.isascii() and text.isdigit() else None


def _uploaded_ms(item: Item) -> int:
    try:
        return uploaded_ms_of(_text(item, "rank"))
    except (IndexError, ValueError):
        return 0


def _told_by_papers(books: Books, why: Why, reasons: Reasons | None, moved: Callable[[int], None]) -> None:
    """The object is gone: only a refused row is still known, by errors/ and its reason."""
    execution = why.execution
    outcome = execution.outcome
    where = outcome.destination.completed if outcome and execution.status is Status.SUCCEEDED else execution.source.key
    gone = f"s3://{execution.source.bucket}/{where} is not there any more: it expired, or somebody removed it"
    if execution.status is Status.SUCCEEDED and (expired := books.archive_expired(execution)):
        gone = f"s3://{execution.source.bucket}/{expired}"
    said = reasons.before(why.asked) if reasons is not None else None
    if said is not None and why.asked.line is not None and said["line"] != why.asked.line:
        said = None
    if said is not None and why.asked.offset is not None and why.asked.offset >= said["offset"] + said["length"] + 2:
        said = None
    if said is None:
        why.verdict = Verdict.UNKNOWN
        why.says.append(f"{gone}. The row was not refused, or errors/ is gone too; nothing else says what it was.")
        if reasons is None and outcome is not None and outcome.sums.bad and (told := books.errors_expired(execution)):
            why.says.append(f"{outcome.destination.errors}: {told}.")
        if execution.status is Status.SUCCEEDED and outcome is not None and why.asked.line is not None:
            lines = outcome.sums.file_lines
            if why.asked.line > lines:
                why.verdict = Verdict.NO_ROW
                why.says.insert(0, f"There is no {why.asked.said()}: the file had {lines:,} lines.")
        return
    why.reasons_key = reasons.key if reasons is not None else ""
    _refused(books, why, BadRow.told(said, b""), _header_in_errors(books, execution), moved)
    why.says.append(f"{gone}. Its bytes are those of errors/.")
    if why.errors is not None:
        found = books.objects.head(Dropped(execution.source.bucket, why.errors.key, None, ""))
        if found is not None:
            begin = why.errors.offset
            raw = b"".join(books.objects.read(found, begin, min(begin + why.errors.length + 2, found.size_bytes)))
            end = raw.find(b"\n", why.errors.length) + 1 or len(raw)
            why.row = FoundRow(said["line"] or 0, said["offset"], raw[:end])


def _header_in_errors(books: Books, execution: Execution) -> bytes:
    """What errors/ begins with, where the file itself is gone."""
    if execution.mime_type != TEXT_CSV or execution.outcome is None:
        return b""
    key = execution.outcome.destination.errors
    found = books.objects.head(Dropped(execution.source.bucket, key, None, ""))
    if found is None:
        return b""
    head = b"".join(books.objects.read(found, 0, min(HEAD_BYTES, found.size_bytes)))
    return layout_of(TEXT_CSV, head).header


# ---- An item ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class WhyItem:
    """What is known of an item: the item itself, and the row it came from, as far as that is there.

    Attributes:
        execution: the one that wrote it last; None if it is not known any more.
        row: of that execution's file.
    """

    table: str
    key: Key
    item: dict[str, Value] | None = None
    execution: Execution | None = None
    row: Why | None = None
    says: list[str] = field(default_factory=list)

    def document(self) -> dict[str, Value]:
        """`why_item/1`."""
        return {
            "schema": "why_item/1",
            "table": self.table,
            "user_id": self.key[0],
            "key": self.key[1],
            "there": self.item is not None,
            "item": self.item,
            "says": list(self.says),
            "row": self.row.document() if self.row is not None else None,
        }


def why_item(books: Books, table: str, keys: list[Key], moved: Callable[[int], None] = lambda offset: None) -> WhyItem:
    """Which row the first of these items that is there came from.

    Args:
        table: "events" or "users".
        keys: what may be meant: an id may hold what divides it from its key.
    Raises:
        Unavailable.
    """
    stored = books.stored
    found = stored.events(keys) if table == "events" else stored.users(keys)
    key = next((key for key in keys if key in found), keys[0])
    why = WhyItem(table, key)
    item = found.get(key)
    if item is None:
        why.says.append(f"The {table} table has no such item now.")
        erased = stored.users([(key[0], ERASED)])
        if erased and key[1] != ERASED:
            by = _text(next(iter(erased.values())), "execution_id")
            why.says.append(f"The person was erased, by execution {by}: what was uploaded before is gone.")
        else:
            why.says.append("It was never written under this key, has expired, or its import was undone.")
        return why
    why.item = _plain(item)
    writer_id, address = _text(item, "execution_id"), _address(item)
    why.execution = books.records.execution(writer_id)
    if why.execution is None:
        why.says.append(f"Execution {writer_id} wrote it, and is not known any more: its record has expired.")
        return why
    if address is None:
        why.says.append(f"Execution {writer_id} wrote it, and it does not say from which byte.")
        return why
    why.says.append(f"Execution {writer_id} wrote it last, from byte {address:,} of {why.execution.upload.key}.")
    why.row = why_row(books, why.execution, Asked(offset=address), moved)
    row = why.row.row
    if row is None:
        why.says.append("That row cannot be shown.")
    elif why.row.verdict is Verdict.ERASED:
        why.says.append("That row was blanked since: a person was forgotten.")
    elif row.offset != address or (why.row.gives and key not in why.row.gives):
        why.says.append("The row there gives no such item: the file was changed since, or the item was.")
    return why


# ---- Search ----------------------------------------------------------------------------------------------------------


def rows_giving(
    books: Books, execution: Execution, table: str, keys: list[Key], moved: Callable[[int], None]
) -> Iterator[tuple[int, int]]:
    """(line, offset) of each row of an execution's file that gives one of these items. Reads the whole file.

    Raises:
        ObjectProblem: it is gone, or cannot be read to its end.
        Unavailable.
    """
    source = source_of(books, execution)
    if source is None:
        raise ObjectProblem(FileReason.OBJECT_GONE, f"the file of execution {execution.id} is not there any more")
    if execution.format not in FORMATS:
        return
    wanted = set(keys)
    text = PlainText(books.objects, source)
    layout = text.layout(definition_of(execution).mime_type, execution.was_read)
    part = Part(len(layout.header), TO_THE_END)
    for batch in batches(layout.lines(text.read(reading_start(part)), part), rules_of(execution), layout):
        hits: set[int] = set()
        if table == "events":
            hits = {event.address for event in batch.events if (event.user_id, event.event_key) in wanted}
        else:
            hits = {change.address for change in batch.user_changes if (change.user_id, change.record) in wanted}
        if hits:
            numbers = dict(batch.line_numbers())
            yield from ((numbers[offset], offset) for offset in sorted(hits))
        moved(batch.next_offset)
