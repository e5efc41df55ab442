"""ServiceAccount: every pod acts as some account of its namespace, `default` if it names none.

Unless pod or account say otherwise, the pod's containers get all that they need to use the API, in a volume of three
sources: a token of the account that is bound to the pod, the cluster's authority, and the name of the namespace.

The default account is made by a controller a moment after its namespace. Who applies a namespace and a pod in one go
must not be refused for that: its creation is waited for, about as long as Kubernetes tries again.

Source: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#serviceaccount-admission-controller
"""

from __future__ import annotations

from typing import Any

from apimachinery import meta
from apimachinery.errors import ApiError
from apimachinery.meta import Object, get_path
from apimachinery.resources import PODS, SECRETS, SERVICEACCOUNTS
from apiserver.admission import mountable_secrets
from apiserver.admission.plugin import CREATE, UPDATE, Attributes, Cluster, Plugin, refused
from apiserver.node_graph import references
from apiserver.rest.writing import generated_name
from apiserver.serviceaccounts.token_requests import EXTENDED_IF_SECONDS

DEFAULT = "default"
VOLUME_PREFIX, MOUNT_PATH = "kube-api-access-", "/var/run/secrets/kubernetes.io/serviceaccount"
ROOT_CA = "kube-root-ca.crt"
# Kubernetes looks ten times, 100 to 200 ms apart.
DEFAULT_ACCOUNT_WAIT_SECONDS = 2.0
_MIRROR = "kubernetes.io/config.mirror"


async def _set_account(attributes: Attributes, cluster: Cluster) -> None:
    pod = attributes.obj
    assert pod is not None
    spec = pod.setdefault("spec", {})
    if _MIRROR in meta.annotations(pod):
        return
    name = spec.get("serviceAccountName") or DEFAULT
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    account = cluster.get(SERVICEACCOUNTS, attributes.namespace, name)
    if account is None and name == DEFAULT:
        account = await cluster.wait_for(
            SERVICEACCOUNTS, attributes.namespace, name, seconds=DEFAULT_ACCOUNT_WAIT_SECONDS
        )
    if account is None:
        raise _not_found(attributes, name)
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [{"name": secret.get("name")} for secret in account["imagePullSecrets"]]
    if _wants_token(spec, account):
        _mount_token(spec)


def _wants_token(spec: dict[str, Any], account: Object) -> bool:
    """The pod's word counts before the account's."""
    said = spec.get("automountServiceAccountToken")
    return bool(account.get("automountServiceAccountToken") is not False if said is None else said)


def _mount_token(spec: dict[str, Any]) -> None:
    """Mount the volume into every container that has nothing of its own there."""
    volumes = spec.get("volumes") or []
    names = [volume["name"] for volume in volumes if str(volume.get("name")).startswith(VOLUME_PREFIX)]
    name = names[0] if names else generated_name(VOLUME_PREFIX)
    mounted = False
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        mounts = container.get("volumeMounts") or []
        if all(mount.get("mountPath") != MOUNT_PATH for mount in mounts):
            container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}]
            mounted = True
    if mounted and not names:
        spec["volumes"] = [*volumes, _volume(name)]


def _volume(name: str) -> Object:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": EXTENDED_IF_SECONDS, "path": "token"}},
        {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
    ]
    return {"name": name, "projected": {"sources": sources, "defaultMode": 0o644}}


def _not_found(attributes: Attributes, name: str) -> ApiError:
    where = f"{attributes.namespace}/{name}"
    return refused(attributes, f'error looking up service account {where}: serviceaccount "{name}" not found')


async def _check(attributes: Attributes, cluster: Cluster) -> None:
    pod = attributes.obj
    assert pod is not None
    if _MIRROR in meta.annotations(pod):
        _check_mirror(attributes, pod)
        return
    account = _account_of(attributes, cluster, pod)
    if mountable_secrets.are_enforced(account) and (why := mountable_secrets.problem_of_pod(pod, account)):
        raise refused(attributes, why)


async def _check_debugging(attributes: Attributes, cluster: Cluster) -> None:
    pod = attributes.obj
    assert pod is not None
    if attributes.subresource:
        account = _account_of(attributes, cluster, pod)
        if mountable_secrets.are_enforced(account) and (why := mountable_secrets.problem_of_debugging(pod, account)):
            raise refused(attributes, why)


def _account_of(attributes: Attributes, cluster: Cluster, pod: Object) -> Object:
    name: str = get_path(pod, "spec", "serviceAccountName", default="")
    if not name:
        raise refused(attributes, f"no service account specified for pod {attributes.namespace}/{attributes.name}")
    account = cluster.get(SERVICEACCOUNTS, attributes.namespace, name)
    if account is None:
        raise _not_found(attributes, name)
    return account


def _check_mirror(attributes: Attributes, pod: Object) -> None:
    """A mirror shows what a node runs of itself; it acts as nobody and gets nothing out of the API."""
    spec = pod.get("spec") or {}
    if spec.get("serviceAccountName"):
        raise refused(attributes, "a mirror pod may not reference service accounts")
    if any(resource == SECRETS.plural for resource, _ in references(pod)):
        raise refused(attributes, "a mirror pod may not reference secrets")
    for volume in spec.get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            if source.get("serviceAccountToken") is not None:
                raise refused(attributes, "a mirror pod may not use ServiceAccountToken volume projections")


PLUGINS = (
    Plugin("ServiceAccount", (CREATE,), mutate=_set_account, validate=_check, resources=(PODS.key,)),
    Plugin(
        "ServiceAccount",
        (UPDATE,),
        validate=_check_debugging,
        resources=(PODS.key,),
        subresources=("ephemeralcontainers",),
    ),
)
