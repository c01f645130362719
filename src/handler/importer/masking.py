"""Rows shown to somebody who must see what is wrong with them, and may not see whom they are about (pure).

Rule: every letter becomes x and every digit 9, one for one, so lengths, quotation marks, brackets, signs and line ends
stay; a character that cannot be printed is escaped first. What stays readable is our own vocabulary: property names of
the dialects, names the caller says are no secret, and the words of JSON (with NaN and Infinity, which are mistakes).
It works on bytes that are no JSON just as well, since rows that need showing mostly are none. Given up: names of
properties that are the sender's own. They may be anything, an address too.
"""

import re
from collections.abc import Collection
from typing import Final

LONGEST_SAMPLE: Final = 400  # characters: most rows whole, and no mail of a screenful

# Property names the dialects are made of: formats/ and docs/formats/ have what each means.
DIALECT_NAMES: Final = frozenset(
    " ".join(
        (
            "event_name event_time_ts user_id event_id session_id customer_user_id session_dua session_ip",
            "_p _p2 _n _t _d",
            "visitor actions visits name time id email properties system title url ip browser os country city",
            "$type $events $ts $session_status $event_name $properties $user_account_id $compartment_id",
            "$user_agent_id $email_hash $email $user_identifiers $site_id $app_id $location operation identifiers",
            "user_profile user_segment user_choice compartment_id user_account_id user_agent_id email_hash hash type",
            "segment_id segment_technical_name audience_segment_id force_replace update_strategy merge_objects",
            "userId anonymousId messageId event traits context timestamp sentAt originalTimestamp receivedAt",
            "groupId previousId category channel integrations",
        )
    ).split()
)

_NAME = re.compile(r'"((?:[^"\\]|\\.){1,80})"(?=\s*:)')
_WORDS = re.compile(r"(?<![\w\"'])(?:true|false|null|-?Infinity|NaN|None|True|False)(?![\w\"'])")


def masked(text: str) -> str:
    """Every letter an x, every digit a 9."""
    return "".join("9" if c.isdigit() or c.isnumeric() else "x" if c.isalpha() or ord(c) > 127 else c for c in text)


def masked_row(raw: bytes, names: Collection[str] = ()) -> str:
    """A row in one line, its values masked.

    Args:
        raw: of a row, or the begin of one; with or without its line end.
        names: properties, beside those of the dialects, that may be read.
    """
    text = raw[: 4 * LONGEST_SAMPLE + 4].decode("utf-8", "replace").removesuffix("\n").removesuffix("\r")
    kept = DIALECT_NAMES.union(names)
    pieces: list[str] = []
    at = 0
    for start, stop in _readable(text, kept):
        pieces += (_told(text[at:start]), text[start:stop])
        at = stop
    pieces.append(_told(text[at:]))
    shown = "".join(pieces)
    return shown if len(shown) <= LONGEST_SAMPLE else shown[: LONGEST_SAMPLE - 1] + "…"


def _readable(text: str, names: Collection[str]) -> list[tuple[int, int]]:
    """[start, stop) of what stays as it is, in order."""
    found = [match.span(1) for match in _NAME.finditer(text) if match[1] in names]
    found += [match.span() for match in _WORDS.finditer(text)]
    return sorted(found)


def _told(text: str) -> str:
    printable = masked(text)
    if printable.isprintable():
        return printable
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in printable)
