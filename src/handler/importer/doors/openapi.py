"""The published description of the HTTP door, OpenAPI 3.1: the one there is. docs/openapi.json is its copy.

Settings, statuses and limits are taken from where they are judged, so that the description cannot say another thing.
"""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

from importer import formats
from importer.definitions import (
    DATE_FORMATS,
    LATEST_TIME_MS,
    LONGEST_ID,
    LONGEST_RUN_SECONDS,
    LONGEST_TEXT,
    MIME_TYPES,
    MOST_FILES_PER_RUN,
    PRIORITIES,
    SINK_CHOICES,
    Definition,
)
from importer.doors.addresses import MOST_CHARACTERS
from importer.doors.http import PROBLEM_JSON, Answer, Request
from importer.doors.ports import Doorway
from importer.fetches import FetchReason
from importer.model import Phase, Status

Schema = dict[str, Any]

# Of the description, as a reader compares it: the first number goes up when a client could break.
VERSION: Final = "1.0.0"

_TEXT: Final[Schema] = {"type": "string"}
_NULL: Final[Schema] = {"type": "null"}
_TIME: Final[Schema] = {"type": ["integer", "null"], "description": "Milliseconds since 1970-01-01 UTC."}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_URI: Final[Schema] = {"type": ["string", "null"], "description": "For `GET /v1/data_file/data?uri=`."}
_ID: Final[Schema] = {"type": ["integer", "string"]}
_MIME: Final = "multipart/form-data"

_SAYS: Final = {
    "id": "Also the folder below imports/ whose files it is for. Without one it is made of the name.",
    "name": "What people call it.",
    "mime_type": "How rows stand in its files. The Content-Type of an execution's body must be the same.",
    "strict": "The vendor's own limits and names instead of ours.",
    "date_format": "How 03/04/2012 is read; empty: such dates are refused.",
    "session_scope": "Take {s}name for a property of the session.",
    "earliest_ms": "First time an event may have, in milliseconds.",
    "latest_ms": "Last time an event may have, in milliseconds.",
    "format": "Dialect of its rows; empty: each row tells by its marks.",
    "document_type": "What its rows are, where a dialect has several kinds; null or empty: each tells by its shape.",
    "encoding": "Of its files: utf-8.",
    "priority": "Which queue the parts of its large files wait in: docs/http.md#priority.",
    "base_file_name": "accounts.json stands for accounts*.json of a recurring import.",
    "files_per_run": "Of a recurring import: files a run takes up.",
    "run_seconds": "Of a recurring import: how long a run works at them.",
    "identity": "What makes two events one: row, vendor, address or property:<name>.",
    "atomic": "Store nothing of a file unless every row is good.",
    "numbers_in_strings": 'Take the text "123" for the number 123.',
    "max_bad_rows": "More bad rows end an execution FAILED; 0 is no limit.",
    "sinks": "Where events go; empty: as the installation has it.",
}


_URI_IMPORT_SAYS: Final = {
    "import_id": "The document import it goes to; without one it goes to the default.",
    "credentials": "Secret that holds an access key for a private S3 source: ssm:NAME or secretsmanager:NAME.",
    "role_arn": "Role to assume for a private S3 source.",
    "external_id": "What the owner of that role wants to be told.",
}


def show(request: Request, door: Doorway) -> Answer:
    """GET /openapi.json: any good token may read it."""
    return Answer(body=document())


def document() -> Schema:
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "S3 Event Importer",
            "version": VERSION,
            "summary": "Send files of events over HTTP; every row ends once in the store or once in the errors.",
            "description": (
                "The resources of mediarithmics' document imports, and Woopra's import. One installation is one "
                "datamart. Every request needs a token: `importer token create`. What a request cannot have is told "
                "as application/problem+json, with a stable `code` and the remedy in `detail`."
            ),
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}, {"bearer": []}, {"basic": []}],
        "tags": [
            {"name": "Document imports", "description": "How the files of one kind are read."},
            {"name": "Executions", "description": "One file each."},
            {"name": "Files", "description": "What an execution left behind."},
            {"name": "Imports by URI", "description": "Files that the installation fetches itself."},
            {"name": "Visits", "description": "Woopra's import."},
            {"name": "About", "description": "This description."},
        ],
        "paths": _paths(),
        "components": {
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "Authorization", "description": "The token alone."},
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic", "description": "The token's id and its secret."},
            },
            "parameters": _parameters(),
            "responses": {name: _problem_response(text) for name, (_, text) in _PROBLEMS.items()},
            "schemas": _schemas(),
        },
    }


