"""Rules of CustomResourceDefinitions see objects as Kubernetes lets them: by the schema.

Facts: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#validation-rules
"""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.cel import (
    CelCompileError,
    CelEvaluationError,
    Environment,
    Optional,
    Timestamp,
    compile,
    escape,
    optional_of,
    type_of_definition,
    type_of_schema,
)

STRING: dict[str, Any] = {"type": "string"}
INTEGER: dict[str, Any] = {"type": "integer"}


def struct(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def evaluate(rule: str, schema: dict[str, Any], value: Any, old: Any = None, *, is_root: bool = False) -> Any:
    kind = type_of_schema(schema, is_root=is_root)
    assert kind is not None
    return compile(rule, Environment({"self": kind, "oldSelf": kind})).evaluate({"self": value, "oldSelf": old})


def problem(rule: str, schema: dict[str, Any], *, is_root: bool = False) -> str:
    with pytest.raises(CelCompileError) as raised:
        evaluate(rule, schema, {}, is_root=is_root)
    return raised.value.issues.split("\n")[0]


SPEC = struct(minReplicas=INTEGER, replicas=INTEGER, maxReplicas=INTEGER)


def test_a_rule_compares_fields_of_one_object() -> None:
    rule = "self.minReplicas <= self.replicas && self.replicas <= self.maxReplicas"

    assert evaluate(rule, SPEC, {"minReplicas": 1, "replicas": 2, "maxReplicas": 3}) is True
    assert evaluate(rule, SPEC, {"minReplicas": 1, "replicas": 5, "maxReplicas": 3}) is False


def test_a_field_that_is_not_set_is_an_error_unless_the_rule_asks_first() -> None:
    with pytest.raises(CelEvaluationError, match="no such key: replicas"):
        evaluate("self.replicas > 0", SPEC, {})
    assert evaluate("!has(self.replicas) || self.replicas > 0", SPEC, {}) is True
    assert evaluate("self.?replicas.orValue(1) > 0", SPEC, {}) is True


def test_a_transition_rule_sees_the_old_value() -> None:
    assert evaluate("self.replicas >= oldSelf.replicas", SPEC, {"replicas": 1}, {"replicas": 2}) is False
    assert evaluate("self == oldSelf", SPEC, {"replicas": 1}, {"replicas": 1}) is True


def test_an_optional_old_value_may_be_missing() -> None:
    kind = type_of_schema(SPEC)
    assert kind is not None
    rule = "!oldSelf.hasValue() || self.replicas >= oldSelf.value().replicas"
    program = compile(rule, Environment({"self": kind, "oldSelf": optional_of(kind)}))

    assert program.evaluate({"self": {"replicas": 1}, "oldSelf": Optional.NONE}) is True
    assert program.evaluate({"self": {"replicas": 1}, "oldSelf": Optional({"replicas": 2})}) is False


def test_a_message_expression_writes_the_values() -> None:
    rule = "'replicas must be at most ' + string(self.maxReplicas) + ', not %d'.format([self.replicas])"

    assert evaluate(rule, SPEC, {"replicas": 5, "maxReplicas": 3}) == "replicas must be at most 3, not 5"


def test_unknown_fields_are_found_when_the_rule_is_compiled() -> None:
    assert problem("self.x > 1", SPEC) == "ERROR: <input>:1:5: undefined field 'x'"


def test_the_root_has_metadata_of_which_only_the_name_is_seen() -> None:
    assert evaluate(
        "self.metadata.name == 'a' && self.kind == 'K'",
        struct(),
        {"metadata": {"name": "a"}, "kind": "K"},
        is_root=True,
    )
    assert "undefined field 'labels'" in problem("self.metadata.labels", struct(), is_root=True)
    assert "undefined field 'kind'" in problem("self.kind", struct())


def test_an_embedded_resource_has_them_too() -> None:
    schema = struct(template={"type": "object", "x-kubernetes-embedded-resource": True})

    assert evaluate("self.template.kind", schema, {"template": {"kind": "Pod"}}) == "Pod"


def test_what_a_schema_preserves_without_a_type_is_not_seen() -> None:
    unknown = {"x-kubernetes-preserve-unknown-fields": True}
    schema = struct(free=unknown, open={"type": "object", **unknown}, items={"type": "array", "items": unknown})

    assert "undefined field 'free'" in problem("has(self.free)", schema)
    assert "undefined field 'a'" in problem("self.open.a == 1", schema)
    assert "undefined field 'items'" in problem("self.items.size() == 0", schema)
    assert evaluate("has(self.open)", schema, {"open": {"a": 1}}) is True


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        ("plain", "plain"),
        ("foo-bar", "foo__dash__bar"),
        ("a.b/c", "a__dot__b__slash__c"),
        ("redact__d", "redact__underscores__d"),
        ("namespace", "__namespace__"),
        ("in", "__in__"),
        ("string", "string"),
        ("1st", None),
        ("a$b", None),
        ("", None),
    ],
)
def test_properties_whose_names_are_no_identifiers_are_escaped(name: str, escaped: str | None) -> None:
    assert escape(name) == escaped
    if escaped:
        assert evaluate(f"self.{escaped}", struct(**{name: INTEGER}), {name: 7}) == 7


