"""`sam local invoke` for real: a function in a container, against a local twin.

    python -m cli.sam_local EVENT...                      each on the twin of `make up`; the samples' bucket becomes the
                                                          twin's
    python -m cli.sam_local -f PartFunction EVENT...      another function than the import function

Needs a container engine and Lambda's image: scripts/container-engine makes both where they are missing.
Three things stand between sam and the twin. The template says arm64: it is built for this machine's processor. sam
does not resolve references to resources: the deployed function's own variables go in by `--env-vars`. And the twin
listens on the loopback address only, which no container reaches: a forwarder stands on the engine's bridge for as long
as it is needed.
"""

import argparse
import json
import os
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import boto3

from cli import twin
from cli.stack import Stack

ENGINE = twin.ROOT / "scripts/container-engine"
FUNCTIONS = (
    "ImportFunction",
    "PartFunction",
    "FetchFunction",
    "SweepFunction",
    "NotifyFunction",
    "PreviewFunction",
    "ScheduleFunction",
    "ApiFunction",
)
SAMPLE_BUCKET = "s3-event-importer-123456789012-us-east-1"  # the one the notifications in events/ speak of
SAMPLE_TOKEN = f"0123456789abcdef.{'A' * 43}"  # nobody's

BUILD_SECONDS = 300
INVOKE_SECONDS = 300  # Measured: 3 s. The function's own time-out, 15 minutes, is too long to wait for here
ENGINE_SECONDS = 120
# The function opens some twenty; sam kills its container without closing them, so those of the last invocations are
# still there until they have been idle for long enough.
CONNECTIONS = 512
IDLE_SECONDS = 20
LOG_TAIL_LINES = 15


class SamLocalError(Exception):
    """It could not be tried; the text says why and what to do."""


@dataclass(frozen=True)
class Engine:
    """A container engine that answers, with an image of Lambda's Python.

    Args:
        docker_host: what DOCKER_HOST must be; None where it need not be set.
        python: the image's, such as 3.13; another one than the template's where that could not be had.
        architecture: Lambda's name of this machine's processor.
    """

    docker_host: str | None
    python: str
    architecture: str

    def environment(self) -> dict[str, str]:
        own = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
        return own if self.docker_host is None else {**own, "DOCKER_HOST": self.docker_host}


@dataclass(frozen=True)
class Invocation:
    """What came of one invocation. sam's exit code says nothing of it: it is 0 also where the function raised.

    Args:
        answer: what the function returned.
        error: the type and text of what it raised, such as "UnknownNotification: …"; None if it returned.
        log: what sam and the function wrote beside.
    """

    answer: Any
    error: str | None
    log: str


@contextmanager
def engine() -> Iterator[Engine]:
    """An engine that answers. One that this starts (as root only) ends with the block.

    Raises:
        SamLocalError: there is none, or it lacks the image; with the command that mends it.
    """
    started = False
    try:
        found = _status()
        if not found["working"] and os.geteuid() == 0 and shutil.which("dockerd", path=_system_path()):
            _engine_command("start")
            started = True
            found = _status()
        if not found["ready"]:
            raise SamLocalError(found["missing"])
        yield Engine(found["docker_host"], found["python"], found["architecture"])
    finally:
        if started:
            _engine_command("stop")


@contextmanager
def function(
    stack: Stack, on: Engine, directory: Path, name: str = FUNCTIONS[0]
) -> Iterator[Callable[[str], Invocation]]:
    """A function of the template, built into `directory` and ready to be invoked with the JSON text of an event.

    It runs with the permissions of the function's role, not the administrator's.
    Raises:
        SamLocalError: the function could not be built or sam could not run it. What it raises itself is an Invocation.
    """
    template = _build(directory, on, name)
    variables, credentials = _deployed(stack, name)
    with _reachable(stack, on) as endpoint_url:
        variables_file = directory / "variables.json"
        variables_file.write_text(json.dumps({name: {**variables, "AWS_ENDPOINT_URL": endpoint_url}}))

        def invoke(event: str) -> Invocation:
            event_file = directory / "event.json"
            event_file.write_text(event, encoding="utf-8")
            command = [*twin.SAM, "local", "invoke", name, "--template", template, "--event", event_file]
            command += ["--env-vars", variables_file, "--region", stack.region, "--skip-pull-image"]
            environment = {**on.environment(), **_sam_environment(stack), **credentials}
            return _invoked(command, directory, environment)

        yield invoke


