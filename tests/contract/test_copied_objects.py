"""Copies of objects: all that a copy can keep is kept, whatever the size, and a copy is proven before it counts."""

import datetime
import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import boto3
import moto.s3.models
import pytest

from importer.aws import copying, uploads
from importer.aws.objects import S3Objects
from importer.bad_rows import FileReason, ObjectProblem
from importer.model import S3Object, TimeIsUp, Unavailable, Value
from importer.notification import Dropped
from importer.sha256 import Sha256
from tests.support import strict
from tests.support.cloud import Cloud
from tests.support.faults import Fault, attempt, every
from tests.support.scenarios import calls_of, explore, report, sample

MIB = 1 << 20
LARGE = bytes(range(256)) * (12 * MIB // 256) + b"the last piece is small"
SMALL = b"small"
KEY, COPY = "imports/a b+ü.json", "completed_imports/2026/11/20/a b+ü.json"
KMS_KEY = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555"
KEPT = {
    "Metadata": {"sender": "nightly", "empty": ""},
    "ContentType": "application/x-ndjson",
    "ContentEncoding": "gzip",
    "ContentDisposition": 'attachment; filename="a b.json"',
    "ContentLanguage": "de",
    "CacheControl": "no-cache",
    "Expires": datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC),
    "StorageClass": "STANDARD_IA",
    "ServerSideEncryption": "aws:kms",
    "SSEKMSKeyId": KMS_KEY,
    "BucketKeyEnabled": True,
}
TAGS = {"team": "web data", "a+b": "1=2"}
TAGGING = "team=web%20data&a%2Bb=1%3D2"


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    """CopyObject ends at 6 MiB here, for us as for S3; pieces keep S3's real minimum of 5 MiB."""
    with (
        mock.patch.object(copying, "COPY_BYTES", 6 * MIB),
        mock.patch.object(copying, "PIECE_BYTES", 5 * MIB),
        mock.patch.object(copying, "COPIES_IN_FLIGHT", 1),  # so that the calls of two runs have the same numbers
        mock.patch.object(strict, "COPY_SOURCE_BYTES", 6 * MIB),
    ):
        yield


@pytest.fixture(params=[True, False], ids=["versioned", "unversioned"])
def cloud(request: pytest.FixtureRequest) -> Iterator[Cloud]:
    with Cloud(versioned=request.param) as one:
        yield one


def objects(cloud: Cloud) -> S3Objects:
    return S3Objects(boto3.client("s3"), cloud.clock)


def dropped(cloud: Cloud, body: bytes, **more: Any) -> S3Object:
    cloud.drop(KEY, body, **more)
    with cloud.unseen():
        found = objects(cloud).head(Dropped(cloud.bucket, KEY, cloud.dropped[-1].version_id, ""))
    assert found is not None
    return found


@dataclass
class Notes:
    """A notebook in memory, of which time may run out: pages kept survive the worker."""

    pages: dict[str, dict[str, Value]] = field(default_factory=dict)
    keeps_left: int = 1_000_000
    journal: list[str] = field(default_factory=list)

    def page(self, step: str) -> dict[str, Value]:
        return self.pages.get(step, {})

    def keep(self, step: str, page: dict[str, Value], at_once: bool = False) -> None:
        self.pages[step] = page
        self.journal.append(step)
        if not at_once:
            self.keeps_left -= 1
            if self.keeps_left < 0:
                raise TimeIsUp


def with_crc64(cloud: Cloud, body: bytes) -> S3Object:
    """Dropped by a client that lets S3 choose: it then keeps a CRC64NVME of the whole. (botocore alone has none.)"""
    source = dropped(cloud, body)
    stored = cloud._object(KEY)
    assert stored is not None
    stored.checksum_algorithm, stored.checksum_type = "CRC64NVME", "FULL_OBJECT"
    stored.checksum_value = moto.s3.models.compute_checksum(body, "CRC64NVME").decode()
    return source


