"""USER_CHOICE: what a person consents to, for one processing of their data (D26).

Order of checks: operation, identifier, force_replace, user_choice, its `$processing_id`, `$choice_ts` and
`$choice_acceptance_value`, other fields.
"""

from typing import Final

from importer import users
from importer.bad_rows import Reason, Reject
from importer.formats.mediarithmics import identifiers
from importer.formats.mediarithmics.objects import Changes, Fields, Terms
from importer.formats.reading import Reading
from importer.model import Row

_KNOWN: Final = ("operation", *identifiers.IN_COMMAND, "force_replace", "user_choice")
_OF_CHOICE: Final = ("$processing_id", "$choice_ts", "$choice_acceptance_value")
TIME_EXPECTED: Final = "milliseconds since 1970 UTC"


def reading(row: Row, text: bytes, address: int, terms: Terms) -> Reading:
    """What a command says of a person's choice.

    Raises:
        Reject: what is wrong with it.
    """
    fields = Fields(row, _KNOWN, terms)
    operation = fields.one_of("operation", ("UPSERT", "DELETE"))
    who = identifiers.of_command(fields)
    replaces = fields.flag("force_replace")
    if replaces is None and operation == "UPSERT":
        raise fields.missing(
            "force_replace", "true or false", "it says whether the choice is replaced or its fields added to it"
        )
    choice = fields.object("user_choice")
    inner = Fields(choice, _OF_CHOICE, terms, "user_choice.")
    processing = inner.text("$processing_id")
    time_ms = inner.time_ms("$choice_ts")
    if time_ms is None and operation == "UPSERT":
        raise inner.missing("$choice_ts", TIME_EXPECTED)
    inner.flag("$choice_acceptance_value")  # the text "false" would pass for consent
    if "" in choice:
        raise Reject(Reason.BAD_NAME, field="user_choice", expected="a non-empty name", found='""')
    fields.refuse_others()
    del choice["$processing_id"]
    changes = Changes(address)
    if operation == "DELETE":
        changes.add(who.user_id, users.consent_record(processing), time_ms=time_ms, deleted=True)
    elif replaces:
        changes.add(who.user_id, users.consent_record(processing), choice, time_ms)
    else:
        for name, value in choice.items():
            changes.add(who.user_id, users.consent_record(processing, name), value, time_ms, deleted=value is None)
    return Reading([], changes.made, who.notes)
