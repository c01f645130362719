"""Workers on the twin that run out of time and are killed, with a limit on what they write."""

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import twin
from cli.stack import Stack
from tests.e2e.bench import Bench, rows_of, today, until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("twin")]

LEASE_SECONDS = 45
PARAMETERS = ["PartSizeMiB=8", "PartSeconds=30", "PartConcurrency=2", "WritesPerSecond=1200"]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with twin.running(tmp_path_factory.mktemp("twin"), PARAMETERS) as stack:
        yield Bench(stack)


def test_workers_hand_on_and_a_killed_one_costs_nothing(bench: Bench) -> None:
    """Three parts that take 40 s each at 200 writes a second (a sixth: there could be six workers), in invocations of
    30 s, two at a time; one is killed.

    The sweep is called at once when the dead worker's lease is over, instead of within five minutes.
    """
    file = rows_of("slowly", 20 << 20, row_bytes=1_000)
    began = time.monotonic()
    bench.drop("slowly.json", file.body)
    until(lambda: in_progress(bench))
    os.kill(pids_of_workers(bench.stack)[0], signal.SIGKILL)
    killed = time.monotonic()
    until(lambda: time.monotonic() - killed > LEASE_SECONDS + 10, LEASE_SECONDS + 20)
    bench.functions.invoke(FunctionName=bench.stack.functions["SweepFunction"], Payload=b'{"sweep": "unfinished"}')

    receipt = bench.receipt("slowly.json", seconds=300)
    assert time.monotonic() - began > len(file.event_times) / 400, "faster than WritesPerSecond allows"
    names = ("status", "lines", "good", "bad", "events", "parts")
    assert [receipt[name] for name in names] == [
        "SUCCEEDED",
        file.lines,
        len(file.event_times),
        len(file.bad_lines),
        len(file.event_times),
        3,
    ]
    assert {user: bench.event_times(user) for user in file.users} == file.event_times_by_user
    assert bench.get(f"errors/{today()}/slowly.json") == file.bad_bytes
    reasons = map(json.loads, bench.get(f"errors/{today()}/slowly.json.reasons.ndjson").splitlines())
    assert [(reason["line"], reason["offset"], reason["reason"]) for reason in reasons] == file.bad_lines
    assert bench.get(f"completed_imports/{today()}/slowly.json") == file.body
    parts = [item for key, item in bench.execution(receipt["execution_id"]).items() if key.startswith("PART#")]
    assert sum(int(part["hops"]) for part in parts) >= 2, "nothing was handed on"
    assert bench.messages(bench.stack.dead_letter_queue_url) == 0


def in_progress(bench: Bench) -> bool:
    """A part has been read to somewhere and a worker is at it."""
    items = bench.tables.Table(bench.stack.imports_table).scan()["Items"]
    return any("owner" in item and item["next_offset"] > item["start"] for item in items if "next_offset" in item)


def pids_of_workers(stack: Stack) -> list[int]:
    """Processes of this twin that run the part function."""
    wanted = {
        f"AWS_LAMBDA_FUNCTION_NAME={stack.functions['PartFunction']}".encode(),
        f"AWS_ENDPOINT_URL={stack.endpoint_url}".encode(),
    }
    found: list[int] = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = environment.read_bytes().split(b"\0")
        except OSError:  # ended meanwhile, or somebody else's
            continue
        if wanted <= set(variables):
            found.append(int(environment.parent.name))
    return found
