"""4 · Line → row: NDJSON.

Rule: orjson reads the row, and it is taken if orjson read it *exactly*. It keeps the last of two equal keys, makes
doubles of integers beyond 64 bits and of long decimals, and zero of 1e-400 (E2–E4). Writing the row again is the
cheapest proof: the same bytes hold each key once and each number as it was kept. Where the sender writes JSON another
way (blanks, escapes, 1.50), quotes and digits are counted; a row that may not have been read exactly, or that orjson
refuses, goes to `exact_json`, which decides. "Unaltered" means numerically equal.
"""

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Final

import orjson

from importer import exact_json
from importer.bad_rows import Reason, Reject
from importer.fields import json_type
from importer.model import Row, Value

# Every digit and the point become "0", all else a blank: a number of 16 or more significant digits shows as a run.
_DIGITS: Final = bytes(ord("0") if chr(i) in "0123456789." else 32 for i in range(256))
_LONG_RUN: Final = b"0" * 16
# In a row without arrays each number follows a colon; a false hit, in a string, only costs time.
_LONG_NUMBER: Final = re.compile(rb":[ \t\r]*(-?[0-9][0-9.]{14,}(?:[eE][-+]?[0-9]+)?)")
_INT64_MIN: Final = -(2**63)
_UINT64_MAX: Final = 2**64 - 1


def row_of(text: bytes) -> Row:
    """The row in a line's text (no line end, no byte order mark).

    Raises:
        Reject: not_utf8, not_json, not_an_object, duplicate_key, too_deep, number_out_of_range.
    """
    try:
        row = orjson.loads(text)
        if type(row) is not dict:
            return _object(row)
        if orjson.dumps(row) == text:
            return row
    except orjson.JSONDecodeError:
        return _object(exact_json.parse(text))
    except orjson.JSONEncodeError:  # it writes fewer levels than it reads
        pass
    return row if is_exact(row, text) else _object(exact_json.parse(text))


def is_exact(row: Row, text: bytes) -> bool:
    """Whether the fast parser surely read all there is in a row, as it is."""
    values: Iterable[Value] = row.values()
    keys = len(row)
    types = list(map(type, values))
    if dict in types or list in types:
        values = list(_values_of(row))
        keys += sum(len(value) for value in values if type(value) is dict)
        types = list(map(type, values))
    # Two quotes stand around each key and each string, and escaped ones within. A key that stood twice is there once:
    # its other quotes are too many. Backslashes are escaped in pairs, from the left.
    quotes = text.count(b'"')
    if b"\\" in text:
        quotes -= text.replace(b"\\\\", b"").count(b'\\"')
    if quotes != 2 * (keys + types.count(str)):
        return False
    if float not in types:  # whole numbers of up to 64 bits are exact
        return True
    # Up to 15 digits survive a double, but for those that are too small for it.
    tiny = [value for value in values if type(value) is float and -1e-130 < value < 1e-130]
    if tiny and (b"e-" in text or b"E-" in text):
        return False
    if b"[" in text:  # numbers without a colon before them
        return _LONG_RUN not in text.translate(_DIGITS)
    return all(map(_kept_exactly, _LONG_NUMBER.findall(text)))


def _values_of(row: Row) -> Iterator[Value]:
    """Every value in a row, however deep; a list as a stack, since rows may nest a thousand times."""
    todo: list[Value] = [row]
    while todo:
        value = todo.pop()
        inner = value.values() if type(value) is dict else value if type(value) is list else ()
        for member in inner:
            yield member
            if type(member) is dict or type(member) is list:
                todo.append(member)


def _object(value: Value) -> Row:
    if not isinstance(value, dict):
        raise Reject(Reason.NOT_AN_OBJECT, expected="an object in { }", found=json_type(value))
    return value


def _kept_exactly(token: bytes) -> bool:
    """Whether the fast parser's value for a number of many digits equals what was sent."""
    if b"." not in token and b"e" not in token and b"E" not in token:
        return _INT64_MIN <= int(token) <= _UINT64_MAX if len(token) < 24 else False
    try:
        written = repr(float(token))
        return written.encode() == token or Decimal(written) == Decimal(token.decode())
    except (ArithmeticError, ValueError):  # not a number after all, or an exponent beyond Decimal: the exact path says
        return False
