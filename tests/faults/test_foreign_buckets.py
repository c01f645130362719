"""A foreign bucket, unversioned and encrypted with a KMS key: the same promises, and every denial names its remedy."""

import json
from collections.abc import Iterator
from typing import Any
from unittest import mock

import moto.s3.models
import pytest

from importer.aws import copying
from tests.faults.importing import WORKLOADS, Importer, installed, row, survives
from tests.support.books import assert_books_balance
from tests.support.faults import Fault, attempt, every
from tests.support.scenarios import calls_of, explore, report, sample

KEY, BODY = WORKLOADS["medium"]
KMS_KEY = "arn:aws:kms:us-east-1:444455556666:key/11111111-2222-3333-4444-555555555555"
ENCRYPTED: dict[str, Any] = {
    "ServerSideEncryption": "aws:kms",
    "SSEKMSKeyId": KMS_KEY,
    "StorageClass": "STANDARD_IA",
    "Metadata": {"sender": "nightly"},
    "Tagging": "team=web",
}
MULTIPART = ("GetObjectTagging", "CreateMultipartUpload", "UploadPartCopy", "CompleteMultipartUpload")


@pytest.fixture(params=[False, True], ids=["one call", "pieces"])
def in_pieces(request: pytest.FixtureRequest) -> Iterator[bool]:
    """Objects "over 5 GiB" as well: pieces of 1,000 bytes here, for us as for the emulator."""
    if not request.param:
        yield False
        return
    with (
        mock.patch.object(copying, "COPY_BYTES", 1000),
        mock.patch.object(copying, "PIECE_BYTES", 1000),
        mock.patch.object(copying, "COPIES_IN_FLIGHT", 1),
        mock.patch.object(moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE", 1000),
    ):
        yield True


def kept(importer: Importer, prefix: str) -> list[dict[str, Any]]:
    """Encryption, class, metadata and tags of what lies under a prefix."""
    s3, found = importer.cloud.client("s3"), []
    with importer.cloud.unseen():
        for key in importer.cloud.objects(prefix):
            head = s3.head_object(Bucket=importer.cloud.bucket, Key=key)
            tags = s3.get_object_tagging(Bucket=importer.cloud.bucket, Key=key)["TagSet"]
            names = ("ServerSideEncryption", "SSEKMSKeyId", "StorageClass", "Metadata")
            found.append({name: head.get(name) for name in names} | {"tags": tags})
    return found


def test_the_archive_is_encrypted_tagged_and_stored_as_the_source_was(in_pieces: bool) -> None:
    """Under the sender's own key and in its own class, whatever the bucket's defaults are (I6)."""
    with installed(versioned=False) as importer:
        notification = importer.cloud.drop(KEY, BODY, **ENCRYPTED)
        before = kept(importer, "imports/")
        ended = attempt(importer.cloud, lambda: importer.deliver(notification))
        assert ended.error is None
        assert kept(importer, "completed_imports/") == before
        assert_books_balance(importer.cloud, {KEY: BODY}, tidy=True)
        assert (MULTIPART[-1] in " ".join(ended.journal)) is in_pieces


def test_whatever_goes_wrong_once_the_books_balance(in_pieces: bool) -> None:
    """One call fails in every way; deliveries after it leave each row once, and the file moved."""
    with installed(versioned=False) as importer:
        notification = importer.cloud.drop(KEY, BODY, **ENCRYPTED)
        calls = calls_of(importer.cloud, lambda: importer.deliver(notification))
        mine = [call for call in calls if call.service == "s3" and (not in_pieces or call.operation in MULTIPART)]
        some = sample(every(mine), 5, whole=15)
        failures = explore(some, lambda fault: survives(importer, notification, {KEY: BODY}, fault), workers=2)
        assert not failures, report(failures)


def test_overwritten_at_any_call_of_the_move_no_newer_upload_is_lost(in_pieces: bool) -> None:
    """Promise 4 without versioning: no newer upload with other bytes is touched (I4, A10)."""
    newer = row(99) + b"\n"
    with installed(versioned=False) as importer:
        first = importer.cloud.drop(KEY, BODY, **ENCRYPTED)
        calls = calls_of(importer.cloud, lambda: importer.deliver(first))
        moving = [call.index for call in calls if call.service == "s3"][-14:]

        def play(at: int) -> None:
            told: list[dict[str, Any]] = []
            fault = Fault("before", at, detail={"do": lambda cloud: told.append(cloud.drop(KEY, newer))})
            importer.deliver_as_lambda_does(first, fault)
            for notification in [*told, first]:
                importer.deliver(notification)
            assert newer in importer.cloud.objects("completed_imports/").values()
            assert not importer.cloud.objects("imports/")

        failures = explore(sample(moving, 3, whole=14), play, workers=2)
        assert not failures, report(failures)


# -- denied --------------------------------------------------------------------------------------------------------

BUCKET = "s3://import-bucket"
S3_SAYS = "User: arn:aws:sts::1:assumed-role/r/f is not authorized to perform: {} on resource: {} because no …"
DENIED = {
    "HEAD": (Fault("denied", "HeadObject imports/"), f"allow s3:GetObject on {BUCKET}/imports/*"),
    "GET, of an encrypted object": (Fault("denied", "GetObject imports/"), f"allow kms:Decrypt on {KMS_KEY}"),
    "GET, in S3's words": (
        Fault("denied", "GetObject imports/", detail={"message": S3_SAYS.format("kms:Decrypt", f'"{KMS_KEY}"')}),
        f"allow kms:Decrypt on {KMS_KEY}",
    ),
    "COPY": (Fault("denied", "CopyObject"), f"kms:Decrypt and kms:GenerateDataKey on {KMS_KEY}"),
    "COPY, in S3's words": (
        Fault("denied", "CopyObject", detail={"message": S3_SAYS.format("s3:PutObjectTagging", "arn:aws:s3:::b/c/*")}),
        "allow s3:PutObjectTagging on arn:aws:s3:::b/c/*",
    ),
    "PUT of bad rows": (Fault("denied", "PutObject work/"), f"allow s3:PutObject on {BUCKET}/work/*"),
    "PUT of the errors": (Fault("denied", "PutObject errors/"), f"allow s3:PutObject on {BUCKET}/errors/*"),
    "PUT of the receipt": (Fault("denied", "PutObject receipts/"), f"allow s3:PutObject on {BUCKET}/receipts/*"),
    "GET of bad rows": (Fault("denied", "GetObject work/"), f"allow s3:GetObject on {BUCKET}/work/*"),
    "LIST": (Fault("denied", "ListObjectsV2 work/"), f"allow s3:ListBucket on {BUCKET}"),
    "DELETE": (
        Fault("denied", "DeleteObject imports/"),
        f"allow s3:DeleteObject and s3:GetObject on {BUCKET}/imports/*",
    ),
}


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("fault", "remedy"), DENIED.values(), ids=DENIED.keys())
def test_a_denied_call_names_the_missing_permission_and_nothing_is_lost(fault: Fault, remedy: str) -> None:
    """I9, C8: the delivery fails with a sentence that can be pasted into a policy; after the fix it goes on."""
    with installed(versioned=False) as importer:
        notification = importer.cloud.drop(KEY, BODY, **ENCRYPTED)
        ended = attempt(importer.cloud, lambda: importer.deliver(notification), fault)
        assert remedy in str(ended.error)
        importer.cloud.clock.sleep(60)
        survives(importer, notification, {KEY: BODY})


