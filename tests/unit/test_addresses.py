"""Which URIs are fetched, and which addresses a name may stand for: an attack list, and properties over all there are.

Hazard J1. What only a resolver takes for an address is refused as a host; what a name resolves to is judged in full.
"""

import ipaddress
import socket
import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from importer.doors.addresses import (
    MOST_CHARACTERS,
    AllowedHosts,
    HttpSource,
    S3Source,
    denied,
    file_name_of,
    host_name,
    key_of,
    redirected,
    s3_source_of,
    source_of,
)
from importer.fetches import FetchReason, Refused
from importer.model import Misconfigured

PUBLIC = AllowedHosts()


def refused(act: object, *arguments: object) -> tuple[FetchReason, str]:
    with pytest.raises(Refused) as raised:
        act(*arguments)  # type: ignore[operator]
    return raised.value.code, raised.value.message


# ---- What a URI names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("https://a.example/x.json", HttpSource("https", "a.example", 443, "/x.json")),
        ("HTTPS://A.Example./x.json", HttpSource("https", "a.example", 443, "/x.json")),
        (
            "http://a.example:8080/x.json?sig=a%2Fb&c=d#top",
            HttpSource("http", "a.example", 8080, "/x.json?sig=a%2Fb&c=d"),
        ),
        ("https://a.example?x", HttpSource("https", "a.example", 443, "/?x")),
        ("https://a.example/a?", HttpSource("https", "a.example", 443, "/a?")),
        ("https://a.example/a/../b.json", HttpSource("https", "a.example", 443, "/a/../b.json")),
        ("https://a.example/crème.json", HttpSource("https", "a.example", 443, "/cr%C3%A8me.json")),
        ("https://a.example/x|{}.json", HttpSource("https", "a.example", 443, "/x%7C%7B%7D.json")),
        ("https://a_b.example/x", HttpSource("https", "a_b.example", 443, "/x")),
        ("https://xn--bcher-kva.example/x", HttpSource("https", "xn--bcher-kva.example", 443, "/x")),
        ("http://127.0.0.1#@a.example/x", HttpSource("http", "127.0.0.1", 80, "/")),
        ("http://93.184.216.34/x", HttpSource("http", "93.184.216.34", 80, "/x")),
        ("http://[2606:2800:0220:1::1]/x", HttpSource("http", "2606:2800:220:1::1", 80, "/x")),
        ("http://[::ffff:127.0.0.1]/x", HttpSource("http", "::ffff:7f00:1", 80, "/x")),
        ("s3://bucket/a b/c?d#e%2Ff.json", S3Source("bucket", "a b/c?d#e%2Ff.json", "")),
        ("s3://bucket/x.json?versionId=3L4kq.tJ_l-", S3Source("bucket", "x.json", "3L4kq.tJ_l-")),
    ],
)
def test_a_uri_is_read_by_one_grammar(uri: str, source: HttpSource | S3Source):
    """Path and query go out as they came, made ASCII; a fragment is nobody's but a browser's."""
    if isinstance(source, HttpSource) and source.host == "::ffff:7f00:1":
        source = HttpSource("http", str(ipaddress.ip_address("::ffff:127.0.0.1")), 80, "/x")
    assert source_of(uri) == source


