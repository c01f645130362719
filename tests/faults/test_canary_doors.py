"""The canaries of test_canary.py, through every other handler: requests, fetches, previews, runs, notices, parts (J8).

What a request, a URI or a file brings must not come out in a log line, a metric, an exception, an answer's error that
quotes a secret, a message to a person, or a dead letter; whether all goes well, AWS quotes an item, or a bug quotes a
row. A file's name and the address of a fetch without its query may be told: they are what a person looks for.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest

from importer import preview
from importer.aws.events import Bus
from importer.aws.tables import ImportsTable
from importer.definitions import Definition
from importer.doors import dropped_previews, telling
from importer.executions import importing
from importer.formats import cooladata
from tests.faults.test_canary import (
    BUGS,
    FILES,
    MARK,
    SOME,
    StandardOutput,
    assert_silent,
    every_library_logs,
    row,
    secret_session,
)
from tests.faults.test_canary import Function as Watched
from tests.support import door as doors
from tests.support.alarms import EVENTS
from tests.support.clock import LambdaContext
from tests.support.cloud import Cloud, used
from tests.support.door import IMPORTS, NDJSON, Door, opened
from tests.support.faults import Fault, plan

app = doors.app
SHOP = Definition(id="shop", name="shop", base_file_name="accounts.json")
SIGNED = f"https://files.invalid/export/day.json?X-Amz-Signature={MARK}&token={MARK}"
QUOTING = {"code": "ValidationException", "message": f"One value was: {MARK}@example.org", "status": 400}


class Handlers(Watched):
    """All functions of one stack, and all that comes out of them."""

    door: Door

    def calls(self, name: str, event: dict[str, Any], *faults: Fault) -> None:
        """One invocation."""
        handler = getattr(app, name)
        context = LambdaContext(self.cloud.clock, 300)
        context.function_name = "schedule"  # type: ignore[attr-defined]
        with plan(self.cloud, *faults):
            try:
                handler(event, context)
            except Exception as error:  # noqa: BLE001  what Lambda would log, and put into the dead letter
                self.raised.append(error)

    def told(self) -> str:
        """What was sent to queues, buses and topics: people read it, and it stays for days."""
        with self.cloud.unseen():
            return "\n".join(self.cloud.messages(self.cloud.dead_letter_queue_url) + self.cloud.messages())


@pytest.fixture
def handlers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Handlers]:
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, f"{MARK}-{name}")
    handler, level = app.logger.registered_handler, app.logger.log_level
    before = handler.stream
    app.logger.setLevel("DEBUG")
    handler.setStream(StandardOutput())
    with (
        every_library_logs() as libraries,
        Cloud(stream=True, topic=True) as cloud,
        used(secret_session()),
        opened(
            cloud,
            SINKS="both",
            DELIVERY_STREAM=cloud.delivery_stream,
            DEAD_LETTER_QUEUE_URL=cloud.dead_letter_queue_url,
            NOTICE_BUS=cloud.notice_bus,
            NOTICE_TOPIC=cloud.notice_topic,
            ALARM_TOPIC=cloud.notice_topic,
            PART_SIZE_MIB="8",
        ) as door,
    ):
        caches = (app._preview_places, app._herald, app._fetch_places, app._explainer)
        for cache in caches:
            cache.cache_clear()
        made = Handlers(cloud, app, capsys, libraries)
        made.door = door
        try:
            yield made
        finally:
            for cache in caches:
                cache.cache_clear()
            handler.setStream(before)
            app.logger.setLevel(level)


def assert_nothing_told(handlers: Handlers) -> None:
    assert_silent(handlers)
    assert MARK not in handlers.told()


def crashing(make: Callable[[], Exception]) -> Callable[..., Any]:
    def crash(*_: object, **__: object) -> Any:
        raise make()

    return crash


# ---- Requests ------------------------------------------------------------------------------------------------------

VISITS = json.dumps({"project": "example.org", "visitor": {"email": f"{MARK}@example.org"}, "event": MARK})
REQUESTS: dict[str, Callable[[Door], Any]] = {
    "rows in a request": lambda door: door.post(
        f"{door.made(name='n')}/executions", SOME, headers={"Content-Type": NDJSON}
    ),
    "visits": lambda door: door.post("/import", VISITS, headers={"Content-Type": "application/json"}),
    "visits that are none": lambda door: door.post("/import", f"{{{MARK}"),
    "a body that is no JSON": lambda door: door.post(IMPORTS, f'{{"name": {MARK}'),
    "a setting there is none of": lambda door: door.post(IMPORTS, json={"name": "n", "settings": {MARK: MARK}}),
    "a wrong token": lambda door: door.request("GET", IMPORTS, token=f"{MARK}.{MARK}{MARK}"),
    "a wrong token of the form of one": lambda door: door.request("GET", IMPORTS, token=f"{door.token[:-3]}{MARK}"),
    "basic authorization": lambda door: door.request(
        "GET", IMPORTS, headers={"authorization": f"Basic {MARK}"}, token=None
    ),
    "a strange query": lambda door: door.get(IMPORTS, first_result=MARK, max_results=MARK),
    "a key of a request": lambda door: door.post(
        f"{door.made(name='n')}/executions", SOME, headers={"Idempotency-Key": MARK, "Content-Type": NDJSON}
    ),
    "a form": lambda door: door.post(f"{door.made(name='n')}/uploads", json={"file_name": "a.json"}),
    "a signed address": lambda door: door.post("/v1/uri_imports", json={"uri": SIGNED}),
    "an address with a password": lambda door: door.post(
        "/v1/uri_imports", json={"uri": f"https://user:{MARK}@files.invalid/a.json"}
    ),
    "an address of a private host": lambda door: door.post(
        "/v1/uri_imports", json={"uri": f"http://169.254.169.254/a.json?{MARK}"}
    ),
    "an execution there is none of": lambda door: door.get(f"{door.made(name='n')}/executions/{MARK}"),
}


@pytest.mark.parametrize("request_", REQUESTS)
def test_what_a_request_brings_is_not_told(handlers: Handlers, request_: str):
    """Nor the token, whether it is right or wrong."""
    REQUESTS[request_](handlers.door)
    assert_nothing_told(handlers)


@pytest.mark.sampled(each="call request_")
@pytest.mark.parametrize("call", ["PutObject", "PutItem imports", "GetItem", "GetParameter", "SendMessage"])
@pytest.mark.parametrize("request_", ["rows in a request", "visits", "a signed address", "a key of a request"])
def test_trouble_behind_a_request_quotes_nothing(handlers: Handlers, request_: str, call: str):
    """AWS's own words may quote what was sent."""
    door = handlers.door
    path = door.made(name="n")
    with plan(handlers.cloud, Fault("refused", call, detail=QUOTING, always=True)):
        if request_ == "visits":
            door.post("/import", VISITS, headers={"Content-Type": "application/json"})
        elif request_ == "a signed address":
            door.post("/v1/uri_imports", json={"uri": SIGNED})
        else:
            door.post(f"{path}/executions", SOME, headers={"Content-Type": NDJSON, "Idempotency-Key": MARK})
    assert_nothing_told(handlers)


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_behind_a_request_is_told_by_its_type_and_place(handlers: Handlers, bug: str):
    """500, its place in the log, and no word of it there or in the answer."""
    with mock.patch.object(ImportsTable, "definitions", crashing(BUGS[bug])):
        reply = handlers.door.get(IMPORTS)
    assert (reply.status >= 500, MARK.encode() in reply.body) == (True, False)
    assert_nothing_told(handlers)
    assert "in crash" in handlers.everything()


