"""Every kind of thing that goes wrong, and how one scenario of it is played: the rows of the fault table.

A scenario is `kind / workload / which`; `which` is the number of an AWS call of a clean run, or a seed. It is played on
a `Stage`: the file is dropped, nobody has done anything yet. Whatever went wrong, everything comes to an end, the books
balance, and whatever comes late after that changes nothing.
"""

import base64
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from importer import executions
from importer.executions import importing
from tests.faults.files import small_file
from tests.faults.importing import Importer, nothing_late_matters, nothing_to_find
from tests.faults.workloads import WORKLOADS, Stage
from tests.support import oracle
from tests.support.books import assert_books_balance, check_every_end
from tests.support.cloud import Cloud
from tests.support.faults import READ_TIMEOUT_SECONDS, Fault, Nth, fits
from tests.support.scenarios import CleanCall
from tests.support.wire import Call

EVERY_WORKLOAD: Final = tuple(WORKLOADS)
VERSIONED: Final = tuple(name for name, workload in WORKLOADS.items() if workload.versioned)
SEEDS: Final = 10**6


@dataclass(frozen=True)
class Kind:
    """A row of the table.

    Attributes:
        says: what goes wrong, for people.
        at: the calls it may happen at; None for one that is drawn by seed.
        play: lets it happen, and checks.
        workloads: those it makes sense with.
        seeds: of each workload, if drawn by seed.
    """

    name: str
    says: str
    play: Callable[[Stage, int], None]
    at: Callable[[CleanCall], bool] | None = None
    workloads: tuple[str, ...] = EVERY_WORKLOAD
    seeds: int = 0

    def which(self, stage: Stage, seed: int) -> list[int]:
        """The calls it can happen at; or as many seeds, drawn from this one."""
        if self.at is not None:
            return [call.serial for call in stage.calls if self.at(call)]
        choose = random.Random(f"{seed} {self.name} {stage.name}")
        return [choose.randrange(SEEDS) for _ in range(self.seeds)]


@dataclass(frozen=True)
class Scenario:
    kind: str
    workload: str
    which: int

    def __str__(self) -> str:
        drawn = "seed" if KINDS[self.kind].at is None else "call"
        return f"{self.kind} / {self.workload} / {drawn} {self.which}"


def play(stage: Stage, scenario: Scenario) -> None:
    KINDS[scenario.kind].play(stage, scenario.which)


# --- one thing at one call ------------------------------------------------------------------------------------------


def _balanced(stage: Stage) -> None:
    importer = stage.importer
    assert_books_balance(importer.cloud, stage.sources)
    nothing_late_matters(importer)
    assert_books_balance(importer.cloud, stage.sources)
    plain = [key for key in importer.cloud.objects("completed_imports/") if key[29:] == stage.workload.key[8:]]
    assert plain, "its day's name is nobody else's, and it has another"
    closings = importer.telemetry.closings
    assert len(closings) == len(set(closings)), f"operators were told twice: {closings}"


def _fault(name: str, says: str, kind: str, mended: bool = False, **more: Any) -> Kind:
    """A fault at each call that it fits.

    Args:
        mended: whoever meets it gets over it, so that nobody needs the sweep, and operators learn of the end.
    """

    def play(stage: Stage, serial: int) -> None:
        importer = stage.importer
        stage.tell()
        importer.run_until_quiet(Fault(kind, Nth(serial), **more))
        if mended and not (kind == "body_stalled" and importer.hop_seconds < 2 * READ_TIMEOUT_SECONDS):
            helped_by = [] if stage.workload.told else ["sweep waiting"]
            assert importer.helped_by() == helped_by, f"it needed help by {importer.helped_by()}"
            assert importer.telemetry.closings == [(stage.workload.key, "SUCCEEDED")]
        _balanced(stage)

    return Kind(name, says, play, lambda call: fits(kind, call))  # type: ignore[arg-type]


def _meanwhile(stage: Stage, serial: int, do: Callable[[Cloud], object], *faults: Fault, when: str = "before") -> None:
    """A run at one call of which somebody does something."""
    stage.tell()
    stage.importer.run_until_quiet(Fault(when, Nth(serial), detail={"do": do}), *faults)


