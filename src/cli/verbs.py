"""What all verbs of the `importer` command have in common: exit codes, options, and how trouble is told.

0 done · 1 rows were refused, books do not balance, or what was asked is not possible as things stand · 2 usage ·
3 a file was refused or its import cancelled · 4 something is unavailable, or time ran out
"""

import sys
from collections.abc import Callable
from typing import IO, Any, TypeVar

import click

from cli import show
from cli.connection import CannotReach
from importer.bad_rows import ObjectProblem

Verb = TypeVar("Verb", bound=Callable[..., Any])

DONE, ROWS_REFUSED, DIFFERS, USAGE, FILE_REFUSED, UNAVAILABLE, INTERRUPTED = 0, 1, 1, 2, 3, 4, 130


class Trouble(click.ClickException):
    """Ends a command with a sentence on stderr: something is unavailable."""

    exit_code = UNAVAILABLE

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"importer: {show.shown_whole(self.format_message())}", err=True)


class Refused(Trouble):
    """The file is what is wrong."""

    exit_code = FILE_REFUSED


class Differs(Trouble):
    """What was asked is not possible, as things stand."""

    exit_code = DIFFERS


class Verbs(click.Group):
    """Turns what a verb raises into a sentence and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except CannotReach as error:
            raise Trouble(str(error)) from error
        except ObjectProblem as problem:
            raise Refused(f"{problem.code.value}: {problem.message}") from problem
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Trouble(str(error)) from error
        except KeyboardInterrupt:
            click.echo("importer: interrupted", err=True)
            ctx.exit(INTERRUPTED)


def timeout_option(default_s: float, says: str) -> Callable[[Verb], Verb]:
    """`--timeout SECONDS`, given to the verb as `timeout_s`."""
    return click.option(
        "--timeout",
        "timeout_s",
        default=default_s,
        show_default=True,
        metavar="SECONDS",
        type=click.FloatRange(0),
        help=says,
    )


def confirm(yes: bool, question: str) -> None:
    """Ask a person; without one, --yes must have been given."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("nobody is here to be asked: give --yes")
    if not click.confirm(show.shown_whole(question), err=True):
        raise click.Abort


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, for machines.")
stack_option = click.option(
    "--stack", "stack_name", metavar="NAME", help="A deployed stack, instead of the local twin."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
version_option = click.option(
    "--version-id", metavar="ID", help="Which upload of an imports/ key is meant; else the newest."
)
