"""What always holds of patches, for random documents."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from apimachinery.errors import ApiError
from apimachinery.json_patch import json_patch
from apimachinery.meta import Object
from apimachinery.patch import merge_patch, strategic_merge_patch
from apimachinery.resources import PODS
from tests.support.patch_worlds import MERGED, expected, model, patches, pods

NAMES = st.sampled_from(("a", "b", "~", "/", "m~n", ""))
SCALARS = st.booleans() | st.integers(-2, 2) | st.sampled_from(("x", "y"))
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=3)


def difference(old: Any, new: Any) -> Any:
    """The merge patch from one document to another, neither with nulls."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    gone: Object = {name: None for name in old if name not in new}
    return gone | {
        name: difference(old.get(name), inner)
        for name, inner in new.items()
        if name not in old or not same(inner, old[name])
    }


def same(one: Any, other: Any) -> bool:
    """Equal as JSON: true is not 1."""
    return repr(model_of(one)) == repr(model_of(other))


def model_of(value: Any) -> Any:
    """A value with its objects in one order."""
    if isinstance(value, dict):
        return sorted((name, model_of(inner)) for name, inner in value.items())
    return [model_of(inner) for inner in value] if isinstance(value, list) else value


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_of_the_difference_leads_from_one_to_the_other(old: Object, new: Object) -> None:
    patch = difference(old, new)
    assert same(merge_patch(old, patch), new)
    assert merge_patch(new, patch) == new
    assert merge_patch(old, difference(old, old)) == old


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_leaves_what_it_does_not_name_and_both_as_they_are(old: Object, patch: Object) -> None:
    before = copy.deepcopy((old, patch))
    merged = merge_patch(old, patch)
    assert {name: inner for name, inner in merged.items() if name not in patch} == {
        name: inner for name, inner in old.items() if name not in patch
    }
    assert (old, patch) == before


def pointer(*steps: str | int) -> str:
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in steps)


def operations(old: Any, new: Any, at: str = "") -> list[Object]:
    """A JSON patch from one document to another."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return [] if same(old, new) else [{"op": "replace", "path": at, "value": new}]
    found: list[Object] = [{"op": "remove", "path": at + pointer(name)} for name in old if name not in new]
    for name, inner in new.items():
        where = at + pointer(name)
        if name in old:
            found += operations(old[name], inner, where)
        else:
            found.append({"op": "add", "path": where, "value": inner})
    return found


def places(value: Any, at: tuple[str | int, ...] = ()) -> list[tuple[tuple[str | int, ...], Any]]:
    """Every place in a document, with its value."""
    inside: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list):
        inside = list(enumerate(value))
    return [(at, value)] + [found for step, inner in inside for found in places(inner, (*at, step))]


@given(OBJECTS, OBJECTS)
def test_json_patch_operations_lead_from_one_document_to_the_other(old: Object, new: Object) -> None:
    before = copy.deepcopy(old)
    assert same(json_patch(old, operations(old, new)), new)
    assert old == before


@given(OBJECTS, VALUES)
def test_a_test_passes_exactly_where_the_value_is(document: Object, other: Any) -> None:
    for steps, value in places(document):
        assert json_patch(document, [{"op": "test", "path": pointer(*steps), "value": value}]) is document
        if not same(value, other) and value != other:
            with pytest.raises(ApiError) as caught:
                json_patch(document, [{"op": "test", "path": pointer(*steps), "value": other}])
            assert caught.value.code == 422


@given(OBJECTS, NAMES, VALUES)
def test_what_is_added_can_be_removed_again(document: Object, name: str, value: Any) -> None:
    for steps, inner in places(document):
        if isinstance(inner, dict) and name not in inner:
            at = pointer(*steps, name)
        elif isinstance(inner, list):
            at = pointer(*steps, 0)
        else:
            continue
        added = json_patch(document, [{"op": "add", "path": at, "value": value}])
        assert json_patch(added, [{"op": "test", "path": at, "value": value}]) is added
        assert json_patch(added, [{"op": "remove", "path": at}]) == document


@given(OBJECTS, NAMES)
def test_to_move_is_to_copy_and_to_remove(document: Object, name: str) -> None:
    target = pointer(name)
    for steps, value in places(document)[1:]:
        source = pointer(*steps)
        assume(name not in document)
        moved = json_patch(document, [{"op": "move", "from": source, "path": target}])
        copied = json_patch(document, [{"op": "copy", "from": source, "path": target}])
        assert moved == json_patch(copied, [{"op": "remove", "path": source}])
        assert same(copied[name], value)


@given(pods(), patches())
def test_a_strategic_patch_sets_what_it_says_and_leaves_the_rest(pod: Object, patch: Object) -> None:
    before = copy.deepcopy((pod, patch))
    assert model(strategic_merge_patch(PODS, pod, patch)) == expected(model(pod), model(patch))
    assert (pod, patch) == before


@given(pods(), patches())
def test_to_patch_strategically_twice_changes_nothing_more(pod: Object, patch: Object) -> None:
    once = strategic_merge_patch(PODS, pod, patch)
    assert strategic_merge_patch(PODS, once, patch) == once


@given(pods())
def test_a_pod_as_its_own_patch_changes_nothing(pod: Object) -> None:
    assert strategic_merge_patch(PODS, pod, pod) == pod
    assert strategic_merge_patch(PODS, {"metadata": {}, "spec": {}}, pod) == pod


@given(pods(), patches())
def test_what_a_patch_does_not_name_keeps_its_order_and_what_it_orders_has_that(pod: Object, patch: Object) -> None:
    merged = strategic_merge_patch(PODS, pod, patch)
    for field in ("containers", "volumes"):
        key = str(MERGED[field])
        have, had, said = (listed(one, field, key) for one in (merged, pod, patch))
        assert increasing([had.index(name) for name in have if name in had and name not in said])
        order = listed(patch, f"$setElementOrder/{field}", key)
        assert increasing([order.index(name) for name in have if name in order])


def listed(pod: Object, field: str, key: str) -> list[Any]:
    """The keys of a list in a spec."""
    return [item[key] for item in (pod.get("spec") or {}).get(field) or ()]


def increasing(numbers: list[int]) -> bool:
    return all(one < other for one, other in pairwise(numbers))
