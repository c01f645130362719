"""`importer forget PERSON`: the plan and its cost, a question, then the certificate."""

import getpass
import re
import secrets
import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click
from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError
from rich.console import Console

from cli import show
from cli.connection import Connection, connected, explained
from cli.verbs import DIFFERS, DONE, Differs, confirm, json_option, stack_option, yes_option
from importer.aws import answers
from importer.aws.clock import SystemClock
from importer.aws.forgotten import ForgottenTables
from importer.aws.people import StoredPeople
from importer.aws.vault import Vault
from importer.costs import bill
from importer.ledger import forgetting
from importer.ledger.forgetting import NotTheSame, Place, Progress, Survey, Wish
from importer.model import Clock, Provenance, Usage, UserChange, Value
from importer.sinks.erasing import MOST_IDENTIFIERS, Erasing
from importer.sinks.items import USER_ID_BYTES
from importer.users import DEVICE, ERASED, PERSON, SCOPE, person
from importer.words import in_dollars, in_time

# Measured: on one core of a 2.1 GHz EPYC, rows of 200 bytes in CoolaData's dialect; see docs/forget.md.
BYTES_PER_SECOND: Final = 12 << 20
OBJECTS_PER_SECOND: Final = 20
SHORT: Final = 4  # characters; a shorter identifier stands in many a refused row of others
SHOWN: Final = 20
IN_FLIGHT: Final = 8
_HALVES: Final = re.compile("[\ud800-\udfff]")


def place_of(
    connection: Connection,
    follow_links: bool,
    run_id: str,
    clock: Clock,
    moved: Callable[[str, int], None] = lambda what, offset: None,
    in_flight: int = IN_FLIGHT,
    bucket: str = "",
) -> Place:
    """An installation, as whoever forgets somebody works with it."""
    stack, objects, records = connection.stack, connection.objects, connection.imports
    tables = ForgottenTables(connection.dynamodb, stack.events_table, stack.users_table, stack.imports_table, clock)

    def uploaded_ms(execution_id: str) -> int | None:
        execution = records.execution(execution_id)
        return None if execution is None else execution.upload.uploaded_ms

    def erase(identifiers: Sequence[str], before_ms: int) -> None:
        source = Provenance("", "forget", run_id, "importer forget", before_ms)
        erasing = Erasing(
            connection.dynamodb, stack.events_table, stack.users_table, source, clock, in_flight, uploaded_ms
        )
        scope: Value = {SCOPE: PERSON if follow_links else DEVICE}
        erasing.erase(
            [UserChange(one, ERASED, scope, None, 0, number) for number, one in enumerate(identifiers)], lambda: None
        )

    return Place(
        bucket or stack.bucket,
        objects,
        records,
        Vault(connection.s3, objects),
        tables,
        records.stem_owner,
        erase,
        clock,
        moved,
    )


def identifiers_of(
    connection: Connection, start: Sequence[str], follow_links: bool, clock: Clock, in_flight: int = IN_FLIGHT
) -> tuple[str, ...]:
    """All identifiers to be forgotten, those asked for first.

    Raises:
        Differs: there are more than are looked for.
    """
    stack = connection.stack
    people = StoredPeople(
        connection.dynamodb, stack.events_table, stack.users_table, clock, in_flight, MOST_IDENTIFIERS
    )
    tables = ForgottenTables(connection.dynamodb, stack.events_table, stack.users_table, stack.imports_table, clock)
    found = dict.fromkeys(start)
    if not follow_links:
        return tuple(found)
    waiting = list(found)
    while waiting:
        one = waiting.pop()
        linked = person(one, people.records, clock.now_ms(), MOST_IDENTIFIERS)
        if linked.is_cut or len(found) > MOST_IDENTIFIERS:
            raise Differs(f"{one} is linked with more than {MOST_IDENTIFIERS:,} identifiers: use --no-links and --also")
        # Links go with an erasure; the record of it remembers them, and so does one that was interrupted.
        for other in (*linked.identifiers, *sorted(tables.linked(one))):
            if other not in found:
                found[other] = None
                waiting.append(other)
    return tuple(found)


