"""A reading of any dialect → rows of this one, each telling by its shape what it is.

Rule: what a row cannot say exactly is lost and said to be; nothing is said that was not. Links and properties that an
activity says already (an address beside its hash, `$set_user_profile_properties`) are not said again, and an event
that would say more than the reading does is not written. Users of other dialects become user accounts, since nothing
tells what they are.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final, TypeAlias

import orjson

from importer import users
from importer.bad_rows import Reject
from importer.definitions import LATEST_TIME_MS, Definition
from importer.fields import SECONDS_BELOW, is_placeholder
from importer.formats.mediarithmics import activities, choices, identifiers, profiles
from importer.formats.mediarithmics.kinds import USER_ACCOUNT, USER_AGENT, USER_EMAIL
from importer.formats.mediarithmics.objects import MINUTE_MS, Fields, Terms
from importer.formats.reading import Lost, Reading, Written
from importer.formats.writing import Taken, of_change
from importer.model import Event, Row, UserChange, Value

_TERMS: Final = Terms.of(Definition(), 0)
_IDS: Final = ("user_account_id", "user_agent_id", "hash")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DEFAULTS: Final[Row] = {"$type": "TOUCH", "$session_status": "NO_SESSION"}  # as in the vendor's sample (D21)
_Said: TypeAlias = tuple[str, str, Value, bool, int | None]  # user, record, value, deleted, time


def written(reading: Reading) -> Written:
    """See `Format.written`."""
    taken = Taken(reading)
    left = _Left(reading.user_changes)
    people = {event.user_id: _known(event) for event in reversed(reading.events)}
    rows = [row for run in _runs(taken) if (row := _activity(run, taken, left))]
    rows += _commands(left.changes(), people, taken)
    return Written(rows, taken.lost)


class _Left:
    """The changes that nothing written says yet."""

    def __init__(self, changes: Sequence[UserChange]) -> None:
        self._changes = dict(enumerate(changes))
        self._places: dict[tuple[str, str, int | None], deque[int]] = {}
        for place, change in self._changes.items():
            if change.expires_ms is None:  # what an activity says of a person holds for ever
                self._places.setdefault((change.user_id, change.record, change.event_time_ts), deque()).append(place)

    def take(self, said: list[_Said]) -> bool:
        """Whether all these were among them; then they are not any more."""
        taken: list[tuple[deque[int], int]] = []
        for one in said:
            places = self._places.get((one[0], one[1], one[4]), deque())
            if not places or _said(self._changes[places[0]]) != one:
                for places, place in reversed(taken):
                    places.appendleft(place)
                return False
            taken.append((places, places.popleft()))
        for _, place in taken:
            del self._changes[place]
        return True

    def changes(self) -> list[UserChange]:
        """In the order of their times, which rows of commands do not have: there the later row wins."""
        return sorted(
            self._changes.values(),
            key=lambda change: LATEST_TIME_MS + 1 if change.event_time_ts is None else change.event_time_ts,
        )


def _said(change: UserChange) -> _Said:
    value = None if change.deleted else change.value
    return change.user_id, change.record, value, change.deleted, change.event_time_ts


def _time(time_ms: int) -> Value:
    """A time as it will be read again: a number as small as seconds would be refused."""
    if time_ms >= SECONDS_BELOW:
        return time_ms
    return (_EPOCH + timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds")


# ---- Who ------------------------------------------------------------------------------------------------------------


def _known(event: Event) -> Row:
    """The identifier an event stands under, by the names of `Event.identifiers`."""
    sent = event.identifiers or {}
    account, compartment = sent.get("user_account_id"), sent.get("compartment_id")
    if isinstance(account, str) and isinstance(compartment, str) and f"{compartment}:{account}" == event.user_id:
        return {"user_account_id": account, "compartment_id": compartment}
    for name in ("user_account_id", "user_agent_id", "email_hash", "email"):
        if sent.get(name) == event.user_id:
            known: Row = {name: event.user_id}
            email = sent.get("email")
            if name == "email_hash" and isinstance(email, str) and email:
                known["email"] = email
            return known
    return _account_or_agent(event.user_id)


def _account_or_agent(user_id: str) -> Row:
    return {"user_agent_id" if identifiers.AGENT.match(user_id) else "user_account_id": user_id}


def _in_command(user_id: str, people: dict[str, Row]) -> Row:
    known = people.get(user_id, {})
    names = [name for name in identifiers.IN_COMMAND if name in known]
    return {name: known[name] for name in names} if names else _account_or_agent(user_id)


def _command(operation: str, user_id: str, people: dict[str, Row]) -> Row:
    return {"operation": operation} | _in_command(user_id, people)


def _typed(user_id: str, people: dict[str, Row]) -> Row:
    who = _in_command(user_id, people)
    if "email_hash" in who:
        return {"type": USER_EMAIL, "hash": user_id}
    return {"type": USER_AGENT if "user_agent_id" in who else USER_ACCOUNT} | who


# ---- Activities -----------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Run:
    """Events of one activity: of one person and session, that live equally long. Their places in its row and its
    `$unique_key` are the vendor's identity of them."""

    events: list[Event]
    known: Row
    session: Row
    minutes: int

    @property
    def started_ms(self) -> int | None:
        started = self.session.get("$ts")
        return started if isinstance(started, int) else None


