"""Replay: an archived object read once more, as an execution of its own, whose `parent` is the one that archived it.

A replay takes the path of every import (parts, leases, sweep, settling). Two things set it apart: its source lies in
completed_imports/ already and stays there untouched, and what it reads counts as uploaded when it was (`model.Upload`):
it wins over its parent, over nothing that was uploaded later, and brings back nobody who was erased since.
"""

import hashlib
from dataclasses import replace

from importer.definitions import Definition
from importer.executions.importing import send_on
from importer.executions.pinned import definition_of
from importer.executions.ports import Workplace
from importer.executions.starting import execution_of
from importer.formats import FORMATS
from importer.model import RULES_VERSION, Execution, Phase, S3Object, Status
from importer.notification import Dropped


class OtherReplay(Exception):
    """Under this name the object is being replayed, or was, with other settings."""


def archive_of(place: Workplace, parent: Execution) -> S3Object | None:
    """The archived object of an execution as it is now; None if there is none: it has not SUCCEEDED, or it is gone.

    Raises:
        Unavailable.
    """
    if parent.status is not Status.SUCCEEDED or parent.outcome is None:
        return None
    return place.objects.head(Dropped(parent.source.bucket, parent.outcome.destination.completed, None, ""))


def replay_of(
    place: Workplace,
    parent: Execution,
    archive: S3Object,
    definition: Definition,
    sinks: tuple[str, ...],
    name: str,
) -> Execution:
    """The execution that a replay would be. Written nowhere.

    Args:
        archive: of `archive_of`.
        name: what the person calls the replay; the same one again is the same execution.
    """
    first = parent.upload
    begun = execution_of(place, _id_of(name, parent), archive, definition)
    if _is_judged_alike(parent, definition):
        begun = replace(begun, format=parent.format)
    return replace(begun, sinks=sinks, replayed=replace(first, parent=parent.id))


def _is_judged_alike(parent: Execution, definition: Definition) -> bool:
    """Whether the first rows told the parent what they would tell the replay, were none of them blank by now: where
    somebody was forgotten, those that told may be."""
    before = definition_of(parent)
    same = (before.format, before.mime_type) == (definition.format, definition.mime_type)
    return same and parent.rules_version == RULES_VERSION and parent.format in FORMATS


def replay(place: Workplace, wanted: Execution) -> Execution:
    """Begin a replay, and make all its work tasks; one that was begun before is sent on. How it then stands.

    Args:
        wanted: of `replay_of`.
    Raises:
        OtherReplay. Unavailable: ask again; what was begun is taken up by the sweep, too.
    """
    execution = place.records.create(wanted)
    if (execution.definition, execution.sinks) != (wanted.definition, wanted.sinks):
        raise OtherReplay(
            f"{wanted.source.uri} was replayed under this name with other settings, as execution {execution.id}"
        )
    if execution.phase is Phase.IMPORTING:
        send_on(place, execution)  # twice is as good as once
    return execution


def _id_of(name: str, parent: Execution) -> str:
    return hashlib.blake2b("\0".join(("replay", name, parent.id)).encode(), digest_size=16).hexdigest()