def copy(cloud: Cloud, source: S3Object, body: bytes, notebook: Notes | None = None) -> None:
    objects(cloud).copy(source, COPY, hashlib.sha256(body).hexdigest(), notebook or Notes())


def looks(cloud: Cloud, key: str) -> dict[str, Any]:
    """All that HEAD and the tags say of an object, but for what a copy has of its own."""
    with cloud.unseen():
        found: dict[str, Any] = dict(cloud.client("s3").head_object(Bucket=cloud.bucket, Key=key))
        tags = cloud.client("s3").get_object_tagging(Bucket=cloud.bucket, Key=key)["TagSet"]
    for own in ("ResponseMetadata", "ETag", "VersionId", "LastModified", "ChecksumType"):
        found.pop(own, None)
    return {**found, "tags": {tag["Key"]: tag["Value"] for tag in tags}}


def unfinished_uploads(cloud: Cloud) -> list[str]:
    with cloud.unseen():
        listed = cloud.client("s3").list_multipart_uploads(Bucket=cloud.bucket)
    return [upload["Key"] for upload in listed.get("Uploads", [])]


def operations(cloud: Cloud) -> list[str]:
    return [call.operation for call in cloud.wire.ambient.calls]


IN_ONE = ["HeadObject", "HeadObject", "CopyObject", "HeadObject"]
IN_PIECES = [
    "HeadObject",
    "HeadObject",
    "GetObjectTagging",
    "CreateMultipartUpload",
    *["UploadPartCopy"] * 3,
    "ListParts",
    "CompleteMultipartUpload",
    "HeadObject",
]


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["in one call", "in pieces"])
def test_a_copy_keeps_all_but_its_own_date_and_etag(cloud: Cloud, body: bytes):
    """Metadata, headers, tags, storage class and encryption, of a small object as of a large one (I5, I6)."""
    source = dropped(cloud, body, Tagging=TAGGING, **KEPT)
    copy(cloud, source, body)
    before, after = looks(cloud, KEY), looks(cloud, COPY)
    if body is LARGE:  # moto 5.2.5 forgets the bucket key of a multipart upload: what it was told stands in its place
        (created,) = [call for call in cloud.wire.ambient.calls if call.operation == "CreateMultipartUpload"]
        after["BucketKeyEnabled"] = created.header("x-amz-server-side-encryption-bucket-key-enabled") == "true"
    assert after == before
    assert before["tags"] == TAGS
    assert cloud.objects() == {KEY: body, COPY: body}
    assert not unfinished_uploads(cloud)


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["in one call", "in pieces"])
def test_an_object_with_nothing_attached_gets_nothing_attached(cloud: Cloud, body: bytes):
    source = dropped(cloud, body)
    copy(cloud, source, body)
    assert looks(cloud, COPY) == looks(cloud, KEY)


def test_a_copy_that_is_there_is_not_made_again(cloud: Cloud):
    """Re-entrance: one HEAD proves a small one, two HEADs a large one."""
    for body in (SMALL, LARGE):
        source = with_crc64(cloud, body)
        copy(cloud, source, body)
        cloud.wire.ambient.calls.clear()
        copy(cloud, source, body)
        assert operations(cloud) == ["HeadObject"] * (1 if body is SMALL else 2)


def test_another_object_of_the_same_size_is_no_copy(cloud: Cloud):
    """Size and place prove nothing: it is copied over."""
    for body in (SMALL, LARGE):
        source = dropped(cloud, body)
        cloud.drop(COPY, body[::-1])
        copy(cloud, source, body)
        assert cloud.objects(COPY) == {COPY: body}


def test_a_large_copy_is_proven_by_s3s_checksums_of_the_whole_where_both_have_one(cloud: Cloud):
    """CRC64NVME of the whole object, of both (A11): nothing is read again."""
    source = with_crc64(cloud, LARGE)
    copy(cloud, source, LARGE)
    assert operations(cloud) == [*IN_PIECES, "HeadObject"]


