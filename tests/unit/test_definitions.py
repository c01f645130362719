"""Settings of an import: what is accepted, and what a mistake in them says."""

import re
from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer import formats
from importer.definitions import DEFAULT, LATEST_TIME_MS, NDJSON, TEXT_CSV, Definition
from importer.model import Misconfigured

ANY = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text(), max_size=2)
# So often a value of a right one that what is left to be wrong is looked at too.
LIKELY = st.sampled_from(["", "row", "property:a", "utf-8", "HIGH", TEXT_CSV, "both", "dd/mm/yyyy", 0, 9, True, False])


def test_defaults_are_those_of_the_design():
    """Whatever can be read in one way only is accepted."""
    assert DEFAULT.as_stored() == {
        "id": "default",
        "name": "default",
        "mime_type": "APPLICATION_X_NDJSON",
        "strict": False,
        "date_format": "",
        "session_scope": False,
        "earliest_ms": 0,
        "latest_ms": 9_999_999_999_999,
        "format": "",
        "document_type": "",
        "encoding": "utf-8",
        "priority": "MEDIUM",
        "base_file_name": "",
        "files_per_run": 1,
        "run_seconds": 300,
        "identity": "row",
        "atomic": False,
        "numbers_in_strings": False,
        "max_bad_rows": 0,
        "sinks": "",
    }


def test_stored_definition_comes_back_as_it_was():
    """An execution keeps the definition it began with."""
    definition = Definition(
        *("shop", "The shop", "TEXT_CSV", True, "dd/mm/yyyy", True, 5, 6, "woopra", "USER_SEGMENT", "UTF-8", "LOW"),
        *("accounts.csv", 2, 60, "property:order_id", True, True, 7, "both"),
    )
    unlike_default = [field.name for field in fields(definition) if getattr(definition, field.name) != field.default]
    assert unlike_default == [field.name for field in fields(definition)], "none may be forgotten here"
    assert Definition.of(definition.as_stored()) == definition
    assert Definition.of({}) == DEFAULT


