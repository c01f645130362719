"""Alarms that explain: every alarm's sample is put through the notify function in the trouble it is about, and what
people get is compared whole with its golden message (tests/cases/alarms/)."""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import click
import pytest
from botocore.exceptions import ClientError
from hypothesis import example, given
from hypothesis import strategies as st

from cli.main import main
from importer import assembly
from importer.aws import clients
from importer.bad_rows import FileReason
from importer.doors import explaining as explaining_room
from importer.doors import explanations
from importer.doors.alarms import Kind, alarm_described, alarm_of
from importer.doors.explaining import LOOKING_MS, notes_in
from importer.doors.explanations import LONGEST_SUBJECT, Ended, Facts, Here, explained, log_line
from importer.doors.letters import letter_of
from importer.masking import DIALECT_NAMES, LONGEST_SAMPLE, masked, masked_row
from importer.model import Execution, FileError, Misconfigured, Phase, S3Object, Status, Unavailable
from importer.telemetry import PowertoolsTelemetry
from tests.support import alarms, command
from tests.support.alarms import EVENTS, GOLDEN, Trouble, delivered, document, explaining, in_trouble, published
from tests.support.cloud import REGION
from tests.support.faults import plan
from tests.support.policy import FOR_ALARMS, needed

OF_ALARMS = {kind.value: alarms.samples()[kind.value] for kind in Kind}


# ---- Golden messages -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", alarms.samples())
def test_what_people_get_is_the_golden_message(name: str):
    """Whole. `python -m tests.support.alarms` writes them anew: then the difference is read."""
    assert alarms.golden_text(alarms.samples()[name]) == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")


def test_every_alarm_of_the_template_has_its_sample_and_every_sample_is_a_file():
    """As CloudWatch would publish it today: with the description, metric and threshold of the template."""
    assert sorted(alarms.alarm_ids()) == sorted(kind.value for kind in Kind)
    told = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in EVENTS.glob("*.json")}
    assert told == {name: sample.event for name, sample in alarms.samples().items()}
    assert sorted(path.stem for path in GOLDEN.glob("*.txt")) == sorted(told)


def test_no_message_holds_what_a_row_or_an_address_holds():
    """Names of people, telephone numbers, signatures and passwords are in the troubles, and in no message."""
    secret = re.compile(r"(?i)\bann\b|\bbob\b|smith|example\.org|7700|SECRET|password|sign up")
    found = {path.stem: secret.findall(path.read_text(encoding="utf-8")) for path in GOLDEN.glob("*.txt")}
    assert {name: words for name, words in found.items() if words} == {}


def test_every_subject_is_fit_for_sns():
    """Less than 100 characters of ASCII in one line, and not empty."""
    subjects = [
        line.removeprefix("Subject: ")
        for path in GOLDEN.glob("*.txt")
        for line in path.read_text(encoding="utf-8").split("\n")
        if line.startswith("Subject: ")
    ]
    assert len(subjects) > len(Kind)
    assert [s for s in subjects if not (0 < len(s) <= LONGEST_SUBJECT and s.isascii() and s.isprintable())] == []


def commands_in(text: str) -> list[str]:
    _, found, rest = text.partition("\nRun:\n")
    return [line.strip() for line in rest.partition("\n\n")[0].split("\n")] if found else []


def test_every_command_that_is_named_is_one_there_is():
    """Typed at night, by copying: `importer` takes it, options and all."""
    named = {line for path in GOLDEN.glob("*.txt") for line in commands_in(path.read_text(encoding="utf-8"))}
    assert len(named) > 30
    for line in sorted(named):
        program, *words = shlex.split(line, comments=True)
        assert program in ("importer", "aws"), line
        verb: click.Command = main
        while program == "importer" and isinstance(verb, click.Group) and words and words[0][0] != "-":
            found = verb.get_command(click.Context(verb), words.pop(0))
            assert found is not None, line
            verb = found
        if program == "importer":
            verb.make_context("importer", words)  # raises UsageError


