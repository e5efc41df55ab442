"""A real node agent against a real API server, for tests: both in a network namespace that the test makes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from apiclient.rest import Client
from apimachinery.errors import ApiError, is_not_found
from apimachinery.meta import Object, get_path
from apimachinery.resources import EVENTS, NODES, PODS, SERVICEACCOUNTS
from tests.support.apiserver import REPOSITORY, ApiServerProcess
from tests.support.netns import own_network_namespace

WAIT_SECONDS_MAX = 60.0
NODE = "node-1"
POD_CIDR = "10.244.7.0/24"


class NodeAgentProcess:
    """One `python -m kubelet`, which may be killed and started again on the same folder."""

    def __init__(self, folder: Path, server: ApiServerProcess, flags: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.root = folder / "node"
        self.images = folder / "images"
        self.flags = list(flags)
        self.cgroup_root = f"wherry-test/{uuid.uuid4().hex[:8]}"
        self.process: subprocess.Popen[bytes] | None = None
        self._server = server

    def issue_credentials(self) -> None:
        """Have the API server's authority issue the node's credentials."""
        command = [sys.executable, "-m", "apiserver", "node-credentials"]
        command += ["--data-dir", str(self._server.data_dir), "--server", self._server.url]
        command += ["--out-dir", str(self.folder), "--node", f"{NODE}=127.0.0.1"]
        subprocess.run(command, check=True, timeout=30, cwd=REPOSITORY)

    def start(self, *program: str) -> None:
        """Start the agent, or another program (`-m MODULE ARGUMENTS`) that takes its flags."""
        credentials = self.folder / NODE
        command = [sys.executable, *(program or ("-m", "kubelet"))]
        command += ["--kubeconfig", str(credentials / "kubeconfig")]
        command += ["--node-name", NODE, "--node-ip", "127.0.0.1", "--root-dir", str(self.root)]
        command += ["--image-dir", str(self.images), "--cert-dir", str(credentials / "pki")]
        # How full the disk of this machine is must not end the pods of a test.
        command += ["--eviction-hard", "memory.available<100Mi"]
        command += ["--cgroup-root", self.cgroup_root, *self.flags]
        with (self.folder / "kubelet.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=REPOSITORY)

    def stop(self, signo: int = signal.SIGKILL) -> None:
        """End the agent, and wait for its end; its pods run on."""
        if self.process is not None:
            self.process.send_signal(signo)
            self.process.wait(timeout=60)
            self.process = None

    def clean_up(self) -> None:
        """End everything that the node runs."""
        self.stop()
        command = [sys.executable, "-m", "kubelet.cleanup", "--root-dir", str(self.root)]
        command += ["--cgroup-root", self.cgroup_root]
        subprocess.run(command, check=True, timeout=60, cwd=REPOSITORY)

    def log(self) -> str:
        """What the agent has logged."""
        return (self.folder / "kubelet.log").read_text(errors="replace")[-6000:]

    def supervisor_pid(self, pod: Object) -> int:
        """The process that keeps a pod on this node."""
        record = json.loads((self.root / "pods" / pod["metadata"]["uid"] / "sandbox.json").read_text())
        return int(record["supervisor_pid"])


class Node:
    """A cluster of one node: what tests do with it."""

    def __init__(self, client: Client, server: ApiServerProcess, agent: NodeAgentProcess) -> None:
        self.client = client
        self.server = server
        self.agent = agent

    async def create(self, name: str, *containers: dict[str, Any], **spec: Any) -> Object:
        """Create a pod that is bound to the node already."""
        body = {"nodeName": NODE, "terminationGracePeriodSeconds": 2, "containers": list(containers), **spec}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": body}
        return await self.client.create(PODS, pod)

    async def get(self, name: str) -> Object | None:
        """A pod as it is now; None when there is none."""
        try:
            return await self.client.get(PODS, name, "default")
        except ApiError as error:
            if is_not_found(error):
                return None
            raise

    async def pods(self) -> list[Object]:
        """All pods of the node."""
        listed: list[Object] = (await self.client.list(PODS))["items"]
        return listed

    async def wait_for(self, name: str, condition: Callable[[Object], Any]) -> Object:
        """Watch a pod until a condition holds; returns it."""
        last: Object | None = None
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                async for pod in self._versions(name):
                    last = pod
                    if pod is not None and condition(pod):
                        return pod
        except TimeoutError:
            shown = json.dumps(last["status"] if last else None, indent=1)
            raise AssertionError(f"pod {name} never got there:\n{shown}\n{self.agent.log()}") from None
        raise AssertionError("unreachable")

    async def wait_gone(self, name: str) -> None:
        """Wait until the API does not know the pod any more."""
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                async for pod in self._versions(name):
                    if pod is None:
                        return
        except TimeoutError:
            raise AssertionError(f"pod {name} is still there\n{self.agent.log()}") from None

    async def running(self, name: str) -> Object:
        """Wait until a pod runs and is ready."""
        return await self.wait_for(name, is_ready)

    async def phase(self, name: str, phase: str) -> Object:
        """Wait until a pod is in a phase."""
        return await self.wait_for(name, lambda pod: pod["status"].get("phase") == phase)

    async def delete(self, name: str, **options: Any) -> None:
        """Ask for a pod's deletion."""
        await self.client.delete(PODS, name, "default", **options)

    async def events(self, name: str) -> list[tuple[str, str]]:
        """(reason, message) of a pod's events so far."""
        listed = await self.client.list(EVENTS, "default", field_selector=f"involvedObject.name={name}")
        return [(event["reason"], event["message"]) for event in listed["items"]]

    async def event(self, name: str, reason: str) -> str:
        """Wait for an event about a pod; returns its message."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while time.monotonic() < deadline:
            for found, message in await self.events(name):
                if found == reason:
                    return message
            await asyncio.sleep(0.05)
        raise AssertionError(f"no event {reason} about {name}: {await self.events(name)}\n{self.agent.log()}")

    async def eventually(self, condition: Callable[[], Any]) -> None:
        """Wait until something holds that no event of the API tells of."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while not condition():
            assert time.monotonic() < deadline, f"it never came to hold\n{self.agent.log()}"
            await asyncio.sleep(0.02)

    def traces(self, *pods: Object) -> list[str]:
        """What these pods have left on the node: folders that carry their UIDs, and addresses."""
        uids = [pod["metadata"]["uid"] for pod in pods]
        folders = [self.agent.root / name for name in ("pods", "volumes", "files", "logs")]
        names = [name for folder in folders if folder.exists() for name in os.listdir(folder)]
        names += (self.agent.root / "network" / "addresses.json").read_text().split('"')
        return [name for name in names if any(uid in name for uid in uids)]

    async def get_node(self, name: str) -> Object:
        """A Node as it is now."""
        return await self.client.get(NODES, name)

    def output(self, pod: Object, container: str = "web", attempt: int = 0) -> str:
        """What a container has written."""
        metadata = pod["metadata"]
        folder = self.agent.root / "logs" / f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"
        lines = (folder / container / f"{attempt}.log").read_text().splitlines()
        return "".join(f"{line.split(' ', 3)[3]}\n" for line in lines)

    async def _versions(self, name: str) -> AsyncIterator[Object | None]:
        selector = f"metadata.name={name}"
        while True:
            try:
                listing = await self.client.list(PODS, "default", field_selector=selector)
                yield listing["items"][0] if listing["items"] else None
                version = listing["metadata"]["resourceVersion"]
                async for kind, pod in self.client.watch(
                    PODS, "default", resource_version=version, field_selector=selector
                ):
                    if kind in ("ADDED", "MODIFIED", "DELETED"):
                        yield pod if kind != "DELETED" else None
            except ApiError:
                await asyncio.sleep(0.05)  # the API server may be away in this test


