"""`importer user` and `importer segment`: what they print for people and machines, and their exit codes."""

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import boto3
import pytest
from click.testing import CliRunner, Result

from cli import people, show, twin
from cli.main import main
from importer.model import Value
from importer.users import property_record
from tests.support.cloud import shared_session
from tests.support.people import T, Tables, outputs, tables

FAR = 4_102_444_800_000  # 2100-01-01


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Tables]:
    """Tables the command takes for the twin's."""
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    # Loading the models of two services is most of what a command costs.
    session = shared_session()
    monkeypatch.setattr(boto3, "Session", lambda *_, **__: session)
    with tables() as made:
        outputs(made, tmp_path)
        yield made


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    assert "\x1b" not in result.output
    return result


def ada(made: Tables) -> None:
    """Three identifiers of one person, and what is known under each."""
    profile, other = made.file("profiles/monday.ndjson"), made.file("tuesday.ndjson")
    made.link("u-1", "ada@example.com", T, profile)
    made.link("ada@example.com", "vec:1", T + 60_000, other)
    made.say("u-1", "prop#", {"address": {"street": "Unter den Linden 1", "zip": "10117"}}, T, profile, address=512)
    made.say("ada@example.com", "prop#address/zip", "10999", T + 1_000, other, address=99)
    made.say("vec:1", "segment#4711", {"score": 3}, T, other, expires_ms=FAR)
    made.say("u-1", "segment#news", None, T, other)
    made.say("u-1", "consent#analytics", {"given": True}, T, other)
    made.happen("u-1", T, "login", {"ip": "10.0.0.1"}, profile)
    made.happen("vec:1", T + 1_500, "buy", {"price": 9}, made.file("forgotten.json", known=False))


PAGE = """\
u-1

Identifiers (3, linked: one person)
  identifier       linked with      since
  u-1
  ada@example.com  u-1              2025-11-21T08:00:00Z
  vec:1            ada@example.com  2025-11-21T08:01:00Z

Properties
  name      value                 since
  address
    street  "Unter den Linden 1"  2025-11-21T08:00:00Z
    zip     "10999"               2025-11-21T08:00:01Z

Segments (2)
  segment  since                 expires               value
  4711     2025-11-21T08:00:00Z  2100-01-01T00:00:00Z  {"score":3}
  news     2025-11-21T08:00:00Z  never

Consents
  name       value  since
  analytics
    given    true   2025-11-21T08:00:00Z

Last events (2)
  time                      event  identifier  from                              properties
  2025-11-21T08:00:01.500Z  buy    vec:1       00000000000000000000000000000003  price=9
  2025-11-21T08:00:00Z      login  u-1         profiles/monday.ndjson            ip="10.0.0.1"
"""


def test_user_shows_all_that_is_known_of_a_person(made: Tables) -> None:
    ada(made)
    result = run("user", "u-1")
    assert (result.exit_code, result.stdout, result.stderr) == (0, PAGE, "")


def test_the_page_is_that_of_the_documentation() -> None:
    assert f"$ importer user u-1\n{PAGE}```" in (twin.ROOT / "docs" / "users.md").read_text(encoding="utf-8")


def test_every_identifier_shows_the_same_person(made: Tables) -> None:
    ada(made)
    for user in ("ada@example.com", "vec:1"):
        lines = run("user", user).stdout.splitlines()
        begin = lines.index("Properties")
        assert lines[begin:] == PAGE.splitlines()[PAGE.splitlines().index("Properties") :]


def test_without_links_an_identifier_stands_alone(made: Tables) -> None:
    ada(made)
    text = run("user", "u-1", "--no-links").stdout
    assert "10117" in text
    assert all(word not in text for word in ("vec:1", "ada@", "4711", "Identifiers", "there may be more"))


