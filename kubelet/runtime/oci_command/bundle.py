"""A bundle's config.json as a plan that launch.py's steps carry out; everything is decided and refused here.

Source: https://github.com/opencontainers/runtime-spec/blob/main/config.md and config-linux.md
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from kubelet.runtime import cgroups, plan
from kubelet.runtime import syscalls as sc
from kubelet.runtime.api import RuntimeFailure
from kubelet.runtime.cgroups import Hierarchies
from kubelet.runtime.oci_command.state import Failed

_NAMESPACES = {
    "network": sc.CLONE_NEWNET,
    "ipc": sc.CLONE_NEWIPC,
    "uts": sc.CLONE_NEWUTS,
    "pid": sc.CLONE_NEWPID,
    "mount": sc.CLONE_NEWNS,
    "cgroup": sc.CLONE_NEWCGROUP,
}
_PROPAGATION = {
    "": 0,
    "private": sc.MS_PRIVATE,
    "rprivate": sc.MS_PRIVATE | sc.MS_REC,
    "slave": sc.MS_SLAVE,
    "rslave": sc.MS_SLAVE | sc.MS_REC,
    "shared": sc.MS_SHARED,
    "rshared": sc.MS_SHARED | sc.MS_REC,
    "unbindable": sc.MS_UNBINDABLE,
    "runbindable": sc.MS_UNBINDABLE | sc.MS_REC,
}
HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
# Of Podman and Docker: what is in the image at that place is copied into the new file system; ours begins empty.
_PASSED_OVER = ("tmpcopyup", "copy")


def read(bundle: str) -> dict[str, Any]:
    """The config. Raises Failed."""
    try:
        with open(f"{bundle}/config.json", "rb") as file:
            config = json.load(file)
    except FileNotFoundError:
        raise Failed("JSON specification file config.json not found") from None
    except ValueError as error:
        raise Failed(f"config.json: {error}") from None
    if not isinstance(config, dict) or not config.get("process") or not config.get("root"):
        raise Failed("config.json: process and root must be given")
    if not str(config.get("ociVersion", "")).startswith("1."):
        raise Failed(f"config.json: unsupported ociVersion {config.get('ociVersion')!r}")
    return config


def container(
    config: Mapping[str, Any],
    *,
    bundle: str,
    container_id: str,
    hierarchies: Hierarchies,
    seccomp_program: Callable[[Mapping[str, Any]], str],
) -> dict[str, Any]:
    """The plan of a container. Raises Failed, or OSError where a cgroup can't hold what it asks for."""
    try:
        return _container(config, bundle, container_id, hierarchies, seccomp_program)
    except RuntimeFailure as refused:
        raise Failed(refused.message) from refused
    except (KeyError, TypeError, AttributeError) as error:
        raise Failed(f"config.json: {type(error).__name__}: {error}") from error


def _container(
    config: Mapping[str, Any],
    bundle: str,
    container_id: str,
    hierarchies: Hierarchies,
    seccomp_program: Callable[[Mapping[str, Any]], str],
) -> dict[str, Any]:
    linux = config.get("linux") or {}
    process = config["process"]
    joined, made = namespaces(linux)
    refuse_unsupported(config, joined, made)
    path = cgroup_path(linux.get("cgroupsPath") or "", container_id)
    own_cgroups = bool(made & sc.CLONE_NEWCGROUP)
    net_and_ipc = made | sum(_NAMESPACES[kind] for kind, _ in joined)
    root = os.path.normpath(os.path.join(bundle, config["root"]["path"]))
    if not os.path.isdir(root):
        raise Failed(f"invalid rootfs: {root}: no such directory")
    return {
        "id": container_id,
        "bundle": bundle,
        "lower_dirs": [],
        "root_path": root,
        "readonly_root": bool(config["root"].get("readonly")),
        "propagation": propagation(linux.get("rootfsPropagation") or ""),
        "mounts": mounts(config, bundle, hierarchies, path, own_cgroups=own_cgroups),
        "devices": plan.device_nodes(linux),
        "masked_paths": linux.get("maskedPaths") or [],
        "readonly_paths": linux.get("readonlyPaths") or [],
        "hostname": config.get("hostname") or "",
        "domainname": config.get("domainname") or "",
        "sysctls": [sysctl(key, value, net_and_ipc) for key, value in (linux.get("sysctl") or {}).items()],
        "join": joined,
        "make": made & ~(sc.CLONE_NEWNS | sc.CLONE_NEWCGROUP),
        "node_cgroups": not own_cgroups,
        "first_id": 0,
        "cgroup": cgroup(hierarchies, path, linux.get("resources") or {}),
        "freezer": hierarchies.directory("freezer", path),
        "hooks": {kind: (config.get("hooks") or {}).get(kind) or [] for kind in HOOKS},
        "console_size": process.get("consoleSize") or {},
        **plan.process(process, tty=bool(process.get("terminal"))),
        **plan.seccomp_of(linux.get("seccomp"), seccomp_program),
        **({} if process.get("oomScoreAdj") is not None else {"oom_score_adj": _present_oom_score()}),
    }


