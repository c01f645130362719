"""`importer status`: how an import stands, part by part, and what it waits for; or everything that has not ended."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any, Final

import click
from rich.console import Console
from rich.text import Text

from cli import importing, lookup, show
from cli.connection import Connection, connected, explained
from cli.verbs import DONE, FILE_REFUSED, UNAVAILABLE, json_option, stack_option, timeout_option, version_option
from importer.aws.clock import SystemClock
from importer.costs import bill
from importer.definitions import Definition
from importer.documents import document
from importer.model import TO_THE_END, Execution, PartState, Phase, Status, Tally, Usage, Value
from importer.parts import parts_of

MOST_PARTS: Final = 40  # shown; of more only those that are not done
COMPRESSED: Final = (".gz", ".zst")


@dataclass(frozen=True, slots=True)
class Standing:
    """How an execution stands at one moment.

    Attributes:
        parts: all of them in order, also those nobody has begun.
        leases: start of a part → when the lease of its worker runs out.
    """

    execution: Execution
    parts: list[PartState]
    leases: dict[int, int]
    now_ms: int

    @property
    def is_compressed(self) -> bool:
        """Then offsets count what it expands to, and how much that is nobody knows."""
        size = self.execution.source.size_bytes
        return self.execution.source.key.lower().endswith(COMPRESSED) or any(p.next_offset > size for p in self.parts)

    @property
    def share(self) -> float | None:
        """Of its bytes that were read, 0 to 1; None where it cannot be known."""
        size = self.execution.source.size_bytes
        if self.execution.status is Status.SUCCEEDED or self.execution.phase is Phase.FINALISING:
            return 1.0
        if self.is_compressed:
            border = max((part.border.stored_offset for part in self.parts if part.border), default=0)
            return min(border / size, 1.0) if border and size else None
        read = sum(min(part.next_offset, size) - min(part.start, size) for part in self.parts)
        return min(read / size, 1.0) if size else 1.0

    @property
    def tally(self) -> Tally:
        tally = Tally()
        for part in self.parts:
            tally = tally.plus(part.tally)
        return tally

    @property
    def spent(self) -> Usage:
        """By all parts, as they have saved it; once its outcome is fixed, by whoever fixed it too."""
        if self.execution.outcome is not None:
            return self.execution.outcome.spent
        return reduce(Usage.plus, (part.spent for part in self.parts), Usage())

    def state_of(self, part: PartState) -> str:
        if part.done:
            return "done"
        if self.execution.phase is not Phase.IMPORTING:
            return "ended"
        until_ms = self.leases.get(part.start)
        if until_ms is None:
            return "waiting"
        return f"running until {show.utc(until_ms)[11:19]}" if until_ms >= self.now_ms else "its worker is gone"

    def waits_for(self) -> str:
        """What has to happen next, in a sentence."""
        execution = self.execution
        if execution.phase is Phase.CLOSED:
            if execution.status is Status.FAILED:
                return (
                    "You: it has ended FAILED. Mend the file and drop it again; or, if the cause lay elsewhere and is "
                    f"mended, `importer redrive {execution.id}` goes on where it stopped."
                )
            return f"Nothing: it has ended {execution.status.value}."
        if execution.phase is Phase.CLOSING:
            return f"It has ended {execution.status.value}; errors/ and its receipt are being written."
        if execution.phase is Phase.FINALISING:
            return (
                "All rows are read. errors/, reasons and receipt are being written, then the file is copied and moved."
            )
        states = [self.state_of(part) for part in self.parts]
        if states == ["waiting"] and Definition.of(execution.definition).has_in_series(execution.source.key):
            import_id = execution.document_import_id
            return f"The next run of its recurring import: `importer recurring run {import_id}` runs it now."
        running = sum(state.startswith("running") for state in states)
        waiting, gone = states.count("waiting"), states.count("its worker is gone")
        if all(part.done for part in self.parts):
            return "All rows are read: a worker is about to settle it."
        said = []
        if running:
            said.append(f"{show.many(running, 'part')} being read")
        if waiting:
            said.append(f"{show.many(waiting, 'part')} waiting for a worker")
        if gone:
            said.append(
                f"{show.many(gone, 'part')} whose worker is gone: the sweep sends such parts on within 5 minutes"
            )
        return f"{'; '.join(said).capitalize()}."

    def document(self) -> dict[str, Value]:
        """For `--json`."""
        tally = self.tally
        return {
            "execution": document(self.execution),
            "bytes": self.execution.source.size_bytes,
            "share_read": self.share,
            "good": tally.good,
            "bad": tally.bad,
            "expired": tally.expired,
            "erased": tally.erased,
            "withheld": tally.withheld,
            "waits_for": self.waits_for(),
            "cost": bill(self.spent),
            "parts": [
                {
                    "start": part.start,
                    "stop": None if part.stop == TO_THE_END else part.stop,
                    "next_offset": part.next_offset,
                    "good": part.tally.good,
                    "bad": part.tally.bad,
                    "done": part.done,
                    "state": self.state_of(part),
                    "lease_until_ms": self.leases.get(part.start),
                    "hops": part.hops,
                    "tries": part.tries,
                }
                for part in self.parts
            ],
        }


def standing(connection: Connection, execution: Execution) -> Standing:
    """How it stands now."""
    with explained(connection.name):
        begun = {part.start: part for part in connection.imports.parts(execution.id)}
        leases = connection.imports.leases(execution.id)
    parts = [
        begun.get(part.start, PartState(part.start, part.stop, part.start, Tally(), False, None))
        for part in parts_of(execution.part_count, execution.part_bytes)
    ]
    return Standing(execution, parts, leases, SystemClock().now_ms())


def queue_lengths(connection: Connection) -> dict[str, Value]:
    """Messages of the part queue and of the dead letters: visible, in flight, delayed; as SQS estimates them."""
    names = {
        "visible": "ApproximateNumberOfMessages",
        "in_flight": "ApproximateNumberOfMessagesNotVisible",
        "delayed": "ApproximateNumberOfMessagesDelayed",
    }
    found: dict[str, Value] = {}
    with explained(connection.name):
        sqs = connection.sqs()
        for queue, url in (
            ("part_queue", connection.stack.part_queue_url),
            ("dead_letters", connection.stack.dead_letter_queue_url),
        ):
            answer: Any = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(names.values()))  # type: ignore[arg-type]
            found[queue] = {name: int(answer["Attributes"].get(attribute, 0)) for name, attribute in names.items()}
    return found


@click.command()
@click.argument("name", metavar="[KEY|EXECUTION]", required=False)
@click.option("--watch", is_flag=True, help="Show its progress until it ends.")
@timeout_option(3_600.0, "How long to watch.")
@version_option
@stack_option
@json_option
@click.pass_context
def status(
    ctx: click.Context,
    name: str | None,
    watch: bool,
    timeout_s: float,
    version_id: str | None,
    stack_name: str | None,
    as_json: bool,
) -> None:
    """Show how an import stands, part by part; or, without a name, everything that has not ended.

    With --watch the exit code is 3 for an import that ends FAILED or CANCELED, 4 for one that does not end in time.

    \b
    Examples:
      importer status
      importer status imports/big.ndjson --watch
      importer status 8c2f… --json | jq '.parts[] | select(.done|not)'
    """
    connection = connected(stack_name)
    if name is None:
        if watch or version_id is not None:
            raise click.UsageError("--watch and --version-id are for one import: name it")
        _overview(connection, as_json)
        return
    execution = lookup.execution_of(connection, name, version_id)
    ended = True
    if watch and execution.phase is not Phase.CLOSED:
        followed = _watched(connection, execution, time.monotonic() + timeout_s, as_json)
        ended = followed is not None
        with explained(connection.name):
            execution = followed or connection.imports.execution(execution.id) or execution
    now = standing(connection, execution)
    if as_json:
        click.echo(show.to_json(now.document()))
    else:
        _page(show.console(), now)
    refused = watch and execution.status in (Status.FAILED, Status.CANCELED)
    ctx.exit(UNAVAILABLE if not ended else FILE_REFUSED if refused else DONE)


def _watched(connection: Connection, execution: Execution, deadline: float, quiet: bool) -> Execution | None:
    now = standing(connection, execution)
    path = Path(execution.source.key)
    uploaded = importing.Uploaded(path, execution.source, execution.id, now.is_compressed)
    with show.Bars(quiet) as bars:
        bar = bars.file(path)
        return importing.follow(connection, uploaded, deadline, lambda progress: bar.moved(progress, uploaded))


# ---- For people ----------------------------------------------------------------------------------------------------


def _overview(connection: Connection, as_json: bool) -> None:
    with explained(connection.name):
        found = [connection.imports.execution(found) for found in connection.imports.all_unfinished()]
    unfinished = [standing(connection, e) for e in found if e is not None and e.phase is not Phase.CLOSED]
    queues = queue_lengths(connection)
    if as_json:
        said = {"unfinished": [now.document() for now in unfinished], **queues}
        click.echo(show.to_json(said))
        return
    out = show.console()
    if unfinished:
        _unfinished_table(out, unfinished)
    else:
        show.paragraph(out, f"Nothing is being imported in {connection.name}.", indent=0)
    out.print()
    for queue, title in (("part_queue", "part queue"), ("dead_letters", "dead letters")):
        lengths: Any = queues[queue]
        more = "".join(f", {lengths[name]:,} {text}" for name, text in _MORE if lengths[name])
        out.print(Text(f"  {title:<14}", style="dim").append(show.many(lengths["visible"], "message") + more))
    if any(queues["dead_letters"].values()):  # type: ignore[union-attr]
        show.paragraph(out, f"`importer redrive --dead-letters --dry-run{connection.command}` says what they are.")


_MORE: Final = (("in_flight", "being worked on"), ("delayed", "delayed"))


def _unfinished_table(out: Console, unfinished: Iterable[Standing]) -> None:
    rows = []
    for now in unfinished:
        execution, tally = now.execution, now.tally
        rows.append(
            [
                execution.id,
                _SHORT.get(execution.phase, execution.status.value.lower()),
                _percent(now.share),
                f"{tally.good:,}",
                f"{tally.bad:,}",
                f"{len(execution.parts_done)}/{execution.part_count}",
                show.dropped_name(execution),
            ]
        )
    show.put_lines(out, ("execution", "status", "read", "good", "bad", "parts", "file"), rows, _NUMBERS)


_SHORT: Final = {Phase.FINALISING: "settling", Phase.CLOSING: "ending"}
_NUMBERS: Final = ("read", "good", "bad", "parts", "from byte", "to byte", "read to", "hops", "tries")


def _page(out: Console, now: Standing) -> None:
    execution, tally = now.execution, now.tally
    out.print(Text(f"Execution {execution.id}", style="bold"))
    show.label(out, "status", Text(_status(execution), style="bold"))
    show.address(out, "source", execution.source.uri)
    show.label(out, "size", show.in_bytes(execution.source.size_bytes))
    show.label(out, "created", show.utc(execution.created_ms))
    if execution.attempt > 1:
        show.label(out, "attempt", str(execution.attempt))
    if execution.error is not None:
        show.label(out, "refused", Text(execution.error.code, style="yellow"))
        show.paragraph(out, show.shown_whole(execution.error.message))
    show.label(out, "read", f"{_percent(now.share) or 'unknown'}: {_rows_said(tally)}")
    if now.spent != Usage():
        show.cost(out, bill(now.spent))
    show.label(out, "waits for", now.waits_for())
    shown = [part for part in now.parts if not part.done] if len(now.parts) > MOST_PARTS else now.parts
    if shown:
        show.heading(out, f"Parts ({len(execution.parts_done)} of {execution.part_count} done)")
        _parts_table(out, now, shown[:MOST_PARTS])
    if len(shown) > MOST_PARTS:
        show.paragraph(out, f"{len(shown) - MOST_PARTS:,} more are not done: --json has them all.")


def _rows_said(tally: Tally) -> str:
    others = (
        (tally.expired, "expired"),
        (tally.erased, "erased"),
        (tally.withheld, "good, of a file still to be judged"),
    )
    said = [f"{tally.good:,} good rows", f"{tally.bad:,} bad"]
    return ", ".join(said + [f"{count:,} {fate}" for count, fate in others if count])


def _parts_table(out: Console, now: Standing, parts: Iterable[PartState]) -> None:
    rows = [
        [
            f"{part.start:,}",
            "the end" if part.stop == TO_THE_END else f"{part.stop:,}",
            f"{part.next_offset:,}",
            f"{part.tally.good:,}",
            f"{part.tally.bad:,}",
            now.state_of(part),
            f"{part.hops:,}",
            f"{part.tries:,}",
        ]
        for part in parts
    ]
    show.put_lines(out, ("from byte", "to byte", "read to", "good", "bad", "state", "hops", "tries"), rows, _NUMBERS)


def _status(execution: Execution) -> str:
    return f"{execution.status.value} ({execution.phase.value.lower()})"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{int(share * 100)} %"
