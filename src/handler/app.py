"""The Lambda entry points. Each takes one kind of event apart and hands its objects to the house."""

import warnings
from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING

import orjson
from aws_lambda_powertools import Metrics
from aws_lambda_powertools.utilities.typing import LambdaContext

from importer.assembly import (
    doorway_maker,
    explainer,
    fetch_place_maker,
    herald,
    preview_maker,
    series_table,
    undo_place_maker,
    workplace_maker,
)
from importer.aws import clients
from importer.aws.dispatch import PartQueue, send_run, task_of, undo_of
from importer.aws.settings import Settings
from importer.aws.tables import ImportsTable
from importer.executions import Workplace, import_dropped, sweep_unfinished, sweep_waiting, work_on
from importer.model import Misconfigured, S3Object, Unavailable, Value
from importer.notification import PREVIEWS_PREFIX, UnknownNotification, dropped_objects
from importer.telemetry import (
    NAMESPACE,
    PowertoolsTelemetry,
    discreet,
    failed,
    make_logger,
    not_served,
    previewed,
)

if TYPE_CHECKING:
    from importer.doors.api import Api
    from importer.doors.dropped_previews import PreviewPlace
    from importer.doors.explaining import Explainer
    from importer.doors.fetching import FetchPlace
    from importer.doors.ports import Doorway
    from importer.doors.telling import Herald

if TYPE_CHECKING:
    from importer.doors import recurring

# An invocation that closed no execution has no metrics; that is not worth a line in the log.
warnings.filterwarnings("ignore", "No application metrics to publish*")

logger = make_logger()
metrics = Metrics(namespace=NAMESPACE)


@cache
def _workplaces() -> Callable[[Callable[[], int]], Workplace]:
    return workplace_maker(Settings.of(), logger, metrics)


@cache
def _preview_places() -> "Callable[[Callable[[], int]], PreviewPlace]":
    return preview_maker(Settings.of())


@cache
def _herald() -> "Herald":
    return herald(Settings.of(), logger, metrics)


@cache
def _explainer() -> "Explainer":
    return explainer(Settings.of(), logger, metrics)


@discreet(logger)
@metrics.log_metrics
def lambda_handler(event: dict[str, Value], context: LambdaContext) -> dict[str, list[dict[str, str]]]:
    """S3 says what was dropped, straight or through SNS, SQS or EventBridge: import it.

    Behind SQS, too, it raises if anything failed, and the whole batch comes again: decision 0014.

    Returns:
        For a person invoking by hand: each execution's id, status and phase.
    Raises:
        Unavailable, UnknownNotification, or whatever a bug raises, when every object has had its turn. Lambda (or SQS)
        delivers again, then sends the event to the dead-letter queue.
    """
    place = _workplaces()(context.get_remaining_time_in_millis)
    done: list[dict[str, str]] = []
    failures: list[Exception] = []
    try:
        objects = dropped_objects(event)
    except UnknownNotification as unknown:
        objects = list(unknown.known)
        failures.append(unknown)
    for dropped in objects:
        try:
            executions = import_dropped(place, dropped)
        except Exception as error:  # noqa: BLE001  raised below: one object must not keep the others waiting
            failed(logger, dropped)
            failures.append(error)
            continue
        done += [{"id": e.id, "status": e.status.value, "phase": e.phase.value} for e in executions]
    if failures:
        raise failures[0]  # the log has each object's; what was not understood comes first, so that it is told too
    return {"executions": done}


@discreet(logger)
@metrics.log_metrics
def part_handler(event: dict[str, Value], context: LambdaContext) -> dict[str, list[dict[str, str]]]:
    """A message of the part queue: go on with one part of one execution.

    One message a batch (BatchSize 1): what it raises is that message's alone. Without a queue behind it, the event may
    be a task itself: that is what a person invokes it with.

    Returns:
        For a person invoking by hand: the execution's id, status and phase.
    Raises:
        Unavailable, UnknownTask, or whatever a bug raises. SQS delivers the message again when its visibility time-out
        is over, five times in all, then moves it to the dead-letter queue; the sweep mostly comes sooner.
    """
    place = _workplaces()(context.get_remaining_time_in_millis)
    done: list[dict[str, str]] = []
    for body in _bodies(event):
        if (execution_id := undo_of(body)) is not None:
            done.append({"id": execution_id, "undo": _undone(place, execution_id, context)})
            continue
        execution = work_on(place, task_of(body))
        done.append({"id": execution.id, "status": execution.status.value, "phase": execution.phase.value})
    return {"executions": done}


def _undone(place: Workplace, execution_id: str, context: LambdaContext) -> str:
    from importer.doors import undoing  # few invocations have to import it

    remaining_ms = context.get_remaining_time_in_millis
    return undoing.work_on(undo_place_maker(Settings.of())(place, remaining_ms), execution_id)


def _bodies(event: dict[str, Value]) -> list[str]:
    records = event.get("Records")
    if not isinstance(records, list):
        return [orjson.dumps(event).decode()]
    return [str(record.get("body")) if isinstance(record, dict) else "" for record in records]


