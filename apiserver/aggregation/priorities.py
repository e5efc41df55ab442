"""In which order clients are told of groups and their versions: the higher first.

Source: kubernetes/pkg/controlplane/apiserver/aggregator.go and instance.go, crdregistration_controller.go.
"""

from __future__ import annotations

from typing import NamedTuple


class Priority(NamedTuple):
    """Of a group among groups, and of a version among those of its group."""

    group: int
    version: int


# Of what CustomResourceDefinitions add, and so of all that nobody ranks.
CUSTOM = Priority(1000, 100)
# Higher than any APIService may ask for: the group of APIServices itself comes first, and has none.
OWN_GROUP = "apiregistration.k8s.io"
_OWN = Priority(20001, 15)
BUILT_IN = {
    ("", "v1"): Priority(18000, 1),
    ("apps", "v1"): Priority(17800, 15),
    ("events.k8s.io", "v1"): Priority(17750, 15),
    ("authentication.k8s.io", "v1"): Priority(17700, 15),
    ("authorization.k8s.io", "v1"): Priority(17600, 15),
    ("autoscaling", "v2"): Priority(17500, 30),
    ("autoscaling", "v1"): Priority(17500, 15),
    ("batch", "v1"): Priority(17400, 15),
    ("certificates.k8s.io", "v1"): Priority(17300, 15),
    ("networking.k8s.io", "v1"): Priority(17200, 15),
    ("policy", "v1"): Priority(17100, 15),
    ("rbac.authorization.k8s.io", "v1"): Priority(17000, 15),
    ("storage.k8s.io", "v1"): Priority(16800, 15),
    ("admissionregistration.k8s.io", "v1"): Priority(16700, 15),
    ("admissionregistration.k8s.io", "v1beta1"): Priority(16700, 12),
    ("apiextensions.k8s.io", "v1"): Priority(16700, 15),
    ("scheduling.k8s.io", "v1"): Priority(16600, 15),
    ("scheduling.k8s.io", "v1alpha1"): Priority(16600, 9),
    ("coordination.k8s.io", "v1"): Priority(16500, 15),
    ("node.k8s.io", "v1"): Priority(16300, 15),
    ("discovery.k8s.io", "v1"): Priority(16200, 15),
    ("resource.k8s.io", "v1"): Priority(16200, 20),
    ("flowcontrol.apiserver.k8s.io", "v1"): Priority(16100, 21),
}
# Of what is served here although no APIService says so: that whoever installs another server of it can write one.
UNLISTED = {("metrics.k8s.io", "v1beta1"): Priority(100, 100)}


def default(group: str, version: str) -> Priority:
    """The priority of what is served here, where no APIService says another one."""
    if group == OWN_GROUP:
        return _OWN
    return BUILT_IN.get((group, version)) or UNLISTED.get((group, version), CUSTOM)
