"""Numbers, times and values as people read them, and JSON that keeps every digit (pure)."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import floor, log10
from typing import Any, Final

import orjson

from importer.bad_rows import shown
from importer.model import Value

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS: Final = 253_402_300_799_999  # the end of the year 9999: no calendar goes on

SERVICES: Final = {"dynamodb": "DynamoDB", "firehose": "Firehose", "lambda": "Lambda", "s3": "S3", "sqs": "SQS"}


def utc(time_ms: int | None) -> str:
    """A time as ISO 8601 in UTC; milliseconds only where there are any."""
    if time_ms is None:
        return "–"
    if time_ms > _LATEST_MS:
        return f"{time_ms} ms"
    moment = _EPOCH + timedelta(milliseconds=time_ms)
    return f"{moment:%Y-%m-%dT%H:%M:%S}" + (f".{time_ms % 1000:03d}Z" if time_ms % 1000 else "Z")


def many(count: int, noun: str) -> str:
    """`1 row`, `1,234 rows`."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"


def in_bytes(count: int) -> str:
    if count < 10_000:
        return many(count, "byte")
    for unit, size in (("KiB", 1 << 10), ("MiB", 1 << 20)):
        if count < 1_000 * size:
            return f"{count / size:,.1f} {unit}"
    return f"{count / (1 << 30):,.2f} GiB"


def in_dollars(usd: float) -> str:
    """Two digits that count, however little it is."""
    if usd >= 1:
        return f"${usd:,.2f}"
    digits = 2 if not usd else 1 - floor(log10(usd))
    return f"${usd:.{digits}f}"


def in_time(seconds: float) -> str:
    """`3 s`, `4 min`, `2.5 h`: an estimate, so no more than that."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6_000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:,.1f} h"


def in_percent(share: float) -> str:
    """`12 %`, `0.3 %`; less than everything is never 100 %, more than nothing never 0 %."""
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    if share < 0.001:
        return "under 0.1 %"
    percent = min(100 * share, 99.9)
    return f"{percent:.1f} %" if percent < 1 or percent > 99 else f"{percent:.0f} %"


def shown_whole(text: str) -> str:
    """Text of ours that quotes a row: escaped, not cut."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def said(value: Value, most: int = 40) -> str:
    """A value as JSON writes it, cut and escaped."""
    text = shown(json_text(value))
    return text if len(text) <= most else text[: most - 1] + "…"


def remedy(field: str, message: str, hint: str) -> str:
    """How to mend a row that is not in sight.

    Its hint, if it speaks of a field. Otherwise a hint may speak of a place, or there is none: then what the message
    says was expected and found, and the hint.
    """
    due = "" if field and hint else message.removeprefix(f"{field}: ").partition("; ")[2]
    return shown_whole(": ".join(part for part in (due, hint) if part))


def remedy_of(group: Mapping[str, Any]) -> tuple[str, int | None]:
    """(how to mend the rows of a folded reason, the line that says it): the first sample with a hint, or the first."""
    samples = group["samples"]
    sample = next((sample for sample in samples if sample["hint"]), samples[0])
    return remedy(group["field"], sample["message"], sample["hint"]), sample["line"]


# ---- JSON ----------------------------------------------------------------------------------------------------------


def to_json(document: object) -> str:
    """Indented JSON; numbers a double cannot hold keep their digits."""
    return json_text(document, orjson.OPT_INDENT_2)


def json_text(document: object, option: int = 0) -> str:
    """JSON on one line, unless an option of orjson says otherwise."""

    def exactly(value: object) -> object:
        if isinstance(value, Decimal):
            return orjson.Fragment(str(value))
        raise TypeError(f"no JSON for a {type(value).__name__}")

    try:
        return orjson.dumps(document, default=exactly, option=option).decode()
    except orjson.JSONEncodeError as error:
        if "Recursion" not in str(error):
            raise
    pieces: list[str] = []
    _write_deep(document, pieces)
    return "".join(pieces)


def _write_deep(value: object, pieces: list[str]) -> None:
    """JSON of what is too deep for orjson (254 levels): names of properties go down to 512."""
    if isinstance(value, dict) and value:
        mark = "{"
        for name, member in value.items():
            pieces.append(f"{mark}{json_text(name)}:")
            _write_deep(member, pieces)
            mark = ","
        pieces.append("}")
    elif isinstance(value, list | tuple) and value:
        mark = "["
        for member in value:
            pieces.append(mark)
            _write_deep(member, pieces)
            mark = ","
        pieces.append("]")
    else:
        pieces.append(json_text(value))
