"""A web server of the test's own on a real socket, which says what it is told to: byte for byte, however wrong."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from socket import AF_INET, SHUT_RDWR, SOCK_STREAM, socket

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Script = bytes | Callable[[socket, bytes], None]


@dataclass
class Web:
    """What it is asked, and what it answers: each script in turn, the last one again and again."""

    port: int
    scripts: list[Script]
    asked: list[bytes] = field(default_factory=list)
    names: list[str] = field(default_factory=list)  # of TLS (SNI)

    def header(self, name: str, request: int = -1) -> str | None:
        lines = self.asked[request].decode("latin-1").split("\r\n")[1:]
        return next((value.strip() for key, _, value in (line.partition(":") for line in lines) if key == name), None)


@contextmanager
def serving(*scripts: Script, tls: ssl.SSLContext | None = None) -> Iterator[Web]:
    """A server that closes each connection after one answer."""
    with socket(AF_INET, SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        web = Web(listener.getsockname()[1], list(scripts))
        if tls is not None:
            tls.sni_callback = lambda _, name, __: web.names.append(str(name))
        thread = threading.Thread(target=_serve, args=(listener, web, tls), daemon=True)
        thread.start()
        try:
            yield web
        finally:
            listener.shutdown(SHUT_RDWR)
            thread.join(5)


def _serve(listener: socket, web: Web, tls: ssl.SSLContext | None) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_answer, args=(connection, web, tls), daemon=True).start()


def _answer(plain: socket, web: Web, tls: ssl.SSLContext | None) -> None:
    try:
        connection = plain if tls is None else tls.wrap_socket(plain, server_side=True)
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (received := connection.recv(65_536)):
                    return
                head += received
            web.asked.append(head)
            script = web.scripts.pop(0) if len(web.scripts) > 1 else web.scripts[0]
            if isinstance(script, bytes):
                connection.sendall(script)
            else:
                script(connection, head)
    except OSError:
        plain.close()  # whoever asked has gone, or does not trust us


def answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """An answer with Content-Length (of the body, unless another is given)."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def raw(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def dripping(first: bytes, drop: bytes, seconds: float) -> Script:
    """First this, then a little now and then, for ever."""

    def script(connection: socket, _: bytes) -> None:
        connection.sendall(first)
        stop = threading.Event()
        while not stop.wait(seconds):
            connection.sendall(drop)

    return script


def certificate(folder: Path, *names: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context for these names, and that of whoever trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return server, ssl.create_default_context(cadata=made.public_bytes(serialization.Encoding.PEM).decode())
