"""Private objects on S3: by the function's role, a role of theirs, or a key that a secret holds, told nowhere (J5)."""

import json
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from botocore.exceptions import ClientError

from importer.aws import clients
from importer.aws.sources import Clients, ForeignBuckets, Keys, made_by_botocore
from importer.fetches import Access, Cut, FetchReason, Refused
from tests.support.cloud import Cloud
from tests.support.faults import Fault, attempt

FOLDER = "importer/stack/uri-credentials"
KEY_ID, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
BODY = b"0123456789" * 100_000
OWN_ROLE = Access()
ROLE = "arn:aws:iam::123456789012:role/partner"


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud() as one:
        with one.unseen():
            one.client("s3").create_bucket(Bucket="theirs")
            put(one, BODY)
        yield one


def put(cloud: Cloud, body: bytes) -> None:
    with cloud.unseen():
        cloud.client("s3").put_object(Bucket="theirs", Key="a b.json", Body=body)


class Seen:
    """The clients, and which keys those for S3 were made with."""

    def __init__(self) -> None:
        self.keys: list[Keys | None] = []
        real = made_by_botocore()

        def s3(keys: Keys | None) -> Any:
            self.keys.append(keys)
            return real.s3(None)

        self.made = Clients(s3, real.parameters, real.secrets, real.roles)


def buckets(cloud: Cloud, seen: Seen | None = None, most: int = 1 << 30) -> ForeignBuckets:
    return ForeignBuckets((seen or Seen()).made, FOLDER, cloud.clock, most)


def opened(
    at: ForeignBuckets,
    access: Access = OWN_ROLE,
    offset: int = 0,
    validator: str = "",
    key: str = "a b.json",
    to: str = "",
) -> Any:
    return at.opened("theirs", key, "", access, to, offset, validator, 60_000)


def refused(at: ForeignBuckets, *how: Any, **named: Any) -> Refused:
    with pytest.raises(Refused) as raised:
        opened(at, *how, **named)
    assert not [secret for secret in (KEY_ID, SECRET) if secret in str(raised.value)]
    return raised.value


# ---- Reading ---------------------------------------------------------------------------------------------------------


def test_an_object_is_read_whole_and_from_where_it_was_cut(cloud: Cloud):
    """By its ETag: the rest of the same bytes, or all of others."""
    at = buckets(cloud)
    whole = opened(at)
    assert (whole.offset, whole.total_bytes, b"".join(whole.chunks())) == (0, len(BODY), BODY)
    rest = opened(at, offset=7, validator=whole.validator)
    assert (rest.offset, rest.total_bytes, b"".join(rest.chunks())) == (7, len(BODY), BODY[7:])
    put(cloud, BODY[::-1])
    other = opened(at, offset=7, validator=whole.validator)
    assert (other.offset, b"".join(other.chunks())) == (0, BODY[::-1])
    put(cloud, b"")
    empty = opened(at, offset=7, validator=whole.validator)
    assert (empty.offset, empty.total_bytes, b"".join(empty.chunks())) == (0, 0, b"")


@pytest.mark.parametrize("kind", ["body_cut", "body_reset", "body_stalled"])
def test_a_body_that_breaks_off_is_cut(cloud: Cloud, kind: str):
    """C1, C2: told, never a quiet end."""
    ended = attempt(cloud, lambda: b"".join(opened(buckets(cloud)).chunks()), Fault(kind, "GetObject"))
    assert isinstance(ended.error, Cut)


def test_a_range_answered_with_the_whole_begins_at_the_begin(cloud: Cloud):
    """N11."""
    etag = opened(buckets(cloud)).validator
    ended = attempt(
        cloud, lambda: opened(buckets(cloud), offset=7, validator=etag), Fault("range_ignored", "GetObject")
    )
    assert (ended.error, ended.result.offset, b"".join(ended.result.chunks())) == (None, 0, BODY)


def test_what_is_not_there_or_too_large_is_refused(cloud: Cloud):
    assert refused(buckets(cloud), key="none").code is FetchReason.SOURCE_REFUSED
    assert refused(buckets(cloud, most=len(BODY) - 1)).code is FetchReason.TOO_LARGE


