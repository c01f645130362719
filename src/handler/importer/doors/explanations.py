"""What a person is told when an alarm rings: which file, why, one masked row, what mends it, what to type (pure).

Rule: an explanation is a function of the alarm and of the facts that were looked up; told twice, it says the same. It
holds our own words, names (of files, of the fields rows were refused for) and numbers, as a notice does, and one row
with its values masked. Names are strangers' text (J8): cut, escaped, and in a command quoted, since it will be pasted
into a shell. What could not be looked up is said, with the permission it needs: an explanation with holes is better
than none, and silence is no explanation.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, cast

import orjson

from importer.bad_rows import BadRow, FileReason, Reason
from importer.diagnosis import diagnosis
from importer.doors.alarms import ALARM, NO_DATA, OK, Alarm, Kind
from importer.doors.letters import Letter
from importer.executions.ports import Found
from importer.fetches import Fetch, FetchReason
from importer.masking import DIALECT_NAMES, masked, masked_row
from importer.model import Execution, PartState, Phase, S3Object, Status, Value, Watched
from importer.words import in_time, many, utc

if TYPE_CHECKING:
    from importer.rhythm import Unusual

LONGEST_SUBJECT: Final = 99  # Quota: "less than 100 characters", in ASCII, says API_Publish of SNS
LONGEST_NAME: Final = 300  # characters of a key in a message; in a command it is whole, or the command is left out
MOST_CASES: Final = 5
TOP: Final = 3
MOST_TEXT: Final = 20_000  # characters; SNS takes 256 KB, a person at 3 a.m. does not


# ---- The facts -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ended:
    """An execution that has ended, its receipt, and one of its refused rows; or the begin of a file without any."""

    execution: Execution
    receipt: Mapping[str, Any] | None = None
    row: BadRow | None = None
    head: bytes = b""


@dataclass(frozen=True, slots=True)
class Standing:
    """An execution that has not ended.

    Attributes:
        watched: what the sweep last saw of it.
        parts: those begun, as far as they were looked at.
    """

    execution: Execution
    watched: Watched | None = None
    parts: tuple[PartState, ...] = ()


@dataclass(frozen=True, slots=True)
class Waits:
    """A file in imports/, why it waits, and its execution if it has one."""

    file: S3Object
    found: Found
    standing: Standing | None = None


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line of a function's log: about what, and what went wrong, in words that quote no row."""

    time_ms: int
    what: str
    trouble: str
    execution_id: str = ""


@dataclass(slots=True)
class Facts:
    """What was looked up of an alarm.

    Attributes:
        ended, fetches: newest first.
        outside: nothing of the kind happened in the alarm's window: these are the newest there are.
        unfinished: the longest at a standstill first.
        waiting: oldest first.
        gone: keys of files that dead letters are about and that are not there any more.
        series: of files that did not come, or came thin; the longest due first.
        whole: False where there may be more of any of it than was looked at.
        troubles: what could not be looked up, and the permission for it.
        bugs: what of that is a fault of ours.
    """

    ended: Sequence[Ended] = ()
    fetches: Sequence[Fetch] = ()
    outside: bool = False
    unfinished: Sequence[Standing] = ()
    waiting: Sequence[Waits] = ()
    letters: Sequence[Letter] = ()
    gone: frozenset[str] = frozenset()
    lines: Sequence[LogLine] = ()
    series: "Sequence[Unusual]" = ()
    whole: bool = True
    troubles: list[str] = field(default_factory=list)
    bugs: list[Exception] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Here:
    """The installation, as commands name it.

    Attributes:
        name: of the stack; "" where nobody knows.
        options: what a command of ours needs to mean it.
    """

    name: str
    bucket: str
    options: str = ""


@dataclass(frozen=True, slots=True)
class Explanation:
    """What is told: fit for a mail, and for a program."""

    subject: str
    text: str
    attributes: Mapping[str, str]
    document: Mapping[str, Value]


# ---- Its parts -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Case:
    """One thing an alarm is about."""

    name: str
    says: str = ""


@dataclass(frozen=True, slots=True)
class _Cause:
    """A reason and how often it was met."""

    text: str
    count: int


@dataclass(slots=True)
class _Body:
    """What is known of an alarm, ready to be written.

    Attributes:
        headline: a sentence without its full stop; begins small.
        cases_of: what they are, "Files".
        causes_of: of which of them; "" for all.
    """

    headline: str = ""
    cases: list[_Case] = field(default_factory=list)
    cases_of: str = "Files"
    total: int = 0
    causes: list[_Cause] = field(default_factory=list)
    causes_of: str = ""
    sample: str = ""
    sample_of: str = ""
    fix: str = ""
    commands: list[str] = field(default_factory=list)


