"""Checked readers of one field. Single forms are in tests/cases/; here they meet the standard library's calendar."""

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from importer import fields
from importer.bad_rows import Reason, Reject

ANY = (-(10**40), 10**40)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIMES = st.integers(0, 9_999_999_999_999_999).map(lambda micro: EPOCH + timedelta(microseconds=micro))
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
ZONES = st.integers(-18 * 60, 18 * 60)


def ms(time: datetime) -> int:
    return (time - EPOCH) // timedelta(milliseconds=1)


def read(value: object, date_format: str = "") -> int:
    return fields.time_ms(value, "t", ANY, date_format)  # type: ignore[arg-type]


def outcome(value: object, window: tuple[int, int] = ANY) -> int | Reason:
    try:
        return fields.time_ms(value, "t", window)  # type: ignore[arg-type]
    except Reject as reject:
        return reject.reason


@given(TIMES)
def test_iso_forms_are_what_the_calendar_says(time: datetime):
    """Date and time, with blank or T, with and without fraction: the millisecond that has begun."""
    whole = time.replace(microsecond=0)
    assert {
        "T": read(time.isoformat()),
        "blank": read(time.isoformat(" ")),
        "Z": read(whole.strftime("%Y-%m-%dT%H:%M:%SZ")),
        "none": read(whole.strftime("%Y-%m-%d %H:%M:%S")),
        "slashes": read(whole.strftime("%Y/%m/%d %H:%M:%S")),
        "micro": read(time.strftime("%Y-%m-%d %H:%M:%S.%f")),
        "day": read(time.strftime("%Y-%m-%d")),
        "day with slashes": read(time.strftime("%Y/%m/%d")),
    } == {
        "T": ms(time),
        "blank": ms(time),
        "Z": ms(whole),
        "none": ms(whole),
        "slashes": ms(whole),
        "micro": ms(time),
        "day": ms(time.replace(hour=0, minute=0, second=0, microsecond=0)),
        "day with slashes": ms(time.replace(hour=0, minute=0, second=0, microsecond=0)),
    }


@given(TIMES, ZONES)
def test_zone_that_is_written_counts(time: datetime, offset_minutes: int):
    """Any offset up to 18 hours, in every spelling."""
    there = time.astimezone(timezone(timedelta(minutes=offset_minutes)))
    sign, (hours, minutes) = "-" if offset_minutes < 0 else "+", divmod(abs(offset_minutes), 60)
    local = there.strftime("%Y-%m-%d %H:%M:%S.%f")
    spellings = [
        f"{sign}{hours:02}:{minutes:02}",
        f" {sign}{hours:02}{minutes:02}",
        f" GMT{sign}{hours:02}:{minutes:02}",
    ]
    assert [read(local + zone) for zone in spellings] == [ms(time)] * 3


@given(TIMES)
def test_named_months_are_what_the_calendar_says(time: datetime):
    """English names whatever the machine's language."""
    month, weekday = MONTHS[time.month - 1], DAYS[time.weekday()]
    clock, whole = time.strftime("%H:%M:%S"), time.replace(microsecond=0)
    texts = [
        f"{time.day:02} {month} {time.year} {clock}",
        f"{time.day}-{month.upper()}-{time.year} {clock}",
        f"{month} {time.day}, {time.year} {clock}",
        f"{weekday}, {time.day:02} {month} {time.year} {clock} GMT",
        f"{weekday} {month} {time.day:2} {clock} {time.year}",
        f"{weekday} {month} {time.day:02} {time.year} {clock} GMT+0000 (Coordinated Universal Time)",
    ]
    assert [read(text) for text in texts] == [ms(whole)] * len(texts)


@given(TIMES)
def test_year_last_is_read_as_date_format_says(time: datetime):
    """With it set, every day of every year can be written."""
    day = ms(time.replace(hour=0, minute=0, second=0, microsecond=0))
    assert [
        read(time.strftime("%d/%m/%Y"), "dd/mm/yyyy"),
        read(time.strftime("%d-%m-%Y"), "dd/mm/yyyy"),
        read(time.strftime("%m/%d/%Y"), "mm/dd/yyyy"),
    ] == [day] * 3


@given(TIMES)
def test_year_last_without_date_format_is_right_or_refused(time: datetime):
    """Never read as another day than the vendor's form says (C12)."""
    day = ms(time.replace(hour=0, minute=0, second=0, microsecond=0))
    one_way_only = time.day > 12 or time.day == time.month
    assert outcome(time.strftime("%d/%m/%Y")) == (day if one_way_only else Reason.BAD_TIME)


EPOCH_MS = st.integers(fields.SECONDS_BELOW, 99_999_999_999_999)


@given(EPOCH_MS, st.integers(0, 10**20 - 1))
def test_fractions_of_a_millisecond_are_cut_downward(whole: int, fraction: int):
    """As number, in quotes and below zero alike."""
    exact = Decimal(f"{whole}.{fraction:020}")
    assert [read(whole), read(str(whole)), read(exact), read(str(exact))] == [whole] * 4
    below = -whole - 1 if fraction else -whole
    assert [read(exact.copy_negate()), read(f"-{exact}")] == [below, below]


@given(st.floats(allow_nan=False, allow_infinity=False))
@example(1e28)
@example(1e29)
@example(-1e30)
@example(1e31)
@example(-0.0)
@example(5e-324)
def test_any_double_is_a_time_or_a_reject(value: float):
    """A row never stops the file, whatever its number is."""
    found = outcome(value, (0, 9_999_999_999_999))
    assert found in (math.floor(Fraction(value)), Reason.TIME_UNIT, Reason.TIME_OUT_OF_WINDOW)


@given(st.from_regex(r"[+-]?[0-9]{1,60}(\.[0-9]{0,60})?", fullmatch=True), st.booleans())
@example("99999999999999999999999999999", True)
@example("1234567890123456789012345678.5", False)
def test_any_number_in_quotes_is_a_time_or_a_reject(text: str, negative: bool):
    """However long: inside the window of 13 digits, or refused."""
    written = "-" + text.lstrip("+-") if negative else text
    found = outcome(written, (0, 9_999_999_999_999))
    assert found in (math.floor(Fraction(written.rstrip("."))), Reason.TIME_UNIT, Reason.TIME_OUT_OF_WINDOW)


@given(st.text(max_size=40) | st.text("0123456789-/: TZ+.,GMTUCOctMon()", max_size=40))
def test_any_text_is_a_time_or_a_reject(text: str):
    """Nothing but Reject makes a bad row; anything else would stop the file."""
    found = outcome(text)
    assert type(found) is int or found in (Reason.BAD_TIME, Reason.TIME_UNIT, Reason.MISSING_FIELD)


@pytest.mark.parametrize(
    ("begin", "again", "end"),
    [
        ("2012-10-15 04:06:30", " ", "x"),
        ("2012-10-15 04:06:30", " ", "("),
        ("2012-10-15", " ", "x"),
        ("oct 15 04:06:30", " ", "x"),
        ("mon", " ", "x"),
        ("mon", "a", "x"),
        ("oct", "- ", "x"),
        ("2012-10-15 04:06:30.", "1", "x"),
        ("", "1", "x"),
    ],
)
def test_text_of_any_length_is_no_time_within_bounded_time(begin: str, again: str, end: str):
    """A pattern that tries all ways to share the blanks out would take a day over this one (E8)."""
    with pytest.raises(Reject) as refused:
        fields.time_ms(begin + again * (1 << 20) + end, "t", (0, 9_999_999_999_999))
    assert refused.value.reason is Reason.BAD_TIME


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1" * 5_000, Reason.TIME_OUT_OF_WINDOW),
        (f"-{'9' * 5_000}", Reason.TIME_OUT_OF_WINDOW),
        (f"+{'0' * 5_000}", Reason.TIME_UNIT),
        (f"1425920218354.{'0' * 5_000}1", 1_425_920_218_354),
    ],
    ids=["positive", "negative", "zero", "fraction"],
)
def test_number_of_any_length_is_no_exception(text: str, found: int | Reason):
    """Python itself refuses to read more than 4,300 digits as an int (E3)."""
    assert outcome(text, (0, 9_999_999_999_999)) == found


def test_units_next_to_milliseconds_never_overlap():
    """Each length of number has one reading: seconds, milliseconds, microseconds, nanoseconds, or out of any window."""

    def reading(number: int) -> str:
        try:
            fields.time_ms(number, "t", (0, 9_999_999_999_999))
        except Reject as reject:
            unit = reject.hint.removeprefix("this looks like ").partition(":")[0]
            return f"{reject.reason} {unit}".strip()
        return "time"

    assert {digits: {reading(10 ** (digits - 1)), reading(10**digits - 1)} for digits in range(1, 23)} == {
        **{digits: {"time_unit seconds"} for digits in (9, 10)},
        **{digits: {"time_unit"} for digits in (*range(1, 9), 11)},  # nothing that may be meant is a time
        **{digits: {"time"} for digits in (12, 13)},
        16: {"time_unit microseconds"},
        19: {"time_unit nanoseconds"},
        **{digits: {"time_out_of_window"} for digits in (14, 15, 17, 18, 20, 21, 22)},
    }


@pytest.mark.parametrize(
    ("value", "outcome"),
    [
        ("text", "text"),
        (" ", " "),
        ("", Reason.MISSING_FIELD),
        (None, Reason.MISSING_FIELD),
        (1, Reason.WRONG_TYPE),
        (0, Reason.WRONG_TYPE),
        (Decimal("1e400"), Reason.WRONG_TYPE),
        (False, Reason.WRONG_TYPE),
        ([], Reason.WRONG_TYPE),
        ({}, Reason.WRONG_TYPE),
    ],
)
def test_mandatory_text_is_a_string_with_something_in_it(value: object, outcome: object):
    """`""` and null are absent (C6, C10); nothing is turned into a string."""
    try:
        found: object = fields.text({"a": value}, "a")  # type: ignore[dict-item]
    except Reject as reject:
        found = reject.reason
    assert found == outcome


def test_json_has_six_types():
    """As a reason names them."""
    values = [None, True, "", 1, 1.5, Decimal(1), {}, []]
    assert [fields.json_type(value) for value in values] == [  # type: ignore[arg-type]
        "null",
        "boolean",
        "string",
        "number",
        "number",
        "number",
        "object",
        "array",
    ]