@pytest.mark.parametrize(
    ("code", "status", "reason", "said"),
    [
        ("AccessDenied", 403, FetchReason.SOURCE_REFUSED, "UriObjectArns"),
        ("InvalidAccessKeyId", 403, FetchReason.CREDENTIALS_REFUSED, "renew it"),
        ("SignatureDoesNotMatch", 403, FetchReason.CREDENTIALS_REFUSED, "renew it"),
        ("ExpiredToken", 400, FetchReason.CREDENTIALS_REFUSED, "renew it"),
        ("InvalidObjectState", 403, FetchReason.SOURCE_REFUSED, "restore it"),
        ("NoSuchBucket", 404, FetchReason.SOURCE_REFUSED, "not there"),
    ],
)
def test_s3s_refusals_are_told_in_our_words(cloud: Cloud, code: str, status: int, reason: FetchReason, said: str):
    """S3's own may hold the key's id."""
    client = mock.Mock()
    client.get_object.side_effect = ClientError(
        {"Error": {"Code": code, "Message": KEY_ID}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "GetObject",
    )
    seen = Seen()
    seen.made = Clients(lambda keys: client, seen.made.parameters, seen.made.secrets, seen.made.roles)
    found = refused(buckets(cloud, seen))
    assert (found.code, said in found.message) == (reason, True)


@pytest.mark.parametrize("kind", ["throttled", "error_503", "connection_lost"])
def test_what_passes_is_asked_for_again(cloud: Cloud, kind: str):
    ended = attempt(cloud, lambda: opened(buckets(cloud)), Fault(kind, "GetObject", times=9))
    assert isinstance(ended.error, Cut)


# ---- Keys ------------------------------------------------------------------------------------------------------------


def keep(cloud: Cloud, where: str, value: object, kind: str = "SecureString") -> None:
    text = value if isinstance(value, str) else json.dumps(value)
    with cloud.unseen():
        if where == "ssm":
            cloud.client("ssm").put_parameter(Name=f"/{FOLDER}/partner", Value=text, Type=kind)
        else:
            cloud.client("secretsmanager").create_secret(Name=f"{FOLDER}/partner", SecretString=text)


@pytest.mark.parametrize("where", ["ssm", "secretsmanager"])
@pytest.mark.parametrize(
    "names", [("access_key_id", "secret_access_key"), ("aws_access_key_id", "aws_secret_access_key")]
)
def test_a_key_is_read_from_its_secret_and_shows_itself_nowhere(cloud: Cloud, where: str, names: tuple[str, str]):
    keep(cloud, where, dict(zip(names, (KEY_ID, SECRET), strict=True)))
    seen = Seen()
    body = opened(buckets(cloud, seen), Access(f"{where}:partner"))
    assert (seen.keys, b"".join(body.chunks()) == BODY) == ([Keys(KEY_ID, SECRET)], True)
    assert KEY_ID not in repr(seen.keys)
    assert SECRET not in repr(seen.keys)


def test_a_key_goes_into_the_client_that_is_made(cloud: Cloud):
    """And no other client learns of it."""
    with mock.patch.object(clients, "session") as session:
        made_by_botocore().s3(Keys(KEY_ID, SECRET, "token"))
        made_by_botocore().s3(None)
    given, own = (call.kwargs for call in session.return_value.create_client.call_args_list)
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
    assert [tuple(one[name] for name in names) for one in (given, own)] == [
        (KEY_ID, SECRET, "token"),
        (None, None, None),
    ]


@pytest.mark.parametrize("where", ["ssm", "secretsmanager"])
@pytest.mark.parametrize(
    "value", ["no JSON", [], {}, {"access_key_id": KEY_ID}, {"access_key_id": 7, "secret_access_key": 8}]
)
def test_a_secret_that_holds_no_key_says_what_it_must_hold(cloud: Cloud, where: str, value: object):
    keep(cloud, where, value)
    found = refused(buckets(cloud), Access(f"{where}:partner"))
    assert (found.code, "must hold" in found.message) == (FetchReason.CREDENTIALS_REFUSED, True)


@pytest.mark.parametrize("where", ["ssm", "secretsmanager"])
def test_a_secret_that_is_not_there_is_named_in_full(cloud: Cloud, where: str):
    found = refused(buckets(cloud), Access(f"{where}:partner"))
    assert (found.code, f"{FOLDER}/partner cannot be read" in found.message) == (FetchReason.CREDENTIALS_REFUSED, True)


def test_a_parameter_in_clear_is_not_taken(cloud: Cloud):
    keep(cloud, "ssm", {"access_key_id": KEY_ID, "secret_access_key": SECRET}, "String")
    assert "stored in clear" in refused(buckets(cloud), Access("ssm:partner")).message


def test_a_key_may_be_for_some_imports_only(cloud: Cloud):
    """Else whoever may write to one import could read another partner's files into it."""
    keep(cloud, "ssm", {"access_key_id": KEY_ID, "secret_access_key": SECRET, "imports": ["shop"]})
    assert "not for this import" in refused(buckets(cloud), Access("ssm:partner"), to="other").message
    assert "not for this import" in refused(buckets(cloud), Access("ssm:partner")).message
    assert b"".join(opened(buckets(cloud), Access("ssm:partner"), to="shop").chunks()) == BODY


def test_a_role_is_assumed_with_its_external_id(cloud: Cloud):
    """By temporary keys, asked for anew each time a source is opened."""
    seen = Seen()
    roles = mock.Mock()
    roles.assume_role.return_value = {
        "Credentials": {"AccessKeyId": KEY_ID, "SecretAccessKey": SECRET, "SessionToken": "token"}
    }
    seen.made = Clients(seen.made.s3, seen.made.parameters, seen.made.secrets, lambda: roles)
    opened(buckets(cloud, seen), Access(role_arn=ROLE, external_id="e-1"))
    opened(buckets(cloud, seen), Access(role_arn=ROLE))
    asked = [call.kwargs for call in roles.assume_role.call_args_list]
    assert [(one["RoleArn"], one.get("ExternalId")) for one in asked] == [(ROLE, "e-1"), (ROLE, None)]
    assert seen.keys == [Keys(KEY_ID, SECRET, "token")] * 2
    roles.assume_role.side_effect = ClientError({"Error": {"Code": "AccessDenied"}}, "AssumeRole")
    found = refused(buckets(cloud, seen), Access(role_arn=ROLE))
    assert (found.code, "UriRoleArns" in found.message) == (FetchReason.CREDENTIALS_REFUSED, True)
