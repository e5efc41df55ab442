"""Who may do what: the parts of a cluster have Kubernetes' own rights and no more."""

from typing import Any
from urllib.parse import parse_qsl

import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.persistent_volumes import LOCAL_PATH, LOCAL_PATH_NODE_LABEL
from apimachinery.resources import SECRETS
from apiserver.authentication import ANONYMOUS
from apiserver.authorization import Authorizer
from apiserver.node_graph import NodeGraph, references
from apiserver.rbac import defaults
from apiserver.request_info import AUTHENTICATED, User, parse
from tests.support.access import Objects, authorizer_of, granted, rule

ADMIN = User("jane", groups=("system:masters", AUTHENTICATED))
SCHEDULER = User("system:kube-scheduler", groups=(AUTHENTICATED,))
CONTROLLERS = User("system:kube-controller-manager", groups=(AUTHENTICATED,))
NODE = User("system:node:n1", groups=("system:nodes", AUTHENTICATED))
NOBODY = User("joe", groups=(AUTHENTICATED,))


def pod(name: str, node: str, **spec: Any) -> Object:
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "a"},
        "spec": {"nodeName": node, "containers": [], **spec},
    }


PODS = [
    pod(
        "mine",
        "n1",
        serviceAccountName="runner",
        volumes=[
            {"name": "v", "secret": {"secretName": "used"}},
            {"name": "d", "persistentVolumeClaim": {"claimName": "data"}},
        ],
    ),
    pod("other", "n2", volumes=[{"name": "v", "secret": {"secretName": "foreign"}}]),
]


def local_volume(name: str, node: str, driver: str = LOCAL_PATH, claim: str = "gone") -> Object:
    spec = {"csi": {"driver": driver, "volumeHandle": name}, "claimRef": {"namespace": "a", "name": claim}}
    return {
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": {LOCAL_PATH_NODE_LABEL: node}},
        "spec": spec,
    }


VOLUMES = [
    local_volume("here", "n1"),
    local_volume("there", "n2"),
    local_volume("not-a-folder", "n1", "example.com/nfs"),
    local_volume("claimed", "", "example.com/nfs", "data"),
]


@pytest.fixture
def authorizer() -> Authorizer:
    return authorizer_of(Objects(*PODS, *VOLUMES, *defaults.objects()))


def refusal(authorizer: Authorizer, user: User, asked: str) -> ApiError | None:
    method, target = asked.split()
    path, _, query = target.partition("?")
    try:
        authorizer.authorize(user, parse(method, path, dict(parse_qsl(query))))
    except ApiError as error:
        return error
    return None


@pytest.mark.parametrize("asked", ["GET /metrics", "DELETE /api/v1/nodes", "POST /apis/x.example.com/v1/things"])
def test_masters_may_do_everything(authorizer: Authorizer, asked: str) -> None:
    assert refusal(authorizer, ADMIN, asked) is None


@pytest.mark.parametrize(
    ("user", "asked"),
    [
        (SCHEDULER, "GET /api/v1/pods?watch=1"),
        (SCHEDULER, "POST /api/v1/namespaces/a/pods/web/binding"),
        (SCHEDULER, "PATCH /api/v1/namespaces/a/pods/web/status"),
        (SCHEDULER, "POST /api/v1/namespaces/a/events"),
        (SCHEDULER, "PUT /apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-scheduler"),
        (CONTROLLERS, "POST /api/v1/namespaces/a/pods"),
        (CONTROLLERS, "PATCH /apis/apps/v1/namespaces/a/deployments/web/status"),
        (CONTROLLERS, "DELETE /apis/anything.example.com/v1/namespaces/a/things"),
        (CONTROLLERS, "PUT /api/v1/namespaces/a/finalize"),
        (CONTROLLERS, "PUT /apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-controller-manager"),
        (NODE, "POST /api/v1/nodes"),
        (NODE, "PATCH /api/v1/nodes/n1/status"),
        (NODE, "POST /api/v1/namespaces/a/pods"),
        (NODE, "GET /api/v1/nodes?watch=1"),
        (NODE, "GET /api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1"),
        (NODE, "PATCH /api/v1/namespaces/a/pods/mine/status"),
        (NODE, "DELETE /api/v1/namespaces/a/pods/mine"),
        (NODE, "GET /api/v1/namespaces/a/pods/gone"),
        (NODE, "GET /api/v1/namespaces/a/secrets/used"),
        (NODE, "GET /api/v1/namespaces/a/secrets?watch=1&fieldSelector=metadata.name%3Dused"),
        (NODE, "PUT /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n1"),
        (NODE, "GET /apis/discovery.k8s.io/v1/endpointslices?watch=1"),
        (NODE, "POST /api/v1/namespaces/a/serviceaccounts/runner/token"),
        (NODE, "GET /api/v1/namespaces/a/persistentvolumeclaims/data"),
        (NODE, "GET /api/v1/persistentvolumes/claimed"),
        (NODE, "GET /api/v1/persistentvolumes/here"),
        (NODE, "PATCH /api/v1/persistentvolumes/here"),
        (NODE, "GET /api/v1/persistentvolumes?labelSelector=local-path.wherry.io/node%3Dn1"),
        (NODE, "GET /api/v1/persistentvolumes?watch=1&labelSelector=local-path.wherry.io/node%3Dn1"),
        (NOBODY, "GET /apis/apps/v1"),
        (NOBODY, "GET /openapi/v3/api/v1"),
        (ANONYMOUS, "GET /readyz"),
        (ANONYMOUS, "GET /version"),
    ],
)
def test_each_part_may_do_its_work(authorizer: Authorizer, user: User, asked: str) -> None:
    assert refusal(authorizer, user, asked) is None


