"""Who a row is about: a user account, an e-mail address or a user agent, and one of them only a row.

The id of a user is the account's as sent, behind `<compartment>:` where one is given; the hash of an address, or the
address where there is none; the id of an agent as sent.
"""

import re
from dataclasses import dataclass, replace
from typing import Final

from importer.bad_rows import Reason, Reject
from importer.fields import identifier_notes, is_placeholder
from importer.formats.mediarithmics.kinds import USER_ACCOUNT, USER_AGENT, USER_EMAIL, USER_POINT
from importer.formats.mediarithmics.objects import UUID, Fields, Terms
from importer.model import Row, Value

IN_COMMAND: Final = ("user_account_id", "compartment_id", "email_hash", "user_agent_id")
IN_ACTIVITY: Final = ("$user_account_id", "$compartment_id", "$email_hash", "$user_agent_id", "$user_identifiers")
AGENT: Final = re.compile(r"(?:vec|udp):[^\s:]+\Z|net:[0-9]+:\S+\Z")  # D32
DEVICE_POINT: Final = "udp:"
TYPES: Final = (USER_ACCOUNT, USER_EMAIL, USER_AGENT)
_OF_TYPE: Final = {
    USER_ACCOUNT: ("type", "user_account_id", "compartment_id"),
    USER_EMAIL: ("type", "hash", "email"),
    USER_AGENT: ("type", "user_agent_id"),
    USER_POINT: ("type", "user_point_id"),
}
_OF_ANY_TYPE: Final = tuple(dict.fromkeys(name for names in _OF_TYPE.values() for name in names))
_OF_EMAIL_HASH: Final = ("$hash", "$email")
_SHOWN: Final = 3  # of many identifiers


@dataclass(frozen=True, slots=True)
class Identifier:
    """One identifier of a row.

    Attributes:
        kind: its type, as associations and deletions say it.
        sent: what was sent of it, by the vendor's names.
        email: the address known beside the hash that is `user_id`; "" where there is none.
        notes: codes for the receipt.
    """

    kind: str
    user_id: str
    sent: Row
    email: str = ""
    notes: tuple[str, ...] = ()


def of_command(fields: Fields) -> Identifier:
    """The one identifier of a command.

    Raises:
        Reject: no_identifier, many_identifiers, wrong_type, not_allowed, placeholder_id.
    """
    found = _plain(fields, "")
    if fields.get("email_hash") is not None:
        if isinstance(fields.values["email_hash"], dict):
            raise fields.wrong("email_hash", "string", fields.values["email_hash"], "write the hash itself, as text")
        hashed = fields.text("email_hash")
        found["email_hash"] = _identifier(fields, "email_hash", USER_EMAIL, hashed, {"email_hash": hashed})
    return _only(found, fields, IN_COMMAND)


def of_activity(fields: Fields) -> Identifier:
    """The one identifier of an activity, which may stand in `$user_identifiers`, or be said twice.

    Raises:
        Reject: as `of_command`, missing_field.
    """
    found = _plain(fields, "$")
    if fields.get("$email_hash") is not None:
        if isinstance(fields.values["$email_hash"], str):
            hint = 'write it as {"$hash": "…"}, or an address as {"$email": "…"}'
            raise fields.wrong("$email_hash", "object", fields.values["$email_hash"], hint)
        inner = Fields(fields.object("$email_hash"), _OF_EMAIL_HASH, fields.terms, "$email_hash.")
        found["$email_hash"] = _email(inner, "$")
        inner.refuse_others()
    if fields.get("$user_identifiers") is not None:
        for index, element in enumerate(fields.array("$user_identifiers")):
            path = f"$user_identifiers[{index}]"
            found[path] = typed(element, path, TYPES, fields.terms)
    return _only(found, fields, IN_ACTIVITY)


def typed(element: Value, path: str, types: tuple[str, ...], terms: Terms) -> Identifier:
    """An identifier that says its type (D27), its names with `$` before each or without.

    Args:
        path: where it stands; "" for the row itself.
        types: that are allowed there.
    Raises:
        Reject: missing_field, wrong_type, not_allowed, bad_name, placeholder_id.
    """
    if not isinstance(element, dict):
        raise Fields({}, (), terms).wrong(path, "object", element)
    dollar = "$" if any(f"${name}" in element for name in _OF_ANY_TYPE) else ""
    inside = f"{path}." if path else ""
    fields = Fields(element, tuple(dollar + name for name in _OF_ANY_TYPE), terms, inside)
    kind = fields.one_of(f"{dollar}type", types)
    fields.known = tuple(dollar + name for name in _OF_TYPE[kind])
    if kind == USER_EMAIL:
        fields.text(f"{dollar}hash")  # beside it the address may be left out, not the other way round (D27)
        found = _email(fields, dollar)
    elif kind == USER_POINT:
        name = f"{dollar}user_point_id"
        point = fields.text(name)
        if not UUID.match(point):
            raise fields.not_allowed(name, "a UUID", point)
        found = Identifier(USER_POINT, point, {"user_point_id": point})
    else:
        name = f"{dollar}user_account_id" if kind == USER_ACCOUNT else f"{dollar}user_agent_id"
        fields.text(name)
        (found,) = _plain(fields, dollar).values()
    fields.refuse_others()
    return found