@pytest.mark.parametrize(
    ("code", "commands"),
    [
        (FileReason.ACCESS_DENIED, ["importer redrive e1"]),
        (FileReason.GAVE_UP, ["importer redrive e1"]),
        (FileReason.OBJECT_GONE, []),
        (FileReason.REPLACED_WHILE_READING, []),
        (
            FileReason.OBJECT_ARCHIVED,
            [
                "aws s3api restore-object --bucket bucket --key imports/shop/a.json --restore-request Days=7"
                "    # takes hours",
                "aws s3 cp s3://bucket/imports/shop/a.json a.json",
            ],
        ),
        (FileReason.TRUNCATED, ["aws s3 cp s3://bucket/imports/shop/a.json a.json"]),
    ],
)
def test_what_mends_a_file_that_was_refused_is_what_there_is_to_run(code: FileReason, commands: list[str]):
    """The command does what the likely fix says: nobody is to copy a file that is gone."""
    refused = Execution(
        id="e1",
        source=S3Object("bucket", "imports/shop/a.json", "v1", "etag", 1_234, 0),
        status=Status.FAILED,
        phase=Phase.CLOSED,
        created_ms=0,
        definition={"id": "shop"},
        format="cooladata",
        part_count=1,
        error=FileError(code, "as it is"),
    )
    alarm = alarm_of(document(alarms.alarm_ids()["failed-executions"]))
    assert alarm is not None
    told = explained(alarm, Facts(ended=[Ended(refused)]), Here("", "bucket"))
    mended = [
        line for line in commands_in(told.text) if "preview" not in line and not line.startswith("aws s3 cp a.json")
    ]
    assert mended == ["importer executions e1", *commands]


def test_a_file_called_like_an_option_can_be_copied_and_looked_at():
    def refused(trouble: Trouble) -> None:
        trouble.imports("--delete.json", alarms.event_row().decode().encode("utf-16"))

    commands = commands_in(told_of(refused, "failed-executions"))
    assert "importer preview ./--delete.json    # mend it until this is content" in commands
    assert "aws s3 cp ./--delete.json s3://import-bucket/imports/--delete.json" in commands


# ---- Which alarm it is ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", Kind)
def test_an_alarm_is_known_by_its_section_its_name_or_its_metric(kind: Kind):
    """Whoever makes an alarm of their own on the same metric has it explained as well."""
    told = document(alarms.alarm_ids()[kind.value])
    by_name = told | {"AlarmDescription": None}
    by_metric = by_name | {"AlarmName": "mine"}
    by_section = told | {"AlarmName": "mine", "Trigger": {}}
    found = [alarm_of(one) for one in (told, by_section, by_name, by_metric)]
    assert [one.kind for one in found if one is not None] == [kind] * 4


def test_an_alarm_is_the_same_by_whatever_way_it_is_told():
    """SNS, EventBridge, an alarm's own action on Lambda, and DescribeAlarms."""
    told = document(alarms.alarm_ids()["failed-executions"], 3)
    metric = {
        "name": "ExecutionsFailed",
        "namespace": "S3EventImporter",
        "dimensions": {"service": "s3-event-importer"},
    }
    detail = {
        "alarmName": told["AlarmName"],
        "state": {"value": "ALARM", "reason": told["NewStateReason"], "timestamp": told["StateChangeTime"]},
        "previousState": {"value": "OK"},
        "configuration": {
            "description": told["AlarmDescription"],
            "metrics": [
                {"id": "m", "metricStat": {"metric": metric, "period": 300, "stat": "Sum"}, "returnData": True}
            ],
        },
    }
    described = {
        **told["Trigger"],
        "Statistic": "Sum",
        "Dimensions": [{"Name": "service", "Value": "s3-event-importer"}],
        "AlarmName": told["AlarmName"],
        "AlarmDescription": told["AlarmDescription"],
        "StateValue": "ALARM",
        "StateReason": told["NewStateReason"],
        "StateTransitionedTimestamp": told["StateChangeTime"],
    }
    ways = [
        alarm_of(json.dumps(told)),
        alarm_of({"source": "aws.cloudwatch", "detail": detail}),
        alarm_of({"source": "aws.cloudwatch", "alarmData": detail}),
        alarm_described(described),
    ]
    said = [(w.kind, w.state, w.changed_ms, w.window_ms, w.values, w.measured) for w in ways if w is not None]
    assert said == [said[0]] * 4
    assert (said[0][0], said[0][3], said[0][4]) == (Kind.FAILED_EXECUTIONS, 300_000, (3.0,))


