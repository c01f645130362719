"""doors.tokens: who may do what, and that nothing a stranger sends opens a door or breaks one."""

import json
import re
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer.doors import tokens
from importer.doors.tokens import EVERY_IMPORT, Grant, NewToken, Right, StoredToken, granted, new_token
from importer.model import Misconfigured
from tests.support.scenarios import examples

NOW = 1_763_712_000_000
NEVER = None
SCOPES = {"shop": [Right.WRITE], EVERY_IMPORT: [Right.READ]}


def made(expires_ms: int | None = NEVER) -> NewToken:
    return new_token("the shop's server", SCOPES, NOW, expires_ms)


TOKEN = made()
GRANT = Grant(
    TOKEN.stored.token_id,
    "the shop's server",
    {"shop": frozenset({Right.WRITE}), EVERY_IMPORT: frozenset({Right.READ})},
)


def keeping(*kept: NewToken) -> Callable[[str], str | None]:
    return {token.stored.token_id: token.stored.text() for token in kept}.get


def basic(text: str, scheme: str = "Basic") -> str:
    return f"{scheme} {b64encode(text.encode()).decode()}"


# ---- What is accepted ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        TOKEN.text,
        f"Bearer {TOKEN.text}",
        f"bearer {TOKEN.text}",
        f"BEARER   {TOKEN.text} ",
        f" \t{TOKEN.text}\t",
        basic(TOKEN.text.replace(".", ":")),
        basic(TOKEN.text.replace(".", ":"), "basic"),
    ],
    ids=lambda _: "header",
)
def test_a_token_is_taken_bare_as_bearer_and_as_basic(header: str) -> None:
    """mediarithmics' curl lines send it bare, Woopra's as user and password."""
    assert granted(header, keeping(TOKEN), NOW) == GRANT


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Token {TOKEN.text}",
        f"Bearer{TOKEN.text}",
        f"Bearer {TOKEN.text} {TOKEN.text}",
        f"{TOKEN.text},{TOKEN.text}",
        f"{TOKEN.text}\n",
        TOKEN.text.replace(".", ":"),
        TOKEN.text[:-1],
        f"{TOKEN.text}A",
        TOKEN.text.upper(),
        TOKEN.stored.token_id,
        f"{TOKEN.stored.token_id}.",
        basic(TOKEN.text),
        basic(f"{TOKEN.text}:"),
        basic(TOKEN.text.replace(".", ":")).rstrip("=")[:-1],
        f"Basic {TOKEN.text}",
        "Basic ====",
        "Basic \xff\xfe",
        f"Bearer {TOKEN.text}{' ' * 200}",
    ],
    ids=lambda _: "header",  # tokens are chance, and all workers must collect the same
)
def test_whatever_else_a_header_says_grants_nothing(header: str | None) -> None:
    assert granted(header, keeping(TOKEN), NOW) is None


@given(st.text(max_size=400) | st.binary(max_size=200).map(lambda raw: basic(raw.decode("latin-1"))))
def test_no_header_makes_it_raise(header: str) -> None:
    for text in (header, f"Bearer {header}", f"Basic {header}", header + TOKEN.text):
        assert granted(text, keeping(TOKEN), NOW) in (None, GRANT)


@given(st.integers(0, len(TOKEN.text) - 1), st.sampled_from("0aAzZ9._-:é "))
def test_a_token_with_one_character_changed_grants_nothing(index: int, character: str) -> None:
    changed = TOKEN.text[:index] + character + TOKEN.text[index + 1 :]
    assert granted(changed, keeping(TOKEN), NOW) == (GRANT if changed == TOKEN.text else None)


def test_the_secret_of_one_token_is_none_for_another() -> None:
    other = made()
    mixed = f"{TOKEN.stored.token_id}.{other.text.partition('.')[2]}"
    assert granted(mixed, keeping(TOKEN, other), NOW) is None


