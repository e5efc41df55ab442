"""What a request for a deletion does to an object: it goes, or it is marked and stays until nothing keeps it.

An object stays for its grace period, for its finalizers (among them `orphan` and `foregroundDeletion`, which the
garbage collector works on), and for what its strategy says. A later request can only shorten the grace period.

Sources: https://kubernetes.io/docs/concepts/overview/working-with-objects/finalizers/,
https://kubernetes.io/docs/concepts/architecture/garbage-collection/, k8s.io/apiserver/pkg/registry/rest/delete.go
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from apimachinery import schemas
from apimachinery.errors import bad_request, conflict, invalid
from apimachinery.field import FieldError, invalid_value, limited, not_supported
from apimachinery.meta import Object
from apimachinery.resources import Resource
from apimachinery.time import parse_rfc3339, rfc3339
from apiserver.registry.strategy import Strategy
from apiserver.request_info import is_true
from apiserver.rest.writing import ends_deletion

_DEFINITION = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
# The end of the year 9999, in seconds since 1970.
LATEST_SECONDS = 253_402_300_799
ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
_POLICIES = ("Background", "Foreground", "Orphan")


class DeleteOptions(NamedTuple):
    """How to delete. Without a grace period the object's own counts; `uid` and `resource_version` must match.

    `told_later`: a client that asks in an old way not to orphan dependents is told if the object is still there.
    """

    grace_period_seconds: int | None = None
    propagation_policy: str = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False
    told_later: bool = False


class Plan(NamedTuple):
    """The object after the request. `removed`: it goes with this as its last version; `changed`: it is written."""

    obj: Object
    removed: bool
    changed: bool


def read_options(document: Any, query: Mapping[str, str], *, dry_run: bool = False) -> DeleteOptions:
    """Options of a body (None if there is none: then those of the query). Raises ApiError 400 or 422."""
    said = _from_query(query) if document is None else document
    if not isinstance(said, dict) or said.get("kind", "DeleteOptions") != "DeleteOptions":
        raise bad_request("the body of a DELETE must be DeleteOptions")
    if wrong := schemas.validate_named(_DEFINITION, said, ""):
        raise bad_request(f"DeleteOptions: {', '.join(limited(wrong)[0])}")
    grace, orphan, policy = (said.get(k) for k in ("gracePeriodSeconds", "orphanDependents", "propagationPolicy"))
    preconditions = said.get("preconditions") or {}
    errors: list[FieldError] = []
    if policy is not None and orphan is not None:
        why = "orphanDependents and deletionPropagation cannot be both set"
        errors.append(invalid_value("propagationPolicy", policy, why))
    elif policy is not None and policy not in _POLICIES:
        errors.append(not_supported("propagationPolicy", policy, _POLICIES))
    dry_runs = said.get("dryRun") or []
    errors += [not_supported("dryRun", value, ["All"]) for value in dry_runs if value != "All"]
    if errors:
        raise invalid("meta.k8s.io", "DeleteOptions", "", errors)
    if orphan is not None:
        policy = "Orphan" if orphan else "Background"
    return DeleteOptions(
        # A negative period means the shortest one that is graceful.
        1 if grace is not None and grace < 0 else grace,
        policy or "",
        preconditions.get("uid") or "",
        preconditions.get("resourceVersion") or "",
        dry_run or bool(dry_runs),
        orphan is False,
    )


def _from_query(query: Mapping[str, str]) -> Object:
    found: Object = {}
    if grace := query.get("gracePeriodSeconds"):
        try:
            found["gracePeriodSeconds"] = int(grace)
        except ValueError:
            raise bad_request(f"gracePeriodSeconds: {grace!r} is no whole number") from None
    if policy := query.get("propagationPolicy"):
        found["propagationPolicy"] = policy
    if orphan := query.get("orphanDependents"):
        found["orphanDependents"] = is_true(orphan)
    if dry_run := query.get("dryRun"):
        found["dryRun"] = [dry_run]
    return found


def check_preconditions(resource: Resource, obj: Object, options: DeleteOptions) -> None:
    """Raises ApiError 409 if the object is not the one that was meant."""
    metadata = obj["metadata"]
    for said, actual, what, might in (
        (options.uid, metadata["uid"], "UID", "deleted and then recreated"),
        (options.resource_version, metadata["resourceVersion"], "ResourceVersion", "modified"),
    ):
        if said and said != actual:
            why = f"the {what} in the precondition ({said}) does not match the {what} in record ({actual})"
            kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
            raise conflict(kind, metadata["name"], f"{why}. The object might have been {might}")


def plan(strategy: Strategy, obj: Object, options: DeleteOptions, now: float) -> Plan:
    """What becomes of an object, which is a private copy and is changed."""
    metadata = obj["metadata"]
    if metadata.get("deletionTimestamp"):
        return _shorten(strategy, obj, options, now)
    have = metadata.get("finalizers") or []
    policy = options.propagation_policy
    if not policy and strategy.orphans_dependents and FOREGROUND not in have:
        policy = "Orphan"
    finalizers = _finalizers(have, policy)
    metadata.pop("finalizers", None)
    if finalizers:
        metadata["finalizers"] = finalizers
    # Later than calendars go nobody can tell the time, and what could not be told would not be deleted.
    grace = min(strategy.grace_period_seconds(obj, options.grace_period_seconds), int(LATEST_SECONDS - now))
    if not (grace or finalizers or strategy.kept(obj)):
        return Plan(obj, removed=True, changed=True)
    metadata["deletionTimestamp"] = rfc3339(now + grace)
    metadata["deletionGracePeriodSeconds"] = grace
    if metadata.get("generation"):
        metadata["generation"] += 1
    strategy.begin_deletion(obj)
    return Plan(obj, removed=False, changed=True)


def _shorten(strategy: Strategy, obj: Object, options: DeleteOptions, now: float) -> Plan:
    metadata = obj["metadata"]
    grace, wanted = metadata.get("deletionGracePeriodSeconds") or 0, options.grace_period_seconds
    changed = wanted is not None and wanted < grace
    if changed and wanted is not None:
        end = parse_rfc3339(metadata["deletionTimestamp"]) - grace + wanted
        if end < now and wanted:
            wanted = 1  # that long is over: what remains is the shortest period in which the end is still graceful
        metadata["deletionTimestamp"] = rfc3339(max(end, now))
        metadata["deletionGracePeriodSeconds"] = wanted
    removed = ends_deletion(strategy, obj)
    return Plan(obj, removed=removed, changed=changed or removed)


def _finalizers(have: list[str], policy: str) -> list[str]:
    """The finalizers with those of the garbage collector as the policy wants them; without one they stay."""
    if not policy:
        return have
    rest = [finalizer for finalizer in have if finalizer not in (ORPHAN, FOREGROUND)]
    wanted = {"Orphan": ORPHAN, "Foreground": FOREGROUND}.get(policy)
    return [*rest, wanted] if wanted else rest


def success(resource: Resource, obj: Object) -> Object:
    """The `Status` that tells that an object is gone."""
    details = {"name": obj["metadata"]["name"], "kind": resource.plural, "uid": obj["metadata"]["uid"]}
    if resource.group:
        details["group"] = resource.group
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
