"""`importer fix`: what it shows, writes and drops, and what is outstanding afterwards."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from cli import importing, twin
from cli.main import main
from importer.model import Execution
from tests.faults.importing import Importer, installed
from tests.support import command

KEY = "imports/logins.json"
TIME = 1425920218354
GOOD = b'{"event_name":"login","event_time_ts":1425920218354,"user_id":"u0"}\n'
# Ten kinds of bad rows, all of which can be mended.
TEN = [
    b'{"event_name":"e1","event_time_ts":1425920218354,"user_id":"u1"\n',
    b'{"event_name":"e2","event_timestamp":1425920218354,"user_id":"u2"}\n',
    b'{"event_name":"e3","event_time_ts":1425920218,"user_id":"u3"}\n',
    b'{"event_name":"e4","event_time_ts":1425920218354,"user_id":"u4",}\n',
    b"{'event_name':'e5','event_time_ts':1425920218354,'user_id':'u5'}\n",
    b'{"event_name":"e6","event_time_ts":1425920218354,"user_id":"u6","a":NaN}\n',
    b'{event_name:"e7","event_time_ts":1425920218354,"user_id":"u7"}\n',
    b'{"event_name":"e8","event_time_ts":1425920218354,"user_id":8}\n',
    b'{"event_name":"e9","event_time_ts":1425920218354,"user_id":"caf\xe9"}\n',
    b'{"event_name":"e10","event_time_ts":"10/15/2012","user_id":"u10"}\n',
]
HOPELESS = b'{"event_name":"e11","event_time_ts":"03/04/2012","user_id":"u11"}\n'


@pytest.fixture
def installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Importer]:
    """An importer that the command takes for the twin; what it uploads is imported at once."""
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    with installed() as importer:
        cloud = importer.cloud
        command.write_outputs(cloud, tmp_path)

        def follow(connection: Any, uploaded: importing.Uploaded, *_: Any) -> Execution | None:
            importer.run_until_quiet()  # the sweep finds it
            return connection.imports.execution(uploaded.execution_id)

        monkeypatch.setattr(importing, "follow", follow)
        yield importer


def run(importer: Importer, *arguments: str) -> Result:
    return command.run(importer.cloud, *arguments)


def told(importer: Importer, *arguments: str) -> Any:
    return json.loads(run(importer, *arguments, "--json").stdout)


def dropped(importer: Importer, body: bytes, key: str = KEY, **metadata: str) -> str:
    """The id of the execution of a file that was dropped and imported."""
    before = {str(item["id"]) for item in importer.executions()}
    importer.deliver(importer.cloud.drop(key, body, Metadata=metadata))
    importer.run_until_quiet()
    return next(str(item["id"]) for item in importer.executions() if str(item["id"]) not in before)


def outstanding(importer: Importer, execution_id: str) -> int:
    return int(told(importer, "executions", execution_id)["execution"]["outstanding"])


def alone(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), catch_exceptions=False)


# -- a file here -------------------------------------------------------------------------------------------------------


def test_a_fix_is_shown_and_changes_nothing(tmp_path: Path) -> None:
    """As a diff by rule, with what cannot be repaired and why; exit 1, since a row remains."""
    file = tmp_path / "rows.json"
    file.write_bytes(GOOD + TEN[2] + TEN[2].replace(b"u3", b"u4") + HOPELESS)
    result = alone("fix", str(file))
    assert result.exit_code == 1
    assert "2 rows: seconds → milliseconds" in result.stdout
    assert '- …nt_name":"e3","event_time_ts":1425920218,"user_id":"u3"}' in result.stdout
    assert '+ …nt_name":"e3","event_time_ts":1425920218000,"user_id":"u3"}' in result.stdout
    assert "set date_format of the import" in result.stdout
    assert "Nothing was changed" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["rows.json"]


def test_the_mended_file_has_good_rows_as_they_were_and_repaired_ones_in_their_place(tmp_path: Path) -> None:
    """Line ends, blank lines and a last line without an end stay too."""
    file, out = tmp_path / "rows.json", tmp_path / "mended.json"
    strange = b' {"event_name" : "e", "event_time_ts":1425920218354,"user_id":"u","n":1.50}\r\n'
    file.write_bytes(b"\xef\xbb\xbf" + GOOD + b"\n" + strange + TEN[3] + HOPELESS + TEN[2][:-1])
    result = alone("fix", str(file), "--write", str(out))
    assert result.exit_code == 1
    mended = TEN[3].replace(b",}", b"}")
    last = TEN[2][:-1].replace(b"1425920218", b"1425920218000")
    assert out.read_bytes() == b"\xef\xbb\xbf" + GOOD + b"\n" + strange + mended + HOPELESS + last


def test_rows_that_stay_as_they_are_can_be_written_elsewhere(tmp_path: Path) -> None:
    """Compressed by its name; with --only-certain a guess stays as it is."""
    file, out, rest = tmp_path / "rows.json.gz", tmp_path / "mended.json.gz", tmp_path / "rest.json"
    file.write_bytes(gzip.compress(GOOD + TEN[1] + TEN[3] + HOPELESS))
    result = alone("fix", str(file), "--only-certain", "--write", str(out), "--rest", str(rest))
    assert result.exit_code == 1
    assert gzip.decompress(out.read_bytes()) == GOOD + TEN[3].replace(b",}", b"}")
    assert rest.read_bytes() == TEN[1] + HOPELESS
    assert "--only-certain leaves it out" in result.stdout


def test_only_chosen_rules_mend(tmp_path: Path) -> None:
    """A row that takes another rule too stays as it is, and that is said."""
    file, out = tmp_path / "rows.json", tmp_path / "mended.json"
    both = TEN[2].replace(b"}", b",}")
    file.write_bytes(TEN[2] + both)
    result = alone("fix", str(file), "--rule", "seconds", "--write", str(out))
    assert out.read_bytes() == TEN[2].replace(b"1425920218", b"1425920218000") + both
    assert "it takes trailing_comma + seconds, which was not chosen (--rule)" in result.stdout


def test_a_csv_keeps_its_header_and_its_rows_are_mended_by_its_columns(tmp_path: Path) -> None:
    """In the mended file and in the rest."""
    file, out, rest = tmp_path / "rows.csv", tmp_path / "mended.csv", tmp_path / "rest.csv"
    header = b"user_id,event_name,event_time_ts,note\n"
    rows = [b"u1,login,1425920218354,x\n", b"u2,login,1425920218,x\n", b"u3,login,1425920218354,x,,\n"]
    rows += [b'u4,login,1425920218354,5" pipe\n', b",login,1425920218354,x\n"]
    file.write_bytes(header + b"".join(rows))
    assert alone("fix", str(file), "--write", str(out), "--rest", str(rest)).exit_code == 1
    mended = [rows[0], rows[1].replace(b"8,x", b"8000,x"), b"u3,login,1425920218354,x\n"]
    assert out.read_bytes() == header + b"".join(mended) + b'u4,login,1425920218354,"5"" pipe"\n'
    assert rest.read_bytes() == header + rows[4]


def test_a_line_too_long_to_be_held_is_written_as_it_is(tmp_path: Path) -> None:
    """It cannot be mended, and none of its bytes is lost."""
    file, out = tmp_path / "rows.json", tmp_path / "mended.json"
    long = b'{"event_name":"' + b"x" * (9 << 20) + b'"}\n'
    file.write_bytes(GOOD + long + TEN[3])
    assert alone("fix", str(file), "--write", str(out)).exit_code == 1
    assert out.read_bytes() == GOOD + long + TEN[3].replace(b",}", b"}")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--rest", "r.json"], "give --write OUT or --drop"),
        (["--write", "rows.json"], "nothing is written over FILE"),
        (["--write", "o.json", "--rest", "o.json"], "names of their own"),
        (["--mends", "0" * 32], "--mends is for --drop"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.json").write_bytes(TEN[3])
    result = CliRunner().invoke(main, ["fix", "rows.json", *arguments])
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.split())


def test_nothing_to_mend_is_a_success(tmp_path: Path) -> None:
    file = tmp_path / "rows.json"
    file.write_bytes(GOOD)
    result = alone("fix", str(file))
    assert (result.exit_code, "1 row: 1 good, 0 can be repaired, 0 cannot" in result.stdout) == (0, True)


# -- an import's bad rows ----------------------------------------------------------------------------------------------


def test_ten_kinds_of_bad_rows_mended_and_dropped_leave_nothing_outstanding(installation: Importer) -> None:
    """Both books balance, the parent's count is closed, and the child says whose rows it had."""
    parent = dropped(installation, GOOD + b"".join(TEN))
    assert outstanding(installation, parent) == 10
    assert [e["id"] for e in told(installation, "executions", "--outstanding")["executions"]] == [parent]
    said = told(installation, "fix", parent, "--drop", "--yes")
    assert (said["repaired"], said["unrepaired"]) == (10, 0)
    child = said["dropped"]["execution"]
    assert (child["status"], child["parent"], said["dropped"]["receipt"]["good"]) == ("SUCCEEDED", parent, 10)
    assert child["parameters"]["file_uri"].endswith(f"/imports/logins.{parent}.json")
    assert outstanding(installation, parent) == 0
    assert told(installation, "executions", "--outstanding") == {"executions": [], "outstanding": 0}
    for execution_id in (parent, child["id"]):
        assert run(installation, "verify", execution_id, "--all").exit_code == 0