@pytest.mark.parametrize(
    ("user", "asked"),
    [
        (SCHEDULER, "GET /api/v1/namespaces/a/secrets/used"),
        (SCHEDULER, "PUT /apis/coordination.k8s.io/v1/namespaces/kube-system/leases/other"),
        (SCHEDULER, "PUT /apis/coordination.k8s.io/v1/namespaces/a/leases/kube-scheduler"),
        (SCHEDULER, "PATCH /api/v1/namespaces/a/pods/web"),
        (CONTROLLERS, "POST /apis/apps/v1/namespaces/a/deployments"),
        (CONTROLLERS, "GET /metrics"),
        (NODE, "PATCH /api/v1/nodes/n2/status"),
        (NODE, "DELETE /api/v1/nodes/n1"),
        (NODE, "GET /api/v1/pods?watch=1"),
        (NODE, "GET /api/v1/pods?fieldSelector=spec.nodeName%3Dn2"),
        (NODE, "PATCH /api/v1/namespaces/a/pods/other/status"),
        (NODE, "PATCH /api/v1/namespaces/a/pods/mine"),
        (NODE, "DELETE /api/v1/namespaces/a/pods/other"),
        (NODE, "DELETE /api/v1/namespaces/a/pods"),
        (NODE, "GET /api/v1/namespaces/a/secrets/foreign"),
        (NODE, "GET /api/v1/namespaces/a/secrets"),
        (NODE, "GET /api/v1/secrets?fieldSelector=metadata.name%3Dused"),
        (NODE, "PUT /api/v1/namespaces/a/secrets/used"),
        (NODE, "POST /api/v1/namespaces/a/serviceaccounts/default/token"),
        (NODE, "GET /api/v1/namespaces/a/serviceaccounts/runner"),
        (NODE, "GET /api/v1/namespaces/a/persistentvolumeclaims/theirs"),
        (NODE, "GET /api/v1/namespaces/a/persistentvolumeclaims"),
        (NODE, "PATCH /api/v1/namespaces/a/persistentvolumeclaims/data"),
        (NODE, "GET /api/v1/persistentvolumes/there"),
        (NODE, "PATCH /api/v1/persistentvolumes/there"),
        (NODE, "PATCH /api/v1/persistentvolumes/not-a-folder"),
        (NODE, "PATCH /api/v1/persistentvolumes/claimed"),
        (NODE, "PATCH /api/v1/persistentvolumes/here/status"),
        (NODE, "DELETE /api/v1/persistentvolumes/here"),
        (NODE, "GET /api/v1/persistentvolumes"),
        (NODE, "GET /api/v1/persistentvolumes?labelSelector=local-path.wherry.io/node%3Dn2"),
        (NODE, "GET /api/v1/persistentvolumes?labelSelector=local-path.wherry.io/node"),
        (NODE, "PUT /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/n2"),
        (NODE, "POST /apis/apps/v1/namespaces/a/deployments"),
        (NODE, "GET /api/v1/namespaces/a/pods/mine/exec"),
        (NOBODY, "GET /api/v1/namespaces/a/pods"),
        (NOBODY, "GET /metrics"),
        (NOBODY, "POST /version"),
    ],
)
def test_and_nothing_else(authorizer: Authorizer, user: User, asked: str) -> None:
    error = refusal(authorizer, user, asked)
    assert error is not None and error.code == 403 and error.reason == "Forbidden"


