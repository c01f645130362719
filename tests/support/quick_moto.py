"""moto answers as it does, only sooner: three things it works out anew for every attribute and call are remembered.

Most of a scenario's CPU is moto's. How it finds things is changed here, never what it finds.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

from moto.core.base_backend import BaseBackend
from moto.core.serialize import AttributePicker, AttributePickerContext
from moto.dynamodb.parsing.ast_nodes import DepthFirstTraverser


@contextmanager
def quick() -> Iterator[None]:
    """Inside, moto looks things up."""
    by_aliases = AttributePicker.__call__

    def picked(self: AttributePicker, context: AttributePickerContext) -> Any:
        """DynamoDB's values say their type by their only key; no other name is an alias of it."""
        parent = getattr(context.shape, "parent", None)
        if parent is not None and parent.name == "AttributeValue" and type(context.obj) is dict:
            return context.obj.get(context.key)
        return by_aliases(self, context)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(AttributePicker, "__call__", picked))
        stack.enter_context(mock.patch.object(BaseBackend, "urls", property(_once_a_class(BaseBackend.urls.fget))))
        processed = _once_a_class(DepthFirstTraverser.nodes_to_be_processed)
        stack.enter_context(mock.patch.object(DepthFirstTraverser, "nodes_to_be_processed", processed))
        yield


def _once_a_class(method: Any) -> Any:
    """A method whose answer depends on nothing but the class."""
    answers: dict[type, Any] = {}

    def answer(self: Any) -> Any:
        if type(self) not in answers:
            answers[type(self)] = method(self)
        return answers[type(self)]

    return answer
