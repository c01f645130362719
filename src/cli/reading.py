"""How a file of this machine is to be read: options in the place of an import definition, and the one they make."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import Any

import click

from cli.connection import Connection
from cli.lookup import stored_definition
from importer.definitions import DATE_FORMATS, NDJSON, SINK_CHOICES, TEXT_CSV, Definition
from importer.formats import FORMATS, completed
from importer.model import Misconfigured


@dataclass(frozen=True, slots=True)
class ReadingOptions:
    """As it was asked for.

    Attributes:
        import_id: of a stored definition, which then says all the rest; None for none.
        sinks: a key of SINK_CHOICES: whose limits the rows must keep.
    """

    import_id: str | None = None
    format_name: str = ""
    document_type: str = ""
    as_csv: bool = False
    strict: bool = False
    date_format: str = ""
    numbers_in_strings: bool = False
    sinks: str = "dynamodb"

    def definition(self, connection: Connection | None, is_csv: bool = False) -> Definition:
        """Args:
            connection: to where the stored definition is; may be None where none is asked for.
            is_csv: the file's name says so.

        Raises:
            click.UsageError: these do not go together.
            Misconfigured: the stored one is of another version.
        """
        if self.import_id is not None and connection is not None:
            return stored_definition(connection, self.import_id)
        try:
            return completed(
                Definition(
                    mime_type=TEXT_CSV if self.as_csv or is_csv else NDJSON,
                    strict=self.strict,
                    date_format=self.date_format,
                    format=self.format_name,
                    document_type=self.document_type,
                    numbers_in_strings=self.numbers_in_strings,
                )
            )
        except Misconfigured as problem:
            raise click.UsageError(str(problem)) from None


_AS = (
    click.option(
        "--format", "format_name", default="", type=click.Choice(["", *FORMATS]), help="Its dialect; else its rows say."
    ),
    click.option("--document-type", default="", metavar="TYPE", help="What its rows are, such as USER_SEGMENT."),
    click.option("--csv", "as_csv", is_flag=True, help="Read it as an import with mime_type TEXT_CSV does."),
    click.option("--date-format", default="", type=click.Choice(["", *DATE_FORMATS]), help="How to read 03/04/2012."),
)
_UNDER = (
    click.option("--import-id", metavar="ID", help="Read it by this import definition of the twin or of --stack."),
    click.option("--strict", is_flag=True, help="Hold the rows to the vendor's own limits."),
    click.option("--numbers-in-strings", is_flag=True, help='Take the text "123" for the number 123.'),
    click.option(
        "--sinks",
        default="dynamodb",
        show_default=True,
        type=click.Choice(list(SINK_CHOICES)),
        help="Whose limits the rows must keep, and whose bill it is: the stack's parameter Sinks.",
    ),
)


def _collecting(options: tuple[Callable[..., Any], ...], verb: Callable[..., None]) -> Callable[..., None]:
    names = [field.name for field in fields(ReadingOptions)]

    @wraps(verb)
    def with_reading(*values: Any, **named: Any) -> None:
        reading = ReadingOptions(**{name: named.pop(name) for name in names if name in named})
        verb(*values, reading=reading, **named)

    for option in reversed(options):
        with_reading = option(with_reading)
    return with_reading


def dialect_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Gives a verb `reading`, by the options that say what the rows are."""
    return _collecting(_AS, verb)


def reading_options(verb: Callable[..., None]) -> Callable[..., None]:
    """Gives a verb `reading`, by these, and by those that say how strictly and for which destination."""
    return _collecting((*_UNDER[:1], *_AS[:3], _UNDER[1], _AS[3], *_UNDER[2:]), verb)
