"""Who a container runs as and what it may do: pure, from the security contexts of pod and container.

Sources: https://kubernetes.io/docs/tasks/configure-pod-container/security-context/,
https://kubernetes.io/docs/concepts/security/linux-kernel-security-constraints/ and capabilities(7).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from apimachinery.meta import Object, get_path
from kubelet.pods import pod_spec
from kubelet.pods.pod_spec import Container
from kubelet.runtime.capabilities import DEFAULT, NAMES

ReadFile = Callable[[str], str]


class SecurityFailure(Exception):
    """The container may not run as it would; the message is that of CreateContainerConfigError."""


@dataclass(frozen=True, slots=True)
class User:
    """What a container's first process runs as; `groups` are the supplementary ones."""

    uid: int
    gid: int
    groups: tuple[int, ...]


def setting(pod: Object, container: Container, key: str) -> Any:
    """A security setting: the container's own, else the pod's; None if neither says."""
    own = get_path(container, "securityContext", key)
    return own if own is not None else get_path(pod, "spec", "securityContext", key)


def is_privileged(container: Container) -> bool:
    """True for a container that may do everything on the node."""
    return bool(get_path(container, "securityContext", "privileged"))


def no_new_privileges(container: Container) -> bool:
    """Whether setuid programs give no rights; it can't be had together with being privileged."""
    allowed = get_path(container, "securityContext", "allowPrivilegeEscalation")
    return allowed is False and not is_privileged(container)


def capabilities(container: Container) -> list[str]:
    """The capabilities that a container starts with."""
    if is_privileged(container):
        return list(NAMES)
    asked = get_path(container, "securityContext", "capabilities", default={})
    added, dropped = _named(asked.get("add") or ()), _named(asked.get("drop") or ())
    base: Iterable[str] = () if "CAP_ALL" in dropped else NAMES if "CAP_ALL" in added else DEFAULT
    unknown = (added | dropped) - {*NAMES, "CAP_ALL"}
    if unknown:
        raise SecurityFailure(f"unknown capability {', '.join(sorted(unknown))}")
    held = ({*base} | added - {"CAP_ALL"}) - dropped
    return [name for name in NAMES if name in held]


def _named(names: Iterable[str]) -> set[str]:
    return {name if name.startswith("CAP_") else f"CAP_{name}" for name in map(str.upper, names)}


def seccomp_profile(pod: Object, container: Container) -> tuple[str, str]:
    """(type, path of a Localhost profile). RuntimeDefault unless pod or container ask for something else."""
    if is_privileged(container):
        return "Unconfined", ""
    profile = setting(pod, container, "seccompProfile") or {}
    return profile.get("type") or "RuntimeDefault", profile.get("localhostProfile") or ""


def user_of(pod: Object, container: Container, image_user: str, read: ReadFile) -> User:
    """The user of a container: what the contexts say, else the image's USER, looked up in its own /etc.

    `read` gives a file of the image as text, "" if there is none. Raises SecurityFailure.
    """
    name, _, group = image_user.partition(":")
    uid = setting(pod, container, "runAsUser")
    _check_non_root(pod, container, uid, name)
    name = name or "0"
    passwd = [line.split(":") for line in read("/etc/passwd").splitlines()]
    accounts = [fields for fields in passwd if len(fields) >= 4 and fields[2].isdigit() and fields[3].isdigit()]
    if uid is not None:
        account = next((fields for fields in accounts if int(fields[2]) == uid), None)
        group = ""
    else:
        account = next((fields for fields in accounts if name in (fields[0], fields[2])), None)
        uid = _number(name, account, 2, f"unable to find user {name}: no matching entries in passwd file")
    listed = [line.split(":") for line in read("/etc/group").splitlines()]
    groups = [fields for fields in listed if len(fields) >= 4 and fields[2].isdigit()]
    gid = setting(pod, container, "runAsGroup")
    if gid is None and group:
        entry = next((fields for fields in groups if group in (fields[0], fields[2])), None)
        gid = _number(group, entry, 2, f"unable to find group {group}: no matching entries in group file")
    if gid is None:
        gid = int(account[3]) if account is not None else 0
    return User(int(uid), int(gid), _supplementary(pod, account, groups))


def _number(name: str, entry: list[str] | None, column: int, problem: str) -> int:
    if entry is not None:
        return int(entry[column])
    if name.isdigit():
        return int(name)
    raise SecurityFailure(problem)


def _supplementary(pod: Object, account: list[str] | None, groups: list[list[str]]) -> tuple[int, ...]:
    """The groups that the pod gives, and unless it is strict about them those of the image's /etc/group."""
    context = get_path(pod, "spec", "securityContext", default={})
    given = [int(gid) for gid in context.get("supplementalGroups") or ()]
    if context.get("fsGroup") is not None:
        given.append(int(context["fsGroup"]))
    if context.get("supplementalGroupsPolicy") != "Strict" and account is not None:
        given += [int(fields[2]) for fields in groups if account[0] in fields[3].split(",")]
    return tuple(sorted(set(given)))


def _check_non_root(pod: Object, container: Container, uid: int | None, image_user: str) -> None:
    """runAsNonRoot, in Kubernetes' words; an image's user can only be judged by its number."""
    if not setting(pod, container, "runAsNonRoot"):
        return
    where = f'(pod: "{pod_spec.describe(pod)}", container: {container["name"]})'
    if uid is not None:
        if uid == 0:
            raise SecurityFailure(f"container's runAsUser breaks non-root policy {where}")
        return
    if image_user and not image_user.isdigit():
        problem = f"image has non-numeric user ({image_user}), cannot verify user is non-root"
        raise SecurityFailure(f"container has runAsNonRoot and {problem} {where}")
    if not image_user or int(image_user) == 0:
        raise SecurityFailure(f"container has runAsNonRoot and image will run as root {where}")
