"""One object of a row: its fields by name, each checked for what the vendor says of it; and the terms they are read on.

Rule: null and "" are absent. A mandatory field that is missing is refused with the name that was meant, where the
object holds one that is nearly right; a field that is there is never read as another type.
"""

import re
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import islice
from typing import Final

from importer import fields
from importer.bad_rows import Reason, Reject, shown
from importer.definitions import LATEST_TIME_MS, TEXT_CSV, Definition
from importer.model import Row, UserChange, Value

ANY_TIME: Final = (0, LATEST_TIME_MS)
MINUTE_MS: Final = 60_000
MINUTES_EXPECTED: Final = "a whole number of minutes; 0 is never"
UUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}\Z")
_DIGITS: Final = re.compile(r"[+-]?[0-9]{1,30}\Z", re.ASCII)
_LARGEST: Final = 10**30  # no number of minutes or milliseconds is as large; a longer one would only take time

# Names people send for another; beside these, anything spelt nearly like it gets the hint. Folded: letters and digits.
_ALIASES: Final = {
    "ts": ("timestamp", "time", "date", "eventts"),
    "events": ("actions",),
    "eventname": ("name", "event"),
    "properties": ("props", "attributes"),
    "type": ("activitytype", "kind"),
    "operation": ("op", "action"),
    "hash": ("emailhash", "sha256"),
    "useraccountid": ("userid", "accountid", "customerid"),
    "emailhash": ("email", "hash"),
    "useragentid": ("agentid", "deviceid", "vectorid"),
    "segmentid": ("segment",),
    "userprofile": ("profile",),
    "userchoice": ("choice",),
    "expirationduration": ("ttl", "duration", "expiration"),
    "choicets": ("ts", "timestamp"),
}
_NEAR: Final = 0.8
_LONGEST_NEAR: Final = 40  # characters
_LOOKED_AT: Final = 200  # fields of an object


@dataclass(frozen=True, slots=True)
class Terms:
    """What the definition and the execution say about every row.

    Attributes:
        is_text: every value is text (CSV), so numbers are read from it.
        window: accepted times of events, both ends inclusive.
        refuses_placeholders: identifiers that stand for nobody in particular are refused, not noted.
    """

    strict: bool
    is_text: bool
    window: tuple[int, int]
    date_format: str
    now_ms: int
    refuses_placeholders: bool

    @classmethod
    def of(cls, definition: Definition, now_ms: int) -> "Terms":
        """Of an execution created at `now_ms`. C31's window is another vendor's: strict does not narrow this one."""
        return cls(
            definition.strict,
            definition.mime_type == TEXT_CSV,
            (definition.earliest_ms, definition.latest_ms),
            definition.date_format,
            now_ms,
            definition.strict,
        )


@dataclass(slots=True)
class Changes:
    """The changes one row makes, counted in their order."""

    address: int
    made: list[UserChange] = field(default_factory=list)

    def add(
        self,
        user_id: str,
        record: str,
        value: Value = None,
        time_ms: int | None = None,
        deleted: bool = False,
        expires_ms: int | None = None,
    ) -> None:
        self.made.append(UserChange(user_id, record, value, time_ms, self.address, len(self.made), deleted, expires_ms))


