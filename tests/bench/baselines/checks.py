"""What all baselines in Python check of a row, as little as anybody can: the three mandatory fields."""

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from measuring import begun as begun
from measuring import told as told


def is_event(row: Any) -> bool:
    if not isinstance(row, dict):
        return False
    user, name, time_ms = row.get("user_id"), row.get("event_name"), row.get("event_time_ts")
    if not (isinstance(user, str) and user and isinstance(name, str) and name):
        return False
    return isinstance(time_ms, int) and time_ms > 0


def refuse(constant: str) -> None:
    """For NaN and its like, which the standard library reads and JSON does not have."""
    raise ValueError(constant)
