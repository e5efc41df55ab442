"""Security contexts of pods and containers.

Source: kubernetes/pkg/apis/core/validation/validation.go (ValidateSecurityContext, validatePodSpecSecurityContext).
"""

from __future__ import annotations

import re
from typing import Any

from apimachinery.field import duplicate, forbidden_field, invalid_value, not_supported, required, too_long
from apimachinery.pod_defaults import CONTAINER_LISTS
from apiserver.registry import checks
from apiserver.registry.checks import Errors, Fields

_PROFILES = ("Localhost", "RuntimeDefault", "Unconfined")
_PROFILE_PATH_MAX = 4095
_SYSCTL = re.compile(r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?")
_SYSCTL_MAX = 253
_NET_SYSCTLS = ("net.",)
_IPC_SYSCTLS = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")
_NOT_ON_WINDOWS_POD = (
    *("appArmorProfile", "seLinuxOptions", "seccompProfile", "fsGroup", "fsGroupChangePolicy", "sysctls"),
    *("runAsUser", "runAsGroup", "supplementalGroups", "supplementalGroupsPolicy", "seLinuxChangePolicy"),
)
_NOT_ON_WINDOWS = (
    *("appArmorProfile", "seLinuxOptions", "seccompProfile", "capabilities", "readOnlyRootFilesystem"),
    *("privileged", "allowPrivilegeEscalation", "procMount", "runAsUser", "runAsGroup"),
)


def validate_container_security(security: Fields, path: str, errors: Errors, *, host_users: bool) -> None:
    """The security context of a container."""
    checks.user_or_group(security.get("runAsUser"), f"{path}.runAsUser", errors)
    checks.user_or_group(security.get("runAsGroup"), f"{path}.runAsGroup", errors)
    mount = security.get("procMount")
    if mount is not None:
        checks.optional_choice(mount, ("Default", "Unmasked"), f"{path}.procMount", errors)
        if host_users and mount == "Unmasked":
            errors.append(invalid_value(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`"))
    _validate_seccomp(security.get("seccompProfile"), f"{path}.seccompProfile", errors)
    if security.get("allowPrivilegeEscalation") is False:
        if security.get("privileged"):
            why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            errors.append(invalid_value(path, security, why))
        if "CAP_SYS_ADMIN" in ((security.get("capabilities") or {}).get("add") or ()):
            why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            errors.append(invalid_value(path, security, why))
    _validate_apparmor(security.get("appArmorProfile"), f"{path}.appArmorProfile", errors)


def validate_pod_security(spec: Fields, path: str, errors: Errors) -> None:
    """The security context of a pod, and the namespaces that it shares with its node."""
    security = spec.get("securityContext") or {}
    for field in ("fsGroup", "runAsUser", "runAsGroup"):
        checks.user_or_group(security.get(field), f"{path}.{field}", errors)
    for number, group in enumerate(security.get("supplementalGroups") or ()):
        checks.user_or_group(group, f"{path}.supplementalGroups[{number}]", errors)
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        why = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(invalid_value(f"{path}.shareProcessNamespace", True, why))
    if security.get("sysctls"):
        _validate_sysctls(spec, f"{path}.sysctls", errors)
    policy = security.get("fsGroupChangePolicy")
    checks.optional_choice(policy, ("Always", "OnRootMismatch"), f"{path}.fsGroupChangePolicy", errors)
    _validate_seccomp(security.get("seccompProfile"), f"{path}.seccompProfile", errors)
    _validate_apparmor(security.get("appArmorProfile"), f"{path}.appArmorProfile", errors)
    policy = security.get("supplementalGroupsPolicy")
    checks.optional_choice(policy, ("Merge", "Strict"), f"{path}.supplementalGroupsPolicy", errors)
    policy = security.get("seLinuxChangePolicy")
    checks.optional_choice(policy, ("MountOption", "Recursive"), f"{path}.seLinuxChangePolicy", errors)


def validate_host_users(spec: Fields, path: str, errors: Errors) -> None:
    """A user namespace of the pod's own excludes the node's other namespaces."""
    if spec.get("hostUsers") is not False:
        return
    for field, shown in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
        if spec.get(field):
            errors.append(forbidden_field(f"{path}.{shown}", "when `hostUsers` is false"))
    for key in CONTAINER_LISTS:
        for number, container in enumerate(spec.get(key) or ()):
            if container.get("volumeDevices"):
                why = "when `hostUsers` is false"
                errors.append(forbidden_field(f"{path}.{key}[{number}].volumeDevices", why))


def validate_os(spec: Fields, path: str, errors: Errors) -> None:
    """The pod's operating system, and the fields that are of another one."""
    os = spec.get("os")
    if os is None:
        return
    name = os.get("name")
    if not name:
        errors.append(required(f"{path}.os.name"))
    elif name == "linux":
        _forbid(
            spec,
            path,
            ("windowsOptions",),
            ("windowsOptions",),
            "windows options cannot be set for a linux pod",
            errors,
        )
    elif name == "windows":
        why = "cannot be set for a windows pod"
        fields = ("hostUsers", "hostPID", "hostIPC", "shareProcessNamespace")
        errors += [forbidden_field(f"{path}.{field}", why) for field in fields if spec.get(field)]
        _forbid(spec, path, _NOT_ON_WINDOWS_POD, _NOT_ON_WINDOWS, why, errors)
    else:
        errors.append(not_supported(f"{path}.os", name, ("linux", "windows")))


def _forbid(
    spec: Fields, path: str, of_pod: tuple[str, ...], of_container: tuple[str, ...], why: str, errors: Errors
) -> None:
    security = spec.get("securityContext") or {}
    here = (field for field in of_pod if security.get(field) is not None)
    errors += [forbidden_field(f"{path}.securityContext.{field}", why) for field in here]
    for key in CONTAINER_LISTS:
        for number, container in enumerate(spec.get(key) or ()):
            security = container.get("securityContext") or {}
            at = f"{path}.{key}[{number}].securityContext"
            here = (field for field in of_container if security.get(field) is not None)
            errors += [forbidden_field(f"{at}.{field}", why) for field in here]


def _validate_seccomp(profile: Fields | None, path: str, errors: Errors) -> None:
    if profile is None:
        return
    kind, local = profile.get("type"), profile.get("localhostProfile")
    if not kind:
        errors.append(required(f"{path}.type", "type is required when seccompProfile is set"))
    checks.optional_choice(kind or None, _PROFILES, f"{path}.type", errors)
    if kind == "Localhost":
        if local is None:
            errors.append(required(f"{path}.localhostProfile", "must be set when seccomp type is Localhost"))
        else:
            checks.relative_path(local, f"{path}.localhostProfile", errors)
    elif local is not None:
        why = "can only be set when seccomp type is Localhost"
        errors.append(invalid_value(f"{path}.localhostProfile", profile, why))


def _validate_apparmor(profile: Fields | None, path: str, errors: Errors) -> None:
    if profile is None:
        return
    kind, local = profile.get("type"), profile.get("localhostProfile")
    at = f"{path}.localhostProfile"
    if not kind:
        errors.append(required(f"{path}.type", "type is required when appArmorProfile is set"))
    checks.optional_choice(kind or None, _PROFILES, f"{path}.type", errors)
    if kind == "Localhost":
        if not local:
            errors.append(required(at, "must be set when AppArmor type is Localhost"))
            return
        if local != local.strip():
            errors.append(invalid_value(at, local, "must not be padded with whitespace"))
        if len(local) > _PROFILE_PATH_MAX:
            errors.append(too_long(at, _PROFILE_PATH_MAX))
    elif kind in _PROFILES and local is not None:
        errors.append(invalid_value(at, local, "can only be set when AppArmor type is Localhost"))


def _validate_sysctls(spec: Fields, path: str, errors: Errors) -> None:
    sysctls: list[dict[str, Any]] = spec["securityContext"]["sysctls"]
    seen: set[str] = set()
    for number, sysctl in enumerate(sysctls):
        at, name = f"{path}[{number}].name", sysctl.get("name") or ""
        if not name:
            errors.append(required(at))
        elif len(name) > _SYSCTL_MAX or not _SYSCTL.fullmatch(name):
            why = f"must have at most {_SYSCTL_MAX} characters and match regex ^{_SYSCTL.pattern}$"
            errors.append(invalid_value(at, name, why))
        elif name in seen:
            errors.append(duplicate(at, name))
        seen.add(name)
        dotted = name.replace("/", ".")
        if spec.get("hostNetwork") and dotted.startswith(_NET_SYSCTLS):
            errors.append(invalid_value(at, name, "may not be specified when 'hostNetwork' is true"))
        elif spec.get("hostIPC") and dotted.startswith(_IPC_SYSCTLS):
            errors.append(invalid_value(at, name, "may not be specified when 'hostIPC' is true"))
