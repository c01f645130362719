"""Forget a person: their events, their records, and their rows wherever the importer has kept them.

The order, and why:

    1  mark       whoever reads rows uploaded before finds the person erased, and drops them (sinks/erasing)
    2  tables     events, records, and what others' records say of a link with them
    3  archives   every object that may hold rows: papers first, then the blanked object, then errors/, reasons, receipt
    4  the rest   files that were refused, previews, segments, what imports noted of names
    5  again      imports that were under way at 1 have ended since, or are told as open; the tables once more
    6  told       a certificate: what was done, and what is out of reach

Every step may be killed anywhere and done again, by the same forgetting or another one: a row that is blank is not
found again, and papers say what it was. `Progress` only spares what was walked already.

Nothing is ever written over that somebody has changed since it was read: it is read again.
"""

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from tempfile import SpooledTemporaryFile
from typing import Any, Final, Protocol

import orjson

from importer.bad_rows import FileReason, ObjectProblem
from importer.definitions import TEXT_CSV
from importer.diagnosis import diagnosis
from importer.executions.destinations import result_names, without_compression
from importer.executions.ports import Objects, Records
from importer.executions.starting import execution_id_of
from importer.layouts import layout_of
from importer.ledger import erasures
from importer.ledger.erasures import ASIDE, Blanks, Papers, Spans, aside_key
from importer.ledger.row_places import Reasons as RowReasons
from importer.ledger.searching import Documents, Found, Search
from importer.ledger.traces import ERASED_TEXT, Traces, is_blank
from importer.lines import HEAD_BYTES, lines
from importer.model import (
    TO_THE_END,
    Clock,
    Execution,
    Fenced,
    LongLine,
    Misconfigured,
    Part,
    Phase,
    S3Object,
    Status,
    Unavailable,
    Value,
)
from importer.notification import IMPORTS_PREFIX, PREVIEWS_PREFIX, Dropped
from importer.receipts import FoldedReasons

SCHEMA: Final = "forgotten/1"
RUNS: Final = f"{erasures.PREFIX}runs/"
CERTIFICATES: Final = f"{erasures.PREFIX}certificates/"
COMPLETED, ERRORS, RECEIPTS, WORK, RESULTS = "completed_imports/", "errors/", "receipts/", "work/", "preview_results/"
PLACES: Final = (COMPLETED, ERRORS, RECEIPTS, ASIDE, WORK, PREVIEWS_PREFIX, RESULTS)
TRIES: Final = 5  # of an object that others write to meanwhile
KEEP_EVERY_MS: Final = 15_000
LAG_MS: Final = 10 * 60 * 1000  # by which the index of executions is behind, at the very most
_REASONS: Final = ".reasons.ndjson"


class Vault(Protocol):
    """Objects, as whoever forgets changes them. See `aws.vault.Vault`."""

    def listed(self, bucket: str, prefix: str, after: str = "") -> Iterator[S3Object]: ...

    def folders(self, bucket: str) -> list[str]: ...

    def write_over(self, source: S3Object, blanks: Blanks, to: str = "", as_far: bool = False) -> None: ...

    def old_versions(self, bucket: str, key: str, is_folder: bool = False) -> Iterator[S3Object]: ...

    def delete_version(self, source: S3Object) -> None: ...

    def remove(self, source: S3Object) -> None: ...

    def kept_days(self, bucket: str) -> dict[str, int] | None: ...


class Noted(Protocol):
    @property
    def pk(self) -> str: ...

    @property
    def sk(self) -> str: ...

    @property
    def item(self) -> dict[str, Any]: ...


class Tables(Protocol):
    """The tables, as whoever forgets changes them. See `aws.forgotten.ForgottenTables`."""

    def counts(self, user_id: str) -> tuple[int, int]: ...

    def links(self, user_id: str) -> Iterator[str]: ...

    def unlink(self, user_id: str, other: str) -> bool: ...

    def unmark(self, user_id: str) -> None: ...

    def writers(self, user_id: str) -> Iterator[str]: ...

    def noted(self) -> Iterator[Any]: ...

    def executions_since(self, created_ms: int) -> Iterator[str]: ...

    def take_names(self, noted: Any, names: frozenset[str], instead: str) -> bool: ...

    def drop_notes(self, noted: Any) -> None: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a person is forgotten.

    Attributes:
        stem_owner: day and name → the execution that has that name that day.
        erase: marks identifiers as erased by an upload of that time, and deletes what was uploaded before; durable.
        moved: hears what is being looked at, and how many of its plain bytes were.
    """

    bucket: str
    objects: Objects
    records: Records
    vault: Vault
    tables: Tables
    stem_owner: Callable[[str, str], str | None]
    erase: Callable[[Sequence[str], int], None]
    clock: Clock
    moved: Callable[[str, int], None] = lambda what, offset: None


@dataclass(frozen=True, slots=True)
class Wish:
    """Whom to forget, and how.

    Attributes:
        identifiers: all of them: the one asked for, those linked, those given.
        secret: what the stored papers' hashes are keyed with; who has it goes on with this forgetting.
        only_named: archives that no item of the person names are not searched.
        purge: versions that still hold rows are deleted, too.
        keep_marker: the records `erased` stay.
        wait_ms: for imports that are under way.
    """

    identifiers: tuple[str, ...]
    secret: str
    only_named: bool = False
    purge: bool = False
    keep_marker: bool = True
    wait_ms: int = 0

    @property
    def id(self) -> str:
        """Of the forgetting; says nothing of the secret."""
        return hashlib.sha256(self.secret.encode()).hexdigest()[:16]

    def hashed(self, identifier: str) -> str:
        return hmac.new(self.secret.encode(), identifier.encode("utf-8", "surrogatepass"), "sha256").hexdigest()

    @property
    def hashes(self) -> list[str]:
        return sorted(map(self.hashed, self.identifiers))


@dataclass
class Progress:
    """How far a forgetting is; kept in the bucket, without a word about whom it forgets.

    Attributes:
        before_ms: what was uploaded before is forgotten.
        hashes: of the identifiers, so that it is gone on with for the same person only.
        prefix, key: the last object that was done.
        open: executions that had not ended when they were looked at.
        named: executions that items of the person named, where only those are searched.
        counts: what was done, by place.
        changed: objects that were written over or deleted.
        troubles: what could not be read, with the reason.
        other_buckets: from which files were imported as well.
        mentions: objects in which good rows of others speak of the person → how many, and offsets of some.
    """

    before_ms: int
    hashes: list[str]
    began_ms: int = 0
    prefix: str = ""
    key: str = ""
    erased: bool = False
    open: list[str] = field(default_factory=list)
    named: list[str] | None = None
    counts: dict[str, int] = field(default_factory=dict)
    changed: dict[str, None] = field(default_factory=dict)
    troubles: dict[str, str] = field(default_factory=dict)
    mentions: dict[str, list[int]] = field(default_factory=dict)
    table_mentions: list[str] = field(default_factory=list)
    other_buckets: list[str] = field(default_factory=list)

    def count(self, name: str, number: int = 1) -> None:
        if number:
            self.counts[name] = self.counts.get(name, 0) + number


class NotTheSame(Exception):
    """The progress found is another person's, or asks for something else."""


