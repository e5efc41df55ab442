"""What becomes of a file that describes a static pod."""

from __future__ import annotations

import json
from typing import Any

import pytest

from apimachinery.meta import Object
from kubelet.static_pods.identity import is_mirror, is_static, mirrors
from kubelet.static_pods.manifest import ManifestError, read_pod
from kubelet.static_pods.static_pods import Step, mirror_of, next_step

NODE: Object = {"metadata": {"name": "Node-1", "uid": "n1"}}


def manifest(**spec: Any) -> Object:
    body = {"containers": [{"name": "web", "image": "web:1"}], **spec}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": body}


def pod_of(document: Object, path: str = "/m/web.json", node: str = "Node-1") -> Object:
    return read_pod(json.dumps(document).encode(), path=path, node=node)


def test_a_file_makes_a_pod_of_this_node_with_all_defaults() -> None:
    pod = pod_of(manifest())
    assert (pod["metadata"]["name"], pod["metadata"]["namespace"]) == ("web-node-1", "default")
    assert pod["spec"]["nodeName"] == "Node-1"
    assert pod["spec"]["tolerations"] == [{"operator": "Exists", "effect": "NoExecute"}]
    assert pod["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    assert pod["status"] == {"phase": "Pending"}
    assert is_static(pod) and not is_mirror(pod)


def test_the_same_content_is_the_same_pod_and_any_other_is_another() -> None:
    uid = pod_of(manifest())["metadata"]["uid"]
    assert pod_of(manifest())["metadata"]["uid"] == uid
    assert pod_of(manifest())["metadata"]["annotations"]["kubernetes.io/config.hash"] == uid
    others = [
        pod_of(manifest(hostNetwork=True)),
        pod_of(manifest(), path="/m/other.json"),
        pod_of(manifest(), node="node-2"),
    ]
    assert len({uid, *(pod["metadata"]["uid"] for pod in others)}) == 4


def test_yaml_means_what_the_same_json_means() -> None:
    text = b"apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec:\n  containers: [{name: web, image: 'web:1'}]\n"
    assert read_pod(text, path="/m/web.json", node="Node-1") == pod_of(manifest())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"{", "it is neither JSON nor YAML"),
        (b"[]", "it is no Pod of apiVersion v1"),
        (b'{"apiVersion": "v1", "kind": "Service"}', "it is no Pod of apiVersion v1"),
        (b'{"apiVersion": "v1", "kind": "Pod"}', "a Pod has metadata and a spec"),
    ],
)
def test_what_is_no_pod_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(ManifestError, match=why):
        read_pod(text, path="/m/x", node="n")


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        (
            {"containers": [{"name": "web", "image": "i", "ports": [{"containerPort": "x"}]}]},
            "must be of type integer",
        ),
        ({"contaners": []}, "unknown field 'spec.contaners'"),
        ({"containers": []}, "spec.containers: Required value"),
        ({"containers": [{"name": "web"}]}, "image: Required value"),
        ({"containers": [{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]}, "Duplicate value"),
        ({"serviceAccountName": "x"}, "static pods may not reference serviceaccounts"),
        ({"imagePullSecrets": [{"name": "x"}]}, "static pods may not reference secrets"),
        ({"volumes": [{"name": "v", "secret": {"secretName": "x"}}]}, "static pods may not reference secrets"),
        ({"volumes": [{"name": "v", "configMap": {"name": "x"}}]}, "static pods may not reference configmaps"),
        (
            {"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]},
            r"static pods may not reference serviceaccounts \(via projected volumes\)",
        ),
        (
            {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "x"}}]},
            "static pods may not reference persistentvolumeclaims",
        ),
    ],
)
def test_a_pod_that_can_not_run_by_itself_is_refused(spec: Object, why: str) -> None:
    with pytest.raises(ManifestError, match=why):
        pod_of(manifest(**spec))


def test_a_mirror_shows_its_pod_and_goes_with_its_node() -> None:
    pod = pod_of(manifest())
    mirror = mirror_of(pod, NODE)
    assert is_mirror(mirror) and not is_static(mirror) and mirrors(mirror, pod)
    assert "uid" not in mirror["metadata"] and mirror["spec"] == pod["spec"]
    owner = {"apiVersion": "v1", "kind": "Node", "name": "Node-1", "uid": "n1", "controller": True}
    assert mirror["metadata"]["ownerReferences"] == [owner]


def test_a_mirror_is_made_once_and_again_whenever_it_does_not_show_its_pod() -> None:
    pod, changed = pod_of(manifest()), pod_of(manifest(hostNetwork=True))
    mirror = mirror_of(pod, NODE)
    going = {**mirror, "metadata": {**mirror["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    others = {"metadata": {"name": "web-node-1"}}
    assert next_step(pod, None) is Step.CREATE
    assert next_step(pod, mirror) is Step.NOTHING
    assert next_step(pod, going) is Step.DELETE
    assert next_step(changed, mirror) is Step.DELETE
    assert next_step(None, mirror) is Step.DELETE
    assert next_step(None, None) is Step.NOTHING
    assert next_step(pod, others) is Step.NOTHING
