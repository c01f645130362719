"""A watcher on the wire: what must hold at every moment, looked at each time AWS has done something.

    cloud.wire.watchers.append(watcher := Watcher(cloud))
    …
    watcher.assert_nothing_wrong()

It sees each write at the instant it is made, also one whose worker was killed before it learnt so. Rules:

    executions  one per object version; what is pinned stays, and a dialect that nobody could tell yet is pinned when
                reading begins; status and phase make legal moves; SUCCEEDED and CANCELED are final; finished parts
                only get more; an outcome once fixed stays; closed or listed as unfinished
    SUCCEEDED   everything it promises is true at that very write (books.check_succeeded)
    parts       position and tally never move back within an attempt and its rules; a tally equals the truth of the
                lines before the position at every moment; nobody moves a fenced part; tries and hops are bounded
    stems       belong to who had them first
    notices     of an ending that has been written, true, without what rows hold; and all have been told in the end
    objects     a version under imports/ is deleted only when all it holds is durable; archive, errors and receipts
                never are, and an archived object's bytes never change
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from boto3.dynamodb.types import TypeDeserializer
from botocore.awsrequest import AWSResponse

from . import oracle
from .books import check_durable, check_succeeded, check_tally

if TYPE_CHECKING:
    from .cloud import Cloud, Dropped
    from .wire import Call

LEGAL_MOVES = {
    ("PENDING", "RUNNING"),
    ("PENDING", "FAILED"),
    ("PENDING", "CANCELED"),
    ("RUNNING", "SUCCEEDED"),
    ("RUNNING", "FAILED"),
    ("RUNNING", "CANCELED"),
    ("FAILED", "PENDING"),
}
LEGAL_PHASES = {
    ("IMPORTING", "FINALISING"),
    ("IMPORTING", "CLOSING"),
    ("FINALISING", "CLOSED"),
    ("FINALISING", "CLOSING"),
    ("CLOSING", "CLOSED"),
    ("CLOSED", "IMPORTING"),  # a redrive
}
PINNED = ("id", "creation_date", "num_tasks", "parameters.file_uri")
PINNED_STATE = ("source", "definition", "sinks", "part_bytes")
COUNTERS = ("lines", "blank", "good", "bad", "events", "user_changes", "inner_lines")
MOST_TRIES = 11  # ten, and the claim that finds so and gives up

Item = dict[str, Any]
_loads = TypeDeserializer().deserialize


class Watcher:
    """Looks at every executed call of one cloud.

    Attributes:
        wrong: what broke a rule, in order, each with its traceback.
        seen_messages: the bodies of all messages ever sent.
        closings: id of a notice that is due → the execution as it was closed.
        told: id of a notice → what of it was sent: "event", "message", as often as it was.
    """

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._items: dict[tuple[str, str], Item] = {}
        self._last_hop: dict[tuple[str, str], int] = {}
        self.wrong: list[AssertionError] = []
        self.seen_messages: list[str] = []
        self.closings: dict[str, Item] = {}
        self.told: dict[str, list[str]] = {}

    def assert_nothing_wrong(self) -> None:
        assert not self.wrong, "\n".join(map(str, self.wrong))

    def __call__(self, call: Call, answer: AWSResponse) -> None:
        if answer.status_code >= 300:
            return
        try:
            if call.service == "dynamodb":
                self._table_call(call)
            elif call.service == "s3":
                self._bucket_call(call)
            elif call.service == "sqs":
                entries = call.document.get("Entries") or [call.document]
                self.seen_messages += [entry["MessageBody"] for entry in entries if "MessageBody" in entry]
            elif call.service == "eventbridge":
                for entry in call.document["Entries"]:
                    self._told_event(json.loads(entry["Detail"]))
            elif call.service == "sns":
                self._told_message(call.fields["Message"])
        except AssertionError as wrong:
            wrong.args = (f"{call.delivery.name}, call {call.serial}, {call.label}: {wrong}",)
            self.wrong.append(wrong)

    # --- the imports table ----------------------------------------------------------------------------------------

    def _table_call(self, call: Call) -> None:
        document = call.document
        if document.get("TableName") != self._cloud.imports_table:
            assert self._cloud.imports_table not in document.get("RequestItems", {}), "written without a condition"
            return
        if call.operation not in ("PutItem", "UpdateItem", "DeleteItem"):
            return
        key = document.get("Key") or {name: document["Item"][name] for name in ("pk", "sk")}
        name = (key["pk"]["S"], key["sk"]["S"])
        before = self._items.get(name)
        after = {k: _loads(value) for k, value in self._cloud.stored(self._cloud.imports_table, key).items()}
        self._items[name] = after
        if before == after:
            return
        if name[1] == "EXEC":
            if after.get("phase") == "CLOSED" and (before is None or before["phase"] != "CLOSED"):
                self.closings[f"{after['id']}/{int(after['retry_count']) + 1}"] = after
            self._execution(before, after)
        elif name[1].startswith("PART#"):
            self._part(name, before, after)
        elif before is not None:
            self._stem_or_notes(name[1], before, after)

    def _stem_or_notes(self, sort_key: str, before: Item, after: Item) -> None:
        if sort_key == "STEM":
            assert before["execution_id"] == after.get("execution_id"), "a stem was taken from its execution"
        elif sort_key == "NOTES":
            assert after.get("version", 0) > before["version"], "the notebook went back"

    def _execution(self, before: Item | None, after: Item) -> None:
        assert after, "an execution was deleted"
        assert ("unfinished" in after) is (after["phase"] != "CLOSED"), f"{after['phase']}, and in the index otherwise"
        if before is None:
            if "replayed" in _state(after):
                return  # one object may be replayed as often as somebody likes
            mine = _state(after)["source"]
            same = [
                item["id"]
                for (_, sk), item in self._items.items()
                if sk == "EXEC" and _state(item)["source"] == mine and item["id"] != after["id"]
            ]
            assert not same, f"two executions of one object version: {after['id']}, {same}"
            return
        failed = after["status"] == "FAILED"
        assert (after["error"] is not None) is failed, f"{after['status']}, and its error is {after['error']}"
        for name in PINNED:
            assert _at(before, name) == _at(after, name), f"{name} changed"
        for name in PINNED_STATE:
            assert _state(before).get(name) == _state(after).get(name), f"{name} changed"
        told = before["format"] in ("unread", "unknown") and before["status"] == "PENDING"
        assert told or before["format"] == after["format"], f"format {before['format']} → {after['format']}"
        was_final = before["phase"] == "CLOSED" and before["status"] in ("SUCCEEDED", "CANCELED")
        assert not was_final, f"a write after {before['status']}"
        moved = (before["status"], after["status"])
        assert moved[0] == moved[1] or moved in LEGAL_MOVES, f"status {moved[0]} → {moved[1]}"
        phases = (before["phase"], after["phase"])
        assert phases[0] == phases[1] or phases in LEGAL_PHASES, f"phase {phases[0]} → {phases[1]}"
        redriven = moved == ("FAILED", "PENDING")
        assert after["retry_count"] == before["retry_count"] + redriven, "attempts count redrives"
        assert after["rules_version"] >= before["rules_version"], "rules went back"
        rounds = [(item["rules_version"], item.get("checked", False)) for item in (before, after)]
        assert rounds[1] >= rounds[0], "a file that was checked is no longer"
        if not redriven and rounds[1] == rounds[0]:
            gone = before.get("parts_done", set()) - after.get("parts_done", set())
            begun_again = after["status"] == "FAILED" and after["phase"] == "CLOSED"  # by a redrive
            assert not gone or begun_again, f"parts are no longer done: {gone}"
            fixed = _state(before)["outcome"]
            assert fixed is None or fixed == _state(after)["outcome"], "an outcome was fixed twice"
        if moved[1] == "SUCCEEDED" != moved[0]:
            upload = self._upload_of(after)
            if upload is not None and _readable(upload):
                check_succeeded(self._cloud, upload, after)

    def _part(self, name: tuple[str, str], before: Item | None, after: Item) -> None:
        assert after, "a part was deleted"
        execution = self._items.get((name[0], "EXEC"))
        assert execution is not None, "a part without an execution"
        assert after.get("tries", 0) <= MOST_TRIES, f"claimed {after['tries']} times without getting on"
        position = int(after.get("next_offset", after["start"]))
        if before is not None:
            self._moved(name, before, after, execution)
        tally = after.get("tally")
        if tally is None:
            return
        fates = sum(tally[fate] for fate in ("good", "bad", "expired", "erased", "withheld"))
        assert tally["lines"] == tally["blank"] + fates, f"does not add up: {tally}"
        if _state(execution)["definition"].get("atomic") and not execution.get("checked"):
            assert tally["good"] + tally["events"] == 0, "a row is counted as stored before all were checked"
            return
        upload = self._upload_of(execution)
        if upload is not None and _readable(upload):
            expected = oracle.read(upload.key, upload.body)
            check_tally(tally, expected.counts([(int(after["start"]), position)]))

    def _moved(self, name: tuple[str, str], before: Item, after: Item, execution: Item) -> None:
        assert (before["start"], before["stop"]) == (after["start"], after["stop"]), "its borders changed"
        position, was_at = (int(item.get("next_offset", item["start"])) for item in (after, before))
        # Its `rules_version` counts rounds: a file that is stored as a whole is read twice under the same rules.
        began_again = position == after["start"] and (
            after.get("rules_version", 0) > before.get("rules_version", 0) or execution["status"] == "FAILED"
        )
        if began_again:
            self._last_hop.pop(name, None)
        else:
            assert position >= was_at, f"the position went back from {was_at} to {position}"
            for counter in COUNTERS:
                if "tally" in before:
                    assert after["tally"][counter] >= before["tally"][counter], f"{counter} fell"
            assert bool(after.get("done")) >= bool(before.get("done")), "it is no longer done"
            fenced = before.get("fenced", 0) > execution["retry_count"]  # attempts count from 1
            assert not fenced or position == was_at, "a fenced part was moved"
            assert execution["phase"] != "CLOSED" or position == was_at, "moved although its execution is closed"
        if after.get("hops", 0) > before.get("hops", 0):
            assert position > self._last_hop.get(name, -1), f"handed on twice at byte {position}: no progress"
            self._last_hop[name] = position

    def _upload_of(self, execution: Item) -> Dropped | None:
        """What was dropped for this execution; None for something the test did not drop through `cloud.drop`."""
        replayed = _state(execution).get("replayed")
        if replayed is not None:
            execution = self._items[f"EXEC#{replayed['execution_id']}", "EXEC"]
        source = _state(execution)["source"]
        found = [
            upload
            for upload in self._cloud.dropped
            if upload.key == source["key"]
            and (upload.version_id == source["version_id"] if source["version_id"] else upload.etag == source["etag"])
        ]
        return found[-1] if found else None

    # --- notices --------------------------------------------------------------------------------------------------

    def _told_event(self, detail: dict[str, Any]) -> None:
        """It tells of an ending that has been written, and what it says is so."""
        item = self._told_of(detail["notice_id"], "event")
        summary, result = detail["summary"], item["result"]
        sums = _state(item)["outcome"]["sums"]
        assert (summary["status"], detail["execution"]["status"]) == (item["status"], item["status"]), "another end"
        counts = {name: int(value) for name, value in sums.items() if name in COUNTERS and name in summary}
        assert {name: summary[name] for name in counts} == counts, f"counts {summary}, and {counts} were counted"
        assert f"s3://{summary['bucket']}/{summary['file']}" == item["parameters"]["file_uri"], "another file"
        assert summary["receipt_uri"] == result["receipt_uri"], "another receipt"
        if summary["reasons"] is not None:
            refused = sum(reason["count"] for reason in summary["reasons"])
            assert summary["more_reasons"] or refused == sums["bad"], f"{refused} refused, and {sums['bad']} counted"
        assert "top_identifiers" not in (detail["execution"]["result"] or {}), "it tells what rows hold"

    def _told_message(self, text: str) -> None:
        execution_id, _, attempt = text.partition("\nExecution: ")[2].partition("\n")[0].partition(", attempt ")
        item = self._told_of(f"{execution_id}/{attempt}", "message")
        said = {"SUCCEEDED": " was imported: ", "FAILED": " was NOT imported", "CANCELED": " was canceled: "}
        assert said[item["status"]] in text.partition("\n")[0], f"{item['status']}, and the message: {text[:200]}"

    def _told_of(self, notice_id: str, way: str) -> Item:
        assert notice_id in self.closings, f"told of {notice_id}, which is not closed"
        self.told.setdefault(notice_id, []).append(way)
        return self.closings[notice_id]

    def check_all_told(self, letters: Collection[str] = ()) -> None:
        """Every ending was told, in each way there is.

        Args:
            letters: executions whose notices are among the dead letters.
        """
        ways = {"event", "message"} if self._cloud.notice_topic else {"event"}
        silent = [f"{due} {self.closings[due]['status']}" for due in self.closings if ways - {*self.told.get(due, ())}]
        silent = [due for due in silent if due.partition("/")[0] not in letters]
        assert not silent, f"nobody was told of {silent}"

    # --- the bucket -----------------------------------------------------------------------------------------------

    def _bucket_call(self, call: Call) -> None:
        if call.operation == "DeleteObject":
            self._deleted(call, call.key or "", call.query.get("versionId"))
        elif call.operation == "DeleteObjects":
            for key in re.findall(r"<Key>(.*?)</Key>", call.body.decode()):
                self._deleted(call, unquote(key), None)
        elif call.operation in ("PutObject", "CopyObject", "CompleteMultipartUpload"):
            key = call.key or ""
            assert not key.startswith("imports/"), "something was written into imports/"
            if key.startswith("completed_imports/") and "uploadId" not in call.query:
                bodies = {body for _, body in self._cloud.versions(key)}
                assert len(bodies) == 1, f"{key} was written over with other bytes"

    def _deleted(self, call: Call, key: str, version_id: str | None) -> None:
        assert not key.startswith(("completed_imports/", "errors/", "receipts/")), f"{key} was deleted"
        if not key.startswith("imports/"):
            return
        uploads = [upload for upload in self._cloud.dropped if upload.key == key]
        if self._cloud.versioned:
            if version_id is None:
                return  # a delete marker: no byte is lost
            uploads = [upload for upload in uploads if upload.version_id == version_id]
        elif key in self._cloud.objects():
            return  # refused, or gone before
        if not uploads or not _readable(uploads[-1]):
            return
        upload = uploads[-1]
        mine = [
            item for (_, sk), item in self._items.items() if sk == "EXEC" and self._upload_of(item) is upload
        ]  # fmt: skip
        assert mine, f"{key} was deleted without an execution"
        check_durable(self._cloud, upload, mine[-1])


def _readable(upload: Dropped) -> bool:
    """Whether the oracle can say what the file is to leave behind."""
    try:
        oracle.read(upload.key, upload.body)
    except (oracle.Undecided, EOFError, OSError):
        return False
    return True


def _state(item: Item) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(item["state"])
    return state


def _at(item: Item, path: str) -> Any:
    for name in path.split("."):
        item = item[name]
    return item
