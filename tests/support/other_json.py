"""Hooks that make the standard library's JSON reader as strict as ours: an independent judge."""

from typing import Any


class Twice(Exception):
    """A key stands twice."""


def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """For `object_pairs_hook`."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise Twice
    return dict(pairs)


def no_constant(word: str) -> None:
    """For `parse_constant`: NaN and the infinities are no JSON."""
    raise ValueError(word)
