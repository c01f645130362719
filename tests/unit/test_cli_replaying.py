"""`importer replay` against an installation on the fake cloud: what it prints, does, and exits with."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import pytest
from click.testing import Result

from cli import replaying, twin
from importer.aws.settings import Settings
from importer.ledger import Kept
from tests.faults.files import VENDOR_ROWS, many_rows, row
from tests.faults.importing import Importer, installed, nothing_to_find
from tests.support import command

KEY = "imports/logins.json"
DATED = b'{"user_id":"u","event_name":"login","event_time_ts":"03/04/2012"}\n'


@pytest.fixture
def installation(monkeypatch, tmp_path) -> Iterator[Importer]:
    """An importer that cuts files at 2 KiB; the command takes it for the twin."""
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    with installed(part_bytes=2048, watched=True) as importer:
        cloud = importer.cloud
        command.write_outputs(cloud, tmp_path)
        settings = Settings(
            cloud.bucket, cloud.events_table, cloud.users_table, cloud.imports_table, ("dynamodb",), part_bytes=2048
        )
        monkeypatch.setattr(replaying, "settings_of", lambda connection: settings)
        yield importer


def run(importer: Importer, *arguments: str) -> Result:
    return command.run(importer.cloud, "replay", *arguments)


def imported(importer: Importer, key: str, body: bytes) -> str:
    """A file was dropped and imported a while ago: id of its execution."""
    known = {item["id"] for item in importer.executions()}
    importer.notify(importer.cloud.drop(key, body))
    importer.run_until_quiet()
    importer.cloud.clock.sleep(3600)
    return str(next(item["id"] for item in importer.executions() if item["id"] not in known))


def everything(importer: Importer) -> Any:
    """All that a cloud holds."""
    cloud = importer.cloud
    tables = [cloud.events_table, cloud.users_table, cloud.imports_table]
    return cloud.objects(), [cloud.items(table) for table in tables], cloud.messages()


def events(importer: Importer) -> list[tuple[str, str]]:
    return sorted((item["user_id"], item["event_key"]) for item in importer.cloud.items(importer.cloud.events_table))


def test_a_replay_reads_the_archive_where_it_lies_and_doubles_nothing(installation: Importer) -> None:
    """In parts, by the workers' own machinery; its papers have its id, and `verify` balances both."""
    parent = imported(installation, KEY, many_rows(55))
    objects, before = installation.cloud.objects(), events(installation)
    result = run(installation, KEY, "--no-wait", "--yes", "--json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    [file] = said["files"]
    assert (file["parent"], file["execution"]["status"], said["plan"]["files"]) == (parent, "PENDING", 1)
    assert file["execution"]["num_tasks"] > 1
    installation.run_until_quiet()
    replay_id = file["execution_id"]
    after = installation.cloud.objects()
    assert {key: after[key] for key in objects} == objects
    assert all(replay_id in key for key in set(after) - set(objects))
    assert len(set(after) - set(objects)) == 3  # errors, their reasons, a receipt
    assert events(installation) == before
    nothing_to_find(installation)
    for name in (parent, replay_id):
        assert command.run(installation.cloud, "verify", name, "--all").exit_code == 0
    page = command.run(installation.cloud, "executions", replay_id).stdout
    assert f"replay of  {parent}" in page
    assert "logins.json (replay)" in command.run(installation.cloud, "executions").stdout


def test_the_same_replay_asked_for_twice_is_one(installation: Importer) -> None:
    """By its name; under other settings the name is taken."""
    imported(installation, KEY, VENDOR_ROWS)
    first = json.loads(run(installation, KEY, "--id", "again", "--no-wait", "--yes", "--json").stdout)
    second = json.loads(run(installation, KEY, "--id", "again", "--no-wait", "--yes", "--json").stdout)
    assert first["files"][0]["execution_id"] == second["files"][0]["execution_id"]
    installation.run_until_quiet()
    third = run(installation, KEY, "--id", "again", "--yes")
    assert third.exit_code == 1  # rows of it were refused
    assert "1 of 1 replay ended: 3 good rows, 1 bad" in third.stdout
    other = run(installation, KEY, "--id", "again", "--yes", "--set", "strict=true")
    assert other.exit_code == 1
    assert "with other settings" in other.stdout
    assert len(installation.executions()) == 2


def test_files_are_chosen_by_day_path_and_reason(installation: Importer) -> None:
    """Only archived ones, and none twice for its replays."""
    good = imported(installation, "imports/shop/good.json", row(1) + b"\n")
    bad = imported(installation, "imports/shop/bad.json", DATED)
    other = imported(installation, "imports/other/a.json", row(2) + b"\n")
    installation.deliver(installation.cloud.drop("imports/no.txt", b"{}"))
    installation.cloud.clock.sleep(86_400)
    later = imported(installation, "imports/shop/later.json", row(3) + b"\n")
    [day] = {item["creation_date"] // 86_400_000 for item in installation.executions() if item["id"] == good}
    first_day = f"{datetime.fromtimestamp(int(day) * 86_400, UTC):%Y-%m-%d}"

    def chosen(*arguments: str) -> set[str]:
        result = run(installation, *arguments, "--no-wait", "--yes", "--json", "--id", " ".join(arguments))
        assert result.exit_code in (0, 1), result.stderr
        return {file["parent"] for file in json.loads(result.stdout)["files"]}

    assert chosen("--from", first_day) == {good, bad, other, later}
    installation.run_until_quiet()
    assert chosen("--to", first_day) == {good, bad, other}
    assert chosen("--prefix", "shop/") == {good, bad, later}
    assert chosen("--prefix", "shop/", "--to", first_day) == {good, bad}
    assert chosen("--prefix", f"completed_imports/{first_day.replace('-', '/')}/other") == {other}
    assert chosen("--reason", "bad_time") == {bad}
    assert chosen("--reason", "not_json") == set()


def test_other_settings_make_bad_rows_good(installation: Importer) -> None:
    """The replay's events are its own; its parent's books still balance."""
    parent = imported(installation, KEY, DATED + row(1) + b"\n")
    assert run(installation, KEY, "--set", "date-format=dd/mm/yyyy", "--no-wait", "--yes").exit_code == 0
    installation.run_until_quiet()
    assert ("u", "1333411200000") in {(user, key[:13]) for user, key in events(installation)}
    replay_id = next(item["id"] for item in installation.executions() if item.get("parent") == parent)
    for name in (parent, replay_id):
        assert command.run(installation.cloud, "verify", name, "--all").exit_code == 0


def test_a_replay_may_go_to_another_sink(installation: Importer) -> None:
    """Which must be there."""
    imported(installation, KEY, VENDOR_ROWS)
    refused = run(installation, KEY, "--sinks", "firehose", "--yes")
    assert (refused.exit_code, "no delivery stream" in refused.stderr) == (1, True)
    assert run(installation, KEY, "--sinks", "kafka", "--yes").exit_code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--from", "yesterday"],
        ["--from", "2026-11-02", "--to", "2026-11-01"],
        ["--prefix", "x", "--set", "nonsense=1"],
        ["--prefix", "x", "--set", "strict=perhaps"],
        ["--prefix", "x", "--reason", "no_reason"],
        ["--prefix", "x", "--definition", "none"],
    ],
    ids=["nothing chosen", "no day", "days in no order", "no setting", "no value", "no reason", "no definition"],
)
def test_what_cannot_be_meant_is_refused(installation: Importer, arguments: list[str]) -> None:
    assert run(installation, *arguments).exit_code == 2


