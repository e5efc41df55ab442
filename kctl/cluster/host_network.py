"""The network between the nodes of one machine: a bridge on the host and a network namespace a node.

Every node gets an `eth0` with an address of its own on the node network; the host has the first address and
the API server listens there, out of reach of other machines. The host routes each node's pods through that
node and masquerades what leaves the machine, so that pods reach whatever the host reaches.

Source: ip-netns(8), nft(8).
"""

from __future__ import annotations

import json
import shutil
import subprocess
from ipaddress import IPv4Network
from pathlib import Path

from kctl.cluster.layout import Cluster
from kctl.errors import CommandError

CANDIDATE_NETWORKS = tuple(f"10.{number}.0.0/24" for number in range(88, 128))
COMMAND_TIMEOUT_SECONDS = 20


def choose_node_network() -> str:
    """The first candidate that no interface or route of this host uses."""
    routes = json.loads(_ip("-j", "-4", "route", "show", "table", "all") or "[]")
    used = [IPv4Network(r["dst"], strict=False) for r in routes if r.get("dst", "default")[0].isdigit()]
    for candidate in CANDIDATE_NETWORKS:
        if not any(IPv4Network(candidate).overlaps(network) for network in used):
            return candidate
    raise CommandError("no free network for the nodes in 10.88.0.0 to 10.127.0.0; remove one from this host")


def ensure_bridge(cluster: Cluster) -> None:
    """The host's bridge with its address. Safe to repeat."""
    prefix = IPv4Network(cluster.node_network).prefixlen
    add = [] if _exists(cluster.bridge) else [f"link add {cluster.bridge} type bridge"]
    address = f"address replace {cluster.host_address}/{prefix} dev {cluster.bridge}"
    _batch([*add, address, f"link set {cluster.bridge} up"])


def ensure_way_out(cluster: Cluster, pod_network: str) -> None:
    """Forwarding, and masquerading of what leaves the machine: nodes and pods reach whatever the host reaches."""
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    _masquerade(cluster, pod_network)


def ensure_node_namespace(cluster: Cluster, node: str) -> None:
    """A node's network namespace, with eth0 on the bridge and a default route through the host."""
    netns = cluster.netns(node)
    if not Path(f"/run/netns/{netns}").exists():
        _ip("netns", "add", netns)
    if "eth0" in _ip("-n", netns, "-br", "link", "show"):
        return
    prefix = IPv4Network(cluster.node_network).prefixlen
    host_end = _host_end(cluster, node)
    if _exists(host_end):
        # Its other end went with an earlier namespace that the kernel has not finished removing.
        _ip("link", "delete", host_end)
    _batch(
        [
            f"link add {host_end} type veth peer name eth0 netns {netns}",
            f"link set {host_end} master {cluster.bridge} up",
        ]
    )
    _batch(
        [
            "link set lo up",
            f"address replace {cluster.nodes[node]}/{prefix} dev eth0",
            "link set eth0 up",
            f"route replace default via {cluster.host_address}",
        ],
        netns,
    )


def route_pods(cluster: Cluster, pod_cidr: str, node: str) -> None:
    """Let the host reach a node's pods."""
    _ip("route", "replace", pod_cidr, "via", cluster.nodes[node], "dev", cluster.bridge)


def remove_node_namespace(cluster: Cluster, node: str) -> None:
    """Take a node's network away, whatever still runs in it. Safe to repeat."""
    netns = cluster.netns(node)
    if _exists(_host_end(cluster, node)):
        _ip("link", "delete", _host_end(cluster, node))
    if Path(f"/run/netns/{netns}").exists():
        _ip("netns", "delete", netns)


def remove_bridge(cluster: Cluster) -> None:
    """Remove the host's side: bridge, its routes and the masquerading rule. Safe to repeat."""
    if _exists(cluster.bridge):
        _ip("link", "delete", cluster.bridge)
    if shutil.which("nft"):
        _nft(f"add table ip {_table(cluster)}\ndelete table ip {_table(cluster)}\n")


def _masquerade(cluster: Cluster, pod_network: str) -> None:
    """Pods and nodes leave the machine under the host's address; without nft they only reach each other."""
    if not shutil.which("nft"):
        return
    table = _table(cluster)
    inside = f"{{ {cluster.node_network}, {pod_network} }}"
    _nft(f"""
        add table ip {table}
        delete table ip {table}
        table ip {table} {{
            chain postrouting {{
                type nat hook postrouting priority srcnat
                ip saddr {inside} ip daddr != {inside} masquerade
            }}
        }}
    """)


def _table(cluster: Cluster) -> str:
    return f"wherry_{cluster.id}"


def _host_end(cluster: Cluster, node: str) -> str:
    return f"wn{cluster.id}-{node.removeprefix('node-')}"


def _exists(interface: str) -> bool:
    return Path(f"/sys/class/net/{interface}").exists()


def _ip(*arguments: str) -> str:
    return _command(["ip", *arguments])


def _batch(commands: list[str], netns: str | None = None) -> None:
    """Several commands of `ip` by one process; the first that fails ends them."""
    where = ["-n", netns] if netns is not None else []
    _command(["ip", *where, "-batch", "-"], "\n".join(commands) + "\n")


def _nft(rules: str) -> None:
    _command(["nft", "-f", "-"], rules)


def _command(argv: list[str], stdin: str = "") -> str:
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise CommandError(f"{argv[0]} is not installed (Debian and Ubuntu: apt install iproute2)") from error
    if done.returncode != 0:
        raise CommandError(f"`{' '.join(argv)}` failed: {done.stderr.strip() or done.returncode}")
    return done.stdout