@click.command()
@click.argument("identifier", metavar="PERSON")
@click.option("--also", "also", metavar="ID", multiple=True, help="Another identifier of the same person.")
@click.option("--no-links", "alone", is_flag=True, help="Only the identifiers given, not those linked with them.")
@click.option(
    "--only-named",
    is_flag=True,
    help="Search only files that events and records of the person name; the certificate says what was not searched.",
)
@click.option(
    "--bucket", metavar="NAME", default="", help="A bucket of yours from which files are imported; else the stack's."
)
@click.option("--purge-versions", "purge", is_flag=True, help="Delete old versions of changed objects at once.")
@click.option("--no-marker", is_flag=True, help="At the end, take away the record that they were erased, too.")
@click.option("--dry-run", is_flag=True, help="Only say what would be forgotten, and what it costs to search.")
@click.option(
    "--wait",
    "wait_s",
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    type=click.FloatRange(0),
    help="How long to wait for imports that are under way.",
)
@click.option("--resume", "secret", metavar="SECRET", help="Go on with a forgetting that was interrupted.")
@click.option(
    "--certificate",
    "file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Also write the certificate, as JSON, to a file of your own.",
)
@yes_option
@stack_option
@json_option
@click.pass_context
def forget(
    ctx: click.Context,
    identifier: str,
    also: tuple[str, ...],
    alone: bool,
    only_named: bool,
    bucket: str,
    purge: bool,
    no_marker: bool,
    dry_run: bool,
    wait_s: float,
    secret: str | None,
    file: Path | None,
    yes: bool,
    stack_name: str | None,
    as_json: bool,
) -> None:
    """Forget a person: events, records, and their rows in every file the importer has kept. It cannot be undone.

    PERSON is an identifier as it was sent; all that are linked with it are forgotten as well. Rows are blanked where
    they stand: all others keep their bytes, lines and offsets, and `importer verify` still balances. A row that is
    uploaded later counts again, as that of a new person.

    First you see whom it means and what it costs, and are asked. At the end there is a certificate: what was done, and
    what is out of reach. A copy without names stays in the bucket, under erasures/certificates/.

    Interrupted, it is run again; with --resume it goes on where it was. Exit code 1: something is left to do, and the
    certificate says what (an import under way, a file that cannot be read).

    \b
    Examples:
      importer forget ada@example.com --dry-run
      importer forget ada@example.com --stack s3-event-importer --certificate ada.json
      importer forget u-81 --also 1000:u-81 --no-links --purge-versions --yes
    """
    connection = connected(stack_name)
    clock = SystemClock()
    start = (identifier, *also)
    for one in start:
        if not one:
            raise click.UsageError("an identifier is not empty")
        # What is no UTF-8 on the command line comes as halves of characters.
        if len(one.encode("utf-8", "surrogatepass")) > USER_ID_BYTES or _HALVES.search(one):
            raise click.UsageError(f"an identifier is text of at most {USER_ID_BYTES:,} bytes of UTF-8")
    if bucket:
        _judge_bucket(connection, bucket)
    wish, progress, found = _planned(
        connection, start, alone, only_named, bucket, purge, no_marker, wait_s, secret, clock
    )
    if not as_json or not dry_run:
        _plan(show.console(stderr=True), connection, wish, found, alone)
    if dry_run:
        if as_json:
            click.echo(show.to_json({"identifiers": list(wish.identifiers), "search": _costs(found)}))
        ctx.exit(DONE)
    confirm(yes, f"Forget {show.many(len(wish.identifiers), 'identifier')} for good?")
    again = shlex.join(_options(start, alone, only_named, bucket, purge, no_marker))
    click.echo(f"If it is interrupted: importer forget --resume {wish.secret}{connection.command} {again}", err=True)
    total = sum(found.bytes.values())
    with show.Bars(as_json) as bars, explained(connection.name):
        bar = bars.file(Path("searching"))
        before: dict[str, int] = {"bytes": 0, "last": 0}

        def moved(_: str, offset: int) -> None:
            before["bytes"] += max(offset - before["last"], 0)
            before["last"] = offset
            bar.reading(before["bytes"], max(total, before["bytes"]))

        place = place_of(connection, not alone, wish.id, clock, moved, bucket=bucket)
        made = forgetting.forget(place, wish, progress)
    certificate = {
        **made,
        "by": _who(connection),
        "secret": wish.secret,
        "out_of_reach": out_of_reach(connection, made),
    }
    if file is not None:
        file.write_text(show.to_json(certificate) + "\n", encoding="utf-8")
    if as_json:
        click.echo(show.to_json(certificate))
    else:
        _page(show.console(), certificate)
    ctx.exit(DONE if made["complete"] else DIFFERS)