@pytest.mark.parametrize(
    "message",
    [
        "",
        "null",
        "[]",
        "7",
        "{}",
        '{"AlarmName": 7}',
        '{"AlarmName": "a"}',
        '{"detail": {}}',
        '{"Records": []}',
        "{",
        "\x00",
    ],
)
def test_what_is_no_alarm_is_passed_on_as_it_is(message: str):
    """A test of the topic, or somebody's text: never raised, never lost."""
    with in_trouble(alarms.fine) as trouble, explaining(trouble) as notify:
        [told] = notify(delivered(message, subject="Hello\nworld " + "é" * 90))["messages"]
        [(subject, text)] = published()
    assert (told["text"], text) == (message, message or "(an empty message)")
    assert subject.startswith("Hello\\nworld")
    assert len(subject) <= LONGEST_SUBJECT
    assert subject.isascii()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
MEMBERS = (
    "AlarmDescription",
    "NewStateReason",
    "StateChangeTime",
    "Trigger",
    "AlarmArn",
    "TriggeringChildren",
    "AlarmRule",
)
TRIGGER = ("MetricName", "Namespace", "Dimensions", "Period", "Threshold", "Metrics", "EvaluationPeriods", "Statistic")


@given(st.dictionaries(st.sampled_from(MEMBERS), JSON), st.dictionaries(st.sampled_from(TRIGGER), JSON), JSON)
@example({}, {"Threshold": 1e400, "Period": -1, "EvaluationPeriods": "x"}, [{"Metric": 7}])
@example({"StateChangeTime": "9999-12-31T23:59:59.999+0000"}, {"Period": 10**30}, None)
def test_an_alarm_of_any_shape_is_explained(members: Any, trigger: Any, metrics: Any):
    """Nothing in a payload has to be of the type it should be."""
    told = {"AlarmName": "any", "NewStateValue": "ALARM", "Trigger": {"Metrics": metrics} | trigger} | members
    alarm = alarm_of(told)
    assert alarm is not None
    said = explained(alarm, Facts(), Here("s3-event-importer", "import-bucket", " --stack s3-event-importer"))
    assert said.subject
    assert len(said.subject) <= LONGEST_SUBJECT
    assert "any" in said.text


# ---- Nothing silences an alarm -------------------------------------------------------------------------------------


