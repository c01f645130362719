"""Findings and pages for tests: an honest file, and one whose every text wants to be markup."""

import json

from importer.definitions import Definition
from importer.forecast import Forecaster
from importer.known import Known, Where
from importer.known import Looked as LookedAt
from importer.model import Provenance
from importer.preview import Findings, previewed
from importer.preview_page import Looked, page
from importer.sinks import SINKS

NOW_MS = 1_764_000_000_000
TIME_MS = 1_425_920_218_354
ATTACKS = (
    "<script>alert(1)</script>",
    "</style><script>alert(2)</script>",
    "</title></head><body onload=alert(3)>",
    "<img src=x onerror=alert(4)>",
    '"><svg onload=alert(5)>',
    "'-alert(6)-'",
    "</pre></td></table><h1>pwned</h1>",
    "<a href='javascript:alert(7)'>click</a>",
    "<meta http-equiv=refresh content='0;url=https://example.org/'>",
    "<link rel=stylesheet href=https://example.org/x.css>",
    "<iframe src=https://example.org/></iframe>",
    "&lt;b&gt; &#60;b&#62; &amp;",
    "\u202egnp.exe\u202c",
    "zero\u200bwidth\ufeff",
    "مرحبا بالعالم",
    "漢字かな" * 40,
    "x" * 3_000,
    "H̸̡̪̯ͨ͊̽̅̾̎Ȩ̬̩̾͛ͪ̈́̀́͘",
)


def row(number: int, **more: object) -> str:
    return json.dumps(
        {"user_id": f"u{number % 7}", "event_name": "login", "event_time_ts": TIME_MS + number * 60_000, **more},
        ensure_ascii=False,
    )


def honest() -> bytes:
    """400 rows of a shop: two events, a type that clashes, two kinds of refused rows."""
    rows = []
    for number in range(400):
        price: object = "12,50 EUR" if number == 17 else round(10 + number * 0.37, 2)
        text = row(number, page=f"/shop/{number % 9}", price=price, currency="EUR")
        if number % 5 == 0:
            text = text.replace('"login"', '"purchase"')
        if number % 10 == 0:
            text = text[:-1] + ', "{u}city": "Paris"}'
        if number % 40 == 7:
            text = text.replace("event_time_ts", "event_timestamp")
        rows.append(text[:-1] if number == 55 else text)
    return ("\n".join(rows) + "\n").encode()


def naughty() -> bytes:
    """Every attack as a name, a value, an event, a user, a row that is no JSON, and one that lacks a field."""
    rows = []
    for number, attack in enumerate(ATTACKS):
        named = {attack: number, "value": attack, f"{{u}}{attack}": attack}
        rows += [
            row(number, **named),
            row(number, event_name=attack),
            row(number, user_id=attack),
            f'{{"user_id": {attack}',
            json.dumps({"user_id": attack, "event_name": attack, attack: attack}, ensure_ascii=False),
            json.dumps([attack]),
        ]
    return "\n".join(rows).encode("utf-8", "surrogatepass") + b"\n\x00\x1b[2J\xff\xfe\n"


def store() -> Known:
    """What a store knows: one of the honest events, and another type of price."""
    return Known(
        LookedAt(2_000, whole=False),
        LookedAt(31, whole=True),
        {"login"},
        {
            Where.PROPERTIES: {"page": {"string"}, "price": {"number"}, "currency": {"string"}},
            Where.USER_PROPERTIES: {"city": {"number"}},
        },
    )


def found_in(body: bytes, known: Known | None = None, size_bytes: int = 0, **settings: object) -> Findings:
    """What a preview of these bytes finds; of a larger file of which they are the begin, if it has a size."""
    size_bytes = size_bytes or len(body)
    source = Provenance("", "default", "0" * 32, "imports/a.json", NOW_MS, False)
    found = previewed(
        [body],
        Definition(**settings),  # type: ignore[arg-type]
        NOW_MS,
        tuple(SINKS.values()),
        first_rows=8,
        bad_rows=8,
        cost=Forecaster(("dynamodb", "firehose"), source, size_bytes, 256 << 20) if size_bytes else None,
        size_bytes=size_bytes,
    )
    found.known = known
    return found


def page_of(body: bytes, known: Known | None = None, name: str = "previews/shop/week.json") -> bytes:
    looked = Looked(
        name, len(body), NOW_MS, "shop", "the tables events and users", "preview_results/shop/week.json.json"
    )
    return page(found_in(body, known), looked)
