"""Items of the tables against the rows they must come from.

An event is stored under its key with equal values. `execution_id`, `import_id` and `address` name the last import that
wrote it: where that is this execution they must be right too; where it is another, that one must be known to the
imports table. A user record must have the rank of the row's change or a higher one; with the same rank it must be
equal, with a higher one its rank must be that of the change it names.

An item may name another row of the same file: equal rows are one event, and a later change of a user outranks an
earlier one. Such a *claim* is kept until the row it names comes by; at most MOST_CLAIMS are kept at a time, others are
counted as unproven.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, Final, TypeAlias

import orjson

from importer.executions.pinned import provenance_of
from importer.ledger.ports import Books, Key
from importer.ledger.verdict import Findings, Kind, Place
from importer.model import Event, Execution, Phase, UserChange, event_rank, rank, uploaded_ms_of
from importer.sinks.erasing import LINKED, MARK
from importer.sinks.items import EXPIRES, AttributeValue, Item, event_item, record_item
from importer.sinks.users import FIRST
from importer.users import ERASED

MOST_CLAIMS: Final = 100_000  # some 500 bytes each
_WRITTEN_BY: Final = ("execution_id", "import_id", "address")
_OF_SOME_RECORDS: Final = frozenset({"event_time_ts", "value", "deleted", EXPIRES, "segment"})
_KNOWN: Final = ("user_id", "event_key", "event_id", "record", "rank", *_WRITTEN_BY)

# What an item says it was written from: (place, address, user_id, event_key or record, rank or "").
_Claim: TypeAlias = tuple[Place, int, str, str, str]
_Different: TypeAlias = tuple[str, AttributeValue | None, AttributeValue | None]  # path, expected, found; None: absent
LineOf = Callable[[int], int]  # number of the line at an address of the batch at hand


class StoreCheck:
    """The tables, compared with the rows of one execution batch by batch."""

    def __init__(self, books: Books, execution: Execution, findings: Findings) -> None:
        self._stored = books.stored
        self._now_ms = books.now_ms
        self._forget_days = books.kept.execution_days
        self._execution = execution
        self._source = provenance_of(execution)
        self._findings = findings
        self._claims: dict[_Claim, tuple[int, int, str]] = {}  # → line, offset and what the item should say instead
        self.unproven = 0
        self.of_forgotten = 0  # items last written by an execution nobody knows (any more)
        self.gone = 0  # items that are rightly not there any more
        self.replayed = 0  # events as a replay of the same upload has written them, under other settings
        self._mark_ms: int | None = None
        self._other = lru_cache(256)(books.records.execution)

    def erased_after(self, user_ids: Iterable[str]) -> dict[str, Item]:
        """Those of these who were erased by a later upload than this execution's, with the record that says so: their
        rows are rightly not there. Nothing is looked up while the mark says that nobody was."""
        if self._last_erasure_ms() <= self._source.uploaded_ms:
            return {}
        keys = [(user_id, ERASED) for user_id in dict.fromkeys(user_ids)]
        found = self._stored.users(keys) if keys else {}
        return {
            user_id: item
            for (user_id, _), item in found.items()
            if (erased_ms := _uploaded_ms(item)) is not None and erased_ms > self._source.uploaded_ms
        }

    def _last_erasure_ms(self) -> int:
        if self._mark_ms is None:
            mark = self._stored.users([(MARK["user_id"]["S"], MARK["record"]["S"])])
            self._mark_ms = max((_whole(item.get("uploaded_ms")) or 0 for item in mark.values()), default=0)
        return self._mark_ms

    def _judge_erased(
        self, place: Place, where: tuple[int, int, str], item: Item | None, erased: Item, written_ms: int | None
    ) -> None:
        """What there may be of an erased person: nothing that was uploaded before, once the erasure has ended."""
        if item is None or written_ms is None or written_ms >= (_uploaded_ms(erased) or 0):
            self.gone += 1
            return
        eraser = self._other(_text(erased.get("execution_id")))
        if eraser is not None and eraser.phase is Phase.CLOSED:
            self._findings.add(Kind.EXTRA, place, *where, found=f"of an erased person: {_shown(item)}")

    def _is_over(self, what: Event | UserChange) -> bool:
        """Whether the table's time to live may have removed it."""
        return what.expires_ms is not None and what.expires_ms <= self._now_ms

    # -- events -------------------------------------------------------------------------------------------------

    def events(self, events: Iterable[Event], line_of: LineOf) -> None:
        """These must be stored, equal in everything."""
        wanted = {(event.user_id, event.event_key): event for event in events}
        found = self._stored.events(list(wanted))
        erased = self.erased_after(user_id for user_id, _ in wanted)
        for key, event in wanted.items():
            item = found.get(key)
            where = (line_of(event.address), event.address, "/".join(key))
            if event.user_id in erased:
                writer = None if item is None else self._other(_text(item.get("execution_id")))
                written_ms = None if writer is None else writer.upload.uploaded_ms
                self._judge_erased(Place.EVENTS, where, item, erased[event.user_id], written_ms)
                continue
            if item is None and self._is_over(event):
                self.gone += 1
                continue
            expected = event_item(event, self._source)
            if item is None:
                self._findings.add(
                    Kind.MISSING, Place.EVENTS, *where, expected=_shown(expected), found="there is no such item"
                )
            elif item != expected:
                self._compare_event(event, expected, item, where)

    def _compare_event(self, event: Event, expected: Item, item: Item, where: tuple[int, int, str]) -> None:
        ours = _text(item.get("execution_id")) == self._execution.id
        found_rank = _text(item.get("rank"))
        if self._source.ranked and found_rank > event_rank(event, self._source):
            self._compare_higher_ranked(event, item, found_rank, where)
            return
        different = list(differences(expected, item, () if ours else _WRITTEN_BY))
        if different == [("address", expected["address"], item.get("address"))]:
            address = _whole(item.get("address"))
            if address is not None:
                self._claim((Place.EVENTS, address, event.user_id, event.event_key, ""), where, str(event.address))
                return
        if not ours:
            if different and self._is_of_another_reading(item):
                self.replayed += 1
                different = []
            different += self._differences_by_writer(item)
        self._tell(Place.EVENTS, where, different)

    def _is_of_another_reading(self, item: Item) -> bool:
        """Whether an item was written last by who has read the same upload under other settings: its values are its."""
        writer = self._other(_text(item.get("execution_id")))
        ours = self._execution
        return (
            writer is not None
            and writer.upload.execution_id == ours.upload.execution_id
            and (writer.definition, writer.format) != (ours.definition, ours.format)
        )

    def _compare_higher_ranked(self, event: Event, item: Item, found_rank: str, where: tuple[int, int, str]) -> None:
        """Another row with the same identity was kept. It must be a row of an execution that is known."""
        writer = self._other(_text(item.get("execution_id")))
        address = _whole(item.get("address"))
        if writer is None and self._may_be_forgotten():
            return
        if writer is None or address is None:
            self._tell(Place.EVENTS, where, list(self._differences_by_writer(item)))
            return
        true_rank = event_rank(replace(event, address=address), provenance_of(writer))
        if true_rank != found_rank:
            self._tell(Place.EVENTS, where, [("rank", {"S": true_rank}, item.get("rank"))])
        elif writer.id == self._execution.id:
            self._claim((Place.EVENTS, address, event.user_id, event.event_key, ""), where, str(event.address))

    def _differences_by_writer(self, item: Item) -> Iterator[_Different]:
        """What another execution, the last to write an event, cannot have written."""
        writer = self._other(_text(item.get("execution_id")))
        if writer is None and self._may_be_forgotten():
            return
        if writer is None:
            expected = {"S": f"{self._execution.id}, or another execution of the imports table"}
            yield "execution_id", expected, item.get("execution_id")
            return
        if item.get("import_id") != {"S": writer.document_import_id}:
            yield "import_id", {"S": writer.document_import_id}, item.get("import_id")
        if _whole(item.get("address")) is None:
            yield "address", {"S": "an offset"}, item.get("address")

    # -- users --------------------------------------------------------------------------------------------------

    def users(self, changes: Iterable[UserChange], line_of: LineOf) -> None:
        """Of these the highest of each record must be stored, or one that outranks it."""
        wanted: dict[Key, tuple[str, UserChange]] = {}
        for change in changes:
            ranked = rank(change, self._source), change
            key = (change.user_id, change.record)
            if key not in wanted or wanted[key][0] < ranked[0]:
                wanted[key] = ranked
        found = self._stored.users(list(wanted))
        expected = {key: record_item(change, rank_text, self._source) for key, (rank_text, change) in wanted.items()}
        erased = self.erased_after(user_id for user_id, _ in wanted)
        for key, (_, change) in wanted.items():
            item = found.get(key)
            where = (line_of(change.address), change.address, "/".join(key))
            if change.user_id in erased and change.record != ERASED:
                written_ms = None if item is None else _uploaded_ms(item)
                self._judge_erased(Place.USERS, where, item, erased[change.user_id], written_ms)
                continue
            if item is None and self._is_over(change):
                self.gone += 1
                continue
            if item is not None:  # what the person's links were, and since when, no single row says
                item = {name: value for name, value in item.items() if name not in (LINKED, FIRST)}
            if item is None:
                self._findings.add(
                    Kind.MISSING, Place.USERS, *where, expected=_shown(expected[key]), found="there is no such item"
                )
            elif item != expected[key]:
                self._compare_record(expected[key], item, where)

    def _compare_record(self, expected: Item, item: Item, where: tuple[int, int, str]) -> None:
        expected_rank, found_rank = _text(expected["rank"]), _text(item.get("rank"))
        if found_rank <= expected_rank:
            self._tell(Place.USERS, where, differences(expected, item, ()))
            return
        is_ours = _text(item.get("execution_id")) == self._execution.id
        writer = self._execution if is_ours else self._other(_text(item.get("execution_id")))
        change = _change_of(item, found_rank)
        if writer is None and self._may_be_forgotten():
            return
        if writer is None:
            self._tell(Place.USERS, where, [("execution_id", expected["execution_id"], item.get("execution_id"))])
        elif change is None or (true_rank := rank(change, provenance_of(writer))) != found_rank:
            told = {"S": "the rank of the change it names"} if change is None else {"S": true_rank}
            self._tell(Place.USERS, where, [("rank", told, item.get("rank"))])
        elif extra := sorted(set(item) - set(expected) - _OF_SOME_RECORDS):
            self._tell(Place.USERS, where, [(extra[0], None, item[extra[0]])])
        elif is_ours:
            self._claim((Place.USERS, change.address, change.user_id, change.record, found_rank), where, expected_rank)

    def _may_be_forgotten(self) -> bool:
        """Whether an execution that is not known may be one of ours that has expired: then its items prove nothing."""
        is_possible = self._forget_days > 0
        self.of_forgotten += is_possible
        return is_possible

    # -- rows that must not be there ----------------------------------------------------------------------------

    def absent(self, events: Iterable[Event], changes: Iterable[UserChange], line_of: LineOf) -> None:
        """Rows a destination refused: none of their events is stored, and no record holds their value."""
        by_key = {(event.user_id, event.event_key): event for event in events}
        for key, item in self._stored.events(list(by_key)).items() if by_key else ():
            address = by_key[key].address
            self._findings.add(Kind.EXTRA, Place.EVENTS, line_of(address), address, "/".join(key), found=_shown(item))
        ranked = {(change.user_id, change.record, rank(change, self._source)): change for change in changes}
        keys = list(dict.fromkeys((user_id, record) for user_id, record, _ in ranked))
        for key, item in self._stored.users(keys).items() if keys else ():
            change = ranked.get((*key, _text(item.get("rank"))))
            if change is not None:
                where = (line_of(change.address), change.address, "/".join(key))
                self._findings.add(Kind.EXTRA, Place.USERS, *where, found=_shown(item))

    def undone(self, events: Iterable[Event], changes: Iterable[UserChange], line_of: LineOf) -> None:
        """Rows that were undone: whatever is stored under their keys, this execution is not who wrote it."""
        of_events = {(event.user_id, event.event_key): event.address for event in events}
        of_users = {(change.user_id, change.record): change.address for change in changes}
        for place, addresses, get in (
            (Place.EVENTS, of_events, self._stored.events),
            (Place.USERS, of_users, self._stored.users),
        ):
            for key, item in get(list(addresses)).items() if addresses else ():
                if _text(item.get("execution_id")) == self._execution.id:
                    address = addresses[key]
                    self._findings.add(
                        Kind.EXTRA,
                        place,
                        line_of(address),
                        address,
                        "/".join(key),
                        found=f"an item of this execution, which was undone: {_shown(item)}",
                    )

    # -- claims -------------------------------------------------------------------------------------------------

    @property
    def has_claims(self) -> bool:
        return bool(self._claims)

    def resolve(self, events: Iterable[Event], changes: Iterable[UserChange], refused: Collection[int] = ()) -> None:
        """These rows of the file came by: claims that name one of them are true."""
        if not self._claims:
            return
        for event in events:
            if event.address not in refused:
                self._claims.pop((Place.EVENTS, event.address, event.user_id, event.event_key, ""), None)
        for change in changes:
            if change.address not in refused:
                rank_text = rank(change, self._source)
                self._claims.pop((Place.USERS, change.address, change.user_id, change.record, rank_text), None)

    def refute_claims(self) -> None:
        """All rows came by: what is still claimed names none of them."""
        for (place, address, user_id, name, rank_text), (line, offset, expected) in self._claims.items():
            is_event = place is Place.EVENTS
            self._findings.add(
                Kind.DIFFERENT,
                place,
                line,
                offset,
                f"{user_id}/{name}",
                "address" if is_event else "rank",
                expected,
                f"{address}, where no such row is" if is_event else rank_text,
                told_at=address,
            )
        self._claims.clear()

    def leave_claims(self) -> None:
        """Not all rows came by: nothing can be said of what is still claimed."""
        self.unproven += len(self._claims)
        self._claims.clear()

    def _claim(self, claim: _Claim, where: tuple[int, int, str], expected: str) -> None:
        if claim in self._claims:
            return
        if len(self._claims) < MOST_CLAIMS:
            self._claims[claim] = (where[0], where[1], expected)
        else:
            self.unproven += 1

    def _tell(
        self,
        place: Place,
        where: tuple[int, int, str],
        different: "Iterable[tuple[str, AttributeValue | None, AttributeValue | None]]",
    ) -> None:
        """One finding of an item: the first attribute that differs, and how many more do."""
        some = list(different)
        if not some:
            return
        name, expected, found = some[0]
        more = f" (and {len(some) - 1} more)" if len(some) > 1 else ""
        self._findings.add(
            Kind.DIFFERENT, place, *where, f"{name}{more}", said(expected), said(found) or "there is no such attribute"
        )


