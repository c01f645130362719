"""Import definitions in the imports table: created once, changed as they were read, listed by the index."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import boto3
import pytest

from importer.aws.tables import ImportsTable
from importer.definitions import Definition, StoredDefinition
from importer.model import Unavailable
from tests.support.cloud import Cloud
from tests.support.faults import Fault, plan

SHOP = Definition(id="shop", name="The shop", date_format="dd/mm/yyyy")
STRICT = replace(SHOP, strict=True)
NOW = 1_795_176_000_000


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    with Cloud() as cloud:
        yield cloud


@pytest.fixture
def table(cloud: Cloud) -> ImportsTable:
    return ImportsTable(boto3.client("dynamodb"), cloud.imports_table)


def by_hand(cloud: Cloud, import_id: str, **attributes: Any) -> None:
    """As docs/formats.md had people write them before there was a command."""
    cloud.put_item(cloud.imports_table, {"pk": f"IMPORT#{import_id}", "sk": "IMPORT", **attributes})


def test_a_created_definition_is_what_workers_read(table: ImportsTable):
    """Whole, with every default of the day: a later version of the importer reads it the same."""
    assert table.create_definition(SHOP, NOW)
    assert table.definition("shop") == SHOP.as_stored()
    assert Definition.named("shop", table.definition("shop")) == SHOP
    assert table.stored_definition("shop") == StoredDefinition("shop", SHOP.as_stored(), NOW, NOW)


def test_what_is_not_there_is_nothing(table: ImportsTable):
    assert (table.definition("shop"), table.stored_definition("shop"), list(table.definitions())) == (None, None, [])


def test_a_second_definition_of_an_id_is_refused_and_changes_nothing(table: ImportsTable):
    """Whoever comes second must not take somebody's folder."""
    assert table.create_definition(SHOP, NOW)
    assert not table.create_definition(STRICT, NOW + 1)
    assert table.stored_definition("shop") == StoredDefinition("shop", SHOP.as_stored(), NOW, NOW)


def test_definitions_are_listed_newest_first_and_executions_are_not(cloud: Cloud, table: ImportsTable):
    """By the index `by_time`, where executions are too; the table is never scanned."""
    for number, import_id in enumerate(("b", "c", "a")):
        assert table.create_definition(replace(SHOP, id=import_id), NOW + number)
    cloud.put_item(cloud.imports_table, {"pk": "EXEC#e", "sk": "EXEC", "listed": "EXECUTION", "creation_date": NOW + 9})
    with plan(cloud) as calls:
        listed = list(table.definitions())
    assert [(found.id, found.created_ms) for found in listed] == [("a", NOW + 2), ("c", NOW + 1), ("b", NOW)]
    assert listed[0] == table.stored_definition("a")
    assert [call.operation for call in calls.calls] == ["Query"]


def test_a_change_keeps_when_it_was_created(table: ImportsTable):
    table.create_definition(SHOP, NOW)
    assert table.change_definition("shop", SHOP.as_stored(), STRICT, NOW + 5)
    changed = StoredDefinition("shop", STRICT.as_stored(), NOW, NOW + 5)
    assert (table.stored_definition("shop"), list(table.definitions())) == (changed, [changed])


@pytest.mark.parametrize("meanwhile", ["changed", "deleted", "deleted and created"])
def test_of_two_people_the_second_does_not_overwrite_the_first(table: ImportsTable, meanwhile: str):
    """Both have read the same; whoever writes later must look again."""
    table.create_definition(SHOP, NOW)
    read = table.definition("shop")
    if meanwhile == "changed":
        table.change_definition("shop", read, replace(SHOP, name="Ours"), NOW + 1)
    else:
        assert table.delete_definition("shop", read)
    if meanwhile == "deleted and created":
        table.create_definition(replace(SHOP, name="Ours"), NOW + 1)
    before = table.stored_definition("shop")
    assert not table.change_definition("shop", read, STRICT, NOW + 2)
    assert table.stored_definition("shop") == before
    if before is not None:
        assert not table.delete_definition("shop", read)
        assert table.stored_definition("shop") == before


