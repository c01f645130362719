"""`importer replay`: archived files imported again, or what that would change.

First what is to be replayed is found and its cost said, then a person is asked, then each file's execution is begun
and its parts are tasks: the functions do the work, and the sweep takes up what is lost, also if this command dies.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, cast

import click
from rich.console import Console
from rich.text import Text

from cli import importing, lookup, show
from cli.connection import CannotReach, Connection, connected, explained
from cli.definitions import SETTINGS
from cli.recount import kept
from cli.verbs import (
    DIFFERS,
    DONE,
    FILE_REFUSED,
    ROWS_REFUSED,
    UNAVAILABLE,
    Differs,
    confirm,
    json_option,
    stack_option,
    timeout_option,
    yes_option,
)
from cli.workplace import settings_of, workplace
from importer import executions, formats
from importer.bad_rows import FileReason, ObjectProblem, Reason
from importer.costs import bill
from importer.definitions import DAY_MS, SINK_CHOICES, Definition
from importer.documents import document
from importer.executions import OtherReplay, Workplace
from importer.executions.pinned import definition_of
from importer.ledger.replaying import EXAMPLES, What, WhatIf, what_if
from importer.model import Execution, Misconfigured, Phase, Status, Usage, Value
from importer.notification import IMPORTS_PREFIX
from importer.sinks import SINKS
from importer.words import in_dollars

AT_ONCE: Final = 8
ARCHIVE_PREFIX: Final = "completed_imports/"
MOST_SHOWN: Final = 20
POLL_SECONDS: Final = 2.0
_LATEST_MS: Final = 2**53
_SAYS: Final = {
    What.GOOD_TO_BAD: "Good rows that would be bad",
    What.BAD_TO_GOOD: "Bad rows that would be good",
    What.REASON_DIFFERS: "Bad rows that would be bad for another reason",
    What.EVENTS_DIFFER: "Good rows that would give other events or user changes",
    What.OTHERWISE: "Rows that would be read otherwise",
}


# ---- What is replayed, and how ---------------------------------------------------------------------------------------


class Day(click.ParamType[int]):
    """A day in UTC, as its first millisecond."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            day = datetime.strptime(str(value).replace("/", "-"), "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            self.fail(f"{value!r} is no day: write it as 2026-11-21", param, ctx)
        return int(day.timestamp() * 1000)


@dataclass(frozen=True, slots=True)
class Choice:
    """Which archived files: all that fit. `reason` is one of rows in the receipt."""

    names: tuple[str, ...]
    from_ms: int | None
    to_ms: int | None
    prefix: str | None
    reason: str | None

    def chosen(self, connection: Connection) -> Iterator[Execution]:
        """The executions whose archived files they are, oldest first. Replays, and what was undone, by name only.

        Raises:
            Differs: one that is named has no archived file.
        """
        if self.names:
            for name in dict.fromkeys(self.names):
                execution = lookup.execution_of(connection, name)
                if execution.status is not Status.SUCCEEDED:
                    raise Differs(
                        f"{name} cannot be replayed: its execution {execution.id} is {execution.status.value}, so its "
                        "file is not archived. `importer redrive` takes up what FAILED"
                    )
                if self._fits(connection, execution):
                    yield execution
            return
        after_ms = self.from_ms or 0
        before_ms = _LATEST_MS if self.to_ms is None else self.to_ms + DAY_MS
        for execution in connection.imports.created_between(after_ms, before_ms):
            archived = execution.status is Status.SUCCEEDED and execution.phase is Phase.CLOSED
            # What was undone somebody has taken out on purpose: whoever wants it back names it.
            chosen = archived and execution.replayed is None and execution.undone is None
            if chosen and self._fits(connection, execution):
                yield execution

    def _fits(self, connection: Connection, execution: Execution) -> bool:
        outcome = execution.outcome
        if outcome is None:
            return False
        if self.prefix is not None:
            path = self.prefix.removeprefix(f"s3://{execution.source.bucket}/")
            wanted = path if path.startswith((ARCHIVE_PREFIX, IMPORTS_PREFIX)) else f"{IMPORTS_PREFIX}{path}"
            if not outcome.destination.completed.startswith(wanted) and not execution.upload.key.startswith(wanted):
                return False
        if self.reason is None:
            return True
        if not outcome.sums.bad:
            return False
        receipt = importing.receipt_of(connection, execution)
        if receipt is None:
            name = show.shown_whole(execution.upload.key)
            click.echo(f"importer: {name}: its receipt has expired, so nobody knows its reasons; left out", err=True)
            return False
        return any(group["code"] == self.reason for group in receipt["reasons"])


