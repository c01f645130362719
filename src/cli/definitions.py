"""`importer imports`: import definitions as a person manages them.

A definition says how the files of one folder below imports/ are read. What a setting may be, `Definition` and
`formats.completed` judge, in their own words; here are the options, and what a person sees.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar

import click
import orjson
from rich.console import Console
from rich.text import Text

from cli import importing, lookup, show
from cli.connection import Connection, connected, explained
from cli.verbs import DONE, Differs, confirm, json_option, stack_option, yes_option
from importer import formats
from importer.aws.clock import SystemClock
from importer.bad_rows import Reject
from importer.definitions import (
    BY_PROPERTY,
    DATE_FORMATS,
    DEFAULT,
    IDENTITIES,
    LATEST_TIME_MS,
    MIME_TYPES,
    PRIORITIES,
    SINK_CHOICES,
    Definition,
    StoredDefinition,
    folder_named,
)
from importer.documents import definition_document, document, settings_told
from importer.fields import time_ms
from importer.model import Misconfigured, Value
from importer.notification import IMPORTS_PREFIX

NAMED_WAITING: Final = 3  # of the files that wait, in a refusal
COUNTED_WAITING: Final = 1_000  # as one listing gives; more are "more than"

Command = TypeVar("Command", bound=Callable[..., Any])


# ---- Settings ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting:
    """A field of `Definition`, for people.

    Attributes:
        says: what it is, in half a sentence.
        allowed: what it may be; "" where `says` tells.
        option: how the command takes it; "" where only `--from` does.
    """

    name: str
    says: str
    allowed: str = ""
    option: str = ""

    @property
    def flags(self) -> str:
        """The option as click declares it: a yes or no has its opposite."""
        return f"{self.option}/--no-{self.option.removeprefix('--')}" if self._is_flag else self.option

    @property
    def kind(self) -> click.ParamType[Any]:
        if self._is_flag:
            return click.BOOL
        if self.name.endswith("_ms"):
            return _Moment()
        return click.INT if isinstance(self.default, int) else _Words()

    @property
    def metavar(self) -> str | None:
        return None if self._is_flag else self.name.removesuffix("_ms").rpartition("_")[2].upper()

    @property
    def default(self) -> Value:
        return getattr(DEFAULT, self.name)  # type: ignore[no-any-return]

    @property
    def help(self) -> str:
        return f"{self.says[0].upper()}{self.says[1:]}{f': {self.allowed}' if self.allowed else ''}."

    @property
    def _is_flag(self) -> bool:
        return isinstance(self.default, bool)


SETTINGS: Final = (
    Setting("id", "the folder below imports/ whose files it is for", "1 to 200 characters, no / and no controls"),
    Setting("name", "what people call it", "any text", "--name"),
    Setting("format", "dialect of the rows", "one of those below, or empty: each row tells by its marks", "--format"),
    Setting(
        "document_type",
        "what the rows are, where a dialect has several kinds",
        "one of those below, or empty: each row tells by its shape",
        "--document-type",
    ),
    Setting("mime_type", "how rows stand in a file", " or ".join(MIME_TYPES), "--mime-type"),
    Setting("encoding", "of the files", "utf-8"),
    Setting("priority", "whose files go first where many wait", ", ".join(PRIORITIES), "--priority"),
    Setting(
        "base_file_name",
        "makes it a recurring import: the files it stands for wait for the schedule, and are read in order",
        "accounts.json for accounts*.json; or empty",
        "--base-file-name",
    ),
    Setting("files_per_run", "of a recurring import: files a run takes up", "1 to 1000", "--files-per-run"),
    Setting("run_seconds", "of a recurring import: how long a run works at them", "1 to 840", "--run-seconds"),
    Setting("identity", "what makes two events one", ", ".join((*IDENTITIES, f"{BY_PROPERTY}<name>")), "--identity"),
    Setting("strict", "the vendor's own limits and names instead of ours", "", "--strict"),
    Setting("atomic", "store nothing of a file unless every row is good", "", "--atomic"),
    Setting(
        "date_format",
        "how 03/04/2012 is read",
        f"{', '.join(DATE_FORMATS)}, or empty: such dates are refused",
        "--date-format",
    ),
    Setting("session_scope", "take {s}name for a property of the session", "", "--session-scope"),
    Setting("numbers_in_strings", 'take the text "123" for the number 123', "", "--numbers-in-strings"),
    Setting("earliest_ms", "first time an event may have", "a time in UTC, or milliseconds", "--earliest"),
    Setting("latest_ms", "last time an event may have", "a time in UTC, or milliseconds", "--latest"),
    Setting("max_bad_rows", "more bad rows end an import FAILED", "a number; 0 is no limit", "--max-bad-rows"),
    Setting("sinks", "where events go", f"{', '.join(SINK_CHOICES)}, or empty: as the stack has it", "--sinks"),
)


class _Words(click.ParamType[str]):
    """Text that can be stored: a command line may hold bytes that are not UTF-8."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            str(value).encode()
        except UnicodeEncodeError:
            self.fail("it is not UTF-8", param, ctx)
        return str(value)


