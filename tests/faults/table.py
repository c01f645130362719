"""The fault table: every scenario of every kind, played, counted by kind, and published.

    python -m tests.faults.table                    all of them; goes on where the last run of this seed stopped
    python -m tests.faults.table --seed 7           other seeds where chance decides
    python -m tests.faults.table --only "killed after / four parts / call 31"

What was played is kept in a file of JSON lines, one for each scenario. Exit status: 0 all balanced, 1 a violation.
"""

import argparse
import datetime
import json
import os
import random
import re
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from tests.faults.kinds import KINDS, Scenario, play, scenarios_of
from tests.faults.workloads import WORKLOADS, stage_of
from tests.support.scenarios import Failure, explore

GUARANTEES = Path(__file__).parents[2] / "docs" / "guarantees.md"
KEPT = Path(".faults/table.jsonl")
BEGIN, END = "<!-- fault table: begin -->", "<!-- fault table: end -->"
DEFAULT_SEED = 4


@dataclass
class Played:
    """What was played so far: text of the scenario → why it failed, or None. Each is kept at once."""

    file: TextIO
    seed: int
    outcomes: dict[str, str | None] = field(default_factory=dict)

    @classmethod
    def of(cls, path: Path, seed: int, again: bool) -> "Played":
        """Those of this seed, from an earlier run; none if it is to begin again."""
        path.parent.mkdir(parents=True, exist_ok=True)
        earlier = [] if again or not path.exists() else [json.loads(line) for line in path.read_text().splitlines()]
        outcomes = {each["scenario"]: each["failure"] for each in earlier if each["seed"] == seed}
        return cls(path.open("w" if again else "a", encoding="utf-8"), seed, outcomes)

    def keep(self, scenario: Scenario, failure: Failure | None) -> None:
        why = None if failure is None else failure.why
        self.outcomes[str(scenario)] = why
        kept = {"seed": self.seed, "scenario": str(scenario), "failure": why}
        print(json.dumps(kept), file=self.file, flush=True)


@dataclass
class Progress:
    """Lines on standard error: what is being played, how many are left, how long that takes."""

    total: int
    done: int = 0
    failed: int = 0
    began: float = field(default_factory=time.monotonic)
    said: float = 0

    def told(self, scenario: Scenario, failure: Failure | None) -> None:
        self.done += 1
        if failure is not None:
            self.failed += 1
            print(f"\nVIOLATION {scenario}\n{_last_line(failure.why)}\n  {replay(scenario)}", file=sys.stderr)
        now = time.monotonic()
        if now - self.said > 5 or self.done == self.total:
            self.said = now
            left_s = (now - self.began) / self.done * (self.total - self.done)
            print(
                f"{self.done}/{self.total}  {self.failed} violations  {left_s / 60:.0f} min left  "
                f"{scenario.workload}: {scenario.kind}",
                file=sys.stderr,
            )


def replay(scenario: object) -> str:
    """The command that plays one scenario again."""
    return f'.venv/bin/python -m tests.faults.table --only "{scenario}"'


def _last_line(why: str) -> str:
    lines = [line for line in why.splitlines() if line.strip()]
    return next((line for line in lines if "Error:" in line), lines[-1] if lines else "")[:600]


def sampled(scenarios: Sequence[Scenario], at_most: int, seed: int) -> list[Scenario]:
    """At most so many of each kind, by seed, in order."""
    by_kind: dict[str, list[Scenario]] = {}
    for scenario in scenarios:
        by_kind.setdefault(scenario.kind, []).append(scenario)
    chosen: list[Scenario] = []
    for kind, some in by_kind.items():
        choose = random.Random(f"{seed} {kind}")
        chosen += some if len(some) <= at_most else choose.sample(some, at_most)
    return chosen