@dataclass(frozen=True, slots=True)
class How:
    """Under which settings: those the import had, but for what is said otherwise."""

    definition: Definition | None
    changed: dict[str, Value]
    sinks: tuple[str, ...] | None

    def of(self, parent: Execution) -> tuple[Definition, tuple[str, ...] | None]:
        """The definition, and the destinations; None: the stack's. Raises click.UsageError: they do not fit."""
        base = self.definition or definition_of(parent)
        settings = base.as_stored()
        if "document_type" in self.changed and "format" not in self.changed:
            settings["format"] = ""  # it follows from the type
        try:
            definition = formats.completed(Definition.of({**settings, **self.changed}))
        except Misconfigured as problem:
            raise click.UsageError(f"{parent.upload.key}: {problem}") from None
        if self.sinks is not None:
            return definition, self.sinks
        if definition.sinks and ("sinks" in self.changed or self.definition is not None):
            return definition, SINK_CHOICES[definition.sinks]
        return definition, parent.sinks if self.definition is None else None


def _settings(given: Iterable[str]) -> dict[str, Value]:
    """`name=value` as the definition has them. Raises click.UsageError."""
    known = {setting.name: setting for setting in SETTINGS}
    settings: dict[str, Value] = {}
    for text in given:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        name = name if name in known or f"{name}_ms" not in known else f"{name}_ms"
        if not equals or name not in known:
            raise click.UsageError(f"--set {text!r}: write NAME=VALUE, with a NAME of {', '.join(known)}")
        try:
            settings[name] = cast("Value", known[name].kind.convert(value, None, None))
        except click.BadParameter as problem:
            raise click.UsageError(f"--set {name}: {problem.message}") from None
    return settings


def _sinks(given: str | None) -> tuple[str, ...] | None:
    """Names of sinks in the order they are written to. Raises click.UsageError."""
    if given is None:
        return None
    names = SINK_CHOICES.get(given) or tuple(name.strip() for name in given.split(",") if name.strip())
    if not names or not set(names) <= set(SINKS):
        raise click.UsageError(f"--sinks {given!r}: choose from {', '.join(SINKS)}; several with commas between")
    return tuple(name for name in SINKS if name in names)


