"""scripts/audit: each rule of scripts/template.guard catches what it is there for; what is excused has its reason."""

import copy
import importlib.machinery
import importlib.util
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".tools/audit/bin/python"
RULES = re.findall(r"^rule (\w+)", (ROOT / "scripts/template.guard").read_text(encoding="utf-8"), flags=re.MULTILINE)
Document = dict[str, Any]


def loaded() -> ModuleType:
    """The script as a module; what it looks with is in a virtual environment of its own."""
    loader = importlib.machinery.SourceFileLoader("audit", str(ROOT / "scripts/audit"))
    spec = importlib.util.spec_from_loader("audit", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


AUDIT = loaded()


@pytest.fixture(scope="module")
def whole() -> Document:
    """The template with all there is switched on, as CloudFormation would be given it."""
    made: Document = AUDIT.variants(ROOT / "template.yaml")["everything"]
    return made


# ---- Each rule, and what breaks it -----------------------------------------------------------------------------------


def properties(name: str, change: Callable[[Document], Any]) -> Callable[[Document], None]:
    def changed(resources: Document) -> None:
        change(resources[name]["Properties"])

    return changed


def without(name: str, *path: str) -> Callable[[Document], None]:
    def changed(resources: Document) -> None:
        where = resources[name]
        for step in path[:-1]:
            where = where[step]
        del where[path[-1]]

    return changed


def allowing(role: str, **statement: Any) -> Callable[[Document], None]:
    """A role that may do something more."""
    return properties(
        role,
        lambda p: p["Policies"].append(
            {"PolicyName": "more", "PolicyDocument": {"Statement": [{"Effect": "Allow", **statement}]}}
        ),
    )


def statements(name: str, change: Callable[[list[Document]], Any]) -> Callable[[Document], None]:
    return properties(name, lambda p: change(p["PolicyDocument"]["Statement"]))


def made(name: str, **resource: Any) -> Callable[[Document], None]:
    return lambda resources: resources.update({name: resource})


BUCKETS = "buckets_are_encrypted_versioned_and_private"
TABLES = "tables_are_encrypted_recoverable_and_protected"
OUTLIVES = "what_holds_customers_data_outlives_the_stack"
ROLES = "roles_name_what_they_may_do"
FUNCTIONS = "functions_end_log_where_it_is_forgotten_and_have_a_role_of_their_own"
KEPT = "work_that_cannot_be_done_is_kept"
WORKERS = "workers_are_bounded_and_take_one_message_at_a_time"
DOOR = "the_door_is_throttled_and_logs_who_came"
INVOKED = "functions_are_invoked_for_this_account_alone"
TOPICS = "topic_policies_ask_for_tls_and_let_only_this_account_publish"
QUEUED = "queue_policies_ask_for_tls"

WEAKENED: dict[str, tuple[str, Callable[[Document], None]]] = {
    "a bucket without encryption": (BUCKETS, without("Bucket", "Properties", "BucketEncryption")),
    "a bucket without versions": (BUCKETS, without("StreamBucket", "Properties", "VersioningConfiguration")),
    "a bucket that may be public": (
        BUCKETS,
        properties("Bucket", lambda p: p["PublicAccessBlockConfiguration"].update(BlockPublicPolicy=False)),
    ),
    "a bucket in which others own objects": (BUCKETS, without("Bucket", "Properties", "OwnershipControls")),
    "a bucket that keeps old versions": (
        BUCKETS,
        properties("StreamBucket", lambda p: p["LifecycleConfiguration"].update(Rules=[{"Status": "Enabled"}])),
    ),
    "dropped files that expire": (
        "nothing_under_imports_expires",
        properties(
            "Bucket",
            lambda p: p["LifecycleConfiguration"]["Rules"].append(
                {"Status": "Enabled", "Prefix": "imports/x", "ExpirationInDays": 1}
            ),
        ),
    ),
    "everything expires": (
        "nothing_under_imports_expires",
        properties(
            "Bucket",
            lambda p: p["LifecycleConfiguration"]["Rules"].append({"Status": "Enabled", "ExpirationInDays": 1}),
        ),
    ),
    "a table without recovery": (TABLES, without("EventsTable", "Properties", "PointInTimeRecoverySpecification")),
    "a table one call deletes": (TABLES, without("UsersTable", "Properties", "DeletionProtectionEnabled")),
    "a table without KMS": (TABLES, without("ImportsTable", "Properties", "SSESpecification")),
    "a queue without encryption": (
        "queues_are_encrypted",
        without("DeadLetterQueue", "Properties", "SqsManagedSseEnabled"),
    ),
    "a stream without encryption": (
        "streams_are_encrypted",
        without("DeliveryStream", "Properties", "DeliveryStreamEncryptionConfigurationInput"),
    ),
    "a table that goes with the stack": (OUTLIVES, without("UsersTable", "DeletionPolicy")),
    "a bucket that an update deletes": (OUTLIVES, without("Bucket", "UpdateReplacePolicy")),
    "a bucket over plain HTTP": (
        "bucket_policies_ask_for_tls",
        statements("StreamBucketPolicy", lambda s: s[0].update(Condition={"Bool": {"aws:SecureTransport": "true"}})),
    ),
    "a bucket anybody may read": (
        "bucket_policies_ask_for_tls",
        statements("BucketPolicy", lambda s: s.append({"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject"})),
    ),
    "no bucket has a policy": (
        "every_bucket_has_a_policy",
        lambda resources: [resources.pop(name) for name in ("BucketPolicy", "StreamBucketPolicy")] and None,
    ),
    "a queue over plain HTTP": (QUEUED, statements("QueuePolicy", lambda s: s[0].pop("Condition"))),
    "a queue anybody may send to": (
        QUEUED,
        statements("QueuePolicy", lambda s: s.append({"Effect": "Allow", "Principal": "*", "Action": "sqs:*"})),
    ),
    "a topic over plain HTTP": (TOPICS, statements("NoticeTopicPolicy", lambda s: s[0].pop("Condition"))),
    "a topic others publish to": (TOPICS, statements("AlarmTopicPolicy", lambda s: s[0].pop("Condition"))),
    "an action with a wildcard": (ROLES, allowing("FetchRole", Action="s3:*", Resource="Bucket.Arn")),
    "one of several actions": (ROLES, allowing("FetchRole", Action=["s3:GetObject", "s3:Put*"], Resource="Bucket.Arn")),
    "any resource": (ROLES, allowing("ApiRole", Action="dynamodb:Scan", Resource="*")),
    "all but an action": (ROLES, allowing("ApiRole", NotAction="iam:PassRole", Resource="Bucket.Arn")),
    "a policy of AWS": (ROLES, properties("ApiRole", lambda p: p.update(ManagedPolicyArns=["AdministratorAccess"]))),
    "a policy with any resource": (
        "policies_name_what_they_allow",
        statements("ImportPolicy", lambda s: s[0].update(Resource="*")),
    ),
    "a schedule of any account": (
        "roles_are_assumed_for_this_account_alone",
        properties("SweepScheduleRole", lambda p: p["AssumeRolePolicyDocument"]["Statement"][0].pop("Condition")),
    ),
    "a role for another account": (
        "roles_are_assumed_for_this_account_alone",
        properties(
            "ApiRole",
            lambda p: p["AssumeRolePolicyDocument"]["Statement"].append(
                {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:root"}, "Action": "sts:AssumeRole"}
            ),
        ),
    ),
    "a bucket of any account starts it": (
        INVOKED,
        without("ImportFunctionFileDroppedPermission", "Properties", "SourceAccount"),
    ),
    "a function with a URL": ("no_function_has_a_url", made("Url", Type="AWS::Lambda::Url", Properties={})),
    "a function without a time-out": (FUNCTIONS, without("ApiFunction", "Properties", "Timeout")),
    "a function that logs for ever": (FUNCTIONS, without("ApiFunction", "Properties", "LoggingConfig")),
    "a secret among the variables": (
        FUNCTIONS,
        properties("ApiFunction", lambda p: p["Environment"]["Variables"].update(API_SECRET="x")),
    ),
    "an old runtime": (FUNCTIONS, properties("ApiFunction", lambda p: p.update(Runtime="python3.11"))),
    "a log that is kept for ever": ("log_groups_forget", without("ApiLogs", "Properties", "RetentionInDays")),
    "dead letters that are soon gone": (
        KEPT,
        properties("DeadLetterQueue", lambda p: p.update(MessageRetentionPeriod=345600)),
    ),
    "a message back too soon": (KEPT, properties("PartQueue", lambda p: p.update(VisibilityTimeout=300))),
    "a message given up too soon": (
        KEPT,
        properties("FetchQueue", lambda p: p["RedrivePolicy"].update(maxReceiveCount=1)),
    ),
    "workers without bound": (WORKERS, without("PartFunctionPartDue", "Properties", "ScalingConfig")),
    "batches": (WORKERS, properties("PartFunctionPartDue", lambda p: p.update(BatchSize=10))),
    "a door without a bound": (DOOR, without("ApiApiGatewayDefaultStage", "Properties", "DefaultRouteSettings")),
    "a door that logs tokens": (
        DOOR,
        properties(
            "ApiApiGatewayDefaultStage",
            lambda p: p["AccessLogSettings"].update(Format="$context.requestId $context.authorizer.token"),
        ),
    ),
}


@pytest.fixture(scope="module")
def caught(whole: Document) -> dict[str, dict[str, str | None]]:
    """What the rules say of the template, and of each that is weakened: one start of the engine for all of them."""
    documents = {"as it is": ("", whole)}
    for name, (rule, weaken) in WEAKENED.items():
        weak = copy.deepcopy(whole)
        weaken(weak["Resources"])
        documents[name] = (rule, weak)
    code = (
        "import json, runpy, sys\n"
        "guarded = runpy.run_path('scripts/audit', run_name='audit')['guarded']\n"
        "print(json.dumps({name: guarded(weak, rule) for name, (rule, weak) in json.load(sys.stdin).items()}))\n"
    )
    assert PYTHON.exists(), "make setup fills .tools/audit"
    done = subprocess.run(
        [PYTHON, "-c", code], cwd=ROOT, input=json.dumps(documents), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, str | None]] = json.loads(done.stdout)
    return found


def test_the_template_keeps_every_rule(caught):
    """And each rule is about something that is there."""
    assert caught["as it is"] == dict.fromkeys(RULES, "")


@pytest.mark.parametrize("weakness", WEAKENED)
def test_a_weakness_is_found_by_its_rule(caught, weakness):
    """Which says where, and what is wrong with it."""
    rule, _ = WEAKENED[weakness]
    said = caught[weakness][rule]
    assert said


def test_every_rule_has_a_weakness_it_finds():
    """A rule nobody has seen fail may hold of anything."""
    assert {rule for rule, _ in WEAKENED.values()} == set(RULES)


# ---- What is excused -------------------------------------------------------------------------------------------------


def test_only_these_findings_of_checkov_are_excused():
    """Each is a decision: docs/decisions/0045. Whether one is needed, and has a reason, scripts/audit looks at."""
    excused: dict[str, set[str]] = {}
    for resource in AUDIT.written(ROOT / "template.yaml")["Resources"].values():
        for skip in resource.get("Metadata", {}).get("checkov", {}).get("skip", []):
            excused.setdefault(skip["id"], set()).add(resource["Type"])
    assert excused == {
        "CKV_AWS_18": {"AWS::S3::Bucket"},
        "CKV_AWS_26": {"AWS::SNS::Topic"},
        "CKV_AWS_27": {"AWS::SQS::Queue"},
        "CKV_AWS_115": {"AWS::Serverless::Function"},
        "CKV_AWS_116": {"AWS::Serverless::Function"},
        "CKV_AWS_117": {"AWS::Serverless::Function"},
        "CKV_AWS_119": {"AWS::DynamoDB::Table"},
        "CKV_AWS_158": {"AWS::Logs::LogGroup"},
        "CKV_AWS_173": {"AWS::Serverless::Function"},
    }
    page = (ROOT / "docs/decisions/0045-what-the-scanners-may-pass-over.md").read_text(encoding="utf-8")
    assert [check for check in excused if check not in page] == []


def test_what_a_parameter_switches_off_is_not_there(whole: Document):
    """The audit sees what CloudFormation would make, not what it might."""
    defaults = AUDIT.variants(ROOT / "template.yaml")["defaults"]["Resources"]
    assert ("DeliveryStream" in defaults, "DeliveryStream" in whole["Resources"]) == (False, True)
    rules = [rule["Id"] for rule in defaults["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]]
    assert "archive" not in rules
    assert "ReservedConcurrentExecutions" not in defaults["ImportFunction"]["Properties"]
    assert "Fn::If" not in json.dumps(whole["Resources"]["Bucket"])
