"""One import, as Lambda runs it: our handlers with everything on, and what Lambda and SQS do around them.

    python ours.py KEY SINKS [GZIP]      environment: tests.bench.rig

Prints what `measuring` says, with the receipt.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "src" / "handler"))

import measuring

import app
from importer.aws import clients

LAMBDA_MS = 900_000


class Context:
    """Of an invocation that has just begun."""

    function_name, memory_limit_in_mb, aws_request_id = "bench", 512, "00000000-0000-0000-0000-000000000000"
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:bench"

    def __init__(self, most_ms: int) -> None:
        self._until = time.monotonic() + most_ms / 1000

    def get_remaining_time_in_millis(self) -> int:
        return max(int((self._until - time.monotonic()) * 1000), 0)


def notification(bucket: str, key: str, etag: str, size: int, version_id: str) -> dict[str, Any]:
    """`ObjectCreated:Put` as S3 sends it straight to a function."""
    described = {"key": key, "size": size, "eTag": etag, "versionId": version_id, "sequencer": "0055AED6DCD90281E5"}
    return {
        "Records": [
            {
                "eventVersion": "2.1",
                "eventSource": "aws:s3",
                "awsRegion": "us-east-1",
                "eventTime": "2026-01-01T00:00:00.000Z",
                "eventName": "ObjectCreated:Put",
                "s3": {"bucket": {"name": bucket}, "object": described},
            }
        ]
    }


def main() -> None:
    key, os.environ["SINKS"] = sys.argv[1], sys.argv[2]
    os.environ["STREAM_GZIP"] = "true" if sys.argv[3:] == ["gzip"] else "false"
    bucket, queue_url = os.environ["BUCKET_NAME"], os.environ["PART_QUEUE_URL"]
    s3 = clients.s3()  # for what S3 does: boto3 beside it would be memory that no function has
    head = s3.head_object(Bucket=bucket, Key=key)
    event = notification(bucket, key, head["ETag"].strip('"'), head["ContentLength"], head["VersionId"])
    invocations = 1
    measuring.begun()
    done = app.lambda_handler(event, Context(LAMBDA_MS))["executions"]
    while not all(execution["phase"] == "CLOSED" for execution in done):
        sqs = clients.queues()
        messages = sqs.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=1).get("Messages", [])
        if not messages:
            raise RuntimeError(f"not imported, and nothing is left to do: {done}")
        records = [{"messageId": "1", "body": messages[0]["Body"]}]
        done = app.part_handler({"Records": records}, Context(300_000))["executions"]
        sqs.delete_message(QueueUrl=queue_url, ReceiptHandle=messages[0]["ReceiptHandle"])
        invocations += 1
    measured = measuring.cpu_seconds()
    listed = s3.list_objects_v2(Bucket=bucket, Prefix="receipts/")["Contents"]
    path = next(entry["Key"] for entry in listed if entry["Key"].endswith(f"/{key.removeprefix('imports/')}.json"))
    receipt = json.loads(s3.get_object(Bucket=bucket, Key=path)["Body"].read())
    measuring.told(
        receipt["good"],
        receipt["bad"],
        reading_the_receipt_cpu_seconds=measuring.cpu_seconds() - measured,
        invocations=invocations,
        receipt=receipt,
    )


if __name__ == "__main__":
    main()
