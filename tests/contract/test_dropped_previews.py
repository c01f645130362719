"""Preview by drop, from S3's notification to the two objects it leaves: what it tells, and that this is all it does."""

import gzip
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import app
from importer.doors import dropped_previews
from importer.doors.dropped_previews import result_key
from importer.executions.destinations import KEY_BYTES
from importer.model import Unavailable
from importer.notification import UnknownNotification
from tests.support.clock import LambdaContext
from tests.support.cloud import Cloud
from tests.support.faults import Fault, plan
from tests.support.function import deployed
from tests.support.policy import granted, needed
from tests.support.previews import row
from tests.support.samples import BUCKET, EVENTS

pytestmark = pytest.mark.filterwarnings("ignore:No application metrics")  # as app.py does; pytest forgets it

LOGINS = (EVENTS / "files" / "logins.json").read_bytes()
KEY = "previews/logins.json"


class Installation:
    """A fake cloud with the preview function in it."""

    def __init__(self, cloud: Cloud, import_file: Callable[[Any], Any]) -> None:
        self.cloud = cloud
        self.import_file = import_file

    def preview(self, event: Any, seconds: float = 300) -> list[str]:
        pages: list[str] = app.preview_handler(event, LambdaContext(self.cloud.clock, seconds))["pages"]
        return pages

    def drop(self, key: str, body: bytes) -> dict[str, Any]:
        """Drop a file, look at it, and give back what was found."""
        self.preview(self.cloud.drop(key, body))
        return self.result(key)

    def result(self, key: str) -> dict[str, Any]:
        body = self.cloud.body(f"{result_key(key)}.json")
        assert body is not None
        found: dict[str, Any] = json.loads(body)
        page = self.cloud.body(f"{result_key(key)}.html")
        assert page is not None
        assert page.startswith(b"<!doctype html>")
        return found

    def state(self) -> dict[str, Any]:
        cloud = self.cloud
        tables = (cloud.events_table, cloud.users_table, cloud.imports_table)
        return {"objects": cloud.objects(), "tasks": cloud.messages()} | {name: cloud.items(name) for name in tables}

    def define(self, import_id: str, **settings: Any) -> None:
        key = {"pk": f"IMPORT#{import_id}", "sk": "IMPORT"}
        self.cloud.put_item(self.cloud.imports_table, {**key, "definition": settings})


@pytest.fixture
def installation() -> Iterator[Installation]:
    with Cloud(bucket=BUCKET) as cloud, deployed(cloud) as import_file:
        yield Installation(cloud, import_file)


def sample(name: str) -> Any:
    return json.loads((EVENTS / "preview" / name).read_bytes())


# -- what it does ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("s3-put.json", ["previews/logins.json"]),
        ("s3-import-id.json", ["previews/shop/two words.json.gz"]),
        ("eventbridge.json", ["previews/over the bus.json"]),
    ],
)
def test_a_sample_leaves_two_objects_for_each_file_and_nothing_else(
    installation: Installation, name: str, keys: list[str]
):
    """No event, no record, no execution, no task; the file stays as it was dropped. The second time the same."""
    installation.define("shop", strict=True)
    installation.cloud.drop("preview_results/logins.json.json", b"{}")
    for key in keys:
        installation.cloud.drop(key, LOGINS)
    before = installation.state()
    for _ in range(2):
        assert installation.preview(sample(name)) == [f"{result_key(key)}.html" for key in keys]
        after = installation.state()
        new = {key: after["objects"].pop(key) for key in [*after["objects"]] if key.startswith("preview_results/")}
        before["objects"].pop("preview_results/logins.json.json", None)
        assert set(new) - {"preview_results/logins.json.json"} == {
            f"{result_key(key)}{kind}" for key in keys for kind in (".json", ".html")
        } - {"preview_results/logins.json.json"}
        assert after == before


def test_every_sample_has_its_test_and_its_line():
    """A sample nobody tries may be wrong; one nobody describes helps nobody."""
    names = sorted(path.name for path in (EVENTS / "preview").iterdir())
    assert names == ["eventbridge.json", "s3-import-id.json", "s3-put.json"]
    described = (EVENTS / "README.md").read_text(encoding="utf-8")
    assert [name for name in names if f"| `preview/{name}` |" not in described] == []


