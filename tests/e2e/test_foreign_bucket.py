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
from tests.e2e.bench import rows_of, until
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
        self.role, self.part_role = (
            self.client("cloudformation").describe_stack_resource(StackName=twin.STACK_NAME, LogicalResourceId=name)[
                "StackResourceDetail"
            ]["PhysicalResourceId"]
            for name in ("ImportRole", "PartRole")
        )

    def client(self, service: str) -> Any:
        return self._session.client(service, endpoint_url=self.stack.endpoint_url)  # type: ignore[call-overload]

    def drop(self, key: str = KEY, body: bytes = BODY) -> None:
        self.s3.put_object(
            Bucket=BUCKET,
            Key=key,
            Body=body,
            ServerSideEncryption="aws:kms",
            SSEKMSKeyId=self.kms_key,
            Metadata={"sender": "nightly"},
        )

    def allow(self, name: str, **filled_in: str) -> None:
        """As the page says: `aws iam put-role-policy`."""
        policy = json.dumps(documented(name, FOREIGN_BUCKET=BUCKET, **filled_in))
        for role in (self.role, self.part_role):
            self.client("iam").put_role_policy(RoleName=role, PolicyName=f"foreign-{name}", PolicyDocument=policy)

    def allow_all(self) -> None:
        """Steps 1 and, for the key, 1 again."""
        self.allow("role")
        region, account, key = self.kms_key.split(":")[3:]
        filled_in = {"444455556666": account, "eu-west-1": region, "KEY_ID": key.rpartition("/")[2]}
        self.allow("role-kms", **filled_in)

    def invoke(self, key: str = KEY) -> dict[str, Any]:
        """The function's answer to the notification on the page, under "Check it"."""
        record = {
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": BUCKET}, "object": {"key": key}},
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
    with twin.running(tmp_path_factory.mktemp("twin"), ["PartSizeMiB=8"]) as stack:
        yield Bench(stack)


def test_the_documented_policies_are_what_a_foreign_bucket_needs(bench: Bench) -> None:
    """Without them the function names what is missing; with them the file walks, and keeps its key."""
    bench.drop()
    refused = bench.invoke()
    assert f"allow s3:GetObject on s3://{BUCKET}/imports/*" in refused["errorMessage"]
    assert set(bench.bodies("")) == {KEY}

    bench.allow_all()
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


def test_workers_need_the_same_policies(bench: Bench) -> None:
    """A file in parts is imported, and moved, by the part function under its own role."""
    bench.allow_all()
    file = rows_of("theirs", 9 << 20, row_bytes=50_000)
    bench.drop("imports/large.json", file.body)
    (told,) = bench.invoke("imports/large.json")["executions"]
    assert (told["status"], told["phase"]) == ("PENDING", "IMPORTING")
    until(lambda: not bench.bodies("imports/large") and not bench.bodies("work/"))
    day = datetime.now(UTC).strftime("%Y/%m/%d")
    assert bench.bodies(f"completed_imports/{day}/large") == {f"completed_imports/{day}/large.json": file.body}
    assert bench.bodies(f"errors/{day}/large.json")[f"errors/{day}/large.json"] == file.bad_bytes
    receipt = json.loads(bench.bodies(f"receipts/{day}/large.json.json")[f"receipts/{day}/large.json.json"])
    assert (receipt["good"], receipt["bad"], receipt["parts"]) == (len(file.event_times), len(file.bad_lines), 2)


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
