"""The files the fault tests drop: small, and each awkward in its own way.

No row here is one whose fate the documents leave open: the oracle must be able to say what becomes of it.
"""

import gzip

import zstandard


def row(number: int, **more: object) -> bytes:
    """A good row, different from every other number's."""
    extra = "".join(f',"{name}":{_json(value)}' for name, value in more.items())
    return b'{"user_id":"user-%d","event_time_ts":"2012-10-15 04:%02d:%02d","event_name":"login","ip":"","n":%d%s}' % (
        number % 5,
        number // 60 % 60,
        number % 60,
        number,
        extra.encode(),
    )


def _json(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


VENDOR_ROWS = (
    b'{"user_id": "PU4U","age":21, "event_time_ts":"2012-10-15 04:06:30", "event_name":"login","ip":""}\n'
    b'{"user_id": "PU4U","age":21, "event_timestamp":"2012-10-15 04:06:35", "event_name":"refresh","ip":""}\n'
    b'{"user_id": "PU4U","age":21, "event_time_ts":"2012-10-15 04:06:40", "event_name":"additem","ip":""}\n'
    b'{"user_id": "PU4U","age":21, "event_time_ts":"2012-10-15 04:06:45", "event_name":"payment","qty":"1"}\n'
)
_BAD = (
    b'{"user_id":"u"',
    b'{"user_id":7,"event_name":"a","event_time_ts":1425920218354}',
    b"[1]",
    b'{"a":\xff}',
    b"NaN",
)


def _medium(line_end: bytes) -> bytes:
    """30 rows in about eight cells: good, bad, blank, repeated, with user properties; the last has no line end."""
    lines = []
    for number in range(30):
        if number % 7 == 3:
            lines.append(_BAD[number // 7 % len(_BAD)])
        elif number % 11 == 5:
            lines.append(b"")
        elif number % 5 == 0:
            lines.append(row(number, **{"{u}city": f"city-{number}", "filler": "x" * 150}))
        else:
            lines.append(row(number - 1 if number % 13 == 12 else number, filler="y" * 120))
    return line_end.join(lines)


def _long(line_end: bytes) -> bytes:
    """Two lines over the limit among others, one of them the last and without a line end."""
    long = row(7, filler="z" * 5000)
    return line_end.join([row(1), long, row(2), b"not json", row(3, filler="y" * 900), long[:-1], row(4), long])


def _table(line_end: bytes) -> bytes:
    """A CSV: fields with line breaks, rows of another width, a mark never closed, a blank line, a line too long."""
    rows = [b"user_id,event_name,event_time_ts,n,note,{u}city"]
    for number in range(24):
        note = [b"", b"plain", b'"two\nlines ""quoted"""', b'"never closed', b'in"side', b"x" * 120][number % 6]
        time = b"2012-10-15 04:06:%02d" % number if number != 13 else b"yesterday"
        city = b"city-%d" % number if number % 4 == 0 else b""
        more = b",one too many" if number == 10 else b""
        rows.append(b"user-%d,login,%s,%d,%s,%s%s" % (number % 5, time, number, note, city, more))
        if number == 7:
            rows += [b"", b"u,login,2012-10-15 04:06:30,1," + b"w" * 3000 + b","]
    return line_end.join(rows) + line_end


FILES: dict[str, tuple[str, bytes]] = {
    "vendor's sample": ("imports/logins.json", VENDOR_ROWS),
    "medium": ("imports/medium.ndjson", _medium(b"\n")),
    "CRLF": ("imports/sub folder/crlf.json", _medium(b"\r\n")),
    "gzip of two members": (
        "imports/two.json.gz",
        gzip.compress(_medium(b"\n")[:2000], mtime=0) + gzip.compress(_medium(b"\n")[2000:], mtime=0),
    ),
    "empty": ("imports/empty.json", b""),
    "long lines": ("imports/long.json", _long(b"\n")),
    "long lines, gzip": ("imports/long_crlf.json.gz", gzip.compress(_long(b"\r\n"), mtime=0)),
    "CSV": ("imports/tables/people.csv", _table(b"\n")),
    "CSV, gzip": ("imports/tables/people.csv.gz", gzip.compress(_table(b"\r\n"), mtime=0)),
    "all bad": ("imports/bad.json", b"\n".join(_BAD * 30)),
    "zstd": (
        "imports/packed.json.zst",
        b"".join(map(zstandard.compress, (_medium(b"\n")[:3000], _medium(b"\n")[3000:]))),
    ),
}
"""Key and bytes by name."""


def small_file(number: int) -> tuple[str, bytes]:
    """Four rows, one of them bad: another file beside the one that is in trouble."""
    rows = [row(1000 + 10 * number + n) for n in range(3)]
    return f"imports/other-{number}.json", b"\n".join([*rows[:2], b"no row", rows[2]]) + b"\n"


def many_rows(count: int, line_end: bytes = b"\n") -> bytes:
    """About 150 bytes a row; every ninth is bad, every eleventh blank, and rows cross every border there may be."""
    lines = []
    for number in range(count):
        if number % 9 == 4:
            lines.append(_BAD[number // 9 % len(_BAD)])
        elif number % 11 == 7:
            lines.append(b"")
        else:
            more = {"{u}city": f"city-{number}"} if number % 6 == 0 else {}
            lines.append(row(number, filler="z" * (number * 7 % 90), **more))
    return line_end.join(lines) + line_end
