"""What may be changed in a pod once it is there: very little of its spec, and its status with some care.

Source: kubernetes/pkg/apis/core/validation/validation.go (ValidatePodUpdate, ValidatePodStatusUpdate).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apimachinery import meta
from apimachinery.field import forbidden_field, invalid_value
from apimachinery.meta import Object
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.equality import differences, equal, immutable
from apiserver.registry.pod_spec import MIRROR

_UPDATABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only "
    "additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
    "previously negative)"
)
_SYSTEM_CONDITIONS = ("PodScheduled", "Ready", "Initialized")
_NODE_TERMS = ("affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")


def validate_pod_update(pod: Object, old: Object) -> Errors:
    """What may not be changed, besides what is wrong in itself."""
    errors: Errors = []
    _validate_annotations(pod, old, errors)
    spec, before = pod.get("spec") or {}, old.get("spec") or {}
    for key in ("containers", "initContainers"):
        if not _same_containers(spec.get(key) or (), before.get(key) or (), f"spec.{key}", errors):
            return errors
    if not _validate_deadline(spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds"), errors):
        return errors
    _validate_tolerations(spec.get("tolerations") or (), before.get("tolerations") or (), errors)
    _validate_gates(spec.get("schedulingGates") or (), before.get("schedulingGates") or (), errors)
    if equal(spec, before):
        return errors
    rest = _without_updatable(spec, before)
    if before.get("schedulingGates"):
        _allow_narrowing(rest, before, errors)
    if not equal(rest, before):
        changed = differences(before, rest, "spec")
        why = f"pod updates may not change fields other than {_UPDATABLE}\n{changed}"
        errors.append(forbidden_field("spec", why))
    return errors


def _validate_annotations(pod: Object, old: Object, errors: Errors) -> None:
    new, before = meta.annotations(pod).get(MIRROR), meta.annotations(old).get(MIRROR)
    if before is not None and new != before:
        why = "may not remove or update mirror pod annotation"
        errors.append(forbidden_field(f"metadata.annotations[{MIRROR}]", why))
    if before is None and new is not None:
        errors.append(forbidden_field(f"metadata.annotations[{MIRROR}]", "may not add mirror pod annotation"))


def _same_containers(new: Sequence[Fields], old: Sequence[Fields], path: str, errors: Errors) -> bool:
    """False if the containers are not the same ones, so that nothing else can be compared."""
    if len(new) != len(old):
        errors.append(forbidden_field(path, "pod updates may not add or remove containers"))
        return False
    return True


def _validate_deadline(new: int | None, old: int | None, errors: Errors) -> bool:
    path = "spec.activeDeadlineSeconds"
    if new is None:
        if old is not None:
            errors.append(invalid_value(path, None, "must not update from a positive integer to nil value"))
        return True
    before = len(errors)
    checks.in_range(new, 0, checks.INT32_MAX, path, errors)
    if len(errors) == before and old is not None and old < new:
        errors.append(invalid_value(path, new, "must be less than or equal to previous value"))
    return len(errors) == before


def _validate_tolerations(new: Sequence[Fields], old: Sequence[Fields], errors: Errors) -> None:
    for toleration in old:
        wanted = {**toleration, "tolerationSeconds": None}
        if not any(equal({**other, "tolerationSeconds": None}, wanted) for other in new):
            why = "existing toleration can not be modified except its tolerationSeconds"
            errors.append(forbidden_field("spec.tolerations", why))
            return


def _validate_gates(new: Sequence[Fields], old: Sequence[Fields], errors: Errors) -> None:
    known = {gate.get("name") for gate in old}
    for number, gate in enumerate(new):
        if gate.get("name") not in known:
            why = f"only deletion is allowed, but found new scheduling gate '{gate.get('name')}'"
            errors.append(forbidden_field(f"spec.schedulingGates[{number}].name", why))


def _without_updatable(spec: Fields, old: Fields) -> dict[str, Any]:
    """The new spec with what may be changed as it was: what still differs is forbidden."""
    rest = dict(spec)
    for key in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
        rest[key] = old.get(key)
    for key in ("containers", "initContainers"):
        if spec.get(key):
            pairs = zip(spec[key], old[key], strict=True)
            rest[key] = [{**container, "image": before.get("image")} for container, before in pairs]
    if (old.get("terminationGracePeriodSeconds") or 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        rest["terminationGracePeriodSeconds"] = old["terminationGracePeriodSeconds"]
    return rest


def _allow_narrowing(rest: dict[str, Any], old: Fields, errors: Errors) -> None:
    """A pod that is held back by gates may be told more about the nodes it wants, never less."""
    selector, before = rest.get("nodeSelector") or {}, old.get("nodeSelector") or {}
    if any(selector.get(key) != value for key, value in before.items()):
        why = "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
        errors.append(invalid_value("spec.nodeSelector", selector, why))
    rest["nodeSelector"] = old.get("nodeSelector")
    new_terms, old_terms = _terms(rest), _terms(old)
    path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
    if old_terms and len(old_terms) != len(new_terms):
        why = "no additions/deletions to non-empty NodeSelectorTerms list are allowed"
        errors.append(invalid_value(path, new_terms, why))
    else:
        for number, (term, was) in enumerate(zip(new_terms, old_terms, strict=False)):
            if not _only_adds(term, was):
                why = "only additions are allowed (no mutations or deletions)"
                errors.append(invalid_value(f"{path}[{number}]", term, why))
    affinity, was_affinity = dict(rest.get("affinity") or {}), old.get("affinity") or {}
    affinity["nodeAffinity"] = was_affinity.get("nodeAffinity")
    rest["affinity"] = affinity


def _terms(spec: Fields) -> list[Fields]:
    found: Any = spec
    for step in _NODE_TERMS:
        found = (found or {}).get(step)
    return found or []


def _only_adds(term: Fields, old: Fields) -> bool:
    if not (old.get("matchExpressions") or old.get("matchFields")):
        return not (term.get("matchExpressions") or term.get("matchFields"))
    for key in ("matchExpressions", "matchFields"):
        before = old.get(key) or []
        if not equal((term.get(key) or [])[: len(before)], before):
            return False
    return True


def validate_pod_status(pod: Object, old: Object) -> Errors:
    """What the status of a pod may become."""
    errors: Errors = []
    status, before, spec = pod.get("status") or {}, old.get("status") or {}, old.get("spec") or {}
    for number, condition in enumerate(status.get("conditions") or ()):
        kind = condition.get("type") or ""
        if (condition.get("observedGeneration") or 0) < 0:
            at = f"status.conditions[{number}].observedGeneration"
            errors.append(invalid_value(at, condition["observedGeneration"], "must be a non-negative integer"))
        if kind not in _SYSTEM_CONDITIONS:
            checks.qualified_name(kind, f"status.conditions[{number}].Type", errors)
    nominated = status.get("nominatedNodeName")
    if nominated and nominated != before.get("nominatedNodeName"):
        checks.dns_subdomain(nominated, "status.nominatedNodeName", errors)
        if spec.get("nodeName"):
            why = "may not be set on pods that are already bound to a node"
            errors.append(forbidden_field("status.nominatedNodeName", why))
    immutable(status.get("qosClass"), before.get("qosClass"), "status.qosClass", errors)
    for key in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        _validate_transitions(status.get(key) or (), before.get(key) or (), key, spec, errors)
    for key in ("podIPs", "hostIPs"):
        _validate_addresses([address.get("ip") or "" for address in status.get(key) or ()], f"status.{key}", errors)
    hosts = status.get("hostIPs") or ()
    if hosts and hosts[0].get("ip") != status.get("hostIP"):
        errors.append(invalid_value("status.hostIPs[0].ip", hosts[0].get("ip"), "must be equal to `hostIP`"))
    return errors


def _validate_transitions(
    new: Sequence[Fields], old: Sequence[Fields], key: str, spec: Fields, errors: Errors
) -> None:
    """A container that has ended for good doesn't run again."""
    running = {status.get("name") for status in new if (status.get("state") or {}).get("terminated") is None}
    for number, status in enumerate(old):
        ended = (status.get("state") or {}).get("terminated")
        if ended is None or status.get("name") not in running:
            continue
        if not _may_restart(status.get("name"), ended.get("exitCode") or 0, key, spec):
            why = "may not be transitioned to non-terminated state"
            errors.append(forbidden_field(f"status.{key}[{number}].state", why))


def _may_restart(name: str | None, exit_code: int, key: str, spec: Fields) -> bool:
    if key == "ephemeralContainerStatuses":
        return False
    lists = ("containers", "initContainers")
    container: Fields = next((c for part in lists for c in spec.get(part) or () if c.get("name") == name), {})
    for rule in container.get("restartPolicyRules") or ():
        codes = rule.get("exitCodes") or {}
        if (exit_code in (codes.get("values") or ())) == (codes.get("operator") == "In"):
            return bool(rule.get("action") == "Restart")
    policy = container.get("restartPolicy") or spec.get("restartPolicy")
    return policy == "Always" or (policy == "OnFailure" and exit_code != 0)


def _validate_addresses(addresses: list[str], path: str, errors: Errors) -> None:
    for number, address in enumerate(addresses):
        checks.ip_address(address, f"{path}[{number}]", errors)
    if len(addresses) > 1 and not checks.one_of_each_family(addresses):
        errors.append(invalid_value(path, addresses, "may specify no more than one IP for each IP family"))
