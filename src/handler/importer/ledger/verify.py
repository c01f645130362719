"""Verify: recount one execution from what it left behind, by one walk through the object it imported.

The archived object (of a FAILED or CANCELED execution: the source) walks through `batches` once more under everything
the execution pinned. For each batch the store must hold the good rows, errors/ and the reasons file must go on with the
bad ones. At the end nothing may be left over in either, and sums, receipt and the execution's document must be those of
this count. How many parts and workers there were does not matter: the same bytes make the same batches.

A row the walk calls good is a bad row if the reasons file says that a destination refused it: only that file knows. It
must then be in errors/ and not in the store.

Of an execution that was undone no item may name it as its last writer. Its papers stay what they were.

A row of a person who was forgotten is blank, in the archive and in errors/: erasure papers (`erasures`) say what it
was, and it counts as that. What the archive's hash is since, they say too.

Of a FAILED or CANCELED execution the rows before each part's `read_to` are expected; later ones may be in the store or
not, and are not looked at.

Memory: one batch, what `stores.MOST_CLAIMS` and one bad row of lookahead take. With `scan` 8 bytes more for each event
and user change of the file, and 50 MB while they are sorted. An extra key passes unseen if its 64-bit hash is that of
an expected one: once in 10**10 for a file of a billion events.
"""

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from importer.bad_rows import FileReason, ObjectProblem
from importer.batches import Batch, batches
from importer.documents import document
from importer.executions.pinned import rules_of
from importer.executions.plain_text import PlainText
from importer.formats import FORMATS, UNKNOWN, UNREAD, judge_columns
from importer.layouts import Layout
from importer.ledger.erasures import Blanked, Papers, Reckoning, set_aside
from importer.ledger.papers import ErrorRows, Reasons, stored_bytes
from importer.ledger.ports import Books, Key
from importer.ledger.stores import StoreCheck
from importer.ledger.traces import ERASED_TEXT
from importer.ledger.verdict import Finding, Findings, Kind, Place, Verdict
from importer.lines import reading_start
from importer.model import (
    COUNTS,
    RULES_VERSION,
    TO_THE_END,
    Event,
    Execution,
    Misconfigured,
    Outcome,
    Part,
    Phase,
    S3Object,
    Status,
    Tally,
    Unavailable,
    UserChange,
)
from importer.notification import Dropped
from importer.parts import parts_of
from importer.receipts import FoldedReasons, receipt
from importer.sinks import SINKS
from importer.users import ERASED

MOST_FINDINGS: Final = 10
_RUN: Final = 1 << 20  # hashes sorted at a time: as a list they take five times their room
# An object that cannot be read now; anything else a walk ends in is what the bytes are.
_NOT_THERE: Final = frozenset({FileReason.OBJECT_GONE, FileReason.REPLACED_WHILE_READING, FileReason.OBJECT_ARCHIVED})
# What every receipt/1 says; a name beside these may be younger than a receipt.
# fmt: off
_MUST_BE_SAID: Final = frozenset({
    "schema", "execution_id", "status", "complete", "error", "source", "bucket", "key", "version_id", "etag", "bytes",
    "sha256", "format", "import_id", "lines", "blank", "rows", "good", "bad", "events", "user_changes", "reasons",
    "code", "count", "first_line", "samples", "notes", "sinks", "written", "refused", "completed_uri", "errors_uri",
    "reasons_uri", "unread", "parts", "timing",
})
# fmt: on


class CannotRecount(Exception):
    """Nothing can be said about this execution now; the words say why and what would change it."""


def verify(
    books: Books,
    execution: Execution,
    scan: bool = False,
    most: int = MOST_FINDINGS,
    moved: Callable[[int], None] = lambda offset: None,
) -> Verdict:
    """Recount an ended execution. Reads only.

    Args:
        scan: search the tables for items this execution wrote that no row accounts for; reads them whole.
        most: findings told in full; all are counted.
        moved: hears the plain bytes walked through, after each batch.
    Raises:
        CannotRecount: it has not ended, other rules were at work, or its object cannot be read.
        Unavailable.
    """
    return _Recount(books, execution, _judged(execution), scan, most, moved).verdict()


