"""Bugs of settling: joining, copying, deleting, and the receipt."""

from contextlib import AbstractContextManager
from typing import Any

from importer.aws import copying, uploads
from importer.aws.objects import S3Objects
from importer.executions import joining, settling
from tests.faults.bugs import Bug, both, changed

Planted = AbstractContextManager[Any]


def deleted_before_copied() -> Planted:
    """The source is deleted, then archived: a crash in between loses the file (I3)."""
    return changed(
        settling.settle,
        ("place.objects.copy(", "place.objects.delete_version(execution.source); place.objects.copy("),
    )


def deleted_without_its_version() -> Planted:
    """A delete without a version hides whatever lies there now, and removes nothing (A10)."""
    return changed(S3Objects.delete_version, (", VersionId=source.version_id", ""))


def head_then_delete() -> Planted:
    """It is looked whether the object is still the same, then whatever is there is deleted (I4)."""
    looked = 'if self._s3.head_object(Bucket=source.bucket, Key=source.key)["ETag"].strip(\'"\') == source.etag: '
    return changed(
        S3Objects._delete_if_unchanged,
        ("self._s3.delete_object(", looked + "self._s3.delete_object("),
        (", IfMatch=source.etag", ""),
    )


def closed_before_deleted() -> Planted:
    """SUCCEEDED is written while the source still lies in imports/ (I3)."""
    return changed(
        settling.settle,
        (
            "place.objects.delete_version(execution.source)",
            "_closed(place, execution, outcome, reasons); place.objects.delete_version(execution.source)",
        ),
    )


def cleared_before_closed() -> Planted:
    """The segments are removed before the end is written: who settles again does not find them (I2)."""
    return changed(settling._closed, ("was_us = ", "_clear_away(place, execution)\n    was_us = "))


def destination_by_the_clock() -> Planted:
    """The day in the four keys is that of whoever settles, not that of the execution (H8)."""
    now = "replace(execution, created_ms=place.clock.now_ms())"
    return changed(
        settling.settle,
        (
            "    outcome = execution.outcome\n",
            f"    outcome = execution.outcome and replace(execution.outcome, destination=destination({now}, True))\n",
        ),
    )


def receipt_of_the_first_part() -> Planted:
    """The sums are those of one part (I2)."""
    return changed(settling._sums, ("for part in parts:", "for part in parts[:1]:"))


def lines_counted_from_the_part() -> Planted:
    """A reason's line is counted from its part's begin (C10)."""
    return changed(joining._Rows.line, ("before + row.line", "row.line"))


def rows_beyond_the_position_joined() -> Planted:
    """Bad rows count that were written, but whose progress was not (I10)."""
    return changed(joining._Rows._counts, ("return bool(self._starts) and row.offset", "return True or row.offset"))


def joining_skips_a_segment() -> Planted:
    """Who goes on with the join begins behind the segment that was being read (N6)."""
    return changed(joining._Rows.segments, ("if key >= first", "if key > first"))


def joining_off_by_one() -> Planted:
    """Who goes on in the middle of a row repeats its last byte (N6)."""
    return changed(joining._Pieces._write, ("max(skip - used, 0)", "max(skip - used - 1, 0)"))


def joining_repeats_the_row() -> Planted:
    """Who goes on with the join begins with the row that was being written, from its first byte (N6)."""
    return changed(joining._Pieces._write, ('(page["row"], page["skip"])', '(page["row"], 0)'))


def upload_forgotten() -> Planted:
    """Who goes on with the join begins a new upload, and nobody misses what was sent to the old one (N6)."""
    return both(
        changed(joining._Pieces._write, ('page.get("upload_id", "")', '""')),
        changed(
            uploads.Upload.complete,
            ("[number for number in range(1, count + 1) if number not in pieces]", "[]"),
            (
                'pieces[number]["ETag"]} for number in range(1, count + 1)]',
                'pieces[number]["ETag"]} for number in sorted(pieces)]',
            ),
        ),
    )


def tags_not_copied() -> Planted:
    """A multipart copy begins with nothing, and keeps no tags (I6)."""
    return changed(copying._in_pieces, ("if tags:", "if False:"))


PROGRESS = "UpdateItem .*PART#"
NOTED = "PutItem .*NOTES"  # first those of the hash, then those of the join
BUGS = [
    Bug(deleted_before_copied, "medium", "nothing", "_deleted"),
    Bug(deleted_without_its_version, "medium", "nothing", "check_succeeded"),
    Bug(head_then_delete, "unversioned", "overwritten, unversioned", "_deleted", "DeleteObject imports"),
    Bug(closed_before_deleted, "medium", "nothing", "check_succeeded"),
    Bug(cleared_before_closed, "medium", "killed after", "_live", "DeleteObjects"),
    Bug(destination_by_the_clock, "medium", "killed before midnight", "_deleted", "PutObject receipts"),
    Bug(receipt_of_the_first_part, "four parts", "nothing", "_live"),
    Bug(lines_counted_from_the_part, "four parts", "nothing", "_deleted"),
    Bug(rows_beyond_the_position_joined, "medium", "canceled", "_live", PROGRESS, begin=1),
    Bug(joining_skips_a_segment, "four parts, in pieces", "killed after", "_live", NOTED, begin=24),
    Bug(joining_off_by_one, "four parts, in pieces", "killed after", "_deleted", NOTED, begin=27),
    Bug(joining_repeats_the_row, "four parts, in pieces", "killed after", "_live", NOTED, begin=24),
    Bug(upload_forgotten, "four parts, in pieces", "killed after", "_live", NOTED, begin=21),
    Bug(tags_not_copied, "four parts, in pieces", "nothing", "_deleted"),
]
