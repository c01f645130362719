"""Checked readers of one field: a value in, the checked value out, or a Reject that says field, found and expected.

Times: a number is epoch milliseconds, a text is one of the vendor's forms (C9, C12). A text without a zone is UTC.
Dialects that count seconds take numbers only (K3). What can be read in two ways is refused, never guessed; fractions
below the unit, a millisecond or a second, are cut downward.
"""

import re
from decimal import ROUND_FLOOR, Decimal
from typing import Final

from importer.bad_rows import Reason, Reject
from importer.model import Row, Value

SECONDS_BELOW: Final = 10**11  # as milliseconds this is March 1973: a smaller number is seconds (or not a time)
MICROSECONDS_FROM: Final = 10**14  # as milliseconds this is the year 5138
LONGEST_TIME: Final = 100  # characters; the forms below backtrack over blanks, which in a hostile row go on for MiB
_DAY_MS: Final = 86_400_000
_MONTHS: Final = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], start=1
    )
}
_DAYS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]*)?\Z", re.ASCII)
_CLOCK = r"(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?"
_ZONE = r"(?P<zone>[Zz]|(?:UTC|GMT)?[+-]\d\d(?::?\d\d)?|UTC|GMT)?"
_TIME = rf"(?:(?:[Tt]|,? +){_CLOCK} *{_ZONE})?(?: *\([A-Za-z ]+\))?\Z"
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*,? +)?"
_YEAR_FIRST = re.compile(r"(?P<year>\d{4})(?P<sep>[-/])(?P<month>\d\d)(?P=sep)(?P<day>\d\d)" + _TIME, re.ASCII)
_YEAR_LAST = re.compile(r"(?P<one>\d\d)(?P<sep>[-/])(?P<two>\d\d)(?P=sep)(?P<year>\d{4})" + _TIME, re.ASCII)
_DAY_NAMED = re.compile(
    _WEEKDAY + r"(?P<day>\d{1,2})[- ](?P<name>[a-z]{3})[- ,]+(?P<year>\d{4})" + _TIME, re.ASCII | re.IGNORECASE
)
_MONTH_NAMED = re.compile(
    _WEEKDAY + r"(?P<name>[a-z]{3})[- ]+(?P<day>\d{1,2}),?[- ]+(?P<year>\d{4})" + _TIME, re.ASCII | re.IGNORECASE
)
_CTIME = re.compile(
    _WEEKDAY + rf"(?P<name>[a-z]{{3}}) +(?P<day>\d{{1,2}}) +{_CLOCK} +(?:{_ZONE} +)?(?P<year>\d{{4}})\Z",
    re.ASCII | re.IGNORECASE,
)
PLACEHOLDER_IDS: Final = frozenset(
    ["null", "none", "nil", "n/a", "na", "anonymous", "unknown", "undefined", "0", "-1", "-"]
) | {"not available", "00000000-0000-0000-0000-000000000000"}
TIME_EXPECTED: Final = "epoch milliseconds, or a time such as 2012-10-15 04:06:30 or 2012-10-15T04:06:30+02:00"
SECONDS_EXPECTED: Final = "seconds since 1970 UTC, such as 1350273990"


def text(row: Row, field: str) -> str:
    """A mandatory, non-empty string; `""` and null are absent (C6, C10).

    Raises:
        Reject: missing_field, wrong_type.
    """
    value = row.get(field)
    if isinstance(value, str) and value:
        return value
    if value is None or value == "":
        raise Reject(Reason.MISSING_FIELD, field=field, expected="string")
    hint = "put it in double quotes" if isinstance(value, int | float | Decimal) and not isinstance(value, bool) else ""
    raise Reject(Reason.WRONG_TYPE, field=field, expected="string", found=json_type(value), hint=hint)


def is_placeholder(identifier: str) -> bool:
    """Whether an identifier stands for nobody in particular."""
    return identifier.strip().lower() in PLACEHOLDER_IDS


def identifier_notes(identifier: str, field: str, strict: bool) -> tuple[str, ...]:
    """The note of a row whose identifier stands for nobody in particular; usually none.

    Raises:
        Reject: placeholder_id, with `strict`.
    """
    if identifier.strip().lower() not in PLACEHOLDER_IDS:
        return ()
    if strict:
        raise Reject(Reason.PLACEHOLDER_ID, field=field, found=identifier, hint="send the id of a person, or no row")
    return (Reason.PLACEHOLDER_ID.value,)


def nested(field: str, value: Value) -> Reject:
    """The reject of an object or array in a dialect of flat rows."""
    return Reject(
        Reason.NESTED_VALUE,
        field=field,
        expected="a string, number, boolean or null",
        found=json_type(value),
        hint="write its members as properties of their own" if isinstance(value, dict) else "write it as one string",
    )