def _judge_bucket(connection: Connection, bucket: str) -> None:
    """Raises UsageError: there is no bucket of that name."""
    try:
        connection.s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if not answers.is_gone(error):  # forbidden, or away: searching says so, and what is needed
            return
    except ParamValidationError:
        pass
    else:
        return
    raise click.UsageError(
        f"there is no bucket {bucket!r}: --bucket takes one from which files were imported (the certificate lists "
        "those that were not searched). If it was deleted, nothing is left in it"
    )


def _planned(
    connection: Connection,
    start: tuple[str, ...],
    alone: bool,
    only_named: bool,
    bucket: str,
    purge: bool,
    no_marker: bool,
    wait_s: float,
    secret: str | None,
    clock: Clock,
) -> tuple[Wish, Progress | None, Survey]:
    with explained(connection.name):
        identifiers = identifiers_of(connection, start, not alone, clock)
        wish = Wish(
            identifiers,
            secret or secrets.token_hex(16),
            only_named,
            purge,
            not no_marker,
            round(wait_s * 1000),
        )
        place = place_of(connection, not alone, wish.id, clock, bucket=bucket)
        try:
            progress = forgetting.progress_of(place, wish) if secret else None
        except NotTheSame as problem:
            raise click.UsageError(str(problem)) from problem
        return wish, progress, forgetting.survey(place)


def _options(
    start: tuple[str, ...], alone: bool, only_named: bool, bucket: str, purge: bool, no_marker: bool
) -> list[str]:
    flags = (
        ("--no-links", alone),
        ("--only-named", only_named),
        ("--purge-versions", purge),
        ("--no-marker", no_marker),
    )
    return [
        *(["--bucket", bucket] if bucket else []),
        *(flag for flag, given in flags if given),
        *(f"--also={other}" for other in start[1:]),
        *(["--"] if start[0].startswith("-") else []),
        start[0],
    ]


def _costs(found: Survey) -> dict[str, Value]:
    objects, size = sum(found.objects.values()), sum(found.bytes.values())
    # A LIST of its papers, a GET and a look-up or two for each object; what holds rows of the person is read twice.
    usage = Usage(s3_reads=4 * objects, s3_writes=2 * objects, read_units=3 * objects)
    return {
        "objects": objects,
        "bytes": size,
        "by_place": {place: {"objects": found.objects[place], "bytes": found.bytes[place]} for place in found.objects},
        "seconds": _seconds(objects, size),
        "usd": bill(usage)["usd"],
    }


