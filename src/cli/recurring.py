"""`importer recurring`: look whether a recurring import is set up right, and run it now.

Both are done by the deployed function, with its own permissions; a person needs `lambda:InvokeFunction` on it.
"""

import re
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from enum import StrEnum
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any, Final

import click
import orjson
from botocore.config import Config
from botocore.exceptions import ReadTimeoutError
from rich.console import Console
from rich.text import Text

from cli import importing, lookup, previewing, show
from cli.connection import CannotReach, Connection, connected, explained
from cli.verbs import DIFFERS, DONE, UNAVAILABLE, json_option, stack_option, timeout_option
from importer.bad_rows import ObjectProblem
from importer.definitions import Definition
from importer.doors.recurring import CHECKED_FILES, folder_of, waiting
from importer.model import Phase, S3Object, Value
from importer.notification import is_import
from importer.preview import Findings, document

FUNCTION: Final = "ScheduleFunction"
COUNTED: Final = 1_000  # of the files that wait; more are "more than"
NAMED: Final = 5
TRIED: Final = 5  # files that are looked at for one an import would take
CHECK_SECONDS: Final = 120
POLL_SECONDS: Final = 0.5


@click.group()
def recurring() -> None:
    """Imports of a series of files, read one after another by the schedule: check the set-up, run one now.

    A definition with a base file name is recurring: files of its folder that are called like it wait for the schedule.

    \b
    Examples:
      importer imports create accounts --base-file-name accounts.json
      aws s3 cp accounts-20240101.json s3://BUCKET/imports/accounts/
      importer recurring check accounts
      importer recurring run accounts
    """


_import_id = click.argument("import_id", metavar="IMPORT")


# ---- check -----------------------------------------------------------------------------------------------------------


