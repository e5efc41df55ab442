"""What claims and volumes say of each other: their classes, whether they fit, and who is bound to whom.

The binder, the scheduler and the node agent all decide by these. Pure.
Sources: https://kubernetes.io/docs/concepts/storage/persistent-volumes/#binding and
k8s.io/component-helpers/storage/volume
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from apimachinery import meta
from apimachinery.meta import Object, deletion_requested, get_path, is_controlled_by, name, namespace, uid
from apimachinery.quantity import parse
from apimachinery.selectors import Requirement, selector_from_object

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
STORAGE_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
OLD_STORAGE_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
OLD_CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
DEFAULT_CLASS_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)
NO_PROVISIONER = "kubernetes.io/no-provisioner"
WAIT_FOR_CONSUMER = "WaitForFirstConsumer"
ONE_POD = "ReadWriteOncePod"

# The built-in provisioner, which makes volumes of the nodes' folders. They name it as a CSI volume's driver; a label
# names the node that has the data, and the finalizer keeps them until that node has removed it.
LOCAL_PATH = "local-path.wherry.io"
LOCAL_PATH_NODE_LABEL = "local-path.wherry.io/node"
LOCAL_PATH_FINALIZER = "local-path.wherry.io/folder"
HOSTNAME_LABEL = "kubernetes.io/hostname"

_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": ">", "Lt": "<"}


def class_of(obj: Object) -> str:
    """The class of a claim or a volume, also if it says it in the way of its first versions; "" is none."""
    old = meta.annotations(obj).get(OLD_CLASS_ANNOTATION)
    found: str = old if old is not None else get_path(obj, "spec", "storageClassName", default="")
    return found


def is_default_class(storage_class: Object) -> bool:
    """Whether claims without a class are of it."""
    known = meta.annotations(storage_class)
    return any(known.get(key) == "true" for key in DEFAULT_CLASS_ANNOTATIONS)


def waits_for_consumer(storage_class: Object | None) -> bool:
    """Whether claims of a class are bound only when it is known where they are used."""
    return (storage_class or {}).get("volumeBindingMode") == WAIT_FOR_CONSUMER


def requested(claim: Object) -> int:
    """The nano-bytes that a claim asks for."""
    return parse(get_path(claim, "spec", "resources", "requests", "storage", default="0")).nanos


def size(volume: Object) -> int:
    """The nano-bytes that a volume says it has."""
    return parse(get_path(volume, "spec", "capacity", "storage", default="0")).nanos


def mode(obj: Object) -> str:
    """The volume mode of a claim or a volume: a file system unless it says otherwise."""
    found: str = get_path(obj, "spec", "volumeMode", default="Filesystem")
    return found


def access_modes(obj: Object) -> list[str]:
    """The access modes of a claim or a volume."""
    found: list[str] = get_path(obj, "spec", "accessModes", default=[])
    return found


def has_access_modes(claim: Object, volume: Object) -> bool:
    """Whether a volume can be used in all ways that a claim asks for."""
    return set(access_modes(claim)) <= set(access_modes(volume))


def claim_key(volume: Object) -> str:
    """The `namespace/name` of the claim that a volume says it is bound to; "" if none."""
    ref = get_path(volume, "spec", "claimRef", default={})
    return f"{ref.get('namespace')}/{ref.get('name')}" if ref else ""


def claim_uid(volume: Object) -> str:
    """The uid of that claim; "" for a volume that is kept for a claim of a name."""
    found: str = get_path(volume, "spec", "claimRef", "uid", default="")
    return found


def claim_reference(claim: Object) -> Object:
    """How a volume names its claim."""
    return {
        "kind": "PersistentVolumeClaim",
        "apiVersion": "v1",
        "namespace": namespace(claim),
        "name": name(claim),
        "uid": uid(claim),
        "resourceVersion": meta.resource_version(claim),
    }


def is_bound_to(volume: Object, claim: Object) -> bool:
    """Whether a volume says that it is this claim's, or is kept for one of its name."""
    same_name = claim_key(volume) == f"{namespace(claim)}/{name(claim)}"
    return same_name and claim_uid(volume) in ("", uid(claim))


def is_fully_bound(claim: Object) -> bool:
    """Whether a claim is bound to a volume from both sides."""
    return bool(get_path(claim, "spec", "volumeName")) and BIND_COMPLETED in meta.annotations(claim)


