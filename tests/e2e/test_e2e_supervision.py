"""A cluster that `kctl up` has started looks after itself, and `kctl down` leaves nothing of it behind."""

from __future__ import annotations

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from kctl.cluster import layout, processes
from tests.support.whole_cluster import WholeCluster, whole_cluster

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]

RESTART_SECONDS_MAX = 60.0
POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  terminationGracePeriodSeconds: 0
  containers: [{{name: main, image: localhost/host, command: [sleep, infinity]}}]
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[WholeCluster]:
    with whole_cluster(2) as found:
        yield found


def kill(cluster: WholeCluster, part: str) -> processes.Part:
    found = processes.find(cluster.data_dir, part)
    assert found is not None
    os.kill(found.pid, signal.SIGKILL)
    return found


@pytest.mark.parametrize("part", ["apiserver", "scheduler", "controllers", "kubelet-node-1"])
def test_a_part_that_is_killed_comes_back_and_pods_run_as_before(cluster: WholeCluster, part: str) -> None:
    before = kill(cluster, part)
    name = f"after-{part}"
    while cluster.try_kctl("apply", "-f", "-", stdin=POD.format(name=name)).returncode != 0:
        assert processes.find(cluster.data_dir, "supervisor") is not None, cluster.logs()
    cluster.wait(f"pod/{name}", "condition=Ready")
    deadline = time.monotonic() + RESTART_SECONDS_MAX
    while (after := processes.find(cluster.data_dir, part)) is None or after.pid == before.pid:
        assert time.monotonic() < deadline, cluster.logs()
        time.sleep(0.02)
    assert f"part={part} how=" in (cluster.data_dir / "log" / "supervisor.log").read_text()


def test_the_follower_of_a_killed_scheduler_need_not_wait_for_its_lease(cluster: WholeCluster) -> None:
    kill(cluster, "scheduler")
    cluster.apply(POD.format(name="followed"))
    cluster.wait("pod/followed", "condition=Ready")
    told = (cluster.data_dir / "log" / "scheduler.log").read_text()
    assert 'msg="the leader\'s process has ended" lease=kube-scheduler' in told


def test_a_node_that_was_killed_on_purpose_stays_dead(cluster: WholeCluster) -> None:
    cluster.machine("node", "kill", "node-2")
    cluster.wait("node/node-2", "condition=Ready=Unknown")
    assert "node-2       " in cluster.machine("node", "list")
    assert cluster.machine("node", "list").splitlines()[1].endswith("stopped")
    cluster.machine("node", "start", "node-2")
    cluster.wait("node/node-2", "condition=Ready")


def test_what_a_user_had_in_a_kubeconfig_stays_and_what_kctl_put_there_goes() -> None:
    theirs = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "work", "cluster": {"server": "https://work"}}],
        "users": [{"name": "me", "user": {"token": "t"}}],
        "contexts": [{"name": "work", "context": {"cluster": "work", "user": "me"}}],
        "current-context": "work",
    }
    with tempfile.TemporaryDirectory(prefix="wherry-test-", dir="/var/tmp") as folder:
        config, other = Path(folder) / "config", Path(folder) / "other"
        config.write_text(yaml.safe_dump(theirs))
        cluster = WholeCluster(Path(folder) / "cluster")
        cluster.environment["KUBECONFIG"] = str(config)
        try:
            cluster.machine("up", "--quiet")
            ours = yaml.safe_load(config.read_text())
            assert ours["current-context"] != "work" and len(ours["contexts"]) == 2
            assert cluster.kctl("get", "nodes", "-o", "name") == "node/node-1\n"
        finally:
            # Another shell, where another file is the user's.
            cluster.environment["KUBECONFIG"] = str(other)
            cluster.machine("down", "--purge", "--quiet")
        assert yaml.safe_load(config.read_text()) == {**theirs, "current-context": ""}
        assert not other.exists()


def test_a_cluster_whose_own_file_is_damaged_can_still_be_removed() -> None:
    with whole_cluster(1) as cluster:
        path = cluster.data_dir / "cluster.json"
        bridge = layout.require(cluster.data_dir).bridge
        path.write_text(path.read_text()[:20])
        refused = cluster.try_kctl("up", "--data-dir", str(cluster.data_dir))
        assert refused.returncode != 0 and "is damaged" in refused.stderr
    assert not cluster.data_dir.exists()
    assert not list(Path("/run/netns").glob(f"{bridge}*")) and not Path(f"/sys/class/net/{bridge}").exists()


def test_hollow_nodes_come_and_go_as_they_are_asked_for(cluster: WholeCluster) -> None:
    def names() -> set[str]:
        return {node["metadata"]["name"] for node in cluster.get("nodes")}

    cluster.machine("up", "--hollow-nodes", "5", "--no-kubeconfig", "--quiet")
    assert names() == {"node-1", "node-2", *(f"hollow-{number}" for number in range(5))}
    elsewhere = POD.replace("  containers", "  nodeSelector: {{hollow.wherry.io/node: 'true'}}\n  containers")
    cluster.apply(elsewhere.format(name="hollow"))
    cluster.wait("pod/hollow", "condition=Ready")
    cluster.machine("up", "--hollow-nodes", "2", "--no-kubeconfig", "--quiet")
    assert names() == {"node-1", "node-2", "hollow-0", "hollow-1"}
    cluster.machine("up", "--hollow-nodes", "0", "--no-kubeconfig", "--quiet")
    assert names() == {"node-1", "node-2"}
    roles = {role["metadata"]["name"] for role in cluster.get("clusterroles")}
    assert not [role for role in roles if "hollow" in role] and "cluster-admin" in roles
