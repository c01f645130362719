"""Other people's objects on S3, read by our own role, by one of theirs, or by an access key that a secret holds (J5).

Keys are read when a source is opened, live as long as the client made with them, and are told nowhere: what goes wrong
is said with the secret's name.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson
from botocore.exceptions import BotoCoreError, ClientError, IncompleteReadError
from urllib3.exceptions import HTTPError

from importer.aws import answers, clients
from importer.definitions import DEFAULT
from importer.fetches import Access, Body, Cut, FetchReason, Refused
from importer.model import Clock
from importer.sinks.calls import LOST, is_passing, is_throttle

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHUNK_BYTES: Final = 256 << 10
SESSION_S: Final = 3_600  # Quota: the longest a role may be assumed for by a role
_BAD_KEYS: Final = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "InvalidClientTokenId"}
)
_ID_NAMES: Final = ("access_key_id", "aws_access_key_id")
_SECRET_NAMES: Final = ("secret_access_key", "aws_secret_access_key")
_TOKEN_NAMES: Final = ("session_token", "aws_session_token")


@dataclass(frozen=True, slots=True)
class Keys:
    """An access key. It shows nothing of itself."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Clients:
    """What makes the clients; each is made when it is needed."""

    s3: "Callable[[Keys | None], S3Client]"
    parameters: Callable[[], "_Parameters"]
    secrets: Callable[[], "_Secrets"]
    roles: Callable[[], "_Roles"]


class _Parameters(Protocol):
    def get_parameter(self, *, Name: str, WithDecryption: bool) -> Any: ...


class _Secrets(Protocol):
    def get_secret_value(self, *, SecretId: str) -> Any: ...


class _Roles(Protocol):
    def assume_role(self, **request: Any) -> Any: ...


def made_by_botocore() -> Clients:
    def s3(keys: Keys | None) -> "S3Client":
        return clients.foreign_s3(
            *((None, None, None) if keys is None else (keys.access_key_id, keys.secret_access_key, keys.session_token))
        )

    return Clients(s3, clients.parameters, clients.secrets, clients.roles)


class ForeignBuckets:
    """See `doors.requested.Buckets`.

    Args:
        folder: of the names of secrets: `<stack>/uri-credentials`.
        most_bytes: a larger object is refused.
    """

    def __init__(self, made: Clients, folder: str, clock: Clock, most_bytes: int) -> None:
        self._made = made
        self._folder = folder
        self._clock = clock
        self._most_bytes = most_bytes

    def opened(
        self,
        bucket: str,
        key: str,
        version_id: str,
        access: Access,
        import_id: str,
        offset: int,
        validator: str,
        time_ms: int,
    ) -> Body:
        uri = f"s3://{bucket}/{key}"
        client = self._client(access, import_id)
        request: dict[str, Any] = {"Bucket": bucket, "Key": key}
        if version_id:
            request["VersionId"] = version_id
        if offset:
            request |= {"Range": f"bytes={offset}-", "IfMatch": validator}
        try:
            answer = client.get_object(**request)
        except ClientError as error:
            # Another object by now, or a shorter one: from its begin.
            if offset and (answers.is_replaced(error) or answers.status(error) == 416):
                return self.opened(bucket, key, version_id, access, import_id, 0, "", time_ms)
            raise _told(error, uri, access) from error
        except (*LOST, BotoCoreError) as error:
            raise Cut(f"S3 does not answer for {uri}: {type(error).__name__}") from error
        begin, total = _place(answer)
        body = S3Body(begin, total, answer["ETag"], uri, answer["Body"], self._clock, self._clock.now_ms() + time_ms)
        if total > self._most_bytes or begin not in (0, offset):
            body.close()
            if total > self._most_bytes:
                raise Refused(
                    FetchReason.TOO_LARGE,
                    f"{uri} has {total:,} bytes; {self._most_bytes:,} are allowed (UriMaxGiB): raise it",
                )
            raise Cut(f"{uri} was asked for byte {offset:,} and sent {begin:,}")
        return body

    def _client(self, access: Access, import_id: str) -> "S3Client":
        if access.credentials:
            return self._made.s3(self._keys(access.credentials, import_id))
        if access.role_arn:
            return self._made.s3(self._assumed(access))
        return self._made.s3(None)

    # -- keys -----------------------------------------------------------------------------------------------------

    def _keys(self, credentials: str, import_id: str) -> Keys:
        """The access key a secret holds, if it is for this import. Raises Refused(credentials_refused), Cut."""
        where, _, short = credentials.partition(":")
        name = f"/{self._folder}/{short}" if where == "ssm" else f"{self._folder}/{short}"
        kind = "SSM parameter (SecureString)" if where == "ssm" else "secret of Secrets Manager"
        with _refused_are_told(f"the {kind} {name} cannot be read"):
            text = self._parameter(name) if where == "ssm" else self._secret(name)
        try:
            stored = orjson.loads(text)
        except orjson.JSONDecodeError:
            stored = None
        found = [_first(stored, names) for names in (_ID_NAMES, _SECRET_NAMES, _TOKEN_NAMES)]
        if not found[0] or not found[1]:
            raise _refused(f'the {kind} {name} must hold {{"access_key_id": "…", "secret_access_key": "…"}}')
        imports = stored.get("imports") if isinstance(stored, dict) else None
        if imports is not None and (not isinstance(imports, list) or (import_id or DEFAULT.id) not in imports):
            raise _refused(f"the {kind} {name} is not for this import: its `imports` names those it is for")
        return Keys(found[0], found[1], found[2] or None)

    def _parameter(self, name: str) -> str:
        parameter = self._made.parameters().get_parameter(Name=name, WithDecryption=True)["Parameter"]
        if parameter.get("Type") != "SecureString":
            raise _refused(f"the SSM parameter {name} is stored in clear: delete it, make it a SecureString")
        return str(parameter.get("Value", ""))

    def _secret(self, name: str) -> str:
        return str(self._made.secrets().get_secret_value(SecretId=name).get("SecretString", ""))

    def _assumed(self, access: Access) -> Keys:
        request: dict[str, Any] = {
            "RoleArn": access.role_arn,
            "RoleSessionName": "import-by-uri",
            "DurationSeconds": SESSION_S,
        }
        if access.external_id:
            request["ExternalId"] = access.external_id
        with _refused_are_told(
            f"the role {access.role_arn} cannot be assumed: UriRoleArns must name it, and it must trust the fetch "
            "function's role, with this external id if it asks for one"
        ):
            given = self._made.roles().assume_role(**request)["Credentials"]
        return Keys(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])


