"""Each permission the template grants is taken away in turn: a clear message, nothing lost, and after the fix the rest.

Which calls need which permission is modelled in tests/support/policy.py. Both directions are held: no workload needs
what is not granted, and nothing is granted that no workload needs. So a new grant needs a workload here, and a grant
nobody needs has to go.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from unittest import mock

import moto.s3.models
import pytest

from importer.aws import copying, uploads
from importer.executions import files_waiting
from importer.model import Unavailable
from tests.faults.importing import VENDOR_ROWS, WORKLOADS, Importer, installed
from tests.support.books import assert_books_balance, assert_nothing_lost
from tests.support.clock import LambdaContext
from tests.support.faults import Fault, attempt, plan
from tests.support.policy import Permission, granted, needed
from tests.support.scenarios import in_copy

# What is only a nicety: the work goes on without it. Why, and who does it then.
NICETIES: dict[Permission, str] = {
    (
        "s3:AbortMultipartUpload",
        "errors/",
    ): "pieces left behind are removed by the bucket's rule for unfinished uploads",
    ("s3:AbortMultipartUpload", "completed_imports/"): "the same",
}
MISSING_IS_FORBIDDEN = Fault("missing_is_forbidden", lambda call: True, always=True)
BOTH = ("dynamodb", "firehose")
TAGGED = {"Tagging": "team=web", "Metadata": {"sender": "nightly"}}
REFUSED = b'{\n  "user_id": "u"\n}\n'


@dataclass
class Prepared:
    """A cloud in which one delivery is due.

    Attributes:
        broken: what goes wrong in that delivery beside the permission, so that it needs all it may need.
        whole: whether the books of `sources` balance after it.
    """

    importer: Importer
    deliver: Callable[[], Any]
    sources: dict[str, bytes]
    broken: tuple[Fault, ...] = ()
    whole: bool = True
    patches: list[Any] = field(default_factory=list)

    def check(self) -> None:
        """After a delivery that returned."""
        if self.whole:
            assert_books_balance(self.importer.cloud, self.sources)


def _import_of(importer: Importer, key: str, body: bytes, **more: Any) -> tuple[dict[str, Any], Prepared]:
    notification = importer.cloud.drop(key, body, **more)
    return notification, Prepared(importer, lambda: importer.deliver(notification), {key: body})


def tagged_file(importer: Importer) -> Prepared:
    """Good rows, bad rows, user properties, tags."""
    key, body = WORKLOADS["medium"]
    return _import_of(importer, key, body, **TAGGED)[1]


def file_deleted_before_a_crash(importer: Importer) -> Prepared:
    """The source is gone, its execution not closed: the next delivery finds it by the index of the unfinished."""
    key, body = WORKLOADS["medium"]
    notification, prepared = _import_of(importer, key, body)
    died = attempt(importer.cloud, lambda: importer.deliver(notification), Fault("kill_after", "DeleteObject imports/"))
    assert died.killed
    importer.cloud.clock.sleep(60)
    return prepared


def mended_over_refused(importer: Importer) -> Prepared:
    """What the mended file uncovers when it is moved is hidden."""
    key = "imports/mended.json"
    importer.deliver(importer.cloud.drop(key, REFUSED))
    importer.cloud.clock.sleep(2)
    _, prepared = _import_of(importer, key, VENDOR_ROWS)
    prepared.whole = False  # two executions of one key, one of them FAILED
    return prepared


def many_bad_rows(importer: Importer) -> Prepared:
    """errors/ is written in pieces, and the second one fails: what was uploaded is abandoned."""
    key, body = WORKLOADS["all bad"]
    prepared = _import_of(importer, key, body)[1]
    prepared.patches = [
        mock.patch.object(uploads, "PIECE_BYTES", 500),
        mock.patch.object(moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE", 1),
    ]
    prepared.broken = (Fault("error_500", "UploadPart errors/", always=True),)
    return prepared


def huge_file(importer: Importer) -> Prepared:
    """It is copied in pieces."""
    key, body = WORKLOADS["vendor's sample"]
    prepared = _import_of(importer, key, body, **TAGGED)[1]
    prepared.patches = [mock.patch.object(copying, "COPY_BYTES", 0)]
    return prepared


def huge_file_whose_copy_fails(importer: Importer) -> Prepared:
    """The pieces are abandoned."""
    prepared = huge_file(importer)
    prepared.broken = (Fault("error_500", "UploadPartCopy", always=True),)
    return prepared


def sweep(importer: Importer) -> Prepared:
    """A file nobody told us of."""
    importer.cloud.drop("imports/lost.json", VENDOR_ROWS)
    importer.cloud.clock.sleep(3600)

    def look() -> None:
        place = importer.workplaces(LambdaContext(importer.cloud.clock, 120).get_remaining_time_in_millis)
        assert files_waiting(place, importer.cloud.bucket).oldest_seconds >= 3600

    return Prepared(importer, look, {"imports/lost.json": VENDOR_ROWS}, whole=False)


@dataclass(frozen=True)
class Workload:
    prepare: Callable[[Importer], Prepared]
    versioned: bool
    role: str = "ImportRole"

    def __str__(self) -> str:
        return f"{self.prepare.__name__}, {'' if self.versioned else 'un'}versioned"

    @contextmanager
    def prepared(self) -> Iterator[Prepared]:
        with installed(versioned=self.versioned, sinks=BOTH) as importer, ExitStack() as patches:
            prepared = self.prepare(importer)
            for patch in prepared.patches:
                patches.enter_context(patch)
            yield prepared


ALL = [
    *(Workload(one, versioned) for one in (tagged_file, file_deleted_before_a_crash) for versioned in (True, False)),
    *(Workload(one, True) for one in (mended_over_refused, many_bad_rows)),
    *(Workload(one, versioned) for one in (huge_file, huge_file_whose_copy_fails) for versioned in (True, False)),
    Workload(sweep, True, "SweepRole"),
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
    unused = granted(role) - {permission for workload in ALL if workload.role == role for permission in needs(workload)}
    assert not unused


# ---- Each of it taken away ------------------------------------------------------------------------------------------

CASES = [(role, permission) for role in ("ImportRole", "SweepRole") for permission in sorted(granted(role))]


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
