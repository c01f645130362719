"""Events and user changes → items: numerically equal, within DynamoDB's limits, sized as AWS sizes them."""

import json
from decimal import Decimal
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import ClientError
from hypothesis import example, given, settings
from hypothesis import strategies as st

from importer.bad_rows import Reason, Reject, shown
from importer.definitions import Definition
from importer.formats.cooladata import reader
from importer.formats.reading import Reading
from importer.model import Event, Provenance, Unavailable, UserChange
from importer.rows import row_of
from importer.sinks import items
from tests.unit.values import by_value

SOURCE = Provenance("cooladata", "i" * 900, "e" * 32, "imports/a.json", 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x == 0 or 1e-130 <= abs(x) < 1e126),
    st.builds(
        lambda sign, digits, exponent: Decimal((sign, tuple(map(int, str(digits))), exponent)),
        st.integers(0, 1),
        st.integers(0, 10**38 - 1),
        st.integers(-130, 87),
    ),
)
SCALARS = st.one_of(NUMBERS, TEXTS, st.booleans(), st.none())
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)
NAMES = TEXTS.filter(lambda name: name != "")


def aws_size(attribute: dict[str, Any]) -> int:
    """Bytes of an attribute's value by the developer guide's rules ("DynamoDB item sizes and formats")."""
    ((kind, value),) = attribute.items()
    if kind == "S":
        return len(value.encode())
    if kind in ("BOOL", "NULL"):
        return 1
    if kind == "N":
        digits = "".join(map(str, Decimal(value).as_tuple().digits)).strip("0") or "0"
        return (len(digits) + 1) // 2 + 1 + value.startswith("-")
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + aws_size(member) for name, member in value.items())
    return 3 + sum(1 + aws_size(member) for member in value)


def aws_item_size(item: items.Item) -> int:
    return sum(len(name.encode()) + aws_size(value) for name, value in item.items())


def back(item: items.Item) -> dict[str, Any]:
    return {name: TypeDeserializer().deserialize(value) for name, value in item.items()}


def event_of(properties: dict[str, Any]) -> Event:
    return Event("f" * 32, "e", 1_425_920_218_354, "u", properties, 7)


@settings(deadline=None)
@given(st.dictionaries(NAMES, VALUES, max_size=4))
@example({"a": Decimal("9.9999999999999999999999999999999999999e125"), "b": Decimal("-1e-130"), "c": -0.0, "d": 1e22})
@example({"a": Decimal("1" + "0" * 60), "b": Decimal("0E+999999"), "c": 5e-130, "d": True})
def test_what_passes_the_limit_comes_back_numerically_equal(properties: dict[str, Any]):
    """boto3's own deserializer refuses what it would have to round."""
    items.limit(1_000, Reading([event_of(properties)], []))
    item = back(items.event_item(event_of(properties), SOURCE))
    assert by_value(item["properties"]) == by_value(properties)


def test_event_item_is_what_the_design_says():
    """The item, whole, with and without what not every dialect has."""
    event = Event("ff", "login", 7, "u", {"a": 1}, 40, {"s": 2}, {"email": "x"})
    source = Provenance("cooladata", "shop", "e1", "imports/shop/a.json", 1)
    plain = {
        "user_id": "u",
        "event_key": "0000000000007#ff",
        "event_id": "ff",
        "event_name": "login",
        "event_time_ts": 7,
        "properties": {"a": 1},
        "format": "cooladata",
        "import_id": "shop",
        "execution_id": "e1",
        "address": 40,
    }
    assert back(items.event_item(event, source)) == plain | {
        "session_properties": {"s": 2},
        "identifiers": {"email": "x"},
    }
    event.session_properties = event.identifiers = None
    assert back(items.event_item(event, source)) == plain


