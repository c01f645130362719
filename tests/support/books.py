"""Do the books balance? The promise of the house, checked from outside over the whole state of a cloud.

    assert_books_balance(cloud, {"imports/a.json": BYTES})

Everything is compared against `oracle`, never against the importer's own counts alone. Each `check_…` is one promise
and may be used by itself; `assert_nothing_lost` holds at every moment, also between a crash and its retry.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from . import oracle

if TYPE_CHECKING:
    from .cloud import Cloud

Sources = Mapping[str, "bytes | list[bytes]"]
"""What was dropped, key → bytes; a list where one key was uploaded several times (all versions are imported)."""

DATED = r"\d{4}/\d\d/\d\d/"
USER_VALUE = "value"  # The attribute of a users item that holds a property's value.


def assert_books_balance(
    cloud: Cloud, sources: Sources, untouched: Mapping[str, bytes] | None = None, tidy: bool = False
) -> None:
    """After every execution ended SUCCEEDED: exactly this is there, and nothing else.

    Args:
        untouched: objects outside the account of these sources that must still stand in imports/, byte for byte.
        tidy: nothing is left in work/ either. A crash after the end leaves segments to the bucket's lifecycle rule.
    """
    receipts = check_receipts(cloud, sources)
    if cloud.tables_are_written:
        check_events(cloud, sources)
        check_users(cloud, sources)
    if cloud.delivery_stream:
        check_stream(cloud, sources)
    check_bad_rows(cloud, sources, receipts)
    check_sources_moved(cloud, sources, receipts, untouched or {})
    check_executions(cloud, sources, receipts)
    check_nothing_else(cloud, receipts, untouched or {}, tidy)


def _each(sources: Sources) -> list[tuple[str, bytes]]:
    return [
        (key, body) for key, bodies in sources.items() for body in (bodies if isinstance(bodies, list) else [bodies])
    ]


# --- the promises -------------------------------------------------------------------------------------------------


def check_events(cloud: Cloud, sources: Sources) -> None:
    """The events table holds every good row's event, each once, equal by value, and no other."""
    wanted: dict[tuple[str, str], oracle.Event] = {}
    addresses: dict[tuple[str, str], set[int]] = {}
    for source_key, body in _each(sources):
        expected = oracle.read(source_key, body)
        wanted.update(expected.events)
        for key, offsets in expected.addresses.items():
            addresses.setdefault(key, set()).update(offsets)
    items = {(item["user_id"], item["event_key"]): item for item in cloud.items(cloud.events_table)}
    _same_keys("events", items, wanted)
    for key, event in wanted.items():
        item = items[key]
        found = {
            "event_id": item.get("event_id"),
            "event_name": item.get("event_name"),
            "event_time_ts": item.get("event_time_ts"),
            "properties": item.get("properties", {}),
            "format": item.get("format"),
        }
        assert found == {
            "event_id": event.event_id,
            "event_name": event.event_name,
            "event_time_ts": event.event_time_ts,
            "properties": event.properties,
            "format": "cooladata",
        }, f"event {key} differs"
        assert item.get("address") in addresses[key], f"event {key}: no such row begins at {item.get('address')}"
        assert item.get("execution_id"), f"event {key} does not say which execution wrote it"


def check_stream(cloud: Cloud, sources: Sources) -> None:
    """The stream got every good row's event and user changes at least once, equal by value, and nothing else.

    What was delivered twice is told by its id; both lines say the same but for who wrote them, and where it stood.
    """
    wanted: dict[str, Any] = {}
    addresses: dict[str, set[int]] = {}
    changes: set[tuple[str, str, Any]] = set()
    for source_key, body in _each(sources):
        expected = oracle.read(source_key, body)
        for key, event in expected.events.items():
            wanted[event.event_id] = {
                "event_id": event.event_id,
                "event_name": event.event_name,
                "event_time_ts": event.event_time_ts,
                "user_id": event.user_id,
                "properties": event.properties,
                "format": "cooladata",
            }
            addresses.setdefault(event.event_id, set()).update(expected.addresses[key])
        changes |= {(user_id, record, value) for user_id, record, _, value in expected.user_changes}
    found: dict[str, Any] = {}
    found_changes: set[tuple[str, str, Any]] = set()
    for line in cloud.stream_lines():
        document = json.loads(line, parse_float=Decimal)
        assert document.pop("execution_id"), f"a line does not say which execution wrote it: {line!r}"
        address, _ = document.pop("address"), document.pop("import_id")
        if document.get("kind") == "user_change":
            found_changes.add((document["user_id"], document["record"], document["value"]))
            continue
        assert address in addresses[document["event_id"]], f"no such row begins at {address}: {line!r}"
        assert found.setdefault(document["event_id"], document) == document, f"two events of one id: {line!r}"
    _same_keys("stream", found, wanted)
    assert found == wanted
    assert found_changes == changes, f"user changes: missing {changes - found_changes}, extra {found_changes - changes}"