class Denying:
    """A client of AWS whose every call is denied."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*_: Any, **__: Any) -> Any:
            said = {
                "Error": {"Code": "AccessDeniedException", "Message": ""},
                "ResponseMetadata": {"HTTPStatusCode": 403},
            }
            raise ClientError(said, name)  # type: ignore[arg-type]

        return call


CLIENTS = ("prompt_s3", "prompt_records", "prompt_queues", "logs")


@pytest.mark.parametrize("name", OF_ALARMS)
def test_an_alarm_goes_out_though_everything_is_denied_and_names_the_permission(name: str):
    """What could not be looked up is said; so is all that CloudWatch said."""
    sample = alarms.samples()[name]
    with in_trouble(sample.trouble) as trouble, explaining(trouble) as notify:
        with mock.patch.multiple(clients, **{one: mock.Mock(return_value=Denying()) for one in CLIENTS}):
            notify(sample.event)
        [(subject, text)] = published()
    assert subject.startswith("ALARM: ")
    assert re.search(r"Could not be looked up:\n  .*; allow (dynamodb|s3|sqs|logs):\w+ on ", text), text
    assert "Says:     Threshold Crossed" in text


def test_what_cannot_be_published_is_raised_when_every_other_has_had_its_turn():
    """Lambda invokes again: what was published then is not published a second time."""
    first, second = document(alarms.alarm_ids()["bad-rows"], 50), document(alarms.alarm_ids()["failed-fetches"])
    with in_trouble(alarms.fine) as trouble, explaining(trouble) as notify:
        topic = alarms.app._explainer()._topic
        assert topic is not None
        publish, tried = topic.publish, []

        def flaky(subject: str, *told: Any) -> None:
            tried.append(subject)
            if len(tried) == 1:
                raise Unavailable("the topic is away")
            publish(subject, *told)

        with mock.patch.object(topic, "publish", flaky):
            with pytest.raises(Unavailable, match="the topic is away"):
                notify(delivered(first, second))
            notify(delivered(first, second))
        subjects = [subject for subject, _ in published()]
    assert subjects == [tried[1], tried[0]]


def test_a_bug_of_ours_lets_the_alarm_through_as_cloudwatch_told_it(capsys: pytest.CaptureFixture[str]):
    """With a word that there is one; its own words, which may quote a row, are in no message and in no log."""
    with in_trouble(alarms.refused_files) as trouble, explaining(trouble) as notify:
        with mock.patch.object(explaining_room, "facts_of", side_effect=KeyError("ann@example.org")):
            notify(delivered(document(alarms.alarm_ids()["failed-executions"], 3)))
        [(subject, text)] = published()
    assert subject == "ALARM: s3-event-importer-ExecutionsFailedAlarm-1ABCDEF234567 (s3-event-importer)"
    assert "a fault of ours (KeyError): the log of the notify function says where" in text
    assert "rings at more than 0" in text
    assert "ann@" not in text + capsys.readouterr().out


def test_a_bug_in_one_lookup_leaves_the_others_their_turn():
    """Half an explanation, and a word of what is missing."""
    with (
        in_trouble(alarms.left_behind) as trouble,
        explaining(trouble) as notify,
        mock.patch.object(trouble, "filter_log_events", side_effect=KeyError("ann@example.org")),
    ):
        [told] = notify(delivered(document(alarms.alarm_ids()["part-errors"])))["messages"]
    assert [one["name"] for one in told["explanation"]["about"]] == ["imports/shop/big.json"]
    assert told["explanation"]["not_looked_up"] == [
        "the log of the part function: a fault of ours (KeyError), which the log has"
    ]


def test_without_a_receipt_the_reasons_file_says_why():
    """It was removed, or may not be read; what the first rows were refused for is told all the same."""
    with in_trouble(alarms.refused_rows) as trouble, explaining(trouble) as notify:
        with trouble.cloud.unseen():
            s3 = trouble.cloud.client("s3")
            for entry in s3.list_objects_v2(Bucket=trouble.cloud.bucket, Prefix="receipts/")["Contents"]:
                s3.delete_object(Bucket=trouble.cloud.bucket, Key=entry["Key"])
        [told] = notify(OF_ALARMS["bad-rows"].event)["messages"]
    assert [one["count"] for one in told["explanation"]["reasons"]] == [6, 4, 2]
    assert told["explanation"]["fix"] == "evnt_time present: did you mean event_time_ts?"


def test_lookups_end_in_time():
    """Who is woken does not wait for a table that answers slowly."""
    with in_trouble(alarms.left_behind) as trouble, explaining(trouble) as notify:
        begun_ms = trouble.cloud.clock.now_ms()

        def slow(**_: Any) -> Any:
            trouble.cloud.clock.sleep(LOOKING_MS / 1000)
            return {"events": []}

        with mock.patch.object(trouble, "filter_log_events", slow):
            notify(delivered(document(alarms.alarm_ids()["part-errors"])))
        took_ms = trouble.cloud.clock.now_ms() - begun_ms
        [(_, text)] = published()
    assert "unfinished executions: there was no time left, after 20 s" in text
    assert took_ms < LOOKING_MS + 1_000


def test_what_the_function_says_itself_is_not_said_again():
    """Somebody has subscribed it to the topic it publishes to: one round, and no second (B2)."""
    with in_trouble(alarms.fine) as trouble, explaining(trouble) as notify:
        event = delivered("explained already")
        event["Records"][0]["Sns"]["TopicArn"] = alarms.os.environ["ALARM_TOPIC"]
        assert notify(event) == {"messages": []}
        assert published() == []


@pytest.mark.parametrize("topic", ["", "ExplainedTopic"])
def test_without_a_topic_who_invokes_by_hand_reads_the_explanation(topic: str):
    """`sam local invoke NotifyFunction -e events/alarms/failed-executions.json` prints it."""
    with in_trouble(alarms.refused_files) as trouble, explaining(trouble, ALARM_TOPIC=topic) as notify:
        [told] = notify(delivered(document(alarms.alarm_ids()["failed-executions"], 3)))["messages"]
        assert published() == []
    assert told["subject"] == "ALARM: files refused: wednesday.json and 2 more (s3-event-importer)"
    assert told["explanation"]["kind"] == "failed-executions"
    assert json.loads(json.dumps(told)) == told


def test_on_the_twin_commands_need_no_stack():
    """There `importer` means the twin where nothing else is said."""
    with in_trouble(alarms.refused_files) as trouble, explaining(trouble):
        settings = alarms.app.Settings.of(alarms.os.environ | {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})
        telemetry = PowertoolsTelemetry(alarms.app.logger, alarms.app.metrics)
        explainer = assembly.explainer_of(settings, telemetry, trouble.cloud.clock)
        alarm = alarm_of(document(alarms.alarm_ids()["failed-executions"], 3))
        assert alarm is not None
        commands = explainer.explain(alarm).document["commands"]
    assert isinstance(commands, list)
    assert [one for one in commands if "--stack" in str(one)] == []


def test_only_what_sns_delivers_is_taken_for_a_message():
    """The imports table's stream, dead letters and other events go their own way."""
    assert notes_in({"Records": [{"eventName": "MODIFY", "dynamodb": {}}]}) == []
    assert notes_in({"Records": []}) == []
    assert notes_in({"schema": "notice_due/1", "closed": {}}) == []
    assert [note.message for note in notes_in({"Records": [{"Sns": {"Message": {"a": 1}}}]})] == ['{"a":1}']
    with in_trouble(alarms.fine) as trouble, explaining(trouble) as notify, pytest.raises(Misconfigured):
        notify({"hello": "world"})