# ---- Paths -------------------------------------------------------------------------------------------------------

# name of a response → its status, and what it says
_PROBLEMS: Final = {
    "BadRequest": ("400", "The request cannot be read."),
    "Unauthorized": ("401", "There is no good token in it."),
    "Forbidden": ("403", "The token may not do this to this import."),
    "NotFound": ("404", "There is no such datamart, import, execution or file."),
    "Conflict": ("409", "It cannot be done as things are now."),
    "TooLarge": ("413", "The body is over 4 MiB: ask for an upload instead."),
    "UnsupportedMediaType": ("415", "The Content-Type or Content-Encoding is not one that is taken here."),
    "Unprocessable": ("422", "The request can be read, and says what cannot be."),
    "Unavailable": ("503", "Something this needs does not answer: try again."),
}
_EVERYWHERE: Final = ("BadRequest", "Unauthorized", "Unavailable")


def _paths() -> Schema:
    imports = "/v1/datamarts/{datamart_id}/document_imports"
    one = f"{imports}/{{import_id}}"
    executions = f"{one}/executions"
    execution = f"{executions}/{{execution_id}}"
    return {
        imports: {
            "parameters": [_parameter("datamart_id")],
            "get": _operation(
                "listDocumentImports",
                "Document imports",
                "List the document imports the token may read, newest first",
                {"200": _json("The page.", _list_of("DocumentImport"))},
                ("Forbidden", "NotFound"),
                parameters=("keywords", "first_result", "max_results"),
            ),
            "post": _operation(
                "createDocumentImport",
                "Document imports",
                "Make a document import",
                {"200": _json("It is made.", _data("DocumentImport"))},
                ("Forbidden", "NotFound", "Conflict", "UnsupportedMediaType", "Unprocessable"),
                parameters=("idempotency_key",),
                body=_settings_body(
                    {
                        "document_type": "USER_ACTIVITY",
                        "mime_type": "APPLICATION_X_NDJSON",
                        "encoding": "utf-8",
                        "name": "My user activity document import",
                    }
                ),
            ),
        },
        one: {
            "parameters": [_parameter("datamart_id"), _parameter("import_id")],
            "get": _operation(
                "getDocumentImport",
                "Document imports",
                "One document import",
                {"200": _json("It.", _data("DocumentImport"))},
                ("Forbidden", "NotFound"),
            ),
            "put": _operation(
                "changeDocumentImport",
                "Document imports",
                "Change the settings that are sent; the others stay",
                {"200": _json("As it is now.", _data("DocumentImport"))},
                ("Forbidden", "NotFound", "Conflict", "UnsupportedMediaType", "Unprocessable"),
                body=_settings_body({"priority": "HIGH"}),
            ),
            "delete": _operation(
                "deleteDocumentImport",
                "Document imports",
                "Delete a document import; what was imported stays",
                {"200": _json("As it was.", _data("DocumentImport"))},
                ("Forbidden", "NotFound", "Conflict"),
                parameters=("force",),
            ),
        },
        executions: {
            "parameters": [_parameter("datamart_id"), _parameter("import_id")],
            "get": _operation(
                "listExecutions",
                "Executions",
                "List the executions of a document import, newest first",
                {"200": _json("The page.", _list_of("Execution"))},
                ("Forbidden", "NotFound"),
                parameters=("status", "created_from", "created_before", "first_result", "max_results"),
            ),
            "post": _operation(
                "createExecution",
                "Executions",
                "Send a file: it is stored, and imported from there",
                {"200": _json("It is stored; its execution, as it was made: PENDING.", _data("Execution"))},
                ("Forbidden", "NotFound", "Conflict", "TooLarge", "UnsupportedMediaType", "Unprocessable"),
                parameters=("idempotency_key", "content_encoding"),
                body={
                    "required": True,
                    "description": "At most 4 MiB, of the import's mime_type; or a form with a field `file`.",
                    "content": {
                        "application/x-ndjson": {"schema": {"type": "string", "minLength": 1}},
                        "text/csv": {"schema": {"type": "string", "minLength": 1}},
                        _MIME: {
                            "schema": {
                                "type": "object",
                                "required": ["file"],
                                "properties": {
                                    "file": {"type": "string", "contentMediaType": "application/octet-stream"},
                                    "type": {"type": "string", "description": "The file's media type, or mime_type."},
                                },
                            }
                        },
                    },
                },
            ),
        },
        execution: {
            "parameters": [_parameter("datamart_id"), _parameter("import_id"), _parameter("execution_id")],
            "get": _operation(
                "getExecution",
                "Executions",
                "One execution, as it stands",
                {"200": _json("It.", _data("Execution"))},
                ("Forbidden", "NotFound"),
            ),
        },
        f"{execution}/action": {
            "parameters": [_parameter("datamart_id"), _parameter("import_id"), _parameter("execution_id")],
            "post": _operation(
                "actOnExecution",
                "Executions",
                "CANCEL one that is not read to its end, or RETRY one that FAILED",
                {"200": _json("As it is now.", _data("Execution"))},
                ("Forbidden", "NotFound", "Conflict", "UnsupportedMediaType", "Unprocessable"),
                body={
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "required": ["action"],
                                "properties": {"action": {"type": "string", "enum": ["CANCEL", "RETRY"]}},
                            }
                        }
                    },
                },
            ),
        },
        "/v1/executions/{execution_id}/undo": {
            "parameters": [_parameter("execution_id")],
            "post": _operation(
                "undoExecution",
                "Executions",
                "Take out again what it wrote, and put back what others held there; or only say what that takes",
                {
                    "200": _json("With plan=true: what it would take. Nothing is done.", _data("UndoPlan")),
                    "202": _json("It is somebody's job now: GET says how it stands.", _data("Undo")),
                },
                ("BadRequest", "Forbidden", "NotFound", "Conflict"),
                parameters=("plan",),
            ),
            "get": _operation(
                "getUndo",
                "Executions",
                "How its undoing stands",
                {"200": _json("It.", _data("Undo"))},
                ("Forbidden", "NotFound"),
            ),
        },
        f"{one}/uploads": {
            "parameters": [_parameter("datamart_id"), _parameter("import_id")],
            "post": _operation(
                "createUpload",
                "Executions",
                "An address, good for 15 minutes, that takes one file of any size",
                {"201": _json("Where and how to post it. Keep it secret: it needs no token.", _data("Upload"))},
                ("Forbidden", "NotFound", "Conflict", "UnsupportedMediaType", "Unprocessable"),
                body={
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "required": ["file_name"],
                                "properties": {
                                    "file_name": {"type": "string", "minLength": 1},
                                    "mends": {
                                        "type": "string",
                                        "description": "Id of an execution of this import: the file will have its bad "
                                        "rows, mended.",
                                    },
                                },
                                "additionalProperties": False,
                            },
                            "example": {"file_name": "monday.ndjson"},
                        }
                    },
                },
            ),
        },
        f"{one}/previews": {
            "parameters": [_parameter("datamart_id"), _parameter("import_id")],
            "post": _operation(
                "createPreview",
                "Executions",
                "An address, good for 15 minutes, that takes a file (or its begin) to be looked at, not imported",
                {
                    "201": _json(
                        "Where and how to post it, and at `result` where to GET what was found. Keep it secret.",
                        _data("AskedPreview"),
                    )
                },
                ("Forbidden", "NotFound", "Conflict", "UnsupportedMediaType", "Unprocessable"),
                body=_file_name_body(),
            ),
        },
        f"{one}/previews/{{preview_name}}": {
            "parameters": [_parameter("datamart_id"), _parameter("import_id"), _parameter("preview_name")],
            "get": _operation(
                "getPreview",
                "Executions",
                "What an import would do with a file that was posted to be looked at",
                {
                    "200": _json(
                        "`preview/1`; null as long as nobody has looked.",
                        {
                            "type": "object",
                            "required": ["status", "data"],
                            "properties": {"status": {"const": "ok"}, "data": {"type": ["object", "null"]}},
                        },
                    )
                },
                ("Forbidden", "NotFound"),
            ),
        },
        "/v1/executions": {
            "get": _operation(
                "listAllExecutions",
                "Executions",
                "List the executions of all imports the token may read, newest first",
                {
                    "200": _json(
                        "The page.",
                        {
                            "type": "object",
                            "required": ["status", "data", "count", "cursor"],
                            "properties": {
                                "status": {"const": "ok"},
                                "data": {"type": "array", "items": _ref("Execution")},
                                "count": _COUNT
                                | {"description": "In this page; it may hold none though there are more."},
                                "cursor": {"type": ["string", "null"], "description": "For the next page; null: none."},
                            },
                        },
                    ),
                    "304": {"description": "As the answer with that ETag."},
                },
                ("Forbidden",),
                parameters=("status", "import", "key", "created_from", "page_size", "cursor"),
            ),
        },
        "/v1/executions/{execution_id}": {
            "parameters": [_parameter("execution_id")],
            "get": _operation(
                "watchExecution",
                "Executions",
                "One execution with how far it is and, when it has ended, its receipt",
                {
                    "200": _json("It.", _data("WatchedExecution")),
                    "304": {"description": "As the answer with that ETag."},
                },
                ("Forbidden", "NotFound"),
            ),
        },
        "/v1/executions/{execution_id}/redrive": {
            "parameters": [_parameter("execution_id")],
            "post": _operation(
                "redriveExecution",
                "Executions",
                "Take up again one that FAILED",
                {"200": _json("As it is now.", _data("Execution"))},
                ("Forbidden", "NotFound", "Conflict"),
            ),
        },
        "/v1/token": {
            "get": _operation(
                "getToken",
                "About",
                "What the token of this request may do",
                {"200": _json("It, without its secret.", _data("Token"))},
                (),
            ),
        },
        "/console": {
            "get": {
                "operationId": "getConsole",
                "tags": ["About"],
                "summary": "The console: a page for people, which asks for a token itself",
                "security": [],
                "responses": {
                    "200": {"description": "The page.", "content": {"text/html": {"schema": _TEXT}}},
                    "304": {"description": "As the answer with that ETag."},
                    "503": _ref("Unavailable", "responses"),
                },
            }
        },
        "/v1/data_file/data": {
            "get": _operation(
                "getDataFile",
                "Files",
                "A file that an execution's document names",
                {
                    "200": {
                        "description": "Its bytes; with `as=link` a link to it, good for five minutes.",
                        "content": {
                            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
                            "application/json": {"schema": _data("Link")},
                        },
                    },
                    "302": {
                        "description": "Over 4 MiB: a link to it, good for five minutes.",
                        "headers": {"Location": {"schema": _TEXT}},
                    },
                },
                ("Forbidden", "NotFound"),
                parameters=("uri", "as"),
            )
        },
        "/v1/uri_imports": {
            "get": _operation(
                "listUriImports",
                "Imports by URI",
                "List the imports by URI the token may see, newest first",
                {"200": _json("The page.", _list_of("UriImport"))},
                ("Forbidden", "NotFound"),
                parameters=("first_result", "max_results"),
            ),
            "post": _operation(
                "createUriImport",
                "Imports by URI",
                "Have a file fetched from a URI and imported",
                {
                    "202": {
                        **_json("It is asked for; look again at its Location.", _data("UriImport")),
                        "headers": {"Location": {"schema": _TEXT}},
                    }
                },
                ("Forbidden", "NotFound", "Conflict", "UnsupportedMediaType", "Unprocessable"),
                parameters=("idempotency_key",),
                body={
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "required": ["uri"],
                                "properties": {
                                    "uri": {
                                        "type": "string",
                                        "minLength": 1,
                                        "maxLength": MOST_CHARACTERS,
                                        "description": "https://…, http://… or s3://BUCKET/KEY, to a file by its name.",
                                    },
                                    **{
                                        name: {"type": ["string", "null"], "minLength": 1, "description": text}
                                        for name, text in _URI_IMPORT_SAYS.items()
                                    },
                                },
                                "additionalProperties": False,
                            },
                            "example": {"uri": "https://files.example.com/exports/monday.json.gz"},
                        }
                    },
                },
            ),
        },
        "/v1/uri_imports/{fetch_id}": {
            "parameters": [_parameter("fetch_id")],
            "get": _operation(
                "getUriImport",
                "Imports by URI",
                "How far it is, why it failed, or what became of its file",
                {"200": _json("As it is now.", _data("UriImport"))},
                ("NotFound",),
            ),
        },
        "/import": {"post": _visits("importVisits", "Import visits, one a line")},
        "/rest/3.7/import": {"post": _visits("importVisitsRest", "As POST /import, by Woopra's own path")},
        "/rest/2.4/logs/import": {"put": _visits("importVisitsOld", "As POST /import, by Woopra's older path")},
        "/openapi.json": {
            "get": _operation(
                "getDescription", "About", "This description", {"200": _json("It.", {"type": "object"})}, ()
            )
        },
    }


