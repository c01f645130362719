"""One test a rule: moto alone accepts the call, the strict layer refuses it with AWS's status and code (hazards L).

Should a newer moto learn a rule, its test here fails at "moto alone": then delete the rule.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any
from unittest import mock

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.support import strict as strict_rules
from tests.support.cloud import Cloud

MIB = 1024 * 1024
Act = Callable[[Cloud], Any]


def item(number: int = 0, **attributes: Any) -> dict:
    return {"user_id": {"S": "u"}, "event_key": {"S": f"{number:04d}"}, **attributes}


def tables() -> Any:
    return boto3.client("dynamodb")


def s3() -> Any:
    return boto3.client("s3")


def put(**attributes: Any) -> Act:
    return lambda cloud: tables().put_item(TableName="events", Item=item(**attributes))


def batch(count: int, **attributes: Any) -> Act:
    requests = [{"PutRequest": {"Item": item(number, **attributes)}} for number in range(count)]
    return lambda cloud: tables().batch_write_item(RequestItems={"events": requests})


def update(expression: str, **values: Any) -> Act:
    named = {f":{name}": value for name, value in values.items()}
    more = {"ExpressionAttributeValues": named} if named else {}
    return lambda cloud: tables().update_item(TableName="events", Key=item(), UpdateExpression=expression, **more)


def nested(levels: int) -> dict:
    value: dict = {"S": "deep"}
    for _ in range(levels):
        value = {"M": {"a": value}}
    return value


def copy(**conditions: str) -> Act:
    def act(cloud: Cloud) -> Any:
        cloud.drop("source", b"bytes")
        cloud.drop("taken", b"other bytes")
        source = {"Bucket": cloud.bucket, "Key": "source"}
        return s3().copy_object(Bucket=cloud.bucket, Key="taken", CopySource=source, **conditions)

    return act


def copy_of_a_piece(cloud: Cloud) -> Any:
    cloud.drop("source", b"bytes")
    target = {"Bucket": cloud.bucket, "Key": "target"}
    upload_id = s3().create_multipart_upload(**target)["UploadId"]
    source = {"Bucket": cloud.bucket, "Key": "source"}
    return s3().upload_part_copy(
        **target, UploadId=upload_id, PartNumber=1, CopySource=source, CopySourceIfMatch="other"
    )


def piece_copied(number: int, copied_range: str) -> Act:
    def act(cloud: Cloud) -> Any:
        cloud.drop("source", b"bytes")
        target = {"Bucket": cloud.bucket, "Key": "target"}
        upload_id = s3().create_multipart_upload(**target)["UploadId"]
        source = {"CopySource": {"Bucket": cloud.bucket, "Key": "source"}, "CopySourceRange": copied_range}
        return s3().upload_part_copy(**target, UploadId=upload_id, PartNumber=number, **source)

    return act


def put_with_wrong_md5(cloud: Cloud) -> Any:
    md5 = base64.b64encode(hashlib.md5(b"other bytes").digest()).decode()
    return s3().put_object(Bucket=cloud.bucket, Key="a", Body=b"bytes", ContentMD5=md5)


def put_at(key: str) -> Act:
    return lambda cloud: s3().put_object(Bucket=cloud.bucket, Key=key, Body=b"")


def complete_over_an_existing_object(cloud: Cloud) -> Any:
    cloud.drop("taken", b"other bytes")
    target = {"Bucket": cloud.bucket, "Key": "taken"}
    upload_id = s3().create_multipart_upload(**target)["UploadId"]
    piece = s3().upload_part(**target, UploadId=upload_id, PartNumber=1, Body=b"last")
    pieces = {"Parts": [{"ETag": piece["ETag"], "PartNumber": 1}]}
    return s3().complete_multipart_upload(**target, UploadId=upload_id, MultipartUpload=pieces, IfNoneMatch="*")


def records(*data: bytes) -> Act:
    return lambda cloud: boto3.client("firehose").put_record_batch(
        DeliveryStreamName=cloud.delivery_stream, Records=[{"Data": each} for each in data]
    )


def message(body: str) -> Act:
    return lambda cloud: boto3.client("sqs").send_message(QueueUrl=cloud.part_queue_url, MessageBody=body)


def parameter(name: str, value: str) -> Act:
    return lambda cloud: boto3.client("ssm").put_parameter(Name=name, Value=value, Type="SecureString")


def transaction(token: str, *numbers: int) -> Act:
    def act(cloud: Cloud) -> Any:
        for number in numbers:
            tables().transact_write_items(
                ClientRequestToken=token, TransactItems=[{"Put": {"TableName": "events", "Item": item(number)}}]
            )

    return act


INVALID = (400, "ValidationException")


def members(cloud: Cloud) -> None:
    cloud.client("dynamodb").query(
        TableName=cloud.users_table,
        IndexName="by_segment",
        KeyConditionExpression="segment = :s",
        ExpressionAttributeValues={":s": {"S": "vip"}},
    )


MOTO_ACCEPTS = {
    "reserved word in a key condition": (members, INVALID),
    "batch of 26 items": (batch(26), INVALID),
    "number of 39 digits": (put(n={"N": "1" * 39}), INVALID),
    "number of 39 digits in a batch": (batch(2, n={"N": "1" * 39}), INVALID),
    "number of 39 digits deep inside": (put(n={"M": {"a": {"L": [{"N": "1." + "1" * 38}]}}}), INVALID),
    "number of 39 digits in an update": (update("SET a = :n", n={"N": "1" * 39}), INVALID),
    "number too large": (put(n={"N": "1e126"}), INVALID),
    "number too small in an update": (update("SET a = :n", n={"N": "1e-131"}), INVALID),
    "nesting of 33 levels": (put(n=nested(33)), INVALID),
    "empty set of strings in a batch": (batch(1, n={"SS": []}), INVALID),
    "empty set of numbers in a batch": (batch(1, n={"NS": []}), INVALID),
    "copy of a source that has changed": (copy(CopySourceIfMatch="other"), (412, "PreconditionFailed")),
    "copy over an existing object": (copy(IfNoneMatch="*"), (412, "PreconditionFailed")),
    "copied piece of a source that has changed": (copy_of_a_piece, (412, "PreconditionFailed")),
    "piece number 10,001": (piece_copied(10_001, "bytes=0-4"), (400, "InvalidArgument")),
    "copied piece that ends past the source": (piece_copied(1, "bytes=0-5"), (400, "InvalidArgument")),
    "body with another MD5": (put_with_wrong_md5, (400, "BadDigest")),
    "key of 1,025 bytes": (put_at("é" * 512 + "x"), (400, "KeyTooLongError")),
    "501 records": (records(*[b"x\n"] * 501), INVALID),
    "5 MiB of records": (records(*[b"x" * 1000 * 1024] * 5 + [b"y"]), (400, "InvalidArgumentException")),
    "record over 1,000 KiB": (records(b"x" * 1_025_000), (400, "InvalidArgumentException")),
    "empty record": (records(b""), (400, "InvalidArgumentException")),
    "message with NUL": (message("a\0b"), (400, "InvalidMessageContents")),
    "parameter of 4,097 characters": (parameter("/importer/a", "x" * 4097), INVALID),
    "parameter that refers to another": (parameter("/importer/a", '{"name":"{{x}}"}'), INVALID),
    "parameter with a blank in its name": (parameter("/importer/a b", "x"), INVALID),
    "token used for another transaction": (
        transaction("t", 1, 2),
        (400, "IdempotentParameterMismatchException"),
    ),
}

MOTO_AGREES = {
    "parameter of a stack called aws-…": (parameter("/aws-importer/a", "x"), (400, "AccessDeniedException")),
    "parameter of a stack called ssm-…": (parameter("/ssm-importer/a", "x"), INVALID),
    "item of 401 KiB": (put(s={"S": "x" * 401 * 1024}), INVALID),
    "item of 401 KiB in a batch": (batch(1, s={"S": "x" * 401 * 1024}), INVALID),
    "number too small": (put(n={"N": "1e-131"}), INVALID),
    "not a number": (put(n={"N": "NaN"}), INVALID),
    "empty set": (put(n={"SS": []}), INVALID),
    "empty set in an update": (update("SET a = :n", n={"NS": []}), INVALID),
    "completion over an existing object": (complete_over_an_existing_object, (412, "PreconditionFailed")),
}

AT_THE_LIMIT = {
    "batch of 25 items": batch(25),
    "number of 38 digits": put(n={"N": "1" * 38}),
    "number with a long tail of zeros": put(n={"N": "1" + "0" * 100}),
    "zero": put(n={"N": "0.000"}),
    "largest number": put(n={"N": "9.9999999999999999999999999999999999999e125"}),
    "smallest number": put(n={"N": "-1e-130"}),
    "nesting of 32 levels": put(n=nested(32)),
    "item of 395 KiB": put(s={"S": "x" * 395 * 1024}),  # moto's own limit is 405,000 bytes, AWS's 409,600.
    "key of 1,024 bytes": put_at("é" * 512),
    "500 records": records(*[b"x\n"] * 500),
    "record of 1,000 KiB": records(b"x" * 1000 * 1024),
    "parameter of 4,096 characters": parameter("/importer/aws-a/tokens/0", "x" * 4096),
    "message with a line end": message('{"a":\n1}'),
    "expression of 4 KB": update("SET a = :n" + " " * 4086, n={"N": "1"}),
    "piece number 10,000, to the source's end": piece_copied(10_000, "bytes=0-4"),
    "copy of an unchanged source": copy(CopySourceIfMatch=hashlib.md5(b"bytes").hexdigest()),
}


def outcome(act: Act, strict: bool) -> tuple[int, str]:
    with Cloud(strict=strict, stream=True) as cloud:
        try:
            act(cloud)
        except ClientError as error:
            return error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
    return 200, "accepted"


@pytest.mark.parametrize(("act", "refused"), MOTO_ACCEPTS.values(), ids=MOTO_ACCEPTS.keys())
def test_strict_layer_refuses_what_moto_alone_accepts(act, refused):
    """AWS would refuse it, so no test of ours may be green with it."""
    assert [outcome(act, strict=False), outcome(act, strict=True)] == [(200, "accepted"), refused]


@pytest.mark.parametrize(("act", "refused"), MOTO_AGREES.values(), ids=MOTO_AGREES.keys())
def test_moto_agrees_and_may_be_relied_on(act, refused):
    """Listed so that a moto that forgets it is noticed."""
    assert [outcome(act, strict=False), outcome(act, strict=True)] == [refused, refused]


@pytest.mark.parametrize("act", AT_THE_LIMIT.values(), ids=AT_THE_LIMIT.keys())
def test_strict_layer_accepts_what_just_fits(act):
    """A limit is not a byte lower than AWS's."""
    assert outcome(act, strict=True) == (200, "accepted")


