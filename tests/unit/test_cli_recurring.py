"""`importer recurring …`, and what other verbs say of a series, against a fake cloud."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ReadTimeoutError
from click.testing import Result

from cli import recurring as verbs
from cli import twin
from cli.connection import CannotReach, Connection
from cli.stack import Stack
from importer.doors import recurring
from tests.faults.importing import Importer, installed
from tests.support import command

ROW = '{"user_id":"u","event_name":"e","event_time_ts":1425920218354,"n":%d}\n'
MISSING = {"permission": "s3:PutObject", "resource": "arn:aws:s3:::b/errors/*", "answer": "by a policy"}


class Installation:
    """A twin whose schedule function is this process. `missing` is what it says it may not do."""

    def __init__(self, importer: Importer) -> None:
        self.importer = importer
        self.cloud = importer.cloud
        self.missing: list[dict[str, str]] = []
        self.asked: list[dict[str, Any]] = []

    def invoked(self, connection: Connection, event: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        self.asked.append(event)
        if "check" in event:
            return {"check": event["check"], "missing": self.missing}
        ran = recurring.run(self.importer.workplaces(lambda: 900_000), event["import_id"])
        said: dict[str, Any] = json.loads(json.dumps(ran.document()))
        return said

    def drop(self, *names: str, rows: int = 2) -> None:
        for name in names:
            body = "".join(ROW % number for number in range(rows)).encode()
            self.importer.deliver(self.cloud.drop(f"imports/accounts/{name}", body))

    def say(self, *arguments: str) -> Result:
        return command.run(self.cloud, *arguments)


@pytest.fixture
def installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Installation]:
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    with installed(write_ms=2_000) as importer:
        command.write_outputs(importer.cloud, tmp_path)
        outputs = json.loads((tmp_path / "outputs.json").read_text())
        outputs["functions"]["ScheduleFunction"] = "schedule"
        (tmp_path / "outputs.json").write_text(json.dumps(outputs))
        one = Installation(importer)
        monkeypatch.setattr(verbs, "_invoked", one.invoked)
        made = one.say("imports", "create", "accounts", "--base-file-name", "accounts.json")
        assert "importer recurring check accounts" in made.output
        yield one


def checked(installation: Installation) -> tuple[int, dict[str, Any]]:
    result = installation.say("recurring", "check", "accounts", "--json")
    said: dict[str, Any] = json.loads(result.stdout)
    return result.exit_code, said


def codes(said: dict[str, Any]) -> list[str]:
    return [problem["code"] for problem in said["problems"]]


# ---- check -----------------------------------------------------------------------------------------------------------


def test_check_wants_a_file(installation: Installation):
    """K26: at set-up at least one valid file must be there."""
    exit_code, said = checked(installation)
    assert (exit_code, said["ok"], codes(said)) == (1, False, ["no_file"])
    assert "accounts-20240101000000.json" in said["problems"][0]["remedy"]


def test_check_shows_what_would_be_made_of_the_first_file(installation: Installation):
    """K26: events and properties; nothing is written by it."""
    installation.drop("accounts-2.json", "accounts-1.json")
    before = installation.cloud.objects(), installation.importer.executions()
    exit_code, said = checked(installation)
    assert (exit_code, said["problems"], said["first_file"]) == (0, [], "imports/accounts/accounts-1.json")
    assert said["waiting"] == ["imports/accounts/accounts-1.json", "imports/accounts/accounts-2.json"]
    assert (said["preview"]["rows"], said["series"]) == (2, "accounts*.json")
    page = installation.say("recurring", "check", "accounts").output
    assert "All is well" in page
    assert "2: accounts-1.json, accounts-2.json" in page
    assert (installation.cloud.objects(), installation.importer.executions()) == before
    assert installation.asked[0]["files"][0][0] == "imports/accounts/accounts-1.json"


def test_check_passes_over_files_an_import_would_refuse(installation: Installation):
    """The first valid one is shown; where there is none, why."""
    installation.cloud.drop("imports/accounts/accounts-0.json", b"\xff\xfe\x00")
    exit_code, said = checked(installation)
    assert (exit_code, codes(said), said["first_file"]) == (1, ["no_valid_file"], None)
    installation.drop("accounts-1.json")
    exit_code, said = checked(installation)
    assert (exit_code, said["first_file"]) == (0, "imports/accounts/accounts-1.json")


def test_check_names_each_missing_permission_with_its_remedy(installation: Installation):
    """What mends several is said once."""
    installation.drop("accounts-1.json")
    installation.missing = [MISSING, MISSING | {"permission": "dynamodb:PutItem", "resource": "table/events"}]
    exit_code, said = checked(installation)
    assert (exit_code, codes(said)) == (1, ["permission_missing", "permission_missing"])
    assert said["problems"][0]["message"] == "s3:PutObject on arn:aws:s3:::b/errors/* (by a policy)"
    page = " ".join(installation.say("recurring", "check", "accounts").output.split())
    assert "dynamodb:PutItem on table/events" in page
    assert page.count("allow it to the function's role") == 1


def test_check_says_that_the_schedule_does_not_see_what_was_written_by_hand(installation: Installation):
    """It goes by the list of definitions, in which only those are that a command has written."""
    item = {"pk": "IMPORT#hand", "sk": "IMPORT", "definition": {"base_file_name": "accounts.json"}}
    installation.cloud.put_item(installation.cloud.imports_table, item)
    said = json.loads(installation.say("recurring", "check", "hand", "--json").stdout)
    assert codes(said) == ["not_listed", "no_file"]
    remedy = said["problems"][0]["remedy"].strip("`").removeprefix("importer ").partition(" --stack")[0]
    assert installation.say(*remedy.split()).exit_code == 0
    assert codes(json.loads(installation.say("recurring", "check", "hand", "--json").stdout)) == ["no_file"]


def test_check_notes_what_may_not_be_meant(installation: Installation):
    """Names of another series; numbers that are not filled up."""
    installation.cloud.drop("imports/accounts/acounts-1.json", b"x")
    installation.drop("accounts-9.json", "accounts-10.json")
    _, said = checked(installation)
    assert len(said["notes"]) == 2
    assert "acounts-1.json" in said["notes"][0]
    assert said["notes"][1].startswith("accounts-10.json is read before accounts-9.json")


def test_check_of_an_older_stack_says_to_deploy(installation: Installation, tmp_path: Path):
    """There is no function to ask."""
    command.write_outputs(installation.cloud, tmp_path)
    assert codes(checked(installation)[1]) == ["no_function", "no_file"]


@pytest.mark.parametrize("verb", ["check", "run"])
def test_what_is_not_recurring_is_a_usage_error(installation: Installation, verb: str):
    """With the command that makes it so."""
    installation.say("imports", "create", "plain", "--name", "plain")
    result = installation.say("recurring", verb, "plain")
    assert result.exit_code == 2
    assert "importer imports change plain --base-file-name accounts.json" in " ".join(result.output.split())
    assert installation.say("recurring", verb, "nobody").exit_code == 2


@pytest.mark.parametrize("verb", ["check", "run"])
def test_help_has_examples(installation: Installation, verb: str):
    """And is true of exit codes."""
    assert "Examples:" in installation.say("recurring", verb, "--help").output


# ---- run -------------------------------------------------------------------------------------------------------------


def test_run_imports_the_next_file_and_says_what_waits(installation: Installation):
    """Its receipt, then the files behind it."""
    installation.drop("accounts-1.json", "accounts-2.json", "accounts-3.json")
    page = installation.say("recurring", "run", "accounts")
    assert page.exit_code == 0
    assert "accounts-1.json  SUCCEEDED" in page.output
    assert "2: accounts-2.json, accounts-3.json" in page.output
    said = json.loads(installation.say("recurring", "run", "accounts", "--json").stdout)
    assert [(one["uri"][-15:], one["receipt"]["good"]) for one in said["ended"]] == [("accounts-2.json", 2)]
    assert said["next"] == ["imports/accounts/accounts-3.json"]


def test_run_says_what_goes_on_with_the_next_run(installation: Installation):
    """And `status` what it waits for."""
    installation.say("imports", "change", "accounts", "--run-seconds", "3")
    installation.drop("accounts-1.json", rows=60)
    page = installation.say("recurring", "run", "accounts")
    assert (page.exit_code, "goes on with the next run" in " ".join(page.output.split())) == (0, True)
    (item,) = installation.importer.executions()
    said = json.loads(installation.say("status", item["id"], "--json").stdout)
    assert said["waits_for"] == ("The next run of its recurring import: `importer recurring run accounts` runs it now.")


def test_run_says_that_nothing_waits(installation: Installation):
    """Where to drop files."""
    page = installation.say("recurring", "run", "accounts")
    assert (page.exit_code, "No file accounts*.json waits in s3://" in page.output) == (0, True)


@pytest.mark.parametrize(("body", "exit_code"), [("x\n" + ROW % 1, 1), ('{\n "user_id": "u"\n}\n', 3)])
def test_exit_code_is_that_of_the_worst_file(installation: Installation, body: str, exit_code: int):
    """As that of `importer import`."""
    installation.cloud.drop("imports/accounts/accounts-1.json", body.encode())
    assert installation.say("recurring", "run", "accounts").exit_code == exit_code


def test_run_names_files_that_may_not_be_read(installation: Installation, monkeypatch: pytest.MonkeyPatch):
    """Exit code 4: a permission is missing."""
    ran = {"import_id": "accounts", "ended": [], "unfinished": None, "overlapped": False}
    ran |= {"denied": ["s3://b/imports/accounts/accounts-1.json"], "why_denied": "HEAD: allow s3:GetObject"}
    monkeypatch.setattr(verbs, "_invoked", lambda *_: ran)
    page = installation.say("recurring", "run", "accounts")
    assert page.exit_code == 4
    assert "accounts-1.json may not be read; passed over" in page.output
    assert "allow s3:GetObject" in page.output


# ---- The function ----------------------------------------------------------------------------------------------------


def connection_that(answer: Any) -> Connection:
    def invoke(**_: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    stack = Stack("r", "b", "e", "u", "i", "q", "d", "t", {"ScheduleFunction": "schedule"})
    client = SimpleNamespace(invoke=invoke)
    return Connection("the twin", stack, None, None, SimpleNamespace(client=lambda *_, **__: client))  # type: ignore[arg-type]


def test_what_the_function_raises_is_told_in_its_words():
    """And a time-out is no failure: it goes on."""
    failed = {"FunctionError": "Unhandled", "Payload": io.BytesIO(b'{"errorMessage": "allow s3:ListBucket"}')}
    for answer, says in (
        (failed, "function schedule: allow s3:ListBucket"),
        (ReadTimeoutError(endpoint_url="x"), "it goes on"),
        ({"Payload": io.BytesIO(b"null")}, "function schedule: None"),
    ):
        with pytest.raises(CannotReach, match=says):
            verbs._invoked(connection_that(answer), {"check": "accounts"}, 1)
    done = {"Payload": io.BytesIO(b'{"missing": []}')}
    assert verbs._invoked(connection_that(done), {"check": "accounts"}, 1) == {"missing": []}


# ---- Other verbs -----------------------------------------------------------------------------------------------------


def test_import_leaves_a_file_of_the_series_to_its_turn(installation: Installation, tmp_path: Path):
    """It does not wait for what may come in an hour."""
    (tmp_path / "accounts-1.json").write_text(ROW % 1)
    result = installation.say("import", "--import-id", "accounts", str(tmp_path / "accounts-1.json"))
    assert (result.exit_code, "importer recurring run accounts" in " ".join(result.output.split())) == (0, True)
    assert list(installation.cloud.objects("imports/")) == ["imports/accounts/accounts-1.json"]
    said = json.loads(
        installation.say("import", "--json", "--import-id", "accounts", str(tmp_path / "accounts-1.json")).stdout
    )
    assert [(one["exit_code"], one["execution"]) for one in said["files"]] == [(0, None)]