def _overwritten(stage: Stage, serial: int) -> None:
    importer, workload = stage.importer, stage.workload
    _meanwhile(stage, serial, lambda cloud: importer.notify(cloud.drop(workload.key, workload.newer)))
    ends = check_every_end(importer.cloud)
    assert ends == {"SUCCEEDED": 2}
    nothing_late_matters(importer)
    assert check_every_end(importer.cloud) == ends


def _overtaken(stage: Stage, serial: int) -> None:
    importer, workload = stage.importer, stage.workload
    _meanwhile(stage, serial, lambda cloud: importer.notified(cloud.drop(workload.key, workload.newer)))
    assert check_every_end(importer.cloud) == {"SUCCEEDED": 2}


def _overwritten_without_versions(stage: Stage, serial: int) -> None:
    """The older bytes may be gone before they were read; the newer ones never are."""
    importer, workload = stage.importer, stage.workload
    _meanwhile(stage, serial, lambda cloud: importer.notify(cloud.drop(workload.key, workload.newer)))
    ends = check_every_end(importer.cloud, {stage.upload.etag})
    assert workload.newer in importer.cloud.objects("completed_imports/").values()
    assert sum(ends.values()) == 2
    assert ends["SUCCEEDED"] >= 1


def _uploaded_again(stage: Stage, serial: int) -> None:
    """The same bytes: another object version, the same events."""
    importer, workload = stage.importer, stage.workload
    _meanwhile(
        stage, serial, lambda cloud: importer.notify(cloud.drop(workload.key, workload.body, Metadata={"n": "2"}))
    )
    assert check_every_end(importer.cloud) == {"SUCCEEDED": 2}


def _hidden(stage: Stage, serial: int) -> None:
    """A delete marker: the version stays, and whoever has begun with it goes on."""
    cloud = stage.importer.cloud
    _meanwhile(stage, serial, lambda _: cloud.remove(stage.workload.key))
    ends = check_every_end(cloud, {stage.upload.version_id} if not stage.importer.executions() else ())
    assert ends in ({"SUCCEEDED": 1}, {"nothing": 1})
    nothing_late_matters(stage.importer)


def _taken_away(stage: Stage, serial: int) -> None:
    """Deleted for good: what was read before is told, and nothing is claimed of the rest."""
    importer, upload = stage.importer, stage.upload
    _meanwhile(stage, serial, lambda _: _delete(stage))
    gone = {upload.version_id or upload.etag}
    ends = check_every_end(importer.cloud, gone)
    assert ends in ({"SUCCEEDED": 1}, {"FAILED": 1}, {"nothing": 1}), ends
    _ended_with(importer, "FAILED", {"object_gone"})


def _delete(stage: Stage) -> None:
    cloud, upload = stage.importer.cloud, stage.upload
    version = {"VersionId": upload.version_id} if upload.version_id else {}
    with cloud.unseen():
        cloud.client("s3").delete_object(Bucket=cloud.bucket, Key=upload.key, **version)


def _ended_with(importer: Importer, status: str, codes: set[str]) -> None:
    for item in importer.executions():
        if item["status"] == status:
            assert item["error"]["code"] in codes, item["error"]


def _swept(stage: Stage, serial: int) -> None:
    def sweep(_: Cloud) -> None:
        for which in ("unfinished", "waiting"):
            ended = stage.importer.sweep(which)
            assert not ended.error, ended.error

    _meanwhile(stage, serial, sweep)
    _balanced(stage)


def _swept_after_long(stage: Stage, serial: int) -> None:
    """The worker hangs for two hours, its leases run out and others do its work; then it goes on."""

    def hang(cloud: Cloud) -> None:
        for _ in range(8):
            cloud.clock.advance(15 * 60_000)
            stage.importer.sweep("unfinished")
            stage.importer.sweep("waiting")
        for message in dict.fromkeys(cloud.messages()):
            stage.importer.work_on(message)

    stage.importer.import_seconds = stage.importer.hop_seconds = 3 * 3600
    _meanwhile(stage, serial, hang)
    _balanced(stage)


def _told_again(stage: Stage, serial: int) -> None:
    """A second delivery of the notification, to its end, while the first waits at this call."""
    _meanwhile(stage, serial, lambda _: stage.importer.notified(stage.notification))
    _balanced(stage)


