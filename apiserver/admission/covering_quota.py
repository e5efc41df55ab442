"""What nobody may use of a namespace without a quota that says how much, as an operator's configuration has it.

Source: https://kubernetes.io/docs/concepts/policy/resource-quotas/#limit-priority-class-consumption-by-default
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apimachinery.pod_resources import Amounts
from apimachinery.quota.evaluators import Evaluator
from apimachinery.quota.scopes import Requirement, requirements
from apiserver.admission.plugin import Attributes, refused

_VERSIONS = (
    "apiserver.config.k8s.io/v1",
    "resourcequota.admission.k8s.io/v1",
    "resourcequota.admission.k8s.io/v1beta1",
)
_KINDS = ("ResourceQuotaConfiguration", "Configuration")


class Limited(NamedTuple):
    """Objects of a resource that use something with one of these words in its name, or are in one of these scopes."""

    resource: tuple[str, str]
    contains: tuple[str, ...] = ()
    scopes: tuple[Requirement, ...] = ()


def parse(document: Mapping[str, Any]) -> tuple[Limited, ...]:
    """What a ResourceQuotaConfiguration says. Raises ValueError."""
    if document.get("apiVersion") not in _VERSIONS or document.get("kind") not in _KINDS:
        raise ValueError(f"must be of kind {_KINDS[0]} in version {_VERSIONS[0]}")
    listed = document.get("limitedResources") or ()
    for number, one in enumerate(listed):
        if not one.get("resource"):
            raise ValueError(f"limitedResources[{number}].resource: Required value")
    return tuple(
        Limited(
            (one.get("apiGroup") or "", one["resource"]),
            tuple(one.get("matchContains") or ()),
            tuple(one.get("matchScopes") or ()),
        )
        for one in listed
    )


def check(
    attributes: Attributes,
    limited: Sequence[Limited],
    of: Evaluator,
    added: Amounts,
    covered: Iterable[str],
    quotas: Iterable[Object],
) -> None:
    """Refuse an object that uses what no quota covers.

    `added` is what is used more than before, `covered` the limits of the quotas that the object is charged to, and
    `quotas` all of its namespace. Raises ApiError.
    """
    obj = attributes.obj
    assert obj is not None
    if not any(amount.nanos for amount in added.values()):
        return
    words = [word for one in limited if one.resource == attributes.resource.key for word in one.contains]
    used = {name for name, amount in added.items() if amount.nanos > 0 and any(word in name for word in words)}
    if missing := sorted(used - set(covered)):
        raise refused(attributes, f"insufficient quota to consume: {','.join(missing)}")
    known = {scope.get("scopeName") for quota in quotas for scope in requirements(quota) if of.in_scope(scope, obj)}
    scopes = [scope for one in limited for scope in one.scopes if of.in_scope(scope, obj)]
    if uncovered := [_shown(scope) for scope in scopes if scope.get("scopeName") not in known]:
        raise ApiError(500, "", f"insufficient quota to match these scopes: [{' '.join(uncovered)}]")


def _shown(scope: Requirement) -> str:
    values = " ".join(scope.get("values") or ())
    return f"{{{scope.get('scopeName') or ''} {scope.get('operator') or ''} [{values}]}}"
