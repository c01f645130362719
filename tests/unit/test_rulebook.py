"""Which rule refuses a row: the tables of `ledger.rulebook` are those of the pages that people read."""

import re
from collections.abc import Iterator
from pathlib import Path

from importer.bad_rows import Reason
from importer.formats import FORMATS
from importer.ledger import rulebook

DOCS = Path(__file__).parents[2] / "docs"
CODES = {reason.value for reason in Reason}


def cells_of(text: str) -> Iterator[list[str]]:
    """The cells of each line of a table."""
    for line in text.splitlines():
        if line.startswith("|"):
            yield [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def test_every_row_reason_has_the_rule_that_the_page_of_formats_names() -> None:
    section = (DOCS / "formats.md").read_text(encoding="utf-8").split("## Row reasons")[1].split("\n## ")[0]
    told = {cells[0].strip("`"): cells[3] for cells in cells_of(section) if cells[0].strip("`") in CODES}
    assert told == rulebook.COMMON
    assert set(told) == CODES


def test_a_dialects_own_rules_are_those_facts_of_its_page_that_name_the_reason() -> None:
    told: dict[str, dict[str, tuple[str, ...]]] = {}
    for name in FORMATS:
        rules: dict[str, list[str]] = {}
        for cells in cells_of((DOCS / f"formats/{name}.md").read_text(encoding="utf-8")):
            fact = re.match(r"[A-Z]+\d+", cells[0])
            codes = [code for cell in cells for code in re.findall(r"`([a-z_]+)`", cell) if code in CODES]
            for code in codes if fact else ():
                rules.setdefault(code, []).append(fact[0])  # type: ignore[index]
        told[name] = {code: tuple(dict.fromkeys(facts)) for code, facts in rules.items()}
    assert told == rulebook.OF_DIALECT
