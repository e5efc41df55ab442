"""What holds of any structural schema and any object."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject

from apimachinery.structural.compiled import ValueCheck
from apimachinery.structural.correlation import Correlated
from apimachinery.structural.defaulting import apply_defaults, drop_nulls, prune_defaults
from apimachinery.structural.invariants import is_structural
from apimachinery.structural.nodes import compile_schema
from apimachinery.structural.pruning import prune
from apimachinery.structural.validation import validate
from tests.unit.apimachinery.structural import strategies
from tests.unit.apimachinery.structural.strategies import Schema


@given(strategies.roots)
def test_the_schemas_that_are_drawn_are_structural(schema: Schema) -> None:
    assert is_structural({"type": "object", "properties": {"spec": schema}})


@given(st.data(), strategies.roots)
def test_pruned_objects_validate_and_pruning_twice_prunes_nothing_more(data: DataObject, schema: Schema) -> None:
    value = data.draw(strategies.values(schema))
    grown = data.draw(strategies.overgrown(copy.deepcopy(value)))
    node = compile_schema(schema)
    drop_nulls(grown, node)
    prune(grown, node)
    again = copy.deepcopy(grown)
    assert prune(again, node) == []
    assert again == grown
    if "unknown" not in str(grown) and "other" not in str(grown):
        assert grown == value
        assert validate(grown, schema) == []


@given(strategies.roots, strategies.anything)
def test_pruning_changes_nothing_but_by_taking_away(schema: Schema, value: Any) -> None:
    node, pruned = compile_schema(schema), copy.deepcopy(value)
    removed = prune(pruned, node)
    assert (pruned == value) == (removed == [])
    again = copy.deepcopy(pruned)
    assert (prune(again, node), again) == ([], pruned)


@given(st.data(), strategies.roots)
def test_defaulted_objects_validate_and_defaulting_twice_fills_in_nothing_more(
    data: DataObject, schema: Schema
) -> None:
    schema = data.draw(strategies.with_defaults(schema))
    node = prune_defaults(compile_schema(schema))
    value = data.draw(strategies.values(schema))
    apply_defaults(value, node)
    again = copy.deepcopy(value)
    assert apply_defaults(again, node) is False
    assert again == value
    assert validate(value, schema) == []
    assert prune(again, node) == []


@given(st.data(), strategies.roots, strategies.anything)
def test_nulls_that_may_not_be_there_go_once(data: DataObject, schema: Schema, value: Any) -> None:
    node = compile_schema(data.draw(strategies.with_defaults(schema)))
    dropped = drop_nulls(value, node)
    again = copy.deepcopy(value)
    assert (drop_nulls(again, node), again) == (False, value)
    assert dropped in (True, False)


@given(strategies.roots.flatmap(strategies.judged), strategies.anything)
def test_the_quick_check_and_the_full_list_agree(schema: Schema, value: Any) -> None:
    assert ValueCheck(schema).passes(value) == (validate(value, schema) == [])


@given(st.data(), strategies.roots)
def test_what_a_schema_says_twice_is_checked_at_both_places(data: DataObject, schema: Schema) -> None:
    check = ValueCheck({"type": "object", "properties": {"one": schema, "other": {"type": "array", "items": schema}}})
    value, other = data.draw(strategies.values(schema)), data.draw(strategies.anything)
    fits = validate(other, schema) == []
    assert check.passes({"one": value, "other": [value]})
    assert check.passes({"one": other}) is check.passes({"other": [value, other]}) is fits


@given(strategies.roots.flatmap(strategies.judged), strategies.anything, strategies.anything)
def test_what_is_unchanged_passes(schema: Schema, value: Any, other: Any) -> None:
    node = compile_schema(schema)
    assert validate(value, schema, correlated=Correlated(value, copy.deepcopy(value), node)) == []
    # Compared with anything, no more is wrong than by itself.
    alone = {error.message() for error in validate(value, schema)}
    beside = {error.message() for error in validate(value, schema, correlated=Correlated(value, other, node))}
    assert beside <= alone
