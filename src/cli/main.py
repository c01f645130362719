"""The `importer` command: parses and prints. Verbs answer with an exit code:

0 done · 1 rows were refused, books do not balance, or what was asked is not possible as things stand · 2 usage ·
3 a file was refused or its import cancelled · 4 something is unavailable, or time ran out
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import click

from cli import dropping, importing, lookup, recount, show, standing, stopping
from cli.connection import CannotReach, connected, explained, of_stack, own_s3, twin_outputs
from cli.verbs import DONE, FILE_REFUSED, ROWS_REFUSED, Verbs, json_option, stack_option, timeout_option
from importer.aws.clock import SystemClock
from importer.aws.objects import S3Objects
from importer.aws.settings import CHOICES
from importer.bad_rows import FileReason, ObjectProblem
from importer.batches import Limit
from importer.definitions import DATE_FORMATS, DEFAULT, NDJSON, TEXT_CSV, Definition
from importer.documents import document as execution_document
from importer.model import TO_THE_END, FileError, Misconfigured, S3Object
from importer.notification import Dropped
from importer.preview import Findings, document, previewed
from importer.sinks import SINKS

PREVIEW_BYTES: Final = 16 << 20
READ_BYTES: Final = 256 << 10


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=(
        "Exit codes: 0 done, 1 rows were refused, books do not balance, or what was asked is not possible as things "
        "stand, 2 usage, 3 a file was refused or its import cancelled, 4 unavailable or timed out."
    ),
)
@click.version_option(package_name="s3-event-importer", prog_name="importer")
def main() -> None:
    """Import files of events: every row ends up once in the store, or once under errors/ with a reason.

    \b
    Look at a file, import it, look at what became of it:
      importer preview events/files/logins.json
      importer import events/files/logins.json
      importer executions
      importer verify imports/logins.json

    Without --stack the commands work with the local twin, which `make up` starts.
    """


# ---- preview -------------------------------------------------------------------------------------------------------


@main.command()
@click.argument("file", metavar="FILE|s3://BUCKET/KEY")
@click.option("--rows", default=5, show_default=True, type=click.IntRange(0), help="Good rows to show.")
@click.option("--bad-rows", default=5, show_default=True, type=click.IntRange(0), help="Refused rows to show in full.")
@click.option(
    "--all", "read_all", is_flag=True, help=f"Read the whole file, not only its first {PREVIEW_BYTES >> 20} MiB."
)
@click.option("--csv", "as_csv", is_flag=True, help="Read it as an import with mime_type TEXT_CSV does.")
@click.option("--strict", is_flag=True, help="Hold the rows to the vendor's own limits.")
@click.option("--date-format", default="", type=click.Choice(["", *DATE_FORMATS]), help="How to read 03/04/2012.")
@click.option(
    "--sinks",
    default="dynamodb",
    show_default=True,
    type=click.Choice(list(CHOICES)),
    help="Whose limits the rows must keep: the stack's parameter Sinks.",
)
@click.option("--twin", "in_twin", is_flag=True, help="Look for s3://… in the local twin, not on AWS.")
@json_option
@click.pass_context
def preview(
    ctx: click.Context,
    file: str,
    rows: int,
    bad_rows: int,
    read_all: bool,
    as_csv: bool,
    strict: bool,
    date_format: str,
    sinks: str,
    in_twin: bool,
    as_json: bool,
) -> None:
    """Show what an import would do with a file. Writes nothing.

    The same code as the import reads it, gzip and zstd included: dialect, first rows, properties with their types, time
    span, and each refused row with its line, byte, field, reason and remedy. Memory does not grow with the file.

    \b
    Examples:
      importer preview events/files/logins.json
      importer preview --all --json big.json.gz | jq .reasons
      importer preview --date-format dd/mm/yyyy times.json
      importer preview --csv people.csv
      importer preview --strict s3://my-bucket/imports/logins.json
    """
    stop = TO_THE_END if read_all else PREVIEW_BYTES
    with show.Bars(quiet=as_json) as bars:
        name, size, open_stored = _target(file, in_twin)
        bar = bars.file(Path(name))
        found = _found(
            name,
            lambda: _watched(open_stored(), size, bar),
            Definition(mime_type=TEXT_CSV if as_csv else NDJSON, strict=strict, date_format=date_format),
            tuple(SINKS[sink] for sink in CHOICES[sinks]),
            rows,
            bad_rows,
            stop,
        )
    if as_json:
        click.echo(show.to_json({"file": importing.path_text(file), "bytes": size, **document(found)}))
    else:
        out = show.console()
        show.findings(out, file, size, found, None if read_all else PREVIEW_BYTES)
        _verdict(found)
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
        return path.name, path.stat().st_size, lambda: _chunks(path)
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


def _is_twins(bucket: str) -> bool:
    try:
        return twin_outputs().bucket == bucket
    except CannotReach:
        return False


def _stored(objects: S3Objects, source: S3Object) -> Iterator[bytes]:
    with explained(source.uri):
        yield from objects.read(source, 0)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            yield chunk


def _watched(chunks: Iterator[bytes], size: int, bar: show.Bar) -> Iterator[bytes]:
    count = 0
    for chunk in chunks:
        count += len(chunk)
        bar.reading(count, size)
        yield chunk


def _found(
    name: str,
    open_stored: Callable[[], Iterator[bytes]],
    definition: Definition,
    limits: tuple[Limit, ...],
    rows: int,
    bad_rows: int,
    stop: int,
) -> Findings:
    try:
        importing.judge(name, definition.mime_type)
    except ObjectProblem as problem:
        return Findings(problem=FileError(problem.code.value, problem.message))
    return previewed(
        open_stored(),
        definition,
        SystemClock().now_ms(),
        limits,
        first_rows=rows,
        bad_rows=bad_rows,
        stop=stop,
    )


def _verdict(found: Findings) -> None:
    """The last line of a preview: what an import would do."""
    out = show.console()
    tally = found.tally
    out.print()
    if found.problem is not None:
        show.paragraph(out, f"An import would refuse this file ({found.problem.code}):", "bold red", indent=0)
        show.paragraph(out, show.shown_whole(found.problem.message), indent=0)
        return
    of_what = "" if found.whole else " of what was read"
    if not tally.rows:
        verdict = "There are no rows in it. An import would only move the file"
    elif tally.bad:
        verdict = (
            f"An import would write {show.many(tally.events, 'event')}{of_what} and put "
            f"{show.many(tally.bad, 'row')} into errors/, each with its reason"
        )
    else:
        verdict = f"An import would write {show.many(tally.events, 'event')}{of_what}, and refuse no row"
    show.paragraph(out, f"{verdict}. Nothing was written now.", "bold", indent=0)


# ---- import --------------------------------------------------------------------------------------------------------


@main.command("import")
@click.argument(
    "files", metavar="FILE…", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@stack_option
@click.option("--import-id", metavar="ID", help="The import definition to read the files by.")
@timeout_option(900.0, "How long to wait for the imports to end.")
@click.option(
    "--bad-rows",
    default=3,
    show_default=True,
    type=click.IntRange(0),
    help="Refused rows of each file to show in full.",
)
@json_option
@click.pass_context
def import_(
    ctx: click.Context,
    files: tuple[Path, ...],
    stack_name: str | None,
    import_id: str | None,
    timeout_s: float,
    bad_rows: int,
    as_json: bool,
) -> None:
    """Upload files to imports/ and wait until they are imported.

    The deployed function imports each file, several at the same time. You see it move, then its receipt: the sums, the
    refused rows with reason and remedy, and where everything went. Dropping a file again doubles nothing.

    \b
    Examples:
      importer import events/files/logins.json
      importer import --stack s3-event-importer monday.json.gz tuesday.json.gz
      importer import --json logins.json | jq '.files[].receipt.bad'
    """
    names = [path.name for path in files]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise click.UsageError(f"two files are named {twice}: in imports/ the second would overwrite the first")
    connection = connected(stack_name)
    definition = DEFAULT
    if import_id is not None:
        with explained(connection.name):
            stored = connection.imports.definition(import_id)
        if stored is None:
            raise click.UsageError(f"there is no import definition {import_id!r} in {connection.name}")
        try:
            definition = Definition.named(import_id, stored)
        except Misconfigured as problem:
            raise click.UsageError(str(problem)) from None
    outcomes = dropping.import_files(
        connection, files, definition, time.monotonic() + timeout_s, bad_rows, quiet=as_json
    )
    if as_json:
        click.echo(show.to_json({"files": [outcome.document() for outcome in outcomes]}))
    else:
        out = show.console()
        for index, outcome in enumerate(outcomes):
            if index:
                out.print()
            show.outcome(out, outcome)
    ctx.exit(max(outcome.exit_code for outcome in outcomes))


# ---- executions ----------------------------------------------------------------------------------------------------


@main.command()
@click.argument("name", metavar="[KEY|EXECUTION]", required=False)
@stack_option
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="How many to list.")
@click.option(
    "--bad-rows",
    default=3,
    show_default=True,
    type=click.IntRange(0),
    help="Refused rows of one execution to show in full.",
)
@json_option
@click.pass_context
def executions(
    ctx: click.Context, name: str | None, stack_name: str | None, limit: int, bad_rows: int, as_json: bool
) -> None:
    """List imports, newest first, or show one with its receipt: by its id, or the newest one of a key.

    \b
    Examples:
      importer executions
      importer executions imports/logins.json
      importer executions --limit 100 --json | jq -r '.executions[] | select(.status=="FAILED").id'
      importer executions 8c2f… --stack s3-event-importer
    """
    connection = connected(stack_name)
    out = show.console()
    if name is None:
        found = importing.executions(connection, limit)
        if as_json:
            click.echo(show.to_json({"executions": [execution_document(execution) for execution in found]}))
        elif found:
            show.execution_list(out, found)
        else:
            show.paragraph(
                out, f"No file has been imported in {connection.name} yet: `importer import FILE`.", indent=0
            )
        return
    execution = lookup.execution_of(connection, name)
    receipt = importing.receipt_of(connection, execution)
    if as_json:
        click.echo(show.to_json({"execution": execution_document(execution), "receipt": receipt}))
    else:
        rows = importing.first_bad_rows(connection, execution, bad_rows) if receipt else []
        show.execution_page(out, execution, receipt, rows)
    ctx.exit(DONE)


for verb in (standing.status, recount.verify_, stopping.cancel, stopping.redrive):
    main.add_command(verb)


if __name__ == "__main__":
    sys.exit(main())
