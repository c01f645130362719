"""A file replayed before and after somebody was forgotten: every reading's books balance, and nobody comes back."""

from __future__ import annotations

import gzip
from pathlib import Path

from importer.aws.stored import StoredTables
from importer.ledger import Books, Verdict, verify
from importer.ledger.row_places import Asked
from importer.ledger.undo import undo
from importer.ledger.why import why_row
from tests.contract.test_forget import ANN, forget, spoken_of
from tests.faults.files import row
from tests.faults.importing import Importer, installed
from tests.support.undoing import desk

BODY = b"\n".join(
    [
        row(1),
        row(2).replace(b"user-2", ANN.encode()),
        b'{"user_id":"%s","event_name":"login"}' % ANN.encode(),
        b"no row",
        row(3),
    ]
)


def books(importer: Importer) -> Books:
    place, cloud = importer.workplaces(lambda: 900_000), importer.cloud
    tables = cloud.events_table, cloud.users_table, cloud.imports_table
    return Books(place.objects, place.records, StoredTables(cloud.client("dynamodb"), *tables, cloud.clock, 1))


def verdicts(importer: Importer) -> list[Verdict]:
    with importer.cloud.unseen():
        ledger = books(importer)
        found = [ledger.records.execution(item["id"]) for item in importer.executions()]
        return [verify(ledger, execution, scan=True) for execution in found if execution is not None]


def test_every_reading_balances_whether_it_was_before_or_after():
    with installed() as importer:
        cloud = importer.cloud
        assert f'"{ANN}"'.encode() in BODY
        importer.deliver(cloud.drop("imports/a.json", BODY))
        [first] = importer.executions()
        cloud.clock.sleep(60)
        importer.replay(first["id"], "before")
        importer.run_until_quiet()
        cloud.clock.sleep(60)
        assert [verdict.findings for verdict in verdicts(importer)] == [(), ()]
        forget(importer, ANN)
        cloud.clock.sleep(60)
        importer.replay(first["id"], "after")
        importer.run_until_quiet()
        assert not [key for key, body in cloud.objects().items() if spoken_of(body, [ANN])]
        assert ANN not in {item["user_id"] for item in cloud.items(cloud.events_table)}
        found = verdicts(importer)
        assert [verdict.findings for verdict in found] == [(), (), ()]
        assert sorted(verdict.recounted.blank for verdict in found)[-1] == 2  # the last reading saw blank rows
        with cloud.unseen():
            execution = books(importer).records.execution(first["id"])
            assert execution is not None
            why = why_row(books(importer), execution, Asked(line=2))
        assert (why.verdict.value, "forgotten" in why.says[0]) == ("erased", True)


def test_a_replay_is_of_its_files_dialect_whatever_is_blank_by_now():
    """Most of the first rows told; they were of somebody who was forgotten. Another one is, afterwards."""
    visit = b'{"visitor":{"id":"%s"},"actions":[{"name":"a","time":1700000000000}]}' % ANN.encode()
    with installed() as importer:
        cloud = importer.cloud
        importer.deliver(cloud.drop("imports/a.json", b"\n".join([visit, visit.replace(b'"a"', b'"b"'), row(1)])))
        [first] = importer.executions()
        cloud.clock.sleep(60)
        forget(importer, ANN)
        cloud.clock.sleep(60)
        importer.replay(first["id"], "after")
        importer.run_until_quiet()
        found = [books(importer).records.execution(item["id"]) for item in importer.executions()]
        assert [execution.format for execution in found if execution is not None] == ["woopra", "woopra"]
        cloud.clock.sleep(60)
        forget(importer, "user-1", secret="7" * 32)
        assert [(verdict.findings, verdict.forgotten) for verdict in verdicts(importer)] in (
            [((), 3), ((), 1)],
            [((), 1), ((), 3)],
        )


def test_a_refused_file_that_was_set_aside_is_still_explained_and_undone(tmp_path: Path):
    """Half of a file was stored when its end was found to be missing; then somebody in it was forgotten."""
    packed = gzip.compress(BODY + b"\n" + b"".join(row(number) + b"\n" for number in range(10, 60)), mtime=0)
    with installed() as importer:
        cloud = importer.cloud
        importer.deliver(cloud.drop("imports/cut.json.gz", packed[:-6]))
        importer.run_until_quiet()
        importer.deliver(cloud.drop("imports/other.json", row(1) + b"\n" + row(7)))
        importer.run_until_quiet()
        cut, other = sorted(importer.executions(), key=lambda one: one["status"])
        assert (cut["status"], cut["result"]["total_success"] > 9) == ("FAILED", True)
        cloud.clock.sleep(120)
        forget(importer, ANN)
        assert [*cloud.objects("set_aside/")] == [f"set_aside/{cut['id']}/cut.json.gz"]
        with cloud.unseen():
            execution = books(importer).records.execution(cut["id"])
            assert execution is not None
            found = [why_row(books(importer), execution, Asked(line=line)).verdict.value for line in (1, 2, 5)]
        assert found == ["stored", "erased", "stored"]
        for one in (other, cut):
            undo(desk(importer, tmp_path), one["id"], "test")
        assert cloud.items(cloud.events_table) == []
