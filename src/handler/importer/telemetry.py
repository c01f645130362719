"""Every metric and log line this importer emits, with what it means; and which words may leave it (J8).

Metrics are CloudWatch EMF lines in namespace S3EventImporter, dimension `service`. docs/operations.md has the same
tables; tests/house/test_registers.py holds register, template and page equal.

Rule: a log line, and an exception that leaves the function, holds our own words, names (of files, AWS's calls, AWS's
error codes) and numbers. Other people's exceptions may quote a row (`KeyError: 'ann@example.org'`; DynamoDB repeats a
value it refuses), so of those only type, code and place are told. Given up: their words, for which there is the file
itself. Strangers' names are cut, their control characters escaped.
"""

import functools
import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeVar

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.logging.formatter import LambdaPowertoolsFormatter
from aws_lambda_powertools.metrics import MetricUnit, single_metric

from importer.aws.dispatch import UnknownTask
from importer.costs import micro_dollars
from importer.executions.joining import SegmentsMissing
from importer.executions.ports import Found, Swept, Waiting
from importer.fetches import Fetch, UnknownFetch
from importer.model import Execution, Fenced, Misconfigured, PartState, S3Object, Status, Unavailable
from importer.notification import Dropped, UnknownNotification

if TYPE_CHECKING:
    from importer.preview import Findings
    from importer.rhythm import Looked, Unusual

NAMESPACE: Final = "S3EventImporter"
LONGEST_VALUE: Final = 1_100  # characters of one value in a log line: the longest key S3 allows, and a bit
LONGEST_TRACEBACK: Final = 16_000
# What they say was written by us, about names and numbers.
_OUR_WORDS: Final = (
    Unavailable,
    Fenced,
    Misconfigured,
    SegmentsMissing,
    UnknownNotification,
    UnknownTask,
    UnknownFetch,
)

_LOGGED: Final = "_in_the_log_already"  # attribute of an exception

Handler = TypeVar("Handler", bound=Callable[..., Any])


# ---- The register ------------------------------------------------------------------------------------------------


class Metric(StrEnum):
    """Name of a metric; `UNIT` and `MEANING` have the rest."""

    EXECUTIONS_SUCCEEDED = "ExecutionsSucceeded"
    EXECUTIONS_FAILED = "ExecutionsFailed"
    ROWS_GOOD = "RowsGood"
    ROWS_BAD = "RowsBad"
    ROWS_NOT_STORED = "RowsNotStored"
    EVENTS_WRITTEN = "EventsWritten"
    IMPORT_MILLISECONDS = "ImportMilliseconds"
    WAITING_FILES = "WaitingFiles"
    OLDEST_WAITING_SECONDS = "OldestWaitingSeconds"
    HANDED_ON = "HandedOn"
    MISSED_NOTIFICATIONS = "MissedNotifications"
    RESUMED_EXECUTIONS = "ResumedExecutions"
    ESTIMATED_COST_MICRO_DOLLARS = "EstimatedCostMicroDollars"
    FETCHES_SUCCEEDED = "FetchesSucceeded"
    FETCHES_FAILED = "FetchesFailed"
    FETCHED_BYTES = "FetchedBytes"
    NOTICES_SENT = "NoticesSent"
    NOTICES_NOT_SENT = "NoticesNotSent"
    ALARMS_TOLD = "AlarmsTold"
    ROWS_BAD_BY_REASON = "RowsBadByReason"
    IMPORTED_BYTES = "ImportedBytes"
    DROP_TO_END_MILLISECONDS = "DropToEndMilliseconds"
    UNFINISHED_EXECUTIONS = "UnfinishedExecutions"
    THROTTLED_REQUESTS = "ThrottledRequests"
    FILES_MISSING = "FilesMissing"
    FILES_THIN = "FilesThin"


