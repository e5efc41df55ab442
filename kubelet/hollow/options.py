"""The command line of hollow nodes: `python -m kubelet.hollow`."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import TypeVar

from apimachinery import names
from kubelet.hollow import settings as hollow
from kubelet.hollow.addresses import POD_NETWORK_PREFIX
from kubelet.hollow.settings import Settings
from kubelet.node import node_lease, node_settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """How a process of hollow nodes is run."""

    kubeconfig: str
    settings: Settings
    seed: int | None
    verbosity: int


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The options of a command line; a mistake ends the process with one line."""
    given = _parser().parse_args(arguments)
    settings = Settings(
        count=given.nodes,
        prefix=given.name_prefix,
        capacity=given.capacity,
        labels=given.node_labels,
        taints=given.register_with_taints,
        zones=tuple(filter(None, given.zones.split(","))),
        node_network=given.node_network,
        pod_network=given.pod_network,
        lease_duration_seconds=given.node_lease_duration_seconds,
        start_delay=given.start_delay,
        ready_delay=given.ready_delay,
        run_duration=given.run_duration,
        exit_code=given.exit_code,
        stop_delay=given.stop_delay,
    )
    return Options(given.kubeconfig, settings, given.seed, given.v)


def _parser() -> argparse.ArgumentParser:
    usual = Settings(count=0)
    parser = argparse.ArgumentParser(
        prog="python -m kubelet.hollow",
        description="Many nodes in one process that run nothing, and tell the API what real ones would.",
        epilog="A DURATION is one such as 1.5s, a range such as 1s-5s out of which each pod draws its own, or never. "
        "Pods may ask for others by annotations: hollow.wherry.io/start-delay, ready-delay, run-duration, exit-code "
        "and stop-delay. A Node annotated hollow.wherry.io/silent=true falls silent.",
    )
    add = parser.add_argument
    add("--kubeconfig", required=True, help="how to reach the API server, and as whom")
    add("--nodes", type=_checked(_count), required=True, metavar="N", help="how many nodes")
    add(
        "--name-prefix",
        type=_checked(_name),
        default=usual.prefix,
        help="nodes are PREFIX-0, PREFIX-1… (%(default)s)",
    )
    parsed: tuple[tuple[str, Callable[[str], object], str], ...] = (
        ("--capacity", hollow.parse_capacity, "cpu=4,memory=32Gi,pods=110,example.com/gpu=2: what each node has"),
        ("--node-labels", node_settings.parse_labels, "key=value,…: labels of the Nodes when they are registered"),
        ("--register-with-taints", node_settings.parse_taints, "key=value:Effect,…: taints, likewise"),
    )
    for flag, parse_value, words in parsed:
        add(flag, type=_checked(parse_value), default="", help=words)
    add("--zones", default="", metavar="ZONE,…", help="zones that the nodes are in, in turn")
    add("--node-network", type=_checked(_network), default=usual.node_network, help="their addresses (%(default)s)")
    add(
        "--pod-network",
        type=_checked(_pod_network),
        default=usual.pod_network,
        help="their pods' addresses, a /24 for each node; empty: as the controllers give (%(default)s)",
    )
    add(
        "--node-lease-duration-seconds",
        type=_checked(_count),
        default=node_lease.DEFAULT_DURATION_SECONDS,
        help="Leases last so long, and are renewed four times in it (%(default)s); for thousands of nodes have 40 "
        "here, and the controllers run with --node-monitor-grace-period=50s",
    )
    for flag, span, words in (
        ("--start-delay", "0", "from when a pod is bound until its containers run"),
        ("--ready-delay", "0", "from then until they are ready"),
        ("--run-duration", "1s", "how long containers run that are not always restarted"),
        ("--stop-delay", "0", "how long containers take to end when their pod is deleted"),
    ):
        add(
            flag,
            type=_checked(hollow.parse_span),
            default=span,
            metavar="DURATION",
            help=f"{words} (%(default)s)",
        )
    add(
        "--exit-code",
        type=_checked(hollow.parse_exit_code),
        default="0",
        help="with which code they end (%(default)s)",
    )
    add("--seed", type=int, help="what is drawn, is drawn by this number: the same again")
    add("-v", action="count", default=0, help="log more")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"{text!r} is no number from 1 on")
    return int(text)


def _name(text: str) -> str:
    if problems := names.dns1123_subdomain(f"{text}-0"):
        raise ValueError(f"{text!r} can't begin the name of a node: {problems[0]}")
    return text


def _network(text: str) -> str:
    return str(IPv4Network(text))


def _pod_network(text: str) -> str:
    if text and IPv4Network(text).prefixlen > POD_NETWORK_PREFIX:
        raise ValueError(f"{text} has no room for the /{POD_NETWORK_PREFIX} of a node")
    return text


def _checked(parse_value: Callable[[str], T]) -> Callable[[str], T]:
    """A parser whose complaint argparse shows as it is."""

    def parse_one(text: str) -> T:
        try:
            return parse_value(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return parse_one
