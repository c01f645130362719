"""What AWS refuses and moto 5.2.5 accepts: the missing strictness, one visible list of rules (hazards L).

A rule looks at a call before it is executed and gives back nothing, or the answer AWS would give. Rules only cover
calls this project makes; where moto agrees with AWS there is no rule, and `test_strict_layer.py` says so.
Limits are AWS's published quotas (API_BatchWriteItem, ServiceQuotas of DynamoDB, API_PutRecordBatch, S3 object keys).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING
from urllib.parse import unquote

from botocore.awsrequest import AWSResponse
from moto.dynamodb.parsing.reserved_keywords import ReservedKeywords

if TYPE_CHECKING:
    from .wire import Call

BATCH_WRITE_ITEMS = 25
REQUEST_BYTES = 16 * 1024 * 1024
ITEM_BYTES = 400 * 1024
NUMBER_DIGITS = 38
SMALLEST_NUMBER, LARGEST_NUMBER = Decimal("1e-130"), Decimal("9.9999999999999999999999999999999999999e125")
NESTING_LEVELS = 32
EXPRESSION_BYTES = 4096
KEY_BYTES = 1024
PIECES = 10_000
COPY_SOURCE_BYTES = 5 * 1024**3
STREAM_RECORDS = 500
STREAM_REQUEST_BYTES = 4 * 1024 * 1024
STREAM_RECORD_BYTES = 1000 * 1024
PARAMETER_CHARACTERS = 4096
BUS_EVENTS = 10
BUS_BYTES = 256 * 1024
TOPIC_BYTES = 256 * 1024
RESERVED_WORDS = frozenset(ReservedKeywords.get_reserved_keywords())
TOKEN_LIFE_MS = 10 * 60 * 1000


def executed(call: Call, execute: Callable[[], AWSResponse]) -> AWSResponse:
    """The answer to this call from an AWS that is as strict as the real one."""
    for rule in RULES.get((call.service, call.operation), ()):
        refused = rule(call)
        if refused is not None:
            return refused
    answer = execute()
    if call.operation == "GetObject" and call.header("Range"):
        # moto sends the checksum of the whole object with `bytes=0-`; S3 sends none with a range. botocore would
        # verify it and so hide a body that was cut short (C4).
        for name in [name for name in answer.headers if name.lower().startswith("x-amz-checksum")]:
            del answer.headers[name]
    return answer


# --- how each service says no -------------------------------------------------------------------------------------


def refusal(call: Call, code: str, message: str, status: int = 400) -> AWSResponse:
    """An error answer in the service's own form."""
    from .wire import answer_of

    if call.service == "s3":
        body = b""
        if call.request.method != "HEAD":
            body = (
                f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>'
                "<RequestId>STRICT</RequestId></Error>"
            ).encode()
        return answer_of(call, status, {"Content-Type": "application/xml", "Content-Length": str(len(body))}, body)
    if call.service == "sns":
        said = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
        body = f"<ErrorResponse>{said}<RequestId>STRICT</RequestId></ErrorResponse>".encode()
        return answer_of(call, status, {"Content-Type": "text/xml"}, body)
    namespace = {"dynamodb": "com.amazonaws.dynamodb.v20120810#", "sqs": "com.amazonaws.sqs#"}.get(call.service, "")
    if code == "ValidationException":
        namespace = "com.amazon.coral.validate#"
    body = json.dumps({"__type": namespace + code, "message": message}).encode()
    return answer_of(call, status, {"Content-Type": "application/x-amz-json-1.0"}, body)


def _invalid(call: Call, message: str) -> AWSResponse:
    return refusal(call, "ValidationException", message)


# --- DynamoDB -----------------------------------------------------------------------------------------------------


def batch_holds_at_most_25_requests(call: Call) -> AWSResponse | None:
    count = sum(len(requests) for requests in call.document.get("RequestItems", {}).values())
    if count > BATCH_WRITE_ITEMS:
        return _invalid(call, "Too many items requested for the BatchWriteItem call")
    return None


def request_is_at_most_16_mb(call: Call) -> AWSResponse | None:
    if len(call.body) > REQUEST_BYTES:
        return refusal(call, "RequestEntityTooLarge", f"HTTP content length exceeded {REQUEST_BYTES} bytes.", 413)
    return None


