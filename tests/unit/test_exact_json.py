"""The exact reader against the standard library's, and the fast path against the exact reader."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from importer import exact_json
from importer.bad_rows import Reason, Reject
from importer.rows import row_of
from tests.support.scenarios import examples
from tests.unit.values import by_value

# --- texts of JSON, as strangers write them ---

SPACES = st.sampled_from(["", "", "", " ", "\t", "\r", "\n", "  \r "])
TRICKY_NUMBERS = """
    0 -0 -0.0 0e-5 1e-400 -1e-400 1e400 1e22 1e23 5e-324 4.9e-324 2.2250738585072014e-308 1E+2 0.1e1 1.10 100000000000
    9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809 18446744073709551615
    18446744073709551616 9007199254740993 9007199254740993.0 0.1000000000000000055511151231257827
    1.7976931348623157e308 1.7976931348623159e308 123456789012345.6 1234567890123456 12345678901234567e-2
    1e-0000000000000000000400 1e0000000000000000022 0.00000000000000000001 1e-130 9.9e-131 999999999999999
    0.999999999999999999
"""
NUMBERS = st.one_of(
    st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,4})?", fullmatch=True),
    st.integers(-(2**65), 2**65).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(TRICKY_NUMBERS.split()),
)
PIECES = st.sampled_from(
    [
        "a",
        "b",
        '\\"',
        ":",
        '\\":',
        " :",
        ": ",
        "\\\\",
        "\\n",
        "\\u0061",
        "é",
        "😀",
        "\u2028",
        "\\ud83d\\ude00",
        "1234567890123456789",
        "1e-400",
        "{",
        "}",
        "[",
        ",",
        "\\t:",
        "\\/",
        "\x7f",
    ]
)
STRINGS = st.lists(PIECES, max_size=4).map(lambda pieces: '"' + "".join(pieces) + '"')
SCALARS = st.one_of(NUMBERS, STRINGS, st.sampled_from(["true", "false", "null"]))


@st.composite
def arrays(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    members = draw(st.lists(values, max_size=4))
    told = ",".join(draw(SPACES) + member + draw(SPACES) for member in members) or draw(SPACES)
    return f"[{told}]"


@st.composite
def objects(draw: st.DrawFn, values: st.SearchStrategy[str]) -> str:
    members = draw(st.lists(st.tuples(STRINGS, values), max_size=5))
    told = [draw(SPACES) + key + draw(SPACES) + ":" + draw(SPACES) + value + draw(SPACES) for key, value in members]
    return "{" + ",".join(told) + "}"


TEXTS = st.recursive(SCALARS, lambda inner: st.one_of(arrays(inner), objects(inner)), max_leaves=12)
# What a slip, or an enemy, makes of a text.
SLIPS = st.lists(
    st.tuples(
        st.integers(0, 200),
        st.integers(0, 2),
        st.sampled_from(b"{}[]\",:\\ue+-.0189tn \t\n\r\x00\x1f\x7f\xc3\xa9\xff/#'NI\xed\xa0\x80\xef\xbb\xbf"),
    ),
    min_size=1,
    max_size=3,
)


def with_slips(text: bytes, slips: list[tuple[int, int, int]]) -> bytes:
    for at, deleted, inserted in slips:
        place = at % (len(text) + 1)
        text = text[:place] + bytes([inserted]) + text[place + deleted :]
    return text


# --- what they mean ---


class Twice(Exception):
    """A key stands twice."""


def standard(text: bytes) -> Any:
    """The standard library's opinion: a value, or the set of reasons one of which is right."""

    def no_constant(word: str) -> None:
        raise ValueError(word)

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) < len(pairs):
            twice.append(True)
        return dict(pairs)

    twice: list[bool] = []
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        return {Reason.NOT_UTF8}
    try:
        value = json.loads(
            decoded, parse_int=Decimal, parse_float=Decimal, parse_constant=no_constant, object_pairs_hook=members
        )
    except ValueError:
        return {Reason.NOT_JSON}
    reasons = {Reason.DUPLICATE_KEY} if twice else set()
    try:
        # With duplicates the surrogates may be in the lost one: the text is looked at instead.
        json.dumps(json.loads(decoded, object_pairs_hook=list), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        reasons.add(Reason.NOT_UTF8)
    return reasons or by_value(value)


def outcome(parse: Any, text: bytes) -> Any:
    try:
        return by_value(parse(text))
    except Reject as reject:
        return {reject.reason}


def agree(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, set):
        return isinstance(found, set) and found <= wanted
    return bool(found == wanted)


@settings(deadline=None, max_examples=examples(250))
@given(TEXTS, SPACES, SPACES)
def test_exact_reader_reads_what_the_standard_library_reads(text: str, before: str, after: str):
    """Same values, compared as decimal numbers; a key that stands twice and half a surrogate pair are refused."""
    encoded = (before + text + after).encode()
    assert agree(outcome(exact_json.parse, encoded), standard(encoded))


@settings(deadline=None, max_examples=examples(400))
@given(TEXTS, SLIPS)
@example('{"a":1}', [(0, 0, 0xEF)])
def test_exact_reader_refuses_what_the_standard_library_refuses(text: str, slips: list[tuple[int, int, int]]):
    """Whatever is damaged: both accept and agree on the value, or both refuse."""
    damaged = with_slips(text.encode(), slips)
    assert agree(outcome(exact_json.parse, damaged), standard(damaged))


@st.composite
def flat_rows(draw: st.DrawFn) -> bytes:
    return draw(objects(SCALARS)).replace("\n", " ").encode()


def exact_row(text: bytes) -> Any:
    value = exact_json.parse(text)
    if not isinstance(value, dict):
        raise Reject(Reason.NOT_AN_OBJECT)
    return value


@settings(deadline=None, max_examples=examples(500))
@given(flat_rows())
@example(b'{"a":1e-400}')
@example(b'{"a":"\\":","a":1}')
@example(b'{"":1,"":2}')
@example(b'{"a":"x\\": 12345678901234567890","b":12345678901234567890123}')
@example(b'{"a":123456789012345678e-30,"b":0.1234567890123456789}')
def test_fast_path_agrees_with_the_exact_reader(row: bytes):
    """Same acceptance, numerically equal values: the fast path is an optimisation and no second opinion."""
    assert outcome(row_of, row) == outcome(exact_row, row)


@settings(deadline=None, max_examples=examples(300))
@given(flat_rows(), SLIPS)
def test_fast_path_agrees_with_the_exact_reader_on_damaged_rows(row: bytes, slips: list[tuple[int, int, int]]):
    """Same acceptance and same reason, whatever the damage."""
    damaged = with_slips(row, slips).replace(b"\n", b" ")
    assert outcome(row_of, damaged) == outcome(exact_row, damaged)


@settings(deadline=None, max_examples=examples(250))
@given(objects(st.one_of(SCALARS, arrays(SCALARS), objects(SCALARS), arrays(arrays(NUMBERS)))))
@example('{"a":[1e-400]}')
@example('{"a":[123456789012345678901234567890]}')
@example('{"a":{"b":1},"c":{}}')
def test_fast_path_agrees_with_the_exact_reader_on_nested_rows(row: str):
    """A nested value is kept exactly too: not this room decides that it is refused."""
    text = row.replace("\n", " ").encode()
    assert outcome(row_of, text) == outcome(exact_row, text)


# --- vectors: y accepted, n refused, each also as the value of a property of a flat row ---

VECTORS = json.loads((Path(__file__).parent / "json_vectors.json").read_text())


@pytest.mark.parametrize("text", VECTORS["accepted"])
def test_what_the_rfc_accepts_is_accepted(text: str):
    """Alone, and as a property's value by both paths."""
    row = b'{"p":%s}' % text.replace("\n", " ").encode()
    value = by_value(json.loads(text, parse_float=Decimal))
    assert [
        outcome(exact_json.parse, text.encode()),
        outcome(exact_row, row),
        outcome(row_of, row),
    ] == [value, {"p": value}, {"p": value}]


@pytest.mark.parametrize("text", VECTORS["refused"])
def test_what_the_rfc_refuses_is_not_json(text: str):
    """Alone, and as a property's value by both paths."""
    row = b'{"p":%s}' % text.encode()
    refused = {Reason.NOT_JSON}
    assert [outcome(exact_json.parse, text.encode()), outcome(exact_row, row), outcome(row_of, row)] == [refused] * 3


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'"\\ud800"', Reason.NOT_UTF8),
        (b'"\\udc00\\ud800"', Reason.NOT_UTF8),
        (b'"\\ud800\\ud800\\udc00"', Reason.NOT_UTF8),
        (b'"\xed\xa0\x80"', Reason.NOT_UTF8),
        (b'"\xc0\xaf"', Reason.NOT_UTF8),
        (b'"\xf4\x90\x80\x80"', Reason.NOT_UTF8),
        (b'"\xff"', Reason.NOT_UTF8),
        (b"1e9999999999999999999", Reason.NUMBER_OUT_OF_RANGE),
        (b"-1e-9999999999999999999", Reason.NUMBER_OUT_OF_RANGE),
    ],
)
def test_what_is_json_but_has_no_faithful_value_here_is_refused(text: bytes, reason: Reason):
    """RFC 8259 leaves it open; nothing is replaced or rounded."""
    row = b'{"p":%s}' % text
    assert [outcome(exact_json.parse, text), outcome(row_of, row)] == [{reason}] * 2


