"""What a run plays of the large matrices, and in which order: some of their cases, drawn by a seed it prints; all of
them with `--whole`.

    @pytest.mark.sampled(6)                              # six of its cases
    @pytest.mark.sampled(each="kind setup")              # so few that each kind and each setup is among them
    @pytest.mark.sampled(12, each="kind")                # the same, filled up to twelve

One seed decides for the whole run, so that all workers collect the same, and `FAULT_SEED=n` repeats what was drawn,
here and in `tests.support.scenarios`, where a whole run takes larger samples. A test that is named, by its id or by
`-k`, is played whole.
"""

from __future__ import annotations

import gc
import os
import random
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.support.scenarios import is_whole, seed

ROOT = Path(__file__).parents[1]
LONGEST_FIRST = ("e2e", "faults", "contract", "exhaustive")  # or one worker has a long one left at the end
GROUP = re.compile(r'^pytestmark = .*\bxdist_group\("(\w+)"\)', re.MULTILINE)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole", action="store_true", help="play every case of every matrix; else some, by FAULT_SEED")


def pytest_configure(config: pytest.Config) -> None:
    """The workers of a run inherit both."""
    os.environ["FAULT_SEED"] = str(seed())
    if config.getoption("whole") or config.getoption("keyword") or any("::" in arg for arg in config.args):
        os.environ["WHOLE"] = "1"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Also where `-q` leaves out the head."""
    drawn = "larger samples; every matrix whole" if is_whole() else "samples; --whole plays every matrix"
    terminalreporter.write_line(f"FAULT_SEED={seed()} repeats what was drawn ({drawn})")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out of each matrix what is not drawn; what takes long begins first."""
    matrices: dict[str, list[Any]] = {}
    for item in items:
        if item.get_closest_marker("sampled") and not is_whole():
            matrices.setdefault(item.nodeid.partition("[")[0], []).append(item)
    left_out = {case for name, cases in matrices.items() for case in set(cases).difference(draw(name, cases))}
    config.hook.pytest_deselected(items=[item for item in items if item in left_out])
    items[:] = sorted((item for item in items if item not in left_out), key=_when)


def pytest_collection_finish() -> None:
    """The models of AWS and the tests themselves stay to the end: nobody need look through them for garbage.

    Measured: a seventh of a scenario's CPU.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _when(item: pytest.Item) -> int:
    folder = item.path.parent.name
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)


def draw(name: str, cases: list[Any]) -> Iterator[Any]:
    """As many as the mark says; each value of the arguments it names at least once."""
    mark = cases[0].get_closest_marker("sampled")
    at_most = mark.args[0] if mark.args else 0
    each = mark.kwargs.get("each", "").split()
    seen: set[tuple[str, int]] = set()  # (argument, which object it is)
    others = []
    for case in random.Random(f"{seed()} {name}").sample(cases, len(cases)):
        values = {(argument, id(case.callspec.params[argument])) for argument in each}
        if values - seen:
            seen |= values
            at_most -= 1
            yield case
        else:
            others.append(case)
    yield from others[: max(0, at_most)]


# --- who runs what ----------------------------------------------------------------------------------------------------


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    return ByGroup(config, log) if config.getoption("dist") == "loadgroup" else None


class ByGroup(LoadScopeScheduling):
    """Modules of a group (`pytestmark = pytest.mark.xdist_group("twin")`) go to one worker, first; else test by test.

    xdist's own groups do nothing with pytest 9.2 (pytest-dev/pytest-xdist#1386): each worker would set up a twin.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.partition("::")[0]) or nodeid


@cache
def group_of(module: str) -> str | None:
    """The mark, read from the text: whoever hands out tests has not imported them."""
    found = GROUP.search((ROOT / module).read_text(encoding="utf-8"))
    return found[1] if found else None
