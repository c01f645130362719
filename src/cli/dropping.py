"""Drop several files at the same time, or have them fetched, and watch their imports; one's trouble is its own."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from cli import fetching, importing, show
from cli.connection import CannotReach, Connection
from importer.bad_rows import ObjectProblem
from importer.definitions import DEFAULT, Definition
from importer.doors.addresses import file_name_of, source_of
from importer.doors.requested import Asked
from importer.executions import mending
from importer.executions.plain_text import HEAD_STORED_BYTES
from importer.fetches import Fetch, Refused
from importer.notification import IMPORTS_PREFIX

AT_ONCE: Final = 16
FILE_REFUSED, UNAVAILABLE = 3, 4


def import_files(
    connection: Connection,
    files: tuple[Path | Asked, ...],
    definition: Definition,
    deadline: float,
    bad_rows: int,
    quiet: bool = False,
    mends: str = "",
) -> list[importing.Outcome]:
    """What became of each file, in the order given. `deadline` is of time.monotonic.

    Args:
        mends: the execution whose bad rows the files here have, mended; "" for none.

    Raises:
        click.UsageError: one of the URIs can be no file's; nothing was imported.
    """
    judged = [_judged(connection, file, definition) if isinstance(file, Asked) else file for file in files]
    folder = IMPORTS_PREFIX if definition is DEFAULT else f"{IMPORTS_PREFIX}{definition.id}/"
    with show.Bars(quiet) as bars, ThreadPoolExecutor(AT_ONCE) as threads:

        def one(path: Path | Fetch | importing.Outcome) -> importing.Outcome:
            if isinstance(path, importing.Outcome):
                return path
            if isinstance(path, Fetch):
                try:
                    return fetching.import_uri(connection, path, definition, deadline, bad_rows, bars)
                except CannotReach as error:
                    name = Path(path.key.rpartition("/")[2])
                    return importing.Outcome(name, trouble=str(error), exit_code=UNAVAILABLE)
            try:
                with path.open("rb") as file:
                    importing.judge(path.name, file.read(HEAD_STORED_BYTES), definition)
                key = f"{folder}{path.name}"
                if definition.has_in_series(key):
                    return _leave_one(connection, path, key, definition, bars, mends)
                return _import_one(connection, path, key, deadline, bad_rows, bars, mends)
            except ObjectProblem as problem:
                return importing.Outcome(path, trouble=problem.message, exit_code=FILE_REFUSED)
            except (CannotReach, OSError) as error:
                return importing.Outcome(path, trouble=str(error), exit_code=UNAVAILABLE)

        return list(threads.map(one, judged))


def _judged(connection: Connection, asked: Asked, definition: Definition) -> Fetch | importing.Outcome:
    """What is to be fetched; or that its import would refuse it."""
    try:
        return fetching.requested(connection, asked, definition)
    except Refused as refused:
        name = Path(file_name_of(source_of(asked.uri)))
        return importing.Outcome(name, trouble=refused.message, exit_code=FILE_REFUSED)


def _leave_one(
    connection: Connection, path: Path, key: str, definition: Definition, bars: show.Bars, mends: str
) -> importing.Outcome:
    """A file of a recurring import: it is uploaded, and imported when it is its turn."""
    bar = bars.file(path)
    size = path.stat().st_size
    uploaded = importing.upload(connection, path, key, lambda count: bar.sent(count, size), mending.metadata_of(mends))
    bar.uploaded(uploaded.source.uri)
    return importing.left_to_runs(connection, path, uploaded, definition, "uploaded")


def _import_one(
    connection: Connection, path: Path, key: str, deadline: float, bad_rows: int, bars: show.Bars, mends: str
) -> importing.Outcome:
    bar = bars.file(path)
    size = path.stat().st_size
    uploaded = importing.upload(connection, path, key, lambda count: bar.sent(count, size), mending.metadata_of(mends))
    bar.uploaded(uploaded.source.uri)
    execution = importing.follow(connection, uploaded, deadline, lambda now: bar.moved(now, uploaded))
    if execution is not None:
        return importing.outcome_of(connection, path, uploaded, execution, bad_rows)
    look = f"importer executions {uploaded.execution_id}{connection.command}"
    return importing.Outcome(
        path,
        uploaded,
        trouble=f"uploaded, but not imported within the time given. The import goes on: look again with `{look}`",
        exit_code=UNAVAILABLE,
    )
