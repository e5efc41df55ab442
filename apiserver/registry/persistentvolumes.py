"""PersistentVolumes.

Source: kubernetes/pkg/apis/core/validation/validation.go (ValidatePersistentVolumeSpec), the printers.
"""

from __future__ import annotations

import posixpath

from apimachinery.field import forbidden_field, invalid_value, not_supported, required
from apimachinery.meta import Object, get_path
from apimachinery.resources import PERSISTENTVOLUMES
from apiserver.registry import amounts, checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.claims import VOLUME_MODES, validate_access_modes
from apiserver.registry.equality import differences, equal, immutable
from apiserver.registry.persistentvolumeclaims import ATTRIBUTES_CLASS, CLASS, VOLUME_MODE, modes_text, phase
from apiserver.registry.pod_scheduling import validate_node_selector
from apiserver.registry.pod_volumes import KINDS, validate_driver, validate_source
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy, keep_spec

_SOURCES = (*KINDS, "local")
_POLICIES = ("Delete", "Recycle", "Retain")
_SECRETS = (
    *("controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"),
    "nodeStageSecretRef",
)


def default(volume: Object) -> None:
    """A file system that is kept when its claim goes."""
    spec = volume.setdefault("spec", {})
    if not spec.get("persistentVolumeReclaimPolicy"):
        spec["persistentVolumeReclaimPolicy"] = "Retain"
    if spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"
    if spec.get("hostPath") is not None and spec["hostPath"].get("type") is None:
        spec["hostPath"]["type"] = ""
    status = volume["status"] = volume.get("status") or {}
    if not status.get("phase"):
        status["phase"] = "Pending"


def prepare_create(volume: Object) -> None:
    """Not yet looked at, from its first moment on."""
    since = volume["metadata"].get("creationTimestamp")
    volume["status"] = {"phase": "Pending", **({"lastPhaseTransitionTime": since} if since else {})}


def validate(volume: Object) -> Errors:
    """What is wrong with a volume in itself."""
    errors: Errors = []
    spec = volume.get("spec") or {}
    modes, capacity = spec.get("accessModes") or (), spec.get("capacity") or {}
    if not modes:
        errors.append(required("spec.accessModes"))
    validate_access_modes(modes, "spec.accessModes", errors)
    if not capacity:
        errors.append(required("spec.capacity"))
    if set(capacity) != {"storage"}:
        errors.append(not_supported("spec.capacity", capacity, ("storage",)))
    for name, value in capacity.items():
        found = amounts.amount(value)
        if found is not None and found.nanos <= 0:
            errors.append(invalid_value(f"spec.capacity[{name}]", value, checks.NOT_POSITIVE))
    policy = spec.get("persistentVolumeReclaimPolicy")
    checks.optional_choice(policy, _POLICIES, "spec.persistentVolumeReclaimPolicy", errors)
    affinity = spec.get("nodeAffinity")
    if affinity is not None:
        if affinity.get("required") is None:
            errors.append(required("spec.nodeAffinity.required", "must specify required node constraints"))
        else:
            validate_node_selector(affinity["required"], "spec.nodeAffinity.required", errors)
    _validate_source(spec, errors)
    path = get_path(spec, "hostPath", "path")
    if path is not None and posixpath.normpath(path) == "/" and policy == "Recycle":
        why = "may not be 'recycle' for a hostPath mount of '/'"
        errors.append(forbidden_field("spec.persistentVolumeReclaimPolicy", why))
    if spec.get("storageClassName"):
        checks.dns_subdomain(spec["storageClassName"], "spec.storageClassName", errors)
    checks.optional_choice(spec.get("volumeMode"), VOLUME_MODES, "spec.volumeMode", errors)
    name = spec.get("volumeAttributesClassName")
    if name is not None:
        if not name:
            errors.append(required("spec.volumeAttributesClassName", "an empty string is disallowed"))
        else:
            checks.dns_subdomain(name, "spec.volumeAttributesClassName", errors)
        if spec.get("csi") is None:
            errors.append(required("spec.csi", "has to be specified when using volumeAttributesClassName"))
    return errors


