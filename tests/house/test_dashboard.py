"""The dashboard of the template: valid, whole, and of metrics there are. Its picture in docs/ is drawn from it.

`python -m tests.house.test_dashboard` draws it anew.
"""

import json
import re
from html import escape
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import pytest
from samtranslator.yaml_helper import yaml_parse

from importer import telemetry
from importer.telemetry import Metric

ROOT = Path(__file__).parents[2]
TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text(encoding="utf-8"))
RESOURCES = TEMPLATE["Resources"]
PICTURE = ROOT / "docs" / "dashboard.svg"
COLUMNS: Final = 24
# Source: each service's list of metrics and dimensions (docs.aws.amazon.com: lambda monitoring-metrics-types, SQS
# sqs-available-cloudwatch-metrics, DynamoDB metrics-dimensions, API Gateway http-api-metrics, Firehose
# monitoring-with-cloudwatch-metrics).
OF_AWS: Final = {
    "AWS/Lambda": (
        "FunctionName",
        {"Invocations", "Errors", "Throttles", "ConcurrentExecutions", "AsyncEventsDropped"},
    ),
    "AWS/SQS": (
        "QueueName",
        {
            "ApproximateNumberOfMessagesVisible",
            "ApproximateNumberOfMessagesNotVisible",
            "ApproximateAgeOfOldestMessage",
        },
    ),
    "AWS/DynamoDB": ("TableName", {"ConsumedWriteCapacityUnits", "WriteThrottleEvents"}),
    "AWS/ApiGateway": ("ApiId", {"Count", "4xx", "5xx", "Latency"}),
    "AWS/Firehose": ("DeliveryStreamName", {"ThrottledRecords"}),
}
PSEUDO: Final = {"AWS::Region", "AWS::StackName"}


def body(with_stream: bool = True) -> dict[str, Any]:
    """The dashboard as CloudWatch is given it; what is filled in stands as the name of its resource."""
    text, parts = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    for name, chosen in parts.items():
        _, of_stream, without = chosen["Fn::If"]
        text = text.replace(f"${{{name}}}", of_stream["Fn::Sub"] if with_stream else without)
    named = {name.partition(".")[0] for name in re.findall(r"\$\{([^}]+)\}", text)}
    assert named - set(RESOURCES) - PSEUDO == set(), "nothing is filled in that the template does not have"
    found: dict[str, Any] = json.loads(re.sub(r"\$\{([^}]+)\}", r"\1", text))
    return found


def widgets(kind: str, with_stream: bool = True) -> list[dict[str, Any]]:
    return [widget["properties"] for widget in body(with_stream)["widgets"] if widget["type"] == kind]


def metrics(with_stream: bool = True) -> list[tuple[str, str, dict[str, str]]]:
    """Namespace, name and dimensions of each metric that is shown by itself."""
    found = []
    for widget in widgets("metric", with_stream):
        for metric in widget["metrics"]:
            if not isinstance(metric[0], dict):
                namespace, name, *rest = [value for value in metric if not isinstance(value, dict)]
                found.append((namespace, name, dict(zip(rest[::2], rest[1::2], strict=True))))
    return found


def expressions() -> list[str]:
    return [
        metric[0]["expression"]
        for widget in widgets("metric")
        for metric in widget["metrics"]
        if isinstance(metric[0], dict)
    ]


def of_type(kind: str) -> set[str]:
    return {name for name, resource in RESOURCES.items() if resource["Type"] == kind}


@pytest.mark.parametrize("with_stream", [True, False], ids=["stream", "no stream"])
def test_it_is_what_cloudwatch_takes(with_stream: bool):
    """JSON; widgets of kinds there are, within the width, none over another; a graph has its metrics and its region."""
    shown = body(with_stream)
    assert set(shown) == {"start", "periodOverride", "widgets"}
    for widget in shown["widgets"]:
        assert set(widget) == {"type", "x", "y", "width", "height", "properties"}
        assert widget["type"] in ("text", "metric", "alarm")
        assert widget["x"] >= 0
        assert widget["x"] + widget["width"] <= COLUMNS
        assert 1 <= widget["height"] <= 1_000
    for one, other in combinations(shown["widgets"], 2):
        apart = any(
            a[at] + a[size] <= b[at]
            for at, size in (("x", "width"), ("y", "height"))
            for a, b in ((one, other), (other, one))
        )
        assert apart, f"{one} lies over {other}"
    assert len(shown["widgets"]) <= 500  # Quota: of a dashboard
    for graph in widgets("metric", with_stream):
        assert graph["region"] == "AWS::Region"
        assert graph["metrics"]
        assert len(graph["metrics"]) <= 500  # Quota: of a graph
        assert graph["title"]
    assert len(json.dumps(shown)) < 1 << 20


@pytest.mark.parametrize("with_stream", [True, False], ids=["stream", "no stream"])
def test_every_metric_is_one_that_somebody_emits(with_stream: bool):
    """A misspelt one is an empty graph for ever. Ours have the stack's dimension, AWS's that of their resource."""
    for namespace, name, dimensions in metrics(with_stream):
        if namespace == telemetry.NAMESPACE:
            assert name in set(Metric), name
            assert dimensions == {"service": "AWS::StackName"}, name
        else:
            dimension, names = OF_AWS[namespace]
            assert name in names, name
            assert list(dimensions) == [dimension], name
    assert [name for name in re.findall(r'MetricName="(\w+)"', " ".join(expressions())) if name in set(Metric)] == [
        Metric.ROWS_BAD_BY_REASON
    ]