class ImportId(_Words):
    """The id of a definition."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return Definition(id=super().convert(value, param, ctx)).id
        except Misconfigured as problem:
            self.fail(str(problem), param, ctx)


class _Moment(click.ParamType[int]):
    """A time as rows may have it, as milliseconds; 0 is the begin of all."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int) or value == "0":
            return int(value)
        try:
            return time_ms(value, "time", (0, LATEST_TIME_MS))
        except Reject as reject:
            self.fail(reject.message + (f"; {reject.hint}" if reject.hint else ""), param, ctx)


def _settings_options(defaults: bool) -> Callable[[Command], Command]:
    """An option for each setting that has one, given to the command under the setting's name; None is not given.

    Args:
        defaults: the help says what holds where an option is not given.
    """

    def with_options(command: Command) -> Command:
        for setting in reversed(SETTINGS):
            if setting.option:
                default = (
                    f"  [default: {setting.default}]" if defaults and setting.default and setting.name != "name" else ""
                )
                command = click.option(
                    setting.flags,
                    setting.name,
                    default=None,
                    type=setting.kind,
                    metavar=setting.metavar,
                    help=f"{setting.help}{default}",
                )(command)
        return command

    return with_options


def _dialects() -> str:
    """The end of a help page: what --format, --document-type and --mime-type go together."""
    lines = ["\b", "Dialects, their document types, and what each comes in:"]
    for name, dialect in formats.FORMATS.items():
        for index, (document_type, mime_types) in enumerate(dialect.DOCUMENTS.items()):
            first = name if not index else ""
            lines.append(f"  {first:<14}{document_type or '(not said)':<44}{' or '.join(mime_types)}")
    return "\n".join(lines)


def _judged(settings: dict[str, Value], import_id: str) -> Definition:
    """The definition that settings make. Raises Misconfigured: what is wrong, and what could be chosen."""
    return formats.completed(Definition.of({**settings, "id": import_id}))


# ---- The commands --------------------------------------------------------------------------------------------------


@click.group()
def imports() -> None:
    """Say how the files of a folder below imports/ are read: create, list, show, change, delete.

    Files in imports/ itself, and in folders no definition is for, are read with the defaults: the dialect is found out
    row by row. An import keeps the definition it began with.

    \b
    Examples:
      importer imports create shop --name "The shop" --date-format dd/mm/yyyy
      importer imports list
      importer imports show shop
      importer imports change shop --strict
      importer import --import-id shop monday.json
      importer imports delete shop
    """


_import_id = click.argument("import_id", metavar="ID", type=ImportId())


