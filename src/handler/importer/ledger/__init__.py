"""Ledger: what an execution left behind, counted once more by whoever doubts it.

verify     the archived object walks through `batches` again; store, errors/, reasons and papers must agree
stores     an item of the tables against the row it must come from
papers     errors/ and its reasons against the bad rows they must hold
verdict    what was found, as values
ports      what it needs of the world

undo       takes out again what an execution wrote: the one that writes, on condition that nobody else has
former     what others would have left under its keys, played again
written    what an execution wrote: its object walked again
"""

from importer.ledger.ports import Books, Stored
from importer.ledger.verdict import Finding, Kind, Place, Verdict
from importer.ledger.verify import CannotRecount, verify

__all__ = ["Books", "CannotRecount", "Finding", "Kind", "Place", "Stored", "Verdict", "verify"]
