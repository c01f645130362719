"""A DynamoDB on a real socket that answers badly: each call is answered by the next line of a script, then honestly.

    with ScriptedTables([honest, reset, throttled()]) as tables:
        client = tables.client()

It keeps what it stored: one list of items, a line for each time an item was written, and every request it was sent.
The emulators sit above the socket, so a broken connection can only be acted here.
"""

from __future__ import annotations

import datetime
import ipaddress
import json
import socket
import ssl
import struct
import threading
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from moto.core.models import botocore_stubber

READ_TIMEOUT_S = 0.4
JSON = "application/x-amz-json-1.0"


@dataclass
class Asked:
    """One request, and the connection its answer goes to."""

    tables: ScriptedTables
    connection: Any
    number: int  # of the connection
    headers: dict[str, str]
    body: bytes

    @property
    def operation(self) -> str:
        return self.headers["x-amz-target"].partition(".")[2]

    @property
    def items(self) -> list[dict[str, Any]]:
        document = json.loads(self.body)
        if "Item" in document:
            return [document["Item"]]
        return [put["PutRequest"]["Item"] for puts in document.get("RequestItems", {}).values() for put in puts]

    def store(self, items: list[dict[str, Any]] | None = None) -> None:
        with self.tables.lock:
            self.tables.stored += self.items if items is None else items

    def answer(self, body: bytes, status: str = "200 OK", **more: str | None) -> bytes:
        named: dict[str, str | None] = {"Content-Type": JSON, "Content-Length": str(len(body))}
        named |= {"x-amz-crc32": str(zlib.crc32(body))}
        named |= {name.replace("_", "-"): value for name, value in more.items()}
        lines = "".join(f"{name}: {value}\r\n" for name, value in named.items() if value is not None)
        return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body

    def say(self, text: bytes) -> None:
        self.connection.sendall(text)

    def done(self) -> bytes:
        return b'{"UnprocessedItems":{}}' if self.operation == "BatchWriteItem" else b"{}"


class HungUp(Exception):
    """The connection ends here."""


Line = Callable[[Asked], None]


def honest(asked: Asked) -> None:
    """Done, and said so."""
    asked.store()
    asked.say(asked.answer(asked.done()))


def reset(asked: Asked) -> None:
    """Nothing is done, and the connection is reset."""
    asked.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise HungUp


def reply_lost(asked: Asked) -> None:
    """Done, and hung up without a word."""
    asked.store()
    raise HungUp


def half_reply(asked: Asked) -> None:
    """Done; half of the reply comes."""
    asked.store()
    text = asked.answer(asked.done())
    asked.say(text[: len(text) - 5])
    raise HungUp


def half_head(asked: Asked) -> None:
    """Done; the reply ends in its head."""
    asked.store()
    asked.say(b"HTTP/1.1 200 OK\r\nContent-Le")
    raise HungUp


def hung_up_after(asked: Asked) -> None:
    """Done and said so; the connection is closed unannounced."""
    honest(asked)
    raise HungUp


def last_one(asked: Asked) -> None:
    """Done and said so; the connection is closed, as announced."""
    asked.store()
    asked.say(asked.answer(asked.done(), Connection="close"))
    raise HungUp


def slow(seconds: float) -> Line:
    """Done and said so, late."""

    def line(asked: Asked) -> None:
        asked.store()
        asked.tables.ending.wait(seconds)
        with suppress(OSError):
            asked.say(asked.answer(asked.done()))

    return line


def drip(asked: Asked) -> None:
    """Done; the reply comes letter by letter, faster than the time-out, and never ends."""
    asked.store()
    with suppress(OSError):
        for at in range(1000):
            asked.say(asked.answer(b"x" * 1000)[at : at + 1])
            if asked.tables.ending.wait(READ_TIMEOUT_S / 4):
                break
    raise HungUp


def in_pieces(asked: Asked) -> None:
    """Done and said so, in many packets."""
    asked.store()
    for letter in asked.answer(asked.done()):
        asked.say(bytes([letter]))