# ---- Values --------------------------------------------------------------------------------------------------------


def differences(expected: Item, found: Item, passed_over: Collection[str]) -> Iterator[_Different]:
    """(name, expected, found) of each attribute that differs by value; inside maps by its path."""
    for name in [*expected, *(name for name in found if name not in expected)]:
        if name not in passed_over:
            yield from _differences(name, expected.get(name), found.get(name))


def _differences(path: str, expected: AttributeValue | None, found: AttributeValue | None) -> Iterator[_Different]:
    if expected == found:
        return
    if expected is None or found is None:
        yield path, expected, found
    elif "M" in expected and "M" in found:
        inner: Mapping[str, AttributeValue] = expected["M"]
        other: Mapping[str, AttributeValue] = found["M"]
        for name in [*inner, *(name for name in other if name not in inner)]:
            yield from _differences(f"{path}.{name}", inner.get(name), other.get(name))
    elif "L" in expected and "L" in found and len(expected["L"]) == len(found["L"]):
        for index, (one, another) in enumerate(zip(expected["L"], found["L"], strict=True)):
            yield from _differences(f"{path}[{index}]", one, another)
    elif not ("N" in expected and "N" in found and _number(expected) == _number(found)):
        yield path, expected, found


def said(value: AttributeValue | None) -> str:
    """An attribute as JSON writes its value; "" for none. May be long: whoever shows it cuts it."""
    if value is None:
        return ""
    return orjson.dumps(_plain(value), default=lambda number: orjson.Fragment(str(number))).decode()


