"""What the runtime is asked for: pure, from pod, container and image to an OCI config.

Everything that has to be fetched, looked up or made (environment, user, mounts) comes in ready.
Sources: https://github.com/opencontainers/runtime-spec/blob/main/config.md and, for command and args,
https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/#notes
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from apimachinery.meta import Object, get_path
from kubelet.containers import resources, security
from kubelet.containers.environment import expand
from kubelet.containers.security import User
from kubelet.images import Image
from kubelet.pods import allocation, pod_spec, qos
from kubelet.pods.pod_spec import Container
from kubelet.runtime import ContainerSpec, SandboxSpec, oci

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
HOSTNAME_CHARACTERS_MAX = 64
_PROPAGATION = {"HostToContainer": "rslave", "Bidirectional": "rshared"}


class ConfigFailure(Exception):
    """No config can be made; `reason` is the container's waiting reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of the node and where the container sees it."""

    source: str
    destination: str
    read_only: bool = False
    recursively: bool = False
    propagation: str = "None"
    idmapped: bool = False

    def oci(self) -> dict[str, Any]:
        """The mount as the runtime takes it."""
        access = ("rro" if self.recursively else "ro") if self.read_only else "rw"
        options = ["rbind", access, _PROPAGATION.get(self.propagation, "rprivate")]
        if self.idmapped:
            options.append("idmap")
        return {"destination": self.destination, "type": "bind", "source": self.source, "options": options}


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What goes into a container besides its spec.

    `seccomp` is a Localhost profile, read from its file. `target_id` is the container whose processes this one sees.
    """

    image: Image
    user: User
    environment: Sequence[tuple[str, str]] = ()
    mounts: Sequence[Mount] = ()
    seccomp: Mapping[str, Any] = field(default_factory=dict)
    node_memory_bytes: int = 0
    target_id: str = ""


def sandbox_spec(pod: Object, *, pids_max: int, cluster_domain: str) -> SandboxSpec:
    """What the containers of a pod share."""
    spec, metadata = pod["spec"], pod["metadata"]
    sysctls = get_path(spec, "securityContext", "sysctls", default=[])
    return SandboxSpec(
        pod_uid=metadata["uid"],
        pod_name=metadata["name"],
        pod_namespace=metadata["namespace"],
        hostname=sandbox_hostname(pod, cluster_domain),
        host_network=pod_spec.host_network(pod),
        host_pid=bool(spec.get("hostPID")),
        host_ipc=bool(spec.get("hostIPC")),
        host_users=pod_spec.host_users(pod),
        share_process_namespace=bool(spec.get("shareProcessNamespace")),
        cgroup_parent=qos.cgroup_parent(pod),
        cgroup_resources=resources.pod_resources(pod, pids_max=pids_max),
        sysctls={entry["name"]: entry["value"] for entry in sysctls},
        allocation=allocation.of(pod),
    )


def sandbox_hostname(pod: Object, cluster_domain: str) -> str:
    """The host name that the kernel tells the pod's processes. Raises ConfigFailure if it is too long for that."""
    name = pod_spec.kernel_hostname(pod, cluster_domain)
    if len(name) > HOSTNAME_CHARACTERS_MAX:
        limit = f"{HOSTNAME_CHARACTERS_MAX} characters is the max, {len(name)} characters requested"
        message = f"failed to construct FQDN from pod hostname and cluster domain, FQDN {name} is too long ({limit})"
        raise ConfigFailure("CreatePodSandboxError", message)
    return name


