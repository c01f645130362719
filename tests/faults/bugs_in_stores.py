"""Bugs of the sinks, of the imports table and of the part queue."""

from contextlib import AbstractContextManager
from dataclasses import fields
from typing import Any
from unittest import mock

from importer import model
from importer.aws.dispatch import PartQueue
from importer.aws.tables import ImportsTable
from importer.executions import holding, importing, settling
from importer.model import Tally
from importer.sinks import conditional, firehose, records
from importer.sinks.calls import Calls
from importer.sinks.dynamodb import DynamoDBSink
from tests.faults.bugs import Bug, both, changed
from tests.faults.bugs_in_steps import nobody_looks_twice

Planted = AbstractContextManager[Any]


def unprocessed_items_ignored() -> Planted:
    """A success that lists UnprocessedItems is taken for one (F1)."""
    return changed(DynamoDBSink._left_by, ("if not unprocessed.get(self._table):", "if True:"))


def missing_reply_taken_for_done() -> Planted:
    """A call the quick way got no reply to is taken for done, and not made again by the client (F6)."""
    return changed(
        Calls._read, ("if reply is None:\n        return None", "if reply is None:\n        return _NOTHING")
    )


def failed_put_count_ignored() -> Planted:
    """A success with a FailedPutCount is taken for one (G1)."""
    return changed(firehose._left_by, ('if not answer["FailedPutCount"]:', "if True:"))


def user_record_without_its_rank() -> Planted:
    """Whoever comes last writes a user's record, not whoever ranks highest (F8)."""
    return changed(conditional.put_if_highest, ("OR #rank <= :rank", "OR attribute_exists(#rank) OR #rank <= :rank"))


def random_event_ids() -> Planted:
    """An event gets a new id each time its row is read (G2)."""
    return changed(model.event_id, ("(row_text)", "(__import__('os').urandom(8) + row_text)"))


def event_ids_by_position() -> Planted:
    """An event's id is made of where its row stands, so that the same row elsewhere is another event (G2)."""
    return changed(model.event_id, ("(row_text)", "(str(id(row_text)).encode())"))


def random_ids_on_the_stream() -> Planted:
    """A line that is delivered again has another id: nobody downstream can drop it (G2)."""
    return changed(records.change_id, (".hexdigest()", ".hexdigest()[:16] + __import__('os').urandom(8).hex()"))


def refused_row_still_good() -> Planted:
    """A row the table refuses is counted as bad, and still as good (G4)."""
    from importer.batches import Batch

    return changed(Batch.take_out, ("self.tally.good -= 1", "pass"))


def counters_added_up() -> Planted:
    """Tallies are added to what is stored, so that a repeated write counts twice (F6)."""
    kept = ("notes", "top_users")
    counted = repr(tuple(name.name for name in fields(Tally) if name.name not in kept))
    return changed(
        ImportsTable.progress,
        (" tally = :tally,", " tally.#notes = :notes, tally.#top = :top,"),
        (
            '":tally": _tally_map(after.tally)',
            '":notes": _tally_map(after.tally)["notes"], ":top": _tally_map(after.tally)["top_users"]',
        ),
        (
            "if after.done:",
            f"for name in {counted}:\n"
            '        update += f", tally.#{name} = tally.#{name} + :{name}"\n'
            '        values[f":{name}"] = getattr(after.tally, name) - getattr(before.tally, name)\n'
            "    if after.done:",
        ),
        (" AND next_offset = :before AND attribute_not_exists(done)", ""),
        ('":before": before.next_offset,', ""),
        (
            '{"#owner": "owner"}',
            '{"#owner": "owner", "#notes": "notes", "#top": "top_users"}'
            f' | {{f"#{{name}}": name for name in {counted}}}',
        ),
    )


def position_not_in_the_condition() -> Planted:
    """A late write of the owner's own moves the position back (I1)."""
    return changed(ImportsTable.progress, (" AND next_offset = :before", ""), ('":before": before.next_offset,', ""))


def owner_not_in_the_condition() -> Planted:
    """A worker whose lease has run out moves the part of the one that took over (I1)."""
    return changed(
        ImportsTable.progress,
        ("#owner = :me AND next_offset = :before", "#owner <> :me OR next_offset = :before"),
        ('now.get("owner") != owner or ', ""),
    )


def lease_outlives_the_retries() -> Planted:
    """A lease is so long that all retries meet it, also when its owner is dead (N4)."""
    return mock.patch.object(holding, "LEASE_MS", 30 * 86_400_000)


def live_lease_ignored() -> Planted:
    """Whoever comes takes the part, also from a worker that is alive (I1)."""
    return changed(ImportsTable.claim, ("lease_until_ms < :now", "lease_until_ms <> :now"))


def lost_reply_taken_for_a_loss() -> Planted:
    """Our own progress, refused when the SDK repeats it, is taken for another worker's (F8)."""
    return changed(
        ImportsTable.progress, ('if now.get("owner") != owner or _part_state(now) != after:', "if now is not None:")
    )


def lost_reply_of_the_notebook_taken_for_a_loss() -> Planted:
    """The same of the notebook: the only worker that settles stops (F8)."""
    return changed(ImportsTable.write_notes, ('if now.get("writer") != writer:', "if now is not None:"))


def lost_reply_of_the_end_taken_for_a_loss() -> Planted:
    """The same of the last write: nobody is told that the import has ended (F8)."""
    return changed(ImportsTable.close, ('return item.get("closer") == closer', "return False"))


