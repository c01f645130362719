"""No row content, secret or signed URL leaves through a log line, a metric, standard error or an exception (J8).

Every place of a row where something strange can stand holds a canary. The real Lambda handler imports it at level
DEBUG, with every library's logger opened as well, while all goes well and while each thing goes wrong that has words of
its own: AWS that quotes an item, a bug whose exception quotes a row. Then nothing that came out may hold a canary.
"""

import importlib
import io
import itertools
import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any
from unittest import mock

import boto3
import pytest
from botocore.exceptions import HTTPClientError

from importer import assembly, lines, telemetry
from importer.aws.settings import Settings
from importer.aws.tables import ImportsTable
from importer.bad_rows import Reason, Reject
from importer.executions import importing
from importer.formats import cooladata
from importer.model import Misconfigured, Unavailable
from importer.sinks.dynamodb import DynamoDBSink
from tests.faults.importing import installed
from tests.support.clock import LambdaContext
from tests.support.cloud import REGION, Cloud, used
from tests.support.faults import Fault, attempt

NUMBERS = itertools.count()
LINE_BYTES = 600_000  # room for an event that is too large
MARK = "kanari"  # in every canary, and in no name of ours
STAMP = "2012-10-15 04:06:30"
URL = f"https://b.s3.amazonaws.com/k?X-Amz-Credential={MARK}&X-Amz-Signature={MARK}0f3a"


def row(**fields: object) -> bytes:
    return json.dumps(
        {"user_id": f"{MARK}@example.org", "event_name": f"{MARK}_name", "event_time_ts": STAMP} | fields
    ).encode()


GOOD = [
    row(),
    row(**{f"{MARK}_property": f"{MARK}-value"}),
    row(**{f"{{u}}{MARK}_city": f"{MARK}-town"}),
    row(url=URL, password=f"{MARK}-secret", number=12345678901234567890123),
]
BAD = {
    Reason.NOT_JSON: b'{"user_id":"%s' % MARK.encode(),
    Reason.NOT_UTF8: b'{"user_id":"%s\xff"}' % MARK.encode(),
    Reason.NOT_AN_OBJECT: b'["%s"]' % MARK.encode(),
    Reason.DUPLICATE_KEY: b'{"%s":1,"%s":2}' % (MARK.encode(), MARK.encode()),
    Reason.TOO_DEEP: b'{"%s":%s}' % (MARK.encode(), b"[" * 1100 + b"]" * 1100),
    Reason.MISSING_FIELD: json.dumps({"event_name": MARK, "event_timestamp": STAMP, MARK: URL}).encode(),
    Reason.WRONG_TYPE: row(user_id=[MARK]),
    Reason.NESTED_VALUE: row(**{MARK: {MARK: MARK}}),
    Reason.BAD_TIME: row(event_time_ts=f"{MARK} o'clock"),
    Reason.TIME_UNIT: row(event_time_ts=1350273990, note=MARK),
    Reason.TIME_OUT_OF_WINDOW: row(event_time_ts=-1, note=MARK),
    Reason.TOO_LONG: row(user_id=MARK * 1000),
    Reason.UNKNOWN_SCOPE_PREFIX: row(**{f"{{{MARK}}}x": 1}),
    Reason.NUMBER_OUT_OF_RANGE: row()[:-1] + b', "%s": 1e400}' % MARK.encode(),
    Reason.EVENT_TOO_LARGE: row(**{f"{MARK}{number}": "x" * 90_000 for number in range(5)}),
    Reason.LINE_TOO_LONG: row(note=MARK + "x" * LINE_BYTES),
}
SOME = b"\n".join([*GOOD, BAD[Reason.NOT_JSON], BAD[Reason.WRONG_TYPE]])
STRICT = {
    Reason.BAD_NAME: row(**{f"{MARK}-dash": 1}),
    Reason.PLACEHOLDER_ID: row(user_id="null", note=MARK),
    Reason.TIME_OUT_OF_WINDOW: row(),
}
CSV = (
    f"user_id,event_name,event_time_ts,{MARK}_column\n"
    f"{MARK}@example.org,login,{STAMP},{URL}\n"
    f"{MARK},login,{STAMP}\n"
    f'{MARK},login,{STAMP},"never closed {MARK}\n'
)
FILES = {
    "rows.json": b"\n".join([*GOOD, *BAD.values()]),
    "strict/rows.json": b"\n".join(STRICT.values()),
    "tables/rows.csv": CSV.encode(),
    "pretty.json": f'{{\n  "{MARK}": "{MARK}"\n}}\n'.encode(),
    "utf16.json": row().decode().encode("utf-16"),
    "cut.json.gz": b"\x1f\x8b\x08\x00" + row(),
    "no_header.csv": b"",
    f"{'n' * 240}\n\x1b[31m\u202e.txt": row(),
}


