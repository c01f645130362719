"""The quick way to DynamoDB on real sockets: what breaks there, nothing is lost of and nothing is taken for done."""

import datetime
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest import mock

import boto3
import botocore.auth
import botocore.session
import pytest
from botocore.config import Config
from botocore.credentials import RefreshableCredentials
from moto.core.botocore_stubber import BotocoreStubber

from importer.aws import transport
from importer.aws.clock import SystemClock
from importer.aws.transport import Transport
from importer.model import Event, Provenance, Throttled, UserChange
from importer.sinks import calls, pace
from importer.sinks.dynamodb import DynamoDBSink
from importer.sinks.quick import Reply
from tests.support import scripted_tables as act
from tests.support.scripted_tables import Line, ScriptedTables

SOURCE = Provenance("cooladata", "default", "e1", "imports/a.json", 1_700_000_000_000)
T = 1_425_920_218_354
DONE = Reply(200, b"{}")


@pytest.fixture(autouse=True)
def _moto_is_not_asked() -> Iterator[None]:
    """It listens to every client of a process that has imported it, here for nothing."""
    honest = transport.listeners

    def others(client: Any, event: str) -> list[Any]:
        return [listener for listener in honest(client, event) if not isinstance(listener, BotocoreStubber)]

    with mock.patch.object(transport, "listeners", others):
        yield


def put(number: int) -> dict[str, Any]:
    return {"TableName": "events", "Item": {"user_id": {"S": f"u{number}"}, "event_key": {"S": "k"}}}


BODIES = [json.dumps(put(number)).encode() for number in range(40)]


def numbers(tables: ScriptedTables) -> list[int]:
    return sorted(int(item["user_id"]["S"][1:]) for item in tables.stored)


def is_done(reply: Reply) -> bool:
    return reply.status == 200


def way_of(client: Any, in_flight: int = 4) -> Any:
    quick = Transport.of(client, in_flight)
    assert quick is not None
    return quick.operation("put_item", **put(0))


def exchange(tables: ScriptedTables, count: int = 8, in_flight: int = 4) -> list[Reply | None]:
    replies: list[Reply | None] = way_of(tables.client()).exchange(BODIES[:count], in_flight, is_done)
    return replies


# ---- A good day ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("in_flight", [1, 3, 8])
def test_calls_are_made_in_order_over_so_many_connections(secure: bool, in_flight: int):
    """A reply for each; connections are kept for the next exchange."""
    more = {"verify": str(act.certificate()[0])} if secure else {}
    with ScriptedTables(secure=secure) as tables:
        way = way_of(tables.client(**more))
        for _ in range(2):
            assert way.exchange(BODIES, in_flight, is_done) == [DONE] * 40
        assert numbers(tables) == sorted([*range(40), *range(40)])
        assert tables.connections == in_flight


def test_a_certificate_nobody_vouches_for_gets_no_call():
    """As botocore: the authority is the client's, and the host's name must be in the certificate."""
    with ScriptedTables(secure=True) as tables:
        assert way_of(tables.client()).exchange(BODIES, 4, is_done) == [None]
        client = tables.client(verify=str(act.certificate()[0]))
        client.meta.events.register(  # 127.0.0.1 by another name, which is not in it
            "before-sign.*.*",
            lambda request, **_: setattr(request, "url", request.url.replace("127.0.0.1", "localhost")),
        )
        assert way_of(client).exchange(BODIES, 4, is_done) == [None]
        assert way_of(tables.client(verify=False)).exchange(BODIES, 4, is_done) == [DONE] * 40
        assert len(tables.stored) == 40


@pytest.mark.parametrize("token", ["token", None])
def test_a_call_is_what_botocore_sends(token: str | None):
    """Every header and the body, but for what botocore counts and traces of its attempts."""
    now = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC)
    session = boto3.Session("AKEY", "secret", token, "eu-west-1")
    with (
        ScriptedTables() as tables,
        mock.patch.object(botocore.auth, "get_current_datetime", return_value=now),
        mock.patch.object(time, "time", return_value=now.timestamp()),
    ):
        client = tables.client(session)
        client.put_item(**put(0))
        assert way_of(client).exchange(BODIES[:1], 1, is_done) == [DONE]
        theirs, ours = tables.asked
        theirs.headers = {name: value for name, value in theirs.headers.items() if not name.startswith("amz-sdk")}
        assert (ours.headers, ours.body) == (theirs.headers, theirs.body)