@dataclass(slots=True)
class S3Body:
    """See `fetches.Body`."""

    offset: int
    total_bytes: int | None
    validator: str
    _uri: str
    _stream: Any = field(repr=False)
    _clock: Clock
    _until_ms: int

    def chunks(self) -> Iterator[bytes]:
        at = self.offset
        while True:
            try:
                chunk: bytes = self._stream.read(CHUNK_BYTES)
            except (*LOST, IncompleteReadError, BotoCoreError, HTTPError, OSError) as error:
                raise Cut(f"{self._uri} broke off after {at:,} bytes: {type(error).__name__}") from error
            if not chunk:
                break
            at += len(chunk)
            yield chunk
            if self._clock.now_ms() > self._until_ms:  # each receive is bounded, all of them are not (C3)
                raise Cut(f"{self._uri} comes too slowly")
        if at != self.total_bytes:
            raise Cut(f"{self._uri} ended after {at:,} bytes of {self.total_bytes:,}")

    def close(self) -> None:
        self._stream.close()


def _place(answer: Any) -> tuple[int, int]:
    """Where an answer begins in the object, and the object's size (N11: a range may be answered with the whole)."""
    said = answer.get("ContentRange", "")
    if answer["ResponseMetadata"]["HTTPStatusCode"] != 206 or not said:
        return 0, answer["ContentLength"]
    span, _, total = said.removeprefix("bytes ").partition("/")
    return int(span.partition("-")[0]), int(total)


def _first(stored: object, names: tuple[str, ...]) -> str:
    found = (stored.get(name) for name in names) if isinstance(stored, dict) else ()
    return next((value for value in found if isinstance(value, str) and value), "")


def _told(error: ClientError, uri: str, access: Access) -> Refused | Cut:
    """What S3's refusal is to who asked. Its own words are not told: they may hold the key id."""
    code = answers.code(error)
    if is_throttle(error) or is_passing(error):
        return Cut(f"S3 is busy: {uri} is answered {code}")
    if code in _BAD_KEYS:
        given = access.credentials or access.role_arn or "the function's role"
        return _refused(f"S3 does not accept the access key of {given} ({code}): renew it")
    if answers.is_archived(error):
        return Refused(FetchReason.SOURCE_REFUSED, f"{uri} lies in an archive class: restore it first")
    if answers.is_denied(error):
        who = "the fetch function's role (UriObjectArns must name it)"
        if access.credentials or access.role_arn:
            who = f"who {access.credentials or access.role_arn} stands for"
        return Refused(
            FetchReason.SOURCE_REFUSED, f"{uri} may not be read by {who}, or is not there: allow s3:GetObject"
        )
    if answers.is_gone(error) or code == "NoSuchBucket":
        return Refused(FetchReason.SOURCE_REFUSED, f"{uri} is not there ({code})")
    return Refused(FetchReason.SOURCE_REFUSED, f"S3 answers {code} for {uri}")


@contextmanager
def _refused_are_told(what: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        if is_throttle(error) or is_passing(error):
            raise Cut(f"{what}: {answers.code(error)}") from None
        raise _refused(f"{what} ({answers.code(error)})") from None
    except (*LOST, BotoCoreError) as error:
        raise Cut(f"{what}: {type(error).__name__}") from None


def _refused(message: str) -> Refused:
    return Refused(FetchReason.CREDENTIALS_REFUSED, message)
