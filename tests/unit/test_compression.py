"""Compressed bytes → plain bytes: the end is checked, memory is bounded, and no damage passes quietly."""

import bz2
import gzip
import io
import lzma
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from unittest import mock

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from importer import compression
from importer.bad_rows import FileReason, ObjectProblem
from importer.compression import BLOCK_BYTES, CHECKSUM_BYTES, OUT_BYTES, AsFar, is_compressed, opened, opened_at, peeked
from importer.model import Border
from tests.support.scenarios import examples

TEXT = b"".join(b'{"row":%d}\n' % number for number in range(400))
HALF = len(TEXT) // 2
SKIPPABLE = bytes([0x53, 0x2A, 0x4D, 0x18]) + (5).to_bytes(4, "little") + b"notes"


def gz(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def zst(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def zst_streamed(data: bytes) -> bytes:
    """Without the content's size in the frame, as a pipe makes it."""
    compressor = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    return compressor.compress(data) + compressor.flush()


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def outcome(data: bytes, chunk_bytes: int = 1 << 16) -> bytes | FileReason:
    """The whole file, or why it is none."""
    try:
        return b"".join(opened(cut(data, chunk_bytes))[1])
    except ObjectProblem as problem:
        return problem.code


WHOLE = {
    "gzip": gz(TEXT),
    "gzip of two members": gz(TEXT[:HALF]) + gz(TEXT[HALF:]),
    "gzip with an empty member": gz(TEXT) + gz(b""),
    "gzip of one member a line": b"".join(gz(line + b"\n") for line in TEXT.splitlines()),
    "gzip with name and comment": gz(b"")[:3] + b"\x18" + gz(b"")[4:10] + b"name\0comment\0" + gz(TEXT)[10:],
    "gzip with padding": gz(TEXT) + b"\0" * 1_000,
    "gzip with padding between members": gz(TEXT[:HALF]) + b"\0" * 512 + gz(TEXT[HALF:]) + b"\0",
    "zstd": zst(TEXT),
    "zstd of two frames": zst(TEXT[:HALF]) + zst_streamed(TEXT[HALF:]),
    "zstd without size": zst_streamed(TEXT),
    "zstd behind a skippable frame": SKIPPABLE + zst(TEXT),
    "zstd before a skippable frame": zst(TEXT) + SKIPPABLE,
    "zstd around a skippable frame": zst(TEXT[:HALF]) + SKIPPABLE + zst(TEXT[HALF:]),
}


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE.keys())
def test_every_member_is_read_whatever_the_chunks(data: bytes):
    """Members and frames are one file (D2, D3), also when a chunk ends inside a magic number."""
    sizes = {*range(1, 40), 100, 1_000, len(data) - 1, len(data)}
    assert is_compressed(data)
    assert {outcome(data, size) for size in sizes} == {TEXT}


@pytest.mark.parametrize(
    "data", [gz(b""), zst(b""), zst_streamed(b""), SKIPPABLE], ids=["gzip", "zstd", "stream", "skippable"]
)
def test_nothing_compressed_is_an_empty_file(data: bytes):
    """A finished import of no rows."""
    assert [outcome(data, size) for size in (1, 3, 100)] == [b""] * 3


ONE_MEMBER = {
    "gzip": gz(TEXT),
    "zstd": zst(TEXT),
    "zstd without size": zst_streamed(TEXT),
    "skippable": SKIPPABLE + zst(b""),
}


@pytest.mark.parametrize("data", ONE_MEMBER.values(), ids=ONE_MEMBER.keys())
def test_stream_cut_at_any_byte_is_truncated(data: bytes):
    """Never a quiet end (D1, D3)."""
    border = len(SKIPPABLE) if data.startswith(SKIPPABLE) else 0  # there it is whole
    for chunk_bytes in (1, 1 << 16):
        ends = {outcome(data[:length], chunk_bytes) for length in range(4, len(data)) if length != border}
        assert ends == {FileReason.TRUNCATED}


@pytest.mark.parametrize("compress", [gz, zst, zst_streamed])
def test_second_member_cut_at_any_byte_is_truncated(compress: object):
    """The first one's proper end is no excuse."""
    first, second = compress(TEXT[:HALF]), compress(TEXT[HALF:])  # type: ignore[operator]
    ends = {outcome(first + second[:length], 37) for length in range(1, len(second))}
    assert ends == {FileReason.TRUNCATED}


@pytest.mark.parametrize("data", ONE_MEMBER.values(), ids=ONE_MEMBER.keys())
def test_flipped_byte_is_a_problem_or_changes_nothing(data: bytes):
    """Checksums are checked; what a header says beside the data may change without harm."""
    expected = outcome(data)
    for at in range(4, len(data)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
            allowed = (expected, FileReason.CORRUPT, FileReason.TRUNCATED)
            if data.startswith(b"\x28\xb5") and at < 18:  # a zstd header may now ask for a dictionary or a window
                allowed += (FileReason.WRONG_KIND,)
            assert outcome(damaged) in allowed, (at, flip)


GARBAGE = {
    "gzip and text": gz(TEXT) + b"garbage",
    "gzip and text after padding": gz(TEXT) + b"\0\0\0garbage",
    "gzip and plain rows": gz(TEXT) + TEXT,
    "gzip and one letter": gz(TEXT) + b"x",
    "gzip and one letter after padding": gz(TEXT) + b"\0\0x",
    "zstd and text": zst(TEXT) + b"garbage",
    "zstd and one letter": zst(TEXT) + b"x",
    "zstd and three zeros": zst(TEXT) + b"\0\0\0",
    "zstd and zeros": zst(TEXT) + b"\0" * 8,
    "zstd and gzip": zst(TEXT) + gz(TEXT),
    "gzip and zstd": gz(TEXT) + zst(TEXT),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_behind_the_last_member_is_corrupt(data: bytes):
    """Only zeros behind gzip are padding."""
    assert {outcome(data, size) for size in (1, 5, 1 << 16)} == {FileReason.CORRUPT}


def test_random_bytes_behind_a_magic_number_are_refused():
    """Whatever they are, they end in a problem and never in rows."""
    dice = random.Random(7)
    for magic in (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"):
        ends = {outcome(magic + dice.randbytes(60)) for _ in range(200)}
        assert ends <= {FileReason.CORRUPT, FileReason.TRUNCATED, FileReason.WRONG_KIND}


@pytest.mark.parametrize(
    "data", [gz(TEXT) + b"\x1f", gz(TEXT) + b"\0\x1f\x8b", zst(TEXT) + b"\x28\xb5", zst(TEXT) + SKIPPABLE[:3]]
)
def test_begin_of_a_magic_number_behind_the_last_member_is_truncated(data: bytes):
    """One more member began: what was uploaded is not the whole."""
    assert {outcome(data, size) for size in (1, 5, 1 << 16)} == {FileReason.TRUNCATED}


def story(chunks: Iterable[bytes]) -> tuple[bytes, FileReason | None]:
    """What was read before the problem, and the problem."""
    plain = []
    try:
        for out in opened(chunks)[1]:
            plain.append(out)
    except ObjectProblem as problem:
        return b"".join(plain), problem.code
    return b"".join(plain), None


@settings(deadline=None, max_examples=examples(400))
@given(st.data())
def test_damage_is_met_at_the_same_byte_however_the_network_cut_the_file(data: st.DataObject):
    """(Plain bytes, problem) is a function of the stored bytes: a retry finds what the first try found (N3)."""
    stored = bytearray(data.draw(st.sampled_from(list(WHOLE.values()))))
    for _ in range(data.draw(st.integers(0, 2))):
        stored[data.draw(st.integers(4, len(stored) - 1))] ^= data.draw(st.integers(1, 255))
    damaged = bytes(stored[: data.draw(st.integers(4, len(stored)))])
    borders = sorted({0, len(damaged), *data.draw(st.lists(st.integers(0, len(damaged)), max_size=6))})
    chunks = [damaged[start:stop] for start, stop in pairwise(borders)]
    with mock.patch.object(compression, "BLOCK_BYTES", 100):
        assert story([damaged]) == story(chunks) == story(cut(damaged, data.draw(st.integers(1, 300))))


def test_rows_before_the_damaged_block_are_read():
    """What the blocks before it expand to, and nothing of a block that could not be read to its end."""
    text = random.Random(5).randbytes(5 * BLOCK_BYTES)
    for pack in (gz, zst):
        stored = bytearray(pack(text))
        stored[-3] ^= 1  # in the checksum: all data were whole
        plain, problem = story([bytes(stored)])
        assert (text.startswith(plain), len(plain) >= 4 * BLOCK_BYTES, problem) == (True, True, FileReason.CORRUPT)


def test_empty_chunks_change_nothing():
    """Bytes may be cut anywhere, also into nothing."""
    for data in (gz(TEXT), zst(TEXT), TEXT):
        assert b"".join(opened([b"", data[:1], b"", data[1:9], b"", data[9:], b""])[1]) == TEXT


def problem_of(data: bytes) -> ObjectProblem:
    with pytest.raises(ObjectProblem) as problem:
        b"".join(opened([data])[1])
    return problem.value


def test_window_larger_than_the_cap_is_refused():
    """A frame may ask for 2 GB of memory before its first byte (D3): no damage, so the sentence says what to do."""
    parameters = zstandard.ZstdCompressionParameters(window_log=28, compression_level=1)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    wide = compressor.compress(b"x") + compressor.flush()
    for data in (wide, zst(TEXT) + wide):
        problem = problem_of(data)
        assert (problem.code, "compress with --long=27 or less" in problem.message) == (FileReason.WRONG_KIND, True)


def test_frame_that_needs_a_dictionary_is_refused():
    """With the dictionary's number; no dictionary is given here (D3)."""
    trained = zstandard.train_dictionary(2_000, [b'{"row":%d,"x":"%d"}' % (n, n * 7) for n in range(3_000)])
    problem = problem_of(zstandard.ZstdCompressor(dict_data=trained).compress(TEXT[:200]))
    wanted = (FileReason.WRONG_KIND, True)
    assert (problem.code, f"needs the dictionary {trained.dict_id()}:" in problem.message) == wanted


@pytest.mark.parametrize("inner", [gz(TEXT), zst(TEXT)], ids=["gzip", "zstd"])
@pytest.mark.parametrize("pack", [gz, zst], ids=["in gzip", "in zstd"])
def test_packed_twice_is_refused_with_a_sentence(inner: bytes, pack: Callable[[bytes], bytes]):
    """A packed file sent through a tool that packs makes rows of nothing (D5)."""
    problem = problem_of(pack(inner))
    assert (problem.code, "unpack it once and drop it again" in problem.message) == (FileReason.WRONG_KIND, True)


def test_widest_window_within_the_cap_is_read():
    """What `zstd --ultra --long=27` makes."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27, compression_level=1)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    assert outcome(compressor.compress(TEXT) + compressor.flush()) == TEXT


def zeros(kind: str, mebibytes: int) -> bytes:
    block = b"\0" * (1 << 20)
    compressor = zlib.compressobj(9, wbits=31) if kind == "gzip" else zstandard.ZstdCompressor().compressobj()
    return b"".join(compressor.compress(block) for _ in range(mebibytes)) + compressor.flush()


@pytest.mark.parametrize(("kind", "most_mebibytes"), [("gzip", 8), ("zstd", 100)])
def test_bomb_costs_time_and_never_memory(kind: str, most_mebibytes: int):
    """256 MiB of zeros in a few kilobytes pass in chunks of at most OUT_BYTES (D4)."""
    data = zeros(kind, 256)
    tracemalloc.start()
    sizes = [len(chunk) for chunk in opened([data])[1]]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (sum(sizes), max(sizes) <= OUT_BYTES, peak < most_mebibytes << 20) == (256 << 20, True, True)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_bomb_leaves_the_process_as_small_as_it_was(kind: str, tmp_path: Path):
    """256 MiB of zeros, measured from outside: what zlib and zstd allocate themselves counts too (D4)."""
    bomb = tmp_path / "bomb"
    bomb.write_bytes(zeros(kind, 256))
    program = (
        "import resource, sys; from pathlib import Path; from importer.compression import opened\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10\n"
        "stored = Path(sys.argv[1]).read_bytes(); before = peak()\n"
        "made = sum(len(chunk) for chunk in opened([stored])[1]); print(made >> 20, peak() - before)"
    )
    path = {"PYTHONPATH": os.pathsep.join(sys.path)}
    child = [sys.executable, "-c", program, str(bomb)]
    told = subprocess.run(child, env=path, capture_output=True, text=True, timeout=120, check=True).stdout
    made, grown_mebibytes = map(int, told.split())
    assert (made, grown_mebibytes < 100) == (256, True)


def test_bomb_is_refused_once_its_ratio_is_beyond_all_reason(monkeypatch: pytest.MonkeyPatch):
    """zstd packs zeros 32,000:1; gzip cannot come near the limit."""
    monkeypatch.setattr(compression, "RATIO_FREE_BYTES", 8 << 20)
    assert outcome(zeros("zstd", 32)) == FileReason.EXPANDS_TOO_MUCH
    assert outcome(zeros("gzip", 32)) == b"\0" * (32 << 20)
    assert outcome(zst(b"\0" * (8 << 20))) == b"\0" * (8 << 20)


@pytest.mark.parametrize(
    ("head", "compressed"),
    [
        (b"\x1f\x8b\x08\x00", True),
        (b"\x28\xb5\x2f\xfd", True),
        (SKIPPABLE[:4], True),
        (b'{"a"', False),
        (b"", False),
        (b"\x1f", False),
        (b"\x28\xb5\x2f\xfe", False),
    ],
)
def test_content_tells_what_is_compressed(head: bytes, compressed: bool):
    """The name is only a hint (D5)."""
    assert is_compressed(head) is compressed


def tar(data: bytes, format: int) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=format) as archive:
        entry = tarfile.TarInfo("rows.json")
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def zipped(data: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("rows.json", data)
    return packed.getvalue()


# Written by the standard library where it can; else the first bytes as the format's own specification has them.
OTHERS = [
    ("zip (or an Office document)", zipped(TEXT)),
    ("zip", b"PK\x05\x06" + b"\0" * 18),
    ("bzip2", bz2.compress(TEXT)),
    ("bzip2", bz2.compress(b"")),
    ("xz", lzma.compress(TEXT)),
    ("lzma", lzma.compress(TEXT, lzma.FORMAT_ALONE)),
    ("zlib", zlib.compress(TEXT)),
    ("zlib", zlib.compress(TEXT, 9)),
    ("tar", tar(TEXT, tarfile.USTAR_FORMAT)),
    ("tar", tar(TEXT, tarfile.GNU_FORMAT)),
    ("snappy", b"\xff\x06\x00\x00sNaPpY\x01"),
    ("lz4", b"\x04\x22\x4d\x18\x64\x40\xa7"),
    ("7z", b"7z\xbc\xaf\x27\x1c\x00\x04"),
    ("rar", b"Rar!\x1a\x07\x01\x00"),
    ("compress (.Z)", b"\x1f\x9d\x90" + TEXT),
    ("Parquet", b"PAR1\x15\x04\x15\x10"),
    ("Avro", b"Obj\x01\x04\x14avro.codec"),
    ("ORC", b"ORC\x0a\x03\x00\x12"),
    ("Arrow", b"ARROW1\x00\x00"),
    ("zstd of a version before 1.0", b"\x27\xb5\x2f\xfd" + TEXT),
    ("a zstd dictionary", b"\x37\xa4\x30\xec" + TEXT),
]


@pytest.mark.parametrize(("name", "data"), OTHERS, ids=[name for name, _ in OTHERS])
def test_other_containers_are_named_and_refused(name: str, data: bytes):
    """With the remedy (D6), at once and whatever the chunks; inside gzip too."""
    for stored in (cut(data, 1), [data], [b"", data[:2], data[2:]]):
        with pytest.raises(ObjectProblem) as refused:
            opened(stored)
        told = f"the content is {name}: unpack it, or compress it with gzip or zstd, and drop it again"
        assert (refused.value.code, refused.value.message) == (FileReason.WRONG_KIND, told)
    assert outcome(gz(data)) == FileReason.WRONG_KIND


@pytest.mark.parametrize(
    "text", ["ORCID,name\r\n", "PAR1,PAR2\n", "BZh,a\n", "x,y\n", "Obj,1\n", "PK,1\n", "é,ü\n", '{"ustar":1}\n']
)
def test_text_that_only_resembles_a_container_is_text(text: str):
    """A heading may be any word."""
    data = text.encode() * 60
    assert outcome(data, 7) == data


@pytest.mark.parametrize(
    ("data", "name"), [(gz(TEXT), "gzip"), (zst(TEXT), "zstd"), (SKIPPABLE + zst(TEXT), "zstd"), (TEXT, "")]
)
def test_opening_tells_by_what_the_bytes_were_packed(data: bytes, name: str):
    """Plain text passes as it is."""
    found, text = opened(cut(data, 3))
    assert (found, b"".join(text)) == (name, TEXT)


@pytest.mark.parametrize("text", [b"", b"x", b"PK", b'{"PK":1}', b"\x1f", b"BZ"])
def test_short_or_plain_bytes_are_no_container(text: bytes):
    """What is too short to have a magic number is text."""
    assert (opened([text])[0], b"".join(opened([text])[1])) == ("", text)


def test_peeking_takes_nothing_away():
    """At least so many bytes, if there are; then all the chunks again."""
    chunks = [b"", b"ab", b"", b"cd", b"ef"]
    for least_bytes, head in [(0, b""), (1, b"ab"), (2, b"ab"), (3, b"abcd"), (9, b"abcdef")]:
        seen, again = peeked(chunks, least_bytes)
        assert (seen, list(again)) == (head, chunks)


# -- members ---------------------------------------------------------------------------------------------------------


def met_in(stored: bytes, chunk_bytes: int = 7) -> list[Border]:
    borders: list[Border] = []
    b"".join(opened(cut(stored, chunk_bytes), borders.append)[1])
    return borders


def test_borders_are_where_members_begin():
    """Behind the padding, and where a frame begins that holds no text."""
    first, second = gz(TEXT[:HALF]), gz(TEXT[HALF:])
    padded = first + b"\0" * 5 + second
    assert met_in(padded) == [Border(0, 0), Border(len(first) + 5, HALF)]
    first, second = zst(TEXT[:HALF]), zst_streamed(TEXT[HALF:])
    assert met_in(first + SKIPPABLE + second) == [
        Border(0, 0),
        Border(len(first), HALF),
        Border(len(first) + len(SKIPPABLE), HALF),
    ]
    assert met_in(TEXT) == []


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE.keys())
def test_text_is_read_from_any_border_on(data: bytes):
    """With the kind of compression alone: the object's first bytes need not be seen again."""
    name, _ = opened([data])
    for border in met_in(data):
        rest = opened_at(border, cut(data[border.stored_offset :], 11), name)
        assert b"".join(rest) == TEXT[border.plain_offset :]


ROWS = b"".join(b'{"row":%d,"text":"%x"}\n' % (n, n * 2654435761 % 2**32) for n in range(150_000))  # 5 MB


@pytest.mark.parametrize("pack", [gz, zst, zst_streamed])
def test_a_member_may_be_as_long_as_the_limit_and_not_a_byte_longer(pack: Callable[[bytes], bytes]):
    """Counted from its own begin: any number of them make a file of any length."""
    for text, wanted in ((TEXT, None), (TEXT + b"\n", FileReason.EXPANDS_TOO_MUCH)):
        for front in (b"", pack(TEXT) * 3):
            told = None
            try:
                b"".join(opened([front + pack(text)], longest_member_bytes=len(TEXT))[1])
            except ObjectProblem as problem:
                told = problem.code
            assert told == wanted


@pytest.mark.parametrize(("pack", "tool"), [(gz, "gzip"), (zst, "zstd")], ids=["gzip", "zstd"])
def test_the_remedy_for_a_long_member_is_a_command_that_works(
    pack: Callable[[bytes], bytes], tool: str, tmp_path: Path
):
    """Copied from the sentence into a shell, it writes one file of short members with the same text."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed here")
    stored = pack(TEXT) + pack(ROWS)
    with pytest.raises(ObjectProblem) as raised:
        b"".join(opened([stored], longest_member_bytes=2 << 20)[1])
    problem = raised.value
    begun = f"the {tool} member at byte {len(pack(TEXT))} expands to more than {2 << 20} bytes"
    assert (problem.code, problem.message.startswith(begun)) == (FileReason.EXPANDS_TOO_MUCH, True)
    command = re.search(r"split: (.*); and drop that$", problem.message)
    assert command is not None
    (tmp_path / "FILE").write_bytes(stored)
    subprocess.run(["sh", "-c", command[1]], cwd=tmp_path, check=True, timeout=60)
    written = (tmp_path / "NEW_FILE").read_bytes()
    assert b"".join(opened([written], longest_member_bytes=2 << 20)[1]) == TEXT + ROWS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["FILE", "NEW_FILE"]


@pytest.mark.parametrize("pack", [gz, zstandard.ZstdCompressor(write_checksum=True).compress], ids=["gzip", "zstd"])
@pytest.mark.parametrize(
    ("damage", "is_all", "reads"),
    [
        (lambda body: body[:-3], True, 100),
        (lambda body: body[:-1] + bytes([body[-1] ^ 1]), True, 100),
        (lambda body: body + b"and more text", False, 200),
    ],
    ids=["cut", "a wrong checksum", "something behind it"],
)
def test_of_damaged_text_is_read_what_anybody_can_read(
    pack: Callable[[bytes], bytes], damage: Callable[[bytes], bytes], is_all: bool, reads: int
) -> None:
    """An import throws away the block of the damage; whoever has the file does not."""
    text = bytes(range(100, 200)) * 2
    stored = damage(pack(text[:100]) + pack(text[100:]))
    as_far = AsFar(lambda: iter([stored]))
    found = b"".join(as_far)
    assert text.startswith(found)
    assert len(found) >= reads
    assert (len(stored) - as_far.stored <= CHECKSUM_BYTES) == is_all
