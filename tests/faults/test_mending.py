"""A mended file closes its parent's outstanding rows exactly once, whatever goes wrong on the way, in any order."""

import random
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from importer.aws.tables import ImportsTable
from importer.executions import mending
from importer.model import Execution, Undone
from tests.faults.importing import Importer, installed
from tests.support.books import assert_books_balance
from tests.support.faults import Fault

KEY = "imports/logins.json"
GOOD = b'{"event_name":"g","event_time_ts":1425920218354,"user_id":"u"}\n'


def bad(number: int) -> bytes:
    return b'{"event_name":"e%d","event_time_ts":1425920218,"user_id":"u"}\n' % number


def mended(number: int) -> bytes:
    return bad(number).replace(b"1425920218", b"1425920218000")


def records(importer: Importer) -> ImportsTable:
    return ImportsTable(importer.cloud.client("dynamodb"), importer.cloud.imports_table)


def outstanding(importer: Importer, execution_id: str) -> int:
    with importer.cloud.unseen():  # type: ignore[no-untyped-call]
        table = records(importer)
        execution = table.execution(execution_id)
        assert execution is not None
        return mending.outstanding(table, execution).rows


def imported(importer: Importer, body: bytes, key: str = KEY, **metadata: str) -> str:
    """The id of the execution of a file, once all is quiet."""
    before = {str(item["id"]) for item in importer.executions()}
    importer.notify(importer.cloud.drop(key, body, Metadata=metadata))
    importer.run_until_quiet()
    return next(str(item["id"]) for item in importer.executions() if str(item["id"]) not in before)


@pytest.mark.sampled(8)
@pytest.mark.parametrize("number", range(1, 31))
def test_a_crash_at_any_call_of_the_childs_import_neither_loses_its_rows_nor_counts_them_twice(number: int) -> None:
    """Killed at one call, delivered again, and once more late: two of the three rows are closed."""
    with installed() as importer:
        body = GOOD + bad(1) + bad(2) + bad(3)
        parent = imported(importer, body)
        child_key, child_body = f"imports/logins.{parent}.json", mended(1) + mended(3)
        notification = importer.cloud.drop(child_key, child_body, Metadata={"mends": parent, "mends-rows": "0,2"})
        importer.deliver_as_lambda_does(notification, Fault("kill_after", number))
        importer.run_until_quiet()
        assert outstanding(importer, parent) == 1
        importer.cloud.clock.sleep(3600)
        importer.deliver(notification)
        importer.run_until_quiet()
        assert outstanding(importer, parent) == 1
        assert_books_balance(importer.cloud, {KEY: body, child_key: child_body})


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 2**32 - 1))
def test_random_sequences_of_drops_leave_the_sum_exact(seed: int) -> None:
    """Any rows of any execution's errors file, mended or not, once or several times: a row that is not stored is
    outstanding in one place, and a stored one nowhere."""
    choose = random.Random(seed)
    with installed() as importer:
        count = choose.randint(2, 6)
        files = {imported(importer, b"".join(map(bad, range(count)))): list(range(count))}
        stored: set[int] = set()
        taken: dict[str, set[int]] = {parent: set() for parent in files}
        for drop in range(choose.randint(1, 4)):
            parent = choose.choice(sorted(files))
            rows = files[parent]
            which = sorted(choose.sample(range(len(rows)), choose.randint(1, len(rows)))) if rows else []
            if not which:
                continue
            are_mended = [choose.random() < 0.6 for _ in which]
            body = b"".join(
                mended(rows[at]) if is_mended else bad(rows[at])
                for at, is_mended in zip(which, are_mended, strict=True)
            )
            said = "all" if len(which) == len(rows) else ",".join(map(str, which))
            metadata = {"mends": parent, "mends-rows": said}
            child = imported(importer, body, f"imports/drop{drop}.json", **metadata)
            files[child] = [rows[at] for at, is_mended in zip(which, are_mended, strict=True) if not is_mended]
            taken[child] = set()
            taken[parent] |= set(which)
            stored |= {rows[at] for at, is_mended in zip(which, are_mended, strict=True) if is_mended}
        for execution_id, rows in files.items():
            assert outstanding(importer, execution_id) == len(rows) - len(taken[execution_id])
        left = {row for e, rows in files.items() for at, row in enumerate(rows) if at not in taken[e]}
        assert stored | left == set(range(count))


