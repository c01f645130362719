"""Upload files and follow their imports. Gives back what happened; printing is `show`'s work.

An execution's id follows from the bucket, the key and the version S3 gave the upload, so nothing has to be searched
for: the same id that the function computes from its notification is polled here.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import orjson
from botocore.exceptions import ClientError

from cli.connection import CannotReach, Connection, explained
from importer import definitions
from importer.bad_rows import BadRow
from importer.compression import is_compressed
from importer.csv_rows import Csv
from importer.definitions import Definition
from importer.documents import document
from importer.executions.mending import Outstanding
from importer.executions.mending import outstanding as outstanding_of
from importer.executions.starting import execution_id_of, judge_name
from importer.model import TO_THE_END, Execution, Phase, S3Object, Status, Tally, Value
from importer.notification import IMPORTS_PREFIX, Dropped
from importer.recognition import recognised_stored

PIECE_BYTES: Final = 16 << 20
MAX_PIECES: Final = 10_000  # Quota: docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
UPLOAD_THREADS: Final = 4
FIRST_POLL_SECONDS: Final = 0.1
LAST_POLL_SECONDS: Final = 2.0  # a read a file every two seconds: nothing for the table, soon enough for a person
PAPERS_BYTES: Final = 1 << 20  # read of errors/ and reasons/ to show the first bad rows
SEARCHED_PAGES: Final = 10  # of 1 MiB each, some 500 executions, for those under one definition
TYPES: Final = {".gz": "application/gzip", ".zst": "application/zstd", ".csv": "text/csv"}


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A file in `imports/`, and the execution that its notification starts."""

    path: Path
    source: S3Object
    execution_id: str
    compressed: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an import is. `read_to` counts plain bytes; None until a part was claimed."""

    status: Status | None
    phase: Phase | None
    read_to: int | None
    tally: Tally


@dataclass(slots=True)
class Outcome:
    """What became of one file. Exactly one of `execution` (ended) and `trouble` (not, and why) says it.

    Attributes:
        fetch: of a file that was to be fetched from a URI, as the world sees it.
    """

    path: Path
    uploaded: Uploaded | None = None
    execution: Execution | None = None
    receipt: dict[str, Any] | None = None
    bad_rows: list[BadRow] = field(default_factory=list)
    trouble: str = ""
    exit_code: int = 0
    fetch: dict[str, Value] | None = None

    def document(self) -> dict[str, Value]:
        """For `--json`."""
        return {
            "file": path_text(self.path),
            "exit_code": self.exit_code,
            "trouble": self.trouble or None,
            "source_uri": self.uploaded.source.uri if self.uploaded else None,
            "fetch": self.fetch,
            "execution_id": self.uploaded.execution_id if self.uploaded else None,
            "execution": document(self.execution) if self.execution else None,
            "receipt": self.receipt,
        }


def path_text(path: str | Path) -> str:
    """A path as text that every output can hold: bytes that are not UTF-8 show as �."""
    return os.fsencode(path).decode("utf-8", "replace")


def judge(name: str, head: bytes, definition: Definition) -> None:
    """Raises ObjectProblem(wrong_kind) for a file name an import would refuse, in the import's own words.

    Args:
        head: the file's first bytes (HEAD_STORED_BYTES), which say in which dialect it is.
    """
    format_name = definition.format or recognised_stored([head], definition).format
    judge_name(f"{IMPORTS_PREFIX}{name}", format_name, definition.mime_type)


# ---- Upload --------------------------------------------------------------------------------------------------------


def upload(
    connection: Connection,
    path: Path,
    key: str,
    sent: Callable[[int], None],
    metadata: Mapping[str, str] | None = None,
) -> Uploaded:
    """Put a file at `key`; `sent` hears the number of bytes each time some have arrived.

    Args:
        metadata: of the object; its import may look at them (`executions.mending`).
    Raises:
        CannotReach. OSError: the file cannot be read, or changed while it was.
    """
    bucket = connection.stack.bucket
    size = path.stat().st_size
    kind = TYPES.get(path.suffix.lower(), "application/x-ndjson")
    with explained(connection.name), path.open("rb") as file:
        compressed = is_compressed(file.read(16))
        file.seek(0)
        if size <= PIECE_BYTES:
            body = file.read(PIECE_BYTES + 1)
            answer: Any = connection.s3.put_object(
                Bucket=bucket, Key=key, Body=body, ContentType=kind, Metadata=dict(metadata or {})
            )
            sent(len(body))
            size = len(body)
        else:
            answer = _upload_pieces(connection, path, key, size, kind, sent, metadata or {})
        version = answer.get("VersionId")
        etag = answer["ETag"].strip('"')
        source = S3Object(bucket, key, version, etag, size, 0)
        if version is not None:
            return Uploaded(path, source, execution_id_of(source), compressed)
        # Without versioning the time of upload is part of the id, and only HEAD tells it (N2). A very quick import has
        # moved the file before HEAD: then the list of executions has it.
        head = connection.objects.head(Dropped(bucket, key, None, etag))
        if head is not None:
            return Uploaded(path, head, execution_id_of(head), compressed)
        for execution_id in newest(connection, 50):
            execution = connection.imports.execution(execution_id)
            if execution is not None and (execution.source.key, execution.source.etag) == (key, etag):
                return Uploaded(path, execution.source, execution_id, compressed)
    raise CannotReach(f"{source.uri} was taken away as soon as it was uploaded, and no execution of it is known")


def _upload_pieces(
    connection: Connection,
    path: Path,
    key: str,
    size: int,
    kind: str,
    sent: Callable[[int], None],
    metadata: Mapping[str, str],
) -> Any:
    where: Any = {"Bucket": connection.stack.bucket, "Key": key}
    piece_bytes = max(PIECE_BYTES, -(-size // MAX_PIECES))
    upload_id = connection.s3.create_multipart_upload(**where, ContentType=kind, Metadata=dict(metadata))["UploadId"]

    def put(number: int) -> dict[str, Any]:
        with path.open("rb") as file:
            file.seek((number - 1) * piece_bytes)
            body = file.read(piece_bytes)
        if len(body) != min(piece_bytes, size - (number - 1) * piece_bytes):
            raise OSError(f"{path} became shorter while it was uploaded: nothing was imported; try again")
        answer = connection.s3.upload_part(**where, UploadId=upload_id, PartNumber=number, Body=body)
        sent(len(body))
        piece: dict[str, Any] = {"PartNumber": number, "ETag": answer["ETag"]}
        if "ChecksumCRC32" in answer:
            piece["ChecksumCRC32"] = answer["ChecksumCRC32"]
        return piece

    try:
        with ThreadPoolExecutor(UPLOAD_THREADS) as threads:
            futures = [threads.submit(put, number) for number in range(1, -(-size // piece_bytes) + 1)]
            try:
                for future in as_completed(futures):
                    future.result()  # the first failure ends it
            finally:
                for future in futures:
                    future.cancel()
        pieces = [future.result() for future in futures]
        return connection.s3.complete_multipart_upload(
            **where, UploadId=upload_id, MultipartUpload=cast("Any", {"Parts": pieces})
        )
    except BaseException:  # Ctrl-C too: pieces nobody completes would be stored, and paid for, unseen
        connection.s3.abort_multipart_upload(**where, UploadId=upload_id)
        raise


# ---- Follow --------------------------------------------------------------------------------------------------------


def follow(
    connection: Connection, uploaded: Uploaded, deadline: float, moved: Callable[[Progress], None]
) -> Execution | None:
    """The execution once nothing is left to do; None when `deadline` (of time.monotonic) has passed.

    Raises:
        CannotReach.
    """
    pause = FIRST_POLL_SECONDS
    while True:
        with explained(connection.name):
            execution = connection.imports.execution(uploaded.execution_id)
            parts = connection.imports.parts(uploaded.execution_id) if execution is not None else []
        tally = Tally()
        read_to = 0
        for part in parts:
            tally = tally.plus(part.tally)
            read_to += part.next_offset - part.start
        moved(
            Progress(
                execution.status if execution else None,
                execution.phase if execution else None,
                min(read_to, TO_THE_END) if parts else None,
                tally,
            )
        )
        if execution is not None and execution.phase is Phase.CLOSED:
            return execution
        if time.monotonic() + pause > deadline:
            return None
        time.sleep(pause)
        pause = min(pause * 1.3, LAST_POLL_SECONDS)


def left_to_runs(connection: Connection, path: Path, uploaded: Uploaded, definition: Definition, how: str) -> Outcome:
    """Of a file of a recurring import: it lies in imports/, and is imported when it is its turn."""
    return Outcome(
        path,
        uploaded,
        trouble=f"{how}: it waits for its turn in the series {definition.pattern}. The schedule imports it; "
        f"`importer recurring run {definition.id}{connection.command}` does so now",
    )


def outcome_of(
    connection: Connection, path: Path, uploaded: Uploaded | None, execution: Execution, show: int
) -> Outcome:
    """What an ended execution left behind: its receipt and its first bad rows."""
    receipt = receipt_of(connection, execution)
    bad_rows = first_bad_rows(connection, execution, show) if receipt and receipt["bad"] else []
    exit_code = 3 if execution.status is not Status.SUCCEEDED else 1 if receipt and receipt["bad"] else 0
    return Outcome(path, uploaded, execution, receipt, bad_rows, "", exit_code)


def receipt_of(connection: Connection, execution: Execution) -> dict[str, Any] | None:
    """`receipt/1` of an execution; None as long as there is none."""
    if execution.outcome is None:
        return None
    with explained(connection.name):
        body = connection.objects.get(execution.source.bucket, execution.outcome.destination.receipt)
    return cast("dict[str, Any]", orjson.loads(body)) if body else None


def first_bad_rows(connection: Connection, execution: Execution, count: int) -> list[BadRow]:
    """The first bad rows with their bytes, from the errors file and its reasons, which go row by row together."""
    if execution.outcome is None or not execution.outcome.sums.bad:
        return []
    destination = execution.outcome.destination
    reasons = _head(connection, execution.source.bucket, destination.reasons).split(b"\n")[:-1]
    rows = _head(connection, execution.source.bucket, destination.errors)
    at = len(Csv.of(rows).header) if execution.mime_type == definitions.TEXT_CSV else 0
    found: list[BadRow] = []
    for said in map(orjson.loads, reasons[:count]):
        stop = rows.find(b"\n", at + said["length"]) + 1 or len(rows)  # by length: a CSV's row may hold line breaks
        found.append(BadRow.told(said, rows[at:stop]))
        at = stop
    return found


def _head(connection: Connection, bucket: str, key: str) -> bytes:
    """The first PAPERS_BYTES of an object; of a missing one nothing."""
    with explained(connection.name):
        try:
            answer = connection.s3.get_object(Bucket=bucket, Key=key, Range=f"bytes=0-{PAPERS_BYTES - 1}")
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in ("NoSuchKey", "404", "InvalidRange"):
                return b""
            raise
        return answer["Body"].read()


# ---- Executions ----------------------------------------------------------------------------------------------------


def newest(connection: Connection, count: int) -> list[str]:
    """Ids of the newest executions, newest first."""
    ids: list[str] = []
    page: dict[str, Any] = {}
    with explained(connection.name):
        while len(ids) < count:
            answer: Any = connection.dynamodb.query(
                TableName=connection.stack.imports_table,
                IndexName="by_time",
                KeyConditionExpression="listed = :all",
                ExpressionAttributeValues={":all": {"S": "EXECUTION"}},
                ProjectionExpression="pk",
                ScanIndexForward=False,
                Limit=count - len(ids),
                **page,
            )
            ids += [item["pk"]["S"].removeprefix("EXEC#") for item in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                break
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
    return ids


def executions(connection: Connection, count: int) -> list[Execution]:
    """The newest executions, newest first, as they stand now (the index may lag behind)."""
    return _standing_now(connection, newest(connection, count))


def with_bad_rows(connection: Connection) -> Iterator[Execution]:
    """The executions that have ended and refused rows, newest first, as they stand now (the index may lag behind)."""
    page: dict[str, Any] = {}
    while True:
        with explained(connection.name):
            answer: Any = connection.dynamodb.query(
                TableName=connection.stack.imports_table,
                IndexName="by_time",
                KeyConditionExpression="listed = :all",
                FilterExpression="#result.#failure > :none",
                ExpressionAttributeNames={"#result": "result", "#failure": "total_failure"},
                ExpressionAttributeValues={":all": {"S": "EXECUTION"}, ":none": {"N": "0"}},
                ProjectionExpression="pk",
                ScanIndexForward=False,
                **page,
            )
        yield from _standing_now(connection, [item["pk"]["S"].removeprefix("EXEC#") for item in answer["Items"]])
        if "LastEvaluatedKey" not in answer:
            return
        page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}


def outstanding(connection: Connection, execution: Execution) -> Outstanding:
    """How its bad rows stand now."""
    with explained(connection.name):
        return outstanding_of(connection.imports, execution)


def perhaps_mended_by(connection: Connection, execution: Execution) -> list[Execution]:
    """Later imports of files of the same name in the same folder, that do not say whose bad rows they have: by their
    name alone they may have this one's. Of the next few thousand imports, oldest first."""
    names = {execution.source.key.rpartition("/")[2]}
    if execution.outcome is not None:
        names.add(execution.outcome.destination.errors.rpartition("/")[2])
    values = {f":name{number}": {"S": name} for number, name in enumerate(sorted(names))}
    with explained(connection.name):
        answer: Any = connection.dynamodb.query(
            TableName=connection.stack.imports_table,
            IndexName="by_time",
            KeyConditionExpression="listed = :all AND creation_date > :created",
            FilterExpression=f"#parameters.#name IN ({', '.join(values)}) AND #parameters.#import = :import"
            " AND attribute_not_exists(mends)",
            ExpressionAttributeNames={
                "#parameters": "parameters",
                "#name": "input_file_name",
                "#import": "document_import_id",
            },
            ExpressionAttributeValues={
                ":all": {"S": "EXECUTION"},
                ":created": {"N": str(execution.created_ms)},
                ":import": {"S": execution.document_import_id},
                **cast("Any", values),
            },
            ProjectionExpression="pk",
        )
    return _standing_now(connection, [item["pk"]["S"].removeprefix("EXEC#") for item in answer["Items"]])


