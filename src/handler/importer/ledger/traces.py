"""Whether a text speaks of a person, and what is left of it when it is blanked (pure).

Rule: an identifier is found where it stands by itself: no letter, digit or underscore before or behind it, nor one of
`- . @ +` that joins it to one. `ada` is in `"ada"`, `id=ada;` and `/ada/`, and neither in `adam` nor in
`ada@example.com`. A text is read as it stands, and with what JSON, CSV, URLs and HTML escape undone, up to three times
(JSON in a value of JSON in a CSV); bytes that are no UTF-8 are read as Latin-1 too. Capitals count: to the store, `Ada`
is somebody else; and so do the ways Unicode writes an accent.

Of a mediarithmics account, `<compartment>:<id>`, the two may stand apart; both must be there.

A blanked row has the same length. Its line breaks stay, so that every other row keeps its line and its offset; all
else becomes blanks, which every reader takes for a blank line. In a CSV the quotation marks of a row may have to stay:
without them a mark that was left open before it would run on into rows behind it (`csv_rows`). Readers refuse such a
row.
"""

import html
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final
from urllib.parse import unquote

from importer.bad_rows import shown
from importer.lines import BOM

ERASED_TEXT: Final = "(erased)"  # in the place of a name or a message that was somebody's
_BLANK: Final = bytes(byte if byte in b"\r\n" else 0x20 for byte in range(256))
_BLANK_BUT_MARKS: Final = bytes(byte if byte in b'\r\n"' else 0x20 for byte in range(256))
_LEFT: Final = b' "\r\n'
_ESCAPE: Final = re.compile(r"""\\(?:u([0-9a-fA-F]{4})|(["'\\/bfnrt]))""")  # of apostrophes, as Python writes them
_ESCAPED: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_ACCOUNT: Final = re.compile(r"(\d+):(.+)\Z", re.DOTALL)
_MAY_ESCAPE: Final = (b"\\", b"%", b"&", b'""', b"\0")
_DEEP: Final = 3  # times that escapes are undone
LONGEST_SPELLING: Final = 32  # bytes an identifier's byte may take where it is escaped more than once


def blank(raw: bytes, keep_marks: bool = False) -> bytes:
    """A row, or some of one, blanked."""
    return raw.translate(_BLANK_BUT_MARKS if keep_marks else _BLANK)


def is_blank(raw: bytes) -> bool:
    """Whether this is what `blank` leaves of a row."""
    return not raw.translate(None, _LEFT)


class Traces:
    """The spellings of a person's identifiers."""

    def __init__(self, identifiers: Iterable[str]) -> None:
        self.identifiers = frozenset(identifiers)
        if not self.identifiers or "" in self.identifiers:
            raise ValueError("a person has identifiers, and none of them is empty")
        self._pattern = _standing_alone(*sorted(self.identifiers, key=lambda one: (-len(one), one)))
        accounts = [found for one in sorted(self.identifiers) if (found := _ACCOUNT.match(one))]
        self._accounts = [(_standing_alone(found[2]), _standing_alone(found[1])) for found in accounts]
        texts = [*self.identifiers, *(found[2] for found in accounts)]
        self._needles = tuple(sorted({text.encode("utf-8", "surrogatepass") for text in texts}))
        self._words = tuple(sorted(set(texts)))
        # As lists of names cut them: those that turn up most in a file, say.
        self.shown = frozenset(shown(one) for one in self.identifiers)
        self.longest_bytes = max(map(len, self._needles))

    def in_text(self, text: str) -> bool:
        """Whether a text speaks of the person, whatever it escapes."""
        return any(self._stands_in(reading) for reading in _readings(text))

    def in_bytes(self, raw: bytes) -> bool:
        """Whether the bytes of a row do."""
        is_plain = raw.isascii() and not any(mark in raw for mark in _MAY_ESCAPE)
        if is_plain and not any(needle in raw for needle in self._needles):
            return False
        return any(self.in_text(text) for text in _decoded(raw))

    def in_windows(self, windows: Iterable[bytes]) -> bool:
        """Whether a text that is looked at in windows, which overlap, does: of an account, each part in another one."""
        left = [set(patterns) for patterns in self._accounts]
        for window in windows:
            if self.in_bytes(window):
                return True
            readings = [reading for text in _decoded(window) for reading in _readings(text)] if left else []
            for patterns in left:
                patterns -= {pattern for pattern in patterns if any(map(pattern.search, readings))}
                if not patterns:
                    return True
        return False

    def in_value(self, value: object) -> bool:
        """Whether any text or name in a JSON value does."""
        if isinstance(value, str):
            return self.in_text(value)
        if isinstance(value, dict):
            return any(self.in_text(str(name)) or self.in_value(member) for name, member in value.items())
        if isinstance(value, (list, tuple, set, frozenset)):
            return any(map(self.in_value, value))
        return False

    def _stands_in(self, text: str) -> bool:
        if not any(word in text for word in self._words):  # many times as fast as the pattern, and nearly always so
            return False
        if self._pattern.search(text):
            return True
        return any(own.search(text) and compartment.search(text) for own, compartment in self._accounts)


def _standing_alone(*words: str) -> "re.Pattern[str]":
    either = "|".join(map(re.escape, words))
    return re.compile(rf"(?<!\w)(?<!\w[-.@+])(?:{either})(?!\w)(?![-.@+]\w)")


def _decoded(raw: bytes) -> Iterator[str]:
    raw = raw.removeprefix(BOM)
    try:
        yield raw.decode()
    except UnicodeDecodeError:
        yield raw.decode("utf-8", "replace")
        yield raw.decode("latin-1")
    if b"\0" in raw:  # a file in UTF-16 is refused, and lies where it was dropped
        for encoding in ("utf-16-le", "utf-16-be"):
            for skipped in (0, 1):  # a line break ends in the middle of a character
                yield raw[skipped:].decode(encoding, "ignore")


def _readings(text: str) -> Iterator[str]:
    """A text as it stands; with one kind of escape undone; then with one after the other, again and again."""
    yield text
    for undone_by in _UNDOING:
        yield from _changed(text, undone_by)
    undone = text
    for _ in range(_DEEP):
        before = undone
        for undone_by in _UNDOING:
            for changed in _changed(undone, undone_by):
                undone = changed
                yield undone
        if undone == before:
            return


def _changed(text: str, undone_by: "_Undone") -> Iterator[str]:
    mark, undo = undone_by
    if mark in text and (undone := undo(text)) != text:
        yield undone


_Undone = tuple[str, Callable[[str], str]]


def _without_json(text: str) -> str:
    return _ESCAPE.sub(_unescaped, text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _unescaped(found: "re.Match[str]") -> str:
    if found[1]:
        return chr(int(found[1], 16))
    return _ESCAPED.get(found[2], found[2])


_UNDOING: Final[tuple[_Undone, ...]] = (
    ("\\", _without_json),
    ('""', lambda text: text.replace('""', '"')),
    ("%", unquote),
    ("&", html.unescape),
)
