"""What an old client's request for a rollback does to a Deployment."""

from __future__ import annotations

from apimachinery import meta
from apimachinery.meta import Object
from apimachinery.patch import merge_patch
from controllers.deployment_revision import HASH_LABEL, REVISION, ROLLBACK_TO
from controllers.deployment_rollback import Rollback, plan_rollback
from tests.support.workloads import deployment, replica_set

CAUSE = "kubernetes.io/change-cause"


def asked(revision: str, image: str = "nginx:3", **spec: object) -> Object:
    web = deployment(image=image, **spec)
    web["metadata"]["annotations"] = {ROLLBACK_TO: revision, REVISION: "3", CAUSE: "three", "note": "of today"}
    return web


def revised(number: int, **more: str) -> Object:
    found = replica_set(f"web-{number}", image=f"nginx:{number}", annotations={REVISION: str(number), **more})
    found["spec"]["template"]["metadata"]["labels"][HASH_LABEL] = "abc"
    return found


HISTORY = [revised(1, **{CAUSE: "one"}), revised(2), revised(3, **{CAUSE: "three"})]


def plan(web: Object, *replica_sets: Object) -> Rollback:
    found = plan_rollback(web, replica_sets or HISTORY)
    assert found is not None
    return found


def test_a_rollback_brings_the_template_back_and_what_was_noted_down_of_it() -> None:
    web, step = asked("1"), plan(asked("1"))
    assert (step.type, step.reason) == ("Normal", "DeploymentRollback")
    assert step.message == 'Rolled back deployment "web" to revision 1'
    after = merge_patch(web, step.patch)
    assert after["spec"]["template"] == deployment(image="nginx:1")["spec"]["template"]
    assert meta.annotations(after) == {REVISION: "3", CAUSE: "one"}


def test_revision_0_is_the_one_before_the_current() -> None:
    assert "to revision 2" in plan(asked("0")).message
    assert "to revision 3" in plan(asked("0", image="nginx:not-rolled-out-yet")).message


def test_a_request_that_can_not_be_met_is_told_of_and_forgotten() -> None:
    for step, message in (
        (plan(asked("7")), "Unable to find the revision to rollback to."),
        (plan(asked("0"), HISTORY[2]), "Unable to find last revision."),
    ):
        assert (step.type, step.reason) == ("Warning", "DeploymentRollbackRevisionNotFound")
        assert step.message == message
        assert step.patch == {"metadata": {"annotations": {ROLLBACK_TO: None}}}


def test_a_rollback_to_the_current_template_changes_nothing() -> None:
    step = plan(asked("3"))
    assert (step.type, step.reason) == ("Warning", "DeploymentRollbackTemplateUnchanged")
    assert step.patch == {"metadata": {"annotations": {ROLLBACK_TO: None}}}


def test_nothing_is_rolled_back_that_is_paused_or_going_or_asks_for_no_number() -> None:
    going = asked("1")
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    for web in (asked("1", paused=True), going, asked("one"), asked(""), deployment()):
        assert plan_rollback(web, HISTORY) is None
