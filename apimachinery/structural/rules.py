"""x-kubernetes-validations: rules in CEL at any place of a schema, compiled once and evaluated with every write.

A rule sees the value of its place as `self`, and with `oldSelf` (a transition rule) the value that it replaces. On an
update, a rule that fails for a value that has not changed only warns, unless it is a transition rule. All rules of
one object share a budget of cost.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
and k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel, whose words are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from apimachinery import cel
from apimachinery.field import (
    OMITTED,
    FieldError,
    duplicate,
    forbidden_field,
    invalid_value,
    required,
)
from apimachinery.structural.correlation import Correlated, item_key, items_by_key
from apimachinery.structural.fieldpaths import PathError, resolve_path
from apimachinery.structural.validation import NOWHERE
from apimachinery.structural.walk import Schema, items_of, properties_of, values_of

MESSAGE_BYTES_MAX = 5 * 1024
_REASONS: dict[str, Callable[[str, Any, str], FieldError]] = {
    "FieldValueForbidden": lambda path, value, detail: forbidden_field(path, detail),
    "FieldValueRequired": lambda path, value, detail: required(path, detail),
    "FieldValueDuplicate": lambda path, value, detail: duplicate(path, value),
}
_NO_BUDGET = "validation failed due to running out of cost budget, no further validation rules will be run"


@dataclass(frozen=True, slots=True)
class Rule:
    """A compiled rule; `error` and `message_error` tell why it, or its messageExpression, is none."""

    wire: Mapping[str, Any]
    program: cel.Program | None = None
    message: cel.Program | None = None
    error: str = ""
    message_error: str = ""
    field_path: str = ""

    @property
    def is_transition(self) -> bool:
        """Whether the rule compares with what was there before."""
        return self.program is not None and "oldSelf" in self.program.references

    @property
    def optional_old_self(self) -> bool:
        """Whether a transition rule is evaluated though there was nothing before."""
        return bool(self.wire.get("optionalOldSelf"))

    @property
    def told(self) -> str:
        """How errors name the rule: its message, or its text."""
        return str(self.wire.get("message") or self.wire.get("rule") or "").strip()


@dataclass(frozen=True, slots=True)
class RuleNode:
    """A place of a schema with rules there or below."""

    kind: str
    rules: tuple[Rule, ...]
    properties: Mapping[str, RuleNode]
    items: RuleNode | None
    values: RuleNode | None
    list_keys: tuple[str, ...]


def compile_rules(schema: Schema, *, is_root: bool = False) -> RuleNode | None:
    """The rules of a schema; None if it has none."""
    items, values = items_of(schema), values_of(schema)
    keys = schema.get("x-kubernetes-list-map-keys") or ()
    fields = {name: _inner(inner) for name, inner in properties_of(schema).items()}
    node = RuleNode(
        schema.get("type") or "",
        compile_here(schema, is_root=is_root),
        {name: inner for name, inner in fields.items() if inner is not None},
        _inner(items) if items is not None else None,
        _inner(values) if values is not None else None,
        tuple(keys) if schema.get("x-kubernetes-list-type") == "map" else (),
    )
    return node if node.rules or node.properties or node.items or node.values else None


def _inner(schema: Schema) -> RuleNode | None:
    return compile_rules(schema, is_root=bool(schema.get("x-kubernetes-embedded-resource")))


def compile_here(schema: Schema, *, is_root: bool) -> tuple[Rule, ...]:
    """The rules that stand at this very place."""
    rules = schema.get("x-kubernetes-validations") or ()
    kind = cel.type_of_schema(schema, is_root=is_root) if rules else None
    return tuple(compile_rule(rule, kind, schema) for rule in rules if kind is not None)


def compile_rule(wire: Mapping[str, Any], kind: cel.CelType, schema: Schema) -> Rule:
    """A rule for values of a type."""
    text = (wire.get("rule") or "").strip()
    if not text:
        return Rule(wire)
    environment = _environment(wire, kind)
    try:
        program = cel.compile(wire["rule"], environment)
    except cel.CelCompileError as error:
        return Rule(wire, error=str(error))
    if program.result_type != cel.BOOL:
        return Rule(wire, error="cel expression must evaluate to a bool")
    message, message_error = None, ""
    if wire.get("messageExpression"):
        try:
            message = cel.compile(wire["messageExpression"], environment)
        except cel.CelCompileError as error:
            message_error = f"messageExpression {error}"
        if message is not None and message.result_type != cel.STRING:
            message, message_error = None, "messageExpression must evaluate to a string"
    return Rule(wire, program, message, message_error=message_error, field_path=_field_path(wire, schema))


@dataclass(frozen=True, slots=True)
class Estimate:
    """The most that a rule and its messageExpression can cost each time, and how often that can be."""

    rule: int
    message: int
    count_max: int


def estimate(rule: Rule, schema: Schema, *, is_root: bool) -> Estimate:
    """What a compiled rule of a schema can cost at most; one that is none costs nothing."""
    from apimachinery.cel.estimation import estimate_cost, max_cardinality

    kind = cel.type_of_schema(schema, is_root=is_root)
    if rule.program is None or kind is None:
        return Estimate(0, 0, 0)
    environment = _environment(rule.wire, kind)
    message = estimate_cost(rule.message.expression, environment, schema, is_root=is_root) if rule.message else 0
    cost = estimate_cost(rule.program.expression, environment, schema, is_root=is_root)
    return Estimate(cost, message, max_cardinality(schema))


def _environment(wire: Mapping[str, Any], kind: cel.CelType) -> cel.Environment:
    old = cel.optional_of(kind) if wire.get("optionalOldSelf") else kind
    return cel.Environment({"self": kind, "oldSelf": old})


def _field_path(wire: Mapping[str, Any], schema: Schema) -> str:
    try:
        return resolve_path(wire.get("fieldPath") or "", schema)[0]
    except PathError:
        return ""  # refused when the definition is written


@dataclass(slots=True)
class Verdict:
    """What the rules have against an object: errors, and what only warns because it is unchanged."""

    errors: list[FieldError] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def evaluate(
    node: RuleNode | None,
    value: Any,
    old: Any = None,
    *,
    path: str = "",
    correlated: Correlated | None = None,
    budget: int = cel.RUNTIME_COST_BUDGET,
) -> Verdict:
    """Evaluate all rules of a schema; `correlated` compares the object with the one it replaces."""
    evaluation = _Evaluation(budget)
    evaluation.visit(node, value, old, path, _Place(correlated))
    return evaluation.verdict


@dataclass(frozen=True, slots=True)
class _Place:
    """What a value is compared with to know whether it is unchanged; `parent` counts where it can't be."""

    current: Correlated | None
    parent: Correlated | None = None

    @property
    def unchanged(self) -> bool:
        known = self.current or self.parent
        return known is not None and known.unchanged

    def key(self, name: str) -> _Place:
        if self.current is None:
            return self
        if self.parent is None and name in ("apiVersion", "kind"):
            return _Place(None)
        return _Place(self.current.key(name), self.current)

    def index(self, number: int) -> _Place:
        return self if self.current is None else _Place(self.current.index(number), self.current)


