"""Alarms as SNS delivers them, and installations in the trouble each is about.

    python -m tests.support.alarms        # writes events/alarms/ and tests/cases/alarms/ anew; look at the difference

A scenario makes the trouble with the importer's own code, on the fake cloud, and the alarm's sample is put through
`app.notify_handler` there. What comes out is compared whole with its golden message.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

from moto.core import DEFAULT_ACCOUNT_ID
from moto.sns.models import sns_backends
from samtranslator.yaml_helper import yaml_parse

import app
from importer import assembly
from importer.aws import clients
from importer.aws.fetches import FetchesTable
from importer.aws.series import SeriesTable
from importer.doors.expecting import attention_ms
from importer.fetches import Fetch
from importer.model import Status, Unavailable, Watched
from importer.series import Arrival, Delivery, Series, with_arrival
from tests.faults.files import FILES
from tests.faults.importing import Importer, installed
from tests.support.clock import START_MS, LambdaContext
from tests.support.cloud import REGION, Cloud
from tests.support.policy import TEMPLATE

ROOT = Path(__file__).parents[2]
EVENTS = ROOT / "events" / "alarms"
GOLDEN = ROOT / "tests" / "cases" / "alarms"
STACK = "s3-event-importer"
ACCOUNT = "123456789012"
HOUR_MS = 3_600_000
RINGS_MS = START_MS + 10 * 60_000  # of most samples: 2026-11-20T12:10:00Z
SUFFIX = "1ABCDEF234567"  # CloudFormation puts the like behind each name it makes


# ---- Payloads ------------------------------------------------------------------------------------------------------


@cache
def template() -> dict[str, Any]:
    found: dict[str, Any] = yaml_parse(TEMPLATE.read_text(encoding="utf-8"))
    return found


def alarm_ids() -> dict[str, str]:
    """Section of docs/operations.md → logical id of the alarm that names it."""
    alarms = {n: r for n, r in template()["Resources"].items() if r["Type"] == "AWS::CloudWatch::Alarm"}
    return {str(_described(one)).rpartition("#")[2].strip(): name for name, one in alarms.items()}


def _described(alarm: dict[str, Any]) -> str:
    words = alarm["Properties"]["AlarmDescription"]
    return str(words["Fn::Sub"].replace("${BadRowsPercent}", "10") if isinstance(words, dict) else words)


def _value(value: Any) -> Any:
    match value:
        case {"Ref": "AWS::StackName"}:
            return STACK
        case {"Ref": "BadRowsPercent"}:
            return 10
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), _]} | {"Fn::GetAtt": str(name)}:
            return f"{STACK}-{name.partition('.')[0]}-{SUFFIX}"
        case _:
            return value


def _dimensions(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"value": _value(one["Value"]), "name": one["Name"]} for one in told]


def time_text(time_ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def document(
    logical_id: str, value: float | None = 1, at_ms: int = RINGS_MS, state: str = "ALARM", before: str = "OK"
) -> dict[str, Any]:
    """What CloudWatch publishes of an alarm of the template; `value` is None where no data came."""
    properties = template()["Resources"][logical_id]["Properties"]
    period = properties.get("Period", 3600)
    shared = {
        "Period": period,
        "EvaluationPeriods": properties["EvaluationPeriods"],
        "ComparisonOperator": properties["ComparisonOperator"],
        "Threshold": float(_value(properties["Threshold"])),
        "TreatMissingData": properties["TreatMissingData"],
        "EvaluateLowSampleCountPercentile": "",
    }
    trigger: dict[str, Any]
    if "Metrics" in properties:
        trigger = shared | {"Metrics": [_query(query) for query in properties["Metrics"]]}
    else:
        trigger = {
            "MetricName": properties["MetricName"],
            "Namespace": properties["Namespace"],
            "StatisticType": "Statistic",
            "Statistic": properties["Statistic"].upper(),
            "Unit": None,
            "Dimensions": _dimensions(properties["Dimensions"]),
        } | shared
    name = f"{STACK}-{logical_id}-{SUFFIX}"
    return {
        "AlarmName": name,
        "AlarmDescription": _described(template()["Resources"][logical_id]),
        "AWSAccountId": ACCOUNT,
        "AlarmConfigurationUpdatedTimestamp": time_text(START_MS - 24 * HOUR_MS),
        "NewStateValue": state,
        "NewStateReason": _reason(value, shared["Threshold"], at_ms - period * 1000, state),
        "StateChangeTime": time_text(at_ms),
        "Region": "US East (N. Virginia)",
        "AlarmArn": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}",
        "OldStateValue": before,
        "OKActions": [],
        "AlarmActions": [f"arn:aws:sns:{REGION}:{ACCOUNT}:{STACK}-AlarmTopic-{SUFFIX}"],
        "InsufficientDataActions": [],
        "Trigger": trigger,
    }


def _query(query: dict[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"Id": query["Id"], "ReturnData": query.get("ReturnData", True)}
    if "Expression" in query:
        return told | {"Expression": query["Expression"], "Label": query.get("Label", "")}
    stat = query["MetricStat"]
    metric = {name: stat["Metric"][name] for name in ("Namespace", "MetricName")}
    metric["Dimensions"] = _dimensions(stat["Metric"]["Dimensions"])
    return told | {"MetricStat": {"Metric": metric, "Period": stat["Period"], "Stat": stat["Stat"]}}


def _reason(value: float | None, threshold: float, begin_ms: int, state: str) -> str:
    if value is None:
        missing = "1 missing datapoint was treated as [Breaching]"
        return f"Threshold Crossed: no datapoints were received for 1 period and {missing}."
    when = time_text(begin_ms)
    told = f"{float(value)} ({when[8:10]}/{when[5:7]}/{when[2:4]} {when[11:19]})"
    than = "was not greater than" if state == "OK" else "was greater than"
    between = "ALARM -> OK" if state == "OK" else "OK -> ALARM"
    return (
        f"Threshold Crossed: 1 out of the last 1 datapoints [{told}] {than} the threshold ({threshold}) "
        f"(minimum 1 datapoint for {between} transition)."
    )


def delivered(*messages: str | dict[str, Any], subject: str | None = "") -> dict[str, Any]:
    """What Lambda invokes a function with that is subscribed to a topic."""
    topic = f"arn:aws:sns:{REGION}:{ACCOUNT}:{STACK}-AlarmTopic-{SUFFIX}"
    return {
        "Records": [
            {
                "EventSource": "aws:sns",
                "EventVersion": "1.0",
                "EventSubscriptionArn": f"{topic}:5cd5a4b9-6d0d-4f1a-8a0b-0d6b7c1e2f3{number}",
                "Sns": {
                    "Type": "Notification",
                    "MessageId": f"95df01b4-ee98-5cb9-9903-4c221d41eb5{number}",
                    "TopicArn": topic,
                    "Subject": _subject(message) if subject == "" else subject,
                    "Message": message if isinstance(message, str) else json.dumps(message),
                    "Timestamp": "2026-11-20T12:10:00.123Z",
                    "SignatureVersion": "1",
                    "Signature": "EXAMPLE",
                    "SigningCertUrl": "EXAMPLE",
                    "UnsubscribeUrl": "EXAMPLE",
                    "MessageAttributes": {},
                },
            }
            for number, message in enumerate(messages)
        ]
    }


def _subject(message: str | dict[str, Any]) -> str:
    if isinstance(message, str):
        return ""
    return f'{message["NewStateValue"]}: "{message["AlarmName"]}" in US East (N. Virginia)'


# ---- Installations in trouble --------------------------------------------------------------------------------------


@dataclass
class Trouble:
    """An installation, and the logs of its functions: log group's last word → (time, line)."""

    importer: Importer
    logs: dict[str, list[tuple[int, str]]] = field(default_factory=dict)

    @property
    def cloud(self) -> Cloud:
        return self.importer.cloud

    def imports(self, key: str, body: bytes) -> None:
        with suppress(Unavailable):
            self.importer.deliver(self.cloud.drop(f"imports/{key}", body))

    def logged(self, function: str, minutes: float = 5, **said: Any) -> None:
        """A line of a function's log, so long before the alarm."""
        line = {"level": "ERROR", "location": "handler:1", "service": STACK, **said}
        self.wrote(function, json.dumps(line), minutes)

    def wrote(self, function: str, line: str, minutes: float = 5) -> None:
        self.logs.setdefault(function, []).append((RINGS_MS - int(minutes * 60_000), line))

    def letter(self, body: dict[str, Any] | str) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        with self.cloud.unseen():
            self.cloud.client("sqs").send_message(QueueUrl=self.cloud.dead_letter_queue_url, MessageBody=text)

    def fetch(self, **told: Any) -> None:
        with self.cloud.unseen():
            table = FetchesTable(self.cloud.client("dynamodb"), self.cloud.imports_table)
            table.create_fetch(replace(Fetch("", "", "", "", START_MS + 1_000), **told))

    def filter_log_events(self, **asked: Any) -> dict[str, Any]:
        """CloudWatch Logs as `looking.Logs` needs it; the pattern is not obeyed, so that nothing relies on it."""
        function = asked["logGroupName"].removeprefix(f"/aws/lambda/{STACK}-")
        lines = [
            {"timestamp": time_ms, "message": line}
            for time_ms, line in self.logs.get(function, [])
            if asked["startTime"] <= time_ms < asked["endTime"]
        ]
        return {"events": lines}


