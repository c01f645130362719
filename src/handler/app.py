"""The Lambda entry points. Each takes one kind of event apart and hands its objects to the house."""

import warnings
from collections.abc import Callable
from functools import cache

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.utilities.typing import LambdaContext

from importer.assembly import workplace_maker
from importer.aws.settings import Settings
from importer.executions import Workplace, import_dropped
from importer.model import Unavailable, Value
from importer.notification import dropped_objects

# An invocation that closed no execution has no metrics; that is not worth a line in the log.
warnings.filterwarnings("ignore", "No application metrics to publish*")

logger = Logger()
metrics = Metrics()


@cache
def _workplaces() -> Callable[[Callable[[], int]], Workplace]:
    return workplace_maker(Settings.of(), logger, metrics)


@metrics.log_metrics
def lambda_handler(event: dict[str, Value], context: LambdaContext) -> dict[str, list[dict[str, str]]]:
    """S3 ObjectCreated: import what was dropped.

    Returns:
        For a person invoking by hand: each execution's id, status and phase.
    Raises:
        Unavailable, or whatever a bug raises: Lambda delivers again, then sends the event to the dead-letter queue.
    """
    place = _workplaces()(context.get_remaining_time_in_millis)
    done: list[dict[str, str]] = []
    failure: Unavailable | None = None
    for dropped in dropped_objects(event):
        try:
            executions = import_dropped(place, dropped)
        except Unavailable as error:  # one object must not keep the others of its notification waiting
            logger.exception("deliver again", extra={"bucket": dropped.bucket, "key": dropped.key})
            failure = error
            continue
        done += [{"id": e.id, "status": e.status.value, "phase": e.phase.value} for e in executions]
    if failure is not None:
        raise failure
    return {"executions": done}
