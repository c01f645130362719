"""The importer in real processes, killed by SIGKILL, against an AWS on real sockets that survives them.

    with ServedCloud(...) as cloud, Lambda(cloud, seed) as functions:
        functions.notify(cloud.drop("imports/a.json", BYTES))
        functions.run(faults_for_s=20)
        assert_books_balance(cloud, {"imports/a.json": BYTES})

Three players:

    ServedCloud   moto in this process behind HTTP on 127.0.0.1, as strict as `tests.support.strict`, watched by
                  `tests.support.watch`. One request is executed at a time, as DynamoDB's conditions need; each worker
                  has a line (a listening port) of its own, on which its requests are counted and spoilt.
    nursery       a process that has imported `app` once, with leases and patience in tenths (`_make_haste`), and forks
                  a worker when asked to: a new execution environment in milliseconds (`-m tests.faults.processes`).
    Lambda        this process's threads: asynchronous invocations with two retries, the part queue with a visibility
                  time-out of seconds and five receives, the sweeps, the time-out of an invocation: SIGKILL.

A seed decides what goes wrong with each invocation. It does not decide which process the kernel lets run: a failure's
seed repeats the plan, not the moment.
"""

from __future__ import annotations

import datetime
import heapq
import io
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import parse_qs, unquote, urlsplit

import moto.s3.models
from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict
from botocore.config import Config

from tests.support import cloud as clouds
from tests.support import oracle, strict, watch
from tests.support.cloud import Cloud
from tests.support.watch import Watcher
from tests.support.wire import Call, Delivery

ROOT = Path(__file__).parents[2]
GRID_BYTES = 8 << 10
LONGEST_LINE_BYTES = 16 << 10
PART_BYTES = 32 << 10
INVOCATION_SECONDS = 10.0
VISIBILITY_SECONDS = 3
RETRY_SECONDS = (0.5, 1.0)  # of an asynchronous invocation; Lambda waits one and two minutes
SWEEPS_EVERY_S = {"unfinished": 2.0, "waiting": 4.0}
MOST_TRIES = 1_000  # nothing on AWS kills as eagerly as we do: no file is to be given up here
LATENCY_S = 0.002  # of a request: so that a kill finds something under way
CALM_S = 240  # after the last fault, to become quiet in: much, as the machine may be busy with other tests


# --- an AWS on sockets --------------------------------------------------------------------------------------------


class RealClock:
    """What the support modules ask of a cloud's clock, in real time."""

    call_ms = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def now(self) -> datetime.datetime:
        return datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True)
class Fault:
    """What goes wrong on a line.

    Args:
        kind: a name in WIRE_FAULTS, or "kill_before", "kill_after".
        at: number of the call on the line, from 1; or the operation ("UploadPart"): the first one of it.
    """

    kind: str
    at: int | str

    def __str__(self) -> str:
        return f"{self.kind} at {self.at}"


WIRE_FAULTS = ("reset_before", "reset_after", "half_reply", "closed_before", "closed_after", "error_500", "slow")


