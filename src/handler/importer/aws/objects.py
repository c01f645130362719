"""Objects of a bucket on S3: one reader that never ends early in silence, writers that appear whole or not at all."""

import base64
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import IO, TYPE_CHECKING, Any, Final, NoReturn
from urllib.parse import quote

from botocore.exceptions import ClientError

from importer.aws import copying, reading, uploads
from importer.aws.answers import (
    code,
    is_archived,
    is_denied,
    is_gone,
    is_replaced,
    names_its_permission,
    told,
    unavailable,
    under,
)
from importer.bad_rows import FileReason, ObjectProblem
from importer.model import Clock, Fenced, S3Object, Unavailable, UploadGone
from importer.notification import Dropped
from importer.sha256 import sha256_of
from importer.sinks.calls import LOST

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_LONG_AGO: Final = datetime.min.replace(tzinfo=UTC)
DELETE_KEYS: Final = 1_000  # Quota: DeleteObjects
READ_AHEAD: Final = 4  # as many connections as the client keeps (clients.py)
UPLOADS: Final = 2  # of one copy, in one invocation: the one noted, then a new one


class S3Objects:
    """See `executions.ports.Objects`.

    Args:
        copier: makes, when something is copied, a client that waits minutes: S3 answers a copy when it is done.
        in_flight: small objects read at the same time, at most READ_AHEAD; 1 reads in the caller's thread.
        signer: makes, when a link is asked for, a client that signs as every region takes it (`clients.signer`).
    """

    def __init__(
        self,
        client: "S3Client",
        clock: Clock,
        copier: "Callable[[], S3Client] | None" = None,
        in_flight: int = 1,
        signer: "Callable[[], S3Client] | None" = None,
    ) -> None:
        self._s3 = client
        self._copier = cache(copier or (lambda: client))
        self._signer = cache(signer or (lambda: client))
        self._clock = clock
        self._in_flight = min(in_flight, READ_AHEAD)

    # -- reading ------------------------------------------------------------------------------------------------

    def head(self, dropped: Dropped) -> S3Object | None:
        version: Any = {"VersionId": dropped.version_id} if dropped.version_id else {}
        call = f"HEAD s3://{dropped.bucket}/{dropped.key}"
        with told(call, _reading(dropped)):
            try:
                found = self._s3.head_object(Bucket=dropped.bucket, Key=dropped.key, **version)
            except ClientError as error:
                if is_gone(error):
                    return None
                if is_denied(error):
                    there = self._is_listed(dropped)
                    if there is False:
                        return None
                    unavailable(error, call, _reading(dropped, there))
                raise
        return S3Object(
            dropped.bucket,
            dropped.key,
            # With versioning suspended every upload is version "null": like none, it does not tell two uploads apart.
            None if found.get("VersionId") == "null" else found.get("VersionId"),
            found["ETag"].strip('"'),
            found["ContentLength"],
            int(found["LastModified"].timestamp() * 1000),
            _mends(found.get("Metadata", {})),
        )

    def read(self, source: S3Object, start: int, stop: int | None = None) -> Iterator[bytes]:
        with self._told_of(source, f"GET {source.uri}", _reading(source)):
            yield from reading.bytes_of(self._s3, self._clock, source, start, stop)

    def get(self, bucket: str, key: str) -> bytes | None:
        with told(f"GET s3://{bucket}/{key}", f"s3:GetObject on {under(bucket, key)}"):
            return reading.whole(self._s3, self._clock, bucket, key)

    def bodies(self, bucket: str, keys: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        if self._in_flight == 1:
            yield from ((key, self.get(bucket, key)) for key in keys)
            return
        with ThreadPoolExecutor(self._in_flight) as pool:
            ahead: deque[tuple[str, Future[bytes | None]]] = deque()
            for key in keys:
                ahead.append((key, pool.submit(self.get, bucket, key)))
                if len(ahead) == self._in_flight:
                    first, body = ahead.popleft()
                    yield first, body.result()
            yield from ((key, body.result()) for key, body in ahead)

    def exists(self, bucket: str, key: str) -> bool:
        return self._head_ours(bucket, key) is not None

    def size(self, bucket: str, key: str) -> int | None:
        found = self._head_ours(bucket, key)
        return None if found is None else found["ContentLength"]

    def keys(self, bucket: str, prefix: str, after: str = "") -> Iterator[str]:
        with told(f"LIST s3://{bucket}/{prefix}", f"s3:ListBucket on s3://{bucket} for {prefix.partition('/')[0]}/*"):
            for page in self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=bucket, Prefix=prefix, StartAfter=after
            ):
                yield from (entry["Key"] for entry in page.get("Contents", []))

    def versions(self, bucket: str, prefix: str) -> Iterator[S3Object]:
        marked: tuple[str, datetime | None] = "", None  # a key, and when it was last deleted, of an earlier page
        first = prefix.partition("/")[0]
        with told(f"LIST VERSIONS s3://{bucket}/{prefix}", f"s3:ListBucketVersions on s3://{bucket} for {first}/*"):
            # Answers without versioning too, with the version "null".
            for page in self._s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=prefix):
                deleted = {} if marked[1] is None else {marked[0]: marked[1]}
                for marker in page.get("DeleteMarkers", []):  # newest first, as versions are
                    deleted[marker["Key"]] = max(marker["LastModified"], deleted.get(marker["Key"], _LONG_AGO))
                for entry in page.get("Versions", []):
                    gone = deleted.get(entry["Key"], _LONG_AGO)
                    if entry["LastModified"] > gone or (entry["LastModified"] == gone and entry["IsLatest"]):
                        yield S3Object(
                            bucket,
                            entry["Key"],
                            None if entry["VersionId"] == "null" else entry["VersionId"],
                            entry["ETag"].strip('"'),
                            entry["Size"],
                            int(entry["LastModified"].timestamp() * 1000),
                        )
                last = page.get("NextKeyMarker", "")
                marked = last, deleted.get(last)

    # -- writing ------------------------------------------------------------------------------------------------

    def put(self, bucket: str, key: str, body: bytes | IO[bytes], content_type: str, over: str | None = None) -> None:
        condition: Any = {} if over is None else {"IfMatch": over} if over else {"IfNoneMatch": "*"}
        with told(*uploads.writing(bucket, key)):
            try:
                self._s3.put_object(
                    Bucket=bucket, Key=key, Body=uploads.body_of(body), ContentType=content_type, **condition
                )
            except ClientError as error:
                if not is_replaced(error) or over is None:
                    raise
                if self.get(bucket, key) != _whole(body):  # else it was us: the reply to an earlier try was lost (F8)
                    raise Fenced(f"another worker has written s3://{bucket}/{key}") from error

    def upload(self, bucket: str, key: str, body: bytes, content_type: str) -> Dropped | None:
        """See `doors.ports.Bodies`."""
        with told(*uploads.writing(bucket, key)):
            try:
                put = self._s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type, IfNoneMatch="*")
                return _dropped(bucket, key, put)
            except ClientError as error:
                if not is_replaced(error):
                    raise
        # Something lies there: ours, if the reply to an earlier try was lost (F8).
        found = self._head_ours(bucket, key)
        return _dropped(bucket, key, found) if found is not None and self.get(bucket, key) == body else None

    def link(self, bucket: str, key: str, file_name: str, seconds: int) -> str:
        """See `doors.ports.Bodies`."""
        attached = f"attachment; filename*=UTF-8''{quote(file_name, safe='')}"
        asked = {"Bucket": bucket, "Key": key, "ResponseContentDisposition": attached}
        return self._signer().generate_presigned_url("get_object", Params=asked, ExpiresIn=seconds)

    def seen(self, bucket: str, key: str) -> str:
        found = self._head_ours(bucket, key)
        return "" if found is None else found["ETag"].strip('"')

    def pieces(self, bucket: str, key: str, content_type: str, upload_id: str = "") -> uploads.S3Pieces:
        return uploads.S3Pieces(self._s3, bucket, key, content_type, upload_id)

    # -- moving -------------------------------------------------------------------------------------------------

    def copy(self, source: S3Object, key: str, sha256: str, notebook: copying.Notes) -> None:
        for _ in range(UPLOADS):
            if self._is_copy(source, key, sha256, notebook):
                return
            try:
                with self._told_of(source, f"HEAD {source.uri}", _reading(source)):
                    found = self._head_source(source)
                if found["ETag"].strip('"') != source.etag:
                    raise _replaced(source)
                copying.copy(self._copier(), source, key, found, self._told_of, notebook)
                break
            except UploadGone:
                continue  # completed by another worker, or by a call whose reply was lost; or taken away
            except ObjectProblem:
                if self._is_copy(source, key, sha256, notebook):  # another worker has moved it since we looked
                    return
                raise
        if not self._is_copy(source, key, sha256, notebook):
            raise Unavailable(f"s3://{source.bucket}/{key} is not a copy of {source.uri}: the source stays")

    def delete_version(self, source: S3Object) -> None:
        if source.version_id is None:  # HEAD, then DELETE would be a race that loses a newer upload (I4)
            self._delete_if_unchanged(source)
            return
        needed = f"s3:DeleteObjectVersion on {under(source.bucket, source.key)}"
        with told(f"DELETE {source.uri}", needed), _nothing_left():
            self._s3.delete_object(Bucket=source.bucket, Key=source.key, VersionId=source.version_id)

    def hide(self, source: S3Object) -> None:
        self._delete_if_unchanged(source)

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        for at in range(0, len(keys), DELETE_KEYS):
            some = keys[at : at + DELETE_KEYS]
            call, needed = f"DELETE {len(some)} objects of {bucket}", f"s3:DeleteObject on {under(bucket, some[0])}"
            with told(call, needed):
                listed: Any = [{"Key": key} for key in some]
                answer = self._s3.delete_objects(Bucket=bucket, Delete={"Objects": listed, "Quiet": True})
            for error in answer.get("Errors", []):  # a success may hold refusals
                raise Unavailable(f"{call}: {error.get('Code')} for {error.get('Key')}; allow {needed}")

    def _delete_if_unchanged(self, source: S3Object) -> None:
        needed = f"s3:DeleteObject and s3:GetObject on {under(source.bucket, source.key)}"  # both, for If-Match (N1)
        with told(f"DELETE {source.uri}", needed), _nothing_left():
            self._s3.delete_object(Bucket=source.bucket, Key=source.key, IfMatch=source.etag)

    # -- proving ------------------------------------------------------------------------------------------------

    def _is_copy(self, source: S3Object, key: str, sha256: str, notebook: copying.Notes) -> bool:
        """Whether `key` holds the bytes that were imported (A11).

        By S3's own SHA-256 of it, else by S3's CRC64NVME of both, else by reading it back, which the notebook's page
        "proof" lets others go on with. Only checksums of whole objects are compared: those made of pieces' checksums
        say how an object was cut, and so do ETags.
        """
        found = self._head_ours(source.bucket, key)
        if found is None or found["ContentLength"] != source.size_bytes:
            return False
        if of_copy := _checksum(found, "SHA256"):
            return base64.b64decode(of_copy).hex() == sha256
        if (of_copy := _checksum(found, "CRC64NVME")) and (of_source := self._crc_of_source(source)):
            return of_copy == of_source
        etag = found["ETag"].strip('"')
        copy = S3Object(source.bucket, key, None, etag, source.size_bytes, 0)
        try:
            found_sha256 = sha256_of(
                lambda start: self.read(copy, start),
                etag,
                notebook.page("proof"),
                lambda page: notebook.keep("proof", page),
            )
        except ObjectProblem as problem:  # of the copy, written over by another worker: no fault of the file
            raise Unavailable(f"s3://{source.bucket}/{key} changed while it was proven: {problem.message}") from problem
        if found_sha256 != sha256:
            notebook.keep("proof", {}, at_once=True)  # another look at it begins anew
        return found_sha256 == sha256

    def _crc_of_source(self, source: S3Object) -> str | None:
        try:
            found = self._head_source(source)
        except (ClientError, *LOST):
            return None  # gone or silent: the copy is read back instead
        return _checksum(found, "CRC64NVME") if found["ETag"].strip('"') == source.etag else None

    def _head_ours(self, bucket: str, key: str) -> Any:
        call, needed = f"HEAD s3://{bucket}/{key}", f"s3:GetObject on {under(bucket, key)}"
        with told(call, needed):
            try:
                return self._s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
            except ClientError as error:
                if is_gone(error):
                    return None
                if is_denied(error):
                    there = self._is_listed(Dropped(bucket, key, None, ""))
                    if there is False:
                        return None
                    unavailable(error, call, needed if there else f"{needed}, s3:ListBucket on s3://{bucket}")
                raise

    def _head_source(self, source: S3Object) -> Any:
        version: Any = {} if source.version_id is None else {"VersionId": source.version_id}
        return self._s3.head_object(Bucket=source.bucket, Key=source.key, ChecksumMode="ENABLED", **version)

    # -- what a refusal says ------------------------------------------------------------------------------------

    @contextmanager
    def _told_of(self, source: S3Object, call: str, permission: str) -> Iterator[None]:
        """Inside, S3's refusals become what they say about the source.

        Raises:
            ObjectProblem, Unavailable.
        """
        try:
            yield
        except ClientError as error:
            self._source_problem(error, source, call, permission)
        except LOST as error:
            raise Unavailable(f"{call}: {error}") from error

    def _source_problem(self, error: ClientError, source: S3Object, call: str, permission: str) -> NoReturn:
        there = self._is_listed(source) if is_denied(error) else True
        if is_gone(error) or there is False:
            raise ObjectProblem(FileReason.OBJECT_GONE, f"{source.uri} was deleted before it was imported") from error
        if is_replaced(error):
            raise _replaced(source) from error
        if is_archived(error):
            raise ObjectProblem(
                FileReason.OBJECT_ARCHIVED,
                f"{source.uri} lies in an archive storage class: restore it and drop a copy",
            ) from error
        if there is None:
            permission = f"{permission}, {_listing(source)}"
        if code(error) == "InvalidRange":
            raise Unavailable(f"{call}: S3 has fewer bytes than the {source.size_bytes} it told of") from error
        if is_denied(error) and call.startswith("GET") and not names_its_permission(error):
            # HEAD needs what GET needs, but not the key: if only GET is denied, the key is what is missing (C8).
            try:
                used = copying.kms_key(self._head_source(source))
            except (ClientError, *LOST):
                used = None
            permission = f"kms:Decrypt on {used}" if used else permission
        unavailable(error, call, permission)

    def _is_listed(self, dropped: Dropped | S3Object) -> bool | None:
        """Whether the object is there though it was denied: a missing key is 403 where it may not be listed (J6).

        None: that may not be asked either.
        """
        wanted: Any = {"Bucket": dropped.bucket, "Prefix": dropped.key}
        try:
            if dropped.version_id is None:
                entries: Any = self._s3.list_objects_v2(**wanted, MaxKeys=1).get("Contents", [])
            else:
                entries = self._s3.list_object_versions(**wanted).get("Versions", [])
        except (ClientError, *LOST):
            return None
        return any(
            entry["Key"] == dropped.key and dropped.version_id in (None, entry.get("VersionId")) for entry in entries
        )


