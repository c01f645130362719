"""Dead letters: what lies in the queue, why, and how it is delivered again.

Seven things end there. A notification that the import function gave up: as Lambda's record of an asynchronous
invocation (`requestPayload`) or, from a queue in front of the function, as it is. One that the preview function gave
up, for which that function is invoked again. A message of the part queue, after five receives; one of the fetch queue
likewise. A notice that could not be sent, with what was closed; where its function did not even run for 24 hours,
Lambda's record of a place in the stream, which has forgotten it by then. An alarm that could not be passed on to
people, for which the notify function is invoked again. And a failed sweep, which needs nothing: the next one came five
minutes later.

A letter is deleted only when everything in it is on its way again: its execution stored, its tasks sent. What is not
understood stays.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from rich.console import Console
from rich.text import Text

from cli import show
from importer import executions
from importer.bad_rows import shown
from importer.doors.letters import Letter, letter_of
from importer.executions import Workplace
from importer.model import Execution, Phase, Status
from importer.notification import Dropped

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

TAKEN_SECONDS: Final = 600  # nobody else sees a letter while it is looked at and delivered
_MOST: Final = 10  # Quota: messages of one ReceiveMessage
_WAIT_SECONDS = 1
_EMPTY: Final = 3  # answers without a message in a row: SQS may miss some in one


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


def deliver(
    place: Workplace,
    queue: DeadLetters,
    letter: Letter,
    tell: Callable[[str], bool],
    invoke: Callable[[str, bytes], object],
    options: str = "",
    send_fetch: Callable[[str], None] | None = None,
) -> None:
    """Put everything a letter asks for on its way again, then delete it; what is not understood stays.

    Args:
        send_fetch: makes going on with an import by URI somebody's job; None where nothing is fetched.
        tell: sends the notice of such a letter; False if it became a dead letter again.
        invoke: invokes a function, by its logical id, and does not wait for it.
        options: what a command needs to mean this installation.

    Raises:
        Unavailable: the letter stays.
    """
    began = []
    for dropped in letter.dropped:
        found = executions.deliver(place, dropped)
        began += [_said_of(execution, options) for execution in found] or [_nothing_begun(place, dropped)]
    if letter.payload:
        function = "NotifyFunction" if letter.what == "alarm" else "PreviewFunction"
        invoke(function, letter.payload)
        began.append(f"sent to the {'notify' if letter.what == 'alarm' else 'preview'} function")
    if letter.task is not None:
        execution = place.records.execution(letter.task.execution_id)
        if execution is None:
            letter.unknown = f"there is no execution {letter.task.execution_id}"
        elif execution.phase is Phase.CLOSED:
            began.append(f"its execution has ended {execution.status.value}: {_nothing(execution, options)}")
        else:
            place.dispatch.send([letter.task])
            began.append("sent to the part queue")
    if letter.what == "undo":  # the sweep does, as long as it was asked for and is not done
        began.append(f"sent by the sweep: `importer executions {letter.execution_id}{options}` shows how it stands")
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
