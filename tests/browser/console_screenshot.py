"""Makes docs/console.png anew; with a folder, also pictures of every state, for people to look at.

python -m tests.browser.console_screenshot [FOLDER]
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from importer.doors.tokens import Right
from tests.browser.test_console import STATES, furnished
from tests.support.browser import browser
from tests.support.console import Installation, installed, rows

PICTURE = Path(__file__).parents[2] / "docs" / "console.png"
LOOKS: list[tuple[str, int, Any, float]] = [
    ("light", 1240, "light", 1),
    ("dark", 1240, "dark", 1),
    ("narrow", 375, "light", 1),
    ("zoomed", 620, "dark", 2),
]


def shop(place: Installation) -> None:
    place.define(id="shop", name="The shop")
    for day, bad in (("monday", 0), ("tuesday", 4), ("wednesday", 0)):
        place.imported(f"imports/shop/{day}.ndjson", rows(300, bad))


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with TemporaryDirectory() as directory, browser() as chromium:
        with installed() as place:
            shop(place)
            page = chromium.new_page(viewport={"width": 1100, "height": 1240})
            page.goto(f"{place.url}#token={place.door.new_token({'*': [Right.ADMIN]})}")
            page.get_by_role("button", name="tuesday.ndjson").click()
            page.locator("#one-receipt summary").first.click()
            page.evaluate("scrollTo(0, 0)")
            page.wait_for_timeout(500)
            page.screenshot(path=PICTURE)
        if folder is None:
            return
        folder.mkdir(exist_ok=True)
        with installed() as place:
            furnished(place)
            for look, width, scheme, scale in LOOKS:
                for name, bring in STATES.items():
                    page = chromium.new_page(
                        viewport={"width": width, "height": 900}, color_scheme=scheme, device_scale_factor=scale
                    )
                    page.goto(f"{place.url}#token={place.token}")
                    page.locator("#rows tr").first.wait_for()
                    bring(page, Path(directory))
                    page.wait_for_timeout(300)
                    page.screenshot(path=folder / f"{look}-{name}.png", full_page=name != "asked")
                    page.close()


if __name__ == "__main__":
    main()
