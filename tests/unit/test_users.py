"""A person read back from records: the same whatever the order they came in, and what nobody may see does not show.

The reference model does what a reader of the files would: it goes through all changes in order of rank, one after the
other, and keeps no records at all.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer import users
from importer.model import Event, Provenance, UserChange, Value, rank
from importer.users import Person, Record, Span, StoredEvent, newest_first, person
from tests.support.scenarios import examples

NOW = 1_800_000_000_000
T = 1_700_000_000_000


# ---- Saying it shortly ---------------------------------------------------------------------------------------------


def source(uploaded_ms: int = T, key: str = "imports/a.json", execution: str = "e1") -> Provenance:
    return Provenance("mediarithmics", "default", execution, key, uploaded_ms)


Sent = tuple[UserChange, Provenance]


def stored(sent: Sent) -> Record:
    change, origin = sent
    return Record(
        change.user_id,
        change.record,
        rank(change, origin),
        change.value,
        change.deleted,
        change.event_time_ts,
        change.expires_ms,
        origin.execution_id,
        change.address,
    )


def records(*lines: tuple[Any, ...]) -> list[Record]:
    """(time, user, record, value) each; a value of … is a tombstone. Uploaded in this order."""
    made = []
    for address, (time, user, record, value, *expires) in enumerate(lines):
        gone = value is ...
        change = UserChange(user, record, None if gone else value, time, address, 0, gone, *expires)
        made.append(stored((change, source(T + address))))
    return made


def folded(some: Iterable[Record]) -> list[Record]:
    """What conditional writes leave in the table: of each record the highest ranked."""
    table: dict[tuple[str, str], Record] = {}
    for record in some:
        key = (record.user_id, record.record)
        if key not in table or table[key].rank <= record.rank:
            table[key] = record
    return list(table.values())


class Table:
    """A users table; a journal of what was asked of it."""

    def __init__(self, some: Iterable[Record]) -> None:
        self._records = folded(some)
        self.asked: list[list[str]] = []

    def records_of(self, user_ids: Sequence[str]) -> dict[str, list[Record]]:
        self.asked.append(list(user_ids))
        return {user: [record for record in self._records if record.user_id == user] for user in user_ids}


def read(some: Iterable[Record], user: str = "A", most: int = users.MOST_IDENTIFIERS, now_ms: int = NOW) -> Person:
    return person(user, Table(some).records_of, now_ms, most)


def linked(time: int, one: str, other: str, value: Any = True) -> list[tuple[Any, ...]]:
    return [(time, one, f"link#{other}", value), (time, other, f"link#{one}", value)]


# ---- Properties and consents ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "properties"),
    [
        ([("prop#city", "Rome")], {"city": "Rome"}),
        ([("prop#city", "Rome"), ("prop#city", "Oslo")], {"city": "Oslo"}),
        ([("prop#city", "Rome"), ("prop#city", ...)], {}),
        ([("prop#city", ...), ("prop#city", "Rome")], {"city": "Rome"}),
        ([("prop#city", None)], {"city": None}),
        ([("prop#a/b", 1), ("prop#a/c", 2)], {"a": {"b": 1, "c": 2}}),
        ([("prop#a", {"b": 1, "c": 2}), ("prop#a/b", 3)], {"a": {"b": 3, "c": 2}}),
        ([("prop#a/b", 3), ("prop#a", {"c": 2})], {"a": {"c": 2}}),
        ([("prop#a", {"b": {"c": 1, "d": 2}}), ("prop#a/b/c", ...)], {"a": {"b": {"d": 2}}}),
        ([("prop#a", 1), ("prop#b", 2), ("prop#", ...)], {}),
        ([("prop#a", 1), ("prop#", ...), ("prop#b", 2)], {"b": 2}),
        ([("prop#a", 1), ("prop#", {"b": 2, "c": {"d": 3}}), ("prop#c/e", 4)], {"b": 2, "c": {"d": 3, "e": 4}}),
        ([("prop#a~1b/c~0d", 1)], {"a/b": {"c~d": 1}}),
        ([("prop#a", [1, 2]), ("prop#b", {})], {"a": [1, 2], "b": {}}),
    ],
)
def test_each_record_replaces_what_stands_at_its_path(lines: list[tuple[str, Any]], properties: Any) -> None:
    some = records(*((T + at, "A", record, value) for at, (record, value) in enumerate(lines)))
    assert read(some).properties == properties


@pytest.mark.parametrize(
    ("lines", "properties"),
    [
        ([("prop#a", 5), ("prop#a/b", 1)], {"a": {"b": 1}}),
        ([("prop#a", 5), ("prop#a/b", 1), ("prop#a/b", ...)], {}),
        ([("prop#a", 5), ("prop#a/b", ...)], {}),
        ([("prop#a", [5]), ("prop#a/b", 1), ("prop#a/b", ...), ("prop#a/c", 2)], {"a": {"c": 2}}),
    ],
)
def test_what_a_record_inside_has_replaced_never_comes_back(lines: list[tuple[str, Any]], properties: Any) -> None:
    """The table cannot tell the second of these from the third: both leave `a` and a tombstone inside it."""
    some = records(*((T + at, "A", record, value) for at, (record, value) in enumerate(lines)))
    assert read(some).properties == properties


def test_objects_nobody_set_vanish_with_their_last_member() -> None:
    some = records(
        (1, "A", "prop#a/b/c", 1), (2, "A", "prop#a/b/c", ...), (1, "A", "prop#x", {}), (2, "A", "prop#x/y", ...)
    )
    assert read(some).properties == {"x": {}}


def test_a_profile_that_is_no_object_has_no_properties() -> None:
    assert read(records((1, "A", "prop#a", 1), (2, "A", "prop#", 7))).properties == {}


def test_each_property_says_which_record_set_it() -> None:
    some = records((5, "A", "prop#", {"a": 1, "b": {"c": 2, "d": 3}}), (6, "A", "prop#b/c", 4), (7, "A", "prop#e/f", 5))
    whole, inner, leaf = some
    assert read(some).property_origins == {
        ("a",): whole,
        ("b",): whole,
        ("b", "c"): inner,
        ("b", "d"): whole,
        ("e", "f"): leaf,
    }


def test_a_record_holds_since_its_rows_time_or_else_its_files() -> None:
    with_time, without = records((5, "A", "prop#a", 1), (None, "A", "prop#b", 2))
    assert (with_time.time_ms, without.time_ms) == (5, T + 1)


@given(st.text("#ab/", max_size=8), st.none() | st.integers(0, T))
def test_a_record_says_which_file_it_is_from(key: str, time: int | None) -> None:
    change = UserChange("A", "prop#a", 1, time, 0, 0)
    assert stored((change, source(key=key))).key == key


def test_consents_are_replayed_as_properties_are() -> None:
    some = records(
        (1, "A", "consent#7", {"$choice_ts": 1, "given": True}),
        (2, "A", "consent#7/given", False),
        (1, "A", "consent#8", {"given": True}),
        (2, "A", "consent#8", ...),
    )
    found = read(some)
    assert found.consent_origins == {
        ("7",): some[0],
        ("7", "$choice_ts"): some[0],
        ("7", "given"): some[1],
    }
    assert (found.consents, found.properties) == ({"7": {"$choice_ts": 1, "given": False}}, {})


def test_nothing_is_known_of_somebody_without_records() -> None:
    found = read([], "nobody")
    assert (found.identifiers, found.is_known, found.is_cut) == (("nobody",), False, False)
    assert read(records((1, "A", "prop#a", ...))).is_known, "something was said of them once"


def test_a_path_may_be_as_deep_as_a_name_is_long() -> None:
    """512 names fill the 1,024 bytes of a sort key."""
    found = read(records((1, "A", users.property_record(*"a" * 512), 1)))
    value: Any = found.properties
    for _ in range(512):
        value = value["a"]
    assert value == 1


# ---- Segments ------------------------------------------------------------------------------------------------------


def test_segments_are_those_whose_highest_record_is_neither_deleted_nor_expired() -> None:
    some = records(
        (1, "A", "segment#stays", {"score": 1}),
        (1, "A", "segment#left", None),
        (2, "A", "segment#left", ...),
        (1, "A", "segment#over", None, NOW),
        (1, "A", "segment#runs", None, NOW + 1),
    )
    assert read(some).segments == {"runs": some[4], "stays": some[0]}


def test_the_highest_record_of_all_identifiers_says_who_is_in_a_segment() -> None:
    some = records(
        *linked(1, "A", "B"), (3, "A", "segment#x", None), (4, "B", "segment#x", ...), (5, "B", "segment#y", None)
    )
    assert list(read(some).segments) == ["y"]
    assert list(read(some, most=1).segments) == ["x"], "by A's records alone"


# ---- Links ---------------------------------------------------------------------------------------------------------


def test_links_merge_in_chains() -> None:
    """A=B and A=C make B=C (K16); circles are harmless."""
    some = records(*linked(1, "A", "B"), *linked(1, "A", "C"), *linked(1, "C", "D"), *linked(1, "D", "A"))
    assert read(some, "B").identifiers == ("B", "A", "C", "D")
    assert [(link.one, link.other) for link in read(some, "B").links] == [
        ("A", "B"),
        ("A", "C"),
        ("A", "D"),
        ("C", "D"),
    ]


def test_all_records_of_a_person_stand_in_one_order() -> None:
    some = records(
        *linked(1, "A", "B"),
        (3, "A", "prop#a", {"x": 1}),
        (5, "B", "prop#a/y", 2),
        (4, "B", "prop#city", "Rome"),
        (6, "A", "prop#city", "Oslo"),
    )
    assert read(some).properties == read(some, "B").properties == {"a": {"x": 1, "y": 2}, "city": "Oslo"}


@pytest.mark.parametrize(
    ("lines", "others"),
    [
        ([*linked(1, "A", "B"), *linked(2, "A", "B", ...)], ()),
        ([*linked(2, "A", "B"), *linked(1, "A", "B", ...)], ("B",)),
        ([*linked(1, "A", "B"), (2, "A", "link#", ...)], ()),
        ([*linked(1, "A", "B"), (2, "B", "link#", ...)], ()),
        ([(1, "B", "link#", ...), *linked(2, "A", "B")], ("B",)),
        ([(2, "A", "link#", True), *linked(1, "A", "B")], ("B",)),
        ([(1, "A", "link#A", True)], ()),
    ],
)
def test_a_link_holds_until_it_is_deleted_or_all_links_of_an_end_are_cut(
    lines: list[tuple[Any, ...]], others: tuple[str, ...]
) -> None:
    assert read(records(*lines)).identifiers == ("A", *others)


@pytest.mark.parametrize("user", ["A", "B"])
@pytest.mark.parametrize("newer_is_at", ["A", "B"])
@pytest.mark.parametrize("linked_last", [True, False])
def test_the_higher_ranked_of_both_ends_says_whether_there_is_a_link(
    user: str, newer_is_at: str, linked_last: bool
) -> None:
    """While an import has written one of them only."""
    older_is_at = "A" if newer_is_at == "B" else "B"
    first, last = (..., True) if linked_last else (True, ...)
    some = records((1, older_is_at, f"link#{newer_is_at}", first), (2, newer_is_at, f"link#{older_is_at}", last))
    assert (len(read(some, user).identifiers) == 2) is linked_last


def test_a_link_may_expire() -> None:
    some = records(*((1, one, f"link#{other}", True, NOW) for one, other in ("AB", "BA")))
    assert read(some).identifiers == ("A",)
    assert read(some, now_ms=NOW - 1).identifiers == ("A", "B")


def test_the_search_ends_after_so_many_identifiers_and_says_so() -> None:
    chain = [line for at in range(10) for line in linked(1, f"u{at}", f"u{at + 1}")]
    some = records(*chain)
    for most in (1, 4, 10):
        table = Table(some)
        found = person("u0", table.records_of, NOW, most)
        assert (found.identifiers, found.is_cut) == (tuple(f"u{at}" for at in range(most)), True)
        assert sum(map(len, table.asked)) == most
    assert not read(some, "u0", most=11).is_cut


def test_a_crowd_is_asked_for_at_once() -> None:
    """Of one identifier's links no more than may be read; the nearest first."""
    hub = [line for at in range(500) for line in linked(1, "A", f"u{at:03}")]
    table = Table(records(*hub, *linked(1, "u000", "far")))
    found = person("A", table.records_of, NOW, 100)
    assert (found.is_cut, [len(asked) for asked in table.asked]) == (True, [1, 99])
    assert found.identifiers[:3] == ("A", "u000", "u001")


