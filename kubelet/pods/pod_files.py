"""The files that the node agent writes for a pod: /etc/hosts, resolv.conf, hostname and termination messages.

What they say is decided by pure functions; `write` puts them below ROOT/files/UID.

Sources: https://kubernetes.io/docs/tasks/network/customize-hosts-file-for-pods/,
https://kubernetes.io/docs/concepts/services-networking/dns-pod-service/ and
https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apimachinery.meta import Object
from kubelet import paths
from kubelet.pods import pod_spec
from kubelet.pods.pod_spec import Container

TERMINATION_MESSAGE_BYTES_MAX = 4096
TERMINATION_LOG_BYTES_MAX, TERMINATION_LOG_LINES_MAX = 2048, 80
NAMESERVERS_MAX, SEARCH_DOMAINS_MAX, SEARCH_CHARACTERS_MAX = 3, 32, 2048

_HOSTS = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
fe00::\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


@dataclass(frozen=True, slots=True)
class ClusterDNS:
    """The DNS that pods with the policy ClusterFirst ask; without servers they ask what the node asks."""

    servers: tuple[str, ...] = ()
    domain: str = "cluster.local"


@dataclass(frozen=True, slots=True)
class PodFiles:
    """The files of a pod, and where they are bound in each of its containers."""

    folder: Path

    def binds(self) -> dict[str, Path]:
        """What goes where: destination in the container, file on the node."""
        return {
            "/etc/hosts": self.folder / "hosts",
            "/etc/resolv.conf": self.folder / "resolv.conf",
            "/etc/hostname": self.folder / "hostname",
        }


def write(root: Path, pod: Object, *, pod_ip: str, dns: ClusterDNS) -> PodFiles:
    """Write a pod's files anew; its containers see them changed, since the files stay the same ones."""
    files = PodFiles(paths.pod_files_dir(root, pod["metadata"]["uid"]))
    # Closed to all but root: a container may write to these files, and make them setuid.
    files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    node_hosts = _read("/etc/hosts") if pod_spec.host_network(pod) else ""
    texts = (
        ("hosts", hosts(pod, pod_ip=pod_ip, node_hosts=node_hosts, cluster_domain=dns.domain)),
        ("resolv.conf", resolv_conf(pod, node=_read("/etc/resolv.conf"), dns=dns)),
        ("hostname", f"{os.uname().nodename if pod_spec.host_network(pod) else pod_spec.hostname(pod)}\n"),
    )
    for name, text in texts:
        (files.folder / name).write_text(text)
        (files.folder / name).chmod(0o644)
    return files


def hosts(pod: Object, *, pod_ip: str, node_hosts: str, cluster_domain: str) -> str:
    """The text of a pod's /etc/hosts."""
    if pod_spec.host_network(pod):
        text = f"# Kubernetes-managed hosts file (host network).\n{node_hosts}"
    else:
        names = [pod_spec.fully_qualified_name(pod, cluster_domain), pod_spec.hostname(pod)]
        own = f"{pod_ip}\t" + "\t".join(name for name in names if name) + "\n" if pod_ip else ""
        text = f"# Kubernetes-managed hosts file.\n{_HOSTS}{own}"
    aliases = pod["spec"].get("hostAliases") or ()
    if aliases:
        lines = "".join(f"{entry['ip']}\t" + "\t".join(entry.get("hostnames") or ()) + "\n" for entry in aliases)
        text += f"\n# Entries added by HostAliases.\n{lines}"
    return text


def resolv_conf(pod: Object, *, node: str, dns: ClusterDNS) -> str:
    """The text of a pod's resolv.conf, by its dnsPolicy and dnsConfig."""
    policy = pod["spec"].get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and pod_spec.host_network(pod):
        policy = "Default"
    servers, searches, options = _parsed(node)
    if policy == "None":
        servers, searches, options = [], [], []
    elif policy in ("ClusterFirst", "ClusterFirstWithHostNet") and dns.servers:
        namespace = pod["metadata"]["namespace"]
        cluster = [f"{namespace}.svc.{dns.domain}", f"svc.{dns.domain}", dns.domain]
        servers, searches, options = list(dns.servers), [*cluster, *searches], ["ndots:5"]
    config: dict[str, Any] = pod["spec"].get("dnsConfig") or {}
    servers = list(dict.fromkeys([*servers, *(config.get("nameservers") or ())]))[:NAMESERVERS_MAX]
    searches = list(dict.fromkeys([*searches, *(config.get("searches") or ())]))[:SEARCH_DOMAINS_MAX]
    while len(" ".join(searches)) > SEARCH_CHARACTERS_MAX:
        searches.pop()
    options = _merged_options(options, config.get("options") or ())
    lines = [f"search {' '.join(searches)}"] if searches else []
    lines += [f"nameserver {server}" for server in servers]
    lines += [f"options {' '.join(options)}"] if options else []
    return "".join(f"{line}\n" for line in lines)


def _parsed(text: str) -> tuple[list[str], list[str], list[str]]:
    """(name servers, search domains, options) of a resolv.conf (resolv.conf(5): the last search counts)."""
    servers: list[str] = []
    searches: list[str] = []
    options: list[str] = []
    for line in text.splitlines():
        match line.split():
            case ["nameserver", address, *_]:
                servers.append(address)
            case ["search", *domains]:
                searches = [domain.rstrip(".") or "." for domain in domains]
            case ["options", *given]:
                options = given
    return servers, searches, options


def _merged_options(options: Sequence[str], more: Sequence[dict[str, str]]) -> list[str]:
    merged = {option.partition(":")[0]: option for option in options}
    for entry in more:
        value = entry.get("value")
        merged[entry["name"]] = f"{entry['name']}:{value}" if value else entry["name"]
    return list(merged.values())


def make_termination_log(root: Path, pod_uid: str, container: str, attempt: int) -> Path:
    """An empty file for a run's termination message, that any user of the container may write."""
    path = paths.termination_log(root, pod_uid, container, attempt)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")
    path.chmod(0o666)
    return path


def termination_message(path: Path, container: Container, *, failed: bool, log_path: str) -> str:
    """What a container had to say at its end: its termination log, else (if it asks for it) its last output."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TERMINATION_MESSAGE_BYTES_MAX))
            message = file.read(TERMINATION_MESSAGE_BYTES_MAX)
    except FileNotFoundError:
        message = b""
    except OSError as error:
        return f"Error on reading termination log {path}: {error.strerror}"
    wants_logs = container.get("terminationMessagePolicy") == "FallbackToLogsOnError"
    if not message and wants_logs and failed and log_path:
        message = last_output(Path(log_path))
    return message.decode(errors="replace")


def last_output(log: Path) -> bytes:
    """The end of a CRI log: at most 80 lines and 2048 bytes of what the container wrote."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            # Each line carries some 40 bytes of time and stream before its text.
            file.seek(max(0, size - 2 * TERMINATION_LOG_BYTES_MAX - 64 * TERMINATION_LOG_LINES_MAX))
            records = file.read().splitlines()
    except OSError as error:
        return f"Error on reading termination message from logs: {error.strerror}".encode()
    texts = []
    for record in records[-TERMINATION_LOG_LINES_MAX:]:
        parts = record.split(b" ", 3)
        if len(parts) == 4:
            texts.append(parts[3] + (b"\n" if parts[2] == b"F" else b""))
    return b"".join(texts)[-TERMINATION_LOG_BYTES_MAX:]


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except FileNotFoundError:
        return ""
