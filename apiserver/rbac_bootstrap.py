"""The roles that a cluster is born with, for people and for what they install, beside those of its own parts.

`admin`, `edit` and `view` are put together by a controller from all roles with the label that they gather, so that
whoever installs a CustomResourceDefinition can say who may use it. What the parts of a cluster may do stands in
`apiserver.policy`; `ROLES` is both together.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings
"""

from __future__ import annotations

from apiserver import policy
from apiserver.policy import EVENTS, READ, REVIEWS, Role, Rule
from apiserver.request_info import AUTHENTICATED

WRITE = ("create", "delete", "deletecollection", "patch", "update")
SYSTEM = "kube-system"
SERVICE_ACCOUNTS = "system:serviceaccounts"
_CERTIFICATES = "certificates.k8s.io"


def _on(verbs: tuple[str, ...], group: str, *resources: str, names: tuple[str, ...] = ()) -> Rule:
    return Rule(verbs, (group,), resources, names)


VIEW = (
    _on(
        READ,
        "",
        *("configmaps", "endpoints", "persistentvolumeclaims", "persistentvolumeclaims/status", "pods"),
        *("replicationcontrollers", "replicationcontrollers/scale", "serviceaccounts", "services", "services/status"),
    ),
    _on(
        READ,
        "",
        *("bindings", "limitranges", "namespaces/status", "pods/log", "pods/status"),
        *("replicationcontrollers/status", "resourcequotas", "resourcequotas/status"),
    ),
    # In a namespace this is the namespace itself: by it people find out which they have access to.
    _on(READ, "", "namespaces"),
    Rule(READ, ("", "events.k8s.io"), ("events",)),
    _on(READ, "discovery.k8s.io", "endpointslices"),
    _on(
        READ,
        "apps",
        *("controllerrevisions", "daemonsets", "daemonsets/status", "deployments", "deployments/scale"),
        *("deployments/status", "replicasets", "replicasets/scale", "replicasets/status", "statefulsets"),
        *("statefulsets/scale", "statefulsets/status"),
    ),
    _on(READ, "autoscaling", "horizontalpodautoscalers", "horizontalpodautoscalers/status"),
    _on(READ, "batch", "cronjobs", "cronjobs/status", "jobs", "jobs/status"),
    _on(READ, "policy", "poddisruptionbudgets", "poddisruptionbudgets/status"),
    _on(READ, "networking.k8s.io", "ingresses", "ingresses/status", "networkpolicies"),
    _on(READ, "resource.k8s.io", "resourceclaims", "resourceclaims/status", "resourceclaimtemplates"),
)

