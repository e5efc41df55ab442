"""What a node may change of a volume whose data is one of its folders: its own word on it, a finalizer.

It sets that before it makes the folder, and takes it away once it has removed it.
"""

from __future__ import annotations

from apimachinery.meta import Object
from apimachinery.persistent_volumes import LOCAL_PATH_FINALIZER
from apiserver.admission.plugin import Attributes, refused

# What the server itself writes at every change.
_OF_THE_SERVER = ("managedFields", "resourceVersion", "generation", "finalizers")


def restrict(attributes: Attributes, node: str) -> None:
    """Refuse whatever else a node would change."""
    obj, old = attributes.obj, attributes.old
    assert obj is not None
    if old is None or _rest(obj) != _rest(old):
        why = f'node "{node}" is only allowed to set and remove the finalizer {LOCAL_PATH_FINALIZER} of a volume'
        raise refused(attributes, why)


def _rest(volume: Object) -> Object:
    """All but the finalizer."""
    metadata = {key: value for key, value in volume["metadata"].items() if key not in _OF_THE_SERVER}
    others = [one for one in volume["metadata"].get("finalizers") or () if one != LOCAL_PATH_FINALIZER]
    return {**volume, "metadata": {**metadata, "finalizers": others}}
