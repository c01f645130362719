"""The page of a preview, read as HTML without a browser: only our own elements, every text of a stranger's whole."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest

from importer.known import Known, Looked, Where
from importer.preview import Findings, document, verdict
from importer.preview_page import SHOWN_NAMES, page
from importer.preview_page import Looked as LookedAt
from importer.words import in_percent, in_time, shown_whole
from tests.support.previews import ATTACKS, NOW_MS, found_in, honest, naughty, page_of, row, store

NAUGHTY = json.loads((Path(__file__).parents[1] / "corpora" / "naughty_strings.json").read_bytes())
OURS = {
    *("html", "head", "meta", "title", "style", "body", "header", "main", "footer", "nav", "section", "article"),
    *("h1", "h2", "h3", "p", "a", "ul", "li", "dl", "dt", "dd", "div", "span", "strong", "small", "bdi", "code", "pre"),
    *("mark", "table", "caption", "thead", "tbody", "tr", "th", "td", "svg", "rect"),
}
EMPTY = {"meta"}


class Read(HTMLParser):
    """Elements, attributes and text of a page; fails where an element does not end as it began."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.texts.append(data)


@pytest.mark.parametrize("body", [honest(), naughty(), b"", b"\x1f\x8b\x08"], ids=["honest", "naughty", "empty", "cut"])
def test_a_page_is_made_of_our_elements_alone(body: bytes):
    """And none of them has an attribute that could run or load anything."""
    read = Read(page_of(body, store()).decode())
    assert read.tags <= OURS
    assert not {name for name in read.attributes if name.startswith("on") or name in ("src", "style", "srcdoc")}


@pytest.mark.parametrize("some", [NAUGHTY[at::8] for at in range(8)])
def test_naughty_strings_are_text(some: list[str]):
    """Each as a value, a name, an event, a user and a file; what cannot be seen is spelt out."""
    rows = [row(1, **{text or "none": text}) + "\n" + row(2, event_name=text, user_id=text) for text in some]
    read = Read(page_of("\n".join(rows).encode("utf-8", "surrogatepass"), store(), f"previews/{some[0]}").decode())
    assert read.tags <= OURS
    assert not [text for text in read.texts if not text.replace("\n", "").isprintable()]
    known = "".join(read.texts)
    assert [text for text in some if text and len(text) < 50 and shown_whole(text) not in known] == []


def test_an_attack_is_told_as_it_was_sent():
    """Escaped once, not twice, and not left out."""
    texts = "".join(Read(page_of(naughty(), store()).decode()).texts)
    assert [attack for attack in ATTACKS[:12] if attack not in texts] == []


def test_a_page_is_small_however_many_names_a_file_has():
    """What is left out is counted, and stands in the JSON."""
    many = {f"property {number}": "x" * 200 for number in range(1_500)}
    body = "\n".join([row(1, **many), *(row(number, event_name=f"event {number}") for number in range(1_200))])
    made = page_of(body.encode(), store())
    assert len(made) < 200_000
    text = "".join(Read(made.decode()).texts)
    assert f"{1_000 - SHOWN_NAMES:,} more names are in the JSON." in text
    assert "stand under names that found no place there either" in text


def test_a_part_of_a_file_says_which():
    """Nobody takes the sums of a part for those of the whole."""
    found = found_in(honest()[:20_000], size_bytes=5 << 30)
    found.whole = False
    text = "".join(Read(page(found, LookedAt("previews/large.json", 5 << 30, NOW_MS)).decode()).texts)
    assert "Only the beginning of this file was looked at: 19.5 KiB" in text
    assert "of what was read" in text


def test_an_empty_store_makes_nothing_new():
    """On the first day every name is new: to say so of each would say nothing."""
    found = found_in(honest(), Known())
    assert not found.is_new(Where.EVENTS, "login")
    assert "is empty: there was nothing to compare names with" in page_of(honest(), Known()).decode()


def test_names_and_types_beside_the_store():
    """New is what was not found, a clash what has another type; null goes with all."""
    known = Known(
        Looked(5), Looked(5), {"login"}, {Where.PROPERTIES: {"page": {"string", "null"}, "price": {"boolean"}}}
    )
    said = document(found_in(honest(), known))
    assert said["new"] == {
        "event_names": ["purchase"],
        "properties": ["currency"],
        "user_properties": ["city"],
        "session_properties": [],
    }
    assert said["clashes"] == [
        {"where": "properties", "name": "price", "types": ["number", "string"], "stored": ["boolean"]}
    ]
    assert said["compared_with"] == {
        "events": {"items": 5, "whole": True},
        "user_records": {"items": 5, "whole": True},
    }


def test_each_kind_of_refused_row_has_its_example():
    """The second kind comes after more of the first than are kept: two of each are."""
    rows = [*('{"no": 1}' for _ in range(30)), row(1, user_id=7), row(2, user_id=8), row(3, user_id=9)]
    found = found_in("\n".join(rows).encode())
    assert [(bad.line, bad.field) for bad in found.examples] == [
        (1, "event_name"),
        (2, "event_name"),
        (31, "user_id"),
        (32, "user_id"),
    ]


def test_samples_are_values_that_differ():
    """Three at most, and each once."""
    found = found_in("\n".join(row(n, plan=["free", "free", "pro", "team", "more"][n]) for n in range(5)).encode())
    assert found.properties["plan"].samples == ["free", "pro", "team"]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (found_in(b""), "There are no rows in it. An import would only move the file"),
        (found_in(row(1).encode()), "An import would write 1 event, and refuse no row"),
        (found_in(b"{}"), "An import would write 0 events and put 1 row into errors/, each with its reason"),
        (found_in(b"\x1f\x8b\x08"), "An import would refuse this file (truncated)"),
        (Findings(), "There are no rows in it. An import would only move the file"),
    ],
)
def test_the_verdict_is_one_sentence(found: Findings, said: str):
    """What an import would do."""
    assert verdict(found) == said


def test_shares_and_times_never_say_more_than_is_known():
    """A part is not 0 % nor 100 %."""
    assert [in_percent(share) for share in (0, 0.00001, 0.004, 0.5, 0.9999, 1)] == [
        "0 %",
        "under 0.1 %",
        "0.4 %",
        "50 %",
        "99.9 %",
        "100 %",
    ]
    assert [in_time(seconds) for seconds in (3, 240, 9_000)] == ["3 s", "4 min", "2.5 h"]
