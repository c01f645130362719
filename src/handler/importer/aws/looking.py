"""What an alarm is about, looked up: executions and fetches by time, logs, and dead letters without taking them.

Everything here only reads, and is bounded: an explanation that comes late is as bad as none.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from botocore.exceptions import ClientError

from importer.aws.answers import code, told
from importer.aws.fetches import FetchesTable
from importer.aws.tables import execution_in
from importer.model import Denied, Execution, Unavailable
from importer.sinks.calls import LOST, said

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

MOST_PAGES: Final = 5  # of a query, 1 MB each: about 1,500 executions
MOST_LINES: Final = 200
MOST_LETTERS: Final = 50
HEAD_BYTES: Final = 256 << 10  # of an errors file or its reasons: the first hundreds of rows
_RECEIVED: Final = 10  # Quota: messages of one ReceiveMessage
_FRUITLESS: Final = 3  # answers without a new message in a row: a short poll asks some of SQS's servers only
_FILTERS: Final = {
    "failed": ("#status = :failed", {"#status": "status"}, {":failed": {"S": "FAILED"}}),
    "bad": ("#result.#bad > :none", {"#result": "result", "#bad": "total_failure"}, {":none": {"N": "0"}}),
    "any": ("attribute_exists(pk)", {}, {}),
}


class AlarmTable(FetchesTable):
    """The imports table, asked by time."""

    def newest(self, which: str, before_ms: int | None) -> tuple[list[Execution], bool]:
        """Executions created until then, newest first, of those that MOST_PAGES hold; and whether these are all.

        Args:
            which: "failed"; "bad": some of its rows were refused; or "any".
        Raises:
            Unavailable.
        """
        condition, names, values = _FILTERS[which]
        query: dict[str, Any] = {
            "IndexName": "by_time",
            "KeyConditionExpression": "listed = :listed",
            "FilterExpression": condition,
            "ExpressionAttributeValues": {":listed": {"S": "EXECUTION"}, **values},
            "ScanIndexForward": False,
        }
        if names:
            query["ExpressionAttributeNames"] = names
        if before_ms is not None:
            query["KeyConditionExpression"] += " AND creation_date <= :before"
            query["ExpressionAttributeValues"][":before"] = {"N": str(before_ms)}
        found: list[Execution] = []
        for _ in range(MOST_PAGES):
            answer = self._call("query", **query)
            found += _readable(answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return found, True
            query["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        return found, False


def _readable(items: list[Any]) -> Iterator[Execution]:
    """Those of another version's shape, or changed by hand, are passed over: the rest explains more than nothing."""
    for item in items:
        try:
            yield execution_in(item)
        except Unavailable:
            continue


class Papers:
    """Receipts, reasons and errors files.

    Args:
        client: makes the client when something is read.
    """

    def __init__(self, client: "Callable[[], S3Client]") -> None:
        self._client = cache(client)

    def head(self, bucket: str, key: str, version_id: str | None = None) -> bytes:
        """The first HEAD_BYTES of an object; of a missing one nothing.

        Raises:
            Unavailable.
        """
        prefix = key.partition("/")[0]
        version: Any = {"VersionId": version_id} if version_id else {}
        with told(f"GET s3://{bucket}/{key}", f"s3:GetObject on s3://{bucket}/{prefix}/*"):
            try:
                answer = self._client().get_object(Bucket=bucket, Key=key, Range=f"bytes=0-{HEAD_BYTES - 1}", **version)
            except ClientError as error:
                if code(error) in ("NoSuchKey", "NoSuchVersion", "404", "InvalidRange", "416", "InvalidObjectState"):
                    return b""
                raise
            return answer["Body"].read()

    def is_there(self, bucket: str, key: str, version_id: str | None = None) -> bool:
        """Whether a key, or that version of it, is there.

        Listed, not asked for: who may not list is answered 403 for what is gone, as for what is forbidden.

        Raises:
            Unavailable.
        """
        prefix = key.partition("/")[0]
        with told(f"LIST VERSIONS s3://{bucket}/{key}", f"s3:ListBucketVersions on s3://{bucket} for {prefix}/*"):
            answer = self._client().list_object_versions(Bucket=bucket, Prefix=key)
        found = [one for one in answer.get("Versions", ()) if one["Key"] == key]
        return any(one["VersionId"] == version_id if version_id else one["IsLatest"] for one in found)


