"""Brings the parts of a cluster up and down in their order.

Up: the host's bridge, the API server (ready in about half a second), then scheduler, controllers and node agents at
once, since each of them waits for whatever it needs. What these have to import is imported while the API server does
the same. Everything here may be repeated: what runs is left alone, what is missing is started, so `kctl up` also
repairs; between two commands the supervisor does.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from apiclient.kubeconfig import KubeconfigError
from apiclient.kubeconfig import load as load_kubeconfig
from apiclient.rest import Client
from apimachinery.errors import ApiError
from apimachinery.meta import Object, find_condition, get_path
from apimachinery.resources import NODES
from kctl.cluster import credentials, hollow_nodes, host_network, layout, processes
from kctl.cluster.layout import Cluster
from kctl.cluster.processes import Spec
from kctl.errors import CommandError
from kctl.progress import Progress

# The disk is this machine's, and not the nodes' own: a laptop whose disk is nearly full still runs its pods.
LOCAL_EVICTION = ("--eviction-hard", "memory.available<100Mi")
POD_NETWORK = "10.244.0.0/16"
APISERVER, SCHEDULER, CONTROLLERS = "apiserver", "scheduler", "controllers"
READY_POLL_SECONDS = 0.01
CLEAN_UP_TIMEOUT_SECONDS = 60
AGENT_PORT = 10250
# As in Kubernetes.
CONTROLLERS_PORT, SCHEDULER_PORT = 10257, 10259
AGENT_SECONDS_MAX = 20.0


def node_part(node: str) -> str:
    """The name of the part that is a node's agent."""
    return f"kubelet-{node}"


def apiserver_spec(cluster: Cluster) -> Spec:
    """The API server, on the host's address of the node network."""
    address = str(cluster.host_address)
    command = ["apiserver", "--data-dir", str(cluster.data_dir / "apiserver")]
    command += ["--bind-address", address, "--advertise-address", address]
    command += ["--secure-port", str(cluster.port), *cluster.flags.get(APISERVER, [])]
    return Spec.module(APISERVER, command)


def control_loop_specs(cluster: Cluster) -> list[Spec]:
    """The scheduler and the controllers."""
    keys = cluster.data_dir / "apiserver"
    flags = cluster.flags
    scheduler = ["scheduler", "--kubeconfig", str(keys / "scheduler.kubeconfig")]
    scheduler += serving_flags(cluster, SCHEDULER_PORT)
    controllers = ["controllers", "--kubeconfig", str(keys / "controller-manager.kubeconfig")]
    controllers += ["--cluster-cidr", POD_NETWORK, *serving_flags(cluster, CONTROLLERS_PORT)]
    controllers += hollow_nodes.controller_flags(cluster.hollow_nodes)
    return [
        Spec.module(SCHEDULER, [*scheduler, *flags.get(SCHEDULER, [])]),
        Spec.module(CONTROLLERS, [*controllers, *flags.get(CONTROLLERS, [])]),
    ]


def serving_flags(cluster: Cluster, port: int) -> list[str]:
    """Where a control loop tells how it is and what it does: beside the API server, and by the same certificate."""
    keys = cluster.data_dir / "apiserver" / "pki"
    flags = ["--bind-address", str(cluster.host_address), "--secure-port", str(port)]
    flags += ["--tls-cert-file", str(keys / "apiserver.crt"), "--tls-private-key-file", str(keys / "apiserver.key")]
    return [*flags, "--client-ca-file", str(keys / "ca.crt")]


def node_spec(cluster: Cluster, node: str) -> Spec:
    """A node's agent in its network namespace."""
    folder = cluster.node_dir(node)
    command = ["kubelet", "--kubeconfig", str(folder / "kubeconfig"), "--node-name", node]
    command += ["--node-ip", cluster.nodes[node], "--root-dir", str(folder)]
    command += ["--image-dir", str(cluster.image_dir), "--cert-dir", str(folder / "pki")]
    command += ["--cgroup-root", cluster.cgroup_root(node), *LOCAL_EVICTION, *cluster.flags.get("kubelet", [])]
    return Spec.module(node_part(node), command, netns=cluster.netns(node))