def values_are_storable(call: Call) -> AWSResponse | None:
    """Numbers, nesting and sets of every value in the request."""
    for value in _values_in(call.document):
        problem = _problem_with(value, 1)
        if problem:
            return _invalid(call, problem)
    return None


def _values_in(document: dict) -> Iterator[dict]:
    for requests in document.get("RequestItems", {}).values():
        if isinstance(requests, list):
            for request in requests:
                yield from request.get("PutRequest", {}).get("Item", {}).values()
    for written in document.get("TransactItems", ()):
        for action in written.values():
            yield from _values_in(action)
    for part in ("Item", "Key", "ExpressionAttributeValues"):
        yield from document.get(part, {}).values()


def _problem_with(value: dict, depth: int) -> str | None:
    (kind, content), *_ = value.items()
    if kind == "N":
        return _problem_with_number(content)
    if kind in ("SS", "NS", "BS") and not content:
        return "One or more parameter values were invalid: An set may not be empty"
    if kind == "NS":
        return next(filter(None, map(_problem_with_number, content)), None)
    if kind in ("M", "L"):
        if depth >= NESTING_LEVELS + 1:
            return "Nesting Levels have exceeded supported limits: Attributes have nested levels greater than 32"
        inner = content.values() if kind == "M" else content
        return next(filter(None, (_problem_with(each, depth + 1) for each in inner)), None)
    return None


def _problem_with_number(text: str) -> str | None:
    try:
        number = Decimal(text)
    except ArithmeticError:
        return f"The parameter cannot be converted to a numeric value: {text}"
    if not number.is_finite():
        return f"The parameter cannot be converted to a numeric value: {text}"
    if len("".join(map(str, number.as_tuple().digits)).strip("0")) > NUMBER_DIGITS:
        return "Attempting to store more than 38 significant digits in a Number"
    magnitude = number.copy_abs()  # Not abs(): that rounds to the context's 28 digits.
    if magnitude > LARGEST_NUMBER:
        return "Number overflow. Attempting to store a number with magnitude larger than supported range"
    if number and magnitude < SMALLEST_NUMBER:
        return "Number underflow. Attempting to store a number with magnitude smaller than supported range"
    return None


def expression_is_at_most_4_kb(call: Call) -> AWSResponse | None:
    for name in ("UpdateExpression", "ConditionExpression", "FilterExpression", "KeyConditionExpression"):
        size_bytes = len(call.document.get(name, "").encode())
        if size_bytes > EXPRESSION_BYTES:
            return _invalid(
                call,
                f"Invalid {name}: Expression size has exceeded the maximum allowed size; expression size: {size_bytes}",
            )
    return None


def names_are_not_reserved(call: Call) -> AWSResponse | None:
    """A reserved word needs a placeholder; moto looks at some expressions only.

    Source: docs.aws.amazon.com/amazondynamodb/latest/developerguide/ReservedWords.html, as moto has it.
    """
    for name, text in call.document.items():
        if name.endswith("Expression") and isinstance(text, str):
            words = re.findall(r"(?<![#:\w])[A-Za-z_]\w*", text)
            # What an expression itself is made of is written in capitals by us, or is a function.
            reserved = [word for word in words if word.islower() and word.upper() in RESERVED_WORDS]
            if reserved:
                return _invalid(call, f"Invalid {name}: Attribute name is a reserved keyword: {reserved[0]}")
    return None


def item_is_at_most_400_kb(call: Call) -> AWSResponse | None:
    """Items as sent; what an UpdateItem would make of a stored item is added up roughly: stored + new values."""
    for item in _items_in(call):
        if sum(len(name.encode()) + _size_of(value) for name, value in item.items()) > ITEM_BYTES:
            what = "Item size to update" if call.operation == "UpdateItem" else "Item size"
            return _invalid(call, f"{what} has exceeded the maximum allowed size")
    return None


