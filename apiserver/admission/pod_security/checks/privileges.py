"""How much of root's power a process has, or can come to have."""

from __future__ import annotations

from apiserver.admission.pod_security.checks.check import (
    Check,
    Fields,
    Violation,
    containers,
    is_windows,
    names_of,
    quoted,
    security,
    unless,
)
from apiserver.admission.pod_security.levels import BASELINE, RESTRICTED

_CAPABILITIES = "capabilities_baseline"
# What containers have in any case, if they don't drop it.
_USUAL = frozenset(
    (
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"),
        *("NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    )
)
_RESTRICTED = frozenset(("NET_BIND_SERVICE",))


def _privileged(metadata: Fields, spec: Fields) -> Violation | None:
    bad = [container for container in containers(spec) if security(container).get("privileged")]
    return Violation("privileged", f"{names_of(bad)} must not set securityContext.privileged=true") if bad else None


def _escalation(metadata: Fields, spec: Fields) -> Violation | None:
    bad = [one for one in containers(spec) if security(one).get("allowPrivilegeEscalation") is not False]
    if not bad:
        return None
    told = f"{names_of(bad)} must set securityContext.allowPrivilegeEscalation=false"
    return Violation("allowPrivilegeEscalation != false", told)


def _added(spec: Fields, allowed: frozenset[str]) -> str:
    """Which containers add capabilities that may not be added; empty if none does."""
    bad, capabilities = [], set()
    for container in containers(spec):
        more = set((security(container).get("capabilities") or {}).get("add") or ()) - allowed
        if more:
            bad.append(container)
            capabilities |= more
    if not bad:
        return ""
    return f"{names_of(bad)} must not include {quoted(sorted(capabilities))} in securityContext.capabilities.add"


def _unusual(metadata: Fields, spec: Fields) -> Violation | None:
    told = _added(spec, _USUAL)
    return Violation("non-default capabilities", told) if told else None


def _unrestricted(metadata: Fields, spec: Fields) -> Violation | None:
    keeping = [
        container
        for container in containers(spec)
        if "ALL" not in ((security(container).get("capabilities") or {}).get("drop") or ())
    ]
    told = [f'{names_of(keeping)} must set securityContext.capabilities.drop=["ALL"]'] if keeping else []
    if added := _added(spec, _RESTRICTED):
        told.append(added)
    return Violation("unrestricted capabilities", "; ".join(told)) if told else None


CHECKS = (
    Check("privileged", BASELINE, ((0, _privileged),)),
    Check("allowPrivilegeEscalation", RESTRICTED, ((8, _escalation), (25, unless(is_windows, _escalation)))),
    Check(_CAPABILITIES, BASELINE, ((0, _unusual),)),
    Check(
        "capabilities_restricted",
        RESTRICTED,
        ((22, _unrestricted), (25, unless(is_windows, _unrestricted))),
        replaces=_CAPABILITIES,
    ),
)
