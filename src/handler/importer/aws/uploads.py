"""Objects too large for one call: multipart uploads that appear whole or not at all."""

from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from importer.aws import answers
from importer.sinks.calls import LOST

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PIECE_BYTES: Final = 8 << 20  # Quota: at least 5 MiB a piece but the last (N6)
PIECES: Final = 10_000  # Quota: docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html


class Upload:
    """One multipart upload, begun when made. Leave it with `complete` or `abandon`.

    Raises ClientError and the errors of `sinks.calls.LOST`: what they mean, the caller knows.
    """

    def __init__(self, client: "S3Client", bucket: str, key: str, **headers: Any) -> None:
        self._s3 = client
        self._where: Any = {"Bucket": bucket, "Key": key}
        self._where["UploadId"] = client.create_multipart_upload(**self._where, **headers)["UploadId"]

    def send(self, number: int, body: bytes) -> dict[str, Any]:
        """Upload a piece; what it gives back is for `complete`."""
        answer = self._s3.upload_part(**self._where, PartNumber=number, Body=body)
        return {"ETag": answer["ETag"], "PartNumber": number}

    def copy(self, number: int, **source: Any) -> dict[str, Any]:
        """Copy a piece from another object; what it gives back is for `complete`."""
        answer = self._s3.upload_part_copy(**self._where, PartNumber=number, **source)
        return {"ETag": answer["CopyPartResult"]["ETag"], "PartNumber": number}

    def complete(self, pieces: Iterable[dict[str, Any]], **more: Any) -> None:
        """Make the object appear; durable when it returns."""
        parts: Any = {"Parts": list(pieces)}
        self._s3.complete_multipart_upload(**self._where, MultipartUpload=parts, **more)

    def abandon(self) -> None:
        """Remove the pieces. What cannot be removed now is removed by the bucket's rule for incomplete uploads."""
        with suppress(ClientError, *LOST):
            self._s3.abort_multipart_upload(**self._where)


class PieceWriter:
    """See `executions.ports.Writer`: one PUT for a small object, a multipart upload for a large one."""

    def __init__(self, client: "S3Client", bucket: str, key: str, content_type: str) -> None:
        self._s3 = client
        self._bucket = bucket
        self._key = key
        self._content_type = content_type
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._upload: Upload | None = None
        self._pieces: list[dict[str, Any]] = []

    def __enter__(self) -> "PieceWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._upload is not None:
            self._upload.abandon()

    def write(self, data: bytes) -> None:
        self._waiting.append(data)
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= PIECE_BYTES:
            self._send_piece()

    def commit(self) -> None:
        with answers.told(*writing(self._bucket, self._key)):
            if self._upload is None:
                put(self._s3, self._bucket, self._key, b"".join(self._waiting), self._content_type)
                return
            if self._waiting:
                self._send_piece()
            self._upload.complete(self._pieces)
        self._upload = None

    def _send_piece(self) -> None:
        with answers.told(*writing(self._bucket, self._key)):
            if self._upload is None:
                self._upload = Upload(self._s3, self._bucket, self._key, ContentType=self._content_type)
            self._pieces.append(self._upload.send(len(self._pieces) + 1, b"".join(self._waiting)))
        self._waiting, self._waiting_bytes = [], 0


def put(client: "S3Client", bucket: str, key: str, body: bytes, content_type: str) -> None:
    """Write an object in one call; durable when it returns."""
    client.put_object(Bucket=bucket, Key=key, Body=body, ContentType=content_type)


def writing(bucket: str, key: str) -> tuple[str, str]:
    """For `answers.told`: the call, and the permission it needs."""
    return (
        f"PUT s3://{bucket}/{key}",
        f"s3:PutObject on {answers.under(bucket, key)} "
        "(and kms:GenerateDataKey, kms:Decrypt on the bucket's KMS key, if it has one)",
    )
