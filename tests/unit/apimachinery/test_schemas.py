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


def test_quantities_get_their_canonical_form_wherever_they_stand() -> None:
    limits = {"cpu": "1000m", "memory": "1024Mi", "example.com/gpu": 2}
    volumes = [{"name": "v", "emptyDir": {"sizeLimit": "0.5Gi"}}, {"name": "w", "emptyDir": {}}]
    pod = _pod(containers=[{"name": "c", "resources": {"limits": limits}}], volumes=volumes, overhead={"cpu": "0.1"})
    assert schemas.normalize_quantities(PODS, pod) == []
    assert pod["spec"]["containers"][0]["resources"]["limits"] == {
        "cpu": "1",
        "memory": "1Gi",
        "example.com/gpu": "2",
    }
    assert pod["spec"]["volumes"][0]["emptyDir"]["sizeLimit"] == "512Mi"
    assert pod["spec"]["overhead"] == {"cpu": "100m"}


def test_what_is_no_quantity_is_named_by_its_path() -> None:
    requests = {"cpu": "1", "memory": "much"}
    pod = _pod(containers=[{"name": "c", "resources": {"requests": requests}}], overhead={"cpu": "1 2"})
    errors = schemas.normalize_quantities(PODS, pod)
    assert [error.path for error in errors] == ["spec.containers[0].resources.requests.memory", "spec.overhead.cpu"]
