"""True SIGKILL of processes that run the Lambda entry points, and faults on real sockets (hazards H2, F8, C1).

The other fault tests act deaths and broken connections in one process, in virtual time; here the kernel does it. What
is proven is the same: the books balance, and whatever comes late changes nothing.
"""

import gzip
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.faults.files import many_rows
from tests.faults.processes import (
    GRID_BYTES,
    INVOCATION_SECONDS,
    PART_BYTES,
    WIRE_FAULTS,
    Fault,
    Lambda,
    Plan,
    Planner,
    ServedCloud,
)
from tests.support.books import assert_books_balance, essence
from tests.support.scenarios import seed

pytestmark = pytest.mark.xdist_group("processes")


def _table(rows: int) -> bytes:
    lines = [b"user_id,event_name,event_time_ts,n,note"]
    for number in range(rows):
        note = [b"plain", b'"two\nlines"', b'in"side', b"x" * 90][number % 4]
        time = b"2012-10-15 04:%02d:%02d" % (number // 60 % 60, number % 60) if number % 9 != 4 else b"yesterday"
        lines.append(b"user-%d,login,%s,%d,%s" % (number % 7, time, number, note))
    return b"\r\n".join(lines) + b"\r\n"


def _members(body: bytes, count: int) -> bytes:
    size = -(-len(body) // count)
    return b"".join(gzip.compress(body[at : at + size], mtime=0) for at in range(0, len(body), size))


FOUR_PARTS = many_rows(1_000)
FILES = {
    "imports/four parts.ndjson": FOUR_PARTS,
    "imports/crlf.json": many_rows(1_300, b"\r\n"),
    "imports/members.json.gz": _members(many_rows(900), 5),
    "imports/tables/people.csv": _table(900),
    "imports/small.json": many_rows(20),
}


def test_the_files_are_of_the_kinds_they_are_to_be():
    """Four parts and more, each of several batches; so many bad rows that the errors are made in pieces."""
    assert len(FOUR_PARTS) > 3 * PART_BYTES > 8 * GRID_BYTES
    assert PART_BYTES % GRID_BYTES == 0


@dataclass
class Installation:
    cloud: ServedCloud
    functions: Lambda
    sources: dict[str, bytes]

    def drop(self, key: str, body: bytes) -> None:
        self.sources[key] = body
        self.functions.notify(self.cloud.drop(key, body, Metadata={"sender": "nightly"}))

    def assert_all_is_well(self) -> None:
        """The books balance; and every notification and message once more changes nothing."""
        assert_books_balance(self.cloud, self.sources)
        before = essence(self.cloud)
        functions = self.functions
        for notification in list(functions.notifications):
            functions.invoke("lambda_handler", notification, Plan())
        for body in sorted(functions.messages):
            functions.invoke("part_handler", {"Records": [{"body": body}]}, Plan())
        functions.run(None, 0)
        assert essence(self.cloud) == before, "something late made a difference"


@contextmanager
def installation(sinks: str, chosen: int, in_parallel: int = 3) -> Iterator[Installation]:
    """Prints the seed, and what every invocation met with if the block fails."""
    names = ("dynamodb", "firehose") if sinks == "both" else (sinks,)
    with ServedCloud(stream="firehose" in names, tables_are_written="dynamodb" in names) as cloud:
        cloud.put_item(
            cloud.imports_table,
            {"pk": "IMPORT#tables", "sk": "IMPORT", "definition": {"id": "tables", "mime_type": "TEXT_CSV"}},
        )
        with Lambda(cloud, chosen, sinks, in_parallel) as functions:
            try:
                yield Installation(cloud, functions, {})
            except BaseException:
                print(f"FAULT_SEED={chosen}", *functions.log, sep="\n", file=sys.stderr)
                raise


def killed_at_random(chance: random.Random, handler: str) -> Plan:
    """Most invocations die: somewhere in their time, or at a call, before or after AWS has made it."""
    seconds = chance.choice([1.0, 2.0, INVOCATION_SECONDS])
    match chance.randrange(5):
        case 0 | 1:
            return Plan(kill_after_s=chance.uniform(0.02, 1.5), seconds=seconds)
        case 2 | 3:
            kind = chance.choice(["kill_before", "kill_after"])
            return Plan(Fault(kind, chance.randrange(1, 60)), seconds=seconds)
        case _:
            return Plan(seconds=seconds)


def killed_or_cut_off(chance: random.Random, handler: str) -> Plan:
    """Deaths and broken connections mixed."""
    if chance.random() < 0.5:
        return killed_at_random(chance, handler)
    return Plan(Fault(chance.choice(WIRE_FAULTS), chance.randrange(1, 60)))


def survives(sinks: str, planner: Planner, for_s: float, rounds: int = 1) -> None:
    chosen = seed()
    print(f"FAULT_SEED={chosen}", file=sys.stderr)
    with installation(sinks, chosen) as here:
        for round_ in range(rounds):
            drops = [
                (number * for_s / len(FILES) / 2, _dropping(here, key.replace("imports/", f"imports/{round_}"), body))
                for number, (key, body) in enumerate(FILES.items())
                if "tables/" not in key
            ]
            drops += [(0, _dropping(here, f"imports/tables/{round_}.csv", FILES["imports/tables/people.csv"]))]
            here.functions.run(planner, for_s, drops)
        print(f"{dict(here.functions.ended)}, {sum(here.cloud.calls.values())} calls", file=sys.stderr)
        assert here.functions.ended["killed"] >= 1  # how many, the machine decides
        here.assert_all_is_well()


def _dropping(here: Installation, key: str, body: bytes):  # type: ignore[no-untyped-def]
    return lambda: here.drop(key, body)


def test_workers_killed_by_sigkill_leave_balanced_books():
    """Five files, three invocations at a time, most of them killed for 10 s; both sinks."""
    survives("both", killed_at_random, 10)


@pytest.mark.slow
@pytest.mark.parametrize("sinks", ["dynamodb", "firehose", "both"])
def test_many_kills_and_broken_connections_leave_balanced_books(sinks: str):
    """The same files again and again, for minutes."""
    survives(sinks, killed_or_cut_off, 30, rounds=3)


# Those only large files need, and those on which hand-over, settling and the sweep rest.
CALLS = (
    "SendMessageBatch",
    "CreateMultipartUpload",
    "UploadPart",
    "UploadPartCopy",
    "ListParts",
    "CompleteMultipartUpload",
    "PutItem",
    "UpdateItem",
    "DeleteObject",
)
FAULTS = (*WIRE_FAULTS, "kill_before", "kill_after")


@pytest.mark.parametrize("each_at_each", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_fault_of_the_wire_at_every_call_of_a_large_import(each_at_each: bool):
    """A connection reset or closed before and after AWS has acted, half a reply, a 500, a late reply, a death: each
    once at each of the calls (or each once, at another call), while four-part files are imported one after another.
    """
    chosen = seed()
    print(f"FAULT_SEED={chosen}", file=sys.stderr)
    with installation("dynamodb", chosen) as here:
        faults = [Fault(kind, call) for call in CALLS for kind in FAULTS]
        random.Random(chosen).shuffle(faults)
        if not each_at_each:
            faults = [Fault(kind, call) for kind, call in zip(FAULTS, dict.fromkeys(f.at for f in faults), strict=True)]
        planned = sorted(f"{fault.kind} {fault.at}" for fault in faults)
        here.cloud.pending = faults
        for number in range(20):
            here.functions.run(None, 0, [(0, _dropping(here, f"imports/{number}.json", many_rows(700 + number)))])
            if not faults:
                break
        print(f"{number + 1} files, {dict(here.functions.ended)}", file=sys.stderr)
        assert sorted(here.cloud.struck) == planned
        here.assert_all_is_well()