MEANING: Final[dict[Metric, str]] = {
    Metric.EXECUTIONS_SUCCEEDED: "files imported to their end, counted when the source has been moved",
    Metric.EXECUTIONS_FAILED: "files refused as a whole; the source is still in imports/",
    Metric.ROWS_GOOD: "rows now in the store, of files that ended",
    Metric.ROWS_BAD: "rows now in errors/, of files that ended",
    Metric.ROWS_NOT_STORED: "rows neither stored nor bad: expired, of erased persons, or withheld, of files that ended",
    Metric.EVENTS_WRITTEN: "events written to each enabled sink, of files that ended",
    Metric.IMPORT_MILLISECONDS: "from a file's first delivery to its end",
    Metric.WAITING_FILES: "files that have been in imports/ for five minutes or more and were not refused",
    Metric.OLDEST_WAITING_SECONDS: "for how long the one that waits longest of them has got nowhere; 0 if none does",
    Metric.HANDED_ON: "parts handed on to another invocation because time was up, that of a run included",
    Metric.MISSED_NOTIFICATIONS: "files the sweep found in imports/ that no notification had told of",
    Metric.RESUMED_EXECUTIONS: "unfinished executions the sweep sent on again",
    Metric.ESTIMATED_COST_MICRO_DOLLARS: "millionths of a US$ that files that ended have cost, at least: docs/cost.md",
    Metric.FETCHES_SUCCEEDED: "files fetched from a URI into imports/",
    Metric.FETCHES_FAILED: "files that were asked for by URI and could not be fetched",
    Metric.FETCHED_BYTES: "bytes of the files fetched from URIs",
    Metric.NOTICES_SENT: "events and messages that told of files that ended",
    Metric.NOTICES_NOT_SENT: "tries to tell of a file that ended which did not succeed, or not by every way",
    Metric.ALARMS_TOLD: "alarms, and other messages to the alarm topic, that were explained and passed on to people",
    Metric.ROWS_BAD_BY_REASON: "as RowsBad, with a second dimension: reason, of those in docs/formats.md",
    Metric.IMPORTED_BYTES: "bytes, as they were dropped, of files imported to their end",
    Metric.DROP_TO_END_MILLISECONDS: "from the drop of a file to its end, whatever it waited for",
    Metric.UNFINISHED_EXECUTIONS: "executions that had not ended when the sweep looked, every five minutes: in flight",
    Metric.THROTTLED_REQUESTS: "writes to tables and stream put off as too many at once, of files that ended",
    Metric.FILES_MISSING: "series of files whose next one is late by the rhythm at which they usually come",
    Metric.FILES_THIN: "series of files whose newest has far fewer rows or bytes than usual",
}
UNIT: Final[dict[Metric, MetricUnit]] = dict.fromkeys(Metric, MetricUnit.Count) | {
    Metric.IMPORT_MILLISECONDS: MetricUnit.Milliseconds,
    Metric.OLDEST_WAITING_SECONDS: MetricUnit.Seconds,
    Metric.FETCHED_BYTES: MetricUnit.Bytes,
    Metric.IMPORTED_BYTES: MetricUnit.Bytes,
    Metric.DROP_TO_END_MILLISECONDS: MetricUnit.Milliseconds,
}


class Message(StrEnum):
    """What a log line is about; `SAYS` has when it is written."""

    DELIVERY = "delivery"
    WAITED = "another worker is at it"
    CLOSED = "closed"
    DELIVER_AGAIN = "deliver again"
    FAILED = "failed"
    HANDED_ON = "handed on"
    SWEPT = "swept"
    SWEPT_UNFINISHED = "swept unfinished"
    SENT_ON = "sent on"
    FOUND = "found"
    SWEEP_FAILED = "left for the next sweep"
    NOT_SERVED = "request not served"
    FETCHED = "fetched"
    FETCH_HANDED_ON = "fetch handed on"
    LEFT_TO_SCHEDULE = "left to the schedule"
    RAN = "ran"
    RUN_FAILED = "left for the next run"
    PREVIEWED = "previewed"
    TOLD = "told"
    NOT_TOLD = "not told"
    EXPLAINED = "explained"
    NOT_EXPLAINED = "not explained"
    LOOKED = "looked for expected files"
    MISSING = "missing"
    THIN = "thin"


