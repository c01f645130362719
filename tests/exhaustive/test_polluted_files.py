"""Files nobody meant: good rows polluted at random, against a reader of a few lines that shares nothing with the house.

The books must balance whatever the bytes: every line is blank, good or bad; every bad row stands in the file where it
says, byte for byte; a row the pollution did not touch is as good as before. A run prints its seed; POLLUTED_SEED and
POLLUTED_FILES choose another one and a longer search.
"""

import gzip
import io
import json
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal, InvalidOperation
from itertools import accumulate, islice
from pathlib import Path
from unittest import mock

import orjson
import pytest
import zstandard
from click.testing import CliRunner

from cli import show, twin
from cli.main import main
from importer.bad_rows import BadRow, FileReason, Reason, read_segment, segment
from importer.definitions import DEFAULT, TEXT_CSV, Definition
from importer.executions import plain_text
from importer.lines import HEAD_BYTES
from importer.model import Status
from importer.preview import Findings, document, place_of, previewed
from importer.sinks import SINKS
from tests.faults.importing import Importer, installed
from tests.support import oracle
from tests.support.books import check_bad_rows, check_events, check_receipts, check_sources_moved
from tests.support.other_json import Twice, members, no_constant

SEED = int(os.environ.get("POLLUTED_SEED", "20150309"))
FILES = int(os.environ.get("POLLUTED_FILES", "300"))
NOW_MS = 1_700_000_000_000
CORPUS = Path(__file__).parents[1] / "corpora" / "naughty_strings.json"
NAUGHTY = [text for text in json.loads(CORPUS.read_bytes()) if isinstance(text, str)]
BOM = b"\xef\xbb\xbf"


def row(dice: random.Random) -> bytes:
    """A good row: the mandatory properties, and whatever strangers add."""
    values = ["x", dice.choice(NAUGHTY), 1, -0.0, 1e22, 2**63, dice.random(), True, None, ""]
    more = {dice.choice(["a", "b", "{u}city", "é", "\u2028", dice.choice(NAUGHTY)]) or "_": dice.choice(values)}
    if any(name[:1] == "{" and name != "{u}city" for name in more):
        more = {}
    event = {"user_id": f"u{dice.randrange(9)}", "event_name": "e", "event_time_ts": 1_425_920_218_354}
    return json.dumps(event | more, ensure_ascii=dice.random() < 0.5, separators=(",", ":")).encode()


PIECES: list[bytes] = [BOM, b"\0", b"\r", b"\r\n", b"\n", b"\n\n", b"\x0b", b"\x0c", b"\x1a", b"\x85", b"\xe2\x80\xa8"]
PIECES += [
    b"\xff",
    b"\xfe",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xc3",
    b'"',
    b"\\",
    b"\\u",
    b"\\ud800",
]
PIECES += [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"'",
    b"NaN",
    b"1e999",
    b"-",
    b"9" * 40,
    b'"a":1,"a":1,',
    b"\x1f\x8b\x08",
]
PIECES += ["{}\n".encode("utf-16"), '{"a":1}'.encode("utf-32-be"), b'{"a":' * 40, b"[" * 2_000, b"PK\x03\x04", b" " * 9]


def polluted(text: bytes, dice: random.Random) -> bytes:
    """The text with one to four things done to it that strangers' programs, editors and disks do."""

    def place(data: bytes) -> int:
        return dice.randrange(len(data) + 1)

    def flip(data: bytes) -> bytes:
        at = dice.randrange(len(data))
        return data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]

    def insert(data: bytes) -> bytes:
        at = place(data)
        return data[:at] + dice.choice(PIECES) + data[at:]

    def drop(data: bytes) -> bytes:
        at = place(data)
        return data[:at] + data[at + dice.randrange(1, 60) :]

    def double(data: bytes) -> bytes:
        at = place(data)
        return data[:at] + data[at : at + dice.randrange(1, 200)] * 2 + data[at:]

    def cut(data: bytes) -> bytes:
        return data[: place(data)]

    def overwrite(data: bytes) -> bytes:
        at = place(data)
        noise = dice.choice([dice.randbytes(dice.randrange(1, 30)), b"\0" * dice.randrange(1, 30)])
        return data[:at] + noise + data[at + len(noise) :]

    def begin(data: bytes) -> bytes:
        return dice.choice(PIECES) + data

    def line_ends(data: bytes) -> bytes:
        return data.replace(b"\n", dice.choice([b"\r\n", b"\r", b"\n\n", b" \n", b"\n\r"]))

    def transcode(data: bytes) -> bytes:
        at = place(data)
        wide = (
            data[at:]
            .decode("utf-8", "replace")
            .encode(dice.choice(["utf-16-le", "utf-16-be", "latin-1", "utf-7"]), "replace")
        )
        return data[:at] + wide

    def lines(data: bytes) -> bytes:
        some = data.split(b"\n")
        dice.shuffle(some)
        return b"\n".join(some)

    doings: list[Callable[[bytes], bytes]] = [flip, insert, insert, drop, double, cut, overwrite, begin, line_ends]
    doings += [transcode, lines, flip, insert]
    for _ in range(dice.randrange(1, 5)):
        text = dice.choice(doings)(text) or b"\n"
    return text