@pytest.mark.parametrize("target", [KEY, "logins.json", "s3", "errors"])
def test_an_import_is_named_by_its_source_or_its_errors(installation: Importer, target: str) -> None:
    parent = dropped(installation, GOOD + TEN[2])
    errors = told(installation, "executions", parent)["execution"]["result"]["error_file_uri"]
    name = {"s3": errors, "errors": errors.split("/", 3)[3]}.get(target, target)
    said = told(installation, "fix", name)
    assert (said["execution_id"], said["repaired"]) == (parent, 1)
    assert said["repairs"][0]["examples"][0]["line"] == 2


def test_rows_that_cannot_be_mended_go_along_and_are_outstanding_where_they_are_then(installation: Importer) -> None:
    """The sum is exact: none at the parent, one at the child, whose errors file has it."""
    parent = dropped(installation, GOOD + TEN[2] + HOPELESS)
    result = run(installation, "fix", parent, "--drop", "--yes")
    assert result.exit_code == 1
    assert "0 of its 2 bad rows outstanding" in result.stdout
    left = told(installation, "executions", "--outstanding")
    assert (left["outstanding"], [e["parent"] for e in left["executions"]]) == (1, [parent])


def test_rows_left_out_stay_outstanding_at_the_parent_however_often_the_others_are_dropped(
    installation: Importer,
) -> None:
    """First those of one rule, then all that can be mended, then these again: each row counts once."""
    parent = dropped(installation, GOOD + TEN[2] + TEN[3] + HOPELESS + TEN[4])
    options = ("--drop", "--drop-unrepaired", "--yes")
    run(installation, "fix", parent, "--rule", "seconds", *options)
    assert outstanding(installation, parent) == 3
    for _ in range(2):
        run(installation, "fix", parent, *options)
        assert outstanding(installation, parent) == 1
    children = told(installation, "executions", parent)["execution"]["mended_by"]
    assert [child["mends_rows"] for child in children if child["rows"] == 1] == ["0"]
    assert [child["mends_rows"] for child in children if child["rows"] == 3] == ["0-1,3", "0-1,3"]


