"""A sample of the fault table: each kind with one workload, some 70 scenarios; in a whole run one of every third kind
with each workload, some 340.

FAULT_SEED=n draws the same ones again; `python -m tests.faults.table` plays all of them, and one by its name.
"""

import os
import random
from pathlib import Path

import pytest

from tests.faults import table
from tests.faults.kinds import KINDS, Scenario, play, scenarios_of
from tests.faults.workloads import WORKLOADS, Stage, stage_of
from tests.support.scenarios import Failure, explore, is_whole, seed

CHOSEN = seed()  # one for all: `FAULT_SEED` in the report repeats every workload's
FIT_FEW = ("messages lost", "range ignored")  # of most workloads no call: these are tried with all


def dealt() -> dict[str, list[str]]:
    """Kinds by workload: each kind is somewhere, and each workload has one."""
    choose = random.Random(CHOSEN)
    kinds: dict[str, list[str]] = {workload: [] for workload in WORKLOADS}
    for name, kind in KINDS.items():
        some = kind.workloads if name in FIT_FEW else [choose.choice(list(kind.workloads))]
        for workload in some:
            kinds[workload].append(name)
    return {workload: some or [choose.choice(["killed before", "killed after"])] for workload, some in kinds.items()}


def drawn(stage: Stage) -> list[Scenario]:
    if not is_whole():
        return table.sampled(scenarios_of(stage, dealt()[stage.name], CHOSEN), 1, CHOSEN)
    each = table.sampled(scenarios_of(stage, KINDS, CHOSEN), 1, CHOSEN)
    return random.Random(f"{CHOSEN} {stage.name}").sample(each, len(each) // 3)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_whatever_goes_wrong_everything_comes_to_an_end_and_the_books_balance(workload: str) -> None:
    """At any AWS call, with any file: what is promised holds at every moment, and late messages change nothing."""
    with stage_of(workload) as stage:
        failures = explore(drawn(stage), lambda scenario: play(stage, scenario))
        assert not failures, _report(failures)


def _report(failures: list[Failure]) -> str:
    said = [f"{failure.why}\n{table.replay(failure.scenario)}" for failure in failures]
    return "\n\n".join([f"{len(failures)} violations; FAULT_SEED={CHOSEN} draws them again", *said])


def test_each_kind_meets_a_workload_and_says_what_it_does() -> None:
    """A row without scenarios would be a promise without a proof."""
    workloads = [kind.workloads for kind in KINDS.values()]
    assert all(set(some) <= set(WORKLOADS) and some for some in workloads)
    assert len({kind.says for kind in KINDS.values()}) == len(KINDS)


def test_each_kind_is_dealt_to_a_workload_and_each_workload_has_one() -> None:
    """However small the sample is."""
    assert {kind for some in dealt().values() for kind in some} == set(KINDS)
    assert all(dealt().values())


def test_what_was_played_is_kept_and_not_played_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run that was stopped goes on where it stood; another seed has its own; the table counts both outcomes."""
    kept = tmp_path / "kept.jsonl"
    first, second = Scenario("slow", "tiny", 1), Scenario("slow", "tiny", 2)
    played = table.Played.of(kept, seed=7, again=False)
    played.keep(first, None)
    played.keep(second, Failure(str(second), "AssertionError: events differ"))
    played.file.close()
    outcomes = {str(first): None, str(second): "AssertionError: events differ"}
    assert table.Played.of(kept, seed=7, again=False).outcomes == outcomes
    assert table.Played.of(kept, seed=8, again=False).outcomes == {}
    assert table.table_of(outcomes.items())[1:] == (2, 1)
    assert table.Played.of(kept, seed=7, again=True).outcomes == {}
    assert kept.read_text() == ""


def test_the_command_plays_what_is_named_and_tells_by_its_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    """0: the books balance; and how to say which."""
    assert table.main(["--only", "killed after / empty / call 3", "--kept", os.devnull]) == 0
    assert "1 scenarios, 0 violations" in capsys.readouterr().err
