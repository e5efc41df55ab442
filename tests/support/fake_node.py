"""A node without a kernel: the parts that a pod's worker uses, faked, under a clock that tests move."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from apimachinery.errors import ApiError, not_found
from apimachinery.meta import Object
from kubelet.containers.container_starter import ContainerStarter
from kubelet.containers.container_stopper import ContainerStopper
from kubelet.containers.image_puller import ImagePuller
from kubelet.images import Image, ImageError
from kubelet.images.pulls import PullResult
from kubelet.images.reference import normalize
from kubelet.network import PodIP
from kubelet.pods.allocation import AllocationStore
from kubelet.pods.pod_dns import ClusterDNS
from kubelet.pods.pod_events import PodEvents
from kubelet.pods.pod_resize import Resizes
from kubelet.pods.pod_services import PodServices
from kubelet.pods.pod_worker import PodWorker
from kubelet.pods.pod_workers import PodWorkers
from kubelet.pods.runtime_classes import NoRuntime
from kubelet.pods.status_writer import StatusWriter
from kubelet.runtime import ContainerSpec, ContainerState, RuntimeFailure, SandboxSpec, SandboxState
from kubelet.runtime.cgroups import Limits
from kubelet.volumes import VolumeFailure
from tests.support.clock import ManualClock
from tests.support.fake_groups import FakeGroups

NODE: Object = {
    "metadata": {"name": "node-1"},
    "spec": {},
    "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}, "capacity": {"memory": "8Gi"}},
}


class FakeRuntime:
    """Containers that run until a test ends them, or a signal that they obey does."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.on_change: Callable[[str], None] = lambda uid: None
        self.pods: dict[str, SandboxState] = {}
        self.started: list[tuple[str, int, float]] = []
        self.signals: list[tuple[str, int, float]] = []
        self.commands: list[tuple[str, tuple[str, ...]]] = []
        self.specs: list[ContainerSpec] = []
        self.history: list[tuple[str, str, int | None]] = []
        self.stubborn: set[str] = set()
        self.failures: dict[str, RuntimeFailure] = {}
        self.answer: Callable[[Sequence[str]], int] = lambda argv: 0
        self.hangs = False
        self.groups = FakeGroups()

    def limits(self, pod_uid: str, container_id: str = "") -> Limits:
        return self.groups.limits[pod_uid, container_id]

    async def update_pod_resources(self, pod_uid: str, resources: dict[str, Any]) -> None:
        self.groups.change((pod_uid, ""), resources)

    async def update_container_resources(self, pod_uid: str, container_id: str, resources: dict[str, Any]) -> None:
        self.groups.change((pod_uid, container_id), resources)

    def sandbox(self, pod_uid: str) -> SandboxState | None:
        return self.pods.get(pod_uid)

    async def sandboxes(self) -> list[SandboxState]:
        return list(self.pods.values())

    async def create_sandbox(self, spec: SandboxSpec) -> SandboxState:
        if (failure := self.failures.get("sandbox")) is not None:
            raise failure
        self.pods[spec.pod_uid] = SandboxState(spec.pod_uid, 1, "/proc/1/ns/net", True, spec)
        self.groups.make((spec.pod_uid, ""), spec.cgroup_resources)
        return self.pods[spec.pod_uid]

    async def start_container(self, pod_uid: str, spec: ContainerSpec) -> ContainerState:
        if (failure := self.failures.get(spec.name)) is not None:
            raise failure
        now = self.clock.now()
        pod = self.pods[pod_uid]
        assert pod.alive, f"{spec.name} is started in a dead sandbox"
        twin = [state for state in pod.containers if state.name == spec.name and state.status == "running"]
        assert not twin, f"{spec.name} is started while it runs"
        self.groups.make((pod_uid, spec.id), spec.config["linux"]["resources"])
        state = ContainerState(spec.id, spec.name, spec.attempt, "running", pid=7, started_at=now, image=spec.image)
        pod.containers.append(state)
        self.started.append((spec.name, spec.attempt, now))
        self.history.append((pod_uid, spec.name, None))
        self.specs.append(spec)
        return state

    async def signal_container(
        self, pod_uid: str, container_id: str, signo: int, all_processes: bool = False
    ) -> None:
        state = self.pods[pod_uid].container(container_id)
        assert state is not None
        self.signals.append((state.name, int(signo), self.clock.now()))
        if signo == signal.SIGKILL or state.name not in self.stubborn:
            self.end(state.name, 128 + signo if signo == signal.SIGKILL else 0, uid=pod_uid)

    async def remove_container(self, pod_uid: str, container_id: str) -> None:
        pod = self.pods[pod_uid]
        pod.containers = [state for state in pod.containers if state.id != container_id]

    async def remove_sandbox(self, pod_uid: str) -> None:
        self.pods.pop(pod_uid, None)

    async def exec(self, pod_uid: str, container_id: str, argv: Sequence[str], **how: Any) -> Any:
        state = self.pods[pod_uid].container(container_id)
        assert state is not None
        self.commands.append((state.name, tuple(argv)))
        return FakeExec(self.answer(argv), hangs=self.hangs)

    def end(self, name: str, code: int, *, uid: str = "", **more: Any) -> None:
        """A container's first process ends."""
        for pod in self.pods.values():
            for number, state in enumerate(pod.containers):
                if state.name == name and state.status == "running" and uid in ("", pod.pod_uid):
                    self.groups.limits.pop((pod.pod_uid, state.id))
                    ended = {"status": "exited", "exit_code": code, "finished_at": self.clock.now(), **more}
                    pod.containers[number] = replace(state, **ended)
                    self.history.append((pod.pod_uid, name, code))
                    self.on_change(pod.pod_uid)
                    return
        raise AssertionError(f"{name} does not run")

    def lose_supervisor(self, pod_uid: str) -> None:
        """The pod's supervisor dies, and with it everything in the pod."""
        pod = self.pods[pod_uid]
        lost = {"status": "exited", "exit_code": 137, "finished_at": self.clock.now(), "error": "supervisor lost"}
        self.history += [(pod_uid, state.name, 137) for state in pod.containers if state.status == "running"]
        pod.containers = [replace(state, **lost) if state.status == "running" else state for state in pod.containers]
        pod.alive = False
        self.on_change(pod_uid)

    def running(self) -> list[str]:
        """The names of all containers that run."""
        return [state.name for pod in self.pods.values() for state in pod.containers if state.status == "running"]


