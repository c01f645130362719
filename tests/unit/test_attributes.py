"""Attributes read back are the values that were written, as boto3 reads them, too."""

from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer
from hypothesis import given
from hypothesis import strategies as st

from importer.aws.attributes import plain, value_of
from importer.sinks.items import attribute

NUMBERS = st.integers(-(10**37), 10**37) | st.decimals(-(10**9), 10**9, places=6, allow_nan=False)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(VALUES)
def test_a_value_comes_back_numerically_equal(value: Any):
    """By our reader, and by boto3's, which judges what we write."""
    written = attribute(value)
    assert (value_of(written), TypeDeserializer().deserialize(written)) == (value, value)


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("-0", 0), ("1E+3", 1000), ("2.5", Decimal("2.5")), ("1E+60", Decimal(10**60))],
)
def test_a_whole_number_is_an_int(text: str, value: int | Decimal):
    """However DynamoDB spells it; but no number of a hundred digits is written out."""
    found = value_of({"N": text})
    assert (type(found), found) == (type(value), value)


def test_an_item_is_a_map_of_plain_values():
    """A set of numbers is one, as the parts that are done are."""
    item = {"done": {"NS": ["0", "1048576"]}, "state": {"M": {"on": {"BOOL": True}}}, "nothing": {"NULL": True}}
    assert plain(item) == {"done": {0, 1_048_576}, "state": {"on": True}, "nothing": None}


def test_a_type_nothing_of_ours_writes_is_told_as_text():
    """Somebody else's, in a table that is ours: shown, not a reason to fail."""
    assert value_of({"SS": ["a"]}) == "['a']"
