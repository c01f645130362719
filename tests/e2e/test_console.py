"""The console on the twin: the page that was built and deployed, and forms that the door's own role has signed."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from cli import twin
from tests.e2e.bench import Bench
from tests.support.browser import browser
from tests.support.console import rows

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("twin")]

PATIENCE_MS = 120_000  # a function of the twin starts in seconds, or in tens of them where the machine is busy


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with twin.running(tmp_path_factory.mktemp("twin")) as stack:
        yield Bench(stack)


def test_a_file_is_previewed_imported_and_its_refused_rows_downloaded(bench: Bench, tmp_path: Path) -> None:
    """Straight to the bucket and back, across origins; what is no route is told in the door's words."""
    file = tmp_path / "monday.ndjson"
    file.write_bytes(rows(200, 5))
    with browser() as chromium:
        page = chromium.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.goto(f"{bench.stack.api_url}/console#token={bench.stack.api_token}")
        page.locator("#file").set_input_files(file)
        page.locator("#look").click()
        page.locator("#confirm").click()
        facts = page.locator("#one-facts")
        expect(facts).to_contain_text("SUCCEEDED", timeout=PATIENCE_MS)
        expect(page.locator("#one-receipt summary").first).to_contain_text("3 × missing_field", timeout=PATIENCE_MS)
        with page.expect_download() as download:
            page.locator("#get-errors").click()
        assert len(download.value.path().read_bytes().splitlines()) == 5
        assert page.request.delete(f"{bench.stack.api_url}/openapi.json").status == 405
        nowhere = page.request.get(f"{bench.stack.api_url}/nowhere")
        assert (nowhere.status, nowhere.json()["code"]) == (404, "no_such_route")
    (preview,) = bench.keys("preview_results/monday-")[::2]
    assert preview.endswith(".html")
