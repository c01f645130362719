"""`verify`, `status`, `cancel`, `redrive` against an installation on the fake cloud: what they print and exit with."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import Result

from cli import dead_letters, stopping, twin
from cli.workplace import settings_of
from importer.aws.settings import Settings
from tests.faults.files import FILES, VENDOR_ROWS, many_rows
from tests.faults.importing import Importer, installed
from tests.support import command

KEY = "imports/logins.json"


@pytest.fixture
def installation(monkeypatch, tmp_path) -> Iterator[Importer]:
    """An importer that cuts files at 4 KiB, and takes its time; the command takes it for the twin."""
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    with installed(part_bytes=4096, write_ms=15_000, hop_seconds=60) as importer:
        cloud = importer.cloud
        command.write_outputs(cloud, tmp_path)
        settings = Settings(
            cloud.bucket, cloud.events_table, cloud.users_table, cloud.imports_table, ("dynamodb",), part_bytes=4096
        )
        monkeypatch.setattr(stopping, "settings_of", lambda connection: settings)
        monkeypatch.setattr(dead_letters, "_WAIT_SECONDS", 0)
        yield importer


def run(importer: Importer, *arguments: str) -> Result:
    return command.run(importer.cloud, *arguments)


def execution_id(importer: Importer, number: int = 0) -> str:
    return str(importer.executions()[number]["id"])


def failed(importer: Importer) -> str:
    """A FAILED execution of a file that was cut in two places."""
    importer.deliver(importer.cloud.drop("imports/cut.json.gz", FILES["gzip of two members"][1][:-5]))
    return next(str(item["id"]) for item in importer.executions() if item["status"] == "FAILED")


# -- verify --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [[], ["--all"]])
def test_verify_says_the_sums_when_the_books_balance(installation: Importer, arguments: list[str]) -> None:
    installation.deliver(installation.cloud.drop(KEY, VENDOR_ROWS))
    result = run(installation, "verify", KEY, *arguments)
    assert result.exit_code == 0
    assert "balanced: 4 rows = 3 in the store + 1 in errors/" in result.stdout
    assert ("--all searches" in result.stdout) is (not arguments)


def test_verify_takes_an_id_or_any_key_of_the_import(installation: Importer) -> None:
    [execution] = installation.deliver(installation.cloud.drop(KEY, VENDOR_ROWS))
    to = execution.outcome.destination
    version = execution.source.version_id
    for name in (execution.id, "logins.json", f"s3://{installation.cloud.bucket}/{KEY}", to.completed, to.receipt):
        assert run(installation, "verify", name).exit_code == 0, name
    for name in (to.errors, to.reasons):
        assert run(installation, "verify", name).exit_code == 0, name
    assert run(installation, "verify", KEY, "--version-id", version).exit_code == 0
    assert run(installation, "verify", KEY, "--version-id", "another").exit_code == 2
    for name in ("imports/nothing.json", "s3://elsewhere/imports/a.json", "f" * 32):
        assert run(installation, "verify", name).exit_code == 2, name


def test_of_several_uploads_of_a_key_the_newest_is_meant(installation: Importer) -> None:
    [older] = installation.deliver(installation.cloud.drop(KEY, VENDOR_ROWS))
    installation.cloud.clock.sleep(60)
    [newer] = installation.deliver(installation.cloud.drop(KEY, VENDOR_ROWS + b"no row\n"))
    said = json.loads(run(installation, "verify", KEY, "--json").stdout)
    assert (said["execution_id"], said["rows"]) == (newer.id, 5)
    version = older.source.version_id
    said = json.loads(run(installation, "verify", KEY, "--json", "--version-id", version).stdout)
    assert (said["execution_id"], said["rows"]) == (older.id, 4)


def test_verify_names_the_row_that_is_missing(installation: Importer) -> None:
    installation.deliver(installation.cloud.drop(KEY, VENDOR_ROWS))
    item = installation.cloud.items(installation.cloud.events_table)[1]
    key = {name: {"S": item[name]} for name in ("user_id", "event_key")}
    with installation.cloud.unseen():
        installation.cloud.client("dynamodb").delete_item(TableName=installation.cloud.events_table, Key=key)
    result = run(installation, "verify", KEY)
    assert result.exit_code == 1
    assert "not balanced: 1 missing" in result.stdout
    assert f"line 3  byte {item['address']:,}" in result.stdout
    said = json.loads(run(installation, "verify", KEY, "--json").stdout)
    assert said["balanced"] is False
    assert [(finding["kind"], finding["where"], finding["line"]) for finding in said["findings"]] == [
        ("missing", "events", 3)
    ]


def test_verify_of_what_has_not_ended_is_unavailable(installation: Importer) -> None:
    installation.deliver(installation.cloud.drop("imports/many.json", many_rows(100)))
    result = run(installation, "verify", "imports/many.json")
    assert result.exit_code == 4
    assert "can be recounted when nothing is left to do" in result.stderr


# -- status --------------------------------------------------------------------------------------------------------


def test_status_shows_each_part_and_what_it_waits_for(installation: Importer) -> None:
    installation.deliver(installation.cloud.drop("imports/many.json", many_rows(100)))
    installation.work_on(sorted(set(installation.cloud.messages()))[0])
    result = run(installation, "status", "imports/many.json")
    assert result.exit_code == 0
    assert "Parts (0 of 4 done)" in result.stdout
    assert "parts waiting for a worker" in result.stdout
    said = json.loads(run(installation, "status", execution_id(installation), "--json").stdout)
    assert [part["state"] for part in said["parts"]] == ["waiting"] * 4
    assert [part["start"] for part in said["parts"]] == [0, 4096, 8192, 12288]
    assert 0 < said["share_read"] < 1
    assert said["parts"][0]["hops"] == 1
    assert said["cost"]["units"]["event_write_units"] == sum(part["good"] for part in said["parts"]) > 0


def test_status_of_an_ended_import_waits_for_nothing(installation: Importer) -> None:
    installation.deliver(installation.cloud.drop(KEY, VENDOR_ROWS))
    result = run(installation, "status", KEY, "--watch")
    assert result.exit_code == 0
    assert "Nothing: it has ended SUCCEEDED." in result.stdout
    assert "100 %" in result.stdout
    shown = run(installation, "executions", execution_id(installation)).stdout
    assert all("at least $0.0000" in text and "for events" in text for text in (result.stdout, shown))


def test_status_alone_shows_what_has_not_ended_and_the_queues(installation: Importer) -> None:
    assert "Nothing is being imported in the twin." in run(installation, "status").stdout
    installation.deliver(installation.cloud.drop("imports/many.json", many_rows(100)))
    letter(installation, {"hello": 1})
    result = run(installation, "status")
    assert execution_id(installation) in result.stdout
    assert "4 messages" in result.stdout
    assert "importer redrive --dead-letters --dry-run" in result.stdout
    said = json.loads(run(installation, "status", "--json").stdout)
    assert [now["execution"]["id"] for now in said["unfinished"]] == [execution_id(installation)]
    assert (said["part_queue"]["visible"], said["dead_letters"]["visible"]) == (4, 1)


def test_watching_ends_with_the_time_given(installation: Importer) -> None:
    installation.deliver(installation.cloud.drop("imports/many.json", many_rows(100)))
    assert run(installation, "status", "imports/many.json", "--watch", "--timeout", "0").exit_code == 4


# -- lists ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", ["80", "100"])
@pytest.mark.parametrize("verb", ["executions", "status"])
def test_names_in_lists_are_whole_however_narrow_it_is(
    installation: Importer, monkeypatch: pytest.MonkeyPatch, verb: str, columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    name = f"a folder/{'corrupt-' * 20}.ndjson"
    installation.deliver(installation.cloud.drop(f"imports/{name}", many_rows(100)))
    [line] = [line for line in run(installation, verb).stdout.splitlines() if name in line]
    assert execution_id(installation) in line, "one a line, for grep"


def test_executions_takes_a_key_as_status_does(installation: Importer) -> None:
    [execution] = installation.deliver(installation.cloud.drop(KEY, VENDOR_ROWS))
    for name in (execution.id, KEY, "logins.json", execution.outcome.destination.errors):
        result = run(installation, "executions", name)
        assert (result.exit_code, f"Execution {execution.id}" in result.stdout) == (0, True), name
    result = run(installation, "executions", "imports/nothing.json")
    assert (result.exit_code, "no execution of s3://" in result.stderr) == (2, True)


# -- cancel --------------------------------------------------------------------------------------------------------


def test_cancel_ends_what_is_being_read_and_says_what_stays(installation: Importer) -> None:
    installation.deliver(installation.cloud.drop("imports/many.json", many_rows(100)))
    installation.work_on(sorted(set(installation.cloud.messages()))[0])
    assert run(installation, "cancel", "imports/many.json").exit_code == 2, "nobody was asked"
    result = run(installation, "cancel", "imports/many.json", "--yes")
    assert result.exit_code == 0, result.output
    assert "Cancelled. What was read before stays:" in result.stdout
    assert installation.executions()[0]["status"] == "CANCELED"
    assert run(installation, "verify", "imports/many.json", "--all").exit_code == 0
    again = run(installation, "cancel", "imports/many.json", "--yes")
    assert (again.exit_code, "it has ended CANCELED" in again.stderr) == (1, True)


def test_cancel_of_what_has_ended_says_why_not(installation: Importer) -> None:
    installation.deliver(installation.cloud.drop(KEY, VENDOR_ROWS))
    result = run(installation, "cancel", KEY, "--yes")
    assert (result.exit_code, "it has ended SUCCEEDED" in result.stderr) == (1, True)


# -- redrive -------------------------------------------------------------------------------------------------------


def test_redrive_takes_a_failed_import_up_again(installation: Importer) -> None:
    execution = failed(installation)
    result = run(installation, "redrive", execution, "--yes")
    assert result.exit_code == 0, result.output
    assert "PENDING: attempt 2" in result.stdout
    [message] = installation.cloud.messages()
    installation.work_on(message)
    assert installation.executions()[0]["status"] == "FAILED", "the file is what is broken"


def test_redrive_refuses_what_has_not_failed(installation: Importer) -> None:
    installation.deliver(installation.cloud.drop(KEY, VENDOR_ROWS))
    result = run(installation, "redrive", KEY, "--yes")
    assert (result.exit_code, "it is SUCCEEDED, and only FAILED imports can be" in result.stderr) == (1, True)


@pytest.mark.parametrize("arguments", [[], [KEY, "--dead-letters"], [KEY, "--dry-run"]])
def test_redrive_wants_one_of_both(installation: Importer, arguments: list[str]) -> None:
    assert run(installation, "redrive", *arguments).exit_code == 2


# -- dead letters --------------------------------------------------------------------------------------------------


def letter(importer: Importer, body: Any) -> None:
    with importer.cloud.unseen():
        text = body if isinstance(body, str) else json.dumps(body)
        importer.cloud.client("sqs").send_message(QueueUrl=importer.cloud.dead_letter_queue_url, MessageBody=text)


def asynchronous_failure(payload: Any) -> dict[str, Any]:
    """As Lambda writes it: docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html."""
    return {
        "version": "1.0",
        "timestamp": "2026-11-21T08:00:00.000Z",
        "requestContext": {
            "requestId": "e4b46cbf-b738-xmpl-8880-a18cdf61200e",
            "functionArn": "arn:aws:lambda:us-east-1:123456789012:function:import:$LATEST",
            "condition": "RetriesExhausted",
            "approximateInvokeCount": 3,
        },
        "requestPayload": payload,
        "responseContext": {"statusCode": 200, "executedVersion": "$LATEST", "functionError": "Unhandled"},
        "responsePayload": {"errorType": "Unavailable", "errorMessage": "GET s3://…: SlowDown"},
    }


def left(importer: Importer) -> int:
    return len(importer.cloud.messages(importer.cloud.dead_letter_queue_url))


def test_each_kind_of_dead_letter_is_delivered_again_and_then_deleted(installation: Importer) -> None:
    cloud = installation.cloud
    one = cloud.drop("imports/one.json", VENDOR_ROWS)
    two = cloud.drop("imports/two.json", many_rows(100))
    [third] = installation.deliver(cloud.drop("imports/three.json", many_rows(60)))
    task = json.loads(cloud.messages()[0])
    before = len(cloud.messages())
    letter(installation, asynchronous_failure(one))
    letter(installation, two)
    letter(installation, task)
    letter(installation, asynchronous_failure({"sweep": "unfinished"}))
    result = run(installation, "redrive", "--dead-letters", "--yes")
    assert result.exit_code == 0, result.output
    assert "Unavailable: GET s3://…: SlowDown" in result.stdout
    assert "tried 3 times" in result.stdout
    assert "received 1 time, looks included" in result.stdout
    assert "What became of them" in result.stdout
    assert left(installation) == 0
    assert len(cloud.messages()) == before + 1 + 4 + 1
    assert {item["parameters"]["input_file_name"] for item in installation.executions()} == {
        "one.json",
        "two.json",
        "three.json",
    }
    assert f"part from byte {task['start']:,} of execution {third.id}" in result.stdout


def test_a_letter_of_a_preview_invokes_the_preview_function_again(installation: Importer, monkeypatch) -> None:
    """The import function would pass it over, and nobody would hear of it again."""
    invoked: list[tuple[str, bytes]] = []
    monkeypatch.setattr(stopping, "_invoked_again", lambda connection: lambda *told: invoked.append(told))
    notification = installation.cloud.drop("previews/one.json", VENDOR_ROWS)
    letter(installation, asynchronous_failure(notification))
    told = json.loads(run(installation, "redrive", "--dead-letters", "--dry-run", "--json").stdout)["dead_letters"]
    assert [(one["what"], one["files"]) for one in told] == [
        ("preview", [f"s3://{installation.cloud.bucket}/previews/one.json"])
    ]
    installation.cloud.clock.sleep(1)
    result = run(installation, "redrive", "--dead-letters", "--yes")
    assert (result.exit_code, left(installation)) == (0, 0), result.output
    assert "previews/one.json: sent to the preview function" in result.stdout
    assert [(name, json.loads(payload)) for name, payload in invoked] == [("PreviewFunction", notification)]
    assert installation.executions() == []


@pytest.mark.parametrize("of", ["the notification", "a part"])
def test_a_letter_of_a_failed_import_says_that_only_a_redrive_takes_it_up(installation: Importer, of: str) -> None:
    notification = installation.cloud.drop("imports/cut.json.gz", FILES["gzip of two members"][1][:-5])
    installation.deliver(notification)
    execution = execution_id(installation)
    task = {"schema": "task/1", "execution_id": execution, "start": 0}
    letter(installation, asynchronous_failure(notification) if of == "the notification" else task)
    result = run(installation, "redrive", "--dead-letters", "--yes")
    assert (result.exit_code, left(installation)) == (0, 0), result.output
    assert f"nothing to do; `importer redrive {execution}" in result.stdout
    assert installation.executions()[0]["status"] == "FAILED"


@pytest.mark.parametrize("told", [True, False])
def test_a_notice_that_was_not_sent_is_sent_by_its_function(
    installation: Importer, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    """Or it is a letter again: the function has kept it, and this one goes all the same."""
    body = {"schema": "notice_due/1", "execution_id": "e" * 32, "why": "the bus was away", "closed": {}}
    sent: list[str] = []
    monkeypatch.setattr(stopping, "teller_of", lambda connection: lambda text: (sent.append(text), told)[1])
    letter(installation, body)
    result = run(installation, "redrive", "--dead-letters", "--yes")
    assert [json.loads(text) for text in sent] == [body]
    assert (result.exit_code, left(installation)) == (0 if told else 4, 0), result.output
    assert f"notice of execution {'e' * 32}: {'told' if told else 'still cannot be sent'}" in result.stdout
    assert "the bus was away" in result.stdout


def test_what_lambda_could_not_tell_for_a_day_stays_and_says_where_to_look(installation: Importer) -> None:
    """It has a place in the stream, which has forgotten it."""
    arrived = "2026-11-21T08:00:00.000Z"
    letter(installation, {"requestContext": {}, "DDBStreamBatchInfo": {"approximateArrivalOfFirstRecord": arrived}})
    result = run(installation, "redrive", "--dead-letters", "--yes")
    assert (result.exit_code, left(installation)) == (1, 1), result.output
    assert f"closed at {arrived}" in result.stdout


def test_a_dry_run_tells_and_changes_nothing(installation: Importer) -> None:
    letter(installation, asynchronous_failure(installation.cloud.drop("imports/one.json", VENDOR_ROWS)))
    result = run(installation, "redrive", "--dead-letters", "--dry-run", "--json")
    [told] = json.loads(result.stdout)["dead_letters"]
    assert told["files"] == [f"s3://{installation.cloud.bucket}/imports/one.json"]
    assert (told["what"], told["tried"], told["outcome"]) == ("notification", 3, None)
    assert (result.exit_code, left(installation), installation.executions()) == (0, 1, [])
    installation.cloud.clock.sleep(1)
    with installation.cloud.unseen():
        queue = installation.cloud.client("sqs")
        again = queue.receive_message(QueueUrl=installation.cloud.dead_letter_queue_url)
    assert len(again["Messages"]) == 1, "others see it again at once"


@pytest.mark.parametrize(
    "body",
    [
        "no JSON",
        {"hello": 1},
        [1],
        {"schema": "task/2", "execution_id": "e", "start": 0},
        {"schema": "task/1", "execution_id": "f" * 32, "start": 0},
        {"requestContext": {}, "requestPayload": {"Records": [{"eventSource": "aws:other"}]}},
    ],
)
def test_what_is_not_understood_stays_and_is_shown(installation: Importer, body: Any) -> None:
    letter(installation, body)
    result = run(installation, "redrive", "--dead-letters", "--yes")
    assert (result.exit_code, left(installation)) == (1, 1), result.output
    assert "stays in the queue" in result.stdout


def test_a_letter_that_cannot_be_delivered_stays(installation: Importer, monkeypatch) -> None:
    def silent(place: Any, dropped: Any) -> Any:
        raise stopping.executions.importing.Unavailable("nobody answers")

    letter(installation, installation.cloud.drop("imports/one.json", VENDOR_ROWS))
    monkeypatch.setattr(dead_letters.executions, "deliver", silent)
    result = run(installation, "redrive", "--dead-letters", "--yes")
    assert (result.exit_code, left(installation)) == (4, 1), result.output
    assert "nobody answers" in result.stdout


def test_a_letter_about_a_file_that_is_gone_needs_nothing(installation: Importer) -> None:
    notification = installation.cloud.drop("imports/one.json", VENDOR_ROWS)
    with installation.cloud.unseen():
        version = notification["Records"][0]["s3"]["object"]["versionId"]
        s3 = installation.cloud.client("s3")
        s3.delete_object(Bucket=installation.cloud.bucket, Key="imports/one.json", VersionId=version)
    letter(installation, notification)
    result = run(installation, "redrive", "--dead-letters", "--yes")
    assert (result.exit_code, left(installation)) == (0, 0), result.output
    assert "imports/one.json is gone: nothing to do" in result.stdout


def test_without_dead_letters_it_says_so(installation: Importer) -> None:
    result = run(installation, "redrive", "--dead-letters")
    assert (result.exit_code, result.stdout) == (0, "There are no dead letters in the twin.\n")


def test_executions_begin_with_what_the_function_was_told() -> None:
    """Sinks and part size are read from the deployed function, not guessed."""

    class Connection:
        name = "stack"
        stack = type("Stack", (), {"functions": {"ImportFunction": "import"}})

        @staticmethod
        def functions() -> Any:
            told = {"BUCKET_NAME": "b", "EVENTS_TABLE": "e", "USERS_TABLE": "u", "IMPORTS_TABLE": "i"}
            told |= {"SINKS": "firehose", "DELIVERY_STREAM": "s", "PART_SIZE_MIB": "64"}
            answer = {"Environment": {"Variables": told}}
            return type("Client", (), {"get_function_configuration": staticmethod(lambda FunctionName: answer)})

    settings = settings_of(Connection())  # type: ignore[arg-type]
    assert (settings.sinks, settings.part_bytes) == (("firehose",), 64 << 20)