def test_those_in_doubt_are_read_last() -> None:
    """A link that was taken back at this end takes no room from those that were not."""
    some = records(*linked(1, "A", "B"), *linked(2, "A", "B", ...), *linked(1, "A", "C"), *linked(1, "C", "D"))
    table = Table(some)
    assert person("A", table.records_of, NOW, 3).identifiers == ("A", "C", "D")
    assert table.asked == [["A"], ["C"], ["D"]]


def test_somebody_seen_before_may_be_reached_another_way() -> None:
    """X cut its links to A and was then linked with B, who is farther away: X is read once, and found."""
    some = records(
        *linked(1, "A", "X"), (2, "X", "link#", ...), *linked(3, "X", "B"), *linked(1, "A", "C"), *linked(1, "C", "B")
    )
    table = Table(some)
    assert person("A", table.records_of, NOW).identifiers == ("A", "C", "B", "X")
    assert table.asked == [["A"], ["C", "X"], ["B"]]


def test_without_links_only_one_identifier_is_read() -> None:
    table = Table(records(*linked(1, "A", "B")))
    assert person("A", table.records_of, NOW, 1).identifiers == ("A",)
    assert table.asked == [["A"]]


# ---- Erasure -------------------------------------------------------------------------------------------------------


def test_what_was_uploaded_before_an_erasure_does_not_show() -> None:
    """As long as it is not deleted yet; whatever time its row says. What came later does."""
    some = records(
        (9 * T, "A", "prop#old", 1),
        (1, "A", "segment#old", None),
        (1, "A", "consent#old", True),
        (None, "A", "erased", {"scope": "person"}),
        (1, "A", "prop#new", 2),
    )
    found = read(some)
    assert (found.properties, found.segments, found.consents) == ({"new": 2}, {}, {})
    assert found.erasures == {"A": some[3]}
    assert found.erasures["A"].time_ms == T + 3


