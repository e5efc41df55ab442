"""Plugins that an operator has to ask for, as in Kubernetes; each is imported when it is.

Each module has a `plugin(authorizer, served)`. Where they run among the others stands in the table of
`apiserver.admission`.

Source: https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from apiserver.admission.plugin import Plugin
from apiserver.admission.served import Served
from apiserver.authorization import Authorizer

MODULES: Mapping[str, str] = {
    "AlwaysPullImages": "always_pull_images",
    "DenyServiceExternalIPs": "deny_service_external_ips",
    "ExtendedResourceToleration": "extended_resource_toleration",
    "LimitPodHardAntiAffinityTopology": "limit_pod_hard_anti_affinity_topology",
    "OwnerReferencesPermissionEnforcement": "owner_references_permission_enforcement",
    "PodNodeSelector": "pod_node_selector",
    "PodTolerationRestriction": "pod_toleration_restriction",
}


def load(name: str, authorizer: Authorizer, served: Served) -> Plugin:
    """The plugin of this name. Raises KeyError."""
    plugin: Plugin = import_module(f"{__name__}.{MODULES[name]}").plugin(authorizer, served)
    return plugin
