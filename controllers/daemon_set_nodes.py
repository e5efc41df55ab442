"""On which nodes a DaemonSet's pods belong, and what ties each of them to its node: pure.

The controller says which node a pod is for; the scheduler binds it there, by a node affinity on the node's name. What
daemons are for (networks, logs, repairs) has to go on while a node is in trouble, so their pods tolerate the taints
that say so.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/daemonset/#how-daemon-pods-are-scheduled
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from apimachinery import meta, node_affinity
from apimachinery.meta import Object, get_path, labels, name, namespace, owner_reference
from apimachinery.resources import DAEMONSETS
from apimachinery.taints import Taint, Toleration
from controllers import taints
from controllers.taints import NO_EXECUTE, NO_SCHEDULE

KIND = {"apiVersion": DAEMONSETS.api_version, "kind": DAEMONSETS.kind}
HASH_LABEL = "controller-revision-hash"
# Counted by the API server; pods that were made when revisions did not exist yet are known by it.
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"
GENERATION_LABEL = "pod-template-generation"
NODE_NAME_FIELD = "metadata.name"
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_TOLERATED = (
    (taints.NOT_READY, NO_EXECUTE),
    (taints.UNREACHABLE, NO_EXECUTE),
    ("node.kubernetes.io/disk-pressure", NO_SCHEDULE),
    ("node.kubernetes.io/memory-pressure", NO_SCHEDULE),
    ("node.kubernetes.io/pid-pressure", NO_SCHEDULE),
    ("node.kubernetes.io/unschedulable", NO_SCHEDULE),
)
# Only a pod that does without the pods' network can run, and perhaps set it up, where there is none.
_TOLERATED_ON_HOST_NETWORK = ("node.kubernetes.io/network-unavailable", NO_SCHEDULE)

Places = Mapping[str, tuple[bool, bool]]
"""By node: (a pod should run there, a pod that is there already may go on)."""


class Placement:
    """What a DaemonSet's template says of nodes, read once and asked of many."""

    def __init__(self, daemon_set: Object) -> None:
        self._spec: Object = daemon_set["spec"]["template"]["spec"]
        self._tolerations = tuple(map(Toleration.of, tolerations(self._spec)))

    def of(self, node: Object) -> tuple[bool, bool]:
        """(a pod should run there, a pod that is there already may go on)."""
        pinned = self._spec.get("nodeName")
        if (pinned and pinned != name(node)) or not node_affinity.selects(self._spec, node):
            return False, False
        effects = {taint.effect for taint in map(Taint.of, taints.of(node)) if not self._tolerates(taint)}
        return not effects & {NO_SCHEDULE, NO_EXECUTE}, NO_EXECUTE not in effects

    def of_all(self, nodes: Iterable[Object]) -> Places:
        """The same of many nodes, by their names in order."""
        return {name(node): self.of(node) for node in sorted(nodes, key=name)}

    def _tolerates(self, taint: Taint) -> bool:
        return any(toleration.tolerates(taint) for toleration in self._tolerations)


def tolerations(spec: Object) -> list[Object]:
    """A template's tolerations and those of every daemon, which have no end."""
    found: list[Object] = list(spec.get("tolerations") or ())
    effects = [*_TOLERATED, *((_TOLERATED_ON_HOST_NETWORK,) if spec.get("hostNetwork") else ())]
    for key, effect in effects:
        wanted = {"key": key, "operator": "Exists", "effect": effect}
        same = [at for at, one in enumerate(found) if _matches(one, wanted)]
        if same:
            found[same[0]] = wanted
        else:
            found.append(wanted)
    return found


def _matches(one: Object, other: Object) -> bool:
    return all((one.get(field) or "") == (other.get(field) or "") for field in ("key", "operator", "effect", "value"))


def pod_for_node(daemon_set: Object, node: str, digest: str) -> Object:
    """The pod to create: the template, of the revision with this hash, for this node."""
    template = daemon_set["spec"]["template"]
    metadata = template.get("metadata") or {}
    kept = {key: metadata[key] for key in ("annotations", "finalizers") if metadata.get(key)}
    marks = {HASH_LABEL: digest}
    if generation := template_generation(daemon_set):
        marks[GENERATION_LABEL] = generation
    spec = template["spec"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **kept,
            "labels": {**(metadata.get("labels") or {}), **marks},
            "generateName": f"{name(daemon_set)}-",
            "namespace": namespace(daemon_set),
            "ownerReferences": [owner_reference({**daemon_set, **KIND})],
        },
        "spec": {**spec, "affinity": _pinned(spec.get("affinity"), node), "tolerations": tolerations(spec)},
    }


def _pinned(affinity: Object | None, node: str) -> Object:
    """The affinity with the node in place of the required terms, which the node has been seen to meet."""
    term = {"matchFields": [{"key": NODE_NAME_FIELD, "operator": "In", "values": [node]}]}
    preferences = get_path(affinity or {}, "nodeAffinity", default={})
    return {**(affinity or {}), "nodeAffinity": {**preferences, _REQUIRED: {"nodeSelectorTerms": [term]}}}


def target_node(pod: Object) -> str | None:
    """The node that a pod is on, or is meant for; None for one that was not made for any."""
    if bound := get_path(pod, "spec", "nodeName"):
        return str(bound)
    required = get_path(pod, "spec", "affinity", "nodeAffinity", _REQUIRED, "nodeSelectorTerms", default=())
    fields: list[dict[str, Any]] = [field for term in required for field in term.get("matchFields") or ()]
    for field in fields:
        if field["key"] == NODE_NAME_FIELD and field["operator"] == "In" and len(field.get("values") or ()) == 1:
            return str(field["values"][0])
    return None


def template_generation(daemon_set: Object) -> str | None:
    """The number of the template, if the annotation is one."""
    text = meta.annotations(daemon_set).get(TEMPLATE_GENERATION, "")
    return text if text.isascii() and text.isdigit() else None


def is_updated(pod: Object, daemon_set: Object, digest: str) -> bool:
    """True for a pod of the current template."""
    marks, generation = labels(pod), template_generation(daemon_set)
    return marks.get(HASH_LABEL) == digest or (generation is not None and marks.get(GENERATION_LABEL) == generation)


def by_target(pods: Iterable[Object]) -> dict[str, list[Object]]:
    """Pods by the node that they are on or meant for; those of no node are nobody's business here."""
    found: dict[str, list[Object]] = {}
    for pod in pods:
        node = target_node(pod)
        if node is not None:
            found.setdefault(node, []).append(pod)
    return found
