"""`importer alarms`: which alarms ring now, each explained as the message about it would be."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from cli import show
from cli.connection import Connection, connected, explained
from cli.verbs import DONE, ROWS_REFUSED, json_option, stack_option
from cli.workplace import workplace
from importer.aws.clock import SystemClock
from importer.aws.looking import AlarmTable, Logs, Papers, Peek
from importer.aws.series import SeriesTable
from importer.doors import explanations
from importer.doors.alarms import ALARM, Alarm, alarm_described
from importer.doors.expecting import unusual
from importer.doors.explaining import Looking, facts_of
from importer.doors.explanations import Explanation, Here
from importer.executions import files_waiting
from importer.executions.ports import Found
from importer.executions.waiting import RESERVE_MS
from importer.model import S3Object


@click.command("alarms")
@stack_option
@json_option
@click.pass_context
def alarms(ctx: click.Context, stack_name: str | None, as_json: bool) -> None:
    """Show the alarms that ring now, each explained: which file, why, one masked row, what to do.

    Those are meant that publish to the stack's topics, your own among them. The explanation is the one that was sent
    when the alarm began to ring, made anew from what can be found now.

    Exit code 1: something rings.

    \b
    Examples:
      importer alarms --stack s3-event-importer
      importer alarms --json | jq -r '.alarms[].commands[]'
    """
    connection = connected(stack_name)
    ringing = _ringing(connection)
    looking, here = _looking(connection), _here(connection)
    told: list[tuple[Alarm, Explanation]] = []
    for alarm in ringing:
        with explained(connection.name):
            told.append((alarm, explanations.explained(alarm, facts_of(alarm, looking), here)))
    if as_json:
        click.echo(show.to_json({"alarms": [dict(said.document) | {"text": said.text} for _, said in told]}))
    else:
        _page(show.console(), connection, told)
    ctx.exit(ROWS_REFUSED if told else DONE)


def _page(out: Console, connection: Connection, told: list[tuple[Alarm, Explanation]]) -> None:
    if not told:
        show.paragraph(out, f"No alarm of {connection.name} rings.", indent=0)
    for number, (_, said) in enumerate(told):
        if number:
            out.print()
        out.print(Text(said.subject, style="bold"), soft_wrap=True)
        out.print()
        # Commands and samples are copied from here: they are not wrapped.
        out.print(Text(said.text), soft_wrap=True, end="")


def _ringing(connection: Connection) -> list[Alarm]:
    """By name. Composite ones as well."""
    topics = {connection.stack.alarm_topic_arn, connection.stack.explained_topic_arn} - {None, ""}
    found: list[Alarm] = []
    with explained(connection.name):
        client: Any = connection.client("cloudwatch")
        pages = client.get_paginator("describe_alarms").paginate(
            StateValue=ALARM, AlarmTypes=["MetricAlarm", "CompositeAlarm"]
        )
        for page in pages:
            for entry in (*page.get("MetricAlarms", ()), *page.get("CompositeAlarms", ())):
                if topics & set(entry.get("AlarmActions", ())):
                    found.append(alarm_described(entry))
    return sorted(found, key=lambda alarm: alarm.name)


def _here(connection: Connection) -> Here:
    return Here(connection.stack_name, connection.stack.bucket, connection.command)


def _looking(connection: Connection) -> Looking:
    table = AlarmTable(connection.dynamodb, connection.stack.imports_table)

    def walk_waiting(remaining_ms: Callable[[], int], each: Callable[[S3Object, Found], None]) -> object:
        place = replace(workplace(connection), remaining_ms=lambda: remaining_ms() + RESERVE_MS)
        return files_waiting(place, connection.stack.bucket, each)

    return Looking(
        table,
        Papers(lambda: connection.s3),
        Logs(lambda: connection.client("logs"), connection.stack_name),
        Peek(connection.sqs, connection.stack.dead_letter_queue_url),
        walk_waiting,
        partial(unusual, SeriesTable(connection.dynamodb, connection.stack.imports_table)),
        SystemClock(),
    )
