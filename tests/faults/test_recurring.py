"""Recurring imports: one file after another, in order, whatever is killed, sent twice, or running beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any
from unittest import mock

import pytest

from importer.definitions import Definition
from importer.doors import recurring
from importer.executions import holding, import_dropped, importing, starting, sweeping, waiting
from importer.model import Denied, Misconfigured
from importer.notification import dropped_objects
from tests.faults.bugs import changed
from tests.faults.files import row
from tests.faults.importing import Importer, installed, nothing_to_find
from tests.support.books import assert_books_balance
from tests.support.faults import Attempt, Fault
from tests.support.interleave import interleaved
from tests.support.policy import granted, needed
from tests.support.scenarios import in_copy, sample

SHOP = Definition(id="shop", name="shop", base_file_name="accounts.json")
HOUR_MS = 3_600_000
REFUSED = b'{\n  "user_id": "u"\n}\n'  # JSON over several lines
RUN_SECONDS = 900


def define(importer: Importer, definition: Definition, name: str = "") -> None:
    item = {"pk": f"IMPORT#{definition.id}", "sk": "IMPORT", "definition": definition.as_stored(), "listed": "IMPORT"}
    importer.cloud.put_item(importer.cloud.imports_table, item | {"creation_date": 1, "changed_ms": 1})


def rows(mark: str, count: int = 12) -> bytes:
    return b"".join(row(number, filler=mark * 60) + b"\n" for number in range(count))


def drop(importer: Importer, *names: str, body: bytes | None = None) -> dict[str, bytes]:
    """Dropped and told of, as S3 does."""
    sources = {}
    for name in names:
        key = f"imports/shop/{name}"
        sources[key] = rows(name[-6]) if body is None else body
        importer.deliver(importer.cloud.drop(key, sources[key]))
    return sources


def run(importer: Importer, slot: int | None = None, *faults: Fault) -> Attempt:
    """One invocation of a run; `slot` counts hours of the schedule."""
    slot_ms = None if slot is None else slot * HOUR_MS
    return importer.invoke("run", RUN_SECONDS, lambda place: recurring.run(place, "shop", slot_ms), *faults)


def ended(importer: Importer) -> list[str]:
    """Names of the files whose imports have ended, in order; those that did not succeed with how they did."""
    return [
        key.rpartition("/")[2] + ("" if status == "SUCCEEDED" else f" {status}")
        for key, status in importer.telemetry.closings
    ]


def work_off(importer: Importer) -> None:
    """What lies in the part queue."""
    while importer.cloud.next_message_ms() is not None:
        importer.cloud.clock.advance(1_000)
        received = importer._received()
        if received is not None:
            received()


def an_hour_passes(importer: Importer) -> None:
    """With all the sweeps there are in it."""
    for _ in range(4):
        importer.cloud.clock.advance(15 * 60_000)
        importer.sweep("unfinished")
        importer.sweep("waiting")


@pytest.fixture(params=[True, False], ids=["versioned", "unversioned"])
def importer(request: pytest.FixtureRequest) -> Iterator[Importer]:
    with installed(versioned=request.param) as one:
        define(one, SHOP)
        yield one


# ---- One after another -------------------------------------------------------------------------------------------


def test_files_of_a_series_wait_for_the_schedule_and_are_read_one_a_run(importer: Importer):
    """K24: neither their notification nor a sweep begins one; order is that of the names, not of the uploads."""
    sources = drop(importer, "accounts-3.json", "accounts-1.json", "accounts-2.ndjson.json")
    an_hour_passes(importer)
    assert (ended(importer), importer.cloud.messages(), importer.executions()) == ([], [], [])
    names = []
    for hour in range(4):
        assert run(importer, hour).error is None
        names.append(ended(importer)[:])
        an_hour_passes(importer)
    order = ["accounts-1.json", "accounts-2.ndjson.json", "accounts-3.json"]
    assert names == [order[:1], order[:2], order, order]
    assert_books_balance(importer.cloud, sources, tidy=True)


def test_a_name_that_comes_late_is_still_read(importer: Importer):
    """There is no high-water mark."""
    drop(importer, "accounts-5.json", "accounts-6.json")
    run(importer, 0)
    drop(importer, "accounts-1.json")
    run(importer, 1)
    run(importer, 2)
    assert ended(importer) == ["accounts-5.json", "accounts-1.json", "accounts-6.json"]


def test_several_files_a_run(importer: Importer):
    """As many as the definition says, each ended before the next is begun."""
    define(importer, replace(SHOP, files_per_run=2))
    sources = drop(importer, *(f"accounts-{number}.json" for number in range(5)))
    counts = []
    for hour in range(3):
        run(importer, hour)
        counts.append(len(ended(importer)))
    assert counts == [2, 4, 5]
    assert ended(importer) == sorted(ended(importer))
    assert_books_balance(importer.cloud, sources, tidy=True)
    nothing_to_find(importer)


def test_a_refused_file_neither_blocks_the_others_nor_uses_up_the_run(importer: Importer):
    """I8: it stays where it is for a person; it is not tried again."""
    drop(importer, "accounts-1.json", body=REFUSED)
    drop(importer, "accounts-2.json", "accounts-3.json")
    run(importer, 0)
    assert ended(importer) == ["accounts-1.json FAILED", "accounts-2.json"]
    done = run(importer, 1).result
    assert [execution.source.key for execution in done.ended] == ["imports/shop/accounts-3.json"]
    run(importer, 2)
    assert ended(importer) == ["accounts-1.json FAILED", "accounts-2.json", "accounts-3.json"]
    assert importer.cloud.objects("imports/") == {"imports/shop/accounts-1.json": REFUSED}


def test_a_file_of_another_name_in_the_folder_is_imported_at_once(importer: Importer):
    """It is no file of the series: nothing lies there in silence."""
    sources = drop(importer, "other.json")
    assert ended(importer) == ["other.json"]
    assert_books_balance(importer.cloud, sources)


def test_in_a_foreign_bucket_nothing_waits_for_a_schedule_that_does_not_look_there(importer: Importer):
    """Its files are told of, and imported then."""
    one_of_its_own = replace(importer.workplaces(lambda: 900_000), own_bucket="another")
    dropped = dropped_objects(importer.cloud.drop("imports/shop/accounts-1.json", rows("x")))
    (execution,) = import_dropped(one_of_its_own, dropped[0])
    assert execution.status == "SUCCEEDED"


def test_both_uploads_of_one_name_are_read_the_older_first():
    """A version overwritten before its turn is imported too (A3)."""
    with installed() as importer:
        define(importer, SHOP)
        drop(importer, "accounts-1.json", body=rows("a"))
        importer.cloud.clock.advance(5_000)
        drop(importer, "accounts-1.json", body=rows("b"))
        drop(importer, "accounts-2.json", body=rows("c"))
        for hour in range(3):
            run(importer, hour)
        assert ended(importer) == ["accounts-1.json", "accounts-1.json", "accounts-2.json"]
        uploads = [json.loads(item["state"])["source"]["version_id"] for item in by_time(importer)]
        assert uploads == [upload.version_id for upload in importer.cloud.dropped]
        assert len(importer.cloud.items(importer.cloud.events_table)) == 36


def by_time(importer: Importer) -> list[dict[str, Any]]:
    return sorted(importer.executions(), key=lambda item: item["creation_date"])


def test_a_large_file_is_read_by_one_worker():
    """It is not cut into parts: the next is begun only when it has ended, and the time of the run bounds it."""
    with installed(part_bytes=2048) as importer:
        define(importer, SHOP)
        sources = drop(importer, "accounts-1.json", body=rows("x", 100))
        run(importer, 0)
        assert ended(importer) == ["accounts-1.json"]
        assert_books_balance(importer.cloud, sources, tidy=True)


# ---- Time --------------------------------------------------------------------------------------------------------


@pytest.fixture
def slow() -> Iterator[Importer]:
    """Each batch takes 3 s, and a run has 10."""
    with installed(write_ms=3_000) as one:
        define(one, replace(SHOP, run_seconds=10))
        yield one


def position(importer: Importer) -> int:
    return max(
        (item["next_offset"] for item in importer.cloud.items(importer.cloud.imports_table) if "next_offset" in item),
        default=0,
    )


@pytest.mark.parametrize("atomic", [False, True])
def test_what_a_run_has_no_time_for_is_the_next_ones(slow: Importer, atomic: bool):
    """K25: it goes on where it stands, the next file waits for its end, and nobody else reads on in between."""
    define(slow, replace(SHOP, run_seconds=10, atomic=atomic))
    long, short = rows("x", 60), rows("y", 2)
    sources = drop(slow, "accounts-1.json", body=long) | drop(slow, "accounts-2.json", body=short)
    seen = []
    for hour in range(12):
        began_ms = slow.cloud.clock.now_ms()
        assert run(slow, hour).error is None
        assert slow.cloud.clock.now_ms() - began_ms < 60_000
        stands = position(slow)
        an_hour_passes(slow)
        assert slow.cloud.messages() == []
        assert (position(slow), ended(slow)) == (stands, ended(slow))
        seen.append((stands, ended(slow)[:]))
        if len(ended(slow)) == 2:
            break
    paused = [stands for stands, names in seen if not names]
    assert len(paused) > 1
    assert atomic or paused == sorted(set(paused))
    assert ended(slow) == ["accounts-1.json", "accounts-2.json"]
    assert_books_balance(slow.cloud, sources, tidy=True)
    nothing_to_find(slow)


def test_a_late_notification_does_not_read_on(slow: Importer):
    """S3 delivers at least once, and hours late: what waits for its run waits for its run."""
    (notification,) = [slow.cloud.drop("imports/shop/accounts-1.json", rows("x", 60))]
    run(slow, 0)
    stands = position(slow)
    assert slow.deliver(notification)[0].phase == "IMPORTING"
    assert 0 < stands == position(slow)


def test_a_paused_import_can_be_cancelled_and_the_next_file_follows(slow: Importer):
    """What a person decides holds at once."""
    drop(slow, "accounts-1.json", body=rows("x", 60))
    drop(slow, "accounts-2.json", body=rows("y", 2))
    run(slow, 0)
    (item,) = slow.executions()
    assert slow.by_hand("cancel", item["id"]).error is None
    run(slow, 1)
    assert ended(slow) == ["accounts-1.json CANCELED", "accounts-2.json"]


def test_a_redriven_import_goes_on_at_once_and_the_series_waits_for_it(slow: Importer):
    """A person's redrive does not wait for the schedule; still, one file at a time."""
    drop(slow, "accounts-1.json", body=rows("x", 60))
    with mock.patch("importer.executions.importing.TRIES", 0):
        run(slow, 0)
    (refused,) = slow.executions()
    assert ended(slow) == ["accounts-1.json FAILED"]
    drop(slow, "accounts-2.json", body=rows("y", 2))
    slow.by_hand("redrive", refused["id"])
    run(slow, 1)  # helps with what is redriven, and begins nothing
    assert len(slow.executions()) == 1
    work_off(slow)
    run(slow, 2)
    assert ended(slow)[1:] == ["accounts-1.json", "accounts-2.json"]