def test_request_over_16_mb_is_refused():
    """Refused for its size alone, before the items are looked at."""
    assert outcome(batch(25, s={"S": "\x7f" * 399 * 1024}, t={"S": "é" * 150_000}), strict=True)[0] == 413


def test_long_update_expression_is_refused_politely():
    """moto alone accepts it or dies by RecursionError, AWS refuses expressions over 4 KB."""
    long = "SET " + ", ".join(f"attribute_{number:05d} = :n" for number in range(200))
    assert len(long) > 4096
    assert outcome(update(long, n={"N": "1"}), strict=True) == INVALID


def test_update_that_makes_an_item_too_large_is_refused():
    """300 KiB stored, 200 KiB more: over 400 KiB, although the request is small."""

    def act(cloud: Cloud) -> None:
        put(s={"S": "x" * 300 * 1024})(cloud)
        update("SET t = :t", t={"S": "y" * 200 * 1024})(cloud)

    assert outcome(act, strict=True) == INVALID


def test_repeated_transaction_with_the_same_token_has_no_second_effect():
    """For ten minutes; after that it is done again (F7)."""
    with Cloud() as cloud:
        add = {
            "Update": {
                "TableName": "events",
                "Key": item(),
                "UpdateExpression": "ADD n :one",
                "ExpressionAttributeValues": {":one": {"N": "1"}},
            }
        }
        for wait_seconds in (0, 0, 601):
            cloud.clock.sleep(wait_seconds)
            tables().transact_write_items(ClientRequestToken="t", TransactItems=[add])
        assert cloud.items("events")[0]["n"] == 2


