"""What the schemas make of an object."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery import schemas
from apimachinery.resources import PODS


def test_null_is_dropped_from_fields_and_emptied_in_lists_and_maps() -> None:
    pod = {
        "metadata": {"name": "web", "labels": {"app": None}, "generateName": None},
        "spec": {
            "containers": [{"name": "c", "ports": [None], "args": [None], "resources": {"limits": {"cpu": None}}}],
            "volumes": None,
        },
    }
    assert schemas.prune(PODS, pod) == {
        "metadata": {"name": "web", "labels": {"app": ""}},
        "spec": {"containers": [{"name": "c", "ports": [{}], "args": [""], "resources": {"limits": {"cpu": "0"}}}]},
    }


def _pod(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web"}, "spec": {"containers": [{"name": "c"}], **spec}}


@pytest.mark.parametrize(
    ("pod", "valid"),
    [
        (_pod(), True),
        (_pod(nodeName="n1", nodeSelector={"a": "b"}), True),
        (_pod() | {"status": {"conditions": [{"type": "A", "status": "True", "lastProbeTime": None}]}}, True),
        (_pod() | {"status": {"conditions": [{"type": "A", "status": "True", "lastProbeTime": 5}]}}, False),
        (_pod() | {"status": {"conditions": [{"type": "A", "status": "True", "message": None}]}}, False),
        (_pod(nodeName=None), False),
        (_pod(nodename="n1"), False),
        (_pod(containers=[{"name": "c", "imge": "x"}]), False),
        (_pod(terminationGracePeriodSeconds="5"), False),
        (_pod() | {"dota": {}}, False),
    ],
)
def test_strictly_valid_is_what_needs_neither_pruning_nor_a_second_look(pod: dict[str, Any], valid: bool) -> None:
    assert schemas.is_strictly_valid(PODS, pod) == valid
    if valid:
        assert schemas.prune(PODS, pod) is pod
        assert schemas.unknown_fields(PODS, pod) == schemas.validate(PODS, pod) == []