def is_ready(pod: Object) -> bool:
    """True for a pod whose Ready condition holds."""
    conditions = get_path(pod, "status", "conditions", default=[])
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def terminated(pod: Object, index: int = 0) -> dict[str, Any]:
    """The `terminated` state of a container, or an empty one."""
    statuses = get_path(pod, "status", "containerStatuses", default=[])
    found: dict[str, Any] = get_path(statuses[index], "state", "terminated", default={}) if statuses else {}
    return found


def pid_of(node: Node, pod: Object, container: str = "web") -> int:
    """The first process of a container, as the host numbers it."""
    for path in (node.agent.root / "pods" / pod["metadata"]["uid"] / "containers").glob("*/state.json"):
        state = json.loads(path.read_text())
        if state["name"] == container and state["status"] == "running":
            return int(state["pid"])
    raise AssertionError(f"container {container} does not run")


@asynccontextmanager
async def node(folder: Path, *flags: str) -> AsyncIterator[Node]:
    """An API server and one node that is Ready, with the addresses that a controller would give it."""
    with own_network_namespace():
        server = ApiServerProcess(folder / "apiserver")
        server.data_dir.mkdir(parents=True)
        server.start()
        agent = NodeAgentProcess(folder, server, flags)
        try:
            await server.wait_ready()
            agent.issue_credentials()
            agent.start()
            async with await server.client() as client:
                account = {"metadata": {"name": "default"}, "automountServiceAccountToken": False}
                kind = {"apiVersion": "v1", "kind": "ServiceAccount"}
                await client.create(SERVICEACCOUNTS, {**kind, **account}, "default")
                await _give_pod_cidr(client, agent)
                yield Node(client, server, agent)
        finally:
            agent.clean_up()
            server.kill()


async def _give_pod_cidr(client: Client, agent: NodeAgentProcess) -> None:
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    given = False
    while True:
        assert time.monotonic() < deadline, f"the node is not Ready\n{agent.log()}"
        assert agent.process is not None and agent.process.poll() is None, agent.log()
        try:
            found = await client.get(NODES, NODE)
            if not given:
                patch = {"spec": {"podCIDR": POD_CIDR, "podCIDRs": [POD_CIDR], "taints": None}}
                await client.patch(NODES, NODE, patch)
                given = True
            if is_ready(found):
                return
        except ApiError as error:
            if not is_not_found(error):
                raise
        await asyncio.sleep(0.02)
