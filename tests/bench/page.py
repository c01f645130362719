"""What was measured, as docs/benchmarks has it: README.md, latest.json, and plots drawn by the baselines' Python."""

import datetime
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from tests.bench.results import Medians, bar

HERE = Path(__file__).parent
TIMES_TO_SAY = ("boto3", "botocore", "orjson", "smart-open", "awswrangler")


def write(
    directory: Path,
    medians: Medians,
    values: Mapping[str, float],
    versions: Mapping[str, str],
    words: Sequence[str],
    rows: int,
    rounds: int,
) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    latest = {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "command": " ".join(["python -m tests.bench", *words]),
        "rows": rows,
        "rounds": rounds,
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": dict(versions),
        "ratios": dict(values),
        "bar": bar(values),
        "medians": [
            {
                "scenario": scenario,
                "trial": trial,
                **{name: round(figure, 3) for name, figure in asdict(run).items()},
                "cpu_us_per_event": round(run.cpu_us, 3),
                "events_per_second": round(run.events_a_second),
            }
            for (scenario, trial), run in medians.items()
        ],
    }
    (directory / "latest.json").write_text(json.dumps(latest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
