"""USER_SEGMENT: a person enters a segment or leaves it (D24), as JSON or as CSV with the same names.

Order of checks: operation, identifier, segment, expiration, data_bag, other fields.
"""

from typing import Final

from importer import exact_json, users
from importer.bad_rows import Reason, Reject
from importer.formats.mediarithmics import identifiers
from importer.formats.mediarithmics.objects import MINUTES_EXPECTED, Changes, Fields, Terms
from importer.formats.reading import Reading
from importer.model import Row, Value

SEGMENTS: Final = ("segment_id", "segment_technical_name")
_KNOWN: Final = (
    "operation",
    *identifiers.IN_COMMAND,
    *SEGMENTS,
    "expiration_duration",
    "expiration_ts",
    "data_bag",
)


def reading(row: Row, text: bytes, address: int, terms: Terms) -> Reading:
    """What a command says of a person's segment.

    Raises:
        Reject: what is wrong with it.
    """
    fields = Fields(row, _KNOWN, terms)
    operation = fields.one_of("operation", ("UPDATE", "DELETE"))
    who = identifiers.of_command(fields)
    segment_id = fields.optional_text("segment_id")
    name = fields.optional_text("segment_technical_name")
    if not segment_id and not name:
        raise fields.missing("segment_id", f"one of {', '.join(SEGMENTS)}", fields.near("segment_technical_name"))
    record = users.SEGMENT + (segment_id or name)
    expires_ms = _expires_ms(fields, operation)
    value: Row = {"segment_technical_name": name} if segment_id and name else {}
    data_bag = _data_bag(fields)
    if data_bag is not None:
        value["data_bag"] = data_bag
    fields.refuse_others()
    changes = Changes(address)
    if operation == "DELETE":
        changes.add(who.user_id, record, deleted=True)
    elif expires_ms is not None and expires_ms <= terms.now_ms:
        return Reading([], [], expired=True)
    else:
        changes.add(who.user_id, record, value, expires_ms=expires_ms)
    return Reading([], changes.made, who.notes)


def _expires_ms(fields: Fields, operation: str) -> int | None:
    """When the person leaves again: the earlier of the two that may be said, so that nobody stays longer than asked."""
    minutes = fields.minutes("expiration_duration")
    if minutes is None and operation == "UPDATE":
        raise fields.missing("expiration_duration", MINUTES_EXPECTED)
    ends = [fields.expiry("expiration_duration", fields.terms.now_ms, minutes or 0)]
    if not _is_zero(fields.get("expiration_ts")):
        ends.append(fields.time_ms("expiration_ts"))
    return min((end for end in ends if end is not None), default=None)


def _is_zero(value: Value) -> bool:
    if isinstance(value, str):
        return value.strip() == "0"
    return value is not None and not isinstance(value, bool | dict | list) and value == 0


def _data_bag(fields: Fields) -> Value:
    """The object in the text, its numbers exact; None where there is none."""
    sent = fields.get("data_bag")
    if sent is None:
        return None
    if isinstance(sent, dict) and not fields.terms.strict:
        return sent  # not escaped: it can be read in one way only
    if not isinstance(sent, str):
        raise fields.wrong("data_bag", "an object of JSON, written as a string", sent)
    try:
        parsed = exact_json.parse(sent.encode())
    except Reject as reject:
        raise Reject(
            reason=reject.reason,
            field="data_bag",
            expected="an object of JSON, written as a string",
            found=reject.found.replace("of the row", "of data_bag") or reject.field,
            hint=reject.hint,
        ) from None
    if not isinstance(parsed, dict):
        raise Reject(
            Reason.NOT_AN_OBJECT, field="data_bag", expected="an object of JSON, written as a string", found=sent
        )
    return parsed
