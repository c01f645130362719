"""What a deployed stack is called: its bucket, tables, queues and functions, read from the stack's outputs."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mypy_boto3_cloudformation import CloudFormationClient


@dataclass(frozen=True, slots=True)
class Stack:
    """Everything a tool must know to use a deployment; for the twin also where it listens and who may call it.

    On AWS `endpoint_url` and the keys are None: the SDK's own rules find them.
    """

    region: str
    bucket: str
    events_table: str
    users_table: str
    imports_table: str
    part_queue_url: str
    dead_letter_queue_url: str
    alarm_topic_arn: str
    functions: Mapping[str, str]  # logical id in template.yaml → name of the function
    endpoint_url: str | None = None
    access_key_id: str | None = None
    secret_access_key: str | None = None
    delivery_stream: str | None = None  # where Sinks asks for a stream
    stream_bucket: str | None = None
    high_part_queue_url: str | None = None  # of imports of that priority; None in older stacks
    low_part_queue_url: str | None = None
    api_url: str | None = None  # root of the HTTP door
    api_token: str | None = None  # the twin's own, which may do everything
    tokens_path: str | None = None  # of the HTTP door's tokens in SSM; None before there was one
    upload_max_mib: int | None = None  # of a file posted by a signed form
    fetch_queue_url: str | None = None  # of imports by URI; None before there were any
    explained_topic_arn: str | None = None  # of alarms, for people; None before they were explained
    archive_retention_days: int = 0  # after which S3 deletes imported files, refused rows, receipts; 0 is never
    errors_retention_days: int = 0
    receipt_retention_days: int = 0
    execution_retention_days: int = 0  # … and the imports table forgets imports that SUCCEEDED

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2)

    @staticmethod
    def from_file(path: Path) -> "Stack":
        return Stack(**json.loads(path.read_text()))


def described(
    cloudformation: "CloudFormationClient",
    stack_name: str,
    *,
    endpoint_url: str | None = None,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
) -> Stack:
    """The stack as CloudFormation describes it.

    Raises:
        botocore.exceptions.ClientError: no such stack, or no permission to look.
        KeyError: the stack is not one of ours, or an older one: it lacks the output named.
    """
    description = cloudformation.describe_stacks(StackName=stack_name)["Stacks"][0]
    outputs = {output["OutputKey"]: output["OutputValue"] for output in description.get("Outputs", ())}
    return Stack(
        region=cloudformation.meta.region_name,
        bucket=outputs["Bucket"],
        events_table=outputs["EventsTable"],
        users_table=outputs["UsersTable"],
        imports_table=outputs["ImportsTable"],
        part_queue_url=outputs["PartQueueUrl"],
        dead_letter_queue_url=outputs["DeadLetterQueueUrl"],
        alarm_topic_arn=outputs["AlarmTopicArn"],
        functions={name: value for name, value in outputs.items() if name.endswith("Function")},
        endpoint_url=endpoint_url,
        access_key_id=access_key_id,
        secret_access_key=secret_access_key,
        delivery_stream=outputs.get("DeliveryStream"),
        stream_bucket=outputs.get("StreamBucket"),
        high_part_queue_url=outputs.get("HighPartQueueUrl"),
        low_part_queue_url=outputs.get("LowPartQueueUrl"),
        api_url=outputs.get("ApiUrl"),
        tokens_path=outputs.get("TokensPath"),
        fetch_queue_url=outputs.get("FetchQueueUrl"),
        explained_topic_arn=outputs.get("ExplainedTopicArn"),
        archive_retention_days=int(outputs.get("ArchiveRetentionDays", 0)),
        errors_retention_days=int(outputs.get("ErrorsRetentionDays", 0)),
        receipt_retention_days=int(outputs.get("ReceiptRetentionDays", 0)),
        execution_retention_days=int(outputs.get("ExecutionRetentionDays", 0)),
        upload_max_mib=int(outputs["UploadMaxMiB"]) if "UploadMaxMiB" in outputs else None,
    )
