"""What a row is: which of the vendor's document types (D5), by the definition, or else by its shape where that is safe.

Rule: a definition's document_type decides, and a row of another shape is refused. Without one the fields tell; a row
that could be read as two commands, or as a deletion of which nothing says what it deletes, is refused, never guessed.
"""

from collections.abc import Iterator
from typing import Final

from importer.bad_rows import Reason, Reject
from importer.formats.mediarithmics.objects import Fields, Terms
from importer.model import Row

ACTIVITY: Final = "USER_ACTIVITY"
SEGMENT: Final = "USER_SEGMENT"
PROFILE: Final = "USER_PROFILE"
CHOICE: Final = "USER_CHOICE"
ASSOCIATION: Final = "USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS"
DISSOCIATION: Final = "USER_IDENTIFIERS_DISSOCIATION_DECLARATIONS"
IDENTIFIERS_DELETION: Final = "USER_IDENTIFIERS_DELETION"
POINTS_DELETION: Final = "USER_POINTS_DELETION"
DEVICE_DELETION: Final = "USER_DEVICE_POINT_DELETION"
DEVICES_DELETION: Final = "USER_DEVICE_POINTS_DELETION"  # so in the prose of the vendor's page: the same (D5)

USER_ACCOUNT: Final = "USER_ACCOUNT"
USER_EMAIL: Final = "USER_EMAIL"
USER_AGENT: Final = "USER_AGENT"
USER_POINT: Final = "USER_POINT"

_DELETION: Final = "a deletion"
_DELETIONS: Final = (IDENTIFIERS_DELETION, POINTS_DELETION, DEVICE_DELETION)
_COMMANDS: Final = (SEGMENT, PROFILE, CHOICE)  # whose rows have an operation
_DELETED_BY: Final = {  # which deletions there are of a type of identifier (D28–D30)
    USER_ACCOUNT: _DELETIONS[:2],
    USER_EMAIL: _DELETIONS[:2],
    USER_AGENT: _DELETIONS,
    USER_POINT: _DELETIONS[1:2],
}
_SHAPE_OF: Final = {DISSOCIATION: ASSOCIATION, DEVICES_DELETION: _DELETION} | dict.fromkeys(_DELETIONS, _DELETION)

# Fields of activities alone. Other `$` names may stand in an activity too, but these no other row has.
_OF_ACTIVITY: Final = (
    "$type",
    "$session_status",
    "$events",
    "$ts",
    "$user_account_id",
    "$email_hash",
    "$user_agent_id",
    "$user_identifiers",
)
OF_COMMAND: Final = {
    "identifiers": ASSOCIATION,
    "segment_id": SEGMENT,
    "segment_technical_name": SEGMENT,
    "expiration_duration": SEGMENT,
    "expiration_ts": SEGMENT,
    "data_bag": SEGMENT,
    "user_profile": PROFILE,
    "update_strategy": PROFILE,
    "merge_objects": PROFILE,
    "user_choice": CHOICE,
}
_IDENTIFIERS: Final = ("user_account_id", "compartment_id", "email_hash", "user_agent_id")
_OPERATIONS: Final = ("UPDATE", "UPSERT", "DELETE")
_TYPES: Final = (USER_ACCOUNT, USER_EMAIL, USER_AGENT, USER_POINT)
_TYPED: Final = ("user_account_id", "hash", "user_agent_id", "user_point_id")  # one of which stands beside a type
_KNOWN: Final = ("operation", "type", "force_replace", *_OF_ACTIVITY, *OF_COMMAND, *_IDENTIFIERS)


def kind_of(row: Row, document_type: str, terms: Terms) -> str:
    """The document type a row is read as.

    Args:
        document_type: of the definition; "" if it names none.
    Raises:
        Reject: ambiguous_command, missing_field, not_allowed.
    """
    if terms.is_text:
        return SEGMENT  # nothing else comes as CSV (D6)
    shapes = _shapes(row)
    if document_type:
        return _as_said(document_type, shapes, row)
    if len(shapes) == 1:
        (shape,) = shapes
        if shape != _DELETION:
            return shape
        raise Reject(
            Reason.AMBIGUOUS_COMMAND,
            field="type",
            expected="an import definition that says which deletion it is",
            found=shapes[shape],
            hint=f"drop it in the folder of an import with document_type {' or '.join(_deleted_by(row))}: by its row "
            "alone no deletion is told from another",
        )
    if shapes:
        raise Reject(
            Reason.AMBIGUOUS_COMMAND,
            expected="fields of one kind of row",
            found=" and ".join(f"{field} of {shape}" for shape, field in shapes.items()),
            hint="write one row for each",
        )
    return _by_operation(Fields(row, _KNOWN, terms))


