"""ControllerRevisions: what a StatefulSet or DaemonSet once was.

Source: kubernetes/pkg/apis/apps/validation/validation.go (ValidateControllerRevision).
"""

from __future__ import annotations

from apimachinery.field import required
from apimachinery.meta import Object, controller_of
from apimachinery.resources import CONTROLLERREVISIONS
from apiserver.registry import checks
from apiserver.registry.checks import Errors
from apiserver.registry.equality import immutable
from apiserver.registry.strategy import AGE, NAME, NONE, Cell, Column, Strategy, nothing, replace_all


def default(revision: Object) -> None:
    """History may begin with nothing."""
    if revision.get("revision") is None:
        revision["revision"] = 0


def validate(revision: Object) -> Errors:
    """There is data, and a number."""
    errors: Errors = []
    if revision.get("data") is None:
        errors.append(required("data", "data is mandatory"))
    checks.not_negative(revision.get("revision"), "revision", errors)
    return errors


def validate_update(revision: Object, old: Object) -> Errors:
    """History is not rewritten."""
    errors: Errors = []
    immutable(revision.get("data"), old.get("data"), "data", errors)
    return errors


def _controller(revision: Object) -> Cell:
    owner = controller_of(revision)
    if owner is None:
        return NONE
    group = owner["apiVersion"].rpartition("/")[0]
    kind = f"{owner['kind']}.{group}" if group else owner["kind"]
    return f"{kind.lower()}/{owner['name']}"


def _revision(revision: Object) -> Cell:
    return revision.get("revision") or 0


STRATEGY = Strategy(
    CONTROLLERREVISIONS,
    default=default,
    prepare_create=nothing,
    prepare_update=replace_all,
    validate=validate,
    validate_update=validate_update,
    columns=(
        NAME,
        Column("Controller", _controller, description="Controller of the object"),
        Column("Revision", _revision, description="The number of the version, higher for newer ones."),
        AGE,
    ),
)
