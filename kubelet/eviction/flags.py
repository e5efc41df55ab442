"""The flags that say when a node is short of something; --eviction-hard is read in kubelet/node/node_settings.py.

Source: https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

from kubelet.eviction.thresholds import Settings, make_rules, parse_amounts
from kubelet.images.collector import parse_duration
from kubelet.node import node_settings
from kubelet.node.node_settings import SIGNALS, Threshold

Checked = Callable[[Callable[[str], Any]], Callable[[str], Any]]


def add(parser: argparse.ArgumentParser, checked: Checked) -> None:
    """Add the flags; `checked` makes a parser of a value whose complaint is shown as it is."""
    maps = (
        ("--eviction-soft", node_settings.parse_thresholds, "the same, but only after a grace period"),
        ("--eviction-soft-grace-period", parse_grace_periods, "memory.available=1m30s,…: that period"),
        ("--eviction-minimum-reclaim", parse_amounts, "nodefs.available=500Mi,…: how much more is to be freed"),
    )
    for flag, parse, words in maps:
        parser.add_argument(flag, type=checked(parse), default="", help=words)
    parser.add_argument(
        "--eviction-max-pod-grace-period",
        type=int,
        default=0,
        metavar="SECONDS",
        help="what a pod gets to end at most when a soft threshold is met (%(default)s)",
    )
    durations = (
        ("--eviction-pressure-transition-period", "5m", "how long a shortage is told of after it is over"),
        ("--housekeeping-interval", "10s", "how often the node looks what it is short of"),
    )
    for flag, default, words in durations:
        parser.add_argument(flag, type=checked(parse_duration), default=default, help=f"{words} (%(default)s)")


def settings(given: argparse.Namespace, hard: Mapping[str, Threshold]) -> Settings:
    """What was given. Raises ValueError."""
    if given.housekeeping_interval <= 0:
        raise ValueError("--housekeeping-interval must be greater than 0")
    if given.eviction_max_pod_grace_period < 0:
        raise ValueError("--eviction-max-pod-grace-period must not be less than 0")
    return Settings(
        rules=make_rules(hard, given.eviction_soft, given.eviction_soft_grace_period, given.eviction_minimum_reclaim),
        pod_grace_seconds_max=float(given.eviction_max_pod_grace_period),
        transition_seconds=given.eviction_pressure_transition_period,
        look_seconds=given.housekeeping_interval,
    )


def parse_grace_periods(text: str) -> dict[str, float]:
    """--eviction-soft-grace-period: `memory.available=1m30s,nodefs.available=2m`. Raises ValueError."""
    periods = {}
    for term in filter(None, text.split(",")):
        signal, _, duration = term.partition("=")
        if signal not in SIGNALS:
            raise ValueError(f"unknown eviction signal {signal!r}: one of {', '.join(SIGNALS)}")
        periods[signal] = parse_duration(duration)
    return periods
