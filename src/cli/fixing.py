"""`importer fix`: repairs of refused rows, shown as a diff, and written or dropped when a person says so."""

import gzip
import os
import shlex
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, cast

import click
import orjson
import zstandard
from rich.console import Console
from rich.text import Text

from cli import importing, lookup, previewing, show
from cli.connection import Connection, connected, explained
from cli.reading import ReadingOptions, reading_options
from cli.verbs import (
    DONE,
    ROWS_REFUSED,
    UNAVAILABLE,
    Differs,
    confirm,
    json_option,
    stack_option,
    timeout_option,
    yes_option,
)
from importer.aws.clock import SystemClock
from importer.bad_rows import row_text, shown
from importer.batches import Rules, batches
from importer.compression import opened, peeked
from importer.csv_rows import Csv
from importer.definitions import DEFAULT, SINK_CHOICES, TEXT_CSV, Definition
from importer.executions import mending
from importer.executions.destinations import without_compression
from importer.formats import judge_columns
from importer.layouts import JSON_LINES, Layout, layout_of
from importer.ledger.erasures import lengths_of_bad
from importer.ledger.traces import is_blank
from importer.lines import BOM, HEAD_BYTES, MAX_LINE_BYTES, first, reading_start, skipped
from importer.model import TO_THE_END, Execution, Line, LongLine, Part, S3Object, Value
from importer.notification import IMPORTS_PREFIX, Dropped
from importer.recognition import recognised
from importer.repairs import LABELS, Refused, Repair, Repairer, Rule
from importer.sinks import SINKS

EXAMPLES: Final = 3
MOST_GROUPS: Final = 200  # of repairs, and of what cannot be repaired; more than a person reads
SHOWN_CHARACTERS: Final = 2_000  # of a row in the document
_AROUND: Final = 40  # characters of a row beside what changes in it


# ---- What is mended --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Target:
    """Rows to be mended, and the settings they are judged by.

    Attributes:
        lines: of the file; each with its address in it.
        original: line and address in the file that was imported, by the address of a line that is just being given.
        again: gives bytes of the file once more, for lines too long to be held.
        parent: the execution whose errors file it is; None of any other file.
    """

    name: str
    size_bytes: int
    layout: Layout
    rules: Rules
    lines: Iterator[Line]
    again: Any
    original: "dict[int, tuple[int | None, int]]" = field(default_factory=dict)
    parent: Execution | None = None

    @property
    def definition(self) -> Definition:
        return self.rules.definition


def local(path: Path, definition: Definition, sinks: str, bar: show.Bar) -> Target:
    """A file on this machine.

    Raises:
        ObjectProblem: no row of it can be read.
    """
    size = path.stat().st_size
    _, text = opened(previewing.watched(previewing.chunks(path), size, bar))
    head, text = peeked(text, HEAD_BYTES)
    layout = layout_of(definition.mime_type, head)
    said = recognised(head[:HEAD_BYTES], layout, definition)
    if layout.columns:
        judge_columns(said.format, layout.columns, definition)
    limits = tuple(SINKS[name] for name in SINK_CHOICES[definition.sinks or sinks])
    rules = Rules(said.format, definition, SystemClock().now_ms(), limits)
    part = Part(len(layout.header), TO_THE_END)
    lines = layout.lines(skipped(text, reading_start(part)), part)

    def again(start: int, size: int) -> Iterator[bytes]:
        return first(skipped(opened(previewing.chunks(path))[1], start), size)

    return Target(importing.path_text(path), size, layout, rules, lines, again)