def test_numbers_are_int_within_64_bits_float_where_equal_and_decimal_else():
    """The types a reader may count on."""
    row = exact_json.parse(b"[1, -9223372036854775808, 18446744073709551615, 1.0, 1e2, 18446744073709551616, 1e400]")
    assert isinstance(row, list)
    assert [type(value) for value in row] == [int, int, int, float, float, Decimal, Decimal]


@pytest.mark.parametrize(("opening", "inner", "closing"), [("[", "1", "]"), ('{"a":', "1", "}"), ("[[", "", "]]")])
@pytest.mark.parametrize("levels", [1_022, 1_024, 1_026, 30_000])
def test_depth_costs_no_stack(levels: int, opening: str, inner: str, closing: str):
    """1,024 levels are read, more are refused as too deep; a damaged end is still what counts first."""
    times = levels // len(closing)
    text = (opening * times + inner + closing * times).encode()
    if times * len(closing) <= exact_json.MAX_DEPTH:
        exact_json.parse(text)
    else:
        assert outcome(exact_json.parse, text) == {Reason.TOO_DEEP}
    assert outcome(exact_json.parse, text[:-1]) == {Reason.NOT_JSON}
    assert outcome(exact_json.parse, text + b"x") == {Reason.NOT_JSON}


@pytest.mark.parametrize(("levels", "refused"), [(1_024, None), (1_025, Reason.TOO_DEEP)])
def test_both_paths_have_the_same_depth(levels: int, refused: Reason | None):
    """A row is not accepted or refused by which path it happened to take."""

    def reason(text: bytes) -> Reason | None:
        try:
            row_of(text)
        except Reject as reject:
            return reject.reason
        return None

    nested = b"[" * (levels - 1) + b"]" * (levels - 1)
    assert [reason(b'{"a":%s}' % nested), reason(b'{"a" :%s}' % nested)] == [refused, refused]