@imports.command(epilog=_dialects())
@click.argument("import_id", metavar="[ID]", required=False, type=ImportId())
@click.option(
    "--from",
    "file",
    metavar="FILE",
    type=click.File("rb"),
    help="A definition as JSON (- is stdin): of `show --json`, or mediarithmics' body of a document import. Options "
    "given beside it win.",
)
@_settings_options(defaults=True)
@stack_option
@json_option
@click.pass_context
def create(
    ctx: click.Context,
    /,
    import_id: str | None,
    file: Any,
    stack_name: str | None,
    as_json: bool,
    **given: Value,
) -> None:
    """Make an import definition, and say which folder to drop its files in.

    Without an ID it is called after its name: "The shop" gets the folder imports/the-shop/. Exit code 1: there is one
    of that id.

    \b
    Examples:
      importer imports create --name "The shop" --format cooladata
      importer imports create tables --mime-type TEXT_CSV
      importer imports create orders --identity property:order_id --earliest 2024-01-01
      importer imports show shop --json | importer imports create shop-2 --from -
      echo '{"document_type": "USER_ACTIVITY", "mime_type": "APPLICATION_X_NDJSON", "encoding": "utf-8",
             "name": "My user activity document import"}' | importer imports create --from -
    """
    settings = _told(file) if file is not None else {}
    settings |= _only_given(given)
    if import_id is not None:
        settings["id"] = import_id
    try:
        definition = Definition.of(settings)
        if not ("id" in settings or settings.get("name")):
            raise Misconfigured("give an ID or a --name: what is the definition to be called?")
        import_id = (
            definition.id if "id" in settings else folder_named(definition.name) or f"import-{secrets.token_hex(4)}"
        )
        if import_id == DEFAULT.id:
            raise Misconfigured(f"id {DEFAULT.id!r}: files that no definition is for are called so; choose another")
        definition = _judged({"name": import_id, **settings}, import_id)
    except Misconfigured as problem:
        raise click.UsageError(str(problem)) from None
    connection = connected(stack_name)
    _refuse_without_stream(connection, definition)
    now_ms = SystemClock().now_ms()
    with explained(connection.name):
        created = connection.imports.create_definition(definition, now_ms)
    if not created:
        raise Differs(
            f"there is an import definition {import_id!r} in {connection.name} already: `importer imports show "
            f"{_quoted(import_id)}{connection.command}` shows it, `importer imports change` changes it; or choose "
            "another ID"
        )
    if as_json:
        made = StoredDefinition(import_id, definition.as_stored(), now_ms, now_ms)
        click.echo(show.to_json({"import": _document(made)}))
        ctx.exit(DONE)
    out = show.console()
    show.paragraph(out, f"Created: import definition {show.shown_whole(import_id)}.", "bold", indent=0)
    show.address(out, "drop in", _folder_uri(connection, import_id))
    show.label(out, "or say", f"importer import --import-id {_quoted(import_id)}{connection.command} FILE")
    if definition.is_recurring:
        show.label(out, "series", f"{definition.pattern}: such files wait for the schedule, and are read in order")
        show.label(out, "look", f"importer recurring check {_quoted(import_id)}{connection.command}")
    set_here = [setting for setting in SETTINGS[2:] if getattr(definition, setting.name) != setting.default]
    if set_here:
        show.heading(out, "Settings that are not the default")
        _settings_table(out, definition, set_here)
    ctx.exit(DONE)


@imports.command("list")
@stack_option
@json_option
@click.pass_context
def list_(ctx: click.Context, stack_name: str | None, as_json: bool) -> None:
    """List the import definitions, newest first.

    One that was written into the table by hand is in the list as soon as `importer imports change` has changed it;
    `importer imports show` shows it before.

    \b
    Examples:
      importer imports list
      importer imports list --json | jq -r '.imports[] | select(.mime_type=="TEXT_CSV").id'
    """
    connection = connected(stack_name)
    with explained(connection.name):
        found = list(connection.imports.definitions())
    if as_json:
        click.echo(show.to_json({"imports": [_document(stored) for stored in found]}))
    elif found:
        _list(show.console(), found)
    else:
        text = f"There are no import definitions in {connection.name}: all files are read with the defaults."
        show.paragraph(show.console(), text, indent=0)
    ctx.exit(DONE)


