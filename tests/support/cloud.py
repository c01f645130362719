"""A whole AWS account for one test: fresh, strict, deterministic, and readable at a glance.

    with Cloud() as cloud:
        notification = cloud.drop("imports/a.json", b'{"user_id": …}\n')
        lambda_handler(notification, LambdaContext(cloud.clock))
        assert cloud.objects().keys() == {...}

What the test itself does (drop, read back) is invisible to faults, journal and clock. Reads go to moto's memory and
cost microseconds, so a test may compare the whole state after every step.
"""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC
from functools import cache
from typing import Any
from unittest import mock
from urllib.parse import quote_plus

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from moto import mock_aws
from moto.core import DEFAULT_ACCOUNT_ID
from moto.dynamodb.models import dynamodb_backends
from moto.moto_api._internal import mock_random
from moto.s3.models import FakeDeleteMarker, FakeKey, s3_backends
from moto.sqs.models import Message, sqs_backends

from importer.aws import clients

from .clock import CALL_MS, START_MS, Clock
from .quick_moto import quick
from .wire import Wire

REGION = "us-east-1"
VISIBILITY_SECONDS = 1_800  # of the part queue in template.yaml, as is the number of receives
MOST_RECEIVES = 5

_ENVIRONMENT = {
    "AWS_DEFAULT_REGION": REGION,
    "AWS_REGION": REGION,
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_SESSION_TOKEN": "testing",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    # moto keeps larger objects in files, and forked copies of a cloud would share where each of them is read.
    "MOTO_S3_DEFAULT_KEY_BUFFER_SIZE": str(1 << 30),
}


@cache
def shared_session() -> boto3.Session:
    """One session for all clouds: loading models is most of what a client costs."""
    return boto3.Session("testing", "testing", "testing", REGION)


@contextmanager
def used(session: boto3.Session) -> Iterator[None]:
    """Inside, the importer's clients and boto3's own are made by this session."""
    with (
        mock.patch.object(clients, "session", return_value=session._session),
        mock.patch.object(boto3, "DEFAULT_SESSION", session),
    ):
        yield


@dataclass(frozen=True)
class Dropped:
    """One upload, as it was sent."""

    key: str
    body: bytes
    version_id: str | None
    etag: str
    metadata: dict[str, Any]