def _reading(dropped: Dropped | S3Object, there: bool | None = True) -> str:
    action = "s3:GetObject" if dropped.version_id is None else "s3:GetObjectVersion"
    needed = f"{action} on {under(dropped.bucket, dropped.key)}"
    return f"{needed}, {_listing(dropped)}" if there is None else needed


def _listing(dropped: Dropped | S3Object) -> str:
    action = "s3:ListBucket" if dropped.version_id is None else "s3:ListBucketVersions"
    return f"{action} on s3://{dropped.bucket}"


def _dropped(bucket: str, key: str, answer: Any) -> Dropped:
    """An object as a PUT or HEAD of it tells; as `notification`, without versioning it has no version."""
    version = answer.get("VersionId")
    return Dropped(bucket, key, None if version == "null" else version, answer["ETag"].strip('"'))


def _replaced(source: S3Object) -> ObjectProblem:
    return ObjectProblem(
        FileReason.REPLACED_WHILE_READING,
        f"{source.uri} was replaced by a newer upload, imported on its own; turn on versioning to import both",
    )


def _whole(body: bytes | IO[bytes]) -> bytes:
    if isinstance(body, bytes):
        return body
    body.seek(0)
    return body.read()


def _checksum(found: Any, algorithm: str) -> str | None:
    """The checksum of a whole object by the answer to a HEAD; None for one made of its pieces' checksums."""
    checksum: str = found.get(f"Checksum{algorithm}", "")
    is_whole = found.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT" and "-" not in checksum
    return checksum if checksum and is_whole else None


@contextmanager
def _nothing_left() -> Iterator[None]:
    """Inside, what is gone or replaced by a newer upload is not ours to delete any more."""
    try:
        yield
    except ClientError as error:
        if not (is_gone(error) or is_replaced(error)):
            raise


def _mends(metadata: Mapping[str, str]) -> str:
    """What an object's metadata say of the execution whose bad rows it has (`executions.mending`)."""
    return f"{metadata.get('mends', '')} {metadata.get('mends-rows', '')}".strip()