def time_ms(value: Value, field: str, window: tuple[int, int], date_format: str = "") -> int:
    """A mandatory time as integer milliseconds UTC inside `window` (both ends inclusive).

    Args:
        date_format: "dd/mm/yyyy" or "mm/dd/yyyy", how a date with the year last is read; "" refuses ambiguous ones.
    Raises:
        Reject: missing_field, wrong_type, bad_time, time_unit, time_out_of_window.
    """
    if type(value) is int:
        if SECONDS_BELOW <= value < MICROSECONDS_FROM and window[0] <= value <= window[1]:  # nearly always
            return value
        time = _epoch_ms(value, field)
    elif value is None or value == "":
        raise Reject(Reason.MISSING_FIELD, field=field, expected=TIME_EXPECTED)
    elif isinstance(value, str):
        stripped = value.strip()
        if _NUMBER.match(stripped):
            time = _epoch_ms(_floor(stripped), field)
        else:
            time = _calendar_ms(stripped, field, date_format)
    elif isinstance(value, float | Decimal):
        time = _epoch_ms(_floor(str(value)), field)
    else:
        raise Reject(Reason.WRONG_TYPE, field=field, expected=TIME_EXPECTED, found=json_type(value))
    if not window[0] <= time <= window[1]:
        raise Reject(
            Reason.TIME_OUT_OF_WINDOW,
            field=field,
            expected=f"{window[0]}…{window[1]} ms since 1970 UTC",
            found=str(time),
        )
    return time


def seconds_ms(value: Value, field: str, window: tuple[int, int], date_format: str = "") -> int:
    """A mandatory time in whole seconds since 1970 (K3), as milliseconds UTC inside `window` (both ends inclusive).

    Args:
        date_format: as for `time_ms`; calendar dates are refused, with the number to write instead.
    Raises:
        Reject: missing_field, wrong_type, bad_time, time_unit, time_out_of_window.
    """
    if type(value) is int:
        seconds = value
    elif value is None or value == "":
        raise Reject(Reason.MISSING_FIELD, field=field, expected=SECONDS_EXPECTED)
    elif isinstance(value, str):
        stripped = value.strip()
        if not _NUMBER.match(stripped):
            hint = _calendar_hint(stripped, date_format)
            raise Reject(Reason.BAD_TIME, field=field, expected=SECONDS_EXPECTED, found=value, hint=hint)
        seconds = _floor(stripped)
    elif isinstance(value, float | Decimal):
        seconds = _floor(str(value))
    else:
        raise Reject(Reason.WRONG_TYPE, field=field, expected=SECONDS_EXPECTED, found=json_type(value))
    hint = _other_unit(seconds)
    if hint:
        raise Reject(Reason.TIME_UNIT, field=field, expected="seconds (10 digits)", found=str(seconds), hint=hint)
    if not window[0] <= seconds * 1000 <= window[1]:
        raise Reject(
            Reason.TIME_OUT_OF_WINDOW,
            field=field,
            expected=f"{-(-window[0] // 1000)}…{window[1] // 1000} seconds since 1970 UTC",
            found=str(seconds),
        )
    return seconds * 1000


def is_seconds(number: int) -> bool:
    """Whether `seconds_ms` takes a number for seconds, and for nothing else."""
    return not _other_unit(number)


def _other_unit(number: int) -> str:
    """What to write instead of a number that is no seconds, by its size alone; "" where it may be seconds."""
    # By 13, 16 and 19 digits. With one digit less, 9999-12-31 in seconds, a common "never" (N8), would pass for ms.
    for unit, divisor in (("milliseconds", 10**3), ("microseconds", 10**6), ("nanoseconds", 10**9)):
        if 10**9 <= number // divisor < 10**10:
            return f"this looks like {unit}: divide by {divisor} ({number // divisor})"
    # 20121015 would be in August 1970. What can be read in two ways is not guessed.
    if 20_000_000 <= number < 21_000_000:
        year, month, day = number // 10_000, number // 100 % 100, number % 100
        exists = 1 <= month <= 12 and 1 <= day <= _days_in(year, month)
        found = f" ({_days_from_epoch(year, month, day) * 86_400})" if exists else ""
        return f"this looks like a date: write its seconds{found}"
    return ""


def _calendar_hint(value: str, date_format: str) -> str:
    """The seconds of a calendar time; "" for what is none."""
    try:
        seconds = _calendar_ms(value, "", date_format) // 1000
    except Reject:
        return ""
    return f"write it in seconds: {seconds}" if seconds >= 0 else ""


def _floor(number: str) -> int:
    """A decimal number cut downward to a whole one. Huge exponents are no times: they stay far outside any window."""
    exact = Decimal(number)
    if exact.adjusted() > 30:
        return 10**30 if exact > 0 else -(10**30)
    return int(exact.to_integral_value(ROUND_FLOOR))


