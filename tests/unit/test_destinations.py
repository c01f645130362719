"""Where the four objects of an execution go: short enough, dated once, and never two executions' in one place."""

from dataclasses import astuple, replace
from itertools import combinations, product

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from importer.bad_rows import ObjectProblem
from importer.definitions import NDJSON
from importer.executions.destinations import KEY_BYTES, claimed_name, day_of, destination, stem_of
from importer.executions.starting import judge_name
from importer.model import Destination, Execution
from tests.unit.test_receipts import EXECUTION

ID = "0123456789abcdef" * 2


def of(path: str, execution_id: str = ID, created_ms: int = 1_795_176_000_000) -> Execution:
    source = replace(EXECUTION.source, key=f"imports/{path}")
    return replace(EXECUTION, id=execution_id, source=source, created_ms=created_ms)


@pytest.mark.parametrize(
    ("path", "free", "completed", "errors"),
    [
        ("a.json", True, "a.json", "a.json"),
        ("a.json", False, f"a.{ID}.json", f"a.{ID}.json"),
        ("shop/a b.json", True, "shop/a b.json", "shop/a b.json"),
        ("shop.x/a", False, f"shop.x/a.{ID}", f"shop.x/a.{ID}"),
        ("a.json.gz", True, "a.json.gz", "a.json"),
        ("a.json.zst", False, f"a.{ID}.json.zst", f"a.{ID}.json"),
        (".json", False, f".json.{ID}", f".json.{ID}"),
        ("a..json", False, f"a..{ID}.json", f"a..{ID}.json"),
    ],
)
def test_four_objects_share_a_stem(path: str, free: bool, completed: str, errors: str):
    """The file's path below imports/; errors of a compressed file are not compressed; an id goes before the suffix."""
    assert destination(of(path), free) == Destination(
        completed=f"completed_imports/2026/11/20/{completed}",
        errors=f"errors/2026/11/20/{errors}",
        reasons=f"errors/2026/11/20/{errors}.reasons.ndjson",
        receipt=f"receipts/2026/11/20/{completed}.json",
    )


@pytest.mark.parametrize(
    ("created_ms", "day"),
    [
        (0, "1970/01/01"),
        (1_795_176_000_000, "2026/11/20"),
        (1_795_219_199_999, "2026/11/20"),
        (1_795_219_200_000, "2026/11/21"),
        (1_709_164_800_000, "2024/02/29"),
    ],
)
def test_day_is_the_utc_day_of_creation(created_ms: int, day: str):
    """Recomputed at any later time it is the same (H8)."""
    assert day_of(of("a.json", created_ms=created_ms)) == day


LETTERS = st.characters(exclude_categories=["Cs"])
PATHS = st.one_of(
    st.text(LETTERS, min_size=1, max_size=300),
    st.text("aé😀/.~", min_size=1, max_size=1_000),
    st.builds(lambda base, suffix: base + suffix, st.text("aé😀/", min_size=240), st.text("./.jsongz", max_size=40)),
).map(lambda path: path.encode()[: KEY_BYTES - len("imports/")].decode(errors="ignore"))


@given(PATHS.filter(bool), st.booleans())
@example("a" * 1_016, False)
@example("é" * 508, True)
@example("a" + "." * 1_000, False)
@example("x/" * 508, False)
@example("a." + "j" * 1_000 + ".gz", False)
@example(".gz", False)
def test_every_key_fits_whatever_the_files_name(path: str, free: bool):
    """1,024 bytes in UTF-8, for the longest name S3 allows (A12)."""
    keys = astuple(destination(of(path), free))
    assert max(len(key.encode()) for key in keys) <= KEY_BYTES
    assert len(set(keys)) == 4


@given(PATHS.filter(bool), PATHS.filter(bool), st.booleans())
@example("a" * 1_000 + "1", "a" * 1_000 + "2", True)
@example("a" * 960 + "1.json", "a" * 960 + "2.json", True)
def test_different_files_have_different_stems(one: str, other: str, free: bool):
    """Also where a name had to be shortened."""
    assert (stem_of(of(one)) == stem_of(of(other))) == (one == other)


@given(PATHS.filter(bool), PATHS.filter(bool))
def test_execution_whose_stem_is_taken_shares_no_key_with_any_other(one: str, other: str):
    """Its id is in all four."""
    first, second = destination(of(one), True), destination(of(one, "f" * 32), False)
    third = destination(of(other, "e" * 32), False)
    for here, there in combinations((astuple(first), astuple(second), astuple(third)), 2):
        assert not set(here) & set(there)


def is_importable(name: str) -> bool:
    try:
        judge_name(f"imports/a{name}", "cooladata", NDJSON)
    except ObjectProblem:  # such a file has no rows, so it has no errors either
        return False
    return True


def test_two_files_of_one_day_never_write_the_same_object():
    """What is claimed for the first keeps the second away from all four of its keys: no errors are written over."""
    endings = ["", ".json", ".ndjson", ".gz", ".zst", ".reasons.ndjson", f".{'1' * 32}"]
    paths = sorted({"".join(("a", *chosen)) for chosen in product(endings, repeat=4) if is_importable("".join(chosen))})
    made = []
    for path in paths:
        one, other = of(path, "1" * 32), of(path, "2" * 32)
        made.append((path, claimed_name(one), set(astuple(destination(one, True))), other))
    for path, claimed, keys, _ in made:
        for other_path, other_claimed, other_keys, later in made:
            if other_claimed != claimed:
                assert not keys & other_keys, (path, other_path)
            else:
                assert not keys & set(astuple(destination(later, False))), (path, other_path)
