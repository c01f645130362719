"""Files that do not come: whole imports on the fake cloud, whose history the sweep reads from their executions."""

from collections.abc import Iterator
from typing import Any
from unittest import mock

import orjson
import pytest

from importer.aws import clients
from importer.aws.series import SeriesTable
from importer.definitions import DEFAULT
from importer.doors import expecting
from importer.doors.expecting import attention_ms, unusual
from importer.executions.starting import execution_id_of
from importer.model import Execution, Phase, S3Object, Status, Unavailable, Upload
from importer.rhythm import Looked, State
from importer.series import Arrival, Delivery, Series, with_arrival
from tests.faults.importing import Importer, installed, row
from tests.support.clock import START_MS
from tests.support.faults import Fault, Nth

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
SERIES = "logins*.json"
REFUSED = b'{\n  "user_id": "u"\n}\n'


@pytest.fixture
def importer() -> Iterator[Importer]:
    with installed() as one:
        yield one


def rows(count: int) -> bytes:
    return b"\n".join(row(number) for number in range(count))


def at(importer: Importer, day: int, hour: float = 0) -> None:
    """Time passes until so many days, and hours, after the first."""
    importer.cloud.clock.advance(START_MS + day * DAY_MS + hour * HOUR_MS - importer.cloud.clock.now_ms())


def dropped(importer: Importer, day: int, count: int = 20, name: str = "imports/logins-{:02d}.json") -> None:
    at(importer, day)
    importer.deliver(importer.cloud.drop(name.format(day), rows(count)))


def known(importer: Importer, *days: int, name: str = "imports/logins-{:02d}.json", **more: Any) -> None:
    """Files that came on these days, by their executions alone: whole imports are the first tests' affair."""
    place = importer.workplaces(lambda: 900_000)
    for day in days:
        at(importer, day)
        now_ms, key = importer.cloud.clock.now_ms(), name.format(day)
        source = S3Object(importer.cloud.bucket, key, f"version {day}", "etag", 1_000, now_ms)
        execution_id = execution_id_of(source)
        definition = DEFAULT.as_stored()
        begun = Execution(
            execution_id, source, Status.PENDING, Phase.IMPORTING, now_ms, definition, "cooladata", 1, **more
        )
        place.records.create(begun)


def looked(importer: Importer) -> Looked:
    ended = importer.sweep("expected")
    assert ended.error is None, ended.error
    return importer.telemetry.looks[-1]


def found(importer: Importer) -> tuple[list[str], list[str]]:
    """Series that are missing, and those that are thin; by the counts as by the names."""
    looked_now = looked(importer)
    assert looked_now.complete
    missing, thin = [one.name for one in looked_now.late_ones], [one.name for one in looked_now.thin_ones]
    assert (len(missing), len(thin)) == (looked_now.missing, looked_now.thin)
    return missing, thin


NOTHING: tuple[list[str], list[str]] = ([], [])


def test_a_month_of_daily_files_rings_for_the_one_that_is_missing_and_the_one_that_is_thin(importer: Importer):
    """From three hours after it was due until the next comes; and from the thin one until the next."""
    rang: dict[str, list[tuple[int, int]]] = {"missing": [], "thin": []}
    for day in range(30):
        if day != 20:
            dropped(importer, day, 2 if day == 25 else 20)
        for hour in (2, 4, 23):
            at(importer, day, hour)
            missing, thin = found(importer)
            rang["missing"] += [(day, hour)] * bool(missing)
            rang["thin"] += [(day, hour)] * bool(thin)
    assert rang == {
        "missing": [(20, 4), (20, 23)],
        "thin": [(25, 2), (25, 4), (25, 23)],
    }


def test_what_is_late_is_told_with_all_a_person_wants_to_know(importer: Importer):
    """Which, since when it was due, how it usually comes, and when it last came."""
    known(importer, *range(10))
    at(importer, 10, 4)
    (late,) = looked(importer).late_ones
    assert (late.name, late.state, late.expected.rhythm) == (SERIES, State.LATE, "daily about 12:00 UTC")
    assert late.last_ms // 60_000 == (START_MS + 9 * DAY_MS) // 60_000
    assert abs(late.expected.due_ms - START_MS - 10 * DAY_MS) < 60_000
    assert list(unusual(books(importer), importer.cloud.clock.now_ms())) == [late]


def books(importer: Importer) -> SeriesTable:
    return SeriesTable(clients.records(), importer.cloud.imports_table)


def test_a_file_that_was_refused_has_come(importer: Importer):
    """Another alarm tells of it; it is neither missing nor thin."""
    known(importer, *range(9))
    at(importer, 9)
    importer.deliver(importer.cloud.drop("imports/logins-09.json", REFUSED))
    at(importer, 9, 5)
    assert found(importer) == NOTHING


def test_what_was_mended_or_is_read_again_has_not_come(importer: Importer):
    """Rows that were here before: who sends the series has sent nothing."""
    known(importer, *range(9))
    mended = {"name": "imports/logins-{:02d}.json", "mends": "e1"}
    again = {"name": "imports/logins-1{:02d}.json", "replayed": Upload("e2", "e2", "imports/logins-01.json", 1, 1)}
    for more in (mended, again):
        known(importer, 9, **more)
    at(importer, 9, 5)
    assert found(importer) == ([SERIES], [])


