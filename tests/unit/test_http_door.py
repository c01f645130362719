"""The HTTP door: what each route promises, to whom, and what it says where it cannot."""

import base64
import gzip
import io
import json
import re
from collections.abc import Iterator
from typing import Any
from unittest import mock
from urllib.parse import quote

import pytest
import zstandard

import app
from importer.aws.tables import ImportsTable
from importer.doors import document_imports
from importer.doors.import_executions import BODY_BYTES
from importer.doors.routes import ROUTES
from importer.doors.tokens import Right
from tests.support.clock import LambdaContext
from tests.support.cloud import Cloud
from tests.support.door import IMPORTS, NDJSON, Door, opened
from tests.support.faults import Fault, plan

pytestmark = pytest.mark.filterwarnings("ignore:No application metrics")  # as app.py does; pytest forgets it

# The seed's own bodies (mediarithmics' page on sending documents), letter by letter.
DEFINITION = {
    "document_type": "USER_ACTIVITY",
    "mime_type": "APPLICATION_X_NDJSON",
    "encoding": "utf-8",
    "name": "My user activity document import",
}
ACTIVITY = (
    '{"$email_hash": {"$email": "[email protected]"},"$type": "TOUCH","$session_status": "NO_SESSION",'
    '"$ts": 1605262037783,"$events": [{"$event_name": "store-visit","$ts": 1605262037783,"$properties": {}}],'
    '"$location": {"$country": "france","$city": "paris","$zip_code": "75001"}}'
)
ROW = '{"user_id":"ann","event_name":"login","event_time_ts":1425920218354}\n'
LINES = {"Content-Type": NDJSON}
URIS = "/v1/uri_imports"


@pytest.fixture
def door() -> Iterator[Door]:
    with Cloud() as cloud, opened(cloud) as door:
        yield door


# ---- The vendor's own conversation -------------------------------------------------------------------------------


def test_the_vendors_three_requests_are_answered_field_for_field(door: Door):
    """Make an import, send a body, ask how it stands: mediarithmics' envelope and every field it shows."""
    made = door.post(IMPORTS, json=DEFINITION)
    assert made.status == 200
    data = made.json["data"]
    assert made.json["status"] == "ok"
    assert list(data)[:8] == [
        "id",
        "datafarm_key",
        "datamart_id",
        "document_type",
        "mime_type",
        "encoding",
        "name",
        "priority",
    ]
    assert data | DEFINITION | {"id": "my-user-activity-document-import", "priority": "MEDIUM"} == data

    path = f"{IMPORTS}/{data['id']}/executions"
    sent = door.post(path, ACTIVITY, headers=LINES).json["data"]
    fields = ["parameters", "result", "error", "id", "status", "creation_date", "start_date", "duration"]
    fields += ["organisation_id", "user_id", "cancel_status", "debug", "is_retryable", "permalink_uri", "num_tasks"]
    fields += ["completed_tasks", "erroneous_tasks", "retry_count", "job_type", "import_mode", "import_type"]
    assert set(sent) == {*fields, "phase", "end_date"}
    assert (sent["status"], sent["result"], sent["error"], sent["start_date"]) == ("PENDING", None, None, None)
    assert (sent["job_type"], sent["import_mode"], sent["organisation_id"]) == ("DOCUMENT_IMPORT", "MANUAL_FILE", "1")

    door.deliver()
    after = door.get(f"{path}/{sent['id']}").json["data"]
    assert after["status"] == "SUCCEEDED"
    assert after["parameters"] == sent["parameters"] | {"number_of_lines": 1}
    assert list(after["parameters"]) == [
        "datamart_id",
        "document_import_id",
        "mime_type",
        "document_type",
        "input_file_name",
        "file_uri",
        "number_of_lines",
        "segment_id",
    ]
    assert after["parameters"]["datamart_id"] == 1
    assert (after["result"]["total_success"], after["result"]["total_failure"]) == (1, 0)
    assert after["end_date"] == after["start_date"] + after["duration"]
    assert after["permalink_uri"] == f"{path}/{sent['id']}"
    assert door.get(after["permalink_uri"]).json["data"] == after
    assert len(door.cloud.items(door.cloud.events_table)) == 1


def test_what_is_sent_lies_in_the_bucket_as_it_was_sent(door: Door):
    """A body takes the path of a dropped file: it can be had back, byte for byte."""
    path = door.made(name="The shop")
    sent = door.post(f"{path}/executions", ROW + "no json\n", headers=LINES).json["data"]
    assert re.fullmatch(
        rf"s3://{door.cloud.bucket}/imports/the-shop/\d{{8}}T\d{{6}}-[0-9a-f]{{16}}/upload\.ndjson",
        sent["parameters"]["file_uri"],
    )
    door.deliver()
    result = door.get(sent["permalink_uri"]).json["data"]["result"]
    assert (result["total_success"], result["total_failure"]) == (1, 1)
    assert door.get("/v1/data_file/data", uri=result["input_file_uri"]).body == (ROW + "no json\n").encode()
    assert door.get("/v1/data_file/data", uri=result["error_file_uri"]).body == b"no json\n"
    reasons = door.get("/v1/data_file/data", uri=f"{result['error_file_uri']}.reasons.ndjson").body
    assert json.loads(reasons)["reason"] == "not_json"
    receipt = door.get("/v1/data_file/data", uri=result["receipt_uri"])
    assert json.loads(receipt.body)["execution_id"] == sent["id"]
    assert receipt.headers["x-content-type-options"] == "nosniff"


