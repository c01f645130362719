"""Telling of every execution that has ended, at least once, and of nothing else.

The conditional write that closes an execution is itself the note that a notice is due: the imports table's stream has
it, in the order of the writes, and Lambda invokes `tell` with it until that returns. So the notice says what was closed
and nothing but that, and whoever imports has nothing to do with it: no notice can hold up a row, a move or the books.

What could not be told for PATIENCE_MS, whatever the cause, goes to the dead letters: one notice that is stuck must not
keep those behind it waiting until the stream forgets them all, after 24 hours.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from importer.aws.events import Closing
from importer.doors.notices import DETAIL_TYPE, SOURCE, Notice, notice, receipt_key
from importer.model import Clock, Execution, Unavailable

PATIENCE_MS: Final = 3_600_000
_REMEMBERED: Final = 1_000  # of what this execution environment has sent


class Objects(Protocol):
    def get(self, bucket: str, key: str) -> bytes | None: ...


class Bus(Protocol):
    def put(self, source: str, detail_type: str, detail: str, time_ms: int) -> None: ...


class Topic(Protocol):
    def publish(self, subject: str, text: str, attributes: Mapping[str, str]) -> None: ...


class Letters(Protocol):
    def keep(self, closing: Closing, why: str) -> None: ...


class Telemetry(Protocol):
    def told(self, execution: Execution, way: str) -> None: ...

    def not_told(self, execution_id: str, trouble: Exception, kept: bool) -> None:
        """A notice was not sent, or not by every way; `kept`: it is among the dead letters now."""


class Herald:
    """Tells of executions.

    Args:
        bus, topic: None tells nobody that way.
    """

    def __init__(
        self,
        objects: Objects,
        bus: Bus | None,
        topic: Topic | None,
        letters: Letters,
        clock: Clock,
        telemetry: Telemetry,
    ) -> None:
        self._objects = objects
        self._bus = bus
        self._topic = topic
        self._letters = letters
        self._clock = clock
        self._telemetry = telemetry
        self._sent: dict[tuple[str, str], None] = {}

    def tell(self, closing: Closing) -> bool:
        """Tell of one ending. When it returns, that was done; or, where it says False, kept among the dead letters.

        Raises:
            Unavailable, or whatever a bug raises: invoke again.
        """
        try:
            self._tell(closing)
        except Exception as trouble:
            late = self._clock.now_ms() - closing.closed_ms > PATIENCE_MS
            if late:
                self._letters.keep(
                    closing, str(trouble) if isinstance(trouble, Unavailable) else type(trouble).__name__
                )
            self._telemetry.not_told(closing.execution_id, trouble, kept=late)
            if not late:
                raise
            return False
        return True

    def _tell(self, closing: Closing) -> None:
        if self._bus is None and self._topic is None:
            return
        execution = closing.execution()
        said = notice(execution, self._receipt(execution))
        again = closing.closed_ms > 0  # a person who delivers a dead letter means all of it
        trouble: Unavailable | None = None
        for way, send in (("event", self._put), ("message", self._publish)):
            if again and (said.id, way) in self._sent:
                continue  # the other way did not work, and this invocation is for that
            try:
                if send(said):
                    self._telemetry.told(execution, way)
            except Unavailable as unavailable:  # one way in trouble does not keep the other from being tried
                trouble = trouble or unavailable
            else:
                self._remember(said.id, way)
        if trouble is not None:
            raise trouble

    def _put(self, said: Notice) -> bool:
        if self._bus is not None:
            self._bus.put(SOURCE, DETAIL_TYPE, said.detail, said.ended_ms)
        return self._bus is not None

    def _publish(self, said: Notice) -> bool:
        if self._topic is not None:
            self._topic.publish(said.subject, said.text, said.attributes)
        return self._topic is not None

    def _receipt(self, execution: Execution) -> bytes | None:
        """A notice without reasons is better than none."""
        try:
            return self._objects.get(execution.source.bucket, receipt_key(execution))
        except Unavailable:
            return None

    def _remember(self, notice_id: str, way: str) -> None:
        # Doubles are allowed, and this keeps most of them away: Lambda mostly tries again in the same environment.
        self._sent[notice_id, way] = None
        while len(self._sent) > _REMEMBERED:
            del self._sent[next(iter(self._sent))]