class _Exhausted(Exception):
    """No further rule is evaluated."""


class _Evaluation:
    def __init__(self, budget: int) -> None:
        self.verdict = Verdict()
        self._budget = budget

    def visit(self, node: RuleNode | None, value: Any, old: Any, path: str, place: _Place) -> None:
        try:
            self._visit(node, value, old, path, place)
        except _Exhausted:
            return

    def _visit(self, node: RuleNode | None, value: Any, old: Any, path: str, place: _Place) -> None:
        if node is None or value is None:
            return
        for rule in node.rules:
            self._rule(rule, node, value, old, path, place)
        if isinstance(value, dict):
            before = old if isinstance(old, dict) else {}
            for key, inner in value.items():
                known = node.properties.get(key)
                if known is not None:
                    where = f"{path}.{key}" if path else key
                    self._visit(known, inner, before.get(key), where, place.key(key))
                elif node.values is not None:
                    self._visit(node.values, inner, before.get(key), f"{path}[{key}]", place.key(key))
        elif isinstance(value, list) and node.items is not None:
            peers = items_by_key(old, node.list_keys) if isinstance(old, list) else {}
            for number, inner in enumerate(value):
                peer = peers.get(item_key(inner, node.list_keys))
                self._visit(node.items, inner, peer, f"{path}[{number}]", place.index(number))

    def _rule(self, rule: Rule, node: RuleNode, value: Any, old: Any, path: str, place: _Place) -> None:
        if rule.error:
            self._error(path, node, f"rule compile error: {rule.error}")
            return
        if rule.program is None or (rule.is_transition and old is None and not rule.optional_old_self):
            return
        bindings = {"self": value, "oldSelf": old}
        if rule.optional_old_self:
            bindings["oldSelf"] = cel.Optional(old) if old is not None else cel.Optional.NONE
        try:
            holds = self._evaluate(rule.program, bindings)
        except cel.CelCostError as error:
            why = "no further validation rules will be run due to call cost exceeds limit for rule"
            self._error(path, node, f"'{error.message}': {why}: {rule.told}")
            raise _Exhausted from error
        except cel.CelEvaluationError as error:
            if error.message.startswith("no such overload"):
                why = "call arguments did not match a supported operator, function or macro signature for rule"
                self._error(path, node, f"'{error.message}': {why}: {rule.told}")
            else:
                self._error(path, node, f"{error.message} evaluating rule: {rule.told}")
            return
        except _Exhausted:
            self._error(path, node, _NO_BUDGET)
            raise
        if holds is not True:
            self._failed(rule, node, bindings, value, path, place)

    def _evaluate(self, program: cel.Program, bindings: Mapping[str, Any]) -> Any:
        """Raises CelEvaluationError, or _Exhausted if the budget is spent."""
        if self._budget <= 0:
            raise _Exhausted
        result, cost = program.evaluate_with_cost(bindings)
        if cost > self._budget:
            raise _Exhausted
        self._budget -= cost
        return result

    def _failed(
        self, rule: Rule, node: RuleNode, bindings: Mapping[str, Any], value: Any, path: str, place: _Place
    ) -> None:
        where = ".".join(filter(None, (path, rule.field_path))) or NOWHERE
        try:
            detail = self._message(rule, bindings) or self._default_message(rule)
        except _Exhausted:
            why = "messageExpression evaluation failed due to running out of cost budget, no further validation rules"
            self.verdict.errors.append(invalid_value(where, node.kind, f"{why} will be run"))
            raise
        shown = OMITTED if node.kind in ("object", "array") else value
        make = _REASONS.get(rule.wire.get("reason") or "", invalid_value)
        error = make(where, shown, detail)
        if not rule.is_transition and place.unchanged:
            self.verdict.warnings.append(error.message())
        else:
            self.verdict.errors.append(error)

    def _message(self, rule: Rule, bindings: Mapping[str, Any]) -> str:
        """What messageExpression says; empty if it has nothing that could be told."""
        if rule.message is None:
            return ""
        try:
            text = self._evaluate(rule.message, bindings)
        except cel.CelEvaluationError:
            return ""
        text = text.strip() if isinstance(text, str) else ""
        return "" if "\n" in text or len(text.encode()) > MESSAGE_BYTES_MAX else text

    def _default_message(self, rule: Rule) -> str:
        return str(rule.wire["message"]).strip() if rule.wire.get("message") else f"failed rule: {rule.told}"

    def _error(self, path: str, node: RuleNode, detail: str) -> None:
        self.verdict.errors.append(invalid_value(path or NOWHERE, node.kind, detail))