@pytest.mark.parametrize("more", [{}, {"ChecksumAlgorithm": "CRC32"}, {"ChecksumAlgorithm": "SHA256"}])
def test_else_it_is_read_back(cloud: Cloud, more: dict[str, str]):
    """Checksums of different kinds do not compare (N6)."""
    source = dropped(cloud, LARGE, **more)
    copy(cloud, source, LARGE)
    assert operations(cloud) == [*IN_PIECES, "HeadObject", "GetObject"]


def test_a_checksum_of_checksums_is_not_compared_with_one_of_the_whole(cloud: Cloud):
    """COMPOSITE says how an object was cut, not what is in it."""
    source = dropped(cloud, LARGE)
    real = S3Objects._head_source

    def composite(self: S3Objects, wanted: S3Object) -> Any:
        return {**real(self, wanted), "ChecksumCRC64NVME": "AAAAAAAAAAA=-3", "ChecksumType": "COMPOSITE"}

    with mock.patch.object(S3Objects, "_head_source", composite):
        copy(cloud, source, LARGE)
    assert operations(cloud)[-1] == "GetObject"


def test_a_copy_with_other_bytes_is_not_called_a_copy(cloud: Cloud):
    """Whatever made it so: the source stays, and somebody is told."""
    source = dropped(cloud, LARGE)
    with (
        mock.patch.object(uploads.Upload, "complete", side_effect=lambda *_, **__: cloud.drop(COPY, LARGE[::-1])),
        pytest.raises(Unavailable, match="is not a copy of"),
    ):
        copy(cloud, source, LARGE)


SIZES = [5 * 2**30 + 1, 10**12, 5 * 2**40, 50 * 10**12]


@pytest.mark.parametrize("size_bytes", SIZES)
def test_pieces_keep_s3s_limits_at_every_size(size_bytes: int):
    """1 to 10,000, end to end, 5 MiB to 5 GiB but for the last (N6)."""
    with mock.patch.object(copying, "PIECE_BYTES", 128 * MIB):
        pieces = list(copying.pieces_of(size_bytes))
    numbers, starts, stops = zip(*pieces, strict=True)
    assert numbers == tuple(range(1, len(pieces) + 1))
    assert len(pieces) <= 10_000
    assert (starts[0], *stops) == (*starts, size_bytes)
    assert all(5 * MIB <= stop - start <= 5 * 2**30 for _, start, stop in pieces[:-1])


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["in one call", "in pieces"])
def test_an_archived_object_is_not_copied(cloud: Cloud, body: bytes):
    """C7: the file's affair, said as such; no upload is left behind."""
    source = dropped(cloud, body, StorageClass="GLACIER")
    with pytest.raises(ObjectProblem) as raised:
        copy(cloud, source, body)
    assert raised.value.code is FileReason.OBJECT_ARCHIVED
    assert not cloud.objects(COPY)
    assert not unfinished_uploads(cloud)


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["in one call", "in pieces"])
def test_a_restored_object_is_copied_out_of_the_archive(cloud: Cloud, body: bytes):
    """A copy in the archive could not be read back."""
    source = dropped(cloud, body, StorageClass="GLACIER")
    with cloud.unseen():
        cloud.client("s3").restore_object(Bucket=cloud.bucket, Key=KEY, RestoreRequest={"Days": 1})
    copy(cloud, source, body)
    assert cloud.objects(COPY) == {COPY: body}
    assert "StorageClass" not in looks(cloud, COPY)


def replaced(cloud: Cloud) -> None:
    cloud.drop(KEY, b"newer" * 3 * MIB)


def removed(cloud: Cloud) -> None:
    for version_id, _ in cloud.versions(KEY):
        with suppress(cloud.client("s3").exceptions.ClientError):
            named = {} if version_id in (None, "null") else {"VersionId": version_id}
            cloud.client("s3").delete_object(Bucket=cloud.bucket, Key=KEY, **named)


MEANWHILE = {"replaced": (replaced, FileReason.REPLACED_WHILE_READING), "removed": (removed, FileReason.OBJECT_GONE)}
MOMENTS = ["HeadObject imports/", "GetObjectTagging", "CreateMultipartUpload", "UploadPartCopy"]


