"""Makes docs/preview.png anew: python -m tests.browser.screenshot"""

from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.browser import browser
from tests.support.previews import honest, page_of, store

PICTURE = Path(__file__).parents[2] / "docs" / "preview.png"


def main() -> None:
    with TemporaryDirectory() as directory, browser() as chromium:
        file = Path(directory) / "page.html"
        file.write_bytes(page_of(honest(), store()))
        page = chromium.new_page(viewport={"width": 1240, "height": 1000})
        page.goto(file.as_uri())
        page.screenshot(path=PICTURE)


if __name__ == "__main__":
    main()