def addressed(event: str, bucket: str, token: str | None = None) -> str:
    """A sample of events/ that speaks of this bucket, at whatever depth it names one, and brings this token."""
    return event.replace(SAMPLE_BUCKET, bucket).replace(SAMPLE_TOKEN, token or SAMPLE_TOKEN)


# ---- Building and invoking ---------------------------------------------------------------------------------------


def _build(directory: Path, on: Engine, name: str) -> Path:
    """The built template: the project's, for this machine's processor and the image's Python."""
    text = (twin.ROOT / "template.yaml").read_text()
    if f"Runtime: python{on.python}" not in text:
        twin.say(f"the container has Python {on.python}, the template names another one: no image of that is here")
    for setting, value in (("Architectures", f"[{on.architecture}]"), ("Runtime", f"python{on.python}")):
        text, times = re.subn(rf"^(\s+){setting}: .*$", rf"\g<1>{setting}: {value}", text, flags=re.MULTILINE)
        if not times:
            raise SamLocalError(f"template.yaml has no line {setting}: … any more; correct {__name__}")
    source, built = directory / "template.yaml", directory / "build"
    source.write_text(text)
    machine = {"x86_64": "x86_64", "arm64": "aarch64"}[on.architecture]
    command = [*twin.SAM, "build", name, "--template-file", source, "--base-dir", twin.ROOT, "--build-dir", built]
    environment = {
        **os.environ,  # how packages are reached from here is a person's own setting
        "SAM_CLI_TELEMETRY": "0",
        "UV": str(twin.UV),
        "MAKEFLAGS": f"LAMBDA_MACHINE={machine} LAMBDA_PYTHON={on.python}",  # for src/handler/Makefile
    }
    done = subprocess.run(
        [*command, "--region", twin.REGION],
        cwd=twin.ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS,
    )
    if done.returncode:
        raise SamLocalError(f"`sam build` failed:\n{_tail(done.stdout + done.stderr)}")
    return built / "template.yaml"


def _invoked(command: list[str | Path], directory: Path, environment: dict[str, str]) -> Invocation:
    log_file = directory / "log"
    with log_file.open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            command,
            cwd=directory,  # no samconfig.toml here
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            encoding="utf-8",
        )
        try:
            printed, _ = process.communicate(timeout=INVOKE_SECONDS)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)  # sam takes its container down
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=30)
            raise SamLocalError(f"no answer within {INVOKE_SECONDS} s:\n{_tail(log_file.read_text())}") from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    written = log_file.read_text(encoding="utf-8", errors="replace")
    answer = _answer(printed)
    if process.returncode and answer is None:
        raise SamLocalError(f"`sam local invoke` failed:\n{_tail(written)}")
    if answer is None:  # ran out of time or memory: the runtime is gone and nothing answers
        return Invocation(None, f"no answer: {_tail(written, lines=3).strip()}", written)
    if isinstance(answer, dict) and "errorMessage" in answer:
        return Invocation(None, f"{answer.get('errorType')}: {answer['errorMessage']}", written)
    return Invocation(answer, None, written)


def _answer(printed: str) -> Any:
    """The last thing printed is the function's answer, as JSON. None where there is none; ours never returns null."""
    for line in reversed(printed.splitlines()):
        if line.strip():
            try:
                return json.loads(line)
            except ValueError:
                return None
    return None


