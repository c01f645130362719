"""`importer expected`: which series of files come regularly, when the next are due, and which are late or thin."""

import time
from dataclasses import replace
from typing import Any, Final

import click
from rich.text import Text

from cli import show
from cli.connection import CannotReach, Connection, connected, explained
from cli.verbs import DONE, Trouble, confirm, json_option, stack_option, yes_option
from importer.aws.series import Broken, SeriesTable
from importer.doors.expecting import attention_ms
from importer.model import Fenced, Unavailable, Value
from importer.rhythm import Outlook, State, outlook, state_of
from importer.series import Series

_STYLE: Final = {State.LATE: "bold red", State.THIN: "bold yellow", State.ENDED: "dim", State.ON_TIME: "green"}
_ORDER: Final = (State.LATE, State.THIN, State.ON_TIME, State.ENDED)


@click.group(invoke_without_command=True)
@stack_option
@json_option
@click.pass_context
def expected(ctx: click.Context, stack_name: str | None, as_json: bool) -> None:
    """List the series of files that come at a rhythm: when each last came, when it is due, whether it is late or thin.

    A series is found by its names: files of one folder that differ only in digits, dates and ids, or those of a
    recurring import. It is known after four deliveries that were regular. The sweep looks every 15 minutes and takes
    a file into account ten minutes after it was dropped. Docs: docs/expected-files.md

    \b
    Examples:
      importer expected
      importer expected --json | jq -r '.series[] | select(.state == "late").name'
      importer expected mute 'shop/logins*.json'
      importer expected forget 'shop/logins*.json' --stack s3-event-importer
    """
    if ctx.invoked_subcommand is not None:
        if stack_name is not None or as_json:
            raise click.UsageError(f"give --stack and --json behind {ctx.invoked_subcommand}")
        return
    connection = connected(stack_name)
    now_ms = int(time.time() * 1000)
    with explained(connection.name):
        found = list(_table(connection).listed_series())
    known = [(series, expects) for series in found if isinstance(series, Series) and (expects := _outlook(series))]
    known.sort(key=lambda one: (_ORDER.index(state_of(one[1], now_ms)), one[1].due_ms, one[0].name))
    broken = [one for one in found if isinstance(one, Unavailable)]
    if as_json:
        said: list[Value] = [_document(series, expects, now_ms) for series, expects in known]
        click.echo(show.to_json({"series": said, "broken": [str(one) for one in broken]}))
        ctx.exit(DONE)
    out = show.console()
    if known:
        rows = [_row(series, expects, now_ms) for series, expects in known]
        show.put_lines(out, ("state", "last came (UTC)", "due (UTC)", "rhythm", "series"), rows, ())
    else:
        show.paragraph(out, f"No series of files has shown a rhythm in {connection.name} yet.", indent=0)
    for one in broken:
        show.paragraph(out, str(one), "bold red", indent=0)
    ctx.exit(DONE)


_name = click.argument("name", metavar="NAME")


@expected.command()
@_name
@yes_option
@stack_option
@json_option
@click.pass_context
def forget(ctx: click.Context, name: str, yes: bool, stack_name: str | None, as_json: bool) -> None:
    """Forget how a series came: it ended, or comes otherwise now. Files that come later begin it anew.

    NAME is as `importer expected` shows it. No file, row or execution is touched. Exit code 1: there is none.

    \b
    Example:
      importer expected forget 'logins*.json' --yes
    """
    connection = connected(stack_name)
    try:
        count = show.many(len(_known(connection, name).deliveries), "delivery")
    except Broken:  # then there is all the more reason
        count = "history"
    confirm(yes, f"Forget the {count} of {name}?")
    with explained(connection.name):
        _table(connection).forget_series(name)
    _say(as_json, {"forgotten": name}, f"Forgotten: {name}.")
    ctx.exit(DONE)


@expected.command()
@_name
@stack_option
@json_option
@click.pass_context
def mute(ctx: click.Context, name: str, stack_name: str | None, as_json: bool) -> None:
    """Ring no alarm for a series, until `importer expected unmute`. Its files are still counted.

    \b
    Example:
      importer expected mute 'logins*.json'
    """
    _set_muted(stack_name, name, True, as_json)
    ctx.exit(DONE)


@expected.command()
@_name
@stack_option
@json_option
@click.pass_context
def unmute(ctx: click.Context, name: str, stack_name: str | None, as_json: bool) -> None:
    """Ring alarms for a series again.

    \b
    Example:
      importer expected unmute 'logins*.json'
    """
    _set_muted(stack_name, name, False, as_json)
    ctx.exit(DONE)


def _set_muted(stack_name: str | None, name: str, muted: bool, as_json: bool) -> None:
    connection = connected(stack_name)
    try:
        changed = replace(_known(connection, name), muted=muted)
    except Broken as broken:
        raise Trouble(str(broken)) from broken
    try:
        with explained(connection.name):
            _table(connection).write_series(changed, attention_ms(changed))
    except Fenced:
        raise Trouble(f"{name} has changed just now: try again") from None
    text = f"Muted: {name} rings no alarm until it is unmuted." if muted else f"{name} rings alarms again."
    _say(as_json, {"name": name, "muted": muted}, text)


def _known(connection: Connection, name: str) -> Series:
    """Raises click.UsageError: there is none; Broken: its item was changed by hand."""
    try:
        with explained(connection.name):
            series = _table(connection).series(name)
    except CannotReach as trouble:
        if isinstance(trouble.__cause__, Broken):
            raise trouble.__cause__ from None
        raise
    if series is None:
        raise click.UsageError(
            f"there is no series {name} in {connection.name}: `importer expected{connection.command}` lists those with "
            "a rhythm"
        )
    return series


def _say(as_json: bool, said: dict[str, Value], text: str) -> None:
    if as_json:
        click.echo(show.to_json(said))
    else:
        show.paragraph(show.console(), show.shown_whole(text), indent=0)


def _table(connection: Connection) -> SeriesTable:
    return SeriesTable(connection.dynamodb, connection.stack.imports_table)


def _outlook(series: Series) -> Outlook | None:
    return outlook(series.deliveries)


def _document(series: Series, expects: Outlook, now_ms: int) -> dict[str, Any]:
    newest = series.deliveries[-1]
    document: dict[str, Any] = {
        "name": series.name,
        "state": state_of(expects, now_ms).value,
        "muted": series.muted,
        "rhythm": expects.rhythm,
        "deliveries": len(series.deliveries),
        "last_ms": newest.last_ms,
        "due_ms": expects.due_ms,
        "late_ms": expects.late_ms,
        "ended_ms": expects.ended_ms,
        "newest": {"files": newest.files, "rows": newest.rows, "bytes": newest.size_bytes},
    }
    if expects.thin_ms is not None:
        document["thin"] = {"size": expects.size, "usual_size": expects.usual_size, "measure": expects.measure}
    return document


def _row(series: Series, expects: Outlook, now_ms: int) -> list[str | Text]:
    state = state_of(expects, now_ms)
    text = Text(state.value, style=_STYLE[state])
    if state is State.THIN:
        text.append(f": {expects.size:,} {expects.measure}, usually {expects.usual_size:,}", style="not bold")
    if series.muted:
        text.append(", muted", style="dim")
    return [
        text,
        _minute(series.deliveries[-1].last_ms),
        _minute(expects.due_ms),
        expects.rhythm,
        show.shown_whole(series.name),
    ]


def _minute(time_ms: int) -> str:
    return show.utc(time_ms)[:16].replace("T", " ")
