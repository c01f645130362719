"""`importer undo`: what an execution wrote is taken out again, and what others held there before is put back."""

import getpass
import tempfile
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.text import Text

from cli import lookup, show
from cli.connection import Connection, connected, explained
from cli.verbs import DONE, Differs, confirm, json_option, stack_option, version_option, yes_option
from importer.aws.clock import SystemClock
from importer.aws.stored import StoredTables
from importer.aws.undoing import UndoneTables
from importer.costs import dollars
from importer.documents import document
from importer.ledger.undo import GONE, CannotUndo, Desk, Plan, Progress, planned, receipt_key, undo
from importer.ledger.written import file_uri
from importer.model import Execution, Fenced, Undone
from importer.words import in_dollars, in_time

_STEPS: Final = {
    "reading": "reading {what}",
    "comparing": "looking who else held its items: {what}",
    "writing": "writing",
    "waiting": "waiting until {what} has ended",
}
_MOST_OTHERS: Final = 5


@click.command("undo")
@click.argument("name", metavar="KEY|EXECUTION")
@click.option("--plan", "only_plan", is_flag=True, help="Only say what it would take; changes nothing.")
@click.option(
    "--without",
    multiple=True,
    metavar="EXECUTION|gone",
    help="Go on although this execution (gone: some) cannot be read any more: what only it held is not put back.",
)
@yes_option
@version_option
@stack_option
@json_option
@click.pass_context
def undo_(
    ctx: click.Context,
    name: str,
    only_plan: bool,
    without: tuple[str, ...],
    yes: bool,
    version_id: str | None,
    stack_name: str | None,
    as_json: bool,
) -> None:
    """Undo an import: both tables become what they would be, had it never been.

    What it was the last to write is removed, or becomes what the other imports that are not undone have written there;
    user records by their rank. An item that somebody else writes meanwhile stays as they write it. The plan and what
    it costs are said first. Interrupted, the same command goes on where it stopped.

    The file stays in completed_imports/ (or, not SUCCEEDED, in imports/) and is not imported again by itself: drop it
    again for that. What went to a Firehose stream cannot be taken back. Imports that erased persons cannot be undone.

    Exit code 1: it cannot be undone, or not now; nothing was changed.

    \b
    Examples:
      importer undo completed_imports/2026/11/21/logins.json --plan
      importer undo imports/logins.json
      importer undo 8c2f… --yes --json --stack s3-event-importer | jq .undone
    """
    connection = connected(stack_name)
    execution = lookup.execution_of(connection, name, version_id)
    _judge_without(connection, without)
    out = show.console()
    with tempfile.TemporaryDirectory(prefix="importer-undo-") as folder:
        counting = show.Counting("undo", as_json)
        desk = _desk(connection, Path(folder), counting)
        plan = None
        if execution.undone is None or not execution.undone.done:
            plan = _planned(connection, desk, execution, without)
            if only_plan or not as_json:
                _show_plan(out, plan, as_json, connection.stack.execution_retention_days)
            if only_plan:
                ctx.exit(DONE)
            uri = execution.source.uri
            confirm(yes, f"Undo the import of {uri} ({execution.id})?")
            execution = _undone(connection, desk, execution, without, counting)
        elif only_plan and as_json:
            click.echo(show.to_json({"plan": None, "undone": execution.undone.document()}))
            ctx.exit(DONE)
    assert execution.undone is not None
    if as_json:
        click.echo(
            show.to_json(
                {
                    "execution": document(execution),
                    "undone": execution.undone.document(),
                    "receipt_uri": f"s3://{execution.source.bucket}/{receipt_key(execution)}",
                    "plan": None if plan is None else plan.document(),
                }
            )
        )
    else:
        _page(out, connection, execution, execution.undone, already=plan is None)
    ctx.exit(DONE)


def _desk(connection: Connection, folder: Path, counting: show.Counting) -> Desk:
    stack, clock = connection.stack, SystemClock()
    events, users = stack.events_table, stack.users_table

    def told(progress: Progress) -> None:
        step = _STEPS[progress.step].format(what=show.shown_whole(progress.what))
        of = "" if progress.step == "waiting" else f": {progress.done / max(progress.of, 1):.0%}"
        counting.tell(f"{step}{of}")

    return Desk(
        objects=connection.objects,
        records=connection.imports,
        stored=StoredTables(connection.dynamodb, events, users, stack.imports_table, clock),
        marks=connection.imports,
        tables=UndoneTables(connection.dynamodb, events, users, clock),
        clock=clock,
        file=folder / "keys.sqlite",
        told=told,
    )