# ---- Who may ------------------------------------------------------------------------------------------------------


def concrete(path: str) -> str:
    names = {"datamart_id": "1", "import_id": "shop", "execution_id": "0" * 32, "fetch_id": "0" * 32}
    names["preview_name"] = "monday.ndjson"
    return re.sub(r"\{(\w+)\}", lambda found: names[found[1]], path)


def test_no_route_is_open_but_the_page_that_holds_nothing(door: Door):
    """Without a good token every other route says 401, how to send one, and nothing else."""
    assert [route.path for route in ROUTES if route.is_open] == ["/console"]
    expired = door.new_token({"*": [Right.ADMIN]}, expires_ms=door.cloud.clock.now_ms() + 1_000)
    door.cloud.clock.advance(2_000)
    bad = (None, "nonsense", "0" * 16 + "." + "a" * 43, f"Bearer {door.token[:-1]}", "Basic !", expired)
    for route in ROUTES:
        for token in () if route.is_open else bad:
            reply = door.request(route.method, concrete(route.path), token=token)
            assert reply.code == (401, "unauthorized"), route
            assert reply.headers["www-authenticate"].startswith("Bearer")


def test_a_token_of_another_import_may_nothing_here(door: Door):
    """403, whether there is such an import or not, so that nobody finds out which there are; lists leave it out."""
    other = door.new_token({"other": [Right.READ, Right.WRITE]})
    query = {"uri": f"s3://{door.cloud.bucket}/imports/shop/a.json", "website": "shop"}
    bodies = {URIS: {"uri": "https://example.org/a.json", "import_id": "shop"}}
    lists, one = {("GET", IMPORTS), ("GET", URIS), ("GET", "/v1/executions")}, f"{URIS}/{'0' * 32}"
    for _ in range(2):
        for route in ROUTES:
            path = concrete(route.path)
            body = bodies.get(path, {"id": "shop"})
            reply = door.request(route.method, path, json=body, token=other, query=query)
            if (route.method, path) in lists:
                assert reply.json["data"] == []
            elif path == one:
                assert reply.code == (404, "no_such_uri_import")  # its id says nothing of an import
            elif path.startswith("/v1/executions/") and (route.method, path[-5:]) != ("POST", "/undo"):
                assert reply.code == (404, "no_such_execution")  # as of one of an import it may not see
            elif path not in ("/openapi.json", "/console", "/v1/token"):
                assert reply.code == (403, "forbidden"), route
        door.post(IMPORTS, json={"id": "shop", "name": "The shop"})


def test_an_import_by_uri_is_asked_for_and_looked_at(door: Door):
    """202, and whoever asked may see it; fetching is another function's."""
    asked = door.post(URIS, json={"uri": "https://example.org/a.json"}, headers={"Idempotency-Key": '"1"'})
    assert asked.status == 202
    assert door.get(asked.headers["location"]).json["data"]["id"] == asked.json["data"]["id"]
    again = door.post(URIS, json={"uri": "https://example.org/a.json"}, headers={"Idempotency-Key": '"1"'})
    assert (again.status, again.json) == (202, asked.json)
    assert door.get(URIS).json["count"] == 1
    assert door.post(URIS, json={"uri": "file:///etc/passwd"}).status == 400
    for host in ("169.254.169.254", "10.0.0.1", "[::ffff:10.0.0.1]"):
        assert door.post(URIS, json={"uri": f"http://{host}/a.json"}).code == (422, "address_denied")


def test_a_token_is_taken_bare_as_bearer_and_as_basic(door: Door):
    """As mediarithmics' clients, most others, and Woopra's send theirs."""
    basic = base64.b64encode(door.token.replace(".", ":").encode()).decode()
    for token in (door.token, f"Bearer {door.token}", f"Basic {basic}"):
        assert door.request("GET", IMPORTS, token=token).status == 200


def test_reading_writing_and_administering_are_three_rights(door: Door):
    """Who only sends cannot read, who only reads cannot send, and neither changes a definition."""
    path = door.made(id="shop", name="The shop")
    reader, writer = door.new_token({"shop": [Right.READ]}), door.new_token({"shop": [Right.WRITE]})
    sent = door.post(f"{path}/executions", ROW, headers=LINES, token=writer)
    assert sent.status == 200
    one = sent.json["data"]["permalink_uri"]
    assert door.request("GET", one, token=writer).code == (403, "forbidden")
    assert door.request("GET", one, token=reader).status == 200
    assert door.post(f"{path}/executions", ROW, headers=LINES, token=reader).code == (403, "forbidden")
    for token in (reader, writer):
        assert door.request("PUT", path, json={"strict": True}, token=token).code == (403, "forbidden")
        assert door.request("DELETE", path, token=token).code == (403, "forbidden")
        assert door.post(IMPORTS, json={"name": "New"}, token=token).code == (403, "forbidden")


def test_another_datamart_is_404(door: Door):
    """One stack is one datamart."""
    for path in ("/v1/datamarts/2/document_imports", "/v1/datamarts/01/document_imports/x/executions"):
        assert door.get(path).code == (404, "no_such_datamart")


