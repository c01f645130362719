"""Every sample of events/ through `sam local invoke`: Lambda's Python in a container, the function's own permissions.

What counts is what happened in the twin. sam's exit code does not: it is 0 also where the function raised.
The twin's own notification and part queue are switched off first: what was imported was imported by a container.
"""

import json
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import unquote_plus

import boto3
import pytest

from cli import sam_local, twin
from cli.sam_local import Invocation, SamLocalError
from cli.stack import Stack
from tests.support import oracle
from tests.support.samples import EVENTS, SAMPLES, Named
from tests.unit.test_api_samples import ANSWERS

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.xdist_group("engine")]

CANARY = b'{"event_name":"canary","event_time_ts":1425920218354,"user_id":"canary"}\n'


class Bench:
    """A twin that imports nothing by itself, and the functions in containers beside it."""

    def __init__(self, stack: Stack, *invoke: Callable[[str], Invocation]) -> None:
        self.invoke, self.invoke_part, self.invoke_sweep, self.invoke_api = invoke
        self.bucket, self.token = stack.bucket, stack.api_token
        session = boto3.Session(stack.access_key_id, stack.secret_access_key, region_name=stack.region)
        self.s3 = session.client("s3", endpoint_url=stack.endpoint_url)
        self.events = session.resource("dynamodb", endpoint_url=stack.endpoint_url).Table(stack.events_table)
        self.sqs = session.client("sqs", endpoint_url=stack.endpoint_url)
        self.part_queue_url = stack.part_queue_url
        self.s3.put_bucket_notification_configuration(Bucket=self.bucket, NotificationConfiguration={})
        functions = session.client("lambda", endpoint_url=stack.endpoint_url)
        for mapping in functions.list_event_source_mappings()["EventSourceMappings"]:
            functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)

    def drop(self, key: str, body: bytes) -> str:
        """Returns the version S3 has given it."""
        return self.s3.put_object(Bucket=self.bucket, Key=key, Body=body)["VersionId"]

    def tasks(self) -> list[str]:
        """Bodies of the messages in the part queue, which are gone then."""
        taken = self.sqs.receive_message(QueueUrl=self.part_queue_url, MaxNumberOfMessages=10).get("Messages", [])
        for message in taken:
            self.sqs.delete_message(QueueUrl=self.part_queue_url, ReceiptHandle=message["ReceiptHandle"])
        return [message["Body"] for message in taken]

    def objects(self) -> dict[str, bytes]:
        pages = self.s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return {key: self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in keys}

    def event_keys(self) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        page: dict[str, Any] = {}
        while True:
            answer = self.events.scan(ProjectionExpression="user_id, event_key", **page)
            found |= {(item["user_id"], item["event_key"]) for item in answer["Items"]}
            if "LastEvaluatedKey" not in answer:
                return found
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def empty(self) -> None:
        """No object and no event: what is there after the next invocation is its doing."""
        for key in self.objects():
            self.s3.delete_object(Bucket=self.bucket, Key=key)
        for user_id, event_key in self.event_keys():
            self.events.delete_item(Key={"user_id": user_id, "event_key": event_key})


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Fails where there is no engine: a sample that was not tried must not look like one that passed."""
    missing = None
    try:
        with (
            sam_local.engine() as engine,
            twin.running(tmp_path_factory.mktemp("twin"), ["PartSizeMiB=8"]) as stack,
            ExitStack() as functions,
        ):
            yield Bench(
                stack,
                *(
                    functions.enter_context(sam_local.function(stack, engine, tmp_path_factory.mktemp(name), name))
                    for name in sam_local.FUNCTIONS[:4]
                ),
            )
    except SamLocalError as error:
        missing = str(error)
    if missing is not None:
        pytest.fail(missing, pytrace=False)


@pytest.mark.parametrize("name", SAMPLES)
def test_what_a_sample_names_is_imported_in_a_container_and_nothing_else_is(bench: Bench, name: str) -> None:
    """Each object: events in the table, bad rows in errors/, a receipt, the source moved byte for byte.

    A sample that names nothing to import changes nothing, though a file lies under each key it mentions; one that is
    not understood raises, after what was understood of it was imported.
    """
    sample = SAMPLES[name]
    event = sam_local.addressed((EVENTS / name).read_text(encoding="utf-8"), bench.bucket)
    bench.empty()
    for named in sample.objects:
        version = bench.drop(named.key, named.body())
        if named.version_id is not None:
            event = event.replace(named.version_id, version)
    canaries = {} if sample.objects else dict.fromkeys(keys_mentioned(event), CANARY)
    for key, body in canaries.items():
        bench.drop(key, body)

    done = bench.invoke(event)

    if sample.raises:
        assert done.error is not None, done.log
        assert done.error.startswith("UnknownNotification: "), done.log
    else:
        assert done.error is None, done.log
        assert [execution["status"] for execution in done.answer["executions"]] == ["SUCCEEDED"] * len(sample.objects)
    left = bench.objects()
    assert {key: left.pop(key, None) for key in canaries} == canaries
    receipts = {json.loads(body)["source"]["key"]: json.loads(body) for body in under("receipts", left).values()}
    assert {key: sums_of(receipt) for key, receipt in receipts.items()} == {
        named.key: expected_sums(named) for named in sample.objects
    }
    assert under("completed_imports", left) == {stem(named): named.body() for named in sample.objects}
    assert {name: body for name, body in under("errors", left).items() if not name.endswith(".reasons.ndjson")} == {
        stem(named): b"".join(row.written for row in expected(named).bad_rows)
        for named in sample.objects
        if expected(named).bad
    }
    assert [key for key in left if not is_dated(key)] == []
    assert bench.event_keys() == {key for named in sample.objects for key in expected(named).events}


def test_a_file_over_the_part_size_is_cut_and_its_parts_are_imported_in_containers(bench: Bench) -> None:
    """The import function makes tasks, the part function takes one straight and one as SQS delivers it."""
    bench.empty()
    padding = "x" * 150_000
    body = b"".join(
        b'{"event_name":"e","event_time_ts":%d,"user_id":"u","x":"%b"}\n' % (1425920218354 + n, padding.encode())
        for n in range(57)
    )
    bench.drop("imports/large.json", body)
    event = sam_local.addressed((EVENTS / "s3-put.json").read_text(encoding="utf-8"), bench.bucket)
    done = bench.invoke(event.replace("imports/logins.json", "imports/large.json"))
    assert done.error is None, done.log
    first, second = sorted(bench.tasks(), key=lambda task: json.loads(task)["start"])
    through_sqs = json.loads((EVENTS / "part" / "sqs-task.json").read_text(encoding="utf-8"))
    through_sqs["Records"][0]["body"] = second
    phases = []
    for event in (first, json.dumps(through_sqs)):
        done = bench.invoke_part(event)
        assert done.error is None, done.log
        phases += [execution["phase"] for execution in done.answer["executions"]]
    assert phases == ["IMPORTING", "CLOSED"]
    left = bench.objects()
    assert under("completed_imports", left) == {"large.json": body}
    (receipt,) = map(json.loads, under("receipts", left).values())
    assert {**sums_of(receipt), "parts": receipt["parts"]} == {
        "status": "SUCCEEDED",
        "complete": True,
        "lines": 57,
        "blank": 0,
        "good": 57,
        "bad": 0,
        "events": 57,
        "parts": 2,
    }
    assert len(bench.event_keys()) == 57


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("unfinished", {"unfinished": 0, "sent_on": 0, "failed": 0}),
        ("waiting", {"waiting_files": 0, "oldest_waiting_seconds": 0}),
    ],
)
def test_the_sweep_looks_around_in_a_container(bench: Bench, name: str, answer: dict[str, int]) -> None:
    """Under its own role, with what its schedule sends; a file dropped just now does not wait yet."""
    bench.empty()
    bench.drop("imports/young.json", CANARY)
    done = bench.invoke_sweep((EVENTS / "sweep" / f"{name}.json").read_text(encoding="utf-8"))
    assert (done.error, done.answer) == (None, answer), done.log
    assert bench.objects() == {"imports/young.json": CANARY}


def sums_of(receipt: dict[str, Any]) -> dict[str, Any]:
    return {name: receipt[name] for name in ("status", "complete", "lines", "blank", "good", "bad", "events")}


def expected(named: Named) -> oracle.Expected:
    return oracle.read(named.key, named.body())


def expected_sums(named: Named) -> dict[str, Any]:
    file = expected(named)
    counts = {"lines": file.lines, "blank": file.blank, "good": file.good, "bad": file.bad, "events": len(file.events)}
    return {"status": "SUCCEEDED", "complete": True, **counts}


def stem(named: Named) -> str:
    return named.key.removeprefix("imports/")


def is_dated(key: str) -> bool:
    """Where the importer writes: folders by day, of today."""
    return re.match(r"(completed_imports|errors|receipts)/2\d{3}/\d\d/\d\d/", key) is not None


def under(folder: str, objects: dict[str, bytes]) -> dict[str, bytes]:
    """The objects of a folder by day, by their names below the day."""
    prefix = re.compile(rf"{folder}/\d{{4}}/\d\d/\d\d/")
    return {prefix.sub("", key, count=1): body for key, body in objects.items() if prefix.match(key)}


def keys_mentioned(event: str) -> set[str]:
    """Every key an event speaks of, in whatever envelope, as S3 knows it."""
    return {unquote_plus(key) for key in re.findall(r'\\*"key\\*":\s*\\*"([^"\\]+)', event)}


@pytest.mark.parametrize(("name", "status"), ANSWERS.items())
def test_a_request_is_answered_in_a_container(bench: Bench, name: str, status: int) -> None:
    """Powertools' routes, a token out of SSM, and what the function's role lets it do."""
    text = (EVENTS / "api" / f"{name}.json").read_text(encoding="utf-8")
    done = bench.invoke_api(sam_local.addressed(text, bench.bucket, bench.token))
    assert done.error is None, done.log
    assert done.answer["statusCode"] == status, done.answer
