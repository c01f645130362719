"""Notification → objects: keys decoded once, what is not an import ignored, what is not understood loud."""

from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.notification import Dropped, UnknownNotification, dropped_objects


def record(key: str, **other: Any) -> dict[str, Any]:
    described = {"key": key, "size": 1, "eTag": "0123", "versionId": "v1", "sequencer": "0055"}
    s3 = {"bucket": {"name": "bucket"}, "object": described | other.pop("object", {})}
    return {"eventVersion": "2.6", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": s3} | other


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


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30))
def test_any_name_comes_back(name: str):
    """Whatever a stranger calls a file (A12)."""
    key = f"imports/{name}"
    found = dropped_objects({"Records": [record(quote_plus(key, safe="/"))]})
    assert [dropped.key for dropped in found] == ([] if key.endswith(("/", "_$folder$")) else [key])


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


def test_test_event_is_acknowledged():
    """S3 sends it when the notification is set up (A7)."""
    assert dropped_objects({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "bucket"}) == []


@pytest.mark.parametrize(
    "unknown",
    [
        {},
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
def test_unknown_shape_is_raised(unknown: dict[str, Any]):
    """It ends in the dead-letter queue and not in silence (A7)."""
    with pytest.raises(UnknownNotification):
        dropped_objects(unknown)
