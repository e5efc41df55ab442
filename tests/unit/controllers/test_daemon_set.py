"""Which nodes a DaemonSet's pods belong on, which step comes next on each, and what its status says."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object, labels, name
from apimachinery.time import rfc3339
from controllers.daemon_set_nodes import (
    GENERATION_LABEL,
    HASH_LABEL,
    TEMPLATE_GENERATION,
    Placement,
    by_target,
    is_updated,
    pod_for_node,
    target_node,
    tolerations,
)
from controllers.daemon_set_plan import (
    Step,
    outlived,
    plan_nodes,
    plan_rollout,
    plan_status,
    seconds_to_next_availability,
    surge_and_unavailable,
)
from controllers.pod_backoff import FIRST_SECONDS, MAX_SECONDS, PodBackoff
from tests.support.workloads import EPOCH, metadata, pod, template
from tests.support.workloads import node as plain_node

NOW = EPOCH + 100_000
NEW, OLD = "new-hash", "old-hash"
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def daemon_set(*, pod_spec: Object | None = None, min_ready: int = 0, rolling: Object | None = None) -> Object:
    made = template()
    made["spec"] |= pod_spec or {}
    strategy: Object = {"type": "RollingUpdate", "rollingUpdate": rolling or {"maxUnavailable": 1, "maxSurge": 0}}
    spec = {
        "selector": {"matchLabels": {"app": "web"}},
        "template": made,
        "updateStrategy": strategy,
        "minReadySeconds": min_ready,
        "revisionHistoryLimit": 2,
    }
    kind = {"apiVersion": "apps/v1", "kind": "DaemonSet"}
    return {**kind, "metadata": metadata("agent", annotations={TEMPLATE_GENERATION: "2"}), "spec": spec}


def node(which: str = "n1", *, labels: dict[str, str] | None = None, **spec: Any) -> Object:
    made = plain_node(which, **spec)
    return {**made, "metadata": {**made["metadata"], "labels": labels or {}}}


def taint(key: str, effect: str = "NoSchedule") -> Object:
    return {"key": key, "effect": effect}


def daemon(
    where: str, revision: str = NEW, *, ready_since: float | None = EPOCH, which: str | None = None, **more: Any
) -> Object:
    """A pod that runs on a node, ready unless told."""
    given = {"node": where, "phase": "Running", "ready_since": ready_since, **more}
    return pod(which or f"{revision}-on-{where}", labels={"app": "web", HASH_LABEL: revision}, **given)


def waiting(where: str, which: str) -> Object:
    """A pod that is meant for a node and not bound yet."""
    made = pod(which, labels={"app": "web", HASH_LABEL: NEW})
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [where]}]}
    affinity = {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [term]}}}
    return {**made, "spec": {**made["spec"], "affinity": affinity}}


def leaving(obj: Object) -> Object:
    return {**obj, "metadata": {**obj["metadata"], "deletionTimestamp": rfc3339(EPOCH)}}


def nodes(count: int) -> list[Object]:
    return [node(f"n{number}") for number in range(1, count + 1)]


def names(objects: list[Object]) -> list[str]:
    return sorted(map(name, objects))


def manage(owner: Object, on: list[Object], pods: list[Object]) -> Step:
    return plan_nodes(owner, Placement(owner).of_all(on), by_target(pods), NEW, NOW)


def rollout(owner: Object, on: list[Object], pods: list[Object]) -> Step:
    return plan_rollout(owner, Placement(owner).of_all(on), by_target(pods), NEW, NOW)


def status(owner: Object, on: list[Object], pods: list[Object]) -> Object:
    return plan_status(owner, Placement(owner).of_all(on), by_target(pods), NEW, NOW)


def on_label(operator: str, *values: str) -> Object:
    term = {"matchExpressions": [{"key": "zone", "operator": operator, "values": list(values)}]}
    return {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [term]}}}}


def on_name(*values: str) -> Object:
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": list(values)}]}
    return {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [term]}}}}


@pytest.mark.parametrize(
    ("pod_spec", "spec", "verdict"),
    [
        ({}, {}, (True, True)),
        ({"nodeName": "n1"}, {}, (True, True)),
        ({"nodeName": "n2"}, {}, (False, False)),
        ({"nodeSelector": {"zone": "a"}}, {}, (True, True)),
        ({"nodeSelector": {"zone": "b"}}, {}, (False, False)),
        (on_label("In", "a", "b"), {}, (True, True)),
        (on_label("NotIn", "a"), {}, (False, False)),
        (on_name("n1"), {}, (True, True)),
        (on_name("n2"), {}, (False, False)),
        ({}, {"unschedulable": True}, (True, True)),
        ({}, {"taints": [taint("gpu")]}, (False, True)),
        ({}, {"taints": [taint("gpu", "NoExecute")]}, (False, False)),
        ({}, {"taints": [taint("gpu", "PreferNoSchedule")]}, (True, True)),
        ({"tolerations": [{"operator": "Exists"}]}, {"taints": [taint("gpu", "NoExecute")]}, (True, True)),
        ({}, {"taints": [taint("node.kubernetes.io/unschedulable")]}, (True, True)),
        ({}, {"taints": [taint("node.kubernetes.io/not-ready", "NoExecute")]}, (True, True)),
        ({}, {"taints": [taint("node.kubernetes.io/not-ready")]}, (False, True)),
        ({}, {"taints": [taint("node.kubernetes.io/unreachable", "NoExecute")]}, (True, True)),
        ({}, {"taints": [taint("node.kubernetes.io/memory-pressure")]}, (True, True)),
        ({}, {"taints": [taint("node.kubernetes.io/disk-pressure")]}, (True, True)),
        ({}, {"taints": [taint("node.kubernetes.io/pid-pressure")]}, (True, True)),
        ({}, {"taints": [taint("node.kubernetes.io/network-unavailable")]}, (False, True)),
        ({"hostNetwork": True}, {"taints": [taint("node.kubernetes.io/network-unavailable")]}, (True, True)),
    ],
)
def test_a_node_should_run_a_pod_or_may_only_keep_it(
    pod_spec: Object, spec: Object, verdict: tuple[bool, bool]
) -> None:
    assert Placement(daemon_set(pod_spec=pod_spec)).of(node(labels={"zone": "a"}, **spec)) == verdict


def test_a_toleration_of_the_template_for_a_while_becomes_one_for_ever() -> None:
    short = {
        "key": "node.kubernetes.io/not-ready",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 3,
    }
    own = {"key": "gpu", "operator": "Exists"}
    found = tolerations({"tolerations": [short, own]})
    assert len(found) == 7 and found[1] == own
    assert all("tolerationSeconds" not in one for one in found)


def test_a_pod_is_made_of_the_template_for_one_node() -> None:
    preferred = [{"weight": 1, "preference": {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}}]
    affinity = {"podAntiAffinity": {}, "nodeAffinity": {PREFERRED: preferred, **on_label("Exists")["affinity"]}}
    owner = daemon_set(pod_spec={"affinity": affinity})
    made = pod_for_node(owner, "n7", NEW)
    assert labels(made) == {"app": "web", HASH_LABEL: NEW, GENERATION_LABEL: "2"}
    assert made["metadata"]["generateName"] == "agent-"
    assert made["metadata"]["ownerReferences"][0]["uid"] == owner["metadata"]["uid"]
    assert target_node(made) == "n7" and "nodeName" not in made["spec"]
    pinned = made["spec"]["affinity"]
    assert pinned["nodeAffinity"][PREFERRED] == preferred and "podAntiAffinity" in pinned
    assert pinned["nodeAffinity"][REQUIRED] == on_name("n7")["affinity"]["nodeAffinity"][REQUIRED]
    assert "affinity" in owner["spec"]["template"]["spec"] and "tolerations" not in owner["spec"]["template"]["spec"]


def test_a_pod_is_of_the_current_template_by_its_hash_or_by_its_generation() -> None:
    owner = daemon_set()
    assert is_updated(pod(labels={HASH_LABEL: NEW}), owner, NEW)
    assert is_updated(pod(labels={HASH_LABEL: OLD, GENERATION_LABEL: "2"}), owner, NEW)
    assert not is_updated(pod(labels={HASH_LABEL: OLD, GENERATION_LABEL: "1"}), owner, NEW)
    assert not is_updated(pod(labels={}), owner, NEW)


def test_every_node_gets_a_pod_and_has_only_one() -> None:
    young = daemon("n2", which="young", creationTimestamp=rfc3339(EPOCH + 50))
    step = manage(daemon_set(), nodes(3), [daemon("n1"), daemon("n2"), young, waiting("n2", "unbound")])
    assert step.create == ["n3"] and names(step.delete) == ["unbound", "young"]


def test_a_pod_that_waits_to_be_bound_is_not_created_twice() -> None:
    assert manage(daemon_set(), nodes(1), [waiting("n1", "unbound")]) == Step()


def test_a_pod_on_its_way_out_is_replaced_only_when_it_is_gone_unless_there_is_a_surge() -> None:
    assert manage(daemon_set(), nodes(1), [leaving(daemon("n1"))]).create == []
    surging = daemon_set(rolling={"maxSurge": 1, "maxUnavailable": 0})
    assert manage(surging, nodes(1), [leaving(daemon("n1"))]).create == ["n1"]


def test_pods_leave_nodes_that_they_may_not_stay_on() -> None:
    on = [node("n1", taints=[taint("gpu")]), node("n2", taints=[taint("gpu", "NoExecute")]), node("n3")]
    pods = [daemon("n1"), daemon("n2"), leaving(daemon("n2", which="gone-soon")), daemon("n3")]
    assert names(manage(daemon_set(), on, pods).delete) == [f"{NEW}-on-n2"]


def test_a_pod_that_waits_for_a_node_that_is_gone_is_deleted_and_one_that_ran_there_left_to_others() -> None:
    assert names(manage(daemon_set(), nodes(1), [daemon("n1"), waiting("n8", "w"), daemon("n9")]).delete) == ["w"]


def test_pods_that_have_ended_are_to_be_replaced() -> None:
    ended = [daemon("n1", phase="Failed"), daemon("n2", phase="Succeeded"), leaving(daemon("n3", phase="Failed"))]
    step = manage(daemon_set(), nodes(3), ended)
    assert names(step.finished) == [f"{NEW}-on-n1", f"{NEW}-on-n2"] and not (step.create or step.delete)


@pytest.mark.parametrize(
    ("old_ready", "new_ready", "goes"),
    [(EPOCH, None, []), (None, None, ["old"]), (EPOCH, NOW - 5, []), (EPOCH, NOW - 20, ["old"])],
)
def test_of_two_pods_in_a_surge_the_old_one_stays_while_it_alone_is_of_use(
    old_ready: float | None, new_ready: float | None, goes: list[str]
) -> None:
    surging = daemon_set(min_ready=10, rolling={"maxSurge": 1, "maxUnavailable": 0})
    old = daemon("n1", OLD, which="old", ready_since=old_ready)
    new = daemon("n1", which="new", ready_since=new_ready)
    third = daemon("n1", OLD, which="third", creationTimestamp=rfc3339(EPOCH + 9))
    assert names(manage(surging, nodes(1), [old, new]).delete) == goes
    assert names(manage(surging, nodes(1), [old, new, third]).delete) == sorted([*goes, "third"])


@pytest.mark.parametrize(
    ("rolling", "desired", "limits"),
    [
        ({"maxUnavailable": 1, "maxSurge": 0}, 10, (0, 1)),
        ({"maxUnavailable": "25%", "maxSurge": 0}, 10, (0, 3)),
        ({"maxUnavailable": 0, "maxSurge": "10%"}, 5, (1, 0)),
        ({"maxUnavailable": "10%", "maxSurge": 0}, 0, (0, 1)),
    ],
)
def test_percentages_are_rounded_up(rolling: Object, desired: int, limits: tuple[int, int]) -> None:
    assert surge_and_unavailable(daemon_set(rolling=rolling), desired) == limits


def test_an_update_takes_as_many_pods_away_as_may_be_unavailable() -> None:
    owner = daemon_set(rolling={"maxUnavailable": 2, "maxSurge": 0})
    old = [daemon(f"n{number}", OLD) for number in range(1, 6)]
    assert len(rollout(owner, nodes(5), old).delete) == 2
    assert len(rollout(owner, nodes(6), old).delete) == 1  # n6 has none yet
    assert len(rollout(owner, nodes(5), [*old[:4], daemon("n5", ready_since=None)]).delete) == 1
    assert rollout(owner, nodes(5), [*map(leaving, old[:2]), *old[2:]]) == Step()


def test_old_pods_that_are_of_no_use_go_at_once_and_count_as_unavailable() -> None:
    owner = daemon_set()
    useless = [daemon(f"n{number}", OLD, ready_since=None) for number in (1, 2)]
    assert names(rollout(owner, nodes(3), [*useless, daemon("n3", OLD)]).delete) == [f"{OLD}-on-n1", f"{OLD}-on-n2"]


def test_new_pods_have_to_be_ready_for_long_enough_before_the_next_goes() -> None:
    owner = daemon_set(min_ready=30)
    fresh, old = daemon("n1", ready_since=NOW - 10), daemon("n2", OLD)
    assert rollout(owner, nodes(2), [fresh, old]) == Step()
    assert seconds_to_next_availability(owner, [fresh, old], NOW) == 20
    assert names(rollout(owner, nodes(2), [daemon("n1", ready_since=NOW - 30), old]).delete) == [f"{OLD}-on-n2"]


def test_a_surge_brings_new_pods_before_old_ones_go() -> None:
    owner = daemon_set(rolling={"maxSurge": 2, "maxUnavailable": 0})
    old = [daemon(f"n{number}", OLD) for number in range(1, 5)]
    assert rollout(owner, nodes(4), old) == Step(create=["n1", "n2"])
    coming = daemon("n1", which="coming", ready_since=None)
    assert rollout(owner, nodes(4), [*old, coming]) == Step(create=["n2"])
    step = rollout(owner, nodes(4), [*old, daemon("n1", which="there")])
    assert names(step.delete) == [f"{OLD}-on-n1"] and step.create == ["n2", "n3"]


def test_a_surge_is_not_needed_where_the_old_pod_is_of_no_use() -> None:
    owner = daemon_set(rolling={"maxSurge": 1, "maxUnavailable": 0})
    useless = [daemon(f"n{number}", OLD, ready_since=None) for number in (1, 2, 3)]
    assert rollout(owner, nodes(4), [*useless, daemon("n4", OLD)]).create == ["n1", "n2", "n3", "n4"]


def test_in_a_surge_a_pod_in_the_wrong_place_serves_until_there_are_enough_others() -> None:
    owner = daemon_set(rolling={"maxSurge": 1, "maxUnavailable": 0})
    on = [node("n1"), node("n2", taints=[taint("gpu")])]
    misplaced = daemon("n2", OLD)
    assert rollout(owner, on, [daemon("n1", ready_since=None), misplaced]) == Step()
    assert rollout(owner, on, [daemon("n1"), misplaced]).delete == [misplaced]
    assert rollout(owner, on, [daemon("n1"), useless := daemon("n2", OLD, ready_since=None)]).delete == [useless]


def test_the_status_counts_nodes_by_the_senior_pod_of_each() -> None:
    owner = daemon_set(min_ready=30)
    owner["status"] = {"collisionCount": 3}
    on = [*nodes(5), node("n6", taints=[taint("gpu")])]
    pods = [
        daemon("n1"),
        daemon("n2", ready_since=NOW - 10),
        daemon("n3", OLD, ready_since=None),
        daemon("n4", OLD),
        waiting("n4", "junior"),
        daemon("n6"),
    ]
    assert status(owner, on, pods) == {
        "desiredNumberScheduled": 5,
        "currentNumberScheduled": 4,
        "numberMisscheduled": 1,
        "numberReady": 3,
        "updatedNumberScheduled": 2,
        "numberAvailable": 2,
        "numberUnavailable": 3,
        "observedGeneration": 1,
        "collisionCount": 3,
    }


def test_history_is_kept_up_to_its_limit_and_as_long_as_pods_are_of_it() -> None:
    old = [{"metadata": metadata(f"agent-{number}", labels={HASH_LABEL: str(number)})} for number in range(5)]
    assert names(outlived(daemon_set(), old, {"0", "2"})) == ["agent-1", "agent-3", "agent-4"]
    assert names(outlived(daemon_set(), old, set())) == ["agent-0", "agent-1", "agent-2"]
    assert outlived(daemon_set(), old[:2], set()) == []


def test_failed_pods_are_replaced_ever_more_slowly() -> None:
    backoff = PodBackoff()
    assert backoff.seconds_left("a", 0.0) == 0
    backoff.replaced("a", 0.0)
    assert backoff.seconds_left("a", 0.25) == FIRST_SECONDS - 0.25
    assert backoff.seconds_left("b", 0.25) == 0
    backoff.replaced("a", 1.0)
    assert backoff.seconds_left("a", 1.0) == 2 * FIRST_SECONDS
    for _ in range(20):
        backoff.replaced("a", 2.0)
    assert backoff.seconds_left("a", 2.0) == MAX_SECONDS
    backoff.replaced("a", 3 * MAX_SECONDS)
    assert backoff.seconds_left("a", 3 * MAX_SECONDS) == FIRST_SECONDS
