"""Cancel and redrive: what a person decides about an execution."""

from importer.executions.importing import send_on
from importer.executions.ports import Workplace
from importer.executions.settling import SEGMENTS_KEPT_MS, close_failed
from importer.model import Execution, Fenced, Phase, Status, TimeIsUp, Unavailable


def cancel(place: Workplace, execution_id: str) -> Execution:
    """End an execution that is still being imported, and take every part from its worker. Rows written stay.

    Returns:
        The execution as it then is: CANCELED; or as it was, if it had ended or all its rows had been read.
    Raises:
        Unavailable: say so, and cancel again; also if there is no such execution.
    """
    execution = place.records.cancel(_known(place, execution_id))
    if execution.status is Status.CANCELED and execution.phase is Phase.CLOSING:
        try:
            return close_failed(place, execution)
        except Fenced:
            pass  # another worker closes it
        except TimeIsUp:
            send_on(place, execution)
        return _known(place, execution_id)
    return execution


def cancel_soon(place: Workplace, execution_id: str) -> Execution:
    """As `cancel`, but a worker closes it: for who may change the books and send tasks, and touch no file.

    Returns:
        The execution as it then is: CANCELED, its receipt still to come; or as it was, if it had ended or all its rows
        had been read.
    Raises:
        Unavailable: say so, and cancel again; also if there is no such execution.
    """
    execution = place.records.cancel(_known(place, execution_id))
    if execution.status is Status.CANCELED and execution.phase is Phase.CLOSING:
        send_on(place, execution)
    return execution


def redrive(place: Workplace, execution_id: str) -> Execution:
    """Take a FAILED execution up again where it stands, once its cause is mended, as the next attempt.

    It begins with its first byte again where the bad rows found so far may be gone from work/.

    Returns:
        The execution as it then is: PENDING, its tasks sent; or as it was, if it is not FAILED (and closed).
    Raises:
        Unavailable: say so, and redrive again; also if there is no such execution.
    """
    execution = _known(place, execution_id)
    if execution.status is Status.FAILED and execution.phase is Phase.CLOSED:
        too_old = place.clock.now_ms() - execution.created_ms > SEGMENTS_KEPT_MS
        execution = place.records.redrive(execution, start_over=too_old)
    if execution.status is Status.PENDING:
        send_on(place, execution)
    return execution


def _known(place: Workplace, execution_id: str) -> Execution:
    execution = place.records.execution(execution_id)
    if execution is None:
        raise Unavailable(f"there is no execution {execution_id} in the imports table")
    return execution