@imports.command("show")
@_import_id
@click.option(
    "--limit",
    default=5,
    show_default=True,
    type=click.IntRange(0),
    help="How many of its imports to show, newest first.",
)
@stack_option
@json_option
@click.pass_context
def show_(ctx: click.Context, import_id: str, limit: int, stack_name: str | None, as_json: bool) -> None:
    """Show a definition: its settings, what each is, which are not the default; and the last imports under it.

    Exit code 1: it cannot be used as it is stored; every import under it would fail.

    \b
    Examples:
      importer imports show shop
      importer imports show shop --json | jq .import > shop.json
    """
    connection = connected(stack_name)
    stored = _found(connection, import_id)
    executions = importing.executions_of(connection, import_id, limit)
    if as_json:
        said = {"import": _document(stored), "executions": [document(execution) for execution in executions]}
        click.echo(show.to_json(said))
    try:
        definition = formats.named(stored.id, stored.definition)
    except Misconfigured as problem:
        raise Differs(
            f"{problem}. Mend it with `importer imports change`; where that is refused as well, delete it and create "
            "it again"
        ) from None
    if as_json:
        ctx.exit(DONE)
    out = show.console()
    title = Text(f"Import definition {show.shown_whole(import_id)}", style="bold")
    out.print(title.append(f"  {show.shown_whole(definition.name)}", style="not bold"), soft_wrap=True)
    show.address(out, "drop in", _folder_uri(connection, import_id))
    show.label(out, "created", "by hand" if stored.created_ms is None else show.utc(stored.created_ms))
    if definition.is_recurring:
        show.label(out, "series", f"{definition.pattern}, read by the schedule (`importer recurring check` looks)")
    if stored.changed_ms != stored.created_ms:
        show.label(out, "changed", show.utc(stored.changed_ms))
    show.heading(out, "Settings")
    _settings_table(out, definition, SETTINGS[2:])
    if any(getattr(definition, setting.name) != setting.default for setting in SETTINGS[2:]):
        show.paragraph(out, "* is not the default.", "dim")
    if limit:
        show.heading(out, "Its last imports")
        if executions:
            show.execution_list(out, executions)
        else:
            show.paragraph(out, "None was found.")
    ctx.exit(DONE)


