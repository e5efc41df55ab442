"""CustomResourceDefinitions: what else a server serves. Their schemas are looked at in
`customresourcedefinition_schemas`.

Kubernetes looks at what all versions of a definition have in common as if it stood in the spec itself, and its
messages name it so. Source: k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1/{defaults,conversion}.go,
validation/validation.go, pkg/registry/customresourcedefinition/strategy.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from apimachinery import schemas
from apimachinery.field import FieldError, forbidden_field, invalid_value, not_supported, required, warning
from apimachinery.meta import Object, get_path, with_condition
from apimachinery.names import dns1035_label, dns1123_subdomain
from apimachinery.resources import CUSTOMRESOURCEDEFINITIONS
from apimachinery.structural.tidy import tidy
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.customresourcedefinition_conditions import (
    APPROVED,
    FINALIZER,
    approval,
    bundle_problem,
    is_protected,
    is_true,
    webhook_bundle,
)
from apiserver.registry.equality import equal, immutable
from apiserver.registry.strategy import Strategy, keep_spec, keep_status
from apiserver.registry.webhooks import PORT, REVIEW_VERSIONS, validate_client

SCOPES = ("Cluster", "Namespaced")
CONVERSIONS = ("None", "Webhook")
WARNING_MAX = 256
COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
# What stands in each version, and its name where it holds of all of them.
_COMMON = {"schema": "validation", "subresources": "subresources"} | {
    field: field for field in ("additionalPrinterColumns", "selectableFields")
}
_NAME = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.CustomResourceDefinition"
_NO_VERSION = (
    "missing from spec.versions; {0} was previously a storage version, and must remain in spec.versions until a "
    "storage migration ensures no data remains persisted in {0} and removes {0} from status.storedVersions"
)


def storage_version(definition: Object) -> str | None:
    """The version in which objects are stored."""
    versions = get_path(definition, "spec", "versions") or ()
    return next((version.get("name") or "" for version in versions if version.get("storage")), None)


def coerce(definition: Object) -> tuple[list[str], list[FieldError]]:
    """Bring a definition, and the schemas in it, into the shape of the published schema."""
    pruned, unknown = schemas.prune_named(_NAME, definition, "")
    wrong = schemas.validate(CUSTOMRESOURCEDEFINITIONS, pruned)
    for number, version in enumerate(pruned["spec"].get("versions") or ()) if not wrong else ():
        holder = version.get("schema") or {}
        if holder.get("openAPIV3Schema") is not None:
            path = f"spec.versions[{number}].schema.openAPIV3Schema"
            holder["openAPIV3Schema"], more = tidy(holder["openAPIV3Schema"], path)
            wrong += more
    if pruned is not definition:
        definition.clear()
        definition.update(pruned)
    return unknown, wrong


def default(definition: Object) -> None:
    """Names that follow from the kind; versions that differ in nothing but their name."""
    spec = definition.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = names.get("kind") or ""
    if kind and not names.get("singular"):
        names["singular"] = kind.lower()
    if kind and not names.get("listKind"):
        names["listKind"] = f"{kind}List"
    if spec.get("conversion") is None:
        spec["conversion"] = {"strategy": "None"}
    service = get_path(spec, "conversion", "webhook", "clientConfig", "service")
    if service is not None and service.get("port") is None:
        service["port"] = PORT
    if not get_path(definition, "status", "storedVersions"):
        _store(definition)


def prepare_create(definition: Object) -> None:
    """Nothing is served yet."""
    definition["status"] = {"conditions": [], "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": []}
    _store(definition)


def prepare_update(definition: Object, old: Object) -> None:
    """Versions in which objects have ever been stored are kept in mind."""
    keep_status(definition, old)
    _store(definition)


def _store(definition: Object) -> None:
    version = storage_version(definition)
    if version is not None:
        status = definition.get("status") or {}
        stored = status.get("storedVersions") or []
        if version not in stored:
            definition["status"] = {**status, "storedVersions": [*stored, version]}


def places(spec: Fields, field: str) -> Iterator[tuple[str, Any, Sequence[Fields]]]:
    """(path, value, versions that it holds of) of each value of a field of versions."""
    versions = spec.get("versions") or ()
    values = [version.get(field) for version in versions]
    if values and all(equal(value, values[0]) for value in values):
        found = [(f"spec.{_COMMON[field]}", values[0], versions)]
    else:
        found = [(f"spec.versions[{number}].{field}", values[number], [one]) for number, one in enumerate(versions)]
    yield from (place for place in found if place[1])


def validate(definition: Object) -> Errors:
    """What is wrong with a definition in itself, but for the schemas of one that is there already."""
    errors: Errors = []
    spec = definition.get("spec") or {}
    names, name = spec.get("names") or {}, definition["metadata"].get("name")
    # One that is stored has a version, and its name stays.
    if not definition["metadata"].get("resourceVersion") and name != f"{names.get('plural')}.{spec.get('group')}":
        errors.append(invalid_value("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    _validate_group(spec.get("group") or "", errors)
    scope = spec.get("scope") or ""
    if not scope:
        errors.append(required("spec.scope"))
    elif scope not in SCOPES:
        errors.append(not_supported("spec.scope", scope, SCOPES))
    _validate_versions(spec.get("versions") or [], errors)
    for field in ("plural", "singular", "kind", "listKind"):
        if not names.get(field):
            errors.append(required(f"spec.names.{field}"))
    validate_names(names, "spec.names", errors)
    for path, subresources, _ in places(spec, "subresources"):
        _validate_scale(subresources.get("scale"), f"{path}.scale", errors)
    for path, columns, _ in places(spec, "additionalPrinterColumns"):
        for number, column in enumerate(columns):
            _validate_column(column, f"{path}[{number}]", errors)
    for path, selectable, versions in places(spec, "selectableFields"):
        _validate_selectable(selectable, versions, path, errors)
    _validate_conversion(spec.get("conversion") or {}, "spec.conversion", errors)
    _validate_stored(definition, errors)
    if spec.get("preserveUnknownFields"):
        why = (
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"
        )
        errors.append(invalid_value("spec.preserveUnknownFields", True, why))
    if not definition["metadata"].get("resourceVersion"):
        _validate_approval(definition, errors)
        errors += _validate_schemas(definition, None)
    return errors


def _validate_schemas(definition: Object, old: Object | None) -> Errors:
    """What is wrong with the schemas that are not as they were before, and which formats in them nobody knows."""
    from apiserver.registry import (
        customresourcedefinition_schemas as rules,  # much, and not needed to read definitions
    )

    errors: Errors = []
    spec = definition["spec"]
    before = {version.get("name"): version for version in get_path(old or {}, "spec", "versions") or ()}
    for path, holder, versions in places(spec, "schema"):
        schema = holder.get("openAPIV3Schema")
        if schema is None or all(_same_rules(version, before.get(version.get("name"))) for version in versions):
            continue
        status = any(get_path(version, "subresources", "status") is not None for version in versions)
        errors += rules.validate_schema(schema, f"{path}.openAPIV3Schema", status=status)
    known = set(_unknown_formats(old or {}))
    return errors + [
        warning(f'unrecognized format "{name}"') for name in _unknown_formats(definition) if name not in known
    ]


def _same_rules(version: Fields, before: Fields | None) -> bool:
    fields = ("schema", "subresources")
    return before is not None and all(equal(version.get(field), before.get(field)) for field in fields)


def _unknown_formats(definition: Object) -> Iterator[str]:
    from apiserver.registry import (
        customresourcedefinition_schemas as rules,  # much, and not needed to read definitions
    )

    for version in get_path(definition, "spec", "versions") or ():
        schema = get_path(version, "schema", "openAPIV3Schema")
        if schema is not None:
            yield from rules.unknown_formats(schema)


def validate_update(definition: Object, old: Object) -> Errors:
    """What names objects, and where they are stored, stays."""
    errors: Errors = []
    fields: list[tuple[str, ...]] = [("scope",), ("names", "kind")] if is_true(old, "Established") else []
    for path in (*fields, ("group",), ("names", "plural")):
        value, before = (get_path(one, "spec", *path, default="") for one in (definition, old))
        immutable(value, before, f"spec.{'.'.join(path)}", errors)
    if approval(definition)[0] != approval(old)[0]:
        _validate_approval(definition, errors)
    _validate_bundle(definition, old, errors)
    return errors + _validate_schemas(definition, old)


def _validate_bundle(definition: Object, old: Object, errors: Errors) -> None:
    """What is established needs certificates that can be used; what it had that can't be may stay."""
    bundle = webhook_bundle(definition)
    if is_true(old, "Established") and not bundle_problem(webhook_bundle(old)) and (why := bundle_problem(bundle)):
        errors.append(invalid_value("spec.conversion.webhookClientConfig.caBundle", bundle, why))


