"""What the HTTP door is invoked with: every sample of events/api, as API Gateway hands requests on."""

import json
import os
from collections.abc import Iterator

import pytest

from tests.support.cloud import Cloud
from tests.support.door import Door, opened
from tests.support.samples import EVENTS

pytestmark = pytest.mark.filterwarnings("ignore:No application metrics")

ANSWERS = {
    "create-execution": 200,
    "create-import": 200,
    "get-console": 200,
    "import-visits": 200,
    "list-all-executions": 200,
    "list-imports": 200,
    "no-such-execution": 404,
    "no-such-import": 404,
    "no-such-method": 405,
}
OPEN = {"get-console", "no-such-method"}  # need no token


@pytest.fixture
def door() -> Iterator[Door]:
    with Cloud() as cloud, opened(cloud) as door:
        yield door


def test_every_sample_is_listed():
    """Here, and on the page for people."""
    names = sorted(name.removesuffix(".json") for name in os.listdir(EVENTS / "api"))
    assert names == sorted(ANSWERS)
    page = (EVENTS / "README.md").read_text(encoding="utf-8")
    assert [name for name in names if f"`api/{name}.json`" not in page] == []


def test_each_sample_is_answered(door: Door):
    """With a good token in the place of the sample's; with that, which is nobody's, 401, but where none is needed."""
    for name, status in ANSWERS.items():
        event = json.loads((EVENTS / "api" / f"{name}.json").read_bytes())
        assert door.invoke(event)["statusCode"] == (status if name in OPEN else 401), name
        event["headers"]["authorization"] = door.token
        assert door.invoke(event)["statusCode"] == status, name