# ---- The command -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("names", metavar="[KEY|EXECUTION]…", nargs=-1)
@click.option("--from", "from_ms", metavar="DAY", type=Day(), help="Files dropped on this day (UTC) or later.")
@click.option("--to", "to_ms", metavar="DAY", type=Day(), help="Files dropped on this day (UTC) or before.")
@click.option(
    "--prefix", metavar="PATH", help="Files below this path of imports/, or of completed_imports/ if it says so."
)
@click.option(
    "--reason",
    metavar="CODE",
    type=click.Choice([reason.value for reason in Reason]),
    help="Files of which rows were refused for this, such as missing_field.",
)
@click.option("--sinks", metavar="NAMES", help="Where to: dynamodb, firehose, or both; else where they went before.")
@click.option(
    "--set", "settings", metavar="NAME=VALUE", multiple=True, help="A setting, as `importer imports` has them."
)
@click.option("--definition", "import_id", metavar="ID", help="All settings of this definition as it is now.")
@click.option("--what-if", "only_what_if", is_flag=True, help="Only say what would change. Nothing is written.")
@click.option(
    "--examples", default=EXAMPLES, show_default=True, type=click.IntRange(0), help="With --what-if: rows of each kind."
)
@click.option("--id", "replay_id", metavar="NAME", help="What this replay is called: asked for again, it is the same.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Until the replays have ended.")
@timeout_option(900.0, "How long to wait.")
@yes_option
@stack_option
@json_option
@click.pass_context
def replay(
    ctx: click.Context,
    names: tuple[str, ...],
    from_ms: int | None,
    to_ms: int | None,
    prefix: str | None,
    reason: str | None,
    sinks: str | None,
    settings: tuple[str, ...],
    import_id: str | None,
    only_what_if: bool,
    examples: int,
    replay_id: str | None,
    wait: bool,
    timeout_s: float,
    yes: bool,
    stack_name: str | None,
    as_json: bool,
) -> None:
    """Import archived files once more: into the same store or another, under the same settings or others.

    Files are chosen by day, path and reason, or named: by a key, or an execution's id. Each becomes an execution of its
    own, whose parent is the one that archived the file. The file in completed_imports/ is read where it lies and stays
    untouched. Rows that are stored already are not doubled, nothing newer is overwritten, and nobody who was erased
    comes back.

    With --what-if the files are read under both settings, and what differs is told; exit code 1 if anything does.

    \b
    Examples:
      importer replay --from 2026-11-01 --to 2026-11-07 --what-if --set date_format=dd/mm/yyyy
      importer replay --from 2026-11-01 --reason bad_time --set date_format=dd/mm/yyyy
      importer replay --prefix shop/ --sinks firehose --yes --no-wait
      importer replay completed_imports/2026/11/21/logins.json --definition shop
      importer replay 8c2f… --id after-the-outage --stack s3-event-importer
    """
    if not (names or from_ms is not None or to_ms is not None or prefix is not None or reason):
        raise click.UsageError("say which files: name some, or give --from, --to, --prefix or --reason")
    if from_ms is not None and to_ms is not None and to_ms < from_ms:
        raise click.UsageError("--to lies before --from")
    if replay_id is not None and not replay_id.strip():
        raise click.UsageError("--id: give it a name")
    changed, wanted_sinks = _settings(settings), _sinks(sinks)
    connection = connected(stack_name)
    definition = None if import_id is None else lookup.stored_definition(connection, import_id)
    how = How(definition, changed, wanted_sinks)
    _refuse_without_stream(connection, how)
    choice = Choice(names, from_ms, to_ms, prefix, reason)
    # What is cut by what, and where events go by default, only what is begun has to know; or another's definition.
    settings_count = not only_what_if or definition is not None
    place = workplace(connection, settings_of(connection) if settings_count else None)
    if only_what_if:
        ctx.exit(_what_if(connection, place, choice, how, examples, as_json))
    name = replay_id or f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"
    plan = _plan(connection, choice, how, as_json)
    if not plan.files:
        if as_json:
            click.echo(show.to_json({"id": name, "plan": plan.document(), "files": []}))
        else:
            show.paragraph(show.console(), "No archived file fits: nothing is replayed.", indent=0)
        ctx.exit(DONE)
    if not as_json:
        _plan_page(show.console(), plan, how)
    confirm(yes, f"Replay {show.many(len(plan.files), 'file')}?")
    replays = _begun(connection, place, plan, how, name, as_json)
    if wait:
        _follow(connection, replays, time.monotonic() + timeout_s, as_json)
    if as_json:
        click.echo(show.to_json({"id": name, "plan": plan.document(), "files": [one.document() for one in replays]}))
    else:
        _page(show.console(), connection, name, replays, wait)
    ctx.exit(max(one.exit_code(wait) for one in replays))


def _refuse_without_stream(connection: Connection, how: How) -> None:
    sinks = how.sinks or SINK_CHOICES.get(str(how.changed.get("sinks", "")), ())
    if "firehose" in sinks and connection.stack.delivery_stream is None:
        raise Differs(
            f"{connection.name} has no delivery stream: deploy it with Sinks=both or Sinks=firehose first, or choose "
            "--sinks dynamodb"
        )


# ---- The plan --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Planned:
    """A file to be replayed: no more than is needed to count it, as there may be very many."""

    execution_id: str
    key: str
    size_bytes: int


@dataclass(slots=True)
class Plan:
    """What a replay takes. `spent`: what the imports had, for whose destinations the replay goes too."""

    files: list[Planned] = field(default_factory=list)
    size_bytes: int = 0
    spent: Usage = field(default_factory=Usage)
    uncounted: int = 0

    def document(self) -> dict[str, Value]:
        return {
            "files": len(self.files),
            "bytes": self.size_bytes,
            "cost": {**bill(self.spent), "files_without_estimate": self.uncounted},
        }


