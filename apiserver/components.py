"""ComponentStatuses: how the parts of the control plane are, seen from the one thing that all of them share.

The store is well as long as commits are. The scheduler and the controllers show that they live by renewing the Lease
of their lead: nobody needs to be asked.
"""

from __future__ import annotations

from apimachinery.meta import Object, get_path
from apimachinery.resources import LEASES
from apimachinery.time import parse_rfc3339
from apiserver.admission.plugin import Cluster
from apiserver.registry.componentstatuses import component_status

_NAMESPACE = "kube-system"
_LEASES = {"controller-manager": "kube-controller-manager", "scheduler": "kube-scheduler"}
STORE = "etcd-0"


def component_statuses(cluster: Cluster, store_failure: str | None, now: float) -> list[Object]:
    """The object of each part, by name; `store_failure` is what the disk said to the last commit."""
    problems = {name: _without_leader(cluster, lease, now) for name, lease in _LEASES.items()}
    problems[STORE] = store_failure or ""
    return [
        component_status(name, healthy=not problem, message="" if problem else "ok", error=problem)
        for name, problem in sorted(problems.items())
    ]


def _without_leader(cluster: Cluster, lease: str, now: float) -> str:
    """What is wrong with who leads, or ""."""
    spec = (cluster.get(LEASES, _NAMESPACE, lease) or {}).get("spec") or {}
    renewed = get_path(spec, "renewTime")
    if not spec.get("holderIdentity") or not renewed:
        return f"nobody holds the Lease {_NAMESPACE}/{lease}"
    if parse_rfc3339(renewed) + (spec.get("leaseDurationSeconds") or 0) < now:
        return f"{spec['holderIdentity']} has not renewed the Lease {_NAMESPACE}/{lease} since {renewed}"
    return ""
