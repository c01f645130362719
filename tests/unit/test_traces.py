"""What speaks of a person, and what is left of a row that is blanked."""

import pytest

from importer.ledger.erasures import Blanks, Spans
from importer.ledger.traces import Traces, blank, is_blank

ADA = Traces(["ada"])
MAIL = Traces(["ada@example.com"])


@pytest.mark.parametrize(
    "raw",
    [
        b'{"user_id":"ada","n":1}',
        b"ada",
        b"id=ada;x",
        b"/users/ada/",
        b"seen: ada.",
        b"ada,login,2012-10-15",
        b"\xef\xbb\xbfada,login",
        rb'{"user_id":"\u0061da"',
        rb'{"text":"{\"id\":\"ada\"}"',
        rb'{"text":"hello\nada"',
        b'"a ""ada"" b",x',
        b'{"user_id":"ada\xff',
        b"x\xff ada",
        "﻿ada".encode("utf-16-le"),
        b'<td title="&#97;da">',
    ],
)
def test_an_identifier_is_found_where_it_stands_by_itself(raw: bytes) -> None:
    assert ADA.in_bytes(raw)


@pytest.mark.parametrize(
    ("identifier", "raw"),
    [
        ('o"b', rb'{"u":"{\"k\":\"o\\\"b\"}"}'),
        ("a\\b", rb'{"u":"{\"k\":\"a\\\\b\"}"}'),
        ('o"b', rb'x,"{""u"":""o\""b""}",y'),
        ("a b", b"http://x/?to=http%3A%2F%2Fy%2F%3Fu%3Da%2520b"),
        ("a&b", b"<i>a&amp;amp;b</i>"),
        ("o'b", rb"{'user_id':'o\'b'}"),
    ],
    ids=["JSON in JSON", "a backslash in it", "JSON in CSV", "a URL in a URL", "HTML in HTML", "Python's apostrophe"],
)
def test_an_identifier_is_found_however_often_it_is_escaped(identifier: str, raw: bytes) -> None:
    assert Traces([identifier]).in_bytes(raw)


def test_the_parts_of_an_account_may_stand_in_windows_far_from_each_other() -> None:
    account = Traces(["1000:u-81"])
    assert account.in_windows([b'{"compartment_id":1000,', b"x" * 99, b'"user_account_id":"u-81"}'])
    assert not account.in_windows([b'{"compartment_id":1001,', b'"user_account_id":"u-81"}'])


@pytest.mark.parametrize(
    "raw",
    [b"adam", b"sada", b'{"user_id":"ada@example.com"}', b"ada-2", b"x.ada", b"ada_1", b"Ada", b"a da", b"", b"ada1"],
)
def test_part_of_a_longer_word_is_somebody_else(raw: bytes) -> None:
    assert not ADA.in_bytes(raw)


def test_an_address_is_found_as_urls_write_it() -> None:
    assert MAIL.in_bytes(b"https://x.org/?mail=ada%40example.com&n=1")
    assert not MAIL.in_bytes(b"https://x.org/?mail=vada%40example.com&n=1")


def test_an_identifier_of_many_scripts_is_found_in_utf_8_and_latin_1_and_escaped() -> None:
    traces = Traces(["josé"])
    for raw in ("josé".encode(), "josé".encode("latin-1"), rb'"jos\u00e9"'):
        assert traces.in_bytes(raw)


def test_an_account_is_found_where_its_compartment_stands_apart() -> None:
    traces = Traces(["1000:u-81"])
    assert traces.in_bytes(b'{"user_account_id":"u-81","compartment_id":"1000"')
    assert not traces.in_bytes(b'{"user_account_id":"u-81","compartment_id":"2000"')
    assert traces.in_bytes(b"1000:u-81")


def test_any_text_in_a_value_counts_names_included() -> None:
    assert ADA.in_value({"a": [1, {"b": "for ada"}]})
    assert ADA.in_value({"ada": 1})
    assert not ADA.in_value({"a": ["adam", None, 7]})


@pytest.mark.parametrize("identifiers", [[], [""]])
def test_nobody_is_not_a_person(identifiers: list[str]) -> None:
    with pytest.raises(ValueError, match="identifiers"):
        Traces(identifiers)


@pytest.mark.parametrize(
    ("raw", "keep_marks", "left"),
    [
        (b'{"a":1}\r\n', False, b"       \r\n"),
        (b"ada", False, b"   "),
        (b'ada,"two\nlines"\n', False, b"        \n      \n"),
        (b'ada,"two\nlines"\n', True, b'    "   \n     "\n'),
        ("é\n".encode(), False, b"  \n"),
    ],
)
def test_a_blanked_row_keeps_its_length_and_its_line_breaks(raw: bytes, keep_marks: bool, left: bytes) -> None:
    assert blank(raw, keep_marks) == left
    assert is_blank(left)


def test_blanks_come_over_chunks_cut_anywhere() -> None:
    """Whatever pieces an object is read in."""
    text = bytes(range(33, 93))
    spans = Spans()
    for start, stop in ((3, 7), (7, 9), (20, 45), (59, 60)):
        spans.add(start, stop)
    wanted = bytearray(text)
    for start, stop, _ in spans:
        wanted[start:stop] = b" " * (stop - start)
    for size in (1, 2, 7, 30, 60):
        blanks = Blanks(spans)
        assert b"".join(blanks.over(at, text[at : at + size]) for at in range(0, 60, size)) == wanted
    blanks = Blanks(spans)
    assert [blanks.touch(at, at + 10) for at in range(0, 60, 10)] == [True, False, True, True, True, True]