# --- The other reader -----------------------------------------------------------------------------------------------


def is_row(text: bytes) -> bool:
    """Whether a line is an object of RFC 8259 in UTF-8 that names each key once."""
    try:
        value = json.loads(
            text.decode(),
            parse_int=Decimal,
            parse_float=Decimal,
            parse_constant=no_constant,
            object_pairs_hook=members,
        )
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except (ValueError, Twice, InvalidOperation, RecursionError):
        return False
    return isinstance(value, dict)


def lines_of(text: bytes) -> list[tuple[int, bytes]]:
    pieces = text.split(b"\n")
    raws = [piece + b"\n" for piece in pieces[:-1]] + [piece for piece in pieces[-1:] if piece]
    return list(zip(accumulate(map(len, raws), initial=0), raws, strict=False))


def text_of(offset: int, raw: bytes) -> bytes:
    text = raw.removesuffix(b"\n")
    text = text.removesuffix(b"\r") if raw.endswith(b"\n") else text
    return text.removeprefix(BOM) if offset == 0 else text


# --- The house ------------------------------------------------------------------------------------------------------


def found_in(stored: bytes, dice: random.Random, definition: Definition = DEFAULT) -> Findings:
    size = dice.choice([1 << 20, 4_096, 1_000, 61])
    return previewed(
        (stored[at : at + size] for at in range(0, len(stored), size)),
        definition,
        NOW_MS,
        tuple(SINKS.values()),
        first_rows=5,
        bad_rows=1 << 30,
    )


def assert_books_balance(found: Findings, text: bytes) -> None:
    tally = found.tally
    assert (tally.lines, tally.rows) == (tally.good + tally.bad + tally.blank, tally.good + tally.bad)
    assert len(found.bad_rows) == tally.bad
    assert [bad.raw for bad in found.bad_rows] == [text[b.offset : b.offset + len(b.raw)] for b in found.bad_rows]
    assert all(reason in set(Reason) for reason in {bad.reason for bad in found.bad_rows})
    assert all(a.offset + len(a.raw) <= b.offset for a, b in zip(found.bad_rows, found.bad_rows[1:], strict=False))
    assert list(read_segment(io.BytesIO(segment(found.bad_rows)))) == found.bad_rows
    for bad in found.bad_rows:
        assert b"\n" not in bad.raw[:-1] or bad.raw.count(b'"') > 1
        place = place_of(bad)
        assert place is None or 0 <= place.start <= place.stop <= len(bad.raw), bad
    told = json.loads(show.to_json(document(found)))
    assert (told["lines"], told["bad"]) == (tally.lines, tally.bad)
    orjson.dumps(list(found.reasons.folded()))
    if found.problem is None:
        assert found.whole
    else:
        assert found.problem.code in set(FileReason)


def assert_lines_agree(found: Findings, text: bytes, untouched: set[bytes]) -> None:
    """Every line has one of three ends, and the two readers agree on which, as far as the simple one can tell."""
    bad: dict[int, BadRow] = {row.offset: row for row in found.bad_rows}
    blank = 0
    lines = lines_of(text)
    for offset, raw in lines:
        line = text_of(offset, raw)
        if not line.strip(b" \t\r"):
            blank += 1
            assert offset not in bad
        elif line in untouched:
            assert offset not in bad, bad[offset]
        elif not is_row(line):
            assert bad[offset].raw == raw
        elif offset in bad:
            assert bad[offset].reason not in (Reason.NOT_JSON, Reason.NOT_UTF8, Reason.DUPLICATE_KEY), bad[offset]
    assert (found.tally.lines, found.tally.blank) == (len(lines), blank)
    assert bad.keys() <= {offset for offset, _ in lines}


def samples(name: str) -> Iterator[int]:
    """Seeds of the files of one search."""
    print(f"POLLUTED_SEED={SEED} POLLUTED_FILES={FILES}")  # what a failure needs to be repeated
    return (hash((SEED, number)) & 0xFFFFFFFF for number in range(FILES))


def test_books_of_a_polluted_file_balance():
    """NDJSON with bytes flipped, inserted, lost, doubled, in another encoding, with other line ends (E6–E10)."""
    for seed in samples("ndjson"):
        dice = random.Random(seed)
        rows = [row(dice) for _ in range(dice.randrange(1, 12))]
        text = polluted(b"\n".join(rows) + b"\n" * dice.randrange(2), dice)
        found = found_in(text, dice)
        try:
            assert_books_balance(found, text)
            if found.problem is None and not found.compression:
                assert_lines_agree(found, text, set(rows))
            if found.problem is not None:
                assert not found.tally.lines  # a file that is refused for its first bytes has no rows
        except AssertionError as broken:
            raise AssertionError(f"seed {seed}: {text!r}") from broken


