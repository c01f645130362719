"""Whole-file sense (pure): where most rows are refused for one cause, it is said once, with what mends all of them.

Rule: a cause is a reason and the field it is about, as the receipt folds them. It is told when it has at least LEAST
rows and more than half of all. The remedy is that of the first such row, without what is that row's alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from importer.bad_rows import Reason
from importer.model import Value

LEAST: Final = 5
_REMEDIES: Final = {
    Reason.NOT_UTF8: "the file is not UTF-8: `iconv -f WINDOWS-1252 -t UTF-8 FILE` if it comes from Windows or an old "
    "database, else name its own encoding after -f",
    Reason.NOT_JSON: "write each row as one JSON object on a line of its own; `jq -c . FILE` does so, and says where "
    "it cannot. (Rows of CSV are read under an import definition with mime_type TEXT_CSV)",
    Reason.NOT_AN_OBJECT: "each line has to be one JSON object; `jq -c '.[]' FILE` takes an array apart",
    Reason.NOT_CSV: "write the file as RFC 4180 has it: a field with a comma, quotation mark or line break wholly in "
    "quotation marks, and each mark inside it twice",
    Reason.WRONG_COLUMN_COUNT: "give every row as many columns as the header has; a value that holds a comma goes in "
    "double quotes",
    Reason.TIME_OUT_OF_WINDOW: "is it really so long ago or so far ahead? Else widen earliest_ms and latest_ms of the "
    "import, or take `strict` off",
    Reason.NESTED_VALUE: "write the members of nested values as properties of their own",
    Reason.LINE_TOO_LONG: "are line breaks missing? Each row has to end with one",
    Reason.DUPLICATE_KEY: "keep one of the two",
    Reason.TOO_DEEP: "write the row flat: what is nested as properties of its own, or as one string",
    Reason.WRONG_TYPE: "put ids and names in double quotes, as strings; a time is a number of milliseconds, or a text",
    Reason.BAD_TIME: "write times as the dialect has them, such as 2012-10-15T04:06:30Z; for dates that can be read "
    "two ways set date_format of the import",
    Reason.TIME_UNIT: "send times in the dialect's unit: milliseconds, of KISSmetrics seconds",
    Reason.BAD_NAME: "rename the property",
    Reason.RESERVED_NAME: "rename the property: its name is the vendor's own",
    Reason.TOO_LONG: "shorten it, or keep it elsewhere and send its address",
    Reason.PLACEHOLDER_ID: "send a person's id, or no row",
    Reason.UNKNOWN_SCOPE_PREFIX: "a name that begins with a brace has to begin with {u}, or with {s} where the import "
    "allows it: rename the property",
    Reason.EVENT_TOO_LARGE: "keep large texts elsewhere and send their address",
    Reason.NUMBER_OUT_OF_RANGE: "send it as a string",
    Reason.REFUSED_BY_SINK: "what DynamoDB said stands in `found` of the row's reason: report it",
    Reason.TOO_MANY_PROPERTIES: "say it in several rows",
    Reason.NOT_ALLOWED: "the dialect has no such value or field: `importer preview FILE` shows what it has",
    Reason.NOTHING_TO_RECORD: "send an event, a property or an alias beside the identity",
    Reason.AMBIGUOUS_COMMAND: "split the row, or say the document type in an import definition",
    Reason.NO_IDENTIFIER: "say in every row whose it is: send one of the dialect's identifiers",
    Reason.MANY_IDENTIFIERS: "keep one identifier a row; an association says that two are one person",
}
_MISSING: Final = (
    "give every row this field. If the file is of another dialect, name it in the `format` of an import definition "
    "(`importer imports create --help`); `importer preview FILE` shows what speaks for which"
)


def diagnosis(rows: int, groups: Sequence[Mapping[str, Any]]) -> dict[str, Value] | None:
    """What most rows fail by, and what mends them; None where there is no such thing.

    Args:
        rows: of the file, good ones included.
        groups: as `FoldedReasons.folded` gives them, the largest first.
    """
    if not groups:
        return None
    group = groups[0]
    count, code, field = int(group["count"]), str(group["code"]), str(group["field"])
    if count < LEAST or 2 * count <= rows:
        return None
    sample: Mapping[str, Any] = next(iter(group["samples"]), {"message": "", "hint": "", "line": None})
    share = "all" if count == rows else f"{count:,} of {rows:,}"
    about = f" ({field})" if field else ""
    return {
        "code": code,
        "field": field,
        "count": count,
        "rows": rows,
        "message": f"{share} rows are refused for one cause, {code}{about}. The first: {sample['message']}",
        "remedy": _remedy(code, str(sample["hint"])),
    }


def _remedy(code: str, hint: str) -> str:
    """A row's hint says it best, less the number in brackets that is its own."""
    if hint and code not in (Reason.NOT_UTF8, Reason.NOT_JSON):
        return hint.partition(" (")[0] if code == Reason.TIME_UNIT else hint
    return _MISSING if code == Reason.MISSING_FIELD else _REMEDIES[Reason(code)]