@dataclass
class Cloud:
    """Bucket, tables, queues (and, asked for, a delivery stream) of one installation.

    Args:
        versioned: as the template makes the bucket; False for a foreign bucket.
        strict: refuse what AWS refuses and moto accepts.
        stream: also make a Firehose delivery stream (10 ms more).
        tables_are_written: False where the stream is the only sink.
        seed: decides moto's version ids, so that a run can be repeated exactly.
        write_ms: what one write of a batch to a table takes.
        quick: sinks may write over the importer's own transport, as deployed.
        topic: also make a topic for notices.
    """

    versioned: bool = True
    strict: bool = True
    stream: bool = False
    tables_are_written: bool = True
    seed: int = 0
    start_ms: int = START_MS
    write_ms: int = CALL_MS
    quick: bool = True
    topic: bool = False

    bucket: str = "import-bucket"
    stream_bucket: str = "stream-bucket"
    events_table: str = "events"
    users_table: str = "users"
    imports_table: str = "imports"
    part_queue_url: str = ""
    dead_letter_queue_url: str = ""
    delivery_stream: str = ""
    notice_bus: str = "default"
    notice_topic: str = ""

    dropped: list[Dropped] = field(default_factory=list)
    transaction_tokens: dict[str, tuple[bytes, int]] = field(default_factory=dict)

    def __enter__(self) -> Cloud:
        self.clock = Clock(self.start_ms)
        self.wire = Wire(self, self.strict, self.quick)
        self.clock.sleeper = self._sleep
        self._clients: dict[str, Any] = {}
        self._sequence = 0x0055AED6DCD90281E5
        self._exit = ExitStack()
        self._exit.enter_context(mock.patch.dict(os.environ, _ENVIRONMENT))
        self._exit.enter_context(mock_aws())
        self._exit.enter_context(quick())
        self._exit.enter_context(used(shared_session()))
        mock_random.seed(self.seed)
        self._exit.enter_context(self.clock.patched())
        self._exit.enter_context(self.wire.installed())
        with self.wire.unseen():
            self._build()
        return self

    def __exit__(self, *exception: object) -> None:
        self._exit.close()

    def _sleep(self, seconds: float) -> None:
        self.wire.check_alive()
        self.clock.advance(seconds * 1000)
        self.wire.check_alive()

    def client(self, service: str) -> Any:
        """A client of the test's own; inside `unseen()` nothing notices it."""
        if service not in self._clients:
            self._clients[service] = shared_session().client(service)
        return self._clients[service]

    def unseen(self):  # type: ignore[no-untyped-def]
        """Calls inside belong to the test, not to the importer."""
        return self.wire.unseen()

    def _build(self) -> None:
        s3 = self.client("s3")
        s3.create_bucket(Bucket=self.bucket)
        if self.versioned:
            s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        self._make_table(self.events_table, {"user_id": "S", "event_key": "S"})
        self._make_table(
            self.users_table,
            {"user_id": "S", "record": "S"},
            by_segment=({"segment": "S", "user_id": "S"}, "ALL"),
        )
        self._make_table(
            self.imports_table,
            {"pk": "S", "sk": "S"},
            unfinished=({"unfinished": "S", "source_uri": "S"}, "KEYS_ONLY"),
            by_time=({"listed": "S", "creation_date": "N"}, "ALL"),
            changes="NEW_AND_OLD_IMAGES",
        )
        if self.topic:
            self.notice_topic = self.client("sns").create_topic(Name="notices")["TopicArn"]
        sqs = self.client("sqs")
        self.dead_letter_queue_url = sqs.create_queue(QueueName="dead-letters")["QueueUrl"]
        redrive = {
            "deadLetterTargetArn": f"arn:aws:sqs:{REGION}:{DEFAULT_ACCOUNT_ID}:dead-letters",
            "maxReceiveCount": MOST_RECEIVES,
        }
        self.part_queue_url = sqs.create_queue(
            QueueName="parts",
            Attributes={"VisibilityTimeout": str(VISIBILITY_SECONDS), "RedrivePolicy": json.dumps(redrive)},
        )["QueueUrl"]
        if self.stream:
            s3.create_bucket(Bucket=self.stream_bucket)
            self.delivery_stream = "events"
            self.client("firehose").create_delivery_stream(
                DeliveryStreamName=self.delivery_stream,
                ExtendedS3DestinationConfiguration={
                    "RoleARN": f"arn:aws:iam::{DEFAULT_ACCOUNT_ID}:role/stream",
                    "BucketARN": f"arn:aws:s3:::{self.stream_bucket}",
                },
            )

    def _make_table(
        self, name: str, key: dict[str, str], changes: str = "", **indexes: tuple[dict[str, str], str]
    ) -> None:
        attributes = dict(key)
        for index_key, _ in indexes.values():
            attributes.update(index_key)
        more: dict[str, Any] = {}
        if changes:
            more["StreamSpecification"] = {"StreamEnabled": True, "StreamViewType": changes}
        if indexes:
            more["GlobalSecondaryIndexes"] = [
                {"IndexName": index, "KeySchema": _schema(index_key), "Projection": {"ProjectionType": projection}}
                for index, (index_key, projection) in indexes.items()
            ]
        self.client("dynamodb").create_table(
            TableName=name,
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": a, "AttributeType": t} for a, t in attributes.items()],
            KeySchema=_schema(key),
            **more,
        )

    # --- what a customer does -----------------------------------------------------------------------------------

    def drop(self, key: str, body: bytes, **put_args: Any) -> dict:
        """Upload a file, and give back the notification S3 sends for it.

        Args:
            put_args: as for PutObject, e.g. ContentType, Metadata, Tagging.
        """
        with self.unseen():
            put = self.client("s3").put_object(Bucket=self.bucket, Key=key, Body=body, **put_args)
        version_id = put.get("VersionId")
        upload = Dropped(key, body, version_id, put["ETag"].strip('"'), self.metadata(key))
        self.dropped.append(upload)
        return self.notification(upload)

    def remove(self, key: str) -> None:
        """Delete the current object, as a customer would (a delete marker, if versioned)."""
        with self.unseen():
            self.client("s3").delete_object(Bucket=self.bucket, Key=key)

    def notification(self, upload: Dropped) -> dict:
        """`ObjectCreated:Put` as S3 sends it straight to a function."""
        self._sequence += 1
        described: dict[str, Any] = {
            "key": quote_plus(upload.key, safe="/"),
            "size": len(upload.body),
            "eTag": upload.etag,
            "sequencer": f"{self._sequence:018X}",
        }
        if upload.version_id is not None:
            described["versionId"] = upload.version_id
        return {
            "Records": [
                {
                    "eventVersion": "2.1",
                    "eventSource": "aws:s3",
                    "awsRegion": REGION,
                    "eventTime": self.clock.now().strftime("%Y-%m-%dT%H:%M:%S.000Z"),
                    "eventName": "ObjectCreated:Put",
                    "userIdentity": {"principalId": "AWS:AIDAEXAMPLE"},
                    "requestParameters": {"sourceIPAddress": "192.0.2.1"},
                    "responseElements": {
                        "x-amz-request-id": "C3D13FE58DE4C810",
                        "x-amz-id-2": "FMyUVURIY8/IgAtTv8xRjskZQpcIZ9KG4V5Wp6S7S/JRWeUWerMUE5JgHvANOjpD",
                    },
                    "s3": {
                        "s3SchemaVersion": "1.0",
                        "configurationId": "imports",
                        "bucket": {
                            "name": self.bucket,
                            "ownerIdentity": {"principalId": "A3NL1KOZZKExample"},
                            "arn": f"arn:aws:s3:::{self.bucket}",
                        },
                        "object": described,
                    },
                }
            ]
        }

    # --- the whole state, read without being noticed -------------------------------------------------------------

    def _versions_by_key(self, bucket: str | None = None) -> Iterator[tuple[str, list]]:
        keys = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[bucket or self.bucket].keys
        for key in sorted(keys):
            yield key, keys.getlist(key) or []

    def uploads(self) -> set[str]:
        """Ids of the multipart uploads that were begun, and neither completed nor aborted."""
        return set(s3_backends[DEFAULT_ACCOUNT_ID]["aws"].buckets[self.bucket].multiparts)

    def objects(self, prefix: str = "", bucket: str | None = None) -> dict[str, bytes]:
        """Every current object's bytes by key, in byte order of the keys."""
        return {
            key: versions[-1].value
            for key, versions in self._versions_by_key(bucket)
            if key.startswith(prefix) and versions and isinstance(versions[-1], FakeKey)
        }

    def versions(self, key: str) -> list[tuple[str, bytes | None]]:
        """Every stored version of one key, oldest first: (version id, bytes), None for a delete marker."""
        return [
            (version.version_id, None if isinstance(version, FakeDeleteMarker) else version.value)
            for name, versions in self._versions_by_key()
            if name == key
            for version in versions
        ]

    def _object(self, key: str, version_id: str | None = None) -> FakeKey | None:
        versions = dict(self._versions_by_key()).get(key, [])
        if version_id is not None:
            versions = [version for version in versions if version.version_id == version_id]
        return versions[-1] if versions and isinstance(versions[-1], FakeKey) else None

    def etag(self, key: str, version_id: str | None = None) -> str | None:
        """The ETag with its quotation marks, or None where there is no object."""
        found = self._object(key, version_id)
        return None if found is None else found.etag

    def body(self, key: str, version_id: str | None = None) -> bytes | None:
        """The bytes of one version (the current one), or None where there is no object."""
        found = self._object(key, version_id)
        return None if found is None else found.value

    def metadata(self, key: str, version_id: str | None = None) -> dict[str, Any]:
        """All that a customer can attach to an object beside its bytes: headers, user metadata, tags."""
        found = self._object(key, version_id)
        if found is None:
            raise KeyError(key)
        tags = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].tagger.get_tag_dict_for_resource(found.arn)
        attached = {name.lower(): value for name, value in found.metadata.items()}
        # moto also keeps headers of the upload there that S3 does not: checksum algorithms, hashes of requests.
        ours = {name: v for name, v in attached.items() if not name.startswith("x-amz-") or "-meta-" in name}
        return {**ours, "tags": tags}

    def stored(self, table: str, key: dict) -> dict:
        """One item as DynamoDB JSON, or {}."""
        wanted = [value for part in key.values() for value in part.values()]
        found = dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].tables[table]
        for item in found.all_items():
            if [item.hash_key.value, item.range_key.value] == wanted:
                return _wire_form(item)
        return {}

    def items(self, table: str) -> list[dict[str, Any]]:
        """Every item as plain Python (numbers stay Decimal), ordered by key."""
        loads = TypeDeserializer().deserialize
        found = dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].tables[table].all_items()
        return [{name: loads(value) for name, value in _wire_form(item).items()} for item in found]

    def put_item(self, table: str, item: dict[str, Any]) -> None:
        """Write one plain item by the test's own hand."""
        with self.unseen():
            stored = {name: TypeSerializer().serialize(value) for name, value in item.items()}
            self.client("dynamodb").put_item(TableName=table, Item=stored)

    def stream_lines(self) -> list[bytes]:
        """Every line the stream has delivered, gzipped records opened, in order of delivery to its bucket."""
        bodies = self.objects(bucket=self.stream_bucket).values()
        text = b"".join(gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body for body in bodies)
        assert not text or text.endswith(b"\n"), "the last line has no end"
        return text.split(b"\n")[:-1]

    def messages(self, queue_url: str | None = None) -> list[str]:
        """Bodies of all messages in a queue (the parts' queue by default), visible or not. They stay there."""
        return [message.body for message in self._messages(queue_url)]

    def _messages(self, queue_url: str | None = None) -> list[Message]:
        name = (queue_url or self.part_queue_url).rsplit("/", 1)[-1]
        found: list[Message] = sqs_backends[DEFAULT_ACCOUNT_ID][REGION].queues[name]._messages
        return found

    def changes(self, begin: int = 0) -> list[dict[str, Any]]:
        """What the imports table's stream has held from this number on, in order: each as Lambda hands it over."""
        shard = dynamodb_backends[DEFAULT_ACCOUNT_ID][REGION].tables[self.imports_table].stream_shard
        return [_as_lambda_has_it(record.record) for record in shard.items[begin:]]

    # --- what Lambda's event source mapping does with the part queue ---------------------------------------------

    def next_message_ms(self) -> int | None:
        """When the next message of the part queue can be received; None where there is none."""
        # moto shows a message from the millisecond after its time on.
        return min((round(max(m.visible_at, m.delayed_until)) + 1 for m in self._messages()), default=None)

    def receive(self, choose: random.Random | None = None) -> tuple[str, str] | None:
        """Receive one message of the part queue: (receipt handle, body). It is hidden for VISIBILITY_SECONDS; after
        MOST_RECEIVES it is among the dead letters instead.

        Args:
            choose: which one of those that can be received; the oldest by default.
        """
        if choose is not None:
            choose.shuffle(self._messages())  # SQS keeps no order
        with self.unseen():
            received = self.client("sqs").receive_message(QueueUrl=self.part_queue_url, WaitTimeSeconds=0)
        messages = received.get("Messages", [])
        return (messages[0]["ReceiptHandle"], messages[0]["Body"]) if messages else None

    def delete_message(self, receipt_handle: str) -> None:
        """Its invocation ended well. Nothing happens where the queue has lost it meanwhile."""
        sqs = self.client("sqs")
        with self.unseen(), suppress(sqs.exceptions.ReceiptHandleIsInvalid):
            sqs.delete_message(QueueUrl=self.part_queue_url, ReceiptHandle=receipt_handle)

    def send(self, body: str, delay_s: int = 0) -> None:
        """Put a message into the part queue by the test's own hand: a duplicate, one of last week."""
        with self.unseen():
            self.client("sqs").send_message(QueueUrl=self.part_queue_url, MessageBody=body, DelaySeconds=delay_s)


def _schema(key: dict[str, str]) -> list[dict[str, str]]:
    return [{"AttributeName": name, "KeyType": kind} for name, kind in zip(key, ("HASH", "RANGE"), strict=False)]


def _wire_form(item: Any) -> dict:
    return {name: value.to_regular_json() for name, value in item.attrs.items()}


def _as_lambda_has_it(record: dict[str, Any]) -> dict[str, Any]:
    """Seconds since 1970 in the place of moto's datetime, which knows no zone and means UTC."""
    change = dict(record["dynamodb"])
    change["ApproximateCreationDateTime"] = change["ApproximateCreationDateTime"].replace(tzinfo=UTC).timestamp()
    return {**record, "dynamodb": change}