# What an alarm says in the subject, and where nothing could be found.
_TITLES: Final = {
    Kind.FUNCTION_ERRORS: "the import function fails",
    Kind.FUNCTION_THROTTLES: "the import function is not started",
    Kind.PART_ERRORS: "workers fail",
    Kind.PART_THROTTLES: "workers are not started",
    Kind.SCHEDULE_ERRORS: "a recurring import fails",
    Kind.PARTS_OLD: "parts of a large file wait",
    Kind.FETCH_ERRORS: "imports by URI fail",
    Kind.FAILED_FETCHES: "files could not be fetched",
    Kind.EVENTS_OLD: "notifications wait",
    Kind.EVENTS_DROPPED: "notifications were given up",
    Kind.DEAD_LETTERS: "dead letters",
    Kind.FAILED_EXECUTIONS: "files refused",
    Kind.BAD_ROWS: "many rows refused",
    Kind.API_ERRORS: "the HTTP door answers 5xx",
    Kind.OLDEST_WAITING: "a file gets nowhere",
    Kind.MISSED_NOTIFICATIONS: "notifications were missed",
    Kind.RESUMED_EXECUTIONS: "imports have to be sent on",
    Kind.NOTICES_LATE: "notices are late",
    Kind.STREAM_FRESHNESS: "the stream does not deliver",
    Kind.STREAM_THROTTLES: "the stream refuses records",
    Kind.NOTIFY_ERRORS: "alarms cannot be explained",
    Kind.ALARMS_NOT_TOLD: "an alarm was not told",
    Kind.MISSING_FILES: "a file did not come",
    Kind.THIN_FILES: "a file is far smaller than usual",
}
# What mends it where nothing that was found says more.
_FIXES: Final = {
    Kind.FUNCTION_ERRORS: "wait five minutes: AWS tries twice more. If dead letters follow, remove the cause the log "
    "names, then deliver them again",
    Kind.FUNCTION_THROTTLES: "raise the account's quota of concurrent executions, or limit what uses it up; files wait "
    "for six hours, and then the sweep finds them",
    Kind.PART_ERRORS: "wait: a part is tried again within half an hour and goes on where it stood. If it does not get "
    "on, remove the cause the log names",
    Kind.PART_THROTTLES: "deploy with a lower PartConcurrency, or raise the account's quota of concurrent executions",
    Kind.SCHEDULE_ERRORS: "let `importer recurring check` say which permission or setting is wrong, mend it, and wait "
    "for the next run",
    Kind.PARTS_OLD: "nothing while parts get done. Otherwise find out what keeps the workers from them: errors, "
    "throttles, or a queue that is switched off",
    Kind.FETCH_ERRORS: "wait: a fetch comes back within the hour and goes on where it stood. If it does not, remove "
    "the cause the log names",
    Kind.FAILED_FETCHES: "see what each source answered, mend it there, and ask again",
    Kind.EVENTS_OLD: "find out what keeps the import function from being started: throttles, or thousands of files "
    "at once",
    Kind.EVENTS_DROPPED: "read the dead letter if there is one; what still lies in imports/ the sweep takes up within "
    "20 minutes",
    Kind.DEAD_LETTERS: "read the letters, remove what they name, and deliver them again; twice is harmless",
    Kind.FAILED_EXECUTIONS: "the receipt has the reason and the remedy: mend the file, and drop it again",
    Kind.BAD_ROWS: "the receipts count the reasons: tell the sender, or mend the rows in errors/ and drop them",
    Kind.API_ERRORS: "senders were told to try again; the log says which service does not answer, or that it is a "
    "fault of ours",
    Kind.OLDEST_WAITING: "see what its execution says, and remove that",
    Kind.MISSED_NOTIFICATIONS: "nothing if it is one now and then: the sweep has begun to import them. If it is all "
    "files, deploy again, which puts the bucket's notification back",
    Kind.RESUMED_EXECUTIONS: "find out what ends the workers: memory, time, or something that refuses every try",
    Kind.NOTICES_LATE: "imports go on. See what refuses the notice, the bus or the topic, and allow it",
    Kind.STREAM_FRESHNESS: "give Firehose back the right to write to its bucket (deploying again does), or restore the "
    "bucket; it drops what is older than 24 hours",
    Kind.STREAM_THROTTLES: "nothing while nothing else rings: imports wait and go on. Otherwise set StreamGzip, or ask "
    "for a higher quota",
    Kind.NOTIFY_ERRORS: "read the log of the notify function; until it is mended alarms are in CloudWatch alone",
    Kind.ALARMS_NOT_TOLD: "deliver the dead letter again, and see in CloudWatch which alarms ring",
    Kind.MISSING_FILES: "nothing is wrong here: ask whoever sends it, and drop it when it is there. If it will not "
    "come any more, or comes otherwise, forget the series",
    Kind.THIN_FILES: "what came is imported: ask whoever sends it whether that is all, and drop the whole file if "
    "not; rows that are stored already are not doubled",
}
_FILE_FIXES: Final = {
    FileReason.WRONG_KIND: "rename the file, or pack it as gzip or zstd or not at all, and drop it again",
    FileReason.WRONG_ENCODING: "write it as UTF-8 (`iconv -f UTF-16 -t UTF-8 FILE`) and drop it again",
    FileReason.NOT_LINE_DELIMITED: "write one JSON object a line: `jq -c . FILE`, or `jq -c '.[]' FILE` for an array; "
    "then drop it again",
    FileReason.TRUNCATED: "the upload was cut short: have it sent again, whole",
    FileReason.CORRUPT: "the compressed stream is damaged: compress the file again and drop it again",
    FileReason.EXPANDS_TOO_MUCH: "split the file into shorter ones, and drop those",
    FileReason.DIALECT_UNKNOWN: "name the `format` in an import definition (`importer imports create --help`), and "
    "drop the file in that import's folder",
    FileReason.CSV_HEADER_MISSING: "give the CSV a first line that names its columns, with commas between, "
    "and drop it again",
    FileReason.TOO_MANY_BAD_ROWS: "mend the refused rows, and drop the whole file again; or raise max_bad_rows of the "
    "import",
    FileReason.ATOMIC_REFUSED: "mend the refused rows, and drop the whole file again; nothing of it was stored",
    FileReason.OBJECT_GONE: "somebody deleted it before it was imported: drop it again if it is still wanted",
    FileReason.OBJECT_ARCHIVED: "restore it from the archive storage class, and drop a copy",
    FileReason.REPLACED_WHILE_READING: "nothing: the newer upload is imported on its own. Versioning would import both",
    FileReason.ACCESS_DENIED: "allow what the message names, then redrive it",
    FileReason.GAVE_UP: "not the file's fault: the log of the part function says what ended its workers. Remove that, "
    "then redrive it",
}
_ROW_FIX: Final = "mend the rows that errors/ has, and drop them again"
_FETCH_FIXES: Final = {
    FetchReason.BAD_URI: "write the URI as the message says",
    FetchReason.WRONG_KIND: "have it published under a name its import takes",
    FetchReason.HOST_NOT_ALLOWED: "add the host to the parameter UriAllowedHosts",
    FetchReason.PORT_NOT_ALLOWED: "add the host to the parameter UriAllowedHosts: others' ports are 80 and 443",
    FetchReason.ADDRESS_DENIED: "the name stands for an address that is not public: add the host to UriAllowedHosts, "
    "if it is yours",
    FetchReason.BAD_REDIRECT: "give the URI where its redirects end",
    FetchReason.CREDENTIALS_REFUSED: "the secret or role cannot be used: make it what the message says",
    FetchReason.SOURCE_REFUSED: "open the URI with curl: it is gone, not allowed, or its signature has expired; ask "
    "with a new one",
    FetchReason.SOURCE_CHANGED: "have it published under a name of its own, that does not change while it is read",
    FetchReason.BAD_ANSWER: "what came is no file: the server's affair",
    FetchReason.ENCODED: "have Content-Encoding switched off for this path, and the file itself compressed",
    FetchReason.NO_LENGTH: "have the server send Content-Length",
    FetchReason.TLS_FAILED: "have the server's certificate mended: it is not valid for that name",
    FetchReason.TOO_LARGE: "raise UriMaxGiB, or have the file split",
    FetchReason.TIMED_OUT: "ask again, or raise UriMaxMinutes",
    FetchReason.UNREACHABLE: "ask again later: the source did not answer, or not to the end",
}
# Codes whose sentence may quote the file: of those the code alone is told.
_QUOTES: Final = {FileReason.CSV_HEADER_MISSING, FileReason.WRONG_ENCODING}
_ALLOW = re.compile(r"allow (\S+:\S+)(?: on (\S+(?: and its index)?))?")


def explained(alarm: Alarm, facts: Facts, here: Here) -> Explanation:
    """What to tell of an alarm."""
    if alarm.state != ALARM:
        return _told(alarm, facts, here, _Body(headline=_passed(alarm)))
    body = _BODIES[alarm.kind](alarm, facts, here) if alarm.kind is not None else _of_stranger(alarm, facts, here)
    if alarm.rule:  # a composite alarm: one of those that made it ring is explained here
        body.commands.append(f"importer alarms{here.options}    # explains each that rings")
    body.headline = body.headline or _TITLES.get(cast("Kind", alarm.kind), "it rings")
    body.fix = body.fix or _FIXES.get(cast("Kind", alarm.kind), "")
    return _told(alarm, facts, here, body)


def passed_on(subject: str, message: str) -> Explanation:
    """What was published that is no alarm, as it is."""
    line = _one_line(subject) or "A message to the alarm topic"
    return Explanation(
        _ascii(line, LONGEST_SUBJECT), message, {"state": "NONE", "alarm": "none"}, {"alarm": None, "passed_on": True}
    )


# ---- Executions that ended -----------------------------------------------------------------------------------------


