"""Every metric and log key this importer emits, with what it means. No row content is ever logged (J8).

Metrics are CloudWatch EMF lines in namespace S3EventImporter, dimension `service`.
"""

from enum import StrEnum

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

from importer.model import Execution, Status
from importer.notification import Dropped


class Metric(StrEnum):
    """Name of a metric; `MEANING` has its sentence."""

    EXECUTIONS_SUCCEEDED = "ExecutionsSucceeded"
    EXECUTIONS_FAILED = "ExecutionsFailed"
    ROWS_GOOD = "RowsGood"
    ROWS_BAD = "RowsBad"
    EVENTS_WRITTEN = "EventsWritten"
    IMPORT_MILLISECONDS = "ImportMilliseconds"


MEANING: dict[Metric, str] = {
    Metric.EXECUTIONS_SUCCEEDED: "files imported to their end, counted when the source has been moved",
    Metric.EXECUTIONS_FAILED: "files refused as a whole; the source is still in imports/ (alarm)",
    Metric.ROWS_GOOD: "rows now in the store, of files that ended",
    Metric.ROWS_BAD: "rows now in errors/, of files that ended",
    Metric.EVENTS_WRITTEN: "events written to each enabled sink, of files that ended",
    Metric.IMPORT_MILLISECONDS: "from a file's first delivery to its end",
}


class LogKey(StrEnum):
    """Keys of a log line beside Powertools' own."""

    BUCKET = "bucket"
    KEY = "key"
    VERSION_ID = "version_id"
    EXECUTION_ID = "execution_id"
    STATUS = "status"
    PHASE = "phase"
    ERROR_CODE = "error_code"
    GOOD = "good"
    BAD = "bad"
    RECEIPT = "receipt"
    RENEWED = "renewed"


class PowertoolsTelemetry:
    """See `executions.ports.Telemetry`."""

    def __init__(self, logger: Logger, metrics: Metrics) -> None:
        self._log = logger
        self._metrics = metrics

    def delivered(self, dropped: Dropped, execution: Execution) -> None:
        self._log.info("delivery", extra=_of(execution) | {LogKey.VERSION_ID: dropped.version_id})

    def waited(self, execution: Execution, renewed: bool) -> None:
        self._log.info("another worker is at it", extra=_of(execution) | {LogKey.RENEWED: renewed})

    def closed(self, execution: Execution) -> None:
        outcome = execution.outcome
        succeeded = execution.status is Status.SUCCEEDED
        self._metrics.add_metric(
            Metric.EXECUTIONS_SUCCEEDED if succeeded else Metric.EXECUTIONS_FAILED, MetricUnit.Count, 1
        )
        said = _of(execution)
        if execution.error is not None:
            said[LogKey.ERROR_CODE] = execution.error.code
        if outcome is not None:
            sums = outcome.sums
            self._metrics.add_metric(Metric.ROWS_GOOD, MetricUnit.Count, sums.good)
            self._metrics.add_metric(Metric.ROWS_BAD, MetricUnit.Count, sums.bad)
            self._metrics.add_metric(Metric.EVENTS_WRITTEN, MetricUnit.Count, sums.events)
            taken_ms = outcome.end_date - execution.created_ms
            self._metrics.add_metric(Metric.IMPORT_MILLISECONDS, MetricUnit.Milliseconds, taken_ms)
            said |= {LogKey.GOOD: sums.good, LogKey.BAD: sums.bad, LogKey.RECEIPT: outcome.destination.receipt}
        self._log.info("closed", extra=said)


def _of(execution: Execution) -> dict[str, str | int | None]:
    source = execution.source
    return {
        LogKey.BUCKET: source.bucket,
        LogKey.KEY: source.key,
        LogKey.EXECUTION_ID: execution.id,
        LogKey.STATUS: execution.status.value,
        LogKey.PHASE: execution.phase.value,
    }
