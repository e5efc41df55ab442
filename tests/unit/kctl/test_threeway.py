"""The patch that `apply` sends: what the file says, and the removal of what it no longer says."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from apimachinery.meta import Object
from apimachinery.patch import strategic_merge_patch
from apimachinery.resources import DEPLOYMENTS, PODS
from kctl.threeway import LAST_APPLIED, three_way_patch
from tests.support.patch_worlds import model, pods


def deployment(spec: dict[str, Any], last: Object | None = None) -> Object:
    annotations = {LAST_APPLIED: orjson.dumps(last).decode()} if last is not None else {}
    metadata = {"name": "web", "annotations": annotations}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def spec_patch(before: dict[str, Any], file: dict[str, Any], live: dict[str, Any]) -> Any:
    """The patch of the spec when `before` was applied, `live` is there and `file` is applied."""
    return three_way_patch(deployment(file), deployment(live, deployment(before))).get("spec")


def test_what_is_the_same_sends_nothing() -> None:
    assert spec_patch({"replicas": 3}, {"replicas": 3}, {"replicas": 3, "paused": False}) is None


def test_a_field_taken_out_of_the_file_is_taken_out_of_the_object() -> None:
    assert spec_patch({"replicas": 3, "paused": True}, {"replicas": 3}, {"replicas": 3, "paused": True}) == {
        "paused": None
    }


def test_a_field_that_somebody_else_has_set_stays() -> None:
    assert spec_patch({}, {"minReadySeconds": 5}, {"replicas": 7}) == {"minReadySeconds": 5}


def test_containers_are_matched_by_name_and_a_vanished_one_is_deleted() -> None:
    def containers(*listed: dict[str, Any]) -> dict[str, Any]:
        return {"template": {"spec": {"containers": list(listed)}}}

    before = containers({"name": "a", "image": "x:1"}, {"name": "b", "image": "y:1"})
    file = containers({"name": "a", "image": "x:2"})
    live = containers(
        {"name": "a", "image": "x:1", "imagePullPolicy": "Always"},
        {"name": "b", "image": "y:1"},
        {"name": "injected", "image": "z"},
    )
    assert spec_patch(before, file, live) == containers(
        {"name": "a", "image": "x:2"}, {"name": "b", "$patch": "delete"}
    )


def test_a_damaged_record_removes_nothing() -> None:
    live = deployment({"replicas": 1, "paused": True})
    live["metadata"]["annotations"][LAST_APPLIED] = "{no json"
    assert three_way_patch(deployment({"replicas": 2}), live)["spec"] == {"replicas": 2}


LABELS = st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["1", "2"]), max_size=4)


@given(LABELS, LABELS, LABELS)
def test_after_the_patch_the_object_holds_the_file_and_what_others_set(
    before: dict[str, str], file: dict[str, str], others: dict[str, str]
) -> None:
    live = {"selector": {"matchLabels": {**others, **before}}}
    patch = three_way_patch(
        deployment({"selector": {"matchLabels": file}}),
        deployment(live, deployment({"selector": {"matchLabels": before}})),
    )
    merged = strategic_merge_patch(DEPLOYMENTS, deployment(live), patch)["spec"]["selector"]["matchLabels"]
    expected = {key: value for key, value in others.items() if key not in before} | file
    assert merged == expected


def pod(body: Object, last: Object | None = None) -> Object:
    annotations = {LAST_APPLIED: orjson.dumps(last).decode()} if last is not None else {}
    return {"apiVersion": "v1", "kind": "Pod", **body, "metadata": {**body["metadata"], "annotations": annotations}}


def nodes(value: Any, at: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every value in a model by its path, and the members of sets; of what holds others only that it is there."""
    if isinstance(value, set):
        return {at: None, **{(*at, str(one)): True for one in value}}
    if not isinstance(value, dict):
        return {at: value}
    inner = {path: leaf for name, inner in value.items() for path, leaf in nodes(inner, (*at, name)).items()}
    return {at: None, **inner}


@given(pods(), pods(), pods())
def test_a_file_is_applied_whatever_was_applied_before_and_whatever_others_have_set(
    before: Object, file: Object, others: Object
) -> None:
    live = strategic_merge_patch(PODS, others, before)
    merged = strategic_merge_patch(PODS, live, three_way_patch(pod(file), pod(live, pod(before))))
    said, applied, was, found = (nodes(model(one)) for one in (file, before, live, merged))
    assert {path: value for path, value in found.items() if path in said} == said
    gone = [path for path in applied if path not in said]
    kept = {
        path: value
        for path, value in was.items()
        if path not in said and not any(path[: len(one)] == one for one in gone)
    }
    assert {path: value for path, value in found.items() if path not in said} == kept
    assert three_way_patch(pod(file), pod(merged, pod(file))) == {}
