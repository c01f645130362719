"""What the schedule function is invoked with: every sample of events/schedule."""

import json
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from botocore.exceptions import ClientError

import app
from importer.aws import clients
from importer.definitions import Definition
from importer.model import Denied, Misconfigured
from tests.support.books import assert_books_balance
from tests.support.clock import LambdaContext
from tests.support.cloud import Cloud
from tests.support.faults import Fault, attempt
from tests.support.function import deployed
from tests.support.policy import OTHER_QUEUES, Permission, granted, needed
from tests.support.samples import BUCKET, EVENTS

pytestmark = pytest.mark.filterwarnings("ignore:No application metrics")  # as app.py does; pytest forgets it

KEY = "imports/accounts/accounts-%d.json"
ROW = b'{"user_id":"u%d","event_name":"e","event_time_ts":1425920218354}\n'
SAMPLES = ("all", "one-import", "by-hand", "check")


class Lambda:
    """Keeps what it is asked to invoke; `refused` is what it refuses."""

    def __init__(self) -> None:
        self.invoked: list[tuple[str, str, Any]] = []
        self.refused = ""

    def invoke(self, FunctionName: str, InvocationType: str, Payload: bytes = b"") -> None:
        if InvocationType == "DryRun":
            self.invoked.append((FunctionName, InvocationType, None))
            return
        event = json.loads(Payload)
        if event["import_id"] == self.refused:
            raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, "Invoke")
        self.invoked.append((FunctionName, InvocationType, event))


class Installation:
    """A fake cloud with the function in it."""

    def __init__(self, cloud: Cloud, functions: Lambda) -> None:
        self.cloud = cloud
        self.functions = functions

    def schedule(self, name: str, **changes: Any) -> dict[str, Any]:
        event = json.loads((EVENTS / "schedule" / f"{name}.json").read_bytes()) | changes
        return app.schedule_handler(event, LambdaContext(self.cloud.clock, 900))

    def put(self, import_id: str, definition: Any) -> None:
        item = {"pk": f"IMPORT#{import_id}", "sk": "IMPORT", "listed": "IMPORT", "creation_date": 1, "changed_ms": 1}
        self.cloud.put_item(self.cloud.imports_table, item | {"definition": definition})