def _runs(taken: Taken) -> list[_Run]:
    runs: list[_Run] = []
    before: tuple[object, ...] | None = None
    for event in taken.reading.events:
        known = _known(event)
        if any(
            known.get(name) != value and value != event.user_id for name, value in (event.identifiers or {}).items()
        ):
            taken.lose(Lost.IDENTIFIERS)
        session = _session(event.session_properties or {}, known)
        if len(session) < len(event.session_properties or {}):
            taken.lose(Lost.SESSION_PROPERTIES)
        started = session.get("$ts")
        minutes = _minutes(event, started if isinstance(started, int) else event.event_time_ts, taken)
        if session.get("$ttl", 0) != minutes:
            if "$ttl" in session:
                taken.lose(Lost.SESSION_PROPERTIES)
            session["$ttl"] = minutes
        this = (event.user_id, event.identifiers, event.session_properties, minutes)
        if this == before:
            runs[-1].events.append(event)
        else:
            runs.append(_Run([event], known, session, minutes))
        before = this
    return runs


def _session(session: Row, known: Row) -> Row:
    """What an activity can carry of them."""
    fit: Row = {}
    for name, value in session.items():
        if name in identifiers.IN_ACTIVITY:
            carried = name == "$compartment_id" and "user_account_id" not in known and value not in (None, "")
        elif name == "$ts":
            carried = type(value) is int and 0 <= value <= LATEST_TIME_MS
        elif name in activities.CHECKED:
            carried = _is_taken(name, value)
        else:
            carried = bool(name) and name != "$events" and (name[0] != "$" or value not in (None, ""))
        if carried:
            fit[name] = value
    return fit


def _is_taken(name: str, value: Value) -> bool:
    try:
        activities.CHECKED[name](Fields({name: value}, activities.KNOWN, _TERMS))
    except Reject:
        return False
    return value is not None and value != ""


def _minutes(event: Event, base_ms: int, taken: Taken) -> int:
    """The time to live that ends when the event does; 0 is for ever."""
    if event.expires_ms is None:
        return 0
    minutes, rest = divmod(event.expires_ms - base_ms, MINUTE_MS)
    if rest or minutes <= 0 or event.expires_ms > LATEST_TIME_MS:
        taken.lose(Lost.EXPIRY)
        return 0
    return minutes


def _activity(run: _Run, taken: Taken, left: _Left) -> Row:
    """The row of a run; empty if none of its events can be written."""
    listed: list[Value] = []
    base_ms = run.started_ms
    for event in run.events:
        if not event.event_name:
            taken.lose(Lost.EVENT)
            continue
        properties = {name: value for name, value in event.properties.items() if name}
        if len(properties) < len(event.properties):
            taken.lose(Lost.PROPERTY_NAME)
        if event.event_name == activities.SET_PROFILE:
            user_id, time_ms = event.user_id, event.event_time_ts
            set_there = activities.profile_changes(properties, "")
            if not left.take([(user_id, record, value, gone, time_ms) for record, value, gone in set_there]):
                taken.lose(Lost.EVENT)  # written, it would set what was not set
                continue
        listed.append({"$event_name": event.event_name, "$ts": _time(event.event_time_ts), "$properties": properties})
        base_ms = event.event_time_ts if base_ms is None else base_ms
    if not listed:
        return {}
    row = _DEFAULTS | _in_activity(run, base_ms, taken, left) | run.session | {"$events": listed}
    if run.started_ms is not None:
        row["$ts"] = _time(run.started_ms)
    return row