def _shown(item: Item) -> str:
    """What an item holds beside its key and who wrote it."""
    return said({"M": {name: value for name, value in item.items() if name not in _KNOWN}})


def _plain(value: AttributeValue) -> Any:
    match value:
        case {"M": members}:
            return {name: _plain(member) for name, member in members.items()}
        case {"L": members}:
            return [_plain(member) for member in members]
        case {"N": _}:
            return _number(value)
        case {"NULL": _}:
            return None
        case {"S": plain} | {"BOOL": plain}:
            return plain
        case _:
            return str(value)


def _number(value: AttributeValue) -> Decimal | None:
    """A number's exact value, however DynamoDB spells it: 100 and 1E+2 are one number."""
    try:
        return Decimal(value["N"])
    except InvalidOperation:
        return None


def _text(value: AttributeValue | None) -> str:
    return str(value.get("S", "")) if value else ""


def _uploaded_ms(item: Item) -> int | None:
    """When the file was uploaded that wrote a record; None for a rank that is none of ours."""
    try:
        return uploaded_ms_of(_text(item.get("rank")))
    except (IndexError, ValueError):
        return None


def _whole(value: AttributeValue | None) -> int | None:
    """A natural number; None for anything else."""
    number = _number(value) if value and "N" in value else None
    return int(number) if number is not None and number == int(number) >= 0 else None


def _change_of(item: Item, rank_text: str) -> UserChange | None:
    """The change a user record says it holds; None if it does not say so in full. Its value is left out."""
    address, index = _whole(item.get("address")), rank_text.rpartition("#")[2]
    time_ms = _whole(item.get("event_time_ts"))
    if address is None or not (index.isascii() and index.isdigit()) or (time_ms is None and "event_time_ts" in item):
        return None
    return UserChange(_text(item["user_id"]), _text(item["record"]), None, time_ms, address, int(index))
