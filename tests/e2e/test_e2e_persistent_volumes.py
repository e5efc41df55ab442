"""Claims on a whole cluster: data outlives pods, pods come back to their data, and nothing stays behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kctl.cluster import processes
from tests.support.clients import kubectl_current
from tests.support.whole_cluster import WholeCluster, whole_cluster

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces, cgroups and mounts"),
    pytest.mark.timeout(400),
]
MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
CLAIM = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}}}
spec:
  accessModes: [ReadWriteOnce]
  storageClassName: {storage_class}
  resources: {{requests: {{storage: 1Mi}}}}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  {more}
  containers:
  - name: c
    image: localhost/host
    command: [sh, -c, "trap exit TERM; sleep 100000 & wait"]
    volumeMounts: [{{name: data, mountPath: /data}}]
  volumes:
  - name: data
    {source}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[WholeCluster]:
    with whole_cluster(2) as running:
        yield running


def run(cluster: WholeCluster, name: str, *, claim: str = "", source: str = "", more: str = "") -> str:
    """A pod that uses a claim; returns its node."""
    source = source or f"persistentVolumeClaim: {{claimName: {claim}}}"
    cluster.apply(POD.format(name=name, source=source, more=more))
    cluster.wait(f"pod/{name}", "condition=Ready")
    return str(cluster.get(f"pod/{name}")["spec"]["nodeName"])


def end(cluster: WholeCluster, *names: str) -> None:
    cluster.kctl("delete", *(f"pod/{name}" for name in names), "--grace-period", "0")


def volume_of(cluster: WholeCluster, claim: str) -> dict[str, Any]:
    found: dict[str, Any] = cluster.get(f"pv/{cluster.get(f'pvc/{claim}')['spec']['volumeName']}")
    return found


def folders(cluster: WholeCluster) -> set[str]:
    """The volumes whose data is on some node."""
    return {path.name for path in cluster.data_dir.glob("nodes/*/local-volumes/*")}


def until_gone(cluster: WholeCluster, volume: str) -> None:
    cluster.eventually(lambda: volume not in {one["metadata"]["name"] for one in cluster.get("pv")})
    cluster.eventually(lambda: volume not in folders(cluster))


def test_the_example_runs_its_data_outlives_the_pod_and_goes_with_the_claim(cluster: WholeCluster) -> None:
    manifest = str(MANIFESTS / "persistent-volume-claim.yaml")
    cluster.kctl("apply", "-f", manifest)
    cluster.wait("pod/counter", "condition=Ready")
    node = cluster.get("pod/counter")["spec"]["nodeName"]
    for starts in ("2", "3"):
        end(cluster, "counter")
        cluster.kctl("apply", "-f", manifest)
        cluster.wait("pod/counter", "condition=Ready")
        assert cluster.kctl("logs", "counter").strip() == starts
        assert cluster.get("pod/counter")["spec"]["nodeName"] == node, "it comes back to its data"
    volume = volume_of(cluster, "data")["metadata"]["name"]
    assert volume in folders(cluster)
    cluster.kctl("delete", "pvc/data", "--no-wait")
    assert cluster.get("pvc/data")["metadata"]["deletionTimestamp"], "a claim in use stays"
    end(cluster, "counter")
    until_gone(cluster, volume)
    assert not cluster.get("pvc")


def test_a_stateful_sets_pods_come_back_to_their_data_which_goes_as_its_policy_says(cluster: WholeCluster) -> None:
    manifest = str(MANIFESTS / "statefulset.yaml")
    cluster.kctl("apply", "-f", manifest)
    cluster.kctl("rollout", "status", "statefulset/counter", "--timeout", "60")
    volumes = {number: volume_of(cluster, f"data-counter-{number}")["metadata"]["name"] for number in (0, 1)}
    cluster.kctl("delete", "pod/counter-1")
    cluster.kctl("rollout", "status", "statefulset/counter", "--timeout", "60")
    cluster.eventually(lambda: cluster.try_kctl("logs", "counter-1").stdout.strip() == "counter-1 start 2")
    cluster.kctl("scale", "statefulset/counter", "--replicas", "1")
    until_gone(cluster, volumes[1])
    assert volumes[0] in folders(cluster)
    cluster.kctl("delete", "-f", manifest)
    until_gone(cluster, volumes[0])
    assert not cluster.get("pvc")


def test_kubectl_shows_claims_and_volumes_as_of_any_cluster(cluster: WholeCluster) -> None:
    def kubectl(*arguments: str) -> str:
        done = cluster.run(kubectl_current(), *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "local-path (default)   local-path.wherry.io   Delete          WaitForFirstConsumer   false" in kubectl(
        "get", "storageclass"
    )
    cluster.apply(CLAIM.format(name="shown", storage_class="local-path"))
    cluster.eventually(
        lambda: "waiting for first consumer to be created before binding" in kubectl("describe", "pvc")
    )
    run(cluster, "shown", claim="shown")
    claim, volume = kubectl("get", "pvc", "--no-headers").split(), kubectl("get", "pv", "--no-headers").split()
    assert (claim[:2], claim[3:6]) == (["shown", "Bound"], ["1Mi", "RWO", "local-path"])
    assert volume[:7] == [claim[2], "1Mi", "RWO", "Delete", "Bound", "default/shown", "local-path"]
    described = kubectl("describe", "pvc", "shown")
    assert "Used By:       shown" in described and "ProvisioningSucceeded" in described
    described = kubectl("describe", "pv", claim[2])
    assert "Node Affinity:" in described and "local-path.wherry.io" in described
    end(cluster, "shown")
    cluster.kctl("delete", "pvc/shown")
    until_gone(cluster, claim[2])


def test_a_pod_for_one_node_gets_its_volume_there_and_one_elsewhere_has_to_wait(cluster: WholeCluster) -> None:
    cluster.apply(CLAIM.format(name="here", storage_class="local-path"))
    assert run(cluster, "here", claim="here", more="nodeSelector: {kubernetes.io/hostname: node-2}") == "node-2"
    source, elsewhere = "persistentVolumeClaim: {claimName: here}", "nodeSelector: {kubernetes.io/hostname: node-1}"
    cluster.apply(POD.format(name="elsewhere", source=source, more=elsewhere))
    cluster.wait("pod/elsewhere", "condition=PodScheduled=False")
    message = cluster.get("pod/elsewhere")["status"]["conditions"][0]["message"]
    assert "1 node(s) had volume node affinity conflict" in message
    volume = volume_of(cluster, "here")["metadata"]["name"]
    end(cluster, "here", "elsewhere")
    cluster.kctl("delete", "pvc/here")
    until_gone(cluster, volume)


def test_what_is_to_be_kept_is_kept(cluster: WholeCluster) -> None:
    kept = (
        "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: kept}\n"
        "provisioner: local-path.wherry.io\nreclaimPolicy: Retain\nvolumeBindingMode: WaitForFirstConsumer\n"
    )
    cluster.apply(kept)
    cluster.apply(CLAIM.format(name="kept", storage_class="kept"))
    run(cluster, "kept", claim="kept")
    cluster.kctl("exec", "kept", "--", "sh", "-c", "echo precious > /data/file")
    volume = volume_of(cluster, "kept")["metadata"]["name"]
    end(cluster, "kept")
    cluster.kctl("delete", "pvc/kept")
    cluster.eventually(lambda: cluster.get(f"pv/{volume}")["status"]["phase"] == "Released")
    (data,) = cluster.data_dir.glob(f"nodes/*/local-volumes/{volume}/data/file")
    assert data.read_text() == "precious\n"
    cluster.kctl("delete", f"pv/{volume}")
    assert data.read_text() == "precious\n", "only its owner throws it away"


def test_a_volume_that_somebody_has_made_is_found_and_its_pod_goes_there(cluster: WholeCluster) -> None:
    given = cluster.data_dir / "given"
    given.mkdir()
    cluster.apply(f"""
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {{name: by-hand}}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: v1
kind: PersistentVolume
metadata: {{name: by-hand}}
spec:
  accessModes: [ReadWriteOnce]
  capacity: {{storage: 1Gi}}
  storageClassName: by-hand
  local: {{path: {given}}}
  nodeAffinity:
    required:
      nodeSelectorTerms: [{{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [node-2]}}]}}]
