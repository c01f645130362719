"""Ledger: what an execution left behind, looked at once more by whoever doubts it.

    verify     the archived object walks through `batches` again; store, errors/, reasons and papers must agree
    stores     an item of the tables against the row it must come from
    papers     errors/ and its reasons against the bad rows they must hold
    verdict    what was found, as values
    why        one row: where it went, by which rule; or from which row an item came
    row_places one row by its line or a byte, reading as little as can be; and where it lies in errors/
    rulebook   which rule refuses a row, and where that stands
    replaying  what a replay under other settings would change
    ports      what it needs of the world
    undo       takes out again what an execution wrote. `written` walks its object, `former` plays the others' again
    forgetting a person, out of the tables and every object. `searching` finds their rows,
               `traces` says what speaks of them, `erasures` are the papers by which verify counts what is blank

All but `undo` and `forgetting` only read.
"""

from importer.ledger.ports import Books, Kept, Stored
from importer.ledger.verdict import Finding, Kind, Place, Verdict
from importer.ledger.verify import CannotRecount, verify

__all__ = ["Books", "CannotRecount", "Finding", "Kept", "Kind", "Place", "Stored", "Verdict", "verify"]
