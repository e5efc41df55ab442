"""The objects that a cluster is born with: its namespaces, the roles of its parts, what its flow control goes by, the
classes of pods that it can't do without, its class of storage, and the Service `kubernetes`. They are written like
any others, in one transaction, and at a later start only what is missing of them is; but the class of storage is the
users' from then on. The APIServices of what is built in are among them.

Sources: https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/#initial-namespaces,
https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from apimachinery.meta import Object
from apimachinery.patch import merge_patch
from apimachinery.persistent_volumes import DEFAULT_CLASS_ANNOTATIONS, LOCAL_PATH, WAIT_FOR_CONSUMER
from apimachinery.resources import (
    APISERVICES,
    CONFIGMAPS,
    ENDPOINTS,
    ENDPOINTSLICES,
    NAMESPACES,
    PRIORITYCLASSES,
    SERVICES,
    STORAGECLASSES,
    Resource,
    by_kind,
)
from apiserver.aggregation import local, trust
from apiserver.flowcontrol import defaults as flow_defaults
from apiserver.rbac import defaults, reconcile
from apiserver.registry.priorityclasses import SYSTEM_VALUES
from apiserver.rest.own_writes import OwnWrites
from apiserver.storage.entry import Entry
from apiserver.storage.store import Conflict, Store

INITIAL_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
SERVICE, SERVICE_PORT = "kubernetes", 443
DEFAULT_STORAGE_CLASS = "local-path"
_PORT = {"name": "https", "protocol": "TCP"}
_PRIORITY_DESCRIPTIONS = {
    "system-cluster-critical": "Used for system critical pods that must run in the cluster, but can be moved to "
    "another node if necessary.",
    "system-node-critical": "Used for system critical pods that must not be moved from their current node.",
}

# What is to be written, and the version that it replaces.
_Write = tuple[Resource, Object, Entry | None]


class Place(NamedTuple):
    """Where this server is reached: its address and port, and the address of the Service `kubernetes`."""

    address: str
    port: int
    service_address: str


async def create_initial_objects(
    store: Store, place: Place, known_by: Mapping[str, str], *, now: Callable[[], float]
) -> None:
    """Write what is missing, durable when this returns; `known_by` is what extension servers read (`trust`).

    Raises ApiError.
    """
    own = OwnWrites(store, now)
    changes = (
        *_namespaces(own),
        *_roles(own),
        *_flows(own),
        *_priorities(own),
        *_storage_class(own),
        *_service(own, place),
        *_api_services(own),
        *_trust(own, known_by, now()),
    )
    await asyncio.gather(*(_write(own, resource, obj, old) for resource, obj, old in changes))


def _namespaces(own: OwnWrites) -> Iterator[_Write]:
    for name in INITIAL_NAMESPACES:
        if own.get(NAMESPACES, "", name) is None:
            yield NAMESPACES, {"metadata": {"name": name}}, None


def _roles(own: OwnWrites) -> Iterator[_Write]:
    for expected in defaults.objects():
        resource, entry = _existing(own, expected)
        wanted = reconcile.plan(expected, entry.obj if entry is not None else None)
        if wanted is not None:
            yield resource, wanted, entry


def _flows(own: OwnWrites) -> Iterator[_Write]:
    for expected in flow_defaults.objects():
        resource, entry = _existing(own, expected)
        wanted = flow_defaults.plan(expected, entry.obj if entry is not None else None)
        if wanted is not None:
            yield resource, wanted, entry


def _priorities(own: OwnWrites) -> Iterator[_Write]:
    for name, value in SYSTEM_VALUES.items():
        if own.get(PRIORITYCLASSES, "", name) is None:
            obj = {"metadata": {"name": name}, "value": value, "description": _PRIORITY_DESCRIPTIONS[name]}
            yield PRIORITYCLASSES, obj, None


def _storage_class(own: OwnWrites) -> Iterator[_Write]:
    """The default class of storage, for a cluster that is new: who has removed or changed it did so on purpose."""
    is_new = own.get(NAMESPACES, "", "kube-system") is None
    if is_new and own.get(STORAGECLASSES, "", DEFAULT_STORAGE_CLASS) is None:
        metadata = {"name": DEFAULT_STORAGE_CLASS, "annotations": {DEFAULT_CLASS_ANNOTATIONS[0]: "true"}}
        makes = {"provisioner": LOCAL_PATH, "reclaimPolicy": "Delete", "volumeBindingMode": WAIT_FOR_CONSUMER}
        yield STORAGECLASSES, {"metadata": metadata, **makes}, None


def _api_services(own: OwnWrites) -> Iterator[_Write]:
    for wanted in local.built_in():
        entry = own.get(APISERVICES, "", wanted["metadata"]["name"])
        action = local.plan(wanted, entry.obj if entry is not None else None, starting=True)
        if entry is None:
            yield APISERVICES, wanted, None
        elif action == "update":
            yield APISERVICES, {**entry.copy(), "spec": wanted["spec"]}, entry


def _trust(own: OwnWrites, known_by: Mapping[str, str], now: float) -> Iterator[_Write]:
    entry = own.get(CONFIGMAPS, trust.NAMESPACE, trust.NAME)
    wanted = trust.plan(entry.copy() if entry is not None else None, known_by, now)
    if wanted is not None:
        yield CONFIGMAPS, wanted, entry


def _existing(own: OwnWrites, expected: Object) -> tuple[Resource, Entry | None]:
    resource = by_kind(expected["apiVersion"], expected["kind"])
    assert resource is not None
    metadata = expected["metadata"]
    return resource, own.get(resource, metadata.get("namespace", ""), metadata["name"])


def _service(own: OwnWrites, place: Place) -> Iterator[_Write]:
    """The Service by which pods find this server, and where it leads."""
    address, port = place.address, place.port
    family = "IPv6" if ":" in address else "IPv4"
    cluster_ips = {"clusterIP": place.service_address, "clusterIPs": [place.service_address]}
    service_port = {**_PORT, "port": SERVICE_PORT, "targetPort": port}
    labels = {"component": "apiserver", "provider": "kubernetes"}
    yield from _with(own, SERVICES, labels, {"spec": {**cluster_ips, "ports": [service_port]}})
    if ipaddress.ip_address(address).is_loopback:
        return  # which leads everybody to themselves
    labels = {"endpointslice.kubernetes.io/skip-mirror": "true"}
    subset = {"addresses": [{"ip": address}], "ports": [{**_PORT, "port": port}]}
    yield from _with(own, ENDPOINTS, labels, {"subsets": [subset]})
    labels = {"kubernetes.io/service-name": SERVICE}
    endpoint = {"addresses": [address], "conditions": {"ready": True}}
    leads = {"addressType": family, "endpoints": [endpoint], "ports": [{**_PORT, "port": port}]}
    yield from _with(own, ENDPOINTSLICES, labels, leads)


def _with(own: OwnWrites, resource: Resource, labels: Object, wanted: Object) -> Iterator[_Write]:
    """The object of the Service, unless it says all that is wanted."""
    entry = own.get(resource, "default", SERVICE)
    if entry is None:
        yield resource, {"metadata": {"name": SERVICE, "namespace": "default", "labels": labels}, **wanted}, None
    elif (merged := merge_patch(entry.copy(), wanted)) != entry.obj:
        yield resource, merged, entry


async def _write(own: OwnWrites, resource: Resource, obj: Object, old: Entry | None) -> None:
    try:
        if old is not None and reconcile.replaces(obj, old.obj):
            await own.delete(resource, old)
            obj, old = {**obj, "metadata": {**obj["metadata"], "resourceVersion": ""}}, None
        if old is None:
            await own.create(resource, obj)
        else:
            await own.update(resource, old, obj)
    except Conflict:
        pass  # another server of the same database has started in this moment, and written the same
