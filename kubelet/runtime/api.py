"""The words that the kubelet and the runtime share: specs going in, states coming out.

Everything here is plain data, kept free of imports so that the small processes of the runtime can
load it as cheaply as the kubelet does. Times are unix seconds; ids and names are strings.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

ContainerStatus = Literal["created", "running", "exited"]


class RuntimeFailure(Exception):
    """A runtime step failed; `reason` is the word Kubernetes shows in a container's waiting state.

    Reasons: CreatePodSandboxError, CreateContainerConfigError (the spec asks for something this
    host can't do), CreateContainerError (the root could not be built), RunContainerError (execve
    failed: the command is missing or not executable), ContainerNotFound, SandboxNotFound, ExecError.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason
        self.message = message


@dataclass(slots=True)
class SandboxSpec:
    """What the containers of one pod share: namespaces, the pod's cgroup, sysctls.

    `cgroup_parent` is relative to the runtime's cgroup root ("burstable/pod<uid>");
    `cgroup_resources` has the shape of OCI `linux.resources`. `runtime_handler` names the runtime that makes the
    containers (handlers/); "" is our own. Without `host_users` the pod has users of its own: its 0 is the node's
    `first_id`, which the runtime chooses.
    """

    pod_uid: str
    pod_name: str
    pod_namespace: str
    hostname: str
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    share_process_namespace: bool = False
    cgroup_parent: str = ""
    cgroup_resources: dict[str, Any] = field(default_factory=dict)
    sysctls: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    domainname: str = ""
    allocation: dict[str, Any] = field(default_factory=dict)
    runtime_handler: str = ""
    host_users: bool = True
    first_id: int = 0


@dataclass(slots=True)
class ContainerSpec:
    """One container: an OCI runtime-spec config and where its root and log are.

    `config` is an OCI `config.json` object (see `oci.default_spec`); `process.user` is numeric.
    `lower_dirs` are the image's layers, top first; they become the lower side of an overlayfs whose
    upper side lives in the container's own directory. With `config.root.readonly` the container
    sees it read-only. `log_path` empty means that output is dropped. `stdin` keeps standard input
    open for `Runtime.attach`; otherwise it is /dev/null. With `stdin_once` it ends with the first
    attached viewer's. `target_container_id` names a container of the pod whose processes this one sees. `image` is
    what the image is called by who wants it; it is only kept.
    """

    id: str
    name: str
    attempt: int
    config: dict[str, Any]
    lower_dirs: list[str]
    log_path: str = ""
    stdin: bool = False
    tty: bool = False
    stdin_once: bool = False
    target_container_id: str = ""
    image: str = ""


@dataclass(slots=True)
class ContainerState:
    """What is known of a container, as kept in its state.json.

    `exit_code` follows Kubernetes: the exit status, or 128 + `signal` when a signal ended it.
    `pid` is the container's first process as this host sees it. `error` says why a container never
    ran or what was lost (a supervisor that died leaves exit code 137 and an error). `notices` are
    things asked for that this host can't do and that were done without.
    """

    id: str
    name: str
    attempt: int
    status: ContainerStatus
    pid: int = 0
    started_at: float | None = None
    finished_at: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    oom_killed: bool = False
    error: str = ""
    log_path: str = ""
    pid_start_ticks: int = 0
    image: str = ""
    notices: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ContainerState:
        return cls(**{key: data[key] for key in cls.__slots__ if key in data})


@dataclass(slots=True)
class SandboxState:
    """A pod's sandbox: its supervisor and its containers, oldest first.

    `netns_path` is good for setns(2) while the supervisor lives ("" for a host-network pod or a dead
    supervisor).
    """

    pod_uid: str
    supervisor_pid: int
    netns_path: str
    alive: bool
    spec: SandboxSpec
    containers: list[ContainerState] = field(default_factory=list)

    def container(self, container_id: str) -> ContainerState | None:
        """Return the state of one container, or None."""
        return next((state for state in self.containers if state.id == container_id), None)


@dataclass(slots=True)
class ExecIO:
    """The three file descriptors of an exec'd process; with `tty` only stdin_fd and stdout_fd count.

    The runtime duplicates them: the caller closes its own after `Runtime.exec` returns. None is
    /dev/null.
    """

    stdin_fd: int | None = None
    stdout_fd: int | None = None
    stderr_fd: int | None = None
