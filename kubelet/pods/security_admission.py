"""Whether a pod may have what it asks of this node's kernel: sysctls, AppArmor. Pure; one that may not fails at once.

Sources: https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/,
https://kubernetes.io/docs/tutorials/security/apparmor/ and k8s.io/kubernetes/pkg/kubelet/sysctl.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from apimachinery.meta import Object, get_path
from kubelet.pods import pod_spec
from kubelet.pods.pod_status import Verdict

SAFE_SYSCTLS = frozenset(
    (
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        *(f"net.ipv4.tcp_{name}" for name in ("syncookies", "fin_timeout", "rmem", "wmem")),
        *(f"net.ipv4.tcp_keepalive_{name}" for name in ("time", "intvl", "probes")),
    )
)
IPC, NET = "IPC", "Net"
# Beginnings of the names of what belongs to a namespace, and so to a pod alone.
_NAMESPACES: Mapping[str, str] = {
    "kernel.sem": IPC,
    "kernel.shm": IPC,
    "kernel.msg": IPC,
    "fs.mqueue.": IPC,
    "net.": NET,
}
_APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"


def objection(pod: Object, allowed_unsafe_sysctls: Collection[str]) -> Verdict | None:
    """Why the node's kernel does not do what the pod asks for; None when it does."""
    return _forbidden_sysctl(pod, allowed_unsafe_sysctls) or _apparmor(pod)


def parse_sysctls(text: str) -> tuple[str, ...]:
    """Names, or beginnings of names that end in `*`, separated by commas. Raises ValueError."""
    names = tuple(dotted(name.strip()) for name in text.split(",") if name.strip())
    for name in names:
        beginning = name.removesuffix("*")
        if "*" in beginning:
            raise ValueError(f'{name!r} is no sysctl\'s name: a "*" stands at the end')
        if namespace_of(beginning) is None:
            raise ValueError(f"the sysctls {name!r} are not known to be namespaced: they would tune the node")
    return names


def dotted(name: str) -> str:
    """A sysctl's name with "." between its parts: that with "/" may have a "." within one (an interface's name)."""
    separator = next((character for character in name if character in "./"), ".")
    return name if separator == "." else name.translate(str.maketrans("./", "/."))


def namespace_of(name: str) -> str | None:
    """The namespace that a sysctl belongs to; None if it is the whole node's."""
    return next((space for start, space in _NAMESPACES.items() if name.startswith(start)), None)


def _forbidden_sysctl(pod: Object, allowed_unsafe: Collection[str]) -> Verdict | None:
    shared = {IPC} if pod["spec"].get("hostIPC") else set()
    shared |= {NET} if pod_spec.host_network(pod) else set()
    for entry in get_path(pod, "spec", "securityContext", "sysctls", default=[]):
        name = dotted(entry["name"])
        space = namespace_of(name)
        if space is None or not (name in SAFE_SYSCTLS or _is_allowed(name, allowed_unsafe)):
            why = f'"{name}" not allowlisted'
        elif space in shared:
            why = f'"{name}" not allowed with host {space} enabled'
        else:
            continue
        return Verdict("SysctlForbidden", f"forbidden sysctl: {why}")
    return None


def _is_allowed(name: str, patterns: Collection[str]) -> bool:
    return any(name.startswith(p[:-1]) if p.endswith("*") else name == p for p in patterns)


def _apparmor(pod: Object) -> Verdict | None:
    """No node of ours has AppArmor, and a profile that is asked for must not be left out in silence."""
    contexts = [pod["spec"].get("securityContext")]
    contexts += [container.get("securityContext") for container in pod_spec.all_containers(pod)]
    types = [get_path(context or {}, "appArmorProfile", "type") for context in contexts]
    annotations: Mapping[str, str] = pod["metadata"].get("annotations") or {}
    named = [value for key, value in annotations.items() if key.startswith(_APPARMOR_ANNOTATION)]
    if any(kind not in (None, "Unconfined") for kind in types) or any(value != "unconfined" for value in named):
        return Verdict("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")
    return None