def test_a_reserved_word_may_stand_where_only_a_field_can() -> None:
    assert evaluate("self.namespace", struct(namespace=STRING), {"namespace": "kube-system"}) == "kube-system"


def test_formats_give_times_durations_and_bytes() -> None:
    formats = {"date-time": "when", "date": "day", "duration": "timeout", "byte": "data"}
    schema = struct(**{name: {"type": "string", "format": form} for form, name in formats.items()})
    value = {"when": "2021-05-01T10:00:00Z", "day": "2021-05-02", "timeout": "1h", "data": "aGk="}

    assert evaluate("self.day > self.when && self.timeout > duration('59m')", schema, value) is True
    assert evaluate("string(self.data)", schema, value) == "hi"
    assert evaluate("self.when", schema, value) == Timestamp(1619863200 * 10**9)
    with pytest.raises(CelEvaluationError, match="invalid data"):
        evaluate("self.when", schema, {"when": "yesterday"})


def test_times_in_lists_and_maps_are_times() -> None:
    time = {"type": "string", "format": "date-time"}
    schema = struct(list={"type": "array", "items": time}, map={"type": "object", "additionalProperties": time})
    value = {"list": ["2021-05-01T10:00:00Z"], "map": {"a": "2021-05-01T10:00:00Z"}}

    rule = "self.list.all(t, t.getHours() == 10) && self.map.a == self.list[0] && self.map['a'] in self.list"
    assert evaluate(rule, schema, value) is True


def test_a_number_is_a_double_even_if_it_is_written_as_a_whole_one() -> None:
    schema = struct(ratio={"type": "number"}, map={"type": "object", "additionalProperties": {"type": "number"}})

    assert evaluate("self.ratio / 2.0", schema, {"ratio": 1}) == 0.5
    assert evaluate("type(self.map.a) == double && self.map.a / 2.0 == 0.5", schema, {"map": {"a": 1}}) is True


def test_an_int_or_string_is_told_apart_by_its_type() -> None:
    schema = struct(port={"x-kubernetes-int-or-string": True})
    rule = "type(self.port) == int ? self.port < 100 : self.port == 'http'"

    assert evaluate(rule, schema, {"port": 80}) is True
    assert evaluate(rule, schema, {"port": "http"}) is True


def test_sets_are_equal_in_any_order_and_add_without_repeating() -> None:
    schema = struct(s={"type": "array", "x-kubernetes-list-type": "set", "items": STRING})

    assert evaluate("self.s == ['b', 'a']", schema, {"s": ["a", "b"]}) is True
    assert evaluate("self.s == ['a']", schema, {"s": ["a", "b"]}) is False
    assert evaluate("self.s + ['b', 'c']", schema, {"s": ["a", "b"]}) == ["a", "b", "c"]
    assert evaluate("self == oldSelf", schema, {"s": ["a", "b"]}, {"s": ["b", "a"]}) is True


def test_map_lists_are_equal_by_key_and_merge_by_key() -> None:
    items = struct(name=STRING, value=INTEGER)
    keyed = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"], "items": items}
    schema = struct(m=keyed)
    one, two = {"name": "a", "value": 1}, {"name": "b", "value": 2}

    assert evaluate("self.m == oldSelf.m", schema, {"m": [one, two]}, {"m": [two, one]}) is True
    assert evaluate("self == oldSelf", schema, {"m": [one, two]}, {"m": [two, {"name": "a", "value": 9}]}) is False
    merged = evaluate("self.m + oldSelf.m", schema, {"m": [one]}, {"m": [two, {"name": "a", "value": 9}]})
    assert merged == [{"name": "a", "value": 9}, two]


