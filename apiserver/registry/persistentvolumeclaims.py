"""PersistentVolumeClaims.

Source: kubernetes/pkg/apis/core/validation/validation.go (ValidatePersistentVolumeClaimUpdate), the printers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from apimachinery import meta
from apimachinery.field import forbidden_field
from apimachinery.meta import Object, deletion_requested, get_path
from apimachinery.pod_defaults import default_claim_spec
from apimachinery.resources import PERSISTENTVOLUMECLAIMS
from apiserver.registry import amounts
from apiserver.registry.checks import Errors
from apiserver.registry.claims import validate_claim_spec
from apiserver.registry.equality import differences, equal, immutable
from apiserver.registry.strategy import AGE, NAME, Cell, Column, Strategy, keep_spec

UNSET = "<unset>"
CLASS_ANNOTATION = "volume.beta.kubernetes.io/storage-class"
_SHORT_MODES = (
    ("ReadWriteOnce", "RWO"),
    ("ReadOnlyMany", "ROX"),
    ("ReadWriteMany", "RWX"),
    ("ReadWriteOncePod", "RWOP"),
)


def default(claim: Object) -> None:
    """A file system, not yet bound."""
    spec = claim.setdefault("spec", {})
    default_claim_spec(spec)
    status = claim["status"] = claim.get("status") or {}
    if not status.get("phase"):
        status["phase"] = "Pending"
    # The newer of two names of one field; the older knows no other namespaces.
    if spec.get("dataSource") and not spec.get("dataSourceRef"):
        spec["dataSourceRef"] = dict(spec["dataSource"])
    elif spec.get("dataSourceRef") and not spec.get("dataSource") and not spec["dataSourceRef"].get("namespace"):
        spec["dataSource"] = dict(spec["dataSourceRef"])


def prepare_create(claim: Object) -> None:
    """Not yet bound."""
    claim["status"] = {"phase": "Pending"}


def validate(claim: Object) -> Errors:
    """What is wrong with a claim in itself."""
    errors: Errors = []
    validate_claim_spec(claim.get("spec") or {}, "spec", errors)
    return errors


def validate_update(claim: Object, old: Object) -> Errors:
    """Once made a claim may be bound, and grow when it is."""
    errors: Errors = []
    spec, before = claim.get("spec") or {}, old.get("spec") or {}
    rest: dict[str, Any] = dict(spec)
    was: dict[str, Any] = dict(before)
    if not before.get("volumeName"):
        was["volumeName"] = spec.get("volumeName")
    if before.get("storageClassName") is None:
        was["storageClassName"] = spec.get("storageClassName")
    asked, had = _storage(spec), _storage(before)
    if get_path(claim, "status", "phase") == "Bound":
        requests = {**get_path(spec, "resources", "requests", default={}), "storage": had}
        rest["resources"] = {**(spec.get("resources") or {}), "requests": requests}
        rest["volumeAttributesClassName"] = before.get("volumeAttributesClassName")
    if not equal(rest, was):
        why = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound "
            f"claims\n{differences(was, rest, 'spec')}"
        )
        errors.append(forbidden_field("spec", why))
    new_size, old_size = amounts.amount(asked), amounts.amount(had)
    if new_size is not None and old_size is not None and new_size.nanos < old_size.nanos:
        capacity = amounts.amount(get_path(old, "status", "capacity", "storage", default="0"))
        if capacity is not None and new_size.nanos <= capacity.nanos:
            why = "field can not be less than status.capacity"
            errors.append(forbidden_field("spec.resources.requests.storage", why))
    immutable(spec.get("volumeMode"), before.get("volumeMode"), "volumeMode", errors)
    return errors


def _storage(spec: Any) -> str:
    found: str = get_path(spec, "resources", "requests", "storage", default="0")
    return found


def validate_status(claim: Object, old: Object) -> Errors:
    """Amounts that are some."""
    errors: Errors = []
    for field in ("capacity", "allocatedResources"):
        for name, value in get_path(claim, "status", field, default={}).items():
            amounts.quantity(name, value, f"status.{field}[{name}]", errors)
    return errors


def modes_text(modes: Sequence[str] | None) -> str:
    """`RWO,ROX`."""
    return ",".join(short for mode, short in _SHORT_MODES if mode in (modes or ()))


def storage_class(obj: Object) -> Cell:
    """The class of a claim or volume, in its older place or its newer one."""
    beta = meta.annotations(obj).get(CLASS_ANNOTATION)
    found: str = beta if beta is not None else get_path(obj, "spec", "storageClassName", default="")
    return found


def phase(obj: Object) -> Cell:
    """The phase of a claim or volume, or that it is being deleted."""
    if deletion_requested(obj):
        return "Terminating"
    found: str = get_path(obj, "status", "phase", default="")
    return found


def optional(field: str) -> Any:
    """The cell of a field of the spec that may be unset."""

    def cell(obj: Object) -> Cell:
        found: str = get_path(obj, "spec", field, default=UNSET)
        return found

    return cell


def _volume(claim: Object) -> Cell:
    found: str = get_path(claim, "spec", "volumeName", default="")
    return found


def _capacity(claim: Object) -> Cell:
    if not _volume(claim):
        return ""
    found: str = get_path(claim, "status", "capacity", "storage", default="0")
    return found


def _modes(claim: Object) -> Cell:
    return modes_text(get_path(claim, "status", "accessModes")) if _volume(claim) else ""


CLASS = Column("StorageClass", storage_class, description="The class of storage.")
ATTRIBUTES_CLASS = Column(
    "VolumeAttributesClass",
    optional("volumeAttributesClassName"),
    description="The class of attributes that may change.",
)
VOLUME_MODE = Column("VolumeMode", optional("volumeMode"), priority=1, description="A file system, or a bare device.")
STRATEGY = Strategy(
    PERSISTENTVOLUMECLAIMS,
    default=default,
    prepare_create=prepare_create,
    prepare_status=keep_spec,
    validate=validate,
    validate_update=validate_update,
    validate_status=validate_status,
    columns=(
        NAME,
        Column("Status", phase, description="Whether it is bound to a volume."),
        Column("Volume", _volume, description="The volume that it is bound to."),
        Column("Capacity", _capacity, description="The size of that volume."),
        Column("Access Modes", _modes, description="How many nodes or pods may use it at a time."),
        CLASS,
        ATTRIBUTES_CLASS,
        AGE,
        VOLUME_MODE,
    ),
)
