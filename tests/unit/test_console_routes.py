"""What the console asks the door for: its page, who a token is, all executions, one with its receipt, previews."""

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

import app
from importer.aws import tables
from importer.doors import every_execution
from importer.doors.asked_previews import POST_BYTES
from importer.doors.dropped_previews import LOOK_BYTES
from importer.doors.routes import ROUTES
from importer.doors.tokens import Right
from importer.model import PartState, Tally
from importer.parts import parts_of
from tests.support.clock import LambdaContext
from tests.support.cloud import Cloud
from tests.support.console import rows
from tests.support.door import IMPORTS, NDJSON, Door, opened
from tests.support.faults import plan
from tests.support.policy import granted, needed

pytestmark = pytest.mark.filterwarnings("ignore:No application metrics")

LINES = {"Content-Type": NDJSON}


@pytest.fixture
def door() -> Iterator[Door]:
    app._preview_places.cache_clear()
    with Cloud() as cloud, opened(cloud) as door:
        yield door
    app._preview_places.cache_clear()


def sent(door: Door, import_id: str, body: bytes = rows(2)) -> str:
    """Id of an execution that has ended."""
    door.cloud.clock.advance(1_000)
    made = door.post(f"{IMPORTS}/{import_id}/executions", body, headers=LINES).json["data"]["id"]
    door.deliver()
    assert isinstance(made, str)
    return made


def ids(reply: Any) -> list[str]:
    assert reply.status == 200, reply.body
    return [execution["id"] for execution in reply.json["data"]]


# ---- The page ------------------------------------------------------------------------------------------------------


def test_the_page_is_given_to_anybody_and_is_the_same_for_everybody(door: Door):
    """There is nothing in it but itself: no cookie, no token, no name of this installation's."""
    page = door.request("GET", "/console", token=None)
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "set-cookie" not in page.headers
    for token in (door.token, "nonsense"):
        assert door.request("GET", "/console", token=token).body == page.body
    for name in (door.cloud.bucket, door.token):
        assert name.encode() not in page.body
    assert len(page.body) <= 60_000