def test_its_role_may_do_what_explaining_needs_and_nothing_else():
    """Least privilege, in both directions, over all samples; the logs' groups are held by a test of the template."""
    used = set()
    for sample in OF_ALARMS.values():
        with in_trouble(sample.trouble) as trouble, explaining(trouble) as notify, plan(trouble.cloud) as invocation:
            notify(sample.event)
        used |= {permission for call in invocation.calls for permission in needed(call)}
    assert used == FOR_ALARMS | {("sqs:ReceiveMessage", "DeadLetterQueue")}


def test_an_alarm_nobody_could_be_told_of_is_a_letter_that_can_be_delivered_again():
    """Lambda's record of it, and what SNS itself could not deliver."""
    event = delivered(document(alarms.alarm_ids()["bad-rows"], 50))
    record = {"requestContext": {"condition": "RetriesExhausted"}, "requestPayload": event}
    told = {"Type": "Notification", "Message": event["Records"][0]["Sns"]["Message"]}
    for body, payload in ((record, event), (told, told)):
        letter = letter_of({"MessageId": "1", "ReceiptHandle": "1", "Body": json.dumps(body)})
        assert (letter.what, json.loads(letter.payload), letter.unknown) == ("alarm", payload, "")
        assert letter.about() == "an alarm that nobody was told of"
        assert len(notes_in(payload)) == 1


# ---- Parts of a message --------------------------------------------------------------------------------------------


