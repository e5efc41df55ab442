"""What always holds of managed fields and server-side apply, for random schemas and objects."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import assume, given, settings

from apimachinery.managedfields import elements, sets
from apimachinery.managedfields.applying import apply
from apimachinery.managedfields.check import problems
from apimachinery.managedfields.compare import compare, described
from apimachinery.managedfields.conflicts import ConflictError
from apimachinery.managedfields.custom import custom
from apimachinery.managedfields.kinds import Kind
from apimachinery.managedfields.updating import created, updated
from tests.support.managed_worlds import (
    ABSENT,
    VERSION,
    World,
    by,
    is_whole,
    lookup,
    members,
    owned,
    parts,
    thing,
    worlds,
)

LATER = "2026-01-01T00:01:00Z"
laws = settings(max_examples=40, deadline=None)


@laws
@given(worlds())
def test_what_a_schema_allows_can_be_applied(world: World) -> None:
    assert problems(world.kind.types[VERSION], thing(world.specs[0])) == ""


@laws
@given(worlds())
def test_to_apply_twice_changes_nothing(world: World) -> None:
    config = thing(world.specs[0])
    first = apply(world.kind, thing(world.specs[1]), (), config, by("a"), force=True)
    second = apply(world.kind, first.obj, first.managed, config, by("a", LATER))
    assert second == first


@laws
@given(worlds())
def test_what_is_applied_is_there_and_owned(world: World) -> None:
    type_, config = world.kind.types[VERSION], thing(world.specs[0])
    found = apply(world.kind, thing(world.specs[1]), (), config, by("a"), force=True)
    fields = described(type_, config)
    assert owned(found.managed, "a") == fields
    for path in members(fields):
        assert lookup(type_, found.obj, path) is not None
    for path, value in parts(type_, config).items():
        # An empty list or map asks for nothing.
        if not path[-1].startswith("k:") and value not in ([], {}):
            assert lookup(type_, found.obj, path) == value


@laws
@given(worlds())
def test_nothing_goes_that_was_not_applied_by_who_applies(world: World) -> None:
    type_, live = world.kind.types[VERSION], thing(world.specs[1])
    found = apply(world.kind, live, (), thing(world.specs[0]), by("a"), force=True)
    changes = compare(type_, live, found.obj)
    # Only with a value that gives way to another kind of value goes what was in it.
    changed = members(changes.changed)
    assert all(any(path[:n] in changed for n in range(len(path))) for path in members(changes.removed))


@laws
@given(worlds())
def test_a_conflict_is_reported_exactly_for_what_another_manages_and_would_get_another_value(world: World) -> None:
    type_, (one, other, _) = world.kind.types[VERSION], world.specs
    first = apply(world.kind, {}, (), thing(one), by("a"))
    expected = set()
    for path in members(owned(first.managed, "a")):
        here, there = lookup(type_, thing(one), path), lookup(type_, thing(other), path)
        either_whole = is_whole(type_, thing(one), path) or is_whole(type_, thing(other), path)
        if there is not ABSENT and either_whole and not same(here, there):
            expected.add(elements.text(path))
    try:
        apply(world.kind, first.obj, first.managed, thing(other), by("b"))
        found = set()
    except ConflictError as error:
        found = {cause["field"] for cause in (error.details or {})["causes"]}
        assert error.message.startswith(f"Apply failed with {len(found)} conflict")
    assert found == expected


def same(one: Any, other: Any) -> bool:
    """Equal as JSON."""
    return orjson.dumps(one, option=orjson.OPT_SORT_KEYS) == orjson.dumps(other, option=orjson.OPT_SORT_KEYS)


@laws
@given(worlds())
def test_managers_that_apply_different_fields_never_conflict(world: World) -> None:
    type_, (one, other, _) = world.kind.types[VERSION], world.specs
    assume(not (set(one) & set(other)))
    first = apply(world.kind, {}, (), thing(one), by("a"))
    second = apply(world.kind, first.obj, first.managed, thing(other), by("b"))
    assert owned(second.managed, "a") == described(type_, thing(one))
    assert owned(second.managed, "b") == described(type_, thing(other))


@laws
@given(worlds())
def test_managers_that_apply_the_same_share_it(world: World) -> None:
    first = apply(world.kind, {}, (), thing(world.specs[0]), by("a"))
    second = apply(world.kind, first.obj, first.managed, thing(world.specs[0]), by("b"))
    assert second.obj == first.obj
    assert owned(second.managed, "a") == owned(second.managed, "b") == owned(first.managed, "a")


@laws
@given(worlds())
def test_force_takes_what_is_in_conflict_and_nothing_else(world: World) -> None:
    type_, (one, other, _) = world.kind.types[VERSION], world.specs
    first = apply(world.kind, {}, (), thing(one), by("a"))
    before = owned(first.managed, "a")
    try:
        found = apply(world.kind, first.obj, first.managed, thing(other), by("b"))
        taken: set[str] = set()
    except ConflictError as error:
        taken = {cause["field"] for cause in (error.details or {})["causes"]}
        found = apply(world.kind, first.obj, first.managed, thing(other), by("b"), force=True)
    after = owned(found.managed, "a")
    assert {elements.text(path) for path in members(before) - members(after)} >= taken
    gone = compare(type_, first.obj, found.obj).removed
    assert members(before) - members(after) <= members(gone) | {
        path for path in members(before) if elements.text(path) in taken
    }
    assert owned(found.managed, "b") == described(type_, thing(other))


@laws
@given(worlds())
def test_what_is_applied_no_more_leaves_no_trace(world: World) -> None:
    type_, (one, other, next_one) = world.kind.types[VERSION], world.specs
    base = apply(world.kind, {}, (), thing(other), by("b"))
    there = apply(world.kind, base.obj, base.managed, thing(one), by("a"), force=True)
    again = apply(world.kind, there.obj, there.managed, thing(other), by("b"), force=True)
    found = apply(world.kind, again.obj, again.managed, thing(next_one), by("a"), force=True)
    direct = apply(world.kind, base.obj, base.managed, thing(next_one), by("a"), force=True)
    assert parts(type_, found.obj) == parts(type_, direct.obj)


@laws
@given(worlds())
def test_what_another_manages_stays_when_it_is_applied_no_more(world: World) -> None:
    type_, (one, other, _) = world.kind.types[VERSION], world.specs
    first = apply(world.kind, {}, (), thing(one), by("a"))
    second = apply(world.kind, first.obj, first.managed, thing(other), by("b"), force=True)
    found = apply(world.kind, second.obj, second.managed, thing({}), by("a"))
    for path, value in parts(type_, thing(other)).items():
        if not path[-1].startswith("k:") and value not in ([], {}):
            assert lookup(type_, found.obj, path) == value
    left = members(described(type_, found.obj))
    assert left <= members(owned(second.managed, "b")) | {("f:spec",)}


@laws
@given(worlds())
def test_who_updates_owns_what_changes_and_nobody_else_does(world: World) -> None:
    type_, (one, other, next_one) = world.kind.types[VERSION], world.specs
    managed = apply(world.kind, {}, (), thing(one), by("a")).managed
    managed = updated(world.kind, managed, thing(one), thing(other), by("u"))
    found = updated(world.kind, managed, thing(other), thing(next_one), by("v", LATER))
    changes = compare(type_, thing(other), thing(next_one))
    assert owned(found, "v") == changes.changed
    for manager in ("a", "u"):
        left = members(owned(found, manager))
        assert left == members(owned(managed, manager)) - members(changes.changed) - members(changes.removed)


@laws
@given(worlds())
def test_an_update_that_changes_nothing_leaves_the_managers_alone(world: World) -> None:
    managed = created(world.kind, thing(world.specs[0]), by("a"))
    assert updated(world.kind, managed, thing(world.specs[0]), thing(world.specs[0]), by("b", LATER)) is managed


@laws
@given(worlds())
def test_every_part_of_a_new_object_is_owned_by_who_made_it(world: World) -> None:
    type_, obj = world.kind.types[VERSION], thing(world.specs[0])
    fields = owned(created(world.kind, obj, by("a")), "a")
    spec = type_.inner("spec")
    assert {("f:spec", *path) for path in parts(spec, obj["spec"])} <= members(fields)


@laws
@given(worlds())
def test_what_changes_describes_the_way_there_and_back(world: World) -> None:
    type_, (one, other, _) = world.kind.types[VERSION], world.specs
    there, back = compare(type_, thing(one), thing(other)), compare(type_, thing(other), thing(one))
    assert members(there.removed) <= members(back.changed)
    assert members(back.removed) <= members(there.changed)
    assert bool(any(there)) == bool(any(back))


@laws
@given(worlds())
def test_sets_obey_the_laws_of_sets(world: World) -> None:
    type_, specs = world.kind.types[VERSION], world.specs
    a, b = (described(type_, thing(spec)) for spec in specs[:2])
    assert members(sets.union(a, b)) == members(a) | members(b)
    assert members(sets.intersection(a, b)) == members(a) & members(b)
    assert members(sets.difference(a, b)) == members(a) - members(b)
    assert sets.union(a, a) is a and sets.difference(a, {}) is a
    assert sets.difference(a, a) == {}
    assert sets.loads(sets.dumps(a)) == sets.parse(sets.loads(sets.dumps(a))) == a
    assert sets.of_paths(members(a)) == a


def test_the_message_of_one_conflict_reads_as_kubernetes_says_it() -> None:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "integer"}}}}}
    kind = Kind({VERSION: custom(schema)})
    managed = created(kind, thing({"a": 1}), by("kubectl-create"))
    with pytest.raises(ConflictError) as error:
        apply(kind, thing({"a": 1}), managed, thing({"a": 2}), by("me"))
    told = f'Apply failed with 1 conflict: conflict with "kubectl-create" using {VERSION}: .spec.a'
    assert error.value.message == told
