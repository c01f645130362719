"""The last step of the build, which is not deployed itself: what slows a cold start down is taken out, bytecode put in.

    python artefact.py FOLDER [VERSION]      VERSION: of the Python that will run it, such as 3.13; else, this one's

Of botocore only what describes our services stays: hundreds of others are nine tenths of the package, and to make the
first client, botocore looks into the folder of each and reads the endpoints of all. Where this is no Python of that
version, there is no bytecode; then every cold start compiles what it imports, because Lambda keeps nothing of it.
"""

import compileall
import json
import py_compile
import shutil
import sys
from pathlib import Path

# Those `importer.aws.clients` makes clients of; sts may be asked for credentials.
SERVICES = {"dynamodb", "events", "firehose", "lambda", "logs", "s3", "secretsmanager", "sns", "sqs", "ssm", "sts"}
LAMBDA_FOLDER = "/var/task"  # named in the bytecode, so that it is the same wherever it is made


def slim(folder: Path) -> None:
    """Take out what no import reads. Files may be links into a cache: they are replaced, never written to."""
    data = folder / "botocore" / "data"
    for service in data.iterdir():
        if service.is_dir() and service.name not in SERVICES:
            shutil.rmtree(service)
    endpoints = json.loads((data / "endpoints.json").read_text(encoding="utf-8"))
    for partition in endpoints["partitions"]:
        partition["services"] = {name: one for name, one in partition["services"].items() if name in SERVICES}
    fewer = data / "endpoints.json.new"
    fewer.write_text(json.dumps(endpoints), encoding="utf-8")
    fewer.replace(data / "endpoints.json")
    for extension in folder.glob("zstandard/_cffi.*"):  # PyPy's; half of the package
        extension.unlink()


def compile_all(folder: Path) -> bool:
    """Put bytecode beside every module, which is taken at its word: nothing there changes, nor has it a time."""
    # At most one process: the order in which modules are met is part of the bytes.
    return bool(
        compileall.compile_dir(
            folder,
            quiet=1,
            workers=1,
            force=True,
            stripdir=str(folder),
            prependdir=LAMBDA_FOLDER,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )
    )


def main() -> None:
    folder, own = Path(sys.argv[1]), "{}.{}".format(*sys.version_info)
    version = sys.argv[2] if len(sys.argv) > 2 else own
    slim(folder)
    if version != own:
        print(f"build: no Python {version} here, so no bytecode: a cold start takes twice as long")
    elif not compile_all(folder):
        sys.exit("build: a module does not compile")


if __name__ == "__main__":
    main()
