"""The rules by which refused rows are mended: what each is called, and what a person reads of it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Rule(StrEnum):
    """Name of a rule: stable, for `--rule`; documented in docs/fix.md."""

    BYTE_ORDER_MARK = "byte_order_mark"
    UTF_16 = "utf_16"
    WINDOWS_1252 = "windows_1252"
    SURROGATES = "surrogates"
    WHITESPACE = "whitespace"
    CONTROL_CHARACTER = "control_character"
    ESCAPE = "escape"
    SINGLE_QUOTES = "single_quotes"
    SMART_QUOTES = "smart_quotes"
    INNER_QUOTES = "inner_quotes"
    MISSING_QUOTE = "missing_quote"
    UNQUOTED_KEY = "unquoted_key"
    UNQUOTED_TEXT = "unquoted_text"
    LITERAL = "literal"
    NOT_A_NUMBER = "not_a_number"
    NUMBER = "number"
    SHELL_VALUE = "shell_value"
    TRAILING_COMMA = "trailing_comma"
    DOUBLED_COMMA = "doubled_comma"
    MISSING_COMMA = "missing_comma"
    COLON = "colon"
    MISSING_VALUE = "missing_value"
    COMMENT = "comment"
    MISSING_BRACKET = "missing_bracket"
    EXTRA_BRACKET = "extra_bracket"
    AFTER_THE_ROW = "after_the_row"
    TWO_ROWS = "two_rows"
    ARRAY_OF_ROWS = "array_of_rows"
    QUOTED_ROW = "quoted_row"
    REPEATED_KEY = "repeated_key"
    NEAR_NAME = "near_name"
    NAME_CHARACTERS = "name_characters"
    SCOPE = "scope"
    NEAR_VALUE = "near_value"
    ADD_QUOTES = "add_quotes"
    REMOVE_QUOTES = "remove_quotes"
    ARRAY = "array"
    OBJECT_IN_TEXT = "object_in_text"
    NESTING = "nesting"
    LEFT_OUT = "left_out"
    SECONDS = "seconds"
    MILLISECONDS = "milliseconds"
    MICROSECONDS = "microseconds"
    NANOSECONDS = "nanoseconds"
    DATE = "date"
    DATE_TO_SECONDS = "date_to_seconds"
    EXTRA_COMMA = "extra_comma"
    COMMA_IN_VALUE = "comma_in_value"
    MISSING_COLUMNS = "missing_columns"
    DELIMITER = "delimiter"
    CSV_QUOTES = "csv_quotes"


LABELS: Final[dict[Rule, str]] = {
    Rule.BYTE_ORDER_MARK: "byte order mark taken away",
    Rule.UTF_16: "UTF-16 → UTF-8",
    Rule.WINDOWS_1252: "Windows-1252 → UTF-8",
    Rule.SURROGATES: "halves of a character → the character",
    Rule.WHITESPACE: "blanks that JSON does not know",
    Rule.CONTROL_CHARACTER: "control characters in text → escapes",
    Rule.ESCAPE: "escapes that JSON does not know",
    Rule.SINGLE_QUOTES: "single quotes → double quotes",
    Rule.SMART_QUOTES: "typographic quotes → double quotes",
    Rule.INNER_QUOTES: "quotes inside a text escaped",
    Rule.MISSING_QUOTE: "missing quote",
    Rule.UNQUOTED_KEY: "names without quotes",
    Rule.UNQUOTED_TEXT: "text without quotes",
    Rule.LITERAL: "True, False, None → true, false, null",
    Rule.NOT_A_NUMBER: "NaN, Infinity, undefined → null",
    Rule.NUMBER: "numbers as JSON writes them",
    Rule.SHELL_VALUE: "values as a database's shell shows them",
    Rule.TRAILING_COMMA: "comma before a closing bracket",
    Rule.DOUBLED_COMMA: "doubled comma",
    Rule.MISSING_COMMA: "missing comma",
    Rule.COLON: "= or => for a colon",
    Rule.MISSING_VALUE: "name without a value → null",
    Rule.COMMENT: "comments taken away",
    Rule.MISSING_BRACKET: "missing bracket",
    Rule.EXTRA_BRACKET: "bracket too many",
    Rule.AFTER_THE_ROW: "comma or semicolon behind the row",
    Rule.TWO_ROWS: "rows on one line → a line each",
    Rule.ARRAY_OF_ROWS: "array of rows → a line each",
    Rule.QUOTED_ROW: "row inside a text → the row",
    Rule.REPEATED_KEY: "name that stands twice",
    Rule.NEAR_NAME: "name meant, but spelt otherwise",
    Rule.NAME_CHARACTERS: "characters a name may not have → _",
    Rule.SCOPE: "scope prefix as the vendor writes it",
    Rule.NEAR_VALUE: "value meant, but spelt otherwise",
    Rule.ADD_QUOTES: "number → text",
    Rule.REMOVE_QUOTES: "text → number, true or false",
    Rule.ARRAY: "one value ↔ array of one",
    Rule.OBJECT_IN_TEXT: "JSON inside a text → the JSON",
    Rule.NESTING: "properties at their place",
    Rule.LEFT_OUT: "member that changes nothing left out",
    Rule.SECONDS: "seconds → milliseconds",
    Rule.MILLISECONDS: "milliseconds → seconds",
    Rule.MICROSECONDS: "microseconds → the unit due",
    Rule.NANOSECONDS: "nanoseconds → the unit due",
    Rule.DATE: "time in another layout",
    Rule.DATE_TO_SECONDS: "date → seconds",
    Rule.EXTRA_COMMA: "commas too many at the end",
    Rule.COMMA_IN_VALUE: "value with a comma put in quotes",
    Rule.MISSING_COLUMNS: "columns missing at the end left empty",
    Rule.DELIMITER: "another delimiter → comma",
    Rule.CSV_QUOTES: "quotes as CSV writes them",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing done to a row.

    Attributes:
        why: one sentence.
        certain: the row can be meant in no other way; else it is a guess, good as it looks.
    """

    rule: Rule
    why: str
    certain: bool


@dataclass(frozen=True, slots=True)
class Edit:
    """Characters `[start, stop)` of a row's text give way to `new`. Edits of one row neither meet nor overlap, but for
    insertions at one place, which are made in their order."""

    start: int
    stop: int
    new: str


def edited(text: str, edits: list[Edit]) -> str:
    """The text with all edits made; what lies between them is as it was."""
    pieces: list[str] = []
    at = 0
    for edit in sorted(edits, key=lambda edit: (edit.start, edit.stop)):
        if edit.start < at:
            raise ValueError("edits overlap")
        pieces += (text[at : edit.start], edit.new)
        at = edit.stop
    pieces.append(text[at:])
    return "".join(pieces)
