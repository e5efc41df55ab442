"""The table of the resources that have rules of their own: one line and one module each.

A module is imported when its resource is first asked for, so that a server starts without reading them all.
"""

from __future__ import annotations

from importlib import import_module

from apimachinery.resources import Resource
from apiserver.registry.strategy import Strategy

_MODULES: dict[tuple[str, str], str] = {
    ("", "pods"): "pods",
    ("", "services"): "services",
    ("", "endpoints"): "endpoints",
    ("", "nodes"): "nodes",
    ("", "namespaces"): "namespaces",
    ("", "configmaps"): "configmaps",
    ("", "secrets"): "secrets",
    ("", "serviceaccounts"): "serviceaccounts",
    ("", "replicationcontrollers"): "replicationcontrollers",
    ("", "persistentvolumes"): "persistentvolumes",
    ("", "persistentvolumeclaims"): "persistentvolumeclaims",
    ("", "events"): "events",
    ("", "limitranges"): "limitranges",
    ("", "resourcequotas"): "resourcequotas",
    ("", "podtemplates"): "podtemplates",
    ("", "componentstatuses"): "componentstatuses",
    ("apps", "deployments"): "deployments",
    ("apps", "replicasets"): "replicasets",
    ("apps", "statefulsets"): "statefulsets",
    ("apps", "daemonsets"): "daemonsets",
    ("apps", "controllerrevisions"): "controllerrevisions",
    ("batch", "jobs"): "jobs",
    ("batch", "cronjobs"): "cronjobs",
    ("autoscaling", "horizontalpodautoscalers"): "horizontalpodautoscalers",
    ("events.k8s.io", "events"): "events_events",
    ("policy", "poddisruptionbudgets"): "poddisruptionbudgets",
    ("networking.k8s.io", "ingresses"): "ingresses",
    ("networking.k8s.io", "ingressclasses"): "ingressclasses",
    ("networking.k8s.io", "networkpolicies"): "networkpolicies",
    ("networking.k8s.io", "ipaddresses"): "ipaddresses",
    ("networking.k8s.io", "servicecidrs"): "servicecidrs",
    ("discovery.k8s.io", "endpointslices"): "endpointslices",
    ("coordination.k8s.io", "leases"): "leases",
    ("node.k8s.io", "runtimeclasses"): "runtimeclasses",
    ("scheduling.k8s.io", "priorityclasses"): "priorityclasses",
    ("storage.k8s.io", "storageclasses"): "storageclasses",
    ("storage.k8s.io", "volumeattributesclasses"): "volumeattributesclasses",
    ("storage.k8s.io", "csidrivers"): "csidrivers",
    ("storage.k8s.io", "csinodes"): "csinodes",
    ("storage.k8s.io", "csistoragecapacities"): "csistoragecapacities",
    ("storage.k8s.io", "volumeattachments"): "volumeattachments",
    ("certificates.k8s.io", "certificatesigningrequests"): "certificatesigningrequests",
    ("apiregistration.k8s.io", "apiservices"): "apiservices",
    ("flowcontrol.apiserver.k8s.io", "flowschemas"): "flowschemas",
    ("flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations"): "prioritylevelconfigurations",
    ("admissionregistration.k8s.io", "validatingwebhookconfigurations"): "validatingwebhookconfigurations",
    ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"): "mutatingwebhookconfigurations",
    ("admissionregistration.k8s.io", "validatingadmissionpolicies"): "validatingadmissionpolicies",
    ("admissionregistration.k8s.io", "validatingadmissionpolicybindings"): "validatingadmissionpolicybindings",
    ("resource.k8s.io", "resourceclaims"): "resourceclaims",
    ("resource.k8s.io", "resourceclaimtemplates"): "resourceclaimtemplates",
    ("resource.k8s.io", "resourceslices"): "resourceslices",
    ("resource.k8s.io", "deviceclasses"): "deviceclasses",
    ("rbac.authorization.k8s.io", "roles"): "roles",
    ("rbac.authorization.k8s.io", "rolebindings"): "rolebindings",
    ("rbac.authorization.k8s.io", "clusterroles"): "clusterroles",
    ("rbac.authorization.k8s.io", "clusterrolebindings"): "clusterrolebindings",
}
_found: dict[tuple[str, str], Strategy] = {}


def strategy(resource: Resource) -> Strategy:
    """The rules of a resource; those of any object if it has none of its own."""
    known = _found.get(resource.key)
    if known is not None:
        return known
    module = _MODULES.get(resource.key)
    if module is None:
        return Strategy(resource)
    loaded: Strategy = import_module(f"apiserver.registry.{module}").STRATEGY
    _found[resource.key] = loaded
    return loaded