def _failed_executions(alarm: Alarm, facts: Facts, here: Here) -> _Body:
    body = _Body(total=len(facts.ended))
    codes: dict[str, int] = {}
    for one in facts.ended:
        code = _code(one.execution)
        codes[code] = codes.get(code, 0) + 1
        body.cases.append(_Case(one.execution.source.key, _refused_file(one.execution, code)))
    groups = _groups(facts.ended)
    body.causes = [_Cause(f"{_clean(code)}: {_file_reason(code)}", count) for code, count in _most(codes)]
    body.causes += [_row_cause(group) for group in groups[: max(TOP - len(body.causes), 0)]]
    if not facts.ended:
        body.commands = [f"importer executions{here.options}"]
        return body
    code = _most(codes)[0][0]
    body.headline = f"{many(len(facts.ended), 'file')} {'was' if len(facts.ended) == 1 else 'were'} refused as a whole"
    if facts.outside:
        body.headline = "no file is known that was refused in the time the alarm looked at; these were refused last"
    sampled = _add_sample(body, facts.ended, groups, here)
    body.fix = _FILE_FIXES[FileReason(code)] if code in set(FileReason) else _FIXES[Kind.FAILED_EXECUTIONS]
    if rows := _rows_fix(facts.ended, groups):
        body.fix = f"{_ended_sentence(body.fix)} As to its rows: {rows}"
    body.commands = [f"importer executions {one.execution.id}{here.options}" for one in facts.ended[:TOP]] + sampled
    body.commands += _refused_commands(
        code, [one.execution for one in facts.ended if _code(one.execution) == code], here
    )
    return body


def _code(execution: Execution) -> str:
    return execution.error.code if execution.error else "failed"


def _refused_commands(code: str, executions: Sequence[Execution], here: Here) -> list[str]:
    """What mends files that were refused for the most frequent reason, as its fix says."""
    first = executions[0]
    match code:
        case FileReason.GAVE_UP | FileReason.ACCESS_DENIED:
            return [f"importer redrive {one.id}{here.options}" for one in executions[:TOP]]
        case FileReason.OBJECT_GONE | FileReason.REPLACED_WHILE_READING:
            return []  # there is nothing to have and mend
        case FileReason.OBJECT_ARCHIVED if first.source.key.isprintable():
            bucket, key = _quoted(first.source.bucket), _quoted(first.source.key)
            restore = (
                f"aws s3api restore-object --bucket {bucket} --key {key} --restore-request Days=7    # takes hours"
            )
            return [restore, *_mending(first, here, first.source.key)]
        case _:
            return _mending(first, here, first.source.key)


def _refused_file(execution: Execution, code: str) -> str:
    said = f"FAILED {_clean(code)}"
    if execution.error is not None and execution.error.message and code not in _QUOTES:
        said += f": {_sentence(execution.error.message)}"
    return f"{_ended_sentence(said)} {_counts(execution)} Execution {execution.id}"


def _counts(execution: Execution) -> str:
    if execution.outcome is None or not execution.outcome.sums.rows:
        return "No row was stored."
    sums = execution.outcome.sums
    others = "".join(
        f", {count:,} {fate}"
        for count, fate in ((sums.expired, "expired"), (sums.erased, "erased"), (sums.withheld, "withheld"))
        if count
    )
    return f"Of {many(sums.rows, 'row')} {sums.good:,} stored, {sums.bad:,} refused{others}."


def _bad_rows(alarm: Alarm, facts: Facts, here: Here) -> _Body:
    worst = sorted(facts.ended, key=lambda one: -_bad(one.execution))
    body = _Body(total=len(worst))
    for one in worst:
        body.cases.append(_Case(one.execution.source.key, f"{_counts(one.execution)} Execution {one.execution.id}"))
    if not worst:
        body.commands = [f"importer executions{here.options}"]
        return body
    bad = sum(_bad(one.execution) for one in worst)
    rows = sum(one.execution.outcome.sums.rows for one in worst if one.execution.outcome)
    body.headline = f"{bad:,} of {many(rows, 'row')} of {many(len(worst), 'file')} were refused"
    if facts.outside:
        body.headline = "no refused row is known of the time the alarm looked at; these files had some last"
    groups = _groups(worst)
    body.causes = [_row_cause(group) for group in groups[:TOP]]
    if (read := sum(one.receipt is not None for one in worst)) < len(worst):
        body.causes_of = f", of the {many(read, 'file')} with most of them"
    sampled = _add_sample(body, worst, groups, here)
    body.fix = _rows_fix(worst, groups) or _ROW_FIX
    first = worst[0].execution
    body.commands = [f"importer executions {one.execution.id}{here.options}" for one in worst[:TOP]]
    body.commands += [
        *sampled,
        f"importer fix {first.id}{here.options}    # proposes repairs, changes nothing",
        f"importer fix {first.id} --drop{here.options}    # imports them",
    ]
    if first.outcome is not None and first.outcome.destination.errors.isprintable():
        address = f"s3://{first.source.bucket}/{first.outcome.destination.errors}"
        body.commands.append(f"aws s3 cp {_quoted(address)} -    # to mend them by hand")
    return body


def _bad(execution: Execution) -> int:
    return 0 if execution.outcome is None else execution.outcome.sums.bad


def _mending(execution: Execution, here: Here, key: str) -> list[str]:
    """How to have a file, look at it, and drop it again; nothing where its name cannot be pasted."""
    dropped = execution.source.key
    if not (key.isprintable() and dropped.isprintable()):
        return []
    base = key.rpartition("/")[2] or "FILE"
    name = _quoted(f"./{base}" if base.startswith("-") else base)  # else it would be an option
    bucket = execution.source.bucket
    return [
        f"aws s3 cp {_quoted(f's3://{bucket}/{key}')} {name}",
        f"importer preview {name}    # mend it until this is content",
        f"aws s3 cp {name} {_quoted(f's3://{bucket}/{dropped}')}",
    ]


def _groups(ended: Iterable[Ended]) -> list[Mapping[str, Any]]:
    """The folded reasons of several receipts, added up; the largest first."""
    sums: dict[tuple[str, str], dict[str, Any]] = {}
    for one in ended:
        for group in _folded(one.receipt):
            key = str(group.get("code", "")), str(group.get("field", "") or "")
            known = sums.setdefault(key, {**group, "count": 0, "key": one.execution.source.key})
            known["count"] += _whole(group.get("count"))
    return sorted((group for group in sums.values() if group["count"] > 0), key=lambda group: -group["count"])


