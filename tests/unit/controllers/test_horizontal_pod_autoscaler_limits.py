"""How fast and how far autoscalers may scale: the cases of Kubernetes' own controller."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.horizontal_pod_autoscaler_limits import (
    READY,
    STABILIZED_DOWN,
    STABILIZED_UP,
    TOO_FAST_DOWN,
    TOO_FAST_UP,
    TOO_FEW,
    TOO_MANY,
    WITHIN,
    History,
    Limited,
    Moment,
    begun,
    down_limit,
    limit,
    scaled,
    up_limit,
)

NOW = 10_000.0
EMPTY = History()
Policy = tuple[str, int, int]
PODS, PERCENT = "Pods", "Percent"


def rules(*policies: Policy, select: str = "Max", window: int = 0) -> dict[str, Any]:
    """Scaling rules: (type, value, seconds)."""
    told = [{"type": kind, "value": value, "periodSeconds": seconds} for kind, value, seconds in policies]
    return {"selectPolicy": select, "policies": told, "stabilizationWindowSeconds": window}


def moments(*pairs: tuple[float, int]) -> tuple[Moment, ...]:
    """(seconds ago, replicas)."""
    return tuple(Moment(NOW - ago, replicas) for ago, replicas in pairs)


def plain(wanted: int, current: int, *, least: int = 1, most: int = 100, history: History = EMPTY) -> Limited:
    return limit(wanted, current, least, most, None, 300.0, history, NOW)


@pytest.mark.parametrize(
    ("wanted", "current", "allowed", "why"),
    [
        (5, 3, 5, WITHIN),
        (0, 2, 1, TOO_FEW),
        (10, 1, 4, TOO_FAST_UP),
        (10, 2, 4, TOO_FAST_UP),
        (10, 3, 6, TOO_FAST_UP),
        (200, 90, 100, TOO_MANY),
        (100, 60, 100, WITHIN),
    ],
)
def test_without_rules_pods_are_doubled_at_most(
    wanted: int, current: int, allowed: int, why: tuple[str, str]
) -> None:
    found = plain(wanted, current)
    assert (found.replicas, found.limit, found.limited) == (allowed, why, allowed != wanted)


def test_scaling_down_waits_until_nobody_asked_for_more_for_a_while() -> None:
    asked = History(moments((299, 8), (10, 3)))
    found = plain(2, 10, history=asked)
    assert (found.replicas, found.able) == (8, STABILIZED_DOWN)
    later = limit(2, 10, 1, 100, None, 300.0, found.history, NOW + 2)
    assert (later.replicas, later.able) == (3, STABILIZED_DOWN)
    latest = limit(2, 10, 1, 100, None, 300.0, found.history, NOW + 301)
    assert (latest.replicas, latest.able) == (2, READY)


def test_what_was_there_when_somebody_began_to_look_counts_as_recommended() -> None:
    history = begun(History(), 7, NOW)
    assert plain(1, 7, history=history).replicas == 7
    assert begun(history, 3, NOW) == history


def test_what_is_remembered_does_not_grow() -> None:
    history = History()
    for step in range(1000):
        history = limit(2, 2, 1, 10, None, 300.0, history, NOW + 15 * step).history
    assert len(history.recommendations) <= 22
    for step in range(1000):
        behavior = {"scaleUp": rules((PODS, 4, 60)), "scaleDown": rules((PODS, 4, 60))}
        history = scaled(history, behavior, step, step + 1, NOW + 15 * step)
    assert len(history.ups) <= 6


@pytest.mark.parametrize(
    ("current", "policies", "select", "ups", "downs", "expected"),
    [
        (10, [(PODS, 4, 60)], "Max", (), (), 14),
        (10, [(PERCENT, 50, 60)], "Max", (), (), 15),
        (1, [(PERCENT, 10, 60)], "Max", (), (), 2),
        (10, [(PODS, 4, 60), (PERCENT, 100, 60)], "Max", (), (), 20),
        (10, [(PODS, 4, 60), (PERCENT, 100, 60)], "Min", (), (), 14),
        (10, [(PODS, 4, 60)], "Disabled", (), (), 10),
        (10, [(PODS, 4, 60)], "Max", ((59, 3),), (), 11),
        (10, [(PODS, 4, 60)], "Max", ((61, 3),), (), 14),
        (10, [(PODS, 4, 60)], "Max", ((30, 3), (20, 2)), (), 9),
        (10, [(PODS, 4, 60)], "Max", (), ((30, 5),), 19),
        (20, [(PERCENT, 100, 60)], "Max", ((30, 10),), (), 20),
    ],
)
def test_policies_say_how_many_pods_there_may_be(
    current: int, policies: list[Policy], select: str, ups: Any, downs: Any, expected: int
) -> None:
    history = History(ups=moments(*ups), downs=moments(*downs))
    assert up_limit(current, rules(*policies, select=select), history, NOW) == expected


@pytest.mark.parametrize(
    ("current", "policies", "select", "ups", "downs", "expected"),
    [
        (10, [(PODS, 4, 60)], "Max", (), (), 6),
        (10, [(PERCENT, 50, 60)], "Max", (), (), 5),
        (5, [(PERCENT, 50, 60)], "Max", (), (), 2),
        (10, [(PODS, 4, 60), (PERCENT, 100, 60)], "Max", (), (), 0),
        (10, [(PODS, 4, 60), (PERCENT, 100, 60)], "Min", (), (), 6),
        (10, [(PODS, 4, 60)], "Disabled", (), (), 10),
        (10, [(PODS, 4, 60)], "Max", (), ((59, 3),), 9),
        (10, [(PODS, 4, 60)], "Max", (), ((61, 3),), 6),
        (10, [(PODS, 4, 60)], "Max", ((30, 5),), (), 1),
    ],
)
def test_policies_say_how_few_pods_there_may_be(
    current: int, policies: list[Policy], select: str, ups: Any, downs: Any, expected: int
) -> None:
    history = History(ups=moments(*ups), downs=moments(*downs))
    assert down_limit(current, rules(*policies, select=select), history, NOW) == expected


def ruled(
    wanted: int,
    current: int,
    *,
    up: dict[str, Any] | None = None,
    down: dict[str, Any] | None = None,
    history: History = EMPTY,
    least: int = 1,
    most: int = 1000,
) -> Limited:
    behavior = {
        "scaleUp": up or rules((PODS, 4, 15), (PERCENT, 100, 15)),
        "scaleDown": down or rules((PERCENT, 100, 15), window=300),
    }
    return limit(wanted, current, least, most, behavior, 300.0, history, NOW)


@pytest.mark.parametrize(
    ("wanted", "current", "allowed", "why"),
    [
        (15, 10, 15, WITHIN),
        (500, 10, 20, TOO_FAST_UP),
        (5000, 900, 1000, TOO_MANY),
        (0, 10, 1, TOO_FEW),
        (10, 10, 10, WITHIN),
    ],
)
def test_rules_keep_to_the_bounds_too(wanted: int, current: int, allowed: int, why: tuple[str, str]) -> None:
    found = ruled(wanted, current)
    assert (found.replicas, found.limit, found.limited) == (allowed, why, allowed != wanted)


def test_scaling_down_is_as_slow_as_the_rules_say() -> None:
    found = ruled(1, 100, down=rules((PODS, 3, 60)))
    assert (found.replicas, found.limit) == (97, TOO_FAST_DOWN)


def test_what_was_scaled_lately_counts() -> None:
    """Eight more pods were added than the policy allows: nothing is added, and nothing taken away."""
    history = History(ups=moments((5, 12)))
    assert ruled(50, 20, up=rules((PODS, 4, 60)), history=history).replicas == 20


def test_scaling_up_takes_the_least_and_scaling_down_the_most_that_was_asked_for_lately() -> None:
    asked = History(moments((100, 10), (50, 5), (10, 30)))
    fast_up, fast_down = rules((PODS, 100, 15), window=60), rules((PODS, 100, 15), window=200)
    up = ruled(40, 4, up=fast_up, down=fast_down, history=asked)
    assert (up.replicas, up.able) == (5, STABILIZED_UP)
    down = ruled(1, 50, up=fast_up, down=fast_down, history=asked)
    assert (down.replicas, down.able) == (30, STABILIZED_DOWN)
    still = ruled(1, 20, up=fast_up, down=fast_down, history=asked)
    assert (still.replicas, still.able, still.limited) == (20, STABILIZED_DOWN, False)


def test_a_window_of_nothing_waits_for_nothing() -> None:
    asked = History(moments((1, 30)))
    assert ruled(2, 30, down=rules((PERCENT, 100, 15), window=0), history=asked).replicas == 2


def test_rules_without_a_window_wait_for_as_long_as_the_controller_does() -> None:
    down = rules((PERCENT, 100, 15))
    del down["stabilizationWindowSeconds"]
    asked = History(moments((299, 9)))
    assert ruled(2, 10, down=down, history=asked).replicas == 9
    assert ruled(2, 10, down=down, history=History(moments((301, 9)))).replicas == 2


def test_only_rules_have_changes_remembered() -> None:
    behavior = {"scaleUp": rules((PODS, 4, 60)), "scaleDown": rules((PODS, 4, 120))}
    assert scaled(History(), None, 1, 4, NOW) == History()
    up = scaled(History(), behavior, 1, 4, NOW)
    assert up == History(ups=(Moment(NOW, 3),))
    down = scaled(up, behavior, 4, 2, NOW + 1)
    assert down == History(ups=up.ups, downs=(Moment(NOW + 1, 2),))


_policies = st.lists(
    st.tuples(st.sampled_from([PODS, PERCENT]), st.integers(1, 200), st.integers(1, 600)), min_size=1, max_size=3
)
_rules = st.builds(
    lambda policies, select, window: rules(*policies, select=select, window=window),
    _policies,
    st.sampled_from(["Max", "Min", "Disabled"]),
    st.integers(0, 600),
)
_moments = st.lists(st.tuples(st.floats(0, 700), st.integers(0, 50)), max_size=6).map(lambda pairs: moments(*pairs))


@given(
    wanted=st.integers(0, 200),
    current=st.integers(2, 40),
    up=_rules,
    down=_rules,
    history=st.builds(History, _moments, _moments, _moments),
)
def test_whatever_was_before_bounds_are_kept_and_nothing_is_scaled_the_other_way(
    wanted: int, current: int, up: dict[str, Any], down: dict[str, Any], history: History
) -> None:
    found = ruled(wanted, current, up=up, down=down, history=history, least=2, most=40)
    assert 2 <= found.replicas <= 40
    if wanted >= current:
        assert current <= found.replicas <= wanted
    else:
        assert max(wanted, 2) <= found.replicas <= current
    assert found.history.recommendations[-1] == (NOW, wanted)
