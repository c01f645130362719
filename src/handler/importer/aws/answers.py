"""What S3's refusals mean: gone, replaced, archived, forbidden; and which permission is missing.

S3 mostly says itself which action it missed. Where it does not (HEAD has no body; buckets of other accounts say less),
the permission is named from the call that was refused.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

from botocore.exceptions import ClientError

from importer.model import Denied, Unavailable
from importer.sinks.calls import LOST

_GONE: Final = frozenset({"NoSuchKey", "NoSuchVersion", "404", "NotFound", "MethodNotAllowed", "405"})
# E.g. "User: arn:… is not authorized to perform: kms:Decrypt on resource: arn:aws:kms:… because no identity-based …"
_SAID = re.compile(r'not authorized to perform: ([A-Za-z0-9-]+:[A-Za-z0-9*]+)(?: on resource: "?([^"\s,]+))?')
_KMS: Final = "KMS."  # codes of a key that is there no more, e.g. KMS.DisabledException (C8)


def code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def is_gone(error: ClientError) -> bool:
    return code(error) in _GONE


def is_replaced(error: ClientError) -> bool:
    """Whether a condition on the ETag failed."""
    return status(error) == 412


def is_archived(error: ClientError) -> bool:
    """Whether the object lies in an archive class (C7): GET and UploadPartCopy say it one way, CopyObject another."""
    return code(error) in ("InvalidObjectState", "ObjectNotInActiveTierError")


def is_denied(error: ClientError) -> bool:
    return status(error) == 403 and not is_archived(error)


def names_its_permission(error: ClientError) -> bool:
    """Whether S3 itself says which action it missed."""
    return _SAID.search(_message(error)) is not None


def under(bucket: str, key: str) -> str:
    """What a policy would grant to reach this key: everything under its first folder."""
    return f"s3://{bucket}/{key.partition('/')[0]}/*"


@contextmanager
def told(call: str, permission: str) -> Iterator[None]:
    """Inside, S3's refusals and silence become Unavailable, with the call and the permission it needs."""
    try:
        yield
    except ClientError as error:
        unavailable(error, call, permission)
    except LOST as error:
        raise Unavailable(f"{call}: {error}") from error


def unavailable(error: ClientError, call: str, permission: str) -> NoReturn:
    """Raise what a refusal is to the rest of the house: trouble that ends when somebody mends it.

    Args:
        permission: what the call needs, and on what; told if S3 denies without saying why.
    """
    kind = Denied if is_denied(error) else Unavailable
    raise kind(f"{call}: {code(error)}{_remedy(error, permission)}") from error


def _remedy(error: ClientError, permission: str) -> str:
    if code(error).startswith(_KMS):
        return f"; the KMS key of this object or bucket cannot be used ({_message(error)[:200]}): enable it"
    if not is_denied(error):
        return ""
    said = _SAID.search(_message(error))
    if said is None:
        return f"; allow {permission}"
    if said[2] is None:
        return f"; allow {said[1]} (the call needs {permission})"
    return f"; allow {said[1]} on {said[2].rstrip('.')}"


def _message(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Message", ""))