# ---- Fetches -------------------------------------------------------------------------------------------------------


def asked(handlers: Handlers) -> str:
    """A fetch of a signed address; what the queue says of it."""
    assert handlers.door.post("/v1/uri_imports", json={"uri": SIGNED}).status == 202
    (message,) = handlers.cloud.messages(handlers.cloud.dead_letter_queue_url)
    return message


@contextmanager
def source(body: Callable[[], Any]) -> Iterator[None]:
    with mock.patch("importer.doors.wire.Wire.opened", crashing(body)):
        app._fetch_places.cache_clear()
        yield
    app._fetch_places.cache_clear()


@pytest.mark.parametrize("bug", [*BUGS, "a server whose words quote the address"])
def test_a_fetch_tells_its_address_without_the_query(handlers: Handlers, bug: str):
    """A signed address is as good as a password, whoever quotes it."""
    message = asked(handlers)
    quoting = lambda: OSError(f"cannot reach {SIGNED}")  # noqa: E731
    with source(BUGS.get(bug, quoting)):
        handlers.calls("fetch_handler", {"Records": [{"body": message}]})
    assert_nothing_told(handlers)
    assert handlers.lines()


@pytest.mark.parametrize("call", ["UpdateItem", "PutItem imports", "GetItem"])
def test_trouble_in_the_books_of_a_fetch_quotes_nothing(handlers: Handlers, call: str):
    """The record holds the whole address as long as it is needed."""
    message = asked(handlers)
    fault = Fault("refused", call, detail={**QUOTING, "message": SIGNED}, always=True)
    with source(lambda: OSError(MARK)):
        handlers.calls("fetch_handler", {"Records": [{"body": message}]}, fault)
    assert_nothing_told(handlers)