def test_a_hundred_thousand_levels_are_refused_like_any_other_row():
    """Neither the parser's stack nor the interpreter's is used up."""
    assert outcome(exact_json.parse, b"[" * 100_000) == {Reason.NOT_JSON}
    assert outcome(row_of, b'{"a":' * 100_000 + b"1" + b"}" * 100_000) == {Reason.TOO_DEEP}


def test_place_of_the_mistake_is_a_byte_of_the_row():
    """Characters of several bytes before it count as their bytes."""
    with pytest.raises(Reject) as refused:
        exact_json.parse('{"é":x}'.encode())
    assert (refused.value.expected, refused.value.found) == ("a JSON value", "'x' at byte 6 of the row")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (r'{"a":"caf\303\251"}', r"é as it is or as \u00e9"),
        (r'{"a":"\360\237\230\200!"}', r"😀 as it is or as \ud83d\ude00"),
        (r'{"a":"\101"}', "A"),
        (r'{"a":"\042"}', r"\""),
        (r'{"\303\251":1}', r"é as it is or as \u00e9"),
        (r'{"a":"Frog\231"}', r"the character as it is or as \u and four hexadecimal digits"),
        (r'{"a":"\303"}', r"the character as it is or as \u and four hexadecimal digits"),
        (r'{"a":"\000"}', r"the character as it is or as \u and four hexadecimal digits"),
    ],
)
def test_octal_escapes_are_refused_with_what_to_write_instead(text: str, written: str):
    """Real exports have them (K17): the bytes of UTF-8, or of another encoding."""
    with pytest.raises(Reject) as refused:
        row_of(text.encode())
    assert (refused.value.reason, refused.value.hint) == (
        Reason.NOT_JSON,
        f"octal escapes are not JSON: write {written}",
    )


@pytest.mark.parametrize("text", [r'{"a":"\9"}', r'{"a":"\30"}', r'{"a":"\x41"}', r'{"a":"\400"}'])
def test_other_wrong_escapes_have_no_hint(text: str):
    """Nobody can know what was meant."""
    with pytest.raises(Reject) as refused:
        row_of(text.encode())
    assert (refused.value.reason, refused.value.hint) == (Reason.NOT_JSON, "")


SEED = (
    '{"visitor":{"email":"[email protected]"}, "actions":[{"time":1444077951001, "name":"purchase", '
    '"properties":{"price":20, "currency":"$"}]}'
)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (SEED, "a } is missing before the ] at byte 136"),
        ('{"é":[1}', "a ] is missing before the } at byte 8"),
        ('{"a":[[[1}', "3 ] are missing before the } at byte 9"),
        ('{"a":[[[[1}', ""),
        ('[{"b":{"c":[]]', "2 } are missing before the ] at byte 13"),
        ('{"a":[}', "a ] is missing before the } at byte 6"),
        ("[{]", "a } is missing before the ] at byte 2"),
        ('{"a":1]', ""),
        ("[1}", ""),
        ("}", ""),
        ('[{"a":]', ""),
        ('[{"a"]', ""),
        ('{"a":1}}', ""),
        ('{"a":[1,}', "remove the comma before it"),
        ('{"a":{"b":"c"}', "add } at the end"),
        ('{"a":"{{" , "b":[] ', "add } at the end"),
        ('{"a":["x"', "the row was cut short"),
        ('{"a":{"b":"c"', "the row was cut short"),
        ('{"a":1', "the row was cut short"),
        ('{"a":"x\\"', "the row was cut short"),
        ('{"a":', "the row was cut short"),
        ("[" * 1_030 + '{"a":1]', "a } is missing before the ] at byte 1036"),
    ],
)
def test_hint_says_which_bracket_is_missing_and_where(text: str, hint: str):
    """Where one kind closes before another that is open inside it, or the row ends one brace too soon (W18)."""
    with pytest.raises(Reject) as refused:
        exact_json.parse(text.encode())
    assert (refused.value.reason, refused.value.hint) == (Reason.NOT_JSON, hint)
