"""What rules allow, and what they allow beyond others."""

from typing import Any
from urllib.parse import parse_qsl

import pytest

from apiserver.decision import ALLOWED
from apiserver.rbac.rules import RuleIndex, missing, shown
from apiserver.request_info import parse
from tests.support.access import rule

POD, PODS = "/api/v1/namespaces/a/pods/web", "/api/v1/namespaces/a/pods"
SCALE = "/apis/apps/v1/namespaces/a/deployments/web/scale"


@pytest.mark.parametrize(
    ("granted", "asked", "allowed"),
    [
        (rule("get", "pods"), f"GET {POD}", True),
        (rule("get", "pods"), f"DELETE {POD}", False),
        (rule("get", "pods"), f"GET {PODS}", False),
        (rule("*", "pods"), f"DELETE {PODS}", True),
        (rule("get", "secrets pods"), f"GET {POD}", True),
        (rule("get", "pods", "apps"), f"GET {POD}", False),
        (rule("get", "pods", "*"), f"GET {POD}", True),
        (rule("get", "*"), f"GET {POD}", True),
        (rule("get", "pods"), f"GET {POD}/log", False),
        (rule("get", "pods/log"), f"GET {POD}/log", True),
        (rule("get", "pods/log"), f"GET {POD}", False),
        (rule("get", "*"), f"GET {POD}/log", True),
        (rule("get", "*/scale", "*"), f"GET {SCALE}", True),
        (rule("get", "*/scale", "*"), "GET /apis/apps/v1/namespaces/a/deployments/web", False),
        (rule("get", "deployments/*", "apps"), f"GET {SCALE}", False),
        (rule("get", "pods", names="web db"), f"GET {POD}", True),
        (rule("get", "pods", names="db"), f"GET {POD}", False),
        (rule("list watch", "pods", names="web"), f"GET {PODS}", False),
        (rule("list watch", "pods", names="web"), f"GET {PODS}?fieldSelector=metadata.name%3Dweb", True),
        (rule("create", "pods", names="web"), f"POST {PODS}", False),
        (rule("get", urls="/healthz"), "GET /healthz", True),
        (rule("get", urls="/healthz"), "GET /healthz/etcd", False),
        (rule("get", urls="/healthz/*"), "GET /healthz/etcd", True),
        (rule("get", urls="/healthz/*"), "GET /healthz", False),
        (rule("get", urls="*"), "GET /anything", True),
        (rule("get", urls="*"), "POST /anything", False),
        (rule("get", urls="*"), f"GET {POD}", False),
        (rule("*", "*", "*"), "GET /healthz", False),
    ],
)
def test_a_rule_allows_what_it_names(granted: Any, asked: str, allowed: bool) -> None:
    method, target = asked.split()
    path, _, query = target.partition("?")
    found = RuleIndex([granted]).find(parse(method, path, dict(parse_qsl(query))))
    assert found == (ALLOWED if allowed else None)


def test_a_request_needs_one_rule_that_allows_all_of_it() -> None:
    index = RuleIndex([rule("get", "secrets"), rule("delete", "pods")])
    assert index.find(parse("DELETE", "/api/v1/namespaces/a/secrets/x", {})) is None


@pytest.mark.parametrize(
    ("held", "wanted", "lacking"),
    [
        ([rule("*", "*", "*")], [rule("get delete", "pods pods/log", "")], []),
        ([rule("get", "pods")], [rule("get", "pods", names="web")], []),
        ([rule("get", "pods", names="web")], [rule("get", "pods")], [rule("get", "pods")]),
        ([rule("get", "pods", names="a")], [rule("get", "pods", names="a b")], [rule("get", "pods", names="b")]),
        ([rule("get", "pods"), rule("list", "pods")], [rule("get list watch", "pods")], [rule("watch", "pods")]),
        ([rule("get", "*/scale", "*")], [rule("get", "deployments/scale", "apps")], []),
        ([rule("get", "pods")], [rule("*", "pods")], [rule("*", "pods")]),
        ([rule("get", "pods")], [rule("get", "*")], [rule("get", "*")]),
        ([rule("get", urls="/a/*")], [rule("get", urls="/a/b /a/b/* /c")], [rule("get", urls="/c")]),
        ([], [rule("get list", "a b")], [rule("get list", "a"), rule("get list", "b")]),
    ],
)
def test_what_is_lacking_is_told_rule_by_rule(held: Any, wanted: Any, lacking: Any) -> None:
    assert missing([RuleIndex(held)], wanted) == lacking


def test_rights_from_different_places_count_together() -> None:
    held = [RuleIndex([rule("get", "pods")]), RuleIndex([rule("list", "pods")])]
    assert missing(held, [rule("get list", "pods")]) == []


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (rule("get list", "pods"), '{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}'),
        (
            rule("get", "secrets", "apps", names="x"),
            '{APIGroups:["apps"], Resources:["secrets"], ResourceNames:["x"], Verbs:["get"]}',
        ),
        (rule("get", urls="/metrics"), '{NonResourceURLs:["/metrics"], Verbs:["get"]}'),
    ],
)
def test_a_rule_is_shown_as_kubernetes_shows_it(found: Any, text: str) -> None:
    assert shown(found) == text
