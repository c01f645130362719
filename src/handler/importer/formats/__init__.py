"""5 · Row → events and user changes, one file per vendor's dialect.

`FORMATS` is the whole list. A new dialect is one file, one name here and a folder of cases in tests/cases/.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from importer.definitions import Definition
from importer.formats import cooladata
from importer.formats.reading import Reading
from importer.model import Row

RowReader = Callable[[Row, bytes, int], Reading]


class Format(Protocol):
    """A dialect. Modules are the implementations: each has these names."""

    NAME: str

    def reader(self, definition: Definition, now_ms: int) -> RowReader:
        """Reads (row, row text, address) into a Reading, or raises Reject. The row is the reader's to take apart."""

    def evidence(self, row: Row) -> Sequence[str]:
        """What in this row speaks for the dialect, in words; empty if nothing does."""

    def refuse_name(self, base_name: str, mime_type: str) -> None:
        """Raises ObjectProblem(wrong_kind) for a file name the dialect does not take."""

    def refuse_columns(self, columns: Sequence[str]) -> None:
        """Raises ObjectProblem(csv_header_missing) for the header of a CSV no row of which could be good."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """The dialect a file seems to be written in, and why."""

    format: str
    evidence: tuple[str, ...]


DEFAULT: Final = cooladata.NAME
FORMATS: Final[dict[str, Format]] = {format.NAME: format for format in (cooladata,)}


def recognise(rows: Iterable[Row]) -> Recognised:
    """The dialect most of these rows speak for; without any evidence the default, which then says what is missing."""
    found: dict[str, dict[str, None]] = {name: {} for name in FORMATS}
    score = dict.fromkeys(FORMATS, 0)
    for row in rows:
        for name, dialect in FORMATS.items():
            evidence = dialect.evidence(row)
            score[name] += len(evidence)
            found[name].update(dict.fromkeys(evidence))
    best = max(score, key=lambda name: (score[name], name == DEFAULT))
    return Recognised(best, tuple(found[best]))
