"""Notification → objects: keys decoded once, what is not an import ignored, what is not understood loud."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.notification import PREVIEWS_PREFIX, Dropped, UnknownNotification, dropped_objects
from tests.support.samples import BUCKET, EVENTS, SAMPLES

NAUGHTY = json.loads((Path(__file__).parents[1] / "corpora" / "naughty_strings.json").read_bytes())


def record(key: str, **other: Any) -> dict[str, Any]:
    described = {"key": key, "size": 1, "eTag": "0123", "versionId": "v1", "sequencer": "0055"}
    s3 = {"bucket": {"name": "bucket"}, "object": described | other.pop("object", {})}
    return {"eventVersion": "2.6", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": s3} | other


def records(*keys: str) -> dict[str, Any]:
    return {"Records": [record(quote_plus(key, safe="/")) for key in keys]}


def eventbridge(key: str, **other: Any) -> dict[str, Any]:
    described = {"key": key, "size": 1, "etag": "0123", "version-id": "v1", "sequencer": "0055"}
    detail = {"version": "0", "bucket": {"name": "bucket"}, "object": described | other.pop("object", {})}
    detail |= {"request-id": "r", "requester": "123456789012", "reason": "PutObject"} | other.pop("detail", {})
    return {"version": "0", "source": "aws.s3", "detail-type": "Object Created", "detail": detail} | other


# What carries a notification on its way to the function (A6).


def sqs(*inner: Any) -> dict[str, Any]:
    return {"Records": [{"eventSource": "aws:sqs", "messageId": "m", "body": text(i)} for i in inner]}


def sns(inner: Any) -> dict[str, Any]:
    return {"Records": [{"EventSource": "aws:sns", "EventVersion": "1.0", "Sns": envelope(inner)}]}


def envelope(inner: Any) -> dict[str, Any]:
    return {"Type": "Notification", "MessageId": "m", "TopicArn": "arn:aws:sns:::t", "Message": text(inner)}


def text(inner: Any) -> str:
    return inner if isinstance(inner, str) else json.dumps(inner)


def sns_in_sqs(inner: Any) -> dict[str, Any]:
    return sqs(envelope(inner))


def straight(inner: Any) -> Any:
    return inner


WRAPPINGS = [straight, sqs, sns, sns_in_sqs]
Wrapping = Callable[[Any], Any]


# -- samples ---------------------------------------------------------------------------------------------------------


def test_every_sample_has_its_expectation():
    """events/ and tests/support/samples.py name the same files; and so does the page for people."""
    files = {path.name for path in EVENTS.glob("*.json")}
    page = (EVENTS / "README.md").read_text(encoding="utf-8")
    assert files == set(SAMPLES) == {name for name in files | set(SAMPLES) if f"| `{name}` |" in page}


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_names_its_objects(name: str):
    """These objects, in this order, of the one bucket every sample speaks of; whether something is left unknown."""
    event = json.loads((EVENTS / name).read_bytes())
    try:
        found, raised = dropped_objects(event), False
    except UnknownNotification as unknown:
        found, raised = list(unknown.known), True
    named = [(BUCKET, named.key, named.version_id) for named in SAMPLES[name].objects]
    assert ([(d.bucket, d.key, d.version_id) for d in found], raised) == (named, SAMPLES[name].raises)


# -- S3's own records ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("encoded", "key"),
    [
        ("imports/a.json", "imports/a.json"),
        ("imports/a+b.json", "imports/a b.json"),
        ("imports/a%2Bb.json", "imports/a+b.json"),
        ("imports/a%252Fb.json", "imports/a%2Fb.json"),
        ("imports/%C3%A9%E2%80%AE.json", "imports/é\u202e.json"),
        ("imports/%0A%00..//x.json", "imports/\n\0..//x.json"),
        ("imports/shop/%F0%9F%98%80.json", "imports/shop/😀.json"),
    ],
)
def test_key_is_decoded_exactly_once(encoded: str, key: str):
    """A blank comes as `+`, and what looks encoded after that is the name itself (A5)."""
    assert dropped_objects({"Records": [record(encoded)]}) == [Dropped("bucket", key, "v1", "0123")]


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(NAMES)
def test_any_name_comes_back(name: str):
    """Whatever a stranger calls a file, in either shape (A12)."""
    key = f"imports/{name}"
    wanted = [] if key.endswith(("/", "_$folder$")) else [Dropped("bucket", key, "v1", "0123")]
    assert dropped_objects(records(key)) == wanted
    assert dropped_objects(eventbridge(key)) == wanted


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_naughty_strings_come_back(wrap: Wrapping):
    """Each as a key: encoded by S3 as a form is, by EventBridge not at all (A5, A12)."""
    keys = [f"imports/{string}.json" for string in NAUGHTY]
    assert [dropped.key for dropped in dropped_objects(wrap(records(*keys)))] == keys
    assert [dropped.key for key in keys for dropped in dropped_objects(wrap(eventbridge(key)))] == keys


def test_all_objects_of_a_notification_come_in_its_order():
    """Several records, every kind of creation, every minor version (A6, A8)."""
    names = [
        "ObjectCreated:Put",
        "ObjectCreated:Post",
        "s3:ObjectCreated:Copy",
        "ObjectCreated:CompleteMultipartUpload",
    ]
    records = [record(f"imports/{n}.json", eventName=name, eventVersion=f"2.{n}") for n, name in enumerate(names)]
    assert [dropped.key for dropped in dropped_objects({"Records": records})] == [f"imports/{n}.json" for n in range(4)]


def test_without_versioning_there_is_no_version():
    """Absent, null and the empty text alike; quotation marks belong to HTTP and not to the ETag."""
    plain = record("imports/a.json", object={"versionId": None, "eTag": '"0123"'})
    empty = record("imports/a.json", object={"versionId": ""})
    del empty["s3"]["object"]["eTag"]
    assert dropped_objects({"Records": [plain, empty]}) == [
        Dropped("bucket", "imports/a.json", None, "0123"),
        Dropped("bucket", "imports/a.json", None, ""),
    ]


@pytest.mark.parametrize(
    "ignored",
    [
        record("completed_imports/2026/11/20/a.json"),
        record("errors/2026/11/20/a.json"),
        record("receipts/2026/11/20/a.json"),
        record("work/x/errors/0"),
        record("a.json"),
        record("Imports/a.json"),
        record("imports/"),
        record("imports/shop/"),
        record("imports/shop_%24folder%24"),
        record("imports/a.json", eventName="ObjectRemoved:Delete"),
        record("imports/a.json", eventName="ObjectRestore:Completed"),
    ],
)
def test_what_is_no_import_is_passed_over(ignored: dict[str, Any]):
    """Our own output never imports itself (B1), folder markers are no files (A9), only creations count (A8)."""
    assert dropped_objects({"Records": [ignored, record("imports/b.json")]}) == [
        Dropped("bucket", "imports/b.json", "v1", "0123")
    ]


def test_same_object_twice_is_one():
    """By one record or by two messages; another version of it is another object."""
    twice = sqs(records("imports/a.json", "imports/a.json"), records("imports/a.json"))
    other = {"Records": [record("imports/a.json", object={"versionId": "v2"})]}
    assert dropped_objects(twice) == [Dropped("bucket", "imports/a.json", "v1", "0123")]
    assert [dropped.version_id for dropped in dropped_objects(sqs(twice, other))] == ["v1", "v2"]


@pytest.mark.parametrize("version", ["2", "2.0", "2.6", "2.99"])
def test_minor_versions_of_the_schema_are_accepted(version: str):
    """They add fields (A6); and who delivers by hand may leave the version out."""
    unversioned = record("imports/b.json")
    del unversioned["eventVersion"]
    found = dropped_objects({"Records": [record("imports/a.json", eventVersion=version), unversioned]})
    assert [dropped.key for dropped in found] == ["imports/a.json", "imports/b.json"]


# -- EventBridge -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["imports/a+b.json", "imports/a b.json", "imports/100%25.json", "imports/é😀%FF.json"])
def test_eventbridge_gives_the_key_as_it_is(key: str):
    """Nothing is decoded there (A5)."""
    assert dropped_objects(eventbridge(key)) == [Dropped("bucket", key, "v1", "0123")]


def test_eventbridge_without_versioning():
    """Absent or "null", as in S3's own records."""
    absent, null = eventbridge("imports/a.json"), eventbridge("imports/a.json", object={"version-id": "null"})
    del absent["detail"]["object"]["version-id"]
    wanted = [Dropped("bucket", "imports/a.json", None, "0123")]
    assert (dropped_objects(absent), dropped_objects(null)) == (wanted, wanted)