@discreet(logger)
@metrics.log_metrics
def api_handler(event: dict[str, Value], context: LambdaContext) -> dict[str, Value]:
    """A request of API Gateway's HTTP API, payload format 2.0: docs/http.md.

    Returns:
        The answer as API Gateway takes it; 5xx, too, are answers, and in the log.
    """
    doorways, api = _front()
    return api.answer(event, context, doorways(context.get_remaining_time_in_millis))


@cache
def _front() -> "tuple[Callable[[Callable[[], int]], Doorway], Api]":
    from importer.doors.api import Api  # with what routes requests: nothing the other functions need

    return doorway_maker(Settings.of(), logger, metrics), Api(lambda trouble: not_served(logger, trouble))


@discreet(logger)
@metrics.log_metrics
def fetch_handler(event: dict[str, Value], context: LambdaContext) -> dict[str, list[dict[str, Value]]]:
    """A message of the fetch queue: go on with one import by URI. The event may be such a message itself.

    One message a batch (BatchSize 1): what it raises is that message's alone.

    Returns:
        For a person invoking by hand: the fetch's id, status and how many bytes have come.
    Raises:
        Unavailable, UnknownFetch, or whatever a bug raises. SQS delivers the message again when its visibility time-out
        is over, five times in all, then moves it to the dead-letter queue.
    """
    from importer.aws.fetches import fetch_id_of  # no other function has to import it
    from importer.doors.fetching import fetch_on

    place = _fetch_places()(context.get_remaining_time_in_millis)
    done: list[dict[str, Value]] = []
    for body in _bodies(event):
        fetch = fetch_on(place, fetch_id_of(body))
        done.append({"id": fetch.id, "status": fetch.status.value, "fetched_bytes": fetch.next_offset})
    return {"fetches": done}


@cache
def _fetch_places() -> "Callable[[Callable[[], int]], FetchPlace]":
    return fetch_place_maker(Settings.of(), logger, metrics)


@discreet(logger)
@metrics.log_metrics
def sweep_handler(event: dict[str, Value], context: LambdaContext) -> dict[str, int]:
    """`{"sweep": "unfinished"}`, every 5 minutes: whatever nobody gets on with is sent on.

    `{"sweep": "waiting"}`, every 15 minutes: files in imports/ that nobody told of are taken up; the age of the oldest
    is told as a metric.

    `{"sweep": "expected"}`, every 15 minutes: series of files that did not come at their usual rhythm, or came thin,
    are told of.

    Raises:
        Unavailable, or whatever a bug raises: then there are no metrics, and the alarm on them rings.
        Misconfigured: another event.
    """
    place = _workplaces()(context.get_remaining_time_in_millis)
    match event.get("sweep"):
        case "unfinished":
            try:
                swept = sweep_unfinished(place)
            finally:  # what is wrong with an execution, every five minutes anew, is nothing to the fetches (I8)
                try:
                    _sweep_fetches(context)
                finally:
                    _sweep_undoings(place)
            return {"unfinished": swept.unfinished, "sent_on": swept.sent_on, "failed": swept.failed}
        case "waiting":
            waiting = sweep_waiting(place, Settings.of().bucket)
            return {"waiting_files": waiting.files, "oldest_waiting_seconds": waiting.oldest_seconds}
        case "expected":
            from importer.doors.expecting import look_for_expected  # here: the other functions need none of it

            looked = look_for_expected(place, series_table(Settings.of()), PowertoolsTelemetry(logger, metrics))
            return {"missing": looked.missing, "thin": looked.thin, "complete": int(looked.complete)}
        case other:
            raise Misconfigured(f'the event says "sweep": {other!r}; it must be "unfinished", "waiting" or "expected"')


def _sweep_undoings(place: Workplace) -> None:
    """An undoing that a worker was asked for, and nobody is at: its message is sent again."""
    books, queue = place.records, place.dispatch
    assert isinstance(books, ImportsTable)
    assert isinstance(queue, PartQueue)
    execution_id = books.idle_turn(place.clock.now_ms())
    asked = books.asked_undo(execution_id) if execution_id else None
    if asked is not None and not asked["refused"]:  # else a person's own command is at it, or a person has to decide
        queue.send_undo(execution_id)


def _sweep_fetches(context: LambdaContext) -> None:
    if not Settings.of().fetch_queue_url:
        return
    from importer.doors.fetching import SWEPT_AFTER_MS, sweep_fetches

    sweep_fetches(_fetch_places()(context.get_remaining_time_in_millis), SWEPT_AFTER_MS)


