"""What a hollow Node says of itself: pure, by the words of real ones (kubelet/node/node_object.py)."""

from __future__ import annotations

from hashlib import sha256
from ipaddress import IPv4Network

from apimachinery import meta
from apimachinery.meta import Object, find_condition, labels
from kubelet.hollow.addresses import part_of
from kubelet.hollow.settings import NODE_LABEL, SILENT, Settings
from kubelet.node import node_object
from kubelet.node.machine import Machine
from kubelet.node.node_settings import NodeSettings

RUNTIME_VERSION = "hollow://0.1.0"
ZONE_LABEL = "topology.kubernetes.io/zone"
_OWN_CONDITIONS = (*(pressure.type for pressure in node_object.PRESSURES), "Ready")
_GOLDEN_RATIO = 0.6180339887498949


def name_of(settings: Settings, number: int) -> str:
    """What the node of this number is called."""
    return f"{settings.prefix}-{number}"


def phase_of(number: int) -> float:
    """Where in every interval the node of this number has its turn: 0 to 1, evenly spread however many there are."""
    return number * _GOLDEN_RATIO % 1.0


def node_settings(settings: Settings, number: int) -> NodeSettings:
    """The node of this number as its flags would describe it."""
    network = IPv4Network(settings.node_network)
    own = {**settings.labels, NODE_LABEL: "true"}
    if settings.zones:
        own[ZONE_LABEL] = settings.zones[number % len(settings.zones)]
    return NodeSettings(
        name=name_of(settings, number),
        address=str(network.network_address + 1 + number % (network.num_addresses - 2)),
        labels=own,
        taints=settings.taints,
        # Nothing is ever short there.
        eviction={},
    )


def machine_of(name: str) -> Machine:
    """The machine that this node would be."""
    digest = sha256(name.encode()).hexdigest()
    return Machine(
        cpu_milli=0,
        memory_bytes=0,
        hugepages={},
        architecture="amd64",
        kernel_version="hollow",
        os_image="hollow",
        machine_id=digest[:32],
        system_uuid=digest[:32],
        boot_id=digest[32:],
    )


def status(settings: Settings, node: NodeSettings, old: Object | None, now: float) -> Object:
    """The status as it should be; `old` is the Node as the API has it."""
    capacity = dict(settings.capacity)
    return {
        "addresses": [
            {"type": "InternalIP", "address": node.address},
            {"type": "Hostname", "address": node.name},
        ],
        "allocatable": dict(capacity),
        "capacity": capacity,
        "conditions": node_object.conditions(old, pressures=(), problems=(), now=now),
        # Nobody listens there.
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
        "features": node_object.FEATURES,
        "images": [],
        "nodeInfo": node_object.node_info(machine_of(node.name), RUNTIME_VERSION),
        "runtimeHandlers": [],
    }


def new_node(settings: Settings, number: int, now: float) -> Object:
    """The Node to register, with its part of the pod network."""
    own = node_settings(settings, number)
    node = node_object.new_node(own, machine_of(own.name), status(settings, own, None, now))
    if settings.pod_network and (cidr := part_of(settings.pod_network, number)):
        node["spec"] |= {"podCIDR": cidr, "podCIDRs": [cidr]}
    return node


def differing_labels(settings: Settings, number: int, node: Object) -> dict[str, str]:
    """Labels that a Node from before this process does not have, or not so."""
    own = node_settings(settings, number)
    ours = {**own.labels, **node_object.default_labels(own, machine_of(own.name))}
    return {key: value for key, value in ours.items() if labels(node).get(key) != value}


def is_silent(node: Object) -> bool:
    """Whether somebody wants this node to be as if it were lost."""
    return meta.annotations(node).get(SILENT) == "true"


def says_ready(node: Object) -> bool:
    """Whether the API has this node as it is: ready, and short of nothing."""
    statuses = {kind: (find_condition(node, kind) or {}).get("status") for kind in _OWN_CONDITIONS}
    return all(status == ("True" if kind == "Ready" else "False") for kind, status in statuses.items())
