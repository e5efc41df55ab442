"""What pods use: themselves, and what their containers ask for and are limited to.

Source: kubernetes/pkg/quota/v1/evaluator/core/pods.go
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from apimachinery.meta import Object, get_path
from apimachinery.pod_resources import (
    HUGE_PAGES,
    LIMITS,
    REQUESTS,
    Amounts,
    amounts,
    is_extended,
    is_huge_pages,
    is_native,
    is_of_pods,
    pod_total,
)
from apimachinery.quantity import NANO, Quantity
from apimachinery.quota.scopes import Requirement, matches
from apimachinery.time import parse_rfc3339

COUNT = "count/pods"
_ONE = Quantity(NANO)
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_OWN = frozenset((COUNT, "pods", *_COMPUTE, *(f"{kind}.{name}" for kind in (REQUESTS, LIMITS) for name in _COMPUTE)))
_PREFIXES = (HUGE_PAGES, f"requests.{HUGE_PAGES}")
# Where these are limited, every container must say how much it wants.
_TO_BE_SAID = frozenset(
    ("cpu", "memory", *(f"{kind}.{name}" for kind in (REQUESTS, LIMITS) for name in ("cpu", "memory")))
)


def concerns(name: str) -> bool:
    """Whether pods are measured by a limit."""
    return name in _OWN or name.startswith(_PREFIXES) or (not is_native(name) and name.startswith("requests."))


def usage(pod: Object, now: float) -> Amounts:
    """What a pod uses: one that has come to its end is only counted."""
    if is_over(pod, now):
        return {COUNT: _ONE}
    return {COUNT: _ONE, "pods": _ONE, **_named(pod_total(pod, REQUESTS), pod_total(pod, LIMITS))}


def is_over(pod: Object, now: float) -> bool:
    """Whether a pod has ended, or should have by now."""
    if get_path(pod, "status", "phase") in ("Succeeded", "Failed"):
        return True
    until = ends_at(pod)
    return until is not None and now > until


def ends_at(pod: Object) -> float | None:
    """When a pod that is being deleted counts as over; None for others."""
    metadata = pod["metadata"]
    deleted, grace = metadata.get("deletionTimestamp"), metadata.get("deletionGracePeriodSeconds")
    if deleted is None or grace is None:
        return None
    return parse_rfc3339(deleted) + float(grace)


def _named(requests: Mapping[str, Quantity], limits: Mapping[str, Quantity]) -> Amounts:
    found: Amounts = {}
    for name, value in requests.items():
        if name in _COMPUTE or is_huge_pages(name):
            found[name] = found[f"requests.{name}"] = value
        elif is_extended(name):
            found[f"requests.{name}"] = value
    found |= {f"limits.{name}": value for name, value in limits.items() if name in _COMPUTE}
    return found


def missing(pod: Object, limited: Iterable[str]) -> str:
    """What containers don't say though a quota limits it: `must specify cpu for: a,b`; "" if nothing is missing.

    They need not say anything if the pod says for all of them together what it wants.
    """
    if _speaks_for_all(pod):
        return ""
    wanted = sorted(_TO_BE_SAID.intersection(limited))
    lacking: dict[str, set[str]] = {}
    for container in _containers(pod) if wanted else ():
        resources = container.get("resources") or {}
        said = _named(amounts(resources.get(REQUESTS)), amounts(resources.get(LIMITS)))
        for name in wanted:
            if name not in said:
                lacking.setdefault(name, set()).add(container["name"])
    told = "; ".join(f"{name} for: {','.join(sorted(lacking[name]))}" for name in sorted(lacking))
    return f"must specify {told}" if told else ""


def _speaks_for_all(pod: Object) -> bool:
    resources = pod["spec"].get("resources") or {}
    return any(is_of_pods(name) for kind in (REQUESTS, LIMITS) for name in resources.get(kind) or ())


def _containers(pod: Object) -> Iterator[Object]:
    for field in ("containers", "initContainers"):
        yield from pod["spec"].get(field) or ()


def in_scope(requirement: Requirement, pod: Object) -> bool:
    """Whether a pod is in a scope."""
    spec = pod["spec"]
    match requirement.get("scopeName"):
        case "Terminating":
            return _is_limited_in_time(spec)
        case "NotTerminating":
            return not _is_limited_in_time(spec)
        case "BestEffort":
            return _is_best_effort(pod)
        case "NotBestEffort":
            return not _is_best_effort(pod)
        case "PriorityClass":
            return matches(requirement, spec.get("priorityClassName") or "")
        case "CrossNamespacePodAffinity":
            return _looks_into_other_namespaces(spec.get("affinity") or {})
        case _:
            return False


def _is_best_effort(pod: Object) -> bool:
    return bool(get_path(pod, "status", "qosClass") == "BestEffort")


def _is_limited_in_time(spec: Object) -> bool:
    seconds = spec.get("activeDeadlineSeconds")
    return seconds is not None and seconds >= 0


def _looks_into_other_namespaces(affinity: Object) -> bool:
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = affinity.get(kind) or {}
        terms = list(rules.get("requiredDuringSchedulingIgnoredDuringExecution") or ())
        for weighted in rules.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            terms.append(weighted.get("podAffinityTerm") or {})
        if any(term.get("namespaces") or term.get("namespaceSelector") is not None for term in terms):
            return True
    return False
