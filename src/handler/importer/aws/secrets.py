"""Secrets as SSM keeps them: encrypted parameters, remembered for a bounded time.

What was read is good for KEPT_MS: so long a change or a removal may take to be noticed. Where SSM does not answer, it
goes on being good for STALE_MS more, and SSM is asked again every ABSENT_MS only: else whoever overloads SSM, by asking
for what is not there, would shut out everybody. That a name is not there is remembered, too, for a moment; and apart,
so that no number of such names pushes out one that is there.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Protocol

from botocore.exceptions import ClientError

from importer.model import Clock, Unavailable
from importer.sinks.calls import LOST, said

KEPT_MS: Final = 60_000
STALE_MS: Final = 10 * 60_000
ABSENT_MS: Final = 10_000
MOST_KEPT: Final = 1_000  # of each kind; a text has 4 KB at most


class ParameterClient(Protocol):
    """What is used of boto's SSM client."""

    def get_parameter(self, *, Name: str, WithDecryption: bool) -> Any: ...

    def put_parameter(self, *, Name: str, Value: str, Type: str, Description: str, Overwrite: bool) -> Any: ...

    def delete_parameter(self, *, Name: str) -> Any: ...

    def get_paginator(self, operation_name: str) -> Any: ...


@dataclass(slots=True)
class _Found:
    """A text, when it was read, and when to ask again."""

    text: str
    read_ms: int
    again_ms: int


class Secrets:
    """Texts of parameters.

    Args:
        client: makes a client when the first is asked for.
    """

    def __init__(self, client: Callable[[], ParameterClient], clock: Clock) -> None:
        self._client = cache(client)
        self._clock = clock
        self._found: OrderedDict[str, _Found] = OrderedDict()
        self._absent: OrderedDict[str, int] = OrderedDict()  # name → when to ask again, in ms

    def text(self, name: str) -> str | None:
        """The text of a parameter, as it was KEPT_MS ago at the earliest; None if there is none.

        Raises:
            Unavailable: SSM does not say, and has not for STALE_MS.
        """
        now_ms = self._clock.now_ms()
        found = self._found.get(name)
        if found is not None and now_ms < found.again_ms:
            return found.text
        if now_ms < self._absent.get(name, now_ms):
            return None
        try:
            text = read(self._client(), name)
        except Unavailable:
            if found is None or now_ms >= found.read_ms + KEPT_MS + STALE_MS:
                raise
            found.again_ms = now_ms + ABSENT_MS
            return found.text
        self._found.pop(name, None)
        self._absent.pop(name, None)
        if text is None:
            self._absent[name] = now_ms + ABSENT_MS
            _keep_newest(self._absent)
        else:
            self._found[name] = _Found(text, now_ms, now_ms + KEPT_MS)
            _keep_newest(self._found)
        return text


def _keep_newest(kept: OrderedDict[str, Any]) -> None:
    if len(kept) > MOST_KEPT:
        kept.popitem(last=False)


def read(client: ParameterClient, name: str) -> str | None:
    """The text of a parameter now; None if there is none.

    Raises:
        Unavailable: SSM does not say; which permission is missing, if one is.
    """
    try:
        return str(client.get_parameter(Name=name, WithDecryption=True)["Parameter"]["Value"])
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        if code == "ParameterNotFound":
            return None
        # A denial names the permission itself; of others, the words may be a stranger's.
        raise Unavailable(f"the parameter {name} cannot be read: {said(error)}") from error
    except LOST as error:
        raise Unavailable(f"the parameter {name} cannot be read: {error}") from error


# ---- For people: these raise what the client raises ----------------------------------------------------------------


def create(client: ParameterClient, name: str, text: str, description: str) -> None:
    """Keep a text, encrypted, under a name nothing is kept under yet. Durable on return."""
    client.put_parameter(Name=name, Value=text, Type="SecureString", Description=description, Overwrite=False)


def below(client: ParameterClient, path: str) -> Iterator[tuple[str, str]]:
    """(last part of the name, text) of every parameter right below a path, in no order."""
    for page in client.get_paginator("get_parameters_by_path").paginate(Path=path, WithDecryption=True):
        for parameter in page["Parameters"]:
            yield parameter["Name"].rpartition("/")[2], parameter["Value"]


def remove(client: ParameterClient, name: str) -> bool:
    """Whether there was one to remove."""
    try:
        client.delete_parameter(Name=name)
    except ClientError as error:
        if error.response.get("Error", {}).get("Code", "") != "ParameterNotFound":
            raise
        return False
    return True
