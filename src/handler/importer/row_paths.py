"""Where in a row, as it was sent, a value stands that a destination cannot hold (pure).

Rule: a limit of a destination knows what was made of a row, not the row: it says *what* is too much (`Reject.about`),
and here that is looked for among the row's members, in the order of the row. The path is written as the dialects write
theirs: `visitor.id`, `actions[1].properties.total`. Runs for refused rows only, in linear time.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Final, NamedTuple

from importer.bad_rows import Reason, Reject
from importer.model import Row, Value

_DEEP: Final = 24  # levels: a value is looked at as too deep from here on; what is around it has some of the 32, too
_LONG: Final = 500  # characters of a text that is known by being a part of another
_LONGEST_PREFIX: Final = 5  # `{u}`, `Prop:`


class _Step(NamedTuple):
    """The way to a member: to what it is in, and its name or index there."""

    before: "_Step | None"
    name: str | int


def placed(reject: Reject, row: Row) -> Reject:
    """The reject with the path of what it is about; itself, where that does not stand in the row."""
    about = reject.about
    if about is None:
        return reject
    step = _deep(row, about) if reject.reason == Reason.TOO_DEEP else _equal(row, about)
    return reject if step is None else reject.at(_written(step))


def _equal(row: Row, about: Value) -> _Step | None:
    """A value like this; else a part of it; else a name."""
    part: _Step | None = None
    name: _Step | None = None
    for step, key, value in _members(row):
        if isinstance(about, str):
            if value == about:
                return step
            if part is None and isinstance(value, str) and len(value) >= _LONG:
                part = step if about.endswith(f":{value}") or about.startswith(f"{value}:") else None
            if name is None and key.endswith(about) and len(key) <= len(about) + _LONGEST_PREFIX:
                name = step
        elif isinstance(value, float | Decimal) and type(value) is type(about) and value == about:
            return step
    return part or name


def _deep(row: Row, about: Value) -> _Step | None:
    """A member of this name that nests too deeply; else any that does."""
    other: _Step | None = None
    for step, key, value in _members(row):
        if isinstance(value, dict | list):
            if about and key == about and _is_deep(value):
                return step
            if other is None and step.before is None and _is_deep(value):
                other = step
    return other


def _is_deep(value: Value) -> bool:
    level = [value]
    for _ in range(_DEEP):
        level = [
            inner
            for member in level
            for inner in (member.values() if isinstance(member, dict) else member if isinstance(member, list) else ())
            if isinstance(inner, dict | list)
        ]
    return bool(level)


def _members(row: Row) -> Iterator[tuple[_Step, str, Value]]:
    """(step, name, value) of each member, before what is inside it; elements of an array have no name."""
    todo: list[tuple[_Step | None, Value]] = [(None, row)]
    while todo:
        step, value = todo.pop()
        if step is not None:
            yield step, step.name if isinstance(step.name, str) else "", value
        if isinstance(value, dict):
            todo += [(_Step(step, name), member) for name, member in reversed(value.items())]
        elif isinstance(value, list):
            todo += [(_Step(step, index), value[index]) for index in range(len(value) - 1, -1, -1)]


def _written(step: _Step | None) -> str:
    names: list[str | int] = []
    while step is not None:
        names.append(step.name)
        step = step.before
    return "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in reversed(names))[1:]