class FakeExec:
    """A command that has ended already, or never does."""

    pid = 8

    def __init__(self, code: int, *, hangs: bool = False) -> None:
        self.code = code
        self.hangs = hangs

    async def wait(self) -> int:
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        return self.code

    def kill(self, signo: int = 9) -> None:
        pass


class FakeNetwork:
    """Gives every pod the same address."""

    ready = True

    def __init__(self) -> None:
        self.attached: set[str] = set()

    async def attach(self, pod_uid: str, netns: str | int) -> PodIP:
        self.attached.add(pod_uid)
        return PodIP("10.244.0.2", 24, "10.244.0.1")

    async def detach(self, pod_uid: str) -> None:
        self.attached.discard(pod_uid)

    def known(self) -> dict[str, str]:
        return dict.fromkeys(self.attached, "10.244.0.2")


class FakeVolumes:
    """Volumes that fail as long as a test wants them to."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock = clock
        self.failure: VolumeFailure | None = None
        self.slow_seconds = 0.0
        self.tries: list[float] = []
        self.torn_down: list[str] = []

    async def set_up(self, pod: Object) -> dict[str, Path]:
        self.tries.append(self.clock.now())
        await self.clock.sleep(self.slow_seconds)
        if self.failure is not None:
            raise self.failure
        return {}

    def pod_changed(self, pod: Object) -> None:
        pass

    async def tear_down(self, pod_uid: str) -> None:
        self.torn_down.append(pod_uid)


class FakeObjects:
    """ConfigMaps and Secrets by name."""

    def __init__(self) -> None:
        self.config_maps: dict[str, Object] = {}

    def register(self, pod: Object) -> None:
        pass

    def unregister(self, pod_uid: str) -> None:
        pass

    async def config_map(self, namespace: str, name: str) -> Object | None:
        return self.config_maps.get(name)

    async def secret(self, namespace: str, name: str) -> Object | None:
        return None


class FakeImages:
    """One image that is there, `localhost/host`; others come when a test lets them."""

    def __init__(self) -> None:
        self.present = {"localhost/host"}
        self.pulls = 0
        self.used: set[tuple[str, str]] = set()

    def find(self, reference: str) -> Image | None:
        if " " in reference:
            raise ImageError("InvalidImageName", "couldn't parse image name")
        return self._image(reference) if reference in self.present or reference == "sha256:1" else None

    async def pull(self, reference: str, keys: Any) -> PullResult:
        self.pulls += 1
        if not any(normalize(name) == reference for name in self.present):
            raise ImageError("ErrImagePull", "it is not there")
        return PullResult("sha256:1", 0.0, None)

    def note_used(self, image_id: str) -> None:
        pass

    def use(self, pod_uid: str, image_id: str) -> None:
        self.used.add((pod_uid, image_id))

    def release(self, pod_uid: str) -> None:
        self.used = {(uid, image_id) for uid, image_id in self.used if uid != pod_uid}

    @staticmethod
    def _image(reference: str) -> Image:
        return Image("sha256:1", [f"{reference}:latest"], [], [], {}, 0, "")


class FakeRecorder:
    """Keeps what is told."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str]] = []

    def event(self, obj: Object, type: str, reason: str, message: str, *, field_path: str = "") -> None:
        self.events.append((reason, message))

    def reasons(self) -> list[str]:
        return [reason for reason, _ in self.events]