def progress_of(place: Place, wish: Wish) -> Progress | None:
    """The progress of an earlier try of this forgetting; None if there was none.

    Raises:
        NotTheSame.
    """
    body = place.objects.get(place.bucket, f"{RUNS}{wish.id}.json")
    if body is None:
        return None
    told = orjson.loads(body)
    progress = Progress(**{name: told[name] for name in Progress.__dataclass_fields__ if name in told})
    if not set(progress.hashes) & set(wish.hashes):
        raise NotTheSame("that secret belongs to a forgetting of somebody else")
    return progress


@dataclass(frozen=True, slots=True)
class Survey:
    """What there is to be searched: by place, objects and stored bytes."""

    objects: dict[str, int]
    bytes: dict[str, int]
    old_days: dict[str, int] | None


def survey(place: Place) -> Survey:
    """Count what there is to be searched. A list request for a thousand objects."""
    objects: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for prefix in PLACES:
        for found in place.vault.listed(place.bucket, prefix):
            objects[prefix] += 1
            sizes[prefix] += found.size_bytes
    for found in place.objects.versions(place.bucket, IMPORTS_PREFIX):
        objects[IMPORTS_PREFIX] += 1
        sizes[IMPORTS_PREFIX] += found.size_bytes
    return Survey(dict(objects), dict(sizes), place.vault.kept_days(place.bucket))


def forget(place: Place, wish: Wish, progress: Progress | None = None) -> dict[str, Value]:
    """Forget somebody. Returns the certificate (`forgotten/1`), of which a copy without names is kept in the bucket.

    Raises:
        Unavailable, Denied: do it again; what was done stays done.
    """
    return _Forgetting(place, wish, progress).certificate()


@dataclass(frozen=True, slots=True)
class _Refused:
    """A row of errors/ beside its document.

    Attributes:
        start, stop: where the row stands.
        told, span: its document, and where that stands.
        has_words: the document quotes the row.
        fits: their lengths are the same.
    """

    start: int
    stop: int
    is_theirs: bool
    told: dict[str, Any] | None
    span: tuple[int, int]
    has_words: bool
    fits: bool


