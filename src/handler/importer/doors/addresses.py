"""Which URIs may be fetched, and which addresses a name may stand for (J1). Pure: it resolves nothing.

Rule: a URI is read once, by the one grammar here, and everything after works with the parts found: no second parser can
see another host in it. A host is a name, or an address in its usual form; what only a resolver would take for an
address (2130706433, 0x7f.1, 127.1) is none. Then *every* address a name stands for is judged, by a list of our own:
`ipaddress.is_global` lets NAT64 addresses of private networks through, and multicast.

It does not say when to ask: doors/wire.py resolves anew for each connection and connects to an address that was judged.
"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urljoin

from importer.fetches import FetchReason, Refused
from importer.model import Misconfigured
from importer.notification import IMPORTS_PREFIX

# Each redirect is one more name chosen by somebody else, and one more round trip. A link to a file takes one (to where
# it is stored), a short link to it two; the third is for http → https.
MOST_REDIRECTS: Final = 3
MOST_CHARACTERS: Final = 4_096  # a URL signed with a session token has some 2,000
KEY_BYTES: Final = 1_024  # Quota: docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
_PORTS: Final = {"http": 80, "https": 443}

_URI = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<rest>.*)", re.IGNORECASE | re.DOTALL)
_HTTP_REST = re.compile(r"(?P<authority>[^/?#]*)(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?", re.DOTALL)
_IN_BRACKETS = re.compile(r"\[(?P<host>[^\]]*)\](?::(?P<port>.*))?", re.DOTALL)
_NAME_AND_PORT = re.compile(r"(?P<host>[^:]*)(?::(?P<port>.*))?", re.DOTALL)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")  # as a last label: a resolver takes the whole host for an address
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_VERSION = re.compile(r"(?P<key>.+)\?versionId=(?P<version>[A-Za-z0-9._-]{1,1024})", re.DOTALL)
_OF_A_BUCKET = re.compile(r"(?P<bucket>[a-z0-9.-]+)\.s3(?:[.-][a-z0-9.-]+)?\.amazonaws\.com(?:\.cn)?")
_OF_ALL_BUCKETS = re.compile(r"s3(?:[.-][a-z0-9.-]+)?\.amazonaws\.com(?:\.cn)?")


@dataclass(frozen=True, slots=True)
class HttpSource:
    """A file of a web server.

    Attributes:
        host: lower case, without a dot at its end; an IPv6 address without brackets.
        target: path and query as they are sent: ASCII, without blanks.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """For the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def uri(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"

    @property
    def shown(self) -> str:
        """Without the query, which may be a signature."""
        return self.uri.partition("?")[0]


@dataclass(frozen=True, slots=True)
class S3Source:
    """An object of a bucket; `version_id` is "" for the newest."""

    bucket: str
    key: str
    version_id: str

    @property
    def shown(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


Source = HttpSource | S3Source


# ---- URIs ----------------------------------------------------------------------------------------------------------


def source_of(uri: str) -> Source:
    """What a URI names.

    Raises:
        Refused(bad_uri): says what is wrong; never quotes what may be a password.
    """
    if len(uri) > MOST_CHARACTERS:
        raise _bad(f"it has more than {MOST_CHARACTERS:,} characters")
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000 or c in "\u2028\u2029" for c in uri):
        raise _bad("it holds a control character or a line break")
    found = _URI.fullmatch(uri)
    scheme = found["scheme"].lower() if found else ""
    if found is None or scheme not in ("http", "https", "s3"):
        raise _bad("it must begin with https://, http:// or s3://")
    return _s3_source(found["rest"]) if scheme == "s3" else _http_source(scheme, found["rest"])


def _s3_source(rest: str) -> S3Source:
    """Keys stand as they are, as with the AWS CLI: nothing in them is decoded, and `?` and `#` belong to them."""
    bucket, _, key = rest.partition("/")
    if not _BUCKET.fullmatch(bucket):
        raise _bad("s3:// is followed by the name of a bucket: s3://BUCKET/KEY")
    versioned = _VERSION.fullmatch(key)
    key, version = (versioned["key"], versioned["version"]) if versioned else (key, "")
    if not key or len(key.encode()) > KEY_BYTES:
        raise _bad("after the bucket comes the key of one object: s3://BUCKET/KEY")
    return S3Source(bucket, key, version)


def _http_source(scheme: str, rest: str) -> HttpSource:
    if any(c.isspace() for c in rest):
        raise _bad("it holds a blank: write it as %20")
    if "\\" in rest:
        raise _bad("it holds a backslash, which some read as a slash: write it as %5C")
    parts = _HTTP_REST.fullmatch(rest)
    authority = parts["authority"] if parts else ""
    if parts is None or not authority:
        raise _bad(f"{scheme}:// is followed by the name of a host")
    if "@" in authority:
        raise _bad("it holds a user or password before an @: those are not taken in a URI")
    host, port = _host_and_port(authority)
    path = quote(parts["path"] or "/", safe="/%:@!$&'()*+,;=~")
    query = "" if parts["query"] is None else "?" + quote(parts["query"], safe="/%:@!$&'()*+,;=~?")
    return HttpSource(scheme, host, port or _PORTS[scheme], path + query)


def _host_and_port(authority: str) -> tuple[str, int | None]:
    found = (_IN_BRACKETS if authority.startswith("[") else _NAME_AND_PORT).fullmatch(authority)
    if found is None:
        raise _bad("the host is neither a name nor an address")
    port = None
    if found["port"] is not None:
        if not re.fullmatch(r"[0-9]{1,5}", found["port"]) or not 1 <= int(found["port"]) <= 65_535:
            raise _bad("the port is a number from 1 to 65535")
        port = int(found["port"])
    return (_address(found["host"]) if authority.startswith("[") else host_name(found["host"])), port


def _address(text: str) -> str:
    if "%" in text:
        raise _bad("the address has a zone, which means something on one machine only")
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        raise _bad("what stands in [ ] is an IPv6 address") from None


def host_name(text: str) -> str:
    """A host as it is compared: lower case, without the dot that may end it.

    Raises:
        Refused(bad_uri): neither a name nor an IPv4 address in its usual form.
    """
    if not text.isascii():
        raise _bad("the host has letters outside ASCII: write it in its xn-- form")
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise _bad("the host is neither a name nor an address")
    if _NUMERIC.fullmatch(labels[-1]):
        try:
            ipaddress.IPv4Address(name)
        except ValueError:
            raise _bad("the host is a number: write an IPv4 address as four numbers, without zeros before") from None
    return name


def redirected(source: HttpSource, location: str) -> HttpSource:
    """Where a redirect leads.

    Args:
        location: as in the header: its bytes as Latin-1.

    Raises:
        Refused(bad_redirect): nowhere we go.
    """
    try:
        text = location.encode("latin-1").decode()
        if "\\" in text or any(c.isspace() or ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in text):
            raise _bad("it holds a blank, a backslash or a control character")
        target = source_of(urljoin(source.uri, text))
    except (UnicodeError, ValueError) as error:
        raise Refused(FetchReason.BAD_REDIRECT, f"{source.shown} redirects to what is no URI") from error
    except Refused as refused:
        raise Refused(
            FetchReason.BAD_REDIRECT, f"{source.shown} redirects to a URI that is refused: {refused.message}"
        ) from refused
    if not isinstance(target, HttpSource):
        raise Refused(FetchReason.BAD_REDIRECT, f"{source.shown} redirects to s3://: give that URI itself")
    if (source.scheme, target.scheme) == ("https", "http"):
        raise Refused(FetchReason.BAD_REDIRECT, f"{source.shown} redirects from https to http, which anybody can read")
    return target


def file_name_of(source: Source) -> str:
    """The name of the file: the last part of the path, whatever a server calls it. A query belongs to no name.

    Raises:
        Refused(bad_uri): there is none, or it could be no file's.
    """
    if isinstance(source, S3Source):
        name = source.key.rpartition("/")[2]
    else:
        try:
            name = unquote(source.target.partition("?")[0].rpartition("/")[2], errors="strict")
        except UnicodeDecodeError:
            raise _bad("the file's name does not decode to UTF-8") from None
    if name in ("", ".", ".."):
        raise _bad("it names a folder; the path must end in a file's name, such as …/events.json")
    if any(c in "/\\" or ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 for c in name):
        raise _bad("the file's name holds a slash or a control character")
    return name


def key_of(source: Source, import_id: str) -> str:
    """The key under which the file is dropped.

    Raises:
        Refused(bad_uri): there is no name in the URI, or a key cannot be that long.
    """
    folder = f"{import_id}/" if import_id else ""
    key = f"{IMPORTS_PREFIX}{folder}{file_name_of(source)}"
    if len(key.encode()) > KEY_BYTES:
        raise _bad(f"the file's name is too long: {key[:40]}… has more than {KEY_BYTES:,} bytes")
    return key


def s3_source_of(source: Source) -> S3Source | None:
    """The object that an https URL of S3 names, for which a role or an access key may be given; None for other URLs."""
    if isinstance(source, S3Source):
        return source
    target, _, query = source.target.partition("?")
    path = unquote(target).removeprefix("/")
    if found := _OF_A_BUCKET.fullmatch(source.host):
        bucket, key = found["bucket"], path
    elif _OF_ALL_BUCKETS.fullmatch(source.host):
        bucket, _, key = path.partition("/")
    else:
        return None
    version = next((value for name, value in parse_qsl(query) if name == "versionId"), "")
    return S3Source(bucket, key, version) if _BUCKET.fullmatch(bucket) and key else None


def _bad(why: str) -> Refused:
    return Refused(FetchReason.BAD_URI, f"the URI is refused: {why}")


# ---- Hosts and addresses -------------------------------------------------------------------------------------------

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def _networks(*entries: tuple[str, str]) -> tuple[tuple[_Network, str], ...]:
    return tuple((ipaddress.ip_network(network), what) for network, what in entries)


# Rule: IANA's special-purpose registries for IPv4 and IPv6 (RFC 6890), and what clouds give to machines alone.
# A host that is allowed by name may be here …
_PRIVATE: Final = _networks(
    ("10.0.0.0/8", "a private network"),
    ("172.16.0.0/12", "a private network"),
    ("192.168.0.0/16", "a private network"),
    ("100.64.0.0/10", "a carrier's private network"),
    ("127.0.0.0/8", "the machine itself"),
    ("::1/128", "the machine itself"),
    ("fc00::/7", "a private network"),
)
# … and never here: what answers at these is either no file server or hands out credentials.
_NEVER: Final = _networks(
    ("0.0.0.0/8", "no address"),
    ("169.254.0.0/16", "link-local, where credentials are handed out"),
    ("100.100.100.200/32", "a cloud's metadata"),
    ("168.63.129.16/32", "a cloud's metadata"),
    ("192.0.0.0/24", "reserved for protocols"),
    ("192.0.2.0/24", "for documentation"),
    ("192.88.99.0/24", "a 6to4 relay"),
    ("198.18.0.0/15", "for benchmarks"),
    ("198.51.100.0/24", "for documentation"),
    ("203.0.113.0/24", "for documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved, or broadcast"),
    ("fd00:ec2::/32", "a cloud's metadata"),
    ("fd20:ce::/32", "a cloud's metadata"),
    ("::/128", "no address"),
    ("::ffff:0:0/96", "an IPv4 address in IPv6's clothes"),
    ("::/96", "an IPv4 address in IPv6's clothes"),
    ("64:ff9b::/96", "an IPv4 address behind NAT64"),
    ("64:ff9b:1::/48", "an IPv4 address behind NAT64"),
    ("2001::/32", "Teredo"),
    ("2001::/23", "reserved for protocols"),
    ("2001:db8::/32", "for documentation"),
    ("2002::/16", "6to4"),
    ("3fff::/20", "for documentation"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
)
_GLOBAL_IPV6: Final = ipaddress.ip_network("2000::/3")  # all that is given out to anybody


@dataclass(frozen=True, slots=True)
class AllowedHosts:
    """Parameter UriAllowedHosts.

    Attributes:
        names: hosts that are allowed by name. If there are any, no other is, unless `others`.
        others: `*` stands among them, or nothing does: any host with public addresses.
    """

    names: frozenset[str] = frozenset()
    others: bool = True

    @classmethod
    def of(cls, text: str) -> "AllowedHosts":
        """Of names with commas between them.

        Raises:
            Misconfigured: one of them could be no host.
        """
        entries = [entry for entry in re.split(r"[,\s]+", text) if entry]
        names = set()
        for entry in entries:
            if entry == "*":
                continue
            try:
                bracketed = entry.startswith("[") and entry.endswith("]")
                names.add(_address(entry[1:-1]) if bracketed else host_name(entry))
            except Refused:
                raise Misconfigured(
                    f"URI_ALLOWED_HOSTS has {entry!r}: give names of hosts with commas between, such as "
                    "files.example.com, without scheme and port; * for any other public host"
                ) from None
        return cls(frozenset(names), not entries or "*" in entries)

    def judge_host(self, source: HttpSource) -> None:
        """What can be said before anything is resolved; of an address that stands in the URI itself that is all.

        Raises:
            Refused: host_not_allowed, port_not_allowed, address_denied.
        """
        if source.host not in self.names:
            self._judge_unnamed(source)
        if _is_address(source.host):
            self.judge_addresses(source, [source.host])
        elif f".{source.host}".endswith(".localhost"):  # Rule: RFC 6761, 6.3; whoever asks need not wait for the fetch
            self.judge_addresses(source, ["127.0.0.1"])

    def _judge_unnamed(self, source: HttpSource) -> None:
        if not self.others:
            raise Refused(
                FetchReason.HOST_NOT_ALLOWED,
                f"{source.host} is not among the hosts this installation fetches from: add it to UriAllowedHosts",
            )
        if source.port not in _PORTS.values():
            raise Refused(
                FetchReason.PORT_NOT_ALLOWED,
                f"port {source.port} of {source.host}: only 80 and 443 are allowed, but for hosts named in "
                "UriAllowedHosts",
            )

    def judge_addresses(self, source: HttpSource, addresses: list[str]) -> None:
        """Raises Refused(address_denied) if any of the addresses a host stands for is one we do not go to.

        One is enough: which of them is connected to would else be chance. The address itself is not told, since whoever
        asks may be exploring names of a network that is not theirs.
        """
        named = source.host in self.names
        for address in addresses:
            what, never = denied(address)
            if not what or (named and not never):
                continue
            remedy = "" if never else "; a host there must be named in UriAllowedHosts"
            raise Refused(FetchReason.ADDRESS_DENIED, f"{source.host} is not public but {what}{remedy}")


def _is_address(host: str) -> bool:
    return ":" in host or _NUMERIC.fullmatch(host.rpartition(".")[2]) is not None


def denied(address: str) -> tuple[str, bool]:
    """What an address is that is not public, and whether nobody may ever go there; ("", False) for a public one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "no address", True
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.scope_id is not None:
        return "link-local", True
    holding = [
        (network.prefixlen, what, never)
        for never, networks in ((True, _NEVER), (False, _PRIVATE))
        for network, what in networks
        if parsed.version == network.version and parsed in network
    ]
    if holding:
        _, what, never = max(holding)  # the narrowest: ::1 lies in ::/96, metadata in a private network
        return what, never
    if parsed.version == 6 and parsed not in _GLOBAL_IPV6:
        return "in no network that is given out", True
    return "", False
