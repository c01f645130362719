"""`importer imports …` against a fake cloud: what it stores, prints and exits with."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from cli import definitions, twin
from cli.definitions import SETTINGS
from cli.main import main
from importer import formats
from importer.aws.tables import ImportsTable
from importer.definitions import DEFAULT, TEXT_CSV, Definition, folder_named
from tests.faults.files import VENDOR_ROWS, many_rows
from tests.faults.importing import Importer, installed
from tests.support import command
from tests.support.cloud import Cloud

# As the vendor's page has it, with its placeholders filled in.
THEIR_ANSWER = {
    "status": "ok",
    "data": {
        "id": "20517",
        "datafarm_key": "DF_EU_2026_11",
        "datamart_id": "1502",
        "mime_type": "APPLICATION_X_NDJSON",
        "encoding": "utf-8",
        "name": "My document import",
        "priority": "HIGH",
    },
}


@pytest.fixture
def installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Importer]:
    """An importer that cuts files at 4 KiB and takes its time; the command takes it for the twin."""
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    with installed(part_bytes=4096, write_ms=15_000, hop_seconds=60) as importer:
        command.write_outputs(importer.cloud, tmp_path)
        yield importer


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Cloud]:
    """An installation in which nothing happens but what the command does."""
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    with Cloud(stream=True) as cloud:
        command.write_outputs(cloud, tmp_path)
        yield cloud


def imports(cloud: Cloud, *arguments: str, stdin: str | None = None) -> Result:
    return command.run(cloud, "imports", *arguments, stdin=stdin)


def done(cloud: Cloud, *arguments: str, stdin: str | None = None) -> Result:
    result = imports(cloud, *arguments, stdin=stdin)
    assert result.exit_code == 0, result.output
    return result


def table(cloud: Cloud) -> ImportsTable:
    return ImportsTable(cloud.client("dynamodb"), cloud.imports_table)


def stored(cloud: Cloud, import_id: str) -> Definition:
    with cloud.unseen():
        return Definition.named(import_id, table(cloud).definition(import_id))


def listed(cloud: Cloud) -> list[str]:
    return [found["id"] for found in json.loads(done(cloud, "list", "--json").stdout)["imports"]]


def by_hand(cloud: Cloud, import_id: str, **attributes: Any) -> None:
    cloud.put_item(cloud.imports_table, {"pk": f"IMPORT#{import_id}", "sk": "IMPORT", **attributes})


# -- settings ------------------------------------------------------------------------------------------------------


def test_every_setting_has_words_and_a_way_to_be_set():
    """A new field of Definition is told of in help and `show`, or this fails."""
    assert sorted(setting.name for setting in SETTINGS) == sorted(field.name for field in fields(Definition))
    assert {setting.name for setting in SETTINGS if not setting.option} == {"id", "encoding"}
    assert all(len(setting.says.split()) >= 3 or setting.name == "encoding" for setting in SETTINGS)


@pytest.mark.parametrize("verb", sorted(definitions.imports.commands))
def test_every_verb_has_help_with_examples(cloud: Cloud, verb: str):
    assert "Examples:" in done(cloud, verb, "--help").output


@pytest.mark.parametrize("verb", ["create", "change"])
def test_help_has_the_dialects_with_their_document_types(cloud: Cloud, verb: str):
    """What --format, --document-type and --mime-type go together, is found nowhere else on a terminal."""
    said = done(cloud, verb, "--help").output
    for name, dialect in formats.FORMATS.items():
        assert all(re.search(rf"\b{word}\b", said) for word in (name, *filter(None, dialect.DOCUMENTS)))


def test_examples_of_the_help_are_commands_there_are():
    """Nobody copies one and gets a usage error."""
    for text in (main.commands["imports"].help, *(verb.help for verb in definitions.imports.commands.values())):
        for verb, options in re.findall(r"importer imports (\w+)((?:[^|\n`]|\\\n)*)", text or ""):
            known = {
                option for p in definitions.imports.commands[verb].params for option in (*p.opts, *p.secondary_opts)
            }
            assert set(re.findall(r"(?<=\s)--[a-z-]+", options)) <= known


def test_examples_of_the_page_make_definitions(cloud: Cloud):
    """docs/imports.md, from top to bottom; those for dialects the house does not have yet are left out."""
    text = (Path(__file__).parents[2] / "docs" / "imports.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [
        shlex.split(line, comments=True)
        for block in blocks
        for line in re.sub("<<.*?^END$", "", block, flags=re.DOTALL | re.MULTILINE).splitlines()
    ]
    commands = [words[2:] for words in lines if words[:2] == ["importer", "imports"] and "|" not in words]
    known = {name for dialect in formats.FORMATS.values() for name in (dialect.NAME, *dialect.DOCUMENTS)}
    made = []
    for verb, *words in commands:
        named = {words[words.index(o) + 1] for o in ("--format", "--document-type") if o in words}
        if verb == "delete":
            words.append("--yes")
        elif "--from" in words or not named <= known:
            continue
        done(cloud, verb, *words)
        made += words[:1] if verb == "create" else []
    assert {"shop", "cooladata", "tables"} <= set(made)


# -- create --------------------------------------------------------------------------------------------------------


def test_create_stores_what_was_said_and_says_where_to_drop(cloud: Cloud):
    result = done(cloud, "create", "shop", "--name", "The shop", "--strict", "--date-format", "dd/mm/yyyy")
    assert stored(cloud, "shop") == Definition("shop", "The shop", strict=True, date_format="dd/mm/yyyy")
    assert f"s3://{cloud.bucket}/imports/shop/" in result.stdout
    assert "importer import --import-id shop" in result.stdout
    assert re.search(r"\* +date_format +dd/mm/yyyy", result.stdout)


def test_create_takes_every_setting_that_has_an_option(cloud: Cloud):
    """None is accepted and then forgotten."""
    wanted = Definition(
        id="all",
        name="All of them",
        mime_type=TEXT_CSV,
        strict=True,
        date_format="mm/dd/yyyy",
        session_scope=True,
        earliest_ms=1_704_067_200_000,
        latest_ms=1_767_225_600_000,
        format="cooladata",
        priority="HIGH",
        base_file_name="accounts.csv",
        files_per_run=2,
        run_seconds=60,
        identity="property:order_id",
        atomic=True,
        numbers_in_strings=True,
        max_bad_rows=100,
        sinks="both",
    )
    differing = {
        field.name for field in fields(Definition) if getattr(wanted, field.name) != getattr(DEFAULT, field.name)
    }
    assert differing == {field.name for field in fields(Definition)} - {"document_type", "encoding"}, "all that can be"
    options = ["--name", "All of them", "--mime-type", TEXT_CSV, "--strict", "--date-format", "mm/dd/yyyy"]
    options += ["--session-scope", "--earliest", "2024-01-01", "--latest", "1767225600000", "--format", "cooladata"]
    options += ["--priority", "HIGH", "--base-file-name", "accounts.csv", "--identity", "property:order_id", "--atomic"]
    options += ["--files-per-run", "2", "--run-seconds", "60"]
    options += ["--numbers-in-strings", "--max-bad-rows", "100", "--sinks", "both"]
    done(cloud, "create", "all", *options)
    assert stored(cloud, "all") == wanted


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("The shop", "the-shop"),
        ("  Café № 5 / Übersicht!  ", "cafe-no-5-ubersicht"),
        ("accounts.json", "accounts-json"),
        ("x" * 300, "x" * 60),
    ],
)
def test_without_an_id_the_folder_is_called_after_the_name(cloud: Cloud, name: str, folder: str):
    done(cloud, "create", "--name", name)
    assert stored(cloud, folder) == Definition(folder, name)


@settings(deadline=None)
@given(st.text(min_size=1))
def test_any_name_makes_an_id_that_can_be_typed(name: str):
    """Whatever people call their imports."""
    import_id = folder_named(name) or "import-0123abcd"
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", import_id)
    assert Definition(import_id, name).id == import_id


def test_a_name_that_makes_no_folder_gets_one_at_random(cloud: Cloud):
    said = json.loads(done(cloud, "create", "--name", "売上", "--json").stdout)["import"]
    assert re.fullmatch(r"import-[0-9a-f]{8}", said["id"])
    assert stored(cloud, said["id"]).name == "売上"


def test_without_a_name_a_definition_is_called_by_its_id(cloud: Cloud):
    done(cloud, "create", "shop")
    assert stored(cloud, "shop") == Definition("shop", "shop")


def test_an_id_that_is_taken_is_refused_and_nothing_changes(cloud: Cloud):
    """Also one made of a name: a script that runs twice makes one definition."""
    done(cloud, "create", "--name", "Shop", "--strict")
    for arguments in (["shop"], ["--name", "SHOP"]):
        result = imports(cloud, "create", *arguments)
        assert (result.exit_code, "there is an import definition 'shop'" in result.stderr) == (1, True)
    assert stored(cloud, "shop") == Definition("shop", "Shop", strict=True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "give an ID or a --name"),
        (["default"], "id 'default': files that no definition is for are called so"),
        (["a/b"], "id 'a/b': the name of a folder, 1 to 200 characters without slashes and controls"),
        (["a\udcff"], "it is not UTF-8"),
        (["a", "--name", "\udcff"], "it is not UTF-8"),
        (["a", "--format", "coladata"], f"format 'coladata': choose one of {', '.join(formats.FORMATS)}"),
        (["a", "--document-type", "USER"], "document_type 'USER': "),
        (["a", "--mime-type", "text/csv"], "mime_type 'text/csv': choose one of APPLICATION_X_NDJSON, TEXT_CSV"),
        (["a", "--priority", "high"], "priority 'high': choose one of HIGH, MEDIUM, LOW"),
        (["a", "--identity", "property:"], "name the property, as in property:order_id"),
        (["a", "--identity", "vendor"], "identity 'vendor': no format is set"),
        (["a", "--date-format", "yyyy"], "date_format 'yyyy': choose one of dd/mm/yyyy, mm/dd/yyyy"),
        (["a", "--base-file-name", "accounts*.json"], "accounts.json stands for accounts*.json"),
        (["a", "--max-bad-rows", "-1"], "max_bad_rows -1: choose 0 (no limit) or a number of rows"),
        (["a", "--max-bad-rows", "few"], "'few' is not a valid integer"),
        (["a", "--sinks", "kafka"], "sinks 'kafka': choose one of dynamodb, firehose, both"),
        (["a", "--earliest", "1700000000"], "this looks like seconds: multiply by 1000 (1700000000000)"),
        (["a", "--latest", "03/04/2012"], "a date that can be read in one way"),
        (["a", "--earliest", "2024-01-02", "--latest", "2024-01-01"], "time window"),
    ],
)
def test_what_is_wrong_is_said_with_what_is_right_and_nothing_is_stored(
    cloud: Cloud, arguments: list[str], sentence: str
):
    """Exit code 2, before anybody is asked for anything."""
    result = imports(cloud, "create", *arguments)
    assert (result.exit_code, sentence in result.stderr) == (2, True), result.stderr
    assert cloud.items(cloud.imports_table) == []


@pytest.mark.parametrize("sinks", ["both", "firehose"])
def test_a_stream_that_is_not_there_is_no_destination(cloud: Cloud, tmp_path: Any, sinks: str):
    """Every import under such a definition would wait for somebody to deploy one. Exit code 1."""
    done(cloud, "create", "shop", "--sinks", sinks)
    cloud.delivery_stream = ""
    command.write_outputs(cloud, tmp_path)
    for arguments in (["create", "other", "--sinks", sinks], ["change", "shop", "--sinks", sinks]):
        result = imports(cloud, *arguments)
        assert (result.exit_code, "the twin has no delivery stream. Deploy it with" in result.stderr) == (1, True)
    done(cloud, "change", "shop", "--strict")
    done(cloud, "change", "shop", "--sinks", "dynamodb")
    assert listed(cloud) == ["shop"]


def test_the_begin_of_all_times_can_be_said(cloud: Cloud):
    """0 is no number of seconds here; a text without a zone is UTC."""
    done(cloud, "create", "shop", "--earliest", "0", "--latest", "2012-10-15T04:06:30+02:00")
    assert (stored(cloud, "shop").earliest_ms, stored(cloud, "shop").latest_ms) == (0, 1_350_266_790_000)


def test_a_document_type_is_refused_in_a_mime_type_it_does_not_come_in(cloud: Cloud):
    """For every document type there is: what is right is in the sentence, and what is right is accepted."""
    for name, dialect in formats.FORMATS.items():
        for document_type, mime_types in dialect.DOCUMENTS.items():
            for mime_type in ("APPLICATION_X_NDJSON", "TEXT_CSV"):
                import_id = f"{name}-{document_type}-{mime_type}"
                options = ["--format", name, "--document-type", document_type, "--mime-type", mime_type]
                result = imports(cloud, "create", import_id, *options)
                if mime_type in mime_types:
                    assert result.exit_code == 0, result.stderr
                    assert stored(cloud, import_id).format == name
                else:
                    assert (result.exit_code, " or ".join(mime_types) in result.stderr) == (2, True), result.stderr


# -- create --from ---------------------------------------------------------------------------------------------------


def test_mediarithmics_answer_makes_a_definition(cloud: Cloud):
    """With its id, and without what is only theirs."""
    result = done(cloud, "create", "--from", "-", stdin=json.dumps(THEIR_ANSWER))
    assert "imports/20517/" in result.stdout
    assert stored(cloud, "20517") == Definition("20517", "My document import", priority="HIGH")


def test_mediarithmics_request_makes_a_definition(cloud: Cloud):
    """Whatever document types there are by now; the vendor's own example is for user activities."""
    body = {"mime_type": "APPLICATION_X_NDJSON", "encoding": "UTF-8", "name": "My user activity document import"}
    kinds = [kind for dialect in formats.FORMATS.values() for kind in dialect.DOCUMENTS if kind == "USER_ACTIVITY"]
    body |= dict.fromkeys(["document_type"] * len(kinds), "USER_ACTIVITY")
    done(cloud, "create", "--from", "-", stdin=json.dumps(body))
    made = stored(cloud, "my-user-activity-document-import")
    assert {name: getattr(made, name) for name in body} == body


