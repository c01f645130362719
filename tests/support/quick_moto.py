"""moto answers as it does, only sooner: what it works out anew for every attribute and call is remembered, or not done.

Most of a scenario's CPU is moto's, and botocore's. How they find things is changed here, never what they find.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any
from unittest import mock

from botocore import useragent, utils
from moto.core import responses
from moto.core.base_backend import BaseBackend
from moto.core.serialize import ResponseSerializer
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.parsing.ast_nodes import DepthFirstTraverser
from moto.dynamodb.parsing.validators import ActionCountValidator
from moto.s3 import models as s3_models


@contextmanager
def quick() -> Iterator[None]:
    """Inside, moto looks things up."""
    whole, copied = ResponseSerializer._serialize_type_structure, DynamoType.to_regular_json

    def structure(self: ResponseSerializer, serialized: Any, value: Any, shape: Any, key: str) -> None:
        """DynamoDB's values say their type by their only key; no other name is an alias of it, and no other is looked
        for."""
        if shape.name != "AttributeValue" or type(value) is not dict:
            whole(self, serialized, value, shape, key)
            return
        wrapper = self.MAP_TYPE() if key else serialized
        for name, member in value.items():
            if member is not None:
                self._serialize(wrapper, member, shape.members[name], name)
        if key:
            self._default_serialize(serialized, wrapper, shape, key)

    def regular(self: DynamoType) -> dict[str, Any]:
        """A text needs no deep copy."""
        return {self.type: self.value} if self.type in ("S", "N") else copied(self)

    def counted(self: ActionCountValidator, expression: Any) -> Any:
        """The whole expression's clauses are counted; moto counts those of each clause, and then of the whole."""
        return self.verify_action_counts(expression)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(ResponseSerializer, "_serialize_type_structure", structure))
        stack.enter_context(mock.patch.object(DynamoType, "to_regular_json", regular))
        stack.enter_context(mock.patch.object(ActionCountValidator, "traverse", counted))
        for module, pure in (
            (responses, "method_names_from_class"),
            (useragent, "sanitize_user_agent_string_component"),
            (utils, "_parse_timestamp_with_tzinfo"),
        ):
            stack.enter_context(mock.patch.object(module, pure, cache(getattr(module, pure))))
        stack.enter_context(mock.patch.object(s3_models, "copy", _Copying))
        stack.enter_context(mock.patch.object(BaseBackend, "urls", property(_once_a_class(BaseBackend.urls.fget))))
        processed = _once_a_class(DepthFirstTraverser.nodes_to_be_processed)
        stack.enter_context(mock.patch.object(DepthFirstTraverser, "nodes_to_be_processed", processed))
        yield


class _Copying:
    """`copy`, for the listing of versions, which only notes on each object whether it is the latest: that needs no copy
    of all bodies in the bucket."""

    copy = staticmethod(copy.copy)

    @staticmethod
    def deepcopy(versions: Any) -> Any:
        return list(versions)


def _once_a_class(method: Any) -> Any:
    """A method whose answer depends on nothing but the class."""
    answers: dict[type, Any] = {}

    def answer(self: Any) -> Any:
        if type(self) not in answers:
            answers[type(self)] = method(self)
        return answers[type(self)]

    return answer