def errors_of(connection: Connection, execution: Execution, bar: show.Bar) -> Target:
    """The errors file of an execution, row by row as its reasons say; judged as its import would be now.

    Raises:
        Differs: nothing of it was refused, or its errors file is gone.
    """
    outcome = execution.outcome
    if outcome is None or not outcome.sums.bad:
        raise Differs(f"no row of {execution.source.uri} was refused: there is nothing to mend")
    bucket = execution.source.bucket
    with explained(connection.name):
        found = connection.objects.head(Dropped(bucket, outcome.destination.errors, None, ""))
        told = connection.objects.head(Dropped(bucket, outcome.destination.reasons, None, ""))
    if found is None:
        raise Differs(f"s3://{bucket}/{outcome.destination.errors} is gone: its rows can be mended no more")
    definition = _definition_now(connection, execution)
    layout: Layout = JSON_LINES
    if definition.mime_type == TEXT_CSV:
        layout = Csv.of(b"".join(_read(connection, found, 0, min(found.size_bytes, HEAD_BYTES))))
    limits = tuple(SINKS[name] for name in execution.sinks)
    rules = Rules(execution.format, definition, SystemClock().now_ms(), limits)
    begin = len(layout.header)
    text = previewing.watched(_read(connection, found, begin), found.size_bytes, bar)
    original: dict[int, tuple[int | None, int]] = {}
    if told is None:
        part = Part(begin, TO_THE_END)
        early = previewing.watched(_read(connection, found, reading_start(part)), found.size_bytes, bar)
        lines = layout.lines(early, part)
    else:
        with explained(connection.name):
            blanked = lengths_of_bad(connection.objects, execution)
        lines = _by_reasons(text, begin, _lines_of(_read(connection, told, 0)), blanked, original)

    def again(start: int, size: int) -> Iterator[bytes]:
        return _read(connection, found, start, start + size)

    return Target(found.uri, found.size_bytes, layout, rules, lines, again, original, execution)


def _definition_now(connection: Connection, execution: Execution) -> Definition:
    """The definition its mended rows would be read by; as it was, where there is none of that id any more."""
    import_id = execution.document_import_id
    pinned = Definition.of(execution.definition)
    if import_id == DEFAULT.id:
        return pinned
    with explained(connection.name):
        stored = connection.imports.definition(import_id)
    return pinned if stored is None else lookup.stored_definition(connection, import_id)


def _read(connection: Connection, source: S3Object, start: int, stop: int | None = None) -> Iterator[bytes]:
    with explained(connection.name):
        yield from connection.objects.read(source, start, stop)


