"""Who the pods of a StatefulSet are: names, ordinals, labels, and the volumes that are theirs alone.

A pod is called after its set and its ordinal, and so are its claims; whoever takes its place is the same to its
peers and finds the same data. All functions are pure.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/#pod-identity
"""

from __future__ import annotations

import re
from typing import Any

from apimachinery.meta import Object, get_path, labels, name, namespace, owner_reference
from apimachinery.resources import STATEFULSETS
from controllers.controller_history import REVISION_LABEL

POD_NAME_LABEL = "statefulset.kubernetes.io/pod-name"
POD_INDEX_LABEL = "apps.kubernetes.io/pod-index"
KIND = {"apiVersion": STATEFULSETS.api_version, "kind": STATEFULSETS.kind}
_POD_NAME = re.compile(r"(.*)-([0-9]+)")
_ORDINAL_MAX = 2**31 - 1


def parent_and_ordinal(pod_name: str) -> tuple[str, int]:
    """(name of the set, ordinal) that a pod's name says; ("", -1) if it says none."""
    found = _POD_NAME.fullmatch(pod_name)
    if found is None:
        return "", -1
    number = int(found[2])
    return found[1], number if number <= _ORDINAL_MAX else -1


def ordinal(pod: Object) -> int:
    """The ordinal that the pod's name says; -1 if it says none."""
    return parent_and_ordinal(name(pod))[1]


def is_member(stateful_set: Object, pod: Object) -> bool:
    """True if the pod is called as one of the set's."""
    return parent_and_ordinal(name(pod))[0] == name(stateful_set)


def pod_name(stateful_set: Object, number: int) -> str:
    """The name of the pod with this ordinal."""
    return f"{name(stateful_set)}-{number}"


def claim_name(stateful_set: Object, template: Object, number: int) -> str:
    """The name of the claim that the pod with this ordinal has of a claim template."""
    return f"{template['metadata']['name']}-{name(stateful_set)}-{number}"


def claim_templates(stateful_set: Object) -> list[Object]:
    """`spec.volumeClaimTemplates`; never None."""
    found: list[Object] = get_path(stateful_set, "spec", "volumeClaimTemplates", default=[])
    return found


def start(stateful_set: Object) -> int:
    """The lowest ordinal."""
    return int(get_path(stateful_set, "spec", "ordinals", "start", default=0))


def replicas(stateful_set: Object) -> int:
    """`spec.replicas`."""
    return int(get_path(stateful_set, "spec", "replicas", default=1))


def in_range(stateful_set: Object, number: int) -> bool:
    """True if the set is to have a pod with this ordinal."""
    return start(stateful_set) <= number < start(stateful_set) + replicas(stateful_set)


def revision_of(pod: Object) -> str:
    """The name of the revision that the pod is of, or ""."""
    return labels(pod).get(REVISION_LABEL, "")


def identity_labels(stateful_set: Object, number: int) -> dict[str, str]:
    """The labels by which a pod can be told from the others of its set."""
    return {POD_NAME_LABEL: pod_name(stateful_set, number), POD_INDEX_LABEL: str(number)}


def identity_matches(stateful_set: Object, pod: Object) -> bool:
    """True if the pod carries the label with its name; a pod that was adopted may not."""
    return is_member(stateful_set, pod) and labels(pod).get(POD_NAME_LABEL) == name(pod)


def claim_volumes(stateful_set: Object, number: int) -> list[dict[str, Any]]:
    """The volumes of the pod with this ordinal that are its claims."""
    return [
        {
            "name": template["metadata"]["name"],
            "persistentVolumeClaim": {"claimName": claim_name(stateful_set, template, number)},
        }
        for template in claim_templates(stateful_set)
    ]


def storage_matches(stateful_set: Object, pod: Object) -> bool:
    """True if the pod's volumes are the claims that are its own."""
    volumes = {volume["name"]: volume for volume in get_path(pod, "spec", "volumes", default=())}
    return all(
        get_path(volumes.get(wanted["name"]), "persistentVolumeClaim", "claimName")
        == wanted["persistentVolumeClaim"]["claimName"]
        for wanted in claim_volumes(stateful_set, ordinal(pod))
    )


def new_pod(stateful_set: Object, number: int, revision: str) -> Object:
    """The pod with this ordinal, by the template that the set has (or had, at the revision with this name)."""
    template = stateful_set["spec"]["template"]
    metadata = template.get("metadata") or {}
    kept = {key: metadata[key] for key in ("annotations", "finalizers") if metadata.get(key)}
    named = pod_name(stateful_set, number)
    own = {**identity_labels(stateful_set, number), REVISION_LABEL: revision}
    spec = {**template["spec"], "hostname": named}
    if service := stateful_set["spec"].get("serviceName"):
        spec["subdomain"] = service
    if claimed := claim_volumes(stateful_set, number):
        taken = {volume["name"] for volume in claimed}
        spec["volumes"] = [*claimed, *(one for one in spec.get("volumes") or () if one["name"] not in taken)]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **kept,
            "name": named,
            "namespace": namespace(stateful_set),
            "labels": {**(metadata.get("labels") or {}), **own},
            "ownerReferences": [owner_reference({**stateful_set, **KIND})],
        },
        "spec": spec,
    }
