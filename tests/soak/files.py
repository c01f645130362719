"""A file of any size whose every row is a function of its number: what is found anywhere can be checked by itself.

Counting ten million rows then takes a bit each, and no second copy of the file. One row in a hundred is bad, in one of
four ways. Worked out without a line of the importer: what a row's event must be is written here a second time.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

ROW_BYTES = 360  # as the rows of tests/bench
USERS = 50_000
FIRST_TIME_MS = 1_700_000_000_000
BAD_EVERY = 100
_NAMES = (b"page_view", b"purchase", b"signup", b"login", b"search")
_LETTERS = b"abcdefghijklmnopqrstuvwxyz" * 400


@dataclass(frozen=True)
class Expected:
    """What must be found of a good row."""

    number: int
    user_id: str
    event_id: str
    event_name: str
    event_time_ts: int

    @property
    def event_key(self) -> str:
        return f"{self.event_time_ts:013d}#{self.event_id}"


@dataclass
class File:
    """Rows `0…rows`, each `row_bytes` long with its line end, but for what makes a row bad."""

    size_bytes: int
    row_bytes: int = ROW_BYTES
    seed: int = 0
    sha256: str = field(default="", init=False)
    errors_sha256: str = field(default="", init=False)
    errors_bytes: int = field(default=0, init=False)
    bad_offsets_sha256: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self.rows = max(1, self.size_bytes // self.row_bytes)

    @property
    def bad(self) -> int:
        return self.rows // BAD_EVERY

    @property
    def good(self) -> int:
        return self.rows - self.bad

    def expected(self, number: int) -> Expected | None:
        """The event of a row; None for one that is bad, or none of ours."""
        if not 0 <= number < self.rows or is_bad(number):
            return None
        text = self.row(number)[:-1]
        return Expected(
            number,
            f"user-{self._draw(number) % USERS}",
            hashlib.blake2b(b"cooladata\n0\n" + text, digest_size=16).hexdigest(),
            _NAMES[number % len(_NAMES)].decode(),
            FIRST_TIME_MS + number,
        )

    def row(self, number: int) -> bytes:
        """With its line end."""
        draw = self._draw(number)
        start = draw % 2_000
        text = (
            b'{"event_name":"%s","event_time_ts":%d,"user_id":"user-%d","n":%d,'
            b'"session_id":"%016x","price":%d.%02d,"quantity":3,"text":"'
            % (
                _NAMES[number % len(_NAMES)],
                FIRST_TIME_MS + number,
                draw % USERS,
                number,
                draw,
                draw % 500,
                draw % 100,
            )
        )
        text += _LETTERS[start : start + self.row_bytes - len(text) - 3] + b'"}'
        return (_spoiled(text, number) if is_bad(number) else text) + b"\n"

    def chunks(self, chunk_bytes: int) -> Iterator[bytes]:
        """The file; when it has been read, its hashes are known."""
        whole, errors, offsets = hashlib.sha256(), hashlib.sha256(), hashlib.sha256()
        chunk, offset = bytearray(), 0
        for number in range(self.rows):
            row = self.row(number)
            if is_bad(number):
                errors.update(row)
                self.errors_bytes += len(row)
                offsets.update(b"%d %d %d\n" % (number + 1, offset, len(row) - 1))
            offset += len(row)
            chunk += row
            if len(chunk) >= chunk_bytes:
                whole.update(chunk)
                yield bytes(chunk)
                chunk.clear()
        whole.update(chunk)
        yield bytes(chunk)
        self.size_bytes = offset
        self.sha256, self.errors_sha256 = whole.hexdigest(), errors.hexdigest()
        self.bad_offsets_sha256 = offsets.hexdigest()

    def _draw(self, number: int) -> int:
        return (number * 0x9E3779B97F4A7C15 + self.seed * 0xD1B54A32D192ED03 + 0x632BE59BD9B4E019) % (1 << 64) >> 3


def is_bad(number: int) -> bool:
    return number % BAD_EVERY == BAD_EVERY - 1


def _spoiled(text: bytes, number: int) -> bytes:
    way = number // BAD_EVERY % 4
    if way == 0:
        return text[: len(text) // 2]
    if way == 1:
        return text.replace(b'"event_time_ts"', b'"event_timestamp"')
    if way == 2:
        return text.replace(b'"session_id":"', b'"session_id":"\xff\xfe')
    return b"[" + text + b"]"