class _Forgetting:
    def __init__(self, place: Place, wish: Wish, progress: Progress | None) -> None:
        self._place = place
        self._wish = wish
        self._traces = Traces(wish.identifiers)
        now_ms = place.clock.now_ms()
        self._progress = progress or Progress(now_ms, wish.hashes, now_ms)
        self._progress.hashes = wish.hashes
        self._kept_ms = 0
        self._what = ""
        self._search = Search(place.objects, place.records, self._traces, lambda at: place.moved(self._what, at))
        self._left: dict[str, int] = {}

    def certificate(self) -> dict[str, Value]:
        progress = self._progress
        if self._wish.only_named and progress.named is None:
            writers = (one for identifier in self._wish.identifiers for one in self._place.tables.writers(identifier))
            progress.named = sorted(set(writers))
        self._keep(at_once=True)
        self._erase_from_tables()
        waiting = self._refused_files()
        for prefix, work in (
            (COMPLETED, self._archive),
            (ERRORS, self._errors_object),
            (RECEIPTS, self._receipt_object),
            (ASIDE, self._aside),
            (WORK, self._work_object),
            (PREVIEWS_PREFIX, self._preview),
            (RESULTS, self._preview_result),
        ):
            self._each(prefix, work)
        self._wait()
        still_open = self._ended_since()
        self._imports_table()
        self._erase_from_tables()
        if self._wish.purge:
            self._purge()
        is_complete = not (still_open or waiting or progress.troubles)
        if is_complete and not self._wish.keep_marker:
            for identifier in self._wish.identifiers:
                self._place.tables.unmark(identifier)
        made = self._certificate(still_open, waiting, is_complete)
        kept = self._nameless({**made, "identifiers": None, "mentions": None})
        key = f"{CERTIFICATES}{self._wish.id}.json"
        self._place.objects.put(self._place.bucket, key, _json(kept), "application/json")
        self._place.objects.delete(self._place.bucket, [f"{RUNS}{self._wish.id}.json"])
        return made

    def _nameless(self, value: Any) -> Any:
        """A document for the bucket: keys of objects, too, may speak of the person."""
        if isinstance(value, dict):
            return {self._nameless(name): self._nameless(member) for name, member in value.items()}
        if isinstance(value, list):
            return [self._nameless(member) for member in value]
        return ERASED_TEXT if isinstance(value, str) and self._traces.in_text(value) else value

    def _is_later(self, uploaded: S3Object) -> bool:
        """Whether a file was uploaded since: its rows are the person's new life."""
        return uploaded.last_modified_ms >= self._progress.before_ms

    def _is_of_later(self, execution: Execution) -> bool:
        """As `_is_later`, of the upload whose rows an execution reads: a replay's is that of the first."""
        return execution.upload.uploaded_ms >= self._progress.before_ms

    # -- tables -------------------------------------------------------------------------------------------------

    def _erase_from_tables(self) -> None:
        place, progress, ids = self._place, self._progress, self._wish.identifiers
        if not progress.erased:
            for identifier in ids:
                events, records = place.tables.counts(identifier)
                progress.count("events", events)
                progress.count("user_records", records)
        ours = set(ids)
        for identifier in ids:  # while their own records still say with whom
            for other in set(place.tables.links(identifier)) - ours:
                progress.count("links_of_others", place.tables.unlink(other, identifier))
        place.erase(ids, progress.before_ms)
        progress.erased = True
        self._keep(at_once=True)
        self._left = {"events": 0, "user_records": 0}
        for identifier in ids:
            events, records = place.tables.counts(identifier)
            self._left["events"] += events
            self._left["user_records"] += records

    def _imports_table(self) -> None:
        """Names among the users that turn up most; notebooks of settlings. What else speaks of the person is told."""
        names, tables = self._traces.shown, self._place.tables
        buckets: set[str] = set()
        for noted in tables.noted():
            if noted.sk == "EXEC":
                uri = str(noted.item.get("parameters", {}).get("file_uri", ""))
                buckets.add(uri.removeprefix("s3://").partition("/")[0])
            if not self._traces.in_value(noted.item):
                continue
            key = f"{noted.pk}/{noted.sk}"
            execution = None
            if noted.pk.startswith("EXEC#"):
                execution = self._place.records.execution(noted.pk.removeprefix("EXEC#"))
                if execution is not None and self._is_of_later(execution):
                    continue
            if noted.sk == "NOTES":
                if execution is None or execution.phase is Phase.CLOSED:
                    tables.drop_notes(noted)
                    self._progress.count("notes_of_imports")
                continue
            is_listed = (noted.sk == "EXEC" or noted.sk.startswith("PART#")) and _has_names(noted, names)
            # Refused: a worker has written since; then its execution is open, and told.
            if is_listed and tables.take_names(noted, names, ERASED_TEXT):
                self._progress.count("notes_of_imports")
            if self._traces.in_value(_but_names(noted)) and key not in self._progress.table_mentions:
                self._progress.table_mentions.append(key)
        self._progress.other_buckets = sorted(buckets - {self._place.bucket, ""})

    # -- every object -------------------------------------------------------------------------------------------

    def _each(self, prefix: str, work: Callable[[S3Object], None]) -> None:
        """Look at all objects under a prefix that come behind those that were done."""
        progress = self._progress
        done = list(PLACES)
        if progress.prefix in done and done.index(prefix) < done.index(progress.prefix):
            return
        after = progress.key if progress.prefix == prefix else ""
        for found in self._place.vault.listed(self._place.bucket, prefix, after):
            self._what = found.key
            self._place.moved(found.key, 0)
            work(found)
            progress.prefix, progress.key = prefix, found.key
            progress.count("objects_searched")
            progress.count("bytes_searched", found.size_bytes)
            self._keep()

    def _keep(self, at_once: bool = False) -> None:
        now_ms = self._place.clock.now_ms()
        if at_once or now_ms - self._kept_ms >= KEEP_EVERY_MS:
            body = _json(asdict(self._progress))
            self._place.objects.put(self._place.bucket, f"{RUNS}{self._wish.id}.json", body, "application/json")
            self._kept_ms = now_ms

    def _owner(self, key: str) -> Execution | None:
        """The execution an object under completed_imports/, errors/ or receipts/ is of; None if nobody knows."""
        parts = key.split("/", 4)
        if len(parts) < 5:
            return None
        day, path = "/".join(parts[1:4]), parts[4]
        ids = [self._place.stem_owner(day, name) for name in result_names(path)]
        ids += [piece for piece in path.split(".") if len(piece) == 32]
        for execution_id in ids:
            execution = self._place.records.execution(execution_id) if execution_id else None
            if execution is not None and execution.outcome is not None:
                to = execution.outcome.destination
                if execution.source.bucket == self._place.bucket and key in (
                    to.completed,
                    to.errors,
                    to.reasons,
                    to.receipt,
                ):
                    return execution
        return None

    def _is_passed_over(self, execution: Execution | None) -> bool:
        named = self._progress.named
        if named is None:
            return False
        if execution is not None and execution.id in named:
            return False
        self._progress.count("objects_not_searched")
        return True

    def _archive(self, archive: S3Object) -> None:
        execution = self._owner(archive.key)
        if self._is_passed_over(execution) or (execution is not None and self._is_of_later(execution)):
            return
        if execution is None or execution.outcome is None:
            self._by_lines(archive)
        elif execution.phase is not Phase.CLOSED:
            self._remember_open(execution.id)
        elif execution.status is Status.SUCCEEDED:
            self._execution(execution, archive)
        else:
            self._by_lines(archive)

    def _remember_open(self, execution_id: str) -> None:
        if execution_id not in self._progress.open:
            self._progress.open.append(execution_id)
            self._keep(at_once=True)

    def _execution(self, execution: Execution, archive: S3Object, aside: str = "") -> None:
        """All objects of an import that has ended. Where its file was refused, that goes to `aside`, blanked."""
        outcome = execution.outcome
        assert outcome is not None
        place = self._place
        expected = ""
        for _ in range(TRIES):
            papers = Papers.of(place.objects, execution)
            for key, lines_of_it in papers.speaking(self._traces.in_text):
                self._changing(key)
                self._put_lines(key, lines_of_it)
            try:
                found = self._search.walk(execution, outcome, archive, papers)
            except (ObjectProblem, Misconfigured) as problem:
                self._unread(execution, archive, aside, problem)
                return
            copied = False
            if found.problem is not None and aside:
                # Rows of the batch in which it ends are in no walk, nor is its line: they are in the copy's, that ends.
                rest, is_all = self._search.as_far(archive)
                copied = bool(rest.count)
                if not (found.count or copied or is_all):
                    self._trouble(archive, found.problem)
            elif found.problem is not None:
                self._trouble(archive, found.problem)
                if not found.count:
                    return
            if expected and found.walk_sha256 != expected:
                raise Unavailable(
                    f"{archive.uri} is not what was to be made of it: the version before is still there. Look at both"
                )
            expected = ""
            if not found.count and not copied:
                break
            now_ms = place.clock.now_ms()
            key = erasures.paper_key(execution.upload.execution_id, archive.etag, self._wish.id)
            paper = erasures.paper(archive, execution.id, self._wish.id, now_ms, found.walk_sha256, found.paper_rows())
            self._put_lines(key, paper)
            # Of what cannot be read to its end, the copy has what comes before that: it is looked at anew, and whole.
            expected = "" if found.problem else found.walk_sha256
            changed = self._write_over(archive, found.archive, aside)
            if changed:
                self._progress.count("items_of_others_from_their_rows", found.shared)
                for fate, number in found.fates.items():
                    self._progress.count(f"rows_{fate}", number)
                if aside:
                    place.objects.delete_version(archive)
                    self._progress.count("files_set_aside")
            else:
                expected = ""
            now = place.objects.head(Dropped(place.bucket, aside if changed and aside else archive.key, None, ""))
            if now is None:
                break
            archive, aside = now, "" if changed else aside
        else:
            raise Unavailable(f"{archive.uri} is written to by others again and again: run this again")
        if found.mentions:
            self._progress.mentions[archive.key] = [found.mentions, *found.first_mentions]
        if papers and not aside:
            self._papers_of(execution, outcome.destination, archive, found, papers)

    def _put_lines(self, key: str, paper: Iterator[bytes]) -> None:
        with SpooledTemporaryFile(1 << 20) as body:
            body.writelines(paper)
            self._place.objects.put(self._place.bucket, key, body, "application/x-ndjson")

    def _changing(self, key: str) -> None:
        """Note an object before it is changed, whose old versions have to be told, whoever is killed then."""
        if key not in self._progress.changed:
            self._progress.changed[key] = None
            self._keep(at_once=True)

    def _papers_of(self, execution: Execution, to: Any, archive: S3Object, found: Found, papers: Papers) -> None:
        """errors/, reasons, receipt of an import of which rows are blank, and the word that it is done."""
        errors, reasons = found.errors, found.reasons
        size = self._place.objects.size(self._place.bucket, to.errors)
        if found.errors_bytes is None or (size is not None and size != found.errors_bytes):
            errors, reasons = Spans(), Spans()
        self._clean(to.errors, errors, self._traces.in_bytes, found.header_bytes)
        if reasons is found.reasons:
            self._clean(to.reasons, reasons)
        else:
            self._reasons_by_rows(execution)
        self._receipt(execution, to.receipt, found.folded if found.errors_bytes is not None else None)
        moved_to = archive.key if archive.key.startswith(ASIDE) else ""
        last = papers.last
        if papers.unfinished or last is None or last.etag != archive.etag:
            if found.stored_sha256 is None and not found.problem:
                raise Unavailable(f"{archive.uri} was not read to its end: run this again")
            done = erasures.Done(
                archive.etag,
                archive.version_id,
                archive.size_bytes,
                found.stored_sha256 or "",
                sum(1 for _ in papers.rows()),
                self._place.clock.now_ms(),
                moved_to,
            )
            for key in papers.unfinished or papers.keys[-1:]:
                name = key.removesuffix(erasures.PAPER) + erasures.DONE
                self._place.objects.put(self._place.bucket, name, _json(asdict(done)), "application/json")
        for key in (archive.key, to.errors, to.reasons, to.receipt, f"{WORK}{execution.id}/"):
            self._progress.changed.setdefault(key)

    def _unread(
        self, execution: Execution, archive: S3Object, aside: str, problem: ObjectProblem | Misconfigured
    ) -> None:
        """An object whose rows cannot be told apart: it is looked at line by line."""
        if isinstance(problem, ObjectProblem) and not self._by_lines(archive, aside):
            self._trouble(archive, problem)
        elif isinstance(problem, Misconfigured):
            self._by_lines(archive, aside)
        assert execution.outcome is not None
        self._without_archive(execution)

    def _trouble(self, source: S3Object, problem: ObjectProblem) -> None:
        self._progress.troubles[source.key] = f"{problem.code.value}: {problem.message}"

    def _write_over(self, source: S3Object, spans: Spans, to: str = "") -> bool:
        """False: somebody has written there since it was read."""
        self._changing(to or source.key)
        try:
            self._place.vault.write_over(source, Blanks(spans), to, as_far=bool(to))
        except Fenced:
            return False
        except ObjectProblem as problem:
            if problem.code.value not in ("object_gone", "replaced_while_reading"):
                self._trouble(source, problem)
                raise Unavailable(f"{source.uri}: {problem.message}") from problem
            return False
        return True

    def _by_lines(self, source: S3Object, to: str = "") -> bool:
        """Blank the lines of an object that speak of the person; False if it cannot be read to its end."""
        for _ in range(TRIES):
            is_csv = without_compression(source.key).lower().endswith(".csv")
            found = self._search.lines_of(source, is_csv=is_csv)
            is_all = found.problem is None
            if to and not is_all:
                found, is_all = self._search.as_far(source, is_csv)
            if not found.count:
                return is_all
            if self._write_over(source, found.archive, to):
                self._progress.count("lines", found.count)
                if to:
                    self._place.objects.delete_version(source)
                    self._progress.count("files_set_aside")
                return is_all or bool(to)
            now = self._place.objects.head(Dropped(source.bucket, source.key, source.version_id, ""))
            if now is None:
                return True
            source = now
        raise Unavailable(f"{source.uri} is written to by others again and again: run this again")

    def _clean(
        self, key: str, spans: Spans, is_theirs: Callable[[bytes], bool] | None = None, header_bytes: int = 0
    ) -> None:
        """Blank what is to be blanked of errors/ or its reasons, and every other line that is theirs."""
        for _ in range(TRIES):
            source = self._place.objects.head(Dropped(self._place.bucket, key, None, ""))
            if source is None:
                return
            if self._differs(source, spans):
                if self._write_over(source, spans):
                    self._progress.count(f"lines_of_{'reasons' if key.endswith(_REASONS) else 'errors'}", spans.count)
                continue
            if is_theirs is None:
                return
            found = self._search.lines_of(source, is_theirs, header_bytes)
            if not found.count:
                return
            if self._write_over(source, found.archive):
                self._progress.count(f"lines_of_{'reasons' if key.endswith(_REASONS) else 'errors'}", found.count)
        raise Unavailable(f"s3://{self._place.bucket}/{key} is written to by others again and again: run this again")

    def _differs(self, source: S3Object, spans: Spans) -> bool:
        """Whether anything is left to be blanked."""
        if not spans.count:
            return False
        blanks, at = Blanks(spans), 0
        try:
            for chunk in self._place.objects.read(source, 0):
                if blanks.over(at, chunk) != chunk:
                    return True
                at += len(chunk)
        except ObjectProblem as problem:
            raise Unavailable(f"{source.uri}: {problem.message}") from problem
        return False

    def _receipt(self, execution: Execution | None, key: str, folded: FoldedReasons | None) -> None:
        """Take out of a receipt what it quotes of rows.

        Args:
            folded: its reasons as they are to be; None: only what speaks of the person goes.
        """
        kept = RowReasons.of(self._place.objects, execution) if execution is not None else None
        bucket = self._place.bucket
        for _ in range(TRIES):
            seen = self._place.objects.seen(bucket, key)
            body = self._place.objects.get(bucket, key)
            if body is None:
                return
            try:
                told = orjson.loads(body)
            except orjson.JSONDecodeError:
                source = self._place.objects.head(Dropped(bucket, key, None, ""))
                if source is not None:
                    self._by_lines(source)
                return
            if not isinstance(told, dict):
                return
            before = orjson.dumps(told)
            self._mask(told, folded, kept)
            if orjson.dumps(told) == before:
                return
            self._changing(key)
            try:
                body = orjson.dumps(told, option=orjson.OPT_INDENT_2)
                self._place.objects.put(bucket, key, body, "application/json", seen)
            except Fenced:
                continue
            self._progress.count("receipts")
            return
        raise Unavailable(f"s3://{bucket}/{key} is written to by others again and again: run this again")

    def _mask(self, told: dict[str, Any], folded: FoldedReasons | None, kept: RowReasons | None) -> None:
        """`kept`: the reasons, which have been cleaned: what they still say of a row is not the person's."""
        says = self._traces.in_value
        if folded is not None and "reasons" in told:
            told["reasons"] = orjson.loads(orjson.dumps(folded.folded()))
        for group in (told.get("reasons") or ()) if folded is None else ():
            are_kept = []
            for sample in group.get("samples") or ():
                is_said = says([sample.get("message") or "", sample.get("hint") or ""])
                is_kept = kept is not None and type(sample.get("offset")) is int and bool(kept.at(sample["offset"]))
                are_kept.append(is_kept)
                if is_said and not is_kept:
                    sample["message"], sample["hint"] = ERASED_TEXT, ""
            if says(group.get("field") or "") and not any(are_kept):
                group["field"] = ERASED_TEXT
        if "diagnosis" in told:
            told["diagnosis"] = orjson.loads(orjson.dumps(diagnosis(told.get("rows") or 0, told["reasons"])))
        if isinstance(told.get("error"), dict) and says(told["error"].get("message") or ""):
            told["error"]["message"] = ERASED_TEXT

    # -- objects that are no archive ----------------------------------------------------------------------------

    def _errors_object(self, found: S3Object) -> None:
        """errors/ of imports whose archive tells nothing of it; those of all others are done."""
        execution = self._owner(found.key)
        if self._is_passed_over(execution) or (execution is not None and self._is_of_later(execution)):
            return
        if execution is None or execution.outcome is None:
            is_reasons = found.key.endswith(_REASONS)
            self._clean(found.key, Spans(), self._search.in_reason if is_reasons else self._traces.in_bytes)
        elif execution.phase is not Phase.CLOSED:
            self._remember_open(execution.id)
        elif found.key == execution.outcome.destination.errors:
            # Line by line, whoever has looked at it before: somebody may have edited it, or its file is gone.
            if execution.replayed is not None:
                self._one(execution)  # its archive is another's, and was looked at for that one alone
            elif self._is_archived(execution):
                header_bytes = self._header_bytes(execution, found)
                self._clean(found.key, Spans(), self._traces.in_bytes, header_bytes)
            else:
                self._without_archive(execution)
        else:
            self._reasons_by_rows(execution)

    def _is_archived(self, execution: Execution) -> bool:
        """Whether the rows of an import can be walked."""
        assert execution.outcome is not None
        bucket, source = self._place.bucket, execution.source
        if execution.status is Status.SUCCEEDED:
            return self._place.objects.exists(bucket, execution.outcome.destination.completed)
        there = self._place.objects.head(Dropped(source.bucket, source.key, source.version_id, source.etag))
        if there is not None and there.etag == source.etag:
            return True
        return self._place.objects.exists(bucket, aside_key(execution))

    def _without_archive(self, execution: Execution) -> None:
        """errors/ and reasons side by side: a document says how long its row is."""
        assert execution.outcome is not None
        to, bucket = execution.outcome.destination, self._place.bucket
        errors = self._place.objects.head(Dropped(bucket, to.errors, None, ""))
        reasons = self._place.objects.head(Dropped(bucket, to.reasons, None, ""))
        if errors is not None and reasons is not None:
            errors_spans, reasons_spans = Spans(), Spans()
            for one in self._beside(execution, errors, reasons):
                if one.is_theirs or self._search.says(one.told):
                    errors_spans.add(one.start, one.stop)
                    if one.has_words:
                        reasons_spans.add(*one.span)
            self._clean(to.reasons, reasons_spans, self._search.in_reason)
            self._clean(to.errors, errors_spans, self._traces.in_bytes, self._header_bytes(execution, errors))
        else:
            self._clean(to.errors, Spans(), self._traces.in_bytes)
            self._clean(to.reasons, Spans(), self._search.in_reason)
        self._receipt(execution, to.receipt, None)

    def _reasons_by_rows(self, execution: Execution) -> None:
        """Reasons of rows that are theirs. One that only happens to say what they are called (`7`) is another's."""
        assert execution.outcome is not None
        to, bucket = execution.outcome.destination, self._place.bucket
        reasons = self._place.objects.head(Dropped(bucket, to.reasons, None, ""))
        if reasons is None or not self._search.lines_of(reasons, self._search.in_reason).count:
            return
        errors = self._place.objects.head(Dropped(bucket, to.errors, None, ""))
        if errors is None:
            self._clean(to.reasons, Spans(), self._search.in_reason)
            return
        spans = Spans()
        fits = True  # until lengths say that somebody has edited either
        for one in self._beside(execution, errors, reasons):
            fits &= one.fits
            if one.has_words and (one.is_theirs or (not fits and self._search.says(one.told))):
                spans.add(*one.span)
        self._clean(to.reasons, spans)

    def _header_bytes(self, execution: Execution, errors: S3Object) -> int:
        if execution.mime_type != TEXT_CSV:
            return 0
        head = b"".join(self._place.objects.read(errors, 0, min(HEAD_BYTES, errors.size_bytes)))
        try:
            return len(layout_of(TEXT_CSV, head).header)
        except ObjectProblem:  # somebody has edited it
            return 0

    def _beside(self, execution: Execution, errors: S3Object, reasons: S3Object) -> Iterator["_Refused"]:
        """Rows of errors/ and their documents, as long as lengths say where a row ends."""
        try:
            header_bytes = self._header_bytes(execution, errors)
            rows = lines(self._place.objects.read(errors, 0), Part(0, TO_THE_END))
            documents = Documents(self._place.objects.read(reasons, 0))
            blanked = erasures.lengths_of_bad(self._place.objects, execution)
            waiting = next(rows, None)
            while waiting is not None and waiting[0] < header_bytes:
                waiting = next(rows, None)
            while waiting is not None and not documents.is_at_end:
                told = documents.peek()
                span = documents.take()
                begin, raw = waiting
                length = next(blanked, 0) if told is None else told.get("length", 0)
                is_long = isinstance(raw, LongLine)
                is_theirs = (
                    self._search.in_long(errors, begin, raw)
                    if isinstance(raw, LongLine)
                    else is_blank(raw) or self._traces.in_bytes(raw)
                )
                size = len(raw)
                waiting = next(rows, None)
                while size < length and waiting is not None:
                    more = waiting[1]  # a record of a CSV, over several lines
                    size += len(more)
                    is_theirs |= isinstance(more, bytes) and self._traces.in_bytes(more)
                    waiting = next(rows, None)
                fits = told is None or length < size <= length + 2
                yield _Refused(begin, begin + size, is_theirs, told, span, not is_long, fits)
        except ObjectProblem as problem:
            raise Unavailable(f"{errors.uri}: {problem.message}") from problem

    def _receipt_object(self, found: S3Object) -> None:
        execution = self._owner(found.key)
        if not self._is_passed_over(execution) and not (execution is not None and self._is_of_later(execution)):
            self._receipt(execution, found.key, None)

    def _aside(self, found: S3Object) -> None:
        """A file that was set aside when somebody else was forgotten."""
        execution = self._place.records.execution(found.key.removeprefix(ASIDE).partition("/")[0])
        if execution is None or execution.outcome is None:
            self._by_lines(found)
        elif execution.phase is Phase.CLOSED:
            if not self._is_of_later(execution):
                self._execution(execution, found)
        else:
            self._remember_open(execution.id)

    def _work_object(self, found: S3Object) -> None:
        """What waits for an import: of one that has ended it waits for nothing."""
        execution_id = found.key.removeprefix(WORK).partition("/")[0]
        execution = self._place.records.execution(execution_id)
        if execution is not None and self._is_of_later(execution):
            return
        if execution is not None and execution.phase is not Phase.CLOSED:
            self._remember_open(execution_id)
            return
        self._remove_if_theirs(found)

    def _remove_if_theirs(self, found: S3Object, kind: str = "segments") -> bool:
        looked = self._search.lines_of(found)
        problem = looked.problem
        if problem is not None and not looked.count:
            looked, is_all = self._search.as_far(found)
            if not (looked.count or is_all or problem.code is FileReason.OBJECT_GONE):
                self._trouble(found, problem)
        if not looked.count:
            return False
        self._changing(found.key)
        self._place.vault.remove(found)
        self._progress.count(kind)
        return True

    def _preview(self, found: S3Object) -> None:
        """A file that was dropped to be looked at, and what was seen in it."""
        if self._is_later(found):
            return
        if self._remove_if_theirs(found, "previews"):
            path = found.key.removeprefix(PREVIEWS_PREFIX)
            for ending in (".json", ".html"):
                result = self._place.objects.head(Dropped(self._place.bucket, f"{RESULTS}{path}{ending}", None, ""))
                if result is not None:
                    self._changing(result.key)
                    self._place.vault.remove(result)
                    self._progress.count("preview_results")

    def _preview_result(self, found: S3Object) -> None:
        if not self._is_later(found):
            self._remove_if_theirs(found, "preview_results")

    # -- files that were dropped --------------------------------------------------------------------------------

    def _refused_files(self) -> list[str]:
        """What lies in imports/: refused files are set aside without the person's rows; others are waited for.

        Returns:
            Keys of files that nobody has begun to read.
        """
        waiting: list[str] = []
        refused: list[str] = []
        for source in self._place.objects.versions(self._place.bucket, IMPORTS_PREFIX):
            if self._is_later(source) or (source.key.endswith("/") and not source.size_bytes):
                continue
            self._what = source.key
            execution = self._place.records.execution(execution_id_of(source))
            if execution is None:
                waiting.append(source.key)
            elif execution.phase is not Phase.CLOSED or execution.status is Status.SUCCEEDED:
                self._remember_open(execution.id)
            else:
                refused.append(execution.id)
        for execution_id in refused:
            execution = self._place.records.execution(execution_id)
            if execution is not None:
                self._refused_file(execution)
        return waiting

    def _refused_file(self, execution: Execution) -> None:
        source = execution.source
        if execution.outcome is None:
            if not self._by_lines(source, aside_key(execution)):
                self._progress.troubles[source.key] = "it cannot be read"
            return
        self._execution(execution, source, aside_key(execution))

    # -- what was under way -------------------------------------------------------------------------------------

    def _wait(self) -> None:
        until_ms = self._place.clock.now_ms() + self._wish.wait_ms
        while self._still_open() and self._place.clock.now_ms() < until_ms:
            self._what = "imports that are under way"
            self._place.moved(self._what, 0)
            self._place.clock.sleep(min(5.0, max((until_ms - self._place.clock.now_ms()) / 1000, 0.1)))

    def _still_open(self) -> list[str]:
        found = [(one, self._place.records.execution(one)) for one in self._progress.open]
        return [one for one, execution in found if execution is not None and execution.phase is not Phase.CLOSED]

    def _ended_since(self) -> list[str]:
        """Imports that have ended since we began: their objects, which nobody had looked at. Those still open."""
        begun = self._place.tables.executions_since(self._progress.began_ms - LAG_MS)
        still_open: list[str] = []
        for execution_id in dict.fromkeys([*self._progress.open, *begun]):
            execution = self._place.records.execution(execution_id)
            if execution is None:
                continue
            self._what = execution.source.key
            if self._is_of_later(execution) or execution.source.bucket != self._place.bucket:
                continue
            if execution.phase is not Phase.CLOSED:
                still_open.append(execution_id)
            elif execution.outcome is not None:
                self._one(execution)
        return still_open

    def _one(self, execution: Execution) -> None:
        """All objects of one import that has ended."""
        assert execution.outcome is not None
        bucket = self._place.bucket
        if execution.status is Status.SUCCEEDED:
            archive = self._place.objects.head(Dropped(bucket, execution.outcome.destination.completed, None, ""))
            if archive is not None:
                self._execution(execution, archive)
            else:
                self._without_archive(execution)
        else:
            source = self._place.objects.head(
                Dropped(bucket, execution.source.key, execution.source.version_id, execution.source.etag)
            )
            aside = self._place.objects.head(Dropped(bucket, aside_key(execution), None, ""))
            if source is not None and source.etag == execution.source.etag:
                self._execution(execution, source, aside_key(execution))
            elif aside is not None:
                self._execution(execution, aside)
            else:
                self._without_archive(execution)
        for found in list(self._place.vault.listed(bucket, f"{WORK}{execution.id}/")):
            self._remove_if_theirs(found)

    # -- versions and the certificate ---------------------------------------------------------------------------

    def _old_versions(self) -> Iterator[S3Object]:
        place, changed = self._place, self._progress.changed
        for key in sorted(changed):
            yield from place.vault.old_versions(place.bucket, key, key.endswith("/"))
        for key in sorted(self._changed_by_others() - set(changed)):
            for version in place.vault.old_versions(place.bucket, key):
                found = self._search.lines_of(version)
                if found.count or (found.problem is not None and self._search.as_far(version)[0].count):
                    yield version

    def _changed_by_others(self) -> set[str]:
        """What forgettings have changed that were interrupted, and not gone on with: of the same person, maybe."""
        bucket, keys = self._place.bucket, set[str]()
        for key in self._place.objects.keys(bucket, RUNS):
            if key != f"{RUNS}{self._wish.id}.json":
                told = orjson.loads(self._place.objects.get(bucket, key) or b"{}")
                keys.update(one for one in told.get("changed") or () if not one.endswith("/"))
        return keys

    def _purge(self) -> None:
        """Delete the versions of what was changed that are not the current ones."""
        for version in list(self._old_versions()):
            self._place.vault.delete_version(version)
            self._progress.count("versions_deleted")

    def _certificate(self, still_open: list[str], waiting: list[str], is_complete: bool) -> dict[str, Value]:
        place, progress = self._place, self._progress
        days = place.vault.kept_days(place.bucket)
        versions: dict[str, Value] = {}
        old = 0
        until_ms: int | None = 0
        now_ms = place.clock.now_ms()
        for version in self._old_versions():
            old += 1
            kept = _days_of(version.key, days)
            until_ms = None if kept is None or until_ms is None else max(until_ms, now_ms + kept * 86_400_000)
        for key in sorted(progress.changed):
            now = None if key.endswith("/") else place.objects.head(Dropped(place.bucket, key, None, ""))
            if now is not None:
                versions[key] = {"version_id": now.version_id, "etag": now.etag}
            elif key.startswith((WORK, PREVIEWS_PREFIX, RESULTS)) and not key.endswith("/"):
                versions[key] = {"version_id": None, "etag": None}  # deleted
        foreign = sorted(set(place.vault.folders(place.bucket)) - {*PLACES, IMPORTS_PREFIX, erasures.PREFIX})
        return {
            "schema": SCHEMA,
            "bucket": place.bucket,
            "id": self._wish.id,
            "complete": is_complete,
            "began_ms": progress.began_ms,
            "ended_ms": now_ms,
            "uploaded_before_ms": progress.before_ms,
            "identifiers": list(self._wish.identifiers),
            "identifier_hashes": list(self._wish.hashes),
            "hash": "HMAC-SHA256, keyed with the secret of this forgetting",
            "done": {name: progress.counts[name] for name in sorted(progress.counts)},
            "changed": versions,
            "marker": "kept" if self._wish.keep_marker or not is_complete else "removed",
            "in_tables_since": dict(self._left),
            "open": {"executions": list(still_open), "waiting_files": list(waiting)},
            "unreadable": dict(progress.troubles),
            "mentions": {
                "rows_of_others": {
                    key: {"count": counted, "first_offsets": list(at)}
                    for key, (counted, *at) in progress.mentions.items()
                },
                "imports_table": list(progress.table_mentions),
            },
            "not_searched": {
                # None of ours: whoever put objects there knows what is in them.
                "folders": list(foreign),
                "buckets": list(progress.other_buckets),
                "objects_no_item_names": progress.counts.get("objects_not_searched", 0)
                if progress.named is not None
                else 0,
            },
            "old_versions": {"count": old, "kept_until_ms": until_ms if old else None},
        }


def _days_of(key: str, days: dict[str, int] | None) -> int | None:
    """How long the bucket keeps a version that is not the current one; None: for ever, or nobody may know."""
    if days is None:
        return None
    return min((kept for prefix, kept in days.items() if key.startswith(prefix)), default=None)


def _has_names(noted: Noted, names: frozenset[str]) -> bool:
    if noted.sk == "EXEC":
        state = orjson.loads(noted.item["state"])
        sums = (state.get("outcome") or {}).get("sums") or {}
    else:
        sums = noted.item.get("tally") or {}
    return bool(names & set(sums.get("top_users") or ()))


def _but_names(noted: Noted) -> dict[str, Any]:
    """An item without the names that are taken out of it."""
    item = {name: value for name, value in noted.item.items() if name not in ("tally", "result", "state")}
    if noted.sk == "EXEC":
        state = orjson.loads(noted.item["state"])
        item["state"] = {**state, "outcome": None}
    return item


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2)