def _judged(execution: Execution) -> Outcome:
    if execution.rules_version != RULES_VERSION:
        raise CannotRecount(
            f"execution {execution.id} was imported under rules {execution.rules_version} and this is version "
            f"{RULES_VERSION}: it cannot be recounted by this version. Use the one that was deployed then"
        )
    if execution.phase is not Phase.CLOSED or execution.outcome is None:
        raise CannotRecount(
            f"execution {execution.id} is {execution.status.value} ({execution.phase.value.lower()}): "
            "it can be recounted when nothing is left to do"
        )
    if execution.undone is not None and not execution.undone.done:
        raise CannotRecount(
            f"execution {execution.id} is being undone: `importer undo {execution.id}` ends that, or goes on with it"
        )
    unknown = [name for name in execution.sinks if name not in SINKS]
    if execution.format not in (*FORMATS, UNKNOWN, UNREAD) or unknown:
        raise CannotRecount(
            f"execution {execution.id}: {(unknown or [execution.format])[0]} is unknown to this version"
        )
    return execution.outcome


class _Recount:
    def __init__(
        self,
        books: Books,
        execution: Execution,
        outcome: Outcome,
        scan: bool,
        most: int,
        moved: Callable[[int], None],
    ) -> None:
        self._books = books
        self._execution = execution
        self._outcome = outcome
        self._scan = scan
        self._moved = moved
        self._findings = Findings(most)
        self._store = StoreCheck(books, execution, self._findings)
        self._in_tables = "dynamodb" in execution.sinks
        self._is_whole = execution.status is Status.SUCCEEDED
        self._last = max(outcome.read_to.values(), default=0)
        self._numbered = {} if self._is_whole else self._numbered_parts()
        self._keys = _Keys()
        self._expired_papers: dict[str, None] = {}  # sentences, each once
        self._sums = Tally()
        self._folded = FoldedReasons()
        self._damage: ObjectProblem | None = None  # where the walk of a SUCCEEDED execution's archive broke off
        self._walked_to = 0
        self._erased = _ErasedRows(0, 0, 0)
        self._papers = Papers.of(books.objects, execution)
        if self._papers.unfinished:
            raise CannotRecount(
                f"execution {execution.id}: somebody is being forgotten, and its rows are being blanked. Try "
                "again when that has ended; if `importer forget` was interrupted, run it again"
            )
        self._blanked = self._reckoning()
        try:
            self._rules = rules_of(execution)
        except Misconfigured as problem:
            raise CannotRecount(f"execution {execution.id}: its definition cannot be read: {problem}") from problem
        # Parts of which nothing was stored: those of a file that is stored as a whole, before all of it was checked.
        parts = [] if self._is_whole else books.records.parts(execution.id)
        self._withheld = {part.start for part in parts if execution.is_checking or part.tally.withheld}

    def verdict(self) -> Verdict:
        archive = self._archive()
        if archive is None:
            key = self._outcome.destination.completed
            expired = self._books.archive_expired(self._execution)
            if expired:
                raise CannotRecount(
                    f"{expired}. What its import counted is in {self._outcome.destination.receipt}, as long as that is "
                    "kept"
                )
            self._findings.add(Kind.MISSING, Place.ARCHIVE, key=key, found="there is no such object")
            return self._ended("no row was recounted: that needs the archived object")
        sha256 = self._walk(archive)
        if self._damage is not None:  # the rows that are claimed may lie behind it
            self._store.leave_claims()
        elif self._store.has_claims:
            for batch in self._batches(archive):
                self._store.resolve(batch.events, batch.user_changes)
            self._store.refute_claims()
        if self._scan and self._in_tables and self._damage is None:
            self._search()
        if self._expired_papers and self._sums.bad != self._outcome.sums.bad:
            raise CannotRecount(
                f"execution {self._execution.id}: a destination refused rows, and only the reasons said which. They "
                f"have expired: errors/ is kept for {self._books.kept.errors_days} days (ErrorsRetentionDays)"
            )
        self._compare_sums()
        self._compare_receipt()
        self._compare_document()
        self._compare_parts()
        self._compare_archive(archive, sha256)
        return self._ended()

    def _may_have_expired(self, kept_days: int) -> bool:
        return self._books.may_have_expired(self._outcome.end_date, kept_days)

    def _ended(self, *unchecked: str) -> Verdict:
        said = [*unchecked, *self._expired_papers]
        if "firehose" in self._execution.sinks:
            said.append("the stream: it has no keys, so there is nothing to read back")
        if not self._in_tables:
            said.append("the tables: this execution did not write to them")
        elif not self._scan:
            said.append("items that no row accounts for: --all searches for them")
        if self._store.of_forgotten:
            said.append(
                f"{self._store.of_forgotten:,} items whose last writer is not known any more: records are kept for "
                f"{self._books.kept.execution_days} days (ExecutionRetentionDays)"
            )
        if self._store.unproven:
            said.append(
                f"{self._store.unproven:,} items that name another row of this file as the last to write them: "
                "whether it is such a row"
            )
        if self._store.replayed:
            said.append(
                f"the values of {self._store.replayed:,} events that a replay of this file wrote last, under other "
                "settings: verify that one"
            )
        gone, forgotten = self._store.gone, self._blanked.total
        return self._findings.verdict(self._execution.id, self._sums, self._scan, said, gone, forgotten)

    def _reckoning(self) -> Reckoning:
        first = self._books.records.execution(self._execution.upload.execution_id) or self._execution
        ours = self._execution
        if self._papers and (first.definition, first.format) != (ours.definition, ours.format):
            raise CannotRecount(
                f"execution {ours.id} is a replay under other settings, and rows it has read were blanked since: what "
                f"they were is known of the first import alone, execution {first.id}"
            )
        return Reckoning(self._papers.rows() if self._papers else iter(()))

    # -- the walk -----------------------------------------------------------------------------------------------

    def _archive(self) -> S3Object | None:
        """The object to be walked; None if a SUCCEEDED execution's is gone."""
        source = self._execution.source
        if self._is_whole:
            return self._books.objects.head(Dropped(source.bucket, self._outcome.destination.completed, None, ""))
        found = self._books.objects.head(Dropped(source.bucket, source.key, source.version_id, source.etag))
        if found is not None and found.etag == source.etag:
            return source
        if (aside := set_aside(self._books.objects, self._execution)) is not None:  # since somebody was forgotten
            return aside
        archived = self._books.objects.head(Dropped(source.bucket, self._outcome.destination.completed, None, ""))
        if archived is None or self._outcome.sha256 is None:
            raise CannotRecount(f"{source.uri} is not there any more, so nothing can be recounted")
        # Read whole, and moved: it has SUCCEEDED, and somebody has changed what the table says.
        found_status = self._execution.status.value
        self._findings.add(
            Kind.DIFFERENT,
            Place.EXECUTION,
            key=self._execution.id,
            attribute="status",
            expected=Status.SUCCEEDED.value,
            found=found_status,
        )
        self._is_whole, self._numbered = True, {}
        return archived

    def _walk(self, archive: S3Object) -> str | None:
        """Compare batch after batch; the SHA-256 of the archive's stored bytes if all were read."""
        bucket, destination = archive.bucket, self._outcome.destination
        objects = self._books.objects
        text: PlainText | None = None
        papers: tuple[ErrorRows, Reasons] | None = None
        reasons = stored_bytes(objects, bucket, destination.reasons)
        errors = stored_bytes(objects, bucket, destination.errors)
        header = b""
        try:
            text = PlainText(objects, archive)
            layout = text.layout(self._rules.definition.mime_type, self._execution.was_read)
            header = layout.header if layout.header.endswith(b"\n") or not layout.header else layout.header + b"\n"
            papers = self._papers_of(errors, reasons, header)
            for batch in self._batches_of(text, layout):
                is_due = self._is_due(batch)
                if not is_due and self._execution.undone is not None and self._in_tables:
                    self._store.undone(batch.events, batch.user_changes, _line_numbers(batch))
                elif not is_due and batch.start >= self._last and not (self._scan or self._store.has_claims):
                    break
                self._compare(batch, is_due, *papers)
                self._walked_to = batch.next_offset
                self._moved(batch.next_offset)
        except ObjectProblem as problem:
            self._judge_damage(problem)
        rows, documents = papers or self._papers_of(errors, reasons, header)
        for blanked in self._blanked.rest():
            self._expect_blank(blanked, rows, documents)
        if self._damage is None:  # what the archive no longer tells is not extra
            rows.end()
            documents.end()
        return text.sha256() if text is not None else None

    def _papers_of(
        self, errors: Iterator[bytes] | None, reasons: Iterator[bytes] | None, header: bytes
    ) -> tuple[ErrorRows, Reasons]:
        destination = self._outcome.destination
        return (
            ErrorRows(errors, destination.errors, header, self._findings_of(errors, destination.errors)),
            Reasons(reasons, destination.reasons, self._execution, self._findings_of(reasons, destination.reasons)),
        )

    def _findings_of(self, paper: Iterator[bytes] | None, key: str) -> Findings:
        """Where differences in a paper are written down: nowhere, if it has expired."""
        expired = self._books.errors_expired(self._execution)
        if paper is not None or not self._outcome.sums.bad or not expired:
            return self._findings
        self._expired_papers[f"{key}: {expired}"] = None
        return Findings(0)

    def _judge_damage(self, problem: ObjectProblem) -> None:
        if problem.code in _NOT_THERE:
            raise CannotRecount(f"it cannot be recounted: {problem.message}") from problem
        if self._is_whole:
            self._damage = problem

    def _batches(self, archive: S3Object) -> Iterator[Batch]:
        """All batches once more; as many as can be read."""
        try:
            text = PlainText(self._books.objects, archive)
            yield from self._batches_of(text, text.layout(self._rules.definition.mime_type, self._execution.was_read))
        except ObjectProblem as problem:
            self._judge_damage(problem)

    def _batches_of(self, text: PlainText, layout: Layout) -> Iterator[Batch]:
        if layout.columns:
            judge_columns(self._execution.format, layout.columns, self._rules.definition)
        part = Part(len(layout.header), TO_THE_END)
        return batches(layout.lines(text.read(reading_start(part)), part), self._rules, layout)

    def _is_due(self, batch: Batch) -> bool:
        """Whether its rows were read, so far as the outcome says."""
        if self._is_whole:
            return True
        start = self._execution.part_start(batch.start)
        return batch.start < self._outcome.read_to.get(start, start)

    def _numbered_parts(self) -> dict[int, bool]:
        """Start of each part → whether its line numbers are known: not behind a part that was not read to its end."""
        numbered: dict[int, bool] = {}
        known = True
        for part in self._books.records.parts(self._execution.id):
            numbered[part.start] = known
            known &= part.done
        return numbered

    def _compare(self, batch: Batch, is_due: bool, errors: ErrorRows, reasons: Reasons) -> None:
        blanked = self._blanked.settle(batch, is_due)
        refused = reasons.refused_before(batch.next_offset) if is_due else {}
        if refused:
            good = {event.address for event in batch.events} | {change.address for change in batch.user_changes}
            refused = {address: reject for address, reject in refused.items() if address in good}
            batch.take_out(refused)
        if is_due and self._execution.part_start(batch.start) in self._withheld:
            batch.withhold()
        events = [event for event in batch.events if event.address not in refused]
        changes = [change for change in batch.user_changes if change.address not in refused]
        if is_due:
            is_numbered = self._is_whole or self._numbered.get(self._execution.part_start(batch.start), True)
            if not is_numbered:
                for noted in batch.tally.notes.values():
                    noted.first_line = None
            self._sums = self._sums.plus(batch.tally)
            if self._in_tables and self._outcome.sums.erased:
                self._count_erased(batch, events, changes)
            if self._in_tables:
                line_of = _line_numbers(batch)
                if self._execution.undone is not None:
                    self._store.undone(batch.events, batch.user_changes, line_of)
                else:
                    self._store.events(events, line_of)
                    self._store.users(changes, line_of)
                if refused:
                    self._store.absent(
                        [event for event in batch.events if event.address in refused],
                        [change for change in batch.user_changes if change.address in refused],
                        line_of,
                    )
            bad_rows = batch.bad_rows
            while blanked or bad_rows:
                if blanked and (not bad_rows or blanked[0].row.offset < bad_rows[0].offset):
                    self._expect_blank(blanked.pop(0), errors, reasons, is_numbered)
                    continue
                row, *bad_rows = bad_rows
                line = row.line if is_numbered else None
                errors.expect(row)
                reasons.expect(row, line)
                self._folded.add(row, line)
        self._store.resolve(events, changes)
        if self._scan and self._execution.undone is None:
            self._keys.add(Place.EVENTS, [(event.user_id, event.event_key) for event in events])
            self._keys.add(Place.USERS, [(change.user_id, change.record) for change in changes])

    def _expect_blank(self, blanked: Blanked, errors: ErrorRows, reasons: Reasons, is_numbered: bool = True) -> None:
        row = blanked.bad_row()
        errors.expect(row)
        reasons.expect_erased(row)
        self._folded.add(row, row.line if is_numbered else None)

    def _count_erased(self, batch: Batch, events: list[Event], changes: list[UserChange]) -> None:
        """Rows of persons erased since: the import has left out some of them, or all."""
        users = [event.user_id for event in events] + [change.user_id for change in changes]
        erased = self._store.erased_after(users)
        gone = {event.address for event in events if event.user_id in erased}
        gone |= {change.address for change in changes if change.user_id in erased}
        self._erased = _ErasedRows(
            self._erased.rows + len(gone),
            self._erased.events + sum(event.address in gone for event in events),
            self._erased.user_changes + sum(change.address in gone for change in changes),
        )

    def _search(self) -> None:
        """Items this execution was the last to write, of which no row knows."""
        self._keys.sort()
        stored, execution_id = self._books.stored, self._execution.id
        for place, keys in ((Place.EVENTS, stored.events_of), (Place.USERS, stored.users_of)):
            for key in keys(execution_id):
                # Whose links led to an erased person is erased too; no row of ours names them.
                if self._keys.holds(place, key) or (place is Place.USERS and key[1] == ERASED):
                    continue
                if not self._is_of_blanked_row(place, key):
                    self._findings.add(
                        Kind.EXTRA,
                        place,
                        key="/".join(key),
                        found=f"an item that says execution {execution_id} wrote it",
                    )

    def _is_of_blanked_row(self, place: Place, key: Key) -> bool:
        """Whether an item is what a row that was blanked said of somebody else."""
        if not self._papers:
            return False
        stored = self._books.stored
        item = (stored.events([key]) if place is Place.EVENTS else stored.users([key])).get(key, {})
        address = int(item.get("address", {}).get("N", "-1"))
        return any(row.offset == address for row in self._papers.rows())

    # -- papers -------------------------------------------------------------------------------------------------

    def _compare_archive(self, archive: S3Object, sha256: str | None) -> None:
        wanted = self._outcome.sha256
        if wanted is None:  # of a FAILED or CANCELED execution: nobody read all of it
            return
        since = self._papers.last
        if since is not None and archive.etag == since.etag:
            wanted = since.sha256
        problem = self._damage
        line = offset = None
        if problem is not None:
            found = f"{problem.code.value}: {problem.message}"
            line, offset = self._sums.file_lines + 1, self._walked_to
        else:
            sha256 = sha256 or self._hash(archive)
            if sha256 == wanted:
                return
            found = f"SHA-256 {sha256}"
        self._findings.put_first(
            Finding(Kind.DIFFERENT, Place.ARCHIVE, line, offset, archive.key, "bytes", f"SHA-256 {wanted}", found)
        )

    def _hash(self, archive: S3Object) -> str:
        digest = hashlib.sha256()
        try:
            for chunk in self._books.objects.read(archive, 0):
                digest.update(chunk)
        except ObjectProblem as problem:
            raise Unavailable(f"{archive.uri} changed while it was read: {problem.message}") from problem
        return digest.hexdigest()

    def _compare_sums(self) -> None:
        if self._damage is not None:
            return
        told = self._outcome.sums
        self._sums = self._without_erased(told)
        for name in (*COUNTS, "inner_lines", "notes", "sampled", "top_users"):
            counted, kept = getattr(self._sums, name), getattr(told, name)
            if counted != kept:
                self._findings.add(
                    Kind.DIFFERENT,
                    Place.EXECUTION,
                    key=self._execution.id,
                    attribute=name,
                    expected=str(counted),
                    found=str(kept),
                )

    def _without_erased(self, told: Tally) -> Tally:
        """Our sums, less the rows of erased persons that the import says it left out: as far as there are so many."""
        sums, blanked = self._sums, self._blanked
        if ERASED_TEXT in told.top_users:  # taken out of there, also where the archive could not be searched
            sums = replace(sums, top_users=told.top_users)
        left_out = min(told.erased, self._erased.rows + blanked.good_rows)
        if not left_out and not blanked.total:
            return sums
        events, changes = sums.events - told.events, sums.user_changes - told.user_changes
        may_lack_events = self._erased.events + blanked.events if left_out else 0
        may_lack_changes = self._erased.user_changes + blanked.user_changes if left_out else 0
        return replace(
            sums,
            good=sums.good - left_out,
            erased=left_out,
            events=told.events if 0 <= events <= may_lack_events else sums.events,
            user_changes=told.user_changes if 0 <= changes <= may_lack_changes else sums.user_changes,
            notes=told.notes,  # those of rows left out are not counted
            sampled=told.sampled,
            top_users=told.top_users,
        )

    def _compare_receipt(self) -> None:
        source, key = self._execution.source, self._outcome.destination.receipt
        body = self._books.objects.get(source.bucket, key)
        if body is None:
            days = self._books.kept.receipt_days
            if self._may_have_expired(days):
                told = f"{key}: receipts are kept for {days} days (ReceiptRetentionDays), and it has expired"
                self._expired_papers[told] = None
            else:
                self._findings.add(Kind.MISSING, Place.RECEIPT, key=key, found="there is no such object")
            return
        try:
            found = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            self._findings.add(
                Kind.DIFFERENT, Place.RECEIPT, key=key, expected="a JSON document", found=f"not JSON: {error}"
            )
            return
        counted = self._outcome if self._damage is not None else replace(self._outcome, sums=self._sums)
        expected = orjson.loads(receipt(self._execution, counted, self._folded))
        said = found.get("error") if isinstance(found, dict) else None
        if isinstance(said, dict) and said.get("message") == ERASED_TEXT and expected["error"] is not None:
            expected["error"]["message"] = ERASED_TEXT  # it quoted somebody who was forgotten
        if self._damage is not None:  # only what the rows of the whole file tell is not known
            expected = {name: value for name, value in expected.items() if name not in ("reasons", "sinks")}
            if isinstance(found, dict):
                found = {name: value for name, value in found.items() if name not in ("reasons", "sinks")}
        self._compare_documents(Place.RECEIPT, key, expected, found, frozenset({"cost"}), _MUST_BE_SAID)

    def _compare_document(self) -> None:
        # How its undoing stands is a note beside the document.
        expected = orjson.loads(orjson.dumps(document(replace(self._execution, undone=None))))
        stored = self._books.stored.document(self._execution.id)
        found = {name: stored[name] for name in expected if name in stored}
        # How many parts were done is kept beside the document, which is not written for each of them.
        self._compare_documents(
            Place.EXECUTION, self._execution.id, expected, found, frozenset({"completed_tasks"}), None
        )

    def _compare_parts(self) -> None:
        """What is kept of the parts must be all of them, done, and add up to this count."""
        if not self._is_whole or self._damage is not None:
            return
        execution = self._execution
        parts = self._books.records.parts(execution.id)
        wanted = [part.start for part in parts_of(execution.part_count, execution.part_bytes)]
        done = [part.start for part in parts if part.done]
        told = [("parts", wanted, done), ("parts_done", wanted, sorted(execution.parts_done))]
        if done == wanted:
            for name in COUNTS:
                counted = sum(getattr(part.tally, name) for part in parts)
                told.append((f"parts.tally.{name}", [getattr(self._sums, name)], [counted]))
        for name, expected, found in told:
            if expected != found:
                self._findings.add(
                    Kind.DIFFERENT,
                    Place.EXECUTION,
                    key=execution.id,
                    attribute=name,
                    expected=", ".join(map(str, expected)),
                    found=", ".join(map(str, found)) or "none",
                )

    def _compare_documents(
        self,
        place: Place,
        key: str,
        expected: dict[str, Any],
        found: Any,
        passed_over: frozenset[str],
        must_be_said: frozenset[str] | None,
    ) -> None:
        for path, wanted, told in _differences("", expected, found, must_be_said):
            if path.partition(".")[0].partition("[")[0] not in passed_over:
                self._findings.add(
                    Kind.DIFFERENT, place, key=key, attribute=path, expected=_json(wanted), found=_json(told)
                )


