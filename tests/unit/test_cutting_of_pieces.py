"""How what is joined is cut: the same bytes in every piece, whoever makes it and however often they are stopped."""

from collections.abc import Iterator
from contextlib import suppress
from types import SimpleNamespace
from typing import IO, Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.bad_rows import BadRow, Reason, Reject
from importer.executions import joining
from importer.model import Execution, Phase, S3Object, Status, TimeIsUp
from importer.notification import Dropped

FIRST, LARGE_FROM, LARGE = 7, 3, 16
EXECUTION = Execution("e1", S3Object("b", "imports/a", "v", "e", 1, 0), Status.RUNNING, Phase.FINALISING, 0, {}, "", 1)


class Stored:
    """A bucket: what is put aside, and an upload, whose pieces may be sent again but never with other bytes."""

    def __init__(self) -> None:
        self.asides: dict[str, bytes] = {}
        self.pieces_sent: dict[int, bytes] = {}
        self.whole: bytes | None = None
        self.upload_id = "u"

    def pieces(self, *_: Any) -> "Stored":
        return self

    def send(self, number: int, body: IO[bytes]) -> None:
        body.seek(0)
        assert self.pieces_sent.setdefault(number, (sent := body.read())) == sent

    def complete(self, count: int) -> None:
        self.whole = b"".join(self.pieces_sent[number] for number in range(1, count + 1))

    def put(self, _: str, key: str, body: IO[bytes], content_type: str) -> None:
        body.seek(0)
        assert self.asides.setdefault(key, (put := body.read())) == put

    def head(self, dropped: Dropped) -> S3Object:
        return S3Object("b", dropped.key, "v", "e", len(self.asides[dropped.key]), 0)

    def read(self, source: S3Object, start: int) -> Iterator[bytes]:
        yield self.asides[source.key][start:]


class Notebook:
    """Pages that outlive a worker; how it goes on is drawn: nothing, a note, or the end of this worker."""

    def __init__(self, draws: list[str]) -> None:
        self.draws = draws
        self.kept: dict[str, Any] = {}
        self._newest: dict[str, Any] = {}

    def page(self, _: str) -> dict[str, Any]:
        self._newest = self.kept
        return self.kept

    def is_due(self) -> bool:
        return bool(self.draws) and self.draws[-1] != "goes on"

    def keep(self, _: str, page: dict[str, Any], at_once: bool = False) -> None:
        does = self.draws.pop() if self.draws else "goes on"
        if at_once or does in ("notes", "stops"):
            self.kept = page
        if does == "dies":  # whatever it had not noted is done again
            raise InterruptedError
        if does == "stops":
            raise TimeIsUp


class Rows:
    """Bad rows in segments."""

    def __init__(self, segments: list[list[bytes]]) -> None:
        reject = Reject(Reason.NOT_JSON)
        offsets = iter(range(1_000))
        self._segments = [[BadRow.of(reject, 1, next(offsets), raw) for raw in some] for some in segments]

    def segments(self, first: str = "", after: int = -1) -> Iterator[tuple[str, int, list[BadRow]]]:
        for number, rows in enumerate(self._segments):
            if (key := f"{number:03d}") >= first:
                some = [row for row in rows if row.offset > after]
                yield key, after, some
                after = some[-1].offset if some else after

    def line(self, row: BadRow) -> int:
        return row.line

    def check(self, found: int) -> None:
        assert found == sum(map(len, self._segments))


def in_chunks(row: BadRow) -> Iterator[bytes]:
    yield row.raw[:3]
    yield row.raw[3:]


@pytest.fixture(scope="module", autouse=True)
def small_pieces() -> Iterator[None]:
    sizes = {"PIECE_BYTES": FIRST, "LARGE_PIECES_FROM": LARGE_FROM, "LARGE_PIECE_BYTES": LARGE, "IN_MEMORY_BYTES": 9}
    with mock.patch.multiple(joining, **sizes):
        yield


@given(
    st.lists(st.lists(st.binary(min_size=1, max_size=30), max_size=4), min_size=1, max_size=6),
    st.binary(max_size=FIRST - 1),  # a header is shorter than a piece: lines.HEAD_BYTES
    st.lists(st.sampled_from(["goes on", "notes", "stops", "dies"]), max_size=30),
)
def test_pieces_are_a_function_of_the_rows(segments: list[list[bytes]], header: bytes, draws: list[str]):
    """Wherever workers stop or die, all rows are there once; each piece but the last has its number's size."""
    stored, notebook, rows = Stored(), Notebook(draws), Rows(segments)
    place: Any = SimpleNamespace(objects=stored)
    while stored.whole is None:
        pieces = joining._Pieces(place, EXECUTION, "errors/a", "text/plain", "errors", notebook)
        with suppress(TimeIsUp, InterruptedError):
            pieces.write(rows, in_chunks, header)  # type: ignore[arg-type]
    assert stored.whole == header + b"".join(raw for some in segments for raw in some)
    sizes = [len(stored.pieces_sent[number]) for number in sorted(stored.pieces_sent)]
    assert sizes[:-1] == [FIRST if number < LARGE_FROM else LARGE for number in range(len(sizes) - 1)]
    assert notebook.kept["size"] == len(stored.whole)
