"""Bugs planted in the importer, one at a time, and which rule of the books notices each.

A suite that finds nothing proves nothing until it has been seen to find something (hazards M). So each bug here is one
that importers have, as small as it comes: mostly a word in a condition. The importer around it is the real one.

Rules: a bug is caught when an invariant says so (an AssertionError of the books, the watcher or the run), never when
the planted code raises. First comes a run in which nothing goes wrong: a bug passes it, unless its entry says that
every run shows it. Then scenarios of one kind of the fault table, in a fixed order until one is caught: so who says so
is known. Where to look is told too, which only saves time.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final
from unittest import mock

from botocore.awsrequest import AWSResponse

from importer.aws.tables import FENCE
from tests.faults import importing
from tests.faults.bugs_kinds import OTHER_KINDS
from tests.faults.kinds import KINDS, Kind
from tests.faults.workloads import WORKLOADS, Stage
from tests.support.cloud import Cloud
from tests.support.scenarios import CleanCall, in_copy
from tests.support.watch import Watcher
from tests.support.wire import Call, Delivery

NOTHING_WRONG: Final = "nothing"
NEVER: Final = 0  # calls count from 1
BROKEN: Final = (AttributeError, TypeError, NameError, LookupError)  # no importer raises these: its bugs do
MOST_SCENARIOS: Final = 40
HONEST_SCENARIOS: Final = 10
LONGEST_RUN_S: Final = 3 * 3600  # what keeps a file from its end is known by then

# What each rule says; by the function that knows it.
RULES: Final[dict[str, str]] = {
    "check_receipts": "each upload has one receipt, and it tells the truth",
    "check_events": "the events table holds exactly the good rows",
    "check_users": "the users table holds the latest values",
    "check_stream": "the stream holds every good row, and nothing else, under stable ids",
    "check_bad_rows": "errors/ holds exactly the bad rows, reasons in step",
    "check_sources_moved": "the source is archived as it was, and no longer in imports/",
    "check_executions": "one execution an upload, at its end",
    "check_nothing_else": "no object is left over",
    "assert_nothing_lost": "no upload is lost",
    "check_ended_early": "what a FAILED or CANCELED execution says it read is stored, and no more is counted",
    "check_every_end": "every upload comes to an end, and truly so",
    "check_succeeded": "SUCCEEDED only when all of it is true",
    "check_tally": "a tally is the truth at every moment",
    "check_leases": "a live lease is its owner's, and an owner is one invocation",
    "_stem_or_notes": "the notebook and stems only go forward",
    "_execution": "an execution only goes forward, and is listed until it is closed",
    "_part": "a part's tally adds up, and it is not tried for ever",
    "_moved": "a part only goes forward, and never after its execution was ended",
    "_deleted": "nothing is deleted before all it holds is durable",
    "_bucket_call": "an archived object's bytes never change",
    "_told_event": "what is told of has happened, and is told truly",
    "check_all_told": "every end is told of, in each way there is",
    "_live": "everything comes to an end",
    "nothing_late_matters": "nothing that comes late makes a difference, and the sweep rests",
    "nothing_to_find": "`importer verify` has nothing to say",
    "helped_by": "where nobody was killed, nothing is left to the sweep",
    "closings": "the end is told once",
}
_LOOK_FOR_OTHERS: Final = ("_execution", "_part", "_bucket_call", "_live", "check_every_end")


@dataclass(frozen=True)
class Caught:
    """How a bug was noticed.

    Attributes:
        scenario: what went wrong meanwhile, and where.
        rule: which one said so, a key of RULES.
        said: its words.
    """

    scenario: str
    rule: str
    said: str


@dataclass(frozen=True)
class Bug:
    """A bug, and who catches it.

    Attributes:
        plant: puts it in, for as long as it is entered.
        workload: what is imported.
        kind: what goes wrong meanwhile, a name of the fault table (or one of bugs_kinds); "nothing": it shows anyway.
        rule: that notices it, a key of RULES.
        at: found in the lines of the calls at which it is looked for.
        begin: number of the first of these, or the first seed; the others come later.
        setup: for `installed`, beside what the workload says.
    """

    plant: Callable[[], AbstractContextManager[Any]]
    workload: str
    kind: str
    rule: str
    at: str = ""
    begin: int = 0
    setup: dict[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        return self.plant.__name__

    @property
    def sentence(self) -> str:
        return " ".join((self.plant.__doc__ or "").split())


def kind_of(bug: Bug) -> Kind:
    return OTHER_KINDS.get(bug.kind) or KINDS[bug.kind]


@contextmanager
def changed(function: Any, *edits: tuple[str, str]) -> Iterator[None]:
    """Another text for a function while inside, whoever has imported it: (what stands there once, what instead).

    Raises:
        LookupError: the text is not there (any more), or more than once.
    """
    honest = inspect.unwrap(function)
    text = textwrap.dedent(inspect.getsource(honest))
    for old, new in edits:
        if text.count(old) != 1:
            raise LookupError(f"{honest.__qualname__} has {text.count(old)} times {old!r}: plant the bug elsewhere")
        text = text.replace(old, new)
    tree = ast.parse(text)
    tree.body[0].decorator_list.clear()  # type: ignore[attr-defined]
    planted: dict[str, Any] = {}
    exec(compile(tree, honest.__code__.co_filename, "exec"), honest.__globals__, planted)
    before, honest.__code__ = honest.__code__, planted[honest.__name__].__code__
    try:
        yield
    finally:
        honest.__code__ = before


@contextmanager
def both(*planted: AbstractContextManager[Any]) -> Iterator[None]:
    """A bug in two places."""
    with ExitStack() as stack:
        for one in planted:
            stack.enter_context(one)
        yield


class LeaseWatcher(Watcher):
    """Keeps the calls, and looks at leases, too. Not where clocks are wrong: then only the position keeps the books."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__(cloud)
        self.calls: list[CleanCall] = []
        self._leases: dict[tuple[str, str], dict[str, Any]] = {}
        self._workers: dict[str, Delivery] = {}

    def __call__(self, call: Call, answer: AWSResponse) -> None:
        self.calls.append(CleanCall.of(call))
        super().__call__(call, answer)

    def _table_call(self, call: Call) -> None:
        super()._table_call(call)
        self.check_leases(call)

    def check_leases(self, call: Call) -> None:
        """A live lease is its owner's, and an owner is one invocation (I1, N4)."""
        if call.operation != "UpdateItem" or "PART#" not in call.label:
            return
        key = call.document["Key"]
        item = self._cloud.stored(self._cloud.imports_table, key)
        owner = item.get("owner", {}).get("S", FENCE)
        name = (key["pk"]["S"], key["sk"]["S"])
        before, self._leases[name] = self._leases.get(name, {}), item
        taken_over = owner not in (FENCE, before.get("owner", {}).get("S", owner))
        runs_out_ms = int(before.get("lease_until_ms", {}).get("N", 0))
        assert not taken_over or runs_out_ms < self._cloud.clock.now_ms(), "a live lease was taken"
        if owner != FENCE and call.delivery.name != "the network":
            assert self._workers.setdefault(owner, call.delivery) is call.delivery, "two invocations are one owner"


