"""The template's permissions, and which of them a call needs: a small model of IAM for the calls this project makes.

A permission is (action, where): `("s3:PutObject", "errors/")`, `("s3:ListBucket", "list work/")`,
`("dynamodb:Query", "ImportsTable/index/unfinished")`.
Source: the Service Authorization Reference of S3, DynamoDB and Firehose, and S3's "required permissions" per call.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from samtranslator.yaml_helper import yaml_parse

if TYPE_CHECKING:
    from .wire import Call

Permission = tuple[str, str]

TEMPLATE = Path(__file__).parents[2] / "template.yaml"
# Lambda itself does these with the role, not our code: no call of ours can be denied them.
BY_LAMBDA = (
    "logs:",
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:GetQueueAttributes",
    "dynamodb:DescribeStream",
    "dynamodb:GetRecords",
    "dynamodb:GetShardIterator",
    "dynamodb:ListStreams",
)
TO_LAMBDAS_QUEUE = ("sqs:SendMessage", "DeadLetterQueue")
# The fake cloud has one queue of work. Which of them a task or a fetch goes to: test_part_queue.py, test_fetching.py.
OTHER_QUEUES = {("sqs:SendMessage", name) for name in ("HighPartQueue", "LowPartQueue", "FetchQueue")}
SENDS_THERE_ITSELF = "NotifyRole"
# What its function needs in order to explain alarms; the rest it needs for notices.
FOR_ALARMS = frozenset(
    {
        ("s3:GetObject", "receipts/"),
        ("s3:GetObject", "errors/"),
        ("s3:GetObjectVersion", "imports/"),
        ("s3:ListBucketVersions", "list imports/"),
        ("dynamodb:GetItem", "ImportsTable"),
        ("dynamodb:Query", "ImportsTable"),
        ("dynamodb:Query", "ImportsTable/index/unfinished"),
        ("dynamodb:Query", "ImportsTable/index/by_time"),
        ("sns:Publish", "ExplainedTopic"),
    }
)


@cache
def granted(role: str) -> frozenset[Permission]:
    """What a role of the template may do, but for what Lambda does with it."""
    resources = yaml_parse(TEMPLATE.read_text(encoding="utf-8"))["Resources"]
    policies: list[dict[str, Any]] = list(resources[role]["Properties"].get("Policies", []))
    policies += [
        resource["Properties"]
        for resource in resources.values()
        if resource["Type"] == "AWS::IAM::Policy" and {"Ref": role} in resource["Properties"]["Roles"]
    ]
    return frozenset(
        (action, where)
        for policy in policies
        for statement in policy["PolicyDocument"]["Statement"]
        for action in _listed(statement["Action"])
        if not action.startswith(BY_LAMBDA)
        for where in _places(statement)
        if (action, where) != TO_LAMBDAS_QUEUE or role == SENDS_THERE_ITSELF
    )


def _places(statement: dict[str, Any]) -> Iterator[str]:
    for resource in _listed(statement["Resource"]):
        if isinstance(resource.get("Fn::Sub"), list):
            yield resource["Fn::Sub"][0].rpartition(":")[2].partition("/")[0]
        elif "Ref" in resource:
            yield resource["Ref"]
        elif "Fn::Sub" in resource:
            name = re.sub(r"\$\{(\w+)\.Arn\}", r"\1", resource["Fn::Sub"])
            yield name.removeprefix("Bucket/").removesuffix("*")
        else:
            (name, _) = resource["Fn::GetAtt"]
            prefixes = statement.get("Condition", {}).get("StringLike", {}).get("s3:prefix")
            yield from (
                [name] if prefixes is None else [f"list {prefix.removesuffix('*')}" for prefix in _listed(prefixes)]
            )


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def needed(call: Call) -> set[Permission]:
    """The permissions this call needs, all of them."""
    if call.service == "s3":
        return set(_needed_of_s3(call))
    if call.service == "dynamodb":
        tables = {
            call.cloud.events_table: "EventsTable",
            call.cloud.users_table: "UsersTable",
            call.cloud.imports_table: "ImportsTable",
        }
        names = list(call.document.get("RequestItems", {})) or [call.document["TableName"]]
        index = f"/index/{call.document['IndexName']}" if "IndexName" in call.document else ""
        return {(f"dynamodb:{call.operation}", tables[name] + index) for name in names}
    if call.service == "firehose":
        return {(f"firehose:{call.operation}", "DeliveryStream")}
    if call.service == "sqs":
        queue = "PartQueue" if call.document.get("QueueUrl") == call.cloud.part_queue_url else "DeadLetterQueue"
        return {(f"sqs:{call.operation.removesuffix('Batch')}", queue)}
    if call.service == "eventbridge":
        return {(f"events:{call.operation}", "event-bus")}
    if call.service == "sns":
        topic = "ExplainedTopic" if b"%3Aexplained" in call.body else "NoticeTopic"
        return {(f"sns:{call.operation}", topic)}
    raise AssertionError(f"teach {__name__} what {call.label} needs")


def _needed_of_s3(call: Call) -> Iterator[Permission]:
    key, operation = call.key or "", call.operation
    where = _folder(key)
    of_version = "Version" if "versionId" in call.query else ""
    match operation:
        case "HeadObject" | "GetObject":
            yield f"s3:GetObject{of_version}", where
        case "GetObjectTagging":
            yield f"s3:GetObject{of_version}Tagging", where
        case "PutObjectTagging":
            yield "s3:PutObjectTagging", where
        case "PutObject" | "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload":
            yield "s3:PutObject", where
            if call.header("x-amz-tagging"):
                yield "s3:PutObjectTagging", where
        case "ListParts":
            yield "s3:ListMultipartUploadParts", where
        case "AbortMultipartUpload":
            yield "s3:AbortMultipartUpload", where
        case "CopyObject" | "UploadPartCopy":
            yield "s3:PutObject", where
            path, _, version = (call.header("x-amz-copy-source") or "").partition("?versionId=")
            source = unquote(path).lstrip("/").partition("/")[2]
            what = "s3:GetObjectVersion" if version else "s3:GetObject"
            yield what, _folder(source)
            if operation == "CopyObject" and _tags(call, source, version or None):
                yield f"{what}Tagging", _folder(source)
                yield "s3:PutObjectTagging", where
        case "DeleteObject":
            yield f"s3:DeleteObject{of_version}", where
            if call.header("If-Match"):
                yield f"s3:GetObject{of_version}", where
        case "DeleteObjects":
            for name in re.findall(r"<Key>(.*?)</Key>", call.body.decode()):
                yield "s3:DeleteObject", _folder(name)
        case "ListObjectsV2":
            yield "s3:ListBucket", f"list {_folder(call.query.get('prefix', ''))}"
        case "ListObjectVersions":
            yield "s3:ListBucketVersions", f"list {_folder(call.query.get('prefix', ''))}"
        case _:
            raise AssertionError(f"teach {__name__} what {call.label} needs")


def _tags(call: Call, key: str, version_id: str | None) -> dict[str, str]:
    try:
        return call.cloud.metadata(key, version_id)["tags"]  # type: ignore[no-any-return]
    except KeyError:
        return {}


def _folder(key: str) -> str:
    return key.partition("/")[0] + "/"