class ServedCloud(Cloud):
    """A cloud whose AWS is reached by HTTP; see `Cloud` for what can be asked of it. Times are real.

    Attributes:
        pending: faults that strike whichever worker makes such a call next.
        calls: how many of each were executed for workers.
        struck: how often what went wrong.
    """

    def __enter__(self) -> ServedCloud:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self.clock = RealClock()  # type: ignore[assignment]
        self.watcher = Watcher(self)
        self.lines: list[Line] = []
        self.calls: Counter[str] = Counter()
        self.struck: Counter[str] = Counter()
        self.pending: list[Fault] = []
        self._asked: Counter[str] = Counter()
        self._app = DomainDispatcherApplication(create_backend_app)
        self._one_at_a_time = threading.RLock()
        self._serial = 0
        self._clients: dict[str, Any] = {}
        self._sequence = 0x0055AED6DCD90281E5
        self._exit = ExitStack()
        self._exit.enter_context(mock.patch.dict(os.environ, clouds._ENVIRONMENT))
        self._exit.enter_context(mock.patch.object(oracle, "LONGEST_LINE", LONGEST_LINE_BYTES))
        self._exit.enter_context(mock.patch.object(moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE", 1))
        self._exit.enter_context(mock.patch.object(watch, "MOST_TRIES", MOST_TRIES + 1))
        self._exit.callback(_forget_everything)
        _forget_everything()
        self._own_line = self.line("test", honest=True)
        self._build()
        return self

    def __exit__(self, *exception: object) -> None:
        for line in list(self.lines):
            line.close()
        self._exit.close()

    def client(self, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = clouds.shared_session().client(
                service, endpoint_url=self._own_line.url, config=Config(s3={"addressing_style": "path"})
            )
        return self._clients[service]

    @contextmanager
    def unseen(self) -> Iterator[None]:  # type: ignore[override]
        """The test's own line is honest anyway."""
        yield

    def put_item(self, table: str, item: dict[str, Any]) -> None:
        session = clouds.shared_session()
        session.resource("dynamodb", endpoint_url=self._own_line.url).Table(table).put_item(Item=item)

    def line(self, name: str, fault: Fault | None = None, honest: bool = False) -> Line:
        """A new way to this AWS."""
        line = Line(self, name, fault, honest)
        self.lines.append(line)
        return line

    def strikes(self, operation: str) -> Fault | None:
        """The next of the pending faults of this operation, for every second call of it."""
        with self._one_at_a_time:
            self._asked[operation] += 1
            found = next((fault for fault in self.pending if fault.at == operation), None)
            if found is None or self._asked[operation] % 2:
                return None
            self.pending.remove(found)
            return found

    @contextmanager
    def still(self) -> Iterator[None]:
        """Nothing changes meanwhile: the whole state can be looked at."""
        with self._one_at_a_time:
            yield

    def execute(self, line: Line, request: AWSPreparedRequest) -> AWSResponse:
        """One request, through the strict layer, seen by the watcher."""
        service, operation = operation_of(request)
        with self._one_at_a_time:
            self._serial += 1
            call = Call(line.count, service, operation, request, self, line.delivery, self._serial)
            if line.honest:
                return self._by_moto(request)
            self.calls[f"{service} {operation}"] += 1
            answer = strict.executed(call, lambda: self._by_moto(call.request))
            self.watcher(call, answer)
            return answer

    def _by_moto(self, request: AWSPreparedRequest) -> AWSResponse:
        from werkzeug.test import run_wsgi_app

        parts = urlsplit(request.url)
        body = request.body or b""
        environ: dict[str, Any] = {
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(parts.path).encode().decode("latin-1"),
            "RAW_URI": f"{parts.path}?{parts.query}" if parts.query else parts.path,
            "REQUEST_URI": f"{parts.path}?{parts.query}" if parts.query else parts.path,
            "QUERY_STRING": parts.query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(parts.port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.input_terminated": True,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in request.headers.items():
            text = value.decode() if isinstance(value, bytes) else value
            key = name.upper().replace("-", "_")
            environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = text
        environ["CONTENT_LENGTH"] = str(len(body))
        chunks, status, headers = run_wsgi_app(self._app.get_application(environ), environ, buffered=True)
        from moto.core.botocore_stubber import MockRawResponse

        return AWSResponse(
            request.url, int(status.split()[0]), HeadersDict(dict(headers)), MockRawResponse(b"".join(chunks))
        )


def _forget_everything() -> None:
    from moto.moto_api._internal.models import moto_api_backend

    moto_api_backend.reset()


class Line:
    """One worker's way to AWS: a port of its own. It counts requests and spoils the one it is told to."""

    def __init__(self, cloud: ServedCloud, name: str, fault: Fault | None, honest: bool) -> None:
        self.cloud = cloud
        self.delivery = Delivery(name)
        self.honest = honest
        self.count = 0
        self.kill: Callable[[], None] = lambda: None
        self._fault = fault
        self._lock = threading.Lock()
        line = self

        class Handler(_Handler):
            pass

        Handler.line = line
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def arm(self, fault: Fault | None) -> None:
        """What goes wrong next; the calls are counted from here."""
        with self._lock:
            self._fault, self.count = fault, 0

    def strikes(self, operation: str) -> str | None:
        """Count a request, and say what is to go wrong with it."""
        with self._lock:
            self.count += 1
            fault = self._fault if self._fault is not None and self._fault.at in (self.count, operation) else None
            if fault is not None:
                self._fault = None
        fault = fault or self.cloud.strikes(operation)
        if fault is None:
            return None
        self.cloud.struck[f"{fault.kind} {operation}"] += 1
        return fault.kind

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        if self in self.cloud.lines:
            self.cloud.lines.remove(self)


class _Handler(BaseHTTPRequestHandler):
    """HTTP on one connection. What breaks is broken by the kernel: RST, FIN, half of an answer."""

    protocol_version = "HTTP/1.1"
    line: Line

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:  # the worker was killed
            self.close_connection = True

    def _serve(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(size)
        if len(body) < size:
            self.close_connection = True  # it was killed while it sent: nothing is executed
            return
        line = self.line
        request = AWSPreparedRequest(
            self.command, f"{line.url}{self.path}", HeadersDict(dict(self.headers.items())), body, False
        )
        if not line.honest:
            time.sleep(LATENCY_S)
        kind = None if line.honest else line.strikes(operation_of(request)[1])
        match kind:
            case "kill_before":
                line.kill()
            case "reset_before":
                self._reset()
            case "closed_before":
                self.close_connection = True
            case "error_500":
                self._send(_error_500(line, request))
            case "kill_after":
                line.cloud.execute(line, request)
                line.kill()
            case "reset_after":
                line.cloud.execute(line, request)
                self._reset()
            case "closed_after":
                line.cloud.execute(line, request)
                self.close_connection = True
            case "half_reply":
                self._send(line.cloud.execute(line, request), half=True)
            case "slow":
                answer = line.cloud.execute(line, request)
                time.sleep(0.5)
                self._send(answer)
            case _:
                self._send(line.cloud.execute(line, request))

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

    def _send(self, answer: AWSResponse, half: bool = False) -> None:
        body = b"" if self.command == "HEAD" else answer.raw.read()
        lines = [f"HTTP/1.1 {answer.status_code} {self.responses.get(answer.status_code, ('',))[0]}"]
        lengths = {name.lower() for name in answer.headers}
        lines += [
            f"{name}: {value}"
            for name, value in answer.headers.items()
            if name.lower() not in ("connection", "transfer-encoding", "content-length")
        ]
        stated = (
            answer.headers.get("Content-Length") if self.command == "HEAD" and "content-length" in lengths else None
        )
        lines.append(f"Content-Length: {stated if stated is not None else len(body)}")
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace")
        sent = head + body
        if half:
            sent = sent[: len(sent) // 2]
            self.close_connection = True
        self.wfile.write(sent)

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, format: str, *arguments: Any) -> None: ...


def _error_500(line: Line, request: AWSPreparedRequest) -> AWSResponse:
    service, operation = operation_of(request)
    call = Call(line.count, service, operation, request, line.cloud, line.delivery)
    code = {"s3": "InternalError", "dynamodb": "InternalServerError"}.get(service, "InternalFailure")
    return strict.refusal(call, code, "We encountered an internal error. Please try again.", 500)


def operation_of(request: AWSPreparedRequest) -> tuple[str, str]:
    """Service and operation of a request, as botocore names them."""
    target = request.headers.get("X-Amz-Target")
    if target:
        prefix, operation = (target.decode() if isinstance(target, bytes) else target).split(".")
        return prefix.split("_")[0].lower().replace("amazonsqs", "sqs"), operation
    query = parse_qs(urlsplit(request.url).query, keep_blank_values=True)
    copied = "x-amz-copy-source" in {name.lower() for name in request.headers}
    match request.method:
        case "PUT" if "partNumber" in query:
            name = "UploadPartCopy" if copied else "UploadPart"
        case "PUT":
            name = "CopyObject" if copied else "PutObject"
        case "POST" if "uploads" in query:
            name = "CreateMultipartUpload"
        case "POST":
            name = "CompleteMultipartUpload" if "uploadId" in query else "DeleteObjects"
        case "DELETE":
            name = "AbortMultipartUpload" if "uploadId" in query else "DeleteObject"
        case "HEAD":
            name = "HeadObject"
        case _ if "uploadId" in query:
            name = "ListParts"
        case _ if "versions" in query:
            name = "ListObjectVersions"
        case _ if "list-type" in query:
            name = "ListObjectsV2"
        case _:
            name = "GetObjectTagging" if "tagging" in query else "GetObject"
    return "s3", name


# --- the nursery and its workers: other processes -------------------------------------------------------------------


def _make_haste() -> None:
    """What takes minutes on AWS takes tenths of seconds here, in proportion; sizes, too: a file of a hundred KiB has
    all that a large one has. Only the scale differs: no rule does.
    """
    from importer import assembly, batches, csv_rows, lines, parts
    from importer.aws import copying, reading, transport
    from importer.aws.settings import Settings
    from importer.executions import holding, importing, joining, notebook, sweeping, waiting

    quick: dict[Any, dict[str, Any]] = {
        importing: {"TRIES": MOST_TRIES},
        holding: {
            "LEASE_MS": 2_500,
            "RENEW_MS": 500,
            "FIRST_SAVE_MS": 50,
            "WATCH_MS": (30, 300),
            "THROTTLED_DELAY_S": (1, 1),
        },
        sweeping: {"PATIENCE_MS": 3_000, "LONGEST_PATIENCE_MS": 6_000, "_CLOCKS_DIFFER_MS": 200, "RESERVE_MS": 200},
        waiting: {"GRACE_MS": 1_000, "RESERVE_MS": 200},
        notebook: {"KEEP_EVERY_MS": 50},
        assembly: {"PROGRESS_EVERY_MS": 200, "IN_FLIGHT": 3, "QUICK_IN_FLIGHT": 5},
        parts: {"GRID_BYTES": GRID_BYTES},
        batches: {"GRID_BYTES": GRID_BYTES},
        lines: {"MAX_LINE_BYTES": LONGEST_LINE_BYTES},
        csv_rows: {"MAX_LINE_BYTES": LONGEST_LINE_BYTES},
        joining: {"PIECE_BYTES": 6_000, "MOST_SEGMENTS": 3, "LARGE_PIECE_BYTES": 12_000, "LARGE_PIECES_FROM": 4},
        copying: {"COPY_BYTES": 60_000, "PIECE_BYTES": 20_000},
        reading: {"READ_BYTES": 4_000, "GET_BYTES": 30_000},
        transport: {"listeners": lambda client, event: []},  # moto listens to every client, here for nothing
    }
    for room, constants in quick.items():
        for name, value in constants.items():
            if not hasattr(room, name):
                raise AttributeError(f"{room.__name__} has no {name} any more: teach {__name__}")
            setattr(room, name, value)
    whole = Settings.of

    def small_parts(*environment: Any) -> Settings:
        from dataclasses import replace

        return replace(whole(*environment), part_bytes=PART_BYTES)

    Settings.of = small_parts  # type: ignore[method-assign,assignment]


def nursery(control: socket.socket) -> None:
    """Fork a worker for each request that comes with a socket; ends with its parent."""
    import app
    from importer.aws import clients

    _make_haste()
    for service in ("s3", "dynamodb", "sqs", "firehose"):
        clients.session().create_client(service)  # loads the models once for all
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    control.send(b"ready")
    while True:
        request, handles, _, _ = socket.recv_fds(control, 1 << 16, 1)
        if not request:
            return
        if os.fork() == 0:
            control.close()
            with socket.socket(fileno=handles[0]) as line:
                os.environ["AWS_ENDPOINT_URL"] = request.decode()
                _work(app, line)
            os._exit(0)
        os.close(handles[0])


def _work(app: Any, line: socket.socket) -> None:
    """One execution environment: say who we are, then one invocation after another."""
    with line.makefile("rw", encoding="utf-8") as talk:
        talk.write(json.dumps({"pid": os.getpid()}) + "\n")
        talk.flush()
        for text in talk:
            asked = json.loads(text)
            until = time.monotonic() + asked["seconds"]

            class Context:
                function_name = asked["handler"]
                memory_limit_in_mb = 512
                invoked_function_arn = f"arn:aws:lambda:us-east-1:123456789012:function:{asked['handler']}"
                aws_request_id = asked["request_id"]

                @staticmethod
                def get_remaining_time_in_millis(until: float = until) -> int:
                    return max(0, round((until - time.monotonic()) * 1000))

            try:
                said = {"result": getattr(app, asked["handler"])(asked["event"], Context())}
            except Exception as error:  # noqa: BLE001  Lambda does the same: whatever it is, it is told
                said = {"error": f"{type(error).__name__}: {error}"}
            talk.write(json.dumps(said) + "\n")
            talk.flush()


# --- Lambda: what starts workers, and ends them ---------------------------------------------------------------------


@dataclass
class Worker:
    """A process, its line to AWS, and a handle by which no other process can be hit."""

    pid: int
    handle: int
    line: Line
    talk: socket.socket
    rest: bytes = b""

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, signal.SIGKILL)

    def ask(self, question: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """Its answer; None if it is dead. It has so many seconds to live."""
        until = time.monotonic() + seconds
        with suppress(OSError):
            self.talk.sendall(json.dumps(question).encode() + b"\n")
            while b"\n" not in self.rest:
                left = until - time.monotonic()
                if left <= 0:
                    self.kill()
                    return None
                self.talk.settimeout(left)
                try:
                    got = self.talk.recv(1 << 16)
                except TimeoutError:
                    continue
                if not got:
                    return None
                self.rest += got
            text, _, self.rest = self.rest.partition(b"\n")
            answer: dict[str, Any] = json.loads(text)
            return answer
        return None

    def close(self) -> None:
        self.kill()
        self.talk.close()
        self.line.close()
        os.close(self.handle)


@dataclass
class Plan:
    """What goes wrong with one invocation."""

    fault: Fault | None = None
    kill_after_s: float | None = None
    seconds: float = INVOCATION_SECONDS

    def __str__(self) -> str:
        after = "" if self.kill_after_s is None else f" killed after {self.kill_after_s:.2f} s"
        return f"{self.seconds:.1f} s{after}{'' if self.fault is None else f', {self.fault}'}"


@dataclass(order=True)
class _Due:
    at: float
    number: int
    run: Callable[[], None] = field(compare=False)


Planner = Callable[[random.Random, str], Plan]


class Lambda:
    """The functions, as AWS runs them; `in_parallel` invocations at a time.

    Attributes:
        ended: how invocations ended: "killed", "raised", "done".
        log: one line for each invocation.
    """

    def __init__(self, cloud: ServedCloud, seed: int, sinks: str = "dynamodb", in_parallel: int = 3) -> None:
        self.cloud = cloud
        self.sinks = sinks
        self.ended: Counter[str] = Counter()
        self.log: list[str] = []
        self.messages: set[str] = set()
        self.notifications: list[dict[str, Any]] = []
        self.planner: Planner | None = None
        self._random = random.Random(seed)
        self._in_parallel = in_parallel
        self._lock = threading.Lock()
        self._nursing = threading.Lock()
        self._due: list[_Due] = []
        self._number = 0
        self._busy = 0
        self._idle: list[Worker] = []
        self._errors: list[BaseException] = []
        self._began = time.monotonic()
        self._next_sweep = dict.fromkeys(SWEEPS_EVERY_S, 0.0)

    def __enter__(self) -> Lambda:
        cloud = self.cloud
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ},
            **clouds._ENVIRONMENT,
            "PYTHONPATH": os.pathsep.join(str(ROOT / path) for path in (".", "src", "src/handler")),
            "BUCKET_NAME": cloud.bucket,
            "EVENTS_TABLE": cloud.events_table,
            "USERS_TABLE": cloud.users_table,
            "IMPORTS_TABLE": cloud.imports_table,
            "PART_QUEUE_URL": cloud.part_queue_url,
            "DELIVERY_STREAM": cloud.delivery_stream,
            "SINKS": self.sinks,
            "POWERTOOLS_LOG_LEVEL": "CRITICAL",
        }
        self._nursery = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.processes", str(theirs.fileno())],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        self._control = ours
        ours.settimeout(60)
        if ours.recv(16) != b"ready":
            raise RuntimeError("the nursery did not start; what it said is on stderr")
        return self

    def __exit__(self, *exception: object) -> None:
        for worker in self._idle:
            worker.close()
        self._control.close()
        try:
            self._nursery.wait(5)
        except subprocess.TimeoutExpired:
            self._nursery.kill()  # our own child
            self._nursery.wait()

    # -- one invocation ----------------------------------------------------------------------------------------------

    def invoke(self, handler: str, event: dict[str, Any], plan: Plan) -> dict[str, Any] | None:
        """One invocation in a worker, a new one where none is idle. None: it did not live to answer."""
        with self._lock:
            worker = self._idle.pop() if self._idle else None
            self._number += 1
            number = self._number
        worker = worker or self._new_worker()
        worker.line.arm(plan.fault)
        worker.line.delivery.name = f"invocation {number}, {handler}"
        question = {"handler": handler, "event": event, "seconds": plan.seconds, "request_id": f"{number:08d}"}
        killer = None if plan.kill_after_s is None else threading.Timer(plan.kill_after_s, worker.kill)
        if killer is not None:
            killer.start()
        answer = worker.ask(question, plan.seconds)
        if killer is not None:
            killer.cancel()
            killer.join()
        how = "killed" if answer is None else "raised" if "error" in answer else "done"
        with self._lock:
            self.ended[how] += 1
            self.log.append(
                f"{time.monotonic() - self._began:6.2f} s  {number} {handler} {worker.pid}: {plan} → {how}"
                + (f" {answer['error']}" if answer and "error" in answer else "")
            )
            if answer is not None and self._alive(worker):
                self._idle.append(worker)
                return answer
        worker.close()
        return answer

    @staticmethod
    def _alive(worker: Worker) -> bool:
        """A Timer may have killed it just after it answered."""
        try:
            signal.pidfd_send_signal(worker.handle, 0)
        except ProcessLookupError:
            return False
        return True

    def _new_worker(self) -> Worker:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        line = self.cloud.line("worker")
        with self._nursing:
            socket.send_fds(self._control, [line.url.encode()], [theirs.fileno()])
        theirs.close()
        ours.settimeout(30)
        rest = b""
        while b"\n" not in rest:
            got = ours.recv(4096)
            if not got:
                raise RuntimeError("a worker died before it began")
            rest += got
        text, _, rest = rest.partition(b"\n")
        pid = json.loads(text)["pid"]
        worker = Worker(pid, os.pidfd_open(pid), line, ours, rest)
        line.kill = worker.kill
        return worker

    # -- what invokes them -------------------------------------------------------------------------------------------

    def notify(self, notification: dict[str, Any], delay_s: float = 0) -> None:
        """S3 tells of an object: one asynchronous invocation, two retries, then never again."""
        self.notifications.append(notification)

        def deliver(retries: tuple[float, ...]) -> None:
            answer = self.invoke("lambda_handler", notification, self._plan("lambda_handler"))
            if (answer is None or "error" in answer) and retries:
                self._at(retries[0], lambda: deliver(retries[1:]))

        self._at(delay_s, lambda: deliver(RETRY_SECONDS))

    def _at(self, delay_s: float, run: Callable[[], None]) -> None:
        with self._lock:
            self._number += 1
            heapq.heappush(self._due, _Due(time.monotonic() + delay_s, self._number, run))

    def _plan(self, handler: str) -> Plan:
        with self._lock:
            return Plan() if self.planner is None else self.planner(self._random, handler)

    def run(
        self, planner: Planner | None, for_s: float, drops: Sequence[tuple[float, Callable[[], None]]] = ()
    ) -> None:
        """Faults for so many seconds, then calm until nothing is left to do.

        Args:
            drops: (second, what a customer does then).
        Raises:
            AssertionError: the watcher saw something wrong; or it does not become quiet.
        """
        self.planner = planner
        self._began = time.monotonic()
        for second, drop in drops:
            self._at(second, drop)
        calm_from, until = self._began + for_s, self._began + for_s + CALM_S
        stop = threading.Event()
        threads = [threading.Thread(target=self._live, args=(stop,), daemon=True) for _ in range(self._in_parallel)]
        for thread in threads:
            thread.start()
        try:
            while not self._errors:
                time.sleep(0.25)
                now = time.monotonic()
                if now >= calm_from:
                    self.planner = None
                self.cloud.watcher.assert_nothing_wrong()
                if self._is_quiet():
                    break
                assert now < until, f"not quiet {CALM_S} s after the last fault: {self.unfinished()}"
        finally:
            stop.set()
            for thread in threads:
                thread.join(INVOCATION_SECONDS * 2)
        if self._errors:
            raise self._errors[0]
        self.cloud.watcher.assert_nothing_wrong()

    def _live(self, stop: threading.Event) -> None:
        """One of the invocations that may be at the same time: take what is due."""
        try:
            while not stop.is_set():
                with self._lock:
                    run = self._next()
                    self._busy += run is not None
                if run is None:
                    time.sleep(0.02)
                    continue
                try:
                    run()
                finally:
                    with self._lock:
                        self._busy -= 1
        except BaseException as error:  # noqa: BLE001  raised in `run`
            self._errors.append(error)

    def _next(self) -> Callable[[], None] | None:
        now = time.monotonic()
        for which, at in self._next_sweep.items():
            if now >= at:
                self._next_sweep[which] = now + SWEEPS_EVERY_S[which]
                return lambda: (self.invoke("sweep_handler", {"sweep": which}, self._plan("sweep_handler")), None)[1]
        if self._due and self._due[0].at <= now:
            return heapq.heappop(self._due).run
        received = self.cloud.client("sqs").receive_message(
            QueueUrl=self.cloud.part_queue_url, WaitTimeSeconds=0, VisibilityTimeout=VISIBILITY_SECONDS
        )
        for message in received.get("Messages", []):
            return lambda: self._part(message)
        return None

    def _part(self, message: dict[str, Any]) -> None:
        self.messages.add(message["Body"])
        event = {"Records": [{"messageId": message["MessageId"], "body": message["Body"], "eventSource": "aws:sqs"}]}
        answer = self.invoke("part_handler", event, self._plan("part_handler"))
        if answer is not None and "error" not in answer:
            self.cloud.client("sqs").delete_message(
                QueueUrl=self.cloud.part_queue_url, ReceiptHandle=message["ReceiptHandle"]
            )

    def _is_quiet(self) -> bool:
        with self._lock:
            if self._busy or self._due:
                return False
        with self.cloud.still():
            return not self.cloud.messages() and not self.unfinished()

    def unfinished(self) -> list[str]:
        """Executions not closed, and files in imports/."""
        with self.cloud.still():
            items = [item for item in self.cloud.items(self.cloud.imports_table) if item["sk"] == "EXEC"]
            waiting = [
                f"{i['parameters']['file_uri']} {i['status']} {i['phase']}" for i in items if i["phase"] != "CLOSED"
            ]
            return waiting + [key for key in self.cloud.objects("imports/") if not key.endswith("/")]


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as parent:
        nursery(parent)
