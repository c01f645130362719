"""Where in a row that was refused what it is refused for stands."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer.bad_rows import Reason, Reject
from importer.row_paths import placed

HUGE = Decimal("1e400")
LONG = "u" * 3_000
DEEP: Any = 1
for _ in range(40):
    DEEP = {"in": DEEP}


def place(row: dict[str, Any], about: Any, reason: Reason = Reason.NUMBER_OUT_OF_RANGE) -> str:
    return placed(Reject(reason, field="ours", about=about), row).field


@pytest.mark.parametrize(
    ("row", "about", "path"),
    [
        ({"a": 1, "{u}a": HUGE}, HUGE, "{u}a"),
        ({"actions": [{"properties": {}}, {"properties": {"a": [0, HUGE]}}]}, HUGE, "actions[1].properties.a[1]"),
        ({"_p": LONG, LONG: 1}, LONG, "_p"),
        ({"visitor": {"id": "u", LONG: 1}}, LONG, "visitor." + LONG),
        ({"Prop:" + LONG: 1}, LONG, "Prop:" + LONG),
        ({"compartment_id": "1", "user_account_id": LONG}, "1:" + LONG, "user_account_id"),
        ({"data_bag": '{"a":1e400}'}, HUGE, "ours"),
        ({"a": HUGE}, None, "ours"),
    ],
)
def test_path_is_that_of_the_row_as_it_was_sent(row: dict[str, Any], about: Any, path: str):
    """A value first, then a part of an identifier, then a name; what stands nowhere in the row keeps our own word."""
    assert place(row, about) == placed(Reject(Reason.TOO_LONG, field=path), {}).field


def test_path_of_what_is_too_deep_is_that_of_the_member_that_nests():
    """By its name; else the outermost."""
    rows: list[dict[str, Any]] = [
        {"visitor": {"a": {"b": 1}}, "actions": [{"properties": {"a": DEEP}}]},
        {"user_choice": {"note": DEEP}},
    ]
    assert [place(row, "a", Reason.TOO_DEEP) for row in rows] == ["actions[0].properties.a", "user_choice"]


def test_nothing_but_the_place_changes():
    """The sentence says the new one."""
    reject = Reject(Reason.NUMBER_OUT_OF_RANGE, "prop#a", "less", "1E+400", "send it as a string", about=HUGE)
    there = placed(reject, {"visitor": {"a": HUGE}})
    assert (there.reason, there.field, there.expected, there.found, there.hint) == (
        reject.reason,
        "visitor.a",
        reject.expected,
        reject.found,
        reject.hint,
    )
    assert there.message == reject.message.replace("prop#a", "visitor.a")


ROWS = st.dictionaries(
    st.text(max_size=3),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.decimals(allow_nan=False),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=8,
    ),
)


@settings(deadline=None)
@given(ROWS, st.text(max_size=3) | st.decimals(allow_nan=False), st.sampled_from(Reason))
def test_any_row_can_be_looked_through(row: dict[str, Any], about: Any, reason: Reason):
    """It gives a reject of the same reason, never another exception."""
    assert placed(Reject(reason, about=about), row).reason is reason