@given(st.text())
@example("Ann Smith <ann@example.org> +49 170 1234567 ß é ١٢ 漢字")
def test_of_a_masked_text_only_its_shape_is_left(text: str):
    """Every letter is an x, every digit a 9, one for one; of other scripts too."""
    assert len(masked(text)) == len(text)
    assert set(re.sub(r"[x9]", "", masked(text))) <= {c for c in map(chr, range(128)) if not c.isalnum()}


@given(st.binary(max_size=600))
@example(b'{"user_id": "ann", "Ann Smith": NaN, "x": "\\"user_id\\": null"}\r\n')
def test_a_masked_row_has_nothing_of_ours_but_the_dialects_names_and_jsons_words(raw: bytes):
    """Bytes that are no JSON, and no text, as well."""
    shown = masked_row(raw)
    words = set(re.findall(r"[A-Za-z$_]{2,}", re.sub(r"\\[xuU][0-9a-fA-F]+|\\[a-z]", "", shown)))
    known = {part for name in DIALECT_NAMES for part in re.findall(r"[A-Za-z$_]{2,}", name)}
    known |= {"true", "false", "null", "NaN", "Infinity", "None", "True", "False"}
    assert {word for word in words if set(word) - set("x_$") and word not in known} == set()
    assert len(shown) <= LONGEST_SAMPLE
    assert shown.isprintable()


def test_the_field_a_row_was_refused_for_may_be_read_in_it():
    """Its name is in the reason anyhow."""
    assert masked_row(b'{"amount": "12,50", "colour": "red"}', ["amount"]) == '{"amount": "99,99", "xxxxxx": "xxx"}'


@pytest.mark.parametrize(
    ("line", "trouble"),
    [
        ('{"level": "ERROR", "message": "failed", "exception": "Traceback\\nUnavailable: away"}', "Unavailable: away"),
        ('{"level": "INFO", "message": "closed", "bad": 3}', None),
        ("2026 3f1 Task timed out after 900.00 seconds", "Task timed out after 900.00 seconds"),
        ("REPORT RequestId: 1 Duration: 1 ms Status: timeout", "Status: timeout"),
        ("RequestId: 1 Error: Runtime exited with error: signal: killed", "Runtime exited with error: signal: killed"),
        ("[ERROR] Unavailable: away\nTraceback", "Unavailable: away"),
        ("START RequestId: 1", None),
        ('{"level": "ERROR"', None),
    ],
)
def test_of_a_log_what_went_wrong_is_read(line: str, trouble: str | None):
    """Our own lines, and those of Lambda."""
    found = log_line(line, 0)
    assert (None if found is None else found.trouble) == trouble


def test_a_command_is_quoted_and_left_out_where_a_name_cannot_be_pasted():
    """A file's name is its sender's: it must not run in the shell of who is woken."""

    def trouble(made: Trouble) -> None:
        made.cloud.clock.sleep(420)
        made.imports("$(reboot) '; rm -rf ~.txt", b"")

    with in_trouble(trouble) as made, explaining(made) as notify:
        [told] = notify(delivered(document(alarms.alarm_ids()["failed-executions"])))["messages"]
    commands = told["explanation"]["commands"]
    assert commands[1] == (
        "aws s3 cp 's3://import-bucket/imports/$(reboot) '\"'\"'; rm -rf ~.txt' '$(reboot) '\"'\"'; rm -rf ~.txt'"
    )

    def unprintable(made: Trouble) -> None:
        made.cloud.clock.sleep(420)
        made.imports("\x1b[31mred\n.txt", b"")

    with in_trouble(unprintable) as made, explaining(made) as notify:
        [told] = notify(delivered(document(alarms.alarm_ids()["failed-executions"])))["messages"]
    assert [one.split()[:2] for one in told["explanation"]["commands"]] == [["importer", "executions"]]
    assert told["text"].replace("\n", "").isprintable()


