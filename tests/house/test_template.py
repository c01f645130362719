"""The template's safety rules, read from what CloudFormation is given: the template with SAM's shorthand expanded."""

import copy
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from samtranslator.translator.transform import transform
from samtranslator.yaml_helper import yaml_parse

from cli.api_gateway import DEFAULT, routes_of
from cli.previewing import PART_BYTES
from importer import telemetry
from importer.aws.settings import LOW_WORKERS
from importer.definitions import LONGEST_RUN_SECONDS
from importer.doors import openapi
from importer.doors.routes import ROUTES
from importer.doors.telling import PATIENCE_MS
from importer.forecast import MEMORY_MB
from importer.sinks.items import EXPIRES
from tests.bench import rig
from tests.faults import importing
from tests.support import cloud
from tests.support.policy import FOR_ALARMS, granted

ROOT = Path(__file__).parents[2]
TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text())
TRIGGER_PREFIXES = ("imports/", "previews/")
PART_QUEUES = ("PartQueue", "HighPartQueue", "LowPartQueue")
NOTIFIES = {"Ref": "NotifyFunction"}


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


def prefixes_written(template: dict[str, Any], but_by: set[str]) -> set[str]:
    """Prefixes of the bucket that some role may put objects under, leaving out some."""
    others = {"Resources": {name: r for name, r in template["Resources"].items() if name not in but_by}}
    written = {
        resource["Fn::Sub"]
        for statement in allowed(others)
        if "s3:PutObject" in as_list(statement["Action"])
        for resource in as_list(statement["Resource"])
    }
    return {name.removeprefix("${Bucket.Arn}/").removesuffix("*") for name in written if "${StreamBucket" not in name}


# ---- Loops -------------------------------------------------------------------------------------------------------


def test_only_files_under_imports_and_previews_start_a_function(expanded):
    """Every notification of the bucket is narrowed to the folders people drop files in, each to its own function."""
    assert [name for name, bucket in of_type(expanded, "AWS::S3::Bucket").items() if notifies(bucket)] == ["Bucket"]
    notifications = notifies(expanded["Resources"]["Bucket"])
    rules = {
        str(n["Function"]): n["Filter"]["S3Key"]["Rules"]
        for n in sorted(notifications["LambdaConfigurations"], key=str)
    }
    assert rules == {
        str(arn("ImportFunction")): [{"Name": "prefix", "Value": "imports/"}],
        str(arn("PreviewFunction")): [{"Name": "prefix", "Value": "previews/"}],
    }
    assert set(notifications) == {"LambdaConfigurations"}


def arn(name: str) -> dict[str, list[str]]:
    return {"Fn::GetAtt": [name, "Arn"]}


def notifies(bucket: dict[str, Any]) -> dict[str, Any]:
    return bucket["Properties"].get("NotificationConfiguration", {})


def test_no_function_that_a_file_starts_may_write_where_a_file_starts_one(expanded):
    """B1: what the importer writes can never start the importer, whatever its code does. Doors may: requests start
    them, and nothing else."""
    written = prefixes_written(expanded, but_by={"ApiRole", "FetchRole"})
    assert written == {"completed_imports/", "errors/", "receipts/", "work/", "preview_results/"}
    assert not [p for p in written for t in TRIGGER_PREFIXES if p.startswith(t) or t.startswith(p)]
    used_by = {
        name: f["Properties"]["Role"]["Fn::GetAtt"][0] for name, f in of_type(expanded, "AWS::Lambda::Function").items()
    }
    doors = {name: role for name, role in used_by.items() if role in ("ApiRole", "FetchRole")}
    assert doors == {"ApiFunction": "ApiRole", "FetchFunction": "FetchRole"}
    assert {role: may(expanded, role, "FetchQueue") for role in ("ImportRole", "PartRole")} == {
        "ImportRole": set(),
        "PartRole": set(),
    }
    starts = [p["Properties"] for p in of_type(expanded, "AWS::Lambda::Permission").values()]
    assert {p["Principal"] for p in starts if p["FunctionName"] == {"Ref": "ApiFunction"}} == {
        "apigateway.amazonaws.com"
    }


def test_recursion_is_stopped_by_aws_but_for_the_function_that_hands_work_on_to_itself(expanded):
    """B2: AWS breaks a loop we failed to see after 16 rounds, and a large file takes more hand-overs than that."""
    functions = of_type(expanded, "AWS::Lambda::Function")
    assert {name: f["Properties"].get("RecursiveLoop", "Terminate") for name, f in functions.items()} == {
        "ImportFunction": "Terminate",
        "PartFunction": "Allow",
        "ScheduleFunction": "Terminate",  # it invokes itself once, no further
        "SweepFunction": "Terminate",
        "ApiFunction": "Terminate",
        "FetchFunction": "Allow",
        "PreviewFunction": "Terminate",
        "NotifyFunction": "Terminate",
    }


def test_only_workers_are_started_by_what_our_functions_send(expanded):
    """The two loops there are go through the queues of parts and of fetches: who is started by the imports table cannot
    write to it."""
    mappings = of_type(expanded, "AWS::Lambda::EventSourceMapping")
    told = [(m["Properties"]["FunctionName"], m["Properties"]["EventSourceArn"]) for m in mappings.values()]
    loops = [({"Ref": "PartFunction"}, arn(queue)) for queue in PART_QUEUES]
    others = [
        ({"Ref": "FetchFunction"}, arn("FetchQueue")),
        (NOTIFIES, {"Fn::GetAtt": ["ImportsTable", "StreamArn"]}),
    ]
    assert sorted(map(str, told)) == sorted(map(str, [*loops, *others]))
    assert granted("NotifyRole") == FOR_ALARMS | {
        ("events:PutEvents", "event-bus"),
        ("sns:Publish", "NoticeTopic"),
        ("sqs:SendMessage", "DeadLetterQueue"),
    }


