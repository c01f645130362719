"""What the template tells the functions: whole, or refused at start with what is missing (H6)."""

from pathlib import Path
from typing import Any

import pytest
from samtranslator.yaml_helper import yaml_parse

from importer.aws.settings import Settings
from importer.definitions import SINK_CHOICES
from importer.sinks import SINKS

NAMES = {"BUCKET_NAME": "b", "EVENTS_TABLE": "e", "USERS_TABLE": "u", "IMPORTS_TABLE": "i"}
STREAM = {"DELIVERY_STREAM": "s"}
PARAMETERS = yaml_parse((Path(__file__).parents[2] / "template.yaml").read_text(encoding="utf-8"))["Parameters"]
NUMBERS = {
    "PART_SIZE_MIB": "PartSizeMiB",
    "PART_SECONDS": "PartSeconds",
    "PART_CONCURRENCY": "PartConcurrency",
    "WRITES_PER_SECOND": "WritesPerSecond",
}


@pytest.mark.parametrize(
    ("more", "sinks", "stream", "gzip"),
    [
        ({}, ("dynamodb",), "", False),
        ({"SINKS": "dynamodb", "DELIVERY_STREAM": "", "STREAM_GZIP": "false"}, ("dynamodb",), "", False),
        ({"SINKS": "firehose", **STREAM}, ("firehose",), "s", False),
        ({"SINKS": "both", **STREAM, "STREAM_GZIP": "true"}, ("dynamodb", "firehose"), "s", True),
    ],
)
def test_the_environment_says_where_events_go(more: dict[str, str], sinks: Any, stream: str, gzip: bool):
    """Each choice of the parameter Sinks, as the template hands it on."""
    assert Settings.of(NAMES | more) == Settings("b", "e", "u", "i", sinks, stream, gzip)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({**NAMES, "EVENTS_TABLE": ""}, "EVENTS_TABLE is not set"),
        ({}, "BUCKET_NAME is not set"),
        ({**NAMES, "SINKS": "dynamodb,firehose", **STREAM}, "choose one of dynamodb, firehose, both"),
        ({**NAMES, "SINKS": ""}, "choose one of dynamodb, firehose, both"),
        ({**NAMES, "SINKS": "both"}, "DELIVERY_STREAM is not set"),
        ({**NAMES, "SINKS": "firehose", "DELIVERY_STREAM": ""}, "DELIVERY_STREAM is not set"),
        ({**NAMES, "STREAM_GZIP": "yes"}, "choose true or false"),
    ],
)
def test_what_is_wrong_is_told_at_start(environment: dict[str, str], words: str):
    """No file has been touched then."""
    with pytest.raises(ValueError, match=words):
        Settings.of(environment)


@pytest.mark.parametrize(
    ("more", "shared_out"),
    [
        ({}, ("", 256 << 20, 300, 0)),
        (
            {
                "PART_QUEUE_URL": "https://q",
                "PART_SIZE_MIB": "8",
                "PART_SECONDS": "30",
                "PART_CONCURRENCY": "4",
                "WRITES_PER_SECOND": "202",
            },
            ("https://q", 8 << 20, 30, 50.5),
        ),
        ({"PART_CONCURRENCY": "1000", "WRITES_PER_SECOND": "0"}, ("", 256 << 20, 300, 0)),
        ({"PART_SIZE_MIB": "5120", "WRITES_PER_SECOND": "4000"}, ("", 5 << 30, 300, 200)),
        ({"PART_SIZE_MIB": "", "PART_SECONDS": ""}, ("", 256 << 20, 300, 0)),
    ],
)
def test_the_environment_says_how_large_files_are_shared_out(more: dict[str, str], shared_out: Any):
    """MiB become bytes, a rate for all becomes a worker's share; what is not said has a default (an older stack)."""
    settings = Settings.of(NAMES | more)
    told = (settings.part_queue_url, settings.part_bytes, settings.hop_seconds, settings.writes_per_second)
    assert told == shared_out


@pytest.mark.parametrize(("variable", "parameter"), NUMBERS.items())
def test_a_number_has_the_bounds_of_the_templates_parameter_and_is_told_with_them(variable: str, parameter: str):
    """CloudFormation refuses first what a function would refuse at every start; only plain digits are a number."""
    bounds = PARAMETERS[parameter]
    least, most = bounds["MinValue"], bounds["MaxValue"]
    for fits in (least, bounds["Default"], most):
        assert Settings.of({**NAMES, variable: str(fits)})
    for wrong in (str(least - 1), str(most + 1), "8.5", "1e3", "many", "\u0663\u0660", " 30"):
        with pytest.raises(ValueError, match=f"{variable} is .*: choose a whole number, {least:,} to {most:,}"):
            Settings.of({**NAMES, variable: wrong})


def test_workers_of_every_priority_share_the_rate():
    """Those of HIGH are as many again, those of LOW two: all together keep to what was asked for."""
    queues = {"PART_QUEUE_URL": "q", "HIGH_PART_QUEUE_URL": "h", "LOW_PART_QUEUE_URL": "l"}
    settings = Settings.of({**NAMES, **queues, "PART_CONCURRENCY": "4", "WRITES_PER_SECOND": "1000"})
    assert settings.writes_per_second == 100
    assert (settings.part_queue_url, settings.high_part_queue_url, settings.low_part_queue_url) == ("q", "h", "l")


def test_a_rate_that_leaves_a_worker_too_little_is_refused():
    """A batch has to fit an invocation, or no part would ever get on."""
    with pytest.raises(ValueError, match="WRITES_PER_SECOND is 999, which leaves each of 20 workers less than 50"):
        Settings.of({**NAMES, "WRITES_PER_SECOND": "999"})


def test_without_a_word_numbers_are_the_templates_defaults():
    """An older stack works as a new one does that chose nothing."""
    chosen = {variable: str(PARAMETERS[parameter]["Default"]) for variable, parameter in NUMBERS.items()}
    assert Settings.of(NAMES) == Settings.of(NAMES | chosen)


def test_every_destination_can_be_chosen_and_no_other():
    """The register of sinks and the template's choices speak of the same."""
    assert {name for names in SINK_CHOICES.values() for name in names} == set(SINKS)
