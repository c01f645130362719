"""What a cold start takes: a fresh process up to its handler, its clients and the end of its first import, on the rig.

    python -m tests.bench.cold [--python PYTHON] [--rounds 9] [--also FOLDER]

The package is built for that Python as for Lambda, and as it would be without `artefact.py`. Nothing is written beside
the modules, as on Lambda. CPU of the process, in milliseconds from its start; medians of interleaved rounds. It says
nothing of what Lambda itself takes to fetch a package and to start a process: only the sizes do.
"""

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import zipfile
from collections import defaultdict
from pathlib import Path
from typing import Final

import boto3

from cli.twin import UV
from tests.bench import rig
from tests.bench.generate import made
from tests.bench.ours import notification

HANDLER: Final = rig.ROOT / "src" / "handler"
STAGES: Final = ("imported", "clients made", "first import ended")
NOW: Final = """
import json, resource, sys
def now():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return (used.ru_utime + used.ru_stime) * 1000
sys.path.insert(0, sys.argv[1])
told = []
"""
OURS: Final = (
    NOW
    + """
import app
told.append(now())
app._workplaces()(lambda: 900_000)
told.append(now())
class Context:
    function_name, memory_limit_in_mb, aws_request_id, invoked_function_arn = "bench", 1024, "0", "bench"
    def get_remaining_time_in_millis(self):
        return 900_000
done = app.lambda_handler(json.loads(sys.argv[2]), Context())
assert [one["phase"] for one in done["executions"]] == ["CLOSED"], done
told.append(now())
print(json.dumps(told))
"""
)
# The least that reads from S3 and writes to a table.
PLAIN: Final = (
    NOW
    + """
import boto3
told.append(now())
boto3.client("s3"), boto3.resource("dynamodb").Table("table")
told.append(now())
print(json.dumps(told))
"""
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.cold")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--also", type=Path, help="another package of the functions, such as an older one")
    arguments = parser.parse_args()
    packages = _packages(arguments.python)
    programs = {name: PLAIN if name == "boto3 alone" else OURS for name in packages}
    if arguments.also:
        packages["before"], programs["before"] = arguments.also, OURS
    found: dict[str, list[list[float]]] = defaultdict(list)
    with rig.running(core=1) as running:
        file, _ = made(rig.DATA, 1_000)
        environment = running.environment("plain") | {"PYTHONDONTWRITEBYTECODE": "1"}
        for number in range(arguments.rounds + 1):
            for name, package in packages.items():
                event = _dropped(environment, f"imports/{file.name}/{number}-{name.replace(' ', '-')}.ndjson")
                command = [arguments.python, "-S", "-c", programs[name], str(package), event]
                done = subprocess.run(
                    command, env=environment, capture_output=True, preexec_fn=lambda: os.sched_setaffinity(0, {0})
                )
                if done.returncode:
                    raise SystemExit(done.stderr.decode(errors="replace"))
                if number:  # the first reads what later ones find in the page cache
                    found[name].append(json.loads(done.stdout.splitlines()[-1]))
    print(f"| package | unpacked | zipped | {' | '.join(STAGES)} |\n| --- |{' --- |' * (2 + len(STAGES))}")
    for name, rounds in found.items():
        cells = [f"{statistics.median(stage):.0f} ms" for stage in zip(*rounds, strict=True)]
        sizes = [f"{size / 1e6:.1f} MB" for size in _sizes(packages[name])]
        print(f"| {' | '.join([name, *sizes, *cells, *[''] * (len(STAGES) - len(cells))])} |")


def _packages(python: str) -> dict[str, Path]:
    folder = rig.DIRECTORY / "cold"
    shutil.rmtree(folder, ignore_errors=True)
    install = [str(UV), "pip", "install", "--quiet", "--python", python]
    as_installed, slim, deployed, boto = (folder / name for name in ("installed", "slim", "deployed", "boto3"))
    environment = {**os.environ, "ARTIFACTS_DIR": str(deployed), "UV": str(UV), "HOST_PYTHON": python}
    subprocess.run(["make", "--silent", "build-ImportFunction"], cwd=HANDLER, env=environment, check=True)
    shutil.copytree(deployed, slim, ignore=shutil.ignore_patterns("__pycache__"))
    pins = str(HANDLER / "requirements.txt")
    subprocess.run([*install, "--target", str(as_installed), "--require-hashes", "-r", pins], check=True)
    shutil.copy(HANDLER / "app.py", as_installed)
    shutil.copytree(HANDLER / "importer", as_installed / "importer", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([*install, "--target", str(boto), f"boto3=={boto3.__version__}"], check=True)
    return {"boto3 alone": boto, "ours, as installed": as_installed, "ours, slim": slim, "ours, as deployed": deployed}


def _dropped(environment: dict[str, str], key: str) -> str:
    session = boto3.Session(*rig.CREDENTIALS, region_name=rig.REGION)
    s3 = session.client("s3", endpoint_url=environment["AWS_ENDPOINT_URL_S3"])
    head = s3.head_object(Bucket=rig.BUCKET, Key=key)
    size, etag = head["ContentLength"], head["ETag"].strip('"')
    return json.dumps(notification(rig.BUCKET, key, etag, size, head["VersionId"]))


def _sizes(package: Path) -> tuple[int, int]:
    """Bytes unpacked, and in a zip."""
    files = [path for path in sorted(package.rglob("*")) if path.is_file()]
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(path, path.relative_to(package))
    return sum(path.stat().st_size for path in files), len(zipped.getvalue())


if __name__ == "__main__":
    main()
