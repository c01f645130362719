"""What the template tells the functions, read once from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from importer.sinks import SINKS


@dataclass(frozen=True, slots=True)
class Settings:
    """Names of the stack's resources, and which destinations are enabled."""

    bucket: str
    events_table: str
    users_table: str
    imports_table: str
    sinks: tuple[str, ...]

    @classmethod
    def of(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Raises ValueError naming what is missing or wrong: it fails at start, no file touched (H6)."""
        names = {
            "bucket": "BUCKET_NAME",
            "events_table": "EVENTS_TABLE",
            "users_table": "USERS_TABLE",
            "imports_table": "IMPORTS_TABLE",
        }
        missing = [variable for variable in names.values() if not environment.get(variable)]
        if missing:
            raise ValueError(f"environment variable {missing[0]} is not set: deploy with template.yaml, which sets it")
        sinks = tuple(environment.get("SINKS", "dynamodb").split(","))
        unknown = [sink for sink in sinks if sink not in SINKS]
        if unknown:
            raise ValueError(f"SINKS names {unknown[0]!r}: choose from {', '.join(SINKS)}")
        return cls(**{field: environment[variable] for field, variable in names.items()}, sinks=sinks)