def _folded(receipt: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    reasons = (receipt or {}).get("reasons")
    return [group for group in reasons if isinstance(group, dict)] if isinstance(reasons, list) else []


def _row_cause(group: Mapping[str, Any]) -> _Cause:
    field_name, line = _field(str(group.get("field") or "")), group.get("first_line")
    about = f" ({field_name})" if field_name else ""
    first = f", first in line {line:,} of {_name(str(group['key']))}" if isinstance(line, int) and line else ""
    return _Cause(f"{_clean(str(group.get('code')))}{about}{first}", int(group["count"]))


def _rows_fix(ended: Sequence[Ended], groups: Sequence[Mapping[str, Any]]) -> str:
    """What the receipts diagnose; else the hint of the most frequent reason."""
    for one in ended:
        found = (one.receipt or {}).get("diagnosis")
        if isinstance(found, dict) and found.get("remedy"):
            return _hint(str(found["remedy"]))
    if not groups:
        return ""
    group = groups[0]
    samples = group.get("samples")
    hints = [_text(one.get("hint")) for one in samples if isinstance(one, dict)] if isinstance(samples, list) else []
    hint = next((hint for hint in hints if hint), "")
    if group.get("code") in set(Reason):
        # As if all rows were refused for it: a diagnosis says how a reason is mended, whatever its share.
        asked = {
            **group,
            "field": str(group.get("field") or ""),
            "count": 100,
            "samples": [{"message": "", "hint": hint}],
        }
        said = diagnosis(100, [asked])
        return _hint(str(said["remedy"])) if said else ""
    return _hint(hint)


def _add_sample(body: _Body, ended: Sequence[Ended], groups: Sequence[Mapping[str, Any]], here: Here) -> list[str]:
    """One row, of the most frequent reason if there is one of it; and the command that shows it unmasked, if any."""
    rows = [one for one in ended if one.row is not None]
    if not rows:
        begun = next((one for one in ended if one.head), None)
        if begun is not None:
            body.sample = masked_row(begun.head)
            body.sample_of = f"the begin of {_name(begun.execution.source.key)}"
        return []
    top = groups[0] if groups else {}
    best = next((one for one in rows if one.row is not None and one.row.reason == top.get("code")), rows[0])
    row = best.row
    assert row is not None
    names = re.split(r"[.\[\]]+", _field(row.field))
    line = f", line {row.line:,}" if isinstance(row.line, int) and row.line else ""
    about = f" ({_field(row.field)})" if row.field else ""
    body.sample = masked_row(row.raw, [name for name in names if name])
    body.sample_of = f"{_name(best.execution.source.key)}{line}: {_clean(row.reason)}{about}"
    return [f"importer why '{best.execution.id}#L{row.line}'{here.options}"] if line else []


# ---- Executions that go on -----------------------------------------------------------------------------------------


def _add_unfinished(body: _Body, facts: Facts, here: Here) -> None:
    """What is under way: an alarm on a function does not say which file it is about."""
    told = {one.standing.execution.id for one in facts.waiting if one.standing is not None}
    for one in facts.unfinished:
        if one.execution.id in told:
            continue
        _add_case(body, one.execution.source.key, _stands(one))
    body.commands += [f"importer status {one.execution.id}{here.options}" for one in facts.unfinished[:TOP]]


def _add_case(body: _Body, name: str, says: str) -> None:
    """One more thing it is about; of one that is there already, what else is known of it."""
    for number, case in enumerate(body.cases):
        if case.name == name or f"s3://{name}".endswith(f"/{case.name}"):
            body.cases[number] = _Case(case.name, f"{_ended_sentence(case.says)} {says[:1].upper()}{says[1:]}")
            return
    body.cases.append(_Case(name, says))
    body.total += 1


def _stands(one: Standing) -> str:
    execution = one.execution
    said = f"{execution.status.value}"
    if execution.phase is Phase.FINALISING:
        said += ", all rows read, being settled"
    elif execution.phase is Phase.CLOSING:
        said += ", its receipt is being written"
    elif execution.part_count > 1:
        said += f", {len(execution.parts_done):,} of {many(execution.part_count, 'part')} done"
    since = execution.start_date or execution.created_ms
    said += f", begun {utc(_second(since))}"
    stuck = max(one.parts, key=lambda part: (not part.done, part.tries, part.hops), default=None)
    if one.watched is not None and one.watched.stands_since_ms:
        said += f", stands where it stands since {utc(_second(one.watched.stands_since_ms))}"
    if stuck is not None and not stuck.done and stuck.tries > 1:
        said += f"; its part from byte {stuck.start:,} was begun {stuck.tries:,} times at byte {stuck.next_offset:,}"
    if one.watched is not None and one.watched.nudges:
        said += f"; sent on {many(one.watched.nudges, 'time')}"
    return f"{said}. Execution {execution.id}"


def _function(alarm: Alarm, facts: Facts, here: Here) -> _Body:
    """An alarm on a function: what its log says, and what is under way."""
    body = _Body()
    _add_lines(body, facts)
    if facts.lines:
        body.headline = f"{many(len(facts.lines), 'error')} in the log of {_log_group(alarm, here)}"
    _add_letters(body, facts, here)
    _add_waiting(body, facts, alarm)
    _add_fetches_under_way(body, facts, here)
    _add_unfinished(body, facts, here)
    if not body.headline and facts.waiting:
        more = "" if facts.whole else " or more"
        verb = "waits" if len(facts.waiting) == 1 else "wait"
        body.headline = f"{many(len(facts.waiting), 'file')}{more} in imports/ {verb} to be begun or finished"
    body.commands = _unique(body.commands)[:TOP] + _log_command(alarm, here)
    if alarm.kind is Kind.SCHEDULE_ERRORS:
        # A line is about an import, a file of one, or a definition that nobody can read.
        ids = _unique(line.what for line in facts.lines if line.what.isprintable() and not set(line.what) & set("/ "))
        checks = [f"importer recurring check {_quoted(one)}{here.options}" for one in ids[:TOP] if one]
        body.commands[:0] = [*checks, f"importer imports list{here.options}"]
    return body


def _add_lines(body: _Body, facts: Facts) -> None:
    counts: dict[str, int] = {}
    told: dict[str, str] = {}
    for line in facts.lines:
        counts[line.trouble] = counts.get(line.trouble, 0) + 1
        if line.what:
            told.setdefault(line.what, line.trouble)
    body.causes = [_Cause(_sentence(trouble), count) for trouble, count in _most(counts)[:TOP]]
    body.cases = [_Case(what, _sentence(trouble)) for what, trouble in told.items()]
    body.total = len(body.cases)
    if counts:
        body.fix = _fix_of(_most(counts)[0][0])


def _add_letters(body: _Body, facts: Facts, here: Here) -> None:
    for letter in facts.letters:
        files = [dropped.key for dropped in letter.dropped]
        said = f"a dead letter: {_why(letter)}{_gone(letter, facts)}"
        _add_case(body, files[0] if len(files) == 1 else letter.about(), said)
    if facts.letters:
        body.fix = body.fix or _fix_of(_why(facts.letters[0]))
        body.commands.append(f"importer redrive --dead-letters --dry-run{here.options}")


def _add_fetches_under_way(body: _Body, facts: Facts, here: Here) -> None:
    for fetch in facts.fetches:
        if not fetch.ended:
            said = f"{fetch.status.value}, {fetch.next_offset:,} bytes fetched, tried {fetch.tries:,} times since"
            body.cases.append(_Case(_uri(fetch.uri), f"{said}. Fetch {fetch.id}"))
            body.total += 1
            body.commands.append(f"importer fetches {fetch.id}{here.options}")
    body.cases_of = "Imports by URI" if any(not fetch.ended for fetch in facts.fetches) else body.cases_of


def _fix_of(trouble: str) -> str:
    """What mends a trouble that a log line, or a dead letter, names; "" where it does not say."""
    if allowed := _ALLOW.search(trouble):
        on = f" on {_clean(allowed[2])}" if allowed[2] else ""
        return (
            f"allow {_clean(allowed[1])}{on}: deploying the template again gives the roles back what it grants; else a "
            "policy of the bucket, key or organisation denies it"
        )
    lower = trouble.lower()
    for words, fix in _TROUBLES:
        if any(word in lower for word in words):
            return fix
    return ""


_TROUBLES: Final = (
    (
        ("timed out after", "status: timeout"),
        "its time ran out: the part goes on where it stood. If it does not get on, "
        "see whether S3 or the tables answer slowly",
    ),
    (
        ("signal: killed", "outofmemory", "runtime exited", "runtime.exiterror"),
        "it was killed, mostly for want of memory: give the function more MemorySize, or split the file",
    ),
    (("kms",), "the KMS key of the bucket or object cannot be used: enable it, and allow the role to use it"),
    (
        ("throttl", "throughputexceeded", "calls left", "cannot be written"),
        "the destination takes nothing: look for "
        "throttles of the tables or the stream; what was begun goes on by itself",
    ),
    (
        ("misconfigured", "unknown setting", "is not set", "date_format"),
        "a setting is wrong: mend the import definition (`importer imports`) or the stack's parameter it names",
    ),
    (
        ("somebody has changed it", "cannot be read"),
        "an item of the imports table was changed by hand: restore it from the table's point-in-time recovery",
    ),
    (
        ("unknownnotification", "no notification", "not a notification"),
        "something that is no notification of S3 was sent to the function: see who sends it; it can be deleted",
    ),
    (
        ("crashed", "words withheld"),
        "a fault of ours: report it with the traceback of the log. Files lie where they "
        "were, and can be delivered again",
    ),
    (
        ("slowdown", "serviceunavailable", "internalerror", "timeout", "could not connect"),
        "a service of AWS did not answer: wait, it is tried again by itself",
    ),
)


# ---- Waiting, letters, fetches, notices ----------------------------------------------------------------------------


def _oldest_waiting(alarm: Alarm, facts: Facts, here: Here) -> _Body:
    if alarm.silent:
        body = _Body(
            headline="the sweep, which looks for files that wait, has said nothing: nobody looks",
            fix="see whether its schedule is switched on, and what its log says; deploying again puts both back",
        )
        _add_lines(body, facts)
        body.fix = _fix_of(body.causes[0].text) or body.fix if body.causes else body.fix
        body.commands = [
            "aws scheduler list-schedules --query 'Schedules[].[Name,State]' --output text",
            *_log_command(replace(alarm, log="sweep"), here),
        ]
        return body
    body = _Body()
    causes: dict[str, int] = {}
    for one in facts.waiting:
        why = _why_it_waits(one)
        causes[why] = causes.get(why, 0) + 1
    _add_waiting(body, facts, alarm)
    body.causes = [_Cause(why, count) for why, count in _most(causes)[:TOP]]
    if not facts.waiting:
        _add_unfinished(body, facts, here)
        body.commands.insert(0, f"importer status{here.options}")
        return body
    oldest = facts.waiting[0]
    body.headline = (
        f"{many(len(facts.waiting), 'file')} in imports/ {'is' if len(facts.waiting) == 1 else 'are'} "
        "neither imported nor refused"
    )
    body.fix = _WAIT_FIXES[oldest.found]
    trouble = next((line.trouble for line in facts.lines), "")
    if trouble:
        body.causes.append(_Cause(_sentence(trouble), sum(line.trouble == trouble for line in facts.lines)))
        body.fix = _fix_of(trouble) or body.fix
    if oldest.standing is not None:
        body.commands = [
            f"importer status {oldest.standing.execution.id}{here.options}",
            f"importer executions {oldest.standing.execution.id}{here.options}",
        ]
    else:
        body.commands = [f"importer status{here.options}"]
        if oldest.file.key.isprintable():
            bucket, key = _quoted(oldest.file.bucket), _quoted(oldest.file.key)
            body.commands.append(f"aws s3api list-object-versions --bucket {bucket} --prefix {key}")
    if facts.letters:
        body.causes.append(_Cause("dead letters: what was given up after several tries", len(facts.letters)))
        body.commands.append(f"importer redrive --dead-letters --dry-run{here.options}")
    body.causes = body.causes[:TOP]
    return body


_WAIT_FIXES: Final = {
    Found.UNKNOWN: "its notification never came or its function fails: the sweep begins it within 20 minutes. If it "
    "does not, read the log of the import function",
    Found.UNFINISHED: "see what its execution waits for, and remove that; the sweep sends it on by itself",
    Found.TO_MOVE: "all its rows are stored and only the move is due: the sweep moves it within 15 minutes. If it "
    "does not, a permission is missing",
    Found.SCHEDULED: "no run of its recurring import got through for a day: `importer recurring check` says what "
    "is wrong",
}


def _add_waiting(body: _Body, facts: Facts, alarm: Alarm) -> None:
    for one in facts.waiting:
        dropped_ms = one.file.last_modified_ms
        waits = "" if alarm.changed_ms is None else f" ({in_time(max(alarm.changed_ms - dropped_ms, 0) / 1000)})"
        said = f"dropped {utc(_second(dropped_ms))}{waits}; {_why_it_waits(one)}"
        if one.standing is not None:
            said += f". {_stands(one.standing)}"
        _add_case(body, one.file.key, said)


def _why_it_waits(one: Waits) -> str:
    match one.found:
        case Found.UNKNOWN:
            return "nobody has begun it: there is no execution of it"
        case Found.UNFINISHED:
            return "it was begun, and does not get on"
        case Found.TO_MOVE:
            return "it is imported, and was not moved away"
        case _:
            return "it waits for a run of its recurring import"


def _dead_letters(alarm: Alarm, facts: Facts, here: Here) -> _Body:
    body = _Body(total=len(facts.letters), cases_of="Letters")
    causes: dict[str, int] = {}
    for letter in facts.letters:
        why = _why(letter)
        causes[why] = causes.get(why, 0) + 1
        tried = f"tried {many(letter.tried, 'time')}" if letter.tried else ""
        since = f"since {utc(_second(letter.since_ms))}" if letter.since_ms else ""
        said = "; ".join(text for text in (letter.what if letter.what != "unknown" else "", why, tried, since) if text)
        execution = _of_letter(letter, facts)
        if execution is not None:
            ended = f", which has ended {execution.status.value}" if execution.phase is Phase.CLOSED else ""
            said += f"; of {_name(execution.source.key)}{ended}"
        said += _gone(letter, facts)
        body.cases.append(_Case(letter.about(), said))
    body.causes = [_Cause(why, count) for why, count in _most(causes)[:TOP]]
    if facts.letters:
        more = "" if facts.whole else " or more"
        # SQS shows some of a long queue, and the same ones again: how many there are the alarm says.
        counted = int(alarm.values[0]) if alarm.values and _counts_letters(alarm) else 0
        rang = f"; {counted:,} were there when it rang" if counted > len(facts.letters) else ""
        body.headline = (
            f"{many(len(facts.letters), 'letter')}{more} in the queue of what was tried again and again in vain{rang}"
        )
        body.fix = _fix_of(_most(causes)[0][0])
    body.fix = f"{body.fix}; then deliver the letters again" if body.fix else ""
    if facts.letters and all(_gone(letter, facts) for letter in facts.letters):
        body.fix = (
            "deliver the letters again, which takes them away: their files were imported after all, or somebody has "
            "deleted them; of those, drop again what is still wanted"
        )
    body.commands = [
        f"importer redrive --dead-letters --dry-run{here.options}",
        f"importer redrive --dead-letters{here.options}",
    ]
    ids = [letter.task.execution_id if letter.task else letter.execution_id for letter in facts.letters]
    body.commands[:0] = _unique(f"importer executions {one}{here.options}" for one in ids if _is_id(one))[:TOP]
    fetches = [letter.fetch_id for letter in facts.letters]
    body.commands[:0] = _unique(f"importer fetches {one}{here.options}" for one in fetches if _is_id(one))[:TOP]
    return body


def _counts_letters(alarm: Alarm) -> bool:
    return [one.name for one in alarm.measured] == ["ApproximateNumberOfMessagesVisible"]


def _gone(letter: Letter, facts: Facts) -> str:
    """Said of a letter whose files are not there any more; "" of any other."""
    keys = {dropped.key for dropped in letter.dropped}
    if not keys or not keys <= facts.gone:
        return ""
    return f"; the {'file is' if len(keys) == 1 else 'files are'} not in imports/ any more"


def _of_letter(letter: Letter, facts: Facts) -> Execution | None:
    wanted = letter.task.execution_id if letter.task else letter.execution_id
    known = [one.execution for one in facts.unfinished] + [one.execution for one in facts.ended]
    return next((execution for execution in known if execution.id == wanted), None) if wanted else None


def _why(letter: Letter) -> str:
    """Why a letter lies there. Its words are Lambda's and ours: neither quotes a row."""
    if letter.unknown and letter.what in ("unknown", "notice"):
        return _sentence(letter.unknown)
    if letter.why:
        return _sentence(letter.why)
    if letter.what in ("task", "fetch"):
        return "delivered again and again without success; the log of its function says why"
    return "its function was not started, or ended without a word"


def _failed_fetches(alarm: Alarm, facts: Facts, here: Here) -> _Body:
    failed = [fetch for fetch in facts.fetches if fetch.status is Status.FAILED]
    body = _Body(total=len(failed), cases_of="Sources")
    codes: dict[str, int] = {}
    for fetch in failed:
        codes[fetch.error_code] = codes.get(fetch.error_code, 0) + 1
        why = _sentence(_uri(fetch.error_message))
        said = f"{_ended_sentence(f'FAILED {_clean(fetch.error_code)}: {why}')} Fetch {fetch.id}"
        body.cases.append(_Case(_uri(fetch.uri), said))
    body.causes = [_Cause(_clean(code), count) for code, count in _most(codes)[:TOP]]
    if failed:
        was = "was" if len(failed) == 1 else "were"
        body.headline = f"{many(len(failed), 'file')} asked for by URI {was} not fetched"
        if facts.outside:
            body.headline = "no fetch is known that failed in the time the alarm looked at; these failed last"
        code = _most(codes)[0][0]
        body.fix = _FETCH_FIXES[FetchReason(code)] if code in set(FetchReason) else ""
    body.commands = [f"importer fetches {fetch.id}{here.options}" for fetch in failed[:TOP]]
    for fetch in failed[:1]:
        # Without the query, which may be a signature (J3): who asks again needs a new one anyhow.
        if (uri := _uri(fetch.uri)).isprintable():
            body.commands.append(f"importer import {_quoted(uri)}{here.options}")
    body.commands = body.commands or [f"importer fetches{here.options}"]
    return body


def _series(alarm: Alarm, facts: Facts, here: Here) -> _Body:
    body = _Body(total=len(facts.series), cases_of="Series")
    for one in facts.series:
        came = f"last came {utc(one.last_ms)}; usually {one.expected.rhythm}"
        if alarm.kind is Kind.MISSING_FILES:
            said = f"due {utc(one.expected.due_ms)}, {came}"
        else:
            measure = one.expected.measure
            said = f"{one.expected.size:,} {measure} where {one.expected.usual_size:,} are usual, {came}"
        body.cases.append(_Case(one.name, said))
    if facts.series:
        many_of = "1 series" if body.total == 1 else f"{body.total:,} series"
        late = alarm.kind is Kind.MISSING_FILES
        body.headline = f"the next file of {many_of} is late" if late else f"the newest file of {many_of} is thin"
    body.commands = [f"importer expected{here.options}"]
    for one in facts.series[:1]:
        if one.name.isprintable():
            verb = "forget" if alarm.kind is Kind.MISSING_FILES else "mute"
            body.commands.append(f"importer expected {verb} {_quoted(one.name)}{here.options}")
    return body


def _missed(alarm: Alarm, facts: Facts, here: Here) -> _Body:
    body = _Body()
    body.cases = [_Case(line.what, f"found by the sweep {utc(_second(line.time_ms))}") for line in facts.lines]
    known = {case.name for case in body.cases}
    for one in facts.ended:
        if one.execution.source.key not in known:
            late = in_time((one.execution.created_ms - one.execution.source.last_modified_ms) / 1000)
            body.cases.append(
                _Case(one.execution.source.key, f"begun {late} after it was dropped: {one.execution.status.value}")
            )
    body.total = len(body.cases)
    if body.cases:
        body.headline = f"no notification had told of {many(body.total, 'file')}; the sweep has begun to import them"
    bucket = _quoted(here.bucket) if here.bucket else "BUCKET"
    body.commands = [
        f"aws s3api get-bucket-notification-configuration --bucket {bucket}",
        f"importer status{here.options}",
    ]
    return body


def _resumed(alarm: Alarm, facts: Facts, here: Here) -> _Body:
    body = _Body()
    counts: dict[str, int] = {}
    for line in facts.lines:
        counts[line.what] = counts.get(line.what, 0) + 1
    body.cases = [_Case(what, f"sent on {many(count, 'time')}") for what, count in _most(counts)]
    known = {case.name for case in body.cases}
    rest = [one for one in facts.unfinished if one.execution.source.key not in known]
    body.total = len(body.cases)
    _add_unfinished(body, replace(facts, unfinished=rest), here)
    ids = _unique(line.execution_id for line in facts.lines if _is_id(line.execution_id))
    body.commands = _unique([f"importer status {one}{here.options}" for one in ids[:TOP]] + body.commands)[:TOP]
    body.commands += _log_command(replace(alarm, log="part"), here)
    return body


def _late_notices(alarm: Alarm, facts: Facts, here: Here) -> _Body:
    body = _Body(cases_of="Executions")
    _add_lines(body, facts)
    _add_letters(body, facts, here)
    ids = _unique(line.execution_id for line in facts.lines if _is_id(line.execution_id))
    body.commands = [f"importer executions {one}{here.options}" for one in ids[:TOP]]
    body.commands += [*_log_command(alarm, here), f"importer redrive --dead-letters{here.options}"]
    return body


def _stream(alarm: Alarm, facts: Facts, here: Here) -> _Body:
    body = _Body()
    _add_lines(body, facts)
    _add_unfinished(body, facts, here)
    if here.name:
        group = _quoted(f"/aws/kinesisfirehose/{here.name}")
        body.commands.append(
            f"aws logs filter-log-events --log-group-name {group} --query 'events[].message' --output text"
        )
    return body


def _measured_sentence(alarm: Alarm) -> str:
    """What an alarm measured, and what it is held against."""
    name = _clean(alarm.name)
    if not alarm.measured and not alarm.expression:
        return f"the alarm {name} rings"
    in_a_band = alarm.expression.startswith("ANOMALY_DETECTION_BAND") and alarm.measured
    what = "what it computes" if alarm.expression and not in_a_band else str(alarm.measured[0])
    value = f" was {_plain(alarm.values[0])}" if alarm.values else " had no data" if alarm.silent else ""
    limit = f", and it rings at {alarm.comparison} {_plain(alarm.threshold)}" if alarm.threshold is not None else ""
    if in_a_band and alarm.comparison:
        limit = f", {alarm.comparison} what is usual"
    return f"the alarm {name} rings: {_clean(what)}{value}{limit}"


# What mends it where an alarm of somebody's own measures something that all imports use: (namespace, metric).
_MEASURED_FIXES: Final = {
    ("AWS/Lambda", "Duration"): "nothing while files get done: what runs out of time goes on where it stood. Otherwise "
    "see whether S3 or the tables answer slowly, or give the function more MemorySize",
    ("AWS/Lambda", "Throttles"): "raise the account's quota of concurrent executions, or limit what uses it up",
    ("AWS/Lambda", "Errors"): "remove the cause the log names: what failed is tried again by itself",
    ("AWS/DynamoDB", "Throttle"): "nothing while imports get on: what a table refuses is put off and written later. "
    "Otherwise raise the table's limits, which double within half an hour by themselves, or drop less at once",
    ("S3EventImporter", "Throttle"): "nothing while imports get on: what is refused is put off and written later. "
    "Otherwise raise the limits of the tables or the stream, or drop less at once",
    ("AWS/SQS", "ApproximateAge"): "nothing while it gets done. Otherwise find out what keeps the workers from it: "
    "errors, throttles, or a queue that is switched off",
}


def _of_stranger(alarm: Alarm, facts: Facts, here: Here) -> _Body:
    """An alarm of somebody's own: what it measures, and if that is something of ours, what goes on there."""
    body = _function(alarm, facts, here)
    body.headline = _measured_sentence(alarm)
    shown = [one for one in facts.ended if _bad(one.execution)]
    for one in shown:
        _add_case(body, one.execution.source.key, f"{_counts(one.execution)} Execution {one.execution.id}")
    groups = _groups(shown)
    body.causes += [_row_cause(group) for group in groups[: max(TOP - len(body.causes), 0)]]
    sampled = _add_sample(body, shown, groups, here)
    body.fix = body.fix or _rows_fix(shown, groups) or _measured_fix(alarm)
    body.commands += [f"importer executions {one.execution.id}{here.options}" for one in shown[:TOP]] + sampled
    body.commands += [
        f"aws cloudwatch describe-alarm-history --alarm-name {_quoted(_one_line(alarm.name))} --max-items 10",
        f"importer status{here.options}",
    ]
    return body


def _measured_fix(alarm: Alarm) -> str:
    for one in alarm.measured:
        for (namespace, begin), fix in _MEASURED_FIXES.items():
            if one.namespace == namespace and begin in one.name and (alarm.log or namespace != "AWS/Lambda"):
                return fix
    return ""


_BODIES: Final = {
    Kind.FUNCTION_ERRORS: _function,
    Kind.FUNCTION_THROTTLES: _function,
    Kind.PART_ERRORS: _function,
    Kind.PART_THROTTLES: _function,
    Kind.SCHEDULE_ERRORS: _function,
    Kind.PARTS_OLD: _function,
    Kind.FETCH_ERRORS: _function,
    Kind.FAILED_FETCHES: _failed_fetches,
    Kind.EVENTS_OLD: _function,
    Kind.EVENTS_DROPPED: _function,
    Kind.DEAD_LETTERS: _dead_letters,
    Kind.FAILED_EXECUTIONS: _failed_executions,
    Kind.BAD_ROWS: _bad_rows,
    Kind.API_ERRORS: _function,
    Kind.OLDEST_WAITING: _oldest_waiting,
    Kind.MISSED_NOTIFICATIONS: _missed,
    Kind.RESUMED_EXECUTIONS: _resumed,
    Kind.NOTICES_LATE: _late_notices,
    Kind.STREAM_FRESHNESS: _stream,
    Kind.STREAM_THROTTLES: _stream,
    Kind.NOTIFY_ERRORS: _late_notices,
    Kind.ALARMS_NOT_TOLD: _late_notices,
    Kind.MISSING_FILES: _series,
    Kind.THIN_FILES: _series,
}


# ---- A line of a log -----------------------------------------------------------------------------------------------

_ENDS: Final = re.compile(
    r"Task timed out after [\d.]+ seconds|Runtime exited[^\n\"]{0,120}|Status: timeout|signal: killed"
)
_RAISED: Final = re.compile(r"^\[ERROR\] ([^\n]{1,1000})")


def log_line(text: str, time_ms: int, wanted: Iterable[str] = ()) -> LogLine | None:
    """What a line of a log says went wrong; None where nothing did.

    Args:
        wanted: messages that are looked for, whatever their level (`telemetry.Message`).
    """
    ended = _ENDS.search(text)
    try:
        said = orjson.loads(text)
    except orjson.JSONDecodeError:
        said = None
    if not isinstance(said, dict):
        raised = _RAISED.search(text)
        trouble = ended[0] if ended else raised[1] if raised else ""
        return LogLine(time_ms, "", _sentence(trouble)) if trouble else None
    message = _text(said.get("message"))
    if message not in set(wanted) and said.get("level") not in ("ERROR", "CRITICAL"):
        return LogLine(time_ms, "", ended[0]) if ended and "record" in said else None
    if said.get("found") not in (None, "unknown"):
        return None  # the sweep takes up other files as well
    lines = [line for line in _text(said.get("exception")).splitlines() if line.strip()]
    trouble = lines[-1] if lines else _text(said.get("trouble")) or message
    what = _text(said.get("key")) or _text(said.get("what")) or _uri(_text(said.get("uri")))
    execution_id = _text(said.get("execution_id"))
    return LogLine(time_ms, what or execution_id, trouble, execution_id)


# ---- Writing it ----------------------------------------------------------------------------------------------------


def _passed(alarm: Alarm) -> str:
    if alarm.state == NO_DATA:
        return "nothing is measured: there is no data to judge by, which after a deployment is usual"
    left = {
        Kind.FAILED_EXECUTIONS: "; what was refused still lies in imports/",
        Kind.BAD_ROWS: "; what was refused is in errors/",
        Kind.FAILED_FETCHES: "; what was not fetched has to be asked for again",
        Kind.EVENTS_DROPPED: "; what was given up is a dead letter, or found by the sweep",
    }
    return f"all clear: it rings no more{left.get(cast('Kind', alarm.kind), '')}"


def _told(alarm: Alarm, facts: Facts, here: Here, body: _Body) -> Explanation:
    rings = alarm.state == ALARM
    shown = body.cases[:MOST_CASES] if rings else []
    left = max(body.total - len(shown), 0) if rings else 0
    headline = body.headline[:1].upper() + body.headline[1:]
    title = _TITLES.get(cast("Kind", alarm.kind), _one_line(alarm.name))
    lines = [f"{headline}.", ""]
    if shown:
        lines.append(f"{body.cases_of}:")
        lines += [f"  {_name(case.name)}\n      {case.says}".rstrip() for case in shown]
        if left or not facts.whole:
            lines.append(f"  and {left:,} more" if left else "  and perhaps more: not everything was looked at")
        lines.append("")
    if rings and body.causes:
        causes = body.causes[:TOP]
        width = max(len(f"{cause.count:,}") for cause in causes)
        lines += [
            f"Top reasons{body.causes_of}:",
            *(f"  {cause.count:>{width},}  {cause.text}" for cause in causes),
            "",
        ]
    if rings and body.sample:
        lines += [f"One sample, its values masked ({body.sample_of}):", f"  {body.sample}", ""]
    if rings and body.fix:
        lines += [f"Likely fix: {_ended_sentence(body.fix)}", ""]
    if rings and body.commands:
        lines += ["Run:", *(f"  {command}" for command in body.commands), ""]
    if facts.troubles:
        lines += ["Could not be looked up:", *(f"  {_sentence(trouble)}" for trouble in _unique(facts.troubles)), ""]
    lines += _facts_of(alarm)
    text = "\n".join(lines) + "\n"
    document: dict[str, Value] = {
        "alarm": alarm.name,
        "state": alarm.state,
        "kind": None if alarm.kind is None else alarm.kind.value,
        "changed": utc(alarm.changed_ms) if alarm.changed_ms is not None else None,
        "headline": headline,
        "about": [{"name": case.name, "says": case.says} for case in shown],
        "more": left,
        "reasons": [{"reason": cause.text, "count": cause.count} for cause in body.causes[:TOP]] if rings else [],
        "sample": body.sample or None,
        "fix": body.fix or None,
        "commands": list(body.commands) if rings else [],
        "not_looked_up": list(_unique(facts.troubles)),
        "docs": f"docs/operations.md#{alarm.anchor}" if alarm.anchor else None,
    }
    return Explanation(
        _subject(alarm, here, title, shown, body),
        text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 2] + "…\n",
        {"state": _ascii(alarm.state, 100) or "NONE", "alarm": alarm.kind.value if alarm.kind else "other"},
        document,
    )


