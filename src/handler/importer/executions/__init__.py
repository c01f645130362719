"""9 · Executions: the only room with effects, and their order.

    start     HEAD, then the execution, once per object version; a large object is cut into parts
    advance   claim → for each batch: sink, segment, progress → part done; time up: the rest is handed on
    settle    sums fixed → errors and reasons joined → receipt → copy → verified → source deleted → SUCCEEDED

A delivery of a notification is `import_dropped`, a delivery of a task `work_on`. Each step may be killed anywhere and
delivered again, or be done by several workers at once, and the books still balance. What was lost on the way is found
by `sweep_unfinished` and `sweep_waiting`. `cancel`, `redrive` and `replay` are a person's.
"""

from importer.executions.destinations import result_names
from importer.executions.ending import cancel, cancel_soon, redrive
from importer.executions.importing import deliver, import_dropped, work_on
from importer.executions.ports import Workplace
from importer.executions.replaying import OtherReplay, archive_of, replay, replay_of
from importer.executions.starting import execution_id_of, start
from importer.executions.sweeping import sweep_unfinished, sweep_waiting
from importer.executions.waiting import files_waiting

__all__ = [
    "OtherReplay",
    "Workplace",
    "archive_of",
    "cancel",
    "cancel_soon",
    "deliver",
    "execution_id_of",
    "files_waiting",
    "import_dropped",
    "redrive",
    "replay",
    "replay_of",
    "result_names",
    "start",
    "sweep_unfinished",
    "sweep_waiting",
    "work_on",
]
