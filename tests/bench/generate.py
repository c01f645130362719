"""Seeded rows for measurements: 14 properties, about 360 bytes, one in a hundred bad in one of six ways.

python tests/bench/generate.py ROWS SEED > rows.ndjson
"""

import random
import sys
from collections.abc import Iterator

EVENTS = ("page_view", "purchase", "signup", "login", "add_to_cart", "search", "video_play", "checkout_started")
COUNTRIES = ("US", "DE", "IN", "BR", "JP", "FR", "GB", "MX")
TITLES = (
    "Summer sale – bis zu 50 %",
    "New arrivals",
    "日本語のタイトル",
    'Say \\"hello\\" to v2',
    "Profile / settings",
)


def rows(count: int, seed: int) -> Iterator[bytes]:
    """`count` rows, each with its line end; the same for the same seed."""
    draw = random.Random(seed)
    for number in range(count):
        text = (
            f'{{"event_name":"{draw.choice(EVENTS)}","event_time_ts":{1_700_000_000_000 + number * 37},'
            f'"user_id":"user-{draw.getrandbits(20):07x}","session_id":"{draw.getrandbits(128):032x}",'
            f'"platform":"web","app_version":"4.{draw.getrandbits(4)}.{draw.getrandbits(6)}",'
            f'"country":"{draw.choice(COUNTRIES)}","page_title":"{draw.choice(TITLES)}",'
            f'"url":"https://shop.example.com/p/{draw.getrandbits(24)}?ref=mail","price":{draw.random() * 500:.2f},'
            f'"quantity":{draw.getrandbits(3)},"is_new":true,"campaign":null,"score":{draw.random()!r}}}'
        )
        row = text.encode()
        if number % 100 == 99:
            row = _spoiled(row, draw.randrange(6))
        yield row + b"\n"


def _spoiled(row: bytes, way: int) -> bytes:
    return (
        row[: len(row) // 2],
        row.replace(b'"event_time_ts"', b'"event_timestamp"'),
        row.replace(b'"quantity":', b'"quantity":NaN,"q":'),
        row.replace(b'"web"', b'"\xff\xfe"'),
        b"[" + row + b"]",
        row + b"}",
    )[way]


if __name__ == "__main__":
    sys.stdout.buffer.writelines(rows(int(sys.argv[1]), int(sys.argv[2])))