def _subject(alarm: Alarm, here: Here, title: str, shown: Sequence[_Case], body: _Body) -> str:
    """What it is about first: the end of a subject is not seen on a telephone."""
    word = {ALARM: "ALARM", OK: "OK", NO_DATA: "no data"}.get(alarm.state, alarm.state)
    begin = f"{word}: {title}"
    if shown:
        name = shown[0].name.rstrip("/").rpartition("/")[2] or shown[0].name
        more = f" and {body.total - 1:,} more" if body.total > 1 else ""
        room = LONGEST_SUBJECT - len(begin) - len(more) - 2
        begin = f"{begin}: {_ascii(_one_line(name), max(room, 12))}{more}"
    end = f" ({here.name})" if here.name else ""
    whole = _ascii(begin + end, 2 * LONGEST_SUBJECT)  # SNS takes no other subject, and an alarm's name may be any text
    return whole if len(whole) <= LONGEST_SUBJECT else _ascii(begin, LONGEST_SUBJECT)


def _facts_of(alarm: Alarm) -> list[str]:
    since = f" since {utc(_second(alarm.changed_ms))}" if alarm.changed_ms is not None else ""
    before = f", was {alarm.before}" if alarm.before else ""
    told: list[tuple[str, str]] = [("Alarm", f"{alarm.name} ({alarm.state}{since}{before})")]
    told += [("Measures", str(one)) for one in alarm.measured[:4]]
    if alarm.expression:
        told.append(("Computes", alarm.expression))
    if alarm.rule:
        told.append(("Rule", alarm.rule))
    told += [("Rings", child) for child in alarm.children[:MOST_CASES]]
    if alarm.values or alarm.threshold is not None:
        value = ", ".join(_plain(one) for one in alarm.values[:3]) or "none"
        limit = (
            f"; rings at {alarm.comparison or 'beyond'} {_plain(alarm.threshold)}"
            if alarm.threshold is not None
            else ""
        )
        told.append(("Value", f"{value}{limit}"))
    told += [("Says", alarm.reason), ("Means", alarm.description)]
    if alarm.region or alarm.account:
        told.append(("Where", " ".join(text for text in (alarm.account, alarm.region) if text)))
    if alarm.anchor and not alarm.description:
        told.append(("More", f"docs/operations.md#{alarm.anchor}"))
    return [f"{name + ':':<10}{_one_line(text)}" for name, text in told if text]