def test_a_csv_whose_bad_row_opens_a_quotation_mark_is_mended_row_by_row(installation: Importer) -> None:
    """Its errors file is cut as its reasons say; read as a CSV, one bad row would swallow the next."""
    cloud = installation.cloud
    definition = {"id": "table", "name": "table", "mime_type": "TEXT_CSV"}
    cloud.put_item(cloud.imports_table, {"pk": "IMPORT#table", "sk": "IMPORT", "definition": definition})
    rows = [b'u1,login,1425920218354,"open\n', b"u2,login,1425920218,x\n", b'u3,login,1425920218354,5" pipe\n']
    body = b"user_id,event_name,event_time_ts,note\n" + b"".join(rows)
    parent = dropped(installation, body, "imports/table/rows.csv")
    bad = told(installation, "executions", parent)["execution"]["result"]["total_failure"]
    said = told(installation, "fix", parent, "--drop", "--yes")
    assert (said["repaired"], said["unrepaired"]) == (bad, 0)
    assert outstanding(installation, parent) == 0


def test_a_file_mended_by_hand_closes_what_it_says_it_mends(installation: Importer) -> None:
    """By its metadata or by the id in its name; a file that says nothing closes nothing."""
    parent = dropped(installation, GOOD + TEN[2] + TEN[3])
    mended = TEN[2].replace(b"1425920218", b"1425920218000")
    dropped(installation, mended + TEN[3].replace(b",}", b"}"))
    assert outstanding(installation, parent) == 2
    dropped(installation, mended, f"imports/logins.{parent}.json")
    assert outstanding(installation, parent) == 1
    dropped(installation, TEN[3].replace(b",}", b"}"), "imports/other.json", mends=parent)
    assert outstanding(installation, parent) == 0


def test_what_was_dropped_unsaid_can_be_said_later(installation: Importer) -> None:
    parent = dropped(installation, GOOD + TEN[2])
    installation.cloud.clock.sleep(60)
    child = dropped(installation, TEN[2].replace(b"1425920218", b"1425920218000"))
    assert outstanding(installation, parent) == 1
    page = run(installation, "executions", parent).stdout
    assert "1 row came under this name at" in page
    assert f"`importer fix {parent} --mended-by {child} --stack the twin` says so." in page
    result = run(installation, "fix", parent, "--mended-by", child)
    assert (result.exit_code, "0 of its 1 bad row outstanding" in result.stdout) == (0, True)
    assert "Were they these" not in run(installation, "executions", parent).stdout
    assert run(installation, "fix", child, "--mended-by", parent).exit_code == 1