# Whoever may run pods can get at all that a namespace's service accounts may do, and at its secrets.
EDIT = (
    _on(READ, "", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy"),
    _on(("impersonate",), "", "serviceaccounts"),
    _on(WRITE, "", "pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy"),
    _on(("create",), "", "pods/eviction"),
    _on(
        WRITE,
        "",
        *("configmaps", "persistentvolumeclaims", "replicationcontrollers", "replicationcontrollers/scale"),
        *("secrets", "serviceaccounts", "services", "services/proxy"),
    ),
    _on(("create",), "", "serviceaccounts/token"),
    Rule(WRITE, ("", "events.k8s.io"), ("events",)),
    _on(
        WRITE,
        "apps",
        *("daemonsets", "deployments", "deployments/rollback", "deployments/scale", "replicasets"),
        *("replicasets/scale", "statefulsets", "statefulsets/scale"),
    ),
    _on(WRITE, "autoscaling", "horizontalpodautoscalers"),
    _on(WRITE, "batch", "cronjobs", "jobs"),
    _on(WRITE, "policy", "poddisruptionbudgets"),
    _on(WRITE, "networking.k8s.io", "ingresses", "networkpolicies"),
    _on((*READ, *WRITE), "coordination.k8s.io", "leases"),
    _on(WRITE, "resource.k8s.io", "resourceclaims", "resourceclaimtemplates"),
)

ADMIN = (
    _on(("create",), "authorization.k8s.io", "localsubjectaccessreviews"),
    _on((*READ, *WRITE), policy.RBAC_GROUP, "rolebindings", "roles"),
)

_TO_ADMIN, _TO_EDIT, _TO_VIEW = "aggregate-to-admin", "aggregate-to-edit", "aggregate-to-view"
FOR_PEOPLE = (
    Role("admin", gathers=_TO_ADMIN),
    Role("edit", gathers=_TO_EDIT, label=_TO_ADMIN),
    Role("view", gathers=_TO_VIEW, label=_TO_EDIT),
    Role("system:aggregate-to-admin", ADMIN, label=_TO_ADMIN),
    Role("system:aggregate-to-edit", EDIT, label=_TO_EDIT),
    Role("system:aggregate-to-view", VIEW, label=_TO_VIEW),
    Role(
        "system:basic-user",
        (
            _on(("create",), "authorization.k8s.io", "selfsubjectaccessreviews", "selfsubjectrulesreviews"),
            _on(("create",), "authentication.k8s.io", "selfsubjectreviews"),
        ),
        groups=(AUTHENTICATED,),
    ),
)

_PATHS = ("/.well-known/openid-configuration", "/openid/v1/jwks")
_SIGNERS = {
    "legacy-unknown-approver": "kubernetes.io/legacy-unknown",
    "kubelet-serving-approver": "kubernetes.io/kubelet-serving",
    "kube-apiserver-client-approver": "kubernetes.io/kube-apiserver-client",
    "kube-apiserver-client-kubelet-approver": "kubernetes.io/kube-apiserver-client-kubelet",
}
# For what people install: most are bound by whoever installs it.
FOR_ADD_ONS = (
    Role("system:auth-delegator", REVIEWS),
    Role("system:aggregated-metrics-reader", (_on(READ, "metrics.k8s.io", "nodes", "pods"),), label=_TO_VIEW),
    Role(
        "extension-apiserver-authentication-reader",
        (Rule(READ, ("",), ("configmaps",), ("extension-apiserver-authentication",), (SYSTEM,)),),
        users=("system:kube-controller-manager", "system:kube-scheduler"),
        binding="system::extension-apiserver-authentication-reader",
    ),
    Role("system:kube-aggregator", (_on(READ, "", "endpoints", "services"),)),
    Role(
        "system:kube-dns",
        (_on(("list", "watch"), "", "endpoints", "services"),),
        service_accounts=((SYSTEM, "kube-dns"),),
    ),
    Role(
        "system:kubelet-api-admin",
        (
            _on(READ, "", "nodes"),
            _on(("proxy",), "", "nodes"),
            _on(("*",), "", "nodes/log", "nodes/metrics", "nodes/proxy", "nodes/stats"),
            _on(("*",), "", "nodes/configz", "nodes/healthz", "nodes/pods"),
        ),
    ),
    Role("system:node-bootstrapper", (_on(("create", *READ), _CERTIFICATES, "certificatesigningrequests"),)),
    Role(
        "system:node-problem-detector",
        (_on(("get",), "", "nodes"), _on(("patch",), "", "nodes/status"), EVENTS),
    ),
    Role(
        "system:persistent-volume-provisioner",
        (
            _on(("create", "delete", *READ), "", "persistentvolumes"),
            _on((*READ, "update"), "", "persistentvolumeclaims"),
            _on(READ, "storage.k8s.io", "storageclasses"),
            _on(("watch",), "", "events"),
            EVENTS,
        ),
    ),
    Role(
        "system:volume-scheduler",
        (
            _on((*READ, "patch", "update"), "", "persistentvolumes"),
            _on(READ, "storage.k8s.io", "storageclasses"),
            _on((*READ, "patch", "update"), "", "persistentvolumeclaims"),
        ),
        users=("system:kube-scheduler",),
    ),
    Role(
        "system:service-account-issuer-discovery",
        (Rule(("get",), non_resource_urls=tuple(f"{path}{end}" for path in _PATHS for end in ("", "/"))),),
        groups=(SERVICE_ACCOUNTS,),
    ),
    *(
        Role(f"system:{_CERTIFICATES}:certificatesigningrequests:{kind}", (_on(("create",), _CERTIFICATES, what),))
        for kind, what in (
            ("nodeclient", "certificatesigningrequests/nodeclient"),
            ("selfnodeclient", "certificatesigningrequests/selfnodeclient"),
        )
    ),
    *(
        Role(f"system:{_CERTIFICATES}:{name}", (_on(("approve",), _CERTIFICATES, "signers", names=(signer,)),))
        for name, signer in _SIGNERS.items()
    ),
)


def _controller(name: str, *rules: Rule) -> Role:
    return Role(f"system:controller:{name}", rules, service_accounts=((SYSTEM, name),))


# What each controller of ours needs, for whoever runs one of them under an identity of its own.
OF_CONTROLLERS = (
    _controller(
        "clusterrole-aggregation-controller",
        _on(("escalate", *READ, "patch", "update"), policy.RBAC_GROUP, "clusterroles"),
    ),
    _controller(
        "deployment-controller",
        _on((*READ, "update"), "apps", "deployments"),
        _on(("update",), "apps", "deployments/status"),
        _on(("update",), "apps", "deployments/finalizers"),
        _on((*READ, "create", "delete", "patch", "update"), "apps", "replicasets"),
        _on((*READ, "update"), "", "pods"),
        EVENTS,
    ),
    _controller(
        "ephemeral-volume-controller",
        _on(READ, "", "pods"),
        _on(("update",), "", "pods/finalizers"),
        _on((*READ, "create"), "", "persistentvolumeclaims"),
        EVENTS,
    ),
    _controller("generic-garbage-collector", _on((*READ, "delete", "patch", "update"), "*", "*"), EVENTS),
    _controller(
        "namespace-controller",
        _on((*READ, "delete"), "", "namespaces"),
        _on(("update",), "", "namespaces/finalize", "namespaces/status"),
        _on((*READ, "delete", "deletecollection"), "*", "*"),
    ),
    _controller(
        "node-controller",
        _on((*READ, "delete", "patch", "update"), "", "nodes"),
        _on(("patch", "update"), "", "nodes/status"),
        _on(("patch", "update"), "", "pods/status"),
        _on((*READ, "delete"), "", "pods"),
        EVENTS,
    ),
    _controller(
        "persistent-volume-binder",
        _on((*READ, "create", "delete", "update", "patch"), "", "persistentvolumes"),
        _on(("update", "patch"), "", "persistentvolumes/status"),
        _on((*READ, "update", "patch"), "", "persistentvolumeclaims"),
        _on(("update", "patch"), "", "persistentvolumeclaims/status"),
        _on(READ, "storage.k8s.io", "storageclasses"),
        _on(READ, "", "pods", "nodes"),
        EVENTS,
    ),
    _controller(
        "pod-garbage-collector",
        _on(("delete", "list", "watch"), "", "pods"),
        _on(READ, "", "nodes"),
        _on(("patch",), "", "pods/status"),
    ),
    _controller(
        "replicaset-controller",
        _on((*READ, "update"), "apps", "replicasets"),
        _on(("update",), "apps", "replicasets/status"),
        _on(("update",), "apps", "replicasets/finalizers"),
        _on(("create", "delete", "list", "patch", "watch"), "", "pods"),
        EVENTS,
    ),
    _controller("root-ca-cert-publisher", _on(("create", "update"), "", "configmaps"), EVENTS),
    _controller("service-account-controller", _on(("create",), "", "serviceaccounts"), EVENTS),
)

ROLES = (*policy.ROLES, *FOR_PEOPLE, *FOR_ADD_ONS, *OF_CONTROLLERS)
