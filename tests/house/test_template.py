"""The template's safety rules, read from what CloudFormation is given: the template with SAM's shorthand expanded."""

import copy
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

TEMPLATE = yaml_parse((Path(__file__).parents[2] / "template.yaml").read_text())
TRIGGER_PREFIX = "imports/"


class NoManagedPolicies:
    """Ours are written out; a lookup would mean that one crept in."""

    def load(self) -> dict[str, str]:
        return {}


@pytest.fixture(scope="module")
def expanded() -> dict[str, Any]:
    packaged = copy.deepcopy(TEMPLATE)
    packaged["Globals"]["Function"]["CodeUri"] = "s3://bucket/key"  # as `sam deploy` does
    with patch.dict(os.environ, {"AWS_DEFAULT_REGION": "us-east-1"}):
        return transform(packaged, {}, NoManagedPolicies())


def of_type(template: dict[str, Any], kind: str) -> dict[str, dict[str, Any]]:
    found = {name: r for name, r in template["Resources"].items() if r["Type"] == kind}
    assert found, f"no {kind} in the template: the rule would hold of nothing"
    return found


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def allowed(template: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every Allow statement of every policy attached to a role."""
    for resource in template["Resources"].values():
        properties = resource.get("Properties", {})
        policies = [properties] if resource["Type"] == "AWS::IAM::Policy" else properties.get("Policies", [])
        for policy in policies:
            yield from (s for s in policy["PolicyDocument"]["Statement"] if s["Effect"] == "Allow")


def prefixes_written(template: dict[str, Any]) -> set[str]:
    """Prefixes of the bucket that some function may put objects under."""
    return {
        resource["Fn::Sub"].removeprefix("${Bucket.Arn}/").removesuffix("*")
        for statement in allowed(template)
        if "s3:PutObject" in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }


# ---- Loops -------------------------------------------------------------------------------------------------------


def test_only_files_under_imports_start_a_function(expanded):
    """Every notification of the bucket is narrowed to the folder people drop files in."""
    (bucket,) = of_type(expanded, "AWS::S3::Bucket").values()
    notifications = bucket["Properties"]["NotificationConfiguration"]
    rules = [n["Filter"]["S3Key"]["Rules"] for n in notifications["LambdaConfigurations"]]
    assert rules == [[{"Name": "prefix", "Value": TRIGGER_PREFIX}]]
    assert set(notifications) == {"LambdaConfigurations"}


def test_no_function_may_write_where_a_file_starts_one(expanded):
    """B1: what the importer writes can never start the importer, whatever its code does."""
    written = prefixes_written(expanded)
    assert written == {"completed_imports/", "errors/", "receipts/", "work/"}
    assert not [p for p in written if p.startswith(TRIGGER_PREFIX) or TRIGGER_PREFIX.startswith(p)]


def test_recursion_is_still_stopped_by_aws(expanded):
    """B2: AWS breaks a loop we failed to see, unless a function says it may call itself."""
    functions = of_type(expanded, "AWS::Lambda::Function")
    assert {name: f["Properties"].get("RecursiveLoop", "Terminate") for name, f in functions.items()} == {
        "ImportFunction": "Terminate"
    }


# ---- Files -------------------------------------------------------------------------------------------------------


def test_the_bucket_is_versioned_encrypted_and_private(expanded):
    """An import is pinned to a version; nobody reads customers' files but who is allowed to."""
    (bucket,) = of_type(expanded, "AWS::S3::Bucket").values()
    properties = bucket["Properties"]
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert properties["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert properties["PublicAccessBlockConfiguration"] == dict.fromkeys(
        ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
    )


def test_the_bucket_refuses_what_is_not_encrypted_on_the_way(expanded):
    """On AWS everybody is denied everything over plain HTTP; only the local twin has no TLS."""
    (policy,) = of_type(expanded, "AWS::S3::BucketPolicy").values()
    assert policy["Condition"] == "RunsOnAws"
    assert expanded["Conditions"]["RunsOnAws"] == {"Fn::Equals": [{"Ref": "EndpointUrl"}, ""]}
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert statement == {
        "Sid": "OnlyOverTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [{"Fn::GetAtt": ["Bucket", "Arn"]}, {"Fn::Sub": "${Bucket.Arn}/*"}],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def test_leftovers_in_the_bucket_go_away_by_themselves(expanded):
    """Segments, old versions and unfinished uploads cost money for ever unless a rule ends them."""
    (bucket,) = of_type(expanded, "AWS::S3::Bucket").values()
    rules = {rule["Id"]: rule for rule in bucket["Properties"]["LifecycleConfiguration"]["Rules"]}
    assert {rule["Status"] for rule in rules.values()} == {"Enabled"}
    assert rules["unfinished-work"]["Prefix"] == "work/"
    assert rules["unfinished-work"]["ExpirationInDays"] == {"Ref": "WorkRetentionDays"}
    assert expanded["Parameters"]["WorkRetentionDays"]["Default"] == 14
    assert rules["old-versions"]["NoncurrentVersionExpiration"] == {
        "NoncurrentDays": {"Ref": "OldVersionRetentionDays"}
    }
    assert rules["unfinished-uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}


def test_no_rule_deletes_a_file_nobody_has_imported(expanded):
    """Only work/ expires: files, bad rows and receipts stay until a person removes them."""
    (bucket,) = of_type(expanded, "AWS::S3::Bucket").values()
    rules = bucket["Properties"]["LifecycleConfiguration"]["Rules"]
    assert [rule["Prefix"] for rule in rules if "ExpirationInDays" in rule] == ["work/"]


def test_what_customers_gave_us_outlives_the_stack(expanded):
    """Deleting or replacing the stack's bucket and tables keeps what is in them."""
    kept = {**of_type(expanded, "AWS::S3::Bucket"), **of_type(expanded, "AWS::DynamoDB::Table")}
    policies = {name: (r.get("DeletionPolicy"), r.get("UpdateReplacePolicy")) for name, r in kept.items()}
    assert policies == dict.fromkeys(kept, ("Retain", "Retain"))


# ---- Tables ------------------------------------------------------------------------------------------------------


def test_tables_are_on_demand_recoverable_and_encrypted(expanded):
    """No capacity to guess; any second of the last 35 days can be brought back."""
    for name, table in of_type(expanded, "AWS::DynamoDB::Table").items():
        properties = table["Properties"]
        assert properties["BillingMode"] == "PAY_PER_REQUEST", name
        assert properties["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}, name
        assert properties["SSESpecification"] == {"SSEEnabled": True}, name


def test_the_events_table_has_no_index(expanded):
    """An index would double the bill and its back-pressure would throttle the writes."""
    properties = expanded["Resources"]["EventsTable"]["Properties"]
    assert [key["AttributeName"] for key in properties["KeySchema"]] == ["user_id", "event_key"]
    assert "GlobalSecondaryIndexes" not in properties


# ---- Functions ---------------------------------------------------------------------------------------------------


def test_every_function_logs_to_a_group_that_forgets(expanded):
    """A function without a log group of its own makes one that keeps everything for ever."""
    groups = of_type(expanded, "AWS::Logs::LogGroup")
    assert all("RetentionInDays" in group["Properties"] for group in groups.values())
    used = {
        f["Properties"]["LoggingConfig"]["LogGroup"]["Ref"] for f in of_type(expanded, "AWS::Lambda::Function").values()
    }
    assert used == set(groups)


def test_a_notification_that_cannot_be_handled_is_kept(expanded):
    """AWS drops it silently after the last try unless the function has an on-failure destination."""
    configured = {
        c["Properties"]["FunctionName"]["Ref"]: c["Properties"]["DestinationConfig"]["OnFailure"]["Destination"]
        for c in of_type(expanded, "AWS::Lambda::EventInvokeConfig").values()
    }
    dead_letters = {"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}
    assert configured == dict.fromkeys(of_type(expanded, "AWS::Lambda::Function"), dead_letters)
    assert {"sqs:SendMessage"} == {
        action
        for statement in allowed(expanded)
        if statement["Resource"] == dead_letters
        for action in as_list(statement["Action"])
    }


def test_permissions_name_their_actions_and_resources(expanded):
    """No wildcard action, no resource `*`, no managed policy: a function can do what its work needs and no more."""
    statements = list(allowed(expanded))
    assert statements
    assert not [a for s in statements for a in as_list(s["Action"]) if "*" in a]
    assert not [
        r for s in statements for r in as_list(s["Resource"]) if r == "*" or r == {"Fn::Sub": "${Bucket.Arn}/*"}
    ]
    assert not [
        name for name, r in of_type(expanded, "AWS::IAM::Role").items() if r["Properties"].get("ManagedPolicyArns")
    ]


def test_the_role_itself_may_send_to_the_on_failure_queue(expanded):
    """Lambda checks that when the destination is made, long before a policy that waits for the bucket is attached."""
    role = expanded["Resources"]["ImportRole"]["Properties"]
    statements = [s for policy in role["Policies"] for s in policy["PolicyDocument"]["Statement"]]
    sends = [s["Resource"] for s in statements if "sqs:SendMessage" in as_list(s["Action"])]
    assert sends == [{"Fn::GetAtt": ["DeadLetterQueue", "Arn"]}]


def test_listing_the_bucket_is_bound_to_prefixes(expanded):
    """The names of other people's files are data too."""
    listings = [s for s in allowed(expanded) if {"s3:ListBucket", "s3:ListBucketVersions"} & set(as_list(s["Action"]))]
    bounds = {p for s in listings for p in as_list(s["Condition"]["StringLike"]["s3:prefix"])}
    assert bounds == {"imports/*", "work/*", "completed_imports/*"}


def test_an_empty_endpoint_means_aws(expanded):
    """Only the local twin and `sam local` send calls elsewhere."""
    assert expanded["Parameters"]["EndpointUrl"]["Default"] == ""
    variables = expanded["Resources"]["ImportFunction"]["Properties"]["Environment"]["Variables"]
    assert variables["AWS_ENDPOINT_URL"] == {"Ref": "EndpointUrl"}


# ---- People ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("section", ["Parameters", "Outputs"])
def test_everything_a_person_sees_is_described(section):
    """Each parameter and output says what it is for in a sentence."""
    assert [name for name, entry in TEMPLATE[section].items() if not entry.get("Description", "").endswith(".")] == []


def test_every_parameter_belongs_to_a_group():
    """The console shows parameters in the order a person thinks, not by alphabet."""
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(TEMPLATE["Parameters"])


def test_every_alarm_reaches_somebody_and_says_what_to_do(expanded):
    """An alarm at night is one sentence and the place in the runbook, not a metric's name."""
    for name, alarm in of_type(expanded, "AWS::CloudWatch::Alarm").items():
        properties = alarm["Properties"]
        assert properties["AlarmActions"] == [{"Ref": "AlarmTopic"}], name
        assert "; " in properties["AlarmDescription"], name  # what happened; what to do
        assert properties["AlarmDescription"].split()[-1].startswith("docs/operations.md#"), name
        assert properties["TreatMissingData"] == "notBreaching", name


def test_the_alarms_cover_every_way_an_import_can_fail(expanded):
    """Crashed, refused by Lambda, dropped by Lambda, given up, refused as a whole."""
    metrics = {a["Properties"]["MetricName"] for a in of_type(expanded, "AWS::CloudWatch::Alarm").values()}
    assert metrics == {
        "Errors",
        "Throttles",
        "AsyncEventsDropped",
        "ApproximateNumberOfMessagesVisible",
        "ExecutionsFailed",
    }