def validate_status(definition: Object, old: Object) -> Errors:
    """The names under which objects are served."""
    errors: Errors = []
    validate_names(get_path(definition, "status", "acceptedNames") or {}, "status.acceptedNames", errors)
    return errors


def _validate_group(group: str, errors: Errors) -> None:
    if not group:
        errors.append(required("spec.group"))
    elif problems := dns1123_subdomain(group):
        errors.append(invalid_value("spec.group", group, ",".join(problems)))
    elif "." not in group:
        errors.append(invalid_value("spec.group", group, "should be a domain with at least one dot"))


def _validate_versions(versions: list[Any], errors: Errors) -> None:
    for number, version in enumerate(versions):
        path, name = f"spec.versions[{number}]", version.get("name") or ""
        if get_path(version, "schema", "openAPIV3Schema") is None:
            errors.append(required(f"{path}.schema.openAPIV3Schema"))
        if problems := dns1035_label(name):
            errors.append(invalid_value(f"{path}.name", name, ",".join(problems)))
        warning = version.get("deprecationWarning")
        if warning is not None:
            for why in _warning_problems(warning, deprecated=bool(version.get("deprecated"))):
                errors.append(invalid_value(f"{path}.deprecationWarning", warning, why))
    if len({version.get("name") or "" for version in versions}) < len(versions):
        errors.append(invalid_value("spec.versions", versions, "must contain unique version names"))
    if sum(bool(version.get("storage")) for version in versions) != 1:
        why = "must have exactly one version marked as storage version"
        errors.append(invalid_value("spec.versions", versions, why))