@pytest.mark.parametrize(
    "reason", ["PutObject", "POST Object", "CopyObject", "CompleteMultipartUpload", "SomethingNew"]
)
def test_every_way_of_creation_counts_on_eventbridge(reason: str):
    """As for S3's own records (A8)."""
    assert len(dropped_objects(eventbridge("imports/a.json", detail={"reason": reason}))) == 1


@pytest.mark.parametrize(
    "kind", ["Object Deleted", "Object Tags Added", "Object Restore Completed", "Object Access Tier Changed"]
)
def test_what_is_no_creation_is_passed_over_on_eventbridge(kind: str):
    """A rule without a detail-type delivers all of them."""
    assert dropped_objects(eventbridge("imports/a.json", **{"detail-type": kind})) == []


@pytest.mark.parametrize(
    "key", ["completed_imports/a.json", "imports/", "imports/shop/", "imports/x_$folder$", "a.json"]
)
def test_what_is_no_import_is_passed_over_on_eventbridge(key: str):
    """The same guard (A9, B1)."""
    assert dropped_objects(eventbridge(key)) == []


# -- wrappers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", WRAPPINGS)
@pytest.mark.parametrize("inner", [records("imports/a b.json"), eventbridge("imports/a b.json")])
def test_wrapped_notification_names_the_same_objects(wrap: Wrapping, inner: dict[str, Any]):
    """Straight, SQS (also SNS's raw delivery), SNS, SNS in SQS (A6)."""
    assert dropped_objects(wrap(inner)) == [Dropped("bucket", "imports/a b.json", "v1", "0123")]


