"""Hollow nodes of a cluster of this machine: who they are to the API, how they are started, and taken away.

They are one process, which speaks for all of them, so they can't be nodes of the group system:nodes: each of those
may only touch its own pods, and five thousand connections with certificates of their own would cost the API server
more than the nodes do. The process has an identity of its own instead, with a role of its own that is made here, when
somebody asks for hollow nodes, and taken back when nobody does any more. It may not delete nodes, read Secrets, nor
act on volumes or tokens, which real nodes may where their pods need it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from apiclient.rest import Client
from apimachinery import errors
from apimachinery.errors import ApiError
from apimachinery.meta import Object, find_condition
from apimachinery.resources import (
    CLUSTERROLEBINDINGS,
    CLUSTERROLES,
    FLOWSCHEMAS,
    NODES,
    ROLEBINDINGS,
    ROLES,
    Resource,
)
from kctl.cluster import processes
from kctl.cluster.layout import Cluster
from kctl.cluster.processes import Spec
from kctl.errors import CommandError
from kctl.progress import Progress

PART = "hollow-nodes"
GROUP = "wherry:hollow-nodes"
ROLE = "wherry:hollow-nodes"
PREFIX = "hollow"
LEASES = "kube-node-lease"
NODE_LABEL = "hollow.wherry.io/node"
MAX_NODES = 10000
# Nodes renew their Leases four times while these last. Beyond so many a second there would be little time for all
# else: then Leases last longer, and the controllers wait longer before they take a node for lost.
RENEWALS_PER_SECOND_MAX = 500
LEASE_SECONDS_MIN, RENEWALS_PER_LEASE, GRACE_PER_LEASE = 4, 4, 1.25
DELETIONS_AT_ONCE = 32


def lease_seconds(count: int) -> int:
    """How long Leases of so many nodes last: 4 s, as those of real nodes here, up to Kubernetes' 40 s for 5,000."""
    return max(LEASE_SECONDS_MIN, -(-count * RENEWALS_PER_LEASE // RENEWALS_PER_SECOND_MAX))


def controller_flags(count: int) -> list[str]:
    """What the controllers have to be told of so many nodes."""
    seconds = lease_seconds(count)
    return [f"--node-monitor-grace-period={seconds * GRACE_PER_LEASE:g}s"] if seconds > LEASE_SECONDS_MIN else []


def spec(cluster: Cluster) -> Spec:
    """The process of all hollow nodes."""
    command = ["kubelet.hollow", "--kubeconfig", str(cluster.hollow_kubeconfig), "--name-prefix", PREFIX]
    command += ["--nodes", str(cluster.hollow_nodes)]
    command += ["--node-lease-duration-seconds", str(lease_seconds(cluster.hollow_nodes))]
    return Spec.module(PART, [*command, *cluster.flags.get("hollow", [])])


def _rule(group: str, verbs: str, *resources: str) -> Object:
    return {"apiGroups": [group], "resources": list(resources), "verbs": verbs.split()}


def _flow(level: str, precedence: int, name: str, resources: list[Object]) -> Object:
    subjects = [{"kind": "Group", "group": {"name": GROUP}}]
    rules = [{"subjects": subjects, "resourceRules": resources}]
    return _object(
        FLOWSCHEMAS,
        name,
        spec={
            "priorityLevelConfiguration": {"name": level},
            "matchingPrecedence": precedence,
            "distinguisherMethod": {"type": "ByUser"},
            "rules": rules,
        },
    )


def _object(resource: Resource, name: str, namespace: str | None = None, **fields: Any) -> Object:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, **fields}


def access() -> tuple[tuple[Resource, Object], ...]:
    """What lets the process be many nodes: its role, and that its requests wait no longer than those of nodes do."""
    rules = [
        _rule("", "create get list watch patch", "nodes"),
        _rule("", "patch", "nodes/status"),
        _rule("", "get list watch delete", "pods"),
        _rule("", "patch", "pods/status"),
    ]
    # Not those of other namespaces, by which the control loops are elected.
    renewal = [_rule("coordination.k8s.io", "create get update", "leases")]
    subjects = [{"apiGroup": CLUSTERROLES.group, "kind": "Group", "name": GROUP}]
    reference = {"apiGroup": CLUSTERROLES.group, "kind": CLUSTERROLES.kind, "name": ROLE}
    local = {**reference, "kind": ROLES.kind}
    everywhere = {"verbs": ["*"], "namespaces": ["*"], "clusterScope": True}
    lives = [
        {**everywhere, "apiGroups": [""], "resources": ["nodes", "nodes/status"]},
        {**everywhere, "apiGroups": ["coordination.k8s.io"], "resources": ["leases"]},
    ]
    whatever = [{**everywhere, "apiGroups": ["*"], "resources": ["*"]}]
    return (
        (CLUSTERROLES, _object(CLUSTERROLES, ROLE, rules=rules)),
        (CLUSTERROLEBINDINGS, _object(CLUSTERROLEBINDINGS, ROLE, subjects=subjects, roleRef=reference)),
        (ROLES, _object(ROLES, ROLE, LEASES, rules=renewal)),
        (ROLEBINDINGS, _object(ROLEBINDINGS, ROLE, LEASES, subjects=subjects, roleRef=local)),
        (FLOWSCHEMAS, _flow("node-high", 450, "hollow-nodes-high", lives)),
        (FLOWSCHEMAS, _flow("system", 550, "hollow-nodes", whatever)),
    )


async def grant(client: Client) -> None:
    """Have the role and all else there, as it stands here."""
    for resource, obj in access():
        params = {"fieldManager": "kctl", "force": "true"}
        metadata = obj["metadata"]
        await client.patch(resource, metadata["name"], obj, metadata.get("namespace"), kind="apply", params=params)


async def revoke(client: Client) -> None:
    """Take it all back."""
    for resource, obj in access():
        await _delete(client, resource, obj["metadata"]["name"], obj["metadata"].get("namespace"))


async def remove_surplus(client: Client, count: int) -> None:
    """Delete the Nodes of hollow nodes that are no more: of those from this number on."""
    wanted = {f"{PREFIX}-{number}" for number in range(count)}
    found = await client.list(NODES, label_selector=f"{NODE_LABEL}=true")
    leaving = iter([node for item in found["items"] if (node := item["metadata"]["name"]) not in wanted])

    async def work() -> None:
        for node in leaving:
            await _delete(client, NODES, node)

    async with asyncio.TaskGroup() as group:
        for _ in range(DELETIONS_AT_ONCE):
            group.create_task(work())


async def _delete(client: Client, resource: Resource, name: str, namespace: str | None = None) -> None:
    try:
        await client.delete(resource, name, namespace)
    except ApiError as error:
        if not errors.is_not_found(error):
            raise


async def wait_ready(client: Client, cluster: Cluster, deadline: float, progress: Progress) -> None:
    """Wait, by watching, until every hollow node is Ready."""
    waiting = {f"{PREFIX}-{number}" for number in range(cluster.hollow_nodes)}
    selector = f"{NODE_LABEL}=true"
    listing = await client.list(NODES, label_selector=selector)
    for node in listing["items"]:
        _note(node, waiting)
    version = listing["metadata"]["resourceVersion"]
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            while waiting:
                progress.waiting(f"waiting for {len(waiting)} hollow nodes to be Ready")
                async for kind, node in client.watch(NODES, resource_version=version, label_selector=selector):
                    version = node["metadata"]["resourceVersion"]
                    if kind in ("ADDED", "MODIFIED"):
                        _note(node, waiting)
                    if not waiting:
                        break
                    progress.waiting(f"waiting for {len(waiting)} hollow nodes to be Ready")
    except TimeoutError:
        running = processes.find(cluster.data_dir, PART) is not None
        words = "their process runs" if running else processes.last_words(cluster.data_dir, PART)
        log = processes.log_path(cluster.data_dir, PART)
        raise CommandError(f"{len(waiting)} hollow nodes are not Ready in time: {words} (see {log})") from None


def _note(node: Object, waiting: set[str]) -> None:
    if (find_condition(node, "Ready") or {}).get("status") == "True":
        waiting.discard(node["metadata"]["name"])
