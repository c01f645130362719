"""`importer forget` against an installation on the fake cloud: what it prints and exits with."""

import json
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from cli import twin
from importer.ledger.forgetting import Wish
from tests.faults.importing import Importer, installed
from tests.support import command

ROW = b'{"user_id":"ada","event_name":"e","event_time_ts":1700000000000}\n'
LINK = b'{"_p":"ada","_p2":"ada@x.org","_t":1700000000}\n'
BOB = b'{"user_id":"bob","event_name":"e","event_time_ts":1700000000000}\n'


@pytest.fixture
def importer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Importer]:
    """An installation the command takes for the twin, with a row of Ada's in it."""
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    with installed() as made:
        command.write_outputs(made.cloud, tmp_path)
        made.deliver(made.cloud.drop("imports/a.json", ROW + BOB))
        made.deliver(made.cloud.drop("imports/links.json", LINK))
        made.cloud.clock.sleep(4)
        yield made


def run(importer: Importer, *arguments: str) -> Result:
    return command.run(importer.cloud, "forget", *arguments)


def test_the_plan_names_all_who_are_meant_and_changes_nothing(importer: Importer) -> None:
    before = importer.cloud.objects()
    result = run(importer, "ada@x.org", "--dry-run")
    lines = [line.strip() for line in result.stderr.splitlines()]
    assert (result.exit_code, "ada" in lines, "ada@x.org" in lines, "bob" in lines) == (0, True, True, False)
    assert any(line.startswith("searched   ") for line in lines)
    assert "old copies kept for ever: no rule of the bucket ends them" in lines
    assert importer.cloud.objects() == before


def test_nobody_is_forgotten_without_being_asked_about(importer: Importer) -> None:
    result = run(importer, "ada")
    assert (result.exit_code, "give --yes" in result.stderr) == (2, True)
    assert len(importer.cloud.items(importer.cloud.events_table)) == 2


def test_the_certificate_says_what_was_done_and_what_is_out_of_reach(importer: Importer, tmp_path: Path) -> None:
    file = tmp_path / "ada.json"
    result = run(importer, "ada", "--yes", "--certificate", str(file))
    assert (result.exit_code, result.stdout.splitlines()[0].strip()) == (0, "Forgotten.")
    for line in ("1 event deleted", "2 good rows blanked", "Out of reach"):
        assert line in result.stdout
    told = json.loads(file.read_text(encoding="utf-8"))
    assert (told["schema"], told["complete"], told["identifiers"]) == ("forgotten/1", True, ["ada", "ada@x.org"])
    assert told["out_of_reach"]
    stored = json.loads(importer.cloud.objects("erasures/certificates/").popitem()[1])
    assert (stored["identifiers"], stored["identifier_hashes"]) == (None, told["identifier_hashes"])


def test_for_machines_there_is_one_document(importer: Importer) -> None:
    told = json.loads(run(importer, "ada", "--no-links", "--yes", "--json").stdout)
    assert (told["identifiers"], told["done"]["events"], told["marker"]) == (["ada"], 1, "kept")


def test_what_is_left_to_do_is_told_with_exit_code_1(importer: Importer) -> None:
    importer.cloud.drop("imports/waiting.json", ROW)
    importer.cloud.clock.sleep(4)
    result = run(importer, "ada", "--yes", "--wait", "0")
    assert (result.exit_code, "imports/waiting.json has been imported" in result.stdout) == (1, True)


def test_verify_and_user_know_of_it(importer: Importer) -> None:
    run(importer, "ada", "--yes")
    verified = command.run(importer.cloud, "verify", "imports/a.json", "--all")
    assert verified.exit_code == 0
    assert "Since then 1 row was blanked: of somebody who was forgotten." in verified.stdout
    shown = command.run(importer.cloud, "user", "ada").stdout
    assert "by importer forget" in shown


def test_the_secret_of_another_forgetting_is_refused(importer: Importer) -> None:
    """It goes on only for whom it was begun."""
    cloud = importer.cloud
    with cloud.unseen():
        body = json.dumps({"before_ms": 1, "hashes": ["other"]}).encode()
        key = f"erasures/runs/{Wish(('x',), 'abc').id}.json"
        cloud.client("s3").put_object(Bucket=cloud.bucket, Key=key, Body=body)
    result = run(importer, "ada", "--yes", "--resume", "abc")
    assert (result.exit_code, "somebody else" in result.stderr) == (2, True)


@pytest.mark.parametrize("name", ["no-such-bucket", "No such_bucket!"])
def test_a_bucket_that_is_not_there_is_a_wrong_name(importer: Importer, name: str) -> None:
    result = run(importer, "ada", "--yes", "--bucket", name)
    assert (result.exit_code, f"there is no bucket '{name}'" in " ".join(result.stderr.split())) == (2, True)


def test_the_command_that_goes_on_can_be_given_as_it_is_told(importer: Importer) -> None:
    """Also for somebody whose name looks like an option."""
    result = command.run(importer.cloud, "forget", "--yes", "--also=-y", "--no-marker", "--", "--x y")
    told = next(line for line in result.stderr.splitlines() if line.startswith("If it is interrupted: "))
    verb, *again = shlex.split(told.removeprefix("If it is interrupted: importer "))
    assert (result.exit_code, verb, again[-4:]) == (0, "forget", ["--no-marker", "--also=-y", "--", "--x y"])


@pytest.mark.parametrize("name", ["", "a\udcff", "ä" * 1025], ids=["none", "no UTF-8", "longer than any"])
def test_what_can_be_nobodys_identifier_is_refused(importer: Importer, name: str) -> None:
    assert (run(importer, name, "--yes").exit_code, run(importer, "ada", f"--also={name}", "--yes").exit_code) == (2, 2)
