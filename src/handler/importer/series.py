"""A series: files that are one thing come again and again, and what is remembered of how they came (pure).

Rule of names: a recurring import's files are the series its definition names. Otherwise files of one folder are one
series if their names differ only in what counts: digits and dates, hexadecimal ids, UUIDs, and what stands between
them; compression is packing. `logins-2012-03-04.json` and `logins_20120305.json.gz` are both `logins*.json`. Folders
that are dates count for nothing either: `2012/03/04/logins.json`. Words do not vary: `monday.json` is a series of its
own, and so is a name that is always the same.

Files that come within GATHER_MS of the first are one delivery. That, and KEPT, is all that bounds what is remembered.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from importer.notification import IMPORTS_PREFIX

GATHER_MS: Final = 40 * 60_000  # so an hourly file may be a third of an hour early or late and is still the next
KEPT: Final = 256  # deliveries: a week of them, the shortest rhythm there can be, so that each weekday was seen

_PACKED: Final = (".gz", ".zst")
_MONTHS: Final = (
    "jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?|oct(?:ober)?"
    "|nov(?:ember)?|dec(?:ember)?"
)
_MONTH_OF_A_YEAR: Final = rf"(?<![a-z])(?:{_MONTHS})[-_. ]?[0-9]{{4}}(?![0-9])"
_UUID: Final = "[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}"
_HEX: Final = r"(?<![0-9a-z])(?=[a-f]*[0-9])[0-9a-f]{8,}(?![0-9a-z])"
_ID: Final = r"(?<![0-9a-z])(?=(?:[a-z]*[0-9]){4})[0-9a-z]{16,}(?![0-9a-z])"  # ULIDs and their like
_DIGITS: Final = rf"[0-9]+(?:[-_. ]?(?:{_MONTHS})(?![a-z])(?=[-_. ]?[0-9]))?(?:(?<=[0-9])[tz](?![a-z]))?"
_SEPARATORS: Final = "[-_.:~+ ]"
_ONE: Final = f"(?:{_UUID}|{_HEX}|{_ID}|{_MONTH_OF_A_YEAR}|{_DIGITS})"
# One or more of what varies, with what stands between and around them.
_VARIES: Final = re.compile(rf"{_SEPARATORS}*{_ONE}(?:{_SEPARATORS}*{_ONE})*{_SEPARATORS}*", re.IGNORECASE)
_DATED_FOLDER: Final = re.compile(rf"(?:[a-z_]+=)?(?:[0-9]+|{_SEPARATORS}|[tz]|{_UUID})*[0-9][0-9tz]*", re.IGNORECASE)


def series_of(key: str, import_id: str = "", pattern: str = "") -> str:
    """What the series of a file is called: its folder and its name, with `*` for what varies; "" if it has none.

    Args:
        import_id: of the definition it was imported by, whose folder is called so and is no date; "" where none is.
        pattern: of the recurring import's series it belongs to; "" where it belongs to none.
    """
    if not key.startswith(IMPORTS_PREFIX):
        return ""
    folder, _, name = key.removeprefix(IMPORTS_PREFIX).rpartition("/")
    if pattern:
        return f"{import_id}/{pattern}"
    folders = [
        part if part == import_id or not _DATED_FOLDER.fullmatch(part) else "*" for part in folder.split("/") if folder
    ]
    folders = [part for place, part in enumerate(folders) if part != "*" or folders[place - 1 : place] != ["*"]]
    packed = next((suffix for suffix in _PACKED if name.lower().endswith(suffix)), "")
    stem, dot, kind = name[: len(name) - len(packed)].rpartition(".")
    base = (_VARIES.sub("*", stem) or "*") + dot + kind if dot else _VARIES.sub("*", kind)
    return "/".join([*folders, base])


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that came.

    Attributes:
        at_ms: when it was dropped.
        size_bytes: as stored; None for one that was refused as a whole, which is no measure of what is usual.
        rows: None while that is not known, or never will be.
        packed: it is compressed, so that its bytes say little of others'.
    """

    at_ms: int
    size_bytes: int | None
    rows: int | None
    packed: bool = False


@dataclass(frozen=True, slots=True)
class Delivery:
    """Files that came together.

    Attributes:
        first_ms, last_ms: when the first and the last of them were dropped.
        files: those that were not refused.
        rows: of these; None if not known of each.
        packed: one of them was compressed.
    """

    first_ms: int
    last_ms: int
    files: int
    rows: int | None
    size_bytes: int
    packed: bool

    @classmethod
    def of(cls, arrival: Arrival) -> "Delivery":
        if arrival.size_bytes is None:
            return cls(arrival.at_ms, arrival.at_ms, 0, 0, 0, False)
        return cls(arrival.at_ms, arrival.at_ms, 1, arrival.rows, arrival.size_bytes, arrival.packed)

    def plus(self, other: "Delivery") -> "Delivery":
        return Delivery(
            min(self.first_ms, other.first_ms),
            max(self.last_ms, other.last_ms),
            self.files + other.files,
            None if self.rows is None or other.rows is None else self.rows + other.rows,
            self.size_bytes + other.size_bytes,
            self.packed or other.packed,
        )


def gathered(deliveries: Iterable[Delivery], within_ms: int) -> list[Delivery]:
    """The same, those that begin within so long of the end of the one before taken together. In order of time."""
    found: list[Delivery] = []
    for one in deliveries:
        if found and one.first_ms - found[-1].last_ms < within_ms:
            found[-1] = found[-1].plus(one)
        else:
            found.append(one)
    return found


def with_arrival(deliveries: Iterable[Delivery], arrival: Arrival) -> tuple[Delivery, ...]:
    """What is remembered once one more file has come, early or late; the newest KEPT."""
    known = list(deliveries)
    new = Delivery.of(arrival)
    for place, one in enumerate(known):
        if -GATHER_MS < arrival.at_ms - one.first_ms < GATHER_MS:
            known[place] = one.plus(new)  # near to its first, or files that come all the time would be one without end
            break
    else:
        known.append(new)
        known.sort(key=lambda delivery: delivery.first_ms)
    return tuple(known[-KEPT:])


@dataclass(frozen=True, slots=True)
class Series:
    """What is remembered of a series.

    Attributes:
        through_ms: creation of the newest execution that has been taken into account.
        muted: a person wants to hear nothing of it.
        version: how often it was written.
    """

    name: str
    deliveries: tuple[Delivery, ...] = ()
    through_ms: int = 0
    muted: bool = False
    version: int = 0