class Fields:
    """An object, its fields read by name.

    Attributes:
        known: the names the vendor has for its fields.
        path: what stands before a name in a reason: "", `user_choice.` or `$events[0].`
    """

    __slots__ = ("known", "path", "terms", "values")

    def __init__(self, values: Row, known: tuple[str, ...], terms: Terms, path: str = "") -> None:
        self.values = values
        self.known = known
        self.terms = terms
        self.path = path

    def get(self, name: str) -> Value:
        """The value as sent; None where it is absent."""
        value = self.values.get(name)
        return None if value == "" else value

    def needed(self, name: str, expected: str) -> Value:
        value = self.get(name)
        if value is None:
            raise self.missing(name, expected)
        return value

    def text(self, name: str) -> str:
        """A mandatory text."""
        value = self.values.get(name)
        return value if type(value) is str and value else self._text(name, self.needed(name, "string"))

    def optional_text(self, name: str) -> str:
        """A text; "" where it is absent."""
        value = self.get(name)
        return "" if value is None else self._text(name, value)

    def _text(self, name: str, value: Value) -> str:
        if isinstance(value, str):
            return value
        is_number = isinstance(value, int | float | Decimal) and not isinstance(value, bool)
        raise self.wrong(name, "string", value, "put it in double quotes" if is_number else "")

    def one_of(self, name: str, allowed: tuple[str, ...]) -> str:
        """A mandatory text, one of a few."""
        value = self.text(name)
        if value not in allowed:
            raise self.not_allowed(name, f"one of {', '.join(allowed)}", value, _meant(value, allowed))
        return value

    def flag(self, name: str) -> bool | None:
        value = self.get(name)
        if value is None or isinstance(value, bool):
            return value
        hint = "write it without quotes" if value in ("true", "false") else ""
        raise self.wrong(name, "true or false", value, hint)

    def object(self, name: str) -> Row:
        """A mandatory object."""
        value = self.needed(name, "object")
        if not isinstance(value, dict):
            raise self.wrong(name, "object", value)
        return value

    def array(self, name: str) -> list[Value]:
        """A mandatory array."""
        value = self.needed(name, "array")
        if not isinstance(value, list):
            hint = "put it in [ ]" if isinstance(value, dict) else ""
            raise self.wrong(name, "array", value, hint)
        return value

    def minutes(self, name: str) -> int | None:
        """A whole number of minutes from 0, which is never; None where it is absent."""
        value = self.get(name)
        if value is None:
            return None
        minutes = _whole(value, self.terms.is_text)
        if minutes is None:
            if self.terms.is_text and isinstance(value, str):  # in a CSV everything is text: that is not what is wrong
                raise self.not_allowed(name, MINUTES_EXPECTED, value)
            hint = "write it without quotes" if isinstance(value, str) and _DIGITS.match(value.strip()) else ""
            raise self.wrong(name, MINUTES_EXPECTED, value, hint)
        if not 0 <= minutes < _LARGEST:
            raise self.not_allowed(name, MINUTES_EXPECTED, str(value))
        return minutes

    def time_ms(self, name: str, window: tuple[int, int] = ANY_TIME) -> int | None:
        """A time (D21: Long, milliseconds); None where it is absent. Not strict, it may be text as other dialects'."""
        value = self.get(name)
        if value is None:
            return None
        if self.terms.strict and isinstance(value, str) and not self.terms.is_text:
            hint = "write it without quotes" if _DIGITS.match(value.strip()) else ""
            raise self.wrong(name, "milliseconds since 1970 UTC, as a number", value, hint)
        return fields.time_ms(value, self.path + name, window, self.terms.date_format)

    def expiry(self, name: str, base_ms: int, minutes: int) -> int | None:
        """When what lives so many minutes from `base_ms` is over; None for 0, which is never."""
        if not minutes:
            return None
        expires_ms = base_ms + minutes * MINUTE_MS
        if expires_ms > LATEST_TIME_MS:
            raise Reject(
                Reason.TIME_OUT_OF_WINDOW,
                field=self.path + name,
                expected=f"an end before {LATEST_TIME_MS} ms since 1970 UTC",
                found=f"{minutes} minutes",
                hint="0 is never",
            )
        return expires_ms

    # ---- What is wrong ----------------------------------------------------------------------------------------------

    def wrong(self, name: str, expected: str, value: Value, hint: str = "") -> Reject:
        return Reject(
            Reason.WRONG_TYPE, field=self.path + name, expected=expected, found=fields.json_type(value), hint=hint
        )

    def not_allowed(self, name: str, expected: str, found: str, hint: str = "") -> Reject:
        return Reject(Reason.NOT_ALLOWED, field=self.path + name, expected=expected, found=found, hint=hint)

    def missing(self, name: str, expected: str, hint: str = "") -> Reject:
        return Reject(Reason.MISSING_FIELD, field=self.path + name, expected=expected, hint=self.near(name) or hint)

    def near(self, *names: str) -> str:
        """The hint that a field was meant as one of these; "" if none looks like it."""
        for key in islice(self.values, _LOOKED_AT):
            if key not in self.known and len(key) <= _LONGEST_NEAR:
                for name in names:
                    if _is_near(key, name):
                        return f"{shown(key)} present: did you mean {name}?"
        return ""

    def refuse_others(self) -> None:
        """Raises Reject for a field the vendor does not have: it would be lost, or the command be another one."""
        for key, value in self.values.items():
            if key not in self.known and value is not None and value != "":
                raise Reject(
                    Reason.BAD_NAME,
                    field=self.path + key,
                    expected=f"one of {', '.join(self.known)}",
                    found=key or '""',
                    hint=_meant(key, tuple(name for name in self.known if self.get(name) is None)),
                )


def _whole(value: Value, is_text: bool) -> int | None:
    """The whole number a value is, cut to what could be meant; None if it is none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float | Decimal):
        number = Decimal(str(value))
        if not number.is_finite():
            return None
        if number.adjusted() > 30:
            return -_LARGEST if number.is_signed() else _LARGEST
        return int(number) if number.adjusted() >= -30 and number == int(number) else None if number else 0
    if is_text and isinstance(value, str) and _DIGITS.match(value.strip()):
        return int(value.strip())
    return None


def _folded(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


def _meant(key: str, names: tuple[str, ...]) -> str:
    """The hint that one of the names was meant; "" if none is like it."""
    if len(key) > _LONGEST_NEAR:
        return ""
    near = next((name for name in names if _is_near(key, name)), None)
    return f"did you mean {near}?" if near is not None else ""


@lru_cache(maxsize=1_024)  # names repeat from row to row, and likeness is dear
def _is_near(key: str, name: str) -> bool:
    """Whether a key is a near miss of a name."""
    sent, wanted = _folded(key), _folded(name)
    if sent == wanted or sent in _ALIASES.get(wanted, ()):
        return True
    return SequenceMatcher(None, sent, wanted).ratio() >= _NEAR