def test_a_search_that_was_cut_says_so(made: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    ada(made)
    monkeypatch.setattr(people, "MOST_IDENTIFIERS", 2)
    text = run("user", "u-1").stdout
    assert "Identifiers (2, linked: one person)" in text
    assert "The search ended after 2 identifiers: there may be more." in text
    said = json.loads(run("user", "u-1", "--json").stdout)
    assert (said["identifiers"], said["more_identifiers"]) == (["u-1", "ada@example.com"], True)


def test_origins_say_which_file_set_what_at_which_byte(made: Tables) -> None:
    ada(made)
    lines = run("user", "u-1", "--origins").stdout.splitlines()
    assert '    zip     "10999"               2025-11-21T08:00:01Z  tuesday.ndjson, byte 99' in lines
    assert '    street  "Unter den Linden 1"  2025-11-21T08:00:00Z  profiles/monday.ndjson, byte 512' in lines


def test_user_for_machines_is_one_document(made: Tables) -> None:
    ada(made)
    said = json.loads(run("user", "u-1", "--json", "--origins").stdout)
    assert said["identifiers"] == ["u-1", "ada@example.com", "vec:1"]
    assert [link["identifiers"] for link in said["links"]] == [["ada@example.com", "u-1"], ["ada@example.com", "vec:1"]]
    assert said["properties"] == {"address": {"street": "Unter den Linden 1", "zip": "10999"}}
    assert [(one["segment"], one["expires_ms"], one["value"]) for one in said["segments"]] == [
        ("4711", FAR, {"score": 3}),
        ("news", None, None),
    ]
    assert said["consents"] == {"analytics": {"given": True}}
    assert [(event["event_name"], event["file"]) for event in said["events"]] == [
        ("buy", None),
        ("login", "imports/profiles/monday.ndjson"),
    ]
    assert said["property_origins"][-1] == {
        "path": ["address", "zip"],
        "user_id": "ada@example.com",
        "time_ms": T + 1_000,
        "execution_id": f"{2:032x}",
        "file": "imports/tuesday.ndjson",
        "address": 99,
    }
    assert (said["erased"], said["more_identifiers"], said["next_before"]) == ([], False, None)


# -- events ----------------------------------------------------------------------------------------------------------


def test_older_events_are_reached_by_the_command_that_is_told(made: Tables) -> None:
    source = made.file("a.json")
    keys = [made.happen("u 1", T + number, source=source).event_key for number in range(7)]
    result = run("user", "u 1", "--limit", "3", "--since", str(T + 1))
    assert "Last events (3 of more)" in result.stdout
    assert f"importer user 'u 1' --since {T + 1} --limit 3" in result.stdout
    assert f"--before '{keys[4]}'" in result.stdout
    seen: list[str] = []
    before: list[str] = []
    while True:
        said = json.loads(run("user", "u 1", "--limit", "3", "--json", *before).stdout)
        seen += [event["event_key"] for event in said["events"]]
        if said["next_before"] is None:
            break
        before = ["--before", said["next_before"]]
    assert seen == keys[::-1]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ([], ["c", "b", "a"]),
        (["--since", "2025-11-21T08:00:01Z"], ["c", "b"]),
        (["--until", "2025-11-21T10:00:02+02:00"], ["b", "a"]),
        (["--since", "2025-11-21 08:00:01", "--until", str(T + 2_000)], ["b"]),
        (["--since", "2025-11-22"], []),
        (["--limit", "0"], []),
    ],
)
def test_events_of_a_time(made: Tables, arguments: list[str], names: list[str]) -> None:
    made.say("u", "prop#a", 1)
    for number, name in enumerate("abc"):
        made.happen("u", T + number * 1_000, name)
    said = json.loads(run("user", "u", "--json", *arguments).stdout)
    assert [event["event_name"] for event in said["events"]] == names


def test_no_events_of_a_time_is_not_no_events(made: Tables) -> None:
    made.say("u", "prop#a", 1)
    assert "No events." in run("user", "u").stdout
    made.happen("u", T)
    assert "No events in that time." in run("user", "u", "--since", "2025-11-22").stdout


def test_somebody_with_events_alone_is_known(made: Tables) -> None:
    made.happen("u", T)
    for limit in ("0", "1"):
        assert run("user", "u", "--limit", limit).exit_code == 0


# -- nobody, the erased, the strange ---------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["nobody", "x" * 3_000])
def test_an_unknown_id_is_said_to_be_unknown(made: Tables, user: str) -> None:
    result = run("user", user)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (f"importer: nothing is known of {user} in the twin: ids must be given as they were sent\n")
    assert "nothing is known of nobody in that time" in run("user", "nobody", "--since", "2025-11-22").stderr


def test_the_importers_own_mark_is_nobody(made: Tables) -> None:
    made.client.put_item(TableName=made.users, Item={"user_id": {"S": "erasures"}, "record": {"S": "mark"}})
    assert run("user", "erasures").exit_code == 1


def test_somebody_erased_is_said_to_be_and_when(made: Tables) -> None:
    made.say("u", "prop#old", 1, source=made.file("old.json"))
    made.say("u", "erased", {"scope": "person"}, None, made.file("erasures.ndjson"))
    result = run("user", "u")
    assert result.exit_code == 0
    assert result.stdout == (
        "u\n"
        "  erased     2025-11-21T08:00:02Z, by erasures.ndjson, byte 0\n"
        "  All that was uploaded before is gone; nothing has come since.\n"
        "\n"
        "No events.\n"
    )
    made.say("u", "prop#new", 2)
    text = run("user", "u").stdout
    assert "All that was uploaded before is gone; what follows came later." in text
    assert "new" in text
    assert "old " not in text
    [erased] = json.loads(run("user", "u", "--json").stdout)["erased"]
    assert (erased["time_ms"], erased["value"]) == (T + 2_000, {"scope": "person"})


def test_a_device_is_erased_alone(made: Tables) -> None:
    made.say("vec:1", "erased", {"scope": "device"}, None, made.file("erasures.ndjson"))
    assert "2025-11-21T08:00:01Z, this identifier alone, by erasures.ndjson" in run("user", "vec:1").stdout


