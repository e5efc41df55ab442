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
from apiserver.admission.pod_security.levels import PREFIX, PRIVILEGED, Policy, Standard, policy_of, stricter

# Where the pods of a workload are described.
_TEMPLATES: Mapping[tuple[str, str], tuple[str, ...]] = {
    **{one.key: ("spec", "template") for one in (REPLICATIONCONTROLLERS, REPLICASETS, DEPLOYMENTS)},
    **{one.key: ("spec", "template") for one in (STATEFULSETS, DAEMONSETS, JOBS)},
    CRONJOBS.key: ("spec", "jobTemplate", "spec", "template"),
    PODTEMPLATES.key: ("template",),
}
_DEFAULTS = Policy()


async def _look(attributes: Attributes, cluster: Cluster, clock: Callable[[], float] = time.monotonic) -> None:
    key = attributes.resource.key
    if key == NAMESPACES.key:
        _look_at_namespace(attributes, cluster, clock)
    else:
        _look_at_pods(attributes, cluster, _TEMPLATES.get(key))


def _look_at_namespace(attributes: Attributes, cluster: Cluster, clock: Callable[[], float]) -> None:
    namespace, old = attributes.obj, attributes.old
    assert namespace is not None
    policy, errors = policy_of(meta.labels(namespace), _DEFAULTS)
    before, errors_before = policy_of(meta.labels(old), _DEFAULTS) if old is not None else (policy, [])
    # What was wrong before must not keep the namespace from being changed otherwise.
    if errors and errors != errors_before:
        raise invalid("", NAMESPACES.kind, attributes.name, errors)
    if _asks_for_more(policy.enforce, before.enforce):
        from apiserver.admission.pod_security.existing_pods import warnings_about

        pods = cluster.list(PODS, attributes.name)
        for warning in warnings_about(pods, attributes.name, policy.enforce, clock):
            attributes.warn(warning)


def _asks_for_more(new: Standard, old: Standard) -> bool:
    """Whether pods may be refused that were not before; of another version that can't be told."""
    if new == old or new.level == PRIVILEGED:
        return False
    return new.minor != old.minor or stricter(new.level, old.level)


def _look_at_pods(attributes: Attributes, cluster: Cluster, template: tuple[str, ...] | None) -> None:
    """A pod, or a workload whose pods are described at `template`."""
    namespace = cluster.get(NAMESPACES, "", attributes.namespace)
    if namespace is None:
        raise internal(f'failed to lookup namespace "{attributes.namespace}"')
    policy, errors = policy_of(meta.labels(namespace), _DEFAULTS)
    enforces = template is None and policy.enforce.level != PRIVILEGED
    if not errors and not enforces and policy.audit.level == policy.warn.level == PRIVILEGED:
        return
    obj, old = attributes.obj, attributes.old
    assert obj is not None
    if template is not None:
        described = get_path(obj, *template)
        if described is not None:
            _evaluate(attributes, policy, errors, described, enforces=False)
    elif old is None or _runs_something_else(obj, old):
        _evaluate(attributes, policy, errors, obj, enforces=enforces)


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


def _runs_something_else(pod: Object, old: Object) -> bool:
    """Of what is looked at, only images can be changed, and containers for debugging added."""
    return list(_images(pod)) != list(_images(old))


def _images(pod: Object) -> Iterator[tuple[str, str | None]]:
    for key in ("initContainers", "containers", "ephemeralContainers"):
        for container in get_path(pod, "spec", key, default=()):
            yield key, container.get("image")


PLUGIN = Plugin(
    "PodSecurity",
    (CREATE, UPDATE),
    validate=_look,
    resources=(NAMESPACES.key, PODS.key, *_TEMPLATES),
    subresources=("ephemeralcontainers",),
)
