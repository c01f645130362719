"""Files too large for a request: a signed form to post one straight to the bucket, where it is imported as any drop is.

The form allows one key, chosen here and given out once, one Content-Type, and a size; it ends after SECONDS. Whoever
has it needs no token, so neither the form nor the line of curl made of it may be logged (J3). Posting by it again,
while it lasts, is one more upload under its key: the same bytes change nothing, other bytes are imported as well.
"""

import secrets
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from importer.bad_rows import ObjectProblem, shown
from importer.definitions import DEFAULT, TEXT_CSV, Definition
from importer.doors.asking import definition_of, judge_datamart, permitted
from importer.doors.http import Answer, Problem, Request, ok
from importer.doors.ports import Doorway, Forms
from importer.doors.tokens import Right
from importer.executions import mending
from importer.executions.destinations import without_compression
from importer.executions.starting import judge_name
from importer.model import Value
from importer.notification import IMPORTS_PREFIX

SECONDS: Final = 900  # Rule: J3, at most 15 minutes
LONGEST_KEY: Final = 1024  # Quota: bytes of a key (docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html)
_CHANCE_BYTES: Final = (
    6  # beside the second: of a million uploads of one name in one second, two share a key once in 500
)
_ASKED: Final = ("file_name", "mends")


class BadName(ValueError):
    """A file name that no key can be made of. Its words say what is wrong with it, and what to do."""


@dataclass(frozen=True, slots=True)
class Upload:
    """One upload that may be made, by whoever has this.

    Attributes:
        fields: of the form, all before the file's bytes, which are its last field: `file`.
        expires_ms: then the form is good for nothing.
    """

    key: str
    url: str = field(repr=False)
    fields: dict[str, str] = field(repr=False)
    most_bytes: int
    expires_ms: int

    def curl(self, path: str) -> str:
        """The line for a shell that posts the file at this path."""
        quoted = path.replace("\\", "\\\\").replace('"', '\\"')
        words = ["curl", "--fail-with-body", "--silent", "--show-error"]
        for name, value in self.fields.items():
            words += ["--form-string", f"{name}={value}"]
        return shlex.join([*words, "--form", f'file=@"{quoted}"', self.url])

    def document(self, path: str) -> dict[str, Value]:
        """As programs see it; the path of the file is for the line of curl."""
        return {
            "method": "POST",
            "url": self.url,
            "fields": dict(self.fields),
            "key": self.key,
            "max_bytes": self.most_bytes,
            "expires": _iso(self.expires_ms),
            "curl": self.curl(path),
        }


