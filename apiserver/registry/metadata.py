"""What holds of every object's metadata, and of the labels, annotations and label selectors inside others.

Source: k8s.io/apimachinery/pkg/api/validation/objectmeta.go and pkg/apis/meta/v1/validation, whose words are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from apimachinery import names
from apimachinery.field import FieldError, forbidden_field, invalid_value, required, too_long
from apimachinery.meta import Object
from apiserver.registry.strategy import Strategy

ANNOTATIONS_BYTES_MAX = 256 * 1024
IMMUTABLE = "field is immutable"
NOT_NEGATIVE = "must be greater than or equal to 0"
_ORPHAN, _FOREGROUND = "orphan", "foregroundDeletion"
STANDARD_FINALIZERS = ("kubernetes", _ORPHAN, _FOREGROUND)
_FIXED = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")

# The same few labels come again and again.
_key_problems = lru_cache(maxsize=4096)(names.qualified_name)
_value_problems = lru_cache(maxsize=4096)(names.label_value)


def validate_metadata(obj: Object, strategy: Strategy) -> list[FieldError]:
    """What is wrong with the metadata of an object that is to be created; its name has been generated already."""
    metadata = obj["metadata"]
    errors: list[FieldError] = []
    generate = metadata.get("generateName")
    if generate:
        whole = f"{generate[:-1]}a" if len(generate) > 1 and generate.endswith("-") else generate
        errors += [invalid_value("metadata.generateName", generate, why) for why in strategy.validate_name(whole)]
    name = metadata.get("name")
    if not name:
        errors.append(required("metadata.name", "name or generateName is required"))
    else:
        errors += [invalid_value("metadata.name", name, why) for why in strategy.validate_name(name)]
    namespace = metadata.get("namespace")
    if strategy.resource.namespaced:
        if not namespace:
            errors.append(required("metadata.namespace"))
        else:
            problems = names.dns1123_label(namespace)
            errors += [invalid_value("metadata.namespace", namespace, why) for why in problems]
    elif namespace:
        errors.append(forbidden_field("metadata.namespace", "not allowed on this type"))
    if (metadata.get("generation") or 0) < 0:
        errors.append(invalid_value("metadata.generation", metadata["generation"], NOT_NEGATIVE))
    _validate_common(metadata, errors)
    if finalizers := metadata.get("finalizers"):
        _validate_finalizers(finalizers, "metadata.finalizers", errors, anywhere=not strategy.restricts_finalizers)
    return errors


def validate_metadata_update(obj: Object, old: Object, strategy: Strategy) -> list[FieldError]:
    """What may not be done to the metadata of `old`."""
    metadata, before = obj["metadata"], old["metadata"]
    errors: list[FieldError] = []
    if before.get("deletionTimestamp"):
        new = sorted(set(metadata.get("finalizers") or ()) - set(before.get("finalizers") or ()))
        if new:
            shown = ", ".join(f'"{finalizer}"' for finalizer in new)
            why = "no new finalizers can be added if the object is being deleted, found new finalizers []string{%s}"
            errors.append(forbidden_field("metadata.finalizers", why % shown))
    for finalizer in sorted(set(metadata.get("finalizers") or ()) - set(before.get("finalizers") or ())):
        validate_finalizer(finalizer, "metadata.finalizers", errors, anywhere=not strategy.restricts_finalizers)
    if not metadata.get("resourceVersion"):
        errors.append(invalid_value("metadata.resourceVersion", "", "must be specified for an update"))
    if (metadata.get("generation") or 0) < (before.get("generation") or 0):
        generation = metadata.get("generation") or 0
        errors.append(invalid_value("metadata.generation", generation, "must not be decremented"))
    for field in _FIXED:
        if metadata.get(field) != before.get(field):
            errors.append(invalid_value(f"metadata.{field}", metadata.get(field), IMMUTABLE))
    _validate_common(metadata, errors)
    return errors


def _validate_common(metadata: Mapping[str, Any], errors: list[FieldError]) -> None:
    if labels := metadata.get("labels"):
        validate_labels(labels, "metadata.labels", errors)
    if annotations := metadata.get("annotations"):
        validate_annotations(annotations, "metadata.annotations", errors)
    if references := metadata.get("ownerReferences"):
        _validate_owners(references, "metadata.ownerReferences", errors)


def validate_labels(labels: Mapping[str, str], path: str, errors: list[FieldError]) -> None:
    """Keys and values of labels; all are told of at the map's own path."""
    for key, value in labels.items():
        if problems := _key_problems(key):
            errors += [invalid_value(path, key, why) for why in problems]
        if problems := _value_problems(value or ""):
            errors += [invalid_value(path, value, why) for why in problems]


