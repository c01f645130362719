"""One whole file for each way bytes go wrong (hazards D and E), through the very core an import uses.

Each case says what becomes of the whole file: the problem it ends in, or how many lines are blank, how many good, and
the reason of each bad one. Whatever the case, bad rows stand in it byte for byte, the books balance, and the preview
command shows it.
"""

import bz2
import gzip
import io
import json
import lzma
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard
from click.testing import CliRunner

from cli import twin
from cli.main import main
from importer import lines
from importer.bad_rows import FileReason, Reason
from importer.definitions import NDJSON, TEXT_CSV, Definition
from importer.model import Status
from importer.preview import Findings, previewed
from importer.sinks import SINKS
from tests.faults.importing import installed

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Fate:
    """What becomes of a file."""

    good: int = 0
    bad: tuple[Reason, ...] = ()
    blank: int = 0
    problem: FileReason | None = None


def row(more: bytes = b"", user: bytes = b"u") -> bytes:
    """A good row; `more` goes behind its properties."""
    return b'{"user_id":"%s","event_name":"e","event_time_ts":1425920218354%s}' % (user, more)


def ndjson(*rows: bytes) -> bytes:
    return b"\n".join(rows) + b"\n"


ROW = row()
ROWS = ndjson(ROW, row(b',"a":1'), row(b',"b":2'))
ONE = Fate(good=1)
THREE = Fate(good=3)
GZ = gzip.compress(ROWS, mtime=0)
ZST = zstandard.ZstdCompressor(write_checksum=True).compress(ROWS)
SKIPPABLE = b"\x50\x2a\x4d\x18\x02\x00\x00\x00xx"


def refused(code: FileReason) -> Fate:
    return Fate(problem=code)


def bad(*reasons: Reason) -> Fate:
    """A good row, the bad ones, a good row."""
    return Fate(2, reasons)


def among(*rows: bytes) -> bytes:
    """The rows between two good ones."""
    return ndjson(ROW, *rows, row(b',"z":1'))