def _log_group(alarm: Alarm, here: Here) -> str:
    return f"/aws/lambda/{here.name or 'STACK'}-{alarm.log or 'import'}"


def _log_command(alarm: Alarm, here: Here) -> list[str]:
    if not alarm.log:
        return []
    start = f" --start-time {alarm.starts_ms}" if alarm.starts_ms else ""
    pattern = '\'?ERROR ?"Task timed out" ?"Runtime exited"\''
    return [
        f"aws logs filter-log-events --log-group-name {_quoted(_log_group(alarm, here))} --filter-pattern {pattern}"
        f"{start} --query 'events[].message' --output text"
    ]


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda counted: -counted[1])


def _unique(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))


def _file_reason(code: str) -> str:
    return _FILE_SAYS.get(code, "its receipt says why")


_FILE_SAYS: Final[dict[str, str]] = {
    FileReason.WRONG_KIND: "its name or content is of another kind of file",
    FileReason.WRONG_ENCODING: "it is not UTF-8",
    FileReason.NOT_LINE_DELIMITED: "it is not one JSON object a line",
    FileReason.TRUNCATED: "its compressed stream ends in the middle",
    FileReason.CORRUPT: "its compressed stream is damaged",
    FileReason.EXPANDS_TOO_MUCH: "it expands to too much",
    FileReason.DIALECT_UNKNOWN: "its rows may be of two dialects",
    FileReason.CSV_HEADER_MISSING: "its first line does not name the columns",
    FileReason.TOO_MANY_BAD_ROWS: "it has more bad rows than its import allows",
    FileReason.ATOMIC_REFUSED: "it has bad rows, and is stored as a whole or not at all",
    FileReason.OBJECT_GONE: "it was deleted before it was imported",
    FileReason.OBJECT_ARCHIVED: "it lies in an archive storage class",
    FileReason.REPLACED_WHILE_READING: "a newer upload took its place",
    FileReason.ACCESS_DENIED: "it may not be read",
    FileReason.GAVE_UP: "its workers ended without a word, again and again",
}