def _messages_again(stage: Stage, serial: int) -> None:
    """Every message there was is delivered to another worker, to its end, while the first waits at this call."""
    importer = stage.importer

    def deliver(_: Cloud) -> None:
        assert importer.watcher is not None
        for message in dict.fromkeys(importer.watcher.seen_messages):
            importer.work_on(message)

    _meanwhile(stage, serial, deliver)
    _balanced(stage)


def _messages_lost(stage: Stage, serial: int) -> None:
    """The queue forgets every message it has."""
    _meanwhile(stage, serial, lambda cloud: cloud._messages().clear(), when="after")
    _balanced(stage)


def _cancelled(stage: Stage, serial: int) -> None:
    importer = stage.importer

    def cancel(_: Cloud) -> None:
        for item in importer.executions():
            ended = importer.by_hand("cancel", item["id"])
            assert not ended.error, ended.error
            assert ended.result.status.value != "CANCELED" or ended.result.phase.value == "CLOSED", "left to others"

    _meanwhile(stage, serial, cancel)
    ends = check_every_end(importer.cloud)
    assert ends in ({"SUCCEEDED": 1}, {"CANCELED": 1}), ends
    nothing_late_matters(importer)
    assert check_every_end(importer.cloud) == ends


def _cancelled_by_one_who_dies(stage: Stage, serial: int, and_then: Callable[[Stage], None] | None = None) -> None:
    """The command is killed after its first write; the import goes on until it meets that."""
    importer = stage.importer

    def cancel(_: Cloud) -> None:
        for item in importer.executions():
            importer.invoke(
                "cancel",
                900,
                lambda place, item=item: executions.cancel(place, item["id"]),
                Fault("kill_after", "UpdateItem"),
            )

        if and_then is not None:
            and_then(stage)

    _meanwhile(stage, serial, cancel)
    gone = {stage.upload.version_id or stage.upload.etag} if and_then else set()
    ends = check_every_end(importer.cloud, gone)
    # Canceled too late, when all rows had been read, and taken away before it was moved: FAILED.
    as_can_be = ("SUCCEEDED", "CANCELED", "FAILED", "nothing") if gone else ("SUCCEEDED", "CANCELED")
    assert list(ends) in [[end] for end in as_can_be], ends
    nothing_late_matters(importer)
    assert check_every_end(importer.cloud, gone) == ends


def _cancelled_and_taken_away(stage: Stage, serial: int) -> None:
    """Canceled by a command that is killed, and before anybody can write the receipt, the version is deleted."""
    _cancelled_by_one_who_dies(stage, serial, _delete)


def _put_into(stage: Stage, storage_class: str) -> None:
    """A lifecycle rule archives the file, or a person restores it, wherever it is by then."""
    found = stage.importer.cloud._object(stage.upload.key, stage.upload.version_id)
    if found is not None:
        found._storage_class = storage_class


def _each(importer: Importer, command: str) -> None:
    """What a person does to every execution."""
    for item in importer.executions():
        importer.by_hand(command, item["id"])


def _archived_and_redriven(stage: Stage, serial: int) -> None:
    """A lifecycle rule archives the file: FAILED. A person restores it and redrives: all of it, once."""
    importer, cloud = stage.importer, stage.importer.cloud
    _meanwhile(stage, serial, lambda _: _put_into(stage, "GLACIER"))
    ends = check_every_end(cloud)
    assert ends in ({"SUCCEEDED": 1}, {"FAILED": 1}), ends
    _ended_with(importer, "FAILED", {"object_archived"})
    _put_into(stage, "STANDARD")
    for item in importer.executions():
        ended = importer.by_hand("redrive", item["id"])
        assert not ended.error, ended.error
    importer.run_until_quiet()
    assert importer.helped_by() == [], f"it needed help by {importer.helped_by()}"
    _balanced(stage)


def _deployed_anew(stage: Stage, serial: int) -> None:
    """Killed, and whoever goes on is of newer rules: what older rules made of it does not count."""

    def deploy(_: Cloud) -> None:
        importing.RULES_VERSION += 1  # this process is a copy

    _meanwhile(stage, serial, deploy, Fault("kill_before", Nth(serial)))
    _balanced(stage)


# --- two workers, one of them slow ----------------------------------------------------------------------------------


def _dies_writing() -> Fault:
    """Whoever it strikes gets a batch far."""
    return Fault("kill_after", lambda call: call.operation in ("BatchWriteItem", "PutRecordBatch"))


