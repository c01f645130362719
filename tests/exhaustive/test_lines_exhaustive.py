"""Every small file, cut into parts at every place, in chunks of every size: each line is read once (C10)."""

from collections.abc import Iterator
from itertools import combinations, pairwise, product

import pytest

from importer.lines import lines, reading_start
from importer.model import Line, Part


def chunked(file: bytes, size: int) -> Iterator[bytes]:
    return (file[at : at + size] for at in range(0, len(file), size))


def lines_of(file: bytes, start: int, stop: int, chunk_bytes: int) -> list[Line]:
    part = Part(start, stop)
    return list(lines(chunked(file[reading_start(part) :], chunk_bytes), part))


def by_hand(file: bytes) -> list[Line]:
    """The lines of a whole file: address and bytes, their end included."""
    found, offset = [], 0
    for piece in file.split(b"\n")[:-1]:
        found.append((offset, piece + b"\n"))
        offset += len(piece) + 1
    return found + ([(offset, file[offset:])] if offset < len(file) else [])


def files(alphabet: bytes, length: int) -> Iterator[bytes]:
    return (bytes(letters) for letters in product(alphabet, repeat=length))


@pytest.mark.parametrize("length", range(8))
def test_parts_cut_anywhere_give_the_lines_of_the_whole(length: int):
    """Any number of parts, any borders, any chunks: in order and together exactly the lines of the file, none twice."""
    for file in files(b"a\n", length):
        whole = by_hand(file)
        for count in range(length):
            for cuts in combinations(range(1, length), count):
                borders = [0, *cuts, length]
                for chunk_bytes in range(1, length + 1):
                    read = [
                        line for start, stop in pairwise(borders) for line in lines_of(file, start, stop, chunk_bytes)
                    ]
                    assert read == whole, (file, cuts, chunk_bytes)


@pytest.mark.parametrize("length", range(1, 9))
def test_line_belongs_to_the_part_its_first_byte_lies_in(length: int):
    """Every interval of every file over {a, LF, CR}: its part owns the lines that begin in it, whole."""
    for file in files(b"a\n\r" if length < 7 else b"\r\n", length):
        whole = by_hand(file)
        for start, stop in combinations(range(length + 2), 2):
            owned = [line for line in whole if start <= line[0] < stop]
            for chunk_bytes in (1, 2, 3, length):
                assert lines_of(file, start, stop, chunk_bytes) == owned, (file, start, stop, chunk_bytes)


@pytest.mark.parametrize(
    "file", [b"", b"\n", b"a", b"a\nb\n", b"aa\n\nb", b"\xef\xbb\xbfa\r\n\r\nb\r\n", b"\n\n\naaaa"]
)
def test_chunks_of_any_sizes_in_any_order_of_sizes_change_nothing(file: bytes):
    """Every way to cut the bytes into chunks, empty ones among them."""
    whole = by_hand(file)
    for cuts in product((False, True), repeat=max(len(file) - 1, 0)):
        borders = [0, *(at for at, cut in enumerate(cuts, 1) if cut), len(file)]
        chunks = [file[start:stop] for start, stop in pairwise(borders)]
        for part in (Part(0, len(file)), Part(0, 2**63 - 1)):
            assert list(lines(chunks, part)) == whole
            assert list(lines([b"", *[piece for chunk in chunks for piece in (chunk, b"")]], part)) == whole


def test_resuming_at_any_line_reads_the_rest():
    """A checkpoint is just a smaller part: `[next_offset, stop)` is what is left of `[start, stop)`."""
    for file in files(b"a\n", 8):
        for stop in (5, 8, 9):
            owned = lines_of(file, 0, stop, 3)
            for index, (offset, _) in enumerate(owned):
                assert lines_of(file, offset, stop, 2) == owned[index:], (file, offset, stop)
