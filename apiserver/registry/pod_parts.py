"""The parts of a pod that are written on their own while it runs: ephemeral containers, and what containers may use.

Source: kubernetes/pkg/registry/core/pod/strategy.go, pkg/apis/core/validation/validation.go
(ValidatePodEphemeralContainersUpdate, ValidatePodResize).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from apimachinery import meta
from apimachinery.field import NOWHERE, forbidden_field, invalid_value
from apimachinery.meta import Object
from apiserver.registry.checks import Errors, Fields
from apiserver.registry.equality import differences, equal
from apiserver.registry.pod_qos import qos_class
from apiserver.registry.pod_spec import MIRROR
from apiserver.registry.strategy import only_status

_CONTAINERS = ("initContainers", "containers")
_RESIZED = ("resources", "resizePolicy")
# All that a resize can write.
RESIZED_PATHS = tuple(f"spec.{containers}.*.{field}" for containers in _CONTAINERS for field in _RESIZED)
_MUTABLE = ("cpu", "memory")


def prepare_ephemeral_containers(pod: Object, old: Object) -> None:
    """Of all that was sent, the ephemeral containers count."""
    sent = pod.get("spec") or {}
    _keep_all_but_spec(pod, old)
    spec = {key: value for key, value in old["spec"].items() if key != "ephemeralContainers"}
    if sent.get("ephemeralContainers"):
        spec["ephemeralContainers"] = sent["ephemeralContainers"]
    _set_spec(pod, spec, old)


def validate_ephemeral_containers(pod: Object, old: Object) -> Errors:
    """One that is there stays as it is."""
    if MIRROR in meta.annotations(old):
        return [forbidden_field(NOWHERE, "static pods do not support ephemeral containers")]
    errors: Errors = []
    path = "spec.ephemeralContainers"
    new = {container.get("name"): container for container in pod["spec"].get("ephemeralContainers") or ()}
    for container in old["spec"].get("ephemeralContainers") or ():
        name = container.get("name")
        if name not in new:
            errors.append(forbidden_field(path, f'existing ephemeral containers "{name}" may not be removed\n'))
        elif not equal(new[name], container):
            changed = differences(container, new[name], name)
            why = f'existing ephemeral containers "{name}" may not be changed\n{changed}'
            errors.append(forbidden_field(path, why))
    return errors


def prepare_resize(pod: Object, old: Object) -> None:
    """Of all that was sent, the resources of containers count, if the containers are the same ones."""
    sent, before = pod.get("spec") or {}, old["spec"]
    if any(_names(sent, key) != _names(before, key) for key in _CONTAINERS):
        return  # what is wrong is told by the validation
    _keep_all_but_spec(pod, old)
    spec = dict(before)
    for key in _CONTAINERS:
        if key in spec:
            spec[key] = [_resized(*pair) for pair in zip(before[key], sent[key], strict=True)]
    _set_spec(pod, spec, old)


def _names(spec: Fields, key: str) -> list[Any]:
    return [container.get("name") for container in spec.get(key) or ()]


def _resized(old: Fields, new: Fields) -> dict[str, Any]:
    made = {key: value for key, value in old.items() if key not in _RESIZED}
    return made | {key: new[key] for key in _RESIZED if key in new}


def _keep_all_but_spec(pod: Object, old: Object) -> None:
    pod["status"] = old.get("status") or {}
    only_status(pod, old)


def _set_spec(pod: Object, spec: dict[str, Any], old: Object) -> None:
    pod["spec"] = spec
    if spec != old["spec"]:
        pod["metadata"]["generation"] = (old["metadata"].get("generation") or 0) + 1


def validate_resize(pod: Object, old: Object) -> Errors:
    """Requests and limits of CPU and memory may be changed, and nothing else."""
    spec, before = pod.get("spec") or {}, old["spec"]
    if why := _never_resized(old, spec):
        return [forbidden_field(NOWHERE, why)]
    if any(_names(spec, key) != _names(before, key) for key in _CONTAINERS):
        return [forbidden_field("spec", "containers can't be added, removed, reordered or renamed by a resize")]
    errors: Errors = []
    if qos_class(before) != qos_class(spec):
        why = "Pod QOS Class may not change as a result of resizing"
        errors.append(invalid_value("spec", (old.get("status") or {}).get("qosClass"), why))
    if not _node_resizes(old):
        errors.append(forbidden_field("spec", "Pod running on node without support for resize"))
    for key in _CONTAINERS:
        for number, container in enumerate(spec.get(key) or ()):
            lasting = key == "containers" or container.get("restartPolicy") == "Always"
            _validate_resized(container, before[key][number], f"spec.{key}[{number}]", errors, lasting=lasting)
    return errors


def _never_resized(old: Object, spec: Fields) -> str:
    whole = [(one.get("resources") or {}) for one in (old["spec"], spec)]
    if any(one.get("requests") or one.get("limits") for one in whole):
        return "pods with pod-level resources cannot be resized"
    if MIRROR in meta.annotations(old):
        return "static pods cannot be resized"
    if (old["spec"].get("os") or {}).get("name") == "windows":
        return "windows pods cannot be resized"
    return ""


def _node_resizes(pod: Object) -> bool:
    """A node that resizes tells what containers have; as long as none runs, nobody can tell."""
    statuses: Sequence[Fields] = (pod.get("status") or {}).get("containerStatuses") or ()
    running = (status for status in statuses if (status.get("state") or {}).get("running") is not None)
    first = next(running, None)
    return first is None or first.get("resources") is not None


def _validate_resized(new: Fields, old: Fields, path: str, errors: Errors, *, lasting: bool) -> None:
    """`lasting`: the container runs as long as the pod does, so that there is something to be resized."""
    resources, before = new.get("resources") or {}, old.get("resources") or {}
    if not lasting:
        if not equal(new, old):
            errors.append(forbidden_field("spec", "resources for non-sidecar init containers are immutable"))
        return
    for kind, called in (("requests", "resource requests"), ("limits", "resource limits")):
        if (before.get(kind) or {}).keys() - (resources.get(kind) or {}).keys():
            errors.append(forbidden_field(f"{path}.resources.{kind}", f"{called} cannot be removed"))
    if not equal(_immutable(resources), _immutable(before)) or not equal(
        new.get("resizePolicy"), old.get("resizePolicy")
    ):
        what = "resources for sidecar containers are" if "initContainers" in path else "resources are"
        errors.append(forbidden_field("spec", f"only cpu and memory {what} mutable"))


def _immutable(resources: Fields) -> Mapping[str, Any]:
    kept = {
        kind: {name: value for name, value in (resources.get(kind) or {}).items() if name not in _MUTABLE}
        for kind in ("requests", "limits")
    }
    return {**{key: value for key, value in resources.items() if key not in kept}, **kept}
