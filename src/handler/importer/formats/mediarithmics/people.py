"""Which identifiers are one person (D27, D31), and which are to be forgotten (D28–D30).

An association links each of its identifiers with each other one, so that any of them can be taken apart again by the
row that named them, in whatever order. How the vendor writes a dissociation is not described; here its row is the
association's, and takes away the links that one would have made.
"""

from dataclasses import replace
from itertools import combinations
from typing import Final

from importer import users
from importer.bad_rows import Reason, Reject
from importer.formats.mediarithmics import identifiers
from importer.formats.mediarithmics.activities import link
from importer.formats.mediarithmics.identifiers import Identifier
from importer.formats.mediarithmics.kinds import USER_AGENT, USER_POINT
from importer.formats.mediarithmics.objects import Changes, Fields, Terms
from importer.formats.reading import Reading
from importer.model import Row

MOST_IDENTIFIERS: Final = 50  # of a row; each is linked with each other one, so these make 2,450 records


def association(row: Row, text: bytes, address: int, terms: Terms) -> Reading:
    """All identifiers of the row are one person's. One that stands for nobody in particular would make one person of
    everybody: that is refused without strict too."""
    found = _identifiers(row, replace(terms, refuses_placeholders=True))
    changes = Changes(address)
    for one, other in combinations(_user_ids(found), 2):
        changes.add(one, users.LINK + other, True)
        changes.add(other, users.LINK + one, True)
    for identifier in found:
        if identifier.email:
            link(changes, identifier)
    if not changes.made:
        raise _too_few("an association says that two or more are one person")
    return Reading([], changes.made, _notes(found))


def dissociation(row: Row, text: bytes, address: int, terms: Terms) -> Reading:
    """The identifiers of the row are not one person's. An address and its hash stay together: they are one."""
    found = _identifiers(row, terms)
    changes = Changes(address)
    for one, other in combinations(_user_ids(found), 2):
        changes.add(one, users.LINK + other, deleted=True)
        changes.add(other, users.LINK + one, deleted=True)
    if not changes.made:
        raise _too_few("a dissociation says that two or more are not one person")
    return Reading([], changes.made, _notes(found))


def identifier_deletion(row: Row, text: bytes, address: int, terms: Terms) -> Reading:
    """The identifier no longer leads to its person, who stays: all its links so far are cut."""
    found = identifiers.typed(row, "", identifiers.TYPES, terms)
    if found.kind == USER_AGENT and found.user_id.startswith(identifiers.DEVICE_POINT):
        raise Fields(row, (), terms).not_allowed(
            "user_agent_id",
            "an agent that is no device point",
            found.user_id,
            "a device point is deleted under document_type USER_DEVICE_POINT_DELETION",
        )
    changes = Changes(address)
    changes.add(found.user_id, users.LINK, deleted=True)
    return Reading([], changes.made, found.notes)


def person_deletion(row: Row, text: bytes, address: int, terms: Terms) -> Reading:
    """The person is erased, with all identifiers."""
    return _erasure(identifiers.typed(row, "", (*identifiers.TYPES, USER_POINT), terms), users.PERSON, address)


def device_deletion(row: Row, text: bytes, address: int, terms: Terms) -> Reading:
    """The device is erased, its person stays."""
    found = identifiers.typed(row, "", (USER_AGENT,), terms)
    if not found.user_id.startswith(("vec:", identifiers.DEVICE_POINT)):
        raise Fields(row, (), terms).not_allowed("user_agent_id", "vec:… or udp:…", found.user_id)
    return _erasure(found, users.DEVICE, address)


def _erasure(found: Identifier, scope: str, address: int) -> Reading:
    changes = Changes(address)
    changes.add(found.user_id, users.ERASED, {users.SCOPE: scope})
    return Reading([], changes.made, found.notes)


def _identifiers(row: Row, terms: Terms) -> list[Identifier]:
    fields = Fields(row, ("identifiers",), terms)
    listed = fields.array("identifiers")
    if len(listed) > MOST_IDENTIFIERS:
        raise Reject(
            Reason.TOO_MANY_PROPERTIES,
            field="identifiers",
            expected=f"at most {MOST_IDENTIFIERS} identifiers",
            found=f"{len(listed)}",
            hint="send them in several rows that have one of them in common",
        )
    found = [
        identifiers.typed(element, f"identifiers[{index}]", identifiers.TYPES, terms)
        for index, element in enumerate(listed)
    ]
    fields.refuse_others()
    return found


def _user_ids(found: list[Identifier]) -> list[str]:
    """Each once."""
    return list(dict.fromkeys(identifier.user_id for identifier in found))


def _notes(found: list[Identifier]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(note for identifier in found for note in identifier.notes))


def _too_few(hint: str) -> Reject:
    return Reject(
        Reason.NOTHING_TO_RECORD, field="identifiers", expected="at least two different identifiers", hint=hint
    )
