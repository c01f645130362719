"""`importer presign`: a line of curl by which somebody without credentials uploads one file."""

import shlex
from pathlib import Path

import click

from cli import importing, lookup, show
from cli.connection import connected, explained
from cli.definitions import ImportId
from cli.verbs import DONE, Refused, json_option, stack_option
from importer.aws.clock import SystemClock
from importer.aws.posting import Forms
from importer.aws.settings import LARGEST_POST_MIB
from importer.definitions import DEFAULT
from importer.doors.uploads import SECONDS, BadName, upload
from importer.executions.plain_text import HEAD_STORED_BYTES


@click.command()
@click.argument("file", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--import", "--import-id", "import_id", metavar="ID", type=ImportId(), help="The import definition to read it by."
)
@click.option(
    "--seconds",
    default=SECONDS,
    show_default=True,
    type=click.IntRange(1, SECONDS),
    help="The upload must begin within so many seconds.",
)
@click.option("--mends", metavar="EXECUTION", help="Whose bad rows the file will have, mended.")
@stack_option
@json_option
@click.pass_context
def presign(
    ctx: click.Context,
    file: Path,
    import_id: str | None,
    seconds: int,
    mends: str | None,
    stack_name: str | None,
    as_json: bool,
) -> None:
    """Print a line of curl that uploads FILE to imports/, for whoever has neither credentials nor a token.

    The line is a secret until it expires: whoever has it may upload one file in FILE's place. FILE need not be here; if
    it is, it is looked at first. The upload is signed by your credentials, which must allow s3:PutObject on imports/,
    and ends with them where they are temporary.

    \b
    Examples:
      importer presign monday.ndjson --import shop
      importer presign monday.ndjson --import shop | sh
      importer presign big.json.gz --seconds 60 --json | jq .fields
    """
    connection = connected(stack_name)
    definition = DEFAULT if import_id is None else lookup.stored_definition(connection, import_id)
    parent_id = "" if mends is None else lookup.execution_of(connection, mends).id
    most_bytes = (connection.stack.upload_max_mib or LARGEST_POST_MIB) << 20
    if file.exists():
        with file.open("rb") as opened:
            importing.judge(file.name, opened.read(HEAD_STORED_BYTES), definition)
        if (size := file.stat().st_size) > most_bytes:
            raise Refused(
                f"{file} has {show.in_bytes(size)}, and such an upload may have {show.in_bytes(most_bytes)}: "
                f"`importer import{connection.command} {shlex.quote(str(file))}` uploads it in pieces"
            )
    try:
        with explained(connection.name):
            made = upload(
                Forms(connection.signer),
                connection.stack.bucket,
                definition,
                file.name,
                most_bytes,
                SystemClock().now_ms(),
                seconds,
                mends=parent_id,
            )
    except BadName as problem:
        raise click.UsageError(str(problem)) from None
    if as_json:
        click.echo(show.to_json(made.document(str(file))))
        ctx.exit(DONE)
    click.echo(made.curl(str(file)))
    notes = show.console(stderr=True)
    show.address(notes, "uploads to", f"s3://{connection.stack.bucket}/{made.key}")
    show.label(notes, "secret", f"until {show.utc(made.expires_ms)}")
    ctx.exit(DONE)
