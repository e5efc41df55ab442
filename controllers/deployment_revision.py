"""Revisions of a Deployment: its ReplicaSets, one for each pod template that it has had.

The current template's ReplicaSet is the new one. It carries the highest revision number, so that going back to an
earlier template (which is all that a rollback is) makes the earlier ReplicaSet the newest revision again.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#checking-rollout-history-of-a-deployment
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import orjson

from apimachinery import meta
from apimachinery.meta import (
    Object,
    deletion_requested,
    get_path,
    name,
    namespace,
    owner_reference,
)
from apimachinery.resources import DEPLOYMENTS, REPLICASETS
from controllers.deployment_rollout import DESIRED_REPLICAS, MAX_REPLICAS, limits, replicas
from controllers.pods import created

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
ROLLBACK_TO = "deprecated.deployment.rollback.to"
HASH_LABEL = "pod-template-hash"
KIND = {"apiVersion": DEPLOYMENTS.api_version, "kind": DEPLOYMENTS.kind}
_HISTORY_CHARACTERS_MAX = 2000
# These describe one object and are not handed on from a Deployment to its ReplicaSets.
OWN_ANNOTATIONS = (
    "kubectl.kubernetes.io/last-applied-configuration",
    ROLLBACK_TO,
    REVISION,
    REVISION_HISTORY,
    DESIRED_REPLICAS,
    MAX_REPLICAS,
)
# Kubernetes' alphabet without vowels and look-alikes, so that no hash spells a word.
_SAFE_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
_NAME_CHARACTERS_MAX = 253


def template_hash(template: Object, collision_count: int) -> str:
    """A name for a pod template, the same for the same template; collisions are counted on."""
    text = orjson.dumps([template, collision_count or None], option=orjson.OPT_SORT_KEYS)
    number = int.from_bytes(hashlib.blake2b(text, digest_size=4).digest())
    return "".join(_SAFE_ALPHABET[ord(digit) % len(_SAFE_ALPHABET)] for digit in str(number))


def same_template(one: Object, other: Object) -> bool:
    """True if two pod templates differ in nothing but the hash label."""
    return _without_hash(one) == _without_hash(other)


def _without_hash(template: Object) -> Object:
    metadata = dict(template.get("metadata") or {})
    labels = {key: value for key, value in (metadata.pop("labels", None) or {}).items() if key != HASH_LABEL}
    return {"labels": labels, "metadata": {k: v for k, v in metadata.items() if v}, "spec": template["spec"]}


def without_hash(template: Object) -> Object:
    """A ReplicaSet's template as its Deployment had it."""
    metadata = template.get("metadata") or {}
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != HASH_LABEL}
    return {**template, "metadata": {**metadata, "labels": labels}}


def split(deployment: Object, replica_sets: Iterable[Object]) -> tuple[Object | None, list[Object]]:
    """(the ReplicaSet of the current template, all others); of several with that template the oldest counts."""
    ordered = sorted(replica_sets, key=lambda rs: (created(rs), name(rs)))
    template = deployment["spec"]["template"]
    new = next((rs for rs in ordered if same_template(rs["spec"]["template"], template)), None)
    return new, [rs for rs in ordered if rs is not new]


def revision(obj: Object) -> int:
    """The revision that an object carries; 0 if none."""
    text = meta.annotations(obj).get(REVISION, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def next_revision(old: Iterable[Object]) -> int:
    """The number of the new ReplicaSet's revision: one more than all older ones'."""
    return max(map(revision, old), default=0) + 1


def new_replica_set(deployment: Object, number: int) -> Object:
    """The ReplicaSet of the current template, with no pods yet: its size is planned as any other's."""
    spec = deployment["spec"]
    template = spec["template"]
    collisions = get_path(deployment, "status", "collisionCount", default=0)
    digest = template_hash(template, collisions)
    labels = {**get_path(template, "metadata", "labels", default={}), HASH_LABEL: digest}
    selector = spec["selector"]
    metadata = {
        "name": f"{name(deployment)[: _NAME_CHARACTERS_MAX - len(digest) - 1]}-{digest}",
        "namespace": namespace(deployment),
        "labels": labels,
        "annotations": {**handed_on(deployment), REVISION: str(number), **size_annotations(deployment)},
        "ownerReferences": [owner_reference({**deployment, **KIND})],
    }
    return {
        "apiVersion": REPLICASETS.api_version,
        "kind": REPLICASETS.kind,
        "metadata": metadata,
        "spec": {
            "replicas": 0,
            "minReadySeconds": spec.get("minReadySeconds", 0),
            "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), HASH_LABEL: digest}},
            "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}},
        },
    }


def size_annotations(deployment: Object) -> dict[str, str]:
    """What a ReplicaSet is told of the size that it is part of: proportional scaling starts from these."""
    wanted = replicas(deployment)
    return {DESIRED_REPLICAS: str(wanted), MAX_REPLICAS: str(wanted + limits(deployment)[0])}


def handed_on(deployment: Object) -> dict[str, str]:
    """The Deployment's annotations that its ReplicaSets carry too (`kubernetes.io/change-cause`, for one)."""
    return {key: value for key, value in meta.annotations(deployment).items() if key not in OWN_ANNOTATIONS}


def current_annotations(deployment: Object, new: Object, number: int) -> dict[str, str]:
    """The annotations that an existing ReplicaSet must carry as the newest revision.

    A ReplicaSet that becomes the newest again (a rollback) remembers the numbers that it had before.
    """
    wanted = {**meta.annotations(new), **handed_on(deployment)}
    before = revision(new)
    if before < number:
        wanted[REVISION] = str(number)
        if before > 0:
            history = [*filter(None, wanted.get(REVISION_HISTORY, "").split(",")), str(before)]
            while len(",".join(history)) > _HISTORY_CHARACTERS_MAX:
                del history[0]
            wanted[REVISION_HISTORY] = ",".join(history)
    return wanted


def outlived(deployment: Object, old: Sequence[Object]) -> list[Object]:
    """Old ReplicaSets beyond `revisionHistoryLimit` that have no pods: the lowest revisions first."""
    limit = get_path(deployment, "spec", "revisionHistoryLimit", default=10)
    living = sorted((rs for rs in old if not deletion_requested(rs)), key=lambda rs: (revision(rs), created(rs)))
    return [rs for rs in living[: max(0, len(living) - limit)] if _is_empty(rs)]


def _is_empty(replica_set: Object) -> bool:
    observed = get_path(replica_set, "status", "observedGeneration", default=0)
    idle = replicas(replica_set) == 0 and get_path(replica_set, "status", "replicas", default=0) == 0
    return idle and replica_set["metadata"].get("generation", 0) <= observed