NOT_FETCHED = [
    # other schemes, and none
    *("ftp://a.example/x", "file:///etc/passwd", "gopher://a.example/x", "data:,x", "javascript:x", "a.example/x", ""),
    *("//a.example/x", "http:/a.example/x", "http:a.example", "https:///x", "http://", "jar:http://a.example!/x"),
    # users and passwords, and what a second parser might take for a host
    *("http://user:pass@a.example/x", "http://a.example@127.0.0.1/x", "http://127.0.0.1@a.example/@x@", "http://@a/x"),
    *(
        "http://a.example\\@127.0.0.1/x",
        "http://a.example\\.b.example/x",
        "http:\\\\a.example/x",
        "http://a.example\\x",
    ),
    # line breaks and blanks: a request of their own
    *(
        "http://a.example/x\r\nHost: b",
        "http://a.example/x\nX: y",
        "http://a.example /x",
        "http://a.example/a b",
        " http://a",
    ),
    *(
        "http://a.example/\u2028x",
        "http://a.example/\x00",
        "http://a\t.example/x",
        "http://a.example/\x7f",
        "http://a\u00a0b/",
    ),
    # numbers that only a resolver takes for an address
    *("http://2130706433/x", "http://0x7f000001/x", "http://0x7f.1/x", "http://017700000001/x", "http://0177.0.0.1/x"),
    *("http://127.1/x", "http://127.0.1/x", "http://127.0.0.01/x", "http://127.0.0.0x1/x", "http://0/x", "http://0x/x"),
    *("http://1.2.3.4.5/x", "http://256.1.1.1/x", "http://4294967296/x", "http://a.1/x", "http://127.0.0.1.1./x"),
    # letters that look like others, or become them
    *(
        "http://１２７.０.０.１/x",
        "http://127。0。0。1/x",
        "http://ⓔxample.com/x",
        "http://bücher.example/x",
        "http://ｅ/x",
    ),
    *("http://a.example%2f/x", "http://%31%32%37.0.0.1/x", "http://a%00.example/x"),
    # addresses in brackets that are none, or of one machine
    *("http://[fe80::1%25eth0]/x", "http://[fe80::1%eth0]/x", "http://[127.0.0.1]/x", "http://[::1/x", "http://::1/x"),
    *("http://[]/x", "http://[a.example]/x", "http://[::1]x/y", "http://[::1]:80:80/x", "http://[v1.x]/x"),
    # names and ports that are none
    *(
        "http://-a.example/x",
        "http://a..example/x",
        "http://.example/x",
        "http://a.example../x",
        "http://./x",
        "http://a-/x",
    ),
    *(
        "http://a:/x",
        "http://a:0/x",
        "http://a:65536/x",
        "http://a:080000/x",
        "http://a:8o/x",
        "http://a:80:80/x",
        "http://a:-1/",
    ),
    *(
        "http://" + "a" * 64 + ".example/x",
        "http://" + "a." * 130 + "example/x",
        "http://a.example/" + "x" * MOST_CHARACTERS,
    ),
    # buckets that are none
    *(
        "s3://",
        "s3://bucket",
        "s3://bucket/",
        "s3://B/x",
        "s3:///x",
        "s3://arn:aws:s3:::b/x",
        "s3://b@c/x",
        "s3://bucket/a\nb",
    ),
]


@pytest.mark.parametrize("uri", NOT_FETCHED, ids=ascii)
def test_a_uri_of_the_attack_list_is_refused_before_anything_is_resolved(uri: str):
    """Never quoted: it may hold a password. Each says what to write instead."""
    code, message = refused(source_of, uri)
    assert code is FetchReason.BAD_URI
    assert "pass" not in message.replace("password", "")


@given(st.text(max_size=60).map(lambda text: "http://" + text))
@example("http://a.example/\ud800")
def test_whatever_is_read_can_be_sent_and_reads_the_same_again(uri: str):
    """No line break, no blank, nothing outside ASCII comes out; and no second look sees another host."""
    try:
        source = source_of(uri)
    except Refused:
        return
    assert isinstance(source, HttpSource)
    sent = f"GET {source.target} HTTP/1.1|Host: {source.authority}"
    assert sent.isascii()
    assert sent.isprintable()
    assert " " not in source.target
    assert source.target.startswith("/")
    assert source_of(source.uri) == source


@given(st.text(string.ascii_letters + string.digits + ".-_xX", max_size=30))
@example("0x7f.0.0.1")
@example("1.1")
def test_a_host_that_a_resolver_would_take_for_an_address_is_one_in_its_usual_form(text: str):
    """`inet_aton` reads octal, hexadecimal and short forms, and so does getaddrinfo."""
    try:
        host = host_name(text)
    except Refused:
        return
    try:
        packed = socket.inet_aton(host)
    except OSError:
        return
    assert socket.inet_ntoa(packed) == host


