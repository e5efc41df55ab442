"""The document as a whole: profiles, leader election, delays, and what is accepted for compatibility only.

`parallelism` and `percentageOfNodesToScore` change nothing: all nodes are looked at in one pass, in one thread.
Extenders would be asked over HTTP for every pod, and are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apimachinery.field import duplicate, forbidden_field, invalid_value, not_found_value, required
from scheduler.configuration import plugin_args, plugin_sets
from scheduler.configuration.section import Problems, Section
from scheduler.framework import DEFAULT_SCHEDULER_NAME, VOLUME_BINDING, Plugin, Profile
from scheduler.plugins import DEFAULT_PLUGINS
from scheduler.storage import BIND_TIMEOUT_SECONDS

API_VERSION, KIND = "kubescheduler.config.k8s.io/v1", "KubeSchedulerConfiguration"


class ConfigurationError(Exception):
    """All that is wrong with a configuration, a line each."""


@dataclass(frozen=True, slots=True)
class LeaderElection:
    """Whether only one of several schedulers places pods, and how they agree on it."""

    leader_elect: bool = True
    lease_duration_seconds: float = 15.0
    renew_deadline_seconds: float = 10.0
    retry_period_seconds: float = 2.0
    lease_namespace: str = "kube-system"
    lease_name: str = "kube-scheduler"


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a configuration file says."""

    profiles: tuple[Profile, ...]
    leader_election: LeaderElection
    backoff_first_seconds: float
    backoff_max_seconds: float
    kubeconfig: str | None


def load(path: str) -> Configuration:
    """Read a file, YAML or JSON. Raises ConfigurationError."""
    import yaml

    try:
        document = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: no object of kind {KIND}")
    try:
        return parse(document)
    except ConfigurationError as error:
        raise ConfigurationError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from error


def parse(document: Mapping[str, Any]) -> Configuration:
    """What a document says. Raises ConfigurationError."""
    problems = Problems()
    root = Section(document, "", problems)
    version, kind = root.string("apiVersion"), root.string("kind")
    if (version, kind) != (API_VERSION, KIND):
        raise ConfigurationError(
            f'no kind "{kind}" is registered for version "{version}"; use {KIND} of {API_VERSION}'
        )
    election = _leader_election(root.section("leaderElection"))
    kubeconfig = _client_connection(root.section("clientConnection"))
    first, longest = root.integer("podInitialBackoffSeconds", 1), root.integer("podMaxBackoffSeconds", 10)
    if first <= 0:
        problems.add(invalid_value("podInitialBackoffSeconds", first, "must be greater than 0"))
    if longest < first:
        detail = "must be greater than or equal to PodInitialBackoffSeconds"
        problems.add(invalid_value("podMaxBackoffSeconds", longest, detail))
    if (parallelism := root.integer("parallelism", 16)) <= 0:
        detail = "should be an integer value greater than zero"
        problems.add(invalid_value("parallelism", parallelism, detail))
    _percentage_of_nodes(root)
    for field in ("enableProfiling", "enableContentionProfiling", "delayCacheUntilActive"):
        root.boolean(field)
    if root.anything("extenders"):
        problems.add(forbidden_field("extenders", "extenders are not supported"))
    profiles = _profiles(root)
    root.close()
    if problems.messages:
        raise ConfigurationError("\n".join(problems.messages))
    return Configuration(profiles, election, float(first), float(longest), kubeconfig)


def _leader_election(told: Section) -> LeaderElection:
    default = LeaderElection()
    found = LeaderElection(
        told.boolean("leaderElect", default=True),
        told.seconds("leaseDuration", default.lease_duration_seconds),
        told.seconds("renewDeadline", default.renew_deadline_seconds),
        told.seconds("retryPeriod", default.retry_period_seconds),
        told.string("resourceNamespace", default.lease_namespace),
        told.string("resourceName", default.lease_name),
    )
    lock = told.string("resourceLock", "leases")
    told.close()
    if not found.leader_elect:
        return found
    add = told.problems.add
    lease, renew, retry = found.lease_duration_seconds, found.renew_deadline_seconds, found.retry_period_seconds
    for field, seconds in (("leaseDuration", lease), ("renewDeadline", renew), ("retryPeriod", retry)):
        if seconds <= 0:
            add(invalid_value(told.at(field), f"{seconds:g}s", "must be greater than zero"))
    if lease <= renew:
        add(
            invalid_value(told.at("leaseDuration"), f"{lease:g}s", "LeaseDuration must be greater than RenewDeadline")
        )
    if renew <= retry:
        add(invalid_value(told.at("renewDeadline"), f"{renew:g}s", "RenewDeadline must be greater than RetryPeriod"))
    if lock != "leases":
        add(invalid_value(told.at("resourceLock"), lock, 'resourceLock value must be "leases"'))
    return found