def zipped(text: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("rows.json", text)
    return packed.getvalue()


def bomb() -> bytes:
    """64 MiB of spaces in a few kilobytes, with good rows around."""
    return gzip.compress(ROW + b"\n" + b" " * (64 << 20) + b"\n" + ROW + b"\n", mtime=0)


COMPRESSION: dict[str, tuple[bytes, Fate]] = {
    "D1 gzip, whole": (GZ, THREE),
    "D1 gzip, its last byte lost": (GZ[:-1], refused(FileReason.TRUNCATED)),
    "D1 gzip, its checksum and size lost": (GZ[:-8], refused(FileReason.TRUNCATED)),
    "D1 gzip, only its magic": (GZ[:2], refused(FileReason.TRUNCATED)),
    "D1 gzip, one wrong byte": (GZ[:30] + b"\xff" + GZ[31:], refused(FileReason.CORRUPT)),
    "D2 gzip, a member for each row": (b"".join(gzip.compress(r) for r in ROWS.splitlines(True)), THREE),
    "D2 gzip, a row across two members": (gzip.compress(ROWS[:33]) + gzip.compress(ROWS[33:]), THREE),
    "D2 gzip, empty members between": (gzip.compress(b"") + GZ + gzip.compress(b""), THREE),
    "D2 gzip, zeros behind": (GZ + b"\0" * 1_000, THREE),
    "D2 gzip, letters behind": (GZ + b"garbage", refused(FileReason.CORRUPT)),
    "D2 gzip, second member cut": (GZ + GZ[:-3], refused(FileReason.TRUNCATED)),
    "D2 gzip of nothing": (gzip.compress(b""), Fate()),
    "D3 zstd, two frames and a skippable one": (ZST + SKIPPABLE + ZST, Fate(good=6)),
    "D3 zstd, second frame cut": (ZST + ZST[:-3], refused(FileReason.TRUNCATED)),
    "D3 zstd, wrong checksum": (ZST[:-1] + bytes([ZST[-1] ^ 1]), refused(FileReason.CORRUPT)),
    "D3 zstd, letters behind": (ZST + b"garbage", refused(FileReason.CORRUPT)),
    "D3 zstd of nothing": (zstandard.ZstdCompressor().compress(b""), Fate()),
    "D3 zstd, a window of 2 GB": (b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00", refused(FileReason.WRONG_KIND)),
    "D4 bomb of one line": (bomb(), Fate(2, (Reason.LINE_TOO_LONG,))),
    "D5 gzip in gzip": (gzip.compress(GZ), refused(FileReason.WRONG_KIND)),
    "D5 zstd in gzip": (gzip.compress(ZST), refused(FileReason.WRONG_KIND)),
    "D6 zip": (zipped(ROWS), refused(FileReason.WRONG_KIND)),
    "D6 bzip2": (bz2.compress(ROWS), refused(FileReason.WRONG_KIND)),
    "D6 xz": (lzma.compress(ROWS), refused(FileReason.WRONG_KIND)),
    "D6 zlib": (zlib.compress(ROWS), refused(FileReason.WRONG_KIND)),
    "D6 snappy": (b"\xff\x06\x00\x00sNaPpY" + ROWS, refused(FileReason.WRONG_KIND)),
}
LINES: dict[str, tuple[bytes, Fate]] = {
    "E1 not quite JSON": (
        among(b"{'a':1}", b'{"a":1,}', b'{"a":NaN}', b'{"a":-Infinity}', b"{a:1}", b'{"a":01}', b'{"a":.5}', b'{"a":1'),
        bad(*[Reason.NOT_JSON] * 8),
    ),
    "E1 JSON that is no object": (among(b"1", b"null", b'"a"', b"[1,2]", b"[]"), bad(*[Reason.NOT_AN_OBJECT] * 5)),
    "E2 integers beyond 64 bits": (
        among(row(b',"n":18446744073709551616'), row(b',"n":-9223372036854775809')),
        Fate(4),
    ),
    "E2 an integer of 39 digits": (among(row(b',"n":' + b"1" * 39)), bad(Reason.NUMBER_OUT_OF_RANGE)),
    "E2 an integer of 5,000 digits": (among(row(b',"n":' + b"7" * 5_000)), bad(Reason.NUMBER_OUT_OF_RANGE)),
    "E3 long decimals": (among(row(b',"n":0.1000000000000000055511151231257827,"m":-0,"o":-0.0,"p":1E+2')), THREE),
    "E3 beyond DynamoDB's range": (
        among(row(b',"n":1e-400'), row(b',"n":1e126'), row(b',"n":1e-131'), row(b',"n":1e999999999')),
        bad(*[Reason.NUMBER_OUT_OF_RANGE] * 4),
    ),
    "E3 exponents beyond all reason": (
        among(row(b',"n":1e99999999999999999999'), row(b',"n":-1e-99999999999999999999')),
        bad(*[Reason.NUMBER_OUT_OF_RANGE] * 2),
    ),
    "E4 a key twice": (among(row(b',"a":1,"a":1'), row(b',"user_id":"v"')), bad(*[Reason.DUPLICATE_KEY] * 2)),
    "E4 a key twice, spelt differently": (among(row(b',"a":1,"\\u0061":1')), bad(Reason.DUPLICATE_KEY)),
    "E4 a key twice in a nested object": (among(row(b',"a":{"b":1,"b":2}')), bad(Reason.DUPLICATE_KEY)),
    "E5 nested once": (among(row(b',"a":{"b":1}'), row(b',"a":[]')), bad(*[Reason.NESTED_VALUE] * 2)),
    "E5 nested too deeply": (among(row(b',"a":' + b"[" * 2_000 + b"]" * 2_000)), bad(Reason.TOO_DEEP)),
    "E5 nested 100,000 times": (among(b'{"a":' * 100_000 + b"1" + b"}" * 100_000), bad(Reason.TOO_DEEP)),
    "E5 opened 1,000,000 times": (among(b"[" * 1_000_000), bad(Reason.NOT_JSON)),
    "E6 byte order mark": (BOM + ROWS, THREE),
    "E6 only a byte order mark": (BOM, Fate(blank=1)),
    "E6 byte order mark, then a blank line": (BOM + b"\r\n" + ROWS, Fate(3, blank=1)),
    "E6 two byte order marks": (BOM * 2 + ROWS, Fate(2, (Reason.NOT_JSON,))),
    "E6 byte order mark inside": (ROWS + BOM + ROW, Fate(3, (Reason.NOT_JSON,))),
    "E6 UTF-16 with mark": (ROWS.decode().encode("utf-16"), refused(FileReason.WRONG_ENCODING)),
    "E6 UTF-16 without mark": (ROWS.decode().encode("utf-16-be"), refused(FileReason.WRONG_ENCODING)),
    "E6 UTF-32": (ROWS.decode().encode("utf-32"), refused(FileReason.WRONG_ENCODING)),
    "E6 UTF-16 in gzip": (gzip.compress(ROWS.decode().encode("utf-16")), refused(FileReason.WRONG_ENCODING)),
    "E6 UTF-16 behind UTF-8": (ROWS + "{}".encode("utf-16-le"), Fate(3, (Reason.NOT_JSON,))),
    "E6 Latin-1, overlong, surrogate, beyond Unicode, cut": (
        among(
            *(row(b',"a":"%s"' % b) for b in (b"\xe9", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82"))
        ),
        bad(*[Reason.NOT_UTF8] * 5),
    ),
    "E6 half a surrogate pair, escaped": (
        among(row(b',"a":"\\ud83d"'), row(b',"\\udc00":1'), row(b',"a":"\\ude00\\ud83d"')),
        bad(*[Reason.NOT_UTF8] * 3),
    ),
    "E6 noncharacters, emoji, combining": (among(row(',"a":"\uffff\ufdd0😀e\u0301"'.encode())), THREE),
    "E7 CRLF": (ROWS.replace(b"\n", b"\r\n"), THREE),
    "E7 no last line end": (ROWS[:-1], THREE),
    "E7 no last line end, CR": (ROWS[:-1] + b"\r", THREE),
    "E7 blank lines of all kinds": (b"\n\r\n \n\t\n" + ROWS + b"\n\n \t\r\n", Fate(3, blank=7)),
    "E7 only line ends": (b"\n\r\n\n", Fate(blank=3)),
    "E7 lone CRs": (ROWS.replace(b"\n", b"\r"), refused(FileReason.NOT_LINE_DELIMITED)),
    "E7 lone CRs, one row": (ROW + b"\r", ONE),
    "E7 a CR inside": (among(b"%s\r%s" % (ROW, ROW)), bad(Reason.NOT_JSON)),
    "E7 line separators in strings": (among(row(',"a":"x\u2028y\u2029z\x85"'.encode())), THREE),
    "E7 line separators between": (among("{}\u2028{}".encode(), b"{}\x0b{}", b"{}\x0c{}"), bad(*[Reason.NOT_JSON] * 3)),
    "E7 nothing": (b"", Fate()),
    "E8 a line over the limit": (
        among(row(b',"a":"' + b"x" * lines.MAX_LINE_BYTES + b'"')),
        bad(Reason.LINE_TOO_LONG),
    ),
    "E8 the last line over the limit": (
        ndjson(ROW) + b"x" * (lines.MAX_LINE_BYTES + 1),
        Fate(1, (Reason.LINE_TOO_LONG,)),
    ),
    "E8 more than an item holds": (among(row(b',"a":"' + b"x" * (400 << 10) + b'"')), bad(Reason.EVENT_TOO_LARGE)),
    "E9 pretty-printed": (json.dumps(json.loads(ROW), indent=2).encode(), refused(FileReason.NOT_LINE_DELIMITED)),
    "E9 an array": (b"[" + ROW + b",\n" + ROW + b"]\n", refused(FileReason.NOT_LINE_DELIMITED)),
    "E9 an array on one line": (b"[" + ROW + b"," + ROW + b"]", refused(FileReason.NOT_LINE_DELIMITED)),
    "E9 rows that are arrays": (among(b"[" + ROW + b"]"), bad(Reason.NOT_AN_OBJECT)),
    "E10 NUL raw": (among(row(b',"a":"\0"'), b"\0" * 99, b"\0" + ROW), bad(*[Reason.NOT_JSON] * 3)),
    "E10 NUL escaped": (among(row(b',"a":"\\u0000","b\\u0000":1')), THREE),
    "E10 NULs for a whole file": (b"\0" * 5_000, Fate(bad=(Reason.NOT_JSON,))),
    "E10 control characters raw": (
        among(row(b',"a":"\t"'), row(b',"a":"\x1f"'), b"\x1a"),
        bad(*[Reason.NOT_JSON] * 3),
    ),
    "E10 DEL": (among(row(b',"a":"\x7f"')), THREE),
    "E10 the empty key": (among(row(b',"":1')), bad(Reason.BAD_NAME)),
    "E10 a key over 64 KiB": (among(row(b',"%s":1' % (b"k" * 65_536))), bad(Reason.TOO_LONG)),
    "E10 a user id over 2,048 bytes": (among(row(user=b"u" * 2_049)), bad(Reason.TOO_LONG)),
}
HEADER = b"user_id,event_name,event_time_ts,more\n"
CSV: dict[str, tuple[bytes, Fate]] = {
    "E11 ragged rows": (
        HEADER + b"u,e,1425920218354\nu,e,1425920218354,x\nu,e,1425920218354,x,y\n",
        Fate(1, (Reason.WRONG_COLUMN_COUNT,) * 2),
    ),
    "E11 a quotation mark inside a field": (HEADER + b'u,e,1425920218354,5" pipe\n', Fate(bad=(Reason.NOT_CSV,))),
    "E11 a quotation mark never closed": (
        HEADER + b'u,e,1425920218354,"x\n' + b"u,e,1425920218354,y\n" * 3,
        Fate(3, (Reason.NOT_CSV,)),
    ),
    "E11 a line break in a field": (HEADER + b'u,e,1425920218354,"x\ny"\n', ONE),
    "E11 no header": (b"\n", Fate(blank=0)),
    "E11 semicolons": (HEADER.replace(b",", b";"), refused(FileReason.CSV_HEADER_MISSING)),
    "E11 a column named twice": (b"user_id,user_id\n", refused(FileReason.CSV_HEADER_MISSING)),
    "E12 a formula is text like any other": (HEADER + b"u,e,1425920218354,=1+1\n", ONE),
    "E12 a formula in a bad row": (HEADER + b"=cmd|' /C calc'!A0,,1425920218354,\n", Fate(bad=(Reason.MISSING_FIELD,))),
}


def found_in(stored: bytes, chunk_bytes: int, mime_type: str = NDJSON) -> Findings:
    return previewed(
        (stored[at : at + chunk_bytes] for at in range(0, len(stored), chunk_bytes)),
        Definition(mime_type=mime_type),
        1_700_000_000_000,
        tuple(SINKS.values()),
        first_rows=5,
        bad_rows=1_000,
    )


def fate(found: Findings) -> Fate:
    return Fate(
        found.tally.good,
        tuple(Reason(row.reason) for row in found.bad_rows),
        found.tally.blank,
        FileReason(found.problem.code) if found.problem else None,
    )


def plain(stored: bytes) -> bytes:
    if stored.startswith(b"\x1f\x8b"):
        return gzip.decompress(stored)
    if stored.startswith(b"\x28\xb5\x2f\xfd"):
        return zstandard.ZstdDecompressor().stream_reader(stored, read_across_frames=True).read()
    return stored


def assert_fate(stored: bytes, expected: Fate, mime_type: str = NDJSON) -> None:
    for chunk_bytes in (1 << 18, 1 << 12, 97):
        if chunk_bytes < len(stored) // 20_000:  # a million chunks tell no more than a thousand
            continue
        found = found_in(stored, chunk_bytes, mime_type)
        assert fate(found) == expected
        assert found.tally.lines == found.tally.good + found.tally.bad + found.tally.blank
        if expected.problem is None:
            text = plain(stored)
            assert [row.raw for row in found.bad_rows] == [
                text[row.offset : row.offset + len(row.raw)] for row in found.bad_rows
            ]
            assert found.read_to == len(text)
        else:
            assert len(found.problem.message.split()) > 5  # type: ignore[union-attr]


@pytest.mark.parametrize(("stored", "expected"), COMPRESSION.values(), ids=COMPRESSION.keys())
def test_compressed_file_is_whole_or_refused(stored: bytes, expected: Fate):
    """D1–D6: never a quiet end, by content whatever the name; a bomb costs time and no memory."""
    assert_fate(stored, expected)


@pytest.mark.parametrize(("stored", "expected"), LINES.values(), ids=LINES.keys())
def test_line_is_blank_good_or_bad_with_its_bytes(stored: bytes, expected: Fate):
    """E1–E10: nothing altered, nothing lost, no exception; a file of another kind is refused as a file."""
    assert_fate(stored, expected)


UNPACKED = {name: stored for name, (stored, _) in LINES.items() if not stored.startswith(b"\x1f\x8b")}


@pytest.mark.parametrize("stored", UNPACKED.values(), ids=UNPACKED.keys())
@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress], ids=["gzip", "zstd"])
def test_packing_a_file_changes_nothing_of_its_fate(stored: bytes, pack: Callable[[bytes], bytes]):
    """D5: the same rows, the same reasons at the same addresses, the same problem."""
    packed, unpacked = found_in(pack(stored), 1 << 16), found_in(stored, 1 << 16)
    assert packed.compression in ("gzip", "zstd")
    assert (fate(packed), packed.bad_rows, packed.tally) == (fate(unpacked), unpacked.bad_rows, unpacked.tally)


@pytest.mark.parametrize(("stored", "expected"), CSV.values(), ids=CSV.keys())
def test_csv_record_is_good_or_bad_with_its_bytes(stored: bytes, expected: Fate):
    """E11, E12: what other readers take for data is refused; a bad row is given back as sent, its reasons as JSON."""
    assert_fate(stored, expected, TEXT_CSV)


def test_long_line_is_described_and_not_held():
    """E8: its size, its first bytes and its hash; the bytes are copied from the source when errors/ is written."""
    line = b"x" * (lines.MAX_LINE_BYTES + 5)
    (row,) = found_in(ndjson(ROW, line, ROW), 1 << 16).bad_rows
    assert (row.offset, row.length, row.raw) == (len(ROW) + 1, len(line), line[: lines.KEPT_BYTES])


MISLABELLED: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "gzip named .json": ("imports/a.json", GZ, {}),
    "zstd named .gz": ("imports/a.json.gz", ZST, {}),
    "gzip named .zst": ("imports/a.json.zst", GZ, {}),
    "text named .gz": ("imports/a.json.gz", ROWS, {}),
    "gzip with its encoding": ("imports/a.json", GZ, {"ContentEncoding": "gzip", "ContentType": "application/json"}),
    "text that claims to be gzip": ("imports/a.json", ROWS, {"ContentEncoding": "gzip"}),
    "text that claims to be brotli": ("imports/a.json", ROWS, {"ContentEncoding": "br"}),
    "text that claims to be UTF-16": ("imports/a.json", ROWS, {"ContentType": "text/plain; charset=utf-16"}),
}


@pytest.mark.parametrize(("key", "stored", "headers"), MISLABELLED.values(), ids=MISLABELLED.keys())
def test_content_decides_whatever_name_and_headers_say(key: str, stored: bytes, headers: dict[str, str]):
    """D5: and the source is moved with the headers it came with, wrong ones too."""
    with installed() as importer:
        (execution,) = importer.deliver(importer.cloud.drop(key, stored, **headers))
        assert (execution.status, execution.outcome and execution.outcome.sums.good) == (Status.SUCCEEDED, 3)
        (moved,) = importer.cloud.objects("completed_imports/")
        assert importer.cloud.body(moved) == stored
        kept = importer.cloud.client("s3").head_object(Bucket=importer.cloud.bucket, Key=moved)
        assert {name: kept[name] for name in headers} == headers


ALL = {name: stored for name, (stored, _) in (COMPRESSION | LINES).items()}


@pytest.mark.parametrize("stored", ALL.values(), ids=ALL.keys())
def test_preview_command_shows_the_file(stored: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Exit code 0, 1 or 3, one JSON document for machines, and nothing on the screen that a terminal obeys (J8)."""
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    path = tmp_path / "strange.json"
    path.write_bytes(stored)
    for options in ([], ["--json"], ["--json", "--all"]):
        shown = CliRunner().invoke(main, ["preview", *options, str(path)])
        assert shown.exit_code in (0, 1, 3), shown.exception
        assert not [c for c in shown.output if ord(c) < 32 and c not in "\n\t\r"]
        if options:
            assert json.loads(shown.stdout)["schema"] == "preview/1"