def _seconds_hint(number: int) -> str:
    """What would be taken instead of a number too small to be milliseconds; "" where nobody can know."""
    if SECONDS_BELOW <= number * 1000 < 10**13:
        return f"this looks like seconds: multiply by 1000 ({number * 1000})"
    year, month, day = number // 10_000, number // 100 % 100, number % 100
    if 1970 <= year <= 9999 and 1 <= month <= 12 and 1 <= day <= 31:
        return f"this looks like a date: write it as {year}-{month:02}-{day:02}"
    return ""


def _epoch_ms(number: int, field: str) -> int:
    if 0 <= number < SECONDS_BELOW:
        raise Reject(
            Reason.TIME_UNIT,
            field=field,
            expected="milliseconds (13 digits)",
            found=str(number),
            hint=_seconds_hint(number),
        )
    # From September 2001 on; below that 9999-12-31 in milliseconds, a common "never" (N8), would pass for microseconds.
    for unit, divisor in (("microseconds", 1_000), ("nanoseconds", 1_000_000)):
        if number >= MICROSECONDS_FROM and SECONDS_BELOW * 10 <= number // divisor < MICROSECONDS_FROM // 10:
            raise Reject(
                Reason.TIME_UNIT,
                field=field,
                expected="milliseconds (13 digits)",
                found=str(number),
                hint=f"this looks like {unit}: divide by {divisor} ({number // divisor})",
            )
    return number


def _calendar_ms(value: str, field: str, date_format: str) -> int:
    if len(value) > LONGEST_TIME:
        raise Reject(Reason.BAD_TIME, field=field, expected=TIME_EXPECTED, found=value)
    found = _YEAR_FIRST.match(value) or _DAY_NAMED.match(value) or _MONTH_NAMED.match(value) or _CTIME.match(value)
    if found is not None:
        parts = found.groupdict()
        month = _MONTHS.get(parts["name"].lower(), 0) if "name" in parts else int(parts["month"])
        day = int(parts["day"])
    else:
        found = _YEAR_LAST.match(value)
        if found is None:
            raise Reject(Reason.BAD_TIME, field=field, expected=TIME_EXPECTED, found=value)
        parts = found.groupdict()
        day, month = _year_last(int(parts["one"]), int(parts["two"]), value, field, date_format)
    year = int(parts["year"])
    hour, minute, second = (int(parts[name] or 0) for name in ("hour", "minute", "second"))
    if not (1 <= month <= 12 and 1 <= day <= _days_in(year, month) and hour < 24 and minute < 60 and second < 60):
        raise Reject(Reason.BAD_TIME, field=field, expected="a day and time that exist", found=value)
    milliseconds = int(
        (parts["fraction"] or "0")[:3].ljust(3, "0")
    )  # finer digits are cut: downward, as all are positive
    local = _days_from_epoch(year, month, day) * _DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000 + milliseconds
    return local - _zone_minutes(parts["zone"], value, field) * 60_000


def _year_last(one: int, two: int, value: str, field: str, date_format: str) -> tuple[int, int]:
    """(day, month) of a date with the year last. The vendor's form is day first (C12); so where nothing else fits."""
    if date_format:
        return (one, two) if date_format.startswith("dd") else (two, one)
    if one > 12 or one == two:
        return one, two
    raise Reject(
        Reason.BAD_TIME,
        field=field,
        expected="a date that can be read in one way",
        found=value,
        hint=f"set date_format of the import to dd/mm/yyyy or mm/dd/yyyy, or write it as yyyy-mm-dd{value[10:]}",
    )


def _zone_minutes(zone: str | None, value: str, field: str) -> int:
    digits = (zone or "").upper().removeprefix("UTC").removeprefix("GMT").replace(":", "")
    if digits in ("", "Z"):
        return 0
    hours, minutes = int(digits[1:3]), int(digits[3:5] or 0)
    if hours > 18 or minutes > 59:
        raise Reject(Reason.BAD_TIME, field=field, expected="an offset from UTC that exists", found=value)
    return (hours * 60 + minutes) * (-1 if digits[0] == "-" else 1)


def _days_in(year: int, month: int) -> int:
    return 29 if month == 2 and _is_leap(year) else _DAYS[month - 1]


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _days_from_epoch(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to a date of the proleptic Gregorian calendar; own arithmetic, so that rules stay pinned."""
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400
    days += sum(_DAYS[: month - 1]) + (1 if month > 2 and _is_leap(year) else 0) + day - 1
    return days - 719_162


def json_type(value: Value) -> str:
    """What JSON calls the type of a value; for reasons."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float | Decimal):
        return "number"
    return "object" if isinstance(value, dict) else "array"
