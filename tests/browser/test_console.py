"""The console as a person has it: the whole job by keyboard, what strangers wrote, trouble, wide and narrow.

A browser, a gateway and a bucket on the loopback address, over a fake cloud: tests/support/console.py.
"""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from importer.doors.tokens import Right
from tests.support.browser import browser
from tests.support.console import Installation, installed, rows
from tests.support.previews import ATTACKS

QUIET = pytest.mark.filterwarnings("ignore:No application metrics")  # as app.py does; pytest forgets it
pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser"), QUIET]

expect.set_options(timeout=15_000)
EXPECTED = re.compile(r"Failed to load resource")  # Chromium's own line of an answer that is no 2xx


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as launched:
        yield launched


@pytest.fixture
def place() -> Iterator[Installation]:
    with installed() as place:
        yield place


@pytest.fixture
def open_page(chromium: Browser, place: Installation) -> Iterator[Callable[..., Page]]:
    """Opens the console; at the end it has said nothing, asked nobody else, and kept nothing."""
    contexts, attempts = [], []

    def opened(
        address: str = "", width: int = 1280, scheme: Any = "light", height: int = 900, watched: bool = True
    ) -> Page:
        context = chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(15_000)
        if not watched:
            page.goto(place.url + address)
            return page
        page.on("console", lambda message: EXPECTED.match(message.text) or attempts.append(message.text))
        page.on("pageerror", lambda error: attempts.append(str(error)))
        page.on("dialog", lambda dialog: (attempts.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: request.url.startswith("http://127.0.0.1:") or attempts.append(request.url))
        page.goto(place.url + address)
        return page

    yield opened
    for context in contexts:
        assert context.cookies() == []
        context.close()
    assert [attempt for attempt in attempts if not attempt.startswith("data:")] == []


def entered(open_page: Callable[..., Page], place: Installation, **more: Any) -> Page:
    page = open_page(f"#token={more.pop('token', place.token)}", **more)
    page.locator("#work").wait_for()
    return page


def file_of(tmp_path: Path, name: str, body: bytes) -> Path:
    file = tmp_path / name
    file.write_bytes(body)
    return file


class Keyboard:
    """Hands that know no mouse: Tab until what is wanted has the focus, and can be seen to have it."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def to(self, target: Locator, backwards: bool = False) -> None:
        expect(target).to_be_visible()
        expect(target).to_be_enabled()
        for _ in range(80):
            if target.evaluate("one => one === document.activeElement"):
                outline = target.evaluate("one => getComputedStyle(one).outlineStyle")
                assert outline != "none", "nobody can see where the focus is"
                return
            self.page.keyboard.press("Shift+Tab" if backwards else "Tab")
        raise AssertionError(f"Tab does not lead to {target}")

    def press(self, target: Locator, backwards: bool = False) -> None:
        self.to(target, backwards)
        self.page.keyboard.press("Enter")

    def choose(self, target: Locator, file: Path) -> None:
        """A file by the system's own dialog, which Space opens."""
        self.to(target)
        with self.page.expect_file_chooser() as chooser:
            self.page.keyboard.press("Space")
        chooser.value.set_files(file)


def button(page: Page, name: str | re.Pattern[str]) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


# ---- By keyboard alone ---------------------------------------------------------------------------------------------


def test_a_file_is_previewed_imported_and_its_refused_rows_downloaded_by_keyboard_alone(
    open_page: Callable[..., Page], place: Installation, tmp_path: Path
):
    """Token, file, preview, confirm, progress, receipt, downloads: Tab, Enter, Space and letters do it."""
    place.define(id="shop", name="The shop")
    page = open_page()
    hands = Keyboard(page)
    hands.to(page.locator("#token"))
    page.keyboard.type(place.token)
    page.keyboard.press("Enter")
    hands.to(page.locator("#into"))
    page.keyboard.type("shop")
    hands.choose(page.locator("#file"), file_of(tmp_path, "monday.ndjson", rows(50, 5)))
    hands.press(button(page, "Preview"))
    expect(page.locator("#preview-title")).to_be_focused()
    expect(page.locator("#preview-title")).to_have_text("Preview of monday.ndjson")
    expect(page.locator("#says")).to_have_text("Preview of monday.ndjson: 45 good, 5 would be refused.")
    assert not place.cloud.items(place.cloud.events_table)
    place.holds = True
    hands.press(button(page, "Import monday.ndjson"))
    expect(page.locator("#says")).to_contain_text("is sent. Waiting for its import to begin.")
    place.holds = False
    place.deliver()
    title = page.locator("#one-title")
    expect(title).to_have_text(re.compile(r"monday-\d{8}T\d{6}Z-[0-9a-f]{12}\.ndjson"))
    expect(title).to_be_focused()
    expect(page.locator("#says")).to_contain_text("SUCCEEDED, 45 good, 5 refused.")
    reason = page.locator("#one-receipt summary").first
    expect(reason).to_have_text("3 × missing_field · event_name first in line 1")
    hands.press(reason)
    expect(page.locator("#one-receipt details").first).to_have_attribute("open", "")
    for name, begin in {
        "Download the refused rows": b'{"user_id": "u0"}\n',
        "Download their reasons": b'{"schema":"bad_row/1","line":1,',
        "Download the receipt": b'{\n  "schema": "receipt/1"',
        "Download the file": b'{"user_id": "u0"}\n',
    }.items():
        with page.expect_download() as download:
            hands.press(button(page, name), backwards=True)
        assert download.value.path().read_bytes().startswith(begin)
    hands.press(button(page, "Close"), backwards=True)
    expect(page.locator("#one")).to_be_hidden()
    expect(page.locator("#rows button").first).to_be_focused()
    assert len(place.cloud.items(place.cloud.events_table)) == 45


def test_an_import_is_cancelled_by_keyboard_alone(open_page: Callable[..., Page], place: Installation):
    """Asked first, and the focus begins on the answer that changes nothing."""
    begun = place.door.post(
        "/v1/datamarts/1/document_imports/default/executions", rows(3), headers={"Content-Type": "application/x-ndjson"}
    ).json["data"]["id"]
    page = entered(open_page, place)
    hands = Keyboard(page)
    hands.press(page.locator("#rows button").first)
    hands.press(button(page, "Cancel…"))
    expect(button(page, "Leave it as it is")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#cancel")).to_be_focused()
    assert place.door.get(f"/v1/executions/{begun}").json["data"]["status"] == "PENDING"
    page.keyboard.press("Enter")
    hands.press(button(page, "Cancel the import"), backwards=True)
    expect(page.locator("#one-facts .status")).to_have_text("CANCELED")
    expect(page.locator("#cancel")).to_have_count(0)
    assert place.door.get(f"/v1/executions/{begun}").json["data"]["status"] == "CANCELED"


def test_a_failed_import_is_taken_up_again_by_keyboard_alone(open_page: Callable[..., Page], place: Installation):
    place.define(id="shop", name="The shop", max_bad_rows=1)
    failed = place.imported("imports/shop/bad.ndjson", rows(9, 9))
    page = entered(open_page, place)
    hands = Keyboard(page)
    hands.press(page.locator("#rows button").first)
    expect(page.locator("#one-facts")).to_contain_text("Why it failed")
    hands.press(button(page, "Take it up again…"))
    hands.press(page.locator("#ask-yes"), backwards=True)
    expect(page.locator("#one-facts .status")).to_have_text("PENDING")
    assert place.door.get(f"/v1/executions/{failed}").json["data"]["retry_count"] == 1


def test_an_import_is_undone_by_keyboard_alone_after_its_plan(open_page: Callable[..., Page], place: Installation):
    """Its plan is shown, and nothing is undone before a person says so; then how it goes."""
    place.imported("imports/kept.ndjson", rows(2, name="kept"))
    place.imported("imports/a.ndjson", rows(3))
    page = entered(open_page, place)
    hands = Keyboard(page)
    hands.press(page.locator("#rows button").first)
    expect(page.locator("#undo")).to_be_visible()
    page.locator("#get-receipt").evaluate("one => { one.was = 'here before'; }")
    hands.press(button(page, "Undo…"))
    expect(page.locator("#ask-text")).to_contain_text(re.compile("Items, at most\\s*3"))
    expect(button(page, "Leave it as it is")).to_be_focused()
    hands.press(button(page, "Undo the import"), backwards=True)
    expect(page.locator("#one-undo")).to_contain_text("ASKED")
    assert len(place.cloud.items(place.cloud.events_table)) == 5
    place.work()
    expect(page.locator("#one-undo")).to_contain_text("DONE")
    expect(page.locator("#says")).to_have_text("Undo of a.ndjson: DONE.")
    expect(page.locator("#undo")).to_have_count(0)
    assert page.locator("#get-receipt").evaluate("one => one.was") == "here before"  # nobody's click was lost
    assert {item["event_name"] for item in place.cloud.items(place.cloud.events_table)} == {"kept"}


def test_there_is_no_undo_where_the_installation_has_none_or_the_token_no_right(
    open_page: Callable[..., Page], place: Installation
):
    place.imported("imports/a.ndjson", rows(3))
    for undoes, token in ((False, place.token), (True, place.new_token(every=[Right.READ, Right.WRITE]))):
        place.undoes = undoes
        page = entered(open_page, place, token=token)
        page.locator("#rows button").first.click()
        expect(button(page, "Download the receipt")).to_be_visible()
        page.wait_for_timeout(500)
        expect(page.locator("#undo")).to_have_count(0)


def test_the_skip_link_leads_to_the_content(open_page: Callable[..., Page], place: Installation):
    page = entered(open_page, place)
    page.keyboard.press("Tab")
    expect(page.locator("#skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()


# ---- What strangers wrote ------------------------------------------------------------------------------------------

HOSTILE = "imports/shop/<img src=x onerror=alert(1)>\u202egnp.ndjson"


def test_names_rows_and_reasons_are_text_wherever_they_come_from(
    open_page: Callable[..., Page], place: Installation, tmp_path: Path
):
    """File names, import names, event names, values and messages: no element is made of them, and marks of direction
    are spelt out (J8)."""
    place.define(id="shop", name="<b>The shop</b>\u202e<img src=x onerror=alert(2)>")
    lines = [json.dumps({"user_id": attack, "event_name": attack, "event_time_ts": attack}) for attack in ATTACKS]
    good = [
        json.dumps({"user_id": "u", "event_name": attack, "event_time_ts": 1_795_000_000_000}) for attack in ATTACKS
    ]
    body = "\n".join(lines + good + [f'{{"{attack}": ' for attack in ATTACKS]).encode() + b"\n"
    place.imported(HOSTILE, body)
    page = entered(open_page, place)
    page.locator("#rows button").first.click()
    page.locator("#one-receipt summary").first.wait_for()
    page.locator("#into").select_option("shop")
    page.locator("#file").set_input_files(file_of(tmp_path, "<svg onload=alert(3)>.ndjson", body))
    button(page, "Preview").click()
    page.locator("#findings summary").first.wait_for()
    for summary in page.locator("summary").all():
        summary.click()
    assert page.locator("img, svg, iframe, b, i, a:not(#skip), object, embed, form:not([id]), [onerror]").count() == 0
    assert page.locator("script").count() == page.locator("style").count() == 1
    text = page.locator("body").inner_text()
    for shown in ("<img src=x onerror=alert(1)>\\u202egnp.ndjson", "<svg onload=alert(3)>", "\\u202egnp.exe\\u202c"):
        assert shown in text
    assert not re.search(r"[\u200b\u202a-\u202e\ufeff]", text)
    assert page.locator("#into").inner_text().count("<b>The shop</b>") == 1


def test_the_pages_policy_stops_what_would_be_put_into_it(open_page: Callable[..., Page], place: Installation):
    """Should a text slip through one day: no script, style, image, address or markup of it does anything."""
    page = entered(open_page, place, watched=False)
    done = page.evaluate(
        """async () => {
            const stopped = new Set();
            document.addEventListener("securitypolicyviolation", event => stopped.add(event.effectiveDirective));
            const make = (name, members) => document.body.append(Object.assign(document.createElement(name), members));
            const thrown = [];
            const attempt = act => { try { act(); } catch (error) { thrown.push(error.name); } };
            attempt(() => { document.body.insertAdjacentHTML("beforeend", "<p onclick='window.ran = 1'>x"); });
            attempt(() => { document.querySelector("#says").innerHTML = "<b>x</b>"; });
            attempt(() => make("script", {textContent: "window.ran = true"}));
            make("img", {src: "https://example.org/x.png"});
            make("iframe", {src: "https://example.org/"});
            make("style", {textContent: "body { display: none }"});
            await fetch("https://example.org/").catch(() => {});
            await new Promise(done => setTimeout(done, 300));
            const display = getComputedStyle(document.body).display;
            return [window.ran === undefined, display, thrown.length, [...stopped].sort()];
        }"""
    )
    told = ["connect-src", "frame-src", "img-src", "require-trusted-types-for", "style-src-elem"]
    assert done == [True, "block", 3, told]


# ---- Tokens --------------------------------------------------------------------------------------------------------


def test_the_token_stays_in_the_tab_and_leaves_the_address_at_once(open_page: Callable[..., Page], place: Installation):
    """A reload keeps it; another tab has none; `Forget` forgets it with all that was shown."""
    place.imported("imports/a.ndjson", rows(3))
    page = entered(open_page, place)
    expect(page.locator("#rows tr")).to_have_count(1)
    assert place.token not in page.url
    assert "token" not in page.url
    page.reload()
    expect(page.locator("#rows tr")).to_have_count(1)
    other = page.context.new_page()
    other.goto(place.url)
    expect(other.locator("#token")).to_be_focused()
    button(page, "Forget the token").click()
    expect(page.locator("#rows tr")).to_have_count(0)
    expect(page.locator("#token")).to_be_focused()
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0
    assert page.locator("#token").input_value() == ""


def test_a_token_that_ran_out_is_asked_for_anew_and_nothing_else_is_lost(
    open_page: Callable[..., Page], place: Installation
):
    """Where the page stood it stands again; no login of the browser's own appears."""
    opened = place.imported("imports/a.ndjson", rows(3))
    now = place.cloud.clock.now_ms()
    short = place.door.new_token({"*": [Right.READ]}, expires_ms=now + 60_000)
    page = entered(open_page, place, token=short)
    page.locator("#rows button").first.click()
    expect(button(page, "Download the receipt")).to_be_visible()
    place.cloud.clock.advance(61_000)
    button(page, "Download the receipt").click()
    expect(page.locator("#token-error")).to_contain_text("not valid, or not any more")
    expect(page.locator("#token")).to_be_focused()
    page.locator("#token").fill(place.token)
    page.keyboard.press("Enter")
    expect(page.locator("#one-title")).to_have_text("a.ndjson")
    assert page.url.endswith(f"#execution={opened}")


def test_who_enters_another_token_sees_nothing_of_the_one_before(open_page: Callable[..., Page], place: Installation):
    """Two people at one tab: what the second may not see does not stand there any more."""
    place.define(id="shop", name="The shop")
    place.imported("imports/shop/a.ndjson", rows(3))
    now = place.cloud.clock.now_ms()
    page = entered(open_page, place, token=place.door.new_token({"*": [Right.ADMIN]}, expires_ms=now + 60_000))
    page.locator("#rows button").first.click()
    expect(button(page, "Download the receipt")).to_be_visible()
    place.cloud.clock.advance(61_000)
    button(page, "Download the receipt").click()
    page.locator("#token").fill(place.new_token(other=[Right.READ]))
    page.keyboard.press("Enter")
    expect(page.locator("#none")).to_have_text("Nothing has been imported yet.")
    expect(page.locator("#one-error")).to_contain_text("no such execution")
    assert "a.ndjson" not in page.content()
    assert "shop" not in page.locator("body").inner_text()


@pytest.mark.parametrize("wrong", ["nonsense", "0" * 16 + "." + "a" * 43, "é"])
def test_a_wrong_token_is_said_to_be_one(open_page: Callable[..., Page], place: Installation, wrong: str):
    page = open_page()
    page.locator("#token").fill(wrong)
    page.keyboard.press("Enter")
    expect(page.locator("#token-error")).not_to_be_empty()
    expect(page.locator("#token")).to_be_focused()
    expect(page.locator("#work")).to_be_hidden()


def test_who_only_reads_sends_nothing_and_who_only_writes_sees_nothing(
    open_page: Callable[..., Page], place: Installation, tmp_path: Path
):
    place.define(id="shop", name="The shop")
    place.imported("imports/shop/a.ndjson", rows(3))
    place.imported("imports/b.ndjson", rows(3))
    page = entered(open_page, place, token=place.new_token(shop=[Right.READ]))
    expect(page.locator("#rows tr")).to_have_count(1)
    expect(page.locator("#import-form")).to_be_hidden()
    expect(page.locator("#may-not-write")).to_be_visible()
    page = entered(open_page, place, token=place.new_token(shop=[Right.WRITE]))
    expect(page.locator("#may-not-read")).to_be_visible()
    expect(page.locator("#rows tr")).to_have_count(0)
    page.locator("#file").set_input_files(file_of(tmp_path, "c.ndjson", rows(2, 0, "sent")))
    expect(button(page, "Preview")).to_be_disabled()
    button(page, "Import without a preview").click()
    expect(page.locator("#says")).to_have_text("c.ndjson is sent. This token may not look at what becomes of it.")
    assert [item["event_name"] for item in place.cloud.items(place.cloud.events_table)].count("sent") == 2


# ---- Trouble -------------------------------------------------------------------------------------------------------


def test_a_file_that_would_be_refused_cannot_be_confirmed(
    open_page: Callable[..., Page], place: Installation, tmp_path: Path
):
    page = entered(open_page, place)
    page.locator("#file").set_input_files(file_of(tmp_path, "cut.json.gz", b"\x1f\x8b\x08cut"))
    button(page, "Preview").click()
    expect(page.locator("#preview-title")).to_have_text("cut.json.gz would be refused")
    expect(page.locator("#confirm")).to_be_hidden()
    page.locator("#file").set_input_files(file_of(tmp_path, "a.pdf", b"%PDF"))
    button(page, "Preview").click()
    expect(page.locator("#import-error")).not_to_be_empty()
    page.locator("#file").set_input_files(file_of(tmp_path, "empty.json", b""))
    expect(page.locator("#import-error")).to_have_text("This file is empty.")
    expect(button(page, "Preview")).to_be_disabled()


def test_an_upload_that_is_refused_cut_off_or_stopped_says_so_and_can_be_tried_again(
    open_page: Callable[..., Page], place: Installation, tmp_path: Path
):
    page = entered(open_page, place)
    page.locator("#file").set_input_files(file_of(tmp_path, "a.ndjson", rows(3)))
    place.bucket_refuses = "AccessDenied"
    straight = button(page, "Import without a preview")
    straight.click()
    expect(page.locator("#import-error")).to_contain_text("the form has run out")
    place.bucket_refuses = ""
    bucket = re.compile(r"http://127\.0\.0\.1:\d+/import-bucket.*")
    page.route(bucket, lambda route: route.abort())
    straight.click()
    expect(page.locator("#import-error")).to_contain_text("cut off")
    page.unroute(bucket)
    waiting: list[Any] = []
    page.route(bucket, lambda route: waiting.append(route))
    straight.click()
    expect(page.locator("#upload-text")).to_contain_text("Sending it to be imported")
    button(page, "Stop").click()
    expect(page.locator("#import-error")).to_have_text("Stopped: nothing was imported.")
    page.unroute(bucket)
    straight.click()
    expect(page.locator("#says")).to_contain_text("SUCCEEDED, 3 good")


def test_a_network_that_is_gone_is_told_and_waited_for(open_page: Callable[..., Page], place: Installation):
    """What was shown stays; when it is back, the page goes on by itself."""
    place.imported("imports/a.ndjson", rows(3))
    page = entered(open_page, place)
    expect(page.locator("#rows tr")).to_have_count(1)
    page.context.set_offline(True)
    page.locator("#rows button").first.click()
    expect(page.locator("#offline")).to_contain_text("cannot be reached. Is there a network? Trying again in")
    expect(page.locator("#rows tr")).to_have_count(1)
    page.context.set_offline(False)
    expect(button(page, "Download the receipt")).to_be_visible()
    expect(page.locator("#offline")).to_be_empty()


def test_a_tab_that_nobody_sees_asks_nothing(open_page: Callable[..., Page], place: Installation):
    page = entered(open_page, place)
    expect(page.locator("#none")).to_have_text("Nothing has been imported yet.")
    page.evaluate(
        """() => {
            Object.defineProperty(document, "hidden", {configurable: true, get: () => true});
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    page.wait_for_timeout(300)
    asked = len(place.asked)
    place.imported("imports/a.ndjson", rows(3))
    asked = len(place.asked)
    page.wait_for_timeout(4_500)
    assert len(place.asked) == asked
    page.evaluate(
        """() => {
            Object.defineProperty(document, "hidden", {configurable: true, get: () => false});
            document.dispatchEvent(new Event("visibilitychange"));
        }"""
    )
    expect(page.locator("#rows tr")).to_have_count(1)


# ---- Many, long, small, dark ---------------------------------------------------------------------------------------


def test_older_executions_are_shown_when_asked_for(open_page: Callable[..., Page], place: Installation):
    """Fifty at a time, each once; the focus goes to the first that is new."""
    for number in range(53):
        place.imported(f"imports/file-{number:03}.ndjson", rows(1))
    page = entered(open_page, place)
    expect(page.locator("#rows tr")).to_have_count(50)
    button(page, "Show older ones").click()
    expect(page.locator("#rows tr")).to_have_count(53)
    names = page.locator("#rows button").all_inner_texts()
    assert names == [f"file-{number:03}.ndjson" for number in range(52, -1, -1)]
    expect(button(page, "file-002.ndjson")).to_be_focused()
    expect(button(page, "Show older ones")).to_be_hidden()
    page.locator("#of-status").select_option("FAILED")
    expect(page.locator("#none")).to_have_text("None like this.")


def furnished(place: Installation) -> None:
    """One of each: waiting, failed, done, refused rows, names that are too long."""
    place.define(id="shop", name="The shop", max_bad_rows=30)
    place.imported("imports/shop/good.ndjson", rows(5))
    place.imported("imports/shop/some.ndjson", rows(30, 8))
    place.imported("imports/shop/failed.ndjson", rows(40, 40))
    place.imported("imports/" + "a-name-without-blanks-" * 8 + ".ndjson", rows(3))
    place.door.post(
        "/v1/datamarts/1/document_imports/shop/executions", rows(3), headers={"Content-Type": "application/x-ndjson"}
    )


STATES: dict[str, Callable[[Page, Path], None]] = {
    "all": lambda page, tmp: None,
    "one": lambda page, tmp: (button(page, "some.ndjson").click(), page.locator("#one-receipt h3").first.wait_for())[1],
    "failed": lambda page, tmp: (button(page, "failed.ndjson").click(), page.locator("#redrive").wait_for())[1],
    "waiting": lambda page, tmp: (button(page, "upload.ndjson").click(), page.locator("#cancel").wait_for())[1],
    "asked": lambda page, tmp: (
        button(page, "failed.ndjson").click(),
        page.locator("#redrive").click(),
        page.locator("#ask-yes").wait_for(),
    )[2],
    "preview": lambda page, tmp: (
        page.locator("#file").set_input_files(file_of(tmp, "monday.ndjson", rows(30, 9))),
        button(page, "Preview").click(),
        page.locator("#confirm").wait_for(),
    )[2],
}
AT_EASE: list[tuple[int, Any]] = [(1280, "light"), (1280, "dark"), (375, "light"), (640, "dark"), (320, "light")]


@pytest.mark.sampled(8, each="name scheme")
@pytest.mark.parametrize(("width", "scheme"), AT_EASE)
@pytest.mark.parametrize("name", STATES)
def test_axe_finds_nothing_and_nothing_is_wider_than_its_window(
    open_page: Callable[..., Page], place: Installation, tmp_path: Path, name: str, width: int, scheme: str
):
    """Each state, light and dark, from 320 pixels (which 1280 at 400 % is; WCAG 1.4.10) on: WCAG 2.2 AA, and axe's best
    practices."""
    furnished(place)
    page = entered(open_page, place, width=width, scheme=scheme)
    expect(page.locator("#rows tr")).to_have_count(5)
    bring = STATES[name]
    bring(page, tmp_path)
    found = Axe().run(page).response["violations"]
    assert [(rule["id"], [node["target"] for node in rule["nodes"]]) for rule in found] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.parametrize(("width", "scheme"), AT_EASE)
def test_axe_finds_nothing_where_a_token_is_asked_for(open_page: Callable[..., Page], width: int, scheme: str):
    page = open_page(width=width, scheme=scheme)
    assert Axe().run(page).response["violations"] == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_what_goes_on_is_read_out_and_nothing_jumps(open_page: Callable[..., Page], place: Installation):
    """One polite live region; what comes later moves nothing a person may be about to press (layout shift)."""
    furnished(place)
    page = entered(open_page, place)
    expect(page.locator("#says")).to_have_attribute("aria-live", "polite")
    shift = page.evaluate(
        """() => new Promise(done => {
            let sum = 0;
            const add = one => { if (!one.hadRecentInput) sum += one.value; };
            new PerformanceObserver(list => list.getEntries().forEach(add))
                .observe({type: "layout-shift", buffered: true});
            setTimeout(() => done(sum), 1500);
        })"""
    )
    assert shift < 0.1  # Rule: "good" by web.dev/articles/cls


def drop(page: Page, name: str, text: str) -> None:
    page.evaluate(
        """([name, text]) => {
            const data = new DataTransfer();
            data.items.add(new File([text], name));
            for (const kind of ["dragover", "drop"]) {
                document.body.dispatchEvent(
                    new DragEvent(kind, {bubbles: true, cancelable: true, dataTransfer: data}));
            }
        }""",
        [name, text],
    )


def test_dropping_an_empty_file_does_not_take_the_focus_away(open_page: Callable[..., Page], place: Installation):
    """Its buttons are switched off, the one with the focus among them: it goes to where another file is chosen."""
    page = entered(open_page, place)
    drop(page, "full.ndjson", '{"user_id": "a"}')
    expect(button(page, "Preview")).to_be_focused()
    drop(page, "empty.ndjson", "")
    expect(page.locator("#import-error")).to_have_text("This file is empty.")
    expect(page.locator("#file")).to_be_focused()


def test_dropping_a_file_anywhere_chooses_it(open_page: Callable[..., Page], place: Installation):
    """And no browser leaves the page for it."""
    page = entered(open_page, place)
    drop(page, "dropped.ndjson", '{"user_id": "a"}')
    expect(page.locator("#chosen")).to_have_text("dropped.ndjson, 16 bytes")
    expect(button(page, "Preview")).to_be_focused()
    assert page.url.startswith(place.url)


def test_only_the_begin_of_a_large_file_is_sent_to_be_looked_at(
    open_page: Callable[..., Page], place: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("importer.doors.asked_previews.POST_BYTES", 4_000)
    page = entered(open_page, place)
    page.locator("#file").set_input_files(file_of(tmp_path, "large.ndjson", rows(2_000)))
    button(page, "Preview").click()
    expect(page.locator("#findings")).to_contain_text(re.compile(r"Its first \d+ rows were looked at\."))
    (sent,) = place.cloud.objects("previews/").values()
    assert len(sent) == 4_000
