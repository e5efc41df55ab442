"""How fast and how far a number of pods may follow what metrics ask for. Pure.

Scaling down waits until nobody has asked for more for a while; what has been changed lately counts against what a
policy allows in a period. Times are those of a monotonic clock: a wall clock that is set scales nothing.

Source: https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale/#configurable-scaling-behavior
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

UP_FACTOR, UP_LEAST = 2, 4
READY = ("ReadyForNewScale", "recommended size matches current size")
STABILIZED_UP = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
)
STABILIZED_DOWN = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
)
WITHIN = ("DesiredWithinRange", "the desired count is within the acceptable range")
TOO_MANY = ("TooManyReplicas", "the desired replica count is more than the maximum replica count")
TOO_FEW = ("TooFewReplicas", "the desired replica count is less than the minimum replica count")
TOO_FAST_UP = ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
TOO_FAST_DOWN = ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate")

Told = tuple[str, str]
"""A condition's reason and message."""
Rules = Mapping[str, Any]
"""`spec.behavior.scaleUp` or `scaleDown`, as the API server defaults them."""


class Moment(NamedTuple):
    """What was recommended, or by how much was scaled, at some time."""

    at: float
    replicas: int


@dataclass(frozen=True, slots=True)
class History:
    """What is remembered of an autoscaler."""

    recommendations: tuple[Moment, ...] = ()
    ups: tuple[Moment, ...] = ()
    downs: tuple[Moment, ...] = ()


class Limited(NamedTuple):
    """The number that is allowed, what to say of it in AbleToScale and ScalingLimited, and what to remember."""

    replicas: int
    able: Told
    limited: bool
    limit: Told
    history: History


def begun(history: History, current: int, now: float) -> History:
    """Nothing is scaled down at once by whoever has just begun to look: what is there counts as recommended."""
    return history if history.recommendations else replace(history, recommendations=(Moment(now, current),))


def limit(
    wanted: int, current: int, least: int, most: int, behavior: Mapping[str, Rules] | None, down_window: float,
    history: History, now: float,
) -> Limited:  # fmt: skip
    """What becomes of the number that metrics ask for. `down_window` is how long scaling down waits by default."""
    if behavior is None:
        stable, history = _stable_without_rules(wanted, down_window, history, now)
        able = STABILIZED_DOWN
        allowed, told = _allowed_without_rules(stable, current, least, most)
    else:
        stable, history = _stable(wanted, current, behavior, down_window, history, now)
        able = STABILIZED_UP if wanted >= current else STABILIZED_DOWN
        allowed, told = _allowed(stable, current, least, most, behavior, history, now)
    return Limited(allowed, able if stable != wanted else READY, allowed != stable, told, history)


def _stable_without_rules(wanted: int, window: float, history: History, now: float) -> tuple[int, History]:
    recent = tuple(one for one in history.recommendations if one.at >= now - window)
    stable = max([wanted, *(one.replicas for one in recent)])
    return stable, replace(history, recommendations=(*recent, Moment(now, wanted)))


def _stable(
    wanted: int, current: int, behavior: Mapping[str, Rules], down_window: float, history: History, now: float
) -> tuple[int, History]:
    """The current number, brought between the least and the most that was recommended lately."""
    up_seconds = behavior["scaleUp"].get("stabilizationWindowSeconds") or 0
    down_seconds = behavior["scaleDown"].get("stabilizationWindowSeconds", down_window)
    known = history.recommendations
    floor = min([wanted, *(one.replicas for one in known if one.at > now - up_seconds)])
    ceiling = max([wanted, *(one.replicas for one in known if one.at > now - down_seconds)])
    kept = tuple(one for one in known if one.at >= now - max(up_seconds, down_seconds))
    stable = min(max(current, floor), ceiling)
    return stable, replace(history, recommendations=(*kept, Moment(now, wanted)))


def _allowed_without_rules(wanted: int, current: int, least: int, most: int) -> tuple[int, Told]:
    fastest = max(UP_FACTOR * current, UP_LEAST)
    bound, told = (fastest, TOO_FAST_UP) if most > fastest else (most, TOO_MANY)
    if wanted < least:
        return least, TOO_FEW
    return (bound, told) if wanted > bound else (wanted, WITHIN)


def _allowed(
    wanted: int,
    current: int,
    least: int,
    most: int,
    behavior: Mapping[str, Rules],
    history: History,
    now: float,
) -> tuple[int, Told]:
    if wanted > current:
        fastest = max(up_limit(current, behavior["scaleUp"], history, now), current)
        bound, told = (fastest, TOO_FAST_UP) if most > fastest else (most, TOO_MANY)
        if wanted > bound:
            return bound, told
    elif wanted < current:
        fastest = min(down_limit(current, behavior["scaleDown"], history, now), current)
        bound, told = (fastest, TOO_FAST_DOWN) if least < fastest else (least, TOO_FEW)
        if wanted < bound:
            return bound, told
    return wanted, WITHIN


def up_limit(current: int, rules: Rules, history: History, now: float) -> int:
    """The most pods that there may be now."""
    if rules["selectPolicy"] == "Disabled":
        return current
    bounds: list[int] = []
    for policy in rules["policies"]:
        start = _at_period_start(current, policy, history, now)
        share = math.ceil(start * (1 + policy["value"] / 100))  # rounded up, or few pods would never become more
        bounds.append(start + policy["value"] if policy["type"] == "Pods" else share)
    return min(bounds) if rules["selectPolicy"] == "Min" else max(bounds)


def down_limit(current: int, rules: Rules, history: History, now: float) -> int:
    """The fewest pods that there may be now."""
    if rules["selectPolicy"] == "Disabled":
        return current
    bounds: list[int] = []
    for policy in rules["policies"]:
        start = _at_period_start(current, policy, history, now)
        share = int(start * (1 - policy["value"] / 100))
        bounds.append(start - policy["value"] if policy["type"] == "Pods" else share)
    return max(bounds) if rules["selectPolicy"] == "Min" else min(bounds)


def _at_period_start(current: int, policy: Mapping[str, Any], history: History, now: float) -> int:
    since = now - policy["periodSeconds"]
    return current - _changed(history.ups, since) + _changed(history.downs, since)


def _changed(moments: Iterable[Moment], since: float) -> int:
    return sum(one.replicas for one in moments if one.at > since)


def scaled(history: History, behavior: Mapping[str, Rules] | None, old: int, new: int, now: float) -> History:
    """Remember a change for as long as any policy may ask for it; without policies nobody does."""
    if behavior is None:
        return history
    change = Moment(now, abs(new - old))
    if new > old:
        return replace(history, ups=(*_asked_for(history.ups, behavior["scaleUp"], now), change))
    return replace(history, downs=(*_asked_for(history.downs, behavior["scaleDown"], now), change))


def _asked_for(moments: tuple[Moment, ...], rules: Rules, now: float) -> tuple[Moment, ...]:
    longest = max(policy["periodSeconds"] for policy in rules["policies"])
    return tuple(one for one in moments if one.at >= now - longest)
