"""USER_PROFILE: properties of a person, as a whole or one by one (D25).

What is done, of the older fields and the newer one; records hold in the order of their ranks, each of them replacing
what stands at its path:

    force_replace true · FORCE_REPLACE     the whole profile goes, then each property as sent
    force_replace false                    each property as sent, whole
      and merge_objects true               each value inside the objects, at its path; arrays are values
    PARTIAL_UPDATE                         the same
    PARTIAL_DELETE                         what stands at each of these paths goes, whatever it is
    DELETE                                 the whole profile goes

Order of checks: operation, identifier, what to do, user_profile, other fields, then what is in the profile.
"""

from collections.abc import Iterator
from typing import Final

from importer import users
from importer.bad_rows import Reason, Reject
from importer.formats.mediarithmics import identifiers
from importer.formats.mediarithmics.activities import profile_changes
from importer.formats.mediarithmics.objects import Changes, Fields, Terms
from importer.formats.reading import Reading
from importer.model import Row, Value

PARTIAL_UPDATE: Final = "PARTIAL_UPDATE"
PARTIAL_DELETE: Final = "PARTIAL_DELETE"
FORCE_REPLACE: Final = "FORCE_REPLACE"
_MERGE: Final = "force_replace false"
_DEEP_MERGE: Final = "merge_objects true"
_STRATEGIES: Final = (PARTIAL_UPDATE, PARTIAL_DELETE, FORCE_REPLACE)
_KNOWN: Final = (
    "operation",
    *identifiers.IN_COMMAND,
    "force_replace",
    "merge_objects",
    "update_strategy",
    "user_profile",
)
# The users table's sort key, and the stream's limit for a row: paths repeat the names they go through, so a row of a
# few MiB, its properties far down, would become gigabytes of them.
MOST_PATH: Final = 1_024
MOST_PATHS: Final = 64 << 20


def reading(row: Row, text: bytes, address: int, terms: Terms) -> Reading:
    """What a command says of a person's profile.

    Raises:
        Reject: what is wrong with it.
    """
    fields = Fields(row, _KNOWN, terms)
    operation = fields.one_of("operation", ("UPSERT", "DELETE"))
    who = identifiers.of_command(fields)
    changes = Changes(address)
    if operation == "DELETE":
        _refuse_doubtful_deletion(fields)
        fields.refuse_others()
        changes.add(who.user_id, users.property_record(), deleted=True)
        return Reading([], changes.made, who.notes)
    strategy = _strategy(fields)
    profile = fields.object("user_profile")
    fields.refuse_others()
    if strategy == FORCE_REPLACE:
        changes.add(who.user_id, users.property_record(), deleted=True)
    for record, value, deleted in _changes(profile, strategy):
        if not deleted or strategy != FORCE_REPLACE:  # with the whole profile it is gone already
            changes.add(who.user_id, record, value, deleted=deleted)
    if not changes.made:
        raise Reject(
            Reason.NOTHING_TO_RECORD,
            field="user_profile",
            expected="at least one property",
            found="no value in it",
            hint="to take the whole profile away say DELETE, or FORCE_REPLACE with an empty user_profile",
        )
    return Reading([], changes.made, who.notes)


def _refuse_doubtful_deletion(fields: Fields) -> None:
    """DELETE takes all of a profile; a row that names properties beside it may have meant those alone."""
    hint = "to take single properties away say UPSERT with update_strategy PARTIAL_DELETE; DELETE takes the whole "
    hint += "profile, and needs no user_profile"
    if fields.get("user_profile") not in (None, {}):
        raise Reject(
            Reason.AMBIGUOUS_COMMAND, field="user_profile", expected="no user_profile beside DELETE", hint=hint
        )
    if fields.get("update_strategy") == PARTIAL_DELETE:
        raise Reject(
            Reason.AMBIGUOUS_COMMAND,
            field="update_strategy",
            expected="UPSERT beside PARTIAL_DELETE",
            found="DELETE",
            hint=hint,
        )


