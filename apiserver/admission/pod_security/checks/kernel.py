"""What a pod may see and set of the kernel: /proc stays masked, and of sysctls only those that are its own."""

from __future__ import annotations

from functools import partial

from apiserver.admission.pod_security.checks.check import (
    Check,
    Fields,
    Violation,
    containers,
    has_own_users,
    names_of,
    quoted,
    security,
    unless,
)
from apiserver.admission.pod_security.levels import BASELINE, RESTRICTED

_PROC_MOUNT = "procMount"
_SYSCTLS_1_0 = frozenset(
    (
        *("kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.tcp_syncookies"),
        *("net.ipv4.ping_group_range", "net.ipv4.ip_unprivileged_port_start"),
    )
)
_SYSCTLS_1_27 = _SYSCTLS_1_0 | {"net.ipv4.ip_local_reserved_ports"}
_SYSCTLS_1_29 = _SYSCTLS_1_27 | {
    *("net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout"),
    *("net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes"),
}
_SYSCTLS_1_32 = _SYSCTLS_1_29 | {"net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"}


def _unmasked(metadata: Fields, spec: Fields) -> Violation | None:
    bad = [one for one in containers(spec) if security(one).get("procMount") not in (None, "Default")]
    if not bad:
        return None
    kinds = quoted(sorted({security(container)["procMount"] for container in bad}))
    return Violation("procMount", f"{names_of(bad)} must not set securityContext.procMount to {kinds}")


def _sysctls(metadata: Fields, spec: Fields, *, allowed: frozenset[str]) -> Violation | None:
    asked = [sysctl.get("name") or "" for sysctl in security(spec).get("sysctls") or ()]
    forbidden = [name for name in asked if name not in allowed]
    return Violation("forbidden sysctls", ", ".join(forbidden)) if forbidden else None


CHECKS = (
    Check(_PROC_MOUNT, BASELINE, ((0, _unmasked), (35, unless(has_own_users, _unmasked)))),
    Check("procMount_restricted", RESTRICTED, ((35, _unmasked),), replaces=_PROC_MOUNT),
    Check(
        "sysctls",
        BASELINE,
        (
            (0, partial(_sysctls, allowed=_SYSCTLS_1_0)),
            (27, partial(_sysctls, allowed=_SYSCTLS_1_27)),
            (29, partial(_sysctls, allowed=_SYSCTLS_1_29)),
            (32, partial(_sysctls, allowed=_SYSCTLS_1_32)),
        ),
    ),
)
