"""Turns specs into plans: what the supervisor and its children will do, resolved to paths, numbers and bits.

All decisions and all checks of what was asked for happen here, in the kubelet; a plan is plain JSON that the
runtime's small processes carry out. What can't be carried out is refused with CreateContainerConfigError.
"""

from __future__ import annotations

import os
import re
import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from kubelet.runtime import capabilities, devices, seccomp
from kubelet.runtime import syscalls as sc
from kubelet.runtime.api import ContainerSpec, RuntimeFailure, SandboxSpec
from kubelet.runtime.user_namespace import IDS

ID_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_NAMESPACED_SYSCTLS = ("net.", "kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")
_KERNEL_FILE_SYSTEMS = ("proc", "sysfs", "tmpfs", "devpts", "mqueue")
_SHM_DESTINATION = "/dev/shm"

# Mount options, mount(8): flags of mount(2) and attributes of mount_setattr(2), set or cleared.
_FLAGS = {
    "ro": (sc.MS_RDONLY, sc.MOUNT_ATTR_RDONLY, True),
    "rw": (sc.MS_RDONLY, sc.MOUNT_ATTR_RDONLY, False),
    "nosuid": (sc.MS_NOSUID, sc.MOUNT_ATTR_NOSUID, True),
    "suid": (sc.MS_NOSUID, sc.MOUNT_ATTR_NOSUID, False),
    "nodev": (sc.MS_NODEV, sc.MOUNT_ATTR_NODEV, True),
    "dev": (sc.MS_NODEV, sc.MOUNT_ATTR_NODEV, False),
    "noexec": (sc.MS_NOEXEC, sc.MOUNT_ATTR_NOEXEC, True),
    "exec": (sc.MS_NOEXEC, sc.MOUNT_ATTR_NOEXEC, False),
    "noatime": (sc.MS_NOATIME, sc.MOUNT_ATTR_NOATIME, True),
    "relatime": (sc.MS_RELATIME, 0, True),
    "strictatime": (sc.MS_STRICTATIME, 0, True),
    "nodiratime": (sc.MS_NODIRATIME, 0, True),
}
_PROPAGATION = {
    "private": sc.MS_PRIVATE,
    "rprivate": sc.MS_PRIVATE,
    "slave": sc.MS_SLAVE,
    "rslave": sc.MS_SLAVE,
    "shared": sc.MS_SHARED,
    "rshared": sc.MS_SHARED,
    "unbindable": sc.MS_UNBINDABLE,
    "runbindable": sc.MS_UNBINDABLE,
}
# Every option that a mount may have, but for data of its file system; those that are a flag may be recursive.
MOUNT_OPTIONS = ("bind", "rbind", "defaults", *_FLAGS, *(f"r{name}" for name in _FLAGS), *_PROPAGATION)


def refuse(message: str) -> RuntimeFailure:
    """The failure for a spec that asks for something that can't be."""
    return RuntimeFailure("CreateContainerConfigError", message)


