"""Patches: what they change, what they leave, and what they refuse."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apimachinery.errors import ApiError
from apimachinery.patch import json_patch, merge_patch, strategic_merge_patch
from apimachinery.resources import DEPLOYMENTS, PODDISRUPTIONBUDGETS, PODS

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=12,
)


@given(JSON, JSON)
def test_merging_a_patch_twice_changes_nothing_more(document: Any, patch: Any) -> None:
    once = merge_patch(document, patch)
    assert merge_patch(once, patch) == once


def test_a_merge_patch_removes_with_null_and_replaces_lists() -> None:
    assert merge_patch({"a": {"b": 1, "c": 2}, "l": [1]}, {"a": {"b": None}, "l": [2]}) == {
        "a": {"c": 2},
        "l": [2],
    }


@pytest.mark.parametrize(
    ("document", "operations", "result"),
    [
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a~b": {"/": 1}}, [{"op": "remove", "path": "/a~0b/~1"}], {"a~b": {}}),
        ({"a": 1}, [{"op": "move", "from": "/a", "path": "/b"}], {"b": 1}),
        ({"a": {"x": 1}}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": {"x": 1}, "b": {"x": 1}}),
        ({"a": [1, 2]}, [{"op": "replace", "path": "/a/0", "value": 9}], {"a": [9, 2]}),
    ],
)
def test_json_patch_operations(document: Any, operations: Any, result: Any) -> None:
    before = repr(document)
    assert json_patch(document, operations) == result
    assert repr(document) == before


@pytest.mark.parametrize(
    "operations",
    [
        [{"op": "remove", "path": "/missing"}],
        [{"op": "test", "path": "/a", "value": 2}],
        [{"op": "replace", "path": "/a/b/c", "value": 2}],
        [{"op": "fly", "path": "/a"}],
        [{"path": "/a"}],
        ["x"],
    ],
)
def test_a_json_patch_that_does_not_fit_is_refused(operations: Any) -> None:
    with pytest.raises(ApiError) as caught:
        json_patch({"a": 1}, operations)
    assert caught.value.code == 422


def test_what_is_tested_is_not_told() -> None:
    with pytest.raises(ApiError) as caught:
        json_patch({"data": {"password": "hidden"}}, [{"op": "test", "path": "/data/password", "value": "guess"}])
    assert "hidden" not in caught.value.message and "guess" not in caught.value.message


def test_what_a_patch_copies_into_itself_has_a_limit() -> None:
    doubling = [{"op": "copy", "from": "/x", "path": "/x/-"}] * 40
    with pytest.raises(ApiError, match="accumulated size of copies") as caught:
        json_patch({"x": [0]}, doubling)
    assert caught.value.code == 422


def test_many_operations_on_a_large_document_are_done_in_one_copy() -> None:
    document = {"finalizers": [f"x/{number}" for number in range(50_000)], "data": {str(n): n for n in range(50_000)}}
    before = repr(document)
    operations = [{"op": "add", "path": "/finalizers/0", "value": "y"}, {"op": "remove", "path": "/data/1"}]
    operations += [{"op": "add", "path": f"/data/new-{number}", "value": 1} for number in range(9_998)]
    patched = json_patch(document, operations)
    assert (len(patched["finalizers"]), len(patched["data"])) == (50_001, 59_997)
    assert repr(document) == before


@given(JSON, st.lists(st.sampled_from(["/a", "/a/0", "/a/-", "/b", "/a/b", ""]), max_size=4), JSON)
def test_neither_document_nor_patch_is_changed(inner: Any, paths: list[str], value: Any) -> None:
    document = {"a": inner, "b": inner}
    operations = [{"op": "add", "path": path, "value": value} for path in paths]
    operations += [{"op": "copy", "from": "/a", "path": "/c"}, {"op": "add", "path": "/c/b", "value": 1}]
    before = repr((document, operations))
    with contextlib.suppress(ApiError):
        json_patch(document, operations)
    assert repr((document, operations)) == before


@pytest.mark.parametrize("path", ["/x" * 100_000, "/a/" + "9" * 5000, "/a/٣", "/a/²"])
def test_pointers_that_lead_nowhere_are_refused(path: str) -> None:
    with pytest.raises(ApiError) as caught:
        json_patch({"a": [1]}, [{"op": "add", "path": path, "value": 1}])
    assert caught.value.code == 422
    assert len(caught.value.message) < 1000


def test_nothing_is_put_together_that_is_nested_too_deeply_to_be_written() -> None:
    deep: Any = 1
    for _ in range(200):
        deep = {"x": deep}
    with pytest.raises(ApiError, match="nested too deeply") as caught:
        json_patch(deep, [{"op": "add", "path": "/x" * 199, "value": deep}])
    assert caught.value.code == 422


def pod(*containers: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"containers": list(containers)}}


def test_a_strategic_merge_patch_merges_containers_by_name() -> None:
    document = pod({"name": "a", "image": "x", "env": [{"name": "E", "value": "1"}]}, {"name": "b"})
    patch = pod({"name": "a", "env": [{"name": "F", "value": "2"}]}, {"name": "b", "$patch": "delete"})
    assert strategic_merge_patch(PODS, document, patch) == pod(
        {"name": "a", "image": "x", "env": [{"name": "F", "value": "2"}, {"name": "E", "value": "1"}]}
    )


def test_a_strategic_merge_patch_replaces_atomic_lists_and_honours_directives() -> None:
    document = {"spec": {"tolerations": [{"key": "a"}], "nodeSelector": {"x": "1", "y": "2"}}}
    patch = {"spec": {"tolerations": [{"key": "b"}], "nodeSelector": {"$patch": "replace", "z": "3"}}}
    assert strategic_merge_patch(PODS, document, patch) == {
        "spec": {"tolerations": [{"key": "b"}], "nodeSelector": {"z": "3"}}
    }


def test_set_element_order_and_retain_keys_as_kubectl_sends_them() -> None:
    document = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_merge_patch(DEPLOYMENTS, document, patch) == {"spec": {"strategy": {"type": "Recreate"}}}
    ordered = {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "b"}]}}
    merged = strategic_merge_patch(PODS, pod({"name": "a"}), ordered)
    assert merged == pod({"name": "b"}, {"name": "a"})
    finalizers = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"], "finalizers": ["z"]}}
    merged = strategic_merge_patch(PODS, {"metadata": {"finalizers": ["x", "y"]}}, finalizers)
    assert merged == {"metadata": {"finalizers": ["z", "y"]}}


def test_what_is_added_takes_the_places_of_what_is_deleted() -> None:
    order = {"$setElementOrder/containers": [{"name": "b"}, {"name": "new"}]}
    listed = [{"name": "new"}, {"name": "a", "$patch": "delete"}]
    merged = strategic_merge_patch(PODS, _containers("a", "b", "injected"), {"spec": {**order, "containers": listed}})
    assert merged == _containers("b", "injected", "new")


def test_a_list_in_another_order_than_it_asks_for_is_refused() -> None:
    patch = {"spec": {"$setElementOrder/containers": [{"name": "a"}, {"name": "b"}], **_containers("b", "a")["spec"]}}
    with pytest.raises(ApiError, match=r"The order in patch list:[^$]*doesn't match \$setElementOrder/ list:"):
        strategic_merge_patch(PODS, _containers("a"), patch)


def test_what_is_a_whole_by_its_schema_is_replaced() -> None:
    document = {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "a", "tier": "b"}}}}
    patch = {"spec": {"selector": {"matchLabels": {"app": "c"}}}}
    merged = strategic_merge_patch(PODDISRUPTIONBUDGETS, document, patch)
    assert merged == {"spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "c"}}}}


def test_to_delete_from_a_list_that_is_not_there_makes_none() -> None:
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x"]}}
    assert strategic_merge_patch(PODS, {"metadata": {"name": "a"}}, patch) == {"metadata": {"name": "a"}}


def test_long_lists_are_merged_in_one_go() -> None:
    references = [{"uid": str(number), "kind": "Pod"} for number in range(20_000)]
    finalizers = [f"x/{number}" for number in range(20_000)]
    document = {"metadata": {"ownerReferences": references, "finalizers": finalizers}}
    patch = {"metadata": {"ownerReferences": [*reversed(references), {"uid": "new"}], "finalizers": finalizers}}
    patch["metadata"]["$deleteFromPrimitiveList/finalizers"] = finalizers[:5000]
    merged = strategic_merge_patch(PODS, document, patch)["metadata"]
    assert len(merged["ownerReferences"]) == 20_001
    assert set(merged["finalizers"]) == set(finalizers[5000:])


@pytest.mark.parametrize(
    "directive", ["$setElementOrder/containers", "$deleteFromPrimitiveList/containers", "$retainKeys"]
)
@pytest.mark.parametrize("value", [5, "x", {}, True])
def test_a_directive_that_is_no_list_is_refused(directive: str, value: Any) -> None:
    with pytest.raises(ApiError, match="must be a list"):
        strategic_merge_patch(PODS, pod({"name": "a"}), {"spec": {directive: value}})


def test_an_element_without_its_merge_key_is_refused() -> None:
    with pytest.raises(ApiError, match="does not contain declared merge key: name"):
        strategic_merge_patch(PODS, pod(), pod({"image": "x"}))


def _containers(*names: str) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": name} for name in names]}}


@pytest.mark.parametrize(
    ("before", "patch", "order", "after"),
    [
        # What a patch adds comes first, as Kubernetes' documentation shows it.
        (("a",), ("new",), None, ("new", "a")),
        (("a", "b", "c"), ("c", "new"), None, ("a", "b", "c", "new")),
        (("a", "b", "c"), ("b",), None, ("a", "b", "c")),
        (("a", "b", "c"), ("c", "a"), None, ("b", "c", "a")),
        (("a", "b"), ("new",), ("a", "new", "b"), ("a", "new", "b")),
        (("a", "b", "c"), (), ("c", "a"), ("b", "c", "a")),
    ],
)
def test_a_strategic_patch_keeps_the_order_that_kubernetes_keeps(
    before: tuple[str, ...], patch: tuple[str, ...], order: tuple[str, ...] | None, after: tuple[str, ...]
) -> None:
    change = _containers(*patch)
    if order is not None:
        change["spec"]["$setElementOrder/containers"] = [{"name": name} for name in order]
    if not patch:
        del change["spec"]["containers"]
    assert strategic_merge_patch(PODS, _containers(*before), change) == _containers(*after)
