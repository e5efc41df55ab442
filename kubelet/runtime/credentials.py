"""Who a container's process is: user, groups, capabilities and resource limits.

credentials(7), capabilities(7), setrlimit(2).
"""

from __future__ import annotations

import os
import resource

from kubelet.runtime import syscalls as sc

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

PASSWD_BYTES_MAX = 1 << 20


def _count_capabilities() -> int:
    """How many capabilities this kernel knows: prctl(2) refuses the first that it doesn't."""
    count = 0
    while count < 64 and sc.capability_exists(count):
        count += 1
    return count


# Found out when the zygote loads this, so that no container has to.
CAPABILITIES = _count_capabilities()


def set_resource_limits(limits: Sequence[Sequence[int]], notice: Callable[[str], None]) -> None:
    """Set [resource, soft, hard] triples; a hard limit that may not be raised is left as high as it is."""
    for number, soft, hard in limits:
        try:
            resource.setrlimit(number, (soft, hard))
        except (ValueError, PermissionError):
            ceiling = resource.getrlimit(number)[1]
            if ceiling == resource.RLIM_INFINITY:
                raise
            lowered = ceiling if soft == resource.RLIM_INFINITY else min(soft, ceiling)
            resource.setrlimit(number, (lowered, ceiling))
            notice(f"resource limit {number} stays at {ceiling}: CAP_SYS_RESOURCE is missing on this node")


def switch_user(plan: dict[str, Any]) -> None:
    """Take the groups and the user; the permitted capabilities are kept for the steps that follow.

    The bounding set goes first: dropping from it takes CAP_SETPCAP, and no setuid program or file capability
    can give back what is not in it.
    """
    bounding = plan["capabilities"]["bounding"]
    for capability in range(CAPABILITIES):
        if not bounding >> capability & 1:
            sc.prctl(sc.PR_CAPBSET_DROP, capability)
    sc.prctl(sc.PR_SET_KEEPCAPS, 1)
    os.setgroups(plan["groups"])
    os.setresgid(plan["gid"], plan["gid"], plan["gid"])
    os.setresuid(plan["uid"], plan["uid"], plan["uid"])
    permitted = permitted_capabilities()
    sc.capset(permitted, permitted, 0)


def set_capabilities(sets: dict[str, int]) -> None:
    """Take exactly these sets (bit masks). Ambient ones must be permitted and inheritable."""
    held = permitted_capabilities()
    permitted = sets["permitted"] & held
    inheritable = sets["inheritable"] & held
    sc.capset(sets["effective"] & permitted, permitted, inheritable)
    sc.prctl(sc.PR_CAP_AMBIENT, sc.PR_CAP_AMBIENT_CLEAR_ALL)
    for capability in range(64):
        if sets["ambient"] & permitted & inheritable & 1 << capability:
            sc.prctl(sc.PR_CAP_AMBIENT, sc.PR_CAP_AMBIENT_RAISE, capability)


def permitted_capabilities() -> int:
    """The present permitted set, as a bit mask."""
    return sc.capget()[1]


def home_of(uid: int) -> str:
    """The home directory of a user in the /etc/passwd at hand (passwd(5)); "/" if it has none."""
    try:
        # Should a container have put a pipe there, nothing waits for somebody to write to it.
        with open(os.open("/etc/passwd", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK), "rb") as file:
            text = file.read(PASSWD_BYTES_MAX)
    except OSError:
        return "/"
    for line in text.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 6 and fields[2] == str(uid).encode():
            return os.fsdecode(fields[5]) or "/"
    return "/"
