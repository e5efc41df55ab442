"""Small factories for Jobs and their pods, and one pass of the Job controller without a server."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apimachinery.meta import Object, find_condition, uid
from apimachinery.time import rfc3339
from controllers.job_backoff import Backoff
from controllers.job_plan import Plan, Survey, decide, survey
from controllers.job_pods import COMPLETION_INDEX, INDEX_FAILURES, TRACKING
from controllers.job_tracking import Booking, Done, book, conclude
from controllers.pods import is_ready
from tests.support.workloads import EPOCH, metadata, owned_by, pod

NOW = EPOCH + 10_000


def job(name: str = "work", *, status: Object | None = None, meta: Object | None = None, **spec: Any) -> Object:
    """A Job as the server defaults it: one pod that must succeed once."""
    pod_spec = {"containers": [{"name": "c", "image": "w:1"}], "restartPolicy": spec.pop("restart", "Never")}
    defaults: Object = {
        "parallelism": 1,
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "suspend": False,
        "podReplacementPolicy": "TerminatingOrFailed",
        "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": pod_spec},
    }
    if "completions" not in spec and "parallelism" not in spec:
        defaults["completions"] = 1
    made = {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata(name, **(meta or {}))}
    return {**made, "spec": {**defaults, **spec}, "status": status or {}}


def indexed(completions: int = 5, *, per_index: int | None = None, **spec: Any) -> Object:
    """An Indexed Job; with `per_index` each index has a backoff limit of its own."""
    spec = {"parallelism": completions, "backoffLimit": 6, **spec}
    if per_index is not None:
        spec |= {"backoffLimitPerIndex": per_index, "backoffLimit": 2**31 - 1}
    return job(completions=completions, completionMode="Indexed", **spec)


def job_pod(
    owner: Object,
    phase: str = "Running",
    *,
    index: int | None = None,
    failures: int = 0,
    code: int | None = None,
    ended: float = NOW,
    deleted: bool = False,
    tracked: bool = True,
    ready: bool = False,
    conditions: Iterable[tuple[str, str]] = (),
    **meta: Any,
) -> Object:
    """A pod of a Job, in some phase; one that has ended did so at `ended`, with this exit code."""
    finalizers = {"finalizers": [TRACKING]} if tracked else {}
    if index is not None:
        meta["annotations"] = {COMPLETION_INDEX: str(index), INDEX_FAILURES: str(failures)}
    if deleted:
        meta["deletionTimestamp"] = rfc3339(ended)
    made = owned_by(pod(meta.pop("name", "work-x"), phase=phase, node="n1", **finalizers, **meta), owner)
    if ready:
        made["status"]["conditions"] = [{"type": "Ready", "status": "True", "lastTransitionTime": rfc3339(EPOCH)}]
    if conditions:
        made["status"]["conditions"] = [{"type": kind, "status": status} for kind, status in conditions]
    if phase in ("Succeeded", "Failed"):
        exit_code = code if code is not None else int(phase == "Failed")
        state = {"terminated": {"exitCode": exit_code, "finishedAt": rfc3339(ended)}}
        made["status"]["containerStatuses"] = [{"name": "c", "state": state, "restartCount": 0}]
    return made


class Pass:
    """One pass over a Job: what was found, planned and booked, and the status in the end, if all has gone well."""

    def __init__(
        self,
        owner: Object,
        pods: Iterable[Object] = (),
        *,
        now: float = NOW,
        backoff: Backoff | None = None,
        released: Iterable[str] = (),
        undeletable: int = 0,
    ) -> None:
        self.found: Survey = survey(owner, list(pods), released, backoff or Backoff(), now)
        self.plan: Plan = decide(self.found)
        gone = self.plan.delete[undeletable:]
        done = Done(len(self.plan.create), len(gone), sum(map(is_ready, gone)))
        self.booking: Booking = book(self.found, self.plan, done)
        released_now = {uid(one) for one in self.booking.release}
        tracked = self.found.tracked - released_now
        self.status, self.over = conclude(self.booking.status, self.booking, tracked, now)

    def count(self, key: str) -> int:
        """One of the numbers of the status."""
        found: int = self.status.get(key, 0)
        return found

    def condition(self, kind: str) -> tuple[str, str] | None:
        """(reason, message) of a condition that is true."""
        found = find_condition(self.status["conditions"], kind) if "conditions" in self.status else None
        return (found["reason"], found["message"]) if found and found["status"] == "True" else None
