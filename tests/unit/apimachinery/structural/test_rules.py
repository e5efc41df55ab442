"""x-kubernetes-validations: when rules are evaluated, and what is told when one fails."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.structural.correlation import Correlated
from apimachinery.structural.nodes import compile_schema
from apimachinery.structural.rules import Verdict, compile_here, compile_rules, estimate, evaluate

INTEGER, STRING = {"type": "integer"}, {"type": "string", "maxLength": 100}


def fields(*rules: Any, **of: Any) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object", "properties": of}
    wire = [{"rule": rule} if isinstance(rule, str) else rule for rule in rules]
    return {**schema, "x-kubernetes-validations": wire} if wire else schema


def judge(schema: Any, value: Any, old: Any = None) -> Verdict:
    correlated = Correlated(value, old, compile_schema(schema)) if old is not None else None
    return evaluate(compile_rules(schema), value, old, correlated=correlated)


def told(schema: Any, value: Any, old: Any = None) -> list[str]:
    return [error.message() for error in judge(schema, value, old).errors]


@pytest.mark.parametrize(
    ("schema", "value", "messages"),
    [
        (fields(spec=fields("self.a < self.b", a=INTEGER, b=INTEGER)), {"spec": {"a": 1, "b": 2}}, []),
        (
            fields(spec=fields("self.a < self.b", a=INTEGER, b=INTEGER)),
            {"spec": {"a": 2, "b": 1}},
            ["spec: Invalid value: failed rule: self.a < self.b"],
        ),
        (fields(spec=fields("false")), {}, []),
        (
            fields(a={**INTEGER, "x-kubernetes-validations": [{"rule": "self > 1", "message": "too small"}]}),
            {"a": 1},
            ["a: Invalid value: 1: too small"],
        ),
        (
            fields(a={"type": "array", "items": {**INTEGER, "x-kubernetes-validations": [{"rule": "self > 1"}]}}),
            {"a": [1, 2, 0]},
            ["a[0]: Invalid value: 1: failed rule: self > 1", "a[2]: Invalid value: 0: failed rule: self > 1"],
        ),
        (
            fields(a={"type": "object", "additionalProperties": fields("self.b == 'x'", b=STRING)}),
            {"a": {"k": {"b": "y"}}},
            ["a[k]: Invalid value: failed rule: self.b == 'x'"],
        ),
        # A field that is absent can't be looked at.
        (
            fields(spec=fields("self.a > 1", a=INTEGER)),
            {"spec": {}},
            ['spec: Invalid value: "object": no such key: a evaluating rule: self.a > 1'],
        ),
        (fields(spec=fields("!has(self.a) || self.a > 1", a=INTEGER)), {"spec": {}}, []),
    ],
)
def test_a_rule_holds_or_is_told(schema: Any, value: Any, messages: list[str]) -> None:
    assert told(schema, value) == messages


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"messageExpression": "'a is ' + self.b"}, "spec: Invalid value: a is x"),
        ({"message": "as it is", "messageExpression": "self.none"}, "spec: Invalid value: as it is"),
        ({"message": "as it is", "messageExpression": "''"}, "spec: Invalid value: as it is"),
        ({"reason": "FieldValueForbidden", "message": "no"}, "spec: Forbidden: no"),
        ({"reason": "FieldValueRequired", "message": "no", "fieldPath": ".c"}, "spec.c: Required value: no"),
        ({"reason": "FieldValueDuplicate", "fieldPath": ".b"}, "spec.b: Duplicate value"),
    ],
)
def test_how_a_failure_is_told(rule: Any, message: str) -> None:
    schema = fields(spec=fields({"rule": "self.a > 1", **rule}, a=INTEGER, b=STRING, c=STRING))
    (found,) = told(schema, {"spec": {"a": 1, "b": "x"}})
    assert found == message


def test_transition_rules_compare_with_what_was_there() -> None:
    schema = fields(spec=fields("self.a >= oldSelf.a", a=INTEGER))
    assert told(schema, {"spec": {"a": 1}}) == []
    assert told(schema, {"spec": {"a": 1}}, {"spec": {"a": 1}}) == []
    assert told(schema, {"spec": {"a": 1}}, {"spec": {"a": 2}}) == [
        "spec: Invalid value: failed rule: self.a >= oldSelf.a"
    ]
    assert told(schema, {"spec": {"a": 1}}, {}) == []


def test_an_optional_old_self_is_there_from_the_beginning() -> None:
    rule = {"rule": "oldSelf.hasValue() || self.a == 1", "optionalOldSelf": True}
    schema = fields(spec=fields(rule, a=INTEGER))
    assert told(schema, {"spec": {"a": 1}}) == []
    assert len(told(schema, {"spec": {"a": 2}})) == 1
    assert told(schema, {"spec": {"a": 2}}, {"spec": {"a": 1}}) == []


def test_items_of_maps_are_compared_by_their_keys() -> None:
    items = fields("self.port == oldSelf.port", name=STRING, port=INTEGER)
    listed = {
        "type": "array",
        "items": items,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["name"],
    }
    schema = fields(a=listed)
    old = {"a": [{"name": "x", "port": 1}, {"name": "y", "port": 2}]}
    assert told(schema, {"a": [{"name": "y", "port": 2}, {"name": "z", "port": 3}]}, old) == []
    (found,) = told(schema, {"a": [{"name": "y", "port": 3}]}, old)
    assert found.startswith("a[0]: ")


def test_what_is_unchanged_only_warns() -> None:
    schema = fields(a={**INTEGER, "x-kubernetes-validations": [{"rule": "self > 1"}]}, b=STRING)
    verdict = judge(schema, {"a": 1, "b": "x"}, {"a": 1})
    assert (verdict.errors, verdict.warnings) == ([], ["a: Invalid value: 1: failed rule: self > 1"])
    assert len(told(schema, {"a": 0}, {"a": 1})) == 1


def test_all_rules_of_an_object_share_one_budget() -> None:
    rules = [f"self.a.all(x, x != {number})" for number in range(40)]
    schema = fields(spec=fields(*rules, a={"type": "array", "items": INTEGER}))
    node = compile_rules(schema)
    verdict = evaluate(node, {"spec": {"a": [77] * 200}}, budget=10_000)
    (error,) = verdict.errors
    assert error.message() == (
        'spec: Invalid value: "object": validation failed due to running out of cost budget, no further validation '
        "rules will be run"
    )


def test_what_rules_can_cost_is_estimated() -> None:
    limited = fields("self.a.all(x, x > 1)", a={"type": "array", "items": INTEGER, "maxItems": 10})
    unlimited = fields("self.a.all(x, x > 1)", a={"type": "array", "items": INTEGER})
    few, many = (estimate(compile_here(one, is_root=False)[0], one, is_root=False) for one in (limited, unlimited))
    assert few.rule < 200 < 1_000_000 < many.rule


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        ("self.none > 1", "undefined field 'none'"),
        ("self.a +", "Syntax error"),
        ("self.a", "cel expression must evaluate to a bool"),
        ("self.a > 'x'", "found no matching overload for '_>_'"),
    ],
)
def test_why_a_rule_is_none(rule: str, error: str) -> None:
    (compiled,) = compile_here(fields(rule, a=INTEGER), is_root=False)
    assert error in compiled.error