# ---- The function, and everything that comes out of it --------------------------------------------------------------


@dataclass
class Function:
    """The deployed function on a fake cloud, with both sinks; what comes out of it is kept."""

    cloud: Cloud
    app: ModuleType
    capture: pytest.CaptureFixture[str]
    libraries: io.StringIO
    raised: list[BaseException] = field(default_factory=list)
    out: str = ""
    err: str = ""

    def imports(self, name: str, body: bytes, *faults: Fault) -> None:
        """A file is dropped; Lambda makes up to three tries, each with the faults."""
        notification = self.cloud.drop(f"imports/{name}", body)
        self.tries(lambda: self.app.lambda_handler(notification, LambdaContext(self.cloud.clock, 100)), *faults)

    def tries(self, deliver: Callable[[], Any], *faults: Fault) -> None:
        for _ in range(3):
            tried = attempt(self.cloud, deliver, *faults)
            self.cloud.clock.sleep(120)
            if tried.error is None:
                return
            self.raised.append(tried.error)

    def lines(self) -> list[dict[str, Any]]:
        """What it wrote: each line is JSON."""
        self._read()
        return [json.loads(line) for line in self.out.splitlines()]

    def said(self, message: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line.get("message") == message]

    def everything(self) -> str:
        self._read()
        raised = ["".join([*traceback.format_exception(error), repr(error), str(error.args)]) for error in self.raised]
        return "\n".join([self.out, self.err, self.libraries.getvalue(), *raised])

    def _read(self) -> None:
        out, err = self.capture.readouterr()
        self.out, self.err = self.out + out, self.err + err


@cache
def secret_session() -> boto3.Session:
    """Its keys are canaries. One for all tests, as `shared_session`."""
    return boto3.Session(f"AKIA{MARK}", f"{MARK}-secret-key", f"{MARK}-session-token", REGION)