def _others_work(stage: Stage, *faults: Fault) -> None:
    """The notification and every message there is, each to another worker."""
    importer = stage.importer
    if stage.workload.told:
        importer.notified(stage.notification, *faults)
    assert importer.watcher is not None
    for message in dict.fromkeys(importer.watcher.seen_messages):
        importer.work_on(message, *faults)


def _deployed_in_peace(stage: Stage, serial: int) -> None:
    """Nobody is killed: whoever comes next is of newer rules, and nothing is left to the sweep."""

    def deploy(_: Cloud) -> None:
        importing.RULES_VERSION += 1  # this process is a copy

    _meanwhile(stage, serial, deploy)
    helped_by = [] if stage.workload.told else ["sweep waiting"]
    assert stage.importer.helped_by() == helped_by, f"it needed help by {stage.importer.helped_by()}"
    _balanced(stage)


def _deployed_beside(stage: Stage, serial: int) -> None:
    """Newer functions begin it again, and die on the way, while the older worker goes on, its lease perhaps run out."""

    def deploy(cloud: Cloud) -> None:
        importing.RULES_VERSION += 1  # this process is a copy
        cloud.clock.advance(60_000 * (serial % 2))
        _others_work(stage, _dies_writing())

    _meanwhile(stage, serial, deploy)
    _balanced(stage)


def _redriven_beside(stage: Stage, serial: int) -> None:
    """The worker hangs; the file is archived, and others end it FAILED; restored and redriven, the next attempt is on
    its way when the first worker goes on.
    """
    importer = stage.importer

    def redrive(cloud: Cloud) -> None:
        cloud.clock.advance(3_600_000)
        _put_into(stage, "GLACIER")
        _others_work(stage)
        _put_into(stage, "STANDARD")
        _each(importer, "redrive")
        _others_work(stage, _dies_writing())

    importer.import_seconds = importer.hop_seconds = 3 * 3600
    _meanwhile(stage, serial, redrive)
    _each(importer, "redrive")  # archived behind its last row: the others were in time, or were not
    importer.run_until_quiet()
    _balanced(stage)


def _cancelled_by_two(stage: Stage, serial: int) -> None:
    """A person cancels; before the command closes it, another closer writes its papers, too, and is killed."""
    importer = stage.importer

    def closes(call: Call) -> bool:
        return call.operation == "UpdateItem" and call.label.endswith("EXEC") and b"closer" in call.body

    def another(cloud: Cloud) -> None:
        cloud.clock.advance(60_000)
        _others_work(stage, Fault("kill_before", closes))

    def cancel(_: Cloud) -> None:
        for item in importer.executions():
            importer.invoke(
                "cancel",
                900,
                lambda place, item=item: executions.cancel(place, item["id"]),
                Fault("before", closes, detail={"do": another}),
            )

    _meanwhile(stage, serial, cancel)
    assert check_every_end(importer.cloud) in ({"SUCCEEDED": 1}, {"CANCELED": 1})
    nothing_late_matters(importer)


def _redriven_when_old(stage: Stage, serial: int) -> None:
    """Archived: FAILED. A fortnight later, when work/ was emptied by its rule, it is restored and redriven."""
    importer, cloud = stage.importer, stage.importer.cloud
    _meanwhile(stage, serial, lambda _: _put_into(stage, "GLACIER"))
    cloud.clock.sleep(14 * 86_400)
    with cloud.unseen():
        for key in cloud.objects("work/"):
            cloud.client("s3").delete_object(Bucket=cloud.bucket, Key=key)
    _put_into(stage, "STANDARD")
    _each(importer, "redrive")
    importer.run_until_quiet()
    _balanced(stage)


def _redriven_and_cancelled(stage: Stage, serial: int) -> None:
    """Archived: FAILED. Restored, redriven, and canceled when the next attempt has written a batch."""
    importer, cloud = stage.importer, stage.importer.cloud

    def cancel(_: Cloud) -> None:
        _each(importer, "cancel")

    _meanwhile(stage, serial, lambda _: _put_into(stage, "GLACIER"))
    _put_into(stage, "STANDARD")
    _each(importer, "redrive")
    writes = Fault("after", "PutObject work/", detail={"do": cancel})
    importer.run_until_quiet(writes)
    assert check_every_end(cloud) in ({"SUCCEEDED": 1}, {"CANCELED": 1})
    nothing_late_matters(importer)


