"""Which flow a request is of, by the objects that a cluster is born with."""

from __future__ import annotations

import pytest

from apiserver.flowcontrol.control import FlowControl
from apiserver.request_info import UNAUTHENTICATED, RequestInfo, User
from tests.unit.apiserver.flowcontrol.factories import (
    ADMIN,
    BUILDER,
    DEFAULT_LEVELS,
    DEFAULT_SCHEMAS,
    JANE,
    LEASE,
    NODE,
    POD,
    on,
    request,
    rule,
    schema,
    user,
)

MANAGER = user("system:kube-controller-manager")
PROXY = user("system:serviceaccount:kube-system:proxy", "system:serviceaccounts")
NOBODY = User("system:anonymous", groups=(UNAUTHENTICATED,))
ELECTION = request("PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-controller-manager")


@pytest.fixture
async def control() -> FlowControl:
    return FlowControl(lambda: DEFAULT_SCHEMAS, lambda: DEFAULT_LEVELS, seats=600, wait_seconds_max=15)


@pytest.mark.parametrize(
    ("who", "info", "expected"),
    [
        (ADMIN, POD, "exempt"),
        (JANE, request("GET", "/readyz"), "probes"),
        (NOBODY, request("GET", "/livez"), "probes"),
        (MANAGER, ELECTION, "system-leader-election"),
        (PROXY, ELECTION, "system-leader-election"),
        (NODE, LEASE, "system-node-high"),
        (NODE, request("PATCH", "/api/v1/nodes/n1/status"), "system-node-high"),
        (NODE, POD, "system-nodes"),
        (MANAGER, POD, "kube-controller-manager"),
        (user("system:kube-scheduler"), POD, "kube-scheduler"),
        (PROXY, POD, "kube-system-service-accounts"),
        (BUILDER, POD, "service-accounts"),
        (JANE, POD, "global-default"),
        (NOBODY, request("GET", "/version"), "global-default"),
        (User("strange"), POD, "catch-all"),
    ],
)
async def test_requests_find_their_schemas(control: FlowControl, who: User, info: RequestInfo, expected: str) -> None:
    assert control.flow(who, info).schema.name == expected
    assert control.flow(who, info) is control.flow(who, info)


async def test_a_flow_is_that_of_a_user_or_of_a_namespace(control: FlowControl) -> None:
    other = request("GET", "/api/v1/namespaces/other/pods/web")
    assert control.flow(JANE, POD).distinguisher == "jane"
    assert control.flow(JANE, POD) is control.flow(JANE, other)
    assert control.flow(MANAGER, POD).distinguisher == "shop"
    assert control.flow(MANAGER, other).distinguisher == "other"


async def test_the_first_schema_that_matches_counts() -> None:
    of_jane = rule({"kind": "User", "user": {"name": "jane"}}, on("get", "pods"))
    objects = [*DEFAULT_SCHEMAS, schema("b", "system", 50, of_jane), schema("a", "system", 50, of_jane)]
    control = FlowControl(lambda: objects, lambda: DEFAULT_LEVELS, seats=600, wait_seconds_max=15)
    assert control.flow(JANE, POD).schema.name == "a"
    assert control.flow(JANE, request("POST", "/api/v1/namespaces/shop/pods")).schema.name == "global-default"


async def test_a_schema_without_its_level_is_passed_over() -> None:
    of_jane = rule({"kind": "User", "user": {"name": "jane"}}, on("get", "pods"))
    objects = [*DEFAULT_SCHEMAS, schema("lost", "nowhere", 50, of_jane)]
    control = FlowControl(lambda: objects, lambda: DEFAULT_LEVELS, seats=600, wait_seconds_max=15)
    assert control.flow(JANE, POD).schema.name == "global-default"


async def test_without_any_object_every_request_has_a_place() -> None:
    control = FlowControl(lambda: [], lambda: [], seats=600, wait_seconds_max=15)
    assert control.flow(ADMIN, POD).schema.level.exempt
    assert control.flow(JANE, POD).schema.level.name == "catch-all"