def _strategy(fields: Fields) -> str:
    """What an UPSERT does. The newer field decides; the older one beside it must not say otherwise."""
    replaces = fields.flag("force_replace")
    deep = fields.flag("merge_objects")
    if fields.get("update_strategy") is None:
        if replaces is None:
            raise fields.missing(
                "force_replace",
                "true or false",
                "or update_strategy: one of the two says whether the profile is replaced or added to",
            )
        return FORCE_REPLACE if replaces else _DEEP_MERGE if deep else _MERGE
    strategy = fields.one_of("update_strategy", _STRATEGIES)
    if replaces is not None and replaces != (strategy == FORCE_REPLACE):
        raise Reject(
            Reason.AMBIGUOUS_COMMAND,
            field="force_replace",
            expected=f"{str(not replaces).lower()}, as {strategy} says",
            found=str(replaces).lower(),
            hint="keep one of force_replace and update_strategy",
        )
    if deep is False and strategy == PARTIAL_UPDATE:
        raise Reject(
            Reason.AMBIGUOUS_COMMAND,
            field="merge_objects",
            expected=f"no merge_objects beside {strategy}, which goes into objects",
            found="false",
            hint="to replace objects say force_replace false without update_strategy",
        )
    return strategy


def _changes(profile: Row, strategy: str) -> Iterator[tuple[str, Value, bool]]:
    """(record, value, deleted) of what an UPSERT says; no two of them are about one place."""
    if strategy in (FORCE_REPLACE, _MERGE):
        yield from profile_changes(profile, "user_profile")
        return
    if "" in profile:
        raise Reject(Reason.BAD_NAME, field="user_profile", expected="a non-empty name", found='""')
    for path, record, value in _leaves(profile):
        if strategy != _DEEP_MERGE:
            _refuse_doubtful(path, value, strategy)
        if strategy == PARTIAL_DELETE:
            yield record, None, True
        elif value != {}:  # an empty object merged into another changes nothing
            yield record, value, value is None


def _leaves(profile: Row) -> Iterator[tuple[tuple[str, ...], str, Value]]:
    """(path, record, value) of what is no object, or an empty one."""
    total = 0
    todo: list[tuple[tuple[str, ...], Row]] = [((), profile)]
    while todo:
        path, members = todo.pop()
        inner: list[tuple[tuple[str, ...], Row]] = []
        for name, value in members.items():
            place = (*path, name)
            record = users.property_record(*place)
            total += len(record)
            if len(record) > MOST_PATH:
                raise Reject(
                    Reason.TOO_LONG,
                    field=_shown(place),
                    expected=f"a path of at most {MOST_PATH} characters",
                    hint="replace the object as a whole: force_replace false without merge_objects",
                )
            if total > MOST_PATHS:
                raise Reject(
                    Reason.TOO_MANY_PROPERTIES,
                    field="user_profile",
                    expected=f"paths of at most {MOST_PATHS} characters in all",
                    hint="send the properties in several rows, or objects as a whole: force_replace false without "
                    "merge_objects",
                )
            if isinstance(value, dict) and value:
                inner.append((place, value))
            else:
                yield place, record, value
        todo += reversed(inner)


def _refuse_doubtful(path: tuple[str, ...], value: Value, strategy: str) -> None:
    """The vendor gives both partial strategies a meaning of their own for elements of arrays of objects, which could
    not be read; nor is it said what is taken away by naming an array, or an object with nothing in it."""
    if strategy == PARTIAL_DELETE and isinstance(value, list | dict):
        raise Reject(
            Reason.AMBIGUOUS_COMMAND,
            field=_shown(path),
            expected="null, or an object with what is to be taken away",
            found="an empty object" if value == {} else "array",
            hint="write null: it takes away whatever stands there",
        )
    if isinstance(value, list) and any(isinstance(element, dict) for element in value):
        raise Reject(
            Reason.AMBIGUOUS_COMMAND,
            field=_shown(path),
            expected=f"no array of objects beside {strategy}",
            found="array",
            hint="to replace the array say force_replace false without update_strategy",
        )


def _shown(path: tuple[str, ...]) -> str:
    return ".".join(("user_profile", *path))
