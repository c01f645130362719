"""The `importer` command against a fake cloud, which it takes for the local twin."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import boto3
from click.testing import CliRunner, Result

from cli.main import main
from cli.stack import Stack
from tests.support.cloud import Cloud, shared_session

TOKENS_PATH = "/importer/twin/tokens"


def stack_of(cloud: Cloud) -> Stack:
    return Stack(
        region="us-east-1",
        bucket=cloud.bucket,
        events_table=cloud.events_table,
        users_table=cloud.users_table,
        imports_table=cloud.imports_table,
        part_queue_url=cloud.part_queue_url,
        dead_letter_queue_url=cloud.dead_letter_queue_url,
        alarm_topic_arn="",
        functions={"ImportFunction": "import"},
        access_key_id="testing",
        secret_access_key="testing",
        delivery_stream=cloud.delivery_stream or None,
        tokens_path=TOKENS_PATH,
        upload_max_mib=64,
    )


def write_outputs(cloud: Cloud, directory: Path) -> None:
    """What `make up` leaves behind for the command, where `cli.twin.DIRECTORY` is patched to be `directory`."""
    (directory / "outputs.json").write_text(stack_of(cloud).to_json())


def run(cloud: Cloud, *arguments: str, stdin: str | bytes | None = None) -> Result:
    """What the command printed and exited with. Nothing it prints outside a terminal has control characters."""
    # One session for all: loading models is most of what a command costs.
    session = mock.patch.object(boto3, "Session", return_value=shared_session())
    with cloud.unseen(), session:
        result = CliRunner().invoke(main, list(arguments), input=stdin, catch_exceptions=False)
    assert "\x1b" not in result.output
    return result
