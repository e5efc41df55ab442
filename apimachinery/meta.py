"""Reading and writing the parts that all API objects have in common.

An object is a plain dict in wire shape. Nothing here changes what it is given.
Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/
"""

from typing import Any

Object = dict[str, Any]


def name(obj: Object) -> str:
    """`metadata.name`."""
    found: str = obj["metadata"]["name"]
    return found


def namespace(obj: Object) -> str:
    """`metadata.namespace`, or "" for an object of the whole cluster."""
    return obj["metadata"].get("namespace") or ""


def uid(obj: Object) -> str:
    """`metadata.uid`, or ""."""
    return obj["metadata"].get("uid") or ""


def labels(obj: Object) -> dict[str, str]:
    """`metadata.labels`; never None."""
    return obj["metadata"].get("labels") or {}


def annotations(obj: Object) -> dict[str, str]:
    """`metadata.annotations`; never None."""
    return obj["metadata"].get("annotations") or {}


def resource_version(obj: Object) -> str:
    """`metadata.resourceVersion`, or ""."""
    return obj["metadata"].get("resourceVersion") or ""


def deletion_requested(obj: Object) -> bool:
    """True once somebody has asked for the object to be deleted."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def namespaced_key(obj: Object) -> str:
    """`namespace/name`, or the name alone for an object of the whole cluster."""
    metadata = obj["metadata"]
    scope = metadata.get("namespace")
    return f"{scope}/{metadata['name']}" if scope else str(metadata["name"])


def split_key(key: str) -> tuple[str, str]:
    """(namespace, name) of a key of `namespaced_key`."""
    scope, _, rest = key.rpartition("/")
    return scope, rest


def get_path(obj: Any, *path: str, default: Any = None) -> Any:
    """The value at a path of nested mappings; `default` where a step is missing or null."""
    for step in path:
        if not isinstance(obj, dict):
            return default
        obj = obj.get(step)
    return default if obj is None else obj


def owner_reference(owner: Object, *, controller: bool = True, block_owner_deletion: bool = True) -> dict[str, Any]:
    """The entry of `metadata.ownerReferences` that names `owner`, which must carry apiVersion and kind."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": controller,
        "blockOwnerDeletion": block_owner_deletion,
    }


def controller_of(obj: Object) -> dict[str, Any] | None:
    """The owner reference of the object's controller; there is one at most."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            found: dict[str, Any] = reference
            return found
    return None


def is_controlled_by(obj: Object, owner: Object) -> bool:
    """True if `owner` (this very one, by uid) is the object's controller."""
    reference = controller_of(obj)
    return reference is not None and reference["uid"] == owner["metadata"]["uid"]


def find_condition(conditions: Object | list[dict[str, Any]] | None, kind: str) -> dict[str, Any] | None:
    """The condition of this type in a list of conditions, or in `status.conditions` of an object."""
    listed: list[dict[str, Any]] = (
        get_path(conditions, "status", "conditions", default=[]) if isinstance(conditions, dict) else conditions or []
    )
    for condition in listed:
        if condition["type"] == kind:
            return condition
    return None


def with_condition(
    conditions: list[dict[str, Any]] | None,
    *,
    type: str,
    status: str,
    reason: str,
    message: str,
    now: str,
    **extra: Any,
) -> list[dict[str, Any]]:
    """A new list with this condition set; `lastTransitionTime` moves only when the status changes."""
    old = find_condition(conditions, type)
    unchanged = old is not None and old["status"] == status
    moved = old.get("lastTransitionTime", now) if old is not None and unchanged else now
    new = {"type": type, "status": status, "lastTransitionTime": moved, "reason": reason, "message": message}
    new.update(extra)
    kept = [new if condition["type"] == type else condition for condition in conditions or ()]
    return kept if old is not None else [*kept, new]
