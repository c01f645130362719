"""Where the four objects of an execution go (pure): one stem for all of them, claimed once a day."""

import hashlib
from datetime import UTC, datetime
from typing import Final

from importer.model import Destination, Execution
from importer.notification import IMPORTS_PREFIX

COMPRESSED: Final = (".gz", ".zst")
REASONS_SUFFIX: Final = ".reasons.ndjson"
KEY_BYTES: Final = 1_024  # Quota: docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
_LONGEST_ADDED: Final = len("completed_imports/YYYY/MM/DD/") + len(REASONS_SUFFIX) + 33  # 33: "." and an execution id


def day_of(execution: Execution) -> str:
    """`YYYY/MM/DD` in UTC, of the execution's creation: recomputed at any later time it is the same (H8)."""
    return datetime.fromtimestamp(execution.created_ms / 1000, UTC).strftime("%Y/%m/%d")


def stem_of(execution: Execution) -> str:
    """The file's path below `imports/`, shortened where what is put around it would make a key too long (A12)."""
    path = execution.upload.key.removeprefix(IMPORTS_PREFIX)
    encoded = path.encode()
    most = KEY_BYTES - _LONGEST_ADDED
    if len(encoded) <= most:
        return path
    digest = hashlib.blake2b(encoded, digest_size=8).hexdigest()
    base, suffix = _split(path)
    if len(suffix.encode()) > 32:
        base, suffix = path, ""
    kept = base.encode()[: most - len(digest) - 1 - len(suffix.encode())].decode(errors="ignore")
    return f"{kept}~{digest}{suffix}"


def claimed_name(execution: Execution) -> str:
    """What is claimed for the day: one name for all files whose objects could meet.

    `a.json` and `a.json.gz` have the same errors file, and the errors of a file named `a.json.reasons.ndjson` would lie
    where the reasons of `a.json` lie.
    """
    return _claimed(stem_of(execution))


def result_names(path: str) -> tuple[str, ...]:
    """Names under which an object may have been claimed that lies at this path below the day, in any of the folders."""
    return tuple(dict.fromkeys((_claimed(path), _claimed(path.removesuffix(".json")))))


def _claimed(stem: str) -> str:
    name = without_compression(stem)
    while name.endswith(REASONS_SUFFIX):
        name = without_compression(name.removesuffix(REASONS_SUFFIX))
    return name


def replay_name(execution: Execution) -> str:
    """What a replay claims for the day: the stem that has its id in it, which a mended file may be dropped under."""
    return _claimed(_with_id(execution))


def destination(execution: Execution, stem_is_free: bool) -> Destination:
    """The four keys. Where the day's name is another execution's, this one's id goes before the suffix, in all four.

    A replay's source lies where it is to lie, and its papers have its id in any case.
    """
    day = day_of(execution)
    stem = stem_of(execution) if stem_is_free and not execution.replayed else _with_id(execution)
    plain = without_compression(stem)
    return Destination(
        completed=execution.source.key if execution.replayed else f"completed_imports/{day}/{stem}",
        errors=f"errors/{day}/{plain}",
        reasons=f"errors/{day}/{plain}{REASONS_SUFFIX}",
        receipt=f"receipts/{day}/{stem}.json",
    )


def _with_id(execution: Execution) -> str:
    base, suffix = _split(stem_of(execution))
    return f"{base}.{execution.id}{suffix}"


def without_compression(name: str) -> str:
    """A file name or stem without the one ending that says it is compressed, however it is spelt."""
    return name[: len(name) - len(_compressed_ending(name))]


def _compressed_ending(name: str) -> str:
    """`.gz` or `.zst` as the name spells it; "" if it has neither."""
    return next((name[-len(ending) :] for ending in COMPRESSED if name.lower().endswith(ending)), "")


def _split(path: str) -> tuple[str, str]:
    """(base, suffix) of a path; `.json.gz` is one suffix."""
    ending = _compressed_ending(path)
    folder, slash, name = path.removesuffix(ending).rpartition("/")
    base, dot, kind = name.rpartition(".")
    return (f"{folder}{slash}{base}", f"{dot}{kind}{ending}") if base else (f"{folder}{slash}{name}", ending)