class Code(StrEnum):
    """What may be wrong with a recurring import."""

    NOT_LISTED = "not_listed"
    NO_FUNCTION = "no_function"
    PERMISSION_MISSING = "permission_missing"
    NO_FILE = "no_file"
    NO_VALID_FILE = "no_valid_file"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps a recurring import from working, and what to do about it."""

    code: Code
    message: str
    remedy: str


@recurring.command()
@_import_id
@click.option("--rows", default=5, show_default=True, type=click.IntRange(0), help="Rows of the first file to show.")
@stack_option
@json_option
@click.pass_context
def check(ctx: click.Context, import_id: str, rows: int, stack_name: str | None, as_json: bool) -> None:
    """Say whether a recurring import is set up right, and show what it would make of its first file. Writes nothing.

    The deployed function itself is asked whether it may do all that a run does; each permission it lacks is named.
    At least one file of the series must be there that an import would take. Exit code 1: something is wrong.

    \b
    Examples:
      importer recurring check accounts
      importer recurring check accounts --stack s3-event-importer --json | jq .problems
    """
    connection = connected(stack_name)
    definition = _definition(connection, import_id)
    with explained(connection.name):
        stored = connection.imports.stored_definition(import_id)
        turn = connection.imports.turn(import_id)
    problems: list[Problem] = []
    if stored is not None and stored.created_ms is None:
        problems.append(
            Problem(
                Code.NOT_LISTED,
                "the definition was written into the table by hand, and the schedule does not see it",
                f"`importer imports change {import_id} --files-per-run {definition.files_per_run}{connection.command}`",
            )
        )
    with explained(connection.name):
        listed = list(islice(_listed(connection, definition), COUNTED * 10))
        series = list(islice(waiting(connection.imports, _only_imports(listed), definition), COUNTED))
    problems += _permissions(connection, import_id, series)
    first, findings, refused = _first_valid(connection, definition, series, rows)
    example = definition.pattern.replace("*", "-20240101000000")
    if not series:
        problems.append(
            Problem(
                Code.NO_FILE,
                f"no file {definition.pattern} waits in {_uri(connection, definition)}",
                f"drop one there, such as {example}",
            )
        )
    elif first is None:
        problems.append(
            Problem(
                Code.NO_VALID_FILE,
                f"an import would refuse the first {show.many(len(refused), 'file')} of the series: {refused[0]}",
                "mend it and drop it again, or change the definition",
            )
        )
    notes = _notes(definition, listed, series)
    if as_json:
        said: dict[str, Value] = {
            "import_id": import_id,
            "ok": not problems,
            "series": definition.pattern,
            "folder": _uri(connection, definition),
            "files_per_run": definition.files_per_run,
            "run_seconds": definition.run_seconds,
            "problems": [asdict(problem) for problem in problems],
            "notes": list(notes),
            "waiting": [file.key for file in series],
            "last_run_ms": turn.looked_ms or None,
            "first_file": None if first is None else first.key,
            "preview": None if findings is None else document(findings),
        }
        click.echo(show.to_json(said))
        ctx.exit(DIFFERS if problems else DONE)
    out = show.console()
    out.print(Text(f"Recurring import {show.shown_whole(import_id)}", style="bold"))
    show.address(out, "folder", _uri(connection, definition))
    show.label(out, "series", f"{definition.pattern}, in the order of the names' bytes")
    show.label(
        out, "each run", f"{show.many(definition.files_per_run, 'file')}, at most {definition.run_seconds} seconds"
    )
    show.label(out, "last run", show.utc(turn.looked_ms) if turn.looked_ms else "none yet")
    _next_files(out, series)
    for note in notes:
        show.label(out, "note", note)
    if findings is not None and first is not None:
        out.print()
        show.findings(out, first.uri, first.size_bytes, findings, previewing.PREVIEW_BYTES)
    out.print()
    for problem, after in zip_longest(problems, problems[1:]):
        text = Text("✗ ", style="bold red").append(
            f"{problem.code.value}: {show.shown_whole(problem.message)}", style="not bold"
        )
        out.print(text, soft_wrap=True)
        if after is None or after.remedy != problem.remedy:  # what mends several is said once
            show.paragraph(out, f"→ {show.shown_whole(problem.remedy)}")
    if not problems:
        show.paragraph(out, "All is well: the next run reads this file.", "bold green", indent=0)
        show.paragraph(out, f"`importer recurring run {import_id}{connection.command}` runs it now.", indent=0)
    ctx.exit(DIFFERS if problems else DONE)


def _permissions(connection: Connection, import_id: str, series: Sequence[S3Object]) -> list[Problem]:
    if FUNCTION not in connection.stack.functions:
        return [
            Problem(
                Code.NO_FUNCTION,
                f"{connection.name} has no function for runs: it is older than this command",
                "deploy this version with `make build && sam deploy`",
            )
        ]
    event: dict[str, Any] = {
        "check": import_id,
        "files": [[file.key, file.version_id] for file in series[:CHECKED_FILES]],
    }
    return [
        Problem(
            Code.PERMISSION_MISSING,
            f"{missing['permission']} on {missing['resource']} ({missing['answer']})",
            "allow it to the function's role (deploying template.yaml again does), and look for a bucket policy or a "
            "KMS key that denies it",
        )
        for missing in _invoked(connection, event, CHECK_SECONDS)["missing"]
    ]


def _first_valid(
    connection: Connection, definition: Definition, series: Sequence[S3Object], rows: int
) -> tuple[S3Object | None, Findings | None, list[str]]:
    """The first file an import would take and what it would make of it; why those before it would be refused."""
    refused: list[str] = []
    for file in series[:TRIED]:
        try:
            with explained(file.uri):
                findings = previewing.previewed_object(connection.objects, file, definition, rows)
        except ObjectProblem as problem:
            refused.append(f"{_name(definition, file)}: {problem.message}")
            continue
        if findings.problem is None:
            return file, findings, refused
        refused.append(f"{_name(definition, file)}: {findings.problem.message}")
    return None, None, refused


def _notes(definition: Definition, listed: Iterable[S3Object], series: Sequence[S3Object]) -> list[str]:
    """What is no mistake, but may not be what was meant."""
    notes = []
    others = [file for file in _only_imports(listed) if not definition.has_in_series(file.key)]
    if others:
        notes.append(
            f"{show.many(len(others), 'file')} in the folder, such as {_name(definition, others[0])}, "
            f"{'is' if len(others) == 1 else 'are'} not called {definition.pattern}: files of other names are imported "
            "when they are dropped"
        )
    by_number = sorted(series, key=lambda file: _natural(file.key))
    if by_number != list(series):
        later, sooner = next((a, b) for a, b in zip(by_number, series, strict=True) if a != b)
        notes.append(
            f"{_name(definition, sooner)} is read before {_name(definition, later)}: names are compared byte by byte. "
            "Fill numbers up with zeros if that is not meant"
        )
    return notes


def _natural(key: str) -> list[tuple[int, int, str]]:
    """For an order in which 9 comes before 10."""
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in re.split(r"([0-9]+)", key)]


# ---- run -------------------------------------------------------------------------------------------------------------


@recurring.command()
@_import_id
@timeout_option(900.0, "How long to wait for the run to end.")
@click.option("--bad-rows", default=3, show_default=True, type=click.IntRange(0), help="Refused rows of each to show.")
@stack_option
@json_option
@click.pass_context
def run(
    ctx: click.Context, import_id: str, timeout_s: float, bad_rows: int, stack_name: str | None, as_json: bool
) -> None:
    """Run a recurring import now, as the schedule does, and say what it did and which files wait next.

    It takes up as many files, for as long, as its definition says; an import that does not end in that time goes on
    with the next run. Exit codes: 1 rows were refused, 3 a file was refused, 4 a file may not be read, or time ran out.

    \b
    Examples:
      importer recurring run accounts
      importer recurring run accounts --stack s3-event-importer --json | jq .next
    """
    connection = connected(stack_name)
    definition = _definition(connection, import_id)
    with show.Bars(quiet=as_json) as bars, ThreadPoolExecutor(1) as threads:
        done: Future[dict[str, Any]] = threads.submit(_invoked, connection, {"import_id": import_id}, timeout_s)
        _follow(connection, import_id, done, bars)
        ran = done.result()
    outcomes = []
    with explained(connection.name):
        for one in ran["ended"]:
            execution = connection.imports.execution(one["execution_id"])
            if execution is not None:
                path = Path(execution.source.key)
                outcomes.append(importing.outcome_of(connection, path, None, execution, bad_rows))
        series = list(
            islice(waiting(connection.imports, _only_imports(_listed(connection, definition)), definition), COUNTED)
        )
    if as_json:
        said = {
            **ran,
            "ended": [
                {**one, "receipt": outcome.receipt} for one, outcome in zip(ran["ended"], outcomes, strict=False)
            ],
            "next": [file.key for file in series],
        }
        click.echo(show.to_json(said))
    else:
        out = show.console()
        for outcome in outcomes:
            show.outcome(out, outcome)
            out.print()
        if ran["overlapped"]:
            show.paragraph(out, "Another run of this import is at it: this one has left it alone.", "bold", indent=0)
        elif ran["unfinished"] is not None:
            uri, execution_id = ran["unfinished"]["uri"], ran["unfinished"]["execution_id"]
            show.paragraph(
                out, f"{show.shown_whole(uri)} has not ended: it goes on with the next run.", "bold", indent=0
            )
            show.paragraph(
                out, f"`importer status {execution_id}{connection.command}` shows where it stands.", indent=0
            )
        elif not outcomes and not ran["denied"]:
            text = f"No file {definition.pattern} waits in {_uri(connection, definition)}."
            show.paragraph(out, text, "bold", indent=0)
        for uri in ran["denied"]:
            out.print(Text("✗ ", style="bold red").append(f"{show.shown_whole(uri)} may not be read; passed over"))
        if ran["denied"]:
            show.paragraph(out, show.shown_whole(ran["why_denied"]))
        _next_files(out, series)
    codes = [outcome.exit_code for outcome in outcomes]
    ctx.exit(UNAVAILABLE if ran["denied"] else max(codes, default=DONE))


def _follow(connection: Connection, import_id: str, done: "Future[dict[str, Any]]", bars: show.Bars) -> None:
    """Show how the files move while the run lasts. What cannot be asked now is asked again a moment later."""
    moving: dict[str, tuple[show.Bar, importing.Uploaded]] = {}
    waited = threading.Event()
    done.add_done_callback(lambda _: waited.set())
    began_ms = int(time.time() * 1000)
    while not done.done():
        try:
            with explained(connection.name):
                current = connection.imports.turn(import_id).current
                execution = connection.imports.execution(current) if current else None
        except CannotReach:
            execution = None
        if execution is not None and (execution.phase is not Phase.CLOSED or execution.created_ms >= began_ms):
            if execution.id not in moving:
                path = Path(execution.source.key)
                compressed = path.suffix in (".gz", ".zst")
                uploaded = importing.Uploaded(path, execution.source, execution.id, compressed)
                moving[execution.id] = bars.file(path), uploaded
            bar, uploaded = moving[execution.id]
            importing.follow(connection, uploaded, time.monotonic(), lambda now, b=bar, u=uploaded: b.moved(now, u))  # type: ignore[misc]
        waited.wait(POLL_SECONDS)


def _invoked(connection: Connection, event: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """What the function answers.

    Raises:
        CannotReach: it cannot be invoked, or failed; in its words.
    """
    name = connection.stack.functions.get(FUNCTION)
    if name is None:
        raise CannotReach(
            f"{connection.name} has no function for runs: deploy this version with `make build && sam deploy`"
        )
    patient = Config(connect_timeout=5, read_timeout=max(timeout_s, 1), retries={"total_max_attempts": 1})
    with explained(connection.name):
        client: Any = connection.session.client("lambda", endpoint_url=connection.stack.endpoint_url, config=patient)
        try:
            answer = client.invoke(FunctionName=name, Payload=orjson.dumps(event))
        except ReadTimeoutError as error:
            raise CannotReach(
                "the function has not ended within the time given; it goes on. "
                f"`importer status{connection.command}` shows what it is at"
            ) from error
    said = orjson.loads(answer["Payload"].read() or b"null")
    if answer.get("FunctionError") or not isinstance(said, dict):
        words = said.get("errorMessage", "") if isinstance(said, dict) else str(said)
        raise CannotReach(f"function {name}: {words}")
    return said


# ---- Both ------------------------------------------------------------------------------------------------------------


def _definition(connection: Connection, import_id: str) -> Definition:
    """Raises click.UsageError: there is none, or it is not recurring, and how to make it so."""
    definition = lookup.stored_definition(connection, import_id)
    if not definition.is_recurring:
        raise click.UsageError(
            f"import {import_id} is not recurring: its files are imported when they are dropped. "
            f"`importer imports change {import_id} --base-file-name accounts.json{connection.command}` makes it so, "
            "for files accounts*.json"
        )
    return definition


def _listed(connection: Connection, definition: Definition) -> Iterable[S3Object]:
    return connection.objects.versions(connection.stack.bucket, folder_of(definition))


def _only_imports(listed: Iterable[S3Object]) -> Iterable[S3Object]:
    return (file for file in listed if is_import(file.key))


def _next_files(out: Console, series: Sequence[S3Object]) -> None:
    if not series:
        show.label(out, "waiting", "nothing")
        return
    count = f"more than {COUNTED}" if len(series) == COUNTED else str(len(series))
    names = ", ".join(show.shown_whole(file.key.rpartition("/")[2]) for file in series[:NAMED])
    show.label(out, "waiting", f"{count}: {names}{', …' if len(series) > NAMED else ''}")


def _name(definition: Definition, file: S3Object) -> str:
    return file.key.removeprefix(folder_of(definition))


def _uri(connection: Connection, definition: Definition) -> str:
    return f"s3://{connection.stack.bucket}/{folder_of(definition)}"