class LogKey(StrEnum):
    """Keys of a log line beside Powertools' own; `HOLDS` has what each holds."""

    BUCKET = "bucket"
    KEY = "key"
    VERSION_ID = "version_id"
    EXECUTION_ID = "execution_id"
    STATUS = "status"
    PHASE = "phase"
    ERROR_CODE = "error_code"
    GOOD = "good"
    BAD = "bad"
    EXPIRED = "expired"
    ERASED = "erased"
    WITHHELD = "withheld"
    RECEIPT = "receipt"
    RENEWED = "renewed"
    WAITING_FILES = "waiting_files"
    OLDEST_SECONDS = "oldest_seconds"
    COMPLETE = "complete"
    PART = "part"
    NEXT_OFFSET = "next_offset"
    HOPS = "hops"
    FOUND = "found"
    UNFINISHED = "unfinished"
    SENT_ON = "sent_on"
    TROUBLE = "trouble"
    WHAT = "what"
    FETCH_ID = "fetch_id"
    URI = "uri"
    FETCHED_BYTES = "fetched_bytes"
    IMPORT_ID = "import_id"
    ENDED = "ended"
    WAITS_FOR_NEXT = "waits_for_next"
    RESULT = "result"
    WAY = "way"
    KEPT = "kept"
    ALARM = "alarm"
    KIND = "kind"
    LEFT_OUT = "left_out"
    MISSING = "missing"
    THIN = "thin"
    SERIES = "series"
    RHYTHM = "rhythm"
    LAST_CAME = "last_came"
    DUE = "due"
    SIZE = "size"
    USUAL_SIZE = "usual_size"
    MEASURE = "measure"


_FILE: Final = (LogKey.BUCKET, LogKey.KEY)
_FATES: Final = (LogKey.GOOD, LogKey.BAD, LogKey.EXPIRED, LogKey.ERASED, LogKey.WITHHELD)
_EXECUTION: Final = (*_FILE, LogKey.EXECUTION_ID, LogKey.STATUS, LogKey.PHASE)

