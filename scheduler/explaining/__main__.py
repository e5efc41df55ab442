"""Explains one pod: `python -m scheduler.explaining --kubeconfig FILE -n NAMESPACE POD`; prints JSON.

What the asker may not list is left out, and said to be.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson

from apiclient.clock import SystemClock
from apiclient.kubeconfig import KubeconfigError, load
from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object, get_path, uid
from apimachinery.resources import (
    EVENTS,
    LEASES,
    NAMESPACES,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    SERVICES,
    STATEFULSETS,
    STORAGECLASSES,
    Resource,
)
from apimachinery.time import human_duration, parse_rfc3339, rfc3339
from scheduler.cluster import Cluster, scheduler_of
from scheduler.explaining.standing import Standing, standing
from scheduler.explaining.trial import Outcome, attempt
from scheduler.explaining.verdict import NodeVerdict, Verdict, judge
from scheduler.framework import Profile
from scheduler.options import Options, parse_options
from scheduler.pods import node_name
from scheduler.trimming import trimmed_budget, trimmed_group, trimmed_node, trimmed_pod, trimmed_storage

PAGE_OBJECTS = 1000
GROUPS = (SERVICES, REPLICATIONCONTROLLERS, REPLICASETS, STATEFULSETS, NAMESPACES)


class Explainer:
    """Lists a cluster, and explains a pod by it. `notes` tell of what had to be left out."""

    def __init__(self, client: Client, options: Options) -> None:
        self._client = client
        self._options = options
        self._clock = SystemClock()
        self.notes: list[str] = []

    async def explain(self, namespace: str, name: str) -> Object:
        """The explanation of a pod, as JSON has it. Raises ApiError."""
        pod = await self._client.get(PODS, name, namespace)
        profile = self._profile(pod)
        cluster = Cluster(profile, rng=random.Random())
        async for node in self._all(NODES):
            cluster.node_changed("ADDED", None, trimmed_node(node))
        async for other in self._all(PODS):
            if uid(other) != uid(pod) and (node_name(other) or get_path(other, "status", "nominatedNodeName")):
                cluster.pod_changed("ADDED", None, trimmed_pod(other), now=0.0)
        await self._follow_the_rest(cluster)
        await self._note_the_leader()
        events = [e async for e in self._all(EVENTS, namespace, field_selector=f"involvedObject.uid={uid(pod)}")]
        free = trimmed_pod(_free(pod, profile.scheduler_name))
        verdict = judge(profile, free, cluster.snapshot)
        outcome = attempt(cluster, free)
        if outcome is None:
            self.notes.append("it is one of a gang, which is placed together: shown is what holds for this one alone")
        elif verdict.feasible and outcome.node not in verdict.best:
            self.notes.append("some nodes that it fits are kept for others, or one for this pod")
        found = standing(
            pod,
            events,
            now=self._clock.now(),
            first_delay=self._options.backoff_first_seconds,
            delay_max=self._options.backoff_max_seconds,
        )
        return {
            "kind": "SchedulingExplanation",
            "metadata": {"namespace": namespace, "name": name, "uid": uid(pod)},
            "scheduler": scheduler_of(pod),
            "priority": pod["spec"].get("priority") or 0,
            "standing": _standing(found),
            "nodes": [_node(node) for node in verdict.nodes],
            **_outcome(verdict, outcome),
            "notes": self.notes,
        }

    def _profile(self, pod: Object) -> Profile:
        for profile in self._options.profiles:
            if profile.scheduler_name == scheduler_of(pod):
                return profile
        known = ", ".join(profile.scheduler_name for profile in self._options.profiles)
        self.notes.append(
            f"no profile is known of scheduler {scheduler_of(pod)!r}, asked is the first of: {known} "
            "(others are known from the scheduler's configuration file)"
        )
        return self._options.profiles[0]

    async def _note_the_leader(self) -> None:
        """Note that no scheduler places pods at the moment, if that is so and may be known."""
        options = self._options
        try:
            lease = await self._client.get(LEASES, options.lease_name, options.lease_namespace)
        except ApiError as error:
            if error.code == 404:
                self.notes.append(
                    f"no scheduler has led yet (no lease {options.lease_namespace}/{options.lease_name})"
                )
            return
        spec = lease.get("spec") or {}
        if not spec.get("renewTime"):
            return
        age = self._clock.now() - parse_rfc3339(spec["renewTime"])
        if age > (spec.get("leaseDurationSeconds") or options.lease_duration_seconds):
            self.notes.append(
                f"no scheduler leads: {spec.get('holderIdentity')} was last heard of {human_duration(age)} ago"
            )

    async def _follow_the_rest(self, cluster: Cluster) -> None:
        storage = cluster.snapshot.storage
        for resource, take in (
            (PERSISTENTVOLUMECLAIMS, storage.claim_changed),
            (PERSISTENTVOLUMES, storage.volume_changed),
            (STORAGECLASSES, storage.class_changed),
        ):
            async for obj in self._all(resource):
                take(None, trimmed_storage(obj))
        async for budget in self._all(PODDISRUPTIONBUDGETS):
            cluster.budget_changed(None, trimmed_budget(budget))
        for resource in GROUPS:
            async for obj in self._all(resource):
                cluster.group_changed(None, trimmed_group(obj))

    async def _all(
        self, resource: Resource, namespace: str | None = None, *, field_selector: str | None = None
    ) -> AsyncIterator[Object]:
        """All objects, page by page; none of what the asker may not list, unless nothing can be said without."""
        continued: str | None = None
        while True:
            try:
                page = await self._client.list(
                    resource, namespace, field_selector=field_selector, limit=PAGE_OBJECTS, continue_=continued
                )
            except ApiError as error:
                if error.code != 403 or resource in (NODES, PODS):
                    raise
                self.notes.append(f"left out, for they may not be listed: {resource.plural}")
                return
            kind = {"apiVersion": resource.api_version, "kind": resource.kind}
            for obj in page["items"]:
                yield {**kind, **obj}
            continued = page["metadata"].get("continue")
            if not continued:
                return


def _standing(found: Standing) -> Object:
    told: dict[str, Any] = {
        "stage": found.stage.value,
        "node": found.node,
        "nominatedNode": found.nominated,
        "gates": list(found.gates),
        "message": found.message,
        "attempts": found.attempts,
    }
    for key, moment in (("since", found.since), ("lastAttempt", found.last_attempt), ("due", found.due)):
        if moment is not None:
            told[key] = rfc3339(moment)
    return {key: value for key, value in told.items() if value or key == "stage"}


def _free(pod: Object, scheduler: str) -> Object:
    """The pod as if it waited for this scheduler, assigned to no node and held back by nothing."""
    spec = {key: value for key, value in pod["spec"].items() if key not in ("nodeName", "schedulingGates")}
    metadata = {key: value for key, value in pod["metadata"].items() if key != "deletionTimestamp"}
    nominated = get_path(pod, "status", "nominatedNodeName")
    status = {"nominatedNodeName": nominated} if nominated and not node_name(pod) else {}
    return {**pod, "metadata": metadata, "spec": {**spec, "schedulerName": scheduler}, "status": status}


def _outcome(verdict: Verdict, outcome: Outcome | None) -> Object:
    """Where the pod would go, or why nowhere; and who would have to go for it."""
    if outcome is None:
        return {"best": verdict.best, "message": verdict.message}
    best = verdict.best if outcome.node in verdict.best else [outcome.node] if outcome.node else []
    told: Object = {"best": best, "message": outcome.message}
    if outcome.victims:
        told["preemption"] = {"node": outcome.room_on, "victims": list(outcome.victims)}
    return told


def _node(node: NodeVerdict) -> Object:
    if node.rejections:
        return {"name": node.name, "rejections": [rejection._asdict() for rejection in node.rejections]}
    scores = [{**score._asdict(), "weighted": score.weighted} for score in node.scores]
    return {"name": node.name, "total": node.total, "scores": scores}


async def main(arguments: Sequence[str]) -> None:
    """Explain the pod that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m scheduler.explaining", description="Explains where a pod may go."
    )
    parser.add_argument("pod")
    parser.add_argument("-n", "--namespace", default="default")
    parser.add_argument("--kubeconfig", metavar="FILE")
    parser.add_argument("--context", metavar="NAME")
    parser.add_argument("--config", metavar="FILE", help="the KubeSchedulerConfiguration of the scheduler")
    given = parser.parse_args(arguments)
    options = parse_options(["--config", given.config] if given.config else [])
    async with await Client.connect(load(given.kubeconfig, given.context), user_agent="wherry-explaining") as client:
        explanation = await Explainer(client, options).explain(given.namespace, given.pod)
    sys.stdout.buffer.write(orjson.dumps(explanation, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1:]))
    except (ApiError, KubeconfigError, OSError) as problem:
        sys.exit(problem.message if isinstance(problem, ApiError) else str(problem))
