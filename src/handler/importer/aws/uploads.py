"""Objects made of pieces: multipart uploads that appear whole or not at all, whoever sent their pieces.

An upload is known by its id alone: any worker that has the id goes on with it. What is there already S3 is asked
(ListParts), never a note of ours, so that a piece sent twice completes too, be its ETag another one (it is no hash of
the bytes under KMS). An upload is not aborted when a call fails: the next try goes on with it, or another worker does
already. What nobody goes on with is removed by the bucket's rule for incomplete uploads.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from importer.aws import answers
from importer.model import UploadGone
from importer.sinks.calls import LOST

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompleteMultipartUploadOutputTypeDef, PartTypeDef

SIP_BYTES: Final = 64 << 10  # Quota: at least 8 KiB a chunk but the last, in S3's aws-chunked encoding
AT_ONCE_BYTES: Final = 256 << 10
PIECES: Final = 10_000  # Quota: docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html


class Upload:
    """One multipart upload.

    Every method raises ClientError and the errors of `sinks.calls.LOST` (what they mean, the caller knows), and
    UploadGone: completed by another worker, or taken away.
    """

    def __init__(self, client: "S3Client", bucket: str, key: str, upload_id: str) -> None:
        self._s3 = client
        self.id = upload_id
        self._where: Any = {"Bucket": bucket, "Key": key, "UploadId": upload_id}

    @classmethod
    def begun(cls, client: "S3Client", bucket: str, key: str, **headers: Any) -> "Upload":
        """A new one."""
        upload_id = client.create_multipart_upload(Bucket=bucket, Key=key, **headers)["UploadId"]
        return cls(client, bucket, key, upload_id)

    def send(self, number: int, body: bytes | IO[bytes]) -> None:
        with _gone_is_told(self.id):
            self._s3.upload_part(**self._where, PartNumber=number, Body=body_of(body))

    def copy(self, number: int, **source: Any) -> None:
        """Make a piece of another object's bytes."""
        with _gone_is_told(self.id):
            self._s3.upload_part_copy(**self._where, PartNumber=number, **source)

    def pieces(self) -> dict[int, "PartTypeDef"]:
        """What is there, by number."""
        with _gone_is_told(self.id):
            pages = self._s3.get_paginator("list_parts").paginate(**self._where)
            return {piece["PartNumber"]: piece for page in pages for piece in page.get("Parts", [])}

    def complete(
        self, pieces: dict[int, "PartTypeDef"], count: int, **more: Any
    ) -> "CompleteMultipartUploadOutputTypeDef":
        """Make the object appear of pieces 1…count; durable when it returns. What S3 answers."""
        if missing := [number for number in range(1, count + 1) if number not in pieces]:
            raise UploadGone(f"upload {self.id} lacks {len(missing)} of {count} pieces, the first is {missing[0]}")
        parts: Any = [{"PartNumber": number, "ETag": pieces[number]["ETag"]} for number in range(1, count + 1)]
        with _gone_is_told(self.id):
            return self._s3.complete_multipart_upload(**self._where, MultipartUpload={"Parts": parts}, **more)

    def abandon(self) -> None:
        """Remove the pieces: nobody will go on. What cannot be removed now is removed by the bucket's rule."""
        with suppress(ClientError, *LOST):
            self._s3.abort_multipart_upload(**self._where)


class S3Pieces:
    """See `executions.ports.Pieces`."""

    def __init__(self, client: "S3Client", bucket: str, key: str, content_type: str, upload_id: str) -> None:
        self._writing = writing(bucket, key)
        self._listing = listing(bucket, key)
        if upload_id:
            self._upload = Upload(client, bucket, key, upload_id)
        else:
            with answers.told(*self._writing):
                self._upload = Upload.begun(client, bucket, key, ContentType=content_type)

    @property
    def upload_id(self) -> str:
        return self._upload.id

    def send(self, number: int, body: bytes | IO[bytes]) -> None:
        with answers.told(*self._writing):
            self._upload.send(number, body)

    def complete(self, count: int) -> None:
        with answers.told(*self._listing):
            pieces = self._upload.pieces()
        with answers.told(*self._writing):
            self._upload.complete(pieces, count)


class _Sips:
    """A file as the SDK reads it: from its begin, and never much at once.

    To sign, to sum and to send it, the SDK asks for a MiB at a time, and over TLS holds several copies of what it is
    given; it takes less as well. Bytes would be copied as a whole.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell
        self.seek(0)

    def read(self, most: int | None = None) -> bytes:
        return self._file.read(min(most, SIP_BYTES) if most is not None and most >= 0 else -1)


def body_of(body: bytes | IO[bytes]) -> Any:
    """What is to be sent, for a call of the SDK's. What is short is not worth S3's leave to send it (100 Continue)."""
    if isinstance(body, bytes):
        return body
    if body.seek(0, os.SEEK_END) > AT_ONCE_BYTES:
        return _Sips(body)
    body.seek(0)
    return body.read()


def writing(bucket: str, key: str) -> tuple[str, str]:
    """For `answers.told`: the call, and the permission it needs."""
    return (
        f"PUT s3://{bucket}/{key}",
        f"s3:PutObject on {answers.under(bucket, key)} "
        "(and kms:GenerateDataKey, kms:Decrypt on the bucket's KMS key, if it has one)",
    )


def listing(bucket: str, key: str) -> tuple[str, str]:
    """As `writing`, for the pieces of an upload."""
    return f"LIST PIECES s3://{bucket}/{key}", f"s3:ListMultipartUploadParts on {answers.under(bucket, key)}"


@contextmanager
def _gone_is_told(upload_id: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        # InvalidPart: sent again by another worker since it was listed, with another ETag.
        if answers.code(error) not in ("NoSuchUpload", "InvalidPart"):
            raise
        raise UploadGone(f"upload {upload_id}: {answers.code(error)}") from error
