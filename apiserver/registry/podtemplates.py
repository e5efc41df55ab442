"""PodTemplates."""

from __future__ import annotations

from apimachinery.meta import Object, get_path
from apimachinery.pod_defaults import default_template
from apimachinery.resources import PODTEMPLATES
from apiserver.registry.checks import Errors
from apiserver.registry.pod_spec import validate_template
from apiserver.registry.strategy import NAME, Cell, Column, Strategy, labels_text, nothing, replace_all
from apiserver.registry.workloads import container_images, container_names


def default(template: Object) -> None:
    """What holds of every template."""
    if template.get("template") is None:
        template["template"] = {}
    default_template(template["template"])


def validate(template: Object) -> Errors:
    """What is wrong with a template in itself."""
    errors: Errors = []
    validate_template(template.get("template") or {}, "template", errors)
    return errors


def _names(template: Object) -> Cell:
    return container_names(get_path(template, "template", "spec", "containers", default=()))


def _images(template: Object) -> Cell:
    return container_images(get_path(template, "template", "spec", "containers", default=()))


def _labels(template: Object) -> Cell:
    return labels_text(get_path(template, "template", "metadata", "labels"))


STRATEGY = Strategy(
    PODTEMPLATES,
    default=default,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    columns=(
        NAME,
        Column("Containers", _names, description="Names of each container in the template."),
        Column("Images", _images, description="Images referenced by each container in the template."),
        Column("Pod Labels", _labels, description="The labels for the pod template."),
    ),
    counts_generations=True,
)
