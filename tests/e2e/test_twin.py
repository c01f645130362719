"""End to end through the twin: real `sam deploy`, a real S3 notification, the function under its own IAM policy."""

import gzip
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from cli import twin
from importer.aws.clock import SystemClock
from importer.aws.people import StoredPeople
from importer.aws.tables import ImportsTable
from importer.definitions import Definition
from importer.users import person
from tests.e2e.bench import Bench, require_curl, rows_of, today, until

pytestmark = pytest.mark.xdist_group("twin")

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "events" / "files"
T = 1425920218354


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with twin.running(tmp_path_factory.mktemp("twin"), ["PartSizeMiB=8"]) as stack:
        yield Bench(stack)


@pytest.mark.parametrize("name", ["logins.json", "journey_logins.json"])
def test_the_vendors_four_rows_walk_to_the_store_and_exactly_the_second_is_refused(bench: Bench, name: str) -> None:
    """Three rows in DynamoDB with 2012 times, one in errors/ with the fix, the file's bytes in completed_imports/."""
    body = (SAMPLES / name).read_bytes()
    rows = body.splitlines(keepends=True)
    before = {event["event_key"] for event in bench.events("PU4UplQaZtaYWgRdLcntauwg")}
    bench.drop(name, body, Metadata={"sender": "nightly"})

    receipt = bench.receipt(name)
    assert {key: receipt[key] for key in ("status", "complete", "lines", "blank", "rows", "good", "bad", "events")} == {
        "status": "SUCCEEDED",
        "complete": True,
        "lines": 4,
        "blank": 0,
        "rows": 4,
        "good": 3,
        "bad": 1,
        "events": 3,
    }
    events = [e for e in bench.events("PU4UplQaZtaYWgRdLcntauwg") if e["event_key"] not in before]
    assert [(event["event_name"], int(event["event_time_ts"])) for event in events] == [
        ("login", 1350273990000),
        ("additem", 1350274000000),
        ("payment", 1350274005000),
    ]
    assert all(("ip" in event["properties"]) == (b'"ip":""' not in body) for event in events)
    assert bench.get(f"errors/{today()}/{name}") == rows[1]
    (reason,) = map(json.loads, bench.get(f"errors/{today()}/{name}.reasons.ndjson").splitlines())
    assert (reason["line"], reason["offset"], reason["reason"], reason["field"], reason["hint"]) == (
        2,
        len(rows[0]),
        "missing_field",
        "event_time_ts",
        "event_timestamp present: did you mean event_time_ts?",
    )
    assert bench.get(f"completed_imports/{today()}/{name}") == body
    head = bench.s3.head_object(Bucket=bench.stack.bucket, Key=f"completed_imports/{today()}/{name}")
    assert head["Metadata"] == {"sender": "nightly"}
    assert bench.keys("imports/") == []
    assert bench.keys("work/") == []


def test_a_compressed_file_of_many_rows_with_user_properties_is_imported_whole(bench: Bench) -> None:
    """5,000 rows in gzip: every event in the store, the latest value of a user property in the users table."""
    rows = b"".join(
        b'{"user_id":"many","event_time_ts":%d,"event_name":"tick","{u}city":"city-%d"}\n' % (1425920218354 + n, n)
        for n in range(5_000)
    )
    bench.drop("many.json.gz", gzip.compress(rows))
    receipt = bench.receipt("many.json.gz")
    assert (receipt["good"], receipt["bad"], receipt["user_changes"]) == (5_000, 0, 5_000)
    count = 0
    page: dict[str, Any] = {}
    while True:
        condition = boto3.dynamodb.conditions.Key("user_id").eq("many")
        found = bench.tables.Table(bench.stack.events_table).query(
            KeyConditionExpression=condition, Select="COUNT", **page
        )
        count += found["Count"]
        if "LastEvaluatedKey" not in found:
            break
        page = {"ExclusiveStartKey": found["LastEvaluatedKey"]}
    assert count == 5_000
    record = bench.tables.Table(bench.stack.users_table).get_item(Key={"user_id": "many", "record": "prop#city"})
    assert record["Item"]["value"] == "city-4999"


