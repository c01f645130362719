"""multipart/form-data (RFC 7578) → its fields. The library's parser of mail does it: a form is a mail with parts."""

import email.parser
import email.policy
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from importer.doors.http import Problem, Request, media_type

MOST_FIELDS: Final = 20


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form; `file_name` and `content_type` are "" where they are not said."""

    file_name: str
    content_type: str
    body: bytes


def fields_of(request: Request) -> dict[str, Field]:
    """The fields by name.

    Raises:
        Problem: bad_form.
    """
    content_type = request.headers["content-type"]
    if not (content_type.isascii() and content_type.isprintable()):
        raise _bad("its Content-Type is no header of HTTP")
    # surrogateescape is the parser's own way to carry bytes: what is no ASCII comes back as it went in.
    head = f"Content-Type: {content_type}\r\nMIME-Version: 1.0\r\n\r\n".encode("ascii")
    form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
    if not form.is_multipart():
        raise _bad("it has no parts, or its Content-Type no boundary")
    if any("Boundary" in type(defect).__name__ for defect in form.defects):
        raise _bad("it ends before its last boundary")
    parts = form.get_payload()
    if not isinstance(parts, list) or len(parts) > MOST_FIELDS:
        raise _bad(f"it has more than {MOST_FIELDS} fields")
    found: dict[str, Field] = {}
    for part in parts:
        assert not isinstance(part, str)
        name = part.get_param("name", header="content-disposition")
        body = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(body, bytes):
            raise _bad("a part of it has no name, or parts of its own")
        if name in found:  # of two files one would be left behind without a word (D8)
            raise _bad("two of its fields have the same name; send each file in a request of its own")
        said = media_type(str(part["content-type"])) if "content-type" in part else ""
        found[name] = Field(part.get_filename("") or "", said, body)
    return found


def _bad(reason: str) -> Problem:
    return Problem(
        HTTPStatus.BAD_REQUEST,
        "bad_form",
        f"the form cannot be read: {reason}. curl makes one with -F file=@name.ndjson",
    )