def _killed_and_its_task_lost(stage: Stage, serial: int) -> None:
    """Only the sweep is left, and the first tasks it sends are lost."""
    lost: list[int] = []

    def sends(call: Call) -> bool:
        return call.service == "sqs" and call.delivery.name == "sweep unfinished"

    def lose(cloud: Cloud) -> None:
        lost.append(len(cloud._messages()))
        cloud._messages().clear()

    importer = stage.importer
    if stage.workload.told:
        importer.notify(stage.notification, tries=1)
    killed = Fault("kill_after", Nth(serial))
    forgotten = Fault("after", Nth(serial), detail={"do": lambda cloud: cloud._messages().clear()})
    importer.run_until_quiet(killed, forgotten, Fault("after", sends, detail={"do": lose}))
    _balanced(stage)


def _uploaded_once_more(stage: Stage, serial: int) -> None:
    """A day after all is done the same bytes are uploaded again, and S3 tells nobody. What comes late of the first is
    not about the second; the sweep finds it.
    """
    importer, upload = stage.importer, stage.upload
    stage.tell()
    importer.run_until_quiet(Fault("kill_after", Nth(serial)))
    importer.cloud.clock.sleep(86_400)
    importer.cloud.drop(upload.key, upload.body, Metadata={"sender": "nightly"}, Tagging="team=web")
    assert importer.watcher is not None
    for message in dict.fromkeys(importer.watcher.seen_messages):
        importer.work_on(message)
    assert upload.key in importer.cloud.objects(), "a late message took the second upload away"
    importer.run_until_quiet()
    assert [item["status"] for item in importer.executions()] == ["SUCCEEDED", "SUCCEEDED"]
    assert upload.key not in importer.cloud.objects(), "the second upload is still there"
    nothing_to_find(importer)


# --- drawn by seed ----------------------------------------------------------------------------------------------------

_ONCE: Final = (
    "kill_before",
    "kill_after",
    "connection_lost",
    "reply_lost",
    "reply_late",
    "error_500",
    "throttled",
    "denied",
    "unprocessed",
    "body_cut",
    "slow",
    "deadline_now",
    "timed_out",
    "clock_ahead",
    "clock_behind",
)


def _drawn_faults(stage: Stage, choose: random.Random, count: int) -> list[Fault]:
    faults: list[Fault] = []
    while len(faults) < count:
        # A run with faults is longer than the clean one: later calls may be met too.
        serial = round(choose.randrange(1, len(stage.calls) + 1) * choose.choice((1, 1, 1.5, 2)))
        kind = choose.choice(_ONCE)
        lasts = choose.choice((0, 0, 0, 600)) if kind in ("error_500", "throttled", "denied") else 0
        # A call it does not fit is let by: it strikes at the next one.
        faults.append(Fault(kind, _from(stage.calls[0].serial - 1 + serial), lasts_s=lasts))
    return faults


def _from(serial: int) -> Callable[[Call], bool]:
    def at(call: Call) -> bool:
        return call.serial >= serial

    at.__name__ = f"call {serial} or later"
    return at


def _drawn(workers: Iterable[int], faults: Iterable[int], deliveries: Iterable[int], unruly: Iterable[float]) -> Any:
    """A run of so many workers, faults, deliveries of the notification and messages delivered again, by seed."""
    choices = [tuple(each) for each in (workers, faults, deliveries, unruly)]

    def play(stage: Stage, seed: int) -> None:
        choose = random.Random(seed)
        workers, faults, deliveries, unruly = (choose.choice(each) for each in choices)
        stage.importer.unruly = unruly
        for _ in range(deliveries):
            stage.importer.notify(stage.notification, choose.choice((0, 0, 0.01, 0.1, 1, 30, 100, 1000)))
        drawn = _drawn_faults(stage, choose, faults)
        stage.importer.run_until_quiet(*drawn, seed=seed, workers=workers)
        stage.importer.unruly = 0
        _balanced(stage)

    return play


def _never_told(stage: Stage, seed: int) -> None:
    """No notification ever comes; the sweep finds the file, and something goes wrong then."""
    choose = random.Random(seed)
    stage.importer.run_until_quiet(*_drawn_faults(stage, choose, choose.choice((0, 1, 2))), seed=seed)
    _balanced(stage)