def test_an_erasure_ends_the_links_of_before() -> None:
    """At both ends: the record at the other one may still stand."""
    before = [*linked(9 * T, "A", "B")]
    erasure = (None, "A", "erased", {"scope": "person"})
    for user in "AB":
        assert read(records(*before, erasure), user).identifiers == (user,)
        assert read(records(erasure, *before), user).identifiers == (user, "B" if user == "A" else "A")


def test_of_one_file_an_erasure_passes_over_nothing() -> None:
    """Its rows were uploaded together."""
    lines = [(1, "prop#a", 1), (None, "erased", {"scope": "person"})]
    some = [stored((UserChange("A", record, value, time, 0, 0), source())) for time, record, value in lines]
    assert read(some).properties == {"a": 1}


# ---- Any order -----------------------------------------------------------------------------------------------------

USERS = "ABCD"
NAMES = st.sampled_from(["a", "b", "a/b", "~"])
PATHS = st.lists(NAMES, max_size=3).map(tuple)
VALUES: st.SearchStrategy[Value] = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | st.text("xy", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=4,
)


@st.composite
def sent_changes(draw: st.DrawFn, erasures: bool = False) -> list[Sent]:
    """Rows of several files: values at paths, whole profiles, resets, consents, segments, links at both ends, cuts.

    Every row has a place in its file, so that no two changes have one rank. With erasures rows have no times of their
    own: then uploads and ranks have one order, and "uploaded before" means the same to records and to whoever reads on.
    """
    sent: list[Sent] = []
    kinds = ["property"] * 4 + ["consent", "segment", "segment", "link", "link", "cut"] + ["erased"] * erasures
    for address in range(draw(st.integers(0, 14))):
        uploaded_ms = T + draw(st.integers(0, 5))
        key = draw(st.sampled_from(["imports/a.json", "imports/b#1.json"]))
        origin = source(uploaded_ms, key, f"{key}{uploaded_ms}")
        time = None if erasures else draw(st.none() | st.integers(T, T + 5))
        user = draw(st.sampled_from(USERS))
        gone = draw(st.booleans())
        expires = None
        value = None if gone else draw(VALUES)
        match draw(st.sampled_from(kinds)):
            case "property":
                named = [(user, users.property_record(*draw(PATHS)))]
            case "consent":
                named = [(user, users.consent_record(*draw(PATHS)))]
            case "segment":
                named = [(user, f"segment#{draw(st.sampled_from('xy'))}")]
                expires = draw(st.sampled_from([None, NOW - 1, NOW + 1]))
            case "link":
                other = draw(st.sampled_from(USERS))
                named = [(user, f"link#{other}"), (other, f"link#{user}")]
            case "cut":
                named, gone, value = [(user, "link#")], True, None
            case _:
                named, gone, value = [(user, "erased")], False, {"scope": "person"}
        for index, (whose, record) in enumerate(named):
            sent.append((UserChange(whose, record, value, time, address, index, gone, expires), origin))
    return sent


