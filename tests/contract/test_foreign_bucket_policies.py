"""The documented policies of a foreign bucket grant what the stack grants on its own bucket, and nothing more."""

from pathlib import Path
from typing import Any

import pytest
from botocore import session
from botocore.validate import ParamValidator
from samtranslator.yaml_helper import yaml_parse

from tests.support.documented import documented, names

TEMPLATE = yaml_parse((Path(__file__).parents[2] / "template.yaml").read_text(encoding="utf-8"))
ROLES = ["arn:aws:iam::111122223333:role/IMPORT_ROLE", "arn:aws:iam::111122223333:role/PART_ROLE"]


def granted(statements: list[dict[str, Any]], bucket: str) -> set[tuple[str, str, str]]:
    """(action, resource below the bucket, condition) of every statement that names the bucket."""
    return {
        (action, resource.removeprefix(bucket), str(statement.get("Condition")))
        for statement in statements
        for action in as_list(statement["Action"])
        for resource in map(_text, as_list(statement["Resource"]))
        if resource == bucket or resource.startswith(f"{bucket}/")
    }


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _text(resource: Any) -> str:
    """A resource of the template as text: `!GetAtt Bucket.Arn` and `!Sub "${Bucket.Arn}/…"`."""
    if isinstance(resource, str):
        return resource
    (kind, value), *_ = resource.items()
    return value if kind == "Fn::Sub" else "${" + ".".join(as_list(value)) + "}"


def test_the_page_holds_all_that_a_foreign_bucket_needs():
    """Each of these is parsed and used by a test; another would be read by nobody."""
    assert names() == ["role", "role-kms", "bucket", "key", "lifecycle", "permission", "notification"]


def test_the_roles_policy_is_the_stacks_own_for_another_bucket():
    """A right added to the template is missing on foreign buckets until it stands there too."""
    ours = TEMPLATE["Resources"]["ImportPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    theirs = documented("role")["Statement"]
    assert granted(theirs, "arn:aws:s3:::FOREIGN_BUCKET") == granted(ours, "${Bucket.Arn}")


def test_the_buckets_policy_lets_the_role_do_what_its_own_policy_says():
    """Across accounts both must say yes; the bucket's may be coarser, but names no action more."""
    role = granted(documented("role")["Statement"], "arn:aws:s3:::FOREIGN_BUCKET")
    bucket = granted(documented("bucket")["Statement"], "arn:aws:s3:::FOREIGN_BUCKET")
    assert {(action, resource) for action, resource, _ in role} <= {
        (action, resource) for action, resource, _ in bucket
    }
    assert {action for action, _, _ in role} == {action for action, _, _ in bucket}


@pytest.mark.parametrize("name", ["role-kms", "key"])
def test_the_key_is_used_through_s3_only(name: str):
    (statement,) = documented(name)["Statement"]
    assert statement["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]
    assert statement["Condition"] == {"StringEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}}


def test_whoever_is_let_in_are_the_two_roles_of_the_policy_and_nobody_else():
    ours = TEMPLATE["Resources"]["ImportPolicy"]["Properties"]["Roles"]
    assert ours == [{"Ref": "ImportRole"}, {"Ref": "PartRole"}, {"Ref": "ScheduleRole"}]
    # The schedule's role stays outside: a series lies in the stack's own bucket (decision 0034).
    principals = [s["Principal"] for name in ("bucket", "key") for s in documented(name)["Statement"]]
    assert principals == [{"AWS": ROLES}] * 3
    permission = documented("permission")
    assert (permission["SourceArn"], permission["SourceAccount"]) == ("arn:aws:s3:::FOREIGN_BUCKET", "444455556666")


def test_only_files_under_imports_are_told_of():
    """B1: else the importer starts itself with what it writes."""
    (ours,) = TEMPLATE["Resources"]["ImportFunction"]["Properties"]["Events"].values()
    (theirs,) = documented("notification")["LambdaFunctionConfigurations"]
    assert theirs["Filter"]["Key"]["FilterRules"] == [{"Name": "prefix", "Value": "imports/"}]
    assert theirs["Filter"]["Key"]["FilterRules"] == ours["Properties"]["Filter"]["S3Key"]["Rules"]
    assert theirs["Events"] == [ours["Properties"]["Events"]]


REQUESTS = {
    "lifecycle": ("s3", "PutBucketLifecycleConfiguration", "LifecycleConfiguration"),
    "notification": ("s3", "PutBucketNotificationConfiguration", "NotificationConfiguration"),
    "permission": ("lambda", "AddPermission", None),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_each_document_is_a_request_the_sdk_accepts(name: str):
    """Names and types as AWS's own model of the call has them."""
    service, operation, member = REQUESTS[name]
    shape = session.get_session().get_service_model(service).operation_model(operation).input_shape
    document = documented(name)
    report = ParamValidator().validate(document, shape.members[member] if member else shape)
    assert not report.has_errors(), report.generate_report()


def test_work_and_unfinished_uploads_are_removed_as_in_the_stacks_bucket():
    rules = TEMPLATE["Resources"]["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    ours = {rule["Id"]: rule for rule in rules if "Id" in rule}  # the others are there if parameters say so
    theirs = {rule["ID"]: rule for rule in documented("lifecycle")["Rules"]}
    assert (
        theirs["unfinished-uploads"]["AbortIncompleteMultipartUpload"]
        == (ours["unfinished-uploads"]["AbortIncompleteMultipartUpload"])
    )
    assert theirs["unfinished-work"]["Filter"]["Prefix"] == ours["unfinished-work"]["Prefix"]
    assert theirs["unfinished-work"]["Expiration"]["Days"] == TEMPLATE["Parameters"]["WorkRetentionDays"]["Default"]
