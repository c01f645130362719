"""Which execution a person means: by its id, or by the key of the file or of anything its import wrote."""

import re
from datetime import UTC, datetime
from typing import Any, Final

import click

from cli.connection import Connection, explained
from importer import formats
from importer.definitions import DAY_MS, Definition
from importer.executions.destinations import REASONS_SUFFIX
from importer.executions.starting import execution_id_of
from importer.model import Execution, Misconfigured, S3Object
from importer.notification import IMPORTS_PREFIX, Dropped

_ID: Final = re.compile(r"[0-9a-f]{32}")
# Where a key can stand in an execution's document, by its first folder.
_PLACES: Final = {
    "imports/": "parameters.file_uri",
    "completed_imports/": "result.input_file_uri",
    "errors/": "result.error_file_uri",
    "receipts/": "result.receipt_uri",
}
# Where a replay has keys of its own. Elsewhere it has those of the file it reads, which mean that file's own import.
_OWN: Final = ("parameters.file_uri", "result.error_file_uri", "result.receipt_uri")
_NO_REPLAY: Final = " AND (attribute_not_exists(parent) OR attribute_exists(mends))"
_DAY: Final = re.compile(r"[a-z_]+/(\d{4}/\d\d/\d\d)/")


def execution_of(connection: Connection, name: str, version_id: str | None = None) -> Execution:
    """The execution of that id, or the newest one of that key; `s3://BUCKET/` before it and `imports/` may be left out.

    A name without folders that is no key of imports/ is that of a file in any of its folders.

    Raises:
        click.UsageError: there is none, and what to do.
        CannotReach.
    """
    bucket = connection.stack.bucket
    if name.startswith("s3://"):
        named, _, name = name.removeprefix("s3://").partition("/")
        if named != bucket:
            raise click.UsageError(f"s3://{named} is not the bucket of {connection.name}: that is s3://{bucket}")
    if _ID.fullmatch(name):
        if version_id is not None:
            raise click.UsageError("--version-id is for a key: an execution id means one upload already")
        return execution_by_id(connection, name)
    folder = next((folder for folder in _PLACES if name.startswith(folder)), None)
    if folder is None:
        folder, name = IMPORTS_PREFIX, f"{IMPORTS_PREFIX}{name}"
    if version_id is not None and folder != IMPORTS_PREFIX:
        raise click.UsageError(f"--version-id is for keys under {IMPORTS_PREFIX}")
    with explained(connection.name):
        found = _of_version(connection, name, version_id) if version_id else _newest(connection, folder, name)
        base = name.removeprefix(IMPORTS_PREFIX)
        if found is None and version_id is None and folder == IMPORTS_PREFIX and "/" not in base:
            execution_id = _newest_id(connection, "parameters.input_file_name", base)
            found = connection.imports.execution(execution_id) if execution_id else None
    if found is None:
        version = f", version {version_id}" if version_id else ""
        raise click.UsageError(
            f"no execution of s3://{bucket}/{name}{version} is known in {connection.name}: "
            f"`importer executions{connection.command}` lists what there is{_forgotten(connection)}"
        )
    return found


def is_id(text: str) -> bool:
    """Whether a text is an execution's id, by its look."""
    return _ID.fullmatch(text) is not None


def execution_by_id(connection: Connection, execution_id: str) -> Execution:
    """Raises click.UsageError: there is none, and what to do."""
    with explained(connection.name):
        execution = connection.imports.execution(execution_id)
    if execution is None:
        raise click.UsageError(
            f"there is no execution {execution_id} in {connection.name}: "
            f"`importer executions{connection.command}` lists what there is{_forgotten(connection)}"
        )
    return execution


def _forgotten(connection: Connection) -> str:
    days = connection.stack.execution_retention_days
    return (
        f". Imports that SUCCEEDED are forgotten {days} days after their end (ExecutionRetentionDays)" if days else ""
    )


def stored_definition(connection: Connection, import_id: str) -> Definition:
    """The import definition of an id. Raises click.UsageError: there is none, or it is wrong; and what to do."""
    with explained(connection.name):
        stored = connection.imports.definition(import_id)
    if stored is None:
        raise no_definition(connection, import_id)
    try:
        return formats.named(import_id, stored)
    except Misconfigured as problem:
        raise click.UsageError(str(problem)) from None


def no_definition(connection: Connection, import_id: str) -> click.UsageError:
    """What to raise where there is no import definition of that id."""
    return click.UsageError(
        f"there is no import definition {import_id!r} in {connection.name}: "
        f"`importer imports list{connection.command}` lists what there is"
    )


def _of_version(connection: Connection, key: str, version_id: str) -> Execution | None:
    source = S3Object(connection.stack.bucket, key, version_id, "", 0, 0)
    return connection.imports.execution(execution_id_of(source))


def _newest(connection: Connection, folder: str, key: str) -> Execution | None:
    newest: Execution | None = None
    if folder == IMPORTS_PREFIX:  # the newest upload may be too new for the index
        there = connection.objects.head(Dropped(connection.stack.bucket, key, None, ""))
        newest = connection.imports.execution(execution_id_of(there)) if there is not None else None
    if newest is None:
        uri = f"s3://{connection.stack.bucket}/{key}".removesuffix(REASONS_SUFFIX)
        execution_id = _newest_id(connection, _PLACES[folder], uri, _DAY.match(key))
        newest = connection.imports.execution(execution_id) if execution_id else None
    return newest


def _newest_id(connection: Connection, place: str, value: str, day: re.Match[str] | None = None) -> str | None:
    """By the index of executions by time: the newest that has this value at a place of its document.

    Args:
        day: in the key of an object: only executions of that day are looked at.
    """
    outer, _, inner = place.partition(".")
    values: dict[str, Any] = {":all": {"S": "EXECUTION"}, ":uri": {"S": value}}
    condition = "listed = :all"
    if day is not None:
        try:
            begin = int(datetime.strptime(day[1], "%Y/%m/%d").replace(tzinfo=UTC).timestamp() * 1000)
        except ValueError:
            return None
        condition += " AND creation_date BETWEEN :begin AND :end"
        values |= {":begin": {"N": str(begin)}, ":end": {"N": str(begin + DAY_MS - 1)}}
    page: dict[str, Any] = {}
    while True:
        answer: Any = connection.dynamodb.query(
            TableName=connection.stack.imports_table,
            IndexName="by_time",
            KeyConditionExpression=condition,
            FilterExpression=f"#outer.#inner = :uri{'' if place in _OWN else _NO_REPLAY}",
            ExpressionAttributeNames={"#outer": outer, "#inner": inner},
            ExpressionAttributeValues=values,
            ProjectionExpression="pk",
            ScanIndexForward=False,
            **page,
        )
        if answer["Items"]:
            return str(answer["Items"][0]["pk"]["S"].removeprefix("EXEC#"))
        if "LastEvaluatedKey" not in answer:
            return None
        page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