def test_names_and_values_of_strangers_are_escaped_and_names_never_cut(made: Tables) -> None:
    """[bold] is no markup, control characters do nothing; a name is there to be copied."""
    name = "[bold]" + "long " * 60 + "\x1b[2J"
    made.say("u\n1", property_record(name), "\x07" + "v" * 500)
    made.say("u\n1", "segment#" + "s" * 300, None)
    made.happen("u\n1", T, "e\x00", {"p\x00": "\x1b[1m"})
    text = run("user", "u\n1").stdout
    assert name.replace("\x1b", "\\x1b") in text
    assert "s" * 300 in text
    assert "u\\n1" in text
    assert "v" * 41 not in text
    assert all(c.isprintable() for c in text.replace("\n", ""))


def test_a_profile_deeper_than_a_page_is_wide_is_shown_and_told_in_full(made: Tables) -> None:
    made.say("u", property_record(*"x" * 500), {"y": [1]})
    lines = run("user", "u").stdout.splitlines()
    assert sum(line.strip().startswith("x") for line in lines) == people.DEEPEST
    value = json.loads(run("user", "u", "--json").stdout)["properties"]
    for _ in range(500):
        value = value["x"]
    assert value == {"y": [1]}


@pytest.mark.parametrize(
    "arguments",
    [
        ["user", ""],
        ["user", "\udcff"],
        ["user", "u", "--since", "yesterday"],
        ["user", "u", "--until", "1425920218"],
        ["user", "u", "--before", "123"],
        ["user", "u", "--limit", "-1"],
        ["user"],
        ["segment", ""],
        ["segment"],
    ],
)
def test_what_cannot_be_meant_is_refused(made: Tables, arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_without_a_twin_it_is_said_how_to_start_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    for verb in ("user", "segment"):
        result = run(verb, "u")
        assert (result.exit_code, "no twin is running here" in result.stderr) == (4, True)


# -- segment ---------------------------------------------------------------------------------------------------------


def test_segment_shows_its_members_and_counts_them_all(made: Tables) -> None:
    for number in range(5):
        made.say(f"u{number}", "segment#vip", None, T, expires_ms=FAR if number % 2 else None)
    made.say("gone", "segment#vip", None, T + 1, deleted=True)
    assert run("segment", "vip", "--limit", "3").stdout == (
        "Segment vip  5 identifiers\n"
        "  user  since                 expires\n"
        "  u0    2025-11-21T08:00:00Z  never\n"
        "  u1    2025-11-21T08:00:00Z  2100-01-01T00:00:00Z\n"
        "  u2    2025-11-21T08:00:00Z  never\n"
        "  2 more: --limit N or --all shows them.\n"
    )
    said = json.loads(run("segment", "vip", "--limit", "1", "--json").stdout)
    assert said == {
        "segment": "vip",
        "count": 5,
        "members": [{"user_id": "u0", "time_ms": T, "expires_ms": None, "value": None}],
    }
    said = json.loads(run("segment", "vip", "--all", "--limit", "1", "--json").stdout)
    assert [one["user_id"] for one in said["members"]] == ["u0", "u1", "u2", "u3", "u4"]


def test_values_of_members_are_shown_where_there_are_any(made: Tables) -> None:
    made.say("u", "segment#vip", {"score": 3})
    assert '  u     2025-11-21T08:00:00Z  never    {"score":3}' in run("segment", "vip").stdout


@pytest.mark.parametrize("name", ["none", "x" * 3_000])
def test_an_empty_segment_is_an_answer(made: Tables, name: str) -> None:
    result = run("segment", name)
    assert (result.exit_code, "".join(result.stdout.split()).startswith(f"Nobodyisinsegment{name}")) == (0, True)
    assert json.loads(run("segment", name, "--json").stdout) == {"segment": name, "count": 0, "members": []}


def test_what_takes_long_says_how_far_it_is(made: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """On stderr, and not to machines."""
    monkeypatch.setattr(show.Counting, "SECONDS", 0)
    for number in range(2):
        made.say(f"u{number}", "segment#vip", None)
    assert run("segment", "vip").stderr == "members read: 1 so far\nmembers read: 2 so far\n"
    assert run("segment", "vip", "--json").stderr == ""


def test_a_stack_without_the_index_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    with tables(indexed=False) as made:
        outputs(made, tmp_path)
        result = run("segment", "vip")
    assert (result.exit_code, "no index by_segment" in result.stderr) == (4, True)


# -- building blocks -------------------------------------------------------------------------------------------------


def test_exact_numbers_are_shown_wherever_they_stand() -> None:
    assert show.said([Decimal("0.10"), {"a": Decimal("1E+99")}]) == '[0.10,{"a":1E+99}]'


def test_json_deeper_than_orjson_goes_is_the_same_json() -> None:
    value: Value = {"e": {}, "l": [], "s": "é\n", "n": [None, True, Decimal("0.1"), -1]}
    for _ in range(300):
        value = {"a": [value]}
    assert json.loads(show.to_json(value), parse_float=Decimal) == value


def test_a_time_no_calendar_has_is_told_as_a_number() -> None:
    assert show.utc(253_402_300_799_999) == "9999-12-31T23:59:59.999Z"
    assert show.utc(253_402_300_800_000) == "253402300800000 ms"
