"""Counts what the AWS clients send, by botocore's events: requests, each try of one; and units of the tables.

Of the sinks' puts only the requests are counted here: what they wrote, the sinks tell the meter themselves.
DynamoDB is asked to say what a call consumed (ReturnConsumedCapacity), indexes included. It says nothing of a write
that a condition refused: that is counted as the one unit it costs at least.
"""

from collections.abc import Mapping
from math import ceil
from typing import Any, Final, TypeVar

from importer.costs import Meter

Client = TypeVar("Client")

_PUTS: Final = ("PutItem", "BatchWriteItem")
_TABLE_WRITES: Final = ("PutItem", "UpdateItem", "DeleteItem")
_ASKS: Final = "ReturnConsumedCapacity"


def metered(client: Client, meter: Meter, sinks: bool = False) -> Client:
    """The same client, whose requests are counted from now on.

    Args:
        sinks: it is the sinks', who count the units of their puts.
    """

    def sent(operation_name: str, **_: Any) -> None:
        count = _BY_SERVICE.get(service) or _request_to_s3(operation_name)
        if count:
            meter.add(**{count: 1})

    def ask(params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name not in puts and _ASKS in model.input_shape.members:
            params.setdefault(_ASKS, "TOTAL")

    def answered(parsed: Mapping[str, Any], model: Any, **_: Any) -> None:
        if model.name in puts:
            return
        said = parsed.get("ConsumedCapacity", ())
        units = sum(one.get("CapacityUnits", 0) for one in ([said] if isinstance(said, dict) else said))
        if model.name in _TABLE_WRITES:
            meter.add(**{writes: max(ceil(units), 1)})
        else:
            meter.add(read_units=ceil(units))

    service = client.meta.service_model.service_name  # type: ignore[attr-defined]
    events = client.meta.events  # type: ignore[attr-defined]
    puts = _PUTS if sinks else ()
    writes = "user_write_units" if sinks else "ledger_write_units"  # of its own accord a sink changes users only
    events.register(f"request-created.{service}", sent)
    if service == "dynamodb":
        events.register("provide-client-params.dynamodb", ask)
        events.register("after-call.dynamodb", answered)
    return client


_BY_SERVICE: Final = {"dynamodb": "table_requests", "firehose": "stream_requests", "sqs": "sqs_requests"}


def _request_to_s3(operation: str) -> str:
    """Rule: aws.amazon.com/s3/pricing: PUT, COPY, POST and LIST have one price, all others another; DELETE is free."""
    if operation.startswith(("Delete", "Abort")) and operation != "DeleteObjects":
        return ""
    writes = ("Put", "Copy", "Upload", "Create", "Complete", "List", "DeleteObjects")  # the last is sent as a POST
    return "s3_writes" if operation.startswith(writes) else "s3_reads"