SAYS: Final[dict[Message, tuple[str, tuple[LogKey, ...]]]] = {
    Message.DELIVERY: ("a notification's object has its execution", (*_EXECUTION, LogKey.VERSION_ID)),
    Message.WAITED: ("this delivery returns and leaves the work to another", (*_EXECUTION, LogKey.RENEWED)),
    Message.CLOSED: (
        "an execution has ended",
        (*_EXECUTION, LogKey.ERROR_CODE, *_FATES, LogKey.RECEIPT),
    ),
    Message.DELIVER_AGAIN: ("level ERROR, with the exception: this try of a file failed, Lambda makes another", _FILE),
    Message.FAILED: ("level ERROR, with the exception: the invocation failed, not at a file", ()),
    Message.SWEPT: (
        "the sweep has looked through imports/; the file named is the oldest that waits",
        (*_FILE, LogKey.VERSION_ID, LogKey.WAITING_FILES, LogKey.OLDEST_SECONDS, LogKey.COMPLETE),
    ),
    Message.HANDED_ON: (
        "the time of this invocation was up, and the rest is a message in the part queue, or the next run's",
        (*_EXECUTION, LogKey.PART, LogKey.NEXT_OFFSET, LogKey.HOPS),
    ),
    Message.SWEPT_UNFINISHED: (
        "the sweep has looked at the executions that have not ended",
        (LogKey.UNFINISHED, LogKey.SENT_ON, LogKey.COMPLETE),
    ),
    Message.SENT_ON: ("the sweep found an execution that nobody got on with, and sent its tasks again", _EXECUTION),
    Message.FOUND: ("the sweep took up a file that waited in imports/", (*_FILE, LogKey.VERSION_ID, LogKey.FOUND)),
    Message.SWEEP_FAILED: (
        "level WARNING: the sweep could not take up one execution or file, and went on with the next",
        (LogKey.WHAT, LogKey.TROUBLE),
    ),
    Message.NOT_SERVED: (
        "level ERROR, with the exception: the HTTP door answered a request 5xx; or met a token in SSM that is none",
        (),
    ),
    Message.FETCHED: (
        "an import by URI has ended: its file is in imports/, or it FAILED",
        (
            LogKey.FETCH_ID,
            LogKey.URI,
            LogKey.KEY,
            LogKey.STATUS,
            LogKey.ERROR_CODE,
            LogKey.FETCHED_BYTES,
            LogKey.EXECUTION_ID,
        ),
    ),
    Message.FETCH_HANDED_ON: (
        "another invocation goes on with an import by URI, now or later",
        (LogKey.FETCH_ID, LogKey.URI, LogKey.FETCHED_BYTES, LogKey.TROUBLE),
    ),
    Message.LEFT_TO_SCHEDULE: (
        "a file was dropped that belongs to the series of a recurring import: its run imports it",
        (*_FILE, LogKey.VERSION_ID),
    ),
    Message.RAN: (
        "a run of a recurring import has ended",
        (LogKey.IMPORT_ID, LogKey.ENDED, LogKey.WAITS_FOR_NEXT),
    ),
    Message.RUN_FAILED: (
        "level WARNING: a file may not be read, or a recurring import's definition cannot be used; the others went on",
        (LogKey.WHAT, LogKey.TROUBLE),
    ),
    Message.PREVIEWED: (
        "what an import would do with a file was written down",
        (*_FILE, LogKey.VERSION_ID, LogKey.ERROR_CODE, LogKey.GOOD, LogKey.BAD, LogKey.RESULT, LogKey.TROUBLE),
    ),
    Message.TOLD: ("a notice of an execution that has ended was sent", (*_EXECUTION, LogKey.WAY)),
    Message.NOT_TOLD: (
        "level WARNING: a notice was not sent, or not by every way",
        (LogKey.EXECUTION_ID, LogKey.TROUBLE, LogKey.KEPT),
    ),
    Message.EXPLAINED: (
        "an alarm, or what else was published to the alarm topic, was passed on to people",
        (LogKey.ALARM, LogKey.STATUS, LogKey.KIND, LogKey.LEFT_OUT),
    ),
    Message.NOT_EXPLAINED: (
        "level ERROR, with the exception: an alarm could not be explained, or not be passed on",
        (LogKey.ALARM,),
    ),
    Message.LOOKED: (
        "the sweep has looked whether files come at their usual rhythm",
        (LogKey.MISSING, LogKey.THIN, LogKey.COMPLETE),
    ),
    Message.MISSING: (
        "level WARNING: a file of a series is late; again every 15 minutes, until it comes",
        (LogKey.SERIES, LogKey.RHYTHM, LogKey.LAST_CAME, LogKey.DUE),
    ),
    Message.THIN: (
        "level WARNING: the newest file of a series is small; again every 15 minutes, until the next comes",
        (LogKey.SERIES, LogKey.RHYTHM, LogKey.LAST_CAME, LogKey.SIZE, LogKey.USUAL_SIZE, LogKey.MEASURE),
    ),
}
HOLDS: Final[dict[LogKey, str]] = {
    LogKey.BUCKET: "the bucket of the file",
    LogKey.KEY: "the file's key, control characters escaped",
    LogKey.VERSION_ID: "the version of the file; none without versioning",
    LogKey.EXECUTION_ID: "id of the execution",
    LogKey.STATUS: "its status; of an alarm its state",
    LogKey.PHASE: "its phase",
    LogKey.ERROR_CODE: "why it FAILED: a file reason",
    LogKey.GOOD: "rows in the store",
    LogKey.BAD: "rows in errors/",
    LogKey.EXPIRED: "rows whose own time to live was over",
    LogKey.ERASED: "rows of persons erased after the upload",
    LogKey.WITHHELD: "good rows of a file that is stored as a whole or not at all, and was not",
    LogKey.RECEIPT: "key of its receipt",
    LogKey.RENEWED: "whether the other worker was seen to be alive",
    LogKey.WAITING_FILES: "as the metric WaitingFiles",
    LogKey.OLDEST_SECONDS: "as the metric OldestWaitingSeconds",
    LogKey.COMPLETE: "false: there was too much to look at each",
    LogKey.PART: "first byte of the part; null while an execution is being settled",
    LogKey.NEXT_OFFSET: "the next byte to read",
    LogKey.HOPS: "how often the part was handed on",
    LogKey.FOUND: "unknown: no notification had told of the file; to_move: only the move was due",
    LogKey.UNFINISHED: "how many executions had not ended",
    LogKey.SENT_ON: "as the metric ResumedExecutions",
    LogKey.TROUBLE: "what was answered, or denied",
    LogKey.WHAT: "id of the execution or import, or URI of the file",
    LogKey.FETCH_ID: "id of the import by URI",
    LogKey.URI: "where its file comes from, without the query",
    LogKey.FETCHED_BYTES: "how many bytes of it have come",
    LogKey.IMPORT_ID: "id of the import definition",
    LogKey.ENDED: "how many files the run brought to their end",
    LogKey.WAITS_FOR_NEXT: "key of the file at which it was when its time was up; null if none",
    LogKey.RESULT: "key of the page of a preview",
    LogKey.WAY: "event (to the bus) or message (to the topic)",
    LogKey.KEPT: "true: it is among the dead letters now; false: it is tried again",
    LogKey.ALARM: "name of the alarm",
    LogKey.KIND: "its section in docs/operations.md; other, or none, if it is none of the template's",
    LogKey.LEFT_OUT: "how many things could not be looked up; the message says which",
    LogKey.MISSING: "as the metric FilesMissing",
    LogKey.THIN: "as the metric FilesThin",
    LogKey.SERIES: "folder and name below imports/, with * for what varies: docs/expected-files.md",
    LogKey.RHYTHM: "how its files usually come, in words",
    LogKey.LAST_CAME: "when its newest file was dropped, UTC",
    LogKey.DUE: "when the next was due, UTC",
    LogKey.SIZE: "of the newest, in rows or bytes",
    LogKey.USUAL_SIZE: "of those before it: the median",
    LogKey.MEASURE: "rows or bytes",
}


