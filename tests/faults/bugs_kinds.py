"""What goes wrong while planted bugs are looked for, beside the kinds of the fault table: a bug needs each of these."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final
from unittest import mock

from botocore.exceptions import ClientError

from importer.executions import importing as steps
from tests.faults.files import many_rows
from tests.faults.importing import nothing_late_matters
from tests.faults.kinds import KINDS, Kind
from tests.faults.workloads import Stage
from tests.support.books import assert_books_balance, check_every_end
from tests.support.cloud import Cloud
from tests.support.faults import Fault, Nth
from tests.support.wire import Call, Delivery

DAY_MS: Final = 86_400_000
TWIN: Final = ("imports/medium.ndjson.gz", many_rows(20))
MARKED_ROW: Final = b'"n":{"N":"20"}'  # without the spaces of botocore's JSON


def _ended_well(stage: Stage, *faults: Fault) -> None:
    stage.tell()
    stage.importer.run_until_quiet(*faults)
    ends = check_every_end(stage.importer.cloud)
    assert ends == {"SUCCEEDED": len(stage.importer.cloud.dropped)}, f"ended {ends}"
    nothing_late_matters(stage.importer)


def _arrives_again(stage: Stage, serial: int) -> None:
    """A write reaches DynamoDB twice; its second copy after the same worker's next two writes."""
    kept: list[dict[str, Any]] = []
    moves = 0

    def third(call: Call) -> bool:
        nonlocal moves
        if call.serial == serial:
            kept.append(call.document)
        moves += bool(kept) and call.operation == "UpdateItem"
        return moves == 3

    def arrive(cloud: Cloud) -> None:
        with cloud.wire.delivering(Delivery("the network")), suppress(ClientError):
            cloud.client("dynamodb").update_item(**kept[0])

    _ended_well(stage, Fault("before", third, detail={"do": arrive}))


def _overwritten_by_as_many_bytes(stage: Stage, serial: int) -> None:
    importer, upload = stage.importer, stage.upload
    newer = upload.body.replace(b'"login"', b'"logon"')
    drop = {"do": lambda cloud: importer.notify(cloud.drop(upload.key, newer))}
    stage.tell()
    importer.run_until_quiet(Fault("before", Nth(serial), detail=drop))
    assert sum(check_every_end(importer.cloud, {upload.etag}).values()) == 2


def _overwritten_by_a_refused_file(stage: Stage, _: int) -> None:
    """It stays in imports/, over the older one, which nobody was told of either."""
    importer, upload = stage.importer, stage.upload
    importer.cloud.clock.sleep(5)
    importer.cloud.drop(upload.key, "not UTF-8".encode("utf-16"))
    importer.run_until_quiet()
    ends = sorted(item["status"] for item in importer.executions())
    assert ends == ["FAILED", "SUCCEEDED"], f"ended {ends}"


def _killed_and_never_tried_again(stage: Stage, serial: int) -> None:
    """Lambda gives up at once: only the sweep is left."""
    stage.importer.notify(stage.notification, tries=1)
    stage.importer.run_until_quiet(Fault("kill_after", Nth(serial)))
    assert_books_balance(stage.importer.cloud, stage.sources)


def _killed_again_and_again(stage: Stage, _: int) -> None:
    """Three tries without getting on would be enough to give up; each gets a batch further."""
    with mock.patch.object(steps, "TRIES", 3):
        _ended_well(stage, Fault("kill_after", _moves_a_part, always=True))


def _moves_a_part(call: Call) -> bool:
    moves = call.document.get("ExpressionAttributeValues", {})
    return ":after" in moves and ":done" not in moves and moves[":after"] != moves.get(":before")


def _killed_before_midnight(stage: Stage, serial: int) -> None:
    clock = stage.importer.cloud.clock
    clock.advance(DAY_MS - 30_000 - clock.now_ms() % DAY_MS)
    _ended_well(stage, Fault("kill_after", Nth(serial)))


def _beside_its_twin(stage: Stage, _: int) -> None:
    """A file whose errors would have the same name."""
    stage.importer.notify(stage.importer.cloud.drop(*TWIN))
    _ended_well(stage)


def _unwelcome_row(stage: Stage, _: int) -> None:
    """The table refuses a row that the importer and the oracle take for good: only sums can be looked at."""
    words = {"code": "ValidationException", "message": "Item size has exceeded the maximum allowed size"}
    holds = lambda call: call.operation == "BatchWriteItem" and MARKED_ROW in call.body.replace(b" ", b"")  # noqa: E731
    stage.tell()
    with (
        mock.patch("tests.support.watch.check_tally"),
        mock.patch("tests.support.watch.check_succeeded"),
        mock.patch("tests.support.watch.check_durable"),
    ):
        stage.importer.run_until_quiet(Fault("refused", holds, detail=words, always=True))


def _kind(name: str, says: str, play: Callable[[Stage, int], None], at: str | None = None) -> Kind:
    return Kind(name, says, play, None if at is None else lambda call: True)


OTHER_KINDS: Final = {
    kind.name: kind
    for kind in (
        _kind("arrives again", "a write arrives a second time, two writes later", _arrives_again, ""),
        _kind("overwritten by as many bytes", "a newer upload of the same length", _overwritten_by_as_many_bytes, ""),
        _kind("overwritten, never told", "a refused file lies over it, nobody is told", _overwritten_by_a_refused_file),
        _kind("killed, never tried again", "killed, and no retry comes", _killed_and_never_tried_again, ""),
        _kind("killed again and again", "every worker is killed after one batch", _killed_again_and_again),
        _kind("killed before midnight", "killed, and gone on with on the next day", _killed_before_midnight, ""),
        _kind("beside its twin", "another file whose errors would have the same name", _beside_its_twin),
        _kind("unwelcome row", "the table refuses a row that seemed good", _unwelcome_row),
        _kind("nothing", "nothing goes wrong", lambda stage, _: KINDS["error 500"].play(stage, 0)),
    )
}