def container_spec(
    pod: Object, container: Container, given: Ingredients, *, container_id: str, attempt: int, log_path: str
) -> ContainerSpec:
    """One run of a container. Raises ConfigFailure."""
    config = oci.default_spec()
    process = config["process"]
    process["args"] = command(container, given.image, given.environment)
    process["env"] = environment(pod, container, given)
    process["cwd"] = container.get("workingDir") or given.image.config.get("WorkingDir") or "/"
    process["terminal"] = bool(container.get("tty"))
    process["user"] = {
        "uid": given.user.uid,
        "gid": given.user.gid,
        "additionalGids": list(given.user.groups),
    }
    process["noNewPrivileges"] = security.no_new_privileges(container)
    process["oomScoreAdj"] = qos.oom_score_adj(pod, container, node_memory_bytes=given.node_memory_bytes)
    config["root"]["readonly"] = bool(get_path(container, "securityContext", "readOnlyRootFilesystem"))
    config["linux"]["resources"] = resources.container_resources(pod, container)
    _protect(pod, container, given, config)
    mounts = [*_image_mounts(given.image), *_shown_to(pod, given.mounts)]
    config["mounts"] += [mount.oci() for mount in _ordered(mounts)]
    return ContainerSpec(
        id=container_id,
        name=container["name"],
        attempt=attempt,
        config=config,
        lower_dirs=[str(layer) for layer in given.image.layers],
        log_path=log_path,
        image=container.get("image", ""),
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        target_container_id=given.target_id,
        tty=bool(container.get("tty")),
    )


def command(container: Container, image: Image, env: Sequence[tuple[str, str]]) -> list[str]:
    """The command line: a container's command also puts the image's arguments out of force."""
    own, args = container.get("command") or (), container.get("args") or ()
    entrypoint, cmd = image.config.get("Entrypoint") or (), image.config.get("Cmd") or ()
    if own:
        line = [*expand(own, env), *expand(args, env)]
    elif args:
        line = [*entrypoint, *expand(args, env)]
    else:
        line = [*entrypoint, *cmd]
    if not line:
        raise ConfigFailure("CreateContainerError", "no command specified")
    return line


def environment(pod: Object, container: Container, given: Ingredients) -> list[str]:
    """NAME=VALUE pairs: the image's, then the container's own, which win."""
    variables = {"PATH": DEFAULT_PATH}
    if container.get("tty"):
        variables["TERM"] = "xterm"
    variables["HOSTNAME"] = os.uname().nodename if pod_spec.host_network(pod) else pod_spec.hostname(pod)
    for pair in given.image.config.get("Env") or ():
        name, _, value = pair.partition("=")
        variables[name] = value
    variables.update(given.environment)
    return [f"{name}={value}" for name, value in variables.items()]


def _protect(pod: Object, container: Container, given: Ingredients, config: dict[str, Any]) -> None:
    """Capabilities, seccomp and the paths of /proc that are hidden or read-only."""
    if security.is_privileged(container):
        oci.set_privileged(config)
        return
    oci.set_capabilities(config, security.capabilities(container))
    kind, _ = security.seccomp_profile(pod, container)
    if kind == "RuntimeDefault":
        oci.set_runtime_default_seccomp(config)
    elif kind == "Localhost":
        config["linux"]["seccomp"] = dict(given.seccomp)
    else:
        config["linux"].pop("seccomp", None)
    if get_path(container, "securityContext", "procMount") == "Unmasked":
        config["linux"]["maskedPaths"], config["linux"]["readonlyPaths"] = [], []


def _image_mounts(image: Image) -> list[Mount]:
    """What an image shows of the node, read-only to the last mount that lies in it."""
    return [Mount(source, destination, read_only=True, recursively=True) for source, destination in image.binds]


def _shown_to(pod: Object, mounts: Sequence[Mount]) -> Sequence[Mount]:
    """Volumes that must be shown to a pod's own users as theirs, or they could not write to them.

    What is only read serves as well when its file system can't do that, as an image's can't: then it is strangers'.
    """
    if pod_spec.host_users(pod):
        return mounts
    return [replace(mount, idmapped=not mount.read_only) for mount in mounts]


def _ordered(mounts: Sequence[Mount]) -> list[Mount]:
    """Outer folders first, so that none covers what was mounted inside of it; of one place the last counts."""
    by_place = {mount.destination.rstrip("/"): mount for mount in mounts}
    return sorted(by_place.values(), key=lambda mount: mount.destination.rstrip("/").count("/"))
