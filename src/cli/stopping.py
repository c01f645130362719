"""`importer cancel` and `importer redrive`: what a person decides about an import, and about dead letters."""

from collections.abc import Callable

import click

from cli import dead_letters, lookup, show
from cli.connection import CannotReach, Connection, connected, explained
from cli.verbs import (
    DIFFERS,
    DONE,
    UNAVAILABLE,
    Differs,
    Trouble,
    confirm,
    json_option,
    stack_option,
    version_option,
    yes_option,
)
from cli.workplace import settings_of, teller_of, workplace
from importer import executions
from importer.aws.fetches import FetchQueue
from importer.documents import document
from importer.model import Execution, Phase, Status


@click.command()
@click.argument("name", metavar="KEY|EXECUTION")
@yes_option
@version_option
@stack_option
@json_option
@click.pass_context
def cancel(
    ctx: click.Context, name: str, yes: bool, version_id: str | None, stack_name: str | None, as_json: bool
) -> None:
    """End an import that is still reading. Rows written so far stay, the file stays in imports/.

    Its receipt says from which byte on nothing was read. A cancelled import cannot be taken up again: drop the file
    again for that; rows that are stored already are not doubled. Exit code 1: it cannot be cancelled any more.

    \b
    Examples:
      importer cancel imports/wrong-file.ndjson
      importer cancel 8c2f… --yes --stack s3-event-importer
    """
    connection = connected(stack_name)
    execution = lookup.execution_of(connection, name, version_id)
    if reason := _why_not_cancelled(execution):
        raise Differs(f"{execution.source.uri} cannot be cancelled: {reason}")
    confirm(yes, f"Cancel the import of {execution.source.uri} ({execution.id})?")
    with explained(connection.name):
        execution = executions.cancel(workplace(connection), execution.id)
    if execution.status is not Status.CANCELED:
        raise Differs(f"{execution.source.uri} was not cancelled: {_why_not_cancelled(execution)}")
    if as_json:
        click.echo(show.to_json({"execution": document(execution)}))
    else:
        out = show.console()
        show.paragraph(out, f"Cancelled. {_kept(execution)}", "bold", indent=0)
        show.address(out, "still at", execution.source.uri)
        if execution.outcome is not None:
            bucket = execution.source.bucket
            show.address(out, "receipt", f"s3://{bucket}/{execution.outcome.destination.receipt}")
    ctx.exit(DONE)


def _why_not_cancelled(execution: Execution) -> str:
    """Why it cannot be; "" if it can."""
    if execution.phase in (Phase.CLOSED, Phase.CLOSING):
        return f"it has ended {execution.status.value}"
    if execution.phase is Phase.FINALISING:
        return "all rows are read: it is being settled"
    return ""


def _kept(execution: Execution) -> str:
    if execution.outcome is None:
        return "A worker writes its receipt: `importer status` shows when."
    sums = execution.outcome.sums
    good, bad = show.many(sums.good, "good row"), show.many(sums.bad, "bad row")
    return f"What was read before stays: {good} in the store, {bad} in errors/."


@click.command()
@click.argument("name", metavar="[KEY|EXECUTION]", required=False)
@click.option("--dead-letters", "letters", is_flag=True, help="Deliver what lies in the dead-letter queue again.")
@click.option("--dry-run", is_flag=True, help="With --dead-letters: only say what lies there.")
@yes_option
@version_option
@stack_option
@json_option
@click.pass_context
def redrive(
    ctx: click.Context,
    name: str | None,
    letters: bool,
    dry_run: bool,
    yes: bool,
    version_id: str | None,
    stack_name: str | None,
    as_json: bool,
) -> None:
    """Take a FAILED import up again where it stopped; or deliver dead letters again.

    For imports that failed through no fault of the file's bytes, once the cause is mended. A file that is itself
    broken fails again: mend it and drop it instead.

    A dead letter is taken out of the queue only when its files are on their way again, or need nothing. What is not
    understood stays.

    Exit code 1: the import is not FAILED, or a letter is not understood (also with --dry-run).

    \b
    Examples:
      importer redrive imports/big.ndjson
      importer redrive --dead-letters --dry-run
      importer redrive --dead-letters --yes --stack s3-event-importer
    """
    if letters == (name is not None) or (dry_run and not letters):
        raise click.UsageError("name one import, or give --dead-letters (then perhaps --dry-run)")
    connection = connected(stack_name)
    if name is not None:
        _redrive_one(connection, lookup.execution_of(connection, name, version_id), yes, as_json)
    else:
        ctx.exit(_redrive_letters(connection, dry_run, yes, as_json))


