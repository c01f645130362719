"""Signed forms: whoever has one may post one object under one key, without credentials of their own, for a while (J3).

A form and not a signed PUT, which could not limit the size. It holds the credentials' own token where they are for a
time, and ends with them, though it be sooner than it says. All of its fields are a secret: never log one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError

from importer.model import Unavailable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@dataclass(frozen=True, slots=True)
class Form:
    """What to post where.

    Attributes:
        url: of the bucket.
        fields: go before the file's bytes, which are the field `file`, the last one.
    """

    url: str
    fields: dict[str, str] = field(repr=False)


class Forms:
    """Signs forms; no call is made for it.

    Args:
        client: makes a client that signs by version 4, when the first form is asked for (`clients.signer`).
    """

    def __init__(self, client: Callable[[], "S3Client"]) -> None:
        self._client = cache(client)
        self._urls: dict[str, str] = {}

    def url(self, bucket: str) -> str:
        """Where forms of a bucket are posted to. Raises Unavailable."""
        if bucket not in self._urls:
            self._urls[bucket] = self.form(bucket, "none", "text/plain", 0, 1).url  # botocore alone can say
        return self._urls[bucket]

    def form(
        self,
        bucket: str,
        key: str,
        content_type: str,
        most_bytes: int,
        seconds: int,
        metadata: Mapping[str, str] | None = None,
    ) -> Form:
        """A form for one object with this key and Content-Type and at most so many bytes, good for so many seconds.

        Args:
            key: without `$`, which policies of forms read in a way of their own.
            metadata: of the object; the form allows these and no others.
        Raises:
            Unavailable: there are no credentials to sign with.
        """
        fixed = {"Content-Type": content_type} | {
            f"x-amz-meta-{name}": value for name, value in (metadata or {}).items()
        }
        conditions: list[Any] = [{name: value} for name, value in fixed.items()]
        conditions.append(["content-length-range", 0, most_bytes])
        try:
            signed = self._client().generate_presigned_post(bucket, key, dict(fixed), conditions, seconds)
        except BotoCoreError as error:
            raise Unavailable(f"an upload cannot be signed: {error}") from error
        return Form(signed["url"], signed["fields"])
