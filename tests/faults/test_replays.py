"""A replay meets what every import meets: whatever goes wrong at any call, it comes to an end, and its books balance.

What it adds to the promise: the archived object is untouched, nothing of its parent's papers is, and no row is doubled.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import orjson
import pytest

from tests.faults.files import many_rows, row
from tests.faults.importing import Importer, installed, nothing_late_matters, nothing_to_find
from tests.faults.workloads import WORKLOADS
from tests.support.cloud import Cloud
from tests.support.faults import Fault, Nth, fits
from tests.support.scenarios import CleanCall, explore, in_copy, report, sample

CHOSEN: Final = (
    "tiny", "empty", "all bad", "CSV", "four parts", "three continuations, gzip", "both sinks, four parts",
    "user properties", "unversioned", "four parts, in pieces",
)  # fmt: skip
LASTING: Final = {"throttled": 600, "connection_lost": 600, "error_500": 600, "denied": 7_200}
KINDS: Final = (
    "kill_before", "kill_after", "timed_out", "deadline_now", "reply_lost", "error_500", "throttled", "denied",
    "connection_lost", "unprocessed", "body_cut", "slow", "clock_ahead", "clock_behind",
)  # fmt: skip


@dataclass
class Stage:
    """A file that was imported an hour ago, and is about to be replayed; and the calls of a clean replay."""

    importer: Importer
    parent: dict[str, Any]
    before: dict[str, Any]
    calls: list[CleanCall]

    def replayed(self, *faults: Fault) -> None:
        self.importer.replay(self.parent["id"], "again")
        self.importer.run_until_quiet(*faults)

    def check(self) -> None:
        """The replay has ended, and nothing but its own papers was added."""
        cloud, parent = self.importer.cloud, self.parent
        [replay] = [item for item in self.importer.executions() if item.get("parent") == parent["id"]]
        assert (replay["status"], replay["phase"]) == ("SUCCEEDED", "CLOSED")
        assert {name: replay["result"][name] for name in _SUMS} == {name: parent["result"][name] for name in _SUMS}
        assert replay["result"]["input_file_uri"] == parent["result"]["input_file_uri"]
        objects = cloud.objects()
        assert {key: objects.get(key) for key in self.before["objects"]} == self.before["objects"]
        assert versions(cloud) == self.before["versions"], "an archived object was written or deleted"
        added = {key for key in objects if key not in self.before["objects"] and not key.startswith("work/")}
        assert all(replay["id"] in key for key in added)
        receipts = [orjson.loads(objects[key]) for key in added if key.startswith("receipts/")]
        [receipt] = receipts
        assert (receipt["parent"], receipt["complete"]) == (parent["id"], True)
        theirs = orjson.loads(objects[parent["result"]["receipt_uri"].partition(f"{cloud.bucket}/")[2]])
        for name in ("lines", "blank", "rows", "good", "bad", "events", "user_changes", "reasons", "completed_uri"):
            assert receipt[name] == theirs[name], name
        for uri in ("errors_uri", "reasons_uri"):
            assert (receipt[uri] is None) is (theirs[uri] is None)
        if receipt["errors_uri"]:
            assert body_at(cloud, receipt["errors_uri"]) == body_at(cloud, theirs["errors_uri"])
        assert items(cloud) == self.before["items"], "a row was doubled, lost, or has become another"
        nothing_to_find(self.importer)


_SUMS: Final = ("total_success", "total_failure", "total_expired", "total_erased")


def body_at(cloud: Cloud, uri: str) -> bytes:
    return cloud.objects()[uri.partition(f"{cloud.bucket}/")[2]]


def versions(cloud: Cloud) -> dict[str, Any]:
    return {key: cloud.versions(key) for key in cloud.objects("completed_imports/")}


def items(cloud: Cloud) -> list[Any]:
    """Events and records, but for who wrote them last."""
    by_writer = ("execution_id", "import_id", "address", "rank")
    found = [cloud.items(table) for table in (cloud.events_table, cloud.users_table) if table]
    return [[{name: item[name] for name in item if name not in by_writer} for item in some] for some in found]


@contextmanager
def stage_of(key: str, body: bytes, **setup: Any) -> Iterator[Stage]:
    with installed(watched=True, **setup) as importer:
        cloud = importer.cloud
        importer.notify(cloud.drop(key, body))
        importer.run_until_quiet()
        cloud.clock.sleep(3600)
        [parent] = importer.executions()
        before = {"objects": cloud.objects(), "versions": versions(cloud), "items": items(cloud)}
        stage = Stage(importer, parent, before, [])

        def clean() -> list[CleanCall]:
            calls: list[CleanCall] = []
            cloud.wire.watchers.append(lambda call, answer: calls.append(CleanCall.of(call)))
            stage.replayed()
            return calls

        stage.calls = in_copy(clean)
        yield stage


def staged(name: str) -> Any:
    workload = WORKLOADS[name]
    return stage_of(workload.key, workload.body, **workload.setup)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("workload", CHOSEN)
def test_a_clean_replay_balances_and_whatever_comes_late_changes_nothing(workload: str) -> None:
    """Nothing of the archive moves; and nobody needs a sweep."""
    with staged(workload) as stage:
        stage.replayed()
        assert stage.importer.helped_by() == []
        stage.check()
        nothing_late_matters(stage.importer)
        stage.check()


@pytest.mark.parametrize("workload", CHOSEN)
def test_whatever_goes_wrong_at_any_call_a_replay_comes_to_its_end(workload: str) -> None:
    """Killed, refused, late or lying: the sweep takes up what is lost, and the source is still there."""
    with staged(workload) as stage:
        scenarios = [(kind, call.serial) for kind in KINDS for call in stage.calls if fits(kind, call)]

        def play(scenario: tuple[str, int]) -> None:
            kind, serial = scenario
            stage.replayed(Fault(kind, Nth(serial), lasts_s=LASTING.get(kind, 0) * (serial % 2)))
            stage.check()
            nothing_late_matters(stage.importer)
            stage.check()

        failures = explore(sample(scenarios, 2, whole=200), play)
        assert not failures, report(failures)


def test_a_replay_asked_for_twice_is_one_and_by_another_name_another() -> None:
    """However often, and also when it has ended."""
    with stage_of("imports/parts.json", many_rows(55), part_bytes=2048) as stage:
        stage.replayed()
        stage.replayed()
        stage.check()
        stage.importer.replay(stage.parent["id"], "once more")
        stage.importer.run_until_quiet()
        assert len(stage.importer.executions()) == 3
        nothing_to_find(stage.importer)


def test_a_replay_wins_over_nothing_that_was_uploaded_later() -> None:
    """Two files say a user's city; the older one is replayed, and the newer one's value stays."""
    with installed(watched=True) as importer:
        for number, city in enumerate(("Rome", "Oslo")):
            importer.notify(importer.cloud.drop(f"imports/{number}.json", row(1, **{"{u}city": city})))
            importer.run_until_quiet()
            importer.cloud.clock.sleep(60)
        before = importer.cloud.items(importer.cloud.users_table)
        older = next(item for item in importer.executions() if item["parameters"]["input_file_name"] == "0.json")
        importer.replay(older["id"], "again")
        importer.run_until_quiet()
        assert importer.cloud.items(importer.cloud.users_table) == before
        nothing_to_find(importer)


def test_a_replay_brings_back_nobody_who_was_erased_since() -> None:
    """Its rows count as uploaded when they were: before the erasure."""
    with installed() as importer:  # unwatched: the oracle knows of no erasure
        cloud = importer.cloud
        definition = {"document_type": "USER_POINTS_DELETION"}
        cloud.put_item(cloud.imports_table, {"pk": "IMPORT#deletions", "sk": "IMPORT", "definition": definition})
        importer.notify(cloud.drop("imports/read.json", many_rows(12)))
        importer.run_until_quiet()
        cloud.clock.sleep(60)
        [older] = importer.executions()
        ann = {"type": "USER_ACCOUNT", "user_account_id": "user-1"}
        importer.notify(cloud.drop("imports/deletions/ann.json", orjson.dumps(ann)))
        importer.run_until_quiet()
        cloud.clock.sleep(60)
        before = items(cloud)
        assert not [event for event in before[0] if event["user_id"] == "user-1"]
        importer.replay(older["id"], "again")
        importer.run_until_quiet()
        assert items(cloud) == before
        [replay] = [item for item in importer.executions() if item.get("parent")]
        assert replay["result"]["total_erased"] > 0
        nothing_to_find(importer)


def test_events_known_by_their_place_are_the_same_when_it_is_read_again() -> None:
    """Identity `address`: the place is the upload's, whoever reads it."""
    with installed() as importer:  # unwatched: the oracle takes an event for its row
        cloud = importer.cloud
        definition = {"format": "cooladata", "identity": "address"}
        cloud.put_item(cloud.imports_table, {"pk": "IMPORT#known", "sk": "IMPORT", "definition": definition})
        importer.notify(cloud.drop("imports/known/a.json", many_rows(12)))
        importer.run_until_quiet()
        before = items(cloud)
        [parent] = importer.executions()
        importer.replay(parent["id"], "again")
        importer.run_until_quiet()
        assert items(cloud) == before
        nothing_to_find(importer)


