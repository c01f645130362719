"""The nouns: identity of events, rank of user changes, tallies."""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.model import LEGAL_MOVES, Event, Noted, Provenance, Status, Tally, UserChange, event_id, event_ids, rank

SOURCE = Provenance("cooladata", "default", "e1", "imports/a.json", 1_700_000_000_000)


def test_event_id_is_the_same_for_ever():
    """A published value: another one would double everything that was ever imported."""
    assert [
        event_id("cooladata", b'{"event_name":"e","event_time_ts":1425920218354,"user_id":"u"}', 0),
        event_id("cooladata", b'{"event_name":"e","event_time_ts":1425920218354,"user_id":"u"}', 1),
    ] == ["3f5a6d2dc8f4f3e7fd1b947cd98c54e7", "9b96f27636e98f4a60f250c214f89220"]


def test_event_id_tells_format_row_and_index_apart():
    """No two of them run together into the same bytes."""
    ids = [
        event_id(name, row, index)
        for name in ("a", "a1")
        for row in (b"", b"1", b"1\n", b"\n1")
        for index in (0, 1, 11)
    ]
    assert len(set(ids)) == len(ids)


def test_events_of_one_row_get_ids_that_are_the_same_for_ever():
    """The first has the id of the row; the later ones are made of it, so that a long row is hashed once."""
    first, second, third = itertools.islice(event_ids("woopra", b'{"visitor":{"id":"u"}}'), 3)
    assert first == event_id("woopra", b'{"visitor":{"id":"u"}}', 0)
    assert [second, third] == [event_id("woopra", first.encode(), 1), event_id("woopra", first.encode(), 2)]
    assert (first, second) == ("1a4120179da4c24de714ce38b83931db", "90a4803dfb8d34bd091992a32d94dc42")


def test_event_key_sorts_by_time():
    """13 digits: text order is time order (N8)."""
    times = [0, 7, 99, 100_000_000_000, 1_425_920_218_354, 9_999_999_999_999]
    keys = [Event("ff", "e", time, "u", {}, 0).event_key for time in times]
    assert keys == sorted(keys)
    assert keys[1] == "0000000000007#ff"


CHANGES = st.builds(
    UserChange,
    user_id=st.just("u"),
    record=st.just("prop#a"),
    value=st.none(),
    event_time_ts=st.none() | st.integers(0, 9_999_999_999_999),
    address=st.integers(0, 10**12),
    index=st.integers(0, 10**5),
)
SOURCES = st.builds(
    Provenance,
    format=st.just("cooladata"),
    import_id=st.just("default"),
    execution_id=st.sampled_from(["e1", "e2"]),
    key=st.sampled_from(["imports/a.json", "imports/b.json", "imports/a#b.json"]),
    uploaded_ms=st.integers(0, 9_999_999_999_999),
)


def place(change: UserChange, source: Provenance) -> tuple[int, int, str, str, int, int]:
    time_ms = source.uploaded_ms if change.event_time_ts is None else change.event_time_ts
    return time_ms, source.uploaded_ms, source.key, source.execution_id, change.address, change.index


@given(st.tuples(CHANGES, SOURCES), st.tuples(CHANGES, SOURCES))
def test_rank_is_a_total_order_by_time_then_upload(
    one: tuple[UserChange, Provenance], other: tuple[UserChange, Provenance]
):
    """The later time wins, then the later upload; two different changes never tie."""
    assert (rank(*one) == rank(*other)) == (place(*one) == place(*other))
    if place(*one)[:2] != place(*other)[:2]:
        assert (rank(*one) < rank(*other)) == (place(*one) < place(*other))


def test_mended_file_dropped_again_outranks_its_first_version():
    """Same row's time, later upload."""
    change = UserChange("u", "prop#a", 1, 1_425_920_218_354, 0, 0)
    assert rank(change, SOURCE) < rank(
        change, replace(SOURCE, uploaded_ms=SOURCE.uploaded_ms + 1, key="imports/0.json")
    )


def test_later_row_of_a_file_outranks_an_earlier_one_of_the_same_time():
    """By address, then by place in the row, compared as numbers and not as text."""
    changes = [
        UserChange("u", "prop#a", 1, 5, address, index) for address, index in [(9, 9), (9, 10), (10, 0), (100, 0)]
    ]
    ranks = [rank(change, SOURCE) for change in changes]
    assert ranks == sorted(ranks)


TALLIES = st.builds(
    Tally,
    lines=st.integers(0, 9),
    blank=st.integers(0, 9),
    good=st.integers(0, 9),
    bad=st.integers(0, 9),
    events=st.integers(0, 9),
    user_changes=st.integers(0, 9),
    notes=st.dictionaries(
        st.sampled_from(["a", "b"]), st.builds(Noted, count=st.integers(1, 5), first_line=st.integers(1, 9))
    ),
)


def test_what_was_noted_twice_is_counted_together_and_told_by_its_first_line():
    """Later rows do not begin the count, or the line, anew."""
    both = Tally(notes={"placeholder": Noted(2, 1)}).plus(Tally(notes={"placeholder": Noted(3, 9)}))
    assert both.notes == {"placeholder": Noted(5, 1)}


@given(TALLIES, TALLIES, TALLIES)
def test_sums_of_tallies_do_not_depend_on_how_they_are_grouped(one: Tally, two: Tally, three: Tally):
    """Apart from order: the first line of a note is that of the earlier tally. No operand is changed."""
    copies = [
        replace(tally, notes={code: replace(noted) for code, noted in tally.notes.items()})
        for tally in (one, two, three)
    ]
    assert one.plus(two).plus(three) == one.plus(two.plus(three))
    assert one.plus(Tally()) == one == Tally().plus(one)
    assert [one, two, three] == copies


def test_final_states_stay_final():
    """SUCCEEDED and CANCELED are final; FAILED goes back by redrive only; every status has its row in the table."""
    assert {move for move in itertools.product(Status, Status) if move[1] in LEGAL_MOVES[move[0]]} == {
        (Status.PENDING, Status.RUNNING),
        (Status.PENDING, Status.FAILED),
        (Status.PENDING, Status.CANCELED),
        (Status.RUNNING, Status.SUCCEEDED),
        (Status.RUNNING, Status.FAILED),
        (Status.RUNNING, Status.CANCELED),
        (Status.FAILED, Status.PENDING),
    }


@pytest.mark.parametrize("good", [0, 3])
def test_rows_are_good_and_bad_ones(good: int):
    """`rows = good + bad`."""
    assert Tally(lines=9, blank=2, good=good, bad=4).rows == good + 4