def test_user_activities_as_csv_are_refused_with_what_is_right(cloud: Cloud):
    """In the vendor's words, only NDJSON is valid for them; before there is such a dialect they are unknown."""
    body = {"document_type": "USER_ACTIVITY", "mime_type": TEXT_CSV, "encoding": "utf-8", "name": "Wrong"}
    result = imports(cloud, "create", "--from", "-", stdin=json.dumps(body))
    known = any("USER_ACTIVITY" in dialect.DOCUMENTS for dialect in formats.FORMATS.values())
    sentence = (
        "mime_type TEXT_CSV: USER_ACTIVITY come as APPLICATION_X_NDJSON only"
        if known
        else "document_type 'USER_ACTIVITY'"
    )
    assert (result.exit_code, sentence in result.stderr) == (2, True), result.stderr


def test_what_show_says_makes_the_same_definition_again(cloud: Cloud, tmp_path: Any):
    """A definition moves from one installation to another as a file; options beside it win, and so does the ID."""
    done(cloud, "create", "shop", "--name", "The shop", "--strict", "--max-bad-rows", "7", "--identity", "address")
    said = done(cloud, "show", "shop", "--json").stdout
    file = tmp_path / "shop.json"
    file.write_text(json.dumps(json.loads(said)["import"]))
    done(cloud, "create", "shop-2", "--from", "-", stdin=said)
    done(cloud, "create", "shop-3", "--from", str(file), "--no-strict", "--name", "Third")
    assert stored(cloud, "shop-2") == replace(stored(cloud, "shop"), id="shop-2")
    assert stored(cloud, "shop-3") == replace(stored(cloud, "shop"), id="shop-3", name="Third", strict=False)
    deleted = done(cloud, "delete", "shop", "--yes", "--json").stdout
    done(cloud, "create", "--from", "-", stdin=deleted)
    assert stored(cloud, "shop") == replace(stored(cloud, "shop-2"), id="shop")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "--from: this is no JSON"),
        ("", "--from: this is no JSON"),
        ("[]", "--from: a definition is a JSON object"),
        ('{"nmae": "x"}', "unknown setting 'nmae': choose from id, name"),
        ('{"id": 20517}', "id: expected str, found int"),
        ('{"id": "a/b"}', "id 'a/b': the name of a folder"),
        ('{"name": "x", "strict": "yes"}', "strict: expected bool, found str"),
        ('{"name": "x", "encoding": "latin-1"}', "`iconv -f latin-1 -t UTF-8 FILE`"),
        ('{"mime_type": "TEXT_CSV"}', "give an ID or a --name"),
    ],
)
def test_a_file_that_is_no_definition_says_why(cloud: Cloud, text: str, sentence: str):
    result = imports(cloud, "create", "--from", "-", stdin=text)
    assert (result.exit_code, sentence in result.stderr) == (2, True), result.stderr
    assert cloud.items(cloud.imports_table) == []