def test_record_item_is_what_the_design_says():
    """With and without the row's time."""
    change = UserChange("u", "prop#city", "Paris", 7, 40, 0)
    wanted = {
        "user_id": "u",
        "record": "prop#city",
        "value": "Paris",
        "rank": "r",
        "execution_id": "e" * 32,
        "address": 40,
    }
    assert back(items.record_item(change, "r", SOURCE)) == wanted | {"event_time_ts": 7}
    change.event_time_ts = None
    assert back(items.record_item(change, "r", SOURCE)) == wanted


@given(VALUES)
def test_size_is_never_less_than_dynamodb_counts(value: Any):
    """An item that passes is never refused for its size."""
    assert items.size_bytes(value) >= aws_size(items.attribute(value))


@settings(deadline=None)
@given(st.dictionaries(NAMES, SCALARS.filter(lambda value: not isinstance(value, Decimal)), max_size=30), TEXTS, TEXTS)
def test_text_of_a_flat_row_and_2_kb_bound_its_items(properties: dict[str, Any], name: str, user: str):
    """What spares nearly every row the counting: quotes, colons and commas outweigh DynamoDB's bytes per member."""
    row = {**{key.lstrip("{") or "x": value for key, value in properties.items()}}
    row |= {"event_name": name or "e", "event_time_ts": 9_999_999_999_999, "user_id": user or "u", "{u}p": "x" * 50}
    text = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode()
    reading = reader(Definition(), 0)(row_of(text), text, 10**15)
    sizes = [aws_item_size(items.event_item(event, SOURCE)) for event in reading.events]
    sizes += [aws_item_size(items.record_item(change, "r" * 1_150, SOURCE)) for change in reading.user_changes]
    assert max(sizes) <= len(text) + 2_048 + 1_150


@pytest.mark.parametrize("unit", ["x", "é", "\\u0041", "😀"])
@pytest.mark.parametrize("spare", [-1, 0, 1, 5_000])
def test_item_near_400_kb_is_accepted_only_if_it_fits(unit: str, spare: int):
    """The row's text may be longer than what is stored: then the stored size counts."""
    stored = len(json.loads(f'"{unit}"').encode())
    repeated = (items.ITEM_BYTES - 2_200 + spare) // stored
    text = b'{"event_name":"e","event_time_ts":1425920218354,"user_id":"u","a":"%s"}' % (unit.encode() * repeated)
    reading = reader(Definition(), 0)(row_of(text), text, 0)
    refused = None
    try:
        items.limit(len(text), reading)
    except Reject as reject:
        refused = reject.reason
    fits = aws_item_size(items.event_item(reading.events[0], SOURCE)) <= items.ITEM_BYTES
    assert (refused, fits) in ((None, True), (Reason.EVENT_TOO_LARGE, True), (Reason.EVENT_TOO_LARGE, False))
    assert refused is None or spare > 0


def test_many_small_members_are_counted_as_dynamodb_counts_them():
    """400,000 bytes of text full of one-digit numbers hold no more than they take."""
    members = ",".join(f'"{number:x}":1' for number in range(45_000))
    text = b'{"event_name":"e","event_time_ts":1425920218354,"user_id":"u",%s}' % members.encode()
    reading = reader(Definition(), 0)(row_of(text), text, 0)
    items.limit(len(text), reading)
    assert aws_item_size(items.event_item(reading.events[0], SOURCE)) <= items.ITEM_BYTES


def nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize(
    ("properties", "outcome"),
    [
        ({"a": nested(31)}, None),
        ({"a": nested(32)}, (Reason.TOO_DEEP, "a")),
        ({"a": nested(900)}, (Reason.TOO_DEEP, "a")),
        ({"a": 1e-131}, (Reason.NUMBER_OUT_OF_RANGE, "a")),
        ({"a": 1e126}, (Reason.NUMBER_OUT_OF_RANGE, "a")),
        ({"a": -1.7e308}, (Reason.NUMBER_OUT_OF_RANGE, "a")),
        ({"a": 0.0, "b": -0.0, "c": Decimal("0e-500")}, None),
        ({"a": Decimal("1" * 38)}, None),
        ({"a": Decimal("1" * 39)}, (Reason.NUMBER_OUT_OF_RANGE, "a")),
        ({"a": Decimal("1" + "0" * 125)}, None),
        ({"a": Decimal("1e126")}, (Reason.NUMBER_OUT_OF_RANGE, "a")),
        ({"a": Decimal("-9.9e-131")}, (Reason.NUMBER_OUT_OF_RANGE, "a")),
        ({"a": {"b": [1, Decimal("1e200")]}}, (Reason.NUMBER_OUT_OF_RANGE, "a.b[1]")),
        ({"a": {"b": [1, 1e200]}}, (Reason.NUMBER_OUT_OF_RANGE, "a.b[1]")),
        ({"n" * 65_535: 1}, None),
        ({"n" * 65_536: 1}, (Reason.TOO_LONG, shown("n" * 65_536))),
        ({"é" * 32_768: 1}, (Reason.TOO_LONG, shown("é" * 32_768))),
    ],
    ids=lambda value: "" if isinstance(value, dict) else str(value)[:20],
)
def test_limit_is_dynamodbs_own(properties: dict[str, Any], outcome: tuple[Reason, str] | None):
    """38 digits, 1e-130 to 1e126, 32 levels, names of 64 KB; neither a byte more nor a byte less (E3, E5, E10)."""
    found = None
    try:
        items.limit(200_000, Reading([event_of(properties)], []))
    except Reject as reject:
        found = (reject.reason, reject.field)
    assert found == outcome


@pytest.mark.parametrize(
    ("user_id", "record", "outcome"),
    [
        ("u" * 2_048, "prop#" + "n" * 1_019, None),
        ("u" * 2_049, "prop#n", (Reason.TOO_LONG, "user_id")),
        ("é" * 1_024, "prop#" + "é" * 509, None),
        ("é" * 1_025, "prop#n", (Reason.TOO_LONG, "user_id")),
        ("u", "prop#" + "n" * 1_020, (Reason.TOO_LONG, shown("n" * 1_020))),
        ("u", "prop#" + "é" * 510, (Reason.TOO_LONG, shown("é" * 510))),
    ],
    ids=lambda value: "" if isinstance(value, dict) else str(value)[:20],
)
def test_keys_of_user_records_fit(user_id: str, record: str, outcome: tuple[Reason, str] | None):
    """2,048 bytes of partition key, 1,024 of sort key, counted in UTF-8 (F4)."""
    found = None
    try:
        items.limit(5_000, Reading([], [UserChange(user_id, record, 1, 1, 0, 0)]))
    except Reject as reject:
        found = (reject.reason, reject.field)
    assert found == outcome


def said(message: str) -> ClientError:
    return ClientError({"Error": {"Code": "ValidationException", "Message": message}}, "BatchWriteItem")


@pytest.mark.parametrize(
    "message",
    [
        "The provided key element does not match the schema",
        "One or more parameter values were invalid: Missing the key event_key in the item",
        "One or more parameter values were invalid: Type mismatch for key user_id expected: N actual: S",
        "One or more parameter values are not valid. The AttributeValue for a key attribute … IndexKey: by_time",
    ],
)
def test_wrong_table_is_never_the_rows_fault(message: str):
    """`except …: bad row` is how a bug eats data."""
    with pytest.raises(Unavailable):
        items.refusal(said(message))


def test_refused_item_says_dynamodbs_words():
    """They are the only ones who know."""
    reject = items.refusal(said("Item size has exceeded the maximum allowed size"))
    assert (reject.reason, reject.found) == (Reason.REFUSED_BY_SINK, "Item size has exceeded the maximum allowed size")


def test_attribute_of_no_json_value_is_a_bug():
    """Loud, at once."""
    with pytest.raises(TypeError):
        items.attribute(object())  # type: ignore[arg-type]