def test_without_any_right_both_missing_ones_are_named() -> None:
    """Who may not list is not told whether the file is there (J6)."""
    with installed(versioned=False) as importer:
        notification = importer.cloud.drop(KEY, BODY)
        ended = attempt(importer.cloud, lambda: importer.deliver(notification), Fault("denied", "HeadObject", times=9))
        assert f"allow s3:GetObject on {BUCKET}/imports/*, s3:ListBucket on {BUCKET}" in str(ended.error)


def test_a_disabled_key_is_said_to_be_one() -> None:
    """C8: S3 answers 400, and no permission helps."""
    with installed(versioned=False) as importer:
        notification = importer.cloud.drop(KEY, BODY, **ENCRYPTED)
        fault = Fault("throttled", "GetObject imports/", detail={"code": "KMS.DisabledException"}, times=9)
        ended = attempt(importer.cloud, lambda: importer.deliver(notification), fault)
        assert "KMS.DisabledException; the KMS key of this object or bucket cannot be used" in str(ended.error)
        importer.cloud.clock.sleep(60)
        survives(importer, notification, {KEY: BODY})


def test_segments_that_may_not_be_deleted_are_told_though_s3_calls_it_a_success() -> None:
    """DeleteObjects answers 200 with refusals inside."""
    with installed(versioned=False) as importer:
        objects = importer.workplaces(lambda: 900_000).objects
        refused = {"Errors": [{"Key": "work/1/a", "Code": "AccessDenied"}]}
        with (
            mock.patch.object(objects, "_s3", mock.Mock(delete_objects=mock.Mock(return_value=refused))),
            pytest.raises(Exception, match="AccessDenied for work/1/a; allow s3:DeleteObject on s3://b/work/\\*"),
        ):
            objects.delete("b", ["work/1/a"])


def test_the_receipt_and_errors_lie_in_the_foreign_bucket() -> None:
    """Everything about a file is beside it, with the account that owns it."""
    with installed(versioned=False) as importer:
        importer.deliver(importer.cloud.drop(KEY, BODY, **ENCRYPTED))
        (receipt,) = map(json.loads, importer.cloud.objects("receipts/").values())
        uris = [receipt[name] for name in ("completed_uri", "errors_uri", "reasons_uri")]
        assert all(uri.startswith(f"{BUCKET}/") for uri in uris)
        assert receipt["source"]["version_id"] is None
