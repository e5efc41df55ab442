"""The command line, with kube-scheduler's flags; what they say goes before what a configuration file says."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from apiclient.serving import flags as serving
from apimachinery.duration import parse_seconds
from scheduler.configuration.document import Configuration, ConfigurationError, LeaderElection, load
from scheduler.framework import DEFAULT_SCHEDULER_NAME, Profile
from scheduler.plugins import default_profile
from scheduler.queue import BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS

if TYPE_CHECKING:
    from apiclient.serving.server import Place


@dataclass(frozen=True, slots=True)
class Options:
    """What the scheduler is told at its start."""

    kubeconfig: str | None
    profiles: tuple[Profile, ...]
    backoff_first_seconds: float
    backoff_max_seconds: float
    leader_elect: bool
    lease_duration_seconds: float
    renew_deadline_seconds: float
    retry_period_seconds: float
    lease_namespace: str
    lease_name: str
    verbosity: int
    place: Place | None = None


def parse_options(arguments: Sequence[str]) -> Options:
    """The options of a command line; ends the process with a message if it is wrong."""
    parser = argparse.ArgumentParser(prog="scheduler", description="Assigns pods to nodes.")
    add = parser.add_argument
    add("--kubeconfig", metavar="FILE", help="how to reach the API server, and as whom")
    add("--config", metavar="FILE", help="a KubeSchedulerConfiguration: profiles with their plugins, and more")
    add("--scheduler-name", metavar="NAME", help="place the pods that name this one; not beside --config")
    add(
        "--leader-elect",
        type=_truth,
        nargs="?",
        const=True,
        metavar="true|false",
        help="of several schedulers let one place pods (default true)",
    )
    add("--leader-elect-lease-duration", type=_seconds, metavar="SECONDS")
    add("--leader-elect-renew-deadline", type=_seconds, metavar="SECONDS")
    add("--leader-elect-retry-period", type=_seconds, metavar="SECONDS")
    add("--leader-elect-resource-namespace", metavar="NAMESPACE")
    add("--leader-elect-resource-name", metavar="NAME")
    serving.add_flags(parser)
    add("-v", "--v", type=int, default=0, metavar="LEVEL", dest="verbosity", help="1 and more: tell every placement")
    given = parser.parse_args(arguments)
    if given.config is not None and given.scheduler_name is not None:
        parser.error("--scheduler-name: the profiles of --config name their schedulers")
    try:
        told = load(given.config) if given.config is not None else _defaults(given.scheduler_name)
    except ConfigurationError as error:
        parser.error(str(error))
    try:
        place = serving.place(given)
    except ValueError as error:
        parser.error(str(error))
    election = _leader_election(given, told.leader_election)
    if not election.retry_period_seconds < election.renew_deadline_seconds < election.lease_duration_seconds:
        parser.error("the retry period must be below the renew deadline, and that below the lease duration")
    return Options(
        kubeconfig=given.kubeconfig or told.kubeconfig,
        profiles=told.profiles,
        backoff_first_seconds=told.backoff_first_seconds,
        backoff_max_seconds=told.backoff_max_seconds,
        leader_elect=election.leader_elect,
        lease_duration_seconds=election.lease_duration_seconds,
        renew_deadline_seconds=election.renew_deadline_seconds,
        retry_period_seconds=election.retry_period_seconds,
        lease_namespace=election.lease_namespace,
        lease_name=election.lease_name,
        verbosity=given.verbosity,
        place=place,
    )


def _defaults(scheduler_name: str | None) -> Configuration:
    profile = default_profile(scheduler_name or DEFAULT_SCHEDULER_NAME)
    return Configuration((profile,), LeaderElection(), BACKOFF_FIRST_SECONDS, BACKOFF_MAX_SECONDS, None)


def _leader_election(given: argparse.Namespace, told: LeaderElection) -> LeaderElection:
    """What flags say, and where they say nothing, the file."""
    flags = {
        "leader_elect": "leader_elect",
        "lease_duration_seconds": "leader_elect_lease_duration",
        "renew_deadline_seconds": "leader_elect_renew_deadline",
        "retry_period_seconds": "leader_elect_retry_period",
        "lease_namespace": "leader_elect_resource_namespace",
        "lease_name": "leader_elect_resource_name",
    }
    given_flags = {field: getattr(given, flag) for field, flag in flags.items()}
    return replace(told, **{field: value for field, value in given_flags.items() if value is not None})


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
