"""Keeps pods off nodes on which a port that they want of the host is taken.

Source: https://kubernetes.io/docs/concepts/configuration/overview/#services (hostPort)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from apimachinery.meta import Object
from scheduler.columns import Rows
from scheduler.framework import Plugin, Rejection
from scheduler.pods import HostPort, host_ports
from scheduler.snapshot import Change, Snapshot

REASON = "node(s) didn't have free ports for the requested pod ports"

Ports = tuple[HostPort, ...]


def demand(pod: Object) -> Ports | None:
    """The host ports that the pod wants; None if none."""
    return host_ports(pod) or None


def filter_nodes(demand: Ports, snapshot: Snapshot, rows: Rows) -> Sequence[Rejection]:
    """Turn down nodes with a pod that has one of the ports."""
    taken = np.zeros(snapshot.height, dtype=np.bool_)
    taken[[row for port in demand for row in snapshot.rows_with_port(port)]] = True
    return [Rejection(taken[rows], REASON)]


PLUGIN = Plugin("NodePorts", demand, filter=filter_nodes, helped_by=Change.NODE_ADDED | Change.POD_REMOVED)