def _client_connection(told: Section) -> str | None:
    kubeconfig = told.string("kubeconfig")
    told.string("acceptContentTypes")
    told.string("contentType")
    told.anything("qps")
    told.integer("burst")
    told.close()
    return kubeconfig or None


def _percentage_of_nodes(told: Section) -> None:
    percentage = told.integer("percentageOfNodesToScore")
    if not 0 <= percentage <= 100:
        path = told.at("percentageOfNodesToScore")
        told.problems.add(invalid_value(path, percentage, "not in valid range [0-100]"))


def _profiles(root: Section) -> tuple[Profile, ...]:
    entries = root.sections("profiles")
    if not entries:
        return (Profile(DEFAULT_PLUGINS),)
    alone = len(entries) == 1
    profiles = [_profile(entry, name_by_default=DEFAULT_SCHEDULER_NAME if alone else "") for entry in entries]
    names: dict[str, str] = {}
    for entry, profile in zip(entries, profiles, strict=True):
        path = entry.at("schedulerName")
        if profile.scheduler_name in names:
            root.problems.add(duplicate(path, names[profile.scheduler_name]))
        names.setdefault(profile.scheduler_name, path)
    return tuple(profiles)


def _profile(told: Section, *, name_by_default: str) -> Profile:
    scheduler_name = told.string("schedulerName", name_by_default)
    if not scheduler_name:
        told.problems.add(required(told.at("schedulerName")))
    _percentage_of_nodes(told)
    plugins = told.section("plugins")
    arranged = plugin_sets.arrange(
        plugin_sets.read(plugins), {plugin.name: weight for plugin, weight in DEFAULT_PLUGINS}
    )
    plugin_sets.check_indispensable(arranged, plugins)
    made, timeout_seconds = _plugins(told)
    told.close()
    used = tuple(
        (plugin_sets.limited(made[name], arranged.points), arranged.weights.get(name, 0))
        for name in arranged.names()
        if name in made
    )
    return Profile(used, scheduler_name, timeout_seconds)


def _plugins(told: Section) -> tuple[dict[str, Plugin], float]:
    """All plugins by name, those with arguments as these have them; and how long volumes may take to be bound."""
    made = {plugin.name: plugin for plugin, _ in DEFAULT_PLUGINS}
    timeout_seconds = BIND_TIMEOUT_SECONDS
    seen: set[str] = set()
    for entry in told.sections("pluginConfig"):
        name = entry.string("name")
        if name in seen:
            told.problems.add(duplicate(entry.path, name))
        seen.add(name)
        args = entry.section("args")
        _check_type(args, name)
        if name in plugin_args.BUILDERS:
            made[name] = plugin_args.BUILDERS[name](args)
        elif name == VOLUME_BINDING:
            timeout_seconds = plugin_args.bind_timeout_seconds(args)
        elif name in plugin_sets.UNSUPPORTED:
            told.problems.add(forbidden_field(entry.at("name"), f"{name} is not supported"))
        elif name not in plugin_sets.EXTENDS:
            told.problems.add(not_found_value(entry.at("name"), name))
        args.close()
        entry.close()
    return made, timeout_seconds


def _check_type(args: Section, name: str) -> None:
    """What `args` say that they are; they need not say it."""
    version, kind = args.string("apiVersion", API_VERSION), args.string("kind", f"{name}Args")
    if (version, kind) != (API_VERSION, f"{name}Args"):
        args.problems.add(invalid_value(args.path, f"{version}, Kind={kind}", "has to match plugin args"))
