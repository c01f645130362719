"""What was measured, as docs/benchmarks has it: README.md, latest.json, and plots drawn by the baselines' Python."""

import datetime
import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from tests.bench.contenders import BENCH_PYTHON, SCENARIOS
from tests.bench.results import Step, bar, ratios, scenario_table, table

HERE = Path(__file__).parent
OURS_USES: Final = ("boto3", "botocore", "orjson")
THEY_USE: Final = ("boto3", "orjson", "smart-open", "awswrangler")


@dataclass
class Measured:
    """A whole run of the benchmark."""

    command: str
    rows: int
    rounds: int
    medians: dict[tuple[str, str], Any] = field(default_factory=dict)
    ladder: dict[str, list[Step]] = field(default_factory=dict)  # by sink
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def ratios(self) -> dict[str, float]:
        return ratios(self.medians)


def write(directory: Path, measured: Measured) -> None:
    """README.md, latest.json and the plots."""
    directory.mkdir(parents=True, exist_ok=True)
    told = latest(measured)
    (directory / "latest.json").write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    for name in ("side-by-side.png", "ladder.png"):
        (directory / name).unlink(missing_ok=True)
    subprocess.run([BENCH_PYTHON, HERE / "plots.py", directory], check=True)
    plots = [name for name in ("side-by-side.png", "ladder.png") if (directory / name).exists()]
    (directory / "README.md").write_text("\n".join(page(told, measured, plots)) + "\n", encoding="utf-8")


def latest(measured: Measured) -> dict[str, Any]:
    """latest.json."""
    says = {trial.key: trial.says for scenario in SCENARIOS.values() for trial in scenario.trials}
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "command": measured.command,
        "rows": measured.rows,
        "rounds": measured.rounds,
        "machine": {"system": platform.system(), "architecture": platform.machine(), "cores": os.cpu_count()},
        "versions": versions() | measured.versions,
        "ratios": measured.ratios,
        "bar": bar(measured.ratios),
        "medians": [
            {
                "scenario": scenario,
                "trial": trial,
                "says": says[trial],
                **{name: round(figure, 3) for name, figure in asdict(run).items()},
                "cpu_us_per_event": round(run.cpu_us, 3),
                "events_per_second": round(run.events_a_second),
            }
            for (scenario, trial), run in measured.medians.items()
        ],
        "ladder": {sink: [asdict(step) for step in steps] for sink, steps in measured.ladder.items()},
    }


def versions() -> dict[str, str]:
    """Of what was measured, and of what it was measured with."""
    asked = "import importlib.metadata as m, sys; print(*(m.version(name) for name in sys.argv[1:]))"
    theirs = subprocess.run([BENCH_PYTHON, "-c", asked, *THEY_USE], check=True, capture_output=True, text=True)
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, env={"PATH": path}).stderr
    return {
        **{name: version(name) for name in OURS_USES},
        **{f"baselines' {name}": found for name, found in zip(THEY_USE, theirs.stdout.split(), strict=True)},
        "nginx": (re.findall(r"nginx/(\S+)", said) or ["?"])[0],
    }


def page(told: Mapping[str, Any], measured: Measured, plots: Sequence[str]) -> list[str]:
    """README.md."""
    machine = told["machine"]
    lines = [
        "# Benchmarks",
        "",
        "Whole imports against what people write today, on one rig. Made by `make bench`; do not edit.",
        "",
        "*Ours* is the deployed handler from the notification to the receipt, with everything on: execution, lease,",
        "progress, retries, bad rows into errors/, hash, archive copy, metrics. *The others* read, check the three",
        "mandatory fields and write; they keep no progress, no bad rows and no books. CPU is user and system time of",
        "the client, which has a core of its own, from its first call on; its imports are in the last column. The rig",
        "answers from another core and counts what comes over the wire: a run in which a row is lost or invented is an",
        "error. Medians of interleaved rounds. Machines differ, and this one is shared: **trust ratios, not figures**.",
        "",
        f"Measured {told['date']} on {machine['system']} {machine['architecture']} with {machine['cores']} cores by",
        "",
        f"    {told['command']}",
        "",
        f"{told['rows']:,} rows of about 360 bytes, one in a hundred bad in one of fourteen ways; "
        f"rounds: {told['rounds']}.",
        "",
        "## The bar",
        "",
        *verdicts(told["ratios"]),
        "",
        "What keeps the others from being met, with figures, and what would change it: [limits](limits.md).",
        "",
    ]
    if "side-by-side.png" in plots:
        lines += ["## Side by side", "", "![Side by side](side-by-side.png)", ""]
    for name, scenario in SCENARIOS.items():
        if any(measured_in == name for measured_in, _ in measured.medians):
            says = {trial.key: trial.says for trial in scenario.trials}
            lines += [f"### {scenario.says}", ""]
            lines += [*scenario.words, ""] if scenario.words else []
            lines += [*scenario_table(measured.medians, name, says), ""]
    if measured.ladder:
        lines += [
            "## The ladder",
            "",
            "Where each microsecond goes: the same import up to one step further each time, each in a process of its",
            "own; a step's cost is what it adds. CPU µs an event, the least of all rounds.",
            "",
            *ladder_table(measured.ladder),
            "",
            *(["![The ladder](ladder.png)", ""] if "ladder.png" in plots else []),
        ]
    return [
        *lines,
        "## How",
        "",
        "`make bench` needs nginx with its lua module, openssl, node and npm, and says how to get them; the baselines'",
        'packages go under .bench/. `make bench BENCH="--help"` has the options. The programs:',
        "[tests/bench](../../tests/bench), the others [as users write them](../../tests/bench/baselines). The figures:",
        "[latest.json](latest.json). The core alone, up to 3.6 GB: [core.md](core.md).",
        "",
        "With latency: S3 20 ms to the first byte and 90 MB/s a connection, DynamoDB 5 ms and Firehose 30 ms a call.",
        "",
        *(f"- {name} {found}" for name, found in told["versions"].items()),
    ]


def verdicts(values: Mapping[str, float], with_missing: bool = True) -> list[str]:
    """A table of what was promised and what was measured; or only of what was measured."""
    rows = [
        [told["says"], told["at_least"] or "", told["aim"] or "", _bold(told["measured"]), told["verdict"]]
        for told in bar(values)
        if told["measured"] or with_missing
    ]
    return table(["", "at least", "aim", "measured", ""], rows)


def _bold(text: str | None) -> str:
    return f"**{text}**" if text else ""


def ladder_table(ladder: Mapping[str, Sequence[Step]]) -> list[str]:
    """A sink need not have a step of its own for everything another has."""
    by_name = {sink: {step.name: step for step in steps} for sink, steps in ladder.items()}
    longest = max(ladder.values(), key=len)
    head = ["step", *(f"{sink}: {what}" for sink in ladder for what in ("adds", "so far"))]
    rows = [
        [step.says, *(text for steps in by_name.values() for text in _figures(steps.get(step.name)))]
        for step in longest
    ]
    return table(head, rows)


def _figures(step: Step | None) -> tuple[str, str]:
    return ("", "") if step is None else (f"{step.adds_us:.2f}", f"{step.so_far_us:.2f}")
