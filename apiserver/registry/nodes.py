"""Nodes.

Source: kubernetes/pkg/apis/core/validation/validation.go (ValidateNode, ValidateNodeUpdate), the printers.
"""

from __future__ import annotations

from collections.abc import Sequence

from apimachinery import meta
from apimachinery.field import FieldError, duplicate, forbidden_field, invalid_value, not_supported, required
from apimachinery.meta import Object, find_condition, get_path
from apimachinery.names import label_value
from apimachinery.resources import NODES
from apiserver.registry import amounts, checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.metadata import validate_label_key
from apiserver.registry.pod_scheduling import EFFECTS
from apiserver.registry.strategy import AGE, NAME, UNKNOWN, Cell, Column, Strategy, keep_spec, keep_status, nothing

_ROLE_PREFIX, _ROLE = "node-role.kubernetes.io/", "kubernetes.io/role"
NONE = "<none>"


def default(node: Object) -> None:
    """All that a node has can be used, unless it says otherwise."""
    status = node.get("status") or {}
    if status.get("capacity") is not None and status.get("allocatable") is None:
        status["allocatable"] = dict(status["capacity"])


def validate(node: Object) -> Errors:
    """Taints, amounts and networks that are some."""
    errors: Errors = []
    spec, status = node.get("spec") or {}, node.get("status") or {}
    if spec.get("taints"):
        _validate_taints(spec["taints"], "metadata.taints", errors)
    for field in ("capacity", "allocatable"):
        for name, value in (status.get(field) or {}).items():
            amounts.quantity(name, value, f"status.{field}.{name}", errors)
    networks = spec.get("podCIDRs") or ()
    for number, network in enumerate(networks):
        checks.cidr(network, f"spec.podCIDRs[{number}]", errors)
    if len(networks) > 1 and not checks.one_of_each_family(networks):
        why = "may specify no more than one CIDR for each IP family"
        errors.append(invalid_value("spec.podCIDRs", networks, why))
    return errors


def _validate_taints(taints: Sequence[Fields], path: str, errors: Errors) -> None:
    seen: set[tuple[str, str]] = set()
    for number, taint in enumerate(taints):
        at, key, effect = f"{path}[{number}]", taint.get("key") or "", taint.get("effect") or ""
        validate_label_key(key, f"{at}.key", errors)
        if problems := label_value(taint.get("value") or ""):
            errors.append(invalid_value(f"{at}.value", taint.get("value"), ";".join(problems)))
        if not effect:
            errors.append(required(f"{at}.effect"))
        elif effect not in EFFECTS:
            errors.append(not_supported(f"{at}.effect", effect, EFFECTS))
        if (key, effect) in seen:
            why = "taints must be unique by key and effect pair"
            errors.append(FieldError(at, "FieldValueDuplicate", taint, why))
        seen.add((key, effect))


def validate_update(node: Object, old: Object) -> Errors:
    """A node's network and its machine are set once."""
    errors: Errors = []
    spec, before = node.get("spec") or {}, old.get("spec") or {}
    networks = before.get("podCIDRs") or []
    if networks and networks != (spec.get("podCIDRs") or []):
        why = 'node updates may not change podCIDR except from "" to valid'
        errors.append(forbidden_field("spec.podCIDRs", why))
    if before.get("providerID") and before["providerID"] != spec.get("providerID"):
        why = 'node updates may not change providerID except from "" to valid'
        errors.append(forbidden_field("spec.providerID", why))
    return errors


def validate_status(node: Object, old: Object) -> Errors:
    """Amounts, and each address once."""
    errors = validate(node)
    addresses = get_path(node, "status", "addresses", default=[])
    errors += [
        duplicate(f"status.addresses[{number}]", addresses[number]) for number in sorted(checks.repeated(addresses))
    ]
    return errors


def _status(node: Object) -> Cell:
    ready = find_condition(node, "Ready")
    words = ["Unknown" if ready is None else "Ready" if ready.get("status") == "True" else "NotReady"]
    if get_path(node, "spec", "unschedulable"):
        words.append("SchedulingDisabled")
    return ",".join(words)


def _roles(node: Object) -> Cell:
    labels = meta.labels(node)
    roles = {key.removeprefix(_ROLE_PREFIX) for key in labels if key.startswith(_ROLE_PREFIX)}
    roles.add(labels.get(_ROLE) or "")
    return ",".join(sorted(roles - {""})) or NONE


def _address(node: Object, kind: str) -> str:
    for address in get_path(node, "status", "addresses", default=[]):
        if address.get("type") == kind:
            return address.get("address") or NONE
    return NONE


def _info(node: Object, field: str, missing: str) -> str:
    found: str = get_path(node, "status", "nodeInfo", field, default="") or missing
    return found


STRATEGY = Strategy(
    NODES,
    default=default,
    # A node reports its capacity and conditions when it registers.
    prepare_create=nothing,
    prepare_update=keep_status,
    prepare_status=keep_spec,
    validate=validate,
    validate_update=validate_update,
    validate_status=validate_status,
    columns=(
        NAME,
        Column("Status", _status, description="The status of the node"),
        Column("Roles", _roles, description="The roles of the node"),
        AGE,
        Column(
            "Version", lambda node: _info(node, "kubeletVersion", ""), description="The version of its node agent."
        ),
        Column(
            "Internal-IP",
            lambda node: _address(node, "InternalIP"),
            priority=1,
            description="Its address inside the cluster.",
        ),
        Column(
            "External-IP",
            lambda node: _address(node, "ExternalIP"),
            priority=1,
            description="Its address for the world outside.",
        ),
        Column(
            "OS-Image",
            lambda node: _info(node, "osImage", UNKNOWN),
            priority=1,
            description="The operating system, as its maker calls it.",
        ),
        Column(
            "Kernel-Version",
            lambda node: _info(node, "kernelVersion", UNKNOWN),
            priority=1,
            description="The version of its kernel.",
        ),
        Column(
            "Container-Runtime",
            lambda node: _info(node, "containerRuntimeVersion", UNKNOWN),
            priority=1,
            description="What runs its containers.",
        ),
    ),
    selectable=("spec.unschedulable",),
)
