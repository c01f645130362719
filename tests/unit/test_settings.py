"""What the template tells the functions: whole, or refused at start with what is missing (H6)."""

from typing import Any

import pytest

from importer.aws.settings import CHOICES, Settings
from importer.sinks import SINKS

NAMES = {"BUCKET_NAME": "b", "EVENTS_TABLE": "e", "USERS_TABLE": "u", "IMPORTS_TABLE": "i"}
STREAM = {"DELIVERY_STREAM": "s"}


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


def test_every_destination_can_be_chosen_and_no_other():
    """The register of sinks and the template's choices speak of the same."""
    assert {name for names in CHOICES.values() for name in names} == set(SINKS)
