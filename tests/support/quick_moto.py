"""moto answers as it does, only sooner: what it works out anew for every attribute and call is remembered, or not done.

Most of a scenario's CPU is moto's, and botocore's. How they find things is changed here, never what they find.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any
from unittest import mock

from botocore import useragent
from moto.core import responses
from moto.core.base_backend import BaseBackend
from moto.core.serialize import AttributePicker, AttributePickerContext
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.parsing.ast_nodes import DepthFirstTraverser
from moto.dynamodb.parsing.validators import ActionCountValidator


@contextmanager
def quick() -> Iterator[None]:
    """Inside, moto looks things up."""
    by_aliases, copied = AttributePicker.__call__, DynamoType.to_regular_json

    def picked(self: AttributePicker, context: AttributePickerContext) -> Any:
        """DynamoDB's values say their type by their only key; no other name is an alias of it."""
        parent = getattr(context.shape, "parent", None)
        if parent is not None and parent.name == "AttributeValue" and type(context.obj) is dict:
            return context.obj.get(context.key)
        return by_aliases(self, context)

    def regular(self: DynamoType) -> dict[str, Any]:
        """A text needs no deep copy."""
        return {self.type: self.value} if self.type in ("S", "N") else copied(self)

    def counted(self: ActionCountValidator, expression: Any) -> Any:
        """The whole expression's clauses are counted; moto counts those of each clause, and then of the whole."""
        return self.verify_action_counts(expression)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(AttributePicker, "__call__", picked))
        stack.enter_context(mock.patch.object(DynamoType, "to_regular_json", regular))
        stack.enter_context(mock.patch.object(ActionCountValidator, "traverse", counted))
        for module, pure in (
            (responses, "method_names_from_class"),
            (useragent, "sanitize_user_agent_string_component"),
        ):
            stack.enter_context(mock.patch.object(module, pure, cache(getattr(module, pure))))
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
