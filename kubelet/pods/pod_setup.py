"""What a pod's containers need before the first of them can start: volumes, sandbox, network, files.

Volumes and sandbox are made at the same time. Everything may be repeated: what is there already is kept, which is
how a new node agent takes over the pods of a former one.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

from apiclient.logs import kv
from apimachinery.meta import Object, namespaced_key
from kubelet import paths
from kubelet.containers.container_config import ConfigFailure, sandbox_spec
from kubelet.containers.container_starter import PodPlace
from kubelet.network import NetworkFailure
from kubelet.network.ipam import AddressesExhausted
from kubelet.pods import pod_files, pod_spec
from kubelet.pods.pod_services import PodServices
from kubelet.pods.runtime_classes import NoRuntime
from kubelet.runtime import RuntimeFailure, SandboxState
from kubelet.volumes import VolumeFailure

logger = logging.getLogger(__name__)

NETWORK_NOT_READY = "network is not ready: container runtime network not ready: the node has no pod network yet"


class SetupFailure(Exception):
    """A step failed: the reason and message of the event that tells of it."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class PodSetup:
    """The place of one pod; `place` is None until it is ready."""

    def __init__(self, services: PodServices) -> None:
        self._services = services
        self._waits_for_network = False
        self.place: PodPlace | None = None

    def can_begin(self, pod: Object) -> bool:
        """Whether the node's network is ready for this pod; told once in an event if not."""
        if pod_spec.host_network(pod) or self._services.network_is_ready():
            return True
        if not self._waits_for_network:
            self._waits_for_network = True
            self._services.events.warning(pod, "NetworkNotReady", NETWORK_NOT_READY)
        return False

    def known_ip(self, pod_uid: str) -> str:
        """The pod's address if it holds one already."""
        return self._services.network.known().get(pod_uid, "")

    def dead_sandbox(self, pod_uid: str) -> SandboxState | None:
        """The pod's sandbox if its supervisor has died, whose containers will have to be started anew."""
        sandbox = self._services.runtime.sandbox(pod_uid)
        return sandbox if sandbox is not None and not sandbox.alive else None

    async def run(self, pod: Object) -> None:
        """Make the place. Raises SetupFailure."""
        # The sandbox first: while another process makes it, this one has time for the volumes.
        sandbox, volumes = await asyncio.gather(self._sandbox(pod), self._volumes(pod), return_exceptions=True)
        if isinstance(volumes, BaseException):
            raise volumes
        if isinstance(sandbox, BaseException):
            raise sandbox
        try:
            files = pod_files.write(self._services.root, pod, pod_ip=sandbox, dns=self._services.dns)
        except OSError as error:
            raise SetupFailure("FailedMount", f"the pod's files can't be written: {error}") from error
        for problem in files.problems:
            self._services.events.warning(pod, "DNSConfigForming", problem)
        self.place = PodPlace(pod_ip=sandbox, volumes=volumes, files=files)

    async def tear_down(self, pod_uid: str) -> None:
        """Give everything back; harmless when there is nothing. Raises RuntimeFailure, VolumeFailure, OSError."""
        await self._services.runtime.remove_sandbox(pod_uid)
        await self._services.network.detach(pod_uid)
        await self._services.volumes.tear_down(pod_uid)
        self.place = None

    async def remove_files(self, pod: Object) -> None:
        """Remove what is only kept for as long as the API knows the pod: its logs, and the files made for it."""
        folders = [
            paths.pod_files_dir(self._services.root, pod["metadata"]["uid"]),
            paths.pod_logs_dir(self._services.root, pod),
        ]
        await asyncio.to_thread(_remove_folders, folders)

    async def _volumes(self, pod: Object) -> Mapping[str, Path]:
        try:
            return await self._services.volumes.set_up(pod)
        except VolumeFailure as failure:
            raise SetupFailure(failure.reason, failure.message) from failure

    async def _sandbox(self, pod: Object) -> str:
        """The pod's address, in a sandbox that lives."""
        uid = pod["metadata"]["uid"]
        runtime = self._services.runtime
        try:
            sandbox = runtime.sandbox(uid)
            if sandbox is not None and not sandbox.alive:
                message = "Pod sandbox changed, it will be killed and re-created."
                self._services.events.normal(pod, "SandboxChanged", message)
                await runtime.remove_sandbox(uid)
                sandbox = None
            if sandbox is None:
                spec = sandbox_spec(pod, pids_max=self._services.pids_max, cluster_domain=self._services.dns.domain)
                if pod["spec"].get("runtimeClassName"):
                    spec.runtime_handler = await self._services.runtime_classes.handler(pod)
                sandbox = await runtime.create_sandbox(spec)
            if pod_spec.host_network(pod):
                return self._services.host_ip
            return (await self._services.network.attach(uid, sandbox.netns_path)).ip
        except (RuntimeFailure, ConfigFailure) as failure:
            raise _no_sandbox(pod, failure.message) from failure
        except NoRuntime as error:
            raise _no_sandbox(pod, str(error)) from error
        except (NetworkFailure, AddressesExhausted, OSError) as error:
            raise _no_sandbox(pod, f"failed to set up network for sandbox: {error}") from error


def _no_sandbox(pod: Object, message: str) -> SetupFailure:
    logger.warning(kv("pod sandbox not created", pod=namespaced_key(pod), error=message))
    return SetupFailure("FailedCreatePodSandBox", f"Failed to create pod sandbox: {message}")


def _remove_folders(folders: list[Path]) -> None:
    for folder in folders:
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            pass
