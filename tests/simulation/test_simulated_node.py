"""A node under random misfortune, by seed: whatever happens in whatever order, it converges when it ends."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from apimachinery.errors import ApiError
from kubelet.runtime import RuntimeFailure
from kubelet.volumes import VolumeFailure
from tests.support.fake_node import FakeNode, fake_node
from tests.support.pods import container, pod

SEEDS = range(16)
STEPS = 60
CALM_SECONDS = 900.0
SIDECAR = container("proxy", restartPolicy="Always")


class Misfortune:
    """What may happen to a node, one thing at a time."""

    def __init__(self, node: FakeNode, rng: random.Random) -> None:
        self.node = node
        self.rng = rng
        self.made = 0
        self.policies: dict[str, str] = {}

    async def strike(self) -> None:
        """Something happens, and some time passes."""
        happening = self.rng.choice(
            [self.new_pod, self.new_pod, self.end, self.end, self.delete, self.force, self.kill_agent, self.lose]
            + [self.api_fails, self.disk_fails, self.runtime_fails, self.all_well]
        )
        happening()
        await self.node.clock.settle()
        if self.rng.random() < 0.6:
            await self.node.pass_(self.rng.choice([0.0, 0.1, 1.0, 12.0, 100.0]))

    def new_pod(self) -> None:
        self.made += 1
        spec: dict[str, Any] = {"restartPolicy": self.rng.choice(["Always", "OnFailure", "Never"])}
        if self.rng.random() < 0.4:
            spec["initContainers"] = self.rng.sample([SIDECAR, container("setup")], k=self.rng.randint(1, 2))
        names = ["web", "log"][: self.rng.randint(1, 2)]
        uid = f"5ad1c5d1-0000-4000-8000-{self.made:012d}"
        self.policies[uid] = spec["restartPolicy"]
        self.node.api.put(pod(*map(container, names), name=f"pod-{self.made}", uid=uid, **spec))

    def end(self) -> None:
        running = [
            (uid, state.name)
            for uid, sandbox in self.node.runtime.pods.items()
            for state in sandbox.containers
            if state.status == "running"
        ]
        if running:
            uid, name = self.rng.choice(running)
            self.node.runtime.end(name, self.rng.choice([0, 0, 1, 137]), uid=uid)

    def delete(self) -> None:
        if self.node.api.pods:
            name = self.rng.choice(sorted(self.node.api.pods))
            self.node.delete(name, grace_seconds=self.rng.choice([0, 1, 30]))

    def force(self) -> None:
        if self.node.api.pods:
            self.node.api.remove(self.rng.choice(sorted(self.node.api.pods)))

    def kill_agent(self) -> None:
        self.node.restart()
        self.node.workers.end_orphans(list(self.node.runtime.pods.values()))

    def lose(self) -> None:
        if self.node.runtime.pods:
            self.node.runtime.lose_supervisor(self.rng.choice(sorted(self.node.runtime.pods)))

    def api_fails(self) -> None:
        self.node.api.failure = ApiError(503, "ServiceUnavailable", "away")

    def disk_fails(self) -> None:
        self.node.volumes.failure = VolumeFailure("FailedMount", "disk full")

    def runtime_fails(self) -> None:
        name = self.rng.choice(["sandbox", "web", "setup"])
        reason = (
            "CreatePodSandboxError"
            if name == "sandbox"
            else self.rng.choice(["RunContainerError", "CreateContainerError"])
        )
        self.node.runtime.failures[name] = RuntimeFailure(reason, "no")

    def all_well(self) -> None:
        self.node.api.failure = None
        self.node.volumes.failure = None
        self.node.runtime.failures.clear()


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_node_converges_when_misfortune_ends(seed: int, tmp_path: Path) -> None:
    async with fake_node(tmp_path) as node:
        misfortune = Misfortune(node, random.Random(seed))
        for _ in range(STEPS):
            await misfortune.strike()
        misfortune.all_well()
        await node.pass_(CALM_SECONDS)
        for name in node.api.pods:
            check_settled(node, name)
        assert {sandbox.pod_uid for sandbox in node.runtime.pods.values()} <= uids(node)
        for name in list(node.api.pods):
            if name in node.api.pods:
                node.delete(name, grace_seconds=1)
        await node.pass_(CALM_SECONDS)
        assert node.api.pods == {} and node.runtime.pods == {} and node.network.attached == set()
        assert node.workers.uids() == frozenset()
        check_restarts(node, misfortune.policies)


def check_restarts(node: FakeNode, policies: dict[str, str]) -> None:
    """No container was started again after an end that its policy takes for the last one."""
    last: dict[tuple[str, str], int] = {}
    for uid, name, code in node.runtime.history:
        if name not in ("web", "log"):
            continue
        if code is not None:
            last[uid, name] = code
            continue
        ended = last.get((uid, name))
        policy = policies[uid]
        assert ended is None or policy == "Always" or (policy == "OnFailure" and ended != 0), (
            uid,
            name,
            policy,
            ended,
        )


def uids(node: FakeNode) -> set[str]:
    return {obj["metadata"]["uid"] for obj in node.api.pods.values()}


def check_settled(node: FakeNode, name: str) -> None:
    """What the API says of a pod is what is; and what ends by itself has either ended or waits to be restarted."""
    obj = node.api.pods[name]
    phase = obj["status"]["phase"]
    sandbox = node.runtime.pods.get(obj["metadata"]["uid"])
    if phase in ("Succeeded", "Failed"):
        assert sandbox is None and obj["spec"]["restartPolicy"] != "Always", (name, obj)
        return
    assert sandbox is not None and sandbox.alive, (name, obj)
    running = {state.name for state in sandbox.containers if state.status == "running"}
    told = {
        entry["name"]
        for key in ("initContainerStatuses", "containerStatuses")
        for entry in obj["status"].get(key) or ()
        if "running" in entry["state"]
    }
    assert told == running and running, (name, obj["status"], running)
