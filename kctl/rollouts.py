"""How far the rollout of a Deployment, StatefulSet or DaemonSet is, in kubectl's words, and its earlier revisions.

A Deployment's revisions are its ReplicaSets; those of the others are ControllerRevisions, whose data is a patch that
brings a pod template back.
"""

from __future__ import annotations

from dataclasses import dataclass

from apiclient.rest import Client
from apimachinery import meta
from apimachinery.meta import Object, find_condition, get_path, is_controlled_by
from apimachinery.resources import CONTROLLERREVISIONS, DAEMONSETS, DEPLOYMENTS, REPLICASETS, STATEFULSETS, Resource
from kctl.errors import CommandError

KINDS = (DEPLOYMENTS, STATEFULSETS, DAEMONSETS)
REVISION = "deployment.kubernetes.io/revision"
CHANGE_CAUSE = "kubernetes.io/change-cause"
HASH_LABEL = "pod-template-hash"


@dataclass(frozen=True, slots=True)
class Revision:
    """One that was rolled out: its number, pod template, and what its author said about it."""

    number: int
    template: Object
    cause: str


def rollout_status(resource: Resource, obj: Object) -> tuple[str, bool]:
    """What to tell of a rollout, and whether it is over. Raises CommandError if it failed or can't be followed."""
    if resource == STATEFULSETS:
        return stateful_set_status(obj)
    if resource == DAEMONSETS:
        return daemon_set_status(obj)
    return deployment_status(obj)


def deployment_status(deployment: Object) -> tuple[str, bool]:
    """Of a Deployment; the order of the checks is kubectl's."""
    name = deployment["metadata"]["name"]
    status = deployment.get("status") or {}
    if deployment["metadata"].get("generation", 0) > status.get("observedGeneration", 0):
        return "Waiting for deployment spec update to be observed...", False
    progressing = find_condition(status.get("conditions") or [], "Progressing")
    if progressing is not None and progressing.get("reason") == "ProgressDeadlineExceeded":
        raise CommandError(f'deployment "{name}" exceeded its progress deadline')
    wanted = get_path(deployment, "spec", "replicas", default=1)
    updated, total = status.get("updatedReplicas", 0), status.get("replicas", 0)
    available = status.get("availableReplicas", 0)
    waiting = f'Waiting for deployment "{name}" rollout to finish: '
    if updated < wanted:
        return f"{waiting}{updated} out of {wanted} new replicas have been updated...", False
    if total > updated:
        return f"{waiting}{total - updated} old replicas are pending termination...", False
    if available < updated:
        return f"{waiting}{available} of {updated} updated replicas are available...", False
    return f'deployment "{name}" successfully rolled out', True


def stateful_set_status(stateful_set: Object) -> tuple[str, bool]:
    """Of a StatefulSet."""
    _check_rolling(stateful_set)
    status = stateful_set.get("status") or {}
    if stateful_set["metadata"].get("generation", 0) > status.get("observedGeneration", 0):
        return "Waiting for statefulset spec update to be observed...", False
    wanted = get_path(stateful_set, "spec", "replicas", default=1)
    ready, updated = status.get("readyReplicas", 0), status.get("updatedReplicas", 0)
    if ready < wanted:
        return f"Waiting for {wanted - ready} pods to be ready...", False
    rolling = get_path(stateful_set, "spec", "updateStrategy", "rollingUpdate")
    if rolling is not None:
        target = wanted - rolling.get("partition", 0)
        if updated < target:
            progress = f"{updated} out of {target} new pods have been updated..."
            return f"Waiting for partitioned roll out to finish: {progress}", False
        return f"partitioned roll out complete: {updated} new pods have been updated...", True
    if status.get("updateRevision") != status.get("currentRevision"):
        ending = f"{updated} pods at revision {status.get('updateRevision')}..."
        return f"waiting for statefulset rolling update to complete {ending}", False
    ending = f"{status.get('currentReplicas', 0)} pods at revision {status.get('currentRevision')}..."
    return f"statefulset rolling update complete {ending}", True


def daemon_set_status(daemon_set: Object) -> tuple[str, bool]:
    """Of a DaemonSet."""
    _check_rolling(daemon_set)
    status = daemon_set.get("status") or {}
    if daemon_set["metadata"].get("generation", 0) > status.get("observedGeneration", 0):
        return "Waiting for daemon set spec update to be observed...", False
    name = daemon_set["metadata"]["name"]
    wanted, updated = status.get("desiredNumberScheduled", 0), status.get("updatedNumberScheduled", 0)
    available = status.get("numberAvailable", 0)
    waiting = f'Waiting for daemon set "{name}" rollout to finish: '
    if updated < wanted:
        return f"{waiting}{updated} out of {wanted} new pods have been updated...", False
    if available < wanted:
        return f"{waiting}{available} of {wanted} updated pods are available...", False
    return f'daemon set "{name}" successfully rolled out', True


def _check_rolling(obj: Object) -> None:
    if get_path(obj, "spec", "updateStrategy", "type", default="RollingUpdate") != "RollingUpdate":
        raise CommandError("rollout status is only available for RollingUpdate strategy type")


async def revisions(client: Client, resource: Resource, obj: Object, namespace: str) -> list[Revision]:
    """The revisions of an object that are kept, oldest first."""
    kept = REPLICASETS if resource == DEPLOYMENTS else CONTROLLERREVISIONS
    found = [one for one in (await client.list(kept, namespace))["items"] if is_controlled_by(one, obj)]
    made = (_of_replica_set(one) if resource == DEPLOYMENTS else _of_revision(resource, obj, one) for one in found)
    return sorted((one for one in made if one is not None), key=lambda one: one.number)


def _of_replica_set(replica_set: Object) -> Revision | None:
    number = meta.annotations(replica_set).get(REVISION, "")
    return _revision(int(number), replica_set["spec"]["template"], replica_set) if number.isdigit() else None


def _of_revision(resource: Resource, obj: Object, revision: Object) -> Revision:
    from apimachinery.patch import strategic_merge_patch

    back = strategic_merge_patch(resource, obj, revision["data"])
    return _revision(int(revision.get("revision", 0)), back["spec"]["template"], revision)


def _revision(number: int, template: Object, obj: Object) -> Revision:
    return Revision(number, template, meta.annotations(obj).get(CHANGE_CAUSE, "<none>"))


def plain_template(template: Object) -> Object:
    """A ReplicaSet's pod template without the label that its Deployment has put there; any other as it is."""
    metadata = dict(template.get("metadata") or {})
    metadata["labels"] = {k: v for k, v in (metadata.get("labels") or {}).items() if k != HASH_LABEL}
    return {**template, "metadata": metadata}
