"""`kctl node`: the nodes of this machine's cluster, one by one; `kill` shows what a cluster is for."""

from __future__ import annotations

import argparse
from pathlib import Path

from kctl.cluster import layout, processes
from kctl.errors import CommandError

ACTIONS = {
    "list": "the nodes, their addresses and their agents' process ids",
    "start": "start a node's agent again (with its network, if that is gone)",
    "stop": "stop a node's agent and its pods in an orderly way",
    "kill": "SIGKILL a node's agent and its pods and take its network away, as a power cut would",
    "kill-agent": "SIGKILL only the agent: its pods go on running",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `kctl node`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(f"  {name:<11} {text}" for name, text in ACTIONS.items())
    parser.add_argument("action", choices=ACTIONS, help="what to do, see below")
    parser.add_argument("name", nargs="?", help="the node")
    parser.add_argument(
        "--data-dir",
        type=Path,
        default=Path(layout.DEFAULT_DATA_DIR),
        metavar="DIR",
        help=f"the cluster's folder ({layout.DEFAULT_DATA_DIR})",
    )


def run(args: argparse.Namespace) -> None:
    """Carry out one action on one node."""
    from kctl.cluster import lifecycle

    layout.require_root("looking after nodes")
    cluster = layout.require(args.data_dir.resolve())
    if args.action == "list":
        for node, address in cluster.nodes.items():
            agent = processes.find(cluster.data_dir, lifecycle.node_part(node))
            print(f"{node:<12} {address:<16} {agent.pid if agent else 'stopped'}")
        return
    if args.name not in cluster.nodes:
        raise CommandError(f"no node {args.name!r}; the nodes are {', '.join(cluster.nodes)}", exit_status=2)
    with layout.locked(cluster.data_dir):
        if args.action == "start":
            lifecycle.start_node(cluster, args.name)
            lifecycle.wait_agent(cluster, args.name)
        elif args.action == "kill-agent":
            processes.stop(cluster.data_dir, lifecycle.node_part(args.name), kill=True)
        else:
            lifecycle.stop_node(cluster, args.name, kill=args.action == "kill")
    past = {"start": "started", "stop": "stopped", "kill": "killed", "kill-agent": "agent killed"}
    print(f"{args.name} {past[args.action]}")
