"""Which requests a webhook or policy is about."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.resources import (
    CONFIGMAPS,
    DEPLOYMENTS,
    HORIZONTALPODAUTOSCALERS,
    NAMESPACES,
    NODES,
    PODS,
    VALIDATINGADMISSIONPOLICIES,
    Resource,
)
from apiserver.admission.matching import Matcher, criteria_of, is_exempt
from apiserver.admission.plugin import CONNECT, CREATE, DELETE, UPDATE, Attributes
from apiserver.admission.served import Served
from apiserver.catalog import Catalog
from apiserver.request_info import User
from tests.support.admission import FakeCluster

USER = User("jane")
NAMESPACE = (NAMESPACES, {"metadata": {"name": "prod", "labels": {"env": "prod"}}})


def asked(
    resource: Resource,
    operation: str = CREATE,
    name: str = "x",
    namespace: str = "prod",
    subresource: str = "",
    labels: dict[str, str] | None = None,
    old_labels: dict[str, str] | None = None,
) -> Attributes:
    obj: Object | None = None if operation == DELETE else {"metadata": {"name": name, "labels": labels or {}}}
    old = None if operation in (CREATE, CONNECT) else {"metadata": {"name": name, "labels": old_labels or {}}}
    where = namespace if resource.namespaced else ""
    return Attributes(operation, resource, where, name, USER, obj, old, subresource)


def rule(resources: str, operations: str = "*", groups: str = "*", versions: str = "*", **more: Any) -> Object:
    lists = {"resources": resources, "operations": operations, "apiGroups": groups, "apiVersions": versions}
    return {**{key: [word if word != "core" else "" for word in text.split()] for key, text in lists.items()}, **more}


def matched(match: Object, attributes: Attributes, *, open: bool = False) -> Resource | None:
    matcher = Matcher([("it", criteria_of(match, open=open))], Served(Catalog()))
    found = [one.match(attributes, FakeCluster(NAMESPACE)) for one in matcher.candidates(attributes)]
    return found[0] if found else None


def matches(attributes: Attributes, *rules: Object, **more: Any) -> bool:
    return matched({"resourceRules": list(rules), **more}, attributes) is not None


@pytest.mark.parametrize(
    ("rule", "yes", "no"),
    [
        (rule("pods", groups="core"), [asked(PODS)], [asked(DEPLOYMENTS), asked(PODS, subresource="status")]),
        (rule("pods/*"), [asked(PODS, subresource="status"), asked(PODS)], [asked(CONFIGMAPS)]),
        (rule("pods/status"), [asked(PODS, subresource="status")], [asked(PODS), asked(PODS, subresource="exec")]),
        (rule("*/scale"), [asked(DEPLOYMENTS, subresource="scale")], [asked(DEPLOYMENTS)]),
        (rule("*"), [asked(PODS), asked(NODES)], [asked(PODS, subresource="status")]),
        (rule("*/*"), [asked(PODS), asked(PODS, subresource="status"), asked(NODES)], []),
        (rule("*", "CREATE UPDATE"), [asked(PODS), asked(PODS, UPDATE)], [asked(PODS, DELETE), asked(PODS, CONNECT)]),
        (rule("*", groups="apps"), [asked(DEPLOYMENTS)], [asked(PODS)]),
        (rule("*", versions="v2"), [asked(HORIZONTALPODAUTOSCALERS)], [asked(PODS)]),
        (rule("*", scope="Namespaced"), [asked(PODS)], [asked(NODES), asked(NAMESPACES)]),
        (rule("*", scope="Cluster"), [asked(NODES), asked(NAMESPACES)], [asked(PODS)]),
        (rule("*", resourceNames=["a", "b"]), [asked(PODS, name="a")], [asked(PODS, name="c")]),
    ],
)
def test_rules(rule, yes, no):
    assert [matches(one, rule) for one in yes] == [True] * len(yes)
    assert [matches(one, rule) for one in no] == [False] * len(no)


def test_without_rules_a_webhook_is_about_nothing_and_a_binding_about_everything():
    assert not matches(asked(PODS))
    assert matched({}, asked(PODS), open=True) == PODS


def test_what_is_excluded_is_not_matched():
    excluded = [rule("pods", resourceNames=["x"])]
    assert not matches(asked(PODS), rule("*"), excludeResourceRules=excluded)
    assert matches(asked(PODS, name="y"), rule("*"), excludeResourceRules=excluded)


def test_another_version_of_the_same_objects_matches_if_that_is_wanted():
    v1 = rule("horizontalpodautoscalers", groups="autoscaling", versions="v1")
    assert not matches(asked(HORIZONTALPODAUTOSCALERS), v1, matchPolicy="Exact")
    found = matched({"resourceRules": [v1], "matchPolicy": "Equivalent"}, asked(HORIZONTALPODAUTOSCALERS))
    assert found is not None and found.api_version == "autoscaling/v1"


def test_a_request_for_its_own_version_is_matched_as_that():
    both = rule("horizontalpodautoscalers", versions="v1 v2")
    found = matched({"resourceRules": [both], "matchPolicy": "Equivalent"}, asked(HORIZONTALPODAUTOSCALERS))
    assert found == HORIZONTALPODAUTOSCALERS


def test_labels_of_the_new_or_of_the_old_object_match():
    selector = {"matchLabels": {"a": "b"}}
    assert matches(asked(PODS, labels={"a": "b"}), rule("*"), objectSelector=selector)
    assert matches(asked(PODS, UPDATE, old_labels={"a": "b"}), rule("*"), objectSelector=selector)
    assert matches(asked(PODS, DELETE, old_labels={"a": "b"}), rule("*"), objectSelector=selector)
    assert not matches(asked(PODS, labels={"a": "c"}), rule("*"), objectSelector=selector)


def test_labels_of_the_namespace_match():
    prod, test = {"matchLabels": {"env": "prod"}}, {"matchLabels": {"env": "test"}}
    assert matches(asked(PODS), rule("*"), namespaceSelector=prod)
    assert not matches(asked(PODS), rule("*"), namespaceSelector=test)
    # What is in no namespace can't be left out by one.
    assert matches(asked(NODES), rule("*"), namespaceSelector=test)


def test_of_a_namespace_its_own_labels_count():
    prod = {"matchLabels": {"env": "prod"}}
    assert matches(asked(NAMESPACES, name="new", labels={"env": "prod"}), rule("*"), namespaceSelector=prod)
    assert not matches(asked(NAMESPACES, UPDATE, name="prod"), rule("*"), namespaceSelector=prod)
    assert matches(asked(NAMESPACES, DELETE, name="prod"), rule("*"), namespaceSelector=prod)


def test_a_namespace_that_is_not_there_is_told_to_whom_it_concerns():
    selector = {"matchLabels": {"env": "prod"}}
    assert not matches(asked(PODS, namespace="none"), rule("nodes"), namespaceSelector=selector)
    with pytest.raises(ApiError) as caught:
        matches(asked(PODS, namespace="none"), rule("pods"), namespaceSelector=selector)
    assert caught.value.message == 'namespaces "none" not found'


def test_only_those_that_can_match_are_looked_at():
    items = [(name, criteria_of({"resourceRules": [rule(name)]})) for name in ("pods", "nodes", "*", "configmaps")]
    matcher = Matcher(items, Served(Catalog()))
    assert [one.item for one in matcher.candidates(asked(PODS))] == ["pods", "*"]
    assert [one.item for one in matcher.candidates(asked(PODS, subresource="status"))] == []


def test_what_decides_on_requests_is_not_decided_on():
    assert is_exempt(VALIDATINGADMISSIONPOLICIES)
    assert not is_exempt(PODS)