# ---- Writing it --------------------------------------------------------------------------------------------------


class PowertoolsTelemetry:
    """See `executions.ports.Telemetry`."""

    def __init__(self, logger: Logger, metrics: Metrics) -> None:
        self._log = logger
        self._metrics = metrics

    def delivered(self, dropped: Dropped, execution: Execution) -> None:
        self._log.info(Message.DELIVERY, extra=_of(execution) | {LogKey.VERSION_ID: dropped.version_id})

    def waited(self, execution: Execution, renewed: bool) -> None:
        self._log.info(Message.WAITED, extra=_of(execution) | {LogKey.RENEWED: renewed})

    def handed_on(self, execution: Execution, part: PartState | None) -> None:
        self._count(Metric.HANDED_ON, 1)
        where = (None, None, None) if part is None else (part.start, part.next_offset, part.hops)
        said = zip((LogKey.PART, LogKey.NEXT_OFFSET, LogKey.HOPS), where, strict=True)
        self._log.info(Message.HANDED_ON, extra=_of(execution) | dict(said))

    def closed(self, execution: Execution, now_ms: int, refused: Mapping[str, int]) -> None:
        outcome = execution.outcome
        if execution.replayed is None:  # a replay's file was dropped whenever
            self._count(Metric.DROP_TO_END_MILLISECONDS, max(now_ms - execution.source.last_modified_ms, 0))
        if execution.status is Status.SUCCEEDED:
            self._count(Metric.EXECUTIONS_SUCCEEDED, 1)
            self._count(Metric.IMPORTED_BYTES, execution.source.size_bytes)
        elif execution.status is Status.FAILED:
            self._count(Metric.EXECUTIONS_FAILED, 1)
        said = _of(execution)
        if execution.error is not None:
            said[LogKey.ERROR_CODE] = execution.error.code
        if outcome is not None:
            sums = outcome.sums
            self._count(Metric.ROWS_GOOD, sums.good)
            self._count(Metric.ROWS_BAD, sums.bad)
            self._count(Metric.ROWS_NOT_STORED, sums.rows - sums.good - sums.bad)
            self._count(Metric.EVENTS_WRITTEN, sums.events)
            self._count(Metric.IMPORT_MILLISECONDS, outcome.end_date - execution.created_ms)
            self._count(Metric.ESTIMATED_COST_MICRO_DOLLARS, micro_dollars(outcome.spent))
            self._count(Metric.THROTTLED_REQUESTS, outcome.spent.throttled_requests)
            said |= {LogKey.GOOD: sums.good, LogKey.BAD: sums.bad, LogKey.RECEIPT: outcome.destination.receipt}
            said |= {LogKey.EXPIRED: sums.expired, LogKey.ERASED: sums.erased, LogKey.WITHHELD: sums.withheld}
        for reason, rows in refused.items():
            self._count_reason(reason, rows)
        self._log.info(Message.CLOSED, extra=said)

    def swept(self, bucket: str, waiting: Waiting) -> None:
        self._count(Metric.WAITING_FILES, waiting.files)
        self._count(Metric.OLDEST_WAITING_SECONDS, waiting.oldest_seconds)
        oldest = waiting.oldest
        self._log.info(
            Message.SWEPT,
            extra={
                LogKey.BUCKET: bucket,
                LogKey.KEY: None if oldest is None else oldest.key,
                LogKey.VERSION_ID: None if oldest is None else oldest.version_id,
                LogKey.WAITING_FILES: waiting.files,
                LogKey.OLDEST_SECONDS: waiting.oldest_seconds,
                LogKey.COMPLETE: waiting.complete,
            },
        )

    def swept_unfinished(self, swept: Swept) -> None:
        self._count(Metric.UNFINISHED_EXECUTIONS, swept.unfinished)
        self._log.info(
            Message.SWEPT_UNFINISHED,
            extra={
                LogKey.UNFINISHED: swept.unfinished,
                LogKey.SENT_ON: swept.sent_on,
                LogKey.COMPLETE: swept.complete and not swept.failed,
            },
        )

    def sent_on(self, execution: Execution) -> None:
        self._count(Metric.RESUMED_EXECUTIONS, 1)
        self._log.info(Message.SENT_ON, extra=_of(execution))

    def found(self, file: S3Object, found: Found) -> None:
        if found is Found.UNKNOWN:
            self._count(Metric.MISSED_NOTIFICATIONS, 1)
        self._log.info(
            Message.FOUND,
            extra={
                LogKey.BUCKET: file.bucket,
                LogKey.KEY: file.key,
                LogKey.VERSION_ID: file.version_id,
                LogKey.FOUND: found.value,
            },
        )

    def sweep_failed(self, what: str, trouble: Exception) -> None:
        self._log.warning(Message.SWEEP_FAILED, extra={LogKey.WHAT: what, LogKey.TROUBLE: _told(trouble)})

    def fetched(self, fetch: Fetch) -> None:
        succeeded = fetch.status is Status.SUCCEEDED
        self._count(Metric.FETCHES_SUCCEEDED if succeeded else Metric.FETCHES_FAILED, 1)
        if succeeded:
            self._count(Metric.FETCHED_BYTES, fetch.next_offset)
        said: dict[str, str | int] = {
            LogKey.KEY: fetch.key,
            LogKey.STATUS: fetch.status.value,
            LogKey.EXECUTION_ID: fetch.execution_id,
        }
        if fetch.error_code:
            said[LogKey.ERROR_CODE] = fetch.error_code
        self._log.info(Message.FETCHED, extra=_of_fetch(fetch) | said)

    def fetch_handed_on(self, fetch: Fetch, why: str) -> None:
        self._log.info(Message.FETCH_HANDED_ON, extra=_of_fetch(fetch) | {LogKey.TROUBLE: why})

    def left_to_schedule(self, dropped: Dropped) -> None:
        self._log.info(
            Message.LEFT_TO_SCHEDULE,
            extra={
                LogKey.BUCKET: dropped.bucket,
                LogKey.KEY: dropped.key,
                LogKey.VERSION_ID: dropped.version_id,
            },
        )

    def ran(self, import_id: str, ended: int, waiting: str | None) -> None:
        self._log.info(
            Message.RAN,
            extra={LogKey.IMPORT_ID: import_id, LogKey.ENDED: ended, LogKey.WAITS_FOR_NEXT: waiting},
        )

    def run_failed(self, what: str, trouble: Exception) -> None:
        self._log.warning(Message.RUN_FAILED, extra={LogKey.WHAT: what, LogKey.TROUBLE: _told(trouble)})

    def told(self, execution: Execution, way: str) -> None:
        self._count(Metric.NOTICES_SENT, 1)
        self._log.info(Message.TOLD, extra=_of(execution) | {LogKey.WAY: way})

    def not_told(self, execution_id: str, trouble: Exception, kept: bool) -> None:
        self._count(Metric.NOTICES_NOT_SENT, 1)
        self._log.warning(
            Message.NOT_TOLD,
            extra={LogKey.EXECUTION_ID: execution_id, LogKey.TROUBLE: _told(trouble), LogKey.KEPT: kept},
        )

    def explained(self, alarm: str, state: str, kind: str, left_out: int) -> None:
        self._count(Metric.ALARMS_TOLD, 1)
        said = zip((LogKey.ALARM, LogKey.STATUS, LogKey.KIND), (alarm, state, kind), strict=True)
        self._log.info(Message.EXPLAINED, extra=dict(said) | {LogKey.LEFT_OUT: left_out})

    def not_explained(self, alarm: str, trouble: Exception) -> None:
        self._log.error(Message.NOT_EXPLAINED, extra={LogKey.ALARM: alarm}, exc_info=trouble)

    def looked(self, looked: "Looked") -> None:
        if looked.complete:
            self._count(Metric.FILES_MISSING, looked.missing)
            self._count(Metric.FILES_THIN, looked.thin)
        self._log.info(
            Message.LOOKED,
            extra={LogKey.MISSING: looked.missing, LogKey.THIN: looked.thin, LogKey.COMPLETE: looked.complete},
        )
        for one in looked.late_ones:
            self._log.warning(Message.MISSING, extra=_of_series(one) | {LogKey.DUE: _utc(one.expected.due_ms)})
        for one in looked.thin_ones:
            said = {LogKey.SIZE: one.expected.size, LogKey.USUAL_SIZE: one.expected.usual_size}
            self._log.warning(Message.THIN, extra=_of_series(one) | said | {LogKey.MEASURE: one.expected.measure})

    def _count(self, metric: Metric, value: float) -> None:
        self._metrics.add_metric(metric, UNIT[metric], value)

    def _count_reason(self, reason: str, rows: int) -> None:
        """A line of its own, since the dimensions of a line are those of all its metrics. The reasons are a closed list
        (`bad_rows.Reason`), so there are never more of these metrics than that: CloudWatch bills each.
        """
        metric = Metric.ROWS_BAD_BY_REASON
        with single_metric(metric, UNIT[metric], rows, namespace=NAMESPACE) as line:
            line.add_dimension("service", self._metrics.service or "")
            line.add_dimension("reason", reason)


