"""What is the node's, and not for pods: its namespaces, folders, ports and network, and Windows' host processes."""

from __future__ import annotations

from collections.abc import Iterator

from apiserver.admission.pod_security.checks.check import (
    Check,
    Fields,
    Violation,
    containers,
    names_of,
    plural,
    quoted,
    setters,
)
from apiserver.admission.pod_security.levels import BASELINE

HOST_PATHS = "hostPathVolumes"


def _namespaces(metadata: Fields, spec: Fields) -> Violation | None:
    shared = [f"{field}=true" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)]
    return Violation("host namespaces", ", ".join(shared)) if shared else None


def _paths(metadata: Fields, spec: Fields) -> Violation | None:
    found = [volume for volume in spec.get("volumes") or () if volume.get("hostPath") is not None]
    return Violation("hostPath volumes", names_of(found, "volume")) if found else None


def _ports(metadata: Fields, spec: Fields) -> Violation | None:
    bad, ports = [], set()
    for container in containers(spec):
        taken = {str(port["hostPort"]) for port in container.get("ports") or () if port.get("hostPort")}
        if taken:
            bad.append(container)
            ports |= taken
    if not bad:
        return None
    told = f"{names_of(bad)} {_use(bad)} {plural('hostPort', ports)} {', '.join(sorted(ports))}"
    return Violation("hostPort", told)


def _probes(metadata: Fields, spec: Fields) -> Violation | None:
    """The node itself makes these calls: with a host, a pod could have it call whom it likes."""
    bad: dict[str, Fields] = {}
    hosts: set[str] = set()
    for container in containers(spec):
        if called := set(_called(container)):
            bad[container.get("name") or ""] = container
            hosts |= called
    if not bad:
        return None
    told = f"{names_of([bad[name] for name in sorted(bad)])} {_use(bad)} {plural('probe or lifecycle host', hosts)}"
    return Violation("probe or lifecycle host", f"{told} {quoted(sorted(hosts))}")


def _called(container: Fields) -> Iterator[str]:
    """The hosts that the node is to call for a container."""
    lifecycle = container.get("lifecycle") or {}
    probes = (container.get(key) for key in ("livenessProbe", "readinessProbe", "startupProbe"))
    for handler in (*probes, lifecycle.get("postStart"), lifecycle.get("preStop")):
        for action in ("httpGet", "tcpSocket"):
            if host := ((handler or {}).get(action) or {}).get("host"):
                yield host


def _processes(metadata: Fields, spec: Fields) -> Violation | None:
    told = setters(spec, lambda context: bool((context.get("windowsOptions") or {}).get("hostProcess")))
    if not told:
        return None
    return Violation("hostProcess", f"{told} must not set securityContext.windowsOptions.hostProcess=true")


def _use(who: list[Fields] | dict[str, Fields]) -> str:
    return "uses" if len(who) == 1 else "use"


CHECKS = (
    Check("hostNamespaces", BASELINE, ((0, _namespaces),)),
    Check(HOST_PATHS, BASELINE, ((0, _paths),)),
    Check("hostPorts", BASELINE, ((0, _ports),)),
    Check("hostProbesAndHostLifecycle", BASELINE, ((34, _probes),)),
    Check("windowsHostProcess", BASELINE, ((0, _processes),)),
)
