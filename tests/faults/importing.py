"""The importer as the fault tests run it, and what AWS does around its functions, in virtual time on a fake cloud.

    with installed(part_bytes=2048) as importer:
        importer.notify(importer.cloud.drop("imports/a.json", BYTES))
        importer.run_until_quiet(Fault("kill_after", Nth(17)))
        assert_books_balance(importer.cloud, {"imports/a.json": BYTES})

A notification is one asynchronous invocation; killed or raising, it comes again after one and two minutes, then never.
A message of the part queue is one invocation, too; without a good end it is seen again after 30 minutes, and after five
receives it is a dead letter. The sweeps come every 5 and 15 minutes. An invocation is killed when its time is up.
A closing in the imports table's stream is one invocation, too, again and again until one ends well, in their order.

A grid of 1 KiB makes ten batches of a file that fits on a page; progress is written after every batch, so that each
order of effects a large file can meet is met by a small one.
"""

import heapq
import json
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final
from unittest import mock

import moto.s3.models
from moto.events.models import EventPattern
from samtranslator.yaml_helper import yaml_parse

from importer import assembly, batches, csv_rows, executions, lines, parts
from importer.aws import clients, copying, reading
from importer.aws.dispatch import task_of
from importer.aws.events import closings
from importer.aws.series import SeriesTable
from importer.aws.settings import Settings
from importer.aws.stored import StoredTables
from importer.doors.expecting import look_for_expected
from importer.doors.telling import Herald
from importer.executions import import_dropped, importing, joining, notebook, plain_text
from importer.executions.pinned import definition_of
from importer.executions.ports import Found, Swept, Waiting, Workplace
from importer.ledger import Books, CannotRecount, verify
from importer.model import Execution, PartState, S3Object, Unavailable
from importer.notification import Dropped, dropped_objects
from importer.rhythm import Looked
from tests.faults.files import FILES as WORKLOADS
from tests.faults.files import VENDOR_ROWS, row
from tests.support import oracle
from tests.support.books import assert_books_balance, assert_nothing_lost, essence
from tests.support.clock import CALL_MS, LambdaContext
from tests.support.cloud import Cloud
from tests.support.faults import Attempt, Fault, around_of, attempt, plan
from tests.support.interleave import RETRY_SECONDS, History, interleaved
from tests.support.policy import TEMPLATE
from tests.support.watch import Watcher

__all__ = ["VENDOR_ROWS", "WORKLOADS", "Importer", "installed", "row", "survives"]

SMALL_GRID_BYTES = 1024
SMALL_LINE_BYTES = 2048
SMALL_HEAD_BYTES = 128  # looked at before reading: what lies further on is read by range
SMALL_PIECE_BYTES = 700
SMALL_READ_BYTES = 512  # so that a small file, too, is not had in one go
IMPORT_SECONDS = 900  # the functions' time-outs in template.yaml
SWEEP_SECONDS = 300
HOP_SECONDS = 300
NOTIFY_SECONDS = 120
SWEEPS_EVERY_S: Final = {"unfinished": 5 * 60, "waiting": 15 * 60}

NOTICE_PAUSES_S: Final = (1, 2, 4, 8, 16, 32, 60)  # between tries of one closing; the last for ever

# A run that is not quiet after so much has work that nobody gets on with. The longest honest one is a part that kills
# its workers: ten claims, each some visibility time-outs and sweeps after the last.
LONGEST_RUN_S = 3 * 86_400
MOST_INVOCATIONS = 400  # but for sweeps