def test_small_piece_in_the_middle_of_a_multipart_upload_is_refused_by_moto():
    """5 MiB for every piece but the last, copied pieces too (N6): moto agrees."""

    def act(cloud: Cloud) -> None:
        cloud.drop("source", b"small")
        target = {"Bucket": cloud.bucket, "Key": "target"}
        upload_id = s3().create_multipart_upload(**target)["UploadId"]
        source = {"Bucket": cloud.bucket, "Key": "source"}
        pieces = []
        for number in (1, 2):
            copied = s3().upload_part_copy(**target, UploadId=upload_id, PartNumber=number, CopySource=source)
            pieces.append({"ETag": copied["CopyPartResult"]["ETag"], "PartNumber": number})
        s3().complete_multipart_upload(**target, UploadId=upload_id, MultipartUpload={"Parts": pieces})

    assert outcome(act, strict=False) == outcome(act, strict=True) == (400, "EntityTooSmall")


def test_an_upload_that_was_completed_or_aborted_is_not_known():
    """moto alone dies by KeyError."""

    def act(operation: str, **more: Any) -> Act:
        def call(cloud: Cloud) -> None:
            cloud.drop("source", b"bytes")
            getattr(s3(), operation)(Bucket=cloud.bucket, Key="target", UploadId="none", **more)

        return call

    acts = (
        act("upload_part", PartNumber=1, Body=b"piece"),
        act("upload_part_copy", PartNumber=1, CopySource={"Bucket": "import-bucket", "Key": "source"}),
        act("complete_multipart_upload", MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": "e"}]}),
        act("list_parts"),  # here moto agrees
    )
    assert [outcome(each, strict=True) for each in acts] == [(404, "NoSuchUpload")] * 4


def test_copy_of_a_source_over_5_gib_is_refused():
    """CopyObject and a piece alike (I5); the limit is lowered here, not the object raised."""
    with mock.patch.object(strict_rules, "COPY_SOURCE_BYTES", 4):
        for act in (copy(), piece_copied(1, "bytes=0-4")):
            assert outcome(act, strict=False) == (200, "accepted")
            assert outcome(act, strict=True) == (400, "InvalidRequest")
        assert outcome(piece_copied(1, "bytes=1-4"), strict=True) == (200, "accepted")


def test_ranged_get_carries_no_checksum_of_the_whole_object():
    """With it botocore would notice a cut body that it cannot notice on AWS (C4)."""
    found = []
    for strict in (False, True):
        with Cloud(strict=strict) as cloud:
            cloud.drop("a", b"bytes", ChecksumAlgorithm="CRC32")
            got = s3().get_object(Bucket=cloud.bucket, Key="a", Range="bytes=0-", ChecksumMode="ENABLED")
            found.append("ChecksumCRC32" in got)
    assert found == [True, False]


def test_calls_of_the_test_itself_are_not_judged():
    """`unseen` calls pass moto alone: a test may build what AWS would not."""
    with Cloud() as cloud, cloud.unseen():
        batch(26)(cloud)
        assert len(cloud.items("events")) == 26
