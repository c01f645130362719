"""A dead letter, read: what it is about and why it lies there (docs/operations.md#dead-letters has the seven kinds)."""

from dataclasses import dataclass, field
from typing import Any

import orjson

from importer.aws.dispatch import UnknownTask, task_of
from importer.aws.events import LETTER_SCHEMA
from importer.aws.fetches import fetch_id_of
from importer.doors.alarms import alarm_of
from importer.fetches import UnknownFetch
from importer.model import Task, Value
from importer.notification import PREVIEWS_PREFIX, Dropped, UnknownNotification, dropped_objects


@dataclass(slots=True)
class Letter:
    """One dead letter.

    Attributes:
        receipt_handle: by which it is deleted or given back.
        what: "notification", "preview", "task", "undo", "fetch", "notice", "alarm", "sweep" or "unknown".
        dropped: the objects its notification names.
        previews: those of them that somebody wants to see a preview of.
        payload: what the preview or the notify function was invoked with.
        task: if it is one.
        notice: the message, if it is a notice that was not sent.
        execution_id: of the notice, or of what is to be undone.
        fetch_id: of an import by URI, if it is one.
        unknown: why it, or a part of it, is not understood; "" if it is.
        why: what Lambda says went wrong.
        tried: how often Lambda tried.
        received: how often a message of the part queue was received: by workers, and by whoever looked at it here.
        since_ms: when it came here.
        outcome: what became of it; "" as long as it lies there.
    """

    message_id: str
    receipt_handle: str
    what: str
    dropped: list[Dropped] = field(default_factory=list)
    previews: list[Dropped] = field(default_factory=list)
    payload: bytes = b""
    task: Task | None = None
    notice: str = ""
    execution_id: str = ""
    unknown: str = ""
    why: str = ""
    tried: int | None = None
    received: int | None = None
    since_ms: int | None = None
    outcome: str = ""
    failed: bool = False
    fetch_id: str = ""

    def about(self) -> str:
        """What it is about, for a person."""
        if self.task is not None:
            return f"part from byte {self.task.start:,} of execution {self.task.execution_id}"
        if self.fetch_id:
            return f"import by URI {self.fetch_id}"
        if self.what == "undo":
            return f"undoing of execution {self.execution_id}"
        if self.execution_id:
            return f"notice of execution {self.execution_id}"
        if self.dropped or self.previews:
            return ", ".join(self._files())
        if self.what == "alarm":
            return "an alarm that nobody was told of"
        return "no file" if self.what == "notification" else f"message {self.message_id}"

    def _files(self) -> list[str]:
        return [f"s3://{dropped.bucket}/{dropped.key}" for dropped in (*self.dropped, *self.previews)]

    def document(self) -> dict[str, Value]:
        """For `--json`."""
        return {
            "message_id": self.message_id,
            "what": self.what,
            "files": list(self._files()),
            "execution_id": self.task.execution_id if self.task else self.execution_id or None,
            "start": self.task.start if self.task else None,
            "fetch_id": self.fetch_id or None,
            "why": self.why or None,
            "tried": self.tried,
            "received": self.received,
            "since_ms": self.since_ms,
            "unknown": self.unknown or None,
            "outcome": self.outcome or None,
        }


def letter_of(message: Any) -> Letter:
    """A message as SQS gives it."""
    attributes = message.get("Attributes", {})
    told = {name: value.get("StringValue", "") for name, value in message.get("MessageAttributes", {}).items()}
    letter = Letter(message["MessageId"], message["ReceiptHandle"], "unknown", why=told.get("ErrorMessage", ""))
    letter.since_ms = _number(attributes.get("SentTimestamp"))
    try:
        body = orjson.loads(message["Body"])
    except orjson.JSONDecodeError:
        letter.unknown = "not JSON"
        return letter
    match body:
        case {"requestContext": dict(context), "requestPayload": payload}:
            response = body.get("responsePayload")
            letter.tried = _number(context.get("approximateInvokeCount"))
            letter.why = _why(context, response if isinstance(response, dict) else {})
            _read(letter, payload)
        case {"schema": str(schema)} if schema.startswith("task/"):
            try:
                letter.task = task_of(message["Body"])
                letter.what = "task"
            except UnknownTask as unknown:
                letter.unknown = str(unknown)
            letter.received = _number(attributes.get("ApproximateReceiveCount"))
        case {"schema": "undo/1", "execution_id": str(execution_id)}:
            letter.what, letter.execution_id = "undo", execution_id
            letter.received = _number(attributes.get("ApproximateReceiveCount"))
        case {"schema": str(schema)} if schema.startswith("fetch/"):
            try:
                letter.fetch_id = fetch_id_of(message["Body"])
                letter.what = "fetch"
            except UnknownFetch as unknown:
                letter.unknown = str(unknown)
            letter.received = _number(attributes.get("ApproximateReceiveCount"))
        case {"schema": str(schema), "closed": dict()} if schema == LETTER_SCHEMA:
            letter.what, letter.notice = "notice", message["Body"]
            letter.execution_id, letter.why = str(body.get("execution_id")), str(body.get("why", ""))
        case {"DDBStreamBatchInfo": dict(place)}:
            letter.what = "notice"
            letter.unknown = (
                f"what was closed at {place.get('approximateArrivalOfFirstRecord')} could not be told of for 24 hours, "
                "and this says no more of it: `importer executions` lists what ended then"
            )
        case _:
            _read(letter, body)
    return letter


def _read(letter: Letter, payload: object) -> None:
    """What a function was invoked with."""
    if isinstance(payload, dict) and set(payload) == {"sweep"}:
        letter.what = "sweep"
        return
    match payload:
        case {"Records": [{"Sns": {"Message": str(message)}}, *_]} if alarm_of(message) is not None:
            letter.what, letter.payload = "alarm", orjson.dumps(payload)
            return
        case {"Type": "Notification", "Message": str(message)} if alarm_of(message) is not None:
            # What SNS itself could not deliver: the function takes it as well.
            letter.what, letter.payload = "alarm", orjson.dumps(payload)
            return
    letter.what = "notification"
    try:
        letter.dropped = dropped_objects(payload)
        letter.previews = dropped_objects(payload, PREVIEWS_PREFIX)
        if letter.previews and not letter.dropped:  # one notification is of one prefix, and goes to one function
            letter.what, letter.payload = "preview", orjson.dumps(payload)
    except UnknownNotification as unknown:
        letter.dropped = list(unknown.known)
        letter.unknown = str(unknown)
        letter.what = "notification" if letter.dropped else "unknown"


def _why(context: dict[str, Any], response: dict[str, Any]) -> str:
    kind, words = response.get("errorType"), response.get("errorMessage")
    said = ": ".join(str(text) for text in (kind, words) if text)
    return said or str(context.get("condition", ""))


def _number(text: object) -> int | None:
    return int(str(text)) if str(text).isascii() and str(text).isdigit() else None
