"""Who may do what, in the words of RBAC: the roles that Kubernetes itself grants to the parts of a cluster.

Out of this table come the objects that a new cluster has. One identity runs all controllers here, so its roles are
those of Kubernetes' single controllers put together. Nodes also do what kube-proxy and a CNI plugin do there, hence
`system:node-proxier`.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings
"""

from __future__ import annotations

from typing import Any, NamedTuple

from apiserver.request_info import AUTHENTICATED, UNAUTHENTICATED

RBAC_GROUP = "rbac.authorization.k8s.io"
MASTERS, NODES = "system:masters", "system:nodes"

READ = ("get", "list", "watch")
CHANGE = ("patch", "update")
ALL = ("*",)


class Rule(NamedTuple):
    """A PolicyRule; `namespaces` is what a Role of that namespace would say, none means all of the cluster."""

    verbs: tuple[str, ...]
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    resource_names: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = ()

    def wire(self) -> dict[str, Any]:
        """The rule in the shape of the API."""
        fields = {
            "apiGroups": self.api_groups,
            "resources": self.resources,
            "resourceNames": self.resource_names,
            "nonResourceURLs": self.non_resource_urls,
            "verbs": self.verbs,
        }
        return {key: list(values) for key, values in fields.items() if values}


class Role(NamedTuple):
    """A ClusterRole with its binding: the users, groups and service accounts (namespace, name) that have it.

    One that `gathers` has the rules of all ClusterRoles with that label; `label` is what this one is gathered by.
    """

    name: str
    rules: tuple[Rule, ...] = ()
    users: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    service_accounts: tuple[tuple[str, str], ...] = ()
    gathers: str = ""
    label: str = ""
    # The name of the binding, if it is not the role's.
    binding: str = ""


def _core(verbs: tuple[str, ...], *resources: str, names: tuple[str, ...] = ()) -> Rule:
    return Rule(verbs, ("",), resources, names)


def _apps(verbs: tuple[str, ...], *resources: str) -> Rule:
    return Rule(verbs, ("apps",), resources)


def _urls(*paths: str) -> Rule:
    return Rule(("get",), non_resource_urls=paths)


def _leader(name: str) -> tuple[Rule, ...]:
    """To be elected by a Lease of this name."""
    leases, groups = ("leases",), ("coordination.k8s.io",)
    return (
        Rule(("create",), groups, leases, namespaces=("kube-system",)),
        Rule(("get", *CHANGE), groups, leases, (name,), ("kube-system",)),
    )


EVENTS = Rule(("create", *CHANGE), ("", "events.k8s.io"), ("events",))
REVIEWS = (
    Rule(("create",), ("authentication.k8s.io",), ("tokenreviews",)),
    Rule(("create",), ("authorization.k8s.io",), ("subjectaccessreviews",)),
)

SCHEDULER = (
    EVENTS,
    *_leader("kube-scheduler"),
    *REVIEWS,
    _core(READ, "nodes", "namespaces"),
    _core(("delete", *READ), "pods"),
    _core(("create",), "bindings", "pods/binding"),
    _core(CHANGE, "pods/status"),
    _core(READ, "replicationcontrollers", "services", "persistentvolumeclaims", "persistentvolumes"),
    _apps(READ, "replicasets", "statefulsets"),
    Rule(READ, ("policy",), ("poddisruptionbudgets",)),
    Rule(READ, ("scheduling.k8s.io",), ("workloads",)),
    Rule(READ, ("storage.k8s.io",), ("csinodes", "csidrivers", "csistoragecapacities", "storageclasses")),
)

CONTROLLERS = (
    EVENTS,
    *_leader("kube-controller-manager"),
    *REVIEWS,
    # The garbage collector and the deletion of namespaces reach whatever there is.
    Rule(("delete", "deletecollection", *READ, *CHANGE), ("*",), ("*",)),
    # Objects are made of a few kinds only.
    _core(("create",), "pods", "pods/eviction", "endpoints", "serviceaccounts", "serviceaccounts/token", "secrets"),
    _core(("create",), "configmaps", "persistentvolumes", "persistentvolumeclaims"),
    _apps(("create",), "replicasets", "controllerrevisions"),
    Rule(("create",), ("batch",), ("jobs",)),
    Rule(("create",), ("discovery.k8s.io",), ("endpointslices",)),
    Rule(("approve",), ("certificates.k8s.io",), ("signers",), ("kubernetes.io/kube-apiserver-client-kubelet",)),
    # What it gathers into a role, it need not have itself.
    Rule(("escalate",), (RBAC_GROUP,), ("clusterroles",)),
)

# What depends on the node that asks (its own Node, Lease and pods, and what these refer to) is decided in
# `node_authorization`, which grants these to all nodes.
NODE = (
    EVENTS,
    *REVIEWS,
    Rule(("create",), ("authorization.k8s.io",), ("localsubjectaccessreviews",)),
    _core(READ, "services"),
    _core(("get",), "endpoints"),
    Rule(READ, ("node.k8s.io",), ("runtimeclasses",)),
    Rule(READ, ("storage.k8s.io",), ("csidrivers",)),
)

NODE_PROXIER = (
    EVENTS,
    _core(("list", "watch"), "services", "endpoints"),
    _core(READ, "nodes"),
    Rule(("list", "watch"), ("discovery.k8s.io",), ("endpointslices",)),
)

ROLES = (
    Role("cluster-admin", (Rule(ALL, ALL, ALL), Rule(ALL, non_resource_urls=ALL)), groups=(MASTERS,)),
    Role("system:kube-scheduler", SCHEDULER, users=("system:kube-scheduler",)),
    Role("system:kube-controller-manager", CONTROLLERS, users=("system:kube-controller-manager",)),
    Role("system:node", NODE),
    Role("system:node-proxier", NODE_PROXIER, users=("system:kube-proxy",)),
    Role(
        "system:monitoring",
        (_urls("/healthz", "/healthz/*", "/livez", "/livez/*", "/readyz", "/readyz/*", "/metrics", "/metrics/*"),),
        groups=("system:monitoring",),
    ),
    Role(
        "system:discovery",
        (_urls("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*"),),
        groups=(AUTHENTICATED,),
    ),
    Role(
        "system:public-info-viewer",
        (_urls("/healthz", "/livez", "/readyz", "/version", "/version/"),),
        groups=(AUTHENTICATED, UNAUTHENTICATED),
    ),
)


def node_rules() -> list[dict[str, Any]]:
    """What every node may do, whichever it is. It is not bound to their group: nothing can take it from them."""
    return [rule.wire() for rule in (*NODE, *NODE_PROXIER)]
