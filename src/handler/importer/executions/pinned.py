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
    return Rules(execution.format, definition_of(execution), execution.created_ms, limits, execution.id)


def provenance_of(execution: Execution) -> Provenance:
    """What every row of it has in common."""
    source = execution.source
    return Provenance(
        execution.format,
        execution.document_import_id,
        execution.id,
        source.key,
        source.last_modified_ms,
        definition_of(execution).ranked,
    )