# ---- File names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "key"),
    [
        ("https://a.example/exports/monday.json.gz?sig=x.csv", "imports/monday.json.gz"),
        ("https://a.example/cr%C3%A8me%20br%C3%BBl%C3%A9e.json", "imports/crème brûlée.json"),
        ("https://a.example/a+b%2B.json", "imports/a+b+.json"),
        ("s3://bucket/2026/a%20b.json", "imports/a%20b.json"),
    ],
)
def test_the_name_of_the_file_is_the_last_part_of_the_path(uri: str, key: str):
    """Decoded once over HTTP, never on S3; a query is no part of it."""
    assert key_of(source_of(uri), "") == key
    assert key_of(source_of(uri), "shop") == key.replace("imports/", "imports/shop/")


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/a/",
        "/..",
        "/a/..",
        "/%2e%2e",
        "/..%2fx.json",
        "/a%5cb.json",
        "/a%0ab.json",
        "/%00",
        "/%ff.json",
        "/a%2Fb",
    ],
)
def test_a_path_that_names_no_file_is_refused(path: str):
    """Nobody reaches another folder by it, ours least of all."""
    assert refused(lambda: file_name_of(source_of(f"https://a.example{path}")))[0] is FetchReason.BAD_URI


def test_a_name_that_makes_too_long_a_key_is_refused():
    assert refused(key_of, source_of(f"https://a.example/{'x' * 1020}.json"), "")[0] is FetchReason.BAD_URI


@pytest.mark.parametrize(
    ("uri", "source"),
    [
        ("https://b-1.s3.amazonaws.com/a%20b.json", S3Source("b-1", "a b.json", "")),
        ("https://b.c.s3.eu-west-1.amazonaws.com/a.json", S3Source("b.c", "a.json", "")),
        ("https://bbb.s3.dualstack.eu-west-1.amazonaws.com/a.json", S3Source("bbb", "a.json", "")),
        ("https://s3.eu-west-1.amazonaws.com/bbb/c/a.json", S3Source("bbb", "c/a.json", "")),
        ("https://s3-eu-west-1.amazonaws.com/bbb/a.json", S3Source("bbb", "a.json", "")),
        ("https://bbb.s3.amazonaws.com/a.json?x=1&versionId=v.1_-", S3Source("bbb", "a.json", "v.1_-")),
        ("s3://bbb/a.json", S3Source("bbb", "a.json", "")),
        ("https://s3.amazonaws.com.evil.example/bbb/a.json", None),
        ("https://evil.example/bbb.s3.amazonaws.com/a.json", None),
        ("https://s3.amazonaws.com/bbb", None),
    ],
)
def test_an_https_url_of_s3_names_its_object(uri: str, source: S3Source | None):
    """CoolaData takes a file URI and an access key. The key goes to S3, and to nobody who looks like it."""
    assert s3_source_of(source_of(uri)) == source


# ---- Redirects -------------------------------------------------------------------------------------------------------

FROM = HttpSource("https", "a.example", 443, "/x/y.json?z")


@pytest.mark.parametrize(
    ("location", "uri"),
    [
        ("https://b.example/c", "https://b.example/c"),
        ("//b.example/c", "https://b.example/c"),
        ("/c", "https://a.example/c"),
        ("c?d", "https://a.example/x/c?d"),
        ("../c", "https://a.example/c"),
        ("?d", "https://a.example/x/y.json?d"),
        ("/cr\xc3\xa8me", "https://a.example/cr%C3%A8me"),
    ],
)
def test_a_redirect_is_read_as_a_uri_of_its_own(location: str, uri: str):
    """Relative ones from where it was said; bytes as UTF-8, whatever http.client makes of them."""
    assert redirected(FROM, location).uri == uri


@pytest.mark.parametrize(
    "location",
    [
        *(
            "http://a.example/x",
            "ftp://a.example/x",
            "file:///etc/passwd",
            "s3://bucket/key.json",
            "javascript:x",
            "data:,",
        ),
        *("https://u:p@b.example/", "https://2130706433/", "https://0x7f.1/", "https://[fe80::1%25eth0]/", "///b/c@d"),
        *(
            "/\\b.example/x",
            "\\\\b.example",
            "https://b.example/\r\nX: y",
            " https://b.example/",
            "\t//b",
            "/\xff",
            "//[/",
        ),
    ],
    ids=ascii,
)
def test_a_redirect_to_anything_else_is_refused(location: str):
    """From https to http, too: what was asked for in secret would be read by anybody on the way."""
    if location == "///b/c@d":
        assert redirected(FROM, location).host == "a.example"  # an empty authority is none: the path of this host
        return
    assert refused(redirected, FROM, location)[0] is FetchReason.BAD_REDIRECT


