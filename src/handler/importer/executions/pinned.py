"""What an execution has pinned, as the core and the sinks take it: whoever reads its rows reads them like this."""

from importer.batches import Rules
from importer.definitions import Definition
from importer.model import Execution, Provenance
from importer.sinks import SINKS


def definition_of(execution: Execution) -> Definition:
    """The definition it began with. Raises Misconfigured: somebody has changed it."""
    return Definition.of(execution.definition)


def rules_of(execution: Execution) -> Rules:
    """Everything but its bytes that decides what its rows become."""
    limits = tuple(SINKS[name] for name in execution.sinks)
    # A replay reads what was uploaded then as of then: a window of time before "now" takes the same rows, and an event
    # known by the place it was read from is the same one.
    first = execution.upload
    return Rules(execution.format, definition_of(execution), first.created_ms, limits, first.execution_id)


def provenance_of(execution: Execution) -> Provenance:
    """What every row of it has in common."""
    upload = execution.upload
    # Behind the first reading and its replays before ("+" sorts behind the "#" that follows an id alone), and before
    # everything that is uploaded later: a replay says no more than its upload said, under other settings perhaps.
    replay = f"{upload.execution_id}+{execution.created_ms:013d}{execution.id}"
    return Provenance(
        execution.format,
        execution.document_import_id,
        execution.id,
        upload.key,
        upload.uploaded_ms,
        definition_of(execution).ranked,
        replay if execution.replayed else "",
    )
