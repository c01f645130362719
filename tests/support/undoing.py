"""Undoings on a fake cloud, and the oracle: a cloud in which the same files were dropped, but for those undone."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from importer.aws import clients
from importer.aws.stored import StoredTables
from importer.aws.tables import ImportsTable
from importer.aws.undoing import UndoneTables
from importer.ledger.undo import Desk
from tests.faults.importing import Importer


def desk(importer: Importer, folder: Path, **more: Any) -> Desk:
    """An undoing's place over an installation."""
    cloud = importer.cloud
    place = importer.workplaces(lambda: 900_000)
    assert isinstance(place.records, ImportsTable)
    tables = cloud.events_table, cloud.users_table
    return Desk(
        objects=place.objects,
        records=place.records,
        stored=StoredTables(cloud.client("dynamodb"), *tables, cloud.imports_table, cloud.clock, 1),  # type: ignore[arg-type]
        marks=place.records,
        tables=UndoneTables(clients.sinks(), *tables, cloud.clock, 1),  # type: ignore[arg-type]
        clock=cloud.clock,  # type: ignore[arg-type]
        file=folder / f"undo-{os.getpid()}.sqlite",  # scenarios run in processes of their own, next to each other
        **more,
    )


def tables_of(importer: Importer, name: Callable[[str], str]) -> dict[str, dict[tuple[str, str], dict[str, Any]]]:
    """Both tables whole. What differs between two clouds for no other reason than which they are is called by `name`:
    ids of executions, and times of uploads in ranks.
    """
    cloud = importer.cloud
    events = {(item["user_id"], item["event_key"]): _named(item, name) for item in cloud.items(cloud.events_table)}
    users = {(item["user_id"], item["record"]): _named(item, name) for item in cloud.items(cloud.users_table)}
    return {"events": events, "users": users}


def _named(item: dict[str, Any], name: Callable[[str], str]) -> dict[str, Any]:
    named = dict(item)
    if "execution_id" in named:
        named["execution_id"] = name(named["execution_id"])
        if "rank" in named:
            named["rank"] = named["rank"].replace(item["execution_id"], named["execution_id"])
    return named
