"""Fetches in the imports table, their queue, and where their files land: the ports of `doors.fetching`.

`FETCH#id/FETCH` holds a fetch; its attributes are those of `fetches.Fetch`, beside the lease. Until it has ended it is
in the sparse index `unfinished`, apart from executions, for the sweep; then it has an
`expires_at`, if the stack says so. It is listed by time in `by_time`. `FETCH#id/WATCH` says when the sweep last sent it
on.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import orjson
from botocore.exceptions import ClientError

from importer.aws import answers, uploads
from importer.aws.attributes import plain
from importer.aws.dispatch import LONGEST_DELAY_S
from importer.aws.objects import S3Objects
from importer.aws.tables import ImportsTable, _index_key, _key, _marshalled, forget_s
from importer.fetches import Access, Fetch, Nudged, UnknownFetch
from importer.model import Execution, Fenced, LeaseHeld, S3Object, Status, Unavailable
from importer.notification import Dropped
from importer.sinks.calls import LOST, said

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

SCHEMA: Final = "fetch/1"
_UNFINISHED: Final = "FETCH"  # partition key of the sparse index
_LISTED: Final = "FETCH"  # partition key of the index that lists by time
_SEARCHED_PAGES: Final = 5  # of 1 MiB each, for an execution that began a moment ago
_NUDGES_KEPT_S: Final = 30 * 86_400  # no fetch lasts as long: UriMaxMinutes is a week at most
_LEASE: Final = ("owner", "lease_until_ms")
_MARK: Final = "fetch-id"  # metadata of a file, by which it is known again


class FetchesTable(ImportsTable):
    """See `doors.fetching.Fetches`. The same table, with one more kind of item."""

    def fetch(self, fetch_id: str) -> Fetch | None:
        item = self._get(f"FETCH#{fetch_id}", "FETCH")
        return None if item is None else _fetch_of(item)

    def create_fetch(self, fetch: Fetch) -> Fetch:
        self._conditional(
            "put_item", Item=_marshalled(_item(fetch)), ConditionExpression="attribute_not_exists(pk)"
        )  # refused or not: what is there now is the answer
        return self._now_fetch(fetch.id)

    def claim_fetch(self, fetch_id: str, owner: str, now_ms: int, lease_until_ms: int) -> Fetch | LeaseHeld:
        claimed = self._conditional(
            "update_item",
            Key=_key(f"FETCH#{fetch_id}", "FETCH"),
            UpdateExpression="SET #owner = :me, lease_until_ms = :until",
            ConditionExpression=(
                "attribute_exists(unfinished) AND"
                " (attribute_not_exists(#owner) OR #owner = :me OR lease_until_ms < :now)"
            ),
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues=_marshalled({":me": owner, ":until": lease_until_ms, ":now": now_ms}),
        )
        item = self._get(f"FETCH#{fetch_id}", "FETCH") or {}
        if item and (claimed or item.get("owner") == owner or "unfinished" not in item):
            return _fetch_of(item)
        return LeaseHeld(item.get("owner", ""), item.get("lease_until_ms", 0), False)

    def keep_fetch(self, before: Fetch, after: Fetch, owner: str, lease_until_ms: int, release: bool = False) -> None:
        item = _item(after) | {"lease_until_ms": lease_until_ms}
        if after.ended and after.end_ms is not None and self._kept_days:
            item["expires_at"] = forget_s(after.end_ms, self._kept_days)
        if not release:
            item["owner"] = owner
        if self._conditional(
            "put_item",
            Item=_marshalled(item),
            # The position and the round too: a late write of our own could move them back (I1).
            ConditionExpression="#owner = :me AND next_offset = :at AND restarts = :restarts",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues=_marshalled(
                {":me": owner, ":at": before.next_offset, ":restarts": before.restarts}
            ),
        ):
            return
        now = self._get(f"FETCH#{before.id}", "FETCH") or {}
        if now != item:  # it is what we wrote, and the reply was lost (F8)
            raise Fenced(f"fetch {before.id} belongs to {now.get('owner')} now")

    def unfinished_fetch_ids(self) -> list[str]:
        found = self._pages(
            IndexName="unfinished",
            KeyConditionExpression="#unfinished = :fetch",
            ExpressionAttributeNames={"#unfinished": "unfinished"},
            ExpressionAttributeValues=_marshalled({":fetch": _UNFINISHED}),
        )
        return [entry["pk"]["S"].removeprefix("FETCH#") for entry in found]

    def unfinished_fetch(self, fetch_id: str) -> tuple[Fetch, int] | None:
        item = self._get(f"FETCH#{fetch_id}", "FETCH")
        return (_fetch_of(item), item.get("lease_until_ms", 0)) if item and "unfinished" in item else None

    def nudged(self, fetch_id: str) -> Nudged:
        item = self._get(f"FETCH#{fetch_id}", "WATCH")
        return Nudged(0, 0) if item is None else Nudged(item["at_ms"], item["times"])

    def write_nudged(self, fetch_id: str, nudged: Nudged) -> None:
        forgotten_s = nudged.at_ms // 1000 + _NUDGES_KEPT_S
        item = {"pk": f"FETCH#{fetch_id}", "sk": "WATCH", **asdict(nudged), "expires_at": forgotten_s}
        self._call("put_item", Item=_marshalled(item))

    def fetches(self, count: int, before_ms: int | None = None) -> list[Fetch]:
        """The newest fetches, newest first, of those asked for before a time. A hint: may lag (F10)."""
        condition, values = "listed = :fetch", {":fetch": _LISTED}
        if before_ms is not None:
            condition += " AND creation_date < :before"
            values |= {":before": before_ms}  # type: ignore[dict-item]
        found: list[Fetch] = []
        for item in self._listed(KeyConditionExpression=condition, ExpressionAttributeValues=_marshalled(values)):
            found.append(_fetch_of(plain(item)))
            if len(found) == count:
                break
        return found

    def execution_since(self, uri: str, since_ms: int) -> Execution | None:
        page: dict[str, Any] = {}
        for _ in range(_SEARCHED_PAGES):
            answer = self._call(
                "query",
                IndexName="by_time",
                KeyConditionExpression="listed = :execution AND creation_date >= :since",
                FilterExpression="#parameters.file_uri = :uri",
                ExpressionAttributeNames={"#parameters": "parameters"},
                ProjectionExpression="pk",
                ExpressionAttributeValues=_marshalled({":execution": "EXECUTION", ":since": since_ms, ":uri": uri}),
                **page,
            )
            if answer["Items"]:
                return self.execution(answer["Items"][0]["pk"]["S"].removeprefix("EXEC#"))
            if "LastEvaluatedKey" not in answer:
                return None
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
        return None

    def _listed(self, **query: Any) -> Iterator[Any]:
        return self._pages(IndexName="by_time", ScanIndexForward=False, **query)

    def _now_fetch(self, fetch_id: str) -> Fetch:
        fetch = self.fetch(fetch_id)
        if fetch is None:
            raise Unavailable(f"fetch {fetch_id} was taken out of the imports table by somebody")
        return fetch


def _item(fetch: Fetch) -> dict[str, Any]:
    item = {
        **asdict(fetch),
        "pk": f"FETCH#{fetch.id}",
        "sk": "FETCH",
        "status": fetch.status.value,
        "listed": _LISTED,
        "creation_date": fetch.created_ms,
    }
    if not fetch.ended:
        item |= {"unfinished": _UNFINISHED, "source_uri": _index_key(fetch.uri)}
    return item


def _fetch_of(item: dict[str, Any]) -> Fetch:
    """Raises Unavailable: it is no item of ours, or was changed by hand."""
    beside = {*_LEASE, "pk", "sk", "listed", "creation_date", "unfinished", "source_uri", "expires_at"}
    try:
        known = {name: value for name, value in item.items() if name not in beside}
        return Fetch(**{**known, "access": Access(**item["access"]), "status": Status(item["status"])})
    except (KeyError, TypeError, ValueError) as broken:
        raise Unavailable(
            f"the item {item.get('pk')} of the imports table cannot be read: {type(broken).__name__}. Somebody has "
            "changed it; the table's point-in-time recovery has what it was"
        ) from broken


# ---- The queue -----------------------------------------------------------------------------------------------------


def fetch_id_of(body: str) -> str:
    """The fetch a message of the fetch queue names.

    Raises:
        UnknownFetch: says what is wrong, and quotes nothing.
    """
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UnknownFetch("the message is not JSON") from None
    match message:
        case {"schema": "fetch/1", "fetch_id": str(fetch_id)} if fetch_id:
            return fetch_id
    raise UnknownFetch(f"the message is no {SCHEMA}")


class FetchQueue:
    """See `doors.fetching.FetchQueue`.

    Args:
        client: makes the client when something is sent.
        queue_url: "" where the stack has no fetch queue.
    """

    def __init__(self, client: "Callable[[], SQSClient]", queue_url: str) -> None:
        self._client = cache(client)
        self._queue_url = queue_url

    def send(self, fetch_id: str, delay_s: int = 0) -> None:
        if not self._queue_url:
            raise Unavailable("FETCH_QUEUE_URL is not set, so nothing can be fetched: deploy with template.yaml")
        body = orjson.dumps({"schema": SCHEMA, "fetch_id": fetch_id}).decode()
        try:
            self._client().send_message(
                QueueUrl=self._queue_url, MessageBody=body, DelaySeconds=min(delay_s, LONGEST_DELAY_S)
            )
        except ClientError as error:
            action = "; allow sqs:SendMessage on it" if "AccessDenied" in said(error) else ""
            raise Unavailable(f"the fetch queue: {said(error)}{action}") from error
        except LOST as error:  # it may be there: a second one changes nothing
            raise Unavailable(f"the fetch queue: {error}") from error


# ---- Where files land ----------------------------------------------------------------------------------------------


class Landing:
    """See `doors.fetching.Landing`."""

    def __init__(self, client: "S3Client", objects: S3Objects, bucket: str) -> None:
        self._s3 = client
        self._objects = objects
        self._bucket = bucket

    @property
    def bucket(self) -> str:
        return self._bucket

    def begin(self, key: str, content_type: str, fetch_id: str) -> str:
        with answers.told(*uploads.writing(self._bucket, key)):
            headers = {"ContentType": content_type, "Metadata": {_MARK: fetch_id}}
            return uploads.Upload.begun(self._s3, self._bucket, key, **headers).id

    def send(self, key: str, upload_id: str, number: int, body: bytes) -> None:
        with answers.told(*uploads.writing(self._bucket, key)):
            self._upload(key, upload_id).send(number, body)  # the stubs know bytes alone

    def complete(self, key: str, upload_id: str, count: int) -> S3Object:
        upload = self._upload(key, upload_id)
        with answers.told(*uploads.listing(self._bucket, key)):
            pieces = upload.pieces()
        with answers.told(*uploads.writing(self._bucket, key)):
            answer = upload.complete(pieces, count)
        return self._appeared(key, answer)

    def empty(self, key: str, content_type: str, fetch_id: str) -> S3Object:
        with answers.told(*uploads.writing(self._bucket, key)):
            answer = self._s3.put_object(
                Bucket=self._bucket, Key=key, Body=b"", ContentType=content_type, Metadata={_MARK: fetch_id}
            )
        return self._appeared(key, answer)

    def landed(self, key: str, fetch_id: str) -> S3Object | None:
        # Without a version: that would be another permission, s3:GetObjectVersion.
        with answers.told(f"HEAD s3://{self._bucket}/{key}", f"s3:GetObject on {answers.under(self._bucket, key)}"):
            try:
                found = self._s3.head_object(Bucket=self._bucket, Key=key)
            except ClientError as error:
                if answers.is_gone(error) or answers.is_denied(error):  # imported and moved meanwhile
                    return None
                raise
        return self._appeared(key, found) if found.get("Metadata", {}).get(_MARK) == fetch_id else None

    def abandon(self, key: str, upload_id: str) -> None:
        self._upload(key, upload_id).abandon()

    def _upload(self, key: str, upload_id: str) -> uploads.Upload:
        return uploads.Upload(self._s3, self._bucket, key, upload_id)

    def _appeared(self, key: str, answer: Any) -> S3Object:
        """With versioning the answer says all there is to know; without, the time is part of the id (N2)."""
        etag, version = answer["ETag"].strip('"'), answer.get("VersionId")
        if version is not None and version != "null":
            return S3Object(self._bucket, key, version, etag, 0, 0)
        file = self._objects.head(Dropped(self._bucket, key, None, etag))
        return file or S3Object(self._bucket, key, None, etag, 0, 0)