def test_a_file_dropped_under_previews_is_told_of_and_not_imported(bench: Bench) -> None:
    """By its own function under its own role: two objects, no execution, no event; beside what the store holds."""
    bench.drop("before.json", b'{"user_id":"seen","event_time_ts":1425920218354,"event_name":"seen"}\n')
    bench.receipt("before.json")
    rows = b'{"user_id":"unseen","event_time_ts":1425920218354,"event_name":"unseen"}\nno row\n'
    before = set(bench.keys("completed_imports/") + bench.keys("errors/") + bench.keys("receipts/"))
    bench.s3.put_object(Bucket=bench.stack.bucket, Key="previews/look.json", Body=rows)
    until(lambda: "preview_results/look.json.html" in bench.keys("preview_results/"))
    said = json.loads(bench.get("preview_results/look.json.json"))
    assert {name: said[name] for name in ("schema", "error", "good", "bad", "complete")} == {
        "schema": "preview/1",
        "error": None,
        "good": 1,
        "bad": 1,
        "complete": True,
    }
    assert said["new"]["event_names"] == ["unseen"]
    assert said["compared_with"]["events"]["items"] > 0
    assert b"An import would write 1 event and put 1 row into errors/" in bench.get("preview_results/look.json.html")
    assert bench.get("previews/look.json") == rows
    assert set(bench.keys("completed_imports/") + bench.keys("errors/") + bench.keys("receipts/")) == before
    assert bench.events("unseen") == []


def test_the_stream_gets_what_the_tables_get(bench: Bench) -> None:
    """Sinks=both: every event and user change as a line, under the function's own permission; bad rows on neither."""
    rows = [
        '{"user_id":"both","event_time_ts":1425920218354,"event_name":"tick","n":18446744073709551616,"s":"a\u2028b"}',
        '{"user_id":"both","event_time_ts":1425920218355,"event_name":"tick","{u}city":"Paris","n":0.10}',
        '{"user_id":"both","event_time_ts":1425920218356,"event_name":"tick","large":"' + "x" * 450_000 + '"}',
        '{"user_id":"both","event_time_ts":"never","event_name":"tick"}',
    ]
    bench.drop("both.json", "\n".join(rows).encode())
    receipt = bench.receipt("both.json")
    assert (receipt["good"], receipt["bad"]) == (2, 2)
    assert {reason["code"] for reason in receipt["reasons"]} == {"event_too_large", "bad_time"}
    assert receipt["sinks"] == {name: {"written": 2, "refused": 0} for name in ("dynamodb", "firehose")}
    until(lambda: len(bench.lines(receipt["execution_id"])) == 3)
    change, *events = bench.lines(receipt["execution_id"])
    assert (change["kind"], change["record"], change["value"]) == ("user_change", "prop#city", "Paris")
    stored = {event["event_id"]: event for event in bench.events("both")}
    assert [event["event_id"] in stored for event in events] == [True, True]
    assert [event["properties"] for event in events] == [{"n": 18446744073709551616, "s": "a\u2028b"}, {"n": 0.1}]
    assert stored[events[0]["event_id"]]["properties"]["n"] == 18446744073709551616


def test_a_mended_file_dropped_over_a_refused_one_leaves_imports_empty(bench: Bench) -> None:
    """UTF-16 is refused as a whole; saved as UTF-8 and dropped again it is imported, and nothing is left in sight."""
    rows = (SAMPLES / "logins.json").read_text(encoding="utf-8")
    bench.drop("mended.json", rows.encode("utf-16"))
    assert bench.receipt("mended.json")["error"]["code"] == "wrong_encoding"
    time.sleep(1.1)  # S3 tells uploads apart by the second
    bench.drop("mended.json", rows.encode())
    until(lambda: not bench.keys("imports/mended.json"))
    until(lambda: not bench.is_unfinished("mended.json"))
    assert len(bench.keys(f"receipts/{today()}/mended")) == 2


def test_a_file_of_the_wrong_kind_stays_in_imports_with_a_receipt_that_says_why(bench: Bench) -> None:
    """FAILED wrong_kind; nothing stored, nothing moved."""
    bench.drop("notes.txt", b"hello\n")
    receipt = bench.receipt("notes.txt")
    assert (receipt["status"], receipt["complete"], receipt["error"]["code"]) == ("FAILED", False, "wrong_kind")
    assert bench.keys("imports/") == ["imports/notes.txt"]


