"""What is known of the runs of a pod's containers, beyond what the runtime knows of its present sandbox.

Runs of an earlier sandbox, starts that failed, delays, termination messages and images are kept here, in memory:
a restarted node agent takes what it can from the runtime and from the pod's status, and goes on from there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from apimachinery.meta import Object, get_path
from kubelet import paths
from kubelet.containers import backoff
from kubelet.containers.backoff import Backoff
from kubelet.containers.container_starter import CONFIG_ERROR, Started, attempts_logged, shown_image
from kubelet.containers.container_status import START_ERROR_CODE, UNKNOWN_CODE, ContainerFacts, Waiting, container_id
from kubelet.containers.failures import StartFailure
from kubelet.images import ImageError
from kubelet.pods import pod_actions, pod_files, pod_spec
from kubelet.pods.pod_actions import Observed
from kubelet.pods.pod_services import PodServices
from kubelet.runtime import ContainerState, SandboxState

# The present run of a container and the one before, which `kubectl logs --previous` shows.
RUNS_KEPT = 2

Runs = dict[str, list[ContainerState]]


class PodRuns:
    """The runs of one pod's containers."""

    def __init__(self, pod: Object, services: PodServices) -> None:
        self.pod = pod
        self.waiting: dict[str, Waiting] = {}
        self.started_before = _ids(pod, "started")
        self.ready_before = _ids(pod, "ready")
        self._services = services
        self._past: list[ContainerState] = []
        self._failed_starts: list[ContainerState] = []
        self._backoffs: dict[str, Backoff] = {}
        self._not_before: dict[str, float] = {}
        self._messages: dict[str, str] = {}
        self._images: dict[str, tuple[str, str]] = {}
        self._users: dict[str, Mapping[str, Any]] = {}
        self._started_images: dict[str, str] = {}
        self._outdated: set[str] = set()
        self._told_backoffs: set[str] = set()
        self._ends: dict[str, float] = {}

    def known(self) -> Runs:
        """All runs by container, newest first."""
        return _grouped([*self._past, *self._present()])

    def running(self) -> dict[str, ContainerState]:
        """The containers that run now."""
        sandbox = self._sandbox()
        if sandbox is None or not sandbox.alive:
            return {}
        return {run.name: run for run in sandbox.containers if run.status == "running"}

    def observed(self, *, started: frozenset[str], unhealthy: Mapping[str, str], busy: frozenset[str]) -> Observed:
        """What pod_actions decides by."""
        latest = {name: runs[0] for name, runs in _grouped(self._present()).items()}
        earlier = {name: runs[0] for name, runs in _grouped(self._past).items()}
        self._note_outdated()
        return Observed(
            latest=latest,
            earlier=earlier,
            started=started,
            unhealthy=unhealthy,
            outdated=frozenset(name for name, run in latest.items() if run.id in self._outdated),
            busy=busy,
            backoffs=self._backoffs,
            not_before=self._not_before,
            done=frozenset(self._done(earlier)),
            ended={run.id: self._ended_at(run) for run in (*earlier.values(), *latest.values()) if run.finished_at},
        )

    def facts(
        self,
        *,
        starting: frozenset[str],
        started: frozenset[str],
        ready: frozenset[str],
        resources: Mapping[str, Mapping[str, Any]],
    ) -> ContainerFacts:
        """What the status is made from."""
        return ContainerFacts(
            runs=self.known(),
            earlier=frozenset(run.id for run in self._past),
            waiting=self.waiting,
            starting=starting,
            started=started,
            ready=ready,
            messages=self._messages,
            images=self._images,
            users=self._users,
            resources=resources,
        )

    @property
    def replacing(self) -> bool:
        """Whether a container that was changed has ended and has not come again yet, as it will at once."""
        latest = {name: runs[0] for name, runs in _grouped(self._present()).items()} if self._outdated else {}
        return any(
            run.status == "exited" and run.id in self._outdated and name not in self.waiting
            for name, run in latest.items()
        )

    # What happens to runs.

    def adopt(self) -> None:
        """Take over what a former node agent has left running."""
        for name, runs in _grouped(self._present()).items():
            container = pod_spec.container(self.pod, name)
            if container is None or name in self._started_images:
                continue
            self._started_images[name] = runs[0].image or container["image"]
            delay = backoff.resumed(runs[0].attempt, self._monotonic(runs[0].started_at or 0.0))
            if delay is not None:
                self._backoffs.setdefault(name, delay)
            try:
                image = self._services.images.find(container["image"])
            except ImageError:
                continue
            if image is not None:
                self._images[name] = shown_image(image, container)

    def leave_sandbox(self, dead: SandboxState | None) -> None:
        """The present sandbox, if any, has died: its runs are the past of those to come."""
        if dead is not None:
            known = {run.id for run in self._past}
            self._past += [_ended(run) for run in dead.containers if run.id not in known]
            self._past += self._failed_starts
            self._failed_starts = []
            self.note_ended()

    def begin(self, name: str) -> int:
        """A container is about to be started: the number of this attempt. A restart sets the delay of the next."""
        runs = self.known().get(name)
        if runs:
            failed_at, now = self._ended_at(runs[0]), self._services.clock.monotonic()
            self._backoffs[name] = backoff.after_try(self._backoffs.get(name), failed_at, now)
        self._not_before.pop(name, None)
        container = pod_spec.container(self.pod, name) or {}
        self._started_images[name] = container.get("image", "")
        return runs[0].attempt + 1 if runs else self._first_attempt(name)

    def started(self, name: str, started: Started) -> None:
        """A container runs."""
        self.waiting.pop(name, None)
        self._images[name] = started.image
        self._users[name] = started.user

    def failed(self, name: str, attempt: int, failure: StartFailure) -> None:
        """A container could not be started, or not to the end."""
        self.waiting[name] = Waiting(failure.reason, failure.message)
        if failure.retry_at is not None:
            self._not_before[name] = failure.retry_at
            return
        if any(run.name == name and run.attempt == attempt for run in self._present()):
            return  # it did run: its postStart hook failed
        self._failed_starts.append(
            ContainerState(
                id=f"{self.pod['metadata']['uid']}-{name}-{attempt}",
                name=name,
                attempt=attempt,
                status="exited",
                exit_code=START_ERROR_CODE,
                finished_at=self._services.clock.now(),
                error=failure.message,
            )
        )

    def hold_back(self, backing_off: Iterable[str], now: float) -> None:
        """Say of the containers that wait for their delay that they crash again and again."""
        runs = self.known()
        for name in backing_off:
            if self._not_before.get(name, 0.0) > now or name not in self._backoffs or name not in runs:
                continue
            message = pod_actions.backoff_message(self.pod, name, self._backoffs[name])
            self.waiting[name] = Waiting("CrashLoopBackOff", message)
            if runs[name][0].id not in self._told_backoffs:
                self._told_backoffs.add(runs[name][0].id)
                text = f"Back-off restarting failed container {name} in pod {pod_spec.describe(self.pod)}"
                self._services.events.warning(self.pod, "BackOff", text, container=name)

    def retry_configuration(self) -> None:
        """Let containers that lacked a ConfigMap or Secret be tried again at once."""
        for name, why in self.waiting.items():
            if why.reason == CONFIG_ERROR:
                self._not_before.pop(name, None)

    def note_ended(self) -> None:
        """Read the termination messages of runs that have ended, before their files go."""
        for name, runs in self.known().items():
            container = pod_spec.container(self.pod, name)
            for run in runs:
                if run.status != "exited" or run.id in self._messages or container is None:
                    continue
                path = paths.termination_log(self._services.root, self.pod["metadata"]["uid"], name, run.attempt)
                self._messages[run.id] = pod_files.termination_message(
                    path, container, failed=run.exit_code != 0, log_path=run.log_path
                )

    async def prune(self, name: str) -> None:
        """Forget all runs of a container but the newest two, with their logs."""
        uid = self.pod["metadata"]["uid"]
        for run in self.known().get(name, [])[RUNS_KEPT:]:
            sandbox = self._sandbox()
            if sandbox is not None and sandbox.alive and sandbox.container(run.id) is not None:
                await self._services.runtime.remove_container(uid, run.id)
            self._past = [other for other in self._past if other.id != run.id]
            self._failed_starts = [other for other in self._failed_starts if other.id != run.id]
            self._messages.pop(run.id, None)
            self._told_backoffs.discard(run.id)
            self._ends.pop(run.id, None)
            self._outdated.discard(run.id)
            log = paths.container_log(self._services.root, self.pod, name, run.attempt)
            for path in log.parent.glob(f"{log.name}*"):  # those put aside by rotation, too
                path.unlink(missing_ok=True)
            paths.termination_log(self._services.root, uid, name, run.attempt).unlink(missing_ok=True)

    def outdate(self, name: str, run_id: str) -> None:
        """A run ends for the sake of another with other resources, whatever the policy, and without delay."""
        self._outdated.add(run_id)
        self.begin_anew(name)

    def begin_anew(self, name: str) -> None:
        """What has failed with the resources that it had is not held back any longer, now that it gets others."""
        self._backoffs.pop(name, None)
        self._not_before.pop(name, None)

    def _note_outdated(self) -> None:
        """Remember the runs of containers whose image is changed in the pod while they run; none of them has to wait.

        Those that run but once go on to their end with the image that they have.
        """
        running: dict[str, ContainerState] | None = None
        for name, image in self._started_images.items():
            container = pod_spec.container(self.pod, name)
            if container is None or not image or container["image"] == image:
                continue
            self._backoffs.pop(name, None)
            self._not_before.pop(name, None)
            running = self.running() if running is None else running
            if name in running and pod_spec.is_lasting(self.pod, name):
                self._outdated.add(running[name].id)

    def _ended_at(self, run: ContainerState) -> float:
        """When a run ended, by the monotonic clock: reckoned once, so that no later step of the wall clock counts."""
        if run.id not in self._ends:
            self._ends[run.id] = self._monotonic(run.finished_at or self._services.clock.now())
        return self._ends[run.id]

    def _monotonic(self, moment: float) -> float:
        """A moment of the past, told by the wall clock, as the monotonic clock has it."""
        clock = self._services.clock
        return clock.monotonic() - max(0.0, clock.now() - moment)

    def _sandbox(self) -> SandboxState | None:
        return self._services.runtime.sandbox(self.pod["metadata"]["uid"])

    def _present(self) -> list[ContainerState]:
        """The runs of the present sandbox that were started or tried; one that is still being made is none."""
        sandbox = self._sandbox()
        past = {run.id for run in self._past}
        runs = sandbox.containers if sandbox is not None else []
        return [run for run in runs if run.status != "created" and run.id not in past] + self._failed_starts

    def _done(self, earlier: Mapping[str, ContainerState]) -> Iterable[str]:
        """Containers that ended for good before the present sandbox, as seen here or as the API has it."""
        listed = {entry["name"]: entry for entry in get_path(self.pod, "status", "containerStatuses", default=[])}
        for container in pod_spec.containers(self.pod):
            name = container["name"]
            run = earlier.get(name)
            code = run.exit_code if run is not None else _last_code(listed.get(name, {}))
            if code is not None and not pod_actions.should_restart(self.pod, container, code):
                yield name
        for entry in get_path(self.pod, "status", "ephemeralContainerStatuses", default=[]):
            if _last_code(entry) is not None:
                yield entry["name"]

    def _first_attempt(self, name: str) -> int:
        """The number of a run before which none is known here: what the API and the logs have counted."""
        listed: list[dict[str, Any]] = []
        for key in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
            listed += get_path(self.pod, "status", key, default=[])
        entry = next((entry for entry in listed if entry["name"] == name), {})
        counted = int(entry.get("restartCount") or 0)
        if entry.get("containerID") or "running" in (entry.get("state") or {}):
            counted += 1
        return max(counted, attempts_logged(self._services.root, self.pod, name))