@pytest.mark.parametrize(("act", "code"), MEANWHILE.values(), ids=MEANWHILE.keys())
@pytest.mark.parametrize("moment", [*MOMENTS, "CopyObject"])
def test_a_source_that_changes_meanwhile_is_never_mixed(act: Callable[[Cloud], None], code: FileReason, moment: str):
    """Pieces of two uploads make no object (C5); what was begun is taken away again."""
    body = SMALL if moment == "CopyObject" else LARGE
    with Cloud(versioned=False) as cloud:
        source = dropped(cloud, body)
        fault = Fault("before", moment, detail={"do": act})
        ended = attempt(cloud, lambda: copy(cloud, source, body), fault)
        assert isinstance(ended.error, ObjectProblem), ended.error
        assert ended.error.code is code
        assert not cloud.objects(COPY)
        assert not unfinished_uploads(cloud)


def test_a_newer_upload_does_not_disturb_the_copy_of_an_older_version():
    """A10: the version is named in every piece."""
    with Cloud() as cloud:
        source = dropped(cloud, LARGE)
        fault = Fault("before", "UploadPartCopy", detail={"do": replaced})
        ended = attempt(cloud, lambda: copy(cloud, source, LARGE), fault)
        assert ended.error is None
        assert cloud.objects(COPY) == {COPY: LARGE}


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["in one call", "in pieces"])
def test_whatever_goes_wrong_with_one_call_the_next_try_ends_with_a_whole_copy(body: bytes):
    """Killed between two pieces, replies lost, errors, denials: a copy appears whole or not at all (I5)."""
    with Cloud() as cloud:
        source = dropped(cloud, body, Tagging=TAGGING, **KEPT)
        expected = looks(cloud, KEY)
        expected.pop("BucketKeyEnabled")
        calls = calls_of(cloud, lambda: copy(cloud, source, body))

        def play(fault: Fault) -> None:
            notebook = Notes()
            ended = attempt(cloud, lambda: copy(cloud, source, body, notebook), fault)
            assert cloud.objects(COPY) in ({}, {COPY: body})
            assert ended.killed or ended.error is None or isinstance(ended.error, Unavailable), ended.error
            copy(cloud, source, body, notebook)
            found = looks(cloud, COPY)
            found.pop("BucketKeyEnabled", None)
            assert found == expected
            assert cloud.objects(COPY) == {COPY: body}
            # An upload whose id never reached us nobody can go on with: the bucket's rule removes it.
            assert not unfinished_uploads(cloud) or "CreateMultipartUpload" in str(ended.fired)

        failures = explore(sample(every(calls), 8, whole=25), play, workers=2)
        assert not failures, report(failures)


def test_several_pieces_are_copied_at_a_time_and_put_in_their_order():
    """S3 copies each on its own; `complete` has them by number."""
    with Cloud() as cloud, mock.patch.object(copying, "COPIES_IN_FLIGHT", 3):
        source = dropped(cloud, LARGE)
        copy(cloud, source, LARGE)
        assert cloud.objects(COPY) == {COPY: LARGE}


# -- gone on with --------------------------------------------------------------------------------------------------


def pieces_copied(cloud: Cloud) -> list[str]:
    """Numbers of the pieces S3 was asked to copy, in order."""
    return [call.query["partNumber"] for call in cloud.wire.ambient.calls if call.operation == "UploadPartCopy"]


def test_a_copy_goes_on_where_the_time_ran_out(cloud: Cloud):
    """However often: each piece is copied once, all into one upload, and nothing is left behind."""
    source = dropped(cloud, LARGE)
    notebook = Notes()
    for pieces in (1, 2, 3):
        notebook.keeps_left = 0
        with pytest.raises(TimeIsUp):
            copy(cloud, source, LARGE, notebook)
        assert (pieces_copied(cloud), cloud.objects(COPY)) == ([str(number) for number in range(1, pieces + 1)], {})
    notebook.keeps_left = 1_000
    copy(cloud, source, LARGE, notebook)
    assert (pieces_copied(cloud), cloud.objects(COPY)) == (["1", "2", "3"], {COPY: LARGE})
    assert operations(cloud).count("CreateMultipartUpload") == 1
    assert not unfinished_uploads(cloud)


