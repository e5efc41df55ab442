"""The table of admission plugins, in the order in which they run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from apiserver.admission import (
    certificate_requests,
    certificates,
    default_ingress_class,
    default_storage_class,
    default_toleration_seconds,
    limit_ranger,
    namespace_lifecycle,
    node_restriction,
    optional,
    persistent_volume_claim_resize,
    pod_security,
    pod_topology_labels,
    priority,
    resource_quota,
    role_escalation,
    runtime_class,
    service_account,
    service_addresses,
    storage_object_in_use_protection,
    taint_nodes_by_condition,
    volume_phases,
)
from apiserver.admission.configuration import Configuration, ConfigurationError
from apiserver.admission.plugin import (
    CONNECT,
    CREATE,
    DELETE,
    UPDATE,
    Attributes,
    Chain,
    Cluster,
    Plugin,
    mutate,
    validate,
)
from apiserver.admission.policies import mutating as mutating_policies
from apiserver.admission.policies import validating as validating_policies
from apiserver.admission.served import Served
from apiserver.admission.webhooks import mutating as mutating_webhooks
from apiserver.admission.webhooks import validating as validating_webhooks
from apiserver.admission.webhooks.asking import Webhooks
from apiserver.authorization import Authorizer
from apiserver.webhook_client import WebhookClient

__all__ = [
    "CONNECT",
    "CREATE",
    "DELETE",
    "UPDATE",
    "Attributes",
    "Chain",
    "Cluster",
    "Configuration",
    "ConfigurationError",
    "Plugin",
    "Settings",
    "mutate",
    "plugins",
    "validate",
]


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator can set. A pod leaves a lost node after these seconds unless it says otherwise.

    `enabled` are plugins that run besides those that always do, `disabled` some of these that don't.
    """

    default_not_ready_toleration_seconds: int = 5
    default_unreachable_toleration_seconds: int = 5
    service_cluster_ip_range: str = "10.96.0.0/12"
    configuration: Configuration = field(default_factory=Configuration)
    enabled: tuple[str, ...] = ()
    disabled: tuple[str, ...] = ()


# What Kubernetes does where it stores objects; nobody can do without.
_NOT_TO_BE_DISABLED = ("CertificateRequests", "RoleEscalation", "ServiceAddresses", "VolumePhases")


def plugins(
    settings: Settings,
    authorizer: Authorizer,
    cluster: Cluster,
    served: Served,
    client: WebhookClient,
    *,
    now: Callable[[], float] = time.time,
) -> Chain:
    """All plugins; some ask what the writer may do besides the write itself, and some ask others.

    Raises ConfigurationError if some are named that there are not.
    """
    webhooks = Webhooks(cluster, served, authorizer, client)

    def asked(name: str) -> tuple[Plugin, ...]:
        return (optional.load(name, authorizer, served),) if name in settings.enabled else ()

    return _chosen(
        settings,
        (
            namespace_lifecycle.PLUGIN,
            *asked("LimitPodHardAntiAffinityTopology"),
            limit_ranger.PLUGIN,
            *service_account.PLUGINS,
            node_restriction.plugin(authorizer),
            taint_nodes_by_condition.PLUGIN,
            *asked("AlwaysPullImages"),
            pod_security.plugin(settings.configuration.pod_security),
            *asked("PodNodeSelector"),
            priority.PLUGIN,
            default_toleration_seconds.plugin(
                settings.default_not_ready_toleration_seconds, settings.default_unreachable_toleration_seconds
            ),
            *asked("PodTolerationRestriction"),
            *asked("ExtendedResourceToleration"),
            default_storage_class.PLUGIN,
            storage_object_in_use_protection.PLUGIN,
            *asked("OwnerReferencesPermissionEnforcement"),
            persistent_volume_claim_resize.PLUGIN,
            runtime_class.PLUGIN,
            certificate_requests.plugin(now),
            volume_phases.plugin(now),
            *certificates.plugins(authorizer),
            default_ingress_class.PLUGIN,
            *asked("DenyServiceExternalIPs"),
            pod_topology_labels.PLUGIN,
            role_escalation.plugin(authorizer),
            # Those from outside the server come last, and look at what all others have made of a write.
            mutating_policies.plugin(cluster, served, authorizer),
            mutating_webhooks.plugin(webhooks),
            service_addresses.plugin(settings.service_cluster_ip_range),
            validating_policies.plugin(cluster, served, authorizer),
            validating_webhooks.plugin(webhooks),
            # What is charged has been let through by all others.
            *resource_quota.plugins(now, settings.configuration.limited),
        ),
    )


def _chosen(settings: Settings, every: tuple[Plugin, ...]) -> Chain:
    known = {plugin.name for plugin in every}.difference(_NOT_TO_BE_DISABLED).union(optional.MODULES)
    for flag, names in (("enable", settings.enabled), ("disable", settings.disabled)):
        for name in names:
            if name not in known:
                raise ConfigurationError(f'{flag}-admission-plugins plugin "{name}" is unknown')
    if both := sorted({*settings.enabled} & {*settings.disabled}):
        told = f"[{' '.join(both)}] in enable-admission-plugins and disable-admission-plugins overlapped"
        raise ConfigurationError(told)
    return Chain(plugin for plugin in every if plugin.name not in settings.disabled)