def _in_activity(run: _Run, base_ms: int | None, taken: Taken, left: _Left) -> Row:
    known = run.known
    if "email_hash" not in known and "email" not in known:
        return {f"${name}": value for name, value in known.items()}
    hashed, email = known.get("email_hash"), known.get("email")
    inner: Row = {"$hash": hashed} if hashed else {}
    if isinstance(hashed, str) and isinstance(email, str) and email and identifiers.are_linked(hashed, email):
        links: list[_Said] = [
            (hashed, users.LINK + email, True, False, base_ms),
            (email, users.LINK + hashed, True, False, base_ms),
        ]
        if not left.take(links):
            taken.lose(Lost.IDENTIFIERS)  # written, it would link them
            email = None
    if email:
        inner["$email"] = email
    return {"$email_hash": inner}


# ---- Commands -------------------------------------------------------------------------------------------------------


def _commands(changes: list[UserChange], people: dict[str, Row], taken: Taken) -> Iterator[Row]:
    profiles_of = _Profiles(people)
    fields_of = _Choices(people)
    pairs: dict[tuple[str, str], int] = {}
    for change in changes:
        is_profile = change.record.startswith(users.PROPERTY)
        if not (is_profile and profiles_of.goes_on(change)):
            yield from profiles_of.ended()
        if not fields_of.goes_on(change):
            yield from fields_of.ended(taken)
        if change.expires_ms is not None and (change.deleted or not change.record.startswith(users.SEGMENT)):
            taken.lose(Lost.EXPIRY)
        if is_profile:
            lost = profiles_of.add(change)
            if lost is not None:
                taken.lose(lost)
            elif change.event_time_ts is not None:
                taken.lose(Lost.TIME)
        elif change.record.startswith(users.CONSENT) and len(users.path_of(change.record)) == 2:
            fields_of.add(change)
        elif _is_link(change):
            other = change.record.removeprefix(users.LINK)
            if pairs.get((other, change.user_id)):
                pairs[other, change.user_id] -= 1
                both = [_typed(other, people), _typed(change.user_id, people)]
                if any(is_placeholder(str(one[name])) for one in both for name in _IDS if name in one):
                    taken.lose(Lost.LINK)  # read again, it is refused
                    continue
                yield {"identifiers": list(both)}
                if change.event_time_ts is not None:
                    taken.lose(Lost.TIME)
            else:
                pairs[change.user_id, other] = pairs.get((change.user_id, other), 0) + 1
        else:
            row = _segment(change, people) or _choice(change, people)
            if not row:
                taken.lose(of_change(change))
            else:
                yield row
                if change.record.startswith(users.SEGMENT) and change.event_time_ts is not None:
                    taken.lose(Lost.TIME)
    yield from profiles_of.ended()
    yield from fields_of.ended(taken)
    if any(pairs.values()):
        taken.lose(Lost.LINK)


def _is_link(change: UserChange) -> bool:
    return (
        change.record.startswith(users.LINK)
        and change.record not in (users.LINK, users.LINK + change.user_id)
        and not change.deleted
        and change.value is True
    )


class _Profiles:
    """Rows of USER_PROFILE; changes of one person's whole properties that follow each other share one."""

    def __init__(self, people: dict[str, Row]) -> None:
        self._people = people
        self._user_id = ""
        self._row: Row = {}
        self._profile: Row = {}

    def goes_on(self, change: UserChange) -> bool:
        """Whether the row that is being made can say this too."""
        path = users.path_of(change.record)
        is_free = len(path) == 1 and path[0] not in self._profile and change.user_id == self._user_id
        return bool(self._row) and is_free and not (change.deleted and self._row["force_replace"])

    def ended(self) -> Iterator[Row]:
        if self._row:
            yield self._row
            self._row = {}

    def add(self, change: UserChange) -> Lost | None:
        """What is lost, if a row cannot say it."""
        path = users.path_of(change.record)
        value = None if change.deleted else change.value
        if users.property_record(*path) != change.record or (path and not path[0]):
            return of_change(change)
        if not path:
            if not change.deleted:
                return of_change(change)
            self._begin(change.user_id, force_replace=True)
            return None
        if value is None and not change.deleted:
            return Lost.NULL
        if len(path) == 1:
            if not self._row:
                self._begin(change.user_id, force_replace=False)
            self._profile[path[0]] = value
            return None
        if isinstance(value, dict) or len(change.record) > profiles.MOST_PATH:
            return of_change(change)  # merged in depth, an object is its values
        self._begin(change.user_id, force_replace=False)
        self._row["merge_objects"] = True
        inner = self._profile
        for name in path[:-1]:
            further: Row = {}
            inner[name] = further
            inner = further
        inner[path[-1]] = value
        self._user_id = ""  # complete
        return None

    def _begin(self, user_id: str, force_replace: bool) -> None:
        self._user_id = user_id
        self._profile = {}
        self._row = _command("UPSERT", user_id, self._people)
        self._row |= {"force_replace": force_replace, "user_profile": self._profile}


