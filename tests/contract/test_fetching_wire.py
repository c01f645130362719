"""Files from web servers, on real sockets: what is connected to, and what becomes of every answer (J1, J2, C2, C3)."""

import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from importer.doors import wire
from importer.doors.addresses import AllowedHosts, HttpSource
from importer.doors.wire import Wire
from importer.fetches import Cut, FetchReason, Refused
from tests.support.web import Script, answer, certificate, dripping, raw, serving

HOST = "files.test"
BODY = b'{"user_id":"u"}\n' * 1000
ETAG = 'ETag: "v1"'
MOST = 1 << 20


def there(*addresses: str) -> Callable[[str, int], list[str]]:
    """A resolver that says these, whatever it is asked."""
    return lambda host, port: list(addresses or ("127.0.0.1",))


def source(port: int, target: str = "/x.json", scheme: str = "http", host: str = HOST) -> HttpSource:
    return HttpSource(scheme, host, port, target)


def told(
    *scripts: Script, offset: int = 0, validator: str = "", seconds: float = 20, most: int = MOST, hosts: str = HOST
) -> tuple[int, int | None, str, bytes]:
    """What is read of a server that answers so: offset, size, validator, bytes."""
    with serving(*scripts) as web:
        at = Wire(AllowedHosts.of(hosts), most, there())
        body = at.opened(source(web.port), offset, validator, time.monotonic() + seconds)
        try:
            return body.offset, body.total_bytes, body.validator, b"".join(body.chunks())
        finally:
            body.close()


def refused(*scripts: Script, **how: object) -> FetchReason:
    with pytest.raises(Refused) as raised:
        told(*scripts, **how)  # type: ignore[arg-type]
    return raised.value.code


# ---- Where it connects to --------------------------------------------------------------------------------------------


def test_the_connection_goes_to_the_address_that_was_judged_and_the_name_into_the_request():
    """Nothing is resolved in between; a port that is not the usual one belongs to the name."""
    with serving(answer(BODY)) as web:
        asked: list[tuple[str, int]] = []

        def resolve(host: str, port: int) -> list[str]:
            asked.append((host, port))
            return ["127.0.0.1"]

        body = Wire(AllowedHosts.of(HOST), MOST, resolve).opened(
            source(web.port, "/x.json?sig=s"), 0, "", time.monotonic() + 20
        )
        assert b"".join(body.chunks()) == BODY
    assert asked == [(HOST, web.port)]
    assert web.asked[0].startswith(b"GET /x.json?sig=s HTTP/1.1\r\n")
    assert [web.header(name) for name in ("Host", "Accept-Encoding", "Range")] == [
        f"{HOST}:{web.port}",
        "identity",
        None,
    ]


def test_a_name_that_points_elsewhere_at_the_next_look_is_judged_there():
    """Rebinding: two answers, the second inside. The first connection is no licence for the next one."""
    answers = iter([["127.0.0.1"], ["127.0.0.1", "169.254.169.254"]])
    with serving(answer(BODY)) as web:
        at = Wire(AllowedHosts.of(HOST), MOST, lambda host, port: next(answers))
        at.opened(source(web.port), 0, "", time.monotonic() + 20).close()
        with pytest.raises(Refused) as raised:
            at.opened(source(web.port), 0, "", time.monotonic() + 20)
    assert (raised.value.code, len(web.asked)) == (FetchReason.ADDRESS_DENIED, 1)


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["169.254.170.2"], ["::ffff:127.0.0.1"]])
def test_a_name_with_an_address_inside_is_not_connected_to(addresses: list[str]):
    """Not even to find out whether somebody is there."""
    with serving(answer(BODY)) as web, pytest.raises(Refused) as raised:
        Wire(AllowedHosts(), MOST, there(*addresses)).opened(source(80), 0, "", time.monotonic() + 20)
    assert (raised.value.code, web.asked) == (FetchReason.ADDRESS_DENIED, [])


@pytest.mark.parametrize("spelt", ["2130706433", "0x7f.1", "127.1", "0177.0.0.1"])
def test_what_the_real_resolver_makes_of_numbers_is_judged_even_if_they_come_so_far(spelt: str):
    """J1: getaddrinfo takes them all for 127.0.0.1. The grammar refuses them first; this is the second wall."""
    assert wire.resolved(spelt, 80) == ["127.0.0.1"]
    with pytest.raises(Refused, match="address_denied"):
        Wire(AllowedHosts(), MOST).opened(source(80, host=spelt), 0, "", time.monotonic() + 20)


