"""The FlowSchemas and priority levels that a cluster is born with.

The mandatory ones are always there, and always as they stand here; the others are suggestions that an operator may
change.
Source: https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#defaults and
k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap/default.go.
"""

from __future__ import annotations

from apimachinery.meta import Object
from apimachinery.resources import FLOWSCHEMAS, PRIORITYLEVELCONFIGURATIONS, Resource
from apiserver.flowcontrol.level import CATCH_ALL, EXEMPT
from apiserver.flowcontrol.rules import BY_NAMESPACE, BY_USER
from apiserver.request_info import AUTHENTICATED, UNAUTHENTICATED

# "true" on an object: it is kept as it stands here; "false": it belongs to the operator.
AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"
_ALL = ["*"]


def _made(resource: Resource, name: str, spec: Object) -> Object:
    metadata = {"name": name, "annotations": {AUTOUPDATE: "true"}}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}


def _level(name: str, shares: int, lendable_percent: int, queues: int = 0, hand_size: int = 0) -> Object:
    response: Object = {"type": "Reject"}
    if queues:
        queuing = {"queues": queues, "handSize": hand_size, "queueLengthLimit": 50}
        response = {"type": "Queue", "queuing": queuing}
    limited = {"nominalConcurrencyShares": shares, "lendablePercent": lendable_percent, "limitResponse": response}
    return _made(PRIORITYLEVELCONFIGURATIONS, name, {"type": "Limited", "limited": limited})


_exempt = _made(
    PRIORITYLEVELCONFIGURATIONS,
    EXEMPT,
    {"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}},
)
LEVELS = (
    _exempt,
    _level("node-high", 40, 25, 64, 6),
    _level("system", 30, 33, 64, 6),
    _level("leader-election", 10, 0, 16, 4),
    _level("workload-high", 40, 50, 128, 6),
    _level("workload-low", 100, 90, 128, 6),
    _level("global-default", 20, 50, 128, 6),
    _level(CATCH_ALL, 5, 0),
)


def _group(name: str) -> Object:
    return {"kind": "Group", "group": {"name": name}}


def _user(name: str) -> Object:
    return {"kind": "User", "user": {"name": name}}


def _resources(verbs: list[str], group: str, *resources: str, cluster: bool = False) -> Object:
    rule: Object = {"verbs": verbs, "apiGroups": [group], "resources": list(resources), "namespaces": _ALL}
    return {**rule, "clusterScope": True} if cluster else rule


_EVERYTHING: Object = {
    "resourceRules": [_resources(_ALL, "*", "*", cluster=True)],
    "nonResourceRules": [{"verbs": _ALL, "nonResourceURLs": _ALL}],
}
_EVERYBODY = (_group(UNAUTHENTICATED), _group(AUTHENTICATED))
_MANAGER, _SCHEDULER = _user("system:kube-controller-manager"), _user("system:kube-scheduler")
_SYSTEM_ACCOUNTS: Object = {"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": "*"}}


def _schema(
    name: str, level: str, precedence: int, method: str, subjects: tuple[Object, ...], asked: Object
) -> Object:
    spec: Object = {"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence}
    if method:
        spec["distinguisherMethod"] = {"type": method}
    return _made(FLOWSCHEMAS, name, {**spec, "rules": [{"subjects": list(subjects), **asked}]})


_PROBES = {"nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]}
_LEASES = _resources(["get", "create", "update"], "coordination.k8s.io", "leases")
_OF_NODES = (
    _resources(_ALL, "", "nodes", "nodes/status", cluster=True),
    _resources(_ALL, "coordination.k8s.io", "leases"),
)
SCHEMAS = (
    _schema(EXEMPT, EXEMPT, 1, "", (_group("system:masters"),), _EVERYTHING),
    _schema("probes", EXEMPT, 2, "", _EVERYBODY, _PROBES),
    _schema(
        "system-leader-election",
        "leader-election",
        100,
        BY_USER,
        (_MANAGER, _SCHEDULER, _SYSTEM_ACCOUNTS),
        {"resourceRules": [_LEASES]},
    ),
    _schema(
        "system-node-high", "node-high", 400, BY_USER, (_group("system:nodes"),), {"resourceRules": list(_OF_NODES)}
    ),
    _schema("system-nodes", "system", 500, BY_USER, (_group("system:nodes"),), _EVERYTHING),
    _schema("kube-controller-manager", "workload-high", 800, BY_NAMESPACE, (_MANAGER,), _EVERYTHING),
    _schema("kube-scheduler", "workload-high", 800, BY_NAMESPACE, (_SCHEDULER,), _EVERYTHING),
    _schema("kube-system-service-accounts", "workload-high", 900, BY_NAMESPACE, (_SYSTEM_ACCOUNTS,), _EVERYTHING),
    _schema("service-accounts", "workload-low", 9000, BY_USER, (_group("system:serviceaccounts"),), _EVERYTHING),
    _schema("global-default", "global-default", 9900, BY_USER, _EVERYBODY, _EVERYTHING),
    _schema(CATCH_ALL, CATCH_ALL, 10000, BY_USER, _EVERYBODY, _EVERYTHING),
)
MANDATORY = (EXEMPT, CATCH_ALL)
MANDATORY_LEVELS = tuple(level for level in LEVELS if level["metadata"]["name"] in MANDATORY)
MANDATORY_SCHEMAS = tuple(schema for schema in SCHEMAS if schema["metadata"]["name"] in MANDATORY)


def objects() -> tuple[Object, ...]:
    """All of them."""
    return (*LEVELS, *SCHEMAS)


def plan(expected: Object, existing: Object | None) -> Object | None:
    """What is to be written in place of an existing object; None if it may stay as it is.

    Pure. Of the exempt level an operator may set what it lends, even though it is mandatory.
    """
    if existing is None:
        return expected
    name, spec = expected["metadata"]["name"], expected["spec"]
    annotations = existing["metadata"].get("annotations") or {}
    wanted = annotations.get(AUTOUPDATE)
    if wanted is None:
        # From before there was this annotation: whoever has never changed the object wants it kept.
        wanted = "true" if existing["metadata"].get("generation") == 1 else "false"
    if name in MANDATORY:
        wanted = "true"
        if expected["kind"] == PRIORITYLEVELCONFIGURATIONS.kind and name == EXEMPT:
            spec = {**spec, "exempt": {**spec["exempt"], **(existing["spec"].get("exempt") or {})}}
    if wanted == "true" and existing["spec"] != spec:
        found = {**existing, "spec": spec}
    else:
        found = existing
    if annotations.get(AUTOUPDATE) != wanted:
        metadata = {**existing["metadata"], "annotations": {**annotations, AUTOUPDATE: wanted}}
        found = {**found, "metadata": metadata}
    return None if found is existing else found
