"""All checks of the Pod Security Standards, by what they look at; a new one is an entry in the table of its module.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
"""

from __future__ import annotations

from apiserver.admission.pod_security.checks import host, kernel, privileges, profiles, users, volumes
from apiserver.admission.pod_security.checks.check import Check

CHECKS: tuple[Check, ...] = (
    *host.CHECKS,
    *kernel.CHECKS,
    *privileges.CHECKS,
    *profiles.CHECKS,
    *users.CHECKS,
    *volumes.CHECKS,
)
