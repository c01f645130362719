"""The local twin: an embedded AWS (ministack) on this machine, with the project really deployed into it by SAM.

    python -m cli.twin up [--json]    start, build, deploy; again: only what has changed since. TWIN_PARAMETERS: --help
    python -m cli.twin down           stop, and forget all it held; again: nothing
    python -m cli.twin build          only build the functions for this machine

A twin lives in a directory. Each of its two processes, the emulator and a stand-in for API Gateway, holds a lock on its
file `….pid` there for as long as it lives: "running, and ours" is asked of the lock, never guessed from a number that
may belong to another process by now.
It differs from AWS where docs/architecture.md says; permissions are enforced (AUTH), so a missing one shows here.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import boto3

from cli import stack
from cli.stack import Stack

ROOT = Path(__file__).resolve().parents[2]
DIRECTORY = ROOT / ".twin"
BUILD = DIRECTORY / "build"  # one for all twins: it depends on the sources only

REGION = "us-east-1"
STACK_NAME = "s3-event-importer"
# The emulator's own administrator. Functions get the credentials of their role.
ACCESS_KEY_ID = "test"
SECRET_ACCESS_KEY = "test"  # nosec B105  # it opens nothing but the emulator, which listens on this machine alone

SAM: tuple[str | Path, ...] = (ROOT / ".tools/sam/bin/python", "-m", "samcli")
TWIN_PYTHON = ROOT / ".tools/twin/bin/python"
EMBEDDED_AWS = ROOT / "src/cli/embedded_aws.py"
UV = ROOT / ".tools/uv/bin/uv"

EMULATOR = "ministack"
GATEWAY = "api_gateway"

START_SECONDS = 60  # Measured: 2 s on two cores; a loaded machine may take long
STOP_SECONDS = 10
LOG_TAIL_LINES = 15

# Popen objects of twins this process started, kept so that their exit is collected.
_children: dict[int, subprocess.Popen[bytes]] = {}


class TwinError(Exception):
    """The twin could not be brought up; the text says why and what to do."""


def up(directory: Path = DIRECTORY, parameters: Sequence[str] = ()) -> Stack:
    """A running twin with the present sources deployed; started, built and deployed as far as needed.

    Args:
        parameters: of the template, such as "PartSizeMiB=8"; the template's defaults for the others.
    Raises:
        TwinError: it could not be brought up.
    """
    _require_tools()
    directory.mkdir(parents=True, exist_ok=True)
    outputs_file, deployed_file = directory / "outputs.json", directory / "deployed"
    with _only_one():
        sources = _fingerprint_of_sources()
        _build(sources)
        if not deployed_file.exists() or not _healthy(directory):
            _stop(directory)  # half started, half deployed or dead: it holds nothing worth keeping
            _start(directory)
        deployed = " ".join((sources, *parameters))
        if not deployed_file.exists() or deployed_file.read_text() != deployed:
            _deploy(directory, parameters)
            token = Stack.from_file(outputs_file).api_token if outputs_file.exists() else None
            _end(directory, GATEWAY)  # it knows the routes of the template it began with
            outputs_file.write_text(_with_api(directory, _describe(directory), token).to_json() + "\n")
            deployed_file.write_text(deployed)
        elif not _alive(directory, GATEWAY):
            outputs = Stack.from_file(outputs_file)
            _start_gateway(directory, outputs.functions["ApiFunction"])
    return Stack.from_file(outputs_file)


def down(directory: Path = DIRECTORY) -> None:
    """Stop the twin, if one runs, and forget all it held."""
    if directory.exists():
        with _only_one():
            _stop(directory)


@contextmanager
def running(directory: Path, parameters: Sequence[str] = ()) -> Iterator[Stack]:
    """A twin in this directory, beside any other, that ends with the block however the block ends."""
    try:
        yield up(directory, parameters)
    finally:
        down(directory)


# ---- Building and deploying --------------------------------------------------------------------------------------


def _fingerprint_of_sources() -> str:
    """A hash of everything a deployment is made of."""
    files = [ROOT / "template.yaml", ROOT / "requirements-twin.txt"]
    files += [path for path in (ROOT / "src/handler").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _build(sources: str) -> None:
    built_file = BUILD / "sources"
    if built_file.exists() and built_file.read_text() == sources:
        return
    say("building the functions for this machine")
    command = [*SAM, "build", "--template-file", ROOT / "template.yaml", "--build-dir", BUILD, "--region", REGION]
    # HOST_PYTHON: the twin runs functions on its own interpreter, whatever runtime the template names.
    _run(command, {**os.environ, "SAM_CLI_TELEMETRY": "0", "UV": str(UV), "HOST_PYTHON": str(TWIN_PYTHON)})
    built_file.write_text(sources)


def _deploy(directory: Path, parameters: Sequence[str]) -> None:
    say("deploying")
    endpoint_url = _endpoint_url(directory)
    command = [*SAM, "deploy", "--template-file", BUILD / "template.yaml", "--stack-name", STACK_NAME]
    command += ["--region", REGION, "--resolve-s3", "--capabilities", "CAPABILITY_IAM"]
    command += ["--no-confirm-changeset", "--no-fail-on-empty-changeset"]
    command += ["--parameter-overrides", f"EndpointUrl={endpoint_url}", "Sinks=both"]  # both ways can be looked at
    command += parameters
    environment = _clean_environment(
        AWS_ENDPOINT_URL=endpoint_url,
        SAM_CLI_POLL_DELAY="0.2",  # the default, 5 s, spares the API of a real account
        SAM_CLI_TELEMETRY="0",
    )
    try:
        _run(command, environment)
    except TwinError as error:
        raise TwinError(f"{error}\n{_log_tail(directory)}") from None


def _describe(directory: Path) -> Stack:
    endpoint_url = _endpoint_url(directory)
    cloudformation = boto3.client(
        "cloudformation",
        region_name=REGION,
        endpoint_url=endpoint_url,
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET_ACCESS_KEY,
    )
    return stack.described(
        cloudformation,
        STACK_NAME,
        endpoint_url=endpoint_url,
        access_key_id=ACCESS_KEY_ID,
        secret_access_key=SECRET_ACCESS_KEY,
    )


def _with_api(directory: Path, outputs: Stack, token: str | None) -> Stack:
    """With the root of its HTTP door, and a token for it; one made before is good as long as the twin runs."""
    from cli import connection, tokens  # which know of twins
    from importer.doors.tokens import EVERY_IMPORT, Right

    api_url = _start_gateway(directory, outputs.functions["ApiFunction"])
    if token is None:
        made = tokens.make(
            connection.of_stack(outputs), "demo of the twin", {EVERY_IMPORT: [Right.ADMIN]}, _now_ms(), None
        )
        token = made.text
    return replace(outputs, api_url=api_url, api_token=token)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


# ---- The processes: the emulator, and the stand-in for API Gateway before it --------------------------------------


def _start(directory: Path) -> None:
    port = _free_port()
    (directory / "endpoint").write_text(f"http://127.0.0.1:{port}")
    (directory / "tmp").mkdir(exist_ok=True)
    say(f"starting an embedded AWS on {_endpoint_url(directory)}")
    environment = _clean_environment(
        GATEWAY_PORT=str(port),
        BIND_HOST="127.0.0.1",
        MINISTACK_HOST="127.0.0.1",  # in the URLs of queues it gives out
        IOT_MTLS_ENABLED="0",  # else it listens on a second port, on every interface
        AUTH="true",
        MINISTACK_REGION=REGION,
        TMPDIR=str(directory / "tmp"),
    )
    # -P: our modules beside that file are none of its own
    _spawn(directory, EMULATOR, [TWIN_PYTHON, "-P", EMBEDDED_AWS], environment, lambda: _healthy(directory))


def _start_gateway(directory: Path, function: str) -> str:
    """The root of the HTTP door, from where it answers."""
    port_file = directory / "api_port"
    port = int(port_file.read_text()) if port_file.exists() else _free_port()
    port_file.write_text(str(port))  # the same when it has to be started again
    url = f"http://127.0.0.1:{port}"
    command: list[str | Path] = [sys.executable, "-m", "cli.api_gateway", "--port", str(port)]
    command += ["--endpoint-url", _endpoint_url(directory), "--function", function, "--region", REGION]
    command += ["--template", BUILD / "template.yaml", "--key", ACCESS_KEY_ID, "--secret", SECRET_ACCESS_KEY]
    environment = _clean_environment(PYTHONPATH=os.pathsep.join(str(ROOT / path) for path in ("src", "src/handler")))
    _spawn(directory, GATEWAY, command, environment, lambda: _listens(port))
    return url


def _spawn(
    directory: Path,
    name: str,
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    is_ready: Callable[[], bool],
) -> None:
    """Start a process of the twin that outlives this command and its terminal, and wait until it answers."""
    with (directory / f"{name}.pid").open("w") as pid_file, (directory / f"{name}.log").open("wb") as log_file:
        fcntl.flock(pid_file, fcntl.LOCK_EX)  # held on by the process, which inherits the open file
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            pass_fds=[pid_file.fileno()],
            start_new_session=True,
        )
        pid_file.write(str(process.pid))
    _children[process.pid] = process
    deadline = time.monotonic() + START_SECONDS
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise TwinError(f"The twin's {name} did not start; try again.\n{_log_tail(directory, name)}")
        time.sleep(0.1)


def _stop(directory: Path) -> None:
    """End the processes, workers included, and remove what the twin kept; the shared build stays."""
    if _alive(directory):
        say("stopping the embedded AWS")
    for name in (GATEWAY, EMULATOR):
        _end(directory, name)
        for kept in (f"{name}.pid", f"{name}.log"):
            (directory / kept).unlink(missing_ok=True)
    for kept in ("deployed", "outputs.json", "endpoint", "api_port"):
        (directory / kept).unlink(missing_ok=True)
    shutil.rmtree(directory / "tmp", ignore_errors=True)


def _end(directory: Path, name: str) -> None:
    """End a process of the twin with all it has started, if it runs."""
    if not _alive(directory, name):
        return
    pid = int((directory / f"{name}.pid").read_text())
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(pid, number)
        deadline = time.monotonic() + STOP_SECONDS
        while _alive(directory, name) and time.monotonic() < deadline:
            time.sleep(0.05)
    if child := _children.pop(pid, None):
        child.wait()


def _alive(directory: Path, name: str = EMULATOR) -> bool:
    try:
        with (directory / f"{name}.pid").open() as pid_file:
            fcntl.flock(pid_file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _listens(port: int) -> bool:
    with socket.socket() as caller:
        caller.settimeout(1)
        return caller.connect_ex(("127.0.0.1", port)) == 0


def _healthy(directory: Path) -> bool:
    if not _alive(directory):
        return False
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{_endpoint_url(directory)}/_ministack/health", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _endpoint_url(directory: Path) -> str:
    return (directory / "endpoint").read_text()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


# ---- Small things ------------------------------------------------------------------------------------------------


@contextmanager
def _only_one() -> Iterator[None]:
    """One command at a time builds, starts or stops on this checkout; the next one waits."""
    DIRECTORY.mkdir(exist_ok=True)
    with (DIRECTORY / "lock").open("w") as lock_file:
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another command on the twin")
            fcntl.flock(lock_file, fcntl.LOCK_EX)
        yield


def _require_tools() -> None:
    for tool in (SAM[0], TWIN_PYTHON, UV):
        if not Path(tool).exists():
            raise TwinError(f"{tool} is missing. Run `make setup`.")


def _clean_environment(**variables: str) -> dict[str, str]:
    """Nothing of a person's AWS settings, proxies or Python reaches the emulator, its functions or the deployment."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        **variables,
    }


