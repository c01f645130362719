"""`importer preview`: what an import would do with a file, without doing any of it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click
from rich.text import Text

from cli import importing, show
from cli.connection import CannotReach, Connection, connected, explained, of_stack, own_s3, twin_outputs
from cli.reading import ReadingOptions, reading_options
from cli.verbs import DONE, FILE_REFUSED, ROWS_REFUSED, json_option, stack_option
from importer.aws.clock import SystemClock
from importer.aws.objects import S3Objects
from importer.aws.sampling import StoreSample
from importer.bad_rows import FileReason, ObjectProblem
from importer.definitions import DEFAULT, SINK_CHOICES, Definition
from importer.doors.dropped_previews import findings_of
from importer.known import Known
from importer.model import TO_THE_END, S3Object
from importer.notification import Dropped
from importer.preview import Findings, document, verdict
from importer.preview_page import Looked, page

PREVIEW_BYTES: Final = 16 << 20
PART_BYTES: Final = 256 << 20  # PartSizeMiB in template.yaml
READ_BYTES: Final = 256 << 10


@click.command()
@click.argument("file", metavar="FILE|s3://BUCKET/KEY")
@click.option("--rows", default=5, show_default=True, type=click.IntRange(0), help="Good rows to show.")
@click.option("--bad-rows", default=5, show_default=True, type=click.IntRange(0), help="Refused rows to show in full.")
@click.option(
    "--all", "read_all", is_flag=True, help=f"Read the whole file, not only its first {PREVIEW_BYTES >> 20} MiB."
)
@reading_options
@click.option(
    "--html",
    "html_file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it as a page, too; it needs nothing beside it.",
)
@click.option(
    "--compare", is_flag=True, help="Say which names and types the store of the twin or --stack does not know."
)
@stack_option
@click.option("--twin", "in_twin", is_flag=True, help="Look for s3://… in the local twin, not on AWS.")
@json_option
@click.pass_context
def preview(
    ctx: click.Context,
    file: str,
    rows: int,
    bad_rows: int,
    read_all: bool,
    reading: ReadingOptions,
    html_file: Path | None,
    compare: bool,
    stack_name: str | None,
    in_twin: bool,
    as_json: bool,
) -> None:
    """Show what an import would do with a file. Writes nothing to any store.

    The same code as the import reads it, gzip and zstd included: dialect, first rows, properties with their types, time
    span, and each refused row with its line, byte, field, reason and remedy; and about what the import would cost, and
    how long it would take. Memory does not grow with the file. A file dropped under previews/ of the bucket is looked
    at in the same way, and the result is a page under preview_results/.

    \b
    Examples:
      importer preview events/files/logins.json
      importer preview --all --json big.json.gz | jq .reasons
      importer preview --html logins.html events/files/logins.json
      importer preview --compare --stack s3-event-importer orders.json
      importer preview --date-format dd/mm/yyyy times.json
      importer preview --csv --document-type USER_SEGMENT members.csv
      importer preview --import-id shop --stack s3-event-importer orders.json
      importer preview --strict s3://my-bucket/imports/logins.json
    """
    stop = TO_THE_END if read_all else PREVIEW_BYTES
    connection = connected(stack_name) if compare or reading.import_id is not None else None
    definition = reading.definition(connection)
    with show.Bars(quiet=as_json) as bars:
        name, size, open_stored = _target(file, in_twin)
        bar = bars.file(Path(name))
        written_to = SINK_CHOICES[definition.sinks or reading.sinks]
        now_ms = SystemClock().now_ms()
        found = findings_of(
            f"imports/{name}" if definition == DEFAULT else f"imports/{definition.id}/{name}",
            lambda: watched(open_stored(), size, bar),
            definition,
            written_to,
            size,
            now_ms,
            first_rows=rows,
            bad_rows=bad_rows,
            part_bytes=PART_BYTES,
            stop=stop,
        )
    if compare and connection is not None and found.is_judged:
        found.known = _known(connection)
    else:
        found.not_compared = "nobody asked (--compare)"
    if html_file is not None:
        store = f"the tables of {connection.name}" if connection else "the store"
        looked = Looked(importing.path_text(file), size, now_ms, reading.import_id or "", store)
        html_file.write_bytes(page(found, looked))
    if as_json:
        click.echo(show.to_json({"file": importing.path_text(file), "bytes": size, **document(found)}))
    else:
        out = show.console()
        show.findings(out, file, size, found, None if read_all else PREVIEW_BYTES)
        _verdict(found)
        if html_file is not None:
            out.print(Text(f"The page: {importing.path_text(html_file)}"), soft_wrap=True)
    ctx.exit(FILE_REFUSED if found.problem else ROWS_REFUSED if found.tally.bad else DONE)


def _target(file: str, in_twin: bool) -> tuple[str, int, Callable[[], Iterator[bytes]]]:
    """(base name, stored bytes, a function that opens them) of what `preview` was given."""
    if not file.startswith("s3://"):
        if in_twin:
            raise click.UsageError("--twin is for s3://BUCKET/KEY")
        path = Path(file)
        if not path.exists():
            raise click.UsageError(f"{file}: there is no such file")
        if path.is_dir():
            raise click.UsageError(f"{file} is a directory: name the files in it")
        return path.name, path.stat().st_size, lambda: chunks(path)
    bucket, slash, key = file.removeprefix("s3://").partition("/")
    if not (bucket and slash and key) or key.endswith("/"):
        raise click.UsageError(f"{file}: expected s3://BUCKET/KEY")
    with explained(f"s3://{bucket}"):
        objects = S3Objects(own_s3(), SystemClock())
        if in_twin or _is_twins(bucket):
            objects = of_stack(twin_outputs()).objects
        source = objects.head(Dropped(bucket, key, None, ""))
    if source is None:
        raise ObjectProblem(FileReason.OBJECT_GONE, f"there is no {file}, or your credentials may not see it")
    return key.rpartition("/")[2], source.size_bytes, lambda: _stored(objects, source)


def previewed_object(objects: S3Objects, source: S3Object, definition: Definition, rows: int) -> Findings:
    """What an import by this definition would do with an object: with its first bytes, as `preview` looks at them.

    Raises:
        ObjectProblem, Unavailable.
    """
    return findings_of(
        source.key,
        lambda: objects.read(source, 0),
        definition,
        SINK_CHOICES[definition.sinks or "dynamodb"],
        source.size_bytes,
        SystemClock().now_ms(),
        first_rows=rows,
        bad_rows=rows,
        part_bytes=PART_BYTES,
        stop=PREVIEW_BYTES,
    )


def _is_twins(bucket: str) -> bool:
    try:
        return twin_outputs().bucket == bucket
    except CannotReach:
        return False


def _stored(objects: S3Objects, source: S3Object) -> Iterator[bytes]:
    with explained(source.uri):
        yield from objects.read(source, 0)


def chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            yield chunk


def watched(chunks: Iterator[bytes], size: int, bar: show.Bar) -> Iterator[bytes]:
    count = 0
    for chunk in chunks:
        count += len(chunk)
        bar.reading(count, size)
        yield chunk


def _known(connection: Connection) -> Known:
    """What names and types the store holds, by a sample."""
    stack = connection.stack
    with explained(connection.name):
        return StoreSample(connection.dynamodb, stack.events_table, stack.users_table, SystemClock()).known()


def _verdict(found: Findings) -> None:
    """The last line of a preview: what an import would do."""
    out = show.console()
    out.print()
    if found.problem is not None:
        show.paragraph(out, f"{verdict(found)}:", "bold red", indent=0)
        show.paragraph(out, show.shown_whole(found.problem.message), indent=0)
        return
    show.paragraph(out, f"{verdict(found)}. Nothing was written now.", "bold", indent=0)