# -- list ----------------------------------------------------------------------------------------------------------


def test_list_has_the_newest_first_with_whole_names(cloud: Cloud, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert "There are no import definitions in the twin" in done(cloud, "list").stdout
    name = f"The shop {'of many words ' * 10}"
    for import_id in ("first", "second"):
        done(cloud, "create", import_id, "--name", name)
    lines = done(cloud, "list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["import", "second", "first"]
    assert all(name.strip() in line for line in lines[1:]), "one a line, for grep"
    assert listed(cloud) == ["second", "first"]


def test_for_machines_a_definition_has_mediarithmics_fields_then_the_other_settings(cloud: Cloud):
    """Theirs by name and in their order; what an installation of theirs knows alone is null."""
    said = json.loads(done(cloud, "create", "shop", "--name", "The shop", "--json").stdout)["import"]
    theirs = ["id", "datafarm_key", "datamart_id", "document_type", "mime_type", "encoding", "name", "priority"]
    assert list(said)[:8] == theirs
    times = {name: said.pop(name) for name in ("created_ms", "changed_ms")}
    assert times["created_ms"] == times["changed_ms"] > 1_700_000_000_000
    null = dict.fromkeys(["datafarm_key", "datamart_id", "problem"])
    assert said == {**Definition("shop", "The shop").as_stored(), **null}
    [one] = json.loads(done(cloud, "list", "--json").stdout)["imports"]
    assert one == {**said, **times}
    assert json.loads(done(cloud, "show", "shop", "--json").stdout) == {"import": one, "executions": []}


def test_a_definition_that_cannot_be_used_is_in_the_list_with_what_is_wrong(cloud: Cloud):
    """Whoever changed the table by hand sees it here before a file fails."""
    done(cloud, "create", "shop")
    by_hand(cloud, "shop", listed="IMPORT", creation_date=1, definition={"strickt": True})
    assert "unknown setting 'strickt'" in done(cloud, "list").stdout
    [said] = json.loads(done(cloud, "list", "--json").stdout)["imports"]
    assert (said["id"], said["stored"], "unknown setting" in said["problem"]) == ("shop", {"strickt": True}, True)


# -- show ----------------------------------------------------------------------------------------------------------


def test_show_has_every_setting_and_marks_those_that_are_not_the_default(cloud: Cloud):
    done(cloud, "create", "shop", "--name", "The shop", "--strict", "--earliest", "2024-01-01")
    said = done(cloud, "show", "shop").stdout
    assert "Import definition shop  The shop" in said
    shown = re.findall(r"^  (\*| )  ([a-z_]+) +(\S+)", said.partition("what it is")[2], re.MULTILINE)
    assert [name for _, name, _ in shown] == [
        setting.name for setting in SETTINGS if setting.name not in ("id", "name")
    ]
    assert {name: value for mark, name, value in shown if mark == "*"} == {
        "strict": "yes",
        "earliest_ms": "1704067200000",
    }
    assert "2024-01-01T00:00:00Z" in said


def test_show_has_the_last_imports_under_it_and_no_others(installation: Importer):
    cloud = installation.cloud
    done(cloud, "create", "shop")
    assert "None was found." in done(cloud, "show", "shop").stdout
    for number in range(3):
        [newest] = installation.deliver(cloud.drop(f"imports/shop/{number}.json", VENDOR_ROWS))
        installation.deliver(cloud.drop(f"imports/other{number}.json", VENDOR_ROWS))
        cloud.clock.sleep(60)
    said = done(cloud, "show", "shop").stdout
    assert re.findall(r"shop/\d\.json", said) == ["shop/2.json", "shop/1.json", "shop/0.json"]
    assert "other" not in said
    [only] = json.loads(done(cloud, "show", "shop", "--limit", "1", "--json").stdout)["executions"]
    assert (only["id"], only["parameters"]["document_import_id"]) == (newest.id, "shop")


@pytest.mark.parametrize("verb", [["show"], ["change", "--strict"], ["delete", "--yes"]])
def test_an_id_that_is_not_there_is_a_usage_error_that_says_where_to_look(cloud: Cloud, verb: list[str]):
    result = imports(cloud, *verb, "shop")
    assert (result.exit_code, "`importer imports list" in result.stderr) == (2, True)


@pytest.mark.parametrize("definition", [{"strickt": True}, {"strict": 1}, {"format": "coladata"}, "strict", None])
def test_show_of_what_cannot_be_used_says_why(cloud: Cloud, definition: Any):
    """Exit code 1, for people and machines."""
    by_hand(cloud, "shop", **({} if definition is None else {"definition": definition}))
    result = imports(cloud, "show", "shop")
    assert (result.exit_code, "Mend it with" in result.stderr) == (1, True)
    result = imports(cloud, "show", "shop", "--json")
    said = json.loads(result.stdout)["import"]
    assert (result.exit_code, said["stored"]) == (1, "" if definition is None else definition)
    assert said["problem"] in result.stderr


# -- change --------------------------------------------------------------------------------------------------------


def test_change_changes_what_is_given_and_nothing_else(cloud: Cloud):
    done(cloud, "create", "shop", "--name", "The shop", "--strict", "--date-format", "dd/mm/yyyy")
    result = done(cloud, "change", "shop", "--no-strict", "--priority", "LOW", "--date-format", "")
    assert stored(cloud, "shop") == Definition("shop", "The shop", priority="LOW")
    assert [line.split() for line in result.stdout.splitlines()[2:5]] == [
        ["strict", "yes", "no"],
        ["date_format", "dd/mm/yyyy", "(empty)"],
        ["priority", "MEDIUM", "LOW"],
    ]
    assert "Imports that have begun keep the definition they began with." in result.stdout


def test_an_import_keeps_the_definition_it_began_with(installation: Importer):
    """The promise that `change` makes, kept by what workers do."""
    cloud = installation.cloud
    done(cloud, "create", "shop")
    installation.deliver(cloud.drop("imports/shop/many.json", many_rows(100)))
    done(cloud, "change", "shop", "--strict")
    installation.run_until_quiet()
    installation.deliver(cloud.drop("imports/shop/later.json", many_rows(1)))
    ended = {item["parameters"]["input_file_name"]: json.loads(item["state"]) for item in installation.executions()}
    assert (ended["many.json"]["definition"]["strict"], ended["later.json"]["definition"]["strict"]) == (False, True)


def test_change_for_machines_has_what_was_and_what_is(cloud: Cloud):
    done(cloud, "create", "shop")
    said = json.loads(done(cloud, "change", "shop", "--strict", "--json").stdout)
    assert said["changed"] == {"strict": {"before": False, "after": True}}
    assert said["import"] == json.loads(done(cloud, "show", "shop", "--json").stdout)["import"]


def test_a_change_to_what_is_so_already_writes_nothing(cloud: Cloud):
    done(cloud, "create", "shop", "--strict")
    before = cloud.items(cloud.imports_table)
    assert "it is so already" in done(cloud, "change", "shop", "--strict").stdout
    assert cloud.items(cloud.imports_table) == before


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "nothing to change is given"),
        (["--format", "nope"], "format 'nope': choose one of"),
        (["--latest", "2023-01-01"], "time window"),
    ],
)
def test_a_wrong_change_says_what_is_right_and_changes_nothing(cloud: Cloud, arguments: list[str], sentence: str):
    """Judged as the whole it would make: here the window's begin is in the store, its end on the command line."""
    done(cloud, "create", "shop", "--earliest", "2024-01-01")
    before = cloud.items(cloud.imports_table)
    result = imports(cloud, "change", "shop", *arguments)
    assert (result.exit_code, sentence in result.stderr) == (2, True), result.stderr
    assert cloud.items(cloud.imports_table) == before


