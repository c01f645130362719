"""Each permission the template grants is taken away in turn: a clear message, nothing lost, and after the fix the rest.

Which calls need which permission is modelled in tests/support/policy.py. Both directions are held: no workload needs
what is not granted, and nothing is granted that no workload needs. So a new grant needs a workload here, and a grant
nobody needs has to go. The workers' role may do what the import function's may (tests/house/test_template.py): what
either of them does is tried here under the name of the import function's role.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import pytest

from importer.aws import clients
from importer.aws.dispatch import task_of
from importer.aws.series import SeriesTable
from importer.doors.expecting import look_for_expected
from importer.executions import archive_of, replay, replay_of, sweep_unfinished, sweep_waiting, work_on
from importer.executions.pinned import definition_of
from importer.executions.ports import Workplace
from importer.model import Unavailable
from tests.faults.files import many_rows, row
from tests.faults.importing import VENDOR_ROWS, WORKLOADS, Importer, installed
from tests.support.books import assert_books_balance, assert_nothing_lost
from tests.support.clock import LambdaContext
from tests.support.cloud import Cloud
from tests.support.faults import Fault, attempt, plan
from tests.support.policy import OTHER_QUEUES, Permission, granted, needed
from tests.support.scenarios import in_copy

pytestmark = pytest.mark.xdist_group("denied")  # what a workload needs is found out once

# What is only a nicety: the work goes on without it. Why, and who does it then.
NICETIES: dict[Permission, str] = {
    (
        "s3:AbortMultipartUpload",
        "completed_imports/",
    ): "pieces left behind are removed by the bucket's rule for unfinished uploads",
}
MISSING_IS_FORBIDDEN = Fault("missing_is_forbidden", lambda call: True, always=True)
LINKS = "USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS"
BOTH = ("dynamodb", "firehose")
TAGGED = {"Tagging": "team=web", "Metadata": {"sender": "nightly"}}
REFUSED = b'{\n  "user_id": "u"\n}\n'


@dataclass
class Prepared:
    """A cloud in which one delivery is due.

    Attributes:
        broken: what goes wrong in that delivery beside the permission, so that it needs all it may need.
        whole: whether the books of `sources` balance after it.
        swept: the sweep is what is tried: the books balance when its tasks have been worked on.
    """

    importer: Importer
    deliver: Callable[[], Any]
    sources: dict[str, bytes]
    broken: tuple[Fault, ...] = ()
    whole: bool = True
    swept: bool = False

    def check(self) -> None:
        """After a delivery that returned."""
        if self.swept:
            self.importer.run_until_quiet()
        if self.whole:
            assert_books_balance(self.importer.cloud, self.sources)


def _import_of(importer: Importer, key: str, body: bytes, **more: Any) -> tuple[dict[str, Any], Prepared]:
    notification = importer.cloud.drop(key, body, **more)

    def deliver() -> None:
        """The notification, then each task there is: messages stay, and what is done twice changes nothing."""
        importer.deliver(notification)
        for message in dict.fromkeys(importer.cloud.messages()):
            work_on(_workplace(importer, importer.hop_seconds), task_of(message))

    return notification, Prepared(importer, deliver, {key: body})


def _workplace(importer: Importer, seconds: float) -> Workplace:
    place: Workplace = importer.workplaces(LambdaContext(importer.cloud.clock, seconds).get_remaining_time_in_millis)
    return place


def tagged_file(importer: Importer) -> Prepared:
    """Good rows, bad rows, user properties, tags."""
    key, body = WORKLOADS["medium"]
    return _import_of(importer, key, body, **TAGGED)[1]


def file_in_parts(importer: Importer) -> Prepared:
    """Its parts become tasks."""
    return _import_of(importer, "imports/parts.json", many_rows(40), **TAGGED)[1]


def file_deleted_before_a_crash(importer: Importer) -> Prepared:
    """The source is gone, its execution not closed: the next delivery finds it by the index of the unfinished."""
    key, body = WORKLOADS["medium"]
    return _crashed(_import_of(importer, key, body)[1], Fault("kill_after", "DeleteObject imports/"))


def _crashed(prepared: Prepared, fault: Fault, meanwhile: Callable[[Cloud], None] = lambda _cloud: None) -> Prepared:
    """A delivery has died of this; the next one is due when its lease is over."""
    died = attempt(prepared.importer.cloud, prepared.deliver, fault)
    assert died.killed
    prepared.importer.cloud.clock.sleep(60)
    meanwhile(prepared.importer.cloud)
    return prepared


def mended_over_refused(importer: Importer) -> Prepared:
    """What the mended file uncovers when it is moved is hidden."""
    key = "imports/mended.json"
    importer.deliver(importer.cloud.drop(key, REFUSED))
    importer.cloud.clock.sleep(2)
    _, prepared = _import_of(importer, key, VENDOR_ROWS)
    prepared.whole = False  # two executions of one key, one of them FAILED
    return prepared


def refused_file(importer: Importer) -> Prepared:
    """Its papers are written over nothing that somebody else has written since: what is there is looked at first."""
    _, prepared = _import_of(importer, "imports/refused.json", REFUSED)
    prepared.sources, prepared.whole = {}, False  # it stays
    return prepared


def many_bad_rows(importer: Importer) -> Prepared:
    """errors/ is made in pieces."""
    return _import_of(importer, *WORKLOADS["all bad"])[1]


def many_bad_rows_that_another_worker_joined(importer: Importer) -> Prepared:
    """It died before it said so: is the object there, and whole?"""
    return _crashed(many_bad_rows(importer), Fault("kill_after", "CompleteMultipartUpload errors/"))


def many_bad_rows_whose_pieces_were_taken_away(importer: Importer) -> Prepared:
    """By the bucket's rule for unfinished uploads: the object is not there, which only a listing tells."""

    def taken_away(cloud: Cloud) -> None:
        with cloud.unseen():
            for upload in cloud.client("s3").list_multipart_uploads(Bucket=cloud.bucket)["Uploads"]:
                where = {"Bucket": cloud.bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
                cloud.client("s3").abort_multipart_upload(**where)

    return _crashed(many_bad_rows(importer), Fault("kill_before", "CompleteMultipartUpload errors/"), taken_away)


def huge_file(importer: Importer) -> Prepared:
    """It is copied in pieces."""
    key, body = WORKLOADS["vendor's sample"]
    return _import_of(importer, key, body, **TAGGED)[1]


def huge_file_gone_while_it_is_copied(importer: Importer) -> Prepared:
    """The pieces are abandoned."""
    key, body = WORKLOADS["vendor's sample"]
    prepared = _import_of(importer, key, body, **TAGGED)[1]
    gone = Fault("before", "UploadPartCopy", detail={"do": lambda cloud: _remove(cloud, key)})
    return Prepared(importer, prepared.deliver, {}, broken=(gone,), whole=False)  # somebody else took it away


def _remove(cloud: Cloud, key: str) -> None:
    """All versions of it, without a trace."""
    s3 = cloud.client("s3")
    for version in s3.list_object_versions(Bucket=cloud.bucket, Prefix=key).get("Versions", []):
        s3.delete_object(Bucket=cloud.bucket, Key=key, VersionId=version["VersionId"])


def erased_person(importer: Importer) -> Prepared:
    """Rows that were read before, an erasure, and rows uploaded before it that are read after."""
    cloud = importer.cloud
    for import_id, document_type in (("deletions", "USER_POINTS_DELETION"), ("links", LINKS)):
        definition = {"document_type": document_type}
        cloud.put_item(cloud.imports_table, {"pk": f"IMPORT#{import_id}", "sk": "IMPORT", "definition": definition})
    ann, bob = ({"type": "USER_ACCOUNT", "user_account_id": name} for name in ("user-1", "bob"))
    linked = json.dumps({"identifiers": [ann, bob]}).encode()
    importer.deliver(cloud.drop("imports/links/linked.json", linked))
    importer.deliver(cloud.drop("imports/read.json", many_rows(12)))
    late = cloud.drop("imports/late.json", many_rows(12) + many_rows(13)[-1:])
    cloud.clock.sleep(2)
    erasure = cloud.drop("imports/deletions/ann.json", json.dumps(ann).encode())

    def deliver() -> None:
        importer.deliver(erasure)
        importer.deliver(late)

    return Prepared(importer, deliver, {}, whole=False)  # the oracle knows of no erasure


def events_known_by_a_property(importer: Importer) -> Prepared:
    """Rows that differ may be one event: each is a conditional write."""
    cloud = importer.cloud
    definition = {"format": "cooladata", "identity": "property:n"}
    cloud.put_item(cloud.imports_table, {"pk": "IMPORT#known", "sk": "IMPORT", "definition": definition})
    prepared = _import_of(importer, "imports/known/rows.json", b"\n".join(row(number) for number in range(6)))[1]
    prepared.whole = False  # the oracle takes an event for its row
    return prepared


def sweep_of_waiting_files(importer: Importer) -> Prepared:
    """Two files nobody told us of, one of them in parts."""
    sources = {"imports/lost.json": VENDOR_ROWS, "imports/parts.json": many_rows(40)}
    for key, body in sources.items():
        importer.cloud.drop(key, body)
    importer.cloud.clock.sleep(3600)
    return Prepared(importer, _sweeping(importer, "waiting"), sources, swept=True)


def sweep_of_a_file_that_goes(importer: Importer) -> Prepared:
    """Somebody takes it away after it was listed: only another listing tells that from a denial."""
    key = "imports/gone.json"
    importer.cloud.drop(key, VENDOR_ROWS)
    importer.cloud.clock.sleep(3600)
    gone = Fault("before", f"HeadObject {key}", detail={"do": lambda cloud: _remove(cloud, key)})
    return Prepared(importer, _sweeping(importer, "waiting"), {}, broken=(gone,), whole=False)


def sweep_of_unfinished_executions(importer: Importer) -> Prepared:
    """A worker died at one of the parts of a file."""
    key = "imports/parts.json"
    _, prepared = _import_of(importer, key, many_rows(40))
    _crashed(prepared, Fault("kill_before", "PutObject work/"))
    return Prepared(importer, _sweeping(importer, "unfinished"), prepared.sources, swept=True)


def replayed_file(importer: Importer) -> Prepared:
    """A person has begun its replay: the workers read what lies in completed_imports/."""
    notification, prepared = _import_of(importer, "imports/parts.json", many_rows(40), **TAGGED)
    importer.notify(notification)
    importer.run_until_quiet()
    [parent] = importer.executions()
    place = _workplace(importer, 900)
    archived = place.records.execution(parent["id"])
    assert archived is not None
    archive = archive_of(place, archived)
    assert archive is not None
    replay(place, replay_of(place, archived, archive, definition_of(archived), archived.sinks, "again"))

    def deliver() -> None:
        for message in dict.fromkeys(importer.cloud.messages()):
            work_on(_workplace(importer, importer.hop_seconds), task_of(message))

    prepared.deliver, prepared.whole = deliver, False
    return prepared


def _sweeping(importer: Importer, which: str) -> Callable[[], None]:
    """What it could not take up, it tells and goes on: here that is raised, so that it is read."""

    def sweep() -> None:
        told = len(importer.telemetry.troubles)
        place = _workplace(importer, 300)
        if which == "waiting":
            sweep_waiting(place, importer.cloud.bucket)
        else:
            sweep_unfinished(place)
        if importer.telemetry.troubles[told:]:
            raise Unavailable("; ".join(importer.telemetry.troubles[told:]))

    return sweep


def sweep_of_expected_files(importer: Importer) -> Prepared:
    """One is late, and looked for among those that wait."""
    cloud = importer.cloud
    for day in range(9):
        importer.deliver(cloud.drop(f"imports/logins-{day}.json", row(day)))
        cloud.clock.advance(86_400_000)
    cloud.clock.sleep(4 * 3600)

    def sweep() -> None:
        place = _workplace(importer, 300)
        found = look_for_expected(place, SeriesTable(clients.records(), cloud.imports_table), importer.telemetry)
        assert found.missing == 1

    return Prepared(importer, sweep, {}, whole=False)


IN_PARTS = {"part_bytes": 2048}
IN_PIECES = {"small_pieces": True}


@dataclass(frozen=True)
class Workload:
    prepare: Callable[[Importer], Prepared]
    versioned: bool
    role: str = "ImportRole"
    setup: dict[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return f"{self.prepare.__name__}, {'' if self.versioned else 'un'}versioned"

    @contextmanager
    def prepared(self) -> Iterator[Prepared]:
        with installed(versioned=self.versioned, sinks=BOTH, **self.setup) as importer:
            yield self.prepare(importer)


ALL = [
    *(Workload(one, versioned) for one in (tagged_file, file_deleted_before_a_crash) for versioned in (True, False)),
    Workload(file_in_parts, True, setup=IN_PARTS),
    Workload(mended_over_refused, True),
    Workload(erased_person, True),
    Workload(events_known_by_a_property, True),
    Workload(refused_file, True),
    *(
        Workload(one, True, setup=IN_PIECES)
        for one in (
            many_bad_rows,
            many_bad_rows_that_another_worker_joined,
            many_bad_rows_whose_pieces_were_taken_away,
        )
    ),
    *(
        Workload(one, versioned, setup=IN_PIECES)
        for one in (huge_file, huge_file_gone_while_it_is_copied)
        for versioned in (True, False)
    ),
    *(
        Workload(one, versioned, "SweepRole", IN_PARTS)
        for one in (sweep_of_waiting_files, sweep_of_a_file_that_goes)
        for versioned in (True, False)
    ),
    Workload(sweep_of_unfinished_executions, True, "SweepRole", IN_PARTS),
    *(Workload(replayed_file, versioned, "PartRole", IN_PARTS) for versioned in (True, False)),
    Workload(sweep_of_expected_files, True, "SweepRole"),
]


@cache
def needs(workload: Workload) -> frozenset[Permission]:
    """All permissions its deliveries need."""

    def used() -> frozenset[Permission]:
        with workload.prepared() as prepared:
            cloud, found = prepared.importer.cloud, set[Permission]()
            for faults in dict.fromkeys((prepared.broken, ())):
                with plan(cloud, MISSING_IS_FORBIDDEN, *faults) as delivery:
                    try:
                        prepared.deliver()
                    except Unavailable:
                        assert faults
                cloud.clock.sleep(60)
                for call in delivery.calls:
                    found |= needed(call)
            return frozenset(found)

    return in_copy(used)


# ---- Exactly what is needed is granted ------------------------------------------------------------------------------


@pytest.mark.parametrize("workload", ALL, ids=str)
def test_no_workload_needs_what_is_not_granted(workload: Workload):
    """Or it would fail on AWS, where the fake cloud lets it pass."""
    missing = needs(workload) - granted(workload.role)
    assert not missing


@pytest.mark.parametrize("role", ["ImportRole", "SweepRole"])
def test_nothing_is_granted_that_no_workload_needs(role: str):
    """Least privilege; and every grant has a case below."""
    needed_by_some = {permission for workload in ALL if workload.role == role for permission in needs(workload)}
    unused = granted(role) - needed_by_some - OTHER_QUEUES
    assert not unused


# ---- Each of it taken away ------------------------------------------------------------------------------------------

CASES = [
    (role, permission)
    for role in ("ImportRole", "SweepRole")
    for permission in sorted(granted(role) - OTHER_QUEUES)  # a denied queue is a denied queue: test_part_queue.py
]


@pytest.mark.sampled(12, each="role")
@pytest.mark.parametrize(
    ("role", "permission"), CASES, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_a_permission_taken_away_is_named_loses_nothing_and_lets_go_on_once_it_is_back(
    role: str, permission: Permission
):
    """Each try that needs it says so; given back, the next delivery ends the import and the books balance."""
    workloads = [workload for workload in ALL if workload.role == role and permission in needs(workload)]
    assert workloads, "a new grant needs a workload"
    # To learn that something is not there needs a permission too, but does not fail without: the listing answers (J6).
    named = any(in_copy(lambda workload=workload: taken_away(workload, permission)) for workload in workloads)
    assert named is (permission not in NICETIES)


def taken_away(workload: Workload, permission: Permission) -> bool:
    """Three tries without the permission, then two with it. Whether some try named it."""
    action, _ = permission
    denied = Fault("denied", lambda call: permission in needed(call), always=True)
    named = False
    with workload.prepared() as prepared:
        cloud = prepared.importer.cloud
        for number in range(3):
            broken = prepared.broken if number == 0 else ()
            tried = attempt(cloud, prepared.deliver, denied, MISSING_IS_FORBIDDEN, *broken)
            assert_nothing_lost(cloud, prepared.sources)
            if tried.error is None:
                prepared.check()
            else:
                assert isinstance(tried.error, Unavailable), f"{workload}: {tried.error!r}"
                assert action in str(tried.error) or broken, f"{workload}: {tried.error}"
                named |= action in str(tried.error)
            cloud.clock.sleep(90)
        for _ in range(2):  # the second one is late, and changes nothing
            again = attempt(cloud, prepared.deliver, MISSING_IS_FORBIDDEN)
            assert again.error is None, f"{workload}: {again.error!r}"
            prepared.check()
            cloud.clock.sleep(3600)
    return named
