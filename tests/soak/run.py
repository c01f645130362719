"""One big import on a twin: drop, watch, kill, sweep, until it has ended."""

import json
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from cli import twin
from cli.stack import Stack
from tests.soak.files import File
from tests.soak.workers import Workers

PIECE_BYTES = 32 << 20
SHOW_EVERY_S = 10


class Bench:
    """The twin's services, with its own administrator's keys."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        session = boto3.Session(stack.access_key_id, stack.secret_access_key, region_name=stack.region)
        config = Config(read_timeout=600, retries={"total_max_attempts": 2})

        def client(service: str) -> Any:
            return session.client(service, endpoint_url=stack.endpoint_url, config=config)  # type: ignore[call-overload]

        self.s3, self.dynamodb = client("s3"), client("dynamodb")
        self.sqs, self.functions = client("sqs"), client("lambda")

    def drop(self, key: str, file: File) -> None:
        """Upload in pieces, as large files are."""
        where = {"Bucket": self.stack.bucket, "Key": key}
        upload = {**where, "UploadId": self.s3.create_multipart_upload(**where)["UploadId"]}
        parts = []
        for number, chunk in enumerate(file.chunks(PIECE_BYTES), 1):
            etag = self.s3.upload_part(**upload, PartNumber=number, Body=chunk)["ETag"]
            parts.append({"PartNumber": number, "ETag": etag})
        self.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})

    def items_of(self, execution_pk: str) -> list[dict[str, Any]]:
        """An execution's items in the imports table."""
        pages = self.dynamodb.get_paginator("query").paginate(
            TableName=self.stack.imports_table,
            ConsistentRead=True,
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues={":pk": {"S": execution_pk}},
        )
        return [item for page in pages for item in page["Items"]]

    def execution_pk(self) -> str | None:
        """Of the one import there is."""
        scanned = self.dynamodb.scan(TableName=self.stack.imports_table)["Items"]
        return next((item["pk"]["S"] for item in scanned if item["sk"]["S"] == "EXEC"), None)

    def depth(self, queue_url: str) -> int:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        said = self.sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["All"])["Attributes"]
        return sum(int(said.get(name, 0)) for name in names)

    def shorten_visibility(self, seconds: int) -> None:
        """AWS would show the message of a killed worker again after half an hour; nobody wants to watch that."""
        self.sqs.set_queue_attributes(
            QueueUrl=self.stack.part_queue_url, Attributes={"VisibilityTimeout": str(seconds)}
        )

    def sweep(self, which: str) -> dict[str, Any]:
        """Invoke the sweep function, as its schedules do every 5 and 15 minutes."""
        answer = self.functions.invoke(
            FunctionName=self.stack.functions["SweepFunction"], Payload=json.dumps({"sweep": which}).encode()
        )
        said: dict[str, Any] = json.loads(answer["Payload"].read())
        if "FunctionError" in answer:
            raise AssertionError(f"the sweep failed: {said}")
        return said


@dataclass
class Story:
    """What was seen of a run."""

    seconds: float = 0
    upload_seconds: float = 0
    kills: dict[str, int] = field(default_factory=dict)
    hand_overs: int = 0
    settling_seconds: float = 0
    sent_on: int = 0
    sweeps: int = 0
    dead_letters: int = 0
    peak_bytes: dict[str, int] = field(default_factory=dict)
    peak_workers: int = 0
    emulator_bytes: int = 0
    status: str = ""
    parts: int = 0


class NotEnded(AssertionError):
    """The import had not ended when the time was up."""


