"""Whether an extension server can be asked, as far as the cluster's objects tell, and what is said about it. Pure.

Source: kube-aggregator/pkg/controllers/status/remote/remote_available_controller.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from apimachinery.meta import Object, get_path, with_condition
from apiserver.aggregation.index import Where

AVAILABLE = "Available"


class Verdict(NamedTuple):
    """The condition `Available` of an APIService."""

    status: str
    reason: str
    message: str

    @property
    def good(self) -> bool:
        """Whether requests are passed on."""
        return self.status == "True"


PASSED = Verdict("True", "Passed", "all checks passed")


def failed_discovery(why: str) -> Verdict:
    """It was asked what it serves, and has not answered as it should."""
    return Verdict("False", "FailedDiscoveryCheck", why)


def judge(where: Where, service: Object | None, slices: Sequence[Object], endpoints: Object | None) -> Verdict | None:
    """Why a server can't be asked, going by its Service and the endpoints of that; None if it can."""
    named = f'service/{where.name} in "{where.namespace}"'
    if service is None:
        return Verdict("False", "ServiceNotFound", f"{named} is not present")
    if (service["spec"].get("type") or "ClusterIP") != "ClusterIP":
        return None  # only being asked tells
    ports = [one for one in service["spec"].get("ports") or () if one["port"] == where.port]
    if not ports:
        return Verdict("False", "ServicePortError", f"{named} is not listening on port {where.port}")
    port = ports[0].get("name") or ""
    if not slices and endpoints is None:
        return Verdict("False", "EndpointsNotFound", f"cannot find endpointslices for {named}")
    subsets = (endpoints or {}).get("subsets") or () if not slices else ()
    if any(_has_endpoint(one, port) for one in slices) or any(_has_address(one, port) for one in subsets):
        return None
    why = f'endpointslices for {named} have no addresses with port name "{port}"'
    return Verdict("False", "MissingEndpoints", why)


def _has_endpoint(slice_: Object, port: str) -> bool:
    return _has_port(slice_, port) and any(
        (one.get("conditions") or {}).get("ready") is not False for one in slice_.get("endpoints") or ()
    )


def _has_address(subset: Object, port: str) -> bool:
    return _has_port(subset, port) and bool(subset.get("addresses"))


def _has_port(holder: Object, port: str) -> bool:
    return any((one.get("name") or "") == port and one.get("port") for one in holder.get("ports") or ())


def told(api_service: Object, verdict: Verdict, now: str) -> Object | None:
    """The APIService with this condition; None if it says so already."""
    before = get_path(api_service, "status", "conditions", default=[])
    conditions = with_condition(
        before, type=AVAILABLE, status=verdict.status, reason=verdict.reason, message=verdict.message, now=now
    )
    if conditions == before:
        return None
    return {**api_service, "status": {**(api_service.get("status") or {}), "conditions": conditions}}