def _of_series(one: "Unusual") -> dict[str, str | int]:
    return {LogKey.SERIES: one.name, LogKey.RHYTHM: one.expected.rhythm, LogKey.LAST_CAME: _utc(one.last_ms)}


def _utc(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="seconds")


def failed(logger: Logger, dropped: Dropped) -> None:
    """Log the exception being handled: this try of one object failed, and Lambda is to deliver again."""
    logger.exception(Message.DELIVER_AGAIN, extra={LogKey.BUCKET: dropped.bucket, LogKey.KEY: dropped.key})
    setattr(sys.exception(), _LOGGED, True)


def not_served(logger: Logger, trouble: Exception) -> None:
    """Log what ends an HTTP request with 5xx."""
    logger.error(Message.NOT_SERVED, exc_info=trouble)


def previewed(logger: Logger, source: S3Object, found: "Findings", result_key: str) -> None:
    """Log what became of one preview; `trouble` is why its names were compared with nothing."""
    logger.info(
        Message.PREVIEWED,
        extra={
            LogKey.BUCKET: source.bucket,
            LogKey.KEY: source.key,
            LogKey.VERSION_ID: source.version_id,
            LogKey.ERROR_CODE: found.problem.code if found.problem else None,
            LogKey.GOOD: found.tally.good,
            LogKey.BAD: found.tally.bad,
            LogKey.RESULT: f"{result_key}.html",
            LogKey.TROUBLE: found.not_compared or None,
        },
    )


