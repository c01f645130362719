"""The AWS clients, each made once, with the retries and time-outs its room counts on."""

from typing import TYPE_CHECKING, Final

import boto3
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

    from importer.sinks.firehose import FirehoseClient

SINK_CONNECTIONS: Final = 16
COPIES_IN_FLIGHT: Final = 8  # pieces of one object; S3 copies each on its own, so the time of a copy is divided by this

# Objects and records: botocore tries again by itself; every call of ours is safe to repeat (conditional writes are read
# back). Worst case of one call: 4 × (3 + 10) s, still seen by the lease's owner check when it comes back.
_PATIENT: Final = Config(
    connect_timeout=3, read_timeout=10, retries={"total_max_attempts": 4, "mode": "standard"}, max_pool_connections=4
)
_LONG: Final = Config(
    connect_timeout=3,
    read_timeout=300,
    retries={"total_max_attempts": 3, "mode": "standard"},
    max_pool_connections=COPIES_IN_FLIGHT,
)
# Sinks: one attempt. Trying again, backing off and bounding time are `sinks.calls`' work (C11: total_max_attempts).
_SINGLE: Final = Config(
    connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1}, max_pool_connections=SINK_CONNECTIONS
)


def s3() -> "S3Client":
    return boto3.client("s3", config=_PATIENT)


def copies() -> "S3Client":
    """For copies alone: S3 copies up to 5 GiB before it answers."""
    return boto3.client("s3", config=_LONG)


def records() -> "DynamoDBClient":
    return boto3.client("dynamodb", config=_PATIENT)


def queues() -> "SQSClient":
    return boto3.client("sqs", config=_PATIENT)


def sinks() -> "DynamoDBClient":
    return boto3.client("dynamodb", config=_SINGLE)


def stream() -> "FirehoseClient":
    client: FirehoseClient = boto3.client("firehose", config=_SINGLE)
    return client
