"""The fault suite tested: bugs other importers shipped, planted in ours one at a time, must each be caught.

A suite that finds nothing proves nothing until it has been seen to find something (hazards M). What is planted, what
goes wrong meanwhile and who catches it: bugs_in_*.py, listed in docs/seeded-bugs.md.
"""

import random

import pytest

from tests.faults.bugs import NOTHING_WRONG, RULES, Bug, caught, honestly, kind_of
from tests.faults.bugs_page import BUGS, PAGE, page
from tests.faults.workloads import Stage
from tests.support.scenarios import seed

LEAST = 30
ANYWHERE = 200  # scenarios, where nobody says where to look


@pytest.mark.sampled(10)
@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_caught(bug: Bug) -> None:
    """By the rule its entry names; where nothing goes wrong only if its entry says so."""
    found = caught(bug)
    assert found is not None, f"nobody noticed: {bug.sentence}"
    assert (found.rule, found.scenario == NOTHING_WRONG) == (bug.rule, bug.kind == NOTHING_WRONG), found


def test_there_are_enough_of_them_and_each_says_what_it_is() -> None:
    """Different names; a sentence each, with the hazard it stands for; a rule we know."""
    assert len({str(bug) for bug in BUGS}) == len(BUGS) >= LEAST
    assert {bug.rule for bug in BUGS} <= set(RULES)
    silent = [str(bug) for bug in BUGS if not bug.sentence.endswith(").")]
    assert not silent, f"no hazard is named by {silent}"


def test_the_page_lists_them() -> None:
    """docs/seeded-bugs.md, word for word."""
    assert PAGE.read_text(encoding="utf-8") == page(), "run: .venv/bin/python -m tests.faults.bugs_page"


@pytest.mark.slow
@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_without_the_bug_nobody_cries_wolf(bug: Bug) -> None:
    """The importer as it is passes the scenarios in which the bug is looked for."""
    assert honestly(bug) is None


@pytest.mark.slow
@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.at], ids=str)
def test_a_planted_bug_is_caught_by_who_does_not_know_where_to_look(bug: Bug) -> None:
    """At any call, in an order chance decides: sooner or later it shows."""
    first = seed()
    print(f"FAULT_SEED={first}")

    def anywhere(ready: Stage) -> list[int]:
        may = kind_of(bug).at
        calls = [call.serial for call in ready.calls if may is not None and may(call)]
        return random.Random(first).sample(calls, min(ANYWHERE, len(calls)))

    assert caught(bug, anywhere) is not None, f"nobody noticed: {bug.sentence}"