def test_a_csv_and_a_line_too_long_to_be_held_leave_their_bad_rows_byte_for_byte(bench: Bench) -> None:
    """Errors begin with the CSV's header; nine megabytes without a line break are copied out of a gzip."""
    bench.tables.Table(bench.stack.imports_table).put_item(
        Item={"pk": "IMPORT#tables", "sk": "IMPORT", "definition": {"mime_type": "TEXT_CSV"}}
    )
    header, good = b"user_id,event_name,event_time_ts,note\r\n", b'csv,login,2012-10-15 04:06:30,"two\r\nlines"\r\n'
    bad = b'csv,login,2012-10-15 04:06:31,5" pipe\r\n'
    bench.drop("tables/people.csv", header + good + bad)
    long = b'{"user_id":"long","x":"' + b"x" * 9_000_000 + b'"}\n'
    row = b'{"user_id":"long","event_name":"e","event_time_ts":1425920218354}\n'
    bench.drop("long.json.gz", gzip.compress(row + long, 1))
    for name, stem, errors in (
        ("tables/people.csv", "tables/people.csv", header + bad),
        ("long.json.gz", "long.json", long),
    ):
        receipt = bench.receipt(name)
        assert (receipt["good"], receipt["bad"], receipt["status"]) == (1, 1, "SUCCEEDED")
        assert bench.get(f"errors/{today()}/{stem}") == errors
    assert [event["properties"] for event in bench.events("csv")] == [{"note": "two\r\nlines"}]


def test_a_large_file_is_cut_and_its_books_are_those_of_one_that_is_not(bench: Bench) -> None:
    """20 MiB in parts of 8: every row once in the table, bad rows and their line numbers in the file's order."""
    file = rows_of("cut", 20 << 20, row_bytes=8_000)
    bench.drop("cut.json", file.body)
    receipt = bench.receipt("cut.json")
    names = ("status", "complete", "lines", "rows", "good", "bad", "events", "parts")
    assert {name: receipt[name] for name in names} == {
        "status": "SUCCEEDED",
        "complete": True,
        "lines": file.lines,
        "rows": file.lines,
        "good": len(file.event_times),
        "bad": len(file.bad_lines),
        "events": len(file.event_times),
        "parts": 3,
    }
    assert {user: bench.event_times(user) for user in file.users} == file.event_times_by_user
    assert bench.get(f"errors/{today()}/cut.json") == file.bad_bytes
    reasons = map(json.loads, bench.get(f"errors/{today()}/cut.json.reasons.ndjson").splitlines())
    assert [(reason["line"], reason["offset"], reason["reason"]) for reason in reasons] == file.bad_lines
    assert bench.get(f"completed_imports/{today()}/cut.json") == file.body
    assert bench.keys("imports/cut") == bench.keys("work/") == []
    assert bench.messages(bench.stack.part_queue_url) == bench.messages(bench.stack.dead_letter_queue_url) == 0


PERSON_ROWS = (
    b'{"event_name":"login","event_time_ts":1795176000000,"user_id":"p1","{u}city":"Paris"}\n'
    b'{"_p":"p1","_t":1795176001,"_p2":"p1@example.org"}\n'
    b'{"visitor":{"id":"p1","level":3},"actions":[{"name":"buy","time":1795176002000,"properties":{"price":3}}]}\n'
    b'{"user_account_id":"p1","operation":"UPDATE","segment_id":"vip","expiration_duration":0}\n'
    b'{"type":"track","userId":"p1@example.org","event":"seen","timestamp":"2026-11-20T12:00:03Z","messageId":"m1"}\n'
)


def test_a_person_of_five_dialects_is_put_together_and_erased(bench: Bench) -> None:
    """Read back under the names DynamoDB takes: links, segment by its index; then gone from both tables, for good."""
    imports = ImportsTable(bench.dynamodb, bench.stack.imports_table)
    imports.create_definition(Definition("gdpr", format="mediarithmics", document_type="USER_POINTS_DELETION"), 1)
    stored = StoredPeople(bench.dynamodb, bench.stack.events_table, bench.stack.users_table, SystemClock())
    bench.drop("person.json", PERSON_ROWS)
    receipt = bench.receipt("person.json")
    assert (receipt["good"], receipt["bad"], receipt["events"]) == (5, 0, 3)
    found = person("p1@example.org", stored.records, SystemClock().now_ms())
    assert (sorted(found.identifiers), found.properties) == (["p1", "p1@example.org"], {"city": "Paris", "level": 3})
    assert [record.user_id for record in stored.members("vip")] == ["p1"]

    time.sleep(1.1)  # S3 tells uploads apart by the second
    bench.drop("gdpr/p1.json", b'{"type":"USER_ACCOUNT","user_account_id":"p1"}\n')
    assert bench.receipt("gdpr/p1.json")["status"] == "SUCCEEDED"
    assert [bench.events("p1"), bench.events("p1@example.org"), list(stored.members("vip"))] == [[], [], []]
    assert person("p1", stored.records, SystemClock().now_ms()).properties == {}


