"""An installation's tables on moto, filled item by item, as imports leave them: for whoever reads people back."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import boto3
from moto import mock_aws

from cli.stack import Stack
from importer.aws.tables import ImportsTable
from importer.model import Event, Execution, Phase, Provenance, S3Object, Status, UserChange, Value, rank
from importer.sinks.items import event_item, record_item

from .quick_moto import quick

T = 1_763_712_000_000  # 2025-11-21T08:00:00Z
REGION = "us-east-1"
_KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": REGION}


@dataclass
class Tables:
    """`say` and `happen` are rows of a file that is uploaded a second after the one before."""

    client: Any
    events: str = "events"
    users: str = "users"
    imports: str = "imports"
    files: int = 0

    def _next(self, key: str) -> Provenance:
        self.files += 1
        execution_id = f"{self.files:032x}"
        return Provenance("mediarithmics", "default", execution_id, f"imports/{key}", T + self.files * 1000)

    def file(self, key: str = "people.json", known: bool = True) -> Provenance:
        """A new upload; `known`: its execution stands in the imports table."""
        source = self._next(key)
        if known:
            stored = S3Object("bucket", source.key, "v1", "etag", 1, source.uploaded_ms)
            execution = Execution(
                source.execution_id, stored, Status.SUCCEEDED, Phase.CLOSED, source.uploaded_ms, {}, source.format, 1
            )
            ImportsTable(self.client, self.imports).create(execution)
        return source

    def say(
        self,
        user_id: str,
        record: str,
        value: Value = None,
        time_ms: int | None = T,
        source: Provenance | None = None,
        deleted: bool = False,
        expires_ms: int | None = None,
        address: int = 0,
    ) -> dict[str, Any]:
        """A record as a conditional write leaves it; its item."""
        source = source or self._next("people.json")
        change = UserChange(user_id, record, value, time_ms, address, 0, deleted, expires_ms)
        item = record_item(change, rank(change, source), source)
        self.client.put_item(TableName=self.users, Item=item)
        return item

    def link(self, one: str, other: str, time_ms: int = T, source: Provenance | None = None) -> None:
        source = source or self._next("links.json")
        self.say(one, f"link#{other}", True, time_ms, source)
        self.say(other, f"link#{one}", True, time_ms, source)

    def happen(
        self,
        user_id: str,
        time_ms: int,
        name: str = "login",
        properties: dict[str, Value] | None = None,
        source: Provenance | None = None,
        expires_ms: int | None = None,
    ) -> Event:
        source = source or self._next("events.json")
        event = Event(f"{self.files:x}{time_ms:x}", name, time_ms, user_id, properties or {}, 7, expires_ms=expires_ms)
        item = event_item(event, source)
        self.client.put_item(TableName=self.events, Item=item)
        return event


@contextmanager
def tables(indexed: bool = True) -> Iterator[Tables]:
    """Fresh tables, as the template makes them; without the index by segment as an older template did."""
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, _KEYS))
        stack.enter_context(mock_aws())
        stack.enter_context(quick())
        client = boto3.client("dynamodb", region_name=REGION)
        made = Tables(client)
        _make(client, made.events, "user_id", "event_key")
        _make(client, made.imports, "pk", "sk")
        index: dict[str, Any] = {
            "IndexName": "by_segment",
            "KeySchema": _schema("segment", "user_id"),
            "Projection": {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["expires_at", "value", "rank"]},
        }
        _make(client, made.users, "user_id", "record", **({"GlobalSecondaryIndexes": [index]} if indexed else {}))
        yield made


def outputs(made: Tables, directory: Path) -> None:
    """Let the command take these tables for the twin's."""
    stack = Stack(
        region=REGION,
        bucket="bucket",
        events_table=made.events,
        users_table=made.users,
        imports_table=made.imports,
        part_queue_url="",
        dead_letter_queue_url="",
        alarm_topic_arn="",
        functions={},
        access_key_id="testing",
        secret_access_key="testing",
    )
    (directory / "outputs.json").write_text(stack.to_json())


def _make(client: Any, table: str, *key: str, **more: Any) -> None:
    names = {*key, *(a["AttributeName"] for index in more.values() for one in index for a in one["KeySchema"])}
    client.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in sorted(names)],
        KeySchema=_schema(*key),
        **more,
    )


def _schema(*key: str) -> list[dict[str, str]]:
    return [{"AttributeName": name, "KeyType": kind} for name, kind in zip(key, ("HASH", "RANGE"), strict=True)]