@pytest.mark.parametrize("verb", [["change", "--strict"], ["delete", "--yes"]])
def test_of_two_people_at_once_the_second_is_told(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, verb: list[str]):
    """Exit code 1; what the first one wrote stays."""
    done(cloud, "create", "shop")
    read = ImportsTable.stored_definition

    def and_then_somebody_else(self: ImportsTable, import_id: str) -> Any:
        found = read(self, import_id)
        assert self.change_definition(import_id, found.definition, Definition("shop", "Ours"), 1)  # type: ignore[union-attr]
        return found

    with monkeypatch.context() as patch:
        patch.setattr(ImportsTable, "stored_definition", and_then_somebody_else)
        result = imports(cloud, *verb, "shop")
    assert (result.exit_code, "somebody else has changed" in result.stderr) == (1, True), result.stderr
    assert stored(cloud, "shop") == Definition("shop", "Ours")


@pytest.mark.parametrize("option", ["--strict", "--no-strict"])
def test_a_definition_written_by_hand_enters_the_list_by_a_change(cloud: Cloud, option: str):
    """`show` has it before; the change need not alter anything."""
    by_hand(cloud, "shop", definition={"strict": True})
    assert listed(cloud) == []
    assert "created    by hand" in done(cloud, "show", "shop").stdout
    done(cloud, "change", "shop", option)
    assert listed(cloud) == ["shop"]
    assert stored(cloud, "shop") == Definition("shop", "default", strict=option == "--strict")


