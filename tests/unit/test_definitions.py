"""Settings of an import: what is accepted, and what a mistake in them says."""

import pytest

from importer.definitions import DEFAULT, LATEST_TIME_MS, Definition


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
    }


def test_stored_definition_comes_back_as_it_was():
    """An execution keeps the definition it began with."""
    definition = Definition("shop", "The shop", "TEXT_CSV", True, "dd/mm/yyyy", True, 5, 6)
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
    ],
)
def test_wrong_setting_says_which_and_what_is_allowed(stored: dict[str, object], word: str):
    """At definition time, never row by row."""
    with pytest.raises(ValueError, match=word):
        Definition.of(stored)  # type: ignore[arg-type]