def rule_of(wrong: AssertionError) -> str:
    """Name of the rule an assertion was made in: the outermost one, but for those that only look for others.

    Raises:
        wrong: it was made nowhere we know of.
    """
    at: TracebackType | None = wrong.__traceback__
    found: list[str] = []
    files: set[str] = set()
    while at is not None:
        code = at.tb_frame.f_code
        if "/tests/" in code.co_filename:
            files.add(code.co_filename.rpartition("/")[2])
            if code.co_name in RULES:
                found.append(code.co_name)
        at = at.tb_next
    if found:
        return next((name for name in found if name not in _LOOK_FOR_OTHERS), found[0])
    if files & {"kinds.py", "bugs_kinds.py"}:
        return {"it needed": "helped_by", "ended": "check_every_end"}.get(_first_words(wrong), "closings")
    raise wrong


def _first_words(wrong: AssertionError) -> str:
    """Of what the table of faults itself says, where no rule has spoken."""
    said = str(wrong)
    return next((words for words in ("it needed", "ended") if said.startswith(words)), "")


def caught(bug: Bug, scenarios: Callable[[Stage], Iterable[int]] | None = None) -> Caught | None:
    """Who notices a bug first; None if nobody does.

    Args:
        scenarios: those to play, instead of the bug's own.
    Raises:
        RuntimeError: the importer with the bug broke in another way, with the traceback.
    """
    return _caught(bug, bug.plant(), scenarios or (lambda ready: scenarios_of(bug, ready)))


def honestly(bug: Bug) -> Caught | None:
    """As `caught`, but nothing is planted: whoever speaks up is wrong."""
    return _caught(bug, nullcontext(), lambda ready: scenarios_of(bug, ready)[:HONEST_SCENARIOS])


def _caught(
    bug: Bug, planted: AbstractContextManager[Any], scenarios: Callable[[Stage], Iterable[int]]
) -> Caught | None:
    with stage(bug) as ready, planted:
        found, ready.calls = in_copy(lambda: (caught_in(ready, KINDS["error 500"], NEVER), _calls_of(ready)))
        played = iter(scenarios(ready))
        while found is None and bug.kind != NOTHING_WRONG and (which := next(played, None)) is not None:
            found = in_copy(lambda which=which: caught_in(ready, kind_of(bug), which))
    return found


def _calls_of(ready: Stage) -> list[CleanCall]:
    assert isinstance(ready.importer.watcher, LeaseWatcher)
    return ready.importer.watcher.calls


def scenarios_of(bug: Bug, ready: Stage) -> list[int]:
    """The calls its kind may strike at; or seeds."""
    may = kind_of(bug).at
    if may is None:
        return list(range(bug.begin, bug.begin + MOST_SCENARIOS))
    calls = [call.serial for call in ready.calls if re.search(bug.at, call.label) and may(call)]
    return (calls[bug.begin :] + calls[: bug.begin])[:MOST_SCENARIOS]


@contextmanager
def stage(bug: Bug) -> Iterator[Stage]:
    """Its file dropped, and nothing done yet."""
    workload = WORKLOADS[bug.workload]
    with (
        mock.patch.object(importing, "Watcher", LeaseWatcher),
        mock.patch.object(importing, "LONGEST_RUN_S", LONGEST_RUN_S),
        importing.installed(watched=True, **{**workload.setup, **bug.setup}) as importer,
    ):
        notification = importer.cloud.drop(workload.key, workload.body, Metadata={"sender": "nightly"}, Tagging="a=b")
        yield Stage(bug.workload, workload, importer, notification)


def caught_in(ready: Stage, kind: Kind, which: int) -> Caught | None:
    """Which rule one scenario breaks."""
    watcher = ready.importer.watcher
    assert watcher is not None
    try:
        kind.play(ready, which)
    except AssertionError as wrong:
        for ended in ready.importer.ended:
            if isinstance(ended.error, BROKEN) or "ValidationException" in str(ended.error):
                raise RuntimeError("the planted code does not run") from ended.error
        first = watcher.wrong[0] if watcher.wrong else wrong
        peace = which == NEVER and kind is KINDS["error 500"]
        scenario = NOTHING_WRONG if peace else f"{kind.name} / {ready.name} / {which}"
        return Caught(scenario, rule_of(first), str(first).partition("\n")[0][:300])
    return None