def parts_done_counted() -> Planted:
    """How many parts are done is a counter, so that a part done twice is two parts, and nobody looks again (I2)."""
    counted = "execution.part_bytes * min(len(self._now(execution.id).parts_done), execution.part_count - 1)"
    return both(
        changed(ImportsTable.part_done, ('{"NS": [str(start)]}', f'{{"NS": [str({counted})]}}')),
        changed(importing._import_part, ("part.start not in execution.parts_done:", "not execution.parts_done:")),
        nobody_looks_twice(),
    )


def outcome_fixed_by_whoever_comes() -> Planted:
    """FINALISING is written whatever the phase is, so that a second settler fixes another outcome (I3)."""
    return changed(
        ImportsTable._moved,
        (
            "{by_name['status']} = :status AND {by_name['phase']} = :phase AND",
            "{by_name['status']} <> :phase AND :status <> :phase AND",
        ),
    )


def execution_created_again() -> Planted:
    """Each delivery that finds no execution writes a new one over what another made meanwhile (A1)."""
    return changed(ImportsTable.create, ('ConditionExpression="attribute_not_exists(pk)"', ""))


def canceled_stays_in_the_index() -> Planted:
    """An execution that was canceled is listed as unfinished for ever (I11)."""
    return changed(
        ImportsTable._moved,
        (
            "if after.phase is Phase.CLOSED else",
            "if after.phase is Phase.CLOSED and after.status is not Status.CANCELED else",
        ),
    )


def redrive_keeps_the_fence() -> Planted:
    """A fence holds for ever, so that nobody may go on after a redrive (N10)."""
    return changed(
        ImportsTable.claim,
        ('" OR (attribute_type(fenced, :bool) AND :attempt > :one))"', '")"'),
        ("OR fenced < :attempt", "OR fenced < :none"),
        ('":attempt": execution.attempt,', ""),
        ('":bool": "BOOL",', ""),
        ('item.get("fenced", 0) >= execution.attempt', '"fenced" in item'),
    )


def fence_of_the_first_part_only() -> Planted:
    """Only the first part's worker is stopped (N10)."""
    return changed(ImportsTable.fence, ("for part in parts:", "for part in list(parts)[:1]:"))


def no_fence() -> Planted:
    """The terminal state is written, and the workers go on (N10)."""
    return changed(ImportsTable.fence, ("for part in parts:", "for part in list(parts)[:0]:"))


def stem_taken_by_all() -> Planted:
    """Two files of one name on one day write over each other's errors (I7)."""
    return changed(settling._destination, ("destination(execution, free)", "destination(execution, True)"))


def refused_messages_ignored() -> Planted:
    """A success that lists refused messages is taken for one (H3)."""
    return changed(PartQueue._send, ('answer.get("Failed", [])', "()"))


PROGRESS = "UpdateItem .*PART#"
BUGS = [
    Bug(unprocessed_items_ignored, "medium", "partly done", "_deleted", "BatchWriteItem"),
    Bug(missing_reply_taken_for_done, "medium", "connection lost", "_deleted", "BatchWriteItem"),
    Bug(failed_put_count_ignored, "stream", "partly done", "_deleted", "PutRecordBatch"),
    Bug(user_record_without_its_rank, "user properties", "queue unruly", "check_users", setup={"part_bytes": 1024}),
    Bug(random_event_ids, "tiny", "nothing", "_deleted"),
    Bug(event_ids_by_position, "tiny", "nothing", "_deleted"),
    Bug(random_ids_on_the_stream, "stream", "killed after", "check_stream", "PutRecordBatch"),
    Bug(refused_row_still_good, "medium", "unwelcome row", "_part"),
    Bug(counters_added_up, "medium", "reply lost", "check_tally", PROGRESS, begin=1),
    Bug(position_not_in_the_condition, "medium", "arrives again", "_moved", PROGRESS, begin=1),
    Bug(owner_not_in_the_condition, "medium", "swept after long", "_moved", "BatchWriteItem"),
    Bug(
        lease_outlives_the_retries,
        "medium",
        "killed after",
        "_live",
        PROGRESS,
        setup={"import_seconds": 60, "hop_seconds": 60},
    ),
    Bug(live_lease_ignored, "medium", "told again", "check_leases", "BatchWriteItem"),
    Bug(lost_reply_taken_for_a_loss, "medium", "reply lost", "helped_by", PROGRESS, begin=1),
    Bug(lost_reply_of_the_notebook_taken_for_a_loss, "four parts, in pieces", "reply lost", "helped_by", "NOTES"),
    Bug(lost_reply_of_the_end_taken_for_a_loss, "tiny", "reply lost", "closings", "UpdateItem .*EXEC$", begin=3),
    Bug(parts_done_counted, "four parts", "queue unruly", "_deleted"),
    Bug(outcome_fixed_by_whoever_comes, "medium", "told again", "_execution", "UpdateItem .*EXEC$"),
    Bug(execution_created_again, "medium", "told again", "_execution", "PutItem .*EXEC$"),
    Bug(canceled_stays_in_the_index, "four parts", "canceled", "_execution", PROGRESS),
    Bug(
        redrive_keeps_the_fence,
        "four parts",
        "redriven",
        "_live",
        PROGRESS,
        setup={"import_seconds": 60, "hop_seconds": 60},
    ),
    Bug(fence_of_the_first_part_only, "four parts", "canceled", "_moved", PROGRESS, begin=3),
    Bug(no_fence, "medium", "canceled", "_moved", PROGRESS),
    Bug(stem_taken_by_all, "medium", "beside its twin", "check_bad_rows"),
    Bug(refused_messages_ignored, "four parts", "partly done", "helped_by", "SendMessageBatch"),
]
