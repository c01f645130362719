"""Import by URI as people ask for it: over HTTP, by the command, and by the samples of events/fetch.

A server on a real socket stands for the source; the rest is a fake cloud.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import app
from cli import dead_letters, importing, twin
from cli import fetching as fetching_command
from cli.stack import Stack
from importer.aws.clients import records
from importer.aws.fetches import FetchesTable
from importer.doors.tokens import Right
from importer.fetches import FetchReason, UnknownFetch
from importer.telemetry import Crashed
from tests.support import command
from tests.support.clock import LambdaContext
from tests.support.cloud import Cloud
from tests.support.door import Door, opened
from tests.support.samples import EVENTS
from tests.support.web import Web, answer, serving

pytestmark = pytest.mark.filterwarnings("ignore:No application metrics")  # as app.py does; pytest forgets it

PATH = "/v1/uri_imports"
ROW = b'{"user_id":"ann","event_name":"login","event_time_ts":1425920218354}\n'
BODY = ROW + b"no json\n"


@dataclass
class Fetching:
    """An installation with all doors open, and a server it may fetch from."""

    cloud: Cloud
    door: Door
    web: Web
    queue_url: str

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.web.port}/exports/monday.json?sig=secret"

    def work(self) -> list[dict[str, Any]]:
        """Every message of the fetch queue is delivered once."""
        done = []
        with self.cloud.unseen():
            sqs = self.cloud.client("sqs")
            while messages := sqs.receive_message(QueueUrl=self.queue_url).get("Messages", []):
                event = {"Records": [{"body": messages[0]["Body"]}]}
                done += app.fetch_handler(event, LambdaContext(self.cloud.clock, 300))["fetches"]
                sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=messages[0]["ReceiptHandle"])
        return done


@pytest.fixture
def installation() -> Iterator[Fetching]:
    with Cloud() as cloud, serving(answer(BODY, 'ETag: "v1"')) as web:
        with cloud.unseen():
            queue_url = cloud.client("sqs").create_queue(QueueName="fetches")["QueueUrl"]
        app._fetch_places.cache_clear()
        with opened(cloud, FETCH_QUEUE_URL=queue_url, URI_ALLOWED_HOSTS="127.0.0.1", URI_CREDENTIALS="f") as door:
            yield Fetching(cloud, door, web, queue_url)
        app._fetch_places.cache_clear()


# ---- Over HTTP -------------------------------------------------------------------------------------------------------


def test_a_file_is_asked_for_fetched_and_imported(installation: Fetching):
    """202 and where to look; then the fetch's document, in the end with its execution's."""
    door = installation.door
    asked = door.post(PATH, json={"uri": installation.uri})
    fetch = asked.json["data"]
    assert (asked.status, asked.headers["location"], fetch["status"]) == (202, f"{PATH}/{fetch['id']}", "PENDING")
    assert (fetch["uri"], fetch["file_uri"]) == (
        installation.uri.partition("?")[0],
        f"s3://{installation.cloud.bucket}/imports/monday.json",
    )
    assert installation.work() == [{"id": fetch["id"], "status": "SUCCEEDED", "fetched_bytes": len(BODY)}]
    door.deliver()
    told = door.get(f"{PATH}/{fetch['id']}").json["data"]
    assert (told["status"], told["fetched_bytes"], told["error"]) == ("SUCCEEDED", len(BODY), None)
    assert told["execution"]["id"] == told["execution_id"]
    assert (told["execution"]["status"], told["execution"]["result"]["total_failure"]) == ("SUCCEEDED", 1)
    assert door.get(PATH).json["data"] == [told]
    assert "secret" not in door.get(PATH).body.decode()
    assert b"GET /exports/monday.json?sig=secret HTTP/1.1" in installation.web.asked[0]


def test_a_request_sent_twice_with_its_key_is_one_fetch(installation: Fetching):
    """And another request with that key is told so."""
    door, key = installation.door, {"Idempotency-Key": '"monday"'}
    first = door.post(PATH, json={"uri": installation.uri}, headers=key)
    again = door.post(PATH, json={"uri": installation.uri}, headers=key)
    assert (again.status, again.json) == (first.status, first.json)
    assert again.headers["location"] == first.headers["location"] == f"{PATH}/{first.json['data']['id']}"
    assert door.post(PATH, json={"uri": f"{installation.uri}2"}, headers=key).code == (422, "key_reused")
    assert len(door.get(PATH).json["data"]) == 1
    assert len(installation.work()) == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([], (400, "invalid_request")),
        ({}, (400, "invalid_request")),
        ({"uri": ""}, (400, "invalid_request")),
        ({"uri": 7}, (400, "invalid_request")),
        ({"uri": "https://a.example/x.json", "secret_key": "x"}, (400, "invalid_request")),
        ({"uri": "https://user:pass@a.example/x.json"}, (400, "bad_uri")),
        ({"uri": "http://2130706433/x.json"}, (400, "bad_uri")),
        ({"uri": "https://a.example/"}, (400, "bad_uri")),
        ({"uri": "s3://import-bucket/imports/x.json"}, (400, "bad_uri")),
        (
            {
                "uri": "https://import-bucket.s3.amazonaws.com/imports/x.json",
                "role_arn": "arn:aws:iam::111122223333:role/partner",
            },
            (400, "bad_uri"),
        ),
        ({"uri": "https://a.example/x.txt"}, (422, "wrong_kind")),
        ({"uri": "https://a.example/x.csv"}, (422, "wrong_kind")),
        ({"uri": "https://a.example/x.json"}, (422, "host_not_allowed")),
        ({"uri": "http://127.0.0.1/x.json", "credentials": "ssm:a"}, (422, "credentials_refused")),
        ({"uri": "s3://bucket/x.json", "credentials": "AKIAIOSFODNN7EXAMPLE"}, (422, "credentials_refused")),
        ({"uri": "s3://bucket/x.json", "credentials": "ssm:../tokens/x"}, (422, "credentials_refused")),
        ({"uri": "s3://bucket/x.json", "role_arn": "arn:aws:iam::1:role/x"}, (422, "credentials_refused")),
        ({"uri": "s3://bucket/x.json", "external_id": "x1"}, (422, "credentials_refused")),
        (
            {"uri": "s3://bucket/x.json", "credentials": "ssm:a", "role_arn": "arn:aws:iam::111122223333:role/x"},
            (422, "credentials_refused"),
        ),
        ({"uri": "http://127.0.0.1/x.json", "import_id": "none"}, (404, "no_such_import")),
    ],
)
def test_what_cannot_be_fetched_is_refused_at_once_and_quotes_no_secret(
    installation: Fetching, body: Any, code: tuple[int, str]
):
    """Nothing is stored, and no message sent."""
    reply = installation.door.post(PATH, json=body)
    assert reply.code == code
    assert not [secret for secret in ("pass@", "AKIA", "tokens/x") if secret in reply.body.decode()]
    assert (installation.door.get(PATH).json["data"], installation.work()) == ([], [])


def test_a_token_asks_and_looks_within_its_rights(installation: Fetching):
    """Who asked may look; who may read the import may; for others there is none of that id."""
    door = installation.door
    door.made(name="shop", id="shop")
    writer, reader, other = (
        door.new_token({import_id: [right]})
        for import_id, right in (("shop", Right.WRITE), ("shop", Right.READ), ("other", Right.ADMIN))
    )
    wanted = {"uri": installation.uri, "import_id": "shop"}
    assert door.post(PATH, json=wanted, token=reader).code == (403, "forbidden")
    assert door.post(PATH, json=wanted, token=other).code == (403, "forbidden")
    assert door.post(PATH, json={"uri": installation.uri}, token=writer).code == (403, "forbidden")
    path = f"{PATH}/{door.post(PATH, json=wanted, token=writer).json['data']['id']}"
    assert [door.request("GET", path, token=token).status for token in (writer, reader, other)] == [200, 200, 404]
    installation.work()
    door.deliver()
    shown = [door.request("GET", path, token=token).json["data"] for token in (writer, reader)]
    assert [one["status"] for one in shown] == ["SUCCEEDED", "SUCCEEDED"]
    assert shown[0]["execution_id"] == shown[1]["execution"]["id"]
    assert shown[0]["execution"] is None, "who only sends is not told what is in the file"
    lists = [door.request("GET", PATH, token=token).json["data"] for token in (reader, other)]
    assert [len(found) for found in lists] == [1, 0]
    assert door.get(f"{PATH}/none").code == (404, "no_such_uri_import")


def test_without_a_queue_there_is_no_such_door():
    with Cloud() as cloud, opened(cloud, FETCH_QUEUE_URL="") as door:
        assert door.get(PATH).code == (404, "no_such_route")


# ---- Samples ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fetch.json", "sqs-fetch.json"])
def test_a_sample_with_a_fetchs_id_goes_on_with_it(installation: Fetching, name: str):
    """As its queue delivers it, and as a person invokes it; as they are they name no fetch, and are raised."""
    text = (EVENTS / "fetch" / name).read_text(encoding="utf-8")
    context = LambdaContext(installation.cloud.clock, 300)
    with pytest.raises(UnknownFetch, match="there is no fetch"):
        app.fetch_handler(json.loads(text), context)
    fetch_id = installation.door.post(PATH, json={"uri": installation.uri}).json["data"]["id"]
    done = app.fetch_handler(json.loads(text.replace("0" * 32, fetch_id)), context)
    assert done["fetches"][0]["status"] == "SUCCEEDED"
    assert f"`fetch/{name}`" in (EVENTS / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("event", [{}, {"schema": "fetch/2"}, {"Records": [{"body": "x"}]}, {"schema": "fetch/1"}])
def test_what_is_no_fetch_is_raised_and_becomes_a_dead_letter(installation: Fetching, event: Any):
    with pytest.raises(UnknownFetch):
        app.fetch_handler(event, LambdaContext(installation.cloud.clock, 300))


def test_the_sweep_sends_a_fetch_on_whose_message_was_lost(installation: Fetching):
    """Its message was never sent: the request died between the two."""
    installation.door.post(PATH, json={"uri": installation.uri})
    with installation.cloud.unseen():
        installation.cloud.client("sqs").purge_queue(QueueUrl=installation.queue_url)
    installation.cloud.clock.sleep(3_600)
    app.sweep_handler({"sweep": "unfinished"}, LambdaContext(installation.cloud.clock, 300))
    assert [fetch["status"] for fetch in installation.work()] == ["SUCCEEDED"]


def test_an_execution_in_trouble_does_not_keep_fetches_waiting(installation: Fetching, monkeypatch: pytest.MonkeyPatch):
    """Its trouble is raised, and comes again with each sweep (I8)."""
    installation.door.post(PATH, json={"uri": installation.uri})
    with installation.cloud.unseen():
        installation.cloud.client("sqs").purge_queue(QueueUrl=installation.queue_url)
    installation.cloud.clock.sleep(3_600)
    monkeypatch.setattr(app, "sweep_unfinished", mock.Mock(side_effect=ZeroDivisionError))
    with pytest.raises(Crashed, match="ZeroDivisionError"):
        app.sweep_handler({"sweep": "unfinished"}, LambdaContext(installation.cloud.clock, 300))
    assert [fetch["status"] for fetch in installation.work()] == ["SUCCEEDED"]


# ---- The command -----------------------------------------------------------------------------------------------------


@pytest.fixture
def commanded(installation: Fetching, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fetching:
    """The command takes it for the twin; whenever it waits, what is due is done."""
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    command.write_outputs(installation.cloud, tmp_path)
    outputs = json.loads((tmp_path / "outputs.json").read_text()) | {"fetch_queue_url": installation.queue_url}
    (tmp_path / "outputs.json").write_text(Stack(**outputs).to_json())

    def wait(seconds: float) -> None:
        installation.cloud.clock.sleep(seconds)
        installation.work()
        installation.door.deliver()

    for module in (fetching_command, importing):
        monkeypatch.setattr(
            module, "time", mock.Mock(sleep=wait, time=installation.cloud.clock.time, monotonic=lambda: 0)
        )
    return installation


def test_the_command_has_a_file_fetched_and_waits_for_its_import(commanded: Fetching):
    """As with a file of this machine: receipt, refused rows, exit code 1 for them."""
    result = command.run(commanded.cloud, "import", commanded.uri, "--json")
    (file,) = json.loads(result.stdout[result.stdout.index('{\n  "files"') :])["files"]  # behind the functions' metrics
    assert (result.exit_code, file["file"], file["fetch"]["status"], file["receipt"]["bad"]) == (
        1,
        "monday.json",
        "SUCCEEDED",
        1,
    )
    assert "secret" not in result.output
    assert "SUCCEEDED" in command.run(commanded.cloud, "import", commanded.uri).output


def test_the_command_leaves_a_file_of_a_series_to_the_schedule(commanded: Fetching):
    """As with a file of this machine: it is there, and that is all there is to wait for."""
    commanded.door.made(id="shop", name="The shop", base_file_name="mon.json")
    result = command.run(commanded.cloud, "import", commanded.uri, "--import-id", "shop", "--json")
    (file,) = json.loads(result.stdout[result.stdout.index('{\n  "files"') :])["files"]
    assert (result.exit_code, file["fetch"]["status"], file["execution"]) == (0, "SUCCEEDED", None)
    assert file["trouble"].startswith("fetched: it waits for its turn in the series mon*.json")
    assert "importer recurring run shop" in file["trouble"]


@pytest.mark.parametrize(
    ("uri", "code", "said"),
    [
        ("https://user:pass@a.example/x.json", 2, "not taken in a URI"),
        ("https://0x7f.1/x.json", 2, "the host is a number"),
        ("ftp://a.example/x.json", 2, "https://, http:// or s3://"),
        ("https://a.example/x.txt", 3, "rename"),
        ("https://a.example/x.json", 3, "host_not_allowed"),
        ("https://169.254.169.254/x.json", 3, "UriAllowedHosts"),
        ("http://127.0.0.1:1/x.json", 4, "unreachable"),
        ("nowhere.json", 2, "does not exist"),
    ],
)
def test_the_command_says_what_is_wrong_and_ends_with_whose_fault_it_is(
    commanded: Fetching, uri: str, code: int, said: str
):
    result = command.run(commanded.cloud, "import", uri)
    assert (result.exit_code, said in " ".join(result.output.split())) == (code, True), result.output
    assert "pass@" not in result.output


def test_the_command_takes_credentials_for_uris_only(commanded: Fetching, tmp_path: Path):
    (tmp_path / "x.json").write_bytes(ROW)
    result = command.run(commanded.cloud, "import", str(tmp_path / "x.json"), "--credentials", "ssm:a")
    assert (result.exit_code, "are for URIs" in result.output) == (2, True)
    key = command.run(commanded.cloud, "import", "s3://bucket/x.json", "--credentials", "AKIAIOSFODNN7EXAMPLE")
    assert (key.exit_code, "AKIA" in key.output) == (2, False)


def test_fetches_are_listed_and_shown(commanded: Fetching):
    command.run(commanded.cloud, "import", commanded.uri)
    command.run(commanded.cloud, "import", "https://a.example/x.json")
    with commanded.cloud.unseen():
        newest, first = FetchesTable(records(), commanded.cloud.imports_table).fetches(2)
    listed = command.run(commanded.cloud, "fetches").output
    assert [listed.index(text) for text in (newest.id, "host_not_allowed", first.id)] == sorted(
        listed.index(text) for text in (newest.id, "host_not_allowed", first.id)
    )
    one = command.run(commanded.cloud, "fetches", first.id).output
    assert (first.execution_id in one, "secret" in one) == (True, False)
    told = json.loads(command.run(commanded.cloud, "fetches", first.id, "--json").stdout)["fetch"]
    assert (told["execution"]["status"], told["uri"]) == ("SUCCEEDED", commanded.uri.partition("?")[0])
    assert command.run(commanded.cloud, "fetches", "none").exit_code == 2


def test_a_dead_letter_of_a_fetch_is_delivered_again(commanded: Fetching, monkeypatch: pytest.MonkeyPatch):
    """After five deliveries in vain; what it was about is told."""
    monkeypatch.setattr(dead_letters, "_WAIT_SECONDS", 0)
    fetch_id = commanded.door.post(PATH, json={"uri": commanded.uri}).json["data"]["id"]
    with commanded.cloud.unseen():
        sqs = commanded.cloud.client("sqs")
        sqs.purge_queue(QueueUrl=commanded.queue_url)
        body = json.dumps({"schema": "fetch/1", "fetch_id": fetch_id})
        sqs.send_message(QueueUrl=commanded.cloud.dead_letter_queue_url, MessageBody=body)
    result = command.run(commanded.cloud, "redrive", "--dead-letters", "--yes", "--json")
    (letter,) = json.loads(result.stdout)["dead_letters"]
    assert (result.exit_code, letter["what"], letter["fetch_id"]) == (0, "fetch", fetch_id)
    assert letter["outcome"] == "sent to the fetch queue"
    assert [fetch["id"] for fetch in commanded.work()] == [fetch_id]
    assert commanded.cloud.messages(commanded.cloud.dead_letter_queue_url) == []


# ---- Pages -----------------------------------------------------------------------------------------------------------


def test_every_reason_is_on_the_page():
    """With what it means and what to do; and no other."""
    page = (Path(__file__).parents[2] / "docs" / "import-by-uri.md").read_text(encoding="utf-8")
    table = page.partition("## Why a fetch failed")[2]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")][1:]
    assert [row[1].strip(" `") for row in rows] == [reason.value for reason in FetchReason]
    assert all(len(row) == 5 and row[2].strip() and row[3].strip() for row in rows)
