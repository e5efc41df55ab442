"""What a pod's spec says where its author says nothing. Defaulting twice changes nothing more.

Source: kubernetes/pkg/apis/core/v1/defaults.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from apimachinery.meta import Object
from apimachinery.pod_resources import REQUESTS, containers_total

GRACE_PERIOD_SECONDS = 30
TERMINATION_MESSAGE_PATH = "/dev/termination-log"
VOLUME_FILE_MODE = 0o644
TOKEN_SECONDS = 3600
CONTAINER_LISTS = ("initContainers", "containers", "ephemeralContainers")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_HOOKS = ("postStart", "preStop")
# Fields of a volume's source: what they are if they are not set.
_SOURCES: dict[str, dict[str, Any]] = {
    "secret": {"defaultMode": VOLUME_FILE_MODE},
    "configMap": {"defaultMode": VOLUME_FILE_MODE},
    "downwardAPI": {"defaultMode": VOLUME_FILE_MODE},
    "projected": {"defaultMode": VOLUME_FILE_MODE},
    "hostPath": {"type": ""},
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "azureDisk": {"cachingMode": "ReadWrite", "fsType": "ext4", "readOnly": False, "kind": "Shared"},
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}


def default_pod(pod: Object) -> None:
    """A pod: what holds of every spec, and what holds only once there is a pod."""
    spec = pod.setdefault("spec", {})
    default_pod_spec(spec)
    for key in ("containers", "initContainers"):
        for container in spec.get(key) or ():
            _request_what_is_limited(container["resources"])
            if spec.get("hostNetwork"):
                for port in container.get("ports") or ():
                    if not port.get("hostPort") and port.get("containerPort"):
                        port["hostPort"] = port["containerPort"]
    if (spec.get("resources") or {}).get("limits"):
        _default_pod_requests(spec)
    if spec.get("enableServiceLinks") is None:
        spec["enableServiceLinks"] = True


def default_template(template: dict[str, Any]) -> None:
    """The template of a workload's pods."""
    if template.get("metadata") is None:
        template["metadata"] = {}
    if template.get("spec") is None:
        template["spec"] = {}
    default_pod_spec(template["spec"])


def default_pod_spec(spec: dict[str, Any]) -> None:
    """What holds of every spec of a pod."""
    _set(spec, restartPolicy="Always", dnsPolicy="ClusterFirst", schedulerName="default-scheduler")
    if spec.get("terminationGracePeriodSeconds") is None:
        spec["terminationGracePeriodSeconds"] = GRACE_PERIOD_SECONDS
    if spec.get("securityContext") is None:
        spec["securityContext"] = {}
    # The older of two names of one field, which clients still read.
    if account := spec.get("serviceAccountName") or spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    if spec.get("volumes"):
        for volume in spec["volumes"]:
            _default_volume(volume)
    for key in CONTAINER_LISTS:
        if spec.get(key):
            for container in spec[key]:
                default_container(container)


def default_container(container: dict[str, Any]) -> None:
    """One container of any kind."""
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = pull_policy(container.get("image") or "")
    _set(container, terminationMessagePath=TERMINATION_MESSAGE_PATH, terminationMessagePolicy="File")
    if container.get("resources") is None:
        container["resources"] = {}
    if container.get("ports"):
        for port in container["ports"]:
            _set(port, protocol="TCP")
    if container.get("env"):
        for variable in container["env"]:
            if variable.get("valueFrom"):
                default_field_references(variable["valueFrom"])
    for key in _PROBES:
        if container.get(key) is not None:
            _default_probe(container[key])
    if container.get("lifecycle"):
        for key in _HOOKS:
            _default_http(container["lifecycle"].get(key))


def pull_policy(image: str) -> str:
    """`latest`, said or not, is looked for again at each start; any other tag or a digest stays what it is."""
    name, at, _ = image.partition("@")
    _, colon, tag = name.rpartition("/")[2].partition(":")
    if tag == "latest" or (not colon and not at and name):
        return "Always"
    return "IfNotPresent"


def default_field_references(source: dict[str, Any]) -> None:
    """An entry of `env` or of a downward API volume that names a field of the pod or of its resources."""
    if source.get("fieldRef") is not None:
        _set(source["fieldRef"], apiVersion="v1")
    if source.get("resourceFieldRef") is not None:
        _set(source["resourceFieldRef"], divisor="0")
    if source.get("fileKeyRef") is not None and source["fileKeyRef"].get("optional") is None:
        source["fileKeyRef"]["optional"] = False


def _set(fields: dict[str, Any], **values: str | int) -> None:
    for key, value in values.items():
        if not fields.get(key):
            fields[key] = value


def _default_probe(probe: dict[str, Any]) -> None:
    _set(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    _default_http(probe)
    if probe.get("grpc") is not None and probe["grpc"].get("service") is None:
        probe["grpc"]["service"] = ""


def _default_http(handler: dict[str, Any] | None) -> None:
    if handler and handler.get("httpGet") is not None:
        _set(handler["httpGet"], path="/", scheme="HTTP")


def _default_volume(volume: dict[str, Any]) -> None:
    if not any(value is not None for key, value in volume.items() if key != "name"):
        volume["emptyDir"] = {}
        return
    for kind, source in volume.items():
        if not isinstance(source, dict):
            continue
        for field, value in _SOURCES.get(kind, {}).items():
            if source.get(field) is None or (value and source[field] == ""):
                source[field] = value
        if kind == "projected":
            for projection in source.get("sources") or ():
                _default_projection(projection)
        elif kind == "downwardAPI":
            _default_files(source.get("items") or ())
        elif kind == "image" and not source.get("pullPolicy"):
            source["pullPolicy"] = pull_policy(source.get("reference") or "")
        elif kind == "ephemeral" and source.get("volumeClaimTemplate"):
            default_claim_spec(source["volumeClaimTemplate"].get("spec"))


def _default_projection(projection: dict[str, Any]) -> None:
    if projection.get("downwardAPI"):
        _default_files(projection["downwardAPI"].get("items") or ())
    token = projection.get("serviceAccountToken")
    if token is not None and token.get("expirationSeconds") is None:
        token["expirationSeconds"] = TOKEN_SECONDS


def _default_files(files: Iterable[dict[str, Any]]) -> None:
    for file in files:
        default_field_references(file)


def default_claim_spec(spec: dict[str, Any] | None) -> None:
    """The spec of a claim for a volume."""
    if spec is not None and spec.get("volumeMode") is None:
        spec["volumeMode"] = "Filesystem"


def _request_what_is_limited(resources: dict[str, Any]) -> None:
    if limits := resources.get("limits"):
        resources["requests"] = {**limits, **(resources.get("requests") or {})}


def _default_pod_requests(spec: dict[str, Any]) -> None:
    """Limits of a whole pod: what it requests is what its containers do together, else the limit."""
    resources = spec["resources"]
    together = containers_total(spec, REQUESTS)
    asked = {name: str(value) for name, value in together.items() if name in ("cpu", "memory")}
    resources["requests"] = {**resources["limits"], **asked, **(resources.get("requests") or {})}