def event_row(name: str = "Sign up", user: str = "ann.smith@example.org", **more: Any) -> bytes:
    told = {"event_name": name, "event_time_ts": 1_795_000_000_000, "user_id": user, "phone": "+44 7700 900123"}
    return json.dumps({key: value for key, value in (told | more).items() if value is not None}).encode() + b"\n"


def fine(_trouble: Trouble) -> None: ...


def refused_files(trouble: Trouble) -> None:
    trouble.imports("fine.json", event_row())
    trouble.imports("long ago.txt", event_row())
    trouble.cloud.clock.sleep(420)
    trouble.imports("shop/monday.json.gz", FILES["gzip of two members"][1][:-5])
    trouble.cloud.clock.sleep(60)
    trouble.imports("shop/tuesday's $(file).json", event_row().decode().encode("utf-16"))
    trouble.imports("wednesday.json", event_row().decode().encode("utf-16"))


def refused_rows(trouble: Trouble) -> None:
    trouble.imports("fine.json", event_row())
    trouble.imports(
        "shop/monday.json",
        event_row() * 3 + event_row(event_time_ts=None, evnt_time="12 May") * 6 + b'{"user_id": "ann.smith@exam\n' * 2,
    )
    trouble.imports("tuesday.json", event_row() + event_row(user=None) * 2 + event_row(event_time_ts=1_795_000_000) * 4)