def test_a_message_that_names_no_fetch_is_not_quoted(handlers: Handlers):
    """Whoever may send one may send anything."""
    for body in (MARK, f'{{"schema": "{MARK}"}}', f'{{"schema": "fetch/1", "fetch_id": ["{MARK}"]}}'):
        handlers.calls("fetch_handler", {"Records": [{"body": body}]})
    assert len(handlers.raised) == 3
    assert_nothing_told(handlers)


# ---- Previews ------------------------------------------------------------------------------------------------------


def dropped(handlers: Handlers, name: str, body: bytes) -> dict[str, Any]:
    return handlers.cloud.drop(f"previews/{name}", body)


@pytest.mark.parametrize("name", [name for name in FILES if name.isprintable()])
def test_a_preview_tells_nothing_of_its_rows(handlers: Handlers, name: str):
    """What was found lies in preview_results/, and nowhere else."""
    handlers.calls("preview_handler", dropped(handlers, name, FILES[name]))
    assert_nothing_told(handlers)
    assert handlers.raised == []


@pytest.mark.sampled(each="place bug")
@pytest.mark.parametrize("place", ["in the page", "in the findings", "in a dialect"])
@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_in_a_preview_is_told_by_its_type_and_place(handlers: Handlers, place: str, bug: str):
    """It has seen rows."""
    room, attribute = {
        "in the page": (dropped_previews, "page"),
        "in the findings": (preview, "_Findings" if hasattr(preview, "_Findings") else "previewed"),
        "in a dialect": (cooladata, "reader"),
    }[place]
    with mock.patch.object(room, attribute, crashing(BUGS[bug])):
        handlers.calls("preview_handler", dropped(handlers, "rows.json", SOME))
    assert_nothing_told(handlers)


@pytest.mark.parametrize("call", ["GetObject", "PutObject", "Scan", "GetItem"])
def test_trouble_of_a_preview_quotes_nothing(handlers: Handlers, call: str):
    """AWS's words, again."""
    fault = Fault("refused", call, detail=QUOTING, always=True)
    handlers.calls("preview_handler", dropped(handlers, "rows.json", SOME), fault)
    assert_nothing_told(handlers)


# ---- Runs of recurring imports -------------------------------------------------------------------------------------


def scheduled(handlers: Handlers) -> None:
    item = {"pk": "IMPORT#shop", "sk": "IMPORT", "definition": SHOP.as_stored(), "listed": "IMPORT"}
    handlers.cloud.put_item(handlers.cloud.imports_table, item | {"creation_date": 1, "changed_ms": 1})
    handlers.calls("lambda_handler", handlers.cloud.drop("imports/shop/accounts01.json", SOME))


@pytest.mark.sampled(each="bug")
@pytest.mark.parametrize("bug", [None, *BUGS])
def test_a_run_tells_nothing_of_its_rows(handlers: Handlers, bug: str | None):
    """Whether it goes well or crashes at a row."""
    scheduled(handlers)
    run = {"import_id": "shop", "slot": "2026-11-26T20:00:00Z"}
    if bug is None:
        handlers.calls("schedule_handler", run)
        assert handlers.said("closed")
    else:
        with mock.patch.object(importing, "batches", crashing(BUGS[bug])):
            handlers.calls("schedule_handler", run)
        assert handlers.raised
    assert_nothing_told(handlers)


# ---- Parts ---------------------------------------------------------------------------------------------------------

LARGE = b"\n".join(row(n=number, filler=f"{MARK}" * 20_000) for number in range(80))  # 9.6 MB: two parts


@pytest.mark.sampled(each="bug")
@pytest.mark.parametrize("bug", [None, *BUGS])
def test_a_part_tells_nothing_of_its_rows(handlers: Handlers, bug: str | None):
    """Its message says which part, no more; so does the dead letter it may become."""
    handlers.calls("lambda_handler", handlers.cloud.drop("imports/large.json", LARGE))
    messages = handlers.cloud.messages()
    assert messages
    if bug is None:
        for message in messages:
            handlers.calls("part_handler", {"Records": [{"body": message}]})
        assert handlers.raised == []
    else:
        with mock.patch.object(cooladata, "reader", crashing(BUGS[bug])):
            handlers.calls("part_handler", {"Records": [{"body": messages[0]}]})
        assert handlers.raised
    assert_nothing_told(handlers)


