"""The shortcut for usual rows: whatever it reads, the long way reads just so."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest import mock

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer import formats, plain_rows
from importer.batches import Batch, Rules, batches
from importer.definitions import Definition
from importer.lines import lines
from importer.model import Provenance
from importer.parts import WHOLE
from importer.plain_rows import PlainEvent
from importer.sinks import SINKS
from importer.sinks.items import EventTexts
from importer.sinks.records import EventLines
from tests.support.scenarios import examples

from .test_rows import ODD_NUMBERS, ODD_STRINGS, SCALARS, objects

NOW_MS = 1_795_176_000_000
SOURCE = Provenance("cooladata", "logins", "e" * 32, "imports/logins.json", NOW_MS)
CASES = Path(__file__).parents[1] / "cases"
DEFINITIONS = [
    Definition(),
    Definition(format="cooladata"),
    Definition(format="cooladata", session_scope=True),
    Definition(strict=True),
    Definition(identity="address"),
    Definition(earliest_ms=1_400_000_000_000, latest_ms=1_600_000_000_000),
]
SINKS_OF = [("dynamodb",), ("firehose",), ("dynamodb", "firehose"), ()]

NAMES = st.sampled_from(
    ['"event_name"', '"event_time_ts"', '"user_id"', '"a"', '"b"', '"{u}a"', '"{s}b"', '"{x"', '""', '"\\u0061"', '"é"']
)
ODD_TIMES = ["1425920218354.0", "1425920218", "-1", "1425920218354123", '"2012-10-15 04:06:30"', "1e12", "null", "true"]
TIMES = st.one_of(
    st.sampled_from(ODD_TIMES),
    st.integers(10**11 - 2, 10**11 + 2).map(str),
    st.integers(10**14 - 2, 10**14 + 2).map(str),
)
USERS = st.sampled_from(['"u"', '"null"', '" NULL "', '""', "7", "null", '"é"', '"' + "u" * 2_049 + '"', '"\\n"'])
ALIKE = st.one_of(
    st.sampled_from(
        [
            "-0",
            "0",
            "00",
            "01",
            "-1",
            "1.50",
            "1.0",
            "0.00001",
            "0.0001",
            "1e5",
            "1E5",
            "0.1e1",
            "1.",
            ".5",
            "-",
            "-0.0",
            "-0.5",
            "true",
            "false",
            "True",
        ]
    ),
    st.sampled_from(["123456789012345", "1234567890123450", "12345678901234567890", "0.12345678901234567"]),
    st.sampled_from(['"a\\"b"', '"\\\\"', '"a\\\\\\"', '"\\u0041"', '"a\\/"', '"a\\n"', '"\t"', '"\x7f"', '"日"']),
    st.integers(-(10**17), 10**17).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.decimals(-1000, 1000, places=6).map(str),
    st.text(max_size=5).map(json.dumps),
    st.text(max_size=5).map(lambda text: json.dumps(text, ensure_ascii=False)),
)
VALUES = st.one_of(SCALARS, ODD_NUMBERS, ODD_STRINGS, st.sampled_from(["[]", "{}", "[1]", '{"a":1}', '""', "null"]))


@st.composite
def rows(draw: st.DrawFn) -> str:
    """Mostly whole rows of the dialect, each of them odd in some way or none, written with blanks or without."""
    members = [
        ('"event_name"', draw(st.sampled_from(['"e"', '"e"', '"e"', '""', "null", "1"]))),
        ('"event_time_ts"', draw(st.just("1425920218354") | TIMES)),
        ('"user_id"', draw(st.just('"u"') | USERS)),
        *draw(st.lists(st.tuples(NAMES, VALUES), max_size=4)),
    ]
    members = draw(st.permutations(members))[draw(st.sampled_from([0, 0, 0, 1])) :]
    comma, colon = draw(st.sampled_from([(",", ":"), (",", ":"), (", ", ": "), (" ,", " :"), (",\t", ":\r")]))
    return "{" + comma.join(f"{name}{colon}{value}" for name, value in members) + "}"


@st.composite
def rows_alike(draw: st.DrawFn) -> list[str]:
    """Rows of the same names in the same order, the first of them plain: the others nearly match its pattern, or do."""
    names = draw(st.lists(st.sampled_from(['"a"', '"b%"', '"é"', '"c.*"', '"\\"d"']), unique=True, max_size=4))
    kinds = [draw(st.sampled_from(['"text"', "7", "0.5", "true", "null"])) for _ in names]
    comma, colon = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    mandatory = [('"event_name"', '"e"'), ('"event_time_ts"', "1425920218354"), ('"user_id"', '"u"')]
    order = draw(st.permutations(range(len(names) + 3)))

    def written(members: list[tuple[str, str]]) -> str:
        return "{" + comma.join(f"{name}{colon}{value}" for name, value in (members[at] for at in order)) + "}"

    texts = [written(mandatory + list(zip(names, kinds, strict=True)))]
    for _ in range(draw(st.integers(1, 6))):
        said = list(mandatory)
        said[1] = ('"event_time_ts"', draw(st.just("1425920218355") | TIMES))
        said[2] = ('"user_id"', draw(st.sampled_from(['"v"', '"v"', '"é"', '"\\n"', '"none"', '""', "null"])))
        values = [draw(st.just(kind) | ALIKE | VALUES) for kind in kinds]
        texts.append(written(said + list(zip(names, values, strict=True))))
    return texts


@contextmanager
def the_long_way() -> Iterator[None]:
    with mock.patch.object(formats, "_SHORTCUTS", {}):
        yield


def read(file: bytes, definition: Definition, sinks: tuple[str, ...]) -> list[Batch]:
    rules = Rules(definition.format or "cooladata", definition, NOW_MS, tuple(SINKS[sink] for sink in sinks), "x")
    return list(batches(lines([file], WHOLE), rules))


def exactly(found: Any) -> str:
    """With the types of numbers: 1 and 1.0 and True are equal."""
    return repr(found)


@settings(deadline=None, max_examples=examples(300))
@given(
    st.lists(st.one_of(rows(), rows(), objects(SCALARS)), min_size=1, max_size=6),
    st.sampled_from(["\n", "\r\n", "\n\n", " \n"]),
    st.sampled_from(DEFINITIONS),
    st.sampled_from(SINKS_OF),
)
def test_batches_are_the_same_with_the_shortcut_and_without(
    texts: list[str], end: str, definition: Definition, sinks: tuple[str, ...]
):
    """Events, bad rows with their reasons, notes, tallies: whole batches, with the types of their numbers."""
    file = "".join(text + end for text in texts).encode()
    with the_long_way():
        expected = exactly(read(file, definition, sinks))
    assert exactly(read(file, definition, sinks)) == expected


@settings(deadline=None, max_examples=examples(400))
@given(rows_alike(), st.sampled_from(["\n", "\r\n"]), st.sampled_from(DEFINITIONS[:3]), st.sampled_from(SINKS_OF))
def test_rows_that_look_alike_come_out_the_same_by_their_pattern_and_the_long_way(
    texts: list[str], end: str, definition: Definition, sinks: tuple[str, ...]
):
    """What a pattern matches is what would have been read: the events, and what either sink is sent of them."""
    file = "".join(text + end for text in texts).encode("utf-8", "surrogatepass")
    with the_long_way():
        expected = read(file, definition, sinks)
    with mock.patch.object(plain_rows, "_LEARNT_FROM", 1):
        found = read(file, definition, sinks)
    assert exactly(found) == exactly(expected)
    for batch, same in zip(found, expected, strict=True):
        for event, other in zip(batch.events, same.events, strict=True):
            assert event == other
            item, wanted = (orjson.loads(EventTexts(SOURCE)(each)) for each in (event, other))
            assert numerically(item) == numerically(wanted)
            line, wanted_line = (json.loads(EventLines(SOURCE)(each), parse_float=Decimal) for each in (event, other))
            assert line == wanted_line


def numerically(item: Any) -> Any:
    """An item with its numbers as numbers: DynamoDB has one way to write each, whatever it was sent."""
    if isinstance(item, dict):
        return {name: Decimal(value) if name == "N" else numerically(value) for name, value in item.items()}
    return item


def test_rows_that_look_like_those_before_them_are_matched_and_not_parsed():
    """From the hundredth row of a shape on, with values that come and go; and shapes that take turns are both known."""
    texts = [
        b'{"event_name":"e","event_time_ts":1425920218354,"user_id":"u","a":"x","b":0.5,"c":true}\n',
        b'{"event_name":"e","event_time_ts":1425920218354,"user_id":"u","a":null,"b":7,"c":""}\n',
        b'{"user_id": "u", "event_name": "e", "event_time_ts": 1425920218354, "d": "x \\"y\\""}\n',
    ]
    shortcut = formats.shortcut("cooladata", Definition(), NOW_MS)
    assert shortcut is not None
    for _ in range(150):
        events = [shortcut(text, 0) for text in texts]
    assert [type(event) for event in events] == [PlainEvent] * 3
    assert [event and event.properties for event in events] == [
        {"a": "x", "b": 0.5, "c": True},
        {"b": 7},
        {"d": 'x "y"'},
    ]


def test_text_that_is_not_utf_8_matches_no_pattern():
    """A pattern looks at bytes; whether they are text is looked at beside it."""
    text = b'{"event_name":"e","event_time_ts":1425920218354,"user_id":"u","a":"%b"}\n'
    shortcut = formats.shortcut("cooladata", Definition(), NOW_MS)
    assert shortcut is not None
    for _ in range(150):
        shortcut(text % b"x", 0)
    found = [shortcut(text % value, 0) for value in (b"x", "é".encode(), b"\xff", b"\xed\xa0\x80", b"\xc0\xaf")]
    assert [type(event) for event in found] == [PlainEvent, PlainEvent, type(None), type(None), type(None)]


@pytest.mark.parametrize(
    "path",
    [p for p in sorted(CASES.glob("*/*.json")) if p.parent.name != "repairs"],
    ids=lambda path: f"{path.parent.name}/{path.stem}",
)
def test_cases_of_every_dialect_come_out_the_same(path: Path):
    """A row of another dialect is never taken for one of this."""
    texts = [row for row in json.loads(path.read_text(encoding="utf-8")).get("rows", []) if isinstance(row, str)]
    file = "".join(text.replace("\n", " ") + "\n" for text in texts).encode("utf-8", "surrogatepass")
    for sinks in SINKS_OF:
        with the_long_way():
            expected = exactly(read(file, Definition(), sinks))
        assert exactly(read(file, Definition(), sinks)) == expected


def test_usual_rows_do_take_the_shortcut():
    """A shortcut nobody takes would pass every test above."""
    text = b'{"event_name":"e","event_time_ts":1425920218354,"user_id":"u","a":1,"b":0.5,"c":null,"d":"","e":true}'
    shortcut = formats.shortcut("cooladata", Definition(), NOW_MS)
    assert shortcut is not None
    spaced = json.dumps(json.loads(text)).encode()
    taken = [event and event.properties for event in (shortcut(text, 0), shortcut(spaced, 0), shortcut(b"{}", 0))]
    assert taken == [{"a": 1, "b": 0.5, "e": True}, {"a": 1, "b": 0.5, "e": True}, None]
    assert formats.shortcut("cooladata", Definition(strict=True), NOW_MS) is None
    assert formats.shortcut("woopra", Definition(), NOW_MS) is None
