"""Which checks a level consists of at a version, and what they say of a pod: pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

from apiserver.admission.pod_security.checks import CHECKS
from apiserver.admission.pod_security.checks.check import Fields, Look, Violation
from apiserver.admission.pod_security.levels import BASELINE, PRIVILEGED, RESTRICTED, Standard

# Since then nothing has changed any more.
NEWEST_MINOR = max(since for check in CHECKS for since, _ in check.versions)


def violations(standard: Standard, metadata: Fields, spec: Fields) -> list[Violation]:
    """What a pod would be refused for, in the order in which it is told."""
    minor = NEWEST_MINOR if standard.minor is None else min(standard.minor, NEWEST_MINOR)
    found = (look(metadata, spec) for look in _looks(standard.level, minor))
    return [violation for violation in found if violation is not None]


@cache
def _looks(level: str, minor: int) -> tuple[Look, ...]:
    """The checks of the baseline come first, then those of the restricted level, by their ids."""
    if level == PRIVILEGED:
        return ()
    levels = (BASELINE,) if level == BASELINE else (BASELINE, RESTRICTED)
    made = {
        (check.level, check.id): (check, look)
        for check in CHECKS
        if check.level in levels
        for since, look in check.versions
        if since <= minor
    }
    replaced = {(BASELINE, check.replaces) for check, _ in made.values()}
    return tuple(made[key][1] for key in sorted(made.keys() - replaced))


def reasons(found: Sequence[Violation]) -> str:
    """In short: `host namespaces, hostPort`."""
    return ", ".join(violation.reason for violation in found)


def details(found: Sequence[Violation]) -> str:
    """In full: `host namespaces (hostPID=true), hostPort (container "a" uses hostPort 80)`."""
    return ", ".join(f"{violation.reason} ({violation.detail})" for violation in found)