def _segment(change: UserChange, people: dict[str, Row]) -> Row:
    """The row of a change of a segment; empty if no row says it."""
    segment = change.record.removeprefix(users.SEGMENT)
    if not segment or segment == change.record:
        return {}
    row = _command("DELETE" if change.deleted else "UPDATE", change.user_id, people) | {"segment_id": segment}
    if change.deleted:
        return row
    row["expiration_duration"] = 0
    if change.expires_ms is not None:
        if not 0 < change.expires_ms <= LATEST_TIME_MS:
            return {}
        row["expiration_ts"] = _time(change.expires_ms)
    if not isinstance(change.value, dict):
        return {}
    for name, value in change.value.items():
        if name == "data_bag" and isinstance(value, dict):
            try:
                row[name] = orjson.dumps(value, default=_exact).decode()
            except orjson.JSONEncodeError:
                return {}
        elif name == "segment_technical_name" and isinstance(value, str) and value:
            row[name] = value
        else:
            return {}
    return row


def _exact(value: Value) -> orjson.Fragment:
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(str(value).encode())
    raise TypeError(f"no JSON for a {type(value).__name__}")


def _choice(change: UserChange, people: dict[str, Row]) -> Row:
    """The row of a consent as a whole; empty if no row says it."""
    path = users.path_of(change.record)
    if not change.record.startswith(users.CONSENT) or len(path) != 1:
        return {}
    choice: Row = {"$processing_id": path[0]}
    row = _command("DELETE" if change.deleted else "UPSERT", change.user_id, people) | {"user_choice": choice}
    if change.deleted:
        choice |= {} if change.event_time_ts is None else {"$choice_ts": _time(change.event_time_ts)}
    elif isinstance(change.value, dict) and "$processing_id" not in change.value:
        row["force_replace"] = True
        choice |= change.value
    else:
        return {}
    return row if _says(row, [change]) else {}


class _Choices:
    """Rows of USER_CHOICE that add fields to a consent: those of one time that follow each other share one, because
    its `$choice_ts` is a field too."""

    def __init__(self, people: dict[str, Row]) -> None:
        self._people = people
        self._changes: list[UserChange] = []
        self._records: set[str] = set()

    def goes_on(self, change: UserChange) -> bool:
        path = users.path_of(change.record)
        return (
            bool(self._changes)
            and change.record.startswith(users.CONSENT)
            and len(path) == 2
            and self._key(change) == self._key(self._changes[-1])
            and change.record not in self._records
        )

    @staticmethod
    def _key(change: UserChange) -> tuple[str, str, int | None]:
        return change.user_id, users.path_of(change.record)[0], change.event_time_ts

    def add(self, change: UserChange) -> None:
        self._changes.append(change)
        self._records.add(change.record)

    def ended(self, taken: Taken) -> Iterator[Row]:
        changes, self._changes, self._records = self._changes, [], set()
        if not changes:
            return
        choice: Row = {"$processing_id": users.path_of(changes[0].record)[0]}
        for change in changes:
            choice[users.path_of(change.record)[1]] = None if change.deleted else change.value
        row = _command("UPSERT", changes[0].user_id, self._people) | {"force_replace": False, "user_choice": choice}
        if _says(row, changes):
            yield row
        else:
            taken.lose(Lost.CONSENT)


def _says(row: Row, changes: list[UserChange]) -> bool:
    """Whether a choice, read again, is these changes."""
    choice = row["user_choice"]
    assert isinstance(choice, dict)
    try:
        again = choices.reading(row | {"user_choice": dict(choice)}, b"", 0, _TERMS)
    except Reject:
        return False
    return list(map(_said, again.user_changes)) == list(map(_said, changes))