def _lines_of(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest


def _by_reasons(
    chunks: Iterator[bytes],
    begin: int,
    reasons: Iterator[bytes],
    blanked: Iterator[int],
    original: "dict[int, tuple[int | None, int]]",
) -> Iterator[Line]:
    """The rows of an errors file, cut by the lengths its reasons tell: a CSV's row may hold line breaks, or a quotation
    mark that would swallow the row behind it. Both are blank where somebody was forgotten: such a row is an empty line,
    so that those behind it keep their number.
    """
    held = bytearray()
    at = begin

    def more() -> bool:
        chunk = next(chunks, None)
        held.extend(chunk or b"")
        return chunk is not None

    for reason in reasons:
        said = orjson.loads(reason) if not is_blank(reason) else None
        length = next(blanked, 0) if said is None else int(said["length"])
        if said is not None:
            original[at] = (said["line"], int(said["offset"]))
        if said is not None and length > MAX_LINE_BYTES:
            head = b""
            left = length
            while left:
                if not held and not more():
                    return
                head += bytes(held[: min(left, 1024 - len(head))])
                taken = min(left, len(held))
                del held[:taken]
                left -= taken
            while (stop := held.find(b"\n")) < 0 and more():
                pass
            end = held[: stop + 1 or len(held)]
            del held[: len(end)]
            yield at, LongLine(length + len(end), length, head, "")
            at += length + len(end)
            continue
        while (stop := held.find(b"\n", length)) < 0 and more():
            pass
        row = bytes(held[: stop + 1 or len(held)])
        if not row:
            return
        del held[: len(row)]
        yield at, row if said is not None else b"\n"
        at += len(row)


# ---- Mending ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Choice:
    """Which repairs a person wants: all, or those by these rules; guesses too, or not."""

    rules: frozenset[str] = frozenset()
    only_certain: bool = False

    def why_not(self, repair: Repair) -> str:
        """Why a repair is not wanted; "" if it is."""
        if self.only_certain and not repair.certain:
            return f"a guess ({repair.name}): --only-certain leaves it out"
        if self.rules and not self.rules.issuperset(rule.value for rule in repair.rules):
            return f"it takes {repair.name}, which was not chosen (--rule)"
        return ""


@dataclass(slots=True)
class Group:
    """Rows that are mended by the same rules, or that cannot be for one reason."""

    count: int = 0
    first_line: int | None = None
    certain: bool = True
    examples: list[tuple[int | None, int, Repair | Refused]] = field(default_factory=list)


@dataclass(slots=True)
class Mended:
    """What a pass over a file found."""

    rows: int = 0
    good: int = 0
    repaired: int = 0
    unrepaired: int = 0
    repairs: dict[str, Group] = field(default_factory=dict)
    refused: dict[tuple[str, str, str], Group] = field(default_factory=dict)

    def add(self, place: tuple[int | None, int], found: Repair | Refused, why: str, examples: int) -> None:
        if isinstance(found, Repair) and not why:
            self.repaired += 1
            group = self._group(self.repairs, found.name, OTHERS)
            group.certain &= found.certain
        else:
            self.unrepaired += 1
            key = (found.bad.reason, found.bad.field, why)
            group = self._group(self.refused, key, (OTHERS, "", ""))
            if isinstance(found, Repair):
                found = Refused(found.before, found.bad, why)
        group.count += 1
        if group.first_line is None:
            group.first_line = place[0]
        if len(group.examples) < examples:
            group.examples.append((*place, found))

    @staticmethod
    def _group(groups: dict[Any, Group], key: Any, others: Any) -> Group:
        if key not in groups and len(groups) >= MOST_GROUPS:
            key = others
        return groups.setdefault(key, Group())


OTHERS: Final = "others"


@dataclass(slots=True)
class Outputs:
    """Where the mended file goes, and the rows that stay as they are; None where nobody wants them."""

    mended: IO[bytes] | None = None
    rest: IO[bytes] | None = None
    keep_unrepaired: bool = True


def mend(target: Target, choice: Choice, outputs: Outputs, examples: int) -> tuple[Mended, str]:
    """Go through a file once, and write what is wanted of it.

    Returns:
        What was found, and which of its rows were written, as `mends-rows` says it; "" where that is too long to say.
    """
    found = Mended()
    repairer = Repairer(target.rules, target.layout)
    written = mending.RowsSaid()
    for output in (outputs.mended, outputs.rest):
        _put(output, [target.layout.header])
    everything = True
    index = -1
    for batch in batches(target.lines, target.rules, target.layout):
        refused = {row.offset: row for row in batch.bad_rows}
        for (offset, raw), (_, number) in zip(batch.lines, batch.line_numbers(), strict=True):
            index += 1
            place = target.original.pop(offset, (number, offset))
            bad = refused.get(offset)
            if bad is None:
                is_blank = isinstance(raw, bytes) and not row_text(raw).removeprefix(BOM).strip(b" \t\r")
                found.rows += not is_blank
                found.good += not is_blank
                _write(outputs.mended, target, offset, raw)
                written.add(index)
                continue
            found.rows += 1
            repair = repairer.repair(raw, place[0] or 0, offset)
            assert repair is not None  # the same reader has just refused it
            why = choice.why_not(repair) if isinstance(repair, Repair) else ""
            found.add(place, repair, why, examples)
            if isinstance(repair, Repair) and not why:
                _put(outputs.mended, [repair.after])
                written.add(index)
            elif outputs.keep_unrepaired:
                _write(outputs.mended, target, offset, raw)
                written.add(index)
            else:
                everything = False
                _write(outputs.rest, target, offset, raw)
    return found, mending.ALL if everything else written.said()


def _write(output: IO[bytes] | None, target: Target, offset: int, raw: bytes | LongLine) -> None:
    if output is not None:
        _put(output, target.again(offset, raw.size) if isinstance(raw, LongLine) else [raw])


def _put(output: IO[bytes] | None, pieces: Iterable[bytes]) -> None:
    if output is not None:
        for piece in pieces:
            output.write(piece)


@contextmanager
def _appearing(path: Path) -> Iterator[IO[bytes]]:
    """A file that appears whole, when the block ends well; compressed if its name says so."""
    descriptor, partial = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            suffix = path.suffix.lower()
            if suffix == ".gz":
                with gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0) as packed:
                    yield cast("IO[bytes]", packed)
            elif suffix == ".zst":
                with zstandard.ZstdCompressor().stream_writer(file, closefd=False) as packed:
                    yield cast("IO[bytes]", packed)
            else:
                yield file
        os.chmod(partial, 0o666 & ~_umask())
        os.replace(partial, path)
    except BaseException:
        os.unlink(partial)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


