"""The schemas of CustomResourceDefinitions: structural, with defaults that are right, and rules that compile.

Source: k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation/validation.go and
pkg/apiserver/schema/defaulting/validation.go, whose words are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from apimachinery import cel
from apimachinery.cel.estimation import STATIC_COST_LIMIT, STATIC_CRD_COST_LIMIT, exceeded
from apimachinery.field import (
    FieldError,
    duplicate,
    forbidden_field,
    internal_error,
    invalid_value,
    not_supported,
    required,
    too_many,
)
from apimachinery.structural import rules
from apimachinery.structural.fieldpaths import PathError, resolve_path
from apimachinery.structural.formats import is_known
from apimachinery.structural.invariants import unsupported, validate_structural
from apimachinery.structural.rules import Rule
from apimachinery.structural.walk import META_FIELDS, Schema, items_of, properties_of, schemas_below, values_of
from apiserver.registry.customresourcedefinition_defaults import validate_defaults

Errors = list[FieldError]

TYPES = ("array", "boolean", "integer", "number", "object", "string")
REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
SELECTABLE_MAX = 8
# What may stand at the root where the status is written on its own, by what Kubernetes calls it.
_ROOT = {
    **{"description": "Description", "type": "Type", "format": "Format", "title": "Title"},
    **{"maximum": "Maximum", "exclusiveMaximum": "ExclusiveMaximum"},
    **{"minimum": "Minimum", "exclusiveMinimum": "ExclusiveMinimum"},
    **{"maxLength": "MaxLength", "minLength": "MinLength", "pattern": "Pattern"},
    **{"maxItems": "MaxItems", "minItems": "MinItems", "uniqueItems": "UniqueItems", "multipleOf": "MultipleOf"},
    **{"required": "Required", "items": "Items", "properties": "Properties"},
    **{"externalDocs": "ExternalDocs", "example": "Example"},
    "x-kubernetes-preserve-unknown-fields": "XPreserveUnknownFields",
    "x-kubernetes-validations": "XValidations",
}
_UNSUPPORTED = (
    *(("id", "id"), ("additionalItems", "additionalItems"), ("patternProperties", "patternProperties")),
    *(("definitions", "definitions"), ("dependencies", "dependencies"), ("$ref", "$ref")),
)
_SELECTABLE_TYPES = ("string", "boolean", "integer")
_EXCLUSIVE = "additionalProperties and properties are mutual exclusive"
_UNIQUE = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
_KEY = "this property is in x-kubernetes-list-map-keys, so it"
# So many rules are named when all of them together cost too much, if they are a hundredth of what they may.
_NAMED_MAX, _NAMED_MIN = 4, STATIC_CRD_COST_LIMIT // 100
_NO_TYPE = (
    "internal error: failed to construct type information for x-kubernetes-validations rules: unable to convert "
    "structural schema to CEL declarations"
)


def validate_schema(schema: Schema, path: str, *, status: bool) -> Errors:
    """What is wrong with the schema of a version; `status`: its status is written on its own."""
    errors: Errors = []
    if status:
        _validate_root(schema, path, errors)
    if schema.get("nullable"):
        errors.append(forbidden_field(f"{path}.nullable", "nullable cannot be true at the root"))
    unusable = unsupported(schema)
    found = [] if unusable else validate_structural(schema, path) or validate_defaults(schema, path)
    errors += found
    walk = _Walk(errors)
    walk.visit(schema, path, _Context(judges_rules=not unusable and not found), is_root=True)
    walk.refuse_total(path)
    if unusable and not errors:
        errors.append(invalid_value(path, "", unusable))
    return errors


def unknown_formats(schema: Schema) -> Iterator[str]:
    """The formats of strings that constrain nothing, as nobody knows them."""
    for one in schemas_below(schema):
        name = one.get("format")
        if name and one.get("type") == "string" and not is_known(name):
            yield name


def validate_selectable(selectable: Sequence[Mapping[str, Any]], schema: Schema, path: str) -> Errors:
    """What is wrong with the fields that selectors may name."""
    errors: Errors = []
    seen: set[str] = set()
    for number, field in enumerate(selectable):
        place, at = field.get("jsonPath") or "", f"{path}[{number}].jsonPath"
        if not place:
            errors.append(required(at))
            continue
        try:
            shown, found = resolve_path(place, schema, brackets=False)
        except PathError as error:
            errors.append(invalid_value(at, place, f"is an invalid path: {error}"))
            continue
        if shown.partition(".")[0] == "metadata":
            errors.append(invalid_value(at, place, "must not point to fields in metadata"))
        if found.get("type") not in _SELECTABLE_TYPES:
            why = (
                "must point to a field of type string, boolean or integer. Enum string fields and strings with "
                "formats are allowed."
            )
            errors.append(invalid_value(at, place, why))
        if shown in seen:
            errors.append(duplicate(at, place))
        seen.add(shown)
    if len(seen) > SELECTABLE_MAX:
        errors.append(too_many(path, len(seen), SELECTABLE_MAX))
    return errors


def _validate_root(schema: Schema, path: str, errors: Errors) -> None:
    said = [key for key, value in schema.items() if value not in (None, "", [], {}, False)]
    if schema.get("type") and schema["type"] != "object":
        why = 'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
        errors.append(invalid_value(f"{path}.type", schema["type"], why))
    elif any(key not in _ROOT for key in said):
        allowed = " ".join(_ROOT.values())
        why = f"only [{allowed}] fields are allowed at the root of the schema if the status subresource is enabled"
        errors.append(invalid_value(path, dict(schema), why))


@dataclass(frozen=True, slots=True)
class _Context:
    """What holds of a place by what is above it.

    `no_defaults` tells why there may be none, `uncorrelated` from where on old and new values can't be told to belong
    together, `judges_rules` whether rules mean anything there, and `count` how many values there are of the place at
    most (None: nothing limits that).
    """

    judges_rules: bool
    no_defaults: str = ""
    in_metadata: bool = False
    uncorrelated: str = ""
    count: int | None = 1

    def without_rules(self) -> _Context:
        """The same for schemas in allOf and its like."""
        return replace(self, judges_rules=False)

    def below(self, schema: Schema) -> _Context:
        """The same for what is inside of values of a schema."""
        most = _elements_max(schema)
        if most == 1:
            return self
        return replace(self, count=None if self.count is None or most is None else self.count * most)


def _elements_max(schema: Schema) -> int | None:
    kind = schema.get("type")
    if kind == "array":
        return schema.get("maxItems")
    if kind == "object" and schema.get("additionalProperties") is not None:
        return schema.get("maxProperties")
    return 1


class _Walk:
    """One walk over a schema; errors of rules come after all others."""

    def __init__(self, errors: Errors) -> None:
        self._errors = errors
        self._costs: list[tuple[int, str]] = []

    def visit(self, schema: Schema, path: str, context: _Context, *, is_root: bool = False) -> None:
        before = len(self._errors)
        self._standard(schema, path, context)
        self._object(schema, path, context, is_root=is_root)
        if schema.get("not") is not None:
            self.visit(schema["not"], f"{path}.not", context.without_rules())
        for key in ("allOf", "oneOf", "anyOf"):
            for number, inner in enumerate(schema.get(key) or ()):
                self.visit(inner, f"{path}.{key}[{number}]", context.without_rules())
        self._array(schema, path, context)
        self._topology(schema, path)
        for number, rule in enumerate(schema.get("x-kubernetes-validations") or ()):
            self._rule_text(rule, schema, f"{path}.x-kubernetes-validations[{number}]")
        # While anything else is wrong, what rules mean can't be told.
        if len(self._errors) == before and context.judges_rules:
            self._rules(schema, path, context, is_root=is_root)

    def _standard(self, schema: Schema, path: str, context: _Context) -> None:
        kind = schema.get("type") or ""
        if kind and kind not in TYPES:
            self._errors.append(not_supported(f"{path}.type", kind, TYPES))
        if schema.get("default") is not None and context.no_defaults:
            self._forbid(f"{path}.default", f"must not be set {context.no_defaults}")
        for key, shown in _UNSUPPORTED:
            if schema.get(key):
                self._forbid(f"{path}.{key}", f"{shown} is not supported")
        if kind == "null":
            self._forbid(f"{path}.type", "type cannot be set to null, use nullable as an alternative")
        if isinstance(schema.get("items"), list) and schema["items"]:
            self._forbid(f"{path}.items", "items must be a schema object and not an array")
        if context.in_metadata and schema.get("x-kubernetes-embedded-resource"):
            self._forbid(f"{path}.x-kubernetes-embedded-resource", "must not be used inside of resource meta")
        if schema.get("uniqueItems"):
            self._forbid(f"{path}.uniqueItems", _UNIQUE)
        if schema.get("x-kubernetes-preserve-unknown-fields") is False:
            at = f"{path}.x-kubernetes-preserve-unknown-fields"
            self._errors.append(invalid_value(at, False, "must be true or undefined"))

    def _forbid(self, path: str, why: str) -> None:
        self._errors.append(forbidden_field(path, why))

    def _object(self, schema: Schema, path: str, context: _Context, *, is_root: bool) -> None:
        properties, extra, values = properties_of(schema), schema.get("additionalProperties"), values_of(schema)
        if extra is not None and extra is not True and properties:
            self._forbid(f"{path}.additionalProperties", _EXCLUSIVE)
        below = context.below(schema)
        if values is not None:
            inner = below
            if context.in_metadata:
                inner = replace(below, no_defaults="inside additionalProperties applying to object metadata")
            self.visit(values, f"{path}.additionalProperties", inner)
        is_resource = is_root or bool(schema.get("x-kubernetes-embedded-resource"))
        for name, one in properties.items():
            inner = below
            if is_resource and name in META_FIELDS:
                inner = replace(inner, in_metadata=True)
                if is_root:
                    inner = replace(inner, no_defaults=f"in top-level {name}")
            self.visit(one, f"{path}.properties[{name}]", inner)

    def _array(self, schema: Schema, path: str, context: _Context) -> None:
        items = items_of(schema)
        if items is None:
            return
        if schema.get("x-kubernetes-list-type") != "map" and not context.uncorrelated:
            context = replace(context, uncorrelated=path)
        self.visit(items, f"{path}.items", context.below(schema))

    def _topology(self, schema: Schema, path: str) -> None:
        """Maps, and lists that are sets or maps."""
        kind, map_type = schema.get("type") or "", schema.get("x-kubernetes-map-type")
        if map_type is not None:
            self._typed(kind, "object", f"{path}.type", "must be object if x-kubernetes-map-type is specified")
            if map_type not in ("atomic", "granular"):
                at = f"{path}.x-kubernetes-map-type"
                self._errors.append(not_supported(at, map_type, ("atomic", "granular")))
        list_type, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or []
        items, at = items_of(schema), f"{path}.x-kubernetes-list-type"
        if list_type is not None:
            self._typed(kind, "array", f"{path}.type", "must be array if x-kubernetes-list-type is specified")
            if kind == "array" and list_type == "set" and items is not None:
                self._set_items(items, f"{path}.items")
            if list_type not in ("atomic", "set", "map"):
                self._errors.append(not_supported(at, list_type, ("atomic", "set", "map")))
        if keys:
            self._typed(list_type or "", "map", at, "must be map if x-kubernetes-list-map-keys is non-empty")
        if list_type == "map":
            self._map_items(items, keys, path)
        if list_type in ("set", "map") and items is not None:
            self._never_null(items, keys if list_type == "map" else [], list_type, path)

    def _typed(self, have: str, wanted: str, path: str, why: str) -> None:
        if have != wanted:
            self._errors.append(invalid_value(path, have, why) if have else required(path, why))

    def _set_items(self, items: Schema, path: str) -> None:
        why = "must be atomic as item of a list with x-kubernetes-list-type=set"
        list_type, map_type = items.get("x-kubernetes-list-type"), items.get("x-kubernetes-map-type")
        if items.get("type") == "array" and list_type not in (None, "atomic"):
            self._errors.append(invalid_value(f"{path}.x-kubernetes-list-type", list_type, why))
        if items.get("type") == "object" and map_type != "atomic":
            self._errors.append(invalid_value(f"{path}.x-kubernetes-map-type", list_type, why))

    def _map_items(self, items: Schema | None, keys: list[str], path: str) -> None:
        at = f"{path}.x-kubernetes-list-map-keys"
        if not keys:
            self._errors.append(required(at, "must not be empty if x-kubernetes-list-type is map"))
        if items is None:
            self._errors.append(required(f"{path}.items", "must have a schema if x-kubernetes-list-type is map"))
            return
        kind = items.get("type") or ""
        if kind != "object":
            why = "must be object if parent array's x-kubernetes-list-type is map"
            self._errors.append(invalid_value(f"{path}.items.type", kind, why))
            return
        properties = properties_of(items)
        for number, key in enumerate(keys):
            known = properties.get(key)
            if known is None:
                self._errors.append(invalid_value(at, keys, "entries must all be names of item properties"))
            elif known.get("type") in ("array", "object"):
                why = "must be a scalar type if parent array's x-kubernetes-list-type is map"
                self._errors.append(invalid_value(f"{path}.items.properties[{key}].type", kind, why))
            if key in keys[:number]:
                self._errors.append(invalid_value(at, keys, "must not contain duplicate entries"))

    def _never_null(self, items: Schema, keys: list[str], list_type: str, path: str) -> None:
        """What tells items apart is always there."""
        if items.get("nullable"):
            self._forbid(f"{path}.items.nullable", f"cannot be nullable when x-kubernetes-list-type is {list_type}")
        properties = properties_of(items)
        for key in keys:
            known, at = properties.get(key), f"{path}.items.properties[{key}]"
            if known is None:
                continue
            if key not in (items.get("required") or ()) and known.get("default") is None:
                self._errors.append(
                    required(f"{at}.default", f"{_KEY} must have a default or be a required property")
                )
            if known.get("nullable"):
                self._forbid(f"{at}.nullable", f"{_KEY} cannot be nullable")

    def _rule_text(self, rule: Mapping[str, Any], schema: Schema, path: str) -> None:
        text, message = rule.get("rule") or "", rule.get("message") or ""
        if not text.strip():
            self._errors.append(required(f"{path}.rule", "rule is not specified"))
        elif message and not message.strip():
            self._invalid(f"{path}.message", message, "must be non-empty if specified")
        elif _has_line_breaks(message.strip()):
            self._invalid(f"{path}.message", message, "must not contain line breaks")
        elif _has_line_breaks(text.strip()) and not message.strip():
            why = "message must be specified if rule contains line breaks"
            self._errors.append(required(f"{path}.message", why))
        expression, reason, field = (rule.get(key) for key in ("messageExpression", "reason", "fieldPath"))
        if expression and not expression.strip():
            why = "messageExpression must be non-empty if specified"
            self._errors.append(required(f"{path}.messageExpression", why))
        if reason is not None and reason not in REASONS:
            self._errors.append(not_supported(f"{path}.reason", reason, REASONS))
        if not field:
            return
        if not field.strip():
            self._invalid(f"{path}.fieldPath", field, "must be non-empty if specified")
        if _has_line_breaks(field):
            self._invalid(f"{path}.fieldPath", field, "must not contain line breaks")
        try:
            resolve_path(field, schema)
        except PathError:
            self._invalid(f"{path}.fieldPath", field, "must be a valid path")

    def _invalid(self, path: str, value: Any, why: str) -> None:
        self._errors.append(invalid_value(path, value, why))

    def _rules(self, schema: Schema, path: str, context: _Context, *, is_root: bool) -> None:
        texts, at = schema.get("x-kubernetes-validations") or (), f"{path}.x-kubernetes-validations"
        if not texts:
            return
        is_resource = is_root or bool(schema.get("x-kubernetes-embedded-resource"))
        kind = cel.type_of_schema(schema, is_root=is_resource)
        if kind is None:
            self._errors.append(internal_error(at, _NO_TYPE))
            return
        for number, text in enumerate(texts):
            rule = rules.compile_rule(text, kind, schema)
            self._rule(rule, f"{at}[{number}]", context)
            self._cost(rule, rules.estimate(rule, schema, is_root=is_resource), f"{at}[{number}]", context)

    def _cost(self, rule: Rule, estimate: rules.Estimate, path: str, context: _Context) -> None:
        """Refuse a rule that may cost too much, and keep in mind what it costs."""
        count = estimate.count_max if context.count is None else context.count
        for part, what, cost in (
            ("rule", "estimated rule cost", estimate.rule * count),
            ("messageExpression", "estimated messageExpression cost", estimate.message),
        ):
            if cost > STATIC_COST_LIMIT:
                self._forbid(f"{path}.{part}", exceeded(what, cost, STATIC_COST_LIMIT))
            self._costs.append((cost, f"{path}.{part}"))

    def refuse_total(self, path: str) -> None:
        """Refuse rules that together may cost too much."""
        total = sum(cost for cost, _ in self._costs)
        if total <= STATIC_CRD_COST_LIMIT:
            return
        for cost, place in sorted(self._costs, key=lambda one: -one[0])[:_NAMED_MAX]:
            if cost >= _NAMED_MIN:
                why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema"
                self._forbid(place, why)
        what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema"
        self._forbid(path, exceeded(what, total, STATIC_CRD_COST_LIMIT))

    def _rule(self, rule: Rule, path: str, context: _Context) -> None:
        if rule.error:
            self._invalid(f"{path}.rule", _shown(rule.wire), rule.error)
            return
        if rule.message_error:
            self._invalid(f"{path}.messageExpression", _shown(rule.wire), rule.message_error)
        if rule.is_transition and context.uncorrelated:
            why = f"oldSelf cannot be used on the uncorrelatable portion of the schema within {context.uncorrelated}"
            self._invalid(f"{path}.rule", rule.wire["rule"], why)
        elif not rule.is_transition and rule.wire.get("optionalOldSelf") is not None:
            why = "may not be set if oldSelf is not used in rule"
            self._invalid(f"{path}.optionalOldSelf", rule.wire["optionalOldSelf"], why)


def _has_line_breaks(text: str) -> bool:
    return "\n" in text or "\r" in text


def _shown(wire: Mapping[str, Any]) -> dict[str, Any]:
    """A rule as Kubernetes prints it in a message: every field, by what its code calls them."""
    return {
        "Rule": wire.get("rule") or "",
        "Message": wire.get("message") or "",
        "MessageExpression": wire.get("messageExpression") or "",
        "Reason": wire.get("reason"),
        "FieldPath": wire.get("fieldPath") or "",
        "OptionalOldSelf": wire.get("optionalOldSelf"),
    }