async def start_all(cluster: Cluster, deadline: float, progress: Progress) -> None:
    """Start what does not run; returns when the API server is ready and everything else has been started."""
    specs = [*control_loop_specs(cluster), *(node_spec(cluster, node) for node in cluster.nodes)]
    if cluster.hollow_nodes:
        specs.append(hollow_nodes.spec(cluster))
    missing = [spec for spec in specs if processes.find(cluster.data_dir, spec.name) is None]
    progress.waiting("starting the API server")
    host_network.ensure_bridge(cluster)
    with closing(processes.supervisor(cluster.data_dir)) as supervisor:
        supervisor.start([apiserver_spec(cluster)])
        if len(missing) > 1:
            supervisor.prepare(missing)
        host_network.ensure_way_out(cluster, POD_NETWORK)
        for node in cluster.nodes:
            host_network.ensure_node_namespace(cluster, node)
        await _wait_authority(cluster, deadline)
        ensure_credentials(cluster)
        await wait_ready(cluster, deadline)
        progress.done(f"API server ready at {cluster.server}")
        await ensure_hollow_nodes(cluster)
        supervisor.start(specs)


def start_node(cluster: Cluster, node: str) -> None:
    """Start a node's agent in its network namespace; its credentials must be there."""
    host_network.ensure_node_namespace(cluster, node)
    with closing(processes.supervisor(cluster.data_dir)) as supervisor:
        supervisor.start([node_spec(cluster, node)])


def wait_agent(cluster: Cluster, node: str) -> None:
    """Wait until a node's agent serves logs and exec: it has taken on by then whatever it found running."""
    part, address = node_part(node), (cluster.nodes[node], _agent_port(cluster))
    deadline = time.monotonic() + AGENT_SECONDS_MAX
    while True:
        try:
            socket.create_connection(address, timeout=AGENT_SECONDS_MAX).close()
            return
        except OSError as error:
            log = processes.log_path(cluster.data_dir, part)
            if processes.find(cluster.data_dir, part) is None:
                words = processes.last_words(cluster.data_dir, part)
                raise CommandError(f"the agent of {node} ended at once: {words} (see {log})") from error
            if time.monotonic() > deadline:
                raise CommandError(f"the agent of {node} does not answer: {error} (see {log})") from error
            time.sleep(READY_POLL_SECONDS)


def _agent_port(cluster: Cluster) -> int:
    """Where the agents listen: as told by a flag, or as usual."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--port", type=int, default=AGENT_PORT)
    port: int = parser.parse_known_args(cluster.flags.get("kubelet", []))[0].port
    return port


def ensure_credentials(cluster: Cluster) -> None:
    """Issue what is missing of the nodes' credentials, all in one go."""
    missing = [node for node in cluster.nodes if not (cluster.node_dir(node) / "kubeconfig").exists()]
    if missing:
        credentials.issue_node_credentials(cluster, missing)


async def ensure_hollow_nodes(cluster: Cluster) -> None:
    """Let as many hollow nodes be as there are to be, and take away what is left of others."""
    folder = cluster.hollow_kubeconfig.parent
    if not cluster.hollow_nodes and not folder.exists():
        return
    if cluster.hollow_nodes and not cluster.hollow_kubeconfig.exists():
        credentials.issue_hollow_credentials(cluster)
    async with await Client.connect(load_kubeconfig(str(cluster.admin_kubeconfig))) as client:
        if cluster.hollow_nodes:
            await hollow_nodes.grant(client)
        else:
            await hollow_nodes.revoke(client)
        await hollow_nodes.remove_surplus(client, cluster.hollow_nodes)
    if not cluster.hollow_nodes:
        shutil.rmtree(folder)


def stop_node(cluster: Cluster, node: str, *, kill: bool) -> None:
    """End a node's agent and everything that it runs, and take its network away: the machine is gone.

    With `kill` nobody is asked: agent and pods get SIGKILL, as in a power cut.
    """
    processes.stop(cluster.data_dir, node_part(node), kill=kill)
    clean_up_node(cluster, node)
    host_network.remove_node_namespace(cluster, node)


def clean_up_node(cluster: Cluster, node: str) -> None:
    """Kill all that is left of a node's pods and remove their cgroups and folders."""
    folder = cluster.node_dir(node)
    if not folder.exists():
        return
    command = [sys.executable, "-m", "kubelet.cleanup", "--root-dir", str(folder)]
    command += ["--cgroup-root", cluster.cgroup_root(node)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=CLEAN_UP_TIMEOUT_SECONDS, cwd="/"
    )
    if done.returncode != 0:
        raise CommandError(f"cleaning up after {node}: {done.stderr.strip()}")


