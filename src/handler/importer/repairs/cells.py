"""A record of a CSV that is refused → the edits that its reason asks for (pure text, in place)."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from importer.bad_rows import BadRow, Reason
from importer.repairs import times
from importer.repairs.members import Ambiguous, Candidate
from importer.repairs.rules import Rule, Step

_DELIMITERS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}
_MOST_COLUMNS: Final = 200
_TIMES: Final = frozenset([Reason.TIME_UNIT, Reason.BAD_TIME])


def candidates(bad: BadRow, text: str, columns: Sequence[str]) -> Iterator[Candidate]:
    """What may be done about a refused record, the likeliest first.

    Raises:
        Ambiguous: a person has to choose.
    """
    if bad.reason == Reason.NOT_CSV:
        yield from _quotes(text, len(columns))
    elif bad.reason == Reason.WRONG_COLUMN_COUNT:
        yield from _count(text, len(columns))
    elif bad.field in columns and bad.reason in _TIMES:
        cells = _cells(text)
        if cells is None or len(cells) != len(columns):
            return
        index = list(columns).index(bad.field)
        mended = times.mended(bad, _content(cells[index]))
        if mended is not None:
            new, step = mended
            quoted = cells[index].startswith('"')
            cells[index] = f'"{new}"' if quoted or "," in new else new
            yield Candidate(",".join(cells), step)


def _cells(text: str) -> list[str] | None:
    """The fields of a well-formed record as they are written; None where it is none."""
    cells: list[str] = []
    at = 0
    while True:
        found = re.compile(r'"(?:[^"]|"")*"|[^",]*').match(text, at)
        assert found is not None  # it matches the empty field too
        cells.append(found.group())
        at = found.end()
        if at == len(text):
            return cells
        if text[at] != ",":
            return None
        at += 1


def _content(cell: str) -> str:
    return cell[1:-1].replace('""', '"') if cell.startswith('"') else cell


def _quoted(content: str) -> str:
    return '"' + content.replace('"', '""') + '"'


def _count(text: str, wanted: int) -> Iterator[Candidate]:
    cells = _cells(text)
    if cells is None or len(cells) > 2 * _MOST_COLUMNS:
        return
    if len(cells) > wanted:
        if not any(cell.strip() for cell in cells[wanted:]):
            why = f"the header has {wanted} columns: nothing stands in those behind"
            yield Candidate(",".join(cells[:wanted]), Step(Rule.EXTRA_COMMA, why, True))
        yield from _comma_in_value(cells, wanted)
        return
    for delimiter, name in _DELIMITERS.items():
        parts = text.split(delimiter)
        if len(parts) == wanted and '"' not in text:
            made = ",".join(_quoted(part) if "," in part else part for part in parts)
            yield Candidate(made, Step(Rule.DELIMITER, f"this row is divided by {name}, the header by commas", False))
    missing = wanted - len(cells)
    why = f"{'a column is' if missing == 1 else f'{missing} columns are'} missing: left empty at the end"
    yield Candidate(text + "," * missing, Step(Rule.MISSING_COLUMNS, why, False))


def _comma_in_value(cells: list[str], wanted: int) -> Iterator[Candidate]:
    """Two or more fields are one value that holds commas. A blank behind a comma says where; else each place is tried,
    and the reader must refuse all but one: `repairs` sees to that, as all have the same rule."""
    surplus = len(cells) - wanted
    places = [at for at in range(wanted) if not any(cell.startswith('"') for cell in cells[at : at + surplus + 1])]
    spaced = [at for at in places if all(cell.startswith(" ") for cell in cells[at + 1 : at + surplus + 1])]
    inside = [at for at in spaced if not (at and cells[at].startswith(" "))]
    for at in inside or spaced or places:
        joined = _quoted(",".join(cells[at : at + surplus + 1]))
        made = ",".join([*cells[:at], joined, *cells[at + surplus + 1 :]])
        yield Candidate(
            made, Step(Rule.COMMA_IN_VALUE, f"the value of column {at + 1} holds a comma: in quotes", False)
        )


def _quotes(text: str, wanted: int) -> Iterator[Candidate]:
    escaped = re.sub(r'(?<!\\)\\"', '""', text)
    if escaped != text:
        yield Candidate(escaped, Step(Rule.CSV_QUOTES, "a quote inside a field is doubled, not escaped by \\", True))
    spaced = re.sub(r'(^|,)[ \t]+("(?:[^"]|"")*")[ \t]*(?=,|$)', r"\1\2", text)
    spaced = re.sub(r'("(?:[^"]|"")*")[ \t]+(?=,|$)', r"\1", spaced)
    if spaced != text:
        yield Candidate(spaced, Step(Rule.CSV_QUOTES, "no blank stands between a comma and a quote", True))
    parts = text.split(",")
    if len(parts) == wanted:
        made = [_mended(part) for part in parts]
        certain = not any(part.count('"') % 2 and part.startswith('"') for part in parts)
        why = "a field with a quote stands in quotes, each quote in it twice"
        yield Candidate(",".join(made), Step(Rule.CSV_QUOTES, why, certain))
    if text.count('"') % 2 and re.search(r'(?:^|,)"[^"]*$', text):
        yield Candidate(text + '"', Step(Rule.CSV_QUOTES, "the last field's quote is never closed", False))


def _mended(part: str) -> str:
    """One field as CSV writes it."""
    if '"' not in part or re.fullmatch(r'"(?:[^"]|"")*"', part):
        return part
    if part.startswith('"') and part.endswith('"') and len(part) > 1:
        return _quoted(part[1:-1].replace('""', '"'))
    if part.startswith('"') and part.count('"') == 1:
        return part + '"'
    return _quoted(part)


__all__ = ["Ambiguous", "candidates"]