def _hint(text: str) -> str:
    """A remedy without what it may quote of a row: numbers of five digits and more, and what follows a sample date.

    Powers of ten stay: they are what a number is to be divided by.
    """
    text = re.sub(r"yyyy-mm-dd[^,;.]*", "yyyy-mm-dd", text)
    text = re.sub(r"write it as \d{4}-\d\d-\d\d", "write it as yyyy-mm-dd", text)
    text = re.sub(r"\S+@\S+", lambda found: masked(found[0]), text)
    text = re.sub(r"\d{5,}", lambda found: found[0] if re.fullmatch("10+", found[0]) else "9" * len(found[0]), text)
    return _one_line(text).rstrip(". ")


def _field(name: str) -> str:
    """A field's path; masked where it looks like a value that somebody wrote for a name: an address, a number, a name
    of a person ("Ann Smith", "Smith")."""
    line = _one_line(name)
    if "@" in line or sum(c.isdigit() for c in line) >= _DIGITS_OF_A_VALUE:
        return masked(line)
    return re.sub(r"[^.\[\]]+", lambda found: found[0] if _is_told(found[0]) else masked(found[0]), line)


def _is_told(name: str) -> bool:
    return name in DIALECT_NAMES or _FIELD_NAME.fullmatch(name) is not None