def test_only_what_can_be_an_id_is_looked_up() -> None:
    """A stranger's text must not become the name of a parameter, nor a call to AWS."""
    asked: list[str] = []

    def kept(token_id: str) -> None:
        asked.append(token_id)

    for header in ("x", "../../secret.y", f"{'g' * 16}.{'a' * 43}", f"{'a' * 16}.{'a' * 42}", f"{'a' * 16}.{'a' * 43}"):
        granted(header, kept, NOW)
    assert asked == ["a" * 16]


# ---- What a token is good for --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scopes", "may"),
    [
        ({"shop": [Right.READ]}, {("read", "shop")}),
        ({"shop": [Right.WRITE]}, {("write", "shop")}),
        ({"shop": [Right.ADMIN]}, {("read", "shop"), ("write", "shop"), ("admin", "shop")}),
        ({EVERY_IMPORT: [Right.READ]}, {("read", "shop"), ("read", "app"), ("read", "*")}),
        (
            {EVERY_IMPORT: [Right.READ], "shop": [Right.WRITE]},
            {("read", "shop"), ("read", "app"), ("read", "*"), ("write", "shop")},
        ),
        (
            {EVERY_IMPORT: [Right.ADMIN]},
            {(right, import_id) for right in ("read", "write", "admin") for import_id in ("shop", "app", "*")},
        ),
    ],
)
def test_rights_hold_for_the_import_they_were_given_for(
    scopes: dict[str, list[Right]], may: set[tuple[str, str]]
) -> None:
    grant = new_token("x", scopes, NOW, NEVER).stored.grant()
    asked = {(right, import_id) for right in ("read", "write", "admin") for import_id in ("shop", "app", "*")}
    assert {(right, import_id) for right, import_id in asked if grant.may(right, import_id)} == may
    assert {right for right in Right if grant.may_anywhere(right)} == {Right(right) for right, _ in may}


def test_a_right_there_is_not_is_a_slip_and_loud() -> None:
    with pytest.raises(ValueError, match="reed"):
        GRANT.may("reed", "shop")


@pytest.mark.parametrize(("later_ms", "is_good"), [(-1, True), (0, False), (1, False)])
def test_a_token_ends_when_it_expires(later_ms: int, is_good: bool) -> None:
    expiring = made(NOW + 60_000)
    assert (granted(expiring.text, keeping(expiring), NOW + 60_000 + later_ms) is not None) is is_good


# ---- What is kept --------------------------------------------------------------------------------------------------

names = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=100)
scopes_of = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=20),
    st.sets(st.sampled_from(Right), min_size=1),
    min_size=1,
    max_size=8,
)


@given(names, scopes_of, st.none() | st.integers(NOW, NOW * 2))
def test_what_is_kept_is_read_back_whole(name: str, scopes: dict[str, set[Right]], expires_ms: int | None) -> None:
    token = new_token(name, scopes, NOW, expires_ms)
    text = token.stored.text()
    assert StoredToken.of(token.stored.token_id, text) == token.stored
    assert text.isascii()
    assert "{{" not in text  # SSM takes it for a reference to another parameter


def test_the_secret_is_kept_nowhere() -> None:
    secret = TOKEN.text.partition(".")[2]
    told = [TOKEN.stored.text(), repr(TOKEN), repr(TOKEN.stored), json.dumps(TOKEN.stored.document()), repr(GRANT)]
    assert not [text for text in told if secret in text]
    assert not [text for text in told[1:] if TOKEN.stored.digest.hex() in text or repr(TOKEN.stored.digest) in text]


def test_a_secret_has_256_bits_and_a_salt_of_its_own() -> None:
    several = [made() for _ in range(50)]
    assert {len(token.text.partition(".")[2]) for token in several} == {43}  # base64url of 32 bytes
    for part in ("token_id", "salt", "digest"):
        assert len({getattr(token.stored, part) for token in several}) == 50


