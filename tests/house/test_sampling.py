"""What a run leaves out of a matrix it leaves out by seed, and never a whole kind: tests/conftest.py."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace
from typing import Any

import pytest

from tests.conftest import ROOT, draw, group_of
from tests.support.scenarios import sample

KINDS, SETUPS = ("killed", "lost", "late", "denied"), ("one part", "four parts", "stream")


def cases_of(*at_most: int, each: str = "") -> list[Any]:
    """A matrix of kinds and set-ups, marked so."""
    mark = pytest.mark.sampled(*at_most, each=each).mark
    return [
        SimpleNamespace(
            get_closest_marker=lambda _: mark, callspec=SimpleNamespace(params={"kind": kind, "setup": setup})
        )
        for kind, setup in product(KINDS, SETUPS)
    ]


def drawn(cases: list[Any]) -> list[tuple[str, str]]:
    return [(case.callspec.params["kind"], case.callspec.params["setup"]) for case in draw("a matrix", cases)]


@pytest.mark.parametrize("seed", range(20))
def test_each_value_of_the_named_arguments_is_drawn(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And hardly more cases than the longest argument has values."""
    monkeypatch.setenv("FAULT_SEED", str(seed))
    some = drawn(cases_of(each="kind setup"))
    assert {kind for kind, _ in some} == set(KINDS)
    assert {setup for _, setup in some} == set(SETUPS)
    assert len(KINDS) <= len(some) < len(KINDS) + len(SETUPS)


def test_so_many_are_drawn_as_the_mark_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filled up, where each value has been drawn; never more than there are."""
    monkeypatch.setenv("FAULT_SEED", "1")
    assert [len(set(drawn(cases_of(n)))) for n in (1, 5, 99)] == [1, 5, 12]
    assert len(set(drawn(cases_of(9, each="kind")))) == 9


def test_a_seed_draws_the_same_again_and_another_one_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this run's workers, and on another machine."""
    draws = []
    for seed in ("1", "1", "2"):
        monkeypatch.setenv("FAULT_SEED", seed)
        draws.append((drawn(cases_of(5)), sample(range(1_000), 5)))
    assert draws[0] == draws[1] != draws[2]


def test_a_whole_run_takes_the_larger_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `make test-full` plays."""
    monkeypatch.setenv("FAULT_SEED", "1")
    monkeypatch.delenv("FAULT_ONLY", raising=False)
    monkeypatch.delenv("WHOLE", raising=False)
    few = sample(range(100), 3, whole=30)
    monkeypatch.setenv("WHOLE", "1")
    assert (len(few), len(sample(range(100), 3, whole=30)), len(sample(range(100), 3))) == (3, 30, 3)


def test_modules_of_a_group_are_known_by_their_text() -> None:
    """So that one worker has the twin, and tests in real time do not run beside each other."""
    groups = {
        str(path.relative_to(ROOT)): group_of(str(path.relative_to(ROOT)))
        for path in (ROOT / "tests").rglob("test_*.py")
    }
    marked = {name for name in groups if "xdist_group(" in (ROOT / name).read_text(encoding="utf-8")}
    assert {name for name, group in groups.items() if group} == marked - {_HERE}
    assert (groups["tests/e2e/test_twin.py"], groups["tests/faults/test_sigkill.py"]) == ("twin", "processes")


_HERE = "tests/house/test_sampling.py"
