"""Preview by drop: a file under `previews/` → what an import would do with it, as JSON and as a page.

`previews/<path>` is read as `imports/<path>` would be, its import definition included, and two objects are written:
`preview_results/<path>.json` (`preview/1`) and `preview_results/<path>.html`. Nothing else is: no store, no execution,
and the file stays. Rule: whatever is wrong with the file, or with reading it, is what the result says; only what may
pass by itself is raised as well, so that Lambda tries again and then keeps the notification.

A look is bounded: LOOK_BYTES of plain text, LOOK_LINES lines, and the time there is; what is further down is not seen,
and the result says so. It is always the newest upload of a key that is looked at, whichever one the notification told
of, and it is asked for again at the end: notifications come late and out of order (A2), and the last result must be
that of the last upload.

Accepted in silence: values in it are those of the file, not masked. Who looks for a wrong column or a wrong time has
to see them. So results lie where the file lies, under the same protection, and end by a rule of the bucket, as it does.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

from importer.bad_rows import FileReason, ObjectProblem
from importer.batches import Limit
from importer.compression import peeked
from importer.definitions import DEFAULT, SINK_CHOICES, Definition
from importer.executions.destinations import KEY_BYTES
from importer.executions.plain_text import HEAD_STORED_BYTES
from importer.executions.starting import definition_of, judge_name
from importer.forecast import Forecaster
from importer.known import Known
from importer.model import TO_THE_END, Clock, FileError, Misconfigured, Provenance, S3Object, Unavailable, Value
from importer.notification import IMPORTS_PREFIX, PREVIEWS_PREFIX, Dropped
from importer.preview import MISCONFIGURED, SCHEMA, UNAVAILABLE, Findings, document, previewed
from importer.preview_page import Looked, page
from importer.recognition import recognised_stored
from importer.sinks import SINKS
from importer.words import to_json

RESULTS_PREFIX: Final = "preview_results/"
LOOK_BYTES: Final = 16 << 20
# Measured: a line takes 25 to 180 µs of a core (slowest: broken JSON that has to be explained), so many at most 36 s.
LOOK_LINES: Final = 200_000
RESERVE_MS: Final = 60_000  # of an invocation, for comparing and writing
FIRST_ROWS: Final = 10
BAD_ROWS: Final = 20
LOOKS: Final = 3  # at one key, when it is uploaded again and again while it is looked at


class Objects(Protocol):
    """See `executions.ports.Objects`: those of its methods a preview needs."""

    def head(self, dropped: Dropped) -> S3Object | None: ...

    def read(self, source: S3Object, start: int, stop: int | None = None) -> Iterator[bytes]: ...

    def put(self, bucket: str, key: str, body: bytes, content_type: str) -> None: ...


@dataclass(frozen=True, slots=True)
class PreviewPlace:
    """Where previews are made.

    Attributes:
        definition: the stored import definition of an id; None where there is none.
        known: a look at what the store holds. Raises Unavailable.
        sinks: of imports whose definition names none.
        part_bytes: what large files are cut by.
        writes_per_second: of one worker; 0 is no limit.
        store: what it is called, for people.
        remaining_ms: of this invocation.
    """

    objects: Objects
    definition: Callable[[str], Value]
    known: Callable[[], Known]
    sinks: tuple[str, ...]
    part_bytes: int
    writes_per_second: float
    store: str
    clock: Clock
    remaining_ms: Callable[[], int]


@dataclass(frozen=True, slots=True)
class Previewed:
    """What was looked at and found; and the keys of the result, without their endings."""

    source: S3Object
    import_id: str
    found: Findings
    result_key: str


def preview_dropped(place: PreviewPlace, dropped: Dropped) -> Previewed:
    """Look at the newest upload of a key, and leave what was found; durable when it returns.

    Raises:
        Unavailable: AWS does not answer, or denies; where a result could be written, it says so.
    """
    newest = Dropped(dropped.bucket, dropped.key, None, "")
    unknown = S3Object(dropped.bucket, dropped.key, None, dropped.etag, 0, 0)
    try:
        source = place.objects.head(newest)
    except Unavailable as trouble:
        _write(place, unknown, Findings(problem=_passing(trouble)))
        raise
    for _ in range(LOOKS):
        looked = _looked_at(place, source) if source is not None else _write(place, unknown, _gone(unknown))
        seen = place.objects.head(newest)
        if seen in (None, source):
            break
        source = seen
    return looked


def result_key(key: str) -> str:
    """Of a file under `previews/`, without `.json` or `.html`; shortened where the key would be too long (A12)."""
    path = key.removeprefix(PREVIEWS_PREFIX)
    most = KEY_BYTES - len(RESULTS_PREFIX) - len(".json")
    encoded = path.encode()
    if len(encoded) > most:
        digest = hashlib.blake2b(encoded, digest_size=8).hexdigest()
        path = f"{encoded[: most - len(digest) - 1].decode(errors='ignore')}~{digest}"
    return f"{RESULTS_PREFIX}{path}"


def _looked_at(place: PreviewPlace, source: S3Object) -> Previewed:
    """Look, and write what was found."""
    path = source.key.removeprefix(PREVIEWS_PREFIX)
    try:
        definition = definition_of(place.definition, path)
        import_id = "" if definition == DEFAULT else definition.id
        sinks = SINK_CHOICES[definition.sinks] if definition.sinks else place.sinks
        found = findings_of(
            f"{IMPORTS_PREFIX}{path}",
            lambda: _in_time(place.objects.read(source, 0), place),
            definition,
            sinks,
            source.size_bytes,
            place.clock.now_ms(),
            first_rows=FIRST_ROWS,
            bad_rows=BAD_ROWS,
            part_bytes=place.part_bytes,
            writes_per_second=place.writes_per_second,
            stop=LOOK_BYTES,
            enough=lambda found: found.tally.lines >= LOOK_LINES or place.remaining_ms() < RESERVE_MS,
        )
    except Misconfigured as problem:
        return _write(place, source, Findings(problem=FileError(MISCONFIGURED, str(problem))))
    except Unavailable as trouble:
        _write(place, source, Findings(problem=_passing(trouble)))
        raise
    _compare(place, found, sinks)
    return _write(place, source, found, import_id)


def _gone(source: S3Object) -> Findings:
    message = f"{source.uri} was deleted before it was looked at"
    return Findings(problem=FileError(FileReason.OBJECT_GONE.value, message))


def _passing(trouble: Unavailable) -> FileError:
    return FileError(UNAVAILABLE, f"{trouble}. It will be tried again within some minutes")


def _in_time(stored: Iterator[bytes], place: PreviewPlace) -> Iterator[bytes]:
    """The stored bytes, as long as there is time: a compressed file may take long before it gives a row."""
    for chunk in stored:
        if place.remaining_ms() < RESERVE_MS // 2:
            raise Unavailable("the file could not be read as far as a preview reads it, in the time there is")
        yield chunk


def _compare(place: PreviewPlace, found: Findings, sinks: tuple[str, ...]) -> None:
    """Look what the store knows. It is no reason to give a preview up that nobody may look there."""
    if not found.event_names and not any(known for _, known in found.names()):
        return
    if "dynamodb" not in sinks:
        found.not_compared = "this import writes to a stream, which nobody can ask what went through it"
    else:
        try:
            found.known = place.known()
        except Unavailable as trouble:
            found.not_compared = str(trouble)


def _write(place: PreviewPlace, source: S3Object, found: Findings, import_id: str = "") -> Previewed:
    """Leave what was found; the page last, since that is what people wait for."""
    key, now_ms = result_key(source.key), place.clock.now_ms()
    said = {
        "schema": SCHEMA,
        "source": {
            "bucket": source.bucket,
            "key": source.key,
            "version_id": source.version_id,
            "etag": source.etag,
            "bytes": source.size_bytes,
        },
        "import_id": import_id or None,
        "previewed_ms": now_ms,
        **document(found),
    }
    looked = Looked(source.key, source.size_bytes, now_ms, import_id, place.store, f"{key}.json")
    place.objects.put(source.bucket, f"{key}.json", to_json(said).encode(), "application/json")
    place.objects.put(source.bucket, f"{key}.html", page(found, looked), "text/html; charset=utf-8")
    return Previewed(source, import_id, found, key)


# ---- Whatever the door -----------------------------------------------------------------------------------------------


def findings_of(
    key: str,
    open_stored: Callable[[], Iterator[bytes]],
    definition: Definition,
    sinks: tuple[str, ...],
    size_bytes: int,
    now_ms: int,
    *,
    first_rows: int,
    bad_rows: int,
    part_bytes: int,
    writes_per_second: float = 0,
    stop: int = TO_THE_END,
    enough: Callable[[Findings], bool] = lambda found: False,
) -> Findings:
    """What an import of a file would find, and cost; refused by its name first, as an import would.

    Args:
        key: under which it would be imported.
        open_stored: its bytes from the first on.
        sinks: that it would be written to.
        stop, enough, first_rows, bad_rows: see `previewed`.
    """
    try:
        head, stored = peeked(open_stored(), HEAD_STORED_BYTES)
        format_name = definition.format or recognised_stored([head[:HEAD_STORED_BYTES]], definition).format
        judge_name(key, format_name, definition.mime_type)
    except ObjectProblem as problem:
        return Findings(problem=FileError(problem.code.value, problem.message))
    source = Provenance("", definition.id, "0" * 32, key, now_ms, definition.ranked)
    limits: tuple[Limit, ...] = tuple(SINKS[sink] for sink in sinks)
    return previewed(
        stored,
        definition,
        now_ms,
        limits,
        first_rows=first_rows,
        bad_rows=bad_rows,
        stop=stop,
        cost=Forecaster(sinks, source, size_bytes, part_bytes, writes_per_second) if size_bytes else None,
        size_bytes=size_bytes,
        enough=enough,
    )