def validate_label_key(key: str, path: str, errors: list[FieldError]) -> None:
    """One key of a label, where a field names it."""
    errors += [invalid_value(path, key, why) for why in _key_problems(key)]


def validate_annotations(annotations: Mapping[str, str], path: str, errors: list[FieldError]) -> None:
    """Keys of annotations, in which case doesn't matter, and their size all together."""
    size = 0
    for key, value in annotations.items():
        if problems := _key_problems(key.lower()):
            errors += [invalid_value(path, key, why) for why in problems]
        size += len(key) + len(value or "")
    # Characters count at most four bytes each: measure exactly only what may be too much.
    if size > ANNOTATIONS_BYTES_MAX // 4:
        size = sum(len(key.encode()) + len((value or "").encode()) for key, value in annotations.items())
        if size > ANNOTATIONS_BYTES_MAX:
            errors.append(too_long(path, ANNOTATIONS_BYTES_MAX))


def validate_label_selector(selector: Mapping[str, Any] | None, path: str, errors: list[FieldError]) -> None:
    """A LabelSelector; None is right."""
    if not selector:
        return
    if labels := selector.get("matchLabels"):
        validate_labels(labels, f"{path}.matchLabels", errors)
    for number, requirement in enumerate(selector.get("matchExpressions") or ()):
        at = f"{path}.matchExpressions[{number}]"
        operator, values = requirement.get("operator") or "", requirement.get("values") or ()
        if operator in ("In", "NotIn"):
            if not values:
                why = "must be specified when `operator` is 'In' or 'NotIn'"
                errors.append(required(f"{at}.values", why))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                errors.append(forbidden_field(f"{at}.values", why))
        else:
            errors.append(invalid_value(f"{at}.operator", operator, "not a valid selector operator"))
        validate_label_key(requirement.get("key") or "", f"{at}.key", errors)
        for index, value in enumerate(values):
            errors += [invalid_value(f"{at}.values[{index}]", value, why) for why in _value_problems(value)]


def _validate_owners(references: Sequence[Mapping[str, Any]], path: str, errors: list[FieldError]) -> None:
    controller = ""
    for reference in references:
        version, kind = reference.get("apiVersion") or "", reference.get("kind") or ""
        if not version.rpartition("/")[2]:
            errors.append(invalid_value(f"{path}.apiVersion", version, "version must not be empty"))
        for field in ("kind", "name", "uid"):
            if not reference.get(field):
                errors.append(invalid_value(f"{path}.{field}", "", "must not be empty"))
        if (version, kind) == ("v1", "Event"):
            why = "/v1, Kind=Event is disallowed from being an owner"
            errors.append(invalid_value(path, reference, why))
        if reference.get("controller"):
            this = f"{kind}/{reference.get('name') or ''}"
            if controller:
                why = (
                    "Only one reference can have Controller set to true. "
                    f'Found "true" in references for {controller} and {this}'
                )
                errors.append(invalid_value(path, references, why))
            else:
                controller = this


def validate_finalizer(finalizer: str, path: str, errors: list[FieldError], *, anywhere: bool = False) -> None:
    """The name of a finalizer: Kubernetes' own, or one in somebody's domain; or in none, if it may be `anywhere`."""
    errors += [invalid_value(path, finalizer, why) for why in _key_problems(finalizer)]
    if not anywhere and "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
        why = "name is neither a standard finalizer name nor is it fully qualified"
        errors.append(invalid_value(path, finalizer, why))


def _validate_finalizers(finalizers: Sequence[str], path: str, errors: list[FieldError], *, anywhere: bool) -> None:
    for finalizer in finalizers:
        validate_finalizer(finalizer, path, errors, anywhere=anywhere)
    if _ORPHAN in finalizers and _FOREGROUND in finalizers:
        why = f"finalizer {_ORPHAN} and {_FOREGROUND} cannot be both set"
        errors.append(invalid_value(path, finalizers, why))