def test_another_address_is_tried_where_the_first_does_not_answer():
    """A name with IPv6 and IPv4, of which one is not reachable from here."""
    with serving(answer(BODY)) as web:
        at = Wire(AllowedHosts.of(HOST), MOST, there("127.0.0.2", "127.0.0.1"))
        body = at.opened(source(web.port), 0, "", time.monotonic() + 20)
        assert b"".join(body.chunks()) == BODY


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch):
    """It would be the proxy that resolves the name."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert told(answer(BODY))[3] == BODY


def test_a_host_that_cannot_be_resolved_or_reached_is_tried_again():
    with pytest.raises(Cut, match="cannot be resolved"):
        wire.resolved("nowhere.invalid", 80)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(Cut, match=f"no connection to {HOST} port {port}"):
            Wire(AllowedHosts.of(HOST), MOST, there()).opened(source(port), 0, "", time.monotonic() + 20)


# ---- TLS -------------------------------------------------------------------------------------------------------------


def test_the_certificate_is_verified_against_the_name_and_the_name_is_asked_for(tmp_path: Path):
    """The address is nobody's name: SNI and certificate are of the host in the URI."""
    server, trust = certificate(tmp_path, HOST)
    with serving(answer(BODY), tls=server) as web:
        at = Wire(AllowedHosts.of(HOST), MOST, there(), lambda: trust)
        body = at.opened(source(web.port, scheme="https"), 0, "", time.monotonic() + 20)
        assert (b"".join(body.chunks()), web.names) == (BODY, [HOST])


@pytest.mark.parametrize("trusted", [True, False])
def test_a_certificate_of_another_name_or_of_nobody_is_refused(tmp_path: Path, trusted: bool):
    """And nothing is asked: the query may be a signature."""
    server, trust = certificate(tmp_path, "other.test" if trusted else HOST)
    with serving(answer(BODY), tls=server) as web, pytest.raises(Refused) as raised:
        Wire(AllowedHosts.of(HOST), MOST, there(), lambda: trust if trusted else wire.system_trust()).opened(
            source(web.port, scheme="https"), 0, "", time.monotonic() + 20
        )
    assert (raised.value.code, web.asked) == (FetchReason.TLS_FAILED, [])


def test_what_is_trusted_is_what_the_machine_trusts_and_verified():
    trust = wire.system_trust()
    assert (trust.check_hostname, trust.verify_mode) == (True, ssl.CERT_REQUIRED)


# ---- Redirects -------------------------------------------------------------------------------------------------------


def redirect(location: str, status: str = "302 Found") -> bytes:
    return answer(b"moved", f"Location: {location}", status=status)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_up_to_three_redirects_are_followed(status: str):
    moved = [redirect(f"/{number}", status) for number in range(3)]
    assert told(*moved, answer(BODY))[3] == BODY
    assert refused(*moved, redirect("/4")) is FetchReason.BAD_REDIRECT


def test_a_redirect_is_judged_as_the_uri_itself_was():
    """Host, port and every address, by the resolver as it speaks then."""
    inside = {"files.test": ["127.0.0.1"], "evil.test": ["127.0.0.1", "169.254.169.254"]}
    for location, code in (
        ("http://evil.test/latest/meta-data/", FetchReason.HOST_NOT_ALLOWED),
        ("http://169.254.169.254/latest/meta-data/", FetchReason.HOST_NOT_ALLOWED),
        ("http://2852039166/", FetchReason.BAD_REDIRECT),
        ("file:///etc/passwd", FetchReason.BAD_REDIRECT),
        ("", FetchReason.BAD_REDIRECT),
    ):
        assert refused(redirect(location)) is code
    at = Wire(AllowedHosts.of(f"{HOST},*"), MOST, lambda host, port: inside[host])
    with serving(redirect("http://evil.test/")) as web, pytest.raises(Refused) as raised:
        at.opened(source(web.port), 0, "", time.monotonic() + 20)
    assert (raised.value.code, len(web.asked)) == (FetchReason.ADDRESS_DENIED, 1)


# ---- Ranges ----------------------------------------------------------------------------------------------------------


def test_the_rest_is_asked_for_with_what_names_the_version():
    """If-Range: either the rest of the same bytes comes, or the whole of others."""
    with serving(
        answer(BODY[7:], f"Content-Range: bytes 7-{len(BODY) - 1}/{len(BODY)}", ETAG, status="206 Part")
    ) as web:
        body = Wire(AllowedHosts.of(HOST), MOST, there()).opened(source(web.port), 7, '"v1"', time.monotonic() + 20)
        assert (body.offset, body.total_bytes, body.validator) == (7, len(BODY), '"v1"')
        assert b"".join(body.chunks()) == BODY[7:]
    assert (web.header("Range"), web.header("If-Range")) == ("bytes=7-", '"v1"')