@pytest.mark.parametrize("name", ["Überlast", "磁盘已满", "a\u202eb", "ü" * 255])
def test_an_alarm_of_any_name_has_a_subject_that_sns_takes(name: str):
    """CloudWatch takes any text for a name; of another subject SNS would refuse the whole message."""
    told = alarms._stranger(AlarmName=name)
    alarm = alarm_of(told)
    assert alarm is not None
    said = explained(alarm, Facts(), Here("shop", "bucket"))
    assert said.subject.startswith("ALARM: ")
    assert said.subject.isascii()
    assert said.subject.isprintable()
    assert len(said.subject) <= LONGEST_SUBJECT


def test_a_state_that_is_none_of_cloudwatchs_can_be_published():
    alarm = alarm_of(document(alarms.alarm_ids()["bad-rows"]) | {"NewStateValue": "ü\x00\n"})
    assert alarm is not None
    said = explained(alarm, Facts(), Here("shop", "bucket"))
    assert (said.subject.isascii(), said.attributes["state"]) == (True, "\\xdc\\x00")


def told_of(trouble: Callable[[Trouble], None], section: str, value: float = 60) -> str:
    with in_trouble(trouble) as place, explaining(place) as notify:
        notify(delivered(document(alarms.alarm_ids()[section], value)))
        [(_, text)] = published()
    return text


def test_a_row_that_was_blanked_is_no_sample():
    """Whom it was about has been forgotten: the next one is shown, or none."""

    def forgotten(trouble: Trouble) -> None:
        trouble.imports("monday.json", alarms.event_row(user=None) * 2)
        key = next(key for key in trouble.cloud.objects("errors/") if key.endswith("monday.json"))
        first, second, _ = trouble.cloud.objects(key)[key].split(b"\n")
        with trouble.cloud.unseen():
            body = b"\n".join([b" " * len(first), second if shown else b" " * len(second), b""])
            trouble.cloud.client("s3").put_object(Bucket=trouble.cloud.bucket, Key=key, Body=body)

    for shown in (True, False):
        text = told_of(forgotten, "bad-rows")
        assert ("line 2: missing_field" in text, "One sample" in text) == (shown, shown)


def test_what_was_counted_of_some_files_says_so():
    """Ten receipts are read; the sum above is of all files."""

    def a_bad_day(trouble: Trouble) -> None:
        for number in range(12):
            trouble.imports(f"{number}.json", alarms.event_row(user=None) * (number + 1))

    text = told_of(a_bad_day, "bad-rows")
    assert text.startswith("78 of 78 rows of 12 files were refused.")
    assert "Top reasons, of the 10 files with most of them:\n  75  missing_field (user_id)" in text


def test_a_long_queue_of_dead_letters_is_as_long_as_its_alarm_says():
    """SQS shows some of it, and again the same ones."""

    def many(trouble: Trouble) -> None:
        for number in range(30):
            trouble.letter({"schema": "task/1", "execution_id": f"{number:032x}", "start": 0})

    assert "; 30 were there when it rang." in told_of(many, "dead-letters", 30)


# ---- importer alarms -----------------------------------------------------------------------------------------------


@pytest.fixture
def installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[Trouble]:
    """An installation with refused files, and two alarms that ring: one to its topic, one to somebody else's."""
    from cli import connection, twin

    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    with in_trouble(alarms.refused_files) as trouble:
        command.write_outputs(trouble.cloud, tmp_path)
        outputs = json.loads((tmp_path / "outputs.json").read_text())
        (tmp_path / "outputs.json").write_text(json.dumps(outputs | {"alarm_topic_arn": f"arn:aws:sns:{REGION}:1:raw"}))
        monkeypatch.setattr(connection, "SystemClock", lambda: trouble.cloud.clock)
        monkeypatch.setattr("cli.ringing.SystemClock", lambda: trouble.cloud.clock)
        yield trouble


