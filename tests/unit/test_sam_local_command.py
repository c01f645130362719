"""What stands between sam and the twin, without a container: tests/local has the whole of it."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from samtranslator.yaml_helper import yaml_parse

from cli import sam_local, twin
from cli.sam_local import SamLocalError
from tests.support.samples import BUCKET, EVENTS

SAMPLES = [path for path in EVENTS.rglob("*.json") if path.parent.name != "files"]


def test_every_sample_speaks_of_the_given_bucket_and_of_no_other_at_whatever_depth() -> None:
    """Envelopes hold notifications as JSON text within JSON text."""
    texts = [sam_local.addressed(path.read_text(encoding="utf-8"), "mine") for path in SAMPLES]
    assert [text for text in texts if BUCKET in text] == []
    assert all(json.loads(text) is not None for text in texts)


def test_every_function_of_the_template_can_be_invoked() -> None:
    """The default is the import function, whose samples are the most."""
    resources = yaml_parse((twin.ROOT / "template.yaml").read_text(encoding="utf-8"))["Resources"]
    functions = [name for name, resource in resources.items() if resource["Type"] == "AWS::Serverless::Function"]
    assert list(sam_local.FUNCTIONS) == functions


@pytest.mark.parametrize(
    ("printed", "answer"),
    [
        ('{"executions": []}\n', {"executions": []}),
        ('a line the function printed\n{"executions": []}', {"executions": []}),
        ('{"errorMessage": "no", "errorType": "Unavailable"}\n\n', {"errorMessage": "no", "errorType": "Unavailable"}),
        ("", None),
        ("START RequestId", None),
    ],
)
def test_the_last_line_printed_is_the_answer(printed: str, answer: object) -> None:
    """After a time-out nothing is printed, and sam still exits with 0."""
    assert sam_local._answer(printed) == answer


def test_without_an_engine_it_fails_and_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Never skipped: what was not tried must not look like what passed."""
    status = {"ready": False, "working": False, "missing": "No engine. Run: sudo scripts/container-engine install"}
    monkeypatch.setattr(sam_local, "_status", lambda: status)
    monkeypatch.setattr(sam_local.shutil, "which", lambda *_, **__: None)
    with pytest.raises(SamLocalError, match="sudo scripts/container-engine install"), sam_local.engine():
        pytest.fail("there is no engine")


def test_a_forwarded_connection_carries_every_byte_both_ways_and_both_ends() -> None:
    """More than any buffer holds, answered only after the sender has said that it is done."""
    sent = bytes(range(256)) * 8192
    with backwards() as port, sam_local._forwarding("127.0.0.1", port) as forwarder:
        assert answered(forwarder, sent) == sent[::-1]
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", forwarder), 5)


def test_a_connection_to_a_twin_that_is_gone_is_closed() -> None:
    """The function sees a connection that ended, not one that hangs."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with sam_local._forwarding("127.0.0.1", port) as forwarder:
        assert answered(forwarder, b"") == b""


def answered(port: int, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return everything(connection)


def everything(connection: socket.socket) -> bytes:
    connection.settimeout(10)
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


@contextmanager
def backwards() -> Iterator[int]:
    """A server that takes one connection, and answers with all it was sent, the last byte first."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(everything(connection)[::-1])

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(10)
