"""What of AWS needs a memory, on moto: executions, the part queue, receipts, errors, bad rows waiting.

    python -m tests.bench.rig.emulator PORT

Prints "ready" when everything is there.
"""

import sys
import threading
from typing import Any

import boto3
from moto.server import ThreadedMotoServer

from tests.bench.rig import BUCKET, CREDENTIALS, IMPORTS_TABLE, PART_QUEUE, REGION
from tests.support.quick_moto import quick


def build(url: str) -> None:
    """Bucket, table and queue."""
    session = boto3.Session(*CREDENTIALS, region_name=REGION)
    s3: Any = session.client("s3", endpoint_url=url)
    s3.create_bucket(Bucket=BUCKET)
    # Not versioned: sources are nginx' affair, and moto would list all that was ever deleted from work/.
    keys = {"pk": "S", "sk": "S", "unfinished": "S", "source_uri": "S", "listed": "S", "creation_date": "N"}
    dynamodb: Any = session.client("dynamodb", endpoint_url=url)
    dynamodb.create_table(
        TableName=IMPORTS_TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind in keys.items()],
        KeySchema=_schema("pk", "sk"),
        GlobalSecondaryIndexes=[
            {
                "IndexName": "unfinished",
                "KeySchema": _schema("unfinished", "source_uri"),
                "Projection": {"ProjectionType": "KEYS_ONLY"},
            },
            {
                "IndexName": "by_time",
                "KeySchema": _schema("listed", "creation_date"),
                "Projection": {"ProjectionType": "ALL"},
            },
        ],
    )
    session.client("sqs", endpoint_url=url).create_queue(QueueName=PART_QUEUE, Attributes={"VisibilityTimeout": "1800"})


def _schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [{"AttributeName": partition, "KeyType": "HASH"}, {"AttributeName": sort, "KeyType": "RANGE"}]


if __name__ == "__main__":
    port = int(sys.argv[1])
    with quick():
        ThreadedMotoServer(port=port, verbose=False).start()
        build(f"http://127.0.0.1:{port}")
        print("ready", flush=True)
        threading.Event().wait()
