"""What holds where namespaces say nothing, and for whom nothing holds: an operator's PodSecurityConfiguration.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/enforce-standards-admission-controller/
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from apimachinery.field import FieldError, duplicate, invalid_value
from apimachinery.names import dns1123_label, dns1123_subdomain
from apiserver.admission.pod_security.levels import PREFIX, Policy, policy_of

_VERSIONS = tuple(f"pod-security.admission.config.k8s.io/{version}" for version in ("v1", "v1beta1", "v1alpha1"))
_KIND = "PodSecurityConfiguration"
_MODES = ("enforce", "audit", "warn")


class Configuration(NamedTuple):
    """The policy of namespaces that say nothing; whose pods, those of which runtime and where, are not looked at."""

    defaults: Policy = Policy()
    usernames: frozenset[str] = frozenset()
    runtime_classes: frozenset[str] = frozenset()
    namespaces: frozenset[str] = frozenset()


def parse(document: Mapping[str, Any]) -> Configuration:
    """What a PodSecurityConfiguration says. Raises ValueError."""
    if document.get("apiVersion") not in _VERSIONS or document.get("kind") != _KIND:
        raise ValueError(f"must be of kind {_KIND} in version {_VERSIONS[0]}")
    said, exemptions = document.get("defaults") or {}, document.get("exemptions") or {}
    # What is not said is privileged, also where labels would have it warned of as it is enforced.
    unsaid = {f"{PREFIX}{mode}": "privileged" for mode in _MODES}
    labels = unsaid | {f"{PREFIX}{key}": str(value) for key, value in said.items() if value}
    defaults, wrong = policy_of(labels, Policy())
    errors = [FieldError(_path(error.path), error.type, error.value, error.detail) for error in wrong]
    _check(exemptions, "usernames", lambda name: [] if name else ["username must not be empty"], errors)
    _check(exemptions, "runtimeClasses", dns1123_subdomain, errors)
    _check(exemptions, "namespaces", dns1123_label, errors)
    if errors:
        raise ValueError("; ".join(error.message() for error in errors))
    exempt = (frozenset(exemptions.get(key) or ()) for key in ("usernames", "runtimeClasses", "namespaces"))
    return Configuration(defaults, *exempt)


def _path(label: str) -> str:
    """Where it stands in the file what a label would say."""
    return f"defaults.{label.partition(PREFIX)[2].removesuffix(']')}"


def _check(
    exemptions: Mapping[str, Sequence[str]],
    key: str,
    problems: Callable[[str], Sequence[str]],
    errors: list[FieldError],
) -> None:
    seen: set[str] = set()
    for number, name in enumerate(exemptions.get(key) or ()):
        path = f"exemptions.{key}[{number}]"
        if why := problems(name):
            errors.append(invalid_value(path, name, ", ".join(why)))
        elif name in seen:
            errors.append(duplicate(path, name))
        seen.add(name)
