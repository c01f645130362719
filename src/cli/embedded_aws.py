"""ministack with five faults of it mended. The twin's own Python runs this file; nothing imports it.

All are of ministack 1.5.33, and tests/e2e shows that they are mended. When it works with `-m ministack` in this file's
place, the file can go.

1. Asked for a range of a named version, it answers 200 and the whole object. Readers bear that, as they look at the
   status; but each part of a large file would be sent all of it. S3 answers 206 and the range.
2. CloudFormation's parameters are text. It keeps the text as a queue's MaximumConcurrency, and compares a number with
   it: no message is ever delivered.
3. It asks for the permission sqs:SendMessageBatch. There is no such permission: IAM's is sqs:SendMessage.
4. A worker that dies while it starts takes all workers of its function with it, busy or not. On AWS each dies alone.
5. It keeps every record of a stream for ever, as base64, beside the object that it has made of it at once: a file of
   some GB would not fit into the machine's memory.
"""

import sys
from typing import Any

from ministack.app import main  # type: ignore[import-not-found]
from ministack.core import iam_actions, lambda_runtime  # type: ignore[import-not-found]
from ministack.services import firehose, lambda_svc, s3  # type: ignore[import-not-found]

Answer = tuple[int, dict[str, str], bytes]

_get_object_or_whole_version = s3._get_object
_sqs_esm_concurrency_of_numbers = lambda_svc._sqs_esm_concurrency
_operation_as_permission = iam_actions.extract_iam_action
_invalidate_all_workers = lambda_svc.invalidate_worker
_put_and_kept_record_batch = firehose._put_record_batch


def _get_object(
    bucket_name: str, key: str, headers: dict[str, str], query_params: dict[str, Any] | None = None
) -> Answer:
    if "range" not in headers or "versionId" not in (query_params or {}):
        answer: Answer = _get_object_or_whole_version(bucket_name, key, headers, query_params)
        return answer
    # The checksum of a whole object says nothing of a range of it, and the SDK would compare the two.
    plain = {name: value for name, value in headers.items() if name not in ("range", "x-amz-checksum-mode")}
    status, said, body = _get_object_or_whole_version(bucket_name, key, plain, query_params)
    if status != 200:
        return status, said, body
    if (interval := s3._parse_range(headers["range"], len(body))) is None:
        problem = {"Content-Type": "application/xml", "Content-Range": f"bytes */{len(body)}"}
        return 416, problem, s3._xml_body(s3._range_error_xml(bucket_name, key))
    start, last = interval
    ranged = {"Content-Range": f"bytes {start}-{last}/{len(body)}", "Content-Length": str(last + 1 - start)}
    return 206, {**said, **ranged}, body[start : last + 1]


def _sqs_esm_concurrency(esm: dict[str, Any], *more: Any) -> Any:
    scaling = {name: int(number) for name, number in (esm.get("ScalingConfig") or {}).items()}
    return _sqs_esm_concurrency_of_numbers({**esm, "ScalingConfig": scaling}, *more)


def _extract_iam_action(*request: Any) -> str | None:
    action: str | None = _operation_as_permission(*request)
    return action.removesuffix("Batch") if action and action.startswith("sqs:") else action


def _invalidate_worker(function: str, **which: Any) -> None:
    if sys.exc_info()[0] is None:  # deployed anew, or deleted
        _invalidate_all_workers(function, **which)
        return
    with lambda_runtime._lock:
        pools = [workers for key, workers in lambda_runtime._workers.items() if function in key.split(":")]
        dead = [worker for workers in pools for worker in workers if _is_dead(worker)]
        for workers in pools:
            workers[:] = [worker for worker in workers if worker not in dead]
    lambda_runtime.kill_workers(dead)


def _is_dead(worker: Any) -> bool:
    """Its process has ended, and nobody is starting it again: that is done under its lock."""
    if not worker._lock.acquire(blocking=False):
        return False
    try:
        return worker._proc is not None and worker._proc.poll() is not None
    finally:
        worker._lock.release()


def _put_record_batch(batch: dict[str, Any]) -> Answer:
    answer: Answer = _put_and_kept_record_batch(batch)
    stream = firehose._streams.get(batch.get("DeliveryStreamName", "")) or {"destinations": []}
    for destination in stream["destinations"]:
        if destination["type"] in ("ExtendedS3", "S3"):
            destination["records"].clear()
    return answer


s3._get_object = _get_object
firehose._HANDLERS["PutRecordBatch"] = _put_record_batch
lambda_svc.invalidate_worker = _invalidate_worker
lambda_svc._sqs_esm_concurrency = _sqs_esm_concurrency
iam_actions.extract_iam_action = _extract_iam_action

if __name__ == "__main__":
    main()
