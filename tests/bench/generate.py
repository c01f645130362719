"""Seeded rows for measurements: 14 properties, about 360 bytes, one in a hundred bad, each in one of fourteen ways.

    python -m tests.bench.generate ROWS SEED > rows.ndjson      the default rows
    python -m tests.bench.generate ROWS SEED users > rows.ndjson      two `{u}` properties a row instead of two others

`WAYS` names what is bad about a row; `REASONS` has the word our receipt uses for it.
"""

import base64
import hashlib
import json
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

EVENTS = ("page_view", "purchase", "signup", "login", "add_to_cart", "search", "video_play", "checkout_started")
COUNTRIES = ("US", "DE", "IN", "BR", "JP", "FR", "GB", "MX")
PLATFORMS = ("web", "ios", "android")
TITLES = (
    "Summer sale – bis zu 50 %",
    "New arrivals",
    "日本語のタイトル",
    'Say \\"hello\\" to v2',
    "Profile / settings",
)
FIRST_MS: Final = 1_700_000_000_000  # and no two rows of a file at the same time: (user, time) is a key
BAD_EVERY: Final = 100
BLOCK_ROWS: Final = 100_000  # of a long file; it is this block over and over

# What is spoilt → what our receipt calls it.
REASONS: Final = {
    "cut_short": "not_json",
    "without_name": "missing_field",
    "without_time": "missing_field",
    "time_is_a_word": "bad_time",
    "time_before_1970": "time_out_of_window",
    "user_is_null": "missing_field",
    "user_is_a_number": "wrong_type",
    "name_is_empty": "missing_field",
    "in_an_array": "not_an_object",
    "a_number_alone": "not_an_object",
    "not_utf8": "not_utf8",
    "a_brace_too_many": "not_json",
    "not_a_number": "not_json",
    "two_colons": "not_json",
}
WAYS: Final = tuple(REASONS)


@dataclass(frozen=True)
class Expected:
    """What is in a file. `sha256` in base64, as S3 says it."""

    rows: int
    good: int
    bad: dict[str, int]  # by way of spoiling
    size_bytes: int
    sha256: str

    @property
    def bad_rows(self) -> int:
        return sum(self.bad.values())

    def reasons(self) -> dict[str, int]:
        """Bad rows by what our receipt calls them."""
        found: Counter[str] = Counter()
        for way, count in self.bad.items():
            found[REASONS[way]] += count
        return dict(found)

    def times(self, number: int, sha256: str) -> "Expected":
        """Of the same file over and over."""
        bad = {way: count * number for way, count in self.bad.items()}
        return Expected(self.rows * number, self.good * number, bad, self.size_bytes * number, sha256)


def rows(count: int, seed: int, users: bool = False) -> Iterator[tuple[bytes, str]]:
    """`count` rows, each with its line end, and how it was spoilt ("" if it was not); the same for the same seed."""
    draw = random.Random(seed)
    bits, choice = draw.getrandbits, draw.choice
    country, campaign = ("{u}country", "{u}plan") if users else ("country", "campaign")
    for number in range(count):
        text = (
            f'{{"event_name":"{choice(EVENTS)}","event_time_ts":{FIRST_MS + number * 37},'
            f'"user_id":"user-{bits(20):07x}","session_id":"{bits(128):032x}",'
            f'"platform":"{choice(PLATFORMS)}","app_version":"4.{bits(4)}.{bits(6)}",'
            f'"{country}":"{choice(COUNTRIES)}","page_title":"{choice(TITLES)}",'
            f'"url":"https://shop.example.com/p/{bits(24)}?ref=mail","price":{draw.random() * 500:.2f},'
            f'"quantity":{bits(3)},"is_new":{"true" if bits(1) else "false"},'
            f'"{campaign}":{f"{chr(34)}cmp_{bits(16):04x}{chr(34)}" if users or bits(2) else "null"},'
            f'"score":{draw.random()!r}}}'
        )
        row, way = text.encode(), ""
        if number % BAD_EVERY == BAD_EVERY - 1:
            way = choice(WAYS)
            row = spoilt(row, way)
        yield row + b"\n", way


def spoilt(row: bytes, way: str) -> bytes:
    """A row that no importer should take."""
    match way:
        case "cut_short":
            return row[: len(row) // 2]
        case "in_an_array":
            return b"[" + row + b"]"
        case "a_number_alone":
            return b"42"
        case "not_utf8":
            return row.replace(b'"platform":"', b'"platform":"\xff\xfe')
        case "a_brace_too_many":
            return row + b"}"
        case "not_a_number":
            return row.replace(b'"quantity":', b'"quantity":NaN,"q":')
        case "two_colons":
            return row.replace(b'"platform":', b'"platform"::')
    members = json.loads(row)
    match way:
        case "without_name":
            del members["event_name"]
        case "without_time":
            del members["event_time_ts"]
        case "time_is_a_word":
            members["event_time_ts"] = "yesterday"
        case "time_before_1970":
            members["event_time_ts"] = -5
        case "user_is_null":
            members["user_id"] = None
        case "user_is_a_number":
            members["user_id"] = 12345
        case "name_is_empty":
            members["event_name"] = ""
        case _:
            raise ValueError(f"no way of spoiling is called {way}")
    return json.dumps(members, separators=(",", ":")).encode()


def whole_blocks(count: int) -> int:
    """The most rows, of so many at most, that a file can have."""
    return count - count % BLOCK_ROWS if count > BLOCK_ROWS else count


def made(directory: Path, count: int, seed: int = 7, users: bool = False) -> tuple[Path, Expected]:
    """A file of so many rows in this directory, and what is in it; made unless it is there.

    Where it has more than BLOCK_ROWS it is a file of that many over and over: no two equal rows are closer to each
    other than a block (36 MB), so they never meet in one batch.
    """
    file = directory / f"{'users' if users else 'rows'}-{count}-{seed}.ndjson"
    facts = file.with_suffix(".json")
    if facts.exists():
        known = json.loads(facts.read_text())
        if known.pop("made_by", "") == _ourselves():
            return file, Expected(**known)
    directory.mkdir(parents=True, exist_ok=True)
    if count > BLOCK_ROWS:
        if count % BLOCK_ROWS:
            raise ValueError(f"{count:,} rows are not whole blocks of {BLOCK_ROWS:,}")
        expected = _repeated(file, *made(directory, BLOCK_ROWS, seed, users), count // BLOCK_ROWS)
    else:
        expected = _fresh(file, count, seed, users)
    facts.write_text(json.dumps({**asdict(expected), "made_by": _ourselves()}))
    return file, expected


def _ourselves() -> str:
    """What a file was made by: one of another version of this program is made anew."""
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()


def _fresh(file: Path, count: int, seed: int, users: bool) -> Expected:
    ways: Counter[str] = Counter()
    digest = hashlib.sha256()
    with file.open("wb") as out:
        for row, way in rows(count, seed, users):
            ways[way] += 1
            digest.update(row)
            out.write(row)
        size_bytes = out.tell()
    good = ways.pop("", 0)
    return Expected(count, good, dict(sorted(ways.items())), size_bytes, base64.b64encode(digest.digest()).decode())


def _repeated(file: Path, block: Path, of_block: Expected, times: int) -> Expected:
    body = block.read_bytes()
    digest = hashlib.sha256()
    with file.open("wb") as out:
        for _ in range(times):
            digest.update(body)
            out.write(body)
    return of_block.times(times, base64.b64encode(digest.digest()).decode())


if __name__ == "__main__":
    for made_row, _ in rows(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] == ["users"]):
        sys.stdout.buffer.write(made_row)
