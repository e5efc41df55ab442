"""FlowSchemas: which requests are of which priority level.

Source: kubernetes/pkg/apis/flowcontrol/v1/defaults.go, validation/validation.go, pkg/registry/flowcontrol/flowschema.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from apimachinery.field import duplicate, forbidden_field, invalid_value, not_supported, required
from apimachinery.meta import Object, find_condition, get_path
from apimachinery.resources import FLOWSCHEMAS
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.strategy import AGE, NAME, NONE, Cell, Column, Strategy, keep_spec

PRECEDENCE, PRECEDENCE_MAX = 1000, 10000
EXEMPT = "exempt"
METHODS = ("ByNamespace", "ByUser")
VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch")
# The kinds of subjects, and the field for each.
SUBJECTS = {"Group": "group", "ServiceAccount": "serviceAccount", "User": "user"}


def default(schema: Object) -> None:
    """Somewhere in the middle."""
    spec = schema.setdefault("spec", {})
    if not spec.get("matchingPrecedence"):
        spec["matchingPrecedence"] = PRECEDENCE


def validate(schema: Object) -> Errors:
    """What is wrong with a schema in itself."""
    errors: Errors = []
    spec = schema.get("spec") or {}
    precedence, path = spec.get("matchingPrecedence") or 0, "spec.matchingPrecedence"
    if precedence <= 0:
        errors.append(invalid_value(path, precedence, "must be a positive value"))
    if precedence > PRECEDENCE_MAX:
        errors.append(invalid_value(path, precedence, f"must not be greater than {PRECEDENCE_MAX}"))
    if precedence == 1 and schema["metadata"].get("name") != EXEMPT:
        why = "only the schema named 'exempt' may have matchingPrecedence 1"
        errors.append(invalid_value(path, precedence, why))
    method = spec.get("distinguisherMethod")
    if method is not None and method.get("type") not in METHODS:
        errors.append(not_supported("spec.distinguisherMethod.type", method, METHODS))
    level = (spec.get("priorityLevelConfiguration") or {}).get("name")
    if level:
        checks.dns_subdomain(level, "spec.priorityLevelConfiguration.name", errors)
    else:
        errors.append(required("spec.priorityLevelConfiguration.name", "must reference a priority level"))
    for number, rule in enumerate(spec.get("rules") or ()):
        _validate_rule(rule, f"spec.rules[{number}]", errors)
    return errors


def _validate_rule(rule: Fields, path: str, errors: Errors) -> None:
    subjects = rule.get("subjects") or ()
    if not subjects:
        errors.append(required(f"{path}.subjects", "subjects must contain at least one value"))
    for number, subject in enumerate(subjects):
        _validate_subject(subject, f"{path}.subjects[{number}]", errors)
    resources, urls = rule.get("resourceRules") or (), rule.get("nonResourceRules") or ()
    if not resources and not urls:
        why = "at least one of resourceRules and nonResourceRules has to be non-empty"
        errors.append(required(path, why))
    for number, one in enumerate(resources):
        _validate_resources(one, f"{path}.resourceRules[{number}]", errors)
    for number, one in enumerate(urls):
        _validate_urls(one, f"{path}.nonResourceRules[{number}]", errors)


def _validate_subject(subject: Fields, path: str, errors: Errors) -> None:
    kind = subject.get("kind") or ""
    if kind not in SUBJECTS:
        errors.append(not_supported(f"{path}.kind", kind, list(SUBJECTS)))
        return
    field = SUBJECTS[kind]
    who = subject.get(field)
    if who is None:
        errors.append(required(f"{path}.{field}", f"{field} is required when subject kind is '{kind}'"))
    else:
        name = who.get("name") or ""
        if not name:
            errors.append(required(f"{path}.{field}.name"))
        elif kind == "ServiceAccount" and name != "*":
            checks.dns_subdomain(name, f"{path}.{field}.name", errors)
        if kind == "ServiceAccount":
            at = f"{path}.{field}.namespace"
            if who.get("namespace"):
                checks.dns_label(who["namespace"], at, errors)
            else:
                errors.append(required(at, "must specify namespace for service account"))
    for other, its_field in SUBJECTS.items():
        if other != kind and subject.get(its_field) is not None:
            why = f"{its_field} is forbidden when subject kind is not '{other}'"
            errors.append(forbidden_field(f"{path}.{its_field}", why))


def _validate_words(words: Sequence[str], path: str, empty: str, others: str, errors: Errors) -> None:
    if not words:
        errors.append(required(path, empty))
    elif "*" in words and len(words) > 1:
        errors.append(invalid_value(path, words, f"if '*' is present, must not specify other {others}"))


def _validate_verbs(rule: Fields, path: str, errors: Errors) -> None:
    verbs = rule.get("verbs") or []
    _validate_words(verbs, f"{path}.verbs", "verbs must contain at least one value", "verbs", errors)
    if "*" not in verbs and not set(verbs) <= set(VERBS):
        errors.append(not_supported(f"{path}.verbs", verbs, VERBS))


def _validate_resources(rule: Fields, path: str, errors: Errors) -> None:
    _validate_verbs(rule, path, errors)
    for field, what in (("apiGroups", "api group"), ("resources", "resource")):
        empty = f"resource rules must supply at least one {what}"
        _validate_words(rule.get(field) or [], f"{path}.{field}", empty, f"{what}s", errors)
    namespaces, at = rule.get("namespaces") or [], f"{path}.namespaces"
    if namespaces or not rule.get("clusterScope"):
        empty = "resource rules that are not cluster scoped must supply at least one namespace"
        _validate_words(namespaces, at, empty, "namespaces", errors)
    if "*" not in namespaces:
        for number, namespace in enumerate(namespaces):
            problems: Errors = []
            checks.dns_label(namespace, f"{at}[{number}]", problems)
            intro = "each member of this list must be '*' or a DNS-1123 label; "
            errors += [invalid_value(problem.path, problem.value, intro + problem.detail) for problem in problems]


def _validate_urls(rule: Fields, path: str, errors: Errors) -> None:
    _validate_verbs(rule, path, errors)
    urls, at = rule.get("nonResourceURLs") or [], f"{path}.nonResourceURLs"
    empty = "nonResourceURLs must contain at least one value"
    _validate_words(urls, at, empty, "non-resource URLs", errors)
    if "*" not in urls:
        wrong = ((number, url, _url_problem(url)) for number, url in enumerate(urls))
        errors += [invalid_value(f"{at}[{number}]", url, why) for number, url, why in wrong if why]


def _url_problem(url: str) -> str:
    if not url:
        return "must not be empty"
    if not url.startswith("/"):
        return "must start with slash"
    if " " in url:
        return "must not contain white-space"
    if "//" in url:
        return "must not contain double slash"
    stars = url.count("*")
    return "wildcard can only do suffix matching" if stars > 1 or (stars and not url.endswith("/*")) else ""


def validate_condition_types(conditions: Iterable[Fields], errors: Errors) -> None:
    """Each type once."""
    seen: set[str] = set()
    for number, condition in enumerate(conditions):
        path, kind = f"status.conditions[{number}].type", condition.get("type") or ""
        if kind in seen:
            errors.append(duplicate(path, kind))
        seen.add(kind)
        if not kind:
            errors.append(required(path))


def validate_status(schema: Object, old: Object) -> Errors:
    """Conditions of different types."""
    errors: Errors = []
    validate_condition_types(get_path(schema, "status", "conditions", default=()), errors)
    return errors


def _level(schema: Object) -> Cell:
    found: str = get_path(schema, "spec", "priorityLevelConfiguration", "name", default="")
    return found


def _precedence(schema: Object) -> Cell:
    found: int = get_path(schema, "spec", "matchingPrecedence", default=0)
    return found


def _method(schema: Object) -> Cell:
    found: str = get_path(schema, "spec", "distinguisherMethod", "type", default=NONE)
    return found


def _dangling(schema: Object) -> Cell:
    condition = find_condition(schema, "Dangling")
    return "?" if condition is None else condition.get("status") or ""


STRATEGY = Strategy(
    FLOWSCHEMAS,
    default=default,
    prepare_status=keep_spec,
    validate=validate,
    validate_status=validate_status,
    columns=(
        NAME,
        Column("PriorityLevel", _level, description="The priority level of its requests."),
        Column("MatchingPrecedence", _precedence, description="The lower, the sooner it is looked at."),
        Column("DistinguisherMethod", _method, description="What tells one flow of requests from another."),
        AGE,
        Column("MissingPL", _dangling, description="references a broken or non-existent PriorityLevelConfiguration"),
    ),
    counts_generations=True,
    status_resets=("spec", "metadata"),
)
