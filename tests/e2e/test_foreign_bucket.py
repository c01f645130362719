"""A foreign bucket on the twin: unversioned, its objects under a KMS key, with the policies of docs/foreign-buckets.md.

The twin enforces the role's policies (AUTH), not the key's: what a denied key looks like is tested in tests/faults.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest

from cli import twin
from cli.stack import Stack
from tests.support.documented import documented

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("twin")]

ROOT = Path(__file__).parents[2]
BODY = (ROOT / "events" / "files" / "logins.json").read_bytes()
BUCKET = "their-bucket"
KEY = "imports/logins.json"


class Bench:
    """A twin and a second bucket, looked at with the administrator's keys."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self._session = boto3.Session(stack.access_key_id, stack.secret_access_key, region_name=stack.region)
        self.s3 = self.client("s3")
        self.s3.create_bucket(Bucket=BUCKET)
        self.kms_key = self.client("kms").create_key(Description="theirs")["KeyMetadata"]["Arn"]
        self.role = self.client("cloudformation").describe_stack_resource(
            StackName=twin.STACK_NAME, LogicalResourceId="ImportRole"
        )["StackResourceDetail"]["PhysicalResourceId"]

    def client(self, service: str) -> Any:
        return self._session.client(service, endpoint_url=self.stack.endpoint_url)  # type: ignore[call-overload]

    def drop(self) -> None:
        self.s3.put_object(
            Bucket=BUCKET,
            Key=KEY,
            Body=BODY,
            ServerSideEncryption="aws:kms",
            SSEKMSKeyId=self.kms_key,
            Metadata={"sender": "nightly"},
        )

    def allow(self, name: str, **filled_in: str) -> None:
        """As the page says: `aws iam put-role-policy`."""
        policy = json.dumps(documented(name, FOREIGN_BUCKET=BUCKET, **filled_in))
        self.client("iam").put_role_policy(RoleName=self.role, PolicyName=f"foreign-{name}", PolicyDocument=policy)

    def invoke(self) -> dict[str, Any]:
        """The function's answer to the notification on the page, under "Check it"."""
        record = {
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": BUCKET}, "object": {"key": KEY}},
        }
        answer = self.client("lambda").invoke(
            FunctionName=self.stack.functions["ImportFunction"], Payload=json.dumps({"Records": [record]})
        )
        return json.loads(answer["Payload"].read())  # type: ignore[no-any-return]

    def bodies(self, prefix: str) -> dict[str, bytes]:
        listed = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=prefix).get("Contents", [])
        return {e["Key"]: self.s3.get_object(Bucket=BUCKET, Key=e["Key"])["Body"].read() for e in listed}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with twin.running(tmp_path_factory.mktemp("twin")) as stack:
        yield Bench(stack)


def test_the_documented_policies_are_what_a_foreign_bucket_needs(bench: Bench) -> None:
    """Without them the function names what is missing; with them the file walks, and keeps its key."""
    bench.drop()
    refused = bench.invoke()
    assert f"allow s3:GetObject on s3://{BUCKET}/imports/*" in refused["errorMessage"]
    assert set(bench.bodies("")) == {KEY}

    bench.allow("role")
    key_id = bench.kms_key.rpartition("/")[2]
    account, region = bench.kms_key.split(":")[4], bench.kms_key.split(":")[3]
    bench.allow("role-kms", **{"444455556666": account, "eu-west-1": region, "KEY_ID": key_id})
    (done,) = bench.invoke()["executions"]
    assert (done["status"], done["phase"]) == ("SUCCEEDED", "CLOSED")

    day = datetime.now(UTC).strftime("%Y/%m/%d")
    rows = BODY.splitlines(keepends=True)
    found = bench.bodies("")
    receipt = json.loads(found[f"receipts/{day}/logins.json.json"])
    assert (receipt["good"], receipt["bad"], receipt["complete"]) == (3, 1, True)
    assert found[f"completed_imports/{day}/logins.json"] == BODY
    assert found[f"errors/{day}/logins.json"] == rows[1]
    assert set(found) == {
        f"completed_imports/{day}/logins.json",
        f"errors/{day}/logins.json",
        f"errors/{day}/logins.json.reasons.ndjson",
        f"receipts/{day}/logins.json.json",
    }
    kept = bench.s3.head_object(Bucket=BUCKET, Key=f"completed_imports/{day}/logins.json")
    assert (kept["ServerSideEncryption"], kept["SSEKMSKeyId"]) == ("aws:kms", bench.kms_key)
    assert kept["Metadata"] == {"sender": "nightly"}


PREFIXES = ["ReadAndRemoveTheSource", "KeepTheSource", "WriteBadRows", "WriteReceipts", "KeepSegmentsUntilJoined"]


@pytest.mark.parametrize("sid", PREFIXES)
def test_each_statement_of_the_documented_policy_is_needed(bench: Bench, sid: str) -> None:
    """One left out, and the function fails with the prefix it names; put back, it goes on where it was."""
    policy = documented("role", FOREIGN_BUCKET=BUCKET)
    without = {**policy, "Statement": [s for s in policy["Statement"] if s["Sid"] != sid]}
    (left_out,) = (s["Resource"] for s in policy["Statement"] if s["Sid"] == sid)
    bench.client("iam").put_role_policy(
        RoleName=bench.role, PolicyName="foreign-role", PolicyDocument=json.dumps(without)
    )
    bench.drop()
    message = bench.invoke()["errorMessage"]
    assert "allow s3:" in message
    assert left_out.rpartition(":::")[2] in message
    assert KEY in bench.bodies("imports/")
    bench.allow("role")
    (done,) = bench.invoke()["executions"]
    assert (done["status"], done["phase"]) == ("SUCCEEDED", "CLOSED")
    assert not bench.bodies("imports/")
    assert not bench.bodies("work/")
