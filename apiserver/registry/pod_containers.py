"""The containers of a pod: those that run, those that run before them, and those that join later.

Source: kubernetes/pkg/apis/core/validation/validation.go (validateContainers and what it calls).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from apimachinery.field import duplicate, forbidden_field, invalid_value, not_found_value, required, too_long
from apiserver.registry import amounts, checks
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.pod_env import validate_env, validate_env_from
from apiserver.registry.pod_probes import PROBES, validate_lifecycle, validate_probes
from apiserver.registry.pod_security import validate_container_security
from apiserver.registry.pod_volumes import PULL_POLICIES

_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_PROPAGATIONS = ("None", "HostToContainer", "Bidirectional")
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_RESIZABLE, _RESIZE_POLICIES = ("cpu", "memory"), ("NotRequired", "RestartContainer")
_RULES_MAX, _EXIT_CODES_MAX = 20, 255
_NOT_EPHEMERAL = ("ports", "resources", *PROBES, "lifecycle", "resizePolicy", "restartPolicy", "restartPolicyRules")


@dataclass(frozen=True, slots=True)
class PodContext:
    """What a container's fields are held against: the rest of its pod."""

    volumes: Mapping[str, Fields]
    claims: Collection[str]
    restart_policy: str
    grace_period_seconds: int | None
    host_users: bool
    os: str | None


def validate_containers(containers: Sequence[Fields], pod: PodContext, path: str, errors: Errors) -> None:
    """`containers`, of which there is one at least."""
    if not containers:
        errors.append(required(path))
        return
    seen: set[str] = set()
    for number, container in enumerate(containers):
        at = f"{path}[{number}]"
        _validate_common(container, pod, at, errors)
        name = container.get("name") or ""
        if name in seen:
            errors.append(duplicate(f"{at}.name", name))
        seen.add(name)
        _validate_life(container, pod, at, errors)
        _validate_restart(container, at, errors)
    _validate_host_ports(containers, path, errors)


def validate_init_containers(
    containers: Sequence[Fields], regular: Sequence[Fields], pod: PodContext, path: str, errors: Errors
) -> None:
    """`initContainers`: one with restartPolicy Always is a sidecar, and may have all that containers have."""
    seen = {container.get("name") or "" for container in regular}
    for number, container in enumerate(containers):
        at = f"{path}[{number}]"
        _validate_common(container, pod, at, errors)
        sidecar = container.get("restartPolicy") == "Always"
        if sidecar and container.get("restartPolicyRules"):
            why = "restartPolicyRules are not allowed for init containers with restart policy Always"
            errors.append(forbidden_field(f"{at}.restartPolicyRules", why))
        elif container.get("restartPolicy") is not None:
            _validate_restart(container, at, errors)
        name = container.get("name") or ""
        if name in seen:
            errors.append(duplicate(f"{at}.name", name))
        elif name:
            seen.add(name)
        _validate_host_ports([container], path, errors)
        if sidecar:
            _validate_life(container, pod, at, errors)
        else:
            why = "may not be set for init containers without restartPolicy=Always"
            unsuitable = (key for key in ("lifecycle", *PROBES) if container.get(key) is not None)
            errors += [forbidden_field(f"{at}.{key}", why) for key in unsuitable]


def validate_ephemeral_containers(spec: Fields, pod: PodContext, path: str, errors: Errors) -> None:
    """`ephemeralContainers`, which people add to a running pod to look into it."""
    others = {c.get("name") or "" for key in ("containers", "initContainers") for c in spec.get(key) or ()}
    seen = set(others)
    why = "cannot be set for an Ephemeral Container"
    for number, container in enumerate(spec.get("ephemeralContainers") or ()):
        at, name = f"{path}[{number}]", container.get("name") or ""
        _validate_common(container, pod, at, errors)
        validate_image(container, at, errors)
        if name in seen:
            errors.append(duplicate(f"{at}.name", name))
        seen.add(name)
        target = container.get("targetContainerName")
        if target and target not in others:
            errors.append(not_found_value(f"{at}.targetContainerName", target))
        errors += [forbidden_field(f"{at}.{key}", why) for key in _NOT_EPHEMERAL if container.get(key)]
        for index, mount in enumerate(container.get("volumeMounts") or ()):
            for key in ("subPath", "subPathExpr"):
                if mount.get(key):
                    errors.append(forbidden_field(f"{at}.volumeMounts[{index}].{key}", why))


def validate_image(container: Fields, path: str, errors: Errors) -> None:
    """The image's name as a pod has it; a template may still have something to fill in."""
    image = container.get("image") or ""
    if image != image.strip():
        errors.append(invalid_value(f"{path}.image", image, "must not have leading or trailing whitespace"))


