"""A twin as the end-to-end tests look at it, and files of which every row is known."""

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest

from cli.stack import Stack

WAIT_SECONDS = 60


def require_curl() -> None:
    """Fails the test where the vendors' lines of curl cannot be run: a proof that was left out would look like one."""
    if shutil.which("curl") is None:
        pytest.fail("curl is not installed: apt-get install curl")


class Bench:
    """A twin, looked at with its own administrator's keys."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        session = boto3.Session(stack.access_key_id, stack.secret_access_key, region_name=stack.region)
        self.s3 = session.client("s3", endpoint_url=stack.endpoint_url)
        self.sqs = session.client("sqs", endpoint_url=stack.endpoint_url)
        self.functions = session.client("lambda", endpoint_url=stack.endpoint_url)
        self.tables = session.resource("dynamodb", endpoint_url=stack.endpoint_url)
        self.dynamodb = session.client("dynamodb", endpoint_url=stack.endpoint_url)

    def drop(self, name: str, body: bytes, **more: Any) -> None:
        self.s3.put_object(Bucket=self.stack.bucket, Key=f"imports/{name}", Body=body, **more)

    def keys(self, prefix: str) -> list[str]:
        listed = self.s3.list_objects_v2(Bucket=self.stack.bucket, Prefix=prefix)
        return [entry["Key"] for entry in listed.get("Contents", [])]

    def get(self, key: str) -> bytes:
        return self.s3.get_object(Bucket=self.stack.bucket, Key=key)["Body"].read()

    def lines(self, import_of: str) -> list[dict[str, Any]]:
        """What the stream delivered of one file, oldest first; the twin delivers at once and does not compress."""
        listed = self.s3.list_objects_v2(Bucket=self.stack.stream_bucket, Prefix="events/").get("Contents", [])
        found: list[dict[str, Any]] = []
        for entry in sorted(listed, key=lambda entry: entry["LastModified"]):
            body = self.s3.get_object(Bucket=self.stack.stream_bucket, Key=entry["Key"])["Body"].read()
            found += [json.loads(line) for line in body.splitlines()]
        return [line for line in found if line["execution_id"] == import_of]

    def receipt(self, name: str, seconds: int = WAIT_SECONDS) -> dict[str, Any]:
        key = f"receipts/{today()}/{name}.json"
        until(lambda: self.keys(key) and not self.is_unfinished(name), seconds)
        return json.loads(self.get(key))  # type: ignore[no-any-return]

    def is_unfinished(self, name: str) -> bool:
        items = self.tables.Table(self.stack.imports_table).scan()["Items"]
        file_name = name.rpartition("/")[2]
        return any("unfinished" in item and item["parameters"]["input_file_name"] == file_name for item in items)

    def execution(self, execution_id: str) -> dict[str, dict[str, Any]]:
        """The items of an execution by their sort key."""
        condition = boto3.dynamodb.conditions.Key("pk").eq(f"EXEC#{execution_id}")
        table = self.tables.Table(self.stack.imports_table)
        return {
            item["sk"]: item for item in table.query(KeyConditionExpression=condition, ConsistentRead=True)["Items"]
        }

    def messages(self, queue_url: str) -> int:
        """Those that wait, those that were taken and those that are delayed."""
        names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible", "Delayed")]
        counts = self.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=names)["Attributes"]
        return sum(int(counts[name]) for name in names)

    def event_times(self, user_id: str) -> list[int]:
        """Of all events of a user, in order."""
        condition = boto3.dynamodb.conditions.Key("user_id").eq(user_id)
        found: list[int] = []
        page: dict[str, Any] = {}
        while True:
            answer = self.tables.Table(self.stack.events_table).query(
                KeyConditionExpression=condition, ProjectionExpression="event_time_ts", **page
            )
            found += [int(item["event_time_ts"]) for item in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                return found
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def events(self, user_id: str) -> list[dict[str, Any]]:
        condition = boto3.dynamodb.conditions.Key("user_id").eq(user_id)
        return self.tables.Table(self.stack.events_table).query(KeyConditionExpression=condition)["Items"]


def today() -> str:
    return datetime.now(UTC).strftime("%Y/%m/%d")


def until(true: Callable[[], object], seconds: int = WAIT_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.2)


@dataclass
class File:
    """Rows of some users, and what has to become of them.

    Args:
        event_times: of the good rows, in the file's order.
        bad_lines: line, offset and reason of each bad row, in the file's order.
    """

    users: list[str]
    body: bytes = b""
    lines: int = 0
    event_times: list[int] = field(default_factory=list)
    event_times_by_user: dict[str, list[int]] = field(default_factory=dict)
    bad_lines: list[tuple[int, int, str]] = field(default_factory=list)
    bad_bytes: bytes = b""


def rows_of(name: str, size_bytes: int, row_bytes: int) -> File:
    """A file a little over this size; each 97th row is bad, and rows are of different lengths."""
    file = File([f"{name}-{number}" for number in range(7)])
    file.event_times_by_user = {user: [] for user in file.users}
    rows: list[bytes] = []
    offset = 0
    while offset < size_bytes:
        user, time_ms = file.users[file.lines % len(file.users)], 1425920218354 + file.lines
        is_bad = file.lines % 97 == 5
        padding = "x" * (row_bytes - 100 + file.lines % 41)
        stamp = '"never"' if is_bad else str(time_ms)
        rows.append(f'{{"user_id":"{user}","event_time_ts":{stamp},"event_name":"tick","x":"{padding}"}}\n'.encode())
        file.lines += 1
        if is_bad:
            file.bad_lines.append((file.lines, offset, "bad_time"))
            file.bad_bytes += rows[-1]
        else:
            file.event_times.append(time_ms)
            file.event_times_by_user[user].append(time_ms)
        offset += len(rows[-1])
    file.body = b"".join(rows)
    return file
