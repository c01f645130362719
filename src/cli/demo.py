"""`make demo`: the whole way of a file, told to somebody who has never seen it, in a twin of its own.

Nothing is staged: what is printed was read from the bucket and the tables after the function had done its work, and
each receipt is held against what a preview of the same bytes says. Any difference ends the show with 1.
"""

import io
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from boto3.dynamodb.types import TypeDeserializer
from rich.console import Console
from rich.text import Text

from cli import dropping, fixing, importing, show, twin
from cli.connection import CannotReach, Connection, explained, of_stack
from cli.importing import Outcome
from cli.stack import Stack
from importer.aws.clock import SystemClock
from importer.definitions import DEFAULT
from importer.model import COUNTS, Event, Status
from importer.preview import previewed
from importer.sinks import SINKS

FILES: Final = twin.ROOT / "events" / "files"
SHOWN_FILE: Final = "logins.json"
TIMEOUT_SECONDS: Final = 180.0
DELIVERY_SECONDS: Final = 30.0  # the twin's stream delivers at once
ENDINGS: Final = (".json", ".gz")

_deserialize = TypeDeserializer().deserialize


def run(outputs: Stack) -> int:
    """Show the importer at work; 0 if everything went as designed (refused rows do, in these files)."""
    out = show.console()
    try:
        return _Show(out, of_stack(outputs)).run()
    except CannotReach as error:
        out.print(Text(f"demo: {error}", style="red"))
        return 4


