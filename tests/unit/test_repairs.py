"""Repairs: what is proposed for a row, and that nothing else is ever changed."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from importer import batches
from importer.bad_rows import ObjectProblem, row_text
from importer.batches import Rules
from importer.csv_rows import Csv
from importer.definitions import Definition
from importer.formats import FORMATS, completed
from importer.layouts import JSON_LINES, Layout, layout_of
from importer.lines import BOM, reading_start
from importer.model import TO_THE_END, Part
from importer.repairs import LABELS, MOST_READINGS, Refused, Repair, Repairer, Rule, loose_json
from importer.repairs.rules import edited
from importer.sinks import SINKS
from tests.support.scenarios import examples
from tests.unit.test_cases import CASES, file_of, row_bytes

REPAIRS = sorted((Path(__file__).parents[1] / "cases" / "repairs").glob("*.json"))
LIMITS = tuple(SINKS.values())
NOW_MS = 1795176000000
AWAY = 1 << 40
DAMAGE = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    '"',
    "'",
    "\\",
    "x",
    "\\x41",
    "NaN",
    "//",
    "/*",
    "True",
    " ",
    "\t",
    "\ufeff",
    "é",
]


@pytest.mark.parametrize("path", REPAIRS, ids=lambda path: path.stem)
def test_what_is_proposed_for_each_row_of_a_case(path: Path) -> None:
    """tests/cases/repairs/: the row, what it becomes, by which rules, and whether it is a guess; or why it stays."""
    case = json.loads(path.read_text(encoding="utf-8"))
    layout: Layout = Csv.of(case["header"].encode()) if "header" in case else JSON_LINES
    rules = Rules(case["format"], completed(Definition(**case["settings"])), case["now_ms"], LIMITS)
    repairer = Repairer(rules, layout)
    for wanted in case["rows"]:
        found = repairer.repair(row_bytes(wanted["row"]) + b"\n")
        if isinstance(found, Repair):
            made: dict[str, Any] = {"becomes": row_text(found.after).decode()}
            made |= {"rules": [rule.value for rule in found.rules], "certain": found.certain}
        else:
            assert isinstance(found, Refused)
            made = {"stays": found.bad.reason, "why": found.why}
        assert {"row": wanted["row"], **made} == wanted


def test_every_rule_has_a_label_and_a_case() -> None:
    """Whoever adds a rule says what a person reads of it, and shows a row it mends."""
    used = {rule for path in REPAIRS for row in json.loads(path.read_text())["rows"] for rule in row.get("rules", [])}
    assert set(LABELS) == set(Rule)
    assert used == {rule.value for rule in Rule}


# -- good rows ---------------------------------------------------------------------------------------------------------


@cache
def rows_of_cases() -> list[tuple[str, Rules, Layout, bytes, int]]:
    """Every row of tests/cases/ with what judges it."""
    found: list[tuple[str, Rules, Layout, bytes, int]] = []
    for path in CASES:
        case = json.loads(path.read_text(encoding="utf-8"))
        definition = completed(Definition(**case.get("settings", {})))
        file = file_of(case)
        try:
            layout = layout_of(definition.mime_type, file)
        except ObjectProblem:
            continue
        rules = Rules(path.parent.name, definition, int(case["now_ms"]), LIMITS)
        part = Part(len(layout.header), TO_THE_END)
        for offset, raw in layout.lines([file[reading_start(part) :]], part):
            if isinstance(raw, bytes) and len(raw) < 100_000:
                found.append((f"{path.parent.name}/{path.stem}", rules, layout, raw, offset))
    return found


def bad(rules: Rules, layout: Layout, raw: bytes, offset: int = AWAY) -> bool:
    return bool(batches.judge(rules, layout)((offset, raw)).bad_rows)


def test_good_rows_of_all_dialects_are_never_touched_and_every_proposal_passes() -> None:
    """Whatever is in tests/cases/: a repair is proposed for bad rows only, and what it makes of one is good."""
    proposals = 0
    for name, rules, layout, raw, offset in rows_of_cases():
        found = Repairer(rules, layout).repair(raw, 1, offset)
        assert (found is None) is not bad(rules, layout, raw, offset), name
        if isinstance(found, Repair):
            proposals += 1
            assert found.before == raw
            assert found.after != raw
            assert all(not bad(rules, layout, row) for row in lines_of(found, layout, offset)), name
    assert proposals > 250


def lines_of(repair: Repair, layout: Layout, offset: int) -> Iterator[bytes]:
    """The rows a repair makes, nearly always one."""
    after = repair.after.removeprefix(BOM) if offset == 0 else repair.after
    yield from after.splitlines(keepends=True) if layout.columns is None and b"\n" in after[:-1] else [after]


@st.composite
def damaged(draw: st.DrawFn) -> tuple[Rules, bytes]:
    """A row of some dialect that was good, with some things done to it."""
    good = [(rules, raw) for _, rules, layout, raw, _ in rows_of_cases() if layout is JSON_LINES]
    rules, raw = draw(st.sampled_from(good))
    text = row_text(raw).decode("utf-8", "replace")
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 2))
        text = text[:at] + draw(st.sampled_from(["", *DAMAGE])) + text[at + cut :]
    return rules, text.replace("\n", " ").encode() + b"\n"


@settings(max_examples=examples(400), deadline=None, suppress_health_check=list(HealthCheck))
@given(damaged())
def test_whatever_was_done_to_a_row_a_good_one_stays_and_a_proposal_is_good(damage: tuple[Rules, bytes]) -> None:
    """Up to three edits at any place of any row of tests/cases/."""
    rules, raw = damage
    found = Repairer(rules).repair(raw)
    assert (found is None) is not bad(rules, JSON_LINES, raw)
    if isinstance(found, Repair):
        assert all(not bad(rules, JSON_LINES, row) for row in lines_of(found, JSON_LINES, AWAY))
        assert found.steps


@settings(max_examples=examples(300), deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=20,
    ),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,", "\t:")]),
    st.booleans(),
)
def test_valid_json_is_read_without_an_edit(value: Any, separators: tuple[str, str], ascii_only: bool) -> None:
    """However it is written."""
    text = json.dumps({"a": value}, separators=separators, ensure_ascii=ascii_only)
    found = loose_json.scan(text)
    assert (found.edits, found.steps, found.trouble) == ([], [], "")
    assert (found.rows[0].start, found.rows[0].stop) == (0, len(text))


@settings(max_examples=examples(300), deadline=None)
@given(st.text(st.sampled_from("{}[],:\"'\\ aNx1-.eE/*#=\u201c\u201d\t")))
def test_reading_any_text_ends_and_its_edits_fit(text: str) -> None:
    """Edits lie in the text, do not overlap, and leave what is between them."""
    found = loose_json.scan(text)
    if not found.trouble:
        edited(text, found.edits)


def test_a_hostile_row_is_read_a_bounded_number_of_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row with many faults of many kinds is given up, not searched for ever."""
    readings = 0
    honest = batches.judge

    def counted(rules: Rules, layout: Layout = JSON_LINES) -> batches.Judge:
        judge = honest(rules, layout)

        def judged(line: Any) -> batches.Batch:
            nonlocal readings
            readings += 1
            return judge(line)

        return judged

    monkeypatch.setattr(batches, "judge", counted)
    repairer = Repairer(Rules("cooladata", Definition(format="cooladata"), NOW_MS, LIMITS))
    row = {"event_name": "e", "event_time_ts": 1425920218354, "user_id": "u"} | {f"p{n}": [n] for n in range(500)}
    assert isinstance(repairer.repair(orjson.dumps(row) + b"\n"), Refused)
    assert readings <= 2 * MOST_READINGS


@pytest.mark.parametrize("dialect", FORMATS)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""], ids=["lf", "crlf", "none"])
def test_a_line_keeps_its_end(dialect: str, end: bytes) -> None:
    """LF, CR LF, or none at the end of a file."""
    good = next(
        row_text(raw)
        for name, rules, layout, raw, _ in rows_of_cases()
        if name.startswith(f"{dialect}/")
        and layout is JSON_LINES
        and raw.startswith(b"{")
        and not bad(rules, layout, raw)
    )
    rules = next(r for name, r, layout, raw, _ in rows_of_cases() if row_text(raw) == good and layout is JSON_LINES)
    found = Repairer(rules).repair(good[:-1] + b",}" + end)
    assert isinstance(found, Repair)
    assert found.after == good + end


def test_a_byte_order_mark_at_the_begin_of_a_file_stays() -> None:
    repairer = Repairer(Rules("cooladata", Definition(), NOW_MS, LIMITS))
    row = b'{"event_name":"e","event_time_ts":1425920218354,"user_id":"u",}\n'
    found = repairer.repair(BOM + row, 1, 0)
    assert isinstance(found, Repair)
    assert found.after == BOM + row.replace(b",}", b"}")
