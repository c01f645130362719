"""Do the books balance? The promise of the house, checked from outside over the whole state of a cloud.

    assert_books_balance(cloud, {"imports/a.json": BYTES})

Everything is compared against `oracle`, never against the importer's own counts alone. Each `check_…` is one promise
and may be used by itself; `assert_nothing_lost` holds at every moment, also between a crash and its retry.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from . import oracle

if TYPE_CHECKING:
    from .cloud import Cloud, Dropped

Sources = Mapping[str, "bytes | list[bytes]"]
"""What was dropped, key → bytes; a list where one key was uploaded several times (all versions are imported)."""

DATED = r"\d{4}/\d\d/\d\d/"
USER_VALUE = "value"  # The attribute of a users item that holds a property's value.
TO_THE_END = 2**63 - 1  # Where the last part of every file stops.


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
        _same_event(item, event)
        assert item.get("address") in addresses[key], f"event {key}: no such row begins at {item.get('address')}"
        assert item.get("execution_id"), f"event {key} does not say which execution wrote it"


def _same_event(item: dict[str, Any], event: oracle.Event) -> None:
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
    }, f"event {event.user_id} {event.event_key} differs"


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
    ids: dict[Any, str] = {}
    for line in cloud.stream_lines():
        document = json.loads(line, parse_float=Decimal)
        assert document.pop("execution_id"), f"a line does not say which execution wrote it: {line!r}"
        address, _ = document.pop("address"), document.pop("import_id")
        if document.get("kind") == "user_change":
            change = (document["user_id"], document["record"], document["rank"])
            assert ids.setdefault(change, document["change_id"]) == document["change_id"], f"another id: {line!r}"
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
    assert receipt["error"] is None, f"complete, and yet {receipt['error']}"
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
            assert document["source"]["key"] in (key, receipt["source"]["key"])  # of a replay, the archived object


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


# --- one execution, at an instant at which others may be under way --------------------------------------------------


def check_succeeded(cloud: Cloud, upload: Dropped, execution: dict[str, Any]) -> None:
    """All that SUCCEEDED promises of one execution is true now. `execution`: its item in the imports table."""
    receipt = check_durable(cloud, upload, execution)
    assert execution["status"] == "SUCCEEDED"
    assert (upload.version_id, upload.body) not in cloud.versions(upload.key), f"{upload.key} was not taken away"
    expected = oracle.read(upload.key, upload.body)
    result = execution["result"]
    assert (result["total_success"], result["total_failure"]) == (expected.good, expected.bad), result
    assert receipt["parts"] == execution["num_tasks"]
    check_parts_tile(cloud, upload, execution)


def check_durable(cloud: Cloud, upload: Dropped, execution: dict[str, Any]) -> dict[str, Any]:
    """All that one upload holds is durable: only now may it be deleted. Gives back the receipt."""
    expected = oracle.read(upload.key, upload.body)
    _check_rows_stored(cloud, expected.events.values(), {change[:2] for change in expected.user_changes})
    receipt = _receipt_of(cloud, execution["id"])
    _check_receipt(receipt, upload.body, hashlib.sha256(upload.body).hexdigest(), expected)
    check_bad_rows(cloud, {}, [(upload.key, upload.body, receipt)])
    moved_to = _key_of(receipt["completed_uri"])
    assert _object_at(cloud, receipt["completed_uri"], "completed_imports/") == upload.body, f"{moved_to}: other bytes"
    assert cloud.metadata(moved_to) == upload.metadata, f"{moved_to}: {cloud.metadata(moved_to)}, {upload.metadata}"
    return receipt


def check_ended_early(cloud: Cloud, upload: Dropped, execution: dict[str, Any], gone: bool = False) -> None:
    """All that FAILED and CANCELED promise: what was read is stored, counted, and in errors/; the receipt says how far.

    Args:
        gone: a customer has taken the source away.
    """
    assert execution["status"] in ("FAILED", "CANCELED"), execution
    receipt = _receipt_of(cloud, execution["id"])
    expected = oracle.read(upload.key, upload.body)
    part_bytes = json.loads(execution["state"])["part_bytes"]
    starts = [number * part_bytes for number in range(int(execution["num_tasks"]))]
    unread = {each["part"]: each["from"] for each in receipt["unread"]}
    assert set(unread) <= set(starts), f"no parts begin at {sorted(set(unread) - set(starts))}"
    done = {int(start) for start in execution.get("parts_done", ())}
    assert not done & set(unread), f"read to their ends, and called unread: {sorted(done & set(unread))}"
    stops = [*starts[1:], TO_THE_END]
    read = [(start, unread.get(start, stop)) for start, stop in zip(starts, stops, strict=True)]
    counts = expected.counts(read)
    found = {name: receipt[name] for name in ("status", "complete", "completed_uri", *counts)}
    wanted_numbers = {"status": execution["status"], "complete": False, "completed_uri": None, **counts}
    assert found == wanted_numbers, f"the receipt says {found}, the file {wanted_numbers} in {read}"
    result = execution["result"]
    assert (result["total_success"], result["total_failure"]) == (counts["good"], counts["bad"]), result
    assert sum(reason["count"] for reason in receipt["reasons"]) == counts["bad"], receipt["reasons"]

    def was_read(offset: int) -> bool:
        return any(start <= offset < stop for start, stop in read)

    stored = [event for key, event in expected.events.items() if any(map(was_read, expected.addresses[key]))]
    _check_rows_stored(cloud, stored, set())
    bad_rows = [bad_row for bad_row in expected.bad_rows if was_read(bad_row.offset)]
    written = _object_at(cloud, receipt["errors_uri"], "errors/")
    wanted = expected.header + b"".join(bad_row.written for bad_row in bad_rows) if bad_rows else b""
    # A line too long to be kept is copied from the source; where that is gone, an empty line stands for it.
    without_long = [b"\n" if "line_too_long" in bad_row.reasons else bad_row.written for bad_row in bad_rows]
    as_can_be = (
        (wanted, expected.header + b"".join(without_long)) if gone or execution["status"] == "FAILED" else (wanted,)
    )
    assert written in as_can_be, f"{upload.key}: errors/ of a {execution['status']} execution differs"
    reasons = _object_at(cloud, receipt["reasons_uri"], "errors/").splitlines()
    found_at = [(document["offset"], document["length"]) for document in map(json.loads, reasons)]
    assert found_at == [(bad_row.offset, len(bad_row.row)) for bad_row in bad_rows], f"{upload.key}: reasons"


def check_every_end(cloud: Cloud, taken_away: Collection[str | None] = ()) -> dict[str, int]:
    """All that was dropped into imports/ has come to an end, whatever end, and its books say so.

    Args:
        taken_away: version ids that a customer has deleted for good (without versioning: ETags).
    Returns:
        How many uploads ended how; "nothing" for one that was gone before anybody saw it.
    """
    states = [(item, json.loads(item["state"])["source"]) for item in cloud.items(cloud.imports_table) if _is_one(item)]
    ends: dict[str, int] = {}
    good: set[tuple[str, str]] = set()
    for upload in cloud.dropped:
        if not upload.key.startswith("imports/"):
            continue
        good |= set(oracle.read(upload.key, upload.body).events)
        gone = (upload.version_id or upload.etag) in taken_away
        there = any(
            body == upload.body and upload.version_id in (None, version_id)
            for version_id, body in cloud.versions(upload.key)
        )
        mine = [
            item
            for item, source in states
            if source["key"] == upload.key
            and (source["version_id"] == upload.version_id if upload.version_id else source["etag"] == upload.etag)
        ]
        assert len(mine) == 1 or (not mine and gone), f"{upload.key} {upload.version_id}: {len(mine)} executions"
        ended = mine[0]["status"] if mine else "nothing"
        ends[ended] = ends.get(ended, 0) + 1
        if not mine:
            continue
        assert mine[0]["phase"] == "CLOSED"
        if ended == "SUCCEEDED":
            check_durable(cloud, upload, mine[0])
            assert not there, f"{upload.key} was imported, and is still there"
        else:
            check_ended_early(cloud, upload, mine[0], gone)
            assert there or gone, f"{upload.key} ended {ended}, and is not there any more"
    extra = {(item["user_id"], item["event_key"]) for item in cloud.items(cloud.events_table)} - good
    assert not extra, f"events that nobody dropped: {sorted(extra)[:3]}"
    return ends


def _is_one(item: Mapping[str, Any]) -> bool:
    return item["sk"] == "EXEC"


def check_parts_tile(cloud: Cloud, upload: Dropped, execution: dict[str, Any]) -> None:
    """The parts are half-open intervals that tile the file; each is done, and counted what begins in it."""
    expected = oracle.read(upload.key, upload.body)
    items = [item for item in cloud.items(cloud.imports_table) if item["pk"] == execution["pk"]]
    parts = sorted((item for item in items if item["sk"].startswith("PART#")), key=lambda item: item["start"])
    starts = [int(part["start"]) for part in parts]
    assert [int(part["stop"]) for part in parts] == [*starts[1:], TO_THE_END], f"the parts do not tile: {starts}"
    assert (starts[0], len(starts)) == (0, execution["num_tasks"])
    for part in parts:
        assert part.get("done") is True, f"part {part['start']} is not done"
        check_tally(part["tally"], expected.counts([(int(part["start"]), int(part["stop"]))]))


def check_tally(tally: Mapping[str, Any], truth: Mapping[str, int]) -> None:
    """A part's tally counts the lines that begin in what it has read, by kind."""
    found = {name: int(tally[name]) for name in truth}
    assert found == truth, f"the tally says {found}, the file {dict(truth)}"


def _check_rows_stored(cloud: Cloud, events: Iterable[oracle.Event], records: set[tuple[str, str]]) -> None:
    if cloud.tables_are_written:
        items = {(item["user_id"], item["event_key"]): item for item in cloud.items(cloud.events_table)}
        for event in events:
            key = (event.user_id, event.event_key)
            assert key in items, f"event {key} is not stored"
            _same_event(items[key], event)
        missing = records - {(item["user_id"], item["record"]) for item in cloud.items(cloud.users_table)}
        assert not missing, f"user records are not stored: {sorted(missing)}"
    if cloud.delivery_stream:
        streamed = {json.loads(line).get("event_id") for line in cloud.stream_lines()}
        missing_events = [event.event_id for event in events if event.event_id not in streamed]
        assert not missing_events, f"not on the stream: {missing_events}"


def _receipt_of(cloud: Cloud, execution_id: str) -> dict[str, Any]:
    receipts = [json.loads(body) for body in cloud.objects("receipts/").values()]
    mine = [receipt for receipt in receipts if receipt["execution_id"] == execution_id]
    assert len(mine) == 1, f"{len(mine)} receipts of {execution_id} instead of one"
    return mine[0]


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
