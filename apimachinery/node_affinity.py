"""Whether a pod may run on one node by its node selector and required node affinity: pure.

The scheduler asks the same of thousands of nodes at once, and in columns; this is for who looks at one.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from apimachinery.meta import Object, get_path, labels
from apimachinery.selectors import Requirement

_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!", "Gt": ">", "Lt": "<"}


def selects(pod_spec: Mapping[str, Any], node: Object) -> bool:
    """True if the node has all labels of `nodeSelector` and meets one whole term of the required node affinity."""
    wanted: Mapping[str, str] = pod_spec.get("nodeSelector") or {}
    if any(labels(node).get(key) != value for key, value in wanted.items()):
        return False
    affinity = get_path(pod_spec, "affinity", "nodeAffinity", default={})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    fields = {"metadata.name": node["metadata"]["name"]}
    return any(
        _all_match(term.get("matchExpressions") or (), labels(node))
        and _all_match(term.get("matchFields") or (), fields)
        for term in required.get("nodeSelectorTerms") or ()
        if term.get("matchExpressions") or term.get("matchFields")
    )


def _all_match(expressions: Iterable[Mapping[str, Any]], values: Mapping[str, str]) -> bool:
    return all(
        Requirement(entry["key"], _OPERATORS[entry["operator"]], tuple(entry.get("values") or ())).matches(values)
        for entry in expressions
    )
