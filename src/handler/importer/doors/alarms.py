"""What an alarm of CloudWatch is about (pure): read from what SNS delivers, and classified.

Rule: an alarm of the template names its own section of docs/operations.md in its description; one without a description
is known by its name (CloudFormation puts the logical id into it), or by the metric it watches. What is none of ours is
still read: what it measures, by which threshold, and why CloudWatch says it rings. Nothing in a payload is trusted to
be of the type it should be: what cannot be read must come through as it is, and never be raised for ever.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

import orjson

ALARM: Final = "ALARM"
OK: Final = "OK"
NO_DATA: Final = "INSUFFICIENT_DATA"
UNKNOWN_WINDOW_MS: Final = 3_600_000  # of an alarm that does not say its period: a composite one


class Kind(StrEnum):
    """Which alarm: the section of docs/operations.md that it names."""

    FUNCTION_ERRORS = "function-errors"
    FUNCTION_THROTTLES = "function-throttles"
    PART_ERRORS = "part-errors"
    PART_THROTTLES = "part-throttles"
    SCHEDULE_ERRORS = "schedule-errors"
    PARTS_OLD = "parts-old"
    FETCH_ERRORS = "fetch-errors"
    FAILED_FETCHES = "failed-fetches"
    EVENTS_OLD = "events-old"
    EVENTS_DROPPED = "events-dropped"
    DEAD_LETTERS = "dead-letters"
    FAILED_EXECUTIONS = "failed-executions"
    BAD_ROWS = "bad-rows"
    API_ERRORS = "api-errors"
    OLDEST_WAITING = "oldest-waiting"
    MISSED_NOTIFICATIONS = "missed-notifications"
    RESUMED_EXECUTIONS = "resumed-executions"
    NOTICES_LATE = "notices-late"
    STREAM_FRESHNESS = "stream-freshness"
    STREAM_THROTTLES = "stream-throttles"
    NOTIFY_ERRORS = "notify-errors"
    ALARMS_NOT_TOLD = "alarms-not-told"
    MISSING_FILES = "missing-files"
    THIN_FILES = "thin-files"


# Function of the template → what its log group ends with.
LOGS: Final = {
    "ImportFunction": "import",
    "PartFunction": "part",
    "FetchFunction": "fetch",
    "ScheduleFunction": "schedule",
    "SweepFunction": "sweep",
    "NotifyFunction": "notify",
    "PreviewFunction": "preview",
    "ApiFunction": "api",
}
_BY_METRIC: Final = {
    "ExecutionsFailed": Kind.FAILED_EXECUTIONS,
    "RowsBad": Kind.BAD_ROWS,
    "RowsBadByReason": Kind.BAD_ROWS,
    "FetchesFailed": Kind.FAILED_FETCHES,
    "OldestWaitingSeconds": Kind.OLDEST_WAITING,
    "WaitingFiles": Kind.OLDEST_WAITING,
    "MissedNotifications": Kind.MISSED_NOTIFICATIONS,
    "ResumedExecutions": Kind.RESUMED_EXECUTIONS,
    "FilesMissing": Kind.MISSING_FILES,
    "FilesThin": Kind.THIN_FILES,
    "NoticesNotSent": Kind.NOTICES_LATE,
    "IteratorAge": Kind.NOTICES_LATE,
    "AsyncEventAge": Kind.EVENTS_OLD,
    "5xx": Kind.API_ERRORS,
    "DeliveryToS3.DataFreshness": Kind.STREAM_FRESHNESS,
    "ThrottledRecords": Kind.STREAM_THROTTLES,
}
_ERRORS: Final = {
    "import": Kind.FUNCTION_ERRORS,
    "part": Kind.PART_ERRORS,
    "fetch": Kind.FETCH_ERRORS,
    "schedule": Kind.SCHEDULE_ERRORS,
    "api": Kind.API_ERRORS,
    "notify": Kind.NOTIFY_ERRORS,
}
_ANCHOR = re.compile(r"docs/operations\.md#([a-z0-9-]+)")
_COMPARED: Final = {
    "GreaterThanThreshold": "more than",
    "GreaterThanOrEqualToThreshold": "at least",
    "LessThanThreshold": "less than",
    "LessThanOrEqualToThreshold": "at most",
    "GreaterThanUpperThreshold": "above the band of",
    "LessThanLowerThreshold": "below the band of",
    "LessThanLowerOrGreaterThanUpperThreshold": "outside the band of",
}
_DATAPOINTS = re.compile(r"datapoints? \[([^\]]*)\]")
_YEAR_9000_MS: Final = 221_845_392_000_000
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?= \()|^-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?$")
_MISSING = re.compile(r"no datapoints were received|treated as \[Breaching\]")


@dataclass(frozen=True, slots=True)
class Measured:
    """A metric an alarm looks at."""

    namespace: str
    name: str
    statistic: str
    period_s: int
    dimensions: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        about = ", ".join(f"{name} {value}" for name, value in self.dimensions)
        every = f" over {_duration(self.period_s)}" if self.period_s else ""
        return f"{self.statistic or 'value'} of {self.name} ({self.namespace}{': ' if about else ''}{about}){every}"


@dataclass(frozen=True, slots=True)
class Alarm:
    """One change of an alarm's state.

    Attributes:
        kind: None where it is none of the template's.
        log: what the log group of the function it is about ends with; "" if it is about none.
        changed_ms: when; None where the message does not say.
        window_ms: how much time before that the alarm looked at.
        values: what was measured, newest first, as far as CloudWatch says.
        silent: it rings because nothing was measured.
        expression, rule: of metric math, of a composite alarm.
        children: names of the alarms that made a composite one ring.
    """

    name: str
    state: str
    before: str
    reason: str
    description: str
    kind: Kind | None
    log: str
    changed_ms: int | None
    window_ms: int
    measured: tuple[Measured, ...] = ()
    comparison: str = ""
    threshold: float | None = None
    values: tuple[float, ...] = ()
    silent: bool = False
    expression: str = ""
    rule: str = ""
    children: tuple[str, ...] = ()
    region: str = ""
    account: str = ""

    @property
    def starts_ms(self) -> int:
        """When what it looked at begins; 0 where nobody knows."""
        return 0 if self.changed_ms is None else max(self.changed_ms - self.window_ms, 0)

    @property
    def namespaces(self) -> frozenset[str]:
        return frozenset(one.namespace for one in self.measured)

    @property
    def queues(self) -> tuple[str, ...]:
        return tuple(value for one in self.measured for name, value in one.dimensions if name == "QueueName")

    @property
    def anchor(self) -> str:
        """The section of docs/operations.md it names, whether we know it or not."""
        found = _ANCHOR.search(self.description)
        return found[1] if found else self.kind.value if self.kind else ""


def alarm_of(message: object) -> Alarm | None:
    """The alarm a message of SNS is about; None where it is no alarm.

    Args:
        message: the text SNS delivers, or the document in it; what EventBridge and Lambda are told will do as well.
    """
    document = message
    if isinstance(message, str | bytes):
        try:
            document = orjson.loads(message)
        except orjson.JSONDecodeError:
            return None
    if not isinstance(document, dict):
        return None
    for place in ("detail", "alarmData"):  # EventBridge's; and what an alarm invokes a function with
        if isinstance(told := document.get(place), dict) and "alarmName" in told:
            document = _of_event(document, told)
            break
    if not _text(document.get("AlarmName")) or not _text(document.get("NewStateValue")):
        return None
    trigger = document.get("Trigger")
    return _alarm(document, trigger if isinstance(trigger, dict) else {})


def alarm_described(entry: Mapping[str, Any]) -> Alarm:
    """An alarm as DescribeAlarms tells of it."""
    changed = entry.get("StateTransitionedTimestamp") or entry.get("StateUpdatedTimestamp")
    document = {
        "AlarmName": entry.get("AlarmName"),
        "AlarmDescription": entry.get("AlarmDescription"),
        "AlarmArn": entry.get("AlarmArn"),
        "AlarmRule": entry.get("AlarmRule"),
        "NewStateValue": entry.get("StateValue"),
        "NewStateReason": entry.get("StateReason"),
        "StateChangeTime": changed.isoformat() if isinstance(changed, datetime) else changed,
    }
    return _alarm(document, entry)


def _of_event(event: Mapping[str, Any], detail: Mapping[str, Any]) -> dict[str, Any]:
    """An event about an alarm in the words of what SNS delivers."""
    state, before, configuration = (_members(detail.get(name)) for name in ("state", "previousState", "configuration"))
    metrics: list[dict[str, Any]] = []
    for entry in _list(configuration.get("metrics")):
        query = _members(entry)
        stat = _members(query.get("metricStat"))
        metric = _members(stat.get("metric"))
        dimensions = [{"name": n, "value": v} for n, v in _members(metric.get("dimensions")).items()]
        told = {"MetricName": metric.get("name"), "Namespace": metric.get("namespace"), "Dimensions": dimensions}
        metrics.append(
            {
                "Expression": query.get("expression"),
                "MetricStat": {"Metric": told, "Period": stat.get("period"), "Stat": stat.get("stat")}
                if stat
                else None,
            }
        )
    return {
        "AlarmName": detail.get("alarmName"),
        "AlarmDescription": configuration.get("description"),
        "AlarmRule": configuration.get("alarmRule"),
        "NewStateValue": state.get("value"),
        "NewStateReason": state.get("reason"),
        "OldStateValue": before.get("value"),
        "StateChangeTime": state.get("timestamp") or event.get("time"),
        "AWSAccountId": event.get("account") or event.get("accountId"),
        "Region": event.get("region"),
        "Trigger": {"Metrics": metrics},
    }


def _alarm(document: Mapping[str, Any], trigger: Mapping[str, Any]) -> Alarm:
    measured = tuple(_measured(trigger))
    name, description = _text(document.get("AlarmName")), _text(document.get("AlarmDescription"))
    reason = _text(document.get("NewStateReason"))
    children = tuple(_children(document))
    log = _log(name, measured)
    kind = _kind(description, name, measured, log)
    for child in children if kind is None else ():
        kind = _kind("", child, (), _log(child, ()))
        if kind is not None:
            log = log or _log(child, ())
            break
    arn = _text(document.get("AlarmArn")).split(":")
    periods = _number(trigger.get("EvaluationPeriods")) or 1
    seconds = max((one.period_s for one in measured), default=0) * periods
    return Alarm(
        name=name,
        state=_text(document.get("NewStateValue")).upper(),
        before=_text(document.get("OldStateValue")).upper(),
        reason=reason,
        description=description,
        kind=kind,
        log=log or _LOG_OF.get(kind, ""),
        changed_ms=_time_ms(document.get("StateChangeTime")),
        window_ms=int(seconds * 1000) or UNKNOWN_WINDOW_MS,
        measured=measured,
        comparison=_COMPARED.get(_text(trigger.get("ComparisonOperator")), ""),
        threshold=_number(trigger.get("Threshold")),
        values=_values(reason),
        silent=bool(_MISSING.search(reason)) and not _values(reason),
        expression=next((_text(one.get("Expression")) for one in _queries(trigger) if one.get("Expression")), ""),
        rule=_text(document.get("AlarmRule")),
        children=children,
        region=arn[3] if len(arn) > 3 else _text(document.get("Region")),
        account=_text(document.get("AWSAccountId")) or (arn[4] if len(arn) > 4 else ""),
    )


def _kind(description: str, name: str, measured: tuple[Measured, ...], log: str) -> Kind | None:
    anchor = _ANCHOR.search(description)
    if anchor is not None:
        try:
            return Kind(anchor[1])
        except ValueError:
            return None  # of a version that knows more alarms, or of somebody else's page
    for logical_id, kind in BY_NAME.items():
        if logical_id in name:
            return kind
    for one in measured:
        if (found := _kind_of_metric(one, log)) is not None:
            return found
    return None


def _kind_of_metric(metric: Measured, log: str) -> Kind | None:
    if metric.namespace == "AWS/Lambda" and log:
        match metric.name:
            case "Errors":
                return _ERRORS.get(log)
            case "Throttles" if log in ("import", "part"):
                return Kind.PART_THROTTLES if log == "part" else Kind.FUNCTION_THROTTLES
            case "AsyncEventsDropped":
                return Kind.ALARMS_NOT_TOLD if log == "notify" else Kind.EVENTS_DROPPED
    if metric.namespace == "AWS/SQS":
        queue = dict(metric.dimensions).get("QueueName", "")
        if "DeadLetter" in queue or "dead-letter" in queue or queue.endswith(("-dlq", "-DLQ")):
            return Kind.DEAD_LETTERS
        return Kind.PARTS_OLD if "PartQueue" in queue and metric.name == "ApproximateAgeOfOldestMessage" else None
    if metric.namespace in ("AWS/Lambda", "AWS/ApiGateway", "AWS/Firehose", "S3EventImporter"):
        return _BY_METRIC.get(metric.name)
    return None


def _logical_id(kind: Kind) -> str:
    return "".join(word.title() for word in kind.value.split("-")) + "Alarm"


# Logical id in the template → kind. Those whose id is not the section's name are told.
BY_NAME: Final[dict[str, Kind]] = {
    "ExecutionsFailedAlarm": Kind.FAILED_EXECUTIONS,
    "FetchesFailedAlarm": Kind.FAILED_FETCHES,
} | {_logical_id(kind): kind for kind in Kind if kind not in (Kind.FAILED_EXECUTIONS, Kind.FAILED_FETCHES)}
_LOG_OF: Final[dict[Kind | None, str]] = {kind: log for log, kind in _ERRORS.items()}


def _log(name: str, measured: tuple[Measured, ...]) -> str:
    """By the function's generated name, which holds its logical id; or a given one, which ends as its logs do."""
    functions = [value for one in measured for dimension, value in one.dimensions if dimension == "FunctionName"]
    for function in functions:
        for logical_id, log in LOGS.items():
            if logical_id in function or function.endswith(f"-{log}"):
                return log
    return next((log for logical_id, log in LOGS.items() if logical_id in name), "")


