"""Copies that keep all of an object that a copy can keep, whatever its size.

CopyObject carries bytes, metadata and tags, but puts the copy into S3 Standard under the bucket's default encryption
unless told otherwise (I6). A larger object is copied in pieces, several at a time, by as many
invocations as it takes: the upload's id is noted, and which pieces are there S3 knows. A multipart upload begins with
nothing, so its metadata and tags are told too.

Not kept, because S3 keeps them from copies: ACLs, object locks and legal holds, a website redirect, the class of an
object in the archive (a copy there could not be read back, and so not be proven).
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlencode

from importer.aws import answers
from importer.aws.clients import COPIES_IN_FLIGHT
from importer.aws.uploads import PIECES, Upload, listing
from importer.bad_rows import ObjectProblem
from importer.model import S3Object, UploadGone, Value

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# CopyObject could do 5 GiB (I5), but answers when it is done: a minute or more, of which a kill leaves nothing. This
# much is copied in seconds, and what is larger in pieces that stay.
COPY_BYTES: Final = 512 << 20
PIECE_BYTES: Final = 128 << 20  # a few seconds each; larger where there would be more than PIECES
_ARCHIVES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_HEADERS: Final = (
    "ContentType",
    "ContentEncoding",
    "ContentDisposition",
    "ContentLanguage",
    "CacheControl",
    "Expires",
    "Metadata",
)

# Inside it, a refusal of a call on the source (what call, which permission) becomes what it says about the source.
Told = Callable[[S3Object, str, str], AbstractContextManager[None]]


class Notes(Protocol):
    """See `executions.ports.Notebook`."""

    def page(self, step: str) -> dict[str, Value]: ...

    def keep(self, step: str, page: dict[str, Value], at_once: bool = False) -> None: ...


def copy(client: "S3Client", source: S3Object, key: str, found: Any, told: Told, notes: Notes) -> None:
    """Copy the source within its bucket.

    Args:
        client: waits minutes for an answer: S3 answers when it has copied.
        found: the answer to a HEAD of the source.
    Raises:
        what `told` makes of S3's refusals; what `Notebook.keep` raises: the upload is there to be gone on with.
        UploadGone: the noted upload was completed by another worker, or taken away. It is not noted any more.
    """
    if source.size_bytes <= COPY_BYTES:
        _in_one_call(client, source, key, found, told)
    else:
        _in_pieces(client, source, key, found, told, notes)


def _in_one_call(client: "S3Client", source: S3Object, key: str, found: Any, told: Told) -> None:
    with told(source, f"COPY {source.uri}", _permissions(source, key, found)):
        client.copy_object(
            Bucket=source.bucket,
            Key=key,
            **_origin(source),
            **_place(found),
            MetadataDirective="COPY",
            TaggingDirective="COPY",
            ChecksumAlgorithm="SHA256",  # so that S3 itself says what it wrote
        )


def _in_pieces(client: "S3Client", source: S3Object, key: str, found: Any, told: Told, notes: Notes) -> None:
    call, permissions = f"COPY {source.uri}", _permissions(source, key, found)
    pieces = list(pieces_of(source.size_bytes))
    page = notes.page("copy")
    if "upload_id" in page:
        upload = Upload(client, source.bucket, key, str(page["upload_id"]))
    else:
        headers = {name: found[name] for name in _HEADERS if name in found} | _place(found)
        with told(source, f"TAGS {source.uri}", f"{_version_action(source, 'Tagging')} on {_under(source)}"):
            tags = client.get_object_tagging(**_named(source))["TagSet"]
        if tags:
            headers["Tagging"] = urlencode({tag["Key"]: tag["Value"] for tag in tags})
        with told(source, call, permissions):
            # The one checksum S3 can make of the whole from its pieces, and the one it makes of uploads by itself (N6).
            upload = Upload.begun(
                client, source.bucket, key, **headers, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT"
            )

    def there() -> dict[int, Any]:
        with answers.told(*listing(source.bucket, key)):
            return upload.pieces()

    def copied(piece: tuple[int, int, int]) -> None:
        number, start, stop = piece
        upload.copy(number, **_origin(source), CopySourceRange=f"bytes={start}-{stop - 1}")

    try:
        if "upload_id" in page:
            missing = _missing(pieces, there())
        else:
            missing, page = pieces, {"upload_id": upload.id}
            notes.keep("copy", page, at_once=True)
        with ThreadPoolExecutor(COPIES_IN_FLIGHT) as pool:
            for at in range(0, len(missing), COPIES_IN_FLIGHT):
                with told(source, call, permissions):
                    list(pool.map(copied, missing[at : at + COPIES_IN_FLIGHT]))
                notes.keep("copy", page)
        listed = there()
        with told(source, call, permissions):
            upload.complete(listed, len(pieces), ChecksumType="FULL_OBJECT")
    except UploadGone:
        notes.keep("copy", {}, at_once=True)
        raise
    except ObjectProblem:  # nobody will go on: the source is gone, or another one
        upload.abandon()
        raise


def _missing(pieces: list[tuple[int, int, int]], there: dict[int, Any]) -> list[tuple[int, int, int]]:
    """Those not there, or there with another size, as another version of this code may have cut them."""
    return [piece for piece in pieces if there.get(piece[0], {}).get("Size") != piece[2] - piece[1]]


def pieces_of(size_bytes: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and stop of each piece."""
    piece_bytes = max(PIECE_BYTES, -(-size_bytes // PIECES))
    for number, start in enumerate(range(0, size_bytes, piece_bytes), 1):
        yield number, start, min(start + piece_bytes, size_bytes)


def _origin(source: S3Object) -> dict[str, Any]:
    return {"CopySource": _named(source), "CopySourceIfMatch": source.etag}


def _named(source: S3Object) -> dict[str, Any]:
    named = {"Bucket": source.bucket, "Key": source.key}
    return named if source.version_id is None else {**named, "VersionId": source.version_id}


def _place(found: Any) -> dict[str, Any]:
    """Storage class and encryption, as the source has them."""
    place: dict[str, Any] = {}
    storage = found.get("StorageClass")  # none is S3 Standard
    if storage and storage not in _ARCHIVES:
        place["StorageClass"] = storage
    encryption = found.get("ServerSideEncryption")
    if encryption:
        place["ServerSideEncryption"] = encryption
    if kms_key(found):
        place["SSEKMSKeyId"] = kms_key(found)
    if encryption == "aws:kms":  # dual-layer encryption has no bucket keys
        place["BucketKeyEnabled"] = bool(found.get("BucketKeyEnabled"))
    return place


def kms_key(found: Any) -> str | None:
    """The KMS key an object is encrypted with, by the answer to a HEAD."""
    return found.get("SSEKMSKeyId") if str(found.get("ServerSideEncryption", "")).startswith("aws:kms") else None


def _permissions(source: S3Object, key: str, found: Any) -> str:
    needed = (
        f"{_version_action(source)} and {_version_action(source, 'Tagging')} on {_under(source)}, "
        f"s3:PutObject and s3:PutObjectTagging on {answers.under(source.bucket, key)}"
    )
    used = kms_key(found)
    return f"{needed}, kms:Decrypt and kms:GenerateDataKey on {used}" if used else needed


def _version_action(source: S3Object, what: str = "") -> str:
    return f"s3:GetObject{'' if source.version_id is None else 'Version'}{what}"


def _under(source: S3Object) -> str:
    return answers.under(source.bucket, source.key)