def _run(command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
    """Run quietly; what it printed matters only if it failed."""
    done = subprocess.run(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        shown = " ".join(str(word) for word in command[:4])
        raise TwinError(f"`{shown} …` failed:\n{_tail(done.stdout + done.stderr)}")


def _log_tail(directory: Path, name: str = EMULATOR) -> str:
    log_file = directory / f"{name}.log"
    return f"The last lines of {log_file}:\n{_tail(log_file.read_text(errors='replace'))}"


def _tail(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines()[-LOG_TAIL_LINES:])


def say(step: str) -> None:
    """One step of what takes a moment, for the person who watches."""
    print(f"twin: {step}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m cli.twin",
        description="The local twin of the deployed project.",
        epilog='The environment variable TWIN_PARAMETERS sets parameters of the template, such as "PartSizeMiB=8 '
        'PartSeconds=30 PartConcurrency=4"; parameters it does not name have their defaults, but for Sinks=both.',
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("up", help="start, build, deploy").add_argument("--json", action="store_true", help="print names")
    verbs.add_parser("down", help="stop and forget")
    verbs.add_parser("build", help="build the functions for this machine")
    arguments = parser.parse_args()
    try:
        match arguments.verb:
            case "up":
                outputs = up(parameters=os.environ.get("TWIN_PARAMETERS", "").split())
                if arguments.json:
                    print(outputs.to_json())
                else:
                    say(f"up at {outputs.endpoint_url}; drop files with `.venv/bin/importer import FILE`")
                    say(f"the HTTP door is at {outputs.api_url}; its api_token is in {DIRECTORY / 'outputs.json'}")
            case "down":
                down()
            case "build":
                _require_tools()
                with _only_one():
                    _build(_fingerprint_of_sources())
    except TwinError as error:
        say(str(error))
        return 4
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


if __name__ == "__main__":
    sys.exit(main())
