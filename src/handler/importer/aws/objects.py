"""Objects of a bucket on S3: one reader that never ends early in silence, writers that appear whole or not at all."""

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from botocore.exceptions import ClientError, FlexibleChecksumError, IncompleteReadError
from urllib3.exceptions import HTTPError

from importer.bad_rows import FileReason, ObjectProblem
from importer.model import Clock, S3Object, Unavailable
from importer.notification import Dropped
from importer.sinks.calls import LOST

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

READ_BYTES: Final = 256 << 10  # Measured: larger reads cost no less CPU and more memory
PIECE_BYTES: Final = 8 << 20  # Quota: at least 5 MiB a piece but the last (N6)
READ_TRIES: Final = 5  # in a row without a byte; any progress counts anew (C1)
COPY_BYTES: Final = 5 << 30  # Quota: CopyObject (I5)
_GONE: Final = frozenset({"NoSuchKey", "NoSuchVersion", "404", "NotFound", "MethodNotAllowed", "405"})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)\Z")


class S3Objects:
    """See `executions.ports.Objects`.

    Args:
        copier: a client that waits minutes for an answer: S3 answers a copy when it is done.
    """

    def __init__(self, client: "S3Client", clock: Clock, copier: "S3Client | None" = None) -> None:
        self._s3 = client
        self._copier = copier or client
        self._clock = clock

    def head(self, dropped: Dropped) -> S3Object | None:
        version = {"VersionId": dropped.version_id} if dropped.version_id else {}
        try:
            found = self._s3.head_object(Bucket=dropped.bucket, Key=dropped.key, **version)  # type: ignore[arg-type]
        except ClientError as error:
            if _code(error) in _GONE or (_is_denied(error) and not self._is_listed(dropped)):
                return None
            _unavailable(
                error, f"HEAD s3://{dropped.bucket}/{dropped.key}", "s3:GetObject (by version: s3:GetObjectVersion)"
            )
        except LOST as error:
            raise Unavailable(f"HEAD s3://{dropped.bucket}/{dropped.key}: {error}") from error
        return S3Object(
            dropped.bucket,
            dropped.key,
            # With versioning suspended every upload is version "null": like none, it does not tell two uploads apart.
            None if found.get("VersionId") == "null" else found.get("VersionId"),
            found["ETag"].strip('"'),
            found["ContentLength"],
            int(found["LastModified"].timestamp() * 1000),
        )

    def read(self, source: S3Object, start: int) -> Iterator[bytes]:
        position = start
        tries = 0
        while position < source.size_bytes:  # never a GET for zero bytes: S3 answers 416 (A9)
            try:
                for chunk in self._body(source, position):
                    position += len(chunk)
                    tries = 0
                    yield chunk
                # Counted, not believed: a body that ends early without an error is continued too (C2).
                failure: Exception = EOFError(f"the body ended at byte {position} of {source.size_bytes}")
            except (*LOST, IncompleteReadError, HTTPError, OSError) as error:
                failure = error
            except FlexibleChecksumError as error:
                raise Unavailable(f"{source.uri}: the bytes read do not match S3's checksum") from error
            if position < source.size_bytes:
                tries += 1
                if tries >= READ_TRIES:
                    raise Unavailable(
                        f"{source.uri}: no byte after {position} in {tries} tries: {failure}"
                    ) from failure
                self._clock.sleep(0.2 * 2**tries)

    def _body(self, source: S3Object, position: int) -> Iterator[bytes]:
        """The bytes from `position` on, of one GET, at most to the end; it may end early."""
        wanted: dict[str, Any] = {"Bucket": source.bucket, "Key": source.key, "IfMatch": source.etag}
        if source.version_id is not None:
            wanted["VersionId"] = source.version_id
        if position:
            wanted["Range"] = f"bytes={position}-"
        try:
            answer = self._s3.get_object(**wanted)
        except ClientError as error:
            self._read_problem(error, source)
        # A range may be answered with the whole body: look at what came, never assume 206 (N11).
        at = 0
        if answer["ResponseMetadata"]["HTTPStatusCode"] == 206:
            given = _CONTENT_RANGE.match(answer.get("ContentRange", ""))
            if given is None or int(given[1]) > position or int(given[3]) != source.size_bytes:
                raise Unavailable(
                    f"{source.uri}: asked for bytes from {position}, given {answer.get('ContentRange')!r}"
                )
            at = int(given[1])
        elif answer["ContentLength"] != source.size_bytes:
            raise Unavailable(
                f"{source.uri}: {answer['ContentLength']} bytes, {source.size_bytes} when it was looked at"
            )
        with closing(answer["Body"]) as body:
            while chunk := body.read(READ_BYTES):
                begin, at = max(position - at, 0), at + len(chunk)
                if begin < len(chunk):
                    yield chunk[begin:] if begin else chunk

    def get(self, bucket: str, key: str) -> bytes | None:
        try:
            return self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError as error:
            if _code(error) in _GONE:
                return None
            _unavailable(error, f"GET s3://{bucket}/{key}", "s3:GetObject")
        except (*LOST, IncompleteReadError, HTTPError) as error:
            raise Unavailable(f"GET s3://{bucket}/{key}: {error}") from error

    def exists(self, bucket: str, key: str) -> bool:
        return self._head_ours(bucket, key) is not None

    def put(self, bucket: str, key: str, body: bytes, content_type: str) -> None:
        try:
            self._s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)
        except ClientError as error:
            _unavailable(error, f"PUT s3://{bucket}/{key}", "s3:PutObject")
        except LOST as error:
            raise Unavailable(f"PUT s3://{bucket}/{key}: {error}") from error

    def writer(self, bucket: str, key: str, content_type: str) -> "PieceWriter":
        return PieceWriter(self, self._s3, bucket, key, content_type)

    def keys(self, bucket: str, prefix: str) -> Iterator[str]:
        try:
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
                yield from (entry["Key"] for entry in page.get("Contents", []))
        except ClientError as error:
            _unavailable(error, f"LIST s3://{bucket}/{prefix}", "s3:ListBucket")
        except LOST as error:
            raise Unavailable(f"LIST s3://{bucket}/{prefix}: {error}") from error

    def copy(self, source: S3Object, key: str, sha256: str) -> None:
        if self._is_copy(source, key, sha256):
            return
        if source.size_bytes > COPY_BYTES:
            raise Unavailable(f"{source.uri}: {source.size_bytes} bytes; objects over 5 GiB cannot be moved yet")
        origin: dict[str, str] = {"Bucket": source.bucket, "Key": source.key}
        if source.version_id is not None:
            origin["VersionId"] = source.version_id
        try:
            self._copier.copy_object(
                Bucket=source.bucket,
                Key=key,
                CopySource=origin,  # type: ignore[arg-type]
                CopySourceIfMatch=source.etag,
                MetadataDirective="COPY",
                TaggingDirective="COPY",
                ChecksumAlgorithm="SHA256",  # so that S3 itself says what it wrote
            )
        except ClientError as error:
            self._read_problem(
                error, source, "s3:GetObject and s3:GetObjectTagging on imports/, s3:PutObject on completed_imports/"
            )
        except LOST as error:
            raise Unavailable(f"COPY {source.uri}: {error}") from error
        if not self._is_copy(source, key, sha256):
            raise Unavailable(f"s3://{source.bucket}/{key} is not a copy of {source.uri}: the source stays")

    def delete_version(self, source: S3Object) -> None:
        try:
            if source.version_id is not None:
                self._s3.delete_object(Bucket=source.bucket, Key=source.key, VersionId=source.version_id)
            else:  # HEAD, then DELETE would be a race that loses a newer upload (I4)
                self._s3.delete_object(Bucket=source.bucket, Key=source.key, IfMatch=source.etag)
        except ClientError as error:
            if _code(error) in _GONE or _status(error) == 412:  # a newer upload has taken its place: not ours to touch
                return
            _unavailable(error, f"DELETE {source.uri}", "s3:DeleteObject and s3:DeleteObjectVersion")
        except LOST as error:
            raise Unavailable(f"DELETE {source.uri}: {error}") from error

    def hide(self, source: S3Object) -> None:
        try:
            self._s3.delete_object(Bucket=source.bucket, Key=source.key, IfMatch=source.etag)
        except ClientError as error:
            if _code(error) in _GONE or _status(error) == 412:  # something newer covers it already
                return
            _unavailable(error, f"DELETE {source.uri}", "s3:DeleteObject")
        except LOST as error:
            raise Unavailable(f"DELETE {source.uri}: {error}") from error

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        try:
            for at in range(0, len(keys), 1_000):  # Quota: DeleteObjects takes 1,000 keys
                some = keys[at : at + 1_000]
                self._s3.delete_objects(
                    Bucket=bucket, Delete={"Objects": [{"Key": key} for key in some], "Quiet": True}
                )
        except ClientError as error:
            _unavailable(error, f"DELETE {len(keys)} objects under work/", "s3:DeleteObject")
        except LOST as error:
            raise Unavailable(f"DELETE {len(keys)} objects under work/: {error}") from error

    def _is_copy(self, source: S3Object, key: str, sha256: str) -> bool:
        """Whether `key` holds the bytes that were imported: by S3's own SHA-256, else by reading it back (A11)."""
        found = self._head_ours(source.bucket, key)
        if found is None or found["ContentLength"] != source.size_bytes:
            return False
        checksum = found.get("ChecksumSHA256", "")
        if checksum and found.get("ChecksumType", "FULL_OBJECT") == "FULL_OBJECT" and "-" not in checksum:
            return base64.b64decode(checksum).hex() == sha256
        digest = hashlib.sha256()
        copy = S3Object(source.bucket, key, None, found["ETag"].strip('"'), source.size_bytes, 0)
        for chunk in self.read(copy, 0):
            digest.update(chunk)
        return digest.hexdigest() == sha256

    def _head_ours(self, bucket: str, key: str) -> Any:
        try:
            return self._s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        except ClientError as error:
            # Without s3:ListBucket a missing key is 403 (J6); if reading is denied, the copy's proof fails.
            if _code(error) in _GONE or _is_denied(error):
                return None
            _unavailable(error, f"HEAD s3://{bucket}/{key}", "s3:GetObject")
        except LOST as error:
            raise Unavailable(f"HEAD s3://{bucket}/{key}: {error}") from error

    def _is_listed(self, dropped: Dropped | S3Object) -> bool:
        """Whether the object is there though HEAD was denied: a missing key is 403 where it may not be listed (J6)."""
        wanted = {"Bucket": dropped.bucket, "Prefix": dropped.key}
        try:
            if dropped.version_id is None:
                entries: Any = self._s3.list_objects_v2(**wanted, MaxKeys=1).get("Contents", [])  # type: ignore[arg-type]
            else:
                entries = self._s3.list_object_versions(**wanted).get("Versions", [])  # type: ignore[arg-type]
        except (ClientError, *LOST):
            return True  # not even that can be asked: then the permission is what is missing
        return any(
            entry["Key"] == dropped.key and dropped.version_id in (None, entry.get("VersionId")) for entry in entries
        )

    def _read_problem(
        self, error: ClientError, source: S3Object, permission: str = "s3:GetObject, s3:GetObjectVersion"
    ) -> NoReturn:
        """What an answer to GET or COPY of the source says about it.

        Raises:
            ObjectProblem, Unavailable.
        """
        if _code(error) in _GONE or (_is_denied(error) and not self._is_listed(source)):
            raise ObjectProblem(FileReason.OBJECT_GONE, f"{source.uri} was deleted before it was imported") from error
        if _status(error) == 412:
            raise ObjectProblem(
                FileReason.REPLACED_WHILE_READING,
                f"{source.uri} was replaced by a newer upload, imported on its own; turn on versioning to import both",
            ) from error
        if _code(error) == "InvalidObjectState":
            raise ObjectProblem(
                FileReason.OBJECT_ARCHIVED,
                f"{source.uri} lies in an archive storage class: restore it and drop a copy",
            ) from error
        _unavailable(error, f"GET {source.uri}", permission)


