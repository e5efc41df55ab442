"""Tells the API server of placements: a fixed number of workers post bindings, each all that wait at that moment.

Bindings that wait travel together in one request, where the server takes lists of them.

A pod is assumed to be on its node from the moment it is placed, so the next one does not wait for the answer. An
answer that does not come leaves open whether the binding was made: it is asked for again, and a conflict is looked
into, before the pod's room is given to others. A pod whose claims are not bound yet waits for that first, beside the
workers, for it may take long.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/binding-v1/
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import Enum

from apiclient.clock import Clock
from apiclient.rest import LISTED_MAX, Client
from apimachinery.errors import ApiError, is_conflict, is_not_found
from apimachinery.meta import Object, name, namespace, uid
from apimachinery.resources import BINDINGS, PODS
from scheduler.cluster import Placement
from scheduler.pods import node_name
from scheduler.volume_binder import VolumeBinder

WORKERS = 8
QUEUED_MAX = 4 * WORKERS
TOGETHER_MAX = LISTED_MAX // 2
TRIES = 8
RETRY_FIRST_SECONDS, RETRY_MAX_SECONDS = 0.05, 4.0


class Outcome(Enum):
    """What became of a placement."""

    BOUND = "bound"
    GONE = "gone"
    CALLED_OFF = "called off"
    FAILED = "failed"
    CLAIMS_NOT_BOUND = "claims not bound"


Done = Callable[[Placement, Outcome, str], None]


class Binder:
    """Posts placements; `done(placement, outcome, message)` is called once for each."""

    def __init__(self, client: Client, done: Done, *, volumes: VolumeBinder, clock: Clock) -> None:
        self._client = client
        self._done = done
        self._volumes = volumes
        self._clock = clock
        self._unprepared: asyncio.Queue[Placement] = asyncio.Queue(QUEUED_MAX)
        self._waiting: asyncio.Queue[Placement] = asyncio.Queue(QUEUED_MAX)
        self._unfinished: dict[str, Placement] = {}

    async def submit(self, *placements: Placement) -> None:
        """Hand over placements; waits while very many are on their way."""
        # All of a gang are known before the first wait: should this be cancelled there, none of them is forgotten.
        for placement in placements:
            self._unfinished[placement.queued.uid] = placement
        for placement in placements:
            await (self._waiting if placement.decision is None else self._unprepared).put(placement)

    async def run(self) -> None:
        """Post placements until cancelled; what is unfinished then is called off."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(WORKERS):
                    group.create_task(self._work())
                while True:
                    group.create_task(self._prepare(await self._unprepared.get()))
        finally:
            for queue in (self._waiting, self._unprepared):
                while not queue.empty():
                    queue.get_nowait()
            for placement in list(self._unfinished.values()):
                self._finish(placement, Outcome.CALLED_OFF, "")

    async def _work(self) -> None:
        while True:
            placements = [await self._waiting.get()]
            while len(placements) < TOGETHER_MAX and not self._waiting.empty():
                placements.append(self._waiting.get_nowait())
            by_namespace: dict[str, list[Placement]] = {}
            for placement in placements:
                by_namespace.setdefault(namespace(placement.queued.pod), []).append(placement)
            for scope, some in by_namespace.items():
                await self._bind_together(scope, some)

    async def _bind_together(self, scope: str, placements: list[Placement]) -> None:
        """Bind pods of one namespace by one request, and those by requests of their own of which that failed."""
        if len(placements) > 1:
            bindings = [binding(placement.queued.pod, placement.node) for placement in placements]
            answers = await self._client.create_each(BINDINGS, bindings, scope)
            answered = zip(placements, answers, strict=True)
            placements = [one for one, answer in answered if not self._settled(one, answer)]
        async with asyncio.TaskGroup() as group:
            for placement in placements:
                group.create_task(self._bind(placement))

    def _settled(self, placement: Placement, answer: Object | ApiError) -> bool:
        """Whether an answer leaves nothing open."""
        if not isinstance(answer, ApiError):
            self._finish(placement, Outcome.BOUND, "")
        elif is_conflict(answer) or answer.code == 403 or will_pass(answer):
            return False  # (Who may not post to the namespace may do so to each pod.)
        else:
            self._finish(placement, Outcome.GONE if is_not_found(answer) else Outcome.FAILED, answer.message)
        return True

    async def _bind(self, placement: Placement) -> None:
        outcome, message = await bind(self._client, placement.queued.pod, placement.node, clock=self._clock)
        self._finish(placement, outcome, message)

    async def _prepare(self, placement: Placement) -> None:
        """Have the claims of a pod bound, and then the pod."""
        assert placement.decision is not None, "nothing is decided about a pod whose claims are bound"
        if error := await self._volumes.bind(placement.decision):
            self._finish(placement, Outcome.CLAIMS_NOT_BOUND, error)
        else:
            await self._waiting.put(placement)

    def _finish(self, placement: Placement, outcome: Outcome, message: str) -> None:
        del self._unfinished[placement.queued.uid]
        self._done(placement, outcome, message)


def binding(pod: Object, node: str) -> Object:
    """What puts this very pod onto a node."""
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name(pod), "namespace": namespace(pod), "uid": uid(pod)},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }


def will_pass(error: ApiError) -> bool:
    """Whether the same request may do better later on."""
    return error.code >= 500 or error.code == 429


async def bind(client: Client, pod: Object, node: str, *, clock: Clock) -> tuple[Outcome, str]:
    """Bind a pod to a node; tells what became of it, and the server's words if it failed."""
    wanted = binding(pod, node)
    delay = RETRY_FIRST_SECONDS
    message = ""
    for _ in range(TRIES):
        try:
            await client.create(PODS, wanted, namespace(pod), name=name(pod), subresource="binding")
            return Outcome.BOUND, ""
        except ApiError as error:
            message = error.message
            if is_not_found(error):
                return Outcome.GONE, message
            if is_conflict(error):
                break
            if not will_pass(error):
                return Outcome.FAILED, message
        await clock.sleep(delay)
        delay = min(2 * delay, RETRY_MAX_SECONDS)
    return await _look(client, pod, node), message


async def _look(client: Client, pod: Object, node: str) -> Outcome:
    """What became of a binding that was refused or not answered: an earlier try may have made it."""
    try:
        now = await client.get(PODS, name(pod), namespace(pod))
    except ApiError as error:
        return Outcome.GONE if is_not_found(error) else Outcome.FAILED
    if uid(now) != uid(pod):
        return Outcome.GONE
    return Outcome.BOUND if node_name(now) == node else Outcome.FAILED
