"""Nobody is root, unless root in the pod is nobody on the node."""

from __future__ import annotations

from apiserver.admission.pod_security.checks.check import (
    Check,
    Fields,
    Violation,
    containers,
    has_own_users,
    names_of,
    security,
    setters,
    unless,
)
from apiserver.admission.pod_security.levels import RESTRICTED

_MAY_BE_ROOT = "runAsNonRoot != true"


def _non_root(metadata: Fields, spec: Fields) -> Violation | None:
    told = setters(spec, lambda context: context.get("runAsNonRoot") is False)
    if told:
        return Violation(_MAY_BE_ROOT, f"{told} must not set securityContext.runAsNonRoot=false")
    if security(spec).get("runAsNonRoot"):
        return None
    silent = [container for container in containers(spec) if security(container).get("runAsNonRoot") is None]
    if not silent:
        return None
    return Violation(_MAY_BE_ROOT, f"pod or {names_of(silent)} must set securityContext.runAsNonRoot=true")


def _user(metadata: Fields, spec: Fields) -> Violation | None:
    told = setters(spec, lambda context: context.get("runAsUser") == 0)
    return Violation("runAsUser=0", f"{told} must not set runAsUser=0") if told else None


CHECKS = (
    Check("runAsNonRoot", RESTRICTED, ((0, _non_root), (35, unless(has_own_users, _non_root)))),
    Check("runAsUser", RESTRICTED, ((23, _user), (35, unless(has_own_users, _user)))),
)