def test_every_closing_is_a_notice_and_one_that_cannot_be_sent_is_kept(expanded):
    """One record a batch, from the stream's first on, as long as the stream has it; then its place is a dead letter."""
    (mapping,) = (m["Properties"] for m in mappings_of(expanded) if m["Properties"]["FunctionName"] == NOTIFIES)
    assert expanded["Resources"]["ImportsTable"]["Properties"]["StreamSpecification"] == {
        "StreamViewType": "NEW_AND_OLD_IMAGES"
    }
    assert (mapping["BatchSize"], mapping["StartingPosition"]) == (1, "TRIM_HORIZON")
    assert {"MaximumRetryAttempts", "MaximumRecordAgeInSeconds", "FunctionResponseTypes"}.isdisjoint(mapping)
    assert mapping["DestinationConfig"] == {"OnFailure": {"Destination": arn("DeadLetterQueue")}}
    assert expanded["Resources"]["NotifyFunction"]["Properties"]["Timeout"] == importing.NOTIFY_SECONDS
    assert alarms(expanded)["notices-late"]["Threshold"] < PATIENCE_MS, "it rings before a notice is given up"


# ---- Files -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bucket", ["Bucket", "StreamBucket"])
def test_buckets_are_versioned_encrypted_and_private(expanded, bucket):
    """An import is pinned to a version; nobody reads customers' files but who is allowed to."""
    properties = expanded["Resources"][bucket]["Properties"]
    assert properties["VersioningConfiguration"] == {"Status": "Enabled"}
    assert properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert properties["OwnershipControls"] == {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    assert properties["PublicAccessBlockConfiguration"] == dict.fromkeys(
        ("BlockPublicAcls", "BlockPublicPolicy", "IgnorePublicAcls", "RestrictPublicBuckets"), True
    )


@pytest.mark.parametrize(("bucket", "condition"), [("Bucket", "RunsOnAws"), ("StreamBucket", "StreamRunsOnAws")])
def test_buckets_refuse_what_is_not_encrypted_on_the_way(expanded, bucket, condition):
    """On AWS everybody is denied everything over plain HTTP; only the local twin has no TLS."""
    policy = expanded["Resources"][f"{bucket}Policy"]
    assert policy["Condition"] == condition
    assert policy["Properties"]["Bucket"] == {"Ref": bucket}
    assert expanded["Conditions"]["RunsOnAws"] == {"Fn::Equals": [{"Ref": "EndpointUrl"}, ""]}
    (statement,) = policy["Properties"]["PolicyDocument"]["Statement"]
    assert statement == {
        "Sid": "OnlyOverTls",
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [{"Fn::GetAtt": [bucket, "Arn"]}, {"Fn::Sub": f"${{{bucket}.Arn}}/*"}],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def test_leftovers_in_the_bucket_go_away_by_themselves(expanded):
    """Segments, old versions and unfinished uploads cost money for ever unless a rule ends them."""
    rules = {rule["Id"]: rule for rule in lifecycle_of(expanded, "Bucket")}
    assert {rule["Status"] for rule in rules.values()} == {"Enabled"}
    assert rules["unfinished-work"]["Prefix"] == "work/"
    assert rules["unfinished-work"]["ExpirationInDays"] == {"Ref": "WorkRetentionDays"}
    assert expanded["Parameters"]["WorkRetentionDays"]["Default"] == 14
    assert rules["old-versions"]["NoncurrentVersionExpiration"] == {
        "NoncurrentDays": {"Ref": "OldVersionRetentionDays"}
    }
    assert rules["unfinished-uploads"]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 7}


def test_no_rule_deletes_a_file_nobody_has_imported(expanded):
    """By default only work/ and previews expire: files, bad rows, receipts and events stay until a person removes
    them. Nothing under imports/ ever does."""
    expiring = {
        name: [rule["Prefix"] for rule in lifecycle_of(expanded, name) if "ExpirationInDays" in rule]
        for name in of_type(expanded, "AWS::S3::Bucket")
    }
    assert expiring == {"Bucket": ["work/", "previews/", "preview_results/"], "StreamBucket": []}


KEPT = {  # parameter → condition, bucket and prefix
    "ArchiveRetentionDays": ("ArchiveExpires", "Bucket", "completed_imports/"),
    "ErrorsRetentionDays": ("ErrorsExpire", "Bucket", "errors/"),
    "ReceiptRetentionDays": ("ReceiptsExpire", "Bucket", "receipts/"),
    "StreamRetentionDays": ("StreamExpires", "StreamBucket", None),
}


@pytest.mark.parametrize("parameter", KEPT)
def test_what_is_kept_for_ever_may_be_kept_for_some_days(expanded, parameter):
    """0, the default, makes no rule: S3 takes none of 0 days. Old versions outlive it by OldVersionRetentionDays."""
    condition, bucket, prefix = KEPT[parameter]
    assert expanded["Parameters"][parameter]["Default"] == 0
    assert expanded["Conditions"][condition] == {"Fn::Not": [{"Fn::Equals": [{"Ref": parameter}, 0]}]}
    rules = expanded["Resources"][bucket]["Properties"]["LifecycleConfiguration"]["Rules"]
    (rule,) = (rule["Fn::If"] for rule in rules if rule.get("Fn::If", [""])[0] == condition)
    assert rule[1]["ExpirationInDays"] == {"Ref": parameter}
    assert (rule[1].get("Prefix"), rule[1]["Status"]) == (prefix, "Enabled")
    assert "NoncurrentVersionExpiration" not in rule[1]
    assert rule[2] == {"Ref": "AWS::NoValue"}


def test_every_table_forgets_by_the_attribute_our_code_writes(expanded):
    """Items expire where they say so; the days of executions reach the functions that close them."""
    attributes = {
        name: table["Properties"]["TimeToLiveSpecification"]
        for name, table in of_type(expanded, "AWS::DynamoDB::Table").items()
    }
    assert attributes == {name: {"AttributeName": EXPIRES, "Enabled": True} for name in attributes}
    assert expanded["Parameters"]["ExecutionRetentionDays"]["Default"] == 0
    variables = expanded["Resources"]["PartFunction"]["Properties"]["Environment"]["Variables"]
    assert variables["EXECUTION_RETENTION_DAYS"] == {"Ref": "ExecutionRetentionDays"}


def test_previews_are_soon_gone_with_all_their_versions(expanded):
    """Rows of persons lie in both folders, and no erasure looks there."""
    rules = {r.get("Prefix"): r for r in lifecycle_of(expanded, "Bucket")}
    for prefix in ("previews/", "preview_results/"):
        assert rules[prefix]["ExpirationInDays"] == {"Ref": "PreviewRetentionDays"}
        assert rules[prefix]["NoncurrentVersionExpiration"] == {"NoncurrentDays": 1}


def test_a_preview_can_write_its_result_and_nothing_else(expanded):
    """No table, no queue but the dead letters', no other folder; of the imports table it reads definitions."""
    policies = [*expanded["Resources"]["PreviewRole"]["Properties"]["Policies"]]
    policies.append(expanded["Resources"]["PreviewPolicy"]["Properties"])
    statements = [s for policy in policies for s in policy["PolicyDocument"]["Statement"]]
    may_do = {action for s in statements for action in as_list(s["Action"])}
    reads = {"s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:ListBucketVersions"}
    assert may_do - reads - {"dynamodb:GetItem", "dynamodb:Scan", "logs:CreateLogStream", "logs:PutLogEvents"} == {
        "s3:PutObject",
        "sqs:SendMessage",
    }
    (puts,) = (s for s in statements if "s3:PutObject" in as_list(s["Action"]))
    assert puts["Resource"] == {"Fn::Sub": "${Bucket.Arn}/preview_results/*"}


def lifecycle_of(template: dict[str, Any], bucket: str) -> list[dict[str, Any]]:
    """Its rules by default: those that a parameter asks for are not among them."""
    return [r for r in template["Resources"][bucket]["Properties"]["LifecycleConfiguration"]["Rules"] if "Id" in r]


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
        assert properties["DeletionProtectionEnabled"] is True, name


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
    assert used == set(groups) - {"StreamLogs", "ApiAccessLogs"}  # Firehose's own, and the gateway's


def test_a_notification_that_cannot_be_handled_is_kept(expanded):
    """AWS drops it silently after the last try unless the function has an on-failure destination."""
    configured = {
        c["Properties"]["FunctionName"]["Ref"]: c["Properties"]["DestinationConfig"].get("OnFailure")
        for c in of_type(expanded, "AWS::Lambda::EventInvokeConfig").values()
    }
    dead_letters = arn("DeadLetterQueue")
    # What they would look at again is looked at again by the next one.
    nothing_to_keep = ["SweepFunction", "ScheduleFunction"]
    assert configured == {
        "ImportFunction": {"Destination": dead_letters},
        "PreviewFunction": {"Destination": dead_letters},
        "NotifyFunction": {"Destination": dead_letters},
        **dict.fromkeys(nothing_to_keep),
    }
    by_queue = {m["Properties"]["FunctionName"]["Ref"] for m in mappings_of(expanded)}  # see the test below
    by_request = {"ApiFunction"}  # it has whoever asks for a witness
    assert set(configured) | by_queue | by_request == set(of_type(expanded, "AWS::Lambda::Function"))
    # Who explains alarms looks at what lies there; nobody may take a letter away.
    assert {"sqs:SendMessage", "sqs:ReceiveMessage"} == {
        action
        for statement in allowed(expanded)
        if statement["Resource"] == dead_letters
        for action in as_list(statement["Action"])
    }
    assert may(expanded, "NotifyRole", "DeadLetterQueue") == {"sqs:SendMessage", "sqs:ReceiveMessage"}


def mappings_of(template: dict[str, Any]) -> list[dict[str, Any]]:
    return list(of_type(template, "AWS::Lambda::EventSourceMapping").values())


def test_a_part_that_cannot_be_imported_is_kept(expanded):
    """H3: out of sight six times as long as a worker may take, five tries, then longer kept than it lived before."""
    queue = expanded["Resources"]["PartQueue"]["Properties"]
    assert [expanded["Resources"][name]["Properties"] for name in PART_QUEUES] == [queue] * 3
    longest_worker = expanded["Parameters"]["PartSeconds"]["MaxValue"]
    assert expanded["Resources"]["PartFunction"]["Properties"]["Timeout"] == {"Ref": "PartSeconds"}
    assert queue["VisibilityTimeout"] == 6 * longest_worker
    assert queue["RedrivePolicy"] == {"deadLetterTargetArn": arn("DeadLetterQueue"), "maxReceiveCount": 5}
    kept = expanded["Resources"]["DeadLetterQueue"]["Properties"]["MessageRetentionPeriod"]
    assert kept >= 2 * queue["MessageRetentionPeriod"]


def test_a_message_is_a_batch_so_that_raising_says_which_failed(expanded):
    """H3: without a list of failures there is no way to forget one; workers are bounded where the queue is read."""
    workers = {}
    for mapping in (m["Properties"] for m in mappings_of(expanded) if m["Properties"]["FunctionName"] != NOTIFIES):
        assert mapping["BatchSize"] == 1
        assert "FunctionResponseTypes" not in mapping
        workers[mapping["EventSourceArn"]["Fn::GetAtt"][0]] = mapping["ScalingConfig"]["MaximumConcurrency"]
        # Reserved concurrency would throttle deliveries, which count as tries of the message.
        function = mapping["FunctionName"]["Ref"]
        assert "ReservedConcurrentExecutions" not in expanded["Resources"][function]["Properties"]
    usual = {"Ref": "PartConcurrency"}
    assert workers == {
        "PartQueue": usual,
        "HighPartQueue": usual,
        "LowPartQueue": LOW_WORKERS,
        "FetchQueue": {"Ref": "UriConcurrency"},
    }


def test_only_workers_take_parts_and_whoever_finds_work_may_send_them(expanded):
    """A function that could delete a message could lose a part until the sweep."""
    allowed_of = [
        {role: sorted(may(expanded, role, queue)) for role in of_type(expanded, "AWS::IAM::Role")}
        for queue in PART_QUEUES
    ]
    assert allowed_of == [allowed_of[0]] * 3
    assert allowed_of[0] == {
        "ImportRole": ["sqs:SendMessage"],
        "PartRole": ["sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:SendMessage"],
        "ScheduleRole": ["sqs:SendMessage"],
        "SweepRole": ["sqs:SendMessage"],
        "ApiRole": ["sqs:SendMessage"],
        "FetchRole": [],
        "PreviewRole": [],
        "StreamRole": [],
        "RecurringScheduleRole": [],  # the schedules': each may invoke one function
        "SweepScheduleRole": [],
        "NotifyRole": [],
    }


def may(template: dict[str, Any], role: str, queue: str) -> set[str]:
    """What a role may do with a queue, by its own policies and those attached to it."""
    resources = template["Resources"]
    policies = list(resources[role]["Properties"].get("Policies", []))
    policies += [
        r["Properties"]
        for r in resources.values()
        if r["Type"] == "AWS::IAM::Policy" and {"Ref": role} in r["Properties"]["Roles"]
    ]
    return {
        action
        for policy in policies
        for statement in policy["PolicyDocument"]["Statement"]
        if arn(queue) in as_list(statement["Resource"])
        for action in as_list(statement["Action"])
    }


def test_a_worker_may_do_to_files_and_tables_what_the_import_function_may(expanded):
    """Small files and parts of large ones take the same path."""
    shared = {
        name: r["Properties"]["Roles"] for name, r in expanded["Resources"].items() if r["Type"] == "AWS::IAM::Policy"
    }
    all_three = [{"Ref": "ImportRole"}, {"Ref": "PartRole"}, {"Ref": "ScheduleRole"}]
    of_fetches = {name: [{"Ref": "FetchRole"}] for name in ("FetchObjectsPolicy", "FetchRolesPolicy")}
    of_notices = {"NoticePolicy": [{"Ref": "NotifyRole"}]}
    of_others = {"SchedulePolicy": [{"Ref": "ScheduleRole"}], "PreviewPolicy": [{"Ref": "PreviewRole"}]}
    shared_by_all = {"ImportPolicy": all_three, "StreamPolicy": all_three}
    assert shared == shared_by_all | of_fetches | of_notices | of_others


def test_who_fetches_from_strangers_reaches_no_store_and_one_folder_of_secrets(expanded):
    """What it talks to is chosen by whoever asks: it drops files, and reads neither the store nor another's secret."""
    role = expanded["Resources"]["FetchRole"]["Properties"]
    statements = [s for policy in role["Policies"] for s in policy["PolicyDocument"]["Statement"]]
    reached = {str(resource) for s in statements for resource in as_list(s["Resource"])}
    assert not [resource for resource in reached if "EventsTable" in resource or "UsersTable" in resource]
    secrets = [s["Resource"]["Fn::Sub"] for s in statements if as_list(s["Action"])[0].startswith(("ssm:", "secrets"))]
    folder = expanded["Resources"]["FetchFunction"]["Properties"]["Environment"]["Variables"]["URI_CREDENTIALS"][
        "Fn::Sub"
    ]
    assert [resource.partition("${AWS::AccountId}:")[2] for resource in secrets] == [
        f"parameter/{folder}/*",
        f"secret:{folder}/*",
    ]
    assert [s["Resource"] for s in statements if "s3:PutObject" in as_list(s["Action"])] == [
        {"Fn::Sub": "${Bucket.Arn}/imports/*"}
    ]


def test_a_fetch_that_cannot_be_made_is_kept(expanded):
    """H3, as of parts; and nothing may be fetched by default that is not public."""
    queue, function = (expanded["Resources"][name]["Properties"] for name in ("FetchQueue", "FetchFunction"))
    assert queue["VisibilityTimeout"] == 6 * function["Timeout"]
    assert queue["RedrivePolicy"] == {"deadLetterTargetArn": arn("DeadLetterQueue"), "maxReceiveCount": 5}
    assert {name: expanded["Parameters"][name]["Default"] for name in ("UriObjectArns", "UriRoleArns")} == {
        "UriObjectArns": "",
        "UriRoleArns": "",
    }
    given = {"FetchObjectsPolicy": "UriObjectsAreGiven", "FetchRolesPolicy": "UriRolesAreGiven"}
    assert {name: expanded["Resources"][name]["Condition"] for name in given} == given


@pytest.mark.parametrize(
    "function",
    sorted(name for name, r in TEMPLATE["Resources"].items() if r["Type"] == "AWS::Serverless::Function"),
)
def test_every_function_is_told_what_settings_reads(expanded, function):
    """A stack says all that can be said; a default is for what is not deployed."""
    variables = set(expanded["Resources"][function]["Properties"]["Environment"]["Variables"])
    source = (ROOT / "src/handler/importer/aws/settings.py").read_text(encoding="utf-8")
    ours = {name for name in re.findall(r'"([A-Z]+(?:_[A-Z]+)*)"', source) if not name.startswith("AWS_")}
    assert ours <= variables  # AWS_… are Lambda's own: it sets them, and lets nobody else


@pytest.mark.parametrize("function", ["ImportFunction", "PartFunction", "SweepFunction"])
def test_every_function_has_one_heap_as_it_is_measured(expanded, function):
    """The figures of docs/benchmarks are those of functions as they are deployed."""
    variables = expanded["Resources"][function]["Properties"]["Environment"]["Variables"]
    assert {name: variables.get(name) for name in rig.OF_A_FUNCTION} == rig.OF_A_FUNCTION


def test_a_forecast_assumes_what_the_template_gives(expanded):
    """What `importer preview` says an import would cost, and how large files are cut."""
    functions = [
        expanded["Resources"][name]["Properties"] for name in ("ImportFunction", "PartFunction", "ScheduleFunction")
    ]
    assert {function["MemorySize"] for function in functions} == {MEMORY_MB}
    assert expanded["Parameters"]["PartSizeMiB"]["Default"] << 20 == PART_BYTES


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


@pytest.mark.parametrize("role", ["ImportRole", "PreviewRole"])
def test_the_role_itself_may_send_to_the_on_failure_queue(expanded, role):
    """Lambda checks that when the destination is made, long before a policy that waits for the bucket is attached."""
    role = expanded["Resources"][role]["Properties"]
    statements = [s for policy in role["Policies"] for s in policy["PolicyDocument"]["Statement"]]
    sends = [s["Resource"] for s in statements if "sqs:SendMessage" in as_list(s["Action"])]
    assert sends == [arn("DeadLetterQueue")]


def test_listing_the_bucket_is_bound_to_prefixes(expanded):
    """The names of other people's files are data too."""
    listings = [s for s in allowed(expanded) if {"s3:ListBucket", "s3:ListBucketVersions"} & set(as_list(s["Action"]))]
    ours = [s for s in listings if s["Resource"] == {"Fn::GetAtt": ["Bucket", "Arn"]}]
    assert [s["Resource"] for s in listings if s not in ours] == [{"Fn::GetAtt": ["StreamBucket", "Arn"]}]  # Firehose's
    bounds = {p for s in ours for p in as_list(s["Condition"]["StringLike"]["s3:prefix"])}
    results = {"completed_imports/*", "errors/*", "receipts/*", "preview_results/*"}
    assert bounds == {"imports/*", "work/*", "previews/*", "set_aside/*"} | results


def test_an_empty_endpoint_means_aws(expanded):
    """Only the local twin and `sam local` send calls elsewhere."""
    assert expanded["Parameters"]["EndpointUrl"]["Default"] == ""
    variables = expanded["Resources"]["ImportFunction"]["Properties"]["Environment"]["Variables"]
    assert variables["AWS_ENDPOINT_URL"] == {"Ref": "EndpointUrl"}


# ---- The HTTP door -----------------------------------------------------------------------------------------------


def test_the_gateway_has_the_routes_of_the_door_and_no_other(expanded):
    """Each is named, and the description has them, too. What is none of them the function answers by `$default`."""
    routes = routes_of(ROOT / "template.yaml")
    assert routes.pop() == DEFAULT
    in_template = {(route.method, route.path) for route in routes}
    in_code = {(route.method, route.path) for route in ROUTES}
    described = openapi.document()["paths"].items()
    in_document = {
        (method.upper(), path) for path, operations in described for method in operations if method != "parameters"
    }
    assert in_template == in_code == in_document
    assert not [path for _, path in in_template if "+" in path or path.startswith("$")]
    (api,) = of_type(expanded, "AWS::ApiGatewayV2::Api").values()
    paths = dict(api["Properties"]["Body"]["paths"])
    assert [*paths.pop("/$default")] == ["x-amazon-apigateway-any-method"]
    assert len(in_template) == sum(len(methods) for methods in paths.values())


def test_browsers_may_post_to_the_bucket_and_read_nothing_of_it(expanded):
    """Who posts has a signed form, which is worth the same without a browser; no header is sent or told."""
    (bucket,) = [b for b in of_type(expanded, "AWS::S3::Bucket").values() if "CorsConfiguration" in b["Properties"]]
    rules = bucket["Properties"]["CorsConfiguration"]["CorsRules"]
    assert rules == [{"AllowedMethods": ["POST"], "AllowedOrigins": ["*"], "AllowedHeaders": [], "MaxAge": 3000}]


def test_the_published_description_is_that_of_the_code():
    """`python -m tests.house.test_template` writes it anew."""
    assert json.loads((ROOT / "docs/openapi.json").read_text(encoding="utf-8")) == openapi.document()


def test_requests_are_bounded_logged_without_what_is_secret_and_answered_in_time(expanded):
    """J4, J8: throttled; no header and no query in the access log; the function ends while the gateway still waits."""
    (stage,) = of_type(expanded, "AWS::ApiGatewayV2::Stage").values()
    limits = stage["Properties"]["DefaultRouteSettings"]
    assert limits == {"ThrottlingRateLimit": {"Ref": "RequestsPerSecond"}, "ThrottlingBurstLimit": 100}
    log = stage["Properties"]["AccessLogSettings"]
    assert log["DestinationArn"] == arn("ApiAccessLogs")
    told = set(re.findall(r"\$context\.([a-zA-Z.]+)", log["Format"]))
    assert told == {
        "requestId",
        "requestTime",
        "identity.sourceIp",
        "routeKey",
        "status",
        "responseLatency",
        "responseLength",
        "error.message",
    }
    assert json.loads(log["Format"])["route"] == "$context.routeKey"
    assert expanded["Resources"]["ApiFunction"]["Properties"]["Timeout"] < 30


# ---- Who may make others act for them ----------------------------------------------------------------------------


def test_no_service_acts_here_for_another_account(expanded):
    """The confused deputy: whoever invokes a function or assumes a role for a service is bound to this account, or to
    one thing in it. Lambda assumes a function's role for that function only."""
    for name, permission in of_type(expanded, "AWS::Lambda::Permission").items():
        properties = permission["Properties"]
        assert {"SourceAccount", "SourceArn"} & set(properties), name
        assert properties.get("SourceAccount", {"Ref": "AWS::AccountId"}) == {"Ref": "AWS::AccountId"}, name
    this_account = {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}}
    by_id = {"StringEquals": {"sts:ExternalId": {"Ref": "AWS::AccountId"}}}
    conditions = {
        "scheduler.amazonaws.com": this_account,
        "firehose.amazonaws.com": by_id,
        "lambda.amazonaws.com": None,
    }
    for name, role in of_type(expanded, "AWS::IAM::Role").items():
        (statement,) = role["Properties"]["AssumeRolePolicyDocument"]["Statement"]
        assert statement.get("Condition") == conditions[statement["Principal"]["Service"]], name