_DIGITS_OF_A_VALUE: Final = 5
# As programs name things: begins small; or all of it is large (UTM_SOURCE), or a capital follows later (PlanName).
_FIELD_NAME: Final = re.compile(
    r"\d+|(?:\{\w\})?[a-z_$][A-Za-z0-9_$-]*|[A-Z][A-Z0-9_]*|[A-Z][a-z0-9]*[A-Z_][A-Za-z0-9_]*"
)


def _uri(uri: str) -> str:
    """Without what may be a secret: query, fragment, user and password."""
    return re.sub(r"(?<=://)[^/\s@]*@", "", re.sub(r"(://[^\s?#]*)[?#]\S*", r"\1", uri))


def _sentence(text: str) -> str:
    return _one_line(text, 600)


def _ended_sentence(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _clean(text: str) -> str:
    return _one_line(text, 200)


def _name(text: str) -> str:
    return _one_line(text, LONGEST_NAME)


def _one_line(text: str, most: int = 1_100) -> str:
    """With nothing that changes how the rest of it looks."""
    cut = text if len(text) <= most else text[: most - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in cut).strip()


def _ascii(text: str, most: int) -> str:
    plain = _one_line(text).encode("ascii", "backslashreplace").decode()
    return plain if len(plain) <= most else plain[: most - 3] + "..."


def _quoted(text: str) -> str:
    return shlex.quote(text)


def _plain(number: float | None) -> str:
    return "" if number is None else f"{number:,.0f}" if number == int(number) else f"{number:,.4g}"


def _second(time_ms: int) -> int:
    return time_ms // 1000 * 1000


def _is_id(text: str) -> bool:
    return bool(re.fullmatch(r"[A-Za-z0-9_-]{1,128}", text))


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