@pytest.mark.parametrize("change", ["not recurring", "deleted"])
def test_what_a_changed_definition_leaves_behind_is_imported_all_the_same(slow: Importer, change: str):
    """Files that waited for a schedule that will not come are the sweep's, begun or not."""
    sources = drop(slow, "accounts-1.json", body=rows("x", 60)) | drop(slow, "accounts-2.json", body=rows("y", 2))
    run(slow, 0)
    if change == "deleted":
        with slow.cloud.unseen():
            slow.cloud.client("dynamodb").delete_item(
                TableName=slow.cloud.imports_table, Key={"pk": {"S": "IMPORT#shop"}, "sk": {"S": "IMPORT"}}
            )
    else:
        define(slow, replace(SHOP, base_file_name=""))
    slow.run_until_quiet()
    assert_books_balance(slow.cloud, sources, tidy=True)


# ---- Delivered twice, killed, beside each other ------------------------------------------------------------------


def test_a_run_delivered_twice_takes_no_second_file(importer: Importer):
    """I11: the scheduler delivers at least once; the slot says which run it is. A late one of an old slot is over."""
    drop(importer, *(f"accounts-{number}.json" for number in range(4)))
    for slot in (5, 5, 6, 5, 4):
        run(importer, slot)
    assert ended(importer) == ["accounts-0.json", "accounts-1.json"]
    run(importer)  # by hand: now, whatever the schedule has done
    run(importer, 6)
    assert ended(importer) == ["accounts-0.json", "accounts-1.json", "accounts-2.json"]


