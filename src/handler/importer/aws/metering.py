"""Counts what is sent to AWS, at the two doors it leaves by: botocore's clients, by their events, and the quick way.

Each try of a request is one, answered or not. Units are counted when an answer says that they were taken:

    puts of the sinks     by the size of their items and records; what of them was left unprocessed is not written
                          yet; a put that its condition refuses costs the same, but for the index
    all other table calls as DynamoDB says when asked (ReturnConsumedCapacity), indexes included; it says nothing of a
                          write that a condition refuses: that is counted as the one unit it costs at least

The sinks know nothing of it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from math import ceil
from typing import Any, Final, TypeVar

import orjson

from importer.costs import WRITE_UNIT_BYTES, Meter, index_units, item_bytes, stream_billed_bytes, units_of, write_units
from importer.sinks.calls import THROTTLES
from importer.sinks.quick import OK, Operation, Reply, Transport

Client = TypeVar("Client")
Counts = dict[str, int]

_PUTS: Final = ("PutItem", "BatchWriteItem", "PutRecordBatch")
_TABLE_WRITES: Final = ("PutItem", "UpdateItem", "DeleteItem")
_ASKS: Final = "ReturnConsumedCapacity"
_REQUESTS: Final = {"dynamodb": "table_requests", "firehose": "stream_requests", "sqs": "sqs_requests"}
_WEIGHED: Final = "importer_weighed"  # key of botocore's context of a call


def metered(client: Client, meter: Meter, events_table: str | None = None) -> Client:
    """The same client, whose calls are counted from now on.

    Args:
        events_table: given where it is the sinks'.
    """
    service = client.meta.service_model.service_name  # type: ignore[attr-defined]
    puts = () if events_table is None else _PUTS
    writes = "ledger_write_units" if events_table is None else "user_write_units"

    def sent(operation: Any, **_: Any) -> None:
        count = _REQUESTS.get(service) or _request_to_s3(operation.name)
        if count:
            meter.add(**{count: 1})

    def ask(params: dict[str, Any], model: Any, **_: Any) -> None:
        if model.name not in puts and _ASKS in model.input_shape.members:
            params.setdefault(_ASKS, "TOTAL")

    def weigh(params: dict[str, Any], model: Any, context: dict[str, Any], **_: Any) -> None:
        if model.name in puts:
            body = params["body"]
            of_events = model.name == "PutItem" and orjson.loads(body)["TableName"] == events_table
            context[_WEIGHED] = _WEIGHTS[model.name](body, "event_write_units" if of_events else "user_write_units")

    def answered(parsed: Mapping[str, Any], model: Any, context: Mapping[str, Any], **_: Any) -> None:
        if model.name in puts:
            meter.add(**_taken(context[_WEIGHED], parsed, parsed.get("Error", {}).get("Code", "")))
        elif service == "dynamodb":
            said = parsed.get("ConsumedCapacity", ())
            units = ceil(sum(one.get("CapacityUnits", 0) for one in ([said] if isinstance(said, dict) else said)))
            meter.add(**({writes: max(units, 1)} if model.name in _TABLE_WRITES else {"read_units": units}))

    events = client.meta.events  # type: ignore[attr-defined]
    events.register(f"needs-retry.{service}", sent)  # asked after each try, whatever came of it
    if service in ("dynamodb", "firehose"):
        events.register(f"provide-client-params.{service}", ask)
        events.register(f"before-call.{service}", weigh)
        events.register(f"after-call.{service}", answered)
    return client


def metered_transport(transport: Transport | None, meter: Meter, events_table: str) -> Transport | None:
    """The same way, its calls counted from now on."""
    return None if transport is None else _MeteredTransport(transport, meter, events_table)


class _MeteredTransport:
    def __init__(self, transport: Transport, meter: Meter, events_table: str) -> None:
        self.in_flight = transport.in_flight
        self._transport = transport
        self._meter = meter
        self._events_table = events_table

    def operation(self, method: str, **sample: Any) -> Operation:
        units = "event_write_units" if sample.get("TableName") == self._events_table else "user_write_units"
        return _MeteredOperation(self._transport.operation(method, **sample), self._meter, units)


class _MeteredOperation:
    def __init__(self, operation: Operation, meter: Meter, units: str) -> None:
        self.name = operation.name
        self._operation = operation
        self._meter = meter
        self._units = units
        self._count = "stream_requests" if operation.name == "PutRecordBatch" else "table_requests"
        self._is_all_or_nothing = operation.name not in ("BatchWriteItem", "PutRecordBatch")

    def exchange(self, bodies: Iterable[bytes], in_flight: int, is_done: Callable[[Reply], bool]) -> list[Reply | None]:
        weights: list[_Weight] = []
        weigh, units = _WEIGHTS.get(self.name, _nothing), self._units

        def weighed() -> Iterator[bytes]:
            for body in bodies:
                weights.append(weigh(body, units))
                yield body

        replies = self._operation.exchange(weighed(), in_flight, is_done)
        whole: list[_Weight] = []  # nearly all: nothing of such a reply has to be read again
        total = Counter({self._count: len(replies)})
        for weight, reply in zip(weights, replies, strict=False):
            if reply is None:
                continue
            if reply.status == OK and (self._is_all_or_nothing or is_done(reply)):
                whole.append(weight)
            else:
                total.update(_taken_by(weight, reply))
        for weight, times in Counter(whole).items():
            total.update({name: count * times for name, count in weight.counts.items()})
        self._meter.add(**total)
        return replies


# ---- What a call takes ---------------------------------------------------------------------------------------------


class _Weight:
    """What a call takes if all of it is taken; `refused`, if its condition is; `records`, by their bytes."""

    __slots__ = ("counts", "records", "refused")

    def __init__(self, counts: Counts, refused: Counts | None = None, records: tuple[int, ...] = ()) -> None:
        self.counts = counts
        self.refused = refused or {}
        self.records = records


def _taken_by(weight: _Weight, reply: Reply) -> Counts:
    return _taken(weight, reply.document, reply.error_code if reply.status != OK else "")


def _taken(weight: _Weight, answer: Mapping[str, Any], error_code: str) -> Counts:
    """What of a call was taken, by its answer."""
    if error_code in THROTTLES:
        return dict(_PUT_OFF)
    if error_code:
        return weight.refused if error_code == "ConditionalCheckFailedException" else {}
    if answer.get("UnprocessedItems"):
        left = [request["PutRequest"]["Item"] for some in answer["UnprocessedItems"].values() for request in some]
        return _PUT_OFF | {name: max(count - sum(map(write_units, left)), 0) for name, count in weight.counts.items()}
    if answer.get("FailedPutCount"):
        said = answer.get("RequestResponses", ())
        taken = (size for size, one in zip(weight.records, said, strict=False) if not one.get("ErrorCode"))
        return _PUT_OFF | _of_records(taken)
    return weight.counts


_PUT_OFF: Final[Counts] = {"throttled_requests": 1}
_ITEM: Final = b'{"PutRequest":{"Item":'
_RECORD: Final = b'"record":{"S":"'
_DATA: Final = b'{"Data":"'


def _batch(body: bytes, _: str) -> _Weight:
    texts = body.split(_ITEM)  # in a text its quotes would have backslashes
    if len(texts) > 1 and max(map(len, texts)) <= WRITE_UNIT_BYTES:  # nearly always: then what stands around is small
        return _small_events(len(texts) - 1)
    texts = body.removesuffix(b"]}}").split(_ITEM)[1:]
    if not texts:  # botocore's JSON, which has spaces
        requests = [request for some in orjson.loads(body)["RequestItems"].values() for request in some]
        return _Weight({"event_write_units": sum(write_units(request["PutRequest"]["Item"]) for request in requests)})
    if max(map(len, texts)) <= WRITE_UNIT_BYTES:
        return _small_events(len(texts))
    # Measured: to weigh an item over 1 KB takes 10 µs, as long as to make it. So one of a call is, and the others are
    # taken to be like it by their length.
    large = [text for text in texts if len(text) > WRITE_UNIT_BYTES]
    one = large[len(large) // 2]
    weighed = write_units(one.rstrip(b",")[:-2])
    units = max(round(weighed * sum(map(len, large)) / len(one)), len(large))
    return _Weight({"event_write_units": len(texts) - len(large) + units})


@cache
def _small_events(count: int) -> _Weight:
    """One object for all calls alike: they are counted, not looked into."""
    return _Weight({"event_write_units": count})


def _put(body: bytes, name: str) -> _Weight:
    if len(body) > WRITE_UNIT_BYTES or body.startswith(b'{"TableName": '):  # botocore's JSON has spaces
        item = orjson.loads(body)["Item"]
        return _put_of(name, write_units(item), index_units(item))
    at = body.find(_RECORD) + len(_RECORD)
    is_member = body.startswith(b"segment#", at) and b'"segment":{"S":"' in body  # a tombstone has no segment
    return _put_of(name, 1, int(is_member))


@cache
def _put_of(name: str, units: int, indexed: int) -> _Weight:
    return _Weight({name: units + indexed}, {name: units})


def _update(body: bytes, name: str) -> _Weight:
    """Of a link, whose item is about what the call says."""
    units = 1
    if len(body) > WRITE_UNIT_BYTES:
        said = orjson.loads(body)
        units = units_of(item_bytes({**said["Key"], **said["ExpressionAttributeValues"]}))
    return _Weight({name: units}, {name: units})


def _get(body: bytes, _: str) -> _Weight:
    """Of an item of ours: 4 KB at most."""
    return _Weight({"read_units": 1})


def _nothing(body: bytes, _: str) -> _Weight:
    return _Weight({})


def _records(body: bytes, _: str) -> _Weight:
    sizes: list[int] = []
    at = body.find(_DATA)
    if at < 0:  # botocore's JSON, which has spaces
        sizes += (_plain_bytes(record["Data"].encode()) for record in orjson.loads(body)["Records"])
    while at >= 0:
        begin = at + len(_DATA)
        end = body.index(b'"', begin)
        sizes.append((end - begin) // 4 * 3 - body.count(b"=", end - 2, end))
        at = body.find(_DATA, end)
    return _Weight(_of_records(sizes), records=tuple(sizes))


def _plain_bytes(base64: bytes) -> int:
    return len(base64) // 4 * 3 - base64.count(b"=")


def _of_records(sizes: Iterable[int]) -> Counts:
    sizes = list(sizes)
    return {"stream_records": len(sizes), "stream_billed_bytes": sum(map(stream_billed_bytes, sizes))}


_WEIGHTS: Final[dict[str, Callable[[bytes, str], _Weight]]] = {
    "BatchWriteItem": _batch,
    "PutItem": _put,
    "UpdateItem": _update,
    "PutRecordBatch": _records,
    "GetItem": _get,
}


def _request_to_s3(operation: str) -> str:
    """Rule: aws.amazon.com/s3/pricing: PUT, COPY, POST and LIST have one price, all others another; DELETE is free."""
    if operation.startswith(("Delete", "Abort")) and operation != "DeleteObjects":
        return ""
    writes = ("Put", "Copy", "Upload", "Create", "Complete", "List", "DeleteObjects")  # the last is sent as a POST
    return "s3_writes" if operation.startswith(writes) else "s3_reads"
