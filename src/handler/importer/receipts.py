"""`receipt/1` and the folded reasons (pure): what a person, a dashboard and `verify` read after an import.

Rule: `lines = rows + blank`, `rows = good + bad + expired + erased + withheld`. Apart from parts, timing and cost a
receipt does not depend on how the work was cut. Reasons are folded by (code, field) in the order of the bad rows, in
constant memory: what does not find a place among the first MAX_GROUPS is counted per code, without its field.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson

from importer.bad_rows import BadRow, shown
from importer.costs import bill, last_steps
from importer.diagnosis import diagnosis
from importer.model import Execution, Outcome, Status, Value
from importer.parts import parts_of

MAX_GROUPS: Final = 50
SAMPLES: Final = 3


@dataclass(slots=True)
class _Group:
    code: str
    field: str
    count: int
    first_line: int | None
    samples: list[dict[str, Value]] = dataclasses.field(default_factory=list)


class FoldedReasons:
    """Bad rows told one after another, summed up by reason and field."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], _Group] = {}

    @classmethod
    def of(cls, stored: list[list[Any]]) -> "FoldedReasons":
        """What `as_stored` gave, to be added to."""
        folded = cls()
        for code, field, shown_field, count, first_line, samples in stored:
            folded._groups[(code, field)] = _Group(code, shown_field, count, first_line, list(samples))
        return folded

    def as_stored(self) -> list[Any]:
        """As JSON values, in the order of the bad rows."""
        return [
            [code, field, group.field, group.count, group.first_line, list(group.samples)]
            for (code, field), group in self._groups.items()
        ]

    def add(self, row: BadRow, line: int | None) -> None:
        """Count a bad row; `line` is its number in the whole file, None if nobody can know it."""
        key = (row.reason, row.field)
        if key not in self._groups and len(self._groups) >= MAX_GROUPS:
            key = (row.reason, "")
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(key[0], shown(key[1]), 0, line)
        group.count += 1
        if len(group.samples) < SAMPLES:
            group.samples.append({"line": line, "offset": row.offset, "message": row.message, "hint": row.hint})

    def by_code(self) -> dict[str, int]:
        """Bad rows by their reason alone: all of them, however many fields there were."""
        counts: dict[str, int] = {}
        for group in self._groups.values():
            counts[group.code] = counts.get(group.code, 0) + group.count
        return counts

    def folded(self) -> list[dict[str, Value]]:
        """Largest group first; equal ones in the order of their first rows."""
        return [
            {
                "code": group.code,
                "field": group.field,
                "count": group.count,
                "first_line": group.first_line,
                "samples": list(group.samples),
            }
            for group in sorted(self._groups.values(), key=lambda group: -group.count)
        ]


def receipt(execution: Execution, outcome: Outcome, reasons: FoldedReasons | None) -> bytes:
    """The receipt of an execution whose outcome is fixed, as it will be once the last step is done: indented JSON.

    Args:
        reasons: None where the bad rows are gone: there is no errors file.

    A function of the execution's record and its bad rows alone: written twice, it has the same bytes.
    """
    failed = execution.phase.value in ("CLOSING", "CLOSED") and execution.status is not Status.SUCCEEDED
    sums = outcome.sums
    source = execution.source
    bucket = source.bucket
    has_errors_file = sums.bad > 0 and reasons is not None
    reasons = reasons or FoldedReasons()
    refused = sum(group["count"] for group in reasons.folded() if group["code"] == "refused_by_sink")  # type: ignore[misc]
    document: dict[str, Value] = {
        "schema": "receipt/1",
        "execution_id": execution.id,
        **({"parent": execution.replayed.parent} if execution.replayed else {}),
        "status": (execution.status if failed else Status.SUCCEEDED).value,
        "complete": not failed,
        "error": {"code": execution.error.code, "message": execution.error.message} if execution.error else None,
        "source": {
            "bucket": bucket,
            "key": source.key,
            "version_id": source.version_id,
            "etag": source.etag,
            "bytes": source.size_bytes,
            "sha256": outcome.sha256,
        },
        "format": execution.format,
        "import_id": execution.document_import_id,
        **sums.counts(),
        "reasons": list(reasons.folded()),
        "diagnosis": cast("Value", diagnosis(sums.rows, reasons.folded())),
        "notes": [
            {"code": code, "count": noted.count, "first_line": noted.first_line}
            for code, noted in sorted(sums.notes.items())
        ],
        # The first is the one that can refuse at run time; what it refuses is not offered to the next (G4).
        "sinks": {
            name: {"written": sums.events, "refused": refused if name == execution.sinks[0] else 0}
            for name in execution.sinks
        },
        "completed_uri": None if failed else f"s3://{bucket}/{outcome.destination.completed}",
        "errors_uri": f"s3://{bucket}/{outcome.destination.errors}" if has_errors_file else None,
        "reasons_uri": f"s3://{bucket}/{outcome.destination.reasons}" if has_errors_file else None,
        "unread": [{"part": start, "from": offset} for start, offset in _unread(execution, outcome)] if failed else [],
        "parts": execution.part_count,
        "timing": {
            "created_ms": execution.created_ms,
            "started_ms": execution.start_date,
            "ended_ms": outcome.end_date,
            "duration_ms": outcome.end_date - (execution.start_date or execution.created_ms),
        },
        "cost": cost(execution, outcome),
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)


def cost(execution: Execution, outcome: Outcome) -> dict[str, Value]:
    """What was spent until the outcome was fixed, by whoever lived to say so, and about what the rest will take."""
    stays = execution.status in (Status.FAILED, Status.CANCELED) or execution.replayed is not None
    still = last_steps(bool(outcome.sums.bad), 0 if stays else execution.source.size_bytes)
    return {
        **bill(outcome.spent.plus(still)),
        "units": cast("Value", outcome.spent.counts()),
        "last_steps": cast("Value", still.counts()),
    }


def _unread(execution: Execution, outcome: Outcome) -> Iterator[tuple[int, int]]:
    """(start, first byte not read) of each part that is not known to be read to its end."""
    for part in parts_of(execution.part_count, execution.part_bytes):
        read_to = outcome.read_to.get(part.start, part.start)
        if part.start not in execution.parts_done and read_to < part.stop:
            yield part.start, read_to
