"""`importer console`: the address it prints and opens, and what it says where there is none."""

import json
import webbrowser
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cli import twin
from cli.stack import Stack
from tests.support import command
from tests.support.cloud import Cloud

API = "http://127.0.0.1:8123"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses a browser was told; there is one."""
    told: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: told.append(address) or True)
    return told


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Cloud]:
    monkeypatch.setattr(twin, "DIRECTORY", tmp_path)
    with Cloud() as cloud:
        command.write_outputs(cloud, tmp_path)
        yield cloud


def written(directory: Path, **more: str) -> None:
    path = directory / "outputs.json"
    path.write_text(replace(Stack.from_file(path), **more).to_json())


def test_the_twins_console_is_opened_with_its_token(cloud: Cloud, tmp_path: Path, opened: list[str]):
    """In the fragment, which no request carries."""
    written(tmp_path, api_url=f"{API}/", api_token="0123456789abcdef.secret", endpoint_url="http://127.0.0.1:4566")
    address = f"{API}/console#token=0123456789abcdef.secret"
    result = command.run(cloud, "console")
    assert (result.exit_code, result.stdout, result.stderr, opened) == (0, f"{address}\n", "", [address])
    assert command.run(cloud, "console", "--no-open").stdout == f"{address}\n"
    assert json.loads(command.run(cloud, "console", "--json").stdout) == {"url": address}
    assert opened == [address]


def test_of_a_deployed_stack_no_token_is_known(cloud: Cloud, tmp_path: Path, opened: list[str]):
    written(tmp_path, api_url=API)
    result = command.run(cloud, "console")
    assert (result.exit_code, result.stdout, opened) == (0, f"{API}/console\n", [f"{API}/console"])
    assert "It asks for a token: `importer token create NAME" in result.stderr


def test_where_there_is_no_browser_it_says_so(cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    written(tmp_path, api_url=API)
    result = command.run(cloud, "console")
    assert result.exit_code == 0
    assert "There is no browser here: open the address in one." in result.stderr


def test_an_installation_without_a_door_has_no_console(cloud: Cloud, opened: list[str]):
    result = command.run(cloud, "console")
    assert (result.exit_code, opened) == (4, [])
    assert "has no HTTP door" in result.stderr