# ---- The verb --------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("file", metavar="FILE|KEY|EXECUTION")
@click.option(
    "--rule",
    "rules",
    multiple=True,
    type=click.Choice([rule.value for rule in Rule]),
    metavar="NAME",
    help="Only repairs by this rule; may be given several times. A row that needs others too stays as it is.",
)
@click.option("--only-certain", is_flag=True, help="Leave out repairs that are guesses.")
@click.option(
    "--write",
    "out_file",
    metavar="OUT",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the mended file: good rows byte for byte, repaired ones in their place. .gz and .zst compress.",
)
@click.option("--drop-unrepaired", is_flag=True, help="Leave the rows that stay as they are out of it.")
@click.option(
    "--rest",
    "rest_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the rows that stay as they are to FILE, and leave them out of the mended one.",
)
@click.option("--drop", is_flag=True, help="Upload the mended file to imports/, and wait for its import.")
@click.option("--mends", metavar="EXECUTION", help="With --drop: whose bad rows a local FILE has, all of them.")
@click.option(
    "--mended-by",
    "child",
    metavar="EXECUTION",
    help="Say that this execution's file, dropped by hand, had the bad rows of KEY|EXECUTION, mended. Mends nothing.",
)
@click.option("--rows", default=EXAMPLES, show_default=True, type=click.IntRange(0), help="Rows to show for each rule.")
@reading_options
@timeout_option(900.0, "With --drop: how long to wait for the import to end.")
@yes_option
@stack_option
@json_option
@click.pass_context
def fix(
    ctx: click.Context,
    file: str,
    rules: tuple[str, ...],
    only_certain: bool,
    out_file: Path | None,
    drop_unrepaired: bool,
    rest_file: Path | None,
    drop: bool,
    mends: str | None,
    child: str | None,
    rows: int,
    reading: ReadingOptions,
    timeout_s: float,
    yes: bool,
    stack_name: str | None,
    as_json: bool,
) -> None:
    """Propose repairs of refused rows, as a diff. Changes nothing, unless --write or --drop is given.

    FILE is a file here, or an import whose bad rows are to be mended: an execution, the key it was dropped under, or
    its object in errors/. Each repair is a small edit, and is proposed only if the mended row would be imported. A good
    row is never touched; where a row can be meant in two ways nothing is proposed. docs/fix.md lists the rules.

    --drop says whose bad rows the file has, so that they are no longer outstanding there. Rows that could not be mended
    go along and are refused again, with their reasons, in the new import's own errors file; --drop-unrepaired leaves
    them where they are.

    A file here is read as --import-id, --format and the options after it say; an import's rows as it read them.

    Exit code 1: rows remain that cannot be repaired. 3: the file as a whole cannot be read.

    \b
    Examples:
      importer fix logins.json
      importer fix errors/2026/11/26/logins.json
      importer fix logins.json --only-certain --write mended.json --rest by-hand.json
      importer fix imports/logins.json --rule seconds --rule near_name --drop
      importer fix 8c2f… --drop --yes --stack s3-event-importer
      importer fix 8c2f… --mended-by 41d0…
    """
    path = Path(file)
    is_local = path.exists() and not file.startswith("s3://")
    _judge_options(path, is_local, out_file, rest_file, drop, drop_unrepaired, mends, child)
    connection = connected(stack_name) if not is_local or drop or reading.import_id is not None else None
    if child is not None:
        assert connection is not None
        _say_mended(connection, lookup.execution_of(connection, file), child, as_json)
        return
    if is_local:
        definition = reading.definition(connection, without_compression(path.name).lower().endswith(".csv"))
    choice = Choice(frozenset(rules), only_certain)
    if out_file is not None and out_file.exists():
        confirm(yes, f"Write over {out_file}?")
    with ExitStack() as files:
        spool = Path(files.enter_context(tempfile.TemporaryDirectory())) / "mended" if drop else None
        with show.Bars(quiet=as_json) as bars, ExitStack() as writing:
            bar = bars.file(Path(path.name))
            if is_local:
                target = local(path, definition, reading.sinks, bar)
            else:
                assert connection is not None
                target = errors_of(connection, lookup.execution_of(connection, file), bar)
            mended = [writing.enter_context(_appearing(to)) for to in (out_file, spool) if to is not None]
            outputs = Outputs(
                mended=_Both(mended) if mended else None,  # type: ignore[arg-type]  # it is only written to
                rest=writing.enter_context(_appearing(rest_file)) if rest_file is not None else None,
                keep_unrepaired=not drop_unrepaired and rest_file is None,
            )
            found, rows_said = mend(target, choice, outputs, rows)
        said: dict[str, Value] = document(target, found)
        said["written"] = importing.path_text(out_file) if out_file is not None else None
        if not as_json:
            page(show.console(), target, found, connection, changes=out_file is not None or drop)
            _say_written(out_file, rest_file, found, outputs.keep_unrepaired)
        exit_code = ROWS_REFUSED if found.unrepaired else DONE
        if spool is not None:
            assert connection is not None
            exit_code = _drop(connection, target, found, rows_said, spool, path, mends, timeout_s, yes, as_json, said)
    if as_json:
        click.echo(show.to_json(said))
    ctx.exit(exit_code)