def test_a_file_stored_as_a_whole_or_not_at_all(bench: Bench) -> None:
    """10 MiB in parts of 8, one bad row near the end: nothing of it is stored; mended, all of it."""
    ImportsTable(bench.dynamodb, bench.stack.imports_table).create_definition(Definition("whole", atomic=True), 1)
    rows = b"".join(
        b'{"user_id":"whole-%d","event_time_ts":%d,"event_name":"e","filler":"%s"}\n' % (n % 9, T + n, b"x" * 15_000)
        for n in range(700)
    )
    bench.drop("whole/rows.json", rows.replace(b'"user_id":"whole-6","event_time_ts":%d,' % (T + 690), b'"user_id":,'))
    receipt = bench.receipt("whole/rows.json")
    assert (receipt["error"]["code"], receipt["withheld"], receipt["bad"]) == ("atomic_refused", 699, 1)
    assert bench.events("whole-0") == []
    time.sleep(1.1)
    bench.drop("whole/mended.json", rows)
    receipt = bench.receipt("whole/mended.json")
    assert (receipt["status"], receipt["good"], receipt["parts"]) == ("SUCCEEDED", 700, 2)
    assert len(bench.event_times("whole-0")) == 78


def test_a_range_of_a_version_is_all_that_is_sent(bench: Bench) -> None:
    """As S3 does; ministack as it comes sends the whole object: `cli/embedded_aws.py`."""
    body = bytes(range(256))
    first = bench.s3.put_object(Bucket=bench.stack.bucket, Key="work/ranges", Body=body)
    bench.s3.put_object(Bucket=bench.stack.bucket, Key="work/ranges", Body=b"newer")
    asked = {"Bucket": bench.stack.bucket, "Key": "work/ranges", "VersionId": first["VersionId"]}
    answer = bench.s3.get_object(**asked, Range="bytes=250-9999", IfMatch=first["ETag"])
    assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["ContentRange"]) == (206, "bytes 250-255/256")
    assert answer["Body"].read() == body[250:]
    with pytest.raises(bench.s3.exceptions.ClientError, match="InvalidRange"):
        bench.s3.get_object(**asked, Range="bytes=256-")
    bench.s3.delete_object(Bucket=bench.stack.bucket, Key="work/ranges")


# ---- The HTTP door -------------------------------------------------------------------------------------------------

# The vendors' own lines, letter by letter; only host, token and the ids they call <…> are put in.
MAKE_AN_IMPORT = r"""curl -X POST \
https://api.mediarithmics.com/v1/datamarts/<DATAMART_ID>/document_imports \
-H 'Authorization: <YOUR_API_TOKEN>' \
-H 'Content-Type: application/json' \
-d '{
"document_type": "USER_ACTIVITY",
"mime_type": "APPLICATION_X_NDJSON",
"encoding": "utf-8",
"name": "My user activity document import"
}'"""
SEND_A_LINE = r"""curl --location --request POST 'https://api.mediarithmics.com/v1/datamarts/<DATAMART_ID>/document_imports/<DOCUMENT_IMPORT_ID>/executions' \
--header 'Content-Type: application/x-ndjson' \
--header 'Authorization: <YOUR_API_TOKEN>' \
--data-raw '{"$email_hash": {"$email": "[email protected]"},"$type": "TOUCH","$session_status": "NO_SESSION","$ts": 1605262037783,"$events": [{"$event_name": "store-visit","$ts": 1605262037783,"$properties": {}}],"$location": {"$country": "france","$city": "paris","$zip_code": "75001"}}'"""  # noqa: E501
ASK = r"""curl --location --request GET 'https://api.mediarithmics.com/v1/datamarts/<DATAMART_ID>/document_imports/<DOCUMENT_IMPORT_ID>/executions/<DOCUMENT_IMPORT_EXECUTION_ID>' \
--header 'Authorization: <YOUR_API_TOKEN>'"""  # noqa: E501
CANCEL = r"""curl -X POST https://api.mediarithmics.com/v1/datamarts/<DATAMART_ID>/document_imports/<DOCUMENT_IMPORT_ID>/executions/<DOCUMENT_IMPORT_EXECUTION_ID>/action \
-H 'Authorization: <YOUR_API_TOKEN>' -H 'Content-Type: application/json' -d '{"action":"CANCEL"}'"""  # noqa: E501
IMPORT_VISITS = r"""curl -X POST https://www.woopra.com/rest/3.7/import -u '<APP_ID>:<SECRET>' --data-binary '{"visitor":{"email":"[email protected]"}, "actions":[{"time":1444077951001, "name":"purchase", "properties":{"price":20, "currency":"$"}}]}
{"visitor":{"email":"[email protected]", "username": "test2"}, "actions":[{"time":1444077951891, "name":"signup", "properties":{"campaign": true}}]}'"""  # noqa: E501