def test_a_stack_may_be_called_as_its_clients_call_it():
    """DatamartId and OrganisationId of the template."""
    with Cloud() as cloud, opened(cloud, DATAMART_ID="1502", ORGANISATION_ID="1185") as door:
        made = door.post("/v1/datamarts/1502/document_imports", json=DEFINITION).json["data"]
        assert made["datamart_id"] == "1502"
        sent = door.post(f"/v1/datamarts/1502/document_imports/{made['id']}/executions", ACTIVITY, headers=LINES)
        said = sent.json["data"]
        assert (said["parameters"]["datamart_id"], said["organisation_id"]) == (1502, "1185")


# ---- Definitions --------------------------------------------------------------------------------------------------


def test_two_imports_of_one_name_are_two(door: Door):
    """mediarithmics gives each an id of its own; here the second one's says so."""
    first, second = (door.post(IMPORTS, json={"name": "The shop"}).json["data"]["id"] for _ in range(2))
    assert first == "the-shop"
    assert re.fullmatch(r"the-shop-[0-9a-f]{8}", second)


def test_an_id_that_is_asked_for_is_given_or_refused(door: Door):
    door.made(id="shop", name="The shop")
    assert door.post(IMPORTS, json={"id": "shop", "name": "Another"}).code == (409, "import_exists")
    assert door.post(IMPORTS, json={"id": "default", "name": "x"}).code == (422, "invalid_setting")


@pytest.mark.parametrize("import_id", ["a b", "a#b", "a?b", 'a"b', "a\\b", "a`b", "a%2Fb", "🎉", "売上", "a^|~+;=b"])
def test_an_import_is_found_by_whatever_id_it_has(door: Door, import_id: str):
    """In a path it is percent-encoded, all of it."""
    assert door.post(IMPORTS, json={"id": import_id, "name": "x"}).status == 200
    path = f"{IMPORTS}/{quote(import_id, safe='')}"
    assert door.get(path).json["data"]["id"] == import_id
    sent = door.post(f"{path}/executions", ROW, headers=LINES).json["data"]
    assert door.get(sent["permalink_uri"]).json["data"]["id"] == sent["id"]
    assert door.get(f"{IMPORTS}/{quote('a/b', safe='')}").code == (404, "no_such_import")


def test_put_changes_what_is_sent_and_nothing_else(door: Door):
    """A document of mediarithmics does not put our settings back to their defaults."""
    path = door.made(id="shop", name="The shop", date_format="dd/mm/yyyy")
    before = door.get(path).json["data"]
    door.cloud.clock.advance(1_000)
    after = door.request("PUT", path, json={"data": {"name": "Shop", "priority": "HIGH"}}).json["data"]
    assert after == before | {"name": "Shop", "priority": "HIGH", "changed_ms": after["changed_ms"]}
    assert after["changed_ms"] > before["changed_ms"]
    assert door.get(path).json["data"] == after
    assert door.request("PUT", path, json=after).json["data"] == after | {
        "changed_ms": door.get(path).json["data"]["changed_ms"]
    }
    assert door.request("PUT", path, json={"id": "other"}).json["field"] == "id"


def test_what_cannot_be_a_definition_is_told_by_its_field(door: Door):
    """422 names the setting and what could be chosen; what is no JSON is 400."""
    for settings, field in (
        ({"name": "x", "priority": "URGENT"}, "priority"),
        ({"name": "x", "colour": "red"}, "colour"),
        ({"name": "x", "strict": "yes"}, "strict"),
        ({"name": "x", "document_type": "USER_ACTIVITY", "mime_type": "TEXT_CSV"}, "mime_type"),
        ({"name": "x", "sinks": "firehose"}, "sinks"),
        ({"strict": True}, "name"),
    ):
        reply = door.post(IMPORTS, json=settings)
        assert (reply.code, reply.json["field"]) == ((422, "invalid_setting"), field)
    assert door.post(IMPORTS, json=["x"]).code == (422, "invalid_setting")
    assert door.post(IMPORTS, "{", headers={"Content-Type": "application/json"}).code == (400, "not_json")
    assert door.post(IMPORTS, "name=x", headers={"Content-Type": "text/plain"}).code == (415, "unsupported_media_type")
    assert door.get(IMPORTS).json["data"] == []


def test_the_list_has_pages_and_keywords_and_what_a_token_may_read(door: Door):
    for number in range(5):
        door.made(id=f"i{number}", name=f"Import {number}")
        door.cloud.clock.advance(1)
    page = door.get(IMPORTS, first_result=1, max_results=2).json
    assert [one["id"] for one in page["data"]] == ["i3", "i2"]
    assert {name: page[name] for name in page if name not in ("status", "data")} == {
        "count": 2,
        "total": 5,
        "first_result": 1,
        "max_result": 3,
        "max_results": 2,
    }
    assert [one["id"] for one in door.get(IMPORTS, keywords="import 4").json["data"]] == ["i4"]
    some = door.new_token({"i1": [Right.READ], "i2": [Right.WRITE]})
    assert [one["id"] for one in door.request("GET", IMPORTS, token=some).json["data"]] == ["i1"]
    assert door.get(IMPORTS, max_results=0).code == (400, "bad_parameter")
    assert door.get(IMPORTS, first_result="x").json["parameter"] == "first_result"


def test_a_definition_in_use_is_deleted_by_force_only(door: Door):
    path = door.made(id="shop", name="The shop")
    door.post(f"{path}/executions", ROW, headers=LINES)
    assert door.request("DELETE", path).code == (409, "import_in_use")
    assert door.request("DELETE", path, query={"force": "true"}).json["data"]["id"] == "shop"
    assert door.get(path).code == (404, "no_such_import")
    assert door.request("DELETE", path).code == (404, "no_such_import")


