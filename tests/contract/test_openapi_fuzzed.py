"""The published description held against the door by schemathesis: requests it makes up, valid and not, over HTTP.

No answer is a 5xx, and each has the status, the Content-Type and the shape that docs/openapi.json promises. What is
valid by the description is taken, but where no schema can say what is not (422 of rules between settings, 404, 409);
what is not valid is refused.
"""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import ignored_auth

from cli.api_gateway import Gateway
from tests.support.cloud import Cloud
from tests.support.door import ROUTES, opened

pytestmark = pytest.mark.filterwarnings("ignore")  # of schemathesis and of metrics

EXAMPLES = int(os.environ.get("FUZZED_EXAMPLES", "8"))  # of each operation, beside those of its schema's borders
CONFIG: Any = {
    # An id for each name in a path, or hardly a request would reach what it asks for.
    "parameters": {"path.datamart_id": "1", "path.import_id": ["shop", "default"]},
    "checks": {
        "positive_data_acceptance": {
            "expected-statuses": ["2xx", "302", "400", "403", "404", "409", "415", "422"],
        },
    },
}
schema = schemathesis.openapi.from_path(
    Path(__file__).parents[2] / "docs/openapi.json", config=SchemathesisConfig.from_dict(CONFIG)
)


@schemathesis.serializer("application/x-ndjson", "text/csv")
def _lines(_context: Any, value: Any) -> bytes:
    return (
        value if isinstance(value, bytes) else value.encode() if isinstance(value, str) else json.dumps(value).encode()
    )


@pytest.fixture(scope="module")
def gateway() -> Iterator[tuple[str, str]]:
    """Root and token of a door with one import in it."""
    with Cloud(strict=False) as cloud, opened(cloud) as door:
        one_at_a_time = threading.Lock()  # as an environment of Lambda is called

        def invoke(event: dict[str, Any]) -> dict[str, Any]:
            with one_at_a_time:
                return door.invoke(event)

        door.made(id="shop", name="The shop")
        with Gateway(0, ROUTES(), invoke) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            yield server.url, door.token
            server.shutdown()
            thread.join()


@schema.parametrize()
@settings(
    max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)
def test_the_door_keeps_what_its_description_promises(case: Any, gateway: tuple[str, str]) -> None:
    url, token = gateway
    # ignored_auth: tests/unit/test_http_door.py asks every route.
    case.call_and_validate(base_url=url, headers={"Authorization": token}, excluded_checks=[ignored_auth])