def _warning_problems(warning: str, *, deprecated: bool) -> list[str]:
    if not deprecated:
        return ["can only be set for deprecated versions"]
    found = []
    if len(warning.encode()) > WARNING_MAX:
        found.append(f"must be <= {WARNING_MAX} characters long")
    if not warning:
        found.append("must not be an empty string")
    bad = next((at for at, character in enumerate(warning) if not character.isprintable()), None)
    if bad is not None:
        at = len(warning[:bad].encode())
        found.append(f"must only contain printable UTF-8 characters; non-printable character found at index {at}")
    return found


def validate_names(names: Fields, path: str, errors: Errors) -> None:
    """Names of resources and kinds are labels of the DNS, kinds in mixed case."""
    for field in ("plural", "singular", "kind", "listKind"):
        name, cased = names.get(field) or "", field in ("kind", "listKind")
        problems = dns1035_label(name.lower() if cased else name) if name else []
        if problems:
            but = "may have mixed case, but should otherwise match: " if cased else ""
            errors.append(invalid_value(f"{path}.{field}", name, but + ",".join(problems)))
    _validate_labels(names, "shortNames", path, errors)
    if names.get("kind") and names.get("kind") == names.get("listKind"):
        errors.append(invalid_value(f"{path}.listKind", names["listKind"], "kind and listKind may not be the same"))
    _validate_labels(names, "categories", path, errors)


def _validate_labels(names: Fields, field: str, path: str, errors: Errors) -> None:
    for number, name in enumerate(names.get(field) or ()):
        if problems := dns1035_label(name):
            errors.append(invalid_value(f"{path}.{field}[{number}]", name, ",".join(problems)))


def _validate_scale(scale: Fields | None, path: str, errors: Errors) -> None:
    if scale is None:
        return
    for field, beginning in (("specReplicasPath", ".spec."), ("statusReplicasPath", ".status.")):
        place, at = scale.get(field) or "", f"{path}.{field}"
        if not place:
            errors.append(required(at))
        elif _validate_path(place, at, errors) and not place.startswith(beginning):
            why = f"should be a json path under {beginning.rstrip('.')}"
            errors.append(invalid_value(at, place, why))
    place, at = scale.get("labelSelectorPath") or "", f"{path}.labelSelectorPath"
    if place and _validate_path(place, at, errors) and not place.startswith((".spec.", ".status.")):
        errors.append(invalid_value(at, place, "should be a json path under either .spec or .status"))


def _validate_path(place: str, path: str, errors: Errors) -> bool:
    if place.startswith("."):
        return True
    errors.append(invalid_value(path, place, "must be a simple json path starting with ."))
    return False


