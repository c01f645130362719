"""4½ · One JSON text, read exactly: the judge for what the fast parser refuses or would alter.

Rule: accepts what RFC 8259 accepts, nothing else; names the byte where it stops making sense; keeps numbers that a
double or a 64-bit integer cannot hold as Decimal; refuses what has no faithful value here: a key twice, a surrogate
without its partner, more than MAX_DEPTH levels. Iterative, so depth costs no stack. About 30 times slower than the
fast parser, which sends it perhaps one row in a thousand.
"""

import json
import json.decoder
import re
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Final

from importer.bad_rows import Reason, Reject
from importer.model import Value

MAX_DEPTH: Final = 1_024  # Measured: orjson 3.13.0 reads 1,024 levels; both paths must refuse the same rows.
_INT64_MIN: Final = -(2**63)
_UINT64_MAX: Final = 2**64 - 1
_SPACE = re.compile(r"[ \t\n\r]*")
_ARRAYS = re.compile(r"\[+")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NOTHING: Final = "nothing more"
_AFTER_THE_ROW: Final = {"{": "write it on a line of its own", ",": "remove the comma: only a line break divides rows"}
_MOST_MISSING: Final = 3  # brackets: who forgot more of them made another mistake
_OBJECT: Final = ord("{")
_CLOSING: Final = {_OBJECT: "}", ord("["): "]"}
_OCTAL: Final = re.compile(r"(?:\\[0-3][0-7]{2}){1,4}")
_LITERALS: Final[dict[str, Value]] = {"true": True, "false": False, "null": None}


class _Place(Exception):
    """The text stops being JSON at this character.

    Attributes:
        unclosed: what is open there though nothing but its end could follow, the outermost first: "{" or "[" each.
    """

    def __init__(self, at: int, expected: str, unclosed: bytearray | None = None) -> None:
        self.at = at
        self.expected = expected
        self.unclosed = unclosed or bytearray()


def parse(text: bytes) -> Value:
    """The value of a JSON text.

    Integers within 64 bits are int; other numbers are float where the float's shortest text is numerically equal to
    what was sent, else Decimal.

    Raises:
        Reject: not_utf8, not_json, duplicate_key, too_deep, number_out_of_range (an exponent beyond Decimal).
    """
    try:
        decoded = text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Reject(
            Reason.NOT_UTF8,
            found=f"byte 0x{text[error.start]:02x} at byte {error.start} of the row",
            hint="save the file as UTF-8",
        ) from None
    parser = _Parser(decoded)
    try:
        value = parser.document()
    except _Place as place:
        byte = len(decoded[: place.at].encode())
        found = repr(decoded[place.at]) if place.at < len(decoded) else "the end of the row"
        raise Reject(
            Reason.NOT_JSON,
            expected=place.expected,
            found=f"{found} at byte {byte} of the row",
            hint=_hint(decoded, place, byte),
        ) from None
    if parser.refused is not None:
        raise parser.refused
    return value


def _hint(text: str, place: _Place, byte: int) -> str:
    at = place.at
    if at >= len(text):
        # One level is a slip; where more are open, or a number may go on, what follows is likely to be missing too.
        slip = place.unclosed == b"{" and text.rstrip().endswith(("}", "]", '"'))
        return "add } at the end" if slip else "the row was cut short"
    if text.startswith(("NaN", "Infinity", "-Infinity"), at):
        return "JSON has no NaN or Infinity: leave the property out"
    if text[at] == "'":
        return "JSON strings stand in double quotes"
    octal = _OCTAL.match(text, at)
    if octal is not None:
        return f"octal escapes are not JSON: write {_escaped(octal.group())}"
    if place.expected == _NOTHING and text[:at].rstrip().endswith("}"):
        return _AFTER_THE_ROW.get(text[at], "")
    if text[at] in "}]" and text[:at].rstrip().endswith(","):
        return "remove the comma before it"
    return _missing(text[at], place.unclosed, byte)


def _missing(closing: str, unclosed: bytearray, byte: int) -> str:
    """What must be closed before what a bracket closes (W18); "" where it closes nothing that is open."""
    meant = unclosed.rfind(b"{" if closing == "}" else b"[") if closing in "}]" else -1
    inner = len(unclosed) - 1 - meant  # all of the other kind, as the last one of its own kind is the one meant
    if meant < 0 or not 0 < inner <= _MOST_MISSING:
        return ""
    other = _CLOSING[unclosed[-1]]
    return f"{f'a {other} is' if inner == 1 else f'{inner} {other} are'} missing before the {closing} at byte {byte}"


def _escaped(octal: str) -> str:
    """How the character that octal escapes begin with is written in JSON (K17): they are bytes, mostly of UTF-8."""
    found = bytes(int(byte, 8) for byte in octal.split("\\")[1:])
    for size in range(1, len(found) + 1):
        try:
            character = found[:size].decode()
        except UnicodeDecodeError:
            continue
        if character.isprintable():
            escaped = json.dumps(character)[1:-1]
            return escaped if character.isascii() else f"{character} as it is or as {escaped}"
    return "the character as it is or as \\u and four hexadecimal digits"


