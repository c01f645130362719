"""The page of a preview as a person has it: in Chromium, light and dark, wide and narrow, on paper, by keyboard."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.support.browser import browser
from tests.support.previews import ATTACKS, found_in, honest, naughty, page_of, store

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

NAUGHTY_NAME = "previews/<img src=x onerror=alert(0)>\u202e.json"
PAGES = {
    "honest": lambda: page_of(honest(), store()),
    "naughty": lambda: page_of(naughty(), store(), NAUGHTY_NAME),
    "refused": lambda: page_of(b"\x1f\x8b\x08cut", name="previews/cut.json.gz"),
    "empty": lambda: page_of(b""),
}
AT_EASE = [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as launched:
        yield launched


class Opened:
    """A page, and whatever it tried beside being shown."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.attempts: list[str] = []
        page.on("dialog", lambda dialog: (self.attempts.append(dialog.message), dialog.dismiss()))
        page.on("console", lambda message: self.attempts.append(message.text))
        page.on("pageerror", lambda error: self.attempts.append(str(error)))
        page.on("request", lambda request: self.attempts.append(request.url))


@pytest.fixture
def open_page(chromium: Browser, tmp_path: Path) -> Iterator[Any]:
    contexts = []

    def opened(name: str, width: int = 1280, scheme: str = "light") -> Opened:
        file = tmp_path / f"{name}.html"
        file.write_bytes(PAGES[name]())
        context = chromium.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        contexts.append(context)
        page = Opened(context.new_page())
        page.page.goto(file.as_uri())
        assert page.attempts.pop(0) == file.as_uri()
        return page

    yield opened
    for context in contexts:
        context.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_loads_nothing_runs_nothing_and_reports_nothing(open_page: Any, name: str):
    """Whatever its file holds: no dialog, no request, no error, no message (J8)."""
    opened = open_page(name)
    opened.page.wait_for_timeout(200)
    assert opened.attempts == []


def test_what_a_stranger_wrote_is_text(open_page: Any):
    """No element comes from a row: those of the page are ours, and the row's markup can be read as it was sent."""
    page = open_page("naughty").page
    assert page.locator("script, img, iframe, link, object, embed, form, input, b, a:not([href^='#'])").count() == 0
    assert page.locator("h1").all_inner_texts() == ["previews/<img src=x onerror=alert(0)>\\u202e.json"]
    text = page.locator("body").inner_text()
    for attack in ATTACKS[:12]:
        assert attack in text
    assert "\\u202egnp.exe\\u202c" in text
    assert "\u202e" not in text
    assert page.title().startswith("Preview of previews/<img")


def test_the_pages_own_policy_stops_what_would_be_put_into_it(open_page: Any):
    """Should a text slip through one day: no script, style, image or address of it does anything."""
    done = open_page("honest").page.evaluate(
        """async () => {
            const stopped = new Set();
            document.addEventListener("securitypolicyviolation", event => stopped.add(event.effectiveDirective));
            const make = (name, members) => document.body.append(Object.assign(document.createElement(name), members));
            make("script", {textContent: "window.ran = true"});
            make("script", {src: "https://example.org/x.js"});
            make("style", {textContent: "body { display: none }"});
            make("img", {src: "https://example.org/x.png"});
            make("iframe", {src: "https://example.org/"});
            document.body.insertAdjacentHTML("beforeend", "<p style='position:fixed' onclick='window.ran = true'>x");
            document.querySelector("p[onclick]").click();
            await new Promise(done => setTimeout(done, 300));
            return [window.ran === undefined, getComputedStyle(document.body).display, [...stopped].sort()];
        }"""
    )
    told = ["frame-src", "img-src", "script-src-attr", "script-src-elem", "style-src-attr", "style-src-elem"]
    assert done == [True, "block", told]


@pytest.mark.sampled(4, each="name scheme")
@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [(name, *at_ease) for name in ("honest", "naughty") for at_ease in AT_EASE]
    + [("refused", 1280, "light"), ("refused", 360, "dark"), ("empty", 1280, "dark")],
)
def test_axe_finds_nothing_to_complain_of(open_page: Any, name: str, width: int, scheme: str):
    """Contrast, landmarks, names, headings and headers of tables: WCAG 2.2 AA and axe's best practices."""
    page = open_page(name, width, scheme).page
    found = Axe().run(page).response["violations"]
    assert [(rule["id"], [node["target"] for node in rule["nodes"]]) for rule in found] == []


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("width", [320, 768, 1920])
def test_the_page_is_never_wider_than_its_window(open_page: Any, name: str, width: int):
    """A wide table scrolls by itself; names without blanks are broken (WCAG 1.4.10)."""
    page = open_page(name, width).page
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_everything_can_be_reached_by_keyboard(open_page: Any):
    """Links of the contents, then each table that scrolls; each link leads to its heading."""
    page = open_page("honest", 360).page
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate("document.activeElement.getAttribute('href') || document.activeElement.ariaLabel || ''")
        )
    links = page.locator("nav a").evaluate_all("all => all.map(one => one.getAttribute('href'))")
    regions = page.locator("[role=region]").evaluate_all("all => all.map(one => one.ariaLabel)")
    assert reached[: len(links) + len(regions)] == links + regions
    assert [page.locator(link).count() for link in links] == [1] * len(links)
    assert page.locator("h1, h2").first.evaluate("one => one.tagName") == "H1"


def test_it_prints_on_white_paper_with_all_it_holds(open_page: Any):
    """Also from a dark screen: no contents list, nothing cut off by a window that scrolls."""
    page = open_page("honest", 1280, "dark").page
    page.emulate_media(media="print")
    assert page.locator("nav").is_hidden()
    assert page.evaluate("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    pdf = page.pdf(format="A4", print_background=True)
    assert pdf.startswith(b"%PDF-")
    assert pdf.count(b"/Type /Page\n") in range(1, 6)


def test_what_it_says_is_what_was_found(open_page: Any):
    """Sums, names that are new, types that clash, and the place in a refused row."""
    page = open_page("honest").page
    found = found_in(honest(), store())
    cards = dict(
        zip(page.locator(".card dt").all_inner_texts(), page.locator(".card dd").all_inner_texts(), strict=True)
    )
    assert {name: cards[name].split("\n")[0] for name in ("Rows", "Good", "Refused", "Events")} == {
        "Rows": "400",
        "Good": str(found.tally.good),
        "Refused": str(found.tally.bad),
        "Events": str(found.tally.events),
    }
    assert page.locator("#events ~ .scroll tr:has-text('purchase') .chip").all_inner_texts() == ["new"]
    price = page.locator("#properties ~ .scroll tr:has(th:has-text('price'))")
    assert price.locator(".chip").all_inner_texts() == [
        "number 388 from line 1",
        "string 1 from line 18",
        "there: number",
    ]
    assert page.locator("mark").first.inner_text() == '"event_timestamp"'