def _plan(out: Console, connection: Connection, wish: Wish, found: Survey, alone: bool) -> None:
    costs = _costs(found)
    show.heading(out, f"To be forgotten in {connection.name}")
    for one in wish.identifiers[:SHOWN]:
        show.paragraph(out, show.shown_whole(one))
    if len(wish.identifiers) > SHOWN:
        show.paragraph(out, f"and {len(wish.identifiers) - SHOWN:,} more: --dry-run --json has all of them")
    if not alone and len(wish.identifiers) > 1:
        show.paragraph(out, "They are linked: one person. `--no-links` means only those you name.", "dim")
    where = "what items of theirs name, of " if wish.only_named else ""
    count, size = sum(found.objects.values()), sum(found.bytes.values())
    show.label(out, "searched", f"{where}{show.many(count, 'object')}, {show.in_bytes(size)} as stored")
    seconds, usd = _seconds(count, size), float(str(costs["usd"]))
    show.label(out, "takes", f"{in_time(seconds)} from here, and {in_dollars(usd)} of requests")
    show.label(out, "traffic", "S3 bills what leaves its region: run this in it, and it is free")
    show.label(out, "old copies", "deleted at once" if wish.purge else _kept(found.old_days))
    if any(len(one) < SHORT for one in wish.identifiers):
        show.paragraph(
            out,
            "One of these is short: refused rows of others that hold it as any value of theirs are blanked as well.",
            "yellow",
            indent=0,
        )


def _kept(days: Mapping[str, int] | None) -> str:
    if days is None:
        return "nobody may see how long they are kept"
    if "" not in days:
        return "kept for ever: no rule of the bucket ends them"
    return f"kept {days['']} days, then gone"


def _seconds(objects: int, size_bytes: int) -> int:
    return round(size_bytes / BYTES_PER_SECOND) + objects // OBJECTS_PER_SECOND + 1


def _who(connection: Connection) -> str:
    """Who runs this: by AWS, else by the machine."""
    if connection.stack.endpoint_url is None and connection.stack.access_key_id is None:
        try:
            return str(connection.session.client("sts").get_caller_identity()["Arn"])
        except (BotoCoreError, ClientError):  # a name is no reason to lose a certificate
            return getpass.getuser()
    return getpass.getuser()


def out_of_reach(connection: Connection, made: Mapping[str, Any]) -> list[dict[str, Value]]:
    """Where rows of the person may still be, which nothing here can change: place, until when, what to do."""
    stack = connection.stack
    old = made["old_versions"]
    found: list[dict[str, Value]] = []
    if old["count"]:
        until = None if old["kept_until_ms"] is None else _day(old["kept_until_ms"])
        found.append(
            {
                "place": f"{show.many(old['count'], 'old version')} of changed objects in s3://{made['bucket']}",
                "until": until,
                "remedy": "--purge-versions deletes them now",
            }
        )
    found.append(
        {
            "place": f"point-in-time recovery of the tables {stack.events_table}, {stack.users_table}, "
            f"{stack.imports_table}, and backups made of them",
            "until": _day(int(made["ended_ms"]) + 35 * 86_400_000),
            "remedy": "after a restore, forget again",
        }
    )
    if stack.delivery_stream:
        found.append(
            {
                "place": f"what the stream {stack.delivery_stream} has delivered"
                + (f" to s3://{stack.stream_bucket}" if stack.stream_bucket else ""),
                "until": None,
                "remedy": "delete it there: lines with these user_ids",
            }
        )
    found += [
        {
            "place": "logs: the importer logs no rows and no identifiers; of other services it cannot tell",
            "until": None,
            "remedy": "none is needed",
        },
        {
            "place": "notices, mails and answers that were sent: they may have named users that turn up most",
            "until": None,
            "remedy": "none from here",
        },
        {
            "place": "names of files and keys of objects: they are not changed",
            "until": None,
            "remedy": "see mentions.imports_table",
        },
        {"place": "replicas and inventories of the bucket, if it has any", "until": None, "remedy": "look there"},
        {"place": "the sender's own copies of the files", "until": None, "remedy": "tell the sender"},
    ]
    if made["marker"] == "kept":
        found.append(
            {
                "place": f"the record `erased` of each identifier in {stack.users_table}: it keeps out rows that "
                "are still on their way",
                "until": None,
                "remedy": "--no-marker takes it away, once nothing is on its way",
            }
        )
    return found