class LogsClient(Protocol):
    """What is needed of botocore's client."""

    def filter_log_events(self, **asked: Any) -> Mapping[str, Any]: ...


class Logs:
    """The functions' logs.

    Args:
        client: makes the client when something is read.
        stack: whose functions they are; "" where nobody knows: then there are none.
    """

    def __init__(self, client: Callable[[], LogsClient], stack: str) -> None:
        self._client = cache(client)
        self._stack = stack

    def lines(self, function: str, pattern: str, after_ms: int, before_ms: int) -> list[tuple[int, str]]:
        """(time, text) of what a function logged then, as far as the pattern tells, newest first.

        Raises:
            Unavailable.
        """
        if not self._stack:
            return []
        group = f"/aws/lambda/{self._stack}-{function}"
        found: list[tuple[int, str]] = []
        page: dict[str, Any] = {}
        try:
            for _ in range(MOST_PAGES):
                answer = self._client().filter_log_events(
                    logGroupName=group,
                    startTime=max(after_ms, 0),
                    endTime=before_ms,
                    filterPattern=pattern,
                    limit=MOST_LINES,
                    **page,
                )
                found += [(event.get("timestamp", 0), event.get("message", "")) for event in answer.get("events", [])]
                if len(found) >= MOST_LINES or not answer.get("nextToken"):
                    break
                page = {"nextToken": answer["nextToken"]}
        except ClientError as error:
            if code(error) == "ResourceNotFoundException":
                return []
            _refused(error, f"the log group {group}", f"logs:FilterLogEvents on {group}")
        except LOST as error:
            raise Unavailable(f"the log group {group}: {error}") from error
        return sorted(found, reverse=True)[:MOST_LINES]


class Peek:
    """The dead-letter queue, looked at: what is seen stays, and stays to be seen by others.

    Args:
        client: makes the client when it is looked at.
    """

    def __init__(self, client: "Callable[[], SQSClient]", queue_url: str) -> None:
        self._client = cache(client)
        self._url = queue_url

    def messages(self) -> tuple[list[Any], bool]:
        """Up to MOST_LETTERS of them, oldest first; and whether these are all, as far as SQS says.

        Raises:
            Unavailable.
        """
        if not self._url:
            return [], True
        found: dict[str, Any] = {}
        fruitless = 0
        try:
            while fruitless < _FRUITLESS and len(found) < MOST_LETTERS:
                answer = self._client().receive_message(
                    QueueUrl=self._url,
                    MaxNumberOfMessages=_RECEIVED,
                    # Hidden from nobody, not for a second: the alarm on this queue looks at what is visible. So SQS may
                    # give the same ones again, and a long queue is seen in part.
                    VisibilityTimeout=0,
                    AttributeNames=["All"],
                    MessageAttributeNames=["All"],
                )
                new = {m["MessageId"]: m for m in answer.get("Messages", []) if m["MessageId"] not in found}
                found |= new
                fruitless = 0 if new else fruitless + 1
        except ClientError as error:
            _refused(error, "the dead-letter queue", "sqs:ReceiveMessage on it")
        except LOST as error:
            raise Unavailable(f"the dead-letter queue: {error}") from error
        ordered = sorted(found.values(), key=lambda m: str(m.get("Attributes", {}).get("SentTimestamp", "")).zfill(20))
        return ordered[:MOST_LETTERS], len(found) < MOST_LETTERS


def _refused(error: ClientError, what: str, permission: str) -> NoReturn:
    if "AccessDenied" in code(error) or "Authorization" in code(error):
        raise Denied(f"{what}: {code(error)}; allow {permission}") from error
    raise Unavailable(f"{what}: {said(error)}") from error
