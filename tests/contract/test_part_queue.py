"""The part queue: what goes in comes out as the same tasks, and nothing else is taken for one."""

from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest

from importer.aws import clients
from importer.aws.dispatch import PartQueue, UnknownTask, task_of
from importer.model import Task, Unavailable
from tests.support.cloud import Cloud
from tests.support.faults import Fault, attempt

TASKS = [Task(f"{number:032x}", number << 20) for number in range(23)]


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud() as one:
        yield one


def queue(cloud: Cloud) -> PartQueue:
    return PartQueue(clients.queues, cloud.part_queue_url, cloud.clock)


def bodies(cloud: Cloud) -> list[str]:
    found = []
    while (received := cloud.receive()) is not None:
        cloud.delete_message(received[0])
        found.append(received[1])
    return found


def test_every_task_sent_is_a_message(cloud: Cloud):
    """Ten a call; they come in any order."""
    queue(cloud).send(TASKS)
    assert sorted((task_of(body) for body in bodies(cloud)), key=lambda task: task.start) == TASKS


def test_a_task_waits_in_the_queue_of_its_priority(cloud: Cloud):
    """Each has workers of its own; where one has no queue of its own, the one for all takes it."""
    client = mock.Mock()
    client.send_message_batch.return_value = {}
    tasks = [Task("f" * 32, number, priority) for number, priority in enumerate(("HIGH", "MEDIUM", "LOW", "MEDIUM"))]
    PartQueue(lambda: client, "usual", cloud.clock, {"HIGH": "high", "LOW": ""}).send(tasks)
    sent = {
        call.kwargs["QueueUrl"]: [task_of(entry["MessageBody"]).start for entry in call.kwargs["Entries"]]
        for call in client.send_message_batch.call_args_list
    }
    assert sent == {"high": [0], "usual": [1, 2, 3]}


def test_a_delayed_task_does_not_come_before_its_time(cloud: Cloud):
    """A throttled part is left alone for a while; SQS delays by 15 minutes at most."""
    queue(cloud).send(TASKS[:1], delay_s=60)
    queue(cloud).send(TASKS[1:2], delay_s=4_000)
    assert bodies(cloud) == []
    cloud.clock.sleep(61)
    assert [task_of(body) for body in bodies(cloud)] == TASKS[:1]
    cloud.clock.sleep(900)
    assert [task_of(body) for body in bodies(cloud)] == TASKS[1:2]


def test_what_the_queue_refuses_of_a_call_is_sent_again(cloud: Cloud):
    """An answer of 200 may hold refusals."""
    client = mock.Mock()
    calls: list[list[str]] = []

    def send(QueueUrl: str, Entries: list[dict[str, Any]]) -> dict[str, Any]:
        calls.append([entry["Id"] for entry in Entries])
        return {"Failed": [{"Id": "1", "Code": "InternalError"}]} if len(calls) < 3 else {}

    client.send_message_batch.side_effect = send
    PartQueue(lambda: client, "https://queue", cloud.clock).send(TASKS[:3])
    assert calls == [["0", "1", "2"], ["1"], ["1"]]


def test_a_queue_that_goes_on_refusing_is_unavailable(cloud: Cloud):
    """Then the delivery that wanted to send comes again."""
    client = mock.Mock()
    client.send_message_batch.return_value = {"Failed": [{"Id": "0", "Code": "InternalError"}]}
    with pytest.raises(Unavailable, match="refused 1 messages 5 times: InternalError"):
        PartQueue(lambda: client, "https://queue", cloud.clock).send(TASKS[:1])


@pytest.mark.parametrize(
    ("kind", "said"), [("denied", "allow sqs:SendMessage"), ("error_500", "the part queue"), ("reply_lost", "")]
)
def test_trouble_on_the_way_is_unavailable_or_passes(cloud: Cloud, kind: str, said: str):
    """A denial names its permission; what passes by itself is tried again by the SDK."""
    sent = attempt(cloud, lambda: queue(cloud).send(TASKS[:1]), Fault(kind, "SendMessageBatch"))
    if sent.error is None:
        assert {task_of(body) for body in bodies(cloud)} == {TASKS[0]}
    else:
        assert isinstance(sent.error, Unavailable)
        assert said in str(sent.error)


def test_without_a_queue_nothing_can_be_handed_on(cloud: Cloud):
    """An older template: said in words, not by a message that goes nowhere. No tasks need no queue."""
    with pytest.raises(Unavailable, match="PART_QUEUE_URL is not set"):
        PartQueue(clients.queues, "", cloud.clock).send(TASKS[:1])
    PartQueue(clients.queues, "", cloud.clock).send([])


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        '{"schema": "task/2", "execution_id": "e", "start": 0}',
        '{"schema": "task/1", "execution_id": 7, "start": 0}',
        '{"schema": "task/1", "execution_id": "e", "start": "0"}',
        '{"schema": "task/1", "execution_id": "e"}',
    ],
)
def test_another_message_is_no_task(body: str):
    """It is to end in the dead-letter queue, not in silence."""
    with pytest.raises(UnknownTask):
        task_of(body)