@discreet(logger)
@metrics.log_metrics
def schedule_handler(event: dict[str, Value], context: LambdaContext) -> dict[str, Value]:
    """`{"recurring": "all", "slot": …}`, as the schedule says it: each recurring import gets an invocation of its own,
    so that none waits for another, and none is stopped by what is wrong with another.

    `{"import_id": …, "slot": …}`: one run of one import. Without a slot a person has asked for it.
    `{"check": <import id>, "files": [[key, version id], …]}`: whether this function may do what a run does; nothing is
    changed. The files are those a person sees in the folder, and need not be given.

    Returns:
        For a person invoking by hand: what was sent, done or found.
    Raises:
        Unavailable, Misconfigured, or whatever a bug raises, when all others have had their turn. Lambda invokes again.
    """
    from importer.doors import recurring  # only this function needs it

    place = _workplaces()(context.get_remaining_time_in_millis)
    match event:
        case {"check": str(import_id)}:
            seen = _files(event.get("files"))
            function = context.function_name
            return {"check": import_id, "missing": recurring.missing(place, Settings.of(), import_id, function, seen)}
        case {"import_id": str(import_id)}:
            slot_ms = _slot_ms(event.get("slot"))
            ran = recurring.run(place, import_id, slot_ms)
            if slot_ms is not None and ran.why_denied is not None:
                raise ran.why_denied  # the log has each file's
            return ran.document()
        case {"recurring": "all"}:
            return _sent(place, recurring.due(place.records), context.function_name, str(event.get("slot", "")))
    raise Misconfigured('the event must say "recurring": "all", "import_id": ID or "check": ID')


def _files(told: Value) -> list[S3Object]:
    files = [one for one in told if isinstance(one, list) and len(one) == 2] if isinstance(told, list) else []
    bucket = Settings.of().bucket
    return [S3Object(bucket, str(key), None if version is None else str(version), "", 0, 0) for key, version in files]


def _slot_ms(slot: Value) -> int | None:
    """Raises Misconfigured. An emulator that does not fill in the time of the schedule leaves its name: it has none."""
    if slot is None or slot == "" or str(slot).startswith("<aws.scheduler."):
        return None
    try:
        return int(datetime.fromisoformat(str(slot)).timestamp() * 1000)
    except ValueError:
        raise Misconfigured(
            f'the event says "slot": {slot!r}; it must be a time such as 2026-11-26T20:00:00Z'
        ) from None


def _sent(place: Workplace, due: "recurring.Due", function: str, slot: str) -> dict[str, Value]:
    client = clients.functions()
    failures: list[Exception] = list(due.broken)
    for problem in due.broken:
        place.telemetry.run_failed("a definition", problem)
    sent: list[Value] = []
    for import_id in due.import_ids:
        try:
            send_run(client, function, import_id, slot)
        except Unavailable as trouble:
            place.telemetry.run_failed(import_id, trouble)
            failures.append(trouble)
        else:
            sent.append(import_id)
    if failures:
        raise failures[0]
    return {"sent": sent}


@discreet(logger)
@metrics.log_metrics
def preview_handler(event: dict[str, Value], context: LambdaContext) -> dict[str, list[str]]:
    """S3 says what was dropped under previews/: write down what an import would do with it, and nothing else.

    Returns:
        For a person invoking by hand: the keys of the pages.
    Raises:
        Unavailable, UnknownNotification, or whatever a bug raises, when every object has had its turn. Lambda delivers
        again, then sends the event to the dead-letter queue.
    """
    from importer.doors.dropped_previews import preview_dropped  # here: the other functions need none of it

    place = _preview_places()(context.get_remaining_time_in_millis)
    pages: list[str] = []
    failures: list[Exception] = []
    try:
        objects = dropped_objects(event, PREVIEWS_PREFIX)
    except UnknownNotification as unknown:
        objects = list(unknown.known)
        failures.append(unknown)
    for dropped in objects:
        try:
            looked = preview_dropped(place, dropped)
        except Exception as error:  # noqa: BLE001  raised below: one object must not keep the others waiting
            failed(logger, dropped)
            failures.append(error)
            continue
        previewed(logger, looked.source, looked.found, looked.result_key)
        pages.append(f"{looked.result_key}.html")
    if failures:
        raise failures[0]
    return {"pages": pages}


@discreet(logger)
@metrics.log_metrics
def notify_handler(event: dict[str, Value], context: LambdaContext) -> dict[str, Value]:
    """The imports table's stream has told that an execution was closed: tell of it. Or a person, with a dead letter.
    Or SNS: an alarm rings, or rings no more: explain it to people.

    One record of the stream a batch (BatchSize 1): what it raises is that record's alone.

    Returns:
        For a person invoking by hand: how many were told; of alarms what was told.
    Raises:
        Unavailable: Lambda invokes again; for a closing in the order of the stream, for up to 24 hours, for an alarm
            twice, after which it is a dead letter.
        Misconfigured: another event.
    """
    # No other function has to import them.
    from importer.aws.events import closings
    from importer.doors.explaining import notes_in

    if notes := notes_in(event):
        return {"messages": list[Value](_explainer().tell(notes))}
    told = [_herald().tell(closing) for closing in closings(event)]
    return {"told": sum(told), "dead_letters": len(told) - sum(told)}
