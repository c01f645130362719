"""Dead letters: what lies in the queue, why, and how it is delivered again.

Six things end there. A notification that the import function gave up: as Lambda's record of an asynchronous
invocation (`requestPayload`) or, from a queue in front of the function, as it is. One that the preview function gave
up, for which that function is invoked again. A message of the part queue, after five receives; one of the fetch queue
likewise. A notice that could not be sent, with what was closed; where its function did not even run for 24 hours,
Lambda's record of a place in the stream, which has forgotten it by then. And a failed sweep, which needs nothing: the
next one came five minutes later.

A letter is deleted only when everything in it is on its way again: its execution stored, its tasks sent. What is not
understood stays.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import orjson
from rich.console import Console
from rich.text import Text

from cli import show
from importer import executions
from importer.aws.dispatch import UnknownTask, task_of
from importer.aws.events import LETTER_SCHEMA
from importer.aws.fetches import fetch_id_of
from importer.bad_rows import shown
from importer.executions import Workplace
from importer.fetches import UnknownFetch
from importer.model import Execution, Phase, Status, Task, Value
from importer.notification import PREVIEWS_PREFIX, Dropped, UnknownNotification, dropped_objects

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

TAKEN_SECONDS: Final = 600  # nobody else sees a letter while it is looked at and delivered
_MOST: Final = 10  # Quota: messages of one ReceiveMessage
_WAIT_SECONDS = 1
_EMPTY: Final = 3  # answers without a message in a row: SQS may miss some in one


@dataclass(slots=True)
class Letter:
    """One dead letter.

    Attributes:
        receipt_handle: by which it is deleted or given back.
        what: "notification", "preview", "task", "fetch", "notice", "sweep" or "unknown".
        dropped: the objects its notification names.
        previews: those of them that somebody wants to see a preview of.
        payload: what the preview function was invoked with.
        task: if it is one.
        notice: the message, if it is a notice that was not sent.
        execution_id: of the notice.
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
        if self.execution_id:
            return f"notice of execution {self.execution_id}"
        if self.dropped or self.previews:
            return ", ".join(self._files())
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


class DeadLetters:
    """The queue. What was taken and not deleted is given back."""

    def __init__(self, client: "SQSClient", queue_url: str) -> None:
        self._sqs = client
        self._url = queue_url
        self._taken: dict[str, str] = {}  # message id → receipt handle

    def taken(self) -> list[Letter]:
        """All letters, oldest first; nobody else sees them for TAKEN_SECONDS."""
        letters: dict[str, Letter] = {}
        empty = 0
        while empty < _EMPTY:
            answer = self._sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=_MOST,
                VisibilityTimeout=TAKEN_SECONDS,
                WaitTimeSeconds=_WAIT_SECONDS,
                AttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
            messages = answer.get("Messages", [])
            empty = 0 if messages else empty + 1
            for message in messages:
                letter = letter_of(message)
                letters[letter.message_id] = letter
                self._taken[letter.message_id] = letter.receipt_handle
        return sorted(letters.values(), key=lambda letter: letter.since_ms or 0)

    def delete(self, letter: Letter) -> None:
        self._sqs.delete_message(QueueUrl=self._url, ReceiptHandle=letter.receipt_handle)
        self._taken.pop(letter.message_id, None)

    def give_back(self) -> None:
        """Let others see again what was not deleted."""
        for receipt_handle in self._taken.values():
            self._sqs.change_message_visibility(QueueUrl=self._url, ReceiptHandle=receipt_handle, VisibilityTimeout=0)
        self._taken.clear()


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


def deliver(
    place: Workplace,
    queue: DeadLetters,
    letter: Letter,
    tell: Callable[[str], bool],
    preview: Callable[[bytes], object],
    options: str = "",
    send_fetch: Callable[[str], None] | None = None,
) -> None:
    """Put everything a letter asks for on its way again, then delete it; what is not understood stays.

    Args:
        send_fetch: makes going on with an import by URI somebody's job; None where nothing is fetched.
        tell: sends the notice of such a letter; False if it became a dead letter again.
        preview: invokes the preview function, and does not wait for it.
        options: what a command needs to mean this installation.

    Raises:
        Unavailable: the letter stays.
    """
    began = []
    for dropped in letter.dropped:
        found = executions.deliver(place, dropped)
        began += [_said_of(execution, options) for execution in found] or [_nothing_begun(place, dropped)]
    if letter.payload:
        preview(letter.payload)
        began.append("sent to the preview function")
    if letter.task is not None:
        execution = place.records.execution(letter.task.execution_id)
        if execution is None:
            letter.unknown = f"there is no execution {letter.task.execution_id}"
        elif execution.phase is Phase.CLOSED:
            began.append(f"its execution has ended {execution.status.value}: {_nothing(execution, options)}")
        else:
            place.dispatch.send([letter.task])
            began.append("sent to the part queue")
    if letter.fetch_id and send_fetch is None:
        letter.unknown = "this installation fetches nothing from URIs"
    elif letter.fetch_id and send_fetch is not None:
        send_fetch(letter.fetch_id)
        began.append("sent to the fetch queue")
    if letter.notice:
        told = tell(letter.notice)
        began.append("told" if told else "still cannot be sent, and is a dead letter again")
        letter.failed = not told
    if letter.unknown:
        letter.outcome = "; ".join([*began, "stays in the queue"])
        return
    queue.delete(letter)
    letter.outcome = "; ".join(began) or "nothing to do"


def _nothing_begun(place: Workplace, dropped: Dropped) -> str:
    if place.objects.head(dropped) is None:
        return f"{dropped.key} is gone: nothing to do"
    return f"{dropped.key} waits for its turn in a recurring import: nothing to do"


def _said_of(execution: Execution, options: str) -> str:
    """An execution that a notification was delivered to. What is FAILED or CANCELED is not begun again by that."""
    said = f"execution {execution.id} ({execution.status.value})"
    if execution.phase is not Phase.CLOSED or execution.status is Status.SUCCEEDED:
        return said
    return f"{said}: {_nothing(execution, options)}"


def _nothing(execution: Execution, options: str) -> str:
    if execution.status is Status.FAILED:
        return f"nothing to do; `importer redrive {execution.id}{options}` takes it up"
    return "nothing to do"


# ---- For people ----------------------------------------------------------------------------------------------------


def table(out: Console, letters: Sequence[Letter]) -> None:
    """What lies there."""
    for letter in letters:
        head = Text(letter.what, style="bold red" if letter.unknown else "bold")
        out.print(head.append(f"  {show.shown_whole(letter.about())}", style="not bold"), soft_wrap=True)
        if letter.unknown:
            show.label(out, "unknown", show.shown_whole(letter.unknown))
        if letter.why:
            show.label(out, "failed", shown(letter.why))
        often = f", tried {show.many(letter.tried, 'time')}" if letter.tried else ""
        if letter.received:
            often = f", received {show.many(letter.received, 'time')}, looks included"
        show.label(out, "since", f"{show.utc(letter.since_ms)}{often}")


def outcomes(out: Console, letters: Sequence[Letter]) -> None:
    """What became of them."""
    show.heading(out, "What became of them")
    for letter in letters:
        style = "red" if letter.failed else "yellow" if letter.unknown else "green"
        text = Text("  ").append(show.shown_whole(letter.about())).append(f": {letter.outcome}", style=style)
        out.print(text, soft_wrap=True)