def test_a_wrong_value_that_was_written_by_hand_can_be_mended(cloud: Cloud):
    """1 stands for true in other programs, not here; and after the change it is true."""
    done(cloud, "create", "shop")
    by_hand(cloud, "shop", listed="IMPORT", creation_date=1, definition={"strict": 1, "date_format": "d/m/y"})
    assert imports(cloud, "show", "shop").exit_code == 1
    done(cloud, "change", "shop", "--strict", "--date-format", "dd/mm/yyyy")
    assert stored(cloud, "shop") == Definition("shop", "default", strict=True, date_format="dd/mm/yyyy")


# -- delete --------------------------------------------------------------------------------------------------------


def test_delete_warns_asks_and_then_nothing_is_left(cloud: Cloud):
    done(cloud, "create", "shop")
    result = imports(cloud, "delete", "shop")
    assert (result.exit_code, "nobody is here to be asked" in result.stderr) == (2, True)
    result = done(cloud, "delete", "shop", "--yes")
    assert "Files dropped here from now on are read with the defaults" in result.stdout
    assert (listed(cloud), cloud.items(cloud.imports_table)) == ([], [])


def test_files_dropped_after_a_delete_are_read_with_the_defaults(installation: Importer):
    """What the warning says."""
    cloud = installation.cloud
    done(cloud, "create", "shop", "--mime-type", TEXT_CSV)
    done(cloud, "delete", "shop", "--yes")
    [execution] = installation.deliver(cloud.drop("imports/shop/a.json", VENDOR_ROWS))
    assert (execution.status, execution.document_import_id) == ("SUCCEEDED", "default")


