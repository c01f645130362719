"""Bytes that are not UTF-8 → the characters they were meant as, where that can be told."""

import re
from collections.abc import Iterator
from typing import Final

from importer.bad_rows import Reason
from importer.repairs.rules import Rule, Step

_UNDEFINED: Final = frozenset(b"\x81\x8d\x8f\x90\x9d")  # in Windows-1252
_PAIR: Final = re.compile(rb"\xed[\xa0-\xaf][\x80-\xbf]\xed[\xb0-\xbf][\x80-\xbf]")


def decoded(text: bytes, reason: str) -> Iterator[tuple[str, Step | None]]:
    """A row's characters, with the step that it took to have them; nothing where nobody can tell."""
    if reason != Reason.NOT_UTF8 and b"\0" not in text:
        yield text.decode(), None
        return
    wide = _utf_16(text)
    if wide is not None:
        yield wide, Step(Rule.UTF_16, "every other byte is 0: the row is UTF-16", True)
        return
    try:
        yield text.decode(), None  # what is not UTF-8 stands in its escapes
        return
    except UnicodeDecodeError:
        pass
    paired = _PAIR.sub(_one_character, text)
    if paired != text:
        why = "a character of four bytes was written as two halves (CESU-8)"
        try:
            yield paired.decode(), Step(Rule.SURROGATES, why, True)
            return
        except UnicodeDecodeError:
            text = paired
    single = _single_bytes(text)
    if single is not None:
        yield single, Step(Rule.WINDOWS_1252, "bytes that are not UTF-8, read as Windows-1252 (Latin-1)", False)


def _one_character(found: "re.Match[bytes]") -> bytes:
    halves = found.group().decode("utf-8", "surrogatepass")
    return halves.encode("utf-16", "surrogatepass").decode("utf-16").encode()


def _utf_16(text: bytes) -> str | None:
    """A line of UTF-16, cut at the byte 10: at its begin or its end half a line break may be left."""
    body = text.removeprefix(b"\xff\xfe").removeprefix(b"\xfe\xff")
    for encoding, whole in (("utf-16-le", body.removeprefix(b"\0")), ("utf-16-be", body)):
        half = whole.removesuffix(b"\r") if encoding == "utf-16-le" else whole.removesuffix(b"\0").removesuffix(b"\0\r")
        if len(half) < 4 or len(half) % 2:
            continue
        nuls = half[1::2] if encoding == "utf-16-le" else half[::2]
        if 2 * nuls.count(0) < len(nuls):
            continue
        try:
            found = half.decode(encoding).removesuffix("\r")
        except UnicodeDecodeError:
            continue
        if "\0" not in found:
            return found
    return None


def _single_bytes(text: bytes) -> str | None:
    """What is UTF-8 as it is, each other byte by Windows-1252; None where such a byte has no character there."""
    escaped = text.decode("utf-8", "surrogateescape")  # such a byte becomes U+DC80 … U+DCFF
    pieces: list[str] = []
    for character in escaped:
        byte = ord(character) - 0xDC00
        if not 0x80 <= byte <= 0xFF:
            pieces.append(character)
        elif byte in _UNDEFINED:
            return None
        else:
            pieces.append(bytes([byte]).decode("cp1252"))
    return "".join(pieces)
