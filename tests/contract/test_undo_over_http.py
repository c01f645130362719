"""Undo over HTTP: asked for by a token that may, done by the part workers, sent on by the sweep where it was lost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import app
from importer.doors.tokens import Right
from tests.support.clock import LambdaContext
from tests.support.cloud import Cloud
from tests.support.door import IMPORTS, NDJSON, Door, opened

pytestmark = pytest.mark.filterwarnings("ignore:No application metrics")

LINES = {"Content-Type": NDJSON}
ROWS = "".join(
    f'{{"user_id":"ann","event_name":"e","event_time_ts":{1425920218354 + n},"{{u}}n":{n}}}\n' for n in range(3)
)


@pytest.fixture
def door() -> Iterator[Door]:
    with Cloud() as cloud, opened(cloud) as door:
        yield door


def imported(door: Door, body: str = ROWS, **settings: Any) -> str:
    """Path of the undoing of what was just imported."""
    path = (
        door.made(name="shop", **settings)
        if settings or door.get(f"{IMPORTS}/shop").status != 200
        else f"{IMPORTS}/shop"
    )
    execution = door.post(f"{path}/executions", body, headers=LINES).json["data"]["id"]
    door.deliver()
    return f"/v1/executions/{execution}/undo"


def work(door: Door, seconds: float = 300) -> int:
    """The part function, until its queue is empty; how often."""
    hops = 0
    while (message := next(iter(door.cloud.messages()), None)) is not None:
        hops += 1
        assert hops < 100
        door.cloud.clock.sleep(61)
        handle, body = door.cloud.receive() or ("", message)
        app.part_handler({"Records": [{"body": body}]}, LambdaContext(door.cloud.clock, seconds))
        door.cloud.delete_message(handle)
    return hops


def tables(door: Door) -> tuple[list[Any], list[Any]]:
    return door.cloud.items(door.cloud.events_table), door.cloud.items(door.cloud.users_table)


def test_asked_for_and_done_by_a_worker(door: Door) -> None:
    """202 with ASKED, then DONE with what was done; asked for again it is done already."""
    undo = imported(door)
    assert door.get(undo).code == (404, "not_undone")
    asked = door.post(undo)
    assert (asked.status, asked.json["data"]["status"], asked.json["data"]["reason"]) == (202, "ASKED", None)
    assert work(door) == 1
    done = door.get(undo).json["data"]
    assert (done["status"], done["removed"], done["put_back"], done["kept"]) == ("DONE", 4, 0, 0)
    assert done["by"].startswith("token ")
    key = done["receipt_uri"].removeprefix(f"s3://{door.cloud.bucket}/")
    assert json.loads(door.cloud.objects()[key])["schema"] == "undo/1"
    assert tables(door) == ([], [])
    assert door.cloud.objects("work/") == {}
    assert door.post(undo).json["data"]["status"] == "DONE"
    assert work(door) == 0


def test_the_sample_of_its_message_is_understood(door: Door) -> None:
    """Of nobody's undoing it changes nothing; of one that was asked for, it is the worker's job."""
    sample = json.loads((Path(__file__).parents[2] / "events/part/undo.json").read_text(encoding="utf-8"))
    context = LambdaContext(door.cloud.clock, 300)
    assert app.part_handler(sample, context) == {"executions": [{"id": "0" * 32, "undo": "not our turn"}]}
    undo = imported(door)
    door.post(undo)
    said = app.part_handler(sample | {"execution_id": undo.split("/")[3]}, context)
    assert said["executions"][0]["undo"] == "done"


def test_hop_by_hop(door: Door) -> None:
    """With hardly any time in each invocation, the file of a window is carried from one to the next."""
    before = imported(door)
    kept = tables(door)
    again = imported(door)
    door.post(again)
    assert work(door, seconds=45) > 2
    assert door.get(again).json["data"]["status"] == "DONE"
    assert tables(door) == kept
    assert door.get(before).status == 404
    assert door.cloud.objects("work/") == {}


def test_a_plan_does_nothing(door: Door) -> None:
    undo = imported(door)
    plan = door.request("POST", undo, query={"plan": "true"})
    assert (plan.status, plan.json["data"]["items_at_most"], plan.json["data"]["others"]) == (200, 6, [])
    assert door.get(undo).status == 404
    assert door.request("POST", undo, query={"plan": "perhaps"}).code == (400, "bad_parameter")


def test_only_who_administers_the_import_may(door: Door) -> None:
    """Writing to an import is not taking out of it; who may do nothing there is not told that it is."""
    undo = imported(door)
    for rights in ([Right.WRITE], [Right.READ]):
        assert door.post(undo, token=door.new_token({"shop": rights})).code == (403, "forbidden")
    assert door.post(undo, token=door.new_token({"another": [Right.ADMIN]})).code == (404, "no_such_execution")
    assert door.post(undo, token=door.new_token({"shop": [Right.ADMIN]})).status == 202
    assert door.post(f"/v1/executions/{'0' * 32}/undo").code == (404, "no_such_execution")


def test_an_erasure_is_refused_with_the_reason(door: Door) -> None:
    """Found by the worker; then others have their turn."""
    row = '{"type":"USER_ACCOUNT","compartment_id":"1","user_account_id":"a"}\n'
    undo = imported(door, row, document_type="USER_POINTS_DELETION")
    assert door.post(undo).status == 202
    work(door)
    said = door.get(undo).json["data"]
    assert (said["status"], "erased persons" in said["reason"]) == ("REFUSED", True)
    assert door.cloud.stored(door.cloud.imports_table, {"pk": {"S": "UNDO"}, "sk": {"S": "UNDO"}}).keys() == {
        "pk",
        "sk",
        "worker",
    }


def test_one_at_a_time(door: Door) -> None:
    first, second = imported(door), imported(door)
    assert door.post(first).status == 202
    assert door.post(second).code == (409, "cannot_undo")
    work(door)
    assert door.post(second).status == 202


def test_a_lost_message_is_sent_again_by_the_sweep(door: Door) -> None:
    """Nobody is at it: the sweep sees to it. Done, there is nothing to send."""
    undo = imported(door)
    door.post(undo)
    [lost] = door.cloud.messages()
    handle, _ = door.cloud.receive() or ("", "")
    door.cloud.delete_message(handle)
    sweep = {"sweep": "unfinished"}
    app.sweep_handler(sweep, LambdaContext(door.cloud.clock, 300))
    assert door.cloud.messages() == [lost]
    work(door)
    app.sweep_handler(sweep, LambdaContext(door.cloud.clock, 300))
    assert (door.get(undo).json["data"]["status"], door.cloud.messages()) == ("DONE", [])