def check_users(cloud: Cloud, sources: Sources) -> None:
    """The users table holds for each user and property the value of the highest rank."""
    ranked: dict[tuple[str, str], tuple[tuple, Any]] = {}
    for source_key, body in _each(sources):
        for number, (user_id, record, (time_ms, index), value) in enumerate(oracle.read(source_key, body).user_changes):
            rank = (time_ms, source_key, number, index)  # Rows are read in order, so their number ranks as the offset.
            if (user_id, record) not in ranked or ranked[user_id, record][0] < rank:
                ranked[user_id, record] = (rank, value)
    items = {(item["user_id"], item["record"]): item for item in cloud.items(cloud.users_table)}
    _same_keys("users", items, ranked)
    for key, (_, value) in ranked.items():
        assert items[key].get(USER_VALUE) == value, f"user record {key}: {items[key]} should hold {value!r}"


def check_receipts(cloud: Cloud, sources: Sources) -> list[tuple[str, bytes, dict]]:
    """Each dropped version has one receipt: complete, balanced, true.

    Returns: (source key, its bytes, receipt) for each.
    """
    receipts = [json.loads(body) for body in cloud.objects("receipts/").values()]
    matched = []
    for key, body in _each(sources):
        sha256 = hashlib.sha256(body).hexdigest()
        versions = {drop.version_id for drop in cloud.dropped if (drop.key, drop.body) == (key, body)}
        mine = [
            receipt
            for receipt in receipts
            if receipt["source"]["key"] == key
            and (receipt["source"]["version_id"] in versions or receipt["source"]["sha256"] == sha256)
        ]
        assert len(mine) == 1, f"{key}: {len(mine)} receipts instead of one, of {sorted(cloud.objects('receipts/'))}"
        _check_receipt(mine[0], body, sha256, oracle.read(key, body))
        matched.append((key, body, mine[0]))
    assert len(receipts) == len(matched), f"{len(receipts)} receipts for {len(matched)} dropped versions"
    return matched


def _check_receipt(receipt: dict, body: bytes, sha256: str, expected: oracle.Expected) -> None:
    numbers = ("lines", "blank", "rows", "good", "bad")
    found = {name: receipt[name] for name in ("schema", "status", "complete", "format", *numbers, "events")}
    assert found == {
        "schema": "receipt/1",
        "status": "SUCCEEDED",
        "complete": True,
        "format": "cooladata",
        **{name: getattr(expected, name) for name in numbers},
        "events": expected.good,
    }
    assert sum(reason["count"] for reason in receipt["reasons"]) == expected.bad, receipt["reasons"]
    assert receipt["source"]["bytes"] == len(body)
    assert receipt["source"].get("sha256") in (None, sha256), "the receipt's sha256 is of other bytes"


def check_bad_rows(cloud: Cloud, sources: Sources, receipts: Iterable[tuple[str, bytes, dict]]) -> None:
    """errors/ holds every bad row once, byte for byte, in order; the reasons stand beside it, in step."""
    for key, body, receipt in receipts:
        expected = oracle.read(key, body)
        bad_rows = expected.bad_rows
        written = _object_at(cloud, receipt.get("errors_uri"), "errors/")
        wanted = expected.header + b"".join(bad_row.written for bad_row in bad_rows) if bad_rows else b""
        assert written == wanted, f"{key}: errors/ differs"
        documents = [json.loads(line) for line in _object_at(cloud, receipt.get("reasons_uri"), "errors/").splitlines()]
        found = [(document["line"], document["offset"], document["length"]) for document in documents]
        assert found == [(bad_row.line, bad_row.offset, len(bad_row.row)) for bad_row in bad_rows], f"{key}: reasons"
        for bad_row, document in zip(bad_rows, documents, strict=True):
            assert document["schema"] == "bad_row/1"
            assert document["reason"] in bad_row.reasons, f"{document['reason']} for {bad_row.row!r}"
            assert document["source"]["key"] == key


