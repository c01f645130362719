"""`importer token` and `importer presign` against a fake cloud: what they keep, print and exit with."""

import json
import re
import shlex
from base64 import b64decode
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from click.testing import Result

from cli import tokens, twin
from cli.stack import Stack
from importer.aws.clock import SystemClock
from importer.doors.tokens import Grant, Right, granted
from tests.support import command
from tests.support.cloud import Cloud
from tests.support.command import TOKENS_PATH

NOW = 1_763_712_000_123
TOKEN = re.compile(r"\b[0-9a-f]{16}\.[A-Za-z0-9_-]{43}\b")


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cloud]:
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    monkeypatch.setattr(SystemClock, "now_ms", lambda _: NOW)
    with Cloud() as cloud:
        command.write_outputs(cloud, tmp_path)
        yield cloud


def token(cloud: Cloud, *arguments: str) -> Result:
    return command.run(cloud, "token", *arguments)


def kept(cloud: Cloud) -> dict[str, str]:
    """What SSM holds of tokens, by id."""
    with cloud.unseen():
        pages = cloud.client("ssm").get_paginator("get_parameters_by_path")
        found = [p for page in pages.paginate(Path=TOKENS_PATH, WithDecryption=True) for p in page["Parameters"]]
    assert {parameter["Type"] for parameter in found} <= {"SecureString"}
    return {parameter["Name"].removeprefix(f"{TOKENS_PATH}/"): parameter["Value"] for parameter in found}


def made(cloud: Cloud, *arguments: str) -> dict[str, Any]:
    result = token(cloud, "create", *arguments, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    return json.loads(result.stdout)


def define(cloud: Cloud, import_id: str) -> None:
    assert command.run(cloud, "imports", "create", import_id).exit_code == 0


# ---- create --------------------------------------------------------------------------------------------------------


def test_a_token_that_was_made_opens_the_door_it_was_made_for(cloud: Cloud) -> None:
    """What the command prints is what `granted` takes, by what it has kept."""
    said = made(cloud, "The shop's server", "--write", "shop", "--read", "*", "--read", "shop", "--days", "30")
    expires_ms = NOW + 30 * 86_400_000
    assert said == {
        "token": said["token"],
        "id": said["token"][:16],
        "name": "The shop's server",
        "scopes": {"*": ["read"], "shop": ["read", "write"]},
        "created_ms": NOW,
        "expires_ms": expires_ms,
    }
    stored = kept(cloud)
    grant = Grant(
        said["id"], said["name"], {"*": frozenset({Right.READ}), "shop": frozenset({Right.READ, Right.WRITE})}
    )
    assert granted(f"Bearer {said['token']}", stored.get, expires_ms - 1) == grant
    assert granted(f"Bearer {said['token']}", stored.get, expires_ms) is None


def test_a_person_sees_the_token_once_and_on_a_line_of_its_own(cloud: Cloud) -> None:
    define(cloud, "shop")
    result = token(cloud, "create", "ci", "--admin", "shop")
    text = TOKEN.findall(result.stdout)[0]
    shown = [" ".join(paragraph.split()) for paragraph in re.split(r"\n *\n", result.stdout)]
    assert (result.exit_code, result.stderr, shown) == (
        0,
        "",
        [
            f"Created: token {text[:16]} for ci. may admin shop expires 2026-11-21T08:00:00Z",
            text,
            "This is the only time it is shown. Send it as `Authorization: Bearer TOKEN`; where there are a user and a "
            "password, they are what stands before its dot and after it.",
        ],
    )
    assert text.partition(".")[2] not in json.dumps(kept(cloud)) + token(cloud, "list").output


def test_a_token_for_ever_says_so(cloud: Cloud) -> None:
    assert made(cloud, "x", "--read", "*", "--forever")["expires_ms"] is None
    assert "  never  " in token(cloud, "list").stdout


def test_a_right_to_an_import_nobody_has_defined_is_pointed_out(cloud: Cloud) -> None:
    """Most often it is a slip of the pen; `*` and `default` need no definition."""
    define(cloud, "shop")
    text = token(cloud, "create", "x", "--read", "shop", "--write", "shpo", "--read", "*", "--read", "default").stdout
    assert re.findall(r"There is no import definition (.*) yet", text) == ["shpo"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["x"], "Give --read, --write or --admin"),
        (["", "--read", "*"], "name is 1 to 100 characters"),
        (["x\ny", "--read", "*"], "without controls"),
        (["x", "--read", "a/b"], "the name of a folder"),
        (["x", "--read", "*", "--days", "0"], "--days"),
        (["x", *(f"--read=import-{number}" for number in range(300))], "give it rights to every import (*)"),
    ],
)
def test_what_cannot_be_a_token_is_a_usage_error_and_nothing_is_kept(
    cloud: Cloud, arguments: list[str], says: str
) -> None:
    result = token(cloud, "create", *arguments)
    assert (result.exit_code, kept(cloud)) == (2, {})
    assert says in " ".join(result.stderr.split())


