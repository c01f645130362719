"""What the template tells the functions, read once from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from importer.definitions import SINK_CHOICES
from importer.model import Misconfigured

# A batch of 8,192 rows takes 164 s at this rate: it has to fit an invocation of 300 s.
LEAST_WRITES_PER_SECOND: Final = 50
LOW_WORKERS: Final = 2  # Quota: the least MaximumConcurrency of an SQS mapping; template.yaml has it too
LARGEST_POST_MIB: Final = 5120  # Quota: of a single upload (docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html)


@dataclass(frozen=True, slots=True)
class Settings:
    """Names of the stack's resources, which destinations new executions write to, and how large files are shared out.

    Attributes:
        delivery_stream: "" where no stream is set up.
        stream_gzip: each record of the stream is a gzip file of its own.
        part_queue_url: "" where no part queue is set up: an older template, or a run without workers.
        high_part_queue_url, low_part_queue_url: of imports of that priority; "" where there is none of their own.
        part_bytes: files larger than this are cut.
        hop_seconds: time-out of the part function, whole seconds.
        writes_per_second: items one worker may write to both tables together; 0 is no limit.
        memory_mb: of the function this runs in, for its bill; 0 where it runs in none.
        tokens_path: below it, each token of the HTTP door is a parameter; "" where there is no such door.
        upload_bytes: of a file posted by a signed form, at most.
        datamart_id, organisation_id: what the HTTP door calls this stack to clients of mediarithmics.
        region: of AWS; "" where nothing says it.
        fetch_queue_url: "" where nothing is fetched from URIs.
        uri_allowed_hosts: as the parameter says; `doors.addresses.AllowedHosts` reads it.
        uri_most_bytes, uri_most_ms: of one fetch.
        uri_credentials: the folder of the secrets that fetches may name.
        notice_bus: name of the event bus that is told of ended executions; "" tells none.
        notice_topic: ARN of the topic that is told of them in words; "" tells none.
        alarm_topic: ARN of the topic that alarms are explained to; "" explains them to whoever invokes by hand.
        stack: its name; "" where nothing says it.
        is_twin: calls go to an emulator: a command needs no name of a stack.
        dead_letter_queue_url: where notices that cannot be sent wait for a person.
        execution_days: after which an import that SUCCEEDED, or a fetch, is forgotten; 0 is never.
    """

    bucket: str
    events_table: str
    users_table: str
    imports_table: str
    sinks: tuple[str, ...]
    delivery_stream: str = ""
    stream_gzip: bool = False
    part_queue_url: str = ""
    high_part_queue_url: str = ""
    low_part_queue_url: str = ""
    part_bytes: int = 256 << 20
    hop_seconds: int = 300
    writes_per_second: float = 0
    memory_mb: int = 0
    tokens_path: str = ""
    datamart_id: str = "1"
    organisation_id: str = "1"
    region: str = ""
    upload_bytes: int = LARGEST_POST_MIB << 20
    fetch_queue_url: str = ""
    uri_allowed_hosts: str = ""
    uri_most_bytes: int = 100 << 30
    uri_most_ms: int = 1_440 * 60_000
    uri_credentials: str = ""
    notice_bus: str = ""
    notice_topic: str = ""
    alarm_topic: str = ""
    stack: str = ""
    is_twin: bool = False
    dead_letter_queue_url: str = ""
    execution_days: int = 0

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Raises Misconfigured naming what is missing or wrong: it fails at start, no file touched (H6)."""
        names = {
            "bucket": "BUCKET_NAME",
            "events_table": "EVENTS_TABLE",
            "users_table": "USERS_TABLE",
            "imports_table": "IMPORTS_TABLE",
        }
        missing = [variable for variable in names.values() if not environment.get(variable)]
        if missing:
            raise Misconfigured(f"environment variable {missing[0]} is not set; template.yaml sets it")
        choice = environment.get("SINKS", "dynamodb")
        if choice not in SINK_CHOICES:
            raise Misconfigured(f"SINKS is {choice!r}: choose one of {', '.join(SINK_CHOICES)}")
        delivery_stream = environment.get("DELIVERY_STREAM", "")
        if "firehose" in SINK_CHOICES[choice] and not delivery_stream:
            raise Misconfigured(f"SINKS is {choice} and DELIVERY_STREAM is not set: deploy with template.yaml")
        gzip = environment.get("STREAM_GZIP", "false")
        if gzip not in ("true", "false"):
            raise Misconfigured(f"STREAM_GZIP is {gzip!r}: choose true or false")
        # A total for people, divided here: CloudFormation cannot.
        writes_per_second = _whole(environment, "WRITES_PER_SECOND", 0, 0, 10_000_000)
        concurrency = _whole(
            environment, "PART_CONCURRENCY", 20, 2, 1000
        )  # Quota: MaximumConcurrency of an SQS mapping
        # All there can be: each queue has workers of its own, as many for HIGH as for MEDIUM.
        workers = concurrency + (concurrency if environment.get("HIGH_PART_QUEUE_URL") else 0)
        workers += LOW_WORKERS if environment.get("LOW_PART_QUEUE_URL") else 0
        if 0 < writes_per_second < LEAST_WRITES_PER_SECOND * workers:
            raise Misconfigured(
                f"WRITES_PER_SECOND is {writes_per_second}, which leaves each of {workers} workers less than "
                f"{LEAST_WRITES_PER_SECOND} a second: raise it, or lower PART_CONCURRENCY"
            )
        return cls(
            **{field: environment[variable] for field, variable in names.items()},
            sinks=SINK_CHOICES[choice],
            delivery_stream=delivery_stream,
            stream_gzip=gzip == "true",
            part_queue_url=environment.get("PART_QUEUE_URL", ""),
            high_part_queue_url=environment.get("HIGH_PART_QUEUE_URL", ""),
            low_part_queue_url=environment.get("LOW_PART_QUEUE_URL", ""),
            part_bytes=_whole(environment, "PART_SIZE_MIB", 256, 8, 5120) << 20,
            hop_seconds=_whole(environment, "PART_SECONDS", 300, 30, 300),
            writes_per_second=writes_per_second / workers,
            memory_mb=_whole(environment, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", 0, 0, 1 << 20),  # Lambda sets it
            tokens_path=environment.get("TOKENS_PATH", ""),
            datamart_id=environment.get("DATAMART_ID", "1"),
            organisation_id=environment.get("ORGANISATION_ID", "1"),
            region=environment.get("AWS_REGION", ""),  # Lambda sets it
            upload_bytes=_whole(environment, "UPLOAD_MAX_MIB", LARGEST_POST_MIB, 1, LARGEST_POST_MIB) << 20,
            fetch_queue_url=environment.get("FETCH_QUEUE_URL", ""),
            uri_allowed_hosts=environment.get("URI_ALLOWED_HOSTS", ""),
            # 500 GiB in 10,000 pieces are pieces of 52 MiB, two of which fit into the function's memory.
            uri_most_bytes=_whole(environment, "URI_MAX_GIB", 100, 1, 500) << 30,
            uri_most_ms=_whole(environment, "URI_MAX_MINUTES", 1_440, 1, 10_080) * 60_000,
            uri_credentials=environment.get("URI_CREDENTIALS", ""),
            notice_bus=environment.get("NOTICE_BUS", ""),
            notice_topic=environment.get("NOTICE_TOPIC", ""),
            alarm_topic=_arn(environment.get("ALARM_TOPIC", "")),
            stack=environment.get("POWERTOOLS_SERVICE_NAME", ""),
            is_twin=bool(environment.get("AWS_ENDPOINT_URL")),
            dead_letter_queue_url=environment.get("DEAD_LETTER_QUEUE_URL", ""),
            execution_days=_whole(environment, "EXECUTION_RETENTION_DAYS", 0, 0, 36_500),
        )


def _arn(text: str) -> str:
    """ "" where it is none: `sam local` puts the resource's logical id there, and then there is nobody to be told."""
    return text if text.startswith("arn:") else ""


def _whole(environment: Mapping[str, str], variable: str, default: int, least: int, most: int) -> int:
    """A whole number the template gives; raises Misconfigured naming the variable and what is allowed."""
    text = environment.get(variable) or str(default)
    if not (text.isascii() and text.isdigit()) or not least <= int(text) <= most:
        raise Misconfigured(f"{variable} is {text!r}: choose a whole number, {least:,} to {most:,}")
    return int(text)