def _visits(name: str, summary: str) -> Schema:
    visit = '{"visitor":{"email":"ann@example.org"},"actions":[{"time":1444077951001,"name":"purchase"}]}\n'
    return _operation(
        name,
        "Visits",
        summary,
        {
            "200": _json(
                "They are stored, and imported from there.",
                {
                    "type": "object",
                    "required": ["success", "execution"],
                    "properties": {"success": {"const": True}, "execution": _ref("Execution")},
                },
            )
        },
        ("Forbidden", "NotFound", "Conflict", "TooLarge", "UnsupportedMediaType", "Unprocessable"),
        parameters=("website", "project", "idempotency_key", "content_encoding"),
        body={
            "required": True,
            "content": {"application/x-ndjson": {"schema": {"type": "string", "minLength": 1}, "example": visit}},
        },
    )


def _operation(
    name: str,
    tag: str,
    summary: str,
    answers: Schema,
    problems: tuple[str, ...],
    parameters: tuple[str, ...] = (),
    body: Schema | None = None,
) -> Schema:
    said: Schema = {"operationId": name, "tags": [tag], "summary": summary}
    if parameters:
        said["parameters"] = [_parameter(parameter) for parameter in parameters]
    if body is not None:
        said["requestBody"] = body
    told = {_PROBLEMS[problem][0]: _ref(problem, "responses") for problem in (*_EVERYWHERE, *problems)}
    said["responses"] = answers | dict(sorted(told.items()))
    return said


