"""Figures: what the node, its pods and their containers use, and what the agent itself does.

    /metrics                what the agent does
    /metrics/cadvisor       the series of containers that dashboards are made of
    /metrics/probes         how probes went
    /metrics/resource       CPU and memory, as scaling needs them
    /stats/summary          all that is known of the node and its pods, as JSON

All of it is imported when the first asks: most nodes are never asked.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

PATHS = ("/metrics", "/metrics/cadvisor", "/metrics/probes", "/metrics/resource", "/stats/summary")


class Place(NamedTuple):
    """The node that figures are of, and where on it they are found."""

    node_name: str
    root_dir: Path
    image_dir: Path
    cgroup_root: str
