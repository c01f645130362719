"""The `importer` command: what it prints for people and machines, and its exit codes."""

import io
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from moto import mock_aws
from rich.console import Console

from cli import connection, importing, previewing, show, twin
from cli.main import main
from importer.bad_rows import BadRow, Reason
from tests.support import command
from tests.support.cloud import Cloud

FILES = Path(__file__).resolve().parents[2] / "events" / "files"


def importer(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


@pytest.fixture(autouse=True)
def no_twin(monkeypatch, tmp_path):
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")


@pytest.mark.parametrize("verb", sorted(main.commands))
def test_every_verb_has_help_with_examples(verb):
    result = importer(verb, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.output


def test_preview_marks_the_place_and_says_how_to_mend():
    result = importer("preview", str(FILES / "logins.json"))
    assert result.exit_code == 1
    assert "line 2, byte 275  missing_field  field event_time_ts" in result.output
    assert "fix: event_timestamp present: did you mean event_time_ts?" in result.output
    lines = result.output.splitlines()
    caret = next(number for number, line in enumerate(lines) if "^^^" in line)
    begin = lines[caret].index("^")
    assert lines[caret - 1][begin:].startswith('"event_timestamp"')
    assert "\x1b" not in result.output


def test_preview_says_what_an_import_would_cost(tmp_path, monkeypatch):
    """Of the whole file, though only its begin is read; and what other records of a stream would cost."""
    monkeypatch.setattr(previewing, "PREVIEW_BYTES", 1 << 20)
    path = tmp_path / "big.json"
    row = (FILES / "logins.json").read_bytes().splitlines()[0]
    path.write_bytes(
        b"".join(row.replace(b"PU4U", b"%06d" % number) + b"\n" for number in range((2 << 20) // len(row)))
    )
    output = " ".join(importer("preview", "--sinks", "firehose", str(path)).output.split())
    assert "Importing it would cost about $0.00" in output
    assert re.search(r"from the (49|50)% of the file that was read", output), output
    sizes = re.search(r"stream (.+?) billed; (.+?) with StreamGzip; one event a record would be (\S+ \w+)", output)
    assert sizes is not None
    assert [size.partition(" ")[2] for size in sizes.groups()] == ["MiB", "KiB", "MiB"]
    said = json.loads(importer("preview", "--json", str(FILES / "logins.json")).stdout)["cost"]
    assert (said["units"]["event_write_units"], said["share_read"], said["prices"]["region"]) == (3, 1.0, "us-east-1")


def test_preview_for_machines_is_one_document():
    result = importer("preview", "--json", str(FILES / "mistakes.json"))
    said = json.loads(result.stdout)
    assert (result.exit_code, said["schema"], said["good"], said["bad"]) == (1, "preview/1", 2, 11)


def test_preview_writes_a_page_too(tmp_path):
    """The same as a dropped file gets; where it went is said last."""
    file = tmp_path / "page.html"
    result = importer("preview", "--html", str(file), str(FILES / "mistakes.json"))
    assert result.exit_code == 1
    assert result.output.endswith(f"The page: {file}\n")
    page = file.read_text()
    assert page.startswith("<!doctype html>")
    assert "An import would write 2 events and put 11 rows into errors/" in page


def test_preview_says_what_the_store_does_not_know(tmp_path, monkeypatch):
    """With --compare: names that are new, and types that clash, beside the twin's store."""
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    event = {"user_id": "u", "event_key": "1#e", "event_name": "login", "properties": {"price": 1, "page": "/"}}
    path = tmp_path / "a.json"
    path.write_text('{"user_id":"u","event_name":"buy","event_time_ts":1425920218354,"price":"x","page":"/","new":1}')
    with Cloud() as cloud:
        command.write_outputs(cloud, tmp_path)
        empty = command.run(cloud, "preview", "--compare", str(path)).output
        cloud.put_item(cloud.events_table, event)
        output = " ".join(command.run(cloud, "preview", "--compare", str(path)).output.split())
        said = json.loads(command.run(cloud, "preview", "--compare", "--json", str(path)).stdout)
    assert "It is empty: there was nothing to compare names with." in empty
    assert "events 1 looked at, all it holds" in output
    assert "clash price: string here, number in the store" in output
    assert "new names buy, new" in output
    assert (said["new"]["event_names"], said["new"]["properties"]) == (["buy"], ["new"])


def test_preview_refuses_a_name_as_the_import_would(tmp_path):
    path = tmp_path / "my_CSV_export.json"
    path.write_bytes((FILES / "purchases.json").read_bytes())
    result = importer("preview", str(path))
    assert result.exit_code == 3
    assert "contains `csv`" in result.output


def test_numbers_beyond_a_double_keep_their_digits(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b'{"user_id":"u","event_name":"e","event_time_ts":1425920218354,"n":12345678901234567890123}')
    assert '"n": 12345678901234567890123' in importer("preview", "--json", str(path)).stdout


def test_control_characters_of_a_row_never_reach_the_terminal(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(
        b'{"user_id":"\\u001b[31mu","event_name":"[red]e[/red]","event_time_ts":1425920218354}\n\x1b]0;x\x07\n'
    )
    output = importer("preview", str(path)).output
    assert "\x1b" not in output
    assert "[red]e[/red]" in output


@pytest.mark.parametrize(
    "arguments", [["preview", "nowhere.json"], ["preview", "s3://b"], ["import"], ["preview", "/"]]
)
def test_usage_is_exit_2(arguments):
    assert importer(*arguments).exit_code == 2


def test_without_a_twin_the_remedy_is_told():
    result = importer("executions")
    assert result.exit_code == 4
    assert "make up" in result.output


@mock_aws
def test_an_unknown_stack_is_told_with_where_it_was_looked_for():
    result = importer("executions", "--stack", "nothing-here")
    assert result.exit_code == 4
    assert "no stack nothing-here in us-east-1" in result.output


def test_the_same_name_twice_is_refused_before_any_upload(tmp_path):
    (tmp_path / "a.json").touch()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.json").touch()
    result = importer("import", str(tmp_path / "a.json"), str(tmp_path / "b" / "a.json"))
    assert result.exit_code == 2


@mock_aws
def test_a_large_file_goes_up_in_pieces_and_arrives_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(importing, "PIECE_BYTES", 5 << 20)
    path = tmp_path / "big.json"
    path.write_bytes(bytes(range(256)) * (48 << 10))  # 12 MiB
    connected = connection.of_stack(
        connection.Stack(
            "us-east-1", "bucket", "events", "users", "imports", "", "", "", {}, None, "testing", "testing"
        )
    )
    connected.s3.create_bucket(Bucket="bucket")
    connected.s3.put_bucket_versioning(Bucket="bucket", VersioningConfiguration={"Status": "Enabled"})
    sent: list[int] = []
    uploaded = importing.upload(connected, path, "imports/big.json", sent.append)
    stored = connected.s3.get_object(
        Bucket="bucket", Key="imports/big.json", VersionId=uploaded.source.version_id or ""
    )
    assert stored["Body"].read() == path.read_bytes()
    assert sum(sent) == 12 << 20


def test_on_a_narrow_terminal_a_name_stands_whole_below_the_rest():
    file = io.StringIO()
    out = Console(file=file, width=40, force_terminal=True, color_system=None)
    rows = [["8c2f" * 8, "1", "corrupt.ndjson.gz"], ["9d3e" * 8, "12,345", "x" * 60]]
    show.put_lines(out, ("execution", "good", "file"), rows, ("good",))
    assert file.getvalue().splitlines() == [
        "  execution                           good",
        "      file",
        f"  {'8c2f' * 8}       1",
        "      corrupt.ndjson.gz",
        f"  {'9d3e' * 8}  12,345",
        f"      {'x' * 60}",
    ]


@pytest.mark.parametrize(
    ("row", "fix"),
    [
        (b"[1]", "expected an object in { }, found array"),
        (b'{"a": 1,}', "found '}' at byte 8 of the row: remove the comma before it"),
        (b'{"a": 1, "b', "at byte 11 of the row: the row was cut short"),
        (b'{"user_id":"u","event_name":"e","event_time_ts":1425920218354,"{x}a":1}', "expected {u} for a property"),
        (b'{"user_id":1,"event_name":"e","event_time_ts":1425920218354}', "put it in double quotes"),
    ],
)
def test_a_fix_in_a_table_can_be_followed_without_the_row(tmp_path, monkeypatch, row, fix):
    path = tmp_path / "a.json"
    path.write_bytes(row)
    monkeypatch.setenv("COLUMNS", "200")
    assert fix in importer("preview", "--bad-rows", "0", str(path)).output


def test_reasons_without_a_line_number_can_be_shown():
    """Behind a part that was not read to its end nobody knows the number."""
    file = io.StringIO()
    sample = {"line": None, "offset": 9, "message": "not valid JSON; found } at byte 8 of the row", "hint": ""}
    group = {"code": "not_json", "field": "", "count": 1, "first_line": None, "samples": [sample]}
    show.reasons(Console(file=file, width=100), [group])
    assert "found } at byte 8 of the row" in file.getvalue()


def test_an_excerpt_keeps_its_mark_in_sight_in_a_long_row():
    raw = b'{"long": "' + "æ".encode() * 5_000 + b'", "user_id": 7, "more": "' + b"x" * 5_000 + b'"}\n'
    text, at, cells = show.excerpt(BadRow(1, 9, raw, Reason.WRONG_TYPE, "user_id", "", "", "", ""), 80)
    assert text[at : at + cells] == "7"
    assert len(text) <= 80
