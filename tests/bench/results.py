"""From what was measured to ratios, and to what was promised (pure)."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, TypeAlias

from tests.bench.rig import LINK_BYTES_PER_SECOND


@dataclass(frozen=True)
class Run:
    """One run of one contender, by its own clock and by what came over the wire."""

    rows: int
    events: int
    source_bytes: int
    cpu_seconds: float
    wall_seconds: float
    peak_rss_bytes: float
    start_cpu_seconds: float
    calls: float
    billed_bytes: float = 0

    @property
    def cpu_us(self) -> float:
        """Microseconds of CPU an event."""
        return self.cpu_seconds / self.events * 1e6

    @property
    def events_a_second(self) -> float:
        """By the clock on the wall."""
        return self.events / self.wall_seconds

    @property
    def link_share(self) -> float:
        return self.source_bytes / self.wall_seconds / LINK_BYTES_PER_SECOND

    @property
    def billed_an_event(self) -> float:
        return self.billed_bytes / self.events

    @property
    def peak_rss_mb(self) -> float:
        return self.peak_rss_bytes / 1e6


def median(runs: Sequence[Run]) -> Run:
    """Of each figure on its own."""
    return Run(*(statistics.median(getattr(run, field.name) for run in runs) for field in fields(Run)))


@dataclass(frozen=True)
class Step:
    """A step of the ladder: microseconds of CPU an event, what it adds and with all before it."""

    name: str
    says: str
    adds_us: float
    so_far_us: float


def steps(so_far_us: Mapping[str, float], says: Mapping[str, str]) -> list[Step]:
    """The ladder from what each step takes with all before it, in order."""
    found: list[Step] = []
    before = 0.0
    for name, total in so_far_us.items():
        found.append(Step(name, says[name], round(total - before, 3), round(total, 3)))
        before = total
    return found


Medians: TypeAlias = Mapping[tuple[str, str], Run]  # (scenario, trial)


@dataclass(frozen=True)
class Ratio:
    """A figure of `latest.json`: what it is of, and what was promised of it ("at least" what is worst allowed)."""

    name: str
    says: str
    needs: tuple[tuple[str, str], ...]
    of: Callable[..., float]
    at_least: float | None = None
    aim: float | None = None
    smaller_is_better: bool = False
    form: str = "{:.1f} ×"

    def value(self, medians: Medians) -> float | None:
        """None where something it needs was not measured."""
        if not all(need in medians for need in self.needs):
            return None
        return self.of(*(medians[need] for need in self.needs))

    def verdict(self, value: float) -> str:
        """Against what was promised; "" where nothing was."""
        if self.at_least is None or self.aim is None:
            return ""
        if self._reaches(value, self.aim):
            return "aim met"
        return "met" if self._reaches(value, self.at_least) else "not met"

    def _reaches(self, value: float, bound: float) -> bool:
        return value <= bound if self.smaller_is_better else value >= bound


def _cpu(theirs: Run, ours: Run) -> float:
    return theirs.cpu_us / ours.cpu_us


def _against(name: str, other: str, says: str, at_least: float | None, aim: float | None) -> Ratio:
    return Ratio(name, says, (("dynamodb", other), ("dynamodb", "ours")), _cpu, at_least, aim)


def _billed(theirs: Run, ours: Run) -> float:
    return theirs.billed_an_event / ours.billed_an_event


def _rss(run: Run) -> float:
    return run.peak_rss_mb


def _growth(small: Run, large: Run) -> float:
    return large.peak_rss_mb - small.peak_rss_mb


def _per_row_growth(small: Run, large: Run) -> float:
    return large.cpu_us / small.cpu_us - 1


_MB: Final = "{:.1f} MB"
_SHARE: Final = "{:.0%}"
_FIREHOSE_GROWTH: Final = (("growth", "ours_firehose, small"), ("growth", "ours_firehose, large"))
_DYNAMODB_GROWTH: Final = (("growth", "ours, small"), ("growth", "ours, large"))

RATIOS: Final = (
    _against("dynamodb_cpu_vs_batch_writer", "typical", "DynamoDB, events a CPU second, against typical", 12, 16),
    Ratio(
        "dynamodb_wall_latency_vs_batch_writer",
        "DynamoDB with latency, wall clock, against typical",
        (("latency", "ours"), ("latency", "typical")),
        lambda ours, typical: ours.events_a_second / typical.events_a_second,
        30,
        40,
    ),
    _against("dynamodb_cpu_vs_node_sdk", "node_sdk", "DynamoDB against Node SDK v3", 6, 8),
    _against("dynamodb_cpu_vs_awswrangler", "aws_wrangler", "DynamoDB against awswrangler", 13, 16),
    _against("dynamodb_cpu_vs_smart_open", "smart_open_orjson", "DynamoDB against smart_open + orjson", 13, 16),
    _against("dynamodb_cpu_vs_low_level_client", "low_level", "DynamoDB against the low-level client", None, None),
    Ratio(
        "dynamodb_tls_cpu_vs_batch_writer",
        "DynamoDB over TLS, events a CPU second, against typical",
        (("tls", "typical"), ("tls", "ours")),
        _cpu,
    ),
    Ratio(
        "firehose_cpu_vs_one_event_records",
        "Firehose, events a CPU second, against 500 × 1 event",
        (("firehose", "one_event_records"), ("firehose", "ours_firehose")),
        _cpu,
        7,
        11,
    ),
    Ratio(
        "firehose_link_share",
        "Firehose with latency: share of the 90 MB/s link",
        (("firehose_latency", "ours_firehose"),),
        lambda ours: ours.link_share,
        0.85,
        0.94,
        form=_SHARE,
    ),
    Ratio(
        "firehose_billed_bytes_vs_one_event_records",
        "Firehose, fewer bytes billed than one event a record",
        (("firehose", "one_event_records"), ("firehose", "ours_firehose")),
        _billed,
        14,
        14,
    ),
    Ratio(
        "firehose_billed_bytes_vs_one_event_records_gzip",
        "… with gzip",
        (("firehose", "one_event_records"), ("firehose", "ours_gzip")),
        _billed,
        60,
        60,
    ),
    Ratio("dynamodb_peak_rss_mb", "Peak memory, DynamoDB", (("dynamodb", "ours"),), _rss, 90, 70, True, _MB),
    Ratio("firehose_peak_rss_mb", "Peak memory, Firehose", (("firehose", "ours_firehose"),), _rss, 120, 100, True, _MB),
    Ratio(
        "rss_growth_36mb_to_3600mb_mb",
        "Growth of it as the file grows 100 × (36 MB to 3.6 GB of a million rows), Firehose",
        _FIREHOSE_GROWTH,
        _growth,
        5,
        2,
        True,
        _MB,
    ),
    Ratio("dynamodb_rss_growth_36mb_to_3600mb_mb", "… DynamoDB", _DYNAMODB_GROWTH, _growth, 5, 2, True, _MB),
    Ratio(
        "cpu_per_row_growth_100x",
        "CPU a row as the file grows 100 ×, Firehose",
        _FIREHOSE_GROWTH,
        _per_row_growth,
        0.05,
        0.05,
        True,
        "{:+.0%}",
    ),
    Ratio(
        "dynamodb_cpu_per_row_growth_100x", "… DynamoDB", _DYNAMODB_GROWTH, _per_row_growth, 0.05, 0.05, True, "{:+.0%}"
    ),
    Ratio(
        "users_path_cpu_vs_update_item",
        "Two properties of the user a row, against batch_writer and one update of the user a row",
        (("users", "update_users"), ("users", "ours")),
        _cpu,
    ),
)


def ratios(medians: Medians) -> dict[str, float]:
    """Those that can be told."""
    values = {ratio.name: ratio.value(medians) for ratio in RATIOS}
    return {name: round(value, 4) for name, value in values.items() if value is not None}


def bar(values: Mapping[str, float]) -> list[dict[str, Any]]:
    """What was promised and what was measured; what was promised and not measured is told too."""
    told = []
    for ratio in RATIOS:
        value = values.get(ratio.name)
        if value is None and ratio.at_least is None:
            continue
        told.append(
            {
                "name": ratio.name,
                "says": ratio.says,
                "at_least": None if ratio.at_least is None else ratio.form.format(ratio.at_least),
                "aim": None if ratio.aim is None else ratio.form.format(ratio.aim),
                "measured": None if value is None else ratio.form.format(value),
                "verdict": "not measured" if value is None else ratio.verdict(value),
            }
        )
    return told


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def scenario_table(medians: Medians, scenario: str, says: Mapping[str, str]) -> list[str]:
    """What was measured in one scenario, each against the first."""
    keys = [key for name, key in medians if name == scenario]
    first = medians[(scenario, keys[0])]
    rows = []
    for key in keys:
        run = medians[(scenario, key)]
        rows.append(
            [
                says[key],
                f"{run.rows:,.0f}",
                f"{run.cpu_us:.1f}",
                f"{1e3 / run.cpu_us:,.0f}",
                f"{first.cpu_us / run.cpu_us:.1f} ×",
                f"{run.events_a_second / 1e3:,.1f}",
                f"{run.events_a_second / first.events_a_second:.1f} ×",
                f"{run.peak_rss_mb:.0f}",
                f"{run.start_cpu_seconds:.2f}",
            ]
        )
    head = ["who", "rows", "CPU µs/event", "k events/CPU s", "ratio", "k events/s", "ratio", "peak MB", "start CPU s"]
    return table(head, rows)