def test_settings_no_import_could_have_are_refused_before_anything_is_begun(installation: Importer) -> None:
    imported(installation, KEY, VENDOR_ROWS)
    before = everything(installation)
    assert run(installation, KEY, "--set", "mime_type=TEXT_CSV", "--set", "format=segment", "--yes").exit_code == 2
    assert everything(installation) == before


def test_a_file_that_is_not_archived_any_more_is_told(installation: Importer) -> None:
    imported(installation, KEY, VENDOR_ROWS)
    with installation.cloud.unseen():
        s3 = installation.cloud.client("s3")
        [key] = installation.cloud.objects("completed_imports/")
        s3.delete_object(Bucket=installation.cloud.bucket, Key=key)
    result = run(installation, KEY, "--yes")
    assert (result.exit_code, "is not there any more" in " ".join(result.stdout.split())) == (1, True)
    with mock.patch.object(Kept, "archive_expired", return_value=f"{key} has expired: ArchiveRetentionDays"):
        result = run(installation, KEY, "--yes")
    assert (result.exit_code, "has expired: ArchiveRetentionDays" in " ".join(result.stdout.split())) == (1, True)


def test_nobody_is_asked_without_a_terminal(installation: Importer) -> None:
    imported(installation, KEY, VENDOR_ROWS)
    result = run(installation, KEY)
    assert (result.exit_code, "give --yes" in result.stderr) == (2, True)
    assert len(installation.executions()) == 1


# -- what if -------------------------------------------------------------------------------------------------------


def test_what_if_tells_what_would_change_and_writes_nothing(installation: Importer) -> None:
    """Rows that become good, with the reason they had; rows that become bad, with the one they would have."""
    imported(installation, KEY, DATED + row(1) + b"\n" + row(2, **{"bad name": 1}) + b"\n")
    before = everything(installation)
    result = run(installation, KEY, "--what-if", "--set", "date_format=dd/mm/yyyy", "--set", "strict=yes", "--json")
    assert everything(installation) == before
    assert result.exit_code == 1
    [file] = json.loads(result.stdout)["files"]
    assert file["settings"] == {
        "date_format": {"before": "", "after": "dd/mm/yyyy"},
        "strict": {"before": False, "after": True},
    }
    assert (file["before"]["good"], file["before"]["bad"]) == (2, 1)
    assert file["changed"]["good_to_bad"] == 2
    group = next(group for group in file["groups"] if group["what"] == "good_to_bad")
    assert group["before"] is None
    assert [example["line"] for example in group["examples"]] in ([2], [3], [2, 3])


