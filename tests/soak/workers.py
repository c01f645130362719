"""Lambda's workers on the twin: children of the emulator, each with its function's name in its environment.

Only these are ever killed, by pid, through a handle (pidfd) taken before it is asked once more whose child it is: a
number that another process has got since cannot be hit. The emulator itself is never touched.
"""

import os
import random
import signal
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICK_MS = 1000 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Worker:
    pid: int
    function: str
    cpu_ms: int
    peak_bytes: int


class Workers:
    """The workers of the twin whose emulator has this pid."""

    def __init__(self, emulator_pid: int, seed: int) -> None:
        self._emulator_pid = emulator_pid
        self._random = random.Random(seed)
        self._cpu_ms: dict[int, int] = {}
        self.peak_bytes: dict[str, int] = {}
        self.peak_at_once = 0
        self.killed: dict[str, int] = {}

    def look(self) -> list[Worker]:
        """Those that have worked since the last look."""
        found = [worker for path in _PROC.iterdir() if path.name.isdigit() and (worker := self._worker(path))]
        busy = [worker for worker in found if worker.cpu_ms > self._cpu_ms.get(worker.pid, 0)]
        self._cpu_ms = {worker.pid: worker.cpu_ms for worker in found}
        for worker in found:
            self.peak_bytes[worker.function] = max(self.peak_bytes.get(worker.function, 0), worker.peak_bytes)
        self.peak_at_once = max(self.peak_at_once, len(busy))
        return busy

    def kill_one(self, busy: list[Worker], functions: Collection[str]) -> Worker | None:
        """SIGKILL for one of these, by chance."""
        candidates = [worker for worker in busy if worker.function in functions]
        if not candidates:
            return None
        worker = self._random.choice(candidates)
        with suppress(ProcessLookupError):
            handle = os.pidfd_open(worker.pid)
            try:
                if self._worker(_PROC / str(worker.pid)) is None:
                    return None
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            finally:
                os.close(handle)
            self.killed[worker.function] = self.killed.get(worker.function, 0) + 1
            return worker
        return None

    def emulator_bytes(self) -> int:
        """Memory of the emulator, with all it stores."""
        return _bytes_of(_PROC / str(self._emulator_pid), "VmRSS")

    def _worker(self, path: Path) -> Worker | None:
        try:
            stat = (path / "stat").read_text().rpartition(")")[2].split()
            if int(stat[1]) != self._emulator_pid or b"_worker.py" not in (path / "cmdline").read_bytes():
                return None
            variables = (path / "environ").read_bytes().split(b"\0")
            name = next(v for v in variables if v.startswith(b"AWS_LAMBDA_FUNCTION_NAME=")).partition(b"=")[2].decode()
            return Worker(int(path.name), name, (int(stat[11]) + int(stat[12])) * _TICK_MS, _bytes_of(path, "VmHWM"))
        except (OSError, StopIteration, IndexError):
            return None  # it has ended meanwhile


def _bytes_of(path: Path, name: str) -> int:
    with suppress(OSError):
        for line in (path / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return 0