def _items_in(call: Call) -> Iterator[dict]:
    document = call.document
    if call.operation == "UpdateItem":
        stored = call.cloud.stored(document["TableName"], document["Key"])
        yield {**stored, **_assigned(document), **_grown(document, stored)}
    if "Item" in document:
        yield document["Item"]
    for requests in document.get("RequestItems", {}).values():
        yield from (request["PutRequest"]["Item"] for request in requests if "PutRequest" in request)


def _assigned(document: dict) -> dict:
    """The attributes an UpdateExpression SETs to a plain value, under their real names."""
    names, values = document.get("ExpressionAttributeNames", {}), document.get("ExpressionAttributeValues", {})
    assigned = {}
    for left, _, right in (part.partition("=") for part in document.get("UpdateExpression", "").split(",")):
        name = left.split()[-1] if left.split() else ""
        value = right.split()[0] if right.split() else ""
        if value in values:
            assigned[names.get(name, name)] = values[value]
    return assigned


def _grown(document: dict, stored: dict) -> dict:
    """The sets an UpdateExpression ADDs to, as they will be."""
    names, values = document.get("ExpressionAttributeNames", {}), document.get("ExpressionAttributeValues", {})
    _, added, actions = document.get("UpdateExpression", "").partition("ADD ")
    grown = {}
    for name, value in (action.split()[:2] for action in actions.split(",") if added):
        kind, some = next(iter(values[value].items()))
        if kind in ("SS", "NS", "BS"):
            before = stored.get(names.get(name, name), {}).get(kind, [])
            grown[names.get(name, name)] = {kind: sorted({*before, *some})}
    return grown


def _size_of(value: dict) -> int:
    """Bytes as DynamoDB counts them (numbers: about half a byte a digit, plus one)."""
    (kind, content), *_ = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "B":
        return len(content) * 3 // 4
    if kind == "N":
        return (len(content) + 1) // 2 + 1
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + _size_of(inner) for name, inner in content.items())
    if kind == "L":
        return 3 + sum(1 + _size_of(inner) for inner in content)
    if kind in ("SS", "NS", "BS"):
        return sum(_size_of({kind[0]: each}) for each in content)
    return 1


def token_means_the_same_request(call: Call) -> AWSResponse | None:
    """A ClientRequestToken seen in the last ten minutes: same request → no effect, another → refused (F7)."""
    from .wire import answer_of

    token = call.document.get("ClientRequestToken")
    if token is None:
        return None
    seen, now_ms = call.cloud.transaction_tokens, call.cloud.clock.now_ms()
    body, at_ms = seen.get(token, (None, 0))
    if body is None or now_ms - at_ms > TOKEN_LIFE_MS:
        seen[token] = (call.body, now_ms)
        return None
    if body != call.body:
        return refusal(
            call, "IdempotentParameterMismatchException", "Request was made with the same token, but other parameters"
        )
    return answer_of(call, 200, {"Content-Type": "application/x-amz-json-1.0"}, b"{}")


# --- S3 -----------------------------------------------------------------------------------------------------------


def key_is_at_most_1024_bytes(call: Call) -> AWSResponse | None:
    if len((call.key or "").encode()) > KEY_BYTES:
        return refusal(call, "KeyTooLongError", "Your key is too long")
    return None


def body_has_the_md5_it_claims(call: Call) -> AWSResponse | None:
    claimed = call.header("Content-MD5")
    if claimed is None:
        return None
    if base64.b64encode(hashlib.md5(call.body).digest()).decode() != claimed:
        return refusal(call, "BadDigest", "The Content-MD5 you specified did not match what we received.")
    return None


def copied_source_still_matches(call: Call) -> AWSResponse | None:
    """CopySourceIfMatch, on CopyObject and UploadPartCopy."""
    wanted, source = call.header("x-amz-copy-source-if-match"), call.header("x-amz-copy-source")
    if wanted is None or source is None:
        return None
    path, _, version = source.partition("?versionId=")
    key = unquote(path).lstrip("/").partition("/")[2]
    etag = call.cloud.etag(key, version or None)
    if etag is None:
        return None  # moto says NoSuchKey or NoSuchVersion itself.
    if wanted.strip('"') != etag.strip('"'):
        return _precondition_failed(call)
    return None


