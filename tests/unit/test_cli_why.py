"""`importer why` against an installation on the fake cloud: where rows went, and where items came from."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from click.testing import Result

from cli import twin
from cli.explaining import items_asked, row_asked
from importer.bad_rows import Reason
from importer.ledger import rulebook
from importer.ledger.row_places import Asked
from tests.faults.files import FILES, many_rows, row
from tests.faults.importing import Importer, installed
from tests.support import command, oracle

KEY = "imports/logins.json"
BAD = b'{"user_id":"u","event_name":"login"}'
BODY = b"\n".join([row(1), b"", BAD, row(2), b"\xff\xfe", row(1), b""])


@pytest.fixture
def installation(monkeypatch, tmp_path) -> Iterator[Importer]:
    """An importer that cuts files at 2 KiB; the command takes it for the twin."""
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    with installed(part_bytes=2048) as importer:
        command.write_outputs(importer.cloud, tmp_path)
        yield importer


def why(importer: Importer, *arguments: str) -> Result:
    return command.run(importer.cloud, "why", *arguments)


def told(importer: Importer, *arguments: str) -> Any:
    result = why(importer, *arguments, "--json")
    return json.loads(result.stdout)


def imported(importer: Importer, key: str = KEY, body: bytes = BODY) -> dict[str, Any]:
    known = {item["id"] for item in importer.executions()}
    importer.notify(importer.cloud.drop(key, body))
    importer.run_until_quiet()
    return next(item for item in importer.executions() if item["id"] not in known)


# -- a row ---------------------------------------------------------------------------------------------------------


def test_a_good_row_is_followed_to_its_item(installation: Importer) -> None:
    execution = imported(installation)
    said = told(installation, f"{KEY}#L4")
    assert (said["schema"], said["verdict"], said["execution"]["id"]) == ("why/1", "stored", execution["id"])
    offset = BODY.index(row(2))
    assert said["row"] == {
        "line": 4,
        "lines": 1,
        "offset": offset,
        "length": len(row(2)),
        "text": row(2).decode(),
        "is_utf8": True,
        "cut": False,
    }
    [item] = said["items"]
    assert (item["table"], item["there"], item["says"]) == ("events", True, "written by this row")
    assert item["written_by"] == {"execution_id": execution["id"], "address": offset}
    assert item["key"] == f"{item['item']['user_id']}/{item['item']['event_key']}"
    page = why(installation, f"{KEY}#L4").stdout
    assert "It is good: 1 event, 0 user changes" in page
    assert row(2).decode() in page
    assert "cooladata: " in page


def test_a_refused_row_is_told_with_its_rule_its_remedy_and_its_place_in_errors(installation: Importer) -> None:
    execution = imported(installation)
    result = execution["result"]["error_file_uri"].partition(f"{installation.cloud.bucket}/")[2]
    said = told(installation, f"{KEY}#L3")
    refused = said["refused"]
    assert (said["verdict"], refused["reason"], refused["field"]) == ("bad", "missing_field", "event_time_ts")
    assert refused["rule"] == {
        "document": "docs/formats/cooladata.md",
        "section": "Fact by fact",
        "rules": ["C8", "C10"],
    }
    assert refused["errors"] == {"key": result, "line": 1, "offset": 0, "length": len(BAD)}
    second = told(installation, f"{KEY}#L5")["refused"]
    errors = installation.cloud.objects()[result]
    place = second["errors"]
    assert errors[place["offset"] : place["offset"] + place["length"]] == b"\xff\xfe"
    assert (place["line"], second["reason"]) == (2, "not_utf8")
    page = why(installation, f"{KEY}#L5").stdout
    assert "\\xff\\xfe" in page


def test_of_equal_rows_the_item_says_which_wrote_it_last(installation: Importer) -> None:
    imported(installation)
    says = {line: told(installation, f"{KEY}#L{line}")["items"][0]["says"] for line in (1, 6)}
    assert sorted(says.values())[1] == "written by this row"
    assert any("the same event stands in line" in text for text in says.values())


def test_a_row_may_be_named_by_a_byte_of_it_and_its_file_by_anything_its_import_wrote(installation: Importer) -> None:
    execution = imported(installation)
    offset = BODY.index(row(2))
    names = [KEY, "logins.json", execution["id"], execution["result"]["input_file_uri"]]
    names += [execution["result"][name] for name in ("error_file_uri", "receipt_uri")]
    for name in names:
        for at in (offset, offset + 7, offset + len(row(2))):
            said = told(installation, f"{name}@{at}")
            assert (said["row"]["line"], said["row"]["offset"]) == (4, offset), (name, at)


def test_raw_writes_the_bytes_of_the_row_and_nothing_else(installation: Importer) -> None:
    imported(installation)
    result = why(installation, f"{KEY}#L5", "--raw")
    assert (result.exit_code, result.stdout_bytes) == (0, b"\xff\xfe\n")


def test_blank_lines_and_what_is_not_there(installation: Importer) -> None:
    imported(installation)
    assert told(installation, f"{KEY}#L2")["verdict"] == "blank"
    result = why(installation, f"{KEY}#L7")
    assert (result.exit_code, "There is no line 7: the file has 6 lines." in result.stdout) == (1, True)
    result = why(installation, f"{KEY}@{len(BODY)}")
    assert (result.exit_code, f"and {len(BODY)} bytes" in result.stdout) == (1, True)
    raw = why(installation, f"{KEY}#L7", "--raw")
    assert (raw.exit_code, raw.stdout) == (1, "")


@pytest.mark.parametrize(
    "text", ["imports/a.json", "a.json#L0", "nobody", "a.json#Lx", "u/prop"], ids=lambda text: text.replace("/", " ")
)
def test_what_names_no_row_is_refused(installation: Importer, text: str) -> None:
    assert why(installation, text).exit_code == 2


def test_a_file_no_execution_knows_is_refused(installation: Importer) -> None:
    assert why(installation, "imports/none.json#L1").exit_code == 2


@pytest.mark.sampled(3)
@pytest.mark.parametrize(
    "name", ["medium", "CRLF", "all bad", "long lines", "CSV", "CSV, gzip", "zstd", "gzip of two members"]
)
def test_every_row_of_every_file_has_the_fate_the_oracle_says(installation: Importer, name: str) -> None:
    """By its line and by a byte: compressed, in parts, a CSV whose rows stand on several lines, lines too long."""
    key, body = FILES[name]
    imported(installation, key, body)
    expected = oracle.read(key, body)
    bad = {each.offset: each for each in expected.bad_rows}
    some = sorted(bad)[:: max(len(bad) // 6, 1)]
    for offset in some:
        said = told(installation, f"{key}@{offset}")
        assert (said["verdict"], said["row"]["offset"], said["row"]["line"]) == ("bad", offset, bad[offset].line)
        assert said["refused"]["reason"] in bad[offset].reasons
        errors = installation.cloud.objects()[said["refused"]["errors"]["key"]]
        place = said["refused"]["errors"]
        assert errors[place["offset"] : place["offset"] + place["length"]] == bad[offset].row
        assert told(installation, f"{key}#L{bad[offset].line}")["row"]["offset"] == offset
    addresses = sorted(offset for some in expected.addresses.values() for offset in some)
    for offset in addresses[:: max(len(addresses) // 6, 1)]:
        said = told(installation, f"{key}@{offset}")
        assert (said["verdict"], said["row"]["offset"]) == ("stored", offset)
        assert told(installation, f"{key}#L{said['row']['line']}")["row"]["offset"] == offset


def test_lines_of_a_file_in_parts_are_counted_from_the_part_they_are_in(installation: Importer) -> None:
    """And no more than that part is read."""
    body = many_rows(60)
    imported(installation, "imports/parts.json", body)
    lines = body.split(b"\n")
    offset = 0
    for number, line in enumerate(lines[:-1] if not lines[-1] else lines, 1):
        if number % 7 == 0:
            said = told(installation, f"imports/parts.json#L{number}")
            assert (said["row"]["offset"], said["row"]["text"]) == (offset, line.decode("utf-8", "backslashreplace"))
            assert told(installation, f"imports/parts.json@{offset}")["row"]["line"] == number
        offset += len(line) + 1


def test_rows_behind_the_place_where_an_import_failed_were_never_read(installation: Importer) -> None:
    body = gzip.compress(many_rows(40), mtime=0)[:-200]
    installation.notify(installation.cloud.drop("imports/cut.json.gz", body))
    installation.run_until_quiet()
    said = told(installation, "imports/cut.json.gz#L1")
    assert said["execution"]["status"] == "FAILED"
    assert said["verdict"] == "stored"
    assert "cannot be read up to" in " ".join(why(installation, "imports/cut.json.gz#L40").stdout.split())


def test_a_file_that_was_refused_before_its_rows_were_read_says_so(installation: Importer) -> None:
    """Its lines can be looked at all the same."""
    installation.deliver(installation.cloud.drop("imports/pretty.json", b'{\n  "user_id": "u"\n}\n'))
    said = told(installation, "imports/pretty.json#L2")
    assert (said["verdict"], said["row"]["text"]) == ("never_read", '  "user_id": "u"')
    assert "not_line_delimited" in said["says"][0]


def test_an_unfinished_import_has_not_read_it_yet(installation: Importer) -> None:
    installation.deliver(installation.cloud.drop("imports/parts.json", many_rows(60)))
    said = told(installation, "imports/parts.json#L1")
    assert (said["verdict"], said["execution"]["status"]) == ("not_yet_read", "PENDING")


def test_where_the_archive_is_gone_a_refused_row_is_still_known(installation: Importer) -> None:
    """By errors/; of any other, that is said."""
    imported(installation)
    with installation.cloud.unseen():
        s3 = installation.cloud.client("s3")
        [key] = installation.cloud.objects("completed_imports/")
        s3.delete_object(Bucket=installation.cloud.bucket, Key=key)
    said = told(installation, f"{KEY}#L3")
    assert (said["verdict"], said["row"]["text"], said["source"]) == ("bad", BAD.decode(), None)
    result = why(installation, f"{KEY}#L1")
    assert (result.exit_code, "is not there any more" in " ".join(result.stdout.split())) == (1, True)


def test_of_a_csv_whose_archive_is_gone_the_place_in_errors_is_behind_its_header(installation: Importer) -> None:
    key, body = FILES["CSV"]
    imported(installation, key, body)
    some = oracle.read(key, body).bad_rows[-1]
    with installation.cloud.unseen():
        s3 = installation.cloud.client("s3")
        [archived] = installation.cloud.objects("completed_imports/")
        s3.delete_object(Bucket=installation.cloud.bucket, Key=archived)
    said = told(installation, f"{key}#L{some.line}")
    place = said["refused"]["errors"]
    errors = installation.cloud.objects()[place["key"]]
    assert errors[place["offset"] : place["offset"] + place["length"]] == some.row
    assert said["row"]["text"] == some.row.decode("utf-8", "backslashreplace")


def test_a_row_of_a_csv_may_stand_on_several_lines(installation: Importer) -> None:
    body = b'user_id,event_name,event_time_ts\nu,"lo\ngin",1350274990000\nv,login,1350274990000\n'
    cloud = installation.cloud
    definition = {"mime_type": "TEXT_CSV", "format": "cooladata"}
    cloud.put_item(cloud.imports_table, {"pk": "IMPORT#t", "sk": "IMPORT", "definition": definition})
    imported(installation, "imports/t/a.csv", body)
    said = told(installation, "imports/t/a.csv#L3")
    assert (said["row"]["line"], said["row"]["lines"]) == (2, 2)
    assert told(installation, "imports/t/a.csv#L1")["verdict"] == "header"
    assert told(installation, "imports/t/a.csv#L4")["row"]["text"].startswith("v,login")


def test_user_records_say_which_value_has_won(installation: Importer) -> None:
    imported(installation, "imports/a.json", row(1, **{"{u}city": "Rome"}) + b"\n")
    installation.cloud.clock.sleep(60)
    newer = imported(installation, "imports/b.json", row(1, **{"{u}city": "Oslo"}) + b"\n")
    users = {item["key"]: item["says"] for item in told(installation, "imports/a.json#L1")["items"]}
    [key] = [key for key in users if "/prop#" in key]
    assert "a newer value has won" in users[key]
    assert newer["id"] in users[key]
    said = told(installation, key)
    assert (said["table"], said["item"]["value"], said["row"]["execution"]["id"]) == ("users", "Oslo", newer["id"])


# -- an item -------------------------------------------------------------------------------------------------------


def test_an_item_leads_to_the_row_it_came_from(installation: Importer) -> None:
    execution = imported(installation)
    item = installation.cloud.items(installation.cloud.events_table)[0]
    said = told(installation, f"{item['user_id']}/{item['event_key']}")
    assert (said["schema"], said["there"], said["item"]["event_id"]) == ("why_item/1", True, item["event_id"])
    assert (said["row"]["execution"]["id"], said["row"]["row"]["offset"]) == (execution["id"], item["address"])
    raw = why(installation, f"{item['user_id']}/{item['event_key']}", "--raw")
    assert raw.stdout_bytes.rstrip() in BODY
    assert "The row" in why(installation, f"{item['user_id']}/{item['event_key']}").stdout


def test_an_item_that_is_not_there_can_be_searched_for(installation: Importer) -> None:
    """In the archived files, by the rows that give it."""
    execution = imported(installation)
    item = installation.cloud.items(installation.cloud.events_table)[0]
    name = f"{item['user_id']}/{item['event_key']}"
    with installation.cloud.unseen():
        key = {attribute: {"S": item[attribute]} for attribute in ("user_id", "event_key")}
        installation.cloud.client("dynamodb").delete_item(TableName=installation.cloud.events_table, Key=key)
    result = why(installation, name)
    assert (result.exit_code, "--search" in result.stdout) == (1, True)
    said = told(installation, name, "--search")
    assert {hit["execution_id"] for hit in said["searched"]} == {execution["id"]}
    assert item["address"] in {hit["offset"] for hit in said["searched"]}
    assert why(installation, name, "--search").exit_code == 0
    assert told(installation, name, "--search", "--prefix", "elsewhere/")["searched"] == []


def test_an_item_says_that_its_person_was_erased(installation: Importer) -> None:
    cloud = installation.cloud
    definition = {"document_type": "USER_POINTS_DELETION"}
    cloud.put_item(cloud.imports_table, {"pk": "IMPORT#deletions", "sk": "IMPORT", "definition": definition})
    imported(installation)
    item = next(item for item in cloud.items(cloud.events_table))
    cloud.clock.sleep(60)
    ann = {"type": "USER_ACCOUNT", "user_account_id": item["user_id"]}
    imported(installation, "imports/deletions/ann.json", json.dumps(ann).encode())
    said = told(installation, f"{item['user_id']}/{item['event_key']}")
    assert (said["there"], "was erased" in said["says"][1]) == (False, True)
    line = next(number for number in (1, 4) if json.loads(BODY.split(b"\n")[number - 1])["user_id"] == item["user_id"])
    assert told(installation, f"{KEY}#L{line}")["verdict"] == "erased"


# -- what is asked -------------------------------------------------------------------------------------------------


def test_what_is_asked_is_read_as_it_is_written() -> None:
    assert row_asked("imports/a#L1.json#L12") == ("imports/a#L1.json", Asked(line=12))
    assert row_asked("a@b.json@0") == ("a@b.json", Asked(offset=0))
    assert items_asked("a/b/1350274990000#x/y") == ("events", [("a/b", "1350274990000#x/y")])
    assert items_asked("u/prop#a/prop#b") == ("users", [("u/prop#a", "prop#b"), ("u", "prop#a/prop#b")])
    assert items_asked("u/erased") == ("users", [("u", "erased")])
    assert items_asked("u/name") is None


def test_every_reason_has_its_rule() -> None:
    """docs/formats.md and the dialects' pages say the same: tests/house keeps the tables together."""
    assert set(rulebook.COMMON) == {reason.value for reason in Reason}