def test_the_whole_where_the_rest_was_asked_for_is_told_as_the_whole():
    """N11: a 200 to a ranged GET, because the file has changed or because the server knows no ranges."""
    assert told(answer(BODY, 'ETag: "v2"'), offset=7, validator='"v1"') == (0, len(BODY), '"v2"', BODY)


@pytest.mark.parametrize(
    "said",
    ["bytes 8-15999/16000", "bytes 0-15999/16000", "items 7-15999/16000", "bytes */16000", "bytes 7-/1", "x", ""],
)
def test_a_part_that_is_another_one_than_asked_for_is_not_taken(said: str):
    """Its bytes would stand at a wrong place."""
    length = int(said[6:].partition("-")[0] or 0) if said[6:7].isdigit() else 7
    part = answer(BODY[length:], f"Content-Range: {said}", ETAG, status="206 Partial")
    if said == "bytes 0-15999/16000":
        assert told(part, offset=7, validator='"v1"') == (0, len(BODY), '"v1"', BODY)
        return
    assert refused(part, offset=7, validator='"v1"') is FetchReason.BAD_ANSWER


def test_a_part_that_nobody_asked_for_is_not_taken():
    part = answer(BODY[7:], "Content-Range: bytes 7-15999/16000", status="206 Partial")
    assert refused(part) is FetchReason.BAD_ANSWER


def test_a_file_that_ends_where_more_was_asked_for_has_been_read_whole():
    """C9: of one that came in chunks, which were all read and cut before the last, empty one."""
    ended = answer(b"no more", f"Content-Range: bytes */{len(BODY)}", status="416 Range Not Satisfiable")
    assert told(ended, offset=len(BODY), validator='"v1"') == (len(BODY), len(BODY), '"v1"', b"")


def test_a_file_that_has_become_shorter_is_read_from_its_begin():
    shorter = answer(b"no more", "Content-Range: bytes */3", status="416 Range Not Satisfiable")
    assert told(shorter, answer(b"abc", 'ETag: "v2"'), offset=7, validator='"v1"') == (0, 3, '"v2"', b"abc")


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        (['ETag: "a"', "Last-Modified: Thu, 26 Nov 2026 10:00:00 GMT", "Date: Thu, 26 Nov 2026 10:00:09 GMT"], '"a"'),
        (["ETag: W/\"a\"", "Last-Modified: Thu, 26 Nov 2026 10:00:00 GMT", "Date: Thu, 26 Nov 2026 10:00:01 GMT"],
         "Thu, 26 Nov 2026 10:00:00 GMT"),
        (["Last-Modified: Thu, 26 Nov 2026 10:00:00 GMT", "Date: Thu, 26 Nov 2026 10:00:00 GMT"], ""),
        (["Last-Modified: Thu, 26 Nov 2026 10:00:00 GMT"], ""),
        (["Last-Modified: yesterday", "Date: Thu, 26 Nov 2026 10:00:00 GMT"], ""),
        (["ETag: bare"], ""), (['ETag: ""'], ""), (['ETag: "\xff"'], ""), ([f'ETag: "{"x" * 2000}"'], ""), ([], ""),
    ],
)  # fmt: skip
def test_a_version_is_named_by_what_may_be_compared_byte_for_byte(headers: list[str], validator: str):
    """RFC 9110: a strong ETag, else a date that is older than the answer; else nothing, and reading on begins again."""
    assert told(answer(BODY, *headers))[2] == validator


# ---- Whole and cut ---------------------------------------------------------------------------------------------------


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    framed = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return raw("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", body=framed + end)


def test_a_body_comes_whole_by_its_length_or_in_chunks():
    assert told(answer(BODY)) == (0, len(BODY), "", BODY)
    assert told(answer(b"")) == (0, 0, "", b"")
    assert told(chunked(BODY[:10], BODY[10:])) == (0, None, "", BODY)
    assert told(raw("HTTP/1.0 200 OK", f"Content-Length: {len(BODY)}", body=BODY)) == (0, len(BODY), "", BODY)
    assert told(raw("HTTP/1.1 100 Continue") + answer(BODY))[3] == BODY


