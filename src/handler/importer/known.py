"""What names a store holds, as far as somebody looked (pure): what a preview calls new, or a clash, is so beside this.

There is no index of names: it would have to be written with every event. So a sample says what is known, and a name
that is not in it is new only as far as the sample goes. `whole` says that the sample was all there is.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

NULL = "null"  # no type of its own: a column takes it beside any other


class Where(StrEnum):
    """Where a name stands."""

    EVENTS = "events"
    PROPERTIES = "properties"
    SESSION_PROPERTIES = "session_properties"
    USER_PROPERTIES = "user_properties"


@dataclass(slots=True)
class Looked:
    """How many items of a table were looked at, and whether they are all it holds."""

    items: int = 0
    whole: bool = True


@dataclass(slots=True)
class Known:
    """Names, and the JSON types of the values under each."""

    events: Looked = field(default_factory=Looked)
    user_records: Looked = field(default_factory=Looked)
    event_names: set[str] = field(default_factory=set)
    types: dict[Where, dict[str, set[str]]] = field(default_factory=dict)

    def add(self, where: Where, name: str, kind: str) -> None:
        """A value of this type stands there under this name."""
        self.types.setdefault(where, {}).setdefault(name, set()).add(kind)

    def is_new(self, where: Where, name: str) -> bool:
        return name not in (self.event_names if where is Where.EVENTS else self.types.get(where, {}))

    def types_of(self, where: Where, name: str) -> tuple[str, ...]:
        """In alphabetical order."""
        return tuple(sorted(self.types.get(where, {}).get(name, ())))

    def clashes(self, where: Where, name: str, types: Iterable[str]) -> bool:
        """Whether values of these types do not go with those that are there."""
        there = self.types.get(where, {}).get(name, set()) - {NULL}
        return bool(there) and not set(types) - {NULL} <= there

    def looked_at(self, where: Where) -> Looked:
        """The items a name of this kind would be found in."""
        return self.user_records if where is Where.USER_PROPERTIES else self.events


def clash_within(types: Mapping[str, object]) -> bool:
    """Whether values of one property have several types: a table of columns could not hold them."""
    return len(set(types) - {NULL}) > 1