class PieceWriter:
    """See `executions.ports.Writer`: one PUT for a small object, a multipart upload for a large one."""

    def __init__(self, objects: S3Objects, client: "S3Client", bucket: str, key: str, content_type: str) -> None:
        self._objects = objects
        self._s3 = client
        self._where: Any = {"Bucket": bucket, "Key": key}
        self._content_type = content_type
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._upload: str | None = None
        self._pieces: list[dict[str, Any]] = []

    def __enter__(self) -> "PieceWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._upload is not None:
            # What cannot be aborted now is removed by the bucket's rule for incomplete uploads.
            with suppress(ClientError, *LOST):
                self._s3.abort_multipart_upload(**self._where, UploadId=self._upload)

    def write(self, data: bytes) -> None:
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= PIECE_BYTES:
            self._send_piece()

    def commit(self) -> None:
        if self._upload is None:
            self._objects.put(self._where["Bucket"], self._where["Key"], b"".join(self._waiting), self._content_type)
            return
        if self._waiting:
            self._send_piece()
        try:
            self._s3.complete_multipart_upload(
                **self._where,
                UploadId=self._upload,
                MultipartUpload={"Parts": self._pieces},  # type: ignore[typeddict-item]
            )
        except ClientError as error:
            _unavailable(error, f"PUT s3://{self._where['Bucket']}/{self._where['Key']}", "s3:PutObject")
        except LOST as error:
            raise Unavailable(f"PUT s3://{self._where['Bucket']}/{self._where['Key']}: {error}") from error
        self._upload = None

    def _send_piece(self) -> None:
        try:
            if self._upload is None:
                self._upload = self._s3.create_multipart_upload(**self._where, ContentType=self._content_type)[
                    "UploadId"
                ]
            number = len(self._pieces) + 1
            answer = self._s3.upload_part(
                **self._where, UploadId=self._upload, PartNumber=number, Body=b"".join(self._waiting)
            )
        except ClientError as error:
            _unavailable(error, f"PUT s3://{self._where['Bucket']}/{self._where['Key']}", "s3:PutObject")
        except LOST as error:
            raise Unavailable(f"PUT s3://{self._where['Bucket']}/{self._where['Key']}: {error}") from error
        self._pieces.append({"ETag": answer["ETag"], "PartNumber": number})
        self._waiting, self._waiting_bytes = [], 0


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _is_denied(error: ClientError) -> bool:
    return _status(error) == 403 and _code(error) != "InvalidObjectState"


def _unavailable(error: ClientError, call: str, permission: str) -> NoReturn:
    remedy = f"; allow {permission} (and the bucket's KMS key, if it has one)" if _is_denied(error) else ""
    raise Unavailable(f"{call}: {_code(error)}{remedy}") from error
