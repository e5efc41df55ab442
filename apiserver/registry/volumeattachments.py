"""VolumeAttachments: a volume that is to be attached to a node.

Source: kubernetes/pkg/apis/storage/validation/validation.go, pkg/registry/storage/volumeattachment.
"""

from __future__ import annotations

from apimachinery import names
from apimachinery.field import forbidden_field, invalid_value, required, too_long
from apimachinery.meta import Object, get_path
from apimachinery.resources import VOLUMEATTACHMENTS
from apiserver.registry import checks
from apiserver.registry.checks import Errors
from apiserver.registry.equality import immutable
from apiserver.registry.pod_volumes import validate_driver
from apiserver.registry.strategy import AGE, NAME, Cell, CellOf, Column, Strategy

METADATA_BYTES_MAX, MESSAGE_MAX = 256 * 1024, 1024


def validate(attachment: Object) -> Errors:
    """A volume, a node, and who attaches the one to the other."""
    errors: Errors = []
    spec = attachment.get("spec") or {}
    attacher, node, source = spec.get("attacher") or "", spec.get("nodeName") or "", spec.get("source") or {}
    validate_driver(attacher, "spec.attacher", errors)
    errors += [invalid_value("spec.nodeName", node, why) for why in names.dns1123_subdomain(node)]
    volume, inline = source.get("persistentVolumeName"), source.get("inlineVolumeSpec")
    one_of = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
    path = "spec.source.persistentVolumeName"
    if volume is None and inline is None:
        errors.append(required("spec.source", one_of))
    elif volume is not None and inline is not None:
        errors.append(forbidden_field("spec.source", one_of))
    elif volume == "":
        errors.append(required(path, "must specify non empty persistentVolumeName"))
    elif volume is not None:
        checks.dns_subdomain(volume, path, errors)
    return errors


def validate_update(attachment: Object, old: Object) -> Errors:
    """What is attached where stays."""
    errors: Errors = []
    immutable(attachment.get("spec"), old.get("spec"), "spec", errors)
    return errors


def validate_status(attachment: Object, old: Object) -> Errors:
    """Not too much of what the driver tells."""
    errors: Errors = []
    told = get_path(attachment, "status", "attachmentMetadata", default={})
    if sum(len(key.encode()) + len((value or "").encode()) for key, value in told.items()) > METADATA_BYTES_MAX:
        errors.append(too_long("status.attachmentMetadata", METADATA_BYTES_MAX))
    for field in ("attachError", "detachError"):
        problem = get_path(attachment, "status", field, default={})
        if len((problem.get("message") or "").encode()) > MESSAGE_MAX:
            errors.append(too_long(f"status.{field}.message", METADATA_BYTES_MAX))
        code = problem.get("errorCode")
        if code is not None and code < 0:
            why = f"must be between 0 and {checks.INT32_MAX}, inclusive"
            errors.append(invalid_value(f"status.{field}.errorCode", code, why))
    return errors


def _text(*path: str) -> CellOf:
    def cell(attachment: Object) -> Cell:
        found: str = get_path(attachment, *path, default="")
        return found

    return cell


def _attached(attachment: Object) -> Cell:
    return bool(get_path(attachment, "status", "attached", default=False))


STRATEGY = Strategy(
    VOLUMEATTACHMENTS,
    validate=validate,
    validate_update=validate_update,
    validate_status=validate_status,
    columns=(
        NAME,
        Column("Attacher", _text("spec", "attacher"), format="name", description="Who attaches it."),
        Column("PV", _text("spec", "source", "persistentVolumeName"), description="The volume."),
        Column("Node", _text("spec", "nodeName"), description="The node."),
        Column("Attached", _attached, type="boolean", description="Whether it is attached."),
        AGE,
    ),
    unconditional_update=False,
    status_resets=("spec", "metadata"),
)