def test_a_file_that_is_compressed_itself_is_a_file():
    packed = b"\x1f\x8b" + bytes(100)
    assert told(answer(packed, "Content-Type: application/gzip", "Content-Encoding: identity"))[3] == packed


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (answer(BODY, length=len(BODY) + 1), "ended the file after 16,000 bytes of 16,001"),
        (answer(b"", length=5), "ended the file after 0 bytes of 5"),
        (chunked(BODY, end=b""), "the connection ended"),
        (chunked(BODY, end=b"5\r\nab"), "the connection ended"),
        (chunked(BODY, end=b"zz\r\n"), "the connection ended"),
        (chunked(BODY, end=b"-5\r\nabcdefgh"), "the connection ended"),
        (b"", "did not answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "did not answer"),
        (b"what is this\r\n\r\n", "what it sent is no HTTP"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "what it sent is no HTTP"),
        (b"\x00\xff" * 40_000, "what it sent is no HTTP"),
        (raw("HTTP/1.1 200 OK", *(f"X-{n}: y" for n in range(200))), "what it sent is no HTTP"),
        (raw("HTTP/1.1 200 OK", "X: " + "y" * 70_000), "what it sent is no HTTP"),
        (answer(b"later", status="503 Busy"), "answers 503"),
        (answer(b"later", status="429 Slow"), "answers 429"),
    ],
)
def test_a_body_that_was_cut_is_never_a_whole_one(script: bytes, said: str):
    """C2: each of them is asked for again, from where it was cut. In our words: a server's may be anything."""
    with pytest.raises(Cut, match=said):
        told(script)


def test_a_server_says_when_to_come_again():
    with pytest.raises(Cut) as raised:
        told(answer(b"", "Retry-After: 120", status="503 Busy"))
    assert raised.value.after_s == 120
    with pytest.raises(Cut) as raised:
        told(answer(b"", "Retry-After: 99999999", status="503 Busy"))
    assert raised.value.after_s == 900


@pytest.mark.parametrize(
    ("script", "code"),
    [
        (answer(b"", status="404 Not Found"), FetchReason.SOURCE_REFUSED),
        (answer(b"", status="401 Unauthorized"), FetchReason.SOURCE_REFUSED),
        (answer(b"", status="204 Nothing"), FetchReason.BAD_ANSWER),
        (answer(b"", status="304 Same"), FetchReason.BAD_ANSWER),
        (answer(b"", status="501 No"), FetchReason.BAD_ANSWER),
        (answer(BODY, "Content-Encoding: gzip"), FetchReason.ENCODED),
        (answer(BODY, "Content-Encoding: identity", "Content-Encoding: br"), FetchReason.ENCODED),
        (raw("HTTP/1.1 200 OK", body=BODY), FetchReason.NO_LENGTH),
        (answer(BODY, "Content-Length: 7"), FetchReason.BAD_ANSWER),
        (raw("HTTP/1.1 200 OK", "Content-Length: -5", body=BODY), FetchReason.BAD_ANSWER),
        (raw("HTTP/1.1 200 OK", "Content-Length: 0x10", body=BODY), FetchReason.BAD_ANSWER),
        (answer(BODY, "Transfer-Encoding: gzip, chunked"), FetchReason.BAD_ANSWER),
        (raw("HTTP/1.1 200 OK", f"Content-Length: {10**18}"), FetchReason.TOO_LARGE),
    ],
)
def test_an_answer_that_is_no_file_is_refused_with_its_reason(script: bytes, code: FetchReason):
    assert refused(script) is code


def test_a_body_without_end_is_cut_at_the_largest_file_allowed():
    """J2: however it comes; a gzip bomb is no larger than its bytes, since nothing is unpacked here."""
    endless = dripping(raw("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), b"10000\r\n" + b"x" * 65_536 + b"\r\n", 0)
    assert refused(endless) is FetchReason.TOO_LARGE
    assert refused(answer(BODY), most=len(BODY) - 1) is FetchReason.TOO_LARGE
    assert told(answer(BODY), most=len(BODY))[3] == BODY


SLOW: dict[str, Script] = {
    "a head that drips": dripping(b"HTTP/1.1 200 OK\r\nX: ", b"y", 0.05),
    "headers without end": dripping(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n", 0.05),
    "promises without end": dripping(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05),
    "a body that drips": dripping(answer(b"", length=1000), b"x", 0.05),
    "chunks that drip": dripping(raw("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), b"1\r\nx\r\n", 0.05),
    "a chunk's length that drips": dripping(raw("HTTP/1.1 200 OK", "Transfer-Encoding: chunked"), b"0", 0.05),
    "silence": dripping(b"", b"", 0.05),
}


@pytest.mark.parametrize("script", SLOW.values(), ids=SLOW)
def test_a_server_that_drips_is_cut_when_the_time_is_up(script: Script):
    """C3: a time-out of each receive alone would never end it."""
    with pytest.raises(Cut, match=r"it takes too long|no HTTP"):
        told(script, seconds=0.5)


def test_a_server_that_falls_silent_is_cut_long_before_that(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(wire, "IDLE_S", 0.2)
    with pytest.raises(Cut, match="sent 3 bytes of 1,000, then: it takes too long"):
        told(dripping(answer(b"abc", length=1000), b"", 0.05), seconds=60)
