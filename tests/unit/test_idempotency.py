"""Idempotency-Key: a request that is sent again is not done again, whatever became of the first (the IETF's draft)."""

import itertools
import json
from collections.abc import Iterator

import pytest

from importer.doors.tokens import Right
from tests.support.cloud import Cloud
from tests.support.door import IMPORTS, NDJSON, Door, opened
from tests.support.faults import Fault, attempt, plan

pytestmark = pytest.mark.filterwarnings("ignore:No application metrics")

ROW = '{"user_id":"ann","event_name":"login","event_time_ts":1425920218354}\n'
KEYED = {"Content-Type": NDJSON, "Idempotency-Key": '"8e03978e-40d5-43e8-bc93-6894a57f9324"'}


@pytest.fixture
def door() -> Iterator[Door]:
    with Cloud() as cloud, opened(cloud) as door:
        yield door


def test_the_same_request_gets_the_first_answer(door: Door):
    """Also when the file has long been imported: what was answered then is answered now."""
    path = f"{door.made(name='The shop')}/executions"
    first = door.post(path, ROW, headers=KEYED)
    door.deliver()
    again = door.post(path, ROW, headers=KEYED)
    assert (again.status, again.json, again.headers["idempotency-replayed"]) == (200, first.json, "true")
    bare = door.post(path, ROW, headers=KEYED | {"Idempotency-Key": KEYED["Idempotency-Key"].strip('"')})
    assert bare.json == first.json
    assert door.get(path).json["count"] == 1


def test_another_body_under_the_key_is_422(door: Door):
    path = f"{door.made(name='The shop')}/executions"
    door.post(path, ROW, headers=KEYED)
    assert door.post(path, ROW * 2, headers=KEYED).code == (422, "key_reused")
    assert door.get(path).json["count"] == 1


def test_a_key_is_of_its_token_and_its_resource(door: Door):
    """Two senders that count from 1, or one that sends to two imports, do not meet."""
    path, other = (f"{door.made(name=name)}/executions" for name in ("The shop", "Other"))
    ids = {
        door.post(where, ROW, headers=KEYED, token=token).json["data"]["id"]
        for where in (path, other)
        for token in (door.token, door.new_token({"*": [Right.WRITE]}))
    }
    assert len(ids) == 4


def test_a_key_is_forgotten_after_a_day(door: Door):
    """By us, whenever DynamoDB gets to it."""
    path = f"{door.made(name='The shop')}/executions"
    first = door.post(path, ROW, headers=KEYED).json["data"]["id"]
    door.cloud.clock.advance(86_399_000)
    assert door.post(path, ROW, headers=KEYED).json["data"]["id"] == first
    door.cloud.clock.advance(2_000)
    assert door.post(path, ROW, headers=KEYED).json["data"]["id"] != first


def test_what_is_no_key_is_400(door: Door):
    path = f"{door.made(name='The shop')}/executions"
    for key in ('""', "", '"half', "two words", '"' + "x" * 256 + '"', '"ü"'):
        assert door.post(path, ROW, headers=KEYED | {"Idempotency-Key": key}).code == (400, "bad_idempotency_key")


def test_a_refusal_does_not_use_a_key_up(door: Door):
    """A client that mends its request need not know that the key was seen."""
    named = {"Idempotency-Key": '"1"'}
    door.made(id="taken", name="x")
    assert door.post(IMPORTS, json={"id": "taken", "name": "y"}, headers=named).code == (409, "import_exists")
    assert door.post(IMPORTS, json={"id": "free", "name": "y"}, headers=named).status == 200


def test_two_at_once_are_one(door: Door):
    """While the first is at work, the second is told when to come back; then it gets the first one's answer."""
    path = f"{door.made(name='The shop')}/executions"
    replies = []
    fault = Fault("before", "PutObject", detail={"do": lambda _: replies.append(door.post(path, ROW, headers=KEYED))})
    with plan(door.cloud, fault):
        first = door.post(path, ROW, headers=KEYED)
    assert replies[0].code == (409, "in_progress")
    assert 1 <= int(replies[0].headers["retry-after"]) <= 31
    assert door.post(path, ROW, headers=KEYED).json == first.json


def test_after_503_the_same_request_goes_on_at_once(door: Door):
    """What did not answer is no reason to wait for a try that has ended."""
    path = f"{door.made(name='The shop')}/executions"
    with plan(door.cloud, Fault("error_503", "HeadObject", times=99)):
        assert door.post(path, ROW, headers=KEYED).code == (503, "unavailable")
    reply = door.post(path, ROW, headers=KEYED)
    assert reply.status == 200
    assert door.get(path).json["count"] == 1
    assert len(door.cloud.objects("imports/")) == 1


@pytest.mark.parametrize("imported_meanwhile", [False, True])
@pytest.mark.parametrize("at", ["PutObject", "HeadObject", pytest.param("", marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["kill_before", "kill_after"])
def test_a_function_killed_at_any_call_leaves_one_execution_and_one_file(kind: str, at: str, imported_meanwhile: bool):
    """The next try with the key, once the dead one's time is up, makes the same object or finds what became of it;
    and the file may have been imported, and moved, meanwhile."""
    for call in itertools.count(1):
        with Cloud() as cloud, opened(cloud) as door:
            path = f"{door.made(name='The shop')}/executions"
            ended = attempt(
                cloud, lambda door=door, path=path: door.post(path, ROW, headers=KEYED), Fault(kind, at or call)
            )
            if not ended.killed:
                break
            if imported_meanwhile:
                door.deliver()
            cloud.clock.advance(40_000)
            reply = door.post(path, ROW, headers=KEYED)
            assert reply.status == 200, (call, reply.body)
            door.deliver()
            assert [one["id"] for one in door.get(path).json["data"]] == [reply.json["data"]["id"]], call
            assert len(cloud.items(cloud.events_table)) == 1
            assert len(cloud.objects("completed_imports/")) == 1
        if at:
            return
    assert call > 6


def test_a_definition_is_made_once_though_its_maker_is_killed():
    """The id it would have is kept with the key."""
    call = 0
    while True:
        call += 1
        with Cloud() as cloud, opened(cloud) as door:
            headers = {"Idempotency-Key": '"1"'}
            ended = attempt(
                cloud,
                lambda door=door, headers=headers: door.post(IMPORTS, json={"name": "The shop"}, headers=headers),
                Fault("kill_after", call),
            )
            if not ended.killed:
                break
            cloud.clock.advance(40_000)
            reply = door.post(IMPORTS, json={"name": "The shop"}, headers=headers)
            assert reply.status == 200
            assert [one["id"] for one in door.get(IMPORTS).json["data"]] == [reply.json["data"]["id"]], call
    assert call > 3


def test_the_answer_is_kept_as_json(door: Door):
    """What the record holds is the answer and hashes: neither key nor body nor token."""
    path = f"{door.made(name='The shop')}/executions"
    door.post(path, ROW, headers=KEYED)
    (kept,) = (item for item in door.cloud.items(door.cloud.imports_table) if item["pk"].startswith("KEY#"))
    assert json.loads(kept["body"])["status"] == "ok"
    said = str(kept)
    assert "8e03978e" not in said
    assert "login" not in said
    assert kept["expires_at"] == door.cloud.clock.now_ms() // 1000 + 86_400
