"""What is imported while things go wrong: a file, and how the importer is set up for it. Every fault meets each.

Writes of three seconds and time-outs of twelve make three continuations of a file that fits on a page.
"""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.faults.files import FILES, many_rows, row
from tests.faults.importing import Importer, installed
from tests.support.cloud import Dropped
from tests.support.scenarios import CleanCall, in_copy

NEWER = row(99) + b"\n" + b"not json\n"
NEWER_TABLE = b"user_id,event_name,event_time_ts\nnew,login,2012-10-15 04:06:30\nnew,login\n"
PARTS = many_rows(55)
HOPS = many_rows(60)


@dataclass(frozen=True)
class Workload:
    """A file, and how the importer is set up.

    Attributes:
        told: whether S3 tells of it; else the sweep has to find it.
        setup: what `installed` is told.
    """

    key: str
    body: bytes
    told: bool = True
    setup: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def newer(self) -> bytes:
        """Another file for the same key."""
        return NEWER_TABLE if ".csv" in self.key else NEWER

    @property
    def versioned(self) -> bool:
        return bool(self.setup.get("versioned", True))


FOUR_PARTS = {"part_bytes": 2048}
BY_BOTOCORE_ALONE = {"quick": False}  # where the sinks' own transport is not to be used; elsewhere it is
SHORT_HOPS = {"write_ms": 3_000, "import_seconds": 12, "hop_seconds": 12}


def _in_members(body: bytes, count: int) -> bytes:
    size = -(-len(body) // count)
    return b"".join(gzip.compress(body[at : at + size], mtime=0) for at in range(0, len(body), size))


WORKLOADS: dict[str, Workload] = {
    "tiny": Workload(*FILES["vendor's sample"]),
    "empty": Workload(*FILES["empty"]),
    "medium": Workload(*FILES["medium"], setup={"topic": True}),
    "CRLF": Workload(*FILES["CRLF"]),
    "all bad": Workload(*FILES["all bad"]),
    "long lines": Workload(*FILES["long lines"]),
    "gzip": Workload("imports/one.json.gz", gzip.compress(FILES["medium"][1], mtime=0)),
    "gzip, two members": Workload(*FILES["gzip of two members"]),
    "long lines, gzip": Workload(*FILES["long lines, gzip"]),
    "zstd": Workload(*FILES["zstd"]),
    "CSV": Workload(*FILES["CSV"]),
    "CSV, gzip": Workload(*FILES["CSV, gzip"]),
    "four parts": Workload("imports/parts.json", PARTS, setup=FOUR_PARTS),
    "four parts, CRLF, told by the sweep": Workload(
        "imports/tables x/parts.json", many_rows(50, b"\r\n"), told=False, setup=FOUR_PARTS
    ),
    "four parts, in pieces": Workload("imports/parts.json", PARTS, setup={**FOUR_PARTS, "small_pieces": True}),
    "three continuations": Workload("imports/hops.json", HOPS, setup=SHORT_HOPS),
    "three continuations, gzip": Workload("imports/hops.json.gz", _in_members(HOPS, 5), setup=SHORT_HOPS),
    "three continuations, CSV": Workload(
        "imports/tables/hops.csv", FILES["CSV"][1] + 2 * FILES["CSV"][1].partition(b"\n")[2], setup=SHORT_HOPS
    ),
    # As deployed: a position is saved behind several batches, sooner at first; the bad rows of all of them go together.
    "seldom saved": Workload("imports/seldom.json", HOPS, setup={"progress_every_ms": 60_000, "write_ms": 300}),
    "stream": Workload(*FILES["medium"], setup={"sinks": ("firehose",)}),
    "both sinks, four parts": Workload(
        "imports/both.json", many_rows(50), setup={**FOUR_PARTS, "sinks": ("dynamodb", "firehose")}
    ),
    "both sinks, gzipped records": Workload(
        *FILES["medium"], setup={"sinks": ("dynamodb", "firehose"), "stream_gzip": True, **BY_BOTOCORE_ALONE}
    ),
    "user properties": Workload(
        "imports/users.json",
        b"\n".join(row(number, **{"{u}city": f"c{number % 7}", "{u}age": number}) for number in range(20)),
    ),
    "notes, four parts": Workload(
        "imports/notes.json",
        b"\n".join(
            row(n) if n % 4 or n < 30 else row(n).replace(b'"user-', b'"null", "was":"user-') for n in range(50)
        ),
        setup=FOUR_PARTS,
    ),
    "CSV, in pieces": Workload(*FILES["CSV"], setup={"small_pieces": True, **BY_BOTOCORE_ALONE}),
    "unversioned": Workload(*FILES["medium"], setup={"versioned": False, **BY_BOTOCORE_ALONE}),
    "unversioned, four parts": Workload("imports/parts.json", PARTS, setup={**FOUR_PARTS, "versioned": False}),
}


@dataclass
class Stage:
    """A cloud in which a file was dropped, and nobody has done anything yet; and the calls of a clean run from here."""

    name: str
    workload: Workload
    importer: Importer
    notification: dict[str, Any]
    calls: list[CleanCall] = field(default_factory=list)

    @property
    def sources(self) -> dict[str, bytes]:
        return {self.workload.key: self.workload.body}

    @property
    def upload(self) -> Dropped:
        return self.importer.cloud.dropped[0]

    def tell(self) -> None:
        if self.workload.told:
            self.importer.notify(self.notification)


@contextmanager
def stage_of(name: str, **more: Any) -> Iterator[Stage]:
    """A workload, ready to be run.

    Args:
        more: for `installed`, beside what the workload says.
    """
    workload = WORKLOADS[name]
    with installed(watched=True, **{**workload.setup, **more}) as importer:
        notification = importer.cloud.drop(
            workload.key, workload.body, Metadata={"sender": "nightly"}, Tagging="team=web"
        )
        stage = Stage(name, workload, importer, notification)

        def clean() -> list[CleanCall]:
            calls: list[CleanCall] = []
            importer.cloud.wire.watchers.append(lambda call, answer: calls.append(CleanCall.of(call)))
            stage.tell()
            importer.run_until_quiet()
            return calls

        stage.calls = in_copy(clean)
        yield stage