def why_unsatisfied(claim: Object, volume: Object) -> str:
    """Why a volume that a claim asks for by name is not what it asks for; "" if it is."""
    if deletion_requested(volume):
        return "the volume is marked for deletion"
    if size(volume) < requested(claim):
        return "requested PV is too small"
    if class_of(volume) != class_of(claim):
        return "storageClassName does not match"
    if _attributes_class(volume) != _attributes_class(claim):
        return "volumeAttributesClassName does not match"
    if mode(volume) != mode(claim):
        return "incompatible volumeMode"
    if not has_access_modes(claim, volume):
        return "incompatible accessMode"
    return ""


def _attributes_class(obj: Object) -> str:
    return get_path(obj, "spec", "volumeAttributesClassName", default="") or ""


def smallest_match(
    claim: Object,
    volumes: Iterable[Object],
    *,
    node_labels: Mapping[str, str] | None = None,
    but: Collection[str] = (),
    delay_binding: bool = False,
) -> Object | None:
    """The volume for a claim: the one that is kept for it, or the smallest that fits; None if there is none.

    With the labels of a node only what can be used there counts. Without them nothing new is bound to a claim whose
    binding is delayed. `but` are the names of volumes that are spoken for.
    """
    selector = selector_from_object(get_path(claim, "spec", "selector"))
    best: Object | None = None
    for volume in volumes:
        if name(volume) in but or deletion_requested(volume) or size(volume) < requested(claim):
            continue
        kept_for_claim = is_bound_to(volume, claim)
        if get_path(volume, "spec", "claimRef") is not None and not kept_for_claim:
            continue
        if mode(volume) != mode(claim) or _attributes_class(volume) != _attributes_class(claim):
            continue
        reachable = node_labels is None or is_reachable(volume, node_labels)
        if kept_for_claim:
            return volume if reachable else None
        if node_labels is None and delay_binding:
            continue
        if get_path(volume, "status", "phase") != "Available" or class_of(volume) != class_of(claim):
            continue
        if not reachable or not selector.matches(meta.labels(volume)) or not has_access_modes(claim, volume):
            continue
        if best is None or size(volume) < size(best):
            best = volume
    return best


def best_match(claim: Object, volumes: Iterable[Object], *, delay_binding: bool) -> Object | None:
    """As `smallest_match` without a node, and of volumes that can be used in few ways before those of many."""
    groups: dict[tuple[int, tuple[str, ...]], list[Object]] = {}
    for volume in volumes:
        if has_access_modes(claim, volume):
            modes = tuple(sorted(set(access_modes(volume))))
            groups.setdefault((len(modes), modes), []).append(volume)
    for _, group in sorted(groups.items(), key=lambda item: item[0]):
        found = smallest_match(claim, group, delay_binding=delay_binding)
        if found is not None:
            return found
    return None


def affinity_terms(volume: Object) -> Sequence[Mapping[str, Any]] | None:
    """The terms of which a node must meet one; None if the volume can be used anywhere."""
    required = get_path(volume, "spec", "nodeAffinity", "required")
    return None if required is None else required.get("nodeSelectorTerms") or ()


def is_reachable(volume: Object, node_labels: Mapping[str, str]) -> bool:
    """Whether a volume can be used on a node with these labels."""
    terms = affinity_terms(volume)
    return terms is None or any(_holds(term, node_labels) for term in terms)


def _holds(term: Mapping[str, Any], node_labels: Mapping[str, str]) -> bool:
    """A term about a node's fields (its name) is not about its labels, and is met by none; so is an empty one."""
    expressions = term.get("matchExpressions") or ()
    if not expressions or term.get("matchFields"):
        return False
    return all(
        Requirement(entry["key"], _OPERATORS[entry["operator"]], tuple(entry.get("values") or ())).matches(
            node_labels
        )
        for entry in expressions
    )


def is_local_path(volume: Object) -> bool:
    """Whether a volume is a folder that the built-in provisioner has promised."""
    return bool(get_path(volume, "spec", "csi", "driver") == LOCAL_PATH)


# Of pods: which claims they use.


def claim_name(pod: Object, volume: Mapping[str, Any]) -> str:
    """The claim that a volume of a pod is about: one of its own, or one that is made for the pod; "" if none."""
    if source := volume.get("persistentVolumeClaim"):
        found: str = source["claimName"]
        return found
    return f"{name(pod)}-{volume['name']}" if volume.get("ephemeral") is not None else ""


def is_for_pod(claim: Object, pod: Object) -> bool:
    """Whether a claim was made for this very pod."""
    return is_controlled_by(claim, pod) and namespace(claim) == namespace(pod)


def not_for_pod(claim: Object, pod: Object) -> str:
    """What is told when a claim of the right name was not."""
    where = namespace(pod)
    return f"PVC {where}/{name(claim)} was not created for pod {where}/{name(pod)} (pod is not owner)"