SETUPS: dict[str, dict[str, Any]] = {"in one go": {}, "paused": {"write_ms": 3_000}}


def three_files(importer: Importer) -> dict[str, bytes]:
    define(importer, replace(SHOP, files_per_run=2, run_seconds=10))
    drop(importer, "accounts-1.json", body=REFUSED)
    return drop(importer, "accounts-2.json", body=rows("x", 30)) | drop(importer, "accounts-3.json", body=rows("y", 4))


def to_the_end(importer: Importer, hour: int) -> None:
    """Run after run, each again after a minute if it raised, as Lambda does."""
    for slot in range(hour, hour + 40):
        for _ in range(3):
            if run(importer, slot).error is None:
                break
            importer.cloud.clock.advance(60_000)
        an_hour_passes(importer)
        work_off(importer)
        if len(importer.cloud.objects("imports/")) == 1 and all(i["phase"] == "CLOSED" for i in importer.executions()):
            return
    raise AssertionError(f"never came to an end: {ended(importer)}")


def in_order(importer: Importer) -> None:
    """None was begun before the one before it had ended."""
    items = by_time(importer)
    names = [item["parameters"]["file_uri"].rpartition("/")[2] for item in items]
    assert names == sorted(names)
    for before, after in pairwise(items):
        assert before["end_date"] <= after["creation_date"], f"{after['id']} was begun too early"


