"""What roles grant and whom bindings grant it to, in a namespace and in the whole cluster.

Source: kubernetes/pkg/apis/rbac/v1/defaults.go, pkg/apis/rbac/validation/validation.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from apimachinery.field import invalid_value, not_supported, required
from apimachinery.meta import Object
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.equality import equal
from apiserver.registry.strategy import AGE, NAME, Cell, CellOf, Column

GROUP = "rbac.authorization.k8s.io"
_SUBJECTS = ("Group", "ServiceAccount", "User")


def validate_rules(rules: Iterable[Fields], errors: Errors, *, namespaced: bool) -> None:
    """The rules of a role."""
    for number, rule in enumerate(rules):
        path, urls = f"rules[{number}]", rule.get("nonResourceURLs") or []
        if not rule.get("verbs"):
            errors.append(required(f"{path}.verbs", "verbs must contain at least one value"))
        if urls:
            if namespaced:
                why = "namespaced rules cannot apply to non-resource URLs"
                errors.append(invalid_value(f"{path}.nonResourceURLs", urls, why))
            if rule.get("apiGroups") or rule.get("resources") or rule.get("resourceNames"):
                why = "rules cannot apply to both regular resources and non-resource URLs"
                errors.append(invalid_value(f"{path}.nonResourceURLs", urls, why))
            continue
        for field, what in (("apiGroups", "api group"), ("resources", "resource")):
            if not rule.get(field):
                errors.append(required(f"{path}.{field}", f"resource rules must supply at least one {what}"))


def default_binding(binding: Object) -> None:
    """Roles, users and groups are those of RBAC."""
    reference = binding.get("roleRef")
    if reference is not None and not reference.get("apiGroup"):
        reference["apiGroup"] = GROUP
    for subject in binding.get("subjects") or ():
        if not subject.get("apiGroup") and subject.get("kind") in ("User", "Group"):
            subject["apiGroup"] = GROUP


def validate_binding(binding: Object, kinds: Sequence[str], *, namespaced: bool) -> Errors:
    """The role, which is one of these kinds, and those who have it."""
    errors: Errors = []
    reference = binding.get("roleRef") or {}
    if reference.get("apiGroup") != GROUP:
        errors.append(not_supported("roleRef.apiGroup", reference.get("apiGroup") or "", (GROUP,)))
    if reference.get("kind") not in kinds:
        errors.append(not_supported("roleRef.kind", reference.get("kind") or "", kinds))
    checks.required_name(reference.get("name"), checks.path_segment, "roleRef.name", errors)
    for number, subject in enumerate(binding.get("subjects") or ()):
        _validate_subject(subject, f"subjects[{number}]", errors, namespaced=namespaced)
    return errors


def _validate_subject(subject: Fields, path: str, errors: Errors, *, namespaced: bool) -> None:
    name, kind, group = (subject.get(field) or "" for field in ("name", "kind", "apiGroup"))
    if not name:
        errors.append(required(f"{path}.name"))
    if kind not in _SUBJECTS:
        errors.append(not_supported(f"{path}.kind", kind, _SUBJECTS))
    elif kind != "ServiceAccount":
        if group != GROUP:
            errors.append(not_supported(f"{path}.apiGroup", group, (GROUP,)))
    else:
        if name:
            checks.dns_subdomain(name, f"{path}.name", errors)
        if group:
            errors.append(not_supported(f"{path}.apiGroup", group, ("",)))
        if not namespaced and not subject.get("namespace"):
            errors.append(required(f"{path}.namespace"))


def validate_binding_update(binding: Object, old: Object) -> Errors:
    """Whoever may change who has a role must not be able to make it another one."""
    reference = binding.get("roleRef")
    if equal(reference, old.get("roleRef")):
        return []
    return [invalid_value("roleRef", reference, "cannot change roleRef")]


def _role(binding: Object) -> Cell:
    reference = binding.get("roleRef") or {}
    return f"{reference.get('kind') or ''}/{reference.get('name') or ''}"


def _subjects(kind: str) -> CellOf:
    def cell(binding: Object) -> Cell:
        listed: list[dict[str, Any]] = [one for one in binding.get("subjects") or () if one.get("kind") == kind]
        if kind == "ServiceAccount":
            return ", ".join(f"{one.get('namespace') or ''}/{one.get('name') or ''}" for one in listed)
        return ", ".join(one.get("name") or "" for one in listed)

    return cell


BINDING_COLUMNS = (
    NAME,
    Column("Role", _role, description="The role that is granted."),
    AGE,
    Column("Users", _subjects("User"), priority=1, description="The users that have it."),
    Column("Groups", _subjects("Group"), priority=1, description="The groups that have it."),
    Column("ServiceAccounts", _subjects("ServiceAccount"), priority=1, description="The service accounts that do."),
)
