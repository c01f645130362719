"""The fault suite tested: bugs other importers shipped, planted in ours one at a time, must each be caught.

A suite that finds nothing proves nothing until it has been seen to find something (hazards M). What is planted, how it
is looked for and who catches it: bugs_in_*.py, listed in docs/seeded-bugs.md.
"""

import random

import pytest

from tests.faults.bugs import NOTHING_WRONG, RULES, Bug, Caught, Look, caught, caught_in, stage
from tests.faults.bugs_looks import anything
from tests.faults.bugs_page import BUGS, PAGE, page
from tests.support.scenarios import in_copy, seed

LEAST = 30
LOOKS = {f"{bug.look.workload}: {bug.look.words}": bug.look for bug in BUGS}


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_caught(bug: Bug) -> None:
    """By the rule its entry names; where nothing goes wrong only if its entry says so."""
    found = caught(bug)
    assert found is not None, f"nobody noticed: {bug.sentence}"
    assert (found.rule, found.scenario == NOTHING_WRONG) == (bug.rule, bug.always), found


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
@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_no_look_cries_wolf(look: Look) -> None:
    """The importer as it is passes every scenario that bugs are looked for in."""
    with stage(look) as ready:
        found, calls = in_copy(lambda: (caught_in(ready, look, None), ready.calls))
        scenarios = iter(look.scenarios(calls))
        while found is None and (scenario := next(scenarios, None)) is not None:
            found = in_copy(lambda scenario=scenario: caught_in(ready, look, scenario))
    assert found is None


@pytest.mark.slow
@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.look.words[:5] in ("kill_", "reply", "unpro")], ids=str)
def test_a_planted_bug_is_caught_by_who_does_not_know_where_to_look(bug: Bug) -> None:
    """Every kind of fault at every call, in an order chance decides: sooner or later it shows."""
    first = seed()
    print(f"FAULT_SEED={first}")
    found: Caught | None = caught(Bug(bug.plant, anything(bug.look, random.Random(first)), bug.rule))
    assert found is not None, f"nobody noticed: {bug.sentence}"
