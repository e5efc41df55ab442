"""The managers of the number of replicas, seen through the object and through its scale."""

from __future__ import annotations

from apimachinery.managedfields.entries import Entry, Managed, collected, make
from apimachinery.managedfields.scale import from_scale, to_scale

PATHS = {"apps/v1": ("f:spec", "f:replicas")}
REPLICAS, BOTH = b'{"f:spec":{"f:replicas":{}}}', b'{"f:spec":{"f:replicas":{},"f:selector":{}}}'
SELECTOR = b'{"f:spec":{"f:selector":{}}}'


def entry(manager: str, operation: str, fields: bytes, version: str = "apps/v1", subresource: str = "") -> Entry:
    return make(operation, "2026-01-01T00:00:00Z", manager, version, subresource, fields)


def scaled(managed: Managed, *after: Entry) -> Managed:
    return from_scale(managed, to_scale(managed, PATHS), collected(after), "apps/v1", PATHS)


def test_a_scale_is_managed_by_who_manages_the_number() -> None:
    managed = collected([entry("me", "Apply", BOTH), entry("you", "Update", SELECTOR)])
    assert to_scale(managed, PATHS) == (entry("me", "Apply", REPLICAS, "autoscaling/v1"),)


def test_who_scales_takes_the_number_and_leaves_the_rest() -> None:
    managed = collected([entry("me", "Apply", BOTH)])
    found = scaled(managed, entry("autoscaler", "Update", REPLICAS, "autoscaling/v1", "scale"))
    assert found == (entry("me", "Apply", SELECTOR), entry("autoscaler", "Update", REPLICAS, subresource="scale"))


def test_who_managed_nothing_else_is_no_manager_any_more() -> None:
    found = scaled(
        collected([entry("me", "Update", REPLICAS)]),
        entry("autoscaler", "Update", REPLICAS, "autoscaling/v1", "scale"),
    )
    assert found == (entry("autoscaler", "Update", REPLICAS, subresource="scale"),)


def test_who_applies_the_same_number_shares_it() -> None:
    managed = collected([entry("me", "Apply", BOTH)])
    mine = entry("me", "Apply", REPLICAS, "autoscaling/v1")
    yours = entry("you", "Apply", REPLICAS, "autoscaling/v1", "scale")
    assert scaled(managed, mine, yours) == (
        entry("me", "Apply", BOTH),
        entry("you", "Apply", REPLICAS, subresource="scale"),
    )


def test_to_scale_again_keeps_one_manager() -> None:
    managed = collected([entry("autoscaler", "Update", REPLICAS, subresource="scale")])
    again = entry("autoscaler", "Update", REPLICAS, "autoscaling/v1", "scale")
    assert scaled(managed, again) == managed


def test_managers_in_versions_that_are_gone_are_forgotten() -> None:
    managed = collected([entry("old", "Apply", SELECTOR, "apps/v0"), entry("me", "Apply", BOTH)])
    assert scaled(managed, *to_scale(managed, PATHS)) == (entry("me", "Apply", BOTH),)
