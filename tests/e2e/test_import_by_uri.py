"""Import by URI through the twin: the deployed function fetches under its own role, and S3's notification imports."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli import twin
from cli.connection import of_stack
from cli.main import main
from tests.e2e.bench import Bench
from tests.support.web import answer, serving

pytestmark = pytest.mark.xdist_group("twin")

LOGINS = (Path(__file__).parents[2] / "events" / "files" / "logins.json").read_bytes()
FOLDER = "importer/s3-event-importer/uri-credentials"


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A twin that may fetch from this machine, and from nowhere else."""
    directory = tmp_path_factory.mktemp("twin")
    with pytest.MonkeyPatch.context() as patch, twin.running(directory, ["UriAllowedHosts=127.0.0.1"]) as stack:
        patch.setattr(twin, "DIRECTORY", directory)
        yield Bench(stack)


def imported(*arguments: str) -> tuple[Result, dict[str, object]]:
    result = CliRunner().invoke(main, ["import", "--json", *arguments])
    return result, json.loads(result.stdout)["files"][0]


def test_a_file_of_a_web_server_is_fetched_and_imported(bench: Bench):
    """Three good rows, one refused: as if it had been dropped."""
    with serving(answer(LOGINS, 'ETag: "v1"')) as web:
        result, file = imported(f"http://127.0.0.1:{web.port}/exports/by-uri.json?sig=secret")
    receipt = file["receipt"]
    assert isinstance(receipt, dict)
    assert (result.exit_code, receipt["good"], receipt["bad"]) == (1, 3, 1)
    assert "secret" not in result.output


def test_a_private_object_is_read_by_the_key_its_secret_holds(bench: Bench):
    """The function's own role may not read it; only the name of the secret is given."""
    connection = of_stack(bench.stack)
    connection.s3.create_bucket(Bucket="partner-bucket")
    connection.s3.put_object(Bucket="partner-bucket", Key="exports/private.json", Body=LOGINS)
    key = {"access_key_id": bench.stack.access_key_id, "secret_access_key": bench.stack.secret_access_key}
    parameters = connection.session.client("ssm", endpoint_url=bench.stack.endpoint_url)
    parameters.put_parameter(Name=f"/{FOLDER}/partner", Type="SecureString", Value=json.dumps(key))
    denied, _ = imported("s3://partner-bucket/exports/private.json")
    assert (denied.exit_code, "source_refused" in denied.stdout) == (3, True)
    result, file = imported("s3://partner-bucket/exports/private.json", "--credentials", "ssm:partner")
    receipt = file["receipt"]
    assert isinstance(receipt, dict)
    assert (result.exit_code, receipt["good"]) == (1, 3)


@pytest.mark.parametrize("uri", ["http://169.254.169.254/latest/x.json", "http://localhost/x.json"])
def test_no_other_host_is_asked(bench: Bench, uri: str):
    result, _ = imported(uri)
    assert (result.exit_code, "host_not_allowed" in result.stdout) == (3, True)
