"""Series of files in the imports table: the port of `doors.expecting`.

`SERIES#name/SERIES` holds how the files of a series came. One with a rhythm is listed in the index `by_time`, at the
time at which it stops to be on time: so those that need a look are found by one query, however many there are.
`WATCH#series/WATCH` says up to which creation the executions have been taken into account. DynamoDB forgets a series
some time after `expires_at`.
"""

import uuid
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

import orjson

from importer.aws.attributes import plain
from importer.aws.tables import ImportsTable, _execution_of, _key, _marshalled
from importer.model import Execution, Fenced, Unavailable
from importer.series import Delivery, Series

_LISTED: Final = "SERIES"  # partition key of the index
_FORGOTTEN_AFTER_S: Final = 400 * 86_400  # since the newest delivery: whoever comes once a year has no rhythm
_CURSOR: Final = ("WATCH#series", "WATCH")


class Broken(Unavailable):
    """An item is none of ours any more: somebody has changed it."""


class SeriesTable(ImportsTable):
    """See `doors.expecting.Books`. The same table, with one more kind of item."""

    def created(self, after_ms: int, before_ms: int) -> Iterator[list[Execution | Unavailable]]:
        pending: list[dict[str, Any]] = []
        page: dict[str, Any] = {}
        while after_ms < before_ms - 1:
            answer = self._call(
                "query",
                IndexName="by_time",
                KeyConditionExpression="listed = :listed AND creation_date BETWEEN :first AND :last",
                ExpressionAttributeValues=_marshalled(
                    {":listed": "EXECUTION", ":first": after_ms + 1, ":last": before_ms - 1}
                ),
                **page,
            )
            pending += map(plain, answer["Items"])
            if "LastEvaluatedKey" not in answer:
                break
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
            # Those of one millisecond stay together: by it a series knows what it has had.
            groups = [list(group) for _, group in groupby(pending, key=lambda item: item["creation_date"])]
            pending = groups.pop()
            if groups:
                yield [_execution(item) for group in groups for item in group]
        if pending:
            yield [_execution(item) for item in pending]

    def read_through(self) -> int | None:
        item = self._get(*_CURSOR)
        return None if item is None else int(item["through_ms"])

    def set_read_through(self, through_ms: int) -> None:
        pk, sk = _CURSOR
        self._call("put_item", Item=_marshalled({"pk": pk, "sk": sk, "through_ms": through_ms}))

    def series(self, name: str) -> Series | None:
        item = self._get(f"SERIES#{name}", "SERIES")
        return None if item is None else _series(item)

    def write_series(self, series: Series, attention_ms: int | None) -> Series:
        writer = uuid.uuid4().hex  # so that a lost reply is not taken for another's writing (F8)
        written = Series(series.name, series.deliveries, series.through_ms, series.muted, series.version + 1)
        newest_ms = series.deliveries[-1].last_ms if series.deliveries else series.through_ms
        item: dict[str, Any] = {
            "pk": f"SERIES#{series.name}",
            "sk": "SERIES",
            "deliveries": orjson.dumps([_stored(delivery) for delivery in series.deliveries]).decode(),
            "through_ms": series.through_ms,
            "muted": series.muted,
            "version": written.version,
            "writer": writer,
            "expires_at": newest_ms // 1000 + _FORGOTTEN_AFTER_S,
        }
        if attention_ms is not None:
            item |= {"listed": _LISTED, "creation_date": attention_ms}
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if series.version:
            condition = {
                "ConditionExpression": "version = :before",
                "ExpressionAttributeValues": _marshalled({":before": series.version}),
            }
        if not self._conditional("put_item", Item=_marshalled(item), **condition):
            now = self._get(f"SERIES#{series.name}", "SERIES") or {}
            if now.get("writer") != writer:
                raise Fenced(f"another writer was at series {series.name}")
        return written

    def listed_series(self, until_ms: int | None = None) -> Iterator[Series | Unavailable]:
        condition, values = "listed = :listed", {":listed": _LISTED}
        if until_ms is not None:
            condition += " AND creation_date <= :until"
            values |= {":until": until_ms}  # type: ignore[dict-item]
        items = self._pages(
            IndexName="by_time",
            KeyConditionExpression=condition,
            ExpressionAttributeValues=_marshalled(values),
        )
        return map(_series_or_why_not, map(plain, items))

    def forget_series(self, name: str) -> bool:
        """Whether there was one."""
        known = self._get(f"SERIES#{name}", "SERIES") is not None
        self._call("delete_item", Key=_key(f"SERIES#{name}", "SERIES"))
        return known


def _execution(item: dict[str, Any]) -> Execution | Unavailable:
    try:
        return _execution_of(item)
    except Unavailable as broken:
        return broken


def _series_or_why_not(item: dict[str, Any]) -> Series | Unavailable:
    try:
        return _series(item)
    except Broken as broken:
        return broken


def _stored(delivery: Delivery) -> list[Any]:
    return [
        delivery.first_ms,
        delivery.last_ms - delivery.first_ms,
        delivery.files,
        delivery.rows,
        delivery.size_bytes,
        delivery.packed,
    ]


def _series(item: dict[str, Any]) -> Series:
    """Raises Broken."""
    try:
        deliveries = tuple(
            Delivery(first_ms, first_ms + lasted_ms, files, rows, size_bytes, packed)
            for first_ms, lasted_ms, files, rows, size_bytes, packed in orjson.loads(item["deliveries"])
        )
        name = item["pk"].removeprefix("SERIES#")
        return Series(name, deliveries, item["through_ms"], item["muted"], item["version"])
    except (KeyError, TypeError, ValueError) as broken:
        raise Broken(
            f"the item {item.get('pk')} of the imports table cannot be read: {type(broken).__name__}. Somebody has "
            "changed it; `importer expected forget` removes it"
        ) from broken
