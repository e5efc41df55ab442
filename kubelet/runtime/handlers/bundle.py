"""What another runtime is told to make: a container of ours as a config.json for it; pure.

Sandbox, cgroup, log and root file system are the same as those of our own runtime. What only the pod's supervisor
knows (the namespaces of the pod) is filled in there: see container.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

from kubelet.runtime import cgroups, plan
from kubelet.runtime.api import ContainerSpec, SandboxSpec
from kubelet.runtime.capabilities import mask
from kubelet.runtime.cgroups import Hierarchies

# The folder of a container in which its root file system is mounted, for its runtime alone to see.
ROOT = "rootfs"
# Nothing newer is made use of, and there are runtimes that refuse what they don't know.
VERSION = "1.0.2"
_DENY_ALL = {"allow": False, "access": "rwm"}
_ALLOW_ALL = {"allow": True, "access": "rwm"}


def container(
    spec: ContainerSpec,
    pod: SandboxSpec,
    *,
    command: Sequence[str],
    pod_dir: str,
    hierarchies: Hierarchies,
    group_path: str,
    permitted: int,
    mountinfo: str,
) -> dict[str, Any]:
    """The plan of one container that `command` makes.

    `permitted` are the capabilities that can be given at all, `mountinfo` the text of /proc/self/mountinfo.
    """
    if not plan.ID_PATTERN.fullmatch(spec.id):
        raise plan.refuse(f"invalid container id {spec.id!r}")
    linux = spec.config.get("linux") or {}
    visible = for_others(hierarchies)
    return {
        "id": spec.id,
        "name": spec.name,
        "attempt": spec.attempt,
        "log_path": spec.log_path,
        "image": spec.image,
        "stdin": spec.stdin,
        "stdin_once": spec.stdin_once,
        "tty": spec.tty,
        "env": list(spec.config["process"].get("env") or []),
        "oom_score_adj": spec.config["process"].get("oomScoreAdj") or 0,
        "lower_dirs": spec.lower_dirs,
        "root_path": (spec.config.get("root") or {}).get("path") or "",
        "pid": plan.pid_mode(spec, pod),
        "cgroup": group(visible, group_path, linux.get("resources") or {}),
        "all_cgroups": visible.directories(group_path, cgroups.CONTROLLERS),
        "handler": list(command),
        "cgroup_mounts": cgroup_mounts(mountinfo, visible),
        "config": config(spec, pod, pod_dir=pod_dir, group_path=group_path, permitted=permitted),
    }


def for_others(hierarchies: Hierarchies) -> Hierarchies:
    """The hierarchies that another runtime gets to see.

    Beside v1 not the unified one: crun refuses the mixture, and runc would put processes where no limit is.
    """
    return hierarchies if hierarchies.version == 2 else replace(hierarchies, unified="")


def group(visible: Hierarchies, path: str, resources: Mapping[str, Any]) -> dict[str, Any]:
    """The container's cgroup as our own runtime plans it; devices are left to the one that the container gets."""
    planned = cgroups.group(visible, path, {**resources, "devices": [_ALLOW_ALL]}, is_container=True)
    return {**planned, "device_program": None}


def cgroup_mounts(mountinfo: str, visible: Hierarchies) -> dict[str, Any]:
    """What the other runtime finds mounted: it makes groups in whichever hierarchy it sees.

    all: cgroup mounts that there are, the last one first; kept: where those that it gets are, by controller. On v2
    there is no choice to be made.
    """
    if visible.version == 2:
        return {"all": [], "kept": {}}
    found = [line.partition(" - ") for line in mountinfo.splitlines()]
    points = [before.split()[4] for before, _, after in found if after.startswith("cgroup")]
    return {"all": points[::-1], "kept": dict(visible.v1)}


def config(spec: ContainerSpec, pod: SandboxSpec, *, pod_dir: str, group_path: str, permitted: int) -> dict[str, Any]:
    """The config.json, but for the namespaces' paths and process.terminal's socket."""
    made = {**deepcopy(spec.config), "ociVersion": VERSION}
    process, linux = made["process"], made["linux"]
    plan.process(process, tty=spec.tty)  # refuses what is refused to containers of our own
    process["terminal"] = spec.tty
    # Set by the supervisor before: a host that keeps the right to lower it would make the whole start fail.
    process.pop("oomScoreAdj", None)
    process["capabilities"] = available(process.get("capabilities") or {}, permitted)
    made["root"] = {"path": ROOT, "readonly": bool((made.get("root") or {}).get("readonly"))}
    shm = "/dev/shm" if pod.host_ipc else f"{pod_dir}/shm"
    made["mounts"] = [mount(entry, shm) for entry in made.get("mounts") or []]
    linux["cgroupsPath"] = f"/{group_path}"
    linux["resources"] = {**(linux.get("resources") or {}), "devices": devices(linux.get("resources") or {})}
    propagations = {option for entry in made["mounts"] for option in entry.get("options") or ()}
    if "rshared" in propagations:
        linux["rootfsPropagation"] = "rshared"
    elif "rslave" in propagations:
        linux["rootfsPropagation"] = "rslave"
    made.pop("hostname", None)
    return made


def available(wanted: Mapping[str, Sequence[str]], permitted: int) -> dict[str, list[str]]:
    """Capability sets less what this node itself lacks, as in our own runtime: others refuse to start without."""
    return {name: [word for word in words or () if mask([word]) & permitted] for name, words in wanted.items()}


def devices(resources: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Device rules from the very first: nothing but what is listed, and what the runtime always allows."""
    given = [dict(entry) for entry in resources.get("devices") or []]
    if any(entry.get("allow") and not entry.get("type") and entry.get("major") is None for entry in given):
        return [_ALLOW_ALL]
    return [_DENY_ALL, *given]


def mount(entry: Mapping[str, Any], shm: str) -> dict[str, Any]:
    """A mount as other runtimes take it: binds say whether they are recursive, and the pod's /dev/shm has a path."""
    found = dict(entry)
    options = list(found.get("options") or [])
    if found.get("type") == "bind":
        if not {"bind", "rbind"} & set(options):
            options.insert(0, "rbind")
        if found["destination"] == "/dev/shm" and found.get("source") == "shm":
            found["source"] = shm
    return {**found, "options": options}