class _Parser:
    """State of one parse. `refused` is the first thing that is JSON but cannot be kept; JSON errors come before it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.refused: Reject | None = None

    def document(self) -> Value:
        kinds = bytearray()  # one byte a level: "{" or "["; all that is kept of levels beyond MAX_DEPTH
        stack: list[tuple[dict[str, Value] | list[Value], str]] = []  # (container, key its value will have above it)
        key = ""
        self._skip()
        opened = False  # the container was just opened: it may close at once
        while True:
            value: Value = None
            closed = False
            if opened and self._take(_CLOSING[kinds[-1]]):
                closed = True
            elif opened and self.text.startswith(("}", "]"), self.at):
                raise _Place(self.at, "a key in double quotes" if kinds[-1] == _OBJECT else "a JSON value", kinds)
            else:
                if kinds and kinds[-1] == _OBJECT:
                    key = self._key(stack if len(kinds) <= MAX_DEPTH else [])
                found = self._value()
                if isinstance(found, _Opened):
                    kinds.append(found.kind)
                    if len(kinds) <= MAX_DEPTH:
                        stack.append(({} if found.kind == _OBJECT else [], key))
                    else:
                        self._refuse(Reason.TOO_DEEP, expected=f"at most {MAX_DEPTH} levels")
                        run = _ARRAYS.match(self.text, self.at)  # millions of them come in one go
                        if run is not None:
                            kinds += run.group().encode()
                            self.at = run.end()
                    opened = True
                    self._skip()
                    continue
                value = found
            opened = False
            while True:  # a whole value stands here: put it in its container, then see what follows
                if closed:
                    kinds.pop()
                    if len(kinds) < MAX_DEPTH:
                        value, key = stack.pop()
                self._skip()
                if not kinds:
                    if self.at < len(self.text):
                        raise _Place(self.at, _NOTHING)
                    return value
                if len(kinds) <= MAX_DEPTH:
                    container = stack[-1][0]
                    if isinstance(container, dict):
                        container[key] = value
                    else:
                        container.append(value)
                if self._take(","):
                    self._skip()
                    break
                closed = self._take(_CLOSING[kinds[-1]])
                if not closed:
                    raise _Place(self.at, f"',' or '{_CLOSING[kinds[-1]]}'", kinds)

    def _skip(self) -> None:
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]  # matches the empty string too

    def _take(self, character: str) -> bool:
        if self.text.startswith(character, self.at):
            self.at += 1
            return True
        return False

    def _refuse(self, reason: Reason, field: str = "", expected: str = "", found: str = "", hint: str = "") -> None:
        if self.refused is None:  # a hostile row has a million more of them
            self.refused = Reject(reason, field, expected, found, hint)

    def _key(self, stack: list[tuple[dict[str, Value] | list[Value], str]]) -> str:
        if not self.text.startswith('"', self.at):
            raise _Place(self.at, "a key in double quotes")
        key = self._string()
        if stack and key in stack[-1][0]:
            self._refuse(Reason.DUPLICATE_KEY, field=_path(stack) + key, hint="keep one of them")
        self._skip()
        if not self._take(":"):
            raise _Place(self.at, "':'")
        self._skip()
        return key

    def _value(self) -> "Value | _Opened":
        first = self.text[self.at : self.at + 1]
        if first == '"':
            return self._string()
        if first == "{" or first == "[":
            self.at += 1
            return _Opened(ord(first))
        for literal, value in _LITERALS.items():
            if self.text.startswith(literal, self.at):
                self.at += len(literal)
                return value
        number = _NUMBER.match(self.text, self.at)
        if number is None:
            raise _Place(self.at, "a JSON value")
        self.at = number.end()
        return self._number(number)

    def _string(self) -> str:
        try:
            value, self.at = json.decoder.scanstring(self.text, self.at + 1, True)  # type: ignore[attr-defined]
        except json.JSONDecodeError as error:
            if error.msg.startswith("Unterminated"):
                raise _Place(len(self.text), "the string's closing quote") from None
            raise _Place(error.pos, "a string without raw control characters and with valid escapes") from None
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            self._refuse(
                Reason.NOT_UTF8,
                expected="surrogate escapes in pairs",
                found=f"half a pair in a string that ends at character {self.at} of the row",
                hint="the text was cut inside a character: send it whole or without that character",
            )
        return str(value)

    def _number(self, number: "re.Match[str]") -> Value:
        token = number.group()
        try:
            exact = Decimal(token)
        except InvalidOperation:  # an exponent of more than 18 digits
            if not token.lower().partition("e")[0].strip("-0."):
                return 0
            self._refuse(Reason.NUMBER_OUT_OF_RANGE, found=token)
            return 0
        if number.group(1) is None and number.group(2) is None and _INT64_MIN <= exact <= _UINT64_MAX:
            return int(exact)
        near = float(exact)
        try:
            return near if Decimal(repr(near)) == exact else exact
        except InvalidOperation:
            return exact


def _path(stack: list[tuple[dict[str, Value] | list[Value], str]]) -> str:
    """Where the innermost container stands, as what comes before a name in it: `actions[1].`."""
    path = "".join(
        f"[{len(outer)}]" if isinstance(outer, list) else f".{key}" for (outer, _), (_, key) in pairwise(stack)
    )
    return f"{path}.".removeprefix(".")


class _Opened:
    """A container has begun, of this kind."""

    def __init__(self, kind: int) -> None:
        self.kind = kind