def test_a_redirect_from_http_to_https_is_followed():
    assert redirected(HttpSource("http", "a", 80, "/x"), "https://a/x") == HttpSource("https", "a", 443, "/x")


# ---- Addresses -------------------------------------------------------------------------------------------------------

NEVER = [
    *("0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.170.2", "169.254.0.1", "100.100.100.200", "168.63.129.16"),
    *(
        "192.0.0.192",
        "192.0.0.8",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
    ),
    *("224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *(
        "::",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:0:127.0.0.1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
    ),
    *("64:ff9b::a9fe:a9fe", "64:ff9b::808:808", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001::1"),
    *("2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "2001:10::1", "2001:2::1", "3fff::1", "100::1", "ff02::1"),
    *("fd00:ec2::254", "fd20:ce::254", "5f00::1", "4000::1", "8000::1", "e000::1", "", "x", "1.2.3", "2130706433"),
]
PRIVATE = [
    *(
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.9.9.9",
    ),
    *("::1", "fc00::1", "fdff::1"),
]
OPEN = [
    *(
        "8.8.8.8",
        "1.1.1.1",
        "172.15.255.255",
        "172.32.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "169.253.1.1",
        "169.255.0.1",
    ),
    *(
        "198.17.255.255",
        "198.20.0.0",
        "192.0.1.1",
        "223.255.255.255",
        "2606:4700::1111",
        "2001:200::1",
        "2001:4860:4860::8888",
    ),
    *("2a00::1", "2003::1"),
]
AT = HttpSource("https", "a.example", 443, "/")


@pytest.mark.parametrize("address", NEVER)
def test_nobody_goes_to_these_whatever_is_allowed(address: str):
    """Link-local and metadata, and IPv4 in any of IPv6's clothes, whichever IPv4 address it is."""
    assert denied(address)[1] is True
    assert refused(AllowedHosts.of("a.example").judge_addresses, AT, [address])[0] is FetchReason.ADDRESS_DENIED
    assert refused(PUBLIC.judge_addresses, AT, [address])[0] is FetchReason.ADDRESS_DENIED


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_for_hosts_that_are_allowed_by_name(address: str):
    """The message says which parameter, and not which address: it may be somebody exploring."""
    AllowedHosts.of("a.example").judge_addresses(AT, [address])
    for others in (PUBLIC, AllowedHosts.of("*"), AllowedHosts.of("b.example,*"), AllowedHosts.of("example,*")):
        code, message = refused(others.judge_addresses, AT, [address])
        assert (code, "UriAllowedHosts" in message, address in message) == (FetchReason.ADDRESS_DENIED, True, False)


@pytest.mark.parametrize("address", OPEN)
def test_public_addresses_are_open(address: str):
    """Neighbours of what is denied, too."""
    assert denied(address) == ("", False)
    PUBLIC.judge_addresses(AT, [address])


@pytest.mark.parametrize("bad", ["127.0.0.1", "169.254.169.254", "64:ff9b::a9fe:a9fe"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_one_address_of_many_is_enough_to_refuse_a_name(bad: str, place: int):
    """Which of them is connected to would else be chance."""
    addresses = ["8.8.8.8", "2606:4700::1111"]
    addresses.insert(place, bad)
    assert refused(PUBLIC.judge_addresses, AT, addresses)[0] is FetchReason.ADDRESS_DENIED


@given(st.ip_addresses(v=4))
def test_an_open_ipv4_address_is_global_for_everybody_else_too(address: ipaddress.IPv4Address):
    """Ours may be stricter than the library's list, and never looser."""
    if denied(str(address)) == ("", False):
        assert address.is_global
        assert not address.is_multicast


@given(st.ip_addresses(v=4))
def test_no_dress_makes_an_ipv4_address_open(address: ipaddress.IPv4Address):
    """Mapped, compatible, translated, NAT64, 6to4, Teredo (server, and client inverted)."""
    n = int(address)
    dressed = [0xFFFF << 32 | n, n, 0xFFFF << 48 | n, 0x64FF9B << 96 | n, 0x64FF9B0001 << 80 | n]
    dressed += [0x2002 << 112 | n << 80, 0x2001_0000 << 96 | n << 64, 0x2001_0000 << 96 | (n ^ 0xFFFFFFFF)]
    assert [
        str(ipaddress.IPv6Address(value)) for value in dressed if not denied(str(ipaddress.IPv6Address(value)))[0]
    ] == []


@given(st.ip_addresses(v=6))
def test_an_open_ipv6_address_lies_in_what_is_given_out(address: ipaddress.IPv6Address):
    """2000::/3; whatever is added to the registries later is closed until somebody opens it here."""
    if denied(str(address)) == ("", False):
        assert (address.is_global, int(address) >> 125) == (True, 1)


# ---- Hosts that are allowed ------------------------------------------------------------------------------------------


def test_an_empty_parameter_is_any_public_host_on_the_usual_ports():
    PUBLIC.judge_host(AT)
    PUBLIC.judge_host(HttpSource("http", "a.example", 443, "/"))
    assert AllowedHosts.of(" , ") == PUBLIC
    for port in (22, 8080, 9001, 65_535):
        assert refused(PUBLIC.judge_host, HttpSource("http", "a", port, "/"))[0] is FetchReason.PORT_NOT_ALLOWED


def test_an_address_in_the_uri_itself_is_judged_before_anything_is_resolved():
    """Whoever asks is told at once; what a name stands for is judged at each connection."""
    for host in ("169.254.169.254", "10.0.0.1", "::1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe"):
        assert refused(PUBLIC.judge_host, HttpSource("http", host, 80, "/"))[0] is FetchReason.ADDRESS_DENIED
    named = AllowedHosts.of("169.254.169.254,10.0.0.1")
    named.judge_host(HttpSource("http", "10.0.0.1", 8080, "/"))
    assert refused(named.judge_host, HttpSource("http", "169.254.169.254", 80, "/"))[0] is FetchReason.ADDRESS_DENIED


@pytest.mark.parametrize("host", ["localhost", "localhost.", "LOCALHOST", "files.localhost"])
def test_the_name_of_the_machine_itself_is_refused_before_anything_is_resolved(host: str):
    """It is no other machine's (RFC 6761); like an address it may be named in the parameter."""
    source = source_of(f"https://{host}/a.json")
    assert isinstance(source, HttpSource)
    assert refused(PUBLIC.judge_host, source)[0] is FetchReason.ADDRESS_DENIED
    AllowedHosts.of(host).judge_host(source)
    PUBLIC.judge_host(HttpSource("https", "notlocalhost", 443, "/a.json"))


def test_names_in_it_are_the_only_hosts_and_a_star_adds_the_others():
    """By their whole name: neither a domain's hosts nor a name that ends like one."""
    hosts = AllowedHosts.of("Files.Example., [::1] 127.0.0.1")
    assert hosts == AllowedHosts(frozenset({"files.example", "::1", "127.0.0.1"}), False)
    for host in ("files.example", "::1", "127.0.0.1"):
        hosts.judge_host(HttpSource("http", host, 8080, "/"))
    for host in ("example", "a.files.example", "files.example.evil.example", "127.0.0.2"):
        assert refused(hosts.judge_host, HttpSource("https", host, 443, "/"))[0] is FetchReason.HOST_NOT_ALLOWED
    starred = AllowedHosts.of("files.example,*")
    starred.judge_host(AT)
    assert refused(starred.judge_host, HttpSource("https", "a", 8443, "/"))[0] is FetchReason.PORT_NOT_ALLOWED


@pytest.mark.parametrize(
    "entry", ["http://a.example", "a.example:80", "*.example", "a/b", "2130706433", "127.1", "[x]"]
)
def test_an_entry_that_can_be_no_host_is_told_at_the_start(entry: str):
    """Else it would allow nothing, and nobody would know why."""
    with pytest.raises(Misconfigured, match="URI_ALLOWED_HOSTS"):
        AllowedHosts.of(f"a.example,{entry}")