def test_a_body_is_made_when_it_is_sent():
    """So that no more than one is in memory, and none is made in vain."""
    made: list[int] = []

    def bodies() -> Any:
        for number, body in enumerate(BODIES):
            made.append(number)
            yield body

    with ScriptedTables([act.honest, act.reset]) as tables:
        replies = way_of(tables.client()).exchange(bodies(), 2, is_done)
        assert len(made) == len(replies) < 5


@pytest.mark.parametrize("secure", [False, True])
def test_large_calls_and_large_replies_pass_whole(secure: bool):
    """A call of a stream has four million bytes; a reply may list all that was not done."""
    more = {"verify": str(act.certificate()[0])} if secure else {}
    large = {"Item": {"user_id": {"S": "u0"}, "pad": {"S": "x" * 4_000_000}}}

    def echo(asked: act.Asked) -> None:
        asked.say(asked.answer(asked.body))

    with ScriptedTables([echo] * 6, secure=secure) as tables:
        client = tables.client(config=Config(read_timeout=10), **more)
        bodies = [json.dumps(large | {"N": number}).encode() for number in range(6)]
        replies = way_of(client).exchange(bodies, 3, is_done)
        assert [reply and reply.body for reply in replies] == bodies


def test_threads_that_share_a_way_get_their_own_replies():
    """A connection is one exchange's at a time."""

    def told(asked: act.Asked) -> None:
        asked.say(asked.answer(json.dumps({"of": asked.items[0]["user_id"]["S"]}).encode()))

    with ScriptedTables([told] * 400) as tables, ThreadPoolExecutor(4) as pool:
        way = way_of(tables.client(config=Config(read_timeout=10)))
        exchanges = list(pool.map(lambda _: way.exchange(BODIES, 3, is_done), range(8)))
        asked_of = [[reply.document["of"] for reply in replies] for replies in exchanges]
        assert asked_of == [[f"u{number}" for number in range(40)]] * 8


# ---- Replies that are none -----------------------------------------------------------------------------------------

