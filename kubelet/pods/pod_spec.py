"""Reading a pod's spec: the questions that all parts of the node agent ask of it.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/pod-v1/
"""

from __future__ import annotations

from typing import Any

from apimachinery.meta import Object, get_path

Container = dict[str, Any]

TERMINATION_GRACE_PERIOD_SECONDS = 30
HOSTNAME_CHARACTERS_MAX = 63


def containers(pod: Object) -> list[Container]:
    """`spec.containers`."""
    listed: list[Container] = pod["spec"].get("containers") or []
    return listed


def init_containers(pod: Object) -> list[Container]:
    """`spec.initContainers`, sidecars included; never None."""
    listed: list[Container] = pod["spec"].get("initContainers") or []
    return listed


def ephemeral_containers(pod: Object) -> list[Container]:
    """`spec.ephemeralContainers`, which come into a pod that runs, to look into it; never None."""
    listed: list[Container] = pod["spec"].get("ephemeralContainers") or []
    return listed


def all_containers(pod: Object) -> list[Container]:
    """Init containers, then containers: those that the pod was made of."""
    return [*init_containers(pod), *containers(pod)]


def container(pod: Object, name: str) -> Container | None:
    """The container of this name, whatever kind it is of."""
    listed = (*all_containers(pod), *ephemeral_containers(pod))
    return next((entry for entry in listed if entry["name"] == name), None)


def is_sidecar(pod: Object, name: str) -> bool:
    """True for an init container that keeps running beside the others (restartPolicy Always)."""
    return any(entry["name"] == name and entry.get("restartPolicy") == "Always" for entry in init_containers(pod))


def is_init(pod: Object, name: str) -> bool:
    """True for an init container, sidecars included."""
    return any(entry["name"] == name for entry in init_containers(pod))


def is_ephemeral(pod: Object, name: str) -> bool:
    """True for a container that came into the pod later on."""
    return any(entry["name"] == name for entry in ephemeral_containers(pod))


def is_lasting(pod: Object, name: str) -> bool:
    """True for containers and sidecars, which are there for as long as the pod is."""
    return is_sidecar(pod, name) or any(entry["name"] == name for entry in containers(pod))


def field_path(pod: Object, name: str) -> str:
    """Where a container stands in its pod, as events name it: `spec.containers{web}`."""
    section = "containers"
    if is_init(pod, name):
        section = "initContainers"
    elif is_ephemeral(pod, name):
        section = "ephemeralContainers"
    return f"spec.{section}{{{name}}}"


def restart_policy(pod: Object) -> str:
    """`spec.restartPolicy`: Always, OnFailure or Never."""
    return pod["spec"].get("restartPolicy") or "Always"


def host_users(pod: Object) -> bool:
    """False for a pod with users of its own, which are nobody on the node (`hostUsers: false`)."""
    return pod["spec"].get("hostUsers") is not False


def host_network(pod: Object) -> bool:
    """True if the pod lives in the node's own network namespace."""
    return bool(pod["spec"].get("hostNetwork"))


def phase(pod: Object) -> str:
    """`status.phase` as the API has it, or ""."""
    return get_path(pod, "status", "phase", default="") or ""


def has_ended(pod: Object) -> bool:
    """True once the API says Succeeded or Failed, which a pod never leaves again."""
    return phase(pod) in ("Succeeded", "Failed")


def describe(pod: Object) -> str:
    """The pod as Kubernetes' messages name it: `NAME_NAMESPACE(UID)`."""
    metadata = pod["metadata"]
    return f"{metadata['name']}_{metadata.get('namespace', '')}({metadata['uid']})"


def grace_period_seconds(pod: Object) -> int:
    """How long the pod may take to end: what its deletion asks for, else what its spec says."""
    asked = pod["metadata"].get("deletionGracePeriodSeconds")
    if asked is not None and pod["metadata"].get("deletionTimestamp"):
        return int(asked)
    granted = pod["spec"].get("terminationGracePeriodSeconds")
    return TERMINATION_GRACE_PERIOD_SECONDS if granted is None else int(granted)


def hostname(pod: Object) -> str:
    """The pod's own host name: what its spec says, or its name, cut to what a host name may be."""
    spec = pod["spec"]
    asked: str = spec.get("hostnameOverride") or spec.get("hostname") or pod["metadata"]["name"]
    return asked[:HOSTNAME_CHARACTERS_MAX].rstrip("-.")


def fully_qualified_name(pod: Object, cluster_domain: str) -> str:
    """`HOSTNAME.SUBDOMAIN.NAMESPACE.svc.DOMAIN` for a pod with a subdomain, or "".

    One whose host name was overridden has no name in the cluster's DNS by which it could be known.
    """
    subdomain = pod["spec"].get("subdomain")
    if not subdomain or pod["spec"].get("hostnameOverride"):
        return ""
    return f"{hostname(pod)}.{subdomain}.{pod['metadata']['namespace']}.svc.{cluster_domain}"


def kernel_hostname(pod: Object, cluster_domain: str) -> str:
    """The host name that the pod's processes are told: the full one where it is asked for and there is one."""
    full = fully_qualified_name(pod, cluster_domain) if pod["spec"].get("setHostnameAsFQDN") else ""
    return full or hostname(pod)
