"""Signed forms and tokens through the twin, which checks a form's signature and its policy as S3 does."""

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner

from cli import tokens, twin
from cli.connection import Connection, of_stack
from cli.main import main
from importer.aws.clock import SystemClock
from importer.aws.posting import Forms
from importer.aws.tables import ImportsTable
from importer.definitions import Definition
from importer.doors.tokens import Right
from importer.doors.uploads import Upload, upload
from tests.e2e.bench import Bench, require_curl, today, until

pytestmark = pytest.mark.xdist_group("twin")

ROW = b'{"user_id":"posted","event_name":"login","event_time_ts":1763712000000}\n'
SHOP = Definition(id="shop", name="The shop")


@pytest.fixture(scope="module", autouse=True)
def curl_is_there() -> None:
    """What is tested are lines of curl."""
    require_curl()


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with twin.running(tmp_path_factory.mktemp("twin"), ["UploadMaxMiB=1"]) as stack:
        bench = Bench(stack)
        ImportsTable(bench.dynamodb, stack.imports_table).create_definition(SHOP, 1)
        yield bench


@pytest.fixture
def connection(bench: Bench) -> Connection:
    return of_stack(bench.stack)


def signed(
    connection: Connection, file_name: str = "monday.json", most_bytes: int = 1_000, seconds: int = 900
) -> Upload:
    forms = Forms(connection.signer)
    return upload(forms, connection.stack.bucket, SHOP, file_name, most_bytes, SystemClock().now_ms(), seconds)


def posted(line: str, folder: Path) -> tuple[int, str]:
    """curl's exit code and what S3 said."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(["sh", "-c", line], cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", ["monday.json", 'it\'s "my" <file>;a=b,ü \\x.ndjson', "@m.jsonl", "-o x.json"])
def test_a_file_posted_by_the_line_of_curl_is_imported(
    bench: Bench, connection: Connection, tmp_path: Path, name: str
) -> None:
    """Whatever it is called, under the definition its folder is of."""
    (tmp_path / name).write_bytes(ROW)
    made = signed(connection, name)
    assert posted(made.curl(name), tmp_path) == (0, "")
    stem = made.key.removeprefix("imports/")
    receipt = bench.receipt(stem)
    assert (receipt["status"], receipt["good"]) == ("SUCCEEDED", 1)
    assert bench.get(f"completed_imports/{today()}/{stem}") == ROW


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"key": "imports/other/monday.json"}, "AccessDenied"),
        ({"key": "completed_imports/monday.json"}, "AccessDenied"),
        ({"Content-Type": "text/html"}, "AccessDenied"),
        ({"x-amz-meta-more": "field"}, "AccessDenied"),
        ({"acl": "public-read"}, "AccessDenied"),
        ({"x-amz-signature": "0" * 64}, "SignatureDoesNotMatch"),
        ({"policy": "e30="}, "<Error>"),
    ],
)
def test_a_form_that_was_changed_posts_nothing(
    bench: Bench, connection: Connection, tmp_path: Path, change: dict[str, str], says: str
) -> None:
    """Not another key, not another type, not one field more."""
    (tmp_path / "monday.json").write_bytes(ROW)
    made = signed(connection)
    code, answer = posted(replace(made, fields=made.fields | change).curl("monday.json"), tmp_path)
    assert (code, says in answer, _there(bench, made.key)) == (22, True, False)


def test_a_file_that_is_too_large_is_not_taken(bench: Bench, connection: Connection, tmp_path: Path) -> None:
    made = signed(connection, most_bytes=2 * len(ROW))
    (tmp_path / "monday.json").write_bytes(3 * ROW)
    code, answer = posted(made.curl("monday.json"), tmp_path)
    assert (code, "EntityTooLarge" in answer, _there(bench, made.key)) == (22, True, False)
    (tmp_path / "monday.json").write_bytes(2 * ROW)
    assert posted(made.curl("monday.json"), tmp_path) == (0, "")


def test_a_form_ends(connection: Connection, tmp_path: Path) -> None:
    (tmp_path / "monday.json").write_bytes(ROW)
    line = signed(connection, seconds=1).curl("monday.json")
    until(lambda: "expired" in posted(line, tmp_path)[1])


def _there(bench: Bench, key: str) -> bool:
    return bool(bench.s3.list_object_versions(Bucket=bench.stack.bucket, Prefix=key).get("Versions"))


def test_the_command_takes_its_limit_from_the_template_and_its_line_works(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = _run(bench, tmp_path, monkeypatch, "presign", str(_file(tmp_path)), "--import", "shop", "--json")
    said = json.loads(result)
    assert said["max_bytes"] == 1 << 20
    assert posted(said["curl"], tmp_path) == (0, "")
    assert bench.receipt(said["key"].removeprefix("imports/"))["good"] == 1


def test_tokens_are_made_listed_and_taken_back(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the parameters of an AWS that looks at names as SSM does."""
    made = json.loads(_run(bench, tmp_path, monkeypatch, "token", "create", "ci {{x}}", "--write", "shop", "--json"))
    listed = json.loads(_run(bench, tmp_path, monkeypatch, "token", "list", "--json"))["tokens"]
    assert {name: value for name, value in made.items() if name != "token"} in listed
    _run(bench, tmp_path, monkeypatch, "token", "revoke", made["id"], "--yes")
    left = json.loads(_run(bench, tmp_path, monkeypatch, "token", "list", "--json"))["tokens"]
    assert left == [one for one in listed if one["id"] != made["id"]]


