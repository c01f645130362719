"""`importer verify`: the ledger's recount, told to a person."""

from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from cli import lookup, show
from cli.connection import Connection, connected, explained
from cli.verbs import DIFFERS, DONE, Trouble, json_option, stack_option, version_option
from importer.aws.clock import SystemClock
from importer.aws.stored import StoredTables
from importer.bad_rows import shown
from importer.ledger import Books, CannotRecount, Finding, Kept, Kind, Place, Verdict, verify
from importer.ledger.verify import MOST_FINDINGS
from importer.model import Execution, Status, Tally

_STYLE = {Kind.MISSING: "red", Kind.EXTRA: "yellow", Kind.DIFFERENT: "magenta"}
_WHAT = {
    Place.ARCHIVE: "the archived file",
    Place.EVENTS: "event",
    Place.USERS: "user record",
    Place.ERRORS: "bad row in errors/",
    Place.REASONS: "reason",
    Place.RECEIPT: "receipt",
    Place.EXECUTION: "execution",
}


@click.command("verify")
@click.argument("name", metavar="KEY|EXECUTION")
@click.option("--all", "scan", is_flag=True, help="Also search the tables, whole, for items no row accounts for.")
@click.option(
    "--findings",
    "most",
    default=MOST_FINDINGS,
    show_default=True,
    type=click.IntRange(1),
    help="Differences to show in full; all are counted.",
)
@version_option
@stack_option
@json_option
@click.pass_context
def verify_(
    ctx: click.Context,
    name: str,
    scan: bool,
    most: int,
    version_id: str | None,
    stack_name: str | None,
    as_json: bool,
) -> None:
    """Recount an import: is every row in the store, or in errors/ with its reason? Changes nothing.

    KEY is where the file was dropped, or any object its import wrote. The archived file is walked again under the rules
    of that import and held against both tables, errors/, the reasons, the receipt and the execution. The first
    differences are shown by their row. --all reads the tables from end to end: that takes time, and read units.

    \b
    Examples:
      importer verify imports/logins.json
      importer verify completed_imports/2026/11/21/logins.json --all
      importer verify 8c2f… --stack s3-event-importer --json | jq .findings
    """
    connection = connected(stack_name)
    execution = lookup.execution_of(connection, name, version_id)
    try:
        verdict = _verdict(connection, execution, scan, most, as_json)
    except CannotRecount as reason:
        raise Trouble(str(reason)) from reason
    if as_json:
        click.echo(show.to_json(verdict.document()))
    else:
        _page(show.console(), execution, verdict)
    ctx.exit(DONE if verdict.balanced else DIFFERS)


def books(connection: Connection) -> Books:
    """An installation as the ledger reads it."""
    stack = connection.stack
    tables = (stack.events_table, stack.users_table, stack.imports_table)
    clock = SystemClock()
    return Books(
        connection.objects,
        connection.imports,
        StoredTables(connection.dynamodb, *tables, clock),
        clock.now_ms(),
        kept(connection),
    )


def kept(connection: Connection) -> Kept:
    stack = connection.stack
    return Kept(
        stack.archive_retention_days,
        stack.errors_retention_days,
        stack.receipt_retention_days,
        stack.execution_retention_days,
    )


def _verdict(connection: Connection, execution: Execution, scan: bool, most: int, quiet: bool) -> Verdict:
    size = execution.source.size_bytes
    with show.Bars(quiet) as bars, explained(connection.name):
        bar = bars.file(Path(execution.source.key))

        def moved(offset: int) -> None:
            bar.reading(offset, max(size, offset))  # plain bytes: of a compressed file more than it has stored

        return verify(books(connection), execution, scan, most, moved)


def _page(out: Console, execution: Execution, verdict: Verdict) -> None:
    sums = verdict.recounted
    out.print(Text(shown(execution.source.key), style="bold").append(f"  {execution.id}", style="dim"))
    books_say = (
        f"{show.many(sums.rows, 'row')} = {sums.good:,} {_where_good_rows_are(execution)} + {sums.bad:,} in errors/"
        + "".join(f" + {count:,} {fate}" for fate, count in _other_fates(sums))
    )
    if execution.undone is not None:
        when = show.utc(execution.undone.done_ms or execution.undone.at_ms)
        is_gone = "none of its items is left" if verdict.balanced else "what is left of it, or differs, is below"
        show.paragraph(out, f"undone {when}: {is_gone}. What it was:", "bold", indent=0)
    if verdict.balanced:
        as_far = "" if execution.status is Status.SUCCEEDED else f" as far as it was read ({execution.status.value})"
        show.paragraph(out, f"balanced{as_far}: {books_say}", "bold green", indent=0)
    else:
        counts = ", ".join(f"{verdict.differences[kind]:,} {kind}" for kind in Kind if kind in verdict.differences)
        show.paragraph(out, f"not balanced: {counts}", "bold red", indent=0)
        for finding in verdict.findings:
            out.print()
            _finding(out, finding)
        left = sum(verdict.differences.values()) - len(verdict.findings)
        out.print()
        if left:
            show.paragraph(out, f"{left:,} more: --findings N shows them.", indent=0)
        show.paragraph(out, "docs/verify.md says what each means and what to do.", indent=0)
    if verdict.gone:
        items = show.many(verdict.gone, "item")
        show.paragraph(out, f"Since then {items} expired, or went with persons who were erased.", indent=0)
    if verdict.forgotten:
        rows, were = show.many(verdict.forgotten, "row"), "was" if verdict.forgotten == 1 else "were"
        show.paragraph(out, f"Since then {rows} {were} blanked: of somebody who was forgotten.", indent=0)
    for sentence in verdict.unchecked:
        show.paragraph(out, f"Not checked: {sentence}.", "dim", indent=0)


def _other_fates(sums: Tally) -> list[tuple[str, int]]:
    fates = (("expired", sums.expired), ("erased", sums.erased), ("withheld", sums.withheld))
    return [(fate, count) for fate, count in fates if count]


def _where_good_rows_are(execution: Execution) -> str:
    return "in the store" if "dynamodb" in execution.sinks else "for the stream alone"


def _finding(out: Console, finding: Finding) -> None:
    head = Text("  ").append(finding.kind.value, style=f"bold {_STYLE[finding.kind]}")
    head.append(f"  {_WHAT[finding.place]}")
    if finding.offset is not None:
        head.append(f"  line {finding.line:,}" if finding.line else "", style="bold")
        head.append(f"  byte {finding.offset:,}", style="dim")
    out.print(head, soft_wrap=True)
    if finding.key:
        out.print(Text(f"    {finding.key}", style="dim"), soft_wrap=True)
    if finding.attribute:
        show.label(out, "  differs", finding.attribute)
    if finding.expected or finding.kind is Kind.DIFFERENT:
        show.label(out, "  expected", finding.expected or "nothing")
    if finding.found:
        show.label(out, "  found", finding.found)
