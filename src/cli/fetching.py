"""Ask for files to be fetched from URIs and follow them, and look at fetches later. Printing is `show`'s work.

The command only stores what is asked for and sends its message, as the HTTP door does: it is the deployed function that
fetches, so that a large file neither passes this machine nor needs it to stay on.
"""

import re
import secrets
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from cli import importing, show
from cli.connection import CannotReach, Connection, connected, explained
from cli.verbs import DONE, FILE_REFUSED, UNAVAILABLE, json_option, stack_option
from importer.aws.fetches import FetchesTable, FetchQueue
from importer.definitions import Definition
from importer.documents import document
from importer.doors.addresses import file_name_of, source_of
from importer.doors.requested import Asked, fetch_of
from importer.executions.destinations import without_compression
from importer.fetches import PASSING, Fetch, FetchReason, Refused, document_of
from importer.model import S3Object, Status, Value

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


class FileOrUri(click.ParamType):  # type: ignore[type-arg]  # of no type in the oldest click
    """A file of this machine, as its path, or a URI, as text."""

    name = "file"
    _path = click.Path(exists=True, dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and _SCHEME.match(value):
            return value
        return self._path.convert(value, param, ctx)


def name_of(uri: str) -> str:
    """The name of the file in imports/. Raises click.UsageError."""
    try:
        return file_name_of(source_of(uri))
    except Refused as refused:
        raise click.UsageError(refused.message) from None


def requested(connection: Connection, asked: Asked, definition: Definition) -> Fetch:
    """A fetch that is to be asked for.

    Raises:
        click.UsageError: it cannot be asked for like this.
        Refused: its import would refuse the file by its name.
        CannotReach: the installation fetches nothing.
    """
    if connection.stack.fetch_queue_url is None:
        raise CannotReach(
            f"{connection.name} is older than import by URI: deploy this version, or download the file and import it"
        )
    try:
        now_ms = int(time.time() * 1000)
        return fetch_of(asked, definition, connection.stack.bucket, secrets.token_hex(16), now_ms)
    except Refused as refused:
        if refused.code is FetchReason.WRONG_KIND:
            raise
        raise click.UsageError(refused.message) from None


def import_uri(
    connection: Connection, fetch: Fetch, definition: Definition, deadline: float, bad_rows: int, bars: show.Bars
) -> importing.Outcome:
    """What became of a fetch, and of the file it has brought. `deadline` is of time.monotonic.

    Raises:
        CannotReach.
    """
    path = Path(fetch.key.rpartition("/")[2])
    bar = bars.file(path)
    records = _records(connection)
    with explained(connection.name):
        records.create_fetch(fetch)
        FetchQueue(connection.sqs, connection.stack.fetch_queue_url or "").send(fetch.id)
    bars.say(show.shown_whole(path.name), f"asked for {fetch.uri}")
    fetch = _followed(connection, fetch, deadline, bar)
    found = importing.Outcome(path, fetch=document_of(fetch, connection.stack.bucket, None))
    if fetch.status is Status.FAILED:
        found.trouble = f"{fetch.error_code}: {fetch.error_message}"
        found.exit_code = UNAVAILABLE if fetch.error_code in PASSING else FILE_REFUSED
        return found
    if not fetch.ended:
        found.trouble = (
            "asked for, but not fetched within the time given. Fetching goes on: look again with "
            f"`importer fetches {fetch.id}{connection.command}`"
        )
        found.exit_code = UNAVAILABLE
        return found
    size = fetch.next_offset
    bars.say(
        show.shown_whole(path.name), f"fetched {show.in_bytes(size)} to s3://{connection.stack.bucket}/{fetch.key}"
    )
    source = S3Object(connection.stack.bucket, fetch.key, fetch.version_id or None, "", size, 0)
    compressed = without_compression(path.name) != path.name
    uploaded = importing.Uploaded(path, source, fetch.execution_id, compressed)
    if definition.has_in_series(fetch.key):
        return replace(importing.left_to_runs(connection, path, uploaded, definition, "fetched"), fetch=found.fetch)
    execution = importing.follow(connection, uploaded, deadline, lambda now: bar.moved(now, uploaded))
    if execution is None:
        found.uploaded = uploaded
        found.trouble = (
            "fetched, but not imported within the time given. The import goes on: look again with "
            f"`importer executions {uploaded.execution_id}{connection.command}`"
        )
        found.exit_code = UNAVAILABLE
        return found
    ended = importing.outcome_of(connection, path, uploaded, execution, bad_rows)
    ended.fetch = found.fetch
    return ended


def _followed(connection: Connection, fetch: Fetch, deadline: float, bar: show.Bar) -> Fetch:
    """The fetch once it has ended, or when the deadline has passed."""
    records, pause = _records(connection), importing.FIRST_POLL_SECONDS
    while True:
        with explained(connection.name):
            fetch = records.fetch(fetch.id) or fetch
        bar.fetched(fetch.next_offset, fetch.total_bytes)
        if fetch.ended or time.monotonic() + pause > deadline:
            return fetch
        time.sleep(pause)
        pause = min(pause * 1.3, importing.LAST_POLL_SECONDS)


def _records(connection: Connection) -> FetchesTable:
    return FetchesTable(connection.dynamodb, connection.stack.imports_table)


# ---- fetches -------------------------------------------------------------------------------------------------------


@click.command()
@click.argument("fetch_id", metavar="[ID]", required=False)
@stack_option
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1), help="How many to list.")
@json_option
@click.pass_context
def fetches(ctx: click.Context, fetch_id: str | None, stack_name: str | None, limit: int, as_json: bool) -> None:
    """List imports by URI, newest first, or show one: how far it is, or why it failed.

    What became of a fetched file's rows, `importer executions` shows.

    \b
    Examples:
      importer fetches
      importer fetches 3f0c… --json | jq .fetch.status
      importer fetches --stack s3-event-importer
    """
    connection = connected(stack_name)
    out = show.console()
    with explained(connection.name):
        if fetch_id is None:
            found = _records(connection).fetches(limit)
        else:
            one = _records(connection).fetch(fetch_id)
            if one is None:
                raise click.UsageError(
                    f"there is no fetch {fetch_id} in {connection.name}: "
                    f"`importer fetches{connection.command}` lists what there is"
                )
            found = [one]
    if as_json and fetch_id is not None:
        click.echo(show.to_json({"fetch": told(connection, found[0])}))
    elif as_json:
        click.echo(show.to_json({"fetches": [told(connection, fetch) for fetch in found]}))
    elif fetch_id is not None:
        show.fetch_page(out, found[0], connection.stack.bucket, connection.command)
    elif found:
        show.fetch_list(out, found)
    else:
        show.paragraph(out, f"Nothing was imported by URI in {connection.name}: `importer import https://…`.", indent=0)
    ctx.exit(DONE)


def told(connection: Connection, fetch: Fetch) -> dict[str, Value]:
    """For `--json`: as over HTTP."""
    with explained(connection.name):
        execution = connection.imports.execution(fetch.execution_id) if fetch.execution_id else None
    return document_of(fetch, connection.stack.bucket, None if execution is None else document(execution))