@pytest.mark.parametrize(
    ("metadata", "closed"),
    [
        ({}, 0),
        ({"mends": "f" * 32}, 0),
        ({"mends": "no id"}, 0),
        ({"mends-rows": "all"}, 0),
        ({"mends": "{parent}"}, 1),
        ({"mends": "{parent}", "mends-rows": "all"}, 1),
        ({"mends": "{parent}", "mends-rows": "1"}, 1),
        ({"mends": "{parent}", "mends-rows": "0-9"}, 1),
        ({"mends": "{parent}", "mends-rows": "; drop"}, 1),
        ({"mends": "{parent}", "mends-rows": "7"}, 1),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "-".join(f"{k}={value[k]}" for k in value) or "none",
)
def test_a_file_closes_no_more_rows_than_it_has_and_none_unless_it_says_whose(
    metadata: dict[str, str], closed: int
) -> None:
    """One row was dropped: claims of more, of rows there are not, or of nobody's close no more than that."""
    with installed() as importer:
        parent = imported(importer, bad(1) + bad(2))
        said = {name: value.replace("{parent}", parent) for name, value in metadata.items()}
        imported(importer, mended(1), "imports/by-hand.json", **said)
        assert outstanding(importer, parent) == 2 - closed


def test_the_same_file_dropped_again_counts_once_though_nobody_said_which_rows_it_has() -> None:
    """Known by its hash."""
    with installed() as importer:
        parent = imported(importer, bad(1) + bad(2) + bad(3))
        for number in range(3):
            imported(importer, mended(1), f"imports/by-hand-{number}.json", mends=parent)
        assert outstanding(importer, parent) == 2


def test_a_child_that_failed_or_was_cancelled_took_nothing_over() -> None:
    """Its rows may not be in the store: they stay where they were."""
    with installed() as importer:
        parent = imported(importer, bad(1) + bad(2))
        child = imported(importer, mended(1), "imports/by-hand.txt", mends=parent)
        assert records(importer).execution(child).status == "FAILED"  # type: ignore[union-attr]
        assert outstanding(importer, parent) == 2


def test_a_child_that_is_undone_closes_nothing_any_more() -> None:
    """What it had mended is out of the store again: its rows are outstanding at the parent once more."""
    with installed() as importer:
        parent = imported(importer, bad(1) + bad(2))
        child = imported(importer, mended(1), "imports/by-hand.json", mends=parent)
        assert outstanding(importer, parent) == 1
        table = records(importer)
        honest = table.execution

        def with_one_undone(execution_id: str) -> Execution | None:
            found = honest(execution_id)
            return replace(found, undone=Undone(True, 0)) if found is not None and found.id == child else found

        table.execution = with_one_undone  # type: ignore[method-assign]
        execution = table.execution(parent)
        assert execution is not None
        assert mending.outstanding(table, execution).rows == 2
        undone = table.execution(child)
        assert undone is not None
        assert mending.outstanding(table, replace(undone, outcome=execution.outcome)).rows == 0, "the parent has them"


def test_rows_of_a_parent_in_another_bucket_are_not_closed() -> None:
    """Whoever may write here may not be anybody there."""
    with installed() as importer:
        parent = imported(importer, bad(1))
        table = records(importer)
        execution = table.execution(parent)
        assert isinstance(execution, Execution)
        source = replace(execution.source, bucket="other", mends=f"{parent} all")
        assert mending.linked(table, source, "0" * 32, "default") == ""


def test_a_name_speaks_of_executions_of_its_own_import_only() -> None:
    """Who may send files to one import closes nothing of another; metadata are written by who may write the bucket."""
    with installed() as importer:
        parent = imported(importer, bad(1) + bad(2))
        table = {"pk": "IMPORT#shop", "sk": "IMPORT", "definition": {"name": "shop"}}
        importer.cloud.put_item(importer.cloud.imports_table, table)
        imported(importer, mended(1), f"imports/shop/logins.{parent}.json")
        assert outstanding(importer, parent) == 2
        imported(importer, mended(1), "imports/shop/logins.json", mends=parent)
        assert outstanding(importer, parent) == 1
