"""The ports of `executions` filled with the real things. Made once per execution environment, on its first event."""

from collections.abc import Callable
from typing import Final

from aws_lambda_powertools import Logger, Metrics

from importer.aws import clients
from importer.aws.clock import SystemClock
from importer.aws.objects import S3Objects
from importer.aws.settings import Settings
from importer.aws.tables import ImportsTable
from importer.executions import Workplace
from importer.model import Clock, Provenance
from importer.sinks import SINKS, Sink
from importer.sinks.dynamodb import DynamoDBSink
from importer.telemetry import PowertoolsTelemetry

IN_FLIGHT: Final = 8
# A crash makes at most this much work to be done again; each progress write costs a conditional write.
PROGRESS_EVERY_MS: Final = 5_000


def workplace_maker(settings: Settings, logger: Logger, metrics: Metrics) -> Callable[[Callable[[], int]], Workplace]:
    """A function that gives the workplace for one invocation: `remaining_ms` is its time left."""
    return maker(settings, PowertoolsTelemetry(logger, metrics), SystemClock(), IN_FLIGHT, PROGRESS_EVERY_MS)


def maker(
    settings: Settings, telemetry: PowertoolsTelemetry, clock: Clock, in_flight: int, progress_every_ms: int
) -> Callable[[Callable[[], int]], Workplace]:
    """As `workplace_maker`, with the clock, telemetry and pace a test wants."""
    objects = S3Objects(clients.s3(), clock, clients.copies())
    records = ImportsTable(clients.records(), settings.imports_table)
    sink_client = clients.sinks()

    def open_sink(source: Provenance) -> Sink:
        return DynamoDBSink(sink_client, settings.events_table, settings.users_table, source, clock, in_flight)

    def workplace(remaining_ms: Callable[[], int]) -> Workplace:
        return Workplace(
            objects=objects,
            records=records,
            open_sink=open_sink,
            limits=tuple(SINKS[name] for name in settings.sinks),
            sinks=settings.sinks,
            clock=clock,
            telemetry=telemetry,
            remaining_ms=remaining_ms,
            progress_every_ms=progress_every_ms,
        )

    return workplace