def _shapes(row: Row) -> dict[str, str]:
    """What a row looks like → the field that says so. An activity may have fields of any name beside its own."""
    for name in _OF_ACTIVITY:
        if row.get(name) is not None:
            return {ACTIVITY: name}
    found: dict[str, str] = {}
    for name, kind in OF_COMMAND.items():
        value = row.get(name)
        if value is not None and value != "":
            found.setdefault(kind, name)
    if not found and "operation" not in row:
        found |= dict.fromkeys([_DELETION] * bool(_typed(row)), f"type {row.get('type')}")
    return found


def _as_said(document_type: str, shapes: dict[str, str], row: Row) -> str:
    said = _SHAPE_OF.get(document_type, document_type)
    other = next((shape for shape in shapes if shape != said), None)
    if other is not None:
        found = shapes[other]
        looks = "the row of a deletion" if other == _DELETION else f"a {other} row"
        folders: tuple[str, ...] = _deleted_by(row) if other == _DELETION else (other,)
    elif said not in _COMMANDS and not shapes and row.get("operation") in _OPERATIONS and not _typed(row):
        found, looks, folders = f"operation {row['operation']}", "a command", _COMMANDS
    else:
        return document_type
    raise Reject(
        Reason.AMBIGUOUS_COMMAND,
        field=found.partition(" ")[0],
        expected=f"a {document_type} row",
        found=found,
        hint=f"this looks like {looks}: drop it in the folder of an import with document_type {' or '.join(folders)}",
    )


def _deleted_by(row: Row) -> tuple[str, ...]:
    return _DELETED_BY[str(row.get("type"))]


def _by_operation(fields: Fields) -> str:
    """The kind of a row that has no field of one kind alone."""
    if fields.get("operation") is None:
        raise Reject(
            Reason.MISSING_FIELD,
            expected="$type and $events of an activity, operation of a command, or identifiers of an association",
            hint=fields.near("$type", "$events", "operation", "identifiers"),
        )
    operation = fields.one_of("operation", _OPERATIONS)
    if operation == "UPDATE":
        return SEGMENT
    if operation == "UPSERT":
        raise fields.missing("user_profile", "object", "an UPSERT has a user_profile, or a user_choice")
    raise Reject(
        Reason.AMBIGUOUS_COMMAND,
        field="operation",
        expected="segment_id of a segment, or user_choice of a choice, beside DELETE",
        found=operation,
        hint=f"to delete a profile drop it in the folder of an import with document_type {PROFILE}: nothing in the row "
        "says what it deletes",
    )


# ---- What speaks for the dialect ------------------------------------------------------------------------------------


def claims(row: Row) -> bool:
    """Whether a row is whole by its marks: an activity with its type, or a command with what it is about."""
    if "$events" in row:
        return "$type" in row
    if "operation" in row:
        return row["operation"] in _OPERATIONS and not OF_COMMAND.keys().isdisjoint(row)
    return bool(_typed(row))


def evidence(row: Row) -> Iterator[str]:
    """In words. An identifier counts beside another mark only: its name is one that anybody might use."""
    found = [f"field {name}" for name in _OF_ACTIVITY if name in row]
    if row.get("operation") in _OPERATIONS:
        found.append(f"operation {row['operation']}")
        found += [f"field {name}" for name in OF_COMMAND if name in row]
    found += _typed(row)
    yield from found
    if found:
        yield from (f"field {name}" for name in _IDENTIFIERS if name in row)


def _typed(row: Row) -> list[str]:
    """Marks of associations and deletions: identifiers that say their type."""
    listed = row.get("identifiers")
    if isinstance(listed, list) and listed and isinstance(listed[0], dict) and listed[0].get("type") in _TYPES:
        return [f"identifiers of type {listed[0]['type']}"]
    if row.get("type") in _TYPES and any(name in row for name in _TYPED):
        return [f"type {row['type']}"]
    return []
