"""What objects of each resource use of quotas. Most are only counted: `count/<resource>.<group>`.

Source: k8s.io/apiserver/pkg/quota/v1/generic, kubernetes/pkg/quota/v1/evaluator/core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, NamedTuple

from apimachinery.meta import Object, get_path
from apimachinery.pod_resources import Amounts
from apimachinery.quantity import NANO, Quantity
from apimachinery.quota import claims, pods
from apimachinery.quota.scopes import Requirement, requirements
from apimachinery.resources import PERSISTENTVOLUMECLAIMS, PODS, RESOURCECLAIMS, SERVICES

COUNT = "count/"
# Resources that could be counted before there were names for all of them.
_SHORT_NAMES = frozenset(("configmaps", "resourcequotas", "replicationcontrollers", "secrets"))
# What nobody counts: it says what happens, or is not kept at all.
IGNORED = frozenset(
    (
        *(("", "events"), ("events.k8s.io", "events"), ("", "bindings"), ("", "componentstatuses")),
        *(("authentication.k8s.io", f"{name}reviews") for name in ("token", "selfsubject")),
        *(
            ("authorization.k8s.io", f"{name}s")
            for name in (
                *("subjectaccessreview", "localsubjectaccessreview"),
                *("selfsubjectaccessreview", "selfsubjectrulesreview"),
            )
        ),
    )
)


def _nowhere(requirement: Requirement, obj: Object) -> bool:
    return False


class Evaluator(NamedTuple):
    """One resource. `usage` is told the time, since some use ends by itself.

    With `updates` objects use other amounts once they have been changed; without, each is counted as long as it is
    there. `missing` says what an object lacks that a quota of some names insists on.
    """

    concerns: Callable[[str], bool]
    usage: Callable[[Object, float], Amounts]
    in_scope: Callable[[Requirement, Object], bool] = _nowhere
    missing: Callable[[Object, Iterable[str]], str] | None = None
    updates: bool = False

    @property
    def counts_only(self) -> bool:
        """Whether all that matters is how many objects there are."""
        return not self.updates and self.missing is None

    def names(self, limited: Iterable[str]) -> list[str]:
        """Which of a quota's limits objects of this resource are measured by."""
        return [name for name in limited if self.concerns(name)]

    def is_in_scopes(self, quota: Object, obj: Object) -> bool:
        """Whether a quota is about an object, as far as its scopes go."""
        return all(self.in_scope(requirement, obj) for requirement in requirements(quota))


@lru_cache(maxsize=1024)
def evaluator(group: str, plural: str) -> Evaluator:
    """The evaluator of a resource."""
    return _EVALUATORS.get((group, plural)) or _counting(group, plural)


def counted(name: str) -> tuple[str, str] | None:
    """(group, plural) of what a `count/…` counts."""
    if not name.startswith(COUNT):
        return ("", name) if name in _SHORT_NAMES else None
    plural, _, group = name.removeprefix(COUNT).partition(".")
    return group, plural


def _counting(group: str, plural: str) -> Evaluator:
    count = f"{COUNT}{plural}.{group}" if group else f"{COUNT}{plural}"
    names = frozenset((count, plural) if not group and plural in _SHORT_NAMES else (count,))
    usage = {name: Quantity(NANO) for name in names}
    return Evaluator(names.__contains__, lambda obj, now: usage)


def _service_usage(service: Object, now: float) -> Amounts:
    spec: dict[str, Any] = service.get("spec") or {}
    ports: list[Object] = spec.get("ports") or []
    kind = spec.get("type")
    node_ports = 0
    if kind == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is False:
        node_ports = sum(1 for port in ports if port.get("nodePort"))
    elif kind in ("NodePort", "LoadBalancer"):
        # They are allocated only later: what counts is that they will be.
        node_ports = len(ports)
    return {
        "count/services": Quantity(NANO),
        "services": Quantity(NANO),
        "services.nodeports": Quantity(node_ports * NANO),
        "services.loadbalancers": Quantity(NANO if kind == "LoadBalancer" else 0),
    }


_SERVICES = frozenset(("count/services", "services", "services.nodeports", "services.loadbalancers"))
# As many devices can be allocated to one claim, whatever it asks for.
_DEVICES_MAX = 32
_CLASS = ".deviceclass.resource.k8s.io/devices"
_RESOURCE_CLAIMS = f"{COUNT}{RESOURCECLAIMS.plural}.{RESOURCECLAIMS.group}"


def _device_usage(claim: Object, now: float) -> Amounts:
    found: Amounts = {_RESOURCE_CLAIMS: Quantity(NANO)}
    for request in get_path(claim, "spec", "devices", "requests", default=[]):
        # Of several ways the claim takes one: of each class the most of any of them.
        most: dict[str, int] = {}
        for way in request.get("firstAvailable") or [request.get("exactly") or {}]:
            name = f"{way.get('deviceClassName') or ''}{_CLASS}"
            count = _DEVICES_MAX if way.get("allocationMode") == "All" else way.get("count") or 1
            most[name] = max(most.get(name, 0), count)
        for name, count in most.items():
            amount = Quantity(count * NANO)
            found[name] = found[name] + amount if name in found else amount
    return found


_EVALUATORS = {
    PODS.key: Evaluator(pods.concerns, pods.usage, pods.in_scope, pods.missing),
    PERSISTENTVOLUMECLAIMS.key: Evaluator(claims.concerns, claims.usage, claims.in_scope, updates=True),
    SERVICES.key: Evaluator(_SERVICES.__contains__, _service_usage, updates=True),
    RESOURCECLAIMS.key: Evaluator(
        lambda name: name == _RESOURCE_CLAIMS or name.endswith(_CLASS), _device_usage, updates=True
    ),
}
MEASURED = tuple(_EVALUATORS)
"""(group, plural) of the resources of which more than the number of objects is measured."""