def _beside_a_poison(stage: Stage, seed: int) -> None:
    """Whoever writes one row is killed, or meets a bug: FAILED, gave_up, and all others are imported. Mended, redriven:
    all of it, once.
    """
    importer, cloud = stage.importer, stage.importer.cloud
    choose = random.Random(seed)
    events = oracle.read(stage.workload.key, stage.workload.body).events.values()
    event_id = choose.choice([event.event_id for event in events]).encode()
    others = dict(small_file(number) for number in range(choose.choice((1, 3))))
    for key, body in others.items():
        importer.notify(cloud.drop(key, body), choose.choice((0, 0, 60, 3600)))
    stage.tell()
    poison = Fault(choose.choice(("kill_before", "kill_after", "bug")), _writes(event_id), always=True)
    importer.run_until_quiet(poison, seed=seed)
    died = [ended for ended in importer.ended if ended.killed or isinstance(ended.error, RuntimeError)]
    assert len(died) >= importing.TRIES, f"given up after {len(died)} workers"
    ends = check_every_end(cloud)
    assert ends == {"FAILED": 1, "SUCCEEDED": len(others)}, ends
    _ended_with(importer, "FAILED", {"gave_up"})
    (failed,) = (item["id"] for item in importer.executions() if item["status"] == "FAILED")
    importer.by_hand("redrive", failed)
    importer.run_until_quiet()
    assert check_every_end(cloud) == {"SUCCEEDED": 1 + len(others)}


def _writes(event_id: bytes) -> Callable[[Call], bool]:
    def at(call: Call) -> bool:
        if call.operation == "PutRecordBatch":
            return any(event_id in base64.b64decode(record["Data"]) for record in call.document["Records"])
        return call.operation == "BatchWriteItem" and event_id in call.body

    return at


