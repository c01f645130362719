"""Every situation in tests/cases/<dialect>/: a small file, and everything the core must make of it.

A case's `rows` are texts; `{"bytes": hex}` stands for what is no text and `{"pieces": [text, [text, times], …]}` for
what is too long to be written out. Numbers are compared by value, never by their Python type. `settings` without a
`format` are those of a file without a definition of its own: its rows may be of several dialects.
"""

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from importer.bad_rows import ObjectProblem
from importer.batches import Rules, batches
from importer.definitions import Definition
from importer.executions.starting import judge_name
from importer.formats import FORMATS, completed
from importer.layouts import layout_of
from importer.lines import reading_start
from importer.model import TO_THE_END, Event, Part, UserChange
from importer.sinks import SINKS
from tests.unit.values import by_value

CASES = [
    path for path in sorted((Path(__file__).parents[1] / "cases").glob("*/*.json")) if path.parent.name != "repairs"
]
FIELDS = {"about", "rule", "name", "settings", "now_ms", "line_end", "byte_order_mark", "rows", "expect"}


def row_bytes(row: Any) -> bytes:
    if isinstance(row, str):
        return row.encode()
    if "bytes" in row:
        return bytes.fromhex(row["bytes"])
    return "".join(piece if isinstance(piece, str) else piece[0] * int(piece[1]) for piece in row["pieces"]).encode()


def file_of(case: dict[str, Any]) -> bytes:
    mark = b"\xef\xbb\xbf" if case.get("byte_order_mark") else b""
    end = case.get("line_end", "\n").encode()
    return mark + b"".join(row_bytes(row) + end for row in case["rows"])


def made_of(case: dict[str, Any], dialect: str) -> dict[str, Any]:
    """What the importer makes of a case's file, in the words of `expect`."""
    definition = completed(Definition(**case.get("settings", {})))
    file = file_of(case)
    now_ms = int(case["now_ms"])
    try:
        judge_name(f"imports/{case.get('name', 'file.json')}", dialect, definition.mime_type)
        layout = layout_of(definition.mime_type, file)
        if layout.columns:
            FORMATS[dialect].refuse_columns(layout.columns, definition.strict)
    except ObjectProblem as problem:
        return {"file_reason": problem.code.value}
    made: dict[str, Any] = {"events": [], "user_changes": [], "bad": [], "notes": {}}
    expired = 0
    rules = Rules(dialect, definition, now_ms, tuple(SINKS.values()))
    rows = Part(len(layout.header), TO_THE_END)
    for batch in batches(layout.lines([file[reading_start(rows) :]], rows), rules, layout):
        for event in batch.events:
            made["events"].append(told(event, lambda name, value: value is None or (name, value) == ("format", "")))
        for change in batch.user_changes:
            made["user_changes"].append(
                told(change, lambda name, value: (name, value) in (("deleted", False), ("expires_ms", None)))
            )
        for bad in batch.bad_rows:
            made["bad"].append({"line": bad.line, "reason": bad.reason, "field": bad.field, "hint": bad.hint})
        for code, noted in batch.tally.notes.items():
            made["notes"].setdefault(code, {"count": 0, "first_line": noted.first_line})["count"] += noted.count
        expired += batch.tally.expired
    return made | ({"expired": expired} if expired else {})


def told(thing: Event | UserChange, is_left_out: Callable[[str, Any], bool]) -> dict[str, Any]:
    """Its attributes, without those that say nothing."""
    values = {name: getattr(thing, name) for name in type(thing).__slots__}
    return {name: value for name, value in values.items() if not is_left_out(name, value)}


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_case_gives_what_it_expects(path: Path):
    """Events, user changes, bad rows and notes, whole and in order; or the reason why the whole file is refused."""
    case = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    assert set(case) <= FIELDS
    assert by_value(made_of(case, path.parent.name)) == by_value(case["expect"])


def test_the_reasons_a_dialect_can_give_have_a_case_each():
    """docs/formats.md points at these files."""
    cases = [json.loads(path.read_text(encoding="utf-8")) for path in CASES if path.parent.name == "cooladata"]
    shown = {bad["reason"] for case in cases for bad in case["expect"].get("bad", [])}
    assert shown == {
        "not_utf8",
        "not_json",
        "line_too_long",
        "not_csv",
        "wrong_column_count",
        "not_an_object",
        "duplicate_key",
        "too_deep",
        "missing_field",
        "wrong_type",
        "nested_value",
        "bad_time",
        "time_unit",
        "time_out_of_window",
        "bad_name",
        "reserved_name",
        "too_long",
        "placeholder_id",
        "unknown_scope_prefix",
        "event_too_large",
        "number_out_of_range",
    }


def test_every_case_says_what_it_is_about_and_which_rule_it_stands_on():
    """A case is read by whoever wonders why a row was refused."""
    for path in CASES:
        case = json.loads(path.read_text(encoding="utf-8"))
        assert case["about"].endswith("."), path.name
        assert case["rule"], path.name
