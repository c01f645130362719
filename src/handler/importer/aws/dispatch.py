"""The part queues on SQS: tasks as messages, ten a call, the refused ones tried again. And runs, each an invocation.

One for each priority, with workers of its own: SQS knows no order of importance within a queue. Where there is but one
queue (an older template, a person's own), it takes all.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import orjson
from botocore.exceptions import ClientError

from importer.model import Clock, Task, Unavailable
from importer.sinks.calls import LOST, said

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_sqs import SQSClient

SCHEMA: Final = "task/1"
UNDO_SCHEMA: Final = "undo/1"
CALL_MESSAGES: Final = 10  # Quota: SendMessageBatch
LONGEST_DELAY_S: Final = 900  # Quota: DelaySeconds
_TRIES: Final = 5


class UnknownTask(Exception):
    """A message of the part queue is no task of ours: raised, so that it ends in the dead-letter queue."""


def task_of(body: str) -> Task:
    """The task in a message's body.

    Raises:
        UnknownTask: says what is wrong, and quotes nothing.
    """
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UnknownTask("the message is not JSON") from None
    match said:
        case {"schema": "task/1", "execution_id": str(execution_id), "start": int(start)}:
            return Task(execution_id, start)
    raise UnknownTask(f"the message is no {SCHEMA}")


def undo_of(body: str) -> str | None:
    """Id of the execution that a message asks to be undone; None for a message that is something else."""
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    match said:
        case {"schema": "undo/1", "execution_id": str(execution_id)}:
            return execution_id
    return None


class PartQueue:
    """See `executions.ports.Dispatch`.

    Args:
        client: makes the client, which few invocations need, when something is sent.
        queue_url: "" where the stack has no part queue: then nothing can be handed on.
        of_priority: queues of their own, by priority; the others' tasks wait in the one.
    """

    def __init__(
        self,
        client: "Callable[[], SQSClient]",
        queue_url: str,
        clock: Clock,
        of_priority: Mapping[str, str] | None = None,
    ) -> None:
        self._client = cache(client)
        self._queue_url = queue_url
        self._of_priority = {name: url for name, url in (of_priority or {}).items() if url}
        self._clock = clock

    def send(self, tasks: Sequence[Task], delay_s: int = 0) -> None:
        if tasks and not self._queue_url:
            raise Unavailable("PART_QUEUE_URL is not set, so work cannot be handed on: deploy with template.yaml")
        by_queue: dict[str, list[Task]] = {}
        for task in tasks:
            by_queue.setdefault(self._of_priority.get(task.priority, self._queue_url), []).append(task)
        for queue_url, some in by_queue.items():
            for at in range(0, len(some), CALL_MESSAGES):
                self._send(queue_url, [_entry(task, delay_s) for task in some[at : at + CALL_MESSAGES]])

    def send_undo(self, execution_id: str, delay_s: int = 0) -> None:
        """See `doors.undoing.UndoQueue`. It waits behind no import's parts but those of priority LOW."""
        if not self._queue_url:
            raise Unavailable("PART_QUEUE_URL is not set, so work cannot be handed on: deploy with template.yaml")
        body = orjson.dumps({"schema": UNDO_SCHEMA, "execution_id": execution_id}).decode()
        message = {"MessageBody": body, "DelaySeconds": min(delay_s, LONGEST_DELAY_S)}
        self._send(self._of_priority.get("LOW", self._queue_url), [message])

    def _send(self, queue_url: str, messages: list[dict[str, Any]]) -> None:
        left = [{"Id": str(number), **message} for number, message in enumerate(messages)]
        failure = ""
        for attempt in range(_TRIES):
            if attempt:
                self._clock.sleep(0.2 * 2**attempt)
            try:
                answer = self._client().send_message_batch(QueueUrl=queue_url, Entries=left)  # type: ignore[arg-type]
            except ClientError as error:
                action = "; allow sqs:SendMessage on it" if "AccessDenied" in said(error) else ""
                raise Unavailable(f"the part queue: {said(error)}{action}") from error
            except LOST as error:  # they may be there: a second one changes nothing
                raise Unavailable(f"the part queue: {error}") from error
            refused = {entry["Id"] for entry in answer.get("Failed", [])}  # a success may hold refusals
            if not refused:
                return
            failure = answer["Failed"][0].get("Code", "")
            left = [entry for entry in left if entry["Id"] in refused]
        raise Unavailable(f"the part queue refused {len(left)} messages {_TRIES} times: {failure}")


def send_run(client: "LambdaClient", function: str, import_id: str, slot: str) -> None:
    """Make one run of a recurring import an invocation of its own; Lambda has it when this returns.

    Args:
        slot: as the schedule said it.
    Raises:
        Unavailable: it may have been sent; a second one of one slot changes nothing.
    """
    body = orjson.dumps({"import_id": import_id, "slot": slot})
    try:
        client.invoke(FunctionName=function, InvocationType="Event", Payload=body)
    except ClientError as error:
        action = "; allow lambda:InvokeFunction on it" if "AccessDenied" in said(error) else ""
        raise Unavailable(f"function {function}: {said(error)}{action}") from error
    except LOST as error:
        raise Unavailable(f"function {function}: {error}") from error


def _entry(task: Task, delay_s: int) -> dict[str, Any]:
    body = orjson.dumps({"schema": SCHEMA, "execution_id": task.execution_id, "start": task.start}).decode()
    return {"MessageBody": body, "DelaySeconds": min(delay_s, LONGEST_DELAY_S)}