def _validate_common(container: Fields, pod: PodContext, path: str, errors: Errors) -> None:
    checks.required_name(container.get("name"), checks.dns_label, f"{path}.name", errors)
    if not container.get("image"):
        errors.append(required(f"{path}.image"))
    policy = container.get("terminationMessagePolicy")
    if policy not in _MESSAGE_POLICIES:
        checks.choice(policy, _MESSAGE_POLICIES, f"{path}.terminationMessagePolicy", errors)
    if container.get("ports"):
        _validate_ports(container["ports"], f"{path}.ports", errors)
    if container.get("env"):
        validate_env(container["env"], pod.volumes, f"{path}.env", errors)
    if container.get("envFrom"):
        validate_env_from(container["envFrom"], f"{path}.envFrom", errors)
    if container.get("volumeMounts"):
        _validate_mounts(container, pod.volumes, f"{path}.volumeMounts", errors)
    if container.get("volumeDevices"):
        _validate_devices(container, pod.volumes, f"{path}.volumeDevices", errors)
    policy = container.get("imagePullPolicy")
    if policy not in PULL_POLICIES:
        checks.choice(policy, PULL_POLICIES, f"{path}.imagePullPolicy", errors)
    if container.get("resources"):
        amounts.requirements(container["resources"], pod.claims, f"{path}.resources", errors)
    if container.get("resizePolicy"):
        _validate_resize(container["resizePolicy"], pod.restart_policy, f"{path}.resizePolicy", errors)
    security = container.get("securityContext")
    if security:
        validate_container_security(security, f"{path}.securityContext", errors, host_users=pod.host_users)


def _validate_life(container: Fields, pod: PodContext, path: str, errors: Errors) -> None:
    lifecycle = container.get("lifecycle")
    if lifecycle is not None:
        validate_lifecycle(lifecycle, pod.os, pod.grace_period_seconds, f"{path}.lifecycle", errors)
    validate_probes(container, pod.grace_period_seconds, path, errors)


def _validate_ports(ports: Sequence[Fields], path: str, errors: Errors) -> None:
    seen: set[str] = set()
    for number, port in enumerate(ports):
        name = port.get("name")
        if name:
            at = f"{path}[{number}].name"
            if problems := checks.port_name_problems(name):
                errors += [invalid_value(at, name, why) for why in problems]
            elif name in seen:
                errors.append(duplicate(at, name))
            else:
                seen.add(name)
        if not port.get("containerPort"):
            errors.append(required(f"{path}[{number}].containerPort"))
        else:
            checks.port_number(port["containerPort"], f"{path}[{number}].containerPort", errors)
        if port.get("hostPort"):
            checks.port_number(port["hostPort"], f"{path}[{number}].hostPort", errors)
        if port.get("protocol") not in checks.PROTOCOLS:
            checks.protocol(port.get("protocol"), f"{path}[{number}].protocol", errors)


def _validate_host_ports(containers: Sequence[Fields], path: str, errors: Errors) -> None:
    seen: set[str] = set()
    for number, container in enumerate(containers):
        for index, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            taken = f"{port.get('protocol') or ''}/{port.get('hostIP') or ''}/{port['hostPort']}"
            if taken in seen:
                errors.append(duplicate(f"{path}[{number}].ports[{index}].hostPort", taken))
            seen.add(taken)


def _validate_mounts(container: Fields, volumes: Mapping[str, Fields], path: str, errors: Errors) -> None:
    devices = {device.get("name"): device.get("devicePath") for device in container.get("volumeDevices") or ()}
    seen: set[str] = set()
    for number, mount in enumerate(container["volumeMounts"]):
        name, where = mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            errors.append(required(f"{path}[{number}].name"))
        if name not in volumes:
            errors.append(not_found_value(f"{path}[{number}].name", name))
        if not where:
            errors.append(required(f"{path}[{number}].mountPath"))
        if where in seen:
            errors.append(invalid_value(f"{path}[{number}].mountPath", where, "must be unique"))
        seen.add(where)
        if name in devices:
            errors.append(invalid_value(f"{path}[{number}].name", name, "must not already exist in volumeDevices"))
        if where in devices.values():
            why = "must not already exist as a path in volumeDevices"
            errors.append(invalid_value(f"{path}[{number}].mountPath", where, why))
        if mount.get("subPath"):
            checks.relative_path(mount["subPath"], f"{path}[{number}].subPath", errors)
        if mount.get("subPathExpr"):
            at = f"{path}[{number}].subPathExpr"
            if mount.get("subPath"):
                errors.append(
                    invalid_value(at, mount["subPathExpr"], "subPathExpr and subPath are mutually exclusive")
                )
            checks.relative_path(mount["subPathExpr"], at, errors)
        if mount.get("mountPropagation") is not None:
            _validate_propagation(container, mount["mountPropagation"], f"{path}[{number}].mountPropagation", errors)
        if mount.get("recursiveReadOnly") is not None:
            _validate_recursive(mount, f"{path}[{number}].recursiveReadOnly", errors)


