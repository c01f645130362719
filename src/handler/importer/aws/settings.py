"""What the template tells the functions, read once from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from importer.model import Misconfigured

# What the template's parameter Sinks may say → names in `sinks.SINKS`, in the order they are written to.
CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "dynamodb": ("dynamodb",),
    "firehose": ("firehose",),
    "both": ("dynamodb", "firehose"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Names of the stack's resources, and which destinations new executions write to.

    Attributes:
        delivery_stream: "" where no stream is set up.
        stream_gzip: each record of the stream is a gzip file of its own.
    """

    bucket: str
    events_table: str
    users_table: str
    imports_table: str
    sinks: tuple[str, ...]
    delivery_stream: str = ""
    stream_gzip: bool = False

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
        if choice not in CHOICES:
            raise Misconfigured(f"SINKS is {choice!r}: choose one of {', '.join(CHOICES)}")
        delivery_stream = environment.get("DELIVERY_STREAM", "")
        if "firehose" in CHOICES[choice] and not delivery_stream:
            raise Misconfigured(f"SINKS is {choice} and DELIVERY_STREAM is not set: deploy with template.yaml")
        gzip = environment.get("STREAM_GZIP", "false")
        if gzip not in ("true", "false"):
            raise Misconfigured(f"STREAM_GZIP is {gzip!r}: choose true or false")
        return cls(
            **{field: environment[variable] for field, variable in names.items()},
            sinks=CHOICES[choice],
            delivery_stream=delivery_stream,
            stream_gzip=gzip == "true",
        )
