"""Where each microsecond goes: the same import up to one step further each time.

    python ladder.py STEP KEY SINK      environment: tests.bench.rig

Each step is a process of its own and does all that the steps above it do; what it adds is the difference. The last
step is the handler itself, with everything on (`ours.py`).
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "src" / "handler"))

import measuring

from importer.assembly import workplace_maker
from importer.aws.settings import Settings
from importer.aws.signing import Signer
from importer.bad_rows import Reject, row_text
from importer.batches import Batch, Rules, batches
from importer.definitions import DEFAULT
from importer.executions import Workplace
from importer.formats import DEFAULT as FORMAT
from importer.layouts import JSON_LINES
from importer.lines import lines
from importer.model import Line, Provenance, S3Object, Tally, event_id
from importer.notification import Dropped
from importer.parts import WHOLE
from importer.sinks import SINKS, items, records
from importer.sinks.dynamodb import CALL_ITEMS

SIGN_STEP: Final = "sign"
WHOLE_STEP: Final = "whole"
# In the order of the path, each with what it adds.
STEPS: Final = {
    "start": "start, clients",
    "read": "read from S3",
    "lines": "split into lines",
    "parse": "parse exactly",
    "id": "event id",
    "core": "check, event, batch, tally",
    "limit": "the sink's limits",
    "text": "item text",
    SIGN_STEP: "sign",
    "sink": "send, read the reply",
    WHOLE_STEP: "execution, progress, bad rows, hash, archive, receipt",
}


def _place() -> Workplace:
    from aws_lambda_powertools import Metrics

    from importer.telemetry import NAMESPACE, make_logger

    return workplace_maker(Settings.of(), make_logger(), Metrics(namespace=NAMESPACE))(lambda: 900_000)


def _parsed(found: Iterable[Line], with_id: bool) -> Iterator[Any]:
    for _, raw in found:
        if isinstance(raw, bytes):
            text = row_text(raw)
            try:
                row = JSON_LINES.row_of(text)
            except Reject:
                continue
            yield row, event_id(FORMAT, text, 0) if with_id else ""


def steps_of(sink: str) -> dict[str, str]:
    """The steps of a sink: Firehose's calls are few, and have no step for their signatures."""
    if sink == "dynamodb":
        return dict(STEPS)
    return {name: says if name != "sink" else f"sign, {says}" for name, says in STEPS.items() if name != SIGN_STEP}


def _texts(sink: str, found: Iterable[Batch], source: Provenance) -> Iterator[Any]:
    """What a batch's events become on the wire, by the functions the sinks use."""
    text, line = items.EventTexts(source), records.EventLines(source)
    for batch in found:
        if sink == "firehose":
            yield list(records.packed(map(line, batch.events)))
        else:
            yield [text(event) for event in batch.events]


def _signed(texts: Iterable[list[bytes]]) -> Iterator[bytes]:
    """The texts as bodies of calls, signed."""
    headers = {
        "content-type": "application/x-amz-json-1.0",
        "host": "127.0.0.1:8000",
        "x-amz-target": "DynamoDB_20120810.BatchWriteItem",
    }
    signer = Signer(
        os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"], "", "us-east-1", "dynamodb", headers
    )
    for some in texts:
        for at in range(0, len(some), CALL_ITEMS):
            body = b'{"RequestItems":{"events":[' + b",".join(some[at : at + CALL_ITEMS]) + b"]}}"
            yield signer.lines(body, int(time.time()))


def _consumed(found: Iterable[Any]) -> None:
    for _ in found:
        pass


def main() -> None:
    step, key, sink = sys.argv[1:]
    os.environ["SINKS"] = sink
    measuring.begun()
    place = _place()
    source = place.objects.head(Dropped(os.environ["BUCKET_NAME"], key, None, ""))
    assert source is not None
    good, bad = _climb(place, source, step, sink) if step != "start" else (0, 0)
    measuring.told(good, bad)


def _climb(place: Workplace, source: S3Object, step: str, sink: str) -> tuple[int, int]:
    """Good and bad rows, where a step knows them."""
    chunks = place.objects.read(source, 0)
    if step == "read":
        _consumed(chunks)
        return 0, 0
    found = lines(chunks, WHOLE)
    if step == "lines":
        _consumed(found)
        return 0, 0
    if step in ("parse", "id"):
        _consumed(_parsed(found, step == "id"))
        return 0, 0
    limits = () if step == "core" else (SINKS[sink],)
    provenance = Provenance(FORMAT, "", "0" * 32, source.key, source.last_modified_ms)
    judged = batches(found, Rules(FORMAT, DEFAULT, now_ms=place.clock.now_ms(), limits=limits))
    tally = Tally()

    def counted() -> Iterator[Batch]:
        nonlocal tally
        for batch in judged:
            tally = tally.plus(batch.tally)
            yield batch

    if step in ("core", "limit"):
        _consumed(counted())
    elif step == "text":
        _consumed(_texts(sink, counted(), provenance))
    elif step == SIGN_STEP:
        _consumed(_signed(_texts(sink, counted(), provenance)))
    elif step == "sink":
        opened = place.open_sink(provenance, (sink,))
        for batch in counted():
            opened.write(batch.events, batch.user_changes, lambda: None)
    else:
        raise ValueError(f"no step is called {step}")
    return tally.good, tally.bad


if __name__ == "__main__":
    main()