def test_a_failed_copy_keeps_its_pieces_for_the_next_try():
    """A denial, say, that a person takes away an hour later."""
    with Cloud() as cloud:
        source = dropped(cloud, LARGE)
        notebook = Notes()
        third = Fault("denied", lambda call: call.query.get("partNumber") == "3")
        ended = attempt(cloud, lambda: copy(cloud, source, LARGE, notebook), third)
        assert isinstance(ended.error, Unavailable)
        again = attempt(cloud, lambda: copy(cloud, source, LARGE, notebook))
        assert [line.split()[1] for line in again.journal].count("UploadPartCopy") == 1
        assert cloud.objects(COPY) == {COPY: LARGE}


def test_pieces_of_another_size_are_copied_again():
    """A newer version of this function may cut otherwise."""
    with Cloud() as cloud:
        source = dropped(cloud, LARGE)
        notebook = Notes(keeps_left=1)
        with mock.patch.object(copying, "PIECE_BYTES", 6 * MIB), pytest.raises(TimeIsUp):
            copy(cloud, source, LARGE, notebook)
        notebook.keeps_left = 1_000
        copy(cloud, source, LARGE, notebook)
        assert cloud.objects(COPY) == {COPY: LARGE}


def test_an_upload_that_was_taken_away_is_begun_again():
    """By the bucket's rule for incomplete uploads, between two tries or in the middle of one."""

    def taken_away(cloud: Cloud) -> None:
        (upload_id,) = cloud.uploads()
        cloud.client("s3").abort_multipart_upload(Bucket=cloud.bucket, Key=COPY, UploadId=upload_id)

    for at in ("ListParts", "UploadPartCopy", "CompleteMultipartUpload"):
        with Cloud() as cloud:
            source = dropped(cloud, LARGE)
            notebook = Notes(keeps_left=0)
            with pytest.raises(TimeIsUp):
                copy(cloud, source, LARGE, notebook)
            notebook.keeps_left = 1_000
            fault = Fault("before", at, detail={"do": taken_away})
            ended = attempt(cloud, lambda: copy(cloud, source, LARGE, notebook), fault)  # noqa: B023
            assert (ended.error, cloud.objects(COPY)) == (None, {COPY: LARGE})
            assert not unfinished_uploads(cloud)


def test_a_copy_that_another_worker_completes_meanwhile_is_the_copy():
    """Its upload is gone because it is done: the proof tells."""
    with Cloud() as cloud:
        source = dropped(cloud, LARGE)
        notebook = Notes(keeps_left=2)
        with pytest.raises(TimeIsUp):
            copy(cloud, source, LARGE, notebook)

        def completed(cloud: Cloud) -> None:
            copy(cloud, source, LARGE, Notes(dict(notebook.pages)))

        notebook.keeps_left = 1_000
        fault = Fault("before", "CompleteMultipartUpload", detail={"do": completed})
        ended = attempt(cloud, lambda: copy(cloud, source, LARGE, notebook), fault)
        assert (ended.error, cloud.objects(COPY)) == (None, {COPY: LARGE})
        assert not [line for line in ended.journal if "CreateMultipartUpload" in line]


def test_a_proof_goes_on_where_the_time_ran_out(cloud: Cloud):
    """The copy is read back once, by two invocations."""
    source = dropped(cloud, LARGE)
    cloud.drop(COPY, LARGE)
    notebook = Notes(keeps_left=20)
    with pytest.raises(TimeIsUp):
        copy(cloud, source, LARGE, notebook)
    offset = int(str(notebook.page("proof")["offset"]))
    assert 0 < offset < len(LARGE)
    notebook.keeps_left = 1_000
    copy(cloud, source, LARGE, notebook)
    ranges = [call.header("Range") for call in cloud.wire.ambient.calls if call.operation == "GetObject"]
    assert ranges == [None, f"bytes={offset}-"]