@dataclass(frozen=True, slots=True)
class _ErasedRows:
    """How many rows, and of what, are of persons who were erased later."""

    rows: int
    events: int
    user_changes: int


_ABSENT: Final = object()


def _differences(
    path: str, expected: Any, found: Any, must_be_said: frozenset[str] | None
) -> Iterator[tuple[str, Any, Any]]:
    """(path, expected, found) of what differs in two JSON documents, types included: true is not 1, nor 3 3.0.

    Args:
        must_be_said: another name that only the expected one has may be younger than the one found, and is passed
            over; None: all must be there.
    """
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in [*expected, *(name for name in found if name not in expected)]:
            if name in found or must_be_said is None or name in must_be_said:
                at = f"{path}.{name}" if path else str(name)
                yield from _differences(at, expected.get(name, _ABSENT), found.get(name, _ABSENT), must_be_said)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for index, (one, another) in enumerate(zip(expected, found, strict=True)):
            yield from _differences(f"{path}[{index}]", one, another, must_be_said)
    elif expected != found or type(expected) is not type(found):
        yield path, expected, found


def _json(value: Any) -> str:
    return "nothing" if value is _ABSENT else orjson.dumps(value).decode()


def _line_numbers(batch: Batch) -> Callable[[int], int]:
    """Number of the line at an address; worked out when the first is asked for."""
    numbers: dict[int, int] = {}

    def line_of(address: int) -> int:
        if not numbers:
            numbers.update(batch.line_numbers())
        return numbers[address]

    return line_of


class _Keys:
    """A set of keys to which nothing is added once it is sorted: 8 bytes each."""

    def __init__(self) -> None:
        self._runs: list[array[int]] = [array("Q")]

    def add(self, place: Place, keys: list[Key]) -> None:
        if len(self._runs[-1]) >= _RUN:
            self._sort_last()
            self._runs.append(array("Q"))
        self._runs[-1].extend(_hash_of(place, key) for key in keys)

    def sort(self) -> None:
        self._sort_last()

    def holds(self, place: Place, key: Key) -> bool:
        wanted = _hash_of(place, key)
        for run in self._runs:
            at = bisect_left(run, wanted)
            if at < len(run) and run[at] == wanted:
                return True
        return False

    def _sort_last(self) -> None:
        self._runs[-1] = array("Q", sorted(self._runs[-1]))


def _hash_of(place: Place, key: Key) -> int:
    text = "\0".join((place.value, f"{len(key[0])}", *key)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big")