def ring(trouble: Trouble, name: str, topic: str) -> None:
    with trouble.cloud.unseen():
        cloudwatch = trouble.cloud.client("cloudwatch")
        cloudwatch.put_metric_alarm(
            AlarmName=name,
            Namespace="S3EventImporter",
            MetricName="ExecutionsFailed",
            Dimensions=[{"Name": "service", "Value": "twin"}],
            Statistic="Sum",
            Period=300,
            EvaluationPeriods=1,
            Threshold=0,
            ComparisonOperator="GreaterThanThreshold",
            AlarmActions=[f"arn:aws:sns:{REGION}:1:{topic}"],
        )
        cloudwatch.set_alarm_state(
            AlarmName=name, StateValue="ALARM", StateReason="Threshold Crossed: 1 datapoint [3.0 (x)]"
        )


def test_alarms_shows_what_rings_here_explained(installation: Trouble) -> None:
    """As the message about it; alarms of others are theirs."""
    ring(installation, "twin-ExecutionsFailedAlarm-1", "raw")
    ring(installation, "somebody-else", "theirs")
    result = command.run(installation.cloud, "alarms", "--json")
    told = json.loads(result.stdout)["alarms"]
    assert (result.exit_code, [one["alarm"] for one in told]) == (1, ["twin-ExecutionsFailedAlarm-1"])
    assert told[0]["kind"] == "failed-executions"
    assert "imports/wednesday.json" in [one["name"] for one in told[0]["about"]]
    page = command.run(installation.cloud, "alarms")
    assert page.stdout.startswith("ALARM: files refused: ")
    assert f"\n  {told[0]['commands'][0]}\n" in page.stdout


def test_alarms_says_so_where_none_rings(installation: Trouble) -> None:
    """Exit code 0: a script can wait for that."""
    result = command.run(installation.cloud, "alarms")
    assert (result.exit_code, result.stdout) == (0, "No alarm of the twin rings.\n")


def test_the_samples_of_alarms_speak_of_no_other_time() -> None:
    """What is explained depends on the payload's time and not on the clock: told tomorrow, it is the same."""
    sample = alarms.samples()["failed-executions"]
    with in_trouble(sample.trouble) as trouble, explaining(trouble) as notify:
        [first] = notify(sample.event)["messages"]
        trouble.cloud.clock.sleep(86_400)
        [later] = notify(sample.event)["messages"]
    assert first == later


@pytest.mark.parametrize(
    ("field", "told"),
    [
        ("event_time_ts", "event_time_ts"),
        ("properties.cart_id", "properties.cart_id"),
        ("actions[0].properties.UTM_SOURCE", "actions[0].properties.UTM_SOURCE"),
        ("{u}city", "{u}city"),
        ("Ann Smith", "xxx xxxxx"),
        ("properties.Smith", "properties.xxxxx"),
        ("properties.+44 20 7946 0958", "xxxxxxxxxx.+99 99 9999 9999"),
        ("{smith}x", "{xxxxx}x"),
        ("properties.李雷", "properties.xx"),
    ],
)
def test_a_name_that_may_be_a_persons_is_masked_wherever_it_stands(field: str, told: str):
    """Senders write maps from persons to things: what looks like a value is told as one."""
    assert explanations._field(field) == told


@pytest.mark.parametrize("when", ["0001-01-01T00:00:00+1400", "9999-12-31T23:59:59.999+0000", "1969-12-31T23:59:59Z"])
def test_a_time_at_which_no_alarm_can_have_changed_is_as_good_as_none(when: str):
    """It is explained all the same; what follows from such a time cannot even be written."""
    told = document(alarms.alarm_ids()["bad-rows"]) | {"StateChangeTime": when}
    alarm = alarm_of(told)
    assert alarm is not None
    assert alarm.changed_ms is None
    assert "RowsBad" in explained(alarm, Facts(), Here("stack", "bucket")).text


def test_an_alarm_that_cannot_be_explained_at_all_goes_out_in_cloudwatchs_own_words():
    """Even if what is said instead of an explanation is at fault."""
    fault = mock.patch.object(explaining_room, "explained", side_effect=ValueError)
    with in_trouble(alarms.fine) as trouble, explaining(trouble) as notify, fault:
        notify(delivered(told := document(alarms.alarm_ids()["bad-rows"])))
        assert json.loads(published()[0][1]) == told
