"""Reasons, the bad-row document, and segments: bad rows byte for byte."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.bad_rows import BadRow, Reason, Reject, document, read_segment, row_text, segment, shown
from importer.model import S3Object

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
BAD_ROWS = st.builds(
    BadRow,
    line=st.integers(1, 10**12),
    offset=st.integers(0, 2**62),
    raw=st.binary(max_size=60) | st.sampled_from([b"", b"\n", b"\r\n", b'{"size":3}\n', b"\0\n\n", b"\xff\xfe"]),
    reason=st.sampled_from(list(Reason)).map(lambda reason: reason.value),
    field=TEXT,
    expected=TEXT,
    found=TEXT,
    message=TEXT,
    hint=TEXT,
)


@given(st.lists(BAD_ROWS, max_size=8))
def test_segment_gives_back_the_rows_it_was_made_of(rows: list[BadRow]):
    """Length-prefixed, so a row may hold any byte, line ends and segments included."""
    assert list(read_segment(io.BytesIO(segment(rows)))) == rows


@given(st.lists(BAD_ROWS, min_size=1, max_size=3), st.data())
def test_segment_cut_short_is_never_read_quietly_to_a_false_end(rows: list[BadRow], data: st.DataObject):
    """Cut inside a row it raises; cut between two rows it has fewer of them, which settle counts."""
    whole = segment(rows)
    stop = data.draw(st.integers(0, len(whole) - 1))
    try:
        read = list(read_segment(io.BytesIO(whole[:stop])))
    except ValueError:
        return
    assert segment(read) == whole[:stop]
    assert read == rows[: len(read)]


@pytest.mark.parametrize(
    ("raw", "text", "sent"),
    [
        (b"a\n", b"a", b"a\n"),
        (b"a\r\n", b"a", b"a\r\n"),
        (b"a\r\r\n", b"a\r", b"a\r\r\n"),
        (b"a", b"a", b"a\n"),
        (b"a\r", b"a", b"a\r\n"),
        (b"\n", b"", b"\n"),
        (b"", b"", b"\n"),
    ],
)
def test_line_end_is_lf_with_or_without_cr_or_what_is_left_of_it(raw: bytes, text: bytes, sent: bytes):
    """In errors/ a row keeps its own end; the last one gets an LF if it had none, and so CR LF if that was cut."""
    row = BadRow.of(Reject(Reason.NOT_JSON), 1, 0, raw)
    assert (row_text(raw), row.length, row.as_sent()) == (text, len(text), sent)


def test_document_is_bad_row_1():
    """The schema, whole."""
    reject = Reject(
        Reason.WRONG_TYPE, field="user_id", expected="string", found="number", hint="put it in double quotes"
    )
    source = S3Object("bucket", "imports/a.json", None, "etag", 99, 0)
    assert json.loads(document(BadRow.of(reject, 3, 40, b"{}\r\n"), source, "e1", 13)) == {
        "schema": "bad_row/1",
        "line": 13,
        "offset": 40,
        "length": 2,
        "reason": "wrong_type",
        "field": "user_id",
        "expected": "string",
        "found": "number",
        "message": "user_id: wrong type; expected string, found number",
        "hint": "put it in double quotes",
        "source": {"bucket": "bucket", "key": "imports/a.json", "version_id": None, "etag": "etag"},
        "execution_id": "e1",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "not valid JSON"),
        ({"field": "a"}, "a: not valid JSON"),
        ({"expected": "x"}, "not valid JSON; expected x"),
        ({"found": "y"}, "not valid JSON; found y"),
        ({"field": "a", "expected": "x", "found": "y"}, "a: not valid JSON; expected x, found y"),
        ({"message": "other words", "found": "y"}, "other words"),
    ],
)
def test_message_says_field_expected_and_found(arguments: dict[str, str], message: str):
    """As much of it as is known."""
    assert Reject(Reason.NOT_JSON, **arguments).message == message


@given(st.text())
def test_what_is_shown_of_a_strangers_text_is_short_and_printable(text: str):
    """No control characters reach a terminal or a log (J8), and no row is copied into a reason."""
    told = shown(text)
    assert told.isprintable()
    assert len(told) <= 120 * len("\\U0010ffff")
    assert shown("a" * 121) == "a" * 119 + "…"


def test_message_of_a_reject_is_short_whatever_the_row_holds():
    """Field and value alike are cut and made printable."""
    reject = Reject(Reason.TOO_LONG, field="n\x1b[2J" * 50_000, found="\x07" * 50_000)
    assert (len(reject.message) < 4_000, reject.message.isprintable()) == (True, True)


def test_bad_row_document_is_short_whatever_the_row_holds():
    """A property name may have 8 MB: the row stands in errors/, its reason must not hold it a second time."""
    reject = Reject(Reason.TOO_LONG, field="n" * 100_000, expected="at most 65535 bytes")
    row = BadRow.of(reject, 1, 0, b"{}\n")
    assert len(document(row, S3Object("b", "k", None, "e", 1, 0), "e1", 0)) < 4_000
