"""ServiceAccount: every pod acts as some account of its namespace, `default` if it names none.

The default account is made by a controller a moment after its namespace. Who applies a namespace and a pod in one go
must not be refused for that: its creation is waited for, about as long as Kubernetes tries again.

Source: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#serviceaccount-admission-controller
"""

from __future__ import annotations

from apimachinery import meta
from apimachinery.resources import PODS, SERVICEACCOUNTS
from apiserver.admission.plugin import CREATE, Attributes, Cluster, Plugin, refused

DEFAULT = "default"
# Kubernetes looks ten times, 100 to 200 ms apart.
DEFAULT_ACCOUNT_WAIT_SECONDS = 2.0
_MIRROR = "kubernetes.io/config.mirror"


async def _set_account(attributes: Attributes, cluster: Cluster) -> None:
    pod = attributes.obj
    assert pod is not None
    spec = pod.setdefault("spec", {})
    if _MIRROR in meta.annotations(pod):
        _check_mirror(attributes, spec)
        return
    name = spec.get("serviceAccountName") or DEFAULT
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    account = cluster.get(SERVICEACCOUNTS, attributes.namespace, name)
    if account is None and name == DEFAULT:
        account = await cluster.wait_for(
            SERVICEACCOUNTS, attributes.namespace, name, seconds=DEFAULT_ACCOUNT_WAIT_SECONDS
        )
    if account is None:
        where = f"{attributes.namespace}/{name}"
        raise refused(attributes, f'error looking up service account {where}: serviceaccount "{name}" not found')
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [{"name": secret.get("name")} for secret in account["imagePullSecrets"]]


def _check_mirror(attributes: Attributes, spec: meta.Object) -> None:
    """A mirror shows what a node runs of itself; it acts as nobody and gets nothing out of the API."""
    if spec.get("serviceAccountName"):
        raise refused(attributes, "a mirror pod may not reference service accounts")
    if any(volume.get("secret") is not None for volume in spec.get("volumes") or ()):
        raise refused(attributes, "a mirror pod may not reference secrets")


PLUGIN = Plugin("ServiceAccount", (CREATE,), mutate=_set_account, resources=(PODS.key,))
