"""The ports of `executions` filled with the real things. Made once per execution environment, on its first event."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING, Final

from aws_lambda_powertools import Logger, Metrics

from importer.aws import clients
from importer.aws.clock import SystemClock
from importer.aws.dispatch import PartQueue
from importer.aws.metering import metered, metered_transport
from importer.aws.objects import S3Objects
from importer.aws.settings import Settings
from importer.aws.tables import ImportsTable
from importer.aws.transport import Transport
from importer.costs import Meter
from importer.executions import Workplace
from importer.model import Clock, Provenance, Unavailable
from importer.sinks import SINKS, Sink, unhurried
from importer.sinks.dynamodb import DynamoDBSink
from importer.sinks.firehose import FirehoseSink
from importer.sinks.in_turn import InTurn
from importer.sinks.pace import Rate
from importer.telemetry import PowertoolsTelemetry

if TYPE_CHECKING:
    from importer.aws.series import SeriesTable
    from importer.doors.dropped_previews import PreviewPlace
    from importer.doors.explaining import Explainer
    from importer.doors.fetching import FetchPlace
    from importer.doors.ports import Doorway
    from importer.doors.telling import Herald
    from importer.doors.undoing import UndoPlace
    from importer.doors.uri_imports import UriDoor

IN_FLIGHT: Final = 8  # calls by the clients, each in a thread of its own
# Measured: with 5 ms of latency a ring of 8 writes 35,000 events a second, one of 32 three times that.
QUICK_IN_FLIGHT: Final = 32
STREAM_IN_FLIGHT: Final = 4  # calls of 3 MB. Measured: with latency they fill nine tenths of a link of 90 MB/s
# A crash makes at most this much work to be done again; each progress write costs a conditional write.
PROGRESS_EVERY_MS: Final = 5_000


def workplace_maker(settings: Settings, logger: Logger, metrics: Metrics) -> Callable[[Callable[[], int]], Workplace]:
    """A function that gives the workplace for one invocation: `remaining_ms` is its time left."""
    return maker(
        settings, PowertoolsTelemetry(logger, metrics), SystemClock(), IN_FLIGHT, PROGRESS_EVERY_MS, QUICK_IN_FLIGHT
    )


def doorway_maker(settings: Settings, logger: Logger, metrics: Metrics) -> Callable[[Callable[[], int]], "Doorway"]:
    """As `workplace_maker`, for the HTTP door. What only it needs is imported here, out of the others' cold start."""
    from importer.aws.posting import Forms
    from importer.aws.secrets import Secrets
    from importer.doors.ports import Doorway

    workplaces = workplace_maker(settings, logger, metrics)
    forms = Forms(clients.signer)
    secrets = Secrets(clients.parameters, SystemClock())
    uris = uri_door(settings)
    undo_places = undo_place_maker(settings)

    def kept_token(token_id: str) -> str | None:
        return secrets.text(f"{settings.tokens_path}/{token_id}") if settings.tokens_path else None

    def doorway(remaining_ms: Callable[[], int]) -> Doorway:
        work = workplaces(remaining_ms)
        books, bodies = work.records, work.objects
        assert isinstance(books, ImportsTable)  # the ports of `executions` say less than these can do
        assert isinstance(bodies, S3Objects)
        return Doorway(
            work=work,
            books=books,
            bodies=bodies,
            bucket=settings.bucket,
            datamart_id=settings.datamart_id,
            organisation_id=settings.organisation_id,
            datafarm_key=settings.region,
            has_stream=bool(settings.delivery_stream),
            kept_token=kept_token,
            forms=forms,
            upload_bytes=settings.upload_bytes,
            uris=uris,
            undoing=lambda: undo_places(work, remaining_ms),
        )

    return doorway


def undo_place_maker(settings: Settings) -> "Callable[[Workplace, Callable[[], int]], UndoPlace]":
    """A function that gives the place of undoings for one invocation, beside its workplace."""

    def place(work: Workplace, remaining_ms: Callable[[], int]) -> "UndoPlace":
        # Imported here: few invocations have to, and SQLite is some of a cold start.
        import tempfile
        from pathlib import Path

        from importer.aws.stored import StoredTables
        from importer.aws.undoing import UndoneTables
        from importer.doors.undoing import UndoPlace
        from importer.ledger.undo import Desk

        assert isinstance(work.records, ImportsTable)  # the ports of `executions` say less than these can do
        assert isinstance(work.dispatch, PartQueue)
        names, clock = (settings.events_table, settings.users_table), work.clock
        desk = Desk(
            objects=work.objects,
            records=work.records,
            stored=StoredTables(clients.records(), *names, settings.imports_table, clock),
            marks=work.records,
            tables=UndoneTables(clients.sinks(), *names, clock),
            clock=clock,
            file=Path(tempfile.gettempdir()) / "undo.sqlite",
        )
        return UndoPlace(desk, work.records, work.dispatch, remaining_ms, work.objects)

    return place


