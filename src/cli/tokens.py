"""`importer token`: who may use the HTTP door, and for what.

A token's secret is seen once, when it is made. What is kept of it, in SSM's parameters, tells nobody what it was.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import click
from rich.console import Console
from rich.text import Text

from cli import show
from cli.connection import CannotReach, Connection, connected, explained
from cli.definitions import ImportId
from cli.verbs import DONE, Differs, confirm, json_option, stack_option, yes_option
from importer.aws import secrets
from importer.aws.clock import SystemClock
from importer.definitions import DAY_MS, DEFAULT
from importer.doors.tokens import (
    EVERY_IMPORT,
    NewToken,
    Right,
    StoredToken,
    in_order,
    new_token,
)
from importer.model import Misconfigured

DAYS: Final = 365
MOST_DAYS: Final = 3_650
_NOTICED_S: Final = secrets.KEPT_MS // 1000


@dataclass(frozen=True, slots=True)
class Found:
    """The tokens of an installation, oldest first, and names of what is kept among them and is none."""

    tokens: list[StoredToken]
    unusable: list[str]


def make(
    connection: Connection, name: str, scopes: Mapping[str, Iterable[Right]], now_ms: int, expires_ms: int | None
) -> NewToken:
    """A token that the HTTP door of an installation takes from now on.

    Raises:
        Misconfigured: there can be no such token; says why.
        CannotReach.
    """
    made = new_token(name, scopes, now_ms, expires_ms)
    with explained(connection.name):
        secrets.create(
            connection.parameters(),
            _parameter(connection, made.stored.token_id),
            made.stored.text(),
            "A token of the HTTP door of S3 Event Importer: `importer token list`",
        )
    return made


def found(connection: Connection) -> Found:
    """Raises CannotReach."""
    tokens: list[StoredToken] = []
    unusable: list[str] = []
    with explained(connection.name):
        for token_id, text in secrets.below(connection.parameters(), _path(connection)):
            try:
                tokens.append(StoredToken.of(token_id, text))
            except Misconfigured:
                unusable.append(token_id)
    return Found(sorted(tokens, key=lambda token: (token.created_ms, token.token_id)), sorted(unusable))


def _path(connection: Connection) -> str:
    if connection.stack.tokens_path is None:
        raise CannotReach(
            f"{connection.name} has no HTTP door: it is older than this command. Deploy this version"
            f"{' (`make up`)' if connection.stack.endpoint_url else ' with `make build && sam deploy`'}"
        )
    return connection.stack.tokens_path


def _parameter(connection: Connection, token_id: str) -> str:
    return f"{_path(connection)}/{token_id}"


# ---- The commands --------------------------------------------------------------------------------------------------


@click.group()
def token() -> None:
    """Let programs use the HTTP door, each for what it needs: create, list, revoke.

    \b
    A right is given for one import, by its id, or for every import, by '*':
      read   its definition, its executions, their receipts and bad rows
      write  send files and rows, cancel executions; reads nothing
      admin  read and write; create, change and delete the definition
    Files that no definition is for belong to the import `default`.

    \b
    Examples:
      importer token create "The shop's server" --write shop --read shop
      importer token create dashboard --read '*' --days 90
      importer token list
      importer token revoke 3f9a1c2b7d405e68
    """


@token.command()
@click.argument("name", metavar="NAME")
@click.option(
    "--read", "read", multiple=True, metavar="ID", type=ImportId(), help="Read this import; '*' is every one."
)
@click.option("--write", "write", multiple=True, metavar="ID", type=ImportId(), help="Send to it, read nothing.")
@click.option("--admin", "admin", multiple=True, metavar="ID", type=ImportId(), help="All there is to do with it.")
@click.option(
    "--days",
    default=DAYS,
    show_default=True,
    type=click.IntRange(1, MOST_DAYS),
    help="The token expires after so many days.",
)
@click.option("--forever", is_flag=True, help="It never expires: whoever finds it may use it until it is revoked.")
@stack_option
@json_option
@click.pass_context
def create(
    ctx: click.Context,
    name: str,
    read: Sequence[str],
    write: Sequence[str],
    admin: Sequence[str],
    days: int,
    forever: bool,
    stack_name: str | None,
    as_json: bool,
) -> None:
    """Make a token, called NAME, and show it. It is shown this once and kept nowhere: put it where it is needed.

    \b
    Examples:
      importer token create "The shop's server" --write shop --read shop
      importer token create operator --admin '*' --days 30
      importer token create ci --write '*' --json | jq -r .token | gh secret set IMPORTER_TOKEN
    """
    scopes: dict[str, set[Right]] = {}
    for right, import_ids in ((Right.READ, read), (Right.WRITE, write), (Right.ADMIN, admin)):
        for import_id in import_ids:
            scopes.setdefault(import_id, set()).add(right)
    if not scopes:
        raise click.UsageError(
            "what may it do? Give --read, --write or --admin, each with the id of an import or with '*'"
        )
    connection = connected(stack_name)
    now_ms = SystemClock().now_ms()
    try:
        made = make(connection, name, scopes, now_ms, None if forever else now_ms + days * DAY_MS)
    except Misconfigured as problem:
        raise click.UsageError(str(problem)) from None
    unknown = _without_definition(connection, scopes)
    if as_json:
        click.echo(show.to_json({"token": made.text, **made.stored.document()}))
        ctx.exit(DONE)
    out = show.console()
    show.paragraph(out, f"Created: token {made.stored.token_id} for {show.shown_whole(name)}.", "bold", indent=0)
    show.label(out, "may", _rights(made.stored))
    show.label(out, "expires", _expires(made.stored, now_ms))
    out.print()
    out.print(Text(f"  {made.text}"), soft_wrap=True)
    out.print()
    text = (
        "This is the only time it is shown. Send it as `Authorization: Bearer TOKEN`; where there are a user and a "
        "password, they are what stands before its dot and after it."
    )
    show.paragraph(out, text)
    for import_id in unknown:
        text = f"There is no import definition {show.shown_whole(import_id)} yet: the right holds once there is."
        show.paragraph(out, text, "yellow")
    ctx.exit(DONE)


@token.command("list")
@stack_option
@json_option
@click.pass_context
def list_(ctx: click.Context, stack_name: str | None, as_json: bool) -> None:
    """List the tokens, oldest first. Nobody can see their secrets.

    \b
    Examples:
      importer token list
      importer token list --json | jq -r '.tokens[] | select(.scopes["*"]).id'
    """
    connection = connected(stack_name)
    kept = found(connection)
    if as_json:
        said = {"tokens": [one.document() for one in kept.tokens], "unusable": kept.unusable}
        click.echo(show.to_json(said))
        ctx.exit(DONE)
    out = show.console()
    if kept.tokens:
        _list(out, kept.tokens)
    elif not kept.unusable:
        text = f"There are no tokens in {connection.name}: `importer token create --help` says how to make one."
        show.paragraph(out, text, indent=0)
    for name in kept.unusable:
        text = f"{show.shown_whole(name)} is kept among the tokens and is none: `importer token revoke` removes it."
        show.paragraph(out, text, "yellow", indent=0)
    ctx.exit(DONE)


@token.command()
@click.argument("token_ids", metavar="ID…", nargs=-1, required=True)
@yes_option
@stack_option
@json_option
@click.pass_context
def revoke(ctx: click.Context, token_ids: Sequence[str], yes: bool, stack_name: str | None, as_json: bool) -> None:
    """Take tokens back: within a minute the door refuses them. There is no way to bring one back.

    An ID is the part of a token before its dot. Exit code 1: there is no such token; the others are taken back.

    \b
    Examples:
      importer token revoke 3f9a1c2b7d405e68
      importer token list --json | jq -r '.tokens[].id' | xargs importer token revoke --yes
    """
    wanted = list(dict.fromkeys(given.partition(".")[0] for given in token_ids))
    connection = connected(stack_name)
    kept = found(connection)
    known = {one.token_id: one for one in kept.tokens}
    there = [token_id for token_id in wanted if token_id in known or token_id in kept.unusable]
    if there:
        names = ", ".join(f"{i} ({known[i].name})" if i in known else i for i in there)
        confirm(yes, f"Revoke {names} in {connection.name}?")
    with explained(connection.name):
        revoked = [i for i in there if secrets.remove(connection.parameters(), _parameter(connection, i))]
    if as_json:
        click.echo(show.to_json({"revoked": revoked}))
    else:
        out = show.console()
        for token_id in revoked:
            show.paragraph(
                out,
                f"Revoked: token {show.shown_whole(token_id)}. The door refuses it within {_NOTICED_S} s.",
                indent=0,
            )
    missing = [token_id for token_id in wanted if token_id not in revoked]
    if missing:
        raise Differs(
            f"there is no token {', '.join(missing)} in {connection.name}: `importer token list{connection.command}` "
            "shows those there are"
        )
    ctx.exit(DONE)


def _without_definition(connection: Connection, scopes: Iterable[str]) -> list[str]:
    """Imports nobody has defined: a slip of the pen, or made before their time."""
    with explained(connection.name):
        return [
            import_id
            for import_id in scopes
            if import_id not in (EVERY_IMPORT, DEFAULT.id) and connection.imports.definition(import_id) is None
        ]


# ---- For people ----------------------------------------------------------------------------------------------------


def _list(out: Console, tokens: Sequence[StoredToken]) -> None:
    now_ms = SystemClock().now_ms()
    rows: list[list[str | Text]] = [
        [
            one.token_id,
            show.shown_whole(one.name),
            show.utc(one.created_ms // 1000 * 1000),
            Text(_expires(one, now_ms), style="red" if one.is_over(now_ms) else ""),
            _rights(one),
        ]
        for one in tokens
    ]
    show.put_lines(out, ("token", "name", "created", "expires", "may"), rows, ())


def _rights(token: StoredToken) -> str:
    """`read every import; read, write shop`."""
    return "; ".join(
        f"{', '.join(in_order(rights))} {'every import' if i == EVERY_IMPORT else show.shown_whole(i)}"
        for i, rights in sorted(token.scopes.items())
    )


def _expires(token: StoredToken, now_ms: int) -> str:
    if token.expires_ms is None:
        return "never"
    return f"{show.utc(token.expires_ms // 1000 * 1000)}{' (over)' if token.is_over(now_ms) else ''}"
