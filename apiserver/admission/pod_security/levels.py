"""What a namespace's labels ask of its pods: a level, at the version of some release, for each of three modes.

Source: https://kubernetes.io/docs/concepts/security/pod-security-admission/#pod-security-admission-labels-for-namespaces
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from apimachinery.field import FieldError, invalid_value

PREFIX = "pod-security.kubernetes.io/"
PRIVILEGED, BASELINE, RESTRICTED = LEVELS = ("privileged", "baseline", "restricted")
LATEST = "latest"
_LEVEL_REFUSED = f"must be one of {', '.join(LEVELS)}"
_VERSION_REFUSED = 'must be "latest" or "v1.x"'


class Standard(NamedTuple):
    """A level as it was in Kubernetes 1.`minor`, or as it is now (None)."""

    level: str = PRIVILEGED
    minor: int | None = None

    def __str__(self) -> str:
        return f"{self.level}:{LATEST if self.minor is None else f'v1.{self.minor}'}"


class Policy(NamedTuple):
    """What pods are refused for, what an operator is told of, and what whoever makes them is warned of."""

    enforce: Standard = Standard()
    audit: Standard = Standard()
    warn: Standard = Standard()


def stricter(level: str, other: str) -> bool:
    """Whether a level asks for more than another."""
    return LEVELS.index(level) > LEVELS.index(other)


def policy_of(labels: Mapping[str, str], defaults: Policy) -> tuple[Policy, list[FieldError]]:
    """The policy of a namespace with these labels, and what is wrong with them.

    What can't be read is enforced as the strictest there is, and neither audited nor warned of.
    """
    if not any(key.startswith(PREFIX) for key in labels):
        return defaults, []
    errors: list[FieldError] = []
    enforce = _standard(labels, "enforce", defaults.enforce, RESTRICTED, errors)
    audit = _standard(labels, "audit", defaults.audit, PRIVILEGED, errors)
    warn = _standard(labels, "warn", defaults.warn, PRIVILEGED, errors)
    # Who has only said what is enforced is warned of the same: workloads are not refused, their pods are.
    said = labels.get(f"{PREFIX}enforce") in LEVELS and f"{PREFIX}warn" not in labels
    if said and stricter(enforce.level, warn.level):
        warn = enforce._replace(minor=warn.minor) if f"{PREFIX}warn-version" in labels else enforce
    return Policy(enforce, audit, warn), errors


def _standard(
    labels: Mapping[str, str], mode: str, default: Standard, unreadable: str, errors: list[FieldError]
) -> Standard:
    level, minor = default.level, default.minor
    said = labels.get(f"{PREFIX}{mode}")
    if said is not None:
        level = said if said in LEVELS else unreadable
        if said not in LEVELS:
            errors.append(_refused(mode, said, _LEVEL_REFUSED))
    said = labels.get(f"{PREFIX}{mode}-version")
    if said is not None:
        minor = _minor(said)
        if minor is None and said != LATEST:
            errors.append(_refused(f"{mode}-version", said, _VERSION_REFUSED))
    return Standard(level, minor)


def _minor(version: str) -> int | None:
    """The number of `v1.30`; None for anything else."""
    digits = version.removeprefix("v1.")
    is_number = digits != version and digits.isascii() and digits.isdigit()
    return int(digits) if is_number and (digits == "0" or digits[0] != "0") else None


def _refused(label: str, value: str, why: str) -> FieldError:
    return invalid_value(f"metadata.labels[{PREFIX}{label}]", value, why)