def test_every_expression_is_made_of_what_is_there():
    """A search by our namespace and dimensions, or arithmetic on a metric of the same graph."""
    ids = {
        metric[-1]["id"]
        for widget in widgets("metric")
        for metric in widget["metrics"]
        if isinstance(metric[-1], dict) and "id" in metric[-1]
    }
    search, cost = expressions()
    assert search.startswith(f"SEARCH('{{{telemetry.NAMESPACE},service,reason}} MetricName=")
    assert 'service="AWS::StackName"' in search
    assert cost.partition(" ")[0] in ids


def test_whatever_is_counted_can_be_seen():
    """Each of our metrics has a place; a number nobody looks at is paid for all the same."""
    shown = {name for namespace, name, _ in metrics() if namespace == telemetry.NAMESPACE}
    assert {*shown, Metric.ROWS_BAD_BY_REASON} == set(Metric)


@pytest.mark.parametrize(
    ("kind", "dimension"),
    [
        ("AWS::Serverless::Function", "FunctionName"),
        ("AWS::SQS::Queue", "QueueName"),
        ("AWS::DynamoDB::Table", "TableName"),
        ("AWS::Serverless::HttpApi", "ApiId"),
        ("AWS::KinesisFirehose::DeliveryStream", "DeliveryStreamName"),
    ],
)
def test_whatever_runs_is_on_it(kind: str, dimension: str):
    """Every function, queue, table, door and stream of the template."""
    shown = {dimensions[dimension].partition(".")[0] for _, _, dimensions in metrics() if dimension in dimensions}
    assert shown == of_type(kind)


def test_every_alarm_is_on_it_with_its_state():
    """Those of the stream where there is one."""
    alarms = of_type("AWS::CloudWatch::Alarm")
    of_stream = {name for name in alarms if RESOURCES[name].get("Condition") == "StreamIsWanted"}
    for with_stream, expected in ((True, alarms), (False, alarms - of_stream)):
        (shown,) = widgets("alarm", with_stream)
        assert sorted(shown["alarms"]) == sorted(f"{name}.Arn" for name in expected)


def test_what_is_shown_does_not_depend_on_what_may_not_be_there():
    """A resource that a condition leaves out would keep the stack from being made."""
    text, parts = RESOURCES["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]
    conditions = {
        RESOURCES[name.partition(".")[0]].get("Condition")
        for name in re.findall(r"\$\{([^}]+)\}", text)
        if name not in PSEUDO and name not in parts
    }
    assert conditions <= {None, RESOURCES["Dashboard"]["Condition"]}


def test_its_links_go_to_the_alarms_they_name():
    """An alarm's page says what to do in a sentence, and where the steps are."""
    links = re.findall(r"\[([a-z-]+)\]\(\S+#alarmsV2:alarm/(\w+)\)", json.dumps(widgets("text")))
    assert len(links) >= 10
    for anchor, alarm in links:
        said = RESOURCES[alarm]["Properties"]["AlarmDescription"]
        said = said["Fn::Sub"] if isinstance(said, dict) else said
        assert said.split()[-1] == f"docs/operations.md#{anchor}"


def test_the_picture_is_of_this_dashboard():
    """docs/dashboard.svg, for whoever wants to know what there is to see."""
    assert PICTURE.read_text(encoding="utf-8") == picture()


def picture() -> str:
    """Where what is: titles, and what each graph shows. Numbers are the stack's own."""
    unit, gap = 46, 4
    shown = body()["widgets"]
    height = max(widget["y"] + widget["height"] for widget in shown) * unit // 2
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {COLUMNS * unit} {height}" font-family="sans-serif">',
        f'<rect width="{COLUMNS * unit}" height="{height}" fill="#f2f3f3"/>',
    ]
    for widget in shown:
        x, y = widget["x"] * unit + gap, widget["y"] * unit // 2 + gap
        wide, high = widget["width"] * unit - 2 * gap, widget["height"] * unit // 2 - 2 * gap
        properties = widget["properties"]
        drawn.append(f'<rect x="{x}" y="{y}" width="{wide}" height="{high}" rx="3" fill="#fff" stroke="#d5dbdb"/>')
        plain = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", properties.get("markdown", ""))
        title = properties.get("title") or plain.split("\n")[0].lstrip("# ")
        drawn.append(_words(x + 8, y + 13, 12, title.replace("AWS::StackName", "<stack>"), "#16191f"))
        named = [_label(metric) for metric in properties.get("metrics", ())]
        named += [alarm.removesuffix("Alarm.Arn") for alarm in properties.get("alarms", ())]
        across = 8 if widget["type"] == "alarm" else 2
        for number, name in enumerate(name for name in named if name):
            left, top = number % across * (wide - 16) // across, number // across * 13
            drawn.append(_words(x + 8 + left, y + 30 + top, 9, f"– {name}", "#545b64"))
    return "\n".join([*drawn, "</svg>\n"])


def _label(metric: list[Any]) -> str:
    options = metric[-1] if isinstance(metric[-1], dict) else {}
    if options.get("visible") is False:
        return ""
    return options.get("label") or "each reason"


def _words(x: int, y: int, size: int, text: str, color: str) -> str:
    return f'<text x="{x}" y="{y}" font-size="{size}" fill="{color}">{escape(text)}</text>'


if __name__ == "__main__":
    PICTURE.write_text(picture(), encoding="utf-8")
