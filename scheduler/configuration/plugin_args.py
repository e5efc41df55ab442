"""The arguments of the plugins, from `pluginConfig` of a profile: what may stand in them, and the plugins they make.

Source: https://kubernetes.io/docs/reference/config-api/kube-scheduler-config.v1/ and
kubernetes/pkg/scheduler/apis/config/validation/validation_pluginargs.go
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

from apimachinery.field import duplicate, forbidden_field, invalid_value, not_supported, required
from apimachinery.meta import Object
from apimachinery.names import qualified_name
from scheduler.configuration.section import Section
from scheduler.framework import Plugin
from scheduler.plugins import (
    balanced_allocation,
    default_preemption,
    inter_pod_affinity,
    node_affinity,
    node_resources_fit,
    pod_topology_spread,
)
from scheduler.plugins.resource_scoring import (
    DEFAULT_RESOURCES,
    SHAPE_SCORE_MAX,
    Point,
    Strategy,
    Weighted,
    least_allocated,
    most_allocated,
    requested_to_capacity_ratio,
)
from scheduler.preemption import Share
from scheduler.storage import BIND_TIMEOUT_SECONDS

Build = Callable[[Section], Plugin]
STRATEGIES = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
SYSTEM, LIST = "System", "List"
NODE_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")


def _node_resources_fit(args: Section) -> Plugin:
    ignored, groups = args.strings("ignoredResources"), args.strings("ignoredResourceGroups")
    for path, name in ignored:
        _check_label(args, path, name)
    for path, group in groups:
        if "/" in group:
            args.problems.add(invalid_value(path, group, "resource group name can't contain '/'"))
        _check_label(args, path, group)
    told = args.section("scoringStrategy")
    strategy = _strategy(told)
    told.close()
    return node_resources_fit.plugin(
        node_resources_fit.Args(
            strategy, frozenset(name for _, name in ignored), frozenset(group for _, group in groups)
        )
    )


def _strategy(told: Section) -> Strategy:
    kind = told.string("type", "LeastAllocated")
    resources = _resources(told, "resource weight of {} not in valid range (0, 100]", weight_max=100)
    if kind not in STRATEGIES:
        told.problems.add(not_supported(told.at("type"), kind, STRATEGIES))
    by_ratio = kind == "RequestedToCapacityRatio"
    named = told.has("requestedToCapacityRatio")
    ratio = told.section("requestedToCapacityRatio")
    if by_ratio and not named:
        told.problems.add(required(ratio.path, "must be specified when type is RequestedToCapacityRatio"))
    elif named and not by_ratio:
        told.problems.add(forbidden_field(ratio.path, "must be nil when type is not RequestedToCapacityRatio"))
    shape = _shape(ratio) if named else ()
    ratio.close()
    if by_ratio and shape:
        return requested_to_capacity_ratio(shape, resources)
    return (most_allocated if kind == "MostAllocated" else least_allocated)(resources)


def _shape(ratio: Section) -> tuple[Point, ...]:
    points: list[Point] = []
    entries = ratio.sections("shape")
    problems = ratio.problems
    if not entries:
        problems.add(required(ratio.at("shape"), "at least one point must be specified"))
    for entry in entries:
        point = Point(entry.integer("utilization"), entry.integer("score"))
        entry.close()
        for field, value, highest in (
            ("utilization", point.utilization, 100),
            ("score", point.score, SHAPE_SCORE_MAX),
        ):
            if not 0 <= value <= highest:
                problems.add(invalid_value(entry.at(field), value, f"not in valid range [0, {highest}]"))
        if points and points[-1].utilization >= point.utilization:
            problems.add(
                invalid_value(entry.at("utilization"), point.utilization, "values must be sorted in increasing order")
            )
        points.append(point)
    ordered = all(one.utilization < other.utilization for one, other in pairwise(points))
    return tuple(points) if ordered else ()


def _resources(told: Section, complaint: str, *, weight_max: int) -> tuple[Weighted, ...]:
    found: list[Weighted] = []
    for entry in told.sections("resources"):
        resource = Weighted(entry.string("name"), entry.integer("weight") or 1)
        entry.close()
        if not 0 < resource.weight <= weight_max:
            problem = invalid_value(entry.at("weight"), resource.weight, complaint.format(resource.resource))
            told.problems.add(problem)
        if weight_max == 1 and any(resource.resource == other.resource for other in found):
            told.problems.add(duplicate(entry.at("name"), resource.resource))
        found.append(resource)
    return tuple(found) or DEFAULT_RESOURCES


def _balanced_allocation(args: Section) -> Plugin:
    resources = _resources(args, "must be 1", weight_max=1)
    return balanced_allocation.plugin(tuple(resource.resource for resource in resources))


def _default_preemption(args: Section) -> Plugin:
    fields = "minCandidateNodesPercentage", "minCandidateNodesAbsolute"
    percentage, absolute = args.integer(fields[0], 10), args.integer(fields[1], 100)
    if not 0 <= percentage <= 100:
        args.problems.add(invalid_value(args.at(fields[0]), percentage, "not in valid range [0, 100]"))
    if absolute < 0:
        args.problems.add(invalid_value(args.at(fields[1]), absolute, "not in valid range [0, inf)"))
    if percentage == absolute == 0:
        for field, other in (fields, fields[::-1]):
            detail = f"cannot be zero at the same time as {other}"
            args.problems.add(invalid_value(args.at(field), 0, detail))
    return default_preemption.plugin(Share(percentage, absolute))


def _inter_pod_affinity(args: Section) -> Plugin:
    weight = args.integer("hardPodAffinityWeight", 1)
    if not 0 <= weight <= 100:
        args.problems.add(invalid_value(args.at("hardPodAffinityWeight"), weight, "not in valid range [0, 100]"))
    ignores = args.boolean("ignorePreferredTermsOfExistingPods")
    return inter_pod_affinity.plugin(inter_pod_affinity.Args(weight, ignores))


def _pod_topology_spread(args: Section) -> Plugin:
    kind = args.string("defaultingType", SYSTEM)
    entries = args.sections("defaultConstraints")
    if kind not in (SYSTEM, LIST):
        args.problems.add(not_supported(args.at("defaultingType"), kind, (SYSTEM, LIST)))
    elif kind == SYSTEM and entries:
        problem = invalid_value(args.at("defaultingType"), kind, "when .defaultConstraints are not empty")
        args.problems.add(problem)
    seen: set[tuple[str, str]] = set()
    constraints = []
    for entry in entries:
        constraint = _default_constraint(entry)
        which = constraint["topologyKey"], constraint["whenUnsatisfiable"]
        if which in seen:
            args.problems.add(
                duplicate(entry.path, f"{{{constraint['topologyKey']}, {constraint['whenUnsatisfiable']}}}")
            )
        seen.add(which)
        constraints.append(constraint)
    return pod_topology_spread.plugin(None if kind == SYSTEM else constraints)


def _default_constraint(entry: Section) -> Object:
    skew_max, key, action = entry.integer("maxSkew"), entry.string("topologyKey"), entry.string("whenUnsatisfiable")
    actions = (pod_topology_spread.REQUIRED, pod_topology_spread.PREFERRED)
    if skew_max <= 0:
        entry.problems.add(invalid_value(entry.at("maxSkew"), skew_max, "not in valid range (0, inf)"))
    if not key:
        entry.problems.add(required(entry.at("topologyKey"), "can not be empty"))
    else:
        _check_label(entry, entry.at("topologyKey"), key)
    if not action:
        entry.problems.add(required(entry.at("whenUnsatisfiable"), "can not be empty"))
    elif action not in actions:
        entry.problems.add(not_supported(entry.at("whenUnsatisfiable"), action, actions))
    if entry.anything("labelSelector") is not None:
        detail = "constraint must not define a selector, as they deduced for each pod"
        entry.problems.add(forbidden_field(entry.at("labelSelector"), detail))
    constraint: Object = {"maxSkew": skew_max, "topologyKey": key, "whenUnsatisfiable": action}
    for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
        if policy := entry.string(field):
            constraint[field] = policy
    if entry.has("minDomains"):
        constraint["minDomains"] = entry.integer("minDomains")
    entry.close()
    return constraint


def _node_affinity(args: Section) -> Plugin:
    if not args.has("addedAffinity"):
        args.anything("addedAffinity")
        return node_affinity.PLUGIN
    told = args.section("addedAffinity")
    affinity: Object = {}
    if told.has("requiredDuringSchedulingIgnoredDuringExecution"):
        must = told.section("requiredDuringSchedulingIgnoredDuringExecution")
        terms = [_term(term) for term in must.sections("nodeSelectorTerms")]
        if not terms:
            args.problems.add(required(must.at("nodeSelectorTerms"), "must have at least one node selector term"))
        must.close()
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": terms}
    preferences = []
    for entry in told.sections("preferredDuringSchedulingIgnoredDuringExecution"):
        weight, preference = entry.integer("weight"), entry.section("preference")
        if not 0 <= weight <= 100:
            args.problems.add(invalid_value(entry.at("weight"), weight, "must be in the range 1-100"))
        preferences.append({"weight": weight, "preference": _term(preference)})
        entry.close()
    affinity["preferredDuringSchedulingIgnoredDuringExecution"] = preferences
    told.close()
    must_hold, rather = node_affinity.parse_affinity(affinity)
    return node_affinity.plugin(node_affinity.Demand((), must_hold, rather))


def _term(term: Section) -> Object:
    found: Object = {}
    for field in ("matchExpressions", "matchFields"):
        for entry in term.sections(field):
            requirement: Any = {
                "key": entry.string("key"),
                "operator": entry.string("operator"),
                "values": [value for _, value in entry.strings("values")],
            }
            entry.close()
            _check_requirement(entry, requirement, field=field)
            found.setdefault(field, []).append(requirement)
    term.close()
    return found


def _check_requirement(entry: Section, requirement: Object, *, field: str) -> None:
    operator, values = requirement["operator"], requirement["values"]
    if not requirement["key"]:
        entry.problems.add(required(entry.at("key")))
    elif field == "matchFields" and requirement["key"] != "metadata.name":
        entry.problems.add(invalid_value(entry.at("key"), requirement["key"], "not a valid field selector key"))
    allowed = NODE_OPERATORS[:2] if field == "matchFields" else NODE_OPERATORS
    if operator not in allowed:
        entry.problems.add(invalid_value(entry.at("operator"), operator, "not a valid selector operator"))
    elif operator in ("In", "NotIn") and not values:
        entry.problems.add(required(entry.at("values"), "must be specified when `operator` is 'In' or 'NotIn'"))
    elif operator in ("Exists", "DoesNotExist") and values:
        detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        entry.problems.add(forbidden_field(entry.at("values"), detail))
    elif operator in ("Gt", "Lt") and len(values) != 1:
        detail = "must be specified single value when `operator` is 'Lt' or 'Gt'"
        entry.problems.add(required(entry.at("values"), detail))


def _check_label(section: Section, path: str, name: str) -> None:
    for problem in qualified_name(name):
        section.problems.add(invalid_value(path, name, problem))


def bind_timeout_seconds(args: Section) -> float:
    """VolumeBindingArgs: how long the claims of a pod may take to be bound."""
    seconds = args.integer("bindTimeoutSeconds", int(BIND_TIMEOUT_SECONDS))
    if seconds < 0:
        detail = "invalid BindTimeoutSeconds, should not be a negative value"
        args.problems.add(invalid_value(args.at("bindTimeoutSeconds"), seconds, detail))
    if (shape := args.anything("shape")) is not None:
        detail = "unexpected field `shape`, remove it or turn on the feature gate StorageCapacityScoring"
        args.problems.add(invalid_value(args.at("shape"), shape, detail))
    return float(seconds)


BUILDERS: dict[str, Build] = {
    balanced_allocation.NAME: _balanced_allocation,
    default_preemption.NAME: _default_preemption,
    inter_pod_affinity.NAME: _inter_pod_affinity,
    node_affinity.NAME: _node_affinity,
    node_resources_fit.NAME: _node_resources_fit,
    pod_topology_spread.NAME: _pod_topology_spread,
}