def _queries(trigger: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from (entry for entry in _list(trigger.get("Metrics")) if isinstance(entry, dict))


def _measured(trigger: Mapping[str, Any]) -> Iterator[Measured]:
    if _text(trigger.get("MetricName")):
        statistic = trigger.get("Statistic") or trigger.get("ExtendedStatistic")
        yield _metric(trigger, statistic, trigger.get("Period"))
    for query in _queries(trigger):
        stat = query.get("MetricStat")
        if isinstance(stat, dict) and isinstance(metric := stat.get("Metric"), dict):
            yield _metric(metric, stat.get("Stat"), stat.get("Period") or trigger.get("Period"))


def _metric(metric: Mapping[str, Any], statistic: object, period: object) -> Measured:
    dimensions = []
    for entry in _list(metric.get("Dimensions")):
        told = {str(name).lower(): value for name, value in _members(entry).items()}
        dimensions.append((_text(told.get("name")), _text(told.get("value"))))
    said = _text(statistic)
    return Measured(
        _text(metric.get("Namespace")),
        _text(metric.get("MetricName")),
        said.title() if said.isupper() else said,
        int(_number(period) or 0),
        tuple(dimensions),
    )


def _children(document: Mapping[str, Any]) -> Iterator[str]:
    """Those that ring, as CloudWatch tells of them; else all that the rule names."""
    told = [_text(_members(child).get("Arn")) for child in _list(document.get("TriggeringChildren"))]
    names = [arn.rpartition(":alarm:")[2] for arn in told if arn]
    yield from names or re.findall(r'ALARM\(\s*"?([^")]+?)"?\s*\)', _text(document.get("AlarmRule")))


def _values(reason: str) -> tuple[float, ...]:
    """Of "Threshold Crossed: 1 out of the last 1 datapoints [5.0 (26/11/26 02:55:00)] was greater than …"."""
    found = _DATAPOINTS.search(reason)
    if found is None:
        return ()
    return tuple(float(number[0]) for text in found[1].split(",") if (number := _NUMBER.search(text.strip())))


def _time_ms(value: object) -> int | None:
    """`2026-11-26T03:00:12.345+0000`, and whatever else ISO 8601 allows; without an offset it is UTC. Not a time that
    no alarm can have changed at: what is reckoned from it has to be one that can be written."""
    try:
        moment = datetime.fromisoformat(_text(value))
        time_ms = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
    return time_ms if 0 <= time_ms < _YEAR_9000_MS else None


def _number(value: object) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float | str) and not isinstance(value, bool) else None
    except ValueError:
        return None
    return number if number is not None and abs(number) < 1e15 else None  # neither NaN nor infinity


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""


def _members(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _duration(seconds: int) -> str:
    for unit, size in (("h", 3_600), ("min", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