class FakeApi:
    """The pods of an API server, as far as a node agent writes them."""

    def __init__(self) -> None:
        self.pods: dict[str, Object] = {}
        self.writes: list[tuple[str, Object]] = []
        self.failure: ApiError | None = None
        self.changed: Callable[[Object | None, Object | None], None] = lambda old, new: None

    def put(self, pod: Object) -> None:
        """Create a pod, or change it."""
        old = self.pods.get(pod["metadata"]["name"])
        version = str(int(pod["metadata"]["resourceVersion"]) + 1)
        pod = {**pod, "metadata": {**pod["metadata"], "resourceVersion": version}}
        self.pods[pod["metadata"]["name"]] = pod
        self.changed(old, pod)

    def remove(self, name: str) -> None:
        """The pod is gone."""
        self.changed(self.pods.pop(name), None)

    async def patch(self, resource: Any, name: str, body: Object, namespace: str, **how: Any) -> Object:
        if self.failure is not None:
            raise self.failure
        pod = self.pods.get(name)
        if pod is None or pod["metadata"]["uid"] != body["metadata"]["uid"]:
            raise not_found("pods", name)
        status = {**(pod.get("status") or {}), **body["status"]}
        conditions = {entry["type"]: entry for entry in (pod.get("status") or {}).get("conditions") or ()}
        for entry in body["status"].get("conditions") or ():
            if entry.get("$patch") == "delete":
                conditions.pop(entry["type"], None)
                continue
            merged = {**conditions.get(entry["type"], {}), **entry}
            conditions[entry["type"]] = {key: value for key, value in merged.items() if value is not None}
        status["conditions"] = list(conditions.values())
        self.writes.append((name, body["status"]))
        self.put({**pod, "status": {key: value for key, value in status.items() if value is not None}})
        return self.pods[name]

    async def delete(self, resource: Any, name: str, namespace: str, **how: Any) -> Object:
        if self.failure is not None:
            raise self.failure
        if name not in self.pods:
            raise not_found("pods", name)
        pod = self.pods[name]
        self.remove(name)
        return pod


class FakeRuntimeClasses:
    """RuntimeClasses by name, with their handlers."""

    def __init__(self) -> None:
        self.handlers: dict[str, str] = {}

    async def handler(self, pod: Object) -> str:
        name = pod["spec"]["runtimeClassName"]
        if name not in self.handlers:
            raise NoRuntime(f'runtimeclass.node.k8s.io "{name}" not found')
        return self.handlers[name]


