"""Registers are whole: what code can say, a person can look up."""

import re
from pathlib import Path

import pytest

from importer import bad_rows
from importer.bad_rows import FileReason, Reason, Reject
from importer.formats import FORMATS
from importer.sinks import SINKS
from importer.telemetry import MEANING, LogKey, Metric

ROOT = Path(__file__).parents[2]
SOURCES = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "src").rglob("*.py"))}
DOCS = ROOT / "docs" / "formats.md"
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


@pytest.mark.parametrize("metric", Metric, ids=str)
def test_every_metric_has_a_meaning(metric: Metric):
    """One sentence each, for whoever builds an alarm on it."""
    assert len(MEANING[metric].split()) >= 3


def test_no_meaning_is_left_over_and_names_are_stable():
    """CamelCase as CloudWatch has it, each once."""
    assert set(MEANING) == set(Metric)
    assert all(re.fullmatch(r"([A-Z][a-z]+)+", metric.value) for metric in Metric)


def test_metrics_have_the_namespace_of_the_template():
    """What telemetry says, what the functions are given, and what alarms look at."""
    template = (ROOT / "template.yaml").read_text(encoding="utf-8")
    given = re.findall(r"POWERTOOLS_METRICS_NAMESPACE: *(\S+)", template)
    alarmed = set(re.findall(r"Namespace: *(\S+)", template)) - {"AWS/Lambda", "AWS/SQS", *given}
    telemetry = (ROOT / "src/handler/importer/telemetry.py").read_text(encoding="utf-8")
    assert (given, alarmed, "namespace S3EventImporter" in telemetry) == (["S3EventImporter"], set(), True)


def test_alarms_look_at_metrics_that_exist():
    """An alarm on a misspelt metric never rings."""
    template = (ROOT / "template.yaml").read_text(encoding="utf-8")
    blocks = re.findall(
        r"MetricName: *(\S+)\n\s*Namespace: *S3EventImporter|Namespace: *S3EventImporter\n\s*MetricName: *(\S+)",
        template,
    )
    names = {first or second for first, second in blocks}
    assert names
    assert names <= {metric.value for metric in Metric}


def test_log_keys_are_stable():
    """Lower case, each named after itself: queries rest on them."""
    assert [key.value for key in LogKey] == [key.name.lower() for key in LogKey]


def test_registers_have_their_names():
    """A format and a sink are found under the name they are called by everywhere else."""
    assert all(STABLE.match(name) for name in [*FORMATS, *SINKS])
    assert {name: dialect.NAME for name, dialect in FORMATS.items()} == {name: name for name in FORMATS}
    assert all((ROOT / "tests" / "cases" / name).is_dir() for name in FORMATS), "a dialect has a folder of cases"
