"""How often an AWS client tries is said in one way."""

import re
from pathlib import Path

SOURCES = sorted((Path(__file__).parents[2] / "src").rglob("*.py"))


def test_clients_count_tries_and_not_tries_beside_the_first():
    """C11: `max_attempts: 3` makes four requests; `total_max_attempts` means what it says."""
    counted = [path.name for path in SOURCES if re.search(r'"total_max_attempts":', path.read_text(encoding="utf-8"))]
    miscounted = [path.name for path in SOURCES if re.search(r'"max_attempts"', path.read_text(encoding="utf-8"))]
    assert (bool(counted), miscounted) == (True, [])
