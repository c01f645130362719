"""`importer convert`: the rows of a file in another dialect, and a list of what that one cannot say."""

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

import click
from rich.text import Text

from cli import show
from cli.importing import path_text
from cli.previewing import chunks, watched
from cli.reading import ReadingOptions, dialect_options
from cli.verbs import DONE, ROWS_REFUSED, json_option
from importer.aws.clock import SystemClock
from importer.bad_rows import FileReason, ObjectProblem
from importer.batches import Batch, Rules, batches
from importer.compression import opened, peeked
from importer.definitions import Definition
from importer.executions.destinations import without_compression
from importer.formats import FORMATS, judge_columns
from importer.formats.reading import Lost, Reading
from importer.layouts import layout_of
from importer.lines import HEAD_BYTES, reading_start, skipped
from importer.model import TO_THE_END, Noted, Part, Tally, Value
from importer.receipts import FoldedReasons
from importer.recognition import recognised
from importer.sinks.records import json_of

STDOUT: Final = "-"


@dataclass(slots=True)
class Conversion:
    """What became of a file's rows."""

    dialect: str
    to: str
    tally: Tally = field(default_factory=Tally)
    written: int = 0
    lost: dict[Lost, Noted] = field(default_factory=dict)
    reasons: FoldedReasons = field(default_factory=FoldedReasons)

    def document(self, file: str, output: str) -> dict[str, Value]:
        return {
            "file": file,
            "output": output,
            "from": self.dialect,
            "to": self.to,
            **self.tally.counts(),
            "written": self.written,
            "lost": [
                {"what": lost.value, "code": lost.name.lower(), "count": noted.count, "first_line": noted.first_line}
                for lost, noted in self.lost.items()
            ],
            "reasons": list(self.reasons.folded()),
        }


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--to", required=True, type=click.Choice(list(FORMATS)), help="The dialect to write.")
@click.option("-o", "--output", default=STDOUT, metavar="FILE", help="Where to write the rows; else to stdout.")
@dialect_options
@json_option
@click.pass_context
def convert(
    ctx: click.Context,
    file: Path,
    to: str,
    output: str,
    reading: ReadingOptions,
    as_json: bool,
) -> None:
    """Write the rows of a file in another dialect.

    Each row is read as an import reads it, and written as one row or several, JSON lines in UTF-8. What the other
    dialect cannot say is left out, and told on stderr: what, in how many rows, and the first of them. Rows that an
    import would refuse are left out too, with their reasons. Reading the result gives what was not lost.

    \b
    Examples:
      importer convert --to cooladata events/files/woopra.json > events.json
      importer convert --to kissmetrics -o people.json events/files/logins.json
      importer convert --to woopra --csv --format kissmetrics -o visits.json export.csv
      importer convert --to cooladata -o out.json --json in.json.gz | jq .lost
    """
    if as_json and output == STDOUT:
        raise click.UsageError("--json needs --output FILE: the rows would be on stdout, too")
    if output != STDOUT and Path(output).exists() and Path(output).samefile(file):
        raise click.UsageError(f"{output} is the file that is read: write to another one")
    if not reading.as_csv and without_compression(file.name).lower().endswith(".csv"):
        raise click.UsageError(f"{file.name} is named like a CSV: read it with --csv")
    definition = reading.definition(None)
    with show.Bars(quiet=as_json) as bars, ExitStack() as stack:
        bar = bars.file(file)
        out = sys.stdout.buffer if output == STDOUT else stack.enter_context(Path(output).open("wb"))
        done = converted(watched(chunks(file), file.stat().st_size, bar), definition, to, out)
    if as_json:
        click.echo(show.to_json(done.document(path_text(file), output)))
    else:
        _page(done)
    ctx.exit(ROWS_REFUSED if done.tally.bad else DONE)


def converted(stored: Iterator[bytes], definition: Definition, to: str, out: BinaryIO) -> Conversion:
    """Write the rows of a file's stored bytes (gzip and zstd are opened) to `out`, in constant memory.

    Raises:
        ObjectProblem: the file's fault; what was read before it is written.
    """
    _, text = opened(stored)
    head, text = peeked(text, HEAD_BYTES)
    layout = layout_of(definition.mime_type, head)
    said = recognised(head[:HEAD_BYTES], layout, definition)
    if said.doubt:
        raise ObjectProblem(FileReason.DIALECT_UNKNOWN, said.doubt)
    dialect = said.format
    if layout.columns:
        judge_columns(dialect, layout.columns, definition)
    part = Part(len(layout.header), TO_THE_END)
    rules = Rules(dialect, definition, SystemClock().now_ms())
    done = Conversion(dialect, to)
    for batch in batches(layout.lines(skipped(text, reading_start(part)), part), rules, layout):
        done.tally = done.tally.plus(batch.tally)
        for row in batch.bad_rows:
            done.reasons.add(row, row.line)
        for line, reading in readings_of(batch):
            written = FORMATS[to].written(reading)
            for made in written.rows:
                out.write(json_of(made) + b"\n")
            done.written += len(written.rows)
            for lost in written.lost:
                done.lost.setdefault(lost, Noted(0, line)).count += 1
    return done


def readings_of(batch: Batch) -> Iterator[tuple[int, Reading]]:
    """(line, reading) of each good row of a batch that says anything, in order."""
    by_address: dict[int, Reading] = {}
    for event in batch.events:
        by_address.setdefault(event.address, Reading([], [])).events.append(event)
    for change in batch.user_changes:
        by_address.setdefault(change.address, Reading([], [])).user_changes.append(change)
    for address, line in batch.line_numbers():
        if address in by_address:
            yield line, by_address[address]


def _page(done: Conversion) -> None:
    """On stderr, since the rows may be on stdout."""
    out = show.console(stderr=True)
    rows = show.many(done.tally.good, "row")
    show.paragraph(
        out, f"{rows} of {done.dialect} written as {show.many(done.written, 'row')} of {done.to}.", "bold", indent=0
    )
    if done.tally.expired:
        show.paragraph(out, f"{show.many(done.tally.expired, 'row')} had expired and were left out.", indent=0)
    if done.lost:
        show.paragraph(out, f"What {done.to} cannot say was left out:", "yellow", indent=0)
        for lost, noted in done.lost.items():
            told = f"in {show.many(noted.count, 'row')}, the first is line {noted.first_line:,}"
            show.label(out, "lost", lost.value, Text(f"  {told}", style="dim"))
    if done.tally.bad:
        show.paragraph(out, f"{show.many(done.tally.bad, 'row')} refused, by reason:", "red", indent=0)
        show.reasons(out, done.reasons.folded())