def error(code: str, status: str = "400 Bad Request") -> Line:
    """Nothing is done."""

    def line(asked: Asked) -> None:
        body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "x"}).encode()
        asked.say(asked.answer(body, status))

    return line


def odd(**headers: str | None) -> Line:
    """Done, and said so with headers nobody expects."""

    def line(asked: Asked) -> None:
        asked.store()
        asked.say(asked.answer(asked.done(), **headers))
        raise HungUp

    return line


def chunked(asked: Asked) -> None:
    """Done, and said so in chunks."""
    asked.store()
    text = asked.answer(b"", Content_Length=None, x_amz_crc32=None, Transfer_Encoding="chunked")
    asked.say(text + b"%x\r\n%b\r\n0\r\n\r\n" % (len(asked.done()), asked.done()))


def raw(text: bytes) -> Line:
    """Done, and these bytes instead of a reply."""

    def line(asked: Asked) -> None:
        asked.store()
        asked.say(text)
        raise HungUp

    return line


def unprocessed(asked: Asked) -> None:
    """Every second item is not done, from the second on."""
    asked.store(asked.items[::2])
    (table,) = json.loads(asked.body)["RequestItems"]
    left = [{"PutRequest": {"Item": item}} for item in asked.items[1::2]]
    asked.say(asked.answer(json.dumps({"UnprocessedItems": {table: left} if left else {}}).encode()))


@dataclass
class ScriptedTables:
    """The server; it answers GetItem by itself, which takes no line of the script."""

    script: Sequence[Line] = ()
    secure: bool = False
    stored: list[dict[str, Any]] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    lock: Any = field(default_factory=threading.Lock)
    ending: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> ScriptedTables:
        self._left = list(self.script)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._open: list[socket.socket] = []
        self._threads[0].start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.ending.set()
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(5)

    def hang_up(self) -> None:
        """Close every connection, as a server does with idle ones."""
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def url(self) -> str:
        return f"http{'s' if self.secure else ''}://127.0.0.1:{self.port}"

    def client(self, session: boto3.Session | None = None, **more: Any) -> Any:
        config = Config(connect_timeout=2, read_timeout=READ_TIMEOUT_S, retries={"total_max_attempts": 1})
        session = session or boto3.Session("AKEY", "secret", "token", "us-east-1")
        client = session.client(
            "dynamodb", endpoint_url=self.url, config=config.merge(more.pop("config", Config())), **more
        )
        # Whoever has imported moto in this process has it listen to every client, and the quick way is closed then.
        client.meta.events.unregister("before-send", botocore_stubber)
        return client

    def calls(self) -> list[str]:
        """Operations but for reads, in order."""
        return [asked.operation for asked in self.asked if asked.operation != "GetItem"]

    def _accept(self) -> None:
        context = None
        if self.secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*map(str, certificate()))
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            serving = threading.Thread(target=self._serve, args=(connection, context, self.connections), daemon=True)
            self._threads.append(serving)
            serving.start()

    def _serve(self, connection: Any, context: ssl.SSLContext | None, number: int) -> None:
        with suppress(OSError, HungUp, ValueError):
            if context is not None:
                connection = context.wrap_socket(connection, server_side=True)
                self._open.append(connection)
            with connection, connection.makefile("rb") as reading:
                while reading.readline().startswith(b"POST / HTTP/1.1"):
                    headers: dict[str, str] = {}
                    while (line := reading.readline().strip()) != b"":
                        name, _, value = line.decode().partition(": ")
                        headers[name.lower()] = value
                    asked = Asked(self, connection, number, headers, reading.read(int(headers["content-length"])))
                    with self.lock:
                        self.asked.append(asked)
                        is_read = asked.operation == "GetItem"
                        line_of_script = honest if is_read or not self._left else self._left.pop(0)
                    asked.tables = self
                    line_of_script(asked)


@cache
def certificate() -> tuple[Path, Path]:
    """Files: a certificate for 127.0.0.1 that is its own authority, and its key."""
    import tempfile

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "scripted tables")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    folder = Path(tempfile.mkdtemp())
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file
