"""Environment variables of containers, and the fields of a pod that they and volumes may show.

Source: kubernetes/pkg/apis/core/validation/validation.go (ValidateEnv, validateObjectFieldSelector…).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from apimachinery import names
from apimachinery.field import invalid_value, not_found_value, not_supported, required
from apiserver.registry import checks
from apiserver.registry.amounts import amount
from apiserver.registry.checks import Errors, Fields

ENV_FIELDS = frozenset(
    (
        *("metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName"),
        *("status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs"),
    )
)
VOLUME_FIELDS = frozenset(
    ("metadata.name", "metadata.namespace", "metadata.labels", "metadata.annotations", "metadata.uid")
)
# Names that the API knows at all; where each may be used is said above.
_POD_FIELDS = ENV_FIELDS | VOLUME_FIELDS | {"spec.restartPolicy", "spec.schedulerName", "status.phase"}
_RESOURCES = frozenset(
    f"{kind}.{name}" for kind in ("limits", "requests") for name in ("cpu", "memory", "ephemeral-storage")
)
_HUGE_PAGES = ("limits.hugepages-", "requests.hugepages-")
_SUBSCRIPTED = re.compile(r"(.+)\['(.*)'\]")
_CPU_DIVISORS = frozenset(("1m", "1"))
_SIZE_DIVISORS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_SOURCES = ("fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef")


def validate_env(variables: Sequence[Fields], volumes: Fields, path: str, errors: Errors) -> None:
    """A container's `env`; `volumes` are the pod's by name."""
    for number, variable in enumerate(variables):
        name = variable.get("name")
        if not name:
            errors.append(required(f"{path}[{number}].name"))
        elif problems := names.env_name(name):
            errors += [invalid_value(f"{path}[{number}].name", name, why) for why in problems]
        if variable.get("valueFrom") is not None:
            _validate_source(variable, volumes, f"{path}[{number}].valueFrom", errors)


def _validate_source(variable: Fields, volumes: Fields, path: str, errors: Errors) -> None:
    source = variable["valueFrom"]
    set_here = [key for key in _SOURCES if source.get(key) is not None]
    for key in set_here:
        reference, at = source[key], f"{path}.{key}"
        if key == "fieldRef":
            validate_field(reference, ENV_FIELDS, at, errors)
        elif key == "resourceFieldRef":
            validate_resource_field(reference, at, errors, in_volume=False)
        elif key == "fileKeyRef":
            _validate_file_key(reference, volumes, at, errors)
        else:
            _validate_key(reference, at, errors)
    if not set_here:
        listed = "`fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        errors.append(invalid_value(path, "", f"must specify one of: {listed}"))
    elif variable.get("value"):
        errors.append(invalid_value(path, "", "may not be specified when `value` is not empty"))
    elif len(set_here) > 1:
        errors.append(invalid_value(path, "", "may not have more than one field specified at a time"))


def _validate_key(reference: Fields, path: str, errors: Errors) -> None:
    checks.dns_subdomain(reference.get("name") or "", f"{path}.name", errors)
    key = reference.get("key")
    if not key:
        errors.append(required(f"{path}.key"))
    else:
        errors += [invalid_value(f"{path}.key", key, why) for why in names.config_key(key)]


def _validate_file_key(reference: Fields, volumes: Fields, path: str, errors: Errors) -> None:
    key, volume, file = (reference.get(field) or "" for field in ("key", "volumeName", "path"))
    if not key:
        errors.append(required(f"{path}.key"))
    else:
        errors += [invalid_value(f"{path}.key", key, why) for why in names.env_name(key)]
    checks.required_name(volume, checks.dns_label, f"{path}.volumeName", errors)
    if file:
        checks.no_backsteps(file, f"{path}.path", errors)
    else:
        errors.append(required(f"{path}.path"))
    if volume not in volumes:
        errors.append(not_found_value(f"{path}.volumeName", volume))
    elif volumes[volume].get("emptyDir") is None:
        errors.append(invalid_value(f"{path}.volumeName", volume, "referenced volume must be of type emptyDir"))


def validate_env_from(sources: Sequence[Fields], path: str, errors: Errors) -> None:
    """A container's `envFrom`."""
    for number, source in enumerate(sources):
        prefix = source.get("prefix")
        if prefix:
            at = f"{path}[{number}].prefix"
            errors += [invalid_value(at, prefix, why) for why in names.env_name(prefix)]
        set_here = [key for key in ("configMapRef", "secretRef") if source.get(key) is not None]
        for key in set_here:
            name = source[key].get("name")
            checks.required_name(name, checks.dns_subdomain, f"{path}[{number}].{key}.name", errors)
        if not set_here:
            errors.append(invalid_value(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif len(set_here) > 1:
            errors.append(invalid_value(path, "", "may not have more than one field specified at a time"))


def validate_field(reference: Fields, allowed: Collection[str], path: str, errors: Errors) -> None:
    """A `fieldRef`: a field of the pod, perhaps one of its labels or annotations as `metadata.labels['app']`."""
    version, field = reference.get("apiVersion"), reference.get("fieldPath")
    if not version:
        errors.append(required(f"{path}.apiVersion"))
        return
    if not field:
        errors.append(required(f"{path}.fieldPath"))
        return
    subscripted = _SUBSCRIPTED.fullmatch(field)
    wrong = ""
    if version != "v1":
        wrong = f"unsupported pod version: {version}"
    elif subscripted and subscripted[1] not in ("metadata.annotations", "metadata.labels"):
        wrong = f"field label does not support subscript: {field}"
    elif not subscripted and field not in _POD_FIELDS and field != "spec.host":
        wrong = f"field label not supported: {field}"
    if wrong:
        errors.append(invalid_value(f"{path}.fieldPath", field, f"error converting fieldPath: {wrong}"))
    elif subscripted:
        key = subscripted[2]
        checks.qualified_name(key.lower() if subscripted[1] == "metadata.annotations" else key, path, errors)
    elif (field if field != "spec.host" else "spec.nodeName") not in allowed:
        errors.append(not_supported(f"{path}.fieldPath", field, sorted(allowed)))


def validate_resource_field(reference: Fields, path: str, errors: Errors, *, in_volume: bool) -> None:
    """A `resourceFieldRef`: what a container requests or is limited to, in units of a divisor."""
    name = reference.get("resource") or ""
    if in_volume and not reference.get("containerName"):
        errors.append(required(f"{path}.containerName"))
    elif not name:
        errors.append(required(f"{path}.resource"))
    elif name not in _RESOURCES and not name.startswith(_HUGE_PAGES):
        errors.append(not_supported(f"{path}.resource", name, sorted(_RESOURCES)))
    divisor = amount(reference.get("divisor") or "0")
    if divisor is None or divisor.nanos == 0:
        return
    kind = name.partition(".")[2]
    if kind == "cpu":
        if str(divisor) not in _CPU_DIVISORS:
            why = "only divisor's values 1m and 1 are supported with the cpu resource"
            errors.append(invalid_value(f"{path}.divisor", name, why))
    elif kind and str(divisor) not in _SIZE_DIVISORS:
        called = {"memory": "memory", "ephemeral-storage": "local ephemeral storage"}.get(kind, "hugepages")
        why = f"only divisor's values {', '.join(_SIZE_DIVISORS)} are supported with the {called} resource"
        errors.append(invalid_value(f"{path}.divisor", name, why))