@imports.command(epilog=_dialects())
@_import_id
@_settings_options(defaults=False)
@stack_option
@json_option
@click.pass_context
def change(ctx: click.Context, /, import_id: str, stack_name: str | None, as_json: bool, **given: Value) -> None:
    """Change settings of a definition: those that are given, no others.

    Files whose import has begun keep the definition they began with. Exit code 1: somebody else has changed it
    meanwhile, and nothing was written.

    \b
    Examples:
      importer imports change shop --no-strict
      importer imports change shop --date-format "" --max-bad-rows 100
    """
    wanted = _only_given(given)
    if not wanted:
        raise click.UsageError("nothing to change is given: `importer imports change --help` lists the settings")
    connection = connected(stack_name)
    stored = _found(connection, import_id)
    try:
        if not isinstance(stored.definition, dict):
            raise Misconfigured(f"what is stored of {import_id!r} is no definition: delete it and create it again")
        before: dict[str, Value] = {**DEFAULT.as_stored(), **stored.definition}
        definition = _judged({**before, **wanted}, import_id)
    except Misconfigured as problem:
        raise click.UsageError(str(problem)) from None
    if "sinks" in wanted:
        _refuse_without_stream(connection, definition)
    after = definition.as_stored()
    changed = {
        name: (before[name], value)
        for name, value in after.items()
        if name != "id" and (type(before[name]), before[name]) != (type(value), value)  # by hand, 1 for true is written
    }
    enters_the_list = stored.created_ms is None
    if changed or enters_the_list:
        now_ms = SystemClock().now_ms()
        with explained(connection.name):
            done = connection.imports.change_definition(import_id, stored.definition, definition, now_ms)
        if not done:
            raise Differs(
                f"somebody else has changed or deleted {import_id!r} since it was read: nothing was written. Look at "
                f"it with `importer imports show {_quoted(import_id)}{connection.command}`, and try again"
            )
        stored = StoredDefinition(import_id, after, now_ms if enters_the_list else stored.created_ms, now_ms)
    if as_json:
        said: dict[str, Value] = {name: {"before": old, "after": new} for name, (old, new) in changed.items()}
        click.echo(show.to_json({"import": _document(stored), "changed": said}))
        ctx.exit(DONE)
    out = show.console()
    if not changed:
        listed = "; `importer imports list` has it from now on" if enters_the_list else ""
        show.paragraph(out, f"Nothing to change: it is so already{listed}.", indent=0)
        ctx.exit(DONE)
    show.paragraph(out, f"Changed: import definition {show.shown_whole(import_id)}.", "bold", indent=0)
    rows = [(name, _shown(name, old), _shown(name, new)) for name, (old, new) in changed.items()]
    show.put_lines(out, ("setting", "was", "is now"), rows, ())
    show.paragraph(out, "Imports that have begun keep the definition they began with.", indent=0)
    ctx.exit(DONE)


@imports.command()
@_import_id
@click.option("--force", is_flag=True, help="Although files wait in its folder, or imports under it have not ended.")
@yes_option
@stack_option
@json_option
@click.pass_context
def delete(ctx: click.Context, import_id: str, force: bool, yes: bool, stack_name: str | None, as_json: bool) -> None:
    """Delete a definition. Files dropped in its folder from then on are read with the defaults.

    What was imported stays, and imports that have begun keep the definition they began with. Exit code 1: files wait in
    its folder or imports under it have not ended, and --force was not given; or somebody has just changed it.

    \b
    Examples:
      importer imports delete shop
      importer imports delete shop --yes --json > shop.json
      importer imports create --from shop.json
    """
    connection = connected(stack_name)
    stored = _found(connection, import_id)
    if reason := "" if force else _why_not_deleted(connection, import_id):
        raise Differs(f"{import_id!r} is in use: {reason}. --force deletes it all the same")
    uri = _folder_uri(connection, import_id)
    confirm(yes, f"Delete import definition {import_id!r}? Files in {uri} are read with the defaults from then on.")
    with explained(connection.name):
        deleted = connection.imports.delete_definition(import_id, stored.definition)
    if not deleted:
        raise Differs(f"somebody else has changed {import_id!r} since it was read: it was not deleted")
    if as_json:
        click.echo(show.to_json({"import": _document(stored)}))
        ctx.exit(DONE)
    out = show.console()
    show.paragraph(out, f"Deleted: import definition {show.shown_whole(import_id)}.", "bold", indent=0)
    show.paragraph(out, "Files dropped here from now on are read with the defaults:", indent=0)
    show.address(out, "folder", uri)
    ctx.exit(DONE)


def _why_not_deleted(connection: Connection, import_id: str) -> str:
    """What would be read otherwise, or is being read; "" where nothing is."""
    said = []
    folder = f"{IMPORTS_PREFIX}{import_id}/"
    with explained(connection.name):
        keys = (key for key in connection.objects.keys(connection.stack.bucket, folder) if not key.endswith("/"))
        waiting = list(islice(keys, COUNTED_WAITING))
    if waiting:
        count = "more than " if len(waiting) == COUNTED_WAITING else ""
        names = ", ".join(key.removeprefix(folder) for key in waiting[:NAMED_WAITING])
        more = ", …" if len(waiting) > NAMED_WAITING else ""
        verb = "waits" if len(waiting) == 1 else "wait"
        said.append(f"{count}{show.many(len(waiting), 'file')} {verb} in {folder} ({names}{more})")
    unfinished = len(importing.unfinished_of(connection, import_id))
    if unfinished:
        verb = "has" if unfinished == 1 else "have"
        said.append(
            f"{show.many(unfinished, 'import')} under it {verb} not ended (`importer status{connection.command}`)"
        )
    return " and ".join(said)