def fetch_place_maker(
    settings: Settings, logger: Logger, metrics: Metrics
) -> Callable[[Callable[[], int]], "FetchPlace"]:
    """As `workplace_maker`, for import by URI. What only it needs is imported here, out of the others' cold start."""
    return fetch_maker(settings, PowertoolsTelemetry(logger, metrics), SystemClock())


def fetch_maker(
    settings: Settings, telemetry: PowertoolsTelemetry, clock: Clock
) -> Callable[[Callable[[], int]], "FetchPlace"]:
    """As `fetch_place_maker`, with the clock and telemetry a test wants."""
    import time

    from importer.aws.fetches import FetchesTable, FetchQueue, Landing
    from importer.aws.sources import ForeignBuckets, made_by_botocore
    from importer.doors.addresses import AllowedHosts, HttpSource
    from importer.doors.fetching import FetchPlace
    from importer.doors.requested import opener
    from importer.doors.wire import HttpBody, Wire

    wire = Wire(AllowedHosts.of(settings.uri_allowed_hosts), settings.uri_most_bytes)
    buckets = ForeignBuckets(made_by_botocore(), settings.uri_credentials, clock, settings.uri_most_bytes)
    client = clients.s3()
    landing = Landing(client, S3Objects(client, clock), settings.bucket)
    records = FetchesTable(clients.records(), settings.imports_table, settings.execution_days)
    queue = FetchQueue(clients.queues, settings.fetch_queue_url)

    def web(source: HttpSource, offset: int, validator: str, time_ms: int) -> HttpBody:
        return wire.opened(source, offset, validator, time.monotonic() + time_ms / 1000)

    opened = opener(web, buckets)

    def place(remaining_ms: Callable[[], int]) -> FetchPlace:
        return FetchPlace(
            records=records,
            landing=landing,
            opened=opened,
            queue=queue,
            clock=clock,
            telemetry=telemetry,
            remaining_ms=remaining_ms,
            most_bytes=settings.uri_most_bytes,
            most_ms=settings.uri_most_ms,
        )

    return place


def uri_door(settings: Settings) -> "UriDoor | None":
    """What the HTTP door needs to ask for fetches; None where there is no queue of them."""
    from importer.aws.fetches import FetchesTable, FetchQueue
    from importer.doors.addresses import AllowedHosts
    from importer.doors.uri_imports import UriDoor

    if not settings.fetch_queue_url:
        return None
    return UriDoor(
        FetchesTable(clients.records(), settings.imports_table, settings.execution_days),
        FetchQueue(clients.queues, settings.fetch_queue_url),
        AllowedHosts.of(settings.uri_allowed_hosts),
    )


def preview_maker(settings: Settings, clock: Clock | None = None) -> "Callable[[Callable[[], int]], PreviewPlace]":
    """A function that gives the place of previews for one invocation: `remaining_ms` is its time left."""
    from importer.aws.sampling import StoreSample  # here, since the functions that import files need none of it
    from importer.doors.dropped_previews import PreviewPlace

    clock = clock or SystemClock()
    objects = S3Objects(clients.s3(), clock)
    tables = clients.records()  # patient ones: a preview reads
    records = ImportsTable(tables, settings.imports_table)
    sample = StoreSample(tables, settings.events_table, settings.users_table, clock)

    def place(remaining_ms: Callable[[], int]) -> PreviewPlace:
        return PreviewPlace(
            objects=objects,
            definition=records.definition,
            known=sample.known,
            sinks=settings.sinks,
            part_bytes=settings.part_bytes,
            writes_per_second=settings.writes_per_second,
            store=f"the tables {settings.events_table} and {settings.users_table}",
            clock=clock,
            remaining_ms=remaining_ms,
        )

    return place


def series_table(settings: Settings) -> "SeriesTable":
    """What is remembered of series of files."""
    from importer.aws.series import SeriesTable  # only one sweep needs it

    return SeriesTable(clients.records(), settings.imports_table)


def herald(settings: Settings, logger: Logger, metrics: Metrics) -> "Herald":
    """Who tells of executions that have ended."""
    return herald_of(settings, PowertoolsTelemetry(logger, metrics), SystemClock())


def herald_of(settings: Settings, telemetry: PowertoolsTelemetry, clock: Clock) -> "Herald":
    """As `herald`, with the clock and telemetry a test wants."""
    # Imported here: no other function has to.
    from importer.aws.events import Bus, Letters, Topic
    from importer.doors.telling import Herald

    return Herald(
        S3Objects(clients.s3(), clock),
        Bus(clients.events, settings.notice_bus) if settings.notice_bus else None,
        Topic(clients.topics, settings.notice_topic) if settings.notice_topic else None,
        Letters(clients.queues, settings.dead_letter_queue_url),
        clock,
        telemetry,
    )


def explainer(settings: Settings, logger: Logger, metrics: Metrics) -> "Explainer":
    """Who explains alarms."""
    return explainer_of(settings, PowertoolsTelemetry(logger, metrics), SystemClock())