NO_REPLIES: dict[str, Line] = {
    "reset": act.reset,
    "reply lost": act.reply_lost,
    "half a reply": act.half_reply,
    "half a head": act.half_head,
    "late": act.slow(3 * act.READ_TIMEOUT_S),
    "drip by drip": act.drip,
    "wrong checksum": act.odd(x_amz_crc32="1"),
    "no checksum at all": act.odd(x_amz_crc32="x"),
    "chunked": act.chunked,
    "no length": act.odd(Content_Length=None),
    "two lengths": act.odd(content_length="2"),
    "strange length": act.odd(Content_Length="+2"),
    "too long a length": act.odd(Content_Length="99999999999"),
    "too short a length": act.odd(Content_Length="1"),
    "compressed": act.odd(Content_Encoding="gzip"),
    "HTTP/1.0": act.raw(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
    "something else": act.raw(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"),
    "continue": act.raw(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"),
    "two replies": act.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n"),
    "folded": act.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX: a\r\n b\r\n\r\n{}"),
    "space before the colon": act.raw(b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\n{}"),
    "endless head": act.raw(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000),
}


@pytest.mark.parametrize("line", NO_REPLIES.values(), ids=NO_REPLIES.keys())
@pytest.mark.parametrize("at", [0, 5])
def test_what_is_not_a_whole_reply_is_none_and_ends_the_exchange(line: Line, at: int):
    """Those under way are still heard; what is left was never sent."""
    with ScriptedTables([act.honest] * at + [line]) as tables:
        way = way_of(tables.client())
        began = time.monotonic()
        replies = way.exchange(BODIES[:20], 4, is_done)
        assert time.monotonic() - began < 5 * act.READ_TIMEOUT_S
    assert (replies.count(None), replies.count(DONE)) == (1, len(replies) - 1)
    assert len(replies) < at + 2 * 4
    assert tables.calls() == ["PutItem"] * len(replies)


@pytest.mark.parametrize("line", [act.last_one, act.in_pieces], ids=lambda line: line.__name__)
def test_a_whole_reply_counts_however_it_comes(line: Line):
    """In many packets, or as the last one of its connection."""
    with ScriptedTables([line] * 8) as tables:
        assert exchange(tables) == [DONE] * 8
        assert numbers(tables) == list(range(8))


def test_many_silent_connections_are_waited_for_together():
    """The time for a reply begins when the call is sent: 16 take no longer than one."""
    with ScriptedTables([act.slow(5)] * 16) as tables:
        way = way_of(tables.client())
        began = time.monotonic()
        assert way.exchange(BODIES, 16, is_done) == [None] * 16
        assert time.monotonic() - began < 5 * act.READ_TIMEOUT_S


def test_after_some_seconds_nothing_more_is_sent():
    """Slow is not stuck, but a breath is to be taken: the rest is for the next exchange."""
    with ScriptedTables([act.slow(0.1)] * 40) as tables, mock.patch.object(transport, "SENDS_FOR_S", 0.25):
        replies = exchange(tables, 40, 1)
        assert replies == [DONE] * len(replies)
        assert 2 <= len(replies) <= 4


# ---- Replies that are not a success --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "status", "code"),
    [
        (act.error("ThrottlingException"), 400, "ThrottlingException"),
        (act.error("InternalServerError", "500 Internal Server Error"), 500, "InternalServerError"),
        (act.error("AccessDeniedException"), 400, "AccessDeniedException"),
        (act.error("x", "302 Found"), 302, "x"),
    ],
)
def test_what_is_no_success_is_handed_on_and_ends_the_exchange(line: Line, status: int, code: str):
    """What it means is for others to say."""
    with ScriptedTables([act.honest, line]) as tables:
        replies = exchange(tables, 20, 2)
    told = [(reply.status, reply.error_code) for reply in replies if reply is not None and reply != DONE]
    assert (told, len(replies) <= 4) == ([(status, code)], True)


# ---- Connections that are not what they were -----------------------------------------------------------------------


@pytest.mark.parametrize("secure", [False, True])
def test_a_connection_the_server_closed_meanwhile_is_found_before_it_is_used(secure: bool):
    """A frozen function comes back to it: no call is lost on it."""
    more = {"verify": str(act.certificate()[0])} if secure else {}
    with ScriptedTables(secure=secure) as tables:
        way = way_of(tables.client(**more))
        assert way.exchange(BODIES[:8], 4, is_done) == [DONE] * 8
        tables.hang_up()
        time.sleep(0.1)
        assert way.exchange(BODIES[:8], 4, is_done) == [DONE] * 8
        assert tables.connections == 8


def test_a_connection_that_lay_idle_is_not_used_again():
    """Somebody on the way may have forgotten it without a word."""
    with ScriptedTables() as tables, mock.patch.object(transport, "IDLE_S", 0.05):
        way = way_of(tables.client())
        for _ in range(2):
            assert way.exchange(BODIES[:1], 4, is_done) == [DONE]
            time.sleep(0.1)
        assert tables.connections == 2


def test_a_reply_nobody_asked_for_is_never_taken_for_the_next_one():
    """Sent after the one that counted: the connection is found readable."""

    def twice(asked: act.Asked) -> None:
        act.honest(asked)
        asked.tables.ending.wait(0.1)
        asked.say(asked.answer(b'{"another":1}'))

    with ScriptedTables([twice]) as tables:
        way = way_of(tables.client())
        assert way.exchange(BODIES[:1], 1, is_done) == [DONE]
        time.sleep(0.3)
        assert way.exchange(BODIES[1:3], 1, is_done) == [DONE] * 2
        assert tables.connections == 2


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_exception_no_reply_is_taken_for_another_calls(error: type[BaseException]):
    """Connections whose reply was not read are closed: else each later call would get the reply before its own."""

    def bodies() -> Any:
        yield from BODIES[:3]
        raise error

    def told(asked: act.Asked) -> None:
        asked.say(asked.answer(json.dumps({"of": asked.items[0]["user_id"]["S"]}).encode()))

    with ScriptedTables([told] * 20) as tables:
        way = way_of(tables.client())
        with pytest.raises(error):
            way.exchange(bodies(), 4, is_done)
        replies = way.exchange(BODIES[10:16], 4, is_done)
        assert [reply.document["of"] for reply in replies] == [f"u{number}" for number in range(10, 16)]


def test_a_way_that_gives_no_reply_at_all_is_closed_for_a_while():
    """Else every call would be made twice: once in vain, then by the client."""
    with ScriptedTables([act.reset] * transport.FAILURES) as tables:
        way = way_of(tables.client())
        assert [way.exchange(BODIES, 1, is_done) for _ in range(transport.FAILURES)] == [[None]] * transport.FAILURES
        assert way.exchange(BODIES, 1, is_done) == []
        with mock.patch.object(time, "monotonic", return_value=time.monotonic() + transport.CLOSED_FOR_S):
            assert way.exchange(BODIES, 1, is_done) == [DONE] * 40


# ---- Credentials ---------------------------------------------------------------------------------------------------


def rotating() -> tuple[boto3.Session, list[str]]:
    """A session whose credentials run out at once, and the keys that were given out."""
    given: list[str] = []

    def refresh() -> dict[str, str]:
        given.append(f"AKEY{len(given)}")
        soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=30)  # inside the time to renew
        return {
            "access_key": given[-1],
            "secret_key": f"secret of {given[-1]}",
            "token": f"token-{given[-1]}",
            "expiry_time": soon.isoformat(),
        }

    session = botocore.session.Session()
    session._credentials = RefreshableCredentials.create_from_metadata(refresh(), refresh, "test")  # type: ignore[attr-defined]
    session.set_config_variable("region", "us-east-1")
    return boto3.Session(botocore_session=session), given


def test_credentials_are_those_the_client_has_now():
    """They are renewed as the client renews them; key, token and signature go together."""
    session, given = rotating()
    with ScriptedTables() as tables:
        way = way_of(tables.client(session))
        for _ in range(3):
            replies = way.exchange(BODIES[:2], 2, is_done)
            assert replies in ([DONE] * 2, [])  # renewed between the sample and now: the client makes this round
        used = [asked.headers["x-amz-security-token"] for asked in tables.asked]
        assert len(given) > 3
        assert all(
            f"Credential={token.removeprefix('token-')}/" in asked.headers["authorization"]
            for token, asked in zip(used, tables.asked, strict=True)
        )


def test_without_credentials_the_client_says_so():
    """It knows best what is missing."""
    with ScriptedTables() as tables, mock.patch.dict(os.environ, {"AWS_EC2_METADATA_DISABLED": "true"}):
        session = botocore.session.Session()
        session._credentials = None  # type: ignore[attr-defined]
        client = tables.client(boto3.Session("a", "b", None, "us-east-1"))
        client._request_signer._credentials = None
        assert way_of(client).exchange(BODIES, 4, is_done) == []


# ---- Where the client is to be used alone --------------------------------------------------------------------------


def listening(client: Any) -> None:
    client.meta.events.register("before-send.dynamodb.PutItem", lambda **_: None)


def another_header(client: Any) -> None:
    client.meta.events.register("before-sign.*.*", lambda request, **_: request.headers.add_header("X-Audit", "1"))


def another_signature(client: Any) -> None:
    client.meta.events.register("choose-signer.*.*", lambda **_: botocore.UNSIGNED)


def another_path(client: Any) -> None:
    client.meta.events.register("before-sign.*.*", lambda request, **_: setattr(request, "url", request.url + "x"))


@pytest.mark.parametrize("change", [listening, another_header, another_signature, another_path])
def test_what_is_not_understood_leaves_the_client_alone(change: Callable[[Any], None]):
    """Whoever changes botocore's calls is obeyed."""
    with ScriptedTables() as tables:
        client = tables.client()
        change(client)
        assert way_of(client).exchange(BODIES, 4, is_done) == []
        assert tables.asked == []


@pytest.mark.parametrize("proxy", ["config", "environment"])
def test_behind_a_proxy_the_client_is_used_alone(proxy: str):
    """Unless the host is reached without it."""
    environment = {"HTTP_PROXY": "http://127.0.0.1:1", "NO_PROXY": ""} if proxy == "environment" else {}
    more = {"config": Config(proxies={"http": "http://127.0.0.1:1"})} if proxy == "config" else {}
    with ScriptedTables() as tables, mock.patch.dict(os.environ, environment):
        assert way_of(tables.client(**more)).exchange(BODIES, 4, is_done) == []
        if proxy == "environment":
            os.environ["NO_PROXY"] = "127.0.0.1"
            assert way_of(tables.client()).exchange(BODIES[:2], 4, is_done) == [DONE] * 2


def test_a_client_certificate_leaves_the_client_alone():
    """It would have to be shown here, too."""
    with ScriptedTables(secure=True) as tables:
        files = tuple(map(str, act.certificate()))
        assert Transport.of(tables.client(config=Config(client_cert=files)), 4) is None


# ---- The sink over it ----------------------------------------------------------------------------------------------

EVENTS = [Event(f"{number:032x}", "login", T, f"u{number}", {"n": number}, number) for number in range(500)]
CHANGES = [UserChange(f"u{number}", "prop#a", number, T, number, 0) for number in range(20)]
BAD_DAYS: dict[str, list[Line]] = {
    **{name: [act.honest] * 2 + [line] * 3 for name, line in NO_REPLIES.items() if name != "drip by drip"},
    "throttled": [act.honest, *[act.error("ThrottlingException")] * 12],
    "too fast": [act.error("ProvisionedThroughputExceededException")] * 5,
    "500": [act.honest, act.error("InternalServerError", "500 Internal Server Error"), act.honest],
    "503": [act.error("ServiceUnavailable", "503 Service Unavailable")] * 2,
    "unprocessed": [act.unprocessed] * 30,
    "hung up after each": [act.hung_up_after] * 30,
    "last one each": [act.last_one] * 30,
    "mixed": [act.honest, act.reset, act.unprocessed, act.reply_lost, act.error("ThrottlingException"), act.last_one]
    * 4,
}


@pytest.fixture
def impatient():
    """Pauses of a hundredth."""
    with (
        mock.patch.object(pace, "FIRST_PAUSE_MS", 1),
        mock.patch.object(calls, "FIRST_PAUSE_MS", 1),
        mock.patch.object(calls, "LONGEST_PAUSE_MS", 5),
        mock.patch.object(calls, "BOUND_MS", 5_000),
    ):
        yield


def sink_of(client: Any, in_flight: int = 8) -> DynamoDBSink:
    quick = Transport.of(client, in_flight)
    return DynamoDBSink(client, "events", "users", SOURCE, SystemClock(), 2, lambda _: None, transport=quick)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("script", BAD_DAYS.values(), ids=BAD_DAYS.keys())
def test_a_write_over_bad_connections_stores_every_event(script: list[Line]):
    """What was not heard of is written again, which changes nothing; what was heard of was stored."""
    with ScriptedTables(script) as tables:
        assert sink_of(tables.client()).write(EVENTS, []) == {}
    assert {int(item["event_id"]["S"], 16) for item in tables.stored} == set(range(500))
    lost = sum(name in ("BatchWriteItem",) for name in tables.calls()) - 20
    assert lost <= len(script) + 8


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("script", BAD_DAYS.values(), ids=BAD_DAYS.keys())
def test_user_records_over_bad_connections_are_written_too(script: list[Line]):
    """Conditional writes, the same rule."""
    with ScriptedTables([line for line in script if line is not act.unprocessed]) as tables:
        assert sink_of(tables.client()).write([], CHANGES) == {}
    assert {item["user_id"]["S"] for item in tables.stored} == {change.user_id for change in CHANGES}


@pytest.mark.usefixtures("impatient")
def test_a_refused_condition_is_a_write_done():
    """And needs no second call."""
    with ScriptedTables([act.error("ConditionalCheckFailedException")] * 20) as tables:
        assert sink_of(tables.client()).write([], CHANGES) == {}
    assert (len(tables.calls()), tables.stored) == (20, [])


@pytest.mark.usefixtures("impatient")
def test_throttles_are_not_answered_with_twice_the_calls():
    """They are heard here, not asked for again by the client; and fewer calls are in flight after each."""
    with ScriptedTables([act.error("ThrottlingException")] * 1_000) as tables:
        sink = sink_of(tables.client(), 8)
        with mock.patch.object(calls, "BOUND_MS", 50), pytest.raises(Throttled):
            sink.write(EVENTS[:200], [])
        assert sink._calls._window.in_flight == 1
    assert all(asked.headers.get("amz-sdk-request") is None for asked in tables.asked if asked.operation != "GetItem")
