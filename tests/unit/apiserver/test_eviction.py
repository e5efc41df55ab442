"""What budgets say to evictions, decided without any store."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.errors import ApiError
from apimachinery.meta import Object
from apiserver.rest.eviction import spending, spent_once

NOW = 1_700_000_000.0
EVERYTHING: dict[str, Any] = {}


def pod(phase: str = "Running", *, ready: bool = True, **metadata: Any) -> Object:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    found = {"name": "web", "namespace": "default", "labels": {"app": "web"}, **metadata}
    return {"metadata": found, "status": {"phase": phase, "conditions": conditions}}


def budget(selector: dict[str, Any] | None = EVERYTHING, policy: str = "", **status: Any) -> Object:
    spec = {"selector": selector, **({"unhealthyPodEvictionPolicy": policy} if policy else {})}
    return {"metadata": {"name": "b", "generation": 1}, "spec": spec, "status": {"observedGeneration": 1, **status}}


@pytest.mark.parametrize("going", [pod("Succeeded"), pod("Pending"), pod(deletionTimestamp="2026-01-01T00:00:00Z")])
def test_pods_that_do_no_work_cost_nothing(going: Object) -> None:
    assert spending(going, [budget()], NOW) is None


@pytest.mark.parametrize(
    ("selector", "concerned"),
    [({}, True), ({"matchLabels": {"app": "web"}}, True), ({"matchLabels": {"app": "db"}}, False), (None, False)],
)
def test_a_budget_is_for_what_it_selects(selector: dict[str, Any] | None, concerned: bool) -> None:
    assert (spending(pod(), [budget(selector)], NOW) is not None) == concerned


def test_two_budgets_are_one_too_many() -> None:
    with pytest.raises(ApiError, match="more than one PodDisruptionBudget"):
        spending(pod(), [budget(), budget()], NOW)


def test_pods_that_are_not_ready_may_go_where_that_harms_nobody() -> None:
    ill = pod(ready=False)
    assert spending(ill, [budget(currentHealthy=2, desiredHealthy=2)], NOW) is None
    assert spending(ill, [budget(currentHealthy=1, desiredHealthy=2)], NOW) is not None
    assert spending(ill, [budget(policy="AlwaysAllow", currentHealthy=1, desiredHealthy=2)], NOW) is None


def test_the_last_disruption_is_told_to_be_the_last() -> None:
    spent = spent_once(budget(disruptionsAllowed=1, disruptedPods={"old": "2026-01-01T00:00:00Z"}), "web", NOW)
    assert spent["status"]["disruptionsAllowed"] == 0
    assert spent["status"]["disruptedPods"]["web"] == "2023-11-14T22:13:20Z"
    assert [(one["type"], one["status"]) for one in spent["status"]["conditions"]] == [("DisruptionAllowed", "False")]
    more = spent_once(budget(disruptionsAllowed=3), "web", NOW)
    assert (more["status"]["disruptionsAllowed"], "conditions" in more["status"]) == (2, False)


@pytest.mark.parametrize(
    ("left", "code", "told"),
    [
        (budget(disruptionsAllowed=0), 429, "Cannot evict pod as it would violate the pod's disruption budget."),
        (budget(disruptionsAllowed=5, observedGeneration=0), 429, "Cannot evict pod"),
        (budget(disruptionsAllowed=-1), 403, "pdb disruptions allowed is negative"),
        (budget(disruptionsAllowed=1, disruptedPods=dict.fromkeys(map(str, range(2001)), "")), 403, "map too big"),
    ],
)
def test_a_budget_that_has_nothing_left_refuses(left: Object, code: int, told: str) -> None:
    with pytest.raises(ApiError, match=told) as refused:
        spent_once(left, "web", NOW)
    assert refused.value.code == code