def test_files_no_definition_is_for_have_an_import_too(door: Door):
    """`default`: its executions can be seen, and files be sent to it; it cannot be changed."""
    path = f"{IMPORTS}/default"
    assert door.get(path).json["data"]["id"] == "default"
    sent = door.post(f"{path}/executions", ROW, headers=LINES).json["data"]
    assert sent["parameters"]["document_import_id"] == "default"
    door.deliver()
    assert [one["id"] for one in door.get(f"{path}/executions").json["data"]] == [sent["id"]]
    assert door.request("PUT", path, json={"strict": True}).code == (409, "default_is_fixed")
    assert door.request("DELETE", path).code == (409, "default_is_fixed")


def test_a_definition_somebody_has_spoilt_says_so_and_takes_no_file(door: Door):
    """Written into the table by hand: shown as it is, and mended by PUT."""
    path = door.made(id="shop", name="The shop")
    item = next(i for i in door.cloud.items(door.cloud.imports_table) if i["pk"] == "IMPORT#shop")
    door.cloud.put_item(door.cloud.imports_table, item | {"definition": {"priority": "URGENT"}})
    assert "URGENT" in door.get(path).json["data"]["problem"]
    assert door.post(f"{path}/executions", ROW, headers=LINES).code == (409, "import_unusable")
    assert door.request("PUT", path, json={"priority": "LOW", "name": "x"}).status == 200
    assert door.post(f"{path}/executions", ROW, headers=LINES).status == 200


# ---- Bodies -------------------------------------------------------------------------------------------------------


def test_the_content_type_must_be_the_imports(door: Door):
    """415 says which one; nothing is stored."""
    lines, table = door.made(name="lines"), door.made(name="table", mime_type="TEXT_CSV")
    for path, content_type in (
        (lines, "text/csv"),
        (lines, "application/json"),
        (lines, ""),
        (table, NDJSON),
        (lines, "application/x-ndjson; charset=latin-1"),
    ):
        reply = door.post(f"{path}/executions", ROW, headers={"Content-Type": content_type} if content_type else {})
        assert reply.status == 415
        assert reply.code[1] in ("content_type_mismatch", "unsupported_charset")
    assert door.cloud.objects() == {}
    good = {"Content-Type": "Application/X-NDJSON; Charset=UTF-8"}
    assert door.post(f"{lines}/executions", ROW, headers=good).status == 200
    csv = "user_id,event_name,event_time_ts\nann,login,1425920218354\n"
    assert door.post(f"{table}/executions", csv, headers={"Content-Type": "text/csv"}).status == 200
    door.deliver()
    assert len(door.cloud.objects("completed_imports/")) == 2
    assert door.cloud.objects("errors/") == {}


