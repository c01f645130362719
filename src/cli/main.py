"""The `importer` command: parses and prints. Verbs answer with an exit code:

0 done · 1 rows were refused, books do not balance, or what was asked is not possible as things stand · 2 usage ·
3 a file was refused or its import cancelled · 4 something is unavailable, or time ran out
"""

import sys
import time
from dataclasses import replace
from pathlib import Path

import click

from cli import (
    browsing,
    converting,
    definitions,
    dropping,
    expected,
    explaining,
    fetching,
    fixing,
    forgetting,
    importing,
    lookup,
    people,
    presigning,
    previewing,
    recount,
    recurring,
    replaying,
    ringing,
    show,
    standing,
    stopping,
    tokens,
    undoing,
)
from cli.connection import connected
from cli.verbs import DONE, Verbs, json_option, stack_option, timeout_option
from importer.definitions import DEFAULT
from importer.documents import document as execution_document
from importer.doors.requested import Asked


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


# ---- import --------------------------------------------------------------------------------------------------------


@main.command("import")
@click.argument("files", metavar="FILE|URI…", nargs=-1, required=True, type=fetching.FileOrUri())
@stack_option
@click.option("--import-id", metavar="ID", help="The import definition to read the files by.")
@click.option(
    "--credentials",
    metavar="NAME",
    default="",
    help="Of a private s3:// source: the secret that holds an access key, as ssm:NAME or secretsmanager:NAME.",
)
@click.option("--role-arn", metavar="ARN", default="", help="Of a private s3:// source: the role to assume.")
@click.option("--external-id", metavar="ID", default="", help="What the owner of that role wants to be told.")
@click.option("--mends", metavar="EXECUTION", help="Whose bad rows the file has, mended: no longer outstanding there.")
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
    files: tuple[Path | str, ...],
    stack_name: str | None,
    import_id: str | None,
    credentials: str,
    role_arn: str,
    external_id: str,
    mends: str | None,
    timeout_s: float,
    bad_rows: int,
    as_json: bool,
) -> None:
    """Upload files to imports/, or have them fetched there from URIs, and wait until they are imported.

    The deployed function imports each file, several at the same time. You see it move, then its receipt: the sums, the
    refused rows with reason and remedy, and where everything went. Dropping a file again doubles nothing.

    A URI is https://…, http://… or s3://BUCKET/KEY, and ends in the file's name. The installation fetches it, and
    not this machine; parameter UriAllowedHosts says from where (docs/import-by-uri.md). `importer fetches` lists
    what was fetched.

    \b
    Examples:
      importer import events/files/logins.json
      importer import --stack s3-event-importer monday.json.gz tuesday.json.gz
      importer import --json logins.json | jq '.files[].receipt.bad'
      importer import by-hand.json --mends 8c2f…
      importer import https://files.example.com/exports/monday.json.gz
      importer import s3://partner-bucket/exports/monday.json --credentials ssm:partner
    """
    uris = [file for file in files if isinstance(file, str)]
    if mends is not None and (uris or len(files) > 1):
        raise click.UsageError("--mends is for one file of this machine")
    if (credentials or role_arn or external_id) and not uris:
        raise click.UsageError("--credentials, --role-arn and --external-id are for URIs: name one")
    names = [fetching.name_of(file) if isinstance(file, str) else file.name for file in files]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise click.UsageError(f"two files are named {twice}: in imports/ the second would overwrite the first")
    connection = connected(stack_name)
    definition = DEFAULT if import_id is None else lookup.stored_definition(connection, import_id)
    asked = Asked("", import_id or "", credentials, role_arn, external_id)
    wanted = tuple(replace(asked, uri=file) if isinstance(file, str) else file for file in files)
    parent_id = "" if mends is None else lookup.execution_of(connection, mends).id
    outcomes = dropping.import_files(
        connection, wanted, definition, time.monotonic() + timeout_s, bad_rows, quiet=as_json, mends=parent_id
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
@click.option("--outstanding", "only_outstanding", is_flag=True, help="List those with bad rows nobody has mended.")
@json_option
@click.pass_context
def executions(
    ctx: click.Context,
    name: str | None,
    stack_name: str | None,
    limit: int,
    bad_rows: int,
    only_outstanding: bool,
    as_json: bool,
) -> None:
    """List imports, newest first, or show one with its receipt: by its id, or the newest one of a key.

    Bad rows are outstanding until a file that has them, mended, is imported: `importer fix` says how.

    \b
    Examples:
      importer executions
      importer executions imports/logins.json
      importer executions --outstanding
      importer executions --limit 100 --json | jq -r '.executions[] | select(.status=="FAILED").id'
      importer executions 8c2f… --stack s3-event-importer
    """
    if only_outstanding and name is not None:
        raise click.UsageError("--outstanding is for the list: name no execution")
    connection = connected(stack_name)
    out = show.console()
    if only_outstanding:
        left = fixing.still_outstanding(connection, limit)
        if as_json:
            documents = [execution_document(execution) | rows.document() for execution, rows in left]
            click.echo(show.to_json({"executions": documents, "outstanding": sum(rows.rows for _, rows in left)}))
        elif left:
            show.outstanding_list(out, left)
        else:
            show.paragraph(out, f"No bad row is outstanding in {connection.name}.", indent=0)
        return
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
    stands = importing.outstanding(connection, execution)
    if as_json:
        said = execution_document(execution) | stands.document()
        click.echo(show.to_json({"execution": said, "receipt": receipt}))
    else:
        rows = importing.first_bad_rows(connection, execution, bad_rows) if receipt else []
        show.execution_page(out, execution, receipt, rows)
        perhaps = importing.perhaps_mended_by(connection, execution) if stands.rows else []
        show.outstanding(out, execution, stands, perhaps, connection.command)
    ctx.exit(DONE)


for verb in (
    previewing.preview,
    converting.convert,
    definitions.imports,
    fetching.fetches,
    recurring.recurring,
    standing.status,
    ringing.alarms,
    expected.expected,
    recount.verify_,
    fixing.fix,
    explaining.why,
    stopping.cancel,
    stopping.redrive,
    replaying.replay,
    undoing.undo_,
    people.user,
    people.segment,
    forgetting.forget,
    tokens.token,
    presigning.presign,
    browsing.console,
):
    main.add_command(verb)


if __name__ == "__main__":
    sys.exit(main())