def _asked(bench: Bench, token: str, body: bytes = b'{"file_name": "monday.json"}') -> tuple[int, Any]:
    """What the HTTP door says to somebody who wants to upload."""
    url = f"{bench.stack.api_url}/v1/datamarts/1/document_imports/shop/uploads"
    headers = {"Authorization": token, "Content-Type": "application/json"}
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, body, headers), timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as problem:
        with problem:
            return problem.code, json.load(problem)


def test_the_door_gives_whoever_may_write_a_form_that_its_own_role_signed_and_logs_none_of_it(
    bench: Bench, connection: Connection, tmp_path: Path
) -> None:
    """By the rights of the API function's role, under the template's own policy (J3, J4, J8)."""
    now_ms = SystemClock().now_ms()
    writer = tokens.make(connection, "writer", {"shop": [Right.WRITE]}, now_ms, now_ms + 3_600_000)
    reader = tokens.make(connection, "reader", {"*": [Right.READ], "app": [Right.ADMIN]}, now_ms, None)
    over = tokens.make(connection, "over", {"*": [Right.ADMIN]}, now_ms, now_ms)
    code, said = _asked(bench, f"Bearer {writer.text}")
    assert (code, said["status"], said["data"]["max_bytes"]) == (201, "ok", 1 << 20)
    _file(tmp_path)
    assert posted(said["data"]["curl"], tmp_path) == (0, "")
    assert bench.receipt(said["data"]["key"].removeprefix("imports/"))["good"] == 1

    wrong = writer.text[:-2] + "AA"
    assert [_asked(bench, one)[0] for one in (reader.text, over.text, wrong, "Bearer", "")] == [403, 401, 401, 401, 401]
    assert _asked(bench, writer.text, b'{"file_name": "monday.txt"}')[1]["code"] == "wrong_kind"

    logged = _logged(bench)
    assert "ApiFunction" in bench.stack.functions
    secret = [writer.text.partition(".")[2], reader.text.partition(".")[2], wrong.partition(".")[2]]
    secret += [said["data"]["fields"][name] for name in ("policy", "x-amz-signature")]
    assert not [one for one in secret if one in logged]


def _logged(bench: Bench) -> str:
    """All that the functions have logged, and the twin's own log."""
    stack = bench.stack
    logs = boto3.Session(stack.access_key_id, stack.secret_access_key, region_name=stack.region).client(
        "logs", endpoint_url=stack.endpoint_url
    )
    groups = [group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]]
    assert [name for name in groups if name.endswith("-api")], groups
    events = [event for name in groups for event in logs.filter_log_events(logGroupName=name)["events"]]
    return "\n".join(event["message"] for event in events)


def _file(tmp_path: Path) -> Path:
    path = tmp_path / "monday.json"
    path.write_bytes(ROW)
    return path


def _run(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    (tmp_path / "outputs.json").write_text(bench.stack.to_json())
    result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout
