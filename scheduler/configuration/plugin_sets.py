"""Which plugins a profile has at which extension point: the default ones, less those disabled, with those enabled.

`multiPoint` stands for all points that a plugin extends; what is said of one point goes before it. At a point stand
first those that are enabled for it and for all points, then the others of all points, then those for it alone.

Source: https://kubernetes.io/docs/reference/scheduling/config/#multipoint
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from apimachinery.field import duplicate, forbidden_field, invalid_value, not_found_value, required
from scheduler.configuration.section import Section
from scheduler.framework import Plugin

MULTI_POINT = "multiPoint"
POINTS = (
    "preEnqueue",
    "queueSort",
    "preFilter",
    "filter",
    "postFilter",
    "preScore",
    "score",
    "reserve",
    "permit",
    "preBind",
    "bind",
    "postBind",
)
_FILTERS, _SCORES = frozenset({"preFilter", "filter"}), frozenset({"preScore", "score"})
# All that are on by default, in their order.
EXTENDS: dict[str, frozenset[str]] = {
    "SchedulingGates": frozenset({"preEnqueue"}),
    "PrioritySort": frozenset({"queueSort"}),
    "NodeUnschedulable": frozenset({"filter"}),
    "NodeName": frozenset({"filter"}),
    "TaintToleration": frozenset({"filter", *_SCORES}),
    "NodeAffinity": _FILTERS | _SCORES,
    "NodePorts": _FILTERS,
    "NodeResourcesFit": _FILTERS | _SCORES,
    "VolumeRestrictions": _FILTERS,
    "VolumeBinding": _FILTERS | _SCORES | {"reserve", "preBind"},
    "VolumeZone": _FILTERS,
    "PodTopologySpread": _FILTERS | _SCORES,
    "InterPodAffinity": _FILTERS | _SCORES,
    "DefaultPreemption": frozenset({"postFilter"}),
    "NodeResourcesBalancedAllocation": _SCORES,
    "ImageLocality": frozenset({"score"}),
    "DefaultBinder": frozenset({"bind"}),
    "GangScheduling": frozenset({"preEnqueue", "reserve", "permit"}),
}
# What makes no sense in parts.
_WHOLE = {"VolumeBinding": ("filter", "reserve", "preBind"), "GangScheduling": ("preEnqueue", "reserve", "permit")}
# Default plugins of Kubernetes that there is nothing of here.
UNSUPPORTED = ("NodeVolumeLimits", "DynamicResources", "NodeDeclaredFeatures")
REMOVED = ("AzureDiskLimits", "CinderLimits", "EBSLimits", "GCEPDLimits")
ALL = "*"


class Enabled(NamedTuple):
    """A plugin that is named, with the path at which it is; a weight of 0 is none."""

    name: str
    weight: int = 0
    path: str = ""


@dataclass(frozen=True, slots=True)
class PluginSet:
    """What a profile says of one extension point, or of all."""

    enabled: tuple[Enabled, ...] = ()
    disabled: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Arranged:
    """The plugins at each point, in their order, and the weights of those that score."""

    points: dict[str, tuple[str, ...]]
    weights: dict[str, int] = field(default_factory=dict)

    def names(self) -> list[str]:
        """All plugins, in the order in which nodes are asked about, then by that of their scores."""
        ordered = [
            *self.points["filter"],
            *self.points["score"],
            *(n for point in POINTS for n in self.points[point]),
        ]
        return list(dict.fromkeys(ordered))


def read(plugins: Section) -> dict[str, PluginSet]:
    """The sets of a profile, by their points; tells of plugins that can't stand where they do."""
    found = {}
    for point in (MULTI_POINT, *POINTS):
        told = plugins.section(point)
        enabled: list[Enabled] = []
        for entry in told.sections("enabled"):
            one = Enabled(entry.string("name"), entry.integer("weight"), entry.at("name"))
            entry.close()
            _check(entry, one, point, enabled)
            enabled.append(one)
        disabled = set()
        for entry in told.sections("disabled"):
            disabled.add(entry.string("name"))
            entry.integer("weight")
            entry.close()
        told.close()
        found[point] = PluginSet(tuple(enabled), frozenset(disabled))
    plugins.close()
    return found