def _validate_column(column: Fields, path: str, errors: Errors) -> None:
    if not column.get("name"):
        errors.append(required(f"{path}.name"))
    kind, form, place = (column.get(field) or "" for field in ("type", "format", "jsonPath"))
    one_of = f"must be one of {','.join(COLUMN_TYPES)}"
    if not kind:
        errors.append(required(f"{path}.type", one_of))
    elif kind not in COLUMN_TYPES:
        errors.append(invalid_value(f"{path}.type", kind, one_of))
    if form and form not in COLUMN_FORMATS:
        errors.append(invalid_value(f"{path}.format", form, f"must be one of {','.join(COLUMN_FORMATS)}"))
    if not place:
        errors.append(required(f"{path}.JSONPath"))
    else:
        _validate_path(place, f"{path}.JSONPath", errors)


def _validate_selectable(selectable: Sequence[Fields], versions: Sequence[Fields], path: str, errors: Errors) -> None:
    from apiserver.registry import (
        customresourcedefinition_schemas as rules,  # much, and not needed to read definitions
    )

    if any(get_path(version, "schema", "openAPIV3Schema") is None for version in versions):
        errors.append(invalid_value(path, "", "may only be set when validations.schema is included"))
        return
    for version in versions:
        schema = version["schema"]["openAPIV3Schema"]
        errors += [e for e in rules.validate_selectable(selectable, schema, path) if e not in errors]


def _validate_conversion(conversion: Fields, path: str, errors: Errors) -> None:
    strategy, webhook = conversion.get("strategy") or "", conversion.get("webhook") or {}
    client, versions = webhook.get("clientConfig"), webhook.get("conversionReviewVersions") or []
    if not strategy:
        errors.append(required(f"{path}.strategy"))
    elif strategy not in CONVERSIONS:
        errors.append(not_supported(f"{path}.strategy", strategy, CONVERSIONS))
    at, reviews = f"{path}.webhookClientConfig", f"{path}.conversionReviewVersions"
    if strategy != "Webhook":
        why = "should not be set when strategy is not set to Webhook"
        errors += [forbidden_field(where, why) for where, value in ((at, client), (reviews, versions)) if value]
        return
    if client is None:
        errors.append(required(at, "required when strategy is set to Webhook"))
    else:
        validate_client(client, at, errors)
    if not versions:
        errors.append(required(reviews))
        return
    for number, version in enumerate(versions):
        one = f"{reviews}[{number}]"
        if version in versions[:number]:
            errors.append(invalid_value(one, version, "duplicate version"))
        else:
            errors += [invalid_value(one, version, why) for why in dns1035_label(version)]
    if not set(versions) & set(REVIEW_VERSIONS):
        errors.append(invalid_value(reviews, versions, f"must include at least one of {', '.join(REVIEW_VERSIONS)}"))


def _validate_stored(definition: Object, errors: Errors) -> None:
    path, stored = "status.storedVersions", get_path(definition, "status", "storedVersions") or []
    if not stored:
        errors.append(invalid_value(path, stored, "must have at least one stored version"))
        return
    served = [version.get("name") for version in get_path(definition, "spec", "versions") or ()]
    for number, version in enumerate(stored):
        if version not in served:
            errors.append(invalid_value(f"{path}[{number}]", version, _NO_VERSION.format(version)))


def _validate_approval(definition: Object, errors: Errors) -> None:
    if not is_protected(definition):
        return
    path = f"metadata.annotations[{APPROVED}]"
    state, why = approval(definition)
    if state == "missing":
        errors.append(required(path, why))
    elif state == "invalid":
        errors.append(invalid_value(path, definition["metadata"]["annotations"][APPROVED], why))


def _kept(definition: Object) -> bool:
    """None goes at once: its objects go first, for which `begin_deletion` has it wait."""
    return not definition["metadata"].get("deletionTimestamp")


def begin_deletion(definition: Object) -> None:
    """Have a definition wait for its objects to go."""
    metadata, status = definition["metadata"], definition.get("status") or {}
    finalizers = metadata.get("finalizers") or []
    metadata["finalizers"] = finalizers if FINALIZER in finalizers else [*finalizers, FINALIZER]
    told = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon"
    conditions = with_condition(
        status.get("conditions"),
        type="Terminating",
        status="True",
        reason="InstanceDeletionPending",
        message=told,
        now=metadata["deletionTimestamp"],
    )
    definition["status"] = {**status, "conditions": conditions}


STRATEGY = Strategy(
    CUSTOMRESOURCEDEFINITIONS,
    coerce=coerce,
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    # The finalizer that holds a definition until its objects are gone is taken away through the status.
    prepare_status=keep_spec,
    validate=validate,
    validate_update=validate_update,
    validate_status=validate_status,
    begin_deletion=begin_deletion,
    kept=_kept,
    counts_generations=True,
    restricts_finalizers=False,
    unconditional_update=False,
)