def check_sources_moved(
    cloud: Cloud,
    sources: Sources,
    receipts: Iterable[tuple[str, bytes, dict]],
    untouched: Mapping[str, bytes],
) -> None:
    """Each source stands in completed_imports/ with bytes and metadata as they were, and no longer in imports/."""
    for key, body, receipt in receipts:
        moved_to = _key_of(receipt["completed_uri"])
        assert _object_at(cloud, receipt["completed_uri"], "completed_imports/") == body, f"{moved_to} has other bytes"
        dropped = [drop for drop in cloud.dropped if (drop.key, drop.body) == (key, body)]
        assert any(cloud.metadata(moved_to) == drop.metadata for drop in dropped), (
            f"{moved_to} has {cloud.metadata(moved_to)}, was dropped with {[drop.metadata for drop in dropped]}"
        )
        if key not in untouched:
            left = [version for version in cloud.versions(key) if version[1] is not None]
            assert not left, f"{key} is still in imports/ after it was moved: {left}"
    for key, body in untouched.items():
        assert cloud.objects().get(key) == body, f"{key}, a newer upload, was touched"


def check_executions(cloud: Cloud, sources: Sources, receipts: Iterable[tuple[str, bytes, dict]]) -> None:
    """One execution for each dropped version, SUCCEEDED, and none in the index of the unfinished."""
    items = cloud.items(cloud.imports_table)
    executions = {item["pk"]: item for item in items if item["pk"].startswith("EXEC#") and item["sk"] == "EXEC"}
    assert set(executions) == {f"EXEC#{receipt['execution_id']}" for _, _, receipt in receipts}
    for key, body, receipt in receipts:
        execution, expected = executions[f"EXEC#{receipt['execution_id']}"], oracle.read(key, body)
        assert execution["status"] == "SUCCEEDED", execution
        result = execution.get("result") or {}
        assert result.get("total_success", expected.good) == expected.good, result
        assert result.get("total_failure", expected.bad) == expected.bad, result
    unfinished = [item["pk"] for item in items if "unfinished" in item]
    assert not unfinished, f"still listed as unfinished: {unfinished}"
    orphans = [item["pk"] for item in items if item["pk"].startswith("EXEC#") and item["pk"] not in executions]
    assert not orphans, f"parts without an execution: {orphans}"


def check_nothing_else(
    cloud: Cloud, receipts: Iterable[tuple[str, bytes, dict]], untouched: Mapping[str, bytes], tidy: bool
) -> None:
    """No object beside those the receipts name."""
    ours = "receipts/" if tidy else ("receipts/", "work/")
    named = set(untouched)
    for _, _, receipt in receipts:
        for name in ("completed_uri", "errors_uri", "reasons_uri"):
            if receipt.get(name):
                named.add(_key_of(receipt[name]))
    others = [key for key in cloud.objects() if key not in named and not key.startswith(ours)]
    assert not others, f"left over: {others}"


def assert_nothing_lost(cloud: Cloud, sources: Sources) -> None:
    """Holds at every moment: each dropped version's bytes stand in imports/ (some version) or completed_imports/."""
    completed = list(cloud.objects("completed_imports/").values())
    for key, body in _each(sources):
        stored = [stored_body for _, stored_body in cloud.versions(key)]
        assert body in stored or body in completed, f"{key} is gone, {len(body)} bytes"


def essence(cloud: Cloud) -> dict[str, Any]:
    """The state without what may differ between two ways of doing the same work: times, costs, cuts.

    Two runs from the same snapshot must agree on it, whatever went wrong on the way.
    """
    objects: dict[str, Any] = dict(cloud.objects())
    for key in objects:
        if key.startswith("receipts/"):
            receipt = json.loads(objects[key])
            objects[key] = {name: receipt[name] for name in receipt if name not in ("parts", "timing", "cost")}
    return {"objects": objects, "events": cloud.items(cloud.events_table), "users": cloud.items(cloud.users_table)}


# --- small things -------------------------------------------------------------------------------------------------


def _same_keys(what: str, found: Mapping, wanted: Mapping) -> None:
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    assert (missing, extra) == ([], []), f"{what}: {len(missing)} missing {missing[:3]}, {len(extra)} extra {extra[:3]}"


def _key_of(uri: str) -> str:
    key = re.fullmatch(r"s3://[^/]+/(.+)", uri, re.DOTALL)
    assert key, f"not an s3 address: {uri}"
    return key[1]


def _object_at(cloud: Cloud, uri: str | None, folder: str) -> bytes:
    """The object a receipt points at; nothing where it points nowhere."""
    if uri is None:
        return b""
    key = _key_of(uri)
    assert re.match(re.escape(folder) + DATED, key), f"{key} does not lie under {folder}YYYY/MM/DD/"
    objects = cloud.objects()
    assert key in objects, f"the receipt names {key}, which is not there"
    return objects[key]