def refuse_unsupported(config: Mapping[str, Any], joined: list[tuple[str, str]], made: int) -> None:
    """Say what can't be had, rather than do without it. Raises Failed."""
    linux = config.get("linux") or {}
    if linux.get("uidMappings") or linux.get("gidMappings"):
        raise Failed("user namespaces are not supported by this command")
    if not made & sc.CLONE_NEWNS:
        raise Failed("a container needs a mount namespace of its own")
    if any(kind == "mount" for kind, _ in joined):
        raise Failed("joining a mount namespace is not supported")
    for key in ("apparmorProfile", "selinuxLabel"):
        if config["process"].get(key):
            raise Failed(f"process.{key} is not supported: this runtime has no part in security modules")
    for key in ("intelRdt", "personality", "timeOffsets"):
        if linux.get(key):
            raise Failed(f"linux.{key} is not supported")
    if config.get("hostname") and not (made & sc.CLONE_NEWUTS or any(kind == "uts" for kind, _ in joined)):
        raise Failed("unable to set hostname without a private UTS namespace")


def namespaces(linux: Mapping[str, Any]) -> tuple[list[tuple[str, str]], int]:
    """Those to join, as (kind, file), and the flags of those to make. Raises Failed."""
    joined: list[tuple[str, str]] = []
    made = 0
    seen = set()
    for entry in linux.get("namespaces") or ():
        kind = entry["type"]
        if kind in ("user", "time"):
            raise Failed(f"{kind} namespaces are not supported by this command")
        if kind not in _NAMESPACES or kind in seen:
            raise Failed(f"malformed spec file: namespace {kind!r} is unknown or there twice")
        seen.add(kind)
        if entry.get("path"):
            joined.append((kind, entry["path"]))
        else:
            made |= _NAMESPACES[kind]
    return joined, made


def namespace_flag(kind: str) -> int:
    """The CLONE_NEW… flag of a kind of namespace."""
    return _NAMESPACES[kind]


def cgroup_path(wanted: str, container_id: str) -> str:
    """The group below the root of each hierarchy; one of the container's name if none is asked for. Raises Failed."""
    if wanted.count(":") == 2:
        raise Failed(f"linux.cgroupsPath {wanted!r} is one for systemd, which is not supported")
    path = (wanted or container_id).strip("/")
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise Failed(f"invalid linux.cgroupsPath {wanted!r}")
    return path


def cgroup(hierarchies: Hierarchies, path: str, resources: Mapping[str, Any]) -> dict[str, Any]:
    """The plan of the container's group; on v1 with one in the freezer, for `pause`."""
    planned = cgroups.group(hierarchies, path, resources, is_container=True)
    if hierarchies.version == 1 and "freezer" in hierarchies.v1:
        freezer = hierarchies.directory("freezer", path)
        planned["directories"] = [*planned["directories"], freezer]
        planned["join"] = [*planned["join"], freezer]
    return planned


def propagation(wanted: str) -> int:
    """The flags of mount(2) for the root. Raises Failed."""
    if wanted not in _PROPAGATION:
        raise Failed(f"rootfsPropagation={wanted} is not supported")
    return _PROPAGATION[wanted]


def sysctl(key: str, value: str, own: int) -> tuple[str, str]:
    """The file and value of a kernel parameter that belongs to one of the container's namespaces. Raises Failed."""
    if key in ("kernel.domainname", "kernel.hostname") and own & sc.CLONE_NEWUTS:
        return f"/proc/sys/{key.replace('.', '/')}", value
    try:
        return plan.sysctl(key, value, own)
    except RuntimeFailure as refused:
        raise Failed(refused.message) from refused


def mounts(
    config: Mapping[str, Any], bundle: str, hierarchies: Hierarchies, group: str, *, own_cgroups: bool
) -> list[dict[str, Any]]:
    """The mounts. Without a cgroup namespace, binds of the container's own groups stand for the cgroup mount."""
    shown = cgroups.mounts_for_container(hierarchies)
    found = []
    for entry in config.get("mounts") or ():
        if entry.get("uidMappings") or entry.get("gidMappings"):
            raise Failed(f"the mount at {entry['destination']}: id-mapped mounts are not supported by this command")
        options = [option for option in entry.get("options") or () if option not in _PASSED_OVER]
        source = entry.get("source") or ""
        bind = entry.get("type") == "bind" or {"bind", "rbind"} & set(options)
        if bind:
            # Engines write "none" or nothing where others write "bind"; a path may be relative to the bundle.
            source = os.path.join(bundle, source)
            options = options if {"bind", "rbind"} & set(options) else ["bind", *options]
        asked = {**entry, "source": source, "options": options, **({"type": "bind"} if bind else {})}
        planned = plan.mount(asked, shown, "/dev/shm")
        if planned["kind"] == "cgroup" and not own_cgroups:
            found += bound_cgroups(planned, hierarchies, group)
        else:
            found.append(planned)
    return found


def bound_cgroups(entry: Mapping[str, Any], hierarchies: Hierarchies, group: str) -> list[dict[str, Any]]:
    """Mounts that show a container which sees the node's cgroups none but its own."""
    readonly = ["ro"] if entry["flags"] & sc.MS_RDONLY else []
    options = ["bind", "nosuid", "nodev", "noexec", *readonly]

    def bound(source: str, destination: str) -> dict[str, Any]:
        return plan.mount({"type": "bind", "source": source, "destination": destination, "options": options}, (), "")

    if hierarchies.version == 2:
        return [bound(f"{hierarchies.unified}/{group}", entry["destination"])]
    top = {"type": "tmpfs", "source": "tmpfs", "destination": entry["destination"], "options": ["mode=755"]}
    binds = []
    for directory in hierarchies.directories(group):
        name = os.path.basename(directory.removesuffix(f"/{group}"))
        binds.append(bound(directory, f"{entry['destination']}/{name}"))
    return [plan.mount(top, (), ""), *binds]


def _present_oom_score() -> int:
    with open("/proc/self/oom_score_adj") as file:
        return int(file.read())