def curl(bench: Bench, line: str, **ids: str) -> Any:
    """What a vendor's line is answered here."""
    require_curl()
    assert bench.stack.api_url
    assert bench.stack.api_token
    for host in ("https://api.mediarithmics.com", "https://www.woopra.com"):
        line = line.replace(host, bench.stack.api_url)
    app_id, _, secret = bench.stack.api_token.partition(".")
    known = {"DATAMART_ID": "1", "YOUR_API_TOKEN": bench.stack.api_token, "APP_ID": app_id, "SECRET": secret}
    for name, value in (known | ids).items():
        line = line.replace(f"<{name}>", value)
    done = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_the_vendors_own_lines_of_curl_work_with_host_and_token_changed(bench: Bench) -> None:
    """mediarithmics' three: an import, an execution, how it stands; its rows in the store under the function's role."""
    made = curl(bench, MAKE_AN_IMPORT)
    assert made["status"] == "ok"
    ids = {"DOCUMENT_IMPORT_ID": made["data"]["id"]}
    sent = curl(bench, SEND_A_LINE, **ids)
    assert (sent["status"], sent["data"]["status"], sent["data"]["job_type"]) == ("ok", "PENDING", "DOCUMENT_IMPORT")
    ids["DOCUMENT_IMPORT_EXECUTION_ID"] = sent["data"]["id"]
    until(lambda: curl(bench, ASK, **ids)["data"]["phase"] == "CLOSED")
    after = curl(bench, ASK, **ids)["data"]
    assert (after["status"], after["result"]["total_success"], after["result"]["total_failure"]) == ("SUCCEEDED", 1, 0)
    assert curl(bench, CANCEL, **ids)["code"] == "not_possible_now"


def test_woopras_line_works_with_host_and_credentials_changed(bench: Bench) -> None:
    """Two visits by Basic auth."""
    sent = curl(bench, IMPORT_VISITS)
    ids = {"DOCUMENT_IMPORT_ID": "woopra", "DOCUMENT_IMPORT_EXECUTION_ID": sent["execution"]["id"]}
    until(lambda: curl(bench, ASK, **ids)["data"]["phase"] == "CLOSED")
    after = curl(bench, ASK, **ids)["data"]
    assert (after["status"], after["result"]["total_success"]) == ("SUCCEEDED", 2)


def test_a_body_at_the_limit_and_a_large_answer_go_through(bench: Bench, tmp_path: Path) -> None:
    """4 MiB in, by curl's "100 Continue"; over 4 MiB out, by a redirect to a link; one byte more is 413."""
    require_curl()
    row = b'{"user_id":"wide","event_name":"e","event_time_ts":1425920218354,"x":"%s"}\n' % (b"x" * 200_000)
    body = row * 20
    (tmp_path / "most").write_bytes(body + b"\n" * ((4 << 20) - len(body)))
    (tmp_path / "more").write_bytes(body + b"\n" * ((4 << 20) - len(body) + 1))
    send = "curl -X POST https://api.mediarithmics.com/v1/datamarts/1/document_imports/default/executions"
    send += " -H 'Authorization: <YOUR_API_TOKEN>' -H 'Content-Type: application/x-ndjson' --data-binary @"
    assert curl(bench, f"{send}{tmp_path}/more")["code"] == "too_large"
    sent = curl(bench, f"{send}{tmp_path}/most")["data"]
    ids = {"DOCUMENT_IMPORT_ID": "default", "DOCUMENT_IMPORT_EXECUTION_ID": sent["id"]}
    until(lambda: curl(bench, ASK, **ids)["data"]["phase"] == "CLOSED")

    bench.drop("large.json", row * 25)
    receipt = bench.receipt("large.json")
    assert bench.stack.api_url
    ask = ["curl", "-sL", "-G", f"{bench.stack.api_url}/v1/data_file/data"]
    ask += ["-H", f"Authorization: {bench.stack.api_token}", "--data-urlencode", f"uri={receipt['completed_uri']}"]
    done = subprocess.run(ask, capture_output=True, check=True)
    assert done.stdout == row * 25
