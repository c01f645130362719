"""A table's answer, asked for again while AWS is slow, busy or silent. For reads: asking twice changes nothing."""

import random
from collections.abc import Callable
from typing import Final, TypeVar

from botocore.exceptions import ClientError

from importer.model import Clock, Unavailable
from importer.sinks.calls import LOST, is_passing, is_throttle, said

Answer = TypeVar("Answer")

TRIES: Final = 8  # of a call that got nowhere; some 20 s of waiting
_FIRST_WAIT_S: Final = 0.1
_LONGEST_WAIT_S: Final = 5.0


class Patience:
    """Makes calls until each is answered, in growing pauses."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def answer(self, call: Callable[[], Answer], table: str, permission: str) -> Answer:
        """A call's answer.

        Raises:
            Unavailable: it was denied, or got nowhere for TRIES times; says which permission it needs.
        """
        tries = 0
        while True:
            try:
                return call()
            except ClientError as error:
                if not (is_throttle(error) or is_passing(error)) or tries == TRIES:
                    denied = "AccessDenied" in str(error.response.get("Error", {}).get("Code", ""))
                    remedy = f"; allow {permission} on it" if denied else ""
                    raise Unavailable(f"the table {table} cannot be read: {said(error)}{remedy}") from error
            except LOST as error:
                if tries == TRIES:
                    raise Unavailable(f"the table {table} cannot be read: {error}") from error
            tries += 1
            self.pause(tries)

    def pause(self, tries: int) -> None:
        longest = min(_FIRST_WAIT_S * 2**tries, _LONGEST_WAIT_S)
        self._clock.sleep(random.uniform(longest / 2, longest))  # nosec B311  # a pause is no secret