def _redrive_one(connection: Connection, execution: Execution, yes: bool, as_json: bool) -> None:
    uri = execution.source.uri
    if execution.status is not Status.FAILED:
        raise Differs(f"{uri} cannot be taken up again: it is {execution.status.value}, and only FAILED imports can be")
    if execution.phase is not Phase.CLOSED:
        raise Trouble(f"{uri} has just failed and its receipt is still being written: try again in a minute")
    if execution.undone is not None:
        raise Differs(f"{uri} cannot be taken up again: it was undone. To have its rows again, drop the file again")
    said = f" ({execution.error.code})" if execution.error else ""
    confirm(yes, f"Take up the import of {uri} again{said}?")
    with explained(connection.name):
        execution = executions.redrive(workplace(connection), execution.id)
    if execution.status is Status.FAILED:
        raise Trouble(f"{uri} is still FAILED: somebody else may have changed it; try again")
    if as_json:
        click.echo(show.to_json({"execution": document(execution)}))
    else:
        text = f"{execution.status.value}: attempt {execution.attempt} of {uri} is on its way."
        show.paragraph(show.console(), text, "bold", indent=0)
        command = f"importer status {execution.id} --watch{connection.command}"
        show.paragraph(show.console(), f"`{command}` shows how it goes.", indent=0)


def _invoked_again(connection: Connection) -> Callable[[str, bytes], object]:
    """Invokes a function as Lambda itself does; a stack of before there was one has none of its letters."""

    def invoke(function: str, payload: bytes) -> object:
        name = connection.stack.functions[function]
        return connection.functions().invoke(FunctionName=name, InvocationType="Event", Payload=payload)

    return invoke


def _redrive_letters(connection: Connection, dry_run: bool, yes: bool, as_json: bool) -> int:
    """An exit code."""
    with explained(connection.name):
        queue = dead_letters.DeadLetters(connection.sqs(), connection.stack.dead_letter_queue_url)
    try:
        with explained(connection.name):
            letters = queue.taken()
        if letters and not dry_run and not as_json:
            dead_letters.table(show.console(), letters)
        if letters and not dry_run:
            confirm(yes, f"Deliver {show.many(len(letters), 'dead letter')} again?")
            settings = settings_of(connection) if any(letter.dropped for letter in letters) else None
            place = workplace(connection, settings)
            invoke = _invoked_again(connection)
            fetches_url = connection.stack.fetch_queue_url
            send_fetch = FetchQueue(connection.sqs, fetches_url).send if fetches_url else None
            for letter in letters:
                try:
                    with explained(connection.name):
                        tell, options = teller_of(connection), connection.command
                        dead_letters.deliver(place, queue, letter, tell, invoke, options, send_fetch)
                except CannotReach as trouble:
                    letter.outcome, letter.failed = str(trouble), True
    finally:
        with explained(connection.name):
            queue.give_back()
    if as_json:
        click.echo(show.to_json({"dead_letters": [letter.document() for letter in letters]}))
    elif not letters:
        show.paragraph(show.console(), f"There are no dead letters in {connection.name}.", indent=0)
    elif dry_run:
        dead_letters.table(show.console(), letters)
    else:
        dead_letters.outcomes(show.console(), letters)
    if any(letter.failed for letter in letters):
        return UNAVAILABLE
    return DIFFERS if any(letter.unknown for letter in letters) else DONE
