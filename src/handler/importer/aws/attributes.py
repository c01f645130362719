"""Attributes as they are read back: DynamoDB's form → plain values. The way there is `sinks.items.attribute`.

`boto3.dynamodb.types` does both; to import it is to import all of boto3 (docs/decisions/0029).
"""

from decimal import Decimal
from typing import Any, Final

from importer.sinks.items import AttributeValue, Item

_LARGEST_WHOLE: Final = 2**63


def plain(item: Item) -> dict[str, Any]:
    """An item as a map of plain values."""
    return {name: value_of(attribute) for name, attribute in item.items()}


def value_of(attribute: AttributeValue) -> Any:
    """A whole number is an int, as all of ours are; another one, a Decimal. Other sets than of numbers are texts."""
    match attribute:
        case {"S": value} | {"BOOL": value}:
            return value
        case {"N": text}:
            return _number(text)
        case {"M": members}:
            return plain(members)
        case {"L": members}:
            return [value_of(member) for member in members]
        case {"NULL": _}:
            return None
        case {"NS": texts}:
            return {_number(text) for text in texts}
        case _:
            return str(next(iter(attribute.values()), ""))  # of a type that nothing of ours writes


def _number(text: str) -> int | Decimal:
    number = Decimal(text)
    return int(number) if abs(number) < _LARGEST_WHOLE and number == number.to_integral_value() else number