def test_a_local_file_says_whose_rows_it_has_when_it_is_dropped(installation: Importer, tmp_path: Path) -> None:
    parent = dropped(installation, GOOD + TEN[2])
    file = tmp_path / "by-hand.json"
    file.write_bytes(TEN[2])
    said = told(installation, "fix", str(file), "--drop", "--yes", "--mends", parent)
    assert said["parent"]["outstanding"] == outstanding(installation, parent) == 0


def test_import_and_presign_say_whose_rows_a_file_has(installation: Importer, tmp_path: Path) -> None:
    """By the parent's key, too; of one file only."""
    parent = dropped(installation, GOOD + TEN[2])
    file = tmp_path / "by-hand.json"
    file.write_bytes(TEN[2].replace(b"1425920218", b"1425920218000"))
    form = told(installation, "presign", str(file), "--mends", KEY)
    assert form["fields"]["x-amz-meta-mends"] == parent
    assert run(installation, "import", str(file), "--mends", KEY).exit_code == 0
    assert outstanding(installation, parent) == 0
    twice = run(installation, "import", str(file), "https://example.com/a.json", "--mends", KEY)
    assert (twice.exit_code, "--mends is for one file" in twice.stderr) == (2, True)


def test_where_no_row_was_refused_there_is_nothing_to_mend(installation: Importer) -> None:
    parent = dropped(installation, GOOD)
    result = run(installation, "fix", parent)
    assert (result.exit_code, "no row of" in result.stderr) == (1, True)


def test_dropping_asks_first(installation: Importer) -> None:
    """Nobody is here to be asked: nothing is uploaded."""
    parent = dropped(installation, TEN[2])
    result = run(installation, "fix", parent, "--drop")
    assert (result.exit_code, "give --yes" in result.stderr) == (2, True)
    assert [item["id"] for item in installation.executions()] == [parent]


def test_the_page_of_an_execution_says_what_is_outstanding(installation: Importer) -> None:
    parent = dropped(installation, GOOD + TEN[2] + TEN[3])
    page = run(installation, "executions", parent).stdout
    assert f"`importer fix {parent} --stack the twin` shows what can be done" in page
    run(installation, "fix", parent, "--drop", "--yes")
    page = run(installation, "executions", parent).stdout
    assert "Outstanding: 0 of 2 bad rows" in page
    assert "took over 2 rows, 0 bad again" in page


# -- somebody was forgotten since --------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_csv", [False, True])
def test_rows_of_who_was_forgotten_are_passed_over_and_the_others_mended(installation: Importer, is_csv: bool) -> None:
    """Their rows and reasons are blank; of a CSV's row over several lines only the erasure papers know its length."""
    cloud = installation.cloud
    if is_csv:
        settings = {"id": "table", "mime_type": "TEXT_CSV", "format": "cooladata"}
        cloud.put_item(cloud.imports_table, {"pk": "IMPORT#table", "sk": "IMPORT", "definition": settings})
        ann = b'"the\nann-77\nof all",e,1425920218\n'
        body = b"user_id,event_name,event_time_ts\n" + ann + b"u2,e,1425920218\n" + ann + b"u3,e,03/04/2012\n"
        execution = dropped(installation, body, "imports/table/rows.csv")
    else:
        ann = TEN[2].replace(b'"u3"', b'"ann-77"')
        execution = dropped(installation, ann + ann + TEN[2] + ann + HOPELESS + ann)
    cloud.clock.sleep(60)
    assert run(installation, "forget", "ann-77", "--yes", "--wait", "0").exit_code == 0
    result = told(installation, "fix", execution)
    assert (result["rows"], result["repaired"], result["unrepaired"]) == (2, 1, 1), result
    last = told(installation, "why", f"{execution}#L{9 if is_csv else 5}")
    assert (last["verdict"], last["refused"]["reason"]) == ("bad", "bad_time")
    assert last["refused"]["errors"]["line"] == (9 if is_csv else 5)
    assert run(installation, "why", f"{execution}#L2").stdout.count("forgotten") == 1
    assert run(installation, "fix", execution, "--drop", "--yes").exit_code == 1
    assert outstanding(installation, execution) == 0
    assert run(installation, "verify", execution, "--all").exit_code == 0
