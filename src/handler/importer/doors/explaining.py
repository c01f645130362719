"""Explaining of alarms: what SNS delivers is looked up, explained and published to the topic that people subscribe to.

Nothing that goes wrong here silences an alarm. What cannot be looked up is said in the message, with the permission it
needs; if the explanation itself is at fault, the alarm goes out as CloudWatch told it. Only if it cannot be published
does this raise: then Lambda tries twice more, what is left is a dead letter, and an alarm on that reaches people
without coming through here. All lookups together get LOOKING_MS: who is woken waits for no outage of a table.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import orjson

from importer.bad_rows import BadRow, ObjectProblem
from importer.compression import opened
from importer.csv_rows import Csv
from importer.definitions import TEXT_CSV
from importer.doors.alarms import ALARM, LOGS, Alarm, Kind, alarm_of
from importer.doors.explanations import (
    MOST_CASES,
    Ended,
    Explanation,
    Facts,
    Here,
    LogLine,
    Standing,
    Waits,
    explained,
    log_line,
    passed_on,
)
from importer.doors.letters import Letter, letter_of
from importer.executions.ports import Found
from importer.executions.waiting import GRACE_MS
from importer.fetches import Fetch
from importer.model import Clock, Execution, PartState, Phase, S3Object, Status, Unavailable, Value, Watched
from importer.notification import Dropped
from importer.receipts import FoldedReasons

if TYPE_CHECKING:
    from importer.rhythm import Unusual

LOOKING_MS: Final = 20_000  # of one alarm, all lookups together; the function has 120 s, and a last call may take 12
SLACK_MS: Final = 120_000  # a metric comes to CloudWatch up to two minutes after what it counts
RECEIPTS: Final = 10  # read of one alarm
ROWS: Final = 3  # of as many files, so that one of the most frequent reason is among them
MOST_UNFINISHED: Final = 100  # looked at
MOST_FETCHES: Final = 200
MOST_PARTS: Final = 200  # of an execution whose parts are looked at
_ERROR_LINES: Final = '?ERROR ?"Task timed out" ?"Runtime exited" ?"Status: timeout"'
_REMEMBERED: Final = 1_000
# Functions that imports stand still without, and what all of them use.
_IMPORTING: Final = ("import", "part", "sweep")
_SHARED: Final = {"AWS/DynamoDB", "AWS/SQS", "AWS/S3", "AWS/Firehose", "S3EventImporter"}

Found_ = TypeVar("Found_")


class Table(Protocol):
    """The imports table, as far as an explanation needs it."""

    def newest(self, which: str, before_ms: int | None) -> tuple[list[Execution], bool]: ...

    def execution(self, execution_id: str) -> Execution | None: ...

    def all_unfinished(self) -> Iterator[str]: ...

    def watched(self, execution_id: str) -> Watched | None: ...

    def parts(self, execution_id: str) -> list[PartState]: ...

    def fetches(self, count: int, before_ms: int | None = None) -> list[Fetch]: ...


class Papers(Protocol):
    def head(self, bucket: str, key: str, version_id: str | None = None) -> bytes: ...

    def is_there(self, bucket: str, key: str, version_id: str | None = None) -> bool: ...


class Logs(Protocol):
    def lines(self, function: str, pattern: str, after_ms: int, before_ms: int) -> list[tuple[int, str]]: ...


class Peek(Protocol):
    def messages(self) -> tuple[list[Any], bool]: ...


class Topic(Protocol):
    def publish(self, subject: str, text: str, attributes: Mapping[str, str]) -> None: ...


class Telemetry(Protocol):
    def explained(self, alarm: str, state: str, kind: str, left_out: int) -> None:
        """An alarm, or what else was published to the alarm topic, was told to people."""

    def not_explained(self, alarm: str, trouble: Exception) -> None:
        """It went out as CloudWatch told it, or not at all: then Lambda invokes again."""


# Calls with every file in imports/ that waits, oldest first.
WalkWaiting = Callable[[Callable[[], int], Callable[[S3Object, Found], None]], object]


@dataclass(frozen=True, slots=True)
class Looking:
    """Where is looked."""

    table: Table
    papers: Papers
    logs: Logs
    letters: Peek
    walk_waiting: WalkWaiting
    unusual: "Callable[[int], Iterator[Unusual]]"
    clock: Clock


# ---- What SNS delivers ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Note:
    """One message of SNS; `topic` is the ARN of what it was published to, "" where nothing says it."""

    id: str
    subject: str
    message: str
    topic: str = ""


def notes_in(event: object) -> list[Note]:
    """The messages of SNS that a function is invoked with; none if it is invoked with something else.

    An alarm that a person invokes it with, as SNS, EventBridge or CloudWatch itself tells of it, counts as one.
    """
    match event:
        case {"Records": [*records]} if records and all(isinstance(r, dict) and "Sns" in r for r in records):
            return [_note(record["Sns"]) for record in records]
        case {"Type": "Notification", "Message": str()}:
            return [_note(event)]
        case dict() if alarm_of(event) is not None:
            return [Note("", "", orjson.dumps(event).decode())]
    return []


def _note(told: object) -> Note:
    said = told if isinstance(told, dict) else {}
    message = said.get("Message")
    text = message if isinstance(message, str) else "" if message is None else orjson.dumps(message).decode()
    return Note(str(said.get("MessageId") or ""), str(said.get("Subject") or ""), text, str(said.get("TopicArn") or ""))


# ---- Telling it ----------------------------------------------------------------------------------------------------


class Explainer:
    """Explains alarms.

    Args:
        topic: None tells nobody, for a person who invokes by hand.
        own_topic: what it publishes to; what comes from there is not published again.
    """

    def __init__(self, looking: Looking, topic: Topic | None, own_topic: str, here: Here, telemetry: Telemetry) -> None:
        self._looking = looking
        self._topic = topic
        self._own = own_topic
        self._here = here
        self._telemetry = telemetry
        self._sent: dict[tuple[str, str], None] = {}

    def tell(self, notes: Sequence[Note]) -> list[dict[str, Value]]:
        """Explain each, and publish it. What they say, for a person who invokes by hand.

        Raises:
            Unavailable: one could not be published; every other has had its turn.
        """
        told: list[dict[str, Value]] = []
        failures: list[Unavailable] = []
        for note in notes:
            if self._own and note.topic == self._own:
                continue  # somebody has subscribed the function to what it says itself (B2)
            said, alarm, left_out = self._explained(note)
            try:
                self._publish(note, said)
            except Unavailable as trouble:
                self._telemetry.not_explained(alarm, trouble)
                failures.append(trouble)
                continue
            self._telemetry.explained(alarm, said.attributes["state"], said.attributes["alarm"], left_out)
            told.append({"subject": said.subject, "text": said.text, "explanation": dict(said.document)})
        if failures:
            raise failures[0]
        return told

    def explain(self, alarm: Alarm) -> Explanation:
        """Look up and explain, tell nobody."""
        return explained(alarm, facts_of(alarm, self._looking), self._here)

    def _explained(self, note: Note) -> tuple[Explanation, str, int]:
        alarm = alarm_of(note.message)
        if alarm is None:
            return passed_on(note.subject, note.message), "", 0
        facts = Facts()
        try:
            facts = facts_of(alarm, self._looking)
            for bug in facts.bugs:
                self._telemetry.not_explained(alarm.name, bug)
            said = explained(alarm, facts, self._here)
        except Exception as bug:  # noqa: BLE001  logged as an error; a bug of ours must not keep anybody from being woken
            self._telemetry.not_explained(alarm.name, bug)
            facts = Facts(
                troubles=[f"a fault of ours ({type(bug).__name__}): the log of the notify function says where"]
            )
            try:
                said = explained(replace(alarm, kind=None), facts, self._here)
            except Exception as another:  # noqa: BLE001  as above: what CloudWatch said is told in its own words
                self._telemetry.not_explained(alarm.name, another)
                said = passed_on(note.subject, note.message)
        return said, alarm.name, len(facts.troubles)

    def _publish(self, note: Note, said: Explanation) -> None:
        if self._topic is None:
            return
        key = note.id, said.text
        if note.id and key in self._sent:
            return  # Lambda has invoked again because another message of the same event failed
        self._topic.publish(said.subject, _fitting(said.text), said.attributes)
        self._sent[key] = None
        while len(self._sent) > _REMEMBERED:
            del self._sent[next(iter(self._sent))]


def _fitting(text: str) -> str:
    # Quota: 256 KiB of text and attributes, says API_Publish of SNS.
    encoded = text.encode("utf-8", "backslashreplace") or b"(an empty message)"
    return encoded[:250_000].decode("utf-8", "ignore")


# ---- Looking it up -------------------------------------------------------------------------------------------------


def facts_of(alarm: Alarm, looking: Looking) -> Facts:
    """What can be found of an alarm within LOOKING_MS."""
    look = _Look(alarm, looking)
    if alarm.state == ALARM and alarm.kind is None:
        look.around()
    elif alarm.state == ALARM:
        match alarm.kind:
            case Kind.FAILED_EXECUTIONS:
                look.ended("failed")
            case Kind.BAD_ROWS:
                look.ended("bad")
            case Kind.FAILED_FETCHES:
                look.fetches()
            case Kind.DEAD_LETTERS:
                look.letters(lambda _letter: True)
                look.executions_of_letters()
            case Kind.OLDEST_WAITING:
                look.oldest_waiting()
            case Kind.MISSED_NOTIFICATIONS:
                look.missed()
            case Kind.RESUMED_EXECUTIONS:
                look.lines("sweep", '"sent on"', "sent on")
                look.unfinished(lambda one: one.watched is not None and one.watched.nudges > 0)
            case Kind.NOTICES_LATE | Kind.NOTIFY_ERRORS | Kind.ALARMS_NOT_TOLD:
                look.lines("notify", f'{_ERROR_LINES} ?"not told"', "not told")
                look.letters(lambda letter: letter.what in ("notice", "alarm"))
            case Kind.MISSING_FILES:
                look.series("late")
            case Kind.THIN_FILES:
                look.series("thin")
            case Kind.EVENTS_OLD | Kind.EVENTS_DROPPED:
                look.nobody_begins()
            case Kind.FUNCTION_ERRORS | Kind.FUNCTION_THROTTLES:
                look.nobody_begins()
                look.unfinished(lambda _one: True)
            case Kind.FETCH_ERRORS:
                look.lines("fetch", _ERROR_LINES)
                look.fetches_under_way()
            case Kind.API_ERRORS:
                look.lines("api", _ERROR_LINES)
            case Kind.SCHEDULE_ERRORS:
                look.lines("schedule", _ERROR_LINES, "left for the next run")
            case _:
                if alarm.log:
                    look.lines(alarm.log, _ERROR_LINES)
                look.unfinished(lambda _one: True)
    return look.facts


@dataclass(slots=True)
class _Look:
    """Lookups of one alarm, one after another, each as long as there is time."""

    alarm: Alarm
    at: Looking
    facts: Facts = field(default_factory=Facts)
    _until_ms: int = 0

    def __post_init__(self) -> None:
        self._until_ms = self.at.clock.now_ms() + LOOKING_MS

    @property
    def window(self) -> tuple[int, int]:
        """What the alarm looked at, and what may have come to CloudWatch late; the last hour where nobody says it."""
        changed = self.alarm.changed_ms
        if changed is None:
            now = self.at.clock.now_ms()
            return now - max(self.alarm.window_ms, 3_600_000), now
        return changed - self.alarm.window_ms - SLACK_MS, changed + SLACK_MS // 2

    def remaining_ms(self) -> int:
        return self._until_ms - self.at.clock.now_ms()

    def tried(self, what: str, lookup: Callable[[], Found_], otherwise: Found_) -> Found_:
        """What a lookup gives; of one that fails it is said why, and the next has its turn."""
        if self.remaining_ms() <= 0:
            self.facts.troubles.append(f"{what}: there was no time left, after {LOOKING_MS // 1000} s")
            return otherwise
        try:
            return lookup()
        except Unavailable as trouble:
            self.facts.troubles.append(f"{what}: {trouble}")
            return otherwise
        except Exception as bug:  # noqa: BLE001  told, and logged by who asked: the other lookups explain more than none
            self.facts.troubles.append(f"{what}: a fault of ours ({type(bug).__name__}), which the log has")
            self.facts.bugs.append(bug)
            return otherwise

    def around(self) -> None:
        """Of an alarm of somebody's own, on something of ours: what may be the matter there."""
        alarm = self.alarm
        if alarm.log:
            self.lines(alarm.log, _ERROR_LINES)
        if alarm.log == "fetch" or any("FetchQueue" in queue for queue in alarm.queues):
            self.fetches_under_way()
        elif alarm.log in _IMPORTING or alarm.namespaces & _SHARED:
            self.unfinished(lambda _one: True)
        if "S3EventImporter" in alarm.namespaces:
            self.ended("bad")
            if self.facts.outside:  # nothing was refused then: that something was, once, explains nothing here
                self.facts.ended, self.facts.outside = (), False

    def series(self, state: str) -> None:
        """Those that were late, or thin, when the alarm looked."""
        at_ms = self.window[1]
        nothing: list[Unusual] = []
        found = self.tried("series of files", lambda: list(self.at.unusual(at_ms)), nothing)
        self.facts.series = sorted(
            (one for one in found if one.state.value == state), key=lambda one: (one.expected.due_ms, one.name)
        )

    # -- executions that ended --------------------------------------------------------------------------------

    def ended(self, which: str) -> None:
        after, before = self.window
        nothing: tuple[list[Execution], bool] = ([], True)
        found, whole = self.tried("executions", lambda: self.at.table.newest(which, before), nothing)
        inside = [one for one in found if after <= _ended_ms(one) <= before]
        if not inside and self.remaining_ms() > 0 and not self.facts.troubles:
            # A message that came late or was made by hand: better what is known than nothing, and it is said.
            found, whole = self.tried("executions", lambda: self.at.table.newest(which, None), (found, whole))
            found = [one for one in found if _ended_ms(one)]
            self.facts.outside = bool(found)
            inside = sorted(found, key=_ended_ms, reverse=True)[:MOST_CASES]
        self.facts.whole = whole or bool(inside)
        by = _bad_of if which == "bad" else _ended_ms
        inside.sort(key=by, reverse=True)
        told: list[Ended] = []
        for one in inside:
            told.append(self._with_papers(one, told) if len(told) < RECEIPTS else Ended(one))
        self.facts.ended = told

    def _with_papers(self, execution: Execution, before: Sequence[Ended]) -> Ended:
        if execution.outcome is None:
            return Ended(execution)
        bucket, to = execution.source.bucket, execution.outcome.destination
        body = self.tried("a receipt", lambda: self.at.papers.head(bucket, to.receipt), b"")
        receipt = _document(body)
        if receipt is None and _bad_of(execution):
            receipt = self.tried("reasons", lambda: self._reasons(execution), None)
        row = None
        if _bad_of(execution) and sum(one.row is not None for one in before) < ROWS:
            groups = (receipt or {}).get("reasons")
            top = groups[0].get("code") if isinstance(groups, list) and groups and isinstance(groups[0], dict) else None
            row = self.tried("a refused row", lambda: self._row(execution, str(top or "")), None)
        head = b""
        if (
            not _bad_of(execution)
            and execution.status is Status.FAILED
            and not any(one.head for one in self.facts.ended)
        ):
            head = self.tried("the file itself", lambda: self._begin(execution.source), b"")
        return Ended(execution, receipt, row, head)

    def _reasons(self, execution: Execution) -> dict[str, Any] | None:
        """What a receipt would say of the first refused rows: of one that is gone, or may not be read."""
        assert execution.outcome is not None
        folded = FoldedReasons()
        bucket, key = execution.source.bucket, execution.outcome.destination.reasons
        for line in self.at.papers.head(bucket, key).split(b"\n")[:-1]:
            said = _document(line)
            if said is None:
                break
            folded.add(BadRow.told(said, b""), said.get("line"))
        return {"reasons": folded.folded()}

    def _begin(self, source: S3Object) -> bytes:
        """The first line of a file that was refused as a whole; nothing of one that is no text, or gone."""
        head = self.at.papers.head(source.bucket, source.key, source.version_id)
        try:
            _, plain = opened([head])
            text = next(plain, b"")[:4_096]
        except ObjectProblem:
            return b""
        text = text.replace(b"\x00", b"")  # of UTF-16
        for mark in (b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf"):
            text = text.removeprefix(mark)
        line = text.replace(b"\r", b"\n").lstrip(b"\n").partition(b"\n")[0]
        seen = line.decode("utf-8", "replace")
        strange = sum(not c.isprintable() or c == "\ufffd" for c in seen)
        return line if 10 * strange <= len(seen) else b""

    def _row(self, execution: Execution, reason: str) -> BadRow | None:
        """The first refused row of that reason near the begin of the errors file; else the first. None that is blank:
        whom it was about has been forgotten."""
        assert execution.outcome is not None
        bucket, to = execution.source.bucket, execution.outcome.destination
        reasons = self.at.papers.head(bucket, to.reasons).split(b"\n")[:-1]
        if not reasons:
            return None
        rows = self.at.papers.head(bucket, to.errors)
        at = len(Csv.of(rows).header) if execution.mime_type == TEXT_CSV else 0
        first: BadRow | None = None
        for line in reasons:
            said = _document(line)
            if said is None or not isinstance(said.get("length"), int) or at >= len(rows):
                break
            stop = rows.find(b"\n", at + said["length"]) + 1 or len(rows)  # by length: a CSV's may hold line breaks
            try:
                row = BadRow.told(said, rows[at:stop])
            except KeyError:
                break  # of another version
            at = stop
            if not row.raw.strip():
                continue
            if row.reason == reason:
                return row
            first = first or row
        return first

    def missed(self) -> None:
        self.lines("sweep", '{ $.message = "found" && $.found = "unknown" }', "found")
        if self.facts.lines:
            return
        after, before = self.window
        nothing: tuple[list[Execution], bool] = ([], True)
        found, _ = self.tried("executions", lambda: self.at.table.newest("any", before), nothing)
        self.facts.ended = [
            Ended(one)
            for one in found
            if after <= one.created_ms <= before and one.created_ms - one.source.last_modified_ms >= GRACE_MS
        ]

    # -- what goes on -------------------------------------------------------------------------------------------

    def unfinished(self, wanted: Callable[[Standing], bool]) -> None:
        self.facts.unfinished = self.tried("unfinished executions", lambda: self._unfinished(wanted), [])

    def _unfinished(self, wanted: Callable[[Standing], bool]) -> list[Standing]:
        found: list[Standing] = []
        for number, execution_id in enumerate(self.at.table.all_unfinished()):
            if number >= MOST_UNFINISHED or self.remaining_ms() <= 0:
                self.facts.whole = False
                break
            execution = self.at.table.execution(execution_id)
            if execution is not None and execution.phase is not Phase.CLOSED:
                found.append(Standing(execution, self.at.table.watched(execution_id)))
        chosen = sorted(filter(wanted, found), key=_since_ms)
        return [self._with_parts(one) if index < MOST_CASES else one for index, one in enumerate(chosen)]

    def _with_parts(self, one: Standing) -> Standing:
        if one.execution.part_count > MOST_PARTS:
            return one
        return replace(one, parts=tuple(self.at.table.parts(one.execution.id)))

    def oldest_waiting(self) -> None:
        if self.alarm.silent:
            self.lines("sweep", _ERROR_LINES)
            return
        self.waiting()
        keys = {one.file.key for one in self.facts.waiting}
        if not keys:
            self.unfinished(lambda _one: True)
        ids = {one.standing.execution.id for one in self.facts.waiting if one.standing is not None}

        def is_of_one(letter: Letter) -> bool:
            executions = {letter.execution_id, letter.task.execution_id if letter.task else ""}
            return bool(ids & executions or keys & {dropped.key for dropped in letter.dropped})

        self.letters(is_of_one)
        for function in ("import", "part"):
            self.lines(function, _ERROR_LINES)
        self.facts.lines = [line for line in self.facts.lines if line.what in keys or line.execution_id in ids]

    def waiting(self) -> None:
        oldest: list[tuple[S3Object, Found]] = []
        count = 0

        def keep(file: S3Object, found: Found) -> None:
            nonlocal count
            count += 1
            if len(oldest) < MOST_CASES:
                oldest.append((file, found))

        walked = self.tried("files in imports/", lambda: self.at.walk_waiting(self.remaining_ms, keep), None)
        self.facts.whole = self.facts.whole and count <= len(oldest) and bool(getattr(walked, "complete", True))
        self.facts.waiting = [Waits(file, found, self._standing_of(file, found)) for file, found in oldest]

    def _standing_of(self, file: S3Object, found: Found) -> Standing | None:
        if found is Found.UNKNOWN:
            return None
        from importer.executions.starting import execution_id_of

        execution_id = execution_id_of(file)

        def standing() -> Standing | None:
            execution = self.at.table.execution(execution_id)
            if execution is None:
                return None
            return self._with_parts(Standing(execution, self.at.table.watched(execution_id)))

        return self.tried(f"execution {execution_id}", standing, None)

    # -- letters, logs, fetches ---------------------------------------------------------------------------------

    def letters(self, wanted: Callable[[Letter], bool]) -> None:
        nothing: tuple[list[Any], bool] = ([], True)
        messages, whole = self.tried("dead letters", self.at.letters.messages, nothing)
        self.facts.letters = list(filter(wanted, map(letter_of, messages)))
        self.facts.whole = self.facts.whole and whole
        files = [dropped for letter in self.facts.letters for dropped in letter.dropped]
        self.facts.gone = frozenset(one.key for one in files[:MOST_CASES] if self._is_gone(one))

    def _is_gone(self, file: Dropped) -> bool:
        there = partial(self.at.papers.is_there, file.bucket, file.key, file.version_id)
        return not self.tried("files of dead letters", there, True)

    def executions_of_letters(self) -> None:
        ids = [letter.task.execution_id if letter.task else letter.execution_id for letter in self.facts.letters]
        known: list[Ended] = []
        for execution_id in list(dict.fromkeys(filter(None, ids)))[:MOST_CASES]:
            execution = self._execution(execution_id)
            if execution is not None:
                known.append(Ended(execution))
        self.facts.ended = known

    def nobody_begins(self) -> None:
        """Notifications that the import function did not get through with, and the files they are about."""
        self.lines("import", _ERROR_LINES)
        self.letters(lambda letter: letter.what == "notification")
        self.waiting()

    def _execution(self, execution_id: str) -> Execution | None:
        return self.tried(f"execution {execution_id}", lambda: self.at.table.execution(execution_id), None)

    def lines(self, function: str, pattern: str, *wanted: str) -> None:
        after, before = self.window
        if function not in LOGS.values():
            return
        read: list[tuple[int, str]] = self.tried(
            f"the log of the {function} function",
            lambda: self.at.logs.lines(function, pattern, after, before),
            [],
        )
        found = (log_line(text, time_ms, wanted) for time_ms, text in read)
        self.facts.lines = [*self.facts.lines, *_one_each(line for line in found if line is not None)]

    def fetches_under_way(self) -> None:
        before = self.window[1]
        newest: list[Fetch] = self.tried("fetches", lambda: self.at.table.fetches(MOST_FETCHES, before), [])
        self.facts.fetches = [fetch for fetch in newest if not fetch.ended]

    def fetches(self) -> None:
        after, before = self.window
        newest: list[Fetch] = self.tried("fetches", lambda: self.at.table.fetches(MOST_FETCHES, before), [])
        inside = [fetch for fetch in newest if _failed_at(fetch) and after <= _failed_at(fetch) <= before]
        if not inside and not self.facts.troubles:
            newest = self.tried("fetches", lambda: self.at.table.fetches(MOST_FETCHES), newest)
            inside = sorted(filter(_failed_at, newest), key=_failed_at, reverse=True)[:MOST_CASES]
            self.facts.outside = bool(inside)
        self.facts.fetches = sorted(inside, key=_failed_at, reverse=True)


def _one_each(lines: Iterable[LogLine]) -> Iterator[LogLine]:
    """What Lambda adds of its own about an error that we have told (`[ERROR] …`) is left out."""
    told = list(lines)
    ours = {line.trouble for line in told if line.what}
    return (line for line in told if line.what or line.trouble not in ours)


def _failed_at(fetch: Fetch) -> int:
    return (fetch.end_ms or 0) if fetch.status is Status.FAILED else 0


def _ended_ms(execution: Execution) -> int:
    return 0 if execution.outcome is None else execution.outcome.end_date


def _bad_of(execution: Execution) -> int:
    return 0 if execution.outcome is None else execution.outcome.sums.bad


def _since_ms(one: Standing) -> int:
    stands = 0 if one.watched is None else one.watched.stands_since_ms
    return stands or one.execution.start_date or one.execution.created_ms


def _document(body: bytes) -> dict[str, Any] | None:
    try:
        found = orjson.loads(body or b"null")
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None