def test_queues_and_topics_refuse_what_is_not_encrypted_on_the_way(expanded):
    """As buckets do; a queue allows nobody anything beside what roles may do, a topic the alarms of this account."""
    over_http = {"Bool": {"aws:SecureTransport": "false"}}
    policies = [*of_type(expanded, "AWS::SQS::QueuePolicy").values(), *topic_policies(expanded).values()]
    covered = {
        subject["Ref"] for p in policies for subject in p["Properties"].get("Queues", p["Properties"].get("Topics"))
    }
    assert covered == {*of_type(expanded, "AWS::SQS::Queue"), *of_type(expanded, "AWS::SNS::Topic")}
    for policy in policies:
        statements = policy["Properties"]["PolicyDocument"]["Statement"]
        (denied,) = (s for s in statements if s["Effect"] == "Deny")
        assert (denied["Principal"], denied["Condition"]) == ("*", over_http)
        for allow in (s for s in statements if s["Effect"] == "Allow"):
            assert allow["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
            assert allow["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


def topic_policies(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return of_type(template, "AWS::SNS::TopicPolicy")


def test_dropped_files_may_be_bounded_and_are_not_by_default(expanded):
    """A new account has less concurrency than AWS lets anybody reserve: the default must deploy there."""
    function = expanded["Resources"]["ImportFunction"]["Properties"]
    bound = {"Fn::If": ["ImportsAreBounded", {"Ref": "ImportConcurrency"}, {"Ref": "AWS::NoValue"}]}
    assert function["ReservedConcurrentExecutions"] == bound
    assert expanded["Parameters"]["ImportConcurrency"]["Default"] == 0


# ---- People ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("section", ["Parameters", "Outputs"])
def test_everything_a_person_sees_is_described(section):
    """Each parameter and output says what it is for in a sentence."""
    assert [name for name, entry in TEMPLATE[section].items() if not entry.get("Description", "").endswith(".")] == []


def test_every_parameter_belongs_to_a_group():
    """The console shows parameters in the order a person thinks, not by alphabet."""
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(TEMPLATE["Parameters"])


# ---- Alarms ------------------------------------------------------------------------------------------------------


def alarms(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Properties of every alarm by its anchor in docs/operations.md."""
    found = {}
    for name, alarm in of_type(template, "AWS::CloudWatch::Alarm").items():
        anchor = words_of(alarm["Properties"]).split()[-1]
        assert anchor.startswith("docs/operations.md#"), f"{name} does not end in its place in the runbook"
        found[anchor.removeprefix("docs/operations.md#")] = alarm["Properties"]
    assert len(found) == len(of_type(template, "AWS::CloudWatch::Alarm")), "two alarms share a place in the runbook"
    return found


def words_of(alarm: dict[str, Any]) -> str:
    description = alarm["AlarmDescription"]
    return description["Fn::Sub"] if isinstance(description, dict) else description


def metrics_of(alarm: dict[str, Any]) -> list[tuple[str, str]]:
    """Namespace and name of each metric an alarm looks at, directly or through an expression."""
    looked_at = [m["MetricStat"]["Metric"] for m in alarm.get("Metrics", []) if "MetricStat" in m] or [alarm]
    return [(metric["Namespace"], metric["MetricName"]) for metric in looked_at]


# About the function that explains all others: whoever is told of these is told by CloudWatch itself.
PAST_THE_FUNCTION = ("notify-errors", "alarms-not-told")


def test_alarms_are_explained_and_one_that_cannot_be_is_kept_and_rings(expanded):
    """The raw topic starts the function, it publishes to people's, and what it fails at is tried twice more."""
    subscriptions = [s["Properties"] for s in of_type(expanded, "AWS::SNS::Subscription").values()]
    told = [(s["TopicArn"], s["Protocol"]) for s in subscriptions if s["TopicArn"] != {"Ref": "NoticeTopic"}]
    assert sorted(told, key=str) == [({"Ref": "AlarmTopic"}, "lambda"), ({"Ref": "ExplainedTopic"}, "email")]
    [config] = [
        c["Properties"]
        for c in of_type(expanded, "AWS::Lambda::EventInvokeConfig").values()
        if c["Properties"]["FunctionName"] == NOTIFIES
    ]
    assert config["MaximumRetryAttempts"] == 2
    assert config["DestinationConfig"] == {"OnFailure": {"Destination": arn("DeadLetterQueue")}}
    variables = expanded["Resources"]["NotifyFunction"]["Properties"]["Environment"]["Variables"]
    assert variables["ALARM_TOPIC"] == {"Ref": "ExplainedTopic"}
    reads = [
        r["Fn::GetAtt"][0]
        for s in statements_of(expanded, "NotifyRole")
        if as_list(s["Action"]) == ["logs:FilterLogEvents"]
        for r in as_list(s["Resource"])
    ]
    functions = ("Import", "Part", "Fetch", "Schedule", "Sweep", "Preview", "Api", "Notify")
    ours = {f"{function}Logs" for function in functions}
    assert set(reads) == ours


def statements_of(template: dict[str, Any], role: str) -> list[dict[str, Any]]:
    return [s for p in template["Resources"][role]["Properties"]["Policies"] for s in p["PolicyDocument"]["Statement"]]


def test_every_alarm_reaches_somebody_and_says_what_to_do(expanded):
    """An alarm at night is one sentence and the place in the runbook, not a metric's name."""
    for anchor, alarm in alarms(expanded).items():
        topic = "ExplainedTopic" if anchor in PAST_THE_FUNCTION else "AlarmTopic"
        assert alarm["AlarmActions"] == [{"Ref": topic}], anchor
        assert ", so " in words_of(alarm) or "; " in words_of(alarm), anchor  # what happened; what to do
        assert len(words_of(alarm)) <= 1024, anchor  # Quota: AlarmDescription of API_PutMetricAlarm


def test_the_alarms_cover_every_way_an_import_can_fail(expanded):
    """Crashed, refused by Lambda, late, dropped, given up, refused, badly filled, never delivered, or left behind."""
    assert {anchor: metrics_of(alarm) for anchor, alarm in alarms(expanded).items()} == {
        "function-errors": [("AWS/Lambda", "Errors")],
        "function-throttles": [("AWS/Lambda", "Throttles")],
        "part-errors": [("AWS/Lambda", "Errors")],
        "fetch-errors": [("AWS/Lambda", "Errors")],
        "failed-fetches": [("S3EventImporter", "FetchesFailed")],
        "notify-errors": [("AWS/Lambda", "Errors")],
        "alarms-not-told": [("AWS/Lambda", "AsyncEventsDropped")],
        "part-throttles": [("AWS/Lambda", "Throttles")],
        "schedule-errors": [("AWS/Lambda", "Errors")],
        "parts-old": [("AWS/SQS", "ApproximateAgeOfOldestMessage")],
        "events-old": [("AWS/Lambda", "AsyncEventAge")],
        "events-dropped": [("AWS/Lambda", "AsyncEventsDropped")],
        "dead-letters": [("AWS/SQS", "ApproximateNumberOfMessagesVisible")],
        "failed-executions": [("S3EventImporter", "ExecutionsFailed")],
        "missed-notifications": [("S3EventImporter", "MissedNotifications")],
        "resumed-executions": [("S3EventImporter", "ResumedExecutions")],
        "missing-files": [("S3EventImporter", "FilesMissing")],
        "thin-files": [("S3EventImporter", "FilesThin")],
        "api-errors": [("AWS/ApiGateway", "5xx")],
        "bad-rows": [("S3EventImporter", f"Rows{fate}") for fate in ("Good", "Bad", "NotStored")],
        "oldest-waiting": [("S3EventImporter", "OldestWaitingSeconds")],
        "notices-late": [("AWS/Lambda", "IteratorAge")],
        "stream-freshness": [("AWS/Firehose", "DeliveryToS3.DataFreshness")],
        "stream-throttles": [("AWS/Firehose", "ThrottledRecords")],
    }


def test_silence_of_the_sweep_rings_and_of_nothing_else(expanded):
    """Events that do not happen send no data; only the sweep always has something to say."""
    breaching = {anchor for anchor, alarm in alarms(expanded).items() if alarm["TreatMissingData"] != "notBreaching"}
    assert breaching == {"oldest-waiting"}
    assert alarms(expanded)["oldest-waiting"]["TreatMissingData"] == "breaching"
    assert alarms(expanded)["oldest-waiting"]["Period"] >= 2 * 15 * 60, "one sweep that comes late is no silence"


def test_each_sweep_has_its_schedule(expanded):
    """Dead workers are found within minutes; a listing costs more, and a notification may take a while (A3)."""
    schedules = sweeps_of(expanded)
    assert sorted((s["ScheduleExpression"], json.loads(s["Target"]["Input"])["sweep"]) for s in schedules) == [
        ("rate(15 minutes)", "expected"),
        ("rate(15 minutes)", "waiting"),
        ("rate(5 minutes)", "unfinished"),
    ]
    assert {str(s["Target"]["Arn"]) for s in schedules} == {str(arn("SweepFunction"))}


def sweeps_of(template: dict[str, Any]) -> list[dict[str, Any]]:
    schedules = [s["Properties"] for s in of_type(template, "AWS::Scheduler::Schedule").values()]
    return [schedule for schedule in schedules if "sweep" in json.loads(schedule["Target"]["Input"])]


def test_recurring_imports_have_one_schedule_of_their_own(expanded):
    """As often as the parameter says, hourly by default (K24); it says when it was due, so that a second delivery is
    known, and its function may invoke itself and no other.
    """
    schedules = [s["Properties"] for s in of_type(expanded, "AWS::Scheduler::Schedule").values()]
    (ours,) = [schedule for schedule in schedules if schedule not in sweeps_of(expanded)]
    assert ours["ScheduleExpression"] == {"Ref": "RecurringSchedule"}
    assert expanded["Parameters"]["RecurringSchedule"]["Default"] == "rate(1 hour)"
    assert ours["Target"]["Arn"] == arn("ScheduleFunction")
    assert json.loads(ours["Target"]["Input"]) == {"recurring": "all", "slot": "<aws.scheduler.scheduled-time>"}
    invokes = [s["Resource"] for s in allowed(expanded) if "lambda:InvokeFunction" in as_list(s["Action"])]
    assert invokes.count(arn("ScheduleFunction")) == 2  # its own, and the schedule's
    assert expanded["Resources"]["ScheduleFunction"]["Properties"]["Timeout"] >= LONGEST_RUN_SECONDS + 60


def test_the_fault_tests_live_by_the_times_of_the_template(expanded):
    """Their queue, schedules and time-outs are a copy: virtual time proves something about these numbers only."""
    resources = expanded["Resources"]
    queue = resources["PartQueue"]["Properties"]
    assert (queue["VisibilityTimeout"], queue["RedrivePolicy"]["maxReceiveCount"]) == (
        cloud.VISIBILITY_SECONDS,
        cloud.MOST_RECEIVES,
    )
    assert resources["ImportFunction"]["Properties"]["Timeout"] == importing.IMPORT_SECONDS
    assert resources["SweepFunction"]["Properties"]["Timeout"] == importing.SWEEP_SECONDS
    assert expanded["Parameters"]["PartSeconds"]["Default"] == importing.HOP_SECONDS
    schedules = sweeps_of(expanded)
    told = {json.loads(s["Target"]["Input"])["sweep"]: s["ScheduleExpression"] for s in schedules}
    del told["expected"]  # it changes no file and no execution, so it is not among what happens there
    assert told == {which: f"rate({every_s // 60} minutes)" for which, every_s in importing.SWEEPS_EVERY_S.items()}


def test_each_alarm_on_a_function_or_queue_watches_the_one_it_speaks_of(expanded):
    """Two alarms on one function would leave the other one unwatched."""
    watched = {
        anchor: [dimension["Value"] for dimension in alarm["Dimensions"]]
        for anchor, alarm in alarms(expanded).items()
        if metrics_of(alarm)[0][0] in ("AWS/Lambda", "AWS/SQS")
    }
    names = dict.fromkeys(("function-errors", "function-throttles", "events-old", "events-dropped"), "ImportFunction")
    names |= {"part-errors": "PartFunction", "part-throttles": "PartFunction", "fetch-errors": "FetchFunction"}
    names |= dict.fromkeys(("notices-late", "notify-errors", "alarms-not-told"), "NotifyFunction")
    names["schedule-errors"] = "ScheduleFunction"
    assert watched == {anchor: [{"Ref": name}] for anchor, name in names.items()} | {
        "parts-old": [{"Fn::GetAtt": ["PartQueue", "QueueName"]}],
        "dead-letters": [{"Fn::GetAtt": ["DeadLetterQueue", "QueueName"]}],
    }


def test_alarms_on_our_metrics_look_at_metrics_that_exist_under_our_name(expanded):
    """An alarm on a misspelt metric, namespace or dimension never rings."""
    service = expanded["Resources"]["ImportFunction"]["Properties"]["Environment"]["Variables"]
    assert "POWERTOOLS_METRICS_NAMESPACE" not in service, "it is said once, in telemetry"
    assert f"namespace {telemetry.NAMESPACE}" in (telemetry.__doc__ or "")
    for anchor, alarm in alarms(expanded).items():
        for entry in [m["MetricStat"]["Metric"] for m in alarm.get("Metrics", []) if "MetricStat" in m] or [alarm]:
            if entry["Namespace"].startswith("AWS/"):
                continue
            assert entry["Namespace"] == telemetry.NAMESPACE, anchor
            assert entry["MetricName"] in set(telemetry.Metric), anchor
            assert entry["Dimensions"] == [{"Name": "service", "Value": service["POWERTOOLS_SERVICE_NAME"]}], anchor


def test_every_threshold_on_time_follows_from_the_times_out_of_the_functions(expanded):
    """A wait rings when it is longer than all tries of a notification can take (H1), or two of a part."""
    seconds = expanded["Resources"]["ImportFunction"]["Properties"]["Timeout"]
    three_tries = 3 * seconds + 60 + 120
    assert alarms(expanded)["events-old"]["Threshold"] / 1000 > three_tries
    assert alarms(expanded)["oldest-waiting"]["Threshold"] > three_tries
    out_of_sight = expanded["Resources"]["PartQueue"]["Properties"]["VisibilityTimeout"]
    assert alarms(expanded)["parts-old"]["Threshold"] == 2 * out_of_sight


def test_the_runbook_has_every_alarm_and_no_other(expanded):
    """Means, likely causes, what to do: one section each, listed at the top of the page."""
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    sections = re.split(r"^### ", page.partition("\n## Alarms\n")[2].partition("\n## ")[0], flags=re.MULTILINE)[1:]
    names = [section.split("\n")[0] for section in sections]
    assert sorted(names) == sorted(alarms(expanded))
    for name, section in zip(names, sections, strict=True):
        assert "**Means:**" in section, name
        assert "**Causes:**" in section, name
        assert "**Do:**" in section, name
        assert f"](#{name})" in page.partition("\n## ")[0], f"{name} is not listed at the top"


def test_the_read_me_lists_the_alarms(expanded):
    """Whoever decides whether to use this sees what it watches."""
    listed = set(re.findall(r"docs/operations\.md#([a-z-]+)\)", (ROOT / "README.md").read_text(encoding="utf-8")))
    missing = sorted(set(alarms(expanded)) - listed)
    assert not missing, f"README.md does not list {', '.join(missing)}"


if __name__ == "__main__":
    text = json.dumps(openapi.document(), indent=2, ensure_ascii=False)
    (ROOT / "docs/openapi.json").write_text(f"{text}\n", encoding="utf-8")