def executions_of(connection: Connection, import_id: str, count: int) -> list[Execution]:
    """The newest executions under a definition, newest first; of an installation's newest few thousand."""
    ids: list[str] = []
    page: dict[str, Any] = {}
    with explained(connection.name):
        for _ in range(SEARCHED_PAGES):
            if len(ids) >= count:
                break
            answer: Any = connection.dynamodb.query(
                TableName=connection.stack.imports_table,
                IndexName="by_time",
                KeyConditionExpression="listed = :all",
                FilterExpression="#parameters.#import = :import",
                ExpressionAttributeNames={"#parameters": "parameters", "#import": "document_import_id"},
                ExpressionAttributeValues={":all": {"S": "EXECUTION"}, ":import": {"S": import_id}},
                ProjectionExpression="pk",
                ScanIndexForward=False,
                **page,
            )
            ids += [item["pk"]["S"].removeprefix("EXEC#") for item in answer["Items"]]
            if "LastEvaluatedKey" not in answer:
                break
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
    return _standing_now(connection, ids[:count])


def unfinished_of(connection: Connection, import_id: str) -> list[Execution]:
    """The executions under a definition that are not closed (the index may lag behind)."""
    with explained(connection.name):
        ids = list(connection.imports.all_unfinished())
    found = _standing_now(connection, ids)
    return [e for e in found if e.document_import_id == import_id and e.phase is not Phase.CLOSED]


def _standing_now(connection: Connection, ids: list[str]) -> list[Execution]:
    with explained(connection.name), ThreadPoolExecutor(8) as threads:
        found = list(threads.map(connection.imports.execution, ids))
    return [execution for execution in found if execution is not None]
