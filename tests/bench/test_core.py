"""`make bench`: memory and CPU of the core do not grow with the file. Writes docs/benchmarks/core.md."""

import datetime
import json
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "benchmarks" / "core.md"
ROWS = 100_000  # about 36 MB
ROUNDS = 3
GROWTH_BYTES = 5 << 20
GARBAGE_ROWS = 1_500_000
HOSTILE_BYTES = 64 << 20


def _measured(file: Path, times: int) -> dict[str, float]:
    printed = subprocess.run(
        [sys.executable, str(HERE / "core.py"), str(file), str(times)], check=True, capture_output=True, text=True
    )
    return json.loads(printed.stdout)  # type: ignore[no-any-return]


@pytest.mark.bench
def test_the_core_takes_the_same_memory_for_36_megabytes_and_for_3_6_gigabytes(tmp_path: Path) -> None:
    """Peak memory grows by less than 5 MB, every row is counted, and the page says what was measured."""
    file = tmp_path / "rows.ndjson"
    with open(file, "wb") as out:
        subprocess.run([sys.executable, str(HERE / "generate.py"), str(ROWS), "8"], check=True, stdout=out)
    small = [_measured(file, 1) for _ in range(ROUNDS)]
    big = _measured(file, 100)
    assert (big["rows"], big["good"], big["bad"]) == tuple(small[0][name] * 100 for name in ("rows", "good", "bad"))
    garbage = tmp_path / "garbage.ndjson"
    garbage.write_bytes(b"x\n" * GARBAGE_ROWS)
    hostile = _measured(garbage, 1)
    assert (hostile["rows"], hostile["bad"]) == (GARBAGE_ROWS, GARBAGE_ROWS)
    assert hostile["peak_rss_bytes"] < HOSTILE_BYTES
    growth = big["peak_rss_bytes"] - statistics.median(run["peak_rss_bytes"] for run in small)
    assert growth < GROWTH_BYTES
    PAGE.write_text(_page(small, big, hostile), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


def _page(small: list[dict[str, float]], big: dict[str, float], hostile: dict[str, float]) -> str:
    per_row = statistics.median(run["cpu_seconds"] / run["rows"] for run in small)
    lines = [
        "# The core's memory and CPU",
        "",
        "Reader → batches → a sink that only counts; no AWS. The large file is the small one a hundred times over; the",
        "last file is nothing but lines of one letter, each a bad row with its reason.",
        "",
        "| file | rows | good | bad | peak memory | CPU a row against the small file |",
        "|---|---|---|---|---|---|",
    ]
    for run in [*small, big, hostile]:
        lines.append(
            f"| {run['bytes'] / 1e6:,.0f} MB | {run['rows']:,.0f} | {run['good']:,.0f} | {run['bad']:,.0f} "
            f"| {run['peak_rss_bytes'] / 1e6:.1f} MB | {run['cpu_seconds'] / run['rows'] / per_row:.2f} |"
        )
    lines += [
        "",
        f"Measured {datetime.datetime.now(datetime.UTC):%Y-%m-%d} by `make bench` on {platform.machine()}, CPython "
        f"{platform.python_version()}, orjson {version('orjson')}. Trust ratios more than figures: a shared machine.",
        "",
    ]
    return "\n".join(lines)