def test_each_function_passes_over_what_is_the_others(installation: Installation):
    """Should the bucket's filter be wrong: nothing under previews/ is imported, nothing else is looked at (B1)."""
    dropped = installation.cloud.drop(KEY, LOGINS)
    imported = installation.cloud.drop("imports/logins.json", LOGINS)
    result = installation.cloud.drop("preview_results/logins.json", LOGINS)
    before = installation.state()
    assert installation.import_file(dropped) == {"executions": []}
    assert installation.preview(imported) == installation.preview(result) == []
    assert installation.state() == before


def test_it_says_what_the_import_then_does(installation: Installation):
    """Sums, events and bad rows of the file when it is imported."""
    said = installation.drop(KEY, LOGINS)
    installation.import_file(installation.cloud.drop("imports/logins.json", LOGINS))
    (receipt,) = (json.loads(body) for body in installation.cloud.objects("receipts/").values())
    names = ("lines", "blank", "rows", "good", "bad", "events", "user_changes", "format")
    assert {name: said[name] for name in names} == {name: receipt[name] for name in names}
    assert [(one["code"], one["count"]) for one in said["reasons"]] == [
        (one["code"], one["count"]) for one in receipt["reasons"]
    ]
    stored = {item["event_id"] for item in installation.cloud.items(installation.cloud.events_table)}
    assert {event["event_id"] for event in said["first_events"]} == stored
    assert (said["schema"], said["error"], said["complete"]) == ("preview/1", None, True)
    assert (said["source"]["key"], said["source"]["bytes"]) == (KEY, len(LOGINS))


def test_results_say_what_they_are(installation: Installation):
    """A browser shows the one and a program reads the other."""
    installation.drop(KEY, LOGINS)
    types = {
        key: installation.cloud.metadata(key)["content-type"] for key in installation.cloud.objects("preview_results/")
    }
    assert types == {
        "preview_results/logins.json.html": "text/html; charset=utf-8",
        "preview_results/logins.json.json": "application/json",
    }


# -- by which definition ---------------------------------------------------------------------------------------------


def test_the_first_folder_is_an_import_if_and_only_if_it_is_defined(installation: Installation):
    """As under imports/."""
    dated = row(1, event_time_ts="03/04/2012 10:00:00").encode()
    assert installation.drop("previews/shop/a.json", dated)["bad"] == 1
    installation.define("shop", date_format="dd/mm/yyyy")
    said = installation.drop("previews/shop/a.json", dated)
    assert (said["import_id"], said["bad"], said["first_events"][0]["event_time_ts"]) == ("shop", 0, 1_333_447_200_000)


def test_a_definition_that_is_wrong_is_what_the_result_says(installation: Installation):
    """It passes not by itself, so nothing is tried again."""
    installation.define("shop", date_format="yesterday")
    error = installation.drop("previews/shop/a.json", LOGINS)["error"]
    assert error["code"] == "misconfigured"
    assert "import definition 'shop': date_format 'yesterday': choose one of" in error["message"]


# -- what is wrong with the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "body", "code"),
    [
        ("photo.png", b"\x89PNG", "wrong_kind"),
        ("cut.json.gz", gzip.compress(LOGINS)[:-9], "truncated"),
        ("pretty.json", b'{\n  "user_id": "u"\n}\n', "not_line_delimited"),
        ("utf16.json", LOGINS.decode().encode("utf-16"), "wrong_encoding"),
    ],
)
def test_a_file_an_import_would_refuse_says_so(installation: Installation, name: str, body: bytes, code: str):
    """With the import's own code and words; the invocation ends well."""
    said = installation.drop(f"previews/{name}", body)
    assert (said["error"]["code"], said["cost"]) == (code, None)


def test_an_empty_file_is_no_trouble(installation: Installation):
    """It has no rows."""
    said = installation.drop(KEY, b"")
    assert (said["error"], said["rows"], said["complete"]) == (None, 0, True)


def test_a_file_that_is_gone_is_what_the_result_says(installation: Installation):
    """Somebody took it away before its notification came."""
    notification = installation.cloud.drop(KEY, LOGINS)
    installation.cloud.remove(KEY)
    installation.preview(notification)
    assert installation.result(KEY)["error"]["code"] == "object_gone"


