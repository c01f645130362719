"""The bill of a file: whoever worked at it and lived to say so is on it, once; nobody is billed for what never was."""

import json
from typing import Any

import pytest

from importer.costs import last_steps
from importer.model import Usage
from tests.faults.importing import Importer, installed, row
from tests.support.faults import Fault, Nth
from tests.support.wire import Call

KEY = "imports/a.json"
ROWS = b"".join(row(number, filler="x" * 100) + b"\n" for number in range(40))
MEMORY_MB = 1_024


class Wire:
    """What was really written, and asked."""

    def __init__(self, importer: Importer) -> None:
        self.puts = 0
        self.requests_to_s3 = 0
        importer.cloud.wire.watchers.append(self.look)

    def look(self, call: Call, answer: Any) -> None:
        if call.operation == "BatchWriteItem":
            self.puts += len(call.document["RequestItems"]["events"])
        elif call.service == "s3" and call.operation != "DeleteObject":  # which is free
            self.requests_to_s3 += 1


def cost_of(importer: Importer) -> dict[str, Any]:
    (body,) = importer.cloud.objects("receipts/").values()
    cost: dict[str, Any] = json.loads(body)["cost"]
    return cost


def test_a_file_without_trouble_costs_a_unit_an_event_and_its_receipt_says_so() -> None:
    """The books of the money: what the receipt says is what the tables were sent."""
    with installed() as importer:
        wire = Wire(importer)
        importer.deliver(importer.cloud.drop(KEY, ROWS))
        cost = cost_of(importer)
        assert (cost["units"]["event_write_units"], wire.puts) == (40, 40)
        spent, still = Usage(**cost["units"]), Usage(**cost["last_steps"])
        assert wire.requests_to_s3 == spent.s3_reads + spent.s3_writes + still.s3_reads + still.s3_writes


@pytest.mark.parametrize("bad", [0, 1], ids=["all good", "one bad"])
def test_what_is_forecast_for_the_last_steps_is_what_they_ask_of_s3(bad: int) -> None:
    """They come after the sums of the receipt are fixed: it can say of them only what is usual."""
    with installed() as importer:
        wire = Wire(importer)
        importer.deliver(importer.cloud.drop(KEY, ROWS + b"[]\n" * bad))
        spent = Usage(**cost_of(importer)["units"])
        rest = wire.requests_to_s3 - spent.s3_reads - spent.s3_writes
        usual = last_steps(bool(bad), 1)
        assert rest == usual.s3_reads + usual.s3_writes


def test_parts_add_up() -> None:
    """However many workers, each saves what it spent beside its tally."""
    with installed(part_bytes=2048, watched=True) as importer:
        wire = Wire(importer)
        importer.notify(importer.cloud.drop(KEY, ROWS))
        importer.run_until_quiet()
        assert (cost_of(importer)["units"]["event_write_units"], wire.puts) == (40, 40)
        parts = [item for item in importer.cloud.items(importer.cloud.imports_table) if item["sk"].startswith("PART#")]
        assert len(parts) > 2
        assert sum(part["spent"].get("event_write_units", 0) for part in parts) == 40


def test_a_part_that_is_handed_on_keeps_what_it_has_cost() -> None:
    """Each invocation adds to it; writes take seconds here, so that a short file is several."""
    with installed(hop_seconds=40, import_seconds=40, write_ms=4_000, watched=True) as importer:
        wire = Wire(importer)
        importer.notify(importer.cloud.drop(KEY, ROWS))
        importer.run_until_quiet()
        assert len(importer.ended) >= 2
        assert (cost_of(importer)["units"]["event_write_units"], wire.puts) == (40, 40)


@pytest.mark.sampled(each="kind at")
@pytest.mark.parametrize("kind", ["kill_after", "kill_before", "reply_lost", "unprocessed", "throttled", "error_500"])
@pytest.mark.parametrize("at", [14, 18, 24])
def test_a_bill_is_at_least_what_is_stored_and_at_most_what_was_sent(kind: str, at: int) -> None:
    """Progress is saved after each batch: of a killed worker one batch is lost from the bill, and it is written again.
    What a lost reply hides is not on it either."""
    with installed(watched=True) as importer:
        wire = Wire(importer)
        importer.notify(importer.cloud.drop(KEY, ROWS))
        importer.run_until_quiet(Fault(kind, Nth(at)))
        units = cost_of(importer)["units"]["event_write_units"]
        assert 40 <= units <= wire.puts, f"{units} units billed, {wire.puts} items sent"


def test_a_late_delivery_changes_no_bill() -> None:
    """What it costs itself is on none: the receipt was written, and stays."""
    with installed() as importer:
        notification = importer.cloud.drop(KEY, ROWS)
        importer.deliver(notification)
        before = importer.cloud.objects("receipts/")
        importer.cloud.clock.sleep(3_600)
        importer.deliver(notification)
        assert importer.cloud.objects("receipts/") == before


def test_the_time_of_the_functions_is_on_the_bill() -> None:
    """Memory × time from the begin of an invocation to the last word saved."""
    with installed(memory_mb=MEMORY_MB) as importer:
        before_ms = importer.cloud.clock.now_ms()
        importer.deliver(importer.cloud.drop(KEY, ROWS))
        took_ms = importer.cloud.clock.now_ms() - before_ms
        spent = Usage(**cost_of(importer)["units"])
        assert spent.lambda_requests == 1
        assert 0.5 * took_ms * MEMORY_MB < spent.lambda_mb_ms <= took_ms * MEMORY_MB
