"""What the schemas make of an object."""

from __future__ import annotations

from apimachinery import schemas
from apimachinery.resources import PODS


def test_null_is_dropped_from_fields_and_emptied_in_lists_and_maps():
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
