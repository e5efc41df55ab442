"""An object as webhooks and policies have changed it takes the place of the one that was sent."""

from __future__ import annotations

from apimachinery.errors import bad_request, internal
from apimachinery.meta import Object
from apiserver.admission.plugin import Attributes
from apiserver.admission.served import Served

_NAMESPACE_DIFFERS = "the namespace of the provided object does not match the namespace sent on the request"


async def replace_object(attributes: Attributes, served: Served, changed: Object) -> bool:
    """Put a changed object in its place, checked and in its full form; says whether it says anything new.

    `changed` may be in another form than the object, and is not used any further. Raises ApiError.
    """
    obj = attributes.obj
    assert obj is not None
    if not isinstance(changed, dict) or not isinstance(changed.get("metadata", {}), dict):
        raise internal(f"what admission has made of it is no {attributes.kind.kind}")
    if attributes.sent_as is None:
        form = served.by_kind(obj["apiVersion"], obj["kind"])
        changed = await served.converted(changed, form or attributes.resource)
    for field in ("kind", "apiVersion"):
        if changed.get(field) != obj.get(field):
            told = f"{changed.get('apiVersion')}, Kind={changed.get('kind')}"
            raise internal(f"admission has made a {told} of a {obj.get('apiVersion')}, Kind={obj.get('kind')}")
    if changed.get("metadata", {}).get("namespace") != obj.get("metadata", {}).get("namespace"):
        raise bad_request(_NAMESPACE_DIFFERS)
    if attributes.complete is not None:
        changed = attributes.complete(changed)
    if changed == obj:
        return False
    # Everybody on the request's way holds the same object.
    obj.clear()
    obj.update(changed)
    return True