def copied_source_is_at_most_5_gib(call: Call) -> AWSResponse | None:
    """Of CopyObject, and of one piece of UploadPartCopy (I5)."""
    size_bytes = _copied_bytes(call)
    if size_bytes is not None and size_bytes > COPY_SOURCE_BYTES:
        return refusal(
            call,
            "InvalidRequest",
            f"The specified copy source is larger than the maximum allowable size: {COPY_SOURCE_BYTES}",
        )
    return None


def copied_range_lies_in_the_source(call: Call) -> AWSResponse | None:
    copied_range = call.header("x-amz-copy-source-range")
    found = _copied_object(call)
    if copied_range is None or found is None:
        return None
    first, last = map(int, copied_range.removeprefix("bytes=").split("-"))
    if not first <= last < len(found):
        return refusal(call, "InvalidArgument", f"Range specified is not valid for source object of size: {len(found)}")
    return None


def pieces_are_numbered_1_to_10000(call: Call) -> AWSResponse | None:
    """UploadPart and UploadPartCopy (N6)."""
    if not 1 <= int(call.query["partNumber"]) <= PIECES:
        return refusal(call, "InvalidArgument", "Part number must be an integer between 1 and 10000, inclusive")
    return None


def upload_is_known(call: Call) -> AWSResponse | None:
    """moto alone dies by KeyError of an upload that was completed or aborted before."""
    if call.query["uploadId"] in call.cloud.uploads():
        return None
    return refusal(call, "NoSuchUpload", "The specified multipart upload does not exist.", 404)


def _copied_bytes(call: Call) -> int | None:
    copied_range = call.header("x-amz-copy-source-range")
    if copied_range is not None:
        first, last = map(int, copied_range.removeprefix("bytes=").split("-"))
        return last - first + 1
    found = _copied_object(call)
    return None if found is None else len(found)


def _copied_object(call: Call) -> bytes | None:
    path, _, version = (call.header("x-amz-copy-source") or "").partition("?versionId=")
    return call.cloud.body(unquote(path).lstrip("/").partition("/")[2], version or None)


def destination_is_still_absent(call: Call) -> AWSResponse | None:
    """If-None-Match: * on CopyObject and CompleteMultipartUpload."""
    if call.header("If-None-Match") == "*" and call.cloud.etag(call.key or "") is not None:
        return _precondition_failed(call)
    return None


