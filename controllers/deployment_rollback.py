"""A rollback that an annotation asks for, as clients of the first versions of the API do: pure.

`deprecated.deployment.rollback.to` names a revision, or 0 for the one before the current. The Deployment gets that
revision's template and annotations and loses the request, whatever has become of it. (`kubectl rollout undo` writes
the earlier template itself.)

Source: https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#rolling-back-a-deployment and
`rollbackTo` of extensions/v1beta1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from apimachinery import meta
from apimachinery.meta import Object, deletion_requested, get_path, name
from controllers import deployment_revision as revisions
from controllers.deployment_revision import ROLLBACK_TO
from controllers.requests import replacing

_NUMBER = re.compile(r"[+-]?[0-9]+")


@dataclass(frozen=True, slots=True)
class Rollback:
    """The merge patch for the Deployment, and the event that tells of it."""

    patch: Object
    type: str
    reason: str
    message: str


def plan_rollback(deployment: Object, replica_sets: Sequence[Object]) -> Rollback | None:
    """What becomes of the request; None if there is none that is due. One that is paused does not roll back."""
    text = meta.annotations(deployment).get(ROLLBACK_TO, "")
    if not _NUMBER.fullmatch(text) or deletion_requested(deployment) or get_path(deployment, "spec", "paused"):
        return None
    new, old = revisions.split(deployment, replica_sets)
    current = max(revisions.next_revision(old), revisions.revision(new) if new is not None else 0)
    wanted = int(text) or _last_before(current, old)
    if wanted == 0:
        return _given_up("Unable to find last revision.")
    if wanted == current:
        message = f'The rollback revision contains the same template as current deployment "{name(deployment)}"'
        return Rollback(_clearing(), "Warning", "DeploymentRollbackTemplateUnchanged", message)
    found = next((one for one in old if revisions.revision(one) == wanted), None)
    if found is None:
        return _given_up("Unable to find the revision to rollback to.")
    message = f'Rolled back deployment "{name(deployment)}" to revision {wanted}'
    return Rollback(_returning(deployment, found), "Normal", "DeploymentRollback", message)


def _last_before(current: int, old: Sequence[Object]) -> int:
    return max((number for one in old if (number := revisions.revision(one)) < current), default=0)


def _given_up(message: str) -> Rollback:
    return Rollback(_clearing(), "Warning", "DeploymentRollbackRevisionNotFound", message)


def _clearing() -> Object:
    return {"metadata": {"annotations": {ROLLBACK_TO: None}}}


def _returning(deployment: Object, replica_set: Object) -> Object:
    """The template and what was noted down of it; else the next pass would give the old revision today's notes."""
    known = meta.annotations(deployment)
    kept = {key: value for key, value in known.items() if key in revisions.OWN_ANNOTATIONS and key != ROLLBACK_TO}
    wanted = {**kept, **revisions.handed_on(replica_set)}
    template = replacing(deployment["spec"]["template"], revisions.without_hash(replica_set["spec"]["template"]))
    return {"metadata": {"annotations": replacing(known, wanted)}, "spec": {"template": template}}
