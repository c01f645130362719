"""Undo over HTTP: asked for here, done by the part workers, hop by hop, as `importer undo` does it.

`POST /v1/executions/{execution_id}/undo` keeps the request and sends `undo/1` to the part queue of priority LOW; the
sweep sends it again where nobody is at it. `GET` says how it stands. What a worker finds it cannot undo is kept as the
reason, and nothing is changed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, Protocol

from importer.doors.every_execution import found
from importer.doors.http import Answer, Problem, Request, ok
from importer.doors.ports import Doorway
from importer.doors.tokens import Right
from importer.executions.ports import Objects
from importer.ledger.undo import Busy, CannotUndo, Desk, Marks, Progress, judge, planned, receipt_key, turn_of, undo
from importer.model import Execution, Fenced, TimeIsUp, Value

PATH: Final = "/v1/executions/{execution_id}/undo"
WORKER_KEYS: Final = 100_000  # 80 MB, carried from hop to hop
RESERVE_MS: Final = 45_000  # a batch, some writes, and keeping the file
WAIT_S: Final = 60  # before another look at who is running
GRACE_MS: Final = 60_000  # after an invocation's end somebody else may take over


class Asked(Marks, Protocol):
    """What is kept of undoings that workers do; see `aws.tables.ImportsTable`."""

    def ask_undo(self, execution_id: str, by: str, now_ms: int, refused: str = "") -> None: ...

    def asked_undo(self, execution_id: str) -> dict[str, Any] | None: ...

    def claim_turn(self, execution_id: str, now_ms: int, until_ms: int) -> bool:
        """Whether it is this execution's turn, and nobody else is at it now; ours until then."""

    def free_turn(self, execution_id: str) -> None:
        """Nobody is at it now."""

    def idle_turn(self, now_ms: int) -> str:
        """Id of the execution whose turn it is, if nobody is at it; else ""."""


class UndoQueue(Protocol):
    def send_undo(self, execution_id: str, delay_s: int = 0) -> None:
        """Make it a worker's job; durable when it returns."""


@dataclass(frozen=True, slots=True)
class UndoPlace:
    """What undoings of one invocation work with. `desk` is for a worker of this function."""

    desk: Desk
    marks: Asked
    queue: UndoQueue
    remaining_ms: Callable[[], int]
    objects: Objects


# ---- Requests --------------------------------------------------------------------------------------------------------


def create(request: Request, door: Doorway) -> Answer:
    """POST …/undo; with ?plan=true what it would take, and nothing is done."""
    place, execution = _found(request, door, Right.ADMIN)
    plan = request.query.get("plan", "false")
    if plan not in ("true", "false"):
        raise Problem(HTTPStatus.BAD_REQUEST, "bad_parameter", "plan must be true or false", parameter="plan")
    try:
        if plan == "true":
            return ok(planned(place.desk, execution.id, look=False).document())
        judge(place.desk, execution, look=False)
        if execution.undone is None or not execution.undone.done:
            turn = turn_of(place.desk, execution)
            if turn != execution.id:
                raise Busy(f"execution {turn} is being undone: one at a time")
            by = f"token {request.grant.token_id}"
            place.marks.ask_undo(execution.id, by, door.work.clock.now_ms())
            place.queue.send_undo(execution.id)
    except CannotUndo as reason:
        raise Problem(HTTPStatus.CONFLICT, "cannot_undo", str(reason)) from None
    return ok(_standing(place, _now(door, execution)), HTTPStatus.ACCEPTED)


def show(request: Request, door: Doorway) -> Answer:
    """GET …/undo"""
    place, execution = _found(request, door, Right.READ)
    said = _standing(place, execution)
    if said["status"] == "NONE":
        raise Problem(HTTPStatus.NOT_FOUND, "not_undone", "nobody has asked for this execution to be undone")
    return ok(said)


def _standing(place: UndoPlace, execution: Execution) -> dict[str, Value]:
    """How its undoing stands: ASKED, RUNNING, DONE, or REFUSED with a reason; NONE."""
    asked = place.marks.asked_undo(execution.id)
    reason = str(asked["refused"]) if asked else ""
    said: dict[str, Value] = {"execution_id": execution.id, "status": "NONE", "reason": reason or None}
    if execution.undone is not None:
        said |= execution.undone.document()
        if execution.undone.done:
            said["receipt_uri"] = f"s3://{execution.source.bucket}/{receipt_key(execution)}"
    elif asked is not None:
        said |= {"status": "REFUSED" if reason else "ASKED", "at_ms": int(asked["asked_ms"]), "by": str(asked["by"])}
    return said


def _found(request: Request, door: Doorway, right: Right) -> tuple[UndoPlace, Execution]:
    execution = found(request, door, right)
    if door.undoing is None:
        raise Problem(HTTPStatus.NOT_FOUND, "no_such_resource", "this installation undoes nothing over HTTP")
    return door.undoing(), execution


def _now(door: Doorway, execution: Execution) -> Execution:
    return door.work.records.execution(execution.id) or execution


# ---- Workers ---------------------------------------------------------------------------------------------------------


def work_on(place: UndoPlace, execution_id: str) -> str:
    """One delivery of a message: how the undoing then stands, in a word.

    Raises:
        Unavailable: deliver again later.
    """
    marks, clock = place.marks, place.desk.clock
    now_ms = clock.now_ms()
    if not marks.claim_turn(execution_id, now_ms, now_ms + place.remaining_ms() + GRACE_MS):
        return "not our turn"
    asked = marks.asked_undo(execution_id) or {}
    waits = False

    def told(progress: Progress) -> None:
        nonlocal waits
        waits = progress.step == "waiting"

    desk = _carrying(place, execution_id)
    try:
        done = undo(replace(desk, told=told), execution_id, str(asked.get("by", "")))
    except TimeIsUp:
        marks.free_turn(execution_id)
        place.queue.send_undo(execution_id, WAIT_S if waits else 0)
        return "handed on"
    except Fenced:
        return "another worker's"
    except CannotUndo as reason:
        marks.ask_undo(execution_id, str(asked.get("by", "")), clock.now_ms(), refused=str(reason))
        begun = place.desk.records.execution(execution_id)
        if begun is None or begun.undone is None:
            marks.end_turn(execution_id)  # nothing was changed
        else:
            marks.free_turn(execution_id)
        return "refused"
    finally:
        desk.file.unlink(missing_ok=True)
    place.objects.delete(done.source.bucket, [carried_key(execution_id)])
    return "done"


def carried_key(execution_id: str) -> str:
    """Where a window's file waits for the next hop."""
    return f"work/{execution_id}/undo/window.sqlite"


def _carrying(place: UndoPlace, execution_id: str) -> Desk:
    desk, objects, key = place.desk, place.objects, carried_key(execution_id)
    execution = desk.records.execution(execution_id)
    bucket = "" if execution is None else execution.source.bucket

    def save(path: Path) -> None:
        with path.open("rb") as file:
            objects.put(bucket, key, file, "application/vnd.sqlite3")

    def load(path: Path) -> bool:
        body = objects.get(bucket, key)
        if body is None:
            return False
        path.write_bytes(body)
        return True

    return replace(
        desk,
        save=save,
        load=load,
        time_is_short=lambda: place.remaining_ms() < RESERVE_MS,
        may_wait=False,
        window_keys=WORKER_KEYS,
    )