_KINDS: Final = (
    _fault("killed before", "the worker is killed before a call leaves", "kill_before"),
    _fault("killed after", "the call is done, and the worker killed before it learns so", "kill_after"),
    _fault("timed out", "the call takes all the time that is left: done, and the worker killed", "timed_out"),
    _fault("time is up", "the invocation learns at a call that its time is up", "deadline_now", mended=True),
    _fault("connection lost", "the request never arrives", "connection_lost", mended=True),
    _fault("reply lost", "the call is done, the reply is lost, the SDK asks again", "reply_lost", mended=True),
    _fault("reply late", "the call is done, the reply comes after the read time-out", "reply_late"),
    _fault("away", "no connection to the service for ten minutes", "connection_lost", lasts_s=600),
    _fault("error 500", "AWS fails inside, once", "error_500", mended=True),
    _fault("error 500 lasting", "AWS fails inside for ten minutes", "error_500", lasts_s=600),
    _fault("error 503", "AWS is away, once", "error_503", mended=True),
    _fault("throttled", "too fast, says the service, once", "throttled", mended=True),
    _fault("throttled lasting", "too fast, says the service, for ten minutes", "throttled", lasts_s=600),
    _fault("denied", "a permission is missing, once", "denied"),
    _fault("denied lasting", "a permission is missing for two hours", "denied", lasts_s=7_200),
    _fault(
        "partly done",
        "half of a batch is refused in a success, in tables, stream and queue",
        "unprocessed",
        mended=True,
    ),
    _fault("body cut", "a body ends early, politely", "body_cut", mended=True),
    _fault("body reset", "a body's connection is reset", "body_reset", mended=True),
    _fault("body stalled", "a body stops coming", "body_stalled", mended=True),
    _fault("range ignored", "a ranged read is answered with the whole object", "range_ignored", mended=True),
    _fault("slow", "a call takes a minute longer: leases run out", "slow"),
    _fault("clock ahead", "the worker's clock jumps three hours ahead", "clock_ahead"),
    _fault("clock behind", "the worker's clock jumps ten minutes back", "clock_behind"),
    Kind("overwritten", "a newer upload under the same name", _overwritten, lambda _: True, VERSIONED),
    Kind(
        "overwritten, unversioned",
        "the same without versioning: the newer upload is never lost",
        _overwritten_without_versions,
        lambda _: True,
        tuple(name for name in EVERY_WORKLOAD if name not in VERSIONED),
    ),
    Kind("uploaded again", "the same bytes are uploaded again", _uploaded_again, lambda _: True, VERSIONED),
    Kind("hidden", "the file is deleted: a delete marker over it", _hidden, lambda _: True, VERSIONED),
    Kind("taken away", "the version is deleted for good", _taken_away, lambda _: True),
    Kind("swept", "both sweeps run", _swept, lambda _: True),
    Kind(
        "swept after long",
        "the worker hangs for two hours, the sweeps run eight times",
        _swept_after_long,
        lambda _: True,
    ),
    Kind("told again", "a second delivery runs to its end meanwhile", _told_again, lambda _: True),
    Kind("messages again", "all messages are delivered to another worker meanwhile", _messages_again, lambda _: True),
    Kind(
        "messages lost",
        "the queue forgets all its messages",
        _messages_lost,
        lambda call: call.service == "sqs",
    ),
    Kind("canceled", "a person cancels", _cancelled, lambda _: True),
    Kind(
        "canceled, half",
        "a person cancels, and the command is killed",
        _cancelled_by_one_who_dies,
        lambda _: True,
    ),
    Kind(
        "canceled, taken away",
        "a person cancels, the command is killed, and the version deleted for good",
        _cancelled_and_taken_away,
        lambda _: True,
    ),
    Kind(
        "overtaken",
        "a newer upload under the same name is imported to its end meanwhile",
        _overtaken,
        lambda _: True,
        VERSIONED,
    ),
    Kind(
        "redriven",
        "the file is archived; restored later, and redriven",
        _archived_and_redriven,
        lambda _: True,
    ),
    Kind("new rules", "killed, and a newer version of the functions deployed", _deployed_anew, lambda _: True),
    Kind("new rules in peace", "a newer version is deployed, and nobody killed", _deployed_in_peace, lambda _: True),
    Kind(
        "new rules beside",
        "a newer version of the functions begins again, while an older worker goes on",
        _deployed_beside,
        lambda _: True,
    ),
    Kind(
        "redriven beside",
        "the worker hangs; meanwhile it fails, is redriven, and the next attempt is on its way",
        _redriven_beside,
        lambda _: True,
    ),
    Kind("redriven when old", "the same a fortnight later, work/ emptied", _redriven_when_old, lambda _: True),
    Kind("redriven and canceled", "the next attempt is canceled", _redriven_and_cancelled, lambda _: True),
    Kind("canceled by two", "a person cancels, and another closes it, too", _cancelled_by_two, lambda _: True),
    Kind(
        "killed, its task lost",
        "killed, and the sweep's first task is lost",
        _killed_and_its_task_lost,
        lambda _: True,
    ),
    Kind("uploaded once more", "killed, done; the same bytes again a day later", _uploaded_once_more, lambda _: True),
    Kind(
        "two faults",
        "two to four of the faults above, one after another (seeded)",
        _drawn((1,), (2, 2, 3, 4), (1,), (0,)),
        seeds=40,
    ),
    Kind(
        "queue unruly",
        "messages doubled, late, out of order; the notification up to three times (seeded)",
        _drawn((1,), (0,), (1, 2, 3), (0.3, 0.6)),
        seeds=15,
    ),
    Kind(
        "at once",
        "two to four workers, interleaved at every call; messages doubled (seeded)",
        _drawn((2, 3, 4), (0,), (1, 2, 3), (0, 0.3)),
        seeds=40,
    ),
    Kind(
        "at once, with faults",
        "the same with one to four faults among them (seeded)",
        _drawn((2, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3), (0, 0.3)),
        seeds=60,
    ),
    Kind(
        "never told",
        "no notification comes, and up to two faults when the sweep finds the file (seeded)",
        _never_told,
        seeds=15,
    ),
    Kind(
        "poison",
        "one row kills whoever writes it: FAILED `gave_up`; other files are imported meanwhile (seeded)",
        _beside_a_poison,
        workloads=("tiny", "medium", "CSV", "gzip, two members", "four parts", "three continuations", "stream"),
        seeds=8,
    ),
)
KINDS: Final = {kind.name: kind for kind in _KINDS}


def scenarios_of(stage: Stage, kinds: Iterable[str], seed: int) -> list[Scenario]:
    """Every scenario of these kinds on this stage."""
    return [
        Scenario(name, stage.name, which)
        for name in kinds
        if stage.name in KINDS[name].workloads
        for which in KINDS[name].which(stage, seed)
    ]