""")
    cluster.apply(CLAIM.format(name="by-hand", storage_class="by-hand"))
    assert run(cluster, "by-hand", claim="by-hand") == "node-2"
    cluster.kctl("exec", "by-hand", "--", "touch", "/data/file")
    assert (given / "file").exists()
    assert cluster.get("pvc/by-hand")["status"]["capacity"] == {"storage": "1Gi"}
    end(cluster, "by-hand")
    cluster.kctl("delete", "pvc/by-hand")
    cluster.eventually(lambda: cluster.get("pv/by-hand")["status"]["phase"] == "Released")
    assert (given / "file").exists()


def test_a_pod_with_a_claim_of_its_own_takes_it_along(cluster: WholeCluster) -> None:
    spec = "{accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Mi}}}"
    run(cluster, "own", source=f"ephemeral: {{volumeClaimTemplate: {{spec: {spec}}}}}")
    volume = volume_of(cluster, "own-data")["metadata"]["name"]
    assert volume in folders(cluster)
    end(cluster, "own")
    until_gone(cluster, volume)
    cluster.eventually(lambda: not cluster.get("pvc"))


def test_a_node_agent_that_is_killed_on_the_way_leaves_nothing_and_loses_nothing(cluster: WholeCluster) -> None:
    cluster.apply(CLAIM.format(name="hard", storage_class="local-path"))
    node = run(cluster, "hard", claim="hard")
    cluster.kctl("exec", "hard", "--", "sh", "-c", "echo kept > /data/file")
    volume = volume_of(cluster, "hard")["metadata"]["name"]
    agent = processes.find(cluster.data_dir, f"kubelet-{node}")
    assert agent is not None
    os.kill(agent.pid, signal.SIGKILL)
    end(cluster, "hard")
    assert run(cluster, "again", claim="hard") == node
    assert cluster.kctl("exec", "again", "--", "cat", "/data/file") == "kept\n"
    cluster.kctl("delete", "pvc/hard", "--no-wait")
    cluster.kctl("delete", "pod/again", "--no-wait")
    agent = processes.find(cluster.data_dir, f"kubelet-{node}")
    assert agent is not None
    os.kill(agent.pid, signal.SIGKILL)
    until_gone(cluster, volume)
