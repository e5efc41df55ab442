"""From the text of a file to the pod that it describes, complete with defaults, name and identity. Pure.

Source: kubernetes/pkg/kubelet/config/common.go, kubernetes/pkg/api/pod/util.go
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import orjson

from apimachinery import meta, names, yaml_limits, yaml_scalars
from apimachinery.meta import Object, get_path
from apimachinery.pod_defaults import default_pod
from apimachinery.resources import PODS
from kubelet.pods import pod_spec
from kubelet.static_pods.identity import FILE, HASH, SOURCE

DEFAULT_NAMESPACE = "default"
# A static pod does not leave its node, whatever becomes of that.
_TOLERATION = {"operator": "Exists", "effect": "NoExecute"}
# Volumes that need nothing of the API; what is missing here is refused.
_PLAIN_VOLUMES = frozenset(
    (
        *("awsElasticBlockStore", "azureDisk", "cephfs", "cinder", "downwardAPI", "emptyDir", "fc", "flexVolume"),
        *("flocker", "gcePersistentDisk", "gitRepo", "hostPath", "image", "iscsi", "nfs", "photonPersistentDisk"),
        *("portworxVolume", "quobyte", "rbd", "scaleIO", "storageos", "vsphereVolume"),
    )
)
_REFERRING_VOLUMES = {
    "configMap": "configmaps",
    "secret": "secrets",
    "csi": "csidrivers (via CSI volumes)",
    "glusterfs": "endpoints (via glusterFS volumes)",
    "persistentVolumeClaim": "persistentvolumeclaims",
    "ephemeral": "persistentvolumeclaims (via ephemeral volumes)",
    "azureFile": "secrets (via azureFile volumes)",
}
_REFERRING_PROJECTIONS = {
    "configMap": "configmaps",
    "secret": "secrets",
    "serviceAccountToken": "serviceaccounts (via projected volumes)",
    "clusterTrustBundle": "clustertrustbundles",
    "podCertificate": "podcertificates",
}


class ManifestError(Exception):
    """A file does not describe a pod that can run here; the message says why."""


def read_pod(text: bytes, *, path: str, node: str) -> Object:
    """The pod of a file in JSON or YAML. Raises ManifestError."""
    pod = _document(text)
    _check(pod)
    pod.pop("status", None)
    metadata = pod["metadata"]
    uid = metadata.get("uid") or _identity(pod, path, node)
    metadata["name"] = f"{metadata['name']}-{node.lower()}"
    metadata["uid"] = uid
    metadata.setdefault("namespace", DEFAULT_NAMESPACE)
    metadata["annotations"] = {**meta.annotations(pod), HASH: uid, SOURCE: FILE}
    pod["spec"]["nodeName"] = node
    if _TOLERATION not in pod["spec"].setdefault("tolerations", []):
        pod["spec"]["tolerations"].append(dict(_TOLERATION))
    default_pod(pod)
    pod["status"] = {"phase": "Pending"}
    for problem in _problems(pod):
        raise ManifestError(f"invalid pod: {problem}")
    return pod


def _document(text: bytes) -> Object:
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        document = _yaml(text)
    if not isinstance(document, dict) or (document.get("apiVersion"), document.get("kind")) != ("v1", "Pod"):
        raise ManifestError("it is no Pod of apiVersion v1")
    if not isinstance(document.get("metadata"), dict) or not isinstance(document.get("spec"), dict):
        raise ManifestError("a Pod has metadata and a spec")
    found: Object = document
    return found


def _yaml(text: bytes) -> Any:
    import yaml  # only here: most nodes have no such file

    class Loader(yaml.SafeLoader):
        """YAML as Kubernetes reads it."""

    yaml_limits.limit(Loader)
    yaml_scalars.install(Loader)
    try:
        return orjson.loads(orjson.dumps(yaml.load(text, Loader)))
    except (yaml.YAMLError, orjson.JSONEncodeError, UnicodeDecodeError) as error:
        raise ManifestError(f"it is neither JSON nor YAML: {' '.join(str(error).split())}") from error


def _check(pod: Object) -> None:
    """Whether the fields are those of a Pod, so that all who read it later find what they expect."""
    from apimachinery import schemas  # only here: some megabytes

    wrong = schemas.validate(PODS, pod)
    if wrong:
        raise ManifestError("; ".join(f"{error.path}: {error.detail}" for error in wrong))
    if unknown := schemas.unknown_fields(PODS, pod):
        raise ManifestError(f"unknown field {', '.join(map(repr, unknown))}")
    reference = next(_references(pod["spec"]), "")
    if reference:
        raise ManifestError(f"static pods may not reference {reference}")
    if pod["spec"].get("ephemeralContainers"):
        raise ManifestError("static pods may not have ephemeral containers")


def _identity(pod: Object, path: str, node: str) -> str:
    """The same for as long as the file says the same; another on every node."""
    content = orjson.dumps(pod, option=orjson.OPT_SORT_KEYS)
    source = f"host:{node}\nfile:{path}\n".encode()
    return hashlib.md5(source + content, usedforsecurity=False).hexdigest()


def _problems(pod: Object) -> Iterator[str]:
    """What would keep the pod from being run or shown; the API server looks more closely at the mirror."""
    metadata, spec = pod["metadata"], pod["spec"]
    yield from (f"metadata.name: {why}" for why in names.dns1123_subdomain(metadata["name"]))
    yield from (f"metadata.namespace: {why}" for why in names.dns1123_label(metadata["namespace"]))
    if not pod_spec.containers(pod):
        yield "spec.containers: Required value"
    seen: set[str] = set()
    for container in pod_spec.all_containers(pod):
        name = container.get("name") or ""
        yield from (f"container name {name!r}: {why}" for why in names.dns1123_label(name))
        if name in seen:
            yield f"container name {name!r}: Duplicate value"
        seen.add(name)
        if not container.get("image"):
            yield f"container {name!r}: image: Required value"
    known = {volume.get("name") for volume in spec.get("volumes") or ()}
    for container in pod_spec.all_containers(pod):
        for mounted in container.get("volumeMounts") or ():
            if mounted.get("name") not in known:
                yield f"container {container['name']!r}: volumeMounts name {mounted.get('name')!r}: Not found"


def _references(spec: dict[str, Any]) -> Iterator[str]:
    """What a spec names that only the API has, in Kubernetes' words."""
    if spec.get("serviceAccountName") or spec.get("serviceAccount"):
        yield "serviceaccounts"
    if spec.get("imagePullSecrets"):
        yield "secrets"
    for kind in ("initContainers", "containers"):
        for container in spec.get(kind) or ():
            sources = [*(container.get("envFrom") or ())]
            sources += [variable.get("valueFrom") or {} for variable in container.get("env") or ()]
            for source in sources:
                if source.get("secretRef") or source.get("secretKeyRef"):
                    yield "secrets"
                if source.get("configMapRef") or source.get("configMapKeyRef"):
                    yield "configmaps"
    if spec.get("resourceClaims"):
        yield "resourceclaims"
    for volume in spec.get("volumes") or ():
        for kind in volume:
            if kind in _REFERRING_VOLUMES:
                yield _REFERRING_VOLUMES[kind]
            elif kind not in ("name", "projected", *_PLAIN_VOLUMES):
                yield f"an unknown volume type {kind!r}"
        for source in get_path(volume, "projected", "sources", default=[]):
            yield from (words for kind, words in _REFERRING_PROJECTIONS.items() if source.get(kind) is not None)
