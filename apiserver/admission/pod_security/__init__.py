"""PodSecurity: the labels of a namespace say how harmless its pods have to be.

Pods that break what is enforced are refused. What is only audited or warned of is looked at in workloads too, so that
one learns of it from the workload and not from the pods that are missing. Pods that are there already stay.

Source: https://kubernetes.io/docs/concepts/security/pod-security-admission/
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from apimachinery import meta
from apimachinery.errors import internal, invalid
from apimachinery.field import FieldError
from apimachinery.meta import Object, get_path
from apimachinery.resources import (
    CRONJOBS,
    DAEMONSETS,
    DEPLOYMENTS,
    JOBS,
    NAMESPACES,
    PODS,
    PODTEMPLATES,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    STATEFULSETS,
)
from apiserver.admission.plugin import CREATE, UPDATE, Attributes, Cluster, Plugin, refused
from apiserver.admission.pod_security.configuration import Configuration, parse
from apiserver.admission.pod_security.levels import PREFIX, PRIVILEGED, Policy, Standard, policy_of, stricter

__all__ = ["Configuration", "parse", "plugin"]

# Where the pods of a workload are described.
_TEMPLATES: Mapping[tuple[str, str], tuple[str, ...]] = {
    **{one.key: ("spec", "template") for one in (REPLICATIONCONTROLLERS, REPLICASETS, DEPLOYMENTS)},
    **{one.key: ("spec", "template") for one in (STATEFULSETS, DAEMONSETS, JOBS)},
    CRONJOBS.key: ("spec", "jobTemplate", "spec", "template"),
    PODTEMPLATES.key: ("template",),
}


def plugin(configuration: Configuration, clock: Callable[[], float] = time.monotonic) -> Plugin:
    """The plugin, as an operator has it."""

    async def look(attributes: Attributes, cluster: Cluster) -> None:
        key = attributes.resource.key
        if key == NAMESPACES.key:
            await _look_at_namespace(attributes, cluster, configuration, clock)
        elif not _is_exempt(attributes, configuration):
            _look_at_pods(attributes, cluster, configuration, _TEMPLATES.get(key))

    return Plugin(
        "PodSecurity",
        (CREATE, UPDATE),
        validate=look,
        resources=(NAMESPACES.key, PODS.key, *_TEMPLATES),
        subresources=("ephemeralcontainers",),
    )


def _is_exempt(attributes: Attributes, configuration: Configuration) -> bool:
    return attributes.namespace in configuration.namespaces or attributes.user.name in configuration.usernames


async def _look_at_namespace(
    attributes: Attributes, cluster: Cluster, configuration: Configuration, clock: Callable[[], float]
) -> None:
    namespace, old = attributes.obj, attributes.old
    assert namespace is not None
    labels, defaults = meta.labels(namespace), configuration.defaults
    policy, errors = policy_of(labels, defaults)
    before, errors_before = policy_of(meta.labels(old), defaults) if old is not None else (policy, [])
    # What was wrong before must not keep the namespace from being changed otherwise.
    if errors and errors != errors_before:
        raise invalid("", NAMESPACES.kind, attributes.name, errors)
    if attributes.name in configuration.namespaces:
        if old is None or _asks_for_more(policy.enforce, before.enforce):
            _tell_of_exemption(attributes, labels, policy, defaults)
    elif _asks_for_more(policy.enforce, before.enforce):
        from apiserver.admission.pod_security.existing_pods import warnings_about

        pods = (pod for pod in cluster.list(PODS, attributes.name) if not _runs_exempt(pod, configuration))
        for warning in await warnings_about(pods, attributes.name, policy.enforce, clock):
            attributes.warn(warning)


def _tell_of_exemption(attributes: Attributes, labels: Mapping[str, str], policy: Policy, defaults: Policy) -> None:
    """Whoever labels a namespace in which pods are not looked at is told so."""
    modes = {"enforce": policy.enforce, "audit": policy.audit, "warn": policy.warn}
    said = [
        f"{mode}={standard}"
        for mode, standard in modes.items()
        if standard.level != PRIVILEGED and not labels.keys().isdisjoint((PREFIX + mode, f"{PREFIX}{mode}-version"))
    ]
    if policy != defaults and any(standard.level != PRIVILEGED for standard in modes.values()):
        told = f"and the policy ({', '.join(said)}) will be ignored"
        attributes.warn(f'namespace "{attributes.name}" is exempt from Pod Security, {told}')


def _asks_for_more(new: Standard, old: Standard) -> bool:
    """Whether pods may be refused that were not before; of another version that can't be told."""
    if new == old or new.level == PRIVILEGED:
        return False
    return new.minor != old.minor or stricter(new.level, old.level)


def _look_at_pods(
    attributes: Attributes, cluster: Cluster, configuration: Configuration, template: tuple[str, ...] | None
) -> None:
    """A pod, or a workload whose pods are described at `template`."""
    namespace = cluster.get(NAMESPACES, "", attributes.namespace)
    if namespace is None:
        raise internal(f'failed to lookup namespace "{attributes.namespace}"')
    policy, errors = policy_of(meta.labels(namespace), configuration.defaults)
    enforces = template is None and policy.enforce.level != PRIVILEGED
    if not errors and not enforces and policy.audit.level == policy.warn.level == PRIVILEGED:
        return
    pod, old = attributes.obj, attributes.old
    if template is not None:
        pod = get_path(pod, *template)
    elif old is not None and not _runs_something_else(pod, old):
        return
    if pod is not None and not _runs_exempt(pod, configuration):
        _evaluate(attributes, policy, errors, pod, enforces=enforces)


def _runs_exempt(pod: Object, configuration: Configuration) -> bool:
    return get_path(pod, "spec", "runtimeClassName") in configuration.runtime_classes


def _evaluate(
    attributes: Attributes, policy: Policy, errors: list[FieldError], pod: Object, *, enforces: bool
) -> None:
    # Imported by the first pod of a namespace that asks for anything: most ask for nothing.
    from apiserver.admission.pod_security.evaluation import details, violations

    metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    known: dict[Standard, str] = {}

    def broken(standard: Standard) -> str:
        if standard not in known:
            known[standard] = details(violations(standard, metadata, spec))
        return known[standard]

    if errors:
        told = errors[0].message() if len(errors) == 1 else f"[{', '.join(error.message() for error in errors)}]"
        attributes.annotate(f"{PREFIX}error", f"Failed to parse policy: {told}")
    if why := broken(policy.audit):
        attributes.annotate(f"{PREFIX}audit-violations", f'would violate PodSecurity "{policy.audit}": {why}')
    if enforces and (why := broken(policy.enforce)):
        raise refused(attributes, f'violates PodSecurity "{policy.enforce}": {why}')
    if why := broken(policy.warn):
        attributes.warn(f'would violate PodSecurity "{policy.warn}": {why}')


def _runs_something_else(pod: Object | None, old: Object) -> bool:
    """Of what is looked at, only images can be changed, and containers for debugging added."""
    return list(_images(pod)) != list(_images(old))


def _images(pod: Object | None) -> Iterator[tuple[str, str | None]]:
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for container in get_path(pod, "spec", key, default=()):
            yield key, container.get("image")