def test_atomic_lists_keep_their_order() -> None:
    schema = struct(l={"type": "array", "items": STRING})

    assert evaluate("self.l == oldSelf.l", schema, {"l": ["a", "b"]}, {"l": ["b", "a"]}) is False


def test_a_field_that_is_null_counts_as_one_that_is_not_set() -> None:
    nullable = {"type": "integer", "nullable": True}
    schema = struct(n=nullable, map={"type": "object", "additionalProperties": nullable})
    value = {"n": None, "map": {"a": None}}

    assert evaluate("has(self.n) || self.?n.hasValue()", schema, value) is False
    with pytest.raises(CelEvaluationError, match="no such key: n"):
        evaluate("self.n > 1", schema, value)
    assert evaluate("has(self.map.a)", schema, value) is True
    with pytest.raises(CelEvaluationError, match="no such overload"):
        evaluate("self.map.a > 1", schema, value)


DOCUMENTED: dict[str, tuple[dict[str, Any], Any]] = {
    "self.health.startsWith('ok')": (struct(health=STRING), {"health": "ok: 5"}),
    "self.widgets.exists(w, w.key == 'x' && w.foo < 10)": (
        struct(widgets={"type": "array", "items": struct(key=STRING, foo=INTEGER)}),
        {"widgets": [{"key": "x", "foo": 3}]},
    ),
    "type(self) == string ? self == '99%' : self == 42": ({"x-kubernetes-int-or-string": True}, "99%"),
    "self.metadata.name == 'singleton'": (struct(metadata=struct(name=STRING)), {"metadata": {"name": "singleton"}}),
    "self.set1.all(e, !(e in self.set2))": (
        struct(**{n: {"type": "array", "items": STRING, "x-kubernetes-list-type": "set"} for n in ("set1", "set2")}),
        {"set1": ["a"], "set2": ["b"]},
    ),
    "size(self.names) == size(self.details) && self.names.all(n, n in self.details)": (
        struct(names={"type": "array", "items": STRING}, details={"type": "object", "additionalProperties": INTEGER}),
        {"names": ["a"], "details": {"a": 1}},
    ),
    "self.priority < 10 && self.items.map(i, i.cost).sum() <= 100": (
        struct(priority=INTEGER, items={"type": "array", "items": struct(cost=INTEGER)}),
        {"priority": 1, "items": [{"cost": 60}, {"cost": 40}]},
    ),
    "self.details.all(key, key.matches('^[a-zA-Z]*$'))": (
        struct(details={"type": "object", "additionalProperties": STRING}),
        {"details": {"abc": "1"}},
    ),
    "self.created + self.ttl < self.expired": (
        struct(
            created={"type": "string", "format": "date-time"},
            expired={"type": "string", "format": "date-time"},
            ttl={"type": "string", "format": "duration"},
        ),
        {"created": "2021-01-01T00:00:00Z", "expired": "2021-01-02T00:00:01Z", "ttl": "24h"},
    ),
}


@pytest.mark.parametrize("rule", DOCUMENTED)
def test_the_documented_rules_hold(rule: str) -> None:
    schema, value = DOCUMENTED[rule]

    assert evaluate(rule, schema, value) is True


def test_built_in_objects_have_the_types_of_their_published_definitions() -> None:
    environment = Environment({"object": type_of_definition("io.k8s.api.apps.v1.Deployment")})
    types = {
        "object.spec.replicas": "int",
        "object.metadata.creationTimestamp": "timestamp",
        "object.metadata.labels": "map(string, string)",
        "object.spec.template.spec.containers[0].resources.limits['cpu']": "string",
        "object.spec.template.spec.containers[0].ports[0].containerPort": "int",
        "object.spec.strategy.rollingUpdate.maxSurge": "dyn",
        "object.metadata.namespace": "string",
    }

    assert {rule: str(compile(rule, environment).result_type) for rule in types} == types
    with pytest.raises(CelCompileError, match="undefined field 'replcas'"):
        compile("object.spec.replcas > 1", environment)


def test_a_definition_that_contains_itself_is_a_type() -> None:
    name = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
    environment = Environment({"schema": type_of_definition(name)})

    assert str(compile("schema.properties['a'].properties['b'].type", environment).result_type) == "string"
    assert compile("schema == schema", environment).evaluate({"schema": {"type": "object"}}) is True