def test_chance_is_the_only_source_of_a_token() -> None:
    """Whoever knew the random bytes would know the token: nothing else (the time, the name) makes it guessable."""
    asked: list[int] = []

    def chance(count: int) -> bytes:
        asked.append(count)
        return bytes([len(asked)]) * count

    token = new_token("x", {"shop": [Right.READ]}, NOW, NEVER, chance)
    assert (asked, token.text) == ([8, 16, 32], "0101010101010101.AwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwM")


KEPT = json.loads(TOKEN.stored.text())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        "[" * 20_000,
        "1" * 5_000,
        *(json.dumps({name: value for name, value in KEPT.items() if name != left_out}) for left_out in KEPT),
        *(json.dumps(KEPT | {name: value}) for name in KEPT for value in (True, 1.5, "\n", [], {})),
        json.dumps(KEPT | {"scopes": {"shop": ["all"]}}),
        json.dumps(KEPT | {"scopes": {"shop": []}}),
        json.dumps(KEPT | {"salt": ""}),
    ],
)
def test_what_is_no_token_is_said_to_be_none_and_not_quoted(text: str) -> None:
    """It grants nothing, and is no stranger's fault: somebody has changed the parameter."""
    with pytest.raises(Misconfigured) as raised:
        granted(TOKEN.text, lambda _: text, NOW)
    assert str(raised.value) == (
        f"what is kept as token {TOKEN.stored.token_id} is no token/1: revoke it, and create another"
    )


def test_a_token_kept_under_anothers_id_is_none() -> None:
    with pytest.raises(Misconfigured):
        granted(made().text, lambda _: TOKEN.stored.text(), NOW)


@pytest.mark.parametrize(
    ("name", "scopes", "says"),
    [
        ("", SCOPES, "name is 1 to 100 characters"),
        ("x" * 101, SCOPES, "name is 1 to 100 characters"),
        ("a\nb", SCOPES, "without controls"),
        ("x", {}, "good for nothing"),
        ("x", {"shop": []}, "good for nothing"),
        ("x", {f"import-{number}": [Right.READ] for number in range(300)}, "rights to every import"),
    ],
)
def test_what_cannot_be_a_token_says_why(name: str, scopes: dict[str, list[Right]], says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        new_token(name, scopes, NOW, NEVER)


# ---- What the time it takes tells ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        None,
        "nonsense",
        made().text,  # of an id that is not there
        TOKEN.text,
        f"{TOKEN.text[:-1]}{'A' if TOKEN.text[-1] != 'A' else 'E'}",
        basic("a:b"),
    ],
    ids=lambda _: "header",  # tokens are chance, and all workers must collect the same
)
def test_every_way_hashes_once_and_compares_32_bytes_in_constant_time(
    header: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a stopwatch: the same work is done whether the id is there or not."""
    hashed: list[int] = []
    compared: list[tuple[int, int]] = []
    digest, compare = tokens._digest, tokens.hmac.compare_digest

    def noted_digest(salt: bytes, secret: str) -> bytes:
        hashed.append(len(salt))
        return digest(salt, secret)

    def noted_compare(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(tokens, "_digest", noted_digest)
    monkeypatch.setattr(tokens.hmac, "compare_digest", noted_compare)
    granted(header, keeping(TOKEN), NOW)
    assert (hashed, compared) == ([16], [(32, 32)])


@settings(max_examples=examples(30))
@given(st.binary(min_size=32, max_size=32))
def test_nobody_holds_the_token_that_unknown_ids_are_compared_with(secret: bytes) -> None:
    """Not even whoever would guess its secret: an unknown id grants nothing."""
    nobody = tokens._NOBODY
    fixed = replace(nobody, digest=tokens._digest(nobody.salt, "known" + secret.hex()))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tokens, "_NOBODY", fixed)
        patched.setattr(tokens, "_TOKEN", re.compile(r"([0-9a-f]{16})[.](.*)"))
        assert granted(f"{nobody.token_id}.known{secret.hex()}", lambda _: None, NOW) is None