def _of(execution: Execution) -> dict[str, str | int | None]:
    source = execution.source
    return {
        LogKey.BUCKET: source.bucket,
        LogKey.KEY: source.key,
        LogKey.EXECUTION_ID: execution.id,
        LogKey.STATUS: execution.status.value,
        LogKey.PHASE: execution.phase.value,
    }


def _of_fetch(fetch: Fetch) -> dict[str, str | int]:
    return {LogKey.FETCH_ID: fetch.id, LogKey.URI: fetch.uri, LogKey.FETCHED_BYTES: fetch.next_offset}


# ---- What may be said --------------------------------------------------------------------------------------------


class Crashed(Exception):
    """A bug, told by its type and place: its own words may hold a row, and Lambda would log them."""


def make_logger() -> Logger:
    """The one logger of a function: JSON lines that hold nothing of a row at any level."""
    for library in ("boto3", "botocore", "urllib3"):  # at DEBUG, by whatever door, they log requests and answers whole
        logging.getLogger(library).setLevel(logging.WARNING)
    logger = Logger(logger_formatter=_DiscreetFormatter(serialize_stacktrace=False))
    # A handler on the root logger, whoever put it there, would write each line again: exceptions in their own words.
    logging.getLogger(logger.name).propagate = False
    return logger


def discreet(logger: Logger) -> Callable[[Handler], Handler]:
    """For a Lambda handler: lets no exception out whose words may hold what a row holds.

    Lambda puts what a handler raises into the log and into the dead letter.
    """

    def around(handler: Handler) -> Handler:
        @functools.wraps(handler)
        def discreetly(event: Any, context: Any) -> Any:
            try:
                return handler(event, context)
            except Exception as error:  # raised again, in words that hold nothing of a row
                if not hasattr(error, _LOGGED):
                    logger.exception(Message.FAILED)
                raise _reworded(error).with_traceback(error.__traceback__) from None

        return discreetly  # type: ignore[return-value]

    return around