def test_a_denied_read_is_told_and_tried_again(installation: Installation):
    """The result names the permission; once it is back, the next delivery replaces the result."""
    notification = installation.cloud.drop(KEY, LOGINS)
    with plan(installation.cloud, Fault("denied", "GetObject", always=True)), pytest.raises(Unavailable):
        installation.preview(notification)
    error = installation.result(KEY)["error"]
    assert error["code"] == "unavailable"
    assert "allow s3:GetObjectVersion on" in error["message"]
    installation.preview(notification)
    assert installation.result(KEY)["error"] is None


def test_one_file_does_not_keep_the_others_waiting(installation: Installation):
    """Each object of a notification has its turn, then the trouble is raised (H3); so is what is not understood."""
    first, second = (
        installation.cloud.drop("previews/a.json", LOGINS),
        installation.cloud.drop("previews/b.json", LOGINS),
    )
    both = {"Records": [*first["Records"], *second["Records"]]}
    denied = Fault("denied", lambda call: call.operation == "GetObject" and "a.json" in str(call.key), always=True)
    with plan(installation.cloud, denied), pytest.raises(Unavailable):
        installation.preview(both)
    assert installation.result("previews/b.json")["error"] is None
    with pytest.raises(UnknownNotification):
        installation.preview({"Records": [{"eventSource": "aws:other"}, *first["Records"]]})
    assert installation.result("previews/a.json")["error"] is None


# -- which upload ----------------------------------------------------------------------------------------------------


def test_the_last_result_is_that_of_the_last_upload(installation: Installation):
    """Whichever notification comes last, as they come in any order (A2)."""
    older = installation.cloud.drop(KEY, LOGINS)
    newer = installation.cloud.drop(KEY, row(1).encode())
    for notification in (newer, older):
        installation.preview(notification)
    assert installation.result(KEY)["rows"] == 1


def test_an_upload_while_one_is_looked_at_is_looked_at_too(installation: Installation, monkeypatch: pytest.MonkeyPatch):
    """Else a slow look at the older one would write over the result of the newer."""
    real = dropped_previews.findings_of
    uploads = [row(1).encode(), (row(1) + "\n" + row(2)).encode()]

    def slowly(*arguments: Any, **settings: Any) -> Any:
        found = real(*arguments, **settings)
        if uploads:
            installation.cloud.drop(KEY, uploads.pop(0))
        return found

    monkeypatch.setattr(dropped_previews, "findings_of", slowly)
    installation.preview(installation.cloud.drop(KEY, LOGINS))
    assert installation.result(KEY)["rows"] == 2


def test_a_key_that_would_be_too_long_is_shortened(installation: Installation):
    """Two long names that begin alike have results of their own (A12)."""
    names = [f"previews/{'é' * 500}{number}.json" for number in range(2)]
    assert len({result_key(name) for name in names}) == 2
    assert all(len(f"{result_key(name)}.json".encode()) <= KEY_BYTES for name in names)
    assert installation.drop(names[0], LOGINS)["good"] == 3


# -- how much --------------------------------------------------------------------------------------------------------


def test_a_large_file_is_looked_at_in_part_and_says_so(installation: Installation, monkeypatch: pytest.MonkeyPatch):
    """By bytes, by lines, or by time: whichever is reached first; cost and time are for the whole."""
    body = "".join(row(number) + "\n" for number in range(20_000)).encode()
    whole = installation.drop(KEY, body)
    assert (whole["complete"], whole["share_read"]) == (True, 1.0)
    monkeypatch.setattr(dropped_previews, "LOOK_BYTES", 1 << 20)
    by_bytes = installation.drop(KEY, body)
    monkeypatch.setattr(dropped_previews, "LOOK_BYTES", 16 << 20)
    monkeypatch.setattr(dropped_previews, "LOOK_LINES", 5_000)
    by_lines = installation.drop(KEY, body)
    monkeypatch.setattr(dropped_previews, "LOOK_LINES", 10**9)
    installation.preview(installation.cloud.drop(KEY, body), seconds=59)
    by_time = installation.result(KEY)
    for said in (by_bytes, by_lines, by_time):
        assert said["complete"] is False
        assert said["lines"] < 20_000
        assert said["share_read"] == pytest.approx(said["bytes_read"] / len(body))
        assert said["cost"]["usd"] == pytest.approx(whole["cost"]["usd"], rel=0.05)
        assert said["cost"]["seconds"] == pytest.approx(whole["cost"]["seconds"], abs=1)