def _file_name_body() -> Schema:
    return {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["file_name"],
                    "properties": {"file_name": {"type": "string", "minLength": 1}},
                    "additionalProperties": False,
                },
                "example": {"file_name": "monday.ndjson"},
            }
        },
    }


def _settings_body(example: Schema) -> Schema:
    return {
        "required": True,
        "content": {"application/json": {"schema": _ref("Settings"), "example": example}},
    }


def _json(description: str, schema: Schema) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _problem_response(description: str) -> Schema:
    return {"description": description, "content": {PROBLEM_JSON: {"schema": _ref("Problem")}}}


def _data(schema: str) -> Schema:
    return {
        "type": "object",
        "required": ["status", "data"],
        "properties": {"status": {"const": "ok"}, "data": _ref(schema)},
    }


def _list_of(schema: str) -> Schema:
    return {
        "type": "object",
        "required": ["status", "data", "count", "total", "first_result", "max_result", "max_results"],
        "properties": {
            "status": {"const": "ok"},
            "data": {"type": "array", "items": _ref(schema)},
            "count": _COUNT | {"description": "In this page."},
            "total": {
                "type": ["integer", "null"],
                "description": "Of all pages; null where it was not counted, and there may be more.",
            },
            "first_result": _COUNT,
            "max_result": _COUNT,
            "max_results": _COUNT,
        },
    }


