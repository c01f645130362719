"""Which files are one series, and what is remembered of how they came."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.series import GATHER_MS, KEPT, Arrival, Delivery, gathered, series_of, with_arrival


@pytest.mark.parametrize(
    ("names", "series"),
    [
        (("logins-2012-03-04.json", "logins_20120305.json.gz", "logins.2012-03-06T030000Z.json.zst"), "logins*.json"),
        (("logins-04-Mar-2012.json", "logins-5-april-2012.json", "logins 2012 03 04.json"), "logins*.json"),
        (("mar2012-sales.json", "apr-2012-sales.json"), "*sales.json"),
        (("20261126.json", "550e8400-e29b-41d4-a716-446655440000.json", "01HF8ZABCDEFG1234567890ABC.json"), "*.json"),
        (("events-a3f9c2d1.csv", "events-00ff00ff00.csv.gz"), "events*.csv"),
        (("part-00000-550e8400-e29b-41d4-a716-446655440000-1.json", "part-00001.json"), "part*.json"),
        (("logins (1).json", "logins (27).json"), "logins (*).json"),
        (("export.json", "export.json.gz"), "export.json"),
        (("shop/2026/11/26/x-1.json", "shop/2026/12/1/x-2.json"), "shop/*/x*.json"),
        (("dt=2026-11-26/hour=03/x.json", "dt=2026-11-27/hour=4/x.json"), "*/x.json"),
        (("no-suffix-1", "no-suffix-2"), "no-suffix*"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_names_that_differ_in_what_counts_only_are_one_series(names: tuple[str, ...], series: str):
    """Dates, numbers and ids vary, whatever stands between them; compression is packing."""
    assert {series_of(f"imports/{name}") for name in names} == {series}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("logins-1.json", "logouts-1.json"),
        ("monday.json", "tuesday.json"),
        ("events-deadbeef.json", "events-facade.json"),
        ("shop1/x-1.json", "shop2/x-1.json"),
        ("x-1.json", "x-1.csv"),
        ("march.json", "april.json"),
    ],
)
def test_words_do_not_vary(one: str, other: str):
    """What people call by another word is another thing; a folder with a number in its name is no date."""
    assert series_of(f"imports/{one}") != series_of(f"imports/{other}")


def test_a_recurring_imports_files_are_the_series_its_definition_names():
    """In whatever folder below its own they lie; an import that is called like a date keeps its name."""
    assert series_of("imports/acc/eu/accounts-1.json", "acc", "accounts*.json") == "acc/accounts*.json"
    assert series_of("imports/2024/x-1.json", "2024") == "2024/x*.json"


def test_what_was_not_dropped_has_no_series():
    """A file that is imported once more from where it is kept is none that came."""
    assert series_of("completed_imports/2026/11/26/logins.json") == ""


@given(st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=60), st.dates())
def test_any_name_has_a_series_in_which_the_date_does_not_count(name: str, date):
    """Whatever people call their files: tomorrow's belongs to today's."""
    one, other = (f"imports/{name}-{day}.json" for day in ("2026-11-26", date.strftime("%Y-%m-%d").zfill(10)))
    assert series_of(one) == series_of(other) != ""


def test_files_that_come_together_are_one_delivery():
    """Their rows and bytes are added up; a file that is refused adds nothing, and has come all the same."""
    deliveries: tuple[Delivery, ...] = ()
    for at_ms, size, rows in ((0, 10, 1), (GATHER_MS - 1, 20, 2), (GATHER_MS, None, None), (3 * GATHER_MS, 5, None)):
        deliveries = with_arrival(deliveries, Arrival(at_ms, size, rows))
    assert deliveries == (
        Delivery(0, GATHER_MS - 1, 2, 3, 30, False),
        Delivery(GATHER_MS, GATHER_MS, 0, 0, 0, False),
        Delivery(3 * GATHER_MS, 3 * GATHER_MS, 1, None, 5, False),
    )
    assert gathered(deliveries, 10 * GATHER_MS) == [Delivery(0, 3 * GATHER_MS, 3, None, 35, False)]


@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=40))
def test_nothing_is_lost_in_whatever_order_they_come(times: list[int]):
    """Recurring imports read by name, and old uploads may be read after new ones."""
    deliveries: tuple[Delivery, ...] = ()
    for time in times:
        deliveries = with_arrival(deliveries, Arrival(time, 1, 1))
    assert sum(one.files for one in deliveries) == len(times)
    assert [one.first_ms for one in deliveries] == sorted(one.first_ms for one in deliveries)
    assert (deliveries[0].first_ms, max(one.last_ms for one in deliveries)) == (min(times), max(times))


def test_only_so_much_is_remembered():
    """However often a series comes, its item stays small; the newest are kept."""
    deliveries: tuple[Delivery, ...] = ()
    for number in range(KEPT + 10):
        deliveries = with_arrival(deliveries, Arrival(number * GATHER_MS, 1, 1))
    assert (len(deliveries), deliveries[-1].first_ms) == (KEPT, (KEPT + 9) * GATHER_MS)
