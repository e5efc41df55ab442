"""What all pods' workers share: the parts of the node agent, put together by agent.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from apiclient.clock import Clock
from apimachinery.meta import Object
from kubelet.containers.container_starter import ContainerStarter
from kubelet.containers.container_stopper import ContainerStopper
from kubelet.containers.image_puller import ImagePuller
from kubelet.images import ImageStore
from kubelet.network import PodNetwork
from kubelet.objects import ObjectCache
from kubelet.pods.pod_dns import ClusterDNS
from kubelet.pods.pod_events import PodEvents
from kubelet.pods.pod_resize import Resizes
from kubelet.pods.pod_status import Verdict
from kubelet.pods.runtime_classes import RuntimeClasses
from kubelet.pods.status_writer import StatusWriter
from kubelet.runtime import Runtime
from kubelet.volumes import VolumeManager


@dataclass(frozen=True, slots=True)
class PodServices:
    """The parts, and what they need to know of the node.

    `node` gives this node's Node object once there is one, `network_is_ready` whether pods can be given addresses,
    `other_pods` the pods that hold this node's resources, all but the one of a UID. `local_node` is the Node as it
    knows itself, for pods that run without the API; `refusal` is what it has against a new pod just now.
    `end_pod` ends the pod of a UID, `room_appeared` is called when one has given back what it held.
    """

    root: Path
    clock: Clock
    runtime: Runtime
    images: ImageStore
    network: PodNetwork
    volumes: VolumeManager
    objects: ObjectCache
    puller: ImagePuller
    starter: ContainerStarter
    stopper: ContainerStopper
    writer: StatusWriter
    events: PodEvents
    node: Callable[[], Object | None]
    runtime_classes: RuntimeClasses
    network_is_ready: Callable[[], bool]
    other_pods: Callable[[str], Sequence[Object]]
    resizes: Resizes
    end_pod: Callable[[str, Verdict], None]
    room_appeared: Callable[[], None]
    host_ip: str
    dns: ClusterDNS
    pids_max: int
    allowed_unsafe_sysctls: tuple[str, ...] = ()
    local_node: Callable[[], Object | None] = lambda: None
    refusal: Callable[[Object], Verdict | None] = lambda _pod: None
