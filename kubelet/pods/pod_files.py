"""The files that the node agent writes for a pod: /etc/hosts, resolv.conf, hostname and termination messages.

What they say is decided by pure functions (of resolv.conf in pod_dns.py); `write` puts them below ROOT/files/UID.

Sources: https://kubernetes.io/docs/tasks/network/customize-hosts-file-for-pods/ and
https://kubernetes.io/docs/tasks/debug/debug-application/determine-reason-pod-failure/
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from apimachinery.meta import Object
from kubelet import paths
from kubelet.pods import pod_dns, pod_spec
from kubelet.pods.pod_dns import ClusterDNS
from kubelet.pods.pod_spec import Container

TERMINATION_MESSAGE_BYTES_MAX = 4096
TERMINATION_LOG_BYTES_MAX, TERMINATION_LOG_LINES_MAX = 2048, 80

_HOSTS = """\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
fe00::\tip6-mcastprefix
fe00::1\tip6-allnodes
fe00::2\tip6-allrouters
"""


@dataclass(frozen=True, slots=True)
class PodFiles:
    """The files of a pod, where they are bound in each of its containers, and what could not be written there."""

    folder: Path
    problems: tuple[str, ...] = ()

    def binds(self) -> dict[str, Path]:
        """What goes where: destination in the container, file on the node."""
        return {
            "/etc/hosts": self.folder / "hosts",
            "/etc/resolv.conf": self.folder / "resolv.conf",
            "/etc/hostname": self.folder / "hostname",
        }


def write(root: Path, pod: Object, *, pod_ip: str, dns: ClusterDNS) -> PodFiles:
    """Write a pod's files anew; its containers see them changed, since the files stay the same ones."""
    resolver = pod_dns.resolver(pod, node=_node_resolver(), dns=dns)
    files = PodFiles(paths.pod_files_dir(root, pod["metadata"]["uid"]), resolver.problems)
    # Closed to all but root: a container may write to these files, and make them setuid.
    files.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    node_hosts = _read("/etc/hosts") if pod_spec.host_network(pod) else ""
    hostname = os.uname().nodename if pod_spec.host_network(pod) else pod_spec.kernel_hostname(pod, dns.domain)
    texts = (
        ("hosts", hosts(pod, pod_ip=pod_ip, node_hosts=node_hosts, cluster_domain=dns.domain)),
        ("resolv.conf", resolver.text),
        ("hostname", f"{hostname}\n"),
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


def _node_resolver() -> str:
    """The node's resolv.conf; of one that only leads to systemd-resolved, the one with the servers that that asks."""
    text = _read("/etc/resolv.conf")
    return (pod_dns.asks_itself(text) and _read("/run/systemd/resolve/resolv.conf")) or text


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except FileNotFoundError:
        return ""