class _Both:
    """What is written goes to each."""

    def __init__(self, files: list[IO[bytes]]) -> None:
        self._files = files

    def write(self, piece: bytes) -> None:
        for file in self._files:
            file.write(piece)


def _judge_options(
    path: Path,
    is_local: bool,
    out_file: Path | None,
    rest_file: Path | None,
    drop: bool,
    drop_unrepaired: bool,
    mends: str | None,
    child: str | None,
) -> None:
    if path.is_dir():
        raise click.UsageError(f"{path} is a directory: name the files in it")
    if child is not None and (out_file or rest_file or drop or mends or is_local):
        raise click.UsageError("--mended-by is for an execution, and stands alone")
    if (drop_unrepaired or rest_file) and not (out_file or drop):
        raise click.UsageError("--drop-unrepaired and --rest are about the mended file: give --write OUT or --drop")
    if mends is not None and not (drop and is_local):
        raise click.UsageError("--mends is for --drop with a local FILE")
    written = [to.resolve() for to in (out_file, rest_file) if to is not None]
    if len(set(written)) < len(written) or (is_local and path.resolve() in written):
        raise click.UsageError(
            "the mended file, the rest and FILE need names of their own: nothing is written over FILE"
        )


def _say_written(out_file: Path | None, rest_file: Path | None, found: Mended, kept: bool) -> None:
    out = show.console()
    if out_file is not None:
        with_rest = f", {show.many(found.unrepaired, 'row')} as they were" if kept and found.unrepaired else ""
        good = f"{show.many(found.good, 'good row')} and {found.repaired:,} repaired"
        out.print(Text(f"Written to {importing.path_text(out_file)}: {good}{with_rest}"), soft_wrap=True)
    if rest_file is not None:
        rest = f"Written to {importing.path_text(rest_file)}: {show.many(found.unrepaired, 'row')} as they were"
        out.print(Text(rest), soft_wrap=True)


# ---- Dropping --------------------------------------------------------------------------------------------------------


def _drop(
    connection: Connection,
    target: Target,
    found: Mended,
    rows_said: str,
    spool: Path,
    path: Path,
    mends: str | None,
    timeout_s: float,
    yes: bool,
    as_json: bool,
    said: dict[str, Value],
) -> int:
    """Upload the mended file, and say what became of it. An exit code."""
    parent = lookup.execution_of(connection, mends) if mends is not None else target.parent
    if parent is not None and parent.source.bucket != connection.stack.bucket:
        raise Differs(
            f"{parent.source.uri} lies in a bucket of others: write the mended file with --write, and drop it there "
            f"(`aws s3 cp … --metadata {mending.METADATA}={parent.id}`)"
        )
    if not found.repaired and not found.good:
        raise Differs(f"no row of {target.name} was mended: nothing was dropped")
    key = _key(target.definition, path.name, parent)
    if target.parent is not None and not rows_said:
        raise Differs(
            "the mended rows stand among too many others for it to be said which they are: drop the file with all its "
            "rows, without --drop-unrepaired and --rest, or write it with --write and mend the rest too"
        )
    rows = rows_said if target.parent is not None else ""
    metadata = mending.metadata_of(parent.id, rows) if parent is not None else {}
    count = found.good + found.repaired
    with_rest = f" and {found.unrepaired:,} as they are" if rows_said == mending.ALL and found.unrepaired else ""
    confirm(yes, f"Drop {show.many(count, 'mended row')}{with_rest} as s3://{connection.stack.bucket}/{key}?")
    deadline = time.monotonic() + timeout_s
    with show.Bars(as_json) as bars:
        bar = bars.file(Path(key.rpartition("/")[2]))
        size = spool.stat().st_size
        uploaded = importing.upload(connection, spool, key, lambda sent: bar.sent(sent, size), metadata)
        bar.uploaded(uploaded.source.uri)
        if target.definition.has_in_series(key):
            outcome = importing.left_to_runs(connection, Path(key), uploaded, target.definition, "uploaded")
        else:
            execution = importing.follow(connection, uploaded, deadline, lambda now: bar.moved(now, uploaded))
            if execution is None:
                look = f"importer executions {uploaded.execution_id}{connection.command}"
                trouble = f"uploaded, but not imported within the time given. Look again with `{look}`"
                outcome = importing.Outcome(Path(key), uploaded, trouble=trouble, exit_code=UNAVAILABLE)
            else:
                outcome = importing.outcome_of(connection, Path(key), uploaded, execution, 0)
    said["dropped"] = outcome.document()
    left = None
    if parent is not None:
        left = importing.outstanding(connection, parent)
        said["parent"] = {"execution_id": parent.id, **left.document()}
    if not as_json:
        out = show.console()
        out.print()
        show.outcome(out, outcome)
        if parent is not None and left is not None:
            show.label(out, "mends", f"{parent.id}: {left.rows:,} of its {show.many(left.bad, 'bad row')} outstanding")
    return max(outcome.exit_code, ROWS_REFUSED if found.unrepaired else DONE)


