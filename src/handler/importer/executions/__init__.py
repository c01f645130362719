"""9 · Executions: the only room with effects, and their order.

`importing.import_dropped` is the whole of one delivery: start → advance → settle. Each step may be killed anywhere and
delivered again, or be done by two workers at once, and the books still balance:

    start     HEAD, then the execution, once per object version
    advance   claim → for each batch: sink, segment, progress → part done
    settle    sums fixed → errors and reasons joined → receipt → copy → verified → source deleted → SUCCEEDED

`waiting.files_waiting` is the sweep: it looks for files that no delivery has brought to an end, and changes nothing.
"""

from importer.executions.importing import import_dropped
from importer.executions.ports import Workplace
from importer.executions.waiting import files_waiting

__all__ = ["Workplace", "files_waiting", "import_dropped"]
