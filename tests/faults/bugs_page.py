"""The list of planted bugs, and docs/seeded-bugs.md, which is made of it.

.venv/bin/python -m tests.faults.bugs_page           # write the page
"""

from pathlib import Path
from typing import Final

from tests.faults import bugs_in_notices, bugs_in_reading, bugs_in_settling, bugs_in_steps, bugs_in_stores
from tests.faults.bugs import NOTHING_WRONG, RULES, Bug, kind_of

PAGE: Final = Path(__file__).parents[2] / "docs" / "seeded-bugs.md"
BY_ROOM: Final[dict[str, list[Bug]]] = {
    "Reading": bugs_in_reading.BUGS,
    "Steps: start, advance, hand on, sweep": bugs_in_steps.BUGS,
    "Stores: sinks, imports table, part queue": bugs_in_stores.BUGS,
    "Settling: join, copy, delete, receipt": bugs_in_settling.BUGS,
    "Notices": bugs_in_notices.BUGS,
}
BUGS: Final = [bug for bugs in BY_ROOM.values() for bug in bugs]

_HEAD: Final = """\
# Seeded bugs

A fault suite that finds nothing proves nothing until it has been seen to find something. So {count} bugs are planted in
the importer, one at a time, and each has to be caught. They are as small as they come: mostly a word in a condition,
all else is the real importer. A bug counts as caught when a rule of the books says so, never when its code raises.

First nothing goes wrong: {always} bugs show there already. The others pass that, and are caught when what the third
column says happens to the workload it names: a row of the fault table ([guarantees](guarantees.md)), or another kind of
`tests/faults/bugs_kinds.py`. Letters and numbers in brackets are [hazards](hazards.md).

```sh
.venv/bin/python -m pytest tests/faults/test_seeded_bugs.py            # some of them, as `make test` does
.venv/bin/python -m pytest tests/faults/test_seeded_bugs.py --whole    # each bug, until it is caught
.venv/bin/python -m pytest tests/faults/test_seeded_bugs.py -m slow    # at any call; and: no cry without a bug
```

This page is made of `tests/faults/bugs_in_*.py` by `python -m tests.faults.bugs_page`; a test holds it equal.
"""


def page() -> str:
    """The page as it has to be."""
    text = _HEAD.format(count=len(BUGS), always=sum(bug.kind == NOTHING_WRONG for bug in BUGS))
    for room, bugs in BY_ROOM.items():
        text += f"\n## {room}\n\n| bug | what it does | meanwhile: what is imported | caught by |\n|---|---|---|---|\n"
        text += "".join(map(_row, bugs))
    return text


def _row(bug: Bug) -> str:
    cells = (f"`{bug}`", bug.sentence, f"{kind_of(bug).says}: {bug.workload}", RULES[bug.rule])
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
