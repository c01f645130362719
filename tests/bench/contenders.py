"""Who is measured at what: contenders, and the scenarios they meet in."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from tests.bench.generate import BLOCK_ROWS, Expected

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BENCH_PYTHON = ROOT / ".bench" / "venv" / "bin" / "python"
NODE_HOME = ROOT / ".bench" / "node"
KEY: Final = "KEY"  # of the object to import, in a command
CALL_ITEMS: Final = 25
CALL_RECORDS: Final = 500
OURS: Final = "ours"


@dataclass(frozen=True)
class Contender:
    """A program that imports one object. `says` is what it is, in a table."""

    name: str
    says: str
    command: tuple[str, ...]
    sink: str = "dynamodb"

    @property
    def is_ours(self) -> bool:
        return self.name.startswith(OURS)

    def wrong(self, expected: Expected, said: Mapping[str, Any], counted: Mapping[str, int]) -> list[str]:
        """What does not add up: what the client says, and what came over the wire."""
        good = expected.good
        wanted: dict[str, int] = {"good": good, "bad": expected.bad_rows}
        found: dict[str, int] = {name: said[name] for name in wanted}
        if self.sink == "dynamodb":
            wanted["items"] = good
            if not self.is_ours:
                wanted["BatchWriteItem"] = -(-good // CALL_ITEMS)
            if self.name == "update_users":
                wanted["UpdateItem"] = good
        elif "gzip" in self.command:
            wanted["gzip_records"] = counted.get("records", 0)
        else:
            wanted["lines"] = good
            if not self.is_ours:
                wanted |= {"records": good, "calls": -(-good // CALL_RECORDS)}
        if self.is_ours:
            wanted |= {"source_delete": 1} | {f"bad: {code}": count for code, count in expected.reasons().items()}
            for group in said["receipt"]["reasons"]:
                name = f"bad: {group['code']}"
                found[name] = found.get(name, 0) + group["count"]
        found |= {name: counted.get(name, 0) for name in wanted if name not in found}
        return [f"{name}: {found[name]:,}, not {wanted[name]:,}" for name in wanted if found[name] != wanted[name]]


def _python(name: str, says: str, sink: str = "dynamodb") -> Contender:
    return Contender(name, says, (str(BENCH_PYTHON), str(HERE / "baselines" / f"{name}.py"), KEY), sink)


def _ours(name: str, says: str, *sink: str) -> Contender:
    return Contender(name, says, (sys.executable, str(HERE / "ours.py"), KEY, *sink), sink[0])


CONTENDERS: Final = {
    contender.name: contender
    for contender in (
        _python("typical", "iter_lines + json + Table.batch_writer"),
        _python("low_level", "iter_lines + json + client.batch_write_item"),
        _python("smart_open_orjson", "smart_open + orjson + Table.batch_writer"),
        _python("aws_wrangler", "iter_lines + json + awswrangler"),
        Contender("node_sdk", "Node.js, AWS SDK v3", ("node", str(NODE_HOME / "node_sdk.mjs"), KEY)),
        _ours(OURS, "this importer, DynamoDB", "dynamodb"),
        _python("one_event_records", "iter_lines + json + 500 records of one event", "firehose"),
        _ours("ours_firehose", "this importer, Firehose", "firehose"),
        _ours("ours_gzip", "this importer, Firehose, gzip", "firehose", "gzip"),
        _python("update_users", "typical, and one update of the user a row"),
    )
}


@dataclass(frozen=True)
class Trial:
    """A contender, and which share of the rows it is given; `once`: not in every round.

    What takes a hundred microseconds an event is not kept at it for a million of them: all is compared per event.
    """

    name: str
    share: Fraction = Fraction(1)
    size: str = ""
    once: bool = False

    @property
    def contender(self) -> Contender:
        return CONTENDERS[self.name]

    @property
    def key(self) -> str:
        return f"{self.name}, {self.size}" if self.size else self.name

    @property
    def says(self) -> str:
        return f"{self.contender.says}, {self.size}" if self.size else self.contender.says

    def rows(self, of: int) -> int:
        """Whole blocks, where there is more than one."""
        wanted = max(int(of * self.share), 1_000)
        return wanted if wanted <= BLOCK_ROWS else wanted // BLOCK_ROWS * BLOCK_ROWS


@dataclass(frozen=True)
class Scenario:
    """Trials that take turns. `way` is one of `rig.WAYS`."""

    says: str
    way: str
    trials: tuple[Trial, ...]
    users: bool = False
    words: tuple[str, ...] = ()


_TENTH, _FIFTIETH = Fraction(1, 10), Fraction(1, 50)
# As much of the million rows as is one part: a larger file is read once more, for its hash.
_PART = Fraction(7, 10)

SCENARIOS: Final = {
    "dynamodb": Scenario(
        "DynamoDB, CPU",
        "plain",
        (
            Trial("typical", _TENTH),
            Trial("low_level", _TENTH),
            Trial("smart_open_orjson", _TENTH),
            Trial("aws_wrangler", _TENTH),
            Trial("node_sdk", _TENTH),
            Trial(OURS),
        ),
    ),
    "tls": Scenario("DynamoDB over TLS, CPU", "tls", (Trial("typical", _TENTH), Trial(OURS))),
    "latency": Scenario(
        "DynamoDB with latency, wall clock",
        "latency",
        (Trial("typical", _FIFTIETH), Trial(OURS, _PART)),
        words=("Here events by the clock on the wall are what counts.",),
    ),
    "firehose": Scenario(
        "Firehose, CPU",
        "plain",
        (Trial("one_event_records", Fraction(1, 5)), Trial("ours_firehose"), Trial("ours_gzip")),
    ),
    "firehose_latency": Scenario(
        "Firehose with latency, wall clock",
        "latency",
        (Trial("ours_firehose", _PART), Trial("ours_gzip", _PART)),
        words=(
            "The link could give 250 thousand of these events a second. The file is one part: one of several parts is",
            "read once more, for its hash.",
        ),
    ),
    "users": Scenario(
        "Two properties of the user a row, CPU", "plain", (Trial("update_users", _FIFTIETH), Trial(OURS, _TENTH)), True
    ),
    "growth": Scenario(
        "As the file grows",
        "plain",
        (
            Trial("ours_firehose", _TENTH, "small"),
            Trial("ours_firehose", Fraction(1), "middle", once=True),
            Trial("ours_firehose", Fraction(10), "large", once=True),
            Trial(OURS, _TENTH, "small"),
            Trial(OURS, Fraction(1), "middle", once=True),
            Trial(OURS, Fraction(10), "large", once=True),
        ),
    ),
}