def _day(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")


_WORDS: Final = {
    "events": ("event", "deleted"),
    "user_records": ("user record", "deleted"),
    "links_of_others": ("link", "of others with them deleted"),
    "rows_good": ("good row", "blanked"),
    "rows_bad": ("refused row", "blanked"),
    "rows_expired": ("row", "that had expired blanked"),
    "rows_long": ("line", "too long to be held blanked"),
    "lines": ("line", "blanked in files that no import has read, or is known of"),
    "lines_of_errors": ("row", "blanked in errors/"),
    "lines_of_reasons": ("reason", "blanked in errors/"),
    "receipts": ("receipt", "changed"),
    "files_set_aside": ("refused file", "moved from imports/ to set_aside/"),
    "segments": ("object", "under work/ deleted"),
    "previews": ("file", "under previews/ deleted"),
    "preview_results": ("result", "of a preview deleted"),
    "notes_of_imports": ("note", "in the imports table changed"),
    "versions_deleted": ("old version", "deleted"),
    "items_of_others_from_their_rows": ("item", "of others, made by rows of both, not changed"),
}


def _page(out: Console, certificate: Mapping[str, Any]) -> None:
    is_complete = certificate["complete"]
    show.paragraph(
        out,
        "Forgotten." if is_complete else "Not all is forgotten yet.",
        "bold green" if is_complete else "bold yellow",
        indent=0,
    )
    for one in certificate["identifiers"][:SHOWN]:
        show.paragraph(out, show.shown_whole(one))
    show.heading(out, "Done")
    done = certificate["done"]
    for name, (noun, more) in _WORDS.items():
        if done.get(name):
            show.paragraph(out, f"{show.many(done[name], noun)} {more}")
    show.paragraph(out, f"{show.many(done.get('objects_searched', 0), 'object')} searched")
    open_ = certificate["open"]
    if open_["executions"] or open_["waiting_files"] or certificate["unreadable"]:
        show.heading(out, "Left to do: run this again when")
        for one in open_["executions"]:
            show.paragraph(out, f"import {one} has ended")
        for key in open_["waiting_files"]:
            show.paragraph(out, f"{show.shown_whole(key)} has been imported")
        for key, said in certificate["unreadable"].items():
            show.paragraph(out, f"{show.shown_whole(key)} was mended or deleted: {show.shown_whole(said)}")
    if certificate["not_searched"]["objects_no_item_names"]:
        out.print()
        count = certificate["not_searched"]["objects_no_item_names"]
        show.paragraph(out, f"Not searched: {show.many(count, 'object')} that no item names.", "yellow", indent=0)
    if certificate["not_searched"]["folders"]:
        folders = ", ".join(folder or "(keys without a folder)" for folder in certificate["not_searched"]["folders"])
        show.paragraph(out, f"Not searched, since they are not the importer's: {folders}.", "yellow", indent=0)
    for bucket in certificate["not_searched"]["buckets"]:
        text = f"Not searched: s3://{bucket}, from which files were imported as well: --bucket {bucket} searches it."
        show.paragraph(out, text, "yellow", indent=0)
    mentions = certificate["mentions"]
    if mentions["rows_of_others"] or mentions["imports_table"]:
        show.heading(out, "Rows and notes of others that speak of them: not changed")
        for key, told in list(mentions["rows_of_others"].items())[:SHOWN]:
            show.paragraph(out, f"{show.many(told['count'], 'row')} of {show.shown_whole(key)}")
        for key in mentions["imports_table"][:SHOWN]:
            show.paragraph(out, show.shown_whole(key))
    show.heading(out, "Out of reach")
    for one in certificate["out_of_reach"]:
        until = f" (until {one['until']})" if one["until"] else ""
        show.paragraph(out, f"{one['place']}{until}: {one['remedy']}")
    out.print()
    show.paragraph(out, f"Certificate {certificate['id']}, by {show.shown_whole(certificate['by'])}", "dim", indent=0)
