"""Where a pod may or would rather run: affinity, tolerations, spreading, gates.

Source: kubernetes/pkg/apis/core/validation/validation.go (validateAffinity, ValidateTolerations…).
"""

from __future__ import annotations

from collections.abc import Sequence

from apimachinery.field import duplicate, forbidden_field, invalid_value, not_supported, required
from apimachinery.names import label_value
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.metadata import validate_label_key, validate_label_selector

EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_WEIGHT = "must be in the range 1-100"
_NO_OPERATOR = "not a valid selector operator"


def validate_affinity(affinity: Fields, path: str, errors: Errors) -> None:
    """To nodes, and to or away from other pods."""
    nodes = affinity.get("nodeAffinity")
    if nodes is not None:
        at = f"{path}.nodeAffinity"
        if nodes.get(_REQUIRED) is not None:
            validate_node_selector(nodes[_REQUIRED], f"{at}.{_REQUIRED}", errors)
        for number, term in enumerate(nodes.get(_PREFERRED) or ()):
            here = f"{at}.{_PREFERRED}[{number}]"
            _validate_weight(term, here, errors)
            _validate_node_term(term.get("preference") or {}, f"{here}.preference", errors, required_term=False)
    for key in ("podAffinity", "podAntiAffinity"):
        pods = affinity.get(key) or {}
        for number, term in enumerate(pods.get(_REQUIRED) or ()):
            _validate_pod_term(term, f"{path}.{key}.{_REQUIRED}[{number}]", errors)
        for number, term in enumerate(pods.get(_PREFERRED) or ()):
            here = f"{path}.{key}.{_PREFERRED}[{number}]"
            _validate_weight(term, here, errors)
            _validate_pod_term(term.get("podAffinityTerm") or {}, f"{here}.podAffinityTerm", errors)


def _validate_weight(term: Fields, path: str, errors: Errors) -> None:
    weight = term.get("weight") or 0
    if not 1 <= weight <= 100:
        errors.append(invalid_value(f"{path}.weight", weight, _WEIGHT))


def validate_node_selector(selector: Fields, path: str, errors: Errors) -> None:
    """Terms of which one must hold."""
    terms = selector.get("nodeSelectorTerms") or ()
    if not terms:
        errors.append(required(f"{path}.nodeSelectorTerms", "must have at least one node selector term"))
    for number, term in enumerate(terms):
        _validate_node_term(term, f"{path}.nodeSelectorTerms[{number}]", errors, required_term=True)


def _validate_node_term(term: Fields, path: str, errors: Errors, *, required_term: bool) -> None:
    for number, requirement in enumerate(term.get("matchExpressions") or ()):
        at = f"{path}.matchExpressions[{number}]"
        operator, values = requirement.get("operator") or "", requirement.get("values") or ()
        match operator:
            case "In" | "NotIn":
                if not values:
                    why = "must be specified when `operator` is 'In' or 'NotIn'"
                    errors.append(required(f"{at}.values", why))
            case "Exists" | "DoesNotExist":
                if values:
                    why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                    errors.append(forbidden_field(f"{at}.values", why))
            case "Gt" | "Lt":
                if len(values) != 1:
                    why = "must be specified single value when `operator` is 'Lt' or 'Gt'"
                    errors.append(required(f"{at}.values", why))
            case _:
                errors.append(invalid_value(f"{at}.operator", operator, _NO_OPERATOR))
        validate_label_key(requirement.get("key") or "", f"{at}.key", errors)
        for index, value in enumerate(values if required_term else ()):
            errors += [invalid_value(f"{at}.values[{index}]", value, why) for why in label_value(value)]
    for number, requirement in enumerate(term.get("matchFields") or ()):
        _validate_node_field(requirement, f"{path}.matchFields[{number}]", errors)


def _validate_node_field(requirement: Fields, path: str, errors: Errors) -> None:
    operator, values = requirement.get("operator") or "", requirement.get("values") or ()
    if operator not in ("In", "NotIn"):
        errors.append(invalid_value(f"{path}.operator", operator, _NO_OPERATOR))
    elif len(values) != 1:
        why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        errors.append(required(f"{path}.values", why))
    if requirement.get("key") != "metadata.name":
        why = "not a valid field selector key"
        errors.append(invalid_value(f"{path}.key", requirement.get("key") or "", why))
        return
    for index, value in enumerate(values):
        checks.dns_subdomain(value, f"{path}.values[{index}]", errors)


def _validate_pod_term(term: Fields, path: str, errors: Errors) -> None:
    validate_label_selector(term.get("labelSelector"), f"{path}.labelSelector", errors)
    validate_label_selector(term.get("namespaceSelector"), f"{path}.namespaceSelector", errors)
    for name in term.get("namespaces") or ():
        checks.dns_label(name, f"{path}.namespace", errors)
    _validate_label_keys(term, path, errors)
    if not term.get("topologyKey"):
        errors.append(required(f"{path}.topologyKey", "can not be empty"))
    validate_label_key(term.get("topologyKey") or "", f"{path}.topologyKey", errors)