def test_files_of_a_recurring_import_that_wait_for_their_turn_have_come(importer: Importer):
    """They lie in imports/, and no execution knows of them yet."""
    cloud = importer.cloud
    definition = {"id": "acc", "base_file_name": "accounts.json"}
    name = "imports/acc/accounts-{:02d}.json"
    known(importer, *range(9), name=name)
    cloud.put_item(cloud.imports_table, {"pk": "IMPORT#acc", "sk": "IMPORT", "definition": definition})
    at(importer, 9)
    cloud.drop(name.format(9), rows(3))
    at(importer, 9, 5)
    assert found(importer) == NOTHING
    cloud.remove("imports/acc/accounts-09.json")
    assert found(importer) == (["acc/accounts*.json"], [])


def test_a_muted_series_rings_nothing_and_one_that_is_forgotten_begins_anew(importer: Importer):
    """A person decides."""
    known(importer, *range(9))
    at(importer, 9, 5)
    assert found(importer) == ([SERIES], [])
    for muted, expected in ((True, NOTHING), (False, ([SERIES], []))):
        series = books(importer).series(SERIES)
        assert series is not None
        changed = Series(series.name, series.deliveries, series.through_ms, muted, series.version)
        books(importer).write_series(changed, attention_ms(changed))
        assert found(importer) == expected
    assert books(importer).forget_series(SERIES)
    assert found(importer) == NOTHING
    dropped(importer, 10)
    at(importer, 10, 1)
    found(importer)
    begun = books(importer).series(SERIES)
    assert begun is not None
    assert len(begun.deliveries) == 1


def test_a_series_that_ended_is_not_looked_at_again_until_it_comes(importer: Importer):
    """A week after it was late; then it rings no more, and costs nothing."""
    known(importer, *range(9))
    at(importer, 15)
    assert found(importer) == ([SERIES], [])
    at(importer, 17)
    assert found(importer) == NOTHING
    assert list(books(importer).listed_series(importer.cloud.clock.now_ms())) == []
    assert [one.name for one in books(importer).listed_series() if isinstance(one, Series)] == [SERIES]


def test_nothing_is_counted_twice_whatever_kills_the_sweep(importer: Importer):
    """Each file adds to its series once, though the executions are read again."""
    known(importer, *range(6))
    at(importer, 6)
    for number in range(1, 8):
        importer.sweep("expected", Fault("kill_after", Nth(number)))
    found(importer)
    series = books(importer).series(SERIES)
    assert series is not None
    assert [one.files for one in series.deliveries] == [1] * 6


def test_two_sweeps_at_once_count_once(importer: Importer):
    """One of them finds that the other has written, and reads what is there now."""
    known(importer, *range(6))
    at(importer, 6)
    table = books(importer)
    write = SeriesTable.write_series

    def meanwhile(self: SeriesTable, series: Series, attention: int | None) -> Series:
        with mock.patch.object(SeriesTable, "write_series", write):
            importer.sweep("expected")
        return write(self, series, attention)

    with mock.patch.object(SeriesTable, "write_series", meanwhile):
        found(importer)
    series = table.series(SERIES)
    assert series is not None
    assert [one.files for one in series.deliveries] == [1] * 6


def test_a_history_that_takes_more_than_one_sweep_rings_nothing_until_it_is_read(importer: Importer):
    """In a stack that is older than this; afterwards what is missing rings."""
    known(importer, *range(9))
    for name in "abcdefghi":
        known(importer, 9, name=f"imports/of-its-own-{name}.json")
    at(importer, 9, 5)
    with mock.patch.object(expecting, "RESERVE_MS", 10**9):
        assert looked(importer).complete is False
        assert looked(importer).missing == 0
    assert found(importer) == ([SERIES], [])


def test_an_item_that_cannot_be_read_keeps_nobody_waiting(importer: Importer):
    """I8: of executions and of series; it is told."""
    cloud = importer.cloud
    for name in ("imports/logins-{:02d}.json", "imports/others-{:02d}.json"):
        known(importer, *range(9), name=name)
    at(importer, 9)
    found(importer)
    for item in cloud.items(cloud.imports_table):
        if item["pk"] == "SERIES#others*.json":
            cloud.put_item(cloud.imports_table, item | {"deliveries": "what?"})
    cloud.put_item(
        cloud.imports_table,
        {
            "pk": "EXEC#x",
            "sk": "broken",
            "listed": "EXECUTION",
            "creation_date": cloud.clock.now_ms(),
        },
    )
    at(importer, 9, 5)
    assert found(importer) == ([SERIES], [])
    assert len(importer.telemetry.troubles) == 2
    assert all("cannot be read" in one for one in importer.telemetry.troubles)


def test_a_table_that_does_not_answer_is_said_and_nothing_is_lost(importer: Importer):
    """The next sweep reads on where this one stood."""
    known(importer, *range(9))
    at(importer, 9, 5)
    denied = Fault("denied", lambda call: call.document.get("IndexName") == "by_time", always=True)
    assert isinstance(importer.sweep("expected", denied).error, Unavailable)
    assert found(importer) == ([SERIES], [])


def test_an_item_of_a_series_stays_small_however_often_it_comes(importer: Importer):
    """What is remembered is bounded: 256 deliveries."""
    deliveries: tuple[Delivery, ...] = ()
    for number in range(2_000):
        deliveries = with_arrival(deliveries, Arrival(START_MS + number * HOUR_MS, 10**12, 10**10))
    books(importer).write_series(Series(SERIES, deliveries), START_MS)
    (item,) = [i for i in importer.cloud.items(importer.cloud.imports_table) if i["sk"] == "SERIES"]
    assert len(orjson.dumps(item, default=int)) < 20_000