@pytest.mark.parametrize("wrap", WRAPPINGS)
def test_test_event_is_acknowledged(wrap: Wrapping):
    """S3 sends it when the notification is set up (A7)."""
    assert dropped_objects(wrap({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "bucket"})) == []


def test_wrappers_are_taken_off_three_times():
    """More than anybody's topology has; a fourth would be somebody playing with us."""
    three = sqs(sqs(sqs(records("imports/a.json"))))
    assert dropped_objects(three) == dropped_objects(records("imports/a.json"))
    with pytest.raises(UnknownNotification, match="wrapped more than 3 times"):
        dropped_objects(sqs(three))


# -- what is not understood ------------------------------------------------------------------------------------------


def test_known_parts_are_named_though_others_are_not():
    """The caller imports them first and raises then: one bad part keeps nobody waiting (A7)."""
    broken = record("imports/broken.json", object={"key": 7})
    mixed = {"Records": ["text", record("imports/a.json"), broken, record("imports/b.json")]}
    with pytest.raises(UnknownNotification) as raised:
        dropped_objects(sqs("{", mixed, records("imports/c.json")))
    assert [dropped.key for dropped in raised.value.known] == ["imports/a.json", "imports/b.json", "imports/c.json"]
    assert str(raised.value) == (
        "event.Records[0]: body is not JSON; "
        "event.Records[1].body.Records[0]: not a JSON object; "
        "event.Records[1].body.Records[2]: no text at s3.object.key"
    )


def test_message_stays_short_and_quotes_nothing():
    """It goes to the log and to the dead letter, and the content may be anybody's (J8)."""
    with pytest.raises(UnknownNotification) as raised:
        dropped_objects(sqs(*[{"e-mail": "ann@example.org"}] * 1000))
    assert str(raised.value).endswith("; and 997 more")
    assert ("ann" in str(raised.value), "e-mail" in str(raised.value)) == (False, False)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("wrap", WRAPPINGS)