def dead_letters(trouble: Trouble) -> None:
    notification = trouble.cloud.drop("imports/shop/monday.json", event_row())
    context = {"requestId": "1", "condition": "RetriesExhausted", "approximateInvokeCount": 3}
    denied = "GET s3://import-bucket/imports/shop/monday.json: AccessDenied; allow s3:GetObject on s3://import-bucket/imports/*"
    said = {"errorType": "Unavailable", "errorMessage": denied}
    trouble.letter({"requestContext": context, "requestPayload": notification, "responsePayload": said})
    trouble.imports("big.json", event_row() * 4)
    [execution] = [one for one in trouble.importer.executions() if one["parameters"]["input_file_name"] == "big.json"]
    trouble.letter({"schema": "task/1", "execution_id": execution["id"], "start": 0})
    trouble.letter("no letter of ours")


def _left(trouble: Trouble, key: str, tries: int = 0) -> str:
    """A file whose worker was killed, and that the sweep has sent on; the id of its execution."""
    from tests.support.faults import Fault, Nth

    notification = trouble.cloud.drop(f"imports/{key}", event_row() * 60)
    trouble.importer.notified(notification, Fault("kill_after", Nth(25)))
    [item] = [e for e in trouble.importer.executions() if e["parameters"]["input_file_name"] == key.rpartition("/")[2]]
    with trouble.cloud.unseen():
        table = FetchesTable(trouble.cloud.client("dynamodb"), trouble.cloud.imports_table)
        table.watch(item["id"], Watched("part 0", START_MS + 60_000, "x", START_MS + 60_000, tries))
    return str(item["id"])