def test_a_proof_begun_of_another_object_counts_for_nothing(cloud: Cloud):
    """Half a copy's hash and half of what was written over it prove neither."""
    source = dropped(cloud, LARGE)
    cloud.drop(COPY, LARGE[::-1])
    notebook = Notes(keeps_left=20)
    with pytest.raises(TimeIsUp):
        copy(cloud, source, LARGE, notebook)
    cloud.drop(COPY, LARGE)
    notebook.keeps_left = 1_000
    copy(cloud, source, LARGE, notebook)
    assert "CreateMultipartUpload" not in operations(cloud)


def test_a_proof_that_failed_begins_anew(cloud: Cloud):
    """Whatever spoiled the noted state: it is not believed for ever, though the next copy has the same ETag."""
    source = dropped(cloud, LARGE)
    notebook = Notes()
    copy(cloud, source, LARGE, notebook)
    page = notebook.page("proof")
    assert page["offset"] == len(LARGE)
    notebook.pages["proof"] = {**page, "state": Sha256().state().hex()}
    copy(cloud, source, LARGE, notebook)
    assert notebook.page("proof") == page


# -- denied --------------------------------------------------------------------------------------------------------

SOURCE = "on s3://import-bucket/imports/*"
TARGET = "on s3://import-bucket/completed_imports/*"
DENIED = {
    "HeadObject completed_imports/": ("HEAD", None),  # nothing is there yet: a listing says so
    "HeadObject imports/": ("HEAD", f"allow s3:GetObjectVersion {SOURCE}"),
    "GetObjectTagging": ("TAGS", f"allow s3:GetObjectVersionTagging {SOURCE}"),
    "CreateMultipartUpload": ("COPY", f"s3:PutObject and s3:PutObjectTagging {TARGET}"),
    "ListParts": ("LIST PIECES", f"allow s3:ListMultipartUploadParts {TARGET}"),
    "UploadPartCopy": ("COPY", f"allow s3:GetObjectVersion and s3:GetObjectVersionTagging {SOURCE}"),
    "CompleteMultipartUpload": ("COPY", f"kms:Decrypt and kms:GenerateDataKey on {KMS_KEY}"),
    "CopyObject": ("COPY", f"kms:Decrypt and kms:GenerateDataKey on {KMS_KEY}"),
}


@pytest.mark.parametrize("at", DENIED)
def test_a_denied_call_of_a_copy_names_what_it_needs(at: str):
    """I6, I9: with the object's own KMS key, since S3 may not say which right it missed."""
    call, names = DENIED[at]
    body = SMALL if at == "CopyObject" else LARGE
    with Cloud() as cloud:
        source = dropped(cloud, body, **KEPT)
        ended = attempt(cloud, lambda: copy(cloud, source, body), Fault("denied", at))
        if names is None:
            assert ended.error is None
        else:
            assert isinstance(ended.error, Unavailable)
            assert str(ended.error).startswith(call)
            assert names in str(ended.error)


def test_where_s3_says_what_it_missed_nothing_else_is_named():
    said = (
        "User: arn:aws:sts::1:assumed-role/import/f is not authorized to perform: kms:GenerateDataKey on resource: "
        f"{KMS_KEY} because no identity-based policy allows the kms:GenerateDataKey action"
    )
    with Cloud() as cloud:
        source = dropped(cloud, SMALL, **KEPT)
        fault = Fault("denied", "CopyObject", detail={"message": said})
        ended = attempt(cloud, lambda: copy(cloud, source, SMALL), fault)
        assert str(ended.error).endswith(f"AccessDenied; allow kms:GenerateDataKey on {KMS_KEY}")


def test_moto_still_has_s3s_smallest_piece():
    """What the pieces here rest on (N6); see also test_strict_layer."""
    assert moto.s3.models.S3_UPLOAD_PART_MIN_SIZE == 5 * MIB
