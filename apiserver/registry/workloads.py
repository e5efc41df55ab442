"""What the kinds that make pods from a template have in common.

Source: kubernetes/pkg/apis/apps/validation/validation.go and pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apimachinery.errors import ApiError
from apimachinery.field import forbidden_field, invalid_value, not_supported, required
from apimachinery.meta import Object, get_path
from apimachinery.selectors import Selector, selector_from_object
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.metadata import validate_label_selector
from apiserver.registry.pod_spec import validate_template
from apiserver.registry.strategy import NONE, Cell, CellOf, Column

REPLICAS_DESCRIPTION = "The number of pods that are wanted."


def validate_selector(selector: Fields | None, kind: str, path: str, errors: Errors) -> None:
    """The selector of a workload: it must select something in particular."""
    if selector is None:
        errors.append(required(path))
        return
    validate_label_selector(selector, path, errors)
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        errors.append(invalid_value(path, selector, f"empty selector is invalid for {kind}"))


def parsed_selector(selector: Fields | None) -> Selector | None:
    """The selector, or None if it can't be understood."""
    try:
        return selector_from_object(selector)
    except (ApiError, KeyError):
        return None


def validate_selected(selector: Fields | None, template: Fields, path: str, errors: Errors) -> None:
    """A workload must select the pods that it makes, else it would make more and more of them."""
    parsed = parsed_selector(selector)
    labels = get_path(template, "metadata", "labels", default={})
    if parsed is not None and not parsed.empty and not parsed.matches(labels):
        why = "`selector` does not match template `labels`"
        errors.append(invalid_value(f"{path}.metadata.labels", labels, why))


def validate_workload_template(template: Fields, kind: str, path: str, errors: Errors) -> None:
    """The template of pods that always run."""
    validate_template(template, path, errors)
    validate_always_running(template, kind, path, errors)


def validate_always_running(template: Fields, kind: str, path: str, errors: Errors) -> None:
    """Pods that a workload keeps running are restarted, and have no end set to them."""
    spec = template.get("spec") or {}
    policy = spec.get("restartPolicy")
    if policy != "Always":
        errors.append(not_supported(f"{path}.spec.restartPolicy", policy or "", ("Always",)))
    if spec.get("activeDeadlineSeconds") is not None:
        why = f"activeDeadlineSeconds in {kind} is not Supported"
        errors.append(forbidden_field(f"{path}.spec.activeDeadlineSeconds", why))


def validate_counts(
    status: Fields,
    fields: Iterable[str],
    not_over_replicas: Iterable[str],
    errors: Errors,
    ready: str = "readyReplicas",
) -> None:
    """Numbers in a status: none is negative, and there are not more pods of one sort than pods."""
    for field in (*fields, "observedGeneration", "collisionCount"):
        checks.not_negative(status.get(field), f"status.{field}", errors)
    replicas = status.get("replicas") or 0
    for field in not_over_replicas:
        count = status.get(field) or 0
        if count > replicas:
            errors.append(invalid_value(f"status.{field}", count, "cannot be greater than status.replicas"))
    available = status.get("availableReplicas") or 0
    if available > (status.get("readyReplicas") or 0):
        errors.append(invalid_value("status.availableReplicas", available, f"cannot be greater than {ready}"))


def validate_collisions(obj: Object, old: Object, errors: Errors) -> None:
    """The count of collisions of names, which makes the next name another one, never goes back."""
    new, before = get_path(obj, "status", "collisionCount"), get_path(old, "status", "collisionCount")
    if before is not None and (new or 0) < before:
        errors.append(invalid_value("status.collisionCount", new or 0, "cannot be decremented"))


def number(*path: str) -> CellOf:
    """The cell of a number, 0 where there is none."""

    def cell(obj: Object) -> Cell:
        found: int = get_path(obj, *path, default=0)
        return found

    return cell


def _containers(obj: Object) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = get_path(obj, "spec", "template", "spec", "containers", default=[])
    return found


def container_names(containers: Iterable[Fields]) -> str:
    """`web,sidecar`."""
    return ",".join(container.get("name") or "" for container in containers)


def container_images(containers: Iterable[Fields]) -> str:
    """`nginx:1.27,envoy:1.30`."""
    return ",".join(container.get("image") or "" for container in containers)


def selector_text(obj: Object) -> Cell:
    """The selector of a workload as text."""
    selector = get_path(obj, "spec", "selector")
    if selector is None:
        return NONE
    parsed = parsed_selector(selector)
    return "<error>" if parsed is None else str(parsed) or NONE


CONTAINERS = Column(
    "Containers",
    lambda obj: container_names(_containers(obj)),
    priority=1,
    description="Names of each container in the template.",
)
IMAGES = Column(
    "Images",
    lambda obj: container_images(_containers(obj)),
    priority=1,
    description="Images referenced by each container in the template.",
)
SELECTOR = Column("Selector", selector_text, priority=1, description="The labels of the pods that belong to it.")