def clean_calls(setup: dict[str, Any]) -> int:
    def count() -> int:
        with installed(**setup) as importer:
            three_files(importer)
            return len(run(importer, 0).calls)

    return in_copy(count)


@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize("kind", ["kill_before", "kill_after", "reply_lost", "error_503"])
def test_a_run_may_be_killed_anywhere(setup: str, kind: str):
    """The runs after it bring every file to its end, once, in order; none is left behind, none is begun too early."""
    for at in sample(range(1, clean_calls(SETUPS[setup]) + 1), 1, whole=12):
        with installed(**SETUPS[setup], watched=True) as importer:
            sources = three_files(importer)
            run(importer, 0, Fault(kind, at))
            importer.cloud.clock.advance(60_000)
            to_the_end(importer, 0)
            refused = {"imports/shop/accounts-1.json": REFUSED}
            assert importer.cloud.objects("imports/") == refused, f"{kind} at call {at}"
            in_order(importer)
            succeeded = [item for item in by_time(importer) if item["status"] == "SUCCEEDED"]
            assert len(succeeded) == len(sources), f"{kind} at call {at}"
            nothing_to_find(importer)


@pytest.mark.sampled(each="slots")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("slots", [(0, 0), (0, 1), (None, 0)], ids=str)
def test_two_runs_at_the_same_time_do_no_harm(seed: int, slots: tuple[int | None, int | None]):
    """Whoever comes second helps or goes; nothing is read twice, nothing begun too early."""
    with installed(watched=True) as importer:
        sources = three_files(importer)
        runs = {f"run {n}": lambda slot=slot: void(run(importer, slot)) for n, slot in enumerate(slots)}
        history = interleaved(importer.cloud, runs, seed)
        assert not history.errors
        importer.cloud.clock.advance(120_000)
        to_the_end(importer, 2)
        in_order(importer)
        succeeded = [item for item in by_time(importer) if item["status"] == "SUCCEEDED"]
        assert len(succeeded) == len(sources)
        nothing_to_find(importer)


def void(_: object) -> None: ...


def test_a_promised_turn_is_kept(importer: Importer):
    """A run that was killed between its word and its deed has promised a file its turn; another run, which may be
    beside it, begins no other, not even one whose name is earlier.
    """
    drop(importer, "accounts-5.json")
    killed = run(importer, 0, Fault("kill_before", "PutItem imports EXEC"))
    assert (killed.killed, importer.executions()) == (True, [])
    drop(importer, "accounts-1.json")
    run(importer, 1)
    run(importer, 2)
    assert ended(importer) == ["accounts-5.json", "accounts-1.json"]


# ---- What may not be read ----------------------------------------------------------------------------------------


def test_a_file_that_may_not_be_read_is_told_and_passed_over(importer: Importer):
    """K28: each file has rights of its own. As soon as it may be read it is next."""
    drop(importer, "accounts-1.json", "accounts-2.json")
    denied = Fault("denied", "GetObject imports/shop/accounts-1.json", always=True)
    done = run(importer, 0, denied)
    assert ended(importer) == ["accounts-2.json"]
    assert (len(done.result.denied), type(done.result.why_denied)) == (1, Denied)
    assert "s3:GetObject" in importer.telemetry.troubles[0]
    run(importer, 1)
    assert ended(importer) == ["accounts-2.json", "accounts-1.json"]


# ---- Several, and broken ones ------------------------------------------------------------------------------------


def test_a_broken_definition_does_not_stop_the_others(importer: Importer):
    """It is told by its name; HIGH priority goes first."""
    define(importer, replace(SHOP, id="z", priority="HIGH"))
    define(importer, Definition(id="plain"))
    broken = {"definition": {"base_file_name": "a.json", "files_per_run": -1}}
    item = {"pk": "IMPORT#broken", "sk": "IMPORT", "listed": "IMPORT", "creation_date": 5, "changed_ms": 5} | broken
    importer.cloud.put_item(importer.cloud.imports_table, item)
    found = recurring.due(importer.workplaces(lambda: 900_000).records)
    assert found.import_ids == ("z", "shop")
    assert [str(problem) for problem in found.broken] == [
        "import definition 'broken': files_per_run -1: choose 1 to 1000"
    ]