def test_a_file_of_a_recurring_import_is_replayed_without_waiting_for_a_run() -> None:
    """Its series is over with it; the sweep does not leave it to the schedule either."""
    with installed(watched=True) as importer:
        cloud = importer.cloud
        importer.notify(cloud.drop("imports/daily/accounts1.json", many_rows(12)))
        importer.run_until_quiet()
        definition = {"base_file_name": "accounts.json"}
        cloud.put_item(cloud.imports_table, {"pk": "IMPORT#daily", "sk": "IMPORT", "definition": definition})
        [parent] = importer.executions()
        importer.replay(parent["id"], "again", base_file_name="accounts.json")
        importer.run_until_quiet(Fault("kill_before", "BatchWriteItem"))
        assert {item["status"] for item in importer.executions()} == {"SUCCEEDED"}


def test_a_replay_under_other_settings_wins_over_its_parent() -> None:
    """A record that both say is as the replay says it, and the parent's books still balance."""
    with installed() as importer:  # unwatched: the oracle knows one reading of a date
        cloud = importer.cloud
        body = b'{"user_id":"u","event_name":"e","event_time_ts":"03/04/2012","{u}city":"Rome"}'
        cloud.put_item(
            cloud.imports_table,
            {"pk": "IMPORT#d", "sk": "IMPORT", "definition": {"date_format": "mm/dd/yyyy", "format": "cooladata"}},
        )
        importer.notify(cloud.drop("imports/d/a.json", body))
        importer.run_until_quiet()
        [parent] = importer.executions()
        importer.replay(parent["id"], "again", date_format="dd/mm/yyyy")
        importer.run_until_quiet()
        [replay] = [item for item in importer.executions() if item.get("parent")]
        events = {item["event_key"][:13]: item["execution_id"] for item in cloud.items(cloud.events_table)}
        assert events == {"1330819200000": parent["id"], "1333411200000": replay["id"]}
        [city] = cloud.items(cloud.users_table)
        assert city["execution_id"] == replay["id"]
        nothing_to_find(importer)


def test_a_replay_whose_source_is_taken_away_meanwhile_fails_and_says_so() -> None:
    """What was read until then is counted; nothing is deleted by us, and it can be cancelled or taken up like any."""
    with stage_of("imports/parts.json", many_rows(55), part_bytes=2048) as stage:
        cloud = stage.importer.cloud
        [key] = cloud.objects("completed_imports/")

        def gone(cloud: Cloud) -> None:
            with cloud.unseen():
                for version in cloud.client("s3").list_object_versions(Bucket=cloud.bucket, Prefix=key)["Versions"]:
                    cloud.client("s3").delete_object(Bucket=cloud.bucket, Key=key, VersionId=version["VersionId"])

        stage.replayed(Fault("before", "GetObject completed_imports/", detail={"do": gone}))
        [replay] = [item for item in stage.importer.executions() if item.get("parent")]
        assert (replay["status"], replay["error"]["code"]) == ("FAILED", "object_gone")
        receipts = [orjson.loads(body) for body in cloud.objects("receipts/").values()]
        [receipt] = [receipt for receipt in receipts if receipt.get("parent")]
        assert (receipt["complete"], receipt["completed_uri"]) == (False, None)
