"""Where a cluster of this machine keeps its files, and what it remembers of itself between commands.

DATA/cluster.json            nodes, their addresses, the node network
DATA/apiserver/              the API server's database, keys and the control plane's kubeconfigs
DATA/nodes/NAME/             one node agent's pods, addresses and certificates
DATA/hollow-nodes/           the credentials of the process that is all hollow nodes
DATA/images/                 the images, shared by all nodes of this machine
DATA/run/PART.json           the process that runs a part
DATA/log/PART.log            what a part has logged
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from kctl.errors import CommandError

DEFAULT_DATA_DIR = "/var/lib/wherry"
FORMAT_VERSION = 1
FIRST_NODE_ADDRESS = 11


@dataclass(slots=True)
class Cluster:
    """What is remembered of a cluster: `nodes` maps a node's name to its address."""

    data_dir: Path
    node_network: str
    port: int
    nodes: dict[str, str] = field(default_factory=dict)
    flags: dict[str, list[str]] = field(default_factory=dict)
    hollow_nodes: int = 0
    # The users' kubeconfigs that have this cluster's context.
    kubeconfigs: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        """A short name of this cluster, unique on this machine: it marks bridges, namespaces and cgroups."""
        return hashlib.blake2b(str(self.data_dir).encode(), digest_size=3).hexdigest()

    @property
    def bridge(self) -> str:
        """The host's interface on the node network."""
        return f"wherry-{self.id}"

    @property
    def host_address(self) -> IPv4Address:
        """The host's address on the node network: where the API server listens."""
        return IPv4Network(self.node_network).network_address + 1

    @property
    def server(self) -> str:
        """The API server's URL."""
        return f"https://{self.host_address}:{self.port}"

    @property
    def context(self) -> str:
        """The name of this cluster's context in the user's kubeconfig."""
        return "wherry" if str(self.data_dir) == DEFAULT_DATA_DIR else f"wherry-{self.id}"

    @property
    def admin_kubeconfig(self) -> Path:
        """The administrator's kubeconfig, written by the API server at its first start."""
        return self.data_dir / "apiserver" / "admin.kubeconfig"

    @property
    def hollow_kubeconfig(self) -> Path:
        """Who the hollow nodes are to the API."""
        return self.data_dir / "hollow-nodes" / "kubeconfig"

    @property
    def image_dir(self) -> Path:
        """The image store that all nodes of this machine share."""
        return self.data_dir / "images"

    def node_dir(self, name: str) -> Path:
        """Everything that one node agent keeps."""
        return self.data_dir / "nodes" / name

    def netns(self, name: str) -> str:
        """The name of a node's network namespace, under /run/netns."""
        return f"{self.bridge}-{name}"

    def cgroup_root(self, name: str) -> str:
        """The cgroup below which a node's pods run."""
        return f"wherry/{self.id}/{name}"

    def add_node(self) -> str:
        """Name a new node and give it the next free address of the node network; returns its name."""
        number = next(n for n in range(1, len(self.nodes) + 2) if f"node-{n}" not in self.nodes)
        network = IPv4Network(self.node_network)
        taken = set(self.nodes.values())
        for offset in range(FIRST_NODE_ADDRESS, network.num_addresses - 1):
            address = str(network.network_address + offset)
            if address not in taken:
                self.nodes[f"node-{number}"] = address
                return f"node-{number}"
        raise CommandError(f"the node network {self.node_network} has no free address for another node")

    def save(self) -> None:
        """Remember this cluster; atomic, so a crash leaves the old or the new text."""
        document = {"version": FORMAT_VERSION, **asdict(self)}
        del document["data_dir"]
        path = self.data_dir / "cluster.json"
        temporary = path.with_suffix(".new")
        temporary.write_text(json.dumps(document, indent=2) + "\n")
        temporary.replace(path)


def load(data_dir: Path) -> Cluster | None:
    """The cluster that lives in this folder, or None; a damaged file is a CommandError."""
    path = data_dir / "cluster.json"
    try:
        document = json.loads(path.read_text())
        if document.pop("version") != FORMAT_VERSION:
            raise CommandError(f"{path} was written by another version of kctl")
        return Cluster(data_dir=data_dir, **document)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise CommandError(f"{path}: {error.strerror}; run kctl as root") from error
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(f"{path} is damaged ({error}); `kctl down --purge` removes the cluster") from error


def salvage(data_dir: Path) -> Cluster:
    """What can be told of a cluster whose file is damaged: enough to remove it."""
    nodes = sorted(path.name for path in (data_dir / "nodes").glob("*") if path.is_dir())
    return Cluster(data_dir=data_dir, node_network="", port=0, nodes=dict.fromkeys(nodes, ""))


def require(data_dir: Path) -> Cluster:
    """The cluster of this folder; a CommandError that says what to do if there is none."""
    cluster = load(data_dir)
    if cluster is None:
        raise CommandError(f"there is no cluster in {data_dir}; `kctl up` makes one")
    return cluster


def require_root(doing: str) -> None:
    """Namespaces, cgroups and bridges need root: say so before anything is half done."""
    if os.geteuid() != 0:
        raise CommandError(f"{doing} needs root (namespaces, cgroups and bridges); try `sudo kctl …`")


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold this cluster for one command, so that two never change it at once."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o755)
    with (data_dir / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CommandError(f"another kctl is changing the cluster in {data_dir}; wait for it") from error
        yield
