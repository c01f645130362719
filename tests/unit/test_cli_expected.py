"""`importer expected …`, against a fake cloud."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from cli import expected as verbs
from cli import twin
from importer.aws import clients
from importer.aws.series import SeriesTable
from importer.doors.expecting import attention_ms
from importer.series import Arrival, Delivery, Series, with_arrival
from tests.support import command
from tests.support.clock import START_MS
from tests.support.cloud import Cloud

DAY_MS = 86_400_000
LOGINS, ORDERS, OLD = "logins*.json", "shop/orders*.csv", "old*.json"


class Installation:
    """A twin to which files came until noon of the day before; it is a Friday, one o'clock."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.table = SeriesTable(clients.records(), cloud.imports_table)

    def came(self, name: str, *days: int, rows: int = 1_000, newest: int | None = None) -> None:
        deliveries: tuple[Delivery, ...] = ()
        for day in days:
            count = newest if newest is not None and day == days[-1] else rows
            deliveries = with_arrival(deliveries, Arrival(START_MS + day * DAY_MS, 100 * count, count))
        series = Series(name, deliveries, START_MS)
        with self.cloud.unseen():
            self.table.write_series(series, attention_ms(series))

    def say(self, *arguments: str) -> Result:
        return command.run(self.cloud, "expected", *arguments)


@pytest.fixture
def installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Installation]:
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    with Cloud() as cloud:
        command.write_outputs(cloud, tmp_path)
        cloud.clock.advance(3_600_000)
        monkeypatch.setattr(verbs.time, "time", cloud.clock.time)
        yield Installation(cloud)


def test_series_are_listed_the_late_ones_first(installation: Installation):
    """With what they are, when they came and are due; what has no rhythm is not listed."""
    installation.came(ORDERS, *range(-20, 0), newest=40)
    installation.came(LOGINS, *range(-20, -1))
    installation.came(OLD, *range(-60, -40))
    installation.came("now-and-then*.json", -9, -8, -2)
    said = installation.say()
    assert said.exit_code == 0
    assert [line.split()[0] for line in said.output.splitlines() if "UTC" in line][0:1] == ["state"]
    text = " ".join(said.output.split())
    assert [text.index(name) for name in (LOGINS, ORDERS, OLD)] == sorted(
        text.index(name) for name in (LOGINS, ORDERS, OLD)
    )
    assert "thin: 40 rows, usually 1,000" in text
    assert "now-and-then" not in text


def test_programs_get_one_document(installation: Installation):
    """Names, states and times in milliseconds."""
    installation.came(LOGINS, *range(-20, -1))
    installation.came(ORDERS, *range(-20, 0), newest=40)
    late, thin = json.loads(installation.say("--json").output)["series"]
    assert late == {
        "name": LOGINS,
        "state": "late",
        "muted": False,
        "rhythm": "daily about 12:00 UTC",
        "deliveries": 19,
        "last_ms": START_MS - 2 * DAY_MS,
        "due_ms": START_MS - DAY_MS,
        "late_ms": START_MS - DAY_MS + 3 * 3_600_000,
        "ended_ms": START_MS + 6 * DAY_MS + 3 * 3_600_000,
        "newest": {"files": 1, "rows": 1_000, "bytes": 100_000},
    }
    assert (thin["state"], thin["thin"]) == ("thin", {"size": 40, "usual_size": 1_000, "measure": "rows"})


def test_a_series_is_muted_unmuted_and_forgotten(installation: Installation):
    """By its name as it is listed; forgetting asks first."""
    installation.came(LOGINS, *range(-20, -1))
    assert installation.say("mute", LOGINS).output.startswith("Muted:")
    assert "late, muted" in " ".join(installation.say().output.split())
    with installation.cloud.unseen():
        assert list(installation.table.listed_series(installation.cloud.clock.now_ms())) == []
    assert json.loads(installation.say("unmute", LOGINS, "--json").output) == {"name": LOGINS, "muted": False}
    with installation.cloud.unseen():
        assert len(list(installation.table.listed_series(installation.cloud.clock.now_ms()))) == 1
    unasked = installation.say("forget", LOGINS)
    assert (unasked.exit_code, "give --yes" in unasked.output) == (2, True)
    assert installation.say("forget", LOGINS, "--yes").output == f"Forgotten: {LOGINS}.\n"
    assert "No series of files has shown a rhythm" in installation.say().output


@pytest.mark.parametrize("verb", ["mute", "unmute", "forget"])
def test_a_series_that_is_not_known_is_said(installation: Installation, verb: str):
    """With where the names stand."""
    said = installation.say(verb, "nobody*.json")
    assert (said.exit_code, "there is no series nobody*.json" in said.output) == (2, True)


def test_an_item_that_was_changed_by_hand_is_named_and_can_be_forgotten(installation: Installation):
    """The others are listed all the same."""
    installation.came(LOGINS, *range(-20, -1))
    installation.came(ORDERS, *range(-20, 0))
    (item,) = (one for one in installation.cloud.items(installation.cloud.imports_table) if ORDERS in one["pk"])
    installation.cloud.put_item(installation.cloud.imports_table, item | {"deliveries": "what?"})
    said = " ".join(installation.say().output.split())
    assert LOGINS in said
    assert f"SERIES#{ORDERS} of the imports table cannot be read" in said
    assert installation.say("forget", ORDERS, "--yes").exit_code == 0
    assert ORDERS not in installation.say().output


def test_options_of_a_command_stand_behind_it(installation: Installation):
    """Those of the list would be lost in front of another command."""
    said = installation.say("--json", "mute", LOGINS)
    assert (said.exit_code, "behind mute" in said.output) == (2, True)
