"""Random pods, strategic merge patches of them, and a model of such patches, for the laws of patches.

Lists that are merged by a key are dicts by that key in the model, and lists of plain values that are merged are sets:
what is left is to merge dicts.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from apimachinery.meta import Object

NAMES, TEXTS = ("a", "b", "c"), ("1", "2")
# The keys of lists that are merged; None: each value by itself.
MERGED = {"containers": "name", "env": "name", "ports": "containerPort", "volumes": "name", "finalizers": None}
DELETED = {"$patch": "delete"}

_names, _texts = st.sampled_from(NAMES), st.sampled_from(TEXTS)
_maps = st.dictionaries(_names, _texts, max_size=3)


def _fields(**of: SearchStrategy[Any]) -> SearchStrategy[Object]:
    """Objects with any of these fields."""
    return st.fixed_dictionaries({}, optional=of)


def _keyed(key: str, keys: SearchStrategy[Any], fields: SearchStrategy[Object]) -> SearchStrategy[list[Object]]:
    items = st.tuples(keys, fields).map(lambda both: {key: both[0], **both[1]})
    return st.lists(items, max_size=3, unique_by=lambda item: item[key])


_env = _keyed("name", _names, _fields(value=_texts))
_ports = _keyed("containerPort", st.sampled_from((80, 443)), _fields(name=_texts))
_containers = _keyed(
    "name",
    _names,
    _fields(image=_texts, args=st.lists(_texts, max_size=2), env=_env, ports=_ports, resources=_fields(limits=_maps)),
)
_volumes = _keyed("name", _names, _fields(emptyDir=_fields(medium=_texts)))
_tolerations = st.lists(_fields(key=_texts, value=_texts), max_size=2)


def pods() -> SearchStrategy[Object]:
    """Pods, or what a file says of one."""
    metadata = _fields(labels=_maps, finalizers=st.lists(_names, max_size=3, unique=True))
    spec = _fields(
        containers=_containers, volumes=_volumes, tolerations=_tolerations, nodeSelector=_maps, hostname=_texts
    )
    return st.fixed_dictionaries({"metadata": metadata, "spec": spec})


@st.composite
def patches(draw: DrawFn) -> Object:
    """Patches that set, remove with null, delete items and say in which order they are to be."""
    found: Object = draw(_changes(draw(pods())))
    return found


@st.composite
def _changes(draw: DrawFn, value: Object) -> Object:
    found: Object = {}
    for name, inner in value.items():
        if draw(st.integers(0, 5)) == 0:
            found[name] = None
        elif isinstance(inner, dict):
            found[name] = draw(_changes(inner))
        elif name not in MERGED:
            found[name] = inner
        elif MERGED[name] is None:
            found[name] = inner
            gone = draw(st.lists(_names.filter(lambda one, had=inner: one not in had), max_size=2, unique=True))
            if gone:
                found[f"$deleteFromPrimitiveList/{name}"] = gone
        else:
            found |= draw(_items(name, inner))
    return found


@st.composite
def _items(draw: DrawFn, name: str, items: list[Object]) -> Object:
    key = MERGED[name]
    assert key is not None
    found = []
    for item in items:
        if draw(st.integers(0, 3)) == 0:
            found.append({key: item[key], **DELETED})
        else:
            rest = {field: inner for field, inner in item.items() if field != key}
            found.append({key: item[key], **draw(_changes(rest))})
    if draw(st.booleans()):
        return {name: found}
    order = [{key: item[key]} for item in found if "$patch" not in item]
    return {name: found, f"$setElementOrder/{name}": order}


def model(value: Any, name: str = "") -> Any:
    """A value without the order of what is merged."""
    if isinstance(value, dict):
        return {field: model(inner, field) for field, inner in value.items()}
    if name not in MERGED or not isinstance(value, list):
        return value
    key = MERGED[name]
    return set(value) if key is None else {str(item[key]): model(item) for item in value}


def expected(document: Object, patch: Object) -> Object:
    """The model of a patched document, by the models of both."""
    found = dict(document)
    for name, inner in patch.items():
        if name.startswith("$deleteFromPrimitiveList/"):
            field = name.partition("/")[2]
            if field in document:
                found[field] = (found.get(field) or set()) - set(inner)
        elif name.startswith("$"):
            continue
        elif inner is None or (isinstance(inner, dict) and inner.get("$patch") == "delete"):
            found.pop(name, None)
        elif isinstance(inner, dict):
            found[name] = expected(found.get(name) or {}, inner)
        elif isinstance(inner, set):
            found[name] = (found.get(name) or set()) | inner
        else:
            found[name] = inner
    return found