def _ref(name: str, kind: str = "schemas") -> Schema:
    return {"$ref": f"#/components/{kind}/{name}"}


def _parameter(name: str) -> Schema:
    return _ref(name, "parameters")


def _parameters() -> Schema:
    # What the gateway's paths take: see docs/http.md.
    of_path = {
        "datamart_id": ("The installation's: 1, unless it was deployed with another.", _TEXT),
        "import_id": (
            "Of a document import; `default` for files that none is for.",
            {"type": "string", "minLength": 1, "maxLength": LONGEST_ID},
        ),
        "execution_id": ("Of an execution.", {"type": "string", "minLength": 1}),
        "fetch_id": ("Of an import by URI.", {"type": "string", "minLength": 1}),
        "preview_name": ("As `result` of the answer to POST …/previews has it.", {"type": "string", "minLength": 1}),
    }
    whole = {"type": "integer", "minimum": 0}
    of_query: Mapping[str, tuple[str, Schema]] = {
        "keywords": ("Words that id or name must have.", _TEXT),
        "first_result": ("So many are left out.", whole | {"maximum": 10_000, "default": 0}),
        "max_results": ("So many at most.", {"type": "integer", "minimum": 1, "maximum": 500, "default": 50}),
        "force": ("Although files wait for it.", {"type": "string", "enum": ["true", "false"]}),
        "status": ("Of one or more statuses.", {"type": "array", "minItems": 1, "items": {"enum": [*Status]}}),
        "created_from": ("Created then or later, in milliseconds.", whole | {"maximum": 2**53 - 1}),
        "created_before": ("Created before, in milliseconds.", whole | {"maximum": 2**53 - 1}),
        "plan": ("Only say what it would take.", {"type": "string", "enum": ["true", "false"], "default": "false"}),
        "website": ("Id of the import, which Woopra calls a project; `woopra` without one.", _TEXT),
        "project": ("As website.", _TEXT),
        "key": ("Of the file with this key, as the form had it.", _TEXT),
        "cursor": ("As an earlier page gave it.", {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}),
        "as": ("The file, or a link to it.", {"type": "string", "enum": ["file", "link"], "default": "file"}),
    }
    said: Schema = {
        name: {"name": name, "in": "path", "required": True, "description": text, "schema": schema}
        for name, (text, schema) in of_path.items()
    }
    said |= {
        name: {"name": name, "in": "query", "description": text, "schema": schema}
        for name, (text, schema) in of_query.items()
    }
    said["import"] = {"name": "import_id", "in": "query", "description": "Of this import.", "schema": _TEXT}
    said["page_size"] = {
        "name": "max_results",
        "in": "query",
        "description": "So many at most.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 200, "default": 50},
    }
    said["status"] |= {"style": "form", "explode": False}
    said["uri"] = {
        "name": "uri",
        "in": "query",
        "required": True,
        "description": "Such as input_file_uri, error_file_uri, receipt_uri of a result, or file_uri.",
        "schema": _TEXT,
    }
    said["idempotency_key"] = {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Sent again with the same body within a day, the request is not done again.",
        "schema": {"type": "string", "pattern": r'^("[!#-\[\]-~]{1,255}"|[!#-\[\]-~]{1,255})$'},
        "example": '"8e03978e-40d5-43e8-bc93-6894a57f9324"',
    }
    said["content_encoding"] = {
        "name": "Content-Encoding",
        "in": "header",
        "description": "How the body is compressed.",
        "schema": {"type": "string", "enum": ["identity", "gzip", "zstd"]},
    }
    return said