def run(
    bench: Bench,
    emulator_pid: int,
    key: str,
    file: File,
    kill_every_s: float,
    sweep_every_s: float,
    seed: int,
    limit_s: float,
) -> Story:
    """Drop the file and see it through.

    Args:
        kill_every_s: on average; 0 kills nobody.
    Raises:
        NotEnded: not SUCCEEDED after `limit_s`, or FAILED.
    """
    workers, chance, story = Workers(emulator_pid, seed), random.Random(seed), Story()
    names = dict(bench.stack.functions)
    # The import function is killed once at most: after three times AWS gives up, and the sweep waits for ten minutes.
    victims = {names["ImportFunction"], names["PartFunction"]}
    began = time.monotonic()
    bench.drop(key, file)
    story.upload_seconds = time.monotonic() - began
    began = time.monotonic()
    next_kill = began + chance.expovariate(1 / kill_every_s) if kill_every_s else float("inf")
    next_sweep, next_show = began + sweep_every_s, began
    settling_since = None
    pk = None
    while True:
        busy = workers.look()
        now = time.monotonic()
        if now >= next_kill:
            victim = workers.kill_one(busy, victims)
            if victim is not None:
                say(f"{now - began:6.0f} s  killed pid {victim.pid}, {_logical(victim.function, names)}")
                victims.discard(names["ImportFunction"])
            # Drawn anew where nobody was at work: else whoever begins next is killed in its first moment, each time.
            next_kill = now + chance.expovariate(1 / kill_every_s)
        pk = pk or bench.execution_pk()
        items = bench.items_of(pk) if pk else []
        execution = next((item for item in items if item["sk"]["S"] == "EXEC"), None)
        parts = [item for item in items if item["sk"]["S"].startswith("PART#")]
        story.hand_overs = sum(int(part.get("hops", {}).get("N", 0)) for part in parts)
        if execution is not None:
            phase = execution["phase"]["S"]
            story.status, story.parts = execution["status"]["S"], int(execution["num_tasks"]["N"])
            if phase == "FINALISING" and settling_since is None:
                settling_since = now
            if phase == "CLOSED":
                break
        if now >= next_sweep:
            story.sent_on += bench.sweep("unfinished")["sent_on"]
            bench.sweep("waiting")
            story.sweeps += 1
            next_sweep = now + sweep_every_s
        if now >= next_show:
            story.emulator_bytes = max(story.emulator_bytes, workers.emulator_bytes())
            say(_shown(now - began, execution, parts, story, workers, bench))
            next_show = now + SHOW_EVERY_S
        if now - began > limit_s:
            raise NotEnded(
                f"{story.status} after {limit_s:.0f} s: {_shown(now - began, execution, parts, story, workers, bench)}"
            )
        time.sleep(0.2)
    story.seconds = time.monotonic() - began
    story.settling_seconds = time.monotonic() - (settling_since or time.monotonic())
    story.kills = {_logical(name, names): count for name, count in workers.killed.items()}
    story.peak_bytes = {_logical(name, names): peak for name, peak in workers.peak_bytes.items()}
    story.peak_workers = workers.peak_at_once
    story.emulator_bytes = max(story.emulator_bytes, workers.emulator_bytes())
    story.dead_letters = bench.depth(bench.stack.dead_letter_queue_url)
    if story.status != "SUCCEEDED":
        raise NotEnded(f"it ended {story.status}: {execution}")
    return story


def _logical(name: str, names: dict[str, str]) -> str:
    return next((logical for logical, function in names.items() if function == name), name)


def _shown(
    seconds: float, execution: Any, parts: list[dict[str, Any]], story: Story, workers: Workers, bench: Bench
) -> str:
    done = sum(part.get("done", {}).get("BOOL", False) for part in parts)
    rows = sum(int(part["tally"]["M"]["lines"]["N"]) for part in parts if "tally" in part)
    phase = execution["phase"]["S"] if execution else "not begun"
    kills, peak = sum(workers.killed.values()), max(workers.peak_bytes.values(), default=0) >> 20
    return (
        f"{seconds:6.0f} s  {phase}, {done} of {story.parts} parts, {rows:,} rows, {kills} kills, "
        f"{story.hand_overs} hand-overs, {story.sent_on} sent on by the sweep, "
        f"{bench.depth(bench.stack.part_queue_url)} messages, {bench.depth(bench.stack.dead_letter_queue_url)} dead; "
        f"worker {peak} MB, emulator {story.emulator_bytes >> 20} MB"
    )


def say(line: str) -> None:
    print(f"soak: {line}", file=sys.stderr, flush=True)


def emulator_pid(directory: Path) -> int:
    """The twin that lives in this directory."""
    return int((directory / f"{twin.EMULATOR}.pid").read_text())
