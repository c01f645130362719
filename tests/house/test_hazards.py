"""Each hazard of notifications, bytes, sinks, Lambda, SQS and the state machine has a test that says so.

docs/hazards.md lists them; a test answers one by naming its id. C and D also number facts of the dialects: tests of
dialects do not count for them.
"""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTIONS = "ABCDEFGHIN"
ROW = re.compile(r"^\| (?P<ids>[A-Z]\d+(?:(?:, |–)[A-Z]\d+)*) \|", re.MULTILINE)
NAMED = re.compile(rf"(?<![\w.])(?P<first>[{SECTIONS}]\d+)(?:–(?P<last>[{SECTIONS}]\d+))?(?!\w)")
OF_DIALECTS = {
    *("test_formats.py", "test_fields.py", "test_definitions.py", "test_cases.py", "test_mediarithmics.py"),
    "oracle.py",
}


def ids_in(text: str) -> set[str]:
    """The ids a text names; D1–D3 names three."""
    found: set[str] = set()
    for named in NAMED.finditer(text):
        first, last = named["first"], named["last"] or named["first"]
        found |= {f"{first[0]}{number}" for number in range(int(first[1:]), int(last[1:]) + 1)}
    return found


def listed() -> list[str]:
    """The ids of the table, in its order."""
    text = (ROOT / "docs" / "hazards.md").read_text(encoding="utf-8")
    rows = [ids_in(row["ids"]) for row in ROW.finditer(text)]
    return sorted({hazard for row in rows for hazard in row}, key=lambda hazard: (hazard[0], int(hazard[1:])))


def named_by() -> dict[str, set[str]]:
    """Hazard → the test files that name it."""
    found: dict[str, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        if path == Path(__file__):
            continue
        for hazard in ids_in(path.read_text(encoding="utf-8")):
            if not (hazard[0] in "CD" and path.name in OF_DIALECTS):
                found.setdefault(hazard, set()).add(path.name)
    return found


NAMING = named_by()


@pytest.mark.parametrize("hazard", listed())
def test_hazard_is_named_by_a_test(hazard: str):
    """What docs/hazards.md promises is held by something that runs."""
    assert NAMING.get(hazard), f"no test names {hazard} of docs/hazards.md"


def test_table_lists_every_hazard_of_reading_unpacking_and_rows():
    """C1–C11, D1–D6, E1–E12: none is left out, since each is a way to lose or alter a byte."""
    wanted = ids_in("C1–C11 D1–D6 E1–E12")
    assert not wanted - set(listed())


def test_ranges_and_borders_of_ids():
    """D1–D3 names three; E711, a word with an id in it and a quoted section do not count."""
    assert ids_in("D1–D3, (C4) and N11: x") == {"D1", "D2", "D3", "C4", "N11"}
    assert ids_in("noqa: FE7 xA1 A1x K8 J1") == set()