# ---- Schemas -----------------------------------------------------------------------------------------------------


def _schemas() -> Schema:
    settings = _settings()
    return {
        "Problem": {
            "type": "object",
            "description": "RFC 9457.",
            "required": ["type", "title", "status", "code", "detail"],
            "properties": {
                "type": {"const": "about:blank"},
                "title": _TEXT,
                "status": {"type": "integer"},
                "code": {"type": "string", "description": "Stable: docs/http.md lists them."},
                "detail": {"type": "string", "description": "What is wrong, and what to do."},
            },
        },
        "Settings": {
            "type": "object",
            "description": "What is left out has its default.",
            "minProperties": 1,
            "properties": settings
            | {
                name: {"type": ["string", "null"], "description": "Given by the installation: not looked at."}
                for name in ("datafarm_key", "datamart_id")
            },
        },
        "DocumentImport": {
            "type": "object",
            "required": ["id", "datafarm_key", "datamart_id"],
            "properties": settings
            | {
                "datafarm_key": {"type": "string", "description": "The AWS region."},
                "datamart_id": _TEXT,
                "created_ms": _TIME,
                "changed_ms": _TIME,
                "problem": {
                    "type": ["string", "null"],
                    "description": "Why it cannot be used as it is stored; then its settings are in `stored`.",
                },
            },
        },
        "Execution": _execution(),
        "Undo": {
            "type": "object",
            "required": ["execution_id", "status", "reason"],
            "properties": {
                "execution_id": _TEXT,
                "status": {"type": "string", "enum": ["ASKED", "RUNNING", "DONE", "REFUSED"]},
                "reason": {"type": ["string", "null"], "description": "Why it is not undone, or not further."},
                "at_ms": _COUNT,
                "done_ms": {"type": ["integer", "null"], "minimum": 0},
                "by": _TEXT,
                "removed": {**_COUNT, "description": "Items; at least, where a worker died."},
                "put_back": {**_COUNT, "description": "Items, as others wrote them."},
                "kept": {**_COUNT, "description": "Items others wrote meanwhile."},
                "position": {"type": ["integer", "null"], "minimum": 0},
                "receipt_uri": _TEXT,
            },
        },
        "UndoPlan": _object(
            {
                "schema": {"const": "undo_plan/1"},
                "execution_id": _TEXT,
                "status": _TEXT,
                "items_at_most": _COUNT,
                "read_bytes": _COUNT,
                "others": {"type": "array", "items": _TEXT},
                "running": {"type": "array", "items": _TEXT},
                "seconds": _COUNT,
                "cost": {"type": "object"},
                "stream": {"type": ["string", "null"]},
            }
        ),
        "WatchedExecution": _watched(),
        "Token": _object(
            {
                "id": _TEXT,
                "name": _TEXT,
                "scopes": {
                    "type": "object",
                    "description": "By import id; `*` is every import.",
                    "additionalProperties": {"type": "array", "items": {"enum": ["read", "write", "admin"]}},
                },
                "datamart_id": _TEXT,
            }
        ),
        "Link": _object(
            {
                "url": {"type": "string", "description": "Keep it secret: it needs no token."},
                "bytes": _COUNT,
                "seconds": _COUNT | {"description": "So long it is good."},
                "file_name": _TEXT,
            }
        ),
        "AskedPreview": {
            "allOf": [_ref("Upload")],
            "required": ["result"],
            "properties": {"result": {"type": "string", "description": "Path of what is found."}},
        },
        "UriImport": _uri_import(),
        "Upload": {
            "type": "object",
            "required": ["method", "url", "fields", "key", "max_bytes", "expires"],
            "properties": {
                "method": {"const": "POST"},
                "url": _TEXT,
                "fields": {"type": "object", "additionalProperties": _TEXT},
                "key": _TEXT,
                "max_bytes": _COUNT,
                "expires": _TEXT,
                "curl": {"type": "string", "description": "The line for a shell that posts the file."},
            },
        },
    }