def _plan(connection: Connection, choice: Choice, how: How, quiet: bool) -> Plan:
    plan = Plan()
    with show.Counting("files found", quiet) as counting, explained(connection.name):
        for parent in choice.chosen(connection):
            _, sinks = how.of(parent)  # settings that do not fit are told before anything is begun
            plan.files.append(Planned(parent.id, parent.upload.key, parent.source.size_bytes))
            plan.size_bytes += parent.source.size_bytes
            spent = parent.outcome.spent if parent.outcome else Usage()
            if spent == Usage():
                plan.uncounted += 1
            plan.spent = plan.spent.plus(_as_spent(spent, parent, sinks or parent.sinks))
            counting.at(len(plan.files))
    return plan


def _as_spent(spent: Usage, parent: Execution, sinks: tuple[str, ...]) -> Usage:
    """What a replay takes, by what its parent took: the same but for destinations that are left out or are new.

    Of a new one nothing was measured: a unit of each event and change, or a record of 5 KB for ten of them.
    """
    sums = parent.outcome.sums if parent.outcome else None
    counts = {f: getattr(spent, f) for f in ("event_write_units", "user_write_units", "stream_records")}
    billed = spent.stream_billed_bytes
    if "dynamodb" not in sinks:
        counts["event_write_units"] = counts["user_write_units"] = 0
    elif "dynamodb" not in parent.sinks and sums is not None:
        counts |= {"event_write_units": sums.events, "user_write_units": 2 * sums.user_changes}
    if "firehose" not in sinks:
        counts["stream_records"] = billed = 0
    elif "firehose" not in parent.sinks and sums is not None:
        counts["stream_records"] = -(-(sums.events + sums.user_changes) // 10)
        billed = counts["stream_records"] * 5_120
    told = {**spent.counts(), **counts, "stream_billed_bytes": billed}
    return Usage(**told)


def _plan_page(out: Console, plan: Plan, how: How) -> None:
    out.print(Text(f"{show.many(len(plan.files), 'archived file')}, {show.in_bytes(plan.size_bytes)}", style="bold"))
    for planned in plan.files[:MOST_SHOWN]:
        out.print(Text(f"  {planned.execution_id}  {show.shown_whole(planned.key)}"), soft_wrap=True)
    if len(plan.files) > MOST_SHOWN:
        show.paragraph(out, f"… and {len(plan.files) - MOST_SHOWN:,} more")
    said = [f"{name} {show.said(value)}" for name, value in how.changed.items()]
    if how.definition is not None:
        said.insert(0, f"those of definition {how.definition.id}")
    show.label(out, "settings", ", ".join(said) or "those of each import")
    show.label(out, "to", ", ".join(how.sinks) if how.sinks else "where each went before")
    cost: Any = bill(plan.spent)
    about = "" if not plan.uncounted else f", without {show.many(plan.uncounted, 'file')} of which nothing is known"
    show.label(out, "cost", f"about {in_dollars(cost['usd'])}, as the imports had{about}")


# ---- Replays ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Replay:
    """One file's replay. `trouble`: why there is none."""

    planned: Planned
    execution: Execution | None = None
    trouble: str = ""
    failed_as: int = UNAVAILABLE

    def document(self) -> dict[str, Value]:
        return {
            "parent": self.planned.execution_id,
            "file": self.planned.key,
            "execution_id": self.execution.id if self.execution else None,
            "execution": document(self.execution) if self.execution else None,
            "trouble": self.trouble or None,
        }

    def exit_code(self, waited: bool) -> int:
        execution = self.execution
        if execution is None:
            return self.failed_as
        if execution.status in (Status.FAILED, Status.CANCELED):
            return FILE_REFUSED
        if execution.phase is not Phase.CLOSED:
            return UNAVAILABLE if waited else DONE
        return ROWS_REFUSED if execution.outcome is not None and execution.outcome.sums.bad else DONE


def _begun(connection: Connection, place: Workplace, plan: Plan, how: How, name: str, quiet: bool) -> list[Replay]:
    def one(planned: Planned) -> Replay:
        begun = Replay(planned)
        try:
            with explained(connection.name):
                begun.execution = _begin(connection, place, planned, how, name)
        except CannotReach as trouble:
            begun.trouble = str(trouble)
        except (ObjectProblem, OtherReplay) as trouble:
            begun.trouble, begun.failed_as = str(trouble), DIFFERS
        return begun

    replays: list[Replay] = []
    with show.Counting("replays begun", quiet) as counting, ThreadPoolExecutor(AT_ONCE) as threads:
        for begun in threads.map(one, plan.files):
            replays.append(begun)
            counting.at(len(replays))
    return replays


def _begin(connection: Connection, place: Workplace, planned: Planned, how: How, name: str) -> Execution:
    parent = place.records.execution(planned.execution_id)
    if parent is None:
        raise ObjectProblem(FileReason.OBJECT_GONE, f"execution {planned.execution_id} was deleted meanwhile")
    return executions.replay(place, _wanted(connection, place, parent, how, name))


def _wanted(connection: Connection, place: Workplace, parent: Execution, how: How, name: str) -> Execution:
    """Raises ObjectProblem: the archived object is gone."""
    archive = executions.archive_of(place, parent)
    if archive is None:
        key = parent.outcome.destination.completed if parent.outcome else parent.source.key
        first = (place.records.execution(parent.upload.execution_id) if parent.replayed else None) or parent
        expired = kept(connection).archive_expired(first, place.clock.now_ms())
        told = expired or f"{key} is not there any more (a lifecycle rule may have removed it)"
        raise ObjectProblem(
            FileReason.OBJECT_GONE,
            f"s3://{parent.source.bucket}/{told}: what is not archived cannot be read again",
        )
    definition, sinks = how.of(parent)
    return executions.replay_of(place, parent, archive, definition, sinks or place.sinks, name)


def _follow(connection: Connection, replays: list[Replay], deadline: float, quiet: bool) -> None:
    """Until all have ended, or the time is up."""
    left = [one for one in replays if one.execution is not None]

    def look(one: Replay) -> None:
        with explained(connection.name):
            one.execution = connection.imports.execution(cast("Execution", one.execution).id) or one.execution

    with show.Counting("replays ended", quiet) as counting, ThreadPoolExecutor(AT_ONCE) as threads:
        pause = 0.1
        while True:
            list(threads.map(look, left))
            left = [one for one in left if one.execution is not None and one.execution.phase is not Phase.CLOSED]
            counting.at(len(replays) - len(left))
            if not left or time.monotonic() + pause > deadline:
                return
            time.sleep(pause)
            pause = min(pause * 1.3, POLL_SECONDS)


def _page(out: Console, connection: Connection, name: str, replays: list[Replay], waited: bool) -> None:
    begun = [one.execution for one in replays if one.execution is not None]
    ended = [execution for execution in begun if execution.phase is Phase.CLOSED]
    out.print()
    if waited:
        sums = [execution.outcome.sums for execution in ended if execution.outcome is not None]
        good, bad = sum(tally.good for tally in sums), sum(tally.bad for tally in sums)
        text = f"{len(ended):,} of {show.many(len(replays), 'replay')} ended: {good:,} good rows, {bad:,} bad"
    else:
        text = f"{show.many(len(begun), 'replay')} on the way"
    out.print(Text(text, style="bold"))
    show.execution_list(out, begun[:MOST_SHOWN])
    if len(begun) > MOST_SHOWN:
        show.paragraph(out, f"… and {len(begun) - MOST_SHOWN:,} more: `importer executions{connection.command}`")
    for one in replays:
        if one.trouble:
            show.paragraph(out, f"{show.shown_whole(one.planned.key)}: {show.shown_whole(one.trouble)}", "yellow")
    if len(ended) < len(begun):
        show.paragraph(out, f"`importer status{connection.command}` shows how it goes.", indent=0)
    again = f"With --id {name} the same files are not begun a second time."
    show.paragraph(out, again, "dim", indent=0)


# ---- What if ---------------------------------------------------------------------------------------------------------


def _what_if(connection: Connection, place: Workplace, choice: Choice, how: How, examples: int, as_json: bool) -> int:
    """An exit code. One file after the other: each page as soon as it is known."""
    out = show.console()
    said: list[Value] = []
    files = differing = 0
    before, after, changed = [0, 0], [0, 0], dict.fromkeys(What, 0)
    troubles = 0
    with show.Bars(as_json) as bars, explained(connection.name):
        for parent in choice.chosen(connection):
            files += 1
            try:
                found = _found(connection, place, parent, how, examples, bars)
            except ObjectProblem as problem:
                troubles += 1
                said.append({"schema": "what_if/1", "parent": parent.id, "trouble": problem.message})
                if not as_json:
                    show.paragraph(out, f"{show.shown_whole(parent.upload.key)}: {problem.message}", "yellow", indent=0)
                continue
            differing += found.differs
            for sums, tally in ((before, found.before), (after, found.after)):
                sums[0] += tally.good
                sums[1] += tally.bad
            for what in What:
                changed[what] += found.changed[what]
            if as_json:
                said.append(found.document())
            else:
                _what_if_page(out, found)
    if as_json:
        total: dict[str, Value] = {
            "files": files,
            "files_that_differ": differing,
            "before": {"good": before[0], "bad": before[1]},
            "after": {"good": after[0], "bad": after[1]},
            "changed": {what.value: count for what, count in changed.items()},
        }
        click.echo(show.to_json({"files": said, "total": total}))
    elif not files:
        show.paragraph(out, "No archived file fits.", indent=0)
    else:
        rows = f"{before[0]:,} good and {before[1]:,} bad rows would be {after[0]:,} and {after[1]:,}"
        text = f"{differing:,} of {show.many(files, 'file')} would differ: {rows}. Nothing was written."
        show.paragraph(out, text, "bold", indent=0)
    return DIFFERS if differing or troubles else DONE


def _found(
    connection: Connection, place: Workplace, parent: Execution, how: How, examples: int, bars: show.Bars
) -> WhatIf:
    bar = bars.file(Path(parent.upload.key))
    with explained(connection.name):
        wanted = _wanted(connection, place, parent, how, "what-if")
        size = wanted.source.size_bytes
        moved: Callable[[int], None] = lambda offset: bar.reading(offset, max(size, offset))  # noqa: E731
        return what_if(place.objects, parent, wanted, examples, moved)


def _what_if_page(out: Console, found: WhatIf) -> None:
    execution = found.execution
    out.print(Text(show.shown_whole(execution.upload.key), style="bold").append(f"  {execution.id}", style="dim"))
    for name, (before, after) in found.settings.items():
        show.label(out, "setting", f"{name}: {show.said(before)} → {show.said(after)}")
    if found.refused is not None:
        show.paragraph(out, f"The file would be refused, {found.refused.code.value}: {found.refused.message}", "red")
    counts = (("before", found.before), ("after", found.after))
    for name, tally in counts if found.differs else counts[:1]:
        others = f", {tally.expired:,} expired" if tally.expired else ""
        show.label(out, name, f"{tally.good:,} good, {tally.bad:,} bad{others}")
    if not found.differs:
        show.paragraph(out, "Nothing would change.")
    for what in What:
        if found.changed[what]:
            show.heading(out, f"{_SAYS[what]}: {found.changed[what]:,}")
            for group in sorted(found.groups, key=lambda group: -group.count):
                if group.what is what:
                    _group(out, group.document())
    for note in found.notes:
        show.paragraph(out, f"Note: {note}.", "dim")
    out.print()


def _group(out: Console, group: Any) -> None:
    sides = [f"{side['code']} {side['field']}".strip() for side in (group["before"], group["after"]) if side]
    what = " → ".join(sides) or ", ".join(group["attributes"]) or "further ones"
    out.print(Text(f"  {group['count']:,} × ").append(show.shown_whole(what), style="yellow"), soft_wrap=True)
    for example in group["examples"]:
        out.print(Text(f"    line {example['line']:,}  byte {example['offset']:,}", style="dim"))
        show.paragraph(out, f"before: {show.shown_whole(example['before'])}", indent=6)
        show.paragraph(out, f"after:  {show.shown_whole(example['after'])}", indent=6)
