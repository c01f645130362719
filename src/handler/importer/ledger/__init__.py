"""Ledger: what an execution left behind, counted once more by whoever doubts it.

    verify     the archived object walks through `batches` again; store, errors/, reasons and papers must agree
    stores     an item of the tables against the row it must come from
    papers     errors/ and its reasons against the bad rows they must hold
    verdict    what was found, as values
    ports      what it needs of the world
    forgetting a person, out of the tables and every object: the only one that writes. `searching` finds their rows,
               `traces` says what speaks of them, `erasures` are the papers by which verify counts what is blank

All but `forgetting` only reads.
"""

from importer.ledger.ports import Books, Stored
from importer.ledger.verdict import Finding, Kind, Place, Verdict
from importer.ledger.verify import CannotRecount, verify

__all__ = ["Books", "CannotRecount", "Finding", "Kind", "Place", "Stored", "Verdict", "verify"]