class FakeNode:
    """All of it together, and the workers on top."""

    def __init__(self, root: Path, group: Any) -> None:
        self.clock = ManualClock()
        self.runtime = FakeRuntime(self.clock)
        self.network = FakeNetwork()
        self.volumes = FakeVolumes(self.clock)
        self.objects = FakeObjects()
        self.images = FakeImages()
        self.runtime_classes = FakeRuntimeClasses()
        self.recorder = FakeRecorder()
        self.api = FakeApi()
        self.node: Object | None = NODE
        self.network_ready = True
        self._root = root
        self._group = group
        self._rng = random.Random(1)
        self.workers = self._make_workers()

    def restart(self) -> None:
        """The node agent is killed, and another one begins with what is in the runtime and the API."""
        for task in self._group.tasks:
            task.cancel()
        self.workers = self._make_workers()
        for pod in self.api.pods.values():
            self.workers.pod_changed("ADDED", None, pod)

    def worker(self, uid: str) -> PodWorker | None:
        """A pod's worker."""
        return self.workers._workers.get(uid)

    async def settle(self) -> None:
        """Let everything happen that needs no time."""
        for _ in range(4):
            await self.clock.settle()

    async def pass_(self, seconds: float) -> None:
        """Let time pass."""
        await self.settle()
        await self.clock.advance(seconds)
        await self.settle()

    def status(self, name: str = "web") -> Mapping[str, Any]:
        """A pod's status in the API."""
        found: Mapping[str, Any] = self.api.pods[name]["status"]
        return found

    def container(self, pod: str = "web", index: int = 0) -> Mapping[str, Any]:
        """A container's status in the API."""
        found: Mapping[str, Any] = self.status(pod)["containerStatuses"][index]
        return found

    def waiting(self, pod: str = "web") -> str:
        """Why a container waits, or ""."""
        return str((self.container(pod)["state"].get("waiting") or {}).get("reason", ""))

    def delete(self, name: str = "web", *, grace_seconds: int) -> None:
        """Somebody asks for a pod's deletion."""
        pod = self.api.pods[name]
        metadata = {"deletionTimestamp": "2027-01-15T08:00:00Z", "deletionGracePeriodSeconds": grace_seconds}
        self.api.put({**pod, "metadata": {**pod["metadata"], **metadata}})

    def _make_workers(self) -> PodWorkers:
        parts: Any = self
        events = PodEvents(parts.recorder)
        puller = ImagePuller(
            parts.images, events, self.clock, pulls=parts.images, objects=parts.objects, usage=parts.images
        )
        by_uid = lambda uid: next((p for p in self.api.pods.values() if p["metadata"]["uid"] == uid), None)  # noqa: E731
        services = PodServices(
            root=self._root,
            clock=self.clock,
            runtime=parts.runtime,
            images=parts.images,
            network=parts.network,
            volumes=parts.volumes,
            objects=parts.objects,
            puller=puller,
            starter=ContainerStarter(
                root=self._root,
                runtime=parts.runtime,
                puller=puller,
                objects=parts.objects,
                api_service=_no_services,
                service_links=_no_links,
                events=events,
                node=lambda: self.node,
                host_ip="10.88.0.2",
                clock=self.clock,
                rng=self._rng,
            ),
            stopper=ContainerStopper(runtime=parts.runtime, images=parts.images, events=events, clock=self.clock),
            writer=StatusWriter(parts.api, by_uid, self._group, self.clock),
            events=events,
            node=lambda: self.node,
            runtime_classes=parts.runtime_classes,
            network_is_ready=lambda: self.network_ready,
            other_pods=lambda uid: workers.holding(but=uid),
            resizes=Resizes(AllocationStore(self._root), lambda: self.node, lambda uid: workers.holding(but=uid)),
            end_pod=lambda uid, verdict: workers.end(uid, verdict),
            room_appeared=lambda: workers.room_appeared(),
            host_ip="10.88.0.2",
            dns=ClusterDNS(),
            pids_max=0,
        )
        workers = PodWorkers(self._group, services)
        self.runtime.on_change = workers.runtime_changed
        self.api.changed = lambda old, new: workers.pod_changed("MODIFIED", old, new)
        return workers


async def _no_services() -> list[tuple[str, str]]:
    return []


async def _no_links(pod: Object) -> list[tuple[str, str]]:
    return []


class Inline(ThreadPoolExecutor):
    """Does at once what is meant for a thread, so that nothing here takes real time."""

    def submit(self, call: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(call(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - whoever waits for it gets it
            done.set_exception(error)
        return done


class Tasks:
    """Stands in for a TaskGroup whose end the test decides on."""

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[Any]] = []

    def create_task(self, coroutine: Coroutine[Any, Any, Any], *, name: str | None = None) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self.tasks.append(task)
        return task


@asynccontextmanager
async def fake_node(root: Path) -> AsyncIterator[FakeNode]:
    """A node whose workers end with the context; whatever has failed in them fails the test."""
    asyncio.get_running_loop().set_default_executor(Inline())
    group: Any = Tasks()
    yield FakeNode(root, group)
    for task in group.tasks:
        task.cancel()
    for outcome in await asyncio.gather(*group.tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome
