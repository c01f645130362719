"""A line → a row, against corpora and against the standard library: the same acceptance, the same value, no exception.

The judge everywhere is Python's `json` with Decimal for every number and its pairs kept, on text that Python's own
UTF-8 decoder has accepted.
"""

import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer
from hypothesis import example, given, settings
from hypothesis import strategies as st

from importer import exact_json
from importer.bad_rows import BadRow, Reason, Reject
from importer.formats.reading import Reading
from importer.model import Event, Provenance, UserChange
from importer.preview import place_of
from importer.rows import row_of
from importer.sinks import items
from tests.support.other_json import Twice, members, no_constant
from tests.support.scenarios import examples
from tests.unit.values import by_value

CORPORA = Path(__file__).parents[1] / "corpora"


def number(token: str) -> Decimal:
    """Decimal, which takes no exponent of more than 18 digits, not even of zero."""
    try:
        return Decimal(token)
    except InvalidOperation:
        if token.lower().partition("e")[0].strip("-0."):
            raise
        return Decimal(0)


def half_a_pair(value: Any) -> bool:
    """Whether a string in it, or a key, holds a surrogate without its partner."""
    if isinstance(value, dict):
        return any(half_a_pair(key) or half_a_pair(member) for key, member in value.items())
    if isinstance(value, list):
        return any(half_a_pair(member) for member in value)
    return isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value)


def standard(text: bytes) -> Any:
    """The value, as the standard library reads it, or the reasons one of which is right."""
    try:
        value = json.loads(
            text.decode(),
            parse_int=number,
            parse_float=number,
            parse_constant=no_constant,
            object_pairs_hook=members,
        )
    except (Twice, InvalidOperation):  # the judge stops here, and more may follow
        return {Reason.DUPLICATE_KEY, Reason.NOT_JSON, Reason.NOT_UTF8, Reason.NUMBER_OUT_OF_RANGE}
    except UnicodeDecodeError:
        return {Reason.NOT_UTF8}
    except ValueError:
        return {Reason.NOT_JSON}
    return {Reason.NOT_UTF8} if half_a_pair(value) else by_value(value)


def standard_row(text: bytes) -> Any:
    value = standard(text)
    return value if isinstance(value, set | dict) else {Reason.NOT_AN_OBJECT}


def outcome(text: bytes) -> Any:
    """The row, or its reason; the place of the reason is looked for too, since previews do."""
    try:
        return by_value(row_of(text))
    except Reject as reject:
        place_of(BadRow.of(reject, 1, 0, text))
        return {reject.reason}


def assert_as_standard(text: bytes) -> None:
    found, wanted = outcome(text), standard_row(text)
    if isinstance(wanted, set):
        assert isinstance(found, set), (text, found)
        assert found <= wanted, (text, found)
    else:
        assert found == wanted, text


# --- JSONTestSuite (E1) ---------------------------------------------------------------------------------------------

SUITE: dict[str, str] = json.loads((CORPORA / "json_test_suite.json").read_bytes())
DEEP = SUITE.pop("i_structure_500_nested_arrays")  # comparing it would need more stack than reading it


@pytest.mark.parametrize("name", SUITE)
def test_text_of_the_suite_is_judged_as_its_name_says(name: str):
    """y_ is accepted or has no faithful value here, n_ is not JSON; as a row and as a property's value (E1)."""
    text = SUITE[name].encode()
    found: Any
    try:
        found = by_value(exact_json.parse(text))
    except Reject as reject:
        found = {reject.reason}
    if name.startswith("n_"):
        assert found == {Reason.NOT_JSON}
    elif isinstance(wanted := standard(text), set):
        assert found <= wanted - {Reason.NOT_JSON} or name.startswith("i_")
    else:
        assert found == wanted
    for row in (text, b'{"p":%s}' % text.strip(), b'{"p" : %s, "q":1}' % text.strip()):
        assert_as_standard(row)


def test_five_hundred_levels_of_the_suite_are_read():
    """RFC 8259 lets a parser set a limit; ours is 1,024 levels (E5)."""
    row = row_of(b'{"p":%s}' % DEEP.encode())
    assert json.dumps(row, separators=(",", ":")) == f'{{"p":{DEEP}}}'


@pytest.mark.parametrize(("begin", "times"), [(b"[", 100_000), (b'[{"":', 50_000)])
def test_beginnings_of_the_suite_that_never_end_are_not_json(begin: bytes, times: int):
    """Its two largest texts; a parser that recurses dies of them (E1, E5)."""
    assert outcome(begin * times) == {Reason.NOT_JSON}


# --- UTF-8 (E6) -----------------------------------------------------------------------------------------------------

BORDERS = bytes([0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF])  # where rules of UTF-8 change


def byte_sequences() -> Iterator[bytes]:
    """Each lead byte with continuations on every border of the rules: overlong, surrogate, cut, stray, too large."""
    for lead in range(0x80, 0x100):
        yield bytes([lead])
        for second in BORDERS:
            yield bytes([lead, second])
            for third in b"\x41\x7f\x80\xbf\xc0":
                yield bytes([lead, second, third])
                yield from (bytes([lead, second, third, last]) for last in b"\x41\x80\xbf\xc0")


def test_every_kind_of_byte_sequence_is_utf8_where_python_says_so():
    """In a value, in a key and in an array: accepted unaltered, or refused as not_utf8; never replaced (E6)."""
    for sequence in byte_sequences():
        for form in (b'{"a":"%s"}', b'{"%s":1}', b'{"a":["x%s"]}', b'{"a" :"%s\\u0041"}'):
            text = form % sequence
            try:
                wanted: Any = by_value(json.loads(text.decode()))
            except UnicodeDecodeError:
                wanted = {Reason.NOT_UTF8}
            assert outcome(text) == wanted, text


def test_every_border_of_unicode_is_kept():
    """First and last of each length, noncharacters, U+2028, NEL, byte order marks inside: all are text (E6, E7)."""
    points = [0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFDD0, 0xFFFD, 0xFFFE, 0xFFFF, 0x10000, 0x1FFFE, 0x10FFFF]
    for point in [*points, 0x85, 0xA0, 0x2028, 0x2029, 0xFEFF]:
        text = json.dumps({f"a{chr(point)}": chr(point) * 2}, ensure_ascii=False).encode()
        escaped = json.dumps({f"a{chr(point)}": chr(point) * 2}).encode()
        assert outcome(text) == outcome(escaped) == {f"a{chr(point)}": chr(point) * 2}


def test_bytes_outside_strings_are_no_json_whatever_they_are():
    """One byte put into each place between the tokens of a row."""
    for byte in range(256):
        stray = bytes([byte])
        for text in (b'{%s"a":1}', b'{"a"%s:1}', b'{"a":%s1}', b'{"a":1%s}', b'{"a":1}%s', b'%s{"a":1}', b'{"a%s":1}'):
            assert_as_standard(text % stray)


def test_every_escape_is_judged_as_the_standard_library_judges_it():
    """Each character behind a backslash; surrogates in every order, in any case of letters."""
    for byte in range(256):
        assert_as_standard(b'{"a":"\\%s"}' % bytes([byte]))
    halves = (b"\\ud83d", b"\\uDE00", b"\\uD800", b"\\udfff", b"\\u0061", b"x", b"\\\\", b"\\ud8", b"\\uzzzz")
    for some in product(halves, repeat=3):
        assert_as_standard(b'{"a":"%s"}' % b"".join(some))
        assert_as_standard(b'{"%s":1,"a":2}' % b"".join(some))


# --- Numbers and keys, oddly spelt (E2, E3, E4, E10) -----------------------------------------------------------------

DIGITS = st.text("0123456789", min_size=1, max_size=30)
LONG = st.builds(lambda piece, times: piece * times, DIGITS, st.integers(1, 40)).map(lambda text: text[:400])
SIGN = st.sampled_from(["", "-"])
WHOLE = st.one_of(DIGITS, LONG).map(lambda text: text.lstrip("0") or "0")
ODD_NUMBERS = st.one_of(
    st.builds(lambda sign, whole: sign + whole, SIGN, WHOLE),
    st.builds(lambda sign, whole, fraction: f"{sign}{whole}.{fraction}", SIGN, WHOLE, st.one_of(DIGITS, LONG)),
    st.builds(
        lambda sign, whole, fraction, letter, plus, exponent: f"{sign}{whole}{fraction}{letter}{plus}{exponent}",
        SIGN,
        WHOLE,
        st.one_of(st.just(""), DIGITS.map(lambda text: f".{text}")),
        st.sampled_from("eE"),
        st.sampled_from(["", "+", "-"]),
        st.one_of(
            st.integers(0, 400).map(str), st.sampled_from(["00", "007", "0400", "999999999", "9" * 18, "9" * 20])
        ),
    ),
    st.integers(-70, 70).flatmap(lambda power: st.integers(-2, 2).map(lambda near: str(2 ** abs(power) + near))),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(
        ["-0", "-0.0", "0e5", "-0E-999", "1E+2", "1e-400", "5e-324", "0.1000000000000000055511151231257827"]
    ),
    st.sampled_from(["1e126", "9.9e125", "1e-130", "9.99e-131", "1" + "0" * 60, "1" * 38, "1" * 39, "0." + "0" * 140]),
)
LETTERS = [
    "a",
    "b",
    "\\u0061",
    "\\u0062",
    "\\u0000",
    "\x7f",
    "é",
    "e\u0301",
    "\\u00e9",
    "\u2028",
    "\\/",
    "/",
    '\\"',
    ":",
]
LETTERS += ["\\ud83d\\ude00", "😀", "\\uD83D\\uDE00", " ", "\\t", "\\\\", "{u}", "\ufeff", "1234567890123456789"]
ODD_STRINGS = st.lists(st.sampled_from(LETTERS), max_size=4).map(lambda pieces: f'"{"".join(pieces)}"')
HALVES = st.sampled_from(['"\\ud800"', '"\\udc00x"', '"\\ud800\\u0061"'])
SCALARS = st.one_of(ODD_NUMBERS, ODD_NUMBERS, ODD_STRINGS, HALVES, st.sampled_from(["true", "false", "null"]))
BLANK = st.sampled_from(["", "", "", " ", "\t", " \r "])


@st.composite
def objects(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    told = [
        f"{draw(BLANK)}{key}{draw(BLANK)}:{draw(BLANK)}{value}{draw(BLANK)}"
        for key, value in draw(st.lists(st.tuples(ODD_STRINGS, values), max_size=5))
    ]
    return "{" + ",".join(told) + "}"


NESTED = st.recursive(
    SCALARS, lambda inner: objects(inner) | st.lists(inner, max_size=3).map(lambda m: f"[{','.join(m)}]"), max_leaves=8
)


@settings(deadline=None, max_examples=examples(500))
@given(objects(SCALARS) | objects(NESTED))
@example('{"a":1,"\\u0061":2}')
@example('{"a":{"b":1,"\\u0062":1}}')
@example('{"\\ud83d\\ude00":1,"😀":1}')
@example('{"a":18446744073709551616,"b":-9223372036854775809,"c":9223372036854775808}')
@example('{"a":"\\u2028\u2028","\u2028":1}')
def test_row_is_numerically_and_textually_what_was_sent_or_refused(text: str):
    """Odd spellings of numbers, escapes and blanks; a key that stands twice, however spelt, is refused (E2–E4)."""
    assert_as_standard(text.encode())


SOURCE = Provenance("cooladata", "i", "e", "imports/a.json", 1)


@settings(deadline=None, max_examples=examples(500))
@given(objects(SCALARS) | objects(NESTED))
@example('{"a":1e-130,"b":9.9999999999999999999999999999999999999e125,"c":-0.0,"d":18446744073709551616}')
def test_row_comes_back_from_the_store_as_it_was_sent_or_the_limit_refuses_it(text: str):
    """Sent text → row → limit → item → boto3, which refuses to round: equal to what was sent (E2, E3)."""
    encoded = text.encode()
    wanted = standard_row(encoded)
    try:
        row = row_of(encoded)
        changes = [UserChange("u", f"prop#{name}", value, 1, 0, at) for at, (name, value) in enumerate(row.items())]
        event = Event("f" * 32, "e", 1, "u", row, 0)
        items.limit(len(encoded), Reading([event], changes))
    except Reject:
        return
    read = TypeDeserializer().deserialize
    assert by_value(read(items.event_item(event, SOURCE)["properties"])) == wanted
    kept = {change.record.removeprefix("prop#"): items.record_item(change, "r", SOURCE)["value"] for change in changes}
    assert {name: by_value(read(value)) for name, value in kept.items()} == wanted


@pytest.mark.parametrize("line_break", ["\u2028", "\u2029", "\x85", "\\u000a", "\\r", "\x7f"])
def test_what_other_readers_take_for_a_line_break_is_part_of_the_string(line_break: str):
    """Only LF ends a line (E7)."""
    assert row_of(f'{{"a":"x{line_break}y"}}'.encode()) == json.loads(f'{{"a":"x{line_break}y"}}')


def test_control_characters_are_refused_raw_and_kept_escaped():
    """NUL and its like: RFC 8259 wants them escaped; then they are text like any other (E10)."""
    for code in range(32):
        assert outcome(b'{"a":"%c"}' % code) == {Reason.NOT_JSON}
        assert outcome(b'{"a\\u%04x":"\\u%04x"}' % (code, code)) == {f"a{chr(code)}": chr(code)}


# --- Shapes that make parsers slow or kill them (E5, E8) --------------------------------------------------------------

# Nothing here is timed, but who runs the tests would not miss a reader that is quadratic in one of these. The
# interpreter's own limits (4,300 digits of an int, 1,000 frames) would raise what is no Reject.
SHAPE_BYTES = 256 << 10


def full(piece: bytes) -> bytes:
    return piece * (SHAPE_BYTES // len(piece))


REFUSED_SHAPES: dict[str, tuple[bytes, Reason]] = {
    "opening brackets": (full(b"["), Reason.NOT_JSON),
    "opening objects": (full(b'{"a":'), Reason.NOT_JSON),
    "opening both": (full(b'[{"a":'), Reason.NOT_JSON),
    "closing braces": (full(b"}"), Reason.NOT_JSON),
    "nested and closed": (full(b"[") + full(b"]"), Reason.TOO_DEEP),
    "string of backslashes, open": (b'{"a":"' + full(b"\\\\"), Reason.NOT_JSON),
    "empty strings": (b'{"a":' + full(b'""') + b"}", Reason.NOT_JSON),
    "points": (b'{"a":' + full(b"1.") + b"}", Reason.NOT_JSON),
    "exponents": (b'{"a":1' + full(b"e") + b"}", Reason.NOT_JSON),
    "signs": (b'{"a":' + full(b"-") + b"}", Reason.NOT_JSON),
    "exponent of digits": (b'{"a":1e' + full(b"9") + b"}", Reason.NUMBER_OUT_OF_RANGE),
    "negative exponent of digits": (b'{"a":1e-' + full(b"9") + b"}", Reason.NUMBER_OUT_OF_RANGE),
    "the same key": (b"{" + full(b'"a":1,') + b'"a":1}', Reason.DUPLICATE_KEY),
    "the same key, differently spelt": (b"{" + full(b'"a":1,"\\u0061":2,') + b'"b":1}', Reason.DUPLICATE_KEY),
    "half pairs": (b'{"a":"' + full(b"\\ud800") + b'"}', Reason.NOT_UTF8),
    "strings of half pairs": (b'{"a":[' + full(b'"\\ud800",') + b"1]}", Reason.NOT_UTF8),
    "blanks, then nothing": (b'{"a"' + full(b" "), Reason.NOT_JSON),
    "tabs, then a letter": (full(b"\t") + b"x", Reason.NOT_JSON),
    "commas": (b"[" + full(b","), Reason.NOT_JSON),
    "NULs": (full(b"\0"), Reason.NOT_JSON),
    "invalid bytes": (full(b"\xff"), Reason.NOT_UTF8),
    "invalid byte at the end": (b'{"a":"' + full("é".encode()) + b'\xff"}', Reason.NOT_UTF8),
    "mistake behind many-byte characters": (b'{"a":"' + full("é".encode()) + b'" x}', Reason.NOT_JSON),
    "half a literal at the end": (b'{"a":[' + full(b"true,") + b"nul]}", Reason.NOT_JSON),
    "empty objects": (b"[" + full(b"{},") + b"{}]", Reason.NOT_AN_OBJECT),
}
READ_SHAPES: dict[str, bytes] = {
    "digits": b'{"a":' + full(b"1") + b"}",
    "negative digits": b'{"a":-' + full(b"1") + b"}",
    "fraction": b'{"a":0.' + full(b"1") + b"}",
    "zeros before the digit": b'{"a":0.' + full(b"0") + b"1}",
    "zeros in the exponent": b'{"a":1e-' + full(b"0") + b"1}",
    "exponent of 18 digits": b'{"a":1e%s,"b":1e-%s}' % (b"9" * 18, b"9" * 18),
    "4,301 digits": b'{"a":' + b"7" * 4_301 + b"}",
    "array of long numbers": b'{"a":[' + full(b"12345678901234567890,") + b"1]}",
    "array of small numbers": b'{"a":[' + full(b"1e-5,") + b"1]}",
    "array of arrays": b'{"a":[' + full(b"[],") + b"[]]}",
    "closed string of backslashes": b'{"a":"' + full(b"\\\\") + b'"}',
    "strings that look like members": b'{"a":"' + full(b'\\":12345678901234567890,') + b'"}',
    "strings that look like numbers": b'{"a":"' + full(b'\\":1.1.1.1.1.1.1.1.1.1.1.1.1e99') + b'"}',
    "blanks before the value": b'{"a":' + full(b" ") + b"1}",
    "many keys": b"{" + b",".join(b'"k%d":%d' % (n, n) for n in range(20_000)) + b"}",
    "many keys with blanks": b"{" + b",".join(b'"k%d" : %d' % (n, n) for n in range(20_000)) + b"}",
    "a long key": b'{"' + full(b"k") + b'":1}',
}


@pytest.mark.parametrize(("text", "reason"), REFUSED_SHAPES.values(), ids=REFUSED_SHAPES.keys())
def test_shape_that_kills_parsers_is_refused_like_any_other_row(text: bytes, reason: Reason):
    """A Reject, never an exception of Python's (E5, E8)."""
    assert outcome(text) == {reason}


@pytest.mark.parametrize("text", READ_SHAPES.values(), ids=READ_SHAPES.keys())
def test_shape_that_alters_values_is_read_exactly(text: bytes):
    """Numbers of any length are kept; the store's limit, not an exception, says which of them it can hold (E3)."""
    assert outcome(text) == standard_row(text)
    event = Event("f" * 32, "e", 1, "u", row_of(text), 0)
    assert limit_says(len(text), event) in {None, Reason.NUMBER_OUT_OF_RANGE, Reason.EVENT_TOO_LARGE, Reason.TOO_LONG}


def limit_says(text_bytes: int, event: Event) -> Reason | None:
    try:
        items.limit(text_bytes, Reading([event], []))
    except Reject as reject:
        return reject.reason
    return None


def test_zero_is_zero_whatever_its_exponent():
    """Decimal takes no exponent of 30 digits, and zero needs none (E3)."""
    text = b'{"a":0e%s,"b":-0.00E-%s}' % (b"9" * 30, b"9" * 30)
    assert outcome(text) == {"a": ("number", 0), "b": ("number", 0)}
