"""Telling of an ending: what is tried again, what becomes a dead letter, and what is not sent twice for nothing."""

from collections.abc import Mapping
from typing import Any

import pytest

from importer.aws.events import Closing
from importer.doors.telling import PATIENCE_MS, Herald
from importer.model import Execution, Unavailable
from tests.unit.test_notices import ended, receipt_of

NOW_MS = 1_795_725_100_000


class World:
    """Everything a herald works with; it keeps a journal."""

    def __init__(self) -> None:
        self.journal: list[str] = []
        self.trouble: dict[str, Exception] = {}
        self.body: bytes | None = receipt_of(ended())

    def now_ms(self) -> int:
        return NOW_MS

    def sleep(self, seconds: float) -> None: ...

    def get(self, bucket: str, key: str) -> bytes | None:
        self._does("receipt")
        return self.body

    def put(self, source: str, detail_type: str, detail: str, time_ms: int) -> None:
        self._does("event")

    def publish(self, subject: str, text: str, attributes: Mapping[str, str]) -> None:
        self._does("message")

    def keep(self, closing: Closing, why: str) -> None:
        self._does("letter")
        self.journal.append(f"because {why}")

    def told(self, execution: Execution, way: str) -> None:
        self.journal.append(f"told by {way}")

    def not_told(self, execution_id: str, trouble: Exception, kept: bool) -> None:
        self.journal.append(f"not told, kept: {kept}")

    def _does(self, what: str) -> None:
        if what in self.trouble:
            raise self.trouble[what]
        self.journal.append(what)

    def herald(self, bus: bool = True, topic: bool = True) -> Herald:
        return Herald(self, self if bus else None, self if topic else None, self, self, self)


class Closed(Closing):
    """A closing whose image need not be one."""

    def execution(self) -> Execution:
        return ended()


def closing(age_ms: int = 0) -> Closing:
    return Closed({"pk": {"S": "EXEC#abc"}}, NOW_MS - age_ms)


@pytest.fixture
def world() -> World:
    return World()


def test_an_ending_is_told_in_each_way_there_is(world: World):
    """An event always, a message if there is a topic."""
    assert world.herald().tell(closing()) is True
    assert world.journal == ["receipt", "event", "told by event", "message", "told by message"]


@pytest.mark.parametrize(("bus", "topic", "told"), [(True, False, ["event"]), (False, True, ["message"])])
def test_a_way_that_is_not_set_up_is_passed_over(world: World, bus: bool, topic: bool, told: list[str]):
    """Nobody has to have a bus, or a topic."""
    assert world.herald(bus, topic).tell(closing()) is True
    assert [line for line in world.journal if line in ("event", "message")] == told


def test_where_nobody_is_to_be_told_nothing_is_even_read(world: World):
    """Both switched off: the books are closed all the same."""
    assert (world.herald(False, False).tell(closing()), world.journal) == (True, [])


def test_a_receipt_that_cannot_be_read_keeps_no_notice(world: World):
    """A notice without reasons is better than none."""
    world.trouble["receipt"] = Unavailable("denied")
    world.herald().tell(closing())
    assert world.journal == ["event", "told by event", "message", "told by message"]


def test_one_way_in_trouble_does_not_keep_the_other_and_alone_is_tried_again(world: World):
    """It is raised, so that Lambda invokes again; what was sent is not sent once more."""
    herald = world.herald()
    world.trouble["event"] = Unavailable("the bus is away")
    with pytest.raises(Unavailable, match="the bus is away"):
        herald.tell(closing())
    assert world.journal == ["receipt", "message", "told by message", "not told, kept: False"]
    del world.trouble["event"]
    world.journal.clear()
    herald.tell(closing())
    assert world.journal == ["receipt", "event", "told by event"]


def test_another_environment_sends_both_again(world: World):
    """What one remembers is a nicety: at least once is the promise."""
    world.herald().tell(closing())
    world.journal.clear()
    world.herald().tell(closing())
    assert [line for line in world.journal if line in ("event", "message")] == ["event", "message"]


@pytest.mark.parametrize(
    ("trouble", "why"),
    [(Unavailable("denied; allow events:PutEvents"), "denied; allow events:PutEvents"), (KeyError("ann"), "KeyError")],
)
def test_what_cannot_be_told_for_an_hour_is_a_dead_letter(world: World, trouble: Exception, why: str):
    """So that it does not keep all that follow from being told. Other people's words are withheld (J8)."""
    herald = world.herald(topic=False)
    world.trouble["event"] = trouble
    with pytest.raises(type(trouble)):
        herald.tell(closing(PATIENCE_MS))
    assert herald.tell(closing(PATIENCE_MS + 1)) is False
    assert world.journal[-3:] == ["letter", f"because {why}", "not told, kept: True"]


def test_what_cannot_even_be_kept_is_tried_again(world: World):
    """Lambda goes on for 24 hours; then it keeps the place in the stream."""
    world.trouble |= {"event": Unavailable("away"), "letter": Unavailable("away, too")}
    with pytest.raises(Unavailable, match="away, too"):
        world.herald().tell(closing(PATIENCE_MS + 1))


def test_a_dead_letter_that_is_delivered_is_told_at_once_and_in_every_way(world: World):
    """Or is a dead letter again: nobody waits for it in a stream."""
    herald = world.herald()
    herald.tell(closing())
    world.journal.clear()
    letter = Closed(closing().image, 0)
    assert herald.tell(letter) is True
    assert [line for line in world.journal if line in ("event", "message")] == ["event", "message"]
    world.trouble["event"] = Unavailable("away")
    assert herald.tell(letter) is False


def test_what_is_remembered_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch):
    """An environment may live for days."""
    monkeypatch.setattr("importer.doors.telling._REMEMBERED", 1)
    herald: Any = world.herald()
    herald.tell(closing())
    assert list(herald._sent) == [(f"{ended().id}/1", "message")]
