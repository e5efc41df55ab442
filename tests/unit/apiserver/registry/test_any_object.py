"""What holds of every resource, tried with objects made from the schemas."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apimachinery import canonical, schemas
from apimachinery.resources import BUILTIN, Resource
from apiserver.registry import strategy
from apiserver.registry.metadata import validate_metadata, validate_metadata_update
from apiserver.registry.strategy import Since

QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
TEXTS = ("", "a", "web", "a/b", "a.b/c", "..", "../x", "/x", "10.0.0.1", "::1", "10.0.0.0/8", "25%", "é", "a" * 300)
WORDS = ("Always", "Never", "RollingUpdate", "ClusterIP", "LoadBalancer", "None", "Exists", "In", "NoExecute")
QUANTITIES = ("0", "1", "-1", "100m", "1Gi", "1500", "1n")
INTEGERS = st.sampled_from((0, 1, 2, -1, 80, 443, 70000, 2**31, 2**40))
DEPTH_MAX = 9


@cache
def values(name: str, depth: int) -> st.SearchStrategy[Any]:
    """Values of a definition."""
    return of_node(schemas.definitions()[name], depth)


def of_node(node: Any, depth: int) -> st.SearchStrategy[Any]:
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        return st.sampled_from(QUANTITIES) if name == QUANTITY else st.deferred(lambda: values(name, depth))
    if "oneOf" in node:
        return st.one_of(INTEGERS, st.sampled_from(TEXTS))
    kinds = node.get("type", "object")
    kind = next(k for k in ([kinds] if isinstance(kinds, str) else kinds) if k != "null")
    match kind:
        case "string":
            if node.get("format") == "date-time":
                return st.just("2026-01-02T03:04:05Z")
            if node.get("format") == "byte":
                return st.sampled_from(("", "YQ==", "not base64"))
            return st.sampled_from(node.get("enum") or (TEXTS + WORDS))
        case "integer" | "number":
            return INTEGERS
        case "boolean":
            return st.booleans()
        case "array":
            return st.lists(of_node(node["items"], depth - 1), max_size=2) if depth > 0 else st.just([])
    properties = node.get("properties")
    if properties is None:
        extra = node.get("additionalProperties")
        if not isinstance(extra, dict) or depth <= 0:
            return st.just({})
        return st.dictionaries(st.sampled_from(TEXTS + ("cpu", "memory")), of_node(extra, depth - 1), max_size=2)
    needed = node.get("required") or ()
    chosen = {key: of_node(inner, depth - 1) for key, inner in properties.items() if depth > 0 or key in needed}
    return st.fixed_dictionaries(
        {key: chosen[key] for key in needed if key in chosen},
        optional={key: inner for key, inner in chosen.items() if key not in needed},
    )


def objects(resource: Resource) -> st.SearchStrategy[Any]:
    """Objects that the pipeline would hand to the resource's rules."""
    name = schemas.definition_name(resource.api_version, resource.kind)
    assert name is not None

    def ready(obj: Any) -> Any:
        obj = copy.deepcopy(obj)
        metadata = obj.setdefault("metadata", {})
        metadata["name"] = metadata.get("name") or "web"
        obj["kind"], obj["apiVersion"] = resource.kind, resource.api_version
        if resource.namespaced:
            metadata["namespace"] = "default"
        canonical.canonicalize(resource, obj)
        return obj

    return values(name, DEPTH_MAX).map(ready)


RELAXED = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


@pytest.mark.parametrize("resource", BUILTIN, ids=lambda resource: resource.plural)
def test_whatever_fits_the_schema_is_defaulted_once_and_checked_without_an_accident(resource):
    rules = strategy(resource)

    @RELAXED
    @given(objects(resource), objects(resource))
    def check(obj, other):
        rules.default(obj)
        again = copy.deepcopy(obj)
        rules.default(again)
        assert again == obj
        old = copy.deepcopy(other)
        rules.default(old)
        rules.prepare_create(obj)
        unchanged = copy.deepcopy(obj)
        for error in validate_metadata(obj, rules) + rules.validate(obj):
            assert error.cause()["message"]
        updated = copy.deepcopy(obj)
        rules.prepare_update(updated, old)
        for error in validate_metadata_update(updated, old, rules) + rules.validate_update(updated, old):
            assert error.cause()["message"]
        reported = copy.deepcopy(obj)
        rules.prepare_status(reported, old)
        for error in rules.validate_status(reported, old):
            assert error.cause()["message"]
        cells = [column.cell(obj) for column in rules.columns]
        assert all(isinstance(cell, str | int | Since) for cell in cells)
        rules.grace_period_seconds(obj, None)
        assert obj == unchanged

    check()


@pytest.mark.parametrize("resource", BUILTIN, ids=lambda resource: resource.plural)
def test_an_object_that_is_right_is_a_right_update_of_itself(resource):
    rules = strategy(resource)

    @RELAXED
    @given(objects(resource))
    def check(obj):
        rules.default(obj)
        rules.prepare_create(obj)
        same = copy.deepcopy(obj)
        rules.prepare_update(same, obj)
        assert rules.validate_update(same, obj) == [] or rules.validate(obj)

    check()