def test_a_body_over_4_mib_is_told_the_way_for_larger_ones(door: Door):
    """413 names the presign call; at the limit exactly it is taken."""
    path = door.made(name="The shop")
    row = b'{"user_id":"ann","event_name":"e","event_time_ts":1425920218354,"x":"%s"}\n'
    largest = row % (b"x" * 1_000) * (BODY_BYTES // len(row % (b"x" * 1_000)))
    largest += b"\n" * (BODY_BYTES - len(largest))
    reply = door.post(f"{path}/executions", largest + b"\n", headers=LINES)
    assert reply.code == (413, "too_large")
    assert "/uploads" in reply.json["detail"]
    assert door.cloud.objects() == {}
    assert door.post(f"{path}/executions", largest, headers=LINES).status == 200
    upload = door.post(f"{path}/uploads", json={"file_name": "monday.ndjson"})
    assert (upload.status, upload.json["data"]["method"]) == (201, "POST")


def test_an_empty_body_is_refused(door: Door):
    path = door.made(name="The shop")
    assert door.post(f"{path}/executions", b"", headers=LINES).code == (400, "empty_body")


@pytest.mark.parametrize(
    ("encoding", "compress", "suffix"),
    [("gzip", gzip.compress, ".gz"), ("zstd", zstandard.ZstdCompressor().compress, ".zst"), ("identity", bytes, "")],
)
def test_a_compressed_body_is_stored_as_it_came(door: Door, encoding: str, compress: Any, suffix: str):
    """Content-Encoding is understood, and never unpacked here: the importer has its guards against bombs."""
    path = door.made(name="The shop")
    sent = door.post(
        f"{path}/executions", compress(ROW.encode()), headers={**LINES, "Content-Encoding": encoding}
    ).json["data"]
    assert sent["parameters"]["input_file_name"] == f"upload.ndjson{suffix}"
    door.deliver()
    assert door.get(sent["permalink_uri"]).json["data"]["result"]["total_success"] == 1


def test_an_encoding_we_do_not_know_or_that_is_not_there_is_refused(door: Door):
    path = door.made(name="The shop")
    for encoding, code in (("br", (415, "unknown_encoding")), ("gzip", (400, "not_compressed"))):
        reply = door.post(f"{path}/executions", ROW, headers={**LINES, "Content-Encoding": encoding})
        assert reply.code == code
    assert door.cloud.objects() == {}


def form(*parts: tuple[str, str, bytes]) -> tuple[bytes, dict[str, str]]:
    """A multipart body as browsers and curl make it: (name and what follows it, further headers, bytes)."""
    text = b"".join(
        f"--b0undary\r\nContent-Disposition: form-data; name={name}\r\n{headers}\r\n".encode() + body + b"\r\n"
        for name, headers, body in parts
    )
    return text + b"--b0undary--\r\n", {"Content-Type": "multipart/form-data; boundary=b0undary"}


def test_a_form_with_a_file_is_an_execution_too(door: Door):
    """As mediarithmics' own page sends one: `file`, and perhaps `type`; the file keeps its name (D7)."""
    path = door.made(name="The shop")
    body, headers = form(
        (
            '"file"; filename="C:\\\\tmp\\\\Montag früh.ndjson"',
            "Content-Type: application/octet-stream\r\n",
            ROW.encode(),
        ),
        ('"type"', "", b"application/x-ndjson"),
    )
    sent = door.post(f"{path}/executions", body, headers=headers).json["data"]
    assert sent["parameters"]["input_file_name"] == "Montag früh.ndjson"
    assert list(door.cloud.objects("imports/").values()) == [ROW.encode()]
    for parts in (
        [('"file"; filename="a.csv"', "Content-Type: text/csv\r\n", b"a,b\n")],
        [('"file"; filename="a.ndjson"', "", ROW.encode()), ('"type"', "", b"text/csv")],
    ):
        body, headers = form(*parts)
        assert door.post(f"{path}/executions", body, headers=headers).code == (415, "content_type_mismatch")
    body, headers = form(('"other"', "", b"x"))
    assert door.post(f"{path}/executions", body, headers=headers).code == (400, "no_file")
    for broken in (b"nonsense", body[:-20], b""):
        reply = door.post(f"{path}/executions", broken, headers=headers)
        assert reply.status == 400


def form_of(name: str) -> tuple[bytes, dict[str, str]]:
    """A form with a file of this name, and its headers."""
    head = f'--X\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\nContent-Type: {NDJSON}\r\n\r\n'
    return f"{head}{ROW}\r\n--X--\r\n".encode(), {"Content-Type": "multipart/form-data; boundary=X"}


def test_a_form_whose_file_this_import_would_refuse_by_its_name_leaves_nothing(door: Door):
    """CoolaData takes no file with "csv" in its name (C2): said at once, not by an execution that fails."""
    path = door.made(name="The shop", format="cooladata")
    body, headers = form_of("csv of monday.json")
    reply = door.post(f"{path}/executions", body, headers=headers)
    assert (reply.code, reply.json["field"]) == ((422, "wrong_kind"), "file")
    assert door.cloud.objects() == {}


def test_a_slash_too_many_is_told_as_such(door: Door):
    """As people type addresses; what is no resource with or without it is none."""
    path = door.made(name="The shop")
    for address in (f"{IMPORTS}/", f"{path}/executions/", "/import/"):
        reply = door.post(address, ROW, headers=LINES)
        assert reply.code == (404, "no_such_route")
        assert "leave out the slash at its end" in reply.json["detail"]
    assert "GET /openapi.json" in door.get("/nowhere/").json["detail"]


def test_a_compressed_setting_is_refused_with_what_to_do(door: Door):
    """Only rows may be compressed: what else is said in JSON is short."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    reply = door.post(IMPORTS, gzip.compress(b'{"name": "x"}'), headers=headers)
    assert reply.code == (415, "unknown_encoding")
    assert "without Content-Encoding" in reply.json["detail"]


def test_a_date_where_milliseconds_are_due_is_told_what_is_due(door: Door):
    path = door.made(name="The shop")
    for address in (f"{path}/executions", "/v1/executions"):
        reply = door.get(address, created_from="2026-11-20")
        assert (reply.code, reply.json["parameter"]) == ((400, "bad_parameter"), "created_from")
        assert "milliseconds since 1970" in reply.json["detail"]


def test_an_id_no_import_can_have_is_not_repeated_whole(door: Door):
    for token in (door.token, door.new_token({"shop": [Right.READ]})):
        reply = door.request("GET", f"{IMPORTS}/{'a' * 5_000}", token=token)
        assert reply.status in (403, 404)
        assert len(reply.json["detail"]) < 1_000


def test_a_file_called_like_a_series_is_begun_and_waits_for_a_run(door: Door):
    """Who sends it is told its execution, which neither S3's notification nor the sweep reads: the runs do, one after
    another."""
    path = door.made(id="shop", name="The shop", base_file_name="accounts.json")
    ids = []
    for name in ("accounts1.json", "accounts2.json"):
        body, headers = form_of(name)
        sent = door.post(f"{path}/executions", body, headers=headers | {"Idempotency-Key": name})
        assert sent.status == 200
        assert door.post(f"{path}/executions", body, headers=headers | {"Idempotency-Key": name}).json == sent.json
        ids.append(sent.json["data"]["id"])
    door.deliver()
    door.cloud.clock.sleep(3_600)
    for look in ("unfinished", "waiting"):
        app.sweep_handler({"sweep": look}, LambdaContext(door.cloud.clock, 300))
    door.deliver()
    statuses = []
    for _ in range(3):
        statuses.append([door.get(f"{path}/executions/{one}").json["data"]["status"] for one in ids])
        app.schedule_handler({"import_id": "shop"}, LambdaContext(door.cloud.clock, 900))
    assert [sorted(both) for both in statuses] == [
        ["PENDING", "PENDING"],
        ["PENDING", "SUCCEEDED"],
        ["SUCCEEDED", "SUCCEEDED"],
    ]
    assert door.get(f"{path}/executions").json["total"] == 2


def test_visits_of_a_recurring_import_wait_for_a_run_too(door: Door):
    """The name a body of visits gets may be one of a series."""
    path = door.made(id="shop", name="The shop", format="woopra", base_file_name="visits.json")
    sent = door.post("/import", VISITS, query={"website": "shop"})
    assert (sent.status, sent.json["execution"]["status"]) == (200, "PENDING")
    app.schedule_handler({"import_id": "shop"}, LambdaContext(door.cloud.clock, 900))
    assert door.get(f"{path}/executions/{sent.json['execution']['id']}").json["data"]["status"] == "SUCCEEDED"


def test_a_waiting_file_of_a_series_can_be_canceled(door: Door):
    """Then the runs pass it over."""
    path = door.made(id="shop", name="The shop", base_file_name="accounts.json")
    body, headers = form_of("accounts1.json")
    one = door.post(f"{path}/executions", body, headers=headers).json["data"]["permalink_uri"]
    assert door.post(f"{one}/action", json={"action": "CANCEL"}).json["data"]["status"] == "CANCELED"
    door.deliver()
    ran = app.schedule_handler({"import_id": "shop"}, LambdaContext(door.cloud.clock, 900))
    assert (ran["ended"], door.get(one).json["data"]["status"]) == ([], "CANCELED")


def test_an_id_longer_than_any_is_404_and_not_asked_for(door: Door):
    """DynamoDB takes no key of more than 2,048 bytes: asking would be a fault of ours."""
    long = "n" * 2_100
    with mock.patch.object(ImportsTable, "_get", side_effect=AssertionError):
        for reply in (
            door.get(f"{IMPORTS}/{long}"),
            door.get(f"{IMPORTS}/{long}/executions"),
            door.post("/import", ROW, query={"website": long}),
            door.post(URIS, json={"uri": "https://example.org/a.json", "import_id": long}),
        ):
            assert reply.code == (404, "no_such_import")
        assert door.get(f"{URIS}/{long}").code == (404, "no_such_uri_import")


def test_a_name_that_this_import_does_not_read_gets_an_end_that_it_does(door: Door):
    """Nobody chose a name for us: only its end decides whether a file can be read."""
    path = door.made(name="The shop")
    names = []
    for name in ("rows.txt", "", "..", "a/b.json", "x.JSON.gz", f"{'l' * 300}.ndjson"):
        body, headers = form((f'"file"; filename="{name}"', "", ROW.encode()))
        reply = door.post(f"{path}/executions", body, headers=headers)
        names.append(reply.json["data"]["parameters"]["input_file_name"])
    assert names == [
        "rows.txt.ndjson",
        "upload.ndjson",
        "...ndjson",
        "b.json",
        "x.JSON.gz",
        f"{'l' * 113}.ndjson",
    ]


# ---- Executions ---------------------------------------------------------------------------------------------------


def test_the_list_of_executions_has_pages_statuses_and_times(door: Door):
    path, other = door.made(name="The shop"), door.made(name="Other")
    sent = []
    for number in range(5):
        sent.append(door.post(f"{path}/executions", ROW * (number + 1), headers=LINES).json["data"])
        door.post(f"{other}/executions", ROW, headers=LINES)
        door.cloud.clock.advance(1_000)
        if number == 2:
            door.deliver()
    ids = [one["id"] for one in reversed(sent)]

    def listed(**asked: Any) -> list[str]:
        return [one["id"] for one in door.get(f"{path}/executions", **asked).json["data"]]

    assert listed() == ids
    assert listed(first_result=1, max_results=2) == ids[1:3]
    assert listed(status="PENDING") == ids[:2]
    assert listed(status="PENDING,SUCCEEDED") == ids
    assert listed(created_from=sent[1]["creation_date"], created_before=sent[3]["creation_date"]) == ids[2:4]
    assert door.get(f"{path}/executions").json["total"] == 5
    assert door.get(f"{path}/executions", status="DONE").code == (400, "bad_parameter")
    assert door.get(f"{IMPORTS}/none/executions").code == (404, "no_such_import")


def test_a_list_is_cut_where_one_answer_can_hold_no_more(door: Door, monkeypatch: pytest.MonkeyPatch):
    """Lambda answers 6 MB; `count` says where to go on."""
    path = door.made(id="shop", name="The shop")
    ids = [door.post(f"{path}/executions", ROW, headers=LINES).json["data"]["id"] for _ in range(3)]
    monkeypatch.setattr(document_imports, "_LIST_BYTES", 1_700)
    seen: list[str] = []
    while (page := door.get(f"{path}/executions", first_result=len(seen)).json)["count"]:
        assert (page["count"], page["total"]) in ((2, 3), (1, 3))
        seen += [one["id"] for one in page["data"]]
    assert sorted(seen) == sorted(ids)


def test_an_execution_is_found_under_its_own_import_only(door: Door):
    path, other = door.made(name="The shop"), door.made(name="Other")
    sent = door.post(f"{path}/executions", ROW, headers=LINES).json["data"]
    for wrong in (f"{other}/executions/{sent['id']}", f"{path}/executions/{'0' * 32}", f"{path}/executions/x"):
        assert door.get(wrong).code == (404, "no_such_execution")


def test_cancel_ends_an_execution_and_a_worker_writes_its_receipt(door: Door):
    """D10. The function that answers touches no file: it changes the books, and sends a task."""
    path = door.made(name="The shop")
    sent = door.post(f"{path}/executions", ROW, headers=LINES).json["data"]
    action = f"{sent['permalink_uri']}/action"
    canceled = door.post(action, json={"action": "CANCEL"}).json["data"]
    assert (canceled["status"], canceled["phase"], canceled["result"]) == ("CANCELED", "CLOSING", None)
    door.deliver()
    after = door.get(sent["permalink_uri"]).json["data"]
    assert (after["status"], after["phase"]) == ("CANCELED", "CLOSED")
    assert len(door.cloud.objects("receipts/")) == 1
    assert door.cloud.items(door.cloud.events_table) == []
    again = door.post(action, json={"action": "CANCEL"})
    assert again.status == 200  # it is so
    assert door.post(action, json={"action": "RETRY"}).code == (409, "not_possible_now")
    assert door.post(action, json={"action": "PAUSE"}).code == (422, "unknown_action")
    assert door.post(action, json=["CANCEL"]).code == (422, "unknown_action")


def test_what_has_succeeded_cannot_be_canceled(door: Door):
    path = door.made(name="The shop")
    sent = door.post(f"{path}/executions", ROW, headers=LINES).json["data"]
    door.deliver()
    reply = door.post(f"{sent['permalink_uri']}/action", json={"action": "CANCEL"})
    assert (reply.code, reply.json["execution_status"]) == ((409, "not_possible_now"), "SUCCEEDED")


def test_retry_takes_up_what_failed(door: Door):
    """`is_retryable`: as `importer redrive`."""
    path = door.made(name="The shop", max_bad_rows=1)
    sent = door.post(f"{path}/executions", "x\ny\nz\n", headers=LINES).json["data"]
    door.deliver()
    failed = door.get(sent["permalink_uri"]).json["data"]
    assert (failed["status"], failed["is_retryable"], failed["error"]["code"]) == ("FAILED", True, "too_many_bad_rows")
    again = door.post(f"{sent['permalink_uri']}/action", json={"action": "RETRY"}).json["data"]
    assert (again["status"], again["retry_count"], again["is_retryable"]) == ("PENDING", 1, False)


# ---- Files --------------------------------------------------------------------------------------------------------


def test_an_execution_says_which_of_its_bad_rows_are_outstanding(door: Door):
    """Until a file that has them, mended, is imported; of one without bad rows nothing is said."""
    parent = door.post(f"{IMPORTS}/default/executions", f"bad\n{ROW}", headers=LINES).json["data"]["id"]
    door.deliver()
    path = f"{IMPORTS}/default/executions"
    assert door.get(f"{path}/{parent}").json["data"]["outstanding"] == 1
    door.cloud.drop("imports/by-hand.json", ROW.encode(), Metadata={"mends": parent})
    door.deliver()
    said = door.get(f"{path}/{parent}").json["data"]
    (child,) = said["mended_by"]
    assert (said["outstanding"], child["rows"], child["counts"]) == (0, 1, True)
    told = door.get(f"{path}/{child['execution_id']}").json["data"]
    assert (told["parent"], "outstanding" in told) == (parent, False)


def test_a_token_sees_files_of_its_imports_only(door: Door):
    """Of our bucket, those an execution names; what is not its own, a token cannot tell from what is not there."""
    paths = [door.made(id=name, name=name) for name in ("mine", "theirs")]
    for path in paths:
        door.post(f"{path}/executions", "bad\n", headers=LINES)
    door.deliver()
    mine, theirs = (door.get(f"{path}/executions").json["data"][0]["result"] for path in paths)
    token = door.new_token({"mine": [Right.READ]})

    def status(uri: str) -> int:
        return door.request("GET", "/v1/data_file/data", token=token, query={"uri": uri}).status

    names = ("input_file_uri", "error_file_uri", "receipt_uri")
    assert [status(mine[name]) for name in names] == [200, 200, 200]
    assert [status(theirs[name]) for name in names] == [403, 403, 403]
    bucket = f"s3://{door.cloud.bucket}"
    for uri in (f"{bucket}/work/x", f"{bucket}/receipts/2020/01/01/no.json", f"{bucket}/imports/theirs/x.json", bucket):
        assert status(uri) in (400, 403)
    assert status("s3://another/receipts/2020/01/01/x.json") == 400
    assert door.get("/v1/data_file/data", uri=f"{bucket}/receipts/2020/01/01/no.json").code == (404, "no_such_file")
    assert door.get("/v1/data_file/data").code == (400, "bad_parameter")


def test_a_file_that_waits_or_was_refused_can_be_had_back(door: Door):
    """Input files, too, while they lie in imports/."""
    path = door.made(name="The shop")
    sent = door.post(f"{path}/executions", ROW, headers=LINES).json["data"]
    assert door.get("/v1/data_file/data", uri=sent["parameters"]["file_uri"]).body == ROW.encode()


def test_two_files_of_one_name_on_one_day_have_each_its_own(door: Door):
    """The later one's results have its execution's id in their names."""
    door.cloud.drop("imports/a.json", ROW.encode())
    door.deliver()
    door.cloud.drop("imports/a.json", b"bad\n")
    door.deliver()
    second, first = door.get(f"{IMPORTS}/default/executions").json["data"]
    assert second["id"] in second["result"]["input_file_uri"]
    for one, body in ((first, ROW.encode()), (second, b"bad\n")):
        assert door.get("/v1/data_file/data", uri=one["result"]["input_file_uri"]).body == body
        receipt = door.get("/v1/data_file/data", uri=one["result"]["receipt_uri"]).json
        assert receipt["execution_id"] == one["id"]


def test_a_large_file_is_given_by_a_link(door: Door):
    """302 to a presigned URL: Lambda could not answer so much."""
    row = b'{"user_id":"ann","event_name":"e","event_time_ts":1425920218354,"x":"%s"}\n' % (b"x" * 300_000)
    door.cloud.drop("imports/large.json", row * 16)
    door.deliver()
    (one,) = door.get(f"{IMPORTS}/default/executions").json["data"]
    reply = door.get("/v1/data_file/data", uri=one["result"]["input_file_uri"])
    assert (reply.status, reply.body) == (302, b"")
    assert "X-Amz-Expires=300" in reply.headers["location"]
    assert "/completed_imports/" in reply.headers["location"]


# ---- Woopra -------------------------------------------------------------------------------------------------------

VISITS = (
    '{"visitor":{"email":"[email protected]"}, "actions":[{"time":1444077951001, "name":"purchase", '
    '"properties":{"price":20, "currency":"$"}}]}\n'
    '{"visitor":{"email":"[email protected]", "username": "test2"}, "actions":[{"time":1444077951891, "name":"signup", '
    '"properties":{"campaign": true}}]}\n'
)


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/import"), ("POST", "/rest/3.7/import"), ("PUT", "/rest/2.4/logs/import")]
)
def test_woopras_visits_are_imported_under_its_own_paths(door: Door, method: str, path: str):
    """One visit a line, Basic auth, whatever Content-Type curl makes of it (W1–W5, W16)."""
    basic = "Basic " + base64.b64encode(door.token.replace(".", ":").encode()).decode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    reply = door.request(method, path, VISITS, token=basic, headers=headers)
    assert (reply.status, reply.json["success"]) == (200, True)
    door.deliver()
    after = door.get(reply.json["execution"]["permalink_uri"]).json["data"]
    assert (after["status"], after["result"]["total_success"], after["parameters"]["document_import_id"]) == (
        "SUCCEEDED",
        2,
        "woopra",
    )
    assert door.get(f"{IMPORTS}/woopra").json["data"]["format"] == "woopra"


def test_a_website_of_woopras_is_an_import(door: Door):
    """Its visits go where a person has said they go; one of another dialect takes none."""
    door.made(id="shop.example", name="The shop", format="woopra", strict=True)
    door.made(id="other", name="Other", format="kissmetrics")
    sent = door.post("/import", VISITS, query={"website": "shop.example"})
    assert sent.json["execution"]["parameters"]["document_import_id"] == "shop.example"
    assert door.post("/import", VISITS, query={"project": "other"}).code == (409, "import_of_another_dialect")
    assert door.post("/import", VISITS, query={"website": "none"}).code == (404, "no_such_import")
    body, headers = form(('"file"; filename="a.json"', "", b"x"))
    assert door.post("/import", body, headers=headers).code == (415, "content_type_mismatch")
    assert door.post("/import", b"").code == (400, "empty_body")


# ---- Trouble ------------------------------------------------------------------------------------------------------


def test_what_does_not_answer_is_503_and_a_fault_of_ours_500(door: Door):
    """Both as problems that say what to do; the log has the rest, without a word of the request's."""
    path = door.made(name="The shop")
    secret = '{"user_id":"ann@example.org"}\n'
    with mock.patch.object(app.logger.handlers[0], "stream", io.StringIO()) as stream:
        for kind, code in (("error_503", (503, "unavailable")), ("bug", (500, "bug"))):
            with plan(door.cloud, Fault(kind, "PutObject", times=99)):
                reply = door.post(f"{path}/executions", secret, headers=LINES)
            assert reply.code == code
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(line["level"], line["message"]) for line in lines] == [("ERROR", "request not served")] * 2
    for word in (door.token.partition(".")[2], "ann@example.org"):
        assert word not in stream.getvalue()


def test_a_token_that_somebody_has_spoilt_opens_nothing(door: Door):
    """It is told in the log, and answered as any bad token."""
    token_id = door.token.partition(".")[0]
    with door.cloud.unseen():
        door.cloud.client("ssm").put_parameter(
            Name=f"/importer/stack/tokens/{token_id}", Value="nonsense", Type="SecureString", Overwrite=True
        )
    assert door.get(IMPORTS).code == (401, "unauthorized")


def test_the_description_is_served_to_whoever_has_a_token(door: Door):
    reply = door.get("/openapi.json")
    assert reply.json["openapi"] == "3.1.0"


def test_what_is_no_unicode_is_refused(door: Door):
    """Half of a surrogate pair, which JSON can carry and nothing can store."""
    event = {
        "version": "2.0",
        "rawPath": IMPORTS,
        "headers": {"authorization": door.token},
        "queryStringParameters": {"keywords": "\ud800"},
        "requestContext": {"http": {"method": "GET", "path": IMPORTS}, "stage": "$default"},
    }
    assert door.invoke(event)["statusCode"] == 400
