"""Who may do what through the HTTP door: tokens, and the rights they grant. Pure; where they are kept is a port.

A token is `<id>.<secret>`: 64 bits to find it by, which are no secret, and 256 bits of chance. Only a salted hash of
the secret is kept, beside what the token may do. Rule: a fast hash is enough, because nobody can try 2²⁵⁶ secrets;
slow ones (scrypt, argon2) are for secrets that people choose, and here would be work that a stranger can ask for.

Whatever is wrong with a token, the answer is the same, and each way to it computes one hash and compares it whole: an
id that is not there is compared with a token that nobody holds. Given up: a token that ran out is not told from a
wrong one.
"""

import binascii
import hmac
import json
import re
import secrets
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Self

from importer.model import Misconfigured, Value

EVERY_IMPORT: Final = "*"
SCHEMA: Final = "token/1"

SECRET_BYTES: Final = 32
_ID_BYTES: Final = 8
_SALT_BYTES: Final = 16
LONGEST_NAME: Final = 100
LONGEST_TEXT: Final = 4096  # Quota: of a standard parameter (docs.aws.amazon.com/general/latest/gr/ssm.html)

TOKEN_ID: Final = re.compile(r"[0-9a-f]{16}")
_TOKEN: Final = re.compile(rf"({TOKEN_ID.pattern})[.]([A-Za-z0-9_-]{{43}})")
_LONGEST_HEADER: Final = 256  # characters; the longest good one has 92
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class Right(StrEnum):
    """What a token may do with an import. None contains another, but for admin, which contains both.

    So whoever only sends (a tracker in an app that strangers take apart) can be kept from reading.
    """

    READ = "read"  # its definition, its executions, their receipts and bad rows
    WRITE = "write"  # files and rows into it; cancelling its executions
    ADMIN = "admin"  # read and write; creating, changing and deleting its definition


Scopes = Mapping[str, frozenset[Right]]  # by import id, or EVERY_IMPORT


@dataclass(frozen=True, slots=True)
class Grant:
    """What the holder of a token may do. Holds nothing secret."""

    token_id: str
    name: str
    scopes: Scopes

    def may(self, right: Right | str, import_id: str) -> bool:
        """Whether it has a right to an import.

        Args:
            right: raises ValueError for one there is not, so that a route's slip cannot open a door.
            import_id: "default" for what no definition is for; EVERY_IMPORT for what is of no single import, such as
                making one whose id is yet to be found.
        """
        wanted = Right(right)
        held = self.scopes.get(EVERY_IMPORT, frozenset()) | self.scopes.get(import_id, frozenset())
        return wanted in held or Right.ADMIN in held

    def may_anywhere(self, right: Right | str) -> bool:
        """Whether it has a right to any import at all: what a listing asks, which then leaves out the others."""
        return any(self.may(right, import_id) for import_id in self.scopes)


