"""What can go wrong with one AWS call, and how a test says so.

    with faults.plan(cloud, kill_after=17) as delivery:    # dies when its 17th call has been executed
        deliver(notification)
    assert delivery.dead and delivery.journal[16] == "s3 CopyObject completed_imports/…"

A fault is a function around one attempt: it may refuse it, execute it and lie about the answer, or act beside it.
`KINDS` is the whole list. `every(calls)` makes one fault of each fitting kind for each call of a clean run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSResponse
from botocore.exceptions import ConnectionClosedError, ReadTimeoutError
from urllib3.exceptions import ProtocolError
from urllib3.exceptions import ReadTimeoutError as Urllib3ReadTimeoutError

from .strict import refusal
from .wire import BrokenBody, Call, Delivery, Execute, Killed, answer_of

if TYPE_CHECKING:
    from .clock import LambdaContext
    from .cloud import Cloud

__all__ = ["KINDS", "Attempt", "Fault", "Killed", "Nth", "attempt", "every", "pairs", "plan"]

READ_TIMEOUT_SECONDS = 60  # botocore's default; what a stalled body or a lost reply costs in virtual time.


@dataclass(frozen=True)
class Nth:
    """A call by its number among all calls of a cloud: of a run of several deliveries, any one."""

    serial: int

    def __str__(self) -> str:
        return f"call {self.serial}"


@dataclass(frozen=True)
class Fault:
    """One thing going wrong.

    Args:
        kind: a name in KINDS.
        at: the call's number within the delivery, from 1; or its number among all calls of a cloud (`Nth`); or a text
            its journal line must contain; or a test of it.
        times: how often. After the first hit it strikes every further call of the same service
            (an outage or a throttled table lasts; a lost reply happens once).
        always: it strikes every call that matches and no other, as a permission does that is taken away.
        lasts_s: after the first hit it strikes every further call of the same service, whoever makes it, for so long.
        detail: what the kind understands: `seconds`, `code`, `keep` (bytes of a body that still come),
            `do` (the action of `before` and `after`, given the cloud), `message` and `status` (of `refused`).
    """

    kind: str
    at: int | str | Nth | Callable[[Call], bool]
    times: int = 1
    detail: dict[str, Any] = field(default_factory=dict, hash=False)
    always: bool = False
    lasts_s: int = 0

    def __str__(self) -> str:
        more = f"x{self.times}" if self.times > 1 else f" for {self.lasts_s} s" if self.lasts_s else ""
        return f"{self.kind}@{self.at if isinstance(self.at, (int, str, Nth)) else self.at.__name__}{more}"

    def matches(self, call: Call) -> bool:
        if isinstance(self.at, Nth):
            return call.serial == self.at.serial
        if isinstance(self.at, int):
            return call.index == self.at
        if isinstance(self.at, str):
            return self.at in call.label
        return self.at(call)


# --- the kinds ----------------------------------------------------------------------------------------------------


def kill_before(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """The process ends; the call never leaves."""
    raise call.delivery.die()


def kill_after(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """The call is done; the process ends before it learns so."""
    execute()
    raise call.delivery.die()


def bug(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """Something in the importer raises what nobody expects."""
    raise RuntimeError("a bug")


def connection_lost(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """The request never arrives."""
    raise ConnectionClosedError(endpoint_url=call.url)


def reply_lost(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """The call is done; the client sees a broken connection and the SDK tries again (F6, F8)."""
    execute()
    raise ConnectionClosedError(endpoint_url=call.url)


def reply_late(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """The call is done; the answer does not come within the read time-out."""
    execute()
    call.cloud.clock.advance(READ_TIMEOUT_SECONDS * 1000)
    raise ReadTimeoutError(endpoint_url=call.url)


def error_500(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """AWS fails inside, without effect."""
    code = {"s3": "InternalError", "dynamodb": "InternalServerError"}.get(call.service, "InternalFailure")
    return refusal(call, code, "We encountered an internal error. Please try again.", 500)


def error_503(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """AWS is away for a moment."""
    code = {"firehose": "ServiceUnavailableException"}.get(call.service, "ServiceUnavailable")
    return refusal(call, code, "Service is unable to handle request.", 503)


def throttled(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """Too fast, says each service in its own words (F5, G3)."""
    code, status = {
        "s3": ("SlowDown", 503),
        "dynamodb": ("ProvisionedThroughputExceededException", 400),
        "firehose": ("ServiceUnavailableException", 503),
        "sqs": ("RequestThrottled", 403),
    }.get(call.service, ("ThrottlingException", 400))
    code = fault.detail.get("code", code)
    return refusal(call, code, "Rate exceeded. Please reduce your request rate.", status)


def denied(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """A policy changed half-way (I9); `message` in AWS's words, where it says which action it missed.

    Of several objects at once each is denied, in an answer that is a success.
    """
    if call.operation == "DeleteObjects":
        keys = re.findall(r"<Key>.*?</Key>", call.body.decode())
        errors = "".join(f"<Error>{key}<Code>AccessDenied</Code><Message>Denied</Message></Error>" for key in keys)
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n<DeleteResult>{errors}</DeleteResult>'.encode()
        return answer_of(call, 200, {"Content-Type": "application/xml", "Content-Length": str(len(body))}, body)
    denials = {"s3": ("AccessDenied", 403), "sns": ("AuthorizationError", 403)}
    code, status = denials.get(call.service, ("AccessDeniedException", 400))
    message = fault.detail.get("message", "User is not authorized to perform this operation")
    return refusal(call, code, message, status)


def missing_is_forbidden(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """What S3 says of a missing key to somebody who may not list it without naming a prefix (J6)."""
    answer = execute()
    return refusal(call, "AccessDenied", "Access Denied", 403) if answer.status_code == 404 else answer


def refused(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """The service says no in these words: `code`, `message`, `status`."""
    return refusal(call, fault.detail["code"], fault.detail["message"], fault.detail.get("status", 400))


def unprocessed(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """Every second item of a batch is not done, and the answer is a success (F1, G1)."""
    if call.operation == "PutRecordBatch":
        return _records_not_taken(call, execute)
    if call.operation == "SendMessageBatch":
        return _messages_not_taken(call, execute)
    if call.operation == "PutEvents":  # ours have one
        refused = {"ErrorCode": "InternalFailure", "ErrorMessage": "An internal error occurred."}
        body = json.dumps({"FailedEntryCount": 1, "Entries": [refused]}).encode()
        return answer_of(call, 200, {"Content-Type": "application/x-amz-json-1.1"}, body)
    document = call.document
    done, undone, number = {}, {}, 0
    for table, requests in document["RequestItems"].items():
        for request in requests:
            (undone if number % 2 else done).setdefault(table, []).append(request)
            number += 1
    if number < 2:  # "If none of the items can be processed …" it is an exception.
        return throttled(call, execute, fault)
    call.with_document({**document, "RequestItems": done})
    answer = execute()
    if answer.status_code != 200:
        return answer
    body = json.loads(answer.raw.read())
    body["UnprocessedItems"] = undone
    return answer_of(call, 200, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(body).encode())


def _records_not_taken(call: Call, execute: Execute) -> AWSResponse:
    """Every second record, from the first on: also of a call of one record, which is a success all the same (G1)."""
    document = call.document
    records = document["Records"]
    taken = []
    if records[1::2]:
        call.with_document({**document, "Records": records[1::2]})
        answer = execute()
        if answer.status_code != 200:
            return answer
        taken = json.loads(answer.raw.read())["RequestResponses"]
    failed = {"ErrorCode": "ServiceUnavailableException", "ErrorMessage": "Slow down."}
    responses = [taken[number // 2] if number % 2 else failed for number in range(len(records))]
    body = {"FailedPutCount": len(records[::2]), "Encrypted": False, "RequestResponses": responses}
    return answer_of(call, 200, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(body).encode())


def _messages_not_taken(call: Call, execute: Execute) -> AWSResponse:
    """Every second message, from the first on: also of a batch of one, which is a success all the same."""
    document = call.document
    entries = document["Entries"]
    successful = []
    if entries[1::2]:
        call.with_document({**document, "Entries": entries[1::2]})
        answer = execute()
        if answer.status_code != 200:
            return answer
        successful = json.loads(answer.raw.read())["Successful"]
    failed = [{"Id": entry["Id"], "SenderFault": False, "Code": "InternalError"} for entry in entries[::2]]
    body = json.dumps({"Successful": successful, "Failed": failed}).encode()
    return answer_of(call, 200, {"Content-Type": "application/x-amz-json-1.0"}, body)


def body_cut(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """The connection is closed in the middle of the body, politely: fewer bytes than promised (C2)."""
    return _with_broken_body(call, execute(), fault, None)


def body_reset(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """The connection is reset in the middle of the body (C1)."""
    return _with_broken_body(call, execute(), fault, lambda: ProtocolError("Connection reset by peer"))


def body_stalled(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """The body stops coming; the read times out (C1)."""

    def timed_out() -> Exception:
        call.cloud.clock.advance(READ_TIMEOUT_SECONDS * 1000)
        return Urllib3ReadTimeoutError(None, call.url, "Read timed out.")  # type: ignore[arg-type]

    return _with_broken_body(call, execute(), fault, timed_out)


def _with_broken_body(
    call: Call, answer: AWSResponse, fault: Fault, end: Callable[[], Exception] | None
) -> AWSResponse:
    if answer.status_code >= 300:
        return answer
    body = answer.raw.read()
    # Without the checksum header, else botocore notices a cut that S3 gives it no means to notice (C4).
    headers = {name: value for name, value in answer.headers.items() if not name.lower().startswith("x-amz-checksum")}
    if not any(name.lower() == "content-length" for name in headers):
        headers["Content-Length"] = str(len(body))
    good = min(fault.detail.get("keep", len(body) // 2), len(body))
    return AWSResponse(call.url, answer.status_code, headers, BrokenBody(body, good, end))


def range_ignored(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """A ranged GET is answered 200 with the whole body, which HTTP allows (N11)."""
    del call.request.headers["Range"]
    return execute()


def slow(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """The call takes `seconds` (60) longer than usual: leases expire, deadlines come near."""
    call.cloud.clock.advance(fault.detail.get("seconds", 60) * 1000)
    return execute()


def deadline_now(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """The invocation learns that its time is up; it has a minute to end in, as long as it asks for no more."""
    now_ms = call.cloud.clock.now_ms()
    if call.delivery.context is not None:
        call.delivery.context.deadline_ms = min(call.delivery.context.deadline_ms, now_ms)
        call.delivery.deadline_ms = now_ms + 60_000
    return execute()


def timed_out(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """The call takes all the time that is left: it is done, and the invocation killed (H2)."""
    answer = execute()
    if call.delivery.deadline_ms is not None:
        call.cloud.clock.advance(max(call.delivery.deadline_ms - call.cloud.clock.now_ms(), 0))
    call.cloud.wire.check_alive(call.delivery)
    return answer


def clock_ahead(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """From here on this worker's clock is `seconds` (3 hours) ahead of the others' (H8)."""
    call.delivery.skew_ms += fault.detail.get("seconds", 3 * 3600) * 1000
    return execute()


def clock_behind(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """From here on this worker's clock is `seconds` (10 minutes) behind the others' (H8)."""
    call.delivery.skew_ms -= fault.detail.get("seconds", 600) * 1000
    return execute()


def before(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """Somebody else acts just before this call: `do(cloud)`."""
    with call.cloud.unseen():
        fault.detail["do"](call.cloud)
    return execute()


def after(call: Call, execute: Execute, fault: Fault) -> AWSResponse:
    """Somebody else acts just after this call: `do(cloud)`."""
    answer = execute()
    with call.cloud.unseen():
        fault.detail["do"](call.cloud)
    return answer


KINDS: dict[str, Callable[[Call, Execute, Fault], AWSResponse]] = {
    kind.__name__: kind
    for kind in (
        kill_before,
        kill_after,
        bug,
        connection_lost,
        reply_lost,
        reply_late,
        error_500,
        error_503,
        throttled,
        denied,
        missing_is_forbidden,
        refused,
        unprocessed,
        body_cut,
        body_reset,
        body_stalled,
        range_ignored,
        slow,
        deadline_now,
        timed_out,
        clock_ahead,
        clock_behind,
        before,
        after,
    )
}

_ONLY_FOR = {
    "unprocessed": ("BatchWriteItem", "PutRecordBatch", "SendMessageBatch", "PutEvents"),
    "body_cut": ("GetObject",),
    "body_reset": ("GetObject",),
    "body_stalled": ("GetObject",),
    "range_ignored": ("GetObject",),
    "missing_is_forbidden": ("HeadObject", "GetObject"),
}
_NEED_DETAIL = ("before", "after", "refused", "missing_is_forbidden")
_OF_WORKERS = ("bug", "deadline_now", "timed_out", "clock_ahead", "clock_behind")  # of a whole run, not of a call


def fits(kind: str, call: Call) -> bool:
    """Can this go wrong with this call?"""
    if kind == "range_ignored" and call.header("Range") is None:
        return False
    return call.operation in _ONLY_FOR.get(kind, (call.operation,))


def every(calls: Iterable[Call], kinds: Iterable[str] | None = None) -> list[Fault]:
    """One fault of each fitting kind at each call of a clean run."""
    kinds = [kind for kind in (kinds or [k for k in KINDS if k not in _OF_WORKERS]) if kind not in _NEED_DETAIL]
    return [Fault(kind, call.index) for call in calls for kind in kinds if fits(kind, call)]


def pairs(faults: list[Fault]) -> list[tuple[Fault, Fault]]:
    """Every two faults at different calls; many: take a sample."""
    return [
        (one, other)
        for one in faults
        for other in faults
        if isinstance(one.at, int) and isinstance(other.at, int) and one.at < other.at
    ]


# --- one delivery with faults -------------------------------------------------------------------------------------


def around_of(faults: Iterable[Fault], fired: list[str]) -> list[Callable[[Call, Execute], AWSResponse]]:
    """The faults as wrappers for a Delivery; `fired` is told which struck, and where."""

    def wrapper_of(fault: Fault) -> Callable[[Call, Execute], AWSResponse]:
        struck_service: str | None = None
        left = fault.times
        until_ms = 0

        def around(call: Call, execute: Execute) -> AWSResponse:
            nonlocal struck_service, left, until_ms
            matches_now = struck_service is None or fault.always
            strikes = fault.matches(call) if matches_now else call.service == struck_service
            goes_on = fault.always or left > 0 or call.cloud.clock.now_ms() < until_ms
            if not goes_on or not strikes or not fits(fault.kind, call):
                return execute()
            left -= 1
            if struck_service is None:
                until_ms = call.cloud.clock.now_ms() + fault.lasts_s * 1000
            struck_service = call.service
            fired.append(f"{fault.kind} at {call.index}: {call.label}")
            return KINDS[fault.kind](call, execute, fault)

        return around

    return [wrapper_of(fault) for fault in faults]


def faults_of(named: dict[str, Any]) -> list[Fault]:
    """`kill_after=17`, `throttled=(3, 5)` (at, times), `before={17: action}` as faults."""
    faults = []
    for kind, value in named.items():
        if kind in _NEED_DETAIL:
            faults += [Fault(kind, at, detail={"do": action}) for at, action in value.items()]
        elif isinstance(value, tuple):
            faults.append(Fault(kind, *value))
        else:
            faults.append(Fault(kind, value))
    return faults


@dataclass
class Attempt:
    """How one delivery ended: `killed`, `error` (it raised, so Lambda or SQS will try again), or neither."""

    delivery: Delivery
    fired: list[str]
    killed: bool = False
    error: Exception | None = None
    result: Any = None

    @property
    def calls(self) -> list[Call]:
        return self.delivery.calls

    @property
    def journal(self) -> list[str]:
        return self.delivery.journal

    @property
    def dead(self) -> bool:
        return self.delivery.dead


@contextmanager
def plan(
    cloud: Cloud,
    *faults: Fault,
    name: str = "delivery",
    seconds: float | None = None,
    context: LambdaContext | None = None,
    around: Iterable[Callable[[Call, Execute], AWSResponse]] = (),
    **named: Any,
) -> Iterator[Attempt]:
    """One delivery of the importer in which these faults happen.

    `Killed` ends at the border of this block, as a process ends; any other exception goes on to the caller.

    Args:
        seconds: Lambda's time-out: an AWS call or sleep after that long kills the delivery.
        context: what the invocation is told of its time.
        around: faults already struck or waiting, shared with other deliveries (`around_of`).
        named: faults in short form, see `faults_of`.
    """
    unknown = [kind for kind in named if kind not in KINDS]
    if unknown:
        raise TypeError(f"no such fault: {unknown}; there are {list(KINDS)}")
    fired: list[str] = []
    delivery = Delivery(name, [*around, *around_of([*faults, *faults_of(named)], fired)], context=context)
    if seconds is not None:
        delivery.deadline_ms = cloud.clock.now_ms() + round(seconds * 1000)
    ended = Attempt(delivery, fired)
    with cloud.wire.delivering(delivery):
        try:
            yield ended
        except Killed:
            ended.killed = True
        finally:
            delivery.dead = True  # A thread it left behind belongs to a frozen process: no more calls.
    delivery.dead = ended.killed


def attempt(cloud: Cloud, deliver: Callable[[], Any], *faults: Fault, **named: Any) -> Attempt:
    """One delivery as Lambda sees it: it returns, raises or dies, and the caller only learns which."""
    with plan(cloud, *faults, **named) as ended:
        try:
            ended.result = deliver()
        except Exception as error:  # noqa: BLE001  Lambda does the same: whatever it is, it tries again.
            ended.error = error
    return ended
