"""What the kernel confines a container with: AppArmor, SELinux and seccomp stay at least as strict as they are."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from apiserver.admission.pod_security.checks.check import (
    Check,
    Fields,
    Violation,
    containers,
    is_windows,
    names_of,
    plural,
    quoted,
    security,
    setters,
    unless,
)
from apiserver.admission.pod_security.levels import BASELINE, RESTRICTED
from apiserver.decision import quoted as as_go_quotes

_APPARMOR_ANNOTATION = "container.apparmor.security.beta.kubernetes.io/"
_SECCOMP_ANNOTATION = "seccomp.security.alpha.kubernetes.io/pod"
_SECCOMP_CONTAINER_ANNOTATION = "container.seccomp.security.alpha.kubernetes.io/"
_SECCOMP = "seccompProfile_baseline"
_CONFINED = ("RuntimeDefault", "Localhost")
_SELINUX_TYPES_1_0 = frozenset(("", "container_t", "container_init_t", "container_kvm_t"))
_SELINUX_TYPES_1_31 = _SELINUX_TYPES_1_0 | {"container_engine_t"}


def _unconfined(profile: Fields | None) -> bool:
    return profile is not None and profile.get("type") not in _CONFINED


def _types(spec: Fields, field: str) -> list[str]:
    """The types of profiles in this field that confine nothing."""
    profiles = (security(one).get(field) for one in (spec, *containers(spec)))
    return sorted({profile.get("type") or "" for profile in profiles if profile is not None and _unconfined(profile)})


def _apparmor(metadata: Fields, spec: Fields) -> Violation | None:
    told = setters(spec, lambda context: _unconfined(context.get("appArmorProfile")))
    annotations = sorted(
        f"{key}={as_go_quotes(value)}"
        for key, value in (metadata.get("annotations") or {}).items()
        if key.startswith(_APPARMOR_ANNOTATION)
        and value not in ("", "runtime/default")
        and not value.startswith("localhost/")
    )
    if annotations:
        told = f"{told} and {plural('annotation', annotations)}" if told else plural("annotation", annotations)
    if not told:
        return None
    values = [*_types(spec, "appArmorProfile"), *annotations]
    return Violation(
        plural("forbidden AppArmor profile", values),
        f"{told} must not set AppArmor profile type to {quoted(values)}",
    )


def _selinux(metadata: Fields, spec: Fields, *, types: frozenset[str]) -> Violation | None:
    def is_forbidden(options: Fields) -> bool:
        return (options.get("type") or "") not in types or bool(options.get("user") or options.get("role"))

    told = setters(spec, lambda context: is_forbidden(context.get("seLinuxOptions") or {}))
    if not told:
        return None
    set_ = [security(one).get("seLinuxOptions") or {} for one in (spec, *containers(spec))]
    wrong = sorted({options.get("type") or "" for options in set_} - types)
    what = [f"{plural('type', wrong)} {quoted(wrong)}"] if wrong else []
    what += [f"{field} may not be set" for field in ("user", "role") if any(options.get(field) for options in set_)]
    return Violation("seLinuxOptions", f"{told} set forbidden securityContext.seLinuxOptions: {'; '.join(what)}")


def _seccomp_annotations(metadata: Fields, spec: Fields) -> Violation | None:
    """Before 1.19 a profile was asked for by annotations."""
    annotations = metadata.get("annotations") or {}
    forbidden = sorted(
        {
            f"{key}={as_go_quotes(annotations[key])}"
            for key in _seccomp_keys(spec)
            if key in annotations
            and annotations[key] not in ("runtime/default", "docker/default")
            and not annotations[key].startswith("localhost/")
        }
    )
    if not forbidden:
        return None
    return Violation("seccompProfile", f"forbidden {plural('annotation', forbidden)} {', '.join(forbidden)}")


def _seccomp_keys(spec: Fields) -> Iterator[str]:
    yield _SECCOMP_ANNOTATION
    for container in containers(spec):
        yield _SECCOMP_CONTAINER_ANNOTATION + (container.get("name") or "")


def _seccomp_not_off(metadata: Fields, spec: Fields) -> Violation | None:
    told = setters(spec, lambda context: _unconfined(context.get("seccompProfile")))
    if not told:
        return None
    types = quoted(_types(spec, "seccompProfile"))
    return Violation("seccompProfile", f"{told} must not set securityContext.seccompProfile.type to {types}")


def _seccomp_on(metadata: Fields, spec: Fields) -> Violation | None:
    if found := _seccomp_not_off(metadata, spec):
        return found
    if security(spec).get("seccompProfile") is not None:
        return None
    silent = [container for container in containers(spec) if security(container).get("seccompProfile") is None]
    if not silent:
        return None
    told = 'must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
    return Violation("seccompProfile", f"pod or {names_of(silent)} {told}")


CHECKS = (
    Check("appArmorProfile", BASELINE, ((0, _apparmor),)),
    Check(
        "seLinuxOptions",
        BASELINE,
        ((0, partial(_selinux, types=_SELINUX_TYPES_1_0)), (31, partial(_selinux, types=_SELINUX_TYPES_1_31))),
    ),
    Check(_SECCOMP, BASELINE, ((0, _seccomp_annotations), (19, _seccomp_not_off))),
    Check(
        "seccompProfile_restricted",
        RESTRICTED,
        ((19, _seccomp_on), (25, unless(is_windows, _seccomp_on))),
        replaces=_SECCOMP,
    ),
)
