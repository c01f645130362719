"""Which destinations an execution gets: those it began with, whatever is enabled by now."""

from dataclasses import replace
from unittest import mock

import pytest

from importer import assembly
from importer.aws import clients
from importer.aws.settings import Settings
from importer.executions import Workplace
from importer.model import Event, Provenance, Task, Unavailable, UserChange
from tests.support.cloud import Cloud
from tests.support.faults import plan

SOURCE = Provenance("cooladata", "default", "e1", "imports/a.json", 1_700_000_000_000)
EVENT = Event("f" * 32, "login", 1_425_920_218_354, "u", {"n": 1}, 0)
TABLES_ONLY = Settings("import-bucket", "events", "users", "imports", ("dynamodb",))
BOTH = replace(TABLES_ONLY, sinks=("dynamodb", "firehose"), delivery_stream="events")


def workplace(cloud: Cloud, settings: Settings) -> Workplace:
    settings = replace(settings, part_queue_url=cloud.part_queue_url)
    return assembly.maker(settings, mock.Mock(), cloud.clock, 1, 0)(lambda: 900_000)


@pytest.mark.parametrize(
    ("settings", "names", "stored", "delivered"),
    [
        (TABLES_ONLY, ("dynamodb",), 1, 0),
        (BOTH, ("dynamodb", "firehose"), 1, 1),
        (BOTH, ("firehose", "dynamodb"), 1, 1),
        (BOTH, ("dynamodb",), 1, 0),
        (replace(BOTH, sinks=("firehose",)), ("dynamodb",), 1, 0),
        (replace(BOTH, sinks=("firehose",)), ("firehose",), 0, 1),
    ],
)
def test_an_execution_is_written_where_it_began(
    settings: Settings, names: tuple[str, ...], stored: int, delivered: int
):
    """Every destination gets all of a file or none of it; the tables are always there to end what began with them."""
    with Cloud(stream=True) as cloud:
        workplace(cloud, settings).open_sink(SOURCE, names).write([EVENT], [])
        lines = b"".join(cloud.objects(bucket=cloud.stream_bucket).values()).count(b"\n")
        assert (len(cloud.items("events")), lines) == (stored, delivered)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("dynamodb", "firehose"), "execution e1 began with sink firehose, which is not set up any more: .*Sinks=both"),
        (("dynamodb", "kafka"), "execution e1 began with sink kafka, unknown to this version"),
    ],
)
def test_a_destination_that_is_gone_is_named_before_anything_is_written(names: tuple[str, ...], words: str):
    """Not a file that is half on the stream: it waits until somebody deploys again."""
    with Cloud() as cloud, pytest.raises(Unavailable, match=words):
        workplace(cloud, TABLES_ONLY).open_sink(SOURCE, names)


def test_only_what_is_written_to_has_a_client():
    """A client costs its share of every cold start: the objects' and the ledger's are always needed, no other is."""
    with Cloud(stream=True) as cloud:
        session = clients.session()
        with mock.patch.object(session, "create_client", wraps=session.create_client) as create_client:

            def made() -> list[str]:
                return [call.args[0] for call in create_client.call_args_list]

            place = workplace(cloud, BOTH)
            assert made() == ["s3", "dynamodb"]
            place.open_sink(SOURCE, ("dynamodb",))
            place.open_sink(SOURCE, ("dynamodb",))
            assert made() == ["s3", "dynamodb", "dynamodb"]
            place.dispatch.send([Task("f" * 32, 0)])
            place.dispatch.send([Task("f" * 32, 0)])
            assert made() == ["s3", "dynamodb", "dynamodb", "sqs"]


@pytest.mark.parametrize("quick", [True, False])
def test_what_is_assembled_writes_the_quick_way_where_it_may(quick: bool):
    """All writes, and what is asked around them: nobody falls back to botocore unnoticed."""
    changes = [UserChange("u", record, True, None, 1, number) for number, record in enumerate(("prop#a", "link#v"))]
    with Cloud(stream=True, quick=quick) as cloud, plan(cloud) as delivery:
        workplace(cloud, BOTH).open_sink(SOURCE, ("dynamodb", "firehose")).write([EVENT], changes)
        by_botocore = {call.operation: call.header("amz-sdk-request") is not None for call in delivery.calls}
    operations = ["GetItem", "PutItem", "UpdateItem", "BatchWriteItem", "PutRecordBatch"]
    assert by_botocore == dict.fromkeys(operations, not quick)