def test_a_line_without_end_is_not_read_to_its_end(installation: Installation, monkeypatch: pytest.MonkeyPatch):
    """It is refused long before."""
    monkeypatch.setattr(dropped_previews, "LOOK_BYTES", 1 << 20)
    said = installation.drop(KEY, b'{"a":"' + b"x" * (24 << 20))
    assert (said["complete"], said["rows"], said["reasons"][0]["code"]) == (False, 1, "line_too_long")
    assert "found at least 17825792 bytes" in said["reasons"][0]["samples"][0]["message"]


def test_no_time_is_told_and_tried_again(installation: Installation):
    """A compressed file may take long before it gives a row."""
    notification = installation.cloud.drop(KEY, LOGINS)
    with pytest.raises(Unavailable, match="in the time there is"):
        installation.preview(notification, seconds=10)
    assert installation.result(KEY)["error"]["code"] == "unavailable"


# -- beside the store ------------------------------------------------------------------------------------------------


def test_names_and_types_are_compared_with_what_is_stored(installation: Installation):
    """What the store holds of another file: its names are known, another type of one of them clashes."""
    installation.import_file(
        installation.cloud.drop("imports/a.json", row(1, price=1, page="/", **{"{u}city": "Paris"}).encode())
    )
    body = "\n".join([row(2, price="one", page="/", colour="red"), row(3, event_name="purchase", **{"{u}city": 7})])
    said = installation.drop(KEY, body.encode())
    assert said["compared_with"] == {
        "events": {"items": 1, "whole": True},
        "user_records": {"items": 1, "whole": True},
    }
    assert said["new"] == {
        "event_names": ["purchase"],
        "properties": ["colour"],
        "user_properties": [],
        "session_properties": [],
    }
    assert said["clashes"] == [
        {"where": "properties", "name": "price", "types": ["string"], "stored": ["number"]},
        {"where": "user_properties", "name": "city", "types": ["number"], "stored": ["string"]},
    ]


def test_a_store_that_may_not_be_looked_at_is_no_reason_to_say_nothing(installation: Installation):
    """The result says with what nothing was compared, and why."""
    notification = installation.cloud.drop(KEY, LOGINS)
    with plan(installation.cloud, Fault("denied", "Scan", always=True)):
        installation.preview(notification)
    said = installation.result(KEY)
    assert (said["error"], said["good"], said["new"]) == (None, 3, None)
    assert "allow dynamodb:Scan on it" in said["compared_with"]["reason"]


def test_an_import_that_writes_to_a_stream_has_no_store_to_look_at(installation: Installation):
    """And the rows are held to the stream's limits."""
    installation.define("stream", sinks="firehose")
    said = installation.drop("previews/stream/a.json", LOGINS)
    assert said["compared_with"] == {
        "reason": "this import writes to a stream, which nobody can ask what went through it"
    }


def test_it_needs_what_its_role_grants_and_nothing_else(installation: Installation):
    """Least privilege, both ways; what only says whether a file is forbidden or gone is asked for where it is gone."""
    used = set()
    present = installation.cloud.drop("previews/shop/a.json", LOGINS)
    gone = installation.cloud.drop("previews/gone.json", LOGINS)
    installation.cloud.remove("previews/gone.json")
    for notification in (present, gone):
        with plan(installation.cloud) as delivery:
            installation.preview(notification)
        used |= {permission for call in delivery.calls for permission in needed(call)}
    when_denied = {("s3:ListBucket", "list previews/"), ("s3:ListBucketVersions", "list previews/")}
    assert used | when_denied == granted("PreviewRole")


def test_logs_hold_nothing_of_a_row(installation: Installation, caplog: pytest.LogCaptureFixture):
    """Names of files, codes and counts (J8)."""
    secret = "secret-7041"
    installation.drop(KEY, f'{row(1, card=secret)}\n{{"event_name": "{secret}"'.encode())
    written = str([vars(record) for record in caplog.records])
    assert "'msg': <Message.PREVIEWED" in written
    assert secret not in written