def _check(entry: Section, one: Enabled, point: str, others: Collection[Enabled]) -> None:
    add = entry.problems.add
    if not one.name:
        add(required(one.path))
    elif one.name in REMOVED:
        api = "kubescheduler.config.k8s.io/v1"
        add(
            invalid_value(
                one.path, one.name, f'was invalid in version "{api}" (KubeSchedulerConfiguration is version "{api}")'
            )
        )
    elif one.name in UNSUPPORTED:
        add(forbidden_field(one.path, f"{one.name} is not supported"))
    elif one.name not in EXTENDS:
        add(not_found_value(one.path, one.name))
    elif point != MULTI_POINT and point not in EXTENDS[one.name]:
        add(invalid_value(one.path, one.name, f"does not extend {point}"))
    elif any(one.name == other.name for other in others):
        add(duplicate(one.path, one.name))


def arrange(sets: dict[str, PluginSet], weights: dict[str, int]) -> Arranged:
    """The plugins at each point; `weights` are those that scores have by default."""
    everywhere = _merged([Enabled(name, weights.get(name, 0)) for name in EXTENDS], sets[MULTI_POINT])
    points = {}
    for point in POINTS:
        told = sets[point]
        general = [one for one in everywhere if point in EXTENDS.get(one.name, ())]
        here = [one.name for one in told.enabled]
        both = [name for name in here if any(name == one.name for one in general)]
        rest = [
            one.name
            for one in general
            if one.name not in both and one.name not in told.disabled and ALL not in told.disabled
        ]
        points[point] = tuple([*both, *rest, *(name for name in here if name not in both)])
    given = {one.name: one.weight for one in (*everywhere, *sets["score"].enabled) if one.weight}
    return Arranged(points, {name: given.get(name) or weights.get(name) or 1 for name in points["score"]})


def _merged(defaults: Sequence[Enabled], told: PluginSet) -> list[Enabled]:
    """The default plugins in their places, those named again as they are named there, then the others."""
    named = {one.name: one for one in told.enabled}
    kept = [one for one in defaults if ALL not in told.disabled and one.name not in told.disabled]
    replaced = [named.pop(one.name, one) for one in kept]
    return [*replaced, *named.values()]


def check_indispensable(arranged: Arranged, plugins: Section) -> None:
    """Tell of points from which a plugin is gone without which the scheduler here can't do."""
    add = plugins.problems.add
    if "PrioritySort" not in arranged.points["queueSort"]:
        add(required(plugins.at("queueSort"), "at least one queue sort plugin is needed"))
    if "DefaultBinder" not in arranged.points["bind"]:
        add(required(plugins.at("bind"), "at least one bind plugin is needed"))
    if "SchedulingGates" not in arranged.points["preEnqueue"]:
        add(forbidden_field(plugins.at("preEnqueue.disabled"), "SchedulingGates can't be disabled"))
    for name, points in _WHOLE.items():
        if len({name in arranged.points[point] for point in points}) > 1:
            detail = f"{name} must be at all of {', '.join(points[:-1])} and {points[-1]}, or at none"
            add(forbidden_field(plugins.path, detail))


def limited(plugin: Plugin, points: dict[str, tuple[str, ...]]) -> Plugin:
    """A plugin with what it does at the points at which it is."""
    if plugin.name not in points["preFilter"]:
        plugin = replace(plugin, choose=None, objection=None)
    if plugin.name not in points["filter"]:
        plugin = replace(plugin, filter=None, room=None)
    if plugin.name not in points["score"]:
        plugin = replace(plugin, score=None, normalize=None, compare=None)
    if plugin.name not in points["postFilter"]:
        plugin = replace(plugin, post_filter=None)
    return plugin