def stop_all(cluster: Cluster, progress: Progress) -> None:
    """Stop every part and everything that the nodes run; the database and the images stay."""
    data_dir = cluster.data_dir
    agents = [node_part(node) for node in cluster.nodes]
    progress.waiting("stopping the control plane and the node agents")
    processes.stop(data_dir, *agents, hollow_nodes.PART, SCHEDULER, CONTROLLERS)
    processes.stop(data_dir, APISERVER)
    for node in cluster.nodes:
        progress.waiting(f"stopping the pods of {node}")
        clean_up_node(cluster, node)
        host_network.remove_node_namespace(cluster, node)
    host_network.remove_bridge(cluster)
    processes.stop_supervisor(data_dir)


def purge(cluster_dir: Path) -> None:
    """Remove everything that a stopped cluster has stored."""
    shutil.rmtree(cluster_dir, ignore_errors=False)


async def _wait_authority(cluster: Cluster, deadline: float) -> None:
    """Wait until the API server has made the cluster's authority, which it does first of all."""
    while not (cluster.data_dir / "apiserver" / "pki" / "ca.crt").exists():
        await _pause(cluster, deadline)


async def wait_ready(cluster: Cluster, deadline: float) -> None:
    """Wait until the API server answers `ok` to /readyz; tells its last words if it died instead."""
    client: Client | None = None
    try:
        while True:
            try:
                client = client or await Client.connect(load_kubeconfig(str(cluster.admin_kubeconfig)))
                if (await client.request("GET", "/readyz"))[0] == 200:
                    return
            except (ApiError, KubeconfigError):
                await _pause(cluster, deadline)
    finally:
        if client is not None:
            await client.close()


async def _pause(cluster: Cluster, deadline: float) -> None:
    """Let the API server go on with its start. Raises CommandError if it has ended, or takes too long."""
    log = processes.log_path(cluster.data_dir, APISERVER)
    if processes.find(cluster.data_dir, APISERVER) is None:
        words = processes.last_words(cluster.data_dir, APISERVER)
        processes.stop(cluster.data_dir, APISERVER)  # or the supervisor would try on and on
        raise CommandError(f"the API server ended at once: {words} (see {log})")
    if time.monotonic() > deadline:
        raise CommandError(f"the API server is not ready in time (see {log})")
    await asyncio.sleep(READY_POLL_SECONDS)


async def wait_nodes_ready(client: Client, cluster: Cluster, deadline: float, progress: Progress) -> None:
    """Wait, by watching, until every node of this machine is Ready; routes their pods on the way."""
    waiting = set(cluster.nodes)
    listing = await client.list(NODES)
    for node in listing["items"]:
        _note_node(cluster, node, waiting)
    version = listing["metadata"]["resourceVersion"]
    try:
        async with asyncio.timeout(max(0.0, deadline - time.monotonic())):
            while waiting:
                progress.waiting(f"waiting for {', '.join(sorted(waiting))} to be Ready")
                async for kind, node in client.watch(NODES, resource_version=version):
                    version = node["metadata"]["resourceVersion"]
                    if kind in ("ADDED", "MODIFIED"):
                        _note_node(cluster, node, waiting)
                    if not waiting:
                        break
                    progress.waiting(f"waiting for {', '.join(sorted(waiting))} to be Ready")
    except TimeoutError:
        name = min(waiting)
        part = node_part(name)
        running = processes.find(cluster.data_dir, part) is not None
        words = "its agent runs" if running else processes.last_words(cluster.data_dir, part)
        log = processes.log_path(cluster.data_dir, part)
        raise CommandError(f"{name} is not Ready in time: {words} (see {log})") from None


def _note_node(cluster: Cluster, node: Object, waiting: set[str]) -> None:
    name = node["metadata"]["name"]
    if name not in waiting:
        return
    ready = find_condition(get_path(node, "status", "conditions", default=[]), "Ready")
    cidr = get_path(node, "spec", "podCIDR")
    agent = processes.find(cluster.data_dir, node_part(name))
    if agent is not None and cidr and ready is not None and ready["status"] == "True":
        host_network.route_pods(cluster, cidr, name)
        waiting.discard(name)


def cluster_of(data_dir: Path, port: int) -> Cluster:
    """The cluster of this folder, or a new one with a free network."""
    known = layout.load(data_dir)
    if known is not None:
        return known
    return Cluster(data_dir=data_dir, node_network=host_network.choose_node_network(), port=port)
