"""What a Deployment's controller decides in one pass: revisions, conditions, pauses, clean-up."""

from __future__ import annotations

from typing import Any

import pytest

from apimachinery.meta import Object, find_condition, name
from apimachinery.time import rfc3339
from controllers.deployment import Plan, plan_deployment
from controllers.deployment_revision import (
    HASH_LABEL,
    REVISION,
    REVISION_HISTORY,
    new_replica_set,
    same_template,
    template_hash,
)
from controllers.deployment_rollout import DESIRED_REPLICAS, MAX_REPLICAS
from controllers.deployment_status import seconds_to_deadline
from tests.support.workloads import EPOCH, deployment, replica_set, template


def plan(web: Object, *replica_sets: Object, now: float = EPOCH, old_pods_run: bool = False) -> Plan:
    return plan_deployment(web, replica_sets, old_pods_run=old_pods_run, now=now)


def condition(status: Object, kind: str) -> tuple[str, str, str]:
    found = find_condition(status["conditions"], kind)
    assert found is not None
    return found["status"], found["reason"], found["message"]


def with_status(web: Object, status: Object) -> Object:
    return {**web, "status": status}


def revised(which: str, number: int, *, replicas: int = 0, image: str = "old", **meta: Any) -> Object:
    notes = {REVISION: str(number), **meta.pop("annotations", {})}
    return replica_set(which, replicas=replicas, image=image, annotations=notes, **meta)


def test_a_new_deployment_gets_a_replica_set_of_its_template() -> None:
    web = deployment(replicas=3, minReadySeconds=7)
    made = plan(web)
    assert made.create is not None and made.revision == "1"
    metadata, spec = made.create["metadata"], made.create["spec"]
    digest = metadata["labels"][HASH_LABEL]
    assert metadata["name"] == f"web-{digest}" and len(digest) >= 8
    assert metadata["annotations"] == {REVISION: "1", DESIRED_REPLICAS: "3", MAX_REPLICAS: "4"}
    assert metadata["ownerReferences"][0]["uid"] == web["metadata"]["uid"]
    assert (spec["replicas"], spec["minReadySeconds"]) == (3, 7)
    assert spec["selector"]["matchLabels"] == {"app": "web", HASH_LABEL: digest}
    assert spec["template"]["metadata"]["labels"] == {"app": "web", HASH_LABEL: digest}
    assert condition(made.status, "Progressing")[:2] == ("True", "NewReplicaSetCreated")
    assert condition(made.status, "Available")[:2] == ("False", "MinimumReplicasUnavailable")


def test_the_replica_sets_of_one_template_have_one_name_until_collisions_are_counted() -> None:
    one, other = template(), template()
    assert template_hash(one, 0) == template_hash(dict(reversed(other.items())), 0)
    assert template_hash(one, 1) != template_hash(one, 0)
    assert set(template_hash(one, 0)) <= set("bcdfghjklmnpqrstvwxz2456789")


def test_the_name_of_a_replica_set_is_never_too_long() -> None:
    assert len(name(new_replica_set(deployment("w" * 253), 1))) <= 253


def test_the_hash_label_makes_no_template_a_different_one() -> None:
    labelled = template()
    labelled["metadata"]["labels"][HASH_LABEL] = "x"
    assert same_template(labelled, template())
    assert not same_template(template("nginx:2"), template())


def test_annotations_are_handed_on_except_those_of_the_object_itself() -> None:
    web = deployment()
    web["metadata"]["annotations"] = {
        "kubernetes.io/change-cause": "because",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        REVISION: "9",
    }
    made = plan(web).create
    assert made is not None
    assert made["metadata"]["annotations"]["kubernetes.io/change-cause"] == "because"
    assert made["metadata"]["annotations"][REVISION] == "1"
    assert "kubectl.kubernetes.io/last-applied-configuration" not in made["metadata"]["annotations"]


