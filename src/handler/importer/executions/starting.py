"""Start: from a dropped object to its execution. One execution per object version, whoever asks and however often."""

import hashlib
from collections.abc import Callable
from dataclasses import replace

from importer import formats
from importer.bad_rows import ObjectProblem
from importer.compression import is_compressed
from importer.definitions import DEFAULT, NDJSON, SINK_CHOICES, Definition
from importer.executions import mending
from importer.executions.destinations import without_compression
from importer.executions.plain_text import HEAD_STORED_BYTES
from importer.executions.ports import Workplace
from importer.layouts import judge_suffix
from importer.model import Execution, Phase, S3Object, Status, Value
from importer.notification import IMPORTS_PREFIX, Dropped
from importer.parts import part_bytes_of
from importer.recognition import recognised_stored


def start(place: Workplace, dropped: Dropped, in_a_run: bool = False) -> list[Execution]:
    """The execution of a dropped object, made if this is its first delivery; or, where the object is gone already, the
    unfinished ones of its key (deleted as the last step before a crash); or none.

    Args:
        in_a_run: begin a file of a recurring import, too: it is its turn, or somebody waits to be told its execution.
            Without it, such a file is left to the schedule.
    """
    source = place.objects.head(dropped)
    if source is None:
        return _left_unfinished(place, dropped)
    execution_id = execution_id_of(source)
    # Without versioning the notification's bytes may have been replaced: what was begun with them is to be ended too.
    replaced = dropped.version_id is None and dropped.etag not in ("", source.etag)
    begun_before = _left_unfinished(place, dropped) if replaced else []
    existing = place.records.execution(execution_id)
    if existing is not None:
        return [*begun_before, existing]
    definition = definition_now(place, source.key)
    serial = source.bucket == place.own_bucket and definition.has_in_series(source.key)
    if serial and not in_a_run:
        place.telemetry.left_to_schedule(dropped)
        return begun_before
    execution = execution_of(place, execution_id, source, definition, serial)
    # Before it is begun: from then on no delivery asks again whose rows these are.
    execution = replace(execution, mends=mending.linked(place.records, source, execution_id, definition.id))
    return [*begun_before, place.records.create(execution)]


def execution_of(
    place: Workplace, execution_id: str, source: S3Object, definition: Definition, serial: bool = False
) -> Execution:
    """An object's execution as it begins: created now, its dialect and its parts by its first bytes. Written nowhere.

    Args:
        serial: it is a file of a series, read by one worker from its first row to its last, however large: the run's
            time is to bound it, and it is to be over before the next one begins. Trade-off: many workers would be
            quicker.
    """
    cut = definition.mime_type == NDJSON and not serial
    part_bytes = part_bytes_of(source.size_bytes, place.part_bytes) if cut else 0
    # One that may not be read is found out here, before it is begun and others have to wait for its end.
    head = _head(place, source) if part_bytes or not definition.format or serial else b""
    if head is None or is_compressed(head):
        part_bytes = 0
    format_name = definition.format
    if not format_name:
        format_name = formats.UNREAD if head is None else recognised_stored([head], definition).format
    return Execution(
        id=execution_id,
        source=source,
        status=Status.PENDING,
        phase=Phase.IMPORTING,
        created_ms=place.clock.now_ms(),
        definition=definition.as_stored(),
        format=format_name,
        part_count=-(-source.size_bytes // part_bytes) if part_bytes else 1,
        part_bytes=part_bytes,
        sinks=SINK_CHOICES[definition.sinks] if definition.sinks else place.sinks,
    )


def execution_id_of(source: S3Object) -> str:
    """128-bit id of an object version, in hexadecimal. Without versioning, ETag and LastModified stand for it (N2)."""
    version = source.version_id or f"{source.etag}\0{source.last_modified_ms // 1000}"
    return hashlib.blake2b("\0".join((source.bucket, source.key, version)).encode(), digest_size=16).hexdigest()


def waits_for_a_run(place: Workplace, execution: Execution) -> bool:
    """Whether this execution is to be read on by the next run of its recurring import, and by nothing else.

    That is so as long as the import still is recurring, with this file in its series: what a changed or deleted
    definition leaves behind is the sweep's, as everything is. A person's redrive does not ask. In a foreign bucket
    nobody looks for a series: its files are imported when they are told of.

    Raises:
        Misconfigured: the definition as it is now cannot be used.
    """
    key = execution.source.key
    if execution.phase is not Phase.IMPORTING or not execution.definition.get("base_file_name"):
        return False
    if execution.replayed:  # it is nobody's turn: the series is over with its file
        return False
    if execution.source.bucket != place.own_bucket:
        return False
    began_in_a_run = Definition.of(execution.definition).has_in_series(key)
    return began_in_a_run and definition_now(place, key).has_in_series(key)


def definition_of(stored_by_id: Callable[[str], Value], path: str) -> Definition:
    """The definition the first folder of a path below `imports/` names, if there is one of that id.

    Raises:
        Misconfigured: it is wrong. Unavailable.
    """
    first, slash, _ = path.partition("/")
    stored = stored_by_id(first) if slash and first else None
    return DEFAULT if stored is None else formats.named(first, stored)


def judge_name(key: str, format_name: str, mime_type: str) -> None:
    """Raises ObjectProblem(wrong_kind) for a file whose name says that it is nothing this import reads."""
    name = key.rpartition("/")[2]
    if format_name in formats.FORMATS:
        formats.FORMATS[format_name].refuse_name(name, mime_type)
    judge_suffix(without_compression(name), mime_type)


def definition_now(place: Workplace, key: str) -> Definition:
    """The definition that holds for a key of `imports/` now. Raises Misconfigured, as `definition_of`."""
    return definition_of(place.records.definition, key.removeprefix(IMPORTS_PREFIX))


def _head(place: Workplace, source: S3Object) -> bytes | None:
    """The first stored bytes, which tell whether a file is compressed and what its rows look like; None if they cannot
    be read now: whoever reads the file next finds out, and says so.

    Compressed text has no places to begin at, and a line break of a CSV may stand inside a field (E11): neither is cut
    into parts, and both can be handed on.
    """
    try:
        return b"".join(place.objects.read(source, 0, min(HEAD_STORED_BYTES, source.size_bytes)))
    except ObjectProblem:
        return None


def _left_unfinished(place: Workplace, dropped: Dropped) -> list[Execution]:
    uri = f"s3://{dropped.bucket}/{dropped.key}"
    found = [place.records.execution(execution_id) for execution_id in place.records.unfinished(uri)]
    same = [execution for execution in found if execution is not None and _is_of(execution, dropped)]
    if same or dropped.version_id is None:
        return same
    # The index may lag behind; the id of a version can be had without it.
    known = place.records.execution(
        execution_id_of(S3Object(dropped.bucket, dropped.key, dropped.version_id, dropped.etag, 0, 0))
    )
    return [] if known is None or known.phase is Phase.CLOSED else [known]


def _is_of(execution: Execution, dropped: Dropped) -> bool:
    if dropped.version_id is not None:
        return execution.source.version_id == dropped.version_id
    return not dropped.etag or execution.source.etag == dropped.etag
