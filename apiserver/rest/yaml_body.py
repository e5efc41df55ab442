"""YAML bodies, read as Kubernetes reads them: into what JSON can say, keys that stand twice being told of.

Kept apart because YAML is imported only when the first such body comes.
"""

from __future__ import annotations

from typing import Any

import orjson
import yaml

from apimachinery import yaml_limits, yaml_scalars
from apimachinery.errors import bad_request

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]
    """No object is built that JSON doesn't have."""

    duplicates: list[str]


yaml_limits.limit(_Loader)
yaml_scalars.install(_Loader)


def _mapping(loader: Any, node: Any) -> dict[str, Any]:
    loader.flatten_mapping(node)
    found: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        key = str(key).lower() if isinstance(key, bool) else str(key)
        if key in found:
            loader.duplicates.append(key)
        found[key] = loader.construct_object(value_node, deep=True)
    return found


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def parse(body: bytes) -> tuple[Any, list[str]]:
    """The document, and the keys that it has twice. Raises ApiError 400."""
    try:
        loader = _Loader(body)
        loader.duplicates = []
        try:
            node = loader.get_single_node()
            document = loader.construct_document(node) if node is not None else None
        finally:
            loader.dispose()
        # Through JSON and back: what JSON can't say is refused, and what aliases share becomes separate.
        return orjson.loads(orjson.dumps(document)), list(dict.fromkeys(loader.duplicates))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError, TypeError) as error:
        told = " ".join(str(error).split())
        raise bad_request(f"error converting YAML to JSON: {told}") from error
