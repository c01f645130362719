"""What the version before this one left behind is ended by this one: its executions know no rounds, and have no
`checked`."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest

from importer.aws.tables import ImportsTable
from importer.model import RULES_VERSION
from tests.faults.files import many_rows
from tests.faults.importing import installed, nothing_late_matters
from tests.support.books import assert_books_balance
from tests.support.cloud import Cloud

KEY = "imports/rows.json"
OLD = RULES_VERSION - 1


def as_older_rules_left_it(cloud: Cloud) -> None:
    """Rules, parts and the folder under work/ are those of the version before."""
    table, s3 = cloud.client("dynamodb"), cloud.client("s3")
    with cloud.unseen():
        for item in cloud.items(cloud.imports_table):
            if item["sk"] == "EXEC" or item["sk"].startswith("PART#"):
                table.update_item(
                    TableName=cloud.imports_table,
                    Key={name: {"S": item[name]} for name in ("pk", "sk")},
                    UpdateExpression="SET rules_version = :old REMOVE checked",
                    ExpressionAttributeValues={":old": {"N": str(OLD)}},
                )
        for key, body in cloud.objects("work/").items():
            work, execution_id, _, rest = key.split("/", 3)
            s3.put_object(Bucket=cloud.bucket, Key=f"{work}/{execution_id}/{OLD}/{rest}", Body=body)
            s3.delete_object(Bucket=cloud.bucket, Key=key)


@pytest.mark.parametrize(("last", "ends"), [("finalise", "SUCCEEDED"), ("fail", "FAILED")])
def test_an_execution_that_was_being_settled_is_settled(last: str, ends: str) -> None:
    """Its bad rows wait under the name the older version gave them."""
    body = many_rows(30) if ends == "SUCCEEDED" else many_rows(30) + b'{"event_name":"a"'
    honest = getattr(ImportsTable, last)

    def dies(self: ImportsTable, *told: Any) -> None:
        honest(self, *told)
        raise RuntimeError("killed")

    with installed() as importer:
        if ends == "FAILED":
            definition = {"id": "few", "max_bad_rows": 2}
            importer.cloud.put_item(
                importer.cloud.imports_table, {"pk": "IMPORT#few", "sk": "IMPORT", "definition": definition}
            )
        key = KEY if ends == "SUCCEEDED" else "imports/few/rows.json"
        notification = importer.cloud.drop(key, body)
        with mock.patch.object(ImportsTable, last, dies):
            assert importer.notified(notification).error is not None
        as_older_rules_left_it(importer.cloud)
        importer.notify(notification, 60)
        importer.run_until_quiet()
        assert [item["status"] for item in importer.executions()] == [ends]
        assert importer.cloud.objects("errors/")
        if ends == "SUCCEEDED":
            assert_books_balance(importer.cloud, {key: body}, tidy=True)
        nothing_late_matters(importer)
