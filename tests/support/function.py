"""The import function as Lambda has it: app.lambda_handler over a fake cloud, settings from the environment.

    with Cloud() as cloud, deployed(cloud) as deliver:
        deliver(notification)

Its clock is the cloud's, and it writes with one thread: a run can be repeated exactly.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import app
from importer import assembly

from .clock import LambdaContext
from .cloud import Cloud


@contextmanager
def deployed(cloud: Cloud) -> Iterator[Callable[[Any], Any]]:
    """The handler, told of this cloud by the variables template.yaml sets; each call is one invocation of 900 s."""
    environment = {
        "BUCKET_NAME": cloud.bucket,
        "EVENTS_TABLE": cloud.events_table,
        "USERS_TABLE": cloud.users_table,
        "IMPORTS_TABLE": cloud.imports_table,
        "SINKS": "dynamodb",
    }
    app._workplaces.cache_clear()
    app._preview_places.cache_clear()
    with (
        mock.patch.dict(os.environ, environment),
        mock.patch.object(assembly, "SystemClock", return_value=cloud.clock),
        mock.patch.object(assembly, "IN_FLIGHT", 1),
        mock.patch.object(assembly, "QUICK_IN_FLIGHT", 1),
    ):
        yield lambda event: app.lambda_handler(event, LambdaContext(cloud.clock))
    app._workplaces.cache_clear()
    app._preview_places.cache_clear()
