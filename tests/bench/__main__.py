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
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.bench import ladder, page, rig
from tests.bench.contenders import BENCH_PYTHON, CONTENDERS, KEY, NODE_HOME, OURS, SCENARIOS, Scenario, Trial
from tests.bench.generate import Expected, made, whole_blocks
from tests.bench.page import Measured
from tests.bench.results import Run, median, steps

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs" / "benchmarks"
LAST = rig.DIRECTORY / "last"
NODE_FILES = ("node_sdk.mjs", "package.json")
LADDER = "ladder"
LADDER_ROWS = 300_000  # one part
WARM_UP_ROWS = 1_000

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
    words = " ".join(sys.argv[1:])
    command = f"make bench BENCH='{words}'" if words else "make bench"
    measured = Measured(command, arguments.rows, arguments.rounds)
    try:
        _require(arguments.names)
        with rig.running(arguments.server_core) as running:
            bench = Bench(running, arguments, measured)
            bench.warm_up()
            for name in arguments.scenario_names:
                if name == LADDER:
                    bench.climb()
                else:
                    bench.compare(name, SCENARIOS[name])
    except rig.Missing as missing:
        print(f"bench: {missing}", file=sys.stderr)
        return 2
    except Wrong as wrong:
        print(f"bench: {wrong}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\n".join(["", *page.verdicts(measured.ratios, with_missing=arguments.is_whole)]))
    if measured.ladder:
        print("\n".join(["", *page.ladder_table(measured.ladder)]))
    out = DOCS if arguments.is_whole else LAST
    page.write(out, measured)
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
    parser.add_argument("--scenarios", default="", help=f"of {', '.join(SCENARIOS)}, {LADDER}")
    parser.add_argument("--same-rows", action="store_true", help="slow ones get all the rows too")
    parser.add_argument("--most-seconds", type=float, default=900, help="leave out what will take longer than that")
    parser.add_argument("--client-core", type=int, default=0)
    parser.add_argument("--server-core", type=int, default=1)
    parser.add_argument("--publish", action="store_true", help="into docs/benchmarks, though it is not all of it")
    arguments = parser.parse_args()
    arguments.names = _names(parser, arguments.only, CONTENDERS)
    arguments.scenario_names = _names(parser, arguments.scenarios, [*SCENARIOS, LADDER])
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


class Bench:
    """Runs trials one after another and keeps what was measured."""

    def __init__(self, running: rig.Rig, arguments: argparse.Namespace, measured: Measured) -> None:
        self._rig = running
        self._arguments = arguments
        self._measured = measured

    def warm_up(self) -> None:
        """One import that does not count: what answers loads what it needs."""
        self._run(Trial(OURS), "plain", *made(rig.DATA, WARM_UP_ROWS))

    def compare(self, name: str, scenario: Scenario) -> None:
        """Rounds of all trials of a scenario. Raises Wrong."""
        rounds = self._arguments.rounds
        trials = [trial for trial in scenario.trials if trial.name in self._arguments.names]
        runs: dict[str, list[Run]] = defaultdict(list)
        for number in range(1, rounds + 1):
            for trial in trials:
                if trial.once and number > 1:
                    continue
                rows = self._arguments.rows if self._arguments.same_rows else trial.rows(self._arguments.rows)
                forecast = _forecast([*self._measured.medians.items(), *_told(name, runs)], scenario, trial, rows)
                if forecast > self._arguments.most_seconds:
                    say(f"{name}: {trial.key} left out: {rows:,} rows would take {forecast:,.0f} s")
                    continue
                run = self._run(trial, scenario.way, *made(rig.DATA, rows, users=scenario.users))
                runs[trial.key].append(run)
                say(
                    f"{name} {number}/{rounds}: {trial.key:22} {run.rows:>10,} rows {run.cpu_us:7.2f} µs/event "
                    f"{run.events_a_second / 1e3:7.1f} k/s {run.peak_rss_mb:5.0f} MB"
                )
        self._measured.medians |= {(name, key): median(of_key) for key, of_key in runs.items()}

    def climb(self) -> None:
        """The ladder of both sinks. Raises Wrong."""
        file, expected = made(rig.DATA, whole_blocks(min(self._arguments.rows, LADDER_ROWS)))
        for sink, trial in (("dynamodb", Trial(OURS)), ("firehose", Trial("ours_firehose"))):
            found: dict[str, list[float]] = defaultdict(list)
            for number in range(1, self._arguments.rounds + 1):
                for step in ladder.steps_of(sink):
                    if step == ladder.WHOLE_STEP:
                        found[step].append(self._run(trial, "plain", file, expected).cpu_us)
                        continue
                    program = (sys.executable, str(Path(ladder.__file__)), step, KEY, sink)
                    said, _ = self._said("ladder", program, "plain", file)
                    found[step].append(said["cpu_seconds"] / expected.good * 1e6)
                say(f"ladder {number}/{self._arguments.rounds}: {sink}")
            so_far = {step: min(figures) for step, figures in found.items()}  # noise only adds
            self._measured.ladder[sink] = steps(so_far, ladder.steps_of(sink))

    def _run(self, trial: Trial, way: str, file: Path, expected: Expected) -> Run:
        contender = trial.contender
        said, counted = self._said(contender.name, contender.command, way, file)
        if wrong := contender.wrong(expected, said, counted):
            raise Wrong(f"{contender.name} with {expected.rows:,} rows does not add up: {'; '.join(wrong)}")
        self._measured.versions |= {program: said[program] for program in ("python", "node") if program in said}
        return _run_of(expected, said, counted)

    def _said(self, name: str, program: Sequence[str], way: str, file: Path) -> tuple[dict[str, Any], dict[str, int]]:
        """What a program says that it did to a file, and what was counted."""
        core, key = self._arguments.client_core, f"imports/{file.name}/{name}-{uuid.uuid4().hex}.ndjson"
        self._rig.counted()
        done = subprocess.run(
            [key if word == KEY else word for word in program],
            env=self._rig.environment(way) | (rig.OF_A_FUNCTION if name.startswith((OURS, LADDER)) else {}),
            capture_output=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        counted = self._rig.counted()
        if done.returncode:
            raise Wrong(f"{name} failed:\n{done.stderr.decode(errors='replace')[-4000:]}")
        return json.loads(done.stdout.splitlines()[-1]), counted


def _told(name: str, runs: dict[str, list[Run]]) -> list[tuple[tuple[str, str], Run]]:
    return [((name, key), run) for key, of_key in runs.items() for run in of_key]


def _forecast(known: list[tuple[tuple[str, str], Run]], scenario: Scenario, trial: Trial, rows: int) -> float:
    """Seconds it will take, by what the contender has done in scenarios like this one; 0 where it has done nothing."""

    def is_like(name: str, key: str) -> bool:
        other = SCENARIOS[name]
        return key.partition(",")[0] == trial.name and (other.way, other.users) == (scenario.way, scenario.users)

    return max((rows / run.rows * run.wall_seconds for (name, key), run in known if is_like(name, key)), default=0.0)


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


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        sys.exit(main())
