"""What a rule can cost at most is estimated from the limits in its schema, to the unit as Kubernetes does.

Facts: k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel/celcoststability_test.go
"""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.cel import CelCompileError, Environment, type_of_schema
from apimachinery.cel.estimation import STATIC_COST_LIMIT, estimate_cost, exceeded, max_cardinality

STRING: dict[str, Any] = {"type": "string"}
INTEGER: dict[str, Any] = {"type": "integer"}


def struct(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def array(items: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": items, **more}


def estimate(rule: str, schema: dict[str, Any], *, is_root: bool = False) -> int:
    kind = type_of_schema(schema, is_root=is_root)
    assert kind is not None
    return estimate_cost(rule, Environment({"self": kind, "oldSelf": kind}), schema, is_root=is_root)


FIELDS = struct(
    text=STRING,
    short={"type": "string", "maxLength": 10},
    choice={"type": "string", "enum": ["Pending", "Available"]},
    number=INTEGER,
    when={"type": "string", "format": "date-time"},
    numbers=array(INTEGER),
    few=array(INTEGER, maxItems=5),
    pairs=array(struct(k=STRING, v=STRING)),
    table={"type": "object", "additionalProperties": STRING},
    port={"x-kubernetes-int-or-string": True},
)
ESTIMATES = {
    "self.number == self.number": 4,
    "self.number + 1 == 2": 4,
    "type(self.number) == int": 4,
    "self.text == 'a'": 3,
    "self.text.startsWith('Rook')": 3,
    "self.text.size() == 12": 4,
    "self.text.matches('^[^0-9]*$')": 943721,
    "self.short.matches('^[^0-9]*$')": 17,
    "self.text.indexOf('o') == 1": 314576,
    "self.text.replace(' ', 'x') == 'y'": 629149,
    "self.text.split(' ') == ['Rook', 'takes']": 629159,
    "self.choice == self.text": 5,
    "self.numbers.all(e, e > 0)": 3 + 1572863 * 5,
    "self.few.all(e, e > 0)": 3 + 5 * 5,
    "self.few.all(e, self.few.all(f, e != f))": 3 + 5 * (3 + 3 + 5 * 5),
    "self.few.map(e, e * 2).sum() == 4": 2 + 10 + 1 + 5 * 14 + 5 + 1,
    "self.pairs.all(p, p.k.startsWith('a'))": 6291453,
    "self.pairs.exists(p, p.k.endsWith('1'))": 7340028,
    "has(self.text) && self.text.size() > 0": 5,
    "quantity(self.text).isInteger()": 314576,
    "optional.of('a').optMap(v, v == 'value').hasValue()": 18,
    "self.table.all(k, self.table[k].size() < 5)": 3 + 393215 * 9,
    "type(self.port) == int ? self.port == 1 : self.port == '25%'": 7,
}


@pytest.mark.parametrize("rule", ESTIMATES)
def test_a_rule_can_cost_as_much_as_the_largest_value_makes_it_cost(rule: str) -> None:
    assert estimate(rule, FIELDS) == ESTIMATES[rule]


def test_a_rule_over_unlimited_lists_exceeds_the_budget_and_limits_bring_it_below() -> None:
    rule = "self.items.all(a, self.items.all(b, a.name != b.name || a == b))"
    item = struct(name=STRING)
    cost = estimate(rule, struct(items=array(item)))

    assert cost > STATIC_COST_LIMIT
    assert exceeded("estimated rule cost", cost, STATIC_COST_LIMIT) == (
        "estimated rule cost exceeds budget by factor of more than 100x (try simplifying the rule, or adding "
        "maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
    limited = struct(items=array(struct(name={"type": "string", "maxLength": 63}), maxItems=100))
    assert estimate(rule, limited) < STATIC_COST_LIMIT


def test_a_small_excess_is_shown_exactly() -> None:
    assert "by factor of 1.250000x (" in exceeded("estimated rule cost", 12_500_000, STATIC_COST_LIMIT)
    assert "by factor of 2.5x (" in exceeded("estimated rule cost", 25_000_000, STATIC_COST_LIMIT)


def test_a_small_value_can_occur_more_often_than_a_large_one() -> None:
    large = struct(name=STRING, port=INTEGER) | {"required": ["name", "port"]}

    assert max_cardinality(INTEGER) == 3 * 1024 * 1024 // 2
    assert max_cardinality(large) == 3 * 1024 * 1024 // (2 + (4 + 2 + 4) + (4 + 1 + 4) + 1)


def test_a_rule_that_does_not_compile_has_no_estimate() -> None:
    with pytest.raises(CelCompileError, match="undefined field 'nope'"):
        estimate("self.nope", FIELDS)