@pytest.fixture
def function(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Function]:
    environment = {
        "POWERTOOLS_SERVICE_NAME": f"canary-{next(NUMBERS)}",  # Powertools keeps one logger a name for ever
        "POWERTOOLS_LOG_LEVEL": "DEBUG",
        "BUCKET_NAME": "import-bucket",
        "EVENTS_TABLE": "events",
        "USERS_TABLE": "users",
        "IMPORTS_TABLE": "imports",
        "AWS_SECRET_ACCESS_KEY": f"{MARK}-secret-key",
        "AWS_SESSION_TOKEN": f"{MARK}-session-token",
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with (
        every_library_logs() as libraries,
        installed(sinks=("dynamodb", "firehose")) as importer,
        mock.patch.object(lines, "MAX_LINE_BYTES", LINE_BYTES),
    ):
        sys.modules.pop("app", None)
        app = importlib.import_module("app")
        app.logger.registered_handler.setStream(StandardOutput())
        cloud = importer.cloud
        for definition in ({"id": "strict", "strict": True}, {"id": "wrong", "strictt": True}):
            cloud.put_item(
                cloud.imports_table, {"pk": f"IMPORT#{definition['id']}", "sk": "IMPORT", "definition": definition}
            )
        names = (cloud.bucket, cloud.events_table, cloud.users_table, cloud.imports_table)
        settings = Settings(*names, sinks=("dynamodb", "firehose"), delivery_stream=cloud.delivery_stream)
        with used(secret_session()):
            told = telemetry.PowertoolsTelemetry(app.logger, app.metrics)
            places = assembly.maker(settings, told, cloud.clock, 1, 0)
            with mock.patch.object(app, "_workplaces", return_value=places):
                yield Function(cloud, app, capsys, libraries)
    sys.modules.pop("app", None)


class StandardOutput(io.TextIOBase):
    """Whatever standard output is when a line is written: pytest changes it between a fixture and its test."""

    def write(self, text: str) -> int:
        return sys.stdout.write(text)


@contextmanager
def every_library_logs() -> Iterator[io.StringIO]:
    """The root logger opened wide, as Lambda's own log level DEBUG would do it; but for the fake AWS's loggers."""
    text = io.StringIO()
    logging.getLogger("moto").setLevel(logging.WARNING)
    handler = logging.StreamHandler(text)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield text
    finally:
        root.removeHandler(handler)
        root.setLevel(before)


def assert_silent(function: Function) -> None:
    """No canary in anything that came out, in any spelling JSON or Python has for it (it is plain ASCII)."""
    leaks = [line[:300] for line in function.everything().splitlines() if MARK in line.lower()]
    assert not leaks, f"{len(leaks)} lines hold what a row or a secret holds, e.g. {leaks[0]}"


# ---- All goes well --------------------------------------------------------------------------------------------------


def test_the_canaries_stand_where_they_should(function: Function):
    """Or the silence below would prove nothing: the store, errors/ and the reasons are full of them."""
    function.imports("rows.json", FILES["rows.json"])
    objects = function.cloud.objects()
    reasons = [
        json.loads(line)
        for key, text in objects.items()
        if key.endswith(".reasons.ndjson")
        for line in text.splitlines()
    ]
    assert [reason["reason"] for reason in reasons] == [str(reason) for reason in BAD]
    assert len([item for item in function.cloud.items("events") if MARK in json.dumps(item, default=str)]) == len(GOOD)


@pytest.mark.parametrize("name", FILES)
def test_an_import_tells_nothing_of_its_rows(function: Function, name: str):
    """Good rows, bad rows of every kind, whole files refused: names and counts only."""
    function.imports(name, FILES[name])
    assert_silent(function)
    (closed,) = function.said("closed")
    assert closed["status"] == (
        "SUCCEEDED" if name in ("rows.json", "strict/rows.json", "tables/rows.csv") else "FAILED"
    )
    assert function.raised == []


def test_a_strange_file_name_is_cut_and_escaped(function: Function):
    """Names may be told, but they are strangers' text: no line break, no escape sequence, no endless line."""
    (name,) = (name for name in FILES if name.endswith(".txt"))
    function.imports(name, FILES[name])
    assert function.said("delivery")[0]["key"] == f"imports/{'n' * 240}\\n\\x1b[31m\\u202e.txt"
    assert all(text.isprintable() for text in function.out.splitlines())


def test_a_value_of_any_length_is_cut(function: Function):
    """A hand-made notification may name anything."""
    with pytest.raises(Unavailable) as raised:
        discreetly(function, Unavailable("x" * 100_000))
    assert len(str(raised.value)) == telemetry.LONGEST_VALUE


# ---- AWS says no, and quotes an item --------------------------------------------------------------------------------

QUOTING = f"One value was: {{S: {MARK}@example.org}}"


@pytest.mark.sampled(each="call words")
@pytest.mark.parametrize("call", ["BatchWriteItem", "PutItem users"])
@pytest.mark.parametrize("words", [f"Item size has exceeded … {MARK}", f"Number overflow … {MARK}"])
def test_a_row_refused_by_dynamodb_is_told_in_the_reasons_only(function: Function, call: str, words: str):
    """`refused_by_sink` holds DynamoDB's words; they go to errors/, where the row is too."""
    detail = {"code": "ValidationException", "message": words}
    function.imports("rows.json", GOOD[2], Fault("refused", call, detail=detail, always=True))
    reasons = b"".join(function.cloud.objects("errors/").values())
    assert b"refused_by_sink" in reasons
    assert MARK.encode() in reasons
    assert_silent(function)


ANSWERS = {
    "invalid for no reason a row can have": ("ValidationException", 400),
    "throttled": ("ProvisionedThroughputExceededException", 400),
    "throttled, in other words": ("ThrottlingException", 400),
    "an internal error": ("InternalServerError", 500),
    "no such table": ("ResourceNotFoundException", 400),
    "something new": ("BrandNewException", 400),
}


@pytest.mark.sampled(each="answer call")
@pytest.mark.parametrize("call", ["BatchWriteItem", "PutItem users", "PutRecordBatch", "UpdateItem", "PutItem imports"])
@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_of_aws_that_quotes_an_item_is_told_by_its_code(function: Function, call: str, answer: str):
    """Whatever AWS writes into its message, and however often."""
    code, status = ANSWERS[answer]
    detail = {"code": code, "message": QUOTING, "status": status}
    function.imports("rows.json", SOME, Fault("refused", call, detail=detail, always=True))
    assert len(function.raised) == 3
    assert_silent(function)
    assert all(isinstance(error, (Unavailable, telemetry.Crashed)) for error in function.raised)


@pytest.mark.sampled(each="kind call")
@pytest.mark.parametrize("call", ["HeadObject", "GetObject", "PutObject", "CopyObject", "DeleteObject", "ListObjects"])
@pytest.mark.parametrize("kind", ["denied", "error_503", "connection_lost", "body_reset"])
def test_trouble_with_s3_tells_names_only(function: Function, call: str, kind: str):
    """Denied, slow, broken: the file's name, the call, and what is missing."""
    function.imports("rows.json", SOME, Fault(kind, call, always=True))
    assert_silent(function)


@pytest.mark.sampled(each="kind call")
@pytest.mark.parametrize("call", ["BatchWriteItem", "PutItem users", "PutRecordBatch", "UpdateItem", "Query"])
@pytest.mark.parametrize("kind", ["denied", "connection_lost", "unprocessed"])
def test_trouble_with_a_table_or_the_stream_tells_names_only(function: Function, call: str, kind: str):
    """As for S3."""
    function.imports("rows.json", SOME, Fault(kind, call, always=True))
    assert_silent(function)


# ---- A bug whose exception quotes a row -----------------------------------------------------------------------------


def chained() -> Exception:
    """A bug in the handling of a bug, with a note on it."""
    try:
        try:
            int(f"{MARK}-not-a-number")
        except ValueError as error:
            error.add_note(f"while reading {MARK}")
            raise KeyError(MARK) from error
    except KeyError as error:
        bug = Unavailable("told in our own words")
        bug.__cause__ = error
        return bug


BUGS: dict[str, Callable[[], Exception]] = {
    "KeyError": lambda: KeyError(f"{MARK}@example.org"),
    "ValueError": lambda: ValueError(f"invalid literal for int() with base 10: '{MARK}'"),
    "UnicodeEncodeError": lambda: UnicodeEncodeError("utf-8", f"{MARK}\udc80", 6, 7, "surrogates not allowed"),
    "of botocore": lambda: HTTPClientError(error=f"cannot send {MARK}"),
    "with a cause and a note": chained,
    "a reject nobody caught": lambda: Reject(Reason.WRONG_TYPE, field=MARK, found=MARK),
    "out of memory": MemoryError,
}
PLACES: dict[str, tuple[object, str]] = {
    "in a dialect": (cooladata, "reader"),
    "in the core": (importing, "batches"),
    "in a sink": (DynamoDBSink, "write"),
    "in the books": (ImportsTable, "progress"),
}


@pytest.mark.sampled(each="bug place")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_told_by_its_type_and_place(function: Function, place: str, bug: str):
    """The exception Lambda logs and puts into the dead letter says what kind and where; no word of the bug's own."""
    room, name = PLACES[place]

    def crashing(*_: object, **__: object) -> None:
        raise BUGS[bug]()

    with mock.patch.object(room, name, crashing):
        function.imports("rows.json", SOME)
    assert len(function.raised) == 3
    assert_silent(function)
    log = function.said("deliver again")
    assert len(log) == 3
    assert not function.said("failed"), "each failure is told once"
    assert all(f'File "{__file__}"' in line["exception"] and "in crashing" in line["exception"] for line in log)


def discreetly(function: Function, error: Exception) -> None:
    def handler(event: object, context: object) -> None:
        raise error

    telemetry.discreet(function.app.logger)(handler)({}, None)


def test_a_crash_names_the_type_and_the_line(function: Function):
    """Enough to find it in the source."""
    with pytest.raises(
        telemetry.Crashed, match=r"\AKeyError at test_canary.py:\d+ in handler \(its words withheld\)\Z"
    ):
        discreetly(function, KeyError(MARK))


@pytest.mark.parametrize("error", [Unavailable("deliver again"), Misconfigured("SINKS names 'x': choose from …")])
def test_our_own_words_are_told_as_they_are(function: Function, error: Exception):
    """They are about names and numbers, and they say what to do."""
    with pytest.raises(type(error)) as raised:
        discreetly(function, error)
    assert str(raised.value) == str(error)
    assert raised.value.__cause__ is None


def test_a_wrong_definition_says_what_is_wrong_with_it(function: Function):
    """A person's setting, told in full: it is no row."""
    function.imports("wrong/rows.json", SOME)
    said = ["import definition 'wrong': unknown setting 'strictt'"]
    assert [str(error).rpartition(":")[0] for error in function.raised] == said * 3
    assert_silent(function)


# ---- Metrics --------------------------------------------------------------------------------------------------------


def test_what_a_file_was_is_told_once_it_has_ended_its_bad_rows_by_their_reason(function: Function):
    """For the dashboard: each reason is a line with a dimension of its own, and they add up to the bad rows."""
    good = b'{"user_id":"u","event_name":"e","event_time_ts":1425920218354}\n'
    body = good + b"[]\n" + b"x\n" * 2 + good.replace(b'"u"', b'"w"')
    function.imports("told.json", body)
    told = [line for line in function.lines() if "_aws" in line and "ImportedBytes" in line]
    by_reason = [line for line in function.lines() if "_aws" in line and "RowsBadByReason" in line]
    (metrics,) = told
    names = ("RowsGood", "RowsBad", "ImportedBytes", "ThrottledRequests", "ExecutionsSucceeded")
    assert [metrics[name] for name in names] == [[2.0], [3.0], [float(len(body))], [0.0], [1.0]]
    assert metrics["DropToEndMilliseconds"][0] >= metrics["ImportMilliseconds"][0]
    assert {line["reason"]: line["RowsBadByReason"] for line in by_reason} == {
        "not_an_object": [1.0],
        "not_json": [2.0],
    }
    for line in by_reason:
        (described,) = line["_aws"]["CloudWatchMetrics"]
        assert (described["Namespace"], line["service"]) == ("S3EventImporter", metrics["service"])
        assert sorted(described["Dimensions"][0]) == ["reason", "service"]
    assert_silent(function)


# ---- The sweep ------------------------------------------------------------------------------------------------------


def test_the_sweep_tells_the_oldest_file_in_a_metric_and_a_line(function: Function):
    """What the alarm on OldestWaitingSeconds rests on."""
    function.cloud.drop("imports/rows.json", FILES["rows.json"])
    function.cloud.clock.sleep(3600)
    sweep = {"sweep": "waiting"}
    function.tries(lambda: function.app.sweep_handler(sweep, LambdaContext(function.cloud.clock, 120)))
    assert_silent(function)
    (swept,) = function.said("swept")
    (metrics,) = [line for line in function.lines() if "_aws" in line]
    assert {name: swept[name] for name in ("bucket", "key", "waiting_files", "oldest_seconds", "complete")} == {
        "bucket": function.cloud.bucket,
        "key": "imports/rows.json",
        "waiting_files": 1,
        "oldest_seconds": 3600,
        "complete": True,
    }
    (described,) = metrics["_aws"]["CloudWatchMetrics"]
    assert (described["Namespace"], described["Dimensions"]) == ("S3EventImporter", [["service"]])
    told = [{"Name": "WaitingFiles", "Unit": "Count"}, {"Name": "OldestWaitingSeconds", "Unit": "Seconds"}]
    assert [metric for metric in described["Metrics"] if metric in told] == told
    assert (metrics["WaitingFiles"], metrics["OldestWaitingSeconds"]) == ([1.0], [3600.0])


def test_a_sweep_that_fails_tells_no_metric(function: Function):
    """Missing data is what makes its alarm ring."""
    event = {"sweep": "waiting"}
    sweep = lambda: function.app.sweep_handler(event, LambdaContext(function.cloud.clock, 120))  # noqa: E731
    function.tries(sweep, Fault("denied", "ListObjectVersions", always=True))
    assert len(function.raised) == len(function.said("failed")) == 3
    assert all("s3:ListBucketVersions" in str(error) for error in function.raised)
    assert not [line for line in function.lines() if "_aws" in line]
