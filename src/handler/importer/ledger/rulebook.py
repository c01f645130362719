"""Which rule refuses a row, and where it stands (pure): by the reason, and by the dialect where it has one of its own.

The tables are those of docs/formats.md and docs/formats/: a test keeps them together.
"""

from dataclasses import dataclass
from typing import Final

from importer.model import Value

# Row reasons of every dialect → the rule, as docs/formats.md names it.
COMMON: Final[dict[str, str]] = {
    "line_too_long": "ours",
    "not_csv": "RFC 4180 §2.5–2.7",
    "wrong_column_count": "RFC 4180 §2.4",
    "not_utf8": "RFC 8259 §8.1, §8.2",
    "not_json": "RFC 8259, C3",
    "not_an_object": "C3",
    "duplicate_key": "ours; C15",
    "too_deep": "ours",
    "missing_field": "C8, C10, C11",
    "wrong_type": "C8",
    "nested_value": "C4",
    "bad_time": "C9, C12",
    "time_unit": "C8",
    "time_out_of_window": "sort key of 13 digits; C31",
    "bad_name": "C14",
    "reserved_name": "C16, C17",
    "too_long": "DynamoDB quotas",
    "placeholder_id": "ours",
    "unknown_scope_prefix": "C20, C21",
    "event_too_large": "DynamoDB quotas; C24",
    "number_out_of_range": "DynamoDB data types",
    "refused_by_sink": "API_BatchWriteItem, ValidationException",
    "too_many_properties": "ours, D27",
    "not_allowed": "K8, W3, W11, D21–D26",
    "nothing_to_record": "K6, W4, D21",
    "ambiguous_command": "K7, D25, D28–D30",
    "no_identifier": "W2, D23",
    "many_identifiers": "D6 to D27, W7",
}
# Dialect → row reasons → facts of its own page that say so.
OF_DIALECT: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "cooladata": {
        "nested_value": ("C4",),
        "missing_field": (
            "C8",
            "C10",
        ),
        "wrong_type": ("C8",),
        "bad_name": ("C14",),
        "duplicate_key": ("C15",),
        "reserved_name": (
            "C16",
            "C17",
        ),
        "unknown_scope_prefix": ("C21",),
        "event_too_large": ("C24",),
    },
    "kissmetrics": {
        "missing_field": (
            "K1",
            "K2",
        ),
        "wrong_type": ("K2",),
        "too_long": (
            "K2",
            "K10",
        ),
        "nothing_to_record": (
            "K4",
            "K6",
        ),
        "ambiguous_command": ("K7",),
        "not_allowed": ("K8",),
        "nested_value": ("K10",),
        "time_out_of_window": ("K14",),
        "not_json": ("K17",),
        "not_csv": ("K20",),
    },
    "mediarithmics": {
        "bad_name": ("D22",),
    },
    "segment": {
        "missing_field": (
            "S3",
            "S10",
            "S16",
            "S17",
        ),
        "not_allowed": ("S3",),
        "no_identifier": ("S4",),
        "wrong_type": (
            "S4",
            "S24",
        ),
        "too_long": ("S11",),
        "bad_time": ("S22",),
    },
    "woopra": {
        "missing_field": ("W2",),
        "wrong_type": ("W2",),
        "no_identifier": ("W2",),
        "not_allowed": (
            "W3",
            "W4",
            "W12",
            "W19",
        ),
        "nothing_to_record": ("W4",),
        "many_identifiers": ("W7",),
        "too_long": ("W8",),
        "bad_name": ("W9",),
        "not_json": ("W18",),
    },
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule's source: a page of docs/, the section, and what the rule is called there."""

    document: str
    section: str
    rules: tuple[str, ...]

    def said(self) -> str:
        return f"{', '.join(self.rules)} ({self.document}, {self.section})"

    def as_json(self) -> dict[str, Value]:
        return {"document": self.document, "section": self.section, "rules": list(self.rules)}


def rule_of(format_name: str, reason: str) -> Rule:
    """The rule by which a row of a dialect is refused for a reason."""
    facts = OF_DIALECT.get(format_name, {}).get(reason)
    if facts:
        return Rule(f"docs/formats/{format_name}.md", "Fact by fact", facts)
    return Rule("docs/formats.md", "Row reasons", (COMMON.get(reason, "unknown to this version"),))