@pytest.mark.parametrize(
    ("stored", "word"),
    [
        ({"strickt": True}, "unknown setting 'strickt'"),
        ({"strict": "yes"}, "strict: expected bool, found str"),
        ({"strict": 1}, "strict: expected bool, found int"),
        ({"earliest_ms": True}, "earliest_ms: expected int, found bool"),
        ({"latest_ms": 1.0}, "latest_ms: expected int, found float"),
        ({"mime_type": "text/csv"}, "mime_type 'text/csv': choose one of APPLICATION_X_NDJSON, TEXT_CSV"),
        ({"date_format": "yyyy"}, "date_format 'yyyy': choose one of dd/mm/yyyy, mm/dd/yyyy"),
        ({"earliest_ms": 2, "latest_ms": 1}, r"time window \[2, 1\]"),
        ({"earliest_ms": -1}, r"time window \[-1, "),
        ({"latest_ms": LATEST_TIME_MS + 1}, "in 0…9999999999999 ms"),
        ({"id": ""}, "id '': the name of a folder, 1 to 200 characters without slashes and controls"),
        ({"id": "a/b"}, "id 'a/b': the name of a folder"),
        ({"id": "a\n"}, "the name of a folder"),
        ({"id": "\ud800"}, "the name of a folder"),
        ({"id": "x" * 201}, "1 to 200 characters"),
        ({"id": ".."}, "id '..': choose another, since it stands for a folder in every path"),
        ({"name": "n" * 1_001}, "name: choose a shorter one, of 1,000 characters at most"),
        ({"identity": "property:" + "n" * 1_000}, "identity: choose a shorter one"),
        ({"base_file_name": "n" * 1_001}, "base_file_name: choose a shorter one"),
        ({"encoding": "latin-1"}, "encoding 'latin-1': choose utf-8. Other files are converted .*`iconv -f latin-1 -t"),
        ({"encoding": ""}, "encoding '': choose utf-8"),
        ({"priority": "URGENT"}, "priority 'URGENT': choose one of HIGH, MEDIUM, LOW"),
        ({"priority": ""}, "priority '': choose one of HIGH, MEDIUM, LOW"),
        ({"base_file_name": "a/b.json"}, "a file's name without folder and `\\*`; accounts.json stands for accounts"),
        ({"base_file_name": "accounts*.json"}, r"base_file_name 'accounts\*.json': a file's name without"),
        ({"identity": ""}, "identity '': choose one of row, vendor, address, or property:<name>"),
        ({"identity": "order_id"}, "identity 'order_id': choose one of row, vendor, address, or property:<name>"),
        ({"identity": "property:"}, "name the property, as in property:order_id"),
        ({"identity": "Property:a"}, "identity 'Property:a': choose one of"),
        ({"atomic": "true"}, "atomic: expected bool, found str"),
        ({"numbers_in_strings": 1}, "numbers_in_strings: expected bool, found int"),
        ({"max_bad_rows": -1}, r"max_bad_rows -1: choose 0 \(no limit\) or a number of rows"),
        ({"max_bad_rows": True}, "max_bad_rows: expected int, found bool"),
        (
            {"sinks": "kafka"},
            "sinks 'kafka': choose one of dynamodb, firehose, both, or leave it empty for the stack's",
        ),
        ({"format": None}, "format: expected str, found NoneType"),
    ],
)
def test_wrong_setting_says_which_and_what_is_allowed(stored: dict[str, object], word: str):
    """At definition time, never row by row."""
    with pytest.raises(Misconfigured, match=word):
        Definition.of(stored)  # type: ignore[arg-type]


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([field.name for field in fields(Definition)]), LIKELY | ANY))
def test_any_map_is_a_definition_or_says_what_is_wrong(stored: dict[str, Any]):
    """The table may hold whatever somebody wrote there; never another exception."""
    try:
        definition = Definition.of(stored)
    except Misconfigured:
        return
    assert definition.as_stored() == {**DEFAULT.as_stored(), **stored}


def test_a_stored_definition_goes_by_the_id_it_is_stored_under():
    """Whatever it says itself; and what is wrong is said with that id."""
    assert Definition.named("shop", {"id": "other", "strict": True}) == Definition("shop", strict=True)
    for stored in ("", [], 1):
        with pytest.raises(Misconfigured, match="import definition 'shop': the attribute `definition` must be a map"):
            Definition.named("shop", stored)  # type: ignore[arg-type]
    with pytest.raises(Misconfigured, match="import definition 'shop': unknown setting 'strickt'"):
        Definition.named("shop", {"strickt": True})


@pytest.mark.parametrize("encoding", ["utf-8", "UTF-8", "utf8", "UTF_8"])
def test_utf_8_may_be_spelled_as_vendors_do(encoding: str):
    assert Definition(encoding=encoding).encoding == encoding


@pytest.mark.parametrize(
    ("identity", "ranked"), [("row", False), ("address", False), ("vendor", True), ("property:id", True)]
)
def test_rows_that_differ_may_be_one_event_where_not_all_of_them_is_its_identity(identity: str, ranked: bool):
    """Then, and only then, which of two is kept has to be decided by rank."""
    assert Definition(identity=identity).ranked is ranked


DIALECTS = {
    "plain": SimpleNamespace(DOCUMENTS={"": (NDJSON, TEXT_CSV)}, HAS_VENDOR_KEY=False),
    "rich": SimpleNamespace(
        DOCUMENTS={"": (NDJSON, TEXT_CSV), "ACTIVITY": (NDJSON,), "SEGMENT": (NDJSON, TEXT_CSV)}, HAS_VENDOR_KEY=True
    ),
}