def _uri_import() -> Schema:
    text_or_null = {"type": ["string", "null"]}
    reasons = [reason.value for reason in FetchReason]
    error = _object({"code": {"type": "string", "enum": reasons}, "message": _TEXT})
    return _object(
        {
            "id": _TEXT,
            "uri": {"type": "string", "description": "Without its query, which may be a signature."},
            "status": {"type": "string", "enum": ["PENDING", "RUNNING", "SUCCEEDED", "FAILED"]},
            "import_id": text_or_null,
            "credentials": text_or_null,
            "role_arn": text_or_null,
            "external_id": text_or_null,
            "file_uri": {"type": "string", "description": "Where the file goes."},
            "fetched_bytes": _COUNT,
            "total_bytes": {"type": ["integer", "null"], "description": "As its server says; null where it does not."},
            "restarts": _COUNT | {"description": "How often it had changed, and was read from its begin."},
            "creation_date": _TIME,
            "start_date": _TIME,
            "end_date": _TIME,
            "error": {"oneOf": [_NULL, error]},
            "execution_id": text_or_null | {"description": "Of the file's import, when it has SUCCEEDED."},
            "execution": {"oneOf": [_NULL, _ref("Execution")]},
        }
    )


def _settings() -> Schema:
    types = [kind for dialect in formats.FORMATS.values() for kind in dialect.DOCUMENTS if kind]
    allowed: Schema = {
        "id": {"type": "string", "minLength": 1, "maxLength": LONGEST_ID},
        **{name: {"type": "string", "maxLength": LONGEST_TEXT} for name in ("name", "identity", "base_file_name")},
        "mime_type": {"enum": [*MIME_TYPES]},
        "date_format": {"enum": ["", *DATE_FORMATS]},
        "format": {"enum": ["", *formats.FORMATS]},
        "document_type": {"enum": [None, "", *types]},
        "priority": {"enum": [*PRIORITIES]},
        "sinks": {"enum": ["", *SINK_CHOICES]},
        "earliest_ms": {"type": "integer", "minimum": 0, "maximum": LATEST_TIME_MS},
        "latest_ms": {"type": "integer", "minimum": 0, "maximum": LATEST_TIME_MS},
        "files_per_run": {"type": "integer", "minimum": 1, "maximum": MOST_FILES_PER_RUN},
        "run_seconds": {"type": "integer", "minimum": 1, "maximum": LONGEST_RUN_SECONDS},
        "max_bad_rows": _COUNT | {"maximum": 10**15 - 1},
    }
    kinds = {bool: "boolean", int: "integer", str: "string"}
    said: Schema = {}
    for field in fields(Definition):
        schema = allowed.get(field.name, {"type": kinds[type(field.default)]})
        said[field.name] = schema | {"description": _SAYS[field.name]}
    return said