class _Show:
    """One run; `wrong` collects what did not go as designed."""

    def __init__(self, out: Console, connection: Connection) -> None:
        self.out = out
        self.connection = connection
        self.wrong: list[str] = []

    def run(self) -> int:
        files = tuple(sorted(path for path in FILES.iterdir() if path.suffix in ENDINGS))
        self._say(
            "Files of events are dropped into a bucket. Every row ends up once in DynamoDB, or once under errors/"
        )
        self._say("with a reason. This is an embedded AWS on your machine with the project really deployed into it:")
        self._say("bucket, notification, function, tables and permissions are those of template.yaml.")

        self._step(1, f"Drop {show.many(len(files), 'file')} from events/files/ into imports/")
        outcomes = self._drop(files)
        self._table(outcomes)
        if any(outcome.receipt is None for outcome in outcomes):
            return self._end()

        self._step(2, "The books balance: every row is accounted for")
        self._books(outcomes)

        self._step(3, "Why rows were refused, and how to mend them")
        self._refused(outcomes)

        self._step(4, f"What is in DynamoDB now: the events of {SHOWN_FILE}, and what is known about users")
        logins = next(outcome for outcome in outcomes if outcome.path.name == SHOWN_FILE)
        self._stored(logins)

        self._step(5, "Where everything went")
        self._places(logins)

        self._step(6, "Mend and drop again: nothing is doubled")
        self._mend(logins)
        return self._end()

    # -- the steps ----------------------------------------------------------------------------------------------

    def _drop(self, files: tuple[Path, ...]) -> list[Outcome]:
        started = time.monotonic()
        outcomes = dropping.import_files(
            self.connection, files, DEFAULT, time.monotonic() + TIMEOUT_SECONDS, bad_rows=20
        )
        self._say(f"All of them were imported after {time.monotonic() - started:.1f} s.")
        for outcome in outcomes:
            if outcome.execution is None or outcome.execution.status is not Status.SUCCEEDED:
                said = outcome.execution.error if outcome.execution else None
                self.wrong.append(f"{outcome.path.name}: {said.message if said else outcome.trouble}")
        return outcomes

    def _table(self, outcomes: list[Outcome]) -> None:
        numbers = ("lines", "blank", "good", "bad", "events", "user changes")
        made = show.table("file", "dialect", "outcome", *numbers, numbers=numbers)
        for outcome in outcomes:
            receipt = outcome.receipt
            status = outcome.execution.status.value if outcome.execution else "unknown"
            made.add_row(
                Text(outcome.path.name, no_wrap=True),
                receipt["format"] if receipt else "",
                Text(status, style="green" if status == Status.SUCCEEDED else "red"),
                *(
                    [f"{receipt[name]:,}" for name in ("lines", "blank", "good")]
                    + [Text(f"{receipt['bad']:,}", style="yellow" if receipt["bad"] else "")]
                    + [f"{receipt[name]:,}" for name in ("events", "user_changes")]
                    if receipt
                    else [""] * len(numbers)
                ),
            )
        show.put_table(self.out, made)

    def _books(self, outcomes: list[Outcome]) -> None:
        receipts = [outcome.receipt for outcome in outcomes if outcome.receipt]
        sums = {name: sum(receipt[name] for receipt in receipts) for name in COUNTS}
        fates = " + ".join(f"{sums[fate]:,} {fate}" for fate in show.FATES if sums[fate])
        self._say(f"{sums['lines']:,} lines = {sums['rows']:,} rows + {sums['blank']:,} blank;")
        self._say(f"{sums['rows']:,} rows = {fates}.")
        for outcome in outcomes:
            receipt = outcome.receipt
            if receipt is None:
                continue
            if not show.balanced(receipt):
                self.wrong.append(f"{outcome.path.name}: its receipt does not balance")
            if self._tally(outcome.path) != (receipt["lines"], receipt["good"], receipt["bad"], receipt["events"]):
                self.wrong.append(f"{outcome.path.name}: a preview of the same bytes says otherwise than the receipt")
        if not self.wrong:
            self._say("Each receipt says what `importer preview` says of the same bytes.")

    @staticmethod
    def _tally(path: Path) -> tuple[int, int, int, int]:
        with path.open("rb") as file:
            tally = previewed(
                [file.read()], DEFAULT, SystemClock().now_ms(), tuple(SINKS.values()), first_rows=0, bad_rows=0
            ).tally
        return tally.lines, tally.good, tally.bad, tally.events

    def _refused(self, outcomes: list[Outcome]) -> None:
        first = next((outcome for outcome in outcomes if outcome.path.name == SHOWN_FILE), None)
        if first is not None and first.bad_rows:
            self._say(f"In {SHOWN_FILE}, the sample of the vendor's own manual:")
            show.bad_row(self.out, first.bad_rows[0], indent=4)
            self.out.print()
        made = show.table("file", "line", "reason", "field", "fix", numbers=("line",))
        for outcome in outcomes:
            for row in outcome.bad_rows if outcome is not first else ():
                made.add_row(
                    Text(outcome.path.name, no_wrap=True),
                    f"{row.line}",
                    Text(row.reason, style="yellow", no_wrap=True),
                    Text(row.field, no_wrap=True),
                    Text(show.remedy(row.field, row.message, row.hint)),
                )
        self._say("In the other files:")
        show.put_table(self.out, made)

    def _stored(self, outcome: Outcome) -> None:
        events = self._events(outcome)
        show.event_table(self.out, [(str(number), event) for number, event in enumerate(events, start=1)], "#")
        good = outcome.receipt["good"] if outcome.receipt else 0
        if len(events) != good:
            self.wrong.append(f"{outcome.path.name}: {good} good rows, but {len(events)} events in DynamoDB")
        self.out.print()
        made = show.table("user", "property", "value", "said on")
        for item in self._users():
            made.add_row(
                Text(str(item["user_id"])),
                Text(str(item["record"]).removeprefix("prop#")),
                Text("removed", style="dim") if item.get("deleted") else Text(show.said(item["value"])),
                show.utc(int(item["event_time_ts"])) if "event_time_ts" in item else Text("its upload", style="dim"),
            )
        show.put_table(self.out, made)
        self._say("(The latest row wins, in whatever order the rows came. `importer user ID` shows one person.)")

    def _places(self, outcome: Outcome) -> None:
        if outcome.execution is None or outcome.receipt is None:
            return
        show.addresses(self.out, outcome.execution, outcome.receipt)
        with explained(self.connection.name):
            left = list(self.connection.objects.keys(self.connection.stack.bucket, "imports/"))
        if left:
            self.wrong.append(f"imports/ still holds {left[0]}")
        bucket = self.connection.stack.stream_bucket
        if bucket:
            count = self._on_the_stream(bucket, outcome)
            show.label(
                self.out, "stream", f"{show.many(count, 'event')} of this file as lines in s3://{bucket}/events/"
            )
            if count != outcome.receipt["good"]:
                self.wrong.append(f"{outcome.path.name}: the stream got {count} events")
        show.label(self.out, "imports/", "empty" if not left else f"still holds {show.many(len(left), 'object')}")

    def _mend(self, outcome: Outcome) -> None:
        """Mend the errors file as `importer fix` proposes, drop it; then drop the first file once more."""
        if outcome.execution is None or outcome.execution.outcome is None:
            return
        before = len(self._stored_items(outcome.path))
        self._say(f"What `importer fix {SHOWN_FILE}` proposes for the errors file:")
        self.out.print()
        mended = io.BytesIO()
        with explained(self.connection.name):
            with show.Bars(quiet=True) as bars:
                target = fixing.errors_of(self.connection, outcome.execution, bars.file(outcome.path))
                found, _ = fixing.mend(target, fixing.Choice(), fixing.Outputs(mended=mended), fixing.EXAMPLES)
            fixing.page(self.out, target, found, self.connection, changes=True)
            self._say("Dropped, with the id of the import whose rows it has in its name: one more event.")
            name = f"logins.{outcome.execution.id}.json"
            after_mending = self._drop_bytes(outcome, name, mended.getvalue())
            stands = importing.outstanding(self.connection, outcome.execution)
        self._say(f"Drop {SHOWN_FILE} again, as people do: the same events, each still there once.")
        after_again = self._drop_bytes(outcome, SHOWN_FILE, outcome.path.read_bytes())
        show.label(
            self.out,
            "events",
            f"of this user: {before} before, {after_mending} with the mended row, {after_again} after the repetition",
        )
        show.label(self.out, "to mend", f"{stands.rows} of {show.many(stands.bad, 'bad row')} still outstanding")
        if stands.rows:
            self.wrong.append("the mended row is outstanding still")
        if (after_mending, after_again) != (before + 1, before + 1):
            self.wrong.append("mending and repeating did not leave exactly one event more")

    def _end(self) -> int:
        if self.wrong:
            self.out.print()
            self._say("Not everything went as designed:", "bold red")
            for sentence in self.wrong:
                show.paragraph(self.out, f"- {show.shown_whole(sentence)}", "red")
            return 1
        self.out.print()
        self._say("Now you", "bold")
        for command, what in (
            ("make up", "start a twin that stays"),
            (".venv/bin/importer preview FILE", "see what an import of your file would do"),
            (".venv/bin/importer import FILE", "import it, and see its receipt"),
            (".venv/bin/importer executions", "see what was imported"),
            (".venv/bin/importer fix FILE", "see how its refused rows could be mended"),
            (".venv/bin/importer console", "do it all on a page in the browser"),
            ("make down", "stop the twin"),
            ("make build && sam deploy --guided", "deploy to your AWS account"),
        ):
            self.out.print(Text(f"  {command:<36}").append(what, style="dim"))
        return 0

    # -- what they need -----------------------------------------------------------------------------------------

    def _drop_bytes(self, outcome: Outcome, name: str, body: bytes) -> int:
        """Drop bytes under a name, wait, and count the user's events."""
        with tempfile.TemporaryDirectory(prefix="importer-demo-") as folder:
            path = Path(folder, name)
            path.write_bytes(body)
            dropped = dropping.import_files(
                self.connection, (path,), DEFAULT, time.monotonic() + TIMEOUT_SECONDS, bad_rows=0, quiet=True
            )
        if dropped[0].execution is None or dropped[0].execution.status is not Status.SUCCEEDED:
            self.wrong.append(f"{name}: {dropped[0].trouble or 'its import failed'}")
        return len(self._stored_items(outcome.path))

    def _stored_items(self, path: Path) -> list[dict[str, Any]]:
        """Everything the events table holds of the user a file speaks of."""
        user = previewed([path.read_bytes()], DEFAULT, 0, (), first_rows=1, bad_rows=0).first_events[0][1].user_id
        with explained(self.connection.name):
            answer = self.connection.dynamodb.query(
                TableName=self.connection.stack.events_table,
                KeyConditionExpression="user_id = :user",
                ExpressionAttributeValues={":user": {"S": user}},
                ConsistentRead=True,
            )
        return [{name: _deserialize(value) for name, value in item.items()} for item in answer["Items"]]

    def _events(self, outcome: Outcome) -> list[Event]:
        """The events an import wrote, read back from DynamoDB."""
        return [
            Event(
                item["event_id"],
                item["event_name"],
                int(item["event_time_ts"]),
                item["user_id"],
                item["properties"],
                int(item["address"]),
            )
            for item in self._stored_items(outcome.path)
            if outcome.execution is not None and item["execution_id"] == outcome.execution.id
        ]

    def _on_the_stream(self, bucket: str, outcome: Outcome) -> int:
        """How many events of an import the stream has delivered: one that came twice counts once."""
        deadline = time.monotonic() + DELIVERY_SECONDS
        while True:
            found: set[str] = set()
            with explained(self.connection.name):
                for key in self.connection.objects.keys(bucket, "events/"):
                    for text in (self.connection.objects.get(bucket, key) or b"").splitlines():
                        line = json.loads(text)
                        if outcome.execution and line["execution_id"] == outcome.execution.id and "kind" not in line:
                            found.add(line["event_id"])
            expected = outcome.receipt["good"] if outcome.receipt else 0
            if len(found) >= expected or time.monotonic() > deadline:
                return len(found)
            time.sleep(0.2)

    def _users(self) -> list[dict[str, Any]]:
        with explained(self.connection.name):
            answer = self.connection.dynamodb.scan(TableName=self.connection.stack.users_table)
        plain = [{name: _deserialize(value) for name, value in item.items()} for item in answer["Items"]]
        known = (item for item in plain if "rank" in item)
        return sorted(known, key=lambda item: (item["user_id"], item["record"]))

    def _step(self, number: int, text: str) -> None:
        self.out.print()
        self.out.print(Text(f"{number}. {text}", style="bold cyan"))

    def _say(self, text: str, style: str = "") -> None:
        self.out.print(Text(text, style=style))


def main() -> int:
    """The demo in a twin of its own, which ends with it: also on Ctrl-C and on a polite kill."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with (
            tempfile.TemporaryDirectory(prefix="importer-demo-") as directory,
            twin.running(Path(directory)) as outputs,
        ):
            return run(outputs)
    except twin.TwinError as error:
        twin.say(str(error))
        return 4
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
