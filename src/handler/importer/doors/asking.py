"""What every route asks first: is it our datamart, may the token do it, and does the import exist."""

from http import HTTPStatus
from typing import Final

from importer import formats
from importer.definitions import DEFAULT, LONGEST_ID, Definition, StoredDefinition
from importer.doors.http import Problem, Request
from importer.doors.ports import Doorway
from importer.doors.tokens import Right
from importer.model import Misconfigured

LATEST_MS: Final = 2**53 - 1  # Rule: the largest whole number every reader of JSON has exactly (RFC 8259, 6)
WORDS = {
    Right.READ: "read",
    Right.WRITE: "write to",
    Right.ADMIN: "administer",
}


def permitted(request: Request, right: Right, import_id: str) -> None:
    """Raises Problem(forbidden) unless the token has a right to an import, whether or not there is one of that id."""
    if not request.grant.may(right, import_id):
        raise forbidden(right, f"import {import_id[:LONGEST_ID]!r}")


def permitted_anywhere(request: Request, right: Right) -> None:
    """Raises Problem(forbidden) unless the token has a right to some import."""
    if not request.grant.may_anywhere(right):
        raise forbidden(right, "any import")


def forbidden(right: Right, what: str) -> Problem:
    return Problem(
        HTTPStatus.FORBIDDEN,
        "forbidden",
        f"this token may not {WORDS[right]} {what}: use one that has the right {right.value!r} to it "
        "(`importer token create --help`)",
        right=right.value,
    )


def judge_datamart(request: Request, door: Doorway) -> None:
    """Raises Problem(no_such_datamart): one stack is one datamart."""
    if request.parameters["datamart_id"] != door.datamart_id:
        raise Problem(
            HTTPStatus.NOT_FOUND,
            "no_such_datamart",
            f"this installation is datamart {door.datamart_id} and no other: put that in the path",
        )


def stored_import(door: Doorway, import_id: str) -> StoredDefinition:
    """Raises Problem(no_such_import)."""
    # No longer id is any import's, and DynamoDB takes no key of more than 2,048 bytes.
    stored = door.books.stored_definition(import_id) if len(import_id) <= LONGEST_ID else None
    if stored is None:
        raise Problem(
            HTTPStatus.NOT_FOUND,
            "no_such_import",
            f"there is no document import {import_id[:LONGEST_ID]!r}: GET …/document_imports lists those there are, "
            "POST …/document_imports makes one",
        )
    return stored


def definition_of(door: Doorway, import_id: str) -> Definition:
    """The definition an import has now; "default" always has one.

    Raises:
        Problem: no_such_import; import_unusable if files under it would fail.
    """
    if import_id == DEFAULT.id:
        return DEFAULT
    stored = stored_import(door, import_id)
    try:
        return formats.named(stored.id, stored.definition)
    except Misconfigured as problem:
        raise Problem(
            HTTPStatus.CONFLICT, "import_unusable", f"{problem}. Mend it with PUT …/document_imports/{import_id}"
        ) from None


def paging(request: Request) -> tuple[int, int]:
    """first_result and max_results (D4).

    Raises:
        Problem: bad_parameter.
    """
    return whole_number(request, "first_result", 0, 0, 10_000), whole_number(request, "max_results", 50, 1, 500)


def milliseconds(request: Request, name: str, default: int) -> int:
    """A time of the query. Raises Problem(bad_parameter)."""
    return whole_number(request, name, default, 0, LATEST_MS, " (milliseconds since 1970, in UTC)")


def whole_number(request: Request, name: str, default: int, least: int, most: int, unit: str = "") -> int:
    """A number of the query. Raises Problem(bad_parameter)."""
    text = request.query.get(name, "")
    if name not in request.query:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and least <= int(text) <= most):
        raise bad_parameter(name, f"a whole number from {least} to {most}{unit}")
    return int(text)


def bad_parameter(name: str, expected: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, "bad_parameter", f"{name} must be {expected}", parameter=name)