def left_behind(trouble: Trouble) -> None:
    execution_id = _left(trouble, "shop/big.json", 4)
    said = "Unavailable: BatchWriteItem on the events table: AccessDenied; allow dynamodb:BatchWriteItem on it"
    for minutes in (4, 3, 2):
        trouble.logged(
            "part",
            minutes,
            message="failed",
            execution_id=execution_id,
            key="imports/shop/big.json",
            exception=f"Traceback (most recent call last):\n  File\n{said}",
            exception_name="Unavailable",
        )
    trouble.logged(
        "sweep",
        6,
        level="INFO",
        message="sent on",
        execution_id=execution_id,
        key="imports/shop/big.json",
        status="RUNNING",
    )


def nobody_told(trouble: Trouble) -> None:
    trouble.cloud.drop("imports/shop/old one.json", event_row())
    _left(trouble, "shop/big.json", 4)
    trouble.cloud.clock.sleep(2 * 3600)


def not_started(trouble: Trouble) -> None:
    trouble.cloud.drop("imports/shop/monday.json", event_row())
    trouble.cloud.clock.sleep(400)


def function_fails(trouble: Trouble) -> None:
    for minutes, key in ((1, "imports/a.json"), (2, "imports/b.json"), (3, "imports/a.json")):
        trouble.logged(
            "import",
            minutes,
            message="deliver again",
            bucket="import-bucket",
            key=key,
            exception="Traceback:\nUnavailable: HEAD s3://import-bucket/imports: AccessDenied; "
            "allow s3:GetObject on s3://import-bucket/imports/*",
        )
    trouble.wrote("import", "2026-11-20T12:08:00Z 3f1 Task timed out after 900.00 seconds\n", 2)


def sweep_is_silent(trouble: Trouble) -> None:
    trouble.logged(
        "sweep",
        9,
        message="failed",
        exception="Unavailable: LIST VERSIONS s3://import-bucket/imports/: AccessDenied; allow s3:ListBucketVersions "
        "on s3://import-bucket for imports/*",
    )


def schedule_fails(trouble: Trouble) -> None:
    trouble.logged(
        "schedule",
        3,
        level="WARNING",
        message="left for the next run",
        what="daily",
        trouble="Misconfigured: daily: unknown setting serie",
    )


def fetch_fails(trouble: Trouble) -> None:
    running = {"key": "imports/monday.json.gz", "status": Status.RUNNING, "tries": 3, "next_offset": 16_777_216}
    trouble.fetch(id="f1" * 16, uri="https://files.example.com/exports/monday.json.gz", query="sig=SECRET", **running)
    trouble.logged(
        "fetch", 3, message="failed", exception="Unavailable: UploadPart: AccessDenied; allow s3:PutObject on imports/*"
    )


def not_fetched(trouble: Trouble) -> None:
    ended = {"status": Status.FAILED, "start_ms": START_MS + 1_000, "key": "imports/x.json.gz"}
    for number in range(2):
        trouble.fetch(
            id=f"{number}f" * 16,
            uri=f"https://ann:password@files.example.com/exports/{number}.json.gz",
            error_code="source_refused",
            error_message="the source answered 403",
            end_ms=RINGS_MS - 60_000 * (number + 1),
            **ended,
        )
    trouble.fetch(
        id="ab" * 16,
        uri="https://other.example.com/a.json",
        error_code="unreachable",
        error_message="https://other.example.com/a.json?sig=SECRET did not answer",
        end_ms=RINGS_MS - 90_000,
        **ended,
    )


def notices_wait(trouble: Trouble) -> None:
    for minutes in (1, 2):
        trouble.logged(
            "notify",
            minutes,
            level="WARNING",
            message="not told",
            execution_id="e1580a3dbbab6c58672b4c1caf93ec1a",
            trouble="Unavailable: the event bus default: AccessDenied; allow events:PutEvents on it",
            kept=False,
        )


