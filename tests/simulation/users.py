"""What the users of a simulated cluster do: they make workloads of all kinds, change their minds, and drain nodes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

from apiclient.rest import ApiUnavailable, Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object, controller_of, name, namespace
from apimachinery.resources import (
    DAEMONSETS,
    DEPLOYMENTS,
    JOBS,
    NAMESPACES,
    NODES,
    PODDISRUPTIONBUDGETS,
    PODS,
    PRIORITYCLASSES,
    REPLICASETS,
    RESOURCEQUOTAS,
    STATEFULSETS,
    Resource,
)
from tests.simulation.observed import HOLD, State, uid

LIMITED, PODS_IN_LIMITED = "limited", 5
# Pods of this class may send others away.
URGENT = "urgent"
# A user who gets no answer asks again, for as long as a server may be away.
TRIES_MAX, RETRY_SECONDS = 60, 1.0
EVICTIONS_TRIED_MAX = 12
# Until its controller has counted for the first time, a quota limits nothing.
QUOTA_SECONDS = 3.0
# What is tried on one of these is refused now and then, and users live with that.
REFUSALS = (403, 404, 409, 422)


class Users:
    """All users, as one."""

    def __init__(self, client: Client, rng: random.Random, state: State, told: Callable[[str], None]) -> None:
        """`state` is told which pods go by their will."""
        self._client = client
        self._state = state
        self._rng = rng
        self._told = told
        self._made = 0
        # The workloads that there are: kind and name.
        self.workloads: list[tuple[Resource, str, str]] = []
        self.cordoned: set[str] = set()
        self._held: list[tuple[Resource, str, str]] = []

    async def begin(self) -> None:
        """Make what all histories have: a namespace with a quota, and a class of pods that go before others."""
        urgent = {"metadata": {"name": URGENT}, "value": 1000}
        await self._try(self._client.create, PRIORITYCLASSES, urgent)
        await self._try(self._client.create, NAMESPACES, {"metadata": {"name": LIMITED}})
        quota = {"metadata": {"name": "few"}, "spec": {"hard": {"pods": str(PODS_IN_LIMITED)}}}
        await self._try(self._client.create, RESOURCEQUOTAS, quota, LIMITED)
        await asyncio.sleep(QUOTA_SECONDS)

    async def act(self, nodes: list[str]) -> None:
        """Do something."""
        rng = self._rng
        if len(self.workloads) < 2 or (len(self.workloads) < 6 and rng.random() < 0.3):
            await self._create()
            return
        action = rng.choice(
            [self._scale, self._scale, self._update, self._update, self._roll_back, self._delete, self._guard]
            + [self._delete_pod, self._hold]
        )
        if rng.random() < 0.15:
            await self.drain(rng.choice(nodes))
        else:
            await action()

    async def _create(self) -> None:
        make = self._rng.choice([_deployment, _deployment, _stateful_set, _daemon_set, _job, _job, _replica_set])
        self._made += 1
        resource, obj = make(self._rng, f"{make.__name__[1:3]}{self._made}")
        scope = LIMITED if self._rng.random() < 0.2 and resource is not DAEMONSETS else "default"
        self._told(f"create {resource.plural} {scope}/{obj['metadata']['name']} {obj['spec']}")
        if await self._try(self._client.create, resource, obj, scope):
            self.workloads.append((resource, scope, obj["metadata"]["name"]))

    async def _scale(self) -> None:
        rng = self._rng
        resource, scope, which = rng.choice(self.workloads)
        spec: Object = {"replicas": rng.randrange(7)}
        if resource is JOBS:
            spec = rng.choice([{"suspend": True}, {"suspend": False}, {"parallelism": rng.randint(1, 4)}])
        elif resource is DAEMONSETS:
            spec = {"template": {"spec": {"nodeSelector": rng.choice([None, {"disk": "fast"}])}}}
        await self._change(resource, scope, which, spec)

    async def _update(self) -> None:
        rng = self._rng
        resource, scope, which = rng.choice(self.workloads)
        if resource is JOBS:
            return
        container = {"name": "main", "image": f"image:{rng.randrange(4)}", "resources": _requests(rng)}
        spec: Object = {"template": {"spec": {"containers": [container]}}}
        if resource is DEPLOYMENTS and rng.random() < 0.3:
            spec["strategy"] = _strategy(rng)
        if resource is STATEFULSETS and rng.random() < 0.4:
            spec["updateStrategy"] = {"rollingUpdate": {"partition": rng.randrange(3)}}
        await self._change(resource, scope, which, spec)

    async def _roll_back(self) -> None:
        """As `kubectl rollout undo` does."""
        deployments = [one for one in self.workloads if one[0] is DEPLOYMENTS]
        if not deployments:
            return
        resource, scope, which = self._rng.choice(deployments)
        sets: list[Object] = []

        async def read() -> None:
            page = await self._client.list(REPLICASETS, scope)
            sets.extend(one for one in page["items"] if (controller_of(one) or {}).get("name") == which)

        if await self._try(read) and sets:
            template = self._rng.choice(sorted(sets, key=name))["spec"]["template"]
            spec = {key: value for key, value in template["spec"].items() if key == "containers"}
            await self._change(resource, scope, which, {"template": {"spec": spec}})

    async def _change(self, resource: Resource, scope: str, which: str, spec: Object) -> None:
        self._told(f"change {resource.plural} {scope}/{which} {spec}")
        await self._try(self._client.patch, resource, which, {"spec": spec}, scope)

    async def _delete(self) -> None:
        which = self._rng.choice(self.workloads)
        self.workloads.remove(which)
        resource, scope, named = which
        policy = self._rng.choice(["Background", "Foreground"])
        self._told(f"delete {resource.plural} {scope}/{named} {policy}")
        await self._try(self._client.delete, resource, named, scope, propagation_policy=policy)

    async def _guard(self) -> None:
        """Give a workload a disruption budget."""
        guarded = [one for one in self.workloads if one[0] in (DEPLOYMENTS, STATEFULSETS)]
        if not guarded:
            return
        _, scope, which = self._rng.choice(guarded)
        limit = self._rng.choice([{"minAvailable": 1}, {"minAvailable": 2}, {"maxUnavailable": 1}])
        spec = {**limit, "selector": {"matchLabels": {"app": which}}}
        self._told(f"guard {scope}/{which} {limit}")
        await self._try(self._client.create, PODDISRUPTIONBUDGETS, {"metadata": {"name": which}, "spec": spec}, scope)

    async def _delete_pod(self) -> None:
        pods: list[Object] = []

        async def read() -> None:
            pods.extend((await self._client.list(PODS))["items"])

        if await self._try(read) and pods:
            pod = self._rng.choice(pods)
            self._told(f"delete pod {namespace(pod)}/{name(pod)}")
            self._state.deleted.add(uid(pod))
            await self._try(self._client.delete, PODS, name(pod), namespace(pod))

    async def _hold(self) -> None:
        """Have a workload stay for as long as a finalizer does."""
        resource, scope, which = self._rng.choice(self.workloads)
        self._told(f"hold {resource.plural} {scope}/{which}")
        patch = {"metadata": {"finalizers": [HOLD]}}
        if await self._try(self._client.patch, resource, which, patch, scope, kind="strategic"):
            self._held.append((resource, scope, which))

    async def release_all(self) -> None:
        """Take all those finalizers away."""
        self._state.released = True
        for resource, scope, which in self._held:
            patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": [HOLD]}}
            await self._try(self._client.patch, resource, which, patch, scope, kind="strategic")
        self._held.clear()

    async def drain(self, node: str) -> None:
        """Have all pods leave a node, as their budgets allow."""
        self._told(f"drain {node}")
        self.cordoned.add(node)
        await self._try(self._client.patch, NODES, node, {"spec": {"unschedulable": True}})
        pods: list[Object] = []

        async def read() -> None:
            pods.extend((await self._client.list(PODS, field_selector=f"spec.nodeName={node}"))["items"])

        await self._try(read)
        for pod in pods:
            if (controller_of(pod) or {}).get("kind") != DAEMONSETS.kind:
                await self._evict(pod)

    async def _evict(self, pod: Object) -> None:
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name(pod)}}
        self._state.evicted.add(uid(pod))
        for _ in range(EVICTIONS_TRIED_MAX):
            try:
                await self._client.create(PODS, eviction, namespace(pod), name=name(pod), subresource="eviction")
            except ApiUnavailable:
                return
            except ApiError as error:
                if error.code != 429:
                    break
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._told(f"evicted {namespace(pod)}/{name(pod)}")
                return
        self._state.evicted.discard(uid(pod))

    async def uncordon_all(self) -> None:
        """Let pods come to all nodes again."""
        for node in sorted(self.cordoned):
            await self._try(self._client.patch, NODES, node, {"spec": {"unschedulable": None}})
        self.cordoned.clear()

    async def delete_all(self) -> None:
        """Delete every workload."""
        for resource, scope, named in self.workloads:
            await self._try(self._client.delete, resource, named, scope, propagation_policy="Background")
        self.workloads.clear()

    async def _try(self, call: Callable[..., Awaitable[Any]], *what: Any, **how: Any) -> bool:
        """Ask until there is an answer; whether it was the one that was hoped for."""
        for _ in range(TRIES_MAX):
            try:
                await call(*what, **how)
            except ApiUnavailable:
                await asyncio.sleep(RETRY_SECONDS)
            except ApiError as error:
                if error.code in REFUSALS:
                    return False
                if error.code not in (429, 500, 503, 504):
                    raise
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return True
        raise AssertionError("a user was not answered for a minute")


def _requests(rng: random.Random) -> Object:
    return {"requests": {"cpu": rng.choice(["100m", "250m", "500m"])}}


def _template(rng: random.Random, app: str, **spec: Any) -> Object:
    containers = [{"name": "main", "image": f"image:{rng.randrange(4)}", "resources": _requests(rng)}]
    made: Object = {"containers": containers, "terminationGracePeriodSeconds": rng.choice([1, 5, 30]), **spec}
    if rng.random() < 0.15:
        made["nodeSelector"] = {"disk": "fast"}
    if rng.random() < 0.15:
        made["priorityClassName"] = URGENT
    return {"metadata": {"labels": {"app": app}}, "spec": made}


def _workload(resource: Resource, app: str, spec: Object) -> tuple[Resource, Object]:
    metadata = {"name": app}
    if resource is not JOBS:
        spec = {"selector": {"matchLabels": {"app": app}}, **spec}
    return resource, {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": metadata, "spec": spec}


def _strategy(rng: random.Random) -> Object:
    if rng.random() < 0.15:
        return {"type": "Recreate", "rollingUpdate": None}
    surge, unavailable = rng.choice([(1, 0), (1, 1), (0, 1), (2, 0), ("25%", "25%"), ("50%", "0%")])
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}


def _deployment(rng: random.Random, app: str) -> tuple[Resource, Object]:
    spec = {"replicas": rng.randint(1, 6), "strategy": _strategy(rng), "template": _template(rng, app)}
    spec["minReadySeconds"] = rng.choice([0, 0, 3])
    return _workload(DEPLOYMENTS, app, spec)


def _replica_set(rng: random.Random, app: str) -> tuple[Resource, Object]:
    return _workload(REPLICASETS, app, {"replicas": rng.randint(1, 4), "template": _template(rng, app)})


def _stateful_set(rng: random.Random, app: str) -> tuple[Resource, Object]:
    spec = {
        "replicas": rng.randint(1, 4),
        "serviceName": app,
        "podManagementPolicy": rng.choice(["OrderedReady", "OrderedReady", "Parallel"]),
        "template": _template(rng, app),
        "updateStrategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"partition": rng.choice([0, 0, 1]), "maxUnavailable": rng.choice([1, 2])},
        },
    }
    return _workload(STATEFULSETS, app, spec)


def _daemon_set(rng: random.Random, app: str) -> tuple[Resource, Object]:
    surge, unavailable = rng.choice([(0, 1), (1, 0), (0, 2)])
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    template = _template(rng, app)
    return _workload(DAEMONSETS, app, {"template": template, "updateStrategy": {"rollingUpdate": rolling}})


def _job(rng: random.Random, app: str) -> tuple[Resource, Object]:
    template = _template(rng, app, restartPolicy="Never")
    template["metadata"]["annotations"] = {"fails": str(rng.choice([0, 0, 0.2, 0.5]))}
    spec: Object = {"parallelism": rng.randint(1, 3), "backoffLimit": rng.choice([1, 3]), "template": template}
    if rng.random() < 0.8:
        spec["completions"] = rng.randint(1, 6)
        spec["completionMode"] = rng.choice(["NonIndexed", "Indexed"])
    if rng.random() < 0.3:
        spec["podReplacementPolicy"] = "Failed"
    if rng.random() < 0.3:
        spec["ttlSecondsAfterFinished"] = 30
    return _workload(JOBS, app, spec)