@pytest.mark.parametrize(
    "unknown",
    [
        None,
        [],
        7,
        "text",
        [records("imports/a.json")],
        {},
        {"Event": "s3:TestEvent"},
        {"Type": "SubscriptionConfirmation", "TopicArn": "arn:aws:sns:::t", "Message": "You have chosen to …"},
        {"Records": [{"eventSource": "aws:sqs"}]},
        {"Records": [{"eventSource": "aws:sqs", "body": {}}]},
        {"Records": [{"EventSource": "aws:sns", "Sns": "text"}]},
        {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": ""}}]},
        {"Records": [record("imports/a.json", eventVersion="3.0")]},
        {"Records": [record("imports/a.json", eventVersion=2.1)]},
        {"Records": [record("imports/a.json", eventVersion="22.1")]},
        {"Records": [record("imports/a.json", eventName=None)]},
        {"Records": [record("imports/a.json", eventSource="aws:dynamodb")]},
        {"Records": [record("imports/a.json", object={"key": ""})]},
        {"Records": [record("imports/a.json", object={"versionId": 7})]},
        {"Records": [record("imports/\ud800.json")]},
        eventbridge("imports/a.json", source="com.example"),
        eventbridge("imports/a.json", detail={"version": "1"}),
        eventbridge("imports/a.json", detail={"bucket": {}}),
        eventbridge("imports/a.json", detail={"object": None}),
        eventbridge("imports/\udfff.json"),
        eventbridge("imports/a.json", **{"detail-type": "AWS API Call via CloudTrail"}),
        eventbridge("imports/a.json", **{"detail-type": None}),
        {"Records": []},
        {"Records": "text"},
        {"Records": ["text"]},
        {"detail-type": "Object Created"},
        {"Records": [{"eventSource": "aws:sqs", "body": "{}"}]},
        {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}]},
        {"Records": [{"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {"bucket": {}}}]},
        {"Records": [record("imports/%FF.json")]},
    ],
)
def test_unknown_shape_is_raised(unknown: Any, wrap: Wrapping):
    """It ends in the dead-letter queue and not in silence (A7)."""
    with pytest.raises(UnknownNotification) as raised:
        dropped_objects(wrap(unknown))
    assert raised.value.known == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
# Names and values of real notifications, put together at random: much of it almost is one.
NAMES_OF_FIELDS = [
    *("Records", "eventSource", "EventSource", "eventName", "eventVersion", "s3", "object", "bucket", "key", "name"),
    *("body", "Sns", "Message", "Type", "TopicArn", "source", "detail-type", "detail", "version", "versionId", "etag"),
]
VALUES = ["aws:s3", "aws:sqs", "aws:sns", "aws.s3", "ObjectCreated:Put", "Object Created", "Notification", "2.1", "0"]
ALMOST = st.recursive(
    st.sampled_from([*VALUES, "imports/a.json", "imports/%FF", "\ud800", "{", "null", None, 7, True]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES_OF_FIELDS), inner, max_size=8)
        | inner.map(json.dumps)
        | inner.map(lambda body: {"eventSource": "aws:sqs", "body": json.dumps(body)})
        | inner.map(lambda part: {"Records": [part]})
        | inner.map(lambda s3: {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": s3})
    ),
    max_leaves=20,
)


@given(JSON | ALMOST)
def test_any_json_is_read_or_unknown(event: Any):
    """Whatever somebody invokes the function with, it is never anything else that is raised (A7)."""
    try:
        found = dropped_objects(event)
    except UnknownNotification as unknown:
        found = list(unknown.known)
    assert all(dropped.key.startswith("imports/") for dropped in found)


def test_deep_nesting_is_unknown():
    """Deeper than a recursive parser goes (E5)."""
    with pytest.raises(UnknownNotification, match="body is not JSON"):
        dropped_objects(sqs("[" * 100_000 + "]" * 100_000))


def test_another_prefix_is_another_folder():
    """Who looks at previews/ gets none of imports/, and the other way round (B1)."""
    both = records("imports/a.json", "previews/a.json", "previews/", "preview_results/a.json.json", "previewsx/a.json")
    assert [dropped.key for dropped in dropped_objects(both)] == ["imports/a.json"]
    assert [dropped.key for dropped in dropped_objects(both, PREVIEWS_PREFIX)] == ["previews/a.json"]
