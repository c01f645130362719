"""What is known of a person, as records that may arrive in any order.

A record is one fact of one identifier, and the highest rank wins it:

    prop#<path>      a property; `prop#` is the whole profile
    segment#<id>     membership in a segment
    consent#<path>   a consent, by the id of the processing it is for
    link#<other>     this identifier and the other are one person; it stands at both. `link#` is all links so far
    erased           the person, or this identifier alone, was erased: what was uploaded before is gone for good

A path is the name of a property, or names one inside the other as in a JSON Pointer without its first slash
(RFC 6901, section 3): `a/b` is b in a; in a name, `~` is written `~0` and `/` is `~1`.
"""

from typing import Final

PROPERTY: Final = "prop#"
SEGMENT: Final = "segment#"
CONSENT: Final = "consent#"
LINK: Final = "link#"
ERASED: Final = "erased"
# In the value of `erased`: whether all identifiers of the person are meant, or this one alone.
SCOPE: Final = "scope"
PERSON: Final = "person"
DEVICE: Final = "device"


def property_record(*path: str) -> str:
    """The record of a property; without a name, of the whole profile."""
    return PROPERTY + _pointer(path)


def consent_record(*path: str) -> str:
    """The record of a consent, by the id of its processing; or of a value in it."""
    return CONSENT + _pointer(path)


def path_of(record: str) -> tuple[str, ...]:
    """The path of a property or a consent: names from the outermost to the innermost."""
    pointer = record.partition("#")[2]
    if not pointer:
        return ()
    return tuple(name.replace("~1", "/").replace("~0", "~") for name in pointer.split("/"))


def _pointer(path: tuple[str, ...]) -> str:
    return "/".join(name.replace("~", "~0").replace("/", "~1") for name in path)
