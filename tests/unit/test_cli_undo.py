"""`importer undo` against an installation on the fake cloud: what it prints and exits with."""

import json
from collections.abc import Iterator

import pytest
from click.testing import Result

from cli import dead_letters, twin
from importer.model import Execution
from tests.faults.files import VENDOR_ROWS
from tests.faults.importing import Importer, installed
from tests.support import command

KEY = "imports/logins.json"


@pytest.fixture
def installation(monkeypatch: pytest.MonkeyPatch, tmp_path) -> Iterator[Importer]:
    """An importer; the command takes it for the twin."""
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    monkeypatch.setattr(dead_letters, "_WAIT_SECONDS", 0)
    with installed() as importer:
        command.write_outputs(importer.cloud, tmp_path)
        yield importer


def run(importer: Importer, *arguments: str) -> Result:
    return command.run(importer.cloud, *arguments)


def imported(importer: Importer, body: bytes = VENDOR_ROWS) -> Execution:
    importer.cloud.clock.advance(600_000)
    [execution] = importer.deliver(importer.cloud.drop(KEY, body))
    return execution


def test_a_plan_is_said_and_changes_nothing(installation: Importer) -> None:
    execution = imported(installation)
    result = run(installation, "undo", KEY, "--plan")
    assert result.exit_code == 0, result.stderr
    assert f"Undo {execution.id}" in result.stdout
    assert "at most 3 to remove or to put back" in result.stdout
    assert "0 other executions" in result.stdout
    plan = json.loads(run(installation, "undo", KEY, "--plan", "--json").stdout)["plan"]
    assert (plan["schema"], plan["items_at_most"], plan["others"]) == ("undo_plan/1", 3, [])
    assert len(installation.cloud.items(installation.cloud.events_table)) == 3


def test_without_anybody_to_ask_yes_must_be_given(installation: Importer) -> None:
    imported(installation)
    result = run(installation, "undo", KEY)
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert len(installation.cloud.items(installation.cloud.events_table)) == 3


def test_undone_it_says_so_everywhere(installation: Importer) -> None:
    """By itself, in the list, on the execution's page, and to who verifies or redrives it."""
    execution = imported(installation)
    result = run(installation, "undo", execution.id, "--yes")
    assert result.exit_code == 0, result.stderr
    assert "Undone: 3 items removed, 0 put back as others wrote them." in result.stdout
    assert "completed_imports/" in result.stdout
    assert installation.cloud.items(installation.cloud.events_table) == []
    assert "SUCCEEDED (undone)" in run(installation, "executions").stdout
    assert "3 items removed" in " ".join(run(installation, "executions", execution.id).stdout.split())
    again = run(installation, "undo", execution.id)
    assert (again.exit_code, again.stdout.startswith("Was undone 20")) == (0, True)
    said = json.loads(run(installation, "undo", execution.id, "--json").stdout)
    assert (said["undone"]["status"], said["undone"]["removed"], said["plan"]) == ("DONE", 3, None)
    verified = run(installation, "verify", execution.id, "--all")
    assert verified.exit_code == 0, verified.stdout
    assert "none of its items is left" in verified.stdout


def test_verify_finds_what_is_left_of_an_undone_import(installation: Importer) -> None:
    execution = imported(installation)
    [left, *_] = installation.cloud.items(installation.cloud.events_table)
    run(installation, "undo", execution.id, "--yes")
    installation.cloud.put_item(installation.cloud.events_table, left)
    result = run(installation, "verify", execution.id)
    assert result.exit_code == 1
    assert "which was undone" in result.stdout


def test_what_others_held_is_put_back_and_verifies(installation: Importer) -> None:
    first, second = imported(installation), imported(installation)
    said = json.loads(run(installation, "undo", second.id, "--yes", "--json").stdout)
    assert (said["undone"]["removed"], said["undone"]["put_back"]) == (0, 3)
    assert said["plan"]["others"] == [first.id]
    for execution in (first, second):
        assert run(installation, "verify", execution.id, "--all").exit_code == 0


def test_where_it_cannot_be_undone_the_exit_code_is_1(installation: Importer) -> None:
    first, second = imported(installation), imported(installation)
    assert first.outcome is not None
    installation.cloud.remove(first.outcome.destination.completed)
    result = run(installation, "undo", second.id, "--yes")
    assert (result.exit_code, f"--without {first.id}" in result.stderr) == (1, True)
    assert run(installation, "undo", second.id, "--yes", "--without", first.id).exit_code == 0
    assert run(installation, "undo", "f" * 32).exit_code == 2


def test_a_dead_letter_of_an_undoing_needs_nothing_but_the_sweep(installation: Importer) -> None:
    cloud = installation.cloud
    with cloud.unseen():
        body = json.dumps({"schema": "undo/1", "execution_id": "0" * 32})
        cloud.client("sqs").send_message(QueueUrl=cloud.dead_letter_queue_url, MessageBody=body)
    result = run(installation, "redrive", "--dead-letters", "--yes")
    assert result.exit_code == 0, result.stderr
    assert "undoing of execution 0000" in result.stdout
    assert cloud.messages(cloud.dead_letter_queue_url) == []
