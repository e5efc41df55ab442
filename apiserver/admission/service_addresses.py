"""ServiceAddresses: a Service gets an address out of the cluster's range, and ports of the nodes, and keeps them.

Kubernetes does this where it stores Services; here it is the last word before they are checked. What is taken is
read from the Services that there are. An address that has just been given out stays reserved for its Service for some
seconds, so that two that are created at the same moment don't get the same one.

Source: https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/,
kubernetes/pkg/registry/core/service/storage/alloc.go.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from apimachinery.errors import ApiError, invalid
from apimachinery.field import FieldError, invalid_value
from apimachinery.resources import SERVICES
from apiserver import chance
from apiserver.admission.plugin import CREATE, UPDATE, Attributes, Cluster, Plugin
from apiserver.registry.service_addresses import (
    FAMILIES,
    WITH_ADDRESS,
    WITH_NODE_PORTS,
    family_of,
    headless,
    keep_allocated,
    needs_health_check,
    synchronize,
)

NODE_PORTS = (30000, 32767)
RESERVED_SECONDS = 30.0
# After so many chosen at random were taken, all are looked through.
RANDOM_TRIES = 64


@dataclass(slots=True)
class Reservations:
    """What has been given out a moment ago, and for which Service."""

    owners: dict[str, tuple[str, float]] = field(default_factory=dict)

    def taken(self, value: str, owner: str, now: float) -> bool:
        """True if another Service has it."""
        found = self.owners.get(value)
        return found is not None and found[0] != owner and now - found[1] < RESERVED_SECONDS

    def add(self, value: str, owner: str, now: float) -> None:
        """Keep it for this Service."""
        self.owners = {key: one for key, one in self.owners.items() if now - one[1] < RESERVED_SECONDS}
        self.owners[value] = (owner, now)


@dataclass(slots=True)
class _Allocation:
    """One Service's way through the plugin."""

    spec: dict[str, Any]
    owner: str
    addresses: set[str]
    ports: set[int]
    reservations: Reservations
    choose: Callable[[int], int]
    now: float
    errors: list[FieldError] = field(default_factory=list)

    def address(self, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> str:
        """A free address. Raises ApiError 500 if there is none."""

        def is_free(offset: int) -> bool:
            text = str(network[offset])
            return text not in self.addresses and not self.reservations.taken(text, self.owner, self.now)

        # The first address is that of the Service `kubernetes`; those of the network as a whole are none.
        found = self._search(2, network.num_addresses - 1, is_free)
        if found is None:
            raise ApiError(500, "InternalError", "failed to allocate a serviceIP: range is full")
        text = str(network[found])
        self.reservations.add(text, self.owner, self.now)
        return text

    def port(self) -> int:
        """A free port of the nodes. Raises ApiError 500 if there is none."""

        def is_free(number: int) -> bool:
            return number not in self.ports and not self.reservations.taken(str(number), self.owner, self.now)

        found = self._search(NODE_PORTS[0], NODE_PORTS[1] + 1, is_free)
        if found is None:
            raise ApiError(500, "InternalError", "failed to allocate a nodePort: range is full")
        self.ports.add(found)
        self.reservations.add(str(found), self.owner, self.now)
        return found

    def _search(self, start: int, stop: int, is_free: Callable[[int], bool]) -> int | None:
        tries = (start + self.choose(stop - start) for _ in range(RANDOM_TRIES))
        found = next(filter(is_free, tries), None)
        return found if found is not None else next(filter(is_free, range(start, stop)), None)


def plugin(cidr: str, choose: Callable[[int], int] = chance.below) -> Plugin:
    """The plugin for a range of addresses; `choose(n)` is a number below n."""
    network = ipaddress.ip_network(cidr)
    reservations = Reservations()

    async def allocate(attributes: Attributes, cluster: Cluster) -> None:
        service = attributes.obj
        assert service is not None
        spec = service.setdefault("spec", {})
        old = (attributes.old or {}).get("spec")
        synchronize(spec, old)
        if old is not None:
            keep_allocated(spec, old)
        if spec.get("type") not in WITH_ADDRESS:
            return
        owner = f"{attributes.namespace}/{attributes.name or service['metadata'].get('generateName')}"
        others = [
            other.get("spec") or {}
            for other in cluster.list(SERVICES, "")
            if (other["metadata"].get("namespace"), other["metadata"]["name"])
            != (attributes.namespace, attributes.name)
        ]
        allocation = _Allocation(
            spec,
            owner,
            {address for other in others for address in other.get("clusterIPs") or ()},
            set(_node_ports(others)),
            reservations,
            choose,
            asyncio.get_running_loop().time(),
        )
        _set_families(spec, network, allocation.errors)
        if not allocation.errors:
            _set_address(allocation, network, (old or {}).get("clusterIPs") or ())
            _set_node_ports(allocation, (old or {}).get("ports") or ())
        if allocation.errors:
            raise invalid("", SERVICES.kind, attributes.name, allocation.errors)

    return Plugin("ServiceAddresses", (CREATE, UPDATE), mutate=allocate, resources=(SERVICES.key,))


def _node_ports(specs: Iterable[dict[str, Any]]) -> Iterable[int]:
    for spec in specs:
        for port in spec.get("ports") or ():
            if port.get("nodePort"):
                yield port["nodePort"]
        if spec.get("healthCheckNodePort"):
            yield spec["healthCheckNodePort"]


def _set_families(spec: dict[str, Any], network: Any, errors: list[FieldError]) -> None:
    """The families that it asks for must be those that the cluster has."""
    mine = FAMILIES[0] if network.version == 4 else FAMILIES[1]
    if headless(spec):
        if not spec.get("ipFamilies"):
            # Without a selector somebody else says where it leads: to addresses of either family.
            both = [mine, *(family for family in FAMILIES if family != mine)]
            spec["ipFamilies"] = [mine] if spec.get("selector") else both
        if not spec.get("ipFamilyPolicy"):
            spec["ipFamilyPolicy"] = "SingleStack" if len(spec["ipFamilies"]) == 1 else "RequireDualStack"
        return
    if spec.get("ipFamilyPolicy") == "RequireDualStack":
        why = "this cluster is not configured for dual-stack services"
        errors.append(invalid_value("spec.ipFamilyPolicy", "RequireDualStack", why))
    for number, family in enumerate(spec.get("ipFamilies") or ()):
        if family in FAMILIES and family != mine:
            why = "not configured on this cluster"
            errors.append(invalid_value(f"spec.ipFamilies[{number}]", family, why))
    if not spec.get("ipFamilies"):
        spec["ipFamilies"] = [mine]
    if not spec.get("ipFamilyPolicy"):
        spec["ipFamilyPolicy"] = "SingleStack"


def _set_address(allocation: _Allocation, network: Any, before: Iterable[str]) -> None:
    spec = allocation.spec
    if headless(spec):
        return
    asked = spec.get("clusterIPs") or []
    if not asked and not spec.get("clusterIP"):
        spec["clusterIP"] = allocation.address(network)
        spec["clusterIPs"] = [spec["clusterIP"]]
        return
    for address in asked:
        if address in before:
            continue
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            continue  # the check of the Service says what is wrong
        why = ""
        if family_of(address) != family_of(str(network[0])) or parsed not in network:
            why = f"the provided IP ({address}) is not in the valid range. The range of valid IPs is {network}"
        elif address in allocation.addresses or allocation.reservations.taken(
            address, allocation.owner, allocation.now
        ):
            why = "provided IP is already allocated"
        if why:
            text = f"failed to allocate IP {address}: {why}"
            allocation.errors.append(invalid_value("spec.clusterIPs", asked, text))
        else:
            allocation.reservations.add(address, allocation.owner, allocation.now)


def _set_node_ports(allocation: _Allocation, before: Iterable[dict[str, Any]]) -> None:
    spec = allocation.spec
    if needs_health_check(spec) and not spec.get("healthCheckNodePort"):
        spec["healthCheckNodePort"] = allocation.port()
    if spec.get("type") not in WITH_NODE_PORTS:
        return
    had = {port.get("nodePort") for port in before}
    mine: dict[int, Any] = {}
    for number, port in enumerate(spec.get("ports") or ()):
        asked = port.get("nodePort")
        if not asked:
            continue
        path = f"spec.ports[{number}].nodePort"
        if asked not in had and asked not in mine:
            if not NODE_PORTS[0] <= asked <= NODE_PORTS[1]:
                low, high = NODE_PORTS
                why = f"provided port is not in the valid range. The range of valid ports is {low}-{high}"
                allocation.errors.append(invalid_value(path, asked, why))
            elif asked in allocation.ports:
                allocation.errors.append(invalid_value(path, asked, "provided port is already allocated"))
        mine[asked] = port.get("port")
    allocation.ports |= mine.keys()
    if spec.get("type") == "NodePort" or spec.get("allocateLoadBalancerNodePorts") is not False:
        given: dict[int, int] = {}
        for port in spec.get("ports") or ():
            if not port.get("nodePort"):
                # One number in two protocols is one port of the node.
                port["nodePort"] = given.get(port.get("port")) or allocation.port()
                given[port.get("port")] = port["nodePort"]