def _plain(fields: Fields, dollar: str) -> dict[str, Identifier]:
    """Account and agent among the fields, by name."""
    found: dict[str, Identifier] = {}
    account = fields.optional_text(f"{dollar}user_account_id") if f"{dollar}user_account_id" in fields.known else ""
    if account:
        found[f"{dollar}user_account_id"] = _account(fields, dollar, account)
    agent = fields.optional_text(f"{dollar}user_agent_id") if f"{dollar}user_agent_id" in fields.known else ""
    if agent:
        if fields.terms.strict and not AGENT.match(agent):
            raise fields.not_allowed(f"{dollar}user_agent_id", "vec:…, udp:… or net:<number>:…", agent)
        name = f"{dollar}user_agent_id"
        found[name] = _identifier(fields, name, USER_AGENT, agent, {"user_agent_id": agent})
    return found


def _account(fields: Fields, dollar: str, account: str) -> Identifier:
    """In its compartment, whose id the vendor writes as text or as a number."""
    name = f"{dollar}compartment_id"
    compartment = fields.get(name)
    if type(compartment) is int:
        compartment = str(compartment)
    if compartment is not None and not isinstance(compartment, str):
        raise fields.wrong(name, "string or whole number", compartment)
    sent: Row = {"user_account_id": account}
    if not compartment:
        return _identifier(fields, f"{dollar}user_account_id", USER_ACCOUNT, account, sent)
    sent["compartment_id"] = compartment
    found = _identifier(fields, f"{dollar}user_account_id", USER_ACCOUNT, account, sent)
    return replace(found, user_id=f"{compartment}:{account}")


def _email(fields: Fields, dollar: str) -> Identifier:
    """The hash of an address, the address, or both; one at least (D23)."""
    hashed = fields.optional_text(f"{dollar}hash")
    email = fields.optional_text(f"{dollar}email")
    if not hashed and not email:
        raise fields.missing(f"{dollar}hash", "string", f"or {dollar}email: one of the two at least")
    sent: Row = {"email_hash": hashed} if hashed else {}
    if email:
        sent["email"] = email
    name = f"{dollar}hash" if hashed else f"{dollar}email"
    linked = email if hashed and are_linked(hashed, email) else ""
    return _identifier(fields, name, USER_EMAIL, hashed or email, sent, linked)


def are_linked(hashed: str, email: str) -> bool:
    """Whether a hash and the address beside it say that both are one person: those of nobody in particular would make
    one of everybody."""
    return hashed != email and not is_placeholder(hashed) and not is_placeholder(email)


def _identifier(fields: Fields, name: str, kind: str, value: str, sent: Row, email: str = "") -> Identifier:
    """The identifier in a field of that name; noted if it stands for nobody in particular (strict: refused)."""
    notes = identifier_notes(value, fields.path + name, fields.terms.refuses_placeholders)
    return Identifier(kind, value, sent, email, notes)


def _only(found: dict[str, Identifier], fields: Fields, names: tuple[str, ...]) -> Identifier:
    """The one there is; the same said twice is one."""
    if not found:
        dollar = names[0].partition("user")[0]
        hint = fields.near(*names)
        if not hint and fields.get(f"{dollar}compartment_id") is not None:
            hint = f"{dollar}compartment_id says where an account lies: send {dollar}user_account_id beside it"
        wanted = ", ".join(name for name in names if name != f"{dollar}compartment_id")
        raise Reject(Reason.NO_IDENTIFIER, expected=f"one of {wanted}", hint=hint)
    distinct = {(identifier.kind, identifier.user_id): name for name, identifier in found.items()}
    if len(distinct) > 1:
        several = list(found)
        named = ", ".join(several[:_SHOWN]) + (f" and {len(several) - _SHOWN} more" if len(several) > _SHOWN else "")
        raise Reject(
            Reason.MANY_IDENTIFIERS,
            expected="one identifier a row",
            found=named,
            hint=f"keep one of {named}; that they are one person is said by a row of "
            "USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS",
        )
    return max(found.values(), key=lambda identifier: len(identifier.sent))