def nobody_had_told(trouble: Trouble) -> None:
    trouble.logged(
        "sweep",
        20,
        level="INFO",
        message="found",
        found="unknown",
        key="imports/shop/monday.json",
        bucket="import-bucket",
    )
    trouble.logged("sweep", 20, level="INFO", message="found", found="to_move", key="imports/moved.json")


def files_of_series(trouble: Trouble) -> None:
    """One that did not come since yesterday, one that came thin, one on time, and one that is muted."""
    day_ms = 24 * HOUR_MS
    with trouble.cloud.unseen():
        table = SeriesTable(clients.records(), trouble.cloud.imports_table)
        for name, days, newest, muted in (
            ("shop/logins*.json", range(-12, -1), 1_000, False),
            ("shop/tuesday's $(orders)*.csv", range(-12, 0), 40, False),
            ("clicks*.json", range(-12, 0), 1_000, False),
            ("old*.json", range(-12, -1), 1_000, True),
        ):
            deliveries: tuple[Delivery, ...] = ()
            for day in days:
                rows = newest if day == days[-1] else 1_000
                deliveries = with_arrival(deliveries, Arrival(START_MS + day * day_ms - HOUR_MS, 100 * rows, rows))
            series = Series(name, deliveries, START_MS, muted)
            table.write_series(series, attention_ms(series))


def api_fails(trouble: Trouble) -> None:
    trouble.logged(
        "api",
        2,
        message="request not served",
        exception="Crashed: KeyError at visits.py:40 in visit (its words withheld)",
    )


# ---- Samples -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sample:
    """A message to the alarm topic, and the trouble in which it is explained."""

    event: dict[str, Any]
    trouble: Callable[[Trouble], None] = fine


def _of(anchor: str, value: float | None = 1, at_ms: int = RINGS_MS, **more: Any) -> dict[str, Any]:
    return delivered(document(alarm_ids()[anchor], value, at_ms, **more))


def _stranger(**more: Any) -> dict[str, Any]:
    """An alarm of somebody's own on our topic."""
    told = document(alarm_ids()["failed-executions"], 93.5)
    trigger = told["Trigger"] | {"MetricName": "CPUUtilization", "Namespace": "AWS/EC2", "Statistic": "AVERAGE"}
    trigger |= {"Dimensions": [{"name": "InstanceId", "value": "i-0123456789"}], "Threshold": 90.0}
    return told | {"AlarmName": "web-cpu", "AlarmDescription": None, "Trigger": trigger, "AlarmArn": None} | more


def _composite() -> dict[str, Any]:
    name = f"{STACK}-ExecutionsFailedAlarm-{SUFFIX}"
    return {
        "AlarmName": "imports are in trouble",
        "AlarmDescription": "Something of the importer rings.",
        "AWSAccountId": ACCOUNT,
        "NewStateValue": "ALARM",
        "NewStateReason": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name} transitioned to ALARM",
        "StateChangeTime": time_text(RINGS_MS),
        "Region": "US East (N. Virginia)",
        "AlarmArn": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:imports are in trouble",
        "OldStateValue": "OK",
        "AlarmRule": f'ALARM("{name}") OR ALARM("{STACK}-DeadLettersAlarm-{SUFFIX}")',
        "TriggeringChildren": [
            {
                "Arn": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}",
                "State": {"Value": "ALARM", "Timestamp": time_text(RINGS_MS)},
            }
        ],
    }


def _anomaly() -> dict[str, Any]:
    told = document(alarm_ids()["failed-executions"], 93.5)
    metric = {
        "Namespace": "S3EventImporter",
        "MetricName": "RowsGood",
        "Dimensions": [{"name": "service", "value": STACK}],
    }
    trigger = {
        "Period": 3600,
        "EvaluationPeriods": 1,
        "ComparisonOperator": "LessThanLowerThreshold",
        "ThresholdMetricId": "band",
        "TreatMissingData": "missing",
        "Metrics": [
            {"Id": "m1", "MetricStat": {"Metric": metric, "Period": 3600, "Stat": "Sum"}, "ReturnData": True},
            {"Id": "band", "Expression": "ANOMALY_DETECTION_BAND(m1, 2)", "ReturnData": True},
        ],
    }
    return told | {"AlarmName": "rows are few", "AlarmDescription": "Fewer rows than usual.", "Trigger": trigger}