def _grouped(runs: Iterable[ContainerState]) -> Runs:
    grouped: Runs = {}
    for run in sorted(runs, key=lambda run: -run.attempt):
        grouped.setdefault(run.name, []).append(run)
    return grouped


def _ended(run: ContainerState) -> ContainerState:
    """A run whose supervisor has died has ended too, whatever was last heard of it."""
    if run.status == "exited":
        return run
    return ContainerState(
        id=run.id,
        name=run.name,
        attempt=run.attempt,
        status="exited",
        started_at=run.started_at,
        finished_at=run.started_at,
        exit_code=UNKNOWN_CODE,
        error="the container ended with its pod's supervisor",
        log_path=run.log_path,
    )


def _last_code(entry: Mapping[str, Any]) -> int | None:
    """How a container ended, by its status; one that is said to run and does not has been lost."""
    state = entry.get("state") or {}
    if "running" in state:
        return UNKNOWN_CODE
    ended = state.get("terminated") or get_path(entry, "lastState", "terminated")
    return int(ended["exitCode"]) if ended else None


def _ids(pod: Object, quality: str) -> frozenset[str]:
    """The runtime ids of the containers that the pod's status says have `started`, or are `ready`."""
    prefix = container_id("")
    return frozenset(
        entry["containerID"].removeprefix(prefix)
        for key in ("initContainerStatuses", "containerStatuses")
        for entry in get_path(pod, "status", key, default=[])
        if entry.get(quality) and entry.get("containerID")
    )