def test_its_policy_allows_its_own_script_and_style_the_door_and_the_bucket_and_nothing_else(door: Door):
    """Hashes of what stands in the page; no frame, no form, no base, no text made markup (J8)."""
    page = door.request("GET", "/console", token=None)
    (script,) = re.findall(rb"<script>(.*?)</script>", page.body, re.DOTALL)
    (style,) = re.findall(rb"<style>(.*?)</style>", page.body, re.DOTALL)
    script_hash, style_hash = (base64.b64encode(hashlib.sha256(text).digest()).decode() for text in (script, style))
    assert page.headers["content-security-policy"].split("; ") == [
        "default-src 'none'",
        f"script-src 'sha256-{script_hash}'",
        f"style-src 'sha256-{style_hash}'",
        f"connect-src 'self' https://{door.cloud.bucket}.s3.us-east-1.amazonaws.com",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
    assert {name: page.headers[name] for name in ("x-content-type-options", "referrer-policy", "x-frame-options")} == {
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "x-frame-options": "DENY",
    }
    assert not re.findall(rb"""\son\w+=|style=|src=|https?://""", page.body)
    assert not re.findall(rb"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", page.body)
    assert not re.findall(rb"localStorage|document\.cookie|indexedDB", page.body)


def test_the_page_comes_gzipped_to_who_takes_that_and_not_again_to_who_has_it(door: Door):
    plain = door.request("GET", "/console", token=None)
    packed = door.request("GET", "/console", token=None, headers={"Accept-Encoding": "br, gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    again = door.request("GET", "/console", token=None, headers={"If-None-Match": plain.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


# ---- Who ------------------------------------------------------------------------------------------------------------


def test_a_token_can_ask_what_it_is(door: Door):
    """Without its secret, and without what others may."""
    token = door.new_token({"shop": [Right.WRITE, Right.READ], "*": [Right.READ]})
    reply = door.request("GET", "/v1/token", token=token)
    told = {"id": token[:16], "name": "a test's", "scopes": {"*": ["read"], "shop": ["read", "write"]}}
    assert reply.json["data"] == told | {"datamart_id": "1"}
    assert token[17:].encode() not in reply.body


def test_basic_credentials_that_a_strangers_page_has_a_browser_send_count_for_nothing(door: Door):
    """A browser that was once asked for them sends them along with a form of anybody's: POST /import takes text."""
    basic = base64.b64encode(door.token.replace(".", ":", 1).encode()).decode()
    for site, status in (("cross-site", 401), ("same-site", 401), ("same-origin", 200), ("none", 200), (None, 200)):
        headers = {"Content-Type": "text/plain"} | ({"Sec-Fetch-Site": site} if site else {})
        visit = '{"visitor":{"email":"ann@example.org"},"actions":[{"time":1444077951001,"name":"purchase"}]}\n'
        reply = door.post("/import", visit, headers=headers, token=f"Basic {basic}")
        assert (site, reply.status) == (site, status)
    assert door.request("GET", "/v1/token", headers={"Sec-Fetch-Site": "cross-site"}).status == 200


# ---- What is no route ----------------------------------------------------------------------------------------------


def test_what_is_no_route_is_a_problem_document_too(door: Door):
    """404; where the path has other methods 405, which names them. Neither needs a token."""
    for token in (None, door.token):
        assert door.request("GET", "/nowhere", token=token).code == (404, "no_such_route")
        for method, path, allowed in (
            ("DELETE", "/openapi.json", "GET"),
            ("PATCH", IMPORTS, "GET, POST"),
            ("OPTIONS", f"{IMPORTS}/a%20b", "DELETE, GET, PUT"),
            ("HEAD", "/console", "GET"),
        ):
            reply = door.request(method, path, token=token)
            assert reply.code == (405, "method_not_allowed")
            assert reply.headers["allow"] == allowed
        assert door.request("GET", f"{IMPORTS}/", token=token).status in (200, 401, 404)


# ---- All executions ------------------------------------------------------------------------------------------------


def test_executions_of_all_imports_newest_first_page_by_page(door: Door, monkeypatch: pytest.MonkeyPatch):
    """Each once, whatever the size of a page, and however few the table gives at a time."""
    monkeypatch.setattr(tables, "LOOKED_AT_ONCE", 3)
    door.made(id="shop", name="The shop")
    made = [sent(door, ("shop", "default")[number % 2]) for number in range(7)][::-1]
    assert ids(door.get("/v1/executions")) == made
    for size in (1, 2, 3, 7):
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            reply = door.get("/v1/executions", max_results=size, **({"cursor": cursor} if cursor else {}))
            assert reply.json["count"] <= size
            found += ids(reply)
            cursor = reply.json["cursor"]
        assert found == made


def test_executions_can_be_chosen_by_status_import_file_and_time(door: Door):
    door.made(id="shop", name="The shop")
    first, second = sent(door, "shop"), sent(door, "default")
    waiting = door.post(f"{IMPORTS}/shop/executions", rows(1), headers=LINES).json["data"]
    assert ids(door.get("/v1/executions", status="SUCCEEDED")) == [second, first]
    assert ids(door.get("/v1/executions", status="PENDING,RUNNING")) == [waiting["id"]]
    assert ids(door.get("/v1/executions", import_id="shop")) == [waiting["id"], first]
    key = waiting["parameters"]["file_uri"].split("/", 3)[3]
    assert ids(door.get("/v1/executions", key=key)) == [waiting["id"]]
    assert ids(door.get("/v1/executions", created_from=waiting["creation_date"])) == [waiting["id"]]
    for wrong in ({"status": "DONE"}, {"cursor": "x"}, {"cursor": "é"}, {"max_results": "0"}, {"max_results": "201"}):
        assert door.get("/v1/executions", **wrong).code == (400, "bad_parameter")


def test_a_token_sees_the_executions_of_its_imports_and_hears_of_no_other(door: Door):
    """Not in the list, not by its id; a token that only sends sees nothing."""
    door.made(id="shop", name="The shop")
    of_shop, of_default = sent(door, "shop"), sent(door, "default")
    reader, writer = door.new_token({"shop": [Right.READ]}), door.new_token({"*": [Right.WRITE]})
    assert ids(door.request("GET", "/v1/executions", token=reader)) == [of_shop]
    other = {"import_id": "default"}
    assert door.request("GET", "/v1/executions", query=other, token=reader).code == (403, "forbidden")
    assert door.request("GET", "/v1/executions", token=writer).code == (403, "forbidden")
    one = "/v1/executions"
    assert door.request("GET", f"{one}/{of_shop}", token=reader).status == 200
    unseen = door.request("GET", f"{one}/{of_default}", token=reader)
    assert unseen.code == (404, "no_such_execution")
    assert unseen.body == door.request("GET", f"{one}/{'0' * 32}", token=reader).body
    assert door.request("GET", f"{one}/{of_shop}", token=writer).code == (403, "forbidden")
    assert door.request("POST", f"{one}/{of_shop}/redrive", token=reader).code == (403, "forbidden")


def test_one_execution_is_told_with_its_receipt(door: Door):
    """That is the receipt in the bucket, reasons folded; while it has not ended there is progress in its place."""
    begun = door.post(f"{IMPORTS}/default/executions", rows(9, 3), headers=LINES).json["data"]
    before = door.get(f"/v1/executions/{begun['id']}")
    said = before.json["data"]
    progress = {"parts": 1, "parts_done": 0, "bytes": len(rows(9, 3)), "bytes_read": None}
    assert said["receipt"] is None
    assert said["progress"] == progress | {"rows": None, "good": None, "bad": None}
    again = door.request("GET", f"/v1/executions/{begun['id']}", headers={"If-None-Match": before.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    door.deliver()
    after = door.request("GET", f"/v1/executions/{begun['id']}", headers={"If-None-Match": before.headers["etag"]})
    said = after.json["data"]
    result = said["result"]
    assert said["progress"] is None
    assert said["receipt"] == json.loads(door.get("/v1/data_file/data", uri=result["receipt_uri"]).body)
    assert [group["count"] for group in said["receipt"]["reasons"]] == [2, 1]
    door.cloud.client("s3").delete_object(Bucket=door.cloud.bucket, Key=result["receipt_uri"].split("/", 3)[3])
    assert door.get(f"/v1/executions/{begun['id']}").json["data"]["receipt"] is None


def test_a_running_execution_tells_how_many_rows_are_read(door: Door, monkeypatch: pytest.MonkeyPatch):
    """Of its parts, as they stand in the table; where there are very many, they are counted and not read."""
    begun = door.post(f"{IMPORTS}/default/executions", rows(9, 3), headers=LINES).json["data"]
    books = app._front()[0](lambda: 1_000).work.records
    execution = books.execution(begun["id"])
    assert execution is not None
    execution = books.begin(execution, door.cloud.clock.now_ms())
    (part,) = parts_of(execution.part_count, execution.part_bytes)
    state = books.claim(execution, part, "worker", door.cloud.clock.now_ms(), door.cloud.clock.now_ms() + 60_000)
    assert isinstance(state, PartState)
    moved = replace(state, next_offset=100, tally=Tally(lines=3, good=2, bad=1))
    books.progress(execution, state, moved, "worker", door.cloud.clock.now_ms() + 60_000)
    said = door.get(f"/v1/executions/{begun['id']}").json["data"]["progress"]
    assert said == {
        "parts": 1,
        "parts_done": 0,
        "bytes": len(rows(9, 3)),
        "bytes_read": 100,
        "rows": 3,
        "good": 2,
        "bad": 1,
    }
    monkeypatch.setattr(every_execution, "MOST_PARTS_READ", 0)
    assert door.get(f"/v1/executions/{begun['id']}").json["data"]["progress"]["rows"] is None


def test_what_failed_is_taken_up_again_and_nothing_else(door: Door):
    """POST …/redrive is `importer redrive`."""
    path = door.made(id="shop", name="The shop", max_bad_rows=1)
    failed = sent(door, "shop", rows(9, 9))
    assert door.get(f"/v1/executions/{failed}").json["data"]["status"] == "FAILED"
    again = door.post(f"/v1/executions/{failed}/redrive").json["data"]
    assert (again["status"], again["retry_count"], again["id"]) == ("PENDING", 1, failed)
    assert door.post(f"/v1/executions/{failed}/redrive").code == (409, "not_possible_now")
    assert door.post(f"/v1/executions/{sent(door, 'default')}/redrive").code == (409, "not_possible_now")
    assert door.get(f"{path}/executions/{failed}").json["data"]["retry_count"] == 1


# ---- Previews and downloads ----------------------------------------------------------------------------------------


def test_a_preview_is_asked_for_posted_and_read(door: Door):
    """The file lies under previews/ and is looked at as the import would read it; null until somebody has."""
    path = door.made(id="shop", name="The shop")
    asked = door.post(f"{path}/previews", json={"file_name": "monday.ndjson.gz"})
    form = asked.json["data"]
    assert (asked.status, asked.headers["cache-control"]) == (201, "no-store")
    assert re.fullmatch(r"previews/shop/monday-\d{8}T\d{6}Z-[0-9a-f]{12}\.ndjson\.gz", form["key"])
    assert form["max_bytes"] == POST_BYTES == LOOK_BYTES + (1 << 20)
    assert door.get(form["result"]).json == {"status": "ok", "data": None}
    app.preview_handler(door.cloud.drop(form["key"], gzip.compress(rows(9, 3))), LambdaContext(door.cloud.clock, 300))
    found = door.get(form["result"]).json["data"]
    assert (found["schema"], found["rows"], found["good"], found["bad"]) == ("preview/1", 9, 6, 3)
    assert not door.cloud.items(door.cloud.events_table)


def test_a_preview_asks_for_both_rights_and_for_a_name_that_can_be(door: Door):
    path = door.made(id="shop", name="The shop")
    for rights in ([Right.READ], [Right.WRITE]):
        token = door.new_token({"shop": rights})
        reply = door.request("POST", f"{path}/previews", json={"file_name": "a.ndjson"}, token=token)
        assert reply.code == (403, "forbidden")
    assert door.post(f"{path}/previews", json={"file_name": "a/b.ndjson"}).code == (422, "bad_file_name")
    assert door.post(f"{path}/previews", json={"file_name": "a.pdf"}).code == (422, "wrong_kind")
    assert door.post(f"{path}/previews", json={"name": "a.ndjson"}).code == (422, "unknown_field")


def test_no_preview_of_another_import_can_be_read_by_a_path(door: Door):
    """The name is one segment, below the folder of the import the token was asked for."""
    door.made(id="shop", name="The shop")
    app._preview_places.cache_clear()
    with door.cloud.unseen():
        door.cloud.client("s3").put_object(
            Bucket=door.cloud.bucket, Key="preview_results/shop/a.ndjson.json", Body=b'{"secret":1}'
        )
    token = door.new_token({"default": [Right.READ], "..": [Right.READ], "a/shop": [Right.READ]})
    for import_id, name in (("default", "shop%2Fa.ndjson"), ("default", "..")):
        reply = door.request("GET", f"{IMPORTS}/{import_id}/previews/{name}", token=token)
        assert reply.code == (404, "no_such_preview")
    for import_id in ("a%2Fshop", ".."):
        reply = door.request("GET", f"{IMPORTS}/{import_id}/previews/a.ndjson", token=token)
        assert reply.code == (404, "no_such_import")
    assert door.request("GET", f"{IMPORTS}/shop/previews/a.ndjson", token=token).code == (403, "forbidden")


def test_a_file_can_be_had_by_a_link_whatever_its_size(door: Door):
    """Good for five minutes, and always a download: no file of a customer's is shown as a page."""
    result = door.get(f"/v1/executions/{sent(door, 'default', rows(9, 3))}").json["data"]["result"]
    for uri in (result["error_file_uri"], f"{result['error_file_uri']}.reasons.ndjson", result["receipt_uri"]):
        reply = door.get("/v1/data_file/data", uri=uri, **{"as": "link"})
        said = reply.json["data"]
        assert reply.headers["cache-control"] == "no-store"
        assert said["seconds"] == 300
        assert said["file_name"] == uri.rpartition("/")[2]
        assert "response-content-disposition=attachment" in said["url"]
        assert "X-Amz-Expires=300" in said["url"]
    assert door.get("/v1/data_file/data", uri=result["receipt_uri"], **{"as": "x"}).code == (400, "bad_parameter")
    writer = door.new_token({"default": [Right.WRITE]})
    query = {"uri": result["receipt_uri"], "as": "link"}
    assert door.request("GET", "/v1/data_file/data", query=query, token=writer).code == (403, "forbidden")


def test_its_role_grants_what_the_console_asks_for(door: Door):
    """Each call that its routes make; of a form and a link, what whoever has them does."""
    path = door.made(id="shop", name="The shop", max_bad_rows=1)
    ended, failed = sent(door, "default", rows(9, 3)), sent(door, "shop", rows(9, 9))
    asked = door.post(f"{path}/previews", json={"file_name": "a.ndjson"}).json["data"]
    with plan(door.cloud) as delivery:
        door.get("/v1/executions")
        result = door.get(f"/v1/executions/{ended}").json["data"]["result"]
        door.get(asked["result"])
        door.get("/v1/data_file/data", uri=result["error_file_uri"], **{"as": "link"})
        door.post(f"/v1/executions/{failed}/redrive")
        door.get(f"/v1/executions/{failed}")
    used = {permission for call in delivery.calls if call.service != "ssm" for permission in needed(call)}
    used |= {("s3:PutObject", f"{asked['key'].partition('/')[0]}/"), ("s3:GetObject", "errors/")}
    assert ("s3:GetObject", "preview_results/") in used
    assert used - granted("ApiRole") == set()


def test_each_route_of_the_console_is_one(door: Door):
    """The paths in its script are routes of the door, but for those of undo, which it asks whether there are."""
    script = door.request("GET", "/console", token=None).body.decode()
    called = set(re.findall(r"[`\"](/v1/[a-z_]+)", script))
    assert called
    assert {path for path in called if not any(route.path.startswith(path) for route in ROUTES)} == set()
