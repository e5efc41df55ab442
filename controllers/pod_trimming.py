"""What controllers keep of pods, of which there are many: what they read, and of what pods have in common one copy.

Pods of one owner have the same labels, owners and tolerations, and those that start in the same second the same
conditions. Such parts are equal, and nobody changes what comes from a cache: they are kept once for all.
"""

from __future__ import annotations

from apiclient.sharing import Sharing
from apimachinery.meta import Object, controller_of
from apimachinery.resources import DAEMONSETS

_SPEC = ("nodeName", "hostname", "subdomain")
_CLAIM_VOLUMES = {"persistentVolumeClaim", "ephemeral"}
_STATUS = ("phase", "reason", "podIP", "podIPs")
_CONTAINER_STATUS = ("name", "restartCount", "state", "resources", "allocatedResources")


class PodTrimmer:
    """Trims pods, and remembers what they share."""

    def __init__(self) -> None:
        self._sharing = Sharing()

    def trim(self, pod: Object) -> Object:
        """Of a whole pod what controllers read."""
        metadata = dict(pod["metadata"])
        for part in ("labels", "annotations", "ownerReferences"):
            if part in metadata:
                metadata[part] = self._sharing.one(metadata[part])
        return {**pod, "metadata": metadata, "spec": self._spec(pod), "status": self._status(pod)}

    def _spec(self, pod: Object) -> Object:
        whole = pod.get("spec") or {}
        spec = {key: whole[key] for key in _SPEC if key in whole}
        if "tolerations" in whole:
            spec["tolerations"] = self._sharing.one(whole["tolerations"])
        claims = [one for one in whole.get("volumes") or () if one.keys() & _CLAIM_VOLUMES]
        if claims:
            spec["volumes"] = claims
        for part in ("containers", "initContainers"):
            if listening := [named for one in whole.get(part) or () if (named := _named_ports(one))]:
                spec[part] = self._sharing.one(listening)
        if not spec.get("nodeName") and (controller_of(pod) or {}).get("kind") == DAEMONSETS.kind:
            # Which node it waits for stands nowhere else.
            affinity = whole.get("affinity") or {}
            spec["affinity"] = {key: affinity[key] for key in ("nodeAffinity",) if key in affinity}
        return spec

    def _status(self, pod: Object) -> Object:
        whole = pod.get("status") or {}
        status = {key: whole[key] for key in _STATUS if key in whole}
        if "conditions" in whole:
            status["conditions"] = [self._sharing.one(condition) for condition in whole["conditions"] or ()]
        for part in ("containerStatuses", "initContainerStatuses"):
            if part in whole:
                status[part] = [self._sharing.one(_container_status(one)) for one in whole[part] or ()]
        return status


def _container_status(status: Object) -> Object:
    return {key: status[key] for key in _CONTAINER_STATUS if key in status}


def _named_ports(container: Object) -> Object | None:
    """Of a container the ports that Services may name; of a sidecar in any case that it is one."""
    ports = [port for port in container.get("ports") or () if port.get("name")]
    kept: Object = {key: container[key] for key in ("name", "restartPolicy") if key in container}
    return {**kept, "ports": ports} if ports or "restartPolicy" in kept else None