def _validate_label_keys(term: Fields, path: str, errors: Errors) -> None:
    """Keys whose value in the pod itself becomes part of the selector."""
    selector = term.get("labelSelector")
    for field in ("matchLabelKeys", "mismatchLabelKeys"):
        keys = term.get(field) or ()
        if keys and selector is None:
            why = "must not be specified when labelSelector is not set"
            errors.append(forbidden_field(f"{path}.{field}", why))
        elif keys:
            for number, key in enumerate(keys):
                validate_label_key(key, f"{path}.{field}[{number}]", errors)
    matched = list(term.get("matchLabelKeys") or ())
    if selector is not None and matched:
        selected = set(selector.get("matchLabels") or ())
        for expression in selector.get("matchExpressions") or ():
            key = expression.get("key") or ""
            if key in matched and key in selected:
                why = "exists in both matchLabelKeys and labelSelector"
                errors.append(invalid_value(f"{path}[{matched.index(key)}]", key, why))
            selected.add(key)
    mismatched = term.get("mismatchLabelKeys") or ()
    for number, key in enumerate(matched):
        if key in mismatched:
            why = "exists in both matchLabelKeys and mismatchLabelKeys"
            errors.append(invalid_value(f"{path}.matchLabelKeys[{number}]", key, why))


def validate_tolerations(tolerations: Sequence[Fields], path: str, errors: Errors) -> None:
    """Taints of nodes that the pod puts up with."""
    for number, toleration in enumerate(tolerations):
        key, operator = toleration.get("key") or "", toleration.get("operator") or ""
        effect, value = toleration.get("effect") or "", toleration.get("value") or ""
        if key:
            validate_label_key(key, f"{path}[{number}].key", errors)
        elif operator != "Exists":
            why = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            errors.append(invalid_value(f"{path}[{number}].operator", operator, why))
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            why = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            errors.append(invalid_value(f"{path}[{number}].effect", effect, why))
        if operator in ("", "Equal"):
            if problems := label_value(value):
                errors.append(invalid_value(f"{path}[{number}].operator", value, ";".join(problems)))
        elif operator == "Exists":
            if value:
                why = "value must be empty when `operator` is 'Exists'"
                errors.append(invalid_value(f"{path}[{number}].operator", value, why))
        else:
            errors.append(not_supported(f"{path}[{number}].operator", operator, ("Equal", "Exists")))
        if effect and effect not in EFFECTS:
            errors.append(not_supported(f"{path}[{number}].effect", effect, EFFECTS))


def validate_spread(constraints: Sequence[Fields], path: str, errors: Errors) -> None:
    """How evenly pods are spread over zones, nodes or any other kind of place."""
    for number, constraint in enumerate(constraints):
        at = f"{path}[{number}]"
        key, action = constraint.get("topologyKey") or "", constraint.get("whenUnsatisfiable") or ""
        checks.positive(constraint.get("maxSkew"), f"{at}.maxSkew", errors)
        if not key:
            errors.append(required(f"{at}.topologyKey", "can not be empty"))
        checks.optional_choice(action, ("DoNotSchedule", "ScheduleAnyway"), f"{at}.whenUnsatisfiable", errors)
        for other in constraints[number + 1 :]:
            if (other.get("topologyKey") or "", other.get("whenUnsatisfiable") or "") == (key, action):
                errors.append(duplicate(f"{at}.{{topologyKey, whenUnsatisfiable}}", f"{{{key}, {action}}}"))
                break
        domains = constraint.get("minDomains")
        if domains is not None:
            checks.positive(domains, f"{at}.minDomains", errors)
            if action != "DoNotSchedule":
                why = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                errors.append(invalid_value(f"{at}.minDomains", domains, why))
        for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            checks.optional_choice(constraint.get(field), ("Honor", "Ignore"), f"{at}.{field}", errors)
        _validate_label_keys(constraint, at, errors)
        validate_label_selector(constraint.get("labelSelector"), f"{at}.labelSelector", errors)


def validate_gates(gates: Sequence[Fields], path: str, errors: Errors) -> None:
    """What must be cleared before a pod is scheduled at all."""
    seen: set[str] = set()
    for number, gate in enumerate(gates):
        name = gate.get("name") or ""
        checks.qualified_name(name, f"{path}[{number}]", errors)
        if name in seen:
            errors.append(duplicate(f"{path}[{number}]", name))
        seen.add(name)


def validate_workload_reference(reference: Fields, path: str, errors: Errors) -> None:
    """The group of a Workload that the pod is placed with; neither need exist yet."""
    checks.dns_subdomain(reference.get("name") or "", f"{path}.name", errors)
    checks.dns_label(reference.get("podGroup") or "", f"{path}.podGroup", errors)
    if reference.get("podGroupReplicaKey"):
        checks.dns_label(reference["podGroupReplicaKey"], f"{path}.podGroupReplicaKey", errors)