def _judge_without(connection: Connection, without: tuple[str, ...]) -> None:
    """Raises click.UsageError: what was mistyped would be left in."""
    for execution_id in without:
        with explained(connection.name):
            known = execution_id == GONE or connection.imports.execution(execution_id) is not None
        if not known:
            raise click.UsageError(f"--without {execution_id}: there is no such execution in {connection.name}")


def _planned(connection: Connection, desk: Desk, execution: Execution, without: tuple[str, ...]) -> Plan:
    try:
        with explained(connection.name):
            return planned(desk, execution.id, without)
    except CannotUndo as reason:
        raise Differs(str(reason)) from reason


def _undone(
    connection: Connection, desk: Desk, execution: Execution, without: tuple[str, ...], counting: show.Counting
) -> Execution:
    try:
        with explained(connection.name), counting:
            return undo(desk, execution.id, _who(), without)
    except CannotUndo as reason:
        raise Differs(str(reason)) from reason
    except Fenced as reason:
        raise Differs(
            f"{reason}: `importer executions {execution.id}{connection.command}` shows how it goes"
        ) from reason
    except KeyboardInterrupt:
        command = f"importer undo {execution.id}{connection.command}"
        click.echo(f"importer: it is undone in part: `{command}` goes on where it stopped", err=True)
        raise


def _who() -> str:
    try:
        return f"{getpass.getuser()}, by the command line"
    except (KeyError, OSError):
        return "the command line"


# ---- Pages ---------------------------------------------------------------------------------------------------------


def _show_plan(out: Console, plan: Plan, as_json: bool, forgotten_days: int) -> None:
    """`forgotten_days`: after which executions are not known any more; 0 is never."""
    if as_json:
        click.echo(show.to_json({"plan": plan.document()}))
        return
    execution = plan.execution
    out.print(Text(f"Undo {execution.id}", style="bold"))
    show.address(out, "source", execution.source.uri)
    show.label(out, "status", execution.status.value)
    show.label(out, "items", f"at most {plan.items:,} to remove or to put back as others wrote them")
    others = show.many(len(plan.others), "other execution")
    show.label(out, "to read", f"{show.in_bytes(plan.read_bytes)}: its own file, and those of {others}")
    for other in plan.others[:_MOST_OTHERS]:
        show.paragraph(out, show.shown_whole(other.source.key), "dim")
    if len(plan.others) > _MOST_OTHERS:
        show.paragraph(out, f"… and {len(plan.others) - _MOST_OTHERS:,} more (--json lists them)", "dim")
    usd = in_dollars(float(sum(dollars(plan.usage).values())))
    show.label(out, "cost", f"about {usd} at most, and about {in_time(plan.seconds)}")
    if forgotten_days:
        show.paragraph(
            out,
            f"Imports that ended over {forgotten_days} days ago may be forgotten (ExecutionRetentionDays): what they "
            "held, too, is removed and not put back.",
            "yellow",
            indent=0,
        )
    if plan.running:
        running = show.many(len(plan.running), "execution")
        show.paragraph(out, f"{running} not ended: those that have begun are waited for at the end.", indent=0)
    if plan.to_stream and (stream := plan.document()["stream"]):
        show.paragraph(out, f"{str(stream).capitalize()}.", "yellow", indent=0)
    if execution.undone is not None:
        show.paragraph(out, f"Begun {show.utc(execution.undone.at_ms)} by {execution.undone.by}: it goes on.", indent=0)


def _page(out: Console, connection: Connection, execution: Execution, undone: Undone, already: bool) -> None:
    when = f" {show.utc(undone.done_ms)}" if already and undone.done_ms is not None else ""
    head = "Was undone" if already else "Undone"
    items = f"{show.many(undone.removed, 'item')} removed, {undone.put_back:,} put back as others wrote them"
    show.paragraph(out, f"{head}{when}: {items}.", "bold", indent=0)
    if undone.kept:
        show.paragraph(out, f"{show.many(undone.kept, 'item')} others wrote meanwhile stayed as they are.", indent=0)
    with explained(connection.name):
        still = file_uri(connection.objects, execution)
    show.address(out, "the file", still)
    show.address(out, "receipt", f"s3://{execution.source.bucket}/{receipt_key(execution)}")
    show.paragraph(
        out,
        f"`importer verify {execution.id}{connection.command}` looks whether anything of it is left; to have its rows "
        "again, drop the file again.",
        indent=0,
    )