# ---- list ----------------------------------------------------------------------------------------------------------


def test_the_list_shows_who_may_do_what_until_when_and_no_secret(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    first = made(cloud, "The shop's server", "--write", "shop", "--read", "shop", "--days", "1")
    monkeypatch.setattr(SystemClock, "now_ms", lambda _: NOW + 86_400_000)
    second = made(cloud, "operator", "--admin", "*")
    result = token(cloud, "list")
    assert (
        result.stdout
        == f"""\
  token             name               created               expires                      may
  {first["id"]}  The shop's server  2025-11-21T08:00:00Z  2025-11-22T08:00:00Z (over)  read, write shop
  {second["id"]}  operator           2025-11-22T08:00:00Z  2026-11-22T08:00:00Z         admin every import
"""
    )
    said = token(cloud, "list", "--json")
    shown = [{name: value for name, value in one.items() if name != "token"} for one in (first, second)]
    assert json.loads(said.stdout) == {"tokens": shown, "unusable": []}
    hidden = [one["token"].partition(".")[2] for one in (first, second)]
    for text in kept(cloud).values():
        hidden += [json.loads(text)["salt"], json.loads(text)["digest"]]
    assert not [secret for secret in hidden if secret in result.output + said.output]


def test_all_tokens_are_listed_oldest_first(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSM gives ten at a time, in no order."""
    names = []
    for number in range(12):
        monkeypatch.setattr(SystemClock, "now_ms", lambda _, now=NOW + number: now)
        names.append(made(cloud, f"token {number}", "--read", "*")["name"])
    assert [one["name"] for one in json.loads(token(cloud, "list", "--json").stdout)["tokens"]] == names


def test_without_tokens_the_list_says_how_to_make_one(cloud: Cloud) -> None:
    assert " ".join(token(cloud, "list").stdout.split()) == (
        "There are no tokens in the twin: `importer token create --help` says how to make one."
    )


def test_what_is_kept_among_the_tokens_and_is_none_is_named_and_can_be_removed(cloud: Cloud) -> None:
    with cloud.unseen():
        cloud.client("ssm").put_parameter(Name=f"{TOKENS_PATH}/by-hand", Value="hunter2", Type="SecureString")
    result = token(cloud, "list")
    assert ("by-hand is kept among the tokens" in result.stdout, "hunter2" in result.output) == (True, False)
    assert json.loads(token(cloud, "list", "--json").stdout) == {"tokens": [], "unusable": ["by-hand"]}
    assert token(cloud, "revoke", "by-hand", "--yes").exit_code == 0
    assert kept(cloud) == {}


def test_a_strangers_characters_reach_no_terminal(cloud: Cloud) -> None:
    """A name may have come from a script."""
    made(cloud, "a\u202eb\x9b31m", "--read", "*")
    assert not set("\u202e\x9b") & set(token(cloud, "list").stdout)


# ---- revoke --------------------------------------------------------------------------------------------------------


def test_a_revoked_token_is_gone_and_no_other(cloud: Cloud) -> None:
    first, second = (made(cloud, name, "--read", "*") for name in ("one", "two"))
    result = token(cloud, "revoke", first["id"], "--yes")
    assert (result.exit_code, result.stdout) == (
        0,
        f"Revoked: token {first['id']}. The door refuses it within 60 s.\n",
    )
    assert list(kept(cloud)) == [second["id"]]


def test_a_whole_token_may_be_given_and_its_secret_is_not_repeated(cloud: Cloud) -> None:
    """Found in a log, it is at hand as it is."""
    text = made(cloud, "one", "--read", "*")["token"]
    result = token(cloud, "revoke", text, "--yes", "--json")
    assert (json.loads(result.stdout), kept(cloud)) == ({"revoked": [text[:16]]}, {})
    assert text.partition(".")[2] not in result.output


def test_of_several_those_there_are_are_taken_back_and_the_others_named(cloud: Cloud) -> None:
    one = made(cloud, "one", "--read", "*")
    result = token(cloud, "revoke", "0" * 16, one["id"], "--yes")
    assert (result.exit_code, kept(cloud)) == (1, {})
    assert f"there is no token {'0' * 16} in the twin: `importer token list" in result.stderr


def test_without_a_person_to_ask_it_wants_yes(cloud: Cloud) -> None:
    one = made(cloud, "one", "--read", "*")
    result = token(cloud, "revoke", one["id"])
    assert (result.exit_code, "--yes" in result.stderr, list(kept(cloud))) == (2, True, [one["id"]])


def test_an_installation_without_the_door_says_so(cloud: Cloud) -> None:
    path = twin.DIRECTORY / "outputs.json"
    said = json.loads(path.read_text())
    del said["tokens_path"]
    path.write_text(json.dumps(said))
    for arguments in (["create", "x", "--read", "*"], ["list"], ["revoke", "x", "--yes"]):
        result = token(cloud, *arguments)
        assert result.exit_code == 4
        assert "the twin has no HTTP door: it is older than this command. Deploy this version" in result.stderr


def test_a_missing_permission_is_named(cloud: Cloud) -> None:
    from botocore.exceptions import ClientError

    denied = ClientError(
        {"Error": {"Code": "AccessDeniedException", "Message": "not authorized to perform: ssm:PutParameter"}},
        "PutParameter",
    )
    with mock.patch("importer.aws.secrets.create", side_effect=denied):
        result = token(cloud, "create", "x", "--read", "*")
    assert (result.exit_code, "Your credentials lack the permission for PutParameter" in result.stderr) == (4, True)
    assert not TOKEN.search(result.output)


def test_a_new_token_is_made_the_same_way_by_other_parts(cloud: Cloud) -> None:
    """`make up` has one for its demo."""
    from cli.connection import of_stack

    connection = of_stack(Stack.from_file(twin.DIRECTORY / "outputs.json"))
    with cloud.unseen():
        new = tokens.make(connection, "demo", {"*": [Right.ADMIN]}, NOW, None)
    assert granted(new.text, kept(cloud).get, NOW) == new.stored.grant()


# ---- presign -------------------------------------------------------------------------------------------------------


def presign(cloud: Cloud, *arguments: str) -> Result:
    return command.run(cloud, "presign", *arguments)


def file(tmp_path: Path, name: str = "monday.ndjson", body: bytes = b'{"user_id":"u1","event_name":"login"}\n') -> Path:
    (tmp_path / name).write_bytes(body)
    return tmp_path / name


def test_presign_prints_a_line_for_the_shell_and_nothing_else_on_stdout(cloud: Cloud, tmp_path: Path) -> None:
    define(cloud, "shop")
    path = file(tmp_path)
    result = presign(cloud, str(path), "--import", "shop")
    (line,) = result.stdout.splitlines()
    words = shlex.split(line)
    assert (result.exit_code, words[0], words[-2]) == (0, "curl", f'file=@"{path}"')
    key = next(word for word in words if word.startswith("key=")).removeprefix("key=")
    assert re.fullmatch(r"imports/shop/monday-20251121T080000Z-[0-9a-f]{12}\.ndjson", key)
    assert result.stderr == (f"  uploads to s3://import-bucket/{key}\n  secret     until 2025-11-21T08:15:00Z\n")


def test_presign_for_programs_has_the_fields(cloud: Cloud) -> None:
    """The file need not be here: the form is for somebody else's."""
    result = presign(cloud, "not/here/tuesday.json.gz", "--json", "--seconds", "60")
    said = json.loads(result.stdout)
    policy = json.loads(b64decode(said["fields"]["policy"]))
    assert (result.exit_code, result.stderr, said["expires"], said["max_bytes"]) == (
        0,
        "",
        "2025-11-21T08:01:00Z",
        64 << 20,
    )
    assert ["content-length-range", 0, 64 << 20] in policy["conditions"]
    assert {"key": said["key"]} in policy["conditions"]
    assert said["key"].startswith("imports/tuesday-")


@pytest.mark.parametrize(
    ("name", "arguments", "exit_code", "says"),
    [
        ("a.txt", [], 3, "wrong_kind"),
        ("a$b.json", [], 2, "has a $"),
        ("a.json", ["--import", "nope"], 2, "no import definition 'nope'"),
        ("a.json", ["--seconds", "901"], 2, "--seconds"),
    ],
)
def test_a_name_no_import_takes_gets_no_form(
    cloud: Cloud, name: str, arguments: list[str], exit_code: int, says: str
) -> None:
    result = presign(cloud, name, *arguments)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert says in result.stderr


def test_a_file_that_is_too_large_is_refused_with_another_way(cloud: Cloud, tmp_path: Path) -> None:
    path = tmp_path / "big.json"
    with path.open("wb") as sparse:
        sparse.truncate((64 << 20) + 1)
    result = presign(cloud, str(path))
    assert (result.exit_code, result.stdout) == (3, "")
    assert re.search(r"may have 64.0 MiB: `importer import.* \S+/big.json` uploads it in pieces", result.stderr)


def test_a_file_that_is_here_is_looked_at_as_an_import_would(cloud: Cloud, tmp_path: Path) -> None:
    """Its first bytes say that it is of a dialect that refuses such a name."""
    rows = b'{"user_id":"u1","event_name":"login","event_time_ts":1763712000000}\n'
    assert presign(cloud, str(file(tmp_path, "csv-like.json", rows))).exit_code == 3


def test_the_clock_of_these_tests_is_the_one_they_say() -> None:
    assert datetime.fromtimestamp(NOW // 1000, UTC).isoformat() == "2025-11-21T08:00:00+00:00"