def play_all(
    kinds: Sequence[str],
    workloads: Sequence[str],
    seed: int,
    at_most: int,
    only: str | None,
    played: Played,
    list_only: bool,
) -> None:
    """Play what was not played yet; workload by workload, as each needs a stage of its own."""
    if only is not None:
        kind, workload, which = (part.strip() for part in only.split(" / "))
        kinds, workloads = [kind], [workload]
    progress = Progress(0)
    counted: dict[str, int] = {}
    if not list_only and only is None:
        for name in workloads:  # to know how long it takes
            with stage_of(name) as stage:
                mine = _wanted(scenarios_of(stage, kinds, seed), at_most, seed)
            counted[name] = len([scenario for scenario in mine if str(scenario) not in played.outcomes])
        progress.total = sum(counted.values())
    for name in workloads:
        if counted.get(name) == 0:
            continue
        with stage_of(name) as stage:
            if only is not None:
                scenarios = [Scenario(kind, workload, int(which.split()[-1]))]
                progress.total = 1
            else:
                scenarios = _wanted(scenarios_of(stage, kinds, seed), at_most, seed)
            if list_only:
                print("\n".join(map(str, scenarios)))
                continue

            def told(scenario: Scenario, failure: Failure | None) -> None:
                played.keep(scenario, failure)
                progress.told(scenario, failure)

            left = [scenario for scenario in scenarios if only or str(scenario) not in played.outcomes]
            failures = explore(left, lambda scenario, stage=stage: play(stage, scenario), stop_after=10**9, told=told)  # type: ignore[misc]
            if only is not None and failures:
                print(failures[0].why, file=sys.stderr)


def _wanted(scenarios: Sequence[Scenario], at_most: int, seed: int) -> list[Scenario]:
    return sampled(scenarios, at_most, seed) if at_most else list(scenarios)


def table_of(outcomes: Iterable[tuple[str, str | None]]) -> tuple[str, int, int]:
    """The table by kind, in Markdown; how many scenarios, how many violations."""
    counts = {name: [0, 0] for name in KINDS}
    for scenario, failure in outcomes:
        count = counts.get(scenario.split(" / ")[0])
        if count is not None:  # else a kind of an earlier day
            count[0] += 1
            count[1] += failure is not None
    rows = [
        f"| {name} | {KINDS[name].says} | {played:,} | {violations} |"
        for name, (played, violations) in counts.items()
        if played
    ]
    played, violations = (sum(count[i] for count in counts.values()) for i in (0, 1))
    rows.append(f"| **all** | | **{played:,}** | **{violations}** |")
    return (
        "\n".join(["| kind | what goes wrong | scenarios | violations |", "|---|---|---:|---:|", *rows]),
        played,
        violations,
    )


def publish(table: str, command: str, seed: int) -> None:
    """Put the table between the markers of docs/guarantees.md."""
    page = GUARANTEES.read_text(encoding="utf-8")
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    said = f"Played on {today} with seed {seed}: `{command}`"
    new = f"{BEGIN}\n{said}\n\n{table}\n{END}"
    page, count = re.subn(f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: new, page, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"{GUARANTEES} has no markers for the table")
    GUARANTEES.write_text(page, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.table", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only this kind; may be repeated")
    parser.add_argument("--workload", action="append", choices=list(WORKLOADS), help="only this workload")
    parser.add_argument("--seed", type=int, default=int(os.environ.get("FAULT_SEED") or DEFAULT_SEED))
    parser.add_argument("--at-most", type=int, default=0, metavar="N", help="of each kind and workload, by seed")
    parser.add_argument("--only", metavar="SCENARIO", help="play this one, and show why it fails")
    parser.add_argument("--again", action="store_true", help="forget what was played before")
    parser.add_argument("--kept", type=Path, default=KEPT, help="where what was played is kept")
    parser.add_argument("--list", action="store_true", help="name the scenarios, play none")
    parser.add_argument("--write", action="store_true", help="put the table into docs/guarantees.md")
    asked = parser.parse_args(arguments)
    kinds, workloads = asked.kind or list(KINDS), asked.workload or list(WORKLOADS)
    kept = Path(os.devnull) if asked.only or asked.list else asked.kept
    played = Played.of(kept, asked.seed, asked.again)
    play_all(kinds, workloads, asked.seed, asked.at_most, asked.only, played, asked.list)
    if asked.list:
        return 0
    mine = [
        (scenario, failure)
        for scenario, failure in played.outcomes.items()
        if scenario.split(" / ")[0] in kinds and scenario.split(" / ")[1] in workloads
    ]
    table, count, violations = table_of(mine)
    if not asked.only:
        print(table)
    if asked.write:
        drawn = f" --at-most {asked.at_most}" if asked.at_most else ""
        publish(table, f"python -m tests.faults.table --seed {asked.seed}{drawn}", asked.seed)
    for scenario, failure in mine:
        if failure is not None:
            print(
                f'{_last_line(failure)}\n  .venv/bin/python -m tests.faults.table --only "{scenario}"', file=sys.stderr
            )
    print(f"{count} scenarios, {violations} violations", file=sys.stderr)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
