"""Which FlowSchema a request matches."""

from __future__ import annotations

import pytest

from apimachinery.meta import Object
from apiserver.flowcontrol import rules
from apiserver.request_info import RequestInfo, User
from tests.unit.apiserver.flowcontrol.factories import (
    ADMIN,
    BUILDER,
    JANE,
    LEASE,
    NODE,
    POD,
    on,
    request,
    rule,
    schema,
)


def matches(a_rule: Object, who: User, info: RequestInfo) -> bool:
    return rules.ask_for(rules.rules_about(schema("s", "l", 1, a_rule), who), info)


GROUP: Object = {"kind": "Group", "group": {"name": "people"}}
ALL_PODS = on("*", "pods")


@pytest.mark.parametrize(
    ("subject", "who", "expected"),
    [
        (GROUP, JANE, True),
        (GROUP, NODE, False),
        ({"kind": "Group", "group": {"name": "*"}}, NODE, True),
        ({"kind": "User", "user": {"name": "jane"}}, JANE, True),
        ({"kind": "User", "user": {"name": "*"}}, BUILDER, True),
        ({"kind": "User", "user": {"name": "joe"}}, JANE, False),
        ({"kind": "ServiceAccount", "serviceAccount": {"namespace": "ci", "name": "builder"}}, BUILDER, True),
        ({"kind": "ServiceAccount", "serviceAccount": {"namespace": "ci", "name": "*"}}, BUILDER, True),
        ({"kind": "ServiceAccount", "serviceAccount": {"namespace": "c", "name": "*"}}, BUILDER, False),
        ({"kind": "ServiceAccount", "serviceAccount": {"namespace": "ci", "name": "other"}}, BUILDER, False),
    ],
)
def test_a_rule_is_about_its_subjects(subject: Object, who: User, expected: bool) -> None:
    assert matches(rule(subject, ALL_PODS), who, POD) is expected


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        (on("get list", "pods"), True),
        (on("create", "pods"), False),
        (on("*", "pods/log"), False),
        (on("*", "*"), True),
        (on("*", "pods", "apps"), False),
        (on("*", "pods", "*"), True),
        (on("*", "pods", namespaces="shop other"), True),
        (on("*", "pods", namespaces="other"), False),
    ],
)
def test_a_rule_is_about_resources(resources: Object, expected: bool) -> None:
    assert matches(rule(GROUP, resources), JANE, POD) is expected


def test_what_belongs_to_no_namespace_is_matched_by_cluster_scope_alone() -> None:
    nodes = request("GET", "/api/v1/nodes")
    assert not matches(rule(GROUP, on("*", "nodes")), JANE, nodes)
    assert matches(rule(GROUP, on("*", "nodes", namespaces="", cluster=True)), JANE, nodes)
    assert not matches(rule(GROUP, on("*", "pods", namespaces="", cluster=True)), JANE, POD)


@pytest.mark.parametrize(
    ("url", "path", "expected"),
    [
        ("/healthz", "/healthz", True),
        ("/healthz", "/healthz/storage", True),
        ("/healthz", "/healthzz", False),
        ("/apis/*", "/apis/apps/v1", True),
        ("/apis/*", "/api/v1", False),
        ("*", "/metrics", True),
    ],
)
def test_a_rule_is_about_paths_and_all_below_them(url: str, path: str, expected: bool) -> None:
    urls: Object = {"verbs": ["get"], "nonResourceURLs": [url]}
    assert matches(rule(GROUP, urls=urls), JANE, request("GET", path)) is expected


def test_a_rule_about_resources_is_not_about_paths() -> None:
    everything = on("*", "*", "*", cluster=True)
    assert not rules.is_about_all(rule(GROUP, everything))
    assert not matches(rule(GROUP, everything), JANE, request("GET", "/version"))
    assert rules.is_about_all(rule(GROUP, everything, urls={"verbs": ["*"], "nonResourceURLs": ["*"]}))
    assert not rules.is_about_all(rule(GROUP, on("*", "*", ""), urls={"verbs": ["*"], "nonResourceURLs": ["*"]}))
    assert matches(rule({"kind": "User", "user": {"name": ADMIN.name}}, everything), ADMIN, LEASE)
