"""An installation as `executions` works with it, from a person's machine: for what a person decides (cancel, redrive).

Nothing is imported here, so there are no sinks to write to; telemetry is the command's own output.
"""

from collections.abc import Callable, Mapping
from typing import NoReturn

import orjson

from cli.connection import CannotReach, Connection, explained
from importer.aws.clock import SystemClock
from importer.aws.dispatch import PartQueue
from importer.aws.settings import Settings
from importer.executions import Workplace
from importer.executions.ports import Found, Swept, Waiting
from importer.model import Execution, Misconfigured, PartState, Provenance, S3Object, Unavailable
from importer.notification import Dropped

_TIME_MS = 900_000  # as an invocation has: what does not fit is handed on to the part queue


class _Silent:
    """See `executions.ports.Telemetry`."""

    def delivered(self, dropped: Dropped, execution: Execution) -> None: ...

    def left_to_schedule(self, dropped: Dropped) -> None: ...

    def ran(self, import_id: str, ended: int, waiting: str | None) -> None: ...

    def run_failed(self, what: str, trouble: Exception) -> None: ...

    def waited(self, execution: Execution, renewed: bool) -> None: ...

    def handed_on(self, execution: Execution, part: PartState | None) -> None: ...

    def closed(self, execution: Execution, now_ms: int, refused: Mapping[str, int]) -> None: ...

    def swept(self, bucket: str, waiting: Waiting) -> None: ...

    def swept_unfinished(self, swept: Swept) -> None: ...

    def sent_on(self, execution: Execution) -> None: ...

    def found(self, file: S3Object, found: Found) -> None: ...

    def sweep_failed(self, what: str, trouble: Exception) -> None: ...


def workplace(connection: Connection, settings: Settings | None = None) -> Workplace:
    """Where cancel and redrive work; with the function's settings also where executions begin."""
    clock = SystemClock()
    until_ms = clock.now_ms() + _TIME_MS
    with explained(connection.name):
        sqs = connection.sqs()
    stack = connection.stack
    of_priority = {"HIGH": stack.high_part_queue_url or "", "LOW": stack.low_part_queue_url or ""}
    queue = PartQueue(lambda: sqs, stack.part_queue_url, clock, of_priority)
    return Workplace(
        objects=connection.objects,
        records=connection.imports,
        open_sink=_no_sink,
        sinks=settings.sinks if settings else (),
        clock=clock,
        telemetry=_Silent(),
        remaining_ms=lambda: until_ms - clock.now_ms(),
        progress_every_ms=0,
        dispatch=queue,
        part_bytes=settings.part_bytes if settings else 0,
        hop_ms=settings.hop_seconds * 1000 if settings else 0,
        own_bucket=connection.stack.bucket,
    )


def settings_of(connection: Connection) -> Settings:
    """What the deployed function was told: which sinks new executions write to, and what large files are cut by.

    Raises:
        CannotReach.
    """
    name = connection.stack.functions["ImportFunction"]
    with explained(connection.name):
        answer = connection.functions().get_function_configuration(FunctionName=name)
    try:
        return Settings.of(answer.get("Environment", {}).get("Variables", {}))
    except Misconfigured as problem:
        raise CannotReach(f"function {name}: {problem}") from problem


def teller_of(connection: Connection) -> Callable[[str], bool]:
    """Sends a notice that is a dead letter, by the function that could not; False if it is kept as one again."""

    def tell(letter: str) -> bool:
        name = connection.stack.functions.get("NotifyFunction")
        if name is None:
            raise Unavailable("this stack has no NotifyFunction: deploy this version's template.yaml")
        answer = connection.functions().invoke(FunctionName=name, Payload=letter.encode())
        said = orjson.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise Unavailable(f"function {name}: {said.get('errorMessage', 'it failed')}")
        return bool(said["told"])

    return tell


def _no_sink(source: Provenance, names: tuple[str, ...], meanwhile: Callable[[], None]) -> NoReturn:
    raise AssertionError(f"rows of {source.execution_id} are written by the functions, never from here")
