"""The AWS clients, with the retries and time-outs their rooms count on. Who makes one keeps it."""

from functools import cache
from typing import TYPE_CHECKING, Any, Final, cast

from botocore.config import Config
from botocore.session import Session, get_session

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

    from importer.aws.events import EventBridgeClient
    from importer.aws.looking import LogsClient
    from importer.aws.secrets import ParameterClient
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
# Forms (aws/posting.py) and links. Measured: left to itself, botocore signs them by version 2 in older regions, which
# buckets of younger ones refuse, and names the global address, which sends a form on to the bucket's: curl loses it.
SIGNING: Final = Config(
    signature_version="s3v4", s3={"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"}
)
# Somebody waits behind each of these calls: 3 × (2 + 2) s leaves time for an answer.
_PROMPT: Final = Config(
    connect_timeout=2, read_timeout=2, retries={"total_max_attempts": 3, "mode": "standard"}, max_pool_connections=4
)
# Notices: nobody waits for one, and Lambda invokes again. Worst case of one call: 3 × (2 + 5) s.
_BRIEF: Final = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 3, "mode": "standard"})


@cache
def session() -> Session:
    """One for all clients: what they are described by is read once.

    botocore's own, which makes the same clients as boto3 does. Measured: boto3 takes another 13 % of a cold start, for
    managed transfers and resources that nothing here uses (docs/decisions/0029).
    """
    return get_session()


def s3() -> "S3Client":
    return cast("S3Client", session().create_client("s3", config=_PATIENT))


def copies() -> "S3Client":
    """For copies alone: S3 copies up to 5 GiB before it answers."""
    return cast("S3Client", session().create_client("s3", config=_LONG))


def signer() -> "S3Client":
    """For signing what others will send: it makes no call itself."""
    return cast("S3Client", session().create_client("s3", config=SIGNING))


def records() -> "DynamoDBClient":
    return cast("DynamoDBClient", session().create_client("dynamodb", config=_PATIENT))


def queues() -> "SQSClient":
    return cast("SQSClient", session().create_client("sqs", config=_PATIENT))


def functions() -> "LambdaClient":
    return cast("LambdaClient", session().create_client("lambda", config=_PATIENT))


def sinks() -> "DynamoDBClient":
    return cast("DynamoDBClient", session().create_client("dynamodb", config=_SINGLE))


def stream() -> "FirehoseClient":
    return cast("FirehoseClient", session().create_client("firehose", config=_SINGLE))


def parameters() -> "ParameterClient":
    return cast("ParameterClient", session().create_client("ssm", config=_PROMPT))


# ---- Import by URI -------------------------------------------------------------------------------------------------


def foreign_s3(access_key_id: str | None, secret_access_key: str | None, session_token: str | None) -> "S3Client":
    """For other people's buckets; by the function's own role where no key is given."""
    client = session().create_client(
        "s3",
        config=_PATIENT,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        aws_session_token=session_token,
    )
    return cast("S3Client", client)


def secrets() -> Any:
    return session().create_client("secretsmanager", config=_PATIENT)


def roles() -> Any:
    return session().create_client("sts", config=_PATIENT)


# ---- Notices -------------------------------------------------------------------------------------------------------


def events() -> "EventBridgeClient":
    return cast("EventBridgeClient", session().create_client("events", config=_BRIEF))


def topics() -> "SNSClient":
    return cast("SNSClient", session().create_client("sns", config=_BRIEF))


# ---- Alarms: somebody waits, and what does not answer within seconds is left out ------------------------------------


def prompt_s3() -> "S3Client":
    return cast("S3Client", session().create_client("s3", config=_PROMPT))


def prompt_records() -> "DynamoDBClient":
    return cast("DynamoDBClient", session().create_client("dynamodb", config=_PROMPT))


def prompt_queues() -> "SQSClient":
    # Its answers may wait for a second themselves.
    return cast("SQSClient", session().create_client("sqs", config=_BRIEF))


def logs() -> "LogsClient":
    return cast("LogsClient", session().create_client("logs", config=_BRIEF))