def _validate_source(spec: Fields, errors: Errors) -> None:
    set_here = [kind for kind in _SOURCES if spec.get(kind) is not None]
    if not set_here:
        errors.append(required("spec", "must specify a volume type"))
        return
    first = set_here[0]
    source, path = spec[first], f"spec.{first}"
    if first == "local":
        if not source.get("path"):
            errors.append(required(f"{path}.path"))
        checks.no_backsteps(source.get("path") or "", f"{path}.path", errors)
        if spec.get("nodeAffinity") is None:
            errors.append(required("spec.nodeAffinity", "Local volume requires node affinity"))
    elif first == "csi":
        _validate_csi(source, path, errors)
    else:
        validate_source(first, source, path, errors, in_pod=True)
    why = "may not specify more than 1 volume type"
    errors += [forbidden_field(f"spec.{kind}", why) for kind in set_here[1:]]


def _validate_csi(source: Fields, path: str, errors: Errors) -> None:
    validate_driver(source.get("driver") or "", f"{path}.driver", errors)
    if not source.get("volumeHandle"):
        errors.append(required(f"{path}.volumeHandle"))
    for field in _SECRETS:
        secret = source.get(field)
        if secret is not None:
            checks.required_name(secret.get("name"), checks.dns_subdomain, f"{path}.{field}.name", errors)
            checks.required_name(secret.get("namespace"), checks.dns_label, f"{path}.{field}.namespace", errors)


def validate_update(volume: Object, old: Object) -> Errors:
    """Where the data is stays."""
    errors: Errors = []
    spec, before = volume.get("spec") or {}, old.get("spec") or {}
    source = {kind: spec.get(kind) for kind in _SOURCES if spec.get(kind) is not None}
    was = {kind: before.get(kind) for kind in _SOURCES if before.get(kind) is not None}
    if not equal(source, was):
        changed = differences(was, source, "spec")
        why = f"spec.persistentvolumesource is immutable after creation\n{changed}"
        errors.append(forbidden_field("spec.persistentvolumesource", why))
    immutable(spec.get("volumeMode"), before.get("volumeMode"), "volumeMode", errors)
    if before.get("nodeAffinity") is not None and not equal(spec.get("nodeAffinity"), before["nodeAffinity"]):
        why = "field is immutable, except for updating from beta label to GA"
        errors.append(invalid_value("nodeAffinity", spec.get("nodeAffinity"), why))
    if before.get("volumeAttributesClassName") is not None and spec.get("volumeAttributesClassName") is None:
        why = "update from non-nil value to nil is forbidden"
        errors.append(forbidden_field("spec.volumeAttributesClassName", why))
    return errors


def _capacity(volume: Object) -> Cell:
    found: str = get_path(volume, "spec", "capacity", "storage", default="0")
    return found


def _modes(volume: Object) -> Cell:
    return modes_text(get_path(volume, "spec", "accessModes"))


def _policy(volume: Object) -> Cell:
    found: str = get_path(volume, "spec", "persistentVolumeReclaimPolicy", default="")
    return found


def _claim(volume: Object) -> Cell:
    claim = get_path(volume, "spec", "claimRef")
    return "" if claim is None else f"{claim.get('namespace') or ''}/{claim.get('name') or ''}"


def _reason(volume: Object) -> Cell:
    found: str = get_path(volume, "status", "reason", default="")
    return found


STRATEGY = Strategy(
    PERSISTENTVOLUMES,
    default=default,
    prepare_create=prepare_create,
    prepare_status=keep_spec,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column("Capacity", _capacity, description="Its size."),
        Column("Access Modes", _modes, description="How many nodes or pods may use it at a time."),
        Column("Reclaim Policy", _policy, description="What becomes of it when its claim goes."),
        Column("Status", phase, description="Whether it is bound to a claim."),
        Column("Claim", _claim, description="The claim that it is bound to."),
        CLASS,
        ATTRIBUTES_CLASS,
        Column("Reason", _reason, description="Why it is in this state."),
        AGE,
        VOLUME_MODE,
    ),
)