class QuietTelemetry:
    """Keeps what operators would see."""

    def __init__(self) -> None:
        self.closings: list[tuple[str, str]] = []
        self.found_files: list[tuple[str, str]] = []
        self.troubles: list[str] = []
        self.letters: list[str] = []
        self.looks: list[Looked] = []

    def looked(self, looked: Looked) -> None:
        self.looks.append(looked)

    def delivered(self, dropped: Dropped, execution: Execution) -> None: ...

    def left_to_schedule(self, dropped: Dropped) -> None: ...

    def ran(self, import_id: str, ended: int, waiting: str | None) -> None: ...

    def run_failed(self, what: str, trouble: Exception) -> None:
        self.troubles.append(f"{what}: {trouble}")

    def waited(self, execution: Execution, renewed: bool) -> None: ...

    def handed_on(self, execution: Execution, part: PartState | None) -> None: ...

    def closed(self, execution: Execution, now_ms: int, refused: Mapping[str, int]) -> None:
        outcome = execution.outcome
        if refused and outcome is not None:
            assert sum(refused.values()) == outcome.sums.bad, "each bad row is told by its reason"
        self.closings.append((execution.source.key, execution.status.value))

    def swept(self, bucket: str, waiting: Waiting) -> None: ...

    def swept_unfinished(self, swept: Swept) -> None: ...

    def sent_on(self, execution: Execution) -> None: ...

    def found(self, file: S3Object, found: Found) -> None:
        self.found_files.append((file.key, found.value))

    def sweep_failed(self, what: str, trouble: Unavailable) -> None:
        self.troubles.append(f"{what}: {trouble}")

    def told(self, execution: Execution, way: str) -> None: ...

    def not_told(self, execution_id: str, trouble: Exception, kept: bool) -> None:
        self.letters += [execution_id] if kept and isinstance(trouble, Unavailable) else []


