"""Keeps the roles and bindings that a cluster is born with: what is missing of them is made or added at each start.

Nothing is taken away from them, so that what an operator has added stays; one with the annotation
`rbac.authorization.kubernetes.io/autoupdate: "false"` is left as it is.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#auto-reconciliation
"""

from __future__ import annotations

from apimachinery import meta
from apimachinery.meta import Object
from apiserver.rbac.rules import RuleIndex, missing

AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_SUBJECT = ("kind", "apiGroup", "namespace", "name")


def plan(expected: Object, existing: Object | None) -> Object | None:
    """What is to be written in place of an existing object; None if it is as it should be or may not be touched."""
    if existing is None:
        return expected
    if meta.annotations(existing).get(AUTOUPDATE) == "false":
        return None
    wanted = _with_metadata(existing, expected)
    if "roleRef" in expected:
        wanted = {**wanted, "roleRef": expected["roleRef"], "subjects": _subjects(existing, expected)}
    else:
        wanted = _with_rules(wanted, expected)
    return wanted if wanted != {**existing, **_empties(wanted, existing)} else None


def replaces(expected: Object, existing: Object) -> bool:
    """Whether a binding has to be made anew: what it refers to can't be changed."""
    return "roleRef" in expected and expected["roleRef"] != existing.get("roleRef")


def _with_metadata(existing: Object, expected: Object) -> Object:
    """The existing object with the labels and annotations that it lacks."""
    metadata = dict(existing["metadata"])
    for field in ("labels", "annotations"):
        if field in expected["metadata"]:
            metadata[field] = {**expected["metadata"][field], **(metadata.get(field) or {})}
    return {**existing, "metadata": metadata}


def _with_rules(wanted: Object, expected: Object) -> Object:
    if "aggregationRule" in expected:
        # Its rules are put together by a controller; only what it gathers is ours.
        selectors = (wanted.get("aggregationRule") or {}).get("clusterRoleSelectors") or []
        asked = expected["aggregationRule"]["clusterRoleSelectors"]
        more = [selector for selector in asked if selector not in selectors]
        return {**wanted, "aggregationRule": {"clusterRoleSelectors": [*selectors, *more]}} if more else wanted
    have = wanted.get("rules") or []
    more = missing([RuleIndex(have)], expected.get("rules") or ())
    return {**wanted, "rules": [*have, *more]} if more else wanted


def _subjects(existing: Object, expected: Object) -> list[Object]:
    have = existing.get("subjects") or []
    known = set(map(_identity, have))
    return [*have, *(subject for subject in expected.get("subjects") or () if _identity(subject) not in known)]


def _identity(subject: Object) -> tuple[str, ...]:
    return tuple(subject.get(field) or "" for field in _SUBJECT)


def _empties(wanted: Object, existing: Object) -> Object:
    """What is empty in one and absent in the other says the same."""
    return {key: value for key, value in wanted.items() if not value and not existing.get(key)}