def test_a_message_that_names_no_part_is_not_quoted(handlers: Handlers):
    """As with fetches."""
    for body in (MARK, f'{{"schema": "{MARK}"}}', f'["{MARK}"]'):
        handlers.calls("part_handler", {"Records": [{"body": body}]})
    assert len(handlers.raised) == 3
    assert_nothing_told(handlers)


# ---- Notices -------------------------------------------------------------------------------------------------------


def closing(handlers: Handlers) -> dict[str, Any]:
    handlers.calls("lambda_handler", handlers.cloud.drop("imports/rows.json", SOME))
    return {"Records": [handlers.cloud.changes()[-1]]}


@pytest.mark.parametrize("trouble", [None, "the bus", "the topic", "the receipt", "both for an hour"])
def test_a_notice_holds_counts_and_names_and_no_row(handlers: Handlers, trouble: str | None):
    """The receipt it is made of has samples: they stay in the bucket. So it is with what becomes a dead letter."""
    event = closing(handlers)
    sent: list[str] = []
    honest = Bus.put
    with mock.patch.object(Bus, "put", lambda bus, *told: (sent.append(repr(told)), honest(bus, *told))[1]):
        faults = {
            None: [],
            "the bus": [Fault("refused", "PutEvents", detail=QUOTING, always=True)],
            "the topic": [Fault("refused", "Publish", detail=QUOTING, always=True)],
            "the receipt": [Fault("refused", "GetObject", detail=QUOTING, always=True)],
            "both for an hour": [
                Fault("refused", call, detail=QUOTING, always=True) for call in ("PutEvents", "Publish")
            ],
        }[trouble]
        if trouble == "both for an hour":
            handlers.cloud.clock.sleep(telling.PATIENCE_MS / 1000 + 60)
        handlers.calls("notify_handler", event, *faults)
    assert MARK not in " ".join(sent)
    assert_nothing_told(handlers)
    assert sent or trouble == "the receipt"


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_in_a_notice_is_told_by_its_type_and_place(handlers: Handlers, bug: str):
    """It has the receipt in its hands."""
    event = closing(handlers)
    with mock.patch.object(telling.Herald, "tell", crashing(BUGS[bug])):
        handlers.calls("notify_handler", event)
    assert handlers.raised
    assert_nothing_told(handlers)


# ---- Alarms --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alarm", ["bad-rows", "failed-executions", "function-errors", "dead-letters", "text"])
def test_an_explained_alarm_holds_no_row_but_masked(handlers: Handlers, alarm: str):
    """One sample, every character of it hidden that is not ours; the log has not even that."""
    bodies = {"failed-executions": FILES["pretty.json"]}
    for number in range(2):
        body = bodies.get(alarm, SOME)
        handlers.calls("lambda_handler", handlers.cloud.drop(f"imports/rows-{number}.json", body))
    with mock.patch.object(importing, "batches", crashing(BUGS["KeyError"])):
        handlers.calls("lambda_handler", handlers.cloud.drop("imports/crashing.json", SOME))
    event = json.loads((EVENTS / f"{alarm}.json").read_text(encoding="utf-8"))
    answer = app.notify_handler(event, LambdaContext(handlers.cloud.clock, 120))
    assert answer["messages"]
    assert MARK not in json.dumps(answer)
    assert_nothing_told(handlers)


@pytest.mark.parametrize("call", ["GetObject", "Query", "ReceiveMessage", "Publish"])
def test_trouble_in_explaining_an_alarm_quotes_nothing(handlers: Handlers, call: str):
    """It is told all the same, with what could be looked up."""
    handlers.calls("lambda_handler", handlers.cloud.drop("imports/rows.json", SOME))
    event = json.loads((EVENTS / "bad-rows.json").read_text(encoding="utf-8"))
    handlers.calls("notify_handler", event, Fault("refused", call, detail=QUOTING, always=True))
    assert_nothing_told(handlers)


# ---- All of them ---------------------------------------------------------------------------------------------------


def test_every_handler_is_looked_at():
    """A new one is another way out."""
    here = __import__("pathlib").Path(__file__)
    looked_at = "".join(path.read_text(encoding="utf-8") for path in here.parent.glob("test_canary*.py"))
    names = [name for name in vars(app) if name.endswith("_handler")]
    missing = [name for name in names if f"{name}" not in looked_at and name != "api_handler"]
    assert (len(names) >= 8, missing) == (True, [])
    for name in names:
        assert hasattr(getattr(app, name), "__wrapped__"), f"{name} is not discreet"
