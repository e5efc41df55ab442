"""The schema of one version of a custom resource, compiled when it is first needed.

Most definitions of a cluster are never used: an operator brings hundreds of kinds along. So nothing is compiled
before the first object is written or must be looked at, and the text of a schema is never kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import orjson

from apimachinery.field import FieldError, warning
from apimachinery.managedfields.custom import custom
from apimachinery.managedfields.types import Type
from apimachinery.meta import Object
from apimachinery.structural import defaulting, metadata, nodes, pruning, validation
from apimachinery.structural.compiled import ValueCheck
from apimachinery.structural.correlation import Correlated
from apimachinery.structural.walk import Schema, properties_of

if TYPE_CHECKING:
    from apimachinery.structural.rules import RuleNode

_RULES = b'"x-kubernetes-validations"'


class VersionSchema:
    """The schema of one version; `read` reads its text."""

    def __init__(self, read: Callable[[], Schema]) -> None:
        self.read = read

    @cached_property
    def node(self) -> nodes.Node:
        """The schema as objects are walked by it."""
        return defaulting.prune_defaults(nodes.compile_schema(self.read())).as_root()

    @cached_property
    def _check(self) -> ValueCheck:
        return ValueCheck(self.read())

    @cached_property
    def _status_check(self) -> ValueCheck | None:
        schema = properties_of(self.read()).get("status")
        return ValueCheck(schema) if schema is not None else None

    @cached_property
    def _rules(self) -> RuleNode | None:
        schema = self.read()
        if _RULES not in orjson.dumps(schema):
            return None
        from apimachinery.structural import rules  # CEL is much to import

        return rules.compile_rules(schema, is_root=True)

    @cached_property
    def type(self) -> Type:
        """How its objects are merged, and who manages which of their fields."""
        return custom(self.read())

    def coerce(self, obj: Object) -> tuple[list[str], list[FieldError]]:
        """Bring what was sent into shape: unknown fields, whose paths are told, go; what is of a wrong type stays."""
        removed = pruning.prune(obj, self.node)
        defaulting.drop_nulls(obj, self.node)
        unknown, wrong = metadata.coerce(obj, self.node)
        return unknown + removed, wrong

    def default(self, obj: Object) -> None:
        """Fill in what is absent."""
        defaulting.apply_defaults(obj, self.node)

    def freshen(self, obj: Object) -> bool:
        """Bring what was stored before the schema was as it is into shape; returns whether it was not."""
        before = orjson.dumps(obj) if self.node.has_embedded else b""
        metadata.drop_malformed(obj, self.node)
        removed = pruning.prune(obj, self.node)
        dropped = defaulting.drop_nulls(obj, self.node)
        if before:
            metadata.coerce(obj, self.node)
        filled = defaulting.apply_defaults(obj, self.node)
        return bool(removed) or dropped or filled or (bool(before) and before != orjson.dumps(obj))

    def wrong_values(self, obj: Object, old: Object | None) -> list[FieldError]:
        """What the schema has against an object; `old` is the one that it replaces."""
        if self._check.passes(obj):
            return []
        correlated = Correlated(obj, old, self.node) if old is not None else None
        return validation.validate(obj, self.read(), correlated=correlated)

    def wrong_status(self, obj: Object, old: Object) -> list[FieldError]:
        """What the schema has against the status of an object."""
        status, check = obj.get("status"), self._status_check
        if "status" not in obj or check is None or check.passes(status):
            return []
        correlated = Correlated(status, old.get("status"), self.node.properties["status"])
        return validation.validate(status, properties_of(self.read())["status"], "status", correlated)

    @property
    def has_rules(self) -> bool:
        """Whether there are any rules."""
        return self._rules is not None

    def judge(self, obj: Object, old: Object | None) -> list[FieldError]:
        """What the rules have against an object, and what they warn of."""
        if self._rules is None:
            return []
        from apimachinery.structural import rules

        correlated = Correlated(obj, old, self.node) if old is not None else None
        verdict = rules.evaluate(self._rules, obj, old, correlated=correlated)
        return [*verdict.errors, *map(warning, verdict.warnings)]


Schemas = Mapping[str, VersionSchema]
"""By the names of versions."""