def sandbox(spec: SandboxSpec, group: Mapping[str, Any], pause_group: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of a pod's sandbox; the groups are plans of its cgroup and of the pause process below it."""
    namespaces = 0 if spec.host_network else sc.CLONE_NEWNET | sc.CLONE_NEWUTS
    namespaces |= 0 if spec.host_ipc else sc.CLONE_NEWIPC
    if spec.first_id and (spec.host_network or spec.host_ipc or spec.host_pid):
        # The API refuses it, but not every pod comes from there: the node's namespaces are not those users'.
        text = "a pod with users of its own (hostUsers: false) can't have the node's network, IPC or processes"
        raise RuntimeFailure("CreatePodSandboxError", text)
    shared = spec.share_process_namespace and not spec.host_pid
    if shared:
        group = {
            **group,
            "directories": [*group["directories"], *pause_group["directories"]],
            "pause": pause_group["unified"],
            "pause_join": pause_group["join"],
        }
    return {
        "spec": asdict(spec),
        "host_pid": spec.host_pid,
        "shared_pid": shared,
        "namespaces": namespaces,
        "first_id": spec.first_id,
        "hostname": spec.hostname,
        "domainname": spec.domainname,
        "sysctls": [sysctl(key, value, namespaces, spec.first_id) for key, value in spec.sysctls.items()],
        "cgroup": group,
    }


def sysctl(key: str, value: str, namespaces: int, first_id: int = 0) -> tuple[str, str]:
    """The file and value of a kernel parameter that belongs to a namespace of the pod's own; no other is set.

    Groups are named as the pod counts them, from `first_id`, and set as the node does.
    """
    path = key.replace(".", "/") if "/" not in key else key
    name = path.replace("/", ".")
    needed = sc.CLONE_NEWNET if name.startswith("net.") else sc.CLONE_NEWIPC
    if not name.startswith(_NAMESPACED_SYSCTLS) or ".." in path or not namespaces & needed:
        raise RuntimeFailure("CreatePodSandboxError", f"sysctl {key!r} is not the pod's own: it would tune the node")
    if first_id and name == "net.ipv4.ping_group_range":
        value = " ".join(str(first_id + min(int(group), IDS - 1)) for group in value.split())
    return f"/proc/sys/{path}", value


def container(
    spec: ContainerSpec,
    pod: SandboxSpec,
    *,
    pod_dir: str,
    group: Mapping[str, Any],
    shown_cgroups: Sequence[Mapping[str, str]],
    seccomp_program: Callable[[Mapping[str, Any]], str],
) -> dict[str, Any]:
    """The plan of one container."""
    if not ID_PATTERN.fullmatch(spec.id):
        raise refuse(f"invalid container id {spec.id!r}")
    config = spec.config
    linux = config.get("linux") or {}
    root = config.get("root") or {}
    if not spec.lower_dirs and not root.get("path"):
        raise refuse("the container has neither image layers nor a root path")
    shm = "/dev/shm" if pod.host_ipc else f"{pod_dir}/shm"
    planned = {
        "id": spec.id,
        "name": spec.name,
        "attempt": spec.attempt,
        "log_path": spec.log_path,
        "image": spec.image,
        "stdin": spec.stdin,
        "stdin_once": spec.stdin_once,
        "null_fds": [] if spec.stdin else [0],
        "lower_dirs": spec.lower_dirs,
        "root_path": root.get("path") or "",
        "readonly_root": bool(root.get("readonly")),
        "mounts": [mount(entry, shown_cgroups, shm) for entry in config.get("mounts") or []],
        "devices": device_nodes(linux),
        "masked_paths": linux.get("maskedPaths") or [],
        "readonly_paths": linux.get("readonlyPaths") or [],
        "pid": pid_mode(spec, pod),
        "first_id": pod.first_id,
        "cgroup": dict(group),
        **process(config.get("process") or {}, tty=spec.tty),
        **seccomp_of(linux.get("seccomp"), seccomp_program),
    }
    largest = max(planned["uid"], planned["gid"], *planned["groups"])
    if pod.first_id and largest >= IDS:
        raise refuse(f"user or group {largest} is none of the pod's own {IDS} (hostUsers: false)")
    return planned


def pid_mode(spec: ContainerSpec, pod: SandboxSpec) -> str:
    """Whose processes a container sees: private, shared (the pod's), host, or container:ID."""
    if spec.target_container_id:
        return f"container:{spec.target_container_id}"
    if pod.host_pid:
        return "host"
    return "shared" if pod.share_process_namespace else "private"


def process(wanted: Mapping[str, Any], *, tty: bool) -> dict[str, Any]:
    """What concerns the first process, from OCI `process`."""
    argv = wanted.get("args") or []
    if not argv:
        raise refuse("no command specified")
    env = list(wanted.get("env") or [])
    if tty and not any(pair.startswith("TERM=") for pair in env):
        env.append("TERM=xterm")
    for text in (*argv, *env):
        if "\0" in text:
            raise refuse("the command and the environment must not contain NUL characters")
    cwd = wanted.get("cwd") or "/"
    if not cwd.startswith("/"):
        raise refuse(f"the working directory {cwd!r} is not absolute")
    return {
        "argv": list(argv),
        "env": env,
        "cwd": cwd,
        "tty": tty,
        "no_new_privileges": bool(wanted.get("noNewPrivileges")),
        "oom_score_adj": wanted.get("oomScoreAdj") or 0,
        "rlimits": [rlimit(entry) for entry in wanted.get("rlimits") or []],
        "capabilities": capability_sets(wanted.get("capabilities") or {}),
        **user(wanted.get("user") or {}),
    }


def user(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """uid, gid, supplementary groups and umask, from OCI `process.user`."""
    uid, gid = wanted.get("uid") or 0, wanted.get("gid") or 0
    groups = wanted.get("additionalGids") or []
    if any(not 0 <= number < 0xFFFFFFFF for number in (uid, gid, *groups)):
        raise refuse(f"user and group ids must be between 0 and {0xFFFFFFFF - 1}")
    return {"uid": uid, "gid": gid, "groups": list(groups), "umask": wanted.get("umask")}


def capability_sets(wanted: Mapping[str, Any]) -> dict[str, int]:
    """The five sets as bit masks; one that is absent is empty."""
    try:
        return {
            name: capabilities.mask(wanted.get(name) or [])
            for name in ("bounding", "effective", "permitted", "inheritable", "ambient")
        }
    except ValueError as error:
        raise refuse(str(error)) from error


def rlimit(entry: Mapping[str, Any]) -> tuple[int, int, int]:
    """[resource, soft, hard] for setrlimit(2)."""
    number = getattr(resource, str(entry["type"]), None)
    if number is None or not str(entry["type"]).startswith("RLIMIT_"):
        raise refuse(f"unknown resource limit {entry['type']!r}")
    # OCI writes "unlimited" as the largest unsigned number; Python as -1.
    soft, hard = (-1 if value >= 1 << 63 else value for value in (entry["soft"], entry["hard"]))
    return number, soft, hard


def seccomp_of(profile: Mapping[str, Any] | None, program: Callable[[Mapping[str, Any]], str]) -> dict[str, Any]:
    """Where the compiled filter is, and its flags; without a profile there is none. An empty one is a mistake."""
    if profile is None:
        return {"seccomp": "", "seccomp_flags": 0}
    try:
        return {"seccomp": program(profile), "seccomp_flags": seccomp.flags(profile)}
    except seccomp.ProfileError as error:
        raise refuse(str(error)) from error


def device_nodes(linux: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The nodes to make: the usual ones, then those of OCI `linux.devices`."""
    nodes = [
        {"path": f"/dev/{name}", "mode": 0o020666, "major": major, "minor": minor, "uid": 0, "gid": 0}
        for name, major, minor in devices.DEFAULT_NODES
    ]
    kinds = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}
    for entry in linux.get("devices") or []:
        path = os.path.normpath(entry["path"])
        if not path.startswith("/") or entry["type"] not in kinds:
            raise refuse(f"invalid device {entry['path']!r} of type {entry['type']!r}")
        mode = 0o666 if entry.get("fileMode") is None else entry["fileMode"] & 0o777
        nodes.append(
            {
                "path": path,
                "mode": kinds[entry["type"]] | mode,
                "major": entry.get("major") or 0,
                "minor": entry.get("minor") or 0,
                "uid": entry.get("uid") or 0,
                "gid": entry.get("gid") or 0,
            }
        )
    return nodes


def mount(entry: Mapping[str, Any], shown_cgroups: Sequence[Mapping[str, str]], shm: str) -> dict[str, Any]:
    """One mount, with its options resolved; see mounts.py for who uses which key."""
    destination = os.path.normpath(entry["destination"])
    options = entry.get("options") or []
    kind = entry.get("type") or ("bind" if {"bind", "rbind"} & set(options) else "")
    if not destination.startswith("/") or destination == "/":
        raise refuse(f"invalid mount destination {entry['destination']!r}")
    source = entry.get("source") or kind
    if kind == "bind" and destination == _SHM_DESTINATION and source == "shm":
        source = shm
    flags = set_attributes = cleared_attributes = propagation = 0
    recursive_attributes = False
    data: list[str] = []
    for option in options:
        plain = option[1:] if option[:1] == "r" and option[1:] in _FLAGS and option not in _FLAGS else option
        if plain in _FLAGS:
            flag, attribute, on = _FLAGS[plain]
            flags = flags | flag if on else flags & ~flag
            set_attributes = set_attributes | attribute if on else set_attributes & ~attribute
            cleared_attributes = cleared_attributes & ~attribute if on else cleared_attributes | attribute
            recursive_attributes |= plain != option
        elif option in _PROPAGATION:
            propagation = _PROPAGATION[option]
        elif option not in ("bind", "rbind", "defaults", "idmap"):
            data.append(option)
    if kind == "bind":
        if not source.startswith("/"):
            raise refuse(f"the source {source!r} of the bind mount at {destination} is not absolute")
        return {
            "kind": "bind",
            "source": source,
            "destination": destination,
            "recursive": "bind" not in options,
            "recursive_attributes": recursive_attributes,
            "set": set_attributes,
            # "rw" must not make a source writable that the node itself has mounted read-only. A new access time
            # mode takes the old one's place (mount_setattr(2)).
            "clear": cleared_attributes & ~sc.MOUNT_ATTR_RDONLY
            | (sc.MOUNT_ATTR__ATIME if set_attributes & sc.MOUNT_ATTR_NOATIME else 0),
            "propagation": propagation or sc.MS_PRIVATE,
            "must_map": "idmap" in options,
        }
    common = {"destination": destination, "flags": flags, "data": ",".join(data)}
    if kind in ("cgroup", "cgroup2"):
        return {"kind": "cgroup", "source": "cgroup", "hierarchies": list(shown_cgroups), **common}
    if kind not in _KERNEL_FILE_SYSTEMS:
        raise refuse(f"mounts of type {kind!r} (at {destination}) are not supported")
    return {"kind": "filesystem", "source": source, "type": kind, **common}


def session(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None,
    cwd: str | None,
    user_wanted: Mapping[str, Any] | None,
    tty: bool,
    stdio: Sequence[bool],
) -> dict[str, Any]:
    """What an exec changes in the plan of the container that it goes into."""
    if not argv:
        raise RuntimeFailure("ExecError", "no command specified")
    changes: dict[str, Any] = {
        "argv": list(argv),
        "env": [f"{key}={value}" for key, value in (env or {}).items()],
        "tty": tty,
        "null_fds": [fd for fd, given in enumerate(stdio) if not given],
    }
    if tty:
        changes["env"] = ["TERM=xterm", *changes["env"]]
    if cwd is not None:
        changes["cwd"] = cwd
    if user_wanted is not None:
        changes.update(user(user_wanted))
    return changes


def group_path(root: str, pod: SandboxSpec, container_id: str = "") -> str:
    """The path of a pod's or a container's cgroup, below the root of each hierarchy."""
    parts = [root.strip("/"), pod.cgroup_parent.strip("/") or f"pod{pod.pod_uid}", container_id]
    path = "/".join(part for part in parts if part)
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise RuntimeFailure("CreatePodSandboxError", f"invalid cgroup path {path!r}")
    return path
