"""What HTTP requests bring, put into the bucket, and links to what they may fetch from it."""

from functools import cache
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

from botocore.exceptions import ClientError

from importer.aws import reading, uploads
from importer.aws.answers import is_replaced, told
from importer.notification import Dropped

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3 import S3Client

    from importer.model import Clock


class S3Bodies:
    """See `doors.ports.Bodies`.

    Args:
        signer: makes, when a link is asked for, a client that signs as every region takes it.
    """

    def __init__(self, client: "S3Client", clock: "Clock", signer: "Callable[[], S3Client]") -> None:
        self._s3 = client
        self._clock = clock
        self._signer = cache(signer)

    def upload(self, bucket: str, key: str, body: bytes, content_type: str) -> Dropped | None:
        with told(*uploads.writing(bucket, key)):
            try:
                put: Any = self._s3.put_object(
                    Bucket=bucket, Key=key, Body=body, ContentType=content_type, IfNoneMatch="*"
                )
                return Dropped(bucket, key, _version(put.get("VersionId")), put["ETag"].strip('"'))
            except ClientError as error:
                if not is_replaced(error):
                    raise
        # Something lies there: ours, if the reply to an earlier try was lost (F8).
        if reading.whole(self._s3, self._clock, bucket, key) != body:
            return None
        with told(f"HEAD s3://{bucket}/{key}", f"s3:GetObject on s3://{bucket}/{key}"):
            found = self._s3.head_object(Bucket=bucket, Key=key)
        return Dropped(bucket, key, _version(found.get("VersionId")), found["ETag"].strip('"'))

    def link(self, bucket: str, key: str, file_name: str, seconds: int) -> str:
        attached = f"attachment; filename*=UTF-8''{quote(file_name, safe='')}"
        asked = {"Bucket": bucket, "Key": key, "ResponseContentDisposition": attached}
        return cast("str", self._signer().generate_presigned_url("get_object", Params=asked, ExpiresIn=seconds))


def _version(version_id: str | None) -> str | None:
    """As `notification`: without versioning there is none."""
    return None if version_id in (None, "", "null") else version_id
