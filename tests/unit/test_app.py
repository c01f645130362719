"""The import function end to end on a fake cloud: every sample of events/, and what becomes of a part that fails."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

import app
from importer.model import Unavailable
from importer.notification import Dropped, UnknownNotification
from tests.support.books import assert_books_balance
from tests.support.cloud import Cloud
from tests.support.function import deployed
from tests.support.samples import BUCKET, EVENTS, SAMPLES

pytestmark = pytest.mark.filterwarnings("ignore:No application metrics")  # as app.py does; pytest forgets it

BYSTANDER = {"imports/not named.json": b'{"user_id":"u","event_name":"e","event_time_ts":1425920218354}\n'}


class Installation:
    """A fake cloud with the function in it; no notification comes but those a test delivers."""

    def __init__(self, cloud: Cloud, deliver: Any) -> None:
        self.cloud = cloud
        self.deliver = deliver

    def drop(self, sources: dict[str, bytes]) -> None:
        for key, body in sources.items():
            self.cloud.drop(key, body)


@pytest.fixture
def installation() -> Iterator[Installation]:
    with Cloud(bucket=BUCKET) as cloud, deployed(cloud) as deliver:
        yield Installation(cloud, deliver)


def sample(name: str) -> tuple[Any, dict[str, bytes]]:
    """A sample's event, and the bytes of each object it names."""
    return json.loads((EVENTS / name).read_bytes()), {named.key: named.body() for named in SAMPLES[name].objects}


@pytest.mark.parametrize("name", [name for name, sample in SAMPLES.items() if not sample.versioned])
@pytest.mark.parametrize("deliveries", [1, 2])
def test_sample_imports_what_it_names_and_nothing_else(name: str, deliveries: int, installation: Installation):
    """Receipts, events, bad rows and moved files are those of the objects named; what is not understood is raised
    when they are done. A second delivery changes nothing.
    """
    event, sources = sample(name)
    installation.drop(sources | BYSTANDER)
    for _ in range(deliveries):
        if SAMPLES[name].raises:
            with pytest.raises(UnknownNotification):
                installation.deliver(event)
        else:
            installation.deliver(event)
    assert_books_balance(installation.cloud, sources, untouched=BYSTANDER, tidy=True)


def test_version_named_is_the_one_imported(installation: Installation):
    """Not the newest: that one has a notification of its own (A2, A10)."""
    (named,) = SAMPLES["s3-versioned.json"].objects
    older, newer = named.body(), named.body() + b"newer"
    installation.drop({named.key: older})
    installation.cloud.drop(named.key, newer)
    ours = installation.cloud.dropped[0].version_id
    text = (EVENTS / "s3-versioned.json").read_text()
    installation.deliver(json.loads(text.replace(named.version_id, ours)))
    assert_books_balance(installation.cloud, {named.key: older}, untouched={named.key: newer})


@pytest.mark.parametrize("failure", [Unavailable("throttled"), KeyError("a bug")])
def test_object_that_fails_does_not_keep_the_others_waiting(
    failure: Exception, installation: Installation, monkeypatch: pytest.MonkeyPatch
):
    """Each has its turn; then the notification comes again as a whole, and finds the others done (H3)."""
    event, sources = sample("s3-several-records.json")
    installation.drop(sources)
    failed: list[str] = []
    real = app.import_dropped

    def broken_for_the_first(place: Any, dropped: Dropped) -> Any:
        if dropped.key == "imports/first.json":
            raise failure
        return real(place, dropped)

    monkeypatch.setattr(app, "import_dropped", broken_for_the_first)
    monkeypatch.setattr(app, "failed", lambda logger, dropped: failed.append(dropped.key))
    with pytest.raises(Exception, match="throttled" if isinstance(failure, Unavailable) else "KeyError"):
        installation.deliver(event)
    assert failed == ["imports/first.json"]
    monkeypatch.setattr(app, "import_dropped", real)
    assert list(installation.cloud.objects("imports/")) == ["imports/first.json"]
    installation.deliver(event)
    assert_books_balance(installation.cloud, sources)


def test_failure_of_an_object_and_a_part_not_understood_are_both_told(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
):
    """The object's in the log, the part's as the error of the invocation."""
    failed: list[str] = []

    def unavailable(place: Any, dropped: Dropped) -> Any:
        raise Unavailable("throttled")

    monkeypatch.setattr(app, "import_dropped", unavailable)
    monkeypatch.setattr(app, "failed", lambda logger, dropped: failed.append(dropped.key))
    with pytest.raises(UnknownNotification, match=r"^event\.Records\[0\]\.body: "):
        installation.deliver(sample("sqs-unknown-among-known.json")[0])
    assert failed == ["imports/known.json"]


def test_answer_to_sqs_is_no_list_of_failures(installation: Installation):
    """SQS reads `batchItemFailures` only where the mapping asks for it; elsewhere it would be silent success (H3)."""
    event, sources = sample("sqs-several-messages.json")
    installation.drop(sources)
    answer = installation.deliver(event)
    assert [(e["status"], e["phase"]) for e in answer.pop("executions")] == [("SUCCEEDED", "CLOSED")] * 2
    assert answer == {}


@pytest.mark.parametrize("event", [None, [], [1], "text", 7, {}, {"Records": []}])
def test_event_of_no_shape_at_all_is_raised(event: Any, installation: Installation):
    """Lambda hands on whatever JSON somebody invokes it with (A7)."""
    with pytest.raises(UnknownNotification):
        installation.deliver(event)
