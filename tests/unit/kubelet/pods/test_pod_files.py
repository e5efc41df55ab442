"""The files that every container finds in /etc, and what it leaves in its termination log."""

from __future__ import annotations

from pathlib import Path

from kubelet.pods import pod_files
from kubelet.pods.pod_dns import ClusterDNS
from tests.support.pods import UID, container, pod

DNS = ClusterDNS(("10.96.0.10",), "cluster.local")


def test_a_pod_knows_itself_by_name_and_address() -> None:
    text = pod_files.hosts(pod(), pod_ip="10.244.0.7", node_hosts="", cluster_domain="cluster.local")
    assert text.startswith("# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n")
    assert "10.244.0.7\tweb\n" in text


def test_a_pod_with_a_subdomain_has_a_full_name() -> None:
    named = pod(hostname="db-0", subdomain="db")
    text = pod_files.hosts(named, pod_ip="10.244.0.7", node_hosts="", cluster_domain="cluster.local")
    assert "10.244.0.7\tdb-0.db.default.svc.cluster.local\tdb-0\n" in text


def test_host_aliases_follow_at_the_end_of_the_hosts_file() -> None:
    aliases = [{"ip": "192.0.2.9", "hostnames": ["foo", "bar"]}]
    text = pod_files.hosts(
        pod(hostAliases=aliases), pod_ip="10.244.0.7", node_hosts="", cluster_domain="cluster.local"
    )
    assert text.endswith("\n# Entries added by HostAliases.\n192.0.2.9\tfoo\tbar\n")


def test_a_pod_on_the_nodes_network_has_the_nodes_hosts() -> None:
    text = pod_files.hosts(
        pod(hostNetwork=True), pod_ip="10.88.0.2", node_hosts="127.0.0.1 localhost\n", cluster_domain="x"
    )
    assert text == "# Kubernetes-managed hosts file (host network).\n127.0.0.1 localhost\n"


def test_an_overridden_host_name_has_no_full_name() -> None:
    named = pod(hostname="db-0", subdomain="db", hostnameOverride="override.example.host")
    text = pod_files.hosts(named, pod_ip="10.244.0.7", node_hosts="", cluster_domain="cluster.local")
    assert "10.244.0.7\toverride.example.host\n" in text


def test_files_are_written_again_in_place_so_that_running_containers_see_them(tmp_path: Path) -> None:
    first = pod_files.write(tmp_path, pod(), pod_ip="10.244.0.7", dns=DNS)
    inode = first.binds()["/etc/hosts"].stat().st_ino
    again = pod_files.write(tmp_path, pod(), pod_ip="10.244.0.8", dns=DNS)
    assert again.binds()["/etc/hosts"].stat().st_ino == inode
    assert "10.244.0.8\tweb" in again.binds()["/etc/hosts"].read_text()
    assert again.binds()["/etc/hostname"].read_text() == "web\n"
    full = pod(subdomain="db", setHostnameAsFQDN=True)
    named = pod_files.write(tmp_path, full, pod_ip="10.244.0.8", dns=DNS)
    assert named.binds()["/etc/hostname"].read_text() == "web.db.default.svc.cluster.local\n"


def test_a_termination_message_is_what_the_container_wrote_there(tmp_path: Path) -> None:
    path = pod_files.make_termination_log(tmp_path, UID, "web", 0)
    assert path.stat().st_mode & 0o777 == 0o666
    path.write_text("x" * 5000 + "the end")
    message = pod_files.termination_message(path, container(), failed=True, log_path="")
    assert len(message) == 4096 and message.endswith("the end")


def test_a_failed_container_may_have_its_last_output_taken_instead(tmp_path: Path) -> None:
    path = pod_files.make_termination_log(tmp_path, UID, "web", 0)
    log = tmp_path / "0.log"
    lines = [f"2026-01-01T00:00:00.000000000Z stdout F line {n}\n" for n in range(100)]
    log.write_text("".join(lines) + "2026-01-01T00:00:00.000000000Z stderr P cut")
    asking = container(terminationMessagePolicy="FallbackToLogsOnError")
    message = pod_files.termination_message(path, asking, failed=True, log_path=str(log))
    assert message.startswith("line 21\n") and message.endswith("line 99\ncut")
    assert pod_files.termination_message(path, asking, failed=False, log_path=str(log)) == ""
    assert pod_files.termination_message(path, container(), failed=True, log_path=str(log)) == ""
