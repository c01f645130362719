"""Registers are whole: what code can say, a person can look up."""

import re
from pathlib import Path

import pytest

from cli.definitions import SETTINGS
from importer import bad_rows, telemetry
from importer.bad_rows import FileReason, Reason, Reject
from importer.formats import FORMATS
from importer.sinks import SINKS
from importer.telemetry import LogKey, Message, Metric

ROOT = Path(__file__).parents[2]
SOURCES = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py"))}
DOCS = ROOT / "docs" / "formats.md"
OPERATIONS = ROOT / "docs" / "operations.md"
IMPORTS = ROOT / "docs" / "imports.md"
STABLE = re.compile(r"[a-z][a-z0-9_]*\Z")


def used(register: str, names: list[str]) -> set[str]:
    """Members of a register that code outside its own definition names."""
    return {name for name in names for text in SOURCES.values() if re.search(rf"\b{register}\.{name}\b", text)}


@pytest.mark.parametrize("reason", Reason, ids=str)
def test_every_reason_has_a_sentence(reason: Reason):
    """A bad row without words helps nobody."""
    assert len(Reject(reason).message.split()) >= 2


def test_no_sentence_is_left_over():
    """The register of sentences has the reasons, all of them and no other."""
    assert set(bad_rows._SAYS) == set(Reason)


@pytest.mark.parametrize("code", [*Reason, *FileReason], ids=str)
def test_code_is_lower_case_and_named_after_itself(code: Reason | FileReason):
    """Stable: people search for it and programs compare it."""
    assert (code.value, bool(STABLE.match(code.value))) == (code.name.lower(), True)


def test_every_reason_that_code_gives_is_documented():
    """docs/formats.md has each row reason and each file reason that can occur, with its remedy."""
    given = {Reason[name].value for name in used("Reason", [reason.name for reason in Reason if _given(reason)])}
    given |= {FileReason[name].value for name in used("FileReason", [reason.name for reason in FileReason])}
    text = DOCS.read_text(encoding="utf-8") if DOCS.exists() else ""
    missing = sorted(code for code in given if f"`{code}`" not in text)
    assert not missing, f"docs/formats.md does not list {', '.join(missing)}"


def _given(reason: Reason) -> bool:
    """Whether a reject of this reason is made somewhere; the register of sentences alone does not count."""
    return any(
        re.search(rf"\bReason\.{reason.name}\b", text.split("_SAYS:")[0])
        for text in SOURCES.values()
        if "Reason." in text
    )


def test_documented_cases_exist():
    """Where docs/formats.md points at a case, the case is there."""
    text = DOCS.read_text(encoding="utf-8") if DOCS.exists() else ""
    missing = [path for path in re.findall(r"tests/cases/[\w./-]+\.json", text) if not (ROOT / path).exists()]
    assert not missing, f"docs/formats.md points at {', '.join(missing)}"


def test_every_metric_has_a_unit_and_a_meaning():
    """One sentence each, for whoever builds an alarm on it; CamelCase as CloudWatch has it."""
    assert (set(telemetry.MEANING), set(telemetry.UNIT)) == (set(Metric), set(Metric))
    assert all(len(sentence.split()) >= 3 for sentence in telemetry.MEANING.values())
    assert all(re.fullmatch(r"([A-Z][a-z]+)+", metric.value) for metric in Metric)


def test_every_metric_is_emitted():
    """One that nobody counts would read as zero."""
    text = SOURCES[ROOT / "src/handler/importer/telemetry.py"].partition("# ---- Writing it")[2]
    assert {metric.name for metric in Metric} == set(re.findall(r"\bMetric\.([A-Z_]+)\b", text))


def test_the_page_has_the_metrics_of_the_register():
    """docs/operations.md, row by row: name, unit, meaning."""
    assert table_of("### Metrics") == [
        [f"`{metric}`", telemetry.UNIT[metric].value.lower(), telemetry.MEANING[metric]] for metric in Metric
    ]


def test_log_keys_are_stable():
    """Lower case, each named after itself: queries rest on them."""
    assert [key.value for key in LogKey] == [key.name.lower() for key in LogKey]
    assert set(telemetry.HOLDS) == set(LogKey)


def test_the_page_has_the_log_lines_and_keys_of_the_register():
    """docs/operations.md, row by row: message, when, keys; and each key, what it holds."""
    assert set(telemetry.SAYS) == set(Message)
    assert table_of("### Log keys") == [
        [f"`{message}`", telemetry.SAYS[message][0], " ".join(f"`{key}`" for key in telemetry.SAYS[message][1])]
        for message in Message
    ]
    assert table_of("### Log keys", 1) == [[f"`{key}`", telemetry.HOLDS[key]] for key in LogKey]


def test_the_page_has_every_setting_of_a_definition():
    """docs/imports.md, row by row: option, default, what it is, what it may be; as the command has them."""
    assert table_of("## Settings", page=IMPORTS) == [
        [
            f"`{setting.name}`",
            f"`{setting.option}`" if setting.option else "–",
            {"id": "–", "name": "the id"}.get(setting.name) or default_text(setting.default),
            setting.says,
            (setting.allowed or "yes or no").replace("<", "&lt;"),
        ]
        for setting in SETTINGS
    ]


def default_text(default: object) -> str:
    return "empty" if default == "" else "no" if default is False else f"`{default}`"


def test_the_page_has_every_dialect_with_its_document_types():
    """docs/imports.md: what format, document type and mime type go together."""
    table = {(row[0], row[1].partition(" (")[0]): row[2] for row in table_of("## Dialects", page=IMPORTS)}
    for name, dialect in FORMATS.items():
        for kind, mime_types in dialect.DOCUMENTS.items():
            listed = ", ".join(f"`{mime_type}`" for mime_type in mime_types)
            assert table.get((f"`{name}`", f"`{kind}`" if kind else "–")) == listed


def test_the_page_of_formats_has_every_dialect():
    """docs/formats.md: what a row of each is, and where its facts stand."""
    assert [row[0] for row in table_of("## Dialects", page=DOCS)] == [f"`{name}`" for name in FORMATS]


def table_of(heading: str, number: int = 0, page: Path = OPERATIONS) -> list[list[str]]:
    """Cells of the rows of a table of a page below a heading, without its head."""
    text = page.read_text(encoding="utf-8")
    assert f"\n{heading}\n" in text, f"{heading!r} is not in {page.name}"
    section = re.split(r"\n##+ ", text.partition(f"\n{heading}\n")[2])[0]
    tables = [block for block in section.split("\n\n") if block.lstrip().startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in tables[number].strip().splitlines()[2:]]


def test_registers_have_their_names():
    """A format and a sink are found under the name they are called by everywhere else."""
    assert all(STABLE.match(name) for name in [*FORMATS, *SINKS])
    assert {name: dialect.NAME for name, dialect in FORMATS.items()} == {name: name for name in FORMATS}
    assert all((ROOT / "tests" / "cases" / name).is_dir() for name in FORMATS), "a dialect has a folder of cases"


def test_the_page_of_the_http_door_has_every_code_of_a_problem():
    """Programs look at them: each stands in docs/http.md, lower case."""
    rooms = (ROOT / "src/handler/importer/doors").glob("*.py")
    given = {code for room in rooms for code in re.findall(r'HTTPStatus\.[A-Z_]+,\s*"(\w+)"', room.read_text())}
    page = (ROOT / "docs" / "http.md").read_text(encoding="utf-8")
    assert given
    assert {code for code in given if f"`{code}`" not in page or not STABLE.match(code)} == set()