def test_runs_need_nothing_their_role_does_not_have(importer: Importer):
    """Or they would fail on AWS, where the fake cloud lets them pass."""
    drop(importer, "accounts-1.json", "accounts-2.json")
    sent = importer.invoke("all", 60, lambda place: recurring.due(place.records))
    ran = run(importer, 0)
    assert ran.result.ended
    assert {one for call in sent.calls + ran.calls for one in needed(call)} <= granted("ScheduleRole")


@pytest.mark.parametrize(
    ("import_id", "says"), [("tables", "is not recurring"), ("nobody", "there is no import definition 'nobody'")]
)
def test_a_run_of_what_is_not_recurring_says_so(importer: Importer, import_id: str, says: str):
    """And how to make it so."""
    with pytest.raises(Misconfigured, match=says):
        recurring.run(importer.workplaces(lambda: 900_000), import_id)


# ---- What operators see ------------------------------------------------------------------------------------------


def test_files_that_wait_for_their_turn_ring_no_alarm_while_runs_come(importer: Importer):
    """A backlog may take days; a day without a run that gets through is told."""
    drop(importer, *(f"accounts-{number}.json" for number in range(9)))
    for hour in range(6):
        run(importer, hour)
        importer.cloud.clock.advance(10 * HOUR_MS)
        assert measured(importer) == (8 - hour, 0)
    importer.cloud.clock.advance(16 * HOUR_MS)
    assert measured(importer) == (3, 2 * 3600)


def measured(importer: Importer) -> tuple[int, int]:
    found = waiting.files_waiting(importer.workplaces(lambda: 300_000), importer.cloud.bucket)
    return found.files, round(found.oldest_seconds, -2)


# ---- The tests above, tested ---------------------------------------------------------------------------------------


def pausing(importer: Importer) -> None:
    test_what_a_run_has_no_time_for_is_the_next_ones(importer, False)


def late(importer: Importer) -> None:
    test_a_late_notification_does_not_read_on(importer)


def waits(importer: Importer) -> None:
    test_files_of_a_series_wait_for_the_schedule_and_are_read_one_a_run(importer)


def refusals(importer: Importer) -> None:
    test_a_refused_file_neither_blocks_the_others_nor_uses_up_the_run(importer)


def slots(importer: Importer) -> None:
    test_a_run_delivered_twice_takes_no_second_file(importer)


def promises(importer: Importer) -> None:
    test_a_promised_turn_is_kept(importer)


def denials(importer: Importer) -> None:
    test_a_file_that_may_not_be_read_is_told_and_passed_over(importer)


def parts(importer: Importer) -> None:
    drop(importer, "accounts-1.json", body=rows("x", 100))
    run(importer, 0)
    assert ended(importer) == ["accounts-1.json"]


SUCCEEDED = "execution.status is Status.SUCCEEDED"
PLANTED: dict[str, tuple[Any, str, str, Callable[[Importer], None]]] = {
    "a notification begins it": (starting.start, "serial and not in_a_run", "False", waits),
    "a late notification reads on": (importing.import_dropped, "not in_a_run and waits", "False and waits", late),
    "the sweep reads on": (sweeping._sent_on, "if waits_for_a_run(place, execution)", "if False", pausing),
    "the workers read on": (
        recurring._ForTheNextRun.send,
        "execution.phase is not Phase.IMPORTING",
        "True",
        pausing,
    ),
    "no time is kept": (holding.Held.time_is_short.fget, "not self._place.may_read_on()", "False", pausing),
    "large files are cut": (starting.execution_of, "NDJSON and not serial", "NDJSON", parts),
    "refused files count": (recurring.run, "or execution.status is Status.FAILED", "", refusals),
    "refused files block": (recurring._has_ended, "execution.phase is Phase.CLOSED", SUCCEEDED, refusals),
    "no slot is kept": (recurring.run, "if slot_ms == turn.slot_ms else []", "if False else []", slots),
    "late slots run": (recurring.run, "slot_ms < turn.slot_ms", "False", slots),
    "its word is not kept": (recurring._next, "if promised is not None", "if False", promises),
    "denied files block": (recurring.run, "if isinstance(mine, Execution) or", "if True or", denials),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_noticed(bug: str):
    """Each decision of docs/decisions/0034 has a test that fails without it."""
    function, honest, planted, scenario = PLANTED[bug]
    slow = scenario in (pausing, late)
    with installed(**({"write_ms": 3_000} if slow else {}), part_bytes=2048) as importer:
        define(importer, replace(SHOP, run_seconds=10 if slow else 300))
        with changed(function, (honest, planted)), pytest.raises((AssertionError, Denied, IndexError)):
            scenario(importer)