def _key(definition: Definition, name: str, parent: Execution | None) -> str:
    """Where the mended file is dropped: in the parent's folder, with its id in the name: it replaces no other file."""
    folder = IMPORTS_PREFIX if definition.id == DEFAULT.id else f"{IMPORTS_PREFIX}{definition.id}/"
    if parent is None:
        return f"{folder}{without_compression(name)}"
    outer, slash, name = without_compression(parent.upload.key).rpartition("/")
    base, dot, suffix = name.rpartition(".")
    base = ".".join(piece for piece in base.split(".") if not lookup.is_id(piece))
    return f"{outer}{slash}{base}.{parent.id}{dot}{suffix}"


def still_outstanding(connection: Connection, most: int) -> list[tuple[Execution, mending.Outstanding]]:
    """The newest executions with bad rows that nobody has mended, newest first."""
    found: list[tuple[Execution, mending.Outstanding]] = []
    for execution in importing.with_bad_rows(connection):
        left = importing.outstanding(connection, execution)
        if left.rows:
            found.append((execution, left))
            if len(found) == most:
                break
    return found


def _say_mended(connection: Connection, parent: Execution, child_name: str, as_json: bool) -> None:
    child = lookup.execution_of(connection, child_name)
    if child.id == parent.id:
        raise click.UsageError("an execution does not mend itself")
    if child.created_ms < parent.created_ms:
        raise Differs(f"{child.id} was dropped before {parent.id}: it cannot have its bad rows, mended")
    with explained(connection.name):
        connection.imports.link_mending(parent.id, mending.of_hand(child.id))
    left = importing.outstanding(connection, parent)
    if as_json:
        click.echo(show.to_json({"execution_id": parent.id, **left.document()}))
    else:
        text = f"{parent.id}: {left.rows:,} of its {show.many(left.bad, 'bad row')} outstanding."
        show.paragraph(show.console(), text, indent=0)


# ---- For people and for machines -------------------------------------------------------------------------------------


def document(target: Target, found: Mended) -> dict[str, Value]:
    """For `--json`."""
    return {
        "schema": "fix/1",
        "file": target.name,
        "execution_id": target.parent.id if target.parent is not None else None,
        "format": target.rules.format,
        "rows": found.rows,
        "good": found.good,
        "repaired": found.repaired,
        "unrepaired": found.unrepaired,
        "repairs": [
            {
                "rules": cast("Value", name.split(" + ")),
                "says": _says(name),
                "count": group.count,
                "certain": group.certain,
                "first_line": group.first_line,
                "examples": [_example(*example) for example in group.examples],
            }
            for name, group in _largest(found.repairs)
        ],
        "refused": [
            {
                "reason": reason,
                "field": name,
                "count": group.count,
                "first_line": group.first_line,
                "examples": [_example(*example) for example in group.examples],
            }
            for (reason, name, _), group in _largest(found.refused)
        ],
    }


