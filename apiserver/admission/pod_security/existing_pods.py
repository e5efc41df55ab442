"""What whoever makes a namespace stricter is told of the pods that it has: they run on, though they'd be refused now.

Source: k8s.io/pod-security-admission/admission/admission.go (EvaluatePodsInNamespace)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

from apimachinery.meta import Object, controller_of, name
from apiserver.admission.pod_security.evaluation import reasons, violations
from apiserver.admission.pod_security.levels import Standard

PODS_CHECKED_MAX = 3000
# A person waits for the answer.
CHECK_SECONDS_MAX = 1.0
# Others are served after so many pods.
SLICE = 64


async def warnings_about(
    pods: Iterable[Object], namespace: str, standard: Standard, clock: Callable[[], float]
) -> Sequence[str]:
    """What of a namespace's pods would be refused now, in short."""
    ordered = await _one_of_each_first(pods)
    ends, checked = clock() + CHECK_SECONDS_MAX, 0
    who: dict[str, list[str]] = {}
    async for pod in _in_turn(ordered[:PODS_CHECKED_MAX]):
        checked += 1
        if found := violations(standard, pod["metadata"], pod.get("spec") or {}):
            who.setdefault(reasons(found), []).append(name(pod))
        if clock() >= ends:
            break
    told = []
    if checked < len(ordered):
        told.append(
            f"new PodSecurity enforce level only checked against the first {checked} of {len(ordered)} existing pods"
        )
    if who:
        told.append(
            f'existing pods in namespace "{namespace}" violate the new PodSecurity enforce level "{standard}"'
        )
    return [*told, *sorted(f"{_pods(names)}: {why}" for why, names in who.items())]


async def _in_turn(pods: Iterable[Object]) -> AsyncIterator[Object]:
    """One pod after another, and others' requests in between."""
    for number, pod in enumerate(pods, 1):
        yield pod
        if number % SLICE == 0:
            await asyncio.sleep(0)


async def _one_of_each_first(pods: Iterable[Object]) -> list[Object]:
    """Pods of the same controller are alike: the second of them is looked at only after all that may be others."""
    first: list[Object] = []
    others: list[Object] = []
    seen: set[str] = set()
    async for pod in _in_turn(pods):
        controller = controller_of(pod)
        if controller is None:
            first.append(pod)
        elif controller["uid"] in seen:
            others.append(pod)
        else:
            seen.add(controller["uid"])
            first.append(pod)
    return first + others


def _pods(names: Sequence[str]) -> str:
    others = len(names) - 1
    if not others:
        return names[0]
    return f"{min(names)} (and {others} other {'pod' if others == 1 else 'pods'})"
