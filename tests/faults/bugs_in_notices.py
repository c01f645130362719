"""Bugs of notices: what is told of an execution that has ended, and whether it is."""

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest import mock

from moto.events.models import EventPattern

from importer.aws import events
from importer.aws.events import Bus, Closing
from importer.doors import notices
from importer.doors.telling import Herald
from importer.model import Execution, Phase, Status
from tests.faults import importing
from tests.faults.bugs import Bug, both, changed

Planted = AbstractContextManager[Any]


def told_before_it_is_so() -> Planted:
    """SUCCEEDED is told when the outcome is fixed, and a crash away from being written (I2)."""
    fixed = '"NewImage": {"phase": {"S": Phase.FINALISING.value}} as image'
    succeeded = "_succeeded(execution_in(self.image))"
    return both(
        mock.patch.object(events, "_succeeded", _succeeded, create=True),
        mock.patch.object(importing, "_mapping_patterns", return_value=[EventPattern.load("{}")]),
        changed(events._closing, ('"NewImage": {"phase": {"S": Phase.CLOSED.value}} as image', fixed)),
        changed(Closing.execution, ("execution_in(self.image)", succeeded)),
    )


def _succeeded(execution: Execution) -> Execution:
    return replace(execution, status=Status.SUCCEEDED, phase=Phase.CLOSED)


def refusal_in_a_success_overlooked() -> Planted:
    """The bus answers 200, and that it did not take the event (G1)."""
    return changed(Bus.put, ('if answer.get("FailedEntryCount"):', "if False:"))


def trouble_swallowed() -> Planted:
    """What could not be told is a line in the log, and never tried again (H1)."""
    return changed(Herald.tell, ("if not late:", "if False:"))


def remembered_before_it_is_sent() -> Planted:
    """Who tries again believes that it has been sent (I10)."""
    return changed(Herald._tell, ("        try:\n", "        self._remember(said.id, way)\n        try:\n"))


def one_way_is_enough() -> Planted:
    """The event was sent, the message was not, and that is taken for done (G4)."""
    return changed(
        Herald._tell, ("if trouble is not None:", "if trouble is not None and (said.id, 'event') not in self._sent:")
    )


def only_successes_told() -> Planted:
    """Whoever waits for the end of a canceled import waits for ever (D13)."""
    return changed(Herald._tell, ("    said = ", "    if execution.status != 'SUCCEEDED': return\n    said = "))


def what_rows_hold_told() -> Planted:
    """The identifiers that turn up most are told to everybody on the bus (J8)."""
    return changed(notices.notice, (" if name != _NOT_TOLD", ""))


BUGS = [
    Bug(told_before_it_is_so, "medium", "killed before", "_told_event", "EXEC", begin=-1),
    Bug(refusal_in_a_success_overlooked, "medium", "partly done", "check_all_told", "PutEvents"),
    Bug(trouble_swallowed, "medium", "denied", "check_all_told", "PutEvents"),
    Bug(remembered_before_it_is_sent, "medium", "denied", "check_all_told", "PutEvents"),
    Bug(one_way_is_enough, "medium", "denied", "check_all_told", "Publish"),
    Bug(only_successes_told, "medium", "canceled", "check_all_told"),
    Bug(what_rows_hold_told, "medium", "nothing", "_told_event"),
]
