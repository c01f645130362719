"""The rig: nginx as an AWS that is never waited for, an emulator behind it for what needs a memory, both on one core.

What is measured is the client: it has a core of its own. Sources are files under the data directory; the event and
user tables and the stream answer every write with success and count what came; executions, receipts, errors and the
part queue are real (moto), reached through nginx. Neither signatures nor limits are checked: the sinks' tests do that.

With latency: S3 20 ms to the first byte and 90 MB/s a connection, DynamoDB 5 ms a call, Firehose 30 ms a call.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parents[3]
HERE = Path(__file__).parent
DIRECTORY = ROOT / ".bench"
DATA = DIRECTORY / "data"

BUCKET: Final = "bench-bucket"
EVENTS_TABLE: Final = "bench-events"
USERS_TABLE: Final = "bench-users"
IMPORTS_TABLE: Final = "bench-imports"
PLAIN_TABLE: Final = "bench-plain"  # the baselines': key user_id, event_time_ts
STREAM: Final = "bench-stream"
PART_QUEUE: Final = "bench-parts"
REGION: Final = "us-east-1"
CREDENTIALS: Final = ("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")

# What the template tells the C library of our functions. Clients people write run without it.
OF_A_FUNCTION: Final = {"MALLOC_ARENA_MAX": "1"}

WAYS: Final = ("plain", "tls", "latency")
LINK_BYTES_PER_SECOND: Final = 90_000_000
MODULES: Final = ("/usr/lib/nginx/modules", "/usr/share/nginx/modules", "/usr/lib64/nginx/modules")
INSTALL: Final = "apt-get install -y nginx-light libnginx-mod-http-lua openssl nodejs npm"
START_SECONDS: Final = 30


class Missing(Exception):
    """A tool is not there; the text says which, and how to get it."""


@dataclass(frozen=True)
class Rig:
    """A running rig. `way` is one of WAYS."""

    ports: dict[str, int]
    directory: Path

    def environment(self, way: str) -> dict[str, str]:
        """What makes an AWS SDK of any language, and our handler, use it."""
        suffix = "" if way == "plain" else f"_{way.upper()}"
        scheme = "https" if way == "tls" else "http"
        urls = {
            f"AWS_ENDPOINT_URL_{service}": f"{scheme}://127.0.0.1:{self.ports[service + suffix]}"
            for service in ("S3", "DYNAMODB", "FIREHOSE")
        }
        emulator = f"http://127.0.0.1:{self.ports['EMULATOR']}"
        return {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ},
            **urls,
            "AWS_ENDPOINT_URL_SQS": emulator,
            "AWS_ACCESS_KEY_ID": CREDENTIALS[0],
            "AWS_SECRET_ACCESS_KEY": CREDENTIALS[1],
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            **(
                {name: str(self.directory / "cert.pem") for name in ("AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")}
                if way == "tls"
                else {}
            ),
            "BUCKET_NAME": BUCKET,
            "EVENTS_TABLE": EVENTS_TABLE,
            "USERS_TABLE": USERS_TABLE,
            "IMPORTS_TABLE": IMPORTS_TABLE,
            "PLAIN_TABLE": PLAIN_TABLE,
            "DELIVERY_STREAM": STREAM,
            "PART_QUEUE_URL": f"{emulator}/123456789012/{PART_QUEUE}",
            "POWERTOOLS_SERVICE_NAME": "bench",
        }

    def counted(self, reset: bool = True) -> dict[str, int]:
        """What came since the last reset."""
        url = f"http://127.0.0.1:{self.ports['COUNTS']}/{'?reset=1' if reset else ''}"
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(url, timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {name: int(number) for name, number in (line.split() for line in lines)}


def require(node: bool = True) -> Path:
    """The folder of nginx' modules. Raises Missing for a tool that is not there."""
    tools = ["nginx", "openssl", *(["node", "npm"] if node else [])]
    missing = [tool for tool in tools if shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is None]
    modules = next((Path(folder) for folder in MODULES if (Path(folder) / "ngx_http_lua_module.so").exists()), None)
    if modules is None:
        missing.append("the lua module of nginx")
    if missing or modules is None:
        raise Missing(f"{', '.join(missing)} not found. On Debian and Ubuntu:\n\n    {INSTALL}\n")
    if (os.cpu_count() or 1) < 2:
        raise Missing("two cores are needed: one for the client, one for what answers it")
    return modules


@contextmanager
def running(core: int) -> Iterator[Rig]:
    """A rig on this core, and on free ports, that ends with the block. Raises Missing."""
    modules = require(node=False)
    directory = DIRECTORY / "rig"
    directory.mkdir(parents=True, exist_ok=True)
    DATA.mkdir(exist_ok=True)
    names = [f"{service}{way}" for service in ("S3", "DYNAMODB", "FIREHOSE") for way in ("", "_TLS", "_LATENCY")]
    ports = dict(zip([*names, "EMULATOR", "COUNTS"], _free_ports(len(names) + 2), strict=True))
    _certificate(directory)
    _configure(directory, modules, ports)
    pinned = _pinned(core)
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    processes: list[subprocess.Popen[bytes]] = []
    try:
        with (directory / "emulator.log").open("wb") as log:
            emulator = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.rig.emulator", str(ports["EMULATOR"])],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("", "src"))},
                stdout=subprocess.PIPE,
                stderr=log,
                preexec_fn=pinned,
            )
        processes.append(emulator)
        command = [
            shutil.which("nginx", path=path) or "nginx",
            "-c",
            str(directory / "nginx.conf"),
            "-g",
            "daemon off;",
        ]
        with (directory / "nginx.log").open("wb") as log:
            processes.append(subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=pinned))
        assert emulator.stdout is not None
        if emulator.stdout.readline().strip() != b"ready":
            raise Missing(f"the emulator did not start; {directory / 'emulator.log'} says why")
        rig = Rig(ports, directory)
        _wait_for(rig, processes[1])
        yield rig
    finally:
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait()


def _pinned(core: int) -> Callable[[], None]:
    return lambda: os.sched_setaffinity(0, {core})


def _wait_for(rig: Rig, nginx: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            rig.counted()
        except OSError:
            if nginx.poll() is not None or time.monotonic() > deadline:
                raise Missing(f"nginx did not start; {rig.directory}/nginx.log and error.log say why") from None
            time.sleep(0.05)
        else:
            return


def _configure(directory: Path, modules: Path, ports: dict[str, int]) -> None:
    words = {
        **{name: str(port) for name, port in ports.items()},
        "MODULES": str(modules),
        "RUN": str(directory),
        "DATA": str(DATA),
        "BUCKET": BUCKET,
        "IMPORTS": IMPORTS_TABLE,
        "USERS": USERS_TABLE,
        "PLAIN": PLAIN_TABLE,
    }
    for name in ("nginx.conf", "s3.conf", "dynamodb.conf", "answers.lua"):
        text = (HERE / name).read_text(encoding="utf-8")
        for word, value in words.items():
            text = text.replace(f"@{word}@", value)
        (directory / name).write_text(text, encoding="utf-8")


def _certificate(directory: Path) -> None:
    if (directory / "cert.pem").exists():
        return
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "3650", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *("-keyout", str(directory / "key.pem"), "-out", str(directory / "cert.pem")),
        ],
        check=True,
        capture_output=True,
    )


def _free_ports(count: int) -> list[int]:
    listeners = [socket.socket() for _ in range(count)]
    try:
        for listener in listeners:
            listener.bind(("127.0.0.1", 0))
        return [listener.getsockname()[1] for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()
