"""Whether one node suits a pod by its node selector and required node affinity."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object
from apimachinery.node_affinity import selects

NODE: Object = {"metadata": {"name": "n1", "labels": {"zone": "a", "cores": "8"}}}


def affinity(*terms: Object) -> Object:
    required = {"nodeSelectorTerms": list(terms)}
    return {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}}


def label(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


def named(operator: str, *values: str) -> dict[str, Any]:
    return {"matchFields": [{"key": "metadata.name", "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("spec", "suits"),
    [
        ({}, True),
        ({"nodeSelector": {"zone": "a"}}, True),
        ({"nodeSelector": {"zone": "a", "disk": "ssd"}}, False),
        (affinity(label("zone", "In", "a", "b")), True),
        (affinity(label("zone", "NotIn", "a")), False),
        (affinity(label("disk", "DoesNotExist")), True),
        (affinity(label("disk", "Exists")), False),
        (affinity(label("cores", "Gt", "4")), True),
        (affinity(label("cores", "Lt", "8")), False),
        (affinity(named("In", "n1")), True),
        (affinity(named("In", "n2")), False),
        (affinity(named("NotIn", "n1")), False),
        (affinity(label("zone", "In", "b"), named("In", "n1")), True),
        (affinity({**label("zone", "In", "b"), **named("In", "n1")}), False),
        ({"nodeSelector": {"zone": "b"}, **affinity(named("In", "n1"))}, False),
        (affinity({}), False),
        (affinity(), False),
    ],
)
def test_a_node_suits_a_pod_whose_selector_and_one_of_whose_terms_it_meets(spec: Object, suits: bool) -> None:
    assert selects(spec, NODE) is suits