def test_what_if_nothing_changes_says_so(installation: Importer) -> None:
    imported(installation, KEY, VENDOR_ROWS)
    result = run(installation, KEY, "--what-if")
    assert result.exit_code == 0
    assert "Nothing would change." in result.stdout
    assert "0 of 1 file would differ" in result.stdout


def test_what_if_tells_events_that_differ_by_attribute(installation: Importer) -> None:
    """An id that is made of less than the row; a row without the property is bad."""
    imported(installation, KEY, row(1, order=12) + b"\n" + row(2, order=13) + b"\n" + row(3) + b"\n")
    settings = ["--set", "identity=property:order", "--set", "format=cooladata"]
    result = run(installation, KEY, "--what-if", *settings, "--json")
    [file] = json.loads(result.stdout)["files"]
    assert (file["changed"]["events_differ"], file["changed"]["good_to_bad"]) == (2, 1)
    [group] = [group for group in file["groups"] if group["what"] == "events_differ"]
    assert (group["attributes"], [example["line"] for example in group["examples"]]) == (["event_id"], [1, 2])
    page = run(installation, KEY, "--what-if", *settings).stdout
    assert "Good rows that would give other events or user changes: 2" in page


def test_what_if_the_whole_file_would_be_refused(installation: Importer) -> None:
    """As a CSV it has no header that could be one; as a whole it has a bad row; its bad rows are too many."""
    imported(installation, KEY, VENDOR_ROWS)
    for setting, code in (("atomic=true", "atomic_refused"), ("mime_type=TEXT_CSV", "wrong_kind")):
        result = run(installation, KEY, "--what-if", "--set", setting, "--json")
        assert result.exit_code == 1
        assert json.loads(result.stdout)["files"][0]["refused"]["code"] == code


# -- what is meant ---------------------------------------------------------------------------------------------------


def test_the_key_of_an_archived_file_means_the_import_that_archived_it(installation: Importer) -> None:
    """Not its replays, which are found by their ids and by what they wrote; a base name means a file in any folder."""
    parent = imported(installation, "imports/shop/logins.json", VENDOR_ROWS)
    installation.replay(parent, "again")
    installation.run_until_quiet()
    replay = next(item for item in installation.executions() if item.get("parent") == parent)

    def meant(name: str) -> str:
        said = command.run(installation.cloud, "executions", name, "--json")
        return str(json.loads(said.stdout)["execution"]["id"])

    for name in (replay["result"]["input_file_uri"], "logins.json", "imports/shop/logins.json", "shop/logins.json"):
        assert meant(name) == parent, name
    for name in (replay["id"], replay["result"]["error_file_uri"], replay["result"]["receipt_uri"]):
        assert meant(name) == replay["id"], name
    assert "read from" in command.run(installation.cloud, "executions", replay["id"]).stdout


def test_a_replay_to_the_stream_alone_leaves_the_tables(monkeypatch, tmp_path) -> None:
    """Which have every row already; the stream gets each, with the same ids."""
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    with installed(sinks=("dynamodb", "firehose")) as importer:
        cloud = importer.cloud
        command.write_outputs(cloud, tmp_path)
        settings = Settings(
            cloud.bucket,
            cloud.events_table,
            cloud.users_table,
            cloud.imports_table,
            ("dynamodb", "firehose"),
            delivery_stream=cloud.delivery_stream,
        )
        monkeypatch.setattr(replaying, "settings_of", lambda connection: settings)
        importer.deliver(cloud.drop(KEY, VENDOR_ROWS))
        tables, lines = cloud.items(cloud.events_table), cloud.stream_lines()
        assert run(importer, KEY, "--sinks", "firehose", "--no-wait", "--yes").exit_code == 0
        importer.run_until_quiet()
        assert cloud.items(cloud.events_table) == tables
        ids = [json.loads(line)["event_id"] for line in cloud.stream_lines()]
        assert sorted(ids) == sorted(2 * [json.loads(line)["event_id"] for line in lines])
        nothing_to_find(importer)


def test_what_was_undone_is_replayed_by_name_only(installation: Importer) -> None:
    """A replay puts back what somebody has taken out on purpose."""
    parent = imported(installation, KEY, VENDOR_ROWS)
    cloud = installation.cloud
    item = next(
        item for item in cloud.items(cloud.imports_table) if item["pk"] == f"EXEC#{parent}" and item["sk"] == "EXEC"
    )
    cloud.put_item(cloud.imports_table, {**item, "undone": {"done": True, "at_ms": 1, "position": -1}})
    assert "No archived file fits" in run(installation, "--prefix", "logins", "--yes").stdout
    assert run(installation, KEY, "--no-wait", "--yes").exit_code == 0