def test_going_back_to_an_earlier_template_makes_its_replica_set_the_newest_revision() -> None:
    first = revised("first", 1, image="nginx:1")
    second = revised("second", 2, replicas=3, image="nginx:2", annotations={DESIRED_REPLICAS: "3"})
    back = plan(deployment(replicas=3, image="nginx:1"), first, second)
    [update] = [update for update in back.updates if name(update.replica_set) == "first"]
    notes = update.patch["metadata"]["annotations"]
    assert (notes[REVISION], notes[REVISION_HISTORY], back.revision) == ("3", "1", "3")
    assert update.after == 1 and back.create is None


def test_only_so_many_old_revisions_are_kept_and_none_that_has_pods() -> None:
    new = revised("new", 5, replicas=3, image="nginx:1")
    old = [revised(f"old-{number}", number, image=f"old:{number}") for number in (1, 2, 3)]
    busy = revised("busy", 4, image="old:4")
    busy["status"]["replicas"] = 1
    web = deployment(replicas=3, image="nginx:1", revisionHistoryLimit=1)
    done = {"updatedReplicas": 3, "replicas": 3, "availableReplicas": 3, "observedGeneration": 1}
    assert [name(gone) for gone in plan(with_status(web, done), new, *old, busy).delete] == [
        "old-1",
        "old-2",
        "old-3",
    ]
    assert plan(with_status(web, {**done, "availableReplicas": 2}), new, *old).delete == ()


def test_a_deployment_of_an_unobserved_replica_set_keeps_it() -> None:
    fresh = revised("fresh", 1)
    fresh["metadata"]["generation"] = 2
    done = {"updatedReplicas": 3, "replicas": 3, "availableReplicas": 3, "observedGeneration": 1}
    web = with_status(deployment(replicas=3, revisionHistoryLimit=0), done)
    assert plan(web, revised("new", 2, replicas=3, image="nginx:1"), fresh).delete == ()


def test_a_paused_deployment_is_scaled_but_not_rolled() -> None:
    old = revised("old", 1, replicas=3, annotations={DESIRED_REPLICAS: "3", MAX_REPLICAS: "4"})
    web = deployment(replicas=5, image="nginx:2", paused=True)
    step = plan(web, old)
    assert step.create is None
    assert [(name(u.replica_set), u.after) for u in step.updates] == [("old", 5)]
    assert condition(step.status, "Progressing") == ("Unknown", "DeploymentPaused", "Deployment is paused")
    assert step.updates[0].patch["metadata"]["annotations"][DESIRED_REPLICAS] == "5"


def test_a_resumed_deployment_rolls_on_and_its_deadline_starts_afresh() -> None:
    old = revised("old", 1, replicas=3, annotations={DESIRED_REPLICAS: "3"})
    paused = plan(deployment(replicas=3, image="nginx:2", paused=True), old).status
    resumed = plan(with_status(deployment(replicas=3, image="nginx:2"), paused), old, now=EPOCH + 5000)
    assert resumed.create is not None
    assert condition(resumed.status, "Progressing")[:2] == ("True", "NewReplicaSetCreated")


def test_a_deployment_that_is_being_deleted_only_tells_what_it_has() -> None:
    web = deployment(replicas=5)
    web["metadata"]["deletionTimestamp"] = rfc3339(EPOCH)
    step = plan(web, replica_set(replicas=3))
    assert (step.create, step.updates, step.delete) == (None, (), ())
    assert step.status["replicas"] == 3


def test_a_recreate_creates_its_new_replica_set_only_when_no_old_pod_runs() -> None:
    web = deployment(replicas=3, image="nginx:2", strategy={"type": "Recreate"})
    full = revised("old", 1, replicas=3, annotations={DESIRED_REPLICAS: "3"})
    step = plan(web, full, old_pods_run=True)
    assert step.create is None and step.updates[0].after == 0
    assert plan(web, revised("old", 1), old_pods_run=True).create is None
    made = plan(web, revised("old", 1)).create
    assert made is not None and made["spec"]["replicas"] == 3


def test_a_complete_rollout_says_so_and_pods_that_fail_later_are_no_lack_of_progress() -> None:
    web, new = deployment(replicas=3), replica_set("new", replicas=3)
    complete = plan(web, new).status
    told = 'ReplicaSet "new" has successfully progressed.'
    assert condition(complete, "Progressing") == ("True", "NewReplicaSetAvailable", told)
    assert condition(complete, "Available")[:2] == ("True", "MinimumReplicasAvailable")
    later = plan(with_status(web, complete), replica_set("new", replicas=3, available=0), now=EPOCH + 10_000).status
    assert condition(later, "Progressing")[:2] == ("True", "NewReplicaSetAvailable")
    assert condition(later, "Available")[:2] == ("False", "MinimumReplicasUnavailable")
    assert later["unavailableReplicas"] == 3


def test_progress_renews_the_deadline_and_the_lack_of_it_is_told_when_the_deadline_has_passed() -> None:
    web = deployment(replicas=3, progressDeadlineSeconds=60)
    started = plan(web, replica_set("new", replicas=3, available=0)).status
    assert condition(started, "Progressing")[:2] == ("True", "ReplicaSetUpdated")
    assert seconds_to_deadline(web, started, EPOCH + 20) == 41
    web = with_status(web, started)
    on = plan(web, replica_set("new", replicas=3, available=1), now=EPOCH + 50).status
    assert find_condition(on["conditions"], "Progressing")["lastUpdateTime"] == rfc3339(EPOCH + 50)  # type: ignore[index]
    web = with_status(web, on)
    waiting = plan(web, replica_set("new", replicas=3, available=1), now=EPOCH + 110).status
    assert condition(waiting, "Progressing")[:2] == ("True", "ReplicaSetUpdated")
    stuck = plan(web, replica_set("new", replicas=3, available=1), now=EPOCH + 111).status
    told = 'ReplicaSet "new" has timed out progressing.'
    assert condition(stuck, "Progressing") == ("False", "ProgressDeadlineExceeded", told)
    assert seconds_to_deadline(web, stuck, EPOCH + 200) is None


@pytest.mark.parametrize("deadline", [None, 2**31 - 1])
def test_without_a_deadline_there_is_no_condition_of_progress(deadline: int | None) -> None:
    web = deployment(replicas=3, progressDeadlineSeconds=deadline)
    status = plan(web, replica_set("new", replicas=3, available=0)).status
    assert find_condition(status["conditions"], "Progressing") is None


def test_a_replica_set_that_can_not_create_pods_is_told_of_and_forgotten_when_it_can() -> None:
    web = deployment(replicas=3)
    failing = replica_set("new", replicas=3, available=0)
    trouble = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota"}
    failing["status"]["conditions"] = [{**trouble, "lastTransitionTime": rfc3339(EPOCH)}]
    status = plan(web, failing).status
    assert condition(status, "ReplicaFailure") == ("True", "FailedCreate", "exceeded quota")
    healed = plan(with_status(web, status), replica_set("new", replicas=3)).status
    assert find_condition(healed["conditions"], "ReplicaFailure") is None


def test_terminating_pods_are_counted_apart() -> None:
    old = revised("old", 1)
    old["status"]["terminatingReplicas"] = 2
    assert plan(deployment(replicas=3), replica_set("new", replicas=3), old).status["terminatingReplicas"] == 2


def test_min_ready_seconds_reach_the_replica_set() -> None:
    new = replica_set("new", replicas=3, annotations={REVISION: "1"})
    [update] = plan(deployment(replicas=3, minReadySeconds=5), new).updates
    assert update.patch["spec"] == {"minReadySeconds": 5}


def test_nothing_is_written_when_nothing_changes() -> None:
    web = deployment(replicas=3)
    web["metadata"]["annotations"] = {REVISION: "1"}
    new = replica_set("new", replicas=3, annotations={REVISION: "1", DESIRED_REPLICAS: "3", MAX_REPLICAS: "4"})
    first = plan(web, new)
    again = plan(with_status(web, first.status), new, now=EPOCH + 100)
    assert (again.create, again.updates, again.delete, again.revision) == (None, (), (), None)
    assert again.status == first.status