def _execution() -> Schema:
    parameters: Schema = {
        "datamart_id": _ID,
        "document_import_id": _ID,
        "mime_type": {"enum": [*MIME_TYPES]},
        "document_type": {"type": "string", "description": "Or the dialect, where no type is set."},
        "input_file_name": _TEXT,
        "file_uri": _URI,
        "number_of_lines": {"type": ["integer", "null"]},
        "segment_id": _NULL,
    }
    result: Schema = {
        "total_success": _COUNT,
        "total_failure": _COUNT,
        "total_expired": _COUNT,
        "total_erased": _COUNT,
        "total_withheld": _COUNT,
        "input_file_name": _TEXT,
        "input_file_uri": _URI,
        "error_file_uri": _URI,
        "receipt_uri": _URI,
        "possible_issue_on_identifiers": {"type": "boolean"},
        "top_identifiers": {"type": "object", "additionalProperties": _COUNT},
    }
    error: Schema = {"code": _TEXT, "message": _TEXT}
    properties: Schema = {
        "parameters": _object(parameters),
        "result": {"anyOf": [_object(result), _NULL], "description": "null until it has ended."},
        "error": {"anyOf": [_object(error), _NULL], "description": "null unless it FAILED."},
        "id": _TEXT,
        "status": {"enum": [*Status]},
        "phase": {"enum": [*Phase], "description": "What is being done inside the status; CLOSED: nothing any more."},
        "creation_date": {"type": "integer", "description": "Milliseconds since 1970-01-01 UTC."},
        "start_date": _TIME,
        "duration": {"type": ["integer", "null"], "description": "Milliseconds."},
        "end_date": _TIME,
        "organisation_id": _TEXT,
        "user_id": _NULL,
        "cancel_status": _NULL,
        "debug": _NULL,
        "is_retryable": {"type": "boolean"},
        "permalink_uri": _TEXT,
        "num_tasks": _COUNT,
        "completed_tasks": _COUNT,
        "erroneous_tasks": _COUNT,
        "retry_count": _COUNT,
        "job_type": {"const": "DOCUMENT_IMPORT"},
        "import_mode": {"const": "MANUAL_FILE"},
        "import_type": _NULL,
    }
    undone = _object(
        {
            "status": {"enum": ["RUNNING", "DONE"]},
            "at_ms": _COUNT,
            "done_ms": {"type": ["integer", "null"], "minimum": 0},
            "by": _TEXT,
            "removed": _COUNT,
            "put_back": _COUNT,
            "kept": _COUNT,
            "position": {"type": ["integer", "null"], "minimum": 0},
        }
    )
    parent = {"type": "string", "description": "Of a replay: the execution whose archived file it reads again."}
    # Both only where they are said.
    whole = _object(properties)
    return {**whole, "properties": {**properties, "parent": parent, "undone": undone}}


def _watched() -> Schema:
    said = _execution()
    count = {"type": ["integer", "null"], "minimum": 0}
    progress = _object(
        {
            "parts": _COUNT,
            "parts_done": _COUNT,
            "bytes": _COUNT,
            "bytes_read": count | {"description": "null where they are not counted in the file's own bytes."},
            "rows": count,
            "good": count,
            "bad": count,
        }
    )
    more: Schema = {
        "progress": {"anyOf": [progress, _NULL], "description": "null once it has ended."},
        "receipt": {"type": ["object", "null"], "description": "`receipt/1`; null while there is none."},
    }
    return _object(said["properties"] | more) | {"required": [*said["required"], *more]}


def _object(properties: Schema) -> Schema:
    return {"type": "object", "required": [*properties], "properties": properties}