def _sam_environment(stack: Stack) -> dict[str, str]:
    return {
        "SAM_CLI_TELEMETRY": "0",
        # sam itself asks for the account's number; without a way to the twin it waits for AWS, 10 s each time.
        "AWS_ENDPOINT_URL": stack.endpoint_url or "",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


def _deployed(stack: Stack, name: str) -> tuple[dict[str, str], dict[str, str]]:
    """The deployed function's variables, references resolved, and credentials of its role."""
    session = boto3.Session(stack.access_key_id, stack.secret_access_key, region_name=stack.region)
    functions = session.client("lambda", endpoint_url=stack.endpoint_url)
    deployed = functions.get_function_configuration(FunctionName=stack.functions[name])
    roles = session.client("sts", endpoint_url=stack.endpoint_url)
    role = roles.assume_role(RoleArn=deployed["Role"], RoleSessionName="sam-local")["Credentials"]
    return dict(deployed["Environment"]["Variables"]), {
        "AWS_ACCESS_KEY_ID": role["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": role["SecretAccessKey"],
        "AWS_SESSION_TOKEN": role["SessionToken"],
    }


# ---- The engine --------------------------------------------------------------------------------------------------


def _status() -> dict[str, Any]:
    return json.loads(_engine_command("status", "--json", succeeds=(0, 1)))  # type: ignore[no-any-return]


def _engine_command(*arguments: str, succeeds: tuple[int, ...] = (0,)) -> str:
    done = subprocess.run(
        [sys.executable, ENGINE, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=ENGINE_SECONDS,
    )
    if done.returncode not in succeeds:
        raise SamLocalError(done.stderr.strip())
    return done.stdout


def _system_path() -> str:
    return os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"))


# ---- The way from a container to the twin ------------------------------------------------------------------------


@contextmanager
def _reachable(stack: Stack, on: Engine) -> Iterator[str]:
    """An URL of the twin that containers reach, for as long as the block runs; no other network does."""
    bridge = _bridge_address(on)
    with _forwarding(bridge, int((stack.endpoint_url or "").rpartition(":")[2])) as port:
        yield f"http://{bridge}:{port}"


@contextmanager
def _forwarding(address: str, port: int) -> Iterator[int]:
    """A port of this address that leads to the given port of the loopback address."""
    try:
        server = _Forwarder((address, 0), port)
    except OSError as error:
        raise SamLocalError(
            f"The engine's containers are behind {address}, which is not an address of this machine "
            f"({error.strerror}): the engine must run on this machine itself, not in a virtual one."
        ) from None
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _bridge_address(on: Engine) -> str:
    """This machine's own address on the network that the engine's containers are on."""
    command = ["docker", "network", "inspect", "bridge", "--format", "{{json .IPAM.Config}}"]
    done = subprocess.run(command, env=on.environment(), capture_output=True, text=True, timeout=ENGINE_SECONDS)
    if done.returncode:
        raise SamLocalError(f"The engine has no network called bridge:\n{_tail(done.stderr)}")
    for configured in json.loads(done.stdout) or ():
        network = ip_network(configured["Subnet"])
        if network.version == 4:
            # Until its first restart an engine does not say which address it took; it takes the first.
            return configured.get("Gateway") or str(network[1])
    raise SamLocalError("The engine's network called bridge has no IPv4 address.")


class _Forwarder(socketserver.ThreadingTCPServer):
    """Hands every connection on to a port of the loopback address, byte for byte."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], port: int) -> None:
        self.port = port
        self.free = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(address, _Forwarded)


class _Forwarded(socketserver.BaseRequestHandler):
    server: _Forwarder
    request: socket.socket

    def handle(self) -> None:
        if not self.server.free.acquire(blocking=False):
            return  # closed: one too many
        try:
            with (
                suppress(OSError),
                socket.create_connection(("127.0.0.1", self.server.port), IDLE_SECONDS) as twin_side,
            ):
                self.request.settimeout(IDLE_SECONDS)
                back = threading.Thread(target=_copy, args=(twin_side, self.request), daemon=True)
                back.start()
                _copy(self.request, twin_side)
                back.join()
        finally:
            self.server.free.release()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):  # an end that went away, or was idle too long: the other one is told just below
        while received := source.recv(1 << 16):
            target.sendall(received)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


# ---- Small things ------------------------------------------------------------------------------------------------


def _tail(text: str, lines: int = LOG_TAIL_LINES) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m cli.sam_local",
        description="Invoke a function in a container, against the twin of `make up`.",
        epilog="exit codes: 0 all returned, 1 one raised, 2 usage, 4 it could not be tried",
    )
    parser.add_argument("-f", "--function", choices=FUNCTIONS, default=FUNCTIONS[0], help="default: %(default)s")
    parser.add_argument(
        "events", nargs="+", type=Path, metavar="EVENT", help="a notification, such as events/s3-put.json"
    )
    arguments = parser.parse_args()
    raised = False
    try:
        texts = [event.read_text(encoding="utf-8") for event in arguments.events]
        outputs = twin.DIRECTORY / "outputs.json"
        if not outputs.exists():
            raise SamLocalError("No twin is up. Run: make up")
        stack = Stack.from_file(outputs)
        with (
            engine() as on,
            TemporaryDirectory() as scratch,
            function(stack, on, Path(scratch), arguments.function) as invoke,
        ):
            for text in texts:
                done = invoke(addressed(text, stack.bucket, stack.api_token))
                print(done.log, file=sys.stderr, end="")
                print(json.dumps(done.answer) if done.error is None else done.error)
                raised |= done.error is not None
    except (SamLocalError, OSError) as error:
        twin.say(str(error))
        return 4
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 1 if raised else 0


if __name__ == "__main__":
    sys.exit(main())
