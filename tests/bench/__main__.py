"""`make bench`: this importer and what people write today, side by side on one rig.

Rounds take turns (A B C, A B C …), the client has a core of its own, and what came over the wire is counted: a run that
loses or invents a row ends everything.
"""

import argparse
import json
import os
import subprocess
import sys
import uuid
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.bench import page, rig
from tests.bench.contenders import BENCH_PYTHON, CONTENDERS, KEY, NODE_HOME, SCENARIOS, Scenario, Trial
from tests.bench.generate import Expected, made
from tests.bench.results import Medians, Run, bar, median, ratios, table

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "benchmarks"
LAST = rig.DIRECTORY / "last"
NODE_FILES = ("node_sdk.mjs", "package.json")

EXAMPLES = """examples:
  make bench                                    all of it, into docs/benchmarks
  make bench BENCH="--quick"                    all of it on a tenth of the rows, once, into .bench/last
  make bench BENCH="--scenarios dynamodb --only typical,ours --rows 100000 --rounds 3"
  make bench BENCH="--scenarios firehose_latency --rounds 1"
"""


class Wrong(Exception):
    """A contender failed, or what it did does not add up."""


def main() -> int:
    arguments = _arguments()
    try:
        _require(arguments.names)
        with rig.running(arguments.server_core) as running:
            medians, versions = _measured(running, arguments)
    except rig.Missing as missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 2
    except Wrong as wrong:
        print(f"bench: {wrong}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    values = ratios(medians)
    print()
    print("\n".join(_verdicts(values)))
    out = DOCS if arguments.is_whole else LAST
    page.write(out, medians, values, versions, arguments.words, arguments.rows, arguments.rounds)
    say(f"written to {out.relative_to(ROOT)}")
    return 0


def say(step: str) -> None:
    print(f"bench: {step}", file=sys.stderr, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure this importer against what people write today.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the largest usual file; slow ones get a share")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, one round")
    parser.add_argument("--only", default="", help=f"of {', '.join(CONTENDERS)}")
    parser.add_argument("--scenarios", default="", help=f"of {', '.join(SCENARIOS)}")
    parser.add_argument("--same-rows", action="store_true", help="slow ones get all the rows too")
    parser.add_argument("--most-seconds", type=float, default=900, help="leave out what will take longer than that")
    parser.add_argument("--client-core", type=int, default=0)
    parser.add_argument("--server-core", type=int, default=1)
    parser.add_argument("--publish", action="store_true", help="into docs/benchmarks, though it is not all of it")
    arguments = parser.parse_args()
    arguments.words = sys.argv[1:]
    arguments.names = _names(parser, arguments.only, CONTENDERS)
    arguments.scenario_names = _names(parser, arguments.scenarios, SCENARIOS)
    arguments.is_whole = arguments.publish or not (arguments.quick or arguments.only or arguments.scenarios)
    if arguments.quick:
        arguments.rows, arguments.rounds = arguments.rows // 10, 1
    return arguments


def _names(parser: argparse.ArgumentParser, given: str, of: Any) -> list[str]:
    names = [name for name in given.split(",") if name]
    if unknown := set(names) - set(of):
        parser.error(f"{', '.join(sorted(unknown))}: choose from {', '.join(of)}")
    return names or list(of)


def _require(names: list[str]) -> None:
    """Raises Missing."""
    rig.require(node="node_sdk" in names)
    if not BENCH_PYTHON.exists():
        raise rig.Missing("the baselines' packages are not there: `make bench` installs them, or `make .bench/.ready`")
    if "node_sdk" in names:
        if not (NODE_HOME / "node_modules").exists():
            raise rig.Missing("the Node baseline's packages are not there: `make bench` installs them")
        for name in NODE_FILES:  # a module finds its packages beside itself
            (NODE_HOME / name).write_bytes((Path(__file__).parent / "baselines" / name).read_bytes())


def _measured(running: rig.Rig, arguments: argparse.Namespace) -> tuple[Medians, dict[str, str]]:
    medians: dict[tuple[str, str], Run] = {}
    versions: dict[str, str] = {}
    for name in arguments.scenario_names:
        scenario = SCENARIOS[name]
        trials = [trial for trial in scenario.trials if trial.name in arguments.names]
        runs: dict[str, list[Run]] = defaultdict(list)
        for number in range(arguments.rounds):
            for trial in trials:
                if trial.once and number:
                    continue
                rows = arguments.rows if arguments.same_rows else trial.rows(arguments.rows)
                forecast = _forecast(medians, runs, trial, rows)
                if forecast > arguments.most_seconds:
                    say(f"{name}: {trial.key}: left out, {rows:,} rows would take {forecast:,.0f} s")
                    continue
                run = _run(running, name, scenario, trial, rows, arguments.client_core, versions)
                runs[trial.key].append(run)
                say(
                    f"{name} {number + 1}/{arguments.rounds}: {trial.key:22} {run.rows:>10,} rows "
                    f"{run.cpu_us:7.2f} µs/event {run.events_a_second / 1e3:7.1f} k/s {run.peak_rss_mb:5.0f} MB"
                )
        medians |= {(name, trial.key): median(runs[trial.key]) for trial in trials if runs[trial.key]}
    return medians, versions


def _forecast(medians: Medians, runs: dict[str, list[Run]], trial: Trial, rows: int) -> float:
    """Seconds it will take, by what the same contender has done in this run; 0 where it has done nothing."""
    keys = [other.key for scenario in SCENARIOS.values() for other in scenario.trials if other.name == trial.name]
    known = [run for (_, key), run in medians.items() if key in keys]
    known += [run for key in keys for run in runs.get(key, [])]
    return max((rows / run.rows * run.wall_seconds for run in known if run.rows * 200 > rows), default=0.0)


def _run(
    running: rig.Rig,
    name: str,
    scenario: Scenario,
    trial: Trial,
    rows: int,
    core: int,
    versions: dict[str, str],
) -> Run:
    """Raises Wrong."""
    file, expected = made(rig.DATA, rows, users=scenario.users)
    contender = trial.contender
    key = f"imports/{file.name}/{name}-{uuid.uuid4().hex}.ndjson"
    running.counted()
    done = subprocess.run(
        [key if word == KEY else word for word in contender.command],
        env=running.environment(scenario.way),
        capture_output=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),
    )
    counted = running.counted()
    if done.returncode:
        raise Wrong(f"{contender.name} failed:\n{done.stderr.decode(errors='replace')[-4000:]}")
    said = json.loads(done.stdout.splitlines()[-1])
    if wrong := contender.wrong(expected, said, counted):
        raise Wrong(f"{name}: {contender.name} with {rows:,} rows does not add up: {'; '.join(wrong)}")
    versions |= {program: said[program] for program in ("python", "node") if program in said}
    return _run_of(expected, said, counted)


def _run_of(expected: Expected, said: dict[str, Any], counted: dict[str, int]) -> Run:
    return Run(
        expected.rows,
        expected.good,
        expected.size_bytes,
        said["cpu_seconds"],
        said["wall_seconds"],
        said["peak_rss_bytes"],
        said["start_cpu_seconds"],
        counted.get("calls", 0),
        counted.get("billed_bytes", 0),
    )


def _verdicts(values: dict[str, float]) -> list[str]:
    return table(
        ("", "at least", "aim", "measured", ""),
        [
            [told["says"], told["at_least"] or "", told["aim"] or "", told["measured"], told["verdict"]]
            for told in bar(values)
        ],
    )


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        sys.exit(main())
