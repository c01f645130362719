"""A recurring import on the twin, by its own schedule, under its own permissions."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cli import twin
from importer.definitions import Definition
from tests.e2e.bench import Bench, rows_of, today, until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("twin")]

ROW = b'{"user_id":"u%d","event_name":"e","event_time_ts":1425920218354}\n'


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with twin.running(tmp_path_factory.mktemp("twin"), ['RecurringSchedule="rate(1 minute)"']) as stack:
        yield Bench(stack)


def invoked(bench: Bench, event: dict[str, Any]) -> Any:
    name = bench.stack.functions["ScheduleFunction"]
    answer = bench.functions.invoke(FunctionName=name, Payload=json.dumps(event).encode())
    said = json.loads(answer["Payload"].read())
    assert "FunctionError" not in answer, said
    return said


def test_a_series_is_read_by_the_schedule_in_order_and_as_far_as_the_time_goes(bench: Bench) -> None:
    """Three files, one a minute; the middle one takes several runs of two seconds, and the last one waits for it."""
    definition = Definition(id="series", name="series", base_file_name="a.json", run_seconds=2).as_stored()
    item: Any = {
        "pk": "IMPORT#series",
        "sk": "IMPORT",
        "definition": definition,
        "listed": "IMPORT",
        "creation_date": 1,
    }
    bench.tables.Table(bench.stack.imports_table).put_item(Item=item)
    large = rows_of("large", 5 << 20, row_bytes=1_000)
    bodies = {"a-3.json": ROW % 3, "a-1.json": ROW % 1, "a-2.json": large.body}
    for name, body in bodies.items():
        bench.drop(f"series/{name}", body)
    assert invoked(bench, {"check": "series"}) == {"check": "series", "missing": []}
    receipts = {name: bench.receipt(f"series/{name}", seconds=900) for name in sorted(bodies)}
    assert {name: receipt["status"] for name, receipt in receipts.items()} == dict.fromkeys(receipts, "SUCCEEDED")
    timings = [receipt["timing"] for receipt in receipts.values()]
    assert timings[0]["ended_ms"] <= timings[1]["created_ms"]
    assert timings[1]["ended_ms"] <= timings[2]["created_ms"]
    parts = bench.execution(receipts["a-2.json"]["execution_id"])
    assert int(parts["PART#" + "0" * 20]["hops"]) >= 1, "it never waited for the next run"
    assert {user: bench.event_times(user) for user in large.users} == large.event_times_by_user
    until(lambda: bench.get(f"completed_imports/{today()}/series/a-3.json") == bodies["a-3.json"])
    assert bench.messages(bench.stack.dead_letter_queue_url) == 0
