"""Which file of a series is next (pure): order, late names, what has ended, versions."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.definitions import Definition
from importer.doors.recurring import in_turn, next_in_turn
from importer.model import Misconfigured, S3Object

SERIES = Definition(id="shop", base_file_name="accounts.json")
NAMES = st.lists(
    st.one_of(
        st.from_regex(r"accounts[-._]?[0-9]{0,4}\.json(\.gz)?", fullmatch=True),
        st.sampled_from(["Accounts.json", "accounts.csv", "acounts-1.json", "x/accounts-1.json", "accountsé.json", ""]),
        st.text(max_size=6).map(lambda text: f"accounts{text}.json"),
    ),
    max_size=12,
    unique=True,
)


def file(name: str, version: str | None = "1", at_ms: int = 0) -> S3Object:
    return S3Object("b", f"imports/shop/{name}", version, f"etag of {name}", 10, at_ms)


def listed(names: Iterable[str], versions: int = 1) -> list[S3Object]:
    """As S3 does: keys by their bytes, newest version first."""
    keys = sorted(names, key=lambda name: f"imports/shop/{name}".encode("utf-8", "surrogatepass"))
    return [file(name, str(number), number) for name in keys for number in range(versions, 0, -1)]


def read_all(names: Iterable[str]) -> list[str]:
    """The names in the order in which run after run reads them, one each."""
    read: list[str] = []
    while (found := next_in_turn(listed(names), SERIES, lambda one: one.key in read)) is not None:
        read.append(found.key)
    return [key.removeprefix("imports/shop/") for key in read]


@given(NAMES)
def test_files_are_read_in_the_order_of_their_bytes(names: list[str]):
    """Strictly, whatever else lies in the folder; each once (K23)."""
    wanted = [name for name in names if SERIES.has_in_series(f"imports/shop/{name}")]
    assert read_all(names) == sorted(wanted, key=lambda name: name.encode())


@given(NAMES, NAMES)
def test_a_name_that_comes_late_is_next_if_it_is_the_first(there: list[str], later: list[str]):
    """There is no mark behind which nothing is looked at: what is read next depends on what has ended alone."""
    read = read_all(there)[:3]
    ended = {f"imports/shop/{name}" for name in read}
    found = next_in_turn(listed({*there, *later}), SERIES, lambda one: one.key in ended)
    open_ones = {f"imports/shop/{name}" for name in (*there, *later)} - ended
    wanted = sorted((key for key in open_ones if SERIES.has_in_series(key)), key=str.encode)
    assert (found.key if found else None) == (wanted[0] if wanted else None)


@given(NAMES, st.data())
def test_what_has_ended_never_comes_again_and_holds_nobody_up(names: list[str], data: st.DataObject):
    """Whichever they are, the first of the others is next."""
    series = [one for one in listed(names) if SERIES.has_in_series(one.key)]
    ended = data.draw(st.sets(st.sampled_from(series))) if series else set()
    found = next_in_turn(listed(names), SERIES, lambda one: one in ended)
    assert found == next((one for one in series if one not in ended), None)


def test_of_one_key_the_upload_that_came_first_is_read_first():
    """A version that was overwritten before its turn is imported too (A3)."""
    order = [
        (one.key[-6], one.version_id) for one in in_turn(listed(["accounts-1.json", "accounts-2.json"], 2), SERIES)
    ]
    assert order == [("1", "1"), ("1", "2"), ("2", "1"), ("2", "2")]


def test_it_looks_no_further_than_the_next_file():
    """A folder may hold millions."""

    def endless() -> Iterable[S3Object]:
        yield file("accounts-1.json")
        yield file("accounts-2.json")
        raise AssertionError("looked further")

    assert next_in_turn(endless(), SERIES, lambda one: False) == file("accounts-1.json")


@pytest.mark.parametrize(
    ("base", "pattern", "belong", "do_not"),
    [
        (
            "accounts.json",
            "accounts*.json",
            ["accounts.json", "accounts.1425920218.json", "accounts-20240101000000.json", "accounts-1.json.gz"],
            ["accounts.csv", "Accounts.json", "my-accounts.json", "accounts.json.bak", "accounts", "account.json"],
        ),
        ("my.accounts.csv", "my.accounts*.csv", ["my.accounts.2.csv"], ["my.csv", "accounts.csv"]),
        ("a.json.gz", "a*.json.gz", ["a-1.json.gz"], ["a-1.json", "a-1.json.zst"]),
        ("accounts", "accounts*", ["accounts", "accounts-1.json", "accounts-1.json.zst"], ["x"]),
        ("aa.a", "aa*.a", ["aa.a", "aaa.a"], ["a.a"]),
    ],
)
def test_base_file_name_stands_for_a_series(base: str, pattern: str, belong: list[str], do_not: list[str]):
    """`*` goes before the last dot; .gz and .zst are looked through (K22)."""
    definition = Definition(base_file_name=base)
    assert definition.pattern == pattern
    assert [n for n in belong + do_not if definition.has_in_series(f"imports/shop/below/{n}")] == belong


def test_without_a_base_file_name_nothing_is_a_series():
    """Files are imported when they are dropped."""
    assert not Definition().is_recurring
    assert not Definition().has_in_series("imports/x/accounts.json")


@pytest.mark.parametrize("settings", [{"files_per_run": 0}, {"files_per_run": 1_001}, {"run_seconds": 841}])
def test_bounds_of_a_run_are_checked(settings: dict[str, int]):
    """Its function has 900 seconds."""
    with pytest.raises(Misconfigured, match="choose 1 to"):
        Definition(base_file_name="a.json", **settings)  # type: ignore[arg-type]
