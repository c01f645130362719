"""Objects written over in place, for who forgets a person: metadata, tags, class and encryption stay.

An object over ONE_CALL_BYTES is made anew of itself: S3 copies what does not change (UploadPartCopy), and only the
pieces that do are fetched and sent. What is compressed is inflated, blanked and packed again by the same codec, a
member for each member, so that whoever resumes within it still can. Each write is on condition that nobody has written
since (If-Match).
"""

import zlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlencode

import zstandard
from botocore.exceptions import ClientError

from importer.aws import answers, copying, uploads
from importer.aws.objects import S3Objects
from importer.compression import AsFar, is_compressed, opened
from importer.model import Border, Fenced, S3Object, UploadGone
from importer.notification import Dropped

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

ONE_CALL_BYTES: Final = 16 << 20
PIECE_BYTES: Final = 8 << 20  # Quota: at least 5 MiB a piece but the last (N6)
COPIED_BYTES: Final = 1 << 30  # Quota: 5 GiB; a copy of this much is answered within seconds
LARGE_PIECES_FROM: Final = 1_000
LARGE_PIECE_BYTES: Final = 64 << 20
_IN_MEMORY_BYTES: Final = 16 << 20
_HEAD_BYTES: Final = 16
_SLICE_BYTES: Final = 2 << 10  # a block of zstd takes 4 bytes at least


class Blanking(Protocol):
    """What becomes of an object's plain bytes, asked for from the first to the last."""

    def touch(self, start: int, stop: int) -> bool: ...

    def over(self, start: int, text: bytes) -> bytes: ...


