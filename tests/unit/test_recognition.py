"""What the first bytes of a file say about its dialect: the same for everybody who looks."""

import gzip

import pytest
import zstandard

from importer.definitions import TEXT_CSV, Definition
from importer.formats import UNKNOWN, Recognised
from importer.recognition import DIALECT_ROWS, recognised_stored

KISS = b'{"_p":"u","_t":1350273990,"_n":"a"}\n'
COOLA = b'{"event_name":"a","event_time_ts":1350273990000,"user_id":"u"}\n'
TORN = b'{"_p":"u","_t":1350273990,"_n":"a","event_name":"a","event_time_ts":1350273990000,"user_id":"u"}\n'


def recognised(stored: bytes, **settings: object) -> Recognised:
    return recognised_stored([stored], Definition(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "packed",
    [bytes, gzip.compress, zstandard.ZstdCompressor().compress, lambda plain: b"\xef\xbb\xbf" + plain],
    ids=["plain", "gzip", "zstd", "byte order mark"],
)
def test_rows_speak_through_whatever_they_are_packed_in(packed):
    """By content, as the import opens it."""
    assert recognised(packed(KISS * 3)).format == "kissmetrics"


def test_a_stream_that_was_read_in_part_speaks_as_far_as_it_goes():
    """Only the begin of a large file is looked at."""
    whole = gzip.compress(b"".join(KISS.replace(b"1350273990", b"%d" % (1350273990 + n)) for n in range(5_000)))
    assert recognised(whole[: len(whole) // 2]).format == "kissmetrics"


def test_most_rows_decide_and_all_are_told():
    """In which dialects the first rows are."""
    found = recognised(COOLA + KISS * 2)
    assert (found.format, dict(found.rows), found.doubt) == ("kissmetrics", {"cooladata": 1, "kissmetrics": 2}, "")


def test_only_the_first_rows_that_can_be_read_have_a_say():
    """A file of a billion rows costs no more than one of a hundred."""
    assert recognised(KISS * DIALECT_ROWS + COOLA * 200).format == "kissmetrics"
    assert recognised(b"not json\n" * DIALECT_ROWS + KISS).format == "cooladata"


@pytest.mark.parametrize(
    "stored", [b"", b"\n\n", b"PK\x03\x04 a zip", b"\x1f\x8b\x08 damaged", b"[1,2]\n", b'{"x":1}\n']
)
def test_what_says_nothing_is_the_defaults(stored: bytes):
    """Whoever imports it says what is wrong with it."""
    assert recognised(stored) == Recognised("cooladata", ())


def test_rows_torn_between_two_dialects_are_refused_with_what_to_do():
    """Unless other rows decide."""
    torn = recognised(TORN * 2)
    assert (torn.format, "importer imports create --format" in torn.doubt) == (UNKNOWN, True)
    assert (recognised(TORN + KISS).format, recognised(TORN + KISS).doubt) == ("kissmetrics", "")
    woopra = b'{"visitor":{"id":"v"},"level":1}\n'
    assert (recognised(TORN + woopra * 9).format, recognised(TORN + woopra * 9).doubt) == ("woopra", "")


def test_a_definition_that_names_a_dialect_is_asked_first():
    """With what the rows say for it beside."""
    found = recognised(KISS, format="kissmetrics", id="shop")
    assert (found.format, found.evidence[0], len(found.evidence) > 1) == (
        "kissmetrics",
        "its definition",
        True,
    )
    assert recognised(KISS, format="woopra").format == "woopra"


def test_columns_speak_for_a_dialect_too():
    """K18, C32."""
    assert recognised(b"Identity,Timestamp,Event\nu,1,a\n", mime_type=TEXT_CSV).format == "kissmetrics"
    assert recognised(b"event_name,event_time_ts,user_id\na,1,u\n", mime_type=TEXT_CSV).format == "cooladata"