def _own(name: str, namespace: str, metric: str, **dimensions: str) -> dict[str, Any]:
    """An alarm of somebody's own on something of the stack's."""
    told = _stranger(AlarmName=name)
    about = [{"name": dimension, "value": f"{STACK}-{value}-{SUFFIX}"} for dimension, value in dimensions.items()]
    told["Trigger"] |= {"Namespace": namespace, "MetricName": metric, "Dimensions": about}
    return delivered(told)


def letter_of_a_deleted_file(trouble: Trouble) -> None:
    notification = trouble.cloud.drop("imports/shop/monday.json", event_row())
    context = {"requestId": "1", "condition": "RetriesExhausted", "approximateInvokeCount": 3}
    said = {"errorType": "Unavailable", "errorMessage": "GET s3://import-bucket/imports/shop/monday.json: SlowDown"}
    trouble.letter({"requestContext": context, "requestPayload": notification, "responsePayload": said})
    with trouble.cloud.unseen():
        s3, place = trouble.cloud.client("s3"), {"Bucket": trouble.cloud.bucket, "Key": "imports/shop/monday.json"}
        s3.delete_object(**place, VersionId=s3.head_object(**place)["VersionId"])


LATE_MS = START_MS + 2 * HOUR_MS + 600_000


@cache
def samples() -> dict[str, Sample]:
    """By name of their file in events/alarms/: one for each alarm of the template, then the odd ones."""
    of_all = {
        "function-errors": Sample(_of("function-errors", 4), function_fails),
        "function-throttles": Sample(_of("function-throttles", 120), left_behind),
        "part-errors": Sample(_of("part-errors", 3), left_behind),
        "part-throttles": Sample(_of("part-throttles", 7), left_behind),
        "schedule-errors": Sample(_of("schedule-errors"), schedule_fails),
        "parts-old": Sample(_of("parts-old", 4012), left_behind),
        "fetch-errors": Sample(_of("fetch-errors"), fetch_fails),
        "failed-fetches": Sample(_of("failed-fetches", 3), not_fetched),
        "events-old": Sample(_of("events-old", 3_700_000), not_started),
        "events-dropped": Sample(_of("events-dropped"), dead_letters),
        "dead-letters": Sample(_of("dead-letters", 3), dead_letters),
        "failed-executions": Sample(_of("failed-executions", 3), refused_files),
        "bad-rows": Sample(_of("bad-rows", 72.7), refused_rows),
        "api-errors": Sample(_of("api-errors", 2), api_fails),
        "oldest-waiting": Sample(_of("oldest-waiting", 7300, LATE_MS), nobody_told),
        "missed-notifications": Sample(_of("missed-notifications"), nobody_had_told),
        "resumed-executions": Sample(_of("resumed-executions", 24), left_behind),
        "notices-late": Sample(_of("notices-late", 950_000), notices_wait),
        "stream-freshness": Sample(_of("stream-freshness", 1200), left_behind),
        "stream-throttles": Sample(_of("stream-throttles", 300), left_behind),
        "notify-errors": Sample(_of("notify-errors", 2), notices_wait),
        "alarms-not-told": Sample(_of("alarms-not-told"), notices_wait),
        "missing-files": Sample(_of("missing-files"), files_of_series),
        "thin-files": Sample(_of("thin-files"), files_of_series),
    }
    odd = {
        "oldest-waiting-silence": Sample(_of("oldest-waiting", None), sweep_is_silent),
        "failed-executions-ok": Sample(_of("failed-executions", 0, state="OK", before="ALARM"), refused_files),
        "failed-executions-no-data": Sample(
            _of("failed-executions", 0, state="INSUFFICIENT_DATA", before="OK"), refused_files
        ),
        "failed-executions-late": Sample(_of("failed-executions", 1, RINGS_MS + 48 * HOUR_MS), refused_files),
        "failed-executions-nothing": Sample(_of("failed-executions", 1)),
        "several": Sample(
            delivered(document(alarm_ids()["dead-letters"], 3), document(alarm_ids()["failed-executions"], 3)),
            dead_letters,
        ),
        "stranger": Sample(delivered(_stranger())),
        "unknown-section": Sample(
            delivered(_stranger(AlarmDescription="A disk is full; make room: docs/operations.md#disk-full"))
        ),
        "composite": Sample(delivered(_composite()), refused_files),
        "anomaly": Sample(delivered(_anomaly()), refused_rows),
        "own-function": Sample(
            _own("a part is slow", "AWS/Lambda", "Duration", FunctionName="PartFunction"), left_behind
        ),
        "own-table": Sample(
            _own("a table is busy", "AWS/DynamoDB", "ThrottledRequests", TableName="EventsTable"), left_behind
        ),
        "own-queue": Sample(
            _own("fetches wait", "AWS/SQS", "ApproximateAgeOfOldestMessage", QueueName="FetchQueue"), fetch_fails
        ),
        "dead-letters-gone": Sample(_of("dead-letters"), letter_of_a_deleted_file),
        "text": Sample(delivered("A test of the topic.", subject="Hello")),
        "no-subject": Sample(delivered("A test of the topic.", subject=None)),
        "malformed": Sample(delivered('{"AlarmName": "cut short', subject=None)),
        "wrong-types": Sample(
            delivered(
                {
                    "AlarmName": "odd",
                    "NewStateValue": "ALARM",
                    "Trigger": [1],
                    "StateChangeTime": 7,
                    "AlarmDescription": {},
                }
            )
        ),
    }
    return of_all | odd


