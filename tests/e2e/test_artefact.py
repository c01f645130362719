"""The functions' package as `sam build` has it made: it works where nothing can be written, and by itself."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import twin

ROOT = Path(__file__).parents[2]
HANDLER = ROOT / "src" / "handler"

# In Python without site-packages, so that all comes from the package or the standard library.
ALL_OF_IT = """
import os, sys
sys.path.insert(0, sys.argv[1])
import app
from importer.aws import clients
for make in (clients.s3, clients.copies, clients.records, clients.queues, clients.sinks, clients.stream):
    make().meta.endpoint_url
for name, module in sorted(sys.modules.items()):
    source = getattr(module, "__file__", None) or ""
    if source.startswith(sys.argv[1]) and source.endswith(".py") and not os.path.exists(module.__cached__):
        print(name, "has no bytecode")
print("boto3" in sys.modules, "s3transfer" in sys.modules)
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("package")
    built(folder, HOST_PYTHON=sys.executable)
    # Folders alone: a file may be a link into uv's cache.
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for one in folders:
        one.chmod(0o555)
    yield folder
    for one in folders:
        one.chmod(0o755)


def built(folder: Path, **more: str) -> str:
    """What the build said."""
    source = folder.parent / f"{folder.name}-source"
    shutil.copytree(HANDLER, source, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "ARTIFACTS_DIR": str(folder), "UV": str(twin.UV), **more}
    make = ["make", "--silent", "build-ImportFunction"]
    done = subprocess.run(make, cwd=source, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return "".join(line for line in done.stdout.splitlines(keepends=True) if line.startswith("build: "))


def test_every_client_is_made_from_a_folder_that_cannot_be_written(package: Path):
    """As /var/task: the bytecode comes with it, and so does what botocore describes our services by."""
    assert (package / "__pycache__" / f"app.{sys.implementation.cache_tag}.pyc").exists()
    environment = {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    environment["POWERTOOLS_SERVICE_NAME"] = "importer"
    done = subprocess.run(
        [sys.executable, "-S", "-c", ALL_OF_IT, package], env=environment, capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("False False\n", "")


def test_the_bill_of_materials_has_every_file_of_the_package(tmp_path: Path):
    """Each with its hash, under who made it; versions are the pinned ones; CycloneDX's schema has no objection."""
    package, told = tmp_path / "package", tmp_path / "sbom.json"
    built(package)
    script = [sys.executable, ROOT / "scripts/sbom", "--package", package, "--output", told]
    subprocess.run(script, check=True)
    document = json.loads(told.read_text())
    owners = [document["metadata"]["component"], *document["components"]]
    files = {file["name"]: file["hashes"][0]["content"] for owner in owners for file in owner["components"]}
    assert files == {
        str(path.relative_to(package)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and path.name != "RECORD"
    }
    assert [name for name in files if name.endswith(".so")]
    pins = re.findall(r"^([a-z0-9-]+)==(\S+)", (HANDLER / "requirements.txt").read_text(), flags=re.MULTILINE)
    assert [(c["name"], c["version"]) for c in document["components"]] == sorted(pins)
    assert all(c["licenses"] and c["properties"] for c in document["components"])
    assert {file["name"] for file in owners[0]["components"]} >= {"app.py", "importer/__init__.py"}
    subprocess.run(script, check=True)
    assert json.loads(told.read_text()) == document, "the same package, the same document"
    code = (
        "import sys\n"
        "from cyclonedx.schema import SchemaVersion\n"
        "from cyclonedx.validation.json import JsonStrictValidator\n"
        "found = JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read())\n"
        "sys.exit(str(found)[:500] if found else 0)\n"
    )
    subprocess.run([ROOT / ".tools/audit/bin/python", "-c", code, told], check=True)
    (package / "stranger.py").write_text("pass\n")
    said = subprocess.run(script, capture_output=True, text=True)
    words = "sbom: stranger.py is in the package, and nothing that is pinned has installed it\n"
    assert (said.returncode, said.stderr) == (1, words)


def test_the_package_for_lambda_has_bytecode_or_the_build_says_why_not(tmp_path: Path):
    """It is built on machines that have no Python of the runtime's version, too."""
    said = built(tmp_path / "package")
    found = [path.name for path in (tmp_path / "package").glob("__pycache__/app.*")]
    assert (found, said) in [
        (["app.cpython-313.pyc"], ""),
        ([], "build: no Python 3.13 here, so no bytecode: a cold start takes twice as long\n"),
    ]