@pytest.mark.parametrize("operation", ["UpdateItem", "DeleteItem"])
def test_a_change_between_reading_and_writing_is_seen(cloud: Cloud, table: ImportsTable, operation: str):
    """It is DynamoDB that compares, in the write itself."""
    table.create_definition(SHOP, NOW)
    ours = replace(SHOP, name="Ours").as_stored()

    def somebody_changes(cloud: Cloud) -> None:
        by_hand(cloud, "shop", definition=ours)

    with plan(cloud, Fault("before", operation, detail={"do": somebody_changes})):
        if operation == "UpdateItem":
            assert not table.change_definition("shop", SHOP.as_stored(), STRICT, NOW + 1)
        else:
            assert not table.delete_definition("shop", SHOP.as_stored())
    assert table.definition("shop") == ours


def test_deleting_leaves_nothing_and_says_so_of_what_is_gone(cloud: Cloud, table: ImportsTable):
    table.create_definition(SHOP, NOW)
    assert table.delete_definition("shop", SHOP.as_stored())
    assert (table.definition("shop"), list(table.definitions()), cloud.items(cloud.imports_table)) == (None, [], [])
    assert table.delete_definition("shop", SHOP.as_stored()), "gone is gone, whoever did it"


@pytest.mark.parametrize("kind", ["reply_lost", "connection_lost", "throttled", "error_500"])
@pytest.mark.parametrize(
    ("operation", "write", "left"),
    [
        ("PutItem", lambda table: table.create_definition(replace(SHOP, id="new"), NOW), {"shop": SHOP, "new": SHOP}),
        ("UpdateItem", lambda table: table.change_definition("shop", SHOP.as_stored(), STRICT, NOW), {"shop": STRICT}),
        ("DeleteItem", lambda table: table.delete_definition("shop", SHOP.as_stored()), {}),
    ],
)
def test_a_write_whose_reply_was_lost_is_not_taken_for_somebody_elses(
    cloud: Cloud,
    table: ImportsTable,
    kind: str,
    operation: str,
    write: Callable[[ImportsTable], bool],
    left: dict[str, Definition],
):
    """botocore repeats it, and its condition then meets what it wrote itself (F8)."""
    table.create_definition(SHOP, NOW - 1)
    with plan(cloud, Fault(kind, operation)) as calls:
        assert write(table)
    assert [call.operation for call in calls.calls].count(operation) == 2
    assert {found.id: found.definition for found in table.definitions()} == {
        import_id: replace(definition, id=import_id).as_stored() for import_id, definition in left.items()
    }


def test_a_definition_written_by_hand_is_shown_changed_and_then_listed(cloud: Cloud, table: ImportsTable):
    """There was no other way once: such items have `definition` and nothing else of ours."""
    by_hand(cloud, "shop", definition={"date_format": "dd/mm/yyyy"}, note="ask Ann")
    assert table.definition("shop") == {"date_format": "dd/mm/yyyy"}
    assert table.stored_definition("shop") == StoredDefinition("shop", {"date_format": "dd/mm/yyyy"}, None, None)
    assert list(table.definitions()) == []
    assert not table.create_definition(SHOP, NOW)
    assert table.change_definition("shop", {"date_format": "dd/mm/yyyy"}, STRICT, NOW)
    assert list(table.definitions()) == [StoredDefinition("shop", STRICT.as_stored(), NOW, NOW)]
    [item] = cloud.items(cloud.imports_table)
    assert item["note"] == "ask Ann", "what people keep beside it stays"


@pytest.mark.parametrize(
    "definition", [None, "strict", ["a"], {"earliest_ms": Decimal("1.5")}, {"a": {"b": Decimal(10) ** 60}}]
)
def test_what_cannot_be_used_is_read_as_it_stands_and_can_be_deleted(
    cloud: Cloud, table: ImportsTable, definition: Any
):
    """Nothing is rounded in the reading, so that what is compared is what is stored."""
    by_hand(cloud, "shop", **({} if definition is None else {"definition": definition}))
    read = table.definition("shop")
    assert read == ("" if definition is None else definition)
    assert not table.delete_definition("shop", "another")
    assert table.delete_definition("shop", read)
    assert cloud.items(cloud.imports_table) == []


def test_a_denied_write_names_the_permission(cloud: Cloud, table: ImportsTable):
    denied = Fault("denied", "PutItem", times=9)
    with plan(cloud, denied), pytest.raises(Unavailable, match="allow dynamodb:PutItem on the imports table"):
        table.create_definition(SHOP, NOW)
