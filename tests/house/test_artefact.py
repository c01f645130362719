"""What the build takes out of the functions' package, and the bytecode it puts in."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import artefact
import botocore
import pytest
from botocore.regions import EndpointResolver

HANDLER = Path(artefact.__file__).parent
DATA = Path(botocore.__file__).parent / "data"
ENDPOINTS = (DATA / "endpoints.json").read_bytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A package with what `slim` looks at."""
    data = tmp_path / "package" / "botocore" / "data"
    for service in ("s3", "ec2"):
        (data / service).mkdir(parents=True)
    (tmp_path / "cache").write_bytes(ENDPOINTS)
    os.link(tmp_path / "cache", data / "endpoints.json")
    (data / "_retry.json").write_text("{}")
    (tmp_path / "package" / "zstandard").mkdir()
    for name in ("_cffi.cpython-313-aarch64-linux-gnu.so", "backend_c.cpython-313-aarch64-linux-gnu.so"):
        (tmp_path / "package" / "zstandard" / name).touch()
    return tmp_path / "package"


def test_a_service_that_has_a_client_stays():
    """Without its description no client of it can be made."""
    made = re.findall(r'create_client\("([a-z0-9]+)"', (HANDLER / "importer/aws/clients.py").read_text())
    assert (len(made), set(made) - artefact.SERVICES) == (9, set())


def test_what_no_import_reads_is_taken_out(folder: Path):
    """Other services, and zstandard for PyPy."""
    artefact.slim(folder)
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not any(path.glob("*"))) == [
        "botocore/data/_retry.json",
        "botocore/data/endpoints.json",
        "botocore/data/s3",
        "zstandard/backend_c.cpython-313-aarch64-linux-gnu.so",
    ]


def test_files_that_may_be_links_into_a_cache_are_left_as_they_are(folder: Path):
    """uv links what it installs: written to, all that is ever installed from the cache would be changed."""
    artefact.slim(folder)
    assert (folder.parent / "cache").read_bytes() == ENDPOINTS
    assert (folder / "botocore" / "data" / "endpoints.json").read_bytes() != ENDPOINTS


def test_our_services_have_the_endpoints_they_had(folder: Path):
    """In every region of every partition, and in one that nobody knows yet."""
    artefact.slim(folder)
    whole, fewer = json.loads(ENDPOINTS), json.loads((folder / "botocore" / "data" / "endpoints.json").read_bytes())
    assert endpoints(fewer) == endpoints(whole)
    assert len(json.dumps(fewer)) * 8 < len(ENDPOINTS)


def endpoints(described: dict[str, Any]) -> dict[tuple[str, str], Any]:
    resolver = EndpointResolver(described)
    regions = [region for partition in described["partitions"] for region in partition["regions"]]
    regions += ["eu-nowhere-1", "aws-global", "us-gov-nowhere-1", "s3-external-1"]
    services = sorted(artefact.SERVICES)
    found = {(name, region): resolver.construct_endpoint(name, region) for name in services for region in regions}
    assert found["s3", "eu-nowhere-1"]
    return found


def test_bytecode_has_the_same_bytes_wherever_it_is_made(tmp_path: Path):
    """A build that changes nothing deploys nothing."""
    for place in ("here", "far/away"):
        shutil.copytree(HANDLER / "importer", tmp_path / place / "importer", ignore=shutil.ignore_patterns("*.pyc"))
        compiled(tmp_path / place)
    here, away = (bytecode(tmp_path / place) for place in ("here", "far/away"))
    assert (len(here) > 50, here == away) == (True, True)
    assert not [name for name, code in here.items() if str(tmp_path).encode() in code]


def test_bytecode_is_used_without_a_look_at_its_source(tmp_path: Path):
    """A package's files have whatever time they were unpacked at, and nothing can be written there."""
    (tmp_path / "one.py").write_text("print('as compiled')\n")
    compiled(tmp_path)
    (tmp_path / "one.py").write_text("print('as it is now, longer')\n")
    assert python("-c", "import one", cwd=tmp_path).stdout == "as compiled\n"


def test_python_of_another_version_makes_none_and_says_so(folder: Path):
    """The build goes on: the runtime compiles, each time."""
    (folder / "one.py").write_text("one = 1\n")
    done = python(HANDLER / "artefact.py", folder, "3.99", cwd=folder)
    assert done.stdout == "build: no Python 3.99 here, so no bytecode: a cold start takes twice as long\n"
    assert not bytecode(folder)


def compiled(folder: Path) -> None:
    python("-c", "import artefact, pathlib, sys; artefact.compile_all(pathlib.Path(sys.argv[1]))", folder, cwd=HANDLER)


def bytecode(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.pyc")}


def python(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    environment["PYTHONHASHSEED"] = "0"
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=True
    )
