"""Comparing what a parser gave by value: 1, 1.0 and Decimal("1.00") are the same number, 1 and true are not."""

from decimal import Decimal
from typing import Any


def by_value(value: Any) -> Any:
    """The value with each number as Decimal, marked as a number; everything else as it is."""
    if isinstance(value, dict):
        return {name: by_value(member) for name, member in value.items()}
    if isinstance(value, list):
        return [by_value(member) for member in value]
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return value
    return "number", Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