@pytest.mark.parametrize(
    "asked", ["GET /api", "GET /api/v1/pods", "GET /metrics", "GET /readyz/ping", "POST /readyz"]
)
def test_whoever_shows_no_credentials_gets_no_further_than_to_health_and_version(
    authorizer: Authorizer, asked: str
) -> None:
    error = refusal(authorizer, ANONYMOUS, asked)
    assert error is not None and error.code == 403


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            "GET /api/v1/namespaces/default/pods",
            'pods is forbidden: User "joe" cannot list resource "pods" in API group "" in the namespace "default"',
        ),
        (
            "PATCH /apis/apps/v1/namespaces/a/deployments/web/scale",
            'deployments.apps "web" is forbidden: User "joe" cannot patch resource "deployments/scale" in API group '
            '"apps" in the namespace "a"',
        ),
        (
            "GET /api/v1/nodes",
            'nodes is forbidden: User "joe" cannot list resource "nodes" in API group "" at the cluster scope',
        ),
        ("GET /metrics", 'forbidden: User "joe" cannot get path "/metrics"'),
    ],
)
def test_a_refusal_has_kubernetes_words(authorizer: Authorizer, asked: str, message: str) -> None:
    error = refusal(authorizer, NOBODY, asked)
    assert error is not None and error.message == message


def test_reading_rights_are_not_enough_to_run_commands() -> None:
    """A WebSocket is opened by a GET, which alone would ask for `get` on pods/exec."""
    authorizer = authorizer_of(Objects(*granted(rule("get", "pods/exec pods/log"), to="joe")))
    assert refusal(authorizer, NOBODY, "GET /api/v1/namespaces/a/pods/web/log") is None
    error = refusal(authorizer, NOBODY, "GET /api/v1/namespaces/a/pods/web/exec")
    assert error is not None and 'cannot create resource "pods/exec"' in error.message


def test_a_node_is_told_why(authorizer: Authorizer) -> None:
    error = refusal(authorizer, NODE, "GET /api/v1/namespaces/a/secrets/foreign")
    assert error is not None
    assert error.message.endswith(": no relationship found between node 'n1' and this object")


def test_a_pods_references_are_all_found() -> None:
    spec = {
        "imagePullSecrets": [{"name": "pull"}],
        "volumes": [
            {"name": "a", "secret": {"secretName": "mounted"}},
            {"name": "b", "configMap": {"name": "files"}},
            {"name": "c", "projected": {"sources": [{"secret": {"name": "part"}}, {"configMap": {"name": "rest"}}]}},
            {"name": "d", "csi": {"driver": "x", "nodePublishSecretRef": {"name": "driver"}}},
            {"name": "e", "emptyDir": {}},
        ],
        "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "all"}}]}],
        "containers": [
            {
                "name": "c",
                "envFrom": [{"configMapRef": {"name": "settings"}}],
                "env": [
                    {"name": "A", "value": "plain"},
                    {"name": "B", "valueFrom": {"secretKeyRef": {"name": "one", "key": "k"}}},
                    {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "key", "key": "k"}}},
                    {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                ],
            }
        ],
    }
    secrets = {name for kind, name in references({"spec": spec}) if kind == "secrets"}
    config_maps = {name for kind, name in references({"spec": spec}) if kind == "configmaps"}
    assert secrets == {"pull", "mounted", "part", "driver", "all", "one"}
    assert config_maps == {"files", "rest", "settings", "key"}


def test_what_a_node_has_to_do_with_follows_its_pods() -> None:
    pods = list(PODS)
    graph = NodeGraph(lambda namespace: [p for p in pods if p["metadata"]["namespace"] == namespace])
    assert graph.refers("n1", SECRETS, "a", "used") and not graph.refers("n2", SECRETS, "a", "used")
    late = pod("late", "n2", volumes=[{"name": "v", "secret": {"secretName": "used"}}])
    graph.pod_changed(None, late)
    assert graph.refers("n2", SECRETS, "a", "used")
    graph.pod_changed(PODS[0], None)
    assert not graph.refers("n1", SECRETS, "a", "used") and graph.refers("n2", SECRETS, "a", "used")
    waiting = {**late, "spec": {**late["spec"], "nodeName": ""}}
    graph.pod_changed(late, waiting)
    assert not graph.refers("n2", SECRETS, "a", "used")


def test_a_pod_that_was_there_before_is_counted_once() -> None:
    """A namespace is read when it is first asked of; what changes before that must not be counted twice."""
    pods = [PODS[0]]
    graph = NodeGraph(lambda _: pods)
    assert not graph.follows("a")
    graph.pod_changed(None, PODS[0])
    assert graph.refers("n1", SECRETS, "a", "used")
    assert graph.follows("a") and not graph.follows("b")
    graph.pod_changed(PODS[0], None)
    pods.clear()
    assert not graph.refers("n1", SECRETS, "a", "used")