def _precondition_failed(call: Call) -> AWSResponse:
    return refusal(call, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold", 412)


# --- Firehose and SQS ---------------------------------------------------------------------------------------------


def stream_takes_these_records(call: Call) -> AWSResponse | None:
    document = call.document
    records = document["Records"] if "Records" in document else [document.get("Record", {})]
    sizes = [len(base64.b64decode(record.get("Data", ""))) for record in records]
    if not records or len(records) > STREAM_RECORDS:
        return _invalid(call, f"1 validation error detected: Value at 'records' must hold 1 to {STREAM_RECORDS}")
    if max(sizes) > STREAM_RECORD_BYTES:
        return refusal(call, "InvalidArgumentException", "Record size must be <= 1024000 bytes")
    if min(sizes) == 0:
        return refusal(call, "InvalidArgumentException", "Record data must not be empty")
    # Whether AWS counts 4 MiB before base64 or after is not published: what passes must pass both ways.
    if len(call.body) > STREAM_REQUEST_BYTES:
        return refusal(call, "InvalidArgumentException", "Records size exceeds 4 MB limit")
    return None


def message_holds_only_xml_characters(call: Call) -> AWSResponse | None:
    entries = call.document.get("Entries") or [call.document]
    for entry in entries:
        for character in entry.get("MessageBody", ""):
            point = ord(character)
            if (point < 0x20 and character not in "\t\n\r") or 0xD800 <= point <= 0xDFFF or point in (0xFFFE, 0xFFFF):
                return refusal(call, "InvalidMessageContents", f"Invalid binary character '#x{point:X}'")
    return None


# --- EventBridge and SNS -------------------------------------------------------------------------------------------


def bus_takes_these_events(call: Call) -> AWSResponse | None:
    """Sizes as "Calculating PutEvents event entry size" has them."""
    entries = call.document.get("Entries", [])
    if not 1 <= len(entries) <= BUS_EVENTS:
        return _invalid(call, f"1 validation error detected: Value at 'entries' must hold 1 to {BUS_EVENTS}")
    texts = [entry.get(name, "") for entry in entries for name in ("Source", "DetailType", "Detail")]
    if sum(14 + len(text.encode()) for text in texts) > BUS_BYTES:
        return _invalid(call, "Total size of the entries in the request is over the limit.")
    return None


def topic_takes_this_message(call: Call) -> AWSResponse | None:
    subject, message = call.fields.get("Subject"), call.fields.get("Message", "")
    if subject is not None and not re.fullmatch(r"[!-~][ -~]{0,98}", subject):
        return refusal(call, "InvalidParameter", "Invalid parameter: Subject")
    if not 1 <= len(message.encode()) <= TOPIC_BYTES:
        return refusal(call, "InvalidParameter", "Invalid parameter: Message too long")
    return None


Rule = Callable[["Call"], "AWSResponse | None"]

_EXPRESSIONS = (expression_is_at_most_4_kb, names_are_not_reserved)
_WRITES_VALUES = (request_is_at_most_16_mb, values_are_storable, *_EXPRESSIONS, item_is_at_most_400_kb)

# --- SSM ----------------------------------------------------------------------------------------------------------


def parameter_can_be_kept(call: Call) -> AWSResponse | None:
    """4,096 characters in the standard tier, no `{{`, which refers to another parameter, and a name of few characters
    (API_PutParameter).
    """
    value, name = call.document.get("Value", ""), call.document.get("Name", "")
    if len(value) > PARAMETER_CHARACTERS and call.document.get("Tier", "Standard") == "Standard":
        return _invalid(call, "Standard tier parameters support a maximum parameter value of 4096 characters.")
    if "{{" in value:
        return _invalid(call, "Parameter value can't nest another parameter.")
    if not re.fullmatch(r"[A-Za-z0-9_.\-/]+", name):
        return _invalid(call, "Parameter name: only a mix of letters, numbers and the following symbols .-_ is allowed")
    return None


RULES: dict[tuple[str, str], tuple[Rule, ...]] = {
    ("dynamodb", "BatchWriteItem"): (batch_holds_at_most_25_requests, *_WRITES_VALUES),
    ("dynamodb", "PutItem"): _WRITES_VALUES,
    ("dynamodb", "UpdateItem"): _WRITES_VALUES,
    ("dynamodb", "DeleteItem"): _EXPRESSIONS,
    ("dynamodb", "Query"): _EXPRESSIONS,
    ("dynamodb", "Scan"): _EXPRESSIONS,
    ("dynamodb", "TransactWriteItems"): (values_are_storable, token_means_the_same_request),
    ("s3", "PutObject"): (key_is_at_most_1024_bytes, body_has_the_md5_it_claims),
    ("s3", "UploadPart"): (upload_is_known, body_has_the_md5_it_claims, pieces_are_numbered_1_to_10000),
    ("s3", "CreateMultipartUpload"): (key_is_at_most_1024_bytes,),
    ("s3", "CopyObject"): (
        key_is_at_most_1024_bytes,
        copied_source_still_matches,
        copied_source_is_at_most_5_gib,
        destination_is_still_absent,
    ),
    ("s3", "UploadPartCopy"): (
        upload_is_known,
        copied_source_still_matches,
        copied_source_is_at_most_5_gib,
        copied_range_lies_in_the_source,
        pieces_are_numbered_1_to_10000,
    ),
    ("s3", "CompleteMultipartUpload"): (upload_is_known, destination_is_still_absent),
    ("firehose", "PutRecord"): (stream_takes_these_records,),
    ("firehose", "PutRecordBatch"): (stream_takes_these_records,),
    ("ssm", "PutParameter"): (parameter_can_be_kept,),
    ("eventbridge", "PutEvents"): (bus_takes_these_events,),
    ("sns", "Publish"): (topic_takes_this_message,),
    ("sqs", "SendMessage"): (message_holds_only_xml_characters,),
    ("sqs", "SendMessageBatch"): (message_holds_only_xml_characters,),
}
