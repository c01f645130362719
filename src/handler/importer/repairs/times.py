"""A time that is refused → the same time as it is due, where it can be read in one way only. Digits are moved, not
computed: what was sent finer than the unit stays behind a point, and the dialect's reader cuts it as it always does.
"""

import re
from typing import Final

from importer.bad_rows import BadRow, Reason
from importer.repairs.rules import Rule, Step

_UNIT: Final = re.compile(
    r"this looks like (seconds|milliseconds|microseconds|nanoseconds): (multiply|divide) by (\d+)"
)
_IN_SECONDS: Final = re.compile(r"write it in seconds: (\d+)\Z")
_ITS_SECONDS: Final = re.compile(r"this looks like a date: write its seconds \((\d+)\)\Z")
_AS_DATE: Final = re.compile(r"this looks like a date: write it as (\d{4}-\d\d-\d\d)\Z")
_RULES: Final = {
    "seconds": Rule.SECONDS,
    "milliseconds": Rule.MILLISECONDS,
    "microseconds": Rule.MICROSECONDS,
    "nanoseconds": Rule.NANOSECONDS,
}
_DECIMAL: Final = re.compile(r"([0-9]+)(?:\.([0-9]*))?\Z")
_MONTHS = ["january", "february", "march", "april", "may", "june", "july", "august", "september"]
_MONTHS += ["october", "november", "december"]
_CLOCK: Final = (
    r"(?:(?:[Tt]|,?\s+|,?\s+at\s+)(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?P<fraction>[.,:]\d+)?)?"
    r"\s*(?P<half>[AaPp]\.?[Mm]\.?)?\s*(?P<zone>[Zz]|UTC|GMT|(?:UTC|GMT)?[+-]\d\d:?\d\d)?(?:\[[A-Za-z_/]+\])?)?\Z"
)
_YEAR_FIRST: Final = re.compile(r"(?P<year>\d{4})[-/. ](?P<month>\d{1,2})[-/. ](?P<day>\d{1,2})" + _CLOCK)
_YEAR_LAST: Final = re.compile(
    r"(?P<one>\d{1,2})(?P<divider>[-/. ])(?P<two>\d{1,2})(?P=divider)(?P<year>\d{4})" + _CLOCK
)
_NAMED: Final = re.compile(
    r"(?:[A-Za-z]{3,9},?\s+)?(?:(?P<day>\d{1,2})(?:st|nd|rd|th)?[\s-]+(?P<name>[A-Za-z]{3,9})\.?|"
    r"(?P<name2>[A-Za-z]{3,9})\.?\s+(?P<day2>\d{1,2})(?:st|nd|rd|th)?),?[\s-]+(?P<year>\d{4})" + _CLOCK
)
_COMPACT: Final = re.compile(
    r"(?P<year>\d{4})(?P<month>\d\d)(?P<day>\d\d)[Tt](?P<hour>\d\d)(?P<minute>\d\d)(?P<second>\d\d)(?P<fraction>\.\d+)?"
    r"(?P<zone>[Zz]|[+-]\d\d:?\d\d)?\Z"
)
_DOT_NET: Final = re.compile(r"\\?/Date\((\d+)\)\\?/\Z")


def mended(bad: BadRow, text: str) -> tuple[str, Step] | None:
    """What to write in a time's place, and why.

    Args:
        text: what stands there now: the digits of a number, or a text.
    """
    unit = _UNIT.match(bad.hint)
    if unit is not None:
        found, direction, factor = unit.groups()
        moved = _moved(text.strip(), len(factor) - 1 if direction == "multiply" else 1 - len(factor))
        due = "milliseconds" if found != "milliseconds" else "seconds"
        return (
            None if moved is None else (moved, Step(_RULES[found], f"by its size this counts {found}, not {due}", True))
        )
    for pattern in (_IN_SECONDS, _ITS_SECONDS):
        seconds = pattern.match(bad.hint)
        if seconds is not None:
            certain = pattern is _IN_SECONDS
            return seconds[1], Step(Rule.DATE_TO_SECONDS, "this dialect counts seconds since 1970 UTC", certain)
    date = _AS_DATE.match(bad.hint)
    if date is not None:
        return date[1], Step(Rule.DATE, "eight digits that are a day", False)
    if bad.reason == Reason.BAD_TIME:
        other = _as_iso(text.strip())
        return (
            None if other is None else (other[0], Step(Rule.DATE, "the same time in a layout that is read", other[1]))
        )
    return None


def _moved(number: str, places: int) -> str | None:
    """A decimal number with its point so many places further right."""
    found = _DECIMAL.match(number)
    if found is None:
        return None
    whole, fraction = found[1], found[2] or ""
    if places >= 0:
        fraction = fraction.ljust(places, "0")
        whole, fraction = whole + fraction[:places], fraction[places:]
    else:
        whole, fraction = whole[:places], whole[places:] + fraction
    whole, fraction = whole.lstrip("0") or "0", fraction.rstrip("0")
    return f"{whole}.{fraction}" if fraction else whole


def _as_iso(text: str) -> tuple[str, bool] | None:
    """(a time as `2012-10-15 04:06:30`, whether it can be no other); None where it is none, or may be several."""
    if len(text) > 100:
        return None
    dot_net = _DOT_NET.match(text)
    if dot_net is not None:
        return dot_net[1], True
    found = _YEAR_FIRST.match(text) or _COMPACT.match(text)
    if found is not None:
        return _written(found.groupdict(), int(found["month"]), int(found["day"])), True
    found = _YEAR_LAST.match(text)
    if found is not None:
        one, two = int(found["one"]), int(found["two"])
        if one > 12 or one == two:
            return _written(found.groupdict(), two, one), True
        if two > 12:
            return _written(found.groupdict(), one, two), True
        return None
    found = _NAMED.match(text)
    if found is not None:
        name = (found["name"] or found["name2"]).lower()
        months = [number for number, month in enumerate(_MONTHS, 1) if name in (month, month[:3], month[:4])]
        if len(months) == 1:
            return _written(found.groupdict(), months[0], int(found["day"] or found["day2"])), True
    return None


def _written(parts: dict[str, str | None], month: int, day: int) -> str:
    date = f"{parts['year']}-{month:02}-{day:02}"
    if parts.get("hour") is None:
        return date
    hour = int(parts["hour"] or 0)
    half = (parts.get("half") or "").lower().replace(".", "")
    if half and 1 <= hour <= 12:
        hour = hour % 12 + (12 if half == "pm" else 0)
    fraction = (parts.get("fraction") or "").lstrip(".,:")
    return (
        f"{date} {hour:02}:{parts['minute']}:{parts.get('second') or '00'}"
        + (f".{fraction}" if fraction else "")
        + (parts.get("zone") or "").upper()
    )
