"""What the part function and the sweep are invoked with: every sample of events/part and events/sweep."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

import app
from importer.aws.dispatch import UnknownTask
from importer.model import Misconfigured
from tests.support.books import assert_books_balance
from tests.support.clock import LambdaContext
from tests.support.cloud import Cloud
from tests.support.function import deployed
from tests.support.samples import BUCKET, EVENTS

pytestmark = pytest.mark.filterwarnings("ignore:No application metrics")  # as app.py does; pytest forgets it

KEY = "imports/large.json"
ROW = '{"user_id":"u","event_name":"e","event_time_ts":%d,"x":"%s"}\n'
LARGE = "".join(ROW % (1425920218354 + n, "x" * 150_000) for n in range(57)).encode()  # two parts of 8 MiB
OF_FUNCTIONS = {"part", "sweep", "notify"}
NO_EXECUTION = "0" * 32
OURS = ("part", "sweep")  # folders of events/; other doors have tests of their own


class Installation:
    """A fake cloud with the three functions in it; nothing calls them but a test."""

    def __init__(self, cloud: Cloud, notify: Any) -> None:
        self.cloud = cloud
        self.notify = notify

    def work(self, event: Any) -> dict[str, Any]:
        return app.part_handler(event, LambdaContext(self.cloud.clock, 300))

    def sweep(self, name: str) -> dict[str, int]:
        return app.sweep_handler(sample(f"sweep/{name}.json"), LambdaContext(self.cloud.clock, 120))

    def tasks(self) -> list[dict[str, Any]]:
        return [json.loads(body) for body in self.cloud.messages()]


@pytest.fixture
def installation(monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    with Cloud(bucket=BUCKET) as cloud:
        monkeypatch.setenv("PART_QUEUE_URL", cloud.part_queue_url)
        monkeypatch.setenv("PART_SIZE_MIB", "8")
        with deployed(cloud) as notify:
            yield Installation(cloud, notify)


def sample(name: str) -> Any:
    return json.loads((EVENTS / name).read_bytes())


def filled(name: str, execution_id: str, start: int) -> Any:
    """A sample of a task that speaks of this part of this execution."""
    event = sample(name)
    task = {"schema": "task/1", "execution_id": execution_id, "start": start}
    assert (task | {"execution_id": NO_EXECUTION, "start": 0}) == (
        json.loads(event["Records"][0]["body"]) if "Records" in event else event
    )
    if "Records" not in event:
        return task
    event["Records"][0]["body"] = json.dumps(task)
    return event


def test_every_sample_is_described():
    """For people, in the page beside them; those of notices have a test of their own."""
    page = (EVENTS / "README.md").read_text(encoding="utf-8")
    files = {
        path.relative_to(EVENTS).as_posix() for path in EVENTS.glob("*/*.json") if path.parent.name in OF_FUNCTIONS
    }
    assert files == {
        "part/task.json",
        "part/sqs-task.json",
        "part/undo.json",
        "sweep/unfinished.json",
        "sweep/waiting.json",
        "sweep/expected.json",
        "notify/closed.json",
        "notify/dead-letter.json",
    }
    assert {name for name in files if f"| `{name}` |" not in page} == set()


def test_a_task_is_worked_on_straight_and_through_the_queue_and_twice_changes_nothing(installation: Installation):
    """The last of two parts to be done ends the import, whoever brings it."""
    installation.cloud.drop(KEY, LARGE)
    installation.notify({"Records": [notification_of(installation.cloud)]})
    execution_id = installation.tasks()[0]["execution_id"]
    assert installation.tasks() == [
        {"schema": "task/1", "execution_id": execution_id, "start": start} for start in (0, 8 << 20)
    ]
    done = [
        installation.work(filled(name, execution_id, start))["executions"][0]["phase"]
        for name, start in (("part/task.json", 0), ("part/task.json", 0), ("part/sqs-task.json", 8 << 20))
    ]
    assert done == ["IMPORTING", "IMPORTING", "CLOSED"]
    installation.work(filled("part/sqs-task.json", execution_id, 0))
    assert_books_balance(installation.cloud, {KEY: LARGE})


def notification_of(cloud: Cloud) -> dict[str, Any]:
    record: dict[str, Any] = sample("s3-put.json")["Records"][0]
    record["s3"]["object"] = {"key": KEY, "versionId": cloud.dropped[0].version_id}
    return record


@pytest.mark.parametrize(
    "event", [{}, {"schema": "task/2"}, {"Records": [{}]}, {"Records": ["x"]}, {"schema": "task/1", "start": 0}]
)
def test_what_is_no_task_is_raised_and_becomes_a_dead_letter(event: Any, installation: Installation):
    """It is never passed over: a message that is deleted without a word is lost."""
    with pytest.raises(UnknownTask):
        installation.work(event)


def test_the_sweeps_find_a_file_nobody_told_of_and_send_on_what_nobody_gets_on_with(installation: Installation):
    """The one begins it; the other looks at it, and after ten minutes without a change sends it again."""
    cloud = installation.cloud
    cloud.drop(KEY, LARGE)
    cloud.clock.sleep(600)
    assert installation.sweep("waiting") == {"waiting_files": 1, "oldest_waiting_seconds": 600}
    tasks = installation.tasks()
    assert [task["start"] for task in tasks] == [0, 8 << 20]
    sent_on = []
    for _ in range(3):
        sent_on.append(installation.sweep("unfinished"))
        cloud.clock.sleep(301)
    assert [swept["sent_on"] for swept in sent_on] == [0, 0, 1]
    assert installation.tasks() == tasks * 2
    for task in tasks:
        installation.work(task)
    assert installation.sweep("unfinished") == {"unfinished": 0, "sent_on": 0, "failed": 0}
    assert_books_balance(cloud, {KEY: LARGE})


def test_the_sweep_for_expected_files_says_what_is_missing_as_metrics(installation: Installation, capsys: Any):
    """Zero, too, is said: an alarm then goes quiet by itself."""
    assert installation.sweep("expected") == {"missing": 0, "thin": 0, "complete": 1}
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines() if '"_aws"' in line]
    assert {name: said[-1][name] for name in ("FilesMissing", "FilesThin")} == {
        "FilesMissing": [0.0],
        "FilesThin": [0.0],
    }


@pytest.mark.parametrize("event", [{}, {"sweep": "all"}, {"source": "aws.scheduler"}])
def test_a_sweep_that_is_told_nothing_it_knows_says_so(event: Any, installation: Installation):
    """A schedule with another input would otherwise look like one that finds nothing."""
    with pytest.raises(Misconfigured, match="unfinished"):
        app.sweep_handler(event, LambdaContext(installation.cloud.clock, 120))
