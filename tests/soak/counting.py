"""After a big import: is every row exactly where it belongs? A bit for each row, whatever the size of the file."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from cli.stack import Stack
from tests.soak.files import Expected, File
from tests.soak.run import Bench


class Unbalanced(AssertionError):
    """Something is missing, too much, or different: the first few of it are named."""


class _Seen:
    """Which rows were found."""

    def __init__(self, file: File) -> None:
        self._file = file
        self._bits = bytearray(-(-file.rows // 8))
        self.found = 0
        self.repeated = 0

    def note(self, number: int, found: dict[str, Any]) -> None:
        """Row `number` was found, looking like this."""
        expected = self._file.expected(number)
        if expected is None:
            raise Unbalanced(f"nothing should have come of row {number}: {found}")
        wanted = _fields(expected)
        if found != wanted:
            raise Unbalanced(f"row {number} became {found}, not {wanted}")
        mask = 1 << (number & 7)
        if self._bits[number >> 3] & mask:
            self.repeated += 1
        else:
            self._bits[number >> 3] |= mask
            self.found += 1

    def assert_all(self, where: str) -> None:
        if self.found != self._file.good:
            missing = [
                number
                for number in range(self._file.rows)
                if not self._bits[number >> 3] & (1 << (number & 7)) and self._file.expected(number) is not None
            ]
            raise Unbalanced(f"{len(missing):,} rows are not in {where}: the first are {missing[:5]}")


def _fields(event: Expected) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "event_name": event.event_name,
        "event_time_ts": event.event_time_ts,
        "user_id": event.user_id,
    }


def count(bench: Bench, key: str, file: File, sinks: tuple[str, ...]) -> dict[str, int]:
    """Compare everything the import left with the file.

    Returns:
        What was counted.
    Raises:
        Unbalanced.
    """
    stack = bench.stack
    counted = _papers(bench, key, file)
    if "dynamodb" in sinks:
        seen = _Seen(file)
        for item in _items(bench, stack.events_table):
            found: dict[str, Any] = {name: item[name]["S"] for name in ("event_id", "event_name", "user_id")}
            found["event_time_ts"] = int(item["event_time_ts"]["N"])
            if item["event_key"]["S"] != f"{found['event_time_ts']:013d}#{found['event_id']}":
                raise Unbalanced(f"an item is under the key {item['event_key']['S']}: {found}")
            seen.note(int(item["properties"]["M"]["n"]["N"]), found)
        seen.assert_all("the events table")
        if seen.repeated:
            raise Unbalanced(f"{seen.repeated:,} rows are in the events table twice")
        counted["items"] = seen.found
    if "firehose" in sinks:
        seen = _Seen(file)
        for line in _lines(bench, stack):
            event = json.loads(line)
            seen.note(event["properties"]["n"], {name: event[name] for name in _fields(_ANY)})
        seen.assert_all("the stream's bucket")
        counted |= {"on_the_stream": seen.found, "on_the_stream_again": seen.repeated}
    return counted


_ANY = Expected(0, "", "", "", 0)


def _papers(bench: Bench, key: str, file: File) -> dict[str, int]:
    """Receipt, errors, reasons, archive; and imports/ is empty."""
    bucket = bench.stack.bucket
    (receipt_key,) = _keys(bench, bucket, "receipts/")
    receipt = json.loads(b"".join(_body(bench, bucket, receipt_key)))
    found = {name: receipt[name] for name in ("status", "complete", "lines", "rows", "good", "bad", "events")}
    wanted = {"status": "SUCCEEDED", "complete": True, "lines": file.rows, "rows": file.rows, "good": file.good}
    wanted |= {"bad": file.bad, "events": file.good}
    _equal("the receipt", found, wanted)
    _equal("the receipt's source", receipt["source"]["sha256"], file.sha256)
    _equal("errors/", _sha256(_body(bench, bucket, _key_of(receipt["errors_uri"]))), file.errors_sha256)
    offsets = hashlib.sha256()
    for line in _split(_body(bench, bucket, _key_of(receipt["reasons_uri"]))):
        reason = json.loads(line)
        offsets.update(b"%d %d %d\n" % (reason["line"], reason["offset"], reason["length"]))
    _equal("the reasons' lines, offsets and lengths", offsets.hexdigest(), file.bad_offsets_sha256)
    _equal("the archive", _sha256(_body(bench, bucket, _key_of(receipt["completed_uri"]))), file.sha256)
    _equal("imports/", _keys(bench, bucket, "imports/"), [])
    _equal("work/", _keys(bench, bucket, "work/"), [])
    _equal("completed_imports/", len(_keys(bench, bucket, "completed_imports/")), 1)
    return {"bytes": file.size_bytes, "rows": file.rows, "bad_rows": file.bad, "parts": receipt["parts"]}


def _equal(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise Unbalanced(f"{what}: {found}, not {wanted}")


def _items(bench: Bench, table: str) -> Iterator[dict[str, Any]]:
    pages = bench.dynamodb.get_paginator("scan").paginate(TableName=table)
    for page in pages:
        yield from page["Items"]


def _lines(bench: Bench, stack: Stack) -> Iterator[bytes]:
    assert stack.stream_bucket is not None
    for key in _keys(bench, stack.stream_bucket, ""):
        yield from _split(_body(bench, stack.stream_bucket, key))


def _keys(bench: Bench, bucket: str, prefix: str) -> list[str]:
    pages = bench.s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def _body(bench: Bench, bucket: str, key: str) -> Iterator[bytes]:
    chunks: Iterator[bytes] = bench.s3.get_object(Bucket=bucket, Key=key)["Body"].iter_chunks(1 << 20)
    return chunks


def _split(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
    if rest:
        yield rest


def _sha256(chunks: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def _key_of(uri: str) -> str:
    return uri.removeprefix("s3://").partition("/")[2]
