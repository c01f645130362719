"""SHA-256 that several processes make one after another: always hashlib's, wherever it was put down."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer import sha256
from importer.model import Value
from importer.sha256 import RESUMABLE, Sha256, sha256_of

TEXT = bytes(number * 7 % 256 for number in range(300))


def test_it_can_be_put_down_here():
    """On every Python that links hashlib against OpenSSL's shared library; without, the tests below prove nothing."""
    assert RESUMABLE
    assert len(Sha256().state()) == 112


def test_put_down_at_any_point_it_gives_what_hashlib_gives():
    """Two blocks and a bit, in two pieces: every length, every point."""
    for length in range(140):
        text = TEXT[:length]
        wanted = hashlib.sha256(text).hexdigest()
        for border in range(length + 1):
            first = Sha256()
            first.update(text[:border])
            second = Sha256(first.state())
            second.update(text[border:])
            assert second.hexdigest() == wanted, (length, border)


@settings(deadline=None)
@given(st.lists(st.binary(max_size=200), max_size=20))
def test_put_down_after_every_piece_it_gives_what_hashlib_gives(pieces: list[bytes]):
    """However many workers; looking at the digest on the way changes nothing."""
    whole, state = hashlib.sha256(), b""
    for piece in pieces:
        worker = Sha256(state)
        worker.update(piece)
        whole.update(piece)
        assert worker.hexdigest() == worker.hexdigest() == whole.hexdigest()
        state = worker.state()
    assert Sha256(state).hexdigest() == whole.hexdigest()


def test_more_than_four_gigabits_are_counted_rightly():
    """The context counts bits in two words: the first overflows at 512 MiB."""
    state = Sha256().state()
    whole = hashlib.sha256()
    for _ in range(65):
        worker = Sha256(state)
        worker.update(b"\0" * (8 << 20))
        whole.update(b"\0" * (8 << 20))
        state = worker.state()
    assert Sha256(state).hexdigest() == whole.hexdigest()


def test_a_state_is_taken_up_by_another_process():
    """It is bytes alone."""
    first = Sha256()
    first.update(TEXT)
    program = (
        "import sys; from importer.sha256 import Sha256; h = Sha256(bytes.fromhex(sys.argv[1])); h.update(b'end');"
        "print(h.hexdigest())"
    )
    child = [sys.executable, "-c", program, first.state().hex()]
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    told = subprocess.run(child, env=path, capture_output=True, text=True, timeout=60, check=True).stdout
    assert told.strip() == hashlib.sha256(TEXT + b"end").hexdigest()


@pytest.mark.parametrize("state", [b"x", b"x" * 111, b"x" * 113])
def test_what_is_no_state_is_not_taken_up(state: bytes):
    """A bug, and loud."""
    with pytest.raises(ValueError, match="no state of a SHA-256"):
        Sha256(state)


def test_without_openssls_functions_it_hashes_but_cannot_be_put_down():
    """A Python that is linked statically, or without OpenSSL."""
    for trouble in (AttributeError, OSError, ImportError):
        with mock.patch.object(sha256, "_OpenSsl", side_effect=trouble):
            assert sha256._library() is None
    with mock.patch.object(sha256, "_LIBRARY", None), mock.patch.object(sha256, "RESUMABLE", False):
        plain = Sha256()
        plain.update(TEXT)
        assert (plain.hexdigest(), plain.state()) == (hashlib.sha256(TEXT).hexdigest(), b"")


def test_functions_that_give_other_results_are_not_used():
    """A library of that name that is none: the check at import finds it."""
    with mock.patch.object(sha256._Resumable, "hexdigest", return_value="0" * 64):
        assert sha256._library() is None


# -- of an object ----------------------------------------------------------------------------------------------------


class Stop(Exception):
    """The time is up."""


class Reading:
    """An object of 300 bytes in chunks of 20; each worker gets some chunks far before it stops."""

    def __init__(self) -> None:
        self.page: dict[str, Value] = {}
        self.asked: list[int] = []
        self.keeps_left = 0

    def _read(self, start: int) -> Iterator[bytes]:
        self.asked.append(start)
        return (TEXT[at : at + 20] for at in range(start, len(TEXT), 20))

    def _keep(self, page: dict[str, Value]) -> None:
        self.page = page
        self.keeps_left -= 1
        if self.keeps_left == 0:
            raise Stop

    def work(self, chunks: int, etag: str = "e") -> str | None:
        """One worker; None if it did not get to the end."""
        self.keeps_left = chunks
        try:
            return sha256_of(self._read, etag, self.page, self._keep)
        except Stop:
            return None


def test_an_object_is_read_once_by_however_many_workers():
    """Each begins where the last one was."""
    reading = Reading()
    assert [reading.work(chunks) for chunks in (4, 1, 6, 99)] == [None, None, None, hashlib.sha256(TEXT).hexdigest()]
    assert reading.asked == [0, 80, 100, 220]


def test_a_worker_that_finds_all_of_it_hashed_has_the_hash():
    """The last one died between its last page and what it did with the hash."""
    reading = Reading()
    assert reading.work(len(TEXT) // 20) is None
    assert (reading.work(1), reading.asked) == (hashlib.sha256(TEXT).hexdigest(), [0, 300])


def test_a_page_about_another_object_counts_for_nothing():
    """Half of each would be the hash of neither."""
    reading = Reading()
    reading.work(4, "other")
    assert (reading.work(99), reading.asked) == (hashlib.sha256(TEXT).hexdigest(), [0, 0])


def test_where_nothing_can_be_put_down_every_worker_begins_again():
    """Right, but only what one invocation can read is ever done."""
    with mock.patch.object(sha256, "_LIBRARY", None), mock.patch.object(sha256, "RESUMABLE", False):
        reading = Reading()
        assert [reading.work(chunks) for chunks in (4, 99)] == [None, hashlib.sha256(TEXT).hexdigest()]
        assert reading.asked == [0, 0]
        reading.work(4)
    # nor does one that could go on take up what was not put down
    assert reading.work(99) == hashlib.sha256(TEXT).hexdigest()