def upload(
    forms: Forms,
    bucket: str,
    definition: Definition,
    file_name: str,
    most_bytes: int,
    now_ms: int,
    seconds: int = SECONDS,
    chance: Callable[[int], str] = secrets.token_hex,
    mends: str = "",
    prefix: str = IMPORTS_PREFIX,
) -> Upload:
    """A form for one file of an import.

    Args:
        definition: `DEFAULT` is for files in imports/ itself.
        file_name: judged as that of a dropped file is.
        mends: the execution whose bad rows the file will have, mended; "" for none.
        prefix: of its key.
    Raises:
        ObjectProblem: wrong_kind: an import of this kind refuses files of such a name.
        BadName: no key can be made of it.
        Unavailable: there is nothing to sign with.
    """
    key = upload_key(definition, file_name, now_ms, chance, prefix)
    kind = content_type(file_name, definition.mime_type)
    form = forms.form(bucket, key, kind, most_bytes, seconds, mending.metadata_of(mends))
    fields = {"key": form.fields["key"], **form.fields}
    return Upload(key, form.url, fields, most_bytes, now_ms // 1000 * 1000 + seconds * 1000)


def upload_key(
    definition: Definition, file_name: str, now_ms: int, chance: Callable[[int], str], prefix: str = IMPORTS_PREFIX
) -> str:
    """A key below a prefix that nobody was given before: the file's name, and before its suffixes the time and chance.

    So files keep the order of their names, those of a recurring import stay one of its series, and the name a person
    gave can be read in what became of it.

    Raises:
        ObjectProblem, BadName: as `upload`.
    """
    if "/" in file_name or file_name in ("", ".", ".."):
        raise BadName(f"the file name {shown(file_name)} is no name of a file: give it without its folder")
    if any(character < " " or character == "\x7f" for character in file_name):
        raise BadName(f"the file name {shown(file_name)} has control characters: rename the file")
    # Rule: in a form, S3 puts the sender's name for ${filename}, and in its policy \$ stands for $; so there is no
    # telling which key would be allowed (docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html).
    folder = "" if definition.id == DEFAULT.id else f"{definition.id}/"
    if "$" in folder + file_name:
        whose = "import id" if "$" in folder else "file name"
        raise BadName(
            f"the {whose} has a $, which means something of its own in a signed form: rename it, or upload the file by "
            "`importer import`"
        )
    judge_name(file_name, definition.format, definition.mime_type)
    packed = file_name[len(without_compression(file_name)) :]
    stem, dot, suffix = without_compression(file_name).rpartition(".")
    at = datetime.fromtimestamp(now_ms // 1000, UTC)
    key = f"{prefix}{folder}{stem}-{at:%Y%m%dT%H%M%SZ}-{chance(_CHANCE_BYTES)}{dot}{suffix}{packed}"
    try:
        size = len(key.encode())
    except UnicodeEncodeError:
        raise BadName("the file name is not UTF-8: rename the file") from None
    if size > LONGEST_KEY:
        raise BadName(f"the file name is too long by {size - LONGEST_KEY} bytes: rename the file")
    return key


def content_type(file_name: str, mime_type: str) -> str:
    """What the file will be stored as. It is for people: an import looks at the bytes."""
    if without_compression(file_name) != file_name:
        return "application/zstd" if file_name.lower().endswith(".zst") else "application/gzip"
    return "text/csv" if mime_type == TEXT_CSV else "application/x-ndjson"


# ---- The route -----------------------------------------------------------------------------------------------------


def create_upload(request: Request, door: Doorway) -> Answer:
    """`POST /v1/datamarts/{datamart_id}/document_imports/{import_id}/uploads` with `{"file_name": "monday.ndjson"}`;
    with `"mends"`, an execution of this import, the file will have its bad rows, mended.

    Raises:
        Problem: 400 for a body that asks for nothing we know, 403, 404 and 409 for the import, 422 for the name.
        Unavailable: there is nothing to sign with.
    """
    judge_datamart(request, door)
    import_id = request.parameters["import_id"]
    permitted(request, Right.WRITE, import_id)
    definition = definition_of(door, import_id)
    file_name = file_name_of(request)
    now_ms = door.work.clock.now_ms()
    mends = _mends(request, door, import_id)
    try:
        made = upload(door.forms, door.bucket, definition, file_name, door.upload_bytes, now_ms, SECONDS, mends=mends)
    except ObjectProblem as problem:
        raise refused(problem) from None
    except BadName as problem:
        raise bad_name(problem) from None
    answer = ok(made.document(file_name), HTTPStatus.CREATED)
    return Answer(answer.status, answer.body, answer.headers | {"Cache-Control": "no-store"})


def refused(problem: ObjectProblem, field: str = "file_name") -> Problem:
    """An import of this kind takes no file of such a name."""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, problem.code.value, problem.message, field=field)


def bad_name(problem: BadName) -> Problem:
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "bad_file_name", str(problem), field="file_name")


def file_name_of(request: Request, known: tuple[str, ...] = _ASKED) -> str:
    """Of the body `{"file_name": …}`, which may have what is known and nothing else. Raises Problem."""
    asked = request.json()
    if not isinstance(asked, dict):
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "bad_request",
            'send a JSON object that names the file: {"file_name": "monday.ndjson"}',
        )
    unknown = sorted(set(asked) - set(known))
    if unknown:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "unknown_field",
            f"{shown(unknown[0])} is not known here: choose from {', '.join(known)}",
            field=unknown[0],
        )
    file_name = asked.get("file_name")
    if not isinstance(file_name, str):
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "missing_field" if file_name is None else "wrong_type",
            'file_name must be the name of the file to upload, such as "monday.ndjson"',
            field="file_name",
        )
    return file_name


def _mends(request: Request, door: Doorway, import_id: str) -> str:
    """The execution whose bad rows the file will have; of this import only, which the token is for."""
    asked = request.json()
    mends = asked.get("mends") if isinstance(asked, dict) else None
    if mends is None:
        return ""
    known = mends if isinstance(mends, str) and mending.is_execution_id(mends) else ""
    parent = door.work.records.execution(known) if known else None
    if parent is None or parent.document_import_id != import_id:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "no_such_execution",
            "mends must be the id of an execution of this import: the one whose bad rows the file has, mended",
            field="mends",
        )
    return parent.id


def _iso(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