class Object(dict[str, Any]):
    """An object that only stands there because something is in it."""


def put(tree: dict[str, Any], path: tuple[str, ...], change: UserChange) -> dict[str, Any]:
    if not path:
        return copied(change.value) if isinstance(change.value, dict) and not change.deleted else {}
    at = tree
    for name in path[:-1]:
        if not isinstance(at.get(name), dict):
            at[name] = Object()
        at = at[name]
    if change.deleted:
        at.pop(path[-1], None)
    else:
        at[path[-1]] = copied(change.value)
    return tree


def copied(value: Any) -> Any:
    return {name: copied(member) for name, member in value.items()} if isinstance(value, dict) else value


def pruned(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    members = {name: pruned(member) for name, member in value.items()}
    return {name: new for name, new in members.items() if new != {} or type(value[name]) is not Object}


def told(sent: list[Sent], user: str) -> dict[str, Any]:
    """What somebody finds who goes through all changes in order of rank."""
    in_order = sorted(sent, key=lambda one: rank(*one))
    erased: dict[str, int] = {c.user_id: s.uploaded_ms for c, s in in_order if c.record == "erased"}

    def stays(change: UserChange, origin: Provenance) -> bool:
        ends = (
            [change.user_id, change.record.removeprefix("link#")]
            if change.record.startswith("link#")
            else [change.user_id]
        )
        return all(origin.uploaded_ms >= erased.get(end, 0) for end in ends)

    changes = [change for change, origin in in_order if stays(change, origin)]
    edges: set[frozenset[str]] = set()
    for change in changes:
        if change.record == "link#":
            edges = {edge for edge in edges if change.user_id not in edge}
        elif change.record.startswith("link#"):
            edge = frozenset([change.user_id, change.record.removeprefix("link#")])
            (edges.discard if change.deleted or len(edge) == 1 else edges.add)(edge)
    group = {user}
    while len(wider := group.union(*(edge for edge in edges if edge & group))) > len(group):
        group = wider
    properties: dict[str, Any] = {}
    consents: dict[str, Any] = {}
    memberships: dict[tuple[str, str], UserChange] = {}
    for change in changes:
        if change.user_id not in group:
            continue
        kind, _, name = change.record.partition("#")
        if kind == "prop":
            properties = put(properties, users.path_of(change.record), change)
        elif kind == "consent":
            consents = put(consents, users.path_of(change.record), change)
        elif kind == "segment":
            memberships.pop((change.user_id, name), None)
            memberships[change.user_id, name] = change
    segments: dict[str, UserChange] = {}
    for (_, name), change in memberships.items():
        if change.expires_ms is None or change.expires_ms > NOW:
            segments[name] = change
    return {
        "identifiers": group,
        "links": {edge for edge in edges if edge <= group},
        "properties": pruned(properties),
        "consents": pruned(consents),
        "segments": {name: c.value for name, c in segments.items() if not c.deleted},
        "erased": set(erased) & group,
    }


def seen(found: Person) -> dict[str, Any]:
    return {
        "identifiers": set(found.identifiers),
        "links": {frozenset((link.one, link.other)) for link in found.links},
        "properties": found.properties,
        "consents": found.consents,
        "segments": {name: record.value for name, record in found.segments.items()},
        "erased": set(found.erasures),
    }


@settings(deadline=None, max_examples=examples(400))
@given(
    st.one_of(sent_changes(), sent_changes(erasures=True)), st.sampled_from(USERS), st.randoms(use_true_random=False)
)
def test_records_in_any_order_tell_what_all_changes_in_order_of_rank_tell(
    sent: list[Sent], user: str, chance: random.Random
) -> None:
    """Repeated and shuffled as deliveries are; of each record only the highest ranked is kept."""
    arrived = [stored(one) for one in [*sent, *chance.sample(sent, len(sent) // 2)]]
    chance.shuffle(arrived)
    assert seen(read(arrived, user)) == told(sent, user)


@settings(deadline=None)
@given(sent_changes(), st.randoms(use_true_random=False))
def test_every_identifier_of_a_person_gives_that_person(sent: list[Sent], chance: random.Random) -> None:
    some = [stored(one) for one in sent]
    first = read(some)
    for user in first.identifiers:
        chance.shuffle(some)
        again = read(some, user)
        assert seen(again) == seen(first)
        assert (again.links, again.property_origins) == (first.links, first.property_origins)


@settings(deadline=None)
@given(sent_changes(), st.integers(1, 4))
def test_never_more_is_read_than_may_be(sent: list[Sent], most: int) -> None:
    table = Table(stored(one) for one in sent)
    whole, part = read([stored(one) for one in sent]), person("A", table.records_of, NOW, most)
    asked = [user for wave in table.asked for user in wave]
    assert len(asked) == len(set(asked)) <= most
    assert set(part.identifiers) <= set(whole.identifiers)
    assert part.is_cut or part == whole


# ---- Events --------------------------------------------------------------------------------------------------------


def event(time: int, name: str) -> StoredEvent:
    return StoredEvent(Event(name, name, time, "u", {}, 0), "default", "e1")


def test_events_of_several_identifiers_stand_in_one_order() -> None:
    streams = [[event(9, "a"), event(3, "b")], [event(7, "c"), event(3, "a")], []]
    merged = newest_first(map(iter, streams))
    assert [(e.event.event_time_ts, e.event.event_id) for e in merged] == [(9, "a"), (7, "c"), (3, "b"), (3, "a")]


def test_events_are_read_no_further_than_needed() -> None:
    journal: list[int] = []

    def stream(*times: int) -> Any:
        for time in times:
            journal.append(time)
            yield event(time, "e")

    merged = newest_first([stream(9, 8, 1), stream(5, 4)])
    assert [next(merged).event.event_time_ts for _ in range(2)] == [9, 8]
    assert sorted(journal) == [5, 8, 9]


@pytest.mark.parametrize(
    ("span", "times"),
    [
        (Span(), [0, 5, 9, 9_999_999_999_999]),
        (Span(5), [5, 9, 9_999_999_999_999]),
        (Span(5, 9), [5]),
        (Span(before_key="0000000000009#aa"), [0, 5]),
        (Span(before_key="0000000000009#aaa"), [0, 5, 9]),
        (Span(until_ms=5, before_key="0000000000009#aa"), [0]),
        (Span(9, 5), []),
    ],
)
def test_a_span_holds_the_times_from_its_begin_to_before_its_end(span: Span, times: list[int]) -> None:
    events = [event(time, "aa") for time in (0, 5, 9, 9_999_999_999_999)]
    within: Callable[[str], bool] = lambda key: span.lowest_key <= key < span.highest_key  # noqa: E731
    assert [e.event.event_time_ts for e in events if within(e.event.event_key)] == times
