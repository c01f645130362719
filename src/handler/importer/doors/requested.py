"""What somebody asks to be fetched: judged before it is stored (pure), and opened where it is read.

Keys of a private source are never asked for, only the name of a secret, and that name is put together here from a short
one: no request can reach another secret of the account (J5).
"""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from importer.bad_rows import ObjectProblem
from importer.definitions import DEFAULT, Definition
from importer.doors.addresses import HttpSource, S3Source, Source, key_of, s3_source_of, source_of
from importer.doors.fetching import Opener
from importer.executions.starting import judge_name
from importer.fetches import Access, Body, Fetch, FetchReason, Refused

_SECRET: Final = re.compile(r"(?:ssm|secretsmanager):[A-Za-z0-9_.-]{1,100}")
_ROLE: Final = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9_+=,.@/-]{1,576}")
_EXTERNAL_ID: Final = re.compile(r"[A-Za-z0-9_+=,.@:/-]{2,1224}")  # Quota: ExternalId of API_AssumeRole


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a fetch, as it came."""

    uri: str
    import_id: str = ""
    credentials: str = ""
    role_arn: str = ""
    external_id: str = ""

    @property
    def digest(self) -> str:
        """By which the same request is known again; nothing of it can be read back."""
        parts = (self.uri, self.import_id, self.credentials, self.role_arn, self.external_id)
        return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def fetch_of(
    asked: Asked, definition: Definition, own_bucket: str, fetch_id: str, now_ms: int, asked_by: str = ""
) -> Fetch:
    """The fetch that is to be stored.

    Args:
        definition: of the import id; the default one where none is asked for.

    Raises:
        Refused: bad_uri, wrong_kind, credentials_refused.
    """
    source = source_of(asked.uri)
    access = _access(asked, source)
    named = s3_source_of(source)
    if named is not None and named.bucket == own_bucket:
        raise Refused(
            FetchReason.BAD_URI, "the URI is refused: it lies in the importer's own bucket; copy it to imports/ there"
        )
    key = key_of(source, "" if definition is DEFAULT else definition.id)
    try:
        judge_name(key, definition.format, definition.mime_type)
    except ObjectProblem as problem:
        raise Refused(FetchReason.WRONG_KIND, problem.message) from problem
    uri, query = source.shown, ""
    if isinstance(source, HttpSource):
        query = source.uri.partition("?")[2]
    elif source.version_id:
        query = f"versionId={source.version_id}"
    import_id = "" if definition is DEFAULT else definition.id
    return Fetch(
        fetch_id, uri, query, key, now_ms, import_id=import_id, access=access, digest=asked.digest, asked_by=asked_by
    )


def _access(asked: Asked, source: Source) -> Access:
    """Raises Refused(credentials_refused). What was given is never quoted: it may be a key itself."""
    if not (asked.credentials or asked.role_arn or asked.external_id):
        return Access()
    if s3_source_of(source) is None:
        raise _no("credentials and roles are for sources on S3: give s3://BUCKET/KEY")
    if asked.credentials and asked.role_arn:
        raise _no("give credentials or a role_arn, not both")
    if asked.credentials and not _SECRET.fullmatch(asked.credentials):
        raise _no(
            "credentials is the name of a secret, as in ssm:partner or secretsmanager:partner, and never a key itself"
        )
    if asked.role_arn and not _ROLE.fullmatch(asked.role_arn):
        raise _no("role_arn is the ARN of a role, as in arn:aws:iam::111122223333:role/partner")
    if asked.external_id and not asked.role_arn:
        raise _no("an external_id goes with a role_arn")
    if asked.external_id and not _EXTERNAL_ID.fullmatch(asked.external_id):
        raise _no("external_id has 2 to 1,224 letters, digits and +=,.@:/-_")
    return Access(asked.credentials, asked.role_arn, asked.external_id)


def _no(why: str) -> Refused:
    return Refused(FetchReason.CREDENTIALS_REFUSED, why)


class Buckets(Protocol):
    """Objects of other people's buckets."""

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
        """Raises Refused, Cut."""


def opener(web: Callable[[HttpSource, int, str, int], Body], buckets: Buckets) -> Opener:
    """Opens whatever a fetch names: a bucket's object by the API where it is one and may be private, else over HTTP."""

    def opened(fetch: Fetch, offset: int, validator: str, time_ms: int) -> Body:
        source = source_of(fetch.whole_uri)
        if isinstance(source, S3Source) or fetch.access != Access():
            found = s3_source_of(source)
            assert found is not None, "judged when it was asked for"
            return buckets.opened(
                found.bucket, found.key, found.version_id, fetch.access, fetch.import_id, offset, validator, time_ms
            )
        return web(source, offset, validator, time_ms)

    return opened