class Vault:
    """Objects of a bucket as whoever forgets a person changes them."""

    def __init__(self, client: "S3Client", objects: S3Objects) -> None:
        self._s3 = client
        self._objects = objects

    def listed(self, bucket: str, prefix: str, after: str = "") -> Iterator[S3Object]:
        """The current objects under a prefix, in byte order of their keys. Their version is not told."""
        with answers.told(f"LIST s3://{bucket}/{prefix}", f"s3:ListBucket on s3://{bucket}"):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix, StartAfter=after)
            for page in pages:
                for entry in page.get("Contents", []):
                    changed_ms = int(entry["LastModified"].timestamp() * 1000)
                    yield S3Object(bucket, entry["Key"], None, entry["ETag"].strip('"'), entry["Size"], changed_ms)

    def folders(self, bucket: str) -> list[str]:
        """The first folders of all keys; "" stands for keys without one."""
        found: list[str] = []
        with answers.told(f"LIST s3://{bucket}/", f"s3:ListBucket on s3://{bucket}"):
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Delimiter="/"):
                found += [prefix["Prefix"] for prefix in page.get("CommonPrefixes", [])]
                found += [""] if page.get("Contents") and "" not in found else []
        return found

    def write_over(self, source: S3Object, blanks: Blanking, to: str = "", as_far: bool = False) -> None:
        """Make a blanked copy of an object in its own place, or at the key `to`; durable when it returns.

        Args:
            as_far: of one that cannot be inflated to its end, make what can be.
        Raises:
            Fenced: somebody has written there since: look at it again.
            ObjectProblem: the source is gone, or cannot be read to its end.
            Unavailable.
        """
        key = to or source.key
        condition: dict[str, Any] = {} if to else {"IfMatch": source.etag}
        version: dict[str, Any] = {} if source.version_id is None else {"VersionId": source.version_id}
        needed = f"s3:GetObject and s3:GetObjectTagging on {answers.under(source.bucket, source.key)}"
        with answers.told(f"HEAD {source.uri}", needed):
            try:
                found = self._s3.head_object(Bucket=source.bucket, Key=source.key, **version)
                tags = self._s3.get_object_tagging(Bucket=source.bucket, Key=source.key, **version)["TagSet"]
            except ClientError as error:
                if answers.is_gone(error):
                    raise Fenced(f"{source.uri} is gone") from error
                raise
        if found["ETag"].strip('"') != source.etag:
            raise Fenced(f"{source.uri} was replaced")
        headers: dict[str, Any] = {name: found[name] for name in copying._HEADERS if name in found}
        headers |= copying._place(found)
        if tags:
            headers["Tagging"] = urlencode({tag["Key"]: tag["Value"] for tag in tags})
        head = b"".join(self._objects.read(source, 0, min(_HEAD_BYTES, source.size_bytes)))
        with answers.told(*uploads.writing(source.bucket, key)):
            try:
                if is_compressed(head):
                    self._packed(source, blanks, key, headers, condition, as_far)
                elif source.size_bytes <= ONE_CALL_BYTES:
                    body = b"".join(self._objects.read(source, 0))
                    self._s3.put_object(
                        Bucket=source.bucket, Key=key, Body=blanks.over(0, body), **headers, **condition
                    )
                else:
                    self._in_pieces(source, blanks, key, headers, condition)
            except ClientError as error:
                if answers.is_replaced(error) or answers.code(error) in ("ConditionalRequestConflict", "NoSuchKey"):
                    raise Fenced(f"{source.uri} was replaced") from error
                raise

    def _in_pieces(
        self, source: S3Object, blanks: Blanking, key: str, headers: dict[str, Any], condition: dict[str, Any]
    ) -> None:
        size = source.size_bytes
        piece_bytes = max(PIECE_BYTES, -(-size // uploads.PIECES))
        upload = self._begun(source.bucket, key, headers)
        number = 0
        copied_from: int | None = None

        def copy(stop: int) -> None:
            nonlocal number, copied_from
            if copied_from is not None:
                number += 1
                upload.copy(number, **copying._origin(source), CopySourceRange=f"bytes={copied_from}-{stop - 1}")
                copied_from = None

        with _abandoned(upload):
            for start in range(0, size, piece_bytes):
                stop = min(start + piece_bytes, size)
                if not blanks.touch(start, stop):
                    copied_from = start if copied_from is None else copied_from
                    if stop - copied_from >= COPIED_BYTES:
                        copy(stop)
                    continue
                copy(start)
                number += 1
                with SpooledTemporaryFile(_IN_MEMORY_BYTES) as piece:
                    at = start
                    for chunk in self._objects.read(source, start, stop):
                        piece.write(blanks.over(at, chunk))
                        at += len(chunk)
                    upload.send(number, piece)
            copy(size)
            self._complete(upload, number, condition)

    def _packed(
        self,
        source: S3Object,
        blanks: Blanking,
        key: str,
        headers: dict[str, Any],
        condition: dict[str, Any],
        as_far: bool,
    ) -> None:
        borders: deque[int] = deque()  # where members begin that are not packed yet

        def met(border: Border) -> None:
            borders.append(border.plain_offset)

        codec, text = opened(self._objects.read(source, 0), met)
        if as_far:
            text = iter(AsFar(lambda: self._objects.read(source, 0), met))
        pack: Callable[[], Any] = _gzip if codec == "gzip" else _zstd
        packed: Callable[[Any, bytes], bytes] = _as_tight_as_can_be if codec == "gzip" else _not_too_tight
        upload: uploads.Upload | None = None
        number = at = 0
        packer: Any = None
        piece: IO[bytes] = SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115  it is closed below

        def send() -> None:
            nonlocal upload, number
            upload = upload or self._begun(source.bucket, key, headers)
            number += 1
            upload.send(number, piece)
            piece.seek(0)
            piece.truncate()

        with piece:
            try:
                for chunk in text:
                    if packer is None or (borders and borders[0] <= at):
                        piece.write(packer.flush() if packer is not None else b"")
                        packer = pack()
                        while borders and borders[0] <= at:  # an empty member begins where the next one does
                            borders.popleft()
                    piece.write(packed(packer, blanks.over(at, chunk)))
                    at += len(chunk)
                    if piece.tell() >= (PIECE_BYTES if number < LARGE_PIECES_FROM else LARGE_PIECE_BYTES):
                        send()
                piece.write((packer or pack()).flush())
                if upload is None:
                    piece.seek(0)
                    self._s3.put_object(Bucket=source.bucket, Key=key, Body=piece.read(), **headers, **condition)
                    return
                send()
                self._complete(upload, number, condition)
            except BaseException:
                if upload is not None:
                    upload.abandon()
                raise

    def _begun(self, bucket: str, key: str, headers: dict[str, Any]) -> uploads.Upload:
        return uploads.Upload.begun(
            self._s3, bucket, key, **headers, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT"
        )

    def _complete(self, upload: uploads.Upload, count: int, condition: dict[str, Any]) -> None:
        try:
            upload.complete(upload.pieces(), count, ChecksumType="FULL_OBJECT", **condition)
        except UploadGone as gone:  # completed, and the reply was lost; or taken away: the object says which
            raise Fenced(str(gone)) from gone

    def put(self, bucket: str, key: str, body: bytes | IO[bytes], content_type: str, over: str | None = None) -> None:
        """See `executions.ports.Objects.put`."""
        self._objects.put(bucket, key, body, content_type, over)

    # -- versions -----------------------------------------------------------------------------------------------

    def old_versions(self, bucket: str, key: str, is_folder: bool = False) -> Iterator[S3Object]:
        """The versions of an object that are not its current one, newest first; those under a delete marker too.

        Args:
            is_folder: of every object whose key begins so.
        """
        needed = f"s3:ListBucketVersions on s3://{bucket}"
        with answers.told(f"LIST VERSIONS s3://{bucket}/{key}", needed):
            for page in self._s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key):
                for entry in page.get("Versions", []):
                    if not is_folder and entry["Key"] > key:
                        return
                    if not entry["IsLatest"]:
                        when_ms = int(entry["LastModified"].timestamp() * 1000)
                        version = None if entry["VersionId"] == "null" else entry["VersionId"]
                        etag = entry["ETag"].strip('"')
                        yield S3Object(bucket, entry["Key"], version, etag, entry["Size"], when_ms)

    def delete_version(self, source: S3Object) -> None:
        """Delete this version and no other."""
        needed = f"s3:DeleteObjectVersion on {answers.under(source.bucket, source.key)}"
        with answers.told(f"DELETE {source.uri}", needed):
            try:
                self._s3.delete_object(Bucket=source.bucket, Key=source.key, VersionId=source.version_id or "null")
            except ClientError as error:
                if not answers.is_gone(error):
                    raise

    def remove(self, source: S3Object) -> None:
        """Delete an object, if it is still this one; an older version stays, where the bucket keeps them."""
        current = self._objects.head(Dropped(source.bucket, source.key, None, ""))
        if current is not None and current.etag == source.etag:
            self._objects.delete(source.bucket, [source.key])

    def kept_days(self, bucket: str) -> dict[str, int] | None:
        """By prefix, how many days the bucket keeps a version that is not the current one; None: nobody may know."""
        with answers.told(f"LIFECYCLE s3://{bucket}", f"s3:GetLifecycleConfiguration on s3://{bucket}"):
            try:
                rules = self._s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"]
            except ClientError as error:
                if answers.code(error) == "NoSuchLifecycleConfiguration":
                    return {}
                if answers.is_denied(error):
                    return None
                raise
        found: dict[str, int] = {}
        for rule in rules:
            days = rule.get("NoncurrentVersionExpiration", {}).get("NoncurrentDays")
            if rule.get("Status") == "Enabled" and days is not None:
                prefix = rule.get("Filter", {}).get("Prefix", rule.get("Prefix", ""))
                found[prefix] = min(days, found.get(prefix, days))
        return found


@contextmanager
def _abandoned(upload: uploads.Upload) -> Iterator[None]:
    """Inside, an upload that cannot be gone on with is not left behind."""
    try:
        yield
    except BaseException:
        upload.abandon()
        raise


def _as_tight_as_can_be(packer: Any, text: bytes) -> bytes:
    packed: bytes = packer.compress(text)
    return packed


def _not_too_tight(packer: Any, text: bytes) -> bytes:
    """What is blank is packed in short blocks: else a GiB of it would look like a bomb to us, who have made it
    (`compression.MAX_RATIO`)."""
    pieces: list[bytes] = []
    begin = 0
    for at in range(0, len(text), _SLICE_BYTES):
        if not text[at : at + _SLICE_BYTES].strip():
            pieces += (
                packer.compress(text[begin : at + _SLICE_BYTES]),
                packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK),
            )
            begin = at + _SLICE_BYTES
    return b"".join([*pieces, packer.compress(text[begin:])])


def _gzip() -> Any:
    return zlib.compressobj(wbits=31)


def _zstd() -> Any:
    return zstandard.ZstdCompressor(write_checksum=True).compressobj()