def test_books_of_a_polluted_and_packed_file_balance():
    """What was polluted before it was packed is judged as if it had not been packed; damage after is seen (D1–D5)."""
    for seed in samples("packed"):
        dice = random.Random(seed)
        rows = [row(dice) for _ in range(dice.randrange(1, 12))]
        text = polluted(b"\n".join(rows), dice)
        plain = found_in(text, dice)
        pack = dice.choice([gzip.compress, zstandard.ZstdCompressor(write_checksum=True).compress])
        packed = found_in(pack(text), dice)
        try:
            assert_books_balance(packed, text)
            assert (packed.tally, packed.bad_rows) == (plain.tally, plain.bad_rows)
            assert (packed.problem is None) == (plain.problem is None) or plain.compression
            damaged = found_in(polluted(pack(text), dice), dice)
            assert damaged.problem is None or damaged.problem.code in set(FileReason)
        except AssertionError as broken:
            raise AssertionError(f"seed {seed}: {text!r}") from broken


def test_books_of_a_polluted_csv_balance():
    """No byte of a bad record is lost or told twice, quotation marks wherever they fall (E11)."""
    for seed in samples("csv"):
        dice = random.Random(seed)
        cells = ["1425920218354", "e", "u", '"x,y"', '"x""y"', '"x\ny"', "", "é", "=1+1", dice.choice(NAUGHTY)]
        records = [",".join(dice.choice(cells) for _ in range(4)) for _ in range(dice.randrange(9))]
        head = "event_time_ts,event_name,user_id,more\n"
        text = polluted((head + "\n".join(records)).encode(), dice)
        found = found_in(text, dice, Definition(mime_type=TEXT_CSV))
        try:
            assert_books_balance(found, text)
        except AssertionError as broken:
            raise AssertionError(f"seed {seed}: {text!r}") from broken


@pytest.mark.parametrize("machine", [True, False], ids=["for machines", "for people"])
def test_preview_command_shows_any_polluted_file(machine: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Exit code 0, 1 or 3 and no traceback; nothing on the screen that a terminal would obey (J8)."""
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    for seed in list(samples("command"))[: max(FILES // 10, 1)]:
        dice = random.Random(seed)
        rows = [row(dice) for _ in range(dice.randrange(1, 12))]
        path = tmp_path / f"{seed}.json"
        path.write_bytes(polluted(b"\n".join(rows), dice))
        shown = CliRunner().invoke(main, ["preview", *(["--json"] if machine else []), str(path)])
        assert shown.exit_code in (0, 1, 3), (seed, path.read_bytes(), shown.exception)
        assert not [c for c in shown.output if ord(c) < 32 and c not in "\n\t\r"], (seed, path.read_bytes())


def polluted_files(name: str) -> Iterator[tuple[str, bytes, Findings]]:
    """(key, bytes, what a preview finds)."""
    for seed in samples(name):
        dice = random.Random(seed)
        text = polluted(b"\n".join(row(dice) for _ in range(dice.randrange(1, 12))), dice)
        yield f"imports/{seed}.json", text, found_in(text, dice)


@contextmanager
def as_large_as_real() -> Iterator[Importer]:
    """The fault tests' importer, but looking at as many first bytes as a preview does: both must judge alike."""
    with installed() as importer, mock.patch.object(plain_text, "HEAD_BYTES", HEAD_BYTES):
        yield importer


def is_decided(key: str, text: bytes) -> bool:
    """Whether the oracle knows what becomes of each row.

    It takes a name that begins with half a scope prefix for a name.
    """
    if b'"{' in text.replace(b'"{u}', b""):
        return False
    try:
        oracle.read(key, text)
    except oracle.Undecided:
        return False
    return True


def test_import_of_polluted_files_leaves_balanced_books():
    """The whole way: DynamoDB, errors/, receipts and the sources against the fault tests' oracle (E6–E10)."""
    readable = ((key, text) for key, text, found in polluted_files("import") if not found.problem)
    sources = dict(islice(((key, text) for key, text in readable if is_decided(key, text)), max(FILES // 20, 1)))
    with as_large_as_real() as importer:
        for key, text in sources.items():
            (execution,) = importer.deliver(importer.cloud.drop(key, text))
            assert execution.status is Status.SUCCEEDED, (key, text)
        receipts = check_receipts(importer.cloud, sources)
        check_events(importer.cloud, sources)
        check_bad_rows(importer.cloud, sources, receipts)
        check_sources_moved(importer.cloud, sources, receipts, {})


def test_import_refuses_the_polluted_files_that_a_preview_refuses():
    """With the same code; the source stays where it was dropped, and nothing was written."""
    refused = ((key, text, found) for key, text, found in polluted_files("refused") if found.problem is not None)
    with as_large_as_real() as importer:
        for key, text, found in islice(refused, max(FILES // 100, 1)):
            (execution,) = importer.deliver(importer.cloud.drop(key, text))
            assert found.problem
            assert (execution.status, execution.error and execution.error.code) == (Status.FAILED, found.problem.code)
            assert importer.cloud.body(key) == text
        assert importer.cloud.items(importer.cloud.events_table) == []
