"""The parts of an object that are read and written on their own, and the object itself as the simplest of them.

    status    the object, of which only the status is taken
    approval, ephemeralcontainers, resize
              the object, of which only what its strategy says is taken (`Strategy.parts`)
    scale     autoscaling/v1 Scale: the number of replicas, alike for everything that can be scaled
    binding   v1 Binding, posted by the scheduler: puts a pod onto a node
    finalize  the object, of which only spec.finalizers is taken: what keeps a namespace from going
    eviction  policy/v1 Eviction, posted: a deletion that may be refused

A subresource says what is sent to it, and how what was sent becomes a new version of the object.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from apimachinery.errors import bad_request, conflict, internal, invalid, method_not_allowed, path_not_found
from apimachinery.field import invalid_value, required
from apimachinery.meta import Object, find_condition, get_path
from apimachinery.resources import Resource
from apimachinery.selectors import selector_from_object
from apimachinery.time import rfc3339
from apiserver.registry.strategy import Scale
from apiserver.rest.call import Call
from apiserver.storage.entry import Entry

SCALE = Resource("autoscaling", "v1", "Scale", "scales", "scale")
BINDING = Resource("", "v1", "Binding", "bindings", "binding")
EVICTION = Resource("policy", "v1", "Eviction", "evictions", "eviction")
# What a Scale to be patched shows where nobody has said how many replicas there should be.
NOT_SET = -(2**31)
# Which of the strategy's rules hold for what is written.
OBJECT_RULES, STATUS_RULES, PART_RULES, NO_RULES = "object", "status", "part", "none"


class Subresource(NamedTuple):
    """How one is handled. `kind` is what is sent (None: the object's own kind), `shows` what is answered."""

    verbs: tuple[str, ...]
    rules: str = OBJECT_RULES
    kind: Resource | None = None
    shows: Callable[[Call, Entry], Object] | None = None
    # (call, what was sent, what is stored, now) to the new version; None: what was sent is the new version.
    becomes: Callable[[Call, Object, Entry, float], Object] | None = None


def find(call: Call) -> Subresource:
    """The subresource of a request. Raises ApiError 404 or 405."""
    name = call.info.subresource
    if not name:
        return OBJECT
    found = _TABLE.get(name)
    if found is None or name not in call.resource.subresources:
        raise path_not_found()
    if call.info.verb not in found.verbs:
        raise method_not_allowed()
    return found


def _scale_rules(call: Call) -> Scale:
    if call.strategy.scale is None:
        raise path_not_found()
    return call.strategy.scale


def show_scale(call: Call, entry: Entry) -> Object:
    """The Scale of an object."""
    rules, obj = _scale_rules(call), entry.obj
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    replicas = get_path(obj, *rules.spec_replicas)
    if replicas is None and rules.must_be_set:
        if call.info.verb == "get":
            raise internal(f'the spec replicas field "{rules.must_be_set}" does not exist')
        replicas = NOT_SET
    status: Object = {"replicas": get_path(obj, *rules.status_replicas, default=0)}
    selector = _selector(rules, obj)
    if selector:
        status["selector"] = selector
    return {
        "kind": SCALE.kind,
        "apiVersion": SCALE.api_version,
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {"replicas": replicas or 0},
        "status": status,
    }


def _selector(rules: Scale, obj: Object) -> str:
    """The text of what selects the replicas of an object."""
    if rules.must_be_set:
        return str(get_path(obj, *rules.selector_text, default="")) if rules.selector_text else ""
    selector: Any = get_path(obj, *rules.selector)
    # A map of labels in the oldest kinds, a LabelSelector in all others.
    is_map = selector is not None and not selector.keys() & {"matchLabels", "matchExpressions"}
    parsed = selector_from_object({"matchLabels": selector} if is_map else selector)
    return "" if parsed.empty else str(parsed)


def scaled(call: Call, sent: Object, current: Entry, now: float) -> Object:
    """The object with the number of replicas of a Scale. Raises ApiError 422."""
    rules, replicas = _scale_rules(call), get_path(sent, "spec", "replicas", default=0)
    if replicas == NOT_SET and rules.must_be_set:
        raise bad_request(f'the spec replicas field "{rules.must_be_set}" cannot be empty')
    if replicas < 0 and not rules.must_be_set:
        cause = invalid_value("spec.replicas", replicas, "must be greater than or equal to 0")
        raise invalid(SCALE.group, SCALE.kind, current.name, [cause])
    obj = current.copy()
    *path, last = rules.spec_replicas
    inner = obj
    for step in path:
        inner = inner.setdefault(step, {})
    inner[last] = replicas
    return obj


def bound(call: Call, sent: Object, current: Entry, now: float) -> Object:
    """A pod on the node that a Binding names. Raises ApiError 409 if it is on one already, 422 for a wrong target."""
    target = sent.get("target") or {}
    node, name = target.get("name"), current.name
    errors = []
    if target.get("kind", "Node") not in ("", "Node"):
        errors.append(invalid_value("target.kind", target["kind"], 'must be "Node"'))
    if not node:
        errors.append(required("target.name"))
    if errors:
        raise invalid("", BINDING.kind, name, errors)
    obj = current.copy()
    metadata, spec = obj["metadata"], obj["spec"]
    why = None
    if metadata.get("deletionTimestamp"):
        why = f"pod {name} is being deleted, cannot be assigned to a host"
    elif spec.get("nodeName"):
        why = f'pod {name} is already assigned to node "{spec["nodeName"]}"'
    elif spec.get("schedulingGates"):
        why = f"pod {name} has non-empty .spec.schedulingGates"
    if why:
        raise conflict("pods/binding", name, why)
    spec["nodeName"] = node
    # Nobody keeps room any more for a pod that has it.
    obj.get("status", {}).pop("nominatedNodeName", None)
    for field in ("annotations", "labels"):
        if given := (sent.get("metadata") or {}).get(field):
            metadata[field] = {**(metadata.get(field) or {}), **given}
    return _with_condition(obj, {"type": "PodScheduled", "status": "True"}, now)


def disrupted(obj: Object, now: float) -> Object:
    """A pod that an eviction ends, with the condition that tells why it ended."""
    why = {"reason": "EvictionByEvictionAPI", "message": "Eviction API: evicting"}
    return _with_condition(obj, {"type": "DisruptionTarget", "status": "True", **why}, now)


def _with_condition(obj: Object, condition: dict[str, Any], now: float) -> Object:
    """A private copy with a condition of its status set."""
    status = obj.setdefault("status", {})
    rest = [have for have in status.get("conditions") or () if have["type"] != condition["type"]]
    old = find_condition(obj, condition["type"])
    moved = old is None or old["status"] != condition["status"]
    since = rfc3339(now) if moved or old is None else old.get("lastTransitionTime", rfc3339(now))
    status["conditions"] = [*rest, {**condition, "lastProbeTime": None, "lastTransitionTime": since}]
    return obj


def finalized(call: Call, sent: Object, current: Entry, now: float) -> Object:
    """The object with the spec.finalizers that were sent."""
    obj = current.copy()
    spec = obj.setdefault("spec", {})
    spec.pop("finalizers", None)
    if finalizers := get_path(sent, "spec", "finalizers"):
        spec["finalizers"] = finalizers
    return obj


# The answer to what was posted to a subresource.
CREATED: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
OBJECT = Subresource(("get", "create", "update", "patch"))
_TABLE = {
    "status": Subresource(("get", "update", "patch"), STATUS_RULES),
    "approval": Subresource(("get", "update", "patch"), PART_RULES),
    "ephemeralcontainers": Subresource(("get", "update", "patch"), PART_RULES),
    "resize": Subresource(("get", "update", "patch"), PART_RULES),
    "scale": Subresource(("get", "update", "patch"), OBJECT_RULES, SCALE, show_scale, scaled),
    "binding": Subresource(("create",), NO_RULES, BINDING, None, bound),
    "finalize": Subresource(("update",), NO_RULES, None, None, finalized),
    "eviction": Subresource(("create",), NO_RULES, EVICTION),
}