def explainer_of(settings: Settings, telemetry: PowertoolsTelemetry, clock: Clock) -> "Explainer":
    """As `explainer`, with the clock and telemetry a test wants."""
    # Imported here: no other function has to.
    from importer.aws.events import Topic
    from importer.aws.looking import AlarmTable, Logs, Papers, Peek
    from importer.aws.series import SeriesTable
    from importer.doors.expecting import unusual
    from importer.doors.explaining import Explainer, Looking
    from importer.doors.explanations import Here
    from importer.executions import files_waiting
    from importer.executions.ports import Found
    from importer.executions.waiting import RESERVE_MS
    from importer.model import S3Object

    table = AlarmTable(clients.prompt_records(), settings.imports_table)
    objects = S3Objects(clients.prompt_s3(), clock)
    workplaces = cache(lambda: maker(settings, telemetry, clock, 1, PROGRESS_EVERY_MS))

    def walk_waiting(remaining_ms: Callable[[], int], each: Callable[[S3Object, Found], None]) -> object:
        # The sweep's own eyes, with clients that do not wait: what they see is what rang.
        place = replace(workplaces()(lambda: remaining_ms() + RESERVE_MS), records=table, objects=objects)
        return files_waiting(place, settings.bucket, each)

    options = f" --stack {settings.stack}" if settings.stack and not settings.is_twin else ""
    return Explainer(
        Looking(
            table,
            Papers(clients.prompt_s3),
            Logs(clients.logs, settings.stack),
            Peek(clients.prompt_queues, settings.dead_letter_queue_url),
            walk_waiting,
            partial(unusual, SeriesTable(clients.prompt_records(), settings.imports_table)),
            clock,
        ),
        Topic(clients.topics, settings.alarm_topic) if settings.alarm_topic else None,
        settings.alarm_topic,
        Here(settings.stack, settings.bucket, options),
        telemetry,
    )


def maker(
    settings: Settings,
    telemetry: PowertoolsTelemetry,
    clock: Clock,
    in_flight: int,
    progress_every_ms: int,
    quick_in_flight: int = 1,
) -> Callable[[Callable[[], int]], Workplace]:
    """As `workplace_maker`, with the clock, telemetry and pace a test wants."""
    meter, events_table = Meter(), settings.events_table
    objects = S3Objects(
        metered(clients.s3(), meter), clock, lambda: metered(clients.copies(), meter), in_flight, clients.signer
    )
    of_priority = {"HIGH": settings.high_part_queue_url, "LOW": settings.low_part_queue_url}
    dispatch = PartQueue(lambda: metered(clients.queues(), meter), settings.part_queue_url, clock, of_priority)
    records = ImportsTable(metered(clients.records(), meter), settings.imports_table, settings.execution_days)
    # Every other client is made when it is first needed.
    table_client = cache(lambda: metered(clients.sinks(), meter, events_table))
    stream_client = cache(lambda: metered(clients.stream(), meter, events_table))
    table_transport = cache(
        lambda: metered_transport(Transport.of(table_client(), quick_in_flight), meter, events_table)
    )
    stream_in_flight = min(in_flight, STREAM_IN_FLIGHT)
    stream_transport = cache(
        lambda: metered_transport(Transport.of(stream_client(), stream_in_flight), meter, events_table)
    )
    rate = Rate(clock, settings.writes_per_second)  # of this worker, whatever it imports

    def uploaded_ms(execution_id: str) -> int | None:
        execution = records.execution(execution_id)
        return None if execution is None else execution.upload.uploaded_ms

    def dynamodb(source: Provenance, meanwhile: Callable[[], None]) -> Sink:
        names = settings.events_table, settings.users_table
        transport = table_transport()
        return DynamoDBSink(table_client(), *names, source, clock, in_flight, uploaded_ms, rate, transport, meanwhile)

    def firehose(source: Provenance, meanwhile: Callable[[], None]) -> Sink:
        if not settings.delivery_stream:
            raise Unavailable(
                f"execution {source.execution_id} began with sink firehose, which is not set up any more: "
                "deploy with Sinks=both until it has ended"
            )
        gzip = settings.stream_gzip
        stream, transport = settings.delivery_stream, stream_transport()
        return FirehoseSink(stream_client(), stream, source, clock, stream_in_flight, gzip, transport, meanwhile)

    openers = {"dynamodb": dynamodb, "firehose": firehose}

    def open_sink(source: Provenance, names: tuple[str, ...], meanwhile: Callable[[], None] = unhurried) -> Sink:
        unknown = [name for name in names if name not in openers]
        if unknown:
            raise Unavailable(f"execution {source.execution_id} began with sink {unknown[0]}, unknown to this version")
        return InTurn([openers[name](source, meanwhile) for name in SINKS if name in names])

    def workplace(remaining_ms: Callable[[], int]) -> Workplace:
        meter.begin(clock.now_ms(), settings.memory_mb)
        return Workplace(
            objects=objects,
            records=records,
            open_sink=open_sink,
            sinks=settings.sinks,
            clock=clock,
            telemetry=telemetry,
            remaining_ms=remaining_ms,
            progress_every_ms=progress_every_ms,
            dispatch=dispatch,
            part_bytes=settings.part_bytes,
            hop_ms=settings.hop_seconds * 1000,
            meter=meter,
            own_bucket=settings.bucket,
        )

    return workplace
