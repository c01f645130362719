"""Imports point one way, and the pure rooms stay pure: read from the source, whatever is imported at run time.

app, cli → assembly → doors, ledger → executions → sinks, aws, batches → layouts → formats, rows, csv_rows, lines,
parts, compression → exact_json → fields → bad_rows, definitions → model
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"

# From the top down. A module imports from its own room, from floors below its own and from its neighbours on the floor.
# A room is a folder or a file; one beside the path above stands on the lowest floor its own imports allow.
FLOORS = [
    {"app", "cli", "artefact"},  # the last builds what is deployed, and is not
    {"importer", "assembly"},
    {"doors", "ledger"},
    {"executions", "preview", "preview_page", "forecast", "telemetry"},
    {"sinks", "aws"},
    {"repairs"},
    {"batches"},
    {"layouts", "recognition"},
    {"formats", "rows", "csv_rows", "plain_rows", "lines", "parts", "compression", "receipts", "diagnosis"},
    {"exact_json"},
    {"fields", "users", "row_paths", "rhythm"},
    {"words", "series"},
    {"bad_rows", "definitions", "fetches", "notification", "documents", "sha256", "costs", "known", "masking"},
    {"model", "prices"},
]
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
AWS_ROOMS = {"aws", "sinks", "cli"}  # botocore lives here and nowhere else
IMPURE_ROOMS = {"app", "artefact", "cli", "assembly", "importer", "doors", "ledger", "telemetry", "aws"}
# Sinks and executions have effects through ports; neither looks at a clock or at the environment by itself.
FORBIDDEN_MODULES = {"logging", "time", "requests", "urllib3", "socket", "subprocess", "aws_lambda_powertools"}
FORBIDDEN_CALLS = {"os.environ", "os.getenv", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
CONSOLE_AND_FILES = ("print", "input", "open")


@dataclass(frozen=True)
class Import:
    """One import statement's target, where it stands, and whether only the type checker sees it."""

    file: str
    room: str
    line: int
    module: str
    for_types_only: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def room_of(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    if parts[0] == "cli":
        return "cli"
    if parts[1:2] == ("importer",):
        return "importer" if parts[2] == "__init__" else parts[2]
    return parts[1]


def modules() -> list[Path]:
    return [path for path in sorted(SRC.rglob("*.py")) if "egg-info" not in str(path)]


def type_checking_lines(tree: ast.Module) -> set[int]:
    lines: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for inner in node.body:
                lines.update(range(inner.lineno, (inner.end_lineno or inner.lineno) + 1))
    return lines


@cache
def imports_of(path: Path) -> tuple[Import, ...]:
    return tuple(_imports_of(path))


def _imports_of(path: Path) -> Iterator[Import]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    hidden = type_checking_lines(tree)
    where = str(path.relative_to(SRC.parent))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{where}:{node.lineno} imports relatively: write the whole name"
            whole = node.module or ""
            # `from importer import fields` is an import of importer.fields
            found = [f"{whole}.{alias.name}" for alias in node.names] if whole in ("importer", "cli") else [whole]
        else:
            continue
        for module in found:
            yield Import(where, room_of(path), node.lineno, module, node.lineno in hidden)


def all_imports() -> list[Import]:
    return [found for path in modules() for found in imports_of(path)]


def target_room(module: str) -> str | None:
    """The room of ours a module name lies in; None for what is not ours."""
    parts = module.split(".")
    if parts[0] in ("app", "cli"):
        return parts[0]
    if parts[0] != "importer":
        return None
    return parts[1] if len(parts) > 1 else "importer"


def test_every_room_has_a_floor():
    """A new room says where it stands before it is built on."""
    unplaced = sorted(
        {f"{room_of(path)} ({path.relative_to(SRC)})" for path in modules() if room_of(path) not in FLOOR}
    )
    assert not unplaced, f"give each of these a floor in {Path(__file__).name}: {', '.join(unplaced)}"


def test_imports_point_downward():
    """One way only, so that every room can be read and tested with those below it and without those above."""
    wrong = []
    for found in all_imports():
        target = target_room(found.module)
        if target is None or target == found.room or found.room not in FLOOR:
            continue
        if target not in FLOOR:
            wrong.append(f"{found}: no room of that name has a floor")
        elif FLOOR[found.room] > FLOOR[target]:
            wrong.append(f"{found}: {found.room} lies below {target}, so it must not know it")
    assert not wrong, "\n".join(wrong)


def test_aws_does_not_import_executions():
    """It fills the ports they declare by their shape alone, so that neither has to choose the other."""
    wrong = [str(found) for found in all_imports() if found.room == "aws" and target_room(found.module) == "executions"]
    assert not wrong, "\n".join(wrong)


def test_botocore_is_imported_by_aws_sinks_and_cli_only():
    """Everywhere else AWS is a port or a value."""
    wrong = [
        f"{found}: only {', '.join(sorted(AWS_ROOMS))} may"
        for found in all_imports()
        if found.module.split(".")[0] in ("boto3", "botocore", "s3transfer", "mypy_boto3_dynamodb", "mypy_boto3_s3")
        and found.room not in AWS_ROOMS
        and not found.for_types_only
    ]
    assert not wrong, "\n".join(wrong)


def test_boto3_is_imported_by_cli_only():
    """What is deployed makes its clients by botocore: docs/decisions/0029."""
    wrong = [
        str(found)
        for found in all_imports()
        if found.module.split(".")[0] in ("boto3", "s3transfer") and found.room != "cli" and not found.for_types_only
    ]
    assert not wrong, "\n".join(wrong)


def test_what_is_deployed_does_not_import_the_command_line():
    """src/cli never leaves a person's machine."""
    wrong = [str(found) for found in all_imports() if found.room != "cli" and target_room(found.module) == "cli"]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SRC)))
def test_pure_rooms_have_no_environment_clock_or_logging(path: Path):
    """`now` is a value and settings are handed in: the same bytes give the same batches for ever."""
    if room_of(path) in IMPURE_ROOMS:
        return
    where = path.relative_to(SRC.parent)
    wrong = [
        f"{found}: a room without effects needs none of it"
        for found in imports_of(path)
        if found.module.split(".")[0] in FORBIDDEN_MODULES
    ]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            named = ".".join(ast.unparse(node).split(".")[-2:])
            if named in FORBIDDEN_CALLS:
                wrong.append(f"{where}:{node.lineno} uses {named}: take it as an argument")
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("print", "input", "open")
        ):
            wrong.append(
                f"{where}:{node.lineno} calls {node.func.id}(): a room without effects has no console and no files"
            )
    assert not wrong, "\n".join(wrong)