class WorkersClock:
    """What a worker takes for the time: the cloud's, unless its machine is wrong (`clock_ahead`, `clock_behind`)."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def now_ms(self) -> int:
        return self._cloud.clock.now_ms() + self._cloud.wire.delivery.skew_ms

    def sleep(self, seconds: float) -> None:
        self._cloud.clock.sleep(seconds)


@dataclass(order=True)
class _Due:
    """An invocation to come."""

    at_ms: int
    number: int
    run: Callable[[], None] = field(compare=False)


@dataclass
class Importer:
    """One installation of the importer over a fake cloud; each `deliver` is one invocation of its function.

    Attributes:
        import_seconds, hop_seconds: time-outs of the two functions.
        watcher: what it saw go wrong; None if nobody watches.
        ended: how each invocation of the run ended, in order.
        unruly: the share of messages the queue delivers again although they were deleted, soon or late.
    """

    cloud: Cloud
    telemetry: QuietTelemetry
    workplaces: Callable[..., Any]
    heralds: Callable[[], Herald]
    import_seconds: float = IMPORT_SECONDS
    hop_seconds: float = HOP_SECONDS
    watcher: Watcher | None = None
    ended: list[Attempt] = field(default_factory=list)
    notifications: list[dict[str, Any]] = field(default_factory=list)
    unruly: float = 0
    _due: list[_Due] = field(default_factory=list)
    _number: int = 0
    _next_sweep_ms: dict[str, int] = field(default_factory=dict)
    _armed: list[Any] = field(default_factory=list)
    _choose: random.Random | None = None
    _until_ms: int = 0
    _herald: Herald | None = None
    _changes_seen: int = 0
    _notice_tries: int = 0
    _next_notice_ms: int = 0

    def with_sinks(self, sinks: tuple[str, ...]) -> "Importer":
        """The same installation, deployed anew with other sinks."""
        return _importer(self.cloud, 1, sinks, False)

    # -- one invocation --------------------------------------------------------------------------------------------

    def deliver(self, notification: dict[str, Any]) -> list[Execution]:
        """What the Lambda function does with a notification."""
        context = LambdaContext(self.cloud.clock, self.import_seconds)
        return self._import(self.workplaces(context.get_remaining_time_in_millis), notification)

    def _import(self, place: Workplace, notification: dict[str, Any]) -> list[Execution]:
        return [execution for dropped in dropped_objects(notification) for execution in import_dropped(place, dropped)]

    def invoke(self, name: str, seconds: float, work: Callable[[Workplace], Any], *faults: Fault) -> Attempt:
        """One invocation of a function that has so many seconds, with these faults and those of the run."""
        context = LambdaContext(self.cloud.clock, seconds)
        armed = self._armed
        with plan(self.cloud, *faults, name=name, seconds=seconds, context=context, around=armed) as ended:
            try:
                ended.result = work(self.workplaces(context.get_remaining_time_in_millis))
            except AssertionError:
                raise  # a test's own, in what `before` and `after` do: no worker may swallow it
            except Exception as error:  # noqa: BLE001  Lambda does the same: whatever it is, it tries again.
                ended.error = error
        self.ended.append(ended)
        self._look()
        return ended

    def notified(self, notification: dict[str, Any], *faults: Fault) -> Attempt:
        """The import function with a notification."""
        return self.invoke("import", self.import_seconds, lambda place: self._import(place, notification), *faults)

    def work_on(self, message: str, *faults: Fault) -> Attempt:
        """The part function with the body of a message."""
        return self.invoke("part", self.hop_seconds, lambda p: executions.work_on(p, task_of(message)), *faults)

    def sweep(self, which: str, *faults: Fault) -> Attempt:
        """The sweep function: "unfinished", "waiting" or "expected"."""
        if which == "unfinished":
            return self.invoke("sweep unfinished", SWEEP_SECONDS, executions.sweep_unfinished, *faults)
        if which == "expected":
            books = SeriesTable(clients.records(), self.cloud.imports_table)
            looks = lambda place: look_for_expected(place, books, self.telemetry)  # noqa: E731
            return self.invoke("sweep expected", SWEEP_SECONDS, looks, *faults)
        bucket = self.cloud.bucket
        return self.invoke(
            "sweep waiting", SWEEP_SECONDS, lambda place: executions.sweep_waiting(place, bucket), *faults
        )

    def tell_of(self, change: dict[str, Any], *faults: Fault) -> Attempt:
        """The notify function with a record of the imports table's stream."""
        if self._herald is None:  # an execution environment of its own, which remembers what it has sent until it dies
            self._herald = self.heralds()
        herald = self._herald

        def told(_: Workplace) -> list[bool]:
            return [herald.tell(closing) for closing in closings({"Records": [change]})]

        ended = self.invoke("notify", NOTIFY_SECONDS, told, *faults)
        if ended.killed:
            self._herald = None
        return ended

    def by_hand(self, verb: str, execution_id: str) -> Attempt:
        """A person's "cancel" or "redrive"."""
        return self.invoke(verb, 900, lambda place: getattr(executions, verb)(place, execution_id))

    def replay(self, execution_id: str, name: str, **changed: Any) -> None:
        """A person replays what an execution has archived, and asks again, by the same name, until it is on its way."""

        def begin(place: Workplace) -> Execution:
            parent = place.records.execution(execution_id)
            assert parent is not None
            archive = executions.archive_of(place, parent)
            assert archive is not None
            definition = replace(definition_of(parent), **changed)
            return executions.replay(
                place, executions.replay_of(place, parent, archive, definition, parent.sinks, name)
            )

        def ask() -> None:
            ended = self.invoke("replay", 900, begin)
            if ended.killed or ended.error:
                self._at(600, ask)

        self._at(0, ask)

    # -- a run: until nobody has anything to do ------------------------------------------------------------------------

    def notify(self, notification: dict[str, Any], delay_s: float = 0, tries: int = 3) -> None:
        """S3 tells the import function of an object, soon or late."""
        self.notifications.append(notification)

        def deliver(left: int) -> None:
            ended = self.notified(notification)
            if (ended.killed or ended.error) and left > 1:
                self._at(RETRY_SECONDS[0 if left == 3 else 1], lambda: deliver(left - 1))

        self._at(delay_s, lambda: deliver(tries))

    def run_until_quiet(self, *faults: Fault, seed: int | None = None, workers: int = 1) -> History | None:
        """Everything AWS and the sweep do until there is no message, no unfinished execution and no file waiting.

        Args:
            faults: `Nth` counts the calls of all invocations.
            seed: decides which message comes next, and which worker's call.
            workers: so many functions may run at once.

        Raises:
            AssertionError: it does not become quiet; or something went wrong on the way.
        """
        now_ms = self.cloud.clock.now_ms()
        self._armed = around_of(faults, [])
        self._choose = None if seed is None else random.Random(seed)
        self._until_ms = now_ms + LONGEST_RUN_S * 1000
        self._next_sweep_ms = {which: now_ms + every_s * 1000 for which, every_s in SWEEPS_EVERY_S.items()}
        self.ended.clear()
        history = None
        if workers == 1:
            self._live()
        else:
            names = {f"worker {number}": self._live for number in range(workers)}
            history = interleaved(self.cloud, names, seed or 0)
            if history.errors:
                raise history.errors[0]
        self._armed = []
        self._look()
        if self.watcher is not None:
            self.watcher.assert_nothing_wrong()
            self.watcher.check_all_told(self.telemetry.letters)
        return history

    def _live(self) -> None:
        """One worker's life: take what is due, else wait for what comes next."""
        while not self._is_quiet():
            now_ms = self.cloud.clock.now_ms()
            invocations = sum(not ended.delivery.name.startswith("sweep") for ended in self.ended)
            if now_ms > self._until_ms or invocations > MOST_INVOCATIONS:
                raise AssertionError(f"not quiet after {invocations} invocations: {self._unfinished()}")
            if self.watcher is not None:
                self.watcher.assert_nothing_wrong()
            run = self._next(now_ms)
            if run is not None:
                run()
                continue
            next_message_ms = self.cloud.next_message_ms()
            soonest = min(
                [due.at_ms for due in self._due[:1]]
                + ([] if next_message_ms is None else [next_message_ms])
                + ([self._next_notice_ms] if self._next_closing() is not None else [])
                + list(self._next_sweep_ms.values())
            )
            self.cloud.clock.sleep((soonest - now_ms) / 1000)

    def _next(self, now_ms: int) -> Callable[[], None] | None:
        """What is due first; by chance, if chance decides."""
        may_come: list[Callable[[], Callable[[], None] | None]] = []
        if self._due and self._due[0].at_ms <= now_ms:
            may_come.append(lambda: heapq.heappop(self._due).run)
        next_message_ms = self.cloud.next_message_ms()
        if next_message_ms is not None and next_message_ms <= now_ms:
            may_come.append(self._received)
        if self._next_notice_ms <= now_ms and self._next_closing() is not None:
            may_come.append(self._closing_due)
        for which, at_ms in self._next_sweep_ms.items():
            if at_ms <= now_ms:
                may_come.append(lambda which=which: self._sweep_due(which))
        if not may_come:
            return None
        chosen = may_come[0] if self._choose is None else self._choose.choice(may_come)
        return chosen()

    def _received(self) -> Callable[[], None] | None:
        received = self.cloud.receive(self._choose)
        if received is None:
            return None
        handle, body = received

        def run() -> None:
            if self._choose is not None and self._choose.random() < self.unruly:
                self.cloud.send(body, self._choose.choice((0, 0, 1, 60, 900)))
            ended = self.work_on(body)
            if not ended.killed and ended.error is None:
                self.cloud.delete_message(handle)

        return run

    def _next_closing(self) -> dict[str, Any] | None:
        """The first closing in the stream that nobody has been told of, by what the mapping lets through."""
        for change in self.cloud.changes(self._changes_seen):
            if any(pattern.matches_event(change) for pattern in _mapping_patterns()):
                return change
            self._changes_seen += 1
        return None

    def _closing_due(self) -> Callable[[], None] | None:
        change = self._next_closing()
        assert change is not None
        number = self._changes_seen
        self._next_notice_ms = self._until_ms + 1  # one at a time, in their order

        def run() -> None:
            ended = self.tell_of(change)
            self._next_notice_ms = self.cloud.clock.now_ms()
            if ended.killed or ended.error is not None:
                pause_s = NOTICE_PAUSES_S[min(self._notice_tries, len(NOTICE_PAUSES_S) - 1)]
                self._next_notice_ms += pause_s * 1000
                self._notice_tries += 1
            else:
                self._changes_seen, self._notice_tries = number + 1, 0

        return run

    def _sweep_due(self, which: str) -> Callable[[], None]:
        self._next_sweep_ms[which] = self.cloud.clock.now_ms() + SWEEPS_EVERY_S[which] * 1000
        return lambda: (self.sweep(which), None)[1]

    def _at(self, seconds: float, run: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._due, _Due(self.cloud.clock.now_ms() + round(seconds * 1000), self._number, run))

    # -- between two invocations ---------------------------------------------------------------------------------------

    def executions(self) -> list[dict[str, Any]]:
        """Their items in the imports table."""
        return [item for item in self.cloud.items(self.cloud.imports_table) if item["sk"] == "EXEC"]

    def helped_by(self) -> list[str]:
        """The sweeps of this run that sent tasks."""
        sweeps = [ended for ended in self.ended if ended.delivery.name.startswith("sweep")]
        return [s.delivery.name for s in sweeps if any(call.service == "sqs" for call in s.calls)]

    def _is_quiet(self) -> bool:
        return (
            not self._due
            and self.cloud.next_message_ms() is None
            and not self._unfinished()
            and self._next_closing() is None
        )

    def _unfinished(self) -> list[str]:
        """Executions not closed, files in imports/ that are neither imported nor refused."""
        items = self.executions()
        waiting = [f"{i['parameters']['file_uri']} {i['status']} {i['phase']}" for i in items if i["phase"] != "CLOSED"]
        ended = {(item["parameters"]["file_uri"], _version_of(item)) for item in items if item["status"] != "SUCCEEDED"}
        for key, versions in self.cloud._versions_by_key():
            if key.startswith("imports/") and not key.endswith("/"):
                for version in _in_sight(versions):
                    version_id = version.version_id if self.cloud.versioned else version.etag.strip('"')
                    if (f"s3://{self.cloud.bucket}/{key}", version_id) not in ended:
                        waiting.append(f"{key} {version_id}")
        return waiting

    def _look(self) -> None:
        """After every invocation: unfinished work has a message, a live lease or the sweep's eye on it."""
        for item in self.executions():
            unattended = item["phase"] != "CLOSED" and "unfinished" not in item
            assert not unattended, f"nobody will ever look at {item['id']} again"

    # -- the ways of Lambda, for one file ------------------------------------------------------------------------------

    def deliver_as_lambda_does(self, notification: dict[str, Any], *faults: Fault) -> list[Attempt]:
        """A delivery with faults; if it dies or raises, again after one and after two minutes (H1)."""
        tries = [attempt(self.cloud, lambda: self.deliver(notification), *faults)]
        for minutes in (1, 2):
            if not (tries[-1].killed or tries[-1].error):
                break
            self.cloud.clock.sleep(60 * minutes)
            tries.append(attempt(self.cloud, lambda: self.deliver(notification)))
        last = tries[-1]
        if last.error is not None:
            raise last.error
        if not self._is_quiet():
            self.run_until_quiet()
        return tries


