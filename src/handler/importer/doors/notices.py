"""What is told of an execution that has ended: an event for programs, a message for people (pure).

Rule: a notice is a function of the execution as it was closed, and of its receipt; told twice, it says the same under
the same id. It holds our own words, names (of the file, of the fields that rows were refused for) and numbers. Values
of rows, and the identifiers that turn up most, are in the receipt and the errors file, for who may read those. Names
are strangers' text (J8): cut, and in the message with all that is not printable escaped.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson

from importer.documents import document
from importer.model import Execution, Outcome, Status, Value
from importer.receipts import cost

SOURCE: Final = "s3-event-importer"
DETAIL_TYPE: Final = "Import Execution Ended"
SCHEMA: Final = "execution_ended/1"

MOST_REASONS: Final = 10
LONGEST_TEXT: Final = 1_100  # characters: the longest key S3 allows, and a bit
LONGEST_SUBJECT: Final = 99  # Quota: "less than 100 characters", in ASCII, says API_Publish of SNS
_NOT_TOLD: Final = "top_identifiers"  # of an execution's document: what rows hold


@dataclass(frozen=True, slots=True)
class Notice:
    """What is told.

    Attributes:
        id: of an ending, however often it is told of: execution and attempt.
        ended_ms: when its rows had been read.
        detail: of the event, JSON in ASCII.
        subject, text: of the message.
        attributes: what a subscriber may choose messages by.
    """

    id: str
    ended_ms: int
    detail: str
    subject: str
    text: str
    attributes: Mapping[str, str]


def notice(execution: Execution, receipt: bytes | None) -> Notice:
    """What is told of an execution that is closed.

    Args:
        receipt: what lies where its receipt was written; None if nothing can be had. One of another attempt, which has
            been written over it, is as good as none: then nothing is said of reasons.
    """
    outcome = execution.outcome
    if outcome is None:
        raise ValueError(f"execution {execution.id} was closed without an outcome")
    summary = _summary(execution, outcome, _receipt_of(execution, outcome, receipt))
    shown = document(execution)
    if isinstance(result := shown["result"], dict):
        shown["result"] = {name: value for name, value in result.items() if name != _NOT_TOLD}
    notice_id = f"{execution.id}/{execution.attempt}"
    detail = {"schema": SCHEMA, "notice_id": notice_id, "summary": summary, "execution": shown}
    trouble = execution.status is not Status.SUCCEEDED or outcome.sums.bad > 0
    return Notice(
        notice_id,
        outcome.end_date,
        json.dumps(_cut(cast("Value", detail)), separators=(",", ":")),
        _subject(execution, summary),
        _text(execution, summary),
        {
            "status": execution.status.value,
            "trouble": "yes" if trouble else "no",
            "import_id": execution.document_import_id,
        },
    )


def receipt_key(execution: Execution) -> str:
    """Where the receipt of a closed execution lies; "" if it has none."""
    return "" if execution.outcome is None else execution.outcome.destination.receipt


def _receipt_of(execution: Execution, outcome: Outcome, body: bytes | None) -> Mapping[str, Any] | None:
    try:
        found = orjson.loads(body or b"null")
    except orjson.JSONDecodeError:
        return None
    match found:
        case {"execution_id": execution.id, "timing": {"ended_ms": outcome.end_date}, "reasons": list()}:
            return cast("Mapping[str, Any]", found) if found.get("status") == execution.status.value else None
    return None


def _summary(execution: Execution, outcome: Outcome, receipt: Mapping[str, Any] | None) -> dict[str, Value]:
    source, to = execution.source, outcome.destination
    bucket = source.bucket
    moved = execution.status is Status.SUCCEEDED
    has_errors = outcome.sums.bad > 0 and (receipt is None or receipt.get("errors_uri") is not None)
    reasons = None if receipt is None else [_reason(group) for group in receipt["reasons"]]
    return {
        "file": source.key,
        "bucket": bucket,
        "version_id": source.version_id,
        "bytes": source.size_bytes,
        "import_id": execution.document_import_id,
        "format": execution.format,
        "status": execution.status.value,
        "attempt": execution.attempt,
        "error": {"code": execution.error.code, "message": execution.error.message} if execution.error else None,
        **outcome.sums.counts(),
        "reasons": None if reasons is None else cast("Value", reasons[:MOST_REASONS]),
        "more_reasons": None if reasons is None else max(len(reasons) - MOST_REASONS, 0),
        "file_uri": f"s3://{bucket}/{to.completed}" if moved else source.uri,
        "errors_uri": f"s3://{bucket}/{to.errors}" if has_errors else None,
        "reasons_uri": f"s3://{bucket}/{to.reasons}" if has_errors else None,
        "receipt_uri": f"s3://{bucket}/{to.receipt}",
        "created_ms": execution.created_ms,
        "started_ms": execution.start_date,
        "ended_ms": outcome.end_date,
        "duration_ms": outcome.end_date - (execution.start_date or execution.created_ms),
        "cost_usd": cost(execution, outcome)["usd"],
    }


def _reason(group: Mapping[str, Any]) -> dict[str, Value]:
    """A reason without its samples, which quote rows."""
    return {name: group.get(name) for name in ("code", "field", "count", "first_line")}


def _cut(value: Value) -> Value:
    """With no text longer than LONGEST_TEXT. Measured: of the longest names the event has 60 KB, and may have 256."""
    match value:
        case str():
            return value if len(value) <= LONGEST_TEXT else value[: LONGEST_TEXT - 1] + "…"
        case dict():
            return {name: _cut(member) for name, member in value.items()}
        case list():
            return [_cut(member) for member in value]
        case _:
            return value


# ---- For people --------------------------------------------------------------------------------------------------


def _subject(execution: Execution, summary: Mapping[str, Any]) -> str:
    """Fit for the subject of a mail: ASCII in one line."""
    words = {Status.SUCCEEDED: "imported", Status.FAILED: "NOT imported", Status.CANCELED: "canceled"}
    refused = f", {_many(summary['bad'], 'row')} refused" if summary["bad"] else ""
    end = f" {words[execution.status]}{refused}"
    name = _printable(execution.source.key.rpartition("/")[2]).encode("ascii", "backslashreplace").decode()
    room = LONGEST_SUBJECT - len(end)
    return (name if len(name) <= room else name[: room - 3] + "...") + end


def _text(execution: Execution, summary: Mapping[str, Any]) -> str:
    lines = [_first_line(execution, summary), "", f"What to do: {_what_to_do(execution, summary)}", ""]
    if summary["reasons"]:
        lines.append("Why rows were refused:")
        width = max(len(f"{reason['count']:,}") for reason in summary["reasons"])
        lines += [_reason_line(reason, width) for reason in summary["reasons"]]
        if summary["more_reasons"]:
            lines.append(f"  and {_many(summary['more_reasons'], 'reason')} more, in the receipt")
        lines.append("")
    facts: Sequence[tuple[str, object]] = (
        ("File", summary["file_uri"]),
        ("Refused", summary["errors_uri"]),
        ("Why each", summary["reasons_uri"]),
        ("Receipt", summary["receipt_uri"]),
        ("Import", f"{summary['import_id']}, format {summary['format']}"),
        ("Took", _duration(summary["duration_ms"])),
        ("Cost", f"US$ {summary['cost_usd']:.6f} at least"),
        ("Execution", f"{execution.id}, attempt {execution.attempt}"),
    )
    lines += [f"{name + ':':<11}{_printable(str(fact))}" for name, fact in facts if fact is not None]
    lines += ["", f"More of it: importer status {execution.id}"]
    return "\n".join(lines) + "\n"


def _first_line(execution: Execution, summary: Mapping[str, Any]) -> str:
    file = _printable(summary["file"])
    good, bad = summary["good"], summary["bad"]
    others = [f"{summary[fate]:,} {fate}" for fate in ("expired", "erased", "withheld") if summary[fate]]
    fates = ", ".join([f"{good:,} stored", f"{bad:,} refused", *others])
    rows = f"of {_many(summary['rows'], 'row')} {fates}"
    if execution.status is Status.SUCCEEDED:
        if not summary["rows"]:
            return f"{file} was imported: it has no rows."
        if good == summary["rows"]:
            return f"{file} was imported: {'its only row is' if good == 1 else f'all {good:,} rows are'} stored."
        return f"{file} was imported: {rows}."
    if execution.status is Status.CANCELED:
        return f"{file} was canceled: {rows} until then."
    code = "" if execution.error is None else f" ({_printable(execution.error.code)})"
    return f"{file} was NOT imported{code}: {rows}." if summary["rows"] else f"{file} was NOT imported{code}."


def _what_to_do(execution: Execution, summary: Mapping[str, Any]) -> str:
    mend = "mend the rows in the file named under Refused, and drop it into imports/ again"
    if execution.status is Status.FAILED:
        why = "" if execution.error is None else _printable(execution.error.message).rstrip(".") + "."
        return (
            f"{why} The file is where it was; what is stored already is not doubled when it is dropped again.".strip()
        )
    if execution.status is Status.CANCELED:
        return "nothing, or drop the file again to import it: what is stored already is not doubled."
    return f"{mend}." if summary["errors_uri"] else "nothing."


def _reason_line(reason: Mapping[str, Any], width: int) -> str:
    field = f" ({_printable(str(reason['field']))})" if reason["field"] else ""
    first = f", first in line {reason['first_line']:,}" if reason["first_line"] else ""
    return f"  {reason['count']:>{width},}  {reason['code']}{field}{first}"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _duration(duration_ms: int) -> str:
    seconds = max(duration_ms, 0) / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds_left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds_left} s"


def _printable(text: str) -> str:
    """In one line, with nothing that changes how the rest of it looks."""
    cut = text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in cut)
