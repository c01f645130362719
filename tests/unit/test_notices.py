"""What is told of an execution that has ended: the event, the message, and what neither ever holds."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest

from importer.doors.notices import LONGEST_SUBJECT, MOST_REASONS, Notice, notice, receipt_key
from importer.model import Destination, Execution, FileError, Outcome, Phase, S3Object, Status, Tally, Usage
from importer.receipts import receipt
from tests.faults.importing import VENDOR_ROWS, installed
from tests.support.samples import BUCKET, EVENTS

SECRET = "ann@example.org"
DAY = "2026/11/26"


def ended(
    status: Status = Status.SUCCEEDED,
    good: int = 3,
    bad: int = 1,
    key: str = "imports/logins.json",
    error: FileError | None = None,
    **more: Any,
) -> Execution:
    """A closed execution."""
    name = key.removeprefix("imports/")
    to = Destination(
        f"completed_imports/{DAY}/{name}",
        f"errors/{DAY}/{name}",
        f"errors/{DAY}/{name}.reasons.ndjson",
        f"receipts/{DAY}/{name}.json",
    )
    sums = Tally(lines=good + bad, good=good, bad=bad, events=good, sampled=200, top_users={SECRET: 90})
    outcome = Outcome(to, 1_795_725_092_500, sums, {0: 1195}, "ab" * 32, Usage(event_write_units=3, s3_writes=9))
    execution = Execution(
        id="e1580a3dbbab6c58672b4c1caf93ec1a",
        source=S3Object("import-bucket", key, "v1", "etag", 1195, 1_795_725_089_000),
        status=status,
        phase=Phase.CLOSED,
        created_ms=1_795_725_090_000,
        definition={},
        format="cooladata",
        part_count=1,
        start_date=1_795_725_090_500,
        parts_done=frozenset({0}),
        outcome=outcome,
        error=error,
    )
    return replace(execution, **more)


def receipt_of(execution: Execution, *reasons: tuple[str, str, int, int | None], **more: Any) -> bytes:
    """Its receipt, with these reasons: code, field, count, first line. Each quotes a row in its samples."""
    assert execution.outcome is not None
    said = json.loads(receipt(execution, execution.outcome, None))
    sample = {"line": 2, "offset": 275, "message": f"user_id: found {SECRET}", "hint": f"is {SECRET} meant?"}
    said["reasons"] = [
        {"code": code, "field": field, "count": count, "first_line": first, "samples": [sample]}
        for code, field, count, first in reasons
    ]
    if reasons:
        said["errors_uri"] = said["reasons_uri"] = "s3://…"
    return json.dumps(said | more).encode()


def told(execution: Execution, *reasons: tuple[str, str, int, int | None]) -> Notice:
    return notice(execution, receipt_of(execution, *reasons))


def detail_of(said: Notice) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said.detail)
    return found


ONE_REASON = ("missing_field", "event_time_ts", 1, 2)


def test_the_message_says_everything_in_its_first_line_then_what_to_do():
    """Whoever reads one line of a mail knows whether to read on."""
    assert told(ended(), ONE_REASON).text == (
        "imports/logins.json was imported: of 4 rows 3 stored, 1 refused.\n"
        "\n"
        "What to do: mend the rows in the file named under Refused, and drop it into imports/ again.\n"
        "\n"
        "Why rows were refused:\n"
        "  1  missing_field (event_time_ts), first in line 2\n"
        "\n"
        f"File:      s3://import-bucket/completed_imports/{DAY}/logins.json\n"
        f"Refused:   s3://import-bucket/errors/{DAY}/logins.json\n"
        f"Why each:  s3://import-bucket/errors/{DAY}/logins.json.reasons.ndjson\n"
        f"Receipt:   s3://import-bucket/receipts/{DAY}/logins.json.json\n"
        "Import:    default, format cooladata\n"
        "Took:      2.0 s\n"
        "Cost:      US$ 0.000093 at least\n"
        "Execution: e1580a3dbbab6c58672b4c1caf93ec1a, attempt 1\n"
        "\n"
        "More of it: importer status e1580a3dbbab6c58672b4c1caf93ec1a\n"
    )


@pytest.mark.parametrize(
    ("execution", "subject", "first", "what_to_do"),
    [
        (
            ended(bad=0),
            "logins.json imported",
            "imports/logins.json was imported: all 3 rows are stored.",
            "What to do: nothing.",
        ),
        (
            ended(good=0, bad=0),
            "logins.json imported",
            "imports/logins.json was imported: it has no rows.",
            "What to do: nothing.",
        ),
        (
            ended(Status.FAILED, 0, 0, error=FileError("truncated", "the gzip stream ends: upload it again")),
            "logins.json NOT imported",
            "imports/logins.json was NOT imported (truncated).",
            "What to do: the gzip stream ends: upload it again. The file is where it was; what is stored already is "
            "not doubled when it is dropped again.",
        ),
        (
            ended(Status.CANCELED, 1200, 30),
            "logins.json canceled, 30 rows refused",
            "imports/logins.json was canceled: of 1,230 rows 1,200 stored, 30 refused until then.",
            "What to do: nothing, or drop the file again to import it: what is stored already is not doubled.",
        ),
    ],
)
def test_each_end_has_its_own_words(execution: Execution, subject: str, first: str, what_to_do: str):
    """Subject, first line, and what to do; a whole success asks for nothing."""
    said = told(execution)
    assert (said.subject, *said.text.split("\n")[:3:2]) == (subject, first, what_to_do)


def test_subscribers_can_choose_by_attributes():
    """`trouble` is what `NoticeWhen` asks for."""
    assert dict(told(ended(bad=0)).attributes) == {"status": "SUCCEEDED", "trouble": "no", "import_id": "default"}
    assert told(ended(bad=1)).attributes["trouble"] == "yes"
    assert told(ended(Status.CANCELED, bad=0)).attributes["trouble"] == "yes"


def test_the_id_is_of_the_ending_however_often_it_is_told_of():
    """A consumer drops doubles by it; a redriven import ends anew."""
    ids = [told(ended(), ONE_REASON).id, notice(ended(), None).id, told(ended(attempt=2), ONE_REASON).id]
    assert ids == [f"{ended().id}/1", f"{ended().id}/1", f"{ended().id}/2"]
    assert told(ended(), ONE_REASON) == told(ended(), ONE_REASON)
    assert detail_of(told(ended(), ONE_REASON))["notice_id"] == ids[0]


def test_nothing_of_a_row_is_told():
    """Samples quote rows, and the identifiers that turn up most are persons (J8); their names are in the receipt."""
    execution = ended()
    said = told(execution, ONE_REASON)
    assert SECRET.encode() in receipt_of(execution, ONE_REASON)
    assert SECRET not in said.detail + said.text + said.subject
    assert "samples" not in said.detail


def test_the_cost_is_the_receipts():
    """To the millionth of a cent."""
    execution = ended()
    assert detail_of(told(execution))["summary"]["cost_usd"] == json.loads(receipt_of(execution))["cost"]["usd"]


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"not JSON",
        b"[]",
        receipt_of(ended(), ONE_REASON, execution_id="another"),
        receipt_of(ended(), ONE_REASON, status="FAILED"),
        receipt_of(ended(), ONE_REASON, timing={"ended_ms": 1}),
    ],
)
def test_without_its_own_receipt_nothing_is_said_of_reasons(body: bytes | None):
    """A redrive may have written another one over it. All else is told."""
    said = notice(ended(), body)
    summary = detail_of(said)["summary"]
    assert (summary["reasons"], summary["more_reasons"], summary["bad"]) == (None, None, 1)
    assert "Why rows" not in said.text


def test_the_largest_reasons_are_told_and_how_many_there_are_more():
    """In the order of the receipt."""
    said = told(ended(bad=90), *[(f"code_{number}", "", 2, None) for number in range(MOST_REASONS + 3)])
    summary = detail_of(said)["summary"]
    assert [reason["code"] for reason in summary["reasons"]] == [f"code_{number}" for number in range(MOST_REASONS)]
    assert summary["more_reasons"] == 3
    assert "  and 3 reasons more, in the receipt\n" in said.text


@pytest.mark.parametrize("character", ["\0", "\u202e", "\n", "é", "\ufffe", "😀", '"', "\\"])
def test_whatever_a_file_is_called_the_notice_fits_and_has_its_lines(character: str):
    """Names are strangers' text (J8): the longest key S3 allows, of one character. EventBridge and SNS take 256 KB."""
    key = "imports/" + character * ((1024 - 8) // len(character.encode()))
    error = FileError("corrupt", character * 100_000)
    many = [(f"code_{number}", character * 100, 2, None) for number in range(50)]
    for execution in (ended(key=key), ended(Status.FAILED, key=key, error=error)):
        said = told(execution, *many)
        assert said.detail.isascii()
        assert len(said.detail) < 128 << 10
        assert len(said.text.encode()) < 128 << 10
        assert detail_of(said)["summary"]["file"] == key
        assert re.fullmatch(r"[!-~][ -~]*", said.subject), said.subject
        assert len(said.subject) <= LONGEST_SUBJECT
        assert [line for line in said.text.split("\n") if not line.isprintable()] == []
        plain = replace(execution, source=replace(execution.source, key="imports/a.json"))
        assert said.text.count("\n") == told(plain, *many).text.count("\n")


def test_the_sample_is_what_consumers_get():
    """events/notices/execution_ended.json, but for times, versions and cents."""
    with installed() as importer:
        cloud = importer.cloud
        importer.notify(cloud.drop("imports/logins.json", VENDOR_ROWS))
        entries: list[dict[str, Any]] = []

        def keep(call: Any, _: Any) -> None:
            entries.extend(call.document["Entries"] if call.operation == "PutEvents" else [])

        cloud.wire.watchers.append(keep)
        importer.run_until_quiet()
    (entry,) = entries
    sample = json.loads((EVENTS / "notices" / "execution_ended.json").read_bytes())
    assert (sample["source"], sample["detail-type"]) == (entry["Source"], entry["DetailType"])
    sent = json.loads(entry["Detail"].replace("import-bucket", BUCKET))
    assert timeless(sample["detail"]) == timeless(sent)


def timeless(value: Any) -> Any:
    """With what differs from run to run told by its type."""
    if isinstance(value, dict):
        return {
            name: type(member).__name__
            if re.search(r"_ms$|_date$|^duration$|version_id|cost_usd|^id$|notice_id", name)
            else timeless(member)
            for name, member in value.items()
        }
    if isinstance(value, str):
        return re.sub(r"\d{4}/\d\d/\d\d", "YYYY/MM/DD", value)
    return [timeless(member) for member in value] if isinstance(value, list) else value


def test_the_receipt_is_looked_for_where_it_was_written():
    """In the bucket of the file."""
    assert receipt_key(ended()) == f"receipts/{DAY}/logins.json.json"
