"""Objects of ours in pieces and by the dozen; and where S3 answers as it does without s3:ListBucket (J6)."""

import tracemalloc
from collections.abc import Callable, Iterator
from tempfile import TemporaryFile
from typing import Any
from unittest import mock

import boto3
import moto.s3.models
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.exceptions import ClientError

from importer.aws.clock import SystemClock
from importer.aws.objects import S3Objects
from importer.aws.uploads import Upload
from importer.bad_rows import FileReason, ObjectProblem
from importer.model import S3Object, Unavailable, UploadGone
from importer.notification import Dropped
from tests.support.cloud import Cloud
from tests.support.faults import Fault, attempt

SOURCE = S3Object("b", "imports/a.json", "v1", "e", 10, 0)
DROPPED = Dropped("b", "imports/a.json", "v1", "e")
FORBIDDEN = ClientError({"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "GetObject")  # type: ignore[typeddict-item]


def forbidding(versions: list[dict[str, str]]) -> Any:
    client = mock.Mock()
    for call in (client.head_object, client.get_object, client.copy_object):
        call.side_effect = FORBIDDEN
    client.list_object_versions.return_value = {"Versions": versions}
    client.list_objects_v2.return_value = {"Contents": []}
    return S3Objects(client, SystemClock())


THERE = [{"Key": "imports/a.json", "VersionId": "v1"}]
OTHERS = [{"Key": "imports/a.json", "VersionId": "v2"}, {"Key": "imports/a.json.gz", "VersionId": "v1"}]


def test_a_forbidden_version_that_is_not_listed_is_gone():
    """HEAD says none, reading and copying say so of the object: the execution ends, with its receipt."""
    objects = forbidding(OTHERS)
    assert objects.head(DROPPED) is None
    for use in (
        lambda: list(objects.read(SOURCE, 0)),
        lambda: objects.copy(SOURCE, "completed_imports/a", "00", mock.Mock()),
    ):
        with pytest.raises(ObjectProblem) as raised:
            use()
        assert raised.value.code is FileReason.OBJECT_GONE


def test_a_forbidden_version_that_is_listed_is_a_missing_permission():
    """Named, and tried again: nobody's file is at fault (C8, I9)."""
    objects = forbidding(THERE)
    for use in (lambda: objects.head(DROPPED), lambda: list(objects.read(SOURCE, 0))):
        with pytest.raises(Unavailable, match="allow s3:GetObject"):
            use()


# -- objects made of pieces ----------------------------------------------------------------------------------------

KEY, TYPE = "errors/2026/11/20/a.json", "application/x-ndjson"
PIECE = b"p" * (5 << 20)
CREDENTIALS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "secret"}


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud() as one:
        yield one


def objects(cloud: Cloud, in_flight: int = 1) -> S3Objects:
    return S3Objects(boto3.client("s3"), cloud.clock, in_flight=in_flight)


def test_an_object_of_pieces_appears_whole_when_it_is_complete(cloud: Cloud):
    """And not before; with its type."""
    pieces = objects(cloud).pieces(cloud.bucket, KEY, TYPE)
    pieces.send(1, PIECE)
    pieces.send(2, b"the last one may be small")
    assert (cloud.objects(), objects(cloud).size(cloud.bucket, KEY)) == ({}, None)
    pieces.complete(2)
    assert cloud.objects() == {KEY: PIECE + b"the last one may be small"}
    assert objects(cloud).size(cloud.bucket, KEY) == len(PIECE) + 25
    assert cloud.metadata(KEY)["content-type"] == TYPE


def test_another_worker_goes_on_with_nothing_but_the_uploads_id(cloud: Cloud):
    """Pieces in any order, one of them sent twice: the last one counts."""
    first = objects(cloud).pieces(cloud.bucket, KEY, TYPE)
    first.send(2, b"end")
    first.send(1, PIECE[::-1][:-1] + b"x")
    second = objects(cloud).pieces(cloud.bucket, KEY, TYPE, first.upload_id)
    second.send(1, PIECE)
    second.complete(2)
    assert cloud.objects() == {KEY: PIECE + b"end"}
    created = [call for call in cloud.wire.ambient.calls if call.operation == "CreateMultipartUpload"]
    assert (len(created), second.upload_id) == (1, first.upload_id)


def test_pieces_beyond_the_count_are_left_out(cloud: Cloud):
    """A worker that had got further under a note that was lost."""
    pieces = objects(cloud).pieces(cloud.bucket, KEY, TYPE)
    for number, body in enumerate((PIECE, b"end", b"stray"), 1):
        pieces.send(number, body)
    pieces.complete(2)
    assert cloud.objects() == {KEY: PIECE + b"end"}


@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_file_is_sent_without_ever_being_in_memory(scheme: str):
    """Neither signing (http) nor the checksum behind it (https) holds more of it than a little; all of it arrives."""
    client = boto3.client("s3", endpoint_url=f"{scheme}://127.0.0.1", region_name="us-east-1", **CREDENTIALS)
    sent: list[int] = []

    def sends(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        """Reads as botocore's connection does."""
        sizes = iter(lambda: len(request.body.read(128 << 10)), 0)
        sent.append(sum(sizes))
        return AWSResponse(request.url, 200, {"ETag": '"e"'}, mock.Mock(stream=lambda **_: [b""]))

    client.meta.events.register("before-send.s3.UploadPart", sends)
    upload = Upload(client, "b", KEY, "u")
    with TemporaryFile() as file:
        file.write(b"x" * (2 << 20))
        upload.send(1, file)
        file.write(b"x" * (14 << 20))
        tracemalloc.start()
        try:
            upload.send(2, file)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert [count >> 20 for count in sent] == [2, 16]
    assert peak < 1 << 20


def test_pieces_are_listed_page_by_page(cloud: Cloud):
    """ListParts gives 1,000 at once; here 2."""
    client = boto3.client("s3")

    def two_at_once(params: dict[str, Any], **_: Any) -> None:
        params["MaxParts"] = 2

    client.meta.events.register("provide-client-params.s3.ListParts", two_at_once)
    pieces = S3Objects(client, cloud.clock).pieces(cloud.bucket, KEY, TYPE)
    with mock.patch.object(moto.s3.models, "S3_UPLOAD_PART_MIN_SIZE", 1):
        for number in range(1, 6):
            pieces.send(number, b"%d" % number)
        pieces.complete(5)
    assert cloud.objects() == {KEY: b"12345"}
    assert len([call for call in cloud.wire.ambient.calls if call.operation == "ListParts"]) == 3


def without(cloud: Cloud) -> None:
    cloud.client("s3").abort_multipart_upload(Bucket=cloud.bucket, Key=KEY, UploadId=next(iter(cloud.uploads())))


def sent_again(cloud: Cloud) -> None:
    """With other bytes, and so another ETag; under KMS equal bytes do the same."""
    upload_id = next(iter(cloud.uploads()))
    cloud.client("s3").upload_part(Bucket=cloud.bucket, Key=KEY, UploadId=upload_id, PartNumber=1, Body=b"other")


GONE = {
    "before a piece": ("UploadPart", without),
    "before the listing": ("ListParts", without),
    "before the end": ("CompleteMultipartUpload", without),
    "a piece sent again before the end": ("CompleteMultipartUpload", sent_again),
}


@pytest.mark.parametrize(("at", "act"), GONE.values(), ids=GONE.keys())
def test_an_upload_that_is_gone_is_told_as_such(cloud: Cloud, at: str, act: Callable[[Cloud], None]):
    """Completed by another worker or taken away: the caller looks which."""

    def work() -> None:
        pieces = objects(cloud).pieces(cloud.bucket, KEY, TYPE)
        pieces.send(1, b"all")
        pieces.complete(1)

    ended = attempt(cloud, work, Fault("before", at, detail={"do": act}))
    assert isinstance(ended.error, UploadGone), ended.error
    assert cloud.objects() == {}


def test_an_upload_that_lacks_a_piece_is_as_good_as_gone(cloud: Cloud):
    """Completed without it, the object would lack bytes."""
    pieces = objects(cloud).pieces(cloud.bucket, KEY, TYPE)
    pieces.send(1, PIECE)
    pieces.send(3, b"end")
    with pytest.raises(UploadGone, match="lacks 1 of 3 pieces, the first is 2"):
        pieces.complete(3)
    assert cloud.objects() == {}


def test_a_lost_reply_to_the_completion_shows_as_an_upload_that_is_gone(cloud: Cloud):
    """F8: the SDK tries again and is told that there is none. The object is there."""

    def work() -> None:
        pieces = objects(cloud).pieces(cloud.bucket, KEY, TYPE)
        pieces.send(1, b"all")
        pieces.complete(1)

    ended = attempt(cloud, work, Fault("reply_lost", "CompleteMultipartUpload"))
    assert isinstance(ended.error, UploadGone)
    assert cloud.objects() == {KEY: b"all"}


DENIED = {
    "CreateMultipartUpload": "PUT s3://import-bucket/errors/2026/11/20/a.json: AccessDenied; allow s3:PutObject on "
    "s3://import-bucket/errors/*",
    "UploadPart": "PUT s3://import-bucket/errors/2026/11/20/a.json: AccessDenied; allow s3:PutObject on ",
    "ListParts": "LIST PIECES s3://import-bucket/errors/2026/11/20/a.json: AccessDenied; allow "
    "s3:ListMultipartUploadParts on s3://import-bucket/errors/*",
    "CompleteMultipartUpload": "PUT s3://import-bucket/errors/2026/11/20/a.json: AccessDenied; allow s3:PutObject on ",
}


@pytest.mark.parametrize("at", DENIED)
def test_a_denied_call_names_what_it_needs_and_leaves_the_pieces(cloud: Cloud, at: str):
    """I9; the next try, when it is allowed, goes on with them."""

    def work() -> None:
        pieces = objects(cloud).pieces(cloud.bucket, KEY, TYPE)
        pieces.send(1, b"all")
        pieces.complete(1)

    ended = attempt(cloud, work, Fault("denied", at))
    assert isinstance(ended.error, Unavailable)
    assert str(ended.error).startswith(DENIED[at])
    assert len(cloud.uploads()) == (0 if at == "CreateMultipartUpload" else 1)


# -- small objects, several at a time --------------------------------------------------------------------------------


@pytest.mark.parametrize("in_flight", [1, 2, 8])
def test_bodies_come_in_the_order_of_their_keys(cloud: Cloud, in_flight: int):
    """However many are read ahead; None for one that is not there."""
    there = {f"work/x/{number:03d}": b"%d" % number for number in range(20)}
    for key, body in there.items():
        objects(cloud).put(cloud.bucket, key, body, TYPE)
    wanted = [*there, "work/x/999"]
    assert list(objects(cloud, in_flight).bodies(cloud.bucket, wanted)) == [*there.items(), ("work/x/999", None)]


def test_no_more_bodies_are_read_ahead_than_are_in_flight(cloud: Cloud):
    """They are held in memory."""
    asked: list[str] = []

    def keys() -> Iterator[str]:
        for number in range(20):
            asked.append(f"work/x/{number:03d}")
            yield asked[-1]

    bodies = objects(cloud, in_flight=3).bodies(cloud.bucket, keys())
    assert next(bodies) == ("work/x/000", None)
    assert len(asked) == 3