@dataclass(frozen=True, slots=True)
class StoredToken:
    """A token as it is kept: all but its secret.

    Attributes:
        expires_ms: from then on it grants nothing; None is never.
        digest: of salt and secret.
    Raises:
        Misconfigured: no token can be like this; says why.
    """

    token_id: str
    name: str
    scopes: Scopes
    created_ms: int
    expires_ms: int | None
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not TOKEN_ID.fullmatch(self.token_id):
            raise Misconfigured("a token's id is 16 hexadecimal digits")
        if not 1 <= len(self.name) <= LONGEST_NAME or _CONTROL.search(self.name):
            raise Misconfigured(f"a token's name is 1 to {LONGEST_NAME} characters without controls")
        if not self.scopes or not all(self.scopes.values()):
            raise Misconfigured("a token without rights is good for nothing: give it read, write or admin of an import")
        if (size := len(self.text())) > LONGEST_TEXT:
            raise Misconfigured(
                f"the token has {len(self.scopes)} imports, which take {size:,} bytes; {LONGEST_TEXT:,} can be kept: "
                f"give it rights to every import ({EVERY_IMPORT}), or make several tokens"
            )

    def is_over(self, now_ms: int) -> bool:
        return self.expires_ms is not None and self.expires_ms <= now_ms

    def grant(self) -> Grant:
        return Grant(self.token_id, self.name, self.scopes)

    def document(self) -> dict[str, Value]:
        """As people and programs see it."""
        return {
            "id": self.token_id,
            "name": self.name,
            "scopes": {import_id: [*in_order(rights)] for import_id, rights in sorted(self.scopes.items())},
            "created_ms": self.created_ms,
            "expires_ms": self.expires_ms,
        }

    def text(self) -> str:
        """As it is kept: JSON in ASCII, of which SSM takes every character but `{{`."""
        kept = {"schema": SCHEMA, **self.document(), "salt": self.salt.hex(), "digest": self.digest.hex()}
        # JSON has `{{` only inside a text, where a character may be written as its number.
        return json.dumps(kept, separators=(",", ":")).replace("{{", "{\\u007b")

    @classmethod
    def of(cls, token_id: str, text: str) -> Self:
        """Raises Misconfigured for what `text` does not give; it quotes nothing."""
        try:
            kept: Any = json.loads(text)
            if kept["schema"] != SCHEMA or kept["id"] != token_id:
                raise ValueError
            token = cls(
                token_id,
                kept["name"],
                {import_id: frozenset(map(Right, rights)) for import_id, rights in kept["scopes"].items()},
                kept["created_ms"],
                kept["expires_ms"],
                bytes.fromhex(kept["salt"]),
                bytes.fromhex(kept["digest"]),
            )
            if type(token.created_ms) is not int or type(token.expires_ms) not in (int, type(None)):
                raise ValueError
            if (len(token.salt), len(token.digest)) != (_SALT_BYTES, SECRET_BYTES):
                raise ValueError
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
            raise Misconfigured(
                f"what is kept as token {token_id} is no {SCHEMA}: revoke it, and create another"
            ) from None
        return token


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token just made. The only time its secret is known.

    Attributes:
        text: what its holder sends.
    """

    stored: StoredToken
    text: str = field(repr=False)


def new_token(
    name: str,
    scopes: Mapping[str, Iterable[Right]],
    now_ms: int,
    expires_ms: int | None,
    chance: Callable[[int], bytes] = secrets.token_bytes,
) -> NewToken:
    """A token nobody has had before.

    Args:
        chance: so many bytes that nobody can foresee.
    Raises:
        Misconfigured: there can be no such token; says why.
    """
    token_id, salt = chance(_ID_BYTES).hex(), chance(_SALT_BYTES)
    secret = urlsafe_b64encode(chance(SECRET_BYTES)).rstrip(b"=").decode()
    rights = {import_id: frozenset(given) for import_id, given in scopes.items()}
    stored = StoredToken(token_id, name, rights, now_ms, expires_ms, salt, _digest(salt, secret))
    return NewToken(stored, f"{token_id}.{secret}")


def granted(authorization: str | None, kept: Callable[[str], str | None], now_ms: int) -> Grant | None:
    """What the sender of an Authorization header may do; None where there is no good token in it, for whatever reason.

    Args:
        authorization: a token as it is, after `Bearer`, or as `Basic` with the token's id for the user's name and its
            secret for the password. Any text; None where there is no such header.
        kept: the text of the token with this id (16 hexadecimal digits, nothing else is asked for); None if there is
            none.
    Raises:
        Misconfigured: what is kept is no token.
        Unavailable: `kept` cannot say.
    """
    found = _TOKEN.fullmatch(_credentials(authorization or ""))
    token_id, secret = found.groups() if found else ("", "")
    text = kept(token_id) if found else None
    token = _NOBODY if text is None else StoredToken.of(token_id, text)
    is_same = hmac.compare_digest(_digest(token.salt, secret), token.digest)
    return None if not is_same or text is None or token.is_over(now_ms) else token.grant()


def in_order(rights: Iterable[Right]) -> list[Right]:
    """From the least to the most."""
    held = set(rights)
    return [right for right in Right if right in held]


def _credentials(authorization: str) -> str:
    """A header's token as `<id>.<secret>`; any other text where it has none."""
    if len(authorization) > _LONGEST_HEADER:
        return ""
    scheme, blank, rest = authorization.strip(" \t").partition(" ")
    match scheme.lower() if blank else "":
        case "bearer":
            return rest.strip(" \t")
        case "basic":
            try:
                user, colon, password = b64decode(rest.strip(" \t"), validate=True).decode("ascii").partition(":")
            except (binascii.Error, ValueError):  # of other alphabets, UnicodeDecodeError among them
                return ""
            return f"{user}.{password}" if colon else ""
        case _:
            return authorization.strip(" \t")


def _digest(salt: bytes, secret: str) -> bytes:
    return hmac.digest(salt, secret.encode(), "sha256")


# What unknown ids are compared with: of a secret that was thrown away.
_NOBODY: Final = new_token("nobody", {EVERY_IMPORT: [Right.READ]}, 0, 0).stored