@pytest.fixture
def installation(monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    functions = Lambda()
    with Cloud(bucket=BUCKET) as cloud:
        monkeypatch.setenv("PART_QUEUE_URL", cloud.part_queue_url)
        with deployed(cloud), mock.patch.object(clients, "functions", return_value=functions):
            one = Installation(cloud, functions)
            one.put("accounts", Definition(id="accounts", base_file_name="accounts.json").as_stored())
            yield one


def test_all_samples_are_here():
    """Each is used below."""
    assert sorted(path.stem for path in (EVENTS / "schedule").glob("*.json")) == sorted(SAMPLES)


def test_each_recurring_import_gets_an_invocation_of_its_own(installation: Installation):
    """With the slot it is for; those of HIGH priority first; others are none of the schedule's."""
    installation.put("last", Definition(id="last", base_file_name="x.json", priority="LOW").as_stored())
    installation.put("first", Definition(id="first", base_file_name="x.json", priority="HIGH").as_stored())
    installation.put("plain", Definition(id="plain").as_stored())
    assert installation.schedule("all") == {"sent": ["first", "accounts", "last"]}
    slot = "2026-11-26T20:00:00Z"
    assert installation.functions.invoked == [
        ("fault-test", "Event", {"import_id": import_id, "slot": slot}) for import_id in ("first", "accounts", "last")
    ]


def test_a_broken_definition_and_a_refused_invocation_do_not_stop_the_others(installation: Installation):
    """All have their turn, then it is raised, so that the alarm rings."""
    installation.put("broken", {"base_file_name": "a/b.json"})
    installation.put("z", Definition(id="z", base_file_name="x.json").as_stored())
    installation.functions.refused = "accounts"
    with pytest.raises(Misconfigured, match="import definition 'broken'"):
        installation.schedule("all")
    assert [event["import_id"] for _, _, event in installation.functions.invoked] == ["z"]
    installation.put("broken", {"name": "mended"})
    with pytest.raises(Exception, match="allow lambda:InvokeFunction on it"):
        installation.schedule("all")


def test_a_run_of_the_schedule_takes_a_file_once_a_slot(installation: Installation):
    """Its answer says what it did, for a person who invokes by hand."""
    sources = {KEY % number: ROW % number for number in (1, 2)}
    for key, body in sources.items():
        installation.cloud.drop(key, body)
    first = installation.schedule("one-import")
    assert [one["uri"] for one in first["ended"]] == [f"s3://{BUCKET}/{KEY % 1}"]
    assert installation.schedule("one-import")["ended"] == []
    by_hand = installation.schedule("by-hand")
    assert [(one["uri"], one["status"]) for one in by_hand["ended"]] == [(f"s3://{BUCKET}/{KEY % 2}", "SUCCEEDED")]
    assert_books_balance(installation.cloud, sources, tidy=True)


def test_a_file_that_may_not_be_read_fails_the_run_of_the_schedule_when_all_had_their_turn(installation: Installation):
    """The function's Errors are what the alarm looks at; a person is told in the answer."""
    for number in (1, 2):
        installation.cloud.drop(KEY % number, ROW % number)
    denied = Fault("denied", f"GetObject {KEY % 1}", always=True)
    ended = attempt(installation.cloud, lambda: installation.schedule("one-import"), denied)
    assert isinstance(ended.error, Denied)
    assert list(installation.cloud.objects("imports/")) == [KEY % 1]
    ended = attempt(installation.cloud, lambda: installation.schedule("by-hand"), denied)
    assert ended.result["denied"] == [f"s3://{BUCKET}/{KEY % 1}"]
    assert "s3:GetObject" in ended.result["why_denied"]


def test_check_says_what_is_missing_and_changes_nothing(installation: Installation):
    """Every call it makes is refused, one after another, and named; without refusals nothing is."""
    cloud = installation.cloud
    cloud.drop(KEY % 1, ROW % 1)
    before = cloud.objects(), cloud.items(cloud.events_table), cloud.items(cloud.imports_table)
    clean = attempt(cloud, lambda: installation.schedule("check"))
    assert clean.result == {"check": "accounts", "missing": []}
    for call, permission in (
        ("PutObject errors/", "s3:PutObject"),
        ("DeleteObject imports/", "s3:DeleteObject"),
        ("GetObjectTagging", "s3:GetObjectVersionTagging"),
        ("ListObjectVersions", "s3:ListBucketVersions"),
        ("BatchWriteItem", "dynamodb:BatchWriteItem"),
        ("UpdateItem users", "dynamodb:UpdateItem"),
    ):
        refused = attempt(cloud, lambda: installation.schedule("check"), Fault("denied", call, always=True))
        assert permission in {one["permission"] for one in refused.result["missing"]}, call
    assert (cloud.objects(), cloud.items(cloud.events_table), cloud.items(cloud.imports_table)) == before


def test_check_asks_for_every_permission_its_role_has(installation: Installation):
    """But for sending to queue and stream, which cannot be asked without doing it. So a new grant needs a question, and
    what is asked is granted.
    """
    asked: set[Permission] = set()
    for versioned in (True, False):
        cloud = installation.cloud
        if not versioned:
            with cloud.unseen():
                how = {"Status": "Suspended"}
                cloud.client("s3").put_bucket_versioning(Bucket=cloud.bucket, VersioningConfiguration=how)
        cloud.drop(KEY % versioned, ROW % 1)
        asked |= {one for call in attempt(cloud, lambda: installation.schedule("check")).calls for one in needed(call)}
    assert installation.functions.invoked[0][:2] == ("fault-test", "DryRun")
    cannot_be_asked = {("sqs:SendMessage", "PartQueue"), ("firehose:PutRecordBatch", "DeliveryStream")}
    by_itself = {("lambda:InvokeFunction", "ScheduleFunction")}
    assert asked == granted("ScheduleRole") - cannot_be_asked - OTHER_QUEUES - by_itself


@pytest.mark.parametrize(
    ("event", "says"),
    [
        ({}, '"recurring": "all"'),
        ({"recurring": "some"}, '"check": ID'),
        ({"import_id": "accounts", "slot": "x"}, "time"),
    ],
)
def test_another_event_is_refused(event: dict[str, Any], says: str, installation: Installation):
    """And it says what would be right."""
    with pytest.raises(Misconfigured, match=says):
        app.schedule_handler(event, LambdaContext(installation.cloud.clock, 900))


def test_an_emulator_that_does_not_fill_in_the_slot_runs_all_the_same(installation: Installation):
    """As the local twin."""
    installation.cloud.drop(KEY % 1, ROW % 1)
    ran = installation.schedule("one-import", slot="<aws.scheduler.scheduled-time>")
    assert len(ran["ended"]) == 1
