"""The command line, with kube-scheduler's flags."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from apimachinery.duration import parse_seconds
from scheduler.framework import DEFAULT_SCHEDULER_NAME


@dataclass(frozen=True, slots=True)
class Options:
    """What the scheduler is told at its start."""

    kubeconfig: str | None
    scheduler_name: str
    leader_elect: bool
    lease_duration_seconds: float
    renew_deadline_seconds: float
    retry_period_seconds: float
    lease_namespace: str
    lease_name: str
    verbosity: int


def parse_options(arguments: Sequence[str]) -> Options:
    """The options of a command line; ends the process with a message if it is wrong."""
    parser = argparse.ArgumentParser(prog="scheduler", description="Assigns pods to nodes.")
    add = parser.add_argument
    add("--kubeconfig", metavar="FILE", help="how to reach the API server, and as whom")
    add("--scheduler-name", default=DEFAULT_SCHEDULER_NAME, metavar="NAME", help="place the pods that name this one")
    add(
        "--leader-elect",
        type=_truth,
        nargs="?",
        const=True,
        default=True,
        metavar="true|false",
        help="of several schedulers let one place pods (default true)",
    )
    add("--leader-elect-lease-duration", type=_seconds, default=15.0, metavar="SECONDS")
    add("--leader-elect-renew-deadline", type=_seconds, default=10.0, metavar="SECONDS")
    add("--leader-elect-retry-period", type=_seconds, default=2.0, metavar="SECONDS")
    add("--leader-elect-resource-namespace", default="kube-system", metavar="NAMESPACE")
    add("--leader-elect-resource-name", default="kube-scheduler", metavar="NAME")
    add("-v", "--v", type=int, default=0, metavar="LEVEL", dest="verbosity", help="1 and more: tell every placement")
    given = parser.parse_args(arguments)
    if not given.leader_elect_retry_period < given.leader_elect_renew_deadline < given.leader_elect_lease_duration:
        parser.error("the retry period must be below the renew deadline, and that below the lease duration")
    return Options(
        kubeconfig=given.kubeconfig,
        scheduler_name=given.scheduler_name,
        leader_elect=given.leader_elect,
        lease_duration_seconds=given.leader_elect_lease_duration,
        renew_deadline_seconds=given.leader_elect_renew_deadline,
        retry_period_seconds=given.leader_elect_retry_period,
        lease_namespace=given.leader_elect_resource_namespace,
        lease_name=given.leader_elect_resource_name,
        verbosity=given.verbosity,
    )


def _truth(text: str) -> bool:
    if text.lower() in ("true", "1", "t"):
        return True
    if text.lower() in ("false", "0", "f"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


def _seconds(text: str) -> float:
    """`15`, `15s`, `1m30s`."""
    try:
        return parse_seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