def _validate_propagation(container: Fields, propagation: str, path: str, errors: Errors) -> None:
    checks.optional_choice(propagation, _PROPAGATIONS, path, errors)
    if propagation == "Bidirectional" and not (container.get("securityContext") or {}).get("privileged"):
        why = "Bidirectional mount propagation is available only to privileged containers"
        errors.append(forbidden_field(path, why))


def _validate_recursive(mount: Fields, path: str, errors: Errors) -> None:
    mode = mount["recursiveReadOnly"]
    if mode in ("Enabled", "IfPossible"):
        if not mount.get("readOnly"):
            errors.append(forbidden_field(path, "may only be specified when readOnly is true"))
        if mount.get("mountPropagation") not in (None, "None"):
            why = "may only be specified when mountPropagation is None or not specified"
            errors.append(forbidden_field(path, why))
    checks.optional_choice(mode, ("Disabled", "Enabled", "IfPossible"), path, errors)


def _validate_devices(container: Fields, volumes: Mapping[str, Fields], path: str, errors: Errors) -> None:
    mounts = {mount.get("name"): mount.get("mountPath") for mount in container.get("volumeMounts") or ()}
    names: set[str] = set()
    paths: set[str] = set()
    for number, device in enumerate(container["volumeDevices"]):
        at, name, where = f"{path}[{number}]", device.get("name") or "", device.get("devicePath") or ""
        volume = volumes.get(name)
        if not name:
            errors.append(required(f"{at}.name"))
        if name in names:
            errors.append(invalid_value(f"{at}.name", name, "must be unique"))
        if volume is None:
            errors.append(not_found_value(f"{at}.name", name))
        elif volume.get("persistentVolumeClaim") is None and volume.get("ephemeral") is None:
            why = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"
            errors.append(invalid_value(f"{at}.name", name, why))
        if not where:
            errors.append(required(f"{at}.devicePath"))
        if where in paths:
            errors.append(invalid_value(f"{at}.devicePath", where, "must be unique"))
        if ".." in where.split("/"):
            errors.append(invalid_value(f"{at}.devicePath", where, "can not contain backsteps ('..')"))
        else:
            paths.add(where)
        if name in mounts:
            errors.append(invalid_value(f"{at}.name", name, "must not already exist in volumeMounts"))
        if where in mounts.values():
            why = "must not already exist as a path in volumeMounts"
            errors.append(invalid_value(f"{at}.devicePath", where, why))
        if name:
            names.add(name)


def _validate_resize(policies: Sequence[Fields], restart_policy: str, path: str, errors: Errors) -> None:
    seen: set[str] = set()
    for number, policy in enumerate(policies):
        name, restart = policy.get("resourceName") or "", policy.get("restartPolicy") or ""
        if name in seen:
            errors.append(duplicate(f"{path}[{number}]", name))
        seen.add(name)
        checks.choice(name, _RESIZABLE, path, errors)
        checks.choice(restart, _RESIZE_POLICIES, path, errors)
        if restart_policy == "Never" and restart != "NotRequired":
            why = "must be 'NotRequired' when `restartPolicy` is 'Never'"
            errors.append(invalid_value(path, restart, why))


def _validate_restart(container: Fields, path: str, errors: Errors) -> None:
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or ()
    if policy is None:
        if rules:
            why = "must specify restartPolicy when restart rules are used"
            errors.append(required(f"{path}.restartPolicy", why))
    else:
        checks.optional_choice(policy, _RESTART_POLICIES, f"{path}.restartPolicy", errors)
    if len(rules) > _RULES_MAX:
        errors.append(too_long(f"{path}.restartPolicyRules", _RULES_MAX))
    for number, rule in enumerate(rules):
        at, codes = f"{path}.restartPolicyRules[{number}]", rule.get("exitCodes")
        checks.optional_choice(rule.get("action") or "", ("Restart",), f"{at}.action", errors)
        if codes is None:
            errors.append(required(f"{at}.exitCodes", "must be specified"))
            continue
        checks.optional_choice(codes.get("operator") or "", ("In", "NotIn"), f"{at}.exitCodes.operator", errors)
        if len(codes.get("values") or ()) > _EXIT_CODES_MAX:
            errors.append(too_long(f"{at}.exitCodes.values", _EXIT_CODES_MAX))
