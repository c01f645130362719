"""4½ · One JSON text, read exactly: the judge for what the fast parser refuses or would alter.

Rule: accepts what RFC 8259 accepts, nothing else; names the byte where it stops making sense; keeps numbers that a
double or a 64-bit integer cannot hold as Decimal; refuses what has no faithful value here: a key twice, a surrogate
without its partner, more than MAX_DEPTH levels. Iterative, so depth costs no stack. About 30 times slower than the
fast parser, which sends it perhaps one row in a thousand.
"""

import json.decoder
import re
from decimal import Decimal, InvalidOperation
from typing import Final

from importer.bad_rows import Reason, Reject
from importer.model import Value

MAX_DEPTH: Final = 1_024  # Measured: orjson 3.13.0 reads 1,024 levels; both paths must refuse the same rows.
_INT64_MIN: Final = -(2**63)
_UINT64_MAX: Final = 2**64 - 1
_SPACE = re.compile(r"[ \t\n\r]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_LITERALS: Final[dict[str, Value]] = {"true": True, "false": False, "null": None}


class _Place(Exception):
    """The text stops being JSON at this character."""

    def __init__(self, at: int, expected: str) -> None:
        self.at = at
        self.expected = expected


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
            hint=_hint(decoded, place.at),
        ) from None
    if parser.refused is not None:
        raise parser.refused
    return value


def _hint(text: str, at: int) -> str:
    if at >= len(text):
        missing = text.count("{") - text.count("}")
        return (
            "add } at the end" if missing == 1 and text.rstrip().endswith(("}", "]", '"')) else "the row was cut short"
        )
    if text.startswith(("NaN", "Infinity", "-Infinity"), at):
        return "JSON has no NaN or Infinity: leave the property out"
    if text[at] == "'":
        return "JSON strings stand in double quotes"
    if text[at] in "}]" and text[:at].rstrip().endswith(","):
        return "remove the comma before it"
    return ""


class _Parser:
    """State of one parse. `refused` is the first thing that is JSON but cannot be kept; JSON errors come before it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.refused: Reject | None = None

    def document(self) -> Value:
        stack: list[tuple[dict[str, Value] | list[Value], str]] = []  # (container, key its value will have above it)
        key = ""
        self._skip()
        opened = False  # the container was just opened: it may close at once
        while True:
            top = stack[-1][0] if stack else None
            found: Value | _Opened
            if isinstance(top, dict):
                if opened and self._take("}"):
                    found, key = self._close(stack)
                else:
                    key = self._key(top)
                    found = self._value()
            elif top is not None and opened and self._take("]"):
                found, key = self._close(stack)
            else:
                found = self._value()
            opened = False
            if isinstance(found, _Opened):
                stack.append((found.container, key))
                if len(stack) > MAX_DEPTH:
                    self._refuse(Reject(Reason.TOO_DEEP, expected=f"at most {MAX_DEPTH} levels"))
                opened = True
                self._skip()
                continue
            value: Value = found
            while True:  # a whole value stands here: put it in its container, then see what follows
                self._skip()
                if not stack:
                    if self.at < len(self.text):
                        raise _Place(self.at, "nothing more")
                    return value
                container = stack[-1][0]
                if len(stack) <= MAX_DEPTH:
                    if isinstance(container, dict):
                        container[key] = value
                    else:
                        container.append(value)
                if self._take(","):
                    self._skip()
                    break
                if self._take("}" if isinstance(container, dict) else "]"):
                    value, key = self._close(stack)
                    continue
                raise _Place(self.at, "',' or '}'" if isinstance(container, dict) else "',' or ']'")

    def _skip(self) -> None:
        self.at = _SPACE.match(self.text, self.at).end()  # type: ignore[union-attr]  # matches the empty string too

    def _take(self, character: str) -> bool:
        if self.text.startswith(character, self.at):
            self.at += 1
            return True
        return False

    @staticmethod
    def _close(stack: "list[tuple[dict[str, Value] | list[Value], str]]") -> "tuple[Value, str]":
        container, key = stack.pop()
        return container, key

    def _refuse(self, reject: Reject) -> None:
        self.refused = self.refused or reject

    def _key(self, container: dict[str, Value]) -> str:
        if not self.text.startswith('"', self.at):
            raise _Place(self.at, "a key in double quotes")
        key = self._string()
        if key in container:
            self._refuse(Reject(Reason.DUPLICATE_KEY, field=key, hint="keep one of them"))
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
            return _Opened({} if first == "{" else [])
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
                Reject(
                    Reason.NOT_UTF8,
                    expected="surrogate escapes in pairs",
                    found=f"half a pair in a string that ends at character {self.at} of the row",
                    hint="the text was cut inside a character: send it whole or without that character",
                )
            )
        return str(value)

    def _number(self, number: "re.Match[str]") -> Value:
        token = number.group()
        try:
            exact = Decimal(token)
        except InvalidOperation:  # an exponent of more than 18 digits
            self._refuse(Reject(Reason.NUMBER_OUT_OF_RANGE, found=token))
            return 0
        if number.group(1) is None and number.group(2) is None and _INT64_MIN <= exact <= _UINT64_MAX:
            return int(exact)
        near = float(exact)
        try:
            return near if Decimal(repr(near)) == exact else exact
        except InvalidOperation:
            return exact


class _Opened:
    """A container that has begun."""

    def __init__(self, container: "dict[str, Value] | list[Value]") -> None:
        self.container = container