@cache
def _mapping_patterns() -> list[EventPattern]:
    """What of the stream the notify function is invoked with."""
    mapping = yaml_parse(TEMPLATE.read_text(encoding="utf-8"))["Resources"]["NotifyFunction"]["Properties"]["Events"]
    filters = mapping["ExecutionClosed"]["Properties"]["FilterCriteria"]["Filters"]
    return [EventPattern.load(one["Pattern"]) for one in filters]


def _version_of(item: dict[str, Any]) -> str:
    source = json.loads(item["state"])["source"]
    return str(source["version_id"] or source["etag"])


def _in_sight(versions: list[Any]) -> list[Any]:
    """The versions above the newest delete marker."""
    found: list[Any] = []
    for version in reversed(versions):
        if isinstance(version, moto.s3.models.FakeDeleteMarker):
            break
        found.append(version)
    return found


@contextmanager
def installed(
    versioned: bool = True,
    in_flight: int = 1,
    sinks: tuple[str, ...] = ("dynamodb",),
    stream_gzip: bool = False,
    progress_every_ms: int = 0,
    part_bytes: int = 256 << 20,
    import_seconds: float = IMPORT_SECONDS,
    hop_seconds: float = HOP_SECONDS,
    write_ms: int = CALL_MS,
    small_pieces: bool = False,
    watched: bool = False,
    quick: bool = True,
    memory_mb: int = 0,
    topic: bool = False,
    execution_days: int = 0,
) -> Iterator[Importer]:
    """A fresh cloud with the importer installed, and an import definition `tables` for files of CSV.

    Args:
        part_bytes: what files are cut by; on the grid of 1 KiB a file of 5 KiB can be four parts.
        import_seconds, hop_seconds: time-outs of the two functions.
        write_ms: what a write of a batch takes; seconds make short hops of a short file.
        small_pieces: errors, copies and hashes are made in many pieces and noted after each, as those of huge files.
        watched: everything is looked at as it happens (support/watch.py); for files the oracle understands.
        quick: sinks write over the importer's own transport, as deployed; else by botocore alone.
        memory_mb: of the functions; 0 bills no time.
        topic: notices are messages, too.
        execution_days: after which what has ended well is forgotten.
    """
    stream, tables = "firehose" in sinks, "dynamodb" in sinks
    with ExitStack() as stack:
        cloud = stack.enter_context(
            Cloud(
                versioned=versioned,
                stream=stream,
                tables_are_written=tables,
                write_ms=write_ms,
                quick=quick,
                topic=topic,
            )
        )
        for room, name, value in (
            (parts, "GRID_BYTES", SMALL_GRID_BYTES),
            (batches, "GRID_BYTES", SMALL_GRID_BYTES),
            (lines, "MAX_LINE_BYTES", SMALL_LINE_BYTES),
            (csv_rows, "MAX_LINE_BYTES", SMALL_LINE_BYTES),
            (oracle, "LONGEST_LINE", SMALL_LINE_BYTES),
            (plain_text, "HEAD_BYTES", SMALL_HEAD_BYTES),
            (reading, "READ_BYTES", SMALL_READ_BYTES),
            *(_SMALL_PIECES if small_pieces else ()),
        ):
            stack.enter_context(mock.patch.object(room, name, value))
        cloud.put_item(
            cloud.imports_table,
            {"pk": "IMPORT#tables", "sk": "IMPORT", "definition": {"id": "tables", "mime_type": "TEXT_CSV"}},
        )
        cloud.put_item(
            cloud.imports_table,
            {"pk": "IMPORT#whole", "sk": "IMPORT", "definition": {"id": "whole", "atomic": True}},
        )
        importer = _importer(
            cloud, in_flight, sinks, stream_gzip, progress_every_ms, part_bytes, hop_seconds, memory_mb, execution_days
        )
        importer.import_seconds, importer.hop_seconds = import_seconds, hop_seconds
        if watched:
            importer.watcher = Watcher(cloud)
            cloud.wire.watchers.append(importer.watcher)
        yield importer


