"""Any dialect in, any out: what is read back is what was said, but for what the writer says is lost."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cli.converting import readings_of
from cli.main import main
from importer.bad_rows import ObjectProblem
from importer.batches import Rules, batches
from importer.definitions import Definition
from importer.formats import FORMATS, completed, reader
from importer.formats.reading import Lost, Reading
from importer.layouts import layout_of
from importer.lines import reading_start
from importer.model import TO_THE_END, Event, Part, UserChange
from importer.rows import row_of
from importer.sinks.records import json_of
from importer.users import PROPERTY
from tests.unit.test_cases import CASES, file_of
from tests.unit.values import by_value

OF_VALUES = {Lost.NESTED, Lost.PROPERTY_NAME, Lost.NULL, Lost.NOT_TEXT}
OF_CHANGES = {
    Lost.USER_PROPERTY,
    Lost.USER_PROPERTY_DELETED,
    Lost.SEGMENT,
    Lost.CONSENT,
    Lost.LINK,
    Lost.LINK_DELETED,
    Lost.ERASURE,
}


def readings(path: Path) -> list[Reading]:
    """What the good rows of a case say."""
    case = json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)
    definition = completed(Definition(**case.get("settings", {})))
    file = file_of(case)
    try:
        layout = layout_of(definition.mime_type, file)
        if layout.columns:
            FORMATS[path.parent.name].refuse_columns(layout.columns, definition.strict)
    except ObjectProblem:
        return []
    part = Part(len(layout.header), TO_THE_END)
    rules = Rules(path.parent.name, definition, int(case["now_ms"]))
    lines = layout.lines([file[reading_start(part) :]], part)
    return [reading for batch in batches(lines, rules, layout) for _, reading in readings_of(batch)]


def written_and_read(reading: Reading, to: str) -> tuple[Reading, set[Lost]]:
    written = FORMATS[to].written(reading)
    read = reader(to, Definition(format=to), 0)
    back = Reading([], [])
    for row in written.rows:
        text = json_of(row)
        again = read(row_of(text), text, 0)
        back.events += again.events
        back.user_changes += again.user_changes
    return back, set(written.lost)


def time_of(time_ms: int | None, lost: set[Lost]) -> int | None:
    return time_ms // 1000 if time_ms is not None and Lost.MILLISECONDS in lost else time_ms


def events_said(events: list[Event], lost: set[Lost]) -> list[Any]:
    """Without what was lost of them; sorted, since a writer may put them together otherwise."""
    whole = not lost & OF_VALUES
    said = []
    for event in events:
        head = [event.event_name, time_of(event.event_time_ts, lost), event.user_id]
        body = [event.properties if whole else None]
        body.append(None if Lost.EXPIRY in lost else event.expires_ms)
        said.append(head + body)
    return sorted((by_value(one) for one in said), key=repr)


def changes_said(changes: list[UserChange], lost: set[Lost]) -> set[str]:
    said = set()
    for change in changes:
        time = None if lost & {Lost.MILLISECONDS, Lost.TIME} else change.event_time_ts
        expires = None if Lost.EXPIRY in lost else change.expires_ms
        told = [change.user_id, change.record, change.value, change.deleted, time, expires]
        said.add(repr(by_value(told)))
    return said


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_what_is_read_back_is_what_was_said_but_for_what_is_lost(path: Path, to: str):
    """Every good row of every case, written in each dialect."""
    for reading in readings(path):
        back, lost = written_and_read(reading, to)
        if Lost.EVENT not in lost:
            assert events_said(back.events, lost) == events_said(reading.events, lost)
        original, found = changes_said(reading.user_changes, lost), changes_said(back.user_changes, lost)
        invented = found - original
        assert not {one for one in invented if PROPERTY not in one}, "a change nobody made"
        if not lost & (OF_CHANGES | OF_VALUES):
            assert found == original


@pytest.mark.parametrize("dialect", FORMATS)
def test_a_dialect_written_in_itself_loses_next_to_nothing(dialect: str):
    """Its own rows can say what they said; but for what only a document type or a CSV can say."""
    allowed = {
        Lost.ERASURE,
        Lost.NULL,
        Lost.PROPERTY_NAME,
        Lost.SESSION_PROPERTIES,
        Lost.LINK,
        Lost.LINK_DELETED,
        Lost.EXPIRY,
    }
    for path in CASES:
        if path.parent.name == dialect:
            for reading in readings(path):
                assert written_and_read(reading, dialect)[1] <= allowed | {Lost.IDENTIFIERS}, path.name


def converted(*arguments: str) -> Any:
    return CliRunner().invoke(main, ["convert", *arguments])


def test_rows_go_to_stdout_and_what_is_lost_to_stderr(tmp_path: Path):
    """What, in how many rows, and the first of them."""
    file = tmp_path / "in.json"
    file.write_text('{"visitor":{"id":"u"},"actions":[{"name":"a","time":1444077951001,"properties":{"x":[1]}}]}\n' * 2)
    result = converted("--to", "cooladata", str(file))
    row = '{"event_name":"a","event_time_ts":1444077951001,"user_id":"u"}\n'
    assert (result.exit_code, result.stdout) == (0, row * 2)
    assert "values that are objects or arrays  in 2 rows, the first is line 1" in result.stderr


def test_refused_rows_are_told_with_their_reasons(tmp_path: Path):
    """They are left out; the exit code says so."""
    file, out = tmp_path / "in.json", tmp_path / "out.json"
    file.write_text('{"_p":"u","_t":1444077951,"_n":"a"}\nnot json\n')
    result = converted("--to", "cooladata", "-o", str(out), "--json", str(file))
    told = json.loads(result.stdout)
    assert (result.exit_code, told["from"], told["good"], told["bad"], told["written"]) == (1, "kissmetrics", 1, 1, 1)
    assert [reason["code"] for reason in told["reasons"]] == ["not_json"]
    assert json.loads(out.read_text()) == {"event_name": "a", "event_time_ts": 1444077951000, "user_id": "u"}


def test_the_file_that_is_read_is_never_written_over(tmp_path: Path):
    """Nor is a report mixed with rows."""
    file = tmp_path / "in.json"
    file.write_text("{}\n")
    assert converted("--to", "woopra", "-o", str(file), str(file)).exit_code == 2
    assert converted("--to", "woopra", "--json", str(file)).exit_code == 2
    assert file.read_text() == "{}\n"