def test_delete_is_refused_while_files_wait_in_the_folder(cloud: Cloud):
    """They would be read by another definition than they were dropped for. A folder's marker is no file."""
    done(cloud, "create", "shop")
    for name in ("", "a.json", "b/c.json", "d.json", "e.json"):
        cloud.drop(f"imports/shop/{name}", b"")
    cloud.drop("imports/shop-2/f.json", b"")
    result = imports(cloud, "delete", "shop", "--yes")
    assert result.exit_code == 1
    assert "4 files wait in imports/shop/ (a.json, b/c.json, d.json, …)" in result.stderr
    assert "has not ended" not in result.stderr
    assert listed(cloud) == ["shop"]
    done(cloud, "delete", "shop", "--yes", "--force")
    assert listed(cloud) == []


def test_delete_is_refused_while_an_import_under_it_has_not_ended(installation: Importer):
    """Its file may be gone from the folder already; one of another definition does not count."""
    cloud = installation.cloud
    done(cloud, "create", "shop")
    done(cloud, "create", "other")
    installation.deliver(cloud.drop("imports/shop/many.json", many_rows(100)))
    cloud.remove("imports/shop/many.json")
    result = imports(cloud, "delete", "shop", "--yes")
    assert (result.exit_code, "1 import under it has not ended" in result.stderr) == (1, True), result.stderr
    assert "wait" not in result.stderr
    done(cloud, "delete", "other", "--yes")
    done(cloud, "delete", "shop", "--yes", "--force")
    assert listed(cloud) == []


