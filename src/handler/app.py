"""The Lambda entry points. Each takes one kind of event apart and hands its objects to the house."""

import warnings
from collections.abc import Callable
from functools import cache

from aws_lambda_powertools import Metrics
from aws_lambda_powertools.utilities.typing import LambdaContext

from importer.assembly import workplace_maker
from importer.aws.settings import Settings
from importer.executions import Workplace, files_waiting, import_dropped
from importer.model import Value
from importer.notification import UnknownNotification, dropped_objects
from importer.telemetry import NAMESPACE, discreet, failed, make_logger

# An invocation that closed no execution has no metrics; that is not worth a line in the log.
warnings.filterwarnings("ignore", "No application metrics to publish*")

logger = make_logger()
metrics = Metrics(namespace=NAMESPACE)


@cache
def _workplaces() -> Callable[[Callable[[], int]], Workplace]:
    return workplace_maker(Settings.of(), logger, metrics)


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
def sweep_handler(event: dict[str, Value], context: LambdaContext) -> dict[str, int]:
    """Every 15 minutes: how long has the oldest file under imports/ waited? Told as metrics and a log line.

    Raises:
        Unavailable, or whatever a bug raises: then there are no metrics, and the alarm on them rings.
    """
    place = _workplaces()(context.get_remaining_time_in_millis)
    bucket = Settings.of().bucket
    waiting = files_waiting(place, bucket)
    place.telemetry.swept(bucket, waiting)
    return {"waiting_files": waiting.files, "oldest_waiting_seconds": waiting.oldest_seconds}