def _example(line: int | None, offset: int, found: Repair | Refused) -> Value:
    said: dict[str, Value] = {"line": line, "offset": offset, "reason": found.bad.reason, "message": found.bad.message}
    if isinstance(found, Refused):
        text = found.raw.head if isinstance(found.raw, LongLine) else row_text(found.raw)
        return said | {"text": _text(text)[:SHOWN_CHARACTERS], "why": found.why}
    return said | {
        "before": _text(row_text(found.before))[:SHOWN_CHARACTERS],
        "after": _text(row_text(found.after))[:SHOWN_CHARACTERS],
        "steps": [{"rule": step.rule.value, "why": step.why, "certain": step.certain} for step in found.steps],
    }


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _largest(groups: dict[Any, Group]) -> list[tuple[Any, Group]]:
    return sorted(groups.items(), key=lambda pair: -pair[1].count)


def _says(name: str) -> str:
    return "; ".join(LABELS[Rule(rule)] if rule != OTHERS else "repairs of other kinds" for rule in name.split(" + "))


def page(out: Console, target: Target, found: Mended, connection: Connection | None, changes: bool) -> None:
    """The diff, rule by rule, and what cannot be repaired."""
    out.print(Text(shown(target.name), style="bold").append(f"  {target.rules.format}", style="dim"), soft_wrap=True)
    said = f"{show.many(found.rows, 'row')}: {found.good:,} good, {found.repaired:,} can be repaired, "
    show.paragraph(out, f"{said}{found.unrepaired:,} cannot", indent=2)
    for name, group in _largest(found.repairs):
        show.heading(out, f"{show.many(group.count, 'row')}: {_says(name)}")
        sure = "certain" if group.certain else "a guess: look at it"
        out.print(Text(f"  {name}  ", style="cyan").append(sure, style="green" if group.certain else "yellow"))
        for line, offset, repair in group.examples:
            assert isinstance(repair, Repair)
            _diff(out, line, offset, repair)
        if group.count > len(group.examples):
            show.paragraph(out, f"and {group.count - len(group.examples):,} more like these (--rows N)", "dim")
    if found.refused:
        show.heading(out, f"Cannot be repaired: {show.many(found.unrepaired, 'row')}")
    for (reason, name, _), group in _largest(found.refused):
        head = Text(f"  {group.count:,}  ").append(reason, style="yellow")
        head.append("  field ", style="dim").append(shown(name), style="bold") if name else None
        out.print(head, soft_wrap=True)
        for line, _, refused in group.examples[:1]:
            assert isinstance(refused, Refused)
            where = "" if line is None else f"the first is line {line:,}: "
            show.paragraph(out, f"{where}{refused.bad.message}", indent=4)
            if refused.why:
                show.label(out, "    why", show.shown_whole(refused.why))
            if refused.bad.hint and refused.bad.hint != refused.why:
                show.label(out, "    fix", show.shown_whole(refused.bad.hint))
    out.print()
    if found.repaired and not changes:
        options = connection.command if connection is not None else ""
        name = shlex.quote(target.parent.id if target.parent is not None else target.name)
        text = (
            f"Nothing was changed. `importer fix {name} --write OUT{options}` writes the mended file, --drop drops it."
        )
        out.print(Text(text, style="dim"), soft_wrap=True)


def _diff(out: Console, line: int | None, offset: int, repair: Repair) -> None:
    where = f"line {line:,}, " if line is not None else ""
    out.print(Text(f"  @@ {where}byte {offset:,} @@", style="cyan"), soft_wrap=True)
    before, after = _text(row_text(repair.before)), _text(row_text(repair.after))
    begin, end = _common(before, after)
    start = max(0, begin - _AROUND)
    for sign, text, style in (("-", before, "red"), ("+", after, "green")):
        stop = len(text) - end
        shown_row = Text(f"  {sign} ", style=style)
        shown_row.append(("…" if start else "") + show.shown_whole(text[start:begin]))
        shown_row.append(show.shown_whole(text[begin : min(stop, begin + SHOWN_CHARACTERS)]), style="bold reverse")
        tail = text[stop : stop + _AROUND]
        shown_row.append(show.shown_whole(tail) + ("…" if stop + _AROUND < len(text) else ""))
        out.print(shown_row, soft_wrap=True)
    for step in repair.steps:
        show.paragraph(out, step.why + ("" if step.certain else " (a guess)"), "dim", indent=4)


def _common(one: str, other: str) -> tuple[int, int]:
    """How many characters two texts have in common at their begin, and at their end."""
    most = min(len(one), len(other))
    begin = next((at for at in range(most) if one[at] != other[at]), most)
    end = next((at for at in range(most - begin) if one[-1 - at] != other[-1 - at]), most - begin)
    return begin, end