def test_many_waiting_files_are_not_all_counted(cloud: Cloud, monkeypatch: pytest.MonkeyPatch):
    """Two are enough to know; a folder may hold a million."""
    monkeypatch.setattr(definitions, "COUNTED_WAITING", 2)
    done(cloud, "create", "shop")
    for number in range(5):
        cloud.drop(f"imports/shop/{number}.json", b"")
    assert "more than 2 files wait in imports/shop/" in imports(cloud, "delete", "shop", "--yes").stderr


# -- strange names -------------------------------------------------------------------------------------------------


def test_ids_and_names_of_strangers_are_printed_as_plain_text(cloud: Cloud):
    """No markup, no control characters (J8); the command that is offered can be pasted into a shell."""
    name = "[red]x[/red]\x1b[31m\n\u202e"
    done(cloud, "create", "it's a $(shop)", "--name", name)
    for verb in (["list"], ["show", "it's a $(shop)"], ["change", "it's a $(shop)", "--strict"]):
        said = done(cloud, *verb).stdout
        assert not any(c in said for c in ("\x1b", "\u202e"))
    assert "[red]x[/red]\\x1b[31m\\n\\u202e" in done(cloud, "list").stdout
    created = done(cloud, "create", "it's $(another)")
    assert "--import-id 'it'\\''s $(another)'" in created.stdout
