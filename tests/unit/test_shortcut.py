"""The shortcut for usual rows: whatever it reads, the long way reads just so."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer import formats
from importer.batches import Batch, Rules, batches
from importer.definitions import Definition
from importer.lines import lines
from importer.parts import WHOLE
from importer.sinks import SINKS

from .test_rows import ODD_NUMBERS, ODD_STRINGS, SCALARS, objects

NOW_MS = 1_795_176_000_000
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


@settings(deadline=None, max_examples=600)
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


@pytest.mark.parametrize("path", sorted(CASES.glob("*/*.json")), ids=lambda path: f"{path.parent.name}/{path.stem}")
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