@pytest.fixture
def two_dialects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever dialects the house has by now: one without document types, and one with."""
    monkeypatch.setattr(formats, "FORMATS", DIALECTS)


@pytest.mark.usefixtures("two_dialects")
@pytest.mark.parametrize(
    ("definition", "words"),
    [
        (Definition(format="rihc"), "format 'rihc': choose one of plain, rich"),
        (Definition(format="RICH"), "format 'RICH': choose one of plain, rich"),
        (
            Definition(document_type="ACTIVTY"),
            "document_type 'ACTIVTY': choose one of ACTIVITY, SEGMENT, or leave it empty",
        ),
        (
            Definition(format="rich", document_type="ACTIVTY"),
            "document_type 'ACTIVTY' of rich: choose one of ACTIVITY, SEGMENT, or leave it empty",
        ),
        (Definition(format="plain", document_type="ACTIVITY"), "document_type 'ACTIVITY' of plain: leave it empty"),
        (
            Definition(document_type="ACTIVITY", mime_type=TEXT_CSV),
            "mime_type TEXT_CSV: ACTIVITY come as APPLICATION_X_NDJSON only",
        ),
        (
            Definition(format="rich", document_type="ACTIVITY", mime_type=TEXT_CSV),
            "mime_type TEXT_CSV: ACTIVITY come as APPLICATION_X_NDJSON only",
        ),
        (
            Definition(format="plain", identity="vendor"),
            "identity 'vendor': plain has no rule of its own. Set format to rich, or identity to row, address or "
            "property:<name>",
        ),
        (
            Definition(identity="vendor"),
            "identity 'vendor': no format is set. Set format to rich, or identity to row, address or property:<name>",
        ),
    ],
)
def test_what_does_not_go_together_says_what_does(definition: Definition, words: str):
    """At definition time: every file of it would fail, one row after another."""
    with pytest.raises(Misconfigured, match=f"^{re.escape(words)}$"):
        formats.completed(definition)


@pytest.mark.usefixtures("two_dialects")
@pytest.mark.parametrize(
    "definition",
    [
        DEFAULT,
        Definition(mime_type=TEXT_CSV),
        Definition(format="plain", mime_type=TEXT_CSV),
        Definition(format="rich", document_type="SEGMENT", mime_type=TEXT_CSV),
        Definition(format="rich", identity="vendor"),
        Definition(identity="property:order_id"),
    ],
)
def test_what_goes_together_stays_as_it_is(definition: Definition):
    assert formats.completed(definition) == definition


@pytest.mark.usefixtures("two_dialects")
def test_a_document_type_brings_its_dialect():
    """Its name belongs to one vendor; and with the dialect comes the rule of identity."""
    for definition in (Definition(document_type="ACTIVITY"), Definition(document_type="ACTIVITY", identity="vendor")):
        assert formats.completed(definition) == replace(definition, format="rich")


def test_every_dialect_says_what_a_definition_without_document_type_comes_in():
    """A definition that names a dialect and no document type is judged by that."""
    for name, dialect in formats.FORMATS.items():
        assert dialect.DOCUMENTS[""], name
        assert formats.completed(Definition(format=name, mime_type=dialect.DOCUMENTS[""][0])).format == name


def test_a_document_type_belongs_to_one_dialect():
    """Else it could not say which is meant."""
    kinds = [kind for dialect in formats.FORMATS.values() for kind in dialect.DOCUMENTS if kind]
    assert len(kinds) == len(set(kinds))


def test_user_activities_do_not_come_as_csv():
    """In mediarithmics' words only NDJSON is valid for them; user segments come as both (D6)."""
    if not any("USER_ACTIVITY" in dialect.DOCUMENTS for dialect in formats.FORMATS.values()):
        pytest.skip("the house does not have mediarithmics' dialect yet")
    with pytest.raises(Misconfigured, match="mime_type TEXT_CSV: USER_ACTIVITY come as APPLICATION_X_NDJSON only"):
        formats.completed(Definition(document_type="USER_ACTIVITY", mime_type=TEXT_CSV))
    for mime_type in (NDJSON, TEXT_CSV):
        definition = Definition(document_type="USER_SEGMENT", mime_type=mime_type)
        assert formats.completed(definition) == replace(definition, format="mediarithmics")
