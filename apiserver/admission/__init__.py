"""The table of admission plugins, in the order in which they run."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from apiserver.admission import (
    certificate_requests,
    default_toleration_seconds,
    limit_ranger,
    namespace_lifecycle,
    node_restriction,
    priority,
    role_escalation,
    service_account,
    service_addresses,
    taint_nodes_by_condition,
)
from apiserver.admission.plugin import (
    CONNECT,
    CREATE,
    DELETE,
    UPDATE,
    Attributes,
    Cluster,
    Plugin,
    mutate,
    validate,
)
from apiserver.authorization import Authorizer

__all__ = [
    "CONNECT",
    "CREATE",
    "DELETE",
    "UPDATE",
    "Attributes",
    "Cluster",
    "Plugin",
    "Settings",
    "mutate",
    "plugins",
    "validate",
]


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator can set. A pod leaves a lost node after these seconds unless it says otherwise."""

    default_not_ready_toleration_seconds: int = 5
    default_unreachable_toleration_seconds: int = 5
    service_cluster_ip_range: str = "10.96.0.0/12"


def plugins(settings: Settings, authorizer: Authorizer, now: Callable[[], float] = time.time) -> tuple[Plugin, ...]:
    """All plugins; some ask what the writer may do besides the write itself."""
    return (
        namespace_lifecycle.PLUGIN,
        limit_ranger.PLUGIN,
        service_account.PLUGIN,
        node_restriction.PLUGIN,
        taint_nodes_by_condition.PLUGIN,
        priority.PLUGIN,
        default_toleration_seconds.plugin(
            settings.default_not_ready_toleration_seconds, settings.default_unreachable_toleration_seconds
        ),
        service_addresses.plugin(settings.service_cluster_ip_range),
        role_escalation.plugin(authorizer),
        certificate_requests.plugin(now),
    )
