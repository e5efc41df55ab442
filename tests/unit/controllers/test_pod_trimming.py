"""What controllers keep of pods: what they read, and one copy of what pods have in common."""

from __future__ import annotations

from typing import Any

import orjson

from apimachinery.meta import Object
from controllers.pod_trimming import PodTrimmer
from tests.support.workloads import owned_by, pod, replica_set

OWNER = replica_set()
TOLERATIONS = [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}]


def sent(which: str, **spec: Any) -> Object:
    """A pod as it arrives: no part of it is part of another."""
    made = owned_by(pod(which, node="n1", phase="Running", ready_since=0.0), OWNER)
    made["spec"] |= {"tolerations": TOLERATIONS, **spec}
    status = {"name": "c", "image": "nginx:1", "containerID": f"id-{which}", "restartCount": 2, "lastState": {}}
    made["status"]["containerStatuses"] = [{**status, "state": {"terminated": {"exitCode": 3}}}]
    made["status"]["hostIP"] = "10.0.0.1"
    received: Object = orjson.loads(orjson.dumps(made))
    return received


def test_what_nobody_reads_is_left_out_and_what_is_read_stays() -> None:
    volumes = [{"name": "a", "emptyDir": {}}, {"name": "b", "persistentVolumeClaim": {"claimName": "data"}}]
    ports = [{"containerPort": 80, "name": "http"}, {"containerPort": 81}]
    containers = [{"name": "c", "image": "nginx:1", "ports": ports}, {"name": "d", "image": "x"}]
    whole = sent("web", volumes=volumes, containers=containers)
    kept = PodTrimmer().trim(whole)
    assert kept["metadata"] == whole["metadata"]
    assert kept["spec"] == {
        "nodeName": "n1",
        "tolerations": TOLERATIONS,
        "volumes": volumes[1:],
        "containers": [{"name": "c", "ports": ports[:1]}],
    }
    told = {"name": "c", "restartCount": 2, "state": {"terminated": {"exitCode": 3}}}
    assert kept["status"] == {
        "phase": "Running",
        "conditions": whole["status"]["conditions"],
        "containerStatuses": [told],
    }


def test_pods_that_are_alike_share_what_is_equal() -> None:
    trimmer = PodTrimmer()
    one, other = (trimmer.trim(sent(which)) for which in ("one", "other"))
    for part in ("labels", "ownerReferences"):
        assert one["metadata"][part] is other["metadata"][part]
    assert one["spec"]["tolerations"] is other["spec"]["tolerations"]
    for part in ("conditions", "containerStatuses"):
        assert one["status"][part][0] is other["status"][part][0]
    assert one["metadata"]["name"] != other["metadata"]["name"]


def test_a_daemon_that_waits_for_its_node_keeps_what_says_which_and_others_do_not() -> None:
    affinity = {"nodeAffinity": {"required": "of a node"}, "podAffinity": {"required": "of pods"}}
    daemon_set = {**OWNER, "kind": "DaemonSet"}
    waiting = {**pod("waiting"), "spec": {"affinity": affinity}}
    trimmer = PodTrimmer()
    assert trimmer.trim(owned_by(waiting, daemon_set))["spec"] == {
        "affinity": {"nodeAffinity": affinity["nodeAffinity"]}
    }
    assert trimmer.trim(owned_by(waiting, OWNER))["spec"] == {}