_SMALL_PIECES: tuple[tuple[Any, str, object], ...] = (
    (joining, "PIECE_BYTES", SMALL_PIECE_BYTES),
    (joining, "LARGE_PIECE_BYTES", 3 * SMALL_PIECE_BYTES),
    (joining, "LARGE_PIECES_FROM", 2),
    (joining, "MOST_SEGMENTS", 2),
    (copying, "COPY_BYTES", 0),
    (copying, "PIECE_BYTES", 2 * SMALL_PIECE_BYTES),
    (copying, "COPIES_IN_FLIGHT", 1),
    (notebook, "KEEP_EVERY_MS", 0),
    (reading, "GET_BYTES", 5 * SMALL_PIECE_BYTES),
    (moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE", 1),
)


def _importer(
    cloud: Cloud,
    in_flight: int,
    sinks: tuple[str, ...],
    stream_gzip: bool,
    progress_every_ms: int = 0,
    part_bytes: int = 256 << 20,
    hop_seconds: float = HOP_SECONDS,
    memory_mb: int = 0,
    execution_days: int = 0,
) -> Importer:
    settings = Settings(
        cloud.bucket,
        cloud.events_table,
        cloud.users_table,
        cloud.imports_table,
        sinks=sinks,
        delivery_stream=cloud.delivery_stream,
        stream_gzip=stream_gzip,
        part_queue_url=cloud.part_queue_url,
        part_bytes=part_bytes,
        hop_seconds=round(hop_seconds),
        memory_mb=memory_mb,
        notice_bus=cloud.notice_bus,
        notice_topic=cloud.notice_topic,
        dead_letter_queue_url=cloud.dead_letter_queue_url,
        execution_days=execution_days,
    )
    telemetry = QuietTelemetry()
    clock = WorkersClock(cloud)
    # mypy: a stand-in, not a subclass.
    workplaces = assembly.maker(settings, telemetry, clock, in_flight, progress_every_ms, in_flight)  # type: ignore[arg-type]
    heralds = lambda: assembly.herald_of(settings, telemetry, clock)  # type: ignore[arg-type]  # noqa: E731
    return Importer(cloud, telemetry, workplaces, heralds)


@contextmanager
def deadly(text: bytes) -> Iterator[None]:
    """Meanwhile a row that holds the text kills whoever writes it: a bug of ours."""
    honest = importing._write

    def dies(sink: Any, batch: Any, ours: Any) -> None:
        if any(text in line for _, line in batch.lines):
            raise RuntimeError("a bug")
        honest(sink, batch, ours)

    with mock.patch.object(importing, "_write", dies):
        yield


def survives(importer: Importer, notification: dict[str, Any], sources: dict[str, Any], *faults: Fault) -> None:
    """Whatever went wrong in the first delivery, its retries and one late duplicate leave balanced books."""
    importer.deliver_as_lambda_does(notification, *faults)
    assert_books_balance(importer.cloud, sources)
    importer.cloud.clock.sleep(3600)
    importer.deliver(notification)
    assert_books_balance(importer.cloud, sources)


def nothing_late_matters(importer: Importer) -> None:
    """Every notification and every message ever sent comes once more, and both sweeps: nothing changes."""
    cloud = importer.cloud
    importer.ended.clear()
    before = essence(cloud), importer.executions()
    cloud.clock.sleep(3600)
    for notification in list(importer.notifications):
        importer.notified(notification)
    for message in dict.fromkeys(importer.watcher.seen_messages if importer.watcher else []):
        importer.work_on(message)
    for change in cloud.changes():
        importer.tell_of(change)
    for which in SWEEPS_EVERY_S:
        importer.sweep(which)
    assert not importer.helped_by(), "all is closed, and a sweep sent tasks"
    importer.run_until_quiet()
    assert (essence(cloud), importer.executions()) == before, "something late made a difference"
    nothing_to_find(importer)


def nothing_to_find(importer: Importer) -> None:
    """`importer verify` has nothing to say of any execution it can recount: the papers agree with each other, with the
    execution's document, and with one walk through the whole file, however many parts it was read in.
    """
    cloud = importer.cloud
    place = importer.workplaces(lambda: 900_000)
    with cloud.unseen():
        tables = cloud.events_table, cloud.users_table, cloud.imports_table
        books = Books(place.objects, place.records, StoredTables(cloud.client("dynamodb"), *tables, cloud.clock, 1))
        for item in importer.executions():
            execution = place.records.execution(item["id"])
            assert execution is not None
            with suppress(CannotRecount):  # the file is gone, or other rules were at work
                found = verify(books, execution, cloud.tables_are_written).findings
                assert not found, f"verify finds {found[0]}"


def nothing_was_lost(importer: Importer, sources: dict[str, Any]) -> None:
    """Holds at every moment; see books.assert_nothing_lost."""
    assert_nothing_lost(importer.cloud, sources)