# ---- The function --------------------------------------------------------------------------------------------------


@contextmanager
def in_trouble(make: Callable[[Trouble], None]) -> Iterator[Trouble]:
    """An installation in which that has happened."""
    with installed() as importer:
        trouble = Trouble(importer)
        make(trouble)
        yield trouble


@contextmanager
def explaining(trouble: Trouble, **environment: str) -> Iterator[Callable[[Any], Any]]:
    """The notify function, told of this cloud by the variables template.yaml sets."""
    cloud = trouble.cloud
    with cloud.unseen():
        topic = cloud.client("sns").create_topic(Name="explained")["TopicArn"]
    told = {
        "BUCKET_NAME": cloud.bucket,
        "EVENTS_TABLE": cloud.events_table,
        "USERS_TABLE": cloud.users_table,
        "IMPORTS_TABLE": cloud.imports_table,
        "SINKS": "dynamodb",
        "DEAD_LETTER_QUEUE_URL": cloud.dead_letter_queue_url,
        "ALARM_TOPIC": topic,
        "POWERTOOLS_SERVICE_NAME": STACK,
    } | environment
    app._explainer.cache_clear()
    app._herald.cache_clear()
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, told))
        stack.enter_context(mock.patch.object(assembly, "SystemClock", return_value=cloud.clock))
        stack.enter_context(mock.patch.object(clients, "logs", return_value=trouble))
        yield lambda event: app.notify_handler(event, LambdaContext(cloud.clock, 120))
    app._explainer.cache_clear()
    app._herald.cache_clear()


def published() -> list[tuple[str, str]]:
    """(subject, text) of what was published to people's topic."""
    topics = sns_backends[DEFAULT_ACCOUNT_ID][REGION].topics
    [topic] = [one for arn, one in topics.items() if arn.endswith(":explained")]
    return [(subject, text) for _, text, subject, *_ in topic.sent_notifications]


def golden_text(sample: Sample) -> str:
    """What people get of a sample, as it is kept in tests/cases/alarms/."""
    with in_trouble(sample.trouble) as trouble, explaining(trouble) as notify:
        notify(sample.event)
        return "\n----\n".join(f"Subject: {subject}\n\n{text}" for subject, text in published())


def main() -> None:
    EVENTS.mkdir(exist_ok=True)
    GOLDEN.mkdir(exist_ok=True)
    for name, sample in samples().items():
        (EVENTS / f"{name}.json").write_text(json.dumps(sample.event, indent=2) + "\n", encoding="utf-8")
        (GOLDEN / f"{name}.txt").write_text(golden_text(sample), encoding="utf-8")
        print(name)


if __name__ == "__main__":
    main()