class _DiscreetFormatter(LambdaPowertoolsFormatter):
    """JSON lines with the values cut and escaped, and exceptions told by `_told`."""

    def formatException(self, exc_info: Any) -> str:
        told: list[str] = []
        error: BaseException | None = exc_info[1]
        while error is not None:
            frames = "".join(traceback.format_list(traceback.extract_tb(error.__traceback__)))
            told.insert(0, f"Traceback (most recent call last):\n{frames}{_told(error)}")
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\n\nwhich led to\n\n".join(told)[-LONGEST_TRACEBACK:]

    def serialize(self, log: Any) -> str:
        log.pop("exception_notes", None)  # anybody's words
        return super().serialize(
            {
                name: _printable(value) if isinstance(value, str) and name != "exception" else value
                for name, value in log.items()
            }
        )


def _told(error: BaseException) -> str:
    """Type and place of an exception; its words if they are ours; AWS's code and call if it is an answer of AWS."""
    kind = type(error).__name__
    if isinstance(error, _OUR_WORDS):
        return f"{kind}: {_printable(str(error))}"
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):  # botocore's ClientError; the message of an answer may quote what was sent
        code = answer.get("Error", {}).get("Code", "")
        return f"{kind}: {_printable(str(code))} from {getattr(error, 'operation_name', 'AWS')} (its words withheld)"
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno} in {frames[-1].name}" if frames else ""
    return f"{kind}{place} (its words withheld)"


def _reworded(error: Exception) -> Exception:
    """An exception of the same kind, its words cut and escaped, if they are ours; else Crashed. Without its cause."""
    kind = type(error)
    return kind.__new__(kind, _printable(str(error))) if isinstance(error, _OUR_WORDS) else Crashed(_told(error))


def _printable(text: str) -> str:
    cut = text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1] + "…"
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in cut)