def _refuse_without_stream(connection: Connection, definition: Definition) -> None:
    """Raises Differs: its events are to go to a stream there is not, so every import under it would wait for one."""
    if "firehose" in SINK_CHOICES.get(definition.sinks, ()) and connection.stack.delivery_stream is None:
        raise Differs(
            f"sinks {definition.sinks!r}: {connection.name} has no delivery stream. Deploy it with Sinks=both or "
            "Sinks=firehose first"
        )


def _found(connection: Connection, import_id: str) -> StoredDefinition:
    """Raises click.UsageError: there is none."""
    with explained(connection.name):
        stored = connection.imports.stored_definition(import_id)
    if stored is None:
        raise lookup.no_definition(connection, import_id)
    return stored


def _told(file: Any) -> dict[str, Value]:
    try:
        return settings_told(orjson.loads(file.read()))
    except orjson.JSONDecodeError as problem:
        raise click.UsageError(f"--from: this is no JSON: {problem}") from None
    except Misconfigured as problem:
        raise click.UsageError(f"--from: {problem}") from None


def _only_given(given: dict[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in given.items() if value is not None}


# ---- For people ----------------------------------------------------------------------------------------------------


def _document(stored: StoredDefinition) -> dict[str, Value]:
    """For `--json`; of a definition that cannot be used, what is stored and why."""
    try:
        definition = formats.named(stored.id, stored.definition)
    except Misconfigured as problem:
        return {"id": stored.id, "stored": stored.definition, "problem": str(problem)}
    return {**definition_document(definition, stored.created_ms, stored.changed_ms), "problem": None}


def _list(out: Console, found: Iterable[StoredDefinition]) -> None:
    rows: list[Sequence[str | Text]] = []
    for stored in found:
        created = show.utc(stored.created_ms)[:16].replace("T", " ")
        try:
            definition = formats.named(stored.id, stored.definition)
        except Misconfigured as problem:
            rows.append((show.shown_whole(stored.id), created, "", "", "", Text(str(problem), style="red")))
            continue
        dialect, document_type = definition.format or "any", definition.document_type or "any"
        name = show.shown_whole(definition.name)
        rows.append((show.shown_whole(stored.id), created, dialect, document_type, definition.mime_type, name))
    show.put_lines(out, ("import", "created (UTC)", "dialect", "document type", "mime type", "name"), rows, ())


def _settings_table(out: Console, definition: Definition, settings: Sequence[Setting]) -> None:
    rows: list[Sequence[str | Text]] = []
    for setting in settings:
        value = getattr(definition, setting.name)
        differs = value != setting.default
        style = "bold" if differs else ""
        rows.append(
            (
                "*" if differs else "",
                Text(setting.name, style=style),
                Text(_shown(setting.name, value), style=style),
                Text(setting.says, style="dim"),
            )
        )
    show.put_lines(out, ("", "setting", "value", "what it is"), rows, ())


def _shown(name: str, value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if name.endswith("_ms") and isinstance(value, int):
        return f"{value} = {show.utc(value)}"
    return show.shown_whole(str(value)) or "(empty)"


def _folder_uri(connection: Connection, import_id: str) -> str:
    return show.shown_whole(f"s3://{connection.stack.bucket}/{IMPORTS_PREFIX}{import_id}/")


def _quoted(import_id: str) -> str:
    """As a shell takes it."""
    return import_id if re.fullmatch(r"[\w.-]+", import_id) else "'" + import_id.replace("'", "'\\''") + "'"
