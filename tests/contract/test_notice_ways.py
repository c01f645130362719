"""EventBridge, SNS, the dead-letter queue and the table's stream, on the fake cloud: what notices go by."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

import app
from importer import assembly
from importer.aws import clients
from importer.aws.events import Bus, Closing, Letters, Topic, closings
from importer.model import Execution, Misconfigured, Status, Unavailable
from tests.faults.importing import VENDOR_ROWS, Importer, installed
from tests.support.clock import LambdaContext
from tests.support.cloud import Cloud
from tests.support.faults import Fault, plan
from tests.support.policy import FOR_ALARMS, granted, needed
from tests.support.samples import EVENTS

KEY = "imports/\u202e\ufffe\x01 ünï.json"
DENIED = "User: arn:aws:sts::1:assumed-role/notify is not authorized to perform: events:PutEvents"

pytestmark = pytest.mark.filterwarnings("ignore:No application metrics")  # as app.py does; pytest forgets it


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud(topic=True) as cloud:
        yield cloud


def queue_of(cloud: Cloud) -> str:
    return str(cloud.client("sqs").create_queue(QueueName="told")["QueueUrl"])


def received(cloud: Cloud, url: str) -> list[Any]:
    answer = cloud.client("sqs").receive_message(QueueUrl=url, MaxNumberOfMessages=10)
    return [json.loads(message["Body"]) for message in answer.get("Messages", [])]


def test_a_rule_gets_the_event(cloud: Cloud):
    """Source and detail-type are what it chooses by; detail is an object."""
    with cloud.unseen():
        url = queue_of(cloud)
        events = cloud.client("events")
        events.put_rule(Name="told", EventPattern='{"source":["s"],"detail-type":["Ended"]}')
        arn = cloud.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        events.put_targets(Rule="told", Targets=[{"Id": "1", "Arn": arn["QueueArn"]}])
    Bus(clients.events, "default").put("s", "Ended", '{"a":1}', 1_795_725_092_500)
    with cloud.unseen():
        (event,) = received(cloud, url)
    assert (event["source"], event["detail-type"], event["detail"]) == ("s", "Ended", {"a": 1})
    assert event["time"] == "2026-11-26T20:31:32Z"


def test_a_subscriber_gets_the_message(cloud: Cloud):
    """With the attributes its filter looks at."""
    with cloud.unseen():
        url = queue_of(cloud)
        arn = cloud.client("sqs").get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]
        cloud.client("sns").subscribe(
            TopicArn=cloud.notice_topic,
            Protocol="sqs",
            Endpoint=arn["QueueArn"],
            Attributes={"FilterPolicy": '{"trouble": ["yes"]}'},
        )
    topic = Topic(clients.topics, cloud.notice_topic)
    topic.publish("b.json imported", "nothing to do", {"trouble": "no"})
    topic.publish("a.json imported", "text\nof it", {"trouble": "yes"})
    with cloud.unseen():
        (message,) = received(cloud, url)
    assert (message["Subject"], message["Message"]) == ("a.json imported", "text\nof it")
    assert message["MessageAttributes"] == {"trouble": {"Type": "String", "Value": "yes"}}


@pytest.mark.parametrize("kind", ["unprocessed", "denied", "connection_lost", "throttled", "error_500"])
def test_an_event_that_was_not_taken_is_not_taken_for_sent(cloud: Cloud, kind: str):
    """Also where the answer is a success: FailedEntryCount says it."""
    with (
        plan(cloud, Fault(kind, "PutEvents", always=True, detail={"message": DENIED})),
        pytest.raises(Unavailable, match="the event bus default") as raised,
    ):
        Bus(clients.events, "default").put("s", "Ended", "{}", 0)
    assert ("allow events:PutEvents on it" in str(raised.value)) is (kind == "denied")


@pytest.mark.parametrize("kind", ["denied", "connection_lost", "error_500"])
def test_a_message_that_was_not_taken_is_not_taken_for_sent(cloud: Cloud, kind: str):
    """SNS says AuthorizationError where others say AccessDenied."""
    with (
        plan(cloud, Fault(kind, "Publish", always=True)),
        pytest.raises(Unavailable, match="the topic arn:aws:sns") as raised,
    ):
        Topic(clients.topics, cloud.notice_topic).publish("s", "t", {})
    assert ("allow sns:Publish on it" in str(raised.value)) is (kind == "denied")


@pytest.mark.parametrize("kind", ["denied", "connection_lost"])
def test_a_letter_that_was_not_kept_is_not_taken_for_kept(cloud: Cloud, kind: str):
    """Then Lambda tries again."""
    with (
        plan(cloud, Fault(kind, "SendMessage", always=True)),
        pytest.raises(Unavailable, match="the dead-letter queue"),
    ):
        Letters(clients.queues, cloud.dead_letter_queue_url).keep(Closing({}, 0), "why")


# ---- The function, with what invokes it ----------------------------------------------------------------------------


@pytest.fixture
def importer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Importer]:
    """An installation whose notify function is deployed."""
    with installed(topic=True, watched=True) as importer:
        cloud = importer.cloud
        for name, value in {
            "BUCKET_NAME": cloud.bucket,
            "EVENTS_TABLE": cloud.events_table,
            "USERS_TABLE": cloud.users_table,
            "IMPORTS_TABLE": cloud.imports_table,
            "NOTICE_BUS": cloud.notice_bus,
            "NOTICE_TOPIC": cloud.notice_topic,
            "DEAD_LETTER_QUEUE_URL": cloud.dead_letter_queue_url,
        }.items():
            monkeypatch.setenv(name, value)
        app._herald.cache_clear()
        monkeypatch.setattr(assembly, "SystemClock", lambda: cloud.clock)
        yield importer
        app._herald.cache_clear()


def notify(importer: Importer, event: Any) -> Any:
    return app.notify_handler(event, LambdaContext(importer.cloud.clock, 120))


def changes_of(importer: Importer, key: str) -> list[dict[str, Any]]:
    """Those of the table while a file is imported."""
    importer.deliver(importer.cloud.drop(key, VENDOR_ROWS))
    return importer.cloud.changes()


def test_only_the_closing_is_told_of_whatever_the_mapping_lets_through(importer: Importer):
    """The filter saves invocations; the function judges for itself."""
    changes = changes_of(importer, KEY)
    assert [notify(importer, {"Records": [change]}) for change in changes] == [
        {"told": int(change is changes[-1]), "dead_letters": 0} for change in changes
    ]
    assert importer.watcher is not None
    importer.watcher.assert_nothing_wrong()
    importer.watcher.check_all_told()


def without_users(execution: Execution) -> Execution:
    sums = replace(execution.outcome.sums, top_users={})
    return replace(execution, outcome=replace(execution.outcome, sums=sums))


def test_a_letter_is_all_that_its_notice_needs(importer: Importer):
    """ASCII, whatever the names (H5); delivered, it says what was closed, whatever has become of it since."""
    closing = next(closings({"Records": [changes_of(importer, KEY)[-1]]}))
    Letters(clients.queues, importer.cloud.dead_letter_queue_url).keep(closing, "the bus was away")
    (body,) = importer.cloud.messages(importer.cloud.dead_letter_queue_url)
    assert body.isascii()
    (back,) = closings(json.loads(body))
    assert (without_users(back.execution()), back.closed_ms) == (without_users(closing.execution()), 0)
    assert back.execution().outcome.sums.top_users == {}, "whoever reads letters is told of no user"
    assert notify(importer, json.loads(body)) == {"told": 1, "dead_letters": 0}


@pytest.mark.parametrize("name", ["closed.json", "dead-letter.json"])
def test_the_samples_are_what_the_function_is_invoked_with(importer: Importer, name: str):
    """events/notify: a record of the stream, and a dead letter."""
    sample = json.loads((EVENTS / "notify" / name).read_bytes())
    (closing,) = closings(sample)
    execution = closing.execution()
    assert (execution.status, execution.source.key) == (Status.SUCCEEDED, "imports/logins.json")
    importer.cloud.wire.watchers.clear()  # it knows nothing of this one
    if "Records" in sample:
        sample["Records"][0]["dynamodb"]["ApproximateCreationDateTime"] = importer.cloud.clock.now_ms() / 1000
    assert notify(importer, sample) == {"told": 1, "dead_letters": 0}


@pytest.mark.parametrize(
    "event",
    [{}, {"Records": ["no record"]}, {"schema": "notice_due/2", "closed": {}}, {"schema": "notice_due/1"}, []],
)
def test_what_is_neither_is_refused(importer: Importer, event: Any):
    """A mapping to something else is a mistake of the template, and no reason to say nothing."""
    with pytest.raises(Misconfigured):
        notify(importer, event)


def test_an_item_changed_by_hand_becomes_a_letter(importer: Importer):
    """No notice can be made of it; the next one is told of."""
    change = changes_of(importer, KEY)[-1]
    change["dynamodb"]["NewImage"]["state"] = {"S": "{}"}
    with pytest.raises(Unavailable, match="Somebody has changed it"):
        notify(importer, {"Records": [change]})
    change["dynamodb"]["ApproximateCreationDateTime"] -= 3_601
    assert notify(importer, {"Records": [change]}) == {"told": 0, "dead_letters": 1}


def test_its_role_may_do_what_it_does_and_nothing_else(importer: Importer):
    """Least privilege; it reads receipts, and writes to no table and no bucket. What alarms need: test_alarms.py."""
    change = changes_of(importer, KEY)[-1]
    with plan(importer.cloud) as delivery:
        notify(importer, {"Records": [change]})
    with plan(importer.cloud, Fault("denied", "PutEvents", always=True)) as denied:
        change["dynamodb"]["ApproximateCreationDateTime"] -= 3_601
        app._herald.cache_clear()
        notify(importer, {"Records": [change]})
    used = {permission for call in (*delivery.calls, *denied.calls) for permission in needed(call)}
    assert used == (granted("NotifyRole") - FOR_ALARMS) | {("s3:GetObject", "receipts/")}
